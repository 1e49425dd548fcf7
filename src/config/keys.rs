//! Every key of a configuration, in one table: how its value is read, what `init` writes of it, and
//! docs/configuration.md all come from here.
//!
//! To add a key: a row in keys/table.rs (of [api] in keys/api.rs), and a field of `Config` that is read from it.

mod api;
mod table;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use serde_json::Value as Json;

pub use table::SECTIONS;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A URL with one of these schemes.
    Url(&'static [&'static str]),
    /// Relative to the file.
    Path,
    /// A number with its unit.
    Duration,
    /// A JSON Pointer: empty, or a slash and names.
    Pointer,
    /// A regular expression.
    Pattern,
    /// Strings; a single one need not be in brackets.
    List,
    /// Names with strings.
    Table,
    /// Anything that JSON can express.
    Json,
}

impl Kind {
    /// What a reader is told to write.
    pub fn words(self) -> String {
        match self {
            Self::Text => "text".into(),
            Self::Choice(words) => words.join(", "),
            Self::Url(schemes) => format!("URL ({})", schemes.join(", ")),
            Self::Path => "path".into(),
            Self::Duration => "duration".into(),
            Self::Pointer => "JSON Pointer".into(),
            Self::Pattern => "regular expression".into(),
            Self::List => "list of texts".into(),
            Self::Table => "table of texts".into(),
            Self::Json => "any value".into(),
        }
    }

    /// In a variable or a flag, text that begins with a bracket is such a value, not a string.
    pub fn is_structured(self) -> bool {
        matches!(self, Self::List | Self::Table | Self::Json)
    }
}

/// What `init` does with a key that it found no value for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InDraft {
    /// Says that it is missing, with an example.
    Wanted,
    /// Shows the example.
    Optional,
    /// Leaves it out: few projects need it.
    Absent,
}

/// What holds where a key is not set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unset {
    Nothing,
    /// This value: it is read as if it had been set.
    Value(&'static str),
    /// What the code finds out, in words.
    Words(&'static str),
}

#[derive(Debug)]
pub struct Key {
    /// With its section: `api.url`. Free tables (`body`, `headers` …) are one key.
    pub name: &'static str,
    pub kind: Kind,
    pub about: &'static str,
    /// A value, in TOML.
    pub example: &'static str,
    pub unset: Unset,
    pub in_draft: InDraft,
}

impl Key {
    const fn new(name: &'static str, kind: Kind, about: &'static str, example: &'static str) -> Self {
        Self {
            name,
            kind,
            about,
            example,
            unset: Unset::Nothing,
            in_draft: InDraft::Optional,
        }
    }

    const fn default(mut self, value: &'static str) -> Self {
        self.unset = Unset::Value(value);
        self
    }

    const fn otherwise(mut self, words: &'static str) -> Self {
        self.unset = Unset::Words(words);
        self
    }

    const fn wanted(mut self) -> Self {
        self.in_draft = InDraft::Wanted;
        self
    }

    const fn absent(mut self) -> Self {
        self.in_draft = InDraft::Absent;
        self
    }

    /// What it is for, and what holds without it where the example does not show that.
    pub fn about_with_default(&self) -> String {
        match self.unset {
            Unset::Value(text) | Unset::Words(text) if text != self.example.trim_matches('"') => {
                format!("{}; default: {text}", self.about)
            }
            _ => self.about.to_owned(),
        }
    }

    /// Without its section.
    pub fn last(&self) -> &'static str {
        last(self.name)
    }

    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("TASKDIAG_{}", self.name.replace('.', "_").to_uppercase())
    }
}

#[derive(Debug)]
pub struct Section {
    /// Empty for the keys above all sections.
    pub name: &'static str,
    pub about: &'static str,
    /// Keys without which the others of the section say nothing, and are not accepted.
    pub needs: &'static [&'static str],
    pub keys: &'static [Key],
}

impl Section {
    pub fn holds(&self, key: &str) -> bool {
        self.keys.iter().any(|row| row.name == key)
    }
}

/// In the order of the table.
pub fn all() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

pub fn find(name: &str) -> Option<&'static Key> {
    all().find(|key| key.name == name)
}

/// The values of keys that are not set.
static DEFAULTS: LazyLock<BTreeMap<&str, Json>> = LazyLock::new(|| {
    let defaults = all().filter_map(|key| match (key.unset, key.kind) {
        (Unset::Value(value), Kind::Json) => Some((key.name, serde_json::from_str(value).ok()?)),
        (Unset::Value(value), _) => Some((key.name, value.into())),
        _ => None,
    });
    defaults.collect()
});

pub(super) fn default_of(name: &str) -> Option<&'static Json> {
    DEFAULTS.get(name)
}

/// What `--set` says of itself.
pub fn help_of_set() -> String {
    let names: Vec<&str> = named_sections().map(|section| section.name).collect();
    format!(
        "Override one key of the configuration, e.g. --set broker.queue=emails (repeatable). Sections: {}",
        names.join(", ")
    )
}

fn named_sections() -> impl Iterator<Item = &'static Section> {
    SECTIONS.iter().filter(|section| !section.name.is_empty())
}

/// What there is instead of a key that is unknown: the keys of its section, or the sections.
pub(super) fn known(name: &str) -> String {
    let section = name.split_once('.').map_or(name, |(section, _)| section);
    match SECTIONS
        .iter()
        .find(|known| !section.is_empty() && known.name == section)
    {
        Some(section) => {
            let names: Vec<&str> = section.keys.iter().map(Key::last).collect();
            format!("[{}] has {}", section.name, names.join(", "))
        }
        None => {
            let names: Vec<String> = named_sections()
                .map(|known| format!("[{}]", known.name))
                .collect();
            format!("there are {}", names.join(", "))
        }
    }
}

/// A key without its section.
pub(super) fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}
