//! The actor is done, and the rest of the task's work is another message's, which is stuck.

use super::blocked_before_entry;
use crate::diagnosis::evidence::replaced::Remainder;
use crate::diagnosis::evidence::{WorkerLine, broker, holdups, stacks};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::{Event, EventKind, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "follow-up-stuck",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::WorkerCode, Owner::Deployment],
    explains: &["row-never-written"],
    needs: &[&[Source::Firehose, Source::WorkerLog]],
    page: include_str!("follow_up_stuck.md"),
    check,
    ..Cause::DEFAULT
};

/// The cases of its remedies: one of them at a time.
const NEVER_SENT: &str = "it was never sent";
const UNCONSUMED: &str = "nobody consumes its queue";
const DELAYED: &str = "it is delayed";
const TAKEN: &str = "it was taken";
const CASES: &[&str] = &[NEVER_SENT, UNCONSUMED, DELAYED, TAKEN];

fn check(story: &Story<'_>) -> Answer {
    if !story.closed() {
        return Answer::NotApplicable;
    }
    if let Some((over, Remainder::Another(sent))) = story.ended_without_result() {
        return where_it_is(story, over.n, sent);
    }
    if let Some(answer) = child_failed(story).or_else(|| children(story)) {
        return answer;
    }
    let Some(over) = story
        .attempt_over()
        .filter(|told| matches!(told.mark, Some(LogEvent::Acknowledging { .. })))
    else {
        return Answer::NotApplicable;
    };
    let failed = !story.raised().is_empty()
        || story
            .lines()
            .iter()
            .any(|told| told.mark.is_some_and(LogEvent::fails_attempt));
    if failed {
        return Answer::NotApplicable;
    }
    if let Some(answer) = in_the_log(story, over.n) {
        return answer;
    }
    if !broker::saw_every_publish(story) {
        return Answer::cannot_tell(&[Source::Firehose]);
    }
    let planned = story
        .publishes()
        .iter()
        .find_map(|passage| Some((passage.n, passage.message.follow_up.as_ref()?)));
    match planned {
        Some((n, next)) => match published(story, &next.message_id) {
            Some(sent) => where_it_is(story, over.n, sent),
            None => Answer::likely(
                format!(
                    "the actor is done, and its message names `{}` on `{}` to go on with, which was never sent: the worker's broker has no Pipelines middleware",
                    next.actor, next.queue
                ),
                [n, over.n],
            )
            .given([Premise::NothingRefused])
            .only_case(NEVER_SENT, CASES),
        },
        None => {
            let Some(event) = story.successors().last() else {
                return Answer::NotApplicable;
            };
            where_it_is(story, over.n, event)
        }
    }
}

/// Another message with the task's id was taken after ours, and raised or has not returned: the log says which.
fn in_the_log(story: &Story<'_>, over: u32) -> Option<Answer> {
    let first = story.line(|mark| matches!(mark, LogEvent::Received { .. }))?.n;
    let lines = story.worker_lines();
    lines.iter().filter(|told| told.n > first).find_map(|took| {
        let Some(LogEvent::Received { id, actor }) = took.mark else {
            return None;
        };
        if story.is_my_message(id) || !took.line.carries_task_id || took.line.thread.is_none() {
            return None;
        }
        let of_its_thread = |told: &&WorkerLine<'_>| told.n > took.n && told.thread() == took.thread();
        let is_next = |told: &&WorkerLine<'_>| matches!(told.mark, Some(LogEvent::Received { .. }));
        let rest: Vec<&WorkerLine<'_>> = lines
            .iter()
            .filter(of_its_thread)
            .take_while(|told| !is_next(told))
            .collect();
        let text = format!("the actor is done, and another message with the task's id went to `{actor}`");
        let is = |wanted: fn(&LogEvent) -> bool| rest.iter().find(|told| told.mark.is_some_and(wanted));
        // It is tried again: it may do better.
        if is(|mark| matches!(mark, LogEvent::Retrying { .. })).is_some() {
            return None;
        }
        if let Some(failed) = is(|mark| matches!(mark, LogEvent::Failed { .. })) {
            let exception = failed.exception().unwrap_or_default();
            let text = format!("{text}, which raised {}", crate::text::excerpt(&exception));
            return Some(Answer::likely(text, [over, took.n, failed.n]).only_case(TAKEN, CASES));
        }
        let ended = rest
            .iter()
            .any(|told| told.settles() || matches!(told.mark, Some(LogEvent::Completed)));
        let shape = &story.framework().stack;
        let thread = stacks::last_dump(story, took.pid?).find(|thread| {
            !ended && Some(thread.name()) == took.line.thread.as_deref() && thread.is_still()
        })?;
        let place = holdups::in_the_actor(shape, thread)?;
        let later = blocked_before_entry::after(story, took.n, thread.n, "it was taken");
        let text = format!("{text}, which was still running{later}: {place}");
        Some(Answer::likely(text, [over, took.n, thread.n]).only_case(TAKEN, CASES))
    })
}

fn published<'a>(story: &Story<'a>, id: &str) -> Option<&'a Event> {
    story.timeline.events.iter().find(|event| {
        matches!(&event.kind, EventKind::Publish { message, .. } if message.message_id.as_deref() == Some(id))
    })
}

/// The task has succeeded, and sent another by whose id nothing says that it goes on with the same work. Only
/// one that nobody consumes is worth a word.
fn children(story: &Story<'_>) -> Option<Answer> {
    let over = story
        .attempt_over()
        .filter(|told| matches!(told.mark, Some(LogEvent::Succeeded { .. })))?;
    let is_child = |event: &&Event| match &event.kind {
        EventKind::Publish { message, .. } => {
            let parent = message.parent_id.as_deref();
            parent.is_some_and(|id| story.is_my_message(id)) && !message.is_delayed()
        }
        _ => false,
    };
    let sent = story.timeline.events.iter().filter(is_child);
    let unconsumed = |event: &&Event| match &event.kind {
        EventKind::Publish { routing_key, .. } => story
            .consumers()
            .is_some_and(|all| all.iter().all(|consumer| consumer.queue != *routing_key)),
        _ => false,
    };
    let sent = sent
        .rev()
        .find(unconsumed)
        .filter(|sent| !was_delivered(story, sent))?;
    let EventKind::Publish {
        routing_key, message, ..
    } = &sent.kind
    else {
        return None;
    };
    let consumers = story.consumers()?;
    let name = message.actor.as_deref().unwrap_or("a task");
    Some(Answer::possible(
        format!(
            "the task is done, and sent `{name}` to `{routing_key}`, which nobody consumes: if that one writes the final status, it waits there"
        ),
        [over.n, sent.n, consumers.n],
    )
    .only_case(UNCONSUMED, CASES)
    .naming("{other_queue}", routing_key))
}

/// The task has succeeded, and another that has its id, and came from it, has failed.
fn child_failed(story: &Story<'_>) -> Option<Answer> {
    let over = story
        .attempt_over()
        .filter(|told| matches!(told.mark, Some(LogEvent::Succeeded { .. })))?;
    let failed = story.successors().find_map(|sent| {
        let EventKind::Publish { message, .. } = &sent.kind else {
            return None;
        };
        let parent = message.parent_id.as_deref().filter(|id| story.is_my_message(id));
        let id = parent.and(message.message_id.as_deref())?;
        let mut lines = story
            .worker_lines()
            .iter()
            .filter(|told| told.message_id() == Some(id));
        let told = lines.find(|told| matches!(told.mark, Some(LogEvent::Failed { .. })))?;
        Some((sent.n, message.actor.as_deref().unwrap_or("a task"), told))
    });
    let (sent, name, told) = failed?;
    let said = told.line.text.split_once("raised unexpected: ");
    let said = crate::text::excerpt(said.map_or(told.line.text.as_str(), |(_, raised)| raised));
    Some(Answer::likely(
        format!("the task is done, and `{name}`, which comes after it with the same id, raised {said}"),
        [over.n, sent, told.n],
    ))
}

/// It was handed to somebody after it was sent: what it replaces has the same id.
fn was_delivered(story: &Story<'_>, sent: &Event) -> bool {
    let EventKind::Publish { message: own, .. } = &sent.kind else {
        return false;
    };
    story.timeline.events.iter().any(|event| match &event.kind {
        EventKind::Deliver { message, .. } => event.n > sent.n && message.message_id == own.message_id,
        _ => false,
    })
}

/// The queue keeps messages for a time, and the broker moves them on then: nobody is to consume it.
fn comes_back(story: &Story<'_>, queue: &str) -> bool {
    let info = story.infos(queue).last();
    info.is_some_and(|info| {
        let has = |key: &str, policy: &str| {
            info.arguments.contains_key(key) || info.policy_definition.contains_key(policy)
        };
        has("x-message-ttl", "message-ttl") && has("x-dead-letter-exchange", "dead-letter-exchange")
    })
}

/// It was sent, and nobody was handed it.
fn where_it_is(story: &Story<'_>, over: u32, sent: &Event) -> Answer {
    let EventKind::Publish {
        routing_key, message, ..
    } = &sent.kind
    else {
        return Answer::NotApplicable;
    };
    if was_delivered(story, sent) || comes_back(story, routing_key) {
        return Answer::NotApplicable;
    }
    let text = format!(
        "the actor is done, and the work goes on in `{}` on `{routing_key}`",
        message.actor.as_deref().unwrap_or_default()
    );
    if message.is_delayed() {
        return Answer::likely(format!("{text}, which is delayed"), [over, sent.n]).only_case(DELAYED, CASES);
    }
    let Some(consumers) = story.consumers() else {
        return Answer::possible(format!("{text}, which nobody was handed yet"), [over, sent.n])
            .case(NEVER_SENT, false)
            .would_decide(&[Source::Management])
            .naming("{other_queue}", routing_key);
    };
    let consumed = consumers.iter().any(|consumer| consumer.queue == *routing_key);
    match consumed {
        true => Answer::likely(
            format!("{text}, which waits there: its consumers have not been handed it"),
            [over, sent.n, consumers.n],
        )
        .case(NEVER_SENT, false)
        .case(UNCONSUMED, false)
        .case(DELAYED, false)
        .naming("{other_queue}", routing_key),
        // The list is seconds late: a worker may be about to come.
        false => Answer::likely(
            format!("{text}, which nobody consumes"),
            [over, sent.n, consumers.n],
        )
        .only_case(UNCONSUMED, CASES)
        .naming("{other_queue}", routing_key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{API, Scene, WORKER};
    use crate::framework::{FollowUp, Message};

    fn first() -> Message {
        Message {
            follow_up: Some(FollowUp {
                message_id: "next".into(),
                actor: "finish".into(),
                queue: "reports".into(),
            }),
            ..Scene::message("m-1")
        }
    }

    fn next() -> Message {
        Message {
            actor: Some("finish".into()),
            ..Scene::message("next")
        }
    }

    fn done() -> Scene {
        Scene::new()
            .worker_booted()
            .depth("default", 0, 1)
            .submitted()
            .row("PENDING")
            .publish_as("default", API, first())
            .deliver(WORKER)
            .peer(WORKER, 101)
            .pushed("m-1")
            .debug(
                "dramatiq.worker.WorkerThread",
                "Received message act('task_1') with id 'm-1'.",
            )
            .info("app", "ACTOR ENTRY task_id=task_1")
            .completed()
            .acked("m-1")
    }

    /// Without what shows it, the effect is all that can be said: `Scene::cause` would not have that.
    fn named(scene: &Scene) -> String {
        scene.verdict().cause.map_or_else(
            || "none".into(),
            |cause| format!("{} {}", cause.certainty.name(), cause.id),
        )
    }

    #[test]
    fn the_next_message_was_never_sent() {
        let scene = done().row("PENDING").silence();
        assert_eq!(named(&scene), "likely follow-up-stuck");
        assert!(scene.summary().contains("Pipelines"), "{}", scene.summary());
    }

    #[test]
    fn nobody_consumes_its_queue() {
        let sent = done().publish_as("reports", WORKER, next());
        let scene = sent
            .clone()
            .consumers(&[("default", WORKER, 2)])
            .row("PENDING")
            .silence();
        assert_eq!(named(&scene), "likely follow-up-stuck");
        assert!(scene.summary().contains("`reports`"), "{}", scene.summary());
        assert_eq!(scene.without(Source::Management).answer(&CAUSE), "possible");
    }

    #[test]
    fn one_that_was_taken_or_an_actor_without_one_is_a_near_miss() {
        let taken = done()
            .publish_as("reports", WORKER, next())
            .deliver_as("next", WORKER, false)
            .row("PENDING")
            .silence();
        assert_eq!(taken.answer(&CAUSE), "not applicable");
        let alone = Scene::entered().completed().acked("m-1").row("PENDING").silence();
        assert_eq!(alone.answer(&CAUSE), "not applicable");
        // An actor that failed sends nothing on, and should not.
        let failed = done().raised("ValueError: no").row("PENDING").silence();
        assert_eq!(failed.answer(&CAUSE), "not applicable");
    }

    /// The next message was taken: by the log it raised, or by its thread's stack it has not returned.
    #[test]
    fn what_became_of_the_next_one_is_told() {
        let line = |text: &str| format!("[PID 101] [Thread-9] [dramatiq.worker.WorkerThread] {text}");
        let received = "[DEBUG] Received message finish('task_1') with id 'next'.";
        let taken = || done().publish_as("default", WORKER, next()).line(&line(received));
        let failed = line(
            "[ERROR] Failed to process message finish('task_1') with unhandled exception.\nTraceback (most recent call last):\n  File \"/app/tasks.py\", line 3, in finish\nOSError: no paper",
        );
        let raised = taken().line(&failed).row("PENDING").silence();
        assert_eq!(named(&raised), "likely follow-up-stuck");
        assert!(
            raised.summary().contains("OSError: no paper"),
            "{}",
            raised.summary()
        );
        assert_eq!(raised.without(Source::Firehose).answer(&CAUSE), "likely");
        let frames = &[
            ("finish", "/app/tasks.py"),
            ("__call__", "/v/site-packages/dramatiq/actor.py"),
            ("process_message", "/v/site-packages/dramatiq/worker.py"),
        ];
        let runs = taken()
            .row("PENDING")
            .at(5000.0)
            .stack(101, "Thread-9", frames)
            .silence();
        assert_eq!(named(&runs), "likely follow-up-stuck");
        assert!(runs.summary().contains("still running"), "{}", runs.summary());
        // Another thread runs another message, or this one is over.
        let elsewhere = taken().at(5000.0).stack(101, "Thread-5", frames).silence();
        assert!(!elsewhere.summary().contains("still running"));
        let over = taken().line(&line("[DEBUG] Acknowledging message 'next'."));
        let over = over.at(5000.0).stack(101, "Thread-9", frames).silence();
        assert!(!over.summary().contains("still running"));
    }

    #[test]
    fn without_the_firehose_it_cannot_be_told() {
        let scene = done().row("PENDING").silence();
        assert_eq!(scene.without(Source::Firehose).answer(&CAUSE), "cannot tell");
    }
}
