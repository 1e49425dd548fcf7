//! A node that is down, and the queues that live on it.

use std::fs;

use serde_json::{Value as Json, json};

use crate::cluster::{start_api, submit, watched};
use crate::lab::until;
use crate::nodes::alone;
use crate::stack::Stack;
use crate::worker::{Worker, healthy};

fn at(stack: &Stack, node: usize, worker: Worker) -> Worker {
    let (variable, url) = stack.at_node(node);
    worker.env(variable, &url)
}

/// The classic queue lives on the node that its worker declared it at, and that node stops.
#[test]
fn queue_whose_node_is_down() {
    let mut alone = alone();
    let home = alone.cluster.names[1].clone();
    let mut stack = Stack::clustered(alone.cluster.from(0), "queue-down");
    // A quorum queue outlives a node.
    stack.default_queue_type("classic");
    let worker = at(&stack, 1, healthy());
    let first = stack.worker(worker);
    start_api(&mut stack, 0, &[]);
    // The API has declared the queue once, and will not do so again.
    submit(&stack);
    stack.until_logged("worker.log", "Acknowledging message");
    stack.kill(first);
    alone.stop(1);
    // A new worker at the node that is left is refused by the broker: its queue is not gone.
    let worker = at(&stack, 0, healthy().without_waiting());
    stack.worker(worker);
    until("the broker's refusal is in worker.log", || {
        let log = stack.read("worker.log");
        log.contains("home node") || log.contains("process is stopped by supervisor")
    });
    // From RabbitMQ 4.3 on its words name no node.
    let home = match stack.read("worker.log").contains("home node") {
        true => home,
        false => "its home node is down".to_owned(),
    };
    stack
        .diagnose(&[])
        .expect("B", "queue-unavailable", 10)
        .certain()
        .stage("recorded")
        .sums_up(&home)
        .sums_up("RabbitMQ dropped it")
        .ruled_out("unroutable")
        .record_as("queue-unavailable");
    // Without the management API, and from the worker's log alone.
    stack.set("broker.management_url", "http://127.0.0.1:1");
    stack
        .diagnose(&[])
        .expect("B", "queue-unavailable", 10)
        .at_least_likely();
    let management = format!("http://lab:lab@{}", stack.brokers[0].management);
    stack.set("broker.management_url", management);

    let checked = stack
        .taskdiag("check")
        .arg("--config")
        .arg(stack.write_config())
        .output();
    let checked = String::from_utf8(checked.expect("taskdiag runs").stdout).expect("text");
    assert!(checked.contains("queue `default` is down: its"), "{checked}");
    assert!(checked.contains("(down)"), "{checked}");
    let rows = watched(&stack, &["default"]);
    let last = rows.last().expect("a row");
    assert_eq!(last["state"], "stuck: queue is down", "{rows:#?}");
    assert_eq!(last["ready"]["value"], Json::Null, "{rows:#?}");

    // It comes back during the run: the message that was sent meanwhile does not.
    stack.set("timing.silence", "25s");
    stack.set("timing.timeout", "40s");
    let running = stack.start_diagnose(&[]);
    until("the message was sent", || {
        fs::read_to_string(&running.recording).is_ok_and(|text| text.contains("\"answered\""))
            || stack.read("api.log").matches("POST /api/v1/tasks/").count() >= 4
    });
    alone.start(1);
    running
        .finish(&stack)
        .expect("B", "queue-unavailable", 10)
        .certain()
        .sums_up("it is back since");
}

/// Nothing is sent during an alarm: the broker would publish it once the alarm is over, whoever sent it.
#[test]
fn a_direct_submit_during_an_alarm_sends_nothing() {
    let alone = alone();
    let mut stack = Stack::clustered(alone.cluster.from(0), "alarm");
    stack.set_all("[broker]\nkwargs = { task_id = \"{task_id}\" }");
    let queue = format!("queues/{}/default", stack.id);
    stack.brokers[0].manage("PUT", &queue, Some(json!({ "durable": true })));
    let watermark = |limit: &[&str]| {
        let mut arguments = vec!["-q", "set_vm_memory_high_watermark"];
        arguments.extend(limit);
        alone.cluster.ctl(0, &arguments);
    };
    watermark(&["absolute", "1MB"]);
    let mut command = stack.taskdiag("submit");
    let submitted = command
        .args(["--direct", "--config"])
        .arg(stack.write_config())
        .output();
    watermark(&["0.4"]);
    let submitted = submitted.expect("taskdiag runs");
    let said = String::from_utf8_lossy(&submitted.stderr);
    assert_eq!(submitted.status.code(), Some(30), "{said}");
    assert!(
        said.contains("blocks publishers") && said.contains("nothing was sent"),
        "{said}"
    );
    let mut command = stack.taskdiag("submit");
    let submitted = command
        .args(["--direct", "--config"])
        .arg(stack.write_config())
        .output();
    assert!(submitted.expect("taskdiag runs").status.success());
    assert_eq!(
        stack.depth("default"),
        Some((1, 0)),
        "what was aborted came all the same"
    );
}

/// The broker restarts while the run waits.
#[test]
fn a_broker_that_restarts_is_connected_to_again() {
    let mut alone = alone();
    let mut stack = Stack::clustered(alone.cluster.from(0), "restart");
    start_api(&mut stack, 0, &[]);
    stack.set("timing.silence", "45s");
    stack.set("timing.timeout", "60s");
    let running = stack.start_diagnose(&[]);
    until("it was submitted", || {
        stack.read("api.log").contains("POST /api/v1/tasks/")
    });
    until("the node traces", || stack.traces_at(0));
    alone.stop(0);
    alone.start(0);
    let verdict = running.finish(&stack).says("connected again");
    for source in ["queue", "firehose"] {
        assert_eq!(
            verdict.state(source),
            "partial",
            "{source}: {}",
            verdict.explain()
        );
    }
    assert!(!stack.traces_at(0), "tracing was put back");
}

/// One node is gone, and the task's queue lives on the other one.
#[test]
fn queue_on_the_node_that_is_left() {
    let mut alone = alone();
    let mut stack = Stack::clustered(alone.cluster.from(0), "queue-elsewhere");
    let worker = at(&stack, 0, healthy());
    stack.worker(worker);
    start_api(&mut stack, 0, &[]);
    let mut quorum = quorum_system(&alone.cluster.from(0));
    alone.stop(1);
    let verdict = stack.diagnose(&[]).expect("A", "succeeded", 0);
    // Where the only node that runs is traced, nothing is out of sight.
    let sees_all = match alone.cluster.all {
        2 => "watching",
        _ => "partial",
    };
    assert_eq!(verdict.state("firehose"), sees_all, "{}", verdict.explain());
    if alone.cluster.all == 3 {
        quorum.diagnose(&[]).expect("A", "succeeded", 0);
        return;
    }
    // A quorum queue of two members has lost its majority; the statistics say so some seconds later.
    let path = format!("queues/{}/default", quorum.id);
    until("the other member is known to be offline", || {
        quorum.brokers[0].manage("GET", &path, None)["online"]
            .as_array()
            .is_some_and(|online| online.len() == 1)
    });
    quorum
        .diagnose(&[])
        .expect("B", "queue-unavailable", 10)
        .at_least_likely();
}

/// API and worker that declare quorum queues, as an application may that has subclassed the broker.
fn quorum_system(brokers: &[crate::lab::Broker]) -> Stack {
    let mut stack = Stack::clustered(brokers.to_vec(), "quorum");
    let patch = "import dramatiq.brokers.rabbitmq as r\n\
                 b = r.RabbitmqBroker._build_queue_arguments\n\
                 def quorum(self, *a, **k):\n    d = b(self, *a, **k)\n    d['x-queue-type'] = 'quorum'\n    return d\n\
                 r.RabbitmqBroker._build_queue_arguments = quorum\n";
    fs::write(stack.dir.join("sitecustomize.py"), patch).expect("written");
    let folder = stack.dir.display().to_string();
    let worker = at(&stack, 0, healthy()).env("PYTHONPATH", &folder);
    stack.worker(worker);
    start_api(&mut stack, 0, &[("PYTHONPATH", &folder)]);
    submit(&stack);
    stack.until_logged("worker.log", "Acknowledging message");
    stack
}
