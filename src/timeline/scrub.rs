//! Takes secrets, task arguments and control characters out of everything that was seen.
//!
//! Applied to every event as it arrives, before anything keeps, shows or writes it.

mod encodings;
mod gitleaks;
mod patterns;
pub mod places;
mod printable;

use std::borrow::Cow;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};

use aho_corasick::AhoCorasick;
use regex::{Captures, RegexSet};
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use super::EventKind;
use crate::framework::{ArgumentValues, FollowUp, Later, Message};
use patterns::{ANY_ARGUMENT, ANY_PATTERN, ARGUMENTS, BEARER, KEYWORDS, PATTERNS, SECRET_NAME};
use places::Kind;

pub use patterns::{is_secret_name, looks_random};
pub use printable::{printable, printable_json, printable_line, printable_names};

/// What must not be seen, known once the configuration is.
#[derive(Clone, Default)]
pub struct Scrubber {
    secrets: Vec<SecretString>,
    /// All of them in one pass; `None`: each is looked for.
    any_secret: Option<AhoCorasick>,
    /// Values of the submitted body; empty with `--show-args`.
    arguments: Vec<String>,
    show_args: bool,
}

/// So much is kept of a log line, and of an answer or a row's error; what reads them reads `MARGIN` more, so
/// that what is cut here has been masked as a whole.
pub const LINE: usize = 16 * 1024;
const KEPT: usize = 2000;
pub const MARGIN: usize = 4096;

const MASK: &str = "***";
const ARGUMENT: &str = "[arg]";

impl Scrubber {
    /// Secrets of fewer than four characters are left to the patterns: masking every `a` would
    /// make the report useless and hide nothing.
    pub fn new(secrets: impl IntoIterator<Item = SecretString>, show_args: bool) -> Self {
        let mut secrets: Vec<_> = secrets
            .into_iter()
            .filter(|secret| secret.expose_secret().len() >= 4)
            .flat_map(|secret| encodings::all(secret.expose_secret()))
            .map(SecretString::from)
            .collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
        let all = secrets.iter().map(|secret| secret.expose_secret());
        Self {
            any_secret: AhoCorasick::new(all).ok(),
            secrets,
            arguments: Vec::new(),
            show_args,
        }
    }

    /// The values of `body` are task arguments. `names` are words of the configuration that must
    /// stay readable (queue, actor …).
    pub fn hide_arguments(&mut self, body: &Json, names: &[&str]) {
        if self.show_args {
            return;
        }
        let mut texts = Vec::new();
        strings(body, &mut texts);
        texts.retain(|text| text.len() >= 4 && !names.iter().any(|name| name.contains(text.as_str())));
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        texts.dedup();
        self.arguments = texts;
    }

    /// Removes secrets and control characters from one text.
    pub fn text(&self, text: &str) -> String {
        let mut text = printable(text);
        let any = self.any_secret.as_ref().is_none_or(|any| any.is_match(&text));
        for secret in self.secrets.iter().filter(|_| any) {
            if let Cow::Owned(clean) = places::masked(&text, secret.expose_secret(), Kind::Secret, MASK) {
                text = clean;
            }
        }
        let may_match = KEYWORDS.as_ref().is_none_or(|any| any.is_match(&text)) && is_in(&ANY_PATTERN, &text);
        if may_match {
            for pattern in PATTERNS.iter() {
                if let Cow::Owned(clean) = pattern.mask(&text) {
                    text = clean;
                }
            }
        }
        if let Cow::Owned(clean) = gitleaks::masked(&text) {
            text = clean;
        }
        text
    }

    /// The same as one line.
    pub fn one_line(&self, text: &str) -> String {
        printable_line(&self.text(text)).into_owned()
    }

    /// Arguments that may be shown: their texts without secrets, and nothing of a member whose name
    /// says that it is one.
    pub fn value(&self, value: &Json) -> Json {
        match value {
            Json::String(text) if BEARER.as_ref().is_some_and(|bearer| bearer.is_match(text)) => {
                Json::String(format!("Bearer {MASK}"))
            }
            Json::String(text) => Json::String(self.one_line(text)),
            Json::Array(items) => items.iter().map(|item| self.value(item)).collect(),
            Json::Object(map) => map
                .iter()
                .map(|(key, value)| {
                    let secret = SECRET_NAME.as_ref().is_some_and(|names| names.is_match(key));
                    let value = if secret { MASK.into() } else { self.value(value) };
                    (printable_line(key).into_owned(), value)
                })
                .collect(),
            other => other.clone(),
        }
    }

    /// The same, and task arguments as well.
    pub fn outside_text(&self, text: &str) -> String {
        let mut text = self.text(text);
        if self.show_args {
            return text;
        }
        let any = is_in(&ANY_ARGUMENT, &text);
        for (pattern, replacement) in ARGUMENTS.iter().filter(|_| any) {
            if pattern.is_match(&text) {
                text = pattern
                    .replace_all(&text, |found: &Captures<'_>| {
                        let mut out = String::new();
                        found.expand(replacement, &mut out);
                        out
                    })
                    .into_owned();
            }
        }
        for argument in &self.arguments {
            if let Cow::Owned(clean) = places::masked(&text, argument, Kind::Argument, ARGUMENT) {
                text = clean;
            }
        }
        text
    }

    /// The start of an answer of the API, its arguments unmasked.
    pub fn answer(&self, body: &str) -> String {
        self.start_of(body, KEPT, |text| self.text(text))
    }

    /// The start of what came from outside.
    fn outside_start(&self, text: &str, most: usize) -> String {
        self.start_of(text, most, |text| self.outside_text(text))
    }

    /// The beginning of a text that may itself have been cut where it was read: masked first, cut
    /// afterwards. Of a secret that was cut its beginning goes, too.
    fn start_of(&self, text: &str, most: usize, mask: impl Fn(&str) -> String) -> String {
        let mut end = text.len();
        for secret in &self.secrets {
            let secret = secret.expose_secret();
            // Three characters give nothing away, and end many a text.
            let cut = (4..secret.len())
                .rev()
                .filter(|at| secret.is_char_boundary(*at))
                .find(|at| text.ends_with(&secret[..*at]));
            end = end.min(text.len() - cut.unwrap_or(0));
        }
        let mut clean = mask(&text[..end]);
        if end < text.len() {
            clean.push_str(MASK);
        }
        if let Some((at, _)) = clean.char_indices().nth(most) {
            clean.truncate(at);
        }
        clean
    }

    /// Everything of an event that came from outside.
    pub fn event(&self, kind: EventKind) -> EventKind {
        match kind {
            EventKind::Line(mut line) => {
                line.text = match line.text.len() > LINE {
                    true => self.outside_start(&line.text, LINE),
                    false => self.outside_text(&line.text),
                };
                line.traceback = line.traceback.map(|text| self.outside_text(&text));
                line.logger = line.logger.map(|text| printable(&text));
                line.thread = line.thread.map(|text| printable(&text));
                EventKind::Line(line)
            }
            EventKind::Answered {
                status,
                latency_ms,
                task_id,
                new_id,
                body,
                location,
                candidates,
                routes,
            } => EventKind::Answered {
                status,
                latency_ms,
                new_id,
                task_id: task_id.map(|id| printable(&id)),
                body: self.outside_start(&body, KEPT),
                location: location.map(|place| self.text(&place)),
                candidates,
                routes: routes.iter().map(|path| self.text(path)).collect(),
            },
            EventKind::CommandEnded(mut end) => {
                end.task_id = end.task_id.map(|id| printable(&id));
                end.printed = end_of(self.outside_text(&end.printed), KEPT);
                EventKind::CommandEnded(end)
            }
            EventKind::Row(mut row) => {
                row.error = row.error.map(|text| self.outside_start(&text, KEPT));
                row.status = row.status.map(|text| printable(&text));
                row.holder = row.holder.map(|holder| self.anything(holder));
                EventKind::Row(row)
            }
            EventKind::Publish {
                exchange,
                routing_key,
                routed,
                connection,
                user,
                message,
            } => EventKind::Publish {
                exchange: printable(&exchange),
                routing_key: printable(&routing_key),
                routed: routed.map(|queues| queues.iter().map(|queue| printable(queue)).collect()),
                connection: printable(&connection),
                user,
                message: self.message(message),
            },
            EventKind::Deliver {
                queue,
                connection,
                redelivered,
                message,
            } => EventKind::Deliver {
                queue: printable(&queue),
                connection: printable(&connection),
                redelivered,
                message: self.message(message),
            },
            EventKind::Bound { queue, keys } => EventKind::Bound {
                queue: printable(&queue),
                keys: keys.iter().map(|key| printable(key)).collect(),
            },
            EventKind::DeadLetter {
                queue,
                reason,
                from_queue,
                message,
            } => EventKind::DeadLetter {
                queue,
                reason,
                from_queue,
                message: self.message(message),
            },
            other => self.anything(other),
        }
    }

    fn message(&self, message: Message) -> Message {
        let leaves = message.leaves;
        Message {
            leaves: ArgumentValues::default(),
            traceback: message.traceback.as_deref().map(|text| self.outside_text(text)),
            message_id: message.message_id.as_deref().map(printable),
            actor: message.actor.as_deref().map(printable),
            queue_name: message.queue_name.as_deref().map(printable),
            undecodable: message.undecodable.as_deref().map(printable),
            follow_up: message.follow_up.map(|next| FollowUp {
                message_id: printable(&next.message_id),
                actor: printable(&next.actor),
                queue: printable(&next.queue),
            }),
            later: message
                .later
                .into_iter()
                .map(|later| Later {
                    message_id: later.message_id.as_deref().map(printable),
                    actor: printable(&later.actor),
                    ..later
                })
                .collect(),
            ..message
        }
        .with_leaves(leaves)
    }

    /// Anything else, string by string: rare, so the detour through JSON costs nothing that matters, and no
    /// field can be forgotten.
    fn anything<T: Serialize + DeserializeOwned>(&self, thing: T) -> T {
        let Ok(mut json) = serde_json::to_value(&thing) else {
            return thing;
        };
        self.json(&mut json);
        serde_json::from_value(json).unwrap_or(thing)
    }

    fn json(&self, value: &mut Json) {
        match value {
            Json::String(text) => *text = self.text(text),
            Json::Array(items) => items.iter_mut().for_each(|item| self.json(item)),
            Json::Object(map) => {
                map.values_mut().for_each(|item| self.json(item));
                printable_names(map);
            }
            _ => {}
        }
    }
}

/// So many texts are searched for each pattern by itself: a short run is over before their common search would
/// have been compiled.
const FEW: u32 = 2_000;
static SEARCHED: AtomicU32 = AtomicU32::new(0);

/// Whether one of these patterns may match. Beyond ASCII their common search is slower than each by itself.
fn is_in(any: &LazyLock<Option<RegexSet>>, text: &str) -> bool {
    !text.is_ascii()
        || SEARCHED.fetch_add(1, Ordering::Relaxed) < FEW
        || any.as_ref().is_none_or(|any| any.is_match(text))
}

impl Message {
    fn with_leaves(mut self, leaves: ArgumentValues) -> Self {
        self.leaves = leaves;
        self
    }
}

fn strings(value: &Json, into: &mut Vec<String>) {
    match value {
        Json::String(text) => into.push(text.clone()),
        Json::Array(items) => items.iter().for_each(|item| strings(item, into)),
        Json::Object(map) => map.values().for_each(|item| strings(item, into)),
        _ => {}
    }
}

/// The end of a text.
fn end_of(text: String, most: usize) -> String {
    let from = text.len().saturating_sub(most);
    let from = (from..=text.len()).find(|at| text.is_char_boundary(*at));
    text[from.unwrap_or_default()..].to_owned()
}

#[cfg(test)]
mod notations;
#[cfg(test)]
mod tests {
    use super::*;

    fn scrub(text: &str) -> String {
        Scrubber::new([SecretString::from("hunter22")], false).outside_text(text)
    }

    #[test]
    fn every_pattern_compiles() {
        assert_eq!(PATTERNS.len(), 30);
        assert!(
            KEYWORDS.is_some() && ANY_PATTERN.is_some() && ANY_ARGUMENT.is_some() && SECRET_NAME.is_some()
        );
        assert_eq!(ARGUMENTS.len(), 12);
    }

    #[test]
    fn secrets_go_whatever_their_notation() {
        for text in [
            "connect amqp://ops:s3cretword@rabbit:5672/%2F failed",
            "using hunter22 now",
            "Authorization: Bearer abcdefgh12345678",
            "{\"db_password\": \"s3cretword\"}",
            "API_KEY=s3cretword",
            "Authorization: Bearer s3cretword",
            "authorization: Token s3cretword",
            "{'Authorization': 'Bearer s3cretword', 'x': 1}",
            "dramatiq --password s3cretword app",
            "cookie: session=s3cretword; theme=s3cretword",
            "pwd: s3cretword",
            "clone https://s3cretword@github.com/x",
            "postgresql+asyncpg://u:a@s3cretword@h/db",
            "-----BEGIN RSA PRIVATE KEY-----\ns3cretword\n-----END RSA PRIVATE KEY-----",
            "basic auth s3cretword",
            "DB_PASS: s3cretword",
            "secret-key=\"two s3cretword\"",
            "password => s3cretword",
            "{\"x-auth-token\": [\"s3cretword\"]}",
            "api_token=SecretStr('s3cretword')",
            "Bearer s3cretword",
            "apikey s3cretword",
            "curl -s -u me:s3cretword http://h",
            "mysql -u me -ps3cretword",
            "Password for user: s3cretword",
        ] {
            let clean = scrub(text);
            assert!(
                !clean.contains("s3cretword") && !clean.contains("hunter22") && !clean.contains("abcdefgh1"),
                "{clean}"
            );
            assert!(clean.contains(MASK), "{clean}");
        }
        for harmless in [
            "http://localhost:8000/x",
            "PWD=/srv/app",
            "the token was refused",
            "dramatiq --processes 2 --threads 4 app",
            "mail to a@b.example, see http://h/x",
            "amqp://h1:5672,amqp://h2:5672",
        ] {
            assert_eq!(scrub(harmless), harmless);
        }
        // What follows a secret stays readable.
        assert_eq!(
            scrub("broker amqp://u:s3cretword@h:5672/v refused x@y"),
            "broker amqp://u:***@h:5672/v refused x@y"
        );
    }

    #[test]
    fn arguments_go_where_the_framework_prints_them() {
        assert_eq!(
            scrub("Received message act('private', a=(1)) with id 'x'."),
            "Received message act(…) with id 'x'."
        );
        assert_eq!(
            scrub("Received args=('private',) kwargs={}."),
            "Received args=(…) kwargs={…}."
        );
    }

    /// Names that somebody else chose, in parts of an event that are kept whole.
    #[test]
    fn who_holds_a_row_and_what_comes_later_are_masked() {
        let scrubber = Scrubber::new([SecretString::from("hunter22")], false);
        let row = serde_json::json!({"present": true, "holder": {"pid": 7,
            "application": "job hunter22 \u{1b}[2J", "query": "ALTER ROLE x PASSWORD hunter22"}});
        let row = EventKind::Row(serde_json::from_value(row).expect("a row"));
        let EventKind::Row(row) = scrubber.event(row) else {
            panic!("a row stays one");
        };
        let holder = row.holder.expect("a holder");
        assert_eq!(holder.application.as_deref(), Some("job *** \\e[2J"));
        assert!(!holder.query.expect("a statement").contains("hunter22"));

        let chain = Message {
            follow_up: Some(FollowUp {
                actor: "a\u{1b}[2J".into(),
                ..FollowUp::default()
            }),
            later: vec![Later {
                actor: "b\u{1b}[2J".into(),
                leaves: ArgumentValues(vec!["task_1".into()]),
                ..Later::default()
            }],
            ..Message::default()
        };
        let clean = scrubber.message(chain);
        assert_eq!(clean.follow_up.expect("one").actor, "a\\e[2J");
        assert_eq!(clean.later[0].actor, "b\\e[2J");
        // By these it is found once the task's id is known.
        assert_eq!(clean.later[0].leaves.0, ["task_1"]);
    }

    #[test]
    fn members_that_are_secrets_go_whole() {
        let scrubber = Scrubber::new([SecretString::from("hunter22")], true);
        let value = serde_json::json!({ "db_password": ["x"], "n": 1, "t": ["a hunter22\u{1b}\nb"], "token_count": 3 });
        assert_eq!(
            scrubber.value(&value),
            serde_json::json!({ "db_password": "***", "n": 1, "t": ["a ***\\e\\nb"], "token_count": 3 })
        );
    }

    #[test]
    fn arguments_under_telling_names_go_whole() {
        let scrubber = Scrubber::new([], true);
        for name in [
            "auth",
            "Authorization",
            "x-auth",
            "cookie",
            "cookies",
            "Set-Cookie",
            "session",
            "session_id",
            "sessionid",
            "bearer",
            "credential",
            "credentials",
            "aws_credentials",
            "passwords",
            "jwt",
        ] {
            let shown = scrubber.value(&serde_json::json!({ "headers": { name: "s3cretword" } }));
            assert_eq!(shown["headers"][name], MASK, "{name}");
        }
        for token in ["Bearer S3CRETB", "bearer secret", " Bearer x "] {
            assert_eq!(
                scrubber.value(&serde_json::json!([token])),
                serde_json::json!(["Bearer ***"])
            );
        }
        let harmless = serde_json::json!({ "author": "a", "sessions_left": 3, "n": ["the bearer refused"] });
        assert_eq!(scrubber.value(&harmless), harmless);
    }

    #[test]
    fn control_characters_become_visible() {
        assert_eq!(
            printable("a\u{1b}[31mb\r\u{9b}\u{202e}"),
            "a\\e[31mb\\u{9b}\\u{202e}"
        );
    }

    /// Every control character there is, as a name of a queue may hold it.
    #[test]
    fn json_says_the_same_without_control_characters() {
        let name: String = ('\0'..='\u{9f}')
            .chain(['\u{202e}', '\u{2069}', 'ü', '✓'])
            .collect();
        let json = printable_json(serde_json::json!({ &name: name }).to_string());
        assert!(
            !json.contains(|c: char| c.is_control() || c == '\u{202e}' || c == '\u{2069}'),
            "{json:?}"
        );
        assert!(
            json.contains("\\u007f") && json.contains("\\u009b") && json.contains("ü✓"),
            "{json}"
        );
        let read: Json = serde_json::from_str(&json).expect("still JSON");
        assert_eq!(read[&name], name);
        let visible = printable(&name);
        assert!(
            !visible.contains(|c: char| c.is_control() && c != '\n' && c != '\t'),
            "{visible:?}"
        );
    }
}
