//! The tracing of a vhost, put back at the end.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::{Broker, SecretUrl, Tls};
use crate::error::Unavailable;
use crate::http::segment;
use crate::rabbitmq::management::Management;
use crate::rabbitmq::nodes;
use crate::rabbitmq::tracing::Tracing;

/// How long switching it off is tried.
pub(super) const GIVE_UP: Duration = Duration::from_secs(18);
/// Whose tracing is to be switched off, over the guardian's pipe.
#[derive(Serialize, Deserialize)]
pub(super) struct Traced {
    management_url: String,
    ca_file: Option<std::path::PathBuf>,
    client_cert: Option<std::path::PathBuf>,
    client_key: Option<std::path::PathBuf>,
    vhost: String,
    /// Where it was switched on.
    node: String,
    /// Our own reader; it goes with our connection.
    queue: String,
}

impl Traced {
    pub(super) fn new(broker: &Broker, node: &str, queue: &str) -> Self {
        Self {
            management_url: broker.management.expose().to_owned(),
            ca_file: broker.tls.ca_file.clone(),
            client_cert: broker.tls.client_cert.clone(),
            client_key: broker.tls.client_key.clone(),
            vhost: broker.vhost.clone(),
            node: node.to_owned(),
            queue: queue.to_owned(),
        }
    }

    pub(super) fn vhost(&self) -> &str {
        &self.vhost
    }

    /// Switches it off, once nobody else reads it any more.
    pub(super) async fn restore(&self) -> Result<(), Unavailable> {
        let tls = Tls {
            ca_file: self.ca_file.clone(),
            client_cert: self.client_cert.clone(),
            client_key: self.client_key.clone(),
        };
        let deadline = tokio::time::Instant::now() + GIVE_UP;
        loop {
            // Behind a load balancer only a new connection may lead to the right node again.
            let management = Management::from_parts(SecretUrl::from_text(&self.management_url), &tls)?;
            let late = tokio::time::Instant::now() >= deadline;
            match self.try_restore(&management, late).await {
                Ok(true) => return Ok(()),
                Ok(false) if late => return Ok(()),
                Err(blindness) if late => return Err(blindness),
                Ok(false) | Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// `false` while it is not known who is left.
    async fn try_restore(&self, management: &Management, late: bool) -> Result<bool, Unavailable> {
        let readers = Tracing::readers(management, &self.vhost, &self.node).await?;
        match left(&readers, &self.queue, late) {
            Left::Nobody => {}
            Left::Others => return Ok(true),
            Left::Unknown => return Ok(false),
        }
        // A node that has stopped traces no more, nor when it comes back.
        let path = format!("vhosts/{}", segment(&self.vhost));
        let running = match management.get(&path).await {
            Ok(vhost) => nodes::running(&vhost),
            // Who may not ask for one vhost: see `set`, which fails if there is anything to do.
            Err(_) => Vec::new(),
        };
        if running.is_empty() || running.contains(&self.node) {
            Tracing::set(management, &self.vhost, &self.node, false).await?;
        }
        Ok(true)
    }
}

/// Who reads a tracing that we have switched on, at our end.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    /// Nobody, or nobody who may count on it.
    Nobody,
    /// Another program, or a taskdiag that switches it off when it ends.
    Others,
    /// Our own queue is still there beside others: they may be ending as we are.
    Unknown,
}

fn left(readers: &[String], own: &str, late: bool) -> Left {
    let mut others = readers.iter().filter(|name| *name != own).peekable();
    // Of a connection that died without a word the broker keeps our queue for minutes.
    if others.peek().is_none() {
        return Left::Nobody;
    }
    // A guest found it on and leaves it on. It was on because of us, so that nobody else puts it back.
    if others.all(|name| name.starts_with(Tracing::GUEST)) {
        return if late { Left::Nobody } else { Left::Unknown };
    }
    match readers.iter().any(|name| name == own) {
        true => Left::Unknown,
        false => Left::Others,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_switched_it_on_puts_it_back() {
        let owned = |id: &str| format!("{}{id}", Tracing::OWNED);
        let guest = format!("{}g", Tracing::GUEST);
        let own = owned("1");
        let who = |readers: &[&String], late| {
            let readers: Vec<String> = readers.iter().map(|name| (*name).clone()).collect();
            left(&readers, &own, late)
        };
        assert_eq!(who(&[], false), Left::Nobody);
        assert_eq!(who(&[&own], false), Left::Nobody, "a dead connection's queue");
        assert_eq!(
            who(&[&own, &owned("2")], false),
            Left::Unknown,
            "both may be ending"
        );
        assert_eq!(who(&[&owned("2")], false), Left::Others);
        assert_eq!(who(&[&"a firehose of somebody".to_owned()], true), Left::Others);
        assert_eq!(who(&[&guest], false), Left::Unknown);
        assert_eq!(who(&[&guest], true), Left::Nobody);
        assert_eq!(who(&[&guest, &owned("2")], true), Left::Others);
    }
}
