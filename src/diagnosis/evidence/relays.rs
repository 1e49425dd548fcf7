//! Programs at the end of a connection that pass it on: who is behind them is not known.

use super::{Story, workers};
use crate::timeline::{EventKind, Process};

/// Programs that pass connections on.
pub(in crate::diagnosis) fn is_relay(process: &Process) -> bool {
    const RELAYS: &[&str] = &[
        "docker-proxy",
        "rootlessport",
        "slirp4netns",
        "pasta",
        "haproxy",
        "nginx",
        "envoy",
        "traefik",
        "caddy",
        "stunnel",
        "stunnel4",
        "ssh",
        "sshd",
        "socat",
        "kubectl",
        "telepresence",
        "tailscaled",
        "amqproxy",
        "toxiproxy",
        "cloud_sql_proxy",
    ];
    process.command.first().is_some_and(|program| {
        // A title of its own is one word: `nginx: master process …`.
        let program = program.split_whitespace().next().unwrap_or_default();
        let name = program.rsplit('/').next().unwrap_or(program);
        RELAYS.contains(&name.trim_end_matches(':'))
    })
}

/// It passes connections on: by its name, or because a worker's connection ends at it, which has none to the broker
/// itself, while this one has. Any program may be such a relay, a script as well.
pub(in crate::diagnosis) fn passes_on(story: &Story<'_>, process: &Process) -> bool {
    if is_relay(process) {
        return true;
    }
    let looks = || {
        story
            .timeline
            .events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Process(process) => Some(process),
                _ => None,
            })
    };
    let is_at_the_broker = |pid: i32, sockets: &[String]| {
        let by_list = story.connections().is_some_and(|listed| {
            let mut names = listed.iter().map(|connection| &connection.name);
            names.any(|name| sockets.contains(name))
        });
        by_list
            || story.timeline.events.iter().any(|event| match &event.kind {
                EventKind::Peer {
                    connection,
                    pid: peer,
                } => *peer == pid && sockets.contains(connection),
                _ => false,
            })
    };
    let own = || looks().filter(|look| look.pid == process.pid);
    let ends_at_it = |socket: &String| {
        let turned = socket
            .split_once(" -> ")
            .map(|(from, to)| format!("{to} -> {from}"));
        turned.is_some_and(|turned| own().any(|look| look.sockets.contains(&turned)))
    };
    let goes_through_it = |other: &Process| {
        other.pid != process.pid && workers::is_worker(other) && other.sockets.iter().any(ends_at_it)
    };
    !workers::is_worker(process)
        && own().any(|look| is_at_the_broker(look.pid, &look.sockets))
        && looks().any(|other| {
            let mut all = looks().filter(|look| look.pid == other.pid);
            goes_through_it(other) && !all.any(|look| is_at_the_broker(look.pid, &look.sockets))
        })
}
