//! A run under way: merges what the watchers see into one timeline, and knows when it is over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::arm::Queries;
use super::assessment::Assessment;
use super::plan::OnNews;
use crate::diagnosis;
use crate::framework::LogEvent;
use crate::interrupt::interrupt;
use crate::timeline::{Ended, Event, EventKind, Role, Source, Timeline};
use crate::vantage::containers::ContainerQuery;
use crate::vantage::process::ProcessQuery;
use crate::vantage::{Phase, Report};

/// A source's last look may take this long: longer than any of them waits for an answer, so that one that
/// no longer answers can still say so.
const LAST_LOOK: Duration = Duration::from_millis(5000);
/// Workers that are asked get so long to answer.
const ASKING: Duration = Duration::from_millis(4000);
/// So long it is watched whether messages that wait before a consumer are taken.
const MOVES_WITHIN: Duration = Duration::from_millis(3000);
/// After terminal evidence: wait for companions of the deciding event that are still under way
/// (a log line behind a pipe, the row behind a poll), but no longer than this.
const SETTLE_QUIET: Duration = Duration::from_millis(35);
const SETTLE_MOST: Duration = Duration::from_millis(80);
/// Events of other tasks that are kept, so that a busy system cannot fill the memory.
const MOST_STRANGERS: usize = 50_000;
/// So long a silence is enough where no longer one changes the verdict.
const LASTS_AFTER: Duration = Duration::from_millis(1000);
/// So long after something happened the watchers look more eagerly.
const LIVELY: Duration = Duration::from_millis(500);

/// The timeline that grows, and the channels that it grows from.
pub(super) struct Run {
    pub timeline: Timeline,
    /// Asks watchers to look at something.
    pub queries: Queries,
    pub clock: Instant,
    pub phase: watch::Sender<Phase>,
    pub reports: mpsc::UnboundedReceiver<Report>,
    /// The sources that have taken their last look.
    looked: Vec<Source>,
    /// Events of other tasks so far.
    strangers: usize,
    /// The API accepted the task, and named none.
    unnamed: bool,
}

impl Run {
    pub(super) fn new(
        timeline: Timeline,
        clock: Instant,
        phase: watch::Sender<Phase>,
        queries: Queries,
        reports: mpsc::UnboundedReceiver<Report>,
    ) -> Self {
        Self {
            timeline,
            queries,
            clock,
            phase,
            reports,
            looked: Vec::new(),
            strangers: 0,
            unnamed: false,
        }
    }

    fn now_ms(&self) -> f64 {
        self.clock.elapsed().as_secs_f64() * 1000.0
    }

    /// Adds what the run itself knows, without a watcher.
    pub(super) fn note(&mut self, source: Source, kind: EventKind) {
        self.timeline.push(Event {
            n: 0,
            at_ms: self.now_ms(),
            source,
            stated: None,
            kind,
        });
    }

    /// Adds whatever has been reported by now; tells whether an event was among it.
    pub(super) fn take_waiting(&mut self) -> bool {
        let mut new = false;
        while let Ok(report) = self.reports.try_recv() {
            new |= self.take(report);
        }
        new
    }

    /// Adds a report to the timeline; tells whether it was an event.
    pub(super) fn take(&mut self, report: Report) -> bool {
        let mut event = match report {
            Report::LastLook(source) => {
                self.looked.push(source);
                return false;
            }
            Report::Event(event) => *event,
        };
        let learned = match &event.kind {
            EventKind::Answered {
                task_id: Some(id), ..
            } => Some(id.clone()),
            EventKind::CommandEnded(end) => end.task_id.clone(),
            EventKind::Given { task_id } => Some(task_id.clone()),
            _ => None,
        };
        let is_unnamed_command = matches!(&event.kind, EventKind::CommandEnded(end) if end.task_id.is_none());
        // Where something in the answer might be the id, the configuration is to say so.
        self.unnamed |= matches!(&event.kind, EventKind::Answered { status, task_id: None, candidates, .. }
            if (200..400).contains(status) && candidates.is_empty())
            || is_unnamed_command;
        if let Some(id) = &learned {
            self.timeline.learn_task_id(id);
            self.phase.send_modify(|phase| phase.task_id = Some(id.clone()));
        }
        let known = self.phase.borrow().task_id.clone();
        if let Some(id) = &known {
            event.learn_task_id(id, &self.timeline.setup.nouns());
            if !self.worth_keeping(&event) {
                return false;
            }
        }
        match &event.kind {
            // Looked for by the id of a message: it proves nothing that no row has that.
            EventKind::Row(row) if self.unnamed && !row.present => return false,
            EventKind::Row(row) => {
                let setup = &self.timeline.setup;
                let is_final = row
                    .status
                    .as_ref()
                    .is_some_and(|status| setup.succeeded.contains(status) || setup.failed.contains(status));
                if is_final && !self.phase.borrow().row_final {
                    self.phase.send_modify(|phase| phase.row_final = true);
                }
            }
            EventKind::LockWait(wait) => {
                for client in wait.client.iter().chain(&wait.others) {
                    self.ask_who(&format!("{client} -> database"));
                }
            }
            EventKind::Publish { connection, .. } | EventKind::Deliver { connection, .. } => {
                self.ask_who(connection);
            }
            EventKind::Consumers { consumers } => {
                for consumer in consumers.iter().filter(|c| self.is_ours(&c.queue)) {
                    self.ask_who(&consumer.connection);
                }
            }
            EventKind::Container(container)
                if container.pid.is_some()
                    && container
                        .roles
                        .iter()
                        .any(|role| matches!(role, Role::WorkerLog | Role::ApiLog)) =>
            {
                let id = container.id.clone();
                let _ = self.queries.processes.send(ProcessQuery::Container(id));
            }
            EventKind::Line(line) if event.source == Source::WorkerLog => {
                if let Some(pid) = line.pid {
                    let _ = self.queries.processes.send(ProcessQuery::Logged(pid));
                }
                let mark = line.log_event(self.timeline.framework());
                if !line.before && matches!(mark, Some(LogEvent::ChildDied { code: -9, .. })) {
                    let _ = self.queries.containers.send(ContainerQuery::Killed);
                }
            }
            _ => {}
        }
        self.timeline.push(event);
        if is_unnamed_command {
            self.row_is_unknown();
        }
        if self.unnamed && self.phase.borrow().task_id.is_none() {
            self.recognise();
        }
        true
    }

    /// Whether a source said last that it sees everything.
    pub(super) fn sees(&self, source: Source) -> bool {
        let mut words = self
            .timeline
            .events
            .iter()
            .rev()
            .filter(|event| event.source == source);
        words
            .find_map(|event| match event.kind {
                EventKind::Watching { .. } => Some(true),
                EventKind::Partial { .. } | EventKind::Blind { .. } => Some(false),
                _ => None,
            })
            .unwrap_or(false)
    }

    fn is_ours(&self, queue: &str) -> bool {
        self.timeline.framework().queues.base(queue) == self.timeline.setup.queue
    }

    /// Other tasks' messages and lines matter (what keeps the worker busy, what else was
    /// delivered), but only so many of them.
    fn worth_keeping(&mut self, event: &Event) -> bool {
        let stranger = match &event.kind {
            EventKind::Publish { message, .. } | EventKind::Deliver { message, .. } => {
                !message.carries_task_id
            }
            EventKind::Line(line) => !line.carries_task_id && !line.entry,
            _ => false,
        };
        if !stranger {
            return true;
        }
        self.strangers += 1;
        if self.strangers == MOST_STRANGERS {
            // From here on nothing may be concluded from what others did not do.
            self.timeline.push(Event {
                n: 0,
                at_ms: event.at_ms,
                source: event.source,
                stated: None,
                kind: EventKind::Missed { events: 0 },
            });
        }
        self.strangers < MOST_STRANGERS
    }

    fn set_lively(&self, lively: bool) {
        if self.phase.borrow().lively != lively {
            self.phase.send_modify(|phase| phase.lively = lively);
        }
    }

    /// Lets every source look once more, thoroughly, before anything is concluded from absence.
    pub(super) async fn last_look(&mut self) {
        self.phase.send_modify(|phase| phase.last_look = true);
        self.until_looked(LAST_LOOK).await;
        let watches = self.queries.armed.contains(&Source::Control) && self.sees(Source::Control);
        if watches && self.looked.contains(&Source::Control) {
            // Being asked wakes a worker: everything that could be seen of it unasked is seen by now.
            let ask = Arc::new(diagnosis::whom_to_ask(&self.timeline));
            self.looked.retain(|source| *source != Source::Control);
            self.phase.send_modify(|phase| phase.ask = Some(ask));
            self.until_looked(ASKING).await;
        }
    }

    /// Looks on for a while where messages wait before consumers: whether they are taken is what tells a long line from a
    /// worker that stands.
    pub(super) async fn see_whether_it_moves(&mut self) {
        let deadline = tokio::time::Instant::now() + MOVES_WITHIN;
        while self.is_waited_in_line() {
            match tokio::time::timeout_at(deadline, self.reports.recv()).await {
                Ok(Some(report)) => {
                    self.take(report);
                }
                _ => break,
            }
        }
    }

    fn is_waited_in_line(&self) -> bool {
        let queue = &self.timeline.setup.queue;
        let mut looks = self.timeline.events.iter().rev();
        let last = looks.find_map(|event| match &event.kind {
            EventKind::Depth {
                queue: of,
                ready,
                consumers,
                ..
            } if of == queue => Some((*ready, *consumers)),
            _ => None,
        });
        last.is_some_and(|(ready, consumers)| ready > 0 && consumers > 0)
    }

    /// Takes what comes until every source has looked.
    async fn until_looked(&mut self, within: Duration) {
        let deadline = tokio::time::Instant::now() + within;
        while self
            .queries
            .armed
            .iter()
            .any(|source| !self.looked.contains(source))
        {
            match tokio::time::timeout_at(deadline, self.reports.recv()).await {
                Ok(Some(report)) => {
                    self.take(report);
                }
                _ => break,
            }
        }
        self.take_waiting();
    }
}

/// Follows the task until its fate is decided, nothing happens any more, or time is up.
pub(super) async fn follow(run: &mut Run, progress: &mut OnNews<'_>) -> Ended {
    let began = Instant::now();
    let silence = Duration::from_millis(run.timeline.setup.silence_ms);
    let timeout = Duration::from_millis(run.timeline.setup.timeout_ms);
    let mut settled: Option<Instant> = None;
    let mut last_event = Instant::now();
    let mut known = Assessment::of(&run.timeline);
    // The activity after which it was asked whether waiting on helps.
    let mut asked_ms = None;
    loop {
        let verdict = &known.verdict;
        let quiet = Duration::from_secs_f64(((run.now_ms() - verdict.last_activity_ms) / 1000.0).max(0.0));
        run.set_lively(quiet < LIVELY);
        let mut left = match settled {
            Some(since) => {
                let linger = Duration::from_millis(verdict.linger_ms);
                SETTLE_QUIET
                    .max(linger)
                    .saturating_sub(last_event.elapsed())
                    .min(SETTLE_MOST.max(linger).saturating_sub(since.elapsed()))
            }
            None => {
                let mut left = timeout.saturating_sub(began.elapsed());
                if verdict.silence_counts {
                    left = left.min(silence.saturating_sub(quiet));
                }
                for pause in [LIVELY, LASTS_AFTER] {
                    if quiet < pause {
                        left = left.min(pause - quiet);
                    }
                }
                left
            }
        };
        if known.stale {
            let due = known.due();
            if due.is_zero() {
                known.renew(&run.timeline);
                settled = known
                    .verdict
                    .terminal
                    .then(|| settled.unwrap_or_else(Instant::now));
                progress(&run.timeline, &known.verdict);
                continue;
            }
            left = left.min(due).max(Duration::from_millis(1));
        }
        if settled.is_none()
            && !known.stale
            && verdict.silence_counts
            && quiet >= LASTS_AFTER
            && asked_ms.replace(verdict.last_activity_ms) != Some(verdict.last_activity_ms)
            && diagnosis::would_last(&run.timeline)
        {
            return Ended::Silence;
        }
        if left.is_zero() {
            if settled.is_some() {
                if diagnosis::is_worth_a_look(&run.timeline) {
                    run.last_look().await;
                }
                return Ended::Decided;
            }
            let why = if began.elapsed() >= timeout {
                Some(Ended::Timeout)
            } else if verdict.silence_counts && quiet >= silence {
                Some(Ended::Silence)
            } else {
                None
            };
            if let Some(why) = why {
                run.last_look().await;
                return why;
            }
        }
        tokio::select! {
            biased;
            () = interrupt() => return Ended::Interrupted,
            report = run.reports.recv() => {
                let Some(report) = report else { return Ended::Interrupted };
                let is_event = run.take(report);
                if run.take_waiting() | is_event {
                    known.stale = true;
                    last_event = Instant::now();
                }
            }
            () = tokio::time::sleep(left.max(Duration::from_millis(1))) => {}
        }
    }
}
