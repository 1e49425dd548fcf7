//! The worker tries to connect to the broker, and fails.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "worker-cannot-connect",
    keeps_from: &[Stage::Delivered],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Queue]],
    general: false,
    page: include_str!("worker_cannot_connect.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    super::connection_error(
        story,
        |error| !super::is_conflict(error) && !super::is_missing_queue(error),
        |error, count| format!("0 consumers: the worker cannot connect ({count} in its log): {error}"),
    )
}
