//! The process died inside the actor.

use crate::diagnosis::{Answer, Cause, Stage, Story};
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
        return Answer::certain(
            format!("the worker process died while it ran the actor: {text}"),
            [told.n],
        )
        .terminal();
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
    match story.gone(pid) {
        Some(n) => Answer::certain(
            format!("pid {pid} had the message and is gone; nothing acknowledged it"),
            [passage.n, n],
        )
        .terminal(),
        None => Answer::NotApplicable,
    }
}
