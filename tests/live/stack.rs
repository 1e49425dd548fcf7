//! A private piece of the real world for one test: a vhost, a database, the sample system in them.
//!
//! Nothing is shared between tests but the RabbitMQ and the PostgreSQL of `fixtures/lab`, so they
//! run side by side. Whatever a test starts ends with it, also when it fails or is killed.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use serde_json::{Value as Json, json};
use sqlx::{AssertSqlSafe, Executor as _};
use toml::{Table, Value as Toml};

use crate::lab::{Broker, Lab, client, free_port, run, signal, until};
use crate::worker::{Dramatiq, Reaper, Worker};

/// Stacks that exist at once: Python starts slowly, and several at once on few cores more so.
const STACKS_AT_ONCE: usize = 4;

pub struct Stack {
    name: String,
    pub dir: PathBuf,
    /// Where the binary under test keeps its state.
    pub state: PathBuf,
    /// The vhost and the database have the same name.
    pub id: String,
    /// The nodes of RabbitMQ, the one that taskdiag is told of first.
    pub brokers: Vec<Broker>,
    dramatiq: Dramatiq,
    config: Table,
    services: Vec<(String, Child)>,
    pub(crate) reaper: Reaper,
    /// taskdiag sees no process but its own, as on another machine.
    pub elsewhere: bool,
    /// taskdiag runs in the network of this process.
    pub network: Option<u32>,
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
        Self::on(vec![Lab::get().broker()], name, dramatiq)
    }

    /// The sample system in a cluster; taskdiag is told of the first of these nodes.
    pub fn clustered(brokers: Vec<Broker>, name: &str) -> Self {
        let mut stack = Self::on(brokers, name, Dramatiq::Two);
        stack.configure_ops_core();
        stack
    }

    /// For a test of what exists for queues of one type only.
    pub fn default_queue_type(&self, kind: &str) {
        let vhost = json!({ "default_queue_type": kind });
        self.brokers[0].manage("PUT", &format!("vhosts/{}", self.id), Some(vhost));
    }

    fn on(brokers: Vec<Broker>, name: &str, dramatiq: Dramatiq) -> Self {
        let place = Place::take();
        let lab = Lab::get();
        let broker = brokers[0].clone();
        static STACKS: AtomicU16 = AtomicU16::new(0);
        let number = STACKS.fetch_add(1, Ordering::Relaxed);
        let id = format!("live-{}-{number}-{name}", std::process::id());
        let dir = std::env::temp_dir().join(format!("taskdiag-{id}"));
        fs::create_dir_all(&dir).expect("a folder for the test");
        let mut vhost = json!({ "description": format!("live test {name}"), "tags": "live,test" });
        // Of what type queues are that say nothing of it: as many installations have it.
        if let Ok(kind) = std::env::var("TASKDIAG_LAB_QUEUE_TYPE") {
            vhost["default_queue_type"] = json!(kind);
        }
        broker.manage("PUT", &format!("vhosts/{id}"), Some(vhost));
        let everything = json!({ "configure": ".*", "write": ".*", "read": ".*" });
        broker.manage("PUT", &format!("permissions/{id}/lab"), Some(everything));
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
            state: dir.join("state"),
            dir,
            id,
            brokers,
            dramatiq,
            config: Table::new(),
            services: Vec::new(),
            reaper: Reaper::new(),
            elsewhere: false,
            network: None,
            amqp: None,
            _place: place,
        };
        stack.set("broker.amqp_url", stack.amqp_url("lab:lab"));
        stack.set(
            "broker.management_url",
            format!("http://lab:lab@{}", broker.management),
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

    /// What the workers run, where it is not the usual.
    pub fn set_framework(&mut self, name: &str) {
        self.config.insert("framework".into(), name.into());
    }

    /// Sets one entry of a key that is a table, `worker.env` for example.
    pub fn set_in(&mut self, key: &str, name: &str, value: &str) {
        let (section, table) = key.split_once('.').expect("section.key");
        let known = self.config.get(section).and_then(|section| section.get(table));
        let mut table = known.and_then(Toml::as_table).cloned().unwrap_or_default();
        table.insert(name.into(), value.into());
        self.set(key, table);
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
        // One that was just started may be reading it.
        let new = self.dir.join("taskdiag.toml.new");
        fs::write(&new, self.config.to_string()).expect("taskdiag.toml is written");
        fs::rename(&new, &path).expect("taskdiag.toml takes its place");
        path
    }

    pub fn amqp_url(&self, credentials: &str) -> String {
        format!("amqp://{credentials}@{}/{}", self.brokers[0].amqp, self.id)
    }

    /// The variable that takes API or worker to one of the nodes, counted from 0.
    pub fn at_node(&self, node: usize) -> (&'static str, String) {
        let url = format!("amqp://lab:lab@{}/{}", self.brokers[node].amqp, self.id);
        ("RABBITMQ_URL", url)
    }

    pub fn database_url(&self, credentials: &str) -> String {
        format!("postgres://{credentials}@{}/{}", Lab::get().postgres(), self.id)
    }

    pub fn api_url(&self) -> String {
        let url = self.config["api"].get("url").and_then(Toml::as_str);
        url.expect("api.url is configured").to_owned()
    }

    pub fn duration(&self, key: &str) -> Duration {
        let text = self.config["timing"]
            .get(key)
            .and_then(Toml::as_str)
            .expect("timing");
        let seconds = text.strip_suffix('s').expect("tests write durations in seconds");
        Duration::from_secs_f64(seconds.parse().expect("seconds"))
    }

    // -- processes

    /// The virtual environment with the sample system's packages.
    pub fn venv(&self) -> &'static Path {
        Path::new(Lab::get().value(match self.dramatiq {
            Dramatiq::Two => "LAB_VENV",
            Dramatiq::One => "LAB_VENV_1",
        }))
    }

    pub fn python(&self, program: &str) -> Command {
        let lab = Lab::get();
        let venv = self.venv();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(venv.join("bin").join(program));
        command
            .env("PATH", format!("{}:{path}", venv.join("bin").display()))
            .env("PYTHONUNBUFFERED", "1")
            .env_remove("PYTHONDONTWRITEBYTECODE")
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

    /// The system's Python, and where it finds the lab's packages: for a worker of another user.
    pub fn python_for_all(&self) -> (String, String) {
        let libraries = fs::read_dir(self.venv().join("lib")).expect("a venv").flatten();
        let mut names = libraries.filter_map(|entry| entry.file_name().into_string().ok());
        let name = names
            .find(|name| name.starts_with("python3."))
            .expect("a version");
        let python = format!("/usr/bin/{name}");
        assert!(Path::new(&python).exists(), "{python} is not installed");
        let packages = self.venv().join("lib").join(name).join("site-packages");
        (python, packages.display().to_string())
    }

    /// The command, to be run in that network.
    pub fn in_network(&self, command: Command) -> Command {
        let Some(network) = self.network else {
            return command;
        };
        let mut entered = Command::new("nsenter");
        entered
            .args(["--target", &network.to_string(), "--net", "--"])
            .arg(command.get_program())
            .args(command.get_args());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => entered.env(name, value),
                None => entered.env_remove(name),
            };
        }
        if let Some(folder) = command.get_current_dir() {
            entered.current_dir(folder);
        }
        entered
    }

    /// Starts a command in a process group of its own, its output appended to a file in our folder.
    pub fn start(&mut self, name: &str, log: &str, mut command: Command) -> u32 {
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
        self.api_in(Path::new(Lab::get().value("LAB_OPS_CORE")), env)
    }

    /// The same from a copy of it.
    pub fn api_in(&mut self, folder: &Path, env: &[(&str, &str)]) -> u32 {
        let url = self.api_url();
        let port = url.rsplit(':').next().expect("a port");
        let mut command = self.python("uvicorn");
        command
            .args(["ops_core.main:app", "--host", "127.0.0.1", "--port", port])
            .current_dir(folder);
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

    /// Starts a program that serves HTTP and waits until it answers.
    pub fn listening(&mut self, name: &str, command: Command, health: &str) -> u32 {
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
        if let Some(program) = &worker.program {
            let own = Command::new(program);
            command = copied(&command, own);
        }
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

    /// Kills the only worker, and waits until the broker knows: the next one is told by its consumers.
    pub fn kill_only_worker(&mut self, pid: u32) {
        self.kill(pid);
        for queue in ["default", "default.DQ"] {
            until(&format!("nobody consumes {queue}"), || {
                self.depth(queue).is_none_or(|(_, consumers)| consumers == 0)
            });
        }
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
        // A missing queue closes the channel, and lapin may still be busy with that when the next
        // one is opened: then a new connection helps.
        for _ in 0..5 {
            let connection = self.amqp();
            let asked = run(async {
                let asking = passive_declare(connection, queue);
                tokio::time::timeout(Duration::from_secs(5), asking).await
            });
            if let Ok(Ok(counts)) = asked {
                return counts;
            }
            self.amqp = None;
        }
        panic!("RabbitMQ does not answer a passive declare of {queue}");
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
        self.vhost_at(0)
    }

    /// As one of the nodes describes it: each traces for itself.
    pub fn vhost_at(&self, node: usize) -> Json {
        let vhost = self.brokers[node].manage("GET", &format!("vhosts/{}", self.id), None);
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

    pub fn traces(&self) -> bool {
        self.traces_at(0)
    }

    pub fn traces_at(&self, node: usize) -> bool {
        self.vhost_at(node)["tracing"] == json!(true)
    }

    /// Somebody switches tracing on by hand; RabbitMQ may lose that while another vhost's is switched.
    pub fn trace_by_hand(&self, description: &str) {
        let on = json!({ "description": description, "tags": "", "tracing": true });
        let path = format!("vhosts/{}", self.id);
        until("tracing is on", || {
            self.brokers[0].manage("PUT", &path, Some(on.clone()));
            self.traces()
        });
    }
}

/// The same surroundings for another program.
fn copied(from: &Command, mut to: Command) -> Command {
    for (name, value) in from.get_envs() {
        match value {
            Some(value) => to.env(name, value),
            None => to.env_remove(name),
        };
    }
    if let Some(folder) = from.get_current_dir() {
        to.current_dir(folder);
    }
    to
}

async fn passive_declare(connection: &lapin::Connection, queue: &str) -> lapin::Result<Option<(u64, u64)>> {
    let channel = connection.create_channel().await?;
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    match channel
        .queue_declare(queue.into(), passive, FieldTable::default())
        .await
    {
        Ok(found) => {
            let counts = (found.message_count().into(), found.consumer_count().into());
            let _ = channel.close(200, "done".into()).await;
            Ok(Some(counts))
        }
        Err(error) if error.to_string().contains("NOT_FOUND") => Ok(None),
        Err(error) => Err(error),
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.reaper.reap();
        for (_, child) in &mut self.services {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(connection) = self.amqp.take() {
            // The vhost's end closes what does not close by itself.
            let closing = connection.close(200, "done".into());
            let _ = run(async { tokio::time::timeout(Duration::from_secs(5), closing).await });
        }
        let lab = Lab::get();
        self.brokers[0].ask("DELETE", &format!("vhosts/{}", self.id), None);
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

/// A command as a configuration has it.
pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}
