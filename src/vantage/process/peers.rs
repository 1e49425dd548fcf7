//! Who is at the client's end of a connection.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::procfs::process::Process as Proc;

use super::command::{masked, program};
use super::sockets::{client_end, holders};
use super::tables::Tables;
use crate::timeline::scrub::Scrubber;
use crate::trace::PeerProcess;

/// Who is at the client's end of these connections: by name, as far as it can be seen.
pub fn peers(connections: &[String]) -> HashMap<String, PeerProcess> {
    peers_without(connections, &Scrubber::default())
}

/// The same, their command lines without what this scrubber knows to be secret.
pub fn peers_without(connections: &[String], scrubber: &Scrubber) -> HashMap<String, PeerProcess> {
    let wanted: Vec<(String, SocketAddr)> = connections
        .iter()
        .filter_map(|name| Some((name.clone(), client_end(name)?)))
        .collect();
    let mut commands: HashMap<i32, PeerProcess> = HashMap::new();
    holders(&wanted, &Tables::default())
        .into_iter()
        .map(|(name, pid)| {
            let who = commands.entry(pid).or_insert_with(|| who(pid, scrubber));
            (name, who.clone())
        })
        .collect()
}

fn who(pid: i32, scrubber: &Scrubber) -> PeerProcess {
    let command = |pid: i32| -> Vec<String> {
        let command = Proc::new(pid).and_then(|process| process.cmdline());
        masked(command.unwrap_or_default())
            .iter()
            .map(|word| scrubber.one_line(word))
            .collect()
    };
    let own = command(pid);
    // A child that Python's multiprocessing has spawned says nothing of its program: its parent does.
    let spawned = own.iter().any(|word| word.contains("multiprocessing"));
    let parent = spawned
        .then(|| Proc::new(pid).and_then(|process| process.stat()).ok())
        .flatten()
        .map(|stat| command(stat.ppid));
    PeerProcess {
        pid,
        name: program(parent.as_ref().unwrap_or(&own)),
        command: own,
    }
}
