//! Another worker has this worker's node name, and with it the queue for remote control.

use super::{APPLIES_TO, gave_up, is_taken_name};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::Source;

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "node-name-taken",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::Deployment],
    explains: &["no-consumer"],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog]],
    applies_to: APPLIES_TO,
    page: include_str!("node_name_taken.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    gave_up(story, is_taken_name, |error| {
        format!("another worker of the vhost has this worker's node name, so it exited: {error}")
    })
}
