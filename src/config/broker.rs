//! `[broker]`: RabbitMQ, its management API, and the message.

use std::path::PathBuf;

use secrecy::ExposeSecret;
use serde_json::Value as Json;
use strum::{EnumString, VariantNames};
use url::Url;

use super::{Layers, SecretUrl};
use crate::error::{Error, Result};

#[derive(Debug, Clone)]
pub struct Broker {
    pub amqp: SecretUrl,
    pub management: SecretUrl,
    pub vhost: String,
    pub queue: String,
    pub actor: Option<String>,
    pub args: Json,
    pub kwargs: Json,
    pub trace: Trace,
    pub control: Control,
    pub tls: Tls,
}

/// Files for a private certificate authority and a client certificate.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    pub ca_file: Option<PathBuf>,
    pub client_cert: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
}

impl Tls {
    pub fn is_empty(&self) -> bool {
        self.ca_file.is_none() && self.client_cert.is_none()
    }
}

/// Whether the firehose may be switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum Trace {
    Auto,
    On,
    Off,
}

/// Whether workers are listened to and asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub enum Control {
    Auto,
    Off,
}

pub(super) fn broker(layers: &Layers) -> Result<Broker> {
    let amqp = SecretUrl::new(&layers.with_default("broker.amqp_url", Layers::url)?);
    let management = match layers.url("broker.management_url")? {
        Some(mut url) => {
            if url.username().is_empty() {
                let _ = url.set_username(&amqp.username());
                let _ = url.set_password(amqp.password().as_ref().map(ExposeSecret::expose_secret));
            }
            SecretUrl::new(&url)
        }
        None => default_management(&amqp),
    };
    let args = layers.json("broker.args").unwrap_or_default();
    let kwargs = layers
        .json("broker.kwargs")
        .unwrap_or_else(|| serde_json::json!({ "task_id": "{task_id}" }));
    Ok(Broker {
        vhost: amqp.vhost(),
        amqp,
        management,
        queue: layers.with_default("broker.queue", Layers::text)?,
        actor: layers.text("broker.actor")?.filter(|name| !name.is_empty()),
        args,
        kwargs,
        trace: layers.with_default("broker.trace", Layers::choice)?,
        control: layers.with_default("broker.control", Layers::choice)?,
        tls: tls(layers)?,
    })
}

/// RabbitMQ's management plugin listens on 15672 (15671 with TLS) of the broker's host.
fn default_management(amqp: &SecretUrl) -> SecretUrl {
    let scheme_port = if amqp.expose().starts_with("amqps") {
        ("https", 15671)
    } else {
        ("http", 15672)
    };
    let host = if amqp.host().contains(':') {
        format!("[{}]", amqp.host())
    } else {
        amqp.host()
    };
    let mut url = match Url::parse(&format!("{}://{host}:{}", scheme_port.0, scheme_port.1)) {
        Ok(url) => url,
        Err(_) => return SecretUrl::from_text("http://localhost:15672"),
    };
    let _ = url.set_username(&amqp.username());
    let _ = url.set_password(amqp.password().as_ref().map(ExposeSecret::expose_secret));
    SecretUrl::new(&url)
}

pub(super) fn tls(layers: &Layers) -> Result<Tls> {
    let tls = Tls {
        ca_file: layers.path("broker.ca_file")?,
        client_cert: layers.path("broker.client_cert")?,
        client_key: layers.path("broker.client_key")?,
    };
    // One without the other would be left out without a word.
    let missing = match (&tls.client_cert, &tls.client_key) {
        (Some(_), None) => "broker.client_key",
        (None, Some(_)) => "broker.client_cert",
        _ => return Ok(tls),
    };
    Err(Error::MissingKey {
        key: missing,
        needed_for: "a client certificate",
        example: "[broker] client_cert = \"client.pem\", client_key = \"client-key.pem\"",
    })
}
