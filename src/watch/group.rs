//! A queue with its companions: one row, and all that its state rests on.

mod figures;

use std::time::Duration;

use super::ledger::{Ledger, Outcome};
use super::observation::{
    Counts, Details, Kind, Listed, Listing, STATISTICS_HOLD, STATISTICS_LAG, Stats, Timed,
};
use super::queue::{Figure, Queue, Totals};
use super::selector::Role;
use super::series::{PAUSE, SampleTime, Series};
pub use figures::Quantity;

/// So long is what has moved remembered as moving.
pub const RECENT: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub struct QueueGroup {
    pub main: Queue,
    pub delay: Queue,
    pub dead: Queue,
    /// Boxed: of ten thousand queues a few have them.
    pub details: Option<Box<Timed<Details>>>,
    /// Since when its counters and consumers have been read.
    details_since: Option<Duration>,
    /// Where the queue's messages went, and its delay queue's.
    pub ledger: Ledger,
    pub delay_ledger: Ledger,
    /// Ready messages.
    trend: Series<u64>,
    /// Unacked messages.
    pub held: Series<bool>,
    /// Messages that were held and are gone: acknowledged, rejected, or returned and expired.
    finished: Series<u64>,
    /// Dead letters that are accounted for, ready or held by somebody who looks at them; and those that
    /// were seen to come.
    letters: Series<u64>,
    pub new_letters: Series<u64>,
    /// Nothing ready, unacked or delayed.
    empty: Series<bool>,
}

impl QueueGroup {
    pub fn queue(&self, role: Role) -> &Queue {
        match role {
            Role::Main => &self.main,
            Role::Delay => &self.delay,
            Role::DeadLetter => &self.dead,
        }
    }

    fn queue_mut(&mut self, role: Role) -> &mut Queue {
        match role {
            Role::Main => &mut self.main,
            Role::Delay => &mut self.delay,
            Role::DeadLetter => &mut self.dead,
        }
    }

    /// What a passive declare said.
    pub fn declared(&mut self, role: Role, counts: Option<Counts>, at: Duration) {
        let look = SampleTime::exact(at);
        let queue = self.queue_mut(role);
        let known = queue.last_known();
        queue.declared(counts, look);
        if let Some(counts) = counts {
            match role {
                Role::Main => {
                    self.ledger.declared(counts, look);
                    self.trend.push_peak(counts.ready, look);
                }
                Role::Delay => self.delay_ledger.declared(counts, look),
                // Before the first list it is not known how many somebody holds.
                Role::DeadLetter if self.dead.totals.latest().is_some() || self.dead.is_unlisted => {
                    self.saw_letters(counts.ready, look);
                }
                Role::DeadLetter => {}
            }
            if counts.ready > 0 && role != Role::DeadLetter {
                self.empty.clear();
            }
        } else {
            match role {
                Role::Main => self.begin_anew(known, at),
                Role::Delay => self.delay_ledger.delete(known, at),
                Role::DeadLetter => self.letters.push(0, look),
            }
        }
    }

    pub fn refused(&mut self, role: Role, reason: String) {
        self.queue_mut(role).refused(reason);
    }

    pub fn is_down(&mut self, role: Role, why: String) {
        self.queue_mut(role).is_down(why);
        if role == Role::Main {
            self.held.clear();
            self.trend.clear();
        }
        self.empty.clear();
    }

    /// The queue is another one from now on, and the last one was deleted with so many messages.
    fn begin_anew(&mut self, count: u64, at: Duration) {
        self.ledger.delete(count, at);
        self.main.unattended.clear();
        let last = std::mem::take(self);
        *self = Self {
            main: last.main,
            delay: last.delay,
            dead: last.dead,
            ledger: last.ledger,
            delay_ledger: last.delay_ledger,
            letters: last.letters,
            new_letters: last.new_letters,
            ..Self::default()
        };
    }

    /// What the list of totals said; `None`: it is complete, and this queue is not on it.
    pub fn listed(&mut self, role: Role, listed: Option<&Listed>, listing: &Listing, at: Duration) {
        let queue = self.queue_mut(role);
        if queue.is_newer_than_list(listing.asked) {
            return;
        }
        let Some(&Listed {
            kind, ready, unacked, ..
        }) = listed
        else {
            return queue.not_listed();
        };
        let look = SampleTime {
            // It was counted some time after it was asked for: no older than that.
            asked: listing.asked,
            at,
            lag: kind.lag(),
        };
        let (known, before) = (queue.total(), queue.totals.latest());
        let totals = Totals { ready, unacked };
        let is_another = queue.listed(totals, kind, look);
        let total = queue.total();
        if is_another && role == Role::Main {
            self.begin_anew(known.unwrap_or_default(), at);
        }
        match role {
            // Its counts say nothing of where messages went.
            Role::Main if kind == Kind::Stream => self.ledger = Ledger::default(),
            Role::Main => {
                if let Some(before) = before.filter(|_| !is_another)
                    && finished(before.value, totals)
                    // Returned by a consumer that died, and expired at once, it would look the same.
                    && self.main.was_declared_within(PAUSE, at)
                    && !self.ledger.lost_a_consumer_since(before.at.saturating_sub(look.lag))
                {
                    self.finished.add(1, at);
                }
                if let Some(total) = total {
                    self.ledger.listed(total, look);
                }
                if let Some(unacked) = unacked {
                    self.held.push(unacked > 0, look);
                }
                if let (false, Some(ready)) = (self.main.is_declared, ready) {
                    self.trend.push_peak(ready, look);
                }
                // The companions' totals of the same look came before.
                let is_empty = self.main.exists == Some(true)
                    && self.main.has_nothing()
                    && (self.delay.exists.is_none() || self.delay.has_nothing());
                self.empty.push(is_empty, look);
            }
            Role::Delay => {
                if let Some(total) = total {
                    self.delay_ledger.listed(total, look);
                }
            }
            Role::DeadLetter => {
                if let Some(total) = total {
                    self.letters_listed(total, look);
                }
            }
        }
    }

    fn letters_listed(&mut self, total: u64, look: SampleTime) {
        match self.letters.latest() {
            // Some have really left.
            Some(known) if total < known.value && look.asked > known.at + look.lag => {
                self.letters.push(total, look);
            }
            _ if look.lag.is_zero() => self.saw_letters(total, look),
            _ => {}
        }
    }

    /// So many dead letters are there. More than ever accounted for are new; fewer may be in
    /// somebody's hands, until totals say that they are gone.
    fn saw_letters(&mut self, count: u64, look: SampleTime) {
        let known = self.letters.latest().map_or(count, |known| known.value);
        if count > known {
            self.new_letters.add(count - known, look.at);
        }
        if count >= known {
            self.letters.push(count, look);
        }
    }

    /// What the statistics said: counted when it was asked for, or before.
    pub fn detailed(&mut self, role: Role, details: Details) {
        let lag = self.queue(role).kind.lag();
        // Where they are on and say nothing, nothing was counted; where they are off, nobody counts.
        let is_on = details.is_on();
        match role {
            Role::Main => {
                if is_on && self.ledger.counted(&details, lag) {
                    self.finished.clear();
                }
                let at = details.asked;
                if is_on {
                    self.details_since.get_or_insert(at);
                }
                self.details = Some(Box::new(Timed { at, value: details }));
            }
            Role::Delay if is_on => drop(self.delay_ledger.counted(&details, lag)),
            Role::Delay | Role::DeadLetter => {}
        }
    }

    pub fn amqp_lost(&mut self) {
        for queue in [&mut self.main, &mut self.delay, &mut self.dead] {
            queue.amqp_lost();
        }
        self.empty.clear();
    }

    pub fn management_lost(&mut self) {
        for queue in [&mut self.main, &mut self.delay, &mut self.dead] {
            queue.management_lost();
        }
        self.details = None;
        self.held.clear();
        self.empty.clear();
    }
}

/// Something that was held is neither held nor ready any more.
fn finished(before: Totals, after: Totals) -> bool {
    match (before.unacked, after.unacked, before.ready, after.ready) {
        (Some(held), Some(holds), Some(was_ready), Some(ready)) => {
            held.saturating_sub(holds) > ready.saturating_sub(was_ready)
        }
        _ => false,
    }
}

/// What it means.
impl QueueGroup {
    /// The statistics, while they are looked at.
    pub fn stats(&self, now: Duration) -> Option<Timed<Stats>> {
        let seen = self.current_details(now)?;
        let (at, value) = (seen.at, seen.value.stats?);
        Some(Timed { at, value })
    }

    /// When the broker's counts of what happens to this queue were last read; `None`: it does not count.
    pub fn counts(&self, now: Duration) -> Option<Duration> {
        let seen = self.current_details(now)?;
        seen.value.is_on().then_some(seen.at)
    }

    fn current_details(&self, now: Duration) -> Option<&Timed<Details>> {
        let seen = self.details.as_deref()?;
        (now.saturating_sub(seen.at) <= STATISTICS_HOLD).then_some(seen)
    }

    /// When a message that was held was last seen to be gone; not if the counters deny that it was acknowledged:
    /// they have not risen since the first that they do not know of, although they should know it.
    pub fn finished(&self, now: Duration) -> Option<Duration> {
        let last = self.finished.last().filter(|at| is_recent(*at, now))?;
        let [counted, _] = self.ledger.counted_at();
        let unknown = self.finished.newest_first().map(|sample| sample.since);
        let first = unknown
            .take_while(|at| counted.is_none_or(|counted| *at > counted))
            .last();
        let is_denied = self
            .ledger
            .read()
            .zip(first)
            .is_some_and(|((_, read), first)| read >= first + STATISTICS_LAG);
        (!is_denied).then_some(last)
    }

    /// Whether the statistics count messages as done, lately enough to be done lately: risen twice; or once,
    /// while messages were there, and not as late news of what was before the watch.
    pub fn is_counted_on(&self, now: Duration) -> bool {
        let within = |at: Option<Duration>, most| at.is_some_and(|at| now.saturating_sub(at) <= most);
        let [last, before] = self.ledger.counted_at();
        let (taken, taken_at) = self.ledger.taken();
        let is_news = || {
            let first = self.ledger.read().map(|(first, _)| first + STATISTICS_LAG);
            last >= first || (taken > 0 && taken >= self.ledger.done())
        };
        let is_there = || {
            let holds = |figure: Figure| figure.value().is_some_and(|value| value > 0);
            within(taken_at, RECENT) || holds(self.main.ready(now)) || holds(self.main.unacked(now))
        };
        let twice = within(before, 2 * STATISTICS_LAG);
        within(last, STATISTICS_LAG) && (twice || (is_news() && is_there()))
    }

    /// Since when nothing of what is held was seen to be done.
    pub fn held_since(&self) -> Option<Duration> {
        let [counted, _] = self.ledger.counted_at();
        let done = self.finished.last().max(counted).unwrap_or_default();
        Some(self.held.since()?.max(done))
    }

    /// The ready messages of some seconds ago, as far as there were some all the time since.
    pub fn ready_before(&self, now: Duration) -> Option<Timed<u64>> {
        let then = now.saturating_sub(RECENT);
        let looks = self.trend.newest_first();
        let first = looks
            .take_while(|seen| seen.value > 0 && seen.at >= then)
            .last()?;
        let (at, value) = (first.since.max(then), first.value);
        Some(Timed { at, value })
    }

    /// A look within the last seconds found nothing ready.
    pub fn had_none_ready(&self, now: Duration) -> bool {
        let mut looks = self.trend.newest_first();
        looks.any(|seen| seen.value == 0 && is_recent(seen.at, now))
    }

    /// Nothing ready, unacked or delayed: in two looks one after the other, because a message moves
    /// between the queues of one look; over more than the lag where the totals lag.
    pub fn is_empty(&self, now: Duration) -> bool {
        let lags = self.main.lags() || (self.delay.exists == Some(true) && self.delay.lags());
        let known = self
            .main
            .totals
            .latest()
            .map_or(Duration::ZERO, |totals| totals.at.min(now));
        self.empty.latest().is_some_and(|empty| {
            let is_old = known.saturating_sub(empty.since) > Kind::Quorum.lag() + Duration::from_secs(1);
            empty.value && empty.looks >= 2 && (!lags || is_old)
        })
    }

    /// Whether what was in the queues was consumed. Asked while they are empty.
    pub fn outcomes(&self, now: Duration) -> [Outcome; 2] {
        if self.main.kind == Kind::Stream {
            let why = "a stream keeps its messages, so nothing of it is ever consumed";
            return [Outcome::Undecided(why.into()), Outcome::Nothing];
        }
        [self.ledger.outcome(now), self.delay_ledger.outcome(now)]
    }

    /// All that left is known to be done.
    pub fn is_accounted_for(&self) -> bool {
        self.ledger.is_accounted_for() && self.delay_ledger.is_accounted_for()
    }

    /// What left, and is not known to be done.
    pub fn unaccounted(&self, now: Duration, flows: bool) -> Option<String> {
        let is_early = self.details.is_none() && now < STATISTICS_HOLD;
        let counts = self.counts(now).is_some() || is_early;
        let of = |ledger: &Ledger, queue: &Queue, place| {
            ledger.unaccounted(now, place, queue.kind.lag(), flows, counts)
        };
        let texts = [
            of(&self.ledger, &self.main, ""),
            of(&self.delay_ledger, &self.delay, " the delay queue"),
        ];
        texts
            .into_iter()
            .flatten()
            .reduce(|all, more| format!("{all}; {more}"))
    }
}

pub fn is_recent(at: Duration, now: Duration) -> bool {
    now.saturating_sub(at) <= RECENT
}
