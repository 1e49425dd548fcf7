//! Other services on the same machine and the same broker, busy with their own.

use taskdiag::timeline::{Connection, Consumer, EventKind, Source};

use super::ids::message_of;
use super::run::{Run, Wild, event, process, weave, wild};

/// A billing service's worker, its queue, its messages and connections, and a web server that listens
/// on the API's port at another address.
pub fn strangers(run: &Run) -> Vec<Wild> {
    if run.is_started_here() {
        return Vec::new();
    }
    const WORKER: i32 = 31_007;
    const SERVER: i32 = 31_020;
    let broker = &run.timeline.setup.broker;
    let theirs = format!("127.0.0.1:53210 -> {broker}");
    let publisher = format!("10.0.5.3:40022 -> {broker}");
    let mut events = run.events().to_vec();
    for one in &mut events {
        match &mut one.kind {
            EventKind::Consumers { consumers } if !consumers.is_empty() => {
                for queue in ["billing", "billing.DQ"] {
                    consumers.insert(
                        0,
                        Consumer {
                            queue: queue.into(),
                            tag: format!("ctag1.{queue}"),
                            connection: theirs.clone(),
                            user: "billing".into(),
                            prefetch: 2,
                            active: Some(true),
                        },
                    );
                }
            }
            EventKind::Connections { connections } => {
                for (name, vhost) in [
                    (&theirs, run.timeline.setup.vhost.as_str()),
                    (&publisher, run.timeline.setup.vhost.as_str()),
                    (&format!("10.0.5.4:40100 -> {broker}"), "legacy"),
                ] {
                    connections.insert(
                        0,
                        Connection {
                            name: name.clone(),
                            user: "billing".into(),
                            vhost: vhost.into(),
                            state: "running".into(),
                            product: "Pika Python Client Library".into(),
                            connected_at_ms: Some(1_795_000_100_000),
                        },
                    );
                }
            }
            _ => {}
        }
    }
    let mut new = Vec::new();
    if run.events().iter().any(|event| event.source == Source::Process) {
        new.push(event(
            -20.0,
            Source::Process,
            EventKind::Peer {
                connection: theirs.clone(),
                pid: WORKER,
            },
        ));
        new.push(event(
            -20.0,
            Source::Process,
            EventKind::Process(process(serde_json::json!({
                "pid": WORKER, "ppid": 31_000, "state": "S",
                "command": ["/srv/billing/venv/bin/python", "/srv/billing/venv/bin/dramatiq", "billing.tasks"],
                "parent_command": ["/srv/billing/venv/bin/python", "/srv/billing/venv/bin/dramatiq", "billing.tasks"],
                "cwd": "/srv/billing", "user": "0", "started_at_ms": 1_795_000_100_000_i64,
                "sockets": [theirs], "sockets_seen": true, "pipe_write": 0,
            }))),
        ));
        new.push(event(
            -19.0,
            Source::Process,
            EventKind::ApiProcess { pid: SERVER },
        ));
        new.push(event(
            -19.0,
            Source::Process,
            EventKind::Process(process(serde_json::json!({
                "pid": SERVER, "ppid": 1, "state": "S", "command": ["node", "/srv/shop/server.js"],
                "cwd": "/srv/shop", "user": "0", "started_at_ms": 1_795_000_100_000_i64,
                "sockets_seen": true, "pipe_write": 0,
            }))),
        ));
    }
    let firehose = run.events().iter().any(|event| {
        event.source == Source::Firehose
            && matches!(event.kind, EventKind::Watching { .. } | EventKind::Partial { .. })
    });
    if firehose && !run.is_post_mortem() {
        let (end, _) = run
            .ended()
            .unwrap_or((1000.0, taskdiag::timeline::Ended::Timeout));
        for at in 0..4 {
            let at_ms = 2.0 + end.max(0.0) * f64::from(at) / 4.5;
            let message = message_of(
                "charge_card",
                &format!("b1{at}00000-0000-4000-8000-000000000000"),
                "billing",
                false,
            );
            new.push(event(
                at_ms,
                Source::Firehose,
                EventKind::Publish {
                    exchange: String::new(),
                    routing_key: "billing".into(),
                    routed: None,
                    connection: publisher.clone(),
                    user: Some("billing".into()),
                    message: message.clone(),
                },
            ));
            new.push(event(
                at_ms + 0.4,
                Source::Firehose,
                EventKind::Deliver {
                    queue: "billing".into(),
                    connection: theirs.clone(),
                    redelivered: false,
                    message,
                },
            ));
        }
    }
    weave(&mut events, new);
    vec![wild("", run.with(events))]
}
