//! A worker in a real container, in seconds: a Docker engine that touches no network, and an image without a file.
//!
//! The container has this machine's folders, to be read only, and its network: so it runs the lab's Python, and
//! reaches the lab's services. All of it ends with the engine's process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::lab::{signal, until};
use crate::places::{LASTS, lasts, shows_where_it_hangs};
use crate::stack::{Stack, words};
use crate::worker::ARGUMENTS;

/// What no container needs, or has its own of.
const LEFT_OUT: &[&str] = &["proc", "sys", "dev", "run", "boot", "lost+found", "mnt", "media"];

pub struct Engine {
    /// Its command, with what leads it to this engine.
    pub client: Vec<String>,
    /// Where it answers.
    pub socket: String,
}

impl Engine {
    pub fn start(stack: &mut Stack) -> Self {
        let folder = stack.dir.join("engine");
        fs::create_dir_all(&folder).expect("a folder");
        let socket = folder.join("docker.sock");
        let socket = format!("unix://{}", socket.display());
        let engine = Self {
            client: words(&["env", &format!("DOCKER_HOST={socket}"), "docker"]),
            socket,
        };
        let mut dockerd = Command::new("unshare");
        dockerd
            .args([
                "--pid",
                "--mount",
                "--fork",
                "--mount-proc",
                "--kill-child",
                "dockerd",
            ])
            .args([
                "--bridge=none",
                "--iptables=false",
                "--ip6tables=false",
                "--storage-driver=vfs",
            ])
            .args(["--host", &engine.socket]);
        for (option, name) in [
            ("--data-root", "data"),
            ("--exec-root", "exec"),
            ("--pidfile", "pid"),
        ] {
            dockerd.arg(option).arg(folder.join(name));
        }
        stack.start("engine", "engine.log", dockerd);
        until("the engine answers (as root, with docker.io)", || {
            let info = engine.docker(&["info"]).stderr(Stdio::null()).output();
            info.is_ok_and(|output| output.status.success())
        });
        engine.import();
        engine
    }

    /// An image without a file, named `empty`.
    pub fn import(&self) {
        let import = "tar --create --files-from /dev/null | \"$@\" import - empty";
        let mut shell = Command::new("sh");
        shell.args(["-c", import, "import"]).args(&self.client);
        let made = shell.output().expect("sh");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    }

    pub fn docker(&self, arguments: &[&str]) -> Command {
        let mut docker = Command::new(&self.client[0]);
        docker
            .args(&self.client[1..])
            .args(arguments)
            .stdin(Stdio::null());
        docker
    }

    /// The words of one of its commands for a container.
    pub fn words(&self, command: &[&str], name: &str) -> Vec<String> {
        let mut all = self.client.clone();
        all.extend(command.iter().chain([&name]).map(|word| (*word).to_owned()));
        all
    }

    pub fn run(&self, arguments: &[&str]) -> String {
        let output = self.docker(arguments).output().expect("docker runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{:?} {arguments:?}: {said}", self.client);
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Starts the sample system's worker in a container of this name, and says so to taskdiag.
    pub fn worker(&self, stack: &mut Stack, name: &str, options: &[&str], env: &[(&str, &str)]) {
        let worker = stack.python("dramatiq");
        let mut run = self.docker(&["run", "--detach", "--name", name, "--network", "host"]);
        run.args(options);
        for (inside, outside) in folders() {
            run.arg("-v")
                .arg(format!("{}:{}:ro", outside.display(), inside.display()));
        }
        for (variable, value) in worker.get_envs() {
            if let Some(value) = value {
                run.arg("-e")
                    .arg(format!("{}={}", variable.display(), value.display()));
            }
        }
        for (variable, value) in env {
            run.arg("-e").arg(format!("{variable}={value}"));
        }
        run.arg("-w").arg(worker.get_current_dir().expect("a folder"));
        run.arg("empty");
        match options.contains(&"--user") {
            // The lab's own Python may be one that only its owner may run.
            true => {
                let (python, packages) = stack.python_for_all();
                run.args([
                    "env",
                    &format!("PYTHONPATH={packages}"),
                    &python,
                    "-m",
                    "dramatiq",
                ]);
            }
            false => drop(run.arg(worker.get_program())),
        }
        run.args(ARGUMENTS);
        let output = run.output().expect("docker runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        stack.set("worker.exec", self.words(&["exec", "-i"], name));
        stack.set("worker.log_command", self.words(&["logs", "-f"], name));
        stack.unset("worker.log");
        stack.set("containers.engine", self.socket.clone());
        stack.elsewhere = true;
    }
}

/// The folders of this machine, as they are called inside, and where they are.
fn folders() -> Vec<(PathBuf, PathBuf)> {
    let entries = fs::read_dir("/").expect("/").flatten();
    let wanted = entries.filter(|entry| {
        let name = entry.file_name();
        Path::new("/").join(&name).is_dir() && !LEFT_OUT.iter().any(|left| name == *left)
    });
    wanted
        .map(|entry| (entry.path(), fs::canonicalize(entry.path()).expect("a folder")))
        .collect()
}

pub fn consumes(stack: &mut Stack) {
    until("the worker consumes", || {
        let depth = stack.depth("default");
        depth.is_some_and(|(_, consumers)| consumers > 0)
    });
}

/// The commonest end of a worker in a container; part of what every change has to pass.
#[test]
fn a_container_that_is_killed_for_memory() {
    let mut stack = Stack::new("engine-memory");
    let engine = Engine::start(&mut stack);
    stack.api(&[]);
    let limit = ["--memory", "192m", "--memory-swap", "192m"];
    engine.worker(&mut stack, "shop-worker", &limit, &LASTS);
    consumes(&mut stack);
    // Everything is seen through the way into it.
    let verdict = stack.diagnose(&[]).expect("A", "succeeded", 0);
    let peers = verdict.recorded_events("peer");
    assert!(
        peers.iter().any(|peer| peer["pid"].as_i64() > Some(10_000_000)),
        "{}",
        verdict.text
    );

    engine.run(&["rm", "--force", "shop-worker"]);
    engine.worker(
        &mut stack,
        "shop-worker",
        &limit,
        &[("OPS_WORKER_FAULT", "memory")],
    );
    consumes(&mut stack);
    let verdict = stack
        .diagnose(&[])
        .expect("A", "worker-died-in-actor", 10)
        .certain();
    let summary = verdict.summary();
    assert!(summary.contains("memory (limit 192 MiB)"), "{summary}");
    engine.run(&["rm", "--force", "shop-worker"]);
}

/// Where taskdiag is killed, its script in the container is gone.
#[test]
fn a_killed_diagnosis_leaves_nothing_in_a_container() {
    let mut stack = Stack::new("engine-kill");
    let engine = Engine::start(&mut stack);
    stack.api(&[]);
    engine.worker(
        &mut stack,
        "shop-worker",
        &[],
        &[("OPS_WORKER_FAULT", "hang-in-hook")],
    );
    consumes(&mut stack);
    let ours = || {
        let listed = engine.run(&["top", "shop-worker", "-eo", "pid,args"]);
        listed.contains("taskdiag boot")
    };
    let before = engine.run(&["top", "shop-worker", "-eo", "pid,args"]);
    let mut running = stack.start_diagnose(&[]);
    until("the script runs there", ours);
    signal("KILL", format!("-{}", running.pid()));
    running.wait();
    until("it is gone", || !ours());
    assert_eq!(engine.run(&["top", "shop-worker", "-eo", "pid,args"]), before);
    engine.run(&["rm", "--force", "shop-worker"]);
}

/// As the worker's own user, who is nobody here, and may neither write nor become anybody else.
#[test]
fn where_a_worker_of_a_container_hangs_is_seen() {
    let mut stack = Stack::new("engine-stacks");
    lasts(&mut stack);
    let engine = Engine::start(&mut stack);
    stack.api(&[]);
    let options = [
        "--user",
        "1234:1234",
        "--read-only",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
        "--memory",
        "512m",
    ];
    let env = [("OPS_WORKER_FAULT", "hang"), ("PYTHONDONTWRITEBYTECODE", "1")];
    engine.worker(&mut stack, "shop-worker", &options, &env);
    consumes(&mut stack);
    let before = engine.run(&["top", "shop-worker", "-eo", "pid,args"]);
    let verdict = stack.diagnose(&[]).expect("A", "actor-still-running", 10);
    shows_where_it_hangs(&verdict);
    assert_eq!(engine.run(&["top", "shop-worker", "-eo", "pid,args"]), before);

    // Killed while its program is on its way there, or has arrived.
    let mut running = stack.start_diagnose(&[]);
    std::thread::sleep(std::time::Duration::from_secs(5));
    let listed = engine.run(&["top", "shop-worker", "-eo", "pid,args"]);
    assert!(listed.contains("taskdiag boot"), "{listed}");
    signal("KILL", format!("-{}", running.pid()));
    running.wait();
    until("nothing of it is left", || {
        engine.run(&["top", "shop-worker", "-eo", "pid,args"]) == before
    });
    engine.run(&["rm", "--force", "shop-worker"]);
}

/// A program of a hundred megabytes would be the end of such a worker.
#[test]
fn a_container_without_memory_to_spare_is_spared() {
    let mut stack = Stack::new("engine-spared");
    lasts(&mut stack);
    let engine = Engine::start(&mut stack);
    stack.api(&[]);
    let limit = ["--memory", "140m", "--memory-swap", "140m"];
    engine.worker(&mut stack, "shop-worker", &limit, &[("OPS_WORKER_FAULT", "hang")]);
    consumes(&mut stack);
    let verdict = stack.diagnose(&[]);
    let refused = verdict.recorded_events("stacks_refused");
    let reason = refused.first().expect("a reason")["reason"].to_string();
    assert!(
        reason.contains("in worker (exec)") && reason.contains("of the memory limit there are left"),
        "{reason}"
    );
    assert_eq!(verdict.cause(), "actor-still-running", "{}", verdict.summary());
    engine.run(&["rm", "--force", "shop-worker"]);
}
