//! The messages of the delay and dead-letter queues, with `--peek`; those of the queue itself with
//! `--peek-main`, and only while nobody consumes there.
//!
//! A look gets and requeues, which marks messages redelivered and holds them for a moment. On a
//! quorum queue before 4.3 each look counts towards the delivery limit and can dead-letter or drop
//! a message: refused there, unless the messages are far from it. The order of a quorum queue's own
//! messages would change if only some were looked at.

use base64::Engine as _;
use serde_json::{Value as Json, json};

use super::{Phases, Tap, Watched};
use crate::config::Config;
use crate::error::Unavailable;
use crate::framework::{Envelope, Header, Properties, Role};
use crate::http::segment;
use crate::rabbitmq::amqp;
use crate::rabbitmq::declare::{Counts, Prober};
use crate::rabbitmq::management::Management;
use crate::text::counted;
use crate::timeline::EventKind;

/// Messages that one look takes at most.
const MOST: u32 = 500;

/// Messages of the queue itself that one look takes at most.
const MOST_OF_MAIN: u32 = 100;

/// Which queues' messages may be looked at.
#[derive(Debug, Clone, Copy, Default)]
pub struct Peek {
    pub companions: bool,
    pub main: bool,
}

impl Peek {
    fn includes(self, role: Role) -> bool {
        match role {
            Role::Main => self.main,
            _ => self.companions,
        }
    }
}

pub async fn watch(config: &Config, peek: Peek, show_args: bool, tap: Tap, mut phases: Phases) -> Watched {
    if !peek.companions && !peek.main {
        return Err(
            Unavailable::new("counted only: reading them marks them as redelivered")
                .hint("--peek looks at the delay and dead-letter queues, --peek-main at the queue itself"),
        );
    }
    let management = Management::new(&config.broker)?;
    let queue = &config.broker.queue;
    let companions = config.framework.queues.family(queue).into_iter();
    let companions = companions.filter(|(role, _)| peek.includes(*role));
    let version = management
        .get("overview?columns=rabbitmq_version")
        .await
        .ok()
        .and_then(|answer| crate::text::version(answer.get("rabbitmq_version")?.as_str()?));
    let mut seen = Vec::new();
    let mut trouble = Vec::new();
    for (role, queue) in companions {
        match look(&management, config, (role, &queue), version, show_args, &tap).await {
            Ok((got, ready)) if got < ready => {
                trouble.push(format!("`{queue}`: only the first {got} of {ready} messages"))
            }
            Ok((got, _)) => seen.push(format!(
                "{} of `{queue}`",
                counted(got as u64, "message", "messages")
            )),
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
    (role, queue): (Role, &str),
    version: Option<(u32, u32)>,
    show_args: bool,
    tap: &Tap,
) -> Result<(usize, usize), Unavailable> {
    let vhost = segment(&config.broker.vhost);
    let path = format!("queues/{vhost}/{}", segment(queue));
    let info = management.get(&path).await?;
    if role == Role::Main {
        let ready = ready_without_consumers(config, queue).await?;
        keeps_order(&info, ready)?;
    }
    let get = async |count: u32| {
        let request = json!({ "count": count, "ackmode": "ack_requeue_true", "encoding": "base64", "truncate": 1_000_000 });
        management.post(&format!("{path}/get"), &request).await
    };
    match cost(&info, role, version) {
        Cost::Nothing => {}
        Cost::Delivery { limit } => {
            let first = get(1).await?;
            let count = first.pointer("/0/properties/headers/x-delivery-count");
            // The oldest one has been looked at most often.
            if count.and_then(Json::as_u64).unwrap_or(0) * 2 + 2 >= limit {
                return Err(Unavailable::new(format!(
                    "refused: on this quorum queue every look counts as a delivery, and its messages are near their limit of {limit}"
                )));
            }
        }
        Cost::Unbearable(why) => return Err(Unavailable::new(format!("refused: {why}"))),
    }
    let most = if role == Role::Main { MOST_OF_MAIN } else { MOST };
    let answer = get(most).await?;
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

/// A look would take messages from a worker for a moment. Statistics tell of consumers seconds late, so the queue is
/// asked.
async fn ready_without_consumers(config: &Config, queue: &str) -> Result<u64, Unavailable> {
    let connection = amqp::connect(&config.broker, "peek").await?;
    match Prober::default().look(&connection, queue).await {
        Ok(Counts::There { consumers: 0, ready }) => Ok(ready),
        Ok(Counts::There { consumers, .. }) => Err(Unavailable::new(format!(
            "refused: it has {}, and reading takes messages from them",
            counted(consumers, "consumer", "consumers")
        ))),
        Ok(Counts::Missing) => Err(Unavailable::new("there is no such queue")),
        Ok(Counts::Down(why)) => Err(Unavailable::new(why)),
        Ok(Counts::Silent) => Err(Unavailable::new("its leader does not answer")),
        Err(why) => Err(Unavailable::new(why.reason())),
    }
}

/// A quorum queue puts what is given back behind what waits (RabbitMQ 4.3): only who takes all leaves the order as it
/// was. Half of what a look takes is left for what comes meanwhile.
fn keeps_order(info: &Json, ready: u64) -> Result<(), Unavailable> {
    let most = u64::from(MOST_OF_MAIN / 2);
    if ready <= most || info.get("type").and_then(Json::as_str) != Some("quorum") {
        return Ok(());
    }
    Err(Unavailable::new(format!(
        "refused: a quorum queue puts messages that were looked at behind the others, and {ready} wait in it: a look takes {most} at most there"
    )))
}

/// What a look costs the messages of a queue.
#[derive(Debug, PartialEq, Eq)]
enum Cost {
    Nothing,
    /// One of so many deliveries.
    Delivery {
        limit: u64,
    },
    Unbearable(&'static str),
}

/// From 4.3 on a message that is given back is not counted; before it is, and a stream cannot be got from.
fn cost(info: &Json, role: Role, version: Option<(u32, u32)>) -> Cost {
    match info.get("type").and_then(Json::as_str) {
        None | Some("classic") => return Cost::Nothing,
        Some("quorum") if version >= Some((4, 3)) => return Cost::Nothing,
        Some("quorum") => {}
        Some(_) => return Cost::Unbearable("its messages cannot be got and given back"),
    }
    // What a worker holds there has been delivered, nobody sees how often.
    if role != Role::DeadLetter {
        return Cost::Unbearable(
            "it is a quorum queue, on which every look counts as a delivery and may be the one too many",
        );
    }
    let argument = info.pointer("/arguments/x-delivery-limit").and_then(Json::as_i64);
    let policy = info
        .pointer("/effective_policy_definition/delivery-limit")
        .and_then(Json::as_i64);
    match argument.into_iter().chain(policy).min() {
        Some(limit) => match u64::try_from(limit) {
            Ok(limit) => Cost::Delivery { limit },
            Err(_) => Cost::Nothing,
        },
        None if version.is_some_and(|version| version < (4, 0)) => Cost::Nothing,
        None => Cost::Delivery { limit: 20 },
    }
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
            expiration_ms: text("expiration").and_then(|text| text.parse().ok()),
        },
        body: body.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_must_not_be_the_one_too_many() {
        let quorum = |arguments: Json| json!({ "type": "quorum", "arguments": arguments });
        let plain = quorum(json!({}));
        assert_eq!(
            cost(&json!({ "type": "classic" }), Role::Delay, Some((4, 0))),
            Cost::Nothing
        );
        assert_eq!(cost(&plain, Role::Delay, Some((4, 3))), Cost::Nothing);
        assert!(matches!(
            cost(&plain, Role::Delay, Some((4, 0))),
            Cost::Unbearable(_)
        ));
        assert_eq!(
            cost(&plain, Role::DeadLetter, Some((4, 0))),
            Cost::Delivery { limit: 20 }
        );
        assert_eq!(cost(&plain, Role::DeadLetter, Some((3, 10))), Cost::Nothing);
        let limited = quorum(json!({ "x-delivery-limit": 3 }));
        assert_eq!(
            cost(&limited, Role::DeadLetter, Some((3, 10))),
            Cost::Delivery { limit: 3 }
        );
        // Nobody knows what it is.
        assert_eq!(cost(&plain, Role::DeadLetter, None), Cost::Delivery { limit: 20 });
        assert!(matches!(
            cost(&json!({ "type": "stream" }), Role::DeadLetter, None),
            Cost::Unbearable(_)
        ));
    }

    #[test]
    fn the_order_of_a_quorum_queue_stays() {
        let quorum = json!({ "type": "quorum" });
        assert!(keeps_order(&quorum, 50).is_ok());
        let refused = keeps_order(&quorum, 51).unwrap_err();
        assert!(refused.reason.contains("51 wait in it"), "{}", refused.reason);
        assert!(keeps_order(&json!({ "type": "classic" }), 5_000).is_ok());
    }
}
