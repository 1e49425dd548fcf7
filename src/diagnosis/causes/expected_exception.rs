//! The actor raised what it declares to throw.

use crate::diagnosis::{Answer, Cause, Stage, Story};
use crate::framework::Mark;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "expected-exception",
    keeps_from: &[Stage::Finished],
    scenario: None,
    needs: &[&[Source::WorkerLog]],
    general: false,
    page: include_str!("expected_exception.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    match story.line(|mark| matches!(mark, Mark::ExpectedException { .. })) {
        Some(told) => Answer::certain(
            format!(
                "the actor raised an exception that it declares in `throws`, so it is not retried: {}",
                told.line.text
            ),
            [told.n],
        )
        .terminal(),
        None => Answer::NotApplicable,
    }
}
