//! The probes of `taskdiag watch`: passive declares for what is on screen, fresh totals of all queues,
//! and the statistics of the few that are looked at. Each goes on until it is dropped, says when it
//! cannot see, and tries again.

mod declares;
mod details;
mod totals;
mod workers;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use crate::config::{Broker, Config, Control};
use crate::error::Unavailable;
use crate::rabbitmq::management::Management;
use crate::timeline::scrub::Scrubber;
use crate::watch::observation::{Observation, Probe, Timed};
use crate::watch::selector::QueueSelector;

/// The queues to look at, the most interesting first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Passive declares as often as the broker bears.
    pub often: Vec<String>,
    /// Ten times more seldom.
    pub seldom: Vec<String>,
    /// Statistics and consumers.
    pub details: Vec<String>,
}

/// Where the probes report to.
#[derive(Clone)]
pub struct Sink {
    sender: mpsc::UnboundedSender<Timed<Observation>>,
    clock: Instant,
    /// Queues whose node or leader is down, and why that is known: a passive declare of such a quorum
    /// queue answers 0 and 0.
    down: Arc<Mutex<HashMap<String, String>>>,
}

impl Sink {
    fn see(&self, value: Observation) {
        let at = self.clock.elapsed();
        let _ = self.sender.send(Timed { at, value });
    }

    fn set_down(&self, down: HashMap<String, String>) {
        *self.down.lock().unwrap_or_else(PoisonError::into_inner) = down;
    }

    fn why_down(&self, queue: &str) -> Option<String> {
        let down = self.down.lock().unwrap_or_else(PoisonError::into_inner);
        down.get(queue).cloned()
    }

    fn blind(&self, probe: Probe, blindness: Unavailable) {
        self.see(Observation::Unreachable {
            probe,
            reason: blindness.reason,
            hint: blindness.hint,
        });
    }
}

/// Starts all probes at once. They end when the returned set is dropped.
pub fn open(
    config: &Config,
    selector: &QueueSelector,
    every: Duration,
    clock: Instant,
    wanted: &watch::Receiver<Wanted>,
) -> (
    tokio::task::JoinSet<()>,
    mpsc::UnboundedReceiver<Timed<Observation>>,
) {
    let (sender, seen) = mpsc::unbounded_channel();
    let sink = Sink {
        sender,
        clock,
        down: Arc::default(),
    };
    let mut probes = tokio::task::JoinSet::new();
    probes.spawn(declares::look(
        config.broker.clone(),
        wanted.clone(),
        declares::pace(every),
        sink.clone(),
    ));
    if let Some(shape) = config.framework.control.as_ref()
        && config.broker.control != Control::Off
    {
        probes.spawn(workers::listen(config.clone(), shape, sink.clone()));
    }
    let scrubber = Arc::new(crate::scrubber::scrubber(config, false));
    probes.spawn(manage(
        config.broker.clone(),
        selector.clone(),
        wanted.clone(),
        scrubber,
        sink,
    ));
    (probes, seen)
}

/// Everything that goes through the management API. Its client reads certificates: not on the
/// thread that is about to make the first passive declare.
async fn manage(
    broker: Broker,
    selector: QueueSelector,
    wanted: watch::Receiver<Wanted>,
    scrubber: Arc<Scrubber>,
    sink: Sink,
) {
    let vhost = broker.vhost.clone();
    let built = tokio::task::spawn_blocking(move || Management::new(&broker)).await;
    match built {
        Ok(Ok(management)) => {
            tokio::join!(
                totals::look(&management, &vhost, &selector, &sink),
                details::look(&management, &vhost, wanted, &scrubber, &sink),
            );
        }
        Ok(Err(blindness)) => sink.blind(Probe::Management, blindness),
        Err(error) => sink.blind(Probe::Management, Unavailable::new(error.to_string())),
    }
}
