//! Another application than the sample system, configured only through `taskdiag.toml`.

use crate::stack::{Dramatiq, Stack, Verdict, Worker, healthy, repository};

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

fn billing(name: &str, api: &str, worker: Option<&str>) -> Stack {
    let mut stack = Stack::bare(&format!("billing-{name}"), Dramatiq::Two);
    stack.set_all(CONFIG);
    stack.set("api.url", format!("http://127.0.0.1:{}", crate::free_port()));
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

#[test]
fn published_to_other_queue() {
    with_api_fault("other-queue")
        .expect("C", "published-to-other-queue", 20)
        .certain()
        .sums_up("invoices.us");
}

#[test]
fn not_dispatched() {
    with_api_fault("not-dispatched")
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
    let diagnosis = stack.start_diagnose(&[]);
    // Published while the other is under way, most likely; if not, it proves less, but is no error.
    for _ in 0..20 {
        let body = crate::dramatiq_message(
            "invoices.eu",
            "send_reminder",
            serde_json::json!({ "job_id": 7, "amount": 41 }),
        );
        stack.publish("invoices.eu", &body);
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    diagnosis.finish(&stack).expect("A", "succeeded", 0);
}
