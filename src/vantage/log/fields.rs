//! Lines of fields: JSON, and logfmt (`ts=… level=info msg="…"`).

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Map, Value as Json};

use crate::timeline::{Level, LogLine};

/// A line and the time it states, as written.
pub type Parsed = (LogLine, Option<String>);

pub(super) const TRACEBACK: &str = "Traceback (most recent call last):";

/// One field of logfmt, with what parts it from the next.
static FIELD: LazyLock<Option<Regex>> =
    LazyLock::new(|| regex(r#"^(?P<name>[A-Za-z@_][\w.@-]*)=(?P<value>"(?:[^"\\]|\\.)*"|[^\s"]*)(?:\s+|$)"#));

pub(super) fn regex(pattern: &str) -> Option<Regex> {
    Regex::new(pattern).ok()
}

pub(super) fn level(word: &str) -> Option<Level> {
    Some(match word.to_ascii_lowercase().as_str() {
        "debug" | "trace" => Level::Debug,
        "info" | "notice" => Level::Info,
        "warn" | "warning" => Level::Warning,
        "error" | "err" => Level::Error,
        "critical" | "fatal" | "alert" | "emergency" => Level::Critical,
        _ => return None,
    })
}

pub(super) fn read(text: &str) -> Option<Map<String, Json>> {
    if text.starts_with('{') {
        return serde_json::from_str(text).ok();
    }
    of_logfmt(text)
}

/// Nothing but fields, a message and a level among them.
pub(super) fn of_logfmt(text: &str) -> Option<Map<String, Json>> {
    let pattern = FIELD.as_ref()?;
    let mut fields = Map::new();
    let mut rest = text.trim_end();
    while !rest.is_empty() {
        let found = pattern.captures(rest)?;
        let value = &found["value"];
        let plain = serde_json::from_str(value)
            .ok()
            .filter(|_| value.starts_with('"'));
        let value = plain.unwrap_or_else(|| value.trim_matches('"').to_owned());
        fields.insert(found["name"].to_owned(), Json::String(value));
        rest = &rest[found[0].len()..];
    }
    let has = |names: &[&str]| names.iter().any(|name| fields.contains_key(*name));
    (has(&["msg", "message", "event"]) && has(&["level", "lvl", "severity", "levelname"])).then_some(fields)
}

/// The line that these fields make; none where nothing in them is its message.
pub(super) fn line(map: &Map<String, Json>) -> Option<Parsed> {
    let text = |names: &[&str]| {
        names.iter().find_map(|name| match map.get(*name) {
            Some(Json::String(text)) => Some(text.clone()),
            Some(Json::Number(number)) => Some(number.to_string()),
            _ => None,
        })
    };
    let message = text(&["message", "msg", "event", "text", "body"])?;
    // Formatters name the field as they like.
    let is_a_traceback = |text: &str| text.trim_start().starts_with(TRACEBACK);
    let of_any_name = || {
        let mut texts = map.values().filter_map(Json::as_str);
        texts.find(|text| is_a_traceback(text)).map(str::to_owned)
    };
    let mut line = LogLine {
        level: text(&["level", "levelname", "severity", "log_level", "lvl"]).and_then(|word| level(&word)),
        logger: text(&["logger", "name", "logger_name", "channel"]),
        pid: text(&["pid", "process", "process_id"]).and_then(|pid| pid.parse().ok()),
        thread: text(&["thread", "threadName", "thread_name"]),
        text: message,
        traceback: text(&["exc_info", "exception", "traceback", "stack_trace", "exc_text"])
            .or_else(of_any_name),
        ..LogLine::default()
    };
    // A formatter may have put it behind the message.
    if line.traceback.is_none()
        && let Some((message, traceback)) = line.text.split_once(&format!("\n{TRACEBACK}"))
    {
        line.traceback = Some(format!("{TRACEBACK}{traceback}"));
        line.text = message.to_owned();
    }
    // Fields beside the message may carry the id: keep them readable and searchable.
    let known = [
        "message",
        "msg",
        "event",
        "text",
        "body",
        "level",
        "levelname",
        "severity",
        "log_level",
        "lvl",
        "logger",
        "name",
        "logger_name",
        "channel",
        "pid",
        "process",
        "process_id",
        "thread",
        "threadName",
        "thread_name",
        "exc_info",
        "exception",
        "traceback",
        "stack_trace",
        "exc_text",
        "time",
        "timestamp",
        "ts",
        "asctime",
        "@timestamp",
        "date",
    ];
    for (key, value) in map
        .iter()
        .filter(|(key, value)| !known.contains(&key.as_str()) && !value.as_str().is_some_and(is_a_traceback))
        .take(12)
    {
        let value = match value {
            Json::String(text) => text.clone(),
            other => other.to_string(),
        };
        line.text.push_str(&format!(" {key}={value}"));
    }
    Some((
        line,
        text(&["time", "timestamp", "ts", "asctime", "@timestamp", "date"]),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logfmt() {
        let text = r#"ts=2026-12-01T00:21:50.327Z lvl=error logger=dramatiq.worker.WorkerThread pid=7748 thread=Thread-2 msg="Failed to process message act(\"t_1\") with unhandled exception.\nTraceback (most recent call last):\n  File \"/app/a.py\", line 1, in act\nValueError: no" order=t_1"#;
        let (line, stated) = line(&read(text).expect("fields")).expect("a line");
        assert_eq!(stated.as_deref(), Some("2026-12-01T00:21:50.327Z"));
        assert_eq!((line.level, line.pid), (Some(Level::Error), Some(7748)));
        assert_eq!(line.logger.as_deref(), Some("dramatiq.worker.WorkerThread"));
        assert_eq!(
            line.text,
            r#"Failed to process message act("t_1") with unhandled exception. order=t_1"#
        );
        let traceback = line.traceback.expect("a traceback");
        assert!(traceback.starts_with(TRACEBACK) && traceback.ends_with("ValueError: no"));
    }

    /// Prose, a command's arguments, and a field that was cut.
    #[test]
    fn what_is_no_logfmt() {
        for text in [
            "level=info is what we use, msg=nothing",
            "level=info retries=3",
            "msg=hello to=you",
            r#"level=info msg="never closed"#,
            "",
        ] {
            assert_eq!(of_logfmt(text), None, "{text}");
        }
        assert!(of_logfmt(r#"level=info msg="" a="#).is_some());
    }

    #[test]
    fn a_message_of_json_that_ends_in_a_traceback() {
        let text = r#"{"msg": "Failed\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f\nKeyError: 7", "id": 4}"#;
        let (line, _) = line(&read(text).expect("fields")).expect("a line");
        assert_eq!(line.text, "Failed id=4");
        assert!(line.traceback.is_some_and(|text| text.ends_with("KeyError: 7")));
    }
}
