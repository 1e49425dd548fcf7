//! A cluster of two nodes: each traces for itself, and what passes through the other one is not seen.
//!
//! taskdiag is told of one node; API and worker may be at the other one. Nothing may be concluded from
//! what the firehose does not show.

use std::fs::File;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;

use serde_json::Value as Json;

use crate::lab::{run, signal, until};
use crate::nodes::{Shared, alone, shared};
use crate::stack::Stack;
use crate::verdict::Verdict;
use crate::worker::{Worker, fault, healthy};

/// Where API and worker are, counted from taskdiag's own node.
const PLACES: [(usize, usize); 3] = [(1, 1), (1, 0), (0, 1)];

fn place(api: usize, worker: usize) -> String {
    format!("api-{api}-worker-{worker}")
}

/// The sample system with API and worker at these nodes.
fn system(shared: &Shared, name: &str, at: (usize, usize), worker: Worker, api: &[(&str, &str)]) -> Stack {
    let name = format!("{name}-{}", place(at.0, at.1));
    let mut stack = Stack::clustered(shared.cluster.from(0), &name);
    let (variable, url) = stack.at_node(at.1);
    stack.worker(worker.env(variable, &url));
    start_api(&mut stack, at.0, api);
    stack
}

pub fn start_api(stack: &mut Stack, node: usize, env: &[(&str, &str)]) {
    let (variable, url) = stack.at_node(node);
    let mut all = vec![(variable, url.as_str())];
    all.extend(env);
    stack.api(&all);
}

/// It says what it cannot see, and denies nothing by it.
fn in_part(verdict: Verdict) -> Verdict {
    assert_eq!(verdict.state("firehose"), "partial", "{}", verdict.explain());
    match verdict.json["outcome"].as_str() {
        Some("succeeded") => verdict,
        _ => verdict.says("of the cluster is traced"),
    }
}

fn stage<'v>(verdict: &'v Verdict, name: &str) -> &'v Json {
    let found = verdict.list("stages").iter().find(|stage| stage["stage"] == name);
    &found.expect("the stage")["reached"]
}

#[test]
fn a_success_wherever_api_and_worker_are() {
    let shared = shared();
    for at in PLACES {
        let mut stack = system(&shared, "cluster-success", at, healthy(), &[]);
        let verdict = in_part(stack.diagnose(&[]))
            .expect("A", "succeeded", 0)
            .outcome("succeeded");
        for reached in ["published", "delivered", "received", "entered"] {
            assert_eq!(stage(&verdict, reached), true, "{reached} {}", verdict.explain());
        }
    }
}

#[test]
fn an_actor_that_raises_wherever_it_is() {
    let shared = shared();
    for at in [(1, 1), (0, 1)] {
        let mut stack = system(&shared, "cluster-raise", at, fault("raise"), &[]);
        in_part(stack.diagnose(&[])).expect("A", "actor-raised", 10);
    }
}

#[test]
fn an_unknown_actor_wherever_it_is() {
    let shared = shared();
    for at in [(1, 1), (1, 0)] {
        let broken = [("OPS_API_FAULT", "unknown-actor")];
        let mut stack = system(&shared, "cluster-unknown", at, healthy(), &broken);
        in_part(stack.diagnose(&[])).expect("B", "unknown-actor", 10);
    }
}

/// The queue grew, and nobody consumes it: that needs no firehose.
#[test]
fn no_consumer_and_a_publish_out_of_sight() {
    let shared = shared();
    for api in [0, 1] {
        let mut stack = Stack::clustered(shared.cluster.from(0), &format!("cluster-nobody-{api}"));
        start_api(&mut stack, api, &[]);
        in_part(stack.diagnose(&[]))
            .expect("C", "no-consumer", 20)
            .stage("published");
    }
}

/// Nothing was sent, but at another node: that nothing was seen proves nothing.
#[test]
fn a_task_that_was_not_sent_is_not_told_from_one_out_of_sight() {
    let shared = shared();
    for at in PLACES {
        let mut stack = system(
            &shared,
            "cluster-skip",
            at,
            healthy(),
            &[("OPS_API_FAULT", "not-dispatched")],
        );
        let verdict = in_part(stack.diagnose(&[])).cannot_tell("not-published");
        assert!(
            !["certain", "likely"].contains(&verdict.certainty()),
            "{}",
            verdict.explain()
        );
        assert!(stage(&verdict, "published").is_null(), "{}", verdict.explain());
        assert!(stage(&verdict, "delivered").is_null(), "{}", verdict.explain());
    }
}

pub fn submit(stack: &Stack) {
    let mut command = stack.taskdiag("submit");
    let output = command.arg("--config").arg(stack.write_config()).output();
    assert!(output.expect("taskdiag runs").status.success());
}

/// Two threads and their prefetch are full; the task waits in the queue.
#[test]
fn workers_busy_at_the_other_node() {
    let shared = shared();
    let mut stack = system(&shared, "cluster-busy", (1, 1), fault("hang"), &[]);
    for _ in 0..4 {
        submit(&stack);
    }
    let verdict = in_part(stack.diagnose(&[]));
    assert!(
        ["actor-still-running", "workers-busy", "none"].contains(&verdict.cause()),
        "{}",
        verdict.explain()
    );
}

// ---- tracing is a state of each node ----

/// The management API's node traces, wherever AMQP leads; only that one is switched off again.
#[test]
fn the_node_of_the_management_url_traces() {
    let shared = shared();
    let mut stack = Stack::clustered(shared.cluster.from(0), "cluster-tracing");
    start_api(&mut stack, 0, &[]);
    let (_, amqp) = stack.at_node(1);
    stack.set("broker.amqp_url", amqp);
    let running = stack.start_diagnose(&[]);
    until("the first node traces", || stack.traces_at(0));
    assert!(!stack.traces_at(1));
    signal("KILL", running.pid());
    until("it traces no more", || !stack.traces_at(0));
}

/// Each has switched on another node: neither leaves its own to the other.
#[test]
fn two_runs_at_two_nodes_put_tracing_back() {
    let shared = shared();
    let mut stack = Stack::clustered(shared.cluster.from(0), "cluster-two");
    start_api(&mut stack, 0, &[]);
    stack.set("timing.silence", "4s");
    let mut first = stack.start_diagnose(&[]);
    until("the first node traces", || stack.traces_at(0));
    let other = format!(
        "broker.management_url=http://lab:lab@{}",
        stack.brokers[1].management
    );
    let mut second = stack.start_diagnose(&["--set", &other]);
    until("the second node traces", || stack.traces_at(1));
    first.finish_quietly(&stack);
    assert!(!stack.traces_at(0), "the other reader reads another node");
    second.finish_quietly(&stack);
    assert!(!stack.traces_at(1));
}

/// The other nodes die while one traces. From 4.3 on a majority must take note of a change: then the line that needs
/// none is printed, and the guardian goes on until it is there again. Before that, it is switched off at once.
#[test]
fn tracing_is_put_back_though_the_other_nodes_are_gone() {
    let mut alone = alone();
    let mut stack = Stack::clustered(alone.cluster.from(0), "cluster-minority");
    start_api(&mut stack, 0, &[]);
    stack.set("timing.silence", "60s");
    stack.set("timing.timeout", "90s");
    let mut running = stack.start_diagnose(&[]);
    until("it traces", || stack.traces_at(0));
    alone.lose_the_others();
    signal("INT", running.pid());
    let asked = std::time::Instant::now();
    let code = running.wait().code();
    let took = asked.elapsed();
    let said = running.stderr();
    eprintln!("Ctrl-C until the end: {took:?}, exit code {code:?}\n{said}");
    if alone.cluster.all > 2 {
        assert_ne!(code, Some(0), "{said}");
        assert!(said.contains("trace_off"), "{said}");
        for node in 1..alone.cluster.all {
            alone.start(node);
        }
    }
    until("it traces no more", || !stack.traces_at(0));
}

/// Behind a load balancer it cannot be known which node is switched on: so none is.
#[test]
fn tracing_behind_a_load_balancer_is_left_alone() {
    let shared = shared();
    let mut stack = Stack::clustered(shared.cluster.from(0), "cluster-balanced");
    start_api(&mut stack, 0, &[]);
    let nodes: Vec<String> = stack.brokers.iter().map(|node| node.management.clone()).collect();
    stack.set(
        "broker.management_url",
        format!("http://lab:lab@127.0.0.1:{}", balance(nodes)),
    );
    let verdict = stack
        .diagnose(&[])
        .expect("C", "no-consumer", 20)
        .blind("firehose")
        .says("leads to several nodes in turn");
    assert!(
        !stack.traces_at(0) && !stack.traces_at(1),
        "{}",
        verdict.explain()
    );
}

/// A port whose connections lead to these addresses in turn.
fn balance(to: Vec<String>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("its address").port();
    std::thread::spawn(move || {
        for (client, to) in listener.incoming().flatten().zip(to.iter().cycle()) {
            let Ok(server) = TcpStream::connect(to) else {
                return;
            };
            for (mut from, mut to) in [
                (
                    client.try_clone().expect("a socket"),
                    server.try_clone().expect("a socket"),
                ),
                (server, client),
            ] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.flush();
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    port
}

// ---- trace and watch ----

#[test]
fn trace_shows_its_own_node_and_says_so() {
    let shared = shared();
    for at in [(1, 0), (0, 1)] {
        let mut stack = system(&shared, "cluster-trace", at, healthy(), &[]);
        let file = |end: &str| File::create(stack.dir.join(format!("trace.{end}"))).expect("a file");
        let mut command = stack.taskdiag("trace");
        command
            .arg("--config")
            .arg(stack.write_config())
            .args(["--format", "json", "--queue", "default"])
            .stdout(file("out"))
            .stderr(file("err"));
        let mut child = command.spawn().expect("taskdiag starts");
        stack.reaper.watch(child.id());
        stack.until_logged("trace.err", "of vhost");
        submit(&stack);
        stack.until_logged("worker.log", "Acknowledging message");
        let seen = if at.0 == 0 { "\"publish\"" } else { "\"deliver\"" };
        stack.until_logged("trace.out", seen);
        signal("INT", child.id());
        child.wait().expect("it ends");
        let (out, err) = (stack.read("trace.out"), stack.read("trace.err"));
        assert!(
            err.contains(&format!(
                "only node {} of the cluster is traced",
                shared.cluster.names[0]
            )),
            "{err}"
        );
        assert!(
            // A third node may be named beside it.
            err.contains(&format!("connections to {}", shared.cluster.names[1]))
                && err.contains("is not seen"),
            "{err}"
        );
        assert_eq!(out.contains("\"kind\":\"publish\""), at.0 == 0, "{out}");
        assert_eq!(out.contains("\"kind\":\"deliver\""), at.1 == 0, "{out}");
    }
}

/// The last rows of a watch of a few seconds.
pub fn watched(stack: &Stack, queues: &[&str]) -> Vec<Json> {
    let mut command = stack.taskdiag("watch");
    command.arg("--config").arg(stack.write_config());
    for queue in queues {
        command.args(["--queue", queue]);
    }
    let output = command
        .args(["--format", "json", "--for", "7s"])
        .stderr(Stdio::piped())
        .output()
        .expect("taskdiag runs");
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<Json>(line).ok())
        .filter(|line| line["kind"] == "queue")
        .collect()
}

/// Counts, consumers and states of queues that live on the other node.
#[test]
fn watch_sees_the_queues_of_both_nodes() {
    use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
    use lapin::types::{AMQPValue, FieldTable};

    let shared = shared();
    let mut stack = Stack::clustered(shared.cluster.from(0), "cluster-watch");
    // Declared and consumed through the other node: a classic queue lives where it is declared.
    let (_, url) = stack.at_node(1);
    let far = run(lapin::Connection::connect(
        &url,
        lapin::ConnectionProperties::default(),
    ))
    .expect("connected");
    let channel = run(far.create_channel()).expect("a channel");
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    for (queue, kind) in [("far", "classic"), ("quorum", "quorum"), ("busy", "classic")] {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString(kind.into()));
        run(channel.queue_declare(queue.into(), durable, arguments)).expect("declared");
    }
    let consuming = channel.basic_consume(
        "busy".into(),
        "far".into(),
        BasicConsumeOptions::default(),
        FieldTable::default(),
    );
    let _consumer = run(consuming).expect("consumed");
    for queue in ["far", "far", "quorum"] {
        stack.publish(queue, "{}");
    }
    let rows = watched(&stack, &["far", "quorum", "busy"]);
    let last = |queue: &str| {
        let found = rows.iter().rev().find(|row| row["queue"] == queue);
        found.unwrap_or_else(|| panic!("{queue}: {rows:#?}"))
    };
    for (queue, ready, consumers, state) in [
        ("far", 2, 0, "stuck: no consumer"),
        ("quorum", 1, 0, "stuck: no consumer"),
        ("busy", 0, 1, "idle"),
    ] {
        let row = last(queue);
        assert_eq!(row["ready"]["value"], ready, "{row:#}");
        assert_eq!(row["consumers"]["value"], consumers, "{row:#}");
        assert_eq!(row["state"], state, "{row:#}");
    }
}
