//! What a framework's workers say of themselves over the broker, and what they answer when asked.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// Workers that send heartbeats and answer questions.
#[derive(Debug)]
pub struct ControlShape {
    /// Where heartbeats pass, and how they are addressed.
    pub events: &'static str,
    pub heartbeats: &'static str,
    /// From one heartbeat of a worker to the next, by default.
    pub heartbeat_ms: u64,
    /// Where answers pass, if it exists; otherwise they go to a queue directly.
    pub replies: &'static str,
    /// The queue on which one worker takes questions.
    pub mailbox: fn(node: &str) -> String,
    /// The worker that takes questions on this queue.
    pub node_of: for<'q> fn(queue: &'q str) -> Option<&'q str>,
    /// A worker that is started by these words may send no heartbeats, or fewer, and be well.
    pub may_be_silent: fn(command: &[String]) -> bool,
    /// All that is ever asked, in this order; the tasks asked about are the messages with these ids.
    pub questions: fn(message_ids: &[String]) -> Vec<Question>,
    /// The body of a question to one worker.
    pub ask: fn(question: &Question, node: &str, reply: &ReplyTo<'_>) -> Json,
    pub read_heartbeat: fn(body: &[u8]) -> Option<Heartbeat>,
    /// Adds an answer to what is known of the worker; tells whether it was one.
    pub read_answer: fn(method: &str, body: &[u8], message_ids: &[String], into: &mut Inspection) -> bool,
    /// By hand: which queues each worker consumes, and how one is made to consume a queue.
    pub which_queues: &'static str,
    pub consume_again: fn(node: &str) -> String,
    /// A time limit of a task that this worker's kind of pool does not enforce: its name and seconds.
    pub ignored_limit: fn(answer: &Inspection, task: &str) -> Option<(&'static str, f64)>,
}

/// What the source says while there is no exchange of the workers'.
pub const NONE_HEARD_YET: &str = "none has come so far";

/// Where an answer is to go.
#[derive(Debug, Clone, Copy)]
pub struct ReplyTo<'a> {
    pub exchange: &'a str,
    pub routing_key: &'a str,
    /// Stands in the answer again.
    pub ticket: &'a str,
}

/// Whom to ask once everything else was looked at, and about what.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Inquiry {
    pub nodes: Vec<String>,
    pub message_ids: Vec<String>,
    /// Why somebody who lives is not asked.
    pub not_asked: Option<String>,
}

/// One question to a worker.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    pub method: &'static str,
    pub arguments: Json,
    /// What it asks for changes within milliseconds: only what two answers have in common counts.
    pub twice: bool,
}

/// What a worker says unasked.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Heartbeat {
    pub node: String,
    /// The worker's main process, where it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Tasks that are being run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<u64>,
    /// Tasks that were ever given to its pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processed: Option<u64>,
    /// It has said that it goes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub offline: bool,
    /// From one to the next, as it says itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every_ms: Option<u64>,
    /// The load of its machine, over 1, 5 and 15 minutes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub load: Vec<f64>,
    /// How many came from it so far.
    #[serde(default)]
    pub beats: u64,
    /// How long ago the last one came, where that is not this moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_ms: Option<u64>,
}

/// How long a task may run, in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct TimeLimits {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hard: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub soft: Option<f64>,
}

/// What one worker answered, arguments of tasks left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Inspection {
    pub node: String,
    /// What answered, in the order of asking.
    pub methods: Vec<String>,
    /// What the worker knows of this task's message: `active`, `reserved`, `scheduled`, `ready`; `unknown`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<Vec<HeldTask>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<Vec<HeldTask>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduled: Option<Vec<HeldTask>>,
    /// This task's id is among those that it discards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<bool>,
    /// The queues that it consumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queues: Option<Vec<String>>,
    /// The tasks that it can run, by name; with a limit of their rate, that as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registered: Option<BTreeMap<String, Option<String>>>,
    /// Limits of how long each of them may run, in seconds, as far as it has any of its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub time_limits: BTreeMap<String, TimeLimits>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uptime_s: Option<u64>,
    /// `prefork`, `solo`, `thread`, `gevent`, `eventlet`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefetch: Option<u64>,
    /// Host, port and vhost of the broker that it is connected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broker: Option<String>,
    /// Settings, as far as they decide what becomes of a task.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, Json>,
}

/// A task in a worker's hands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct HeldTask {
    pub id: String,
    pub name: String,
    /// The process that runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged: Option<bool>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redelivered: bool,
    /// When it is to be run, as the worker says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta: Option<String>,
}

/// A worker of which no heartbeat came for so many intervals does not send any now: one may be late, and a second
/// on its way.
const MISSED: f64 = 2.5;

impl Heartbeat {
    /// Silence of more than this is more than chance.
    pub fn patience_ms(&self, usual_ms: u64) -> u64 {
        let every = self.every_ms.unwrap_or(usual_ms).max(usual_ms);
        (every as f64 * MISSED) as u64
    }
}

impl Inspection {
    /// Of a worker's lists only what both looks found.
    pub fn agreed_with(mut self, later: Self) -> Self {
        let both = |first: Option<Vec<HeldTask>>, later: Option<Vec<HeldTask>>| match (first, later) {
            (Some(first), Some(later)) => {
                let found = |task: &HeldTask| first.iter().any(|before| before.id == task.id);
                Some(later.into_iter().filter(found).collect())
            }
            _ => None,
        };
        self.active = both(self.active, later.active);
        self.reserved = both(self.reserved, later.reserved);
        self.scheduled = both(self.scheduled, later.scheduled);
        self.state = self.state.filter(|state| Some(state) == later.state.as_ref());
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_in_its_hands_for_a_moment_only_is_left_out() {
        let held = |ids: &[&str]| {
            let tasks = ids.iter().map(|id| HeldTask {
                id: (*id).into(),
                ..HeldTask::default()
            });
            Inspection {
                state: Some("reserved".into()),
                reserved: Some(tasks.collect()),
                ..Inspection::default()
            }
        };
        let both = held(&["a", "b"]).agreed_with(held(&["b", "c"]));
        let ids: Vec<String> = both
            .reserved
            .unwrap_or_default()
            .into_iter()
            .map(|task| task.id)
            .collect();
        assert_eq!(ids, ["b"]);
        assert_eq!(both.state.as_deref(), Some("reserved"));
        // One that did not answer again has said nothing that holds.
        let once = held(&["a"]).agreed_with(Inspection::default());
        assert_eq!((once.reserved, once.state), (None, None));
    }
}
