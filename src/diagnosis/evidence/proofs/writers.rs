//! Whose a line is, a process, or a status: the worker's that is to consume the task's queue, or another service's that
//! writes to the same log.

use std::collections::BTreeSet;

use super::proved;
use crate::diagnosis::evidence::containers::is_replica;
use crate::diagnosis::evidence::worker_line::TRACEBACK;
use crate::diagnosis::evidence::{Fact, Launch, Story, WorkerLine, control, lives, programs, workers};
use crate::diagnosis::premises::{EventId, State};
use crate::framework::LogEvent;
use crate::timeline::{Container, EventKind, Process, Source};

/// Who is behind an event, as far as it says.
struct Writer<'a> {
    n: EventId,
    line: Option<WorkerLine<'a>>,
    /// Of this machine: its own, and those of its master and its children.
    pids: BTreeSet<i32>,
}

impl<'a> Story<'a> {
    /// It was started by us, runs the configured command, in a container that does, or said that it knows the task's queue or
    /// its actor.
    pub(super) fn writer_is_the_worker(&self, n: EventId) -> State {
        let writer = self.writer(n);
        let by_its_start = self
            .one_that_we_started()
            .or_else(|| self.configured_process(&writer))
            .or_else(|| self.container_that_starts_it(&writer))
            .or_else(|| self.took_the_task(&writer));
        if let Some(n) = by_its_start {
            return proved([n]);
        }
        if let Some(n) = self
            .process_of_another(&writer)
            .or_else(|| self.code_of_another(&writer))
        {
            return State::Refuted(vec![n]);
        }
        let by_its_words = self.word_of_its_own(&writer).or_else(|| self.only_holder());
        by_its_words.map_or(State::Assumed, |n| proved([n]))
    }

    /// A message of the task's was delivered to it.
    fn took_the_task(&self, writer: &Writer<'_>) -> Option<EventId> {
        let mut takers = self.deliveries().filter(|passage| {
            let taker = self.client_of(passage.connection);
            taker.is_some_and(|taker| writer.pids.contains(&taker))
        });
        takers.next().map(|passage| passage.n)
    }

    /// It runs for another service, or is connected to another vhost only beside a worker of ours.
    fn process_of_another(&self, writer: &Writer<'_>) -> Option<EventId> {
        let here = self.pids_of_another_vhost(&writer.pids);
        let is_anothers = |pid: &&i32| self.runs_for_another_service(**pid) || here.contains(*pid);
        let pid = writer.pids.iter().find(is_anothers)?;
        self.process_in_life(*pid).map(|process| process.n)
    }

    /// It raised in an application's code on its way up, and came by none of the modules that the configured command names.
    fn code_of_another(&self, writer: &Writer<'_>) -> Option<EventId> {
        let told = writer.line.filter(|told| told.died_at_start())?;
        let trace = told.line.traceback.as_deref()?;
        let is_whole = told.line.text.contains(TRACEBACK) || trace.contains(TRACEBACK);
        let parsed = self.framework().traceback(trace)?;
        let in_application = parsed.frames.iter().any(|frame| parsed.is_application(frame));
        let is_ours = imports_the_configured_modules(self, &told) || is_in_a_parent_of_them(self, trace);
        (is_whole && in_application && names_a_module(self) && !is_ours).then_some(told.n)
    }

    /// What shows that a worker may have set the status: one had the message or spoke of the task, or one consumes its
    /// queue. Afterwards whoever had it may be gone, and a row of results is written by nobody else.
    pub(super) fn status_by_a_run(&self) -> Option<u32> {
        let delivered = || self.deliveries().next().map(|passage| passage.n);
        let spoke = || self.lines().first().map(|told| told.n);
        let consumes = || {
            let depths = self.depths_since(self.queue());
            depths
                .iter()
                .find(|depth| depth.consumers > 0)
                .map(|depth| depth.n)
        };
        let listed = || {
            let list = self.consumers()?;
            let mut names = list.iter().map(|consumer| consumer.queue.as_str());
            names.any(|name| self.is_of_my_queue(name)).then_some(list.n)
        };
        let answers = || control::holder(self).map(|(answer, _)| answer.n);
        let by_itself = || {
            self.last_row()
                .filter(|_| self.row_is_a_result())
                .map(|row| row.n)
        };
        // Who consumes may have had it, unless everything that was handed out was seen. Afterwards nobody knows who did.
        let would_be_seen = self.post_mortem() || self.sees_all(Source::Firehose) && !self.is_trace();
        let by_a_consumer = || consumes().or_else(listed).filter(|_| !would_be_seen);
        delivered()
            .or_else(spoke)
            .or_else(by_a_consumer)
            .or_else(answers)
            .or_else(by_itself)
    }

    fn writer(&self, n: EventId) -> Writer<'a> {
        let line = self.worker_lines().iter().find(|told| told.n == n).copied();
        let pid = match self.timeline.event(n).map(|event| &event.kind) {
            Some(EventKind::Process(process)) => Some(process.pid),
            _ => line.and_then(|told| told.pid),
        };
        Writer {
            n,
            line,
            pids: pid.map(|pid| self.tree_of(pid)).unwrap_or_default(),
        }
    }

    /// Its master and that one's children, and who is said to have died under one of them.
    fn tree_of(&self, pid: i32) -> BTreeSet<i32> {
        let mut tree = BTreeSet::from([pid]);
        let dead: Vec<(i32, i32)> = self
            .worker_lines()
            .iter()
            .filter_map(|told| match told.mark {
                Some(LogEvent::ChildDied { pid, .. }) => Some((told.pid?, *pid)),
                _ => None,
            })
            .collect();
        // Twice, as a sibling is two steps away.
        for _ in 0..2 {
            let known = tree.clone();
            let parents = self.all_processes().map(|process| (process.ppid, process.pid));
            let pairs = parents.filter(|(master, _)| *master > 1 && self.is_a_worker(*master));
            for (master, child) in pairs.chain(dead.iter().copied()) {
                if known.contains(&master) || known.contains(&child) {
                    tree.extend([master, child]);
                }
            }
        }
        tree
    }

    /// What starts services of several kinds is the master of none.
    fn is_a_worker(&self, pid: i32) -> bool {
        self.process_in_life(pid)
            .is_some_and(|process| workers::is_worker(&process))
    }

    /// What we started may start several services.
    fn one_that_we_started(&self) -> Option<EventId> {
        let boots = |told: &&WorkerLine<'_>| matches!(told.mark, Some(LogEvent::BootingUp));
        let lines = self.worker_lines().iter();
        let is_one = |launch: &Launch| lines.filter(boots).filter(|told| told.n > launch.n).count() <= 1;
        let launch = workers::is_the_one_we_started(self).then(|| self.started("worker"))??;
        is_one(&launch).then_some(launch.n)
    }

    /// Services of one project may run the same command, each for some of its queues.
    fn configured_process(&self, writer: &Writer<'_>) -> Option<EventId> {
        let mut processes = writer.pids.iter().filter_map(|pid| self.process_in_life(*pid));
        let is_its = |process: &Fact<&Process>| {
            process.is_configured && !programs::leaves_out_our_queue(self, process)
        };
        processes.find(is_its).map(|process| process.n)
    }

    /// Its engine says what runs in the container that writes it.
    fn container_that_starts_it(&self, writer: &Writer<'_>) -> Option<EventId> {
        let starts_ours = |container: &Container| programs::starts_ours(self, &container.command);
        let stream = writer.line.and_then(|told| told.line.stream.as_deref());
        let containers = self.worker_containers();
        let container = match stream {
            Some(_) => self.container_of_stream(stream)?,
            None => {
                let (first, rest) = containers.split_first()?;
                rest.iter()
                    .all(|other| is_replica(first, other))
                    .then_some(*first)?
            }
        };
        (starts_ours(&container) == Some(true)).then_some(container.n)
    }

    /// It consumes the task's queue, had the task or its actor, or raised on its way into one of its modules.
    fn word_of_its_own(&self, writer: &Writer<'_>) -> Option<EventId> {
        let line = writer.line;
        let stream = line.and_then(|told| told.line.stream.as_deref());
        let is_its = |told: &WorkerLine<'_>| match (stream, told.pid) {
            _ if told.n == writer.n => true,
            (Some(_), _) => told.line.stream.as_deref() == stream,
            (None, Some(pid)) => writer.pids.contains(&pid),
            // Nothing tells one that writes to this log from another.
            (None, None) => writer.pids.is_empty() && !self.others_are_seen(),
        };
        let own = || self.worker_lines().iter().filter(|told| is_its(told));
        let knows = own().find(|told| self.knows_the_task(told));
        // What came up is another's, or a later start of it, which says nothing of its modules.
        let imports = || {
            own()
                .rev()
                .find(|told| imports_the_configured_modules(self, told))
                .filter(|_| lives::is_up(self).is_none())
        };
        knows.or_else(imports).map(|told| told.n)
    }

    fn knows_the_task(&self, told: &WorkerLine<'_>) -> bool {
        match told.mark {
            Some(LogEvent::AddingConsumer { queue }) => self.is_of_my_queue(queue),
            Some(LogEvent::ConnectionError { queue, error }) => {
                let mut named = error.split(['\'', '"']);
                match queue {
                    Some(queue) => self.is_of_my_queue(queue),
                    None => named.any(|part| self.is_of_my_queue(part)),
                }
            }
            // On another queue it may be another service's actor of the same name.
            Some(LogEvent::Received { actor, .. }) => {
                self.timeline.setup.actor.as_ref() == Some(actor) && !self.consumes_others_only()
            }
            _ => self.is_of_the_task(told),
        }
    }

    /// Another service of the project is there, or was.
    fn others_are_seen(&self) -> bool {
        let leaves_us_out = |process: Fact<&Process>| programs::leaves_out_our_queue(self, &process);
        self.one_leaves_us_out() || self.all_processes().any(leaves_us_out)
    }

    /// The log is a file, and who has it open is the worker, and nobody else.
    fn only_holder(&self) -> Option<EventId> {
        let holders: Vec<Fact<&Process>> = self.all_processes().filter(|process| process.holds_log).collect();
        let is_ours = |process: &Fact<&Process>| {
            let writer = Writer {
                n: process.n,
                line: None,
                pids: self.tree_of(process.pid),
            };
            self.configured_process(&writer)
                .or_else(|| self.word_of_its_own(&writer))
                .is_some()
        };
        holders
            .first()
            .filter(|_| holders.iter().all(is_ours))
            .map(|first| first.n)
    }
}

/// It raised on its way into a module that the configured command names: `shop.jobs` is in shop/jobs.py, or in shop/jobs/.
fn imports_the_configured_modules(story: &Story<'_>, told: &WorkerLine<'_>) -> bool {
    let Some(trace) = told.line.traceback.as_deref() else {
        return false;
    };
    let mut modules = configured_modules(story);
    modules.any(|module| {
        let path = module.replace('.', "/");
        trace.contains(&format!("/{path}.py\""))
            || trace.contains(&format!("/{path}/"))
            || trace.contains(&format!("'{module}'"))
    })
}

/// The packages that a module is in are imported before it.
fn is_in_a_parent_of_them(story: &Story<'_>, trace: &str) -> bool {
    configured_modules(story).any(|module| {
        let path = module.replace('.', "/");
        let mut parents = path.match_indices('/').map(|(at, _)| &path[..at]);
        parents.any(|parent| trace.contains(&format!("/{parent}/__init__.py\"")))
    })
}

/// Words of the command that may name one: `shop.jobs` of `dramatiq shop.jobs:broker`.
fn configured_modules<'a>(story: &Story<'a>) -> impl Iterator<Item = &'a str> {
    let command = &story.timeline.setup.worker_command;
    command
        .iter()
        .skip(1)
        .filter(|word| !word.starts_with('-') && !word.contains('/'))
        .map(|word| word.split(':').next().unwrap_or(word))
}

/// One word of it is a module for certain: `-A shop`, or a dotted name.
fn names_a_module(story: &Story<'_>) -> bool {
    let command = &story.timeline.setup.worker_command;
    let is_dotted = |word: &str| {
        let mut parts = word.split(':').next().unwrap_or(word).split('.');
        let is_name = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_alphanumeric() || c == '_');
        word.contains('.') && word.contains(char::is_alphabetic) && parts.all(is_name)
    };
    let mut pairs = command.iter().zip(command.iter().skip(1));
    pairs.any(|(before, word)| {
        matches!(before.as_str(), "-A" | "--app") || !before.starts_with('-') && is_dotted(word)
    })
}
