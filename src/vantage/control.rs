//! Workers that say that they live, and answer what they are asked.
//!
//! Heartbeats come unasked, to a queue of our own. Questions go to single workers, once everything else was
//! looked at: being asked wakes a worker. What they answer goes to that queue as well, and all of it ends with
//! our connection.

pub(in crate::vantage) mod listener;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::message::Delivery;
use lapin::options::BasicPublishOptions;
use lapin::types::AMQPValue;
use lapin::{BasicProperties, Channel, Connection, Consumer};

use super::{Phase, Phases, Tap, Watched};
use crate::config::Config;
use crate::error::Unavailable;
use crate::framework::{ControlShape, Heartbeat, Inspection, NONE_HEARD_YET, Question, ReplyTo};
use crate::rabbitmq::amqp::{self, STALLED};
use crate::timeline::EventKind;
use listener::{Listener, arrived, exists, refused};

/// A worker that lives was heard of within this time more than it takes from one heartbeat to the next.
const LATE: Duration = Duration::from_millis(400);
/// From one look for the workers' exchange to the next.
const AGAIN: Duration = Duration::from_millis(250);
/// An idle worker answers within milliseconds, a blocked one not at all.
const ANSWERS: Duration = Duration::from_millis(900);
/// What is in a worker's hands for less than this is on its way.
const BETWEEN: Duration = Duration::from_millis(250);
/// A question that was not taken by then is taken by nobody.
const EXPIRES: &str = "5000";

struct Node {
    last: Heartbeat,
    heard: Instant,
}

struct Watch<'a> {
    config: &'a Config,
    shape: &'static ControlShape,
    connection: Connection,
    channel: Channel,
    consumer: Consumer,
    queue: String,
    nodes: BTreeMap<String, Node>,
    since: Instant,
}

pub async fn watch(config: &Config, shape: &'static ControlShape, tap: Tap, mut phases: Phases) -> Watched {
    let Some(mut watch) = Watch::open(config, shape, &tap, &mut phases).await? else {
        return Ok(());
    };
    tap.watching(format!("heartbeats of workers on {}", shape.events));
    let mut reported = false;
    loop {
        let phase = phases.now();
        if phase.stop {
            break;
        }
        if phase.last_look && !reported && watch.has_listened() {
            reported = true;
            watch.report(&tap);
            tap.looked();
        }
        if let Some(ask) = phase.ask.clone().filter(|_| reported) {
            if let Some(why) = &ask.not_asked {
                tap.partial(format!("heartbeats only; no worker is asked: {why}"));
            }
            for node in &ask.nodes {
                watch.inspect(node, &ask.message_ids, &tap).await?;
            }
            tap.looked();
            break;
        }
        watch.listen(&tap, &mut phases).await?;
    }
    watch.close().await;
    Ok(())
}

impl<'a> Watch<'a> {
    /// `None`: the run ended before any worker had ever come.
    async fn open(
        config: &'a Config,
        shape: &'static ControlShape,
        tap: &Tap,
        phases: &mut Phases,
    ) -> Result<Option<Self>, Unavailable> {
        let connection = amqp::connect(&config.broker, "control").await?;
        let failed = |error: lapin::Error| refused(config, shape, &error);
        let mut announced = false;
        while !exists(&connection, shape.events).await.map_err(failed)? {
            // A worker that comes makes it.
            if !announced {
                tap.watching(format!(
                    "heartbeats of workers; {NONE_HEARD_YET}: there is no exchange {}",
                    shape.events
                ));
                announced = true;
            }
            if over(&phases.now()) {
                let phase = phases.ending().await;
                if phase.last_look {
                    tap.looked();
                }
                while !phases.now().stop && phases.now().ask.is_none() {
                    phases.pause(AGAIN).await;
                }
                close(&connection).await;
                return Ok(None);
            }
            phases.pause(AGAIN).await;
        }
        let Listener {
            channel,
            consumer,
            queue,
        } = Listener::open(&connection, shape).await.map_err(failed)?;
        Ok(Some(Self {
            config,
            shape,
            connection,
            channel,
            consumer,
            queue,
            nodes: BTreeMap::new(),
            since: Instant::now(),
        }))
    }

    /// For long enough that whoever lives has said so.
    fn has_listened(&self) -> bool {
        self.since.elapsed() >= self.between()
    }

    fn between(&self) -> Duration {
        Duration::from_millis(self.shape.heartbeat_ms) + LATE
    }

    /// Takes what comes, until it is time to look at the phase again.
    async fn listen(&mut self, tap: &Tap, phases: &mut Phases) -> Watched {
        tokio::select! {
            next = self.consumer.next() => {
                let delivery = arrived(next)?;
                self.hear(&delivery, tap);
            }
            () = phases.pause(AGAIN) => {}
        }
        Ok(())
    }

    fn hear(&mut self, delivery: &Delivery, tap: &Tap) {
        let Some(beat) = (self.shape.read_heartbeat)(&delivery.data) else {
            return;
        };
        let before = self.nodes.get(&beat.node).map(|node| &node.last);
        // Another process under the same name is another worker.
        let is_news = before.is_none_or(|before| before.pid != beat.pid || before.offline != beat.offline);
        let beats = before.filter(|_| !is_news).map_or(0, |before| before.beats) + 1;
        let beat = Heartbeat { beats, ..beat };
        if is_news {
            tap.see(EventKind::Heartbeat(beat.clone()));
        }
        let node = Node {
            last: beat,
            heard: Instant::now(),
        };
        self.nodes.insert(node.last.node.clone(), node);
    }

    /// What is known of each at the end, and since when it is silent.
    fn report(&self, tap: &Tap) {
        for node in self.nodes.values() {
            let silent = node.heard.elapsed();
            tap.see(EventKind::Heartbeat(Heartbeat {
                silent_ms: Some(u64::try_from(silent.as_millis()).unwrap_or(u64::MAX)),
                ..node.last.clone()
            }));
        }
    }

    /// Asks one worker everything, and twice what changes by itself.
    async fn inspect(&mut self, node: &str, message_ids: &[String], tap: &Tap) -> Watched {
        let questions = (self.shape.questions)(message_ids);
        tap.see(EventKind::Asked {
            node: node.to_owned(),
            methods: questions
                .iter()
                .map(|question| question.method.to_owned())
                .collect(),
        });
        let began = Instant::now();
        let first = self.ask(node, &questions, message_ids, tap).await?;
        if first.methods.is_empty() {
            tap.see(EventKind::Unanswered {
                node: node.to_owned(),
                waited_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            });
            return Ok(());
        }
        tokio::time::sleep(BETWEEN).await;
        let again: Vec<Question> = questions.into_iter().filter(|question| question.twice).collect();
        let later = self.ask(node, &again, message_ids, tap).await?;
        tap.see(EventKind::Inspected(Box::new(first.agreed_with(later))));
        Ok(())
    }

    async fn ask(
        &mut self,
        node: &str,
        questions: &[Question],
        message_ids: &[String],
        tap: &Tap,
    ) -> Result<Inspection, Unavailable> {
        let config = self.config;
        let shape = self.shape;
        let failed = |error: lapin::Error| refused(config, shape, &error);
        let exchange = match exists(&self.connection, shape.replies).await.map_err(failed)? {
            true => {
                amqp::bind(&self.channel, &self.queue, shape.replies, &self.queue)
                    .await
                    .map_err(failed)?;
                shape.replies
            }
            false => "",
        };
        let mut open = BTreeMap::new();
        for question in questions {
            let ticket = uuid::Uuid::new_v4().to_string();
            let reply = ReplyTo {
                exchange,
                routing_key: &self.queue,
                ticket: &ticket,
            };
            let body = (shape.ask)(question, node, &reply).to_string();
            // No header at all: one of them would set the worker's clock.
            let properties = BasicProperties::default()
                .with_content_type("application/json".into())
                .with_content_encoding("utf-8".into())
                .with_expiration(EXPIRES.into());
            self.channel
                .basic_publish(
                    "".into(),
                    (shape.mailbox)(node).as_str().into(),
                    BasicPublishOptions::default(),
                    body.as_bytes(),
                    properties,
                )
                .await
                .map_err(failed)?;
            open.insert(ticket, question.method);
        }
        let mut found = Inspection {
            node: node.to_owned(),
            ..Inspection::default()
        };
        let until = tokio::time::Instant::now() + ANSWERS;
        while !open.is_empty() {
            let Ok(next) = tokio::time::timeout_at(until, self.consumer.next()).await else {
                break;
            };
            let delivery = arrived(next)?;
            let method = ticket(&delivery).and_then(|ticket| open.remove(&ticket));
            match method {
                Some(method) => {
                    (shape.read_answer)(method, &delivery.data, message_ids, &mut found);
                }
                None => self.hear(&delivery, tap),
            }
        }
        Ok(found)
    }

    async fn close(&self) {
        close(&self.connection).await;
    }
}

fn over(phase: &Phase) -> bool {
    phase.stop || phase.last_look
}

async fn close(connection: &Connection) {
    let _ = tokio::time::timeout(STALLED, connection.close(200, "done".into())).await;
}

/// What an answer answers to.
fn ticket(delivery: &Delivery) -> Option<String> {
    let headers = delivery.properties.headers().as_ref()?;
    match headers.inner().get("ticket")? {
        AMQPValue::LongString(text) => Some(text.to_string()),
        AMQPValue::ShortString(text) => Some(text.to_string()),
        _ => None,
    }
}
