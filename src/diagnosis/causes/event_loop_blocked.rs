//! The event loop is blocked by another coroutine.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::framework::Mark;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "event-loop-blocked",
    keeps_from: &[Stage::Entered],
    scenario: Some(Scenario::C),
    needs: &[&[Source::WorkerLog]],
    general: false,
    page: include_str!("event_loop_blocked.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let Some(called) = story.line(|mark| matches!(mark, Mark::Called)) else {
        return Answer::NotApplicable;
    };
    if !story.closed()
        || story.attempt_over().is_some()
        || story.line(|mark| matches!(mark, Mark::Completed)).is_some()
    {
        return Answer::NotApplicable;
    }
    match super::blocked_loop(story, called.line.pid) {
        Some((n, frame)) => Answer::certain(
            format!(
                "the event loop of pid {} sits in a blocking call: {frame}",
                called.line.pid.unwrap_or(0)
            ),
            [called.n, n],
        ),
        None => Answer::possible(
            "the actor was called and nothing more happened: if it is async, its event loop is blocked",
            [called.n],
        )
        .would_decide(&[Source::Process]),
    }
}
