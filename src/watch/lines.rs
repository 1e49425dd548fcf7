//! A watch as lines: one for each change, for people or (`--format json`) for programs.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use super::family::{Family, Figure};
use super::sight::{Consumer, STATISTICS_LAG};
use super::state::{State, seconds};
use super::until::{dead, delayed};
use super::{Board, Happened, Happening};
use crate::timeline::scrub::printable;

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
    /// `created`, `deleted`, `lost`, `found`, `listed`.
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

/// Decides what is worth a line: each change, but a number that changes all the time once per
/// interval only.
pub struct Printer {
    started: Timestamp,
    every: Duration,
    last: HashMap<String, Printed>,
    /// Rows that are still to be looked at in this round, and those that are put off to the next.
    round: std::collections::btree_set::IntoIter<String>,
    waiting: BTreeSet<String>,
}

/// So many rows are made at once; the next call makes the next ones.
const BATCH: usize = 200;

/// So many changes of one queue within a second are told at once; from there on, one per interval.
const BURST: u32 = 10;

struct Printed {
    at: Duration,
    key: Key,
    /// The second that is counted, and the changes told in it.
    second: Duration,
    told: u32,
}

impl Printed {
    fn may_change(&self, now: Duration, every: Duration) -> bool {
        self.told < BURST
            || now.saturating_sub(self.second) >= Duration::from_secs(1)
            || now.saturating_sub(self.at) >= every
    }
}

/// What a change is a change of: not ages, rates and words.
#[derive(Debug, Clone, PartialEq)]
struct Key {
    state: State,
    counts: [Option<u64>; 5],
    done: u64,
    /// Left without having been acknowledged, from the queue and from its delay queue.
    lost: [u64; 2],
    who: u64,
}

impl Key {
    /// Another state, or a figure that could not be seen before or cannot any more.
    fn is_urgent(&self, last: &Key) -> bool {
        let seen = |key: &Key| key.counts.map(|count| count.is_some());
        self.state != last.state || seen(self) != seen(last)
    }
}

impl Printer {
    pub fn new(started: Timestamp, every: Duration) -> Self {
        Self {
            started,
            every,
            last: HashMap::new(),
            round: BTreeSet::new().into_iter(),
            waiting: BTreeSet::new(),
        }
    }

    /// The lines that are due, some of them: as long as it `has_more`, there are more.
    pub fn due(&mut self, board: &mut Board) -> Vec<Line> {
        let now = board.now();
        let mut lines: Vec<Line> = board
            .take_happened()
            .into_iter()
            .map(|happened| self.event(&happened))
            .collect();
        if !self.has_more() {
            let mut names = board.take_dirty();
            names.append(&mut self.waiting);
            self.round = names.into_iter();
        }
        while lines.len() < BATCH
            && let Some(name) = self.round.next()
        {
            let Some(family) = board.families().get(&name) else {
                self.last.remove(&name);
                continue;
            };
            if family.main.exists.is_none() || board.is_about_to_be_seen(family) {
                self.waiting.insert(name);
                continue;
            }
            let (state, why) = board.state(&name);
            let key = key(family, state, now);
            let (mut second, mut told) = (now, 0);
            if let Some(printed) = self.last.get(&name) {
                if printed.key == key {
                    continue;
                }
                if !key.is_urgent(&printed.key) && !printed.may_change(now, self.every) {
                    self.waiting.insert(name);
                    continue;
                }
                if now.saturating_sub(printed.second) < Duration::from_secs(1) {
                    (second, told) = (printed.second, printed.told);
                }
            }
            let row = row(&name, family, state, why, now, self.started);
            lines.push(self.line(now, What::Queue(Box::new(row))));
            let printed = Printed {
                at: now,
                key,
                second,
                told: told + 1,
            };
            self.last.insert(name, printed);
        }
        lines
    }

    /// Rows whose state can change with time alone.
    pub fn unsettled(&self) -> Vec<String> {
        self.last
            .iter()
            .filter(|(_, printed)| !matches!(printed.key.state, State::Idle | State::Missing))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// The round is not over.
    pub fn has_more(&self) -> bool {
        self.round.len() > 0
    }

    pub fn end(&self, now: Duration, end: End) -> Line {
        self.line(now, What::End(end))
    }

    fn event(&self, happened: &Happened) -> Line {
        self.line(happened.at, What::Event(event(&happened.what)))
    }

    fn line(&self, at: Duration, what: What) -> Line {
        let stamp = jiff::SignedDuration::try_from(at)
            .ok()
            .and_then(|at| self.started.checked_add(at).ok())
            .unwrap_or(self.started);
        Line {
            schema: SCHEMA,
            at: format!("{stamp:.3}"),
            at_ms: milliseconds(at),
            what,
        }
    }
}

fn key(family: &Family, state: State, now: Duration) -> Key {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    for consumer in family.who().into_iter().flatten() {
        (
            &consumer.host,
            consumer.port,
            &consumer.tag,
            consumer.pid,
            consumer.process_state,
        )
            .hash(&mut hasher);
    }
    Key {
        state,
        counts: [
            family.main.ready(now).value(),
            family.main.unacked(now).value(),
            family.consumers(now).value(),
            delayed(family, now).value(),
            dead(family, now).value(),
        ],
        done: family.motion.done,
        lost: [&family.motion.leaving, &family.motion.leaving_delay].map(|leaving| leaving.lost()),
        who: hasher.finish(),
    }
}

pub fn row(name: &str, family: &Family, state: State, why: String, now: Duration, started: Timestamp) -> Row {
    let rates = |pick: fn(&super::sight::Stats) -> Option<f64>| rate(family, now, pick);
    Row {
        queue: name.to_owned(),
        state,
        why,
        ready: number(family.main.ready(now)),
        unacked: number(family.main.unacked(now)),
        consumers: number(family.consumers(now)),
        delayed: number(delayed(family, now)),
        dead: number(dead(family, now)),
        done: done(family, now),
        rates: Rates {
            publish: rates(|stats| stats.publish_rate),
            deliver: rates(|stats| stats.deliver_rate),
            ack: rates(|stats| stats.ack_rate),
        },
        oldest_ms: oldest(family, now, started),
        who: family.who().map(<[Consumer]>::to_vec),
    }
}

/// Age of the message at the head, from the timestamp that its publisher set.
pub fn oldest(family: &Family, now: Duration, started: Timestamp) -> Option<i64> {
    let head = family.details.as_ref()?.value.head_timestamp?;
    let now = started.as_millisecond() + i64::try_from(now.as_millis()).ok()?;
    Some(now - head.checked_mul(1000)?).filter(|age| *age >= 0)
}

fn number(figure: Figure<u64>) -> Number {
    match figure {
        Figure::Known { value, age } => Number {
            value: Some(value),
            age_ms: Some(milliseconds(age)),
            because: None,
        },
        Figure::Unknown(because) => Number {
            value: None,
            age_ms: None,
            because: Some(because),
        },
        Figure::None => Number {
            value: None,
            age_ms: None,
            because: Some("there is no such queue".into()),
        },
    }
}

/// Messages that the statistics have counted as done since the watch began.
fn done(family: &Family, now: Duration) -> Number {
    number(match family.stats(now) {
        Some(stats) => Figure::Known {
            value: family.motion.done,
            age: now.saturating_sub(stats.at) + STATISTICS_LAG,
        },
        _ => Figure::Unknown("the broker has no statistics of this queue (yet)".into()),
    })
}

fn rate(family: &Family, now: Duration, pick: fn(&super::sight::Stats) -> Option<f64>) -> Rate {
    let Some(stats) = family.stats(now) else {
        return Rate {
            value: None,
            age_ms: None,
            because: Some("the broker has no statistics of this queue (yet)".into()),
        };
    };
    match pick(&stats.value) {
        Some(value) => Rate {
            value: Some(value),
            age_ms: Some(milliseconds(now.saturating_sub(stats.at) + STATISTICS_LAG)),
            because: None,
        },
        None => Rate {
            value: None,
            age_ms: None,
            because: Some("nothing of this kind has happened since the queue's statistics began".into()),
        },
    }
}

/// Tenths of a millisecond: more would be noise.
fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10_000.0).round() / 10.0
}

pub fn event(what: &Happening) -> Event {
    let (event, queue, text) = match what {
        Happening::Created(queue) => ("created", Some(queue), format!("queue {queue} was created")),
        Happening::Deleted(queue) => ("deleted", Some(queue), format!("queue {queue} was deleted")),
        Happening::Lost { eye, reason, hint } => {
            let hint = hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
            (
                "lost",
                None,
                format!("{} cannot be asked: {reason}{hint}", eye.name()),
            )
        }
        Happening::Found { eye } => ("found", None, format!("{} answers again", eye.name())),
        Happening::Listed { queues } => ("listed", None, format!("{queues} queues are watched")),
    };
    Event {
        event,
        queue: queue.cloned(),
        text,
    }
}

// -- for people

/// One line of text. `local` tells the time of day from the line's own.
pub fn text(line: &Line, clock: &str) -> String {
    one_line(&match &line.what {
        What::Queue(row) => format!("{clock}  {}", row_text(row)),
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
    let mut add = |word: &str, number: &Number| {
        text.push_str(&format!("  {word} {}", count(number)));
    };
    if row.state != State::Missing {
        add("ready", &row.ready);
        add("unacked", &row.unacked);
        add("consumers", &row.consumers);
        if row.delayed.value.is_some() {
            add("delayed", &row.delayed);
        }
        if row.dead.value.is_some() {
            add("dead", &row.dead);
        }
        if row.done.value.is_some_and(|done| done > 0) {
            add("done", &row.done);
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

/// Consumers of one process together: `host pid 123 dramatiq …`.
pub fn who_text(who: &[Consumer]) -> String {
    let mut groups: Vec<(String, usize)> = Vec::new();
    for consumer in who {
        let mut text = match (consumer.pid, consumer.port) {
            (Some(pid), _) => format!("{} pid {pid}", consumer.host),
            (None, Some(port)) => format!("{}:{port}", consumer.host),
            (None, None) => consumer.host.clone(),
        };
        match consumer.process_state {
            Some('T' | 't') => text.push_str(" (stopped)"),
            Some('Z') => text.push_str(" (zombie)"),
            _ => {}
        }
        if let Some(command) = &consumer.command {
            text.push_str(&format!(" {}", shortened(command, 60)));
        }
        match groups.iter_mut().find(|(known, _)| *known == text) {
            Some((_, count)) => *count += 1,
            None => groups.push((text, 1)),
        }
    }
    let more = groups.len().saturating_sub(4);
    let mut texts: Vec<String> = groups
        .into_iter()
        .take(4)
        .map(|(text, count)| {
            if count > 1 {
                format!("{text} ×{count}")
            } else {
                text
            }
        })
        .collect();
    if more > 0 {
        texts.push(format!("{more} more"));
    }
    texts.join(", ")
}

fn shortened(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(most - 1).collect();
    short.push('…');
    short
}

#[cfg(test)]
mod tests {
    use super::super::pick::Pick;
    use super::super::sight::Kind;
    use super::super::testing::Scene;
    use super::*;

    fn printer() -> Printer {
        Printer::new(Timestamp::UNIX_EPOCH, Duration::from_millis(250))
    }

    fn rows(lines: &[Line]) -> Vec<(Option<u64>, State)> {
        lines
            .iter()
            .filter_map(|line| match &line.what {
                What::Queue(row) => Some((row.ready.value, row.state)),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn sameness_is_no_line_and_changes_of_numbers_wait() {
        let mut scene = Scene::new(Kind::Classic);
        let mut printer = printer();
        scene.look(5, 0, 1, 0);
        assert_eq!(rows(&printer.due(&mut scene.board)), [(Some(5), State::Backlog)]);
        scene.wait(0.01).look(5, 0, 1, 0);
        assert!(printer.due(&mut scene.board).is_empty());
        // A short burst is told at once.
        for ready in 6..15 {
            scene.wait(0.01).declared("q", ready, 1);
            assert_eq!(
                rows(&printer.due(&mut scene.board)),
                [(Some(ready), State::Backlog)]
            );
        }
        for ready in [6, 7, 8] {
            scene.wait(0.05).declared("q", ready, 1);
            assert!(printer.due(&mut scene.board).is_empty(), "{ready}");
        }
        // The last of them is told, without any news.
        scene.wait(0.2);
        assert_eq!(rows(&printer.due(&mut scene.board)), [(Some(8), State::Backlog)]);
        // A change of state does not wait.
        scene.wait(0.01).look(0, 0, 1, 8);
        assert_eq!(rows(&printer.due(&mut scene.board)), [(Some(0), State::Flowing)]);
    }

    #[test]
    fn what_left_unacknowledged_is_a_line() {
        let mut scene = Scene::new(Kind::Classic);
        let mut printer = printer();
        scene.look(3, 0, 0, 0);
        let mut told = printer.due(&mut scene.board);
        for _ in 0..12 {
            scene.wait(1.0).look(0, 0, 0, 0);
            told.extend(printer.due(&mut scene.board));
        }
        assert!(
            told.iter().any(
                |line| matches!(&line.what, What::Queue(row) if row.why.contains("3 left without being acknowledged"))
            ),
            "{:?}",
            rows(&told)
        );
    }

    #[test]
    fn a_row_is_not_told_before_it_was_looked_at() {
        let mut scene = Scene::new(Kind::Classic);
        let mut printer = printer();
        scene.listed(&[("q", 1, 0)]);
        assert!(
            printer.due(&mut scene.board).is_empty(),
            "a passive declare is under way"
        );
        scene.wait(0.02).declared("q", 1, 2);
        let lines = printer.due(&mut scene.board);
        assert_eq!(rows(&lines), [(Some(1), State::Backlog)]);
        let text = text(&lines[0], "12:00:00.000");
        assert_eq!(
            text,
            "12:00:00.000  q  backlog  ready 1  unacked 0  consumers 2  (1 ready, not fewer than 0.0 s ago; 2 consumers)"
        );
    }

    #[test]
    fn what_is_old_says_so_and_what_is_unknown_is_not_zero() {
        let mut scene = Scene::new(Kind::Quorum);
        scene.declared("q", 0, 1).listed(&[("q", 0, 3)]);
        let lines = printer().due(&mut scene.board);
        let json = serde_json::to_value(&lines[0]).expect("JSON");
        assert_eq!(
            json["unacked"],
            serde_json::json!({ "value": 3, "age_ms": 5000.0 })
        );
        assert_eq!(json["ready"], serde_json::json!({ "value": 0, "age_ms": 0.0 }));
        assert_eq!(json["rates"]["ack"]["value"], serde_json::Value::Null);
        assert!(json["rates"]["ack"]["because"].is_string());
        assert_eq!(
            (&json["who"], &json["kind"]),
            (&serde_json::Value::Null, &serde_json::json!("queue"))
        );
        assert!(text(&lines[0], "").contains("unacked 3 (≤ 5.0 s old)"));
    }

    #[test]
    fn a_name_moves_no_cursor() {
        let mut scene = Scene::of(Pick::all(), Kind::Classic);
        let name = "a\tb\rc\u{1b}[2Jd\u{9b}e";
        scene.listed(&[(name, 0, 0)]).declared(name, 0, 0);
        let lines = printer().due(&mut scene.board);
        for line in &lines {
            let text = text(line, "12:00");
            assert!(!text.contains(char::is_control), "{text:?}");
        }
        let told = lines.iter().map(|line| text(line, "12:00")).collect::<String>();
        assert!(told.contains("a\\tb\\rc\\e[2Jd\\u{9b}e  idle"), "{told}");
    }

    #[test]
    fn consumers_of_one_process_are_one() {
        let consumer = |port, pid, state| Consumer {
            host: "10.0.0.1".into(),
            port: Some(port),
            user: "app".into(),
            tag: "t".into(),
            prefetch: 4,
            pid,
            command: pid.map(|_| "dramatiq app".into()),
            process_state: state,
        };
        let who = [
            consumer(1, Some(7), None),
            consumer(2, Some(7), None),
            consumer(3, None, None),
            consumer(4, Some(8), Some('T')),
        ];
        assert_eq!(
            who_text(&who),
            "10.0.0.1 pid 7 dramatiq app ×2, 10.0.0.1:3, 10.0.0.1 pid 8 (stopped) dramatiq app"
        );
    }
}
