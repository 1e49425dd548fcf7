//! A forgotten trace slows the broker down.

use crate::diagnosis::{Answer, Cause, Story};
use crate::timeline::EventKind;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "tracing-left-on",
    keeps_from: &[],
    scenario: None,
    needs: &[&[Source::Management]],
    general: false,
    page: include_str!("tracing_left_on.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    story
        .timeline
        .events
        .iter()
        .find_map(|event| match &event.kind {
            EventKind::TracingOn { readers: 0 } => Some(Answer::certain(
                format!("vhost \"{}\" traces every message, and nobody reads it: `taskdiag check --restore-tracing` switches it off", story.timeline.setup.vhost),
                [event.n],
            )),
            _ => None,
        })
        .unwrap_or(Answer::NotApplicable)
}
