//! What the broker said of queues, consumers and connections.

use super::{Depth, Info, Passage, Story};
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

    /// When the broker answered that a queue is known and cannot be asked: event, moment, why.
    pub fn down(&self, queue: &str) -> impl DoubleEndedIterator<Item = (u32, f64, &'a str)> + use<'_, 'a> {
        let queue = queue.to_owned();
        self.timeline
            .events
            .iter()
            .filter_map(move |event| match &event.kind {
                EventKind::Depth {
                    queue: name,
                    down: Some(why),
                    ..
                } if *name == queue => Some((event.n, event.at_ms, why.as_str())),
                _ => None,
            })
    }

    /// The message was sent to a classic queue while its node was down, and RabbitMQ drops such a one.
    /// The look that said so: changes are reported at once, so it was down until the next one. A quorum
    /// queue without a leader loses nothing.
    pub fn dropped_by(&self, passage: &Passage<'_>) -> Option<(u32, f64, &'a str)> {
        let before = self
            .down(passage.queue)
            .rfind(|(_, at, _)| *at <= passage.at_ms)?;
        let up = self
            .depths(passage.queue)
            .any(|depth| depth.at_ms > before.1 && depth.at_ms <= passage.at_ms + BETWEEN_LOOKS_MS);
        (before.2.contains("home node") && !up).then_some(before)
    }

    /// Passive-declare counts of a queue, in order. A queue that is down has none.
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
                    down: None,
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
                    policy_unknown,
                    ready,
                    unacked,
                    members,
                    online,
                    ..
                } if *name == queue => Some(Info {
                    n: event.n,
                    at_ms: event.at_ms,
                    queue: name,
                    state: state.as_deref(),
                    arguments,
                    policy_definition,
                    policy_unknown: *policy_unknown,
                    ready: *ready,
                    unacked: *unacked,
                    online: online.zip(*members),
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

/// Queues are looked at ten times a second or more often.
const BETWEEN_LOOKS_MS: f64 = 300.0;
