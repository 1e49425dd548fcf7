//! The fingerprint of what a process runs in: enough to say where two of them differ, and nothing
//! that must not be shown.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a process runs in, read from outside without running anything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Environment {
    /// The process that was read. Others with the same are not read again: see `same_environment`.
    pub pid: i32,
    /// How it was found.
    pub found: Vec<Found>,
    /// Arguments with secrets masked.
    pub command: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interpreter: Option<Interpreter>,
    /// Where the application's code is imported from, as far as that can be told from outside.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// Environment variables at exec; what the process set later (python-dotenv) is invisible.
    /// Absent: they could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variables: Option<BTreeMap<String, Variable>>,
    /// Settings of a `.env` file that a library of the application may have read at its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dotenv: Option<DotEnv>,
    /// Id of the key that masked the values: those of another key cannot be compared with them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Installed distributions. Absent: they could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distributions: Option<Vec<Distribution>>,
    /// What could not be read, and what would permit it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hidden: Vec<String>,
}

/// How a process was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Found {
    /// It listens on the API's port.
    ApiPort,
    /// It, or an ancestor of it, has the watched worker's log open for writing.
    WorkerLog,
    /// A line of the worker's log has its pid.
    LogLine,
    /// It runs the worker's configured command.
    WorkerCommand,
    /// It is at the client's end of a connection.
    Connection,
    /// We started it.
    Started,
}

/// The Python that runs the process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Interpreter {
    /// `python` or `pypy`.
    pub implementation: String,
    /// As exact as it could be read: `3.11`, or `3.11.7`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Folder of the virtual environment, or of the installation.
    pub prefix: String,
    pub virtual_environment: bool,
    /// The real program behind it.
    pub executable: String,
}

/// The application's code.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Code {
    /// The module that the command line names.
    pub module: String,
    /// The folder from which it is imported.
    pub directory: String,
    /// Further folders of the import path that have a module of this name: the first one wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_in: Vec<String>,
    /// Python files there that have changed since the process started. Older recordings do not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<ChangedFile>,
}

/// A file as it stands now, which need not be what a process that started before it has loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChangedFile {
    pub path: String,
    /// Unix milliseconds.
    pub at_ms: i64,
    /// The tasks that it declares.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<DeclaredTask>,
}

/// A task as its source declares it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeclaredTask {
    /// The name under which messages name it.
    pub name: String,
    pub function: String,
    /// How many arguments it takes by position, `self` included.
    pub positional: usize,
    pub parameters: Vec<String>,
}

/// A `.env` file as it stands now, which need not be as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DotEnv {
    pub path: String,
    /// Those that the process did not have already: its own environment wins.
    pub variables: BTreeMap<String, Variable>,
    /// The file is younger than the process.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub changed_since: bool,
}

/// The value of an environment variable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Variable {
    /// Known to be harmless, or empty.
    Plain(String),
    Masked(Masked),
    /// There was no key to mask it with: only its presence is known.
    Hidden,
}

/// A keyed hash of a value: equal for equal values, and good for nothing without the key.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Masked {
    pub value: String,
    /// The same of the parts of a URL: scheme, user, password, host, port, path, query.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parts: BTreeMap<String, String>,
}

/// One installed distribution, its name normalised as PEP 503 says.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Distribution {
    pub name: String,
    pub version: String,
    /// Folder of a development install.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub editable: Option<String>,
    /// Versions that stand further back on the import path, or beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
}

impl Distribution {
    /// The version as people should read it.
    pub fn shown(&self) -> String {
        let mut text = self.version.clone();
        if !self.also.is_empty() {
            text.push_str(&format!(" (and {})", self.also.join(", ")));
        }
        if let Some(folder) = &self.editable {
            text.push_str(&format!(" (editable: {folder})"));
        }
        text
    }
}

impl Environment {
    pub fn variable(&self, name: &str) -> Option<&Variable> {
        self.variables.as_ref()?.get(name)
    }

    /// The plain value of a variable.
    pub fn plain(&self, name: &str) -> Option<&str> {
        match self.variable(name)? {
            Variable::Plain(value) => Some(value),
            _ => None,
        }
    }

    pub fn distribution(&self, name: &str) -> Option<&Distribution> {
        self.distributions
            .as_ref()?
            .iter()
            .find(|distribution| distribution.name == name)
    }
}
