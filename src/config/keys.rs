//! Every key of a configuration, in one table: how its value is read, what `init` writes of it, and
//! docs/configuration.md all come from here.
//!
//! To add a key: a row here, and a field of `Config` that is read from it.

use strum::VariantNames;

use super::Trace;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A URL with one of these schemes.
    Url(&'static [&'static str]),
    /// Relative to the file.
    Path,
    /// A number with its unit.
    Duration,
    /// A JSON Pointer: empty, or a slash and names.
    Pointer,
    /// A regular expression.
    Pattern,
    /// Strings; a single one need not be in brackets.
    List,
    /// Names with strings.
    Table,
    /// Anything that JSON can express.
    Json,
}

impl Kind {
    /// What a reader is told to write.
    pub fn words(self) -> String {
        match self {
            Self::Text => "text".into(),
            Self::Choice(words) => words.join(", "),
            Self::Url(schemes) => format!("URL ({})", schemes.join(", ")),
            Self::Path => "path".into(),
            Self::Duration => "duration".into(),
            Self::Pointer => "JSON Pointer".into(),
            Self::Pattern => "regular expression".into(),
            Self::List => "list of texts".into(),
            Self::Table => "table of texts".into(),
            Self::Json => "any value".into(),
        }
    }

    /// In a variable or a flag, text that begins with a bracket is such a value, not a string.
    pub fn is_structured(self) -> bool {
        matches!(self, Self::List | Self::Table | Self::Json)
    }
}

/// What `init` does with a key that it found no value for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InDraft {
    /// Says that it is missing, with an example.
    Wanted,
    /// Shows the example.
    Optional,
    /// Leaves it out: few projects need it.
    Absent,
}

#[derive(Debug)]
pub struct Key {
    /// With its section: `api.url`. Free tables (`body`, `headers` …) are one key.
    pub name: &'static str,
    pub kind: Kind,
    pub about: &'static str,
    /// A value, in TOML.
    pub example: &'static str,
    /// What holds without it, for readers. Values are set where the key is read.
    pub default: &'static str,
    pub in_draft: InDraft,
}

impl Key {
    const fn new(name: &'static str, kind: Kind, about: &'static str, example: &'static str) -> Self {
        Self {
            name,
            kind,
            about,
            example,
            default: "",
            in_draft: InDraft::Optional,
        }
    }

    const fn default(mut self, default: &'static str) -> Self {
        self.default = default;
        self
    }

    const fn wanted(mut self) -> Self {
        self.in_draft = InDraft::Wanted;
        self
    }

    const fn absent(mut self) -> Self {
        self.in_draft = InDraft::Absent;
        self
    }

    /// What it is for, and what holds without it where the example does not show that.
    pub fn about_with_default(&self) -> String {
        if self.default.is_empty() || self.default == self.example.trim_matches('"') {
            return self.about.to_owned();
        }
        format!("{}; default: {}", self.about, self.default)
    }

    /// Without its section.
    pub fn last(&self) -> &'static str {
        last(self.name)
    }

    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("TASKDIAG_{}", self.name.replace('.', "_").to_uppercase())
    }
}

#[derive(Debug)]
pub struct Section {
    /// Empty for the keys above all sections.
    pub name: &'static str,
    pub about: &'static str,
    /// Keys without which the others of the section say nothing, and are not accepted.
    pub needs: &'static [&'static str],
    pub keys: &'static [Key],
}

impl Section {
    pub fn holds(&self, key: &str) -> bool {
        self.keys.iter().any(|row| row.name == key)
    }
}

use Kind::{Choice, Duration, Json, List, Path, Pattern, Pointer, Table, Text, Url};

const HTTP: Kind = Url(&["http", "https"]);

pub const SECTIONS: &[Section] = &[
    Section {
        name: "",
        about: "",
        needs: &[],
        keys: &[Key::new(
            "framework",
            Text,
            "the task framework that the workers run",
            r#""dramatiq""#,
        )
        .default("dramatiq")],
    },
    Section {
        name: "api",
        about: "The application that accepts tasks. Without a `url` only its log is read, which is enough for `--task`.",
        needs: &["api.url"],
        keys: &[
            Key::new(
                "api.url",
                HTTP,
                "where the API answers",
                r#""http://localhost:8000""#,
            )
            .wanted(),
            Key::new(
                "api.submit_path",
                Text,
                "where a task is posted",
                r#""/api/v1/tasks/""#,
            )
            .default("/")
            .wanted(),
            Key::new("api.body", Json, "what is posted", r#"{ task_type = "example" }"#)
                .default("{ }")
                .wanted(),
            Key::new(
                "api.body_file",
                Path,
                "a file with the JSON to post, instead of `api.body`",
                r#""task.json""#,
            )
            .absent(),
            Key::new(
                "api.headers",
                Table,
                "sent with every request",
                r#"{ Authorization = "Bearer ${API_TOKEN}" }"#,
            ),
            Key::new(
                "api.task_id_pointer",
                Pointer,
                "where the answer holds the task's id; without it the usual names are tried",
                r#""/task_id""#,
            ),
            Key::new(
                "api.status_path",
                Text,
                "what the API says of a task",
                r#""/api/v1/tasks/{task_id}""#,
            ),
            Key::new(
                "api.status_pointer",
                Pointer,
                "where that answer holds the status",
                r#""/status""#,
            )
            .default("/status"),
            Key::new(
                "api.timeout",
                Duration,
                "how long to wait for an answer",
                r#""10s""#,
            )
            .default("10s")
            .absent(),
            Key::new(
                "api.log",
                List,
                "the API's log: why it failed, or swallowed an error",
                r#"["api.log"]"#,
            )
            .wanted(),
            Key::new(
                "api.log_command",
                List,
                "or a command that prints it",
                r#"["docker", "compose", "logs", "-f", "--no-log-prefix", "api"]"#,
            ),
            Key::new(
                "api.command",
                List,
                "how it is started",
                r#"["uvicorn", "app.main:app"]"#,
            ),
            Key::new("api.python", Path, "its Python environment", r#"".venv""#),
            Key::new(
                "api.env",
                Table,
                "variables that are set for it; an empty value unsets one",
                r#"{ DEBUG = "" }"#,
            )
            .absent(),
            Key::new("api.cwd", Path, "where it is started", r#"".""#).default("the file's folder"),
        ],
    },
    Section {
        name: "broker",
        about: "RabbitMQ, and the message that a task becomes.",
        needs: &[],
        keys: &[
            Key::new(
                "broker.amqp_url",
                Url(&["amqp", "amqps"]),
                "RabbitMQ; the path is the vhost",
                r#""amqp://guest:guest@localhost:5672/%2F""#,
            )
            .default("amqp://guest:guest@localhost:5672/%2F")
            .wanted(),
            Key::new(
                "broker.management_url",
                HTTP,
                "its management API",
                r#""http://localhost:15672""#,
            )
            .default("the broker's host, port 15672 (15671 with TLS), the same user"),
            Key::new(
                "broker.queue",
                Text,
                "the queue that the task's message goes to",
                r#""default""#,
            )
            .default("default")
            .wanted(),
            Key::new(
                "broker.actor",
                Text,
                "the actor that the message names",
                r#""my_actor""#,
            )
            .wanted(),
            Key::new(
                "broker.args",
                Json,
                "positional arguments for `submit --direct`",
                "[]",
            )
            .default("[ ]")
            .absent(),
            Key::new(
                "broker.kwargs",
                Json,
                "arguments for `submit --direct`; \"{task_id}\" stands for a fresh id",
                r#"{ task_id = "{task_id}" }"#,
            )
            .default(r#"{ task_id = "{task_id}" }"#),
            Key::new(
                "broker.trace",
                Choice(Trace::VARIANTS),
                "whether RabbitMQ's tracing (the firehose) may be switched on",
                r#""auto""#,
            )
            .default("auto")
            .absent(),
            Key::new(
                "broker.ca_file",
                Path,
                "the certificate authority of amqps:// and https://, where it is your own",
                r#""ca.pem""#,
            )
            .absent(),
            Key::new(
                "broker.client_cert",
                Path,
                "the client certificate",
                r#""client.pem""#,
            )
            .absent(),
            Key::new("broker.client_key", Path, "its key", r#""client.key""#).absent(),
        ],
    },
    Section {
        name: "database",
        about: "The table in PostgreSQL with a row for each task. It is only read.",
        needs: &[
            "database.url",
            "database.table",
            "database.id_column",
            "database.status_column",
        ],
        keys: &[
            Key::new(
                "database.url",
                Url(&["postgres", "postgresql"]),
                "PostgreSQL; only read",
                r#""postgres://readonly:${POSTGRES_PASSWORD}@localhost:5432/app""#,
            )
            .wanted(),
            Key::new(
                "database.table",
                Text,
                "the table with a row for each task",
                r#""task""#,
            )
            .wanted(),
            Key::new(
                "database.id_column",
                Text,
                "its column with the task's id",
                r#""task_id""#,
            )
            .wanted(),
            Key::new(
                "database.status_column",
                Text,
                "its column with the status",
                r#""status""#,
            )
            .wanted(),
            Key::new(
                "database.running",
                List,
                "statuses that only a running actor sets",
                r#"["RUNNING"]"#,
            )
            .wanted(),
            Key::new(
                "database.succeeded",
                List,
                "statuses of a task that is done",
                r#"["COMPLETED"]"#,
            )
            .wanted(),
            Key::new(
                "database.failed",
                List,
                "statuses of a task that failed",
                r#"["FAILED"]"#,
            )
            .wanted(),
            Key::new(
                "database.error_column",
                Text,
                "shown with a failed status",
                r#""error_message""#,
            ),
        ],
    },
    Section {
        name: "worker",
        about: "The program that runs the tasks.",
        needs: &[],
        keys: &[
            Key::new(
                "worker.log",
                List,
                "the worker's log, from this machine",
                r#"["worker.log"]"#,
            )
            .wanted(),
            Key::new(
                "worker.log_command",
                List,
                "or a command that prints it",
                r#"["docker", "compose", "logs", "-f", "--no-log-prefix", "worker"]"#,
            ),
            Key::new(
                "worker.entry_pattern",
                Pattern,
                "a regular expression for the line that the actor logs first",
                r#""actor started""#,
            )
            .wanted(),
            Key::new(
                "worker.command",
                List,
                "how it is started: tells its processes from others; -v logs every message",
                r#"["dramatiq", "-v", "app.worker"]"#,
            )
            .wanted(),
            Key::new("worker.python", Path, "its Python environment", r#"".venv""#),
            Key::new(
                "worker.env",
                Table,
                "variables that are set for it; an empty value unsets one",
                r#"{ PYTHONPATH = "src" }"#,
            ),
            Key::new("worker.cwd", Path, "where it is started", r#"".""#).default("the file's folder"),
        ],
    },
    Section {
        name: "services",
        about: "What `diagnose --start` needs besides the API and the worker.",
        needs: &[],
        keys: &[
            Key::new(
                "services.up",
                List,
                "brings up what --start needs besides",
                r#"["docker", "compose", "up", "-d", "--wait", "postgres", "rabbitmq"]"#,
            ),
            Key::new(
                "services.down",
                List,
                "and stops it again",
                r#"["docker", "compose", "stop", "postgres", "rabbitmq"]"#,
            ),
        ],
    },
    Section {
        name: "isolate",
        about: "For `diagnose --isolate`.",
        needs: &[],
        keys: &[Key::new(
            "isolate.body",
            Json,
            "the smallest body that the API accepts",
            "{ }",
        )],
    },
    Section {
        name: "timing",
        about: "How long to watch.",
        needs: &[],
        keys: &[
            Key::new(
                "timing.silence",
                Duration,
                "how long nothing may happen before the verdict is \"silence\"",
                r#""10s""#,
            )
            .default("10s"),
            Key::new("timing.timeout", Duration, "the whole run", r#""60s""#).default("60s"),
        ],
    },
];

/// In the order of the table.
pub fn all() -> impl Iterator<Item = &'static Key> {
    SECTIONS.iter().flat_map(|section| section.keys)
}

pub fn find(name: &str) -> Option<&'static Key> {
    all().find(|key| key.name == name)
}

/// What there is instead of a key that is unknown: the keys of its section, or the sections.
pub(super) fn known(name: &str) -> String {
    let section = name.split_once('.').map_or(name, |(section, _)| section);
    match SECTIONS
        .iter()
        .find(|known| !section.is_empty() && known.name == section)
    {
        Some(section) => {
            let names: Vec<&str> = section.keys.iter().map(Key::last).collect();
            format!("[{}] has {}", section.name, names.join(", "))
        }
        None => {
            let names = SECTIONS.iter().filter(|known| !known.name.is_empty());
            let names: Vec<String> = names.map(|known| format!("[{}]", known.name)).collect();
            format!("there are {}", names.join(", "))
        }
    }
}

/// A key without its section.
pub(super) fn last(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}
