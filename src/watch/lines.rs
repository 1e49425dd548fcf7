//! A watch as lines: one for each change, for people or (`--format json`) for programs.

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::consumers::who_text;
use super::group::{Quantity, QueueGroup};
use super::observation::{Consumer, STATISTICS_LAG, Stats};
use super::queue::Figure;
use super::state::State;
use super::worker_row::WorkerRow;
use super::workers;
use super::{QueueEvent, QueueModel};
use crate::text::counted;
use crate::timeline::scrub::printable;
use crate::units::seconds;

pub const SCHEMA: &str = "taskdiag.watch.v1";

/// One line of `--format json`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Line {
    pub schema: &'static str,
    /// RFC 3339, UTC, milliseconds.
    pub at: String,
    /// Milliseconds since the watch began.
    pub at_ms: f64,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum What {
    /// A queue as it is now.
    Queue(Box<Row>),
    /// A worker that says over the broker that it lives.
    Worker(WorkerRow),
    /// Something that happened, as `text` says.
    Event(Event),
    /// The last line.
    End(End),
}

/// A queue with its companions folded into it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Row {
    pub queue: String,
    pub state: State,
    /// The observations that make the state.
    pub why: String,
    pub ready: Number,
    pub unacked: Number,
    pub consumers: Number,
    /// Ready and unacked messages of the delay queue: delayed messages and retries.
    pub delayed: Number,
    /// Messages of the dead-letter queue.
    pub dead: Number,
    /// Acknowledged since the watch began, by the statistics; null where they count none (yet).
    pub done: Number,
    /// Messages per second, averaged over the last five seconds of the statistics.
    pub rates: Rates,
    /// Milliseconds since the timestamp of the message at the head; only where publishers set one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_ms: Option<i64>,
    /// Who consumes; null where it cannot be listed (yet).
    pub who: Option<Vec<Consumer>>,
    /// Tasks that the consumers run, whichever queue they have them from; only where workers say so by themselves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<Number>,
    /// Messages that the consumers may hold at once; where `active` is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefetch: Option<Number>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Rates {
    #[serde(rename = "in")]
    pub publish: Rate,
    pub deliver: Rate,
    pub ack: Rate,
}

/// A count with its age, or null with the reason.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Number {
    pub value: Option<u64>,
    /// So old at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Rate {
    pub value: Option<f64>,
    /// So old at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Event {
    /// `created`, `deleted`, `lost`, `found`, `listed`; `deaf`, `listening`: workers.
    pub event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    pub text: String,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct End {
    /// `condition`, `failure` (a condition of --fail-on), `never` (no condition of --until can be met any
    /// more, or nothing will tell), `time` (--for), `signal`.
    pub because: &'static str,
    /// The condition that was met.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    pub exit_code: u8,
    pub text: String,
}

/// The row of a queue, as it is now.
pub fn row(
    name: &str,
    group: &QueueGroup,
    state: State,
    why: String,
    model: &QueueModel,
    started: Timestamp,
) -> Row {
    let now = model.now();
    let active = model.active(group).map(self::number);
    let prefetch = active
        .as_ref()
        .map(|_| self::number(workers::prefetch(group.who_when(), now)));
    let number = |quantity| number(group.figure(quantity, now));
    let rate = |pick| rate(group, now, pick);
    Row {
        queue: name.to_owned(),
        state,
        why,
        ready: number(Quantity::Ready),
        unacked: number(Quantity::Unacked),
        consumers: number(Quantity::Consumers),
        delayed: number(Quantity::Delayed),
        dead: number(Quantity::Dead),
        done: done(group, now),
        rates: Rates {
            publish: rate(|stats| stats.publish_rate),
            deliver: rate(|stats| stats.deliver_rate),
            ack: rate(|stats| stats.ack_rate),
        },
        oldest_ms: oldest(group, now, started),
        who: group.who().map(<[Consumer]>::to_vec),
        active,
        prefetch,
    }
}

/// Age of the message at the head, from the timestamp that its publisher set.
pub fn oldest(group: &QueueGroup, now: Duration, started: Timestamp) -> Option<i64> {
    let head = group.details.as_ref()?.value.head_timestamp?;
    let now = started.as_millisecond() + i64::try_from(now.as_millis()).ok()?;
    Some(now - head.checked_mul(1000)?).filter(|age| *age >= 0)
}

fn number(figure: Figure) -> Number {
    let (value, age, because) = match figure {
        Figure::Known { value, age } => (Some(value), Some(age), None),
        Figure::Unknown(because) => (None, None, Some(because)),
        Figure::None => (None, None, Some("there is no such queue".into())),
    };
    Number {
        value,
        age_ms: age.map(milliseconds),
        because,
    }
}

const NO_STATISTICS: &str = "the broker has no statistics of this queue (yet)";

/// Messages that the statistics have counted as done since the watch began.
fn done(group: &QueueGroup, now: Duration) -> Number {
    number(match group.stats(now) {
        Some(stats) => Figure::Known {
            value: group.ledger.done(),
            age: now.saturating_sub(stats.at) + STATISTICS_LAG,
        },
        None => Figure::Unknown(NO_STATISTICS.into()),
    })
}

fn rate(group: &QueueGroup, now: Duration, pick: fn(&Stats) -> Option<f64>) -> Rate {
    let stats = group.stats(now);
    let value = stats.and_then(|stats| pick(&stats.value));
    let because = match stats {
        None => NO_STATISTICS,
        Some(_) => "nothing of this kind has happened since the queue's statistics began",
    };
    let age = stats.map(|stats| milliseconds(now.saturating_sub(stats.at) + STATISTICS_LAG));
    Rate {
        value,
        age_ms: value.and(age),
        because: value.is_none().then(|| because.to_owned()),
    }
}

/// The time of day, so long after the start.
pub fn moment(started: Timestamp, at: Duration) -> Timestamp {
    let at = jiff::SignedDuration::try_from(at).ok();
    at.and_then(|at| started.checked_add(at).ok()).unwrap_or(started)
}

/// Tenths of a millisecond: more would be noise.
pub fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

pub fn event(what: &QueueEvent) -> Event {
    let (event, queue, text) = match what {
        QueueEvent::Created(queue) => ("created", Some(queue), format!("queue {queue} was created")),
        QueueEvent::Deleted(queue) => ("deleted", Some(queue), format!("queue {queue} was deleted")),
        QueueEvent::Lost { probe, reason, hint } => {
            let hint = hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
            let text = format!("{} cannot be asked: {reason}{hint}", probe.name());
            ("lost", None, text)
        }
        QueueEvent::Found { probe } => ("found", None, format!("{} answers again", probe.name())),
        QueueEvent::Deaf { reason, hint } => {
            let hint = hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
            (
                "deaf",
                None,
                format!("workers cannot be listened to: {reason}{hint}"),
            )
        }
        QueueEvent::Listening => ("listening", None, "workers are listened to again".into()),
        QueueEvent::Listed { queues } => (
            "listed",
            None,
            counted(*queues as u64, "queue is watched", "queues are watched"),
        ),
    };
    Event {
        event,
        queue: queue.cloned(),
        text,
    }
}

// -- for people

/// One line of text, with the time of the day before it.
pub fn text(line: &Line, clock: &str) -> String {
    one_line(&match &line.what {
        What::Queue(row) => format!("{clock}  {}", row_text(row)),
        What::Worker(worker) => format!("{clock}  -- worker {}", worker.text),
        What::Event(event) => format!("{clock}  -- {}", event.text),
        What::End(end) => format!("{clock}  == {}", end.text),
    })
}

/// A queue's name may hold any character: none of them may move the cursor, and two names that differ
/// must not look the same.
pub fn one_line(text: &str) -> String {
    let visible = text
        .replace('\t', "\\t")
        .replace('\r', "\\r")
        .replace('\n', "\\n");
    printable(&visible)
}

fn row_text(row: &Row) -> String {
    let mut text = format!("{}  {}", row.queue, row.state.word());
    let numbers = [
        ("ready", &row.ready, true),
        ("unacked", &row.unacked, true),
        ("consumers", &row.consumers, true),
        ("delayed", &row.delayed, row.delayed.value.is_some()),
        ("dead", &row.dead, row.dead.value.is_some()),
        ("done", &row.done, row.done.value.is_some_and(|done| done > 0)),
    ];
    let active = row.active.iter().filter(|active| active.value.is_some());
    let active = active.map(|active| ("active", active, true));
    for (word, number, is_told) in numbers.into_iter().chain(active) {
        if is_told && row.state != State::Missing {
            text.push_str(&format!("  {word} {}", count(number)));
        }
    }
    text.push_str(&format!("  ({})", row.why));
    if let Some(who) = row.who.as_deref().filter(|who| !who.is_empty()) {
        text.push_str(&format!("  by {}", who_text(who)));
    }
    text
}

/// `3`, `3 (2.1 s old)`, `?`.
pub fn count(number: &Number) -> String {
    match (number.value, number.age_ms) {
        (Some(value), Some(age)) if age >= 1000.0 => {
            format!(
                "{value} (≤ {} old)",
                seconds(Duration::from_secs_f64(age / 1000.0))
            )
        }
        (Some(value), _) => value.to_string(),
        (None, _) => "?".into(),
    }
}

/// How things stand when somebody leaves: every row that has something to say, the worst first.
pub fn farewell(model: &QueueModel, started: Timestamp) -> Vec<String> {
    let mut rows: Vec<Row> = model
        .groups()
        .iter()
        .map(|(name, group)| {
            let (state, why) = model.state(name);
            row(name, group, state, why, model, started)
        })
        .collect();
    rows.sort_by(|a, b| (a.state, &a.queue).cmp(&(b.state, &b.queue)));
    let few = rows.len() <= MOST_LAST;
    let (told, quiet): (Vec<Row>, Vec<Row>) = rows
        .into_iter()
        .partition(|row| few || !matches!(row.state, State::Idle | State::Unknown));
    let left_out = told.len().saturating_sub(MOST_LAST) + quiet.len();
    let mut lines: Vec<String> = told
        .iter()
        .take(MOST_LAST)
        .map(|row| one_line(&row_text(row)))
        .collect();
    if left_out > 0 {
        lines.push(counted(left_out as u64, "more queue", "more queues"));
    }
    lines
}

/// So many rows are left on the terminal.
const MOST_LAST: usize = 15;

#[cfg(test)]
mod tests {
    use super::super::observation::Kind;
    use super::super::selector::QueueSelector;
    use super::super::testing::Scene;
    use super::*;

    #[test]
    fn the_last_words_name_the_worst_first_and_are_few() {
        let mut scene = Scene::new(Kind::Classic);
        scene.look(2, 0, 0, 0).look_for(3.0, 2, 0, 0);
        let told = farewell(&scene.model, Timestamp::UNIX_EPOCH);
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("q  stuck: no consumer  ready 2"), "{told:?}");

        let mut many = Scene::of(QueueSelector::all(), Kind::Classic);
        let names: Vec<String> = (0..40).map(|n| format!("q-{n:02}")).collect();
        let listed: Vec<(&str, u64, u64)> = names.iter().map(|name| (name.as_str(), 0, 0)).collect();
        many.listed(&listed).declared("q-39", 3, 1);
        let told = farewell(&many.model, Timestamp::UNIX_EPOCH);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("q-39  backlog"), "{told:?}");
        assert_eq!(told[1], "39 more queues");
    }
}
