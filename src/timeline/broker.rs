//! What the management API lists: consumers and connections.

use serde::{Deserialize, Serialize};

/// One consumer of a queue, as the management API lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Consumer {
    pub queue: String,
    pub tag: String,
    /// `ip:port -> ip:port`; a process is found through the first half.
    pub connection: String,
    pub user: String,
    pub prefetch: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
}

/// One AMQP connection, as the management API lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Connection {
    pub name: String,
    pub user: String,
    pub vhost: String,
    /// `running`, `blocked`, `blocking` …
    pub state: String,
    /// Client library, e.g. `Pika Python Client Library`.
    pub product: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected_at_ms: Option<i64>,
}
