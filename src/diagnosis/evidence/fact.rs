//! What an event shows, with the event: a cause needs the value to conclude, and the event to point at.

use std::fmt::{self, Display, Formatter};
use std::ops::Deref;

use super::Story;
use crate::diagnosis::premises::EventId;
use crate::timeline::{Event, EventKind};

/// A value, the event that shows it, and when that was. It reads, and prints, as its value does.
#[derive(Debug, Clone, Copy)]
pub struct Fact<T> {
    pub n: EventId,
    pub at_ms: f64,
    pub value: T,
}

impl<T> Fact<T> {
    pub fn new(n: EventId, at_ms: f64, value: T) -> Self {
        Self { n, at_ms, value }
    }

    pub fn of(event: &Event, value: T) -> Self {
        Self::new(event.n, event.at_ms, value)
    }

    /// The same event shows this.
    pub fn with<U>(&self, value: U) -> Fact<U> {
        Fact::new(self.n, self.at_ms, value)
    }
}

impl<T> Deref for Fact<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Display> Display for Fact<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<'a> Story<'a> {
    /// What the events say that are meant, in order.
    pub(in crate::diagnosis) fn facts<T>(
        &self,
        pick: impl Fn(&'a EventKind) -> Option<T>,
    ) -> impl DoubleEndedIterator<Item = Fact<T>> {
        let events = self.timeline.events.iter();
        events.filter_map(move |event| Some(Fact::of(event, pick(&event.kind)?)))
    }
}
