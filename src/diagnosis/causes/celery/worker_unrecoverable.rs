//! The worker met an error on which it gives up and exits.

use super::{APPLIES_TO, gave_up, is_consumer_timeout, is_taken_name};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::Source;

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "worker-unrecoverable",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::Deployment],
    explains: &["no-consumer"],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog]],
    general: false,
    fails_attempt: false,
    applies_to: APPLIES_TO,
    page: include_str!("worker_unrecoverable.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let another = |error: &str| !is_consumer_timeout(error) && !is_taken_name(error);
    gave_up(story, another, |error| {
        format!("the worker gave up on an error, and exited: {error}")
    })
}
