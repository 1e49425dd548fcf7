//! The commands beside `diagnose`: `submit` and `check`.

use std::process::Output;

use serde_json::Value as Json;

use crate::lab::Lab;
use crate::stack::Stack;
use crate::system::{with_worker, with_worker_fault};
use crate::worker::healthy;

fn taskdiag(stack: &Stack, command: &str, arguments: &[&str]) -> Output {
    let config = stack.write_config();
    let mut taskdiag = stack.taskdiag(command);
    taskdiag
        .arg("--config")
        .arg(config)
        .args(arguments)
        .output()
        .expect("taskdiag runs")
}

fn assert_code(output: &Output, code: i32) {
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), Some(code), "{said}");
}

/// The task id that `submit --format json` prints.
fn submitted(output: &Output) -> String {
    let report: Json = serde_json::from_slice(&output.stdout).expect("JSON on stdout");
    let id = report["task_id"]
        .as_str()
        .unwrap_or_else(|| panic!("no task id in {report:#}"));
    id.to_owned()
}

#[test]
fn submit_through_the_api() {
    let mut stack = Stack::new("submit");
    let output = taskdiag(&stack, "submit", &[]);
    assert_code(&output, 30);
    let api = stack.api(&[]);
    let output = taskdiag(&stack, "submit", &["--format", "json"]);
    assert_code(&output, 0);
    assert!(submitted(&output).starts_with("task_"));
    let output = taskdiag(&stack, "submit", &[]);
    assert_code(&output, 0);
    assert!(String::from_utf8_lossy(&output.stdout).contains("task_"));
    stack.kill(api);
    stack.api_with_fault("reject");
    let output = taskdiag(&stack, "submit", &[]);
    assert_code(&output, 10);
}

/// Published by taskdiag itself; the worker makes the row, and nothing else has touched it.
#[test]
fn submit_directly() {
    let mut stack = Stack::new("submit-direct");
    stack.set_all("[broker]\nkwargs = { task_id = \"{task_id}\", task_type = \"agent_task\", input_data = { prompt = \"direct\" } }");
    // No queue of this name yet: the broker returns a mandatory message.
    let output = taskdiag(&stack, "submit", &["--direct"]);
    assert_code(&output, 10);
    stack.worker(healthy().env("OPS_WORKER_CREATES_ROW", "1"));
    // The API makes the table.
    stack.api(&[]);
    let output = taskdiag(&stack, "submit", &["--direct", "--format", "json"]);
    assert_code(&output, 0);
    let id = submitted(&output);
    stack.until_logged("worker.log", &format!("ACTOR ENTRY POINT REACHED task_id={id}"));
    stack.until_logged("worker.log", &format!("task_id={id} status COMPLETED"));
}

#[test]
fn check_of_a_healthy_system() {
    let stack = with_worker("check", healthy());
    let before = stack.vhost();
    let output = taskdiag(&stack, "check", &[]);
    assert_code(&output, 0);
    assert!(!stack.read("api.log").contains("POST"), "a check submits nothing");
    assert_eq!(stack.vhost(), before);
}

#[test]
fn check_says_what_cannot_see() {
    let mut stack = with_worker_fault("noisy-hook");
    stack.set(
        "broker.management_url",
        format!("http://lab:not-the-password@{}", Lab::get().management()),
    );
    let output = taskdiag(&stack, "check", &[]);
    assert_code(&output, 30);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("management"), "{said}");
    assert!(!said.contains("not-the-password"), "{said}");
}
