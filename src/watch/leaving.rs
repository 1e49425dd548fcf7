//! What became of the messages of one queue: acknowledged, or gone otherwise, or not known (yet).
//!
//! A total that falls says only that messages are no longer there: done, expired, purged, dropped
//! where a queue is full, or rejected. That a consumer is there does not change that. What decides is
//! the broker's count of acknowledgements, and the balance: published, less acknowledged, less what is
//! there, is the number of messages that left otherwise, as soon as all three are of the same moment.
//! The counters are collected every 5 s (3.10.8, 4.0.5: read from the single queue, they were at most
//! 5.0 s late, and those of publishes and of acknowledgements are collected at different moments).

use std::collections::VecDeque;
use std::time::Duration;

use super::family::At;
use super::sight::STATISTICS_LAG;
use super::state::seconds;

/// Counters read so long after the last movement know all of it, with the default interval.
pub const COUNTED_BY: Duration = Duration::from_secs(7);

/// So long after it nobody waits any more for the counters to say that all is well.
const PATIENCE: Duration = Duration::from_secs(12);

/// The same where the counters have not moved at all: the broker may collect them more seldom
/// (`collect_statistics_interval`).
const LONG_PATIENCE: Duration = Duration::from_secs(32);

/// What the broker has counted since the queue's process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub published: u64,
    /// Acknowledged, or sent to consumers that need not acknowledge.
    pub done: u64,
}

/// Of an empty queue: whether what was in it was consumed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// There was nothing.
    Nothing,
    /// The counters do not know it yet.
    Open,
    /// So many acknowledgements were counted, and nothing left otherwise.
    Done(u64),
    /// Something left otherwise; it can no longer be that all was consumed.
    Lost(String),
    Untold(String),
}

#[derive(Debug, Clone, Default)]
pub struct Leaving {
    /// The first look at the totals.
    first: Option<Duration>,
    /// Messages that are known to have been there: at first, seen to come, most at once.
    waiting: u64,
    arrived: u64,
    most: u64,
    total: Option<At<u64>>,
    /// When a look last found something else than the one before.
    moved: Option<Duration>,
    ready: Option<u64>,
    /// Most ready messages that a passive declare saw and no list has had yet: when last, how many,
    /// and how many had left by then.
    peak: Option<(Duration, u64, u64)>,
    /// Seen to have left, when last, and second by second for a while.
    left: u64,
    last_left: Option<Duration>,
    by_then: VecDeque<(Duration, u64)>,
    /// No consumer was seen when the last left.
    alone: bool,
    base: Option<At<Counters>>,
    /// What had left before the first counters were read.
    base_left: u64,
    base_settled: bool,
    counters: Option<At<Counters>>,
    changed: Option<Duration>,
    /// How many had left otherwise before the watch began, where that is known.
    before: Option<i64>,
    lost: u64,
    deleted: Option<(Duration, u64)>,
    /// The counters began anew, and had not told of so many.
    untold: u64,
    consumers: Option<u64>,
    attended: Option<Duration>,
    deserted: Option<Duration>,
    came: u32,
}

impl Leaving {
    /// A passive declare.
    pub fn declared(&mut self, ready: u64, consumers: u64, at: Duration) {
        if self.ready.is_some_and(|before| before != ready) {
            self.moved = Some(at);
        }
        self.ready = Some(ready);
        self.most = self.most.max(ready);
        if ready > 0 && self.peak.is_none_or(|(_, most, _)| ready >= most) {
            self.peak = Some((at, ready, self.left));
        }
        let before = self.consumers.replace(consumers);
        if before.is_some_and(|before| consumers < before) {
            self.deserted = Some(at);
        }
        if consumers > 0 {
            self.attended = Some(at);
            if before == Some(0) {
                self.came += 1;
            }
        }
    }

    /// Totals, asked for at `asked`: ready and unacked together.
    pub fn listed(&mut self, total: u64, asked: Duration, at: Duration, lag: Duration) {
        let before = self.total.map(|total| total.value);
        self.total = Some(At {
            at: asked,
            value: total,
        });
        if self.first.is_none() {
            self.first = Some(at);
            // A list that lags tells of another moment.
            self.waiting = if lag.is_zero() { total } else { 0 };
        }
        self.most = self.most.max(total);
        let mut fell = 0;
        if let Some(before) = before {
            fell = before.saturating_sub(total);
            if lag.is_zero() {
                self.arrived += total.saturating_sub(before);
            }
            if before != total {
                self.moved = Some(at);
            }
        }
        if let Some((when, most, left)) = self.peak
            && asked >= when + lag
        {
            // Seen ready, on no list, and not there any more.
            let since = self.left + fell - left;
            fell += most.saturating_sub(total).saturating_sub(since);
            self.peak = None;
        }
        if fell > 0 {
            self.left += fell;
            self.last_left = Some(at);
            let slack = lag + Duration::from_secs(1);
            self.alone = self.attended.is_none_or(|seen| seen + slack < at);
            match self.by_then.back_mut() {
                Some((when, left)) if at.saturating_sub(*when) < Duration::from_secs(1) => *left = self.left,
                _ => self.by_then.push_back((at, self.left)),
            }
        }
        self.settle_base(lag);
    }

    /// What had left when the first counters were read may be in them, or not: it is left out. Of the
    /// first list made after that on, all that leaves must be in later ones.
    fn settle_base(&mut self, lag: Duration) {
        if let (Some(base), Some(total), false) = (self.base, self.total, self.base_settled) {
            self.base_left = self.left;
            self.base_settled = total.at >= base.at + lag;
        }
    }

    /// The counters, read at `at`; `before`: how many had left otherwise in the past, if the broker's
    /// memory of the last minutes tells. `true`: they began anew.
    pub fn counted(&mut self, new: Counters, before: Option<i64>, at: Duration, lag: Duration) -> bool {
        let reading = At { at, value: new };
        let Some(last) = self.counters.replace(reading) else {
            self.base = Some(reading);
            self.settle_base(lag);
            self.before = before.or((new == Counters::default()).then_some(0));
            return false;
        };
        if new.published < last.value.published || new.done < last.value.done {
            self.begin_anew(at);
            return true;
        }
        if new != last.value {
            self.changed = Some(at);
        }
        let settled = |since: Option<Duration>, by: Duration| since.is_none_or(|since| at >= since + by);
        // Nothing has moved yet: what is missing was missing before.
        if self.before.is_none()
            && self.moved.is_none()
            && self.first.is_some()
            && settled(self.first, COUNTED_BY + lag)
            && let Some(total) = self.total
        {
            self.before = Some(balance(new, total.value));
        }
        self.lost = self.lost_by_then(at).unwrap_or(self.lost);
        let since = self.moved.or(self.first);
        if let (Some(before), Some(total), Some(since)) = (self.before, self.total, since)
            && total.at >= since + lag
            && at >= since + STATISTICS_LAG
            && settled(self.changed, COUNTED_BY)
        {
            let exactly = u64::try_from(balance(new, total.value) - before).unwrap_or(0);
            self.lost = self.lost.max(exactly);
        }
        false
    }

    /// What left long enough ago, and the counters do not know of.
    fn lost_by_then(&mut self, at: Duration) -> Option<u64> {
        let due = at.saturating_sub(STATISTICS_LAG);
        let mut known = None;
        while let Some((when, left)) = self.by_then.front().copied() {
            if when > due {
                break;
            }
            known = Some(left);
            self.by_then.pop_front();
        }
        let known = known?.saturating_sub(self.base_left);
        // Less would be late news: what is lost is not found again.
        Some(known.saturating_sub(self.done()))
    }

    /// Another queue of the same name, or the broker was started anew.
    fn begin_anew(&mut self, at: Duration) {
        self.untold += self.pending().max(self.total.map_or(0, |total| total.value));
        let zero = At {
            at,
            value: Counters::default(),
        };
        self.base = Some(zero);
        (self.base_left, self.base_settled) = (self.left, true);
        self.before = None;
        self.changed = Some(at);
        (self.waiting, self.arrived, self.most) = (0, 0, 0);
        self.by_then.clear();
    }

    /// The queue was deleted with so many messages in it, and may come again.
    pub fn deleted(&mut self, count: u64, at: Duration) {
        let (deleted, attended, came) = (self.deleted, self.attended, self.came);
        *self = Self {
            deleted: if count > 0 {
                Some((at, count + deleted.map_or(0, |(_, count)| count)))
            } else {
                deleted
            },
            untold: self.untold + self.pending(),
            attended,
            came,
            ..Self::default()
        };
    }

    /// Acknowledgements counted since the first counters were read.
    pub fn done(&self) -> u64 {
        match (self.base, self.counters) {
            (Some(base), Some(now)) => now.value.done.saturating_sub(base.value.done),
            _ => 0,
        }
    }

    /// Left, and no acknowledgement was counted for it (yet).
    fn pending(&self) -> u64 {
        let left = self.left.saturating_sub(self.base_left);
        left.saturating_sub(self.done())
    }

    /// What left without having been acknowledged, as far as is known.
    pub fn lost(&self) -> u64 {
        self.lost + self.deleted.map_or(0, |(_, count)| count)
    }

    /// Something left of which nobody knows (yet) that it was done.
    pub fn is_accounted_for(&self) -> bool {
        self.lost() == 0 && self.untold == 0 && self.pending() == 0
    }

    /// There ever was a message, as far as was seen.
    pub fn saw_any(&self) -> bool {
        self.most > 0
    }

    /// A consumer was lost since then: what was held may be ready again.
    pub fn was_deserted_since(&self, since: Duration) -> bool {
        self.deserted.is_some_and(|at| at >= since)
    }

    /// When a consumer was last seen, and how often one came while the watch looked on.
    pub fn attended(&self) -> Option<(Duration, u32)> {
        Some((self.attended?, self.came))
    }

    /// What left since it was last seen to, and is not known to be done.
    pub fn fate(&self, now: Duration, place: &str, flows: bool, counts: bool) -> Option<String> {
        let ago = |at: Duration| seconds(now.saturating_sub(at));
        let mut texts = Vec::new();
        if let Some((at, count)) = self.deleted {
            texts.push(format!(
                "{count} {} deleted with the queue{place} {} ago",
                was(count),
                ago(at)
            ));
        }
        if self.lost > 0 {
            let more = match self.pending().saturating_sub(self.lost) {
                more if more > 0 && !flows => {
                    format!(
                        "; of {more} more the statistics tell up to {} later",
                        seconds(STATISTICS_LAG)
                    )
                }
                _ => String::new(),
            };
            texts.push(format!(
                "{} left{place} without being acknowledged: expired, purged, dropped or rejected{more}",
                self.lost
            ));
        } else if let Some(at) = self.last_left
            && self.pending() > 0
            && !flows
        {
            let while_alone = if self.alone {
                " while no consumer was seen"
            } else {
                ""
            };
            let until = if counts {
                format!(
                    "the statistics tell which, up to {} later",
                    seconds(STATISTICS_LAG)
                )
            } else {
                "no statistics tell which".to_owned()
            };
            texts.push(format!(
                "{} left{place}{while_alone}, the last {} ago: done, expired, purged, dropped or rejected; {until}",
                self.pending(),
                ago(at)
            ));
        }
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    /// Whether what was in the queue was consumed. Asked of a queue that is empty now.
    pub fn outcome(&self, now: Duration) -> Outcome {
        if let Some((_, count)) = self.deleted {
            return Outcome::Lost(format!("{count} {} deleted with the queue", was(count)));
        }
        if self.untold > 0 {
            return Outcome::Untold(
                "the broker's counters began anew (the queue or the broker was), so it cannot be told what became of what was there"
                    .into(),
            );
        }
        let done = self.done();
        let known = self.most.max(self.left).max(self.waiting + self.arrived);
        let published = match (self.base, self.counters) {
            (Some(base), Some(now)) => now.value.published.saturating_sub(base.value.published),
            _ => 0,
        };
        if known == 0 && done == 0 && published == 0 {
            return Outcome::Nothing;
        }
        let since = self.moved.or(self.first).unwrap_or_default();
        let patient = |patience: Duration| now < since + patience;
        let Some(reading) = self.counters else {
            if patient(PATIENCE) {
                return Outcome::Open;
            }
            return Outcome::Untold("the broker gives no statistics of it, so it cannot be told whether what was there was consumed".into());
        };
        if reading.at < since + COUNTED_BY {
            // They may have stopped coming.
            return if patient(LONG_PATIENCE) {
                Outcome::Open
            } else {
                Outcome::Untold("the broker's statistics have stopped coming, so it cannot be told whether what was there was consumed".into())
            };
        }
        let missing = balance(reading.value, 0);
        let knows_publishes = published >= self.arrived;
        let phases_agree = self.changed.is_none_or(|at| reading.at >= at + COUNTED_BY);
        let patience = if self.changed.is_some() && knows_publishes {
            PATIENCE
        } else {
            LONG_PATIENCE
        };
        match self.before {
            Some(before) if missing == before && done > 0 && knows_publishes => Outcome::Done(done),
            // Others than publishers put messages there: what was seen must have been done.
            Some(before) if missing <= before && done >= known && phases_agree => Outcome::Done(done),
            None if missing <= 0 && done >= known && phases_agree => Outcome::Done(done),
            _ if patient(patience) || !phases_agree => Outcome::Open,
            Some(before) if missing > before => {
                let lost = (missing - before).unsigned_abs();
                Outcome::Lost(format!(
                    "{lost} left without being acknowledged (expired, purged, dropped or rejected), {done} {} acknowledged",
                    was(done)
                ))
            }
            None if missing > 0 => {
                let why = "messages came or went just before the watch began, which the statistics tell later: start the watch earlier";
                Outcome::Untold(format!(
                    "{done} {} acknowledged, but whether all were cannot be told: {why}",
                    was(done)
                ))
            }
            _ => Outcome::Lost(format!(
                "of {known} at least that were there {done} {} acknowledged",
                was(done)
            )),
        }
    }
}

/// How many left otherwise since the counters began: less than zero where messages came that nobody
/// published (dead letters of another queue, or what was there when the broker started).
pub fn balance(counters: Counters, total: u64) -> i64 {
    let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    signed(counters.published) - signed(counters.done) - signed(total)
}

fn was(count: u64) -> &'static str {
    if count == 1 { "was" } else { "were" }
}
