//! The API could have published, and did not.

use crate::diagnosis::evidence::{Transfer, WorkerLine, api, broker, connections, later, permissions};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Claim, Owner, Scenario, Stage, Stand, Story};
use crate::framework::{LogEvent, Verbosity};
use crate::timeline::{Connection, EventKind, Level, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "not-dispatched",
    keeps_from: &[Stage::Published],
    owner: &[Owner::ApiCode],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Firehose, Source::Queue]],
    stand: Stand::Hangs,
    claims: &[Claim::NothingSent],
    page: include_str!("not_dispatched.md"),
    check,
    ..Cause::DEFAULT
};

/// A publish that failed and was swallowed leaves the same, and only the API's log would tell.
fn check(story: &Story<'_>) -> Answer {
    match (look(story), story.sees(Source::ApiLog)) {
        // Sent or not, the broker would have refused it.
        (Answer::Matched(matched), _) if permissions::api_may_not_publish(story).is_some() => {
            Answer::possible(matched.summary, matched.evidence).given([Premise::NothingRefused])
        }
        (Answer::Matched(matched), false) => {
            Answer::possible(matched.summary, matched.evidence).would_decide(&[Source::ApiLog])
        }
        (answer, _) => answer,
    }
}

fn look(story: &Story<'_>) -> Answer {
    if let Some(answer) = later::sent_or_to_be_sent(story) {
        return answer;
    }
    if let Some(stray) = story.stray_publishes().first() {
        return only_for_another_actor(story, stray);
    }
    if let (Some(committed), Some(row)) = (story.older_row(), story.last_row())
        && story.says_it_is_over(&row)
    {
        return Answer::ruled_out(
            "the row is an older task's: no task was made to send",
            [committed.n],
        );
    }
    if !story.closed() {
        return Answer::NotApplicable;
    }
    if story.post_mortem() {
        return afterwards(story);
    }
    // Sent through a node that is not traced, or dropped before we read it.
    if !story.sees_all(Source::Firehose) {
        return Answer::cannot_tell(&[Source::Firehose]);
    }
    let api = story.api_processes();
    let is_api = |connection: &str| {
        api.iter().any(|process| {
            connections::is_socket_of(process, connection)
                || story
                    .peer(connection)
                    .is_some_and(|peer| peer.value == process.pid)
        })
    };
    if let Some(answer) = under_another_id(story) {
        return answer;
    }
    if let Some(other) = story.other_publishes().find(|publish| is_api(publish.connection)) {
        return Answer::likely(
            format!(
                "the API published for other tasks (`{}`), not for this one",
                other.message.actor.as_deref().unwrap_or("?")
            ),
            [other.n],
        )
        .given([Premise::NothingRefused]);
    }
    let said = api::own_words(story);
    if let Some(connections) = story.connections() {
        // What it sends is not read while the broker holds it back.
        let is_held_back = |connection: &Connection| {
            matches!(connection.state.as_str(), "blocked" | "blocking") && is_api(&connection.name)
        };
        if connections.iter().any(is_held_back) {
            return Answer::NotApplicable;
        }
        for process in &api {
            if connections.iter().any(|connection| {
                connection.vhost == story.timeline.setup.vhost
                    && connections::is_socket_of(process, &connection.name)
            }) {
                let (said, lines) = said.unwrap_or_default();
                let mut evidence = vec![process.n, connections.n];
                let has_words = !lines.is_empty();
                evidence.extend(lines);
                // It connected for something: the broker may not have told yet that it refused that.
                if !has_words && permissions::may_be_refused_yet(story).is_some() {
                    let text = format!(
                        "the API (pid {}) connected to this vhost after the submission, and nothing that it sent for this task arrived",
                        process.pid
                    );
                    return Answer::possible(text, evidence).given([Premise::NothingRefused]);
                }
                return Answer::shown(
                    format!(
                        "the API (pid {}) is connected to this very vhost, and sent nothing for this task{said}",
                        process.pid
                    ),
                    evidence,
                )
                .given([Premise::NothingRefused]);
            }
        }
    }
    // A new connection is listed 2 to 5 s late: until then nothing says which vhost it is in.
    let unlisted = api
        .iter()
        .any(|process| connections::amqp_socket(story, process).is_some());
    if api.is_empty() {
        Answer::cannot_tell(&[Source::Process])
    } else if unlisted || api.iter().any(|process| !process.sockets_seen) {
        Answer::cannot_tell(&[Source::Management])
    } else {
        never_connected(story).unwrap_or(Answer::NotApplicable)
    }
}

/// The API has no connection, and its log warned of the task.
fn never_connected(story: &Story<'_>) -> Option<Answer> {
    let warned = api::warned_of_the_task(story)?;
    let (said, lines) = api::own_words(story)?;
    let processes = story.api_processes().into_iter().map(|process| process.n);
    let evidence: Vec<u32> = processes.chain(lines).chain([warned]).collect();
    let text = format!("the API has no connection to the broker, and sent nothing for this task{said}");
    Some(Answer::likely(text, evidence).given([Premise::NothingRefused]))
}

/// Never certain: an outbox may send it later, and it may travel under another id, and have run.
fn under_another_id(story: &Story<'_>) -> Option<Answer> {
    let what = broker::disguised(story)?;
    let text = format!("the API sent nothing that carries the task id, but a message {what} was published");
    Some(Answer::possible(text, [what.n]).may_have_begun())
}

/// Another message has the task's id. It may be a first step, which sends ours when it is done: not where it is over,
/// and did not fail.
fn only_for_another_actor(story: &Story<'_>, stray: &Transfer<'_>) -> Answer {
    let actor = stray.message.actor.as_deref().unwrap_or("?");
    let id = stray.message.message_id.as_deref();
    let mut its_lines = story.worker_lines().iter().filter(|told| told.message_id() == id);
    let fails = |mark: &LogEvent| mark.fails_attempt() || matches!(mark, LogEvent::Failed { .. });
    let failed = its_lines.clone().find(|told| told.mark.is_some_and(fails));
    let succeeded = its_lines.find(|told| matches!(told.mark, Some(LogEvent::Succeeded { .. })));
    let wanted = story.timeline.setup.actor.as_deref();
    let Some(wanted) = wanted.filter(|_| story.sees_all(Source::Firehose)) else {
        return Answer::ruled_out(
            format!(
                "a message with this task id was published, for actor `{actor}` to `{}`",
                stray.queue
            ),
            [stray.n],
        );
    };
    if !story.closed() {
        return Answer::NotApplicable;
    }
    let text = format!("a message with this task id was sent for `{actor}`, and none for `{wanted}` so far");
    // Of what is acknowledged as it begins, the queue's count says nothing.
    let over = match story.acknowledges_after_the_run() {
        true => story
            .infos(stray.queue)
            .last()
            .filter(|info| info.counted_ms > stray.at_ms && info.unacked == Some(0) && info.ready == Some(0))
            .map(|info| info.n),
        false => succeeded.map(|told| told.n),
    };
    match (failed, over) {
        (Some(failed), _) => Answer::possible(
            format!("{text}; that one failed, which is why if it is a step before it"),
            [stray.n, failed.n],
        ),
        (None, Some(over)) => Answer::likely(text, [stray.n, over]).given([Premise::NothingRefused]),
        (None, None) => Answer::possible(text, [stray.n]),
    }
}

/// Nothing is left of a message, and the only worker that consumes, which tells of each, has nothing of it: it was
/// sent and lost, or never sent. What the API's own log says of the task may tell which.
fn afterwards(story: &Story<'_>) -> Answer {
    let queue = story.queue();
    let queues = &story.framework().queues;
    let companions = [queues.delay(queue), queues.dead_letter(queue)];
    let is_empty = |name: &String| story.depths(name).last().is_some_and(|depth| depth.ready == 0);
    // What is delayed is in a worker's hands, where no look finds it.
    let is_held = |name: &String| {
        let last = story.infos(name).last();
        last.is_some_and(|info| info.unacked != Some(0))
    };
    let hidden = !story.sees(Source::DeadLetters) && !companions.iter().flatten().all(is_empty)
        || companions.iter().flatten().any(is_held);
    let tells = story.sees(Source::WorkerLog) && story.debug_log() && !may_be_one_of_the_log(story);
    let alone = story
        .queue_consumers()
        .is_some_and(|all| all.others.is_empty() && !all.own.is_empty());
    let (Some(left), Some((said, lines))) = (story.empty_queue(), api::own_words(story)) else {
        return Answer::cannot_tell(&[Source::Firehose]);
    };
    if hidden || !tells || !alone || !story.held().is_empty() || !story.lines().is_empty() {
        return Answer::cannot_tell(&[Source::Firehose]);
    }
    // That it was accepted says nothing of its way since: what was purged, has expired, was revoked or went to another queue
    // leaves the same.
    if !lines.iter().any(|n| says_that_something_was_off(story, *n)) {
        return Answer::cannot_tell(&[Source::Firehose]);
    }
    let mut evidence = vec![left];
    evidence.extend(lines);
    Answer::possible(
        format!(
            "its queues hold no message of it, and the log of the only worker on `{queue}`, which tells of each message, has none of it{}",
            said.replacen("its log", "the API's log", 1)
        ),
        evidence,
    )
    .would_decide(&[Source::Firehose])
}

/// A warning, or a word of something that was not done.
fn says_that_something_was_off(story: &Story<'_>, n: u32) -> bool {
    let Some(EventKind::Line(line)) = story.timeline.event(n).map(|event| &event.kind) else {
        return false;
    };
    let denies = |word: &str| {
        let word = word.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase();
        matches!(word.as_str(), "not" | "no" | "never" | "without")
            || DENIALS.iter().any(|start| word.starts_with(start))
    };
    line.level >= Some(Level::Warning) || line.traceback.is_some() || line.text.split_whitespace().any(denies)
}

/// Words that begin so tell of something that was left out.
const DENIALS: &[&str] = &[
    "skip",
    "ignor",
    "disabl",
    "unknown",
    "unsupported",
    "drop",
    "suppress",
    "warn",
    "error",
    "fail",
];

/// The log names messages by their ids alone, and has one of the task's actor: that may be the task's, which nobody knows by
/// its id.
fn may_be_one_of_the_log(story: &Story<'_>) -> bool {
    let wanted = story.timeline.setup.actor.as_deref();
    let is_of_it = |told: &WorkerLine<'_>| {
        let names = |actor: &str| wanted.is_none_or(|wanted| wanted == actor);
        told.message_id().is_some() && told.task_name().is_none_or(names)
    };
    story.framework().log.tells_at == Verbosity::Info && story.worker_lines().iter().any(is_of_it)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{API, OTHER, Scene, WORKER};
    use crate::timeline::LogLine;

    fn connected() -> Scene {
        Scene::accepted()
            .row("PENDING")
            .api_process(&[API])
            .connections(&[(API, "/", "running")])
    }

    /// Only a copy for the audit was sent.
    #[test]
    fn a_message_for_another_actor_is_not_the_tasks() {
        let audit = |queue: &str| {
            let mut other = Scene::message("m-9");
            other.actor = Some("note_audit".into());
            Scene::accepted()
                .setup(|setup| setup.actor = Some("act".into()))
                .row("PENDING")
                .publish_as(queue, API, other)
        };
        let elsewhere = |ready, unacked| {
            let scene = audit("audit").at(3000.0);
            scene
                .totals("audit", ready, unacked, serde_json::json!({}))
                .silence()
        };
        assert_eq!(elsewhere(0, 0).answer(&CAUSE), "likely");
        assert_ne!(elsewhere(0, 0).verdict().scenario, Some(Scenario::A));
        // It may be a first step, which sends ours.
        assert_eq!(elsewhere(0, 1).answer(&CAUSE), "possible");
        // On the very queue it may be the same actor under another name, unless a worker has run it.
        let ran = "[PID 101] [Thread-5] [app.note_audit] [DEBUG] Received args=('task_1',) kwargs={}.";
        let here = |scene: Scene| {
            scene
                .at(3000.0)
                .totals("default", 0, 0, serde_json::json!({}))
                .silence()
        };
        assert_eq!(here(audit("default")).answer(&CAUSE), "ruled out");
        assert_eq!(here(audit("default").line(ran)).answer(&CAUSE), "likely");
    }

    /// The first step of a pipeline names ours as the next: it is sent when that one is done.
    #[test]
    fn what_follows_on_another_actor_is_to_be_sent_yet() {
        let sent = |next: &str| {
            let mut first = Scene::message("m-9");
            first.actor = Some("enlarge".into());
            first.follow_up = Some(crate::framework::FollowUp {
                actor: next.into(),
                ..Default::default()
            });
            let scene = Scene::accepted().setup(|setup| setup.actor = Some("act".into()));
            scene.row("PENDING").publish_as("print", API, first).silence()
        };
        assert_eq!(sent("act").answer(&CAUSE), "ruled out");
        assert!(
            !sent("act").cause().ends_with("published"),
            "{}",
            sent("act").cause()
        );
        assert_eq!(sent("mail").answer(&CAUSE), "possible");
    }

    /// The worker runs it: what that actor says of the task is no run of ours.
    #[test]
    fn another_actor_speaks_of_the_task() {
        let run = |wanted: &str, post_mortem: bool| {
            let mut other = Scene::message("m-9");
            other.actor = Some("enlarge".into());
            let scene = Scene::accepted()
                .row("PENDING")
                .setup(|setup| setup.actor = Some(wanted.into()));
            let scene = match post_mortem {
                true => Scene::new()
                    .given()
                    .row("PENDING")
                    .setup(|setup| setup.actor = Some(wanted.into())),
                false => scene.publish_as("print", API, other),
            };
            let scene = scene
                .debug(
                    "dramatiq.worker.WorkerThread",
                    "Received message enlarge('task_1') with id 'm-9'.",
                )
                .debug("app.enlarge", "Received args=('task_1',) kwargs={}.")
                .info("app", "enlarging task_1");
            let verdict = match post_mortem {
                true => scene.end(crate::timeline::Ended::Looked),
                false => scene.silence(),
            };
            verdict.verdict().stage
        };
        for post_mortem in [true, false] {
            assert!(run("act", post_mortem) < Some(Stage::Received), "{post_mortem}");
        }
        assert_eq!(run("enlarge", true), Some(Stage::Entered));
    }

    /// Celery: the worker that took it on has that actor under that name, and acknowledges before the run.
    #[test]
    fn what_a_worker_knows_by_its_name_is_not_renamed() {
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OURS};
        let audit = |said: &[&str]| {
            let mut scene = CeleryScene::in_pool("prefork").deliver();
            scene.timeline.setup.actor = Some("shop.tasks.print".into());
            for line in said {
                scene = scene.info(&format!("Task shop.tasks.fulfil[{OURS}] {line}"));
            }
            scene.and(|scene| scene.at(3000.0)).silence()
        };
        // Only in the message: the worker may know it by another name.
        assert_eq!(audit(&[]).answer(&CAUSE), "ruled out");
        let running = audit(&["received"]);
        assert_eq!(running.answer(&CAUSE), "possible", "it may send ours yet");
        assert_ne!(running.verdict().scenario, Some(Scenario::A));
        let done = audit(&["received", "succeeded in 0.1s: None"]);
        assert_eq!(done.answer(&CAUSE), "likely");
        let failed = audit(&["received", "raised unexpected: ValueError('no')"]);
        assert_eq!(failed.answer(&CAUSE), "possible");
        assert!(!failed.cause().contains("actor-raised"), "{}", failed.cause());
    }

    #[test]
    fn connected_here_and_silent() {
        assert_eq!(connected().silence().cause(), "likely not-dispatched");
        assert_eq!(connected().cause(), "none");
    }

    /// An API that connects when it first sends, and has not: what it warned of the task is why.
    #[test]
    fn never_connected_and_a_warning_about_the_task() {
        let said = |level, text: &str| {
            let line = LogLine {
                text: text.into(),
                level: Some(level),
                carries_task_id: true,
                ..LogLine::default()
            };
            Scene::accepted()
                .row("PENDING")
                .api_process(&[])
                .see(Source::ApiLog, EventKind::Line(line))
                .silence()
        };
        let warned = said(Level::Warning, "task_1 is of type 'x', not dispatching");
        assert_eq!(warned.cause(), "likely not-dispatched");
        assert!(
            warned.summary().contains("not dispatching"),
            "{}",
            warned.summary()
        );
        // A relay may send it later.
        let told = said(Level::Info, "task_1 submitted");
        assert_eq!(told.cause(), "likely not-published");
    }

    /// Looked at afterwards, with a worker whose log tells of each message.
    fn looked(said: &str, change: impl FnOnce(Scene) -> Scene) -> Scene {
        let line = LogLine {
            text: said.into(),
            before: true,
            carries_task_id: true,
            ..LogLine::default()
        };
        let scene = Scene::new()
            .given()
            .row("PENDING")
            .see(Source::ApiLog, EventKind::Line(line))
            .worker_booted()
            .worker_process(&[WORKER])
            .peer(WORKER, 101)
            .consumers(&[("default", WORKER, 4)])
            .totals("default", 0, 0, serde_json::json!({}))
            .depth("default", 0, 1);
        change(scene)
            .end(crate::timeline::Ended::Looked)
            .without(Source::Firehose)
    }

    #[test]
    fn afterwards_the_apis_own_words_make_it_possible() {
        const SAID: &str = "INFO shop.api: task_1 is of type 'x', not dispatching";
        let alone = looked(SAID, |scene| scene);
        assert_eq!(alone.cause(), "possible not-dispatched");
        // A log that names messages by their ids alone has one of the task's actor: it may be the task's.
        let celery = |actor: &str| {
            let line = format!("Task {actor}[6ea7da3e-0000-4000-8000-000000000001] received");
            let scene = looked(SAID, |scene| {
                scene
                    .setup(|setup| setup.framework = "celery".into())
                    .plain(None, &line)
            });
            let story = crate::diagnosis::Story::new(&scene.timeline);
            super::may_be_one_of_the_log(&story)
        };
        assert!(celery("act"));
        // A worker holds something until its time comes: it may be this task's.
        let delayed = looked(SAID, |scene| {
            scene
                .totals("default.DQ", 0, 1, serde_json::json!({}))
                .depth("default.DQ", 0, 1)
        });
        assert_ne!(delayed.cause(), "possible not-dispatched");
        assert!(alone.summary().contains("not dispatching"), "{}", alone.summary());
        // The error right behind it need not be of another request.
        let error =
            "Traceback (most recent call last):\n  File \"/app/api.py\", line 3, in post\nTypeError: Decimal";
        let failed = looked(SAID, |scene| scene.api_log("Error handling request", error));
        assert!(
            failed.summary().contains("TypeError: Decimal"),
            "{}",
            failed.summary()
        );
        assert!(!failed.summary().contains("says only"), "{}", failed.summary());
        // It was purged, perhaps, or has expired.
        let accepted = looked("INFO shop.api: task_1 accepted", |scene| scene);
        assert_eq!(accepted.answer(&CAUSE), "cannot tell");
        let notes = accepted.verdict().notes;
        assert!(notes.iter().any(|note| note.contains("purged")), "{notes:?}");
        let not = |change: fn(Scene) -> Scene| {
            let scene = looked(SAID, change);
            assert_ne!(scene.answer(&CAUSE), "possible", "{}", scene.cause());
        };
        // It waits, somebody else may have had it, it may lie where nobody looked, or the worker had it.
        not(|scene| scene.totals("default", 1, 0, serde_json::json!({})));
        not(|scene| {
            scene
                .other_worker()
                .consumers(&[("default", WORKER, 4), ("default", OTHER, 4)])
        });
        not(|scene| scene.depth("default.XQ", 1, 0).without(Source::DeadLetters));
        not(|scene| {
            scene.debug(
                "dramatiq.worker.WorkerThread",
                "Received message act('task_1') with id 'm-1'.",
            )
        });
        assert_ne!(
            looked("GET /tasks/task_1 HTTP/1.1", |scene| scene).answer(&CAUSE),
            "possible"
        );
    }

    /// The only one that the API sent for the request is followed; a later one may be anybody's, and may have run.
    #[test]
    fn a_message_that_travels_under_another_id() {
        let sent = |at_ms: f64| {
            connected()
                .at(at_ms)
                .publish_as("default", API, Scene::message("other"))
                .silence()
        };
        assert_eq!(sent(20.0).answer(&CAUSE), "ruled out");
        let later = sent(5_000.0);
        assert_eq!(later.answer(&CAUSE), "possible");
        assert_eq!(later.verdict().scenario, None);
    }

    #[test]
    fn another_actors_message_shows_that_it_can_publish() {
        let scene = connected()
            .setup(|setup| setup.actor = Some("wanted".into()))
            .publish_as("default", API, Scene::message("other"))
            .silence();
        assert_eq!(scene.cause(), "likely not-dispatched");
    }

    #[test]
    fn published_or_out_of_sight() {
        assert_eq!(
            connected().publish("default").silence().answer(&CAUSE),
            "ruled out"
        );
        assert_eq!(
            connected().silence().without(Source::Firehose).answer(&CAUSE),
            "cannot tell"
        );
        assert_eq!(
            connected().silence().without(Source::Process).answer(&CAUSE),
            "cannot tell"
        );
    }

    /// A publish that failed and was swallowed leaves the same: only the API's log would tell.
    #[test]
    fn without_the_apis_log_it_is_possible_at_most() {
        let blind = connected().silence().without(Source::ApiLog);
        assert_eq!(blind.answer(&CAUSE), "possible");
    }

    /// Nothing that it sends is read.
    #[test]
    fn a_connection_that_the_broker_holds_back_is_a_near_miss() {
        let held = |state: &str| {
            Scene::accepted()
                .row("PENDING")
                .api_process(&[API])
                .connections(&[(API, "/", state)])
                .silence()
        };
        assert_eq!(held("running").answer(&CAUSE), "likely");
        assert_eq!(held("blocked").answer(&CAUSE), "not applicable");
        assert_eq!(held("blocking").answer(&CAUSE), "not applicable");
    }
}
