//! A queue with its companions: the last look of each eye, and what has moved since when.

use std::collections::VecDeque;
use std::time::Duration;

use super::leaving::{Leaving, would_have_told};
use super::pick::Role;
use super::sight::{Consumer, Counts, Details, Kind, Listed, Listing, STATISTICS_LAG, Stats};
use super::state::seconds;

/// So long is what has moved remembered as moving.
pub const RECENT: Duration = Duration::from_secs(10);

/// A passive declare is repeated many times a second; one that is older has stopped.
const DECLARE_HOLDS: Duration = Duration::from_secs(3);

/// One physical queue.
#[derive(Debug, Default)]
pub struct Queue {
    pub kind: Kind,
    /// `None`: not looked yet.
    pub exists: Option<bool>,
    /// When a passive declare found nothing.
    gone: Option<Duration>,
    pub declared: Option<At<Counts>>,
    /// What a passive declare said last, whether or not there are any now.
    was_ready: Option<At<u64>>,
    pub refused: Option<String>,
    /// Why it cannot be used now: its node is down, say.
    pub down: Option<String>,
    pub totals: Option<At<Totals>>,
}

#[derive(Debug, Clone, Copy)]
pub struct At<T> {
    pub at: Duration,
    pub value: T,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Totals {
    pub ready: Option<u64>,
    pub unacked: Option<u64>,
}

/// A number with its age, or why there is none.
#[derive(Debug, Clone, PartialEq)]
pub enum Figure<T> {
    /// `age` is the most that it can be.
    Known {
        value: T,
        age: Duration,
    },
    Unknown(String),
    /// There is nothing that could be counted: the companion does not exist.
    None,
}

impl<T: Copy> Figure<T> {
    pub fn value(&self) -> Option<T> {
        match self {
            Figure::Known { value, .. } => Some(*value),
            Figure::Unknown(_) | Figure::None => None,
        }
    }
}

impl Queue {
    /// Ready messages: the passive declare's answer while it holds, then whichever of the two is
    /// younger, so that nothing that was shown is replaced by what was before.
    pub fn ready(&self, now: Duration) -> Figure<u64> {
        if let Some(seen) = self.fresh_declare(now) {
            return known(seen.value.ready, now, seen.at);
        }
        let Some((totals, ready)) = self.totals.and_then(|totals| Some((totals, totals.value.ready?))) else {
            return Figure::Unknown(self.refused.clone().unwrap_or_else(|| "not looked yet".into()));
        };
        match self.was_ready {
            Some(was) if was.at + self.kind.lag() > totals.at => known(was.value, now, was.at),
            _ => known(ready, now + self.kind.lag(), totals.at),
        }
    }

    pub fn consumers(&self, now: Duration) -> Figure<u64> {
        match self.fresh_declare(now) {
            Some(seen) => known(seen.value.consumers, now, seen.at),
            None => {
                Figure::Unknown(self.refused.clone().unwrap_or_else(|| {
                    "only a passive declare tells it, and none was answered lately".into()
                }))
            }
        }
    }

    pub fn unacked(&self, now: Duration) -> Figure<u64> {
        match self.totals {
            Some(At {
                at,
                value:
                    Totals {
                        unacked: Some(unacked),
                        ..
                    },
            }) => known(unacked, now + self.kind.lag(), at),
            Some(_) => Figure::Unknown("the broker has not counted this queue yet".into()),
            None => Figure::Unknown("the management API has not told it".into()),
        }
    }

    /// Ready and unacked together, from one look.
    pub fn total(&self) -> Option<u64> {
        let totals = self.totals?.value;
        Some(totals.ready? + totals.unacked?)
    }

    fn fresh_declare(&self, now: Duration) -> Option<At<Counts>> {
        self.declared
            .filter(|seen| self.refused.is_none() && now.saturating_sub(seen.at) <= DECLARE_HOLDS)
    }

    fn lags(&self) -> bool {
        !self.kind.lag().is_zero()
    }
}

fn known<T>(value: T, now: Duration, at: Duration) -> Figure<T> {
    Figure::Known {
        value,
        age: now.saturating_sub(at),
    }
}

/// A queue and its companions: one row.
#[derive(Debug, Default)]
pub struct Family {
    pub main: Queue,
    pub delay: Queue,
    pub dead: Queue,
    /// Boxed: of ten thousand queues a few have them.
    pub details: Option<Box<At<Details>>>,
    pub motion: Motion,
}

/// What moved when; all that the state words rest on.
#[derive(Debug, Default)]
pub struct Motion {
    /// Ready messages and no consumer, in every look since.
    pub nobody_since: Option<Duration>,
    /// The same of the delay queue.
    pub nobody_delayed_since: Option<Duration>,
    /// Unacked messages in every look since.
    pub held_since: Option<Duration>,
    /// When a message was last seen to have left to a consumer, or as a dead letter.
    pub left: Option<Duration>,
    /// The same by the statistics: when their counter was last seen to have risen, and before that.
    /// What it counts happened up to [`STATISTICS_LAG`] earlier.
    pub counted: Option<Duration>,
    pub counted_before: Option<Duration>,
    /// Messages that the statistics have counted as done since the watch began.
    pub done: u64,
    /// When ready messages were last seen to have become fewer.
    pub delivered: Option<Duration>,
    /// When there were last more consumers than before.
    pub joined: Option<Duration>,
    /// Where the queue's messages went, and its delay queue's.
    pub leaving: Leaving,
    pub leaving_delay: Leaving,
    pub dead_grew: Option<Duration>,
    /// Dead letters that came while we watched.
    pub new_dead: u64,
    /// Nothing ready, unacked or delayed in every look since, and how many looks at the totals.
    pub empty: Option<(Duration, u32)>,
    /// The last look that found nothing ready.
    pub none_ready: Option<Duration>,
    /// Ready messages of the last ten seconds, one look a second.
    pub ready: VecDeque<(Duration, u64)>,
}

impl Family {
    pub fn queue(&self, role: Role) -> &Queue {
        match role {
            Role::Main => &self.main,
            Role::Delay => &self.delay,
            Role::Dead => &self.dead,
        }
    }

    fn queue_mut(&mut self, role: Role) -> &mut Queue {
        match role {
            Role::Main => &mut self.main,
            Role::Delay => &mut self.delay,
            Role::Dead => &mut self.dead,
        }
    }

    /// What a passive declare said.
    pub fn declared(&mut self, role: Role, counts: Option<Counts>, at: Duration) {
        let queue = self.queue_mut(role);
        queue.refused = None;
        queue.down = None;
        queue.exists = Some(counts.is_some());
        queue.gone = counts.is_none().then_some(at);
        let before = queue.declared.map(|seen| seen.value);
        // Before the first passive declare the list is what was; where it lags it may never have been.
        let listed = queue
            .totals
            .and_then(|totals| totals.value.ready)
            .filter(|_| !queue.lags());
        queue.declared = counts.map(|value| At { at, value });
        queue.was_ready = counts.map(|counts| At {
            at,
            value: counts.ready,
        });
        let lag = queue.kind.lag();
        let lost = queue
            .total()
            .unwrap_or_default()
            .max(before.map_or(0, |before| before.ready));
        if counts.is_none() {
            queue.totals = None;
        }
        let motion = &mut self.motion;
        let fell = match (before, counts) {
            (Some(before), Some(now)) => before.ready.saturating_sub(now.ready),
            _ => 0,
        };
        match (role, counts) {
            (Role::Main, Some(now)) => {
                if fell > 0 {
                    motion.delivered = Some(at);
                }
                if before.is_some_and(|before| now.consumers > before.consumers) {
                    motion.joined = Some(at);
                }
                if motion.leaving.declared(fell, now.consumers, at, lag) {
                    motion.left = Some(at);
                }
                since(&mut motion.nobody_since, now.ready > 0 && now.consumers == 0, at);
                motion.remember_ready(at, now.ready);
                if now.ready > 0 || fell > 0 {
                    motion.empty = None;
                }
            }
            (Role::Delay, Some(now)) => {
                since(
                    &mut motion.nobody_delayed_since,
                    now.ready > 0 && now.consumers == 0,
                    at,
                );
                motion.leaving_delay.declared(fell, now.consumers, at, lag);
                if now.ready > 0 {
                    motion.empty = None;
                }
            }
            (Role::Dead, Some(now)) => {
                if let Some(before) = before.map(|before| before.ready).or(listed) {
                    motion.grew(before, now.ready, at);
                }
            }
            (Role::Main, None) => {
                let (mut leaving, leaving_delay) = (motion.leaving.clone(), motion.leaving_delay.clone());
                leaving.deleted(lost, at);
                self.motion = Motion {
                    leaving,
                    leaving_delay,
                    ..Motion::default()
                }
            }
            (Role::Delay, None) => {
                motion.nobody_delayed_since = None;
                motion.leaving_delay.deleted(lost, at);
            }
            (Role::Dead, None) => {}
        }
    }

    /// The broker says that it is down: what was known of it is not true of now.
    pub fn is_down(&mut self, role: Role, why: String) {
        let queue = self.queue_mut(role);
        queue.exists = Some(true);
        queue.declared = None;
        queue.totals = None;
        queue.refused = Some(format!("the queue is down: {why}"));
        queue.down = Some(why);
        if role == Role::Main {
            self.motion.nobody_since = None;
            self.motion.ready.clear();
        }
    }

    pub fn refused(&mut self, role: Role, reason: String) {
        let queue = self.queue_mut(role);
        queue.down = None;
        queue.exists = Some(true);
        queue.refused = Some(reason);
    }

    /// What the list of totals said; `None`: it is complete, and this queue is not on it.
    pub fn listed(&mut self, role: Role, listed: Option<&Listed>, listing: &Listing, at: Duration) {
        let asked = listing.asked;
        let queue = self.queue_mut(role);
        if queue.gone.is_some_and(|gone| gone >= asked) || queue.down.is_some() {
            return;
        }
        let Some(listed) = listed else {
            // A passive declare is younger than any list.
            if queue.declared.is_some() {
                return;
            }
            queue.exists = Some(false);
            (queue.totals, queue.was_ready) = (None, None);
            return;
        };
        let totals = Totals {
            ready: listed.ready,
            unacked: listed.unacked,
        };
        let before = queue.total();
        let declares = queue.declared.is_some();
        queue.kind = listed.kind;
        if !declares {
            queue.exists = Some(true);
        }
        // It was counted some time after it was asked for: no older than that.
        queue.totals = Some(At {
            at: asked,
            value: totals,
        });
        let after = queue.total();
        let lag = queue.kind.lag();
        let fell = match (before, after) {
            (Some(before), Some(after)) => before.saturating_sub(after),
            _ => 0,
        };
        let motion = &mut self.motion;
        match role {
            Role::Main => {
                if motion.leaving.listed(fell, after, asked, at, lag) {
                    motion.left = Some(at);
                }
                if let Some(unacked) = totals.unacked {
                    since(&mut motion.held_since, unacked > 0, at);
                }
                if let (false, Some(ready)) = (declares, totals.ready) {
                    motion.remember_ready(at, ready);
                }
                self.look_for_emptiness(at);
            }
            Role::Delay => {
                motion.leaving_delay.listed(fell, after, asked, at, lag);
            }
            Role::Dead => {
                if let (false, Some(before), Some(after)) = (declares, before, after) {
                    motion.grew(before, after, at);
                }
            }
        }
    }

    /// Called with each look at the totals, in which the delay queue's come first.
    fn look_for_emptiness(&mut self, at: Duration) {
        let nothing = |queue: &Queue| {
            queue.exists == Some(false)
                || (queue.total() == Some(0) && queue.declared.is_none_or(|seen| seen.value.ready == 0))
        };
        let delay_is_empty = nothing(&self.delay) || self.delay.exists.is_none();
        self.motion.empty =
            (self.main.exists == Some(true) && nothing(&self.main) && delay_is_empty).then(|| {
                match self.motion.empty {
                    Some((since, looks)) => (since, looks + 1),
                    None => (at, 1),
                }
            });
    }

    /// Nothing ready, unacked or delayed: in two looks one after the other, because a message moves
    /// between the queues of one look; over more than the lag where the totals lag.
    pub fn is_empty(&self, now: Duration) -> bool {
        let lags = self.main.lags() || (self.delay.exists == Some(true) && self.delay.lags());
        self.motion.empty.is_some_and(|(since, looks)| {
            let known = self
                .main
                .totals
                .map_or(Duration::ZERO, |totals| totals.at.min(now));
            looks >= 2 && (!lags || known.saturating_sub(since) > Kind::Quorum.lag() + Duration::from_secs(1))
        })
    }

    pub fn detailed(&mut self, details: Details, at: Duration) {
        let before = self
            .details
            .as_ref()
            .map(|seen| seen.value.stats.unwrap_or_default());
        if let Some(stats) = details.stats {
            let motion = &mut self.motion;
            // What was looked at and had no counter had counted nothing.
            let rise = |before: Option<u64>, after: Option<u64>| {
                after
                    .unwrap_or_default()
                    .saturating_sub(before.unwrap_or_default())
            };
            let done = before.map_or(0, |before| rise(before.done, stats.done));
            // The first look knows a rate only.
            let moves = before.is_none() && stats.ack_rate.is_some_and(|rate| rate > 0.0);
            if done > 0 || moves {
                motion.counted_before = motion.counted;
                motion.counted = Some(at);
                motion.done += done;
            }
            motion.leaving.counted(done, at);
            if before.is_some_and(|before| rise(before.published, stats.published) > 0) {
                motion.leaving.passed(at);
            }
        }
        self.details = Some(Box::new(At { at, value: details }));
    }

    /// The statistics, while they are looked at.
    pub fn stats(&self, now: Duration) -> Option<At<Stats>> {
        let seen = self.details.as_ref()?;
        let stats = seen.value.stats?;
        (now.saturating_sub(seen.at) <= 3 * STATISTICS_LAG).then_some(At {
            at: seen.at,
            value: stats,
        })
    }

    /// The statistics go on counting messages as done: risen twice, and lately. One rise alone is
    /// news of something that may long be over.
    pub fn counts_on(&self, now: Duration) -> bool {
        let lately =
            |at: Option<Duration>, most: Duration| at.is_some_and(|at| now.saturating_sub(at) <= most);
        lately(self.motion.counted, STATISTICS_LAG) && lately(self.motion.counted_before, 2 * STATISTICS_LAG)
    }

    /// Something was taken by a consumer or acknowledged, since the watch began.
    pub fn has_consumed(&self) -> bool {
        self.motion.leaving.has_taken() || self.motion.leaving_delay.has_taken()
    }

    /// All that left was taken, as far as the last of it goes.
    pub fn is_accounted_for(&self) -> bool {
        self.motion.leaving.is_accounted_for() && self.motion.leaving_delay.is_accounted_for()
    }

    /// What left, but not to a consumer.
    pub fn gone(&self, now: Duration) -> Option<String> {
        let parts = [
            (&self.motion.leaving, ""),
            (&self.motion.leaving_delay, " the delay queue"),
        ];
        let texts: Vec<String> = parts
            .into_iter()
            .filter_map(|(leaving, place)| {
                if let Some(count) = leaving.unseen(now) {
                    return Some(format!(
                        "{count} left{place}, and whether to a consumer could not be seen"
                    ));
                }
                let (when, count) = leaving.gone()?;
                let told = self.stats(now).is_some_and(|stats| would_have_told(stats.at, when));
                let or = if told && place.is_empty() {
                    "expired, purged or dropped"
                } else {
                    "expired, purged, dropped, or fetched with basic.get, of which the statistics have told nothing yet"
                };
                Some(format!(
                    "{count} left{place} without a consumer {} ago: {or}",
                    seconds(now.saturating_sub(when))
                ))
            })
            .collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    pub fn who(&self) -> Option<&[Consumer]> {
        self.details.as_ref()?.value.consumers.as_deref()
    }
}

impl Motion {
    fn grew(&mut self, before: u64, after: u64, at: Duration) {
        if after > before {
            self.dead_grew = Some(at);
            self.new_dead += after - before;
            self.left = Some(at);
        }
    }

    fn remember_ready(&mut self, at: Duration, ready: u64) {
        while self
            .ready
            .front()
            .is_some_and(|(seen, _)| at.saturating_sub(*seen) > RECENT)
        {
            self.ready.pop_front();
        }
        if ready == 0 {
            // An empty moment ends any backlog; what was before does not matter.
            self.ready.clear();
            self.none_ready = Some(at);
        }
        if ready > 0
            && self
                .ready
                .back()
                .is_none_or(|(seen, _)| at.saturating_sub(*seen) >= Duration::from_secs(1))
        {
            self.ready.push_back((at, ready));
        }
    }
}

fn since(mark: &mut Option<Duration>, holds: bool, at: Duration) {
    *mark = match (holds, *mark) {
        (false, _) => None,
        (true, None) => Some(at),
        (true, since) => since,
    };
}

/// When the eye for passive declares is closed, what it saw is no longer now.
impl Family {
    pub fn amqp_lost(&mut self) {
        for queue in [&mut self.main, &mut self.delay, &mut self.dead] {
            queue.declared = None;
        }
        self.motion.nobody_since = None;
        self.motion.nobody_delayed_since = None;
        self.motion.empty = None;
    }

    pub fn management_lost(&mut self) {
        for queue in [&mut self.main, &mut self.delay, &mut self.dead] {
            queue.totals = None;
        }
        self.details = None;
        self.motion.held_since = None;
        self.motion.empty = None;
    }
}
