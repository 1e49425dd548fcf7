//! Which database a process is connected to, told by both ends of its connections: its own sockets, and the server's list
//! of clients. A pool between them, or a Unix socket, and nothing is said.

use super::{Fact, Story};
use crate::timeline::{DatabaseSession, EventKind, Process};

/// The sessions of one process at the server of `database.url`.
pub(in crate::diagnosis) struct Connected<'a> {
    pub pid: i32,
    /// The process, and the list of sessions.
    pub evidence: [u32; 2],
    /// The configured database.
    pub here: &'a str,
    pub sessions: Vec<&'a DatabaseSession>,
}

impl Connected<'_> {
    /// All of them are in other databases.
    pub fn is_elsewhere(&self) -> bool {
        self.sessions.iter().all(|session| session.database != self.here)
    }
}

/// Those of a process whose every connection to the server is in its list: one that is missing may be the one that counts.
fn of<'a>(story: &Story<'a>, pid: i32) -> Option<Connected<'a>> {
    let mut lists = story.facts(|kind| match kind {
        EventKind::DatabaseSessions(seen) => Some(seen),
        _ => None,
    });
    let Fact { n, value: seen, .. } = lists.next_back()?;
    let process = story.process(pid).filter(|process| process.sockets_seen)?;
    let matched: Option<Vec<&DatabaseSession>> = clients(&process, &seen.server)
        .map(|client| seen.sessions.iter().find(|session| session.client == client))
        .collect();
    Some(Connected {
        pid,
        evidence: [process.n, n],
        here: &seen.here,
        sessions: matched.filter(|matched| !matched.is_empty())?,
    })
}

/// Its ends of the connections to the server.
fn clients<'p>(process: &'p Process, server: &'p str) -> impl Iterator<Item = &'p str> {
    let ends = process
        .sockets
        .iter()
        .filter_map(|socket| socket.split_once(" -> "));
    ends.filter(move |(_, remote)| *remote == server)
        .map(|(client, _)| client)
}

/// Of those who have the task in hand: the process that it was delivered to, and what that one hands it to. Where no
/// delivery was seen, the watched worker's.
pub(in crate::diagnosis) fn of_the_worker<'a>(story: &Story<'a>) -> Vec<Connected<'a>> {
    let mut takers: Vec<i32> = story
        .deliveries()
        .filter_map(|passage| story.peer(passage.connection))
        .map(|peer| peer.value)
        .collect();
    if takers.is_empty() {
        let live = super::workers::live_workers(story);
        takers = live.iter().map(|process| process.pid).collect();
    }
    let mut pids: Vec<i32> = story
        .all_processes()
        .filter(|process| takers.contains(&process.pid) || takers.contains(&process.ppid))
        .map(|process| process.pid)
        .collect();
    pids.sort_unstable();
    pids.dedup();
    pids.into_iter().filter_map(|pid| of(story, pid)).collect()
}
