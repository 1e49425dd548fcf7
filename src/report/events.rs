//! One event of the timeline in a few words: a file for each of those who speak.

mod api;
mod broker;
mod database;
mod process;
mod worker;

use crate::timeline::{Ended, Event, EventKind as Kind};

/// One event in a few words.
pub(super) fn describe(event: &Event) -> String {
    let kind = &event.kind;
    api::describe(kind)
        .or_else(|| database::describe(kind))
        .or_else(|| broker::describe(kind))
        .or_else(|| worker::describe(kind))
        .or_else(|| process::describe(kind))
        .or_else(|| of_our_own(kind))
        .unwrap_or_else(|| as_recorded(kind))
}

/// What taskdiag did, and what it sees.
fn of_our_own(kind: &Kind) -> Option<String> {
    Some(match kind {
        Kind::Isolated(isolated) => {
            let steps: Vec<&str> = isolated.steps.iter().map(|step| step.step.as_str()).collect();
            match steps.as_slice() {
                [] => "--isolate found nothing to isolate".into(),
                steps => format!("--isolate tried {}", steps.join(", ")),
            }
        }
        Kind::Blind { reason, .. } => format!("blind: {reason}"),
        Kind::Ended { why } => match why {
            Ended::Decided => "ended: what was seen decides",
            Ended::Silence => "ended: nothing more happened to the task",
            Ended::Timeout => "ended: the run's time was over",
            Ended::Interrupted => "ended: stopped by you",
            Ended::Looked => "ended: everything was looked at",
        }
        .into(),
        Kind::Partial { reason } => format!("sees in part: {reason}"),
        Kind::Watching { detail } => format!("watching {detail}"),
        _ => return None,
    })
}

/// The rest is for the curious: its fields as they are recorded.
fn as_recorded(kind: &Kind) -> String {
    let mut value = serde_json::to_value(kind).unwrap_or_default();
    let kind = value.as_object_mut().and_then(|map| map.remove("kind"));
    format!(
        "{} {value}",
        kind.as_ref()
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default()
    )
}
