//! The submission, and what the API says of the task.

use crate::text;
use crate::timeline::{EventKind as Kind, exit_words};

/// Of the request or the command, its answer, and the status that the API gives.
pub(super) fn describe(kind: &Kind) -> Option<String> {
    Some(match kind {
        Kind::Submitting { method, url } => format!("{method} {url}"),
        Kind::Answered {
            status,
            latency_ms,
            task_id,
            body,
            ..
        } => match task_id {
            Some(id) => format!("HTTP {status} in {latency_ms:.1} ms, task {id}"),
            None => format!("HTTP {status} in {latency_ms:.1} ms: {}", text::page(body)),
        },
        Kind::CommandEnded(end) => {
            let how = end
                .code
                .map_or_else(|| "ended by taskdiag".to_owned(), exit_words);
            match &end.task_id {
                Some(id) => format!("{how} after {:.1} ms, task {id}", end.latency_ms),
                None => format!("{how} after {:.1} ms: {}", end.latency_ms, end.printed),
            }
        }
        Kind::NotAnswered { error, .. } => error.clone(),
        Kind::ApiStatus {
            http_status, value, ..
        } => {
            format!("HTTP {http_status}, status {}", value.as_deref().unwrap_or("-"))
        }
        Kind::Recognised { task_id } => {
            format!(
                "the answer names no task: message {task_id}, the only one sent meanwhile, is taken for its"
            )
        }
        Kind::Given { task_id } => format!("asked about task {task_id}"),
        _ => return None,
    })
}
