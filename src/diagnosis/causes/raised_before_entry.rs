//! Something on the way into the actor raised: a middleware's hook, or a wrapper around the actor.

use crate::diagnosis::evidence::retries;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::Traceback;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "raised-before-entry",
    keeps_from: &[Stage::Entered],
    owner: &[Owner::WorkerCode],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog, Source::Firehose]],
    page: include_str!("raised_before_entry.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let Some((raised, trace)) = story
        .raised()
        .last()
        .and_then(|raised| raised.trace.as_ref().map(|trace| (raised, trace)))
        .filter(|(raised, trace)| !raised.entered() && !trace.is_bad_call(&raised.actor))
    else {
        return Answer::NotApplicable;
    };
    let text = |who: &str| {
        format!(
            "{who} raised {}{}{}",
            raised.exception(),
            place(trace),
            retries::retry_state(story)
        )
    };
    let answer = if trace.in_a_hook_before() {
        Answer::shown(text("a middleware's hook before the actor"), [raised.n])
    } else if raised.in_a_wrapper() {
        Answer::likely(text("what is wrapped around the actor"), [raised.n])
    } else {
        // A coroutine's frames are not on the thread that waits for it: without any nothing is known.
        return Answer::NotApplicable;
    };
    answer.terminal_if(retries::final_attempt(story))
}

fn place(trace: &Traceback) -> String {
    trace
        .frames
        .last()
        .map(|frame| format!(" at {}:{} in {}", frame.file, frame.line, frame.function))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{CALL, Scene};

    const HOOK: &str = "Failed to process message act('task_1') with unhandled exception.\n\
        Traceback (most recent call last):\n\
        \x20 File \"/v/site-packages/dramatiq/worker.py\", line 510, in process_message\n    self.broker.emit_before(\"process_message\", message)\n\
        \x20 File \"/v/site-packages/dramatiq/broker.py\", line 117, in emit_before\n    getattr(middleware, signal)(self, *args, **kwargs)\n\
        \x20 File \"/app/tenants.py\", line 12, in before_process_message\n    raise TenantUnknown(\"acme\")\n";

    fn failed(scene: Scene, text: &str) -> Scene {
        scene.error("dramatiq.worker.WorkerThread", text)
    }

    fn below_the_call(frames: &str) -> String {
        format!(
            "Failed to process message act('task_1') with unhandled exception.\n{CALL}{frames}ValidationError: 1 validation error for act"
        )
    }

    const VALIDATES: &str =
        "  File \"/v/site-packages/pydantic/_internal/_validate_call.py\", line 39, in wrapper_function\n";

    #[test]
    fn a_hook_raised() {
        let scene = failed(
            Scene::received(),
            &format!("{HOOK}app.tenants.TenantUnknown: acme"),
        );
        assert_eq!(scene.cause(), "certain raised-before-entry");
        assert_eq!(scene.verdict().scenario, Some(Scenario::B));
        let summary = scene.summary();
        assert!(
            summary.contains("TenantUnknown: acme at /app/tenants.py:12 in before_process_message"),
            "{summary}"
        );
    }

    #[test]
    fn a_library_around_the_actor_raised() {
        let scene = failed(Scene::called(), &below_the_call(VALIDATES));
        assert_eq!(scene.cause(), "likely raised-before-entry");
        assert_eq!(scene.verdict().scenario, Some(Scenario::B));
    }

    /// The application's own decorator, by its function's name; one with another name may be either.
    #[test]
    fn a_decorator_of_the_application_raised() {
        let below = |function: &str| format!("  File \"/app/tasks.py\", line 3, in {function}\n");
        let cause = |scene: Scene, function: &str| failed(scene, &below_the_call(&below(function))).cause();
        assert_eq!(cause(Scene::called(), "wrapper"), "likely raised-before-entry");
        // Dramatiq tells of the call's end in any case.
        let ended = Scene::called().completed();
        assert_eq!(cause(ended, "wrapper"), "likely raised-before-entry");
        assert_eq!(cause(Scene::called(), "checked"), "likely actor-raised");
        assert_eq!(cause(Scene::called(), "act"), "certain actor-raised");
        assert_eq!(cause(Scene::entered(), "wrapper"), "certain actor-raised");
    }

    #[test]
    fn an_actor_that_was_called_by_the_library_is_a_near_miss() {
        let below = format!("{VALIDATES}  File \"/app/tasks.py\", line 3, in act\n");
        assert_eq!(
            failed(Scene::called(), &below_the_call(&below)).cause(),
            "certain actor-raised"
        );
        // Installed as a package like the library itself, with or without a line of its own.
        let below = format!("{VALIDATES}  File \"/v/site-packages/app/tasks.py\", line 3, in act\n");
        assert_eq!(
            failed(Scene::called(), &below_the_call(&below)).cause(),
            "certain actor-raised"
        );
        assert_eq!(
            failed(Scene::entered(), &below_the_call(VALIDATES)).cause(),
            "certain actor-raised"
        );
    }

    #[test]
    fn an_arity_error_and_a_missing_loop_are_near_misses() {
        let arity = failed(
            Scene::called(),
            &format!(
                "Failed to process message act('task_1') with unhandled exception.\n{CALL}TypeError: act() missing 1 required positional argument: 'x'"
            ),
        );
        assert_eq!(arity.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn a_coroutine_that_ran_out_of_time_is_a_near_miss() {
        let waits = "  File \"/v/site-packages/dramatiq/asyncio.py\", line 3, in wrapper\n";
        let scene = failed(
            Scene::called(),
            &format!(
                "Failed to process message act('task_1') with unhandled exception.\n{CALL}{waits}dramatiq.middleware.time_limit.TimeLimitExceeded"
            ),
        );
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn without_log_and_firehose_it_cannot_be_told() {
        let blind = failed(Scene::received(), &format!("{HOOK}E: x"))
            .without(Source::WorkerLog)
            .without(Source::Firehose);
        assert_eq!(blind.answer(&CAUSE), "cannot tell");
    }
}
