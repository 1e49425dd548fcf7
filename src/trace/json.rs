//! One event as a line of JSON: a stable contract, `docs/trace.v1.schema.json`.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value as Json;

use super::{EventDetails, Moment, Place, TraceKind, TraceTotals};
use crate::framework::Role;
use crate::timeline::scrub::{Scrubber, printable_json};

/// Version of the format, in the first line.
pub const SCHEMA: &str = "taskdiag.trace.v1";

/// One line.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Entry<'a> {
    /// The first line.
    Start {
        schema: &'a str,
        /// RFC 3339, UTC, milliseconds; `at_ms` counts from here.
        started_at: String,
        /// Version of taskdiag that wrote it.
        taskdiag: &'a str,
        /// `host:port`.
        broker: &'a str,
        vhost: &'a str,
        /// Whether tracing was on already.
        detail: &'a str,
        /// Why not everything may be seen.
        #[serde(skip_serializing_if = "Option::is_none")]
        partial: Option<&'a str>,
    },
    /// A message was published.
    Publish {
        /// Counts every event that was read, shown or not, from 1.
        n: u64,
        at_ms: f64,
        /// Unix milliseconds at which it was read from the firehose.
        time_ms: i64,
        /// It had waited before it was read, so that it happened earlier; how much is not known.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        late: bool,
        exchange: Cow<'a, str>,
        routing_key: Cow<'a, str>,
        /// Queues it was routed to. Of the default exchange: the routing key, even without such a queue.
        queues: Vec<Cow<'a, str>>,
        /// It went through the default exchange, of which the broker lists the routing key as a queue whether
        /// there is one or not: `queues` proves nothing. Where there is none, the message was dropped.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        queues_unproven: bool,
        #[serde(flatten)]
        common: Common<'a>,
    },
    /// A message was handed to a consumer.
    Deliver {
        n: u64,
        at_ms: f64,
        time_ms: i64,
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        late: bool,
        queue: Cow<'a, str>,
        /// It had been delivered before.
        redelivered: bool,
        /// Milliseconds since it was published to this queue; absent where that cannot be told.
        #[serde(skip_serializing_if = "Option::is_none")]
        latency_ms: Option<f64>,
        #[serde(flatten)]
        common: Common<'a>,
    },
    /// So many events were lost before this line.
    Missed {
        at_ms: f64,
        time_ms: i64,
        events: u64,
        place: Place,
    },
    /// The connection broke and was made again: events in between may be missing, and nobody can say how many.
    Gap {
        at_ms: f64,
        time_ms: i64,
        /// Up to then nothing was missed but what is counted.
        since_ms: f64,
        because: Cow<'a, str>,
    },
    /// The last line.
    End {
        at_ms: f64,
        /// Events read from the firehose.
        events: u64,
        /// Of these the ones that the filters let pass.
        shown: u64,
        /// Different message ids among all events.
        tasks: u64,
        /// Events lost, in all.
        missed: u64,
        /// Otherwise at least so many were missed.
        missed_exact: bool,
    },
}

/// What publishes and deliveries have in common.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Common<'a> {
    /// What the queue is for; absent for an ordinary one.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
    /// `ip:port -> ip:port` of the publisher or consumer, or an Erlang pid of the broker's own.
    connection: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: Cow<'a, str>,
    /// The process at the other end, where it is on this machine and may be seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<Process<'a>>,
    /// It was dead-lettered before.
    #[serde(skip_serializing_if = "Option::is_none")]
    death: Option<Death<'a>>,
    message: Message<'a>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Process<'a> {
    pid: i32,
    name: &'a str,
    /// Arguments with secrets masked.
    command: &'a [String],
}

#[derive(Debug, Serialize, JsonSchema)]
struct Death<'a> {
    queue: Cow<'a, str>,
    reason: Cow<'a, str>,
}

#[derive(Debug, Default, Serialize, JsonSchema)]
struct Message<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    framework: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<Cow<'a, str>>,
    /// The queue that the body itself names.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_name: Option<Cow<'a, str>>,
    /// With `--show-args` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    args: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kwargs: Option<Json>,
    /// Unix milliseconds of the first enqueue.
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp_ms: Option<i64>,
    /// Unix milliseconds before which it must not run.
    #[serde(skip_serializing_if = "Option::is_none")]
    eta_ms: Option<i64>,
    /// Attempts so far, on a retry.
    #[serde(skip_serializing_if = "Option::is_none")]
    retries: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_retries: Option<u64>,
    /// Last line of the traceback that a retry carries.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Cow<'a, str>>,
    /// Why the body could not be read as a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    undecodable: Option<&'a str>,
    /// Length of the body.
    bytes: usize,
}

impl<'a> Entry<'a> {
    pub(super) fn of(seen: &'a EventDetails<'_, '_>, show_args: bool, scrubber: &Scrubber) -> Self {
        let event = seen.event;
        let common = Common {
            role: Some(seen.role).filter(|role| *role != Role::Main),
            connection: event.connection.as_ref().into(),
            user: event.user.as_ref().into(),
            process: seen.peer.map(|peer| Process {
                pid: peer.pid,
                name: &peer.name,
                command: &peer.command,
            }),
            death: event.death.as_ref().map(|death| Death {
                queue: death.queue.as_ref().into(),
                reason: death.reason.as_ref().into(),
            }),
            message: Message::of(seen, show_args, scrubber),
        };
        let at_ms = round(seen.moment.at_ms);
        let time_ms = seen.moment.unix_ms;
        let late = seen.moment.late;
        match &event.kind {
            TraceKind::Publish {
                exchange,
                routing_key,
                queues,
            } => Entry::Publish {
                n: seen.n,
                at_ms,
                time_ms,
                late,
                exchange: exchange.as_ref().into(),
                routing_key: routing_key.as_ref().into(),
                queues: queues.iter().map(|queue| queue.as_ref().into()).collect(),
                queues_unproven: exchange.is_empty(),
                common,
            },
            TraceKind::Deliver { queue, redelivered } => Entry::Deliver {
                n: seen.n,
                at_ms,
                time_ms,
                late,
                queue: queue.as_ref().into(),
                redelivered: *redelivered,
                latency_ms: seen.latency_ms.map(round),
                common,
            },
        }
    }

    pub(super) fn missed(moment: Moment, events: u64, place: Place) -> Self {
        Entry::Missed {
            at_ms: round(moment.at_ms),
            time_ms: moment.unix_ms,
            events,
            place,
        }
    }

    pub(super) fn gap(moment: Moment, since: Moment, because: &'a str) -> Self {
        Entry::Gap {
            at_ms: round(moment.at_ms),
            time_ms: moment.unix_ms,
            since_ms: round(since.at_ms),
            because: because.into(),
        }
    }

    pub fn end(at_ms: f64, totals: TraceTotals, missed_exact: bool) -> Self {
        Entry::End {
            at_ms: round(at_ms),
            events: totals.events,
            shown: totals.shown,
            tasks: totals.tasks,
            missed: totals.missed,
            missed_exact,
        }
    }
}

impl<'a> Message<'a> {
    fn of(seen: &'a EventDetails<'_, '_>, show_args: bool, scrubber: &Scrubber) -> Self {
        let bytes = seen.event.envelope.body.len();
        let message = match &seen.message {
            Ok(message) => message,
            Err(undecodable) => {
                return Self {
                    undecodable: Some(undecodable),
                    bytes,
                    ..Self::default()
                };
            }
        };
        let shown = |value: &Option<Json>| {
            value
                .as_ref()
                .filter(|_| show_args)
                .map(|value| scrubber.value(value))
        };
        Self {
            framework: message.known.then_some(seen.framework.name),
            message_id: message.message_id.as_deref().map(Cow::Borrowed),
            actor: message.actor.as_deref().map(Cow::Borrowed),
            queue_name: message.queue_name.as_deref().map(Cow::Borrowed),
            args: shown(&message.args),
            kwargs: shown(&message.kwargs),
            timestamp_ms: message.timestamp_ms,
            eta_ms: message.eta_ms,
            retries: message.retries,
            max_retries: message.max_retries,
            error: message
                .traceback
                .as_deref()
                .and_then(super::line::last_line)
                .map(|error| Cow::Owned(scrubber.one_line(error))),
            undecodable: (!message.known).then_some(seen.framework.codec.not_a_message),
            bytes,
        }
    }
}

/// Microseconds are more than our clock can promise.
fn round(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}

/// Characters that would change a terminal are escaped: JSON's own escapes leave some as they are.
pub(super) fn write(entry: &Entry<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    if serde_json::to_writer(&mut *out, entry).is_err() {
        out.truncate(start);
        return;
    }
    if out[start..].iter().any(|byte| *byte >= 0x7f)
        && let Ok(json) = String::from_utf8(out.split_off(start))
    {
        out.extend_from_slice(printable_json(json).as_bytes());
    }
    out.push(b'\n');
}
