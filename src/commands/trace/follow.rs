//! Reads the firehose until an end comes: the one that was asked for, or another.

use std::io::Write;
use std::pin::{Pin, pin};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, oneshot};
use tokio::time::{Interval, MissedTickBehavior};

use super::output::{OutputEnd, OutputQueue, OutputResult, TraceOutput};
use crate::commands::tell;
use crate::config::Config;
use crate::error::{Error, Result, Unavailable};
use crate::guardian::Guardian;
use crate::interrupt::{Undoing, another_interrupt, interrupt};
use crate::rabbitmq::management::Management;
use crate::trace::TraceTotals;
use crate::vantage::firehose::{Arrival, Incoming, Missed, Subscription};

/// How often we look at what nobody tells us: a closed pipe, our own standing still.
const BEAT: Duration = Duration::from_millis(100);
/// Two beats that lie further apart: our process stood still, and so long ago is not "now".
const STALLED: Duration = Duration::from_millis(250);
/// Between two attempts to connect again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long a connection may take to end that is not used any more.
pub const LET_GO: Duration = Duration::from_secs(1);
/// A broker that answers has told within this time what was missed.
const ENDING: Duration = Duration::from_secs(5);
/// After the end what waits is written as long as something is taken within this time.
const LAST_LINES: Duration = Duration::from_secs(3);

/// What a trace has come to.
pub struct TraceResult {
    pub totals: TraceTotals,
    /// Not one more and not one less was missed.
    pub exact: bool,
    /// Why it is not all that was asked for.
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
    let (queue, done) = output.start().map_err(|source| Error::Write {
        path: "stdout".into(),
        source,
    })?;
    let mut reading = Reading::start(subscription, reconnector, queue, done);
    let error = match reading.read(lasting).await {
        ReadingEnd::Enough(done) => return Ok(enough(reading.subscription, done).await),
        ReadingEnd::Closed => return Ok(closed(reading.subscription, reading.queue, reading.done).await),
        ReadingEnd::Stopped => None,
        ReadingEnd::BrokenOff(error) => Some(error),
    };
    let exact = reading.count_missed().await && error.is_none();
    Ok(write_the_rest(reading.queue, reading.done, &written, exact, error).await)
}

/// Why no more is read.
enum ReadingEnd {
    /// The time is over, or somebody pressed Ctrl-C.
    Stopped,
    /// As many lines as were asked for are written, or none can be written any more.
    Enough(Result<OutputResult, oneshot::error::RecvError>),
    /// Whoever read our output has gone.
    Closed,
    /// The firehose ended, and will not come back, or did not until somebody asked to end.
    BrokenOff(Error),
}

/// The firehose on its way to the thread that writes.
struct Reading<'s> {
    subscription: &'s mut Subscription,
    reconnector: &'s Reconnector<'s>,
    queue: OutputQueue,
    done: oneshot::Receiver<OutputResult>,
    beat: Interval,
    last_beat: Instant,
    /// When it was certain for the last time that nothing had been missed.
    well: Instant,
    /// The connection broke in between: how much was missed meanwhile is not known.
    gaps: bool,
}

impl<'s> Reading<'s> {
    fn start(
        subscription: &'s mut Subscription,
        reconnector: &'s Reconnector<'s>,
        queue: OutputQueue,
        done: oneshot::Receiver<OutputResult>,
    ) -> Self {
        let mut beat = tokio::time::interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let now = Instant::now();
        Self {
            subscription,
            reconnector,
            queue,
            done,
            beat,
            last_beat: now,
            well: now,
            gaps: false,
        }
    }

    async fn read(&mut self, lasting: Option<Duration>) -> ReadingEnd {
        let mut over = pin!(async {
            match lasting {
                Some(lasting) => tokio::time::sleep(lasting).await,
                None => std::future::pending().await,
            }
        });
        loop {
            tokio::select! {
                incoming = self.subscription.next() => {
                    if let Err(blindness) = self.take(incoming)
                        && let Err(end) = self.connect_again(blindness, over.as_mut()).await
                    {
                        return end;
                    }
                }
                _ = self.beat.tick() => {
                    self.on_beat();
                    if is_closed() {
                        return ReadingEnd::Closed;
                    }
                }
                ended = &mut self.done => return ReadingEnd::Enough(ended),
                () = interrupt() => return ReadingEnd::Stopped,
                () = &mut over => return ReadingEnd::Stopped,
            }
        }
    }

    /// What has come goes to the queue, with all that is there already.
    fn take(&mut self, mut incoming: Result<Incoming, Unavailable>) -> Result<(), Unavailable> {
        if self.stood_still() {
            self.subscription.stalled();
            if let Ok(Incoming::Events(arrival)) = &mut incoming {
                arrival.late = true;
            }
            self.last_beat = Instant::now();
        }
        let mut next = Some(incoming);
        let mut taken = 0;
        while let Some(incoming) = next {
            match incoming? {
                Incoming::Events(arrival) => self.queue.take(arrival),
                Incoming::Missed(events) => self.queue.missed(events),
            }
            taken += 1;
            // Everything else has its turn, too.
            next = (taken < 16).then(|| self.subscription.ready()).flatten();
        }
        Ok(())
    }

    fn on_beat(&mut self) {
        if self.stood_still() {
            self.subscription.stalled();
        }
        self.last_beat = Instant::now();
        if !self.subscription.is_behind() {
            self.well = self.last_beat;
        }
    }

    fn stood_still(&self) -> bool {
        self.last_beat.elapsed() > STALLED
    }

    /// A broken connection is made again, and the gap is reported. Not where somebody switched tracing off: it
    /// would be against their will.
    async fn connect_again(
        &mut self,
        blindness: Unavailable,
        mut over: Pin<&mut impl Future<Output = ()>>,
    ) -> Result<(), ReadingEnd> {
        let config = self.reconnector.config;
        if self.subscription.was_untraced() {
            return Err(ReadingEnd::BrokenOff(broke_off(config, blindness)));
        }
        tell(&format!("{}; connecting again", blindness.reason));
        let _ = tokio::time::timeout(LET_GO, self.subscription.close()).await;
        let mut reopening = pin!(self.reconnector.reopen());
        let reopened = loop {
            tokio::select! {
                reopened = &mut reopening => break reopened,
                _ = self.beat.tick() => if is_closed() {
                    return Err(ReadingEnd::Closed);
                },
                ended = &mut self.done => return Err(ReadingEnd::Enough(ended)),
                () = interrupt() => return Err(ReadingEnd::BrokenOff(broke_off(config, blindness))),
                () = &mut over => return Err(ReadingEnd::BrokenOff(broke_off(config, blindness))),
            }
        };
        *self.subscription = reopened;
        self.gaps = true;
        tell(&format!("connected again; {}", self.subscription.detail));
        self.queue.gap(self.well, blindness.reason);
        self.last_beat = Instant::now();
        self.well = self.last_beat;
        Ok(())
    }

    /// Takes what was captured until now, and reports what was not. Whether that number is exact.
    async fn count_missed(&mut self) -> bool {
        // Until tracing is put back, which the user waits for.
        let _finishing = Undoing::begin();
        let queue = &mut self.queue;
        let missed = end(self.subscription, |arrival| queue.take(arrival)).await;
        let beyond = tokio::select! {
            beyond = self.subscription.beyond(self.reconnector.management) => beyond,
            // Whoever presses Ctrl-C once more does not want to wait for the exact number.
            () = another_interrupt() => Missed { events: 0, exact: false },
        };
        self.queue.missed(missed.events + beyond.events);
        missed.exact && beyond.exact && !self.gaps
    }
}

/// Takes no more from here on. A broker that has lost its majority lets nobody unbind, and does not answer: then how much
/// was missed is not known.
async fn end(subscription: &mut Subscription, rest: impl FnMut(Arrival)) -> Missed {
    let ended = tokio::time::timeout(ENDING, subscription.end(rest)).await;
    ended.unwrap_or(Missed {
        events: 0,
        exact: false,
    })
}

/// What was seen is still written, as long as somebody reads it.
async fn write_the_rest(
    queue: OutputQueue,
    done: oneshot::Receiver<OutputResult>,
    written: &std::sync::Mutex<TraceTotals>,
    exact: bool,
    error: Option<Error>,
) -> TraceResult {
    let waiting = async {
        queue.end(exact).await;
        done.await
    };
    let _finishing = Undoing::begin();
    let totals = || *written.lock().unwrap_or_else(PoisonError::into_inner);
    tokio::select! {
        done = waiting => match done {
            Ok(done) => conclude(done, exact, error),
            Err(_) => std::panic::panic_any("the thread that writes lines has panicked"),
        },
        () = stuck(&totals) => TraceResult {
            totals: totals(),
            exact: false,
            error: Some(Error::Could {
                action: "write the last lines",
                target: "stdout".into(),
                seen: format!("whatever reads it took nothing for {} s", LAST_LINES.as_secs()),
                hint: "let it read faster, or ask for less with --queue, --actor or --grep".into(),
            }),
        },
        // Whoever asks to end once more does not want to see the rest.
        () = another_interrupt() => TraceResult { totals: totals(), exact: false, error },
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
    let missed = end(subscription, drop).await;
    done.totals.missed += missed.events;
    conclude(done, missed.exact, None)
}

async fn closed(
    subscription: &mut Subscription,
    queue: OutputQueue,
    done: oneshot::Receiver<OutputResult>,
) -> TraceResult {
    drop(queue);
    let missed = end(subscription, drop).await;
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
