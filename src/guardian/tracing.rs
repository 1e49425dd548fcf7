//! The tracing of a vhost, put back at the end.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::STILL_TRACES;
use crate::config::Broker;
use crate::error::Unavailable;
use crate::http::segment;
use crate::rabbitmq::management::{BrokerAddress, Management};
use crate::rabbitmq::nodes;
use crate::rabbitmq::tracing::Tracing;

/// How long it is waited for who is left among its readers.
pub(super) const GIVE_UP: Duration = Duration::from_secs(18);
/// How long a broker that refuses or does not answer is asked again while somebody waits: one
/// request without an answer takes longer.
pub(super) const AT_ONCE: Duration = Duration::from_secs(4);
/// And when nobody waits any more.
pub(super) const GO_ON: Duration = Duration::from_secs(15 * 60);
/// Between two tries at most.
pub(super) const SELDOM: Duration = Duration::from_secs(20);

/// Why there is nothing to switch off.
const DELETED: &str = "the vhost was deleted";

/// Whose tracing is to be switched off, over the guardian's pipe.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct OwnedTracing {
    broker: BrokerAddress,
    vhost: String,
    /// Where it was switched on.
    node: String,
    /// Our own reader; it goes with our connection.
    queue: String,
}

impl OwnedTracing {
    pub(super) fn new(broker: &Broker, node: &str, queue: &str) -> Self {
        Self {
            broker: broker.into(),
            vhost: broker.vhost.clone(),
            node: node.to_owned(),
            queue: queue.to_owned(),
        }
    }

    /// What the user is told if it fails. `goes_on`: it is tried again when nobody waits any more. The line works
    /// without a majority of the cluster's nodes, too: it asks the node alone.
    pub(super) fn complaint(&self, reason: &str, goes_on: bool) -> String {
        let (vhost, node) = (shell_words::quote(&self.vhost), &self.node);
        if reason == DELETED {
            return format!(
                "vhost {vhost} was deleted meanwhile: its tracing ended with it\nRabbitMQ before 4.0 traces it again once it is made again: then, on the host of that node: rabbitmqctl -n {node} trace_off -p {vhost}"
            );
        }
        let by_hand = format!("on the host of that node: rabbitmqctl -n {node} trace_off -p {vhost}");
        match goes_on {
            true => format!(
                "{STILL_TRACES}{vhost} could not be switched off again yet: {reason}\nit is tried for {} min more in the background; at once, {by_hand}",
                GO_ON.as_secs() / 60
            ),
            false => format!("{STILL_TRACES}{vhost} could not be switched off again: {reason}\n{by_hand}"),
        }
    }

    /// Switches it off, once nobody else reads it any more. `patience` is with errors.
    pub(super) async fn restore(&self, patience: Duration) -> Result<(), Unavailable> {
        let began = tokio::time::Instant::now();
        let mut pause = Duration::from_millis(100);
        loop {
            // Behind a load balancer only a new connection may lead to the right node again.
            let management = self.broker.management()?;
            let late = began.elapsed() >= GIVE_UP;
            match self.try_restore(&management, late).await {
                Ok(true) => return Ok(()),
                Ok(false) if late => return Ok(()),
                Err(blindness) if began.elapsed() >= patience => return Err(blindness),
                Ok(false) => {}
                Err(_) => pause = (pause * 2).min(SELDOM),
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// The broker lists its vhosts, and this is none of them.
    async fn is_deleted(&self, management: &Management) -> bool {
        let path = "vhosts?columns=name";
        let Ok(Json::Array(vhosts)) = management.get(path).await else {
            return false;
        };
        let name = |vhost: &Json| vhost.get("name").and_then(Json::as_str).map(str::to_owned);
        let mut names = vhosts.iter().filter_map(name).peekable();
        names.peek().is_some() && names.all(|name| name != self.vhost)
    }

    /// `false` while it is not known who is left.
    async fn try_restore(&self, management: &Management, late: bool) -> Result<bool, Unavailable> {
        let readers = match Tracing::readers(management, &self.vhost, &self.node).await {
            Ok(readers) => readers,
            Err(_) if self.is_deleted(management).await => return Err(Unavailable::new(DELETED)),
            Err(blindness) => return Err(blindness),
        };
        match remaining_readers(&readers, &self.queue, late) {
            RemainingReaders::Nobody => {}
            RemainingReaders::Others => return Ok(true),
            RemainingReaders::Unknown => return Ok(false),
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
enum RemainingReaders {
    /// Nobody, or nobody who may count on it.
    Nobody,
    /// Another program, or a taskdiag that switches it off when it ends.
    Others,
    /// Our own queue is still there beside others: they may be ending as we are.
    Unknown,
}

fn remaining_readers(readers: &[String], own: &str, late: bool) -> RemainingReaders {
    let mut others = readers.iter().filter(|name| *name != own).peekable();
    // Of a connection that died without a word the broker keeps our queue for minutes.
    if others.peek().is_none() {
        return RemainingReaders::Nobody;
    }
    // A guest found it on and leaves it on. It was on because of us, so that nobody else puts it back.
    if others.all(|name| name.starts_with(Tracing::GUEST)) {
        return if late {
            RemainingReaders::Nobody
        } else {
            RemainingReaders::Unknown
        };
    }
    match readers.iter().any(|name| name == own) {
        true => RemainingReaders::Unknown,
        false => RemainingReaders::Others,
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
            remaining_readers(&readers, &own, late)
        };
        assert_eq!(who(&[], false), RemainingReaders::Nobody);
        assert_eq!(
            who(&[&own], false),
            RemainingReaders::Nobody,
            "a dead connection's queue"
        );
        assert_eq!(
            who(&[&own, &owned("2")], false),
            RemainingReaders::Unknown,
            "both may be ending"
        );
        assert_eq!(who(&[&owned("2")], false), RemainingReaders::Others);
        assert_eq!(
            who(&[&"a firehose of somebody".to_owned()], true),
            RemainingReaders::Others
        );
        assert_eq!(who(&[&guest], false), RemainingReaders::Unknown);
        assert_eq!(who(&[&guest], true), RemainingReaders::Nobody);
        assert_eq!(who(&[&guest, &owned("2")], true), RemainingReaders::Others);
    }
}
