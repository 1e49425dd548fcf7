//! What a difference is, and how two values of one thing are told apart.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use strum::IntoStaticStr;

/// Whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Party")]
pub enum Side {
    #[strum(serialize = "API")]
    Api,
    #[strum(serialize = "worker")]
    Worker,
    /// The broker and the database.
    #[strum(serialize = "services")]
    Services,
    /// What taskdiag was asked.
    #[strum(serialize = "run")]
    Run,
}

impl Side {
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// What kind of thing it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// An environment variable.
    #[strum(serialize = "variable")]
    Variable,
    /// A setting of a `.env` file.
    #[strum(serialize = ".env variable")]
    DotenvVariable,
    /// An installed distribution.
    #[strum(serialize = "package")]
    Package,
    /// Implementation and version of Python.
    #[strum(serialize = "Python")]
    Interpreter,
    /// Folder of the virtual environment or installation.
    #[strum(serialize = "Python's folder")]
    InterpreterFolder,
    /// The folder from which the application is imported.
    #[strum(serialize = "code folder")]
    CodeFolder,
    #[strum(serialize = "working directory")]
    WorkingDirectory,
    #[strum(serialize = "command")]
    Command,
    #[strum(serialize = "user")]
    User,
    /// Where its AMQP connections lead.
    #[strum(serialize = "broker address")]
    BrokerAddress,
    /// The vhost of its AMQP connections.
    #[strum(serialize = "vhost")]
    Vhost,
    #[strum(serialize = "database address")]
    DatabaseAddress,
    #[strum(serialize = "broker version")]
    BrokerVersion,
    #[strum(serialize = "database version")]
    DatabaseVersion,
    /// Type, argument or policy of a queue.
    #[strum(serialize = "queue")]
    Queue,
    /// How many consume the queue.
    #[strum(serialize = "consumers")]
    Consumers,
    #[strum(serialize = "consumer hosts")]
    ConsumerHosts,
    /// What a worker that was asked said of its settings and its pool.
    #[strum(serialize = "worker setting")]
    WorkerSetting,
    /// A task that a worker that was asked can run.
    #[strum(serialize = "registered task")]
    RegisteredTask,
    /// The framework's version, by the worker's own word.
    #[strum(serialize = "worker's version")]
    WorkerVersion,
    /// A setting of taskdiag.
    #[strum(serialize = "setting")]
    Setting,
}

impl Subject {
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// There are many of them, each with a name of its own.
    pub fn is_named(self) -> bool {
        matches!(
            self,
            Subject::Variable
                | Subject::DotenvVariable
                | Subject::Package
                | Subject::Queue
                | Subject::WorkerSetting
                | Subject::RegisteredTask
                | Subject::Setting
        )
    }
}

/// One side of a difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", tag = "state", content = "text")]
#[schemars(rename = "Shown")]
pub enum FactValue {
    Seen(String),
    /// It is there, and must not be shown.
    Masked,
    /// It is not there: everything of its kind could be seen.
    Absent,
}

/// One thing in which two runs (or two parties of one) differ.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Difference {
    pub subject: Subject,
    /// Whose it is; both, where API and worker differ in the same way.
    pub of: Vec<Side>,
    /// Name of the variable, package, setting …; empty where there is only one.
    pub name: String,
    pub values: [FactValue; 2],
    /// For masked values: the parts of a URL that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
    /// Why it may explain a difference between verdicts; absent where it probably does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    #[serde(skip)]
    pub(super) relevance: super::rank::Relevance,
    #[serde(skip)]
    pub(super) tokens: [Option<String>; 2],
}

impl Difference {
    /// What it is, in words: `variable DRAMATIQ_TESTING`.
    pub fn what(&self) -> String {
        if self.name.is_empty() {
            self.subject.name().to_owned()
        } else {
            format!("{} {}", self.subject.name(), self.name)
        }
    }

    /// Neither side may be shown.
    pub fn is_masked(&self) -> bool {
        self.values == [FactValue::Masked, FactValue::Masked]
    }

    /// `another host, another password`; of a value that is no URL `another value`.
    pub fn other_parts(&self) -> String {
        if self.parts.is_empty() {
            return "another value".into();
        }
        let parts: Vec<String> = self.parts.iter().map(|part| format!("another {part}")).collect();
        parts.join(", ")
    }

    /// One side in words.
    pub fn side(&self, index: usize) -> String {
        match &self.values[index] {
            FactValue::Seen(text) if text.is_empty() => "(empty)".into(),
            FactValue::Seen(text) => text.clone(),
            FactValue::Absent if matches!(self.subject, Subject::Variable | Subject::DotenvVariable) => {
                "(not set)".into()
            }
            FactValue::Absent if self.subject == Subject::Package => "(not installed)".into(),
            FactValue::Absent if self.subject == Subject::WorkerSetting => "(default)".into(),
            FactValue::Absent if self.subject == Subject::RegisteredTask => "(not registered)".into(),
            FactValue::Absent => "(none)".into(),
            // What the second has that the first has not.
            FactValue::Masked if index == 1 && self.is_masked() => format!("*** ({})", self.other_parts()),
            FactValue::Masked => "***".into(),
        }
    }
}

/// What was seen on one side only, or cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
pub struct NotCompared {
    pub of: Side,
    /// Absent: nothing at all is known of this party.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    pub reason: String,
}

/// One thing that is known of a party.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fact {
    pub shown: FactValue,
    /// What decides equality: without ports, temporary folders and the like.
    pub token: Token,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    Plain(String),
    Masked {
        key: String,
        value: String,
        parts: BTreeMap<String, String>,
    },
    /// Not empty, and nothing else is known.
    Hidden,
}

/// How two facts of one name compare.
pub(super) enum Compared {
    Equal,
    /// With the parts of a URL that differ.
    Differ(Vec<String>),
    Cannot(&'static str),
}

pub(super) const OTHER_KEY: &str = "cannot compare: masked with another key";
pub(super) const NO_KEY: &str = "cannot compare: there was no key to mask values with";

impl Fact {
    pub fn plain(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            token: Token::Plain(text.clone()),
            shown: FactValue::Seen(text),
        }
    }

    /// FactValue as it is, compared without what changes from run to run.
    pub fn settled(text: impl Into<String>, token: String) -> Self {
        Self {
            shown: FactValue::Seen(text.into()),
            token: Token::Plain(token),
        }
    }

    pub fn compare(&self, other: &Self) -> Compared {
        match (&self.token, &other.token) {
            (Token::Plain(one), Token::Plain(other)) if one == other => Compared::Equal,
            (
                Token::Masked { key, value, parts },
                Token::Masked {
                    key: other_key,
                    value: other_value,
                    parts: other_parts,
                },
            ) => {
                if key != other_key {
                    return Compared::Cannot(OTHER_KEY);
                }
                if value == other_value {
                    return Compared::Equal;
                }
                let both = !parts.is_empty() && !other_parts.is_empty();
                let mut names: Vec<&String> = parts.keys().chain(other_parts.keys()).collect();
                names.sort();
                names.dedup();
                Compared::Differ(
                    names
                        .into_iter()
                        .filter(|part| both && parts.get(*part) != other_parts.get(*part))
                        .cloned()
                        .collect(),
                )
            }
            // Only what is not empty is hidden or masked.
            (Token::Plain(text), Token::Hidden | Token::Masked { .. })
            | (Token::Hidden | Token::Masked { .. }, Token::Plain(text))
                if text.is_empty() =>
            {
                Compared::Differ(Vec::new())
            }
            (Token::Hidden, _) | (_, Token::Hidden) => Compared::Cannot(NO_KEY),
            _ => Compared::Differ(Vec::new()),
        }
    }

    pub fn token(&self) -> String {
        match &self.token {
            Token::Plain(text) => text.clone(),
            Token::Masked { value, .. } => format!("\0{value}"),
            Token::Hidden => "\0".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(key: &str, value: &str, parts: &[(&str, &str)]) -> Fact {
        let parts = parts
            .iter()
            .map(|(part, hash)| ((*part).into(), (*hash).into()))
            .collect();
        Fact {
            shown: FactValue::Masked,
            token: Token::Masked {
                key: key.into(),
                value: value.into(),
                parts,
            },
        }
    }

    #[test]
    fn masked_values_compare_under_one_key_only() {
        let one = masked("k1", "aa", &[("host", "1"), ("user", "2")]);
        assert!(matches!(one.compare(&one.clone()), Compared::Equal));
        let other = masked("k1", "bb", &[("host", "9"), ("user", "2")]);
        assert!(matches!(one.compare(&other), Compared::Differ(parts) if parts == ["host"]));
        let foreign = masked("k2", "aa", &[]);
        assert!(matches!(one.compare(&foreign), Compared::Cannot(OTHER_KEY)));
        let hidden = Fact {
            shown: FactValue::Masked,
            token: Token::Hidden,
        };
        assert!(matches!(one.compare(&hidden), Compared::Cannot(NO_KEY)));
        assert!(matches!(hidden.compare(&Fact::plain("")), Compared::Differ(_)));
        assert!(matches!(foreign.compare(&Fact::plain("")), Compared::Differ(_)));
    }
}
