//! What the broker said of queues, consumers and connections.

use super::{Depth, Info, Story};
use crate::framework::dramatiq;
use crate::timeline::{Connection, Consumer, EventKind, Source};

impl<'a> Story<'a> {
    /// The dead-letter queue holds exactly one message more than at the first look.
    pub fn one_dead_letter_more(&self) -> bool {
        let dead = dramatiq::dead_letter_queue(self.queue());
        let before = self
            .depths(&dead)
            .find(|depth| depth.exists)
            .map_or(0, |depth| depth.ready);
        self.depths(&dead)
            .last()
            .is_some_and(|depth| depth.ready == before + 1)
    }

    /// Passive-declare counts of a queue, in order.
    pub fn depths(&self, queue: &str) -> impl DoubleEndedIterator<Item = Depth> + use<'_, 'a> {
        let queue = queue.to_owned();
        self.timeline
            .events
            .iter()
            .filter_map(move |event| match &event.kind {
                EventKind::Depth {
                    queue: name,
                    exists,
                    ready,
                    consumers,
                    ..
                } if *name == queue => Some(Depth {
                    n: event.n,
                    at_ms: event.at_ms,
                    exists: *exists,
                    ready: *ready,
                    consumers: *consumers,
                }),
                _ => None,
            })
    }

    /// Counts taken since the submission.
    pub fn depths_since(&self, queue: &str) -> Vec<Depth> {
        let since = self.submitted_at().unwrap_or(f64::MIN);
        self.depths(queue).filter(|depth| depth.at_ms >= since).collect()
    }

    pub fn infos(&self, queue: &str) -> impl DoubleEndedIterator<Item = Info<'a>> + use<'_, 'a> {
        let queue = queue.to_owned();
        self.timeline
            .events
            .iter()
            .filter_map(move |event| match &event.kind {
                EventKind::QueueInfo {
                    queue: name,
                    state,
                    arguments,
                    policy_definition,
                    ready,
                    unacked,
                    ..
                } if *name == queue => Some(Info {
                    n: event.n,
                    at_ms: event.at_ms,
                    queue: name,
                    state: state.as_deref(),
                    arguments,
                    policy_definition,
                    ready: *ready,
                    unacked: *unacked,
                }),
                _ => None,
            })
    }

    /// The last list of consumers, if all of them could be seen.
    pub fn consumers(&self) -> Option<(u32, &'a [Consumer])> {
        self.timeline
            .events
            .iter()
            .rev()
            .find_map(|event| match &event.kind {
                EventKind::Consumers { consumers } => Some((event.n, consumers.as_slice())),
                _ => None,
            })
    }

    pub fn connections(&self) -> Option<(u32, &'a [Connection])> {
        self.timeline
            .events
            .iter()
            .rev()
            .find_map(|event| match &event.kind {
                EventKind::Connections { connections } => Some((event.n, connections.as_slice())),
                _ => None,
            })
    }

    /// After our message was delivered the dead-letter queue grew by one, and it was the only
    /// delivery: it was rejected.
    pub fn dead_letters_grew(&self) -> bool {
        let Some(passage) = self.deliveries().last() else {
            return false;
        };
        let dead = dramatiq::dead_letter_queue(self.queue());
        let before = self
            .depths(&dead)
            .rfind(|depth| depth.at_ms <= passage.at_ms)
            .map_or(0, |depth| depth.ready);
        let one_more = self
            .depths(&dead)
            .last()
            .is_some_and(|depth| depth.ready == before + 1);
        let others = self.timeline.events.iter().any(|event| {
            matches!(&event.kind, EventKind::Deliver { queue, message, .. }
                if queue == self.queue()
                && !message.message_id.as_deref().is_some_and(|id| self.message_ids.contains(id)))
        });
        // A delivery out of sight may be the one that was rejected.
        one_more && !others && self.sees_all(Source::Firehose)
    }
}
