//! The queue exists with other arguments than the worker declares.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "queue-declaration-conflict",
    keeps_from: &[Stage::Delivered],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Queue]],
    general: false,
    page: include_str!("queue_declaration_conflict.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    super::connection_error(story, super::is_conflict, |error, _| {
        format!("the worker cannot declare its queue as it wants it: {error}")
    })
}
