//! The task's messages: publishes, deliveries, copies at rest.

use super::{QueuedCopy, Story, Transfer};
use crate::diagnosis::Answer;
use crate::framework::{self, Message};
use crate::timeline::{Event, EventKind, Source};

impl<'a> Story<'a> {
    /// What shows that a process of the API's is at the other end of this connection.
    pub fn is_the_apis(&self, connection: &str) -> Option<u32> {
        let peer = self.peer(connection)?;
        let apis = self.api_processes();
        apis.iter().any(|api| api.pid == peer.value).then_some(peer.n)
    }

    /// Publishes of this task's message, copies for retries included.
    pub fn publishes(&self) -> &[Transfer<'a>] {
        &self.publishes
    }

    /// Its publish for the configured queue, at once or for later.
    pub fn sent(&self) -> Option<&Transfer<'a>> {
        self.published().or_else(|| self.kept_for_later())
    }

    /// The first publish that put it on the configured queue or its delay queue.
    pub fn published(&self) -> Option<&Transfer<'a>> {
        self.publishes
            .iter()
            .find(|passage| self.is_of_my_queue(passage.queue))
    }

    /// The last one: an outbox sends what was lost once more.
    pub fn published_last(&self) -> Option<&Transfer<'a>> {
        let is_ours = |passage: &&Transfer<'a>| self.is_of_my_queue(passage.queue);
        self.publishes.iter().rfind(is_ours)
    }

    /// The same message was sent once more after it was handed out: a hook that puts it off, say.
    pub fn sent_on(&self) -> Option<&Transfer<'a>> {
        let taken = self.deliveries().last()?;
        let mut later = self.publishes.iter().skip(1);
        later.rfind(|passage| passage.at_ms > taken.at_ms)
    }

    /// Messages on a queue that were looked at and could be read, whosever they are.
    pub(super) fn looked_at_on(&self, name: &str) -> u64 {
        let is_read = |message: &Message| message.message_id.is_some() && message.undecodable.is_none();
        let looked = self.timeline.events.iter().filter(|event| match &event.kind {
            EventKind::DeadLetter { queue, message, .. } => queue == name && is_read(message),
            _ => false,
        });
        looked.count() as u64
    }

    /// Copies at rest on the delay and dead-letter queues.
    pub fn held(&self) -> &[QueuedCopy<'a>] {
        &self.held
    }

    /// Messages with the task's id that were sent on after the first delivery: the next step of a
    /// chain, which may be the one that writes the row.
    pub fn successors(&self) -> impl Iterator<Item = &'a Event> {
        let first = self.deliveries.first().map(|passage| passage.at_ms);
        self.timeline
            .events
            .iter()
            .filter(move |event| match &event.kind {
                EventKind::Publish { message, .. } => {
                    message.carries_task_id
                        && first.is_some_and(|first| event.at_ms > first)
                        && message
                            .message_id
                            .as_deref()
                            .is_some_and(|id| !self.message_ids.contains(id))
                }
                _ => false,
            })
    }

    /// Messages that carry the task id, but for another actor than the configured one.
    pub fn stray_publishes(&self) -> &[Transfer<'a>] {
        &self.stray_publishes
    }

    /// Deliveries of this task's message from its queue, in order.
    pub fn deliveries(&self) -> impl DoubleEndedIterator<Item = &Transfer<'a>> {
        self.deliveries
            .iter()
            .filter(|passage| passage.queue == self.queue())
    }

    /// When something of this task was last seen elsewhere than in its row.
    pub fn last_news_ms(&self) -> f64 {
        let mut last = 0.0_f64;
        for event in &self.timeline.events {
            if matches!(
                event.kind,
                EventKind::Submitting { .. }
                    | EventKind::Answered { .. }
                    | EventKind::NotAnswered { .. }
                    | EventKind::RowCommitted { .. }
                    | EventKind::LockWait(_)
            ) {
                last = last.max(event.at_ms);
            }
        }
        for passage in self.publishes.iter().chain(&self.deliveries) {
            last = last.max(passage.at_ms);
        }
        for told in &self.lines {
            last = last.max(told.at_ms);
        }
        last
    }

    /// Two messages carry the id and nothing says which one is meant.
    pub fn is_ambiguous(&self) -> bool {
        self.candidates > 1
    }

    /// A match that points at the row itself, whichever message led to it.
    pub fn rests_on_the_row(&self, answer: &Answer) -> bool {
        let Answer::Matched(matched) = answer else {
            return false;
        };
        matched.evidence.iter().all(|n| {
            self.timeline
                .event(*n)
                .is_some_and(|event| matches!(event.source, Source::Database | Source::Process))
        })
    }

    /// Publishes after the submission that do not carry the id, with their connection.
    pub fn other_publishes(&self) -> impl Iterator<Item = Transfer<'a>> {
        let since = self.submitted_at().unwrap_or(f64::MIN);
        let is_bookkeeping = |kind: &EventKind| match kind {
            EventKind::Publish {
                exchange,
                routing_key,
                ..
            } => framework::is_bookkeeping(exchange, routing_key),
            _ => false,
        };
        let publishes = self.timeline.events.iter();
        let publishes = publishes.filter(move |event| !is_bookkeeping(&event.kind));
        let publishes = publishes.filter_map(|event| Transfer::of_publish(event, self.queue()));
        publishes.filter(move |publish| !publish.message.carries_task_id && publish.at_ms >= since)
    }
}
