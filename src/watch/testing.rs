//! Scenes for the tests of this module: what the probes say, second by second.

use std::time::Duration;

use super::QueueModel;
use super::group::QueueGroup;
use super::observation::{Counts, Details, Kind, Listed, Listing, Observation, Probe, Stats, Timed};
use super::selector::QueueSelector;
use super::state::{Limits, State};

pub struct Scene {
    pub model: QueueModel,
    pub at: Duration,
    pub kind: Kind,
    done: u64,
    delivered: u64,
    published: u64,
}

impl Scene {
    /// One queue `q`.
    pub fn new(kind: Kind) -> Self {
        Self::of(QueueSelector::new(&["q".to_owned()]).expect("valid"), kind)
    }

    pub fn of(selector: QueueSelector, kind: Kind) -> Self {
        Self {
            model: QueueModel::new(selector, Limits::default()),
            at: Duration::ZERO,
            kind,
            done: 0,
            delivered: 0,
            published: 0,
        }
    }

    pub fn see(&mut self, observation: Observation) -> &mut Self {
        let (at, value) = (self.at, observation);
        self.model.see(Timed { at, value });
        self
    }

    pub fn wait(&mut self, seconds: f64) -> &mut Self {
        self.at += Duration::from_secs_f64(seconds);
        self.model.tick(self.at);
        self
    }

    /// A passive declare.
    pub fn declared(&mut self, queue: &str, ready: u64, consumers: u64) -> &mut Self {
        self.see(Observation::Declared {
            queue: queue.into(),
            counts: Some(Counts { ready, consumers }),
            took: Duration::ZERO,
        })
    }

    pub fn missing(&mut self, queue: &str) -> &mut Self {
        self.see(Observation::Declared {
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
        self.see(Observation::Listed(Listing {
            queues,
            complete: true,
            asked,
        }))
    }

    /// Both probes on `q`, with statistics of so many acknowledgements and deliveries more.
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
        self.see(Observation::Details(Details {
            queue: "q".into(),
            asked: self.at,
            stats: Some(stats),
            ..Details::default()
        }))
    }

    pub fn blind(&mut self, probe: Probe) -> &mut Self {
        self.see(Observation::Unreachable {
            probe,
            reason: "closed".into(),
            hint: None,
        })
    }

    /// What is known of `q`.
    pub fn group(&self) -> &QueueGroup {
        &self.model.groups()["q"]
    }

    pub fn state(&self) -> State {
        self.model.state("q").0
    }

    pub fn why(&self) -> String {
        self.model.state("q").1
    }
}
