//! The message exceeded its age limit.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::framework::Mark;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "message-too-old",
    keeps_from: &[Stage::Entered],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog]],
    general: false,
    page: include_str!("message_too_old.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    match story.line(|mark| matches!(mark, Mark::TooOld { .. })) {
        Some(told) => Answer::certain(
            format!("{} Retries keep the first timestamp", told.line.text),
            [told.n],
        )
        .terminal(),
        None => Answer::NotApplicable,
    }
}
