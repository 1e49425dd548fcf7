//! Processes on this machine: who is at the client's end of a connection, and who serves the API.
//!
//! Everything is read from `/proc`; nothing is stopped, traced or run. Processes of other users
//! show their command line but neither their sockets nor their environment.

mod addresses;
mod api;
mod changed;
mod code;
pub mod command;
pub mod container;
pub mod describe;
mod distributions;
mod dotenv;
mod environment;
mod interpreter;
mod logged;
pub mod mask;
pub mod names;
mod peers;
mod reads;
mod rights;
pub mod sockets;
pub mod stacks;
mod tables;
mod twins;
mod view;
mod watched;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::procfs::process::Process as Proc;
use tokio::sync::mpsc;

use super::{Phases, Tap, Watched};
use crate::config::Config;
use crate::error::Unavailable;
use crate::limits;
use crate::timeline::environment::Found;
use crate::timeline::{EventKind, Process};
use addresses::{api_addresses, is_local};
pub use describe::{descends_from, read, state_of};
use describe::{read_with, started_at_ms};
use environment::Fingerprints;
use logged::Logged;
pub use peers::peers;
use sockets::{client_end, holders};
use tables::Tables;
pub use twins::Twins;
pub use watched::Configured;
use watched::{LogFiles, holds, log_files, writers};

/// What the run wants to know of processes.
#[derive(Debug)]
pub enum ProcessQuery {
    /// Who is at the client's end of `ip:port -> ip:port`?
    Connection(String),
    /// Who knows itself by this pid, which stands in the worker's log?
    Logged(i32),
    /// We started it: whoever started it tells of its end.
    Started(i32),
    /// Who serves the API?
    Api,
    /// Who writes the worker's log?
    Writers,
    /// What runs in the container with this id, which writes the worker's log or the API's?
    Container(String),
    /// A place has it, and it can be seen better here.
    Twin(i32, Found),
}

struct Watcher {
    tap: Tap,
    /// Connections already answered.
    known: HashSet<String>,
    /// Processes already shown, with what was shown.
    shown: HashMap<i32, Process>,
    logs: LogFiles,
    worker: Configured,
    logged: Logged,
    /// Where the API is.
    api: Vec<SocketAddr>,
    /// Processes that serve it.
    apis: Vec<i32>,
    /// The container that its port leads to, as it was told last.
    published: Option<EventKind>,
    /// Processes that we started.
    ours: HashSet<i32>,
    /// Containers that write the worker's log, or the API's.
    containers: HashSet<String>,
    fingerprints: Fingerprints,
    /// Those that a place tells of are not told twice.
    twins: Twins,
}

/// What is known of processes before the submission is fingerprinted before it, if it takes no
/// longer: a run may be over in a moment.
const FINGERPRINTS_WITHIN: Duration = Duration::from_secs(1);

pub async fn watch(
    config: &Config,
    mut asked: mpsc::UnboundedReceiver<ProcessQuery>,
    twins: Twins,
    tap: Tap,
    mut phases: Phases,
) -> Watched {
    if !cfg!(target_os = "linux") {
        return Err(Unavailable::new("processes can be looked at on Linux only"));
    }
    let local = is_local(&config.broker.amqp.host()).await;
    if crate::procfs::net::tcp().is_err() {
        return Err(
            Unavailable::new("/proc/net/tcp cannot be read").hint("run taskdiag where /proc is mounted")
        );
    }
    let mut watcher = Watcher {
        tap: tap.clone(),
        known: HashSet::new(),
        shown: HashMap::new(),
        logs: log_files(config),
        worker: Configured::new(config),
        logged: Logged::default(),
        api: api_addresses(config).await,
        apis: Vec::new(),
        published: None,
        ours: HashSet::new(),
        containers: HashSet::new(),
        fingerprints: Fingerprints::new(tap.clone(), config, twins.clone()),
        twins,
    };
    let tables = Tables::default();
    watcher.api(&tables);
    if local && let Some(relay) = api::leads_on_from(config.broker.amqp.port()) {
        tap.see(relay);
    }
    watcher.fingerprint_workers(&tables);
    watcher.fingerprints.settle(FINGERPRINTS_WITHIN).await;
    let root = crate::procfs::process::Process::myself()
        .ok()
        .and_then(|me| me.uid().ok())
        == Some(0);
    match (local, root) {
        (true, true) => tap.watching("processes of this machine, through /proc"),
        (true, false) => {
            tap.partial("the sockets and environments of this user's processes only; `sudo taskdiag` sees those of others")
        }
        (false, _) => tap.partial(format!(
            "the broker {} is not on this machine: connections are matched by this machine's addresses only",
            config.broker.amqp.host()
        )),
    }
    loop {
        let phase = tokio::select! {
            ask = asked.recv() => {
                let mut asks: Vec<ProcessQuery> = ask.into_iter().collect();
                while let Ok(more) = asked.try_recv() {
                    asks.push(more);
                }
                watcher.answer(&asks);
                phases.now()
            }
            () = tokio::time::sleep(Duration::from_millis(250)) => {
                watcher.refresh();
                phases.now()
            }
            phase = phases.ending() => phase,
        };
        if phase.stop {
            return Ok(());
        }
        // What was not found for want of descriptors may be there all the same.
        if let Some(seen) = limits::reached() {
            return Err(Unavailable::new(format!("{seen}, so that /proc is not read")));
        }
        if phase.last_look {
            let mut asks = Vec::new();
            while let Ok(more) = asked.try_recv() {
                asks.push(more);
            }
            watcher.answer(&asks);
            watcher.last_look().await;
            watcher.fingerprints.settle(FINGERPRINTS_WITHIN / 4).await;
            if let Some(seen) = limits::reached() {
                return Err(Unavailable::new(format!("{seen}, so that /proc is not read")));
            }
            return Ok(());
        }
    }
}

impl Watcher {
    /// Answers everything that was asked with one walk through `/proc`: a connection may be gone
    /// again in a moment.
    fn answer(&mut self, asks: &[ProcessQuery]) {
        let tables = Tables::default();
        let mut wanted: Vec<(String, SocketAddr)> = Vec::new();
        for ask in asks {
            match ask {
                ProcessQuery::Logged(pid) => self.show_logged(*pid, &tables),
                ProcessQuery::Started(pid) => {
                    self.ours.insert(*pid);
                    self.show(*pid, &tables);
                }
                ProcessQuery::Api => self.api(&tables),
                ProcessQuery::Container(id) => {
                    self.containers.insert(id.clone());
                    self.show_contained(&tables);
                }
                ProcessQuery::Twin(pid, found) => {
                    self.show(*pid, &tables);
                    self.fingerprints.take(*pid, *found);
                }
                ProcessQuery::Writers => {
                    for pid in writers(&self.logs) {
                        self.show(pid, &tables);
                        self.fingerprints.take(pid, Found::WorkerLog);
                    }
                    // Ready or ended: by now it is what it was meant to become.
                    for pid in &self.ours {
                        self.fingerprints.take(*pid, Found::Started);
                    }
                }
                ProcessQuery::Connection(name) => {
                    if !self.known.contains(name)
                        && wanted.iter().all(|(other, _)| other != name)
                        && let Some(client) = client_end(name)
                    {
                        wanted.push((name.clone(), client));
                    }
                }
            }
        }
        if wanted.is_empty() {
            return;
        }
        for (name, pid) in holders(&wanted, &tables) {
            if self.known.insert(name.clone()) {
                self.tap.see(EventKind::Peer {
                    connection: name,
                    pid,
                });
                self.show(pid, &tables);
                self.fingerprints.take(pid, Found::Connection);
            }
        }
    }

    /// The processes that a pid of the log may mean. Of several only the verdict can tell which.
    fn show_logged(&mut self, pid: i32, tables: &Tables) {
        let shown = &self.shown;
        let found = self.logged.new_for(pid, |pid| shown.contains_key(&pid));
        for &pid in &found {
            self.show(pid, tables);
        }
        if let [one] = found.as_slice() {
            self.fingerprints.take(*one, Found::LogLine);
        }
    }

    /// What runs in the containers of worker and API: a log without pids names none of it, what is no worker writes
    /// none, and a proxy may stand before the API.
    fn show_contained(&mut self, tables: &Tables) {
        for pid in container::processes(&self.containers) {
            self.show(pid, tables);
            if logged::is_worker(pid) {
                self.fingerprints.take(pid, Found::WorkerLog);
            }
        }
    }

    /// The process that serves the API.
    fn api(&mut self, tables: &Tables) {
        let found = api::listeners(&self.api, tables);
        if found.published.is_some() && found.published != self.published {
            self.published.clone_from(&found.published);
            self.published.iter().cloned().for_each(|kind| self.tap.see(kind));
        }
        for pid in found.pids {
            if self.apis.contains(&pid) || !self.twins.tell_here(pid) {
                continue;
            }
            self.tap.see(EventKind::ApiProcess { pid });
            self.apis.push(pid);
            self.show(pid, tables);
            self.fingerprints.take(pid, Found::ApiPort);
        }
    }

    fn show(&mut self, pid: i32, tables: &Tables) {
        if self.shown.contains_key(&pid) {
            return;
        }
        self.show_again(pid, tables);
    }

    fn show_again(&mut self, pid: i32, tables: &Tables) {
        if !self.twins.tell_here(pid) {
            return;
        }
        if let Some(mut process) = read_with(pid, tables) {
            process.holds_log = holds(pid, &self.logs);
            process.is_configured = self.worker.is_it(&process.command, process.cwd.as_deref());
            if self.shown.get(&pid) != Some(&process) {
                self.tap.see(EventKind::Process(process.clone()));
            }
            self.shown.insert(pid, process);
        }
    }

    /// Connections open lazily, so at the end everything is read once more. Time may be short: whoever a
    /// connection or the log names comes before what has the worker's command only.
    async fn last_look(&mut self) {
        let deadline = Instant::now() + STACKS_WITHIN;
        self.refresh();
        let tables = Tables::default();
        self.api(&tables);
        for pid in writers(&self.logs) {
            self.show(pid, &tables);
        }
        self.show_contained(&tables);
        let mut order: Vec<i32> = self.shown.keys().copied().collect();
        order.sort_by_key(|pid| {
            // How the API stands explains no silence of a worker's.
            (
                self.apis.contains(pid),
                !self.shown.get(pid).is_some_and(|process| process.holds_log),
                *pid,
            )
        });
        for pid in &order {
            self.show_again(*pid, &tables);
        }
        let named = order.iter().filter_map(|pid| self.shown.get(pid));
        let looked = stacks::see(&self.tap, named, MOST_STACKS, deadline).await;
        // A worker that has neither a connection nor a log line yet is known by its command only.
        let mut others = Vec::new();
        for pid in self.worker.running() {
            if !self.shown.contains_key(&pid) {
                self.show(pid, &tables);
                others.push(pid);
            }
        }
        let unnamed = others.iter().filter_map(|pid| self.shown.get(pid));
        stacks::see(&self.tap, unnamed, MOST_STACKS - looked, deadline).await;
        self.fingerprint_workers(&tables);
    }

    /// What can be known of the worker before it has done anything. Whoever writes its log is it; by
    /// the command alone another installation's worker would be taken for it.
    fn fingerprint_workers(&mut self, tables: &Tables) {
        let writers = writers(&self.logs);
        for pid in &writers {
            self.fingerprints.take(*pid, Found::WorkerLog);
            // For how long it has been dead says whether anybody will bury it.
            if state_of(*pid) == Some('Z') {
                self.show(*pid, tables);
            }
        }
        for pid in self.worker.running() {
            if writers.is_empty() || writers.contains(&pid) {
                self.fingerprints.take(pid, Found::WorkerCommand);
            }
        }
    }

    /// Says what has changed with the processes shown so far: stopped, orphaned, gone.
    fn refresh(&mut self) {
        let pids: Vec<i32> = self.shown.keys().copied().collect();
        for pid in pids {
            let Some(last) = self.shown.get(&pid) else {
                continue;
            };
            let stat = Proc::new(pid).and_then(|process| process.stat()).ok();
            match stat {
                Some(stat) if started_at_ms(stat.starttime) == last.started_at_ms => {
                    let odd = |state: char| matches!(state, 'T' | 't' | 'Z' | 'D');
                    if stat.ppid != last.ppid
                        || (stat.state != last.state && (odd(stat.state) || odd(last.state)))
                        || (last.container.is_some() && container::is_frozen(pid) != last.frozen)
                    {
                        self.show_again(pid, &Tables::default());
                    }
                }
                None if limits::reached().is_some() => return,
                _ => {
                    self.shown.remove(&pid);
                    if !self.ours.contains(&pid) {
                        self.tap.see(EventKind::Gone { pid, exit: None });
                    }
                }
            }
        }
    }
}

/// Stacks are read of so many processes at most, within this time: a busy machine is slow to let anybody look.
const MOST_STACKS: usize = 8;
const STACKS_WITHIN: Duration = Duration::from_millis(4000);
