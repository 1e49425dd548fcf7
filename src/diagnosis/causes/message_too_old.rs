//! The message exceeded its age limit.

use crate::diagnosis::evidence::WorkerLine;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::{LogEvent, WITH_MIDDLEWARE};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "message-too-old",
    keeps_from: &[Stage::Entered],
    owner: &[Owner::Deployment],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog]],
    applies_to: WITH_MIDDLEWARE,
    page: include_str!("message_too_old.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    match story.line(|mark| matches!(mark, LogEvent::TooOld { .. })) {
        Some(told) => Answer::shown(
            format!("{} Retries keep the first timestamp", told.line.text),
            [told.n],
        )
        .terminal(),
        None => skipped_for_its_age(story).map_or(Answer::NotApplicable, |(age, skipped)| {
            Answer::likely(
                format!("{} Retries keep the first timestamp", age.line.text),
                [age.n, skipped],
            )
        }),
    }
}

/// Afterwards a message is known by its actor at most, and this line names only the message's id: but the same
/// thread then says that it skips it.
pub(super) fn skipped_for_its_age<'a>(story: &Story<'a>) -> Option<(WorkerLine<'a>, u32)> {
    let skipped = story.line(|mark| matches!(mark, LogEvent::Skipped { .. }))?;
    let thread = |told: &WorkerLine<'a>| (told.line.stream.clone(), told.line.pid, told.line.thread.clone());
    let before = story
        .worker_lines()
        .iter()
        .rfind(|told| told.n < skipped.n && told.line.thread.is_some() && thread(told) == thread(&skipped))?;
    matches!(before.mark, Some(LogEvent::TooOld { .. })).then_some((*before, skipped.n))
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
    fn the_same_thread_skips_it_for_its_age() {
        let age = "Message 'other' has exceeded its age limit.";
        let scene = Scene::received()
            .warning("dramatiq.middleware.age_limit.AgeLimit", age)
            .warning(
                "dramatiq.worker.WorkerThread",
                "Message act('task_1') was skipped.",
            );
        assert_eq!(scene.cause(), "likely message-too-old");
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
