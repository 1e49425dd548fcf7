//! How long a message waited in its queue: its publish and its delivery, matched by queue and id.
//!
//! A retried or delayed copy has the same id. Where two publishes of one id wait for the same queue,
//! nobody can tell which of them a delivery is: then there is no latency, rather than a wrong one.

use std::collections::HashMap;

/// Publishes that are remembered, at least; twice as many at most.
const REMEMBERED: usize = 100_000;

#[derive(Debug, Clone, Copy)]
struct Waiting {
    since_ms: f64,
    publishes: u32,
}

/// Keys are hashes of queue and id.
#[derive(Debug, Default)]
pub struct Pairing {
    /// Two generations: when the young one is full it becomes the old one, which is forgotten.
    young: HashMap<u64, Waiting>,
    old: HashMap<u64, Waiting>,
}

impl Pairing {
    pub fn published(&mut self, key: u64, at_ms: f64) {
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        let before = self.old.remove(&key).map_or(0, |waiting| waiting.publishes);
        let waiting = self.young.entry(key).or_insert(Waiting {
            since_ms: at_ms,
            publishes: before,
        });
        waiting.publishes = waiting.publishes.saturating_add(1);
    }

    /// Milliseconds since its publish, where that can be told.
    pub fn delivered(&mut self, key: u64, at_ms: f64) -> Option<f64> {
        let generation = if self.young.contains_key(&key) {
            &mut self.young
        } else {
            &mut self.old
        };
        let waiting = generation.get_mut(&key)?;
        if waiting.publishes == 1 {
            let since = waiting.since_ms;
            generation.remove(&key);
            return since.is_finite().then(|| (at_ms - since).max(0.0));
        }
        waiting.publishes -= 1;
        // The ones that are left cannot be told apart either.
        waiting.since_ms = f64::NAN;
        None
    }

    pub fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_finds_its_publish() {
        let mut pairing = Pairing::default();
        pairing.published(1, 10.0);
        pairing.published(2, 11.0);
        assert_eq!(pairing.delivered(1, 12.5), Some(2.5));
        assert_eq!(pairing.delivered(1, 13.0), None, "only once");
        assert_eq!(pairing.delivered(3, 13.0), None, "published before we looked");
        // The next attempt of the same message.
        pairing.published(1, 20.0);
        assert_eq!(pairing.delivered(1, 21.0), Some(1.0));
    }

    #[test]
    fn two_copies_in_one_queue_cannot_be_told_apart() {
        let mut pairing = Pairing::default();
        pairing.published(1, 10.0);
        pairing.published(1, 20.0);
        assert_eq!(pairing.delivered(1, 21.0), None);
        assert_eq!(pairing.delivered(1, 22.0), None, "nor which one is left");
        pairing.published(1, 30.0);
        assert_eq!(pairing.delivered(1, 31.0), Some(1.0));
    }

    #[test]
    fn what_was_forgotten_has_no_latency() {
        let mut pairing = Pairing::default();
        pairing.published(0, 1.0);
        for key in 1..=(2 * REMEMBERED as u64) {
            pairing.published(key, 2.0);
        }
        assert_eq!(pairing.delivered(0, 3.0), None);
        assert_eq!(pairing.delivered(2 * REMEMBERED as u64, 3.0), Some(1.0));
        assert!(pairing.young.len() + pairing.old.len() <= 2 * REMEMBERED);
        pairing.published(7_000_000, 5.0);
        pairing.clear();
        assert_eq!(pairing.delivered(7_000_000, 6.0), None);
    }
}
