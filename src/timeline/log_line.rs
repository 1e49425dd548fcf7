//! One line of a log.

use serde::{Deserialize, Serialize};

use crate::framework::{ArgumentValues, Framework, LineSubject, LogEvent, contains_token, spellings};

/// One line of a log, its traceback folded in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LogLine {
    /// The name that stood before it: a compose service's container, or a pod and its container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logger: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    pub text: String,
    /// The lines folded below it, joined by newlines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceback: Option<String>,
    /// It stood in the log before the run began.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub before: bool,
    /// For lines from before: seconds between the log's last change and the start of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_s: Option<u64>,
    /// It matches the configured entry pattern.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub entry: bool,
    /// The task id stood in it, masked arguments included.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub carries_task_id: bool,
    /// The line before masking, until the task id is known. Never written anywhere.
    #[serde(skip)]
    pub raw: ArgumentValues,
}

impl LogLine {
    /// What a worker's line means to its framework; `None` for anything that is not the framework's.
    pub fn log_event(&self, framework: &Framework) -> Option<LogEvent> {
        (framework.log.read)(&self.text, self.logger.as_deref(), self.traceback.as_deref())
    }

    /// What a worker's line is about, beside what it means.
    pub fn message_of(&self, framework: &Framework) -> Option<LineSubject<'_>> {
        (framework.log.message_of)(&self.text, self.traceback.as_deref())
    }

    /// Marks the line as one that carries the task id. A short id like `7` stands everywhere, so
    /// it counts only where something names it: `task_id=7`, `'id': 7`, `task 7`.
    pub fn learn_task_id(&mut self, task_id: &str) {
        let found = self.raw.0.iter().any(|text| {
            if task_id.len() >= 6 {
                return spellings(task_id).iter().any(|id| contains_token(text, id));
            }
            text.match_indices(task_id).any(|(at, _)| {
                let before = text[..at].trim_end_matches(|c: char| " =:#'\"(".contains(c));
                let named = before.len() < at
                    && ["id", "task", "job"]
                        .iter()
                        .any(|word| before.to_lowercase().ends_with(word));
                let rest = &text[at + task_id.len()..];
                named && !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
            })
        });
        self.carries_task_id |= found;
    }
}

/// Severity of a log line, the field's five plus notice-like ones folded down.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}
