//! The worker died while it started.

use crate::diagnosis::evidence::{Fact, WorkerLine, broker, lives, workers};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Certainty, Owner, Scenario, Stage, Story};
use crate::framework::{LogEvent, WorkerLife};
use crate::timeline::{PlaceState, Process, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "worker-not-started",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::Deployment],
    // Its child is dead by then, and the master sees it within a second or two.
    explains: &["no-consumer", "worker-dead-children"],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Queue, Source::WorkerLog]],
    page: include_str!("worker_not_started.md"),
    check,
    ..Cause::DEFAULT
};

/// After a while one may have been started since with another log, and be gone again.
const RECENTLY_MS: f64 = 15_000.0;

fn check(story: &Story<'_>) -> Answer {
    let alone = story.by_the_log_alone();
    if let Some(answer) = without_its_log(story, alone.is_some()) {
        return answer;
    }
    if !story.sees(Source::WorkerLog) {
        return Answer::cannot_tell(&[Source::WorkerLog]);
    }
    let lines = story.worker_lines();
    // What a dying worker said last; any sign of a later life makes it history.
    let Some(at) = lines.iter().rposition(|told| told.died_at_start()) else {
        return Answer::NotApplicable;
    };
    if let Some(alive) = later_life(story, at) {
        return Answer::ruled_out("a worker started after that", [alive]);
    }
    let told = lines[at];
    if lives::is_anothers_stream(story, told.line.stream.as_deref()) {
        return Answer::NotApplicable;
    }
    if let Some(child) = lives::later_child(story, &told) {
        return Answer::ruled_out("a worker that was started after that lives", [child]);
    }
    // It was started again and says nothing of it.
    if told.line.before
        && let Some((container, listed)) = story.connected_worker_container()
    {
        return Answer::ruled_out(
            "its container is connected to the broker",
            [container.n, listed.n],
        );
    }
    let when = told
        .stated
        .map(|stated| format!(" at {stated}"))
        .unwrap_or_default();
    let mut evidence = vec![told.n];
    evidence.extend(story.depths(story.queue()).last().map(|depth| depth.n));
    let nobody = match alone {
        Some(_) => "",
        None => "0 consumers, and ",
    };
    let text = format!("{nobody}the worker's log ends{when} in: {}", reason(story, &told));
    let unsure = may_live_on(story, at);
    // The one that came up before goes on: another one failed to, or it says so of a part of it.
    if is_after_ready(story, at) && !workers::live_workers(story).is_empty() {
        return Answer::possible(text, evidence).would_decide(&[Source::Process]);
    }
    // It was refused for one that runs, unless that one has left its file behind.
    let is_locked_out = told.line.text.to_lowercase().contains("pidfile");
    if is_locked_out && !workers::live_workers(story).is_empty() {
        return Answer::possible(text, evidence).would_decide(&[Source::Process]);
    }
    if let Some(most) = alone {
        return by_the_log_alone(&told, text, evidence, most, unsure);
    }
    // Seen as it happened it is certain; an old line may be yesterday's crash, and a supervisor may
    // just be trying again. A container that has ended has no later life.
    let ended = story.ended_worker_containers();
    let is_recent = story.ended_recently(&told) && told.at_ms > -RECENTLY_MS;
    let old = told.line.before && !is_recent && ended.is_none();
    evidence.extend(ended.iter().flatten().map(|container| container.n));
    let stopped = story.place_says("worker", PlaceState::NotRunning);
    evidence.extend(stopped.map(|said| said.n));
    let text = match stopped {
        Some(said) => format!("{text} ({said})"),
        None => text,
    };
    if old && let Some(api) = system_began_since(story, &told) {
        evidence.push(api.n);
        let text = format!(
            "{text}; the API was started later than that, and a worker may have been, whose log is elsewhere"
        );
        return Answer::possible(text, evidence).would_decide(&[Source::Process]);
    }
    // Whoever runs by now may write elsewhere.
    if let Some(days) = told
        .line
        .age_s
        .map(|age| age / 86_400)
        .filter(|days| old && *days > 1)
    {
        let days = crate::text::counted(days, "day", "days");
        return Answer::possible(
            format!("{text}; nothing has been written to it for {days}"),
            evidence,
        )
        .would_decide(&[Source::Process]);
    }
    if old || unsure || !story.closed() {
        Answer::likely(text, evidence).would_decide(&[Source::Process])
    } else {
        Answer::shown(text, evidence).lasting_if(lives::stays_dead(story))
    }
}

/// What is behind these words may live on, or another worker.
fn may_live_on(story: &Story<'_>, at: usize) -> bool {
    let told = story.worker_lines()[at];
    is_after_ready(story, at)
        || may_be_anothers_words(story, at)
        || lives::is_up(story).is_some()
        || lives::one_outlives(story, &told)
        || told.line.before && runs_elsewhere(story)
}

/// Somebody consumes the queue, or the worker that we started has ended.
fn without_its_log(story: &Story<'_>, alone: bool) -> Option<Answer> {
    let consumed = broker::has_consumer(story).filter(|_| !alone);
    let is_unseen = matches!(consumed, Some(Answer::CannotTell { .. }));
    if consumed.is_some() && !is_unseen {
        return consumed;
    }
    // Whoever else consumes the queue would have been handed it.
    let nobody_took_it = || story.deliveries().next().is_none() && story.sees_all(Source::Firehose);
    let started = was_started(story).filter(|_| !is_unseen || nobody_took_it());
    let started = started.map(|answer| match is_unseen {
        true => answer.at_most(Certainty::Likely).would_decide(&[Source::Queue]),
        false => answer,
    });
    started.or(consumed)
}

/// A bare traceback after "ready" may be a thread's that printed it and lives on.
fn is_after_ready(story: &Story<'_>, at: usize) -> bool {
    let lines = story.worker_lines();
    let mut lives = lines[..at].iter().rev();
    let last = lives.find_map(|told| match told.worker_life()? {
        WorkerLife::Booting => None,
        WorkerLife::Up => Some(true),
        WorkerLife::Ending => Some(false),
    });
    lines[at].mark.is_none() && last == Some(true)
}

/// Nobody could look at the queue.
fn by_the_log_alone(
    told: &WorkerLine<'_>,
    text: String,
    evidence: Vec<u32>,
    most: Certainty,
    unsure: bool,
) -> Answer {
    let is_old = told.line.age_s.is_some_and(|age| age > 86_400);
    let most = if unsure || is_old {
        Certainty::Possible
    } else {
        most
    };
    Answer::matched(most, text, evidence)
        .given([Premise::IsAmongTheWaiting])
        .would_decide(&[Source::Queue])
}

/// A traceback that nothing but the interpreter prints need not be the worker's end: an application may print one and go
/// on, or a program that runs before it. A worker boots or lives since.
fn may_be_anothers_words(story: &Story<'_>, at: usize) -> bool {
    let told = &story.worker_lines()[at];
    if told.mark.is_some() {
        return false;
    }
    let own = |other: &&WorkerLine<'_>| other.line.stream == told.line.stream;
    let later = story.worker_lines()[at + 1..].iter().filter(own);
    let last_life = later.filter_map(WorkerLine::worker_life).next_back();
    last_life == Some(WorkerLife::Booting)
        || workers::live_workers(story)
            .iter()
            .any(|process| process.at_ms > told.at_ms && workers::is_worker(process))
}

/// A worker lives that was started by the configured command: it may be a later one, that writes elsewhere.
fn runs_elsewhere(story: &Story<'_>) -> bool {
    story.all_processes().any(|process| {
        process.is_configured
            && workers::is_worker(&process)
            && process.lives()
            && story.gone(process.pid).is_none()
    })
}

/// The API began so much later that it is another start of the system.
fn system_began_since<'a>(story: &Story<'a>, told: &WorkerLine<'_>) -> Option<Fact<&'a Process>> {
    let written = story.timeline.zero_ms() + told.at_ms;
    let is_later = |process: &Process| {
        let started = process.started_at_ms;
        started.is_some_and(|at| at as f64 > written + ONE_START_MS)
    };
    let all = story.api_processes();
    let began = all.iter().all(|process| is_later(process));
    all.into_iter().next().filter(|_| began)
}

/// Services that are started together start within this time.
const ONE_START_MS: f64 = 600_000.0;

/// A line behind that one which tells of a worker that came up. Another service's life is none of this one's.
fn later_life(story: &Story<'_>, at: usize) -> Option<u32> {
    let lines = story.worker_lines();
    let stream = &lines[at].line.stream;
    let is_anothers = |told: &WorkerLine<'_>| {
        told.line.stream != *stream && lives::leaves_us_out(story, told.line.stream.as_deref())
    };
    let lives = |told: &WorkerLine<'_>| {
        matches!(
            told.mark,
            Some(
                LogEvent::Ready
                    | LogEvent::AddingConsumer { .. }
                    | LogEvent::Received { .. }
                    | LogEvent::ConnectionError { .. }
            )
        )
    };
    let mut later = lines[at + 1..].iter();
    later
        .find(|told| lives(told) && !is_anothers(told))
        .map(|told| told.n)
}

/// A worker that was started in this run: its exit code decides, and its log says why.
fn was_started(story: &Story<'_>) -> Option<Answer> {
    let launch = story.started("worker")?;
    let (end, ended) = workers::end_of(&launch)?;
    if let Some(ready) = launch.ready {
        return Some(Answer::ruled_out("it consumed, and ended later", [ready]));
    }
    let lines = story.worker_lines();
    // It had booted: what ended it came later, another message perhaps.
    let booted = lines.iter().find(|told| {
        let booted = |mark: &LogEvent| {
            matches!(
                mark,
                LogEvent::Ready
                    | LogEvent::AddingConsumer { .. }
                    | LogEvent::Pushed { .. }
                    | LogEvent::Received { .. }
            )
        };
        told.mark.is_some_and(booted)
    });
    if let Some(booted) = booted {
        return Some(Answer::ruled_out("it had booted, and ended later", [booted.n]));
    }
    let mut evidence = vec![launch.n, end.n];
    let last_words = lines.iter().rev().find(|told| told.died_at_start());
    let why = match last_words {
        Some(told) => {
            evidence.push(told.n);
            reason(story, told)
        }
        None => match workers::last_words(story, Source::WorkerLog) {
            Some(said) => {
                evidence.push(said.n);
                format!("its last line: {said}")
            }
            None => "it said nothing".into(),
        },
    };
    evidence.extend(story.depths(story.queue()).last().map(|depth| depth.n));
    let text = format!("the worker that was started {ended}: {why}");
    // One that ends well may have put itself into the background and still be on its way.
    if end.exit == 0 && (!story.closed() || workers::watched_is_alive(story).is_some()) {
        return story.closed().then(|| Answer::possible(text, evidence));
    }
    if end.exit == 0 && last_words.is_none() {
        return Some(Answer::likely(text, evidence));
    }
    // Its last lines may still be on their way.
    Some(Answer::shown(text, evidence).terminal_after(150))
}

/// The reason in one line.
pub(super) fn reason(story: &Story<'_>, told: &WorkerLine<'_>) -> String {
    let exception = told.exception().filter(|text| !text.is_empty());
    let text = exception.unwrap_or_else(|| told.line.text.trim().to_owned());
    let command = &story.timeline.setup.worker_command;
    let usage_error = matches!(told.mark, Some(LogEvent::UsageError));
    (story.framework().worker.misuse)(command, usage_error, &text).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    /// Another service of the project writes to the same log, and cannot be started.
    #[test]
    fn another_applications_code_is_a_near_miss() {
        let raised = |file: &str, command: &[&str]| {
            let command = command.iter().map(|word| (*word).to_owned()).collect();
            let line = format!(
                "[PID 900] [MainThread] [dramatiq.WorkerProcess(0)] [ERROR] Failed to import module.\nTraceback (most recent call last):\n  File \"{file}\", line 3, in <module>\n    import labels\nModuleNotFoundError: No module named 'labels'"
            );
            Scene::new()
                .setup(|setup| setup.worker_command = command)
                .depth("default", 0, 0)
                .line(&line)
                .submitted()
                .row("PENDING")
                .publish("default")
                .depth("default", 1, 0)
                .silence()
                .cause()
        };
        let ours = ["dramatiq", "-p", "1", "shop.jobs"];
        assert!(raised("/srv/shop/jobs.py", &ours).ends_with("worker-not-started"));
        // Its package is imported first.
        assert!(raised("/srv/shop/__init__.py", &ours).ends_with("worker-not-started"));
        let others = "/srv/mail/post/tasks.py";
        assert!(!raised(others, &ours).ends_with("worker-not-started"));
        // What a script starts may be anything.
        assert!(raised(others, &["./run-worker"]).ends_with("worker-not-started"));
    }

    /// Nothing but the worker's log could be read: it ends in a failed start, and the task may wait or not.
    #[test]
    fn afterwards_by_the_log_alone() {
        let said = |served: bool, broker: bool, is_known: bool| {
            let mut scene = Scene::new().given().from_before(5);
            if is_known {
                scene = scene.setup(|setup| setup.worker_command = vec!["dramatiq".into(), "jobs".into()]);
            }
            if served {
                scene = scene.debug(
                    "dramatiq.worker.WorkerThread",
                    "Received message act('other') with id 'm-7'.",
                );
            }
            let scene = scene
                .line("[PID 101] [MainThread] [dramatiq.WorkerProcess(0)] [ERROR] Failed to import module.\nTraceback (most recent call last):\n  File \"/app/jobs.py\", line 7, in <module>\nModuleNotFoundError: No module named 'gs1'")
                .from_now_on()
                .end(crate::timeline::Ended::Looked)
                .without(Source::Queue);
            let scene = if broker {
                scene
            } else {
                scene.without(Source::Management)
            };
            scene.answer(&CAUSE)
        };
        assert_eq!(said(false, false, true), "likely");
        // Nothing shows whose log it is.
        assert_eq!(said(false, false, false), "possible");
        // It has run messages before: ours may have been one.
        assert_eq!(said(true, false, true), "possible");
        assert_eq!(said(false, true, true), "cannot tell");
    }

    use super::*;
    use crate::diagnosis::testing::Scene;
    use crate::timeline::{Container, EventKind, Level, Role};

    /// Sent, and nobody consumes; then the worker's log.
    fn nobody() -> Scene {
        Scene::new()
            .setup(|setup| {
                setup.worker_command = ["dramatiq", "-v", "2", "app"].map(str::to_owned).into();
            })
            .depth("default", 0, 0)
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 1, 0)
            .from_before(30)
    }

    const IMPORT: &str = "Failed to import module.\nTraceback (most recent call last):\n  File \"/v/dramatiq/cli.py\", line 1, in worker_process\nModuleNotFoundError: No module named '2'";

    #[test]
    fn the_log_ends_in_a_failed_import() {
        let scene = nobody().error("dramatiq.WorkerProcess(0)", IMPORT).silence();
        assert_eq!(scene.cause(), "certain worker-not-started");
        let summary = scene.verdict().cause.expect("a cause").summary;
        assert!(
            summary.contains("the `2` after `-v` is read as the broker module"),
            "{summary}"
        );
        assert_eq!(scene.verdict().scenario, Some(Scenario::B));
    }

    #[test]
    fn only_where_nothing_starts_it_again_waiting_changes_nothing() {
        let scene = |policy: &str| {
            let container = Container {
                name: "shop-worker-1".into(),
                roles: vec![Role::WorkerLog],
                state: "exited".into(),
                restart_policy: Some(policy.into()),
                ..Container::default()
            };
            nobody()
                .error("dramatiq.WorkerProcess(0)", IMPORT)
                .see(Source::Containers, EventKind::Container(Box::new(container)))
        };
        assert!(scene("no").lasts());
        assert!(!scene("always").lasts());
        // A service manager is not seen.
        assert!(!nobody().error("dramatiq.WorkerProcess(0)", IMPORT).lasts());
    }

    /// A container's log is its own: what the engine started there is what speaks in it.
    #[test]
    fn whose_log_it_is_says_the_container() {
        let elsewhere = "Failed to import module.\nTraceback (most recent call last):\n  File \"/srv/faults.py\", line 3, in early\nImportError: no";
        let scene = |command: &str| {
            nobody()
                .error("dramatiq.WorkerProcess(0)", elsewhere)
                .worker_container("c1", "exited", |container| {
                    container.command = command.split(' ').map(str::to_owned).collect();
                })
        };
        let certainty = |scene: Scene| scene.silence().answer(&CAUSE);
        assert_eq!(certainty(scene("/entry.sh dramatiq app")), "certain");
        assert_eq!(certainty(scene("dramatiq app -Q default mail")), "certain");
        // One for other queues, something that starts several, and two services in one log.
        for another in ["dramatiq app -Q mail", "honcho start"] {
            assert_eq!(certainty(scene(another)), "likely", "{another}");
        }
        let two = scene("dramatiq app").worker_container("c2", "running", |container| {
            container.name = "shop-mail-1".into();
            container.service = Some("mail".into());
        });
        assert_eq!(certainty(two), "likely");
    }

    #[test]
    fn one_that_was_started_is_known_by_its_exit_code() {
        let started = || Scene::new().depth("default", 0, 0).started("worker", 100);
        let sent = |scene: Scene| {
            scene
                .submitted()
                .row("PENDING")
                .publish("default")
                .depth("default", 1, 0)
        };
        let silent = sent(started().exited(100, 3));
        assert_eq!(silent.cause(), "certain worker-not-started");
        let said = sent(
            started()
                .error("dramatiq.WorkerProcess(0)", IMPORT)
                .exited(100, 2),
        );
        let summary = said.verdict().cause.expect("a cause").summary;
        assert!(
            summary.contains("exit code 2") && summary.contains("the `2` after `-v`"),
            "{summary}"
        );
        // The log is not needed to know that it ended.
        assert_eq!(
            said.without(Source::WorkerLog).cause(),
            "certain worker-not-started"
        );
        // It may have gone into the background, and one that consumed has started.
        assert_eq!(sent(started().exited(100, 0)).answer(&CAUSE), "not applicable");
        let later = sent(started().ready("worker", 100).exited(100, -9));
        assert_eq!(later.answer(&CAUSE), "ruled out");
        let booted = started().info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.");
        assert_eq!(sent(booted.exited(100, 1)).answer(&CAUSE), "ruled out");
    }

    #[test]
    fn a_number_elsewhere_is_no_verbosity() {
        let summary = |words: &[&str], line: &str| {
            let mut scene = nobody();
            scene.timeline.setup.worker_command = words.iter().map(|word| (*word).to_owned()).collect();
            let scene = scene.error("dramatiq.WorkerProcess(0)", line).silence();
            scene.verdict().cause.expect("a cause").summary
        };
        assert!(summary(&["dramatiq", "--verbose", "2", "app"], IMPORT).contains("after `--verbose`"));
        assert!(!summary(&["dramatiq", "--processes", "2", "app"], IMPORT).contains("broker module"));
        assert!(!summary(&["dramatiq", "2", "app"], IMPORT).contains("broker module"));
    }

    #[test]
    fn yesterdays_crash_is_only_likely_and_a_later_life_excludes_it() {
        let old = nobody()
            .from_before(90_000)
            .error("dramatiq.WorkerProcess(0)", IMPORT)
            .silence();
        assert_eq!(old.cause(), "likely worker-not-started");
        let later = nobody()
            .error("dramatiq.WorkerProcess(0)", IMPORT)
            .info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.")
            .silence();
        assert_eq!(later.answer(&CAUSE), "ruled out");
    }

    #[test]
    fn an_applications_traceback_is_a_near_miss() {
        let logged = nobody()
            .plain(
                Some(Level::Error),
                "2025-01-01 10:00:00 ERROR order failed\nTraceback (most recent call last):\n  File \"/app/x.py\", line 1, in f\nValueError: no",
            )
            .silence();
        assert_eq!(logged.answer(&CAUSE), "not applicable");
        let printed = nobody()
            .info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.")
            .plain(
                None,
                "Traceback (most recent call last):\n  File \"/app/x.py\", line 1, in f\nValueError: no",
            )
            .silence();
        assert_eq!(printed.answer(&CAUSE), "likely");
    }

    #[test]
    fn a_consumer_excludes_it_and_no_log_cannot_tell() {
        let scene = nobody().error("dramatiq.WorkerProcess(0)", IMPORT);
        assert_eq!(
            scene.clone().depth("default", 0, 1).silence().answer(&CAUSE),
            "ruled out"
        );
        assert_eq!(
            scene.silence().without(Source::WorkerLog).answer(&CAUSE),
            "cannot tell"
        );
    }

    /// One log may be that of several services, and nothing says that it is ours that failed.
    #[test]
    fn another_services_worker_is_a_near_miss() {
        let failed = nobody().error(
            "dramatiq.WorkerProcess(0)",
            "Failed to import module.\nTraceback (most recent call last):\n  File \"/srv/mailer.py\", line 2, in <module>\nKeyError: 'SMTP_HOST'",
        );
        assert_eq!(failed.clone().silence().cause(), "likely worker-not-started");
        let ours =
            failed.setup(|setup| setup.worker_command = ["dramatiq", "mailer"].map(str::to_owned).into());
        assert_eq!(ours.silence().cause(), "certain worker-not-started");
    }

    /// It failed, was repaired and started again, and has said nothing since.
    #[test]
    fn one_whose_container_is_connected_has_started() {
        let failed = nobody()
            .error("dramatiq.WorkerProcess(0)", IMPORT)
            .worker_container("a1", "running", |container| {
                container.addresses = vec!["172.18.0.7".into()];
            });
        assert_eq!(failed.clone().silence().answer(&CAUSE), "certain");
        let connected = |address: &str| {
            let name = format!("{address}:40001 -> 172.18.0.3:5672");
            failed
                .clone()
                .connections(&[(name.as_str(), "/", "running")])
                .silence()
                .answer(&CAUSE)
        };
        assert_eq!(connected("172.18.0.7"), "ruled out");
        assert_eq!(connected("172.18.0.8"), "certain");
    }

    /// Of two services in one log the one for this queue failed to start, and the other one goes on.
    #[test]
    fn another_services_life_excludes_nothing() {
        let failed = |last: &str| {
            let mut scene = nobody()
                .from_before(3)
                .line("[PID 101] [MainThread] [dramatiq.WorkerProcess(0)] [ERROR] Failed to import module.\nTraceback (most recent call last):\n  File \"/app/worker.py\", line 12, in <module>\nModuleNotFoundError: No module named 'pyrometer_driver'")
                .line(last)
                .line("[PID 201] [MainThread] [dramatiq.WorkerProcess(0)] [INFO] Worker process is ready for action.")
                .from_now_on()
                .silence();
            for event in &mut scene.timeline.events {
                if let EventKind::Line(line) = &mut event.kind {
                    let service = if line.pid == Some(101) {
                        "furnace-1"
                    } else {
                        "mail-1"
                    };
                    line.stream = Some(service.to_owned());
                }
            }
            scene
        };
        let queues = |words: &str| {
            failed(&format!(
                "mail-1 | [PID 201] [MainThread] [dramatiq.worker.Worker] [DEBUG] {words}"
            ))
        };
        let mail = queues("Dropping consumer for queue 'default': not whitelisted.");
        assert!(mail.cause().ends_with(" worker-not-started"), "{}", mail.cause());
        let other = crate::diagnosis::causes::worker_on_other_queue::CAUSE;
        assert_eq!(mail.answer(&other), "possible");
        let replica = queues("Adding consumer for queue 'emails'.");
        assert_eq!(replica.answer(&CAUSE), "ruled out");
    }

    /// What a log of last week ends in says little of who runs today.
    #[test]
    fn a_log_that_nobody_has_written_to_for_days() {
        let ends = |age_s: u64| {
            nobody()
                .from_before(age_s)
                .line("[PID 101] [MainThread] [dramatiq.WorkerProcess(0)] [ERROR] Failed to import module.\nTraceback (most recent call last):\n  File \"/app/worker.py\", line 12, in <module>\nModuleNotFoundError: No module named 'x'")
                .from_now_on()
                .silence()
        };
        assert_eq!(ends(7_200).answer(&CAUSE), "likely");
        assert_eq!(ends(7 * 86_400).answer(&CAUSE), "possible");
        let Answer::Matched(matched) = check(&Story::new(&ends(7 * 86_400).timeline)) else {
            panic!("no match");
        };
        assert!(matched.summary.ends_with("for 7 days"), "{}", matched.summary);
    }

    /// An application prints a traceback at import and goes on; a migration before the worker fails.
    #[test]
    fn a_printed_traceback_with_a_life_behind_it() {
        let printed = || {
            nobody().plain(
                None,
                "Traceback (most recent call last):\n  File \"/app/opt.py\", line 3, in <module>\nModuleNotFoundError: No module named 'uvloop'",
            )
        };
        let ours = |scene: Scene| scene.worker_container("a1", "running", |_| {});
        assert_eq!(ours(printed()).silence().answer(&CAUSE), "certain");
        let lives = printed().worker_process(&[]).silence();
        assert_eq!(ours(lives).answer(&CAUSE), "likely");
        let boots = "[PID 100] [MainThread] [dramatiq.MainProcess] [INFO] Dramatiq '2.2.1' is booting up.";
        assert_eq!(ours(printed().line(boots)).silence().answer(&CAUSE), "likely");
        let failed = printed()
            .error("dramatiq.WorkerProcess(0)", IMPORT)
            .worker_process(&[]);
        assert_eq!(ours(failed).silence().answer(&CAUSE), "certain");
    }

    /// `celery multi start`, `systemctl start`: what ends well has started something, as a rule.
    #[test]
    fn a_start_command_that_ends_well() {
        let started = |code: i32| {
            Scene::new()
                .depth("default", 0, 0)
                .started("worker", 100)
                .exited(100, code)
                .submitted()
                .row("PENDING")
                .publish("default")
                .depth("default", 1, 0)
                .silence()
        };
        assert_eq!(started(0).answer(&CAUSE), "likely");
        assert_eq!(started(1).answer(&CAUSE), "certain");
    }

    /// Two services write to one file: the other one's import failed, and ours is up.
    #[test]
    fn one_beside_it_that_is_up() {
        let adds = |queue: &str| format!("Adding consumer for queue '{queue}'.");
        let scene = |queue: &str, lives: bool| {
            let scene = nobody()
                .debug("dramatiq.worker._WorkerMiddleware", &adds(queue))
                .line(&format!(
                    "[PID 201] [MainThread] [dramatiq.WorkerProcess(0)] [ERROR] {IMPORT}"
                ))
                .worker_container("a1", "running", |_| {});
            let scene = if lives { scene.worker_process(&[]) } else { scene };
            scene.silence().answer(&CAUSE)
        };
        assert_eq!(scene("default", true), "likely");
        assert_eq!(scene("default", false), "certain");
        assert_eq!(scene("mail", true), "certain");
    }

    /// It failed minutes ago, was repaired and started again from a terminal.
    #[test]
    fn one_that_was_started_since_and_writes_elsewhere() {
        let failed = |is_configured: bool| {
            nobody()
                .error("dramatiq.WorkerProcess(0)", IMPORT)
                .from_now_on()
                .process(300, 1, "python dramatiq -v 2 app", |process| {
                    process.is_configured = is_configured;
                })
        };
        assert_eq!(failed(true).silence().answer(&CAUSE), "likely");
        assert_eq!(failed(true).gone(300).silence().answer(&CAUSE), "certain");
        assert_eq!(failed(false).silence().answer(&CAUSE), "certain");
    }

    #[test]
    fn one_that_is_older_than_the_line_did_not_end_in_it() {
        let lives = |started: i64| {
            let change = |process: &mut crate::timeline::Process| process.started_at_ms = Some(started);
            let scene = nobody().error("dramatiq.WorkerProcess(0)", IMPORT).process(
                101,
                100,
                "python dramatiq -v 2 app",
                change,
            );
            scene.silence().answer(&CAUSE)
        };
        let zero = 1_000_000;
        assert_eq!(lives(zero - 60_000), "likely");
        assert_eq!(lives(zero + 2_000), "certain");
    }

    /// Yesterday's log: the system was started again since.
    #[test]
    fn words_of_an_earlier_start_of_the_system() {
        let asked = |api_started_at_ms: i64| {
            Scene::new()
                .at(-36_000_000.0)
                .from_before(36_000)
                .error("dramatiq.WorkerProcess(0)", IMPORT)
                .at(-900.0)
                .from_now_on()
                .see(Source::Process, EventKind::ApiProcess { pid: 50 })
                .process(50, 1, "python uvicorn main:app", |process| {
                    process.started_at_ms = Some(api_started_at_ms);
                })
                .depth("default", 0, 0)
                .submitted()
                .row("PENDING")
                .publish("default")
                .depth("default", 1, 0)
                .silence()
        };
        assert_eq!(asked(999_000).cause(), "likely no-consumer");
        assert_eq!(asked(999_000).answer(&CAUSE), "possible");
        assert_eq!(asked(999_000 - 36_000_000).cause(), "likely worker-not-started");
    }
}
