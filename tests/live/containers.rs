//! The sample system from docker-compose.yml on a real engine, taskdiag on the engine's machine.
//!
//! The engine is the lab's own, in a network namespace of its own. The first time takes minutes: images are
//! made from the distribution's packages.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde_json::Value as Json;

use crate::lab::{repository, until};

struct Compose {
    /// What the lab has written for taskdiag.
    config: PathBuf,
}

impl Compose {
    fn up() -> Self {
        let mut compose = Self {
            config: PathBuf::new(),
        };
        let said = compose.run(&["up", "--docker"], &[]);
        let config = said.split_whitespace().last().expect("the way to run taskdiag");
        compose.config = config.into();
        compose
    }

    fn lab(&self, arguments: &[&str], env: &[(&str, &str)]) -> Command {
        let mut command = Command::new(repository().join("fixtures/lab"));
        command
            .args(arguments)
            .env("TASKDIAG_LAB_ENGINE", "private")
            .envs(env.iter().copied())
            .current_dir(repository())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str], env: &[(&str, &str)]) -> String {
        let output = self.lab(arguments, env).output().expect("fixtures/lab runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "lab {arguments:?}: {}\n{text}{said}",
            output.status
        );
        text
    }

    fn docker(&self, arguments: &[&str], env: &[(&str, &str)]) -> String {
        let words: Vec<&str> = ["inside", "docker"].iter().chain(arguments).copied().collect();
        self.run(&words, env)
    }

    fn compose(&self, arguments: &[&str], env: &[(&str, &str)]) -> String {
        let words: Vec<&str> = ["compose"].iter().chain(arguments).copied().collect();
        self.docker(&words, env)
    }

    /// Makes the worker anew, with these variables: what was left on its queues would break it first.
    fn worker(&self, env: &[(&str, &str)]) {
        self.compose(&["rm", "--stop", "--force", "worker"], &[]);
        for queue in ["default", "default.DQ"] {
            let path = format!("/api/queues/%2F/{queue}/contents");
            let broker = "http://guest:guest@127.0.0.1:15672";
            let request = "fixtures/lab.d/request.py";
            self.run(&["inside", "python3", request, broker, "DELETE", &path], &[]);
        }
        self.compose(&["up", "--detach", "--no-deps", "worker"], env);
    }

    /// Makes the API anew, with these variables.
    fn api(&self, env: &[(&str, &str)]) {
        let up = ["up", "--detach", "--no-deps", "--force-recreate", "api"];
        self.compose(&up, env);
    }

    fn is_healthy(&self, service: &str) {
        until("the container is healthy", || {
            self.compose(&["ps", service], &[]).contains("(healthy)")
        });
    }

    /// The worker's log holds this.
    fn logs(&self, text: &str) {
        until("the worker's log says so", || {
            self.compose(&["logs", "worker"], &[]).contains(text)
        });
    }

    fn check(&self) -> String {
        let built = std::env::var("TASKDIAG_BIN").unwrap_or(env!("CARGO_BIN_EXE_taskdiag").into());
        let config = self.config.to_str().expect("text");
        let words = ["inside", &built, "check", "--config", config];
        let output = self.lab(&words, &[]).output().expect("taskdiag runs");
        // It is wrapped at a terminal's width.
        let text = String::from_utf8_lossy(&output.stdout);
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn diagnose(&self, name: &str) -> Verdict {
        self.diagnose_with(name, &[])
    }

    fn diagnose_with(&self, name: &str, options: &[&str]) -> Verdict {
        let recording = self.config.with_file_name(format!("containers-{name}.jsonl"));
        let built = std::env::var("TASKDIAG_BIN").unwrap_or(env!("CARGO_BIN_EXE_taskdiag").into());
        let mut words = vec![
            "inside",
            &built,
            "diagnose",
            "--format",
            "json",
            "--config",
            self.config.to_str().expect("text"),
            "--record",
            recording.to_str().expect("text"),
        ];
        words.extend(options);
        let output = self.lab(&words, &[]).output().expect("taskdiag runs");
        let text = String::from_utf8_lossy(&output.stdout);
        let report = serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!(
                "{name}: {error}\n{text}{}",
                String::from_utf8_lossy(&output.stderr)
            )
        });
        Verdict {
            name: name.to_owned(),
            recording,
            code: output.status.code(),
            report,
        }
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        let _ = self.lab(&["down", "--docker"], &[]).output();
    }
}

struct Verdict {
    name: String,
    recording: PathBuf,
    code: Option<i32>,
    report: Json,
}

impl Verdict {
    fn expect(&self, cause: &str, certainty: &str, code: i32) -> &Self {
        let of = |key: &str| self.report["cause"][key].as_str().unwrap_or("none").to_owned();
        assert_eq!(
            (of("id").as_str(), of("certainty").as_str(), self.code),
            (cause, certainty, Some(code)),
            "{}: {}\n{:#}",
            self.name,
            of("summary"),
            self.report["sources"]
        );
        self
    }

    /// The way into the worker's container was refused in these words, at some time.
    fn was_refused(&self, words: &str) -> bool {
        let text = std::fs::read_to_string(&self.recording).expect("a recording");
        text.lines().any(|line| {
            line.contains("\"place_unreachable\"") && line.contains("\"worker\"") && line.contains(words)
        })
    }

    /// This replica's log has the task's message.
    fn took(&self, replica: &str) -> bool {
        let text = std::fs::read_to_string(&self.recording).expect("a recording");
        let events = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Json>(line).ok());
        let mut lines = events.filter(|event| event["carries_task_id"] == true);
        lines.any(|event| event["stream"] == replica)
    }

    fn sums_up(&self, text: &str) {
        let summary = self.report["cause"]["summary"].as_str().unwrap_or_default();
        assert!(summary.contains(text), "{}: {summary}", self.name);
    }
}

/// One test after the other: they share the engine.
static ENGINE: Mutex<()> = Mutex::new(());

#[test]
#[ignore = "run by .ci/nightly: an engine and its images take ten minutes"]
fn compose_on_a_real_engine() {
    let _engine = ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
    let compose = Compose::up();
    compose.is_healthy("worker");
    compose.diagnose("healthy").expect("succeeded", "certain", 0);

    compose.worker(&[("OPS_WORKER_FAULT", "raise")]);
    compose.is_healthy("worker");
    compose
        .diagnose("raise")
        .expect("actor-raised", "certain", 10)
        .sums_up("RuntimeError");

    // It has ended before taskdiag looks: its container says that there is no later life.
    compose.worker(&[("OPS_WORKER_FAULT", "import-error")]);
    until("the worker's container has ended", || {
        compose
            .compose(&["ps", "--all", "worker"], &[])
            .contains("Exited")
    });
    compose
        .diagnose("import-error")
        .expect("worker-not-started", "certain", 10)
        .sums_up("ModuleNotFoundError");

    compose.worker(&[("OPS_WORKER_FAULT", "memory"), ("OPS_WORKER_MEMORY", "192m")]);
    compose.is_healthy("worker");
    compose
        .diagnose("memory")
        .expect("worker-died-in-actor", "certain", 10)
        .sums_up("for memory (limit 192 MiB)");
    // And then nobody is there.
    compose
        .diagnose("memory-before")
        .expect("no-consumer", "certain", 20)
        .sums_up("killed for memory");

    compose.worker(&[]);
    compose.is_healthy("worker");
    compose.compose(&["pause", "worker"], &[]);
    compose
        .diagnose("paused")
        .expect("worker-frozen", "certain", 20)
        .sums_up("paused");
    compose.compose(&["unpause", "worker"], &[]);
}

#[test]
#[ignore = "run by .ci/nightly: an engine and its images take ten minutes"]
fn further_faults_on_a_real_engine() {
    let _engine = ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
    let compose = Compose::up();

    // The frame in which it hangs is called from C: Python 3.12 and later mark it.
    compose.worker(&[("OPS_WORKER_FAULT", "hang-in-hook")]);
    compose.is_healthy("worker");
    compose
        .diagnose("hang-in-hook")
        .expect("blocked-before-entry", "certain", 20)
        .sums_up("HangingHook.before_process_message");

    compose.worker(&[("OPS_WORKER_FAULT", "hang")]);
    compose.is_healthy("worker");
    compose
        .diagnose_with("hang", &["--timeout", "20s"])
        .expect("actor-still-running", "certain", 10)
        .sums_up("block_in_c");

    // Its processes are known by the log's pids, which are the container's.
    compose.worker(&[("DRAMATIQ_TESTING", "1")]);
    compose.logs("ready for action");
    compose
        .diagnose("test-broker")
        .expect("worker-on-test-broker", "certain", 20);

    compose.worker(&[("OPS_WORKER_FAULT", "other-queue")]);
    compose.logs("ready for action");
    compose
        .diagnose("other-queue")
        .expect("worker-on-other-queue", "certain", 20);

    let another = "postgresql://ops:ops@postgres:5432/postgres";
    compose.worker(&[("OPS_WORKER_DATABASE_URL", another)]);
    compose.is_healthy("worker");
    compose
        .diagnose("other-database")
        .expect("actor-raised", "certain", 10)
        .sums_up("UndefinedTable");

    compose.worker(&[
        ("OPS_WORKER_FAULT", "import-error"),
        ("OPS_WORKER_RESTART", "always"),
    ]);
    until("the engine has started the worker again twice", || {
        let format = [
            "inspect",
            "--format",
            "{{.RestartCount}}",
            "taskdiag-lab-worker-1",
        ];
        compose
            .docker(&format, &[])
            .trim()
            .parse()
            .is_ok_and(|count: u32| count > 1)
    });
    compose
        .diagnose_with("crash-loop", &["--silence", "30s"])
        .expect("worker-crash-loop", "certain", 10)
        .sums_up("ModuleNotFoundError");
}

#[test]
#[ignore = "run by .ci/nightly: an engine and its images take ten minutes"]
fn the_api_and_replicas_on_a_real_engine() {
    let _engine = ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
    let compose = Compose::up();

    // The first replica holds its task; the second one has the same pids and threads, and raises.
    compose.worker(&[("OPS_WORKER_FAULT", "hang")]);
    compose.compose(
        &[
            "up",
            "--detach",
            "--no-deps",
            "--no-recreate",
            "--scale",
            "worker=2",
            "worker",
        ],
        &[("OPS_WORKER_FAULT", "raise-final")],
    );
    compose.is_healthy("worker");
    for turn in ["replicas-1", "replicas-2"] {
        let verdict = compose.diagnose_with(turn, &["--timeout", "15s"]);
        let cause = verdict.report["cause"]["id"].as_str();
        let hangs = verdict.took("worker-1");
        let truth = if hangs {
            "actor-still-running"
        } else {
            "actor-raised"
        };
        assert_eq!(cause, Some(truth), "{turn}: {:#}", verdict.report["cause"]);
    }

    compose.worker(&[]);
    compose.api(&[("OPS_API_FAULT", "unknown-actor")]);
    compose.is_healthy("worker");
    compose.is_healthy("api");
    compose
        .diagnose("unknown-actor")
        .expect("unknown-actor", "likely", 10);

    // The relay of the published port takes every connection and drops it.
    compose.api(&[("OPS_API_HOST", "127.0.0.1")]);
    compose.is_healthy("api");
    compose
        .diagnose("api-inside")
        .expect("api-unreachable", "certain", 10)
        .sums_up("nothing listens on");

    // What listens on the same port in another network is not the API.
    let stranger = [
        "run",
        "--detach",
        "--rm",
        "--network",
        "none",
        "python:3.12-slim",
        "python3",
        "-c",
    ];
    let words: Vec<&str> = stranger.into_iter().chain([STRANGER]).collect();
    compose.docker(&words, &[]);
    compose.api(&[("OPS_API_FAULT", "not-dispatched-unconnected")]);
    compose.is_healthy("api");
    compose
        .diagnose("stranger")
        .expect("not-published", "likely", 20)
        .sums_up("has no connection to the broker's port");
}

/// Through the engine's own `exec`: what runs there is seen, its refusals are told, and nothing stays.
#[test]
#[ignore = "run by .ci/nightly: an engine and its images take ten minutes"]
fn the_way_in_on_a_real_engine() {
    let _engine = ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut compose = Compose::up();
    let text = std::fs::read_to_string(&compose.config).expect("a configuration");
    for section in ["[worker]\n", "[api]\n"] {
        assert_eq!(text.matches(section).count(), 1, "{text}");
    }
    let with = text
        .replace(
            "[worker]\n",
            "[worker]\nexec = [\"docker\", \"exec\", \"-i\", \"taskdiag-lab-worker-1\"]\n",
        )
        .replace(
            "[api]\n",
            "[api]\nexec = [\"docker\", \"compose\", \"exec\", \"-T\", \"api\"]\n",
        );
    compose.config = compose.config.with_file_name("taskdiag-docker-exec.toml");
    std::fs::write(&compose.config, with).expect("written");
    compose.worker(&[]);
    compose.is_healthy("worker");
    let healthy = compose.check();
    for place in ["in worker (exec)", "in api (exec)"] {
        assert!(healthy.contains(place), "{healthy}");
    }
    compose.diagnose("exec-healthy").expect("succeeded", "certain", 0);
    let there = compose.docker(&["top", "taskdiag-lab-worker-1"], &[]);
    assert!(!there.contains("-I -S -c"), "{there}");

    compose.compose(&["pause", "worker"], &[]);
    assert!(compose.check().contains("is paused"));
    let paused = compose.diagnose("exec-paused");
    paused.expect("worker-frozen", "certain", 20);
    assert!(paused.was_refused("is paused"));
    compose.compose(&["unpause", "worker"], &[]);

    compose.compose(&["stop", "worker"], &[]);
    assert!(compose.diagnose("exec-stopped").was_refused("is not running"));

    compose.worker(&[
        ("OPS_WORKER_FAULT", "import-error"),
        ("OPS_WORKER_RESTART", "always"),
    ]);
    until("the engine waits before the next start", || {
        compose
            .compose(&["ps", "--all", "worker"], &[])
            .contains("Restarting")
    });
    let verdict = compose.diagnose_with("exec-restarting", &["--silence", "30s"]);
    verdict.expect("worker-crash-loop", "certain", 10);
}

/// An API of somebody else, with a connection to a broker of its own.
const STRANGER: &str = "import http.server, socket
broker = socket.create_server(('127.0.0.1', 5673))
connection = socket.create_connection(('127.0.0.1', 5673))
connection.sendall(b'AMQP\\0\\0\\x09\\x01')
http.server.ThreadingHTTPServer(('0.0.0.0', 8000), http.server.SimpleHTTPRequestHandler).serve_forever()";
