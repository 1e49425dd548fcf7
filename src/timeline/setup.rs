//! What the run was asked.

use serde::{Deserialize, Serialize};

use crate::framework::Framework;

/// What the run was asked: the part of the configuration a diagnosis depends on, without secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Setup {
    pub framework: String,
    pub queue: String,
    pub vhost: String,
    /// `host:port` of the broker.
    pub broker: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id_pointer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry_pattern: Option<String>,
    /// Command lines that start the watched worker, to tell its processes from strangers'.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub worker_command: Vec<String>,
    /// Where the logs are read, for commands that a reader pastes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_log: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_log: Option<String>,
    /// `host:port/name` of the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    pub table: Option<String>,
    pub id_column: Option<String>,
    pub status_column: Option<String>,
    pub running: Vec<String>,
    pub succeeded: Vec<String>,
    pub failed: Vec<String>,
    pub silence_ms: u64,
    pub timeout_ms: u64,
    pub wait_retries: bool,
    pub post_mortem: bool,
    /// It is a recording of `trace`: what passed the broker in some time, and nothing else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trace: bool,
    pub expect_entered: bool,
    pub show_args: bool,
}

impl Setup {
    /// A recording of a framework that is not known is read as if it were the usual one's: what does not
    /// depend on it can be told all the same.
    pub fn framework(&self) -> &'static Framework {
        Framework::named(&self.framework).unwrap_or_else(Framework::usual)
    }
}
