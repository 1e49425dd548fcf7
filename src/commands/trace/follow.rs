//! Reads the firehose until an end comes: the one that was asked for, or another.

use std::io::Write;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, oneshot};

use super::output::{OutputEnd, OutputQueue, OutputResult, TraceOutput};
use crate::commands::tell;
use crate::config::Config;
use crate::error::{Error, Result, Unavailable};
use crate::guardian::Guardian;
use crate::interrupt::{Undoing, another_interrupt, interrupt};
use crate::rabbitmq::management::Management;
use crate::trace::TraceTotals;
use crate::vantage::firehose::{Incoming, Missed, Subscription};

/// How often we look at what nobody tells us: a closed pipe, our own standing still.
const BEAT: Duration = Duration::from_millis(100);
/// Two beats that lie further apart: our process stood still, and so long ago is not "now".
const STALLED: Duration = Duration::from_millis(250);
/// Between two attempts to connect again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a connection may take to end that is not used any more.
const LET_GO: Duration = Duration::from_secs(1);
/// After the end what waits is written as long as something is taken within this time.
const LAST_LINES: Duration = Duration::from_secs(3);

/// What a trace has come to.
pub struct TraceResult {
    pub totals: TraceTotals,
    /// Not one more and not one less was missed.
    pub exact: bool,
    /// OutputEnd it is not all that was asked for.
    pub error: Option<Error>,
}

impl TraceResult {
    pub fn nothing() -> Self {
        Self {
            totals: TraceTotals::default(),
            exact: true,
            error: None,
        }
    }
}

/// Opens the firehose again after its connection broke.
pub struct Reconnector<'s> {
    pub config: &'s Config,
    pub management: &'s Management,
    pub keys: &'s [String],
    pub guardian: &'s Mutex<Option<Guardian>>,
}

impl Reconnector<'_> {
    /// Tries until it succeeds.
    async fn reopen(&self) -> Subscription {
        let mut said = String::new();
        loop {
            let broker = &self.config.broker;
            match Subscription::open(broker, self.management, self.keys, self.guardian, None).await {
                Ok(subscription) => return subscription,
                Err(blindness) if blindness.reason != said => {
                    tell(&format!("not connected again yet: {}", blindness.reason));
                    said = blindness.reason;
                }
                Err(_) => {}
            }
            tokio::time::sleep(AGAIN).await;
        }
    }
}

/// Reads until the end that was asked for, or any other.
pub async fn follow<W: Write + Send + 'static>(
    output: TraceOutput<W>,
    subscription: &mut Subscription,
    reconnector: &Reconnector<'_>,
    lasting: Option<Duration>,
) -> Result<TraceResult> {
    let written = output.written.clone();
    let (mut queue, mut done) = output.start().map_err(|source| Error::Write {
        path: "stdout".into(),
        source,
    })?;
    let mut over = Box::pin(async {
        match lasting {
            Some(lasting) => tokio::time::sleep(lasting).await,
            None => std::future::pending().await,
        }
    });
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last_beat = Instant::now();
    // When it was certain for the last time that nothing had been missed.
    let mut well = last_beat;
    let mut gaps = false;
    let mut error = None;
    loop {
        tokio::select! {
            mut incoming = subscription.next() => {
                if last_beat.elapsed() > STALLED {
                    subscription.stalled();
                    if let Ok(Incoming::Events(arrival)) = &mut incoming {
                        arrival.late = true;
                    }
                    last_beat = Instant::now();
                }
                let Err(blindness) = take(incoming, subscription, &mut queue) else {
                    continue;
                };
                if subscription.was_untraced() {
                    error = Some(broke_off(reconnector.config, blindness));
                    break;
                }
                tell(&format!("{}; connecting again", blindness.reason));
                let _ = tokio::time::timeout(LET_GO, subscription.close()).await;
                let mut reopening = Box::pin(reconnector.reopen());
                let reopened = loop {
                    tokio::select! {
                        reopened = &mut reopening => break Some(reopened),
                        _ = beat.tick() => if is_closed() {
                            return Ok(closed(subscription, queue, done).await);
                        },
                        ended = &mut done => return Ok(enough(subscription, ended).await),
                        () = interrupt() => break None,
                        () = &mut over => break None,
                    }
                };
                let Some(reopened) = reopened else {
                    error = Some(broke_off(reconnector.config, blindness));
                    break;
                };
                *subscription = reopened;
                gaps = true;
                tell(&format!("connected again; {}", subscription.detail));
                queue.gap(well, blindness.reason);
                last_beat = Instant::now();
                well = last_beat;
            }
            _ = beat.tick() => {
                if last_beat.elapsed() > STALLED {
                    subscription.stalled();
                }
                last_beat = Instant::now();
                if !subscription.is_behind() {
                    well = last_beat;
                }
                if is_closed() {
                    return Ok(closed(subscription, queue, done).await);
                }
            }
            ended = &mut done => return Ok(enough(subscription, ended).await),
            () = interrupt() => break,
            () = &mut over => break,
        }
    }
    // Everything that was captured until now is still shown.
    let mut missed = subscription.end(|arrival| queue.take(arrival)).await;
    let beyond = tokio::select! {
        beyond = subscription.beyond(reconnector.management) => beyond,
        // Whoever presses Ctrl-C once more does not want to wait for the exact number.
        () = another_interrupt() => Missed { events: 0, exact: false },
    };
    missed.events += beyond.events;
    let exact = missed.exact && beyond.exact && error.is_none() && !gaps;
    queue.missed(missed.events);
    let waiting = async {
        queue.end(exact).await;
        (&mut done).await
    };
    // What was seen is still written, as long as somebody reads it.
    let _finishing = Undoing::begin();
    let totals = || *written.lock().unwrap_or_else(PoisonError::into_inner);
    tokio::select! {
        done = waiting => match done {
            Ok(done) => Ok(conclude(done, exact, error)),
            Err(_) => std::panic::panic_any("the thread that writes lines has panicked"),
        },
        () = stuck(&totals) => Ok(TraceResult {
            totals: totals(),
            exact: false,
            error: Some(Error::Could {
                action: "write the last lines",
                target: "stdout".into(),
                seen: format!("whatever reads it took nothing for {} s", LAST_LINES.as_secs()),
                hint: "let it read faster, or ask for less with --queue, --actor or --grep".into(),
            }),
        }),
        // Whoever asks to end once more does not want to see the rest.
        () = another_interrupt() => Ok(TraceResult { totals: totals(), exact: false, error }),
    }
}

/// Resolves when nothing more was written for a while.
async fn stuck(totals: &impl Fn() -> TraceTotals) {
    let mut before = totals().events;
    loop {
        tokio::time::sleep(LAST_LINES).await;
        let now = totals().events;
        if now == before {
            return;
        }
        before = now;
    }
}

fn take(
    first: Result<Incoming, Unavailable>,
    subscription: &mut Subscription,
    queue: &mut OutputQueue,
) -> Result<(), Unavailable> {
    let mut next = Some(first);
    let mut taken = 0;
    while let Some(incoming) = next {
        match incoming? {
            Incoming::Events(arrival) => queue.take(arrival),
            Incoming::Missed(events) => queue.missed(events),
        }
        taken += 1;
        // Everything else has its turn, too.
        next = (taken < 16).then(|| subscription.ready()).flatten();
    }
    Ok(())
}

fn conclude(done: OutputResult, exact: bool, error: Option<Error>) -> TraceResult {
    TraceResult {
        totals: done.totals,
        exact,
        error: match done.why {
            OutputEnd::Failed(failed) => Some(failed),
            OutputEnd::Drained | OutputEnd::Enough | OutputEnd::Closed => error,
        },
    }
}

/// The lines that were asked for are written, or nobody reads them any more.
async fn enough(
    subscription: &mut Subscription,
    done: Result<OutputResult, oneshot::error::RecvError>,
) -> TraceResult {
    let Ok(mut done) = done else {
        std::panic::panic_any("the thread that writes lines has panicked");
    };
    // What was dropped may lie behind the last line as well as before it.
    let missed = subscription.end(drop).await;
    done.totals.missed += missed.events;
    conclude(done, missed.exact, None)
}

async fn closed(
    subscription: &mut Subscription,
    queue: OutputQueue,
    done: oneshot::Receiver<OutputResult>,
) -> TraceResult {
    drop(queue);
    let missed = subscription.end(drop).await;
    match tokio::time::timeout(LAST_LINES, done).await {
        Ok(Ok(done)) => conclude(done, missed.exact, None),
        _ => TraceResult::nothing(),
    }
}

fn broke_off(config: &Config, blindness: Unavailable) -> Error {
    Error::Could {
        action: "go on tracing",
        target: config.broker.amqp.redacted(),
        seen: blindness.reason,
        hint: blindness
            .hint
            .unwrap_or_else(|| "run it again; the broker's log says why the connection ended".into()),
    }
}

/// Whoever read our output has gone. A pipe says so without being written to.
#[allow(unsafe_code)]
fn is_closed() -> bool {
    let mut stdout = libc::pollfd {
        fd: libc::STDOUT_FILENO,
        events: 0,
        revents: 0,
    };
    // SAFETY: one entry, which lives until the call returns; it does not wait.
    let ready = unsafe { libc::poll(&mut stdout, 1, 0) };
    ready > 0 && stdout.revents & (libc::POLLERR | libc::POLLHUP) != 0
}
