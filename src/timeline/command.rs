//! The end of the command that sends the task.

use serde::{Deserialize, Serialize};

use super::exit_words;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct CommandEnd {
    /// Its exit code, or a signal's number, negative; none where it took too long and was ended.
    pub code: Option<i32>,
    pub latency_ms: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    /// The end of what it printed, secrets masked.
    pub printed: String,
}

impl CommandEnd {
    /// How it ended, for people.
    pub fn words(&self) -> String {
        match self.code {
            Some(code) => format!("ended with {}", exit_words(code)),
            None => "had not ended when the time was up, and was ended by taskdiag".to_owned(),
        }
    }
}
