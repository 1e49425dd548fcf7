//! The messages of the delay and dead-letter queues: only with `--peek`, and never of the queue
//! itself.
//!
//! A look gets and requeues, which marks messages redelivered and holds them for a moment. On a
//! quorum queue before 4.3 each look counts towards the delivery limit and can dead-letter or drop
//! a message: refused there.

use base64::Engine as _;
use serde_json::{Value as Json, json};

use super::{Phases, Tap, Watched};
use crate::config::Config;
use crate::error::Unavailable;
use crate::framework::{Envelope, Header, Properties, Role};
use crate::http::segment;
use crate::rabbitmq::management::Management;
use crate::timeline::EventKind;

/// Messages that one look takes at most.
const MOST: u32 = 500;

pub async fn watch(config: &Config, peek: bool, show_args: bool, tap: Tap, mut phases: Phases) -> Watched {
    if !peek {
        return Err(
            Unavailable::new("not looked at: a look marks messages as redelivered")
                .hint("--peek looks at the delay and dead-letter queues"),
        );
    }
    let management = Management::new(&config.broker)?;
    let queue = &config.broker.queue;
    let companions = config.framework.queues.family(queue).into_iter();
    let companions = companions.filter(|(role, _)| *role != Role::Main);
    let mut seen = Vec::new();
    let mut trouble = Vec::new();
    for (_, queue) in companions {
        match look(&management, config, &queue, show_args, &tap).await {
            Ok((got, ready)) if got < ready => {
                trouble.push(format!("`{queue}`: only the first {got} of {ready} messages"))
            }
            Ok((got, _)) => seen.push(format!("{got} messages of `{queue}`")),
            Err(blindness) => trouble.push(format!("`{queue}`: {}", blindness.reason)),
        }
    }
    if seen.is_empty() && !trouble.is_empty() {
        return Err(Unavailable::new(trouble.join("; ")));
    }
    if trouble.is_empty() {
        tap.watching(seen.join(", "));
    } else {
        tap.partial(format!("{}; {}", seen.join(", "), trouble.join("; ")));
    }
    phases.ending().await;
    tap.looked();
    Ok(())
}

/// Looks at one queue; says how many messages it saw and how many there are. Unacknowledged ones
/// cannot be seen.
async fn look(
    management: &Management,
    config: &Config,
    queue: &str,
    show_args: bool,
    tap: &Tap,
) -> Result<(usize, usize), Unavailable> {
    let vhost = segment(&config.broker.vhost);
    let path = format!("queues/{vhost}/{}", segment(queue));
    let info = management.get(&path).await?;
    let kind = info.get("type").and_then(Json::as_str).unwrap_or("classic");
    if kind != "classic" {
        return Err(Unavailable::new(format!(
            "refused: it is a {kind} queue, on which every look counts as a delivery and may be the one too many"
        )));
    }
    let request =
        json!({ "count": MOST, "ackmode": "ack_requeue_true", "encoding": "base64", "truncate": 1_000_000 });
    let answer = management.post(&format!("{path}/get"), &request).await?;
    let messages = answer.as_array().cloned().unwrap_or_default();
    let ready = messages
        .last()
        .and_then(|message| message.get("message_count"))
        .and_then(Json::as_u64)
        .unwrap_or(0) as usize;
    for message in &messages {
        let body = message.get("payload").and_then(Json::as_str).unwrap_or_default();
        let body = match message.get("payload_encoding").and_then(Json::as_str) {
            Some("base64") => base64::engine::general_purpose::STANDARD
                .decode(body)
                .unwrap_or_default(),
            _ => body.as_bytes().to_vec(),
        };
        let death = |field: &str| {
            message
                .pointer(&format!("/properties/headers/x-death/0/{field}"))
                .and_then(Json::as_str)
                .map(str::to_owned)
        };
        tap.see(EventKind::DeadLetter {
            queue: queue.to_owned(),
            reason: death("reason"),
            from_queue: death("queue"),
            message: config.framework.decode(&envelope(message, &body), show_args),
        });
    }
    Ok((messages.len(), messages.len() + ready))
}

/// What the management API says of a message.
fn envelope<'a>(message: &'a Json, body: &'a [u8]) -> Envelope<'a> {
    let property = |name: &str| message.pointer(&format!("/properties/{name}"));
    let text = |name: &str| property(name).and_then(Json::as_str).map(Into::into);
    let headers = property("headers")
        .and_then(Json::as_object)
        .into_iter()
        .flatten();
    Envelope {
        headers: headers
            .map(|(name, value)| {
                let value = match value {
                    Json::String(text) => Header::Text(text.as_str().into()),
                    other => Header::Other(other.clone()),
                };
                (name.as_str().into(), value)
            })
            .collect(),
        properties: Properties {
            content_type: text("content_type"),
            content_encoding: text("content_encoding"),
            correlation_id: text("correlation_id"),
            reply_to: text("reply_to"),
            priority: property("priority")
                .and_then(Json::as_u64)
                .and_then(|priority| u8::try_from(priority).ok()),
        },
        body: body.into(),
    }
}
