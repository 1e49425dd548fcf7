//! The API refused the request, or sent it elsewhere.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "api-rejected",
    keeps_from: &[Stage::Submitted],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Api]],
    general: false,
    page: include_str!("api_rejected.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    match story.answer() {
        Some((n, status, body)) if (300..500).contains(&status) && !matches!(status, 401 | 403) => {
            Answer::certain(super::rejection(story, status, body), [n]).terminal()
        }
        _ => Answer::NotApplicable,
    }
}
