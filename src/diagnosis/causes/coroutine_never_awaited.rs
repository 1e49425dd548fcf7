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
    // The warning comes when the object is collected, in any thread: it must name this actor's.
    let same = |actor: &str, text: &str| {
        text.split('\'')
            .nth(1)
            .is_some_and(|name| name.rsplit('.').next() == actor.rsplit('.').next())
    };
    match (value, warning) {
        (Some(value), Some(warning)) => {
            let text = format!(
                "the call returned a coroutine that nobody awaited: {}",
                warning.line.text.trim()
            );
            let evidence = [value.n, warning.n];
            let mine = story.lines().iter().any(|told| told.n == warning.n);
            match value.mark {
                Some(Mark::ReturnedValue { actor }) if mine || same(actor, &warning.line.text) => {
                    Answer::certain(text, evidence).terminal()
                }
                _ if story.closed() => Answer::likely(text, evidence),
                _ => Answer::NotApplicable,
            }
        }
        (None, Some(warning)) if story.lines().iter().any(|told| told.n == warning.n) => Answer::certain(
            format!("nobody awaited the coroutine: {}", warning.line.text.trim()),
            [warning.n],
        )
        .terminal(),
        _ => Answer::NotApplicable,
    }
}
