//! The actor is done, and the rest of the task's work is another message's, which is stuck.

use crate::diagnosis::evidence::broker;
use crate::diagnosis::evidence::replaced::Remainder;
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::{Event, EventKind, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "follow-up-stuck",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::WorkerCode, Owner::Deployment],
    explains: &["row-never-written"],
    scenario: None,
    needs: &[&[Source::Firehose]],
    general: false,
    fails_attempt: false,
    applies_to: &[],
    page: include_str!("follow_up_stuck.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    if !story.closed() {
        return Answer::NotApplicable;
    }
    if let Some((over, Remainder::Another(sent))) = story.ended_without_result() {
        return where_it_is(story, over.n, sent);
    }
    if let Some(answer) = children(story) {
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
            .given([Premise::NothingRefused]),
        },
        None => {
            let Some(event) = story.successors().last() else {
                return Answer::NotApplicable;
            };
            where_it_is(story, over.n, event)
        }
    }
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
        return Answer::likely(format!("{text}, which is delayed"), [over, sent.n]);
    }
    let Some(consumers) = story.consumers() else {
        return Answer::possible(format!("{text}, which nobody was handed yet"), [over, sent.n])
            .would_decide(&[Source::Management]);
    };
    let consumed = consumers.iter().any(|consumer| consumer.queue == *routing_key);
    match consumed {
        true => Answer::likely(
            format!("{text}, which waits there: its consumers have not been handed it"),
            [over, sent.n, consumers.n],
        ),
        // The list is seconds late: a worker may be about to come.
        false => Answer::likely(
            format!("{text}, which nobody consumes"),
            [over, sent.n, consumers.n],
        ),
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

    #[test]
    fn without_the_firehose_it_cannot_be_told() {
        let scene = done().row("PENDING").silence();
        assert_eq!(scene.without(Source::Firehose).answer(&CAUSE), "cannot tell");
    }
}
