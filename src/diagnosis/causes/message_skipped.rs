//! A middleware skipped the message.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::framework::Mark;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "message-skipped",
    keeps_from: &[Stage::Entered],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog]],
    general: false,
    page: include_str!("message_skipped.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    if story.line(|mark| matches!(mark, Mark::TooOld { .. })).is_some() {
        return Answer::NotApplicable;
    }
    match story.line(|mark| matches!(mark, Mark::Skipped { .. })) {
        Some(told) => {
            Answer::certain(format!("a middleware skipped it: {}", told.line.text), [told.n]).terminal()
        }
        None => Answer::NotApplicable,
    }
}
