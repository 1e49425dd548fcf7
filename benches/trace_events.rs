//! What one event costs `taskdiag trace`: decoded, paired, filtered, written. `cargo bench --bench trace_events`
//!
//! The events are the bytes that RabbitMQ 3.10 sends: a publish and a delivery of each message, from four connections.
//! `benches/trace` prints the result beside what was measured on a real broker.

use std::io::Write;
use std::time::Instant;

use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, gen_frame};
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::{AMQPMethod, AMQPProperties, Deliver};
use amq_protocol::types::{AMQPValue, FieldArray, FieldTable, LongString};
use taskdiag::framework::Framework;
use taskdiag::timeline::scrub::Scrubber;
use taskdiag::trace::{Filter, LineStyle, Moment, PeerProcess, Tracer, Writing};
use taskdiag::vantage::firehose::{Batch, DeliveryExtractor};

const MESSAGES: usize = 20_000;
const ROUNDS: usize = 10;

fn main() -> std::io::Result<()> {
    let wire: Vec<Vec<u8>> = (0..MESSAGES).map(pair).collect();
    let line = || Writing::Line(LineStyle::new(true, false, Some(120), 0));
    let filtered = Filter::new(
        &["orders*".into()],
        &["send_email".into()],
        &["task_77".into()],
        &[],
    );
    let (_, why) = measure(&wire, "lines", line(), Filter::default(), false)?;
    debug_assert!(why > 0);
    measure(&wire, "json", Writing::Json, Filter::default(), false)?;
    measure(&wire, "lines, --show-args", line(), Filter::default(), true)?;
    measure(
        &wire,
        "lines, three filters",
        line(),
        filtered.unwrap_or_default(),
        false,
    )?;
    Ok(())
}

/// Nanoseconds for an event, the best of some rounds; and how many lines there were.
fn measure(
    wire: &[Vec<u8>],
    what: &str,
    writing: Writing,
    filter: Filter,
    show_args: bool,
) -> std::io::Result<(u128, u64)> {
    let peer = PeerProcess {
        pid: 4711,
        name: "dramatiq".into(),
        command: ["/srv/venv/bin/python", "/srv/venv/bin/dramatiq", "app.worker"]
            .map(str::to_owned)
            .to_vec(),
    };
    let mut tracer = Tracer::new(
        Framework::usual(),
        filter,
        writing,
        show_args,
        Scrubber::new([], show_args),
    );
    let mut sink = std::fs::File::create("/dev/null")?;
    let mut lines = Vec::new();
    let mut best = u128::MAX;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let mut extractor = DeliveryExtractor::new("taskdiag");
        for (n, bytes) in wire.iter().enumerate() {
            let moment = Moment {
                at_ms: n as f64,
                unix_ms: 1_700_000_000_000 + n as i64,
                late: false,
            };
            extractor.feed(bytes);
            for event in extractor.batch().iter().flat_map(Batch::trace_events) {
                tracer.take(moment, &event, Some(&peer), &mut lines);
            }
            if lines.len() > 32 << 10 {
                sink.write_all(&lines)?;
                lines.clear();
            }
        }
        best = best.min(began.elapsed().as_nanos() / (2 * wire.len()) as u128);
    }
    let per_second = 1_000_000_000 / best.max(1);
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{what}: {best} ns for an event, {per_second} events/s on one core"
    )?;
    Ok((best, tracer.totals().shown))
}

/// A publish and its delivery.
fn pair(n: usize) -> Vec<u8> {
    let body = format!(
        r#"{{"queue_name":"orders","actor_name":"send_email","args":["customer-{n}@example.org",{n}],"kwargs":{{"task_id":"task_{n}","template":"welcome"}},"options":{{}},"message_id":"3f96a1b2-0c4d-4e5f-8a9b-{n:012x}","message_timestamp":1700000000000}}"#
    );
    let publisher = format!("127.0.0.1:{} -> 127.0.0.1:5672", 40_000 + n % 2);
    let consumer = format!("127.0.0.1:{} -> 127.0.0.1:5672", 50_000 + n % 2);
    let list = |text: &str| AMQPValue::FieldArray(FieldArray::from(vec![string(text)]));
    let published = [
        ("routing_keys", list("orders")),
        ("routed_queues", list("orders")),
    ];
    let delivered = [
        ("routing_keys", list("orders")),
        ("redelivered", AMQPValue::LongInt(0)),
    ];
    [
        event("publish.", &publisher, &body, published),
        event("deliver.orders", &consumer, &body, delivered),
    ]
    .concat()
}

fn event(key: &str, connection: &str, body: &str, own: [(&str, AMQPValue); 2]) -> Vec<u8> {
    let mut properties = FieldTable::default();
    properties.insert("delivery_mode".into(), AMQPValue::ShortShortInt(2));
    let mut headers = FieldTable::default();
    for (name, value) in own.into_iter().chain([
        ("exchange_name", string("")),
        ("properties", AMQPValue::FieldTable(properties)),
        ("node", string("rabbit@host")),
        ("vhost", string("/")),
        ("connection", string(connection)),
        ("channel", AMQPValue::LongInt(1)),
        ("user", string("guest")),
    ]) {
        headers.insert(name.into(), value);
    }
    let method = Deliver {
        consumer_tag: "taskdiag".into(),
        delivery_tag: 1,
        redelivered: false,
        exchange: "amq.rabbitmq.trace".into(),
        routing_key: key.into(),
    };
    let header = AMQPContentHeader {
        class_id: 60,
        body_size: body.len() as u64,
        properties: AMQPProperties::default().with_headers(headers),
    };
    [
        AMQPFrame::Method(1, AMQPClass::Basic(AMQPMethod::Deliver(method))),
        AMQPFrame::Header(1, header),
        AMQPFrame::Body(1, body.as_bytes().to_vec()),
    ]
    .iter()
    .flat_map(|frame| gen_frame(frame)(Vec::new().into()).map(|written| written.into_inner().0))
    .flatten()
    .collect()
}

fn string(text: &str) -> AMQPValue {
    AMQPValue::LongString(LongString::from(text))
}
