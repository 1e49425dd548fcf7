//! What a queue does, in one word that means something. `docs/watch.md` has the same definitions
//! for readers.

use std::time::Duration;

use serde::Serialize;

use super::family::{Family, RECENT};
use super::sight::Kind;

/// In the order in which they are asked: the first that holds is the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, schemars::JsonSchema)]
pub enum State {
    #[serde(rename = "stuck: no consumer")]
    NoConsumer,
    #[serde(rename = "stuck: held, not acked")]
    Held,
    #[serde(rename = "dead letters growing")]
    DeadGrowing,
    #[serde(rename = "backlog")]
    Backlog,
    #[serde(rename = "held")]
    Holding,
    #[serde(rename = "flowing")]
    Flowing,
    #[serde(rename = "delayed")]
    Delayed,
    #[serde(rename = "idle")]
    Idle,
    #[serde(rename = "missing")]
    Missing,
    #[serde(rename = "?")]
    Unknown,
}

impl State {
    pub fn word(self) -> &'static str {
        match self {
            State::NoConsumer => "stuck: no consumer",
            State::Held => "stuck: held, not acked",
            State::DeadGrowing => "dead letters growing",
            State::Backlog => "backlog",
            State::Holding => "held",
            State::Flowing => "flowing",
            State::Delayed => "delayed",
            State::Idle => "idle",
            State::Missing => "missing",
            State::Unknown => "?",
        }
    }

    pub fn is_stuck(self) -> bool {
        matches!(self, State::NoConsumer | State::Held)
    }
}

/// How long something must be so before it is called by its name.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Ready messages without a consumer: a worker that restarts is away for a moment.
    pub no_consumer: Duration,
    /// Unacked messages of which none is seen to be done: an actor may take its time.
    pub held: Duration,
    /// Dead letters that came so lately are growing.
    pub dead: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            no_consumer: Duration::from_secs(2),
            held: Duration::from_secs(30),
            dead: Duration::from_secs(30),
        }
    }
}

/// Of so many seconds' work of ready messages nobody speaks as a backlog.
const SOON: f64 = 5.0;

/// The state, and the observations that make it.
pub fn state(family: &Family, now: Duration, limits: &Limits) -> (State, String) {
    let main = &family.main;
    let motion = &family.motion;
    let ago = |since: Duration| seconds(now.saturating_sub(since));
    let for_so_long =
        |since: Option<Duration>, limit: Duration| since.filter(|since| now.saturating_sub(*since) >= limit);
    match main.exists {
        Some(false) => return (State::Missing, "there is no such queue".into()),
        None => return (State::Unknown, "not looked yet".into()),
        Some(true) => {}
    }
    if main.kind == Kind::Stream {
        return (
            State::Unknown,
            "a stream keeps its messages, so its counts tell no state".into(),
        );
    }
    let ready = main.ready(now).value();
    let consumers = main.consumers(now).value();
    let unacked = main.unacked(now).value();
    let delayed = family.delay.total();

    if let Some(since) = for_so_long(motion.nobody_since, limits.no_consumer) {
        return (
            State::NoConsumer,
            format!(
                "{} ready, and 0 consumers for {}",
                ready.unwrap_or_default(),
                ago(since)
            ),
        );
    }
    if let Some(since) = for_so_long(motion.nobody_delayed_since, limits.no_consumer) {
        let waiting = family.delay.ready(now).value().unwrap_or_default();
        return (
            State::NoConsumer,
            format!(
                "{waiting} delayed, and 0 consumers of the delay queue for {}: nobody will move them when due",
                ago(since)
            ),
        );
    }
    // Since when nothing of what is held was seen to be done.
    let quiet = motion
        .held_since
        .map(|held| held.max(motion.left.unwrap_or_default()));
    let held = unacked.unwrap_or_default();
    if let Some(since) = for_so_long(quiet, limits.held).filter(|_| held > 0)
        // Between two looks at the totals one may be done and the next one taken: only the counters
        // of the statistics exclude that.
        && family.stats(now).is_some_and(|stats| stats.value.done.is_some() && stats.at > since)
    {
        return (
            State::Held,
            format!("{held} unacked, and none acknowledged for {}", ago(since)),
        );
    }
    if let Some(grew) = motion
        .dead_grew
        .filter(|grew| now.saturating_sub(*grew) <= limits.dead)
    {
        return (
            State::DeadGrowing,
            format!(
                "{} new dead letters while watching, the last {} ago",
                motion.new_dead,
                ago(grew)
            ),
        );
    }
    let moved = motion.left.filter(|left| now.saturating_sub(*left) <= RECENT);
    if let Some(waiting) = ready.filter(|ready| *ready > 0) {
        if let (Some(left), true) = (moved, catches_up(family, waiting, now)) {
            return (
                State::Flowing,
                format!(
                    "{waiting} ready and being worked off; the last left {} ago",
                    ago(left)
                ),
            );
        }
        let by = match consumers {
            Some(0) => "no consumer yet".to_owned(),
            Some(1) => "1 consumer".to_owned(),
            Some(count) => format!("{count} consumers"),
            None => "consumers cannot be seen".to_owned(),
        };
        let (since, before) = motion.ready.front().copied().unwrap_or((now, waiting));
        let trend = if waiting < before {
            format!("{before} {} ago, but none seen to be done", ago(since))
        } else {
            format!("not fewer than {} ago", ago(since))
        };
        return (State::Backlog, format!("{waiting} ready, {trend}; {by}"));
    }
    if let Some(left) = moved {
        return (
            State::Flowing,
            format!("0 ready; the last left {} ago", ago(left)),
        );
    }
    if held > 0 {
        let since = quiet.unwrap_or(now);
        let but = match family.stats(now) {
            Some(stats) if stats.value.done.is_some() => "",
            _ => "; no statistics yet, so it cannot be told whether some are acknowledged between two looks",
        };
        return (
            State::Holding,
            format!("{held} unacked, none seen to be done for {}{but}", ago(since)),
        );
    }
    let lag = main.kind.lag();
    let unsettled = motion
        .delivered
        .filter(|at| !lag.is_zero() && main.totals.is_none_or(|totals| totals.at < *at + lag));
    match (ready, unacked, unsettled) {
        (None, _, _) => (State::Unknown, "ready messages cannot be seen".into()),
        (Some(0), None, _) => (
            State::Unknown,
            "0 ready; unacked messages cannot be seen, so it is idle or held".into(),
        ),
        (Some(0), Some(0), Some(delivered)) => (
            State::Unknown,
            format!(
                "delivered {} ago: this kind of queue says up to {} later whether it is held",
                ago(delivered),
                seconds(lag)
            ),
        ),
        _ => match delayed {
            Some(count) if count > 0 => (
                State::Delayed,
                format!("nothing ready or unacked; {count} delayed or waiting for a retry"),
            ),
            None if family.delay.exists == Some(true) => (
                State::Unknown,
                "nothing ready or unacked; delayed messages cannot be seen".into(),
            ),
            _ => (State::Idle, "nothing ready, unacked or delayed".into()),
        },
    }
}

/// Whether the ready messages become fewer, or are only what is on its way.
fn catches_up(family: &Family, waiting: u64, now: Duration) -> bool {
    let motion = &family.motion;
    let fewer = motion.ready.front().is_some_and(|(_, before)| waiting < *before);
    let was_empty = motion
        .none_ready
        .is_some_and(|at| now.saturating_sub(at) <= RECENT);
    let soon = family
        .stats(now)
        .and_then(|stats| stats.value.ack_rate)
        .is_some_and(|rate| waiting as f64 <= rate * SOON);
    fewer || was_empty || soon
}

/// A duration for people: `0.3 s`, `12 s`, `4 min`, `2 h`.
pub fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 9.95 {
        format!("{seconds:.1} s")
    } else if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else if seconds < 7200.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.0} h", seconds / 3600.0)
    }
}
