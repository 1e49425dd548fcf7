//! How the API and the worker are started, and where they log: the keys that both sections have.

use serde_json::json;

use super::running::RunningProcess;
use super::write::Draft;
use super::{Survey, relative};

pub struct ProgramKeys {
    pub command: &'static str,
    pub python: &'static str,
    pub cwd: &'static str,
    pub log: &'static str,
    pub log_command: &'static str,
}

pub const API: ProgramKeys = ProgramKeys {
    command: "api.command",
    python: "api.python",
    cwd: "api.cwd",
    log: "api.log",
    log_command: "api.log_command",
};

pub const WORKER: ProgramKeys = ProgramKeys {
    command: "worker.command",
    python: "worker.python",
    cwd: "worker.cwd",
    log: "worker.log",
    log_command: "worker.log_command",
};

impl ProgramKeys {
    /// As it runs now.
    pub fn set_from(&self, running: &RunningProcess, survey: &Survey, draft: &mut Draft) {
        let root = &survey.project.root;
        let place = &running.launch.place;
        draft.set(self.command, running.command(), place);
        if let Some(log) = &running.log {
            let from = format!("{place}: its standard error");
            draft.set(self.log, json!([relative(root, log)]), from);
        }
        if let Some(python) = &running.python {
            draft.set(self.python, relative(root, python), place);
        }
        if !running.launch.folder.is_empty() {
            draft.set(self.cwd, running.launch.folder.as_str(), place);
        }
    }

    /// A log file with one of these words in its name, if nothing better is known.
    pub fn set_log_named(&self, words: &[&str], survey: &Survey, draft: &mut Draft) {
        if !draft.has(self.log)
            && !draft.has(self.log_command)
            && let Some(log) = survey.log(words)
        {
            draft.set(self.log, json!([log]), "a file of that name");
        }
    }
}
