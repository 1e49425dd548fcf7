//! The engine's API: five GETs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value as Json;

use super::parse;
use super::socket::Socket;
use crate::error::Unavailable;
use crate::http;
use crate::timeline::Container;

const WITHIN: Duration = Duration::from_secs(3);

pub(super) struct Engine {
    client: reqwest::Client,
    /// `Docker 20.10.24`, `Podman 4.3.1`.
    pub name: String,
}

/// What became of a container.
#[derive(Debug, PartialEq)]
pub(super) struct EngineEvent {
    pub id: String,
    pub action: String,
    pub exit: Option<i32>,
}

impl Engine {
    pub async fn connect(socket: &Socket) -> Result<Self, Unavailable> {
        let client = crate::tls::http()
            .unix_socket(socket.path.clone())
            .timeout(WITHIN)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| Unavailable::new(format!("cannot set up HTTP: {error}")))?;
        let mut engine = Self {
            client,
            name: "the engine".into(),
        };
        // (Podman looks up the packages of its programs before it answers `/version`: a second, or several.)
        let ping = engine.answer("/_ping", &[]).await.map_err(|blindness| {
            let path = socket.path.display();
            Unavailable::new(format!("{path}: {}", blindness.reason)).hint(
                "run taskdiag with sudo, or as a member of the docker group; [containers] engine = \"off\" leaves it out",
            )
        })?;
        let server = ping.headers().get(reqwest::header::SERVER);
        engine.name = parse::engine_name(server.and_then(|server| server.to_str().ok()));
        Ok(engine)
    }

    /// All containers, running or not, as far as the list tells.
    pub async fn list(&self) -> Result<Vec<Container>, Unavailable> {
        let list = self
            .get("/containers/json", &[("all", "true".to_owned())])
            .await?;
        Ok(list
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(parse::listed)
            .collect())
    }

    /// The whole of it; `None`: it is gone by now.
    pub async fn inspect(&self, listed: &Container) -> Result<Option<Container>, Unavailable> {
        match self.get(&format!("/containers/{}/json", listed.id), &[]).await {
            Ok(whole) => Ok(Some(parse::inspected(listed.clone(), &whole))),
            Err(blindness) if blindness.reason.contains("HTTP 404") => Ok(None),
            Err(blindness) => Err(blindness),
        }
    }

    /// For how long its CPU limit has held it back, if the engine says so.
    pub async fn held_back_ms(&self, id: &str) -> Option<u64> {
        let query = [("stream", "false".to_owned()), ("one-shot", "true".to_owned())];
        let stats = self.get(&format!("/containers/{id}/stats"), &query).await.ok()?;
        parse::held_back_ms(&stats)
    }

    /// What became of containers between two moments, in Unix seconds.
    pub async fn events(&self, since: f64, until: f64) -> Result<Vec<EngineEvent>, Unavailable> {
        let query = [
            ("since", format!("{since:.9}")),
            ("until", format!("{until:.9}")),
            ("filters", r#"{"type":["container"]}"#.to_owned()),
        ];
        let text = self.text("/events", &query).await?;
        Ok(text
            .lines()
            .filter_map(|line| parse::happened(&serde_json::from_str(line).ok()?))
            .collect())
    }

    async fn get(&self, path: &str, query: &[(&str, String)]) -> Result<Json, Unavailable> {
        let text = self.text(path, query).await?;
        serde_json::from_str(&text).map_err(|error| {
            Unavailable::new(format!("the engine's answer to GET {path} is no JSON: {error}"))
        })
    }

    async fn text(&self, path: &str, query: &[(&str, String)]) -> Result<String, Unavailable> {
        let answer = self.answer(path, query).await?;
        // A list of containers or events is no longer than an object of the management API.
        let bytes = http::body(answer, http::OBJECT)
            .await
            .map_err(|trouble| no_answer(path, trouble.into()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    async fn answer(&self, path: &str, query: &[(&str, String)]) -> Result<reqwest::Response, Unavailable> {
        let failed = |what: String| no_answer(path, what);
        let mut url = url::Url::parse("http://engine").map_err(|error| failed(error.to_string()))?;
        url.set_path(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let sent = self.client.get(url).send().await;
        let answer = sent.map_err(|error| failed(http::no_answer(error).1))?;
        if !answer.status().is_success() {
            return Err(failed(format!("HTTP {}", answer.status().as_u16())));
        }
        Ok(answer)
    }
}

fn no_answer(path: &str, what: String) -> Unavailable {
    Unavailable::new(format!("the engine does not answer GET {path}: {what}"))
}

/// Unix seconds.
pub(super) fn now() -> f64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64())
}
