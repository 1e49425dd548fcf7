//! A recording with its truth, and what a transformation needs to know of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use taskdiag::diagnosis::Certainty;
use taskdiag::framework::LogEvent;
use taskdiag::timeline::{Ended, Event, EventKind, LogLine, Process, Source, Timeline, recording};

/// The part of `expected.toml` that stays true whatever is hidden or added. `tests/replay.rs` reads
/// the rest.
#[derive(Deserialize)]
struct Expected {
    cause: String,
    at_most: Option<Certainty>,
    #[serde(default)]
    contributing: Vec<String>,
    #[serde(default)]
    may_contribute: Vec<String>,
    #[serde(default)]
    may_say_early: Vec<String>,
    #[serde(default)]
    may_say_blind: Vec<String>,
}

/// What is true of a run: written by hand from what was broken and what the transformation did.
#[derive(Clone)]
pub struct Truth {
    /// What a good diagnosis names. An id that is no cause yet is one that it should have.
    pub cause: String,
    /// What may be called certain, as the cause or beside it.
    pub certain: BTreeSet<String>,
    /// True as well, and the best that can be said while something is out of sight.
    hidden: BTreeSet<String>,
    /// True of the surroundings, whatever happens to the task.
    beside: BTreeSet<String>,
}

/// What is true of a recording besides what its `expected.toml` names: the same facts from less far.
const ALSO_TRUE: &[(&str, &str)] = &[
    // An orphan is another worker than the watched one.
    ("taken-by-orphaned-worker", "taken-by-other-worker"),
    // It waits in the middle of its UPDATE.
    ("row-locked", "actor-still-running"),
    ("row-locked-by-itself", "actor-still-running"),
    ("row-locked-by-itself", "row-locked"),
    // The waiting statement is the actor's, or the API's own.
    ("table-locked", "actor-still-running"),
    ("table-locked-before-the-row", "api-timeout"),
    // Each of its starts failed, and the last one is over.
    ("worker-crash-loop", "worker-not-started"),
    ("worker-killed-by-other-message", "worker-crash-loop"),
    // The limit has passed, and the call is not over.
    ("time-limit-exceeded-c-call", "actor-still-running"),
    // It ended when it was started: none runs.
    ("worker-not-started", "no-consumer"),
    ("worker-not-started-usage", "no-consumer"),
    // Why it failed; that it is not tried again is the news.
    ("retry-lost", "actor-raised"),
    ("retry-lost-at-once", "actor-raised"),
    // The row does say so.
    ("ran-in-the-api", "succeeded"),
    // By the middleware that looks at the age.
    ("message-too-old", "message-skipped"),
];

impl Truth {
    fn read(recording: &str, path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let expected: Expected =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let beside: BTreeSet<String> = expected
            .contributing
            .into_iter()
            .chain(expected.may_contribute)
            .collect();
        let mut certain = beside.clone();
        certain.extend(
            ALSO_TRUE
                .iter()
                .filter(|(name, _)| *name == recording)
                .map(|(_, id)| (*id).to_owned()),
        );
        if expected.at_most.is_none_or(|most| most == Certainty::Certain) {
            certain.insert(expected.cause.clone());
        }
        Self {
            cause: expected.cause,
            certain,
            hidden: expected
                .may_say_early
                .into_iter()
                .chain(expected.may_say_blind)
                .collect(),
            beside,
        }
    }

    /// The cause, or the best that can be said where something is out of sight.
    pub fn is_named_by(&self, id: &str) -> bool {
        self.cause == id || self.hidden.contains(id)
    }

    /// Less is seen of the same.
    pub fn seen_in_part(&self) -> Self {
        let mut truth = self.clone();
        truth.certain.extend(truth.hidden.iter().cloned());
        truth
    }

    /// Something else has happened to the task; its surroundings are the same.
    pub fn instead(&self, cause: &str) -> Self {
        Self {
            cause: cause.to_owned(),
            certain: self
                .beside
                .iter()
                .cloned()
                .chain(std::iter::once(cause.to_owned()))
                .collect(),
            hidden: BTreeSet::new(),
            beside: self.beside.clone(),
        }
    }

    /// This is true as well.
    pub fn and(&self, causes: &[&str]) -> Self {
        let mut truth = self.clone();
        truth.certain.extend(causes.iter().map(|id| (*id).to_owned()));
        truth
    }
}

#[derive(Clone)]
pub struct Run {
    pub name: String,
    pub timeline: Timeline,
    pub truth: Truth,
}

/// One way in which the wild shows a run.
pub struct Wild {
    /// Which of the transformation's ways; empty where there is one only.
    pub way: String,
    pub run: Run,
}

pub fn wild(way: &str, run: Run) -> Wild {
    Wild {
        way: way.to_owned(),
        run,
    }
}

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/runs")
}

pub fn all() -> Vec<Run> {
    let mut names: Vec<String> = fs::read_dir(folder())
        .expect("fixtures/runs")
        .flatten()
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().expect("a plain name"))
        .collect();
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let place = folder().join(&name);
            Run {
                timeline: recording::read(&place.join("timeline.jsonl"))
                    .unwrap_or_else(|error| panic!("{name}: {error}"))
                    .timeline,
                truth: Truth::read(&name, &place.join("expected.toml")),
                name,
            }
        })
        .collect()
}

/// A process and thread as the log names them.
pub type Thread = (Option<i32>, Option<String>);

impl Run {
    /// The same run with other events.
    pub fn with(&self, events: Vec<Event>) -> Self {
        let mut timeline = Timeline::new(self.timeline.setup.clone(), self.timeline.started_at.clone());
        for event in events {
            timeline.push(event);
        }
        Self {
            timeline,
            ..self.clone()
        }
    }

    /// The same run, each event changed in place.
    pub fn each(&self, mut change: impl FnMut(&mut Event)) -> Self {
        let mut events = self.timeline.events.clone();
        events.iter_mut().for_each(&mut change);
        self.with(events)
    }

    pub fn told(&self, truth: Truth) -> Self {
        Self {
            truth,
            ..self.clone()
        }
    }

    pub fn events(&self) -> &[Event] {
        &self.timeline.events
    }

    fn find<'a, T>(&'a self, pick: impl FnMut(&'a Event) -> Option<T>) -> Option<T> {
        self.timeline.events.iter().find_map(pick)
    }

    pub fn queue(&self) -> &str {
        &self.timeline.setup.queue
    }

    /// taskdiag started the parts itself, on this machine.
    pub fn is_started_here(&self) -> bool {
        self.events()
            .iter()
            .any(|event| matches!(event.kind, EventKind::Started { .. }))
    }

    pub fn is_post_mortem(&self) -> bool {
        self.timeline.setup.post_mortem
    }

    pub fn task_id(&self) -> Option<&str> {
        self.find(|event| match &event.kind {
            EventKind::Answered {
                task_id: Some(id), ..
            }
            | EventKind::Given { task_id: id } => Some(id.as_str()),
            _ => None,
        })
    }

    /// The task's message: by its publish, its delivery, or the worker's word.
    pub fn message_id(&self) -> Option<&str> {
        self.find(|event| match &event.kind {
            EventKind::Publish { message, .. } if message.carries_task_id => message.message_id.as_deref(),
            _ => None,
        })
        .or_else(|| {
            self.find(|event| match &event.kind {
                EventKind::Deliver { message, .. } if message.carries_task_id => {
                    message.message_id.as_deref()
                }
                _ => None,
            })
        })
        .or_else(|| {
            self.worker_lines()
                .find_map(|(event, line)| match self.timeline.mark(event.n) {
                    Some(LogEvent::Received { id, .. }) if line.carries_task_id => Some(id.as_str()),
                    _ => None,
                })
        })
    }

    pub fn worker_lines(&self) -> impl Iterator<Item = (&Event, &LogLine)> {
        self.events().iter().filter_map(|event| match &event.kind {
            EventKind::Line(line) if event.source == Source::WorkerLog => Some((event, line)),
            _ => None,
        })
    }

    /// Pids in the watched worker's log.
    pub fn log_pids(&self) -> BTreeSet<i32> {
        self.worker_lines().filter_map(|(_, line)| line.pid).collect()
    }

    pub fn submitted_at(&self) -> Option<f64> {
        self.find(|event| matches!(event.kind, EventKind::Submitting { .. }).then_some(event.at_ms))
    }

    pub fn answered_at(&self) -> Option<f64> {
        self.find(|event| matches!(event.kind, EventKind::Answered { .. }).then_some(event.at_ms))
    }

    pub fn ended(&self) -> Option<(f64, Ended)> {
        self.find(|event| match event.kind {
            EventKind::Ended { why } => Some((event.at_ms, why)),
            _ => None,
        })
    }

    /// When its queue handed out the task's message, and through which connection.
    pub fn delivery(&self) -> Option<(f64, &str)> {
        let id = self.message_id();
        self.find(|event| match &event.kind {
            EventKind::Deliver {
                queue,
                connection,
                message,
                ..
            } if queue == self.queue()
                && (message.carries_task_id
                    || message.message_id.is_some() && message.message_id.as_deref() == id) =>
            {
                Some((event.at_ms, connection.as_str()))
            }
            _ => None,
        })
    }

    pub fn published_at(&self) -> Option<f64> {
        self.find(|event| match &event.kind {
            EventKind::Publish { message, .. } if message.carries_task_id => Some(event.at_ms),
            _ => None,
        })
    }

    /// The connection over which the task's message was sent.
    pub fn publisher(&self) -> Option<&str> {
        let id = self.message_id()?;
        self.find(|event| match &event.kind {
            EventKind::Publish {
                connection, message, ..
            } if message.message_id.as_deref() == Some(id) => Some(connection.as_str()),
            _ => None,
        })
    }

    pub fn peer(&self, name: &str) -> Option<i32> {
        self.find(|event| match &event.kind {
            EventKind::Peer { connection, pid } if connection == name => Some(*pid),
            _ => None,
        })
    }

    /// The watched worker has the task's message: its own log names it, during the run.
    pub fn is_in_the_log(&self) -> bool {
        self.line(|mark, id| {
            matches!(mark, LogEvent::Pushed { .. } | LogEvent::Received { .. }) && id.is_some()
        })
        .is_some()
    }

    /// When a thread took the message, and which.
    pub fn received(&self) -> Option<(f64, Thread)> {
        self.line(|mark, _| matches!(mark, LogEvent::Received { .. }))
            .map(|(event, line)| (event.at_ms, (line.pid, line.thread.clone())))
    }

    /// When the message was settled.
    pub fn settled_at(&self) -> Option<f64> {
        self.line(|mark, _| matches!(mark, LogEvent::Acknowledging { .. } | LogEvent::Rejecting { .. }))
            .map(|(event, _)| event.at_ms)
    }

    /// The first line of the run that names the task's message and means this.
    fn line(&self, pick: impl Fn(&LogEvent, Option<&str>) -> bool) -> Option<(&Event, &LogLine)> {
        let mine = self.message_id()?;
        self.worker_lines().find(|(event, line)| {
            (!line.before || self.is_post_mortem())
                && self.timeline.mark(event.n).is_some_and(|mark| {
                    let id = match mark {
                        LogEvent::Pushed { id, .. }
                        | LogEvent::Received { id, .. }
                        | LogEvent::Acknowledging { id }
                        | LogEvent::Rejecting { id } => Some(id.as_str()),
                        _ => None,
                    };
                    id == Some(mine) && pick(mark, id)
                })
        })
    }

    /// Consumers of the queue at the last look.
    pub fn consumers(&self) -> Option<u64> {
        self.events().iter().rev().find_map(|event| match &event.kind {
            EventKind::Depth { queue, consumers, .. } if queue == self.queue() => Some(*consumers),
            _ => None,
        })
    }

    /// The status that the row had at the end.
    pub fn last_status(&self) -> Option<&str> {
        self.events().iter().rev().find_map(|event| match &event.kind {
            EventKind::Row(row) if row.present => row.status.as_deref(),
            _ => None,
        })
    }

    /// The status with which the row was first seen.
    pub fn first_status(&self) -> Option<&str> {
        self.find(|event| match &event.kind {
            EventKind::Row(row) if row.present => row.status.as_deref(),
            _ => None,
        })
    }
}

/// An event that was not in the recording.
pub fn event(at_ms: f64, source: Source, kind: EventKind) -> Event {
    Event {
        n: 0,
        at_ms,
        source,
        stated: None,
        kind,
    }
}

/// A process that was not in the recording, as a recording holds it.
pub fn process(fields: serde_json::Value) -> Process {
    serde_json::from_value(fields).expect("a process")
}

/// Puts new events where they would have stood: lines from before the run behind their like, all
/// others by the clock, and nothing behind the end.
pub fn weave(events: &mut Vec<Event>, new: Vec<Event>) {
    for one in new {
        let is_before = |event: &Event| {
            event.source == one.source && matches!(&event.kind, EventKind::Line(line) if line.before)
        };
        let place = if is_before(&one) {
            events
                .iter()
                .rposition(|event| is_before(event) && event.at_ms <= one.at_ms)
                .or_else(|| {
                    events
                        .iter()
                        .position(|event| event.source == one.source)
                        .and_then(|at| at.checked_sub(1))
                })
        } else {
            events
                .iter()
                .rposition(|event| event.at_ms <= one.at_ms && !matches!(event.kind, EventKind::Ended { .. }))
        };
        events.insert(place.map_or(0, |at| at + 1), one);
    }
}

/// A line of the worker's log as Dramatiq writes it.
pub fn line(
    at_ms: f64,
    thread: &Thread,
    logger: &str,
    level: taskdiag::timeline::Level,
    text: String,
) -> Event {
    event(
        at_ms,
        Source::WorkerLog,
        EventKind::Line(LogLine {
            level: Some(level),
            logger: Some(logger.to_owned()),
            pid: thread.0,
            thread: thread.1.clone(),
            text,
            before: at_ms < 0.0,
            age_s: (at_ms < 0.0).then_some(0),
            ..LogLine::default()
        }),
    )
}

/// The run goes on to the end of its silence: what nothing has ended is looked at once more by all
/// sources that still answer. `status`: what the row says by then, and the API with it.
pub fn until_silence(
    run: &Run,
    mut events: Vec<Event>,
    unacked: u64,
    status: Option<&str>,
    frozen: Option<Source>,
) -> Vec<Event> {
    events.retain(|event| !matches!(event.kind, EventKind::Ended { .. }));
    let last = events.iter().map(|event| event.at_ms).fold(0.0, f64::max);
    let end = last.max(run.answered_at().unwrap_or(0.0)) + run.timeline.setup.silence_ms as f64;
    let mut looks: Vec<Event> = Vec::new();
    for seen in events.iter().rev() {
        let (again, at_ms) = match &seen.kind {
            EventKind::Depth { queue, .. } => (
                !looks.iter().any(
                    |look| matches!(&look.kind, EventKind::Depth { queue: known, .. } if known == queue),
                ),
                end + 2.0,
            ),
            EventKind::QueueInfo { queue, .. } => (
                queue == run.queue()
                    && !looks
                        .iter()
                        .any(|look| matches!(look.kind, EventKind::QueueInfo { .. })),
                end + 4.0,
            ),
            EventKind::Row(_) => (
                !looks.iter().any(|look| matches!(look.kind, EventKind::Row(_))),
                end + 6.0,
            ),
            _ => (false, 0.0),
        };
        if again && frozen != Some(seen.source) {
            looks.push(Event {
                at_ms,
                ..seen.clone()
            });
        }
    }
    let ready_now = looks.iter().find_map(|look| match &look.kind {
        EventKind::Depth { queue, ready, .. } if queue == run.queue() => Some(*ready),
        _ => None,
    });
    for look in &mut looks {
        match &mut look.kind {
            EventKind::QueueInfo {
                ready, unacked: held, ..
            } => {
                *ready = ready_now.or(*ready);
                *held = Some(unacked);
            }
            EventKind::Depth { samples, .. } => *samples += 30,
            EventKind::Row(row) => row.asked_at_ms = row.asked_at_ms.map(|_| end + 5.5),
            _ => {}
        }
    }
    // An API that shows what is old goes on doing so.
    let asked = events
        .iter()
        .any(|event| matches!(event.kind, EventKind::ApiStatus { .. }));
    if let Some(status) = status
        && asked
        && frozen != Some(Source::Api)
        && !run.truth.certain.contains("api-stale-read")
    {
        looks.push(event(
            end + 5.0,
            Source::Api,
            EventKind::ApiStatus {
                http_status: 200,
                latency_ms: None,
                value: Some(status.to_owned()),
            },
        ));
    }
    looks.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
    events.extend(looks);
    events.push(event(
        end + 10.0,
        Source::Run,
        EventKind::Ended { why: Ended::Silence },
    ));
    events
}
