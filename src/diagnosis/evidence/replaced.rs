//! A task that put another in its own place: Celery's `replace()` sends it under the same id, and logs
//! `ignored` for the one that is left.

use super::{Story, WorkerLine, broker};
use crate::framework::LogEvent;
use crate::timeline::{Event, EventKind};

/// What a call that ended without a result left behind.
#[derive(Debug, Clone, Copy)]
pub(in crate::diagnosis) enum Remainder<'a> {
    /// Another message of the same id, which goes on.
    Another(&'a Event),
    /// Nothing: the task said that it is not to be run any further.
    Nothing,
    /// Not every publish was seen.
    Unknown,
}

impl<'a> Story<'a> {
    /// Messages of its id that a worker sent while it ran, retries left out.
    fn replacements(&self) -> impl Iterator<Item = &'a Event> {
        let first = self
            .deliveries()
            .next()
            .map_or(f64::INFINITY, |passage| passage.at_ms);
        self.timeline
            .events
            .iter()
            .filter(move |event| match &event.kind {
                EventKind::Publish {
                    message, connection, ..
                } => {
                    let is_ours = message
                        .message_id
                        .as_deref()
                        .is_some_and(|id| self.is_my_message(id));
                    is_ours
                    && event.at_ms > first
                    && !message.is_retry()
                    // The API may send an id again.
                    && self.is_the_apis(connection).is_none()
                }
                _ => false,
            })
    }

    /// The last line that says so, and what was left. Each that was replaced has a line of its own.
    pub(in crate::diagnosis) fn ended_without_result(&self) -> Option<(WorkerLine<'a>, Remainder<'a>)> {
        let ignored = |told: &&WorkerLine<'a>| matches!(told.mark, Some(LogEvent::Ignored));
        let mut lines = self.lines().iter().filter(ignored);
        let count = lines.clone().count();
        let last = lines.next_back()?;
        let left = match (self.replacements().count(), self.replacements().last()) {
            (sent, Some(another)) if sent >= count => Remainder::Another(another),
            _ if broker::saw_every_publish(self) => Remainder::Nothing,
            _ => Remainder::Unknown,
        };
        Some((*last, left))
    }

    /// The line ends this message's run, and the task goes on in another.
    pub(super) fn goes_on_after(&self, told: &WorkerLine<'_>) -> bool {
        self.is_run_again_after(told)
            || matches!(told.mark, Some(LogEvent::Ignored))
                && matches!(self.ended_without_result(), Some((_, Remainder::Another(_))))
    }

    /// The message was handed out again before that run had ended, and its copy has begun since.
    fn is_run_again_after(&self, told: &WorkerLine<'_>) -> bool {
        let came_again = self.deliveries.iter().any(|passage| passage.redelivered);
        let began = |later: &&WorkerLine<'_>| {
            later.n > told.n && (later.line.entry || later.mark.is_none() && later.is_by_the_task())
        };
        came_again && self.lines.iter().any(|later| began(&later))
    }
}
