//! Which database a process is connected to, told by both ends of its connections: its own sockets, and the server's list
//! of clients. A pool between them, or a Unix socket, and nothing is said.

use super::{Fact, Story};
use crate::timeline::{DatabaseSession, EventKind, Process, Row, Xmax};

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

/// A session of the worker's that waits for a lock.
pub(in crate::diagnosis) struct Waiting<'a> {
    pub pid: i32,
    pub evidence: [u32; 2],
    pub session: &'a DatabaseSession,
    /// Of what kind the lock is, as `pg_locks` has it.
    pub kind: &'a str,
}

impl Waiting<'_> {
    /// What it waits for is the end of the transaction that has the task's row, by that one's header. The look at it.
    pub fn for_the_row<'a>(&self, story: &Story<'a>) -> Option<Fact<&'a Row>> {
        let row = story
            .last_row()
            .filter(|row| row.xmax_state == Some(Xmax::InProgress))?;
        let holder = row.holder.as_ref()?.pid;
        let mut blockers = self.session.blockers.iter();
        let waits = matches!(self.kind, "tuple" | "transactionid");
        (waits && blockers.any(|blocker| blocker.pid == holder)).then_some(row)
    }
}

pub(in crate::diagnosis) fn waiting<'a>(story: &Story<'a>) -> Option<Waiting<'a>> {
    of_the_worker(story).into_iter().find_map(|one| {
        let mut sessions = one.sessions.into_iter();
        let session = sessions.find(|session| session.waits_for.is_some())?;
        Some(Waiting {
            pid: one.pid,
            evidence: one.evidence,
            session,
            kind: session.waits_for.as_deref()?,
        })
    })
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
    let pids = takers(story).into_iter();
    pids.filter_map(|pid| of(story, pid)).collect()
}

/// The processes of those who have the task in hand.
pub(in crate::diagnosis) fn takers(story: &Story<'_>) -> Vec<i32> {
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
    pids
}
