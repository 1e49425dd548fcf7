//! The task was revoked: the worker discards it.

use super::APPLIES_TO;
use crate::diagnosis::evidence::expiry;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::Source;

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "revoked",
    keeps_from: &[Stage::Entered, Stage::Received],
    owner: &[Owner::ApiCode, Owner::Deployment],
    explains: &[],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog]],
    general: false,
    fails_attempt: false,
    applies_to: APPLIES_TO,
    page: include_str!("revoked.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let Some(told) = story.line(|mark| matches!(mark, LogEvent::Discarded { .. })) else {
        return Answer::NotApplicable;
    };
    let text = "the worker discarded the task: its id is in the worker's list of revoked tasks";
    // The same line stands for a task that is too old.
    match expiry::of(story) {
        expiry::Expiry::Never => Answer::shown(text, [told.n]).terminal(),
        expiry::Expiry::At(at) if expiry::wall_ms(story, told.at_ms) >= at => {
            Answer::ruled_out("it had expired by then", [told.n])
        }
        expiry::Expiry::At(_) => {
            Answer::shown(format!("{text}, and it had not expired"), [told.n]).terminal()
        }
        expiry::Expiry::Unknown => {
            Answer::likely(format!("{text}, or it had expired"), [told.n]).would_decide(&[Source::Firehose])
        }
    }
}
