//! The task succeeded.

use crate::diagnosis::{Answer, Cause, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "succeeded",
    keeps_from: &[],
    owner: &[],
    explains: &[],
    scenario: None,
    needs: &[],
    general: false,
    fails_attempt: false,
    applies_to: &[],
    page: include_str!("succeeded.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    if let Some((n, row)) = story.row_succeeded() {
        return Answer::shown(
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    #[test]
    fn the_row_says_so() {
        let scene = Scene::entered().row("COMPLETED");
        assert_eq!(scene.cause(), "certain succeeded");
        assert!(scene.verdict().terminal);
        assert_eq!(scene.verdict().exit_code, 0);
    }

    #[test]
    fn the_apis_word_is_only_likely() {
        let scene = Scene::entered().api_says("COMPLETED");
        assert_eq!(scene.without(Source::Database).cause(), "likely succeeded");
        assert_eq!(
            scene.answer(&CAUSE),
            "not applicable",
            "where the row can be seen, it counts"
        );
    }

    #[test]
    fn a_log_that_says_so_is_a_near_miss() {
        let scene = Scene::entered()
            .info("app", "task_1 COMPLETED")
            .completed()
            .acked("m-1")
            .row("RUNNING");
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }
}
