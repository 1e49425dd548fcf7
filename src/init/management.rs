//! Fills `broker.management_url`: where Compose publishes the management API, or beside the port of a
//! broker of this machine.

use std::time::Duration;

use secrecy::ExposeSecret;

use super::address::Address;
use super::{InitResult, Survey, is_here, owner, running};
use crate::config::{SecretUrl, Tls};
use crate::rabbitmq::management::Management;
use crate::servers::BROKER;
use crate::vantage::containers;

pub async fn fill(survey: &Survey, broker: Option<&Address>, result: &mut InitResult) {
    let Some(broker) = broker else {
        published_alone(survey, result);
        return;
    };
    let server = survey.services.iter().find(|service| {
        let port = broker.full.as_ref().map(SecretUrl::port);
        service.is_rabbitmq()
            && match service.published(5672) {
                Some(published) => Some(published) == port,
                None => service.published_by(5672).is_some() && port.is_none(),
            }
    });
    if let Some(server) = server {
        if server.lacks_management() {
            let text = format!(
                "{}: its image is RabbitMQ without the management plugin: without it consumers, connections and who took the message stay unseen; take the image's `-management` tag",
                server.place()
            );
            result.draft.note("broker.management_url", text);
            return;
        }
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
    let Some(full) = &broker.full else { return };
    let host = full.host();
    if !is_here(&host) || full.username().is_empty() {
        return;
    }
    if let Err(why) = owner::may_log_in(survey, &BROKER, broker).await {
        let text = format!(
            "RabbitMQ's management API beside {host}:{} was not asked: {why}",
            full.port()
        );
        result.draft.note("broker.management_url", text);
        return;
    }
    // Only who listens at the broker's port is known to be this project's.
    let mut ports = running::beside(full.port());
    let containers = containers::listed().await;
    ports.extend(owner::published_beside(
        &containers,
        &survey.project.root,
        full.port(),
    ));
    ports.retain(|port| *port != full.port());
    // The default first: it is used without being written down.
    ports.sort_by_key(|port| *port != 15672);
    ports.dedup();
    for port in ports.into_iter().take(8) {
        if !is_management(&host, port, full).await {
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

/// The only RabbitMQ of the Compose files publishes its management API, and no port for AMQP.
fn published_alone(survey: &Survey, result: &mut InitResult) {
    let mut servers = survey.services.iter().filter(|service| service.is_rabbitmq());
    let (Some(server), None) = (servers.next(), servers.next()) else {
        return;
    };
    if let Some(port) = server.published(15672).filter(|_| !server.lacks_management()) {
        let from = format!("{}; the user is that of amqp_url", server.place());
        result
            .draft
            .set("broker.management_url", format!("http://localhost:{port}"), from);
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
