//! A run in which taskdiag publishes the message itself.

use std::sync::{Mutex, PoisonError};

use crate::config::Broker;
use crate::framework::Copy;
use crate::submit;
use crate::timeline::{EventKind, NoAnswer};
use crate::vantage::Tap;

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
            task_id,
            queue,
            envelope,
            ..
        } = &self.copy;
        tap.see(EventKind::Submitting {
            method: "PUBLISH".into(),
            url: format!("queue {queue} of vhost {}", broker.vhost),
        });
        let began = tap.now_ms();
        let taken = submit::send(broker, queue, envelope).await;
        let failed = match &taken {
            Ok(taken) if !taken.routed => Some(format!("it was returned: there is no queue `{queue}`")),
            Ok(taken) if !taken.confirmed => Some("the broker refused it (nack)".to_owned()),
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = failed {
            *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.clone());
            tap.see(EventKind::NotAnswered {
                why: crate::limits::reached().map_or(NoAnswer::Broken, |_| NoAnswer::OwnLimit),
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
                routed: None,
                connection: "taskdiag".into(),
                user: None,
                message: tap.framework().decode(envelope, false),
            });
        }
        tap.see(EventKind::Answered {
            status: 202,
            latency_ms: taken.map_or(0.0, |taken| taken.latency_ms),
            task_id: Some(task_id.clone()),
            new_id: false,
            body: "published by taskdiag and confirmed by the broker".into(),
            location: None,
            candidates: Vec::new(),
            routes: Vec::new(),
        });
    }
}
