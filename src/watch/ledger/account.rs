//! What is said of the messages that left, and of an empty queue.

use std::time::Duration;

use super::super::observation::STATISTICS_LAG;
use super::{COUNTED_BY, Ledger};
use crate::units::seconds;

/// So long after it nobody waits any more for the counters to say that all is well.
const PATIENCE: Duration = Duration::from_secs(12);

/// The same where the counters have not moved at all: the broker may collect them more seldom
/// (`collect_statistics_interval`).
const LONG_PATIENCE: Duration = Duration::from_secs(32);

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
    Undecided(String),
}

impl Ledger {
    /// What left, and is not known to be done. `flows`: others are being done, which may be these;
    /// `counts`: the statistics will tell.
    pub fn unaccounted(
        &self,
        now: Duration,
        place: &str,
        lag: Duration,
        flows: bool,
        counts: bool,
    ) -> Option<String> {
        let ago = |at: Duration| seconds(now.saturating_sub(at));
        let later = seconds(STATISTICS_LAG);
        let mut texts = Vec::new();
        if let Some(deleted) = self.deleted.latest() {
            let (count, ago) = (deleted.value, ago(deleted.since));
            texts.push(format!(
                "{count} {} deleted with the queue{place} {ago} ago",
                was(count)
            ));
        }
        let pending = self.pending();
        if self.lost > 0 {
            let more = match pending.saturating_sub(self.lost) {
                more if more > 0 && !flows => {
                    format!("; of {more} more the statistics tell up to {later} later")
                }
                _ => String::new(),
            };
            texts.push(format!(
                "{} left{place} without being acknowledged: expired, purged, dropped or rejected{more}",
                self.lost
            ));
        } else if let Some(last) = self.left.last()
            && pending > 0
            && !flows
        {
            let from = last.saturating_sub(lag + Duration::from_secs(1));
            let alone = match self.consumers.held_throughout(from..=last, |count| count == 0) {
                true => " while no consumer was seen",
                false => "",
            };
            let until = match counts {
                true => format!("the statistics tell which, up to {later} later"),
                false => "no statistics tell which".to_owned(),
            };
            texts.push(format!(
                "{pending} left{place}{alone}, the last {} ago: done, expired, purged, dropped or rejected; {until}",
                ago(last)
            ));
        }
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    /// Whether what was in the queue was consumed. Asked of a queue that is empty now.
    pub fn outcome(&self, now: Duration) -> Outcome {
        let deleted = self.deleted.sum();
        if deleted > 0 {
            return Outcome::Lost(format!("{deleted} {} deleted with the queue", was(deleted)));
        }
        if self.forgotten > 0 {
            return Outcome::Undecided(
                "the broker's counters began anew (the queue or the broker was), so it cannot be told what became of what was there"
                    .into(),
            );
        }
        let (done, published) = (self.done(), self.published());
        let known = self.most.max(self.left.sum()).max(self.waiting + self.arrived);
        if known == 0 && done == 0 && published == 0 {
            return Outcome::Nothing;
        }
        let moved = self.at_rest_since();
        let open_or = |patience: Duration, never: Outcome| {
            if now < moved + patience {
                Outcome::Open
            } else {
                never
            }
        };
        let cannot_be_told = |why: &str| {
            Outcome::Undecided(format!(
                "{why}, so it cannot be told whether what was there was consumed"
            ))
        };
        let Some(read) = self.counters.latest() else {
            return open_or(PATIENCE, cannot_be_told("the broker gives no statistics of it"));
        };
        if read.at < moved + COUNTED_BY {
            // They may have stopped coming.
            let stopped = cannot_be_told("the broker's statistics have stopped coming");
            return open_or(LONG_PATIENCE, stopped);
        }
        let missing = read.value.missing(0);
        let knows_publishes = published >= self.arrived;
        let (before, is_in_phase) = (self.missing_before, self.is_in_phase());
        let is_done = match before {
            // Others than publishers may put messages there: then what was seen must have been done.
            Some(before) if missing == before && done > 0 && knows_publishes => true,
            before => missing <= before.unwrap_or(0) && done >= known && is_in_phase,
        };
        if is_done {
            return Outcome::Done(done);
        }
        let patience = match self.counters.changed() {
            Some(_) if knows_publishes => PATIENCE,
            _ => LONG_PATIENCE,
        };
        let were = was(done);
        let failed = match before {
            Some(before) if missing > before => Outcome::Lost(format!(
                "{} left without being acknowledged (expired, purged, dropped or rejected), {done} {were} acknowledged",
                missing - before
            )),
            None if missing > 0 => Outcome::Undecided(format!(
                "{done} {were} acknowledged, but whether all were cannot be told: messages came or went just before the watch began, which the statistics tell later: start the watch earlier"
            )),
            _ => Outcome::Lost(format!(
                "of {known} at least that were there {done} {were} acknowledged"
            )),
        };
        if is_in_phase {
            open_or(patience, failed)
        } else {
            Outcome::Open
        }
    }
}

fn was(count: u64) -> &'static str {
    if count == 1 { "was" } else { "were" }
}
