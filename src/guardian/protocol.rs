//! What goes over the guardian's pipes: a line of JSON each way.
//!
//! Requests may hold credentials (URLs, environments). That is why they go over a pipe and never
//! in arguments, which every user of the machine can read.

use std::ffi::OsString;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::connect_filter::{BlockedConnect, ConnectFilter};
use super::tracing::OwnedTracing;
use super::vhost::OwnedVhost;

#[derive(Serialize, Deserialize)]
pub(super) struct Envelope {
    pub id: u64,
    pub request: Request,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Request {
    /// At the end, switch this tracing off.
    Tracing(OwnedTracing),
    /// At the end, delete this vhost: it was made for this run.
    Vhost(OwnedVhost),
    /// Make a private folder below this one; it is removed at the end.
    Folder {
        below: PathBuf,
    },
    /// This one was made by a guardian that was killed: it is removed at the end.
    Adopt {
        folder: PathBuf,
    },
    Start(Start),
    /// This process group was started beside us: at the end it is ended before all else. 0: it has ended.
    Group {
        group: i32,
    },
    /// Stop this process and all below it now.
    Stop {
        pid: i32,
        /// Without asking them first.
        at_once: bool,
    },
    /// At the very end, run this (and give up on it after so many seconds).
    Last {
        start: Start,
        seconds: u64,
    },
    /// At the end, leave the processes running and the folder where it is. Answered with their groups.
    Keep,
}

impl Request {
    /// The next guardian has to know it, too.
    pub(super) fn is_owed(&self) -> bool {
        matches!(
            self,
            Request::Tracing(_)
                | Request::Vhost(_)
                | Request::Group { .. }
                | Request::Last { .. }
                | Request::Keep
        )
    }
}

/// A command as it is executed: nothing is looked up any more.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Start {
    /// The file to execute; `arguments` does not name it again.
    pub program: PathBuf,
    pub arguments: Vec<String>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    pub cwd: PathBuf,
    /// Standard output and error are appended here.
    pub log: PathBuf,
    /// It may outlive the guardian, if told to: `--keep`.
    pub may_stay: bool,
    /// It and all below it connect through this, or it is not started.
    #[serde(default)]
    pub filter: Option<ConnectFilter>,
}

impl Start {
    /// The command, for messages.
    pub fn text(&self) -> String {
        let program = self.program.file_name().unwrap_or(self.program.as_os_str());
        let mut words = vec![program.to_string_lossy().into_owned()];
        words.extend(self.arguments.iter().cloned());
        words.join(" ")
    }
}

#[derive(Serialize, Deserialize)]
pub(super) enum Reply {
    Answer {
        id: u64,
        answer: Answer,
    },
    /// Something that was started has ended.
    Exited {
        pid: i32,
        exit: Exit,
    },
    /// Something below it was not let through its filter.
    Blocked {
        pid: i32,
        blocked: BlockedConnect,
    },
    /// What could not be done at the end.
    Complaint {
        text: String,
    },
    /// Its last word. What could not be done yet it goes on to try.
    Over,
}

#[derive(Serialize, Deserialize)]
pub(super) enum Answer {
    Done,
    Folder(PathBuf),
    Started { pid: i32 },
    LeftRunning(LeftRunning),
    Failed(String),
}

/// What `--keep` leaves running.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct LeftRunning {
    /// The processes on top: asked to end, each ends its own.
    pub roots: Vec<i32>,
    /// The groups of all of them.
    pub groups: Vec<i32>,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// The exit code; the signal that ended it as a negative number, as Python counts it.
    pub code: i32,
    /// It left processes behind: it may have put itself into the background.
    pub left_children: bool,
}
