//! Scenes for the tests of this module: what the eyes say, second by second.

use std::time::Duration;

use super::Board;
use super::pick::Pick;
use super::sight::{Counts, Details, Eye, Kind, Listed, Listing, Seen, Sight, Stats};
use super::state::{Limits, State};

pub struct Scene {
    pub board: Board,
    pub at: Duration,
    pub kind: Kind,
    done: u64,
    delivered: u64,
    published: u64,
}

impl Scene {
    /// One queue `q`.
    pub fn new(kind: Kind) -> Self {
        Self::of(Pick::new(&["q".to_owned()]).expect("valid"), kind)
    }

    pub fn of(pick: Pick, kind: Kind) -> Self {
        Self {
            board: Board::new(pick, Limits::default()),
            at: Duration::ZERO,
            kind,
            done: 0,
            delivered: 0,
            published: 0,
        }
    }

    pub fn see(&mut self, sight: Sight) -> &mut Self {
        self.board.see(Seen { at: self.at, sight });
        self
    }

    pub fn wait(&mut self, seconds: f64) -> &mut Self {
        self.at += Duration::from_secs_f64(seconds);
        self.board.tick(self.at);
        self
    }

    /// A passive declare.
    pub fn declared(&mut self, queue: &str, ready: u64, consumers: u64) -> &mut Self {
        self.see(Sight::Declared {
            queue: queue.into(),
            counts: Some(Counts { ready, consumers }),
            took: Duration::ZERO,
        })
    }

    pub fn missing(&mut self, queue: &str) -> &mut Self {
        self.see(Sight::Declared {
            queue: queue.into(),
            counts: None,
            took: Duration::ZERO,
        })
    }

    /// A complete list: name, ready, unacked.
    pub fn listed(&mut self, queues: &[(&str, u64, u64)]) -> &mut Self {
        let queues = queues
            .iter()
            .map(|(name, ready, unacked)| Listed {
                name: (*name).into(),
                kind: self.kind,
                ready: Some(*ready),
                unacked: Some(*unacked),
            })
            .collect();
        let asked = self.at;
        self.see(Sight::Listed(Listing {
            queues,
            complete: true,
            asked,
        }))
    }

    /// Both eyes on `q`, with statistics of so many acknowledgements and deliveries more.
    pub fn look(&mut self, ready: u64, unacked: u64, consumers: u64, done: u64) -> &mut Self {
        self.declared("q", ready, consumers)
            .listed(&[("q", ready, unacked)]);
        self.statistics(done, done)
    }

    /// The next statistics count so many publishes more.
    pub fn publish(&mut self, count: u64) -> &mut Self {
        self.published += count;
        self
    }

    /// As [`Scene::look`] five times a second, for so long.
    pub fn look_for(&mut self, time: f64, ready: u64, unacked: u64, consumers: u64) -> &mut Self {
        for _ in 0..(time * 5.0) as u32 {
            self.wait(0.2).look(ready, unacked, consumers, 0);
        }
        self
    }

    pub fn statistics(&mut self, done: u64, delivered: u64) -> &mut Self {
        self.done += done;
        self.delivered += delivered;
        let stats = Stats {
            done: Some(self.done),
            delivered: Some(self.delivered),
            published: Some(self.published),
            ..Stats::default()
        };
        self.see(Sight::Details(Details {
            queue: "q".into(),
            asked: self.at,
            stats: Some(stats),
            ..Details::default()
        }))
    }

    pub fn blind(&mut self, eye: Eye) -> &mut Self {
        self.see(Sight::Blind {
            eye,
            reason: "closed".into(),
            hint: None,
        })
    }

    pub fn state(&self) -> State {
        self.board.state("q").0
    }

    pub fn why(&self) -> String {
        self.board.state("q").1
    }
}
