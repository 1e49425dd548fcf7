//! `amq.rabbitmq.trace`: every publish and delivery of the vhost, with body and connection name.
//!
//! Nothing of the task's own queue is touched: we read copies from an exclusive queue of our own.
//! `diagnose` watches three queues through it, `trace` the whole vhost.

mod bodies;
mod divert;
mod drops;
mod event;
mod extractor;
mod lag;
mod missed;
mod monitor;
mod subscription;
mod table;
mod vhost;

use std::sync::Arc;

use tokio::sync::Mutex;

use super::{Phases, Tap, Watched};
use crate::config::{Config, Trace};
use crate::error::Unavailable;
use crate::framework::{self, Framework};
use crate::guardian::Guardian;
use crate::rabbitmq::amqp::{STALLED, stalled};
use crate::rabbitmq::management::Management;
use crate::timeline::EventKind;
use crate::trace::{TraceEvent, TraceKind};

pub use bodies::PublishedBodies;
pub use divert::Arrival;
pub use event::trace_event;
pub use extractor::{Batch, DeliveryExtractor, RawDelivery};
pub use missed::Missed;
pub use subscription::{Incoming, Subscription};

/// Why it sees nothing of a run that publishes nothing.
pub fn not_used(config: &Config) -> Unavailable {
    match config.broker.trace {
        Trace::Off => switched_off(),
        _ => Unavailable::new("not used: this run sends no task")
            .hint("`diagnose` and `trace` switch it on, and off again"),
    }
}

fn switched_off() -> Unavailable {
    Unavailable::new("switched off by `broker.trace = \"off\"`").hint("set trace = \"auto\"")
}

/// `bodies` keeps what is published as it is.
pub async fn watch(
    config: &Config,
    show_args: bool,
    bodies: Option<Arc<PublishedBodies>>,
    tap: Tap,
    mut phases: Phases,
    guardian: &Mutex<Option<Guardian>>,
) -> Watched {
    let broker = &config.broker;
    let see = |traced: &TraceEvent<'_>| {
        // Another framework's workers may share the vhost.
        if framework::ALL
            .iter()
            .any(|framework| traced.kind.is_bookkeeping(framework))
        {
            return;
        }
        let kind = event(config.framework, traced, show_args);
        if let (Some(bodies), EventKind::Publish { message, .. }) = (&bodies, &kind)
            && let Some(id) = &message.message_id
        {
            bodies.keep(id, &traced.envelope);
        }
        tap.see(kind);
    };
    if broker.trace == Trace::Off {
        return Err(switched_off());
    }
    let management = Management::new(broker)?;
    let base = &broker.queue;
    let deliveries = config.framework.queues.family(base).into_iter();
    let keys: Vec<String> = std::iter::once("publish.#".to_owned())
        .chain(deliveries.map(|(_, queue)| format!("deliver.{queue}")))
        .collect();
    let forgotten = || tap.see(EventKind::TracingOn { readers: 0 });
    // After a lost connection we are the ones who left it on.
    let forgotten: Option<&(dyn Fn() + Sync)> = match tap.is_after_gap() {
        true => None,
        false => Some(&forgotten),
    };
    let mut subscription = Subscription::open(broker, &management, &keys, guardian, forgotten).await?;
    match &subscription.partial {
        Some(reason) => tap.partial(format!("{}; {reason}", subscription.detail)),
        None => tap.watching(subscription.detail.clone()),
    }
    loop {
        tokio::select! {
            incoming = subscription.next() => match incoming? {
                Incoming::Events(arrival) => arrival.batch.trace_events().for_each(|traced| see(&traced)),
                Incoming::Missed(events) => tap.see(EventKind::Missed { events }),
            },
            phase = phases.ending() => {
                if phase.stop {
                    break;
                }
                subscription.is_still_traced(&management).await?;
                if let Some(reason) = subscription.joined(&management).await {
                    tap.partial(format!("{}; {reason}", subscription.detail));
                }
                // What is still under way belongs to the run; what the broker could not keep for us
                // must be known before anything is concluded from absence.
                let missed = subscription.end(|arrival| arrival.batch.trace_events().for_each(|traced| see(&traced)));
                let Ok(missed) = tokio::time::timeout(STALLED, missed).await else {
                    return Err(stalled());
                };
                if missed.events > 0 || !missed.exact {
                    tap.see(EventKind::Missed { events: missed.events });
                }
                tap.looked();
                break;
            }
        }
    }
    let _ = tokio::time::timeout(STALLED, subscription.close()).await;
    Ok(())
}

/// A trace event as the timeline keeps it. The management API's own gets and publishes show an Erlang
/// pid as their connection; they are somebody's, so they are kept.
pub fn event(framework: &Framework, traced: &TraceEvent<'_>, show_args: bool) -> EventKind {
    let message = framework.decode(&traced.envelope, show_args);
    let connection = traced.connection.to_string();
    let is_held_back = traced.envelope.header("x-delay").is_some();
    match &traced.kind {
        TraceKind::Publish {
            exchange,
            routing_key,
            queues,
        } => EventKind::Publish {
            exchange: exchange.to_string(),
            routing_key: routing_key.to_string(),
            // A delaying exchange leads nowhere before the message's time comes.
            routed: (!(exchange.is_empty() || queues.is_empty() && is_held_back))
                .then(|| queues.iter().map(ToString::to_string).collect()),
            connection,
            user: (!traced.user.is_empty()).then(|| traced.user.to_string()),
            message,
        },
        TraceKind::Deliver { queue, redelivered } => EventKind::Deliver {
            queue: queue.to_string(),
            connection,
            redelivered: *redelivered,
            message,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framework::{Envelope, Header};

    /// A named exchange that says where a message went says nothing of one that a delaying exchange keeps until its time.
    #[test]
    fn what_an_exchange_holds_back_leads_nowhere_yet() {
        let routed = |header: &'static str, queues: &[&'static str]| {
            let traced = TraceEvent {
                kind: TraceKind::Publish {
                    exchange: "later".into(),
                    routing_key: "default".into(),
                    queues: queues.iter().map(|queue| (*queue).into()).collect(),
                },
                connection: "".into(),
                user: "".into(),
                envelope: Envelope {
                    headers: vec![(header.into(), Header::Other(10_000.into()))],
                    ..Envelope::default()
                },
                death: None,
            };
            match event(Framework::usual(), &traced, false) {
                EventKind::Publish { routed, .. } => routed,
                _ => None,
            }
        };
        assert_eq!(routed("x-delay", &[]), None);
        assert_eq!(routed("other", &[]), Some(Vec::new()));
        assert_eq!(routed("x-delay", &["default"]), Some(vec!["default".to_owned()]));
    }
}
