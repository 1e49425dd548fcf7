//! The command that is to send the task failed.

use crate::diagnosis::evidence::api;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::exception_in;
use crate::text;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "submit-command-failed",
    keeps_from: &[Stage::Submitted, Stage::Published],
    owner: &[Owner::ApiCode],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Api]],
    page: include_str!("submit_command_failed.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let Some(end) = story.command_ended() else {
        return Answer::NotApplicable;
    };
    if end.code == Some(0) {
        return Answer::ruled_out("the command ended with exit code 0", [end.n]);
    }
    let said = exception_in(&end.printed)
        .filter(|exception| !exception.is_empty())
        .or_else(|| end.printed.trim().lines().last().map(str::to_owned));
    let said = said.map_or("; it printed nothing".to_owned(), |said| {
        format!(": {}", text::excerpt(&said))
    });
    let text = format!("the command {}{said}", end.words());
    // It may have sent the task before: then this is not what keeps it.
    let answer = match story.sent_nothing() {
        true => Answer::shown(text, [end.n]),
        false => Answer::likely(text, [end.n]).would_decide(&[Source::Firehose]),
    };
    api::unless_its_message_comes(story, answer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Scene, WORKER};

    #[test]
    fn it_ended_with_an_error() {
        let printed = "Traceback (most recent call last):\n  File \"/app/manage.py\", line 3, in handle\nValueError: no such report\n";
        let scene = Scene::run_by_command(Some(1), None, printed);
        assert_eq!(scene.cause(), "certain submit-command-failed");
        assert!(
            scene
                .summary()
                .contains("exit code 1: ValueError: no such report"),
            "{}",
            scene.summary()
        );
        let killed = Scene::run_by_command(Some(-9), None, "");
        assert!(
            killed
                .summary()
                .contains("ended with signal 9 (SIGKILL); it printed nothing"),
            "{}",
            killed.summary()
        );
    }

    #[test]
    fn one_that_ended_well_is_a_near_miss() {
        let well = Scene::run_by_command(Some(0), Some("task_1"), "queued task_1");
        assert_eq!(well.answer(&CAUSE), "ruled out");
        assert_eq!(Scene::accepted().answer(&CAUSE), "not applicable");
    }

    #[test]
    fn one_that_failed_after_it_had_sent_the_task_is_a_near_miss() {
        let scene = Scene::run_by_command(Some(1), Some("task_1"), "queued task_1\nBrokenPipeError")
            .publish("default")
            .silence();
        assert_ne!(
            scene.verdict().cause.map(|cause| cause.id).as_deref(),
            Some(CAUSE.id)
        );
    }

    /// It printed the id, and raised before it had sent anything: that is why there is no message.
    #[test]
    fn one_that_named_its_task_and_failed() {
        let failed = Scene::run_by_command(
            Some(1),
            Some("task_1"),
            "queued task_1\nConnectionError: no broker",
        );
        assert_eq!(failed.clone().silence().cause(), "certain submit-command-failed");
        let recorded = failed.row("PENDING");
        assert_eq!(recorded.silence().cause(), "certain submit-command-failed");
    }

    /// What was sent meanwhile may be its task: then it did not keep that from anything.
    #[test]
    fn where_something_may_have_been_sent_it_is_likely() {
        let failed = Scene::run_by_command(Some(1), None, "BrokenPipeError");
        assert_eq!(
            failed.without(Source::Firehose).cause(),
            "likely submit-command-failed"
        );
        let other = failed
            .clone()
            .publish_as("default", WORKER, Scene::message("x-1"));
        assert_eq!(other.silence().cause(), "likely submit-command-failed");
        let elsewhere = failed.publish_as("billing", WORKER, Scene::message("x-1"));
        assert_eq!(elsewhere.silence().cause(), "certain submit-command-failed");
    }

    #[test]
    fn one_that_sent_nothing_and_one_whose_message_is_not_known() {
        let nothing = Scene::run_by_command(Some(0), None, "0 reports due")
            .without_a_database()
            .silence();
        assert_eq!(nothing.cause(), "likely not-published");
        assert!(
            nothing.summary().contains("0 reports due"),
            "{}",
            nothing.summary()
        );
        let others = Scene::message("x-1");
        let unknown = Scene::run_by_command(Some(0), None, "done")
            .publish_as("default", WORKER, others)
            .silence();
        assert_eq!(unknown.cause(), "certain api-answer-unrecognised");
        let unseen = nothing.without(Source::Firehose);
        assert_eq!(unseen.cause(), "certain api-answer-unrecognised");
    }
}
