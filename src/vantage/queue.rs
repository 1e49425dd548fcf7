//! Passive `queue.declare`: exact Ready and consumer counts, at once, without management.
//!
//! Needs no permission up to RabbitMQ 4.2.5. A missing queue is a 404 that closes the channel, so
//! each queue has a channel of its own, reopened after that.

use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Channel, Connection};

use super::{Blindness, Phases, Tap, Watched, amqp};
use crate::config::Config;
use crate::framework::dramatiq::{dead_letter_queue, delay_queue};
use crate::timeline::EventKind;

const EVERY: Duration = Duration::from_millis(100);

/// What one probe says: `None` where the queue does not exist.
pub type Counts = Option<(u64, u64)>;

struct Probe {
    queue: String,
    channel: Option<Channel>,
    last: Option<Counts>,
    samples: u64,
}

impl Probe {
    async fn look(&mut self, connection: &Connection) -> Result<Counts, Blindness> {
        let lost = |error: lapin::Error| Blindness::new(format!("lost the AMQP connection: {error}"));
        let channel = match self.channel.take() {
            Some(channel) if channel.status().connected() => channel,
            // The answer to the channel before, a 404, may still be under way.
            _ => match connection.create_channel().await {
                Err(error) if is_code(&error, 404) => connection.create_channel().await.map_err(lost)?,
                other => other.map_err(lost)?,
            },
        };
        match counts(&channel, &self.queue).await {
            Ok(counts) => {
                if counts.is_some() {
                    self.channel = Some(channel);
                }
                Ok(counts)
            }
            Err(error) if is_code(&error, 403) => Err(Blindness::new(format!(
                "the broker refuses a passive declare of `{}`: {error}",
                self.queue
            ))
            .hint("from RabbitMQ 4.2.6 on it takes one permission on the queue: rabbitmqctl set_permissions -p VHOST USER '' '' '.*'")),
            Err(error) => Err(lost(error)),
        }
    }

    /// Reports a change at once, and sameness as a number of samples when asked to.
    fn report(&mut self, counts: Counts, tap: &Tap, force: bool) {
        let changed = self.last != Some(counts);
        if changed {
            self.samples = 0;
        }
        self.samples += 1;
        if changed || force {
            let (ready, consumers) = counts.unwrap_or_default();
            tap.see(EventKind::Depth {
                queue: self.queue.clone(),
                exists: counts.is_some(),
                ready,
                consumers,
                samples: self.samples,
            });
        }
        self.last = Some(counts);
    }
}

/// One passive declare. A 404 is an answer, not an error.
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

pub async fn watch(config: &Config, tap: Tap, mut phases: Phases) -> Watched {
    let connection = amqp::connect(&config.broker, "queue").await?;
    let queue = &config.broker.queue;
    let mut probes: Vec<Probe> = [queue.clone(), delay_queue(queue), dead_letter_queue(queue)]
        .into_iter()
        .map(|queue| Probe {
            queue,
            channel: None,
            last: None,
            samples: 0,
        })
        .collect();
    let mut announced = false;
    let mut submitted = false;
    loop {
        let phase = phases.now();
        // The first sample after the submission is reported even if nothing changed: absence of
        // consumers is concluded from samples taken since then.
        let force = phase.last_look || (phase.task_id.is_some() && !submitted);
        for probe in &mut probes {
            let counts = probe.look(&connection).await?;
            probe.report(counts, &tap, force);
        }
        submitted |= phase.task_id.is_some();
        if !announced {
            announced = true;
            tap.watching(format!("passive declare of {queue} and its companions"));
        }
        if phase.last_look || phase.stop {
            tap.looked();
            let _ = connection.close(200, "done".into()).await;
            return Ok(());
        }
        let every = if phase.lively { EVERY / 4 } else { EVERY };
        phases.pause(every).await;
    }
}
