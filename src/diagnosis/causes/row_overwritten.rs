//! What the worker wrote was written over.

use crate::diagnosis::evidence::{broker, row};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::timeline::{Row, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "row-overwritten",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::ApiCode, Owner::WorkerCode],
    explains: &["row-never-written"],
    needs: &[&[Source::Database]],
    page: include_str!("row_overwritten.md"),
    check,
    ..Cause::DEFAULT
};

/// What the row of a job says that is done for now.
const COMES_AGAIN: &[&str] = &["planned", "scheduled", "waiting"];

fn check(story: &Story<'_>) -> Answer {
    let (Some(row), Some(began)) = (story.last_row(), story.began_at()) else {
        return Answer::NotApplicable;
    };
    let status = row.status.as_deref().unwrap_or("NULL");
    if let Some(done) = story
        .succeeded_before_it_failed()
        .filter(|_| story.raised().is_empty())
    {
        return Answer::likely(
            format!(
                "the row said {}, and says {status} now: somebody wrote over it, or what ran thought better of it",
                done.status.as_deref().unwrap_or_default()
            ),
            [done.n, row.n],
        );
    }
    if !story.closed() || !row.present || story.row_succeeded().is_some() || story.row_failed().is_some() {
        return Answer::NotApplicable;
    }
    let setup = &story.timeline.setup;
    let is_running = setup.running.iter().any(|running| running == status);
    let mut versions = story.rows().iter().filter(move |row| row.at_ms >= began);
    // It ran again, and began anew.
    if story.deliveries().nth(1).is_some() && is_running {
        return Answer::NotApplicable;
    }
    let is_final = |row: &Row| {
        row.status
            .as_ref()
            .is_some_and(|word| setup.succeeded.contains(word))
    };
    // It says that it succeeded, whatever else speaks against that.
    if is_final(&row) {
        return Answer::NotApplicable;
    }
    if let Some(done) = versions.find(|row| is_final(row)) {
        let text = format!(
            "the row said {}, and says {status} now: somebody wrote over it",
            done.status.as_deref().unwrap_or_default()
        );
        // What comes again says so when it is done.
        let comes_again = COMES_AGAIN.contains(&status.to_lowercase().as_str());
        // The next step of the task says what it is at.
        return match (comes_again, story.successors().next()) {
            (true, _) => Answer::likely(format!("{text}, or it is to run again"), [done.n, row.n]),
            (false, Some(next)) => Answer::likely(
                format!("{text}, or the next message of the task did"),
                [done.n, next.n, row.n],
            ),
            (false, None) => Answer::shown(text, [done.n, row.n]).given([Premise::IsPrimary]),
        };
    }
    let first = story.rows().iter().find(|row| row.present);
    let Some(first) =
        first.filter(|first| first.xmin.is_some() && row.xmin.is_some() && first.xmin != row.xmin)
    else {
        // Nobody can have written over a version that is still the first.
        return Answer::NotApplicable;
    };
    if let Some(said) = api_said_done(story) {
        return Answer::likely(
            format!("the API said that it was done, and the row says {status} now: somebody wrote over it"),
            [said, row.n],
        );
    }
    // The actor is done, and what stands there is what stood there before it, in a version of its own.
    let over = story.attempt_over().map(|over| over.n);
    let over = over
        .or_else(|| broker::drained(story))
        .filter(|_| story.raised().is_empty());
    let Some(over) = over else {
        return Answer::NotApplicable;
    };
    // One that is configured but for the case of its letters is final.
    let is_final_word = [&setup.succeeded, &setup.failed]
        .iter()
        .any(|list| list.iter().any(|word| word.eq_ignore_ascii_case(status)));
    let before_the_work = first.status == row.status || (row::is_before_the_work(status) && !is_final_word);
    let changed = story
        .rows()
        .iter()
        .any(|seen| seen.present && seen.status != row.status);
    match before_the_work && !is_running {
        // An update that was rolled back, and then one of another column, leave the same.
        true if !changed => Answer::possible(
            format!(
                "the actor is done, and the row says {status} in a version that was written after the first, as the first did: what the worker wrote was written over, or was rolled back and something else written since"
            ),
            [over, first.n, row.n],
        ),
        true => Answer::likely(
            format!(
                "the actor is done, and the row says {status} in a version that was written after the first: what the worker wrote was written over, or it wrote that itself"
            ),
            [over, first.n, row.n],
        ),
        false => Answer::NotApplicable,
    }
}

/// The API reported a final status after the worker had begun, and does not any more.
fn api_said_done(story: &Story<'_>) -> Option<u32> {
    use crate::timeline::EventKind;
    let began = story.began_at()?;
    story.find(|event| match &event.kind {
        EventKind::ApiStatus {
            value: Some(value), ..
        } if event.at_ms > began && story.timeline.setup.succeeded.contains(value) => Some(event.n),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;
    use crate::timeline::EventKind;

    /// Another program's word after the actor's own.
    #[test]
    fn a_success_that_was_declared_a_failure() {
        let declared = Scene::entered().row("PENDING").row("COMPLETED").row("FAILED");
        let declared = declared.completed().acked("m-1").silence();
        assert_eq!(declared.answer(&CAUSE), "likely");
        assert_eq!(declared.verdict().cause.expect("a cause").id, CAUSE.id);
        let failed = Scene::entered().row("PENDING").row("FAILED").completed();
        assert_eq!(failed.acked("m-1").silence().answer(&CAUSE), "not applicable");
    }

    fn version(scene: Scene, status: &str, xmin: u32) -> Scene {
        let row = serde_json::json!({"present": true, "status": status, "xmin": xmin, "xmax": 0, "xmax_state": "none"});
        let row: Row = serde_json::from_value(row).expect("a row");
        scene.see(Source::Database, EventKind::Row(row))
    }

    #[test]
    fn a_final_status_and_then_another_one() {
        let scene = version(
            version(Scene::entered(), "COMPLETED", 701)
                .completed()
                .acked("m-1"),
            "QUEUED",
            702,
        );
        let scene = scene.timeout();
        assert_eq!(scene.answer(&CAUSE), "certain");
        assert!(scene.verdict().cause.is_some_and(|cause| cause.id == CAUSE.id));
        assert_eq!(scene.without(Source::Database).answer(&CAUSE), "cannot tell");
    }

    /// The next step of the task, whose message carries its id, says what it is at.
    #[test]
    fn a_next_step_is_a_near_miss() {
        use crate::diagnosis::testing::WORKER;
        let mut next = Scene::message("m-2");
        next.actor = Some("ship".into());
        let done = version(Scene::entered(), "COMPLETED", 701).publish_as("default", WORKER, next);
        let scene = version(done.completed().acked("m-1"), "RUNNING", 702).timeout();
        assert_eq!(scene.answer(&CAUSE), "likely");
    }

    #[test]
    fn what_stood_there_before_the_work_in_a_later_version() {
        let scene = version(Scene::entered(), "RUNNING", 701).completed().acked("m-1");
        assert_eq!(
            version(scene.clone(), "PENDING", 703).timeout().cause(),
            "likely row-overwritten"
        );
        assert_eq!(
            version(scene.clone(), "queued", 703).timeout().cause(),
            "likely row-overwritten"
        );
        // A final status that is configured in capitals.
        let other_case = version(version(Scene::entered(), "fresh", 701), "completed", 703);
        assert_eq!(
            other_case.completed().acked("m-1").timeout().answer(&CAUSE),
            "not applicable"
        );
        // A final status that nobody has configured.
        assert_eq!(
            version(scene, "REVIEWED", 703).timeout().answer(&CAUSE),
            "not applicable"
        );
    }

    #[test]
    fn a_row_that_nobody_touched_or_an_older_task_is_a_near_miss() {
        let untouched = Scene::entered().completed().acked("m-1").timeout();
        assert_eq!(untouched.answer(&CAUSE), "not applicable");
        let older = version(Scene::new(), "COMPLETED", 690)
            .depth("default", 0, 1)
            .submitted();
        let older = version(older, "PENDING", 700).publish("default").silence();
        assert_eq!(older.answer(&CAUSE), "not applicable");
    }

    /// The version is the first one: the API has its word from elsewhere.
    #[test]
    fn one_version_only_is_a_near_miss() {
        let copy = version(Scene::entered(), "PENDING", 700)
            .completed()
            .acked("m-1")
            .api_says("COMPLETED");
        let copy = version(copy, "PENDING", 700).timeout();
        assert_eq!(copy.answer(&CAUSE), "not applicable");
        assert!(
            copy.summary().contains("the API says COMPLETED"),
            "{}",
            copy.summary()
        );
        let written = version(Scene::entered(), "PENDING", 700)
            .completed()
            .acked("m-1")
            .api_says("COMPLETED");
        assert_eq!(
            version(written, "PENDING", 702).timeout().answer(&CAUSE),
            "likely"
        );
    }

    /// A rolled-back update, and then somebody's of another column.
    #[test]
    fn a_version_with_the_same_status_is_possible_only() {
        let scene = version(Scene::entered(), "PENDING", 701).completed().acked("m-1");
        assert_eq!(
            version(scene, "PENDING", 703).timeout().answer(&CAUSE),
            "possible"
        );
    }

    /// What says when the row was committed is wrong: the row still says what it said.
    #[test]
    fn the_same_final_status_twice_is_a_near_miss() {
        let done = version(Scene::entered(), "COMPLETED", 701)
            .completed()
            .acked("m-1");
        let older = done.see(
            Source::Database,
            EventKind::RowCommitted {
                xmin: 701,
                invisible_at_ms: None,
                visible_at_ms: -1.9,
            },
        );
        let again = version(older, "COMPLETED", 701).timeout();
        assert_eq!(again.answer(&CAUSE), "not applicable");
    }

    /// It was handed out again, and began anew.
    #[test]
    fn a_second_run_is_a_near_miss() {
        use crate::diagnosis::testing::WORKER;
        let scene = version(Scene::entered(), "COMPLETED", 701).deliver_as("m-1", WORKER, true);
        assert_eq!(
            version(scene, "RUNNING", 702).timeout().answer(&CAUSE),
            "not applicable"
        );
    }

    /// The log does not say that the actor is over; that nothing is unacknowledged any more does.
    #[test]
    fn that_the_queue_is_empty_shows_the_end_as_well() {
        let scene = |unacked: u64| {
            let begun = version(Scene::entered(), "RUNNING", 702);
            let again = version(begun, "PENDING", 704);
            again
                .totals("default", 0, unacked, serde_json::json!({}))
                .timeout()
        };
        assert_eq!(scene(0).answer(&CAUSE), "likely");
        assert_eq!(scene(1).answer(&CAUSE), "not applicable");
    }

    /// A job that comes again is done for now, and its row says when it is due.
    #[test]
    fn what_is_to_run_again_need_not_be_a_fault() {
        let said = |status: &str| {
            let done = version(Scene::entered(), "COMPLETED", 701);
            version(done.completed().acked("m-1"), status, 702).timeout()
        };
        assert_eq!(said("SCHEDULED").answer(&CAUSE), "likely");
        assert_eq!(said("QUEUED").answer(&CAUSE), "certain");
    }
}
