//! The worker's log, and what a worker answers when it is asked.

use crate::framework::{Heartbeat, HeldTask, Inspection, exception_in};
use crate::timeline::EventKind as Kind;

/// Of its lines, its heartbeats and its answers.
pub(super) fn describe(kind: &Kind) -> Option<String> {
    Some(match kind {
        Kind::Line(line) => {
            let exception = line
                .traceback
                .as_deref()
                .and_then(exception_in)
                .map(|exception| format!(" ⟶ {exception}"))
                .unwrap_or_default();
            let level = line
                .level
                .map(|level| format!("{level:?} ").to_uppercase())
                .unwrap_or_default();
            format!("{level}{}{exception}", line.text)
        }
        Kind::Rotated { path, reads_on: true } => {
            format!("{path} is another file by now, and the one before it is read on")
        }
        Kind::Rotated { path, .. } => format!("{path} was rotated or truncated: lines may be lost"),
        Kind::ReadWhole { path } => format!("{path} was read whole"),
        Kind::Heartbeat(beat) => describe_heartbeat(beat),
        Kind::Asked { node, methods } => format!("{node} is asked: {}", methods.join(", ")),
        Kind::Unanswered { node, waited_ms } => format!("{node} does not answer within {waited_ms} ms"),
        Kind::Inspected(answer) => describe_answer(answer),
        _ => return None,
    })
}

fn describe_heartbeat(beat: &Heartbeat) -> String {
    let pid = beat.pid.map_or(String::new(), |pid| format!(" (pid {pid})"));
    if beat.offline {
        return format!("{}{pid} says that it goes", beat.node);
    }
    let active = beat
        .active
        .map_or(String::new(), |active| format!(", {active} active"));
    let silent = beat.silent_ms.map_or(String::new(), |ms| {
        format!("; {} heartbeats, the last {ms} ms ago", beat.beats)
    });
    format!("{}{pid} lives{active}{silent}", beat.node)
}

fn describe_answer(answer: &Inspection) -> String {
    let count = |list: &Option<Vec<HeldTask>>| {
        list.as_ref()
            .map_or("?".to_owned(), |list| list.len().to_string())
    };
    let state = answer.state.as_deref().unwrap_or("?");
    let queues = answer
        .queues
        .as_ref()
        .map_or("?".to_owned(), |queues| queues.join(", "));
    format!(
        "{} answers: the task is {state}; {} active, {} reserved, {} scheduled; consumes {}",
        answer.node,
        count(&answer.active),
        count(&answer.reserved),
        count(&answer.scheduled),
        if queues.is_empty() { "nothing" } else { &queues },
    )
}
