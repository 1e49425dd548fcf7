//! Containers, as the engine on this machine describes them: Docker's or Podman's API over its socket.
//!
//! Only GETs are sent: nothing is created, started, stopped or run. Whoever may read the socket could do
//! all of that already; we add nothing. Environments are not kept.

mod engine;
mod parse;
mod roles;
mod socket;

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::sync::mpsc;

use super::{Phases, Tap, Watched};
use crate::config::Config;
use crate::timeline::{Container, EventKind};
use engine::Engine;
use roles::Roles;
pub use socket::{Socket, find};

/// A look costs the engine some ten milliseconds.
const EVERY: Duration = Duration::from_millis(1000);
/// More containers than these take no part in one task.
const MOST: usize = 64;

/// The client's end of a connection: whose container has the address?
pub type Address = String;

struct Watcher {
    engine: Engine,
    roles: Roles,
    tap: Tap,
    /// What was told last of each container.
    told: HashMap<String, Container>,
    /// Addresses at the ends of connections.
    wanted: HashSet<Address>,
    /// Events of the engine up to then were told, in Unix seconds.
    until: f64,
}

pub async fn watch(
    config: &Config,
    socket: Socket,
    mut asked: mpsc::UnboundedReceiver<Address>,
    tap: Tap,
    mut phases: Phases,
) -> Watched {
    let engine = Engine::connect(&socket).await?;
    let mut watcher = Watcher {
        roles: Roles::new(config),
        tap: tap.clone(),
        told: HashMap::new(),
        wanted: HashSet::new(),
        until: engine::now(),
        engine,
    };
    watcher.look().await?;
    tap.watching(format!("{}, {}", watcher.engine.name, socket.path.display()));
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = phases.ending() => {}
        }
        while let Ok(address) = asked.try_recv() {
            watcher.wanted.insert(address);
        }
        let phase = phases.now();
        if phase.stop {
            return Ok(());
        }
        // An engine that does not answer once may do so again.
        if let Err(blindness) = watcher.look().await {
            tap.partial(blindness.reason);
        }
        if phase.last_look {
            tap.looked();
            return Ok(());
        }
    }
}

impl Watcher {
    /// The containers that take part, told where something has changed, and what became of them meanwhile.
    async fn look(&mut self) -> Watched {
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
            if let Some(whole) = self.engine.inspect(&container).await? {
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

    fn tell(&mut self, container: Container) {
        if self.told.get(&container.id) != Some(&container) {
            self.tap.see(EventKind::Container(Box::new(container.clone())));
            self.told.insert(container.id.clone(), container);
        }
    }

    async fn events(&mut self) -> Watched {
        let now = engine::now();
        for event in self.engine.events(self.until, now).await? {
            if let Some(container) = self.told.get(&event.id) {
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
