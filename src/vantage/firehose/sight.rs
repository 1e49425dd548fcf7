//! What one message of the trace exchange says, borrowed from it.

use std::borrow::Cow;

use super::sieve::{Batch, Message};
use super::table::{Fields, Value};
use crate::trace::{Death, Passage, Sight};

impl Batch {
    /// What they say.
    pub fn sights(&self) -> impl Iterator<Item = Sight<'_>> {
        self.messages().filter_map(|message| sight(&message))
    }
}

/// `None` for what is neither a publish nor a delivery: other plugins may use the exchange too.
pub fn sight<'a>(message: &Message<'a>) -> Option<Sight<'a>> {
    let (mut connection, mut user, mut routing_key) = (Cow::default(), Cow::default(), Cow::default());
    let (mut queues, mut was_delivered, mut death) = (Vec::new(), false, None);
    let is_publish = message.routing_key.starts_with(PUBLISH);
    for (name, value) in Fields::new(message.headers) {
        match name {
            b"connection" => connection = value.text().unwrap_or_default(),
            b"user" => user = value.text().unwrap_or_default(),
            b"routing_keys" => routing_key = value.list().next().and_then(Value::text).unwrap_or_default(),
            b"routed_queues" if is_publish => queues = value.list().filter_map(Value::text).collect(),
            // A whole number with some brokers, a flag with others.
            b"redelivered" => was_delivered = matches!(value, Value::Number(1)),
            b"properties" => death = value.table().and_then(self::death),
            _ => {}
        }
    }
    let passage = if is_publish {
        Passage::Publish {
            exchange: String::from_utf8_lossy(&message.routing_key[PUBLISH.len()..]),
            routing_key,
            queues,
        }
    } else {
        Passage::Deliver {
            queue: String::from_utf8_lossy(message.routing_key.strip_prefix(DELIVER)?),
            redelivered: was_delivered,
        }
    };
    Some(Sight {
        passage,
        connection,
        user,
        body: message.body,
        death,
    })
}

const PUBLISH: &[u8] = b"publish.";
const DELIVER: &[u8] = b"deliver.";

/// The message's own headers say why and from where the broker dead-lettered it last.
fn death(properties: Fields<'_>) -> Option<Death<'_>> {
    let own = properties.get("headers")?.table()?;
    let last = own.get("x-death")?.list().next()?.table()?;
    let text = |name| last.get(name).and_then(Value::text).unwrap_or_default();
    Some(Death {
        queue: text("queue"),
        reason: text("reason"),
    })
}
