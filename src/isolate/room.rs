//! An empty vhost with a worker that was started for it, alone with one message.
//!
//! The worker is the configured one with the broker's URL replaced in its environment. Whether it
//! really went there is observed before anything is published; one that turns up at the live queue
//! would take messages of others, and is stopped at once.

use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use serde_json::json;
use url::Url;

use crate::config::{Broker, Config, LogSource, Program, SecretUrl};
use crate::guardian::{Guardian, left_behind};
use crate::supervise::{self, Started};
use crate::vantage::http::{Management, segment};
use crate::vantage::{Prober, connect_amqp, interrupt};

/// A worker gets so long to consume.
const READY_WITHIN: Duration = Duration::from_secs(40);
const EVERY: Duration = Duration::from_millis(20);

/// Commands that start a worker somewhere else, where our environment does not reach.
const ELSEWHERE: &[&str] = &[
    "docker",
    "docker-compose",
    "podman",
    "kubectl",
    "ssh",
    "systemctl",
    "supervisorctl",
];

pub struct Room {
    /// The configuration of a run in it.
    pub config: Config,
    guardian: Guardian,
    worker: Started,
}

impl Room {
    /// Makes it ready, or says why it cannot be; then nothing of it is left.
    pub async fn open(config: &Config, complaints: &mut Vec<String>) -> Result<Self, String> {
        let program = config
            .worker_program
            .as_ref()
            .ok_or("`worker.command` is not configured: how a worker is started is not known")?;
        let first = program.command[0].rsplit('/').next().unwrap_or_default();
        if ELSEWHERE.contains(&first) {
            return Err(format!(
                "`worker.command` is `{first} …`, which starts the worker where its environment cannot be changed from here"
            ));
        }
        if !cfg!(target_os = "linux") {
            return Err("a worker can be started on Linux only".into());
        }
        let name = format!("{}{}", left_behind::VHOST, uuid::Uuid::new_v4().simple());
        let replaced = replaced(&environment(program), &config.broker, &name);
        if replaced.is_empty() {
            return Err(format!(
                "no variable of `worker.env` or of this shell holds the broker's URL or vhost \"{}\", so the worker cannot be sent to another: add env = {{ RABBITMQ_URL = \"${{RABBITMQ_URL}}\" }} to [worker], with the variable that the application reads",
                config.broker.vhost
            ));
        }
        let guardian = Guardian::launch()
            .await
            .map_err(|error| format!("the guardian that ends everything again cannot be started: {error}"))?;
        let opened = tokio::select! {
            opened = furnish(config, program, &guardian, &name, &replaced) => opened,
            () = interrupt() => Err("interrupted".into()),
        };
        match opened {
            Ok((worker, config)) => Ok(Self {
                config,
                guardian,
                worker,
            }),
            Err(why) => {
                complaints.extend(guardian.end().await);
                Err(why)
            }
        }
    }

    /// Ends the worker and deletes the vhost; returns what could not be undone.
    pub async fn close(self) -> Vec<String> {
        let _ = self.worker.stop().await;
        self.guardian.end().await
    }
}

async fn furnish(
    config: &Config,
    program: &Program,
    guardian: &Guardian,
    name: &str,
    replaced: &[(String, String)],
) -> Result<(Started, Config), String> {
    let management = Management::new(&config.broker).map_err(|blindness| blindness.reason)?;
    guardian.delete_vhost(&config.broker, name).await?;
    let refused = |what: &str, reason: String| {
        format!("{what} through the management API: {reason}; it takes a user with the administrator tag")
    };
    let description = json!({ "description": left_behind::description() });
    management
        .put(&format!("vhosts/{}", segment(name)), &description)
        .await
        .map_err(|blindness| refused("an empty vhost cannot be made", blindness.reason))?;
    let mut users = vec![config.broker.amqp.username()];
    users.extend(
        replaced
            .iter()
            .map(|(_, value)| SecretUrl::from_text(value).username()),
    );
    users.retain(|user| !user.is_empty());
    users.sort();
    users.dedup();
    for user in users {
        let everything = json!({ "configure": ".*", "write": ".*", "read": ".*" });
        management
            .put(
                &format!("permissions/{}/{}", segment(name), segment(&user)),
                &everything,
            )
            .await
            .map_err(|blindness| {
                refused(
                    &format!("user \"{user}\" cannot be let into it"),
                    blindness.reason,
                )
            })?;
    }
    let mut room = config.clone();
    room.broker.amqp = with_vhost(config.broker.amqp.expose(), name)
        .map(|url| SecretUrl::from_text(&url))
        .ok_or("`broker.amqp_url` cannot be used")?;
    room.broker.vhost = name.to_owned();
    let folder = guardian.folder(&std::env::temp_dir()).await?;
    let log = folder.join("worker.log");
    std::fs::write(&log, "").map_err(|error| format!("cannot write {}: {error}", log.display()))?;
    room.worker.log = LogSource {
        files: vec![log.clone()],
        command: None,
        from_now_on: true,
    };
    // The live worker is started by the same command: it has no part in this.
    room.worker.command = Vec::new();
    let extra: Vec<(&str, &str)> = replaced
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let prepared = supervise::prepare(program, &extra).map_err(|error| error.to_string())?;
    let live = connect_amqp(&config.broker, "isolate")
        .await
        .map_err(|blindness| blindness.reason)?;
    let clean = connect_amqp(&room.broker, "isolate")
        .await
        .map_err(|blindness| blindness.reason)?;
    let queue = &config.broker.queue;
    let mut at_live = Prober::default();
    let mut at_clean = Prober::default();
    let before = consumers(&mut at_live, &live, queue).await?;
    let worker = supervise::start(guardian, &prepared, &log, false)
        .await
        .map_err(|error| error.to_string())?;
    let began = Instant::now();
    loop {
        if consumers(&mut at_live, &live, queue).await? > before {
            let _ = worker.stop().await;
            return Err(format!(
                "a consumer came to the live `{queue}` while the fresh worker started: it does not take the broker from {}, or another worker was started. It was stopped at once; what it had taken goes back to the queue",
                names(replaced)
            ));
        }
        if consumers(&mut at_clean, &clean, queue).await? > 0 {
            let _ = live.close(200, "done".into()).await;
            let _ = clean.close(200, "done".into()).await;
            return Ok((worker, room));
        }
        if let Some(exit) = worker.exit() {
            return Err(format!(
                "the fresh worker ended before it consumed ({}): {}",
                crate::timeline::exit_words(exit.code),
                last_words(config, &log)
            ));
        }
        if began.elapsed() > READY_WITHIN {
            return Err(format!(
                "the fresh worker did not consume `{queue}` of the empty vhost within {} s: {}",
                READY_WITHIN.as_secs(),
                last_words(config, &log)
            ));
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn consumers(prober: &mut Prober, connection: &lapin::Connection, queue: &str) -> Result<u64, String> {
    match prober.look(connection, queue).await {
        Ok(counts) => Ok(counts.map_or(0, |(_, consumers)| consumers)),
        Err(refused) => Err(refused.reason()),
    }
}

fn names(replaced: &[(String, String)]) -> String {
    let names: Vec<&str> = replaced.iter().map(|(name, _)| name.as_str()).collect();
    names.join(", ")
}

/// The end of what it printed, without secrets.
fn last_words(config: &Config, log: &std::path::Path) -> String {
    let end = crate::guardian::last_words(log, 2);
    let end = crate::vantage::scrubber(config, false).text(&end);
    end.chars().take(400).collect()
}

/// What a program of this section is started with, as text.
fn environment(program: &Program) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| program.env.iter().all(|(known, _)| known != name))
        .collect();
    found.extend(
        program
            .env
            .iter()
            .map(|(name, value)| (name.clone(), value.expose_secret().to_owned())),
    );
    found
}

/// The variables that lead to the live vhost, leading to the other one instead.
fn replaced(environment: &[(String, String)], broker: &Broker, vhost: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (name, value) in environment
        .iter()
        .filter(|(name, _)| !name.starts_with("TASKDIAG_"))
    {
        // Several brokers may be named, one after the other.
        let urls: Vec<&str> = value.split(';').collect();
        if urls.iter().any(|url| leads_to(url, broker)) {
            let urls: Option<Vec<String>> = urls.iter().map(|url| with_vhost(url, vhost)).collect();
            found.extend(urls.map(|urls| (name.clone(), urls.join(";"))));
        } else if name.to_uppercase().contains("VHOST") && *value == broker.vhost {
            found.push((name.clone(), vhost.to_owned()));
        }
    }
    found
}

/// Whether an AMQP URL means the broker and the vhost that are watched.
fn leads_to(url: &str, broker: &Broker) -> bool {
    if !matches!(url.split("://").next(), Some("amqp" | "amqps")) {
        return false;
    }
    let url = SecretUrl::from_text(url.trim());
    let host = |host: String| match host.as_str() {
        "127.0.0.1" | "::1" => "localhost".to_owned(),
        _ => host.to_lowercase(),
    };
    host(url.host()) == host(broker.amqp.host())
        && url.port() == broker.amqp.port()
        && url.vhost() == broker.vhost
}

fn with_vhost(url: &str, vhost: &str) -> Option<String> {
    let mut url = Url::parse(url.trim()).ok()?;
    url.set_path(&format!("/{}", segment(vhost)));
    Some(url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(url: &str) -> Broker {
        let text = format!("[broker]\namqp_url = \"{url}\"");
        match Config::from_text(&text) {
            Ok(config) => config.broker,
            Err(error) => panic!("{error}"),
        }
    }

    fn variables(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn only_what_leads_to_the_live_vhost_is_replaced() {
        let environment = variables(&[
            ("RABBITMQ_URL", "amqp://app:p%40ss@127.0.0.1/jobs?heartbeat=5"),
            ("OTHER_URL", "amqp://app:p@elsewhere/jobs"),
            ("OTHER_VHOST_URL", "amqp://app:p@localhost:5672/other"),
            ("CLUSTER", "amqp://a:b@localhost/jobs;amqp://a:b@second/jobs"),
            ("RABBITMQ_VHOST", "jobs"),
            ("SOME_VHOST", "others"),
            ("DATABASE_URL", "postgres://localhost/jobs"),
            ("TASKDIAG_BROKER_AMQP_URL", "amqp://localhost/jobs"),
        ]);
        let found = replaced(&environment, &broker("amqp://me:x@localhost:5672/jobs"), "new");
        assert_eq!(
            found,
            variables(&[
                ("RABBITMQ_URL", "amqp://app:p%40ss@127.0.0.1/new?heartbeat=5"),
                ("CLUSTER", "amqp://a:b@localhost/new;amqp://a:b@second/new"),
                ("RABBITMQ_VHOST", "new"),
            ])
        );
    }

    #[test]
    fn the_default_vhost_in_all_its_spellings() {
        for url in [
            "amqp://localhost",
            "amqp://localhost/",
            "amqp://localhost:5672/%2F",
            "amqp://guest@localhost//",
        ] {
            let found = replaced(&variables(&[("U", url)]), &broker("amqp://localhost"), "new");
            assert_eq!(found.len(), 1, "{url}");
        }
    }
}
