//! The live view of queues: what the probes see becomes rows with a state, conditions, lines.
//!
//! Pure: time comes in with each look, as a duration since the watch began.

mod consumers;
pub mod group;
mod ledger;
pub mod lines;
mod listing;
pub mod observation;
pub mod printer;
pub mod queue;
pub mod selector;
mod series;
pub mod state;
pub mod table;
#[cfg(test)]
mod testing;
pub mod until;
mod worker_row;
pub mod workers;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use group::QueueGroup;
use listing::news;
use observation::{Counts, Kind, LEADER_SILENT, Observation, Probe, Timed};
use selector::{QueueSelector, Role};
use state::{Limits, State};
use workers::Workers;

use crate::framework::{ControlShape, Queues};

/// All that is known of the watched queues.
#[derive(Debug)]
pub struct QueueModel {
    selector: QueueSelector,
    limits: Limits,
    groups: BTreeMap<String, QueueGroup>,
    amqp: Connectivity,
    management: Connectivity,
    /// A complete list has come in: what appears from now on is new.
    listed: bool,
    dirty: BTreeSet<String>,
    events: Vec<Timed<QueueEvent>>,
    workers: Workers,
    has_seen: bool,
    now: Duration,
}

/// An AMQP connection that is not open by then is not waited for.
const SOON: Duration = Duration::from_millis(500);

/// Whether a probe gets answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Connectivity {
    Opening,
    Open,
    Closed { reason: String, hint: Option<String> },
}

/// What is told as an event, not as a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueEvent {
    Created(String),
    Deleted(String),
    Lost {
        probe: Probe,
        reason: String,
        hint: Option<String>,
    },
    Found {
        probe: Probe,
    },
    /// The first complete list: so many queues are watched.
    Listed {
        queues: usize,
    },
    /// Workers cannot be listened to.
    Deaf {
        reason: String,
        hint: Option<String>,
    },
    /// They can again.
    Listening,
}

impl QueueModel {
    pub fn new(selector: QueueSelector, limits: Limits) -> Self {
        let names = selector.names().iter();
        Self {
            groups: names.map(|name| (name.clone(), QueueGroup::default())).collect(),
            selector,
            limits,
            amqp: Connectivity::Opening,
            management: Connectivity::Opening,
            listed: false,
            dirty: BTreeSet::new(),
            events: Vec::new(),
            workers: Workers::default(),
            has_seen: false,
            now: Duration::ZERO,
        }
    }

    /// Workers of this shape are listened to.
    pub fn listening(mut self, shape: Option<&'static ControlShape>) -> Self {
        self.workers = Workers::of(shape);
        self
    }

    pub fn now(&self) -> Duration {
        self.now
    }

    pub fn workers(&self) -> &Workers {
        &self.workers
    }

    pub fn workers_mut(&mut self) -> &mut Workers {
        &mut self.workers
    }

    /// Tasks that the consumers of this queue run; `None`: nobody is listened to.
    pub fn active(&self, group: &QueueGroup) -> Option<queue::Figure> {
        let is_heard = self.workers.is_listened_to();
        is_heard.then(|| self.workers.active(group.who_when(), self.now))
    }

    /// How companions are named.
    pub fn queues(&self) -> &'static Queues {
        self.selector.queues()
    }

    /// Time passes; what depends on it is looked at again.
    pub fn tick(&mut self, now: Duration) {
        self.now = self.now.max(now);
        self.workers.tick(self.now);
    }

    pub fn groups(&self) -> &BTreeMap<String, QueueGroup> {
        &self.groups
    }

    pub fn connectivity(&self, probe: Probe) -> &Connectivity {
        match probe {
            Probe::Amqp => &self.amqp,
            Probe::Management => &self.management,
        }
    }

    fn connectivity_mut(&mut self, probe: Probe) -> &mut Connectivity {
        match probe {
            Probe::Amqp => &mut self.amqp,
            Probe::Management => &mut self.management,
        }
    }

    /// Something could be looked at.
    pub fn has_seen(&self) -> bool {
        self.has_seen
    }

    /// The queues were listed once, or are known by name.
    pub fn is_complete(&self) -> bool {
        self.listed || self.selector.exact().is_some()
    }

    /// Names of rows about which something new was seen since the last call.
    pub fn take_dirty(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.dirty)
    }

    /// So few queues were asked for that each is about to be looked at by passive declare, and has
    /// not been yet.
    pub fn is_about_to_be_seen(&self, group: &QueueGroup) -> bool {
        self.amqp == Connectivity::Opening
            && self.now < SOON
            && !group.main.is_declared
            && self.selector.exact().is_some_and(|names| names.len() <= 5)
    }

    pub fn mark_dirty(&mut self, names: impl IntoIterator<Item = String>) {
        self.dirty.extend(names);
    }

    pub fn take_events(&mut self) -> Vec<Timed<QueueEvent>> {
        std::mem::take(&mut self.events)
    }

    pub fn state(&self, name: &str) -> (State, String) {
        let Some(group) = self.groups.get(name) else {
            return (State::Missing, "there is no such queue".into());
        };
        let (state, mut why) = state::state(group, self.now, &self.limits);
        if state == State::Unknown {
            for probe in [Probe::Amqp, Probe::Management] {
                match self.connectivity(probe) {
                    Connectivity::Closed { reason, .. } => {
                        why.push_str(&format!(" ({}: {reason})", probe.name()));
                    }
                    Connectivity::Opening => {
                        why.push_str(&format!(" ({} has not answered yet)", probe.name()));
                    }
                    Connectivity::Open => {}
                }
            }
        }
        (state, why)
    }

    pub fn see(&mut self, seen: Timed<Observation>) {
        let at = seen.at;
        self.tick(at);
        self.has_seen |= matches!(
            seen.value,
            Observation::Declared { .. } | Observation::Down { .. } | Observation::Listed(_)
        );
        match seen.value {
            Observation::Declared { queue, counts, took } => {
                self.change(&queue, at, |group, role| declared(group, role, counts, took, at));
            }
            Observation::Refused { queue, reason } => {
                self.change(&queue, at, |group, role| group.refused(role, reason));
            }
            Observation::Down { queue, why } => {
                self.change(&queue, at, |group, role| group.is_down(role, why));
            }
            Observation::Listed(listing) => self.list(&listing, at),
            Observation::Details(details) => {
                let queue = details.queue.clone();
                self.workers.at_mailbox(&queue, details.consumers.as_deref());
                self.change(&queue, at, |group, role| group.detailed(role, details));
            }
            Observation::Unreachable { probe, reason, hint } => self.lose(probe, reason, hint, at),
            Observation::Reachable { probe } => {
                let before = std::mem::replace(self.connectivity_mut(probe), Connectivity::Open);
                if matches!(before, Connectivity::Closed { .. }) {
                    self.happen(at, QueueEvent::Found { probe });
                }
            }
            Observation::Heartbeat(beat) => {
                self.workers.hear(beat, at);
                let consumed = self.groups.iter().filter(|(_, group)| group.who().is_some());
                self.dirty.extend(consumed.map(|(name, _)| name.clone()));
            }
            Observation::Deaf { reason, hint } => {
                if self.workers.lose(reason.clone()) {
                    self.happen(at, QueueEvent::Deaf { reason, hint });
                }
            }
            Observation::Listening => {
                if self.workers.find(at) {
                    self.happen(at, QueueEvent::Listening);
                }
            }
        }
    }

    fn lose(&mut self, probe: Probe, reason: String, hint: Option<String>, at: Duration) {
        let closed = Connectivity::Closed {
            reason: reason.clone(),
            hint: hint.clone(),
        };
        let before = std::mem::replace(self.connectivity_mut(probe), closed);
        if matches!(before, Connectivity::Closed { .. }) {
            return;
        }
        for group in self.groups.values_mut() {
            match probe {
                Probe::Amqp => group.amqp_lost(),
                Probe::Management => group.management_lost(),
            }
        }
        self.dirty.extend(self.groups.keys().cloned());
        self.happen(at, QueueEvent::Lost { probe, reason, hint });
    }

    /// The row that shows this queue, as far as there are rows.
    fn place<'a>(&self, queue: &'a str) -> Option<(&'a str, Role)> {
        self.selector.place(queue, |base| self.groups.contains_key(base))
    }

    /// Changes the row of a queue, and tells if the queue has come or gone.
    fn change(&mut self, queue: &str, at: Duration, change: impl FnOnce(&mut QueueGroup, Role)) {
        let Some((name, role)) = self.place(queue) else {
            return;
        };
        let Some(group) = self.groups.get_mut(name) else {
            return;
        };
        let before = group.queue(role).exists;
        change(group, role);
        let after = group.queue(role).exists;
        self.events
            .extend(news(self.queues(), name, role, before, after, at));
        self.dirty.insert(name.to_owned());
        // A row that nobody named has nothing more to say.
        if role == Role::Main && after == Some(false) && !self.is_named(name) {
            self.groups.remove(name);
        }
    }

    fn is_named(&self, name: &str) -> bool {
        self.selector.names().iter().any(|known| known == name)
    }

    fn happen(&mut self, at: Duration, value: QueueEvent) {
        self.events.push(Timed { at, value });
    }
}

/// A passive declare: nothing, after a long time, may only mean that nobody answered for the queue.
fn declared(group: &mut QueueGroup, role: Role, counts: Option<Counts>, took: Duration, at: Duration) {
    let has_nothing = counts.is_some_and(|counts| counts.ready == 0 && counts.consumers == 0);
    if has_nothing && took >= LEADER_SILENT && group.queue(role).kind != Kind::Classic {
        let reason = "the answer took so long that it may only mean that the queue's leader is silent";
        group.refused(role, reason.into());
    } else {
        group.declared(role, counts, at);
    }
}

#[cfg(test)]
mod tests {
    use super::observation::{Listed, Listing};
    use super::testing::Scene;
    use super::*;

    fn rows(scene: &Scene) -> Vec<&str> {
        scene.model.groups().keys().map(String::as_str).collect()
    }

    fn happened(scene: &mut Scene) -> Vec<QueueEvent> {
        scene
            .model
            .take_events()
            .into_iter()
            .map(|happened| happened.value)
            .collect()
    }

    #[test]
    fn queues_come_and_go() {
        let mut scene = Scene::of(QueueSelector::all(), Kind::Classic);
        scene.listed(&[("a.XQ", 1, 0), ("a", 0, 0), ("b", 0, 0)]);
        assert_eq!(rows(&scene), ["a", "b"]);
        assert_eq!(happened(&mut scene), [QueueEvent::Listed { queues: 2 }]);
        scene
            .wait(1.0)
            .listed(&[("a.XQ", 1, 0), ("b", 0, 0), ("c", 0, 0)]);
        // Nobody's companion is a row of its own.
        assert_eq!(rows(&scene), ["a.XQ", "b", "c"]);
        let news = happened(&mut scene);
        assert!(news.contains(&QueueEvent::Deleted("a".into())), "{news:?}");
        assert!(news.contains(&QueueEvent::Created("c".into())), "{news:?}");
        scene
            .wait(1.0)
            .listed(&[("a", 0, 0), ("a.XQ", 1, 0), ("b", 0, 0), ("c", 0, 0)]);
        assert_eq!(rows(&scene), ["a", "b", "c"]);
        assert_eq!(scene.model.groups()["a"].dead.total(), Some(1));
    }

    #[test]
    fn a_queue_that_was_named_stays_when_it_is_deleted() {
        let mut scene = Scene::new(Kind::Classic);
        scene.look(1, 0, 0, 0).wait(0.1);
        let asked = scene.at;
        scene.wait(0.1).missing("q");
        assert_eq!(happened(&mut scene), [QueueEvent::Deleted("q".into())]);
        // A list that was asked for before says nothing new.
        let listing = Listing {
            queues: vec![Listed {
                name: "q".into(),
                kind: Kind::Classic,
                ready: Some(1),
                unacked: Some(0),
            }],
            complete: true,
            asked,
        };
        scene.see(Observation::Listed(listing));
        assert_eq!((scene.state(), happened(&mut scene)), (State::Missing, vec![]));
        scene.wait(1.0).declared("q", 0, 0);
        assert_eq!(happened(&mut scene), [QueueEvent::Created("q".into())]);
    }

    #[test]
    fn a_lost_eye_is_told_once() {
        let mut scene = Scene::new(Kind::Classic);
        scene.blind(Probe::Amqp).blind(Probe::Amqp);
        assert_eq!(happened(&mut scene).len(), 1);
        scene.see(Observation::Reachable { probe: Probe::Amqp });
        assert_eq!(happened(&mut scene), [QueueEvent::Found { probe: Probe::Amqp }]);
        scene.see(Observation::Reachable { probe: Probe::Amqp });
        assert!(happened(&mut scene).is_empty());
    }

    /// As a quorum queue without a leader is answered for.
    #[test]
    fn nothing_after_a_long_time_is_no_answer() {
        for (kind, expected) in [(Kind::Classic, State::Idle), (Kind::Quorum, State::Unknown)] {
            let mut scene = Scene::new(kind);
            scene.look(0, 0, 0, 0).wait(7.0).listed(&[("q", 0, 0)]);
            let counts = Some(Counts {
                ready: 0,
                consumers: 0,
            });
            scene.see(Observation::Declared {
                queue: "q".into(),
                counts,
                took: Duration::from_millis(251),
            });
            let seen = scene.group().figure(group::Quantity::Consumers, scene.at).value();
            assert_eq!(seen.is_some(), expected == State::Idle, "{kind:?}");
            scene.declared("q", 0, 0);
            assert_eq!(scene.state(), State::Idle);
        }
    }

    /// What was shown is not replaced by what was before.
    #[test]
    fn no_figure_goes_back_in_time() {
        for kind in [Kind::Classic, Kind::Quorum] {
            let mut scene = Scene::new(kind);
            let ready = |scene: &Scene| match scene.group().main.ready(scene.at) {
                queue::Figure::Known { value, age } => (value, age.as_secs_f64()),
                other => panic!("{other:?}"),
            };
            let lag = kind.lag().as_secs_f64();
            scene.listed(&[("q", 3, 0)]);
            assert_eq!(ready(&scene), (3, lag));
            scene.wait(1.0).declared("q", 7, 0).wait(0.5).blind(Probe::Amqp);
            assert_eq!(
                ready(&scene),
                (7, 0.5),
                "{kind:?}: as it was last seen, and how old that is"
            );
            scene.wait(3.5).listed(&[("q", 4, 0)]);
            let lags = !kind.lag().is_zero();
            // A quorum queue counted these some time in the last five seconds: perhaps before.
            assert_eq!(ready(&scene), if lags { (7, 4.0) } else { (4, 0.0) });
            scene.wait(2.0).listed(&[("q", 5, 0)]);
            assert_eq!(ready(&scene), (5, lag));
            scene.wait(1.0).declared("q", 9, 0);
            assert_eq!(ready(&scene), (9, 0.0));
            // No longer on screen, and no longer looked at: the same.
            scene.wait(10.0);
            assert_eq!(ready(&scene), (9, 10.0));
        }
    }

    /// Part of a list: what is not in it may exist.
    #[test]
    fn an_incomplete_list_removes_nothing() {
        let mut scene = Scene::of(QueueSelector::all(), Kind::Classic);
        scene.listed(&[("a", 0, 0)]);
        let listing = Listing {
            complete: false,
            ..Listing::default()
        };
        scene.wait(1.0).see(Observation::Listed(listing));
        assert_eq!(rows(&scene), ["a"]);
    }
}
