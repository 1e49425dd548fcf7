//! The application itself marked the task as failed.

use crate::diagnosis::evidence::stacks;
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Certainty, Owner, Stage, Story};
use crate::text;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "row-marked-failed",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::WorkerCode],
    needs: &[&[Source::Database]],
    page: include_str!("row_marked_failed.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    match story.row_failed() {
        Some(row) => {
            let error = row
                .error
                .as_deref()
                .filter(|text| !text.is_empty())
                .map(|text| format!(": {}", text::excerpt(text)))
                .unwrap_or_default();
            let status = row.status.as_deref().unwrap_or("a failed status");
            // Of a result the framework says so, and the log says why.
            if story.is_a_result(&row) {
                return Answer::possible(format!("the row says {status}{error}"), [row.n])
                    .would_decide(&[Source::WorkerLog])
                    .terminal_after(LOG_MS);
            }
            let in_hand = story.begun_without_an_end();
            let mut evidence = vec![row.n];
            let mut text = format!("the application set {status}{error}");
            // Whoever set it, a reaper perhaps, need not have stopped the actor.
            if let Some(took) = in_hand.filter(|_| story.closed()) {
                let place = stacks::own_frame(story, took.pid);
                evidence.push(took.n);
                evidence.extend(place.iter().map(|place| place.n));
                let place = place.map_or(String::new(), |place| format!(", in {place}"));
                text.push_str(&format!(
                    "; no line tells that the worker has ended with it, and it may still be at work{place}"
                ));
            }
            // Whether an exception led to it stands in the worker's log.
            let answer = if story.succeeded_before_it_failed().is_some() {
                Answer::possible(text, evidence)
            } else if row.several {
                text.push_str(
                    "; other rows have the same id, and one of them may say what became of it since",
                );
                Answer::likely(text, evidence)
            } else if story.sees(Source::WorkerLog) {
                Answer::shown(text, evidence).given([Premise::StatusIsOfThisRun])
            } else {
                Answer::likely(text, evidence).would_decide(&[Source::WorkerLog])
            };
            // What an earlier run left may still be changed by this one.
            let is_new = story.status_of_this_run().is_some();
            let at_work = in_hand.is_some();
            let answer = match at_work && story.closed() {
                // Whoever wrote it then, the run has not come to its end.
                true => answer.at_most(Certainty::Likely),
                false => answer,
            };
            answer
                .case(AT_WORK, at_work)
                .case(
                    ENDED,
                    story.attempt_over().is_some() || !story.raised().is_empty(),
                )
                .terminal_if(is_new && !row.several && !at_work && !story.timeline.setup.wait_retries)
        }
        None => Answer::NotApplicable,
    }
}

/// The cases of its remedies.
const AT_WORK: &str = "a worker is still at work on it";
const ENDED: &str = "its run has ended";

/// So much later than the row the worker's log may tell of it.
const LOG_MS: u64 = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    /// A reaper gave the task up, and the actor hangs.
    #[test]
    fn an_actor_that_goes_on_is_told_of() {
        let frames = &[
            ("act", "/app/tasks.py"),
            ("__call__", "/v/site-packages/dramatiq/actor.py"),
            ("process_message", "/v/site-packages/dramatiq/worker.py"),
        ];
        let hangs = Scene::entered().row("PENDING").row("FAILED");
        assert!(!hangs.verdict().terminal);
        let hangs = hangs.at(5000.0).stack(101, "Thread-4", frames).silence();
        // Whoever wrote that, the run has not come to its end.
        assert_eq!(hangs.cause(), "likely row-marked-failed");
        let verdict = hangs.verdict();
        assert_eq!(verdict.outcome, crate::diagnosis::Outcome::Unfinished);
        let remedies = verdict.cause.expect("a cause").remedies.join(" ");
        assert!(!remedies.contains("ubmit the task again after"), "{remedies}");
        assert!(
            hangs.summary().contains("may still be at work, in "),
            "{}",
            hangs.summary()
        );
        let over = Scene::entered()
            .row("PENDING")
            .row("FAILED")
            .completed()
            .acked("m-1");
        assert!(over.verdict().terminal);
        let verdict = over.clone().silence().verdict();
        assert_eq!(verdict.outcome, crate::diagnosis::Outcome::Failed);
        assert!(!over.silence().summary().contains("still be at work"));
    }

    /// Its log names the task and no end, and its heartbeat counts what it runs.
    #[test]
    fn a_sweeper_ends_no_run() {
        use crate::diagnosis::Outcome;
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OURS};
        let word = format!("shop.tasks.fulfil[{OURS}]: packing");
        let begun = || {
            CeleryScene::received()
                .info(&word)
                .and(|scene| scene.row("FAILED"))
        };
        let at_work = begun().counts(1, 5_000.0).silence();
        assert_eq!(at_work.answer(&CAUSE), "likely");
        assert_eq!(at_work.verdict().outcome, Outcome::Unfinished);
        // By that no worker runs it any more.
        let over = begun().counts(0, 5_000.0).silence();
        assert_eq!(over.verdict().outcome, Outcome::Failed);
    }

    #[test]
    fn the_application_said_so() {
        assert_eq!(
            Scene::entered().row("FAILED").cause(),
            "certain row-marked-failed"
        );
    }

    /// A table of events: it was tried again since, perhaps.
    #[test]
    fn one_of_several_rows_is_not_the_last_word() {
        let mut scene = Scene::entered().row("FAILED");
        for event in &mut scene.timeline.events {
            if let crate::timeline::EventKind::Row(row) = &mut event.kind {
                row.several = true;
            }
        }
        assert_eq!(scene.answer(&CAUSE), "likely");
        assert!(!scene.verdict().terminal);
    }

    /// Afterwards nothing shows whether it ever ran: a sweeper may have set it.
    #[test]
    fn of_a_task_of_which_nothing_else_is_known_it_is_possible() {
        let scene = Scene::new()
            .given()
            .blind(Source::Firehose)
            .row("FAILED")
            .silence();
        assert_eq!(scene.cause(), "possible row-marked-failed");
    }

    #[test]
    fn an_exception_is_the_more_specific() {
        let scene = Scene::entered().raised("ValueError: no").row("FAILED");
        assert_eq!(scene.cause(), "certain actor-raised");
        assert_eq!(Scene::entered().row("RUNNING").answer(&CAUSE), "not applicable");
        assert_eq!(
            Scene::entered()
                .row("FAILED")
                .without(Source::Database)
                .answer(&CAUSE),
            "cannot tell"
        );
    }
}
