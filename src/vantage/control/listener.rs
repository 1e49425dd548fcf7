//! A queue of our own, to which workers' heartbeats come. It ends with our connection.

use lapin::message::Delivery;
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, Consumer, ExchangeKind};

use crate::config::Config;
use crate::error::Unavailable;
use crate::framework::ControlShape;
use crate::rabbitmq::amqp::{self, words};
use crate::rabbitmq::rights;

/// Messages that are kept for us, should we not keep up.
const MOST: i32 = 1_000;

pub(in crate::vantage) struct Listener {
    pub channel: Channel,
    pub consumer: Consumer,
    pub queue: String,
}

impl Listener {
    /// Where the workers' exchange exists.
    pub async fn open(connection: &Connection, shape: &ControlShape) -> lapin::Result<Self> {
        let channel = connection.create_channel().await?;
        let queue = format!("taskdiag.control.{}", uuid::Uuid::new_v4().simple());
        let mut arguments = FieldTable::default();
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(MOST));
        let options = QueueDeclareOptions {
            exclusive: true,
            auto_delete: true,
            ..QueueDeclareOptions::default()
        };
        channel
            .queue_declare(queue.as_str().into(), options, arguments)
            .await?;
        amqp::bind(&channel, &queue, shape.events, shape.heartbeats).await?;
        let consumer = amqp::consume(&channel, &queue, "taskdiag").await?;
        Ok(Self {
            channel,
            consumer,
            queue,
        })
    }
}

pub(in crate::vantage) fn arrived(next: Option<lapin::Result<Delivery>>) -> Result<Delivery, Unavailable> {
    match next {
        Some(Ok(delivery)) => Ok(delivery),
        Some(Err(error)) => Err(Unavailable::lost(format!(
            "the heartbeats broke off: {}",
            words(&error)
        ))),
        None => Err(Unavailable::lost(
            "the heartbeats broke off: the broker cancelled our consumer",
        )),
    }
}

/// Asked on a channel of its own: a 404 closes it.
pub(in crate::vantage) async fn exists(connection: &Connection, exchange: &str) -> lapin::Result<bool> {
    let channel = connection.create_channel().await?;
    let passive = ExchangeDeclareOptions {
        passive: true,
        ..ExchangeDeclareOptions::default()
    };
    let found = channel
        .exchange_declare(
            exchange.into(),
            ExchangeKind::Topic,
            passive,
            FieldTable::default(),
        )
        .await;
    match found {
        Ok(()) => {
            let _ = channel.close(200, "done".into()).await;
            Ok(true)
        }
        Err(error) if matches!(error.kind(), lapin::ErrorKind::ProtocolError(amqp) if amqp.get_id() == 404) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

pub(in crate::vantage) fn refused(
    config: &Config,
    shape: &ControlShape,
    error: &lapin::Error,
) -> Unavailable {
    let said = words(error);
    let seen = Unavailable::new(format!("cannot listen to workers: {said}"));
    match said.contains("ACCESS_REFUSED") {
        true => seen.hint(rights::lacks_permission(
            &config.broker.amqp.username(),
            &config.broker.vhost,
            &format!(
                "read on {} and {}, and configure, write and read on taskdiag\\..*,",
                shape.events, shape.replies
            ),
        )),
        false => seen,
    }
}
