//! The API failed, and nothing more specific is known.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "api-failed",
    keeps_from: &[Stage::Submitted],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Api]],
    general: true,
    page: include_str!("api_failed.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    match story.answer() {
        Some((n, status, body)) if status >= 500 => match super::api_traceback(story, |_| true) {
            Some((line, exception)) => {
                Answer::certain(format!("the API answered HTTP {status}: {exception}"), [n, line]).terminal()
            }
            // Servers answer first and log the traceback after that.
            None => Answer::likely(
                format!("the API answered HTTP {status}: {}", super::excerpt(body)),
                [n],
            )
            .would_decide(&[Source::ApiLog])
            .terminal_after(if story.sees(Source::ApiLog) { 400 } else { 0 }),
        },
        _ => Answer::NotApplicable,
    }
}
