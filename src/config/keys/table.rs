//! The table: one row for each key, in the order in which they are shown.

use strum::VariantNames;

use super::Kind::{self, Choice, Duration, Json, List, Path, Pattern, Table, Text, Url};
use super::api::API;
use super::{Key, Section};
use crate::config::{Control, Trace};

pub(super) const HTTP: Kind = Url(&["http", "https"]);

pub(super) const fn env(name: &'static str, example: &'static str) -> Key {
    let about = "variables that are set for it; an empty value unsets one";
    Key::new(name, Table, about, example)
}

pub(super) const fn exec(name: &'static str, example: &'static str) -> Key {
    let about = "a prefix that runs a program where it runs: `check` and `diagnose` see the processes there";
    Key::new(name, List, about, example).absent()
}

pub const SECTIONS: &[Section] = &[
    Section {
        name: "",
        about: "",
        needs: &[],
        keys: &[Key::new(
            "framework",
            Text,
            "the task framework that the workers run: dramatiq or celery",
            r#""celery""#,
        )
        .default("dramatiq")],
    },
    API,
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
            .otherwise("the broker's host, port 15672 (15671 with TLS), the same user"),
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
                "arguments for `submit --direct`, which needs these or `broker.args`; \"{task_id}\" stands for a fresh id",
                r#"{ task_id = "{task_id}" }"#,
            ),
            Key::new(
                "broker.trace",
                Choice(Trace::VARIANTS),
                "whether RabbitMQ's tracing (the firehose) may be switched on",
                r#""auto""#,
            )
            .default("auto")
            .absent(),
            Key::new(
                "broker.control",
                Choice(Control::VARIANTS),
                "whether Celery workers are listened to and asked (`inspect`)",
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
                r#"["docker", "compose", "logs", "-f", "worker"]"#,
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
            env("worker.env", r#"{ PYTHONPATH = "src" }"#),
            Key::new("worker.cwd", Path, "where it is started", r#"".""#).otherwise("the file's folder"),
            exec("worker.exec", r#"["docker", "compose", "exec", "-T", "worker"]"#),
        ],
    },
    Section {
        name: "submit",
        about: "Instead of [api]: a command that sends a task and ends, as management commands and jobs of cron do.",
        needs: &["submit.command"],
        keys: &[
            Key::new(
                "submit.command",
                List,
                "sends one task",
                r#"["python", "manage.py", "send_report"]"#,
            )
            .absent(),
            Key::new(
                "submit.task_id_pattern",
                Pattern,
                "finds the task's id in what the command prints: its first group",
                r#""queued ([0-9a-f-]{36})""#,
            )
            .otherwise("the only message that is sent meanwhile names the task")
            .absent(),
            Key::new("submit.python", Path, "its Python environment", r#"".venv""#).absent(),
            env("submit.env", r#"{ DEBUG = "" }"#).absent(),
            Key::new("submit.cwd", Path, "where it is started", r#"".""#)
                .otherwise("the file's folder")
                .absent(),
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
        name: "containers",
        about: "The container engine of this machine, Docker or Podman. Only GETs of its API are sent.",
        needs: &[],
        keys: &[Key::new(
            "containers.engine",
            Text,
            "`auto` (the socket that the `docker` command would use, if there is one), `off`, or the address of its socket",
            r#""auto""#,
        )
        .default("auto")],
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
