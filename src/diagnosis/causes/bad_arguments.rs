//! The arguments do not fit the actor's signature.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "bad-arguments",
    keeps_from: &[Stage::Entered],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog, Source::Firehose]],
    general: false,
    page: include_str!("bad_arguments.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    match story.raised().iter().find(|raised| {
        raised
            .trace
            .as_ref()
            .is_some_and(|trace| trace.is_bad_call(&raised.actor))
    }) {
        Some(raised) => Answer::certain(
            format!(
                "the actor cannot be called with these arguments: {}",
                raised.exception()
            ),
            [raised.n],
        )
        .terminal_if(super::final_attempt(story)),
        None => Answer::NotApplicable,
    }
}
