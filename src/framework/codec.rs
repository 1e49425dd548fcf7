//! Messages of a framework on the wire: read, written, and copied under other ids.

use std::borrow::Cow;

use serde_json::{Value as Json, json};

use super::{ArgumentValues, BorrowedMessage, Message, WantedId, is_same_id};

/// A message as AMQP carries it. A framework may put what it has to say into the body, or into the headers.
#[derive(Clone, Default, PartialEq)]
pub struct Envelope<'a> {
    pub headers: Vec<(Cow<'a, str>, Header<'a>)>,
    pub properties: Properties<'a>,
    pub body: Cow<'a, [u8]>,
}

/// The value of a header.
#[derive(Debug, Clone, PartialEq)]
pub enum Header<'a> {
    Text(Cow<'a, str>),
    Other(Json),
}

/// The properties of AMQP that frameworks set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Properties<'a> {
    pub content_type: Option<Cow<'a, str>>,
    pub content_encoding: Option<Cow<'a, str>>,
    pub correlation_id: Option<Cow<'a, str>>,
    pub reply_to: Option<Cow<'a, str>>,
    pub priority: Option<u8>,
    /// The queue drops it after so many milliseconds.
    pub expiration_ms: Option<i64>,
}

impl std::fmt::Debug for Envelope<'_> {
    /// What it carries is the user's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes, {} headers", self.body.len(), self.headers.len())
    }
}

impl<'a> Envelope<'a> {
    /// A message that is nothing but its body.
    pub fn of_body(body: impl Into<Cow<'a, [u8]>>) -> Self {
        Self {
            body: body.into(),
            ..Self::default()
        }
    }

    pub fn header(&self, name: &str) -> Option<&Header<'a>> {
        self.headers
            .iter()
            .find_map(|(key, value)| (key == name).then_some(value))
    }

    /// What it takes in memory, about.
    pub fn size(&self) -> usize {
        let headers = self.headers.iter().map(|(name, value)| {
            name.len()
                + match value {
                    Header::Text(text) => text.len(),
                    Header::Other(json) => json.to_string().len(),
                }
        });
        self.body.len() + headers.sum::<usize>()
    }

    pub fn into_owned(self) -> Envelope<'static> {
        let owned = |text: Option<Cow<'a, str>>| text.map(|text| Cow::Owned(text.into_owned()));
        Envelope {
            headers: self
                .headers
                .into_iter()
                .map(|(name, value)| {
                    let value = match value {
                        Header::Text(text) => Header::Text(Cow::Owned(text.into_owned())),
                        Header::Other(json) => Header::Other(json),
                    };
                    (Cow::Owned(name.into_owned()), value)
                })
                .collect(),
            properties: Properties {
                content_type: owned(self.properties.content_type),
                content_encoding: owned(self.properties.content_encoding),
                correlation_id: owned(self.properties.correlation_id),
                reply_to: owned(self.properties.reply_to),
                priority: self.properties.priority,
                expiration_ms: self.properties.expiration_ms,
            },
            body: Cow::Owned(self.body.into_owned()),
        }
    }
}

impl Header<'_> {
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Other(_) => None,
        }
    }
}

/// How a framework's messages are read and written.
pub struct Codec {
    /// Reads a message in one pass: texts are borrowed, and arguments kept only where that is asked for. The
    /// error says what it is instead of a message.
    pub read: for<'e> fn(&'e Envelope<'_>, &mut DecodeOptions<'_>) -> Result<BorrowedMessage<'e>, String>,
    /// What is said of one that could be read and is no message of this framework's.
    pub not_a_message: &'static str,
    /// The message of such a call, as the framework itself would write it.
    pub encode: fn(&Call<'_>) -> Envelope<'static>,
    /// The same message under other ids. The error says why there cannot be one.
    pub copy: fn(&Envelope<'_>, &CopyOrder<'_>) -> Result<Copy, String>,
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Codec")
    }
}

/// What to do with the arguments of a message that is read.
#[derive(Debug, Default)]
pub struct DecodeOptions<'w> {
    /// Keep them whole.
    pub keep: bool,
    /// Look for these ids among their leaves.
    pub ids: &'w [WantedId],
    /// Collect the text of every leaf.
    pub leaves: Option<&'w mut Vec<String>>,
    /// One of the ids was found.
    pub found: bool,
}

impl DecodeOptions<'_> {
    /// Somebody wants to know of the arguments.
    pub fn wants_arguments(&self) -> bool {
        self.keep || self.leaves.is_some() || !self.ids.is_empty()
    }

    /// Every leaf of a part of the arguments.
    pub fn see_all(&mut self, value: &Json) {
        match value {
            Json::Null => {}
            Json::String(text) => self.see(text),
            Json::Array(items) => items.iter().for_each(|item| self.see_all(item)),
            Json::Object(map) => map.values().for_each(|item| self.see_all(item)),
            other => self.see(&other.to_string()),
        }
    }

    /// A leaf of the arguments.
    pub fn see(&mut self, text: &str) {
        self.found = self.found || self.ids.iter().any(|id| id.is(text));
        if let Some(leaves) = &mut self.leaves {
            leaves.push(text.to_owned());
        }
    }
}

/// A task to be run: what its message is made from.
#[derive(Debug)]
pub struct Call<'c> {
    pub queue: &'c str,
    pub actor: &'c str,
    pub args: &'c Json,
    pub kwargs: &'c Json,
    pub message_id: &'c str,
    /// Unix milliseconds.
    pub now_ms: i64,
    /// It is part of this run of `--isolate`, or sent by `submit --direct`: marked as ours, and never retried.
    pub run: Option<&'c str>,
}

/// A copy that is wanted.
#[derive(Debug)]
pub struct CopyOrder<'c> {
    /// The original's.
    pub task_id: &'c str,
    pub queue: &'c str,
    /// Names the run of `--isolate` that it belongs to.
    pub run: &'c str,
    /// How many were made before.
    pub nth: u32,
    /// Unix milliseconds.
    pub now_ms: i64,
}

/// A message of our own, ready to be published.
#[derive(Clone)]
pub struct Copy {
    pub task_id: String,
    pub message_id: String,
    pub actor: String,
    pub queue: String,
    pub envelope: Envelope<'static>,
}

impl std::fmt::Debug for Copy {
    /// Its arguments are the user's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "message {} for {}", self.message_id, self.actor)
    }
}

/// Reads a message; one that cannot be read says why, and its body may still hold the task id.
pub(super) fn decode(codec: &Codec, envelope: &Envelope<'_>, show_args: bool) -> Message {
    let mut leaves = Vec::new();
    let mut options = DecodeOptions {
        keep: show_args,
        leaves: Some(&mut leaves),
        ..DecodeOptions::default()
    };
    let whole = || ArgumentValues(vec![String::from_utf8_lossy(&envelope.body).into_owned()]);
    let read = match (codec.read)(envelope, &mut options) {
        Ok(read) => read,
        Err(undecodable) => {
            return Message {
                undecodable: Some(undecodable),
                leaves: whole(),
                ..Message::default()
            };
        }
    };
    Message {
        message_id: read.message_id.map(Cow::into_owned),
        actor: read.actor.map(Cow::into_owned),
        queue_name: read.queue_name.map(Cow::into_owned),
        args: read.args,
        kwargs: read.kwargs,
        carries_task_id: false,
        timestamp_ms: read.timestamp_ms,
        eta_ms: read.eta_ms,
        expires_ms: read.expires_ms,
        expiration_ms: envelope.properties.expiration_ms,
        parent_id: read.parent_id.map(Cow::into_owned),
        group: read.group.map(Cow::into_owned),
        result_ignored: read.result_ignored,
        json: read.json,
        retries: read.retries,
        max_retries: read.max_retries,
        traceback: read.traceback.map(Cow::into_owned),
        follow_up: read.follow_up,
        later: read.later,
        undecodable: (!read.known).then(|| codec.not_a_message.to_owned()),
        leaves: if read.known {
            ArgumentValues(leaves)
        } else {
            whole()
        },
    }
}

/// `{task_id}` stands for the fresh id, wherever it occurs in a string.
pub fn with_task_id(value: &Json, task_id: &str) -> Json {
    match value {
        Json::String(text) => Json::String(text.replace("{task_id}", task_id)),
        Json::Array(items) => items.iter().map(|item| with_task_id(item, task_id)).collect(),
        Json::Object(map) => Json::Object(
            map.iter()
                .map(|(key, item)| (key.clone(), with_task_id(item, task_id)))
                .collect(),
        ),
        other => other.clone(),
    }
}

/// An id for a task that nobody has made: a bare UUID, which keys of that type and of text both take.
pub fn unseen_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// An id of the same shape that no row has.
pub fn fresh_id(id: &str, nth: u32) -> String {
    let nth = i64::from(nth);
    let uuid = uuid::Uuid::new_v4();
    if uuid::Uuid::try_parse(id).is_ok() {
        return if id.contains('-') {
            uuid.hyphenated().to_string()
        } else {
            uuid.simple().to_string()
        };
    }
    // Far behind every id that a sequence has given out, and still an integer of four bytes.
    if let Ok(number) = id.parse::<i64>() {
        return match number.checked_add(1_000_000_000 + nth) {
            Some(far) if far <= i64::from(i32::MAX) || number > i64::from(i32::MAX) => far.to_string(),
            _ => (i64::from(i32::MAX) - 1 - nth).to_string(),
        };
    }
    let prefix = id.rfind(['_', '-', ':']).map_or(0, |at| at + 1);
    let rest = &id[prefix..];
    if rest.len() >= 12 && rest.chars().all(|c| c.is_ascii_hexdigit()) {
        let digits: String = uuid.simple().to_string().repeat(rest.len().div_ceil(32));
        return format!("{}{}", &id[..prefix], &digits[..rest.len()]);
    }
    format!("taskdiag-{uuid}")
}

/// Replaces every leaf that is the id; says how many.
pub fn replace_id(value: &mut Json, id: &str, fresh: &str) -> usize {
    match value {
        Json::String(text) if is_same_id(text, id) => {
            *text = fresh.to_owned();
            1
        }
        Json::Number(number) if number.to_string() == id => match fresh.parse::<i64>() {
            Ok(fresh) => {
                *value = json!(fresh);
                1
            }
            Err(_) => 0,
        },
        Json::Array(items) => items.iter_mut().map(|item| replace_id(item, id, fresh)).sum(),
        Json::Object(map) => map.values_mut().map(|item| replace_id(item, id, fresh)).sum(),
        _ => 0,
    }
}
