//! Our own AMQP connections: named `taskdiag`, never recovering by themselves.

use std::time::Duration;

use lapin::options::{BasicConsumeOptions, QueueBindOptions};
use lapin::tcp::{OwnedIdentity, OwnedTLSConfig};
use lapin::types::FieldTable;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, Consumer};

use crate::bounded;
use crate::config::Broker;
use crate::error::Unavailable;
use crate::http::{authority, tls_hint};

/// A connection that answers nothing for so long is dead, whatever TCP thinks: heartbeats miss it for minutes.
pub const STALLED: Duration = Duration::from_secs(2);

/// Connects to the configured vhost. A failure says what the broker said, never the password.
pub async fn connect(broker: &Broker, purpose: &str) -> Result<Connection, Unavailable> {
    let (uri, properties, tls) = parts(broker, purpose)?;
    let runtime = lapin::runtime::default_runtime().map_err(|error| Unavailable::new(error.to_string()))?;
    within(
        broker,
        Connection::connect_uri_with_config(uri, properties, tls, runtime),
    )
    .await
}

/// Gives up after a while, and says why it failed.
pub(crate) async fn within<T>(
    broker: &Broker,
    connecting: impl Future<Output = lapin::Result<T>>,
) -> Result<T, Unavailable> {
    let target = format!("{}:{}", broker.amqp.host(), broker.amqp.port());
    match tokio::time::timeout(Duration::from_secs(6), connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) => Err(explain(&error, &target, broker)),
        Err(_) => Err(
            Unavailable::new(format!("{target} accepted no AMQP connection within 6 s"))
                .hint("check `broker.amqp_url`: host, port, and whether TLS is expected there"),
        ),
    }
}

/// What every connection of ours is made from.
pub(crate) fn parts(
    broker: &Broker,
    purpose: &str,
) -> Result<(AMQPUri, ConnectionProperties, OwnedTLSConfig), Unavailable> {
    let mut uri: AMQPUri =
        broker.amqp.expose().parse().map_err(|error: String| {
            Unavailable::new(format!("`broker.amqp_url` cannot be used: {error}"))
        })?;
    // An empty path means `/` to every client library but this one.
    uri.vhost = broker.vhost.clone();
    // Recovery stays off: a diagnosis must see the failure.
    let properties = ConnectionProperties::default()
        .with_connection_name(format!("taskdiag {purpose}").into())
        .with_client_property("product".into(), "taskdiag".into())
        // Without a version lapin puts its own name in place of ours.
        .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into());
    Ok((uri, properties, tls(broker)?))
}

fn tls(broker: &Broker) -> Result<OwnedTLSConfig, Unavailable> {
    let read = |path: &std::path::Path| {
        bounded::file(path, bounded::SETTINGS)
            .map_err(|error| Unavailable::new(format!("cannot read {}: {error}", path.display())))
    };
    let mut config = OwnedTLSConfig::default();
    if let Some(path) = &broker.tls.ca_file {
        config.cert_chain = Some(String::from_utf8_lossy(&authority(path)?).into_owned());
    }
    if let (Some(cert), Some(key)) = (&broker.tls.client_cert, &broker.tls.client_key) {
        config.identity = Some(OwnedIdentity::PKCS8 {
            pem: read(cert)?,
            key: read(key)?,
        });
    }
    Ok(config)
}

/// Binds a queue of our own.
pub async fn bind(channel: &Channel, queue: &str, exchange: &str, key: &str) -> lapin::Result<()> {
    channel
        .queue_bind(
            queue.into(),
            exchange.into(),
            key.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        )
        .await
}

/// Takes what comes to a queue of our own, which nobody else may.
pub async fn consume(channel: &Channel, queue: &str, tag: &str) -> lapin::Result<Consumer> {
    let options = BasicConsumeOptions {
        no_ack: true,
        exclusive: true,
        ..BasicConsumeOptions::default()
    };
    channel
        .basic_consume(queue.into(), tag.into(), options, FieldTable::default())
        .await
}

/// What the error says, the name of an AMQP error once: `NOT-ALLOWED: NOT_ALLOWED - …` has it twice.
pub fn words(error: &lapin::Error) -> String {
    let text = error.to_string();
    let mut rest = text.as_str();
    while let Some((name, after)) = rest.split_once(": ") {
        if after.starts_with(&name.replace('-', "_")) {
            return after.to_owned();
        }
        rest = after;
    }
    text
}

fn explain(error: &lapin::Error, target: &str, broker: &Broker) -> Unavailable {
    let text = words(error);
    let seen = Unavailable::new(format!("AMQP connection to {target} failed: {text}"));
    let user = broker.amqp.username();
    if text.contains("ACCESS_REFUSED") || text.contains("403") {
        seen.hint(format!(
            "user \"{user}\": wrong password, or no permission on vhost \"{}\"; check `broker.amqp_url`",
            broker.vhost
        ))
    } else if text.contains("NOT_ALLOWED") || text.contains("530") {
        // The broker says which of them it is.
        seen.hint(if text.contains("limit") {
            format!("raise the limit, or close connections of user \"{user}\" and in vhost \"{}\"", broker.vhost)
        } else {
            format!(
                "vhost \"{}\" does not exist, or user \"{user}\" may not enter it; the vhost is the path of `broker.amqp_url`",
                broker.vhost
            )
        })
    } else if let Some(hint) = tls_hint(&text, broker.amqp.expose().starts_with("amqps")) {
        seen.hint(hint)
    } else if ["aborted", "reset", "closed"]
        .iter()
        .any(|word| text.contains(word))
    {
        seen.hint("whoever listens there ended the connection: check the port in `broker.amqp_url` (usually 5672; 15672 is the management API's), and whether the broker is starting or stopping")
    } else {
        seen.hint("is RabbitMQ running there? check host and port in `broker.amqp_url`")
    }
}

/// Why a connection that stands tells nothing.
pub fn stalled() -> Unavailable {
    Unavailable::new(format!(
        "the broker answers nothing on a connection that stands, for {} s",
        STALLED.as_secs()
    ))
    .hint("look at what is between here and the broker: a proxy, a VPN, a firewall; or the broker itself")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_error_is_said_once() {
        let error = |text: &str| lapin::Error::from(std::io::Error::other(text.to_owned()));
        let said = words(&error("x"));
        assert!(said.ends_with('x'), "{said}");
        let kind = lapin::protocol::AMQPErrorKind::Hard(lapin::protocol::AMQPHardError::NOTALLOWED);
        let error = lapin::protocol::AMQPError::new(kind, "NOT_ALLOWED - vhost x not found".into());
        let error = lapin::Error::from(lapin::ErrorKind::ProtocolError(error));
        assert_eq!(words(&error), "NOT_ALLOWED - vhost x not found");
    }
}
