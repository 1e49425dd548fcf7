//! Sockets and who holds them: the client's end of a connection, who listens on a port.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;

use crate::procfs::net::{TcpNetEntry, TcpState};
use crate::procfs::process::{FDTarget, Process as Proc};

use super::command::masked;
use super::tables::Tables;

/// The client's half of a connection name, `127.0.0.1:40000 -> 127.0.0.1:5672`.
pub fn client_end(name: &str) -> Option<SocketAddr> {
    let client = name.split(" -> ").next()?.trim();
    client.parse().ok().or_else(|| {
        // RabbitMQ prints IPv6 without brackets: the last colon divides.
        let (ip, port) = client.rsplit_once(':')?;
        Some(SocketAddr::new(
            ip.trim_matches(['[', ']']).parse().ok()?,
            port.parse().ok()?,
        ))
    })
}

/// The processes that hold the clients' ends of these connections.
pub(super) fn holders(wanted: &[(String, SocketAddr)], tables: &Tables) -> Vec<(String, i32)> {
    let mut inodes: HashMap<u64, &String> = HashMap::new();
    for (name, client) in wanted {
        let mut found = ends(name, *client, tables.own());
        if found.is_empty() && !(client.ip().is_loopback() && is_served_here(name, tables)) {
            let elsewhere = tables.others_with(client.ip());
            found = elsewhere
                .flat_map(|entries| ends(name, *client, entries))
                .collect();
        }
        inodes.extend(found.into_iter().map(|inode| (inode, name)));
    }
    let owners = owners_of(&inodes.keys().copied().collect());
    owners
        .into_iter()
        .filter_map(|(inode, pid)| Some(((*inodes.get(&inode)?).clone(), pid)))
        .collect()
}

/// The broker of this connection listens in our own namespace: its loopback addresses are ours.
fn is_served_here(name: &str, tables: &Tables) -> bool {
    let broker = name.split_once(" -> ").and_then(|(_, broker)| client_end(broker));
    broker.is_some_and(|broker| tables.own().iter().any(|entry| listens_on(entry, broker.port())))
}

/// The sockets of one namespace that may be a connection's client's end.
fn ends(name: &str, client: SocketAddr, entries: &[TcpNetEntry]) -> Vec<u64> {
    let ours = || {
        entries
            .iter()
            .filter(|entry| entry.state == TcpState::Established && same(entry.local_address, client))
    };
    let leading = |to: Option<bool>| -> Vec<u64> {
        ours()
            .filter(|entry| leads(name, entry.local_address, entry.remote_address) == to)
            .map(|entry| entry.inode)
            .collect()
    };
    match leading(Some(true)) {
        exact if !exact.is_empty() => exact,
        _ => leading(None),
    }
}

/// Whether a socket leads to the broker's end of a connection, `IP:PORT -> IP:PORT`: one local port may
/// lead to several places at once. `None`: it leads elsewhere, and the address may be translated on the
/// way (a container's published port).
fn leads(name: &str, local: SocketAddr, remote: SocketAddr) -> Option<bool> {
    let (_, broker) = name.split_once(" -> ")?;
    let broker = client_end(broker)?;
    if same(remote, broker) {
        return Some(true);
    }
    let within = broker.ip().to_canonical() == local.ip().to_canonical();
    within.then_some(false)
}

/// IPv4 and its IPv6-mapped form are the same address.
pub fn same(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip().to_canonical() == b.ip().to_canonical()
}

/// Who listens on a port of this machine, as far as that can be seen.
pub fn listeners(port: u16) -> Vec<(i32, Vec<String>)> {
    let command = |pid| {
        Proc::new(pid)
            .and_then(|process| process.cmdline())
            .unwrap_or_default()
    };
    let tables = Tables::default();
    let listening = tables.own().iter().filter(|entry| listens_on(entry, port));
    owners_of(&listening.map(|entry| entry.inode).collect())
        .into_iter()
        .map(|(_, pid)| (pid, masked(command(pid))))
        .collect()
}

pub(super) fn listens_on(entry: &TcpNetEntry, port: u16) -> bool {
    entry.state == TcpState::Listen && entry.local_address.port() == port
}

/// Where the processes of a session listen, as `127.0.0.1:8000`: something that was started is a session.
pub fn listens(session: i32) -> Vec<String> {
    let tables = Tables::default();
    let listening: BTreeMap<u64, String> = tables
        .own()
        .iter()
        .filter(|entry| entry.state == TcpState::Listen)
        .map(|entry| (entry.inode, entry.local_address.to_string()))
        .collect();
    let inodes = listening.keys().copied().collect();
    let in_session = |pid: i32| {
        let stat = Proc::new(pid).and_then(|process| process.stat());
        stat.is_ok_and(|stat| stat.session == session)
    };
    let mut found: Vec<String> = owners_of(&inodes)
        .into_iter()
        .filter(|(_, pid)| in_session(*pid))
        .filter_map(|(inode, _)| listening.get(&inode).cloned())
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Of these connections the ones whose client's end is held by a process below this one, or of its session:
/// however it came to it.
pub fn held_below(ancestor: i32, connections: &[String]) -> Vec<String> {
    let is_below = |process: &Proc| {
        let of_session = process.stat().is_ok_and(|stat| stat.session == ancestor);
        of_session || super::descends_from(process.pid, ancestor)
    };
    let tables = Tables::default();
    let held: Vec<SocketAddr> = crate::procfs::all_processes()
        .filter(is_below)
        .flat_map(|process| own_sockets(&process, &tables))
        .filter_map(|socket| client_end(&socket))
        .collect();
    let is_held = |name: &&String| client_end(name).is_some_and(|end| held.iter().any(|own| same(*own, end)));
    connections.iter().filter(is_held).cloned().collect()
}

/// The processes that hold these sockets, as far as they let us look, each with what it holds: a
/// listening one is shared by all children of a server.
pub(super) fn owners_of(inodes: &HashSet<u64>) -> Vec<(u64, i32)> {
    let mut found = Vec::new();
    if inodes.is_empty() {
        return found;
    }
    for process in crate::procfs::all_processes() {
        let Ok(fds) = process.fd() else { continue };
        for fd in fds.flatten() {
            if let FDTarget::Socket(inode) = fd.target
                && inodes.contains(&inode)
            {
                found.push((inode, process.pid));
            }
        }
    }
    found
}

/// The process's TCP connections, its own end first. One it is still trying to open is marked.
pub(super) fn own_sockets(process: &Proc, tables: &Tables) -> Vec<String> {
    let inodes: HashSet<u64> = process
        .fd()
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|fd| match fd.target {
            FDTarget::Socket(inode) => Some(inode),
            _ => None,
        })
        .collect();
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    if inodes.is_empty() {
        return Vec::new();
    }
    let mut found: Vec<String> = tables
        .of(process.pid)
        .iter()
        .filter(|entry| inodes.contains(&entry.inode))
        .filter_map(|entry| {
            let text = format!(
                "{} -> {}",
                plain(entry.local_address),
                plain(entry.remote_address)
            );
            match entry.state {
                TcpState::Established => Some(text),
                TcpState::SynSent => Some(format!("{text} (connecting)")),
                _ => None,
            }
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_leads_elsewhere_too() {
        let leads = |name: &str, local: &str, remote: &str| {
            leads(
                name,
                local.parse().expect("an address"),
                remote.parse().expect("an address"),
            )
        };
        let here = "127.0.0.1:50088 -> 127.0.0.1:5672";
        assert_eq!(leads(here, "127.0.0.1:50088", "127.0.0.1:5432"), Some(false));
        assert_eq!(
            leads("::1:50088 -> ::1:5672", "[::1]:50088", "[::1]:5672"),
            Some(true)
        );
        let published = "172.17.0.1:50088 -> 10.0.0.9:5672";
        assert_eq!(leads(published, "172.17.0.1:50088", "172.17.0.2:5672"), None);
    }

    #[test]
    fn whoever_is_below_holds_it() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let mut child = std::process::Command::new("bash")
            .args([
                "-c",
                &format!("exec 3<>/dev/tcp/127.0.0.1/{port}; sleep 60 & wait"),
            ])
            .spawn()
            .expect("bash");
        let (_stream, client) = listener.accept().expect("it connects");
        let names = [
            format!("{client} -> 127.0.0.1:{port}"),
            format!("127.0.0.1:1 -> 127.0.0.1:{port}"),
        ];
        let below = |pid: u32| held_below(pid as i32, &names);
        assert_eq!(below(child.id()), names[..1]);
        assert_eq!(below(std::process::id()), names[..1]);
        assert_eq!(held_below(i32::MAX, &names), [""; 0]);
        let _ = std::process::Command::new("pkill")
            .args(["-P", &child.id().to_string()])
            .status();
        child.kill().expect("killed");
        child.wait().expect("its status");
    }

    #[test]
    fn the_client_end_of_a_connection_name() {
        assert_eq!(
            client_end("127.0.0.1:48422 -> 127.0.0.1:5672"),
            "127.0.0.1:48422".parse().ok()
        );
        assert_eq!(client_end("::1:48422 -> ::1:5672"), "[::1]:48422".parse().ok());
        assert_eq!(client_end("<rabbit@host.1.2.3>"), None);
    }
}
