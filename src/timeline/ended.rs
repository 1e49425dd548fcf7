//! Why an observation ended.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// Terminal evidence.
    Decided,
    /// Nothing of this task for the silence window.
    Silence,
    /// The run's own time limit.
    Timeout,
    /// Ctrl-C or a signal.
    Interrupted,
    /// A post-mortem has looked everywhere.
    Looked,
}
