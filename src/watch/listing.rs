//! What a list of the vhost's queues changes: which come, which go, what is known of each.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use super::group::QueueGroup;
use super::observation::{Listed, Listing, Timed};
use super::selector::Role;
use super::{QueueEvent, QueueModel};
use crate::framework::Queues;

impl QueueModel {
    pub(super) fn list(&mut self, listing: &Listing, at: Duration) {
        if self.selector.exact().is_none() {
            if listing.complete {
                self.remove_unlisted(listing, at);
            }
            self.add_listed(listing, at);
        }
        let mut rows: HashMap<&str, [Option<&Listed>; 3]> = HashMap::with_capacity(listing.queues.len());
        for listed in &listing.queues {
            if let Some((name, role)) = self.place(&listed.name) {
                rows.entry(name).or_default()[role as usize] = Some(listed);
            }
        }
        let mut looked = BTreeSet::new();
        let queues = self.queues();
        for (name, group) in &mut self.groups {
            let found = rows.get(name.as_str());
            if found.is_none() && !listing.complete {
                continue;
            }
            // The queue last: whether it is empty depends on its companions.
            for role in [Role::Delay, Role::DeadLetter, Role::Main] {
                let listed = found.and_then(|found| found[role as usize]);
                if listed.is_none() && !listing.complete {
                    continue;
                }
                let before = group.queue(role).exists;
                group.listed(role, listed, listing, at);
                let after = group.queue(role).exists;
                self.events.extend(news(queues, name, role, before, after, at));
            }
            looked.insert(name.clone());
        }
        let named = self.selector.names();
        self.groups
            .retain(|name, group| group.main.exists != Some(false) || named.contains(name));
        self.dirty.append(&mut looked);
        if listing.complete && !std::mem::replace(&mut self.listed, true) && self.selector.exact().is_none() {
            let queues = self.groups.len();
            self.happen(at, QueueEvent::Listed { queues });
        }
    }

    /// First what has gone, so that its companions become rows of their own.
    fn remove_unlisted(&mut self, listing: &Listing, at: Duration) {
        let there: HashSet<&str> = listing.queues.iter().map(|listed| listed.name.as_str()).collect();
        let names = self.groups.keys().filter(|name| !there.contains(name.as_str()));
        for name in names.cloned().collect::<Vec<_>>() {
            self.change(&name, at, |group, role| group.listed(role, None, listing, at));
        }
    }

    /// Queues before their companions, so that these find them.
    fn add_listed(&mut self, listing: &Listing, at: Duration) {
        let queues = self.selector.queues();
        let is_companion = |name: &str| queues.split(name).1 != Role::Main;
        for companions in [false, true] {
            let listed = listing.queues.iter().map(|listed| listed.name.as_str());
            let new: Vec<&str> = listed
                .filter(|name| is_companion(name) == companions && !self.groups.contains_key(*name))
                .filter(|name| matches!(self.place(name), Some((_, Role::Main))))
                .collect();
            // All at once: one after the other, in their order, they would leave the map half empty,
            // and ten thousand rows take 10 MB more.
            let rows = new.iter().map(|name| ((*name).to_owned(), QueueGroup::default()));
            self.groups.append(&mut rows.collect());
            for name in new {
                // It has become somebody's companion.
                for (_, row) in queues.family(name) {
                    if self.place(&row).is_some_and(|(_, role)| role != Role::Main) {
                        self.groups.remove(&row);
                    }
                }
                if self.listed {
                    self.happen(at, QueueEvent::Created(name.to_owned()));
                }
            }
        }
    }
}

/// A queue that has come or gone.
pub(super) fn news(
    queues: &Queues,
    name: &str,
    role: Role,
    before: Option<bool>,
    after: Option<bool>,
    at: Duration,
) -> Option<Timed<QueueEvent>> {
    let event = match (before, after) {
        (Some(true), Some(false)) => QueueEvent::Deleted,
        (Some(false), Some(true)) => QueueEvent::Created,
        _ => return None,
    };
    let value = event(queues.companion(name, role)?);
    Some(Timed { at, value })
}
