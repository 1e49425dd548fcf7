//! An error was logged, and success was reported.

use crate::diagnosis::evidence::logged_errors;
use crate::diagnosis::{Answer, Cause, Certainty, Owner, Story};
use crate::text;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "error-swallowed",
    keeps_from: &[],
    owner: &[Owner::WorkerCode],
    needs: &[&[Source::WorkerLog]],
    page: include_str!("error_swallowed.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if story.row_succeeded().is_none() && story.api_succeeded().is_none() {
        return Answer::NotApplicable;
    }
    let error = logged_errors::with_a_traceback(story);
    match error {
        Some(told) => {
            let exception = told.exception().unwrap_or_default();
            let most = match logged_errors::is_by_its_process(story, told) {
                true => Certainty::Certain,
                false => Certainty::Likely,
            };
            Answer::matched(
                most,
                format!(
                    "the application logged an error for this task and set a success status all the same: {} {exception}",
                    text::excerpt(&told.line.text)
                ),
                [told.n],
            )
        }
        None => Answer::NotApplicable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;
    use crate::timeline::Level;

    const OH_NO: &str =
        "oh no\nTraceback (most recent call last):\n  File \"/app/tasks.py\", line 3, in act\nValueError: no";

    fn contributes(scene: &Scene) -> bool {
        scene
            .verdict()
            .contributing
            .iter()
            .any(|named| named.id == CAUSE.id)
    }

    #[test]
    fn an_error_and_a_success() {
        let scene = Scene::entered().error("app", OH_NO).row("COMPLETED").completed();
        assert_eq!(scene.cause(), "certain succeeded");
        assert!(contributes(&scene));
    }

    #[test]
    fn an_earlier_attempts_error_is_a_near_miss() {
        let again = Scene::entered()
            .error("app", OH_NO)
            .raised("ValueError: no")
            .retrying()
            .acked("m-1")
            .row("COMPLETED");
        assert!(!contributes(&again));
    }

    #[test]
    fn another_tasks_error_or_no_success_is_a_near_miss() {
        let other = Scene::entered()
            .line(&format!("[PID 102] [Thread-4] [app] [ERROR] {OH_NO}"))
            .row("COMPLETED");
        assert!(!contributes(&other));
        assert_eq!(
            Scene::entered().error("app", OH_NO).answer(&CAUSE),
            "not applicable"
        );
        assert_eq!(other.without(Source::WorkerLog).answer(&CAUSE), "cannot tell");
    }

    #[test]
    fn a_thread_with_another_message_in_hand_is_a_near_miss() {
        let received = "[PID 101] [Thread-5] [dramatiq.worker.WorkerThread] [DEBUG] Received message announce('task_1') with id 'm-2'.";
        let logged = format!("[PID 101] [Thread-5] [app] [ERROR] for task_1: {OH_NO}");
        let other = Scene::entered().line(received).line(&logged).row("COMPLETED");
        assert!(!contributes(&other));
        let own = Scene::entered().line(&logged).row("COMPLETED");
        assert!(contributes(&own), "a thread of its own, perhaps");
    }

    /// One log for the API and the worker, and a request of somebody else that fails in the API.
    #[test]
    fn another_requests_error_is_a_near_miss() {
        let failed = format!("Exception in ASGI application\n{OH_NO}");
        let other = Scene::entered()
            .plain(Some(Level::Error), &failed)
            .row("COMPLETED");
        assert!(!contributes(&other));
        let named = format!("Exception for task_1\n{OH_NO}");
        let own = Scene::entered()
            .plain(Some(Level::Error), &named)
            .row("COMPLETED");
        assert!(contributes(&own));
    }

    #[test]
    fn another_programs_error_about_the_same_id_is_a_near_miss() {
        let logged =
            format!("[PID 4242] [MainThread] [notifier.feed] [ERROR] feed of task_1 refused: {OH_NO}");
        let other = Scene::entered().line(&logged).row("COMPLETED");
        assert_ne!(other.answer(&CAUSE), "certain");
    }
}
