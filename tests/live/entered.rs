//! Delivered, and yet the actor's code did not run.

use crate::stack::Stack;
use crate::system::{with_api_fault, with_api_fault_on, with_worker_fault};
use crate::verdict::Verdict;
use crate::worker::{Dramatiq, fault, healthy};

fn unknown_actor_on(dramatiq: Dramatiq) -> Verdict {
    with_api_fault_on("unknown-actor", dramatiq)
        .diagnose(&[])
        .expect("B", "unknown-actor", 10)
        .at_least_likely()
        .sums_up("execute_agent_task_v2")
}

#[test]
fn unknown_actor() {
    unknown_actor_on(Dramatiq::Two).record_as("unknown-actor");
}

#[test]
fn unknown_actor_with_dramatiq_1() {
    unknown_actor_on(Dramatiq::One);
}

#[test]
fn unknown_actor_without_verbose_log() {
    let mut stack = Stack::new("unknown-actor-quiet");
    stack.worker(healthy().quiet());
    stack.api_with_fault("unknown-actor");
    // Which actor it should be is not configured: any may be the task's.
    stack.unset("broker.actor");
    stack
        .diagnose(&[])
        .expect("B", "unknown-actor", 10)
        .sums_up("execute_agent_task_v2");
}

#[test]
fn decode_error() {
    with_api_fault("garbage")
        .diagnose(&[])
        .expect("B", "decode-error", 10)
        .at_least_likely()
        .record_as("decode-error");
}

#[test]
fn message_skipped() {
    with_worker_fault("skip")
        .diagnose(&[])
        .expect("B", "message-skipped", 10)
        .certain()
        .record_as("message-skipped");
}

fn bad_arguments_on(dramatiq: Dramatiq) -> Verdict {
    with_api_fault_on("bad-arguments", dramatiq)
        .diagnose(&[])
        .expect("B", "bad-arguments", 10)
        .certain()
        .sums_up("priority")
}

#[test]
fn bad_arguments() {
    bad_arguments_on(Dramatiq::Two).record_as("bad-arguments");
}

#[test]
fn bad_arguments_with_dramatiq_1() {
    bad_arguments_on(Dramatiq::One);
}

#[test]
fn bad_arguments_for_an_old_worker() {
    with_worker_fault("old-signature")
        .diagnose(&[])
        .expect("B", "bad-arguments", 10)
        .sums_up("input_data");
}

/// A stranger's worker on the same queue knows no such actor and dead-letters what it takes.
#[test]
fn taken_by_other_worker() {
    let mut stack = Stack::new("other-worker");
    let folder = stack.dir.clone();
    std::fs::write(folder.join("newsletter.py"), NEWSLETTER).unwrap();
    // The first to consume is the first to be served.
    stack.worker(healthy().module(&folder, "newsletter").log("newsletter.log"));
    stack.worker(healthy());
    stack.api(&[]);
    let verdict = stack.diagnose(&[]);
    assert!(
        stack
            .read("newsletter.log")
            .contains("undefined actor 'execute_agent_task_actor'")
    );
    verdict
        .expect("B", "taken-by-other-worker", 10)
        .at_least_likely()
        .record_as("taken-by-other-worker");
}

/// Another start of the same code, which hangs before it calls the actor.
#[test]
fn taken_by_another_start_of_the_worker() {
    let mut stack = Stack::new("other-start");
    stack.worker(fault("hang-in-hook").log("forgotten.log"));
    stack.worker(healthy());
    stack.api(&[]);
    stack
        .diagnose(&[])
        .expect("C", "taken-by-other-worker", 20)
        .stage("delivered");
}

const NEWSLETTER: &str = r#"
import os

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

dramatiq.set_broker(RabbitmqBroker(url=os.environ["RABBITMQ_URL"]))


@dramatiq.actor
def send_newsletter(address):
    print("sent to", address)
"#;

#[test]
fn a_hook_before_the_actor_raises() {
    with_worker_fault("raise-in-hook")
        .diagnose(&[])
        .expect("B", "raised-before-entry", 10)
        .certain()
        .says("no tenant acme-7")
        .record_as("raised-before-entry");
}
