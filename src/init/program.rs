//! How the API and the worker are started, and where they log: the keys that both sections have.

use serde_json::json;

use super::compose::Service;
use super::running::RunningProcess;
use super::write::Draft;
use super::{Survey, relative};

pub struct ProgramKeys {
    pub command: &'static str,
    pub python: &'static str,
    pub cwd: &'static str,
    pub log: &'static str,
    pub log_command: &'static str,
    pub exec: &'static str,
}

pub const API: ProgramKeys = ProgramKeys {
    command: "api.command",
    python: "api.python",
    cwd: "api.cwd",
    log: "api.log",
    log_command: "api.log_command",
    exec: "api.exec",
};

pub const WORKER: ProgramKeys = ProgramKeys {
    command: "worker.command",
    python: "worker.python",
    cwd: "worker.cwd",
    log: "worker.log",
    log_command: "worker.log_command",
    exec: "worker.exec",
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

    /// As this service of a compose file: what it logs, and the way into its container.
    pub fn set_service(&self, service: &Service, survey: &Survey, draft: &mut Draft) {
        let words = |more: &[&str]| {
            let mut words = service.compose(&survey.project.compose);
            words.extend(
                more.iter()
                    .copied()
                    .chain([service.name.as_str()])
                    .map(str::to_owned),
            );
            words
        };
        draft.set(self.log_command, words(&["logs", "-f"]), service.place());
        draft.set(self.exec, words(&["exec", "-T"]), service.place());
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
