//! The broker waited too long for an acknowledgement and closed the worker's channel, on which it exits.

use super::{APPLIES_TO, gave_up, is_consumer_timeout};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::Source;

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "consumer-timeout-killed-worker",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::WorkerCode],
    explains: &["no-consumer"],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog]],
    applies_to: APPLIES_TO,
    page: include_str!("consumer_timeout_killed_worker.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    gave_up(story, is_consumer_timeout, |error| {
        format!(
            "the worker held a message longer than the broker allows, and exited when its channel was closed: {error}"
        )
    })
}
