//! Publishes a task's message itself, so that the API is out of the question.
//!
//! The one thing that taskdiag adds to a queue: with publisher confirms and `mandatory`, so that
//! "accepted" and "routed" are facts and not hopes. The queue is never declared here.

use std::time::Instant;

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Confirmation};
use serde_json::Value as Json;

use crate::config::{Broker, Config};
use crate::error::{Error, Result};
use crate::framework::dramatiq;
use crate::rabbitmq::amqp::connect;

/// How a direct publish went.
pub struct Direct {
    pub task_id: String,
    pub message_id: String,
    pub queue: String,
    pub actor: String,
    /// A queue took it; otherwise the broker returned it.
    pub routed: bool,
    pub confirmed: bool,
    pub latency_ms: f64,
}

pub async fn publish(config: &Config) -> Result<Direct> {
    let broker = &config.broker;
    let Some(actor) = broker.actor.clone() else {
        return Err(Error::MissingKey {
            key: "broker.actor",
            needed_for: "submit --direct",
            example: "[broker] actor = \"my_actor\"",
        });
    };
    let task_id = format!("taskdiag-{}", uuid::Uuid::new_v4());
    let message_id = uuid::Uuid::new_v4().to_string();
    let body = dramatiq::encode(
        &broker.queue,
        &actor,
        &with_task_id(&broker.args, &task_id),
        &with_task_id(&broker.kwargs, &task_id),
        &message_id,
        jiff::Timestamp::now().as_millisecond(),
    );
    let taken = send(broker, &broker.queue, &body).await?;
    Ok(Direct {
        task_id,
        message_id,
        queue: broker.queue.clone(),
        actor,
        routed: taken.routed,
        confirmed: taken.confirmed,
        latency_ms: taken.latency_ms,
    })
}

/// What the broker made of a message.
pub struct Taken {
    pub routed: bool,
    pub confirmed: bool,
    pub latency_ms: f64,
}

/// Publishes a body to a queue and waits for the broker's word.
pub async fn send(broker: &Broker, queue: &str, body: &[u8]) -> Result<Taken> {
    let target = format!("{}:{}", broker.amqp.host(), broker.amqp.port());
    let failed = |error: lapin::Error| Error::Could {
        action: "publish",
        target: target.clone(),
        seen: error.to_string(),
        hint: format!(
            "user \"{}\" needs write permission on the default exchange (amq.default) of vhost \"{}\"",
            broker.amqp.username(),
            broker.vhost
        ),
    };
    let connection = connect(broker, "submit")
        .await
        .map_err(|blindness| Error::Could {
            action: "publish",
            target: target.clone(),
            seen: blindness.reason,
            hint: blindness.hint.unwrap_or_else(|| "check `broker.amqp_url`".into()),
        })?;
    let channel = connection.create_channel().await.map_err(failed)?;
    channel
        .confirm_select(ConfirmSelectOptions::default())
        .await
        .map_err(failed)?;
    let began = Instant::now();
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let properties = BasicProperties::default().with_delivery_mode(2);
    let confirmation = channel
        .basic_publish("".into(), queue.into(), options, body, properties)
        .await
        .map_err(failed)?
        .await
        .map_err(failed)?;
    let latency_ms = (began.elapsed().as_secs_f64() * 1e6).round() / 1e3;
    let (confirmed, routed) = match confirmation {
        Confirmation::Ack(returned) => (true, returned.is_none()),
        Confirmation::Nack(returned) => (false, returned.is_none()),
        Confirmation::NotRequested => (false, true),
    };
    let _ = connection.close(200, "done".into()).await;
    Ok(Taken {
        routed,
        confirmed,
        latency_ms,
    })
}

/// `{task_id}` stands for the fresh id, wherever it occurs in a string.
pub fn with_task_id(value: &Json, task_id: &str) -> Json {
    match value {
        Json::String(text) => Json::String(text.replace("{task_id}", task_id)),
        Json::Array(items) => items.iter().map(|item| with_task_id(item, task_id)).collect(),
        Json::Object(map) => Json::Object(
            map.iter()
                .map(|(key, item)| (key.clone(), with_task_id(item, task_id)))
                .collect(),
        ),
        other => other.clone(),
    }
}
