//! The services of `fixtures/lab`, and how tests talk to them and wait.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{LazyLock, OnceLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

/// How long anything we start may take until it is seen to be ready.
const PATIENCE: Duration = Duration::from_secs(90);

/// What `fixtures/lab` prints: addresses, credentials and paths.
pub struct Lab(BTreeMap<String, String>);

impl Lab {
    /// Brings the services up, once for this process.
    pub fn get() -> &'static Lab {
        static LAB: OnceLock<Result<Lab, String>> = OnceLock::new();
        match LAB.get_or_init(Lab::up) {
            Ok(lab) => lab,
            Err(said) => panic!("the lab cannot start, so this test cannot run:\n{said}"),
        }
    }

    fn up() -> Result<Lab, String> {
        let script = repository().join("fixtures/lab");
        let output = Command::new(&script)
            .args(["up", "--services"])
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{}: {error}", script.display()))?;
        let stdout = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            return Err(format!(
                "{} up --services: {}\n{stdout}{stderr}",
                script.display(),
                output.status
            ));
        }
        let values = stdout
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        let lab = Lab(values);
        lab.sweep();
        Ok(lab)
    }

    pub fn value(&self, key: &str) -> &str {
        self.0
            .get(key)
            .unwrap_or_else(|| panic!("fixtures/lab prints no {key}"))
    }

    pub fn amqp(&self) -> String {
        format!("127.0.0.1:{}", self.value("LAB_AMQP_PORT"))
    }

    pub fn management(&self) -> String {
        format!("127.0.0.1:{}", self.value("LAB_MGMT_PORT"))
    }

    pub fn postgres(&self) -> String {
        format!("127.0.0.1:{}", self.value("LAB_PG_PORT"))
    }

    /// One request to the management API as its administrator; panics unless it succeeds.
    pub fn manage(&self, method: &str, path: &str, body: Option<Json>) -> Json {
        let (status, answer) = self.ask(method, path, body);
        assert!(status < 300, "{method} /api/{path}: {status} {answer}");
        answer
    }

    /// One request to the management API as its administrator: status and answer.
    pub fn ask(&self, method: &str, path: &str, body: Option<Json>) -> (u16, Json) {
        self.broker().ask(method, path, body)
    }

    pub fn broker(&self) -> Broker {
        Broker {
            amqp: self.amqp(),
            management: self.management(),
        }
    }

    pub async fn connect(&self, database: &str) -> PgConnection {
        let url = format!("postgres://lab:lab@{}/{database}", self.postgres());
        PgConnection::connect(&url).await.expect("PostgreSQL accepts us")
    }

    /// Removes what test processes that were killed have left behind.
    fn sweep(&self) {
        let is_left = |name: &str| {
            let pid = name.strip_prefix("live-").and_then(|rest| rest.split('-').next());
            pid.is_some_and(|pid| pid.parse::<u32>().is_ok() && !Path::new("/proc").join(pid).exists())
        };
        let vhosts = self.manage("GET", "vhosts?columns=name", None);
        for vhost in vhosts.as_array().into_iter().flatten() {
            if let Some(name) = vhost["name"].as_str().filter(|name| is_left(name)) {
                self.ask("DELETE", &format!("vhosts/{name}"), None);
            }
        }
        run(async {
            let mut connection = self.connect("postgres").await;
            let names: Vec<String> = sqlx::query_scalar("SELECT datname::text FROM pg_database")
                .fetch_all(&mut connection)
                .await
                .expect("list of databases");
            for name in names.iter().filter(|name| is_left(name)) {
                let drop = format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)");
                // Another test process may be doing the same.
                let _ = connection.execute(AssertSqlSafe(drop)).await;
            }
            let names: Vec<String> = sqlx::query_scalar("SELECT rolname::text FROM pg_roles")
                .fetch_all(&mut connection)
                .await
                .expect("list of roles");
            for name in names.iter().filter(|name| is_left(name)) {
                let _ = connection
                    .execute(AssertSqlSafe(format!("DROP ROLE IF EXISTS \"{name}\"")))
                    .await;
            }
        });
        for user in self
            .manage("GET", "users?columns=name", None)
            .as_array()
            .into_iter()
            .flatten()
        {
            if let Some(name) = user["name"].as_str().filter(|name| is_left(name)) {
                self.ask("DELETE", &format!("users/{name}"), None);
            }
        }
    }
}

/// Where one node of RabbitMQ listens: host and port.
#[derive(Clone)]
pub struct Broker {
    pub amqp: String,
    pub management: String,
}

impl Broker {
    /// One request to its management API as administrator: status and answer.
    pub fn ask(&self, method: &str, path: &str, body: Option<Json>) -> (u16, Json) {
        let url = format!("http://{}/api/{path}", self.management);
        let method = method.parse().expect("HTTP method");
        run(async {
            let mut request = client().request(method, url).basic_auth("lab", Some("lab"));
            if let Some(body) = body {
                request = request.json(&body);
            }
            let response = request.send().await.expect("the management API answers");
            let status = response.status().as_u16();
            let text = response.text().await.unwrap_or_default();
            (status, serde_json::from_str(&text).unwrap_or(Json::String(text)))
        })
    }

    /// The same; panics unless it succeeds. While a node of its cluster goes, it fails for a moment.
    pub fn manage(&self, method: &str, path: &str, body: Option<Json>) -> Json {
        let (mut status, mut answer) = self.ask(method, path, body.clone());
        for _ in 0..20 {
            if status < 500 {
                break;
            }
            sleep(Duration::from_millis(250));
            (status, answer) = self.ask(method, path, body.clone());
        }
        assert!(status < 300, "{method} /api/{path}: {status} {answer}");
        answer
    }
}

pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a tokio runtime")
});

/// Waits for a future; what it spawned or opened goes on in the background.
pub fn run<F: Future>(future: F) -> F::Output {
    RUNTIME.block_on(future)
}

pub fn client() -> &'static reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> =
        LazyLock::new(|| taskdiag::tls::http().build().expect("an HTTP client"));
    &CLIENT
}

/// Looks every 20 ms until it is true.
pub fn until(what: &str, mut is_true: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_true() {
        assert!(
            Instant::now() < deadline,
            "not within {} s: {what}",
            PATIENCE.as_secs()
        );
        sleep(Duration::from_millis(20));
    }
}

/// A port nobody listens on, below the range the kernel gives to outgoing connections.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 12_000 + ((std::process::id() % 500) as u16 * 16 + step) % 8_000;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

pub fn signal(name: &str, pid: impl std::fmt::Display) {
    let sent = Command::new("kill")
        .args([&format!("-{name}"), "--", &pid.to_string()])
        .stderr(Stdio::null())
        .status();
    assert!(sent.is_ok(), "kill cannot be run");
}
