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
            None => match may_be_of_another(story) {
                None => Answer::shown(text, [told.n]).gone().terminal(),
                Some(held) => Answer::possible(
                    format!(
                        "{text}; a message of `{}` is not acknowledged: this task may have two, and the other one be at work",
                        story.queue()
                    ),
                    [told.n, held],
                )
                .may_have_begun(),
            },
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

/// Afterwards, of a message that the line does not name: one of the queue is still in a worker's hands.
fn may_be_of_another(story: &Story<'_>) -> Option<u32> {
    let is_named = story.line(|mark| mark.message_id().is_some()).is_some();
    let last = story.infos(story.queue()).last();
    let held = last.filter(|info| info.unacked.is_some_and(|unacked| unacked > 0));
    held.filter(|_| story.post_mortem() && !is_named)
        .map(|info| info.n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    /// A quiet worker's line names no message, and one is at work.
    #[test]
    fn afterwards_the_one_that_was_skipped_need_not_be_the_only_one() {
        let looked = |unacked: u64| {
            let scene = Scene::new().given().from_before(5);
            let scene = scene.warning("dramatiq.worker.WorkerThread", SKIPPED);
            let scene = scene.from_now_on().row("PENDING");
            let scene = scene.totals("default", 0, unacked, serde_json::json!({}));
            scene
                .end(crate::timeline::Ended::Looked)
                .without(Source::Firehose)
        };
        assert_eq!(looked(0).answer(&CAUSE), "certain");
        assert_eq!(looked(1).answer(&CAUSE), "possible");
        assert_eq!(looked(1).verdict().scenario, None);
    }

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
