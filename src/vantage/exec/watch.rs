//! A place that is watched: its script stays, and answers what the run wants to know.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::answer::{self, View};
use super::channel::{Channel, Patience};
use super::parts::workers;
use super::place::Place;
use super::transfer::Transfer;
use super::unreachable::{Trouble, Unreachable};
use crate::config::Config;
use crate::timeline::environment::{Environment, Found, Variable};
use crate::timeline::place::{number_in, place_of};
use crate::timeline::{EventKind, PlaceState, Process};
use crate::vantage::process::mask::Masker;
use crate::vantage::process::{Configured, ProcessQuery, Twins};
use crate::vantage::{Phases, Tap};

/// `ssh` and `kubectl` take seconds where the network is slow.
pub(super) const ANSWERS_WITHIN: Duration = Duration::from_secs(8);
/// Once it is there, it answers in milliseconds; a container that is paused does not.
const GOES_ON_WITHIN: Duration = Duration::from_millis(1500);
/// The last look must be over before the run is.
const LAST_LOOK_WITHIN: Duration = Duration::from_millis(2200);
/// From one look to the next.
const EVERY: Duration = Duration::from_millis(500);
/// From one try to get in to the next.
const AGAIN: Duration = Duration::from_secs(2);
/// Processes of a place that are told of, and connections that are looked for.
const MOST_SHOWN: usize = 32;
const MOST_WANTED: usize = 256;

/// What a place is asked, and told how to answer.
pub struct WatchRequest {
    pub place: Place,
    pub queries: mpsc::UnboundedReceiver<ProcessQuery>,
    /// To the watcher of this machine's processes.
    pub here: mpsc::UnboundedSender<ProcessQuery>,
    pub twins: Twins,
    /// Resolved once it was looked into, or could not be.
    pub looked: oneshot::Sender<()>,
}

pub(super) struct Watcher {
    pub(super) place: Place,
    pub(super) tap: Tap,
    pub(super) here: mpsc::UnboundedSender<ProcessQuery>,
    pub(super) twins: Twins,
    pub(super) configured: Configured,
    pub(super) masker: Arc<Masker>,
    /// The API's port, as it is known here.
    pub(super) port: Option<u16>,
    pub(super) stay: Duration,
    pub(super) channel: Option<Channel>,
    /// Whether it could be looked into, as it was told last.
    pub(super) told: Option<EventKind>,
    pub(super) tried: Instant,
    /// Told processes, by the pids that they have there.
    pub(super) shown: BTreeMap<i32, Process>,
    /// How each was found so far; a process is its pid there and its start.
    pub(super) ways: BTreeSet<(i32, Option<i64>, Found)>,
    pub(super) variables: HashMap<i32, BTreeMap<String, Variable>>,
    pub(super) fingerprinted: Vec<Environment>,
    /// Connections whose holder is looked for, and those whose holder was found.
    pub(super) wanted: Vec<String>,
    pub(super) known: BTreeSet<String>,
    pub(super) logged: BTreeSet<i32>,
    pub(super) apis: BTreeSet<i32>,
    pub(super) is_last_look: bool,
    /// Of the program that reads stacks there.
    pub(super) transfer: Transfer,
}

/// Watches one place until the run is over.
pub async fn watch(config: &Config, request: WatchRequest, tap: Tap, mut phases: Phases) {
    let mut queries = request.queries;
    let api = config.api.as_ref();
    let mut watcher = Watcher {
        place: request.place,
        tap,
        here: request.here,
        twins: request.twins,
        configured: Configured::new(config),
        masker: Arc::new(Masker::of_places()),
        port: api.and_then(|api| api.url.port_or_known_default()),
        stay: config.timing.timeout + Duration::from_secs(60),
        channel: None,
        told: None,
        tried: Instant::now(),
        shown: BTreeMap::new(),
        ways: BTreeSet::new(),
        variables: HashMap::new(),
        fingerprinted: Vec::new(),
        wanted: Vec::new(),
        known: BTreeSet::new(),
        logged: BTreeSet::new(),
        apis: BTreeSet::new(),
        is_last_look: false,
        transfer: Transfer::default(),
    };
    {
        // A run may be over before a slow way has led anywhere: what comes of it then still counts.
        let mut first = std::pin::pin!(watcher.first_look());
        tokio::select! {
            () = &mut first => {}
            phase = phases.ending() => if !phase.stop {
                let _ = tokio::time::timeout(LAST_LOOK_WITHIN, first).await;
            }
        }
    }
    let _ = request.looked.send(());
    let mut submitted = None;
    loop {
        let phase = tokio::select! {
            biased;
            phase = phases.ending() => phase,
            query = queries.recv() => {
                query.into_iter().for_each(|query| watcher.take(query));
                phases.now()
            }
            () = tokio::time::sleep(EVERY) => phases.now(),
        };
        while let Ok(query) = queries.try_recv() {
            watcher.take(query);
        }
        if phase.stop {
            break;
        }
        if phase.last_look {
            watcher.last_look().await;
            break;
        }
        watcher.look(GOES_ON_WITHIN).await;
        if phase.submitted || phase.task_id.is_some() {
            let since = submitted.get_or_insert_with(Instant::now);
            if !phase.row_final {
                watcher.approach(since.elapsed()).await;
            }
        }
    }
    if let Some(channel) = watcher.channel.take() {
        channel.close().await;
    }
}

impl Watcher {
    pub(super) fn is_the_workers(&self) -> bool {
        self.place.part == "worker"
    }

    fn take(&mut self, query: ProcessQuery) {
        match query {
            ProcessQuery::Connection(name)
                if self.wanted.len() < MOST_WANTED
                    && !self.wanted.contains(&name)
                    && !self.known.contains(&name) =>
            {
                self.wanted.push(name);
            }
            ProcessQuery::Logged(pid) if self.logged.len() < MOST_WANTED => {
                self.logged.insert(pid);
                // Nothing of it can be seen there; perhaps it can here.
                if matches!(self.told, Some(EventKind::PlaceUnreachable { .. })) {
                    let _ = self.here.send(ProcessQuery::Logged(pid));
                }
            }
            _ => {}
        }
    }

    async fn first_look(&mut self) {
        self.open(ANSWERS_WITHIN).await;
        self.look(ANSWERS_WITHIN).await;
    }

    async fn last_look(&mut self) {
        self.is_last_look = true;
        let deadline = Instant::now() + LAST_LOOK_WITHIN;
        match self.told {
            // One that has not answered in all that time does not now.
            None => {}
            Some(EventKind::PlaceUnreachable { .. }) => {
                self.open(LAST_LOOK_WITHIN).await;
                self.look(LAST_LOOK_WITHIN).await;
            }
            Some(_) => self.look(LAST_LOOK_WITHIN).await,
        }
        if self.told.is_none() {
            let silent = Unreachable::new(&self.place, Trouble::Silent(ANSWERS_WITHIN));
            self.out_of_sight(silent);
        }
        self.stacks(deadline).await;
    }

    async fn open(&mut self, answer: Duration) {
        self.tried = Instant::now();
        let patience = Patience {
            answer,
            stay: self.stay,
        };
        match Channel::open(&self.place, patience, self.tried + answer).await {
            Ok(channel) => self.channel = Some(channel),
            Err(unreachable) => self.out_of_sight(unreachable),
        }
    }

    /// What is known of its processes is what they were.
    fn out_of_sight(&mut self, unreachable: Unreachable) {
        let state = unreachable.said.as_deref().and_then(PlaceState::said);
        let has_ended = matches!(state, Some(PlaceState::NotRunning | PlaceState::Restarting));
        let had = matches!(self.told, Some(EventKind::PlaceReached { .. }));
        let reason = unreachable.reason();
        self.tell(super::unreachable_event(&self.place, unreachable));
        if has_ended {
            // So has all that ran in it.
            for process in std::mem::take(&mut self.shown).into_values() {
                self.tap.see(EventKind::Gone {
                    pid: process.pid,
                    exit: None,
                });
            }
            self.variables.clear();
        }
        if !had {
            for pid in &self.logged {
                let _ = self.here.send(ProcessQuery::Logged(*pid));
            }
            return;
        }
        self.tap.partial(format!(
            "{reason}: what its processes do from then on is not seen"
        ));
        for process in self.shown.values_mut() {
            process.state = Process::OUT_OF_SIGHT;
            process.sockets.clear();
            process.sockets_seen = false;
            self.tap.see(EventKind::Process(process.clone()));
        }
    }

    fn tell(&mut self, kind: EventKind) {
        if self.told.as_ref() != Some(&kind) {
            self.tap.see(kind.clone());
            self.told = Some(kind);
        }
    }

    async fn look(&mut self, within: Duration) {
        if self.channel.is_none() {
            if self.tried.elapsed() < AGAIN {
                return;
            }
            self.open(GOES_ON_WITHIN).await;
        }
        let Some(mut channel) = self.channel.take() else {
            return;
        };
        let deadline = channel.answers_within(within);
        match self.look_through(&mut channel, deadline).await {
            Ok(()) => self.channel = Some(channel),
            Err(trouble) => self.broken(channel, trouble).await,
        }
    }

    pub(super) async fn broken(&mut self, channel: Channel, trouble: Trouble) {
        self.transfer.lost();
        let unreachable = channel.end(trouble).await;
        // Whoever is asked to let us in again says why it has ended.
        self.open(GOES_ON_WITHIN).await;
        if self.channel.is_none() && self.told.is_none() {
            self.out_of_sight(unreachable);
        }
    }

    async fn look_through(&mut self, channel: &mut Channel, deadline: Instant) -> Result<(), Trouble> {
        let view = answer::view(channel, deadline).await?;
        if !matches!(self.told, Some(EventKind::PlaceReached { .. })) {
            self.tell(EventKind::PlaceReached {
                part: self.place.part.to_owned(),
                processes: view.processes.len() as u64,
            });
        }
        self.gone(&view);
        let mut wanted: BTreeMap<i32, Vec<Found>> = BTreeMap::new();
        let mut add = |pid: i32, found: Found| wanted.entry(pid).or_default().push(found);
        let mut peers = Vec::new();
        self.wanted.retain(|name| match view.holder(name) {
            Some(pid) => {
                peers.push((name.clone(), pid));
                add(pid, Found::Connection);
                false
            }
            None => true,
        });
        for pid in &self.logged {
            add(*pid, Found::LogLine);
        }
        match self.is_the_workers() {
            true => workers(&view).for_each(|pid| add(pid, Found::WorkerCommand)),
            false => view
                .servers(self.port)
                .into_iter()
                .for_each(|pid| add(pid, Found::ApiPort)),
        }
        for pid in self.shown.keys() {
            wanted.entry(*pid).or_default();
        }
        let mut numbers = HashMap::new();
        for (pid, found) in wanted.into_iter().take(MOST_SHOWN) {
            if let Some(process) = view.process(pid)
                && let Some(number) = self.show(process, &found, channel, deadline).await?
            {
                numbers.insert(pid, number);
                if found.contains(&Found::ApiPort) && self.apis.insert(number) {
                    self.tap.see(EventKind::ApiProcess { pid: number });
                }
            }
        }
        for (connection, pid) in peers {
            self.known.insert(connection.clone());
            // Of its own processes this machine says so itself.
            if let Some(&pid) = numbers.get(&pid)
                && place_of(pid).is_some()
            {
                self.tap.see(EventKind::Peer { connection, pid });
            }
        }
        Ok(())
    }

    /// Says who has ended since: another process may have its pid by now.
    fn gone(&mut self, view: &View) {
        if !view.is_whole {
            return;
        }
        let part = self.place.part;
        let tap = &self.tap;
        let variables = &mut self.variables;
        self.shown.retain(|pid, last| {
            let lives = view
                .process(*pid)
                .is_some_and(|process| process.started_at_ms == last.started_at_ms);
            if !lives {
                variables.remove(pid);
                tap.see(EventKind::Gone {
                    pid: number_in(part, *pid),
                    exit: None,
                });
            }
            lives
        });
        self.logged.retain(|pid| view.process(*pid).is_some());
        self.ways.retain(|(pid, began, _)| {
            view.process(*pid)
                .is_some_and(|process| process.started_at_ms == *began)
        });
    }
}
