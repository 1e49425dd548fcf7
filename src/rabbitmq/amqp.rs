//! Our own AMQP connections: named `taskdiag`, never recovering by themselves.

use std::sync::Arc;
use std::time::Duration;

use lapin::options::{BasicConsumeOptions, QueueBindOptions};
use lapin::types::FieldTable;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Channel, Connection, ConnectionProperties, Consumer};
use rustls::ClientConfig;

use crate::config::Broker;
use crate::error::Unavailable;
use crate::http::tls_hint;
use crate::rabbitmq::protocol::{Protocol, spoken_at};
use crate::rabbitmq::wire;

/// A connection that answers nothing for so long is dead, whatever TCP thinks: heartbeats miss it for minutes.
pub const STALLED: Duration = Duration::from_secs(2);

/// Connects to the configured vhost. A failure says what the broker said, never the password.
pub async fn connect(broker: &Broker, purpose: &str) -> Result<Connection, Unavailable> {
    let (uri, properties, tls) = parts(broker, purpose)?;
    with_deadline(broker, wire::connect(uri, properties, tls, |wire| wire)).await
}

/// Gives up after a while, and says why it failed.
pub(crate) async fn with_deadline<T>(
    broker: &Broker,
    connecting: impl Future<Output = lapin::Result<T>>,
) -> Result<T, Unavailable> {
    let target = format!("{}:{}", broker.amqp.host(), broker.amqp.port());
    match tokio::time::timeout(Duration::from_secs(6), connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(error)) if is_hung_up(&error) && speaks_http(broker).await => {
            Err(Unavailable::new(format!("an HTTP server answers at {target}, and no AMQP broker"))
                .hint("that may be the port of the management API (usually 15672): `broker.amqp_url` needs the one for AMQP, usually 5672"))
        }
        Ok(Err(error)) => Err(explain(&error, &target, broker)),
        Err(_) => Err(
            Unavailable::new(format!("{target} accepted no AMQP connection within 6 s"))
                .hint("check `broker.amqp_url`: host, port, and whether TLS is expected there"),
        ),
    }
}

fn is_hung_up(error: &lapin::Error) -> bool {
    let text = error.to_string();
    ["aborted", "reset", "closed", "failed to parse"]
        .iter()
        .any(|word| text.contains(word))
}

/// Whoever hung up on AMQP answers a request of HTTP.
async fn speaks_http(broker: &Broker) -> bool {
    broker.amqp.expose().starts_with("amqp:") && spoken_at(&broker.amqp).await == Protocol::Http
}

/// What every connection of ours is made from.
pub(crate) fn parts(
    broker: &Broker,
    purpose: &str,
) -> Result<(AMQPUri, ConnectionProperties, Option<Arc<ClientConfig>>), Unavailable> {
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
    let tls = match uri.scheme {
        AMQPScheme::AMQP => None,
        AMQPScheme::AMQPS => Some(Arc::new(crate::tls::client_config(&broker.tls)?)),
    };
    Ok((uri, properties, tls))
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
    // A TLS alert, say, or a line of HTTP.
    if text.contains("failed to parse") && broker.amqp.expose().starts_with("amqp:") {
        return Unavailable::new(format!("what answers at {target} does not speak AMQP"))
            .hint("does that port expect TLS (amqps://, usually 5671)? without TLS it is usually 5672; 15672 is the management API's");
    }
    let seen = Unavailable::new(format!("AMQP connection to {target} failed: {text}"));
    let user = broker.amqp.username();
    if text.contains("ACCESS_REFUSED") || text.contains("403") {
        seen.hint(format!(
            "user \"{user}\": wrong password, or no permission on vhost \"{}\"; check `broker.amqp_url`",
            broker.vhost
        ))
    } else if text.contains("NOT_ALLOWED") || text.contains("530") {
        seen.hint(not_allowed(&text, &user, &broker.vhost))
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

/// One code for four troubles; the broker's words tell which it is.
fn not_allowed(text: &str, user: &str, vhost: &str) -> String {
    if text.contains("user connection limit") {
        format!(
            "close connections of user \"{user}\" (rabbitmqctl list_connections user pid name), or raise the user's limit"
        )
    } else if text.contains("limit") {
        format!(
            "close connections in vhost \"{vhost}\" (rabbitmqctl list_connections vhost user name), or raise the vhost's limit"
        )
    } else if text.contains("not found") {
        format!(
            "vhost \"{vhost}\" does not exist: name one of `rabbitmqctl list_vhosts` as the path of `broker.amqp_url`"
        )
    } else if text.contains("is down") {
        format!(
            "start vhost \"{vhost}\" again: rabbitmqctl restart_vhost -p {vhost}; the broker's log says why it stopped"
        )
    } else if text.contains("refused for user") {
        format!(
            "user \"{user}\" has no permission in vhost \"{vhost}\", which exists: give it one, or correct the user or the path of `broker.amqp_url`"
        )
    } else {
        format!(
            "vhost \"{vhost}\" does not exist, or user \"{user}\" may not enter it; the vhost is the path of `broker.amqp_url`"
        )
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

    /// Each as RabbitMQ 3.13 and 4.x say it.
    #[test]
    fn the_hint_is_for_what_the_broker_said() {
        for (said, hint) in [
            (
                "NOT_ALLOWED - vhost ops not found",
                "vhost \"ops\" does not exist: name one of",
            ),
            (
                "NOT_ALLOWED - access to vhost 'ops' refused for user 'lab'",
                "no permission in vhost \"ops\", which exists",
            ),
            (
                "NOT_ALLOWED - access to vhost 'ops' refused for user 'lab': connection limit (3) is reached",
                "close connections in vhost \"ops\"",
            ),
            (
                "NOT_ALLOWED - connection refused for user 'lab': user connection limit (1) is reached",
                "close connections of user \"lab\"",
            ),
            (
                "NOT_ALLOWED - access to vhost 'ops' refused for user 'lab': vhost 'ops' is down",
                "restart_vhost -p ops",
            ),
            ("NOT_ALLOWED - something new", "or user \"lab\" may not enter it"),
        ] {
            let told = not_allowed(said, "lab", "ops");
            assert!(told.contains(hint), "{said}: {told}");
        }
    }

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
