//! Nobody is subscribed to the queue.

use crate::diagnosis::evidence::holding::{self, Holds};
use crate::diagnosis::evidence::{
    Depth, WorkerLine, broker, connections, containers, control, retries, standing, workers,
};
use crate::diagnosis::premises::{Premise, State};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Stand, Story};
use crate::framework::LogEvent;
use crate::framework::WorkerLife;
use crate::text::{self, counted};
use crate::timeline::{Event, EventKind, PlaceState, Process, Role, Source};
use crate::units::span;

pub(super) const CAUSE: Cause = Cause {
    id: "no-consumer",
    keeps_from: &[Stage::Delivered, Stage::Received],
    owner: &[Owner::Deployment],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Queue]],
    general: true,
    stand: Stand::Hangs,
    page: include_str!("no_consumer.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if story.published().is_none() && story.reached(Stage::Published).is_none() {
        return Answer::NotApplicable;
    }
    let depths = holding::depths_since_publish(story);
    if let Some(answer) = back_to_nobody(story).or_else(|| left_by_all(story, &depths)) {
        return answer;
    }
    if let Some(seen) = depths.iter().find(|depth| depth.consumers > 0) {
        return Answer::ruled_out(counted(seen.consumers, "consumer", "consumers"), [seen.n]);
    }
    let Some(last) = depths.last().filter(|depth| depth.exists) else {
        return Answer::cannot_tell(&[Source::Queue]);
    };
    if !story.closed() {
        return Answer::NotApplicable;
    }
    // Found at rest elsewhere: it does not wait here.
    if let Some(held) = story
        .held()
        .iter()
        .find(|held| held.passage.queue != story.queue())
    {
        return Answer::ruled_out(format!("it is on `{}`", held.passage.queue), [held.passage.n]);
    }
    let mut evidence: Vec<u32> = story.published().map(|passage| passage.n).into_iter().collect();
    evidence.push(last.n);
    if let Some(answer) = waits_elsewhere(story, last, &evidence) {
        return answer;
    }
    // One that went before the message was sent was seen all the same.
    let mut looks = story.depths_since(story.queue()).into_iter();
    let since = match looks.any(|depth| depth.consumers > 0) {
        true => " since the message was sent",
        false => "",
    };
    let text = format!(
        "`{}` had no consumer in any look{since}, and {} in it",
        story.queue(),
        counted(last.ready, "message waits", "messages wait")
    );
    // A consumer would find nothing of it there: that nobody consumes is not what keeps it.
    if last.ready == 0 && retries::is_on_the_queue(story) && story.sees(Source::Firehose) {
        return Answer::possible(
            format!("{text}: the message does not wait there any more, and a worker would not get it"),
            evidence,
        );
    }
    // A worker that lives has a reason of its own not to consume, even if it could not be shown.
    if let Some(n) = workers::watched_is_alive(story) {
        evidence.push(n);
        let who = what_lives(story, n);
        return Answer::likely(format!("{text}, although {who}"), evidence);
    }
    if let Some(answer) = standing_container(story, &text, &evidence) {
        return answer;
    }
    if let Some(answer) = ended_containers(story, &text, &evidence) {
        return answer;
    }
    if let Some(answer) = by_command(story, &text, &evidence) {
        return answer;
    }
    let ended = story.started("worker").as_ref().and_then(workers::end_of);
    let (text, scenario) = match ended {
        // A process that ends says something by that.
        Some((end, words)) => {
            evidence.push(end.n);
            let last = workers::last_words(story, Source::WorkerLog);
            evidence.extend(last.as_ref().map(|said| said.n));
            let said = last.map_or(String::new(), |said| format!("; its last line: {said}"));
            (
                format!("{text}: the worker that was started {words}{said}"),
                Scenario::B,
            )
        }
        None => (no_worker_runs(story, &text, &mut evidence), Scenario::C),
    };
    // Whoever is dead and not buried has a master that lives.
    let unburied = story
        .all_processes()
        .any(|process| process.state == 'Z' && workers::is_worker(&process));
    let answer = if last.ready > 0 && retries::is_on_the_queue(story) && !unburied && story.knows_its_worker()
    {
        // A log that says nothing of an end leaves only its pids to tell that it has ended: in a
        // container they are others.
        let lives = story
            .worker_lines()
            .iter()
            .rev()
            .find_map(WorkerLine::worker_life);
        let by_pid = lives
            .filter(|life| *life != WorkerLife::Ending)
            .map(|_| Premise::SamePidSpace);
        Answer::shown(text, evidence).given(by_pid)
    } else {
        Answer::likely(text, evidence)
    };
    answer.scenario(scenario)
}

/// It was handed out, is back on its queue, and nobody consumes any more.
fn back_to_nobody(story: &Story<'_>) -> Option<Answer> {
    let passage = story.deliveries().last()?;
    let last = story.depths(story.queue()).last()?;
    let nobody = last.consumers == 0 && last.ready > 0 && story.closed();
    let back = holding::came_back(story).filter(|_| nobody && story.reached(Stage::Entered).is_none())?;
    let text = format!(
        "the message was handed out, and is back on `{}`, which has no consumer any more: whoever had it has ended, or gave it back",
        story.queue()
    );
    Some(Answer::likely(text, [passage.n, back, last.n]))
}

/// It was never handed out, and whoever consumed its queue at first does not any more.
fn left_by_all(story: &Story<'_>, depths: &[Depth]) -> Option<Answer> {
    let last = depths.last().filter(|depth| depth.exists && depth.ready > 0)?;
    let consumed = depths.iter().rposition(|depth| depth.consumers > 0)?;
    let left = depths.get(consumed + 1)?;
    // Where nobody sees what is handed out, it may have been.
    let waits = story.closed() && story.deliveries().next().is_none() && story.sees_all(Source::Firehose);
    (waits && last.at_ms - left.at_ms >= STARTS_AGAIN_MS).then(|| {
        let text = format!(
            "`{}` has no consumer any more since {} after the submission, and {} in it",
            story.queue(),
            span(left.at_ms),
            counted(last.ready, "message waits", "messages wait")
        );
        Answer::likely(text, [left.n, last.n])
    })
}

/// Whoever starts again consumes again after this time, as a rule.
const STARTS_AGAIN_MS: f64 = 3_000.0;

/// What of the watched worker this event shows: its container, a line of its log, or itself.
fn what_lives(story: &Story<'_>, n: u32) -> String {
    let mut containers = story.worker_containers().into_iter();
    if let Some(container) = containers.find(|container| container.n == n) {
        return format!("its {} is running", containers::words(&container));
    }
    // A line is older than the end of what wrote it may be.
    let since = story.published().map_or(f64::MIN, |passage| passage.at_ms);
    match story.timeline.event(n) {
        Some(said) if let_unknown(story, said).is_some() => let_unknown(story, said).unwrap_or_default(),
        Some(said) if said.source == Source::WorkerLog && said.at_ms < since => {
            "the watched worker wrote to its log shortly before, and nothing of an end".into()
        }
        Some(said) if said.source == Source::WorkerLog => {
            "the watched worker has written to its log since".into()
        }
        _ => "the watched worker is alive".into(),
    }
}

/// In words, where nothing shows that the process is the watched worker's.
fn let_unknown(story: &Story<'_>, event: &Event) -> Option<String> {
    let EventKind::Process(process) = &event.kind else {
        return None;
    };
    if story.is_another_services(process) {
        return Some(format!(
            "pid {} lives and writes to the watched log: `{}`, which is not the configured command",
            process.pid,
            text::excerpt(&process.command.join(" "))
        ));
    }
    let at = process.container.as_deref();
    let at = at.map_or(String::new(), |id| format!(" in container {id}"));
    (!is_known(story, process)).then(|| {
        format!(
            "pid {}{at} lives, which may be the watched worker: the pids in its log are a container's",
            process.pid
        )
    })
}

/// That the log's pids mean this process is no mere likeness of numbers.
fn is_known(story: &Story<'_>, process: &Process) -> bool {
    let own = story.worker_containers();
    let is_own = |id: &String| own.iter().any(|container| container.id == *id);
    process.container.as_ref().is_none_or(is_own)
        || process.holds_log
        || matches!(story.state(&Premise::SamePidSpace), State::Proved(_))
}

/// It was not seen to wait here: then it needs more than a worker.
fn waits_elsewhere(story: &Story<'_>, last: &Depth, evidence: &[u32]) -> Option<Answer> {
    // Others wait, and this one did not come to them.
    if let Some(passage) = story.published().filter(|_| broker::did_not_grow(story)) {
        let text = match passage.queue == story.queue() {
            true => format!(
                "`{}` had no consumer in any look, but did not grow by this publish: the message does not wait there",
                passage.queue
            ),
            false => format!(
                "`{}` had no consumer in any look, but `{}` did not grow by this publish: the message does not wait there",
                story.queue(),
                passage.queue
            ),
        };
        return Some(Answer::possible(text, evidence));
    }
    // What does not wait needs more than a worker: it expired, was purged, or its queue has no leader.
    let place = story.published().map_or(story.queue(), |passage| passage.queue);
    let delayed = place != story.queue() && !retries::moved_on(story);
    let gone = match (delayed, story.published()) {
        (true, Some(passage)) => matches!(
            holding::holds(story, place, passage.at_ms),
            Holds::Nothing(_) | Holds::Unseen
        ),
        _ => last.ready == 0,
    };
    let place = if delayed { place } else { story.queue() };
    gone.then(|| {
        Answer::possible(
            format!(
                "`{}` had no consumer in any look, but the message was not seen to wait on `{place}` either",
                story.queue()
            ),
            evidence,
        )
        .would_decide(&[Source::DeadLetters])
    })
}

/// The way into the worker's container may say that it does not run.
fn no_worker_runs(story: &Story<'_>, text: &str, evidence: &mut Vec<u32>) -> String {
    match story.place_says("worker", PlaceState::NotRunning) {
        Some(said) => {
            evidence.push(said.n);
            format!("{text}: no worker runs ({said})")
        }
        None => match stopped(story) {
            Some(told) => {
                evidence.push(told.n);
                let when = told
                    .stated
                    .map(|stated| format!(" at {stated}"))
                    .unwrap_or_default();
                format!("{text}: the worker was told to stop{when}, and none was seen to run since")
            }
            None => match control::living(story).first() {
                Some(beat) => {
                    evidence.push(beat.n);
                    format!("{text}, although {} says that it lives", beat.node)
                }
                None => format!("{text}: no worker was seen to run"),
            },
        },
    }
}

/// A process with the configured command lives. Another system of this machine may run the same one.
fn by_command(story: &Story<'_>, text: &str, evidence: &[u32]) -> Option<Answer> {
    if story.started("worker").is_some() {
        return None;
    }
    let mut all = story.all_processes();
    let process = all.find(|process| {
        process.is_configured
            && process.lives()
            && story.gone(process.pid).is_none()
            && !connections::serves_another_vhost(story, process.pid)
    })?;
    let text = format!(
        "{text}, although pid {} runs the worker's command (state {})",
        process.pid, process.state
    );
    let evidence: Vec<u32> = evidence.iter().copied().chain([process.n]).collect();
    Some(Answer::likely(text, evidence))
}

/// By its log the worker was stopped last.
fn stopped<'s, 'a>(story: &'s Story<'a>) -> Option<&'s WorkerLine<'a>> {
    let mut lines = story.worker_lines().iter();
    let last = lines.rfind(|told| told.worker_life().is_some())?;
    matches!(last.mark, Some(LogEvent::Stopping | LogEvent::ShutDown)).then_some(last)
}

/// The worker's container is there, and does not do a worker's work: it is paused, or something else runs in it.
fn standing_container(story: &Story<'_>, text: &str, evidence: &[u32]) -> Option<Answer> {
    let with = |more: &[u32]| -> Vec<u32> { evidence.iter().chain(more).copied().collect() };
    if let Some(container) = story.paused_worker_container() {
        let text = format!("{text}: {} is paused", containers::words(&container));
        return Some(Answer::likely(text, with(&[container.n])));
    }
    if let Some(said) = story.place_says("worker", PlaceState::Paused) {
        let text = format!("{text}: the way into the worker's container says that it is paused ({said})");
        return Some(Answer::likely(text, with(&[said.n])));
    }
    if let Some((container, inside)) = workers::runs_something_else(story) {
        let commands: Vec<String> = inside
            .iter()
            .map(|process| format!("`{}`", process.command.join(" ")))
            .collect();
        let text = format!(
            "{text}: {} runs, and no worker in it, but {}",
            containers::words(&container),
            text::excerpt(&commands.join(", "))
        );
        let more: Vec<u32> = std::iter::once(container.n)
            .chain(inside.iter().map(|process| process.n))
            .take(4)
            .collect();
        return Some(match retries::is_on_the_queue(story) {
            true => Answer::shown(text, with(&more)),
            false => Answer::likely(text, with(&more)),
        });
    }
    // Nothing was seen of what runs in it.
    let container = story.running_worker_container()?;
    let text = format!(
        "{text}, although {} is running: it was started with `{}`, which is no worker's command by itself",
        containers::words(&container),
        text::excerpt(&container.command.join(" "))
    );
    Some(Answer::likely(text, with(&[container.n])))
}

/// The engine says that none of the worker's containers runs, and how they ended.
fn ended_containers(story: &Story<'_>, text: &str, evidence: &[u32]) -> Option<Answer> {
    let ended = story.ended_worker_containers()?;
    let ends: Vec<String> = ended
        .iter()
        .map(|container| format!("{} {}", container.name, standing::state(container)))
        .collect();
    let text = format!("{text}: the worker's container {}", ends.join("; "));
    let evidence: Vec<u32> = evidence
        .iter()
        .copied()
        .chain(ended.iter().map(|container| container.n))
        .collect();
    let answer = match retries::is_on_the_queue(story) {
        true => Answer::shown(text, evidence),
        false => Answer::likely(text, evidence),
    };
    let command = story.standing(Role::WorkerLog).map(|standing| standing.command);
    Some(match command {
        Some(command) => answer.naming("{container_command}", command),
        None => answer,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;
    use serde_json::json;

    fn nobody() -> Scene {
        Scene::new()
            .depth("default", 0, 0)
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 1, 0)
    }

    /// Whoever had it is gone, and it is back.
    #[test]
    fn back_on_a_queue_that_nobody_consumes_any_more() {
        let back = |ready: u64, consumers: u64| {
            Scene::new()
                .totals("default", 0, 0, serde_json::json!({}))
                .depth("default", 0, 1)
                .submitted()
                .row("PENDING")
                .publish("default")
                .deliver(crate::diagnosis::testing::WORKER)
                .depth("default", ready, consumers)
                .silence()
        };
        assert_eq!(back(1, 0).answer(&CAUSE), "likely");
        assert_eq!(back(1, 0).cause(), "likely no-consumer");
        assert_eq!(back(1, 1).answer(&CAUSE), "ruled out");
        assert_ne!(back(0, 0).cause(), "likely no-consumer");
    }

    /// The worker is stopped for good while many wait before it, or starts again.
    #[test]
    fn one_that_goes_before_it_takes_the_message() {
        let went = |until_ms: f64, consumers: u64| {
            Scene::new()
                .depth("default", 300, 1)
                .submitted()
                .row("PENDING")
                .publish("default")
                .depth("default", 301, 1)
                .depth("default", 290, 0)
                .at(until_ms)
                .depth("default", 290, consumers)
                .silence()
        };
        assert_eq!(went(5_000.0, 0).cause(), "likely no-consumer");
        assert_eq!(went(5_000.0, 1).answer(&CAUSE), "ruled out");
        assert_eq!(went(1_000.0, 0).answer(&CAUSE), "ruled out");
        let blind = went(5_000.0, 0).without(Source::Firehose);
        assert_ne!(blind.cause(), "likely no-consumer");
    }

    /// The consumer that was there before the message was sent is no reason that it would have been taken.
    #[test]
    fn a_consumer_that_went_before_the_publish() {
        let went = |after: u64| {
            Scene::new()
                .depth("default", 0, 1)
                .submitted()
                .row("PENDING")
                .depth("default", 0, 1)
                .depth("default", 0, 0)
                .publish("default")
                .depth("default", 1, after)
                .silence()
        };
        assert_ne!(went(0).answer(&CAUSE), "ruled out");
        assert_eq!(went(1).answer(&CAUSE), "ruled out");
    }

    #[test]
    fn nobody_is_there() {
        let scene = nobody();
        assert_eq!(scene.cause(), "none");
        assert!(scene.clone().silence().cause().ends_with(" no-consumer"));
        assert!(
            scene
                .clone()
                .silence()
                .summary()
                .contains("no worker was seen to run")
        );
        // One says that it lives, and its process is out of sight.
        let beat = crate::framework::Heartbeat {
            node: "celery@vm".into(),
            pid: Some(900),
            beats: 3,
            ..crate::framework::Heartbeat::default()
        };
        let scene = scene.see(Source::Control, EventKind::Heartbeat(beat));
        assert!(scene.silence().summary().contains("although celery@vm says"));
    }

    #[test]
    fn certain_only_where_every_reason_was_looked_for() {
        let seen = nobody()
            .from_before(90_000)
            .debug("dramatiq.WorkerProcess(0)", "Loading modules...")
            .info("dramatiq.worker.Worker", "Worker has been shut down.")
            .totals("default", 1, 0, json!({}))
            .consumers(&[])
            .connections(&[])
            .silence();
        assert_eq!(seen.answer(&CAUSE), "certain");
        assert_ne!(seen.without(Source::WorkerLog).cause(), "certain no-consumer");
    }

    #[test]
    fn the_way_into_its_container_says_that_it_does_not_run() {
        let says = |said: &str| {
            let scene = nobody().place_says(said).depth("default", 1, 0).silence();
            (scene.answer(&CAUSE), scene.summary())
        };
        let silent = nobody().depth("default", 1, 0).silence();
        let (answer, summary) = says("service \"worker\" is not running");
        assert!(
            summary.contains("no worker runs (service \"worker\" is not running)"),
            "{summary}"
        );
        assert_eq!(answer, silent.answer(&CAUSE));
        let (_, unknown) = says("Error response from daemon: No such container: w");
        assert!(!unknown.contains("No such"), "{unknown}");
    }

    /// A container that runs is no worker that runs.
    #[test]
    fn its_container_runs_something_else() {
        let id = "a1b2c3d4e5f6";
        let container = |scene: Scene, command: &str| {
            scene.worker_container(id, "running", |container| {
                container.pid = Some(4000);
                container.command = command.split(' ').map(str::to_owned).collect();
            })
        };
        let inside = |scene: Scene, command: &str| {
            scene.process(4000, 1, command, |process| process.container = Some(id.into()))
        };
        let sleeps = inside(container(nobody(), "sleep infinity"), "sleep infinity").silence();
        assert_eq!(sleeps.answer(&CAUSE), "certain");
        assert!(
            sleeps.summary().contains("no worker in it, but `sleep infinity`"),
            "{}",
            sleeps.summary()
        );
        // What it was started with may have ended, and left the shell.
        let left = inside(container(nobody(), "/entry.sh dramatiq app"), "sh /start").silence();
        assert!(left.summary().contains("no worker in it"), "{}", left.summary());
        // taskdiag's own script, by `[worker] exec`.
        let eyes = inside(container(nobody(), "/entry.sh"), "/bin/sleep infinity");
        let eyes = eyes.process(77, 1, "python3 -I -S -c x", |process| {
            process.command.push("print(\"taskdiag boot\")".into());
            process.container = Some(id.into());
        });
        let said = eyes.silence().summary();
        assert!(
            said.contains("no worker in it, but") && !said.contains("taskdiag"),
            "{said}"
        );
        let alive = inside(container(nobody(), "/entry.sh"), "python dramatiq app").silence();
        assert_eq!(alive.answer(&CAUSE), "likely");
        // Nothing of it was seen.
        let unseen = container(nobody(), "sleep infinity").silence();
        assert_eq!(unseen.answer(&CAUSE), "likely");
        assert!(
            unseen.summary().contains("no worker's command by itself"),
            "{}",
            unseen.summary()
        );
        let unseen = container(nobody(), "dramatiq app").silence();
        assert!(unseen.summary().contains("is running"), "{}", unseen.summary());
    }

    /// Where the API and others write into one log, what they say is no sign of the worker's life.
    #[test]
    fn a_log_that_several_services_write() {
        let says = |text: &str| {
            let mut scene = nobody().plain(None, "GET /healthz 200").plain(None, text);
            let mut streams = ["web-1", "worker-1"].iter();
            for event in &mut scene.timeline.events {
                if let crate::timeline::EventKind::Line(line) = &mut event.kind {
                    line.stream = streams.next().map(|stream| (*stream).to_owned());
                }
            }
            scene.depth("default", 1, 0).silence()
        };
        let quiet = says("entry: starting");
        assert_eq!(quiet.answer(&CAUSE), "likely");
        assert!(!quiet.summary().contains("alive"), "{}", quiet.summary());
        let booted =
            says("[PID 7] [MainThread] [dramatiq.MainProcess] [INFO] Dramatiq '2.2.1' is booting up.");
        assert_eq!(booted.answer(&CAUSE), "likely");
    }

    #[test]
    fn a_worker_that_was_started_and_ended_later_says_so() {
        let scene = Scene::new()
            .depth("default", 0, 0)
            .started("worker", 100)
            .ready("worker", 100)
            .exited(100, -9)
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 1, 0)
            .silence();
        assert!(scene.cause().ends_with(" no-consumer"), "{}", scene.cause());
        let verdict = scene.verdict();
        assert_eq!(verdict.scenario, Some(Scenario::B));
        let summary = verdict.cause.expect("a cause").summary;
        assert!(summary.contains("ended with signal 9"), "{summary}");
    }

    /// What it wrote before it was told to stop is no sign of life; and a line alone does not say that it lives now.
    #[test]
    fn a_line_is_older_than_the_end_of_what_wrote_it() {
        use crate::diagnosis::causes::celery::scenes::CeleryScene;
        let said = |stops: bool| {
            let mut scene = CeleryScene::waiting(0)
                .info("mingle: all alone")
                .and(|scene| scene.gone(100));
            if stops {
                scene = scene.info("worker: Warm shutdown (MainProcess)");
            }
            let scene = scene.silence();
            match check(&Story::new(&scene.timeline)) {
                Answer::Matched(matched) => matched.summary,
                _ => String::new(),
            }
        };
        assert!(
            said(false).ends_with("although the watched worker has written to its log since"),
            "{}",
            said(false)
        );
        assert!(said(true).contains("was told to stop"), "{}", said(true));
    }

    #[test]
    fn a_living_worker_has_a_reason_of_its_own() {
        let scene = nobody()
            .info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.")
            .worker_process(&[])
            .silence();
        assert_eq!(scene.answer(&CAUSE), "likely");
    }

    /// It expired, was purged, or lies on a queue whose leader is gone: a worker would get nothing.
    #[test]
    fn one_that_does_not_wait_needs_more_than_a_worker() {
        let gone = nobody().at(1500.0).depth("default", 0, 0).silence();
        assert_eq!(gone.answer(&CAUSE), "possible");
        let dead = nobody().dead_letter("default.XQ", "expired").silence();
        assert_eq!(dead.answer(&CAUSE), "ruled out");
    }

    #[test]
    fn afterwards_a_look_at_the_queue_tells_whether_it_waits_there() {
        let waiting = Scene::new().given().row("PENDING").depth("default", 2, 0);
        let unseen = waiting.clone().silence();
        assert_eq!(unseen.cause(), "likely no-consumer", "it may be among them");
        let seen = waiting
            .clone()
            .looked_at("default", "x-1")
            .looked_at("default", "m-1");
        assert_eq!(seen.silence().cause(), "likely no-consumer");
        let others = waiting
            .clone()
            .looked_at("default", "x-1")
            .looked_at("default", "x-2");
        assert_ne!(others.silence().cause(), "likely no-consumer");
        let mut unread = Scene::message("x-2");
        unread.undecodable = Some("it is cut".into());
        let unread = waiting
            .clone()
            .looked_at("default", "x-1")
            .lies_on("default", unread);
        assert_eq!(unread.silence().cause(), "likely no-consumer");
        let in_part = waiting.looked_at("default", "x-1");
        assert_eq!(in_part.silence().cause(), "likely no-consumer");
    }

    #[test]
    fn a_consumer_excludes_it_and_no_samples_cannot_tell() {
        assert_eq!(Scene::published().silence().answer(&CAUSE), "ruled out");
        assert_eq!(
            nobody().silence().without(Source::Queue).answer(&CAUSE),
            "cannot tell"
        );
    }

    /// A Procfile's services share a log.
    #[test]
    fn another_services_worker_is_not_the_watched_one() {
        let lives = |command: &str| {
            nobody()
                .setup(|setup| {
                    setup.worker_command = ["dramatiq", "-v", "kiln.worker"].map(str::to_owned).into();
                })
                .info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.")
                .process(101, 100, command, |process| process.holds_log = true)
                .silence()
        };
        let other = lives("/v/bin/python /v/bin/dramatiq -p 1 newsletter");
        assert!(
            other.summary().contains("not the configured command"),
            "{}",
            other.summary()
        );
        let own = lives("/v/bin/python /v/bin/dramatiq -p 1 kiln.worker");
        assert!(
            own.summary().contains("the watched worker is alive"),
            "{}",
            own.summary()
        );
    }
}
