//! The live view of queues: what the eyes see becomes rows with a state, conditions, lines.
//!
//! Pure: time comes in with each look, as a duration since the watch began.

pub mod family;
mod leaving;
pub mod lines;
pub mod pick;
pub mod sight;
pub mod state;
pub mod table;
#[cfg(test)]
mod testing;
pub mod until;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use family::Family;
use pick::{Pick, Role};
use sight::{Counts, Eye, Kind, LEADER_SILENT, Listed, Listing, Seen, Sight};
use state::{Limits, State};

use crate::framework::dramatiq::{dead_letter_queue, delay_queue};

/// All that is known of the watched queues.
#[derive(Debug)]
pub struct Board {
    pick: Pick,
    pub limits: Limits,
    families: BTreeMap<String, Family>,
    amqp: EyeState,
    management: EyeState,
    /// A complete list has come in: what appears from now on is new.
    listed: bool,
    dirty: BTreeSet<String>,
    happened: Vec<Happened>,
    seen: bool,
    now: Duration,
}

/// An AMQP connection that is not open by then is not waited for.
const SOON: Duration = Duration::from_millis(500);

/// Whether an eye is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EyeState {
    Opening,
    Open,
    Closed { reason: String, hint: Option<String> },
}

/// What is told as an event, not as a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    pub at: Duration,
    pub what: Happening,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    Created(String),
    Deleted(String),
    Lost {
        eye: Eye,
        reason: String,
        hint: Option<String>,
    },
    Found {
        eye: Eye,
    },
    /// The first complete list: so many queues are watched.
    Listed {
        queues: usize,
    },
}

impl Board {
    pub fn new(pick: Pick, limits: Limits) -> Self {
        let families: BTreeMap<String, Family> = pick
            .names()
            .iter()
            .map(|name| (name.clone(), Family::default()))
            .collect();
        Self {
            pick,
            limits,
            families,
            amqp: EyeState::Opening,
            management: EyeState::Opening,
            listed: false,
            dirty: BTreeSet::new(),
            happened: Vec::new(),
            seen: false,
            now: Duration::ZERO,
        }
    }

    pub fn now(&self) -> Duration {
        self.now
    }

    /// Time passes; what depends on it is looked at again.
    pub fn tick(&mut self, now: Duration) {
        self.now = self.now.max(now);
    }

    pub fn families(&self) -> &BTreeMap<String, Family> {
        &self.families
    }

    pub fn eye(&self, eye: Eye) -> &EyeState {
        match eye {
            Eye::Amqp => &self.amqp,
            Eye::Management => &self.management,
        }
    }

    /// Something could be looked at.
    pub fn has_seen(&self) -> bool {
        self.seen
    }

    /// The queues were listed once, or are known by name.
    pub fn is_complete(&self) -> bool {
        self.listed || self.pick.exact().is_some()
    }

    /// Names of rows about which something new was seen since the last call.
    pub fn take_dirty(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.dirty)
    }

    /// So few queues were asked for that each is about to be looked at by passive declare, and has
    /// not been yet.
    pub fn is_about_to_be_seen(&self, family: &Family) -> bool {
        self.amqp == EyeState::Opening
            && self.now < SOON
            && family.main.declared.is_none()
            && self.pick.exact().is_some_and(|names| names.len() <= 5)
    }

    pub fn mark_dirty(&mut self, names: impl IntoIterator<Item = String>) {
        self.dirty.extend(names);
    }

    pub fn take_happened(&mut self) -> Vec<Happened> {
        std::mem::take(&mut self.happened)
    }

    pub fn state(&self, name: &str) -> (State, String) {
        match self.families.get(name) {
            Some(family) => {
                let (state, mut why) = state::state(family, self.now, &self.limits);
                if state == State::Unknown {
                    for (eye, sight) in [(Eye::Amqp, &self.amqp), (Eye::Management, &self.management)] {
                        match sight {
                            EyeState::Closed { reason, .. } => {
                                why.push_str(&format!(" ({}: {reason})", eye.name()));
                            }
                            EyeState::Opening => {
                                why.push_str(&format!(" ({} has not answered yet)", eye.name()));
                            }
                            EyeState::Open => {}
                        }
                    }
                }
                (state, why)
            }
            None => (State::Missing, "there is no such queue".into()),
        }
    }

    pub fn see(&mut self, seen: Seen) {
        let Seen { at, sight } = seen;
        self.now = self.now.max(at);
        self.seen |= matches!(
            sight,
            Sight::Declared { .. } | Sight::Down { .. } | Sight::Listed(_)
        );
        match sight {
            Sight::Declared { queue, counts, took } => {
                if let Some((name, role)) = self.place(&queue) {
                    let nothing = Counts {
                        ready: 0,
                        consumers: 0,
                    };
                    self.change(&name, role, at, |family| {
                        let is_doubtful = counts == Some(nothing)
                            && took >= LEADER_SILENT
                            && family.queue(role).kind != Kind::Classic;
                        if is_doubtful {
                            let reason = "the answer took so long that it may only mean that the queue's leader is silent";
                            family.refused(role, reason.into());
                        } else {
                            family.declared(role, counts, at);
                        }
                    });
                }
            }
            Sight::Refused { queue, reason } => {
                if let Some((name, role)) = self.place(&queue) {
                    self.change(&name, role, at, |family| family.refused(role, reason));
                }
            }
            Sight::Down { queue, why } => {
                if let Some((name, role)) = self.place(&queue) {
                    self.change(&name, role, at, |family| family.is_down(role, why));
                }
            }
            Sight::Listed(listing) => self.list(&listing, at),
            Sight::Details(details) => {
                if let Some((name, role)) = self.place(&details.queue) {
                    self.change(&name, role, at, |family| family.detailed(role, details));
                }
            }
            Sight::Blind { eye, reason, hint } => self.blind(eye, reason, hint, at),
            Sight::Sees { eye } => {
                let sight = match eye {
                    Eye::Amqp => &mut self.amqp,
                    Eye::Management => &mut self.management,
                };
                let was_closed = matches!(sight, EyeState::Closed { .. });
                *sight = EyeState::Open;
                if was_closed {
                    self.happen(at, Happening::Found { eye });
                }
            }
        }
    }

    fn blind(&mut self, eye: Eye, reason: String, hint: Option<String>, at: Duration) {
        let sight = match eye {
            Eye::Amqp => &mut self.amqp,
            Eye::Management => &mut self.management,
        };
        let closed = EyeState::Closed {
            reason: reason.clone(),
            hint: hint.clone(),
        };
        let news = !matches!(sight, EyeState::Closed { .. });
        *sight = closed;
        if news {
            for family in self.families.values_mut() {
                match eye {
                    Eye::Amqp => family.amqp_lost(),
                    Eye::Management => family.management_lost(),
                }
            }
            self.dirty.extend(self.families.keys().cloned());
            self.happen(at, Happening::Lost { eye, reason, hint });
        }
    }

    fn place(&self, queue: &str) -> Option<(String, Role)> {
        let exists = |base: &str| self.families.contains_key(base);
        self.pick
            .place(queue, exists)
            .map(|(name, role)| (name.to_owned(), role))
    }

    /// Changes a row, and tells if a queue has come or gone.
    fn change(&mut self, name: &str, role: Role, at: Duration, change: impl FnOnce(&mut Family)) {
        let Some(family) = self.families.get_mut(name) else {
            return;
        };
        let before = family.queue(role).exists;
        change(family);
        let after = family.queue(role).exists;
        self.happened.extend(news(name, role, before, after, at));
        self.dirty.insert(name.to_owned());
        // A row that nobody named has nothing more to say.
        if role == Role::Main && after == Some(false) && !self.is_named(name) {
            self.families.remove(name);
        }
    }

    fn is_named(&self, name: &str) -> bool {
        self.pick.names().iter().any(|known| known == name)
    }

    fn list(&mut self, listing: &Listing, at: Duration) {
        if self.pick.exact().is_none() {
            if listing.complete {
                self.remove_unlisted(listing, at);
            }
            self.add_listed(listing, at);
        }
        let mut rows: HashMap<&str, [Option<&Listed>; 3]> = HashMap::with_capacity(listing.queues.len());
        for listed in &listing.queues {
            let exists = |base: &str| self.families.contains_key(base);
            if let Some((name, role)) = self.pick.place(&listed.name, exists) {
                rows.entry(name).or_default()[role as usize] = Some(listed);
            }
        }
        let mut looked = BTreeSet::new();
        let mut gone = Vec::new();
        for (name, family) in &mut self.families {
            let found = rows.get(name.as_str());
            if found.is_none() && !listing.complete {
                continue;
            }
            // The queue last: whether it is empty depends on its companions.
            for role in [Role::Delay, Role::Dead, Role::Main] {
                let listed = found.and_then(|found| found[role as usize]);
                if listed.is_none() && !listing.complete {
                    continue;
                }
                let before = family.queue(role).exists;
                family.listed(role, listed, listing, at);
                let after = family.queue(role).exists;
                self.happened.extend(news(name, role, before, after, at));
            }
            if family.main.exists == Some(false) {
                gone.push(name.clone());
            }
            looked.insert(name.clone());
        }
        for name in gone {
            if !self.is_named(&name) {
                self.families.remove(&name);
            }
        }
        self.dirty.append(&mut looked);
        if listing.complete && !self.listed {
            self.listed = true;
            if self.pick.exact().is_some() {
                return;
            }
            let queues = self.families.len();
            self.happen(at, Happening::Listed { queues });
        }
    }

    /// First what has gone, so that its companions become rows of their own.
    fn remove_unlisted(&mut self, listing: &Listing, at: Duration) {
        let there: HashSet<&str> = listing.queues.iter().map(|listed| listed.name.as_str()).collect();
        let gone: Vec<String> = self
            .families
            .keys()
            .filter(|name| !there.contains(name.as_str()))
            .cloned()
            .collect();
        for name in gone {
            self.change(&name, Role::Main, at, |family| {
                family.listed(Role::Main, None, listing, at);
            });
        }
    }

    /// Queues before their companions, so that these find them.
    fn add_listed(&mut self, listing: &Listing, at: Duration) {
        let is_companion = |name: &str| crate::framework::dramatiq::base_queue(name) != name;
        for companions in [false, true] {
            let new: Vec<String> = listing
                .queues
                .iter()
                .map(|listed| listed.name.as_str())
                .filter(|name| is_companion(name) == companions && !self.families.contains_key(*name))
                .filter_map(|name| match self.place(name) {
                    Some((name, Role::Main)) => Some(name),
                    _ => None,
                })
                .collect();
            // All at once: one after the other, in their order, they would leave the map half empty,
            // and ten thousand rows take 10 MB more.
            let mut rows = new.iter().map(|name| (name.clone(), Family::default())).collect();
            self.families.append(&mut rows);
            for name in new {
                // It has become somebody's companion.
                for row in [delay_queue(&name), dead_letter_queue(&name)] {
                    if self.place(&row).is_some_and(|(_, role)| role != Role::Main) {
                        self.families.remove(&row);
                    }
                }
                if self.listed {
                    self.happen(at, Happening::Created(name));
                }
            }
        }
    }

    fn happen(&mut self, at: Duration, what: Happening) {
        self.happened.push(Happened { at, what });
    }
}

/// A queue that has come or gone.
fn news(name: &str, role: Role, before: Option<bool>, after: Option<bool>, at: Duration) -> Option<Happened> {
    let what = match (before, after) {
        (Some(true), Some(false)) => Happening::Deleted,
        (Some(false), Some(true)) => Happening::Created,
        _ => return None,
    };
    let queue = match role {
        Role::Main => name.to_owned(),
        Role::Delay => delay_queue(name),
        Role::Dead => dead_letter_queue(name),
    };
    Some(Happened {
        at,
        what: what(queue),
    })
}

#[cfg(test)]
mod tests {
    use super::testing::Scene;
    use super::*;

    fn rows(scene: &Scene) -> Vec<&str> {
        scene.board.families().keys().map(String::as_str).collect()
    }

    fn happened(scene: &mut Scene) -> Vec<Happening> {
        scene
            .board
            .take_happened()
            .into_iter()
            .map(|happened| happened.what)
            .collect()
    }

    #[test]
    fn queues_come_and_go() {
        let mut scene = Scene::of(Pick::all(), Kind::Classic);
        scene.listed(&[("a.XQ", 1, 0), ("a", 0, 0), ("b", 0, 0)]);
        assert_eq!(rows(&scene), ["a", "b"]);
        assert_eq!(happened(&mut scene), [Happening::Listed { queues: 2 }]);
        scene
            .wait(1.0)
            .listed(&[("a.XQ", 1, 0), ("b", 0, 0), ("c", 0, 0)]);
        // Nobody's companion is a row of its own.
        assert_eq!(rows(&scene), ["a.XQ", "b", "c"]);
        let news = happened(&mut scene);
        assert!(news.contains(&Happening::Deleted("a".into())), "{news:?}");
        assert!(news.contains(&Happening::Created("c".into())), "{news:?}");
        scene
            .wait(1.0)
            .listed(&[("a", 0, 0), ("a.XQ", 1, 0), ("b", 0, 0), ("c", 0, 0)]);
        assert_eq!(rows(&scene), ["a", "b", "c"]);
        assert_eq!(scene.board.families()["a"].dead.total(), Some(1));
    }

    #[test]
    fn a_queue_that_was_named_stays_when_it_is_deleted() {
        let mut scene = Scene::new(Kind::Classic);
        scene.look(1, 0, 0, 0).wait(0.1);
        let asked = scene.at;
        scene.wait(0.1).missing("q");
        assert_eq!(happened(&mut scene), [Happening::Deleted("q".into())]);
        // A list that was asked for before says nothing new.
        let listing = Listing {
            queues: vec![sight::Listed {
                name: "q".into(),
                kind: Kind::Classic,
                ready: Some(1),
                unacked: Some(0),
            }],
            complete: true,
            asked,
        };
        scene.see(Sight::Listed(listing));
        assert_eq!((scene.state(), happened(&mut scene)), (State::Missing, vec![]));
        scene.wait(1.0).declared("q", 0, 0);
        assert_eq!(happened(&mut scene), [Happening::Created("q".into())]);
    }

    #[test]
    fn a_lost_eye_is_told_once() {
        let mut scene = Scene::new(Kind::Classic);
        scene.blind(Eye::Amqp).blind(Eye::Amqp);
        assert_eq!(happened(&mut scene).len(), 1);
        scene.see(Sight::Sees { eye: Eye::Amqp });
        assert_eq!(happened(&mut scene), [Happening::Found { eye: Eye::Amqp }]);
        scene.see(Sight::Sees { eye: Eye::Amqp });
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
            scene.see(Sight::Declared {
                queue: "q".into(),
                counts,
                took: Duration::from_millis(251),
            });
            let family = &scene.board.families()["q"];
            let seen = family.consumers(scene.at).value();
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
            let ready = |scene: &Scene| match scene.board.families()["q"].main.ready(scene.at) {
                super::family::Figure::Known { value, age } => (value, age.as_secs_f64()),
                other => panic!("{other:?}"),
            };
            let lag = kind.lag().as_secs_f64();
            scene.listed(&[("q", 3, 0)]);
            assert_eq!(ready(&scene), (3, lag));
            scene.wait(1.0).declared("q", 7, 0).wait(0.5).blind(Eye::Amqp);
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
        let mut scene = Scene::of(Pick::all(), Kind::Classic);
        scene.listed(&[("a", 0, 0)]);
        let listing = Listing {
            complete: false,
            ..Listing::default()
        };
        scene.wait(1.0).see(Sight::Listed(listing));
        assert_eq!(rows(&scene), ["a"]);
    }
}
