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
    if let Some(told) = story.line(|mark| matches!(mark, Mark::Skipped { .. })) {
        return Answer::certain(format!("a middleware skipped it: {}", told.line.text), [told.n]).terminal();
    }
    // A hook that calls `message.fail()` keeps the actor from running without a word: only the
    // rejection shows, between a reception and no call.
    let received = story.line(|mark| matches!(mark, Mark::Received { .. }));
    let rejected = story.line(|mark| matches!(mark, Mark::Rejecting { .. }));
    let explained = story.lines().iter().any(|told| {
        matches!(
            told.mark,
            Some(
                Mark::Called
                    | Mark::Failed { .. }
                    | Mark::ExpectedException { .. }
                    | Mark::HookFailed { .. }
                    | Mark::RetriesExceeded { .. }
            )
        )
    });
    match (received, rejected) {
        (Some(received), Some(rejected)) if !explained && story.debug_log() => Answer::likely(
            "received and rejected, and never called: a hook before the actor called message.fail()",
            [received.n, rejected.n],
        )
        .terminal(),
        _ => Answer::NotApplicable,
    }
}
