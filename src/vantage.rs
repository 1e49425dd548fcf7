//! Everything that can be watched of a task: one module for each source.
//!
//! Each watcher is a plain async function with a `Tap` to report through and a `Phase` that tells
//! it how eagerly to look. None of them may end the run: one that cannot see says so and stops.

pub mod api;
pub mod containers;
pub mod control;
pub mod database;
pub mod dead_letters;
pub mod exec;
pub mod firehose;
pub mod live;
pub mod log;
pub mod management;
pub mod process;
pub mod processes;
pub mod queue;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::error::Unavailable;
use crate::framework::{ArgumentValues, Framework, Inquiry};
use crate::timeline::scrub::Scrubber;
use crate::timeline::{Event, EventKind, LogLine, Source};

/// What a watcher returns: it watched until told to stop, or it could not (any longer).
pub type Watched = std::result::Result<(), Unavailable>;

/// What comes out of the taps.
pub enum Report {
    Event(Box<Event>),
    /// This source has taken its last look.
    LastLook(Source),
}

/// A watcher's way to say what it sees: stamps our monotonic time and removes secrets.
#[derive(Clone)]
pub struct Tap {
    /// Of the API and the worker.
    framework: &'static Framework,
    source: Source,
    sender: mpsc::UnboundedSender<Report>,
    clock: Instant,
    scrubber: Arc<Scrubber>,
    /// What a source that sees again has to say of the time between.
    gap: Option<Arc<str>>,
}

impl Tap {
    /// The first tap of a run, and where all that is reported comes out.
    pub fn new(
        framework: &'static Framework,
        source: Source,
        clock: Instant,
        scrubber: Arc<Scrubber>,
    ) -> (Self, mpsc::UnboundedReceiver<Report>) {
        let (sender, reports) = mpsc::unbounded_channel();
        let tap = Self {
            framework,
            source,
            sender,
            clock,
            scrubber,
            gap: None,
        };
        (tap, reports)
    }

    /// For a source that could not see for some time: what it sees from here on is not everything.
    pub fn after_gap(&self, gap: String) -> Self {
        Self {
            gap: Some(gap.into()),
            ..self.clone()
        }
    }

    /// Another source's tap of the same run.
    pub fn of(&self, source: Source) -> Self {
        Self {
            source,
            ..self.clone()
        }
    }

    pub fn is_after_gap(&self) -> bool {
        self.gap.is_some()
    }

    pub fn is_of(&self, source: Source) -> bool {
        self.source == source
    }

    pub fn framework(&self) -> &'static Framework {
        self.framework
    }

    pub fn see(&self, kind: EventKind) {
        self.send(self.now_ms(), None, kind);
    }

    /// A log line, kept unmasked beside itself until the task id is known.
    pub fn line(&self, line: LogLine, stated: Option<String>) {
        self.line_at(self.now_ms(), line, stated);
    }

    /// A line written before the run, so long ago.
    fn line_from_before(&self, line: LogLine, stated: Option<String>, ago: Option<Duration>) {
        let ago = ago.map_or(0.0, |ago| ago.as_secs_f64() * 1000.0);
        self.line_at(self.now_ms() - ago, line, stated);
    }

    fn line_at(&self, at_ms: f64, mut line: LogLine, stated: Option<String>) {
        let mut raw = line.text.clone();
        if let Some(traceback) = &line.traceback {
            raw.push('\n');
            raw.push_str(traceback);
        }
        line.raw = ArgumentValues(vec![raw]);
        self.send(at_ms, stated, EventKind::Line(line));
    }

    pub fn watching(&self, detail: impl Into<String>) {
        let detail = detail.into();
        self.see(match &self.gap {
            None => EventKind::Watching { detail },
            Some(gap) => EventKind::Partial {
                reason: format!("{detail}; {gap}"),
            },
        });
    }

    pub fn partial(&self, reason: impl Into<String>) {
        let reason = reason.into();
        let reason = match &self.gap {
            None => reason,
            Some(gap) => format!("{reason}; {gap}"),
        };
        self.see(EventKind::Partial { reason });
    }

    pub fn blind(&self, blindness: Unavailable) {
        let blindness = crate::limits::explained(blindness);
        self.see(EventKind::Blind {
            reason: blindness.reason,
            hint: blindness.hint,
        });
    }

    /// Milliseconds since the run began, by the one clock all sources share.
    pub fn now_ms(&self) -> f64 {
        self.clock.elapsed().as_secs_f64() * 1000.0
    }

    /// This source has taken its last look.
    pub fn looked(&self) {
        let _ = self.sender.send(Report::LastLook(self.source));
    }

    fn send(&self, at_ms: f64, stated: Option<String>, kind: EventKind) {
        let event = Event {
            n: 0,
            at_ms,
            source: self.source,
            stated,
            kind: self.scrubber.event(kind),
        };
        tracing::debug!("{}", serde_json::to_string(&event).unwrap_or_default());
        let _ = self.sender.send(Report::Event(Box::new(event)));
    }
}

/// How far the run is, for watchers that look more eagerly at some times than at others.
#[derive(Debug, Clone, Default)]
pub struct Phase {
    pub task_id: Option<String>,
    /// It is a message's id: the API may know the task by another.
    pub unnamed: bool,
    pub submitted: bool,
    /// Something of this task happened just now.
    pub lively: bool,
    /// The row has a final status: ask the API once more what it says.
    pub row_final: bool,
    /// Take one last thorough look, say so, and stop.
    pub last_look: bool,
    /// Everybody has looked: workers may be asked now.
    pub ask: Option<Arc<Inquiry>>,
    /// Stop at once.
    pub stop: bool,
}

/// A watcher's view of the phase.
#[derive(Clone)]
pub struct Phases(watch::Receiver<Phase>);

impl Phases {
    pub fn new(phases: watch::Receiver<Phase>) -> Self {
        Self(phases)
    }

    pub fn now(&self) -> Phase {
        self.0.borrow().clone()
    }

    /// Sleeps, but not past a change of phase.
    pub async fn pause(&mut self, duration: Duration) {
        tokio::select! {
            () = tokio::time::sleep(duration) => {}
            _ = self.0.changed() => {}
        }
    }

    /// Resolves once the run is over or wants a last look.
    pub async fn ending(&mut self) -> Phase {
        loop {
            let phase = self.now();
            if phase.stop || phase.last_look {
                return phase;
            }
            if self.0.changed().await.is_err() {
                return Phase { stop: true, ..phase };
            }
        }
    }
}
