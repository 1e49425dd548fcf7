//! The sample system from docker-compose.yml on a real engine, taskdiag on the engine's machine.
//!
//! The engine is the lab's own, in a network namespace of its own. The first time takes minutes: images are
//! made from the distribution's packages.

use std::path::PathBuf;
use std::process::{Command, Stdio};

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

    /// Makes the worker anew, with these variables.
    fn worker(&self, env: &[(&str, &str)]) {
        self.docker(
            &[
                "compose",
                "up",
                "--detach",
                "--force-recreate",
                "--no-deps",
                "worker",
            ],
            env,
        );
    }

    fn consumes(&self) {
        until("the worker in its container consumes", || {
            let said = self.docker(&["compose", "ps", "worker"], &[]);
            said.contains("(healthy)")
        });
    }

    fn diagnose(&self, name: &str) -> Verdict {
        let recording = self.config.with_file_name(format!("containers-{name}.jsonl"));
        let built = std::env::var("TASKDIAG_BIN").unwrap_or(env!("CARGO_BIN_EXE_taskdiag").into());
        let words = [
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

    fn sums_up(&self, text: &str) {
        let summary = self.report["cause"]["summary"].as_str().unwrap_or_default();
        assert!(summary.contains(text), "{}: {summary}", self.name);
    }
}

#[test]
#[ignore = "run by .ci/nightly: an engine and its images take ten minutes"]
fn compose_on_a_real_engine() {
    let compose = Compose::up();
    compose.consumes();
    compose.diagnose("healthy").expect("succeeded", "certain", 0);

    compose.worker(&[("OPS_WORKER_FAULT", "raise")]);
    compose.consumes();
    compose
        .diagnose("raise")
        .expect("actor-raised", "certain", 10)
        .sums_up("RuntimeError");

    compose.worker(&[("OPS_WORKER_FAULT", "import-error")]);
    until("the worker's container has ended", || {
        compose
            .docker(&["compose", "ps", "--all", "worker"], &[])
            .contains("Exited")
    });
    compose
        .diagnose("import-error")
        .expect("worker-not-started", "certain", 20)
        .sums_up("ModuleNotFoundError");

    // The frame in which it hangs is called from C: Python 3.12 and later mark it.
    compose.worker(&[("OPS_WORKER_FAULT", "hang-in-hook")]);
    compose.consumes();
    compose
        .diagnose("hang-in-hook")
        .expect("blocked-before-entry", "certain", 20);

    // Its processes are known by the log's pids, which are the container's.
    compose.worker(&[("DRAMATIQ_TESTING", "1")]);
    let ready = || {
        compose
            .docker(&["compose", "logs", "worker"], &[])
            .contains("ready for action")
    };
    until("the worker is ready", ready);
    compose
        .diagnose("test-broker")
        .expect("worker-on-test-broker", "likely", 20);

    compose.worker(&[("OPS_WORKER_FAULT", "memory"), ("OPS_WORKER_MEMORY", "192m")]);
    compose.consumes();
    compose
        .diagnose("memory")
        .expect("worker-died-in-actor", "certain", 10)
        .sums_up("for memory");

    compose.worker(&[]);
    compose.consumes();
    compose.docker(&["compose", "pause", "worker"], &[]);
    compose
        .diagnose("paused")
        .expect("worker-frozen", "certain", 20)
        .sums_up("paused");
    compose.docker(&["compose", "unpause", "worker"], &[]);
}
