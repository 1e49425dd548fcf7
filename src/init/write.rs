//! The draft of a `taskdiag.toml`: every value says where it was seen, what was not found stands
//! there commented out.

use std::collections::BTreeMap;

use serde_json::Value as Json;

/// What is to be written, by key.
#[derive(Debug, Default)]
pub struct Draft {
    values: BTreeMap<&'static str, Found>,
    notes: BTreeMap<&'static str, Vec<String>>,
    suggestions: BTreeMap<&'static str, Json>,
    /// Texts that must not get into the file.
    pub secrets: Vec<String>,
}

#[derive(Debug, Clone)]
struct Found {
    value: Json,
    from: String,
}

/// Whether a key is worth a complaint when nothing was found for it.
#[derive(Clone, Copy, PartialEq)]
enum Want {
    Wanted,
    Optional,
}
use Want::{Optional, Wanted};

type Row = (&'static str, Want, &'static str, &'static str);

/// Every key that is written, with what it is for and an example.
const KEYS: &[(&str, &[Row])] = &[
    (
        "api",
        &[
            (
                "api.url",
                Wanted,
                "where the API answers",
                r#""http://localhost:8000""#,
            ),
            (
                "api.submit_path",
                Wanted,
                "where a task is posted",
                r#""/api/v1/tasks/""#,
            ),
            (
                "api.body",
                Wanted,
                "what is posted",
                r#"{ task_type = "example" }"#,
            ),
            (
                "api.headers",
                Optional,
                "sent with every request",
                r#"{ Authorization = "Bearer ${API_TOKEN}" }"#,
            ),
            (
                "api.task_id_pointer",
                Optional,
                "where the answer holds the task's id; without it the usual names are tried",
                r#""/task_id""#,
            ),
            (
                "api.status_path",
                Optional,
                "what the API says of a task",
                r#""/api/v1/tasks/{task_id}""#,
            ),
            (
                "api.status_pointer",
                Optional,
                "where that answer holds the status",
                r#""/status""#,
            ),
            (
                "api.log",
                Wanted,
                "the API's log: why it failed, or swallowed an error",
                r#"["api.log"]"#,
            ),
            (
                "api.log_command",
                Optional,
                "or a command that prints it",
                r#"["docker", "compose", "logs", "-f", "--no-log-prefix", "api"]"#,
            ),
            (
                "api.command",
                Optional,
                "how it is started",
                r#"["uvicorn", "app.main:app"]"#,
            ),
            ("api.python", Optional, "its Python environment", r#"".venv""#),
            ("api.cwd", Optional, "where it is started", r#"".""#),
        ],
    ),
    (
        "broker",
        &[
            (
                "broker.amqp_url",
                Wanted,
                "RabbitMQ; the path is the vhost",
                r#""amqp://guest:guest@localhost:5672/%2F""#,
            ),
            (
                "broker.management_url",
                Optional,
                "its management API; default: the broker's host, port 15672, the same user",
                r#""http://localhost:15672""#,
            ),
            (
                "broker.queue",
                Wanted,
                "the queue that the task's message goes to",
                r#""default""#,
            ),
            (
                "broker.actor",
                Wanted,
                "the actor that the message names",
                r#""my_actor""#,
            ),
            (
                "broker.kwargs",
                Optional,
                "arguments for `submit --direct`; \"{task_id}\" stands for a fresh id",
                r#"{ task_id = "{task_id}" }"#,
            ),
        ],
    ),
    (
        "database",
        &[
            (
                "database.url",
                Wanted,
                "PostgreSQL; only read",
                r#""postgres://readonly:${POSTGRES_PASSWORD}@localhost:5432/app""#,
            ),
            (
                "database.table",
                Wanted,
                "the table with a row for each task",
                r#""task""#,
            ),
            (
                "database.id_column",
                Wanted,
                "its column with the task's id",
                r#""task_id""#,
            ),
            (
                "database.status_column",
                Wanted,
                "its column with the status",
                r#""status""#,
            ),
            (
                "database.running",
                Wanted,
                "statuses that only the actor sets while it runs",
                r#"["RUNNING"]"#,
            ),
            (
                "database.succeeded",
                Wanted,
                "statuses of a task that is done",
                r#"["COMPLETED"]"#,
            ),
            (
                "database.failed",
                Wanted,
                "statuses of a task that failed",
                r#"["FAILED"]"#,
            ),
            (
                "database.error_column",
                Optional,
                "shown with a failed status",
                r#""error_message""#,
            ),
        ],
    ),
    (
        "worker",
        &[
            (
                "worker.log",
                Wanted,
                "the worker's log, from this machine",
                r#"["worker.log"]"#,
            ),
            (
                "worker.log_command",
                Optional,
                "or a command that prints it",
                r#"["docker", "compose", "logs", "-f", "--no-log-prefix", "worker"]"#,
            ),
            (
                "worker.entry_pattern",
                Wanted,
                "a regular expression for the line that the actor logs first",
                r#""actor started""#,
            ),
            (
                "worker.command",
                Wanted,
                "how it is started: tells its processes from others; -v logs every message",
                r#"["dramatiq", "-v", "app.worker"]"#,
            ),
            ("worker.python", Optional, "its Python environment", r#"".venv""#),
            (
                "worker.env",
                Optional,
                "variables that are set for it; an empty value unsets one",
                r#"{ PYTHONPATH = "src" }"#,
            ),
            ("worker.cwd", Optional, "where it is started", r#"".""#),
        ],
    ),
    (
        "services",
        &[
            (
                "services.up",
                Optional,
                "brings up what --start needs besides",
                r#"["docker", "compose", "up", "-d", "--wait", "postgres", "rabbitmq"]"#,
            ),
            (
                "services.down",
                Optional,
                "and stops it again",
                r#"["docker", "compose", "stop", "postgres", "rabbitmq"]"#,
            ),
        ],
    ),
    (
        "isolate",
        &[(
            "isolate.body",
            Optional,
            "the smallest body that the API accepts",
            "{ }",
        )],
    ),
    (
        "timing",
        &[
            (
                "timing.silence",
                Optional,
                "so long must nothing happen before silence is the answer",
                r#""10s""#,
            ),
            ("timing.timeout", Optional, "the whole run", r#""60s""#),
        ],
    ),
];

/// Without all of these the section says nothing, and would not be accepted.
const NEEDED: &[(&str, &[&str])] = &[
    ("api", &["api.url"]),
    (
        "database",
        &[
            "database.url",
            "database.table",
            "database.id_column",
            "database.status_column",
        ],
    ),
];

impl Draft {
    /// Sets a key unless it is set already: the best source speaks first.
    pub fn set(&mut self, key: &'static str, value: impl Into<Json>, from: impl Into<String>) {
        let value = value.into();
        self.values.entry(key).or_insert(Found {
            value,
            from: from.into(),
        });
    }

    pub fn note(&mut self, key: &'static str, text: impl Into<String>) {
        let text = text.into();
        let notes = self.notes.entry(key).or_default();
        if !notes.contains(&text) {
            notes.push(text);
        }
    }

    pub fn has(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    pub fn value(&self, key: &str) -> Option<&Json> {
        self.values.get(key).map(|found| &found.value)
    }

    /// An example from the project itself, for a key that stays commented out.
    pub fn suggest(&mut self, key: &'static str, value: impl Into<Json>) {
        self.suggestions.insert(key, value.into());
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.values.get(key)?.value.as_str()
    }

    /// What stands in the file: key, value and where it was seen.
    pub fn found(&self) -> Vec<(&'static str, String, String)> {
        rows()
            .filter_map(|(key, ..)| {
                let found = self.values.get(key)?;
                let held_back = if self.is_held_back(key) {
                    "; commented out until the section is complete"
                } else {
                    ""
                };
                let from = self.clean(&format!("{}{held_back}", found.from));
                Some((*key, self.clean(&toml(&found.value)), from))
            })
            .collect()
    }

    /// What was looked for in vain.
    pub fn missing(&self) -> Vec<(&'static str, &'static str)> {
        rows()
            .filter(|(key, want, ..)| {
                // A command that prints the log serves as well.
                let instead = self.has(&format!("{key}_command")) && key.ends_with(".log");
                *want == Wanted && !self.has(key) && !instead
            })
            .map(|(key, _, what, _)| (*key, *what))
            .collect()
    }

    fn is_held_back(&self, key: &str) -> bool {
        NEEDED.iter().any(|(section, keys)| {
            key.starts_with(&format!("{section}.")) && keys.iter().any(|key| !self.has(key))
        })
    }

    /// The file.
    pub fn render(&self, next: &[String]) -> String {
        let mut out = String::from(
            "# Drafted by `taskdiag init` from what it saw in this folder: each value says where. Read it through.\n\
             # What was not found stands commented out with an example. No password stands here: ${NAME} is\n\
             # taken from the environment.\n",
        );
        if !next.is_empty() {
            out.push_str("#\n");
            for line in next {
                out.push_str(&comment(&self.clean(line)));
            }
        }
        out.push_str("\nframework = \"dramatiq\"\n");
        for (section, rows) in KEYS {
            out.push_str(&format!("\n[{section}]\n"));
            let held_back = NEEDED
                .iter()
                .find(|(name, _)| name == section)
                .filter(|(_, keys)| {
                    keys.iter().any(|key| !self.has(key)) && rows.iter().any(|(key, ..)| self.has(key))
                });
            if let Some((_, keys)) = held_back {
                let missing: Vec<&str> = keys.iter().filter(|key| !self.has(key)).copied().collect();
                out.push_str(&comment(&format!(
                    "this section is commented out until it has {}",
                    missing.join(", ")
                )));
            }
            for row in *rows {
                out.push_str(&self.row(row));
            }
        }
        out
    }

    fn row(&self, (key, want, what, example): &Row) -> String {
        let name = key.rsplit('.').next().unwrap_or(key);
        let notes: String = self
            .notes
            .get(key)
            .into_iter()
            .flatten()
            .map(|note| comment(&self.clean(note)))
            .collect();
        match self.values.get(key) {
            Some(found) => {
                let sign = if self.is_held_back(key) { "# " } else { "" };
                let line = format!("{name} = {}", toml(&found.value));
                format!(
                    "{}{notes}{sign}{}\n",
                    comment(&self.clean(&format!("from {}", found.from))),
                    self.clean(&line)
                )
            }
            None if self.suggestions.contains_key(key) => {
                let value = self.suggestions.get(key).map(toml).unwrap_or_default();
                format!("{notes}# {name} = {}    # {what}\n", self.clean(&value))
            }
            None if *want == Wanted => {
                format!(
                    "{}{notes}# {name} = {example}\n",
                    comment(&format!("not found: {what}"))
                )
            }
            None => format!("{notes}# {name} = {example}    # {what}\n"),
        }
    }

    /// Without anything that authenticates. Weak passwords are words that stand everywhere: those
    /// are kept out where the values are made.
    fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in self.secrets.iter().filter(|secret| secret.len() >= 6) {
            text = text.replace(secret.as_str(), "***");
        }
        text
    }
}

fn rows() -> impl Iterator<Item = &'static Row> {
    KEYS.iter().flat_map(|(_, rows)| rows.iter())
}

/// One line, whatever is in it: a control character would end a TOML comment or be refused.
fn comment(text: &str) -> String {
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    format!("# {text}\n")
}

/// A value on one line of TOML. (The `toml` crate breaks texts and tables into several.)
fn toml(value: &Json) -> String {
    match value {
        Json::Null => "\"\"".into(),
        Json::Bool(flag) => flag.to_string(),
        Json::Number(number) if number.is_u64() && number.as_i64().is_none() => quoted(&number.to_string()),
        Json::Number(number) => number.to_string(),
        Json::String(text) => quoted(text),
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(toml).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(map) if map.is_empty() => "{ }".into(),
        Json::Object(map) => {
            let plain = |name: &str| {
                !name.is_empty()
                    && name
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
            };
            let pairs: Vec<String> = map
                .iter()
                .map(|(name, value)| {
                    let name = if plain(name) { name.clone() } else { quoted(name) };
                    format!("{name} = {}", toml(value))
                })
                .collect();
            format!("{{ {} }}", pairs.join(", "))
        }
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A `${` that is to stay one.
pub fn literal(text: &str) -> String {
    text.replace("${", "$${")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn loads(text: &str) -> Config {
        match Config::from_text(text) {
            Ok(config) => config,
            Err(error) => panic!("{error}\n{text}"),
        }
    }

    #[test]
    fn an_empty_draft_is_a_configuration() {
        let text = Draft::default().render(&[]);
        let config = loads(&text);
        assert!(config.api.is_none() && config.database.is_none());
        assert!(
            text.contains("# not found: where the API answers\n# url = "),
            "{text}"
        );
    }

    /// With every `# key = example` made a value it is a configuration too.
    #[test]
    fn the_examples_are_valid() {
        let text = Draft::default().render(&[]);
        let all = regex::Regex::new("(?m)^# ([a-z_]+ = )").expect("a pattern");
        let text = all.replace_all(&text, "$1").replace("${", "$${");
        let config = loads(&text);
        assert!(config.database.is_some());
    }

    #[test]
    fn an_incomplete_section_stays_commented_out() {
        let mut draft = Draft::default();
        draft.set("database.url", "postgres://h/d", ".env");
        draft.set("api.submit_path", "/x", "code");
        let text = draft.render(&[]);
        let config = loads(&text);
        assert!(config.database.is_none() && config.api.is_none());
        assert!(text.contains("# url = \"postgres://h/d\""), "{text}");
        assert!(draft.missing().iter().any(|(key, _)| *key == "api.url"));
        assert!(
            draft
                .found()
                .iter()
                .all(|(_, _, from)| from.contains("commented out"))
        );
    }

    #[test]
    fn nothing_breaks_out_of_a_comment_or_a_value() {
        let mut draft = Draft::default();
        let nasty = "a\nb = 1\r\u{7f}\"'''\\ \u{1b}[31m";
        draft.set("broker.queue", nasty, nasty);
        draft.note("broker.queue", nasty);
        draft.set("broker.actor", literal("x${y"), nasty);
        draft.set("worker.command", vec![nasty.to_owned()], "x");
        let text = draft.render(&[nasty.to_owned()]);
        let config = loads(&text);
        assert_eq!(config.worker.command, [nasty]);
        assert_eq!(config.broker.actor.as_deref(), Some("x${y"));
        assert_eq!(config.broker.queue, nasty);
    }

    #[test]
    fn a_password_does_not_get_in() {
        let mut draft = Draft {
            secrets: vec!["hunter22".into()],
            ..Draft::default()
        };
        draft.set(
            "worker.command",
            vec!["dramatiq".to_owned(), "--pw=hunter22".to_owned()],
            "hunter22",
        );
        draft.note("api.url", "hunter22");
        let text = draft.render(&["hunter22".into()]);
        assert!(!text.contains("hunter22"), "{text}");
        assert!(!format!("{:?}", draft.found()).contains("hunter22"));
    }
}
