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
        matches(&self.write, "amq.default")
    }

    /// What it may not do of all that reading the vhost's traced messages through a queue of its own needs, in
    /// words. `None`: a pattern that only the broker's own dialect understands.
    pub fn lacks_for_tracing(&self) -> Option<Vec<String>> {
        const OWN: &str = "taskdiag.trace.owned.1";
        const TRACE: &str = "amq.rabbitmq.trace";
        let needed = [
            ("configure", &self.configure, OWN, "queues named `taskdiag.…`"),
            ("write to", &self.write, OWN, "queues named `taskdiag.…`"),
            ("read from", &self.read, TRACE, "`amq.rabbitmq.trace`"),
            ("read from", &self.read, OWN, "queues named `taskdiag.…`"),
        ];
        let mut lacks = Vec::new();
        for (may, pattern, name, what) in needed {
            if !matches(pattern, name)? {
                lacks.push(format!("{may} {what}"));
            }
        }
        Some(lacks)
    }
}

/// Whether a pattern of a permission is about this name.
fn matches(pattern: &str, name: &str) -> Option<bool> {
    // An empty pattern matches the empty name only: rabbit_auth_backend_internal.erl.
    let pattern = match pattern {
        "" => "^$",
        pattern => pattern,
    };
    Some(regex::Regex::new(pattern).ok()?.is_match(name))
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
    fn what_reading_traced_messages_needs() {
        let lacks = |configure: &str, write: &str, read: &str| {
            let permission = Permission {
                user: "watcher".into(),
                configure: configure.into(),
                write: write.into(),
                read: read.into(),
            };
            permission.lacks_for_tracing().map(|lacks| lacks.len())
        };
        assert_eq!(lacks(".*", ".*", ".*"), Some(0));
        // As docs/rabbitmq.md has it.
        let own = r"^taskdiag\..*";
        assert_eq!(
            lacks(own, own, r"^(amq\.rabbitmq\.trace$|taskdiag\.|default)"),
            Some(0)
        );
        assert_eq!(lacks("^$", "^$", "^default"), Some(4));
        assert_eq!(lacks(own, own, r"^taskdiag\."), Some(1));
        assert_eq!(lacks("", "", ".*"), Some(2));
        assert_eq!(lacks("^(?!amq)", ".*", ".*"), None);
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
