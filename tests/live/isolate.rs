//! `diagnose --isolate`: each step tells one thing from the others.

use std::fs;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value as Json;
use toml::Table;

use crate::lab::{Lab, signal, until};
use crate::stack::Stack;
use crate::verdict::Verdict;
use crate::worker::{Dramatiq, healthy};

impl Verdict {
    /// A step of the isolation by its name.
    fn step(&self, name: &str) -> &Json {
        let steps = self.json["isolation"]["steps"].as_array();
        let found = steps.into_iter().flatten().find(|step| step["step"] == name);
        found.unwrap_or_else(|| panic!("no step {name}\n{}", self.explain()))
    }

    fn steps(&self) -> Vec<&str> {
        let steps = self.json["isolation"]["steps"].as_array();
        steps
            .into_iter()
            .flatten()
            .filter_map(|step| step["step"].as_str())
            .collect()
    }

    fn proves(self, name: &str, words: &str) -> Self {
        let step = self.step(name);
        let proved = step["proved"].as_str().unwrap_or_default();
        assert!(proved.contains(words), "{name}: {step:#}\n{}", self.explain());
        self
    }

    fn skips(self, name: &str, words: &str) -> Self {
        let step = self.step(name);
        let skipped = step["skipped"].as_str().unwrap_or_default();
        assert!(skipped.contains(words), "{name}: {step:#}\n{}", self.explain());
        self
    }

    fn concludes(self, words: &str) -> Self {
        let conclusion = self.json["isolation"]["conclusion"].as_str().unwrap_or_default();
        assert!(conclusion.contains(words), "{conclusion}\n{}", self.explain());
        self
    }
}

fn published_elsewhere(dramatiq: Dramatiq) {
    let mut stack = Stack::with("isolate-other-queue", dramatiq);
    stack.worker(healthy());
    stack.api_with_fault("other-queue");
    let pages = ["report.html", "report.md"].map(|name| stack.dir.join(name));
    let [html, markdown] = pages.each_ref().map(|path| path.to_str().expect("a path"));
    let verdict = stack
        .diagnose(&["--isolate", "--output", html, "--output", markdown])
        .expect("C", "published-to-other-queue", 20)
        .proves("again", "it happens again")
        .proves("direct", "It breaks in the API")
        .proves("original", "has not succeeded meanwhile")
        .concludes("It breaks in the API")
        .concludes("at most 1 time in 28");
    assert_eq!(
        verdict.steps(),
        ["again", "direct", "control", "direct", "control", "original"],
        "{}",
        verdict.explain()
    );
    let sent = &verdict.step("direct")["sent"];
    assert_ne!(sent["task_id"], verdict.json["task"]["id"]);
    assert!(verdict.text.contains("Isolated"), "{}", verdict.text);
    for page in &pages {
        let text = fs::read_to_string(page).expect("a report");
        assert!(text.contains("It breaks in the API"), "{}", page.display());
        // The recording makes the same report, later and elsewhere.
        let again = page.with_file_name(format!("again-{}", page.file_name().unwrap().to_string_lossy()));
        let arguments = ["--output".as_ref(), again.as_os_str()];
        let mut report = stack.taskdiag("report");
        report.arg(&verdict.recording).args(arguments);
        assert_eq!(report.output().expect("it runs").status.code(), Some(20));
        assert_eq!(
            fs::read_to_string(&again).expect("a report"),
            text,
            "{}",
            page.display()
        );
    }
    let recorded = verdict.recording.with_extension("isolate-2.jsonl");
    assert!(recorded.is_file(), "{}", recorded.display());
}

#[test]
fn the_api_publishes_elsewhere() {
    published_elsewhere(Dramatiq::Two);
}

/// The mark in the options is passed over by the old release, too.
#[test]
fn the_api_publishes_elsewhere_for_an_old_worker() {
    published_elsewhere(Dramatiq::One);
}

/// Ids that are numbers: the copy's lies where no sequence has come yet.
#[test]
fn numeric_ids_are_copied_with_a_free_number() {
    let mut stack = crate::billing::billing("isolate", "other-queue", Some(""));
    let verdict = stack
        .diagnose(&["--isolate"])
        .expect("C", "published-to-other-queue", 20)
        .proves("again", "it happens again")
        .concludes("It breaks in the API");
    let sent = &verdict.step("direct")["sent"];
    assert_eq!(sent["task_id"], "1000000041", "{}", verdict.explain());
}

#[test]
fn bad_arguments_are_reproduced_without_the_api() {
    let mut stack = Stack::new("isolate-arguments");
    stack.worker(healthy());
    stack.api_with_fault("bad-arguments");
    stack
        .diagnose(&["--isolate"])
        .expect("B", "bad-arguments", 10)
        .proves("again", "it happens again")
        .proves("direct", "the way the API publishes is ruled out")
        .skips("minimal", "`isolate.body` is not configured")
        .concludes("Reproducible; ruled out: how the API publishes");
}

#[test]
fn a_smaller_payload_that_works_accuses_the_payload() {
    let mut stack = Stack::new("isolate-payload");
    stack.worker(healthy());
    stack.api(&[]);
    stack.set_all("[api]\nbody = { input_data = { prompt = 'no type' } }\n[isolate]\nbody = { task_type = 'agent_task' }");
    stack
        .diagnose(&["--isolate"])
        .expect("B", "api-rejected", 10)
        .skips("direct", "carries its id")
        .proves("minimal", "the payload")
        .concludes("It depends on the payload");
}

/// Both are refused, each for what is wrong with it: it is the payload, and nobody may say that it is not.
#[test]
fn different_refusals_are_different_reasons() {
    let mut stack = Stack::new("isolate-refusals");
    stack.worker(healthy());
    stack.api(&[]);
    stack.set_all("[api]\nbody = { task_type = 'agent_task', input_data = 'no object' }\n[isolate]\nbody = { input_data = { prompt = 'no type' } }");
    let verdict = stack
        .diagnose(&["--isolate"])
        .expect("B", "api-rejected", 10)
        .proves("again", "it happens again")
        .proves("minimal", "may refuse two for two reasons")
        .concludes("Reproducible");
    let conclusion = verdict.json["isolation"]["conclusion"]
        .as_str()
        .unwrap_or_default();
    assert!(!conclusion.contains("ruled out"), "{conclusion}");
}

/// The actor runs in every third attempt, whatever the task.
#[test]
fn a_fault_that_comes_and_goes_is_not_isolated() {
    let mut stack = Stack::new("isolate-comes-and-goes");
    fs::write(
        stack.dir.join("flicker.py"),
        "import itertools, dramatiq, ops_core.tasks.worker\n\
         from dramatiq.middleware import Middleware, SkipMessage\n\
         turn = itertools.count(1)\n\
         class Flicker(Middleware):\n    \
         def before_process_message(self, broker, message):\n        \
         if next(turn) % 3:\n            \
         raise SkipMessage('not now')\n\
         dramatiq.get_broker().add_middleware(Flicker())\n",
    )
    .expect("a module");
    let folder = stack.dir.clone();
    let sample = Lab::get().value("LAB_OPS_CORE").to_owned();
    stack.worker(healthy().module(&folder, "flicker").env("PYTHONPATH", &sample));
    stack.api(&[]);
    let verdict = stack
        .diagnose(&["--isolate"])
        .expect("B", "message-skipped", 10)
        .proves("again", "it happens again")
        .proves("direct", "it worked, but not when it was repeated")
        .concludes("the fault is intermittent");
    assert_eq!(
        verdict.steps(),
        ["again", "direct", "control", "direct", "original"],
        "{}",
        verdict.explain()
    );
}

/// The worker comes while the first step is under way.
#[test]
fn a_task_that_works_again_is_not_reproducible() {
    let mut stack = Stack::new("isolate-flaky");
    stack.api(&[]);
    stack.set("timing.silence", "6s");
    let mut running = stack.start_diagnose(&["--isolate"]);
    until("the first step begins", || {
        running.stderr().contains("the same task again") || running.has_ended()
    });
    stack.worker(healthy());
    let verdict = running
        .finish(&stack)
        .expect("C", "no-consumer", 20)
        .proves("again", "code and configuration alone are not the reason")
        .proves("original", "the original itself succeeded meanwhile")
        .concludes("Not reproducible");
    assert_eq!(verdict.steps(), ["again", "original"], "{}", verdict.explain());
}

/// The worker wakes up while the smallest payload is under way: that works, and so would anything.
#[test]
fn a_fault_that_passes_by_itself_does_not_accuse_the_payload() {
    let mut stack = Stack::new("isolate-passes");
    let worker = stack.worker(healthy());
    stack.api(&[]);
    stack.set_all("[isolate]\nbody = { task_type = 'agent_task' }");
    signal("STOP", format!("-{worker}"));
    let mut running = stack.start_diagnose(&["--isolate"]);
    until("the smallest payload is tried", || {
        running.stderr().contains("the smallest payload") || running.has_ended()
    });
    signal("CONT", format!("-{worker}"));
    running
        .finish(&stack)
        .expect("C", "worker-frozen", 20)
        .proves("minimal", "the original itself succeeded meanwhile")
        .concludes("Not isolated: the original itself succeeded meanwhile");
}

#[test]
fn a_success_is_not_isolated() {
    let mut stack = Stack::new("isolate-success");
    stack.worker(healthy());
    stack.api(&[]);
    let verdict = stack
        .diagnose(&["--isolate"])
        .expect("A", "succeeded", 0)
        .concludes("nothing to isolate");
    assert!(verdict.steps().is_empty(), "{}", verdict.explain());
}

/// A worker as taskdiag can start one, too.
pub fn startable(stack: &mut Stack) {
    let mut env = Table::new();
    for (name, value) in [
        (MARK, stack.id.clone()),
        ("DRAMATIQ_TESTING", String::new()),
        ("DATABASE_URL", stack.database_url("lab:lab")),
        ("RABBITMQ_URL", stack.amqp_url("lab:lab")),
    ] {
        env.insert(name.into(), value.into());
    }
    stack.set("worker.env", env);
    stack.set("worker.python", stack.venv().to_str().expect("a path"));
    stack.set("worker.cwd", Lab::get().value("LAB_OPS_CORE"));
}

/// Stands in the environment of every worker that taskdiag starts here, and of nothing else.
const MARK: &str = "ISOLATE_TEST_MARK";

/// Everything that a run of this stack could leave behind.
pub fn left(stack: &Stack) -> Vec<String> {
    let mark = format!("{MARK}={}\0", stack.id);
    let processes = fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter_map(|entry| {
            let environ = fs::read(entry.path().join("environ")).unwrap_or_default();
            let carries = String::from_utf8_lossy(&environ).contains(&mark);
            carries.then(|| format!("process {}", entry.file_name().to_string_lossy()))
        });
    let vhosts = Lab::get().manage("GET", "vhosts?columns=name", None);
    let vhosts = vhosts.as_array().cloned().unwrap_or_default();
    let made = vhosts.iter().filter_map(|vhost| {
        let name = vhost["name"].as_str()?;
        name.starts_with("taskdiag.isolate.")
            .then(|| format!("vhost {name}"))
    });
    let users = Lab::get().manage("GET", "users?columns=name", None);
    let users = users.as_array().cloned().unwrap_or_default();
    let users = users.iter().filter_map(|user| {
        let name = user["name"].as_str()?;
        name.starts_with("taskdiag.isolate.")
            .then(|| format!("user {name}"))
    });
    processes.chain(made).chain(users).collect()
}

/// One test at a time looks for what is left.
pub static ROOM: Mutex<()> = Mutex::new(());

/// The worker is stopped: only one that was started now, elsewhere, gets into the actor.
#[test]
fn a_fresh_worker_that_works_accuses_the_running_one() {
    let _alone = ROOM.lock().unwrap_or_else(PoisonError::into_inner);
    let mut stack = Stack::new("isolate-stopped");
    let worker = stack.worker(healthy());
    stack.api(&[]);
    startable(&mut stack);
    stack.set_all("[isolate]\nbody = { task_type = 'agent_task' }");
    signal("STOP", format!("-{worker}"));
    let verdict = stack.diagnose(&["--isolate"]);
    signal("CONT", format!("-{worker}"));
    assert_eq!(verdict.scenario(), "C", "{}", verdict.explain());
    let verdict = verdict
        .proves("again", "it happens again")
        .proves("direct", "the way the API publishes is ruled out")
        .proves("minimal", "beyond it is ruled out")
        .proves(
            "clean-vhost",
            "entered it: this code, its configuration and this message can work",
        )
        .concludes("depends on what runs, not on the code");
    let where_sent = verdict.step("clean-vhost")["sent"]["what"]
        .as_str()
        .unwrap_or_default();
    assert!(where_sent.contains("taskdiag.isolate."), "{where_sent}");
    assert_eq!(left(&stack), Vec::<String>::new());
}

/// The fault is in the code: a fresh worker has it, too.
#[test]
fn a_fault_that_a_fresh_worker_has_too_is_in_the_code() {
    let _alone = ROOM.lock().unwrap_or_else(PoisonError::into_inner);
    let mut stack = Stack::new("isolate-code");
    stack.worker(crate::worker::fault("skip"));
    stack.api(&[]);
    startable(&mut stack);
    stack.set_in("worker.env", "OPS_WORKER_FAULT", "skip");
    stack
        .diagnose(&["--isolate"])
        .expect("B", "message-skipped", 10)
        .proves("clean-vhost", "stops for the same reason")
        .concludes("the running worker's state and the live queue");
    assert_eq!(left(&stack), Vec::<String>::new());
}

/// An application that does not take its broker from the environment takes nothing from the live queue,
/// where others' messages wait.
#[test]
fn a_worker_that_goes_to_the_live_queue_takes_nothing() {
    let _alone = ROOM.lock().unwrap_or_else(PoisonError::into_inner);
    let mut stack = Stack::new("isolate-live");
    stack.api(&[]);
    startable(&mut stack);
    // The module sets the variable itself, whatever it was.
    let module = stack.dir.join("stubborn.py");
    let url = stack.amqp_url("lab:lab");
    fs::write(
        &module,
        format!("import os\nos.environ['RABBITMQ_URL'] = '{url}'\nimport ops_core.tasks.worker\n"),
    )
    .expect("a module");
    let folder = stack.dir.to_str().expect("a path").to_owned();
    stack.set_in("worker.env", "PYTHONPATH", &folder);
    let command = ["dramatiq", "-v", "--processes", "1", "--threads", "2", "stubborn"];
    stack.set("worker.command", command.map(toml::Value::from).to_vec());
    // The queues are there as a worker leaves them, and others' messages are in them.
    let worker = stack.worker(healthy());
    stack.kill(worker);
    until("the worker is gone", || {
        stack
            .depth("default")
            .is_some_and(|(_, consumers)| consumers == 0)
    });
    for n in 0..WAITING {
        let body = serde_json::json!({
            "queue_name": "default", "actor_name": "nobody", "args": [n], "kwargs": {}, "options": {},
            "message_id": format!("waiting-{n}"), "message_timestamp": 1,
        });
        stack.publish("default", &body.to_string());
    }
    let verdict = stack
        .diagnose(&["--isolate"])
        .expect("C", "no-consumer", 20)
        .skips("clean-vhost", "wanted to connect to")
        .skips("clean-vhost", "took nothing from the live `default`");
    let steps = verdict.json["isolation"]["steps"].as_array();
    let sent = steps
        .into_iter()
        .flatten()
        .filter(|step| step["sent"]["message_id"].is_string())
        .count() as u64;
    assert!(sent >= 2, "{}", verdict.explain());
    assert_eq!(
        stack.depth("default"),
        Some((WAITING + 1 + sent, 0)),
        "{}",
        verdict.explain()
    );
    assert_eq!(stack.depth("default.XQ"), Some((0, 0)), "{}", verdict.explain());
    assert_eq!(left(&stack), Vec::<String>::new(), "{}", verdict.explain());
}

/// Messages of others.
const WAITING: u64 = 50;

/// It goes into the empty vhost, and its code elsewhere as well.
#[test]
fn a_worker_that_uses_both_vhosts_is_not_compared() {
    let _alone = ROOM.lock().unwrap_or_else(PoisonError::into_inner);
    let mut stack = Stack::new("isolate-both");
    let worker = stack.worker(healthy());
    stack.api(&[]);
    startable(&mut stack);
    let module = stack.dir.join("twofold.py");
    let port = Lab::get().value("LAB_AMQP_PORT").to_owned();
    fs::write(
        &module,
        format!(
            "import socket\nimport ops_core.tasks.worker\ntry:\n    socket.create_connection(('localhost', {port}))\nexcept OSError as error:\n    print(error)\n"
        ),
    )
    .expect("a module");
    let folder = stack.dir.to_str().expect("a path").to_owned();
    stack.set_in("worker.env", "PYTHONPATH", &folder);
    let command = ["dramatiq", "-v", "--processes", "1", "--threads", "2", "twofold"];
    stack.set("worker.command", command.map(toml::Value::from).to_vec());
    signal("STOP", format!("-{worker}"));
    let verdict = stack.diagnose(&["--isolate"]);
    signal("CONT", format!("-{worker}"));
    verdict.skips("clean-vhost", "not by way of RABBITMQ_URL");
    assert_eq!(left(&stack), Vec::<String>::new());
}

/// Without a variable that leads to the broker nothing is started.
#[test]
fn a_worker_that_cannot_be_sent_elsewhere_is_not_started() {
    let mut stack = Stack::new("isolate-no-variable");
    stack.api(&[]);
    stack.set_in("worker.env", "DRAMATIQ_TESTING", "");
    stack
        .diagnose(&["--isolate"])
        .expect("C", "no-consumer", 20)
        .skips("clean-vhost", "no variable of `worker.env`");
}

/// Killed while the room is open: the guardian empties it.
#[test]
fn nothing_is_left_after_kill_9() {
    let _alone = ROOM.lock().unwrap_or_else(PoisonError::into_inner);
    let mut stack = Stack::new("isolate-kill");
    stack.api(&[]);
    startable(&mut stack);
    let mut running = stack.start_diagnose(&["--isolate"]);
    until("the fresh worker runs in its vhost", || {
        let left = left(&stack);
        left.iter().any(|what| what.starts_with("vhost"))
            && left.iter().any(|what| what.starts_with("process"))
            || running.has_ended()
    });
    assert!(!running.has_ended(), "{}", running.stderr());
    signal("KILL", running.pid());
    let _ = running.wait();
    until("nothing is left", || left(&stack).is_empty());
}

/// A failure inside the actor is isolated through the API only.
#[test]
fn an_exception_is_reproduced_through_the_api_only() {
    let mut stack = Stack::new("isolate-raises");
    stack.worker(crate::worker::fault("raise-final"));
    stack.api(&[]);
    stack
        .diagnose(&["--isolate"])
        .expect("A", "actor-raised", 10)
        .proves("again", "it happens again")
        .skips("direct", "entered already")
        .skips("clean-vhost", "entered already");
}

/// Interrupted in the middle of a step: what was found until then is said.
#[test]
fn an_interrupted_isolation_says_what_was_found() {
    let mut stack = Stack::new("isolate-interrupted");
    stack.api(&[]);
    let mut running = stack.start_diagnose(&["--isolate", "--silence", "5s"]);
    until("the first step begins", || {
        running.stderr().contains("the same task again") || running.has_ended()
    });
    std::thread::sleep(Duration::from_millis(800));
    signal("INT", running.pid());
    let verdict = running.finish(&stack).expect("C", "no-consumer", 20);
    assert_eq!(verdict.steps(), ["again"], "{}", verdict.explain());
    verdict.skips("again", "interrupted");
}
