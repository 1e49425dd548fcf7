//! What the script's answers say, read as what somebody else has written.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::channel::Channel;
use super::parts::is_python;
use super::unreachable::Trouble;
use crate::timeline::Process;
use crate::vantage::process::command::masked;
use crate::vantage::process::container;
use crate::vantage::process::sockets::{client_end, same};

/// Of the sockets of one process so many are kept.
const MOST_SOCKETS: usize = 64;

#[derive(Deserialize)]
struct Refusal {
    refused: String,
    room: Option<i64>,
}

/// It will not look, or cannot.
pub(super) fn refusal(line: &str) -> Option<Trouble> {
    let refusal: Refusal = serde_json::from_str(line).ok()?;
    match refusal.refused.as_str() {
        "memory" => Some(Trouble::NoMemory(refusal.room.unwrap_or_default())),
        "python" => Some(Trouble::NoPython),
        _ => None,
    }
}

#[derive(Deserialize)]
struct Processes {
    processes: Vec<ProcessEntry>,
    whole: bool,
}

#[derive(Deserialize)]
struct ProcessEntry {
    pid: i32,
    parent: i32,
    state: char,
    command: Vec<String>,
    #[serde(default)]
    nspids: Vec<i32>,
    uid: Option<u32>,
    started_at_ms: Option<i64>,
    #[serde(default)]
    cgroup: String,
    #[serde(default)]
    frozen: bool,
    cwd: Option<String>,
}

#[derive(Deserialize)]
struct Tcp {
    tcp: Vec<Socket>,
    /// Processes whose sockets may not be read.
    hidden: BTreeSet<i32>,
    whole: bool,
}

#[derive(Deserialize)]
struct Socket {
    local: SocketAddr,
    remote: SocketAddr,
    state: String,
    pids: Vec<i32>,
}

/// Who answers: the kernel's boot, and the container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machine {
    pub boot: Option<String>,
    pub container: Option<String>,
}

pub(super) fn machine(begin: &Json) -> Machine {
    let word = |key: &str| begin.get(key)?.as_str().filter(|word| !word.is_empty());
    Machine {
        boot: word("machine").map(str::to_owned),
        container: word("container").map(|id| container::short(id).to_owned()),
    }
}

/// What one look at a place showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// With the pids that they have there.
    pub processes: Vec<Process>,
    /// There are no others.
    pub is_whole: bool,
    /// Both ends of connections, and who holds them.
    connections: Vec<(SocketAddr, SocketAddr, Vec<i32>)>,
    listeners: Vec<(SocketAddr, Vec<i32>)>,
}

impl View {
    pub fn process(&self, pid: i32) -> Option<&Process> {
        self.processes.iter().find(|process| process.pid == pid)
    }

    /// Who holds the client's end of a connection, `IP:PORT -> IP:PORT`. Addresses of the loopback are everywhere: of
    /// those both ends must be the same.
    pub fn holder(&self, connection: &str) -> Option<i32> {
        let client = client_end(connection)?;
        let (_, broker) = connection.split_once(" -> ")?;
        let broker = client_end(broker);
        let own = || self.connections.iter().filter(|(local, ..)| same(*local, client));
        let exact = own().find(|(_, remote, _)| broker.is_some_and(|broker| same(*remote, broker)));
        let within = |remote: SocketAddr| remote.ip().to_canonical() == client.ip().to_canonical();
        let translated = || own().find(|(_, remote, _)| !client.ip().is_loopback() && !within(*remote));
        let (.., pids) = exact.or_else(translated)?;
        pids.first().copied()
    }

    /// Who listens on this port; where nobody does, who listens at all, if it is one server.
    pub fn servers(&self, port: Option<u16>) -> Vec<i32> {
        let of = |wanted: Option<u16>| -> Vec<&Vec<i32>> {
            let fits = |local: &SocketAddr| wanted.is_none_or(|port| local.port() == port);
            let found = self
                .listeners
                .iter()
                .filter(|(local, pids)| fits(local) && !pids.is_empty());
            found.map(|(_, pids)| pids).collect()
        };
        let mut found = of(port);
        if found.is_empty() {
            let is_python = |pid: &i32| self.process(*pid).is_some_and(is_python);
            found = of(None);
            found.retain(|pids| pids.iter().all(is_python));
        }
        found.sort();
        found.dedup();
        match found.as_slice() {
            [one] => (*one).clone(),
            _ => Vec::new(),
        }
    }
}

/// Asks for everything that is wanted of a place.
pub(super) async fn view(channel: &mut Channel, deadline: Instant) -> Result<View, Trouble> {
    let processes: Processes = ask(channel, json!({ "ask": "processes" }), deadline).await?;
    let tcp: Tcp = ask(channel, json!({ "ask": "tcp" }), deadline).await?;
    let mut view = view_of(processes, tcp);
    for process in &mut view.processes {
        if process.container.is_none() {
            process.container.clone_from(&channel.machine.container);
        }
    }
    Ok(view)
}

pub(super) async fn ask<T: DeserializeOwned>(
    channel: &mut Channel,
    question: Json,
    deadline: Instant,
) -> Result<T, Trouble> {
    read(&channel.ask(&question, deadline).await?)
}

pub(super) fn read<T: DeserializeOwned>(answer: &Json) -> Result<T, Trouble> {
    T::deserialize(answer).map_err(|_| Trouble::Garbled(answer.to_string()))
}

fn view_of(processes: Processes, tcp: Tcp) -> View {
    let mut sockets: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    let mut connections = Vec::new();
    let mut listeners = Vec::new();
    for socket in &tcp.tcp {
        match socket.state.as_str() {
            "established" => connections.push((socket.local, socket.remote, socket.pids.clone())),
            "connecting" => {}
            "listen" => {
                listeners.push((socket.local, socket.pids.clone()));
                continue;
            }
            _ => continue,
        }
        let mark = if socket.state == "connecting" {
            " (connecting)"
        } else {
            ""
        };
        for pid in &socket.pids {
            let own = sockets.entry(*pid).or_default();
            if own.len() < MOST_SOCKETS {
                own.push(format!(
                    "{} -> {}{mark}",
                    plain(socket.local),
                    plain(socket.remote)
                ));
            }
        }
    }
    let commands: BTreeMap<i32, Vec<String>> = processes
        .processes
        .iter()
        .map(|seen| (seen.pid, masked(seen.command.clone())))
        .collect();
    let seen = processes.processes.into_iter();
    View {
        is_whole: processes.whole,
        connections,
        listeners,
        processes: seen
            .map(|seen| Process {
                pid: seen.pid,
                ppid: seen.parent,
                state: seen.state,
                command: commands.get(&seen.pid).cloned().unwrap_or_default(),
                parent_command: commands.get(&seen.parent).cloned(),
                cwd: seen.cwd,
                user: seen.uid.map(|uid| uid.to_string()),
                started_at_ms: seen.started_at_ms,
                env_names: Vec::new(),
                env: BTreeMap::new(),
                reads: Vec::new(),
                sockets: sockets.remove(&seen.pid).unwrap_or_default(),
                sockets_seen: tcp.whole && !tcp.hidden.contains(&seen.pid),
                is_configured: false,
                pipe_write: None,
                nspids: seen.nspids,
                container: container::id_in(&seen.cgroup),
                frozen: seen.frozen,
                holds_log: false,
                at: None,
            })
            .collect(),
    }
}

fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(processes: &str, tcp: &str) -> View {
        view_of(
            serde_json::from_str(processes).unwrap(),
            serde_json::from_str(tcp).unwrap(),
        )
    }

    #[test]
    fn sockets_go_to_their_processes_and_secrets_nowhere() {
        let seen = view(
            r#"{"whole": true, "processes": [
                {"pid": 1, "parent": 0, "state": "S", "command": ["dramatiq", "--password", "Hunter"], "uid": 1000, "nspids": [1], "started_at_ms": 5, "cgroup": "0::/"},
                {"pid": 7, "parent": 1, "state": "T", "command": ["python", "-c", "x"]}]}"#,
            r#"{"whole": true, "hidden": [1], "tcp": [
                {"local": "[0:0:0:0:0:0:0:1]:40000", "remote": "[0:0:0:0:0:0:0:1]:5672", "state": "established", "pids": [7]},
                {"local": "0.0.0.0:8000", "remote": "0.0.0.0:0", "state": "listen", "pids": [7]}]}"#,
        );
        let [master, child] = seen.processes.as_slice() else {
            panic!("{seen:?}");
        };
        assert_eq!(master.command.join(" "), "dramatiq --password ***");
        assert_eq!(child.parent_command.as_ref(), Some(&master.command));
        assert_eq!(child.sockets, ["[::1]:40000 -> [::1]:5672"]);
        assert!(child.sockets_seen && !master.sockets_seen);
        assert_eq!((child.state, master.user.as_deref()), ('T', Some("1000")));
    }

    #[test]
    fn a_refusal_is_no_answer() {
        assert_eq!(
            refusal(r#"{"refused": "memory", "room": 5}"#),
            Some(Trouble::NoMemory(5))
        );
        assert_eq!(refusal(r#"{"refused": "python"}"#), Some(Trouble::NoPython));
        for other in [r#"{"begin": "3.11", "room": null}"#, "[]", "refused"] {
            assert_eq!(refusal(other), None, "{other}");
        }
    }
}
