//! Connected, but no answer in time.

use crate::diagnosis::{Answer, Cause, Stage, Story};
use crate::timeline::Source;
use crate::timeline::{EventKind, NoAnswer};

pub(super) const CAUSE: Cause = Cause {
    id: "api-timeout",
    keeps_from: &[Stage::Submitted],
    scenario: None,
    needs: &[&[Source::Api]],
    general: false,
    page: include_str!("api_timeout.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    story
        .timeline
        .events
        .iter()
        .find_map(|event| match &event.kind {
            EventKind::NotAnswered {
                why: NoAnswer::Timeout,
                latency_ms,
                ..
            } => {
                let seconds = latency_ms / 1000.0;
                let mut evidence = vec![event.n];
                let mut text =
                    format!("the API accepted the connection and gave no answer within {seconds:.1} s");
                // A synchronous publish to an unreachable broker hangs the whole event loop.
                if let Some((n, socket)) = super::connecting_to_a_broker(story) {
                    evidence.push(n);
                    text.push_str(&format!(
                        "; its process is connecting to a broker at that moment ({socket})"
                    ));
                }
                Some(Answer::certain(text, evidence).terminal())
            }
            _ => None,
        })
        .unwrap_or(Answer::NotApplicable)
}
