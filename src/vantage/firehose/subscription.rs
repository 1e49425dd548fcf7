//! One subscription to the trace exchange: switches tracing on where it may, reads, counts what was
//! missed, and leaves the restoring to the guardian.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, QueueBindOptions, QueuePurgeOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer};
use serde_json::Value as Json;
use tokio::sync::{Mutex, oneshot};
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::EXCHANGE;
use super::missed::{Counter, Limits, Missed, declare};
use crate::config::{Broker, Trace};
use crate::guardian::{Guardian, Tracing};
use crate::vantage::http::{Management, segment};
use crate::vantage::{Blindness, amqp};

/// `auto` stays off above this many publishes a second: tracing costs the broker.
const MOST_PER_SECOND: f64 = 200.0;
/// While messages arrive, what was dropped is counted so often.
const COUNT_EVERY: Duration = Duration::from_millis(250);
const CONSUMER: &str = "taskdiag";

pub struct Subscription {
    connection: Connection,
    channel: Channel,
    consumer: Consumer,
    queue: String,
    keys: Vec<String>,
    counter: Arc<Counter>,
    counting: Option<Counting>,
    vhost: String,
    /// Whether tracing was on already, in words.
    pub detail: String,
    /// Why not everything of the vhost may be seen.
    pub partial: Option<String>,
}

/// What the subscription yields.
#[derive(Debug)]
pub enum Incoming {
    Delivery(Box<Delivery>),
    /// So many were dropped before what comes next.
    Missed(u64),
}

impl Subscription {
    /// Subscribes and switches tracing on if it is off and `broker.trace` allows it. The guardian that
    /// will restore it is left in `guardian`. `forgotten` is called where tracing is on and nobody reads it.
    pub async fn open(
        broker: &Broker,
        management: &Management,
        keys: &[String],
        guardian: &Mutex<Option<Guardian>>,
        forgotten: &(dyn Fn() + Sync),
    ) -> Result<Self, Blindness> {
        let vhost = vhost(management, &broker.vhost).await?;
        let already = vhost.get("tracing").and_then(Json::as_bool);
        let Some(mut already) = already else {
            return Err(Blindness::new(format!(
                "the management API does not say whether vhost \"{}\" traces",
                broker.vhost
            )));
        };
        if already && readers(management, &broker.vhost).await.is_empty() {
            // Nobody reads it. A taskdiag that is just ending switches it off within a moment; otherwise
            // it was forgotten.
            tokio::time::sleep(Duration::from_millis(700)).await;
            already = traces(&self::vhost(management, &broker.vhost).await?);
            if already && readers(management, &broker.vhost).await.is_empty() {
                forgotten();
            }
        }
        if !already && broker.trace == Trace::Auto {
            affordable(management, &vhost).await?;
        }
        let connection = amqp::connect(broker, "firehose").await?;
        let failed = |error: lapin::Error| {
            Blindness::new(format!("cannot read {EXCHANGE}: {error}"))
                .hint(format!("rabbitmqctl set_permissions -p {} {} needs read on {EXCHANGE} and configure, write, read on taskdiag\\..*", broker.vhost, broker.amqp.username()))
        };
        let channel = connection.create_channel().await.map_err(failed)?;
        let counting = connection.create_channel().await.map_err(failed)?;
        // The name says whether a taskdiag switched tracing on: the last such reader switches it off.
        let inherited = already
            && readers(management, &broker.vhost)
                .await
                .iter()
                .any(|name| name.starts_with(Tracing::OWNED));
        let owned = !already || inherited;
        let prefix = if owned { Tracing::OWNED } else { Tracing::GUEST };
        let id = uuid::Uuid::new_v4().simple().to_string();
        let queue = format!("{prefix}{id}");
        let limits = Limits::from_environment();
        let counter = Counter::declare(counting, &id, limits).await.map_err(failed)?;
        declare(&channel, &queue, counter.arguments(limits))
            .await
            .map_err(failed)?;
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
        let consumer = channel
            .basic_consume(
                queue.as_str().into(),
                CONSUMER.into(),
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
        if !traces(&self::vhost(management, &broker.vhost).await?) {
            if !owned {
                return Err(
                    Blindness::new("tracing was switched off by somebody while we joined")
                        .hint("run it again"),
                );
            }
            Tracing::set(management, &broker.vhost, true).await.map_err(|blindness| {
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
        let counter = Arc::new(counter);
        Ok(Self {
            connection,
            channel,
            consumer,
            queue,
            keys: keys.to_vec(),
            counting: Some(Counting::start(counter.clone())),
            counter,
            vhost: broker.vhost.clone(),
            detail,
            partial: other_nodes(management).await,
        })
    }

    /// The next trace message, or how many were dropped. May be given up and called again.
    pub async fn next(&mut self) -> Result<Incoming, Blindness> {
        if let Some(counting) = &self.counting {
            let dropped = counting.shared.dropped.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                return Ok(Incoming::Missed(dropped));
            }
        }
        match self.consumer.next().await {
            Some(Ok(delivery)) => {
                if let Some(counting) = &self.counting {
                    counting.shared.lively.store(true, Ordering::Relaxed);
                }
                Ok(Incoming::Delivery(Box::new(delivery)))
            }
            Some(Err(error)) => Err(Blindness::new(format!("the firehose broke off: {error}"))),
            None => Err(Blindness::new(
                "the firehose broke off: the broker cancelled our consumer",
            )),
        }
    }

    /// What is there already, without waiting.
    pub fn ready(&mut self) -> Option<Result<Incoming, Blindness>> {
        self.next().now_or_never()
    }

    pub async fn still_traced(&self, management: &Management) -> bool {
        still_traced(management, &self.vhost).await
    }

    /// Takes no more from here on. What had arrived already goes to `rest`; what is left at the
    /// broker, and all that was dropped and not yet reported, is counted.
    pub async fn end(&mut self, mut rest: impl FnMut(Box<Delivery>)) -> Missed {
        for key in &self.keys {
            let unbound = self.channel.queue_unbind(
                self.queue.as_str().into(),
                EXCHANGE.into(),
                key.as_str().into(),
                FieldTable::default(),
            );
            let _ = unbound.await;
        }
        let cancelled = self
            .channel
            .basic_cancel(CONSUMER.into(), BasicCancelOptions::default());
        let cancelled = cancelled.await;
        while let Some(Ok(delivery)) = self.consumer.next().await {
            rest(Box::new(delivery));
        }
        let mut events = match self.counting.take() {
            Some(counting) => counting.stop().await,
            None => 0,
        };
        let mut exact = cancelled.is_ok();
        let left = self
            .channel
            .queue_purge(self.queue.as_str().into(), QueuePurgeOptions::default());
        match left.await {
            Ok(count) => events += u64::from(count),
            Err(_) => exact = false,
        }
        match self.counter.count().await {
            Ok(count) => events += count,
            Err(_) => exact = false,
        }
        Missed { events, exact }
    }

    /// After the end: what was dropped beyond all that could be counted so far. Takes seconds where
    /// there is any.
    pub async fn beyond(&self, management: &Management) -> Missed {
        self.counter.beyond(management, &self.vhost).await
    }

    /// Our queues end with the connection.
    pub async fn close(&self) {
        let _ = self.connection.close(200, "done".into()).await;
    }
}

/// Counts in the background what the broker dropped, while messages arrive.
struct Counting {
    shared: Arc<Shared>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Shared {
    /// Something arrived since the last count.
    lively: AtomicBool,
    /// Counted and not yet reported.
    dropped: AtomicU64,
}

impl Counting {
    fn start(counter: Arc<Counter>) -> Self {
        let shared = Arc::new(Shared::default());
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn({
            let shared = shared.clone();
            async move {
                let mut every = tokio::time::interval(COUNT_EVERY);
                every.set_missed_tick_behavior(MissedTickBehavior::Delay);
                loop {
                    tokio::select! {
                        _ = &mut stopped => return,
                        _ = every.tick() => {}
                    }
                    if shared.lively.swap(false, Ordering::Relaxed)
                        && let Ok(count) = counter.count().await
                    {
                        shared.dropped.fetch_add(count, Ordering::Relaxed);
                    }
                }
            }
        });
        Self { shared, stop, task }
    }

    /// Ends it after the count that is under way; what nobody has been told of.
    async fn stop(self) -> u64 {
        let _ = self.stop.send(());
        let _ = self.task.await;
        self.shared.dropped.swap(0, Ordering::Relaxed)
    }
}

/// Whether the vhost traces; a management API that does not answer says nothing against it.
pub async fn still_traced(management: &Management, vhost: &str) -> bool {
    self::vhost(management, vhost).await.as_ref().map_or(true, traces)
}

/// Only an administrator may ask for one vhost; anybody may list those that he can enter.
async fn vhost(management: &Management, name: &str) -> Result<Json, Blindness> {
    let refused = match management.get(&format!("vhosts/{}", segment(name))).await {
        Ok(vhost) => return Ok(vhost),
        Err(refused) => refused,
    };
    let listed = management
        .get("vhosts?columns=name,tracing,message_stats.publish_details.rate")
        .await;
    match listed {
        Ok(Json::Array(vhosts)) => vhosts
            .into_iter()
            .find(|vhost| vhost.get("name").and_then(Json::as_str) == Some(name))
            .ok_or(refused),
        _ => Err(refused),
    }
}

fn traces(vhost: &Json) -> bool {
    vhost.get("tracing") == Some(&Json::Bool(true))
}

/// Tracing is a state of each node: what happens on another one is not seen.
async fn other_nodes(management: &Management) -> Option<String> {
    let nodes = management.get("nodes?columns=name").await.ok()?;
    match nodes.as_array().map_or(0, Vec::len) {
        0 | 1 => None,
        count => Some(format!(
            "the cluster has {count} nodes, and what passes through others may be missed"
        )),
    }
}

/// Tracing costs a busy broker up to a third of a publisher's speed: not without being told to.
async fn affordable(management: &Management, vhost: &Json) -> Result<(), Blindness> {
    let overview = management.get("overview").await?;
    let statistics_off = overview.get("disable_stats") == Some(&Json::Bool(true))
        || overview.get("rates_mode").and_then(Json::as_str) == Some("none");
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
        .and_then(Json::as_f64)
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
