//! A diagnosis from elsewhere: nothing of the worker is seen but through `[worker] exec`.
//!
//! The worker has pids and mounts of its own, taskdiag as well, and a relay leads from the one to the other, as
//! an engine does.

use std::fs;
use std::process::Command;

use serde_json::Value as Json;

use crate::lab::{repository, signal, until};
use crate::stack::{Stack, words};
use crate::verdict::Verdict;
use crate::worker::ARGUMENTS;

pub struct Place {
    /// Its first process, the worker's master, as this machine counts.
    first: u32,
    relay: u32,
}

impl Place {
    fn with_worker(stack: &mut Stack, env: &[(&str, &str)]) -> Self {
        let worker = stack.python("dramatiq");
        let mut apart = Command::new("unshare");
        apart
            .args(["--pid", "--mount", "--fork", "--mount-proc", "--kill-child"])
            .arg(worker.get_program())
            .args(ARGUMENTS);
        for (name, value) in worker.get_envs() {
            match value {
                Some(value) => apart.env(name, value),
                None => apart.env_remove(name),
            };
        }
        apart.envs(env.iter().copied());
        apart.current_dir(worker.get_current_dir().expect("a folder"));
        let pid = stack.start("worker", "worker.log", apart);
        let mut first = None;
        until("the worker runs", || {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
            let children = children.unwrap_or_default();
            first = children
                .split_whitespace()
                .next()
                .and_then(|pid| pid.parse().ok());
            first.is_some()
        });
        let first: u32 = first.expect("a child");
        let target = first.to_string();
        let relay = Self::lead(
            stack,
            "worker",
            &["nsenter", "--target", &target, "--pid", "--mount"],
        );
        stack.elsewhere = true;
        Self { first, relay }
    }

    /// A relay into a place. Its pid.
    pub fn lead(stack: &mut Stack, part: &str, prefix: &[&str]) -> u32 {
        let socket = stack.dir.join(format!("{part}.sock"));
        let relay = repository().join("tests/live/relay.py");
        let mut serve = Command::new("python3");
        serve.arg(&relay).arg("serve").arg(&socket).args(prefix);
        let log = format!("{part}-relay.log");
        let pid = stack.start("relay", &log, serve);
        stack.until_logged(&log, "relays");
        let words = [
            "python3".into(),
            relay.display().to_string(),
            socket.display().to_string(),
        ];
        stack.set(&format!("{part}.exec"), words.to_vec());
        pid
    }

    /// Its other processes: children of the worker.
    fn children(&self) -> Vec<u32> {
        let path = format!("/proc/{0}/task/{0}/children", self.first);
        let children = fs::read_to_string(path).unwrap_or_default();
        children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
            .collect()
    }
}

fn consumes(stack: &mut Stack) {
    until("the worker consumes", || {
        let depth = stack.depth("default");
        depth.is_some_and(|(_, consumers)| consumers > 0)
    });
}

/// The actor does its work after two seconds: the place is looked into twice a second.
pub const LASTS: [(&str, &str); 2] = [("OPS_WORKER_FAULT", "hang"), ("OPS_HANG_SECONDS", "2")];

/// No number by which a place's processes are told from this machine's is shown to people.
fn says_no_number(verdict: Verdict) -> Verdict {
    for text in [&verdict.text, &verdict.stderr] {
        assert!(!text.contains("1000000"), "{text}");
    }
    verdict
}

#[test]
fn the_process_that_took_the_task_is_found_in_its_place() {
    let mut stack = Stack::new("place-healthy");
    stack.api(&[]);
    Place::with_worker(&mut stack, &LASTS);
    consumes(&mut stack);
    let verdict = says_no_number(stack.diagnose(&[]).expect("A", "succeeded", 0));
    let processes = verdict.recorded_events("process");
    let worker =
        |process: &&Json| process["at"] == "worker" && process["command"].to_string().contains("dramatiq");
    assert!(processes.iter().filter(worker).count() >= 2, "{processes:?}");
    let delivery = &verdict.recorded_events("deliver")[0]["connection"];
    let peers = verdict.recorded_events("peer");
    let peer = peers.iter().find(|peer| &peer["connection"] == delivery);
    let pid = &peer.expect("who has the connection")["pid"];
    let taker = processes
        .iter()
        .find(|process| &process["pid"] == pid)
        .expect("shown");
    // What stands in the log is what it is called there.
    let lines = verdict.recorded_events("line");
    let mine = lines
        .iter()
        .find(|line| line["carries_task_id"] == true && line["pid"].is_number());
    assert_eq!(mine.expect("a line")["pid"], taker["nspids"][0], "{taker}");
    assert!(verdict.text.contains("in worker (exec)"), "{}", verdict.text);
}

#[test]
fn a_stopped_worker_of_a_place_is_seen_to_be() {
    let mut stack = Stack::new("place-stopped");
    stack.api(&[]);
    let place = Place::with_worker(&mut stack, &[]);
    consumes(&mut stack);
    for pid in place.children() {
        signal("STOP", pid);
    }
    let verdict = stack.diagnose(&[]).expect("C", "worker-frozen", 20).certain();
    assert!(
        verdict.summary().contains("in worker (exec)"),
        "{}",
        verdict.summary()
    );
    // A command for another machine's pid would stop somebody else here.
    let confirm = verdict.json["cause"].to_string();
    assert!(confirm.contains("kill -CONT WORKER_PID"), "{confirm}");
    says_no_number(verdict);
}

#[test]
fn a_stub_broker_is_told_by_the_sockets_of_the_place() {
    let mut stack = Stack::new("place-stub");
    stack.api(&[]);
    Place::with_worker(&mut stack, &[("OPS_WORKER_FAULT", "test-broker")]);
    stack.until_logged("worker.log", "Adding consumer for queue 'default'");
    let verdict = stack.diagnose(&[]).expect("C", "worker-on-test-broker", 20);
    says_no_number(verdict.at_least_likely());
}

/// A database that only the worker has.
#[test]
fn what_differs_between_two_places_is_shown_and_not_what_it_is() {
    let mut stack = Stack::new("place-database");
    // The message comes late: there is time to look at both places.
    stack.api(&[("OPS_API_FAULT", "outbox"), ("OPS_OUTBOX_SECONDS", "2")]);
    stack.set("timing.silence", "6s");
    Place::lead(&mut stack, "api", &["env"]);
    let other = stack.database_url("lab:lab").replace(&stack.id, "postgres");
    Place::with_worker(&mut stack, &[("DATABASE_URL", &other)]);
    consumes(&mut stack);
    let verdict = stack.diagnose(&[]);
    assert_eq!(verdict.cause(), "actor-raised", "{}", verdict.summary());
    let differences = &verdict.json["environment"]["differences"];
    let rows = differences.as_array().expect("differences");
    let database = rows.iter().any(|row| row.to_string().contains("DATABASE_URL"));
    assert!(database, "{differences}");
    for row in rows {
        let row = row.to_string();
        assert!(!row.contains("PATH") && !row.contains("sqlalchemy"), "{row}");
    }
    let recorded = String::from_utf8_lossy(&verdict.recorded);
    assert!(!recorded.contains("lab:lab@"), "a password was recorded");
    says_no_number(verdict);
}

/// What was seen of a process says nothing of it once nobody looks any more.
#[test]
fn a_way_that_ends_in_mid_run_leaves_no_evidence() {
    let mut stack = Stack::new("place-lost");
    stack.set("timing.silence", "6s");
    stack.api(&[]);
    let place = Place::with_worker(&mut stack, &[("OPS_WORKER_FAULT", "hang-in-hook")]);
    consumes(&mut stack);
    let running = stack.start_diagnose(&[]);
    until("the task is there", || {
        stack.read("worker.log").contains("Received message")
    });
    // On a busy machine the first look at the place takes a while.
    std::thread::sleep(std::time::Duration::from_secs(2));
    let relay = place.relay;
    stack.kill(relay);
    // Stopped when nobody looks: a state that was seen before would rule that out.
    for pid in place.children() {
        signal("STOP", pid);
    }
    let verdict = running.finish(&stack).not_certain();
    assert!(
        !verdict.recorded_events("place_unreachable").is_empty(),
        "{}",
        verdict.text
    );
    let frozen = verdict
        .list("ruled_out")
        .iter()
        .any(|one| one["id"] == "worker-frozen");
    assert!(!frozen, "{}", verdict.text);
    let processes = verdict.recorded_events("process");
    let last = processes.iter().rfind(|process| process["at"] == "worker");
    assert_eq!(last.expect("it was seen")["state"], "?");
}

/// As an ordinary user of the same machine, who sees command lines and nothing more.
#[test]
fn what_both_ways_see_is_told_once() {
    let mut stack = Stack::new("place-twins");
    stack.api(&[]);
    Place::with_worker(&mut stack, &[]);
    stack.elsewhere = false;
    consumes(&mut stack);
    // As root everything can be seen here: stacks, too.
    let verdict = stack.diagnose(&[]).expect("A", "succeeded", 0);
    let processes = verdict.recorded_events("process");
    assert!(
        processes.iter().all(|process| process["at"].is_null()),
        "{processes:?}"
    );
    assert!(!processes.is_empty());
    // A short run may end before a connection's process is looked for.
    let here = |peer: &&Json| peer["pid"].as_i64().is_some_and(|pid| pid < 10_000_000);
    let peers = verdict.recorded_events("peer");
    assert!(peers.iter().all(|peer| here(&peer)), "{peers:?}");
}

/// Long enough for taskdiag's own program to get there: a debug build is large.
pub fn lasts(stack: &mut Stack) {
    stack.set("timing.silence", "8s");
    stack.set("timing.timeout", "12s");
}

/// Whose stack was read, and what ran in the place meanwhile is gone.
pub fn shows_where_it_hangs(verdict: &Verdict) {
    let summary = verdict.summary();
    assert!(
        summary.contains("worker_faults.py") && summary.contains("block_in_c"),
        "{summary}\n{:?}",
        verdict.recorded_events("stacks_refused")
    );
    let stacks = verdict.recorded_events("stacks");
    let there = |stack: &&Json| stack["pid"].as_i64().is_some_and(|pid| pid > 10_000_000);
    assert!(stacks.iter().any(|stack| there(&stack)), "{stacks:?}");
}

#[test]
fn where_a_worker_of_a_place_hangs_is_seen() {
    let mut stack = Stack::new("place-stacks");
    lasts(&mut stack);
    stack.api(&[]);
    Place::with_worker(&mut stack, &[("OPS_WORKER_FAULT", "hang")]);
    consumes(&mut stack);
    let verdict = stack.diagnose(&[]).expect("A", "actor-still-running", 10);
    shows_where_it_hangs(&verdict);
    says_no_number(verdict);
}

/// Without a cluster: a stand-in that keeps to what `kubectl exec` documents, in front of a real way into a place.
#[test]
fn a_pod_is_seen_by_what_kubectl_promises() {
    let mut stack = Stack::new("place-pod");
    stack.api(&[]);
    Place::with_worker(&mut stack, &LASTS);
    consumes(&mut stack);
    let relay = repository().join("tests/live/relay.py");
    let way = format!(
        "WAY=python3 {} {}",
        relay.display(),
        stack.dir.join("worker.sock").display()
    );
    let kubectl = repository().join("tests/live/kubectl").display().to_string();
    let prefix = ["env", &way, &kubectl, "exec", "-i", "deploy/worker", "--"];
    stack.set("worker.exec", words(&prefix));
    let verdict = says_no_number(stack.diagnose(&[]).expect("A", "succeeded", 0));
    let processes = verdict.recorded_events("process");
    assert!(
        processes.iter().any(|process| process["at"] == "worker"),
        "{processes:?}"
    );
    // Which container it chose is no trouble.
    assert!(verdict.recorded_events("place_unreachable").is_empty());

    // Without `-i` nothing arrives there, and the remedy says so.
    let prefix = ["env", &way, &kubectl, "exec", "deploy/worker", "--"];
    stack.set("worker.exec", words(&prefix));
    let config = stack.write_config();
    let output = stack.taskdiag("check").arg("--config").arg(config).output();
    let said = String::from_utf8_lossy(&output.expect("taskdiag runs").stdout).into_owned();
    // Lines are wrapped.
    let said: Vec<&str> = said.split_whitespace().collect();
    assert!(said.join(" ").contains("`kubectl exec -i`"), "{}", said.join(" "));
}
