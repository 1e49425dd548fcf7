//! The task asks that its result is not stored, and a row of results is what is waited for.

use super::APPLIES_TO;
use crate::diagnosis::evidence::{results, workers};
use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::Source;

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "result-ignored",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::WorkerCode],
    needs: &[&[Source::Firehose], &[Source::WorkerLog], &[Source::Database]],
    applies_to: APPLIES_TO,
    page: include_str!("result_ignored.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let Some(passage) = story
        .publishes()
        .iter()
        .find(|passage| passage.message.result_ignored)
    else {
        return by_the_workers_code(story);
    };
    // A row of the application's own has nothing to do with it.
    let is_result = |id: &str| {
        story
            .task_id()
            .is_some_and(|task| crate::framework::is_same_id(task, id))
    };
    if !passage.message.message_id.as_deref().is_some_and(is_result) {
        return Answer::NotApplicable;
    }
    if let Some(row) = story.rows().iter().find(|row| row.present) {
        return Answer::ruled_out("its row is there", [row.n]);
    }
    let done = story.line(|mark| matches!(mark, LogEvent::Succeeded { .. }));
    let (Some(done), Some(row)) = (done, story.last_row().filter(|_| story.closed())) else {
        return Answer::NotApplicable;
    };
    // A table of the application's own, whose rows have the id of the task's message, needs no stored result.
    if !story.keeps_results() {
        let table = story.timeline.setup.table.as_deref().unwrap_or("the table");
        return Answer::possible(
            format!(
                "the task succeeded; it is sent with ignore_result, so no result is stored, if that is what `{table}` is for"
            ),
            [passage.n, done.n, row.n],
        );
    }
    Answer::shown(
        "the task succeeded; it is sent with ignore_result, so no result is ever stored and its status stays PENDING",
        [passage.n, done.n, row.n],
    )
    .lasting_if(true)
}

/// The message does not ask for it: the task of the worker's release may, of which the sender knows nothing.
fn by_the_workers_code(story: &Story<'_>) -> Answer {
    let done = story.line(|mark| matches!(mark, LogEvent::Succeeded { .. }));
    let (Some(done), Some(row)) = (done, story.last_row().filter(|_| story.closed())) else {
        return Answer::NotApplicable;
    };
    let table = story.timeline.setup.table.as_deref().unwrap_or_default();
    // Where the worker says that it keeps results elsewhere, or does not say it, that is another matter.
    let store = results::store_of_the_worker(story)
        .filter(|store| results::is_the_database(story, store) && !results::cannot_be(store, table));
    let never = story.rows().iter().all(|row| !row.present);
    // A row is looked for by this very spelling of its id.
    let is_exact = story.task_id().is_some_and(|task| story.is_my_message(task));
    let is_expected =
        is_exact && story.keeps_results() && story.row_is_a_result() && row.at_ms > done.at_ms + STORED_MS;
    match store.filter(|_| never && is_expected) {
        Some(store) => {
            let text = format!(
                "the task succeeded, the worker keeps results in {store}, and none of this task was stored: by the worker's code it is declared with ignore_result, unless the result was taken away at once"
            );
            let evidence = [done.n, store.n, row.n];
            // Who sends by the same code would have sent it so.
            match is_sent_by_the_same_code(story) {
                true => Answer::possible(
                    format!(
                        "{text} (`forget()`): the API runs in the worker's folder, and sent it without that"
                    ),
                    evidence,
                ),
                false => Answer::likely(text, evidence),
            }
        }
        None => Answer::NotApplicable,
    }
}

/// The API runs in the folder of the watched worker, and its message was seen.
fn is_sent_by_the_same_code(story: &Story<'_>) -> bool {
    let workers = workers::live_workers(story);
    let is_a_workers =
        |folder: &Option<String>| folder.is_some() && workers.iter().any(|worker| worker.cwd == *folder);
    let api = story.api_processes();
    !story.publishes().is_empty() && api.iter().any(|process| is_a_workers(&process.cwd))
}

/// The result is stored before the log tells of the end.
const STORED_MS: f64 = 500.0;

#[cfg(test)]
mod tests {
    use super::super::scenes::{CeleryScene, OURS};
    use super::*;
    use crate::timeline::EventKind;

    /// The sender knows nothing of it.
    #[test]
    fn a_task_that_is_declared_so_in_the_workers_code_alone() {
        let done_with = |store: &str, is_there: bool| {
            let mut scene = CeleryScene::in_pool("prefork")
                .info(&format!("- ** ---------- .> results:     {store}"))
                .deliver()
                .info(&format!("Task shop.tasks.fulfil[{OURS}] succeeded in 0.1s: None"))
                .and(|scene| scene.at(4_000.0).no_row())
                .silence();
            scene.timeline.setup.table = Some("celery_taskmeta".into());
            scene.timeline.setup.database = Some("127.0.0.1:5432/shop".into());
            // The id of the task is its message's.
            for event in &mut scene.timeline.events {
                match &mut event.kind {
                    EventKind::Answered { task_id, .. } => *task_id = Some(OURS.into()),
                    EventKind::Row(row) => row.present = is_there,
                    _ => {}
                }
            }
            scene
        };
        let done = |store: &str| done_with(store, false);
        let here = done("postgresql://u:**@127.0.0.1:5432/shop");
        assert_eq!(here.answer(&CAUSE), "likely");
        // Kept in another place, or kept here after all.
        assert_eq!(done("redis://cache:6379/0").answer(&CAUSE), "not applicable");
        let kept = done_with("postgresql://u:**@127.0.0.1:5432/shop", true);
        assert_ne!(kept.answer(&CAUSE), "likely");
    }

    /// An application's own table may have the ids of its messages.
    #[test]
    fn a_table_that_keeps_no_results_is_a_near_miss() {
        let done = |table: &str| {
            let mut scene = CeleryScene::in_pool("prefork")
                .deliver()
                .info(&format!("Task shop.tasks.fulfil[{OURS}] succeeded in 0.1s: None"))
                .and(|scene| scene.at(4_000.0).no_row())
                .silence();
            scene.timeline.setup.table = Some(table.into());
            for event in &mut scene.timeline.events {
                match &mut event.kind {
                    EventKind::Answered { task_id, .. } => *task_id = Some(OURS.into()),
                    EventKind::Publish { message, .. } => message.result_ignored = true,
                    EventKind::Row(row) => row.present = false,
                    _ => {}
                }
            }
            scene.answer(&CAUSE)
        };
        assert_eq!(done("celery_taskmeta"), "certain");
        assert_eq!(done("print_job"), "possible");
    }
}
