//! Accepted, but the row or the message is not where it should be.

use crate::stack::Stack;
use crate::system::with_api_fault;
use crate::worker::healthy;

#[test]
fn row_missing() {
    with_api_fault("row-and-message-missing")
        .diagnose(&[])
        .expect("C", "row-missing", 20)
        .at_least_likely()
        .stage("submitted")
        .record_as("row-missing");
}

/// The message was sent, the actor ran into the missing row.
#[test]
fn row_missing_for_the_actor() {
    let mut stack = with_api_fault("row-not-committed");
    let verdict = stack.diagnose(&[]);
    assert_eq!(verdict.cause(), "row-missing", "{}", verdict.explain());
    verdict
        .expect("A", "row-missing", 10)
        .outcome("failed")
        .contributes("actor-raised");
}

/// Where nobody consumes, a row that the worker would have created is only a consequence.
#[test]
fn row_missing_is_a_consequence() {
    let mut stack = Stack::new("row-consequence");
    stack.api_with_fault("row-missing");
    stack.diagnose(&[]).expect("C", "no-consumer", 20);
    stack.worker(healthy().env("OPS_WORKER_CREATES_ROW", "1"));
    stack.diagnose(&[]).expect("A", "succeeded", 0);
}

#[test]
fn not_published() {
    with_api_fault("not-dispatched-unconnected")
        .diagnose(&[])
        .expect("C", "not-published", 20)
        .stage("recorded")
        .record_as("not-published");
}

/// Connected to this very vhost, and nothing sent.
#[test]
fn not_dispatched() {
    let mut stack = with_api_fault("not-dispatched");
    // The management API lists a new connection some seconds late.
    stack.set("timing.silence", "8s");
    stack
        .diagnose(&[])
        .expect("C", "not-dispatched", 20)
        .stage("recorded")
        .record_as("not-dispatched");
}

/// Before the connection is listed, its vhost is not known: then nothing is certain.
#[test]
fn not_dispatched_or_not_published() {
    let verdict = with_api_fault("not-dispatched").diagnose(&[]);
    assert_eq!(
        (verdict.scenario(), verdict.code()),
        ("C", Some(20)),
        "{}",
        verdict.explain()
    );
    match verdict.cause() {
        "not-published" => drop(verdict.not_certain().cannot_tell("not-dispatched")),
        cause => assert_eq!(cause, "not-dispatched", "{}", verdict.explain()),
    }
}

#[test]
fn published_to_other_queue() {
    with_api_fault("other-queue")
        .diagnose(&[])
        .expect("C", "published-to-other-queue", 20)
        .certain()
        .sums_up("default_v2")
        .record_as("published-to-other-queue");
}
