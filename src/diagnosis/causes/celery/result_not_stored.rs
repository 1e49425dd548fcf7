//! The task has run, and its result could not be stored.

use super::APPLIES_TO;
use crate::diagnosis::evidence::results;
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::Source;

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "result-not-stored",
    keeps_from: &[Stage::Entered, Stage::Received, Stage::Finished],
    owner: &[Owner::DatabaseHost],
    explains: &[],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog]],
    general: false,
    fails_attempt: false,
    applies_to: APPLIES_TO,
    page: include_str!("result_not_stored.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let Some(told) = results::not_stored(story) else {
        return Answer::NotApplicable;
    };
    let Some(LogEvent::NotStored { error }) = told.mark else {
        return Answer::NotApplicable;
    };
    if results::is_of_the_start(error) {
        return Answer::shown(
            format!("what Celery stores as a task begins could not be stored, so that the task was not run: {error}"),
            [told.n],
        )
        .given([Premise::OneProcessPerLogThread { pid: told.line.pid }, Premise::LogIsWhole]);
    }
    Answer::shown(
        format!("the task has run, and what Celery does after it failed, so that its result is not stored: {error}"),
        [told.n],
    )
    .given([Premise::OneProcessPerLogThread { pid: told.line.pid }, Premise::LogIsWhole])
}
