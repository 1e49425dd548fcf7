//! The actor raised what it declares to throw.

use crate::diagnosis::evidence::replaced::Remainder;
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "expected-exception",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::WorkerCode],
    needs: &[&[Source::WorkerLog]],
    fails_attempt: true,
    page: include_str!("expected_exception.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let Some(told) = story.line(|mark| matches!(mark, LogEvent::ExpectedException { .. })) else {
        return without_result(story);
    };
    let what = match told.mark {
        Some(LogEvent::ExpectedException { declared: None }) => {
            "the task itself said that it is not to be run any further, with Reject: its worker stores no result and does not retry it"
        }
        _ => "the actor raised an exception that it declares in `throws`, so it is not retried",
    };
    let text = format!("{what}: {}", told.line.text);
    if matches!(told.mark, Some(LogEvent::ExpectedException { declared: Some(_) })) {
        return Answer::shown(text, [told.n]).terminal();
    }
    let route = match comes_again(story) {
        Some(false) => return Answer::shown(text, [told.n]).terminal(),
        Some(true) => "has a route for dead letters, by which it may come back",
        None => "may have a route for dead letters, by which it would come back: that was not seen",
    };
    Answer::likely(format!("{text}; `{}` {route}", story.queue()), [told.n])
        .would_decide(&[Source::Queue, Source::Management])
}

/// What is rejected may return by the queue's route for dead letters, as many do who wait before they try again. `None`:
/// nobody has read whether there is one.
fn comes_again(story: &Story<'_>) -> Option<bool> {
    let mut infos = story.infos(story.queue()).peekable();
    infos.peek()?;
    Some(infos.any(|info| info.setting("dead-letter-exchange").is_some() || info.policy_unknown))
}

/// The line is the same for a task that put another in its own place.
fn without_result(story: &Story<'_>) -> Answer {
    let Some((told, left)) = story.ended_without_result() else {
        return Answer::NotApplicable;
    };
    let itself = "the task itself said that it is not to be run any further, with Ignore: its worker stores no result and does not retry it";
    match left {
        Remainder::Another(sent) => Answer::ruled_out(
            "the task put another in its own place, which has the same id",
            [told.n, sent.n],
        ),
        Remainder::Nothing => Answer::shown(format!("{itself}: {}", told.line.text), [told.n])
            .given([Premise::NothingRefused])
            .terminal_after(PUBLISH_MS),
        Remainder::Unknown => Answer::possible(
            format!("{itself}, or it put another in its own place: {}", told.line.text),
            [told.n],
        )
        .would_decide(&[Source::Firehose]),
    }
}

/// The replacement is sent before the line is written, and may be seen after it.
const PUBLISH_MS: u64 = 1500;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    const EXPECTED: &str = "Failed to process message act('task_1') with expected exception KeyError.";

    #[test]
    fn the_actor_declares_it() {
        let scene = Scene::entered()
            .info("dramatiq.worker.WorkerThread", EXPECTED)
            .rejected("m-1");
        assert_eq!(scene.cause(), "certain expected-exception");
        assert_eq!(scene.without(Source::WorkerLog).answer(&CAUSE), "cannot tell");
    }

    #[test]
    fn another_threads_message_is_a_near_miss() {
        let scene = Scene::entered().line(
            "[PID 102] [Thread-4] [dramatiq.worker.WorkerThread] [INFO] Failed to process message act('x') with expected exception KeyError.",
        );
        assert_eq!(scene.answer(&CAUSE), "not applicable");
        assert_eq!(
            Scene::entered().raised("KeyError: 1").answer(&CAUSE),
            "not applicable"
        );
    }

    /// A rejected message returns by the queue's route for dead letters, as many retry.
    #[test]
    fn what_is_rejected_may_come_back() {
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OURS};
        let rejected = |arguments: serde_json::Value| {
            CeleryScene::received()
                .and(|scene| scene.totals("celery", 0, 0, arguments))
                .info(&format!(
                    "Task shop.tasks.fulfil[{OURS}] reject requeue=False: offline"
                ))
                .silence()
                .answer(&CAUSE)
        };
        assert_eq!(rejected(serde_json::json!({})), "certain");
        assert_eq!(
            rejected(serde_json::json!({ "x-dead-letter-exchange": "" })),
            "likely"
        );
    }

    /// Whether the queue has such a route may not have been read.
    #[test]
    fn a_queue_that_nobody_looked_at_may_have_a_way_back() {
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OURS};
        let said = |text: &str| {
            let scene = CeleryScene::received().info(&format!("Task shop.tasks.fulfil[{OURS}] {text}"));
            scene.silence().answer(&CAUSE)
        };
        assert_eq!(said("reject requeue=False: offline"), "likely");
        assert_eq!(said("raised expected: CardDeclined('no')"), "certain");
    }
}
