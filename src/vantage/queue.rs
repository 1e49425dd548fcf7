//! Passive `queue.declare`: exact Ready and consumer counts, at once, without management.
//!
//! Needs no permission up to RabbitMQ 4.2.5. A missing queue is a 404 that closes the channel, so
//! each queue has a channel of its own, reopened after that.

use std::time::Duration;

use lapin::Connection;

use super::{Phases, Tap, Watched};
use crate::config::Config;
use crate::error::Unavailable;
use crate::rabbitmq::amqp::{self, STALLED, stalled};
use crate::rabbitmq::declare::{Counts, NoCounts, Prober};
use crate::timeline::EventKind;

const EVERY: Duration = Duration::from_millis(100);
/// One late answer may be a busy broker's.
const SILENT: u32 = 3;
struct Probe {
    queue: String,
    prober: Prober,
    last: Option<Counts>,
    samples: u64,
    /// Looks in a row that the queue's leader did not answer.
    silent: u32,
}

impl Probe {
    /// `None`: this look told nothing.
    async fn look(&mut self, connection: &Connection) -> Result<Option<Counts>, Unavailable> {
        let looking = self.prober.look(connection, &self.queue);
        let looked = tokio::time::timeout(STALLED, looking)
            .await
            .map_err(|_| stalled())?;
        let counts =
            looked.map_err(|(NoCounts::Refused(blindness) | NoCounts::Lost(blindness))| blindness)?;
        if counts != Counts::Silent {
            self.silent = 0;
            return Ok(Some(counts));
        }
        self.silent += 1;
        Ok((self.silent >= SILENT).then(|| Counts::Down("its leader does not answer".into())))
    }

    /// Reports a change at once, and sameness as a number of samples when asked to.
    fn report(&mut self, counts: Counts, tap: &Tap, force: bool) {
        let changed = self.last.as_ref() != Some(&counts);
        if changed {
            self.samples = 0;
        }
        self.samples += 1;
        if changed || force {
            let (ready, consumers) = match counts {
                Counts::There { ready, consumers } => (ready, consumers),
                Counts::Missing | Counts::Down(_) | Counts::Silent => (0, 0),
            };
            tap.see(EventKind::Depth {
                queue: self.queue.clone(),
                exists: counts != Counts::Missing,
                ready,
                consumers,
                samples: self.samples,
                down: match &counts {
                    Counts::Down(why) => Some(why.clone()),
                    _ => None,
                },
            });
        }
        self.last = Some(counts);
    }
}

pub async fn watch(config: &Config, tap: Tap, mut phases: Phases) -> Watched {
    let connection = amqp::connect(&config.broker, "queue").await?;
    let queue = &config.broker.queue;
    let mut probes: Vec<Probe> = config
        .framework
        .queues
        .family(queue)
        .into_iter()
        .map(|(_, queue)| Probe {
            queue,
            prober: Prober::default(),
            last: None,
            samples: 0,
            silent: 0,
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
            let mut counts = probe.look(&connection).await?;
            // What is concluded from needs an answer.
            while counts.is_none() && (force || !announced) {
                counts = probe.look(&connection).await?;
            }
            if let Some(counts) = counts {
                probe.report(counts, &tap, force);
            }
        }
        submitted |= phase.task_id.is_some();
        if !announced {
            announced = true;
            tap.watching(format!("passive declare of {queue} and its companions"));
        }
        if phase.last_look || phase.stop {
            tap.looked();
            let _ = tokio::time::timeout(STALLED, connection.close(200, "done".into())).await;
            return Ok(());
        }
        let every = if phase.lively { EVERY / 4 } else { EVERY };
        phases.pause(every).await;
    }
}
