//! The eyes of `taskdiag watch`: passive declares for what is on screen, fresh totals of all queues,
//! and the statistics of the few that are looked at. Each goes on until it is dropped, says when it
//! cannot see, and tries again.

mod declares;
mod details;
mod totals;

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::http::Management;
use crate::config::{Broker, Config};
use crate::timeline::scrub::Scrubber;
use crate::watch::pick::Pick;
use crate::watch::sight::{Eye, Seen, Sight};

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

/// Where the eyes report to.
#[derive(Clone)]
pub struct Sink {
    sender: mpsc::UnboundedSender<Seen>,
    clock: Instant,
}

impl Sink {
    fn see(&self, sight: Sight) {
        let _ = self.sender.send(Seen {
            at: self.clock.elapsed(),
            sight,
        });
    }

    fn blind(&self, eye: Eye, blindness: crate::error::Unavailable) {
        self.see(Sight::Blind {
            eye,
            reason: blindness.reason,
            hint: blindness.hint,
        });
    }
}

/// Opens all eyes at once. They close when the returned set is dropped.
pub fn open(
    config: &Config,
    pick: &Pick,
    every: Duration,
    clock: Instant,
    wanted: &watch::Receiver<Wanted>,
) -> (tokio::task::JoinSet<()>, mpsc::UnboundedReceiver<Seen>) {
    let (sender, seen) = mpsc::unbounded_channel();
    let sink = Sink { sender, clock };
    let mut eyes = tokio::task::JoinSet::new();
    eyes.spawn(declares::look(
        config.broker.clone(),
        wanted.clone(),
        declares::pace(every),
        sink.clone(),
    ));
    let scrubber = Arc::new(super::scrubber(config, false));
    eyes.spawn(manage(
        config.broker.clone(),
        pick.clone(),
        wanted.clone(),
        scrubber,
        sink,
    ));
    (eyes, seen)
}

/// Everything that goes through the management API. Its client reads certificates: not on the
/// thread that is about to make the first passive declare.
async fn manage(
    broker: Broker,
    pick: Pick,
    wanted: watch::Receiver<Wanted>,
    scrubber: Arc<Scrubber>,
    sink: Sink,
) {
    let vhost = broker.vhost.clone();
    let built = tokio::task::spawn_blocking(move || Management::new(&broker)).await;
    match built {
        Ok(Ok(management)) => {
            tokio::join!(
                totals::look(&management, &vhost, &pick, &sink),
                details::look(&management, &vhost, wanted, &scrubber, &sink),
            );
        }
        Ok(Err(blindness)) => sink.blind(Eye::Management, blindness),
        Err(error) => sink.blind(Eye::Management, crate::error::Unavailable::new(error.to_string())),
    }
}
