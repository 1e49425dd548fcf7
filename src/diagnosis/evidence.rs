//! What happened to this task, picked out of everything that was seen.
//!
//! The questions causes ask: which messages and lines are the task's, how far it came, who took
//! it, what the row said. Built anew for every look at a timeline; it borrows, and cannot fail.

mod actors;
pub(in crate::diagnosis) mod api;
pub(in crate::diagnosis) mod broker;
pub(in crate::diagnosis) mod busy;
mod callers;
pub(in crate::diagnosis) mod connections;
pub(in crate::diagnosis) mod containers;
pub(in crate::diagnosis) mod control;
pub(in crate::diagnosis) mod deaths;
pub(in crate::diagnosis) mod expiry;
mod fact;
mod filling;
pub(in crate::diagnosis) mod holding;
pub(in crate::diagnosis) mod holdups;
mod identity;
pub(in crate::diagnosis) mod later;
mod lines;
pub(in crate::diagnosis) mod locks;
mod messages;
pub(in crate::diagnosis) mod others;
pub(in crate::diagnosis) mod permissions;
mod places;
mod processes;
pub(in crate::diagnosis) mod programs;
mod repeats;
pub(in crate::diagnosis) mod replaced;
pub(in crate::diagnosis) mod results;
pub(in crate::diagnosis) mod retries;
mod returned;
pub(in crate::diagnosis) mod row;
pub(in crate::diagnosis) mod sessions;
pub(in crate::diagnosis) mod stacks;
mod stages;
mod started;
mod summary;
mod this_run;
pub(in crate::diagnosis) mod threads;
mod traceback;
pub(in crate::diagnosis) mod vanished;
mod whereabouts;
pub(in crate::diagnosis) mod workers;

use std::collections::{BTreeMap, BTreeSet};

use super::premises::{EventId, Premise, PremiseKind};
use super::{Stage, closes};
use crate::framework::{
    Acknowledges, Framework, LineSubject, LogEvent, Message, Takes, Traceback, WorkerLife, class_of,
    is_one_of, raises_one_of,
};
use crate::timeline::{Ended, Event, EventKind, LogLine, Row, Source, Timeline};

pub use fact::Fact;
pub use filling::plain_placeholders;
pub use processes::{End, Launch};

/// Whether a source could see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility<'a> {
    Watching(&'a str),
    /// Sees, but not everything.
    Partial(&'a str),
    Blind(&'a str),
    /// Never said anything: it was not part of the run.
    Absent,
}

/// A publish or a delivery of this task.
#[derive(Debug, Clone, Copy)]
pub struct Transfer<'a> {
    pub n: u32,
    pub at_ms: f64,
    /// Publishes: the queue that they were put on, as far as that was seen; else the routing key. Deliveries: the queue.
    pub queue: &'a str,
    pub connection: &'a str,
    pub redelivered: bool,
    pub message: &'a Message,
}

impl<'a> Transfer<'a> {
    /// Of several queues that it was put on this one is meant.
    pub(super) fn of_publish(event: &'a Event, queue: &str) -> Option<Self> {
        match &event.kind {
            EventKind::Publish {
                routing_key,
                routed,
                connection,
                message,
                ..
            } => Some(Self {
                n: event.n,
                at_ms: event.at_ms,
                queue: routed
                    .as_deref()
                    .and_then(|routed| routed.iter().find(|name| *name == queue).or(routed.first()))
                    .unwrap_or(routing_key),
                connection,
                redelivered: false,
                message,
            }),
            _ => None,
        }
    }
}

/// A copy of this task's message at rest on a companion queue.
#[derive(Debug, Clone, Copy)]
pub struct QueuedCopy<'a> {
    pub passage: Transfer<'a>,
    /// `x-death`'s reason, on the dead-letter queue.
    pub reason: Option<&'a str>,
}

/// A line of the watched worker's log.
#[derive(Debug, Clone, Copy)]
pub struct WorkerLine<'a> {
    pub n: u32,
    pub at_ms: f64,
    pub line: &'a LogLine,
    /// The process of this machine that wrote it. The pid in the line itself may be a container's.
    pub pid: Option<i32>,
    pub mark: Option<&'a LogEvent>,
    /// What it is about, beside that.
    pub subject: Option<LineSubject<'a>>,
    pub stated: Option<&'a str>,
}

/// Lines of one thread, as far as the log tells them apart.
pub type ThreadKey<'a> = (Option<&'a str>, Option<i32>, Option<&'a str>);

impl<'a> WorkerLine<'a> {
    /// The id of the message that it names.
    pub fn message_id(&self) -> Option<&'a str> {
        self.mark
            .and_then(LogEvent::message_id)
            .or(self.subject.map(|subject| subject.id))
    }

    /// The thread that wrote it: replicas that share a log may have the same pid and thread.
    pub fn thread(&self) -> ThreadKey<'a> {
        (
            self.line.stream.as_deref(),
            self.line.pid,
            self.line.thread.as_deref(),
        )
    }

    /// The actor that it names.
    pub fn task_name(&self) -> Option<&'a str> {
        self.mark.and_then(LogEvent::task_name)
    }

    /// The application says it, in the course of the task.
    pub fn is_by_the_task(&self) -> bool {
        self.mark.is_none() && self.subject.is_some_and(|subject| subject.by_the_task)
    }

    /// The broker is told what became of the message.
    pub fn settles(&self) -> bool {
        self.mark.is_some_and(LogEvent::settles)
    }

    /// What it says of the worker's own life.
    pub fn life(&self) -> Option<WorkerLife> {
        self.mark.and_then(LogEvent::worker_life)
    }
}

/// Passive-declare counts.
#[derive(Debug, Clone, Copy)]
pub struct Depth {
    pub n: u32,
    pub at_ms: f64,
    pub exists: bool,
    pub ready: u64,
    pub consumers: u64,
    /// Looks in a row with this answer.
    pub samples: u64,
}

/// The management API's facts of one queue.
#[derive(Debug, Clone, Copy)]
pub struct Info<'a> {
    pub n: u32,
    pub at_ms: f64,
    pub queue: &'a str,
    pub state: Option<&'a str>,
    pub queue_type: Option<&'a str>,
    pub arguments: &'a serde_json::Map<String, serde_json::Value>,
    pub policy_definition: &'a serde_json::Map<String, serde_json::Value>,
    /// Whether a policy applies is not known: none that is missing may be concluded from.
    pub policy_unknown: bool,
    pub ready: Option<u64>,
    pub unacked: Option<u64>,
    /// The counts are of this moment or a later one: those of a quorum queue are seconds old.
    pub counted_ms: f64,
    /// Members of a replicated queue that are online, and all of them.
    pub online: Option<(u64, u64)>,
}

impl<'a> Info<'a> {
    /// What the queue was declared with, or a policy says: `message-ttl` is the argument `x-message-ttl`.
    /// Where both give a number, the smaller one counts.
    pub fn setting(&self, name: &str) -> Option<&'a serde_json::Value> {
        let argument = self.arguments.get(&format!("x-{name}"));
        let policy = self.policy_definition.get(name);
        match (
            argument.and_then(|value| value.as_i64()),
            policy.and_then(|value| value.as_i64()),
        ) {
            (Some(argument), Some(by_policy)) if by_policy < argument => policy,
            _ => argument.or(policy),
        }
    }
}

/// One attempt that raised, from the log or from the copy on the delay queue.
#[derive(Debug, Clone)]
pub struct Raised {
    pub n: u32,
    pub at_ms: f64,
    pub trace: Option<Traceback>,
    pub actor: String,
    /// The whole traceback, chain included.
    text: String,
    /// No entry was seen although it would have been, and only libraries are on the stack.
    wrapper: bool,
}

impl Raised {
    /// The actor's own code is on the stack.
    pub fn entered(&self) -> bool {
        self.trace
            .as_ref()
            .is_some_and(|trace| !trace.is_bad_call(&self.actor) && !trace.own_frames().is_empty())
            && !self.wrapper
    }

    /// The call itself failed: its arguments do not fit.
    pub fn is_bad_call(&self) -> bool {
        self.trace
            .as_ref()
            .is_some_and(|trace| trace.is_bad_call(&self.actor))
    }

    /// Something that is wrapped around the actor raised, as far as can be seen.
    pub fn in_a_wrapper(&self) -> bool {
        self.wrapper
    }

    /// It, or another exception of its chain, is of one of these classes.
    pub fn is_one_of(&self, classes: &[&str]) -> bool {
        let last = self.trace.as_ref().map(|trace| class_of(&trace.exception));
        last.is_some_and(|class| is_one_of(class, classes)) || raises_one_of(&self.text, classes)
    }

    pub fn exception(&self) -> String {
        self.trace
            .as_ref()
            .map(|trace| trace.exception.clone())
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| "an exception".into())
    }
}

/// When each stage was reached first, where that is known, and the events that show it.
type StageEvidence = BTreeMap<Stage, (Option<f64>, Vec<u32>)>;

pub struct Story<'a> {
    pub timeline: &'a Timeline,
    sights: BTreeMap<Source, (Visibility<'a>, u32)>,
    missed: u64,
    ended: Option<Ended>,
    task_id: Option<&'a str>,
    message_ids: BTreeSet<&'a str>,
    publishes: Vec<Transfer<'a>>,
    deliveries: Vec<Transfer<'a>>,
    stray_publishes: Vec<Transfer<'a>>,
    /// Copies that lie on the delay or dead-letter queue: seen with `--peek` only.
    held: Vec<QueuedCopy<'a>>,
    candidates: usize,
    /// When the request left, and when its answer came.
    submitted_at: Option<f64>,
    answered_at: Option<f64>,
    recognised: Option<EventId>,
    worker_lines: Vec<WorkerLine<'a>>,
    lines: Vec<WorkerLine<'a>>,
    /// The processes that a stream of the log calls by a pid.
    pids: BTreeMap<(Option<&'a str>, i32), Vec<identity::Life>>,
    /// Several places have processes with the log's pids, and nothing says which of them wrote it.
    ambiguous: bool,
    /// Threads of the log that are several: more than one process writes under their name.
    shared: BTreeSet<ThreadKey<'a>>,
    /// What an event's being the task's, or somebody's, rests on.
    premises: BTreeMap<EventId, Vec<Premise>>,
    /// Lines taken to be the task's only because nothing else seems to have happened.
    weak: BTreeSet<u32>,
    /// Lines known to be the task's by the pid and thread that wrote them.
    by_thread: BTreeSet<EventId>,
    entries: Vec<WorkerLine<'a>>,
    raised: Vec<Raised>,
    rows: Vec<Fact<&'a Row>>,
    reached: StageEvidence,
    /// A message of its queue waits, and nothing says whose: that it is the task's is assumed.
    pub(super) waits_by_assumption: bool,
    /// Taken for proved without a proof: only tests do that, to see that it matters.
    pub(super) trusted: Option<PremiseKind>,
}

impl<'a> Story<'a> {
    pub fn new(timeline: &'a Timeline) -> Self {
        let mut story = Self {
            timeline,
            sights: BTreeMap::new(),
            missed: 0,
            ended: None,
            task_id: None,
            message_ids: BTreeSet::new(),
            publishes: Vec::new(),
            deliveries: Vec::new(),
            stray_publishes: Vec::new(),
            held: Vec::new(),
            candidates: 0,
            submitted_at: None,
            answered_at: None,
            recognised: None,
            worker_lines: Vec::new(),
            lines: Vec::new(),
            pids: BTreeMap::new(),
            ambiguous: false,
            shared: BTreeSet::new(),
            premises: BTreeMap::new(),
            weak: BTreeSet::new(),
            by_thread: BTreeSet::new(),
            entries: Vec::new(),
            raised: Vec::new(),
            rows: Vec::new(),
            reached: BTreeMap::new(),
            waits_by_assumption: false,
            trusted: None,
        };
        story.read();
        story.find_messages();
        story.forget_repeated_lines();
        story.find_pids();
        story.find_shared_threads();
        story.find_lines();
        story.find_raised();
        story.find_premises();
        story.find_stages();
        story
    }

    fn read(&mut self) {
        for event in &self.timeline.events {
            match &event.kind {
                EventKind::Watching { detail } => {
                    // Ready too late for what was sent at once.
                    let late = event.source == Source::Firehose
                        && self.submitted_at.is_some_and(|at| event.at_ms > at)
                        && !self.sees(Source::Firehose);
                    let sight = match late {
                        true => Visibility::Partial(detail),
                        false => Visibility::Watching(detail),
                    };
                    self.sights.insert(event.source, (sight, event.n));
                }
                EventKind::Partial { reason } => {
                    self.sights
                        .insert(event.source, (Visibility::Partial(reason), event.n));
                }
                EventKind::Blind { reason, .. } => {
                    self.sights
                        .insert(event.source, (Visibility::Blind(reason), event.n));
                }
                EventKind::Ended { why } => self.ended = Some(*why),
                EventKind::Missed { events } => self.missed += events,
                EventKind::Submitting { .. } => {
                    self.submitted_at.get_or_insert(event.at_ms);
                }
                EventKind::Answered { task_id, .. } => {
                    self.answered_at.get_or_insert(event.at_ms);
                    if let Some(id) = task_id {
                        self.task_id = Some(id);
                    }
                }
                EventKind::CommandEnded(end) => {
                    self.answered_at.get_or_insert(event.at_ms);
                    self.task_id = end.task_id.as_deref().or(self.task_id);
                }
                EventKind::Given { task_id: id } => self.task_id = Some(id),
                EventKind::Recognised { task_id: id } => {
                    self.task_id = Some(id);
                    self.recognised = Some(event.n);
                }
                EventKind::Row(row) => self.rows.push(Fact::of(event, row)),
                EventKind::Line(line) if event.source == Source::WorkerLog => {
                    self.worker_lines.push(WorkerLine {
                        n: event.n,
                        at_ms: event.at_ms,
                        line,
                        pid: line.pid,
                        mark: self.timeline.mark(event.n),
                        subject: self.timeline.subject(event.n),
                        stated: event.stated.as_deref(),
                    })
                }
                _ => {}
            }
        }
    }

    /// What the attribution of each event rests on: a line that carries no id, a message that is
    /// known by a number, the process at the end of a connection.
    fn find_premises(&mut self) {
        let mut premises: BTreeMap<EventId, Vec<Premise>> = BTreeMap::new();
        let is = match self.recognised() {
            Some(_) => Premise::SentForTheRequest,
            None => Premise::MessageIsOurs,
        };
        let ours = |id: Option<&str>| id.map(|id| is(id.to_owned()));
        // Afterwards a log has the words of every run that had this id; a copy at rest says which is meant.
        let at_rest = |id: Option<&str>| {
            let ids = self
                .held
                .iter()
                .filter_map(|held| held.passage.message.message_id.as_deref());
            id.is_some_and(|id| ids.into_iter().any(|held| held == id))
        };
        for line in &self.lines {
            let found = premises.entry(line.n).or_default();
            if self.post_mortem() && !at_rest(line.message_id()) {
                found.push(Premise::IdIsNew);
            }
            match line.message_id() {
                Some(id) => found.extend(ours(Some(id))),
                None if line.line.carries_task_id => {}
                None if self.by_thread.contains(&line.n) => {
                    found.push(Premise::OneProcessPerLogThread { pid: line.pid });
                    // The thread has it because it took the message.
                    if self.recognised().is_some() {
                        found.extend(self.message_ids.iter().filter_map(|id| ours(Some(id))));
                    }
                }
                None => {}
            }
        }
        // It names no message, and is about the one that its process spoke of last.
        if let Some((told, ..)) = results::raised_by_the_body(self) {
            let pid = told.line.pid;
            let found = premises.entry(told.n).or_default();
            found.extend([Premise::OneProcessPerLogThread { pid }, Premise::LogIsWhole]);
        }
        let transfers = self.publishes.iter().chain(&self.deliveries);
        for transfer in transfers.chain(self.held.iter().map(|held| &held.passage)) {
            premises
                .entry(transfer.n)
                .or_default()
                .extend(ours(transfer.message.message_id.as_deref()));
        }
        let taken = || {
            let last = self.deliveries.last().filter(|_| self.recognised().is_none());
            last.and_then(|passage| ours(passage.message.message_id.as_deref()))
                .into_iter()
        };
        for event in &self.timeline.events {
            match &event.kind {
                EventKind::Peer { connection, .. } => {
                    premises.insert(event.n, vec![Premise::PeerIsProcess(connection.clone())]);
                }
                // What a process does is of interest because it has our message.
                EventKind::Stacks { .. } => {
                    premises.insert(event.n, taken().collect());
                }
                EventKind::LockWait(wait) if !wait.table => {
                    let waiters = locks::waiting_processes(self, wait).into_iter();
                    let ours = waiters.filter(|waiter| locks::is_our_worker(self, waiter.value));
                    let waits = ours.take(1).map(|waiter| Premise::WaitIsTheTasks(waiter.value));
                    premises.insert(event.n, taken().chain(waits).collect());
                }
                _ => {}
            }
        }
        self.premises = premises;
    }

    /// How long it was waited for more after this moment, where silence ended the run.
    pub fn silent_for_ms(&self, since: f64) -> Option<f64> {
        let last = self.timeline.events.last()?;
        (self.ended == Some(Ended::Silence)).then_some((last.at_ms - since).max(0.0))
    }

    pub fn premises_of(&self, n: EventId) -> &[Premise] {
        self.premises.get(&n).map_or(&[], Vec::as_slice)
    }

    fn answered_at(&self) -> Option<f64> {
        self.answered_at
    }

    pub fn sight(&self, source: Source) -> Visibility<'a> {
        self.sights
            .get(&source)
            .map_or(Visibility::Absent, |(sight, _)| *sight)
    }

    /// It could see, wholly or in part.
    pub fn sees(&self, source: Source) -> bool {
        matches!(
            self.sight(source),
            Visibility::Watching(_) | Visibility::Partial(_)
        )
    }

    /// It could see everything it was asked to: absence counts.
    pub fn sees_all(&self, source: Source) -> bool {
        matches!(self.sight(source), Visibility::Watching(_))
            && (source != Source::Firehose || self.missed_events() == 0)
    }

    /// Why the firehose shows only part of what passes: then what it does not show proves nothing.
    /// Tracing is a state of each node, and in a cluster others publish and deliver as well.
    pub fn firehose_in_part(&self) -> Option<&'a str> {
        match self.sight(Source::Firehose) {
            Visibility::Partial(reason) => Some(reason),
            _ => None,
        }
    }

    /// Trace events that the broker or we had to drop.
    pub fn missed_events(&self) -> u64 {
        self.missed
    }

    /// A recording of `trace`: the firehose of some time, in which no task was submitted.
    pub fn is_trace(&self) -> bool {
        self.timeline.setup.trace
    }

    pub fn queue(&self) -> &'a str {
        &self.timeline.setup.queue
    }

    /// The framework of the API and the worker.
    pub fn framework(&self) -> &'static Framework {
        self.timeline.framework()
    }

    /// A message that is acknowledged is one whose run is over: what the broker counts as unacknowledged is
    /// what may be running.
    pub fn acknowledges_after_the_run(&self) -> bool {
        self.framework().acknowledges == Acknowledges::AfterRun
    }

    /// A worker's master takes messages and hands them to its children.
    pub fn master_takes(&self) -> bool {
        self.framework().takes == Takes::Master
    }

    /// By this line the attempt in hand is over.
    pub fn ends_attempt(&self, told: &WorkerLine<'_>) -> bool {
        if self.acknowledges_after_the_run() {
            told.settles()
        } else {
            told.mark.is_some_and(LogEvent::ends_run)
        }
    }

    /// The logical queue behind a name is the task's.
    pub fn is_of_my_queue(&self, name: &str) -> bool {
        self.framework().queues.base(name) == self.queue()
    }

    /// Where delayed messages of the queue wait, if that is a queue.
    pub fn delay_queue(&self) -> Option<String> {
        self.framework().queues.delay(self.queue())
    }

    /// Where rejected messages of the queue end, if that is a queue.
    pub fn dead_letter_queue(&self) -> Option<String> {
        self.framework().queues.dead_letter(self.queue())
    }

    /// The same at another end: what would be said if it came now.
    pub(super) fn as_if_ended(timeline: &'a Timeline, why: Ended) -> Self {
        let mut story = Self::new(timeline);
        story.ended = Some(why);
        story
    }

    /// The recording says how the run ended: nothing of it is missing.
    pub fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// The window has closed: absence may count.
    pub fn closed(&self) -> bool {
        self.ended.is_some_and(closes)
    }

    pub fn timed_out(&self) -> bool {
        self.ended == Some(Ended::Timeout)
    }

    pub fn post_mortem(&self) -> bool {
        self.timeline.setup.post_mortem
    }

    pub fn task_id(&self) -> Option<&'a str> {
        self.task_id
    }

    /// The answer names no task: its message was recognised by when it was sent.
    pub fn recognised(&self) -> Option<EventId> {
        self.recognised
    }

    pub fn is_my_message(&self, id: &str) -> bool {
        self.message_ids.contains(id)
    }

    pub fn submitted_at(&self) -> Option<f64> {
        self.submitted_at
    }

    pub(in crate::diagnosis) fn find<T>(&self, pick: impl FnMut(&'a Event) -> Option<T>) -> Option<T> {
        self.timeline.events.iter().find_map(pick)
    }

    pub(in crate::diagnosis) fn find_last<T>(&self, pick: impl FnMut(&'a Event) -> Option<T>) -> Option<T> {
        self.timeline.events.iter().rev().find_map(pick)
    }

    /// No pointer says where the answer holds the task's id: it was found under a usual name.
    pub fn id_was_guessed(&self) -> bool {
        !self.post_mortem() && self.timeline.setup.task_id_pointer.is_none()
    }
}
