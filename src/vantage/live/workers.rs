//! Workers that say over the broker that they live. Nobody is asked anything.

use std::time::Duration;

use futures_util::StreamExt;

use super::Sink;
use crate::config::Config;
use crate::error::Unavailable;
use crate::framework::ControlShape;
use crate::rabbitmq::amqp;
use crate::vantage::control::listener::{Listener, arrived, exists, refused};
use crate::watch::observation::Observation;

/// From one try to the next. A look for an exchange that is missing leaves a line in the broker's log.
const SOON: Duration = Duration::from_secs(1);
const LATER: Duration = Duration::from_secs(60);

pub async fn listen(config: Config, shape: &'static ControlShape, sink: Sink) {
    let mut wait = SOON;
    loop {
        if let Err(blindness) = hear(&config, shape, &sink, &mut wait).await {
            sink.see(Observation::Deaf {
                reason: blindness.reason,
                hint: blindness.hint,
            });
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LATER);
    }
}

/// Until it cannot any more; `wait` is set back once it could.
async fn hear(
    config: &Config,
    shape: &'static ControlShape,
    sink: &Sink,
    wait: &mut Duration,
) -> Result<(), Unavailable> {
    let connection = amqp::connect(&config.broker, "watch workers").await?;
    let failed = |error: lapin::Error| refused(config, shape, &error);
    // The first worker that comes makes it.
    while !exists(&connection, shape.events).await.map_err(failed)? {
        sink.see(Observation::Listening);
        tokio::time::sleep(*wait).await;
        *wait = (*wait * 2).min(LATER);
    }
    let mut listener = Listener::open(&connection, shape).await.map_err(failed)?;
    *wait = SOON;
    sink.see(Observation::Listening);
    loop {
        let delivery = arrived(listener.consumer.next().await)?;
        if let Some(beat) = (shape.read_heartbeat)(&delivery.data) {
            sink.see(Observation::Heartbeat(beat));
        }
    }
}
