//! The queue moves, and the message is behind others.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::timeline::EventKind;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "backlog",
    keeps_from: &[Stage::Delivered],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Queue]],
    general: false,
    page: include_str!("backlog.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let queue = story.queue();
    let depths = story.depths_since(queue);
    let (Some(first), Some(last)) = (depths.first(), depths.last()) else {
        return Answer::NotApplicable;
    };
    if !story.closed() || last.consumers == 0 || last.ready == 0 {
        return Answer::NotApplicable;
    }
    let Some(passage) = story.published() else {
        return Answer::NotApplicable;
    };
    // Deliveries of others since our publish: how fast the queue moves.
    let others: Vec<(u32, f64)> = story
        .timeline
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Deliver { queue: name, .. } if name == queue && event.at_ms > passage.at_ms => {
                Some((event.n, event.at_ms))
            }
            _ => None,
        })
        .collect();
    if others.is_empty() {
        return if story.sees(Source::Firehose) {
            Answer::ruled_out("nothing was delivered since", [last.n])
        } else {
            Answer::cannot_tell(&[Source::Firehose])
        };
    }
    let seconds = ((last.at_ms - passage.at_ms) / 1000.0).max(0.1);
    let rate = others.len() as f64 / seconds;
    let wait = last.ready as f64 / rate;
    let mut evidence = vec![passage.n, first.n, last.n];
    evidence.extend(others.last().map(|(n, _)| *n));
    Answer::certain(
        format!(
            "{} messages are ready ahead of or behind it; {rate:.1} a second are delivered: up to {} more",
            last.ready,
            super::span(wait * 1000.0)
        ),
        evidence,
    )
}
