//! Causes that only a system with Celery can have.

pub(super) mod consumer_timeout_killed_worker;
pub(super) mod deadlock_on_subtask;
pub(super) mod node_name_taken;
pub(super) mod result_ignored;
pub(super) mod result_not_stored;
pub(super) mod revoked;
pub(super) mod worker_unrecoverable;

use crate::diagnosis::evidence::{WorkerLine, broker};
use crate::diagnosis::{Answer, Story};
use crate::framework::LogEvent;
use crate::timeline::Source;

const APPLIES_TO: &[&str] = &["celery"];

/// The worker's log ends in an error on which it gave up, no consumer is left, and `is_it` knows the error.
fn gave_up(story: &Story<'_>, is_it: fn(&str) -> bool, say: impl Fn(&str) -> String) -> Answer {
    if let Some(depth) = story
        .depths_since(story.queue())
        .last()
        .filter(|depth| depth.consumers > 0)
    {
        return Answer::ruled_out(
            format!("{} consumers on `{}`", depth.consumers, story.queue()),
            [depth.n],
        );
    }
    if !story.sees(Source::WorkerLog) {
        return Answer::cannot_tell(&[Source::WorkerLog]);
    }
    let lines = story.worker_lines();
    let error_of = |told: &WorkerLine<'_>| match told.mark {
        Some(LogEvent::GaveUp { error }) => Some(error.clone()),
        _ => None,
    };
    let Some(at) = lines.iter().rposition(|told| error_of(told).is_some()) else {
        return Answer::NotApplicable;
    };
    let booted = |told: &WorkerLine<'_>| matches!(told.mark, Some(LogEvent::Ready | LogEvent::BootingUp));
    if let Some(again) = lines[at + 1..].iter().find(|told| booted(told)) {
        return Answer::ruled_out("a worker started after that", [again.n]);
    }
    let Some(error) = error_of(&lines[at]).filter(|error| is_it(error)) else {
        return Answer::NotApplicable;
    };
    if !story.closed() {
        return Answer::NotApplicable;
    }
    let mut evidence = vec![lines[at].n];
    evidence.extend(story.depths_since(story.queue()).last().map(|depth| depth.n));
    // A queue that was not looked at may have a consumer of another worker.
    match broker::has_consumer(story) {
        None => Answer::shown(say(&error), evidence),
        Some(_) => Answer::likely(say(&error), evidence).would_decide(&[Source::Queue]),
    }
}

fn is_consumer_timeout(error: &str) -> bool {
    error.contains("PRECONDITION_FAILED") && error.contains("delivery acknowledgement")
}

fn is_taken_name(error: &str) -> bool {
    error.contains("RESOURCE_LOCKED") && error.contains(".pidbox")
}
