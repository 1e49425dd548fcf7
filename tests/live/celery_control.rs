//! Workers on Celery that are listened to, and asked once everything else was looked at.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::celery::{api, of_celery, order, program, shop, worker};
use crate::lab::{Lab, signal, until};
use crate::stack::Stack;
use crate::verdict::Verdict;

/// What a worker says of itself, without what moves by itself.
fn state_of_worker(stack: &Stack) -> Json {
    let methods = [
        "stats",
        "active_queues",
        "registered",
        "revoked",
        "conf",
        "active",
    ];
    let mut state = BTreeMap::new();
    for method in methods {
        let mut inspect = program(stack, "celery");
        inspect.args(["-A", "shop", "inspect", "--json", "--timeout", "3", method]);
        let said = inspect.output().expect("celery runs").stdout;
        let said = String::from_utf8_lossy(&said);
        let from = said.find('{').unwrap_or_else(|| panic!("{method}: {said}"));
        let mut answer: Json = serde_json::from_str(said[from..].trim()).expect("JSON");
        for of_node in answer
            .as_object_mut()
            .into_iter()
            .flat_map(|nodes| nodes.values_mut())
        {
            if let Some(stats) = of_node.as_object_mut().filter(|_| method == "stats") {
                for moves in ["uptime", "rusage", "clock", "pool", "total", "prefetch_count"] {
                    stats.remove(moves);
                }
            }
        }
        state.insert(method, answer);
    }
    json!(state)
}

/// Names of everything in the vhost.
fn at_the_broker(stack: &Stack) -> Vec<String> {
    let list = |what: &str| {
        let path = format!("{what}/{}?disable_stats=true", stack.id);
        Lab::get().manage("GET", &path, None)
    };
    let mut found = Vec::new();
    for what in ["queues", "exchanges", "bindings"] {
        for item in list(what).as_array().into_iter().flatten() {
            let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
            found.push(format!(
                "{what} {} {} {} {}",
                text("name"),
                text("source"),
                text("destination"),
                text("routing_key")
            ));
        }
    }
    found.sort();
    found
}

/// Nothing of ours, and everything of theirs.
fn is_as_before(stack: &Stack, before: &[String]) {
    until("nothing of ours is left", || at_the_broker(stack) == before);
}

fn events<'v>(verdict: &'v Verdict, kind: &str) -> Vec<(usize, &'v Json)> {
    let all = verdict.json["timeline"].as_array().expect("a timeline");
    let of_kind = |(_, event): &(usize, &Json)| event["kind"] == kind;
    all.iter().enumerate().filter(of_kind).collect()
}

/// Both children are busy: ours is in the worker's hands.
fn busy(name: &str) -> Stack {
    let mut stack = shop(name);
    worker(&mut stack, "hangs");
    api(&mut stack, "");
    stack.set("timing.timeout", "10s");
    for _ in 0..2 {
        order(&stack);
    }
    until("both children are busy", || {
        stack.read("worker.log").matches("packing order").count() == 2
    });
    stack
}

#[test]
fn asking_changes_nothing() {
    let mut stack = busy("asked");
    let (before, there) = (state_of_worker(&stack), at_the_broker(&stack));
    let verdict = of_celery(stack.diagnose(&[]))
        .expect("C", "waiting-in-worker", 20)
        .at_least_likely()
        .sees(&["control"]);
    let answers = events(&verdict, "inspected");
    assert_eq!(answers.len(), 1, "{}", verdict.explain());
    let (at, answer) = answers[0];
    assert_eq!(answer["state"], "reserved", "{answer}");
    assert_eq!(answer["active"].as_array().map(Vec::len), Some(2), "{answer}");
    assert_eq!(answer["pool"], "prefork", "{answer}");
    // It was asked last of all.
    let asked = events(&verdict, "asked")[0].0;
    assert!(asked < at);
    for kind in ["stacks", "consumers", "queue_info"] {
        let seen = events(&verdict, kind);
        assert!(
            seen.iter().all(|(n, _)| *n < asked),
            "{kind}\n{}",
            verdict.explain()
        );
    }
    // No argument of any task.
    assert!(!answer.to_string().contains("args"), "{answer}");
    let after = state_of_worker(&stack);
    for what in ["active_queues", "registered", "revoked", "conf", "stats"] {
        assert_eq!(before[what], after[what], "{what}");
    }
    is_as_before(&stack, &there);
}

#[test]
fn nothing_stays_after_kill_9() {
    let mut stack = busy("asked-killed");
    let there = at_the_broker(&stack);
    let running = stack.start_diagnose(&[]);
    until("it listens", || {
        let now = at_the_broker(&stack);
        now.iter().any(|name| name.contains("queues taskdiag.control."))
    });
    signal("KILL", running.pid());
    is_as_before(&stack, &there);
}

#[test]
fn it_can_be_left_out() {
    let mut stack = busy("not-asked");
    stack.set("broker.control", "off");
    let verdict = of_celery(stack.diagnose(&[])).expect("C", "waiting-in-worker", 20);
    for kind in ["heartbeat", "asked", "inspected"] {
        assert!(events(&verdict, kind).is_empty(), "{}", verdict.explain());
    }
    assert!(!stack.read("worker.log").contains("pidbox received"));
}

/// It takes pickle only: a question would be a CRITICAL line in its log.
#[test]
fn a_worker_that_takes_no_json_is_not_asked() {
    let mut stack = shop("pickle");
    worker(&mut stack, "pickle-only");
    api(&mut stack, "pickle");
    stack.set("timing.timeout", "10s");
    let verdict = of_celery(stack.diagnose(&[]));
    assert!(events(&verdict, "asked").is_empty(), "{}", verdict.explain());
    assert!(!stack.read("worker.log").contains("ContentDisallowed"));
}

/// A worker that is stopped says nothing and answers nothing.
#[test]
fn a_stopped_worker_is_silent() {
    let mut stack = busy("stopped");
    let pid = stack.pid_of("worker");
    let running = stack.start_diagnose(&[]);
    until("ours is received", || {
        stack.read("worker.log").matches("] received").count() == 3
    });
    sleep(Duration::from_millis(500));
    signal("STOP", pid);
    let verdict = of_celery(running.finish(&stack));
    signal("CONT", pid);
    assert_eq!(verdict.cause(), "worker-frozen", "{}", verdict.explain());
    assert!(events(&verdict, "inspected").is_empty(), "{}", verdict.explain());
}

/// It lives, and consumes nothing any more: to start it is no remedy.
#[test]
fn check_knows_a_worker_that_does_not_consume() {
    let mut stack = shop("check-cancelled");
    worker(&mut stack, "");
    let mut cancel = program(&stack, "celery");
    cancel.args(["-A", "shop", "control", "cancel_consumer", "celery"]);
    assert!(cancel.output().expect("celery runs").status.success());
    until("nobody consumes", || {
        stack.depth("celery").is_some_and(|(_, consumers)| consumers == 0)
    });
    api(&mut stack, "");
    let mut check = stack.taskdiag("check");
    check.arg("--config").arg(stack.write_config());
    let checked = check.output().expect("taskdiag runs");
    let said = String::from_utf8_lossy(&checked.stdout);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("1 worker lives in this vhost: celery@"), "{said}");
    assert!(said.contains("inspect active_queues"), "{said}");
    assert!(!said.contains("start the worker"), "{said}");
    // The view that takes orders does not look at the method.
    assert_eq!(stack.depth("celery"), Some((0, 0)), "check sent an order");
}
