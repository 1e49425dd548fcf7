//! The task succeeded.

use crate::diagnosis::{Answer, Cause, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "succeeded",
    keeps_from: &[],
    scenario: None,
    needs: &[],
    general: false,
    page: include_str!("succeeded.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    if let Some((n, row)) = story.row_succeeded() {
        return Answer::certain(
            format!("the row says {}", row.status.as_deref().unwrap_or_default()),
            [n],
        )
        .terminal();
    }
    match story.api_succeeded() {
        Some(n) => Answer::likely("the API says so; the row itself cannot be seen", [n])
            .would_decide(&[Source::Database])
            .terminal(),
        None => Answer::NotApplicable,
    }
}
