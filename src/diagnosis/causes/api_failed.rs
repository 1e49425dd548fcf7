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
    if let Some((n, error)) = super::broken_off(story) {
        let text = format!("the API closed the connection without an answer: {error}");
        return match super::api_traceback(story, |_| true) {
            Some((line, exception)) => {
                Answer::certain(format!("{text}; its log: {exception}"), [n, line]).terminal()
            }
            None => Answer::likely(text, [n])
                .would_decide(&[Source::ApiLog])
                .terminal_after(if story.sees(Source::ApiLog) { 400 } else { 0 }),
        };
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    #[test]
    fn a_traceback_makes_it_certain() {
        let scene = Scene::refused(500, "Internal Server Error");
        assert_eq!(scene.cause(), "likely api-failed");
        let scene = scene.api_log(
            "Exception",
            "Traceback (most recent call last):\n  File \"/app/main.py\", line 1, in create\nZeroDivisionError: no",
        );
        assert_eq!(scene.cause(), "certain api-failed");
        assert_eq!(scene.without(Source::ApiLog).cause(), "likely api-failed");
    }

    #[test]
    fn a_4xx_is_not_it() {
        assert_eq!(Scene::refused(404, "").answer(&CAUSE), "not applicable");
    }
}
