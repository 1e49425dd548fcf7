//! One physical queue: what each probe has said of it, and what that is worth now.

use std::time::Duration;

use super::observation::{Counts, Kind};
use super::series::{Sample, SampleTime, Series};

/// A passive declare is repeated many times a second; one that is older has stopped.
const DECLARE_HOLDS: Duration = Duration::from_secs(3);

#[derive(Debug, Default)]
pub struct Queue {
    pub kind: Kind,
    /// `None`: not looked yet.
    pub exists: Option<bool>,
    /// When a passive declare found nothing.
    missing: Option<Duration>,
    /// Passive declares are made, and answered.
    pub is_declared: bool,
    counts: Series<Counts>,
    /// Ready messages and no consumer.
    pub unattended: Series<bool>,
    /// Why there are no counts.
    refused: Option<String>,
    /// Why it cannot be used now: its node is down, say.
    pub down: Option<String>,
    pub totals: Series<Totals>,
    /// The management API, which alone tells of what kind it is, does not answer.
    pub is_unlisted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    pub ready: Option<u64>,
    pub unacked: Option<u64>,
}

impl Totals {
    fn sum(self) -> Option<u64> {
        Some(self.ready? + self.unacked?)
    }
}

/// A number with its age, or why there is none.
#[derive(Debug, Clone, PartialEq)]
pub enum Figure {
    /// `age` is the most that it can be.
    Known {
        value: u64,
        age: Duration,
    },
    Unknown(String),
    /// There is nothing that could be counted: the companion does not exist.
    None,
}

impl Figure {
    pub fn value(&self) -> Option<u64> {
        match self {
            Figure::Known { value, .. } => Some(*value),
            Figure::Unknown(_) | Figure::None => None,
        }
    }

    pub fn age(&self) -> Duration {
        match self {
            Figure::Known { age, .. } => *age,
            Figure::Unknown(_) | Figure::None => Duration::ZERO,
        }
    }

    fn of<T>(sample: Sample<T>, lag: Duration, value: u64, now: Duration) -> Self {
        let age = (now + lag).saturating_sub(sample.at);
        Figure::Known { value, age }
    }
}

impl Queue {
    /// What a passive declare said.
    pub fn declared(&mut self, counts: Option<Counts>, look: SampleTime) {
        (self.refused, self.down) = (None, None);
        (self.exists, self.is_declared) = (Some(counts.is_some()), counts.is_some());
        self.missing = counts.is_none().then_some(look.at);
        if let Some(counts) = counts {
            self.counts.push(counts, look);
            let is_unattended = counts.ready > 0 && counts.consumers == 0;
            self.unattended.push_unbroken(is_unattended, look);
        } else {
            self.counts.clear();
            self.totals.clear();
            self.unattended.clear();
        }
    }

    /// The broker answered, and the answer cannot be used.
    pub fn refused(&mut self, reason: String) {
        (self.exists, self.down) = (Some(true), None);
        self.refused = Some(reason);
    }

    /// The broker says that it is down: what was known of it is not true of now.
    pub fn is_down(&mut self, why: String) {
        self.refused(format!("the queue is down: {why}"));
        self.down = Some(why);
        self.is_declared = false;
        self.totals.clear();
        self.unattended.clear();
    }

    /// A list that was asked for then says nothing new of it.
    pub fn is_newer_than_list(&self, asked: Duration) -> bool {
        self.missing.is_some_and(|missing| missing >= asked) || self.down.is_some()
    }

    /// It is not on a complete list. A passive declare is younger than any list.
    pub fn not_listed(&mut self) {
        if !self.is_declared {
            self.exists = Some(false);
            self.totals.clear();
            self.counts.clear();
        }
    }

    /// Its totals. `true`: a queue of another kind is another queue.
    pub fn listed(&mut self, totals: Totals, kind: Kind, look: SampleTime) -> bool {
        let was = std::mem::replace(&mut self.kind, kind);
        self.is_unlisted = false;
        self.exists = self.exists.filter(|_| self.is_declared).or(Some(true));
        self.totals.push(totals, look);
        was != kind && was != Kind::Unknown && kind != Kind::Unknown
    }

    pub fn amqp_lost(&mut self) {
        self.is_declared = false;
        // Whoever comes and goes meanwhile is not seen.
        self.unattended.clear();
    }

    pub fn management_lost(&mut self) {
        self.totals.clear();
        self.is_unlisted = true;
    }

    /// Ready messages: the passive declare's answer while it holds, then whichever of the two is
    /// younger, so that nothing that was shown is replaced by what was before.
    pub fn ready(&self, now: Duration) -> Figure {
        if let Some(seen) = self.answer(now) {
            return Figure::of(seen, Duration::ZERO, seen.value.ready, now);
        }
        let listed = self.totals.latest();
        let Some((listed, ready)) = listed.and_then(|listed| Some((listed, listed.value.ready?))) else {
            return self.unknown("not looked yet");
        };
        let lag = self.kind.lag();
        match self.counts.latest() {
            Some(seen) if seen.at + lag > listed.at => {
                Figure::of(seen, Duration::ZERO, seen.value.ready, now)
            }
            _ => Figure::of(listed, lag, ready, now),
        }
    }

    pub fn consumers(&self, now: Duration) -> Figure {
        let Some(seen) = self.answer(now) else {
            return self.unknown("only a passive declare tells it, and none was answered lately");
        };
        match seen.value.consumers {
            _ if self.kind == Kind::Stream => {
                Figure::Unknown("a passive declare does not tell a stream's consumers".into())
            }
            0 if self.may_be_a_stream() => Figure::Unknown(
                "not known yet whether it is a stream, whose consumers are not counted".into(),
            ),
            consumers => Figure::of(seen, Duration::ZERO, consumers, now),
        }
    }

    pub fn unacked(&self, now: Duration) -> Figure {
        let listed = self.totals.latest();
        match listed.map(|listed| (listed, listed.value.unacked)) {
            Some((listed, Some(unacked))) => Figure::of(listed, self.kind.lag(), unacked, now),
            Some(_) => Figure::Unknown("the broker has not counted this queue yet".into()),
            None => Figure::Unknown("the management API has not told it".into()),
        }
    }

    /// Ready and unacked together, from one look.
    pub fn total(&self) -> Option<u64> {
        self.totals.latest()?.value.sum()
    }

    /// How many are known to have been there, by either probe.
    pub fn last_known(&self) -> u64 {
        let seen = self.counts.latest().filter(|_| self.is_declared);
        let ready = seen.map_or(0, |seen| seen.value.ready);
        self.total().unwrap_or_default().max(ready)
    }

    /// Neither its totals nor the last passive declare found anything.
    pub fn has_nothing(&self) -> bool {
        self.exists == Some(false) || (self.total() == Some(0) && self.last_known() == 0)
    }

    /// Nothing has told of what kind it is, and something is about to.
    pub fn may_be_a_stream(&self) -> bool {
        self.kind == Kind::Unknown && !self.is_unlisted
    }

    /// Ready messages as of this moment, not of a list that lags.
    pub fn knows_ready(&self, now: Duration) -> bool {
        !self.lags() || self.answer(now).is_some()
    }

    /// The answer to a passive declare, while it holds.
    fn answer(&self, now: Duration) -> Option<Sample<Counts>> {
        let is_current = self.is_declared && self.refused.is_none();
        let answer = self.counts.latest_not_older_than(DECLARE_HOLDS, now);
        answer.filter(|_| is_current)
    }

    pub fn was_declared_within(&self, age: Duration, now: Duration) -> bool {
        let answer = self.counts.latest_not_older_than(age, now);
        self.is_declared && answer.is_some()
    }

    pub fn lags(&self) -> bool {
        !self.kind.lag().is_zero()
    }

    fn unknown(&self, why: &str) -> Figure {
        Figure::Unknown(self.refused.clone().unwrap_or_else(|| why.to_owned()))
    }
}
