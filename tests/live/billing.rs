//! Another application than the sample system, configured only through `taskdiag.toml`.

use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::lab::{free_port, repository};
use crate::stack::Stack;
use crate::system::dramatiq_message;
use crate::verdict::{Running, Verdict};
use crate::worker::{Dramatiq, Worker, healthy};

const CONFIG: &str = r#"
    [api]
    submit_path = "/invoices"
    body = { customer = "Ada & Sons", lines = 90 }
    status_path = "/invoices/{task_id}"
    status_pointer = "/data/state"
    log = ["api.log"]

    [broker]
    queue = "invoices.eu"

    [database]
    table = "billing.invoice_jobs"
    id_column = "id"
    status_column = "state"
    running = ["working"]
    succeeded = ["done"]
    failed = ["broken"]
    error_column = "reason"

    [worker]
    log = ["worker.log"]
    entry_pattern = "rendering started"
"#;

pub fn billing(name: &str, api: &str, worker: Option<&str>) -> Stack {
    let mut stack = Stack::bare(&format!("billing-{name}"), Dramatiq::Two);
    stack.set_all(CONFIG);
    stack.set("api.url", format!("http://127.0.0.1:{}", free_port()));
    let folder = repository().join("fixtures/billing");
    if let Some(fault) = worker {
        stack.worker(billing_worker(fault));
    }
    stack.module_api(&folder, "billing.api", &[("BILLING_FAULT", api)], "/up");
    stack
}

fn billing_worker(fault: &str) -> Worker {
    healthy()
        .arguments(&["--processes", "1", "--threads", "3"])
        .module(&repository().join("fixtures/billing"), "billing.worker")
        .env("BILLING_FAULT", fault)
        .consumes("invoices.eu")
}

fn with_api_fault(fault: &str) -> Verdict {
    billing(fault, fault, Some("")).diagnose(&[])
}

fn with_worker_fault(fault: &str) -> Verdict {
    let mut stack = billing(fault, "", Some(fault));
    stack.set("timing.timeout", "6s");
    stack.diagnose(&[])
}

#[test]
fn succeeded() {
    let verdict = billing("healthy", "", Some(""))
        .diagnose(&[])
        .expect("A", "succeeded", 0)
        .outcome("succeeded");
    assert_eq!(verdict.json["task"]["id"], "41", "{}", verdict.explain());
    assert_eq!(
        verdict.json["task"]["queue"],
        "invoices.eu",
        "{}",
        verdict.explain()
    );
    assert_eq!(
        verdict.json["task"]["actor"],
        "render_invoice",
        "{}",
        verdict.explain()
    );
    verdict.sees(&["api", "database", "management", "firehose", "queue", "worker-log"]);
}

#[test]
fn actor_raised() {
    with_worker_fault("raise")
        .expect("A", "actor-raised", 10)
        .outcome("failed")
        .says("layout() takes 1 positional argument");
}

#[test]
fn bad_arguments() {
    with_api_fault("bad-arguments")
        .expect("B", "bad-arguments", 10)
        .sums_up("render_invoice");
}

#[test]
fn unknown_actor() {
    with_api_fault("unknown-actor")
        .expect("B", "unknown-actor", 10)
        .sums_up("render_invoice_pdf");
}

#[test]
fn row_rolled_back() {
    with_worker_fault("rollback")
        .expect("A", "row-rolled-back", 10)
        .outcome("unfinished");
}

#[test]
fn row_never_written() {
    with_worker_fault("never-written")
        .expect("A", "row-never-written", 10)
        .outcome("unfinished");
}

#[test]
fn no_consumer() {
    billing("no-worker", "", None)
        .diagnose(&[])
        .expect("C", "no-consumer", 20)
        .says("invoices.eu");
}

/// No actor is configured, and 41 may stand in any message: likely is enough.
#[test]
fn published_to_other_queue() {
    with_api_fault("other-queue")
        .expect("C", "published-to-other-queue", 20)
        .at_least_likely()
        .sums_up("invoices.us");
}

#[test]
fn not_dispatched() {
    let mut stack = billing("not-dispatched", "not-dispatched", Some(""));
    // The management API lists a new connection some seconds late.
    stack.set("timing.silence", "8s");
    stack
        .diagnose(&[])
        .expect("C", "not-dispatched", 20)
        .stage("recorded");
}

#[test]
fn actor_still_running() {
    with_worker_fault("hang")
        .expect("A", "actor-still-running", 10)
        .outcome("unfinished");
}

/// The id of this task is a number that stands in other messages too.
#[test]
fn succeeded_beside_a_message_with_the_same_number() {
    let mut stack = billing("same-number", "", Some(""));
    stack.set("broker.actor", "render_invoice");
    let mut diagnosis = stack.start_diagnose(&[]);
    while !diagnosis.has_ended() {
        let reminder = json!({ "job_id": 7, "amount": 41 });
        stack.publish(
            "invoices.eu",
            &dramatiq_message("invoices.eu", "send_reminder", reminder),
        );
        sleep(Duration::from_millis(20));
    }
    diagnosis.finish(&stack).expect("A", "succeeded", 0);
}

/// Publishes jobs of others until the diagnosis ends.
fn finish_in_traffic(stack: &mut Stack, mut diagnosis: Running) -> Verdict {
    while !diagnosis.has_ended() {
        let message = dramatiq_message("invoices.eu", "render_invoice", json!({}));
        let mut message: Json = serde_json::from_str(&message).unwrap();
        message["args"] = json!([900_001, { "lines": 3 }]);
        stack.publish("invoices.eu", &message.to_string());
        sleep(Duration::from_millis(300));
    }
    diagnosis.finish(stack)
}

/// The entry line carries no id: those of other jobs are not ours.
#[test]
fn not_dispatched_while_others_are() {
    let mut stack = billing("others-dispatched", "not-dispatched", Some(""));
    stack.set("timing.silence", "8s");
    let diagnosis = stack.start_diagnose(&[]);
    finish_in_traffic(&mut stack, diagnosis)
        .expect("C", "not-dispatched", 20)
        .stage("recorded");
}

/// The same for a failure without any id in its line.
#[test]
fn published_elsewhere_while_others_fail() {
    let mut stack = billing("others-fail", "other-queue", Some("raise"));
    let diagnosis = stack.start_diagnose(&[]);
    finish_in_traffic(&mut stack, diagnosis).expect("C", "published-to-other-queue", 20);
}
