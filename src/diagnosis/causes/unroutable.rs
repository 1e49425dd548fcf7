//! The queue does not exist, so the broker dropped the message.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "unroutable",
    keeps_from: &[Stage::Published],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Firehose], &[Source::Queue]],
    general: false,
    page: include_str!("unroutable.md"),
    check,
};

/// More than two events of different sources can be out of order.
const LATER_MS: f64 = 100.0;

fn check(story: &Story<'_>) -> Answer {
    let Some(passage) = story.published() else {
        return Answer::NotApplicable;
    };
    let depths = story.depths_since(passage.queue);
    if let Some(depth) = depths.iter().find(|depth| depth.exists) {
        return Answer::ruled_out(format!("queue `{}` exists", passage.queue), [depth.n]);
    }
    // A sample on its way while the API declared the queue says nothing: it must be a later one.
    match depths.last() {
        Some(depth) if depth.at_ms >= passage.at_ms + LATER_MS => Answer::certain(
            format!(
                "published to `{}`, which does not exist: the broker dropped the message",
                passage.queue
            ),
            [passage.n, depth.n],
        ),
        _ if story.closed() => Answer::cannot_tell(&[Source::Queue]),
        _ => Answer::NotApplicable,
    }
}
