//! Causes that every framework has, as Celery shows them.

use std::thread::sleep;
use std::time::Duration;

use crate::celery::{api, of_celery, order, program, program_in, shop, worker, worker_of};
use crate::lab::{Lab, until};
use crate::stack::Stack;

#[test]
fn an_argument_that_is_not_serialisable() {
    let mut stack = shop("not-serialisable");
    api(&mut stack, "not-serialisable");
    of_celery(stack.diagnose(&[]))
        .expect("B", "argument-not-serialisable", 10)
        .certain()
        .sums_up("Order is not JSON serializable");
}

/// The same shop in another vhost: the one of its staging, say.
fn elsewhere(name: &str, part: &str) -> (Stack, Stack) {
    let (mut stack, other) = (shop(name), shop(&format!("{name}-there")));
    let url = other.amqp_url("lab:lab");
    if part == "api" {
        worker(&mut stack, "");
        program_in(&mut stack, "api", "", &[("RABBITMQ_URL", &url)]);
    } else {
        let mut command = program(&stack, "celery");
        command
            .args(["-A", "shop", "worker", "-l", "INFO"])
            .env("RABBITMQ_URL", &url);
        stack.start("worker", "worker.log", command);
        stack.until_logged("worker.log", " ready.");
        api(&mut stack, "");
    }
    (stack, other)
}

#[test]
fn published_to_another_vhost() {
    let (mut stack, _other) = elsewhere("vhost", "api");
    // Connections are listed some seconds late.
    stack.set("timing.silence", "8s");
    of_celery(stack.diagnose(&[]))
        .expect("C", "published-to-other-vhost", 20)
        .at_least_likely();
}

#[test]
fn a_worker_in_another_vhost() {
    let (mut stack, _other) = elsewhere("worker-vhost", "worker");
    of_celery(stack.diagnose(&[]))
        .expect("C", "worker-on-other-vhost", 20)
        .at_least_likely();
}

/// The queue's exchange has no queue for that key.
#[test]
fn a_routing_key_that_leads_nowhere() {
    let mut stack = shop("wrong-key");
    worker(&mut stack, "");
    api(&mut stack, "wrong-key");
    of_celery(stack.diagnose(&[]))
        .expect("C", "unroutable", 20)
        .certain()
        .sums_up("`orders`");
}

#[test]
fn a_worker_that_is_still_importing() {
    let mut stack = shop("slow-import");
    worker_of(&mut stack, "slow-import", "shop", &["-l", "INFO"], None);
    api(&mut stack, "");
    of_celery(stack.diagnose(&[]))
        .expect("C", "worker-still-booting", 20)
        .at_least_likely();
}

/// Both children hang, and two more messages fill what the worker may hold.
fn full(name: &str) -> Stack {
    let mut stack = shop(name);
    let arguments = ["-l", "INFO", "--prefetch-multiplier", "1"];
    worker_of(&mut stack, "hangs", "shop", &arguments, Some("celery"));
    api(&mut stack, "");
    for _ in 0..4 {
        order(&stack);
    }
    until("the worker is full", || {
        let runs = stack.read("worker.log").matches("packing order").count();
        runs == 2 && stack.depth("celery").is_some_and(|(ready, _)| ready == 0)
    });
    stack
}

#[test]
fn workers_that_are_busy() {
    let mut stack = full("busy");
    // Whose consumer it is is known once the broker lists it, some seconds late.
    stack.set("timing.silence", "8s");
    let verdict = of_celery(stack.diagnose(&[]));
    let effect = verdict.json["cause"]["explains"][0]["id"].clone();
    verdict
        .expect("C", "actor-still-running", 20)
        .at_least_likely()
        .sums_up("print_label");
    assert_eq!(effect, "workers-busy");
}

/// The worker makes the queue again, and the message that waited in it is gone.
#[test]
fn a_queue_that_is_deleted_under_the_worker() {
    let mut stack = full("queue-deleted");
    stack.set("timing.silence", "5s");
    let running = stack.start_diagnose(&[]);
    until("our message waits", || {
        stack.depth("celery").is_some_and(|(ready, _)| ready == 1)
    });
    sleep(Duration::from_millis(500));
    Lab::get().manage("DELETE", &format!("queues/{}/celery", stack.id), None);
    of_celery(running.finish(&stack))
        .expect("B", "queue-deleted", 10)
        .at_least_likely();
}

/// A handler of `task_prerun` kills the child: the task's own code has not run.
#[test]
fn a_child_that_dies_before_the_task() {
    let mut stack = shop("prerun-dies");
    worker(&mut stack, "prerun-dies");
    api(&mut stack, "");
    // Its worker misses it, and says so, up to four seconds later.
    stack.set("timing.silence", "8s");
    let verdict = of_celery(stack.diagnose(&[])).at_least_likely();
    assert!(
        ["crash-before-entry", "worker-died-in-actor"].contains(&verdict.cause()),
        "{}",
        verdict.explain()
    );
}

#[test]
fn a_task_that_gives_itself_back() {
    let mut stack = shop("requeues");
    worker(&mut stack, "requeues");
    api(&mut stack, "");
    stack.set("timing.timeout", "6s");
    of_celery(stack.diagnose(&[]))
        .expect("A", "redelivery-loop", 10)
        .at_least_likely()
        .sums_up("Reject(requeue=True)");
}
