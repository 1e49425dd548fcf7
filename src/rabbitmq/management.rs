//! A client for RabbitMQ's management API.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::config::{Broker, SecretUrl, Tls};
use crate::error::Unavailable;
use crate::http::{build, builder, no_answer};

/// What a list of many thousand queues may take.
const LONG: Duration = Duration::from_secs(30);

/// Where the management API is reached, without the rest of a configuration: what the guardian is told
/// over its pipe.
#[derive(Serialize, Deserialize)]
pub struct BrokerAddress {
    management_url: String,
    ca_file: Option<PathBuf>,
    client_cert: Option<PathBuf>,
    client_key: Option<PathBuf>,
}

impl From<&Broker> for BrokerAddress {
    fn from(broker: &Broker) -> Self {
        Self {
            management_url: broker.management.expose().to_owned(),
            ca_file: broker.tls.ca_file.clone(),
            client_cert: broker.tls.client_cert.clone(),
            client_key: broker.tls.client_key.clone(),
        }
    }
}

impl BrokerAddress {
    pub fn management(&self) -> Result<Management, Unavailable> {
        let tls = Tls {
            ca_file: self.ca_file.clone(),
            client_cert: self.client_cert.clone(),
            client_key: self.client_key.clone(),
        };
        Management::from_parts(SecretUrl::from_text(&self.management_url), &tls)
    }
}

/// A thin client for the management API: missing stays missing, and nothing is sent but what is
/// written here. (The client crate turns absent counts into 0, cannot ask for fresh totals, and
/// its vhost update would erase metadata.)
#[derive(Clone)]
pub struct Management {
    client: reqwest::Client,
    url: SecretUrl,
}

impl Management {
    pub fn new(broker: &Broker) -> Result<Self, Unavailable> {
        Self::from_parts(broker.management.clone(), &broker.tls)
    }

    /// Without a whole configuration.
    pub fn from_parts(url: SecretUrl, tls: &Tls) -> Result<Self, Unavailable> {
        let mut builder = builder(tls, Duration::from_secs(5))?;
        // Reading every certificate of the system takes longer than a request. No redirect is
        // followed, so what begins without TLS stays without.
        if url.expose().starts_with("http://") {
            builder = builder.tls_certs_only([]);
        }
        let client = build(builder)?;
        Ok(Self { client, url })
    }

    /// `GET /api/PATH` as JSON, or why not.
    pub async fn get(&self, path: &str) -> Result<Json, Unavailable> {
        let response = self.request(reqwest::Method::GET, path).send().await;
        self.read(path, response).await
    }

    /// A long list, read into what is needed of it.
    pub async fn list<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Unavailable> {
        let request = self.request(reqwest::Method::GET, path).timeout(LONG);
        let target = self.url.redacted();
        match request.send().await {
            Ok(response) if response.status().is_success() => {
                let body = response.bytes().await.map_err(|error| {
                    let (_, chain) = no_answer(error);
                    Unavailable::new(format!(
                        "the answer of the management API at {target} broke off: {chain}"
                    ))
                })?;
                serde_json::from_slice(&body).map_err(|error| {
                    Unavailable::new(format!(
                        "{target} answers /api/{path} with something else: {error}"
                    ))
                    .hint("is `broker.management_url` a RabbitMQ management API?")
                })
            }
            other => match self.read(path, other).await {
                Err(blindness) => Err(blindness),
                Ok(_) => Err(Unavailable::new(format!("{target} does not answer /api/{path}"))),
            },
        }
    }

    pub async fn put(&self, path: &str, body: &Json) -> Result<(), Unavailable> {
        let response = self.request(reqwest::Method::PUT, path).json(body).send().await;
        self.read(path, response).await.map(drop)
    }

    /// `DELETE /api/PATH`; `false` where there is nothing to delete.
    pub async fn delete(&self, path: &str) -> Result<bool, Unavailable> {
        let response = self.request(reqwest::Method::DELETE, path).send().await;
        if matches!(&response, Ok(response) if response.status().as_u16() == 404) {
            return Ok(false);
        }
        self.read(path, response).await.map(|_| true)
    }

    /// `POST /api/PATH`; used for looking at messages only.
    pub async fn post(&self, path: &str, body: &Json) -> Result<Json, Unavailable> {
        let response = self.request(reqwest::Method::POST, path).json(body).send().await;
        self.read(path, response).await
    }

    fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let base = self.url.redacted();
        let url = format!("{}/api/{path}", base.trim_end_matches('/'));
        let password = self.url.password();
        self.client.request(method, url).basic_auth(
            self.url.username(),
            password.as_ref().map(|secret| secret.expose_secret().to_owned()),
        )
    }

    async fn read(
        &self,
        path: &str,
        response: reqwest::Result<reqwest::Response>,
    ) -> Result<Json, Unavailable> {
        let target = self.url.redacted();
        let response = response.map_err(|error| {
            let (_, chain) = no_answer(error);
            Unavailable::new(format!("no answer from the management API at {target}: {chain}"))
                .hint("check `broker.management_url`; is the plugin on? rabbitmq-plugins enable rabbitmq_management")
        })?;
        let status = response.status();
        let body: Json = response.json().await.unwrap_or(Json::Null);
        if status.is_success() {
            return Ok(body);
        }
        let user = self.url.username();
        let error = body.get("error").and_then(Json::as_str).unwrap_or_default();
        // A missing tag is `not_authorised`, a wrong password `not_authorized`: RabbitMQ's words.
        Err(match (status.as_u16(), error) {
            (401, "not_authorised") => Unavailable::new(format!(
                "user \"{user}\" may not use GET /api/{path} (401 not_authorised)"
            ))
            .hint(format!(
                "give it a tag, and permissions on the vhost if it has one: rabbitmqctl set_user_tags {user} monitoring; rabbitmqctl set_permissions -p VHOST {user} '' '' '.*'"
            )),
            (401, _) => Unavailable::new(format!(
                "the management API at {target} refuses user \"{user}\": wrong user or password"
            ))
            .hint("check the credentials in `broker.management_url`"),
            (404, _) => Unavailable::new(format!("404 for /api/{path} at {target}"))
                .hint("the object does not exist, or this is not a RabbitMQ management API"),
            (code, _) => Unavailable::new(format!("HTTP {code} for /api/{path} at {target} {error}")),
        })
    }
}
