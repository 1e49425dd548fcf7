//! Which changes of the watched queues are worth a line, and when.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use jiff::Timestamp;
use strum::VariantArray;

use super::group::{Quantity, QueueGroup};
use super::lines::{self, End, Line, SCHEMA, What};
use super::observation::Timed;
use super::state::State;
use super::workers::{Life, WorkerKey};
use super::{QueueEvent, QueueModel, worker_row};

/// Decides what is worth a line: each change, but a number that changes all the time once per
/// interval only.
pub struct Printer {
    started: Timestamp,
    every: Duration,
    last: HashMap<String, Printed>,
    workers: HashMap<WorkerKey, (Life, Option<u64>)>,
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
    counts: Vec<Option<u64>>,
    active: Option<u64>,
    done: u64,
    /// Left without having been acknowledged, from the queue and from its delay queue.
    lost: [u64; 2],
    who: u64,
}

impl Key {
    /// Another state, or a figure that could not be seen before or cannot any more.
    fn is_urgent(&self, last: &Key) -> bool {
        let mut counts = self.counts.iter().zip(&last.counts);
        self.state != last.state || counts.any(|(now, before)| now.is_some() != before.is_some())
    }
}

impl Printer {
    pub fn new(started: Timestamp, every: Duration) -> Self {
        Self {
            started,
            every,
            last: HashMap::new(),
            workers: HashMap::new(),
            round: BTreeSet::new().into_iter(),
            waiting: BTreeSet::new(),
        }
    }

    /// The lines that are due, some of them: as long as it `has_more`, there are more.
    pub fn due(&mut self, model: &mut QueueModel) -> Vec<Line> {
        let now = model.now();
        let mut lines: Vec<Line> = model
            .take_events()
            .into_iter()
            .map(|event| self.event(&event))
            .collect();
        lines.extend(self.workers(model));
        if !self.has_more() {
            let mut names = model.take_dirty();
            names.append(&mut self.waiting);
            self.round = names.into_iter();
        }
        while lines.len() < BATCH
            && let Some(name) = self.round.next()
        {
            let Some(group) = model.groups().get(&name) else {
                self.last.remove(&name);
                continue;
            };
            if group.main.exists.is_none() || model.is_about_to_be_seen(group) {
                self.waiting.insert(name);
                continue;
            }
            let (state, why) = model.state(&name);
            let key = key(model, group, state, now);
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
            let row = lines::row(&name, group, state, why, model, self.started);
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

    /// Those that have come or gone, or run more or fewer tasks.
    fn workers(&mut self, model: &mut QueueModel) -> Vec<Line> {
        let news = model.workers_mut().take_news();
        let mut lines = Vec::new();
        for key in news {
            let Some(row) = worker_row::of(model, &key) else {
                self.workers.remove(&key);
                continue;
            };
            let is = (row.life, row.active);
            if self.workers.insert(key, is) != Some(is) {
                lines.push(self.line(model.now(), What::Worker(row)));
            }
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

    fn event(&self, event: &Timed<QueueEvent>) -> Line {
        self.line(event.at, What::Event(lines::event(&event.value)))
    }

    fn line(&self, at: Duration, what: What) -> Line {
        Line {
            schema: SCHEMA,
            at: format!("{:.3}", lines::moment(self.started, at)),
            at_ms: lines::milliseconds(at),
            what,
        }
    }
}

fn key(model: &QueueModel, group: &QueueGroup, state: State, now: Duration) -> Key {
    let mut hasher = DefaultHasher::new();
    for consumer in group.who().into_iter().flatten() {
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
        counts: Quantity::VARIANTS
            .iter()
            .map(|quantity| group.figure(*quantity, now).value())
            .collect(),
        active: model.active(group).and_then(|active| active.value()),
        done: group.ledger.done(),
        lost: [&group.ledger, &group.delay_ledger].map(|ledger| ledger.lost()),
        who: hasher.finish(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines::text;
    use super::super::observation::Kind;
    use super::super::selector::QueueSelector;
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
        assert_eq!(rows(&printer.due(&mut scene.model)), [(Some(5), State::Backlog)]);
        scene.wait(0.01).look(5, 0, 1, 0);
        assert!(printer.due(&mut scene.model).is_empty());
        // A short burst is told at once.
        for ready in 6..15 {
            scene.wait(0.01).declared("q", ready, 1);
            assert_eq!(
                rows(&printer.due(&mut scene.model)),
                [(Some(ready), State::Backlog)]
            );
        }
        for ready in [6, 7, 8] {
            scene.wait(0.05).declared("q", ready, 1);
            assert!(printer.due(&mut scene.model).is_empty(), "{ready}");
        }
        // The last of them is told, without any news.
        scene.wait(0.2);
        assert_eq!(rows(&printer.due(&mut scene.model)), [(Some(8), State::Backlog)]);
        // A change of state does not wait.
        scene.wait(0.01).look(0, 0, 1, 8);
        assert_eq!(rows(&printer.due(&mut scene.model)), [(Some(0), State::Flowing)]);
    }

    #[test]
    fn what_left_unacknowledged_is_a_line() {
        let mut scene = Scene::new(Kind::Classic);
        let mut printer = printer();
        scene.look(3, 0, 0, 0);
        let mut told = printer.due(&mut scene.model);
        for _ in 0..12 {
            scene.wait(1.0).look(0, 0, 0, 0);
            told.extend(printer.due(&mut scene.model));
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
            printer.due(&mut scene.model).is_empty(),
            "a passive declare is under way"
        );
        scene.wait(0.02).declared("q", 1, 2);
        let lines = printer.due(&mut scene.model);
        assert_eq!(rows(&lines), [(Some(1), State::Backlog)]);
        let text = text(&lines[0], "12:00:00.000");
        assert_eq!(
            text,
            "12:00:00.000  q  backlog  ready 1  unacked 0  consumers 2  (1 ready; 2 consumers)"
        );
    }

    #[test]
    fn what_is_old_says_so_and_what_is_unknown_is_not_zero() {
        let mut scene = Scene::new(Kind::Quorum);
        scene.declared("q", 0, 1).listed(&[("q", 0, 3)]);
        let lines = printer().due(&mut scene.model);
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
        let mut scene = Scene::of(QueueSelector::all(), Kind::Classic);
        let name = "a\tb\rc\u{1b}[2Jd\u{9b}e";
        scene.listed(&[(name, 0, 0)]).declared(name, 0, 0);
        let lines = printer().due(&mut scene.model);
        for line in &lines {
            let text = text(line, "12:00");
            assert!(!text.contains(char::is_control), "{text:?}");
        }
        let told = lines.iter().map(|line| text(line, "12:00")).collect::<String>();
        assert!(told.contains("a\\tb\\rc\\e[2Jd\\u{9b}e  idle"), "{told}");
    }
}
