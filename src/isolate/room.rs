//! An empty vhost with a worker that was started for it, alone with one message.
//!
//! The worker is the configured one with the broker's URL replaced in its environment. Its code may
//! take the broker from somewhere else, and would then take live messages of others. So it starts
//! behind a gate ([`Gate`]) that lets it come to the broker only through that URL, which also names
//! a user that may enter the empty vhost only. One that tries another way has shown that it cannot
//! be sent elsewhere, and has taken nothing.

use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use serde_json::json;
use url::Url;

use crate::config::{Broker, Config, LogSource, Program, SecretUrl};
use crate::guardian::{Gate, Guardian, NO_GATE, left_behind};
use crate::http::segment;
use crate::interrupt::interrupt;
use crate::rabbitmq::amqp::connect;
use crate::rabbitmq::declare::{Counts, Prober};
use crate::rabbitmq::management::Management;
use crate::supervise::{self, Started};

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

pub struct Room {
    /// The configuration of a run in it.
    pub config: Config,
    guardian: Guardian,
    worker: Started,
    variables: String,
}

/// The only way to a broker that the fresh worker has.
struct Way {
    /// Of the empty vhost, and of a user that may enter no other.
    name: String,
    password: String,
    /// Stands for the broker's port.
    door: u16,
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
        let way = Way {
            name: format!("{}{}", left_behind::VHOST, uuid::Uuid::new_v4().simple()),
            password: uuid::Uuid::new_v4().simple().to_string(),
            door: unused_port().map_err(|error| format!("no local port is free: {error}"))?,
        };
        let replaced = replaced(&environment(program), &config.broker, &way);
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
            opened = furnish(config, program, &guardian, &way, &replaced) => opened,
            () = interrupt() => Err("interrupted".into()),
        };
        match opened {
            Ok((worker, config)) => Ok(Self {
                config,
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
    pub fn disturbed(&self) -> Option<String> {
        let to = past_the_door(&self.worker)?;
        Some(format!(
            "the fresh worker also wanted to connect to {to}, and not by way of {}. It was not let through (it could have reached live messages there), so how it fared cannot be compared",
            self.variables
        ))
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
    way: &Way,
    replaced: &[(String, String)],
) -> Result<(Started, Config), String> {
    let name = way.name.as_str();
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
    let user = json!({ "password": way.password, "tags": "" });
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
    let mut room = config.clone();
    let mut url = Url::parse(config.broker.amqp.expose()).map_err(|_| "`broker.amqp_url` cannot be used")?;
    url.set_path(&format!("/{}", segment(name)));
    room.broker.amqp = SecretUrl::from_text(url.as_str());
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
    let gate = Gate {
        door: way.door,
        leads_to: config.broker.amqp.port(),
        shut: amqp_ports(&management, &config.broker).await,
    };
    let prepared = supervise::prepare(program, &extra)
        .map_err(|error| error.to_string())?
        .behind(gate);
    let live = connect(&config.broker, "isolate")
        .await
        .map_err(|blindness| blindness.reason)?;
    let clean = connect(&room.broker, "isolate")
        .await
        .map_err(|blindness| blindness.reason)?;
    let queue = &config.broker.queue;
    let mut at_live = Prober::default();
    let mut at_clean = Prober::default();
    let (ready, before) = counts(&mut at_live, &live, queue).await?;
    let worker = supervise::start(guardian, &prepared, &log, false)
        .await
        .map_err(|error| not_started(&error.to_string()))?;
    let began = Instant::now();
    loop {
        if let Some(to) = past_the_door(&worker) {
            let _ = worker.kill().await;
            return Err(format!(
                "the fresh worker wanted to connect to {to}, and not by way of {}: it takes its broker from somewhere else (a file of settings, a default in the code, another variable). It was not let through, so it took nothing from the live `{queue}`. For this step the application must read the broker's URL from a variable",
                names(replaced)
            ));
        }
        if counts(&mut at_live, &live, queue).await?.1 > before {
            let _ = worker.kill().await;
            tokio::time::sleep(REQUEUED_WITHIN).await;
            let (left, _) = counts(&mut at_live, &live, queue).await?;
            return Err(another_came(queue, ready, left));
        }
        if counts(&mut at_clean, &clean, queue).await?.1 > 0 {
            let _ = live.close(200, "done".into()).await;
            let _ = clean.close(200, "done".into()).await;
            return Ok((worker, room));
        }
        if let Some(exit) = worker.exit() {
            return Err(format!(
                "the fresh worker ended before it consumed ({}): {}",
                crate::timeline::exit_words(exit.code),
                last_words(config, &log) + &launchers(&worker)
            ));
        }
        if began.elapsed() > READY_WITHIN {
            return Err(format!(
                "the fresh worker did not consume `{queue}` of the empty vhost within {} s: {}",
                READY_WITHIN.as_secs(),
                last_words(config, &log) + &launchers(&worker)
            ));
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Messages that are ready, and consumers.
async fn counts(
    prober: &mut Prober,
    connection: &lapin::Connection,
    queue: &str,
) -> Result<(u64, u64), String> {
    match prober.look(connection, queue).await {
        Ok(Counts::There { ready, consumers }) => Ok((ready, consumers)),
        Ok(Counts::Missing | Counts::Silent) => Ok((0, 0)),
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
fn past_the_door(worker: &Started) -> Option<String> {
    let turned = worker.turned();
    turned
        .into_iter()
        .find(|turned| !turned.launcher)
        .map(|turned| turned.to)
}

fn launchers(worker: &Started) -> String {
    let turned = worker.turned();
    match turned.iter().find(|turned| turned.launcher) {
        Some(turned) => format!(
            ". It was not let through to {}, which starts processes that could not be kept from the live queue",
            crate::timeline::scrub::printable(&turned.to)
        ),
        None => String::new(),
    }
}

fn not_started(error: &str) -> String {
    match error.find(NO_GATE) {
        Some(at) => format!(
            "{}, so it is not started: it might take messages of the live queue",
            &error[at..]
        ),
        None => error.to_owned(),
    }
}

/// It came past the gate, or it is somebody else's.
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

fn names(replaced: &[(String, String)]) -> String {
    let names: Vec<&str> = replaced.iter().map(|(name, _)| name.as_str()).collect();
    names.join(", ")
}

/// The end of what it printed, without secrets.
fn last_words(config: &Config, log: &std::path::Path) -> String {
    let end = crate::guardian::last_words(log, 2);
    let end = crate::scrubber::scrubber(config, false).text(&end);
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

/// The variables that lead to the live vhost, leading the other way instead.
fn replaced(environment: &[(String, String)], broker: &Broker, way: &Way) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (name, value) in environment
        .iter()
        .filter(|(name, _)| !name.starts_with("TASKDIAG_"))
    {
        // Several brokers may be named, one after the other.
        let urls: Vec<&str> = value.split(';').collect();
        if urls.iter().any(|url| leads_to(url, broker)) {
            let urls: Option<Vec<String>> = urls.iter().map(|url| led(url, broker, way)).collect();
            found.extend(urls.map(|urls| (name.clone(), urls.join(";"))));
        } else if *value == broker.vhost {
            found.extend(family(name, environment, broker, way));
        }
    }
    found
}

/// A vhost in a variable of its own, with its like for everything else that must lead elsewhere: a
/// worker that read the port, but neither vhost nor user, would go to the live vhost.
fn family(
    vhost: &str,
    environment: &[(String, String)],
    broker: &Broker,
    way: &Way,
) -> Vec<(String, String)> {
    let upper = vhost.to_uppercase();
    let Some(prefix) = ["VIRTUAL_HOST", "VHOST"]
        .iter()
        .find_map(|end| upper.strip_suffix(end))
    else {
        return Vec::new();
    };
    let named = |ends: &[&str], is_it: &dyn Fn(&str) -> bool| {
        environment.iter().find(|(name, value)| {
            let name = name.to_uppercase();
            name.strip_prefix(prefix).is_some_and(|end| ends.contains(&end)) && is_it(value)
        })
    };
    let port = named(&["PORT"], &|value| value.parse().ok() == Some(broker.amqp.port()));
    let user = named(&["USER", "USERNAME", "LOGIN"], &|_| true);
    let password = named(&["PASSWORD", "PASS", "PASSWD"], &|_| true);
    let (Some((port, _)), Some((user, _)), Some((password, _))) = (port, user, password) else {
        return Vec::new();
    };
    vec![
        (vhost.to_owned(), way.name.clone()),
        (port.clone(), way.door.to_string()),
        (user.clone(), way.name.clone()),
        (password.clone(), way.password.clone()),
    ]
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

/// The URL, leading the other way; `None` for one whose port the door does not stand for.
fn led(url: &str, broker: &Broker, way: &Way) -> Option<String> {
    if SecretUrl::from_text(url.trim()).port() != broker.amqp.port() {
        return None;
    }
    let mut url = Url::parse(url.trim()).ok()?;
    url.set_username(&way.name).ok()?;
    url.set_password(Some(&way.password)).ok()?;
    url.set_port(Some(way.door)).ok()?;
    url.set_path(&format!("/{}", segment(&way.name)));
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

    fn way() -> Way {
        Way {
            name: "new".into(),
            password: "pw".into(),
            door: 4000,
        }
    }

    #[test]
    fn only_what_leads_to_the_live_vhost_is_replaced() {
        let environment = variables(&[
            ("RABBITMQ_URL", "amqp://app:p%40ss@127.0.0.1/jobs?heartbeat=5"),
            ("OTHER_URL", "amqp://app:p@elsewhere/jobs"),
            ("OTHER_VHOST_URL", "amqp://app:p@localhost:5672/other"),
            ("CLUSTER", "amqp://a:b@localhost/jobs;amqp://a:b@second/jobs"),
            (
                "PORTS",
                "amqp://a:b@localhost/jobs;amqp://a:b@localhost:5673/jobs",
            ),
            ("DATABASE_URL", "postgres://localhost/jobs"),
            ("TASKDIAG_BROKER_AMQP_URL", "amqp://localhost/jobs"),
        ]);
        let found = replaced(&environment, &broker("amqp://me:x@localhost:5672/jobs"), &way());
        assert_eq!(
            found,
            variables(&[
                ("RABBITMQ_URL", "amqp://new:pw@127.0.0.1:4000/new?heartbeat=5"),
                (
                    "CLUSTER",
                    "amqp://new:pw@localhost:4000/new;amqp://new:pw@second:4000/new"
                ),
            ])
        );
    }

    /// A worker that reads only some of them would come to the live vhost by the others.
    #[test]
    fn a_vhost_of_its_own_needs_its_like() {
        let all = [
            ("RABBITMQ_VHOST", "jobs"),
            ("RABBITMQ_PORT", "5672"),
            ("RABBITMQ_USER", "app"),
            ("RABBITMQ_PASS", "secret"),
        ];
        let others = [
            ("DB_PORT", "5672"),
            ("DB_USER", "app"),
            ("DB_PASSWORD", "x"),
            ("SOME_VHOST", "others"),
        ];
        let found = |all: &[(&str, &str)]| {
            let environment = variables(&[all, &others].concat());
            replaced(&environment, &broker("amqp://me:x@localhost:5672/jobs"), &way())
        };
        assert_eq!(
            found(&all),
            variables(&[
                ("RABBITMQ_VHOST", "new"),
                ("RABBITMQ_PORT", "4000"),
                ("RABBITMQ_USER", "new"),
                ("RABBITMQ_PASS", "pw"),
            ])
        );
        for missing in 1..all.len() {
            let mut some = all.to_vec();
            some.remove(missing);
            assert_eq!(found(&some), [], "without {}", all[missing].0);
        }
        let mut elsewhere = all;
        elsewhere[1].1 = "5673";
        assert_eq!(found(&elsewhere), []);
    }

    #[test]
    fn the_default_vhost_in_all_its_spellings() {
        for url in [
            "amqp://localhost",
            "amqp://localhost/",
            "amqp://localhost:5672/%2F",
            "amqp://guest@localhost//",
        ] {
            let found = replaced(&variables(&[("U", url)]), &broker("amqp://localhost"), &way());
            assert_eq!(found.len(), 1, "{url}");
        }
    }

    /// What is said of messages is what was counted.
    #[test]
    fn what_was_taken_is_said() {
        assert!(another_came("q", 204, 42).contains("162 were taken"));
        assert!(another_came("q", 4, 4).contains("As many messages are ready there as before (4)"));
    }
}
