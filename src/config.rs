//! File, environment and flags become one `Config`; later wins.
//!
//! Layers are kept by hand, not by a configuration crate, because a diagnosis must be able to say
//! where a value came from ("taskdiag.toml line 12"). `KEYS` is the public contract: a key that is
//! not in it is an error that names the nearest one that is.

mod layers;
mod program;
pub mod secrets;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde_json::Value as Json;
use url::Url;

use crate::error::{Error, Result};
pub use layers::{Layers, nearest};
pub use program::{Program, Services};

/// A URL whose password never shows.
#[derive(Clone)]
pub struct SecretUrl(SecretString);

impl SecretUrl {
    fn new(url: &Url) -> Self {
        Self(SecretString::from(url.as_str().to_owned()))
    }

    pub fn from_text(url: &str) -> Self {
        Self(SecretString::from(url.to_owned()))
    }

    /// The whole thing, for the one call that connects.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    fn parsed(&self) -> Option<Url> {
        Url::parse(self.expose()).ok()
    }

    pub fn username(&self) -> String {
        self.parsed()
            .map(|url| decode(url.username()))
            .unwrap_or_default()
    }

    pub fn password(&self) -> Option<SecretString> {
        self.parsed()
            .and_then(|url| url.password().map(|word| SecretString::from(decode(word))))
    }

    /// Scheme, host, port and path; nothing that authenticates.
    pub fn redacted(&self) -> String {
        let Some(mut url) = self.parsed() else {
            return "(not a URL)".into();
        };
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_query(None);
        url.to_string()
    }

    pub fn host(&self) -> String {
        self.parsed()
            .and_then(|url| {
                url.host_str()
                    .map(|host| host.trim_matches(['[', ']']).to_owned())
            })
            .unwrap_or_default()
    }

    /// Explicit port, or the scheme's.
    pub fn port(&self) -> u16 {
        self.parsed()
            .and_then(|url| {
                url.port_or_known_default().or(match url.scheme() {
                    "amqp" => Some(5672),
                    "amqps" => Some(5671),
                    "postgres" | "postgresql" => Some(5432),
                    _ => None,
                })
            })
            .unwrap_or_default()
    }

    /// The vhost of an AMQP URL: the path, decoded; empty path means `/`.
    pub fn vhost(&self) -> String {
        self.parsed()
            .map(|url| decode(url.path().strip_prefix('/').unwrap_or_default()))
            .filter(|vhost| !vhost.is_empty())
            .unwrap_or_else(|| "/".into())
    }
}

impl std::fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.redacted())
    }
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits: Vec<u8> = rest.clone().take(2).collect();
            if let Some(value) = std::str::from_utf8(&digits)
                .ok()
                .filter(|digits| digits.len() == 2)
                .and_then(|digits| u8::from_str_radix(digits, 16).ok())
            {
                bytes.push(value);
                rest.nth(1);
                continue;
            }
        }
        bytes.push(byte);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Everything one run needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    pub api: Option<Api>,
    pub broker: Broker,
    pub database: Option<Database>,
    pub api_log: LogSource,
    pub worker: Worker,
    /// How `--start` starts the API and the worker, where that is configured.
    pub api_program: Option<Program>,
    pub worker_program: Option<Program>,
    pub services: Services,
    /// The smallest body that the API accepts.
    pub smallest_body: Option<Json>,
    pub timing: Timing,
    /// Where each value that was set came from, for messages.
    pub origins: BTreeMap<String, String>,
}

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
    pub tls: Tls,
}

/// Files for a private certificate authority and a client certificate.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    pub ca_file: Option<PathBuf>,
    pub client_cert: Option<PathBuf>,
    pub client_key: Option<PathBuf>,
}

/// Whether the firehose may be switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    Auto,
    On,
    Off,
}

#[derive(Debug, Clone)]
pub struct Database {
    pub url: SecretUrl,
    pub table: String,
    pub id_column: String,
    pub status_column: String,
    pub running: Vec<String>,
    pub succeeded: Vec<String>,
    pub failed: Vec<String>,
    pub error_column: Option<String>,
}

/// Where a log comes from; both empty means that there is none to look at.
#[derive(Debug, Clone, Default)]
pub struct LogSource {
    pub files: Vec<PathBuf>,
    pub command: Option<Vec<String>>,
    /// What writes it is started in this run: what stands in the files already is another's, and
    /// one that does not exist yet is no trouble.
    pub from_now_on: bool,
}

impl LogSource {
    pub fn is_configured(&self) -> bool {
        !self.files.is_empty() || self.command.is_some()
    }
}

#[derive(Debug, Clone)]
pub struct Worker {
    pub log: LogSource,
    pub entry_pattern: Option<regex::Regex>,
    pub command: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub silence: Duration,
    pub timeout: Duration,
}

impl Config {
    /// Finds and merges the layers. `flags` are `(key, value)` pairs; a flag wins over everything.
    pub fn load(file: Option<&Path>, flags: &[(String, String)]) -> Result<Self> {
        Self::from_layers(&Layers::collect(file, flags)?)
    }

    /// A file's text alone: no environment, no flags.
    #[cfg(test)]
    pub fn from_text(text: &str) -> Result<Self> {
        Self::from_layers(&Layers::from_text(text)?)
    }

    fn from_layers(layers: &Layers) -> Result<Self> {
        let framework = layers.string("framework")?.unwrap_or_else(|| "dramatiq".into());
        if framework != "dramatiq" {
            if framework == "celery" {
                return Err(Error::Framework {
                    name: framework,
                    origin: layers.origin("framework"),
                });
            }
            return Err(layers.bad(
                "framework",
                format!("\"{framework}\" is not a framework"),
                "write framework = \"dramatiq\"",
            ));
        }
        let config = Self {
            api: api(layers)?,
            broker: broker(layers)?,
            database: database(layers)?,
            api_log: log_source(layers, "api")?,
            worker: worker(layers)?,
            api_program: program::program(layers, "api")?,
            worker_program: program::program(layers, "worker")?,
            services: program::services(layers)?,
            smallest_body: layers.json("isolate.body")?,
            timing: Timing {
                silence: layers
                    .duration("timing.silence")?
                    .unwrap_or(Duration::from_secs(10)),
                timeout: layers
                    .duration("timing.timeout")?
                    .unwrap_or(Duration::from_secs(60)),
            },
            origins: layers.origins(),
        };
        Ok(config)
    }

    /// The API, or the error that says it is needed.
    pub fn need_api(&self) -> Result<&Api> {
        self.api.as_ref().ok_or(Error::MissingKey {
            key: "api.url",
            needed_for: "submitting a task",
            example: "[api] url = \"http://localhost:8000\"",
        })
    }
}

fn api(layers: &Layers) -> Result<Option<Api>> {
    let Some(url) = layers.url("api.url", &["http", "https"])? else {
        if let Some(key) = layers.first_of("api.", &["api.log", "api.log_command"]) {
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
    let body = match (layers.json("api.body")?, layers.path("api.body_file")?) {
        (Some(_), Some(_)) => {
            return Err(layers.bad(
                "api.body_file",
                "both `api.body` and `api.body_file` are set",
                "keep one of the two",
            ));
        }
        (Some(body), None) => body,
        (None, Some(path)) => {
            let text = std::fs::read_to_string(&path).map_err(|source| {
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
    let pointer = |key: &str| -> Result<Option<String>> {
        let value = layers.string(key)?;
        match &value {
            Some(pointer) if !pointer.is_empty() && !pointer.starts_with('/') => Err(layers.bad(
                key,
                format!("\"{pointer}\" is not a JSON Pointer"),
                &format!("write \"/{}\"", pointer.replace('.', "/")),
            )),
            _ => Ok(value),
        }
    };
    Ok(Some(Api {
        url,
        submit_path: layers.string("api.submit_path")?.unwrap_or_else(|| "/".into()),
        body,
        headers,
        task_id_pointer: pointer("api.task_id_pointer")?,
        status_path: layers.string("api.status_path")?,
        status_pointer: pointer("api.status_pointer")?.unwrap_or_else(|| "/status".into()),
        timeout: layers.duration("api.timeout")?.unwrap_or(Duration::from_secs(10)),
        tls: tls(layers)?,
    }))
}

fn tls(layers: &Layers) -> Result<Tls> {
    Ok(Tls {
        ca_file: layers.path("broker.ca_file")?,
        client_cert: layers.path("broker.client_cert")?,
        client_key: layers.path("broker.client_key")?,
    })
}

fn broker(layers: &Layers) -> Result<Broker> {
    let amqp = match layers.url("broker.amqp_url", &["amqp", "amqps"])? {
        Some(url) => SecretUrl::new(&url),
        None => SecretUrl(SecretString::from("amqp://guest:guest@localhost:5672/%2F")),
    };
    let management = match layers.url("broker.management_url", &["http", "https"])? {
        Some(mut url) => {
            if url.username().is_empty() {
                let _ = url.set_username(&amqp.username());
                let _ = url.set_password(amqp.password().as_ref().map(ExposeSecret::expose_secret));
            }
            SecretUrl::new(&url)
        }
        None => default_management(&amqp),
    };
    let trace = match layers.string("broker.trace")?.as_deref() {
        None | Some("auto") => Trace::Auto,
        Some("on") => Trace::On,
        Some("off") => Trace::Off,
        Some(other) => {
            return Err(layers.bad(
                "broker.trace",
                format!("\"{other}\" is not a choice"),
                "use auto, on or off",
            ));
        }
    };
    let args = layers
        .json("broker.args")?
        .unwrap_or_else(|| Json::Array(Vec::new()));
    let kwargs = layers
        .json("broker.kwargs")?
        .unwrap_or_else(|| serde_json::json!({ "task_id": "{task_id}" }));
    Ok(Broker {
        vhost: amqp.vhost(),
        amqp,
        management,
        queue: layers.string("broker.queue")?.unwrap_or_else(|| "default".into()),
        actor: layers.string("broker.actor")?.filter(|name| !name.is_empty()),
        args,
        kwargs,
        trace,
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
        Err(_) => return SecretUrl(SecretString::from("http://localhost:15672")),
    };
    let _ = url.set_username(&amqp.username());
    let _ = url.set_password(amqp.password().as_ref().map(ExposeSecret::expose_secret));
    SecretUrl::new(&url)
}

fn database(layers: &Layers) -> Result<Option<Database>> {
    let Some(url) = layers.url("database.url", &["postgres", "postgresql"])? else {
        return Ok(None);
    };
    let need = |key: &'static str, example: &'static str| -> Result<String> {
        layers
            .string(key)?
            .filter(|name| !name.is_empty())
            .ok_or(Error::MissingKey {
                key,
                needed_for: "looking at the task's row",
                example,
            })
    };
    Ok(Some(Database {
        url: SecretUrl::new(&url),
        table: need("database.table", "[database] table = \"task\"")?,
        id_column: need("database.id_column", "[database] id_column = \"task_id\"")?,
        status_column: need("database.status_column", "[database] status_column = \"status\"")?,
        running: layers.strings("database.running")?.unwrap_or_default(),
        succeeded: layers.strings("database.succeeded")?.unwrap_or_default(),
        failed: layers.strings("database.failed")?.unwrap_or_default(),
        error_column: layers.string("database.error_column")?,
    }))
}

fn log_source(layers: &Layers, section: &str) -> Result<LogSource> {
    let base = layers.base();
    Ok(LogSource {
        files: layers
            .strings(&format!("{section}.log"))?
            .unwrap_or_default()
            .iter()
            .map(|path| base.join(path))
            .collect(),
        command: layers
            .strings(&format!("{section}.log_command"))?
            .filter(|words| !words.is_empty()),
        from_now_on: false,
    })
}

fn worker(layers: &Layers) -> Result<Worker> {
    let entry_pattern = match layers.string("worker.entry_pattern")? {
        None => None,
        Some(pattern) if pattern.is_empty() => None,
        Some(pattern) => Some(regex::Regex::new(&pattern).map_err(|source| {
            let seen = source.to_string();
            let last = seen.lines().last().unwrap_or_default().trim().to_owned();
            layers.bad(
                "worker.entry_pattern",
                format!("\"{pattern}\" is not a regular expression: {last}"),
                "escape special characters with \\ (in TOML use '…' quotes so that \\ stays)",
            )
        })?),
    };
    Ok(Worker {
        log: log_source(layers, "worker")?,
        entry_pattern,
        command: layers.strings("worker.command")?.unwrap_or_default(),
    })
}
