//! What the steps of `--isolate` did, as it is recorded. What follows from them is not: that is asked
//! of [`crate::diagnosis::isolation`] again whenever the recording is read.

use serde::{Deserialize, Serialize};

/// A failed task was repeated with less and less in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Isolated {
    /// How this run had ended, as it was told then: the steps were compared with that.
    pub original: IsolatedEnding,
    /// In the order in which they were done.
    pub steps: Vec<IsolatedStep>,
}

/// The verdict of one run, in the words of the report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct IsolatedEnding {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scenario: Option<String>,
    pub outcome: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<String>,
    /// Id of the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// What tells it from others with the same cause, without ids and figures of this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The connection that the message was first delivered to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer: Option<String>,
}

/// One step: done, if it has an ending; otherwise it was interrupted, or `why` says why not.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct IsolatedStep {
    /// `again`, `direct`, `minimal`, `clean-vhost`, `control` or `original`; one that worked comes twice.
    pub step: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent: Option<Sent>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<IsolatedEnding>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What was added to the world.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Sent {
    /// In words, with where it went and how it differs from the original.
    pub what: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// Made from the configuration: the original's message was not seen.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub from_configuration: bool,
}
