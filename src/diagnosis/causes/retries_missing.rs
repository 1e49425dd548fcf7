//! A failure was acknowledged as if it were a success.

use crate::diagnosis::evidence::{Transfer, broker};
use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::framework::{self, LogEvent};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "retries-missing",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::WorkerCode],
    needs: &[&[Source::WorkerLog]],
    fails_attempt: true,
    applies_to: framework::WITH_MIDDLEWARE,
    page: include_str!("retries_missing.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let Some(raised) = story.raised().iter().rfind(|raised| raised.entered()) else {
        return Answer::NotApplicable;
    };
    // Of several messages of the task another may be the one that is done: in another thread.
    let failed = story.lines().iter().find(|told| told.n == raised.n);
    let Some(acked) = story.lines().iter().find(|told| {
        told.at_ms >= raised.at_ms
            && matches!(told.mark, Some(LogEvent::Acknowledging { .. }))
            && failed.is_none_or(|failed| told.thread() == failed.thread())
    }) else {
        return Answer::NotApplicable;
    };
    if let Some(told) = story.line(|mark| {
        matches!(
            mark,
            LogEvent::Retrying { .. } | LogEvent::RetriesExceeded { .. } | LogEvent::Enqueueing { .. }
        )
    }) {
        return Answer::ruled_out("the Retries middleware was at work", [told.n]);
    }
    // The middleware is there and its hook failed: the message is lost all the same, but not
    // because the middleware is missing.
    if let Some(told) = story.line(|mark| matches!(mark, LogEvent::HookFailed { .. })) {
        return Answer::ruled_out("a hook failed after the actor", [told.n]);
    }
    // A copy of the framework's, or one that the application's own way of retrying sent under another id.
    let is_retry = |passage: &Transfer<'_>| passage.message.is_retry();
    if story.publishes().iter().any(is_retry) || story.may_go_on_in_another() {
        return Answer::NotApplicable;
    }
    let text = format!(
        "the actor raised ({}), and the message was acknowledged with no retry of the framework's: the Retries middleware is missing, or was replaced",
        raised.exception()
    );
    if broker::saw_every_publish(story) {
        // One of the application's own may send it again, later.
        Answer::shown(text, [raised.n, acked.n]).terminal_if(!story.timeline.setup.wait_retries)
    } else {
        Answer::likely(text, [raised.n, acked.n]).would_decide(&[Source::Firehose])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Scene, WORKER};

    fn lost() -> Scene {
        Scene::entered().raised("ValueError: no").completed().acked("m-1")
    }

    #[test]
    fn acknowledged_after_it_raised() {
        assert_eq!(lost().cause(), "certain retries-missing");
        // A middleware of the application's own may send it again later.
        assert_eq!(lost().verdict().message.and_then(|message| message.lost), None);
        let waits = lost().setup(|setup| setup.wait_retries = true);
        assert!(lost().verdict().terminal && !waits.verdict().terminal);
        assert_eq!(lost().without(Source::Firehose).answer(&CAUSE), "likely");
    }

    #[test]
    fn a_retry_or_a_failed_hook_is_a_near_miss() {
        let retried = Scene::entered().raised("ValueError: no").retrying().acked("m-1");
        assert_eq!(retried.cause(), "certain actor-raised");
        assert_eq!(retried.answer(&CAUSE), "ruled out");
        let mut copy = Scene::message("m-1");
        copy.retries = Some(1);
        let copied = lost().publish_as("default.DQ", WORKER, copy);
        assert_eq!(copied.answer(&CAUSE), "not applicable");
        // The application retries in a way of its own.
        let mut again = Scene::message("m-2");
        again.eta_ms = again.timestamp_ms.map(|at| at + 600_000);
        let again = lost().publish_as("default.DQ", WORKER, again);
        assert_eq!(again.answer(&CAUSE), "not applicable");
        assert_eq!(lost().without(Source::WorkerLog).answer(&CAUSE), "cannot tell");
    }
}
