//! The task waits for a task that it sent itself, and that one waits for a free child.

use super::APPLIES_TO;
use crate::diagnosis::evidence::stacks::Thread;
use crate::diagnosis::evidence::{busy, control, stacks, workers};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::framework::{FrameMatch, HeldTask, LogEvent, Message};
use crate::timeline::{Event, EventKind, Source};

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "deadlock-on-subtask",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::WorkerCode],
    needs: &[&[Source::Firehose], &[Source::Process]],
    applies_to: APPLIES_TO,
    page: include_str!("deadlock_on_subtask.md"),
    check,
    ..Cause::DEFAULT
};

/// Where `get()` of a result waits, whatever the backend.
const GET: FrameMatch = FrameMatch {
    file: "celery/result.py",
    function: "get",
};

fn check(story: &Story<'_>) -> Answer {
    let Some(own) = story.publishes().first().map(|passage| passage.message) else {
        return Answer::NotApplicable;
    };
    if !story.closed() || story.attempt_over().is_some() {
        return Answer::NotApplicable;
    }
    let subtask = story.find_last(|event| match &event.kind {
        EventKind::Publish { message, .. }
            if own.message_id.is_some() && message.parent_id == own.message_id =>
        {
            Some((event, message))
        }
        _ => None,
    });
    let Some((event, subtask)) = subtask else {
        return Answer::NotApplicable;
    };
    let sent = event.n;
    let waits = |thread: &Thread<'_>| {
        let call = thread.call(&story.framework().stack);
        let is_below = |get: usize| call.is_some_and(|call| get < call);
        thread.is_still() && thread.position(GET).is_some_and(is_below) && stacks::runs_ours(story, *thread)
    };
    let id = subtask.message_id.as_deref();
    let Some(thread) = story.stacks().threads(None).find(waits) else {
        return by_its_word(story, sent, subtask);
    };
    let begun = story
        .worker_lines()
        .iter()
        .find(|told| told.message_id() == id && (told.is_by_the_task() || story.ends_attempt(told)));
    if let Some(begun) = begun {
        return Answer::ruled_out("the subtask has begun", [begun.n]);
    }
    if let Some(answer) = runs_elsewhere(story, event, subtask) {
        return answer;
    }
    let delivered = story.find(|event| match &event.kind {
        EventKind::Deliver { message, .. } if message.message_id.as_deref() == id => Some(event.n),
        _ => None,
    });
    let name = subtask.actor.as_deref().unwrap_or("a task");
    let text = format!("the task waits in get() for its own subtask `{name}`, which has not begun");
    let others = workers::running_others(story);
    let is_it = |n: u32| {
        let mut lines = story.worker_lines().iter();
        lines.any(|told| told.n == n && told.message_id() == id)
    };
    let busy = 1 + others.iter().filter(|other| !is_it(other.n)).count();
    match (delivered, busy::slots(story, None)) {
        // A body without a line of its own begins in silence.
        (Some(n), Some((_, slots))) if busy < slots => Answer::ruled_out(
            format!("its worker has {slots} children, and {busy} at work: one is free for the subtask"),
            [sent, n],
        ),
        // That it waits for the very child that waits for it, the log would show.
        (Some(n), Some(_)) => Answer::shown(
            format!("{text}: a worker has taken it and has no free child for it"),
            [sent, thread.n, n],
        )
        .given([Premise::OneProcessPerLogThread { pid: None }, Premise::LogIsWhole]),
        (Some(n), None) => Answer::possible(
            format!("{text} by the log: a worker has taken it, and may have no free child for it"),
            [sent, thread.n, n],
        )
        .would_decide(&[Source::Control]),
        (None, _) => Answer::likely(format!("{text}: no worker has taken it"), [sent, thread.n]),
    }
}

/// Whether the task waits for its subtask was not seen: that the subtask waits for a child, the worker says.
fn by_its_word(story: &Story<'_>, sent: u32, subtask: &Message) -> Answer {
    let waits = |held: &HeldTask| Some(held.id.as_str()) == subtask.message_id.as_deref();
    match control::holder(story) {
        Some((answer, "active"))
            if control::is_full(&answer) == Some(true) && answer.reserved.iter().flatten().any(waits) =>
        {
            Answer::possible(
                format!(
                    "the task sent `{}` itself, which waits in the same worker for a free child: if the task waits for its result, neither ends",
                    subtask.actor.as_deref().unwrap_or("a task")
                ),
                [sent, answer.n],
            )
            .would_decide(&[Source::Process])
        }
        _ => Answer::NotApplicable,
    }
}

/// The subtask is not this worker's to run, or is seen to run.
fn runs_elsewhere(story: &Story<'_>, sent: &Event, subtask: &Message) -> Option<Answer> {
    let EventKind::Publish {
        routed, routing_key, ..
    } = &sent.kind
    else {
        return None;
    };
    let id = subtask.message_id.as_deref()?;
    let queue = routed.iter().flatten().next().unwrap_or(routing_key);
    if !story.is_of_my_queue(queue) {
        let own = story.worker_lines().iter().filter_map(|told| match told.mark {
            Some(LogEvent::AddingConsumer { queue }) => Some(queue),
            _ => None,
        });
        if own.clone().all(|own| own != queue) {
            return Some(Answer::ruled_out(
                format!("the subtask goes to `{queue}`, which its worker is not known to consume"),
                [sent.n],
            ));
        }
    }
    let runs = |held: &Option<Vec<HeldTask>>| held.iter().flatten().any(|task| task.id == id);
    if let Some(answer) = control::answers(story).find(|answer| runs(&answer.active)) {
        return Some(Answer::ruled_out(
            "the subtask runs, by its worker's word",
            [sent.n, answer.n],
        ));
    }
    let taker = |id: &str| {
        let mut events = story.timeline.events.iter().rev();
        let connection = events.find_map(|event| match &event.kind {
            EventKind::Deliver {
                message, connection, ..
            } if message.message_id.as_deref() == Some(id) => Some(connection),
            _ => None,
        })?;
        story.peer(connection)
    };
    let own = story.publishes().first()?.message.message_id.as_deref()?;
    match (taker(own), taker(id)) {
        (Some(ours), Some(its)) if ours.value != its.value => Some(Answer::ruled_out(
            format!("another worker has the subtask, pid {its}"),
            [sent.n, its.n],
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenes::{CeleryScene, OTHERS, OURS};
    use super::*;
    use crate::diagnosis::testing::{OTHER, Scene, WORKER};

    const TRACE: &str = "/v/lib/python3.11/site-packages/celery/app/trace.py";

    fn subtask() -> Message {
        Message {
            message_id: Some(OTHERS.into()),
            actor: Some("shop.tasks.price".into()),
            parent_id: Some(OURS.into()),
            ..Message::default()
        }
    }

    /// The task waits in `get()`, in a worker with two children.
    fn waits(queue: &str) -> CeleryScene {
        CeleryScene::received().and(|scene| {
            scene
                .publish_as(queue, WORKER, subtask())
                .process(101, 100, "python celery -A shop worker -l INFO", |_| {})
                .stack(
                    101,
                    "MainThread",
                    &[
                        ("get", "/v/lib/python3.11/site-packages/celery/result.py"),
                        ("fulfil", "/app/shop/tasks.py"),
                        ("__protected_call__", TRACE),
                        ("trace_task", TRACE),
                    ],
                )
        })
    }

    fn taken(scene: CeleryScene, connection: &str) -> CeleryScene {
        let deliver = EventKind::Deliver {
            queue: "celery".into(),
            connection: connection.into(),
            redelivered: false,
            message: subtask(),
        };
        let told = format!("Task shop.tasks.price[{OTHERS}] received");
        scene
            .and(|scene| scene.see(Source::Firehose, deliver))
            .info(&told)
    }

    fn answer(scene: CeleryScene) -> &'static str {
        let scene: Scene = scene.silence();
        scene.answer(&CAUSE)
    }

    #[test]
    fn its_own_child_is_the_one_that_is_missing() {
        assert_eq!(answer(waits("celery")), "likely");
        let third = "Task shop.tasks.slow[33333333-7a09-4a1f-9d2c-0d5e3c0b7f11] received";
        assert_ne!(answer(taken(waits("celery").info(third), WORKER)), "ruled out");
    }

    /// No stack was read: the worker says that both are its, and that it is full.
    #[test]
    fn its_worker_says_that_the_subtask_waits_behind_it() {
        let sent = || CeleryScene::received().and(|scene| scene.publish_as("celery", WORKER, subtask()));
        let held = |slots| {
            sent().answers(|mut answer| {
                answer.concurrency = Some(slots);
                answer.reserved(OTHERS).active(OURS)
            })
        };
        assert_eq!(answer(held(1)), "possible");
        assert_eq!(answer(held(2)), "not applicable");
        let elsewhere = sent().answers(|mut answer| {
            answer.concurrency = Some(1);
            answer.active(OURS)
        });
        assert_eq!(answer(elsewhere), "not applicable");
    }

    #[test]
    fn a_subtask_that_may_run_in_silence_is_a_near_miss() {
        // The other child is free.
        assert_eq!(answer(taken(waits("celery"), WORKER)), "ruled out");
        // It is not for this worker, or another one has it.
        assert_eq!(answer(waits("heavy")), "ruled out");
        let elsewhere = waits("celery").and(|scene| scene.peer(OTHER, 900));
        assert_eq!(answer(taken(elsewhere, OTHER)), "ruled out");
        // The worker says that it runs.
        let third = "Task shop.tasks.slow[33333333-7a09-4a1f-9d2c-0d5e3c0b7f11] received";
        let active = taken(waits("celery").info(third), WORKER).answers(|answer| answer.active(OTHERS));
        assert_eq!(answer(active), "ruled out");
    }
}
