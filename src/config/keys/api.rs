//! The rows of `[api]`.

use super::Kind::{Duration, Json, List, Path, Pointer, Table, Text};
use super::table::{HTTP, env, exec};
use super::{Key, Section};

pub(super) const API: Section = Section {
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
        Key::new(
            "api.path",
            Table,
            "what stands for each `{name}` in `submit_path` and `status_path`",
            r#"{ course = "7" }"#,
        )
        .absent(),
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
            "api.form",
            Table,
            "an HTML form to post, instead of `api.body`",
            r#"{ title = "taskdiag" }"#,
        )
        .absent(),
        Key::new(
            "api.files",
            Table,
            "files that are sent with the form (`multipart/form-data`): fields with paths",
            r#"{ document = "sample.pdf" }"#,
        )
        .absent(),
        Key::new(
            "api.csrf_path",
            Text,
            "the page that shows the form: its CSRF token and cookie are sent along",
            r#""/tasks/new""#,
        )
        .absent(),
        Key::new(
            "api.login",
            Json,
            "the request that logs in: `path`, and `body` or `form`; its token (`token_pointer`; without it the usual names are tried) is sent as a bearer, its cookies as well; `csrf_path` where the login is a form with a token",
            r#"{ path = "/token", form = { username = "taskdiag", password = "${API_PASSWORD}" }, token_pointer = "/access_token" }"#,
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
            r#"["docker", "compose", "logs", "-f", "api"]"#,
        ),
        Key::new(
            "api.command",
            List,
            "how it is started",
            r#"["uvicorn", "app.main:app"]"#,
        ),
        Key::new("api.python", Path, "its Python environment", r#"".venv""#),
        env("api.env", r#"{ DEBUG = "" }"#).absent(),
        Key::new("api.cwd", Path, "where it is started", r#"".""#).otherwise("the file's folder"),
        exec("api.exec", r#"["docker", "compose", "exec", "-T", "api"]"#),
    ],
};
