//! What stops taskdiag from doing what was asked, and what to do about it.
//!
//! A sick task is a result, not an error; so is a source that cannot see. An error here means that
//! the command itself cannot go on.

use std::path::PathBuf;

use crate::links;

/// Exit codes, a public contract.
pub mod exit {
    /// Scenario A and the outcome that was expected.
    pub const OK: u8 = 0;
    /// A bug in taskdiag, panics included.
    pub const BUG: u8 = 1;
    /// Wrong usage or configuration.
    pub const USAGE: u8 = 2;
    /// A reason is named: scenario B, A with outcome failed or unfinished, or a cause that is at least likely.
    pub const FAILED: u8 = 10;
    /// Scenario C.
    pub const SILENCE: u8 = 20;
    /// Could not tell, or the command could not do what was asked.
    pub const COULD_NOT: u8 = 30;
    /// Stopped by the user, as a shell has it for SIGINT; what was seen so far is printed.
    pub const STOPPED: u8 = 130;
}

/// Why a source cannot see, and what would let it.
#[derive(Clone, Debug)]
pub struct Unavailable {
    pub reason: String,
    pub hint: Option<String>,
    /// It could see until the other side went away: it may come back.
    pub lost: bool,
}

impl Unavailable {
    pub fn new(reason: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            hint: None,
            lost: false,
        }
    }

    /// The other side went away in the middle.
    pub fn lost(reason: impl Into<String>) -> Self {
        Self {
            lost: true,
            ..Self::new(reason)
        }
    }

    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// It was there before: what became of it then.
    pub fn since(mut self, what: &str) -> Self {
        self.reason = format!("{}; {what}", self.reason);
        self
    }
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no taskdiag.toml in {} or any folder above it, and no --config", .from.display())]
    NoConfig { from: PathBuf },
    #[error("cannot read the configuration {}", .path.display())]
    ReadConfig { path: PathBuf, source: std::io::Error },
    #[error("{} is not valid TOML: {message}", .path.display())]
    Syntax { path: PathBuf, message: String },
    #[error("unknown key `{key}` ({origin})")]
    UnknownKey {
        key: String,
        origin: String,
        nearest: Option<String>,
        /// What there is instead.
        known: String,
    },
    #[error("`{key}` ({origin}): {seen}")]
    BadValue {
        key: String,
        origin: String,
        seen: String,
        hint: String,
    },
    #[error("`{key}` is not configured, and {needed_for} needs it")]
    MissingKey {
        key: &'static str,
        needed_for: &'static str,
        example: &'static str,
    },
    #[error("`{key}` ({origin}) uses ${{{variable}}}, which is not set")]
    UnsetVariable {
        key: String,
        origin: String,
        variable: String,
    },
    #[error("this folder does not show enough to send a task; not found: {missing}")]
    NotEnough { missing: String },
    #[error("{why}")]
    Unsupported { why: String },
    #[error("{message}")]
    Usage { message: String, hint: String },
    #[error("{wanted} is wanted, and none is kept")]
    NoRun { wanted: &'static str },
    #[error("no demo run is called `{name}`")]
    UnknownDemo { name: String, nearest: Option<String> },
    #[error("no cause is called `{id}`")]
    UnknownCause { id: String, nearest: Option<String> },
    #[error("cannot read the recording {}", .path.display())]
    ReadRecording { path: PathBuf, source: std::io::Error },
    #[error("{} is not a taskdiag recording: line {line}: {seen}", .path.display())]
    NotARecording {
        path: PathBuf,
        line: usize,
        seen: String,
    },
    #[error("cannot write {}", .path.display())]
    Write { path: PathBuf, source: std::io::Error },
    /// Found before anything was sent.
    #[error("{} cannot be written", .path.display())]
    Unwritable { path: PathBuf, source: std::io::Error },
    #[error("{} exists already", .path.display())]
    Exists { path: PathBuf },
    #[error("{}: no report has this extension", .path.display())]
    UnknownFormat { path: PathBuf, known: Vec<String> },
    /// What `--start` needs.
    #[error("cannot start {what}: {seen}")]
    Start {
        what: String,
        seen: String,
        hint: String,
    },
    #[error("cannot {action} through {target}: {seen}")]
    Could {
        action: &'static str,
        target: String,
        seen: String,
        hint: String,
    },
}

impl Error {
    /// The next step, in one sentence.
    pub fn hint(&self) -> String {
        match self {
            Error::NoConfig { .. } => "`taskdiag init` drafts one from your project, `taskdiag diagnose` in a terminal asks what to do (--yes in scripts); or name one with --config FILE".into(),
            Error::ReadConfig { .. } => "check the path and its permissions".into(),
            Error::Syntax { .. } => format!("correct the line; {}", links::every_key()),
            Error::UnknownKey { nearest: Some(near), .. } => format!("did you mean `{near}`?"),
            Error::UnknownKey { known, .. } => format!("{known}; {}", links::every_key()),
            Error::BadValue { hint, .. }
            | Error::Usage { hint, .. }
            | Error::Start { hint, .. }
            | Error::Could { hint, .. } => hint.clone(),
            Error::MissingKey { example, .. } => format!("add it to taskdiag.toml: {example}"),
            Error::UnsetVariable { variable, .. } => {
                format!("export {variable}=… (from a .env file: set -a; . ./.env; set +a), or write ${{{variable}:-default}}")
            }
            Error::UnknownCause { nearest: Some(near), .. } => {
                format!("did you mean `{near}`? `taskdiag causes` lists them all")
            }
            Error::UnknownCause { .. } => "`taskdiag causes` lists them all".into(),
            Error::NotEnough { .. } => "start the API and the worker and try again, give it yourself (`--set api.submit_path=/jobs`), or let `taskdiag init` draft a file and fill it in".into(),
            Error::Unsupported { .. } => format!("if that is not so, write taskdiag.toml by hand: {}", links::every_key()),
            Error::NoRun { .. } => {
                "`taskdiag diagnose` keeps each run; `taskdiag demo` shows recorded ones, and a file can be named as well".into()
            }
            Error::UnknownDemo { nearest: Some(near), .. } => format!("did you mean `{near}`? `taskdiag demo` lists them all"),
            Error::UnknownDemo { .. } => "`taskdiag demo` lists them all".into(),
            Error::ReadRecording { .. } => "a recording is what `taskdiag diagnose --record FILE.jsonl` wrote".into(),
            Error::NotARecording { .. } => "a recording begins with a line that holds \"schema\":\"taskdiag.timeline.v1\"; `taskdiag diagnose --record FILE.jsonl` writes one".into(),
            Error::Exists { .. } => "it is left as it is: `taskdiag init --print` prints the draft, `--config FILE` writes it elsewhere".into(),
            Error::Write { source, .. } | Error::Unwritable { source, .. }
                if matches!(source.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) =>
            {
                "raise the limit of open files and try again: ulimit -n".into()
            }
            Error::Write { .. } | Error::Unwritable { .. } => "check that the folder exists and can be written to".into(),
            Error::UnknownFormat { known, .. } => format!("use one of {} (.html prints well, too)", known.join(" ")),
        }
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Could { .. }
            | Error::Start { .. }
            | Error::Write { .. }
            | Error::Exists { .. }
            | Error::ReadRecording { .. }
            | Error::NoRun { .. }
            | Error::Unsupported { .. }
            | Error::NotARecording { .. } => exit::COULD_NOT,
            _ => exit::USAGE,
        }
    }
}
