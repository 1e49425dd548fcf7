//! A middleware skipped the message.

use super::message_too_old::skipped_for_its_age;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::{self, LogEvent};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "message-skipped",
    keeps_from: &[Stage::Entered],
    owner: &[Owner::WorkerCode],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog]],
    applies_to: framework::WITH_MIDDLEWARE,
    page: include_str!("message_skipped.md"),
    check,
    ..Cause::DEFAULT
};

/// The cases of its remedies.
const BY_SKIPPING: &str = "a hook raised `SkipMessage`";
const BY_FAILING: &str = "a hook called `message.fail()`";

fn check(story: &Story<'_>) -> Answer {
    if story
        .line(|mark| matches!(mark, LogEvent::TooOld { .. }))
        .is_some()
        || skipped_for_its_age(story).is_some()
    {
        return Answer::NotApplicable;
    }
    if let Some(told) = story.line(|mark| matches!(mark, LogEvent::Skipped { .. })) {
        let text = format!("a middleware skipped it: {}", told.line.text);
        let answer = match story.sent_on() {
            // It comes again: nothing is lost, and nothing decided.
            Some(copy) => Answer::shown(
                format!(
                    "{text}; it was sent on to `{}` before, and comes again",
                    copy.queue
                ),
                [told.n, copy.n],
            ),
            None => Answer::shown(text, [told.n]).gone().terminal(),
        };
        return answer.case(BY_SKIPPING, true).case(BY_FAILING, false);
    }
    // A hook that calls `message.fail()` keeps the actor from running without a word: only the
    // rejection shows, between a reception and no call.
    let received = story.line(|mark| matches!(mark, LogEvent::Received { .. }));
    let rejected = story.line(|mark| matches!(mark, LogEvent::Rejecting { .. }));
    let explained = story.lines().iter().any(|told| {
        matches!(
            told.mark,
            Some(
                LogEvent::Called
                    | LogEvent::Failed { .. }
                    | LogEvent::ExpectedException { .. }
                    | LogEvent::HookFailed { .. }
                    | LogEvent::RetriesExceeded { .. }
            )
        )
    });
    match (received, rejected) {
        (Some(received), Some(rejected)) if !explained && story.debug_log() => Answer::likely(
            "received and rejected, and never called: a hook before the actor called message.fail()",
            [received.n, rejected.n],
        )
        .case(BY_SKIPPING, false)
        .case(BY_FAILING, true)
        .terminal(),
        _ => Answer::NotApplicable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    const SKIPPED: &str = "Message act('task_1') was skipped.";

    #[test]
    fn a_middleware_skipped_it() {
        let scene = Scene::received().warning("dramatiq.worker.WorkerThread", SKIPPED);
        assert_eq!(scene.cause(), "certain message-skipped");
        assert_eq!(scene.without(Source::WorkerLog).answer(&CAUSE), "cannot tell");
    }

    #[test]
    fn rejected_without_a_call() {
        assert_eq!(
            Scene::received().rejected("m-1").cause(),
            "likely message-skipped"
        );
        assert_eq!(Scene::called().rejected("m-1").answer(&CAUSE), "not applicable");
    }

    #[test]
    fn too_old_is_a_near_miss() {
        let scene = Scene::received()
            .warning(
                "dramatiq.middleware.age_limit.AgeLimit",
                "Message 'm-1' has exceeded its age limit.",
            )
            .warning("dramatiq.worker.WorkerThread", SKIPPED);
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }

    /// A hook that waits for more of the same sends the message to itself, later.
    #[test]
    fn what_was_put_off_is_not_lost() {
        let skipped = |later: bool| {
            let mut copy = Scene::message("m-1");
            copy.eta_ms = Some(1_006_000);
            let scene = Scene::received();
            let scene = match later {
                true => scene
                    .publish_as("default.DQ", crate::diagnosis::testing::WORKER, copy)
                    .depth("default.DQ", 1, 1),
                false => scene,
            };
            scene
                .warning(
                    "dramatiq.worker.WorkerThread",
                    "Message act('task_1') was skipped.",
                )
                .acked("m-1")
        };
        let put_off = skipped(true);
        assert!(!put_off.verdict().terminal);
        assert_ne!(
            put_off.verdict().message.and_then(|message| message.lost),
            Some(true)
        );
        let lost = skipped(false);
        assert!(lost.verdict().terminal);
        assert_eq!(
            lost.verdict().message.and_then(|message| message.lost),
            Some(true)
        );
    }
}
