//! The task succeeded.

use crate::diagnosis::evidence::Fact;
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Story};
use crate::timeline::{Row, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "succeeded",
    keeps_from: &[],
    owner: &[],
    needs: &[],
    page: include_str!("succeeded.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if let Some(row) = story.row_succeeded() {
        let status = row.status.as_deref().unwrap_or_default();
        let now = story.last_row().filter(|last| last.status != row.status);
        let text = match now {
            _ if story.row_unseen() => format!("the row said {status}, and was taken away then"),
            Some(now) => format!(
                "the row said {status}, and says {} now, which is no status that is configured: a stage after it",
                now.status.as_deref().unwrap_or_default()
            ),
            None => format!("the row says {status}"),
        };
        if story.waits_untaken() {
            let text = format!(
                "{text}, but a message waits on `{}` and nobody takes it: something else than the worker may have set that",
                story.queue()
            );
            return Answer::possible(text, [row.n]).given([Premise::StatusIsOfThisRun]);
        }
        if story.may_wait_again() {
            let text = format!(
                "{text}, but a message waits on `{}` and nobody takes it: it may be this task's, sent again under the id that the application gave it",
                story.queue()
            );
            return Answer::possible(text, [row.n]).given([Premise::StatusIsOfThisRun]);
        }
        // By its worker's own word it did not run: whoever wrote that, it was not this run.
        if was_not_run(story) {
            let text = format!(
                "{text}, and by the worker's log its message was not run: something else may have set that"
            );
            return Answer::likely(text, [row.n]).terminal_if(story.status_stays());
        }
        // Nothing shows that what has the message runs tasks: a reconciler may have set that.
        let stranger = super::taken_by_other_client::stranger(story);
        let speaks = !story.lines().is_empty() || story.row_is_a_result();
        if let Some(process) = stranger.filter(|_| !speaks) {
            let text = format!(
                "{text}, and its message was delivered to pid {} (`{}`), which is not known as a worker: something else may have set that",
                process.pid,
                crate::text::excerpt(&process.command.join(" "))
            );
            return Answer::likely(text, [row.n, process.n]).terminal_if(story.status_stays());
        }
        if let Some(answer) = before_its_end(story, &row, &text) {
            return answer;
        }
        // What an earlier run left may still be changed by this one.
        return Answer::shown(text, [row.n])
            .given([Premise::StatusIsOfThisRun, Premise::StatusIsByARun])
            .terminal_if(story.status_stays());
    }
    if let Some(evidence) = story.returned_for_good() {
        return Answer::likely(
            "the actor returned, the message is acknowledged and nothing came back; no row says more",
            evidence,
        )
        .would_decide(&[Source::Database])
        .terminal_after(SOMETHING_COMES_BACK_MS);
    }
    match story.api_succeeded() {
        Some(n) => Answer::likely("the API says so; the row itself cannot be seen", [n])
            .would_decide(&[Source::Database])
            .terminal(),
        None => match story.row_removed_when_done() {
            Some(evidence) => Answer::likely(
                "the actor returned, its message is acknowledged, and the row was taken away when it was done: moved to another table, perhaps",
                evidence,
            ),
            None => Answer::NotApplicable,
        },
    }
}

/// The run that has the message is not over, or is to come again: a person or a reconciler may have set that.
fn before_its_end(story: &Story<'_>, row: &Fact<&Row>, text: &str) -> Option<Answer> {
    let is_known = story.status_stays();
    if let Some((words, shown)) = story.goes_on_since(row.at_ms) {
        let text = format!("{text}, and {words}: something else than this run may have set that");
        let evidence: Vec<u32> = std::iter::once(row.n).chain(shown).collect();
        return Some(Answer::possible(text, evidence).terminal_if(is_known));
    }
    let begun = story
        .begun_without_an_end()
        .filter(|_| !story.call_has_returned())?;
    let text = format!("{text}, and no line tells of the end of the run: something else may have set that");
    let answer = Answer::likely(text, [row.n, begun.n]);
    Some(match is_known {
        true => answer.terminal_after(ENDS_SOON_MS),
        false => answer,
    })
}

/// Within which a run that has written its last status tells of its end.
const ENDS_SOON_MS: u64 = 1000;

/// The log denies the only run that it can have had: no line of it is the task's own.
fn was_not_run(story: &Story<'_>) -> bool {
    let is_one = story.deliveries().count() <= 1 && !story.is_ambiguous();
    let speaks = story
        .lines()
        .iter()
        .any(|told| told.line.entry || told.is_by_the_task());
    !story.post_mortem() && is_one && !speaks && story.was_skipped()
}

/// Within which a copy for a retry, or a dead letter, is seen.
const SOMETHING_COMES_BACK_MS: u64 = 300;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Scene, WORKER};
    use serde_json::json;

    #[test]
    fn the_row_says_so() {
        let scene = Scene::entered().row("COMPLETED").completed();
        assert_eq!(scene.cause(), "certain succeeded");
        assert!(scene.verdict().terminal);
        assert_eq!(scene.verdict().exit_code, 0);
    }

    /// A sweeper, a person or the API may write the status while the actor is at work, or before its retry.
    #[test]
    fn a_status_before_the_end_of_the_run_may_be_anybodys() {
        let early = || Scene::entered().row("RUNNING").at(3000.0).row("COMPLETED");
        // The end of the run comes a moment later.
        assert_eq!(early().cause(), "likely succeeded");
        assert!(early().verdict().terminal);
        assert_eq!(early().verdict().linger_ms, ENDS_SOON_MS);
        assert_eq!(early().completed().cause(), "certain succeeded");
        let frames = [
            ("crunch", "/app/core.py"),
            ("__call__", "/v/site-packages/dramatiq/actor.py"),
            ("process_message", "/v/site-packages/dramatiq/worker.py"),
        ];
        let stands = early().at(4000.0).stack(101, "Thread-4", &frames).silence();
        assert_eq!(stands.answer(&CAUSE), "possible");
        assert_ne!(stands.verdict().exit_code, 0);
        // The stack is of before.
        let before = Scene::entered()
            .stack(101, "Thread-4", &frames)
            .row("COMPLETED")
            .completed();
        assert_eq!(before.silence().cause(), "certain succeeded");
    }

    /// A person may write what a worker writes.
    #[test]
    fn a_status_beside_no_sign_of_a_worker_is_not_certain() {
        let written = |scene: Scene| {
            let scene = scene.submitted().row("PENDING");
            scene.at(3000.0).row("COMPLETED")
        };
        let blind = || Scene::new().without(Source::Firehose).without(Source::WorkerLog);
        assert_eq!(written(blind()).cause(), "likely succeeded");
        assert_eq!(
            written(blind().depth("default", 0, 1)).cause(),
            "likely succeeded"
        );
        let consumed = |consumers| {
            let scene = Scene::new()
                .depth("default", 0, consumers)
                .submitted()
                .row("PENDING");
            let scene = scene.depth("default", 1, consumers).at(3000.0).row("COMPLETED");
            scene.without(Source::Firehose)
        };
        assert_eq!(consumed(1).cause(), "certain succeeded");
        // It waits there, and nobody takes any.
        assert_ne!(consumed(0).verdict().exit_code, 0);
        assert!(
            !consumed(0).cause().ends_with("succeeded"),
            "{}",
            consumed(0).cause()
        );
    }

    /// Afterwards: a sweeper may have marked as done what nobody ever took.
    #[test]
    fn beside_a_message_that_nobody_takes_it_is_only_possible() {
        let asked = |consumers| {
            Scene::new()
                .given()
                .depth("default", 1, consumers)
                .row("COMPLETED")
                .silence()
        };
        assert_ne!(asked(0).verdict().exit_code, 0);
        assert_eq!(asked(1).verdict().exit_code, 0);
    }

    /// Afterwards: a worker that tells of each message has nothing of it, so somebody else has set the status.
    #[test]
    fn a_status_without_a_word_of_the_worker_is_not_certain() {
        let asked = |scene: Scene| {
            scene
                .totals("default", 0, 0, json!({}))
                .row("COMPLETED")
                .end(crate::timeline::Ended::Looked)
                .answer(&CAUSE)
        };
        assert_eq!(asked(Scene::new().given().worker_booted()), "likely");
        let told = Scene::new().given().worker_booted().debug(
            "dramatiq.worker.WorkerThread",
            "Received message act('task_1') with id 'm-1'.",
        );
        assert_eq!(asked(told.clone()), "likely", "nothing says that it has ended");
        assert_eq!(asked(told.completed()), "certain");
        assert_eq!(asked(Scene::new().given()), "likely", "the row alone");
    }

    /// An id that the application chose may have been sent once more.
    #[test]
    fn beside_a_message_that_nobody_takes_a_chosen_id_may_have_come_again() {
        use crate::diagnosis::testing::TASK;
        let asked = |table: &str, consumers| {
            Scene::new()
                .setup(|setup| {
                    setup.framework = "celery".into();
                    setup.table = Some(table.into());
                })
                .given()
                .info("x", &format!("Task shop.tasks.fulfil[{TASK}] received"))
                .depth("default", 1, consumers)
                .row("COMPLETED")
                .end(crate::timeline::Ended::Looked)
                .answer(&CAUSE)
        };
        assert_eq!(asked("celery_taskmeta", 0), "possible");
        assert_ne!(asked("celery_taskmeta", 1), "possible");
        assert_ne!(asked("orders", 0), "possible");
    }

    #[test]
    fn a_stage_after_it_takes_nothing_back() {
        let done = || Scene::entered().row("PENDING").row("COMPLETED").completed();
        let archived = done().row("archived").silence();
        assert_eq!(archived.cause(), "certain succeeded");
        assert!(archived.summary().contains("says archived now"));
        assert_ne!(
            done()
                .row("PENDING")
                .completed()
                .acked("m-1")
                .silence()
                .verdict()
                .exit_code,
            0
        );
        let first = Scene::entered()
            .row("fresh")
            .row("COMPLETED")
            .row("fresh")
            .completed()
            .acked("m-1");
        assert_ne!(
            first.silence().verdict().exit_code,
            0,
            "what it was at first is no stage after it"
        );
    }

    #[test]
    fn the_apis_word_is_only_likely() {
        let scene = Scene::entered().api_says("COMPLETED");
        let unseen = scene.without(Source::Database);
        assert_eq!(unseen.cause(), "likely succeeded");
        assert_eq!(unseen.verdict().exit_code, 30, "a database is configured");
        assert_eq!(scene.clone().without_a_database().verdict().exit_code, 0);
        assert_eq!(
            scene.answer(&CAUSE),
            "not applicable",
            "where the row can be seen, it counts"
        );
    }

    #[test]
    fn a_log_that_says_so_is_a_near_miss() {
        let scene = Scene::entered()
            .info("app", "task_1 COMPLETED")
            .completed()
            .acked("m-1")
            .row("RUNNING");
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn a_row_that_was_gone_before_the_actor_returned_is_a_near_miss() {
        let running = || Scene::entered().row("RUNNING");
        let deleted = running().no_row().completed().acked("m-1");
        assert_eq!(deleted.clone().silence().answer(&CAUSE), "not applicable");
        assert_ne!(deleted.clone().silence().verdict().exit_code, 0);
        // The actor itself moved it, and the API finds it where it is now.
        let moved = deleted.api_says("COMPLETED").silence();
        assert_eq!(moved.answer(&CAUSE), "likely");
        let after = running().completed().acked("m-1").no_row();
        assert_eq!(after.clone().silence().answer(&CAUSE), "likely");
        let unknown = after.api_knows_nothing().silence();
        assert_eq!(unknown.answer(&CAUSE), "not applicable");
        assert_ne!(unknown.verdict().exit_code, 0);
    }

    #[test]
    fn without_a_database_a_return_is_a_success() {
        let returned = Scene::entered().completed().acked("m-1");
        let alone = returned.clone().without_a_database();
        assert_eq!(alone.cause(), "likely succeeded");
        assert_eq!(alone.verdict().exit_code, 0);
        assert_eq!(returned.answer(&CAUSE), "not applicable");
        let unsettled = Scene::entered().completed().without_a_database();
        assert_eq!(unsettled.silence().answer(&CAUSE), "not applicable");
    }

    /// No status is configured as a good one: a word that came after the return says no less than none.
    #[test]
    fn without_a_database_a_new_word_of_the_apis_denies_nothing() {
        let said = |before: &str, after: &str| {
            let scene = Scene::entered().api_says(before).completed().acked("m-1");
            let scene = scene.api_says(after).without_a_database();
            let scene = scene.setup(|setup| {
                setup.succeeded.clear();
                setup.failed.clear();
            });
            scene.silence().answer(&CAUSE)
        };
        assert_eq!(said("integrating", "reduced"), "likely");
        assert_eq!(said("integrating", "integrating"), "not applicable");
        assert_eq!(said("integrating", "Failed"), "not applicable");
        assert_eq!(said("integrating", "queued"), "not applicable");
    }

    /// Whatever loggers are told, and though no pattern tells an entry: between taking and acknowledging it the
    /// application spoke of the task. Where it did not, nothing shows that it ran, and nothing that it did not.
    #[test]
    fn without_a_pattern_the_applications_words_show_the_run() {
        let said = |text: &str| {
            let scene = Scene::received().setup(|setup| setup.entry_pattern = None);
            let scene = if text.is_empty() { scene } else { scene.line(text) };
            scene.acked("m-1").without_a_database().silence()
        };
        let own = said("INFO 2026-01-01 00:00:00,000 tasks 101 140434584086208 pressing task_1");
        assert_eq!(own.cause(), "likely succeeded");
        let silent = said("");
        assert_eq!(silent.cause(), "none");
        assert_eq!(silent.verdict().scenario, None);
        let skipped = said(
            "[PID 101] [Thread-9] [dramatiq.worker.WorkerThread] [WARNING] Message act('task_1') was skipped.",
        );
        assert_ne!(skipped.answer(&CAUSE), "likely");
    }

    #[test]
    fn without_a_database_a_retry_or_an_unseen_publish_is_a_near_miss() {
        let mut copy = Scene::message("m-1");
        copy.retries = Some(1);
        let returned = Scene::entered().completed().acked("m-1").without_a_database();
        let retried = returned.clone().publish_as("default.DQ", WORKER, copy).silence();
        assert_eq!(retried.answer(&CAUSE), "not applicable");
        assert_eq!(
            returned.without(Source::Firehose).answer(&CAUSE),
            "not applicable"
        );
    }

    #[test]
    fn without_a_database_a_rejection_is_a_near_miss() {
        // "Completed" is logged for an actor that raised, too.
        let rejected = Scene::entered()
            .completed()
            .debug(
                "dramatiq.worker.ConsumerThread(default)",
                "Rejecting message 'm-1'.",
            )
            .without_a_database();
        assert_eq!(rejected.silence().answer(&CAUSE), "not applicable");
    }

    #[test]
    fn without_debug_lines_the_count_shows_the_acknowledgement() {
        let entered = Scene::delivered()
            .info("app", "ACTOR ENTRY task_id=task_1")
            .without_a_database();
        let settled = entered.clone().totals("default", 0, 0, json!({}));
        assert_eq!(settled.silence().cause(), "likely succeeded");
        let held = entered.totals("default", 0, 1, json!({}));
        assert_eq!(held.silence().answer(&CAUSE), "not applicable");
    }

    /// Whoever wrote that, by the worker's log it was not this run.
    #[test]
    fn a_status_of_a_task_whose_message_was_not_run() {
        let denied = Scene::received()
            .warning(
                "dramatiq.worker.WorkerThread",
                "Message act('task_1') was skipped.",
            )
            .row("COMPLETED");
        assert_eq!(denied.answer(&CAUSE), "likely");
        let spoke = Scene::entered()
            .warning(
                "dramatiq.worker.WorkerThread",
                "Message act('task_1') was skipped.",
            )
            .row("COMPLETED");
        assert_ne!(spoke.answer(&CAUSE), "possible");
    }

    /// A reconciler marks as done what a script has taken from the queue.
    #[test]
    fn a_status_beside_a_message_that_no_worker_has() {
        use crate::diagnosis::testing::OTHER;
        let taken_by = |command: &str| {
            let scene = Scene::sent_to_another().process(900, 1, command, |_| {});
            scene.peer(OTHER, 900).row("COMPLETED")
        };
        assert_eq!(taken_by("./debug-consumer").answer(&CAUSE), "likely");
        assert_eq!(taken_by("python look.py").answer(&CAUSE), "likely");
        assert_eq!(taken_by("python -m dramatiq app").answer(&CAUSE), "certain");
    }
}
