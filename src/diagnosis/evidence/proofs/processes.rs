//! Premises about processes: whose pids a log has, who is at a connection's end, who is a replica.

use std::collections::BTreeSet;

use super::proved;
use crate::diagnosis::evidence::relays::passes_on;
use crate::diagnosis::evidence::{Fact, Story, programs, workers};
use crate::diagnosis::premises::{EventId, State};
use crate::framework::LogEvent;
use crate::timeline::Process;

impl Story<'_> {
    /// A pid of the log is a worker of this machine that the log or the broker knows by something
    /// else, too: it holds the log open, or our message went to it and the log has it under that pid.
    pub(super) fn same_pid_space(&self) -> State {
        // A master names its children when they die.
        let died = self.worker_lines().iter().filter_map(|told| match told.mark {
            Some(LogEvent::ChildDied { pid, .. }) => Some(*pid),
            _ => None,
        });
        let logged = self.log_pids();
        for pid in logged.iter().copied().chain(died) {
            let Some(process) = self.process(pid) else {
                continue;
            };
            if workers::is_worker(&process) && process.holds_log {
                return proved([process.n]);
            }
        }
        for told in self.worker_lines() {
            let written = self.container_of_stream(told.line.stream.as_deref());
            if let (Some(container), Some(process)) = (written, told.pid.and_then(|pid| self.process(pid)))
                && process.container.as_ref() == Some(&container.id)
                && workers::is_worker(&process)
            {
                return proved([container.n, process.n]);
            }
        }
        for told in self.lines() {
            let (Some(_), Some(id)) = (told.line.pid, told.message_id()) else {
                continue;
            };
            let taker = self
                .deliveries()
                .filter(|delivery| delivery.message.message_id.as_deref() == Some(id))
                .find_map(|delivery| self.peer(delivery.connection));
            match taker {
                Some(peer) if Some(peer.value) == told.pid => return proved([told.n, peer.n]),
                // Ours went to one process, and the log has it under another's pid.
                Some(peer)
                    if self
                        .process(peer.value)
                        .is_some_and(|process| workers::is_worker(&process)) =>
                {
                    return State::Refuted(vec![told.n, peer.n]);
                }
                _ => {}
            }
        }
        State::Assumed
    }

    /// The log is a file, and every worker process that holds it open belongs to the tree of this pid.
    pub(super) fn one_process_per_log_thread(&self, pid: Option<i32>) -> State {
        if pid.is_none() || self.log_pids().is_empty() {
            return self.one_worker_writes_the_log();
        }
        let (Some(pid), State::Proved(space)) = (pid, self.same_pid_space()) else {
            return State::Assumed;
        };
        let Some(process) = self.process(pid) else {
            return State::Assumed;
        };
        if let Some(told) = self.shares_its_threads(pid) {
            return State::Refuted(vec![told]);
        }
        let same_tree = |other: &Process| {
            other.pid == pid
                || other.ppid == pid
                || process.ppid == other.pid
                || (process.ppid > 1 && process.ppid == other.ppid)
        };
        let writers = self
            .all_processes()
            .filter(|other| other.holds_log && workers::is_worker(other));
        let mut events: Vec<EventId> = space;
        events.push(process.n);
        let mut holds = false;
        for other in writers {
            if !same_tree(&other) {
                return State::Assumed;
            }
            holds = true;
            events.push(other.n);
        }
        // A container's pids are its replicas' as well: only the name before the line tells them apart.
        let one_container = process.at.is_none() && (process.container.is_none() || process.nspids.len() < 2)
            || self.is_log_of_one_container(&process)
            || self
                .worker_lines()
                .iter()
                .any(|told| told.pid == Some(pid) && told.line.stream.is_some());
        // A boot of another master in the middle of it is another writer.
        if holds
            || one_container
                && self
                    .log_pids()
                    .iter()
                    .all(|pid| self.process(*pid).is_some_and(|other| same_tree(&other)))
        {
            proved(events)
        } else {
            State::Assumed
        }
    }

    /// The log's own command names one container, and this process runs in it.
    fn is_log_of_one_container(&self, process: &Process) -> bool {
        let named = self.container_of_stream(None);
        named.is_some_and(|named| process.container.as_ref() == Some(&named.id))
            && self.worker_lines().iter().all(|told| told.line.stream.is_none())
    }

    /// Lines without pids have names of processes, which are one worker's own: the log is a file, and every
    /// worker that holds it open is of one tree.
    fn one_worker_writes_the_log(&self) -> State {
        let writers: Vec<Fact<&Process>> = self
            .all_processes()
            .filter(|process| process.holds_log && workers::is_worker(process))
            .collect();
        let holds = |pid: i32| writers.iter().any(|other| other.pid == pid);
        let roots = writers.iter().filter(|process| !holds(process.ppid)).count();
        // What is written through a pipe is nobody's file.
        let passes_on = |process: &Process| {
            const RELAYS: &[&str] = &[
                "tee",
                "cat",
                "logger",
                "multilog",
                "svlogd",
                "s6-log",
                "cronolog",
                "rotatelogs",
                "ts",
            ];
            let name = process
                .command
                .first()
                .and_then(|program| program.rsplit('/').next());
            process.holds_log && name.is_some_and(|name| RELAYS.contains(&name))
        };
        if self.all_processes().any(|process| passes_on(&process)) {
            return State::Assumed;
        }
        let ready = self.worker_lines().iter().filter_map(|told| match told.mark {
            Some(LogEvent::Ready) => Some(Fact::new(told.n, told.at_ms, told.line.text.as_str())),
            _ => None,
        });
        let ready: Vec<Fact<&str>> = ready.collect();
        if let [first, rest @ ..] = ready.as_slice()
            && let Some(other) = rest.iter().find(|other| other.value != first.value)
        {
            return State::Refuted(vec![first.n, other.n]);
        }
        // The log's node is not the one that holds it.
        let is_anothers = |process: &&Fact<&Process>| {
            let named = node_name(&process.command);
            let said = ready.iter().filter_map(|text| text.split_once('@'));
            named.is_some_and(|named| said.clone().any(|(said, _)| !said.ends_with(named)))
        };
        if let Some(writer) = writers.iter().find(is_anothers) {
            return State::Refuted(ready.iter().map(|text| text.n).chain([writer.n]).collect());
        }
        // What is written is another's than the one that has the message.
        let taker = self.deliveries().last();
        let taker = taker.and_then(|passage| self.process(self.peer(passage.connection)?.value));
        if let (Some(taker), Some(writer)) = (taker, writers.first())
            && workers::is_worker(&taker)
            && !holds(taker.pid)
            && !holds(taker.ppid)
        {
            return State::Refuted(vec![taker.n, writer.n]);
        }
        let lines = self.worker_lines().iter();
        let streams: BTreeSet<Option<&str>> = lines.map(|told| told.line.stream.as_deref()).collect();
        let only = streams.first().filter(|_| streams.len() == 1);
        match (roots, only.and_then(|stream| self.container_of_stream(*stream))) {
            (1, _) => proved(writers.iter().map(|writer| writer.n)),
            // Its engine reads it, and nobody holds a file.
            (0, Some(container)) => proved([container.n]),
            _ => State::Assumed,
        }
    }

    /// It is known as what it is by something else than the connection.
    pub(super) fn peer_is_process(&self, connection: &str) -> State {
        let Some(Fact { n, value: pid, .. }) = self.peer(connection) else {
            return State::Assumed;
        };
        let Some(process) = self.process(pid) else {
            return State::Assumed;
        };
        if passes_on(self, &process) {
            return State::Refuted(vec![n, process.n]);
        }
        let is_python = programs::runs_python(self, &process);
        let serves = is_python && self.api_processes().iter().any(|api| api.pid == pid);
        if serves || workers::is_shown_a_worker(self, &process) {
            return proved([n, process.n]);
        }
        State::Assumed
    }

    /// The same command of the same user in the same folder is the same worker, started twice.
    pub(super) fn not_a_replica(&self, pid: i32) -> State {
        let Some(other) = self.process(pid) else {
            return State::Assumed;
        };
        let mut known = false;
        for own in workers::live_workers(self) {
            if own.pid == pid {
                continue;
            }
            known = true;
            let command = |process: &Process| {
                process
                    .parent_command
                    .clone()
                    .filter(|words| workers::is_worker_command(words))
                    .unwrap_or_else(|| process.command.clone())
            };
            let is_same = without_names(&command(&own)) == without_names(&command(&other));
            if own.cwd != other.cwd || own.user != other.user {
                continue;
            }
            if is_same {
                return State::Refuted(vec![other.n, own.n]);
            }
            // With other options, more threads say, it may be meant as one all the same.
            if named_by(&command(&own)) == named_by(&command(&other)) {
                return State::Assumed;
            }
        }
        match known && other.cwd.is_some() {
            true => proved([other.n]),
            false => State::Assumed,
        }
    }
}

/// What stands before the `@` of a node's name, where its command gives it one that is no pattern.
fn node_name(command: &[String]) -> Option<&str> {
    let given = command
        .iter()
        .enumerate()
        .find_map(|(at, word)| match word.as_str() {
            "-n" | "--hostname" => command.get(at + 1).map(String::as_str),
            word => word.strip_prefix("--hostname="),
        })?;
    let (name, _) = given.split_once('@')?;
    (!name.contains('%')).then_some(name)
}

/// What a command names: modules and queues, without its options and their numbers.
fn named_by(command: &[String]) -> Vec<&str> {
    let words = command.iter().map(String::as_str);
    words
        .filter(|word| !word.starts_with('-') && word.parse::<u64>().is_err())
        .collect()
}

/// A worker's command without what every start of it has of its own: its node's name and its files.
fn without_names(command: &[String]) -> Vec<&str> {
    const OWN: &[&str] = &[
        "-n",
        "--hostname",
        "-f",
        "--logfile",
        "--log-file",
        "--pidfile",
        "--pid-file",
        "-s",
        "--schedule",
        "--schedule-filename",
        "-S",
        "--statedb",
    ];
    let mut kept = Vec::new();
    let mut words = command.iter().map(String::as_str);
    while let Some(word) = words.next() {
        match word.split_once('=') {
            Some((option, _)) if OWN.contains(&option) => {}
            None if OWN.contains(&word) => {
                words.next();
            }
            _ => kept.push(word),
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::{node_name, without_names};

    fn words(command: &str) -> Vec<String> {
        command.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn a_name_of_its_own_makes_no_other_worker() {
        let (one, two) = (
            words("celery -A jobs worker -n w1@%h --pidfile=/run/1.pid -c 2"),
            words("celery -A jobs worker -n w2@%h --pidfile=/run/2.pid -c 2"),
        );
        assert_eq!(without_names(&one), without_names(&two));
        let other = words("celery -A jobs worker -n w2@%h -Q heavy -c 2");
        assert_ne!(without_names(&one), without_names(&other));
    }

    #[test]
    fn the_name_of_a_node() {
        assert_eq!(node_name(&words("celery worker -n w1@%h")), Some("w1"));
        assert_eq!(node_name(&words("celery worker --hostname=w1@vm")), Some("w1"));
        for unknown in ["celery worker", "celery worker -n w%i@%h", "celery worker -n w1"] {
            assert_eq!(node_name(&words(unknown)), None, "{unknown}");
        }
    }
}
