//! `[api]`: where a task is posted, and how.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value as Json;
use url::Url;

use super::broker::tls;
use super::{Layers, Tls};
use crate::error::{Error, Result};

#[derive(Debug, Clone)]
pub struct Api {
    pub url: Url,
    pub submit_path: String,
    pub body: Json,
    /// Values may be credentials: never shown.
    pub headers: Vec<(String, SecretString)>,
    pub task_id_pointer: Option<String>,
    pub status_path: Option<String>,
    pub status_pointer: String,
    pub timeout: Duration,
    pub tls: Tls,
}

pub(super) fn api(layers: &Layers) -> Result<Option<Api>> {
    let Some(url) = layers.url("api.url")? else {
        if let Some(key) = layers.first_of("api.", &["api.log", "api.log_command", "api.exec"]) {
            return Err(Error::MissingKey {
                key: "api.url",
                needed_for: match key {
                    _ if key.ends_with("command") => "starting the API",
                    _ => "the rest of [api]",
                },
                example: "[api] url = \"http://localhost:8000\"",
            });
        }
        return Ok(None);
    };
    let body = match (layers.json("api.body"), layers.path("api.body_file")?) {
        (Some(_), Some(_)) => {
            return Err(layers.bad(
                "api.body_file",
                "both `api.body` and `api.body_file` are set",
                "keep one of the two",
            ));
        }
        (Some(body), None) => body,
        (None, Some(path)) => {
            let text = crate::bounded::text(&path, crate::bounded::SETTINGS).map_err(|source| {
                layers.bad(
                    "api.body_file",
                    format!("cannot read {}: {source}", path.display()),
                    "name a readable file with the JSON to post",
                )
            })?;
            serde_json::from_str(&text).map_err(|source| {
                layers.bad(
                    "api.body_file",
                    format!("{} is not JSON: {source}", path.display()),
                    "correct the file",
                )
            })?
        }
        (None, None) => Json::Object(serde_json::Map::new()),
    };
    let mut headers = Vec::new();
    for (name, value) in layers.table("api.headers")?.into_iter().flatten() {
        let Json::String(value) = value else {
            return Err(layers.bad(
                "api.headers",
                format!("the header {name} is not a string"),
                "write headers = { Name = \"value\" }",
            ));
        };
        let valid = reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_ok()
            && reqwest::header::HeaderValue::from_str(&value).is_ok();
        if !valid {
            return Err(layers.bad(
                "api.headers",
                format!("{name} is not a valid HTTP header"),
                "use letters, digits and dashes in the name, no line breaks in the value",
            ));
        }
        headers.push((name, SecretString::from(value)));
    }
    Ok(Some(Api {
        url,
        submit_path: layers.text("api.submit_path")?.unwrap_or_else(|| "/".into()),
        body,
        headers,
        task_id_pointer: layers.pointer("api.task_id_pointer")?,
        status_path: layers.text("api.status_path")?,
        status_pointer: layers
            .pointer("api.status_pointer")?
            .unwrap_or_else(|| "/status".into()),
        timeout: layers.duration("api.timeout")?.unwrap_or(Duration::from_secs(10)),
        tls: tls(layers)?,
    }))
}
