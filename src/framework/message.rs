//! A task message, as far as a diagnosis needs it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::{contains_token, is_same_id, spellings};

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
    /// Unix milliseconds after which it must not run any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<i64>,
    /// AMQP's `expiration`: the queue drops it after so many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expiration_ms: Option<i64>,
    /// The message of the task that sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_id: Option<String>,
    /// The group of tasks that it is sent as a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// It asks that its result is not stored.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub result_ignored: bool,
    /// Its content type says JSON, where that is looked at.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub json: bool,
    /// Attempts so far, on a retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retries: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_retries: Option<u64>,
    /// Traceback of the attempt that led to this retry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceback: Option<String>,
    /// The message that is to be sent once this one has succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow_up: Option<FollowUp>,
    /// What is to be sent after it, or with the others of its group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub later: Vec<Later>,
    /// Why the body could not be read as a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undecodable: Option<String>,
    /// Text of every argument leaf (of an undecodable body: the body), to find the task id once it
    /// is known. Never written anywhere.
    #[serde(skip)]
    pub leaves: ArgumentValues,
}

/// What comes after a message: Dramatiq's `pipe_target`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct FollowUp {
    pub message_id: String,
    pub actor: String,
    pub queue: String,
}

/// A task that a message carries with it, to be sent when its own is done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Later {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    pub actor: String,
    /// `chain`: after this one; `chord`: after all of its group.
    pub after: String,
    /// It is the task that is looked for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub carries_task_id: bool,
    /// What carries it names another task to be sent if its own fails.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub has_error_handler: bool,
    /// Text of every leaf of its arguments. Never written anywhere.
    #[serde(skip)]
    pub leaves: ArgumentValues,
}

impl Later {
    fn learn_task_id(&mut self, task_id: &str) {
        let own = self
            .message_id
            .as_deref()
            .is_some_and(|own| is_same_id(own, task_id));
        self.carries_task_id |= own || self.leaves.0.iter().any(|leaf| is_same_id(leaf, task_id));
        self.leaves = ArgumentValues::default();
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
        // Some APIs answer with the message's own id: then it is in no argument.
        let is_it = self
            .message_id
            .as_deref()
            .is_some_and(|own| is_same_id(own, task_id));
        self.carries_task_id |= carries || is_it;
        self.later
            .iter_mut()
            .for_each(|later| later.learn_task_id(task_id));
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

fn has_leaf(value: &Json, id: &str) -> bool {
    match value {
        Json::Null => false,
        Json::String(text) => is_same_id(text, id),
        Json::Array(items) => items.iter().any(|item| has_leaf(item, id)),
        Json::Object(map) => map.values().any(|item| has_leaf(item, id)),
        other => is_same_id(&other.to_string(), id),
    }
}

/// Argument values on their way to being compared with the task id; never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ArgumentValues(pub Vec<String>);

impl std::fmt::Debug for ArgumentValues {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} leaves", self.0.len())
    }
}

/// What a message says of itself, borrowed from it.
#[derive(Debug, Default)]
pub struct BorrowedMessage<'a> {
    pub message_id: Option<Cow<'a, str>>,
    pub actor: Option<Cow<'a, str>>,
    pub queue_name: Option<Cow<'a, str>>,
    pub timestamp_ms: Option<i64>,
    pub eta_ms: Option<i64>,
    pub expires_ms: Option<i64>,
    pub parent_id: Option<Cow<'a, str>>,
    pub group: Option<Cow<'a, str>>,
    pub result_ignored: bool,
    pub json: bool,
    pub retries: Option<u64>,
    pub max_retries: Option<u64>,
    pub traceback: Option<Cow<'a, str>>,
    pub follow_up: Option<FollowUp>,
    pub later: Vec<Later>,
    pub args: Option<Json>,
    pub kwargs: Option<Json>,
    /// It has both an actor and an id, whatever their types: it is the framework's.
    pub known: bool,
}
