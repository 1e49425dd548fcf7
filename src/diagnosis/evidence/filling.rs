//! The placeholders of a page, filled with the names of this run.

use super::Story;
use crate::timeline::place;

impl Story<'_> {
    /// Fills the placeholders of a page's text with this task's names.
    pub fn fill(&self, text: &str) -> String {
        let mut text = text.to_owned();
        let setup = &self.timeline.setup;
        // A log that is not configured has no name; in a sentence it is called what it is.
        for (log, placeholder, words) in [
            (&setup.api_log, "{api_log}", "the API's log"),
            (&setup.worker_log, "{worker_log}", "the worker's log"),
        ] {
            if log.is_none() && !text.contains(&format!("\"{placeholder}\"")) {
                text = text.replace(placeholder, words);
            }
        }
        self.filled(&text, |_| true)
    }

    /// The same for a command that will be pasted: what a shell or SQL would read as more than a name stays a
    /// word to replace.
    pub fn fill_command(&self, text: &str) -> String {
        self.filled(text, |value| {
            !value
                .chars()
                .any(|c| c.is_control() || "\"'`$\\!;|&<>(){}*?[]~#".contains(c))
        })
    }

    fn filled(&self, text: &str, may_stand: impl Fn(&str) -> bool) -> String {
        let setup = &self.timeline.setup;
        let task = self.task();
        let worker_pid = self
            .lines
            .iter()
            .find_map(|told| told.pid)
            .or_else(|| self.log_pids().first().copied())
            // A container's pid is another process here: a remedy must not name that.
            .filter(|pid| !self.means_several() && place::place_of(*pid).is_none());
        let values: [(&str, Option<String>); 11] = [
            ("{queue}", Some(setup.queue.clone())),
            ("{vhost}", Some(setup.vhost.clone())),
            ("{actor}", task.actor.or_else(|| setup.actor.clone())),
            ("{task_id}", task.id.clone()),
            // The application's own lines have the task's id.
            ("{message_id}", task.message_id.or(task.id)),
            ("{api_log}", setup.api_log.clone()),
            ("{worker_log}", setup.worker_log.clone()),
            ("{table}", setup.table.clone()),
            ("{id_column}", setup.id_column.clone()),
            ("{status_column}", setup.status_column.clone()),
            ("{worker_pid}", worker_pid.map(|pid| pid.to_string())),
        ];
        let command = Some(setup.worker_command.join(" ")).filter(|command| {
            // A code span ends with its backquote.
            !command.is_empty() && !command.contains(|c: char| c == '`' || c.is_control())
        });
        // Started so it would leave the queue out again.
        let worker = &self.framework().worker;
        let named = (worker.queues)(&setup.worker_command);
        let consumes = named.is_none_or(|queues| queues.contains(&setup.queue));
        let works = consumes && (worker.mistakes)(&setup.worker_command).is_empty();
        let command = command.filter(|_| works);
        let by_command = command.map_or_else(String::new, |command| format!(" (`{command}`)"));
        let mut out = text.replace("{by_command}", &by_command);
        let app = app_of(&setup.worker_command).filter(|app| may_stand(app));
        out = out.replace("{app}", app.unwrap_or("APP"));
        for (placeholder, value) in values {
            if let Some(value) = value.filter(|value| may_stand(value)) {
                out = out.replace(placeholder, &value);
            }
        }
        plain_placeholders(&out)
    }
}

/// The row's table as a sentence has it: its name may be a word of the language.
pub(in crate::diagnosis) fn named_table(story: &Story<'_>) -> String {
    match &story.timeline.setup.table {
        Some(table) => format!("table `{table}`"),
        None => "the table".into(),
    }
}

/// How many messages a queue holds beside the one that is spoken of.
pub(super) fn one_of(ready: u64) -> String {
    match ready {
        1 => "the only message there".into(),
        ready => format!("one of {ready}"),
    }
}

/// Celery's application, as the worker's command names it.
fn app_of(command: &[String]) -> Option<&str> {
    let inline = command.iter().find_map(|word| word.strip_prefix("--app="));
    let named = command
        .windows(2)
        .find(|words| matches!(words[0].as_str(), "-A" | "--app"))
        .map(|words| words[1].as_str());
    let app = inline.or(named)?;
    let is_plain = |c: char| c.is_alphanumeric() || "._:-/".contains(c);
    app.chars().all(is_plain).then_some(app)
}

/// What no run can fill in stands as a word to replace: `{queue}` becomes `QUEUE`.
pub fn plain_placeholders(text: &str) -> String {
    let mut out = text
        .replace("{by_command}", "")
        .replace("{fields}", "the field that the answer's `detail` names")
        .replace("{wait}", "the computed wait")
        .replace("{switch}", "the test switch")
        .replace("{row_table}", "schema.table")
        .replace("{container_command}", "docker start NAME");
    for name in [
        "queue",
        "vhost_encoded",
        "vhost",
        "actor",
        "task_id",
        "routes",
        "message_id",
        "table",
        "id_column",
        "status_column",
        "migration_pid",
        "holder",
        "place",
        "user",
        "taker",
        "due",
        "other_queue",
        "other_message",
        "other_actor",
        "container",
        "app",
        "worker_pid",
        "pid",
        "worker_log",
        "api_log",
        "management_url",
        "frame",
        "exception",
    ] {
        out = out.replace(&format!("{{{name}}}"), &name.to_uppercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::Story;
    use crate::diagnosis::testing::Scene;

    #[test]
    fn a_log_without_a_name_is_called_what_it_is() {
        let mut timeline = Scene::published().timeline;
        let remedy = "Read the traceback in {api_log}.";
        timeline.setup.api_log = None;
        assert_eq!(
            Story::new(&timeline).fill(remedy),
            "Read the traceback in the API's log."
        );
        timeline.setup.api_log = Some("api.log".into());
        assert_eq!(
            Story::new(&timeline).fill(remedy),
            "Read the traceback in api.log."
        );
    }

    #[test]
    fn the_workers_command_is_named_where_it_is_known() {
        let mut timeline = Scene::published().timeline;
        let remedy = "Start it{by_command}: `celery -A {app} control`.";
        assert_eq!(
            Story::new(&timeline).fill(remedy),
            "Start it: `celery -A APP control`."
        );
        timeline.setup.worker_command = ["celery", "-A", "shop", "worker"].map(str::to_owned).to_vec();
        assert_eq!(
            Story::new(&timeline).fill(remedy),
            "Start it (`celery -A shop worker`): `celery -A shop control`."
        );
        // One for other queues would not help.
        let of = |queues: &str| format!("celery -A shop worker -Q {queues}");
        timeline.setup.framework = "celery".into();
        for (queues, is_named) in [("mail,default", true), ("mail", false), ("default, mail", false)] {
            timeline.setup.worker_command = of(queues).split(' ').map(str::to_owned).collect();
            let filled = Story::new(&timeline).fill(remedy);
            assert_eq!(filled.contains(&of(queues)), is_named, "{filled}");
        }
    }

    #[test]
    fn a_command_takes_no_value_that_a_shell_would_read_as_more() {
        let mut timeline = Scene::published().timeline;
        for (queue, filled) in [
            ("emails", "x \"emails\""),
            ("a$(id)", "x \"QUEUE\""),
            ("a\nb", "x \"QUEUE\""),
        ] {
            timeline.setup.queue = queue.into();
            assert_eq!(Story::new(&timeline).fill_command("x \"{queue}\""), filled);
        }
    }
}
