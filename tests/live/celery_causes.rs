//! Causes on the sample system on Celery that need more than one switch of it.

use serde_json::{Value as Json, json};

use crate::celery::{api, of_celery, program, program_in, shop, worker, worker_of};
use crate::lab::{Lab, until};
use crate::stack::Stack;

/// The application sends these itself, as another service of the project would.
fn send(stack: &Stack, code: &str) {
    let mut python = program(stack, "python");
    let code = format!("import django; django.setup(); import shop; from shop import tasks; {code}");
    let sent = python.args(["-c", &code]).output().expect("Python runs");
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
}

#[test]
fn ran_in_the_api() {
    let mut stack = shop("eager");
    worker(&mut stack, "");
    api(&mut stack, "eager");
    of_celery(stack.diagnose(&[]))
        .expect("A", "succeeded", 30)
        .contributes("ran-in-the-api");
}

/// Tasks for later fill its hands, while one of its children runs another task and one is free.
#[test]
fn eta_blocks_worker_beside_a_task_that_runs() {
    let mut stack = shop("eta-beside");
    worker(&mut stack, "eta-limit-hangs");
    send(
        &stack,
        "tasks.fulfil_order.delay('00000000-0000-0000-0000-000000000000')",
    );
    stack.until_logged("worker.log", "packing order");
    // Twice the limit: on RabbitMQ 4 it is the prefetch from the start that counts.
    send(
        &stack,
        "[tasks.build_report.apply_async(('late',), countdown=600) for _ in range(8)]",
    );
    until("its hands are full", || {
        let taken = stack.read("worker.log").matches("build_report[").count() as u64;
        stack.depth("celery").is_some_and(|(ready, _)| taken + ready == 8)
    });
    api(&mut stack, "");
    stack.set("timing.silence", "6s");
    of_celery(stack.diagnose(&[]))
        .expect("C", "eta-blocks-worker", 20)
        .at_least_likely()
        .sums_up("has room for another");
}

/// A user of the broker that may not write to the default exchange.
fn limited(stack: &Stack) -> String {
    let (lab, name) = (Lab::get(), format!("{}-limited", stack.id));
    let user = json!({ "password": "lab", "tags": "" });
    lab.manage("PUT", &format!("users/{name}"), Some(user));
    let rights = json!({ "configure": ".*", "write": "^celery.*", "read": ".*" });
    lab.manage("PUT", &format!("permissions/{}/{name}", stack.id), Some(rights));
    name
}

#[test]
fn publish_refused() {
    let mut stack = shop("publish-refused");
    worker(&mut stack, "");
    let user = limited(&stack);
    let url = stack.amqp_url(&format!("{user}:lab"));
    program_in(&mut stack, "api", "", &[("RABBITMQ_URL", &url)]);
    stack.set("timing.silence", "9s");
    let verdict = stack.diagnose(&[]);
    Lab::get().manage("DELETE", &format!("users/{user}"), None);
    of_celery(verdict)
        .expect("C", "publish-refused", 20)
        .at_least_likely()
        .sums_up("`^celery.*`");
}

#[test]
fn api_cannot_enqueue_to_a_vhost_that_is_not_there() {
    let mut stack = shop("no-vhost");
    worker(&mut stack, "");
    let url = format!("{}-nowhere", stack.amqp_url("lab:lab"));
    program_in(&mut stack, "api", "", &[("RABBITMQ_URL", &url)]);
    of_celery(stack.diagnose(&[]))
        .expect("B", "api-cannot-enqueue", 10)
        .sums_up("NOT_ALLOWED");
}

#[test]
fn test_broker_by_a_variable() {
    let mut stack = shop("memory");
    worker(&mut stack, "");
    program_in(&mut stack, "api", "", &[("RABBITMQ_URL", "memory://")]);
    of_celery(stack.diagnose(&[]))
        .expect("C", "test-broker", 20)
        .at_least_likely();
}

#[test]
fn a_limit_that_threads_do_not_enforce() {
    let mut stack = shop("limit-threads");
    worker_of(
        &mut stack,
        "hard-limit",
        "shop",
        &["-l", "INFO", "-P", "threads"],
        Some("celery"),
    );
    api(&mut stack, "");
    stack.set("timing.timeout", "10s");
    of_celery(stack.diagnose(&[]))
        .expect("A", "actor-still-running", 10)
        .sums_up("does not enforce it");
}

/// Pickle, which no worker of the project takes.
#[test]
fn decode_error() {
    let mut stack = shop("pickle");
    worker(&mut stack, "");
    api(&mut stack, "pickle");
    of_celery(stack.diagnose(&[]))
        .expect("B", "decode-error", 10)
        .certain();
}

/// The exchange of the queue has lost its binding: the broker drops the message when its time comes.
#[test]
fn delay_queue_stuck() {
    let mut stack = shop("delay-stuck");
    let quorum = [("SHOP_QUEUES", "quorum")];
    program_in(&mut stack, "worker", "", &quorum);
    program_in(&mut stack, "api", "countdown-soon", &quorum);
    let bindings = format!("bindings/{}/e/celery_delayed_delivery", stack.id);
    for destination in ["e/celery", "q/celery"] {
        let path = format!("{bindings}/{destination}");
        let (status, found) = Lab::get().ask("GET", &path, None);
        for binding in found.as_array().into_iter().flatten().filter(|_| status == 200) {
            let key = binding["properties_key"]
                .as_str()
                .expect("a key")
                .replace('#', "%23");
            Lab::get().manage("DELETE", &format!("{path}/{key}"), None);
        }
    }
    stack.set("timing.silence", "12s");
    stack.set("timing.timeout", "25s");
    of_celery(stack.diagnose(&[]))
        .expect("C", "delay-queue-stuck", 20)
        .at_least_likely();
}

/// Messages for a queue that nobody consumes, beside the one that is configured.
#[test]
fn check_names_every_queue_with_messages_and_no_consumer() {
    let mut stack = shop("check-orders");
    worker(&mut stack, "");
    send(
        &stack,
        "[tasks.build_report.apply_async(('x',), queue='orders') for _ in range(3)]",
    );
    let found = |stack: &Stack| -> String {
        let mut check = stack.taskdiag("check");
        check
            .args(["--format", "json", "--config"])
            .arg(stack.write_config());
        let checked = check.output().expect("taskdiag runs");
        let checked: Json = serde_json::from_slice(&checked.stdout).expect("JSON");
        checked["findings"].to_string()
    };
    // The broker counts what is on a quorum queue every few seconds only.
    let wanted = "queue `orders` of this vhost has no consumer; 3 messages wait in it";
    until("the broker lists them", || found(&stack).contains(wanted));
    worker_of(
        &mut stack,
        "",
        "shop",
        &["-l", "INFO", "-Q", "orders", "-n", "orders@%h"],
        Some("orders"),
    );
    until("they are done", || {
        stack.depth("orders").is_some_and(|(ready, _)| ready == 0)
    });
    until("the broker's list has followed", || {
        !found(&stack).contains("of this vhost has no consumer")
    });
}
