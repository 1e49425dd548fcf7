//! What can be counted of a row.

use std::time::Duration;

use super::super::ledger::COUNTED_BY;
use super::super::observation::{Consumer, Kind, STATISTICS_LAG};
use super::super::queue::{Figure, Queue};
use super::QueueGroup;

#[derive(Debug, Clone, Copy, PartialEq, Eq, strum::IntoStaticStr, strum::VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Quantity {
    Ready,
    Unacked,
    Consumers,
    Delayed,
    Dead,
}

/// So long may the first list of a queue's consumers take; where statistics are off there never is one.
const FIRST_LIST: Duration = Duration::from_secs(3);

impl QueueGroup {
    pub fn figure(&self, quantity: Quantity, now: Duration) -> Figure {
        let companion = |queue: &Queue, figure: fn(&Self, Duration) -> Figure| match queue.exists {
            Some(true) => figure(self, now),
            Some(false) => Figure::None,
            None => Figure::Unknown("not looked yet".into()),
        };
        match quantity {
            Quantity::Ready => self.main.ready(now),
            Quantity::Unacked => self.main.unacked(now),
            Quantity::Consumers => self.consumers(now),
            Quantity::Delayed => companion(&self.delay, Self::delayed),
            // Nobody consumes them, so ready is all.
            Quantity::Dead => companion(&self.dead, |group, now| group.dead.ready(now)),
        }
    }

    /// Delayed messages and retries: a worker holds them unacked until they are due.
    fn delayed(&self, now: Duration) -> Figure {
        let (ready, unacked) = (self.delay.ready(now), self.delay.unacked(now));
        match (ready.value(), unacked.value()) {
            (Some(waiting), Some(held)) => Figure::Known {
                value: waiting + held,
                age: ready.age().max(unacked.age()),
            },
            (None, _) => ready,
            _ => unacked,
        }
    }

    /// All consumers, not only those that a passive declare counts.
    fn consumers(&self, now: Duration) -> Figure {
        let declared = self.main.consumers(now);
        match (self.main.kind, declared.value(), &self.details) {
            (Kind::Stream, ..) => self.listed_consumers(now).unwrap_or(declared),
            // A passive declare counts the active one only (3.10.8, 4.0.5).
            (Kind::Quorum, Some(active @ 1..), Some(seen)) if seen.value.single_active => self
                .listed_consumers(now)
                .filter(|listed| listed.value().is_none_or(|count| count >= active))
                .unwrap_or_else(|| {
                    Figure::Unknown("one is active; those that stand by cannot be counted (yet)".into())
                }),
            // The first look at the list of queues, or at the consumers', is under way.
            (Kind::Unknown, Some(1..), _) if !self.main.is_unlisted => {
                Figure::Unknown("not known yet of what kind it is, and whether others stand by".into())
            }
            (Kind::Quorum, Some(1..), None) if !self.main.is_unlisted && now < FIRST_LIST => {
                Figure::Unknown("not known yet whether others stand by".into())
            }
            _ => declared,
        }
    }

    fn listed_consumers(&self, now: Duration) -> Option<Figure> {
        let value = self.who()?.len() as u64;
        // Not the ledger's: a stream keeps none.
        let since = self.details_since?;
        // Whoever came just before is on the list some seconds later.
        if now < since + COUNTED_BY {
            let why = "the list of consumers is some seconds late, and has not been read for that long yet";
            return Some(Figure::Unknown(why.into()));
        }
        let age = now.saturating_sub(self.details.as_ref()?.at) + STATISTICS_LAG;
        Some(Figure::Known { value, age })
    }

    pub fn is_single_active(&self) -> bool {
        self.details.as_ref().is_some_and(|seen| seen.value.single_active)
    }

    /// Who consumes, and when the broker was asked for it.
    pub fn who_when(&self) -> Option<(&[Consumer], Duration)> {
        Some((self.who()?, self.details.as_ref()?.at))
    }

    pub fn who(&self) -> Option<&[Consumer]> {
        self.details.as_ref()?.value.consumers.as_deref()
    }
}
