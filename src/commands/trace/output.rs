//! The thread that turns deliveries into written lines, and the bounded queue before it.
//!
//! The reader of the broker must never wait for a slow terminal or pipe: our queue at the broker
//! would fill. So at most `MOST_EVENTS` (or `MOST_BYTES` of bodies) wait here; what arrives beyond
//! that is dropped, counted, and reported at its place among the lines.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::record::Recorder;
use crate::error::Error;
use crate::trace::{Entry, Moment, Place, TraceEvent, TraceTotals, Tracer};
use crate::vantage::firehose::{Arrival, Batch};
use crate::vantage::process::names::Names;

const MOST_EVENTS: usize = 50_000;
const MOST_BYTES: usize = 64 << 20;
/// Besides events, little waits; but where nothing is written for days, it must end somewhere.
const MOST_ITEMS: usize = 60_000;
/// Lines are gathered up to here while more events wait; alone, each is written at once.
const CHUNK: usize = 64 << 10;
/// So long the first line of a connection waits for its process's name, once, while no more than
/// `FEW` others wait.
const PATIENCE: Duration = Duration::from_secs(3);
const FEW: usize = 200;

enum Item {
    Events(Arrival),
    Missed(Instant, u64, Place),
    /// The connection broke; since when events may be missing, and why it did.
    Gap(Instant, Instant, String),
    /// Nothing comes after this; whether the number of missed ones is exact.
    End(Instant, bool),
}

/// Why the thread ended, and what it has written.
pub struct OutputResult {
    pub totals: TraceTotals,
    pub why: OutputEnd,
}

pub enum OutputEnd {
    /// Everything was written.
    Drained,
    /// As many lines as were asked for.
    Enough,
    /// Whoever read our output has gone.
    Closed,
    Failed(Error),
}

/// What waits between the two threads.
#[derive(Default)]
struct Waiting {
    events: AtomicUsize,
    bytes: AtomicUsize,
}

impl Waiting {
    fn fits(&self, batch: &Batch) -> bool {
        let events = self.events.load(Ordering::Relaxed) + batch.len();
        let bytes = self.bytes.load(Ordering::Relaxed) + batch.size();
        events <= MOST_EVENTS && bytes <= MOST_BYTES
    }

    fn add(&self, events: usize, bytes: usize) {
        self.events.fetch_add(events, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    fn remove(&self, batch: &Batch) {
        self.events.fetch_sub(batch.len(), Ordering::Relaxed);
        self.bytes.fetch_sub(batch.size(), Ordering::Relaxed);
    }
}

/// The reader's end: takes events and never waits.
pub struct OutputQueue {
    items: mpsc::Sender<Item>,
    waiting: Arc<Waiting>,
    dropped: u64,
    names: Names,
}

impl OutputQueue {
    pub fn take(&mut self, arrival: Arrival) {
        let batch = &arrival.batch;
        for event in batch.trace_events() {
            self.names.hear(&event.connection);
        }
        if self.dropped > 0 && self.try_send(Item::Missed(arrival.at, self.dropped, Place::Output)) {
            self.dropped = 0;
        }
        let (events, bytes) = (batch.len(), batch.size());
        if self.dropped > 0 || !self.waiting.fits(batch) {
            self.dropped += events as u64;
            return;
        }
        // First, so that the writer never takes away what is not there.
        self.waiting.add(events, bytes);
        if let Err(refused) = self.items.try_send(Item::Events(arrival)) {
            if let Item::Events(arrival) = refused.into_inner() {
                self.waiting.remove(&arrival.batch);
            }
            self.dropped += events as u64;
        }
    }

    /// Dropped by the broker. Where no place is left, they are reported with our own.
    pub fn missed(&mut self, events: u64) {
        if events > 0 && !self.try_send(Item::Missed(Instant::now(), events, Place::Broker)) {
            self.dropped += events;
        }
    }

    /// We read again, after the connection had broken.
    pub fn gap(&mut self, since: Instant, because: String) {
        self.try_send(Item::Gap(Instant::now(), since, because));
    }

    /// Lets what waits be written, and the last line after it.
    pub async fn end(mut self, exact: bool) {
        let now = Instant::now();
        if self.dropped > 0 {
            let dropped = std::mem::take(&mut self.dropped);
            let _ = self.items.send(Item::Missed(now, dropped, Place::Output)).await;
        }
        let _ = self.items.send(Item::End(now, exact)).await;
    }

    fn try_send(&mut self, item: Item) -> bool {
        self.items.try_send(item).is_ok()
    }
}

/// The writing side.
pub struct TraceOutput<W> {
    pub tracer: Tracer,
    pub names: Names,
    pub recorder: Option<Recorder>,
    pub count: Option<u64>,
    pub started: Instant,
    pub started_unix_ms: i64,
    /// How wide the terminal is: it may become another width meanwhile.
    pub width: Option<fn() -> usize>,
    /// What has been written so far.
    pub written: Arc<Mutex<TraceTotals>>,
    pub out: W,
}

impl<W: Write + Send + 'static> TraceOutput<W> {
    /// Starts the thread. What has become of it comes through the channel, which is closed without
    /// a word only by a panic.
    pub fn start(self) -> std::io::Result<(OutputQueue, oneshot::Receiver<OutputResult>)> {
        let (items, queue) = mpsc::channel(MOST_ITEMS);
        let (done, is_done) = oneshot::channel();
        let waiting = Arc::new(Waiting::default());
        let input = OutputQueue {
            items,
            waiting: waiting.clone(),
            dropped: 0,
            names: self.names.clone(),
        };
        std::thread::Builder::new().name("output".into()).spawn(move || {
            let _ = done.send(self.run(queue, &waiting));
        })?;
        Ok((input, is_done))
    }

    fn run(mut self, mut items: mpsc::Receiver<Item>, waiting: &Waiting) -> OutputResult {
        let mut lines = Vec::with_capacity(2 * CHUNK);
        let why = loop {
            let Some(first) = items.blocking_recv() else {
                break OutputEnd::Drained;
            };
            if let Some(width) = self.width {
                self.tracer.resize(width());
            }
            let mut next = Some(first);
            let mut ended = None;
            while let Some(item) = next {
                ended = self.take(item, waiting, &mut lines);
                if ended.is_some() || lines.len() >= CHUNK {
                    break;
                }
                next = items.try_recv().ok();
            }
            if let Err(why) = self.write(&mut lines) {
                break why;
            }
            if let Some(why) = ended {
                break why;
            }
        };
        let recorded = match &mut self.recorder {
            Some(recorder) => recorder.end(self.started.elapsed().as_secs_f64() * 1000.0),
            None => Ok(()),
        };
        OutputResult {
            totals: self.tracer.totals(),
            why: recorded.err().map_or(why, OutputEnd::Failed),
        }
    }

    fn take(&mut self, item: Item, waiting: &Waiting, lines: &mut Vec<u8>) -> Option<OutputEnd> {
        match item {
            Item::Events(arrival) => {
                let moment = Moment {
                    unix_ms: arrival.unix_ms,
                    late: arrival.late,
                    ..self.moment(arrival.at)
                };
                for event in arrival.batch.trace_events() {
                    if lines.len() >= CHUNK
                        && let Err(why) = self.write(lines)
                    {
                        return Some(why);
                    }
                    let few = waiting.events.load(Ordering::Relaxed) < FEW;
                    if let Some(why) = self.event(moment, &event, few, lines) {
                        return Some(why);
                    }
                }
                waiting.remove(&arrival.batch);
            }
            Item::Missed(at, events, place) => {
                let moment = self.moment(at);
                self.tracer.missed(moment, events, place, lines);
                if let Some(recorder) = &mut self.recorder
                    && let Err(error) = recorder.missed(moment.at_ms, events)
                {
                    return Some(OutputEnd::Failed(error));
                }
            }
            Item::Gap(at, since, because) => {
                let (moment, since) = (self.moment(at), self.moment(since));
                self.tracer.gap(moment, since, &because, lines);
                if let Some(recorder) = &mut self.recorder
                    && let Err(error) = recorder.gap(moment.at_ms, since.at_ms, &because)
                {
                    return Some(OutputEnd::Failed(error));
                }
            }
            Item::End(at, exact) => {
                let moment = self.moment(at);
                let end = Entry::end(moment.at_ms, self.tracer.totals(), exact);
                self.tracer.mark(&end, lines);
                return Some(OutputEnd::Drained);
            }
        }
        None
    }

    fn event(
        &mut self,
        moment: Moment,
        event: &TraceEvent<'_>,
        few: bool,
        lines: &mut Vec<u8>,
    ) -> Option<OutputEnd> {
        // Whoever waits for the name of a process waits with what came before it on the screen.
        if few
            && self.names.is_awaited(&event.connection)
            && let Err(why) = self.write(lines)
        {
            return Some(why);
        }
        let patience = if few { PATIENCE } else { Duration::ZERO };
        let peer = self.names.of(&event.connection, patience);
        if let Some(recorder) = &mut self.recorder
            && let Err(error) = recorder.take(moment.at_ms, event, peer.as_deref())
        {
            return Some(OutputEnd::Failed(error));
        }
        let shown = self.tracer.take(moment, event, peer.as_deref(), lines);
        let enough = self
            .count
            .is_some_and(|count| self.tracer.totals().shown >= count);
        (shown && enough).then_some(OutputEnd::Enough)
    }

    fn write(&mut self, lines: &mut Vec<u8>) -> Result<(), OutputEnd> {
        let written = self.out.write_all(lines).and_then(|()| self.out.flush());
        lines.clear();
        *self.written.lock().unwrap_or_else(PoisonError::into_inner) = self.tracer.totals();
        match written {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Err(OutputEnd::Closed),
            Err(source) => {
                return Err(OutputEnd::Failed(Error::Write {
                    path: "stdout".into(),
                    source,
                }));
            }
        }
        match &mut self.recorder {
            Some(recorder) => recorder.flush().map_err(OutputEnd::Failed),
            None => Ok(()),
        }
    }

    fn moment(&self, at: Instant) -> Moment {
        let since = at.saturating_duration_since(self.started);
        Moment {
            at_ms: since.as_secs_f64() * 1000.0,
            unix_ms: self.started_unix_ms + since.as_millis() as i64,
            late: false,
        }
    }
}
