//! Processes that take part, and the Python stacks of their threads.

use serde::{Deserialize, Serialize};

/// A process that takes part: it consumes, publishes, or serves the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Process {
    /// In a place that `[worker] exec` or `[api] exec` leads to, a number of its own: what the process is called
    /// there is the last of `nspids`.
    pub pid: i32,
    pub ppid: i32,
    /// One letter as in `ps`: R S D T Z …; `?` where it cannot be looked at any more.
    pub state: char,
    /// Arguments with secrets masked.
    pub command: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_command: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at_ms: Option<i64>,
    /// Names of environment variables at exec; later changes are invisible.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_names: Vec<String>,
    /// Values of a short list known to be harmless and relevant.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub env: std::collections::BTreeMap<String, String>,
    /// Of the test switches among them those that a Python file of its own project names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reads: Vec<String>,
    /// Its established TCP connections, `ip:port -> ip:port`, its own end first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sockets: Vec<String>,
    /// Its sockets could be read; otherwise an empty list says nothing.
    #[serde(default)]
    pub sockets_seen: bool,
    /// Its command line is the one configured for the worker.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_configured: bool,
    /// Threads that wait to write to a full pipe; absent where that could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipe_write: Option<u32>,
    /// Its pids from our pid namespace down to its own (`NSpid`): what it writes into its log is the last.
    /// Older recordings do not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nspids: Vec<i32>,
    /// The id of the container that it runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Its cgroup is frozen, as by `docker pause`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub frozen: bool,
    /// It or a near ancestor has the watched worker's log file open.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub holds_log: bool,
    /// The place that it was seen in, `worker` or `api`; of this machine's processes absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

impl Process {
    /// The place where it is can be looked into no more: what it does now is not known.
    pub const OUT_OF_SIGHT: char = '?';

    /// It was there at the last look, and neither dead nor out of sight.
    pub fn lives(&self) -> bool {
        !matches!(self.state, 'Z' | 'X' | Self::OUT_OF_SIGHT)
    }

    /// Nobody has asked for its exit code yet.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// The same place and container: one network, and pids that are counted together.
    pub fn is_beside(&self, other: &Self) -> bool {
        self.at == other.at && self.container == other.container
    }

    /// The pid by which it knows itself, and which stands in its log. Older recordings do not say.
    pub fn own_pid(&self) -> Option<i32> {
        self.nspids.last().copied()
    }
}

/// One thread's Python frames, innermost first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Stack {
    pub thread: String,
    pub stable: bool,
    pub frames: Vec<Frame>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Frame {
    pub function: String,
    pub file: String,
    pub line: i32,
    /// The name of the task that its source makes of the function, where that is another than the function's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
}

impl Frame {
    /// Where it stands, in words: `tasks.py:12 in act`.
    pub fn place(&self) -> String {
        format!("{}:{} in {}", self.file, self.line, self.function)
    }
}

/// How a process ended, for people.
pub fn exit_words(code: i32) -> String {
    match code {
        -9 => "signal 9 (SIGKILL)".into(),
        -15 => "signal 15 (SIGTERM)".into(),
        -11 => "signal 11 (SIGSEGV)".into(),
        -6 => "signal 6 (SIGABRT)".into(),
        code if code < 0 => format!("signal {}", -code),
        code => format!("exit code {code}"),
    }
}
