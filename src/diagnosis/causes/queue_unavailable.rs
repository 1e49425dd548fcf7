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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;
    use serde_json::json;

    fn state(state: &str) -> Scene {
        Scene::published().totals_in_state(state, "default", 1, 0, json!({}))
    }

    #[test]
    fn down_or_in_the_minority() {
        assert_eq!(state("down").cause(), "certain queue-unavailable");
        assert_eq!(state("minority").cause(), "certain queue-unavailable");
    }

    #[test]
    fn a_running_queue_and_an_unknown_word() {
        assert_eq!(state("running").answer(&CAUSE), "ruled out");
        assert_eq!(state("syncing").answer(&CAUSE), "possible");
        assert_eq!(
            state("down").without(Source::Management).answer(&CAUSE),
            "cannot tell"
        );
    }
}
