//! What became of the messages of one queue: acknowledged, or gone otherwise, or not known (yet).
//!
//! A total that falls says only that messages are no longer there: done, expired, purged, dropped
//! where a queue is full, or rejected. That a consumer is there does not change that. What decides is
//! the broker's count of acknowledgements, and the balance: published, less acknowledged, less what is
//! there, is the number of messages that left otherwise, as soon as all three are of the same moment.
//! The counters are collected every 5 s (3.10.8, 4.0.5: read from the single queue, they were at most
//! 5.0 s late, and those of publishes and of acknowledgements are collected at different moments).

mod account;

use std::time::Duration;

use super::observation::{Counts, Details, STATISTICS_HOLD, STATISTICS_LAG, Timed};
use super::series::{SampleTime, Series};
pub use account::Outcome;

/// Counters read so long after the last movement know all of it, with the default interval.
pub const COUNTED_BY: Duration = Duration::from_secs(7);

/// What the broker has counted since the queue's process started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counters {
    published: u64,
    /// Acknowledged, or sent to consumers that need not acknowledge.
    done: u64,
}

impl Counters {
    /// How many left otherwise since the counters began: less than zero where messages came that nobody
    /// published (dead letters of another queue, or what was there when the broker started).
    fn missing(self, there: u64) -> i64 {
        let signed = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        signed(self.published) - signed(self.done) - signed(there)
    }
}

#[derive(Debug, Clone, Default)]
pub struct Ledger {
    /// By passive declares: ready messages, and how many of them were seen to be taken (or to leave).
    ready: Series<u64>,
    taken: Series<u64>,
    consumers: Series<u64>,
    /// When a consumer was last seen, and how often one came where none was.
    attended: Option<Duration>,
    arrivals: u32,
    /// By the totals, ready and unacked together; and more, where a passive declare saw more.
    there: Series<u64>,
    /// When a passive declare last saw more than any list.
    raised: Option<Duration>,
    /// Messages that are known to have been there: at first, seen to come, most at once.
    waiting: u64,
    arrived: u64,
    most: u64,
    left: Series<u64>,
    counters: Series<Counters>,
    /// The first counters; whether messages were being done then; what had left that they may know of.
    base: Option<Timed<Counters>>,
    was_moving: bool,
    base_left: Option<u64>,
    /// How many had left otherwise before the watch began, where that is known.
    missing_before: Option<i64>,
    /// Known to have left without an acknowledgement; in the queue when it was deleted.
    lost: u64,
    deleted: Series<u64>,
    /// The counters began anew, and had not told of so many.
    forgotten: u64,
}

impl Ledger {
    /// A passive declare.
    pub fn declared(&mut self, counts: Counts, look: SampleTime) {
        let before = self.ready.latest().map_or(0, |seen| seen.value);
        if counts.ready < before {
            self.taken.add(before - counts.ready, look.at);
        }
        let had_none = self.consumers.latest().is_some_and(|seen| seen.value == 0);
        self.arrivals += u32::from(had_none && counts.consumers > 0);
        if counts.consumers > 0 {
            self.attended = Some(look.at);
        }
        self.ready.push(counts.ready, look);
        self.consumers.push(counts.consumers, look);
        self.most = self.most.max(counts.ready);
        if let Some(there) = self.there.latest()
            && counts.ready > there.value
        {
            self.arrived += counts.ready - there.value;
            self.there.push(counts.ready, look);
            self.raised = Some(look.at);
        }
    }

    /// Totals: ready and unacked together.
    pub fn listed(&mut self, total: u64, look: SampleTime) {
        if self.there.latest().is_none() {
            let first = total.max(self.most);
            // A list that lags tells of another moment.
            self.waiting = if look.lag.is_zero() { first } else { 0 };
            self.raised = (first > total).then_some(look.asked);
            self.there.push(first, look);
        }
        let before = self.there.latest().map_or(total, |there| there.value);
        // A list that may have been made before a passive declare lacks what that one saw.
        if total < before && self.raised.is_some_and(|at| look.asked < at + look.lag) {
            return;
        }
        self.raised = None;
        self.most = self.most.max(total);
        self.arrived += total.saturating_sub(before);
        if total < before {
            self.left.add(before - total, look.at);
        }
        self.there.push(total, look);
        self.settle_base(look.lag);
    }

    /// What had left when the first counters were read may be in them, or not: it is left out. Of the
    /// first list made after that on, all that leaves must be in later ones.
    fn settle_base(&mut self, lag: Duration) {
        if let (Some(base), Some(there), None) = (self.base, self.there.latest(), self.base_left)
            && there.at >= base.at + lag
        {
            self.base_left = Some(self.left.sum());
        }
    }

    /// The counters, from a queue whose totals are so late. `true`: they began anew.
    pub fn counted(&mut self, details: &Details, lag: Duration) -> bool {
        let at = details.asked;
        let stats = details.stats.unwrap_or_default();
        // What is looked at and has no counter has counted nothing.
        let value = Counters {
            published: stats.published.unwrap_or_default(),
            done: stats.done.unwrap_or_default(),
        };
        let Some(last) = self.counters.latest() else {
            self.counters.push(value, SampleTime::exact(at));
            self.base = Some(Timed { at, value });
            self.was_moving = stats.ack_rate.is_some_and(|rate| rate > 0.0);
            self.settle_base(lag);
            let is_new = value == Counters::default();
            self.missing_before = details.lost_before.or(is_new.then_some(0));
            return false;
        };
        if value.published < last.value.published || value.done < last.value.done {
            self.begin_anew(at);
            self.counters.push(value, SampleTime::exact(at));
            return true;
        }
        self.counters.push(value, SampleTime::exact(at));
        // What left long enough ago, and they do not know of.
        let due = |read: Duration| self.left.value_by(read.saturating_sub(STATISTICS_LAG));
        if due(at) != due(last.at) {
            self.lost = self.unconfirmed(due(at).unwrap_or_default());
        }
        // Nothing has moved yet: what is missing was missing before.
        if self.missing_before.is_none() && self.moved().is_none() {
            self.missing_before = self.balance_at_rest(COUNTED_BY, lag);
        }
        if let (Some(before), Some(missing)) =
            (self.missing_before, self.balance_at_rest(STATISTICS_LAG, lag))
        {
            self.lost = self.lost.max(u64::try_from(missing - before).unwrap_or(0));
        }
        false
    }

    /// How many have left otherwise, once nothing has moved for so long that totals and counters tell of the
    /// same moment.
    fn balance_at_rest(&self, counted_by: Duration, lag: Duration) -> Option<i64> {
        let (there, read) = (self.there.latest()?, self.counters.latest()?);
        let moved = self.at_rest_since();
        let is_at_rest =
            there.at >= moved.max(read.since) + lag && read.at >= moved + counted_by && self.is_in_phase();
        is_at_rest.then(|| read.value.missing(there.value))
    }

    /// Publishes and acknowledgements are collected at different moments: only some time after they last
    /// changed do they tell of the same one.
    fn is_in_phase(&self) -> bool {
        let Some(read) = self.counters.latest() else {
            return false;
        };
        self.counters
            .changed()
            .is_none_or(|changed| read.at >= changed + COUNTED_BY)
    }

    /// When a look last found something else than the one before.
    fn moved(&self) -> Option<Duration> {
        self.there.changed().max(self.ready.changed())
    }

    fn at_rest_since(&self) -> Duration {
        let first = self.there.latest().map(|there| there.since);
        self.moved().or(first).unwrap_or_default()
    }

    /// Another queue of the same name, or the broker was started anew.
    fn begin_anew(&mut self, at: Duration) {
        let value = Counters::default();
        self.forgotten += self
            .pending()
            .max(self.there.latest().map_or(0, |there| there.value));
        self.counters.clear();
        self.base = Some(Timed { at, value });
        self.base_left = Some(0);
        (self.was_moving, self.missing_before) = (false, None);
        (self.waiting, self.arrived, self.most) = (0, 0, 0);
        self.left.clear();
    }

    /// The queue was deleted with so many messages in it, and may come again.
    pub fn delete(&mut self, count: u64, at: Duration) {
        let forgotten = self.forgotten + self.pending();
        let mut deleted = std::mem::take(&mut self.deleted);
        if count > 0 {
            deleted.add(count, at);
        }
        *self = Self {
            deleted,
            forgotten,
            attended: self.attended,
            arrivals: self.arrivals,
            ..Self::default()
        };
    }

    /// Acknowledgements counted since the first counters were read.
    pub fn done(&self) -> u64 {
        match (self.base, self.counters.latest()) {
            (Some(base), Some(now)) => now.value.done.saturating_sub(base.value.done),
            _ => 0,
        }
    }

    fn published(&self) -> u64 {
        match (self.base, self.counters.latest()) {
            (Some(base), Some(now)) => now.value.published.saturating_sub(base.value.published),
            _ => 0,
        }
    }

    /// When the first counters were read, and the last ones.
    pub fn read(&self) -> Option<(Duration, Duration)> {
        Some((self.base?.at, self.counters.latest()?.at))
    }

    /// When acknowledgements were seen to be counted, the last time and the time before. They happened up
    /// to [`STATISTICS_LAG`] earlier.
    pub fn counted_at(&self) -> [Option<Duration>; 2] {
        let at_first = self.base.filter(|_| self.was_moving).map(|base| base.at);
        let rose = self.counters.steps(|before, after| {
            // After a longer pause nobody knows when.
            after.value.done > before.value.done && after.since <= before.at + STATISTICS_HOLD
        });
        let mut times = rose.chain(at_first);
        [times.next(), times.next()]
    }

    /// Of so many that left: those of which no acknowledgement was counted.
    fn unconfirmed(&self, left: u64) -> u64 {
        let known = self.base_left.unwrap_or_else(|| self.left.sum());
        left.saturating_sub(known).saturating_sub(self.done())
    }

    /// Left, and no acknowledgement was counted for it (yet).
    fn pending(&self) -> u64 {
        self.unconfirmed(self.left.sum())
    }

    /// What left without having been acknowledged, as far as is known.
    pub fn lost(&self) -> u64 {
        self.lost + self.deleted.sum()
    }

    /// All that left is known to be done.
    pub fn is_accounted_for(&self) -> bool {
        self.lost() == 0 && self.forgotten == 0 && self.pending() == 0
    }

    /// There ever was a message, as far as was seen.
    pub fn saw_any(&self) -> bool {
        self.most > 0
    }

    /// Ready messages that were seen to be taken, or to leave: how many, and when last.
    pub fn taken(&self) -> (u64, Option<Duration>) {
        (self.taken.sum(), self.taken.last())
    }

    /// A consumer was lost since then: what was held may be ready again.
    pub fn lost_a_consumer_since(&self, then: Duration) -> bool {
        let mut lost = self.consumers.steps(|before, after| after.value < before.value);
        lost.next().is_some_and(|at| at >= then)
    }

    pub fn consumer_came(&self) -> Option<Duration> {
        let mut came = self.consumers.steps(|before, after| after.value > before.value);
        came.next()
    }

    /// When a consumer was last seen, and how often one came while the watch looked on.
    pub fn attended(&self) -> Option<(Duration, u32)> {
        Some((self.attended?, self.arrivals))
    }
}
