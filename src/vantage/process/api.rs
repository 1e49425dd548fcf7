//! Which process serves the API: the one that listens where its address leads.
//!
//! That is a listener of our own network namespace; where it is an engine's relay for a published port,
//! the one behind it. Any other container may listen on the same number.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};

use crate::procfs::process::Process as Proc;

use super::container;
use super::sockets::{listens_on, owners_of};
use super::tables::Tables;
use crate::timeline::EventKind;

/// Where the API's address leads.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Listeners {
    pub pids: Vec<i32>,
    /// It leads to a container.
    pub published: Option<EventKind>,
}

/// An engine's relay: it listens on the host for a container.
struct Relay {
    pid: i32,
    host: Option<IpAddr>,
    to: SocketAddr,
}

/// Who listens at these addresses, tried in their order as a client would.
pub(super) fn listeners(addresses: &[SocketAddr], tables: &Tables) -> Listeners {
    for address in addresses {
        let here = match super::addresses::is_ours(address.ip()) {
            true => listening(tables.own(), *address),
            false => Vec::new(),
        };
        if here.is_empty() {
            let there: Vec<u64> = match address.ip().is_loopback() {
                true => Vec::new(),
                false => tables
                    .others_with(address.ip())
                    .flat_map(|entries| listening(entries, *address))
                    .collect(),
            };
            if !there.is_empty() {
                let published = None;
                return Listeners {
                    pids: one_server(&there),
                    published,
                };
            }
            continue;
        }
        let relays = relays(*address);
        if let Some(relay) = relays.first() {
            // Two relays that lead apart: which of them answers cannot be told.
            return match relays.iter().all(|other| other.to == relay.to) {
                true => behind(address.port(), relay, tables),
                false => Listeners::default(),
            };
        }
        let pids = one_server(&here);
        return Listeners {
            pids,
            published: None,
        };
    }
    Listeners::default()
}

/// What the engine's relay at this port leads to, without a look at what listens there: whoever is beside it in its
/// network knows it by that address.
pub(super) fn leads_on_from(port: u16) -> Option<EventKind> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let relays = relays(address);
    let relay = relays.first()?;
    let is_one = relays.iter().all(|other| other.to == relay.to);
    is_one.then(|| EventKind::PublishedPort {
        port: address.port(),
        to: relay.to.to_string(),
        relay: relay.pid,
        listens: None,
        container: None,
    })
}

fn behind(port: u16, relay: &Relay, tables: &Tables) -> Listeners {
    let inhabitant = tables.inhabitant(relay.to.ip());
    let inodes: Vec<u64> = tables
        .others_with(relay.to.ip())
        .flat_map(|entries| listening(entries, relay.to))
        .collect();
    Listeners {
        pids: one_server(&inodes),
        published: Some(EventKind::PublishedPort {
            port,
            to: relay.to.to_string(),
            relay: relay.pid,
            listens: inhabitant.map(|_| !inodes.is_empty()),
            container: inhabitant.and_then(container::id),
        }),
    }
}

/// Sockets that would take a connection to this address: one that is bound to it goes before one that
/// is bound to all.
fn listening(entries: &[crate::procfs::net::TcpNetEntry], address: SocketAddr) -> Vec<u64> {
    let all = || entries.iter().filter(|entry| listens_on(entry, address.port()));
    let wanted = address.ip().to_canonical();
    let ranks: [&dyn Fn(IpAddr) -> bool; 3] = [
        &|local| local.to_canonical() == wanted,
        &|local| local.is_unspecified() && local.is_ipv4() == wanted.is_ipv4(),
        &|local| local.is_unspecified() && local.is_ipv6(),
    ];
    for fits in ranks {
        let found: Vec<u64> = all()
            .filter(|entry| fits(entry.local_address.ip()))
            .map(|entry| entry.inode)
            .collect();
        if !found.is_empty() {
            return found;
        }
    }
    Vec::new()
}

/// The holders of these sockets, if they are one server: one socket that children share, or one
/// master's tree. Of several servers nobody can say which one answers.
fn one_server(inodes: &[u64]) -> Vec<i32> {
    let wanted: HashSet<u64> = inodes.iter().copied().collect();
    let mut pids: Vec<i32> = owners_of(&wanted).into_iter().map(|(_, pid)| pid).collect();
    pids.sort_unstable();
    pids.dedup();
    let parent = |pid: i32| {
        Proc::new(pid)
            .and_then(|process| process.stat())
            .map(|stat| stat.ppid)
            .ok()
    };
    let is_one = wanted.len() <= 1
        || pids.iter().any(|&root| {
            pids.iter().all(|&pid| {
                pid == root
                    || parent(pid) == Some(root)
                    || (parent(pid) > Some(1) && parent(pid) == parent(root))
            })
        });
    if is_one { pids } else { Vec::new() }
}

/// The engine's relays of our own network namespace that listen at this address, by their command lines,
/// which every user may read.
fn relays(address: SocketAddr) -> Vec<Relay> {
    let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/net")).ok();
    let own = namespace("self");
    let processes = crate::procfs::all_processes();
    processes
        .filter_map(|process| {
            let relay = relay(process.pid, &process.cmdline().ok()?, address.port())?;
            let elsewhere =
                namespace(&process.pid.to_string()).is_some_and(|other| own.as_ref() != Some(&other));
            let leads = relay
                .host
                .is_none_or(|host| host.is_unspecified() || host == address.ip().to_canonical());
            (!elsewhere && leads).then_some(relay)
        })
        .collect()
}

/// `docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8000 -container-ip 172.19.0.4 -container-port 8000`
fn relay(pid: i32, command: &[String], port: u16) -> Option<Relay> {
    if command.first()?.rsplit('/').next() != Some("docker-proxy") {
        return None;
    }
    let value = |flag: &str| {
        let at = command.iter().position(|word| word == flag)?;
        command.get(at + 1).map(String::as_str)
    };
    if value("-host-port")?.parse() != Ok(port) || value("-proto").is_some_and(|proto| proto != "tcp") {
        return None;
    }
    let to = SocketAddr::new(
        value("-container-ip")?.parse().ok()?,
        value("-container-port")?.parse().ok()?,
    );
    Some(Relay {
        pid,
        host: value("-host-ip").and_then(|ip| ip.parse().ok()),
        to,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_says_where_it_leads() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let command = words(
            "/usr/sbin/docker-proxy -proto tcp -host-ip 127.0.0.1 -host-port 8000 -container-ip 172.19.0.4 -container-port 80",
        );
        let found = relay(7, &command, 8000).expect("a relay");
        assert_eq!(found.to.to_string(), "172.19.0.4:80");
        assert_eq!(found.host, "127.0.0.1".parse().ok());
        assert!(relay(7, &command, 8001).is_none());
        assert!(relay(7, &words("nginx -host-port 8000"), 8000).is_none());
    }

    #[test]
    fn our_own_listener_is_the_api() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let found = listeners(&[address], &Tables::default());
        assert_eq!(found.pids, [std::process::id() as i32]);
        assert_eq!(found.published, None);
        drop(listener);
        assert_eq!(listeners(&[address], &Tables::default()), Listeners::default());
    }
}
