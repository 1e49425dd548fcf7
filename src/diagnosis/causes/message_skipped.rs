//! A middleware skipped the message.

use super::message_too_old::skipped_for_its_age;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::{self, LogEvent};
use crate::timeline::{Source, TOLD_LATER_MS};

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
        let copy = story.sent_on().copied();
        let copy = copy.or_else(|| story.put_off().map(|put_off| put_off.passage));
        let answer = match copy {
            // It comes again: nothing is lost, and nothing decided.
            Some(copy) => Answer::shown(
                format!(
                    "{text}; it was sent on to `{}` before, and comes again",
                    copy.queue
                ),
                [told.n, copy.n],
            ),
            None if story.may_go_on_in_another() => Answer::possible(
                format!("{text}; this task may have two messages, and the other one wait, or be at work"),
                [told.n],
            )
            .may_have_begun(),
            // What the hook has sent is told of a moment later.
            None => Answer::shown(text, [told.n]).gone().terminal_after(TOLD_LATER_MS),
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
    use crate::diagnosis::testing::{Scene, WORKER};

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
                    .publish_as("default.DQ", WORKER, copy)
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

    /// A hook that sends the task again in a message of its own, and skips this one.
    #[test]
    fn a_copy_with_an_id_of_its_own_is_no_loss() {
        let skipped = |change: fn(&mut crate::framework::Message)| {
            let mut copy = Scene::message("m-2");
            copy.eta_ms = copy.timestamp_ms.map(|at| at + 60_000);
            change(&mut copy);
            Scene::received()
                .publish_as("default.DQ", WORKER, copy)
                .warning("dramatiq.worker.WorkerThread", SKIPPED)
                .acked("m-1")
        };
        let lost = |scene: &Scene| scene.verdict().message.and_then(|message| message.lost);
        let put_off = skipped(|_| {});
        assert!(put_off.summary().contains("comes again"), "{}", put_off.summary());
        assert_ne!(lost(&put_off), Some(true));
        // At once, and for whom is not known.
        let at_once = skipped(|copy| copy.eta_ms = None);
        assert_eq!(at_once.answer(&CAUSE), "possible");
        let another = skipped(|copy| copy.carries_task_id = false);
        assert_eq!(another.answer(&CAUSE), "certain");
    }

    /// The connection was lost, and the broker hands out again what is at work: a hook with a lock skips the second.
    #[test]
    fn of_a_message_that_was_handed_out_again_the_first_run_may_go_on() {
        let skipped = |before: fn(Scene) -> Scene| {
            before(Scene::quiet(|scene| scene))
                .deliver_as("m-1", WORKER, true)
                .warning("dramatiq.worker.WorkerThread", SKIPPED)
        };
        let goes_on = skipped(|scene| scene);
        assert_eq!(goes_on.cause(), "likely message-skipped");
        assert!(!goes_on.verdict().terminal);
        assert!(
            goes_on.summary().contains("had been handed out before"),
            "{}",
            goes_on.summary()
        );
        assert_eq!(
            skipped(|scene| scene.gone(101)).cause(),
            "certain message-skipped"
        );
        assert_eq!(
            skipped(|scene| scene.acked("m-1")).cause(),
            "certain message-skipped"
        );
    }

    /// Nobody sees which messages are sent, and the worker's line names none.
    #[test]
    fn without_the_firehose_another_message_may_be_at_work() {
        let skipped = |unacked: Option<u64>| {
            let scene = Scene::quiet(|scene| scene).warning("dramatiq.worker.WorkerThread", SKIPPED);
            let scene = match unacked {
                Some(unacked) => scene.totals("default", 0, unacked, serde_json::json!({})),
                None => scene,
            };
            scene.without(Source::Firehose)
        };
        assert_eq!(skipped(Some(1)).answer(&CAUSE), "possible");
        assert_eq!(skipped(None).answer(&CAUSE), "likely");
        assert_eq!(skipped(Some(0)).answer(&CAUSE), "certain");
    }

    /// The task is done, and its second message is thrown away for that.
    #[test]
    fn afterwards_a_row_that_says_success_is_no_loss() {
        use crate::diagnosis::{Outcome, Resubmit};
        let looked = |status: &str| {
            let scene = Scene::new().given().from_before(5);
            let scene = scene.warning("dramatiq.worker.WorkerThread", SKIPPED);
            let scene = scene.from_now_on().row(status);
            let scene = scene.totals("default", 0, 0, serde_json::json!({}));
            let scene = scene.end(crate::timeline::Ended::Looked);
            scene.without(Source::Firehose)
        };
        assert_eq!(looked("PENDING").answer(&CAUSE), "certain");
        let resubmit = |scene: &Scene| scene.verdict().impact.map(|impact| impact.resubmit);
        assert_eq!(resubmit(&looked("PENDING")), Some(Resubmit::Yes));
        let done = looked("COMPLETED");
        assert_eq!(done.answer(&CAUSE), "likely");
        assert_eq!(done.verdict().outcome, Outcome::Unknown);
        assert_ne!(resubmit(&done), Some(Resubmit::Yes));
    }

    /// Where no actor is configured it may be a step beside the task.
    #[test]
    fn a_message_of_whatever_actor_is_ours_by_assumption() {
        let any = Scene::received()
            .setup(|setup| setup.actor = None)
            .warning("dramatiq.worker.WorkerThread", "Message act(…) was skipped.");
        assert_eq!(any.answer(&CAUSE), "likely");
        let named = Scene::received().warning("dramatiq.worker.WorkerThread", "Message act(…) was skipped.");
        assert_eq!(named.answer(&CAUSE), "certain");
    }

    /// Without a row or a status nothing tells of a second message that has run since, in silence.
    #[test]
    fn afterwards_a_quiet_log_alone_does_not_say_that_it_is_the_last_word() {
        let looked = |says: fn(Scene) -> Scene| {
            let scene = Scene::new().given().from_before(5);
            let scene = scene
                .warning("dramatiq.worker.WorkerThread", SKIPPED)
                .from_now_on();
            let scene = says(scene).totals("default", 0, 0, serde_json::json!({}));
            let scene = scene.end(crate::timeline::Ended::Looked);
            scene.without(Source::Firehose).answer(&CAUSE)
        };
        assert_eq!(looked(|scene| scene), "likely");
        assert_eq!(looked(|scene| scene.row("PENDING")), "certain");
        assert_eq!(looked(|scene| scene.api_says("PENDING")), "certain");
    }

    /// Its connection was lost: the first run goes on, and the broker counts nothing.
    #[test]
    fn afterwards_a_thread_at_work_may_be_the_first_run_of_it() {
        use crate::diagnosis::causes::row_locked::tests::IN_THE_DATABASE;
        let looked = |frames: &[(&str, &str)]| {
            let scene = Scene::new().given().worker_booted().from_before(5);
            let scene = scene
                .warning("dramatiq.worker.WorkerThread", SKIPPED)
                .from_now_on();
            let scene = scene.row("RUNNING").stack(101, "Thread-4", frames);
            let scene = scene.totals("default", 0, 0, serde_json::json!({}));
            let scene = scene.end(crate::timeline::Ended::Looked);
            scene.without(Source::Firehose).answer(&CAUSE)
        };
        assert_ne!(looked(&IN_THE_DATABASE), "certain");
        assert_eq!(
            looked(&[("Queue.get", "/usr/lib/python3.11/queue.py")]),
            "certain"
        );
    }

    /// A quiet worker's line names no message, and the step beside the task carries its id as well.
    #[test]
    fn a_quiet_line_of_whatever_actor_is_ours_by_assumption() {
        let any = |actor: Option<&str>| {
            let scene = Scene::delivered().setup(|setup| setup.actor = actor.map(str::to_owned));
            scene
                .warning("dramatiq.worker.WorkerThread", SKIPPED)
                .answer(&CAUSE)
        };
        assert_eq!(any(None), "likely");
        assert_eq!(any(Some("act")), "certain");
    }
}
