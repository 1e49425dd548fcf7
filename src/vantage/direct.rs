//! A run in which taskdiag publishes the message itself, and what such a message is made from.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::Tap;
use crate::config::Broker;
use crate::framework::dramatiq;
use crate::isolate::Copy;
use crate::submit;
use crate::timeline::{EventKind, NoAnswer};

/// So many bytes are kept in all, so that a busy vhost cannot fill the memory.
const MOST: usize = 32 << 20;

/// Messages as they were published, by id. Never written anywhere.
#[derive(Default)]
pub struct Bodies(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    bodies: BTreeMap<String, Vec<u8>>,
    bytes: usize,
}

impl std::fmt::Debug for Bodies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Bodies")
    }
}

impl Bodies {
    pub fn keep(&self, id: &str, body: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // The first one is the original; what comes later under this id is a retry.
        if kept.bytes + body.len() <= MOST && !kept.bodies.contains_key(id) {
            kept.bytes += body.len();
            kept.bodies.insert(id.to_owned(), body.to_vec());
        }
    }

    pub fn get(&self, id: &str) -> Option<Vec<u8>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.bodies.get(id).cloned()
    }
}

/// A message to publish, and what became of that.
#[derive(Debug)]
pub struct Direct {
    pub copy: Copy,
    failed: Mutex<Option<String>>,
}

impl Direct {
    pub fn new(copy: Copy) -> Self {
        Self {
            copy,
            failed: Mutex::new(None),
        }
    }

    /// Why no queue holds it.
    pub fn failed(&self) -> Option<String> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Publishes it. The confirmation stands for the API's answer: the task is accepted.
    pub(super) async fn publish(&self, broker: &Broker, seen: bool, tap: &Tap) {
        let Copy {
            task_id, queue, body, ..
        } = &self.copy;
        tap.see(EventKind::Submitting {
            method: "PUBLISH".into(),
            url: format!("queue {queue} of vhost {}", broker.vhost),
        });
        let began = tap.now_ms();
        let taken = submit::send(broker, queue, body).await;
        let failed = match &taken {
            Ok(taken) if !taken.routed => Some(format!("it was returned: there is no queue `{queue}`")),
            Ok(taken) if !taken.confirmed => Some("the broker refused it (nack)".to_owned()),
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = failed {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.clone());
            tap.see(EventKind::NotAnswered {
                why: NoAnswer::Broken,
                error: why,
                latency_ms: tap.now_ms() - began,
            });
            return;
        }
        // Where nobody watches publishes we know of this one all the same.
        if !seen {
            tap.see(EventKind::Publish {
                exchange: String::new(),
                routing_key: queue.clone(),
                connection: "taskdiag".into(),
                user: None,
                message: dramatiq::decode(body, false),
            });
        }
        tap.see(EventKind::Answered {
            status: 202,
            latency_ms: taken.map_or(0.0, |taken| taken.latency_ms),
            task_id: Some(task_id.clone()),
            body: "published by taskdiag and confirmed by the broker".into(),
            location: None,
            candidates: Vec::new(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_kept_up_to_a_limit_and_the_first_counts() {
        let bodies = Bodies::default();
        bodies.keep("a", b"first");
        bodies.keep("a", b"retry");
        bodies.keep("b", &vec![0; MOST]);
        assert_eq!(bodies.get("a").as_deref(), Some(b"first".as_slice()));
        assert_eq!(bodies.get("b"), None);
    }
}
