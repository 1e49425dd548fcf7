//! In the queue, and no worker takes it.

use crate::lab::{Lab, free_port, until};
use crate::stack::Stack;
use crate::system::{suffix, with_api_fault, with_worker};
use crate::verdict::Verdict;
use crate::worker::{Dramatiq, fault, healthy};

/// The message is where it belongs; it is the worker that looks elsewhere.
#[test]
fn worker_on_other_queue() {
    let mut stack = Stack::new("worker-other-queue");
    stack.worker(fault("other-queue").consumes("default_v2"));
    stack.api(&[]);
    stack
        .diagnose(&[])
        .expect("C", "worker-on-other-queue", 20)
        .stage("published")
        .says("default_v2");
}

#[test]
fn no_consumer() {
    let mut stack = Stack::new("no-consumer");
    stack.api(&[]);
    stack
        .diagnose(&[])
        .expect("C", "no-consumer", 20)
        .at_least_likely()
        .stage("published")
        .ruled_out("row-missing")
        .ruled_out("not-published")
        .record_as("no-consumer");
}

/// Killed, all of it, in the middle of the day: the log ends without a word.
#[test]
fn no_consumer_after_a_kill() {
    let mut stack = with_worker("killed", healthy());
    let worker = stack.pid_of("worker");
    stack.kill(worker);
    until("the broker notices", || {
        stack
            .depth("default")
            .is_some_and(|(_, consumers)| consumers == 0)
    });
    stack
        .diagnose(&[])
        .expect("C", "no-consumer", 20)
        .stage("published");
}

#[test]
fn worker_not_started() {
    let mut stack = Stack::new("import-error");
    let worker = stack.worker(fault("import-error").without_waiting());
    stack.api(&[]);
    assert_eq!(stack.wait_for_end(worker).code(), Some(2));
    stack
        .diagnose(&[])
        .expect("B", "worker-not-started", 10)
        .at_least_likely()
        .stage("published")
        .sums_up("No module named 'ops_agents'")
        .record_as("worker-not-started");
}

#[test]
fn worker_not_started_for_a_value_error() {
    let mut stack = Stack::new("boot-error");
    let worker = stack.worker(fault("boot-error").without_waiting());
    stack.api(&[]);
    stack.wait_for_end(worker);
    stack
        .diagnose(&[])
        .expect("B", "worker-not-started", 10)
        .sums_up("OPS_MODEL must be one of");
}

/// `-v` takes no value: `2` is taken for the first module.
#[test]
fn worker_not_started_for_its_arguments() {
    let mut stack = Stack::new("verbose-2");
    let worker = stack.worker(healthy().arguments(&["-v", "2"]).without_waiting());
    stack.api(&[]);
    stack.wait_for_end(worker);
    stack
        .diagnose(&[])
        .expect("B", "worker-not-started", 10)
        .sums_up("No module named '2'");
}

fn worker_cannot_connect_on(dramatiq: Dramatiq) -> Verdict {
    let mut stack = Stack::with(&format!("refused{}", suffix(dramatiq)), dramatiq);
    let url = stack.amqp_url("lab:not-the-password");
    stack.worker(healthy().env("RABBITMQ_URL", &url).without_waiting());
    stack.api(&[]);
    stack.until_logged("worker.log", "Restarting consumer");
    stack
        .diagnose(&[])
        .expect("B", "worker-cannot-connect", 10)
        .at_least_likely()
        .sums_up("ACCESS_REFUSED")
}

#[test]
fn worker_cannot_connect() {
    worker_cannot_connect_on(Dramatiq::Two)
        .stage("published")
        .record_as("worker-cannot-connect");
}

#[test]
fn worker_cannot_connect_with_dramatiq_1() {
    worker_cannot_connect_on(Dramatiq::One);
}

#[test]
fn worker_cannot_connect_to_a_vhost_or_port() {
    let mut stack = Stack::new("no-vhost");
    let url = stack.amqp_url("lab:lab");
    let worker = stack.worker(
        healthy()
            .env("RABBITMQ_URL", &format!("{url}-staging"))
            .without_waiting(),
    );
    stack.api(&[]);
    stack.until_logged("worker.log", "Restarting consumer");
    stack.diagnose(&[]).expect("B", "worker-cannot-connect", 10);
    stack.kill(worker);

    let nobody = format!("amqp://lab:lab@127.0.0.1:{}/{}", free_port(), stack.id);
    std::fs::remove_file(stack.dir.join("worker.log")).unwrap();
    stack.worker(healthy().env("RABBITMQ_URL", &nobody).without_waiting());
    stack.until_logged("worker.log", "Restarting consumer");
    stack.diagnose(&[]).expect("B", "worker-cannot-connect", 10);
}

/// Its connections were cut once, and it came back: an old error proves nothing.
#[test]
fn worker_connected_again() {
    let mut stack = with_worker("reconnected", healthy().env("dramatiq_restart_delay", "500"));
    let lab = Lab::get();
    // Connections show in the management API some seconds late.
    until("both consumers have lost their connections", || {
        let connections = lab.manage("GET", &format!("vhosts/{}/connections", stack.id), None);
        for connection in connections.as_array().into_iter().flatten() {
            if connection["client_properties"]["product"] == "Pika Python Client Library" {
                let name = connection["name"]
                    .as_str()
                    .unwrap()
                    .replace(' ', "%20")
                    .replace('>', "%3E");
                // It may be gone by now.
                lab.ask("DELETE", &format!("connections/{name}"), None);
            }
        }
        stack
            .read("worker.log")
            .matches("Consumer encountered a connection error")
            .count()
            >= 2
    });
    for queue in ["default", "default.DQ"] {
        until("the worker consumes again", || {
            stack.depth(queue).is_some_and(|(_, consumers)| consumers == 1)
        });
    }
    stack.diagnose(&[]).expect("A", "succeeded", 0);
}

#[test]
fn delayed() {
    with_api_fault("delay")
        .diagnose(&[])
        .expect("C", "delayed", 20)
        .certain()
        .stage("published")
        .record_as("delayed");
}

/// A delay that ends while we watch.
#[test]
fn delayed_for_a_second() {
    let mut stack = Stack::new("delay-1s");
    stack.worker(healthy());
    stack.api(&[("OPS_API_FAULT", "delay"), ("OPS_DELAY_MS", "1000")]);
    stack.set("timing.silence", "5s");
    stack.diagnose(&[]).expect("A", "succeeded", 0);
}

/// The queue itself is looked at on request, while nobody consumes there; then its message is known to wait.
#[test]
fn a_look_at_the_work_queue() {
    let mut stack = Stack::new("peek-main");
    stack.api(&[]);
    let verdict = stack.diagnose(&[]).expect("C", "no-consumer", 20);
    let task = verdict.json["task"]["id"].as_str().expect("an id").to_owned();
    let verdict = stack.diagnose(&["--task", &task]);
    assert_ne!(verdict.json["message"]["state"], "ready", "{}", verdict.text);
    let verdict = stack.diagnose(&["--task", &task, "--peek-main"]);
    let verdict = verdict
        .expect("C", "no-consumer", 20)
        .at_least_likely()
        .stage("published");
    assert!(
        verdict.text.contains("lies on default: execute_agent_task_actor"),
        "{}",
        verdict.text
    );
    // Nothing was taken away.
    assert_eq!(stack.depth("default"), Some((1, 0)));
    stack.worker(healthy());
    until("the task is done", || stack.depth("default") == Some((0, 1)));
    stack
        .diagnose(&["--task", &task, "--peek-main"])
        .says("refused: it has 1 consumer");
}
