//! What an event says of a task: whether it carries the id, and where a message was put.

use super::event::{Event, EventKind};
use crate::framework::ArgumentValues;

impl Event {
    /// Marks the event if it carries the task id, and forgets the unmasked text. `nouns`: what the task is called.
    pub fn learn_task_id(&mut self, task_id: &str, nouns: &[String]) {
        match &mut self.kind {
            EventKind::Publish { message, .. }
            | EventKind::Deliver { message, .. }
            | EventKind::DeadLetter { message, .. } => {
                message.learn_task_id(task_id);
                message.leaves = ArgumentValues::default();
            }
            EventKind::Line(line) => {
                line.learn_task_id(task_id, nouns);
                line.raw = ArgumentValues::default();
            }
            _ => {}
        }
    }
}

impl EventKind {
    /// It is a publish, and it was put on this queue.
    pub fn is_put_on(&self, queue: &str) -> bool {
        match self {
            Self::Publish {
                routed: Some(routed), ..
            } => routed.iter().any(|name| name == queue),
            Self::Publish { routing_key, .. } => routing_key == queue,
            _ => false,
        }
    }
}
