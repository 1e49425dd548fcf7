//! Systems on Celery in which nothing is wrong, whatever it looks like; and pools and tables that are not the usual.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::celery::{api, of_celery, order, program, program_in, shop, worker, worker_of};
use crate::lab::{repository, until};
use crate::stack::Stack;
use crate::verdict::Verdict;

/// Python in the sample system's environment, until it is dropped.
struct Script(Child);

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn script(stack: &Stack, code: &str) -> Command {
    let mut python = program(stack, "python");
    python.args(["-c", code]);
    python
}

fn is_fine(verdict: Verdict) -> Verdict {
    of_celery(verdict)
        .expect("A", "succeeded", 0)
        .outcome("succeeded")
}

#[test]
fn a_lock_in_another_database() {
    let mut stack = shop("other-lock");
    worker(&mut stack, "");
    api(&mut stack, "");
    let code = r#"
import os, threading, time
from urllib.parse import urlsplit
import psycopg
at = urlsplit(os.environ["DATABASE_URL"])
dsn = f"postgresql://{at.netloc}/postgres"
name = "shop_order_" + str(os.getpid())
holder = psycopg.connect(dsn)
holder.execute(f"CREATE TABLE {name} (id int)")
holder.commit()
holder.execute(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE")
waiter = psycopg.connect(dsn)
threading.Thread(target=lambda: waiter.execute(f"SELECT * FROM {name}"), daemon=True).start()
time.sleep(1)
print("locked", flush=True)
time.sleep(600)
"#;
    let log = std::fs::File::create(stack.dir.join("lock.log")).expect("a file");
    let mut command = script(&stack, code);
    command.stdout(log).stdin(Stdio::null());
    let _locked = Script(command.spawn().expect("Python runs"));
    until("somebody waits for a lock", || {
        stack.read("lock.log").contains("locked")
    });
    is_fine(stack.diagnose(&[])).certain();
}

#[test]
fn another_tasks_error_in_the_log() {
    let mut stack = shop("other-error");
    worker(&mut stack, "first-raises");
    api(&mut stack, "");
    let code = "import django; django.setup(); from shop.tasks import check_stock; check_stock.delay()";
    let sent = script(&stack, code).status().expect("Python runs");
    assert!(sent.success());
    stack.until_logged("worker.log", "no such pen");
    is_fine(stack.diagnose(&[])).certain();
}

#[test]
fn remote_control_is_off() {
    let mut stack = shop("no-remote-control");
    worker(&mut stack, "no-remote-control");
    api(&mut stack, "");
    is_fine(stack.diagnose(&[])).certain().sees(&["control"]);
}

#[test]
fn a_solo_worker_that_is_busy_for_a_moment() {
    let mut stack = shop("busy-solo");
    // Ours waits for as long as the other one works: that is no silence.
    stack.set("timing.silence", "8s");
    worker_of(
        &mut stack,
        "slow",
        "shop",
        &["-l", "INFO", "-P", "solo"],
        Some("celery"),
    );
    api(&mut stack, "");
    order(&stack);
    stack.until_logged("worker.log", "packing order");
    is_fine(stack.diagnose(&[])).certain();
}

#[test]
fn a_pool_of_threads() {
    let mut stack = shop("threads");
    worker_of(
        &mut stack,
        "",
        "shop",
        &["-l", "INFO", "-P", "threads", "-c", "2"],
        Some("celery"),
    );
    api(&mut stack, "");
    is_fine(stack.diagnose(&[])).certain();
}

#[test]
fn a_pool_of_threads_in_which_it_raises() {
    let mut stack = shop("threads-raises");
    worker_of(
        &mut stack,
        "raises",
        "shop",
        &["-l", "INFO", "-P", "threads", "-c", "2"],
        Some("celery"),
    );
    api(&mut stack, "");
    of_celery(stack.diagnose(&[]))
        .expect("A", "actor-raised", 10)
        .says("card 4242 was declined");
}

/// Celery's own table of results instead of Django's.
fn with_own_table(name: &str, fault: &str) -> Stack {
    let mut stack = shop(name);
    stack.set_all(crate::celery::REPORTS);
    stack.set("database.table", "celery_taskmeta");
    stack.set("database.error_column", "traceback");
    let switch = [("SHOP_RESULTS", "own-table")];
    program_in(&mut stack, "worker", fault, &switch);
    program_in(&mut stack, "api", "", &switch);
    // 5.4 makes the table when the first result is stored.
    order(&stack);
    until("a result is stored", || {
        let said = stack.read("worker.log");
        said.contains("succeeded in") || said.contains("raised unexpected")
    });
    stack
}

#[test]
fn celerys_own_table_of_results() {
    let mut stack = with_own_table("own-table", "");
    is_fine(stack.diagnose(&[]));
}

#[test]
fn celerys_own_table_of_results_after_a_failure() {
    let mut stack = with_own_table("own-table-raises", "raises");
    of_celery(stack.diagnose(&[]))
        .expect("A", "actor-raised", 10)
        .outcome("failed")
        .says("card 4242 was declined");
}

#[test]
fn a_link_of_a_chain_that_is_never_sent() {
    let mut stack = shop("chain");
    stack.set_all(crate::celery::REPORTS);
    worker(&mut stack, "first-raises");
    api(&mut stack, "chain");
    of_celery(stack.diagnose(&[]))
        .expect("B", "chain-broken", 10)
        .certain()
        .sums_up("no such pen");
}

#[test]
fn a_chord_whose_header_hangs() {
    let mut stack = shop("chord");
    stack.set_all(crate::celery::REPORTS);
    stack.set("timing.timeout", "10s");
    worker(&mut stack, "first-hangs");
    api(&mut stack, "chord");
    of_celery(stack.diagnose(&[]))
        .expect("C", "chord-waiting", 20)
        .at_least_likely();
}

/// It renames its processes, where `setproctitle` is installed.
#[test]
fn a_worker_that_renames_itself() {
    let mut stack = shop("renamed");
    let packages = stack.dir.join("packages");
    install(&stack, &packages, "setproctitle==1.3.7");
    let pid = worker_beside(&mut stack, &packages, "hangs", &[]);
    let title = std::fs::read(format!("/proc/{pid}/cmdline")).expect("its command line");
    let title = String::from_utf8_lossy(&title).into_owned();
    assert!(title.starts_with("[celeryd: "), "{title}");
    api(&mut stack, "");
    stack.set("timing.timeout", "10s");
    of_celery(stack.diagnose(&[]))
        .expect("A", "actor-still-running", 10)
        .says("print_label");
}

fn with_gevent(name: &str, fault: &str) -> Stack {
    let mut stack = shop(name);
    let packages = stack.dir.join("packages");
    install(&stack, &packages, "gevent==25.9.1");
    worker_beside(&mut stack, &packages, fault, &["-P", "gevent", "-c", "4"]);
    api(&mut stack, "");
    stack
}

/// A worker that has these packages as well.
fn worker_beside(stack: &mut Stack, packages: &Path, fault: &str, arguments: &[&str]) -> u32 {
    let sources = repository().join("fixtures/celery_shop");
    let mut command = program(stack, "celery");
    command
        .args(["-A", "shop", "worker", "-l", "INFO"])
        .args(arguments)
        .env("SHOP_WORKER_FAULT", fault)
        .env(
            "PYTHONPATH",
            format!("{}:{}", packages.display(), sources.display()),
        );
    let pid = stack.start("worker", "worker.log", command);
    until("the worker consumes", || {
        stack.depth("celery").is_some_and(|(_, consumers)| consumers > 0)
    });
    pid
}

/// A package beside the sample system's, in a folder of the test's own.
fn install(stack: &Stack, folder: &Path, package: &str) {
    let mut pip = program(stack, "python");
    pip.args(["-m", "pip", "install", "--quiet", "--no-deps", "--target"])
        .arg(folder)
        .arg(package);
    if package.starts_with("gevent") {
        pip.args(["greenlet", "zope.event", "zope.interface"]);
    }
    let done = pip.output().expect("pip runs");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn a_pool_of_greenlets() {
    let mut stack = with_gevent("gevent", "");
    is_fine(stack.diagnose(&[])).certain();
}

#[test]
fn a_pool_of_greenlets_in_which_it_hangs() {
    let mut stack = with_gevent("gevent-hangs", "hangs");
    stack.set("timing.timeout", "10s");
    of_celery(stack.diagnose(&[])).expect("A", "actor-still-running", 10);
}

/// Its queue is a quorum queue, so that a message for later waits at the broker and not in the worker.
fn quorum(name: &str, worker_fault: &str, api_fault: &str) -> Stack {
    let mut stack = shop(name);
    let switch = [("SHOP_QUEUES", "quorum")];
    program_in(&mut stack, "worker", worker_fault, &switch);
    program_in(&mut stack, "api", api_fault, &switch);
    stack
}

#[test]
fn a_delay_at_the_broker() {
    let mut stack = quorum("native-soon", "", "countdown-soon");
    stack.set("timing.silence", "12s");
    is_fine(stack.diagnose(&[])).certain();
}

#[test]
fn a_delay_at_the_broker_that_goes_on() {
    let mut stack = quorum("native", "", "countdown");
    of_celery(stack.diagnose(&[])).expect("C", "delayed", 20);
}

/// The copy for the retry waits at the broker: it is retried, and not lost.
#[test]
fn a_retry_that_waits_at_the_broker() {
    let mut stack = quorum("native-retry", "retries", "");
    let verdict = of_celery(stack.diagnose(&[]))
        .expect("A", "actor-raised", 10)
        .outcome("failed")
        .sums_up("retry 1");
    assert!(!verdict.text.contains("retry-lost"), "{}", verdict.explain());
    let place = verdict.json["message"]["where"].as_str().unwrap_or_default();
    assert!(place.contains("kept by the broker"), "{}", verdict.explain());
}
