//! A project that nothing is known of: drafted, checked, diagnosed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::lab::{free_port, repository};
use crate::stack::Stack;
use crate::worker::{Dramatiq, healthy};

/// A copy of a fixture: other tests run processes in the original.
fn project(stack: &Stack, fixture: &str) -> PathBuf {
    let folder = stack.dir.join("project");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(repository().join("fixtures").join(fixture))
        .arg(&folder)
        .status()
        .expect("cp runs");
    assert!(copied.success());
    folder
}

fn ask(stack: &Stack, folder: &Path, arguments: &[&str], env: &[(&str, String)]) -> Output {
    let (subcommand, rest) = arguments.split_first().expect("a subcommand");
    let mut command = stack.taskdiag(subcommand);
    command.args(rest).current_dir(folder).stdin(Stdio::null());
    for name in ["RABBITMQ_URL", "DATABASE_URL"] {
        command.env_remove(name);
    }
    command.envs(env.iter().map(|(name, value)| (name, value)));
    command.output().expect("taskdiag runs")
}

fn said(output: &Output) -> String {
    format!(
        "{:?}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// Drafts, and returns the file.
fn init(stack: &Stack, folder: &Path) -> String {
    let output = ask(stack, folder, &["init"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = fs::read_to_string(folder.join("taskdiag.toml")).expect("it was written");
    assert!(!text.contains("lab:lab"), "{text}");
    text
}

fn environment(stack: &Stack) -> [(&'static str, String); 2] {
    [
        ("RABBITMQ_URL", stack.amqp_url("lab:lab")),
        ("DATABASE_URL", stack.database_url("lab:lab")),
    ]
}

#[test]
fn ops_core() {
    let mut stack = Stack::bare("init-ops-core", Dramatiq::Two);
    let folder = project(&stack, "ops_core");
    let database = stack
        .database_url("lab:lab")
        .replace("postgres:", "postgresql+asyncpg:");
    let dotenv = format!(
        "RABBITMQ_URL={}\nDATABASE_URL={database}\n",
        stack.amqp_url("lab:lab")
    );
    fs::write(folder.join(".env"), dotenv).unwrap();
    fs::write(folder.join(".gitignore"), ".env\n").unwrap();
    stack.set("api.url", format!("http://127.0.0.1:{}", free_port()));
    stack.api_in(&folder, &[]);
    stack.worker(healthy().module(&folder, "ops_core.tasks.worker"));
    let text = init(&stack, &folder);
    for line in [
        "submit_path = \"/api/v1/tasks/\"",
        "status_path = \"/api/v1/tasks/{task_id}\"",
        "amqp_url = \"${RABBITMQ_URL}\"",
        "queue = \"default\"",
        "actor = \"execute_agent_task_actor\"",
        "table = \"task\"",
        "id_column = \"task_id\"",
        "succeeded = [\"COMPLETED\"]",
        "error_column = \"error_message\"",
        "entry_pattern = \"!!!!!! ACTOR ENTRY POINT REACHED task_id=\"",
        "command = [\"dramatiq\", \"-v\", \"--processes\", \"1\", \"--threads\", \"2\", \"ops_core.tasks.worker\"]",
        "# from .env line 1 (RABBITMQ_URL)",
        "# from .env line 2 (DATABASE_URL)",
    ] {
        assert!(
            text.lines().any(|known| known == line),
            "{line} is not in\n{text}"
        );
    }
    let mut env = environment(&stack);
    env[1].1 = database;
    let checked = ask(&stack, &folder, &["check"], &env);
    assert_eq!(checked.status.code(), Some(0), "{}\n{text}", said(&checked));
    let diagnosed = ask(&stack, &folder, &["diagnose"], &env);
    assert_eq!(diagnosed.status.code(), Some(0), "{}\n{text}", said(&diagnosed));
    // Once written it is the user's.
    let again = ask(&stack, &folder, &["init"], &[]);
    assert_eq!(again.status.code(), Some(30), "{}", said(&again));
    assert_eq!(fs::read_to_string(folder.join("taskdiag.toml")).unwrap(), text);
    let printed = ask(&stack, &folder, &["init", "--print"], &[]);
    // There is a row by now; what is found stays the same.
    let again = String::from_utf8_lossy(&printed.stdout);
    assert!(
        again.contains("table = \"task\"") && !again.contains("Found:"),
        "{}",
        said(&printed)
    );
}

/// No `.env`, no OpenAPI, another table, another queue: what the processes and the database show.
#[test]
fn billing() {
    let mut stack = Stack::bare("init-billing", Dramatiq::Two);
    let folder = project(&stack, "billing");
    stack.set("api.url", format!("http://127.0.0.1:{}", free_port()));
    let worker = healthy()
        .arguments(&["--processes", "1", "--threads", "3"])
        .module(&folder, "billing.worker")
        .consumes("invoices.eu");
    stack.worker(worker);
    stack.module_api(&folder, "billing.api", &[], "/up");
    let text = init(&stack, &folder);
    for line in [
        "amqp_url = \"${RABBITMQ_URL}\"",
        "queue = \"invoices.eu\"",
        "actor = \"render_invoice\"",
        "table = \"billing.invoice_jobs\"",
        "id_column = \"id\"",
        "status_column = \"state\"",
        "running = [\"working\"]",
        "succeeded = [\"done\"]",
        "failed = [\"broken\"]",
        "error_column = \"reason\"",
        "entry_pattern = \"rendering started\"",
    ] {
        assert!(
            text.lines().any(|known| known == line),
            "{line} is not in\n{text}"
        );
    }
    let env = environment(&stack);
    let checked = ask(&stack, &folder, &["check"], &env);
    assert_eq!(checked.status.code(), Some(0), "{}\n{text}", said(&checked));
    // How it is submitted to stands nowhere.
    let submission = [
        "diagnose",
        "--set",
        "api.submit_path=/invoices",
        "--set",
        "api.body={ customer = \"Ada\" }",
    ];
    let diagnosed = ask(&stack, &folder, &submission, &env);
    assert_eq!(diagnosed.status.code(), Some(0), "{}\n{text}", said(&diagnosed));
}

#[test]
fn a_folder_with_nothing_in_it() {
    let stack = Stack::bare("init-nothing", Dramatiq::Two);
    let folder = stack.dir.join("empty");
    fs::create_dir(&folder).unwrap();
    let output = ask(&stack, &folder, &["init"], &[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("it is a template"), "{}", said(&output));
    assert!(folder.join("taskdiag.toml").is_file());
}
