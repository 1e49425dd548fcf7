//! Publishes a task's message itself, so that the API is out of the question.
//!
//! The one thing that taskdiag adds to a queue: with publisher confirms and `mandatory`, so that
//! "accepted" and "routed" are facts and not hopes. The queue is never declared here.

use std::time::{Duration, Instant};

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldArray, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection};
use serde_json::Value as Json;

use crate::config::{Broker, Config};
use crate::error::{Error, Result};
use crate::framework::{Call, Envelope, Header, unseen_id, with_task_id};
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
    let is_set = |key: &str| config.origins.contains_key(key);
    let no_arguments = Json::Object(serde_json::Map::new());
    // An argument that the actor does not take would be poison in a live queue.
    let kwargs = match (is_set("broker.args"), is_set("broker.kwargs")) {
        (_, true) => &broker.kwargs,
        (true, false) => &no_arguments,
        (false, false) => {
            return Err(Error::MissingKey {
                key: "broker.kwargs",
                needed_for: "submit --direct",
                example: "[broker] kwargs = { task_id = \"{task_id}\" }, or args = [ … ]",
            });
        }
    };
    let task_id = unseen_id();
    let message_id = uuid::Uuid::new_v4().to_string();
    let envelope = (config.framework.codec.encode)(&Call {
        queue: &broker.queue,
        actor: &actor,
        args: &with_task_id(&broker.args, &task_id),
        kwargs: &with_task_id(kwargs, &task_id),
        message_id: &message_id,
        now_ms: jiff::Timestamp::now().as_millisecond(),
        // One that fails does not come back for days.
        run: Some("submit"),
    });
    let result = send(broker, &broker.queue, &envelope).await?;
    Ok(Direct {
        task_id,
        message_id,
        queue: broker.queue.clone(),
        actor,
        routed: result.routed,
        confirmed: result.confirmed,
        latency_ms: result.latency_ms,
    })
}

/// The broker's word on a message takes no longer.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(10);

/// Its word on one that no queue takes, either.
const PROBED_WITHIN: Duration = Duration::from_secs(3);

/// What the broker made of a message.
pub struct PublishResult {
    pub routed: bool,
    pub confirmed: bool,
    pub latency_ms: f64,
}

/// Publishes a message to a queue and waits for the broker's word.
pub async fn send(broker: &Broker, queue: &str, envelope: &Envelope<'_>) -> Result<PublishResult> {
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
    if !takes_publishes(&connection, &channel).await.map_err(failed)? {
        return Err(Error::Could {
            action: "publish",
            target,
            seen: "the broker blocks publishers (a memory or disk alarm); nothing was sent".into(),
            hint: "rabbitmq-diagnostics alarms; free memory or disk there, and try again".into(),
        });
    }
    let began = Instant::now();
    let options = BasicPublishOptions {
        mandatory: true,
        ..BasicPublishOptions::default()
    };
    let publishing = async {
        channel
            .basic_publish(
                "".into(),
                queue.into(),
                options,
                &envelope.body,
                properties(envelope),
            )
            .await?
            .await
    };
    let confirmation = match tokio::time::timeout(CONFIRMED_WITHIN, publishing).await {
        Ok(confirmation) => confirmation.map_err(failed)?,
        Err(_) => {
            return Err(Error::Could {
                action: "publish",
                target,
                seen: format!("no confirmation within {} s", CONFIRMED_WITHIN.as_secs()),
                hint: format!(
                    "the message may come yet: look at `{queue}` before you send another; `taskdiag check` says what is wrong with it"
                ),
            });
        }
    };
    let latency_ms = (began.elapsed().as_secs_f64() * 1e6).round() / 1e3;
    let (confirmed, routed) = match confirmation {
        Confirmation::Ack(returned) => (true, returned.is_none()),
        Confirmation::Nack(returned) => (false, returned.is_none()),
        Confirmation::NotRequested => (false, true),
    };
    let _ = connection.close(200, "done".into()).await;
    Ok(PublishResult {
        routed,
        confirmed,
        latency_ms,
    })
}

/// During an alarm the broker reads a publisher's first message and no further: what is sent then is
/// published once the alarm is over, however long the sender has been gone. So the first is one that no
/// queue takes.
async fn takes_publishes(connection: &Connection, channel: &Channel) -> lapin::Result<bool> {
    let publishing = async {
        channel
            .basic_publish(
                "".into(),
                format!("taskdiag.probe.{}", uuid::Uuid::new_v4()).into(),
                BasicPublishOptions::default(),
                b"",
                BasicProperties::default(),
            )
            .await?
            .await
    };
    let probed = tokio::time::timeout(PROBED_WITHIN, publishing).await;
    if connection.status().blocked() {
        return Ok(false);
    }
    match probed {
        Ok(confirmation) => confirmation.map(|_| true),
        Err(_) => Ok(false),
    }
}

/// Persistent, with what the framework put beside the body.
fn properties(envelope: &Envelope<'_>) -> BasicProperties {
    let mut properties = BasicProperties::default().with_delivery_mode(2);
    let own = &envelope.properties;
    if let Some(text) = &own.content_type {
        properties = properties.with_content_type(text.as_ref().into());
    }
    if let Some(text) = &own.content_encoding {
        properties = properties.with_content_encoding(text.as_ref().into());
    }
    if let Some(text) = &own.correlation_id {
        properties = properties.with_correlation_id(text.as_ref().into());
    }
    if let Some(text) = &own.reply_to {
        properties = properties.with_reply_to(text.as_ref().into());
    }
    if let Some(priority) = own.priority {
        properties = properties.with_priority(priority);
    }
    if envelope.headers.is_empty() {
        return properties;
    }
    let mut headers = FieldTable::default();
    for (name, value) in &envelope.headers {
        let value = match value {
            Header::Text(text) => AMQPValue::LongString(text.as_ref().into()),
            Header::Other(json) => field(json),
        };
        headers.insert(name.as_ref().into(), value);
    }
    properties.with_headers(headers)
}

/// A value of JSON as one of AMQP's.
fn field(value: &Json) -> AMQPValue {
    match value {
        Json::Null => AMQPValue::Void,
        Json::Bool(is) => AMQPValue::Boolean(*is),
        Json::Number(number) => match number.as_i64() {
            Some(whole) => AMQPValue::LongLongInt(whole),
            None => AMQPValue::Double(number.as_f64().unwrap_or_default()),
        },
        Json::String(text) => AMQPValue::LongString(text.as_str().into()),
        Json::Array(items) => {
            AMQPValue::FieldArray(FieldArray::from(items.iter().map(field).collect::<Vec<_>>()))
        }
        Json::Object(map) => {
            let mut table = FieldTable::default();
            for (name, value) in map {
                table.insert(name.as_str().into(), field(value));
            }
            AMQPValue::FieldTable(table)
        }
    }
}
