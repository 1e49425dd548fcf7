//! `taskdiag trace`, as far as it needs nothing from outside: what one event of the firehose means,
//! whether it is asked for, and how it is written.
//!
//! Tens of thousands of these may pass in a second, so nothing is built that is not shown: texts are
//! borrowed from the message, and a line is written into a buffer that is used again.

mod filter;
mod json;
mod line;
mod pairing;
mod writer;

use std::borrow::Cow;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use crate::framework::{BorrowedMessage, DecodeOptions, Envelope, Framework, Role};
use crate::timeline::scrub::Scrubber;

pub use filter::Filter;
pub use json::{Entry, SCHEMA};
use pairing::Pairing;
pub use writer::LineStyle;

/// One message of the trace exchange.
#[derive(Debug)]
pub struct TraceEvent<'a> {
    pub kind: TraceKind<'a>,
    /// `ip:port -> ip:port` of the publisher or consumer, or an Erlang pid of the broker's own.
    pub connection: Cow<'a, str>,
    pub user: Cow<'a, str>,
    pub envelope: Envelope<'a>,
    pub death: Option<Death<'a>>,
}

#[derive(Debug)]
pub enum TraceKind<'a> {
    Publish {
        exchange: Cow<'a, str>,
        routing_key: Cow<'a, str>,
        /// Where it was routed. Of the default exchange: the routing key, even without such a queue.
        queues: Vec<Cow<'a, str>>,
    },
    Deliver {
        queue: Cow<'a, str>,
        redelivered: bool,
    },
}

impl TraceKind<'_> {
    /// Workers talk among themselves all the time.
    pub fn is_bookkeeping(&self, framework: &Framework) -> bool {
        match self {
            Self::Publish {
                exchange,
                routing_key,
                ..
            } => (framework.queues.is_bookkeeping)(exchange, routing_key),
            Self::Deliver { queue, .. } => (framework.queues.is_bookkeeping)("", queue),
        }
    }
}

/// It was dead-lettered before, from this queue and for this reason.
#[derive(Debug)]
pub struct Death<'a> {
    pub queue: Cow<'a, str>,
    pub reason: Cow<'a, str>,
}

/// The process at the other end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerProcess {
    pub pid: i32,
    /// What people call it, such as `uvicorn`.
    pub name: String,
    pub command: Vec<String>,
}

/// When something happened, by our clock.
#[derive(Debug, Clone, Copy)]
pub struct Moment {
    /// Since tracing began.
    pub at_ms: f64,
    pub unix_ms: i64,
    /// It may have happened earlier: it waited somewhere until it was read.
    pub late: bool,
}

/// Everything known of one event, before it is written.
pub struct EventDetails<'s, 'a> {
    pub framework: &'static Framework,
    pub n: u64,
    pub moment: Moment,
    pub event: &'s TraceEvent<'a>,
    pub message: Result<BorrowedMessage<'s>, String>,
    /// The queue it is about; of several the first.
    pub queue: &'s str,
    pub role: Role,
    pub latency_ms: Option<f64>,
    pub peer: Option<&'s PeerProcess>,
}

/// How events are written.
pub enum Writing {
    Line(LineStyle),
    Json,
}

/// Sums for the last line.
#[derive(Debug, Clone, Copy, Default)]
pub struct TraceTotals {
    /// Everything that was read from the firehose.
    pub events: u64,
    pub shown: u64,
    pub missed: u64,
    /// Different message ids; at least so many once `MOST_TASKS` is reached.
    pub tasks: u64,
}

/// Ids are remembered up to here: a trace may go on for weeks.
pub const MOST_TASKS: usize = 1_000_000;

/// Turns trace events into written lines.
pub struct Tracer {
    framework: &'static Framework,
    filter: Filter,
    writing: Writing,
    show_args: bool,
    scrubber: Scrubber,
    pairing: Pairing,
    hasher: RandomState,
    tasks: HashSet<u64>,
    totals: TraceTotals,
    scratch: String,
}

impl Tracer {
    pub fn new(
        framework: &'static Framework,
        filter: Filter,
        writing: Writing,
        show_args: bool,
        scrubber: Scrubber,
    ) -> Self {
        Self {
            framework,
            filter,
            writing,
            show_args,
            scrubber,
            pairing: Pairing::default(),
            hasher: RandomState::new(),
            tasks: HashSet::new(),
            totals: TraceTotals::default(),
            scratch: String::new(),
        }
    }

    pub fn totals(&self) -> TraceTotals {
        TraceTotals {
            tasks: self.tasks.len() as u64,
            ..self.totals
        }
    }

    /// Takes one event; appends its line where it is asked for, and tells whether it was.
    pub fn take(
        &mut self,
        moment: Moment,
        event: &TraceEvent<'_>,
        peer: Option<&PeerProcess>,
        out: &mut Vec<u8>,
    ) -> bool {
        self.totals.events += 1;
        if event.kind.is_bookkeeping(self.framework) {
            return false;
        }
        let mut options = DecodeOptions {
            keep: self.show_args,
            ids: self.filter.ids(),
            ..DecodeOptions::default()
        };
        let message = (self.framework.codec.read)(&event.envelope, &mut options);
        let found = options.found;
        let id = message
            .as_ref()
            .ok()
            .and_then(|message| message.message_id.as_deref());
        if let Some(id) = id
            && self.tasks.len() < MOST_TASKS
        {
            self.tasks.insert(self.hasher.hash_one(id));
        }
        let attempt = message
            .as_ref()
            .map_or((None, None), |message| (message.retries, message.eta_ms));
        // A copy with the same id that is another attempt, or differs in length, is another message.
        let key = |queue: &str, id: &str| {
            self.hasher
                .hash_one((queue, id, attempt, event.envelope.body.len()))
        };
        if moment.late {
            // Neither this nor what passed before can be set against what comes.
            self.pairing.clear();
        }
        let (queue, latency_ms) = match (&event.kind, id.filter(|_| !moment.late)) {
            (
                TraceKind::Publish {
                    queues, routing_key, ..
                },
                id,
            ) => {
                if let Some(id) = id {
                    for queue in queues {
                        self.pairing.published(key(queue, id), moment.at_ms);
                    }
                }
                (queues.first().map_or(&**routing_key, |queue| &**queue), None)
            }
            (
                TraceKind::Deliver {
                    queue,
                    redelivered: false,
                },
                Some(id),
            ) => (&**queue, self.pairing.delivered(key(queue, id), moment.at_ms)),
            (TraceKind::Deliver { queue, .. }, _) => (&**queue, None),
        };
        let seen = EventDetails {
            framework: self.framework,
            n: self.totals.events,
            moment,
            event,
            queue,
            role: self.framework.queues.split(queue).1,
            latency_ms,
            peer,
            message,
        };
        if !self.filter.passes(&seen, found) {
            return false;
        }
        if self.filter.has_patterns() {
            self.scratch.clear();
            line::plain(&seen, self.show_args, &self.scrubber, &mut self.scratch);
            if !self.filter.matches(&self.scratch) {
                return false;
            }
        }
        match &mut self.writing {
            Writing::Line(style) => line::write(
                &seen,
                style,
                self.show_args,
                &self.scrubber,
                &mut self.scratch,
                out,
            ),
            Writing::Json => json::write(&Entry::of(&seen, self.show_args, &self.scrubber), out),
        }
        self.totals.shown += 1;
        true
    }

    /// Events that nobody has seen.
    pub fn missed(&mut self, moment: Moment, events: u64, place: Place, out: &mut Vec<u8>) {
        self.totals.missed += events;
        // Which deliveries belong to which publishes is not known any more.
        self.pairing.clear();
        match &mut self.writing {
            Writing::Line(style) => line::missed(moment, events, place, style, out),
            Writing::Json => json::write(&Entry::missed(moment, events, place), out),
        }
    }

    /// Events since then may be missing: the connection broke.
    pub fn gap(&mut self, moment: Moment, since: Moment, because: &str, out: &mut Vec<u8>) {
        self.pairing.clear();
        match &mut self.writing {
            Writing::Line(style) => line::gap(moment, since, because, style, out),
            Writing::Json => json::write(&Entry::gap(moment, since, because), out),
        }
    }

    /// The terminal has so many columns now.
    pub fn resize(&mut self, width: usize) {
        if let Writing::Line(style) = &mut self.writing {
            style.width = Some(width);
        }
    }

    /// The first and the last line of JSON; nothing for people.
    pub fn mark(&self, entry: &Entry<'_>, out: &mut Vec<u8>) {
        if let Writing::Json = self.writing {
            json::write(entry, out);
        }
    }
}

/// Where events were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Place {
    /// Our queue at the broker was full: taskdiag read too slowly.
    Broker,
    /// Our own memory was full: what reads taskdiag's output was too slow.
    Output,
}

#[cfg(test)]
mod tests;
