//! The layers under a configuration: each value with the place it came from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value as Json;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Key, SECTIONS, last};
use crate::bounded;
use crate::error::{Error, Result};
use crate::expand::{Choice, Syntax};
use crate::hooks;

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
    /// Variables beside those of the environment, which go before.
    variables: BTreeMap<String, SecretString>,
}

impl Layers {
    pub fn collect(file: Option<&Path>, flags: &[(String, String)]) -> Result<Self> {
        let mut layers = Self::default();
        match Self::locate(file)? {
            Some(path) => layers.add_file(&path)?,
            None => layers.base = std::env::current_dir().unwrap_or_default(),
        }
        let from_environment = layers.add_the_rest(flags)?;
        if layers.values.is_empty() && !from_environment && file.is_none() {
            return Err(Error::NoConfig {
                from: layers.base.clone(),
            });
        }
        Ok(layers)
    }

    /// A file, with nothing above it.
    pub fn of_file(file: &Path) -> Result<Self> {
        let mut layers = Self::default();
        layers.add_file(file)?;
        Ok(layers)
    }

    /// The file that is named, or else `taskdiag.toml` of this folder or one above.
    pub fn locate(file: Option<&Path>) -> Result<Option<PathBuf>> {
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

    /// What was drafted for this folder, as if it stood in a file there.
    pub fn drafted(
        text: &str,
        variables: BTreeMap<String, SecretString>,
        flags: &[(String, String)],
    ) -> Result<Self> {
        let mut layers = Self {
            base: std::env::current_dir().unwrap_or_default(),
            variables,
            ..Self::default()
        };
        let table = DeTable::parse(text).map_err(|error| Error::Syntax {
            path: PathBuf::from("the draft"),
            message: error.to_string(),
        })?;
        layers.add_table("", table.get_ref(), text, "the draft")?;
        layers.add_the_rest(flags)?;
        Ok(layers)
    }

    /// Environment and flags. Says whether the environment set anything.
    pub fn add_the_rest(&mut self, flags: &[(String, String)]) -> Result<bool> {
        let from_environment = self.add_environment(std::env::vars_os())?;
        for (key, value) in flags {
            self.add_text(key, value, "command line")?;
        }
        Ok(from_environment)
    }

    fn variable(&self, name: &str) -> Option<String> {
        let beside = || Some(self.variables.get(name)?.expose_secret().to_owned());
        std::env::var(name).ok().or_else(beside)
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
        let text = bounded::text(path, bounded::SETTINGS).map_err(|source| Error::ReadConfig {
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
            message: place_and_fault(&text, &error),
        })?;
        self.add_table("", table.get_ref(), &text, &name)
    }

    fn add_table(&mut self, prefix: &str, table: &DeTable<'_>, text: &str, name: &str) -> Result<()> {
        for (key, value) in table.iter() {
            let dotted = format!("{prefix}{}", key.get_ref());
            let line = text[..key.span().start].matches('\n').count() + 1;
            let origin = format!("{name} line {line}");
            if keys::find(&dotted).is_some() {
                let value = self.expand(&dotted, &origin, to_json(value.get_ref()))?;
                self.values.insert(dotted, Layered { value, origin });
                continue;
            }
            let is_section = SECTIONS.iter().any(|section| section.name == dotted);
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
                DeValue::Table(_) if prefix.is_empty() => return Err(unknown_section(dotted, origin)),
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
            let Some(key) = keys::all().find(|key| key.variable() == name) else {
                let nearest = nearest(name, keys::all().map(Key::variable));
                return Err(Error::UnknownKey {
                    key: name.to_owned(),
                    origin: "environment".into(),
                    nearest,
                    known: "TASKDIAG_ and the key in capitals, e.g. TASKDIAG_BROKER_QUEUE".into(),
                });
            };
            any = true;
            self.add_text(key.name, value, &format!("environment variable {name}"))?;
        }
        Ok(any)
    }

    fn add_text(&mut self, key: &str, text: &str, origin: &str) -> Result<()> {
        let Some(known) = keys::find(key) else {
            return Err(unknown(key.to_owned(), origin.to_owned()));
        };
        let structured = known.kind.is_structured() && text.trim_start().starts_with(['[', '{']);
        let value = if structured {
            match DeValue::parse(text) {
                Ok(value) => to_json(value.get_ref()),
                Err(_) => serde_json::from_str(text).map_err(|_| Error::BadValue {
                    key: key.to_owned(),
                    origin: origin.to_owned(),
                    // It may hold a password.
                    seen: "is neither TOML nor JSON".into(),
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

    /// What a key is set to, unchecked.
    pub fn value(&self, key: &str) -> Option<&Json> {
        self.values.get(key).map(|layered| &layered.value)
    }

    pub fn bad(&self, key: &str, seen: impl Into<String>, hint: &str) -> Error {
        Error::BadValue {
            key: key.to_owned(),
            origin: self.origin(key),
            seen: seen.into(),
            hint: hint.to_owned(),
        }
    }
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

fn unknown_section(name: String, origin: String) -> Error {
    let names = || {
        SECTIONS
            .iter()
            .map(|section| section.name)
            .filter(|name| !name.is_empty())
    };
    let near = nearest(&name, names().map(str::to_owned));
    Error::UnknownKey {
        nearest: near.map(|near| format!("[{near}]")),
        known: format!("sections are {}", names().collect::<Vec<_>>().join(", ")),
        key: name,
        origin,
    }
}

fn unknown(key: String, origin: String) -> Error {
    // A section has no value of its own.
    let is_section = SECTIONS.iter().any(|section| section.name == key);
    let known = match is_section {
        true => format!("[{key}] is a section: name one of its keys, like {key}.KEY"),
        false => keys::known(&key),
    };
    let nearest = nearest(&key, keys::all().map(|key| key.name.to_owned())).filter(|_| !is_section);
    Error::UnknownKey {
        key,
        origin,
        nearest,
        known,
    }
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

impl Layers {
    /// Replaces `${NAME}` and `${NAME:-default}` in every string; `$${` stands for a literal `${`.
    fn expand(&self, key: &str, origin: &str, value: Json) -> Result<Json> {
        Ok(match value {
            Json::String(text) => Json::String(self.expand_text(key, origin, &text)?),
            Json::Array(items) => Json::Array(
                items
                    .into_iter()
                    .map(|item| self.expand(key, origin, item))
                    .collect::<Result<_>>()?,
            ),
            Json::Object(map) => Json::Object(
                map.into_iter()
                    .map(|(name, item)| Ok((name, self.expand(key, origin, item)?)))
                    .collect::<Result<_>>()?,
            ),
            other => other,
        })
    }

    fn expand_text(&self, key: &str, origin: &str, text: &str) -> Result<String> {
        crate::expand::expand(text, Syntax::Braces, &mut |reference| {
            if !reference.is_closed {
                return Err(Error::BadValue {
                    key: key.to_owned(),
                    origin: origin.to_owned(),
                    seen: "has a ${ without its }".into(),
                    hint: "close it, or write $${ for a literal ${".into(),
                });
            }
            match reference.choose(self.variable(reference.name).as_deref()) {
                Choice::Value(value) => Ok(value.to_owned()),
                Choice::Word(word) => self.expand_text(key, origin, word),
                Choice::Unset => Err(Error::UnsetVariable {
                    key: key.to_owned(),
                    origin: origin.to_owned(),
                    variable: reference.name.to_owned(),
                }),
            }
        })
    }
}

/// Where it is and what is wrong, without the line itself: a URL with its password may stand there.
fn place_and_fault(text: &str, error: &toml::de::Error) -> String {
    let Some(span) = error.span() else {
        return error.message().to_owned();
    };
    let before = &text[..text.floor_char_boundary(span.start)];
    let line = before.matches('\n').count() + 1;
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    let column = before[start..].chars().count() + 1;
    let whole = text.lines().nth(line - 1).unwrap_or_default();
    let key = whole.split_once('=').map(|(key, _)| key.trim());
    let key = key
        .filter(|key| key.chars().all(|c| c.is_alphanumeric() || "_-.\"".contains(c)))
        .map(|key| format!(" (`{key}`)"))
        .unwrap_or_default();
    format!("line {line}, column {column}{key}: {}", error.message())
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
                layers.text("broker.queue").expect("a string").as_deref(),
                Some(value)
            );
        }
    }

    #[test]
    fn a_section_is_no_key() {
        let Error::UnknownKey { nearest, known, .. } = unknown("broker".into(), "command line".into()) else {
            panic!("another error");
        };
        assert_eq!(nearest, None);
        assert!(known.contains("[broker] is a section"), "{known}");
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        for (text, nearest) in [
            ("[database]\ntabel = \"x\"", "database.table"),
            ("[api]\nqueue = \"x\"", "broker.queue"),
            ("[brokr]\nurl = 1", "[broker]"),
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
            Layers::default()
                .expand_text("k", "o", "a $${b} ${TASKDIAG_NO_SUCH:-c}")
                .expect("ok"),
            "a ${b} c"
        );
        let missing = Layers::default().expand_text("k", "o", "${TASKDIAG_NO_SUCH}");
        assert!(
            matches!(missing, Err(Error::UnsetVariable { variable, .. }) if variable == "TASKDIAG_NO_SUCH")
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
        assert_eq!(layers.text("broker.queue").expect("ok").as_deref(), Some("7"));
    }
}
