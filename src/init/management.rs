//! Fills `broker.management_url`: where Compose publishes the management API, or beside the port of a
//! broker of this machine.

use std::time::Duration;

use secrecy::ExposeSecret;

use super::address::Address;
use super::{InitResult, Survey, running};
use crate::config::{SecretUrl, Tls};
use crate::rabbitmq::management::Management;

pub async fn fill(survey: &Survey, broker: Option<&Address>, result: &mut InitResult) {
    let Some(broker) = broker else { return };
    let server = survey
        .services
        .iter()
        .find(|service| service.is_rabbitmq() && service.published(5672) == Some(broker.full.port()));
    if let Some(server) = server {
        match server.published(15672) {
            Some(port) => result.draft.set(
                "broker.management_url",
                format!("http://localhost:{port}"),
                format!("{}; the user is that of amqp_url", server.place()),
            ),
            None => result.draft.note(
                "broker.management_url",
                format!(
                    "{} does not publish port 15672: without it consumers, connections and who took the message stay unseen",
                    server.place()
                ),
            ),
        }
        return;
    }
    let host = broker.full.host();
    if !matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1") {
        return;
    }
    let mut ports = running::beside(broker.full.port());
    ports.retain(|port| *port != 15672);
    // The default is used without being written down.
    for port in std::iter::once(15672).chain(ports).take(8) {
        if !is_management(&host, port, &broker.full).await {
            continue;
        }
        result
            .contacted
            .push(format!("RabbitMQ's management API at {host}:{port} answered"));
        if port != 15672 {
            result.draft.set(
                "broker.management_url",
                base(&host, port),
                "the process that listens at amqp_url listens there too; the user is that of amqp_url",
            );
        }
        return;
    }
}

fn base(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("http://[{host}]:{port}")
    } else {
        format!("http://{host}:{port}")
    }
}

async fn is_management(host: &str, port: u16, amqp: &SecretUrl) -> bool {
    let Ok(mut url) = url::Url::parse(&base(host, port)) else {
        return false;
    };
    let _ = url.set_username(&amqp.username());
    let _ = url.set_password(amqp.password().as_ref().map(ExposeSecret::expose_secret));
    let Ok(management) = Management::from_parts(SecretUrl::from_text(url.as_str()), &Tls::default()) else {
        return false;
    };
    let asking = management.get("whoami");
    matches!(tokio::time::timeout(Duration::from_secs(2), asking).await, Ok(Ok(me)) if me.get("name").is_some())
}
