//! One passive `queue.declare`: exact Ready and consumer counts, at once, without management.

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Channel, Connection};

use super::Blindness;

/// `(ready, consumers)`; `None` where the queue does not exist.
pub type Counts = Option<(u64, u64)>;

/// A channel to ask on, opened anew after a 404 has closed it.
#[derive(Default)]
pub struct Prober {
    channel: Option<Channel>,
}

/// Why there is no answer.
pub enum NoCounts {
    /// This queue may not be looked at; others may.
    Refused(Blindness),
    /// The connection is gone.
    Lost(Blindness),
}

impl NoCounts {
    pub fn reason(self) -> String {
        let (NoCounts::Refused(blindness) | NoCounts::Lost(blindness)) = self;
        blindness.reason
    }
}

impl Prober {
    pub async fn look(&mut self, connection: &Connection, queue: &str) -> Result<Counts, NoCounts> {
        let lost = |error: lapin::Error| {
            NoCounts::Lost(Blindness::new(format!("lost the AMQP connection: {error}")))
        };
        let channel = match self.channel.take() {
            Some(channel) if channel.status().connected() => channel,
            // The answer to the channel before, a 404, may still be under way.
            _ => match connection.create_channel().await {
                Err(error) if is_code(&error, 404) => connection.create_channel().await.map_err(lost)?,
                other => other.map_err(lost)?,
            },
        };
        match counts(&channel, queue).await {
            Ok(counts) => {
                if counts.is_some() {
                    self.channel = Some(channel);
                }
                Ok(counts)
            }
            Err(error) if is_code(&error, 403) => Err(NoCounts::Refused(
                Blindness::new(format!("the broker refuses a passive declare of `{queue}`: {error}"))
                    .hint("from RabbitMQ 4.2.6 on it takes one permission on the queue: rabbitmqctl set_permissions -p VHOST USER '' '' '.*'"),
            )),
            // A queue of somebody else's connection.
            Err(error) if is_code(&error, 405) => Err(NoCounts::Refused(Blindness::new(format!(
                "`{queue}` is exclusive to another connection"
            )))),
            Err(error) => Err(lost(error)),
        }
    }
}

/// A 404 is an answer, not an error.
async fn counts(channel: &Channel, queue: &str) -> lapin::Result<Counts> {
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    match channel
        .queue_declare(queue.into(), passive, FieldTable::default())
        .await
    {
        Ok(found) => Ok(Some((
            found.message_count().into(),
            found.consumer_count().into(),
        ))),
        Err(error) if is_code(&error, 404) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_code(error: &lapin::Error, code: u16) -> bool {
    matches!(error.kind(), lapin::ErrorKind::ProtocolError(amqp) if amqp.get_id() == code)
}
