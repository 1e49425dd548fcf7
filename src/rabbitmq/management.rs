//! A client for RabbitMQ's management API.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use crate::config::{Broker, SecretUrl, Tls};
use crate::error::Unavailable;
use crate::http::{LIST, OBJECT, body, build, builder, no_answer, tls_hint};

use super::protocol::{Protocol, spoken_at};
use super::rights;

/// What a list of many thousand queues may take.
const LONG: Duration = Duration::from_secs(30);

/// Where the management API is reached, without the rest of a configuration: what the guardian is told
/// over its pipe.
#[derive(Clone, Serialize, Deserialize)]
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

/// RabbitMQ fails for a moment (500) while a node of its cluster goes or comes: after so long it is asked again.
const AGAIN: Duration = Duration::from_millis(500);

impl Management {
    pub fn new(broker: &Broker) -> Result<Self, Unavailable> {
        Self::from_parts(broker.management.clone(), &broker.tls)
    }

    /// Without a whole configuration.
    pub fn from_parts(url: SecretUrl, tls: &Tls) -> Result<Self, Unavailable> {
        let within = Duration::from_secs(5);
        // Reading every certificate of the system takes longer than a request. No redirect is
        // followed, so what begins without TLS stays without.
        let client = match url.expose().starts_with("http://") {
            true => build(builder(&Tls::default(), within)?.tls_certs_only([]))?,
            false => build(builder(tls, within)?)?,
        };
        Ok(Self { client, url })
    }

    /// `GET /api/PATH` as JSON, or why not.
    pub async fn get(&self, path: &str) -> Result<Json, Unavailable> {
        let ask = || self.request(reqwest::Method::GET, path).send();
        let mut response = ask().await;
        let fails = |response: &reqwest::Response| response.status().is_server_error();
        if response.as_ref().is_ok_and(fails) {
            tokio::time::sleep(AGAIN).await;
            response = ask().await;
        }
        self.read(path, response).await
    }

    /// A long list, read into what is needed of it.
    pub async fn list<T: serde::de::DeserializeOwned>(&self, path: &str) -> Result<T, Unavailable> {
        let request = self.request(reqwest::Method::GET, path).timeout(LONG);
        let target = self.url.redacted();
        match request.send().await {
            Ok(response) if response.status().is_success() => {
                let body = self.body(response, LIST).await?;
                serde_json::from_slice(&body)
                    .map_err(|error| not_an_api(&target, path, &format!("something else ({error})")))
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
        let url = format!("{}/api/{path}", base(&self.url.redacted()));
        let password = self.url.password();
        self.client.request(method, url).basic_auth(
            self.url.username(),
            password.as_ref().map(|secret| secret.expose_secret().to_owned()),
        )
    }

    async fn body(&self, response: reqwest::Response, most: u64) -> Result<Vec<u8>, Unavailable> {
        body(response, most).await.map_err(|trouble| {
            let target = self.url.redacted();
            let text = String::from(trouble);
            Unavailable::new(format!(
                "the answer of the management API at {target} cannot be used: {text}"
            ))
        })
    }

    /// An object, as these paths answer everywhere.
    pub async fn object(&self, path: &str) -> Result<Json, Unavailable> {
        match self.get(path).await? {
            object @ Json::Object(_) => Ok(object),
            other => Err(not_an_api(&self.url.redacted(), path, kind_of(&other))),
        }
    }

    async fn read(
        &self,
        path: &str,
        response: reqwest::Result<reqwest::Response>,
    ) -> Result<Json, Unavailable> {
        let target = self.url.redacted();
        let response = match response {
            Ok(response) => response,
            Err(error) => return Err(self.unanswered(&target, error).await),
        };
        let status = response.status();
        let location = response
            .headers()
            .get("location")
            .and_then(|value| value.to_str().ok());
        if status.is_redirection() {
            let location = location.map(|to| format!(" to {}", SecretUrl::from_text(to).redacted()));
            return Err(Unavailable::new(format!(
                "{target} redirects /api/{path}{}: this is not RabbitMQ's management API",
                location.unwrap_or_default()
            ))
            .hint("set `broker.management_url` to the API itself: a page to log in cannot be passed"));
        }
        let bytes = self.body(response, OBJECT).await?;
        let body = serde_json::from_slice::<Json>(&bytes);
        if status.is_success() {
            // Nothing to say is an answer to a change.
            if bytes.trim_ascii().is_empty() {
                return Ok(Json::Null);
            }
            return body.map_err(|_| not_an_api(&target, path, "something that is no JSON"));
        }
        let body = body.unwrap_or(Json::Null);
        let user = self.url.username();
        let word = |name: &str| {
            body.get(name)
                .and_then(Json::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let (error, reason) = (word("error"), word("reason"));
        // A missing tag is `not_authorised`, a wrong password `not_authorized`: RabbitMQ's words.
        Err(match (status.as_u16(), error.as_str()) {
            (401, _) if reason.to_lowercase().contains("basic auth") => Unavailable::new(format!(
                "the management API at {target} takes no user and password: {reason}"
            ))
            .hint("management.disable_basic_auth is set there, and taskdiag has no other way in: see OAuth 2 in docs/rabbitmq.md"),
            (401, "not_authorised") => Unavailable::new(format!(
                "user \"{user}\" may not use GET /api/{} (401 not_authorised{})",
                path.split('?').next().unwrap_or(path),
                if reason.is_empty() { String::new() } else { format!(": {reason}") }
            ))
            .hint(format!(
                "{}, and any permission on the vhost",
                rights::lacks_tag(&user, "monitoring")
            )),
            (401, _) => Unavailable::new(format!(
                "the management API at {target} refuses user \"{user}\": wrong user or password"
            ))
            .hint("check the credentials in `broker.management_url`"),
            (404, _) if path == "whoami" => Unavailable::new(format!("404 for /api/{path} at {target}")).hint(
                "every management API has that: another program answers there, or the API has a path before /api (management.path_prefix, a reverse proxy)",
            ),
            (404, _) => Unavailable::new(format!("404 for /api/{path} at {target}")).hint(format!(
                "the object does not exist, user \"{user}\" has no permission on its vhost, or this is not a RabbitMQ management API (is there a path before /api?)"
            )),
            (502..=504, _) => Unavailable::new(format!("HTTP {status} for /api/{path} at {target}")).hint(
                "a proxy answers there, and not the management API behind it: ask that one, or look whether the plugin runs",
            ),
            (code, _) => Unavailable::new(format!("HTTP {code} for /api/{path} at {target} {error}")),
        })
    }

    /// Why there was no answer.
    async fn unanswered(&self, target: &str, error: reqwest::Error) -> Unavailable {
        let (_, chain) = no_answer(error);
        let speaks_tls = self.url.expose().starts_with("https");
        // What a TLS port answers to plain HTTP is no HTTP, and neither is what a port for AMQP does.
        let is_other_port = !speaks_tls && chain.contains("invalid HTTP version");
        if is_other_port && spoken_at(&self.url).await == Protocol::Amqp {
            return Unavailable::new(format!(
                "{target} is a port for AMQP, and no management API answers there"
            ))
            .hint("`broker.management_url` needs the port of the management API, usually 15672");
        }
        let of_the_port = is_other_port.then(|| {
            "that port does not speak plain HTTP: if it is a TLS port (15671), write https:// in `broker.management_url`".to_owned()
        });
        let hint = of_the_port
            .or_else(|| tls_hint(&chain, speaks_tls))
            .unwrap_or_else(|| {
                "check `broker.management_url`; is the plugin on? rabbitmq-plugins enable rabbitmq_management"
                    .into()
            });
        Unavailable::new(format!("no answer from the management API at {target}: {chain}")).hint(hint)
    }

    /// The names of the connections to a vhost, as far as they are shown.
    pub async fn connections(&self, vhost: &str) -> Vec<String> {
        let path = format!("vhosts/{}/connections", crate::http::segment(vhost));
        let all = self.get(&path).await.unwrap_or_default();
        let names = all.as_array().into_iter().flatten();
        names
            .filter_map(|connection| connection["name"].as_str().map(str::to_owned))
            .collect()
    }
}

/// Where the API is, without what a browser's address has beside it: a fragment, `/api`.
fn base(url: &str) -> String {
    let url = url.split('#').next().unwrap_or_default().trim_end_matches('/');
    url.strip_suffix("/api")
        .unwrap_or(url)
        .trim_end_matches('/')
        .to_owned()
}

/// A page to log in, say, or another service.
fn not_an_api(target: &str, path: &str, seen: &str) -> Unavailable {
    Unavailable::new(format!(
        "{target} answers /api/{path} with {seen}: this is not RabbitMQ's management API"
    ))
    .hint("set `broker.management_url` to host and port of the API (15672 by default), and the path before /api where it has one")
}

fn kind_of(value: &Json) -> &'static str {
    match value {
        Json::Null => "nothing",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
        _ => "a single value",
    }
}

#[cfg(test)]
mod tests {
    use wiremock::matchers::path;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;

    #[test]
    fn what_a_browser_shows_leads_to_the_api() {
        for url in [
            "http://a:15672",
            "http://a:15672/",
            "http://a:15672/#/queues",
            "http://a:15672/api/",
        ] {
            assert_eq!(base(url), "http://a:15672", "{url}");
        }
        assert_eq!(base("https://a/rabbit/api"), "https://a/rabbit");
    }

    async fn said(response: ResponseTemplate) -> String {
        let server = MockServer::start().await;
        Mock::given(path("/api/whoami"))
            .respond_with(response)
            .mount(&server)
            .await;
        let url = SecretUrl::from_text(&server.uri());
        let management = Management::from_parts(url, &Tls::default()).expect("a client");
        let blindness = management.get("whoami").await.expect_err("it is no API");
        format!("{}; {}", blindness.reason, blindness.hint.unwrap_or_default())
    }

    /// A page to log in, the console's own page, a redirect to one.
    #[tokio::test]
    async fn a_page_is_no_management_api() {
        let page = ResponseTemplate::new(200).set_body_string("<html><title>Log in</title></html>");
        assert!(said(page).await.contains("not RabbitMQ's management API"));
        let redirect =
            ResponseTemplate::new(302).insert_header("location", "https://sso.example/?token=s3cret");
        let text = said(redirect).await;
        assert!(
            text.contains("redirects") && text.contains("sso.example") && !text.contains("s3cret"),
            "{text}"
        );
        let text = said(ResponseTemplate::new(404)).await;
        assert!(
            text.contains("another program") && !text.contains("permission"),
            "{text}"
        );
        let text = said(ResponseTemplate::new(502)).await;
        assert!(text.contains("HTTP 502") && text.contains("proxy"), "{text}");
    }

    /// As 4.3.6 answers with `management.disable_basic_auth = true`.
    #[tokio::test]
    async fn no_hint_takes_an_administrators_tag() {
        let refused = serde_json::json!({ "error": "not_authorised", "reason": "HTTP access denied: basic auth disabled" });
        let text = said(ResponseTemplate::new(401).set_body_json(refused)).await;
        assert!(
            !text.contains("set_user_tags ") && text.contains("OAuth"),
            "{text}"
        );
        let refused = serde_json::json!({ "error": "not_authorised", "reason": "Not management user" });
        let text = said(ResponseTemplate::new(401).set_body_json(refused)).await;
        assert!(text.contains("beside those that it has"), "{text}");
    }
}
