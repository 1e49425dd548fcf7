//! The worker is alive, but has not come to consuming yet.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::framework::Mark;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "worker-still-booting",
    keeps_from: &[Stage::Delivered],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Queue], &[Source::WorkerLog, Source::Process]],
    general: false,
    page: include_str!("worker_still_booting.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    if let Some(answer) = super::has_consumer(story) {
        return answer;
    }
    if !story.closed() {
        return Answer::NotApplicable;
    }
    let lines = story.worker_lines();
    if let Some(ready) = lines.iter().find(|told| matches!(told.mark, Some(Mark::Ready))) {
        return Answer::ruled_out("the worker said that it is ready", [ready.n]);
    }
    let booting = lines.iter().find(|told| {
        told.line
            .logger
            .as_deref()
            .is_some_and(|name| name.contains("WorkerProcess") || name.contains("MainProcess"))
    });
    let dead = lines.iter().any(|told| {
        matches!(
            told.mark,
            Some(Mark::ImportFailed | Mark::UsageError | Mark::ChildDied { .. } | Mark::ShutDown)
        )
    });
    match booting {
        Some(told) if !dead => {
            let mut evidence = vec![told.n];
            evidence.extend(story.depths(story.queue()).last().map(|depth| depth.n));
            let text = "the worker began to boot and never said that it is ready";
            let alive = told
                .line
                .pid
                .is_some_and(|pid| story.process(pid).is_some() && story.gone(pid).is_none());
            if alive {
                Answer::certain(text, evidence)
            } else {
                Answer::likely(text, evidence).would_decide(&[Source::Process])
            }
        }
        _ => Answer::NotApplicable,
    }
}
