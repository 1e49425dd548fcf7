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

fn check(story: &Story<'_>) -> Answer {
    let Some(passage) = story.published() else {
        return Answer::NotApplicable;
    };
    let depths = story.depths_since(passage.queue);
    match depths.iter().find(|depth| depth.exists) {
        Some(depth) => Answer::ruled_out(format!("queue `{}` exists", passage.queue), [depth.n]),
        None => match depths.last() {
            Some(depth) => Answer::certain(
                format!(
                    "published to `{}`, which does not exist: the broker dropped the message",
                    passage.queue
                ),
                [passage.n, depth.n],
            ),
            None => Answer::cannot_tell(&[Source::Queue]),
        },
    }
}
