//! A recording is masked once more when it is shown: it may have been made with `--show-args`, by an
//! earlier taskdiag that knew fewer notations of a secret, or by hand.

use super::scrub::Scrubber;
use super::{Event, EventKind, Timeline};

impl Timeline {
    /// The same run without secrets, and without task arguments unless they are wanted. Which message
    /// is the task's was told when it was recorded, so nothing is lost by it.
    pub fn masked(&self, show_args: bool) -> Self {
        let scrubber = Scrubber::new([], show_args);
        let mut setup = self.setup.clone();
        setup.show_args &= show_args;
        let mut masked = Self::new(setup, self.started_at.clone());
        for event in &self.events {
            let mut kind = scrubber.event(event.kind.clone());
            if !show_args {
                without_arguments(&mut kind);
            }
            masked.push(Event {
                kind,
                ..event.clone()
            });
        }
        masked
    }
}

fn without_arguments(kind: &mut EventKind) {
    if let EventKind::Publish { message, .. }
    | EventKind::Deliver { message, .. }
    | EventKind::DeadLetter { message, .. } = kind
    {
        message.args = None;
        message.kwargs = None;
    }
}
