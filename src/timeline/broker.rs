//! What the management API lists: consumers, connections, channels and permissions.

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

/// A channel that the broker has closed with an error while its client has not answered yet: a client
/// that only publishes does not look, and notices when it publishes again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ClosedChannel {
    pub connection: String,
    pub number: u64,
    pub user: String,
}

/// What a user may do in the vhost: regular expressions over names of queues and exchanges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Permission {
    pub user: String,
    pub configure: String,
    pub write: String,
    pub read: String,
}

impl Permission {
    /// Whether it may publish to queues by their names, that is to the default exchange: its name in
    /// permissions is `amq.default`. `None`: a pattern that only the broker's own dialect understands.
    pub fn may_publish(&self) -> Option<bool> {
        // An empty pattern matches the empty name only: rabbit_auth_backend_internal.erl.
        let pattern = match self.write.as_str() {
            "" => "^$",
            pattern => pattern,
        };
        let pattern = regex::Regex::new(pattern).ok()?;
        Some(pattern.is_match("amq.default"))
    }
}

#[cfg(test)]
mod tests {
    use super::Permission;

    fn may_publish(write: &str) -> Option<bool> {
        let permission = Permission {
            user: "app".into(),
            configure: ".*".into(),
            write: write.into(),
            read: ".*".into(),
        };
        permission.may_publish()
    }

    #[test]
    fn a_pattern_matches_anywhere_as_the_brokers_does() {
        assert_eq!(may_publish(".*"), Some(true));
        assert_eq!(may_publish("default"), Some(true));
        assert_eq!(may_publish("^(default|amq\\.default)$"), Some(true));
        assert_eq!(may_publish("^default.*"), Some(false));
        assert_eq!(may_publish(""), Some(false));
        assert_eq!(may_publish("^(?!amq)"), None);
    }
}
