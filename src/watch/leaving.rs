//! Where the messages of one queue went: to a consumer, or away without one.
//!
//! A total that falls says only that messages are no longer there. They expire, are purged, or
//! dropped where a queue is full; whoever waits for "consumed" must not be told so then.

use std::time::Duration;

use super::sight::STATISTICS_LAG;

/// A look at the consumers that is older has stopped.
const LOOK_HOLDS: Duration = Duration::from_secs(3);

/// So late may the statistics tell of an acknowledgement: their lag, and the pause between two looks.
const TOLD_BY: Duration = Duration::from_secs(STATISTICS_LAG.as_secs() + 2);

#[derive(Debug, Clone, Default)]
pub struct Leaving {
    /// The last passive declare, and the last one that saw a consumer.
    looked: Option<Duration>,
    attended: Option<Duration>,
    /// The last totals that had nothing: what is there now came later.
    nothing: Option<Duration>,
    /// Fewer ready, and nobody who consumes: the next totals tell whether somebody holds them
    /// (`basic.get` needs no consumer).
    vanished: Option<(Duration, u64)>,
    /// Left, and the next passive declare says whether there is a consumer.
    unsure: Option<(Duration, u64)>,
    /// Left without a consumer, and none taken by one since.
    gone: Option<(Duration, u64)>,
    taken: bool,
}

impl Leaving {
    /// A passive declare. `true`: messages are now known to have left to a consumer.
    pub fn declared(&mut self, fell: u64, consumers: u64, at: Duration, lag: Duration) -> bool {
        self.looked = Some(at);
        if consumers > 0 {
            self.attended = Some(at);
            let resolved = self.unsure.is_some();
            if resolved || fell > 0 {
                self.take();
            }
            return resolved;
        }
        if let Some((_, count)) = self.unsure.take() {
            self.lose(count, at);
        }
        if fell > 0 {
            if self.was_attended(lag) {
                self.take();
                return true;
            }
            let before = self.vanished.map_or(0, |(_, count)| count);
            self.vanished = Some((at, before + fell));
        }
        false
    }

    /// Totals that fell by so many, asked for at `asked`. `true`: messages left, as far as one can
    /// see to a consumer.
    pub fn listed(
        &mut self,
        fell: u64,
        total: Option<u64>,
        asked: Duration,
        at: Duration,
        lag: Duration,
    ) -> bool {
        let mut by = fell;
        if let Some((when, count)) = self.vanished {
            let rest = count.saturating_sub(fell);
            self.vanished = (rest > 0).then_some((when, rest));
            // What is there at all may be what somebody holds.
            if asked >= when + lag
                && let Some(total) = total
            {
                by += rest.saturating_sub(total);
                self.vanished = None;
            }
        }
        let attended = self.was_attended(lag);
        if total == Some(0) {
            self.nothing = Some(asked);
        }
        if by == 0 {
            return false;
        }
        if attended {
            self.take();
            return true;
        }
        let before = self.unsure.map_or(0, |(_, count)| count);
        self.unsure = Some((at, before + by));
        // The next look at the consumers decides, if there are such looks.
        !self.looks(at)
    }

    /// The statistics counted so many more acknowledgements.
    pub fn counted(&mut self, done: u64, at: Duration) {
        if done == 0 {
            return;
        }
        self.taken = true;
        if self.attended_lately(at) {
            // Those may be of that consumer, and of before.
            self.gone = self.gone.filter(|(when, _)| at.saturating_sub(*when) < TOLD_BY);
            return;
        }
        let rest = |left: Option<(Duration, u64)>| {
            left.map(|(when, count)| (when, count.saturating_sub(done)))
                .filter(|(_, count)| *count > 0)
        };
        self.gone = rest(self.gone);
        self.unsure = rest(self.unsure);
    }

    /// Published, and too quick to be seen: if somebody consumes, he took them.
    pub fn passed(&mut self, at: Duration) {
        self.taken |= self.attended_lately(at);
    }

    /// The queue was deleted with so many messages in it.
    pub fn deleted(&mut self, count: u64, at: Duration) {
        if count > 0 {
            self.lose(count, at);
        }
        (self.vanished, self.nothing) = (None, None);
    }

    /// A message was taken by a consumer, or counted as acknowledged, since the watch began.
    pub fn has_taken(&self) -> bool {
        self.taken
    }

    /// Nothing left otherwise since one was taken.
    pub fn is_accounted_for(&self) -> bool {
        self.gone.is_none() && self.unsure.is_none() && self.vanished.is_none()
    }

    /// When how many left without a consumer.
    pub fn gone(&self) -> Option<(Duration, u64)> {
        self.gone
    }

    /// How many left while nobody could look at the consumers.
    pub fn unseen(&self, now: Duration) -> Option<u64> {
        self.unsure.filter(|_| !self.looks(now)).map(|(_, count)| count)
    }

    fn looks(&self, now: Duration) -> bool {
        self.looked
            .is_some_and(|looked| now.saturating_sub(looked) <= LOOK_HOLDS)
    }

    /// A consumer was seen since the messages are there. Totals that lag say "nothing" too long.
    fn was_attended(&self, lag: Duration) -> bool {
        let slack = if lag.is_zero() {
            lag
        } else {
            lag + Duration::from_secs(1)
        };
        self.attended
            .is_some_and(|seen| self.nothing.is_none_or(|nothing| seen + slack >= nothing))
    }

    fn attended_lately(&self, at: Duration) -> bool {
        self.attended
            .is_some_and(|seen| at.saturating_sub(seen) <= TOLD_BY)
    }

    fn take(&mut self) {
        self.taken = true;
        (self.gone, self.unsure, self.vanished) = (None, None, None);
    }

    fn lose(&mut self, count: u64, at: Duration) {
        let before = self.gone.map_or(0, |(_, count)| count);
        self.gone = Some((at, before + count));
    }
}

/// Whether statistics read at `read` would have told by then of an acknowledgement at `when`.
pub fn would_have_told(read: Duration, when: Duration) -> bool {
    read >= when + STATISTICS_LAG
}
