//! Between the processes and the broker stands a proxy: the peer of a connection is not its user.

use std::collections::BTreeSet;

use taskdiag::timeline::{EventKind, Process, Source};

use super::run::{Run, Wild, event, process, wild};

/// `docker-proxy` on this machine, or a service's address with the proxy elsewhere.
pub fn through_a_proxy(run: &Run) -> Vec<Wild> {
    if !run
        .events()
        .iter()
        .any(|event| matches!(event.kind, EventKind::Peer { .. }))
    {
        return Vec::new();
    }
    let mut all = vec![
        wild("local", proxied(run, Some(DOCKER_PROXY))),
        wild("elsewhere", proxied(run, None)),
    ];
    // It is stopped itself; the workers that it serves are on another machine.
    if run.truth.cause == "worker-frozen" {
        let gateway = proxied(run, Some(GATEWAY));
        let stopped = gateway.each(|event| match &mut event.kind {
            EventKind::Process(process) if process.pid == PROXY => process.state = 'T',
            EventKind::Process(process) => process.state = 'S',
            _ => {}
        });
        all.push(wild("stopped", stopped.told(run.truth.instead("relay-stopped"))));
    }
    all
}

const PROXY: i32 = 812;
const DOCKER_PROXY: &str = "/usr/bin/docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 5672 -container-ip 172.17.0.2 -container-port 5672";
/// Nothing tells by its name that it is one.
const GATEWAY: &str = "/usr/local/bin/mq-gateway --upstream 10.42.1.20:5672";

/// Every connection to the broker as the broker sees it: from the proxy. The processes' own sockets
/// still lead to the published port.
fn proxied(run: &Run, program: Option<&str>) -> Run {
    let local = program.is_some();
    let port = run
        .timeline
        .setup
        .broker
        .rsplit(':')
        .next()
        .unwrap_or_default()
        .to_owned();
    let leads_to_broker = |name: &str| {
        name.split_once(" -> ")
            .is_some_and(|(_, server)| server.rsplit(':').next() == Some(port.as_str()))
    };
    let seen_by_broker = |name: &mut String| {
        let (client, _) = name.split_once(" -> ").unwrap_or_default();
        let client = client.rsplit(':').next().unwrap_or_default();
        if leads_to_broker(name) && local {
            *name = format!("172.17.0.1:{client} -> 172.17.0.2:5672");
        } else if leads_to_broker(name) {
            *name = format!("10.42.3.7:{client} -> 10.42.1.20:5672");
        }
    };
    // Known by its connection only: then it is not found any more.
    let otherwise: BTreeSet<i32> = run
        .events()
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::ApiProcess { pid } | EventKind::Started { pid, .. } => Some(*pid),
            EventKind::Process(process) if process.is_configured || process.holds_log => Some(process.pid),
            _ => None,
        })
        .chain(run.log_pids())
        .collect();
    let mut names: Vec<String> = Vec::new();
    let mut events = Vec::new();
    for one in run.events() {
        let mut one = one.clone();
        match &mut one.kind {
            EventKind::Publish { connection, .. } | EventKind::Deliver { connection, .. } => {
                seen_by_broker(connection);
            }
            EventKind::Consumers { consumers } => {
                for consumer in consumers {
                    seen_by_broker(&mut consumer.connection);
                }
            }
            EventKind::Connections { connections } => {
                for connection in connections {
                    seen_by_broker(&mut connection.name);
                }
            }
            EventKind::Peer { connection, .. } if !local && leads_to_broker(connection) => continue,
            EventKind::Peer { connection, pid } if leads_to_broker(connection) => {
                seen_by_broker(connection);
                *pid = PROXY;
                names.push(connection.clone());
                let at_ms = one.at_ms;
                events.push(one);
                events.push(event(
                    at_ms,
                    Source::Process,
                    EventKind::Process(relay(program.unwrap_or_default(), &names)),
                ));
                continue;
            }
            EventKind::Process(process) if !otherwise.contains(&process.pid) => continue,
            EventKind::Gone { pid, .. }
            | EventKind::Stacks { pid, .. }
            | EventKind::StacksRefused { pid, .. }
            | EventKind::SameEnvironment { pid, .. }
                if !otherwise.contains(pid) =>
            {
                continue;
            }
            _ => {}
        }
        events.push(one);
    }
    run.with(events).told(run.truth.seen_in_part())
}

fn relay(program: &str, names: &[String]) -> Process {
    process(serde_json::json!({
        "pid": PROXY, "ppid": 640, "state": "S", "cwd": "/", "user": "0",
        "command": program.split(' ').collect::<Vec<_>>(),
        "parent_command": ["/usr/lib/systemd/systemd"],
        "started_at_ms": 1_795_000_000_000_i64, "sockets": names, "sockets_seen": true, "pipe_write": 0,
    }))
}
