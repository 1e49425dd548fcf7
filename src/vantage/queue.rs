//! Passive `queue.declare`: exact Ready and consumer counts, at once, without management.
//!
//! Needs no permission up to RabbitMQ 4.2.5. A missing queue is a 404 that closes the channel, which is
//! opened anew after that.

use std::time::Duration;

use lapin::Connection;

use super::{Phases, Tap, Watched};
use crate::config::Config;
use crate::error::Unavailable;
use crate::framework::Role;
use crate::rabbitmq::amqp::{self, STALLED, stalled};
use crate::rabbitmq::declare::{Counts, NoCounts, Prober};
use crate::rabbitmq::management::Management;
use crate::rabbitmq::nodes;
use crate::timeline::EventKind;

const EVERY: Duration = Duration::from_millis(100);
/// One late answer may be a busy broker's.
const SILENT: u32 = 3;

/// What is counted, for people.
fn counts_of(config: &Config) -> String {
    let queue = &config.broker.queue;
    let queues = &config.framework.queues;
    let mut text = format!("counts of `{queue}`");
    let companions = [
        (queues.delay(queue), "delayed"),
        (queues.dead_letter(queue), "dead letters"),
    ];
    for (name, what) in companions {
        if let Some(name) = name {
            text.push_str(&format!(", `{name}` ({what})"));
        }
    }
    text
}

struct Probe {
    role: Role,
    queue: String,
    last: Option<Counts>,
    samples: u64,
    /// Looks in a row that the queue's leader did not answer.
    silent: u32,
    /// Why it may not be looked at.
    refused: Option<String>,
}

impl Probe {
    fn new((role, queue): (Role, String)) -> Self {
        Self {
            role,
            queue,
            last: None,
            samples: 0,
            silent: 0,
            refused: None,
        }
    }

    /// `None`: this look told nothing.
    async fn look(
        &mut self,
        config: &Config,
        connection: &Connection,
        prober: &mut Prober,
    ) -> Result<Option<Counts>, Unavailable> {
        if self.refused.is_some() {
            return Ok(None);
        }
        let looking = prober.look(connection, &self.queue);
        let counts = match tokio::time::timeout(STALLED, looking).await {
            Ok(Ok(counts)) => counts,
            Ok(Err(NoCounts::Refused(blindness))) if self.role != Role::Main => {
                self.refused = Some(blindness.reason);
                return Ok(None);
            }
            Ok(Err(NoCounts::Refused(blindness) | NoCounts::Lost(blindness))) => return Err(blindness),
            Err(_) => {
                // The channel waits for an answer for ever.
                *prober = Prober::default();
                return down_with_its_node(config).await.map(Some);
            }
        };
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

/// No answer for one queue, on a connection that stands: where a node of the cluster is down, the queue
/// may be its (a classic queue on 4.3.6; older ones answer so themselves).
async fn down_with_its_node(config: &Config) -> Result<Counts, Unavailable> {
    let down = match Management::new(&config.broker) {
        Ok(management) => nodes::down(&management).await,
        Err(_) => Vec::new(),
    };
    match down.as_slice() {
        [] => Err(stalled()),
        down => Ok(Counts::Down(format!(
            "the broker does not answer for it, and of the cluster this is down: {}",
            down.join(", ")
        ))),
    }
}

pub async fn watch(config: &Config, tap: Tap, mut phases: Phases) -> Watched {
    let connection = amqp::connect(&config.broker, "queue").await?;
    let queue = &config.broker.queue;
    let family = config.framework.queues.family(queue);
    let mut probes: Vec<Probe> = family.into_iter().map(Probe::new).collect();
    // One channel for all: a user may have no more.
    let mut prober = Prober::default();
    let mut announced = false;
    let mut submitted = false;
    loop {
        let phase = phases.now();
        // The first sample after the submission is reported even if nothing changed: absence of
        // consumers is concluded from samples taken since then.
        let force = phase.last_look || (phase.task_id.is_some() && !submitted);
        for probe in &mut probes {
            let mut counts = probe.look(config, &connection, &mut prober).await?;
            // What is concluded from needs an answer.
            while counts.is_none() && probe.refused.is_none() && (force || !announced) {
                counts = probe.look(config, &connection, &mut prober).await?;
            }
            if let Some(counts) = counts {
                probe.report(counts, &tap, force);
            }
        }
        submitted |= phase.task_id.is_some();
        if !announced {
            announced = true;
            let refused: Vec<&str> = probes
                .iter()
                .filter_map(|probe| probe.refused.as_deref())
                .collect();
            match refused.as_slice() {
                [] => tap.watching(counts_of(config)),
                refused => tap.partial(format!("{}; {}", counts_of(config), refused.join("; "))),
            }
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
