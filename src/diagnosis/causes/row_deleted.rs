//! The row was there, and somebody took it away before the task was done with it.

use crate::diagnosis::evidence::{misses, named_table};
use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::timeline::Source;
use crate::units;

pub(super) const CAUSE: Cause = Cause {
    id: "row-deleted",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::ApiCode, Owner::WorkerCode],
    explains: &["actor-raised"],
    needs: &[&[Source::Database]],
    page: include_str!("row_deleted.md"),
    check,
    ..Cause::DEFAULT
};

/// The cases of its remedies.
const DONE: &str = "the worker's log says that it is done";
const OPEN: &str = "its work is still wanted";

/// An actor that deletes the row does so as the last thing that it does.
const LAST_ACT_MS: f64 = 500.0;

fn check(story: &Story<'_>) -> Answer {
    let Some(gone) = story.row_gone() else {
        return gone_before_a_look(story);
    };
    let at = gone.at_ms;
    // What it said last is the task's outcome, and done tasks are kept elsewhere.
    if !story.closed()
        || story.row_succeeded().is_some()
        || story.row_failed().is_some()
        || story.row_removed_when_done().is_some()
    {
        return Answer::NotApplicable;
    }
    let taken = format!("the row was taken away from {}", named_table(story));
    if let Some(raised) = story.raised().last() {
        // An error of another kind may come first, and who tidies up after it take the row.
        return match misses::misses_the_row(story).is_some() {
            true => Answer::likely(format!("{taken}, and the actor misses it"), [gone.n, raised.n]),
            false => Answer::possible(format!("{taken}; the actor failed for another reason"), [gone.n]),
        };
    }
    match (story.returned(), story.began_at()) {
        (Some(returned), _) if at > returned.value => Answer::possible(
            format!("{taken} after the actor had returned, without a final status"),
            [gone.n, returned.n],
        ),
        (Some(returned), _) if returned.value - at < LAST_ACT_MS => Answer::possible(
            format!(
                "{taken} {} before the actor returned: by the actor itself, which then keeps its outcome elsewhere, or by somebody else",
                units::span(returned.value - at)
            ),
            [gone.n, returned.n],
        ),
        (_, Some(began)) if at > began => {
            Answer::likely(format!("{taken} while the actor was at work"), [gone.n])
        }
        _ => Answer::likely(format!("{taken} before the actor had begun"), [gone.n]),
    }
}

/// The API read it once, and no look of ours found it; or nothing but its run tells that there was one.
fn gone_before_a_look(story: &Story<'_>) -> Answer {
    let ran = story
        .attempt_over()
        .filter(|_| story.ran_without_missing_its_row());
    if let (Some(over), Some(look), None) = (ran, story.last_row(), story.lost_to_the_api()) {
        let text = format!(
            "the task ran to its end without an error, and {} has no row with its id: it was put away when it was done, or taken away, or there was none",
            named_table(story)
        );
        return Answer::possible(text, [over.n, look.n])
            .case(DONE, true)
            .case(OPEN, false);
    }
    let Some((said, gone)) = story.lost_to_the_api().filter(|_| story.closed()) else {
        return Answer::NotApplicable;
    };
    let text = format!(
        "the API read the row, and knows nothing of it since; it was taken away from {}",
        named_table(story)
    );
    // Somebody else may have written the API's answer from a cache.
    Answer::likely(text, [said.n, gone.n])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{CALL, Scene};

    #[test]
    fn taken_away_while_it_works() {
        let scene = Scene::entered()
            .row("RUNNING")
            .at(500.0)
            .no_row()
            .at(4000.0)
            .completed();
        let scene = scene.acked("m-1").silence();
        assert_eq!(scene.cause(), "likely row-deleted");
        assert!(
            scene.summary().contains("while the actor was at work"),
            "{}",
            scene.summary()
        );
    }

    /// It was gone before the first look at the table.
    #[test]
    fn the_api_had_read_it() {
        let done = || {
            Scene::accepted()
                .publish("default")
                .deliver(crate::diagnosis::testing::WORKER)
                .info("app", "ACTOR ENTRY task_id=task_1")
                .api_says("PENDING")
                .no_row()
                .completed()
                .acked("m-1")
        };
        let lost = done().api_knows_nothing().no_row().silence();
        assert_eq!(lost.cause(), "likely row-deleted");
        // The API still has it: then it reads another table.
        let reads = done().api_says("PENDING").no_row().silence();
        assert_eq!(reads.answer(&CAUSE), "not applicable");
        assert_eq!(reads.cause(), "likely row-invisible");
    }

    /// Afterwards, in a system that keeps done tasks elsewhere: nothing says that the API lost the row.
    #[test]
    fn it_ran_to_its_end_and_has_none() {
        use crate::diagnosis::causes::row_missing;
        let scene = |ends: fn(Scene) -> Scene| {
            let scene = Scene::new()
                .given()
                .from_before(5)
                .debug(
                    "dramatiq.worker.WorkerThread",
                    "Received message act('task_1') with id 'm-1'.",
                )
                .info("app", "ACTOR ENTRY task_id=task_1");
            let scene = ends(scene).from_now_on().api_knows_nothing().no_row();
            scene.end(crate::timeline::Ended::Looked)
        };
        let done = scene(|scene| scene.completed().acked("m-1"));
        assert_eq!(done.answer(&CAUSE), "possible");
        assert_eq!(done.answer(&row_missing::CAUSE), "not applicable");
        let missed = scene(|scene| scene.raised("LookupError: no task task_1").acked("m-1"));
        assert_eq!(missed.answer(&row_missing::CAUSE), "likely");
        assert_eq!(missed.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn taken_away_before_it_began() {
        let scene = Scene::accepted()
            .row("PENDING")
            .at(200.0)
            .no_row()
            .publish("default");
        let scene = scene.silence();
        assert_eq!(scene.answer(&CAUSE), "likely");
        // What keeps the message from its worker comes first.
        assert_ne!(scene.cause(), "likely row-deleted");
    }

    const FRAME: &str = "  File \"/app/tasks.py\", line 3, in act\n    rows.one()\n";

    #[test]
    fn an_actor_that_misses_it() {
        let raised = |error: &str| {
            let failed = format!(
                "Failed to process message act('task_1') with unhandled exception.\n{CALL}{FRAME}{error}"
            );
            let scene = Scene::entered().row("RUNNING").no_row();
            scene.error("dramatiq.worker.WorkerThread", &failed).silence()
        };
        let missed = raised("LookupError: no task task_1");
        assert_eq!(missed.cause(), "likely row-deleted");
        let explained = missed.verdict().cause.expect("a cause").explains;
        assert!(explained.iter().any(|link| link.id == "actor-raised"));
        assert_eq!(raised("ValueError: 7").cause(), "certain actor-raised");
    }

    #[test]
    fn a_task_that_puts_its_row_away_itself_is_a_near_miss() {
        let last_act = Scene::entered()
            .row("RUNNING")
            .at(3000.0)
            .no_row()
            .at(3100.0)
            .completed();
        assert_eq!(last_act.acked("m-1").silence().answer(&CAUSE), "possible");
        let done = Scene::entered()
            .row("COMPLETED")
            .no_row()
            .completed()
            .acked("m-1");
        assert_eq!(done.silence().answer(&CAUSE), "not applicable");
        let back = Scene::entered()
            .row("RUNNING")
            .no_row()
            .row("RUNNING")
            .completed();
        assert_eq!(back.silence().answer(&CAUSE), "not applicable");
        let blind = Scene::entered().row("RUNNING").no_row().silence();
        assert_eq!(blind.without(Source::Database).answer(&CAUSE), "cannot tell");
    }
}
