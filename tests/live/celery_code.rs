//! Workers on Celery whose files have changed since they were started.

use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use crate::celery::{of_celery, program_in, shop};
use crate::lab::repository;
use crate::stack::Stack;
use crate::verdict::Verdict;

/// The sources of the sample system in a folder of the test's own.
fn own_copy(stack: &Stack) -> PathBuf {
    let (from, to) = (
        repository().join("fixtures/celery_shop/shop"),
        stack.dir.join("code"),
    );
    fs::create_dir_all(to.join("shop")).expect("a folder");
    for entry in fs::read_dir(from).expect("the sources").flatten() {
        if entry.path().is_file() {
            fs::copy(entry.path(), to.join("shop").join(entry.file_name())).expect("copied");
        }
    }
    to
}

/// A worker is started, then its tasks are edited, then the API is started.
fn edited(name: &str, fault: &str, old: &str, new: &str) -> Verdict {
    let mut stack = shop(name);
    let code = own_copy(&stack);
    let shown = code.display().to_string();
    let env = [("PYTHONPATH", shown.as_str())];
    program_in(&mut stack, "worker", "", &env);
    // Times of files and processes are compared.
    sleep(Duration::from_millis(1500));
    let tasks = code.join("shop/tasks.py");
    let text = fs::read_to_string(&tasks).expect("tasks");
    assert!(text.contains(old), "{text}");
    fs::write(&tasks, text.replace(old, new)).expect("written");
    program_in(&mut stack, "api", fault, &env);
    of_celery(stack.diagnose(&[]))
}

const TASK: &str = "@shared_task\ndef check_stock";

#[test]
fn a_task_that_was_added_since() {
    edited(
        "stale-task",
        "unregistered",
        TASK,
        &format!("@shared_task\ndef renamed(order_id):\n    pass\n\n\n{TASK}"),
    )
    .expect("B", "stale-code", 10)
    .at_least_likely()
    .sums_up("shop/tasks.py");
}

#[test]
fn a_parameter_that_was_added_since() {
    edited(
        "stale-parameter",
        "bad-arguments",
        "def fulfil_order(self, order_id)",
        "def fulfil_order(self, order_id, note)",
    )
    .expect("B", "stale-code", 10)
    .at_least_likely()
    .sums_up("note");
}

/// The file is younger than the worker, and the call would be as wrong after a restart.
#[test]
fn a_wrong_call_and_another_change() {
    edited("stale-not", "bad-arguments", TASK, &format!("# stock\n{TASK}")).expect("B", "bad-arguments", 10);
}

#[test]
fn a_healthy_worker_whose_file_is_younger() {
    edited("stale-fine", "", TASK, &format!("# stock\n{TASK}"))
        .expect("A", "succeeded", 0)
        .outcome("succeeded");
}
