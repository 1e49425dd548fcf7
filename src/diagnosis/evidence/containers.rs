//! Containers: which are the watched worker's, who is at a connection's end, and what became of them.

use std::collections::BTreeMap;

use super::Story;
use super::workers::is_worker_command;
use crate::timeline::{Container, EventKind, Role, Source};

/// Something that became of a container during the run.
#[derive(Debug, Clone, Copy)]
pub struct ContainerNews<'a> {
    pub n: u32,
    pub at_ms: f64,
    pub action: &'a str,
    pub exit: Option<i32>,
}

impl<'a> Story<'a> {
    /// Every container that was told of, as it was told last.
    pub fn containers(&self) -> impl Iterator<Item = (u32, &'a Container)> {
        let mut last = BTreeMap::new();
        for event in &self.timeline.events {
            if let EventKind::Container(container) = &event.kind {
                last.insert(container.id.as_str(), (event.n, container.as_ref()));
            }
        }
        last.into_values()
    }

    /// The containers that write the watched worker's log: its command names them.
    pub fn worker_containers(&self) -> Vec<(u32, &'a Container)> {
        self.containers()
            .filter(|(_, container)| container.roles.contains(&Role::WorkerLog))
            .collect()
    }

    /// None of the containers that write the watched worker's log runs, as the engine said last: its looks.
    /// An engine that has once not answered may have missed a start.
    pub fn ended_worker_containers(&self) -> Option<Vec<(u32, &'a Container)>> {
        if !self.sees_all(Source::Containers) {
            return None;
        }
        let known = self.worker_containers();
        let ended = |container: &Container| matches!(container.state.as_str(), "exited" | "dead" | "created");
        (!known.is_empty() && known.iter().all(|(_, container)| ended(container))).then_some(known)
    }

    /// The container at the client's end of a connection, by its address.
    pub fn container_at(&self, connection: &str) -> Option<(u32, &'a Container)> {
        let (address, _) = connection.split(" -> ").next()?.rsplit_once(':')?;
        let address = address.trim_matches(['[', ']']);
        let mut all = self
            .containers()
            .filter(|(_, container)| container.addresses.iter().any(|own| own == address));
        match (all.next(), all.next()) {
            (Some(one), None) => Some(one),
            _ => None,
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
        let counts: Vec<(u32, u64)> = self
            .timeline
            .events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Container(told) if told.id == container.id => Some((event.n, told.restarts?)),
                _ => None,
            })
            .collect();
        let (first, last) = (counts.first()?, counts.last()?);
        (last.1 > first.1).then(|| (last.1 - first.1, [first.0, last.0]))
    }

    /// The kernel killed a process of it for memory during the run.
    pub fn killed_for_memory(&self, container: &Container) -> Option<u32> {
        let news = self.container_news(container).into_iter();
        news.filter(|news| news.action == "oom")
            .map(|news| news.n)
            .next()
            .or_else(|| {
                // The mark stays after the engine has started it again: it must not have been there before.
                let mut looks = self.timeline.events.iter().filter_map(|event| match &event.kind {
                    EventKind::Container(told) if told.id == container.id => Some((event.n, told.oom_killed)),
                    _ => None,
                });
                let (_, before) = looks.next()?;
                looks.find(|(_, killed)| *killed && !before).map(|(n, _)| n)
            })
    }

    /// The container whose lines have this name before them, or, without a name, the only one whose log
    /// is watched.
    pub fn container_of_stream(&self, stream: Option<&str>) -> Option<(u32, &'a Container)> {
        let all = self.worker_containers();
        let Some(stream) = stream else {
            return match all.as_slice() {
                [one] => Some(*one),
                _ => None,
            };
        };
        let mut named = all.into_iter().filter(|(_, container)| {
            let service = container.service.as_deref();
            let numbered = service
                .zip(container.number)
                .map(|(service, number)| format!("{service}-{number}"));
            container.name == stream || numbered.as_deref() == Some(stream)
        });
        match (named.next(), named.next()) {
            (Some(one), None) => Some(one),
            _ => None,
        }
    }
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
pub(in crate::diagnosis) fn words(container: &Container) -> String {
    match &container.project {
        Some(project) => format!(
            "container {} (project {project}, image {})",
            container.name, container.image
        ),
        None => format!("container {} (image {})", container.name, container.image),
    }
}
