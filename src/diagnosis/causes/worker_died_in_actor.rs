//! The process died inside the actor.

use crate::diagnosis::{Answer, Cause, Stage, Story};
use crate::framework::Mark;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "worker-died-in-actor",
    keeps_from: &[Stage::Finished],
    scenario: None,
    needs: &[&[Source::WorkerLog, Source::Process]],
    general: false,
    page: include_str!("worker_died_in_actor.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    if let Some(told) = story.died_in_actor() {
        let again = story.deliveries().filter(|passage| passage.redelivered).count();
        let text = match again {
            0 => told.line.text.clone(),
            count => format!("{} The message came back {count} times", told.line.text),
        };
        let text = format!("the worker process died while it ran the actor: {text}");
        // Without a line of its own, and before it comes back, it may have been settled long ago.
        return if again > 0 || story.line(|mark| matches!(mark, Mark::Received { .. })).is_some() {
            Answer::certain(text, [told.n]).terminal()
        } else {
            Answer::likely(text, [told.n])
        };
    }
    // No line said so: the process that had it is gone, and nothing settled it.
    let Some(passage) = story.deliveries().next() else {
        return Answer::NotApplicable;
    };
    if story.attempt_over().is_some() || !story.raised().is_empty() {
        return Answer::NotApplicable;
    }
    let Some((_, pid)) = story.peer(passage.connection) else {
        return Answer::NotApplicable;
    };
    let stopped = story
        .worker_lines()
        .iter()
        .any(|told| story.counts(told) && matches!(told.mark, Some(Mark::Stopping | Mark::ShutDown)));
    let Some(n) = story.gone(pid) else {
        return Answer::NotApplicable;
    };
    let again = story
        .deliveries()
        .find(|passage| passage.redelivered)
        .map(|passage| passage.n);
    match again {
        // A worker that is told to stop gives back what it has not begun.
        _ if stopped => Answer::NotApplicable,
        Some(again) => Answer::certain(
            format!("pid {pid} had the message and is gone; the message came back"),
            [passage.n, n, again],
        )
        .terminal(),
        // Below DEBUG an acknowledgement is invisible: it may have ended in peace since.
        None if story.line(|mark| matches!(mark, Mark::Received { .. })).is_some() => Answer::certain(
            format!("pid {pid} had the message and is gone; nothing acknowledged it"),
            [passage.n, n],
        )
        .terminal(),
        None if story.closed() => {
            Answer::possible(format!("pid {pid} had the message and is gone"), [passage.n, n])
                .would_decide(&[Source::WorkerLog])
        }
        None => Answer::NotApplicable,
    }
}
