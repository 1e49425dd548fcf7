//! Messages of this task on their way, or at rest.

use crate::framework::Message;
use crate::timeline::{Event, EventKind};

/// A publish or a delivery of this task.
#[derive(Debug, Clone, Copy)]
pub struct Transfer<'a> {
    pub n: u32,
    pub at_ms: f64,
    /// Publishes: the queue that they were put on, as far as that was seen; else the routing key. Deliveries: the queue.
    pub queue: &'a str,
    pub connection: &'a str,
    pub redelivered: bool,
    pub message: &'a Message,
}

impl<'a> Transfer<'a> {
    /// The framework's id of the message.
    pub fn id(&self) -> Option<&'a str> {
        self.message.message_id.as_deref()
    }

    /// Of several queues that it was put on this one is meant.
    pub(in crate::diagnosis) fn of_publish(event: &'a Event, queue: &str) -> Option<Self> {
        match &event.kind {
            EventKind::Publish {
                routing_key,
                routed,
                connection,
                message,
                ..
            } => Some(Self {
                n: event.n,
                at_ms: event.at_ms,
                queue: routed
                    .as_deref()
                    .and_then(|routed| routed.iter().find(|name| *name == queue).or(routed.first()))
                    .unwrap_or(routing_key),
                connection,
                redelivered: false,
                message,
            }),
            _ => None,
        }
    }
}

/// A copy of this task's message at rest on a companion queue.
#[derive(Debug, Clone, Copy)]
pub struct QueuedCopy<'a> {
    pub passage: Transfer<'a>,
    /// `x-death`'s reason, on the dead-letter queue.
    pub reason: Option<&'a str>,
}
