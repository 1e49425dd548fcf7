//! What happened to this task, picked out of everything that was seen.
//!
//! The questions causes ask: which messages and lines are the task's, how far it came, who took
//! it, what the row said. Built anew for every look at a timeline; it borrows, and cannot fail.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Answer, Outcome, Reached, Stage, Task, closes};
use crate::framework::dramatiq::{self, Trace};
use crate::framework::{Mark, Message};
use crate::timeline::{
    Connection, Consumer, Ended, Event, EventKind, Level, LogLine, Process, Row, Source, Timeline, Xmax,
};

/// Whether a source could see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight<'a> {
    Watching(&'a str),
    /// Sees, but not everything.
    Partial(&'a str),
    Blind(&'a str),
    /// Never said anything: it was not part of the run.
    Absent,
}

/// A publish or a delivery of this task.
#[derive(Debug, Clone, Copy)]
pub struct Passage<'a> {
    pub n: u32,
    pub at_ms: f64,
    /// Publishes: the routing key on the default exchange. Deliveries: the queue.
    pub queue: &'a str,
    pub connection: &'a str,
    pub redelivered: bool,
    pub message: &'a Message,
}

/// A copy of this task's message at rest on a companion queue.
#[derive(Debug, Clone, Copy)]
pub struct Held<'a> {
    pub passage: Passage<'a>,
    /// `x-death`'s reason, on the dead-letter queue.
    pub reason: Option<&'a str>,
}

/// A line of the watched worker's log.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    pub n: u32,
    pub at_ms: f64,
    pub line: &'a LogLine,
    pub mark: Option<&'a Mark>,
    pub stated: Option<&'a str>,
}

/// Passive-declare counts.
#[derive(Debug, Clone, Copy)]
pub struct Depth {
    pub n: u32,
    pub at_ms: f64,
    pub exists: bool,
    pub ready: u64,
    pub consumers: u64,
}

/// The management API's facts of one queue.
#[derive(Debug, Clone, Copy)]
pub struct Info<'a> {
    pub n: u32,
    pub at_ms: f64,
    pub queue: &'a str,
    pub state: Option<&'a str>,
    pub arguments: &'a serde_json::Map<String, serde_json::Value>,
    pub policy_definition: &'a serde_json::Map<String, serde_json::Value>,
    pub ready: Option<u64>,
    pub unacked: Option<u64>,
}

/// One attempt that raised, from the log or from the copy on the delay queue.
#[derive(Debug, Clone)]
pub struct Raised {
    pub n: u32,
    pub at_ms: f64,
    pub trace: Option<Trace>,
    pub actor: String,
    /// The whole traceback, chain included.
    text: String,
}

impl Raised {
    /// The actor's own code is on the stack.
    pub fn entered(&self) -> bool {
        self.trace
            .as_ref()
            .is_some_and(|trace| !trace.is_bad_call(&self.actor) && !trace.own_frames().is_empty())
    }

    /// Another exception of the chain says this.
    pub fn chained(&self, word: &str) -> bool {
        self.text.contains(word)
    }

    pub fn exception(&self) -> String {
        self.trace
            .as_ref()
            .map(|trace| trace.exception.clone())
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| "an exception".into())
    }
}

pub struct Story<'a> {
    pub timeline: &'a Timeline,
    sights: BTreeMap<Source, (Sight<'a>, u32)>,
    ended: Option<Ended>,
    task_id: Option<&'a str>,
    message_ids: BTreeSet<&'a str>,
    publishes: Vec<Passage<'a>>,
    deliveries: Vec<Passage<'a>>,
    stray_publishes: Vec<Passage<'a>>,
    /// Copies that lie on the delay or dead-letter queue: seen with `--peek` only.
    held: Vec<Held<'a>>,
    candidates: usize,
    worker_lines: Vec<Told<'a>>,
    lines: Vec<Told<'a>>,
    /// Lines taken to be the task's only because nothing else seems to have happened.
    weak: BTreeSet<u32>,
    entries: Vec<Told<'a>>,
    raised: Vec<Raised>,
    rows: Vec<(u32, f64, &'a Row)>,
    reached: BTreeMap<Stage, (Option<f64>, Vec<u32>)>,
}

impl<'a> Story<'a> {
    pub fn new(timeline: &'a Timeline) -> Self {
        let mut story = Self {
            timeline,
            sights: BTreeMap::new(),
            ended: None,
            task_id: None,
            message_ids: BTreeSet::new(),
            publishes: Vec::new(),
            deliveries: Vec::new(),
            stray_publishes: Vec::new(),
            held: Vec::new(),
            candidates: 0,
            worker_lines: Vec::new(),
            lines: Vec::new(),
            weak: BTreeSet::new(),
            entries: Vec::new(),
            raised: Vec::new(),
            rows: Vec::new(),
            reached: BTreeMap::new(),
        };
        story.read();
        story.find_messages();
        story.find_lines();
        story.find_raised();
        story.find_stages();
        story
    }

    fn read(&mut self) {
        for event in &self.timeline.events {
            match &event.kind {
                EventKind::Watching { detail } => {
                    self.sights
                        .insert(event.source, (Sight::Watching(detail), event.n));
                }
                EventKind::Partial { reason } => {
                    self.sights
                        .insert(event.source, (Sight::Partial(reason), event.n));
                }
                EventKind::Blind { reason, .. } => {
                    self.sights.insert(event.source, (Sight::Blind(reason), event.n));
                }
                EventKind::Ended { why } => self.ended = Some(*why),
                EventKind::Answered {
                    task_id: Some(id), ..
                }
                | EventKind::Given { task_id: id } => self.task_id = Some(id),
                EventKind::Row(row) => self.rows.push((event.n, event.at_ms, row)),
                EventKind::Line(line) if event.source == Source::WorkerLog => self.worker_lines.push(Told {
                    n: event.n,
                    at_ms: event.at_ms,
                    line,
                    mark: self.timeline.mark(event.n),
                    stated: event.stated.as_deref(),
                }),
                _ => {}
            }
        }
    }

    /// The messages that carry the task id. With an actor configured, one for another actor counts
    /// only where there is none for the configured one.
    fn find_messages(&mut self) {
        let since = self.submitted_at();
        let mut carrying: Vec<Passage<'a>> = Vec::new();
        for event in &self.timeline.events {
            match &event.kind {
                EventKind::Publish {
                    routing_key,
                    connection,
                    message,
                    ..
                } if message.carries_task_id && since.is_none_or(|since| event.at_ms >= since) => {
                    carrying.push(Passage {
                        n: event.n,
                        at_ms: event.at_ms,
                        queue: routing_key,
                        connection,
                        redelivered: false,
                        message,
                    });
                }
                EventKind::DeadLetter {
                    queue,
                    reason,
                    message,
                    ..
                } if message.carries_task_id && self.is_for_the_actor(message) => {
                    if let Some(id) = &message.message_id {
                        self.message_ids.insert(id);
                    }
                    self.held.push(Held {
                        passage: Passage {
                            n: event.n,
                            at_ms: event.at_ms,
                            queue,
                            connection: "",
                            redelivered: false,
                            message,
                        },
                        reason: reason.as_deref(),
                    });
                }
                _ => {}
            }
        }
        // A message that is first seen as a retry, or was first enqueued long before, is an earlier
        // task's with the same id.
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut earlier: BTreeSet<&str> = BTreeSet::new();
        let started = self
            .timeline
            .started_at
            .parse::<jiff::Timestamp>()
            .map_or(i64::MIN, |at| at.as_millisecond());
        // Where every one is that old, it is the clocks that differ.
        let is_old = |message: &Message| {
            message
                .timestamp_ms
                .is_some_and(|at| at < started.saturating_sub(EARLIER_BY_MS))
        };
        let all_old = carrying.iter().all(|passage| is_old(passage.message));
        for passage in &carrying {
            let Some(id) = passage.message.message_id.as_deref() else {
                continue;
            };
            let old = passage
                .message
                .timestamp_ms
                .is_some_and(|at| at < started - EARLIER_BY_MS);
            if seen.insert(id) && (passage.message.is_retry() || (old && !all_old)) {
                earlier.insert(id);
            }
        }
        carrying.retain(|passage| {
            passage
                .message
                .message_id
                .as_deref()
                .is_none_or(|id| !earlier.contains(id))
        });
        let wanted = self.timeline.setup.actor.as_deref();
        let for_wanted = |passage: &Passage<'_>| {
            wanted.is_none()
                || passage.message.actor.as_deref() == wanted
                || passage.message.undecodable.is_some()
        };
        let any_wanted = carrying.iter().any(for_wanted);
        // Where none is for the configured actor, one for another actor on this very queue may be
        // meant all the same; on another queue it is a different step of the application.
        let here = |passage: &Passage<'_>| dramatiq::base_queue(passage.queue) == self.timeline.setup.queue;
        let (mine, strays): (Vec<_>, Vec<_>) = carrying
            .into_iter()
            .partition(|passage| for_wanted(passage) || (!any_wanted && here(passage)));
        // Messages sent on by the running actor come after the first delivery: not candidates.
        let first_delivery = self.timeline.events.iter().find_map(|event| match &event.kind {
            EventKind::Deliver { message, queue, .. }
                if message.carries_task_id && *queue == self.timeline.setup.queue =>
            {
                Some(event.at_ms)
            }
            _ => None,
        });
        let ids: BTreeSet<&str> = mine
            .iter()
            .filter(|passage| first_delivery.is_none_or(|at| passage.at_ms <= at))
            .filter_map(|passage| passage.message.message_id.as_deref())
            .collect();
        self.candidates = ids.len();
        self.message_ids.extend(ids);
        if self.message_ids.is_empty() {
            self.message_ids.extend(
                mine.iter()
                    .filter_map(|passage| passage.message.message_id.as_deref())
                    .take(1),
            );
        }
        let known = &self.message_ids;
        self.publishes = mine
            .into_iter()
            .filter(|passage| {
                passage
                    .message
                    .message_id
                    .as_deref()
                    .is_none_or(|id| known.contains(id))
            })
            .collect();
        self.stray_publishes = strays;
        for event in &self.timeline.events {
            if let EventKind::Deliver {
                queue,
                connection,
                redelivered,
                message,
            } = &event.kind
                && (message.message_id.as_deref().is_some_and(|id| known.contains(id))
                    || (message.undecodable.is_some() && message.carries_task_id))
            {
                self.deliveries.push(Passage {
                    n: event.n,
                    at_ms: event.at_ms,
                    queue,
                    connection,
                    redelivered: *redelivered,
                    message,
                });
            }
        }
    }

    /// The log lines that are this task's: by id, or between "Received message" and its settling in
    /// the same process and thread.
    fn find_lines(&mut self) {
        type Key<'k> = (Option<i32>, Option<&'k str>);
        let mut active: HashMap<Key<'a>, &'a str> = HashMap::new();
        let mut unkeyed: BTreeSet<&'a str> = BTreeSet::new();
        let mut lines = Vec::new();
        let mut weak = BTreeSet::new();
        let mut entries = Vec::new();
        let since = self.submitted_at();
        let wanted = self.timeline.setup.actor.as_deref();
        for &told in &self.worker_lines {
            // What came before cannot be the task's, but it may still be in a thread's hands.
            let counts = self.counts(&told) && since.is_none_or(|since| told.at_ms >= since);
            let key: Key<'a> = (told.line.pid, told.line.thread.as_deref());
            let id = told.mark.and_then(id_of);
            if let Some(Mark::Received { id, actor }) = told.mark {
                // The first one: what a running actor sends on may carry the task id as well.
                if counts
                    && told.line.carries_task_id
                    && self.message_ids.is_empty()
                    && self.publishes.is_empty()
                    && wanted.is_none_or(|wanted| wanted == actor)
                {
                    self.message_ids.insert(id);
                }
                active.insert(key, id);
                unkeyed.insert(id);
            }
            // Several processes have threads of the same name: without a pid the line is the task's
            // only if nothing else is in any thread's hands.
            let in_interval = if key.0.is_none() || key.1.is_none() {
                !unkeyed.is_empty() && unkeyed.iter().all(|id| self.message_ids.contains(id))
            } else {
                active.get(&key).is_some_and(|id| self.message_ids.contains(id))
            };
            let mut mine = match id {
                _ if !counts => false,
                Some(id) => self.message_ids.contains(id),
                None => told.line.carries_task_id || in_interval || self.is_alone(&told),
            };
            if counts && !mine && id.is_none() && self.is_probably_mine(&told) {
                mine = true;
                weak.insert(told.n);
            }
            if mine {
                lines.push(told);
                // A pattern that fits the framework's own lines proves nothing by them.
                if told.line.entry && told.mark.is_none() {
                    entries.push(told);
                }
            }
            if let Some(Mark::Acknowledging { id } | Mark::Rejecting { id }) = told.mark {
                active.retain(|_, active| *active != id.as_str());
                unkeyed.remove(id.as_str());
            }
        }
        self.lines = lines;
        self.weak = weak;
        self.entries = entries;
    }

    /// A framework or entry line without any id is the task's if the firehose shows that nothing
    /// else was delivered, before or since, that could have caused it.
    fn is_alone(&self, told: &Told<'a>) -> bool {
        if !is_about_a_message(told) || !self.sees(Source::Firehose) {
            return false;
        }
        // A line that names another actor than the task's message is about another message.
        let named = told.mark.and_then(actor_of);
        if let (Some(named), Some(mine)) = (
            named,
            self.publishes
                .first()
                .and_then(|passage| passage.message.actor.as_deref()),
        ) && named != mine
        {
            return false;
        }
        // Log lines come a little later than the fact; the delivery must have come before.
        let Some(first) = self
            .deliveries
            .iter()
            .find(|passage| passage.queue == self.queue())
        else {
            return false;
        };
        // Two sources, two delays: the log may be a little ahead of the firehose.
        let ahead = LOG_AHEAD_MS;
        if first.at_ms > told.at_ms + ahead || self.submitted_at().is_some_and(|since| told.at_ms < since) {
            return false;
        }
        let strangers = self.timeline.events.iter().any(|event| {
            matches!(&event.kind, EventKind::Deliver { queue, message, .. }
                if queue == self.queue() && event.at_ms <= told.at_ms + ahead
                && !message.message_id.as_deref().is_some_and(|id| self.message_ids.contains(id))
                && !(message.undecodable.is_some() && message.carries_task_id))
        });
        let busy_before = self
            .infos(self.queue())
            .find(|info| info.at_ms < first.at_ms)
            .is_none_or(|info| info.unacked != Some(0));
        // Right after a queue was declared there are no counts: then nothing can be unacked either.
        let new_queue = self
            .depths(self.queue())
            .next()
            .is_some_and(|depth| !depth.exists);
        !strangers && (!busy_before || new_queue)
    }

    /// The same without the firehose: the log shows no other message since the submission, and one
    /// came to its end. Never more than likely.
    fn is_probably_mine(&self, told: &Told<'a>) -> bool {
        let since = self.answered_at().or(self.submitted_at());
        if !is_about_a_message(told)
            || self.sees(Source::Firehose)
            || !since.is_some_and(|since| told.at_ms >= since - 50.0)
        {
            return false;
        }
        // What was waiting or under way before may be what the line is about.
        let first = self.infos(self.queue()).next();
        let idle = first.map(|info| (info.ready.unwrap_or(0), info.unacked.unwrap_or(0)));
        let entries = self
            .worker_lines
            .iter()
            .filter(|other| other.line.entry && !other.line.before)
            .count();
        if idle.is_some_and(|idle| idle != (0, 0)) || (told.line.entry && (idle.is_none() || entries != 1)) {
            return false;
        }
        let another = self.worker_lines.iter().any(|other| {
            !other.line.before
                && other.at_ms <= told.at_ms
                && other
                    .mark
                    .and_then(id_of)
                    .is_some_and(|id| !self.message_ids.contains(id))
        });
        // Two such lines of different actors are about two messages.
        let named = told.mark.and_then(actor_of);
        let several = self.worker_lines.iter().any(|other| {
            !other.line.before
                && is_about_a_message(other)
                && other
                    .mark
                    .and_then(actor_of)
                    .is_some_and(|actor| named.is_some_and(|named| actor != named))
        });
        // An actor that is not the configured one: only where a message was rejected meanwhile.
        let wanted = self.timeline.setup.actor.as_deref();
        let other_actor = named.zip(wanted).is_some_and(|(named, wanted)| named != wanted);
        let rejected = self.one_dead_letter_more();
        !another && !several && (!other_actor || rejected)
    }

    fn answered_at(&self) -> Option<f64> {
        self.find(|event| matches!(event.kind, EventKind::Answered { .. }).then_some(event.at_ms))
    }

    /// The dead-letter queue holds exactly one message more than at the first look.
    pub fn one_dead_letter_more(&self) -> bool {
        let dead = dramatiq::dead_letter_queue(self.queue());
        let before = self
            .depths(&dead)
            .find(|depth| depth.exists)
            .map_or(0, |depth| depth.ready);
        self.depths(&dead)
            .last()
            .is_some_and(|depth| depth.ready == before + 1)
    }

    /// Whether a claim rests on a line that is only probably the task's.
    pub fn is_weak(&self, evidence: &[u32]) -> bool {
        evidence.iter().any(|n| self.weak.contains(n))
    }

    fn find_raised(&mut self) {
        let mut raised: Vec<Raised> = self
            .lines
            .iter()
            .filter_map(|told| match told.mark {
                Some(Mark::Failed { actor }) => Some(Raised {
                    n: told.n,
                    at_ms: told.at_ms,
                    trace: told.line.traceback.as_deref().and_then(Trace::parse),
                    actor: actor.clone(),
                    text: told.line.traceback.clone().unwrap_or_default(),
                }),
                _ => None,
            })
            .collect();
        for passage in self
            .publishes
            .iter()
            .chain(self.held.iter().map(|held| &held.passage))
        {
            if let (Some(text), Some(actor)) = (&passage.message.traceback, &passage.message.actor) {
                raised.push(Raised {
                    n: passage.n,
                    at_ms: passage.at_ms,
                    trace: Trace::parse(text),
                    actor: actor.clone(),
                    text: text.clone(),
                });
            }
        }
        raised.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
        self.raised = raised;
    }

    fn find_stages(&mut self) {
        let mut reached: BTreeMap<Stage, (Option<f64>, Vec<u32>)> = BTreeMap::new();
        let mut put = |stage: Stage, at: Option<f64>, n: u32| {
            let (known, evidence) = reached.entry(stage).or_insert((at, Vec::new()));
            if let (Some(old), Some(new)) = (*known, at)
                && new < old
            {
                *known = Some(new);
            }
            if evidence.len() < 4 && !evidence.contains(&n) {
                evidence.push(n);
            }
        };
        for event in &self.timeline.events {
            match &event.kind {
                EventKind::Answered { task_id: Some(_), .. } => {
                    put(Stage::Submitted, Some(event.at_ms), event.n)
                }
                EventKind::RowCommitted { visible_at_ms, .. } => {
                    put(Stage::Recorded, Some(*visible_at_ms), event.n)
                }
                EventKind::Row(row) if row.present => {
                    put(Stage::Recorded, Some(event.at_ms), event.n);
                    if self.timeline.setup.post_mortem {
                        put(Stage::Submitted, None, event.n);
                    }
                }

                _ => {}
            }
        }
        let queue = self.queue();
        // A queue that was deleted later held it all the same.
        let exists = |name: &str| {
            let depths = self.depths_since(name);
            depths.is_empty() || depths.iter().any(|depth| depth.exists)
        };
        for passage in &self.publishes {
            if dramatiq::base_queue(passage.queue) == queue && exists(passage.queue) {
                put(Stage::Published, Some(passage.at_ms), passage.n);
            }
        }
        if !self.sees(Source::Firehose)
            && let Some(since) = self.submitted_at()
        {
            // With nobody to take messages away, growth right after the submission is a publish.
            let before = self
                .depths(queue)
                .rfind(|depth| depth.at_ms <= since)
                .map_or(0, |depth| depth.ready);
            let after = self.depths_since(queue);
            if let Some(depth) = after.iter().find(|depth| depth.ready > before)
                && after.iter().all(|depth| depth.consumers == 0)
            {
                put(Stage::Published, Some(depth.at_ms), depth.n);
            }
        }
        if self.post_mortem()
            && self.held.is_empty()
            && let Some(depth) = self
                .depths(queue)
                .last()
                .filter(|depth| depth.ready > 0 && depth.consumers == 0)
            && self.worker_lines.iter().all(|told| !told.line.carries_task_id)
        {
            // Nobody takes messages away and some wait: this one is probably among them.
            put(Stage::Published, None, depth.n);
        }
        for held in &self.held {
            put(Stage::Published, None, held.passage.n);
            // Only a consumer rejects; what expired or was dropped was never delivered.
            if held.reason == Some("rejected") {
                put(Stage::Delivered, None, held.passage.n);
                put(Stage::Settled, None, held.passage.n);
            }
        }
        for passage in &self.deliveries {
            if passage.queue == queue {
                put(Stage::Delivered, Some(passage.at_ms), passage.n);
            }
        }
        for told in &self.lines {
            let at = Some(told.at_ms);
            match told.mark {
                Some(
                    Mark::Pushed { delay: false, .. } | Mark::UndefinedActor { .. } | Mark::DecodeFailed,
                ) => put(Stage::Delivered, at, told.n),
                Some(
                    Mark::Received { .. }
                    | Mark::Called
                    | Mark::Failed { .. }
                    | Mark::Skipped { .. }
                    | Mark::TooOld { .. }
                    | Mark::Retrying { .. }
                    | Mark::RetriesExceeded { .. }
                    | Mark::ExpectedException { .. }
                    | Mark::ReturnedValue { .. }
                    | Mark::HookFailed { .. },
                ) => put(Stage::Received, at, told.n),
                Some(Mark::Acknowledging { .. } | Mark::Rejecting { .. }) => put(Stage::Settled, at, told.n),
                _ => {}
            }
        }
        for told in &self.entries {
            put(Stage::Entered, Some(told.at_ms), told.n);
        }
        for raised in self.raised.iter().filter(|raised| raised.entered()) {
            put(Stage::Entered, Some(raised.at_ms), raised.n);
        }
        for (at, n) in self.own_lines() {
            put(Stage::Entered, Some(at), n);
        }
        if let Some((n, at)) = self.stands_in_the_actor() {
            put(Stage::Entered, Some(at), n);
        }
        // A status only the actor sets. `failed` may also be set by the API or by a middleware, so
        // it is no entry by itself.
        let setup = &self.timeline.setup;
        for (n, at, row) in &self.rows {
            let Some(status) = row.status.as_deref() else {
                continue;
            };
            let is = |list: &[String]| list.iter().any(|word| word == status);
            // A running status that stands there although nobody can have taken the message, or while
            // the thread is still in a hook before the actor, was set by somebody else.
            let by_somebody_else = || self.was_taken_by_nobody() || self.stands_before_the_actor();
            if is(&setup.succeeded) || (is(&setup.running) && !by_somebody_else()) {
                put(Stage::Entered, Some(*at), *n);
            }
            if is(&setup.succeeded) || is(&setup.failed) {
                put(Stage::Finished, Some(*at), *n);
            }
        }
        if let Some((n, at)) = self.api_final() {
            put(Stage::Finished, Some(at), n);
            if self.api_succeeded().is_some() {
                put(Stage::Entered, Some(at), n);
            }
        }
        // A failed status with nothing to say that the actor was not entered, after a worker had it.
        if reached.contains_key(&Stage::Finished)
            && !reached.contains_key(&Stage::Entered)
            && (reached.contains_key(&Stage::Received)
                || (reached.contains_key(&Stage::Delivered) && !self.sees(Source::WorkerLog)))
            && !self.says_not_entered()
            && let Some(evidence) = reached.get(&Stage::Finished).cloned()
        {
            reached.insert(Stage::Entered, (None, evidence.1));
        }
        // What came later proves what came before, except the row, which may really be missing.
        for later in Stage::ALL.into_iter().rev() {
            let Some((_, evidence)) = reached.get(&later).cloned() else {
                continue;
            };
            if matches!(
                later,
                Stage::Finished | Stage::Settled | Stage::Recorded | Stage::Submitted
            ) {
                continue;
            }
            for earlier in Stage::ALL
                .into_iter()
                .filter(|stage| *stage < later && *stage != Stage::Recorded && *stage != Stage::Submitted)
            {
                reached.entry(earlier).or_insert((None, evidence.clone()));
            }
        }
        // One moment reaches us through several sources with different delays: no stage can have
        // been reached after a later one.
        let mut bound = f64::INFINITY;
        for stage in Stage::ALL
            .into_iter()
            .rev()
            .filter(|stage| *stage != Stage::Recorded)
        {
            if let Some((Some(at), _)) = reached.get_mut(&stage) {
                *at = at.min(bound);
                bound = *at;
            }
        }
        self.reached = reached;
    }

    /// A line says that this message will not run, or did not get into the actor.
    fn says_not_entered(&self) -> bool {
        self.raised.iter().any(|raised| !raised.entered())
            || self.lines.iter().any(|told| {
                matches!(
                    told.mark,
                    Some(
                        Mark::UndefinedActor { .. }
                            | Mark::DecodeFailed
                            | Mark::Skipped { .. }
                            | Mark::TooOld { .. }
                            | Mark::NoEventLoop
                            | Mark::NeverAwaited
                    )
                )
            })
    }

    /// The application's own lines between the framework's call and its completion.
    fn own_lines(&self) -> Vec<(f64, u32)> {
        let mut called: HashMap<(Option<i32>, Option<&str>), bool> = HashMap::new();
        let mut own = Vec::new();
        for told in &self.lines {
            let (Some(pid), Some(thread)) = (told.line.pid, told.line.thread.as_deref()) else {
                continue;
            };
            let key = (Some(pid), Some(thread));
            match told.mark {
                Some(Mark::Called) => {
                    called.insert(key, true);
                }
                Some(Mark::Completed) => {
                    called.insert(key, false);
                }
                None if called.get(&key) == Some(&true) => {
                    let logger = told.line.logger.as_deref().unwrap_or_default();
                    let library = ["dramatiq", "pika", "asyncio", "py.warnings", "concurrent"]
                        .iter()
                        .any(|name| logger == *name || logger.starts_with(&format!("{name}.")));
                    if !logger.is_empty() && !library {
                        own.push((told.at_ms, told.n));
                    }
                }
                _ => {}
            }
        }
        own
    }

    // -- sources

    pub fn sight(&self, source: Source) -> Sight<'a> {
        self.sights
            .get(&source)
            .map_or(Sight::Absent, |(sight, _)| *sight)
    }

    /// It could see, wholly or in part.
    pub fn sees(&self, source: Source) -> bool {
        matches!(self.sight(source), Sight::Watching(_) | Sight::Partial(_))
    }

    /// It could see everything it was asked to: absence counts.
    pub fn sees_all(&self, source: Source) -> bool {
        matches!(self.sight(source), Sight::Watching(_))
    }

    // -- the run

    pub fn queue(&self) -> &'a str {
        &self.timeline.setup.queue
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

    pub fn is_my_message(&self, id: &str) -> bool {
        self.message_ids.contains(id)
    }

    pub fn submitted_at(&self) -> Option<f64> {
        self.find(|event| matches!(event.kind, EventKind::Submitting { .. }).then_some(event.at_ms))
    }

    fn find<T>(&self, pick: impl FnMut(&'a Event) -> Option<T>) -> Option<T> {
        self.timeline.events.iter().find_map(pick)
    }

    /// No pointer says where the answer holds the task's id: it was found under a usual name.
    pub fn id_was_guessed(&self) -> bool {
        !self.post_mortem() && self.timeline.setup.task_id_pointer.is_none()
    }

    /// The HTTP answer: event, status, body.
    pub fn answer(&self) -> Option<(u32, u16, &'a str)> {
        self.find(|event| match &event.kind {
            EventKind::Answered { status, body, .. } => Some((event.n, *status, body.as_str())),
            _ => None,
        })
    }

    // -- messages

    /// Publishes of this task's message, copies for retries included.
    pub fn publishes(&self) -> &[Passage<'a>] {
        &self.publishes
    }

    /// The first publish that put it on the configured queue or its delay queue.
    pub fn published(&self) -> Option<&Passage<'a>> {
        self.publishes
            .iter()
            .find(|passage| dramatiq::base_queue(passage.queue) == self.queue())
    }

    /// Copies at rest on the delay and dead-letter queues.
    pub fn held(&self) -> &[Held<'a>] {
        &self.held
    }

    /// It is for the configured actor, or nothing says for whom it is.
    fn is_for_the_actor(&self, message: &Message) -> bool {
        let wanted = self.timeline.setup.actor.as_deref();
        wanted.is_none() || message.actor.as_deref() == wanted || message.undecodable.is_some()
    }

    /// Messages with the task's id that were sent on after the first delivery: the next step of a
    /// chain, which may be the one that writes the row.
    pub fn successors(&self) -> impl Iterator<Item = u32> + '_ {
        let first = self.deliveries.first().map(|passage| passage.at_ms);
        self.timeline
            .events
            .iter()
            .filter_map(move |event| match &event.kind {
                EventKind::Publish { message, .. }
                    if message.carries_task_id
                        && first.is_some_and(|first| event.at_ms > first)
                        && message
                            .message_id
                            .as_deref()
                            .is_some_and(|id| !self.message_ids.contains(id)) =>
                {
                    Some(event.n)
                }
                _ => None,
            })
    }

    /// Messages that carry the task id, but for another actor than the configured one.
    pub fn stray_publishes(&self) -> &[Passage<'a>] {
        &self.stray_publishes
    }

    /// Deliveries of this task's message from its queue, in order.
    pub fn deliveries(&self) -> impl DoubleEndedIterator<Item = &Passage<'a>> {
        self.deliveries
            .iter()
            .filter(|passage| passage.queue == self.queue())
    }

    /// Two messages carry the id and nothing says which one is meant.
    pub fn is_ambiguous(&self) -> bool {
        self.candidates > 1
    }

    /// A match that points at the row itself, whichever message led to it.
    pub fn rests_on_the_row(&self, answer: &Answer) -> bool {
        let Answer::Matched(matched) = answer else {
            return false;
        };
        matched.evidence.iter().all(|n| {
            self.timeline
                .event(*n)
                .is_some_and(|event| matches!(event.source, Source::Database | Source::Process))
        })
    }

    /// Publishes after the submission that do not carry the id, with their connection.
    pub fn other_publishes(&self) -> impl Iterator<Item = (u32, &'a str, &'a Message)> {
        let since = self.submitted_at();
        self.timeline
            .events
            .iter()
            .filter_map(move |event| match &event.kind {
                EventKind::Publish {
                    connection, message, ..
                } if !message.carries_task_id && since.is_none_or(|since| event.at_ms >= since) => {
                    Some((event.n, connection.as_str(), message))
                }
                _ => None,
            })
    }

    // -- the worker's log

    /// All lines of the watched worker's log since its boot.
    pub fn worker_lines(&self) -> &[Told<'a>] {
        &self.worker_lines
    }

    /// A line that may be about this task: in a live run only what was written during it.
    pub fn counts(&self, told: &Told<'_>) -> bool {
        !told.line.before || self.post_mortem()
    }

    /// This task's lines.
    pub fn lines(&self) -> &[Told<'a>] {
        &self.lines
    }

    /// This task's first line with such a mark.
    pub fn line(&self, pick: impl Fn(&Mark) -> bool) -> Option<Told<'a>> {
        self.lines
            .iter()
            .copied()
            .find(|told| told.mark.is_some_and(&pick))
    }

    /// The worker logs at DEBUG: only then does the absence of `Received message` say anything.
    pub fn debug_log(&self) -> bool {
        self.worker_lines.iter().any(|told| {
            told.line.level == Some(Level::Debug)
                && (told.mark.is_some()
                    || told
                        .line
                        .logger
                        .as_deref()
                        .is_some_and(|name| name.starts_with("dramatiq")))
        })
    }

    /// Attempts that raised, in order.
    pub fn raised(&self) -> &[Raised] {
        &self.raised
    }

    /// The attempt in hand is over: settled, or handed to a retry.
    pub fn attempt_over(&self) -> Option<Told<'a>> {
        self.lines.iter().rev().copied().find(|told| {
            matches!(
                told.mark,
                Some(Mark::Acknowledging { .. } | Mark::Rejecting { .. })
            )
        })
    }

    // -- the row

    pub fn rows(&self) -> &[(u32, f64, &'a Row)] {
        &self.rows
    }

    pub fn last_row(&self) -> Option<(u32, &'a Row)> {
        self.rows.last().map(|(n, _, row)| (*n, *row))
    }

    /// The latest status is one of these.
    fn row_is(&self, list: &[String]) -> Option<(u32, &'a Row)> {
        self.last_row()
            .filter(|(_, row)| row.status.as_ref().is_some_and(|status| list.contains(status)))
    }

    pub fn row_succeeded(&self) -> Option<(u32, &'a Row)> {
        self.row_is(&self.timeline.setup.succeeded)
    }

    pub fn row_failed(&self) -> Option<(u32, &'a Row)> {
        self.row_is(&self.timeline.setup.failed)
    }

    /// Events that show an update of the row by a transaction that was rolled back.
    pub fn rolled_back(&self) -> Option<(u32, Xmax)> {
        self.last_row().and_then(|(n, row)| match row.xmax_state {
            Some(state @ (Xmax::Aborted | Xmax::UpdateAborted)) => Some((n, state)),
            _ => None,
        })
    }

    /// An earlier look at the row found this transaction open and writing to the table.
    pub fn seen_writing(&self, xmax: Option<u32>) -> Option<u32> {
        self.rows
            .iter()
            .find(|(_, _, row)| row.xmax.is_some() && row.xmax == xmax && row.holder_writes == Some(true))
            .map(|(n, _, _)| *n)
    }

    /// Tables whose rows reference the task's table: their inserts lock its rows.
    pub fn referencing_tables(&self) -> &'a [String] {
        self.find(|event| match &event.kind {
            EventKind::DatabaseServer { referencing, .. } => Some(referencing.as_slice()),
            _ => None,
        })
        .unwrap_or_default()
    }

    /// The row was looked for, and was not there at the last look.
    pub fn row_absent(&self) -> bool {
        self.sees(Source::Database) && self.last_row().is_some_and(|(_, row)| !row.present)
    }

    /// The last status the API itself reports.
    pub fn api_status(&self) -> Option<(u32, f64, &'a str)> {
        self.timeline
            .events
            .iter()
            .rev()
            .find_map(|event| match &event.kind {
                EventKind::ApiStatus {
                    value: Some(value), ..
                } => Some((event.n, event.at_ms, value.as_str())),
                _ => None,
            })
    }

    /// The API's word counts only where the row itself cannot be seen.
    fn api_final(&self) -> Option<(u32, f64)> {
        let setup = &self.timeline.setup;
        let (n, at, value) = self.api_status().filter(|_| !self.sees(Source::Database))?;
        let is = |list: &[String]| list.iter().any(|word| word == value);
        (is(&setup.succeeded) || is(&setup.failed)).then_some((n, at))
    }

    pub fn api_succeeded(&self) -> Option<u32> {
        let (n, _, value) = self.api_status().filter(|_| !self.sees(Source::Database))?;
        self.timeline
            .setup
            .succeeded
            .iter()
            .any(|word| word == value)
            .then_some(n)
    }

    // -- the broker

    /// Passive-declare counts of a queue, in order.
    pub fn depths(&self, queue: &str) -> impl DoubleEndedIterator<Item = Depth> + use<'_, 'a> {
        let queue = queue.to_owned();
        self.timeline
            .events
            .iter()
            .filter_map(move |event| match &event.kind {
                EventKind::Depth {
                    queue: name,
                    exists,
                    ready,
                    consumers,
                    ..
                } if *name == queue => Some(Depth {
                    n: event.n,
                    at_ms: event.at_ms,
                    exists: *exists,
                    ready: *ready,
                    consumers: *consumers,
                }),
                _ => None,
            })
    }

    /// Counts taken since the submission.
    pub fn depths_since(&self, queue: &str) -> Vec<Depth> {
        let since = self.submitted_at().unwrap_or(f64::MIN);
        self.depths(queue).filter(|depth| depth.at_ms >= since).collect()
    }

    pub fn infos(&self, queue: &str) -> impl DoubleEndedIterator<Item = Info<'a>> + use<'_, 'a> {
        let queue = queue.to_owned();
        self.timeline
            .events
            .iter()
            .filter_map(move |event| match &event.kind {
                EventKind::QueueInfo {
                    queue: name,
                    state,
                    arguments,
                    policy_definition,
                    ready,
                    unacked,
                    ..
                } if *name == queue => Some(Info {
                    n: event.n,
                    at_ms: event.at_ms,
                    queue: name,
                    state: state.as_deref(),
                    arguments,
                    policy_definition,
                    ready: *ready,
                    unacked: *unacked,
                }),
                _ => None,
            })
    }

    /// The last list of consumers, if all of them could be seen.
    pub fn consumers(&self) -> Option<(u32, &'a [Consumer])> {
        self.timeline
            .events
            .iter()
            .rev()
            .find_map(|event| match &event.kind {
                EventKind::Consumers { consumers } => Some((event.n, consumers.as_slice())),
                _ => None,
            })
    }

    pub fn connections(&self) -> Option<(u32, &'a [Connection])> {
        self.timeline
            .events
            .iter()
            .rev()
            .find_map(|event| match &event.kind {
                EventKind::Connections { connections } => Some((event.n, connections.as_slice())),
                _ => None,
            })
    }

    // -- processes

    /// The process at the client's end of a connection.
    pub fn peer(&self, connection: &str) -> Option<(u32, i32)> {
        self.find(|event| match &event.kind {
            EventKind::Peer {
                connection: name,
                pid,
            } if name == connection => Some((event.n, *pid)),
            _ => None,
        })
    }

    /// What was last seen of a process.
    pub fn process(&self, pid: i32) -> Option<(u32, &'a Process)> {
        self.timeline
            .events
            .iter()
            .rev()
            .find_map(|event| match &event.kind {
                EventKind::Process(process) if process.pid == pid => Some((event.n, process)),
                _ => None,
            })
    }

    /// Processes that ended during the run.
    pub fn gone(&self, pid: i32) -> Option<u32> {
        self.find(|event| {
            matches!(&event.kind, EventKind::Gone { pid: gone, .. } if *gone == pid).then_some(event.n)
        })
    }

    /// The processes that serve the API.
    pub fn api_processes(&self) -> Vec<(u32, &'a Process)> {
        let mut pids = BTreeSet::new();
        for event in &self.timeline.events {
            if let EventKind::ApiProcess { pid } = &event.kind {
                pids.insert(*pid);
            }
        }
        pids.into_iter().filter_map(|pid| self.process(pid)).collect()
    }

    /// Pids whose lines stand in the watched worker's log, since its last boot.
    pub fn log_pids(&self) -> BTreeSet<i32> {
        self.worker_lines
            .iter()
            .filter_map(|told| told.line.pid)
            .collect()
    }

    /// Processes that have the watched worker's log open for writing, or descend from one that has.
    pub fn log_holders(&self) -> BTreeSet<i32> {
        self.timeline
            .events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Process(process) if process.holds_log => Some(process.pid),
                _ => None,
            })
            .collect()
    }

    /// Whether a process belongs to the watched worker: it, its parent, its child or its sibling
    /// writes the watched log, or holds it open. `None`: nothing says either way.
    pub fn is_watched(&self, pid: i32) -> Option<bool> {
        // "The watched worker" is the one whose log is watched.
        if !self.sees(Source::WorkerLog) {
            return None;
        }
        let pids = self.log_pids();
        let process = self.process(pid).map(|(_, process)| process);
        let related = |logged: &Process| {
            logged.ppid == pid
                || process.is_some_and(|process| process.ppid > 1 && process.ppid == logged.ppid)
        };
        if pids.contains(&pid)
            || process.is_some_and(|process| {
                // An orphan inherited the file from its dead master: holding it proves nothing.
                let orphan = process.ppid <= 1 && looks_like_a_worker(process);
                (process.holds_log && !orphan) || pids.contains(&process.ppid)
            })
            || self.logged_workers().any(related)
        {
            return Some(true);
        }
        // "No" needs a process that is known to be the watched worker's, or a worker that has said
        // goodbye. Otherwise the log's pids may be those of a container, which count from 1 and
        // mean others here.
        let ended = self.worker_lines.iter().rev().find_map(|told| match told.mark {
            Some(Mark::Stopping | Mark::ShutDown) => Some(true),
            Some(Mark::Ready | Mark::BootingUp | Mark::Received { .. }) => Some(false),
            _ => None,
        });
        let known = ended == Some(true)
            || self.logged_workers().next().is_some()
            || self.timeline.events.iter().any(|event| {
                matches!(&event.kind, EventKind::Process(process) if process.holds_log && looks_like_a_worker(process))
            });
        known.then_some(false)
    }

    /// Processes of this machine that write the watched log: by its pids, and only what looks like
    /// a worker, since a container's pids mean other processes here.
    fn logged_workers(&self) -> impl Iterator<Item = &'a Process> {
        self.log_pids()
            .into_iter()
            .filter_map(|pid| self.process(pid).map(|(_, process)| process))
            .filter(|process| looks_like_a_worker(process))
    }

    /// The process at the client's end of a database connection, `ip:port`.
    pub fn peer_of_client(&self, client: &str) -> Option<(u32, i32)> {
        self.find(|event| match &event.kind {
            EventKind::Peer { connection, pid } if connection.split(" -> ").next() == Some(client) => {
                Some((event.n, *pid))
            }
            _ => None,
        })
    }

    /// The processes of the watched worker were found on this machine, connections included.
    pub fn watched_is_local(&self) -> bool {
        let mut found = self.logged_workers().peekable();
        found.peek().is_some() && found.all(|process| process.sockets_seen)
    }

    /// A line from before the run whose file was written to only just before it: the log ended
    /// with it minutes ago, not yesterday.
    pub fn ended_recently(&self, told: &Told<'_>) -> bool {
        told.line.age_s.is_some_and(|age| age < 600)
    }

    // -- conclusions

    pub fn reached(&self, stage: Stage) -> Option<&(Option<f64>, Vec<u32>)> {
        self.reached.get(&stage)
    }

    /// The furthest stage that counts for the choice of the cause.
    pub fn furthest(&self) -> Option<Stage> {
        let furthest = self
            .reached
            .keys()
            .copied()
            .filter(|stage| *stage != Stage::Settled)
            .max();
        // A failed status set by somebody else than the actor does not carry the task further.
        match furthest {
            Some(Stage::Finished) if !self.reached.contains_key(&Stage::Entered) => self
                .reached
                .keys()
                .copied()
                .filter(|stage| *stage < Stage::Entered)
                .max(),
            other => other,
        }
    }

    pub fn outcome(&self) -> Outcome {
        if self.row_succeeded().is_some() || self.api_succeeded().is_some() {
            return Outcome::Succeeded;
        }
        let failed_attempt = self.reached.contains_key(&Stage::Entered)
            && (self.raised.last().is_some()
                || self.lines.iter().any(|told| {
                    matches!(
                        told.mark,
                        Some(Mark::ExpectedException { .. } | Mark::TimeLimit | Mark::RetriesExceeded { .. })
                    )
                })
                || self.died_in_actor().is_some());
        if self.row_failed().is_some() || failed_attempt {
            return Outcome::Failed;
        }
        if self.sees(Source::Database) && self.rows.iter().any(|(_, _, row)| row.present) {
            Outcome::Unfinished
        } else {
            Outcome::Unknown
        }
    }

    /// The log says that a process died which had this task in its hands: it had said something of
    /// it before, and had not settled it.
    pub fn died_in_actor(&self) -> Option<Told<'a>> {
        self.worker_lines.iter().copied().find(|died| {
            let Some(Mark::ChildDied { pid, .. }) = died.mark else {
                return false;
            };
            let delivered = || {
                self.deliveries().any(|passage| {
                    // Two sources with different delays.
                    passage.at_ms <= died.at_ms + 500.0
                        && self
                            .peer(passage.connection)
                            .is_some_and(|(_, peer)| peer == *pid)
                })
            };
            // The master's own line about its death may overtake the child's last ones.
            let last = self.lines.iter().rfind(|told| {
                told.line.pid.is_none_or(|of| of == *pid)
                    && (told.at_ms <= died.at_ms || told.line.pid.is_some())
            });
            let settled = last.is_some_and(|told| {
                matches!(
                    told.mark,
                    Some(Mark::Acknowledging { .. } | Mark::Rejecting { .. })
                )
            });
            self.counts(died) && !settled && (last.is_some() || delivered())
        })
    }

    /// After our message was delivered the dead-letter queue grew by one, and it was the only
    /// delivery: it was rejected.
    pub fn dead_letters_grew(&self) -> bool {
        let Some(passage) = self.deliveries().last() else {
            return false;
        };
        let dead = dramatiq::dead_letter_queue(self.queue());
        let before = self
            .depths(&dead)
            .rfind(|depth| depth.at_ms <= passage.at_ms)
            .map_or(0, |depth| depth.ready);
        let one_more = self
            .depths(&dead)
            .last()
            .is_some_and(|depth| depth.ready == before + 1);
        let others = self.timeline.events.iter().any(|event| {
            matches!(&event.kind, EventKind::Deliver { queue, message, .. }
                if queue == self.queue()
                && !message.message_id.as_deref().is_some_and(|id| self.message_ids.contains(id)))
        });
        one_more && !others
    }

    /// Entry would have been seen, had it happened.
    ///
    /// The row alone does not decide: an actor may do much before it first writes its status.
    pub fn could_see_entry(&self) -> bool {
        // Afterwards a line may have been written to a log that is gone, or by a worker that is.
        let log = !self.post_mortem()
            && self.sees(Source::WorkerLog)
            && (self.timeline.setup.entry_pattern.is_some() || self.debug_log())
            && !self.entries_of_somebody()
            && !self.taken_by_another();
        log || self.was_taken_by_nobody()
    }

    /// The process that has our message, the only one unacknowledged, stands in the application's
    /// code below the framework's call of an actor.
    fn stands_in_the_actor(&self) -> Option<(u32, f64)> {
        let passage = self.deliveries().last()?;
        let (_, taker) = self.peer(passage.connection)?;
        let alone = self
            .infos(self.queue())
            .last()
            .is_some_and(|info| info.at_ms > passage.at_ms && info.unacked == Some(1));
        self.timeline
            .events
            .iter()
            .rev()
            .find_map(|event| match &event.kind {
                EventKind::Stacks { pid, threads }
                    if *pid == taker && alone && event.at_ms > passage.at_ms =>
                {
                    let mut inside = threads.iter().filter(|thread| {
                        let call = thread.frames.iter().position(|frame| {
                            frame.function.ends_with("__call__") && frame.file.ends_with("dramatiq/actor.py")
                        });
                        thread.stable
                            && call.is_some_and(|at| {
                                thread.frames[..at].iter().any(|frame| frame.is_application())
                            })
                    });
                    (inside.next().is_some() && inside.next().is_none()).then_some((event.n, event.at_ms))
                }
                _ => None,
            })
    }

    /// The worker thread that has a message stands in a hook before the actor.
    fn stands_before_the_actor(&self) -> bool {
        self.timeline.events.iter().any(|event| match &event.kind {
            EventKind::Stacks { threads, .. } => threads.iter().any(|thread| {
                let has = |function: &str, file: &str| {
                    thread
                        .frames
                        .iter()
                        .any(|frame| frame.function.ends_with(function) && frame.file.ends_with(file))
                };
                thread.stable
                    && has("process_message", "dramatiq/worker.py")
                    && has("emit_before", "dramatiq/broker.py")
                    && !has("__call__", "dramatiq/actor.py")
            }),
            _ => false,
        })
    }

    /// The message went to a process that does not write the watched log.
    fn taken_by_another(&self) -> bool {
        self.deliveries().any(|passage| {
            self.peer(passage.connection)
                .is_some_and(|(_, pid)| self.is_watched(pid) == Some(false))
        })
    }

    /// Entry lines were written since the submission that cannot be told to be anybody's.
    pub fn entries_of_somebody(&self) -> bool {
        let since = self.submitted_at().unwrap_or(f64::MIN);
        self.worker_lines.iter().any(|told| {
            told.line.entry
                && !told.line.before
                && told.at_ms >= since
                && self.entries.iter().all(|mine| mine.n != told.n)
                && !self.is_anothers(told)
        })
    }

    /// The thread that wrote the line had another message in hand.
    fn is_anothers(&self, told: &Told<'a>) -> bool {
        if told.line.pid.is_none() && told.line.thread.is_none() {
            return false;
        }
        let same = |other: &&Told<'a>| {
            other.at_ms <= told.at_ms
                && other.line.pid == told.line.pid
                && other.line.thread == told.line.thread
        };
        let last = self
            .worker_lines
            .iter()
            .filter(same)
            .rfind(|other| matches!(other.mark, Some(Mark::Received { .. })));
        last.and_then(|other| other.mark.and_then(id_of))
            .is_some_and(|id| !self.message_ids.contains(id))
    }

    /// Nobody can have taken the message: none was delivered, or there was no consumer.
    fn was_taken_by_nobody(&self) -> bool {
        let undelivered = self.sees_all(Source::Firehose) && self.deliveries().next().is_none();
        let depths = self.depths_since(self.queue());
        let nobody = !depths.is_empty() && depths.iter().all(|depth| depth.consumers == 0);
        undelivered || nobody
    }

    /// Silence may end the wait: the API has answered, and no actor is at work.
    pub fn silence_counts(&self) -> bool {
        if self.answer().is_none() && !self.post_mortem() {
            return false;
        }
        if !self.reached.contains_key(&Stage::Entered) {
            return true;
        }
        // Nothing more comes of an attempt that is over, unless a retry is waited for.
        (self.attempt_over().is_some() || !self.raised.is_empty()) && !self.timeline.setup.wait_retries
    }

    pub fn last_activity_ms(&self) -> f64 {
        let mut last = 0.0_f64;
        for event in &self.timeline.events {
            if matches!(
                event.kind,
                EventKind::Submitting { .. }
                    | EventKind::Answered { .. }
                    | EventKind::NotAnswered { .. }
                    | EventKind::RowCommitted { .. }
                    | EventKind::LockWait(_)
            ) {
                last = last.max(event.at_ms);
            }
        }
        for passage in self.publishes.iter().chain(&self.deliveries) {
            last = last.max(passage.at_ms);
        }
        for told in &self.lines {
            last = last.max(told.at_ms);
        }
        // The last look repeats the row: only a change is activity.
        let mut before: Option<&Row> = None;
        for (_, at, row) in &self.rows {
            if before.is_none_or(|before| {
                before.status != row.status || before.xmax != row.xmax || before.present != row.present
            }) {
                last = last.max(*at);
            }
            before = Some(row);
        }
        last
    }

    pub fn task(&self) -> Task {
        let publish = self
            .publishes
            .first()
            .or(self.deliveries.first())
            .or(self.held.first().map(|held| &held.passage));
        Task {
            id: self.task_id.map(str::to_owned),
            message_id: publish
                .and_then(|passage| passage.message.message_id.clone())
                .or_else(|| self.message_ids.iter().next().map(|id| (*id).to_owned())),
            actor: publish
                .and_then(|passage| passage.message.actor.clone())
                .or_else(|| {
                    self.lines.iter().find_map(|told| match told.mark {
                        Some(Mark::Received { actor, .. } | Mark::Failed { actor }) => Some(actor.clone()),
                        _ => None,
                    })
                }),
            queue: publish
                .map(|passage| passage.queue.to_owned())
                .or_else(|| Some(self.queue().to_owned())),
        }
    }

    pub fn stages(&self) -> Vec<Reached> {
        Stage::ALL
            .into_iter()
            .map(|stage| match self.reached.get(&stage) {
                Some((at_ms, evidence)) => Reached {
                    stage,
                    reached: Some(true),
                    at_ms: *at_ms,
                    evidence: evidence.clone(),
                    observed: None,
                },
                None => {
                    let (reached, observed) = self.missing(stage);
                    Reached {
                        stage,
                        reached,
                        at_ms: None,
                        evidence: Vec::new(),
                        observed: Some(observed),
                    }
                }
            })
            .collect()
    }

    /// For a stage without evidence: whether that is proof of absence, and what was observed.
    fn missing(&self, stage: Stage) -> (Option<bool>, String) {
        let queue = self.queue();
        let blind = |source: Source| match self.sight(source) {
            Sight::Blind(reason) => format!("cannot tell: {source} is blind ({reason})"),
            _ => format!("cannot tell: {source} was not watched"),
        };
        if stage > Stage::Submitted && self.task_id.is_none() {
            return (Some(false), "not reached: there is no task".into());
        }
        match stage {
            Stage::Submitted => match self.answer() {
                Some((_, status, _)) => (
                    Some(false),
                    format!("HTTP {status}; a 2xx with a task id is needed"),
                ),
                None if self.post_mortem() => {
                    (None, "not observed: the task was there before this run".into())
                }
                None => (Some(false), "no HTTP answer".into()),
            },
            Stage::Recorded if !self.sees(Source::Database) => (None, blind(Source::Database)),
            Stage::Recorded => (
                Some(false),
                format!(
                    "no row with this id in {}",
                    self.timeline.setup.table.as_deref().unwrap_or("the table")
                ),
            ),
            Stage::Published if !self.sees(Source::Firehose) => (None, blind(Source::Firehose)),
            Stage::Published => match self.publishes.first() {
                Some(passage) => (
                    Some(false),
                    format!(
                        "published to `{}` only; one on `{queue}` is needed",
                        passage.queue
                    ),
                ),
                None => (
                    Some(false),
                    format!("no message with this task id on `{queue}`; the API must send one"),
                ),
            },
            Stage::Delivered => {
                let last = self.depths(queue).last();
                match last {
                    _ if !self.sees(Source::Firehose) && last.is_none() => (None, blind(Source::Firehose)),
                    Some(depth) if !depth.exists => (Some(false), format!("queue `{queue}` does not exist")),
                    Some(depth) if depth.consumers == 0 => (
                        Some(false),
                        format!("0 consumers on `{queue}`, {} ready; one is needed", depth.ready),
                    ),
                    Some(depth) => (
                        self.sees(Source::Firehose).then_some(false),
                        format!(
                            "{} consumers on `{queue}`, {} ready; it must come to the front of the queue and a prefetch slot must be free",
                            depth.consumers, depth.ready
                        ),
                    ),
                    None => (Some(false), format!("no delivery from `{queue}`")),
                }
            }
            Stage::Received if !self.sees(Source::WorkerLog) => (None, blind(Source::WorkerLog)),
            Stage::Received if !self.debug_log() => (
                None,
                "cannot tell: the worker's log is not at DEBUG; start it with -v".into(),
            ),
            Stage::Received => (
                Some(false),
                "no `Received message` in the worker's log; a free worker thread must take it".into(),
            ),
            Stage::Entered if !self.could_see_entry() => (None, self.why_entry_is_invisible()),
            Stage::Entered => (
                Some(false),
                "no entry line, no status change, no traceback from the actor's own code".into(),
            ),
            Stage::Finished if !self.sees(Source::Database) => (None, blind(Source::Database)),
            Stage::Finished => match self.last_row() {
                Some((_, row)) if row.present => (
                    Some(false),
                    format!(
                        "the row's status is {}; {} is needed",
                        row.status.as_deref().unwrap_or("NULL"),
                        self.timeline.setup.succeeded.join(" or ")
                    ),
                ),
                _ => (Some(false), "no row".into()),
            },
            Stage::Settled => (
                None,
                "not observed: there is no acknowledgement event in RabbitMQ".into(),
            ),
        }
    }

    fn why_entry_is_invisible(&self) -> String {
        let log = if !self.sees(Source::WorkerLog) {
            "the worker's log is not seen"
        } else {
            "the log would not show it (set worker.entry_pattern)"
        };
        let row = if !self.sees(Source::Database) {
            "the row is not seen"
        } else if self.timeline.setup.running.is_empty() {
            "no status says that it runs (set database.running)"
        } else {
            "there is no row"
        };
        format!("cannot tell: {log}, and {row}")
    }

    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.is_ambiguous() {
            notes.push(format!(
                "{} messages carry this task id and nothing says which one is meant: set broker.actor",
                self.candidates
            ));
        }
        if let Some(stray) = self.stray_publishes.first() {
            notes.push(format!(
                "another message with this task id was published for actor `{}`",
                stray.message.actor.as_deref().unwrap_or("?")
            ));
        }
        // Only where a hanging thread could be the answer does a refused stack matter.
        if self.closed() && self.outcome() != Outcome::Succeeded {
            let refused = self.timeline.events.iter().find_map(|event| match &event.kind {
                EventKind::StacksRefused { reason, .. } => Some(reason.clone()),
                _ => None,
            });
            notes.extend(refused);
        }
        if self.post_mortem() && !self.lines.is_empty() {
            return notes;
        }
        if self.post_mortem() {
            notes.push("whether and when it was published or delivered can no longer be known: the firehose shows the present only".into());
            if !self.sees(Source::DeadLetters) {
                notes.push("with --peek the delay and dead-letter queues are searched for it too".into());
            }
        }
        notes
    }

    /// Fills the placeholders of a page's text with this task's names.
    pub fn fill(&self, text: &str) -> String {
        let setup = &self.timeline.setup;
        let task = self.task();
        let worker_pid = self
            .lines
            .iter()
            .find_map(|told| told.line.pid)
            .or_else(|| self.log_pids().first().copied());
        let values: [(&str, Option<String>); 9] = [
            ("{queue}", Some(setup.queue.clone())),
            ("{vhost}", Some(setup.vhost.clone())),
            ("{actor}", task.actor.or_else(|| setup.actor.clone())),
            ("{task_id}", task.id),
            ("{message_id}", task.message_id),
            ("{table}", setup.table.clone()),
            ("{id_column}", setup.id_column.clone()),
            ("{status_column}", setup.status_column.clone()),
            ("{worker_pid}", worker_pid.map(|pid| pid.to_string())),
        ];
        let mut out = text.to_owned();
        for (placeholder, value) in values {
            if let Some(value) = value {
                out = out.replace(placeholder, &value);
            }
        }
        plain_placeholders(&out)
    }
}

/// What no run can fill in stands as a word to replace: `{queue}` becomes `QUEUE`.
pub fn plain_placeholders(text: &str) -> String {
    let mut out = text.to_owned();
    for name in [
        "queue",
        "vhost_encoded",
        "vhost",
        "actor",
        "task_id",
        "message_id",
        "table",
        "id_column",
        "status_column",
        "worker_pid",
        "worker_log",
        "api_log",
        "management_url",
    ] {
        out = out.replace(&format!("{{{name}}}"), &name.to_uppercase());
    }
    out
}

/// Not a relay like `tee`, which writes the log in the worker's stead, and nothing else that has a
/// container's pid by chance.
fn looks_like_a_worker(process: &Process) -> bool {
    process
        .command
        .iter()
        .any(|word| word.contains("dramatiq") || word.contains("python"))
}

/// A line that is about some message without saying which.
fn is_about_a_message(told: &Told<'_>) -> bool {
    told.line.entry
        || matches!(
            told.mark,
            Some(
                Mark::Failed { .. }
                    | Mark::Skipped { .. }
                    | Mark::UndefinedActor { .. }
                    | Mark::DecodeFailed
                    | Mark::ExpectedException { .. }
                    | Mark::RateLimited
                    | Mark::ReturnedValue { .. }
                    | Mark::NoEventLoop
                    | Mark::NeverAwaited
                    | Mark::HookFailed { .. }
                    | Mark::TimeLimit
            )
        )
}

/// The actor a mark names.
fn actor_of(mark: &Mark) -> Option<&str> {
    match mark {
        Mark::Failed { actor }
        | Mark::Skipped { actor }
        | Mark::UndefinedActor { actor }
        | Mark::ReturnedValue { actor }
        | Mark::Received { actor, .. } => Some(actor),
        _ => None,
    }
}

/// How far a log line may reach us before the delivery it follows.
const LOG_AHEAD_MS: f64 = 500.0;

/// A message enqueued so long before the run is not this task's: more than clocks differ.
const EARLIER_BY_MS: i64 = 60_000;

/// The message id a mark names.
fn id_of(mark: &Mark) -> Option<&str> {
    match mark {
        Mark::Pushed { id, .. }
        | Mark::Received { id, .. }
        | Mark::Acknowledging { id }
        | Mark::Rejecting { id }
        | Mark::Aborting { id }
        | Mark::Retrying { id, .. }
        | Mark::Enqueueing { id, .. }
        | Mark::RetriesExceeded { id }
        | Mark::TooOld { id } => Some(id),
        _ => None,
    }
}
