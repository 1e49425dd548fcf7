//! Commands and ways of `diagnose` on the sample system on Celery that have most of their tests on Dramatiq.

use serde_json::Value as Json;

use crate::celery::{api, api_command, of_celery, order, shop, venv, worker};
use crate::stack::{Stack, words};
use crate::verdict::Verdict;

fn step<'v>(verdict: &'v Verdict, name: &str) -> &'v Json {
    let steps = verdict.json["isolation"]["steps"].as_array();
    let found = steps.into_iter().flatten().find(|step| step["step"] == name);
    found.unwrap_or_else(|| panic!("no step {name}\n{}", verdict.explain()))
}

/// The worker refuses the copies as it refused the original, whoever publishes them.
#[test]
fn isolate_of_a_task_that_the_worker_does_not_know() {
    let mut stack = shop("isolate-unknown");
    worker(&mut stack, "");
    api(&mut stack, "unregistered");
    let verdict = of_celery(stack.diagnose(&["--isolate"])).expect("B", "unknown-actor", 10);
    for name in ["again", "direct"] {
        let step = step(&verdict, name);
        assert_eq!(
            step["verdict"]["cause"],
            "unknown-actor",
            "{step:#}\n{}",
            verdict.explain()
        );
    }
}

/// A fault of the API's: without it the task runs, and with it it does not.
#[test]
fn isolate_of_a_fault_of_the_api() {
    let mut stack = shop("isolate-queue");
    worker(&mut stack, "");
    api(&mut stack, "wrong-queue");
    let verdict = of_celery(stack.diagnose(&["--isolate"])).expect("C", "published-to-other-queue", 20);
    let proved = step(&verdict, "direct")["proved"].as_str().unwrap_or_default();
    assert!(
        proved.contains("It breaks in the API"),
        "{proved}\n{}",
        verdict.explain()
    );
}

/// `{task_id}` fits a key that is a UUID, as Django's often are.
#[test]
fn submit_directly_with_a_uuid() {
    let mut stack = shop("direct");
    stack.set_all("[broker]\nargs = [\"{task_id}\"]");
    worker(&mut stack, "");
    let mut submit = stack.taskdiag("submit");
    submit
        .args(["--direct", "--format", "json", "--config"])
        .arg(stack.write_config());
    let output = submit.output().expect("taskdiag runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said: Json = serde_json::from_slice(&output.stdout).expect("JSON");
    let id = said["task_id"].as_str().expect("an id");
    stack.until_logged("worker.log", &format!("packing order {id}"));
    stack.until_logged("worker.log", "succeeded in");
}

/// What the two programs need, for taskdiag to start them itself.
fn started(name: &str) -> Stack {
    let mut stack = shop(name);
    let url = stack.api_url();
    let bind = url.trim_start_matches("http://");
    let gunicorn = ["gunicorn", "--bind", bind, "--no-control-socket", "shop.wsgi"];
    stack.set("api.command", words(&gunicorn));
    stack.set(
        "worker.command",
        words(&["celery", "-A", "shop", "worker", "-l", "INFO"]),
    );
    let like = api_command(&stack, "", &[]);
    for part in ["api", "worker"] {
        for (name, value) in like.get_envs() {
            if let (Some(name), Some(value)) = (name.to_str(), value.and_then(|value| value.to_str())) {
                stack.set_in(&format!("{part}.env"), name, value);
            }
        }
        let venv = venv().to_str().expect("a path");
        stack.set(&format!("{part}.python"), venv);
        stack.unset(&format!("{part}.log"));
    }
    stack
}

#[test]
fn start_runs_api_and_worker_and_ends_them() {
    let mut stack = started("start");
    of_celery(stack.diagnose(&["--start"]))
        .expect("A", "succeeded", 0)
        .outcome("succeeded");
    assert!(
        stack.depth("celery").is_some_and(|(_, consumers)| consumers == 0),
        "the worker has ended"
    );
}

/// One line for each step of a task's way, and nothing of what workers tell each other.
#[test]
fn trace_shows_tasks_and_no_talk_of_workers() {
    let mut stack = shop("trace");
    worker(&mut stack, "");
    api(&mut stack, "");
    let mut trace = stack.taskdiag("trace");
    trace
        .args(["--format", "json", "--for", "8s", "--config"])
        .arg(stack.write_config());
    let trace = trace
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let mut child = trace.spawn().expect("taskdiag starts");
    stack.reaper.watch(child.id());
    let mut said = std::io::BufReader::new(child.stderr.take().expect("its words"));
    let mut line = String::new();
    while !line.contains("of vhost") {
        line.clear();
        let read = std::io::BufRead::read_line(&mut said, &mut line).expect("a line");
        assert!(read > 0, "it ended before it traced");
    }
    order(&stack);
    stack.until_logged("worker.log", "succeeded in");
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("shop.tasks.fulfil_order"), "{text}");
    for word in ["pidbox", "celeryev", "worker-heartbeat"] {
        assert!(!text.contains(word), "{word}\n{text}");
    }
}

/// A run that worked and one that did not: what differs is named, and not everything else.
#[test]
fn compare_names_the_fault() {
    let mut stack = shop("compare");
    let good = worker(&mut stack, "");
    api(&mut stack, "");
    let worked = stack.diagnose(&[]).expect("A", "succeeded", 0);
    stack.kill(good);
    worker(&mut stack, "raises");
    let failed = stack.diagnose(&[]).expect("A", "actor-raised", 10);
    let mut compare = stack.taskdiag("compare");
    let compared = compare.arg(&worked.recording).arg(&failed.recording).output();
    let compared = compared.expect("taskdiag runs");
    let text = String::from_utf8_lossy(&compared.stdout);
    assert!(text.contains("SHOP_WORKER_FAULT"), "{text}");
    assert!(!text.contains("ramatiq"), "{text}");
}
