//! The smallest reader of the firehose that can be written with lapin's consumer: one line for each event. `benches/trace`
//! measures taskdiag against it, which takes its deliveries off the wire itself.
//!
//! It neither switches tracing on nor off, decodes no body, and does not know what it missed. Run by `cargo bench` without
//! an address it says nothing: it has nothing to measure alone.

use std::io::{BufWriter, Write};

use futures_util::StreamExt;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Connection, ConnectionProperties};

type Outcome = Result<(), Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Outcome {
    match std::env::args().nth(1).filter(|word| word.starts_with("amqp")) {
        Some(url) => read(&url).await,
        None => Ok(()),
    }
}

async fn read(url: &str) -> Outcome {
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let channel = connection.create_channel().await?;
    let exclusive = QueueDeclareOptions {
        exclusive: true,
        ..Default::default()
    };
    let queue = channel
        .queue_declare("".into(), exclusive, FieldTable::default())
        .await?;
    for key in ["publish.#", "deliver.#"] {
        channel
            .queue_bind(
                queue.name().clone(),
                "amq.rabbitmq.trace".into(),
                key.into(),
                QueueBindOptions::default(),
                FieldTable::default(),
            )
            .await?;
    }
    let at_once = BasicConsumeOptions {
        no_ack: true,
        ..Default::default()
    };
    let mut deliveries = channel
        .basic_consume(
            queue.name().clone(),
            "reader".into(),
            at_once,
            FieldTable::default(),
        )
        .await?;
    writeln!(std::io::stderr(), "ready")?;
    let mut out = BufWriter::with_capacity(32 << 10, std::io::stdout());
    loop {
        tokio::select! {
            biased;
            delivery = deliveries.next() => {
                let Some(delivery) = delivery else { break };
                let delivery = delivery?;
                let headers = delivery.properties.headers();
                let peer = headers.as_ref().and_then(|table| match table.inner().get("connection") {
                    Some(AMQPValue::LongString(text)) => Some(text.to_string()),
                    _ => None,
                });
                write!(out, "{} {} ", delivery.routing_key, peer.unwrap_or_default())?;
                out.write_all(&delivery.data)?;
                out.write_all(b"\n")?;
            }
            // Nothing waits: what is written is shown.
            () = std::future::ready(()), if !out.buffer().is_empty() => out.flush()?,
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    out.flush()?;
    Ok(())
}
