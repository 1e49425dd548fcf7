//! The worker holds the message behind busy threads.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::framework::Mark;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "waiting-in-worker",
    keeps_from: &[Stage::Received],
    scenario: Some(Scenario::C),
    needs: &[&[Source::WorkerLog]],
    general: false,
    page: include_str!("waiting_in_worker.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let Some(pushed) = story.line(|mark| matches!(mark, Mark::Pushed { delay: false, .. })) else {
        return Answer::NotApplicable;
    };
    if let Some(told) = story.line(|mark| matches!(mark, Mark::Received { .. })) {
        return Answer::ruled_out("a thread received it", [told.n]);
    }
    let running = super::running_others(story);
    if running.is_empty() || !story.closed() {
        return Answer::NotApplicable;
    }
    let mut evidence = vec![pushed.n];
    evidence.extend(running.iter().map(|(n, _)| *n).take(6));
    let names = running
        .iter()
        .map(|(_, actor)| actor.as_str())
        .collect::<Vec<_>>()
        .join(", ");
    Answer::certain(
        format!(
            "prefetched by the worker, waiting behind {} running: {names}",
            running.len()
        ),
        evidence,
    )
}
