//! The worker runs in a container: its log's pids are those of another namespace.

use std::collections::{BTreeMap, BTreeSet};

use taskdiag::timeline::{EventKind, Process, Source};

use super::run::{Run, Wild, event, process, wild};

/// From the host, or from inside the API's container. The map (`NSpid`) is no observation yet.
pub fn container_pids(run: &Run) -> Vec<Wild> {
    match (on_the_host(run), inside_the_api(run)) {
        (Some(host), Some(inside)) => vec![wild("host", host), wild("inside", inside)],
        _ => Vec::new(),
    }
}

/// The log's pids as the container counts them: the master is 1, its children follow from 7.
fn numbers(run: &Run) -> BTreeMap<i32, i32> {
    let masters: BTreeSet<i32> = run
        .worker_lines()
        .filter(|(_, line)| line.logger.as_deref() == Some("dramatiq.MainProcess"))
        .filter_map(|(_, line)| line.pid)
        .collect();
    let mut next = 7;
    run.log_pids()
        .into_iter()
        .map(|pid| {
            if masters.contains(&pid) {
                return (pid, 1);
            }
            next += 1;
            (pid, next - 1)
        })
        .collect()
}

/// Pids that the process source learned of otherwise than by the worker's log.
pub fn known_otherwise(run: &Run) -> BTreeSet<i32> {
    run.events()
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::ApiProcess { pid } | EventKind::Peer { pid, .. } => Some(*pid),
            EventKind::Process(process) if process.is_configured => Some(process.pid),
            _ => None,
        })
        .collect()
}

/// taskdiag on the host, the worker in a container with the host's network, its log read through
/// `docker logs`: no process holds the log's file, and what the log calls pid 1 is the host's init.
pub fn on_the_host(run: &Run) -> Option<Run> {
    if run.is_started_here() || run.log_pids().is_empty() {
        return None;
    }
    let numbers = numbers(run);
    let known = known_otherwise(run);
    // What was found by the log's pids alone is found when a connection leads to it, or never.
    let mut found: BTreeSet<i32> = known
        .iter()
        .copied()
        .filter(|pid| {
            !run.events()
                .iter()
                .any(|event| matches!(&event.kind, EventKind::Peer { pid: peer, .. } if peer == pid))
        })
        .collect();
    let mut latest: BTreeMap<i32, Process> = BTreeMap::new();
    let mut init_shown = false;
    let mut events = Vec::new();
    for one in run.events() {
        let mut one = one.clone();
        match &mut one.kind {
            EventKind::Line(line) if one.source == Source::WorkerLog => {
                line.pid = line.pid.map(|pid| numbers[&pid]);
                for (host, inside) in &numbers {
                    line.text = line
                        .text
                        .replace(&format!("PID {host} "), &format!("PID {inside} "));
                }
                let is_init = line.pid == Some(1) && !init_shown;
                let at_ms = one.at_ms.max(-50.0);
                events.push(one);
                if is_init {
                    init_shown = true;
                    events.push(event(at_ms, Source::Process, EventKind::Process(init())));
                }
                continue;
            }
            EventKind::ApiProcess { pid } => {
                found.insert(*pid);
            }
            EventKind::Peer { pid, .. } => {
                let pid = *pid;
                let at_ms = one.at_ms;
                events.push(one);
                if found.insert(pid)
                    && let Some(process) = latest.get(&pid)
                {
                    events.push(event(at_ms, Source::Process, EventKind::Process(process.clone())));
                }
                continue;
            }
            EventKind::Process(process) => {
                process.holds_log = false;
                latest.insert(process.pid, process.clone());
                if !found.contains(&process.pid) {
                    continue;
                }
            }
            EventKind::Gone { pid, .. }
            | EventKind::Stacks { pid, .. }
            | EventKind::StacksRefused { pid, .. }
            | EventKind::SameEnvironment { pid, .. }
                if !found.contains(pid) =>
            {
                continue;
            }
            _ => {}
        }
        events.push(one);
    }
    Some(run.with(events).told(run.truth.seen_in_part()))
}

/// What pid 1 is on a host.
fn init() -> Process {
    process(serde_json::json!({
        "pid": 1, "ppid": 0, "state": "S", "command": ["/sbin/init"], "cwd": "/", "user": "0",
        "started_at_ms": 1_795_000_000_000_i64, "sockets_seen": true,
    }))
}

/// `docker compose exec api taskdiag …`: only the API's own processes can be seen, the first of them
/// is pid 7 there, and the worker's log, which both mount, says 7 of another one.
fn inside_the_api(run: &Run) -> Option<Run> {
    if run.is_started_here() || run.log_pids().is_empty() {
        return None;
    }
    let numbers = numbers(run);
    let mut apis: Vec<i32> = run
        .events()
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::ApiProcess { pid } => Some(*pid),
            _ => None,
        })
        .collect();
    apis.dedup();
    let inside = |pid: i32| apis.iter().position(|api| *api == pid).map(|at| 7 + at as i32);
    let mut events = Vec::new();
    for one in run.events() {
        let mut one = one.clone();
        let is_api = match &mut one.kind {
            EventKind::Line(line) if one.source == Source::WorkerLog => {
                line.pid = line.pid.map(|pid| numbers[&pid]);
                for (host, inside) in &numbers {
                    line.text = line
                        .text
                        .replace(&format!("PID {host} "), &format!("PID {inside} "));
                }
                true
            }
            EventKind::Process(process) => {
                let pid = inside(process.pid);
                process.pid = pid.unwrap_or(0);
                process.ppid = 1;
                process.parent_command = Some(vec!["sh".into(), "-c".into(), "exec uvicorn".into()]);
                pid.is_some()
            }
            EventKind::ApiProcess { pid }
            | EventKind::Peer { pid, .. }
            | EventKind::Gone { pid, .. }
            | EventKind::Stacks { pid, .. }
            | EventKind::StacksRefused { pid, .. } => {
                let known = inside(*pid);
                *pid = known.unwrap_or(0);
                known.is_some()
            }
            EventKind::SameEnvironment { .. } | EventKind::Environment(_) => false,
            // The broker is another container.
            EventKind::Watching { .. } if one.source == Source::Process => {
                one.kind = EventKind::Partial {
                    reason: "the broker rabbitmq is not on this machine: connections are matched by this machine's addresses only".into(),
                };
                true
            }
            _ => true,
        };
        if is_api {
            events.push(one);
        }
    }
    Some(run.with(events).told(run.truth.seen_in_part()))
}

/// taskdiag on the host again, and `/proc` shows by which pid each process knows itself.
pub fn container_pids_with_the_map(run: &Run) -> Vec<Wild> {
    if run.is_started_here() || run.log_pids().is_empty() {
        return Vec::new();
    }
    let numbers = numbers(run);
    let mut events = Vec::new();
    for one in run.events() {
        let mut one = one.clone();
        match &mut one.kind {
            EventKind::Line(line) if one.source == Source::WorkerLog => {
                line.pid = line.pid.map(|pid| numbers[&pid]);
                for (host, inside) in &numbers {
                    line.text = line
                        .text
                        .replace(&format!("PID {host} "), &format!("PID {inside} "));
                }
            }
            EventKind::Process(process) => {
                process.holds_log = false;
                process.nspids = vec![process.pid];
                if let Some(inside) = numbers.get(&process.pid) {
                    process.nspids.push(*inside);
                    process.container = Some("c0ffee01".repeat(8));
                }
            }
            EventKind::ReadWhole { .. } => continue,
            _ => {}
        }
        events.push(one);
    }
    let run = run.with(events).told(run.truth.seen_in_part());
    vec![wild("map", run)]
}
