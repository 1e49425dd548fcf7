//! The API does not know or does not allow the caller.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "api-unauthorized",
    keeps_from: &[Stage::Submitted],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Api]],
    general: false,
    page: include_str!("api_unauthorized.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    match story.answer() {
        Some((n, status, body)) if matches!(status, 401 | 403) => Answer::certain(
            format!("the API answered HTTP {status}: {}", super::excerpt(body)),
            [n],
        )
        .terminal(),
        _ => Answer::NotApplicable,
    }
}
