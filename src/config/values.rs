//! Reading a key's value as what its row says it is, or the error that names where it was set.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use regex::Regex;
use serde_json::{Map, Value as Json};
use url::Url;

use super::Layers;
use super::keys::{self, Kind, last};
use crate::error::{Error, Result};

impl Layers {
    /// What a key is set to, or its default. Its row in the table of keys says how it is read.
    fn of_kind(&self, key: &str, fits: impl Fn(Kind) -> bool) -> Option<&Json> {
        debug_assert!(keys::find(key).is_some_and(|row| fits(row.kind)), "{key}");
        self.value(key).or_else(|| keys::default_of(key))
    }

    /// Of a key that has a default.
    pub fn with_default<T>(
        &self,
        key: &'static str,
        read: impl Fn(&Self, &str) -> Result<Option<T>>,
    ) -> Result<T> {
        let value = read(self, key)?;
        debug_assert!(value.is_some(), "{key} has no default in its row");
        value.ok_or(Error::MissingKey {
            key,
            needed_for: "a run",
            example: "",
        })
    }

    pub fn json(&self, key: &str) -> Option<Json> {
        self.of_kind(key, |kind| kind == Kind::Json).cloned()
    }

    pub fn text(&self, key: &str) -> Result<Option<String>> {
        self.string(key, |kind| kind == Kind::Text)
    }

    fn string(&self, key: &str, fits: impl Fn(Kind) -> bool) -> Result<Option<String>> {
        match self.of_kind(key, fits) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(self.bad(
                key,
                format!("expected a string, found {}", kind_of(other)),
                &format!("write {} = \"…\"", last(key)),
            )),
        }
    }

    /// One of the words of a type, which are those of the key's kind.
    pub fn choice<T: FromStr>(&self, key: &str) -> Result<Option<T>> {
        let Some(text) = self.string(key, |kind| matches!(kind, Kind::Choice(_)))? else {
            return Ok(None);
        };
        text.parse().map(Some).map_err(|_| {
            let words = keys::find(key).map(|row| row.kind.words()).unwrap_or_default();
            let hint = match words.rsplit_once(", ") {
                Some((others, last)) => format!("use {others} or {last}"),
                None => format!("use {words}"),
            };
            self.bad(key, format!("\"{text}\" is not a choice"), &hint)
        })
    }

    pub fn pointer(&self, key: &str) -> Result<Option<String>> {
        let value = self.string(key, |kind| kind == Kind::Pointer)?;
        match &value {
            Some(pointer) if !pointer.is_empty() && !pointer.starts_with('/') => Err(self.bad(
                key,
                format!("\"{pointer}\" is not a JSON Pointer"),
                &format!("write \"/{}\"", pointer.replace('.', "/")),
            )),
            _ => Ok(value),
        }
    }

    /// None where it is empty.
    pub fn pattern(&self, key: &str) -> Result<Option<Regex>> {
        let pattern = self.string(key, |kind| kind == Kind::Pattern)?;
        let Some(pattern) = pattern.filter(|pattern| !pattern.is_empty()) else {
            return Ok(None);
        };
        Regex::new(&pattern).map(Some).map_err(|source| {
            let seen = source.to_string();
            let last = seen.lines().last().unwrap_or_default().trim();
            self.bad(
                key,
                format!("\"{pattern}\" is not a regular expression: {last}"),
                "escape special characters with \\ (in TOML use '…' quotes so that \\ stays)",
            )
        })
    }

    /// A list of strings; one bare string is a list of one.
    pub fn strings(&self, key: &str) -> Result<Option<Vec<String>>> {
        let wrong = |seen: &Json| {
            self.bad(
                key,
                format!("expected a list of strings, found {}", kind_of(seen)),
                &format!("write {} = [\"…\"]", last(key)),
            )
        };
        match self.of_kind(key, |kind| kind == Kind::List) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(vec![text.clone()])),
            Some(Json::Array(items)) => items
                .iter()
                .map(|item| item.as_str().map(str::to_owned).ok_or_else(|| wrong(item)))
                .collect::<Result<Vec<_>>>()
                .map(Some),
            Some(other) => Err(wrong(other)),
        }
    }

    pub fn table(&self, key: &str) -> Result<Option<Map<String, Json>>> {
        match self.of_kind(key, |kind| kind == Kind::Table) {
            None => Ok(None),
            Some(Json::Object(map)) => Ok(Some(map.clone())),
            Some(other) => Err(self.bad(
                key,
                format!("expected a table, found {}", kind_of(other)),
                &format!("write {} = {{ NAME = \"value\" }}", last(key)),
            )),
        }
    }

    pub fn path(&self, key: &str) -> Result<Option<PathBuf>> {
        Ok(self
            .string(key, |kind| kind == Kind::Path)?
            .map(|path| self.base().join(path)))
    }

    pub fn duration(&self, key: &str) -> Result<Option<Duration>> {
        let hint = format!("write a duration with a unit, e.g. {} = \"10s\"", last(key));
        let Some(value) = self.of_kind(key, |kind| kind == Kind::Duration) else {
            return Ok(None);
        };
        let Json::String(text) = value else {
            return Err(self.bad(key, format!("{} has no unit", kind_of(value)), &hint));
        };
        parse_duration(text)
            .map(Some)
            .map_err(|seen| self.bad(key, seen, &hint))
    }

    pub fn url(&self, key: &str) -> Result<Option<Url>> {
        let Some(Kind::Url(schemes)) = keys::find(key).map(|row| row.kind) else {
            debug_assert!(false, "{key} is no URL");
            return Ok(None);
        };
        let Some(text) = self.string(key, |_| true)? else {
            return Ok(None);
        };
        let text = without_driver(text);
        // The text may hold a password, so it is never repeated in a message.
        let hint = format!(
            "write it as {}://USER:PASSWORD@HOST:PORT/… (percent-encode special characters of the password)",
            schemes[0]
        );
        let url = Url::parse(&text).map_err(|error| match error {
            // `localhost:8000` is read as a scheme and a path, `127.0.0.1:8000` as neither.
            url::ParseError::RelativeUrlWithoutBase => self.bad(
                key,
                format!("has no scheme: it does not begin with {}://", schemes[0]),
                &format!("write it as {}://HOST:PORT", schemes[0]),
            ),
            error => self.bad(key, format!("is not a URL: {error}"), &hint),
        })?;
        // `localhost:8000`: what stands before the colon is a host.
        if !schemes.contains(&url.scheme()) && !text.contains("://") {
            return Err(self.bad(
                key,
                format!("has no scheme: it does not begin with {}://", schemes[0]),
                &format!("write it as {}://HOST:PORT", schemes[0]),
            ));
        }
        if !schemes.contains(&url.scheme()) {
            return Err(self.bad(
                key,
                format!(
                    "has the scheme {}://, expected {}://",
                    url.scheme(),
                    schemes.join(":// or ")
                ),
                &hint,
            ));
        }
        if url.host_str().is_none_or(str::is_empty) && !schemes.contains(&"postgres") {
            return Err(self.bad(key, "names no host", &hint));
        }
        Ok(Some(url))
    }
}

/// What stands there. Texts may be passwords, and are not repeated.
fn kind_of(value: &Json) -> String {
    match value {
        Json::String(_) => "a string".into(),
        Json::Array(_) => "a list".into(),
        Json::Object(_) => "a table".into(),
        other => other.to_string(),
    }
}

/// A number with its unit; what is wrong with it otherwise.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<jiff::SignedDuration>().ok();
    let duration = parsed.and_then(|duration| Duration::try_from(duration).ok());
    match duration.filter(|duration| !duration.is_zero()) {
        Some(duration) => Ok(duration),
        None if text.trim().parse::<f64>().is_ok_and(|number| number > 0.0) => {
            Err(format!("\"{text}\" has no unit: write {}s", text.trim()))
        }
        None if is_number_with_unit(text) => Err(format!("\"{text}\" is too long for a duration")),
        None => Err(format!("\"{text}\" is no duration above zero, like 10s or 2m")),
    }
}

/// Above zero, and no more than its size is wrong with it.
fn is_number_with_unit(text: &str) -> bool {
    let text = text.trim();
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = &text[..text.len() - unit.len()];
    digits.contains(|c: char| c != '0') && format!("1{unit}").parse::<jiff::SignedDuration>().is_ok()
}

/// `postgresql+asyncpg://…` as SQLAlchemy writes it, without the driver: one variable can then serve
/// the application and taskdiag.
fn without_driver(url: String) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => match scheme.split_once('+') {
            Some((bare, _)) => format!("{bare}://{rest}"),
            None => url,
        },
        None => url,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(text: &str) -> Result<Layers> {
        Layers::from_text(text)
    }

    #[test]
    fn what_is_wrong_is_said_without_its_text() {
        for (value, said) in [
            (serde_json::json!(["amqp://u:X@h"]), "a list"),
            (serde_json::json!({ "password": "X" }), "a table"),
            (serde_json::json!("X"), "a string"),
            (serde_json::json!(3), "3"),
        ] {
            assert_eq!(kind_of(&value), said);
        }
    }

    #[test]
    fn a_driver_in_the_scheme_is_left_out() {
        let layers = layers("[database]\nurl = \"postgresql+asyncpg://u:a+b@h/d\"").expect("valid");
        let url = layers.url("database.url").expect("ok").expect("set");
        assert_eq!(url.as_str(), "postgresql://u:a+b@h/d");
    }

    #[test]
    fn a_duration_needs_a_unit() {
        let layers = layers("[timing]\nsilence = 10\ntimeout = \"1m 30s\"").expect("valid");
        assert!(layers.duration("timing.silence").is_err());
        assert_eq!(
            layers.duration("timing.timeout").expect("ok"),
            Some(Duration::from_secs(90))
        );
    }
}
