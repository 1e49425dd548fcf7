//! The message was sent before the row's transaction was committed.

use crate::diagnosis::evidence::misses::{self, Misses};
use crate::diagnosis::evidence::{Fact, WorkerLine, retries};
use crate::diagnosis::premises::{Premise, State};
use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "enqueued-before-commit",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::ApiCode],
    explains: &["actor-raised", "row-never-written"],
    needs: &[&[Source::Database]],
    page: include_str!("enqueued_before_commit.md"),
    check,
    ..Cause::DEFAULT
};

/// Only the version that the API inserted tells when it did, and only where the actor left no mark on the
/// row, or raised: one first seen with a status of the actor's is the actor's.
fn is_written_by_the_actor(story: &Story<'_>) -> bool {
    let setup = &story.timeline.setup;
    let by_actor = |status: &str| {
        [&setup.running, &setup.succeeded, &setup.failed]
            .iter()
            .any(|list| list.iter().any(|word| word == status))
    };
    let first = story.rows().iter().find(|row| row.present);
    let is_running = |status: &String| setup.running.contains(status);
    first.is_none_or(|row| row.status.as_deref().is_none_or(by_actor))
        || story
            .rows()
            .iter()
            .any(|row| row.status.as_ref().is_some_and(is_running))
}

/// When the version that was seen first became visible, and a look before that at which it was not. The commit of a
/// later version says nothing of the insert.
fn commit_of_the_first_version(story: &Story<'_>) -> Option<Fact<f64>> {
    let first = story.rows().iter().find(|row| row.present)?;
    let mut commits = story.commits_of(first);
    commits.find_map(|commit| Some(Fact::new(commit.n, commit.visible_at_ms, commit.invisible_at_ms?)))
}

fn ends_call(told: &WorkerLine<'_>) -> bool {
    told.mark.is_some_and(LogEvent::ends_call)
}

fn check(story: &Story<'_>) -> Answer {
    let Some(commit) = commit_of_the_first_version(story) else {
        return Answer::NotApplicable;
    };
    let (n, invisible, visible) = (commit.n, commit.value, commit.at_ms);
    // A row of results is the worker's, with whatever status.
    if is_written_by_the_actor(story) || story.keeps_results() {
        return Answer::NotApplicable;
    }
    // A later attempt found the row committed, and did no better.
    let again = story.lines().iter().rfind(|told| {
        told.at_ms > visible && (told.line.entry || matches!(told.mark, Some(LogEvent::Received { .. })))
    });
    if let Some(again) = again
        && story
            .lines()
            .iter()
            .any(|told| told.at_ms > again.at_ms && ends_call(told))
    {
        return Answer::ruled_out(
            format!("another attempt began at {:.0} ms, after the commit", again.at_ms),
            [again.n, n],
        );
    }
    let entered = story
        .lines()
        .iter()
        .find(|told| told.line.entry || matches!(told.mark, Some(LogEvent::Called)));
    let over = story
        .lines()
        .iter()
        .find(|told| ends_call(told))
        .map(|told| (told.n, told.at_ms));
    let start = entered.map(|told| (told.n, told.at_ms)).or_else(|| {
        story
            .deliveries()
            .next()
            .map(|passage| (passage.n, passage.at_ms))
    });
    // The API may write to the row after it sent the message: that version, too, is invisible before. Only a
    // look from between that found no row tells the two apart, or the actor's own word that it found none.
    let misses = misses::misses_the_row(story);
    let was_absent = matches!(story.state(&Premise::FirstVersionIsInsert), State::Proved(_))
        || misses == Some(Misses::TheRow);
    match (start, over) {
        (Some((from, at)), _) if at < invisible && !was_absent => Answer::possible(
            format!(
                "the actor began at {at:.0} ms, and the version of the row that was seen first became visible between {invisible:.0} and {visible:.0} ms: the message was sent before the commit, or the API wrote to the row again after it"
            ),
            [from, n],
        ),
        (Some((from, at)), Some((to, end))) if end < invisible => {
            let text = format!(
                "the actor ran from {at:.0} to {end:.0} ms; the row was still invisible at {invisible:.0} ms and visible at {visible:.0} ms: the message was sent before the commit"
            );
            let given = [Premise::FirstVersionIsInsert, Premise::IsPrimary];
            match (misses, story.raised().is_empty()) {
                (Some(Misses::TheRow), _) => Answer::shown(text, [from, to, n])
                    .given(given)
                    .terminal_if(retries::final_attempt(story)),
                // It may not need the row, which somebody else inserts when it is done.
                (Some(Misses::Something), _) | (None, true) => {
                    Answer::likely(text, [from, to, n]).given(given)
                }
                // What it raised may have nothing to do with the row.
                (None, false) => Answer::possible(text, [from, to, n]),
            }
        }
        (Some((from, at)), _) if at < invisible => {
            let text = format!(
                "the actor began at {at:.0} ms; the row was still invisible at {invisible:.0} ms: the message was sent before the commit"
            );
            // What it missed may be something else, once the row was there.
            let later = story
                .raised()
                .first()
                .is_some_and(|raised| raised.at_ms > visible);
            match later && misses != Some(Misses::TheRow) {
                true => Answer::possible(text, [from, n]),
                false => {
                    Answer::likely(text, [from, n]).given([Premise::FirstVersionIsInsert, Premise::IsPrimary])
                }
            }
        }
        (Some((from, at)), _) if at > visible => Answer::ruled_out(
            format!("the row was visible at {visible:.0} ms, the actor began at {at:.0} ms"),
            [from, n],
        ),
        _ => Answer::NotApplicable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Scene, WORKER};

    /// The actor ran from 100 ms on; the row became visible between 2900 and 3000 ms.
    fn early(exception: Option<&str>) -> Scene {
        let scene = Scene::new()
            .worker_booted()
            .submitted()
            .publish("default")
            .deliver(WORKER)
            .at(100.0)
            .debug(
                "dramatiq.worker.WorkerThread",
                "Received message act('task_1') with id 'm-1'.",
            )
            .info("app", "ACTOR ENTRY task_id=task_1");
        let scene = match exception {
            Some(exception) => scene.raised(exception).retried(),
            None => scene.completed(),
        };
        scene
            .acked("m-1")
            .no_row()
            .at(3000.0)
            .row("PENDING")
            .committed(2900.0, 3000.0)
    }

    #[test]
    fn it_ran_before_the_row_was_visible() {
        // It may not need the row, which a projection inserts later.
        assert_eq!(early(None).silence().cause(), "likely enqueued-before-commit");
        assert_eq!(
            early(Some("NoResultFound: no row")).silence().cause(),
            "certain enqueued-before-commit"
        );
    }

    /// It ran on, saw the row, and missed something else.
    #[test]
    fn what_was_raised_once_the_row_was_there_need_not_come_of_it() {
        let raised_at = |at: f64, exception: &str| {
            let scene = Scene::new()
                .worker_booted()
                .submitted()
                .publish("default")
                .deliver(WORKER)
                .at(100.0)
                .info("app", "ACTOR ENTRY task_id=task_1")
                .no_row()
                .at(600.0)
                .row("PENDING")
                .committed(500.0, 600.0);
            scene.at(at).raised(exception).retried().acked("m-1").silence()
        };
        let other = "app.models.Charge.DoesNotExist: Charge matching query does not exist.";
        let later = raised_at(1200.0, other);
        assert_eq!(later.answer(&CAUSE), "possible");
        assert!(later.cause().ends_with("actor-raised"), "{}", later.cause());
    }

    /// The API may have stored the message's id in the row after it sent the message: then the first
    /// version that is seen is that update.
    #[test]
    fn a_first_version_that_may_be_an_update_is_a_near_miss() {
        let scene = Scene::accepted()
            .publish("default")
            .deliver(WORKER)
            .at(100.0)
            .debug(
                "dramatiq.worker.WorkerThread",
                "Received message act('task_1') with id 'm-1'.",
            )
            .info("app", "ACTOR ENTRY task_id=task_1")
            .completed()
            .acked("m-1")
            .at(3000.0)
            .row("PENDING")
            .committed(2900.0, 3000.0)
            .silence();
        assert_eq!(scene.answer(&CAUSE), "possible");
        assert!(
            !scene.summary().contains("still invisible"),
            "{}",
            scene.summary()
        );
    }

    /// What became visible late is a later version: of the insert's commit nothing was seen.
    #[test]
    fn the_commit_of_a_later_version_is_a_near_miss() {
        let scene = Scene::new()
            .worker_booted()
            .submitted()
            .no_row()
            .publish("default")
            .deliver(WORKER)
            .see(
                Source::Database,
                serde_json::from_value(serde_json::json!({
                    "kind": "row", "present": true, "status": "PENDING", "xmin": 699, "xmax": 0,
                    "xmax_state": "none", "asked_at_ms": 1.0,
                }))
                .expect("a row"),
            )
            .at(100.0)
            .debug(
                "dramatiq.worker.WorkerThread",
                "Received message act('task_1') with id 'm-1'.",
            )
            .info("app", "ACTOR ENTRY task_id=task_1")
            .completed()
            .acked("m-1")
            .at(3000.0)
            .row("QUEUED")
            .committed(2900.0, 3000.0);
        assert_eq!(scene.silence().answer(&CAUSE), "not applicable");
    }

    #[test]
    fn an_error_of_another_kind_is_a_near_miss() {
        let scene = early(Some("ZeroDivisionError: division by zero")).silence();
        assert_eq!(scene.cause(), "certain actor-raised");
    }

    #[test]
    fn a_later_attempt_did_no_better() {
        let scene = early(Some("NoResultFound: no row"))
            .at(5000.0)
            .debug(
                "dramatiq.worker.WorkerThread",
                "Received message act('task_1') with id 'm-1'.",
            )
            .raised("ValueError: no")
            .silence();
        assert_eq!(scene.answer(&CAUSE), "ruled out");
    }

    #[test]
    fn a_commit_before_the_actor_and_a_blind_database() {
        let late = Scene::accepted()
            .committed(-5.0, 1.0)
            .row("PENDING")
            .publish("default")
            .deliver(WORKER)
            .at(100.0)
            .debug(
                "dramatiq.worker.WorkerThread",
                "Received message act('task_1') with id 'm-1'.",
            )
            .info("app", "ACTOR ENTRY task_id=task_1");
        assert_eq!(late.answer(&CAUSE), "ruled out");
        assert_eq!(
            early(None).silence().without(Source::Database).answer(&CAUSE),
            "cannot tell"
        );
    }

    /// It does without its row, and fails for another reason, of the same task.
    #[test]
    fn an_exception_that_only_names_the_task_is_a_near_miss() {
        let named = |exception: &str| early(Some(exception)).silence().answer(&CAUSE);
        assert_eq!(named("LookupError: no task task_1"), "certain");
        assert_eq!(named("Refused: task_1: the model refused to answer"), "possible");
    }
}
