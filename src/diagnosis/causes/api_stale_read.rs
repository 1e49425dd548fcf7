//! The API shows an old status.

use crate::diagnosis::evidence::{Fact, row};
use crate::diagnosis::{Answer, Cause, Owner, Story};
use crate::timeline::{Row, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "api-stale-read",
    keeps_from: &[],
    owner: &[Owner::ApiCode],
    needs: &[&[Source::Api], &[Source::Database]],
    page: include_str!("api_stale_read.md"),
    check,
    ..Cause::DEFAULT
};

/// The API may write the status in another case than the row.
fn says_the_same(row: &Row, value: &str) -> bool {
    row.status
        .as_deref()
        .is_some_and(|status| status.eq_ignore_ascii_case(value))
}

fn check(story: &Story<'_>) -> Answer {
    let Some(row) = story.row_succeeded().or_else(|| story.row_failed()) else {
        return match (story.last_row(), story.api_status()) {
            (Some(row), Some(said)) if row.status.as_deref() == Some(said.value) && story.closed() => {
                Answer::ruled_out(format!("the row itself is {said}"), [row.n, said.n])
            }
            _ => Answer::NotApplicable,
        };
    };
    let Some(Fact { n, value: said, .. }) = story.api_status_since_final() else {
        return Answer::NotApplicable;
    };
    if says_the_same(&row, said) || story.last_row().is_some_and(|last| says_the_same(&last, said)) {
        Answer::ruled_out(format!("the API says {said} too"), [row.n, n])
    } else if row::same_words(story, said) {
        Answer::shown(
            format!(
                "the row says {}, the API still says {said}",
                row.status.as_deref().unwrap_or_default()
            ),
            [row.n, n],
        )
    } else {
        Answer::NotApplicable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Scene, WORKER};

    #[test]
    fn the_row_is_final_and_the_api_is_not() {
        let scene = Scene::entered()
            .row("COMPLETED")
            .api_says("PENDING")
            .row("COMPLETED");
        let scene = scene.setup(|setup| setup.running.push("PENDING".into()));
        assert_eq!(scene.answer(&CAUSE), "certain");
    }

    #[test]
    fn another_vocabulary_or_an_answer_from_before_is_a_near_miss() {
        let words = Scene::entered().row("COMPLETED").api_says("done");
        assert_eq!(words.answer(&CAUSE), "not applicable");
        let before = Scene::entered()
            .row("PENDING")
            .api_says("PENDING")
            .row("COMPLETED")
            .completed();
        assert_eq!(before.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn an_api_that_was_not_asked_since_is_waited_for() {
        let before = Scene::entered()
            .row("PENDING")
            .api_says("PENDING")
            .row("COMPLETED")
            .completed();
        assert!(before.verdict().linger_ms > 0);
        let asked = before.clone().api_says("COMPLETED");
        assert_eq!(asked.verdict().linger_ms, 0);
        let no_status_path = Scene::entered().row("PENDING").row("COMPLETED").completed();
        assert_eq!(no_status_path.verdict().linger_ms, 0);
    }

    #[test]
    fn the_same_word_excludes_it_and_one_source_alone_cannot_tell() {
        let same = Scene::entered().row("COMPLETED").api_says("COMPLETED");
        assert_eq!(same.answer(&CAUSE), "ruled out");
        assert_eq!(same.without(Source::Database).answer(&CAUSE), "cannot tell");
    }

    /// The row was final, was taken up again, and is final once more: the API said how it was in between.
    #[test]
    fn a_row_that_was_not_final_in_between_is_a_near_miss() {
        let scene = |again: bool| {
            let scene = Scene::entered().row("COMPLETED");
            let scene = if again { scene.row("PENDING") } else { scene };
            scene
                .api_says("PENDING")
                .row("COMPLETED")
                .setup(|setup| setup.running.push("PENDING".into()))
        };
        assert_eq!(scene(false).answer(&CAUSE), "certain");
        assert_eq!(scene(true).answer(&CAUSE), "not applicable");
    }

    /// It failed, is to come again, and the row says so: what the API says is the row's newest word.
    #[test]
    fn an_api_that_says_what_the_row_says_now_is_a_near_miss() {
        let scene = |last: &str| {
            let mut copy = Scene::message("m-1");
            copy.retries = Some(1);
            let scene = Scene::entered()
                .row("FAILED")
                .publish_as("default.DQ", WORKER, copy);
            scene
                .api_says("delayed")
                .row(last)
                .setup(|setup| setup.running.push("delayed".into()))
        };
        assert_eq!(scene("FAILED").answer(&CAUSE), "certain");
        assert_ne!(scene("delayed").answer(&CAUSE), "certain");
        let unnamed = scene("delayed").setup(|setup| setup.running.clear());
        assert_ne!(unnamed.answer(&CAUSE), "certain");
        assert_eq!(
            unnamed.answer(&super::super::row_marked_failed::CAUSE),
            "not applicable"
        );
    }
}
