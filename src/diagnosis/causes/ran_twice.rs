//! The task was run more than once, or was sent more than once.

use std::collections::BTreeSet;

use crate::diagnosis::evidence::{Fact, Transfer, connections};
use crate::diagnosis::{Answer, Cause, Outcome, Owner, Story};
use crate::framework::{LogEvent, Message};
use crate::timeline::{EventKind, Source};
use crate::units;

pub(super) const CAUSE: Cause = Cause {
    id: "ran-twice",
    keeps_from: &[],
    owner: &[Owner::ApiCode, Owner::WorkerCode],
    needs: &[&[Source::Firehose, Source::WorkerLog]],
    page: include_str!("ran_twice.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if let Some((first, second)) = sent_twice(story) {
        let apart = units::span(second.at_ms - first.at_ms);
        let by = match (story.peer(first.connection), story.peer(second.connection)) {
            (Some(a), Some(b)) if a.value == b.value => format!("both by pid {a}"),
            (Some(a), Some(b)) => format!("by pid {a} and by pid {b}"),
            _ if first.connection == second.connection => format!("both from {}", first.connection),
            _ => format!("from {} and from {}", first.connection, second.connection),
        };
        let id = |sent: &Sent<'_>| sent.message.message_id.clone().unwrap_or_default();
        let unless = match story.framework().control.is_some() {
            true => "each is run, unless it is revoked",
            false => "each is run",
        };
        let evidence = [first.n, second.n];
        // Each may be for another part of the work: arguments are not kept.
        let count = sent_alike(story, &first);
        return match count {
            0..=2 => Answer::likely(
                format!(
                    "two messages for the same actor were sent for this task, {apart} apart, {by}: {} and {}; {unless}: as it should be if each is for a part of the work",
                    id(&first),
                    id(&second)
                ),
                evidence,
            ),
            _ => Answer::possible(
                format!(
                    "{count} messages for the same actor were sent for this task, the first two {apart} apart, {by}; {unless}: as it should be if each is for a part of the work"
                ),
                evidence,
            ),
        };
    }
    let succeeded = story.outcome() == Outcome::Succeeded;
    // What the verdict itself is about needs no word beside it.
    let is_the_cause = story.died_in_actor().is_some() || story.runs_again().is_some();
    if !succeeded && (!story.closed() || is_the_cause) {
        return Answer::NotApplicable;
    }
    if let Some(answer) = comes_again(story).filter(|_| succeeded) {
        return answer;
    }
    // One that was retried was meant to run again; one that comes again was not known to be done.
    let received: Vec<Fact<&str>> = story
        .lines()
        .iter()
        .filter_map(|told| match told.mark {
            Some(LogEvent::Received { id, .. }) => Some(Fact::new(told.n, told.at_ms, id.as_str())),
            _ => None,
        })
        .collect();
    let again = story.deliveries().find(|passage| passage.redelivered);
    let retried = story.publishes().iter().any(|passage| passage.message.is_retry());
    match (received.as_slice(), again) {
        ([first, .., second], Some(again)) if first.value == second.value && !retried => {
            let mut evidence = vec![first.n, again.n, second.n];
            let why = match story.ended_between(first.at_ms, second.at_ms) {
                Some(end) => {
                    evidence.push(end.n);
                    end.value
                }
                // What the broker takes back while its worker lives is another cause's.
                None if !succeeded => return Answer::NotApplicable,
                None => {
                    "the first time was not acknowledged before the connection or its worker ended".into()
                }
            };
            evidence.sort_unstable();
            let text = format!("message {first} was taken twice: the broker delivered it again, since {why}");
            let entries = story.lines().iter().filter(|told| told.line.entry).count();
            match entries > 1 {
                true => Answer::shown(text, evidence),
                false => Answer::likely(text, evidence),
            }
        }
        _ => Answer::NotApplicable,
    }
}

/// It is done, and the broker was not told: it still holds the message, and delivers it again.
fn comes_again(story: &Story<'_>) -> Option<Answer> {
    let told = story.attempt_over().filter(|told| told.settles())?;
    let failed = story.acknowledgement_failed(&told)?;
    let again = |passage: &Transfer<'_>| passage.at_ms > told.at_ms;
    // Nor where the queue, or the whole vhost, was deleted: its messages went with it.
    if story.deliveries().any(again) || is_deleted(story) {
        return None;
    }
    let text = format!(
        "the acknowledgement of message {} did not reach the broker: it is delivered again, and runs once more",
        told.message_id().unwrap_or("?")
    );
    Some(Answer::likely(text, [told.n, failed]))
}

/// The last look found no such queue, or the worker was told that there is no such vhost any more.
fn is_deleted(story: &Story<'_>) -> bool {
    let no_queue = story
        .depths(story.queue())
        .last()
        .is_some_and(|depth| !depth.exists);
    let mut errors = story
        .worker_lines()
        .iter()
        .rev()
        .filter_map(|told| match told.mark {
            Some(LogEvent::ConnectionError { error, .. }) => Some(error),
            _ => None,
        });
    no_queue
        || errors
            .next()
            .is_some_and(|error| connections::is_missing_vhost(error))
}

/// A message of this task, and another one for the same actor from the same sender: the connection, or a
/// process of the API. What a worker sends on is another step, or a retry.
fn sent_twice<'a>(story: &Story<'a>) -> Option<(Sent<'a>, Sent<'a>)> {
    if crate::diagnosis::premises::is_common(story.task_id()?) {
        return None;
    }
    let api: Vec<i32> = story.api_processes().iter().map(|process| process.pid).collect();
    let of_the_api = |connection: &str| {
        let peer = story.peer(connection);
        peer.is_some_and(|peer| api.contains(&peer))
    };
    let mut sent = story
        .timeline
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Publish {
                connection, message, ..
            } if message.carries_task_id && !message.is_retry() => Some(Sent {
                n: event.n,
                at_ms: event.at_ms,
                connection,
                message,
            }),
            _ => None,
        });
    let own = story.publishes().first()?;
    let first = sent.find(|sent| sent.n == own.n)?;
    let second = sent.find(|second| {
        let same_sender = second.connection == first.connection
            || (of_the_api(second.connection) && of_the_api(first.connection));
        same_sender
            && second.message.actor == first.message.actor
            && second.message.message_id != first.message.message_id
            && !are_parts(first.message, second.message)
            && !is_discarded(story, first.message)
            && !is_discarded(story, second.message)
    })?;
    Some((first, second))
}

/// How many messages for that actor were sent for the task from that connection, each counted once.
fn sent_alike(story: &Story<'_>, first: &Sent<'_>) -> usize {
    let events = story.timeline.events.iter();
    let ids: BTreeSet<&str> = events
        .filter_map(|event| match &event.kind {
            EventKind::Publish {
                connection, message, ..
            } if connection == first.connection
                && message.carries_task_id
                && !message.is_retry()
                && message.actor == first.message.actor =>
            {
                message.message_id.as_deref()
            }
            _ => None,
        })
        .collect();
    ids.len()
}

/// A worker has discarded it: it was revoked, for the other one to take its place.
fn is_discarded(story: &Story<'_>, message: &Message) -> bool {
    let id = message.message_id.as_deref();
    let mut lines = story.worker_lines().iter();
    lines.any(|told| {
        told.mark
            .is_some_and(|mark| matches!(mark, LogEvent::Discarded { .. }) && mark.message_id() == id)
    })
}

/// Of one group, or before one task that waits for both: each does a part of the work.
fn are_parts(one: &Message, other: &Message) -> bool {
    let of_a_group = one.group.is_some() && one.group == other.group;
    let before = |message: &Message| {
        let mut later = message.later.iter();
        later
            .find(|later| later.after == "chord")
            .map(|later| (later.message_id.clone(), later.actor.clone()))
    };
    of_a_group || (before(one).is_some() && before(one) == before(other))
}

/// A publish that carries the task's id.
struct Sent<'a> {
    n: u32,
    at_ms: f64,
    connection: &'a str,
    message: &'a Message,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{API, Scene, WORKER};
    use crate::timeline::{Level, LogLine};

    fn contributes(scene: &Scene) -> bool {
        let verdict = scene.verdict();
        verdict.contributing.iter().any(|cause| cause.id == "ran-twice")
    }

    #[test]
    fn two_messages_for_one_task() {
        let twice = Scene::accepted()
            .row("PENDING")
            .publish("default")
            .publish_as("default", API, Scene::message("m-2"))
            .deliver(WORKER)
            .row("COMPLETED")
            .silence();
        assert!(contributes(&twice));
        // The first may be delivered before the second is sent.
        let late = Scene::accepted()
            .row("PENDING")
            .publish("default")
            .deliver(WORKER)
            .publish_as("default", API, Scene::message("m-2"))
            .row("COMPLETED")
            .silence();
        assert!(contributes(&late));
        // An actor that sends itself on does so from its worker.
        let sent_on = Scene::accepted()
            .row("PENDING")
            .publish("default")
            .deliver(WORKER)
            .publish_as("default", WORKER, Scene::message("m-2"))
            .row("COMPLETED")
            .silence();
        assert!(!contributes(&sent_on));
        // For another actor it is another step of the application.
        let mut audit = Scene::message("m-2");
        audit.actor = Some("audit".into());
        let steps = Scene::accepted()
            .row("PENDING")
            .publish("default")
            .publish_as("default", API, audit)
            .row("COMPLETED")
            .silence();
        assert!(!contributes(&steps));
    }

    /// Celery: the first was revoked, and the API sends another one in its place, after its answer.
    #[test]
    fn one_that_was_discarded_for_another_is_a_near_miss() {
        use crate::diagnosis::causes::actor_raised;
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OURS};
        let second = "33333333-7a09-4a1f-9d2c-0d5e3c0b7f11";
        let message = || Message {
            message_id: Some(second.into()),
            actor: Some("shop.tasks.fulfil".into()),
            carries_task_id: true,
            json: true,
            ..Message::default()
        };
        let sent = |from: &'static str, discarded: bool| {
            let scene = CeleryScene::received().and(|scene| {
                let scene = scene.api_process(&[API]).peer(API, 50);
                scene.publish_as("celery", from, message())
            });
            match discarded {
                true => scene.info(&format!("Discarding revoked task: shop.tasks.fulfil[{OURS}]")),
                false => scene,
            }
        };
        let answer = |scene: CeleryScene| scene.silence().answer(&CAUSE);
        assert_eq!(answer(sent(API, true)), "not applicable");
        assert_eq!(answer(sent(API, false)), "likely");
        // What the second one does is what the task does; what a task sends on from its worker is another's work.
        let raised = |from| {
            let line = LogLine {
                level: Some(Level::Error),
                thread: Some("ForkPoolWorker-1".into()),
                text: format!("Task shop.tasks.fulfil[{second}] raised unexpected: ValueError('no')"),
                traceback: Some(RAISED.into()),
                ..LogLine::default()
            };
            let scene = sent(from, true).and(|scene| scene.see(Source::WorkerLog, EventKind::Line(line)));
            scene.silence().answer(&actor_raised::CAUSE)
        };
        assert_ne!(raised(API), "not applicable");
        assert_eq!(raised(WORKER), "not applicable");
    }

    const RAISED: &str = "Traceback (most recent call last):\n  File \"/v/celery/app/trace.py\", line 453, in trace_task\n    R = retval = fun(*args, **kwargs)\n  File \"/v/celery/app/trace.py\", line 736, in __protected_call__\n    return self.run(*args, **kwargs)\n  File \"/app/shop/tasks.py\", line 61, in fulfil\n    pack()\nValueError: no\n";

    /// Members of a group are for the same actor and hold the same id, each for a part of the work.
    #[test]
    fn parts_of_a_group_are_a_near_miss() {
        let two = |change: fn(&mut Message, &str)| {
            let part = |id: &str, of: &str| {
                let mut part = Scene::message(id);
                change(&mut part, of);
                part
            };
            Scene::accepted()
                .row("PENDING")
                .publish_as("default", API, part("m-1", "a"))
                .publish_as("default", API, part("m-2", "a"))
                .row("COMPLETED")
                .silence()
        };
        let of_a_group = |part: &mut Message, of: &str| part.group = Some(of.into());
        let before_another = |part: &mut Message, of: &str| {
            part.later = vec![crate::framework::Later {
                message_id: Some(of.into()),
                actor: "bind".into(),
                after: "chord".into(),
                ..Default::default()
            }];
        };
        assert!(!contributes(&two(of_a_group)));
        assert!(!contributes(&two(before_another)));
        assert!(contributes(&two(|_, _| ())));
    }

    #[test]
    fn one_message_that_came_again() {
        let received = "Received message act('task_1') with id 'm-1'.";
        let logger = "dramatiq.worker.WorkerThread";
        let again = Scene::received()
            .deliver_as("m-1", WORKER, true)
            .debug(logger, received)
            .row("COMPLETED")
            .silence();
        assert!(contributes(&again));
        let once = Scene::received().row("COMPLETED").silence();
        assert!(!contributes(&once));
    }

    /// Its container was stopped and started again while the actor was at work.
    #[test]
    fn a_run_that_was_broken_off_by_a_restart() {
        let line = "[PID 7] [Thread-4] [dramatiq.worker.WorkerThread] [DEBUG] Received message act('task_1') with id 'm-1'.";
        let worker = |scene: Scene| scene.worker_container("c1", "running", |_| {});
        let die = || EventKind::ContainerEvent {
            container: "shop-worker-1".into(),
            action: "die".into(),
            exit: Some(137),
        };
        let first = || worker(Scene::delivered().line(line)).row("RUNNING");
        let again = |scene: Scene| {
            let scene = scene.deliver_as("m-1", WORKER, true);
            scene.line(&line.replace("PID 7", "PID 9"))
        };
        let restarted = again(first().see(Source::Containers, die())).silence();
        let story = crate::diagnosis::Story::new(&restarted.timeline);
        let crate::diagnosis::Answer::Matched(matched) = (CAUSE.check)(&story) else {
            panic!("it ran twice");
        };
        assert!(
            matched.summary.contains("shop-worker-1") && matched.summary.contains("137"),
            "{}",
            matched.summary
        );
        // Where the run goes on it is not decided yet, and once is once.
        assert_eq!(first().silence().answer(&CAUSE), "not applicable");
    }

    #[test]
    fn a_retry_is_a_near_miss() {
        let mut copy = Scene::message("m-1");
        copy.retries = Some(1);
        let retried = Scene::entered()
            .raised("ValueError: no")
            .retrying()
            .publish_as("default.DQ", WORKER, copy.clone())
            .publish_as("default", WORKER, copy)
            .deliver(WORKER)
            .debug(
                "dramatiq.worker.WorkerThread",
                "Received message act('task_1') with id 'm-1'.",
            )
            .row("COMPLETED")
            .silence();
        assert!(!contributes(&retried));
    }

    #[test]
    fn blind_it_cannot_be_told() {
        let scene = Scene::published().row("COMPLETED").silence();
        let blind = scene.without(Source::Firehose).without(Source::WorkerLog);
        assert_eq!(blind.answer(&CAUSE), "cannot tell");
    }

    #[test]
    fn an_acknowledgement_that_failed() {
        let acked = || Scene::entered().row("COMPLETED").completed().acked("m-1");
        let failed = |scene: Scene| {
            let closed = "Failed to post_process_message(act('task_1')) due to a connection error: closed.";
            scene.warning("dramatiq.worker.ConsumerThread(default)", closed)
        };
        let again = failed(acked());
        assert!(contributes(&again));
        // The queue is gone, with its messages.
        assert!(!contributes(&again.clone().no_queue("default").silence()));
        assert!(again.verdict().cause.is_some_and(|cause| cause.id == "succeeded"));
        let settled = |scene: &Scene| {
            let story = crate::diagnosis::Story::new(&scene.timeline);
            story.reached(crate::diagnosis::Stage::Settled).is_some()
        };
        assert!(!settled(&again));
        assert!(!contributes(&acked()) && settled(&acked()));
        // The next one reached the broker.
        let repeated = again.at(9000.0).acked("m-1");
        assert!(!contributes(&repeated) && settled(&repeated));
    }

    /// Parts of one work are sent so.
    #[test]
    fn three_messages_are_perhaps_parts() {
        let sent = |more: &[&str]| {
            let mut scene = Scene::accepted().row("PENDING").publish("default");
            for id in more {
                scene = scene.publish_as("default", API, Scene::message(id));
            }
            scene.deliver(WORKER).row("COMPLETED").silence()
        };
        assert_eq!(sent(&["m-2"]).answer(&CAUSE), "likely");
        assert_eq!(sent(&["m-2", "m-3"]).answer(&CAUSE), "possible");
    }
}
