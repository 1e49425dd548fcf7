//! The sample system, set up in the ways that tests want it.

use serde_json::json;

use crate::lab::run;
use crate::stack::Stack;
use crate::worker::{Dramatiq, Worker, fault, healthy};

/// The sample system with a fault on the API's side and a healthy worker.
pub fn with_api_fault(name: &str) -> Stack {
    with_api_fault_on(name, Dramatiq::Two)
}

pub fn with_api_fault_on(name: &str, dramatiq: Dramatiq) -> Stack {
    let mut stack = Stack::with(&format!("api-{name}{}", suffix(dramatiq)), dramatiq);
    stack.worker(healthy());
    stack.api_with_fault(name);
    stack
}

/// The sample system with a fault on the worker's side and a healthy API.
pub fn with_worker_fault(name: &str) -> Stack {
    with_worker_fault_on(name, Dramatiq::Two)
}

pub fn with_worker_fault_on(name: &str, dramatiq: Dramatiq) -> Stack {
    let mut stack = Stack::with(&format!("worker-{name}{}", suffix(dramatiq)), dramatiq);
    stack.worker(fault(name));
    stack.api(&[]);
    stack
}

/// The same where the row will never be final: once entered, only the time limit ends the wait.
pub fn with_row_fault(name: &str) -> Stack {
    let mut stack = with_worker_fault(name);
    stack.set("timing.timeout", "6s");
    stack
}

pub fn with_worker(name: &str, worker: Worker) -> Stack {
    let mut stack = Stack::new(name);
    stack.worker(worker);
    stack.api(&[]);
    stack
}

pub fn suffix(dramatiq: Dramatiq) -> &'static str {
    match dramatiq {
        Dramatiq::Two => "",
        Dramatiq::One => "-1",
    }
}

/// A message as Dramatiq writes it.
pub fn dramatiq_message(queue: &str, actor: &str, kwargs: serde_json::Value) -> String {
    json!({
        "queue_name": queue, "actor_name": actor, "args": [], "kwargs": kwargs, "options": {},
        "message_id": uuid::Uuid::new_v4().to_string(), "message_timestamp": 1_700_000_000_000_u64
    })
    .to_string()
}

/// Declares a queue and consumes it until the stack ends.
pub fn consume(stack: &mut Stack, queue: &'static str) {
    let connection = stack.amqp();
    let channel = run(connection.create_channel()).unwrap();
    run(channel.queue_declare(queue.into(), Default::default(), Default::default())).unwrap();
    let consumer = run(channel.basic_consume(
        queue.into(),
        "stranger".into(),
        Default::default(),
        Default::default(),
    ))
    .unwrap();
    // It ends with its connection.
    std::mem::forget((channel, consumer));
}
