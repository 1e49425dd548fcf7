//! Which process wrote a line of the log.
//!
//! A program writes the pid by which it knows itself. On this machine that is the pid that everybody
//! sees; in a container it is another, mostly 1 or 7, and the same in each of its replicas. The map is
//! `NSpid`, and the container by `cgroup`: so a stream of the log is matched with one place.

use std::collections::{BTreeMap, BTreeSet};

use super::{Story, WorkerLine, programs, workers};
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
    /// The event that told of it first.
    since: u32,
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
            let places = self.places_of(stream, &processes);
            self.ambiguous |= places.is_empty() && self.has_namesakes(stream, &processes);
            for ((_, own), lives) in processes.iter().filter(|((at, _), _)| places.contains(at)) {
                let Some(lives) = self.one_at_a_time(stream, *own, lives) else {
                    self.ambiguous |= self.pids_of(stream).contains(own);
                    continue;
                };
                let known = self.pids.entry((stream, *own)).or_default();
                known.extend(lives);
                known.sort_by_key(|life| life.since);
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

    /// Two that live at the same time and have one pid are in two pid namespaces, which nothing else may tell apart. Whoever
    /// took the messages that the log has under that pid wrote it, or else whoever has the log open.
    fn one_at_a_time(&self, stream: Option<&str>, own: i32, lives: &[Life]) -> Option<Vec<Life>> {
        let (living, mut kept): (Vec<Life>, Vec<Life>) =
            lives.iter().cloned().partition(|life| life.gone.is_none());
        if living.len() < 2 {
            return Some(lives.to_vec());
        }
        let lines = self.worker_lines.iter();
        let takers: BTreeSet<i32> = lines
            .filter(|told| told.line.stream.as_deref() == stream && told.line.pid == Some(own))
            .filter_map(|told| self.taker_of(told.message_id()?))
            .collect();
        let holds = |pid: i32| self.process(pid).is_some_and(|process| process.holds_log);
        let holds_log = |life: &&Life| {
            let parent = self.process(life.pid).map(|process| process.ppid);
            holds(life.pid) || parent.is_some_and(holds)
        };
        let only = |found: Vec<&Life>| match found.as_slice() {
            [one] => Some((*one).clone()),
            _ => None,
        };
        let took = living.iter().filter(|life| takers.contains(&life.pid)).collect();
        let one = only(took).or_else(|| only(living.iter().filter(holds_log).collect()))?;
        kept.push(one);
        Some(kept)
    }

    /// Worker processes by the place they are in and the pid they have there, in the order of their lives.
    fn namesakes(&self) -> Namesakes<'a> {
        let mut found = Namesakes::new();
        for event in &self.timeline.events {
            match &event.kind {
                EventKind::Process(process) if self.may_write(process) => {
                    let Some(own) = process.own_pid() else { continue };
                    let lives = found.entry((place(process), own)).or_default();
                    if lives.iter().all(|life| life.pid != process.pid) {
                        lives.push(Life {
                            pid: process.pid,
                            since: event.n,
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

    /// A process that may have written the log: a worker, or a Python that is not known as anything else.
    fn may_write(&self, process: &Process) -> bool {
        let is_python = process.command.iter().any(|word| word.contains("python"));
        match workers::is_worker(process) {
            // Another framework's worker beside it has the same pids.
            true => programs::is_its_worker(self, process),
            false => is_python,
        }
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

    /// The place that the lines of this stream come from, and those that it has replaced; none: nothing was seen of
    /// it, or there are several and nothing tells them apart.
    fn places_of(&self, stream: Option<&str>, processes: &Namesakes<'a>) -> Vec<Place<'a>> {
        let pids = self.pids_of(stream);
        let mut places: BTreeMap<Place<'a>, Marks> = BTreeMap::new();
        for ((place, own), lives) in processes {
            if pids.contains(own) {
                let marks = places.entry(*place).or_default();
                let holds = |life: &Life| self.process(life.pid).is_some_and(|process| process.holds_log);
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
        let named = self.ids_of_stream(stream);
        if !named.is_empty() {
            let is_named = |place: &&Place<'a>| place.container.is_some_and(|id| named.contains(id));
            return places.keys().filter(is_named).copied().collect();
        }
        // A server that runs a worker as well is known by more than a pid that everybody has.
        places.retain(|place, marks| {
            let mut inside = processes
                .iter()
                .filter(|((at, own), _)| at == place && pids.contains(own));
            let is_server = |life: &Life| {
                let process = self.process(life.pid);
                process.is_some_and(|process| programs::is_server(self, &process))
            };
            marks.deliveries > 0 || marks.holds_log || inside.any(|(_, lives)| !lives.iter().all(is_server))
        });
        // The way into a place leads to one replica, and the log may have the lines of several.
        let is_one_of_several = self.has_several_streams();
        places.retain(|place, marks| place.at.is_none() || !is_one_of_several || marks.deliveries > 0);
        let best = places.values().max().copied();
        let mut equals = places.iter().filter(|(_, marks)| Some(**marks) == best);
        match (equals.next(), equals.next()) {
            (Some((place, _)), None) => vec![*place],
            _ => Vec::new(),
        }
    }

    fn has_several_streams(&self) -> bool {
        self.streams(|told| told.line.pid.is_some()).len() > 1
    }

    /// More than one container or service writes it.
    pub(super) fn is_log_of_several(&self) -> bool {
        self.streams(|_| true).len() > 1
    }

    /// Of a log that several write, some lines are known to be a worker's: else the worker may be silent.
    pub fn knows_its_worker(&self) -> bool {
        !self.is_log_of_several() || !self.worker_streams().is_empty()
    }

    fn streams(&self, of: impl Fn(&WorkerLine<'a>) -> bool) -> BTreeSet<Option<&'a str>> {
        let lines = self.worker_lines.iter().filter(|told| of(told));
        lines.map(|told| told.line.stream.as_deref()).collect()
    }

    /// The process that a message was delivered to.
    fn taker_of(&self, id: &str) -> Option<i32> {
        self.deliveries
            .iter()
            .filter(|delivery| delivery.message.message_id.as_deref() == Some(id))
            .find_map(|delivery| self.peer(delivery.connection))
            .map(|peer| peer.value)
    }

    /// The log's pids mean several processes, and nothing says which.
    pub(super) fn means_several(&self) -> bool {
        self.ambiguous
    }

    /// Lines come from a container whose processes were seen, or from one of several such: the pids in it
    /// are not this machine's.
    pub(super) fn lives_somewhere(&self) -> Option<u32> {
        // What runs in its own container is known, or was looked for in vain.
        if !self.worker_containers().is_empty() {
            return None;
        }
        let pids: BTreeSet<i32> = self
            .worker_lines
            .iter()
            .filter_map(|told| told.line.pid)
            .collect();
        self.all_processes()
            .find(|process| {
                let own = process.own_pid().is_some_and(|own| pids.contains(&own));
                own && programs::is_its_worker(self, process)
                    && self.gone(process.pid).is_none()
                    && process.lives()
            })
            .map(|process| process.n)
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

    /// Two pid namespaces of one machine, by `unshare` or in one cgroup: nothing but the pids shows them.
    #[test]
    fn of_two_that_have_one_pid_the_one_that_took_the_message_or_has_the_log_open() {
        let apart = |scene: Scene, pid: i32, holds_log: bool| {
            scene.process(pid, 1, "python dramatiq app", |process| {
                process.nspids = vec![pid, 7];
                process.holds_log = holds_log;
            })
        };
        let both = |first, second| apart(apart(logged(), 10_471, first), 20_471, second);
        assert_eq!(pids(&both(false, false)), [0; 0]);
        assert_eq!(pids(&both(false, true)), [20_471]);
        assert_eq!(pids(&both(true, true)), [0; 0]);
        assert_eq!(pids(&both(false, false).peer(WORKER, 20_471)), [20_471]);
        // One after the other: the log of both.
        let again = apart(apart(logged(), 10_471, false).gone(10_471), 20_471, false);
        assert_eq!(pids(&again), [10_471]);
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

    /// The container was made anew during the run: the same name and pids, and other processes.
    #[test]
    fn each_life_of_a_container_has_its_own_processes() {
        let (old, new) = ("a1".repeat(6), "b2".repeat(6));
        let received = "[PID 7] [Thread-4] [dramatiq.worker.WorkerThread] [DEBUG] Received message act('task_1') with id 'm-1'.";
        let inside = |scene: Scene, pid: i32, id: &str| {
            scene.process(pid, 1, "python dramatiq app", |process| {
                process.nspids = vec![pid, 7];
                process.container = Some(id.into());
            })
        };
        let scene = Scene::new()
            .depth("default", 0, 1)
            .submitted()
            .worker_container(&old, "running", |_| {});
        let scene = inside(scene, 10_471, &old).line(received).gone(10_471).at(5000.0);
        let scene = scene.worker_container(&new, "running", |_| {});
        let scene = inside(scene.line(received), 20_471, &new);
        let story = crate::diagnosis::Story::new(&scene.timeline);
        let pids: Vec<Option<i32>> = story.worker_lines().iter().map(|told| told.pid).collect();
        assert_eq!(pids, [Some(10_471), Some(20_471)]);
        assert_eq!(story.worker_containers().len(), 1);
    }

    #[test]
    fn a_server_or_another_frameworks_worker_has_the_same_pid_by_chance() {
        let other = |command: &str| {
            logged().process(10_471, 1, command, |process| {
                process.nspids = vec![10_471, 7];
                process.container = Some(HERE.repeat(32));
            })
        };
        assert_eq!(pids(&other("python dramatiq app")), [10_471]);
        assert_eq!(pids(&other("python /app/worker.py")), [10_471]);
        for command in ["python uvicorn main:app", "python celery -A shop worker"] {
            assert!(!pids(&other(command)).contains(&10_471), "{command}");
        }
        // It has a worker in it as well.
        let embedded = other("python uvicorn main:app").peer(WORKER, 10_471);
        assert_eq!(pids(&embedded), [10_471]);
    }
}
