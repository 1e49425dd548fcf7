//! The message exceeded its age limit.

use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::{LogEvent, WITH_MIDDLEWARE};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "message-too-old",
    keeps_from: &[Stage::Entered],
    owner: &[Owner::Deployment],
    explains: &[],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog]],
    general: false,
    fails_attempt: false,
    applies_to: WITH_MIDDLEWARE,
    page: include_str!("message_too_old.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    match story.line(|mark| matches!(mark, LogEvent::TooOld { .. })) {
        Some(told) => Answer::shown(
            format!("{} Retries keep the first timestamp", told.line.text),
            [told.n],
        )
        .terminal(),
        None => Answer::NotApplicable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    #[test]
    fn its_age_limit_is_over() {
        let scene = Scene::received().warning(
            "dramatiq.middleware.age_limit.AgeLimit",
            "Message 'm-1' has exceeded its age limit.",
        );
        assert_eq!(scene.cause(), "certain message-too-old");
        assert_eq!(scene.without(Source::WorkerLog).answer(&CAUSE), "cannot tell");
    }

    #[test]
    fn another_messages_age_is_a_near_miss() {
        let scene = Scene::received().warning(
            "dramatiq.middleware.age_limit.AgeLimit",
            "Message 'other' has exceeded its age limit.",
        );
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }
}
