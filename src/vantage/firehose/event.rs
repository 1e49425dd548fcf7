//! What one message of the trace exchange says, borrowed from it.

use std::borrow::Cow;

use serde_json::Value as Json;

use super::extractor::{Batch, RawDelivery};
use super::table::{Fields, Value};
use crate::framework::{Envelope, Header, Properties};
use crate::trace::{Death, TraceEvent, TraceKind};

impl Batch {
    /// What they say.
    pub fn trace_events(&self) -> impl Iterator<Item = TraceEvent<'_>> {
        self.messages().filter_map(|message| trace_event(&message))
    }
}

/// `None` for what is neither a publish nor a delivery: other plugins may use the exchange too.
pub fn trace_event<'a>(message: &RawDelivery<'a>) -> Option<TraceEvent<'a>> {
    let (mut connection, mut user, mut routing_key) = (Cow::default(), Cow::default(), Cow::default());
    let (mut queues, mut was_delivered, mut death) = (Vec::new(), false, None);
    let mut envelope = Envelope::of_body(message.body);
    let is_publish = message.routing_key.starts_with(PUBLISH);
    for (name, value) in Fields::new(message.headers) {
        match name {
            b"connection" => connection = value.text().unwrap_or_default(),
            b"user" => user = value.text().unwrap_or_default(),
            b"routing_keys" => routing_key = value.list().next().and_then(Value::text).unwrap_or_default(),
            b"routed_queues" if is_publish => queues = value.list().filter_map(Value::text).collect(),
            // A whole number with some brokers, a flag with others.
            b"redelivered" => was_delivered = matches!(value, Value::Number(1) | Value::Flag(true)),
            b"properties" => {
                for (name, value) in value.table().unwrap_or_default() {
                    match name {
                        b"headers" => {
                            let own = value.table().unwrap_or_default();
                            death = self::death(own);
                            envelope.headers = headers(own);
                        }
                        _ => property(&mut envelope.properties, name, value),
                    }
                }
            }
            _ => {}
        }
    }
    let kind = if is_publish {
        TraceKind::Publish {
            exchange: String::from_utf8_lossy(&message.routing_key[PUBLISH.len()..]),
            routing_key,
            queues,
        }
    } else {
        TraceKind::Deliver {
            queue: String::from_utf8_lossy(message.routing_key.strip_prefix(DELIVER)?),
            redelivered: was_delivered,
        }
    };
    Some(TraceEvent {
        kind,
        connection,
        user,
        envelope,
        death,
    })
}

/// The message's own headers, without what the broker adds (`x-death` and the like). By `x-delay` a sender asks an
/// exchange of the type `x-delayed-message` to hold it back.
fn headers(own: Fields<'_>) -> Vec<(Cow<'_, str>, Header<'_>)> {
    own.filter(|(name, _)| !name.starts_with(b"x-") || *name == X_DELAY)
        .map(|(name, value)| {
            let value = match value {
                Value::Text(text) => Header::Text(String::from_utf8_lossy(text)),
                other => Header::Other(json(other)),
            };
            (String::from_utf8_lossy(name), value)
        })
        .collect()
}

fn property<'a>(properties: &mut Properties<'a>, name: &[u8], value: Value<'a>) {
    match name {
        b"content_type" => properties.content_type = value.text(),
        b"content_encoding" => properties.content_encoding = value.text(),
        b"correlation_id" => properties.correlation_id = value.text(),
        b"expiration" => {
            properties.expiration_ms = value.text().and_then(|text| text.parse().ok());
        }
        b"reply_to" => properties.reply_to = value.text(),
        b"priority" => {
            if let Value::Number(priority) = value {
                properties.priority = u8::try_from(priority).ok();
            }
        }
        _ => {}
    }
}

fn json(value: Value<'_>) -> Json {
    match value {
        Value::Text(text) => String::from_utf8_lossy(text).into(),
        Value::Flag(is) => is.into(),
        Value::Number(number) => number.into(),
        Value::List(values) => values.map(json).collect(),
        Value::Table(fields) => fields
            .map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), json(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        Value::Other => Json::Null,
    }
}

const X_DELAY: &[u8] = b"x-delay";
const PUBLISH: &[u8] = b"publish.";
const DELIVER: &[u8] = b"deliver.";

/// The message's own headers say why and from where the broker dead-lettered it last.
fn death(own: Fields<'_>) -> Option<Death<'_>> {
    let last = own.get("x-death")?.list().next()?.table()?;
    let text = |name| last.get(name).and_then(Value::text).unwrap_or_default();
    Some(Death {
        queue: text("queue"),
        reason: text("reason"),
    })
}
