//! What the broker says of one queue, at one look.

use super::broker::BETWEEN_LOOKS_MS;
use super::{Story, Transfer};

/// Passive-declare counts.
#[derive(Debug, Clone, Copy)]
pub struct Depth {
    pub n: u32,
    pub at_ms: f64,
    pub exists: bool,
    pub ready: u64,
    pub consumers: u64,
    /// Looks in a row with this answer.
    pub samples: u64,
}

/// The management API's facts of one queue.
#[derive(Debug, Clone, Copy)]
pub struct Info<'a> {
    pub n: u32,
    pub at_ms: f64,
    pub queue: &'a str,
    pub state: Option<&'a str>,
    pub queue_type: Option<&'a str>,
    pub arguments: &'a serde_json::Map<String, serde_json::Value>,
    pub policy_definition: &'a serde_json::Map<String, serde_json::Value>,
    /// Whether a policy applies is not known: none that is missing may be concluded from.
    pub policy_unknown: bool,
    pub ready: Option<u64>,
    pub unacked: Option<u64>,
    /// The counts are of this moment or a later one: those of a quorum queue are seconds old.
    pub counted_ms: f64,
    /// Members of a replicated queue that are online, and all of them.
    pub online: Option<(u64, u64)>,
}

impl<'a> Info<'a> {
    /// What the queue was declared with, or a policy says: `message-ttl` is the argument `x-message-ttl`.
    /// Where both give a number, the smaller one counts.
    pub fn setting(&self, name: &str) -> Option<&'a serde_json::Value> {
        let argument = self.arguments.get(&format!("x-{name}"));
        let policy = self.policy_definition.get(name);
        match (
            argument.and_then(|value| value.as_i64()),
            policy.and_then(|value| value.as_i64()),
        ) {
            (Some(argument), Some(by_policy)) if by_policy < argument => policy,
            _ => argument.or(policy),
        }
    }
}

impl Story<'_> {
    /// The looks before and after the publish found no queue, and the next that did came so much later that others lie
    /// between, which would have found it: it was made after the message was dropped. The look that missed it and the one
    /// that found it.
    pub fn missing_when_sent(&self, passage: &Transfer<'_>) -> Option<(Depth, Depth)> {
        let looks: Vec<Depth> = self.depths(passage.queue).collect();
        let before = looks.iter().rfind(|depth| depth.at_ms <= passage.at_ms)?;
        let mut after = looks.iter().filter(|depth| depth.at_ms > passage.at_ms);
        let missing = after.next().filter(|depth| !depth.exists && !before.exists)?;
        let again = after.find(|depth| depth.exists)?;
        (again.at_ms - passage.at_ms > 2.0 * BETWEEN_LOOKS_MS).then_some((*missing, *again))
    }
}
