//! Processes: who is at the end of a connection, and which are the watched worker's.

use std::collections::{BTreeMap, BTreeSet};

use super::stacks::{self, Dump, Thread};
use super::{Fact, Story, Transfer, control, programs, relays, workers};
use crate::diagnosis::premises::{Premise, State};
use crate::framework::LogEvent;
use crate::timeline::environment::{Environment, Found};
use crate::timeline::{EventKind, Process, Role, Source};

/// A part of the system that was started in this run.
#[derive(Debug, Clone, Copy)]
pub struct Launch {
    pub n: u32,
    pub ended: Option<End>,
    /// It was seen to do its work.
    pub ready: Option<u32>,
    /// It was given up.
    pub not_ready: Option<u32>,
}

/// How it ended.
#[derive(Debug, Clone, Copy)]
pub struct End {
    pub n: u32,
    pub after_ms: f64,
    pub exit: i32,
}

impl<'a> Story<'a> {
    /// The process at the client's end of a connection.
    pub fn peer(&self, connection: &str) -> Option<Fact<i32>> {
        self.peer_whose(|name| name == connection)
    }

    /// The process at the client's end of a database connection, `ip:port`.
    pub fn peer_of_client(&self, client: &str) -> Option<Fact<i32>> {
        self.peer_whose(|name| name.split(" -> ").next() == Some(client))
    }

    fn peer_whose(&self, is: impl Fn(&str) -> bool) -> Option<Fact<i32>> {
        self.facts(|kind| match kind {
            EventKind::Peer { connection, pid } if is(connection) => Some(*pid),
            _ => None,
        })
        .next()
    }

    /// What was last seen of a process.
    pub fn process(&self, pid: i32) -> Option<Fact<&'a Process>> {
        self.looks_at_processes().rfind(|process| process.pid == pid)
    }

    /// What was last seen of it while it had a command line: one that has ended and was not waited for has none.
    pub fn process_in_life(&self, pid: i32) -> Option<Fact<&'a Process>> {
        let mut looks = self.looks_at_processes();
        let in_life = looks.rfind(|process| process.pid == pid && !process.command.is_empty());
        in_life.or_else(|| self.process(pid))
    }

    /// Every process that was seen, as it was seen last.
    pub fn all_processes(&self) -> impl Iterator<Item = Fact<&'a Process>> {
        let last: BTreeMap<i32, _> = self
            .looks_at_processes()
            .map(|process| (process.pid, process))
            .collect();
        last.into_values()
    }

    pub(super) fn looks_at_processes(&self) -> impl DoubleEndedIterator<Item = Fact<&'a Process>> {
        self.facts(|kind| match kind {
            EventKind::Process(process) => Some(process),
            _ => None,
        })
    }

    /// Processes that ended during the run.
    pub fn gone(&self, pid: i32) -> Option<u32> {
        self.find(|event| {
            matches!(&event.kind, EventKind::Gone { pid: gone, .. } if *gone == pid).then_some(event.n)
        })
    }

    /// What `--start` started as this part of the system.
    pub fn started(&self, part: &str) -> Option<Launch> {
        let (n, at_ms, pid) = self.find(|event| match &event.kind {
            EventKind::Started { part: name, pid, .. } if name == part => Some((event.n, event.at_ms, *pid)),
            _ => None,
        })?;
        let ended = self.find(|event| match event.kind {
            EventKind::Gone {
                pid: gone,
                exit: Some(exit),
            } if gone == pid => Some(End {
                n: event.n,
                after_ms: event.at_ms - at_ms,
                exit,
            }),
            _ => None,
        });
        let ready = self.find(|event| match &event.kind {
            EventKind::Ready { part: name, .. } if name == part => Some(event.n),
            _ => None,
        });
        let not_ready = self.find(|event| match &event.kind {
            EventKind::NotReady { part: name, .. } if name == part => Some(event.n),
            _ => None,
        });
        Some(Launch {
            n,
            ended,
            ready,
            not_ready,
        })
    }

    /// The worker of this run ended, and not by going into the background.
    pub(super) fn started_worker_is_dead(&self) -> bool {
        let ended = self.started("worker").and_then(|launch| launch.ended);
        ended.is_some_and(|end| end.exit != 0)
    }

    /// The processes that serve the API. Behind a proxy on its port they are those of the container whose log is the
    /// API's, where that is known.
    pub fn api_processes(&self) -> Vec<Fact<&'a Process>> {
        let mut pids = BTreeSet::new();
        for event in &self.timeline.events {
            if let EventKind::ApiProcess { pid } = &event.kind {
                pids.insert(*pid);
            }
        }
        let listeners: Vec<Fact<&Process>> = pids.into_iter().filter_map(|pid| self.process(pid)).collect();
        let (relays, served): (Vec<_>, Vec<_>) = listeners
            .into_iter()
            .partition(|process| relays::is_relay(process));
        match served.is_empty() && !relays.is_empty() {
            true => self.behind_the_proxy(),
            false => served,
        }
    }

    fn behind_the_proxy(&self) -> Vec<Fact<&'a Process>> {
        let containers = self.containers();
        let of_the_api = containers.filter(|container| container.roles.contains(&Role::ApiLog));
        let inside = of_the_api.flat_map(|container| self.processes_in(&container));
        let is_python = |process: &Process| process.command.iter().any(|word| word.contains("python"));
        inside
            .filter(|process| is_python(process) && !workers::is_worker(process))
            .collect()
    }

    /// The processes of this machine whose lines stand in the watched worker's log, since its last boot.
    pub fn log_pids(&self) -> BTreeSet<i32> {
        self.worker_lines.iter().filter_map(|told| told.pid).collect()
    }

    /// Pids in the log of workers that say which queues they consume, and not the task's: another service's.
    pub(in crate::diagnosis) fn pids_of_other_queues(&self) -> BTreeSet<i32> {
        let mut consume: BTreeMap<i32, bool> = BTreeMap::new();
        for told in &self.worker_lines {
            if let (Some(LogEvent::AddingConsumer { queue }), Some(pid)) = (told.mark, told.pid) {
                *consume.entry(pid).or_default() |= self.is_of_my_queue(queue);
            }
        }
        let others = consume.into_iter().filter(|(_, is_ours)| !is_ours);
        others.map(|(pid, _)| pid).collect()
    }

    /// Pids in the log under which the framework says nothing, and which are no worker's: another program writes to
    /// the same log. Only where the log's pids are this machine's, and each process that runs tasks speaks.
    pub(super) fn pids_of_other_programs(&self) -> BTreeSet<i32> {
        let speak: BTreeSet<i32> = self
            .worker_lines
            .iter()
            .filter(|told| told.mark.is_some())
            .filter_map(|told| told.pid)
            .collect();
        let mut others = self.pids_of_other_queues();
        if speak.is_empty()
            || self.master_takes()
            || !matches!(self.state(&Premise::SamePidSpace), State::Proved(_))
        {
            return others;
        }
        let is_workers = |pid: i32| {
            let process = self.process(pid);
            process.is_some_and(|process| workers::is_worker(&process) || speak.contains(&process.ppid))
        };
        let is_strange = |pid: &i32| !speak.contains(pid) && !is_workers(*pid);
        others.extend(self.log_pids().into_iter().filter(is_strange));
        others
    }

    /// Processes that have the watched worker's log open for writing, or descend from one that has.
    pub fn log_holders(&self) -> BTreeSet<i32> {
        self.timeline
            .events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Process(process) if process.holds_log => Some(process.pid),
                _ => None,
            })
            .collect()
    }

    /// Whether a process belongs to the watched worker: it, its parent, its child or its sibling
    /// writes the watched log, or holds it open. `None`: nothing says either way.
    pub fn is_watched(&self, pid: i32) -> Option<bool> {
        // "The watched worker" is the one whose log is watched.
        if !self.sees(Source::WorkerLog) {
            return None;
        }
        let pids = self.log_pids();
        let process = self.process_in_life(pid).map(|process| process.value);
        let related = |logged: &Process| {
            logged.ppid == pid || process.is_some_and(|process| programs::are_siblings(process, logged))
        };
        if pids.contains(&pid)
            || process.is_some_and(|process| {
                // An orphan inherited the file from its dead master: holding it proves nothing.
                let orphan = process.ppid <= 1 && !self.master_takes() && self.looks_like_a_worker(process);
                (process.holds_log && !orphan) || pids.contains(&process.ppid)
            })
            || self.logged_workers().any(related)
        {
            return Some(true);
        }
        // Whatever is behind it is not known.
        if process.is_some_and(|process| relays::passes_on(self, process)) {
            return None;
        }
        let holders: Vec<i32> = self.workers_found_by_the_log().map(|holder| holder.pid).collect();
        if process.is_some_and(|process| holders.contains(&process.ppid)) {
            return Some(true);
        }
        // "No" needs a process that is known to be the watched worker's, or a worker that has said
        // goodbye. Otherwise the log's pids may be those of a container, which count from 1 and
        // mean others here.
        let ended = self.worker_lines.iter().rev().find_map(|told| match told.mark {
            Some(LogEvent::Stopping | LogEvent::ShutDown) => Some(true),
            Some(LogEvent::Ready | LogEvent::BootingUp | LogEvent::Received { .. }) => Some(false),
            _ => None,
        });
        let known = ended == Some(true)
            || self.logged_workers().next().is_some()
            // Its own processes inherit what a holder has open.
            || (process.is_some_and(|process| process.sockets_seen && !process.holds_log)
                && holders.iter().any(|holder| *holder != pid))
            || self.timeline.events.iter().any(|event| {
                matches!(&event.kind, EventKind::Process(process) if process.holds_log && self.looks_like_a_worker(process))
            });
        known.then_some(false)
    }

    /// Workers that were found because they, or an ancestor, have the watched log open: a run may end before the list of
    /// processes has them.
    pub(super) fn workers_found_by_the_log(&self) -> impl Iterator<Item = Fact<&'a Environment>> {
        self.facts(|kind| match kind {
            EventKind::Environment(environment)
                if environment.found.contains(&Found::WorkerLog)
                    && workers::is_worker_command(&environment.command) =>
            {
                Some(&**environment)
            }
            _ => None,
        })
    }

    /// Processes of this machine that write the watched log: by its pids, and only what looks like
    /// a worker, since a container's pids mean other processes here.
    fn logged_workers(&self) -> impl Iterator<Item = &'a Process> {
        self.log_pids()
            .into_iter()
            .filter_map(|pid| self.process(pid).map(|process| process.value))
            .filter(|process| self.looks_like_a_worker(process))
    }

    /// The processes of the watched worker were found on this machine, connections included.
    pub fn watched_is_local(&self) -> bool {
        let mut found = self.logged_workers().peekable();
        found.peek().is_some() && found.all(|process| process.sockets_seen)
    }

    /// The process that has our message, the only one unacknowledged, stands in the application's
    /// code below the framework's call of an actor.
    pub(super) fn stands_in_the_actor(&self) -> Option<Fact<()>> {
        // By its worker's word it waits for its turn.
        if control::holder(self).is_some_and(|(_, state)| state != "active") {
            return None;
        }
        let passage = self.deliveries().last()?;
        let taker = self.peer(passage.connection)?.value;
        if !self.acknowledges_after_the_run() {
            return self.child_in_the_actor(passage, taker);
        }
        let alone = self
            .infos(self.queue())
            .last()
            .is_some_and(|info| info.counted_ms > passage.at_ms && info.unacked == Some(1));
        let shape = &self.framework().stack;
        let in_the_actor = |thread: &Thread<'_>| thread.is_in_a_task(shape);
        let mut dumps = self.stacks().dumps().rev();
        dumps.find_map(|dump| {
            let mut inside = dump.threads().filter(in_the_actor);
            let one = inside.next().is_some() && inside.next().is_none();
            (alone && dump.pid == taker && dump.at_ms > passage.at_ms && one).then_some(Fact::new(
                dump.n,
                dump.at_ms,
                (),
            ))
        })
    }

    /// The same where a master takes messages and its children run them: one child alone stands in the
    /// actor's function, and the log shows no other message for it in the worker's hands.
    fn child_in_the_actor(&self, passage: &Transfer<'_>, master: i32) -> Option<Fact<()>> {
        if let Some(by_its_word) = self.active_child_in_the_actor(passage) {
            return Some(by_its_word);
        }
        let actor = passage.message.actor.as_deref()?;
        let others = workers::running_others(self);
        if !self.debug_log() || others.iter().any(|other| other.value == actor) {
            return None;
        }
        let mut last: BTreeMap<i32, Dump<'_>> = BTreeMap::new();
        for dump in self.stacks().dumps().filter(|dump| dump.at_ms > passage.at_ms) {
            last.insert(dump.pid, dump);
        }
        let is_ours =
            |pid: i32| pid == master || self.process(pid).is_some_and(|process| process.ppid == master);
        let inside = |dump: &&Dump<'_>| {
            let mut threads = dump.threads();
            is_ours(dump.pid) && threads.any(|thread| thread.is_still() && stacks::may_run_ours(self, thread))
        };
        let mut found = last.values().filter(inside);
        let dump = found.next()?;
        found
            .next()
            .is_none()
            .then_some(Fact::new(dump.n, dump.at_ms, ()))
    }

    /// The worker says which child runs it, and that one stands in the actor's function.
    fn active_child_in_the_actor(&self, passage: &Transfer<'_>) -> Option<Fact<()>> {
        let (answer, _) = control::holder(self).filter(|(_, state)| *state == "active")?;
        let pid = control::runner(self, answer.value)?;
        let stands = |dump: &Dump<'_>| {
            let mut threads = dump.threads();
            threads.any(|thread| thread.is_still() && stacks::may_run_ours(self, thread))
        };
        let mut dumps = self.stacks().dumps().rev();
        let dump = dumps.find(|dump| dump.pid == pid && dump.at_ms > passage.at_ms && stands(dump))?;
        Some(Fact::new(dump.n, dump.at_ms, ()))
    }

    /// The worker thread that has a message stands in a hook before the actor.
    pub(super) fn stands_before_the_actor(&self) -> bool {
        let shape = &self.framework().stack;
        self.stacks().threads(None).any(|thread| {
            thread.is_still()
                && thread.has(shape.worker_loop)
                && thread.has(shape.before_call)
                && thread.call(shape).is_none()
        })
    }

    /// Signals before and after a task's function are sent alike: something says that it may have run.
    pub(in crate::diagnosis) fn may_stand_after_the_actor(&self) -> bool {
        let Some(taken) = self.deliveries().next().map(|passage| passage.at_ms) else {
            return false;
        };
        let setup = &self.timeline.setup;
        let of_a_run = |word: &String| setup.running.contains(word) || setup.succeeded.contains(word);
        let marked = self
            .rows()
            .iter()
            .any(|row| row.at_ms > taken && row.status.as_ref().is_some_and(of_a_run));
        marked || self.lines().iter().any(|told| told.is_by_the_task())
    }

    /// The children of a worker write files of their own.
    pub(in crate::diagnosis) fn children_write_elsewhere(&self) -> bool {
        let mut all = self.all_processes();
        self.master_takes()
            && all.any(|process| workers::is_worker(&process) && programs::shares_out_its_log(&process))
    }

    /// Not a relay like `tee`, which writes the log in the worker's stead, and nothing else that has a
    /// container's pid by chance.
    fn looks_like_a_worker(&self, process: &Process) -> bool {
        let worker = &self.framework().worker;
        process
            .command
            .iter()
            .any(|word| worker.is_named_in(word) || word.contains("python"))
    }
}
