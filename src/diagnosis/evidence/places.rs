//! Where the worker and the API run, as `[worker] exec` and `[api] exec` lead there.

use super::Story;
use crate::timeline::{EventKind, PlaceState};

impl<'a> Story<'a> {
    /// The prefix that leads to this part has failed at last, and said that its container is in this state.
    pub fn place_says(&self, part: &str, wanted: PlaceState) -> Option<(u32, &'a str)> {
        let last = self.timeline.events.iter().rev().find(|event| {
            matches!(&event.kind, EventKind::PlaceReached { part: told, .. } | EventKind::PlaceUnreachable { part: told, .. } if told == part)
        })?;
        let EventKind::PlaceUnreachable {
            said: Some(said),
            exit: Some(exit),
            ..
        } = &last.kind
        else {
            return None;
        };
        (*exit != 0 && PlaceState::said(said) == Some(wanted)).then_some((last.n, said.as_str()))
    }
}
