//! A worker in a container of Podman: `podman exec -i` as the way in, its service's socket as the engine.
//!
//! It has folders of its own for everything, and touches no network.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::Value as Json;

use crate::engine::{Engine, consumes};
use crate::lab::until;
use crate::places::{Place, lasts, shows_where_it_hangs};
use crate::stack::{Stack, words};

struct Podman(Engine);

impl Drop for Podman {
    fn drop(&mut self) {
        // What watches over a container outlives whoever started it.
        let _ = self.0.docker(&["rm", "--all", "--force"]).output();
    }
}

fn podman(stack: &mut Stack) -> Podman {
    let installed = Command::new("podman").arg("--version").output();
    assert!(
        installed.is_ok_and(|output| output.status.success()),
        "podman is not installed: `fixtures/lab podman` installs it"
    );
    let folder = stack.dir.join("podman");
    fs::create_dir_all(&folder).expect("a folder");
    let at = |name: &str| folder.join(name).display().to_string();
    let socket = format!("unix://{}", at("podman.sock"));
    let write = |name: &str, text: String| {
        fs::write(folder.join(name), text).expect("written");
        at(name)
    };
    let storage = format!(
        "[storage]\ndriver = \"vfs\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
        at("root"),
        at("runroot")
    );
    let storage = write("storage.conf", storage);
    let tmp = at("tmp");
    let engine = format!(
        "[engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\ntmp_dir = \"{tmp}\"\n[containers]\nlog_driver = \"k8s-file\"\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n"
    );
    let containers = write("containers.conf", engine);
    let engine = Engine {
        client: words(&[
            "env",
            &format!("CONTAINERS_STORAGE_CONF={storage}"),
            &format!("CONTAINERS_CONF={containers}"),
            "podman",
        ]),
        socket,
    };
    let mut serve = engine.docker(&["system", "service", "--time", "0", &engine.socket]);
    serve.stdin(Stdio::null());
    stack.start("podman", "podman.log", serve);
    until("podman answers (as root)", || folder.join("podman.sock").exists());
    engine.import();
    Podman(engine)
}

#[test]
#[ignore = "run by .ci/nightly: needs podman, which `fixtures/lab podman` installs"]
fn a_worker_in_podman() {
    let mut stack = Stack::new("podman");
    lasts(&mut stack);
    let podman = podman(&mut stack);
    let engine = &podman.0;
    stack.api(&[]);
    let env = [("OPS_WORKER_FAULT", "hang")];
    engine.worker(&mut stack, "shop-worker", &["--user", "1234:1234"], &env);
    consumes(&mut stack);
    // From another pid namespace its command would take every container for dead.
    stack.elsewhere = false;
    let config = stack.write_config();
    let check = stack.taskdiag("check").arg("--config").arg(config).output();
    let said = String::from_utf8_lossy(&check.expect("taskdiag runs").stdout).into_owned();
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("in worker (exec)"), "{said}");
    assert!(!said.contains("looks like a worker"), "{said}");

    // So somebody else runs it, as where taskdiag is on another machine.
    let prefix = engine.words(&["exec", "-i"], "shop-worker");
    let prefix: Vec<&str> = prefix.iter().map(String::as_str).collect();
    Place::lead(&mut stack, "worker", &prefix);
    let log = engine.words(&["logs", "-f"], "shop-worker");
    let mut logs = Command::new(&log[0]);
    logs.args(&log[1..]);
    stack.start("logs", "podman-worker.log", logs);
    stack.unset("worker.log_command");
    stack.set("worker.log", words(&["podman-worker.log"]));
    stack.elsewhere = true;
    let verdict = stack.diagnose(&[]).expect("A", "actor-still-running", 10);
    shows_where_it_hangs(&verdict);
    let watching = verdict.recorded_events("watching");
    let is_podman = |event: &&Json| event["source"] == "containers" && event.to_string().contains("Podman");
    assert!(watching.iter().any(|event| is_podman(&event)), "{watching:?}");

    // Podman refuses to enter a paused container, and does not say why.
    stack.elsewhere = false;
    stack.set("worker.exec", engine.words(&["exec", "-i"], "shop-worker"));
    stack.unset("worker.log");
    stack.set("worker.log_command", engine.words(&["logs", "-f"], "shop-worker"));
    engine.run(&["pause", "shop-worker"]);
    let verdict = stack.diagnose(&[]).expect("C", "worker-frozen", 20);
    assert!(verdict.at_least_likely().summary().contains("pause"));
    engine.run(&["unpause", "shop-worker"]);
}
