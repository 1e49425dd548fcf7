//! Containers, as the engine on this machine describes them: Docker's or Podman's API over its socket.
//!
//! Only GETs are sent: nothing is created, started, stopped or run. Whoever may read the socket could do
//! all of that already; we add nothing. Environments are not kept.

mod engine;
mod parse;
mod roles;
mod socket;

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{Phases, Tap, Watched};
use crate::config::Config;
use crate::error::Unavailable;
use crate::timeline::{Container, EventKind, Role};
use engine::Engine;
use roles::Roles;
pub use socket::{Socket, find};

/// A look costs the engine some ten milliseconds.
const EVERY: Duration = Duration::from_millis(1000);
/// More containers than these take no part in one task.
const MOST: usize = 64;

/// For the description of one container.
const ONE_WITHIN: Duration = Duration::from_millis(2500);

/// While the reason of a kill is waited for.
const SOON: Duration = Duration::from_millis(150);
/// Between the kernel's kill and the engine's word of it; a log tells at once.
const WORD_OF_A_KILL: Duration = Duration::from_millis(1500);

/// What the run wants to know of containers.
#[derive(Debug)]
pub enum ContainerQuery {
    /// The client's end of a connection: whose container has the address?
    Address(String),
    /// A worker's process was killed: was it for memory?
    Killed,
}

struct Watcher {
    engine: Engine,
    roles: Roles,
    tap: Tap,
    /// What was told last of each container.
    told: HashMap<String, Container>,
    /// Those that the engine has not described in time, and how they were then.
    hanging: HashMap<String, String>,
    /// Addresses at the ends of connections.
    wanted: HashSet<String>,
    /// A worker's process was killed, as its log says.
    killed: Option<Instant>,
    /// The engine has told of a kill for memory.
    out_of_memory: bool,
    /// Events of the engine up to then were told, in Unix seconds.
    until: f64,
}

/// What the engine of this machine tells of its containers, if there is one and it may be asked.
pub async fn listed() -> Vec<Container> {
    let Some(socket) = find("auto") else {
        return Vec::new();
    };
    match Engine::connect(&socket).await {
        Ok(engine) => engine.list().await.unwrap_or_default(),
        Err(_) => Vec::new(),
    }
}

pub async fn watch(
    config: &Config,
    socket: Socket,
    mut asked: mpsc::UnboundedReceiver<ContainerQuery>,
    tap: Tap,
    mut phases: Phases,
) -> Watched {
    let engine = Engine::connect(&socket).await?;
    let mut watcher = Watcher {
        roles: Roles::new(config),
        tap: tap.clone(),
        told: HashMap::new(),
        hanging: HashMap::new(),
        wanted: HashSet::new(),
        killed: None,
        out_of_memory: false,
        until: engine::now(),
        engine,
    };
    watcher.look(true).await?;
    tap.watching(format!("{}, {}", watcher.engine.name, socket.path.display()));
    let mut next = Instant::now() + EVERY;
    loop {
        tokio::select! {
            () = tokio::time::sleep(next.saturating_duration_since(Instant::now())) => {}
            _ = phases.ending() => {}
            Some(query) = asked.recv() => {
                watcher.take(query);
                // The log is quicker than the engine: its word is waited for.
                if watcher.waits_for_a_reason() {
                    next = next.min(Instant::now() + SOON);
                }
                continue;
            }
        }
        while let Ok(query) = asked.try_recv() {
            watcher.take(query);
        }
        let phase = phases.now();
        if phase.stop {
            return Ok(());
        }
        // An engine that does not answer once may do so again.
        if let Err(blindness) = watcher.look(phase.last_look).await {
            tap.partial(blindness.reason);
        }
        if phase.last_look {
            tap.looked();
            return Ok(());
        }
        next = Instant::now() + if watcher.waits_for_a_reason() { SOON } else { EVERY };
    }
}

impl Watcher {
    /// The containers that take part, told where something has changed, and what became of them meanwhile.
    async fn look(&mut self, with_statistics: bool) -> Watched {
        let list = self.engine.list().await?;
        let projects = self.roles.projects(&list);
        let known: HashSet<String> = list.iter().map(|container| container.id.clone()).collect();
        let mut parts = 0;
        for mut container in list {
            container.roles = self.roles.of(&container);
            let takes_part = !container.roles.is_empty()
                || container
                    .project
                    .as_ref()
                    .is_some_and(|project| projects.contains(project))
                || container
                    .addresses
                    .iter()
                    .any(|address| self.wanted.contains(address));
            if !takes_part || parts == MOST {
                continue;
            }
            parts += 1;
            if let Some(mut whole) = self.describe(&container).await? {
                // Of one that does not run only now the ports are known.
                whole.roles = self.roles.of(&whole);
                self.measure(&mut whole, with_statistics).await;
                self.tell(whole);
            }
        }
        // What is recreated has another id: the old one is gone.
        let gone: Vec<String> = self
            .told
            .keys()
            .filter(|id| !known.contains(*id))
            .cloned()
            .collect();
        for id in gone {
            if let Some(container) = self.told.remove(&id) {
                self.say(&container, "destroy", None);
            }
        }
        self.events().await
    }

    /// An engine may hang over one of them, as over a paused one whose health check hangs, and answer for the others:
    /// then the list is what is known of that one.
    async fn describe(&mut self, listed: &Container) -> Result<Option<Container>, Unavailable> {
        let hung_so = self.hanging.get(&listed.id) == Some(&listed.state);
        let inspected = self.engine.inspect(listed);
        match (!hung_so).then(|| tokio::time::timeout(ONE_WITHIN, inspected)) {
            Some(answer) => match answer.await {
                Ok(answer) => return answer,
                Err(_) => self.hanging.insert(listed.id.clone(), listed.state.clone()),
            },
            None => None,
        };
        let known = self.told.get(&listed.id).cloned();
        Ok(Some(Container {
            state: listed.state.clone(),
            ..known.unwrap_or_else(|| listed.clone())
        }))
    }

    /// Of the watched worker, where its CPU is limited: each look would be news.
    async fn measure(&self, container: &mut Container, now: bool) {
        let is_limited = container.cpu_limit.is_some() && container.roles.contains(&Role::WorkerLog);
        if !is_limited || container.state != "running" {
            return;
        }
        let before = self.told.get(&container.id).and_then(|told| told.held_back_ms);
        container.held_back_ms = match now {
            true => self.engine.held_back_ms(&container.id).await.or(before),
            false => before,
        };
    }

    fn tell(&mut self, container: Container) {
        if self.told.get(&container.id) != Some(&container) {
            self.tap.see(EventKind::Container(Box::new(container.clone())));
            self.told.insert(container.id.clone(), container);
        }
    }

    fn take(&mut self, query: ContainerQuery) {
        match query {
            ContainerQuery::Address(address) => drop(self.wanted.insert(address)),
            ContainerQuery::Killed => self.killed = Some(Instant::now()),
        }
    }

    /// A process was killed just now, and the engine has not said that it was for memory.
    fn waits_for_a_reason(&self) -> bool {
        let just_now = |at: Instant| at.elapsed() < WORD_OF_A_KILL;
        !self.out_of_memory && self.killed.is_some_and(just_now)
    }

    async fn events(&mut self) -> Watched {
        let now = engine::now();
        for event in self.engine.events(self.until, now).await? {
            if let Some(container) = self.told.get(&event.id) {
                self.out_of_memory |= event.action == "oom";
                self.say(container, &event.action, event.exit);
            }
        }
        self.until = now;
        Ok(())
    }

    fn say(&self, container: &Container, action: &str, exit: Option<i32>) {
        self.tap.see(EventKind::ContainerEvent {
            container: container.name.clone(),
            action: action.to_owned(),
            exit,
        });
    }
}
