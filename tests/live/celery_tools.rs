//! The commands beside `diagnose` on Celery: `watch` and `check`, which listen to workers and ask none; and the demo.

use std::process::{Command, Output};

use serde_json::{Value as Json, json};

use crate::celery::{api, order, program, shop, worker, worker_of};
use crate::lab::{Lab, repository, signal, until};
use crate::stack::Stack;
use crate::watch::Watch;

fn check(stack: &Stack) -> String {
    let mut check = stack.taskdiag("check");
    check.arg("--config").arg(stack.write_config());
    let checked = check.output().expect("taskdiag runs");
    let said = String::from_utf8_lossy(&checked.stdout);
    said.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn watch_knows_what_the_consumers_run() {
    let mut stack = shop("watch-active");
    let pid = worker(&mut stack, "hangs");
    api(&mut stack, "");
    let mut watch = Watch::start(&stack, &["--for", "60s"]);
    let is_alive = |line: &Json| line["kind"] == "worker" && line["life"] == "alive";
    let line = watch.next("the worker is heard", is_alive);
    assert_eq!(
        (&line["pid"], &line["every_ms"]),
        (&json!(pid), &json!(2000)),
        "{line:#}"
    );
    assert!(
        line["worker"].as_str().is_some_and(|name| name.contains('@')),
        "{line:#}"
    );
    for _ in 0..3 {
        order(&stack);
    }
    // Two children: one waits in the worker's hands.
    let row = watch.row("celery", "two run", |row| row["active"]["value"] == json!(2));
    assert_eq!(row["consumers"]["value"], json!(1), "{row:#}");
    signal("STOP", pid);
    watch.next("it is silent", |line| {
        line["kind"] == "worker" && line["life"] == "silent"
    });
    let row = watch.row("celery", "its figure is given up", |row| {
        row["active"]["value"].is_null()
    });
    let because = row["active"]["because"].as_str().unwrap_or_default();
    assert!(because.contains("no heartbeat"), "{row:#}");
    signal("CONT", pid);
    watch.next("it is heard again", is_alive);
}

/// Nothing is asked, and nothing of ours is left.
#[test]
fn watch_leaves_workers_alone() {
    let mut stack = shop("watch-quiet");
    worker_of(&mut stack, "", "shop", &["-l", "DEBUG"], Some("celery"));
    let mut watch = Watch::start(&stack, &["--for", "8s", "--all"]);
    watch.next("the worker is heard", |line| line["kind"] == "worker");
    let own = watch.next("it ends", |line| {
        line["kind"] == "end"
            || line["queue"]
                .as_str()
                .is_some_and(|name| name.starts_with("taskdiag."))
    });
    assert_eq!(own["kind"], "end", "{own:#}");
    let log = stack.read("worker.log");
    assert!(!log.contains("pidbox received"), "{log}");
    until("nothing of ours is left", || {
        let queues = Lab::get().manage("GET", &format!("queues/{}", stack.id), None);
        !queues.to_string().contains("taskdiag.")
    });
}

#[test]
fn watch_without_listening() {
    let mut stack = shop("watch-off");
    stack.set("broker.control", "off");
    worker(&mut stack, "");
    let mut watch = Watch::start(&stack, &["--for", "6s"]);
    let line = watch.next("it ends", |line| {
        line["kind"] == "end" || line["kind"] == "worker" || !line["active"].is_null()
    });
    assert_eq!(line["kind"], "end", "{line:#}");
}

#[test]
fn check_names_one_of_two_workers_that_does_not_consume() {
    let mut stack = shop("check-one-cancelled");
    worker(&mut stack, "");
    let idle = ["-l", "INFO", "-n", "idle@%h"];
    worker_of(&mut stack, "", "shop", &idle, None);
    until("both consume", || {
        stack.depth("celery").is_some_and(|(_, consumers)| consumers == 2)
    });
    assert!(!check(&stack).contains("consumes no queue"));
    let mut cancel = program(&stack, "celery");
    cancel.args(["-A", "shop", "control", "cancel_consumer", "celery", "-d"]);
    let host = Command::new("hostname").output().expect("a name").stdout;
    cancel.arg(format!("idle@{}", String::from_utf8_lossy(&host).trim()));
    assert!(cancel.output().expect("celery runs").status.success());
    until("one consumes", || {
        stack.depth("celery").is_some_and(|(_, consumers)| consumers == 1)
    });
    let mut said = String::new();
    until("the broker lists it", || {
        said = check(&stack);
        said.contains("worker idle@")
    });
    assert!(
        said.contains("lives, and consumes no queue of this vhost"),
        "{said}"
    );
}

#[test]
fn check_says_nothing_of_a_solo_worker_at_work() {
    let mut stack = shop("check-solo");
    worker_of(
        &mut stack,
        "hangs",
        "shop",
        &["-l", "INFO", "-P", "solo"],
        Some("celery"),
    );
    api(&mut stack, "");
    assert!(!check(&stack).contains("heartbeat,"));
    order(&stack);
    stack.until_logged("worker.log", "packing order");
    let said = check(&stack);
    assert!(!said.contains("sends no heartbeat"), "{said}");
}

fn demo(arguments: &[&str]) -> Output {
    let output = Command::new(repository().join("fixtures/lab"))
        .arg("demo")
        .args(arguments)
        .env("TASKDIAG_BIN", env!("CARGO_BIN_EXE_taskdiag"))
        .output();
    output.expect("the lab runs")
}

/// Healthy, and then with the fault.
fn shows(output: &Output, cause: &str, code: i32) {
    let said = String::from_utf8_lossy(&output.stdout);
    let all = format!("{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{all}");
    let codes: Vec<&str> = said
        .lines()
        .filter_map(|line| line.strip_prefix("exit code "))
        .collect();
    let is = |at: usize, code: i32| {
        codes
            .get(at)
            .is_some_and(|said| said.starts_with(&format!("{code}:")))
    };
    assert!(is(0, 0) && is(1, code), "{all}");
    assert!(said.contains(cause), "{all}");
}

/// The first one leaves its system up, and the second one does not mind.
#[test]
#[ignore = "run by .ci/nightly: two systems of their own"]
fn the_demos() {
    shows(&demo(&["skip"]), "message was skipped", 10);
    shows(&demo(&["--celery", "raises"]), "card 4242 was declined", 10);
}
