//! Sockets and who holds them: the client's end of a connection, who listens on a port.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;

use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{FDTarget, Process as Proc};

use super::command::masked;

/// The client's half of a connection name, `127.0.0.1:40000 -> 127.0.0.1:5672`.
pub(super) fn client_end(name: &str) -> Option<SocketAddr> {
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
pub(super) fn holders(wanted: &[(String, SocketAddr)]) -> Vec<(String, i32)> {
    let pick = |entries: Vec<TcpNetEntry>| -> HashMap<u64, &String> {
        let established: Vec<TcpNetEntry> = entries
            .into_iter()
            .filter(|entry| entry.state == TcpState::Established)
            .collect();
        let mut found = HashMap::new();
        for (name, client) in wanted {
            let ours = || {
                established
                    .iter()
                    .filter(|entry| same(entry.local_address, *client))
            };
            let mut inodes: Vec<u64> = ours()
                .filter(|entry| leads(name, entry.local_address, entry.remote_address) == Some(true))
                .map(|entry| entry.inode)
                .collect();
            if inodes.is_empty() {
                inodes = ours()
                    .filter(|entry| leads(name, entry.local_address, entry.remote_address).is_none())
                    .map(|entry| entry.inode)
                    .collect();
            }
            found.extend(inodes.into_iter().map(|inode| (inode, name)));
        }
        found
    };
    // Most are in our own network namespace; the others cost a look at every process.
    let mut inodes = pick(own_namespace());
    if inodes.len() < wanted.len() {
        inodes = pick(sockets());
    }
    let owners = owners_of(&inodes.keys().copied().collect());
    owners
        .into_iter()
        .filter_map(|(inode, pid)| Some(((*inodes.get(&inode)?).clone(), pid)))
        .collect()
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
fn same(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip().to_canonical() == b.ip().to_canonical()
}

/// Every TCP socket of this network namespace, and of the others whose processes let us look: a
/// container's worker is a process of this machine too.
fn sockets() -> Vec<TcpNetEntry> {
    let mut entries = own_namespace();
    let own = namespace(std::process::id() as i32);
    let mut seen: HashSet<u64> = own.into_iter().collect();
    for process in procfs::process::all_processes().into_iter().flatten().flatten() {
        if let Some(other) = namespace(process.pid)
            && seen.insert(other)
        {
            entries.extend(process.tcp().unwrap_or_default());
            entries.extend(process.tcp6().unwrap_or_default());
        }
    }
    entries
}

/// Who listens on a port of this machine, as far as that can be seen.
pub fn listeners(port: u16) -> Vec<(i32, Vec<String>)> {
    let command = |pid| {
        Proc::new(pid)
            .and_then(|process| process.cmdline())
            .unwrap_or_default()
    };
    listening_on(port)
        .into_iter()
        .map(|pid| (pid, masked(command(pid))))
        .collect()
}

/// The processes that listen on a port of this machine.
pub(super) fn listening_on(port: u16) -> Vec<i32> {
    let listening: HashSet<u64> = sockets()
        .into_iter()
        .filter(|entry| entry.state == TcpState::Listen && entry.local_address.port() == port)
        .map(|entry| entry.inode)
        .collect();
    owners_of(&listening).into_iter().map(|(_, pid)| pid).collect()
}

/// Where the processes of a session listen, as `127.0.0.1:8000`: something that was started is a session.
pub fn listens(session: i32) -> Vec<String> {
    let listening: BTreeMap<u64, String> = own_namespace()
        .into_iter()
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

fn own_namespace() -> Vec<TcpNetEntry> {
    let mut entries = procfs::net::tcp().unwrap_or_default();
    entries.extend(procfs::net::tcp6().unwrap_or_default());
    entries
}

/// Inode of a process's network namespace.
fn namespace(pid: i32) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(format!("/proc/{pid}/ns/net"))
        .ok()
        .map(|metadata| metadata.ino())
}

/// The processes that hold these sockets, as far as they let us look, each with what it holds: a
/// listening one is shared by all children of a server.
fn owners_of(inodes: &HashSet<u64>) -> Vec<(u64, i32)> {
    let mut found = Vec::new();
    if inodes.is_empty() {
        return found;
    }
    for process in procfs::process::all_processes().into_iter().flatten().flatten() {
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
pub(super) fn own_sockets(process: &Proc) -> Vec<String> {
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
    let mut found: Vec<String> = sockets()
        .into_iter()
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
    fn the_client_end_of_a_connection_name() {
        assert_eq!(
            client_end("127.0.0.1:48422 -> 127.0.0.1:5672"),
            "127.0.0.1:48422".parse().ok()
        );
        assert_eq!(client_end("::1:48422 -> ::1:5672"), "[::1]:48422".parse().ok());
        assert_eq!(client_end("<rabbit@host.1.2.3>"), None);
    }
}
