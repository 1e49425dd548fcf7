//! `[submit]`: a command that sends a task, where no API does.

use super::Layers;
use super::program::{Program, program};
use crate::error::{Error, Result};

/// A program of the application that sends one task and ends: a management command, a job of cron.
#[derive(Debug, Clone)]
pub struct SubmitCommand {
    pub program: Program,
    /// What finds the task's id in what it prints; without it the message that is sent tells.
    pub task_id_pattern: Option<regex::Regex>,
}

impl SubmitCommand {
    /// The id in what the command printed: the pattern's first group, or all that it matches.
    pub fn task_id(&self, printed: &str) -> Option<String> {
        let found = self.task_id_pattern.as_ref()?.captures(printed)?;
        let id = found.get(1).or(found.get(0))?.as_str().trim();
        (!id.is_empty()).then(|| id.to_owned())
    }
}

pub(super) fn submit_command(layers: &Layers) -> Result<Option<SubmitCommand>> {
    let Some(program) = program(layers, "submit")? else {
        if layers.first_of("submit.", &[]).is_some() {
            return Err(Error::MissingKey {
                key: "submit.command",
                needed_for: "the rest of [submit]",
                example: "[submit] command = [\"python\", \"manage.py\", \"send_report\"]",
            });
        }
        return Ok(None);
    };
    if layers.value("api.submit_path").is_some() {
        return Err(layers.bad(
            "submit.command",
            "both `submit.command` and `api.submit_path` are set",
            "keep the one that sends the task",
        ));
    }
    Ok(Some(SubmitCommand {
        program,
        task_id_pattern: layers.pattern("submit.task_id_pattern")?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<SubmitCommand>> {
        submit_command(&Layers::from_text(text)?)
    }

    #[test]
    fn the_first_group_is_the_id() {
        let text = "[submit]\ncommand = [\"send\"]\ntask_id_pattern = \"queued ([0-9a-f-]+)\"";
        let command = read(text).expect("it is right").expect("a command");
        assert_eq!(command.task_id("2 mails\nqueued 7f-3\n").as_deref(), Some("7f-3"));
        assert_eq!(command.task_id("nothing to do"), None);
        let whole = "[submit]\ncommand = [\"send\"]\ntask_id_pattern = \"task_[a-z]+\"";
        let whole = read(whole).expect("it is right").expect("a command");
        assert_eq!(whole.task_id("sent task_ab!").as_deref(), Some("task_ab"));
    }

    #[test]
    fn what_is_missing_or_said_twice_is_an_error() {
        assert!(read("[broker]\nqueue = \"q\"").expect("it is right").is_none());
        let error = read("[submit]\ntask_id_pattern = \"x\"").expect_err("no command");
        assert!(error.to_string().contains("submit.command"), "{error}");
        let both = "[api]\nurl = \"http://a\"\nsubmit_path = \"/t\"\n[submit]\ncommand = [\"send\"]";
        let error = read(both).expect_err("two ways").to_string();
        assert!(error.contains("api.submit_path"), "{error}");
    }
}
