//! The actor is a coroutine function that nobody awaits.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::framework::Mark;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "coroutine-never-awaited",
    keeps_from: &[Stage::Entered],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog]],
    general: false,
    page: include_str!("coroutine_never_awaited.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let value = story.line(|mark| matches!(mark, Mark::ReturnedValue { .. }));
    let warning = story
        .worker_lines()
        .iter()
        .find(|told| story.counts(told) && matches!(told.mark, Some(Mark::NeverAwaited)));
    match (value, warning) {
        (Some(value), Some(warning)) => Answer::certain(
            format!(
                "the call returned a coroutine that nobody awaited: {}",
                warning.line.text.trim()
            ),
            [value.n, warning.n],
        )
        .terminal(),
        (None, Some(warning)) if story.lines().iter().any(|told| told.n == warning.n) => Answer::certain(
            format!("nobody awaited the coroutine: {}", warning.line.text.trim()),
            [warning.n],
        )
        .terminal(),
        _ => Answer::NotApplicable,
    }
}
