//! Workers that say over the broker that they live: which of them consumes a queue, and what it runs.
//!
//! They are listened to and never asked. Which consumer is whose, the broker knows: a worker takes questions on a
//! queue of its own, at the connection on which it takes tasks; without that, the pid tells, on this machine.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;
use strum::IntoStaticStr;

use super::observation::Consumer;
use super::queue::Figure;
use crate::framework::{ControlShape, Heartbeat};
use crate::units::seconds;

/// Of more than so many no more are kept.
const MOST: usize = 1_000;
/// One that is gone is remembered for so long.
const REMEMBERED: Duration = Duration::from_secs(600);
/// The list of a queue's consumers is some seconds late; a worker without a queue for questions has none ever.
const MAILBOX_COMES_WITHIN: Duration = Duration::from_secs(20);

/// Two processes of one name are two workers.
pub type WorkerKey = (String, Option<i32>);

/// What is known of one worker.
#[derive(Debug)]
pub struct Worker {
    pub beat: Heartbeat,
    since: Duration,
    /// When its last word came.
    pub at: Duration,
    /// Its connection's end, as the broker sees it.
    address: Option<(String, u16)>,
    pub life: Life,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Life {
    Alive,
    /// Its heartbeats stay away, and it has not said that it goes.
    Silent,
    /// It has said that it goes.
    Gone,
}

#[derive(Debug, Default)]
pub struct Workers {
    /// `None`: such workers say nothing, or are not listened to.
    shape: Option<&'static ControlShape>,
    known: BTreeMap<WorkerKey, Worker>,
    /// Why nobody is heard.
    deaf: Option<String>,
    /// Since when they are listened to.
    listening: Duration,
    news: BTreeSet<WorkerKey>,
}

impl Workers {
    pub fn of(shape: Option<&'static ControlShape>) -> Self {
        Self {
            shape,
            ..Self::default()
        }
    }

    pub fn is_listened_to(&self) -> bool {
        self.shape.is_some()
    }

    pub fn get(&self, key: &WorkerKey) -> Option<&Worker> {
        self.known.get(key)
    }

    /// Those of whom something new is known since the last call.
    pub fn take_news(&mut self) -> BTreeSet<WorkerKey> {
        std::mem::take(&mut self.news)
    }

    /// Tells whether that is news.
    pub(super) fn lose(&mut self, reason: String) -> bool {
        self.deaf.replace(reason).is_none()
    }

    /// Tells whether that is news.
    pub(super) fn find(&mut self, at: Duration) -> bool {
        self.listening = at;
        self.deaf.take().is_some()
    }

    pub(super) fn hear(&mut self, beat: Heartbeat, at: Duration) {
        let key = (beat.node.clone(), beat.pid);
        if self.known.len() >= MOST && !self.known.contains_key(&key) {
            return;
        }
        let life = match beat.offline {
            true => Life::Gone,
            false => Life::Alive,
        };
        let worker = self.known.entry(key.clone()).or_insert_with(|| Worker {
            beat: beat.clone(),
            since: at,
            at,
            address: None,
            life,
        });
        (worker.beat, worker.at, worker.life) = (beat, at, life);
        self.news.insert(key);
    }

    pub(super) fn tick(&mut self, now: Duration) {
        let Some(shape) = self.shape.filter(|_| self.deaf.is_none()) else {
            return;
        };
        for (key, worker) in &mut self.known {
            let patience = Duration::from_millis(worker.beat.patience_ms(shape.heartbeat_ms));
            if worker.life == Life::Alive && now.saturating_sub(worker.at.max(self.listening)) > patience {
                worker.life = Life::Silent;
                self.news.insert(key.clone());
            }
        }
        self.known
            .retain(|_, worker| worker.life == Life::Alive || now.saturating_sub(worker.at) < REMEMBERED);
    }

    /// Queues whose consumers are worth a look: each says which connection is a worker's.
    pub fn mailboxes(&self, now: Duration) -> Vec<String> {
        let Some(shape) = self.shape else {
            return Vec::new();
        };
        let is_sought = |worker: &&Worker| {
            worker.address.is_none()
                && worker.life == Life::Alive
                && now.saturating_sub(worker.since) < MAILBOX_COMES_WITHIN
        };
        let sought = self.known.values().filter(is_sought);
        sought.map(|worker| (shape.mailbox)(&worker.beat.node)).collect()
    }

    /// The consumers of a queue that may be such a one: tells whether it is.
    pub(super) fn at_mailbox(&mut self, queue: &str, consumers: Option<&[Consumer]>) -> bool {
        let Some(shape) = self.shape else { return false };
        let is_at = |worker: &Worker| (shape.mailbox)(&worker.beat.node) == queue;
        let mut there = self.known.values_mut().filter(|worker| is_at(worker));
        let Some(worker) = there.next() else { return false };
        // Two of one name: which of them the consumer is cannot be told.
        if let (None, Some([one])) = (there.next(), consumers) {
            worker.address = one.port.map(|port| (one.host.clone(), port));
        }
        true
    }

    /// The worker that this consumer is.
    pub fn behind(&self, consumer: &Consumer) -> Option<(&WorkerKey, &Worker)> {
        let port = consumer.port?;
        let is_there = |worker: &Worker| {
            let address = worker.address.as_ref();
            address.is_some_and(|(host, at)| *host == consumer.host && *at == port)
        };
        let by_address = self.known.iter().find(|(_, worker)| is_there(worker));
        by_address.or_else(|| {
            let pid = consumer.pid?;
            let mut same = self
                .known
                .iter()
                .filter(|((_, of), worker)| *of == Some(pid) && worker.address.is_none());
            same.next().filter(|_| same.next().is_none())
        })
    }

    /// What the workers among these consumers say.
    pub fn words_of(&self, who: &[Consumer], now: Duration) -> Vec<String> {
        let found = who.iter().filter_map(|consumer| self.behind(consumer));
        let found: BTreeMap<&WorkerKey, &Worker> = found.collect();
        found.values().map(|worker| worker.words(now)).collect()
    }

    /// Tasks that the consumers of a queue run, whichever queue they have them from.
    pub fn active(&self, who: Option<(&[Consumer], Duration)>, now: Duration) -> Figure {
        if let Some(deaf) = &self.deaf {
            return Figure::Unknown(deaf.clone());
        }
        let Some((who, listed)) = who else {
            return Figure::Unknown("the broker has not listed the consumers (yet)".into());
        };
        let mut counted: BTreeMap<&WorkerKey, u64> = BTreeMap::new();
        let mut age = match who {
            [] => now.saturating_sub(listed),
            _ => Duration::ZERO,
        };
        for consumer in who {
            let Some((key, worker)) = self.behind(consumer) else {
                let who = consumer
                    .port
                    .map_or(consumer.host.clone(), |port| format!("{}:{port}", consumer.host));
                return Figure::Unknown(format!("which worker consumes from {who} is not known (yet)"));
            };
            let node = &worker.beat.node;
            let silent = now.saturating_sub(worker.at);
            match (worker.life, worker.beat.active) {
                (Life::Alive, Some(active)) => {
                    counted.insert(key, active);
                    age = age.max(silent);
                }
                (Life::Alive, None) => return Figure::Unknown(format!("{node} does not say it")),
                (Life::Silent, _) => {
                    let ago = seconds(silent);
                    return Figure::Unknown(format!("{node} has sent no heartbeat for {ago}"));
                }
                (Life::Gone, _) => return Figure::Unknown(format!("{node} has said that it goes")),
            }
        }
        Figure::Known {
            value: counted.values().sum(),
            age,
        }
    }
}

/// Messages that the consumers may hold at once.
pub fn prefetch(who: Option<(&[Consumer], Duration)>, now: Duration) -> Figure {
    let Some((who, listed)) = who else {
        return Figure::Unknown("the broker has not listed the consumers (yet)".into());
    };
    if who.iter().any(|consumer| consumer.prefetch == 0) {
        return Figure::Unknown(
            "a consumer has no limit of its own: its channel has one, or nothing has".into(),
        );
    }
    Figure::Known {
        value: who.iter().map(|consumer| consumer.prefetch).sum(),
        age: now.saturating_sub(listed),
    }
}

impl Worker {
    /// `celery@vm: runs 2, has taken 15, load 0.5`, and what is not as it should be.
    pub fn words(&self, now: Duration) -> String {
        let node = &self.beat.node;
        let ago = seconds(now.saturating_sub(self.at));
        match self.life {
            Life::Gone => return format!("{node} has said that it goes, {ago} ago"),
            Life::Silent => return format!("{node} has sent no heartbeat for {ago}"),
            Life::Alive => {}
        }
        let mut words = vec![];
        words.extend(self.beat.active.map(|active| format!("runs {active}")));
        words.extend(self.beat.processed.map(|taken| format!("has taken {taken}")));
        words.extend(self.beat.load.first().map(|load| format!("load {load:.1}")));
        words.extend(
            self.beat
                .version
                .as_ref()
                .map(|version| format!("version {version}")),
        );
        match words.is_empty() {
            true => node.clone(),
            false => format!("{node}: {}", words.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::QueueModel;
    use super::super::observation::{Counts, Details, Kind, Observation};
    use super::super::testing::Scene;
    use super::*;
    use crate::framework::Framework;

    fn beat(node: &str, pid: i32, active: u64) -> Observation {
        Observation::Heartbeat(Heartbeat {
            node: node.into(),
            pid: Some(pid),
            active: Some(active),
            every_ms: Some(2_000),
            ..Heartbeat::default()
        })
    }

    fn consumer(port: u16, pid: Option<i32>, prefetch: u64) -> Consumer {
        Consumer {
            host: "10.0.0.7".into(),
            port: Some(port),
            user: "app".into(),
            tag: "None4".into(),
            prefetch,
            pid,
            command: None,
            process_state: None,
        }
    }

    fn consumed(queue: &str, who: Vec<Consumer>) -> Observation {
        Observation::Details(Details {
            queue: queue.into(),
            consumers: Some(who),
            ..Details::default()
        })
    }

    fn scene() -> Scene {
        let mut scene = Scene::new(Kind::Classic);
        let framework = Framework::named("celery").expect("a framework");
        scene.model = QueueModel::new(
            super::super::selector::QueueSelector::new(&["q".to_owned()]).expect("valid"),
            super::super::state::Limits::default(),
        )
        .listening(framework.control.as_ref());
        scene.see(Observation::Declared {
            queue: "q".into(),
            counts: Some(Counts {
                ready: 0,
                consumers: 1,
            }),
            took: Duration::ZERO,
        });
        scene
    }

    fn active(scene: &Scene) -> Figure {
        let group = &scene.model.groups()["q"];
        scene.model.active(group).expect("they are listened to")
    }

    #[test]
    fn the_broker_says_which_consumer_is_whose() {
        let mut scene = scene();
        scene.see(beat("celery@a", 7, 2)).see(beat("celery@b", 7, 5));
        assert_eq!(scene.model.workers().mailboxes(scene.at).len(), 2);
        scene.see(consumed("q", vec![consumer(4000, None, 8)]));
        // Two live, and nothing says which of them it is.
        assert_eq!(active(&scene).value(), None);
        scene.see(consumed("celery@a.celery.pidbox", vec![consumer(4000, None, 0)]));
        assert_eq!(active(&scene).value(), Some(2));
        assert_eq!(scene.model.workers().mailboxes(scene.at).len(), 1);
        let group = &scene.model.groups()["q"];
        assert_eq!(prefetch(group.who_when(), scene.at).value(), Some(8));
    }

    #[test]
    fn without_a_mailbox_the_pid_does_if_only_one_has_it() {
        let mut scene = scene();
        scene
            .see(beat("celery@a", 7, 1))
            .see(consumed("q", vec![consumer(4000, Some(7), 0)]));
        assert_eq!(active(&scene).value(), Some(1));
        // Two containers: the same pid.
        scene.see(beat("celery@b", 7, 3));
        assert_eq!(active(&scene).value(), None);
        let group = &scene.model.groups()["q"];
        assert_eq!(prefetch(group.who_when(), scene.at).value(), None);
    }

    #[test]
    fn silence_is_no_figure() {
        let mut scene = scene();
        scene
            .see(beat("celery@a", 7, 1))
            .see(consumed("q", vec![consumer(4000, Some(7), 8)]));
        scene.wait(4.0);
        assert_eq!(active(&scene).age(), Duration::from_secs(4));
        scene.wait(2.0);
        assert!(matches!(active(&scene), Figure::Unknown(why) if why.contains("no heartbeat for 6")));
        let life = |scene: &Scene| {
            let key = ("celery@a".to_owned(), Some(7));
            scene.model.workers().get(&key).map(|worker| worker.life)
        };
        assert_eq!(life(&scene), Some(Life::Silent));
        scene.see(beat("celery@a", 7, 0));
        assert_eq!(
            (life(&scene), active(&scene).value()),
            (Some(Life::Alive), Some(0))
        );
        // While nobody can be heard, nobody is called silent.
        scene
            .see(Observation::Deaf {
                reason: "lost".into(),
                hint: None,
            })
            .wait(60.0);
        assert_eq!(life(&scene), Some(Life::Alive));
        assert_eq!(active(&scene), Figure::Unknown("lost".into()));
        scene.see(Observation::Listening).wait(3.0);
        assert_eq!(life(&scene), Some(Life::Alive));
        scene.wait(3.0);
        assert_eq!(life(&scene), Some(Life::Silent));
    }

    #[test]
    fn one_that_beats_seldom_is_waited_for() {
        let mut scene = scene();
        scene.see(Observation::Heartbeat(Heartbeat {
            node: "celery@slow".into(),
            every_ms: Some(30_000),
            ..Heartbeat::default()
        }));
        scene.wait(60.0);
        let key = ("celery@slow".to_owned(), None);
        let life = scene.model.workers().get(&key).map(|worker| worker.life);
        assert_eq!(life, Some(Life::Alive));
    }

    #[test]
    fn nobody_is_heard_where_workers_do_not_speak() {
        let scene = Scene::new(Kind::Classic);
        assert!(scene.model.active(&scene.model.groups()["q"]).is_none());
    }
}
