//! Where the worker and the API run, as `[worker] exec` and `[api] exec` lead there.

use super::{Fact, Story, workers};
use crate::timeline::{EventKind, PlaceState, place};

impl<'a> Story<'a> {
    /// Processes were seen in a place, whose pids are told by numbers of their own.
    pub fn has_places(&self) -> bool {
        self.all_processes().any(|process| process.at.is_some())
    }

    /// A worker runs where the way to the worker leads.
    pub fn lives_in_its_place(&self) -> Option<u32> {
        let mut all = self.all_processes();
        let lives = all.find(|process| {
            let is_there = process.at.as_deref() == Some("worker") && process.lives();
            is_there && workers::is_worker(process) && self.gone(process.pid).is_none()
        });
        lives.map(|process| process.n)
    }

    /// The prefix that leads to this part has failed at last, and said that its container is in this state.
    pub fn place_says(&self, part: &str, wanted: PlaceState) -> Option<Fact<&'a str>> {
        let last = place::last_seen(&self.timeline.events, part)?;
        let EventKind::PlaceUnreachable {
            said: Some(said),
            exit: Some(exit),
            ..
        } = &last.kind
        else {
            return None;
        };
        (*exit != 0 && PlaceState::said(said) == Some(wanted)).then_some(Fact::of(last, said.as_str()))
    }
}
