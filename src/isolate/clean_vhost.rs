//! An empty vhost with a worker that was started for it, alone with one message.
//!
//! The worker is the configured one with the broker's URL replaced in its environment. Its code may
//! take the broker from somewhere else, and would then take live messages of others. So it starts
//! behind a [`ConnectFilter`] that lets it come to the broker only through that URL, which also names
//! a user that may enter the empty vhost only. One that tries another way has shown that it cannot
//! be sent elsewhere, and has taken nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;
use url::Url;

use super::broker_route::{BrokerRoute, environment, names, replaced};
use crate::config::{Broker, Config, LogSource, Program, SecretUrl};
use crate::guardian::{ConnectFilter, Guardian, NO_FILTER, left_behind};
use crate::http::segment;
use crate::interrupt::interrupt;
use crate::rabbitmq::amqp::connect;
use crate::rabbitmq::declare::{Counts, Prober};
use crate::rabbitmq::management::Management;
use crate::supervise::{self, Started};
use crate::timeline::scrub::printable_line;
use crate::vantage::process::sockets::held_below;

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

/// A worker that is sent away needs so long until its messages are in the queue again.
const REQUEUED_WITHIN: Duration = Duration::from_secs(1);

pub struct CleanVhost {
    /// The configuration of a run in it.
    pub config: Config,
    live: Broker,
    guardian: Guardian,
    worker: Started,
    variables: String,
}

impl CleanVhost {
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
        let route = BrokerRoute {
            name: format!("{}{}", left_behind::VHOST, uuid::Uuid::new_v4().simple()),
            password: uuid::Uuid::new_v4().simple().to_string(),
            alias_port: unused_port().map_err(|error| format!("no local port is free: {error}"))?,
        };
        let replaced = replaced(&environment(program), &config.broker, &route);
        if replaced.is_empty() {
            return Err(format!(
                "no variable of `worker.env` or of this shell holds the broker's URL with vhost \"{}\" (nor do a …_VHOST, a …_PORT, a …_USER and a …_PASSWORD together), so the worker cannot be sent to another: add env = {{ RABBITMQ_URL = \"${{RABBITMQ_URL}}\" }} to [worker], with the variable that the application reads",
                config.broker.vhost
            ));
        }
        let guardian = Guardian::launch()
            .await
            .map_err(|error| format!("the guardian that ends everything again cannot be started: {error}"))?;
        let opened = tokio::select! {
            opened = open(config, program, &guardian, &route, &replaced) => opened,
            () = interrupt() => Err("interrupted".into()),
        };
        match opened {
            Ok((worker, clean)) => Ok(Self {
                config: clean,
                live: config.broker.clone(),
                guardian,
                worker,
                variables: names(&replaced),
            }),
            Err(why) => {
                complaints.extend(guardian.end().await);
                Err(why)
            }
        }
    }

    /// Why what happened in it may not be what would happen elsewhere.
    pub async fn disturbed(&self) -> Option<String> {
        if let Some(to) = blocked_connection(&self.worker) {
            return Some(format!(
                "the fresh worker also wanted to connect to {to}, and not by way of {}. It was not let through (it could have reached live messages there), so how it fared cannot be compared",
                self.variables
            ));
        }
        let management = Management::new(&self.live).ok()?;
        let connections = management.connections(&self.live.vhost).await;
        let held = held_below(self.worker.pid, &connections);
        held.first().map(|name| {
            format!(
                "the fresh worker holds a connection to the live vhost ({}), and not by way of {}: it came past the filter, or another process handed it over. Whether it took or sent anything there cannot be told, so how it fared cannot be compared",
                printable_line(name),
                self.variables
            )
        })
    }

    /// Ends the worker and deletes the vhost; returns what could not be undone.
    pub async fn close(self) -> Vec<String> {
        let _ = self.worker.stop().await;
        self.guardian.end().await
    }
}

/// An empty vhost, with a user of the same name that may enter no other.
async fn provision(config: &Config, guardian: &Guardian, route: &BrokerRoute) -> Result<Management, String> {
    let name = route.name.as_str();
    let management = Management::new(&config.broker).map_err(|blindness| blindness.reason)?;
    // Its user has the same name.
    guardian.delete_vhost(&config.broker, name).await?;
    let refused = |what: &str, reason: String| {
        format!("{what} through the management API: {reason}; it takes a user with the administrator tag")
    };
    let description = json!({ "description": left_behind::description() });
    management
        .put(&format!("vhosts/{}", segment(name)), &description)
        .await
        .map_err(|blindness| refused("an empty vhost cannot be made", blindness.reason))?;
    let user = json!({ "password": route.password, "tags": "" });
    management
        .put(&format!("users/{}", segment(name)), &user)
        .await
        .map_err(|blindness| refused("a user for the empty vhost cannot be made", blindness.reason))?;
    for user in [config.broker.amqp.username(), name.to_owned()] {
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
    Ok(management)
}

/// The configuration of a run in the vhost, whose worker writes this log.
fn configuration(config: &Config, route: &BrokerRoute, log: &Path) -> Result<Config, String> {
    let mut clean = config.clone();
    let mut url = Url::parse(config.broker.amqp.expose()).map_err(|_| "`broker.amqp_url` cannot be used")?;
    url.set_path(&format!("/{}", segment(&route.name)));
    clean.broker.amqp = SecretUrl::from_text(url.as_str());
    clean.broker.vhost = route.name.clone();
    clean.worker.log = LogSource {
        files: vec![log.to_owned()],
        command: None,
        from_now_on: true,
    };
    // The live worker is started by the same command: it has no part in this.
    clean.worker.command = Vec::new();
    Ok(clean)
}

/// Makes the vhost and starts the worker in it. Returns it once it consumes.
async fn open(
    config: &Config,
    program: &Program,
    guardian: &Guardian,
    route: &BrokerRoute,
    replaced: &[(String, String)],
) -> Result<(Started, Config), String> {
    let management = provision(config, guardian, route).await?;
    let folder = guardian.folder(&std::env::temp_dir()).await?;
    let log = folder.join("worker.log");
    std::fs::write(&log, "").map_err(|error| format!("cannot write {}: {error}", log.display()))?;
    let clean = configuration(config, route, &log)?;
    let extra: Vec<(&str, &str)> = replaced
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let filter = ConnectFilter {
        alias_port: route.alias_port,
        broker_port: config.broker.amqp.port(),
        blocked_ports: amqp_ports(&management, &config.broker).await,
    };
    let prepared = supervise::prepare(program, &extra)
        .map_err(|error| error.to_string())?
        .behind(filter);
    let mut queues = Queues::connect(config, &clean).await?;
    let before = queues.live().await?;
    let worker = supervise::start(guardian, &prepared, &log, false)
        .await
        .map_err(|error| not_started(&error.to_string()))?;
    until_it_consumes(config, &worker, &log, &mut queues, before, replaced).await?;
    queues.close().await;
    Ok((worker, clean))
}

/// Waits until the worker consumes in the empty vhost and nowhere else; kills one that tries to.
async fn until_it_consumes(
    config: &Config,
    worker: &Started,
    log: &Path,
    queues: &mut Queues,
    before: Depth,
    replaced: &[(String, String)],
) -> Result<(), String> {
    let queue = &config.broker.queue;
    let began = Instant::now();
    loop {
        if let Some(to) = blocked_connection(worker) {
            let _ = worker.kill().await;
            return Err(format!(
                "the fresh worker wanted to connect to {to}, and not by way of {}: it takes its broker from somewhere else (a file of settings, a default in the code, another variable). It was not let through, so it took nothing from the live `{queue}`. For this step the application must read the broker's URL from a variable",
                names(replaced)
            ));
        }
        if queues.live().await?.consumers > before.consumers {
            let _ = worker.kill().await;
            tokio::time::sleep(REQUEUED_WITHIN).await;
            let left = queues.live().await?;
            return Err(another_came(queue, before.ready, left.ready));
        }
        if queues.clean().await?.consumers > 0 {
            return Ok(());
        }
        if let Some(exit) = worker.exit() {
            return Err(format!(
                "the fresh worker ended before it consumed ({}): {}",
                crate::timeline::exit_words(exit.code),
                last_words(config, log) + &launchers(worker)
            ));
        }
        if began.elapsed() > READY_WITHIN {
            return Err(format!(
                "the fresh worker did not consume `{queue}` of the empty vhost within {} s: {}",
                READY_WITHIN.as_secs(),
                last_words(config, log) + &launchers(worker)
            ));
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Messages that are ready, and consumers.
#[derive(Debug, Clone, Copy, Default)]
struct Depth {
    ready: u64,
    consumers: u64,
}

/// The queue of that name in the live vhost and in the empty one.
struct Queues {
    queue: String,
    live: (lapin::Connection, Prober),
    clean: (lapin::Connection, Prober),
}

impl Queues {
    async fn connect(live: &Config, clean: &Config) -> Result<Self, String> {
        let to = async |config: &Config| match connect(&config.broker, "isolate").await {
            Ok(connection) => Ok((connection, Prober::default())),
            Err(blindness) => Err(blindness.reason),
        };
        Ok(Self {
            queue: live.broker.queue.clone(),
            live: to(live).await?,
            clean: to(clean).await?,
        })
    }

    async fn live(&mut self) -> Result<Depth, String> {
        depth(&mut self.live.1, &self.live.0, &self.queue).await
    }

    async fn clean(&mut self) -> Result<Depth, String> {
        depth(&mut self.clean.1, &self.clean.0, &self.queue).await
    }

    async fn close(self) {
        let _ = self.live.0.close(200, "done".into()).await;
        let _ = self.clean.0.close(200, "done".into()).await;
    }
}

async fn depth(prober: &mut Prober, connection: &lapin::Connection, queue: &str) -> Result<Depth, String> {
    match prober.look(connection, queue).await {
        Ok(Counts::There { ready, consumers }) => Ok(Depth { ready, consumers }),
        Ok(Counts::Missing | Counts::Silent) => Ok(Depth::default()),
        Ok(Counts::Down(why)) => Err(format!("`{queue}` is down: {why}")),
        Err(refused) => Err(refused.reason()),
    }
}

/// A number that no service of this machine listens on.
fn unused_port() -> std::io::Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    Ok(listener.local_addr()?.port())
}

/// Where AMQP is spoken: what is configured, what is usual, and what the broker says of itself. A
/// container's ports may be published as others; the usual ones are those inside.
async fn amqp_ports(management: &Management, broker: &Broker) -> Vec<u16> {
    let mut ports = vec![broker.amqp.port(), 5671, 5672];
    let overview = management
        .get("overview?columns=listeners")
        .await
        .unwrap_or_default();
    let listeners = overview["listeners"].as_array().into_iter().flatten();
    ports.extend(
        listeners
            .filter(|listener| {
                listener["protocol"]
                    .as_str()
                    .is_some_and(|name| name.starts_with("amqp"))
            })
            .filter_map(|listener| u16::try_from(listener["port"].as_u64()?).ok()),
    );
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// A broker that it tried to reach on another way than the one it was given.
fn blocked_connection(worker: &Started) -> Option<String> {
    let blocked = worker.blocked();
    blocked
        .into_iter()
        .find(|blocked| !blocked.launcher)
        .map(|blocked| blocked.to)
}

fn launchers(worker: &Started) -> String {
    let blocked = worker.blocked();
    match blocked.iter().find(|blocked| blocked.launcher) {
        Some(blocked) => format!(
            ". It was not let through to {}, which starts processes that could not be kept from the live queue",
            crate::timeline::scrub::printable(&blocked.to)
        ),
        None => String::new(),
    }
}

fn not_started(error: &str) -> String {
    match error.find(NO_FILTER) {
        Some(at) => format!(
            "{}, so it is not started: it might take messages of the live queue",
            &error[at..]
        ),
        None => error.to_owned(),
    }
}

/// It came past the filter, or it is somebody else's.
fn another_came(queue: &str, before: u64, left: u64) -> String {
    let taken = match before.saturating_sub(left) {
        0 => format!("As many messages are ready there as before ({left})"),
        taken => format!(
            "{before} messages were ready there before, {left} are now: {taken} were taken meanwhile, by it or by another"
        ),
    };
    format!(
        "a consumer came to the live `{queue}` while the fresh worker started. The fresh one was not let through to any known port of the broker, so this is most likely another worker; the fresh one was killed all the same. {taken}"
    )
}

/// The end of what it printed, without secrets.
fn last_words(config: &Config, log: &Path) -> String {
    let end = crate::guardian::last_words(log, 2);
    let end = crate::scrubber::scrubber(config, false).text(&end);
    end.chars().take(400).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_taken_is_said() {
        assert!(another_came("q", 204, 42).contains("162 were taken"));
        assert!(another_came("q", 4, 4).contains("As many messages are ready there as before (4)"));
    }
}
