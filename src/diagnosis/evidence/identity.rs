//! Which process wrote a line of the log.
//!
//! A program writes the pid by which it knows itself. On this machine that is the pid that everybody
//! sees; in a container it is another, mostly 1 or 7, and the same in each of its replicas. The map is
//! `NSpid`, and the container by `cgroup`: so a stream of the log is matched with one place.

use std::collections::{BTreeMap, BTreeSet};

use super::{Story, WorkerLine, workers};
use crate::timeline::{EventKind, Process};

/// Processes that count their pids alike: a container's, or those of this machine, or of the place that
/// `[worker] exec` leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place<'a> {
    at: Option<&'a str>,
    container: Option<&'a str>,
}

/// One process that was called by a pid.
#[derive(Debug, Clone)]
pub struct Life {
    pid: i32,
    /// When it was missed first.
    gone: Option<f64>,
}

type Namesakes<'a> = BTreeMap<(Place<'a>, i32), Vec<Life>>;

/// A line may reach us so much later than its writer's end.
const LATE_MS: f64 = 500.0;

/// What speaks for a place, the strongest first.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord, Clone, Copy)]
struct Marks {
    /// Messages that the log has under a pid went to just that process.
    deliveries: usize,
    /// The log file is open in it.
    holds_log: bool,
}

impl<'a> Story<'a> {
    /// Finds for each line the process of this machine that wrote it, as far as that was seen.
    pub(super) fn find_pids(&mut self) {
        let processes = self.namesakes();
        if processes.is_empty() {
            // An older recording: what it has of processes was found by the log's own pids.
            return;
        }
        let streams: BTreeSet<Option<&str>> = self
            .worker_lines
            .iter()
            .map(|told| told.line.stream.as_deref())
            .collect();
        for stream in streams {
            let place = self.place_of(stream, &processes);
            self.ambiguous |= place.is_none() && self.has_namesakes(stream, &processes);
            for ((_, own), lives) in processes.iter().filter(|((at, _), _)| Some(*at) == place) {
                self.pids.insert((stream, *own), lives.clone());
            }
        }
        let known: BTreeSet<i32> = self.seen_with_map();
        let pids: Vec<Option<i32>> = self
            .worker_lines
            .iter()
            .map(|told| {
                let own = told.line.pid?;
                self.called(told, own)
                    // Whoever has this pid here is known, and it is not the one that wrote the line.
                    .or_else(|| (!known.contains(&own) && !self.ambiguous).then_some(own))
            })
            .collect();
        for (told, pid) in self.worker_lines.iter_mut().zip(pids) {
            told.pid = pid;
        }
    }

    /// The process of this machine that this line calls by that pid.
    pub fn called(&self, told: &WorkerLine<'a>, own: i32) -> Option<i32> {
        let lives = self.pids.get(&(told.line.stream.as_deref(), own))?;
        // A container that was started again has another process of the same pid.
        let then = lives
            .iter()
            .find(|life| life.gone.is_none_or(|gone| told.at_ms <= gone + LATE_MS));
        then.or(lives.last()).map(|life| life.pid)
    }

    /// Worker processes by the place they are in and the pid they have there, in the order of their lives.
    fn namesakes(&self) -> Namesakes<'a> {
        let mut found = Namesakes::new();
        for event in &self.timeline.events {
            match &event.kind {
                EventKind::Process(process) if may_write(process) => {
                    let Some(own) = process.own_pid() else { continue };
                    let lives = found.entry((place(process), own)).or_default();
                    if lives.iter().all(|life| life.pid != process.pid) {
                        lives.push(Life {
                            pid: process.pid,
                            gone: None,
                        });
                    }
                }
                EventKind::Gone { pid, .. } => {
                    let lives = found.values_mut().flatten().filter(|life| life.pid == *pid);
                    lives.for_each(|life| life.gone = Some(event.at_ms));
                }
                _ => {}
            }
        }
        found
    }

    fn seen_with_map(&self) -> BTreeSet<i32> {
        let events = self.timeline.events.iter();
        events
            .filter_map(|event| match &event.kind {
                EventKind::Process(process) => process.own_pid().map(|_| process.pid),
                _ => None,
            })
            .collect()
    }

    fn pids_of(&self, stream: Option<&str>) -> BTreeSet<i32> {
        let lines = self.worker_lines.iter();
        lines
            .filter(|told| told.line.stream.as_deref() == stream)
            .filter_map(|told| told.line.pid)
            .collect()
    }

    fn has_namesakes(&self, stream: Option<&str>, processes: &Namesakes<'a>) -> bool {
        let pids = self.pids_of(stream);
        processes.keys().any(|(_, own)| pids.contains(own))
    }

    /// The one place that the lines of this stream come from; `None`: there is none, or there are several
    /// and nothing tells them apart.
    fn place_of(&self, stream: Option<&str>, processes: &Namesakes<'a>) -> Option<Place<'a>> {
        let pids = self.pids_of(stream);
        let mut places: BTreeMap<Place<'a>, Marks> = BTreeMap::new();
        for ((place, own), lives) in processes {
            if pids.contains(own) {
                let marks = places.entry(*place).or_default();
                let holds = |life: &Life| {
                    self.process(life.pid)
                        .is_some_and(|(_, process)| process.holds_log)
                };
                marks.holds_log |= lives.iter().any(holds);
            }
        }
        for told in &self.worker_lines {
            let (Some(own), Some(id)) = (told.line.pid, told.message_id()) else {
                continue;
            };
            if told.line.stream.as_deref() != stream {
                continue;
            }
            for (place, marks) in &mut places {
                let lives = processes.get(&(*place, own)).into_iter().flatten();
                let taker = self.taker_of(id);
                marks.deliveries += lives.filter(|life| Some(life.pid) == taker).count();
            }
        }
        // The log's own command names it.
        if let Some((_, container)) = self.container_of_stream(stream) {
            return places
                .keys()
                .find(|place| place.container == Some(container.id.as_str()))
                .copied();
        }
        // The way into a place leads to one replica, and the log may have the lines of several.
        let is_one_of_several = self.has_several_streams();
        places.retain(|place, marks| place.at.is_none() || !is_one_of_several || marks.deliveries > 0);
        let best = places.values().max().copied()?;
        let mut equals = places.iter().filter(|(_, marks)| **marks == best);
        match (equals.next(), equals.next()) {
            (Some((place, _)), None) => Some(*place),
            _ => None,
        }
    }

    fn has_several_streams(&self) -> bool {
        let with_pids = self.worker_lines.iter().filter(|told| told.line.pid.is_some());
        let streams: BTreeSet<Option<&str>> = with_pids.map(|told| told.line.stream.as_deref()).collect();
        streams.len() > 1
    }

    /// The process that a message was delivered to.
    fn taker_of(&self, id: &str) -> Option<i32> {
        self.deliveries
            .iter()
            .filter(|delivery| delivery.message.message_id.as_deref() == Some(id))
            .find_map(|delivery| self.peer(delivery.connection))
            .map(|(_, pid)| pid)
    }

    /// The log's pids mean several processes, and nothing says which.
    pub(super) fn means_several(&self) -> bool {
        self.ambiguous
    }

    /// Lines come from a container whose processes were seen, or from one of several such: the pids in it
    /// are not this machine's.
    pub(super) fn lives_somewhere(&self) -> Option<u32> {
        let pids: BTreeSet<i32> = self
            .worker_lines
            .iter()
            .filter_map(|told| told.line.pid)
            .collect();
        self.all_processes()
            .find(|(_, process)| {
                let own = process.own_pid().is_some_and(|own| pids.contains(&own));
                own && workers::is_worker(process) && self.gone(process.pid).is_none() && process.lives()
            })
            .map(|(n, _)| n)
    }
}

/// Processes of this machine's own pid namespace are in one place, whatever their cgroup.
fn place(process: &Process) -> Place<'_> {
    let is_apart = process.at.is_some() || process.nspids.len() > 1;
    Place {
        at: process.at.as_deref(),
        container: process.container.as_deref().filter(|_| is_apart),
    }
}

fn may_write(process: &Process) -> bool {
    workers::is_worker(process) || process.command.iter().any(|word| word.contains("python"))
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::testing::{Scene, WORKER};

    const HERE: &str = "a1";
    const THERE: &str = "b2";

    fn in_container(scene: Scene, pid: i32, own: i32, id: &str) -> Scene {
        scene.process(pid, 1, "python dramatiq app", |process| {
            process.nspids = vec![pid, own];
            process.container = Some(id.repeat(32));
        })
    }

    fn pids(scene: &Scene) -> Vec<i32> {
        crate::diagnosis::Story::new(&scene.timeline)
            .log_pids()
            .into_iter()
            .collect()
    }

    fn logged() -> Scene {
        Scene::new()
            .depth("default", 0, 1)
            .submitted()
            .publish("default")
            .deliver(WORKER)
            .line("[PID 7] [Thread-4] [dramatiq.worker.WorkerThread] [DEBUG] Received message act('task_1') with id 'm-1'.")
    }

    #[test]
    fn a_containers_pid_means_the_process_that_knows_itself_by_it() {
        let scene = in_container(logged(), 10_471, 7, HERE);
        assert_eq!(pids(&scene), [10_471]);
    }

    #[test]
    fn of_two_containers_the_one_that_took_the_message() {
        let two = || in_container(in_container(logged(), 10_471, 7, HERE), 20_471, 7, THERE);
        assert_eq!(pids(&two()), [0; 0]);
        assert_eq!(pids(&two().peer(WORKER, 20_471)), [20_471]);
    }

    #[test]
    fn whoever_has_the_pid_here_is_somebody_else() {
        let scene = logged().process(7, 2, "python api.py", |process| {
            process.nspids = vec![7];
            process.container = None;
        });
        // Our own machine's process: the log may well be its.
        assert_eq!(pids(&scene), [7]);
        let scene = in_container(logged(), 7, 1, HERE);
        assert_eq!(pids(&scene), [0; 0]);
    }
}
