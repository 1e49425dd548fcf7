//! Containers: which are the watched worker's, who is at a connection's end, and what became of them.

use std::collections::{BTreeMap, BTreeSet};

use super::workers::is_worker_command;
use super::{Fact, Story};
use crate::diagnosis::premises::EventId;
use crate::framework::LogEvent;
use crate::timeline::{Container, EventKind, Process, Role, Source, place};
use crate::units;

/// Something that became of a container during the run.
#[derive(Debug, Clone, Copy)]
pub struct ContainerNews<'a> {
    pub n: EventId,
    pub at_ms: f64,
    pub action: &'a str,
    pub exit: Option<i32>,
}

impl<'a> Story<'a> {
    /// Every container that was told of and is still there, as it was told last. A name is given to one at a time:
    /// whoever had it before is gone.
    pub fn containers(&self) -> impl Iterator<Item = Fact<&'a Container>> {
        let mut last: BTreeMap<&str, Fact<&'a Container>> = BTreeMap::new();
        for event in &self.timeline.events {
            match &event.kind {
                EventKind::Container(container) => {
                    last.retain(|id, other| *id == container.id.as_str() || other.name != container.name);
                    last.insert(container.id.as_str(), Fact::of(event, container.as_ref()));
                }
                // The engine's own word of it may come after its successor was seen.
                EventKind::ContainerEvent {
                    container: name,
                    action,
                    ..
                } if action == "destroy" && !self.is_replaced(name, event.n) => {
                    last.retain(|_, container| container.name != *name);
                }
                _ => {}
            }
        }
        last.into_values()
    }

    fn looks_at_containers(&self) -> impl Iterator<Item = Fact<&'a Container>> {
        self.facts(|kind| match kind {
            EventKind::Container(container) => Some(container.as_ref()),
            _ => None,
        })
    }

    /// Another container had this name before that, which is not the first one of it.
    fn is_replaced(&self, name: &str, before: EventId) -> bool {
        let told = self.looks_at_containers().take_while(|told| told.n < before);
        let ids: BTreeSet<&str> = told
            .filter(|told| told.name == name)
            .map(|told| told.value.id.as_str())
            .collect();
        ids.len() > 1
    }

    /// Every container that had this name before its lines, those that another one has replaced as well.
    pub(super) fn ids_of_stream(&self, stream: Option<&str>) -> BTreeSet<&'a str> {
        let Some(now) = self.container_of_stream(stream) else {
            return BTreeSet::new();
        };
        self.looks_at_containers()
            .filter(|told| told.name == now.name)
            .map(|told| told.value.id.as_str())
            .collect()
    }

    /// The containers that write the watched worker's log: its command names them, or the names before its lines do.
    pub fn worker_containers(&self) -> Vec<Fact<&'a Container>> {
        let streams = self.worker_streams();
        self.containers()
            .filter(|container| {
                container.roles.contains(&Role::WorkerLog)
                    || streams.iter().any(|stream| is_called(container, stream))
            })
            .collect()
    }

    /// Names before lines of the log in which a worker speaks: other services may share it.
    pub(super) fn worker_streams(&self) -> BTreeSet<&'a str> {
        let speaks = |mark: &LogEvent| {
            let serves = matches!(
                mark,
                LogEvent::AddingConsumer { .. } | LogEvent::ImportFailed | LogEvent::UsageError
            );
            serves || mark.worker_life().is_some() || mark.handling().is_some()
        };
        self.worker_lines
            .iter()
            .filter(|told| told.mark.is_some_and(speaks))
            .filter_map(|told| told.line.stream.as_deref())
            .collect()
    }

    /// None of the containers that write the watched worker's log runs, as the engine said last: its looks.
    /// An engine that has once not answered may have missed a start.
    pub fn ended_worker_containers(&self) -> Option<Vec<Fact<&'a Container>>> {
        if !self.sees_all(Source::Containers) {
            return None;
        }
        let known = self.worker_containers();
        let ended = |container: &Container| matches!(container.state.as_str(), "exited" | "dead" | "created");
        (!known.is_empty() && known.iter().all(|container| ended(container))).then_some(known)
    }

    /// The watched worker's container is paused, and so is each other one that writes its log, as the engine said last.
    pub fn paused_worker_container(&self) -> Option<Fact<&'a Container>> {
        let known = self.worker_containers();
        let all_stand = known.iter().all(|container| container.state == "paused");
        known.first().copied().filter(|_| all_stand)
    }

    /// A container of the watched worker that runs. One that crashes again and again runs for a moment, too.
    pub fn running_worker_container(&self) -> Option<Fact<&'a Container>> {
        let runs = |container: &Container| {
            let news = self.container_news(container);
            container.state == "running" && news.iter().all(|news| news.action != "die")
        };
        let mut all = self.worker_containers().into_iter();
        all.find(|container| runs(container))
    }

    /// A container of the watched worker that the broker lists a connection of: what runs in it lives.
    pub fn connected_worker_container(&self) -> Option<(Fact<&'a Container>, Fact<Vec<&'a str>>)> {
        let listed = self.connections()?;
        let mut own = self.worker_containers().into_iter();
        own.find_map(|container| {
            let names = listed.iter().map(|connection| connection.name.as_str());
            let its: Vec<&str> = names
                .filter(|name| self.container_at(name).is_some_and(|at| at.id == container.id))
                .collect();
            (!its.is_empty()).then_some((container, listed.with(its)))
        })
    }

    /// What was seen to run in a container, and is still there.
    pub fn processes_in(&self, container: &Container) -> Vec<Fact<&'a Process>> {
        let inside = |process: &Process| {
            process.container.as_ref() == Some(&container.id) && !place::is_our_own(&process.command)
        };
        self.all_processes()
            .filter(|process| inside(process) && process.lives() && self.gone(process.pid).is_none())
            .collect()
    }

    /// The container at the client's end of a connection, by its address.
    pub fn container_at(&self, connection: &str) -> Option<Fact<&'a Container>> {
        let (address, _) = connection.split(" -> ").next()?.rsplit_once(':')?;
        let address = address.trim_matches(['[', ']']);
        let mut all = self
            .containers()
            .filter(|container| container.addresses.iter().any(|own| own == address));
        match (all.next(), all.next()) {
            (Some(one), None) => Some(one),
            _ => None,
        }
    }

    /// Whoever is at the client's end: its container, or its address.
    pub(super) fn client_name(&self, connection: &str) -> String {
        match self.container_at(connection) {
            Some(container) => format!("container {}", container.name),
            None => connection.to_owned(),
        }
    }

    /// What the engine, or compose in the log, said of a container during the run, in order.
    pub fn container_news(&self, container: &Container) -> Vec<ContainerNews<'a>> {
        let in_log = container
            .service
            .as_ref()
            .zip(container.number)
            .map(|(service, number)| format!("{service}-{number}"));
        let news = self.timeline.events.iter().filter_map(|event| match &event.kind {
            EventKind::ContainerEvent {
                container: name,
                action,
                exit,
            } if *name == container.name || in_log.as_ref() == Some(name) => Some(ContainerNews {
                n: event.n,
                at_ms: event.at_ms,
                action,
                exit: *exit,
            }),
            _ => None,
        });
        news.collect()
    }

    /// How often the engine has started a container again during the run, with the looks that say so.
    pub fn restarts(&self, container: &Container) -> Option<(u64, [u32; 2])> {
        let counts: Vec<Fact<u64>> = self
            .looks_at_containers()
            .filter(|told| told.id == container.id)
            .filter_map(|told| Some(told.with(told.restarts?)))
            .collect();
        let (first, last) = (counts.first()?, counts.last()?);
        (last.value > first.value).then(|| (last.value - first.value, [first.n, last.n]))
    }

    /// The kernel killed a process of it for memory during the run. Of several times the last one before this moment.
    pub fn killed_for_memory(&self, container: &Container, until: f64) -> Option<Fact<()>> {
        let news = self.container_news(container).into_iter();
        let kills: Vec<Fact<()>> = news
            .filter(|news| news.action == "oom")
            .map(|news| Fact::new(news.n, news.at_ms, ()))
            .collect();
        let before = kills.iter().rfind(|kill| kill.at_ms <= until);
        before.or(kills.first()).copied().or_else(|| {
            // The mark stays after the engine has started it again: it must not have been there before.
            let mut looks = self.looks_at_containers().filter(|told| told.id == container.id);
            let before = looks.next()?.oom_killed;
            let killed = looks.find(|told| told.oom_killed && !before);
            killed.map(|told| told.with(()))
        })
    }

    /// For how long its CPU limit has held the container's threads back during the run, all together, and the look that
    /// says so. A tenth of the time is little.
    pub fn held_back(&self, container: &Container) -> Option<Fact<u64>> {
        let looks: Vec<Fact<u64>> = self
            .looks_at_containers()
            .filter(|told| told.id == container.id)
            .filter_map(|told| Some(told.with(told.held_back_ms?)))
            .collect();
        let (first, last) = (looks.first()?, looks.last()?);
        let held = last.value.checked_sub(first.value)?;
        let is_much = held as f64 * 10.0 > last.at_ms - first.at_ms;
        (held > 0 && is_much).then(|| last.with(held))
    }

    /// The container whose lines have this name before them, or, without a name, the only one whose log
    /// is watched.
    pub fn container_of_stream(&self, stream: Option<&str>) -> Option<Fact<&'a Container>> {
        let Some(stream) = stream else {
            return match self.worker_containers().as_slice() {
                [one] => Some(*one),
                _ => None,
            };
        };
        let mut named = self.containers().filter(|container| is_called(container, stream));
        match (named.next(), named.next()) {
            (Some(one), None) => Some(one),
            _ => None,
        }
    }
}

/// Its lines have this name before them: its own, or compose's of its service and number.
fn is_called(container: &Container, stream: &str) -> bool {
    let service = container.service.as_deref().zip(container.number);
    let numbered = service.map(|(service, number)| format!("{service}-{number}"));
    container.name == stream || numbered.as_deref() == Some(stream)
}

/// The worker's container may use so much CPU only, and is held back by that: in words, and its name.
pub(in crate::diagnosis) fn held_back(story: &Story<'_>) -> Option<(String, String)> {
    let limited = story.worker_containers().into_iter();
    let mut held = limited.filter_map(|container| {
        let limit = container.cpu_limit?;
        Some((container, limit, story.held_back(&container)?))
    });
    let (container, limit, held) = held.next()?;
    let words = format!(
        "; container {} may use {} CPUs, and its threads were held back by that for {} together (#{})",
        container.name,
        limit as f64 / 1000.0,
        units::span(held.value as f64),
        held.n
    );
    Some((words, container.name.clone()))
}

/// The engine knows no address of the container that it runs in.
pub(in crate::diagnosis) fn in_no_network<'a>(story: &Story<'a>, process: &Process) -> Option<Fact<&'a str>> {
    let mut all = story.containers();
    let container = all.find(|container| process.container.as_ref() == Some(&container.id))?;
    has_no_address(story, &container).then_some(container.with(container.value.name.as_str()))
}

/// One of the machine's own network has no address either; what runs has one, where others have.
pub(in crate::diagnosis) fn has_no_address(story: &Story<'_>, container: &Container) -> bool {
    let has_others = story.containers().any(|other| !other.addresses.is_empty());
    container.addresses.is_empty() && has_others && container.state == "running"
}

/// Its own command is a worker's: no relay, and nothing else that consumes.
pub(in crate::diagnosis) fn runs_a_worker(container: &Container) -> bool {
    container
        .command
        .iter()
        .enumerate()
        .any(|(at, _)| is_worker_command(&container.command[at..]))
}

/// Two containers of one compose service, or, where nobody says so, of one image with one command.
pub(in crate::diagnosis) fn is_replica(a: &Container, b: &Container) -> bool {
    let of_one_service = a.service.is_some() && a.service == b.service && a.project == b.project;
    let unlabelled = a.service.is_none() || b.service.is_none();
    of_one_service || (unlabelled && a.image_id == b.image_id && a.command == b.command)
}

/// `container shop-worker-1 (project shop, image shop-worker)`
pub fn words(container: &Container) -> String {
    match &container.project {
        Some(project) => format!(
            "container {} (project {project}, image {})",
            container.name, container.image
        ),
        None => format!("container {} (image {})", container.name, container.image),
    }
}
