//! A private piece of the real world for one test: a vhost, a database, the sample system in them,
//! and taskdiag looking at it.
//!
//! Nothing is shared between tests but the RabbitMQ and the PostgreSQL of `fixtures/lab`, so they
//! run side by side. Whatever a test starts ends with it, also when it fails or is killed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::future::Future;
use std::io::Write as _;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Condvar, LazyLock, Mutex, OnceLock, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use serde_json::{Value as Json, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};
use toml::{Table, Value as Toml};

/// Stacks that exist at once: Python starts slowly, and several at once on few cores more so.
const STACKS_AT_ONCE: usize = 4;
/// How long anything we start may take until it is seen to be ready.
const PATIENCE: Duration = Duration::from_secs(90);
/// A diagnosis that takes longer than its own time limit and this is hanging.
const GRACE: Duration = Duration::from_secs(30);

// ---- the lab ----

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
        let url = format!("http://{}/api/{path}", self.management());
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

fn client() -> &'static reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(reqwest::Client::new);
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

// ---- places for stacks ----

struct Place;

static TAKEN: Mutex<usize> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

impl Place {
    fn take() -> Self {
        let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        while *taken >= STACKS_AT_ONCE {
            taken = FREED.wait(taken).unwrap_or_else(PoisonError::into_inner);
        }
        *taken += 1;
        Self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        FREED.notify_one();
    }
}

// ---- processes ----

/// Kills the process groups it was told of when its pipe closes: at the end of the test, and also
/// when the test process is killed.
struct Reaper {
    shell: Child,
}

impl Reaper {
    fn new() -> Self {
        let script = "groups=; while read -r group; do groups=\"$groups $group\"; done; \
                      for group in $groups; do kill -KILL -- \"-$group\" 2>/dev/null; done; :";
        let shell = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("sh starts");
        Self { shell }
    }

    fn watch(&mut self, group: u32) {
        let pipe = self.shell.stdin.as_mut().expect("its pipe is open");
        writeln!(pipe, "{group}")
            .and_then(|()| pipe.flush())
            .expect("the reaper listens");
    }

    fn reap(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// Which Dramatiq the sample system runs with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dramatiq {
    Two,
    One,
}

/// How to start a worker.
#[derive(Clone)]
pub struct Worker {
    arguments: Vec<String>,
    module: String,
    folder: Option<PathBuf>,
    env: Vec<(String, String)>,
    log: String,
    queue: String,
    consumers: u64,
}

/// A worker of the sample system without any fault, as the configuration describes it.
pub fn healthy() -> Worker {
    Worker {
        arguments: ["-v", "--processes", "1", "--threads", "2"]
            .map(String::from)
            .to_vec(),
        module: "ops_core.tasks.worker".into(),
        folder: None,
        env: Vec::new(),
        log: "worker.log".into(),
        queue: "default".into(),
        consumers: 1,
    }
}

/// A worker with one of the faults that `fixtures/lab faults` lists.
pub fn fault(name: &str) -> Worker {
    healthy().env("OPS_WORKER_FAULT", name)
}

impl Worker {
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Without `-v`: nothing below INFO is logged, so success leaves no line.
    pub fn quiet(mut self) -> Self {
        self.arguments.retain(|argument| argument != "-v");
        self
    }

    pub fn processes(mut self, count: u64) -> Self {
        let at = self
            .arguments
            .iter()
            .position(|argument| argument == "--processes")
            .expect("--processes");
        self.arguments[at + 1] = count.to_string();
        self.consumers = count;
        self
    }

    /// Everything before the module, instead of the usual.
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments = arguments.iter().map(ToString::to_string).collect();
        self
    }

    pub fn module(mut self, folder: &Path, module: &str) -> Self {
        self.folder = Some(folder.to_owned());
        self.module = module.into();
        self
    }

    /// A log file other than the one that taskdiag is told of.
    pub fn log(mut self, name: &str) -> Self {
        self.log = name.into();
        self
    }

    /// The queue whose consumers show that it is ready.
    pub fn consumes(mut self, queue: &str) -> Self {
        self.queue = queue.into();
        self
    }

    /// Not expected to consume anything.
    pub fn without_waiting(mut self) -> Self {
        self.consumers = 0;
        self
    }
}

// ---- the stack ----

pub struct Stack {
    name: String,
    pub dir: PathBuf,
    /// The vhost and the database have the same name.
    pub id: String,
    dramatiq: Dramatiq,
    config: Table,
    services: Vec<(String, Child)>,
    reaper: Reaper,
    amqp: Option<lapin::Connection>,
    _place: Place,
}

impl Stack {
    /// An empty vhost and database, and a configuration for the sample system in them.
    pub fn new(name: &str) -> Self {
        Self::with(name, Dramatiq::Two)
    }

    pub fn with(name: &str, dramatiq: Dramatiq) -> Self {
        let mut stack = Self::bare(name, dramatiq);
        stack.configure_ops_core();
        stack
    }

    /// The same without any application configured.
    pub fn bare(name: &str, dramatiq: Dramatiq) -> Self {
        let place = Place::take();
        let lab = Lab::get();
        static STACKS: AtomicU16 = AtomicU16::new(0);
        let number = STACKS.fetch_add(1, Ordering::Relaxed);
        let id = format!("live-{}-{number}-{name}", std::process::id());
        let dir = std::env::temp_dir().join(format!("taskdiag-{id}"));
        fs::create_dir_all(&dir).expect("a folder for the test");
        lab.manage(
            "PUT",
            &format!("vhosts/{id}"),
            Some(json!({ "description": format!("live test {name}"), "tags": "live,test" })),
        );
        let everything = json!({ "configure": ".*", "write": ".*", "read": ".*" });
        lab.manage("PUT", &format!("permissions/{id}/lab"), Some(everything));
        run(async {
            let mut connection = lab.connect("postgres").await;
            let create = format!("CREATE DATABASE \"{id}\"");
            connection
                .execute(AssertSqlSafe(create))
                .await
                .expect("CREATE DATABASE");
        });
        let mut stack = Self {
            name: name.to_owned(),
            dir,
            id,
            dramatiq,
            config: Table::new(),
            services: Vec::new(),
            reaper: Reaper::new(),
            amqp: None,
            _place: place,
        };
        stack.set("broker.amqp_url", stack.amqp_url("lab:lab"));
        stack.set(
            "broker.management_url",
            format!("http://lab:lab@{}", lab.management()),
        );
        stack.set("database.url", stack.database_url("lab:lab"));
        stack.set("timing.silence", "2s");
        stack.set("timing.timeout", "20s");
        stack
    }

    fn configure_ops_core(&mut self) {
        let keys = r#"
            [api]
            submit_path = "/api/v1/tasks/"
            body = { task_type = "agent_task", input_data = { prompt = "why did it never run" } }
            task_id_pointer = "/task_id"
            status_path = "/api/v1/tasks/{task_id}"
            status_pointer = "/status"
            log = ["api.log"]

            [broker]
            queue = "default"
            actor = "execute_agent_task_actor"

            [database]
            table = "task"
            id_column = "task_id"
            status_column = "status"
            running = ["RUNNING"]
            succeeded = ["COMPLETED"]
            failed = ["FAILED"]
            error_column = "error_message"

            [worker]
            log = ["worker.log"]
            entry_pattern = "ACTOR ENTRY POINT REACHED"
            command = ["dramatiq", "-v", "--processes", "1", "--threads", "2", "ops_core.tasks.worker"]
        "#;
        self.set_all(keys);
        self.set("api.url", format!("http://127.0.0.1:{}", free_port()));
    }

    // -- configuration

    /// Sets one key of taskdiag.toml, `timing.silence` for example.
    pub fn set(&mut self, key: &str, value: impl Into<Toml>) {
        let (section, name) = key.split_once('.').expect("section.key");
        let section = self
            .config
            .entry(section)
            .or_insert_with(|| Toml::Table(Table::new()));
        section
            .as_table_mut()
            .expect("a section")
            .insert(name.into(), value.into());
    }

    /// Sets all keys of some TOML text.
    pub fn set_all(&mut self, text: &str) {
        let table: Table = text.parse().expect("TOML");
        for (section, keys) in table {
            for (key, value) in keys.as_table().expect("a section").clone() {
                self.set(&format!("{section}.{key}"), value);
            }
        }
    }

    /// Removes a key or a whole section.
    pub fn unset(&mut self, key: &str) {
        match key.split_once('.') {
            None => drop(self.config.remove(key)),
            Some((section, name)) => {
                if let Some(section) = self.config.get_mut(section).and_then(Toml::as_table_mut) {
                    section.remove(name);
                }
            }
        }
    }

    pub fn write_config(&self) -> PathBuf {
        let path = self.dir.join("taskdiag.toml");
        fs::write(&path, self.config.to_string()).expect("taskdiag.toml is written");
        path
    }

    pub fn amqp_url(&self, credentials: &str) -> String {
        format!("amqp://{credentials}@{}/{}", Lab::get().amqp(), self.id)
    }

    pub fn database_url(&self, credentials: &str) -> String {
        format!("postgres://{credentials}@{}/{}", Lab::get().postgres(), self.id)
    }

    fn api_url(&self) -> String {
        let url = self.config["api"].get("url").and_then(Toml::as_str);
        url.expect("api.url is configured").to_owned()
    }

    fn duration(&self, key: &str) -> Duration {
        let text = self.config["timing"]
            .get(key)
            .and_then(Toml::as_str)
            .expect("timing");
        let seconds = text.strip_suffix('s').expect("tests write durations in seconds");
        Duration::from_secs_f64(seconds.parse().expect("seconds"))
    }

    // -- processes

    fn python(&self, program: &str) -> Command {
        let lab = Lab::get();
        let venv = Path::new(lab.value(match self.dramatiq {
            Dramatiq::Two => "LAB_VENV",
            Dramatiq::One => "LAB_VENV_1",
        }));
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(venv.join("bin").join(program));
        command
            .env("PATH", format!("{}:{path}", venv.join("bin").display()))
            .env("PYTHONUNBUFFERED", "1")
            // Nothing is written into the repository.
            .env(
                "PYTHONPYCACHEPREFIX",
                Path::new(lab.value("LAB_DIR")).join("pycache"),
            )
            .env("DRAMATIQ_TESTING", "")
            .env("DATABASE_URL", self.database_url("lab:lab"))
            .env("RABBITMQ_URL", self.amqp_url("lab:lab"))
            .current_dir(lab.value("LAB_OPS_CORE"));
        for (name, _) in
            std::env::vars().filter(|(name, _)| name.starts_with("OPS_") || name.starts_with("BILLING_"))
        {
            command.env_remove(name);
        }
        command
    }

    /// Starts a command in a process group of its own, its output appended to a file in our folder.
    fn start(&mut self, name: &str, log: &str, mut command: Command) -> u32 {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.join(log))
            .expect("a log file");
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log file"))
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{:?}: {error}", command.get_program()));
        let pid = child.id();
        self.reaper.watch(pid);
        self.services.push((name.to_owned(), child));
        pid
    }

    /// Starts the sample API and waits until it answers.
    pub fn api(&mut self, env: &[(&str, &str)]) -> u32 {
        let url = self.api_url();
        let port = url.rsplit(':').next().expect("a port");
        let mut command = self.python("uvicorn");
        command.args(["ops_core.main:app", "--host", "127.0.0.1", "--port", port]);
        command.envs(env.iter().copied());
        self.listening("api", command, &format!("{url}/health"))
    }

    /// Starts a Python module that serves HTTP and waits until it answers.
    pub fn module_api(&mut self, folder: &Path, module: &str, env: &[(&str, &str)], health: &str) -> u32 {
        let url = self.api_url();
        let mut command = self.python("python");
        command
            .args(["-m", module, url.rsplit(':').next().expect("a port")])
            .current_dir(folder);
        command.envs(env.iter().copied());
        self.listening("api", command, &format!("{url}{health}"))
    }

    fn listening(&mut self, name: &str, command: Command, health: &str) -> u32 {
        let pid = self.start(name, "api.log", command);
        until("the API answers", || {
            assert!(
                self.ended(pid).is_none(),
                "the API ended:\n{}",
                self.read("api.log")
            );
            run(async {
                client()
                    .get(health)
                    .send()
                    .await
                    .is_ok_and(|answer| answer.status().is_success())
            })
        });
        pid
    }

    pub fn api_with_fault(&mut self, name: &str) -> u32 {
        self.api(&[("OPS_API_FAULT", name)])
    }

    /// Starts a worker and waits until it consumes, unless it is not meant to.
    pub fn worker(&mut self, worker: Worker) -> u32 {
        let mut command = self.python("dramatiq");
        command.args(&worker.arguments).arg(&worker.module);
        command.envs(worker.env.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &worker.folder {
            command.current_dir(folder);
        }
        let queues = [worker.queue.clone(), format!("{}.DQ", worker.queue)];
        let before: Vec<u64> = queues
            .iter()
            .map(|queue| self.depth(queue).map_or(0, |depth| depth.1))
            .collect();
        let pid = self.start("worker", &worker.log, command);
        if worker.consumers > 0 {
            for (queue, before) in queues.iter().zip(before) {
                until(&format!("the worker consumes {queue}"), || {
                    assert!(
                        self.ended(pid).is_none(),
                        "the worker ended:\n{}",
                        self.read(&worker.log)
                    );
                    self.depth(queue)
                        .is_some_and(|(_, consumers)| consumers >= before + worker.consumers)
                });
            }
        }
        pid
    }

    /// The pid of what was started last under this name: `api` or `worker`.
    pub fn pid_of(&self, name: &str) -> u32 {
        let found = self.services.iter().rev().find(|(known, _)| known == name);
        found.expect("it was started").1.id()
    }

    /// The exit status of something we started, once it has ended.
    pub fn ended(&mut self, pid: u32) -> Option<ExitStatus> {
        let (_, child) = self
            .services
            .iter_mut()
            .find(|(_, child)| child.id() == pid)
            .expect("we started it");
        child.try_wait().expect("its status")
    }

    pub fn wait_for_end(&mut self, pid: u32) -> ExitStatus {
        let mut status = None;
        until("the process ends", || {
            status = self.ended(pid);
            status.is_some()
        });
        status.expect("it ended")
    }

    /// Ends the whole process group at once.
    pub fn kill(&mut self, pid: u32) {
        signal("KILL", format!("-{pid}"));
        self.wait_for_end(pid);
    }

    pub fn read(&self, file: &str) -> String {
        fs::read(self.dir.join(file))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Waits for a line in a file of our folder.
    pub fn until_logged(&self, file: &str, text: &str) {
        until(&format!("`{text}` in {file}:\n{}", self.read(file)), || {
            self.read(file).contains(text)
        });
    }

    // -- the services

    pub fn sql(&self, statement: &str) {
        run(async {
            let mut connection = Lab::get().connect(&self.id).await;
            sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
                .execute(&mut connection)
                .await
        })
        .unwrap_or_else(|error| panic!("{statement}: {error}"));
    }

    pub fn amqp(&mut self) -> &lapin::Connection {
        if !self
            .amqp
            .as_ref()
            .is_some_and(|connection| connection.status().connected())
        {
            let url = self.amqp_url("lab:lab");
            let connecting = lapin::Connection::connect(&url, lapin::ConnectionProperties::default());
            self.amqp = Some(run(connecting).expect("RabbitMQ accepts us"));
        }
        self.amqp.as_ref().expect("connected")
    }

    /// Ready messages and consumers by a passive declare; `None` where there is no such queue.
    pub fn depth(&mut self, queue: &str) -> Option<(u64, u64)> {
        let passive = QueueDeclareOptions {
            passive: true,
            ..QueueDeclareOptions::default()
        };
        let connection = self.amqp();
        run(async {
            let channel = connection.create_channel().await.expect("a channel");
            let declared = channel
                .queue_declare(queue.into(), passive, FieldTable::default())
                .await;
            let counts = declared
                .ok()
                .map(|queue| (queue.message_count().into(), queue.consumer_count().into()));
            if counts.is_some() {
                let _ = channel.close(200, "done".into()).await;
            }
            counts
        })
    }

    /// Publishes to a queue that exists, as some other service would.
    pub fn publish(&mut self, queue: &str, body: &str) {
        let connection = self.amqp();
        run(async {
            let channel = connection.create_channel().await.expect("a channel");
            channel
                .basic_publish(
                    "".into(),
                    queue.into(),
                    lapin::options::BasicPublishOptions::default(),
                    body.as_bytes(),
                    lapin::BasicProperties::default().with_delivery_mode(2),
                )
                .await
                .expect("published");
            let _ = channel.close(200, "done".into()).await;
        });
    }

    /// The vhost as it is described, without what only counts.
    pub fn vhost(&self) -> Json {
        let vhost = Lab::get().manage("GET", &format!("vhosts/{}", self.id), None);
        let mut kept = json!({});
        for key in [
            "name",
            "description",
            "tags",
            "default_queue_type",
            "metadata",
            "tracing",
        ] {
            kept[key] = vhost[key].clone();
        }
        kept
    }

    // -- taskdiag

    pub fn diagnose(&mut self, arguments: &[&str]) -> Verdict {
        self.start_diagnose(arguments).finish(self)
    }

    /// Starts a diagnosis and does not wait for it.
    pub fn start_diagnose(&mut self, arguments: &[&str]) -> Running {
        static RUNS: AtomicU16 = AtomicU16::new(0);
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let file = |extension: &str| self.dir.join(format!("diagnosis-{run}.{extension}"));
        let (recording, report) = (file("jsonl"), file("txt"));
        let mut command = self.taskdiag("diagnose");
        command.arg("--config").arg(self.write_config());
        command.args(["--format", "json", "--record"]).arg(&recording);
        command.arg("--output").arg(&report).args(arguments);
        let stdout = File::create(file("stdout")).expect("a file");
        let stderr = File::create(file("stderr")).expect("a file");
        let child = command
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .expect("taskdiag starts");
        self.reaper.watch(child.id());
        Running {
            child,
            limit: self.duration("timeout") + GRACE,
            vhost: self.vhost(),
            stdout: file("stdout"),
            stderr: file("stderr"),
            recording,
            report,
        }
    }

    /// The binary under test, with nothing of our environment that it would listen to.
    pub fn taskdiag(&self, subcommand: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_taskdiag"));
        command
            .arg(subcommand)
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .process_group(0);
        for (name, _) in
            std::env::vars().filter(|(name, _)| name.starts_with("TASKDIAG_") && name != "TASKDIAG_LAB")
        {
            command.env_remove(name);
        }
        command
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.reaper.reap();
        for (_, child) in &mut self.services {
            let _ = child.wait();
        }
        if let Some(connection) = self.amqp.take() {
            let _ = run(connection.close(200, "done".into()));
        }
        let lab = Lab::get();
        lab.ask("DELETE", &format!("vhosts/{}", self.id), None);
        run(async {
            let mut connection = lab.connect("postgres").await;
            let drop = format!("DROP DATABASE IF EXISTS \"{}\" WITH (FORCE)", self.id);
            let _ = connection.execute(AssertSqlSafe(drop)).await;
        });
        if std::thread::panicking() {
            eprintln!(
                "the logs and reports of {} are in {}",
                self.name,
                self.dir.display()
            );
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

// ---- a diagnosis ----

/// A diagnosis under way.
pub struct Running {
    child: Child,
    limit: Duration,
    vhost: Json,
    stdout: PathBuf,
    stderr: PathBuf,
    pub recording: PathBuf,
    report: PathBuf,
}

impl Running {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("its status").is_some()
    }

    pub fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    /// Waits for its end, however it comes.
    pub fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + self.limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("its status") {
                return status;
            }
            if Instant::now() >= deadline {
                signal("KILL", self.pid());
                let _ = self.child.wait();
                panic!("taskdiag did not end within {:?}\n{}", self.limit, self.stderr());
            }
            sleep(Duration::from_millis(10));
        }
    }

    /// Waits for the verdict, and checks what must be true of each one.
    pub fn finish(mut self, stack: &Stack) -> Verdict {
        let verdict = self.finish_quietly(stack);
        assert_eq!(
            stack.vhost(),
            self.vhost,
            "the vhost is as it was before\n{}",
            verdict.explain()
        );
        verdict
    }

    /// The same, where the test itself changes the vhost meanwhile.
    pub fn finish_quietly(&mut self, stack: &Stack) -> Verdict {
        let status = self.wait();
        let stdout = fs::read_to_string(&self.stdout).unwrap_or_default();
        let verdict = Verdict {
            json: serde_json::from_str(&stdout).unwrap_or(Json::Null),
            text: fs::read_to_string(&self.report).unwrap_or_default(),
            stderr: self.stderr(),
            recording: self.recording.clone(),
            stdout,
            status,
        };
        verdict.check(stack);
        verdict
    }
}

/// What taskdiag said.
pub struct Verdict {
    pub json: Json,
    pub stdout: String,
    pub stderr: String,
    /// The report for people.
    pub text: String,
    pub recording: PathBuf,
    pub status: ExitStatus,
}

impl Verdict {
    /// True of every verdict, whatever it says.
    fn check(&self, stack: &Stack) {
        assert_eq!(
            self.status.signal(),
            None,
            "taskdiag was killed\n{}",
            self.explain()
        );
        assert_eq!(
            self.json["schema"],
            "taskdiag.report.v1",
            "stdout is a report\n{}",
            self.explain()
        );
        assert_eq!(
            self.json["exit_code"].as_i64(),
            self.status.code().map(i64::from),
            "{}",
            self.explain()
        );
        let events = self.json["timeline"].as_array().map_or(0, Vec::len) as u64;
        let claims = ["contributing", "ruled_out"]
            .iter()
            .flat_map(|list| self.list(list));
        for claim in claims.chain(Some(&self.json["cause"]).filter(|cause| !cause.is_null())) {
            let evidence = claim["evidence"].as_array().expect("evidence");
            let known = evidence
                .iter()
                .all(|n| n.as_u64().is_some_and(|n| (1..=events).contains(&n)));
            assert!(
                known && !evidence.is_empty(),
                "the evidence of {} is in the timeline\n{}",
                claim["id"],
                self.explain()
            );
        }
        // A recording gives the same verdict with no service at all.
        let output = stack
            .taskdiag("replay")
            .arg(&self.recording)
            .args(["--format", "json"])
            .output()
            .expect("taskdiag runs");
        let replayed: Json = serde_json::from_slice(&output.stdout).unwrap_or(Json::Null);
        for key in [
            "scenario",
            "outcome",
            "stage",
            "cause",
            "contributing",
            "ruled_out",
            "cannot_tell",
            "exit_code",
        ] {
            assert_eq!(
                replayed[key],
                self.json[key],
                "the replayed `{key}` equals the live one\n{}{}",
                String::from_utf8_lossy(&output.stderr),
                self.explain()
            );
        }
        assert_eq!(output.status.code(), self.status.code(), "{}", self.explain());
    }

    pub fn list(&self, key: &str) -> &[Json] {
        self.json[key].as_array().map_or(&[], Vec::as_slice)
    }

    fn entry(&self, list: &str, id: &str) -> Option<&Json> {
        self.list(list).iter().find(|entry| entry["id"] == id)
    }

    pub fn scenario(&self) -> &str {
        self.json["scenario"].as_str().unwrap_or("none")
    }

    pub fn cause(&self) -> &str {
        self.json["cause"]["id"].as_str().unwrap_or("none")
    }

    pub fn certainty(&self) -> &str {
        self.json["cause"]["certainty"].as_str().unwrap_or("none")
    }

    pub fn summary(&self) -> &str {
        self.json["cause"]["summary"].as_str().unwrap_or_default()
    }

    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Scenario (`none` where there is none), cause and exit code.
    pub fn expect(self, scenario: &str, cause: &str, code: i32) -> Self {
        let seen = (self.scenario(), self.cause(), self.code());
        assert_eq!(
            seen,
            (scenario, cause, Some(code)),
            "scenario, cause and exit code\n{}",
            self.explain()
        );
        self
    }

    pub fn outcome(self, outcome: &str) -> Self {
        assert_eq!(self.json["outcome"], outcome, "outcome\n{}", self.explain());
        self
    }

    /// The furthest stage.
    pub fn stage(self, stage: &str) -> Self {
        assert_eq!(self.json["stage"], stage, "stage\n{}", self.explain());
        self
    }

    pub fn certain(self) -> Self {
        assert_eq!(self.certainty(), "certain", "certainty\n{}", self.explain());
        self
    }

    pub fn at_least_likely(self) -> Self {
        assert!(
            ["certain", "likely"].contains(&self.certainty()),
            "certainty\n{}",
            self.explain()
        );
        self
    }

    pub fn not_certain(self) -> Self {
        assert_ne!(self.certainty(), "certain", "certainty\n{}", self.explain());
        self
    }

    pub fn contributes(self, id: &str) -> Self {
        assert!(
            self.entry("contributing", id).is_some(),
            "{id} contributes\n{}",
            self.explain()
        );
        self
    }

    pub fn does_not_contribute(self, id: &str) -> Self {
        assert!(
            self.entry("contributing", id).is_none(),
            "{id} does not contribute\n{}",
            self.explain()
        );
        self
    }

    pub fn ruled_out(self, id: &str) -> Self {
        assert!(
            self.entry("ruled_out", id).is_some(),
            "{id} is ruled out\n{}",
            self.explain()
        );
        self
    }

    pub fn cannot_tell(self, id: &str) -> Self {
        assert!(
            self.entry("cannot_tell", id).is_some(),
            "cannot tell {id}\n{}",
            self.explain()
        );
        self
    }

    /// The report for people names this.
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.text.contains(text),
            "the report says `{text}`\n{}",
            self.explain()
        );
        self
    }

    /// The one sentence of the cause names this.
    pub fn sums_up(self, text: &str) -> Self {
        assert!(
            self.summary().contains(text),
            "the summary says `{text}`\n{}",
            self.explain()
        );
        self
    }

    /// `seen`, `partial`, `blind` … of a source.
    pub fn state(&self, source: &str) -> &str {
        let found = self.list("sources").iter().find(|entry| entry["name"] == source);
        found
            .and_then(|entry| entry["state"].as_str())
            .unwrap_or("absent")
    }

    pub fn sees(self, sources: &[&str]) -> Self {
        for source in sources {
            assert_ne!(self.state(source), "blind", "{source} sees\n{}", self.explain());
            assert_ne!(self.state(source), "absent", "{source} sees\n{}", self.explain());
        }
        self
    }

    pub fn blind(self, source: &str) -> Self {
        assert_eq!(
            self.state(source),
            "blind",
            "{source} is blind\n{}",
            self.explain()
        );
        self
    }

    /// Keeps the recording for `tests/replay.rs` when `RECORD_RUNS` asks for it.
    pub fn record_as(self, name: &str) -> Self {
        if std::env::var_os("RECORD_RUNS").is_some() {
            let folder = repository().join("fixtures/runs").join(name);
            fs::create_dir_all(&folder).expect("a folder for the recording");
            fs::copy(&self.recording, folder.join("timeline.jsonl")).expect("the recording is copied");
        }
        self
    }

    /// Everything there is, for the message of a failed test.
    pub fn explain(&self) -> String {
        let mut all = String::new();
        let _ = writeln!(
            all,
            "status: {}\n---- stderr\n{}\n---- report\n{}",
            self.status, self.stderr, self.text
        );
        if self.json.is_null() {
            let _ = writeln!(all, "---- stdout\n{}", self.stdout);
        } else {
            let mut json = self.json.clone();
            let events = json["timeline"].take();
            let _ = writeln!(all, "---- report as JSON\n{json:#}\n---- timeline");
            for event in events.as_array().into_iter().flatten() {
                let _ = writeln!(all, "{event}");
            }
        }
        let _ = writeln!(all, "---- recording: {}", self.recording.display());
        all
    }
}
