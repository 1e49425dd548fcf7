//! A message that whoever was handed it sent on to another queue: a shovel, or a script that moves messages.

use super::{Story, Transfer};
use crate::diagnosis::verdict::Whereabouts;

#[derive(Debug, Clone, Copy)]
pub(in crate::diagnosis) struct Moved<'a> {
    /// To whom it was handed.
    pub delivery: Transfer<'a>,
    /// The same message, sent on the same connection, and to where.
    pub copy: Transfer<'a>,
}

/// To a queue that is none of the task's. Nobody has taken it from there.
pub(in crate::diagnosis) fn moved<'a>(story: &Story<'a>) -> Option<Moved<'a>> {
    let dead = story.dead_letter_queue();
    let is_own = |queue: &str| story.is_of_my_queue(queue) || dead.as_deref() == Some(queue);
    let copy = story.publishes().last().filter(|copy| !is_own(copy.queue))?;
    let is_its = |delivery: &&Transfer<'_>| {
        delivery.connection == copy.connection
            && delivery.at_ms <= copy.at_ms
            && delivery.message.message_id == copy.message.message_id
    };
    let delivery = story.deliveries.iter().rfind(is_its)?;
    // Sent on for another attempt, as its worker does.
    if copy.message.is_retry() && !delivery.message.is_retry() {
        return None;
    }
    let taken = story.deliveries.iter().any(|later| later.at_ms > copy.at_ms);
    (!taken).then_some(Moved {
        delivery: *delivery,
        copy: *copy,
    })
}

impl<'a> Story<'a> {
    /// Whoever was handed it sent it on to another queue. Moved back it runs: it is not lost, and runs twice if it is
    /// submitted again.
    pub(super) fn moved_away(&self) -> Option<Whereabouts> {
        let moved = moved(self)?;
        let (from, to) = (moved.delivery.queue, moved.copy.queue);
        let text = format!(
            "sent on to `{to}` by {}, which had it from `{from}`",
            self.holder(&moved.delivery)
        );
        self.place(text, Some(moved.copy.at_ms), None)
    }

    /// The copy for a retry that nobody was seen to take.
    pub(super) fn sent_on_for_a_retry(&self) -> Option<&Transfer<'a>> {
        let copy = self.publishes().last().filter(|copy| copy.message.is_retry())?;
        let taken = self.deliveries().any(|passage| passage.at_ms >= copy.at_ms);
        (!taken).then_some(copy)
    }
}
