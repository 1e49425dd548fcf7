//! A vhost that was made for a run, deleted at its end with all that is in it, and with the user of
//! the same name that could enter it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::tracing::{GO_ON, SELDOM};
use crate::config::Broker;
use crate::error::Unavailable;
use crate::http::segment;
use crate::rabbitmq::management::{BrokerAddress, Management};

/// So long it is tried while somebody waits for us.
pub(super) const AT_ONCE: Duration = Duration::from_secs(15);
/// Its creation may still have been under way when we were killed.
const MAY_APPEAR: Duration = Duration::from_secs(1);

/// Which vhost is to be deleted, over the guardian's pipe.
#[derive(Clone, Serialize, Deserialize)]
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

    /// What the user is told if it fails. `goes_on`: it is tried again when nobody waits any more.
    pub(super) fn complaint(&self, reason: &str, goes_on: bool) -> String {
        let name = &self.name;
        let by_hand = format!("rabbitmqctl delete_vhost {name}; rabbitmqctl delete_user {name}");
        match goes_on {
            true => format!(
                "vhost and user \"{name}\", which this run made, could not be deleted yet: {reason}\nit is tried for {} min more in the background; at once: {by_hand}",
                GO_ON.as_secs() / 60
            ),
            false => format!(
                "vhost and user \"{name}\", which this run made, could not be deleted: {reason}; {by_hand}"
            ),
        }
    }

    pub(super) async fn delete(&self, patience: Duration) -> Result<(), Unavailable> {
        let management = self.broker.management()?;
        // In the order in which they are made.
        for kind in ["vhosts", "users"] {
            let path = format!("{kind}/{}", segment(&self.name));
            gone(&management, &path, patience).await?;
        }
        Ok(())
    }
}

/// Deletes it, even if it is only now being made. `patience` is with errors.
async fn gone(management: &Management, path: &str, patience: Duration) -> Result<(), Unavailable> {
    let began = tokio::time::Instant::now();
    let mut pause = Duration::from_millis(200);
    loop {
        match management.delete(path).await {
            Ok(true) => return Ok(()),
            Ok(false) if began.elapsed() > MAY_APPEAR => return Ok(()),
            Err(blindness) if began.elapsed() > patience => return Err(blindness),
            Ok(false) => {}
            // Nobody is in a hurry after a while.
            Err(_) if began.elapsed() > AT_ONCE => pause = (pause * 2).min(SELDOM),
            Err(_) => {}
        }
        tokio::time::sleep(pause).await;
    }
}
