//! What the probes of `watch` say, each with the moment it was so.

use std::time::Duration;

use strum::IntoStaticStr;

use crate::framework::Heartbeat;

/// Something with its moment, counted from the start of the watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timed<T> {
    pub at: Duration,
    pub value: T,
}

#[derive(Debug, Clone)]
pub enum Observation {
    /// A passive declare: exact, of this instant. `None`: there is no such queue.
    Declared {
        queue: String,
        counts: Option<Counts>,
        took: Duration,
    },
    /// The broker answered the passive declare of this queue, but the answer cannot be used.
    Refused {
        queue: String,
        reason: String,
    },
    /// The queue is known and cannot be asked: why.
    Down {
        queue: String,
        why: String,
    },
    Listed(Listing),
    Details(Details),
    /// This probe gets no answer: what it has seen is no longer true of now.
    Unreachable {
        probe: Probe,
        reason: String,
        hint: Option<String>,
    },
    Reachable {
        probe: Probe,
    },
    /// A worker's own word.
    Heartbeat(Heartbeat),
    /// Workers are heard, if there are any that speak.
    Listening,
    /// They cannot be heard.
    Deaf {
        reason: String,
        hint: Option<String>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    pub ready: u64,
    pub consumers: u64,
}

/// A quorum queue whose leader does not answer within 250 ms is said to hold nothing
/// (`rabbit_quorum_queue:stat`): an answer of nothing that took so long is none.
pub const LEADER_SILENT: Duration = Duration::from_millis(240);

/// The two ways in which a broker is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
pub enum Probe {
    #[strum(serialize = "AMQP")]
    Amqp,
    #[strum(serialize = "the management API")]
    Management,
}

impl Probe {
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Fresh totals of many queues.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    pub queues: Vec<Listed>,
    /// Every queue that was asked for is in it: what is not there does not exist.
    pub complete: bool,
    /// When it was asked for.
    pub asked: Duration,
}

#[derive(Debug, Clone)]
pub struct Listed {
    pub name: String,
    pub kind: Kind,
    /// `None` where the broker does not say: a new queue has no counts.
    pub ready: Option<u64>,
    pub unacked: Option<u64>,
}

/// As the broker names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Classic,
    Quorum,
    Stream,
    #[default]
    #[serde(other)]
    Unknown,
}

impl Kind {
    /// So old may the totals of the management API be when they arrive: a quorum queue reports them
    /// every 5 s (`quorum_tick_interval`), a classic one is asked.
    pub fn lag(self) -> Duration {
        match self {
            Kind::Classic => Duration::ZERO,
            Kind::Quorum | Kind::Stream | Kind::Unknown => Duration::from_secs(5),
        }
    }
}

/// The statistics of one queue: up to 10 s old when they arrive.
#[derive(Debug, Clone, Default)]
pub struct Details {
    pub queue: String,
    /// When it was asked for.
    pub asked: Duration,
    /// `None` where the broker keeps none (yet).
    pub stats: Option<Stats>,
    /// `None` where they could not be listed.
    pub consumers: Option<Vec<Consumer>>,
    /// Unix seconds; there only if publishers set a timestamp.
    pub head_timestamp: Option<i64>,
    /// `x-single-active-consumer`: the others stand by.
    pub single_active: bool,
    /// Messages that had left without being acknowledged some time in the last minutes, when nothing
    /// moved for a while; with the first look only.
    pub lost_before: Option<i64>,
}

impl Details {
    /// The broker keeps statistics of this queue, whether or not they have counted anything.
    pub fn is_on(&self) -> bool {
        self.stats.is_some() || self.consumers.is_some()
    }
}

/// Statistics are sent every 5 s and averaged over the last 5 s.
pub const STATISTICS_LAG: Duration = Duration::from_secs(10);

/// Statistics that were read longer ago than that say nothing of now.
pub const STATISTICS_HOLD: Duration = Duration::from_secs(30);

/// Counters since the queue's process started, and rates per second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Stats {
    pub published: Option<u64>,
    pub delivered: Option<u64>,
    /// Acknowledged, or sent to consumers that need not acknowledge.
    pub done: Option<u64>,
    pub publish_rate: Option<f64>,
    pub deliver_rate: Option<f64>,
    pub ack_rate: Option<f64>,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Consumer {
    /// Its address, as the broker sees it.
    pub host: String,
    pub port: Option<u16>,
    pub user: String,
    pub tag: String,
    /// Messages it may hold at once; 0: no limit of its own.
    pub prefetch: u64,
    /// The process at the client's end, if it is on this machine and we may look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// `T`: stopped, `Z`: zombie, `D`: waits for a disk; otherwise not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process_state: Option<char>,
}
