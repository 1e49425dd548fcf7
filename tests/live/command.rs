//! Tasks that a command of the application sends, and no API.

use crate::stack::Stack;
use crate::worker::healthy;

/// A stack in which `ops_core.send_report` sends the task.
fn stack(name: &str, arguments: &[&str]) -> Stack {
    let mut stack = Stack::new(name);
    stack.unset("api");
    let mut tables = stack.python("python");
    let python = tables.get_program().to_string_lossy().into_owned();
    let folder = tables
        .get_current_dir()
        .expect("its folder")
        .display()
        .to_string();
    let env: toml::Table = tables
        .get_envs()
        .filter_map(|(name, value)| {
            let value = value?.to_string_lossy().into_owned();
            Some((name.to_string_lossy().into_owned(), value.into()))
        })
        .chain([("PYTHONPATH".to_owned(), folder.into())])
        .collect();
    tables.args(["-m", "ops_core.send_report", "tables"]);
    assert!(tables.status().expect("Python runs").success());
    let mut command = vec![python.as_str(), "-m", "ops_core.send_report"];
    command.extend(arguments);
    stack.set("submit.command", command);
    stack.set("submit.env", env);
    stack
}

const PATTERN: &str = "queued (task_[0-9a-f]+)";

#[test]
fn a_task_that_a_command_sends() {
    let mut stack = stack("command", &[]);
    stack.worker(healthy());
    stack.set("submit.task_id_pattern", PATTERN);
    stack.diagnose(&[]).expect("A", "succeeded", 0).certain();
    // Without the pattern its message tells; its row is not known then.
    stack.unset("submit.task_id_pattern");
    stack
        .diagnose(&[])
        .expect("A", "none", 30)
        .says("set submit.task_id_pattern");
    stack.unset("database");
    stack.diagnose(&[]).expect("A", "succeeded", 0);
}

#[test]
fn a_task_that_a_command_sends_to_nobody() {
    let mut stack = stack("command-no-consumer", &[]);
    stack.set("submit.task_id_pattern", PATTERN);
    stack
        .diagnose(&[])
        .expect("C", "no-consumer", 20)
        .at_least_likely()
        .record_as("no-consumer-by-command");
}

#[test]
fn a_command_that_raises() {
    let mut stack = stack("command-raises", &["raise"]);
    stack
        .diagnose(&[])
        .expect("B", "submit-command-failed", 10)
        .certain()
        .sums_up("exit code 1: LookupError: no template")
        .record_as("submit-command-failed");
}

/// Its message was seen: what comes of that is what counts.
#[test]
fn a_command_that_raises_when_the_task_is_sent() {
    let mut stack = stack("command-late", &["late"]);
    stack.worker(healthy());
    stack.set("submit.task_id_pattern", PATTERN);
    stack.diagnose(&[]).expect("A", "succeeded", 0);
}

#[test]
fn a_command_that_sends_nothing() {
    let mut stack = stack("command-nothing", &["nothing"]);
    stack.worker(healthy());
    let verdict = stack.diagnose(&[]).expect("C", "not-published", 20);
    assert_eq!(verdict.certainty(), "likely", "{}", verdict.text);
    assert!(
        verdict.summary().contains("0 reports due"),
        "{}",
        verdict.summary()
    );
    assert!(!verdict.summary().contains("the API"), "{}", verdict.summary());
}
