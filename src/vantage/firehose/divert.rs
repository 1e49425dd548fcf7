//! An AMQP connection whose deliveries to one consumer leave it before lapin sees them.
//!
//! lapin does the rest as everywhere: TLS, authentication, heartbeats, declaring, counting.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_util::io::{AsyncRead, AsyncWrite, IoSlice};
use lapin::Connection;
use tokio::sync::mpsc;

use super::extractor::{BEAT, Batch, DeliveryExtractor};
use super::lag::LATE_AFTER;
use crate::config::Broker;
use crate::error::Unavailable;
use crate::rabbitmq::amqp;
use crate::rabbitmq::wire::{self, Wire};

/// What was delivered, as it was read.
#[derive(Debug)]
pub struct Arrival {
    pub batch: Batch,
    /// When it was read, by either clock.
    pub at: Instant,
    pub unix_ms: i64,
    /// It was in the socket before, and for how long is not known.
    pub late: bool,
}

/// The channel ends with the connection.
pub type Diverted = mpsc::UnboundedReceiver<Arrival>;

/// Connects to the configured vhost. What is delivered to `consumer` comes through the channel.
pub async fn connect_diverting(
    broker: &Broker,
    purpose: &str,
    consumer: &'static str,
) -> Result<(Connection, Diverted), Unavailable> {
    let (batches, diverted) = mpsc::unbounded_channel();
    let (uri, properties, tls) = amqp::parts(broker, purpose)?;
    let before = move |wire: Wire| Stream::new(wire, consumer, batches.clone());
    let connection = amqp::with_deadline(broker, wire::connect(uri, properties, tls, before)).await?;
    Ok((connection, diverted))
}

/// So much is read at once.
const CHUNK: usize = 128 << 10;
/// After so many reads others have their turn: lapin writes with the thread that it reads with.
const READS: usize = 16;
/// Above so many events in a window there is a pause before each read: what has come in it is read at once. Four
/// threads wake for each read, which costs more than all the rest.
const MANY: usize = 20;
const WINDOW: Duration = Duration::from_millis(20);
const PAUSE: Duration = Duration::from_millis(2);
/// lapin takes a connection on which it reads nothing for dead. The broker, which sends something all the time,
/// sends no heartbeats.
const ALIVE: Duration = Duration::from_secs(1);

/// What lapin reads from and writes to.
struct Stream {
    wire: Wire,
    extractor: DeliveryExtractor,
    /// How much of what is lapin's it has taken.
    taken: usize,
    batches: mpsc::UnboundedSender<Arrival>,
    chunk: Vec<u8>,
    said_alive: Instant,
    pace: Pace,
    /// Since when there has been something to read all the time.
    reading: Option<Instant>,
    /// When the beginning of a message was read whose end has not come yet.
    begun: Option<Instant>,
}

/// How many events came of late.
struct Pace {
    since: Instant,
    events: usize,
    many: bool,
}

impl Pace {
    fn count(&mut self, now: Instant, events: usize) {
        self.events += events;
        if now.duration_since(self.since) >= WINDOW {
            self.many = self.events >= MANY;
            self.since = now;
            self.events = 0;
        }
    }
}

impl Stream {
    fn new(wire: Wire, consumer: &'static str, batches: mpsc::UnboundedSender<Arrival>) -> Self {
        Self {
            wire,
            extractor: DeliveryExtractor::new(consumer),
            taken: 0,
            batches,
            chunk: vec![0; CHUNK],
            said_alive: Instant::now(),
            pace: Pace {
                since: Instant::now(),
                events: 0,
                many: false,
            },
            reading: None,
            begun: None,
        }
    }

    fn take(&mut self, length: usize) {
        let now = Instant::now();
        let reading = *self.reading.get_or_insert(now);
        self.extractor.feed(&self.chunk[..length]);
        let batch = self.extractor.batch();
        let begun = match (self.extractor.is_within_a_message(), &batch) {
            (true, None) => Some(*self.begun.get_or_insert(now)),
            (true, Some(_)) => self.begun.replace(now),
            (false, _) => self.begun.take(),
        };
        let Some(batch) = batch else {
            return;
        };
        let since = begun.map_or(reading, |begun| begun.min(reading));
        self.pace.count(now, batch.len());
        if now.duration_since(self.said_alive) > ALIVE {
            self.said_alive = now;
            self.extractor.rest.extend_from_slice(&BEAT);
        }
        // Nobody takes them while the connection is being closed.
        let _ = self.batches.send(Arrival {
            batch,
            at: now,
            unix_ms: jiff::Timestamp::now().as_millisecond(),
            late: now.duration_since(since) > LATE_AFTER,
        });
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.pace.many && this.extractor.rest.len() == this.taken {
            // lapin reads with a thread of its own, which waits like this when there is nothing to read.
            std::thread::sleep(PAUSE);
        }
        for _ in 0..READS {
            let rest = &this.extractor.rest[this.taken..];
            if !rest.is_empty() {
                let length = rest.len().min(into.len());
                into[..length].copy_from_slice(&rest[..length]);
                this.taken += length;
                return Poll::Ready(Ok(length));
            }
            this.extractor.rest.clear();
            this.taken = 0;
            let read = Pin::new(&mut this.wire).poll_read(cx, &mut this.chunk);
            if read.is_pending() {
                this.reading = None;
            }
            match ready!(read)? {
                0 => return Poll::Ready(Ok(0)),
                length => this.take(length),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write(cx, from)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.wire).poll_write_vectored(cx, from)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.wire).poll_close(cx)
    }
}
