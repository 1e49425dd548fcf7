//! The tracing of a vhost: switched without touching anything else of it, and put back.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

use crate::config::{Broker, SecretUrl, Tls};
use crate::vantage::Blindness;
use crate::vantage::http::{Management, segment};

/// How long switching it off is tried.
pub(super) const GIVE_UP: Duration = Duration::from_secs(18);
/// A change that RabbitMQ has lost shows after so long.
const SETTLED: Duration = Duration::from_millis(50);
/// How often a change that was lost is made anew.
const TRIES: usize = 20;

/// A vhost's tracing, switched without touching anything else of the vhost.
pub struct Tracing;

impl Tracing {
    /// Readers with this prefix read a tracing that a taskdiag switched on.
    pub const OWNED: &'static str = "taskdiag.trace.owned.";
    /// Readers with this prefix found it on.
    pub const GUEST: &'static str = "taskdiag.trace.guest.";

    /// Names of the queues bound to the trace exchange.
    pub async fn readers(management: &Management, vhost: &str) -> Result<Vec<String>, Blindness> {
        let path = format!(
            "exchanges/{}/{}/bindings/source",
            segment(vhost),
            crate::vantage::TRACE_EXCHANGE
        );
        let bindings = management.get(&path).await?;
        let mut names: Vec<String> = bindings
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|binding| {
                binding
                    .get("destination")
                    .and_then(Json::as_str)
                    .map(str::to_owned)
            })
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// A bare `{"tracing": …}` erases the vhost's description and tags, and on 4.3 its default
    /// queue type: everything is read first and sent back with it.
    ///
    /// A node keeps the vhosts that it traces in one list, which it reads, changes and writes back
    /// without a lock: where two vhosts are switched at once, one change is lost although both were
    /// answered with success (RabbitMQ 3.10.8: 248 of 1,800 [V]). So what was set is read again.
    pub async fn set(management: &Management, vhost: &str, on: bool) -> Result<(), Blindness> {
        let path = format!("vhosts/{}", segment(vhost));
        for _ in 0..TRIES {
            let now = management.get(&path).await?;
            if now.get("tracing").and_then(Json::as_bool) == Some(on) {
                return Ok(());
            }
            management.put(&path, &preserving(&now, on)).await?;
            tokio::time::sleep(SETTLED).await;
        }
        Err(Blindness::new(format!(
            "RabbitMQ accepts the change and does not keep it ({TRIES} times)"
        ))
        .hint("does another program switch tracing of this node's vhosts all the time?"))
    }
}

/// Whose tracing is to be switched off, over the guardian's pipe.
#[derive(Serialize, Deserialize)]
pub(super) struct Traced {
    management_url: String,
    ca_file: Option<std::path::PathBuf>,
    client_cert: Option<std::path::PathBuf>,
    client_key: Option<std::path::PathBuf>,
    vhost: String,
    /// Our own reader; it goes with our connection.
    queue: String,
}

impl Traced {
    pub(super) fn new(broker: &Broker, queue: &str) -> Self {
        Self {
            management_url: broker.management.expose().to_owned(),
            ca_file: broker.tls.ca_file.clone(),
            client_cert: broker.tls.client_cert.clone(),
            client_key: broker.tls.client_key.clone(),
            vhost: broker.vhost.clone(),
            queue: queue.to_owned(),
        }
    }

    pub(super) fn vhost(&self) -> &str {
        &self.vhost
    }

    /// Switches it off, once nobody reads it any more.
    pub(super) async fn restore(&self) -> Result<(), Blindness> {
        let tls = Tls {
            ca_file: self.ca_file.clone(),
            client_cert: self.client_cert.clone(),
            client_key: self.client_key.clone(),
        };
        let management = Management::from_parts(SecretUrl::from_text(&self.management_url), &tls)?;
        let deadline = tokio::time::Instant::now() + GIVE_UP;
        loop {
            let outcome = self.try_restore(&management).await;
            let late = tokio::time::Instant::now() >= deadline;
            match outcome {
                Ok(true) => return Ok(()),
                // Whatever holds our queue reads on.
                Ok(false) if late => return Ok(()),
                Err(blindness) if late => return Err(blindness),
                Ok(false) | Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// `false` while our own queue still exists: the broker has not noticed our end yet.
    async fn try_restore(&self, management: &Management) -> Result<bool, Blindness> {
        let readers = Tracing::readers(management, &self.vhost).await?;
        if readers.contains(&self.queue) {
            return Ok(false);
        }
        // Whoever is left reads on; a taskdiag among them switches it off when it ends.
        if readers.is_empty() {
            Tracing::set(management, &self.vhost, false).await?;
        }
        Ok(true)
    }
}

fn preserving(vhost: &Json, on: bool) -> Json {
    let mut body = json!({ "tracing": on });
    let metadata = |key: &str| {
        vhost
            .get(key)
            .filter(|value| !value.is_null())
            .or_else(|| vhost.pointer(&format!("/metadata/{key}")))
            .cloned()
    };
    if let Some(description) = metadata("description") {
        body["description"] = description;
    }
    match metadata("tags") {
        Some(Json::Array(tags)) => {
            let tags: Vec<_> = tags.iter().filter_map(Json::as_str).collect();
            body["tags"] = json!(tags.join(","));
        }
        Some(Json::String(tags)) => body["tags"] = json!(tags),
        _ => {}
    }
    if let Some(Json::String(kind)) = metadata("default_queue_type")
        && kind != "undefined"
    {
        body["default_queue_type"] = json!(kind);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_else_of_a_vhost_is_sent_back() {
        let vhost = json!({"name": "v", "description": "d", "tags": ["a", "b"], "default_queue_type": "quorum", "tracing": false});
        assert_eq!(
            preserving(&vhost, true),
            json!({"tracing": true, "description": "d", "tags": "a,b", "default_queue_type": "quorum"})
        );
        let old = json!({"name": "v", "metadata": {"description": "d", "tags": []}, "default_queue_type": "undefined", "tracing": true});
        assert_eq!(
            preserving(&old, false),
            json!({"tracing": false, "description": "d", "tags": ""})
        );
    }
}
