//! Nobody reads the worker's log pipe, and it is full.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::timeline::EventKind;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "worker-log-pipe-full",
    keeps_from: &[Stage::Received, Stage::Delivered],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Process]],
    general: false,
    page: include_str!("worker_log_pipe_full.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    if !story.closed() {
        return Answer::NotApplicable;
    }
    for event in story.timeline.events.iter().rev() {
        if let EventKind::Process(process) = &event.kind
            && let Some(threads) = process.pipe_write.filter(|count| *count > 0)
            && super::is_worker(process)
        {
            return Answer::certain(
                format!(
                    "{threads} threads of pid {} wait to write to a pipe that nobody reads: its log",
                    process.pid
                ),
                [event.n],
            );
        }
    }
    Answer::NotApplicable
}
