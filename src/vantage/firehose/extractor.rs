//! Takes the deliveries of one consumer out of the bytes that an AMQP connection sends.
//!
//! What is left is what lapin gets: methods, heartbeats, other consumers' messages. lapin would wake three
//! threads and build a tree of headers for each delivery (BENCHMARKS.md has both); here it costs a copy of its bytes.

use super::table::Bytes;

/// Some whole messages, as they came.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Of each message, where its routing key, its headers and its body end.
    ends: Vec<[usize; 3]>,
}

/// One of them.
#[derive(Debug, Clone, Copy)]
pub struct RawDelivery<'a> {
    pub routing_key: &'a [u8],
    /// The table of headers, behind its length.
    pub headers: &'a [u8],
    pub body: &'a [u8],
}

impl Batch {
    pub fn messages(&self) -> impl Iterator<Item = RawDelivery<'_>> {
        let mut start = 0;
        self.ends.iter().map(move |&[key, headers, body]| {
            let message = RawDelivery {
                routing_key: &self.bytes[start..key],
                headers: &self.bytes[key..headers],
                body: &self.bytes[headers..body],
            };
            start = body;
            message
        })
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it takes in memory, about.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }
}

/// A message whose frames have not all come yet.
#[derive(Debug)]
struct Unfinished {
    channel: u16,
    key_end: usize,
    headers_end: usize,
    /// Bytes of the body that are still to come; none before the header frame.
    left: Option<u64>,
}

#[derive(Debug)]
pub struct DeliveryExtractor {
    consumer: &'static str,
    /// The beginning of a frame whose end has not come yet.
    waiting: Vec<u8>,
    batch: Batch,
    unfinished: Option<Unfinished>,
    /// Not AMQP: everything is passed on, and whoever gets it complains.
    lost: bool,
    /// What is not ours, in whole frames.
    pub rest: Vec<u8>,
}

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;
const FRAME_END: u8 = 0xCE;
/// Type, channel and length before the payload, one byte behind it.
const AROUND: usize = 8;
/// Brokers agree on 128 KiB; what claims far more is no AMQP, and waiting for it would fill the memory.
const LONGEST_FRAME: usize = 16 << 20;
/// `basic` and its `deliver`.
const DELIVER: [u8; 4] = [0, 60, 0, 60];
/// A frame that says nothing but that the other side lives.
pub const BEAT: [u8; AROUND] = [HEARTBEAT, 0, 0, 0, 0, 0, 0, FRAME_END];

impl DeliveryExtractor {
    pub fn new(consumer: &'static str) -> Self {
        Self {
            consumer,
            waiting: Vec::new(),
            batch: Batch::default(),
            unfinished: None,
            lost: false,
            rest: Vec::new(),
        }
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        if self.waiting.is_empty() {
            let used = self.scan(bytes);
            self.waiting.extend_from_slice(&bytes[used..]);
        } else {
            let mut all = std::mem::take(&mut self.waiting);
            all.extend_from_slice(bytes);
            let used = self.scan(&all);
            all.drain(..used);
            self.waiting = all;
        }
    }

    /// The messages that are complete, where there are any.
    pub fn batch(&mut self) -> Option<Batch> {
        let whole = self.batch.ends.last()?[2];
        let begun = self.batch.bytes.split_off(whole);
        let batch = std::mem::take(&mut self.batch);
        self.batch.bytes = begun;
        if let Some(unfinished) = &mut self.unfinished {
            unfinished.key_end -= whole;
            unfinished.headers_end = unfinished.headers_end.saturating_sub(whole);
        }
        Some(batch)
    }

    /// The beginning of a message has come, and not its end.
    pub fn is_within_a_message(&self) -> bool {
        self.unfinished.is_some() || !self.waiting.is_empty()
    }

    /// Sorts whole frames; how many bytes they were.
    fn scan(&mut self, bytes: &[u8]) -> usize {
        let mut used = 0;
        while !self.lost {
            let Some(frame) = bytes[used..].split_at_checked(AROUND - 1).map(|(head, _)| head) else {
                return used;
            };
            let kind = frame[0];
            let channel = u16::from_be_bytes([frame[1], frame[2]]);
            let length = u32::from_be_bytes([frame[3], frame[4], frame[5], frame[6]]) as usize;
            if !matches!(kind, METHOD | HEADER | BODY | HEARTBEAT) || length > LONGEST_FRAME {
                self.lost = true;
                break;
            }
            let Some(frame) = bytes[used..].get(..length + AROUND) else {
                return used;
            };
            if frame.last() != Some(&FRAME_END) {
                self.lost = true;
                break;
            }
            let payload = &frame[AROUND - 1..frame.len() - 1];
            if !self.takes(kind, channel, payload) {
                self.rest.extend_from_slice(frame);
            }
            used += frame.len();
        }
        self.rest.extend_from_slice(&bytes[used..]);
        bytes.len()
    }

    fn takes(&mut self, kind: u8, channel: u16, payload: &[u8]) -> bool {
        match (kind, &mut self.unfinished) {
            (METHOD, unfinished) => {
                // A method between the frames of a message ends that message.
                if unfinished.as_ref().is_some_and(|begun| begun.channel == channel) {
                    *unfinished = None;
                    self.batch
                        .bytes
                        .truncate(self.batch.ends.last().map_or(0, |ends| ends[2]));
                }
                let Some(key) = routing_key(payload, self.consumer) else {
                    return false;
                };
                self.batch.bytes.extend_from_slice(key);
                self.unfinished = Some(Unfinished {
                    channel,
                    key_end: self.batch.bytes.len(),
                    headers_end: 0,
                    left: None,
                });
                true
            }
            (HEADER, Some(begun)) if begun.channel == channel && begun.left.is_none() => {
                let (size, headers) = header(payload).unwrap_or_default();
                self.batch.bytes.extend_from_slice(headers);
                begun.headers_end = self.batch.bytes.len();
                begun.left = Some(size);
                self.finish();
                true
            }
            (BODY, Some(begun)) if begun.channel == channel && begun.left.is_some() => {
                self.batch.bytes.extend_from_slice(payload);
                let came = payload.len() as u64;
                begun.left = begun.left.map(|left| left.saturating_sub(came));
                self.finish();
                true
            }
            _ => false,
        }
    }

    fn finish(&mut self) {
        if let Some(done) = self.unfinished.take_if(|message| message.left == Some(0)) {
            let body_end = self.batch.bytes.len();
            self.batch.ends.push([done.key_end, done.headers_end, body_end]);
        }
    }
}

/// Of a `basic.deliver` to this consumer.
fn routing_key<'a>(payload: &'a [u8], consumer: &str) -> Option<&'a [u8]> {
    let mut bytes = Bytes(payload.strip_prefix(&DELIVER)?);
    if bytes.short()? != consumer.as_bytes() {
        return None;
    }
    let (_delivery_tag, _redelivered, _exchange) = (bytes.take(8)?, bytes.byte()?, bytes.short()?);
    bytes.short()
}

/// Length of the body, and the table of headers behind its length (empty where there is none).
fn header(payload: &[u8]) -> Option<(u64, &[u8])> {
    const CONTENT_TYPE: u64 = 1 << 15;
    const CONTENT_ENCODING: u64 = 1 << 14;
    const HEADERS: u64 = 1 << 13;
    let mut bytes = Bytes(payload);
    let _class_and_weight = bytes.take(4)?;
    let size = bytes.number(8)?;
    let flags = bytes.number(2)?;
    let mut headers = || {
        for property in [CONTENT_TYPE, CONTENT_ENCODING] {
            if flags & property != 0 {
                bytes.short()?;
            }
        }
        if flags & HEADERS == 0 {
            return None;
        }
        bytes.long()
    };
    Some((size, headers().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, gen_frame};
    use amq_protocol::protocol::basic::{AMQPMethod, AMQPProperties, Deliver};
    use amq_protocol::protocol::{AMQPClass, queue};
    use amq_protocol::types::{AMQPValue, FieldArray, FieldTable};
    use proptest::prelude::*;

    use super::super::event::trace_event;
    use super::*;
    use crate::trace::TraceKind;

    fn bytes(frame: AMQPFrame) -> Vec<u8> {
        let written = gen_frame(&frame)(Vec::new().into()).expect("a frame");
        written.into_inner().0
    }

    fn deliver(channel: u16, consumer: &str, key: &str) -> Vec<u8> {
        let method = Deliver {
            consumer_tag: consumer.into(),
            delivery_tag: 7,
            redelivered: false,
            exchange: "amq.rabbitmq.trace".into(),
            routing_key: key.into(),
        };
        bytes(AMQPFrame::Method(
            channel,
            AMQPClass::Basic(AMQPMethod::Deliver(method)),
        ))
    }

    fn head(channel: u16, size: usize, properties: AMQPProperties) -> Vec<u8> {
        let header = AMQPContentHeader {
            class_id: 60,
            body_size: size as u64,
            properties,
        };
        bytes(AMQPFrame::Header(channel, header))
    }

    fn body(channel: u16, text: &str) -> Vec<u8> {
        bytes(AMQPFrame::Body(channel, text.as_bytes().to_vec()))
    }

    fn other(channel: u16) -> Vec<u8> {
        let purged = queue::AMQPMethod::PurgeOk(queue::PurgeOk { message_count: 206 });
        bytes(AMQPFrame::Method(channel, AMQPClass::Queue(purged)))
    }

    fn headers() -> AMQPProperties {
        let list =
            |text: &str| AMQPValue::FieldArray(FieldArray::from(vec![AMQPValue::LongString(text.into())]));
        let mut death = FieldTable::default();
        death.insert("count".into(), AMQPValue::LongLongInt(1));
        death.insert("reason".into(), AMQPValue::LongString("rejected".into()));
        death.insert("queue".into(), AMQPValue::LongString("orders".into()));
        let mut own = FieldTable::default();
        let deaths = FieldArray::from(vec![AMQPValue::FieldTable(death)]);
        own.insert("x-death".into(), AMQPValue::FieldArray(deaths));
        let mut properties = FieldTable::default();
        properties.insert("delivery_mode".into(), AMQPValue::ShortShortInt(2));
        properties.insert("headers".into(), AMQPValue::FieldTable(own));
        let mut table = FieldTable::default();
        for (name, value) in [
            ("a float", AMQPValue::Double(1.5)),
            ("channel", AMQPValue::LongInt(1)),
            (
                "connection",
                AMQPValue::LongString("1.2.3.4:5 -> 6.7.8.9:5672".into()),
            ),
            ("properties", AMQPValue::FieldTable(properties)),
            ("redelivered", AMQPValue::LongInt(1)),
            ("routed_queues", list("orders.XQ")),
            ("routing_keys", list("key")),
            ("user", AMQPValue::LongString("guest".into())),
            ("void", AMQPValue::Void),
        ] {
            table.insert(name.into(), value);
        }
        AMQPProperties::default()
            .with_content_type("application/json".into())
            .with_headers(table)
    }

    /// All that a connection may send, our messages among it; and what of it is not ours.
    fn stream() -> (Vec<u8>, Vec<u8>) {
        let ours = |text: &str, frames: &[&str]| {
            let mut all = vec![deliver(1, "taskdiag", text)];
            all.push(head(1, frames.iter().map(|part| part.len()).sum(), headers()));
            all.extend(frames.iter().map(|part| body(1, part)));
            all
        };
        let foreign = [
            other(2),
            deliver(2, "taskdiag-count", "queue"),
            head(2, 3, AMQPProperties::default()),
            body(2, "abc"),
            BEAT.to_vec(),
        ];
        let mut frames = vec![foreign[0].clone()];
        frames.extend(ours("publish.", &["one"]));
        frames.extend(ours("deliver.orders", &[]));
        let split = ours("deliver.q", &["two, ", "in three ", "frames"]);
        for (n, frame) in split.into_iter().enumerate() {
            frames.push(frame);
            // On another channel, in between.
            frames.extend(foreign.get(n + 1).cloned());
        }
        // Never finished: the channel's next method ends it.
        frames.push(deliver(1, "taskdiag", "publish.unfinished"));
        frames.push(head(1, 9, headers()));
        frames.push(body(1, "not"));
        frames.push(other(1));
        frames.extend(ours("publish.last", &["four"]));
        let mut rest = foreign.concat();
        rest.extend(other(1));
        (frames.concat(), rest)
    }

    fn told(batch: &Batch) -> Vec<(String, String)> {
        batch
            .messages()
            .map(|message| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let seen = trace_event(&message).expect("an event");
                assert_eq!(seen.connection, "1.2.3.4:5 -> 6.7.8.9:5672");
                assert_eq!(seen.user, "guest");
                let death = seen.death.expect("it died");
                assert_eq!((&*death.queue, &*death.reason), ("orders", "rejected"));
                match seen.kind {
                    TraceKind::Publish {
                        routing_key, queues, ..
                    } => {
                        assert_eq!((&*routing_key, &*queues[0]), ("key", "orders.XQ"));
                    }
                    TraceKind::Deliver { redelivered, .. } => assert!(redelivered),
                }
                (text(message.routing_key), text(message.body))
            })
            .collect()
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_same_comes_out(cuts in prop::collection::vec(1..400_usize, 1..60), often in any::<bool>()) {
            let (stream, expected) = stream();
            let mut extractor = DeliveryExtractor::new("taskdiag");
            let mut seen = Vec::new();
            let mut left = &stream[..];
            for cut in cuts.iter().cycle() {
                if left.is_empty() {
                    break;
                }
                let (now, later) = left.split_at((*cut).min(left.len()));
                extractor.feed(now);
                left = later;
                if often {
                    seen.extend(extractor.batch().iter().flat_map(told));
                }
            }
            seen.extend(extractor.batch().iter().flat_map(told));
            let all = [("publish.", "one"), ("deliver.orders", ""), ("deliver.q", "two, in three frames"), ("publish.last", "four")];
            prop_assert_eq!(seen, all.map(|(key, body)| (key.to_owned(), body.to_owned())));
            prop_assert_eq!(&extractor.rest, &expected);
        }

        #[test]
        fn nonsense_is_passed_on_and_never_panics(noise in prop::collection::vec(any::<u8>(), 0..300), at in 0..900_usize) {
            let (mut stream, _) = stream();
            let at = at.min(stream.len());
            stream.splice(at..(at + noise.len()).min(stream.len()), noise.iter().copied());
            let mut extractor = DeliveryExtractor::new("taskdiag");
            for part in stream.chunks(97) {
                extractor.feed(part);
                for message in extractor.batch().iter().flat_map(Batch::messages) {
                    drop(trace_event(&message));
                }
            }
        }
    }

    #[test]
    fn another_protocol_is_somebody_elses_to_refuse() {
        let mut extractor = DeliveryExtractor::new("taskdiag");
        extractor.feed(b"AMQP\0\0\x09\x01");
        extractor.feed(b"HTTP");
        assert_eq!(extractor.rest, b"AMQP\0\0\x09\x01HTTP");
    }
}
