//! The broker redelivers it again and again.

use crate::diagnosis::{Answer, Cause, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "redelivery-loop",
    keeps_from: &[Stage::Finished],
    scenario: None,
    needs: &[&[Source::WorkerLog, Source::Firehose]],
    general: false,
    page: include_str!("redelivery_loop.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let timed_out = story.worker_lines().iter().find(|told| {
        story.counts(told)
            && told.line.text.contains("delivery acknowledgement")
            && told.line.text.contains("timed out")
    });
    let again: Vec<u32> = story
        .deliveries()
        .filter(|passage| passage.redelivered)
        .map(|passage| passage.n)
        .collect();
    match (timed_out, again.len()) {
        (Some(told), count) => {
            let text = format!("the broker took the message back: {}", told.line.text);
            // The channel is closed for whichever message waited longest: only one that came again
            // shows that this was among them.
            match again.last() {
                Some(last) if count > 0 => Answer::certain(text, [told.n, *last]),
                _ => Answer::likely(text, [told.n]),
            }
        }
        (None, count) if count >= 2 && story.died_in_actor().is_none() => {
            Answer::likely(format!("redelivered {count} times and never settled"), again)
        }
        _ => Answer::NotApplicable,
    }
}
