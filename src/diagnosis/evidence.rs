//! What happened to this task, picked out of everything that was seen.
//!
//! The questions causes ask: which messages and lines are the task's, how far it came, who took
//! it, what the row said. Built anew for every look at a timeline; it borrows, and cannot fail.

mod actors;
mod again;
pub(in crate::diagnosis) mod answers;
pub(in crate::diagnosis) mod api;
mod api_status;
pub(in crate::diagnosis) mod api_tracebacks;
mod attempts;
mod attribution;
pub(in crate::diagnosis) mod broker;
pub(in crate::diagnosis) mod busy;
mod callers;
mod candidates;
mod clocks;
pub(in crate::diagnosis) mod connections;
pub(in crate::diagnosis) mod containers;
pub(in crate::diagnosis) mod control;
pub(in crate::diagnosis) mod deaths;
pub(in crate::diagnosis) mod discard;
pub(in crate::diagnosis) mod eager;
mod early;
mod event_premises;
pub(in crate::diagnosis) mod expiry;
mod fact;
mod filling;
pub(in crate::diagnosis) mod holding;
pub(in crate::diagnosis) mod holdups;
mod identity;
pub(in crate::diagnosis) mod later;
pub(in crate::diagnosis) mod limits;
mod lines;
pub(in crate::diagnosis) mod lives;
pub(in crate::diagnosis) mod locks;
mod log_sight;
pub(in crate::diagnosis) mod logged_errors;
pub(in crate::diagnosis) mod memory;
mod messages;
pub(in crate::diagnosis) mod misses;
mod missing;
pub(in crate::diagnosis) mod moved;
mod named_queue;
mod notes;
pub(in crate::diagnosis) mod others;
pub(in crate::diagnosis) mod permissions;
mod places;
mod processes;
pub(in crate::diagnosis) mod programs;
mod proofs;
mod put_off;
mod queues;
mod raised;
mod reached;
pub(in crate::diagnosis) mod refusals;
pub(in crate::diagnosis) mod relays;
mod repeats;
pub(in crate::diagnosis) mod replaced;
pub(in crate::diagnosis) mod results;
pub(in crate::diagnosis) mod retries;
mod returned;
pub(in crate::diagnosis) mod row;
pub(in crate::diagnosis) mod sessions;
pub(in crate::diagnosis) mod settings;
pub(in crate::diagnosis) mod stacks;
mod stages;
pub(in crate::diagnosis) mod standing;
mod started;
mod summary;
mod this_run;
pub(in crate::diagnosis) mod threads;
mod traceback;
mod transfer;
mod turns;
pub(in crate::diagnosis) mod vanished;
mod visibility;
mod whereabouts;
mod worker_line;
pub(in crate::diagnosis) mod workers;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::closes;
use super::premises::{EventId, Premise, PremiseKind};
use crate::framework::{Acknowledges, Framework, LogEvent, Takes};
use crate::timeline::{Ended, Event, EventKind, Row, Source, Timeline};

pub use containers::words as container_words;
pub use fact::Fact;
pub(in crate::diagnosis) use filling::named_table;
pub use filling::plain_placeholders;
pub use processes::{End, Launch};
pub(in crate::diagnosis) use put_off::PutOff;
pub use queues::{Depth, Info};
pub use raised::Raised;
use reached::StageEvidence;
pub use standing::{Standing, purpose};
pub use transfer::{QueuedCopy, Transfer};
pub use visibility::Visibility;
pub use worker_line::{ThreadKey, WorkerLine};

pub struct Story<'a> {
    pub timeline: &'a Timeline,
    visibility: BTreeMap<Source, (Visibility<'a>, u32)>,
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
    /// No message carries the id that the answer names: the only one that the API sent for the request is followed.
    is_by_time: bool,
    worker_lines: Vec<WorkerLine<'a>>,
    lines: Vec<WorkerLine<'a>>,
    /// Where the task had another message before the one that counts: the first line that can be of this one.
    counts_from: Option<EventId>,
    earlier: Option<attempts::Earlier<'a>>,
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
    /// By its log this worker acknowledged the message before it ran it: something of the application's does that.
    acknowledged_early: bool,
    raised: Vec<Raised>,
    rows: Vec<Fact<&'a Row>>,
    reached: StageEvidence,
    /// A message of its queue waits, and nothing says whose: that it is the task's is assumed.
    pub(super) waits_by_assumption: bool,
    /// Taken for proved without a proof: only tests do that, to see that it matters.
    pub(super) trusted: Option<PremiseKind>,
    /// What was asked for and is not proved, for the same tests.
    pub(super) unproved: RefCell<BTreeSet<PremiseKind>>,
}

impl<'a> Story<'a> {
    pub fn new(timeline: &'a Timeline) -> Self {
        let mut story = Self {
            timeline,
            visibility: BTreeMap::new(),
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
            is_by_time: false,
            worker_lines: Vec::new(),
            lines: Vec::new(),
            counts_from: None,
            earlier: None,
            pids: BTreeMap::new(),
            ambiguous: false,
            shared: BTreeSet::new(),
            premises: BTreeMap::new(),
            weak: BTreeSet::new(),
            by_thread: BTreeSet::new(),
            entries: Vec::new(),
            acknowledged_early: false,
            raised: Vec::new(),
            rows: Vec::new(),
            reached: StageEvidence::default(),
            waits_by_assumption: false,
            trusted: None,
            unproved: RefCell::default(),
        };
        story.read();
        story.find_messages();
        story.forget_repeated_lines();
        story.forget_moves();
        story.find_pids();
        story.forget_other_services();
        story.find_shared_threads();
        story.find_lines();
        story.set_earlier_attempts_aside();
        story.acknowledged_early = story.is_acknowledged_before_its_run();
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
                    let visibility = match late {
                        true => Visibility::Partial(detail),
                        false => Visibility::Watching(detail),
                    };
                    self.visibility.insert(event.source, (visibility, event.n));
                }
                EventKind::Partial { reason } => {
                    self.visibility
                        .insert(event.source, (Visibility::Partial(reason), event.n));
                }
                EventKind::Blind { reason, .. } => {
                    self.visibility
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

    /// How long it was waited for more after this moment, where silence ended the run.
    pub fn silent_for_ms(&self, since: f64) -> Option<f64> {
        let last = self.timeline.events.last()?;
        (self.ended == Some(Ended::Silence)).then_some((last.at_ms - since).max(0.0))
    }

    fn answered_at(&self) -> Option<f64> {
        self.answered_at
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
        self.framework().acknowledges == Acknowledges::AfterRun && !self.acknowledged_early
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
            told.mark.is_some_and(LogEvent::ends_run) && !self.is_no_end(told)
        }
    }

    /// It was to be ended with a signal, which its pool can send to none.
    fn is_no_end(&self, told: &WorkerLine<'_>) -> bool {
        matches!(told.mark, Some(LogEvent::Terminating { .. }))
            && self
                .worker_lines
                .iter()
                .any(|line| line.n > told.n && matches!(line.mark, Some(LogEvent::CannotTerminate)))
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

    /// Its message is known by nothing but when it was sent.
    pub fn is_known_by_time(&self) -> bool {
        self.recognised.is_some() || self.is_by_time
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
