//! What one message of the trace exchange says, borrowed from it.

use std::borrow::Cow;

use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldTable};

use crate::trace::{Death, Passage, Sight};

/// `None` for what is neither a publish nor a delivery: other plugins may use the exchange too.
pub fn sight(delivery: &Delivery) -> Option<Sight<'_>> {
    let headers = delivery.properties.headers().as_ref()?;
    let key = delivery.routing_key.as_str();
    let passage = if let Some(exchange) = key.strip_prefix("publish.") {
        Passage::Publish {
            exchange: Cow::Borrowed(exchange),
            routing_key: texts(headers, "routing_keys").next().unwrap_or_default(),
            queues: texts(headers, "routed_queues").collect(),
        }
    } else {
        Passage::Deliver {
            queue: Cow::Borrowed(key.strip_prefix("deliver.")?),
            redelivered: headers.inner().get("redelivered").is_some_and(is_one),
        }
    };
    Some(Sight {
        passage,
        connection: text(headers, "connection"),
        user: text(headers, "user"),
        body: &delivery.data,
        death: death(headers),
    })
}

fn is_one(value: &AMQPValue) -> bool {
    matches!(
        value,
        AMQPValue::LongInt(1)
            | AMQPValue::ShortShortInt(1)
            | AMQPValue::ShortInt(1)
            | AMQPValue::LongLongInt(1)
            | AMQPValue::Boolean(true)
            | AMQPValue::ShortShortUInt(1)
    )
}

fn text<'a>(headers: &'a FieldTable, name: &str) -> Cow<'a, str> {
    headers.inner().get(name).and_then(value_text).unwrap_or_default()
}

fn texts<'a>(headers: &'a FieldTable, name: &str) -> impl Iterator<Item = Cow<'a, str>> {
    let values = match headers.inner().get(name) {
        Some(AMQPValue::FieldArray(values)) => values.as_slice(),
        _ => &[],
    };
    values.iter().filter_map(value_text)
}

fn value_text(value: &AMQPValue) -> Option<Cow<'_, str>> {
    match value {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes())),
        AMQPValue::ShortString(text) => Some(Cow::Borrowed(text.as_str())),
        _ => None,
    }
}

/// The newest entry of `x-death`: where and why the broker dead-lettered it last.
fn death(headers: &FieldTable) -> Option<Death<'_>> {
    let AMQPValue::FieldTable(properties) = headers.inner().get("properties")? else {
        return None;
    };
    let AMQPValue::FieldTable(own) = properties.inner().get("headers")? else {
        return None;
    };
    let AMQPValue::FieldArray(deaths) = own.inner().get("x-death")? else {
        return None;
    };
    let AMQPValue::FieldTable(last) = deaths.as_slice().first()? else {
        return None;
    };
    Some(Death {
        queue: text(last, "queue"),
        reason: text(last, "reason"),
    })
}
