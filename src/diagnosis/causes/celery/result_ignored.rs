//! The task asks that its result is not stored, and a row of results is what is waited for.

use super::APPLIES_TO;
use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::Source;

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "result-ignored",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::WorkerCode],
    explains: &[],
    scenario: None,
    needs: &[&[Source::Firehose], &[Source::WorkerLog], &[Source::Database]],
    general: false,
    fails_attempt: false,
    applies_to: APPLIES_TO,
    page: include_str!("result_ignored.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let Some(passage) = story
        .publishes()
        .iter()
        .find(|passage| passage.message.result_ignored)
    else {
        return Answer::NotApplicable;
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
    Answer::shown(
        "the task succeeded; it is sent with ignore_result, so no result is ever stored and its status stays PENDING",
        [passage.n, done.n, row.n],
    )
    .lasting_if(true)
}
