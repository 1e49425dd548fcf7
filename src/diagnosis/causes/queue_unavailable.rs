//! The queue itself is down.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "queue-unavailable",
    keeps_from: &[Stage::Delivered],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Management]],
    general: false,
    page: include_str!("queue_unavailable.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    match story.infos(story.queue()).last() {
        Some(info) => match info.state {
            None => Answer::NotApplicable,
            Some(state @ ("running" | "idle" | "flow")) => {
                Answer::ruled_out(format!("queue state {state}"), [info.n])
            }
            // A word that is not known to mean "down" may be a state it works in.
            Some(state) if !matches!(state, "down" | "stopped" | "crashed" | "minority") => {
                Answer::possible(format!("queue `{}` is in state {state}", info.queue), [info.n])
            }
            Some(state) => Answer::certain(
                format!(
                    "queue `{}` is in state {state}: its node is down or it has no majority",
                    info.queue
                ),
                [info.n],
            ),
        },
        None => Answer::NotApplicable,
    }
}
