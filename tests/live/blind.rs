//! Sources that cannot see: the verdict may become weaker, never wrong.

use crate::lab::{Lab, until};
use crate::proxy::{Line, Proxy};
use crate::stack::Stack;
use crate::system::{with_api_fault, with_worker, with_worker_fault};
use crate::worker::{fault, healthy};

#[test]
fn without_the_worker_log() {
    let mut stack = with_worker("no-log", healthy().log("elsewhere.log"));
    stack
        .diagnose(&[])
        .expect("A", "succeeded", 0)
        .blind("worker-log");
    let mut stack = with_worker("no-log-raise", fault("raise").log("elsewhere.log"));
    stack
        .diagnose(&[])
        .expect("A", "actor-raised", 10)
        .blind("worker-log");
}

#[test]
fn without_management() {
    let mut stack = with_api_fault("unknown-actor");
    let url = format!("http://lab:not-the-password@{}", Lab::get().management());
    stack.set("broker.management_url", url);
    stack
        .diagnose(&[])
        .expect("B", "unknown-actor", 10)
        .blind("management")
        .blind("firehose");
}

#[test]
fn without_the_firehose() {
    let mut stack = with_worker_fault("skip");
    stack.set("broker.trace", "off");
    stack
        .diagnose(&[])
        .expect("B", "message-skipped", 10)
        .blind("firehose");
}

/// The row is the only thing that says whether it succeeded.
#[test]
fn without_the_database() {
    let mut stack = with_worker("no-database", healthy());
    stack.unset("database");
    stack.unset("api.status_path");
    stack.set("timing.timeout", "6s");
    let verdict = stack.diagnose(&[]);
    assert_eq!(
        (verdict.scenario(), verdict.code()),
        ("A", Some(0)),
        "{}",
        verdict.explain()
    );
    verdict.outcome("succeeded").blind("database");
    let verdict = stack.diagnose(&["--expect", "entered"]);
    assert_eq!(
        (verdict.scenario(), verdict.code()),
        ("A", Some(0)),
        "{}",
        verdict.explain()
    );
}

/// Nothing but the API: it cannot be told, and that is what is said.
#[test]
fn without_anything() {
    let mut stack = Stack::new("blind");
    stack.api(&[]);
    stack.set(
        "broker.amqp_url",
        format!("amqp://lab:not-the-password@{}/{}", Lab::get().amqp(), stack.id),
    );
    stack.set(
        "broker.management_url",
        format!("http://lab:not-the-password@{}", Lab::get().management()),
    );
    stack.unset("database");
    stack.unset("worker");
    let verdict = stack.diagnose(&[]);
    assert_eq!(
        (verdict.scenario(), verdict.code()),
        ("none", Some(30)),
        "{}",
        verdict.explain()
    );
}

/// A connection that stands and answers nothing: a VPN that is gone, a firewall that forgot it.
#[test]
fn a_stalled_line_to_the_broker_is_no_silence() {
    let mut stack = Stack::new("stalled-line");
    stack.api(&[]);
    let proxy = Proxy::to(Lab::get().amqp());
    stack.set(
        "broker.amqp_url",
        format!("amqp://lab:lab@{}/{}", proxy.address, stack.id),
    );
    stack.set("timing.silence", "4s");
    let running = stack.start_diagnose(&[]);
    until("tracing is on", || stack.traces());
    proxy.becomes(Line::Frozen);
    // It also compares the vhost: tracing is off again, although the broker still keeps our queue.
    let verdict = running
        .finish(&stack)
        .blind("firehose")
        .blind("queue")
        .not_certain();
    assert!(verdict.code() != Some(0), "{}", verdict.explain());
    proxy.becomes(Line::Good);
}
