//! An async actor, and no event loop in the worker.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::framework::Mark;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "no-event-loop",
    keeps_from: &[Stage::Entered],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog, Source::Firehose]],
    general: false,
    page: include_str!("no_event_loop.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let in_trace = story
        .raised()
        .iter()
        .find(|raised| raised.exception().contains("Global event loop thread not set"));
    match in_trace {
        Some(raised) => Answer::certain(
            format!("{}: the AsyncIO middleware is missing", raised.exception()),
            [raised.n],
        )
        .terminal_if(super::final_attempt(story)),
        None => match story.line(|mark| matches!(mark, Mark::NoEventLoop)) {
            Some(told) => {
                Answer::certain(told.line.text.clone(), [told.n]).terminal_if(super::final_attempt(story))
            }
            None => Answer::NotApplicable,
        },
    }
}
