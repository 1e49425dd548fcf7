//! The API does not know or does not allow the caller.

use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::text;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "api-unauthorized",
    keeps_from: &[Stage::Submitted],
    owner: &[Owner::Deployment],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Api]],
    page: include_str!("api_unauthorized.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    match story.answer() {
        Some(answer) if matches!(answer.status, 401 | 403) => Answer::shown(
            format!(
                "the API answered HTTP {}: {}",
                answer.status,
                text::excerpt(answer.body)
            ),
            [answer.n],
        )
        .terminal(),
        _ => Answer::NotApplicable,
    }
}

#[cfg(test)]
mod tests {
    use super::CAUSE;
    use crate::diagnosis::testing::Scene;

    #[test]
    fn both_refusals_of_the_caller() {
        assert_eq!(Scene::refused(401, "who?").cause(), "certain api-unauthorized");
        assert_eq!(Scene::refused(403, "no").cause(), "certain api-unauthorized");
    }

    #[test]
    fn other_refusals_are_of_the_content() {
        assert_eq!(Scene::refused(404, "").answer(&CAUSE), "not applicable");
        assert_eq!(Scene::accepted().answer(&CAUSE), "not applicable");
    }
}
