//! How many trace messages the broker dropped because we did not keep up: exactly.
//!
//! RabbitMQ numbers nothing, and a full queue drops its oldest message without a word. So our queue
//! dead-letters what it drops into a second one, which is only ever purged: the answer to a purge
//! is the number of messages that it removed. The second queue is bounded as well; what it drops
//! (nobody has purged it for long: our process stood still) goes to a third one that keeps a single
//! message, and whose `next_seq_id`, among its statistics, has counted all that ever entered.
//! All three queues are exclusive, and the exchange between them deletes itself with them.

use std::time::{Duration, Instant};

use lapin::options::{
    BasicConsumeOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions, QueuePurgeOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};
use serde_json::Value as Json;

use crate::hooks::Hooks;
use crate::http::segment;
use crate::rabbitmq::management::Management;

/// How much each queue keeps. PublishedBodies count for the bytes, headers (some 500 bytes each) do not: a
/// waiting event takes RabbitMQ 3.10 some 4 KB. It closes the connection of a reader that takes
/// nothing for a while, so that even this does not last.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Trace messages that may wait for us.
    pub backlog: u32,
    /// Dropped ones that may wait to be counted.
    pub counted: u32,
}

const BACKLOG_BYTES: i64 = 64 << 20;
const COUNTED_BYTES: i64 = 16 << 20;

impl Default for Limits {
    fn default() -> Self {
        Self {
            backlog: 20_000,
            counted: 10_000,
        }
    }
}

impl Limits {
    /// Tests overrun a small backlog.
    pub fn of(hooks: &Hooks) -> Self {
        let set = || -> Option<Self> {
            let (backlog, counted) = hooks.backlog.as_deref()?.split_once(',')?;
            Some(Self {
                backlog: backlog.trim().parse().ok().filter(|limit| *limit > 0)?,
                counted: counted.trim().parse().ok().filter(|limit| *limit > 0)?,
            })
        };
        set().unwrap_or_default()
    }
}

/// Trace messages that nobody has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    pub events: u64,
    /// Not one more and not one less; otherwise at least so many.
    pub exact: bool,
}

/// Where what was dropped is counted.
pub struct Counter {
    channel: Channel,
    exchange: String,
    /// The queue that is purged, and the one behind it.
    purged: String,
    last: String,
}

impl Counter {
    /// Declares exchange and queues. Call it before the queue whose drops are to be counted.
    pub async fn declare(channel: Channel, id: &str, limits: Limits) -> lapin::Result<Self> {
        let counter = Self {
            channel,
            exchange: format!("taskdiag.trace.missed.{id}"),
            purged: format!("taskdiag.trace.missed.{id}.1"),
            last: format!("taskdiag.trace.missed.{id}.2"),
        };
        let mut first = counter.drops_to(&counter.last);
        first.insert("x-max-length".into(), AMQPValue::LongInt(limits.counted as i32));
        first.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(COUNTED_BYTES));
        let mut last = FieldTable::default();
        last.insert("x-max-length".into(), AMQPValue::LongInt(1));
        declare(&counter.channel, &counter.purged, first).await?;
        declare(&counter.channel, &counter.last, last).await?;
        // Sent together with the first binding: an exchange without one would outlive us if we died
        // in between.
        let exchange = counter.channel.exchange_declare(
            counter.exchange.as_str().into(),
            ExchangeKind::Direct,
            ExchangeDeclareOptions {
                auto_delete: true,
                ..ExchangeDeclareOptions::default()
            },
            FieldTable::default(),
        );
        let (declared, bound) = tokio::join!(exchange, counter.bind(&counter.purged));
        declared?;
        bound?;
        counter.bind(&counter.last).await?;
        Ok(counter)
    }

    async fn bind(&self, queue: &str) -> lapin::Result<()> {
        self.channel
            .queue_bind(
                queue.into(),
                self.exchange.as_str().into(),
                queue.into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await
    }

    /// The arguments of a queue whose drops are counted here.
    pub fn arguments(&self, limits: Limits) -> FieldTable {
        let mut arguments = self.drops_to(&self.purged);
        arguments.insert("x-max-length".into(), AMQPValue::LongInt(limits.backlog as i32));
        arguments.insert("x-max-length-bytes".into(), AMQPValue::LongLongInt(BACKLOG_BYTES));
        arguments
    }

    fn drops_to(&self, queue: &str) -> FieldTable {
        let mut arguments = FieldTable::default();
        arguments.insert(
            "x-dead-letter-exchange".into(),
            AMQPValue::LongString(self.exchange.as_str().into()),
        );
        arguments.insert(
            "x-dead-letter-routing-key".into(),
            AMQPValue::LongString(queue.into()),
        );
        arguments
    }

    /// What was dropped since the last time, as far as it could be kept.
    pub async fn count(&self) -> lapin::Result<u64> {
        let purged = self
            .channel
            .queue_purge(self.purged.as_str().into(), QueuePurgeOptions::default())
            .await?;
        Ok(u64::from(purged))
    }

    /// What was dropped beyond that, in all. Only once nothing can be dropped any more: the number
    /// is the broker's statistics', seconds old, and taken from a sample that must be newer than
    /// the question. A consumer that was not there before is what proves it.
    pub async fn beyond(&self, management: &Management, vhost: &str) -> Missed {
        let unknown = Missed {
            events: 1,
            exact: false,
        };
        match self
            .channel
            .queue_purge(self.last.as_str().into(), QueuePurgeOptions::default())
            .await
        {
            Ok(0) => {
                return Missed {
                    events: 0,
                    exact: true,
                };
            }
            Ok(_) => {}
            // The connection is gone: that says nothing of our speed.
            Err(_) => {
                return Missed {
                    events: 0,
                    exact: false,
                };
            }
        }
        let consuming = self.channel.basic_consume(
            self.last.as_str().into(),
            "taskdiag-count".into(),
            BasicConsumeOptions::default(),
            FieldTable::default(),
        );
        let Ok(_consumer) = consuming.await else {
            return unknown;
        };
        let path = format!("queues/{}/{}", segment(vhost), segment(&self.last));
        let until = Instant::now() + SAMPLE;
        while Instant::now() < until {
            if let Ok(queue) = management.get(&path).await
                && queue.get("consumers").and_then(Json::as_u64) == Some(1)
            {
                let counted = queue
                    .pointer("/backing_queue_status/next_seq_id")
                    .and_then(Json::as_u64);
                // RabbitMQ 4 does not say it, however long one waits.
                return counted.map_or(unknown, |events| Missed { events, exact: true });
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        unknown
    }
}

/// Statistics are sampled every five seconds unless configured otherwise.
const SAMPLE: Duration = Duration::from_secs(12);

/// Declares a queue that ends with our connection, and not with our consumer: what is left in it is
/// counted after that.
pub async fn declare(channel: &Channel, name: &str, arguments: FieldTable) -> lapin::Result<()> {
    let options = QueueDeclareOptions {
        exclusive: true,
        ..QueueDeclareOptions::default()
    };
    channel
        .queue_declare(name.into(), options, arguments)
        .await
        .map(drop)
}
