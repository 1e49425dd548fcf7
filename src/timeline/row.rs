//! The row of the task, and who keeps it locked.

use serde::{Deserialize, Serialize};

/// What the database's transaction status says of the row's `xmax`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Xmax {
    /// Zero: no later transaction touched this version of the row.
    None,
    /// A transaction that is still open holds it: an update not yet committed, or a lock.
    InProgress,
    /// On a visible row this is a lock, never a write.
    Committed,
    /// An update that was rolled back, or a lock of a transaction that was.
    Aborted,
    /// A MultiXact one of whose members is an update by an aborted transaction.
    UpdateAborted,
    /// Only locks.
    Locks,
    /// Too old, or not readable.
    Unknown,
}

/// The row of the task as one poll saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Row {
    /// Whether a row with the task id is visible.
    pub present: bool,
    /// Others of the table have the id as well: which of them tells of the task now is not known.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub several: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Transaction that wrote this version (`xmin`); absent for a view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xmin: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xmax: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xmax_state: Option<Xmax>,
    /// While the transaction in `xmax` was open: whether it held the lock on the table that a write
    /// takes (`RowExclusiveLock`), and not just the one of a row lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder_writes: Option<bool>,
    /// Whose transaction it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Blocker>,
    /// Address of the row version, as `(page,tuple)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ctid: Option<String>,
    /// When the look began: an answer tells of nothing that happened after that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked_at_ms: Option<f64>,
}

/// A backend that waits for a lock on the task's row or its whole table, and who holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LockWait {
    pub pid: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// `ip:port` of the waiting client, where visible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    pub blockers: Vec<Blocker>,
    /// It waits for the whole table, and not for this row.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub table: bool,
    /// As in `pg_locks`: `RowExclusiveLock` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Clients, `ip:port`, that wait for the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<String>,
}

impl LockWait {
    /// A backend of which nothing else is known.
    pub fn of(pid: i32) -> Self {
        Self {
            pid,
            query: None,
            client: None,
            blockers: Vec::new(),
            table: false,
            mode: None,
            others: Vec::new(),
        }
    }
}

/// One backend that stands in the way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Blocker {
    pub pid: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// It waits for a lock, too: somebody else is at the head of the line.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub waits: bool,
    /// Seconds since its transaction began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_s: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

/// The clients of the server at one moment, of every database of it: which of them a process is connected to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Sessions {
    /// `ip:port` of the server as it sees itself.
    pub server: String,
    /// The database of `database.url`.
    pub here: String,
    pub sessions: Vec<DatabaseSession>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct DatabaseSession {
    /// `ip:port`.
    pub client: String,
    pub database: String,
    /// What it waits for, as in `pg_locks`: `advisory`, `tuple`, `relation` …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
    /// Who holds that.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blockers: Vec<Blocker>,
}
