//! What a task framework is to us: a message codec, names of companion queues, and log lines.
//!
//! Only Dramatiq so far. Everything the rest of taskdiag knows of a framework goes through here.

pub mod dramatiq;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::timeline::LogLine;

/// A task message, as far as a diagnosis needs it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Message {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The queue the body itself names; differs from the routing key only for oddities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_name: Option<String>,
    /// Present with `--show-args` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub args: Option<Json>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kwargs: Option<Json>,
    /// A leaf of the arguments equals the task id.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub carries_task_id: bool,
    /// Unix milliseconds of the first enqueue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp_ms: Option<i64>,
    /// Unix milliseconds before which it must not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_ms: Option<i64>,
    /// Attempts so far, on a retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u64>,
    /// Traceback of the attempt that led to this retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceback: Option<String>,
    /// Why the body could not be read as a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undecodable: Option<String>,
    /// Text of every argument leaf (of an undecodable body: the body), to find the task id once it
    /// is known. Never written anywhere.
    #[serde(skip)]
    pub leaves: ArgumentValues,
}

/// Argument values on their way to being compared with the task id; never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ArgumentValues(pub Vec<String>);

impl std::fmt::Debug for ArgumentValues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} leaves", self.0.len())
    }
}

impl Message {
    /// Marks the message as the task's if its arguments carry the id.
    pub fn learn_task_id(&mut self, task_id: &str) {
        let carries = if self.undecodable.is_some() {
            task_id.len() >= 6
                && spellings(task_id)
                    .iter()
                    .any(|id| self.leaves.0.iter().any(|body| contains_token(body, id)))
        } else {
            self.leaves.0.iter().any(|leaf| is_same_id(leaf, task_id))
        };
        self.carries_task_id |= carries;
    }

    /// As far as was kept of it: the id is its own, or a leaf of its arguments.
    pub fn is_of(&self, id: &str) -> bool {
        let leaf = |value: &Option<Json>| value.as_ref().is_some_and(|value| has_leaf(value, id));
        self.message_id.as_deref().is_some_and(|own| is_same_id(own, id))
            || leaf(&self.args)
            || leaf(&self.kwargs)
    }

    /// It waits for its time on the delay queue.
    pub fn is_delayed(&self) -> bool {
        self.eta_ms.is_some()
    }

    /// It is another attempt at something that was tried before.
    pub fn is_retry(&self) -> bool {
        self.retries.unwrap_or(0) > 0 || self.traceback.is_some()
    }
}

/// The same id: the same text, or the same UUID in another spelling (dashes, case, braces).
pub fn is_same_id(a: &str, b: &str) -> bool {
    a == b || matches!((uuid::Uuid::try_parse(a), uuid::Uuid::try_parse(b)), (Ok(a), Ok(b)) if a == b)
}

fn has_leaf(value: &Json, id: &str) -> bool {
    match value {
        Json::Null => false,
        Json::String(text) => is_same_id(text, id),
        Json::Array(items) => items.iter().any(|item| has_leaf(item, id)),
        Json::Object(map) => map.values().any(|item| has_leaf(item, id)),
        other => is_same_id(&other.to_string(), id),
    }
}

/// An id that many texts are compared with.
#[derive(Debug, Clone)]
pub struct WantedId {
    text: String,
    uuid: Option<uuid::Uuid>,
}

impl WantedId {
    pub fn new(id: &str) -> Self {
        Self {
            text: id.to_owned(),
            uuid: uuid::Uuid::try_parse(id).ok(),
        }
    }

    /// The same as `is_same_id`, without reading the id again each time.
    pub fn is(&self, text: &str) -> bool {
        // The shortest spelling of a UUID has 32 digits, the longest (`urn:uuid:…`) 45 characters.
        text == self.text
            || (self.uuid.is_some()
                && (32..=45).contains(&text.len())
                && uuid::Uuid::try_parse(text).ok() == self.uuid)
    }

    /// It stands somewhere in a body that cannot be read. A short id stands everywhere.
    pub fn is_in(&self, text: &str) -> bool {
        self.text.len() >= 6 && spellings(&self.text).iter().any(|id| contains_token(text, id))
    }
}

/// The spellings under which an id may stand in a text.
pub fn spellings(id: &str) -> Vec<String> {
    let mut all = vec![id.to_owned()];
    if let Ok(uuid) = uuid::Uuid::try_parse(id) {
        let (dashed, bare) = (uuid.hyphenated().to_string(), uuid.simple().to_string());
        all.extend([dashed.to_uppercase(), bare.to_uppercase(), dashed, bare]);
        all.sort();
        all.dedup();
    }
    all
}

/// Whether `word` stands in `text` with no letter, digit or underscore touching it.
pub fn contains_token(text: &str, word: &str) -> bool {
    if word.is_empty() {
        return false;
    }
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let mut from = 0;
    while let Some(at) = text[from..].find(word) {
        let start = from + at;
        let end = start + word.len();
        let before = text[..start].chars().next_back().is_none_or(|c| !part(c));
        let after = text[end..].chars().next().is_none_or(|c| !part(c));
        if before && after {
            return true;
        }
        from = start + text[start..].chars().next().map_or(1, char::len_utf8);
    }
    false
}

/// What a log line says in the framework's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEvent {
    BootingUp,
    /// Printed before any broker connection exists: proves nothing about the broker.
    Ready,
    ImportFailed,
    UsageError,
    AddressInUse,
    AddingConsumer {
        queue: String,
    },
    DroppingConsumer {
        queue: String,
    },
    /// `error` is the repr of the connection error.
    ConnectionError {
        queue: Option<String>,
        error: String,
    },
    RestartingConsumer,
    Pushed {
        id: String,
        delay: bool,
    },
    UndefinedActor {
        actor: String,
    },
    DecodeFailed,
    Received {
        id: String,
        actor: String,
    },
    /// The framework is about to call the actor: not an entry.
    Called,
    /// In a `finally`: not success.
    Completed,
    Acknowledging {
        id: String,
    },
    Rejecting {
        id: String,
    },
    ReturnedValue {
        actor: String,
    },
    /// The attempt raised; the traceback is folded into the line.
    Failed {
        actor: String,
    },
    ExpectedException {
        exception: String,
    },
    Aborting {
        id: String,
    },
    RateLimited,
    Retrying {
        id: String,
        in_ms: u64,
    },
    Enqueueing {
        id: String,
        queue: String,
    },
    RetriesExceeded {
        id: String,
    },
    TooOld {
        id: String,
    },
    Skipped {
        actor: String,
    },
    HookFailed {
        hook: String,
    },
    TimeLimit,
    AckFailed,
    NoEventLoop,
    NeverAwaited,
    Stopping,
    ShutDown,
    ChildDied {
        pid: i32,
        code: i32,
    },
}

/// Reads a worker's log line; `None` for anything that is not the framework's.
pub fn read_line(line: &LogLine) -> Option<LogEvent> {
    dramatiq::read_line(line)
}
