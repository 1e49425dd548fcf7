//! The process died between receiving and entering.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::framework::Mark;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "crash-before-entry",
    keeps_from: &[Stage::Entered],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog]],
    general: false,
    page: include_str!("crash_before_entry.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let Some(received) = story.line(|mark| matches!(mark, Mark::Received { .. })) else {
        return Answer::NotApplicable;
    };
    let Some(died) = story.died_in_actor() else {
        return Answer::NotApplicable;
    };
    let text = format!(
        "the worker process died with the message received and the actor not entered: {}",
        died.line.text
    );
    let answer = if story.could_see_entry() {
        Answer::certain(text, [received.n, died.n])
    } else {
        Answer::likely(text, [received.n, died.n])
    };
    answer.terminal()
}
