//! The commands beside `diagnose`: `submit` and `check`.

use std::process::Output;

use serde_json::{Value as Json, json};

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

/// What a killed machine leaves: named with the command that removes it, and not removed.
#[test]
fn check_names_what_was_left_behind() {
    let _alone = crate::isolate::ROOM
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let stack = Stack::new("check-left");
    let id = format!("{:0>32x}", std::process::id());
    let vhost = format!("taskdiag.isolate.{id}");
    let path = format!("vhosts/{vhost}");
    let made = json!({ "description": "made by taskdiag diagnose --isolate for one run, 2026-01-01T00:00:00Z; can be deleted" });
    Lab::get().manage("PUT", &path, Some(made));
    let folder = stack.dir.join(format!("taskdiag-{id}"));
    std::fs::create_dir(&folder).expect("a folder");
    let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    std::fs::File::open(&folder)
        .and_then(|folder| folder.set_modified(hour_ago))
        .expect("aged");
    let ask = |arguments: &[&str]| {
        let mut command = stack.taskdiag("check");
        command.arg("--config").arg(stack.write_config()).args(arguments);
        command.env("TMPDIR", &stack.dir).output().expect("taskdiag runs")
    };
    let said = String::from_utf8_lossy(&ask(&[]).stdout).into_owned();
    let report: Json = serde_json::from_slice(&ask(&["--format", "json"]).stdout).expect("JSON");
    let there = Lab::get().ask("GET", &path, None).0;
    Lab::get().ask("DELETE", &path, None);
    assert!(
        said.contains(&format!("rabbitmqctl delete_vhost {vhost}")),
        "{said}"
    );
    assert!(said.contains("nobody is connected to it"), "{said}");
    assert!(said.contains(&format!("rm -r {}", folder.display())), "{said}");
    let kinds: Vec<_> = report["left_behind"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|one| &one["kind"])
        .collect();
    assert_eq!(kinds, ["vhost", "folder"], "{report:#}");
    assert!(there == 200 && folder.is_dir(), "check removes nothing");
}
