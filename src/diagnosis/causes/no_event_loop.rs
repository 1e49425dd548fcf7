//! An async actor, and no event loop in the worker.

use crate::diagnosis::evidence::retries;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::{self, LogEvent};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "no-event-loop",
    keeps_from: &[Stage::Entered],
    owner: &[Owner::WorkerCode],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog, Source::Firehose]],
    applies_to: framework::WITH_MIDDLEWARE,
    page: include_str!("no_event_loop.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let in_trace = story
        .raised()
        .iter()
        // One that it calls itself may be the one that is async.
        .find(|raised| !raised.entered() && raised.exception().contains("Global event loop thread not set"));
    match in_trace {
        Some(raised) => Answer::shown(
            format!("{}: the AsyncIO middleware is missing", raised.exception()),
            [raised.n],
        )
        .terminal_if(retries::final_attempt(story)),
        None => match story.line(|mark| matches!(mark, LogEvent::NoEventLoop)) {
            Some(told) => {
                Answer::shown(told.line.text.clone(), [told.n]).terminal_if(retries::final_attempt(story))
            }
            None => Answer::NotApplicable,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{CALL, Scene};

    #[test]
    fn the_middleware_is_missing() {
        let scene = Scene::called().error(
            "dramatiq.worker.WorkerThread",
            &format!(
                "Failed to process message act('task_1') with unhandled exception.\n{CALL}  File \"/v/site-packages/dramatiq/asyncio.py\", line 3, in wrapper\nRuntimeError: Global event loop thread not set. Have you added the AsyncIO middleware to your middleware stack?"
            ),
        );
        assert_eq!(scene.cause(), "certain no-event-loop");
    }

    #[test]
    fn another_runtime_error_is_a_near_miss() {
        assert_eq!(
            Scene::entered().raised("RuntimeError: no loop").answer(&CAUSE),
            "not applicable"
        );
        let blind = Scene::called()
            .without(Source::WorkerLog)
            .without(Source::Firehose);
        assert_eq!(blind.answer(&CAUSE), "cannot tell");
    }

    /// A plain actor that calls an async one like a function.
    #[test]
    fn an_actor_that_calls_another_one_was_entered() {
        let nested = format!(
            "Failed to process message act('task_1') with unhandled exception.\n{CALL}  File \"/app/tasks.py\", line 41, in act\n    notify(task_id)\n  File \"/v/site-packages/dramatiq/actor.py\", line 9, in __call__\n    return self.fn(*args, **kwargs)\n  File \"/v/site-packages/dramatiq/asyncio.py\", line 66, in wrapper\n    raise RuntimeError(\nRuntimeError: Global event loop thread not set."
        );
        let scene = Scene::called().error("dramatiq.worker.WorkerThread", &nested);
        assert_eq!(scene.answer(&CAUSE), "not applicable");
        assert_eq!(scene.cause(), "certain actor-raised");
    }
}
