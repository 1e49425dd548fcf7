//! A queue with its companions: the last look of each eye, and what has moved since when.

use std::collections::VecDeque;
use std::time::Duration;

use super::leaving::{COUNTED_BY, Counters, Leaving, Outcome};
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
    /// The management API, which alone tells of what kind it is, does not answer.
    unlisted: bool,
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
            Some(_) if self.kind == Kind::Stream => {
                Figure::Unknown("a passive declare does not tell a stream's consumers".into())
            }
            Some(seen) if seen.value.consumers == 0 && self.may_be_a_stream() => Figure::Unknown(
                "not known yet whether it is a stream, whose consumers are not counted".into(),
            ),
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

    /// Nothing has told of what kind it is, and something is about to.
    pub fn may_be_a_stream(&self) -> bool {
        self.kind == Kind::Unknown && !self.unlisted
    }

    /// Ready messages as of this moment, not of a list that lags.
    pub fn knows_ready(&self, now: Duration) -> bool {
        !self.lags() || self.fresh_declare(now).is_some()
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
    /// Ready messages and no consumer, in every look.
    pub nobody: Vigil,
    /// The same of the delay queue.
    pub nobody_delayed: Vigil,
    /// Unacked messages in every look since.
    pub held_since: Option<Duration>,
    /// When something that was held was last seen to have left: acknowledged, rejected, or returned
    /// and expired.
    pub released: Option<Duration>,
    /// The first of those that the counters have not confirmed since; and that they will not: it was
    /// not acknowledged.
    unconfirmed: Option<Duration>,
    pub doubted: bool,
    /// By the statistics: when their counter of acknowledgements was last seen to have risen, and
    /// before that. What it counts happened up to [`STATISTICS_LAG`] earlier.
    pub counted: Option<Duration>,
    pub counted_before: Option<Duration>,
    /// When the first statistics were read.
    counts_since: Option<Duration>,
    /// Messages that the statistics have counted as done since the watch began.
    pub done: u64,
    /// When ready messages were last seen to have become fewer.
    pub delivered: Option<Duration>,
    /// By how many, all in all.
    fallen: u64,
    /// When there were last more consumers than before.
    pub joined: Option<Duration>,
    /// Where the queue's messages went, and its delay queue's.
    pub leaving: Leaving,
    pub leaving_delay: Leaving,
    pub dead_grew: Option<Duration>,
    /// Dead letters that were seen to come.
    pub new_dead: u64,
    /// The dead letters that are accounted for, ready or held by somebody who looks at them; and when
    /// they were last seen to be so many.
    dead: Option<(u64, Duration)>,
    /// Nothing ready, unacked or delayed in every look since, and how many looks at the totals.
    pub empty: Option<(Duration, u32)>,
    /// The last look that found nothing ready.
    pub none_ready: Option<Duration>,
    /// Ready messages of the last ten seconds, one look a second.
    pub ready: VecDeque<(Duration, u64)>,
}

/// Something that was so in every look. Time without a look counts for nothing: whatever was not
/// looked at may have been otherwise.
#[derive(Debug, Clone, Copy, Default)]
pub struct Vigil {
    /// The looks since then were no further apart than [`VIGIL_HOLDS`].
    since: Option<Duration>,
    last: Duration,
    /// Looks after a longer pause, one after the other, and the first of them.
    sparse: u32,
    first: Duration,
}

/// What was seen so long ago says nothing of now.
const VIGIL_HOLDS: Duration = Duration::from_secs(1);

/// A queue that is not on screen is looked at now and then: so often is enough.
const ENOUGH: u32 = 3;

impl Vigil {
    fn look(&mut self, holds: bool, at: Duration) {
        if !holds {
            *self = Self::default();
            return;
        }
        match self.since {
            Some(_) if at.saturating_sub(self.last) <= VIGIL_HOLDS => {}
            Some(_) => {
                self.since = Some(at);
                self.sparse += 1;
            }
            None => (self.since, self.first, self.sparse) = (Some(at), at, 1),
        }
        self.last = at;
    }

    /// For how long it was so, if that is as long as `limit` and the last look is of now.
    pub fn held(&self, limit: Duration, now: Duration) -> Option<String> {
        let since = self.since?;
        if now.saturating_sub(self.last) > VIGIL_HOLDS {
            return None;
        }
        if self.last.saturating_sub(since) >= limit {
            return Some(format!("for {}", seconds(self.last - since)));
        }
        let all = self.last.saturating_sub(self.first);
        (self.sparse >= ENOUGH && all >= limit)
            .then(|| format!("in {} looks within {}", self.sparse, seconds(all)))
    }
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
        queue.declared = counts.map(|value| At { at, value });
        queue.was_ready = counts.map(|counts| At {
            at,
            value: counts.ready,
        });
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
                    motion.fallen += fell;
                }
                if before.is_some_and(|before| now.consumers > before.consumers) {
                    motion.joined = Some(at);
                }
                motion.leaving.declared(now.ready, now.consumers, at);
                motion.nobody.look(now.ready > 0 && now.consumers == 0, at);
                motion.remember_ready(at, now.ready);
                if now.ready > 0 || fell > 0 {
                    motion.empty = None;
                }
            }
            (Role::Delay, Some(now)) => {
                motion
                    .nobody_delayed
                    .look(now.ready > 0 && now.consumers == 0, at);
                motion.leaving_delay.declared(now.ready, now.consumers, at);
                if now.ready > 0 {
                    motion.empty = None;
                }
            }
            // Before the first list it is not known how many somebody holds.
            (Role::Dead, Some(now)) if self.dead.totals.is_some() || self.dead.unlisted => {
                motion.saw_dead(now.ready, at);
            }
            (Role::Main, None) => self.begin_anew(lost, at),
            (Role::Delay, None) => {
                motion.nobody_delayed = Vigil::default();
                motion.leaving_delay.deleted(lost, at);
            }
            (Role::Dead, None) => motion.dead = Some((0, at)),
            (Role::Dead, Some(_)) => {}
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
            self.motion.nobody = Vigil::default();
            self.motion.held_since = None;
            self.motion.ready.clear();
        }
        self.motion.empty = None;
    }

    /// The queue is another one from now on.
    fn begin_anew(&mut self, lost: u64, at: Duration) {
        self.motion.leaving.deleted(lost, at);
        self.motion = Motion {
            leaving: std::mem::take(&mut self.motion.leaving),
            leaving_delay: std::mem::take(&mut self.motion.leaving_delay),
            nobody_delayed: self.motion.nobody_delayed,
            dead: self.motion.dead,
            dead_grew: self.motion.dead_grew,
            new_dead: self.motion.new_dead,
            ..Motion::default()
        };
        self.details = None;
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
        let kind = listed.kind;
        // A queue of another kind is another queue.
        let was = std::mem::replace(&mut queue.kind, kind);
        let is_another = was != kind && was != Kind::Unknown && kind != Kind::Unknown;
        queue.unlisted = false;
        let before = queue.totals.filter(|_| !is_another);
        let held = queue.total().unwrap_or_default();
        let declares = queue.declared.is_some();
        let sees_consumers = queue
            .declared
            .is_some_and(|seen| at.saturating_sub(seen.at) <= VIGIL_HOLDS);
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
        if is_another && role == Role::Main {
            self.begin_anew(held, at);
        }
        let motion = &mut self.motion;
        match role {
            Role::Main => {
                if kind == Kind::Stream {
                    // Its counts say nothing of where messages went.
                    motion.leaving = Leaving::default();
                    return;
                }
                if let Some(before) = before
                    && released(before.value, totals)
                    // Returned by a consumer that died, and expired at once, it would look the same.
                    && sees_consumers
                    && !motion.leaving.was_deserted_since(before.at.saturating_sub(lag))
                {
                    motion.released = Some(at);
                    motion.unconfirmed.get_or_insert(at);
                }
                if let Some(total) = after {
                    motion.leaving.listed(total, asked, at, lag);
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
                if let Some(total) = after {
                    motion.leaving_delay.listed(total, asked, at, lag);
                }
            }
            Role::Dead => {
                if let Some(total) = after {
                    match motion.dead {
                        None if lag.is_zero() => motion.dead = Some((total, at)),
                        // Some have really left.
                        Some((known, seen)) if total < known && asked > seen + lag => {
                            motion.dead = Some((total, at));
                        }
                        _ if !lag.is_zero() => {}
                        _ => motion.saw_dead(total, at),
                    }
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

    /// What the statistics said: counted when it was asked for, or before.
    pub fn detailed(&mut self, role: Role, details: Details) {
        let at = details.asked;
        // Where they are on and say nothing, nothing was counted; where they are off, nobody counts.
        let is_on = details.stats.is_some() || details.consumers.is_some();
        let stats = details.stats.unwrap_or_default();
        let counters = Counters {
            published: stats.published.unwrap_or_default(),
            done: stats.done.unwrap_or_default(),
        };
        let lag = self.queue(role).kind.lag();
        if role != Role::Main {
            if is_on && role == Role::Delay {
                let leaving = &mut self.motion.leaving_delay;
                leaving.counted(counters, details.lost_before, at, lag);
            }
            return;
        }
        let before = self
            .details
            .as_ref()
            .map(|seen| seen.value.stats.unwrap_or_default());
        if is_on {
            let motion = &mut self.motion;
            motion.counts_since.get_or_insert(at);
            // What was looked at and had no counter had counted nothing.
            let done = before.map_or(0, |before| {
                counters.done.saturating_sub(before.done.unwrap_or_default())
            });
            // The first look knows a rate only.
            let moves = before.is_none() && stats.ack_rate.is_some_and(|rate| rate > 0.0);
            if done > 0 || moves {
                motion.counted_before = motion.counted;
                motion.counted = Some(at);
                motion.done += done;
                motion.doubted = false;
                motion.unconfirmed = None;
            } else if motion
                .unconfirmed
                .is_some_and(|first| at >= first + STATISTICS_LAG)
            {
                motion.doubted = true;
            }
            if motion.leaving.counted(counters, details.lost_before, at, lag) {
                // Another queue of that name.
                motion.released = None;
                motion.unconfirmed = None;
                motion.counted = None;
                motion.counted_before = None;
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

    /// Whether the broker counts what happens to this queue.
    pub fn counts(&self, now: Duration) -> bool {
        self.details.as_ref().is_some_and(|seen| {
            let is_on = seen.value.stats.is_some() || seen.value.consumers.is_some();
            is_on && now.saturating_sub(seen.at) <= 3 * STATISTICS_LAG
        })
    }

    /// When the statistics were last seen to count messages as done, if that was lately enough to be
    /// done lately: risen twice; or once, while messages were there, and not as late news of what was
    /// before the watch.
    pub fn counts_on(&self, now: Duration) -> Option<Duration> {
        let motion = &self.motion;
        let lately =
            |at: Option<Duration>, most: Duration| at.is_some_and(|at| now.saturating_sub(at) <= most);
        let counted = motion
            .counted
            .filter(|at| now.saturating_sub(*at) <= STATISTICS_LAG)?;
        let twice = lately(motion.counted_before, 2 * STATISTICS_LAG);
        let is_news = motion
            .counts_since
            .is_some_and(|since| counted >= since + STATISTICS_LAG)
            || motion.fallen > 0 && motion.fallen >= motion.done;
        let is_there = lately(motion.delivered, RECENT)
            || self.main.ready(now).value().is_some_and(|ready| ready > 0)
            || self.main.unacked(now).value().is_some_and(|held| held > 0);
        (twice || (is_news && is_there)).then_some(counted)
    }

    /// Whether what was in the queues was consumed. Asked while they are empty.
    pub fn outcomes(&self, now: Duration) -> [Outcome; 2] {
        if self.main.kind == Kind::Stream {
            let why = "a stream keeps its messages, so nothing of it is ever consumed";
            return [Outcome::Untold(why.into()), Outcome::Nothing];
        }
        [
            self.motion.leaving.outcome(now),
            self.motion.leaving_delay.outcome(now),
        ]
    }

    /// All that left is known to be done.
    pub fn is_accounted_for(&self) -> bool {
        self.motion.leaving.is_accounted_for() && self.motion.leaving_delay.is_accounted_for()
    }

    /// What left, and is not known to be done.
    pub fn fate(&self, now: Duration, flows: bool) -> Option<String> {
        let counts = self.counts(now) || self.details.is_none() && now < 3 * STATISTICS_LAG;
        let texts: Vec<String> = [
            self.motion.leaving.fate(now, "", flows, counts),
            self.motion
                .leaving_delay
                .fate(now, " the delay queue", flows, counts),
        ]
        .into_iter()
        .flatten()
        .collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    /// All consumers, not only those that a passive declare counts.
    pub fn consumers(&self, now: Duration) -> Figure<u64> {
        let listed = || {
            let seen = self.details.as_ref()?;
            let count = seen.value.consumers.as_ref()?.len() as u64;
            // Whoever came just before is on the list some seconds later.
            if now < self.motion.counts_since? + COUNTED_BY {
                let why = "the list of consumers is some seconds late, and was not looked at for so long yet";
                return Some(Figure::Unknown(why.into()));
            }
            Some(Figure::Known {
                value: count,
                age: now.saturating_sub(seen.at) + STATISTICS_LAG,
            })
        };
        let declared = self.main.consumers(now);
        match (self.main.kind, &declared) {
            (Kind::Stream, _) => listed().unwrap_or(declared),
            // A passive declare counts the active one only (3.10.8, 4.0.5).
            (Kind::Quorum, Figure::Known { value: 1.., .. }) => match &self.details {
                Some(seen) if seen.value.single_active => listed()
                    .filter(|listed| listed.value().is_none_or(|count| Some(count) >= declared.value()))
                    .unwrap_or_else(|| {
                        Figure::Unknown("one is active; those that stand by cannot be counted (yet)".into())
                    }),
                None if self.is_about_to_be_counted(now) => {
                    Figure::Unknown("not known yet whether others stand by".into())
                }
                _ => declared,
            },
            _ => declared,
        }
    }

    pub fn is_single_active(&self) -> bool {
        self.details.as_ref().is_some_and(|seen| seen.value.single_active)
    }

    /// The first look at the consumers' list is under way.
    fn is_about_to_be_counted(&self, now: Duration) -> bool {
        !self.main.unlisted && now < Duration::from_secs(1)
    }

    pub fn who(&self) -> Option<&[Consumer]> {
        self.details.as_ref()?.value.consumers.as_deref()
    }
}

impl Motion {
    /// So many dead letters are there. More than ever accounted for are new; fewer may be in
    /// somebody's hands, until totals say that they are gone.
    fn saw_dead(&mut self, count: u64, at: Duration) {
        match self.dead {
            Some((known, _)) if count < known => {}
            Some((known, _)) => {
                if count > known {
                    self.dead_grew = Some(at);
                    self.new_dead += count - known;
                }
                self.dead = Some((count, at));
            }
            None => self.dead = Some((count, at)),
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
        match self.ready.back_mut() {
            // Most of that second: a burst is not over with its first message.
            Some((seen, most)) if at.saturating_sub(*seen) < Duration::from_secs(1) => {
                *most = ready.max(*most);
            }
            _ if ready > 0 => self.ready.push_back((at, ready)),
            _ => {}
        }
    }
}

/// Something that was held is neither held nor ready any more.
fn released(before: Totals, after: Totals) -> bool {
    match (before.unacked, after.unacked, before.ready, after.ready) {
        (Some(held), Some(holds), Some(was_ready), Some(ready)) => {
            held.saturating_sub(holds) > ready.saturating_sub(was_ready)
        }
        _ => false,
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
        // Whoever comes and goes meanwhile is not seen.
        self.motion.nobody = Vigil::default();
        self.motion.nobody_delayed = Vigil::default();
        self.motion.empty = None;
    }

    pub fn management_lost(&mut self) {
        for queue in [&mut self.main, &mut self.delay, &mut self.dead] {
            queue.totals = None;
            queue.unlisted = true;
        }
        self.details = None;
        self.motion.held_since = None;
        self.motion.empty = None;
    }
}
