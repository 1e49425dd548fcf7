//! The sample system on Celery, `fixtures/celery_shop`: an order has a row of its own, a report only its result's.

use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use crate::lab::{client, free_port, repository, run, signal, until};
use crate::stack::Stack;
use crate::verdict::Verdict;
use crate::worker::Dramatiq;

const ORDERS: &str = r#"
    [api]
    submit_path = "/orders"
    body = { sku = "pen" }
    task_id_pointer = "/order_id"
    status_path = "/orders/{task_id}"
    log = ["api.log"]

    [broker]
    queue = "celery"
    actor = "shop.tasks.fulfil_order"

    [database]
    table = "shop_order"
    id_column = "id"
    status_column = "status"
    running = ["PACKING"]
    succeeded = ["SHIPPED"]
    failed = ["FAILED"]
    error_column = "error"

    [worker]
    log = ["worker.log"]
    entry_pattern = "packing order|building the report"
"#;

pub(crate) const REPORTS: &str = r#"
    [api]
    submit_path = "/reports"
    body = {}
    task_id_pointer = "/task_id"
    status_path = "/reports/{task_id}"

    [broker]
    actor = "shop.tasks.build_report"

    [database]
    table = "django_celery_results_taskresult"
    id_column = "task_id"
    running = ["STARTED"]
    succeeded = ["SUCCESS"]
    failed = ["FAILURE"]
    error_column = "result"
"#;

const INFO: &[&str] = &["-l", "INFO"];

/// Where the packages of the sample system are.
pub(crate) fn venv() -> &'static Path {
    static VENV: OnceLock<String> = OnceLock::new();
    let path = VENV.get_or_init(|| {
        let script = repository().join("fixtures/lab");
        let output = Command::new(script).arg("celery").output().expect("the lab runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let found = said
            .lines()
            .find_map(|line| line.strip_prefix("LAB_VENV_CELERY="));
        found.expect("it says where they are").to_owned()
    });
    Path::new(path)
}

/// A vhost, a database with the shop's tables, and the configuration for them.
pub(crate) fn shop(name: &str) -> Stack {
    shop_with(name, &[])
}

/// Its tables are made with these switches.
pub(crate) fn shop_with(name: &str, env: &[(&str, &str)]) -> Stack {
    let mut stack = Stack::bare(&format!("celery-{name}"), Dramatiq::Two);
    stack.set_framework("celery");
    stack.set_all(ORDERS);
    stack.set("api.url", format!("http://127.0.0.1:{}", free_port()));
    let mut migrate = program(&stack, "python");
    migrate
        .args(["-m", "django", "migrate", "--run-syncdb"])
        .envs(env.iter().copied());
    let made = migrate.output().expect("Django runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    stack
}

pub(crate) fn program(stack: &Stack, name: &str) -> Command {
    let bin = venv().join("bin");
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(bin.join(name));
    command
        .env("PATH", format!("{}:{path}", bin.display()))
        .env("PYTHONUNBUFFERED", "1")
        // Where these run as root, a worker that takes pickle wants to be told that this is meant.
        .env("C_FORCE_ROOT", "1")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("PYTHONPATH", repository().join("fixtures/celery_shop"))
        .env("DJANGO_SETTINGS_MODULE", "shop.settings")
        .env("DATABASE_URL", stack.database_url("lab:lab"))
        .env("RABBITMQ_URL", stack.amqp_url("lab:lab"))
        .current_dir(&stack.dir);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("SHOP_")) {
        command.env_remove(name);
    }
    command
}

pub(crate) fn api(stack: &mut Stack, fault: &str) -> u32 {
    api_with(stack, fault, &[])
}

fn api_with(stack: &mut Stack, fault: &str, env: &[(&str, &str)]) -> u32 {
    let command = api_command(stack, fault, env);
    let health = format!("{}/health", stack.api_url());
    stack.listening("api", command, &health)
}

pub(crate) fn api_command(stack: &Stack, fault: &str, env: &[(&str, &str)]) -> Command {
    let url = stack.api_url();
    let mut command = program(stack, "gunicorn");
    command
        .args([
            "--bind",
            url.trim_start_matches("http://"),
            "--threads",
            "4",
            "--no-control-socket",
            "shop.wsgi",
        ])
        .env("SHOP_API_FAULT", fault)
        .envs(env.iter().copied());
    command
}

/// The worker or the API with switches of their own.
pub(crate) fn program_in(stack: &mut Stack, part: &str, fault: &str, env: &[(&str, &str)]) -> u32 {
    if part == "api" {
        return api_with(stack, fault, env);
    }
    let mut command = program(stack, "celery");
    command
        .args(["-A", "shop", "worker", "-l", "INFO"])
        .env("SHOP_WORKER_FAULT", fault)
        .envs(env.iter().copied());
    let pid = stack.start("worker", "worker.log", command);
    until("the worker consumes", || {
        stack.depth("celery").is_some_and(|(_, consumers)| consumers > 0)
    });
    pid
}

/// Starts a worker; unless it is not meant to, it consumes its queue then.
pub(crate) fn worker_of(
    stack: &mut Stack,
    fault: &str,
    application: &str,
    arguments: &[&str],
    queue: Option<&str>,
) -> u32 {
    let mut command = program(stack, "celery");
    command
        .args(["-A", application, "worker"])
        .args(arguments)
        .env("SHOP_WORKER_FAULT", fault);
    let pid = stack.start("worker", "worker.log", command);
    if let Some(queue) = queue {
        until(&format!("the worker consumes {queue}"), || {
            let said = stack.read("worker.log");
            assert!(stack.ended(pid).is_none(), "the worker ended:\n{said}");
            stack.depth(queue).is_some_and(|(_, consumers)| consumers > 0)
        });
    }
    pid
}

pub(crate) fn worker(stack: &mut Stack, fault: &str) -> u32 {
    worker_of(stack, fault, "shop", INFO, Some("celery"))
}

fn with_worker_fault(fault: &str) -> Stack {
    let mut stack = shop(&format!("worker-{fault}"));
    worker(&mut stack, fault);
    api(&mut stack, "");
    stack.set("timing.timeout", "10s");
    stack
}

fn with_api_fault(fault: &str) -> Verdict {
    let mut stack = shop(&format!("api-{fault}"));
    worker(&mut stack, "");
    api(&mut stack, fault);
    stack.diagnose(&[])
}

/// Orders something, as a customer would: the order's id.
pub(crate) fn order(stack: &Stack) -> String {
    let url = format!("{}/orders", stack.api_url());
    let answer = run(async {
        let answer = client().post(url).json(&json!({ "sku": "pen" })).send().await;
        answer.expect("the API answers").json::<serde_json::Value>().await
    });
    let id = answer.expect("JSON")["order_id"].as_str().map(str::to_owned);
    id.expect("an order's id")
}

/// It may say what is so, and nothing that only another framework can have or do.
pub(crate) fn of_celery(verdict: Verdict) -> Verdict {
    for word in ["ramatiq", ".DQ", ".XQ", "middleware", "Retries exceeded"] {
        let text = verdict.text.replace("DRAMATIQ_TESTING", "");
        assert!(!text.contains(word), "`{word}`\n{}", verdict.explain());
    }
    verdict
}

#[test]
fn succeeded() {
    let mut stack = shop("healthy");
    worker(&mut stack, "");
    api(&mut stack, "");
    let verdict = of_celery(stack.diagnose(&[]))
        .expect("A", "succeeded", 0)
        .certain()
        .outcome("succeeded")
        .sees(&[
            "api",
            "database",
            "management",
            "firehose",
            "queue",
            "worker-log",
            "process",
        ]);
    assert_eq!(
        verdict.json["task"]["actor"],
        "shop.tasks.fulfil_order",
        "{}",
        verdict.explain()
    );
}

#[test]
fn succeeded_with_nothing_but_a_result() {
    let mut stack = shop("report");
    stack.set_all(REPORTS);
    worker(&mut stack, "");
    api(&mut stack, "");
    of_celery(stack.diagnose(&[]))
        .expect("A", "succeeded", 0)
        .outcome("succeeded");
}

#[test]
fn worker_not_started() {
    let mut stack = shop("not-started");
    let pid = worker_of(&mut stack, "", "shopp", INFO, None);
    stack.wait_for_end(pid);
    api(&mut stack, "");
    of_celery(stack.diagnose(&[]))
        .expect("B", "worker-not-started", 10)
        .at_least_likely()
        .sums_up("shopp");
}

#[test]
fn no_consumer() {
    let mut stack = shop("no-consumer");
    api(&mut stack, "");
    of_celery(stack.diagnose(&[])).expect("C", "no-consumer", 20);
}

#[test]
fn worker_on_other_queue() {
    let mut stack = shop("other-queue");
    worker_of(
        &mut stack,
        "",
        "shop",
        &["-l", "INFO", "-Q", "invoices"],
        Some("invoices"),
    );
    api(&mut stack, "");
    of_celery(stack.diagnose(&[]))
        .expect("C", "worker-on-other-queue", 20)
        .at_least_likely();
}

#[test]
fn unknown_task() {
    of_celery(with_api_fault("unregistered"))
        .expect("B", "unknown-actor", 10)
        .at_least_likely()
        .sums_up("shop.tasks.renamed");
}

#[test]
fn bad_arguments() {
    of_celery(with_api_fault("bad-arguments")).expect("B", "bad-arguments", 10);
}

#[test]
fn actor_raised() {
    of_celery(with_worker_fault("raises").diagnose(&[]))
        .expect("A", "actor-raised", 10)
        .outcome("failed")
        .says("card 4242 was declined");
}

#[test]
fn waiting_in_worker() {
    let mut stack = with_worker_fault("hangs");
    for _ in 0..2 {
        order(&stack);
    }
    until("both children are busy", || {
        stack.read("worker.log").matches("packing order").count() == 2
    });
    of_celery(stack.diagnose(&[]))
        .expect("C", "waiting-in-worker", 20)
        .at_least_likely();
}

#[test]
fn actor_still_running() {
    of_celery(with_worker_fault("hangs").diagnose(&[]))
        .expect("A", "actor-still-running", 10)
        .outcome("unfinished")
        .says("print_label");
}

#[test]
fn hard_time_limit() {
    of_celery(with_worker_fault("hard-limit").diagnose(&[])).expect("A", "time-limit-exceeded", 10);
}

#[test]
fn a_child_that_kills_itself() {
    of_celery(with_worker_fault("dies").diagnose(&[]))
        .expect("A", "worker-died-in-actor", 10)
        .outcome("failed");
}

/// It was acknowledged when the child took it: it is gone with the worker.
#[test]
fn a_worker_that_is_killed() {
    let verdict = killed("hangs");
    of_celery(verdict)
        .expect("A", "worker-died-in-actor", 10)
        .at_least_likely();
}

/// It is acknowledged at the end: the broker gives it back, and nobody is there to take it.
#[test]
fn a_worker_that_is_killed_and_acknowledges_late() {
    let verdict = of_celery(killed("hangs-late"));
    assert!(
        ["worker-died-in-actor", "no-consumer"].contains(&verdict.cause()),
        "{}",
        verdict.explain()
    );
}

/// The whole worker dies in the middle of the task.
fn killed(fault: &str) -> Verdict {
    let mut stack = shop(&format!("killed-{fault}"));
    let pid = worker(&mut stack, fault);
    api(&mut stack, "");
    stack.set("timing.timeout", "15s");
    let running = stack.start_diagnose(&[]);
    stack.until_logged("worker.log", "packing order");
    // What was seen of the worker until then tells whose connection it was.
    sleep(Duration::from_secs(2));
    signal("KILL", format!("-{pid}"));
    stack.wait_for_end(pid);
    running.finish(&stack)
}

#[test]
fn a_countdown() {
    of_celery(with_api_fault("countdown"))
        .expect("C", "delayed", 20)
        .sums_up("in the hands of a worker");
}

#[test]
fn revoked() {
    of_celery(with_api_fault("revoked"))
        .expect("B", "revoked", 10)
        .certain();
}

#[test]
fn expired() {
    let mut stack = shop("expired");
    api(&mut stack, "expires");
    of_celery(stack.diagnose(&[])).expect("B", "message-expired", 10);
}

/// The table of results takes no row: the task has run, and nobody learns of it.
#[test]
fn a_result_that_cannot_be_stored() {
    let mut stack = with_worker_fault("");
    stack.set_all(REPORTS);
    stack.sql(
        "CREATE FUNCTION no_row() RETURNS trigger LANGUAGE plpgsql AS \
         $$ BEGIN RAISE EXCEPTION 'no space for results'; END $$; \
         CREATE TRIGGER no_row BEFORE INSERT ON django_celery_results_taskresult \
         FOR EACH ROW EXECUTE FUNCTION no_row();",
    );
    let verdict = of_celery(stack.diagnose(&[]));
    assert_eq!(verdict.scenario(), "A", "{}", verdict.explain());
    assert_eq!(verdict.code(), Some(10), "{}", verdict.explain());
}

/// Sent long ago by somebody else, and looked at afterwards.
#[test]
fn afterwards() {
    let mut stack = with_worker_fault("raises");
    let id = order(&stack);
    stack.until_logged("worker.log", "raised unexpected");
    of_celery(stack.diagnose(&["--task", &id]))
        .expect("A", "actor-raised", 10)
        .says("card 4242 was declined");
}

#[test]
fn afterwards_it_waits_for_a_worker() {
    let mut stack = shop("afterwards-waiting");
    api(&mut stack, "");
    let id = order(&stack);
    let verdict = of_celery(stack.diagnose(&["--task", &id]));
    assert_eq!(verdict.cause(), "no-consumer", "{}", verdict.explain());
}
