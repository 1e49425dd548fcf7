//! Passive declares on one held channel, one after the other, as fast as the broker bears easily.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::{Sink, Wanted};
use crate::config::Broker;
use crate::error::Unavailable;
use crate::rabbitmq::amqp;
use crate::rabbitmq::declare::{Counts as DeclareAnswer, NoCounts, Prober};
use crate::watch::observation::{Counts, Observation, Probe};

/// From one passive declare to the next, at best: 250 a second cost a broker 2 to 3 % of a core.
const FASTEST: Duration = Duration::from_millis(4);
const SLOWEST: Duration = Duration::from_millis(100);

/// What has not changed is said again so often, so that its age is known.
const STILL: Duration = Duration::from_millis(100);

/// One look in so many goes to the queues that are wanted seldom.
const SELDOM: u32 = 8;

/// Each look at a missing queue leaves a line in the broker's log.
const MISSING: Duration = Duration::from_secs(1);
const LONG_MISSING: Duration = Duration::from_secs(10);

const NO_ANSWER: Duration = Duration::from_secs(5);

/// How often to ask, for figures that are shown every so often.
pub fn pace(every: Duration) -> Duration {
    (every / 60).clamp(FASTEST, SLOWEST)
}

pub async fn look(broker: Broker, mut wanted: watch::Receiver<Wanted>, pace: Duration, sink: Sink) {
    let mut wait = Duration::from_millis(200);
    loop {
        match amqp::connect(&broker, "watch").await {
            Ok(connection) => {
                wait = Duration::from_millis(200);
                let mut looks = Looks::new(pace, &sink);
                let blindness = looks.go_on(&connection, &mut wanted).await;
                sink.blind(Probe::Amqp, blindness);
            }
            Err(blindness) => sink.blind(Probe::Amqp, blindness),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(3));
    }
}

struct Looks<'a> {
    sink: &'a Sink,
    pace: Duration,
    prober: Prober,
    /// What was said last of each queue, and when.
    said: HashMap<String, (Option<Counts>, Instant)>,
    /// Missing queues: when to look again, and how long to wait after that.
    missing: HashMap<String, (Instant, Duration)>,
    /// Shortest and typical time that an answer took.
    best: Duration,
    typical: Duration,
    open: bool,
}

impl<'a> Looks<'a> {
    fn new(pace: Duration, sink: &'a Sink) -> Self {
        Self {
            sink,
            pace,
            prober: Prober::default(),
            said: HashMap::new(),
            missing: HashMap::new(),
            best: Duration::MAX,
            typical: Duration::ZERO,
            open: false,
        }
    }

    /// Looks until the connection is lost, and says how it was.
    async fn go_on(
        &mut self,
        connection: &lapin::Connection,
        wanted: &mut watch::Receiver<Wanted>,
    ) -> Unavailable {
        let mut round = 0_u32;
        let (mut often, mut seldom) = (0, 0);
        loop {
            let queue = {
                let wanted = wanted.borrow_and_update();
                // Keep no memory of queues that are no longer looked at.
                if wanted.has_changed() {
                    let keep = |name: &String| wanted.often.contains(name) || wanted.seldom.contains(name);
                    if self.said.len() > 2 * (wanted.often.len() + wanted.seldom.len()) + 16 {
                        self.said.retain(|name, _| keep(name));
                        self.missing.retain(|name, _| keep(name));
                    }
                }
                round = round.wrapping_add(1);
                let turn = if round.is_multiple_of(SELDOM) || wanted.often.is_empty() {
                    next(&wanted.seldom, &mut seldom)
                } else {
                    next(&wanted.often, &mut often)
                };
                turn.filter(|name| self.is_due(name)).cloned()
            };
            let began = Instant::now();
            if let Some(queue) = queue {
                let looking = self.prober.look(connection, &queue);
                match tokio::time::timeout(NO_ANSWER, looking).await {
                    Ok(Ok(counts)) => self.answered(queue, counts, began.elapsed()),
                    Ok(Err(NoCounts::Refused(blindness))) => {
                        let hint = blindness.hint.map(|hint| format!("; {hint}")).unwrap_or_default();
                        self.missing
                            .insert(queue.clone(), (Instant::now() + LONG_MISSING, LONG_MISSING));
                        self.sink.see(Observation::Refused {
                            queue,
                            reason: format!("{}{hint}", blindness.reason),
                        });
                    }
                    Ok(Err(NoCounts::Lost(blindness))) => return blindness,
                    Err(_) => {
                        return Unavailable::new(format!(
                            "no answer to a passive declare within {} s",
                            NO_ANSWER.as_secs()
                        ));
                    }
                }
            }
            if !self.open {
                self.open = true;
                self.sink.see(Observation::Reachable { probe: Probe::Amqp });
            }
            tokio::time::sleep(self.pause()).await;
        }
    }

    fn is_due(&self, queue: &str) -> bool {
        self.missing
            .get(queue)
            .is_none_or(|(again, _)| Instant::now() >= *again)
    }

    /// A broker that takes longer than at its best is busy: it is left alone for longer.
    fn pause(&self) -> Duration {
        if self.best == Duration::MAX {
            return self.pace;
        }
        self.pace
            .max(2 * self.typical.saturating_sub(self.best))
            .min(Duration::from_millis(200))
    }

    fn answered(&mut self, queue: String, mut counts: DeclareAnswer, took: Duration) {
        self.best = self.best.min(took);
        self.typical = (self.typical * 7 + took) / 8;
        let nothing = matches!(
            counts,
            DeclareAnswer::There {
                ready: 0,
                consumers: 0
            } | DeclareAnswer::Silent
        );
        if let Some(why) = self.sink.why_down(&queue).filter(|_| nothing) {
            counts = DeclareAnswer::Down(why);
        }
        let counts = match counts {
            DeclareAnswer::There { ready, consumers } => Some(Counts { ready, consumers }),
            DeclareAnswer::Missing => None,
            // With how long it took, and what kind of queue it is, the model judges it.
            DeclareAnswer::Silent => Some(Counts {
                ready: 0,
                consumers: 0,
            }),
            DeclareAnswer::Down(why) => {
                self.missing
                    .insert(queue.clone(), (Instant::now() + MISSING, MISSING));
                self.said.remove(&queue);
                return self.sink.see(Observation::Down { queue, why });
            }
        };
        if counts.is_none() {
            let wait = self
                .missing
                .get(&queue)
                .map_or(MISSING, |(_, wait)| (*wait * 2).min(LONG_MISSING));
            self.missing.insert(queue.clone(), (Instant::now() + wait, wait));
        } else if !self.missing.is_empty() {
            self.missing.remove(&queue);
        }
        let now = Instant::now();
        let news = self
            .said
            .get(&queue)
            .is_none_or(|(last, at)| *last != counts || now.duration_since(*at) >= STILL);
        if news {
            self.said.insert(queue.clone(), (counts, now));
            self.sink.see(Observation::Declared { queue, counts, took });
        }
    }
}

fn next<'a>(queues: &'a [String], turn: &mut usize) -> Option<&'a String> {
    *turn = if *turn + 1 < queues.len() { *turn + 1 } else { 0 };
    queues.get(*turn)
}
