//! One subscription to the trace exchange: switches tracing on where it may, reads, counts what was
//! missed, and leaves the restoring to the guardian.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{BasicCancelOptions, QueuePurgeOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer};
use serde_json::Value as Json;
use tokio::sync::Mutex;

use super::divert::{Arrival, Diverted, connect_diverting};
use super::drops::DropCounter;
use super::lag::LagProbe;
use super::missed::{Counter, Limits, Missed, declare};
use super::monitor::TracingMonitor;
use super::vhost::{affordable, readers, still_traced, traces, vhost};
use crate::config::{Broker, Trace};
use crate::error::Unavailable;
use crate::guardian::Guardian;
use crate::hooks::Hooks;
use crate::rabbitmq::amqp::{self, words};
use crate::rabbitmq::management::Management;
use crate::rabbitmq::nodes::{self, Nodes};
use crate::rabbitmq::rights;
use crate::rabbitmq::tracing::{EXCHANGE, Tracing};

const CONSUMER: &str = "taskdiag";
/// How long a taskdiag that is ending may take to switch tracing off.
const SWITCHED_OFF_WITHIN: Duration = Duration::from_millis(700);

pub struct Subscription {
    connection: Connection,
    channel: Channel,
    consumer: Consumer,
    batches: Diverted,
    /// Why nothing more comes.
    over: Option<Unavailable>,
    queue: String,
    keys: Vec<String>,
    counter: Arc<Counter>,
    drops: Option<DropCounter>,
    lag: LagProbe,
    monitor: TracingMonitor,
    vhost: String,
    nodes: Nodes,
    /// Whether tracing was on already, in words.
    pub detail: String,
    /// Why not everything of the vhost may be seen.
    pub partial: Option<String>,
}

/// What the subscription yields.
#[derive(Debug)]
pub enum Incoming {
    Events(Arrival),
    /// So many were dropped before what comes next.
    Missed(u64),
}

impl Subscription {
    /// Subscribes and switches tracing on if it is off and `broker.trace` allows it. The guardian that
    /// will restore it is left in `guardian`. `forgotten` is called where tracing is on and nobody reads it; without it
    /// we are the ones who did, until a moment ago.
    pub async fn open(
        broker: &Broker,
        management: &Management,
        keys: &[String],
        guardian: &Mutex<Option<Guardian>>,
        forgotten: Option<&(dyn Fn() + Sync)>,
    ) -> Result<Self, Unavailable> {
        let room = vhost(management, &broker.vhost).await?;
        let already = room.get("tracing").and_then(Json::as_bool);
        let Some(mut already) = already else {
            return Err(Unavailable::new(format!(
                "the management API does not say whether vhost \"{}\" traces",
                broker.vhost
            )));
        };
        let nodes = nodes::of(broker, management, &room).await?;
        let here = nodes.here.as_str();
        if already && let Some(forgotten) = forgotten {
            already = stays_on(management, &broker.vhost, here, forgotten).await?;
        }
        if !already && broker.trace == Trace::Auto {
            affordable(management, &room).await?;
        }
        let (connection, batches) = connect_diverting(broker, "firehose", CONSUMER).await?;
        // The name says whether a taskdiag switched tracing on: the last such reader switches it off.
        let inherited = already
            && readers(management, &broker.vhost, here)
                .await
                .iter()
                .any(|name| name.starts_with(Tracing::OWNED));
        let owned = !already || inherited;
        let prefix = if owned { Tracing::OWNED } else { Tracing::GUEST };
        let id = uuid::Uuid::new_v4().simple().to_string();
        let queue = Tracing::reader(prefix, here, &id);
        let Reader {
            channel,
            consumer,
            counter,
        } = Reader::declare(&connection, &queue, &id, keys)
            .await
            .map_err(|error| cannot_read(broker, &error))?;
        if owned {
            // The guardian exists before anything is switched on, or nothing is.
            Guardian::of_run(guardian)
                .await?
                .restore_tracing(broker, here, &queue)
                .await?;
        }
        // Read again after binding: a taskdiag that was just ending may have switched it off.
        if !traces(&vhost(management, &broker.vhost).await?) {
            if !owned {
                return Err(
                    Unavailable::new("tracing was switched off by somebody while we joined")
                        .hint("run it again"),
                );
            }
            switch_on(broker, management, here).await?;
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
            lag: LagProbe::start(channel.clone(), queue.clone()),
            monitor: TracingMonitor::start(management.clone(), broker.vhost.clone()),
            channel,
            consumer,
            batches,
            over: None,
            queue,
            keys: keys.to_vec(),
            drops: Some(DropCounter::start(counter.clone())),
            counter,
            vhost: broker.vhost.clone(),
            detail,
            partial: nodes.unseen(),
            nodes,
        })
    }

    /// What comes next. May be given up and called again.
    pub async fn next(&mut self) -> Result<Incoming, Unavailable> {
        if let Some(incoming) = self.ready() {
            return incoming;
        }
        tokio::select! {
            Some(arrival) = self.batches.recv() => Ok(self.lively(arrival)),
            () = self.monitor.is_off() => {
                self.over = Some(switched_off());
                self.ready().unwrap_or_else(|| Err(switched_off()))
            }
            ended = self.consumer.next() => {
                self.over = Some(Unavailable::lost(match ended {
                    Some(Err(error)) => format!("the firehose broke off: {}", words(&error)),
                    None | Some(Ok(_)) => "the firehose broke off: the broker cancelled our consumer".to_owned(),
                }));
                // What came before the end has not been taken yet.
                self.ready().unwrap_or_else(|| Err(Unavailable::new("the firehose broke off")))
            }
        }
    }

    /// What is there already, without waiting.
    pub fn ready(&mut self) -> Option<Result<Incoming, Unavailable>> {
        let dropped = self.drops.as_ref().map_or(0, DropCounter::dropped);
        if dropped > 0 {
            return Some(Ok(Incoming::Missed(dropped)));
        }
        match self.batches.try_recv() {
            Ok(arrival) => Some(Ok(self.lively(arrival))),
            Err(_) => self.over.clone().map(Err),
        }
    }

    fn lively(&self, mut arrival: Arrival) -> Incoming {
        if let Some(drops) = &self.drops {
            drops.is_lively();
        }
        arrival.late = self.lag.is_late(arrival.late);
        Incoming::Events(arrival)
    }

    /// Our process stood still: what comes now may have waited for us.
    pub fn stalled(&self) {
        self.lag.stalled();
    }

    /// What was read last may have waited, and more may wait.
    pub fn is_behind(&self) -> bool {
        self.lag.is_behind()
    }

    /// Somebody has switched tracing off: the connection is as it was.
    pub fn was_untraced(&self) -> bool {
        self.monitor.was_off()
    }

    /// It is traced now, and has been whenever somebody looked. Whoever switches it off makes us deaf, and be it on
    /// again: what was not seen since proves nothing.
    pub async fn is_still_traced(&self, management: &Management) -> Result<(), Unavailable> {
        if self.monitor.was_off() || !still_traced(management, &self.vhost).await {
            return Err(switched_off());
        }
        Ok(())
    }

    /// Nodes that have joined since: what passes through them is not seen either.
    pub async fn joined(&self, management: &Management) -> Option<String> {
        let room = vhost(management, &self.vhost).await.ok()?;
        let mut others = nodes::running(&room);
        others.retain(|node| *node != self.nodes.here && !self.nodes.others.contains(node));
        Nodes {
            here: self.nodes.here.clone(),
            others,
        }
        .unseen()
    }

    /// Takes no more from here on. What had arrived already goes to `rest`; what is left at the
    /// broker, and all that was dropped and not yet reported, is counted.
    pub async fn end(&mut self, mut rest: impl FnMut(Arrival)) -> Missed {
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
        while let Some(Ok(_)) = self.consumer.next().await {}
        while let Ok(mut arrival) = self.batches.try_recv() {
            arrival.late = self.lag.is_late(arrival.late);
            rest(arrival);
        }
        let mut events = match self.drops.take() {
            Some(drops) => drops.stop().await,
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

/// Our queue on the trace exchange, its consumer, and what counts the messages that it drops.
struct Reader {
    channel: Channel,
    consumer: Consumer,
    counter: Counter,
}

impl Reader {
    async fn declare(
        connection: &Connection,
        queue: &str,
        id: &str,
        keys: &[String],
    ) -> Result<Self, lapin::Error> {
        let channel = connection.create_channel().await?;
        let counting = connection.create_channel().await?;
        let limits = Limits::of(&Hooks::from_env());
        let counter = Counter::declare(counting, id, limits).await?;
        declare(&channel, queue, counter.arguments(limits)).await?;
        for key in keys {
            amqp::bind(&channel, queue, EXCHANGE, key).await?;
        }
        let consumer = amqp::consume(&channel, queue, CONSUMER).await?;
        Ok(Self {
            channel,
            consumer,
            counter,
        })
    }
}

/// Whether tracing that is on stays so. Where nobody reads it, a taskdiag that is just ending switches it off
/// within a moment; otherwise it was forgotten.
async fn stays_on(
    management: &Management,
    name: &str,
    here: &str,
    forgotten: &(dyn Fn() + Sync),
) -> Result<bool, Unavailable> {
    if !readers(management, name, here).await.is_empty() {
        return Ok(true);
    }
    tokio::time::sleep(SWITCHED_OFF_WITHIN).await;
    let stays = traces(&vhost(management, name).await?);
    if stays && readers(management, name, here).await.is_empty() {
        forgotten();
    }
    Ok(stays)
}

async fn switch_on(broker: &Broker, management: &Management, here: &str) -> Result<(), Unavailable> {
    Tracing::set(management, &broker.vhost, here, true)
        .await
        .map_err(|blindness| {
            let by_hand = format!(
                "switch it on by hand: rabbitmqctl -n {here} trace_on -p {}",
                broker.vhost
            );
            // A user's tags are no matter where nothing answers.
            let is_refused = blindness.reason.contains("401 not_authorised");
            let hint = match (is_refused, blindness.hint) {
                (true, _) => {
                    let tag = rights::lacks_tag(&broker.management.username(), "administrator");
                    format!("{tag}; or {by_hand}")
                }
                (false, Some(hint)) => format!("{hint}; or {by_hand}"),
                (false, None) => by_hand,
            };
            Unavailable::new(format!("tracing cannot be switched on: {}", blindness.reason)).hint(hint)
        })
}

/// A limit on queues or channels is another matter than a missing permission, and says so itself.
fn cannot_read(broker: &Broker, error: &lapin::Error) -> Unavailable {
    let said = words(error);
    let seen = Unavailable::new(format!("cannot read {EXCHANGE}: {said}"));
    if !said.contains("ACCESS_REFUSED") {
        return seen;
    }
    seen.hint(rights::lacks_permission(
        &broker.amqp.username(),
        &broker.vhost,
        &format!("read on {EXCHANGE}, and configure, write and read on taskdiag\\..*,"),
    ))
}

fn switched_off() -> Unavailable {
    Unavailable::new("tracing was switched off by somebody during the run")
        .hint("run it again while nobody else changes the vhost")
}
