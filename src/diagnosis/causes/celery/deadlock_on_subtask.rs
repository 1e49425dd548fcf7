//! The task waits for a task that it sent itself, and that one waits for a free child.

use super::APPLIES_TO;
use crate::diagnosis::evidence::stacks::Thread;
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::framework::{FrameMatch, function_of};
use crate::timeline::{EventKind, Source};

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "deadlock-on-subtask",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::WorkerCode],
    explains: &[],
    scenario: None,
    needs: &[&[Source::Firehose], &[Source::Process]],
    general: false,
    fails_attempt: false,
    applies_to: APPLIES_TO,
    page: include_str!("deadlock_on_subtask.md"),
    check,
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
    let subtask = story
        .timeline
        .events
        .iter()
        .rev()
        .find_map(|event| match &event.kind {
            EventKind::Publish { message, .. }
                if own.message_id.is_some() && message.parent_id == own.message_id =>
            {
                Some((event.n, message))
            }
            _ => None,
        });
    let Some((sent, subtask)) = subtask else {
        return Answer::NotApplicable;
    };
    let function = own.actor.as_deref().map(function_of);
    let waits = |thread: &Thread<'_>| {
        thread.is_still()
            && thread.position(GET).is_some_and(|get| {
                let below = &thread.frames()[get..];
                below
                    .iter()
                    .any(|frame| Some(frame.function.as_str()) == function)
            })
    };
    let Some(thread) = story.stacks().threads(None).find(waits) else {
        return Answer::NotApplicable;
    };
    let id = subtask.message_id.as_deref();
    let begun = story
        .worker_lines()
        .iter()
        .find(|told| told.message_id() == id && (told.is_by_the_task() || story.ends_attempt(told)));
    if let Some(begun) = begun {
        return Answer::ruled_out("the subtask has begun", [begun.n]);
    }
    let delivered = story.timeline.events.iter().find_map(|event| match &event.kind {
        EventKind::Deliver { message, .. } if message.message_id.as_deref() == id => Some(event.n),
        _ => None,
    });
    let name = subtask.actor.as_deref().unwrap_or("a task");
    let text = format!("the task waits in get() for its own subtask `{name}`, which has not begun");
    match delivered {
        // That it waits for the very child that waits for it, the log would show.
        Some(n) => Answer::shown(
            format!("{text}: a worker has taken it and has no free child for it"),
            [sent, thread.n, n],
        )
        .given([Premise::OneProcessPerLogThread { pid: None }, Premise::LogIsWhole]),
        None => Answer::likely(format!("{text}: no worker has taken it"), [sent, thread.n]),
    }
}
