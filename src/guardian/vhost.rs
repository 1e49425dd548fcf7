//! A vhost that was made for a run, deleted at its end with all that is in it, and with the user of
//! the same name that could enter it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::Broker;
use crate::error::Unavailable;
use crate::http::segment;
use crate::rabbitmq::management::{BrokerAddress, Management};

/// How long deleting it is tried.
const GIVE_UP: Duration = Duration::from_secs(15);
/// Its creation may still have been under way when we were killed.
const MAY_APPEAR: Duration = Duration::from_secs(1);

/// Which vhost is to be deleted, over the guardian's pipe.
#[derive(Serialize, Deserialize)]
pub(super) struct OwnedVhost {
    broker: BrokerAddress,
    name: String,
}

impl OwnedVhost {
    pub(super) fn new(broker: &Broker, name: &str) -> Self {
        Self {
            broker: broker.into(),
            name: name.to_owned(),
        }
    }

    /// Deletes it; a complaint if that fails.
    pub(super) async fn delete(&self) -> Option<String> {
        let complaint = |blindness: Unavailable| {
            Some(format!(
                "vhost and user \"{0}\", which this run made, could not be deleted: {1}; rabbitmqctl delete_vhost {0}; rabbitmqctl delete_user {0}",
                self.name, blindness.reason
            ))
        };
        let management = match self.broker.management() {
            Ok(management) => management,
            Err(blindness) => return complaint(blindness),
        };
        // In the order in which they are made.
        for kind in ["vhosts", "users"] {
            let path = format!("{kind}/{}", segment(&self.name));
            if let Err(blindness) = gone(&management, &path).await {
                return complaint(blindness);
            }
        }
        None
    }
}

/// Deletes it, even if it is only now being made.
async fn gone(management: &Management, path: &str) -> Result<(), Unavailable> {
    let began = tokio::time::Instant::now();
    loop {
        match management.delete(path).await {
            Ok(true) => return Ok(()),
            Ok(false) if began.elapsed() > MAY_APPEAR => return Ok(()),
            Err(blindness) if began.elapsed() > GIVE_UP => return Err(blindness),
            Ok(false) | Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
        }
    }
}
