//! The layers under a configuration: each value with the place it came from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value as Json};
use toml::de::{DeTable, DeValue};
use url::Url;

use crate::error::{Error, Result};
use crate::hooks;

/// Every key there is. Free tables (`body`, `headers` …) are one key.
pub const KEYS: &[&str] = &[
    "framework",
    "api.url",
    "api.submit_path",
    "api.body",
    "api.body_file",
    "api.headers",
    "api.task_id_pointer",
    "api.status_path",
    "api.status_pointer",
    "api.timeout",
    "api.log",
    "api.log_command",
    "api.command",
    "api.python",
    "api.env",
    "api.cwd",
    "broker.amqp_url",
    "broker.management_url",
    "broker.queue",
    "broker.actor",
    "broker.args",
    "broker.kwargs",
    "broker.trace",
    "broker.ca_file",
    "broker.client_cert",
    "broker.client_key",
    "database.url",
    "database.table",
    "database.id_column",
    "database.status_column",
    "database.running",
    "database.succeeded",
    "database.failed",
    "database.error_column",
    "worker.log",
    "worker.log_command",
    "worker.entry_pattern",
    "worker.command",
    "worker.python",
    "worker.env",
    "worker.cwd",
    "services.up",
    "services.down",
    "isolate.body",
    "timing.silence",
    "timing.timeout",
];

/// Keys whose text is a string even where it looks like a number, in variables and flags.
const LISTS_AND_TABLES: &[&str] = &[
    "api.body",
    "api.headers",
    "api.log",
    "api.log_command",
    "api.command",
    "api.env",
    "broker.args",
    "broker.kwargs",
    "database.running",
    "database.succeeded",
    "database.failed",
    "worker.log",
    "worker.log_command",
    "worker.command",
    "worker.env",
    "services.up",
    "services.down",
    "isolate.body",
];

#[derive(Debug, Clone)]
struct Layered {
    value: Json,
    origin: String,
}

/// Values by dotted key, the winning layer's only.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    values: BTreeMap<String, Layered>,
    base: PathBuf,
}

impl Layers {
    pub fn collect(file: Option<&Path>, flags: &[(String, String)]) -> Result<Self> {
        let mut layers = Self::default();
        match locate(file)? {
            Some(path) => layers.add_file(&path)?,
            None => layers.base = std::env::current_dir().unwrap_or_default(),
        }
        let from_environment = layers.add_environment(std::env::vars_os())?;
        for (key, value) in flags {
            layers.add_text(key, value, "command line")?;
        }
        if layers.values.is_empty() && !from_environment && file.is_none() {
            return Err(Error::NoConfig {
                from: layers.base.clone(),
            });
        }
        Ok(layers)
    }

    #[cfg(test)]
    pub fn from_text(text: &str) -> Result<Self> {
        let mut layers = Self::default();
        let table = DeTable::parse(text).map_err(|error| Error::Syntax {
            path: PathBuf::from("text"),
            message: error.to_string(),
        })?;
        layers.add_table("", table.get_ref(), text, "text")?;
        Ok(layers)
    }

    fn add_file(&mut self, path: &Path) -> Result<()> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::ReadConfig {
            path: path.to_owned(),
            source,
        })?;
        self.base = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
            .map_or_else(|| std::env::current_dir().unwrap_or_default(), Path::to_owned);
        let name = path
            .file_name()
            .unwrap_or(path.as_os_str())
            .to_string_lossy()
            .into_owned();
        let table = DeTable::parse(&text).map_err(|error| Error::Syntax {
            path: path.to_owned(),
            message: error.to_string().trim_end().to_owned(),
        })?;
        self.add_table("", table.get_ref(), &text, &name)
    }

    fn add_table(&mut self, prefix: &str, table: &DeTable<'_>, text: &str, name: &str) -> Result<()> {
        for (key, value) in table.iter() {
            let dotted = format!("{prefix}{}", key.get_ref());
            let line = text[..key.span().start].matches('\n').count() + 1;
            let origin = format!("{name} line {line}");
            if KEYS.contains(&dotted.as_str()) {
                let value = expand(&dotted, &origin, to_json(value.get_ref()))?;
                self.values.insert(dotted, Layered { value, origin });
                continue;
            }
            let is_section = KEYS.iter().any(|known| known.starts_with(&format!("{dotted}.")));
            match value.get_ref() {
                DeValue::Table(inner) if prefix.is_empty() && is_section => {
                    self.add_table(&format!("{dotted}."), inner, text, name)?;
                }
                _ if is_section => {
                    return Err(Error::BadValue {
                        key: dotted.clone(),
                        origin,
                        seen: "is a section, not a value".into(),
                        hint: format!("write it as [{dotted}] with its keys below"),
                    });
                }
                _ => return Err(unknown(dotted, origin)),
            }
        }
        Ok(())
    }

    /// `TASKDIAG_API_URL` sets `api.url`. Says whether any was set.
    fn add_environment(
        &mut self,
        variables: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) -> Result<bool> {
        let mut any = false;
        for (name, value) in variables {
            let (Some(name), Some(value)) = (name.to_str(), value.to_str()) else {
                continue;
            };
            let Some(rest) = name.strip_prefix("TASKDIAG_") else {
                continue;
            };
            // LAB… and BIN belong to fixtures/lab, LOG to our own debugging.
            let is_no_key = rest.starts_with("LAB_") || matches!(rest, "LAB" | "BIN" | "LOG");
            if is_no_key || hooks::VARIABLES.contains(&name) {
                continue;
            }
            let Some(key) = KEYS.iter().find(|key| variable(key) == name) else {
                let nearest = nearest(name, KEYS.iter().map(|key| variable(key)));
                return Err(Error::UnknownKey {
                    key: name.to_owned(),
                    origin: "environment".into(),
                    nearest,
                });
            };
            any = true;
            self.add_text(key, value, &format!("environment variable {name}"))?;
        }
        Ok(any)
    }

    fn add_text(&mut self, key: &str, text: &str, origin: &str) -> Result<()> {
        if !KEYS.contains(&key) {
            return Err(unknown(key.to_owned(), origin.to_owned()));
        }
        let structured = LISTS_AND_TABLES.contains(&key) && text.trim_start().starts_with(['[', '{']);
        let value = if structured {
            match DeValue::parse(text) {
                Ok(value) => to_json(value.get_ref()),
                Err(_) => serde_json::from_str(text).map_err(|_| Error::BadValue {
                    key: key.to_owned(),
                    origin: origin.to_owned(),
                    seen: format!("{text} is neither TOML nor JSON"),
                    hint: "quote strings, e.g. [\"a.log\", \"b.log\"]".into(),
                })?,
            }
        } else {
            Json::String(unquoted(text))
        };
        self.values.insert(
            key.to_owned(),
            Layered {
                value,
                origin: origin.to_owned(),
            },
        );
        Ok(())
    }

    /// Folder that relative paths of the configuration start from.
    pub fn base(&self) -> &Path {
        &self.base
    }

    pub fn origin(&self, key: &str) -> String {
        self.values
            .get(key)
            .map_or_else(|| "default".into(), |layered| layered.origin.clone())
    }

    pub fn origins(&self) -> BTreeMap<String, String> {
        self.values
            .iter()
            .map(|(key, layered)| (key.clone(), layered.origin.clone()))
            .collect()
    }

    /// The first key that is set below `prefix`, leaving out those in `except`.
    pub fn first_of(&self, prefix: &str, except: &[&str]) -> Option<&str> {
        self.values
            .keys()
            .map(String::as_str)
            .find(|key| key.starts_with(prefix) && !except.contains(key))
    }

    pub fn bad(&self, key: &str, seen: impl Into<String>, hint: &str) -> Error {
        Error::BadValue {
            key: key.to_owned(),
            origin: self.origin(key),
            seen: seen.into(),
            hint: hint.to_owned(),
        }
    }

    pub fn json(&self, key: &str) -> Result<Option<Json>> {
        Ok(self.values.get(key).map(|layered| layered.value.clone()))
    }

    pub fn string(&self, key: &str) -> Result<Option<String>> {
        match self.values.get(key).map(|layered| &layered.value) {
            None => Ok(None),
            Some(Json::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(self.bad(
                key,
                format!("expected a string, found {other}"),
                &format!("write {} = \"…\"", last(key)),
            )),
        }
    }

    /// A list of strings; one bare string is a list of one.
    pub fn strings(&self, key: &str) -> Result<Option<Vec<String>>> {
        let wrong = |seen: &Json| {
            self.bad(
                key,
                format!("expected a list of strings, found {seen}"),
                &format!("write {} = [\"…\"]", last(key)),
            )
        };
        match self.values.get(key).map(|layered| &layered.value) {
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
        match self.values.get(key).map(|layered| &layered.value) {
            None => Ok(None),
            Some(Json::Object(map)) => Ok(Some(map.clone())),
            Some(other) => Err(self.bad(
                key,
                format!("expected a table, found {other}"),
                &format!("write {} = {{ NAME = \"value\" }}", last(key)),
            )),
        }
    }

    pub fn path(&self, key: &str) -> Result<Option<PathBuf>> {
        Ok(self.string(key)?.map(|path| self.base.join(path)))
    }

    pub fn duration(&self, key: &str) -> Result<Option<Duration>> {
        let hint = format!("write a duration with a unit, e.g. {} = \"10s\"", last(key));
        let Some(layered) = self.values.get(key) else {
            return Ok(None);
        };
        let Json::String(text) = &layered.value else {
            return Err(self.bad(key, format!("{} has no unit", layered.value), &hint));
        };
        text.parse::<jiff::SignedDuration>()
            .ok()
            .and_then(|duration| Duration::try_from(duration).ok())
            .filter(|duration| !duration.is_zero())
            .map(Some)
            .ok_or_else(|| self.bad(key, format!("\"{text}\" is not a duration above zero"), &hint))
    }

    pub fn url(&self, key: &str, schemes: &[&str]) -> Result<Option<Url>> {
        let Some(text) = self.string(key)? else {
            return Ok(None);
        };
        let text = without_driver(text);
        // The text may hold a password, so it is never repeated in a message.
        let hint = format!(
            "write it as {}://USER:PASSWORD@HOST:PORT/… (percent-encode special characters of the password)",
            schemes[0]
        );
        let url =
            Url::parse(&text).map_err(|error| self.bad(key, format!("is not a URL: {error}"), &hint))?;
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

fn last(key: &str) -> &str {
    key.rsplit('.').next().unwrap_or(key)
}

/// The environment variable for a key.
fn variable(key: &str) -> String {
    format!("TASKDIAG_{}", key.replace('.', "_").to_uppercase())
}

/// A whole TOML string, as one writes it in the file, without its quotes.
fn unquoted(text: &str) -> String {
    match DeValue::parse(text) {
        Ok(value) => match value.get_ref() {
            DeValue::String(inner) => inner.to_string(),
            _ => text.to_owned(),
        },
        Err(_) => text.to_owned(),
    }
}

fn unknown(key: String, origin: String) -> Error {
    let nearest = nearest(&key, KEYS.iter().map(|&known| known.to_owned()));
    Error::UnknownKey { key, origin, nearest }
}

/// The candidate a reader most likely meant: closest by edits, or the same last part elsewhere.
pub fn nearest(word: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    candidates
        .map(|candidate| {
            let whole = strsim::jaro_winkler(word, &candidate);
            let tail = if last(word) == last(&candidate) { 0.97 } else { 0.0 };
            (whole.max(tail), candidate)
        })
        .filter(|(score, _)| *score > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

fn locate(file: Option<&Path>) -> Result<Option<PathBuf>> {
    if let Some(path) = file {
        return Ok(Some(path.to_owned()));
    }
    let here = std::env::current_dir().map_err(|source| Error::ReadConfig {
        path: PathBuf::from("."),
        source,
    })?;
    Ok(here
        .ancestors()
        .map(|folder| folder.join("taskdiag.toml"))
        .find(|path| path.is_file()))
}

fn to_json(value: &DeValue<'_>) -> Json {
    match value {
        DeValue::String(text) => Json::String(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| Json::String(number.to_string()), Json::from),
        DeValue::Float(number) => number
            .as_str()
            .parse::<f64>()
            .map_or_else(|_| Json::String(number.to_string()), Json::from),
        DeValue::Boolean(flag) => Json::Bool(*flag),
        DeValue::Datetime(time) => Json::String(time.to_string()),
        DeValue::Array(items) => items.iter().map(|item| to_json(item.get_ref())).collect(),
        DeValue::Table(table) => Json::Object(
            table
                .iter()
                .map(|(key, value)| (key.get_ref().to_string(), to_json(value.get_ref())))
                .collect(),
        ),
    }
}

/// Replaces `${NAME}` and `${NAME:-default}` in every string; `$${` stands for a literal `${`.
fn expand(key: &str, origin: &str, value: Json) -> Result<Json> {
    Ok(match value {
        Json::String(text) => Json::String(expand_text(key, origin, &text)?),
        Json::Array(items) => Json::Array(
            items
                .into_iter()
                .map(|item| expand(key, origin, item))
                .collect::<Result<_>>()?,
        ),
        Json::Object(map) => Json::Object(
            map.into_iter()
                .map(|(name, item)| Ok((name, expand(key, origin, item)?)))
                .collect::<Result<_>>()?,
        ),
        other => other,
    })
}

fn expand_text(key: &str, origin: &str, text: &str) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at]);
            out.push('{');
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let Some(end) = rest[at..].find('}') else {
            return Err(Error::BadValue {
                key: key.to_owned(),
                origin: origin.to_owned(),
                seen: "has a ${ without its }".into(),
                hint: "close it, or write $${ for a literal ${".into(),
            });
        };
        let inside = &rest[at + 2..at + end];
        let (name, default) = match inside.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (inside, None),
        };
        match (std::env::var(name), default) {
            (Ok(value), _) => out.push_str(&value),
            (Err(_), Some(default)) => out.push_str(default),
            (Err(_), None) => {
                return Err(Error::UnsetVariable {
                    key: key.to_owned(),
                    origin: origin.to_owned(),
                    variable: name.to_owned(),
                });
            }
        }
        rest = &rest[at + end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(text: &str) -> Result<Layers> {
        let mut layers = Layers::default();
        let table = DeTable::parse(text).expect("TOML");
        layers.add_table("", table.get_ref(), text, "taskdiag.toml")?;
        Ok(layers)
    }

    #[test]
    fn a_value_knows_its_line() {
        let layers = layers("[api]\n\nurl = \"http://localhost\"\n").expect("valid");
        assert_eq!(layers.origin("api.url"), "taskdiag.toml line 3");
    }

    #[test]
    fn quotes_of_the_file_are_none_of_the_value() {
        let mut layers = Layers::default();
        for (text, value) in [
            ("\"two words\"", "two words"),
            ("'C:\\x'", "C:\\x"),
            ("7", "7"),
            ("a \"b\" c", "a \"b\" c"),
            ("\"a\" and \"b\"", "\"a\" and \"b\""),
        ] {
            layers
                .add_text("broker.queue", text, "command line")
                .expect("a value");
            assert_eq!(
                layers.string("broker.queue").expect("a string").as_deref(),
                Some(value)
            );
        }
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        for (text, nearest) in [
            ("[database]\ntabel = \"x\"", "database.table"),
            ("[api]\nqueue = \"x\"", "broker.queue"),
            ("[brokr]\nurl = 1", "api.url"),
        ] {
            match layers(text) {
                Err(Error::UnknownKey {
                    nearest: Some(near), ..
                }) => {
                    if !text.contains("brokr") {
                        assert_eq!(near, nearest);
                    }
                }
                Err(Error::UnknownKey { .. }) if text.contains("brokr") => {}
                other => panic!("{text}: {other:?}"),
            }
        }
    }

    #[test]
    fn variables_are_expanded_and_missing_ones_named() {
        assert_eq!(
            expand_text("k", "o", "a $${b} ${TASKDIAG_NO_SUCH:-c}").expect("ok"),
            "a ${b} c"
        );
        let missing = expand_text("k", "o", "${TASKDIAG_NO_SUCH}");
        assert!(
            matches!(missing, Err(Error::UnsetVariable { variable, .. }) if variable == "TASKDIAG_NO_SUCH")
        );
    }

    #[test]
    fn a_driver_in_the_scheme_is_left_out() {
        let layers = layers("[database]\nurl = \"postgresql+asyncpg://u:a+b@h/d\"").expect("valid");
        let url = layers
            .url("database.url", &["postgres", "postgresql"])
            .expect("ok")
            .expect("set");
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

    #[test]
    fn the_environment_reaches_every_key() {
        let mut layers = Layers::default();
        let set = [
            ("TASKDIAG_WORKER_LOG", "[\"a\", \"b\"]"),
            ("TASKDIAG_BROKER_QUEUE", "7"),
        ];
        layers
            .add_environment(set.iter().map(|(k, v)| ((*k).into(), (*v).into())))
            .expect("known");
        assert_eq!(
            layers.strings("worker.log").expect("ok").map(|l| l.len()),
            Some(2)
        );
        assert_eq!(layers.string("broker.queue").expect("ok").as_deref(), Some("7"));
    }
}
