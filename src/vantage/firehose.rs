//! `amq.rabbitmq.trace`: every publish and delivery of the vhost, with body and connection name.
//!
//! Nothing of the task's own queue is touched: we read copies from an exclusive queue of our own.

use std::sync::Arc;

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use tokio::sync::Mutex;

use super::http::{Management, segment};
use super::{Blindness, Phases, Tap, Watched, amqp};
use crate::config::{Config, Trace};
use crate::framework::dramatiq;
use crate::guardian::{Guardian, Tracing};
use crate::timeline::EventKind;

/// The exchange the broker copies everything to while a vhost traces.
pub const EXCHANGE: &str = "amq.rabbitmq.trace";
/// `auto` stays off above this many publishes a second: tracing costs the broker.
const MOST_PER_SECOND: f64 = 200.0;
/// Trace messages that may wait for us; more than that are lost, and counted.
const BACKLOG: u32 = 50_000;

pub async fn watch(
    config: &Config,
    wanted: bool,
    show_args: bool,
    tap: Tap,
    mut phases: Phases,
    guardian: &Arc<Mutex<Option<Guardian>>>,
) -> Watched {
    let broker = &config.broker;
    if broker.trace == Trace::Off {
        return Err(Blindness::new("switched off by `broker.trace = \"off\"`").hint("set trace = \"auto\""));
    }
    if !wanted {
        return Err(Blindness::new("not used here: nothing is published in this run")
            .hint("a run that submits a task uses it"));
    }
    let management = Management::new(broker)?;
    let vhost_path = format!("vhosts/{}", segment(&broker.vhost));
    let vhost = management.get(&vhost_path).await?;
    let already = vhost.get("tracing").and_then(serde_json::Value::as_bool);
    let Some(mut already) = already else {
        return Err(Blindness::new(format!(
            "the management API does not say whether vhost \"{}\" traces",
            broker.vhost
        )));
    };
    if already && readers(&management, &broker.vhost).await.is_empty() {
        // Nobody reads it. A taskdiag that is just ending switches it off within a moment; otherwise
        // it was forgotten.
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        already = management.get(&vhost_path).await?.get("tracing") == Some(&serde_json::Value::Bool(true));
        if already && readers(&management, &broker.vhost).await.is_empty() {
            tap.see(EventKind::TracingOn { readers: 0 });
        }
    }
    if !already && broker.trace == Trace::Auto {
        affordable(&management, &vhost).await?;
    }
    let connection = amqp::connect(broker, "firehose").await?;
    let failed = |error: lapin::Error| {
        Blindness::new(format!("cannot read {EXCHANGE}: {error}"))
            .hint(format!("rabbitmqctl set_permissions -p {} {} needs read on {EXCHANGE} and configure, write, read on taskdiag\\..*", broker.vhost, broker.amqp.username()))
    };
    let channel = connection.create_channel().await.map_err(failed)?;
    // The name says whether a taskdiag switched tracing on: the last such reader switches it off.
    let inherited = already
        && readers(&management, &broker.vhost)
            .await
            .iter()
            .any(|name| name.starts_with(Tracing::OWNED));
    let owned = !already || inherited;
    let prefix = if owned { Tracing::OWNED } else { Tracing::GUEST };
    let queue = format!("{prefix}{}", uuid::Uuid::new_v4().simple());
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(BACKLOG as i32));
    let options = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(queue.as_str().into(), options, arguments)
        .await
        .map_err(failed)?;
    let base = &broker.queue;
    let keys = [
        "publish.#".to_owned(),
        format!("deliver.{base}"),
        format!("deliver.{}", dramatiq::delay_queue(base)),
        format!("deliver.{}", dramatiq::dead_letter_queue(base)),
    ];
    for key in keys {
        channel
            .queue_bind(
                queue.as_str().into(),
                EXCHANGE.into(),
                key.as_str().into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
            .map_err(failed)?;
    }
    let mut consumer = channel
        .basic_consume(
            queue.as_str().into(),
            "taskdiag".into(),
            BasicConsumeOptions {
                no_ack: true,
                exclusive: true,
                ..BasicConsumeOptions::default()
            },
            FieldTable::default(),
        )
        .await
        .map_err(failed)?;
    if owned {
        // The guardian exists before anything is switched on, or nothing is.
        Guardian::of_run(guardian)
            .await?
            .restore_tracing(broker, &queue)
            .await?;
    }
    // Read again after binding: a taskdiag that was just ending may have switched it off.
    let tracing = |vhost: &serde_json::Value| vhost.get("tracing") == Some(&serde_json::Value::Bool(true));
    let now = management.get(&vhost_path).await?;
    if !tracing(&now) {
        if !owned {
            return Err(
                Blindness::new("tracing was switched off by somebody while we joined").hint("run it again"),
            );
        }
        Tracing::set(&management, &broker.vhost, true).await.map_err(|blindness| {
            Blindness::new(format!("tracing cannot be switched on: {}", blindness.reason)).hint(format!(
                "it takes the administrator tag (rabbitmqctl set_user_tags {} administrator), or switch it on by hand: rabbitmqctl trace_on -p {}",
                broker.management.username(),
                broker.vhost
            ))
        })?;
    }
    let detail = if already {
        format!(
            "reads the tracing of vhost \"{}\" that was on already",
            broker.vhost
        )
    } else {
        format!("tracing of vhost \"{}\" is on for this run", broker.vhost)
    };
    // Tracing is a state of each node: what happens on another one is not seen.
    match management
        .get("nodes?columns=name")
        .await
        .ok()
        .as_ref()
        .and_then(serde_json::Value::as_array)
        .map(Vec::len)
    {
        Some(nodes) if nodes > 1 => tap.partial(format!(
            "{detail}; the cluster has {nodes} nodes, and what passes through others may be missed"
        )),
        _ => tap.watching(detail),
    }
    loop {
        tokio::select! {
            delivery = consumer.next() => match delivery {
                Some(Ok(delivery)) => {
                    if let Some(kind) = read(&delivery, show_args) {
                        tap.see(kind);
                    }
                }
                Some(Err(error)) => return Err(Blindness::new(format!("the firehose broke off: {error}"))),
                None => return Err(Blindness::new("the firehose broke off: the broker cancelled our consumer")),
            },
            phase = phases.ending() => {
                if phase.stop {
                    break;
                }
                // Whoever switched tracing off meanwhile made us deaf: say so before conclusions.
                let now = management.get(&vhost_path).await;
                let still = now.as_ref().map_or(true, &tracing);
                if !still {
                    return Err(Blindness::new("tracing was switched off by somebody during the run").hint("run it again while nobody else changes the vhost"));
                }
                tap.looked();
                break;
            }
        }
    }
    let _ = connection.close(200, "done".into()).await;
    Ok(())
}

/// Tracing costs a busy broker up to a third of a publisher's speed: not without being told to.
async fn affordable(management: &Management, vhost: &serde_json::Value) -> Result<(), Blindness> {
    let overview = management.get("overview").await?;
    let statistics_off = overview.get("disable_stats") == Some(&serde_json::Value::Bool(true))
        || overview.get("rates_mode").and_then(serde_json::Value::as_str) == Some("none");
    let forced = "set trace = \"on\" if the broker can afford it";
    if statistics_off {
        return Err(Blindness::new(
            "the broker keeps no statistics, so the publish rate of the vhost cannot be told",
        )
        .hint(forced));
    }
    // No statistics object: no channel has published since the vhost's statistics began.
    let rate = vhost
        .pointer("/message_stats/publish_details/rate")
        .and_then(serde_json::Value::as_f64)
        .unwrap_or(0.0);
    if rate > MOST_PER_SECOND {
        return Err(Blindness::new(format!(
            "the vhost publishes {rate:.0} messages a second, more than {MOST_PER_SECOND:.0}"
        ))
        .hint(forced));
    }
    Ok(())
}

/// Names of the queues that read the trace exchange now.
async fn readers(management: &Management, vhost: &str) -> Vec<String> {
    Tracing::readers(management, vhost).await.unwrap_or_default()
}

/// One trace message as an event. The management API's own gets and publishes show an Erlang pid
/// as their connection; they are somebody's, so they are kept.
fn read(delivery: &Delivery, show_args: bool) -> Option<EventKind> {
    let headers = delivery.properties.headers().as_ref()?;
    let connection = text(headers, "connection").unwrap_or_default();
    let user = text(headers, "user");
    let key = delivery.routing_key.as_str();
    let message = dramatiq::decode(&delivery.data, show_args);
    if let Some(exchange) = key.strip_prefix("publish.") {
        let routing_key = match headers.inner().get("routing_keys") {
            Some(AMQPValue::FieldArray(keys)) => {
                keys.as_slice().first().and_then(value_text).unwrap_or_default()
            }
            _ => String::new(),
        };
        return Some(EventKind::Publish {
            exchange: exchange.to_owned(),
            routing_key,
            connection,
            user,
            message,
        });
    }
    let queue = key.strip_prefix("deliver.")?;
    Some(EventKind::Deliver {
        queue: queue.to_owned(),
        connection,
        redelivered: matches!(
            headers.inner().get("redelivered"),
            Some(
                AMQPValue::LongInt(1)
                    | AMQPValue::ShortShortInt(1)
                    | AMQPValue::ShortInt(1)
                    | AMQPValue::LongLongInt(1)
                    | AMQPValue::Boolean(true)
                    | AMQPValue::ShortShortUInt(1)
            )
        ),
        message,
    })
}

fn text(headers: &FieldTable, name: &str) -> Option<String> {
    headers.inner().get(&ShortString::from(name)).and_then(value_text)
}

fn value_text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        AMQPValue::ShortString(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}
