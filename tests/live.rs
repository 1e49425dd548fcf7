//! Breaks one thing on a real RabbitMQ, PostgreSQL and Dramatiq, runs the real binary, and checks
//! what it says. Each expectation was written down from what was broken.
//!
//! `RECORD_RUNS=1 cargo test --test live` keeps the recordings in `fixtures/runs`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

#[path = "live/billing.rs"]
mod billing;
#[path = "live/promises.rs"]
mod promises;
#[path = "live/stack.rs"]
mod stack;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;
use sqlx::Row as _;
use stack::{Dramatiq, Lab, Stack, Worker, fault, free_port, healthy, run, until};

/// The sample system with a fault on the API's side and a healthy worker.
fn with_api_fault(name: &str) -> Stack {
    with_api_fault_on(name, Dramatiq::Two)
}

fn with_api_fault_on(name: &str, dramatiq: Dramatiq) -> Stack {
    let mut stack = Stack::with(&format!("api-{name}{}", suffix(dramatiq)), dramatiq);
    stack.worker(healthy());
    stack.api_with_fault(name);
    stack
}

/// The sample system with a fault on the worker's side and a healthy API.
fn with_worker_fault(name: &str) -> Stack {
    with_worker_fault_on(name, Dramatiq::Two)
}

fn with_worker_fault_on(name: &str, dramatiq: Dramatiq) -> Stack {
    let mut stack = Stack::with(&format!("worker-{name}{}", suffix(dramatiq)), dramatiq);
    stack.worker(fault(name));
    stack.api(&[]);
    stack
}

/// The same where the row will never be final: once entered, only the time limit ends the wait.
fn with_row_fault(name: &str) -> Stack {
    let mut stack = with_worker_fault(name);
    stack.set("timing.timeout", "6s");
    stack
}

fn with_worker(name: &str, worker: Worker) -> Stack {
    let mut stack = Stack::new(name);
    stack.worker(worker);
    stack.api(&[]);
    stack
}

fn suffix(dramatiq: Dramatiq) -> &'static str {
    match dramatiq {
        Dramatiq::Two => "",
        Dramatiq::One => "-1",
    }
}

// ---- it ran ----

#[test]
fn succeeded() {
    with_worker("succeeded", healthy())
        .diagnose(&[])
        .expect("A", "succeeded", 0)
        .certain()
        .outcome("succeeded")
        .sees(&[
            "api",
            "api-log",
            "database",
            "management",
            "firehose",
            "queue",
            "worker-log",
            "process",
        ])
        .does_not_contribute("error-swallowed")
        .does_not_contribute("api-stale-read")
        .does_not_contribute("several-workers")
        .record_as("succeeded");
}

/// At its very first boot a 1.x worker logs a CRITICAL 404 once, and recovers.
#[test]
fn succeeded_1() {
    let mut stack = Stack::with("succeeded-1", Dramatiq::One);
    stack.worker(healthy());
    stack.api(&[]);
    stack
        .diagnose(&[])
        .expect("A", "succeeded", 0)
        .certain()
        .outcome("succeeded");
}

#[test]
fn succeeded_with_an_async_actor() {
    with_worker("async-actor", healthy().env("OPS_ASYNC_ACTOR", "1"))
        .diagnose(&[])
        .expect("A", "succeeded", 0)
        .outcome("succeeded");
}

#[test]
fn succeeded_although_a_hook_is_noisy() {
    with_worker_fault("noisy-hook")
        .diagnose(&[])
        .expect("A", "succeeded", 0)
        .certain()
        .outcome("succeeded")
        .record_as("succeeded-noisy-hook");
}

/// A success leaves not one line of the framework's in the log.
#[test]
fn succeeded_without_verbose_log() {
    with_worker("quiet", healthy().quiet())
        .diagnose(&[])
        .expect("A", "succeeded", 0)
        .outcome("succeeded");
}

#[test]
fn succeeded_without_any_line_in_the_log() {
    with_worker("silent-log", fault("silent-log").quiet())
        .diagnose(&[])
        .expect("A", "succeeded", 0)
        .outcome("succeeded");
}

#[test]
fn succeeded_in_one_of_several_processes() {
    with_worker("processes", healthy().processes(2))
        .diagnose(&[])
        .expect("A", "succeeded", 0)
        .does_not_contribute("several-workers");
}

#[test]
fn succeeded_beside_a_consumer_of_another_queue() {
    let mut stack = with_worker("stranger", healthy());
    consume(&mut stack, "newsletters");
    stack
        .diagnose(&[])
        .expect("A", "succeeded", 0)
        .does_not_contribute("several-workers");
}

/// The log still holds the crash of yesterday's worker.
#[test]
fn succeeded_below_an_old_crash() {
    let mut stack = Stack::new("old-crash");
    let old = "[2025-04-12 23:10:01,104] [PID 77] [MainThread] [dramatiq.WorkerProcess(0)] [ERROR] Failed to import module.\n\
               Traceback (most recent call last):\n  File \"/srv/ops/bin/dramatiq\", line 8, in <module>\n    \
               import ops_agents\nModuleNotFoundError: No module named 'ops_agents'\n";
    std::fs::write(stack.dir.join("worker.log"), old).unwrap();
    stack.worker(healthy());
    stack.api(&[]);
    stack.diagnose(&[]).expect("A", "succeeded", 0);
}

/// A relay publishes from a thread of its own, a second and a half after the answer.
#[test]
fn succeeded_through_an_outbox() {
    let mut stack = with_api_fault("outbox");
    stack.set("timing.silence", "5s");
    stack.diagnose(&[]).expect("A", "succeeded", 0);
}

/// Others publish all the time: ours is told from theirs by its id.
#[test]
fn succeeded_in_the_traffic_of_others() {
    let mut stack = with_worker("traffic", healthy());
    stack.diagnose(&[]).expect("A", "succeeded", 0);
    let stop = Arc::new(AtomicBool::new(false));
    let url = stack.amqp_url("lab:lab");
    let sender = thread::spawn({
        let stop = stop.clone();
        move || {
            let connection = run(lapin::Connection::connect(
                &url,
                lapin::ConnectionProperties::default(),
            ))
            .unwrap();
            let channel = run(connection.create_channel()).unwrap();
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                // Every second one fails: none of our business.
                let actor = ["execute_agent_task_actor", "send_newsletter"][number % 2];
                let body = dramatiq_message(
                    "default",
                    actor,
                    json!({"task_id": format!("task_{number:032}"), "task_type": "x", "input_data": {}}),
                );
                run(channel.basic_publish(
                    "".into(),
                    "default".into(),
                    Default::default(),
                    body.as_bytes(),
                    Default::default(),
                ))
                .unwrap();
                thread::sleep(Duration::from_millis(20));
            }
        }
    });
    let verdict = stack.diagnose(&[]);
    stop.store(true, Ordering::Relaxed);
    sender.join().unwrap();
    verdict.expect("A", "succeeded", 0).outcome("succeeded");
}

/// The API goes on saying PENDING: the row says otherwise.
#[test]
fn api_stale_read() {
    with_api_fault("stale-read")
        .diagnose(&[])
        .expect("A", "succeeded", 0)
        .contributes("api-stale-read")
        .record_as("api-stale-read");
}

// ---- the API ----

#[test]
fn api_unreachable() {
    let mut stack = Stack::new("api-unreachable");
    stack
        .diagnose(&[])
        .expect("none", "api-unreachable", 30)
        .certain()
        .record_as("api-unreachable");
    stack.set("api.url", "http://no-such-host.invalid:8000");
    stack
        .diagnose(&[])
        .expect("none", "api-unreachable", 30)
        .certain();
}

#[test]
fn api_timeout() {
    let mut stack = Stack::new("api-timeout");
    stack.api_with_fault("slow");
    stack.set("api.timeout", "1s");
    stack
        .diagnose(&[])
        .expect("none", "api-timeout", 30)
        .certain()
        .record_as("api-timeout");
}

/// 401 without the header, 403 with any; with the header it is accepted.
#[test]
fn api_unauthorized() {
    let mut stack = Stack::new("api-unauthorized");
    stack.api_with_fault("unauthorized");
    stack
        .diagnose(&[])
        .expect("B", "api-unauthorized", 10)
        .certain()
        .sums_up("401")
        .record_as("api-unauthorized");
    stack.set_all("[api]\nheaders = { Authorization = \"Bearer lab-token\" }");
    stack.diagnose(&[]).expect("C", "no-consumer", 20);
}

#[test]
fn api_forbidden() {
    let mut stack = Stack::new("api-forbidden");
    stack.api_with_fault("forbidden");
    stack
        .diagnose(&[])
        .expect("B", "api-unauthorized", 10)
        .certain()
        .sums_up("403");
}

#[test]
fn api_rejected() {
    let mut stack = Stack::new("api-rejected");
    stack.api_with_fault("reject");
    stack
        .diagnose(&[])
        .expect("B", "api-rejected", 10)
        .certain()
        .sums_up("422")
        .says("Input should be 'agent_run'")
        .record_as("api-rejected");
}

#[test]
fn api_rejected_by_a_redirect() {
    let mut stack = Stack::new("api-redirect");
    stack.api_with_fault("redirect");
    stack
        .diagnose(&[])
        .expect("B", "api-rejected", 10)
        .says("/api/v2/tasks/");
}

/// A missing trailing slash is a 307, which keeps method and body: it is followed.
#[test]
fn api_redirect_that_is_followed() {
    let mut stack = Stack::new("api-redirect-followed");
    stack.api(&[]);
    stack.set("api.submit_path", "/api/v1/tasks");
    stack.diagnose(&[]).expect("C", "no-consumer", 20);
}

#[test]
fn api_failed() {
    let mut stack = Stack::new("api-failed");
    stack.api_with_fault("crash");
    stack
        .diagnose(&[])
        .expect("B", "api-failed", 10)
        .says("no quota for agent_task")
        .record_as("api-failed");
}

#[test]
fn api_failed_behind_a_proxy() {
    let mut stack = Stack::new("api-unavailable");
    stack.api_with_fault("unavailable");
    stack.diagnose(&[]).expect("B", "api-failed", 10).sums_up("503");
}

#[test]
fn api_answer_unrecognised() {
    let mut stack = Stack::new("api-no-id");
    stack.api_with_fault("no-id");
    stack
        .diagnose(&[])
        .expect("none", "api-answer-unrecognised", 30)
        .certain()
        .says("your task has been queued")
        .record_as("api-answer-unrecognised");
}

#[test]
fn api_answer_is_html() {
    let mut stack = Stack::new("api-not-json");
    stack.api_with_fault("not-json");
    stack
        .diagnose(&[])
        .expect("none", "api-answer-unrecognised", 30)
        .says("Welcome to ops-core");
}

/// The id is there, but the pointer misses it.
#[test]
fn api_answer_with_the_id_elsewhere() {
    let mut stack = Stack::new("api-pointer");
    stack.api(&[]);
    stack.set("api.task_id_pointer", "/data/task/id");
    stack
        .diagnose(&[])
        .expect("none", "api-answer-unrecognised", 30)
        .says("/task_id");
}

// ---- the row ----

#[test]
fn row_missing() {
    with_api_fault("row-and-message-missing")
        .diagnose(&[])
        .expect("C", "row-missing", 20)
        .at_least_likely()
        .stage("submitted")
        .record_as("row-missing");
}

/// The message was sent, the actor ran into the missing row.
#[test]
fn row_missing_for_the_actor() {
    let mut stack = with_api_fault("row-not-committed");
    let verdict = stack.diagnose(&[]);
    assert_eq!(verdict.cause(), "row-missing", "{}", verdict.explain());
    verdict
        .expect("A", "row-missing", 10)
        .outcome("failed")
        .contributes("actor-raised");
}

/// Where nobody consumes, a row that the worker would have created is only a consequence.
#[test]
fn row_missing_is_a_consequence() {
    let mut stack = Stack::new("row-consequence");
    stack.api_with_fault("row-missing");
    stack.diagnose(&[]).expect("C", "no-consumer", 20);
    stack.worker(healthy().env("OPS_WORKER_CREATES_ROW", "1"));
    stack.diagnose(&[]).expect("A", "succeeded", 0);
}

// ---- the message ----

#[test]
fn not_published() {
    with_api_fault("not-dispatched-unconnected")
        .diagnose(&[])
        .expect("C", "not-published", 20)
        .stage("recorded")
        .record_as("not-published");
}

/// Connected to this very vhost, and nothing sent.
#[test]
fn not_dispatched() {
    with_api_fault("not-dispatched")
        .diagnose(&[])
        .expect("C", "not-dispatched", 20)
        .stage("recorded");
}

#[test]
fn published_to_other_queue() {
    with_api_fault("other-queue")
        .diagnose(&[])
        .expect("C", "published-to-other-queue", 20)
        .certain()
        .sums_up("default_v2")
        .record_as("published-to-other-queue");
}

/// The message is where it belongs; it is the worker that looks elsewhere.
#[test]
fn worker_on_other_queue() {
    let mut stack = Stack::new("worker-other-queue");
    stack.worker(fault("other-queue").consumes("default_v2"));
    stack.api(&[]);
    stack
        .diagnose(&[])
        .expect("C", "worker-on-other-queue", 20)
        .stage("published")
        .says("default_v2");
}

#[test]
fn no_consumer() {
    let mut stack = Stack::new("no-consumer");
    stack.api(&[]);
    stack
        .diagnose(&[])
        .expect("C", "no-consumer", 20)
        .at_least_likely()
        .stage("published")
        .record_as("no-consumer");
}

/// Killed, all of it, in the middle of the day: the log ends without a word.
#[test]
fn no_consumer_after_a_kill() {
    let mut stack = with_worker("killed", healthy());
    let worker = stack.pid_of("worker");
    stack.kill(worker);
    until("the broker notices", || {
        stack
            .depth("default")
            .is_some_and(|(_, consumers)| consumers == 0)
    });
    stack
        .diagnose(&[])
        .expect("C", "no-consumer", 20)
        .stage("published");
}

#[test]
fn worker_not_started() {
    let mut stack = Stack::new("import-error");
    let worker = stack.worker(fault("import-error").without_waiting());
    stack.api(&[]);
    assert_eq!(stack.wait_for_end(worker).code(), Some(2));
    stack
        .diagnose(&[])
        .expect("B", "worker-not-started", 10)
        .at_least_likely()
        .stage("published")
        .sums_up("No module named 'ops_agents'")
        .record_as("worker-not-started");
}

#[test]
fn worker_not_started_for_a_value_error() {
    let mut stack = Stack::new("boot-error");
    let worker = stack.worker(fault("boot-error").without_waiting());
    stack.api(&[]);
    stack.wait_for_end(worker);
    stack
        .diagnose(&[])
        .expect("B", "worker-not-started", 10)
        .sums_up("OPS_MODEL must be one of");
}

/// `-v` takes no value: `2` is taken for the first module.
#[test]
fn worker_not_started_for_its_arguments() {
    let mut stack = Stack::new("verbose-2");
    let worker = stack.worker(healthy().arguments(&["-v", "2"]).without_waiting());
    stack.api(&[]);
    stack.wait_for_end(worker);
    stack
        .diagnose(&[])
        .expect("B", "worker-not-started", 10)
        .sums_up("No module named '2'");
}

fn worker_cannot_connect_on(dramatiq: Dramatiq) -> stack::Verdict {
    let mut stack = Stack::with(&format!("refused{}", suffix(dramatiq)), dramatiq);
    let url = stack.amqp_url("lab:wrong");
    stack.worker(healthy().env("RABBITMQ_URL", &url).without_waiting());
    stack.api(&[]);
    stack.until_logged("worker.log", "Restarting consumer");
    stack
        .diagnose(&[])
        .expect("B", "worker-cannot-connect", 10)
        .at_least_likely()
        .sums_up("ACCESS_REFUSED")
}

#[test]
fn worker_cannot_connect() {
    worker_cannot_connect_on(Dramatiq::Two)
        .stage("published")
        .record_as("worker-cannot-connect");
}

#[test]
fn worker_cannot_connect_1() {
    worker_cannot_connect_on(Dramatiq::One);
}

#[test]
fn worker_cannot_connect_to_a_vhost_or_port() {
    let mut stack = Stack::new("no-vhost");
    let url = stack.amqp_url("lab:lab");
    let worker = stack.worker(
        healthy()
            .env("RABBITMQ_URL", &format!("{url}-staging"))
            .without_waiting(),
    );
    stack.api(&[]);
    stack.until_logged("worker.log", "Restarting consumer");
    stack.diagnose(&[]).expect("B", "worker-cannot-connect", 10);
    stack.kill(worker);

    let nobody = format!("amqp://lab:lab@127.0.0.1:{}/{}", free_port(), stack.id);
    std::fs::remove_file(stack.dir.join("worker.log")).unwrap();
    stack.worker(healthy().env("RABBITMQ_URL", &nobody).without_waiting());
    stack.until_logged("worker.log", "Restarting consumer");
    stack.diagnose(&[]).expect("B", "worker-cannot-connect", 10);
}

/// Its connections were cut once, and it came back: an old error proves nothing.
#[test]
fn worker_connected_again() {
    let mut stack = with_worker("reconnected", healthy().env("dramatiq_restart_delay", "500"));
    let lab = Lab::get();
    // Connections show in the management API some seconds late.
    until("both consumers have lost their connections", || {
        let connections = lab.manage("GET", &format!("vhosts/{}/connections", stack.id), None);
        for connection in connections.as_array().into_iter().flatten() {
            if connection["client_properties"]["product"] == "Pika Python Client Library" {
                let name = connection["name"]
                    .as_str()
                    .unwrap()
                    .replace(' ', "%20")
                    .replace('>', "%3E");
                // It may be gone by now.
                lab.ask("DELETE", &format!("connections/{name}"), None);
            }
        }
        stack
            .read("worker.log")
            .matches("Consumer encountered a connection error")
            .count()
            >= 2
    });
    for queue in ["default", "default.DQ"] {
        until("the worker consumes again", || {
            stack.depth(queue).is_some_and(|(_, consumers)| consumers == 1)
        });
    }
    stack.diagnose(&[]).expect("A", "succeeded", 0);
}

#[test]
fn delayed() {
    with_api_fault("delay")
        .diagnose(&[])
        .expect("C", "delayed", 20)
        .certain()
        .stage("published")
        .record_as("delayed");
}

/// A delay that ends while we watch.
#[test]
fn delayed_for_a_second() {
    let mut stack = Stack::new("delay-1s");
    stack.worker(healthy());
    stack.api(&[("OPS_API_FAULT", "delay"), ("OPS_DELAY_MS", "1000")]);
    stack.set("timing.silence", "5s");
    stack.diagnose(&[]).expect("A", "succeeded", 0);
}

// ---- between the queue and the actor ----

fn unknown_actor_on(dramatiq: Dramatiq) -> stack::Verdict {
    with_api_fault_on("unknown-actor", dramatiq)
        .diagnose(&[])
        .expect("B", "unknown-actor", 10)
        .certain()
        .sums_up("execute_agent_task_v2")
}

#[test]
fn unknown_actor() {
    unknown_actor_on(Dramatiq::Two).record_as("unknown-actor");
}

#[test]
fn unknown_actor_1() {
    unknown_actor_on(Dramatiq::One);
}

#[test]
fn unknown_actor_without_verbose_log() {
    let mut stack = Stack::new("unknown-actor-quiet");
    stack.worker(healthy().quiet());
    stack.api_with_fault("unknown-actor");
    // Which actor it should be is not configured: any may be the task's.
    stack.unset("broker.actor");
    stack
        .diagnose(&[])
        .expect("B", "unknown-actor", 10)
        .sums_up("execute_agent_task_v2");
}

#[test]
fn decode_error() {
    with_api_fault("garbage")
        .diagnose(&[])
        .expect("B", "decode-error", 10)
        .at_least_likely()
        .record_as("decode-error");
}

#[test]
fn message_skipped() {
    with_worker_fault("skip")
        .diagnose(&[])
        .expect("B", "message-skipped", 10)
        .certain()
        .record_as("message-skipped");
}

fn bad_arguments_on(dramatiq: Dramatiq) -> stack::Verdict {
    with_api_fault_on("bad-arguments", dramatiq)
        .diagnose(&[])
        .expect("B", "bad-arguments", 10)
        .certain()
        .sums_up("priority")
}

#[test]
fn bad_arguments() {
    bad_arguments_on(Dramatiq::Two).record_as("bad-arguments");
}

#[test]
fn bad_arguments_1() {
    bad_arguments_on(Dramatiq::One);
}

#[test]
fn bad_arguments_for_an_old_worker() {
    with_worker_fault("old-signature")
        .diagnose(&[])
        .expect("B", "bad-arguments", 10)
        .sums_up("input_data");
}

/// A stranger's worker on the same queue knows no such actor and dead-letters what it takes.
#[test]
fn taken_by_other_worker() {
    let mut stack = Stack::new("other-worker");
    let folder = stack.dir.clone();
    std::fs::write(folder.join("newsletter.py"), NEWSLETTER).unwrap();
    // The first to consume is the first to be served.
    stack.worker(healthy().module(&folder, "newsletter").log("newsletter.log"));
    stack.worker(healthy());
    stack.api(&[]);
    let verdict = stack.diagnose(&[]);
    assert!(
        stack
            .read("newsletter.log")
            .contains("undefined actor 'execute_agent_task_actor'")
    );
    verdict
        .expect("B", "taken-by-other-worker", 10)
        .at_least_likely()
        .record_as("taken-by-other-worker");
}

/// Another start of the same code, which hangs before it calls the actor.
#[test]
fn taken_by_another_start_of_the_worker() {
    let mut stack = Stack::new("other-start");
    stack.worker(fault("hang-in-hook").log("forgotten.log"));
    stack.worker(healthy());
    stack.api(&[]);
    stack
        .diagnose(&[])
        .expect("C", "taken-by-other-worker", 20)
        .stage("delivered");
}

const NEWSLETTER: &str = r#"
import os

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker

dramatiq.set_broker(RabbitmqBroker(url=os.environ["RABBITMQ_URL"]))


@dramatiq.actor
def send_newsletter(address):
    print("sent to", address)
"#;

// ---- in the actor ----

fn actor_raised_on(dramatiq: Dramatiq) -> stack::Verdict {
    with_worker_fault_on("raise", dramatiq)
        .diagnose(&[])
        .expect("A", "actor-raised", 10)
        .certain()
        .outcome("failed")
        .sums_up("the model refused to answer")
}

#[test]
fn actor_raised() {
    actor_raised_on(Dramatiq::Two).record_as("actor-raised");
}

#[test]
fn actor_raised_1() {
    actor_raised_on(Dramatiq::One);
}

#[test]
fn actor_raised_before_it_touched_the_row() {
    with_worker_fault("raise-before-row")
        .diagnose(&[])
        .expect("A", "actor-raised", 10)
        .certain()
        .outcome("failed");
}

#[test]
fn actor_raised_without_retry() {
    with_worker_fault("raise-final")
        .diagnose(&[])
        .expect("A", "actor-raised", 10)
        .certain()
        .outcome("failed");
}

/// `Retry` leaves no line above DEBUG; the copy on the delay queue carries the traceback.
#[test]
fn actor_raised_retry() {
    with_worker("raise-retry", fault("retry").quiet())
        .diagnose(&[])
        .expect("A", "actor-raised", 10)
        .outcome("failed")
        .says("the model is still loading");
}

/// An error that was caught: the outcome stays what the row says.
#[test]
fn error_swallowed() {
    with_worker_fault("swallow-error")
        .diagnose(&[])
        .expect("A", "succeeded", 0)
        .outcome("succeeded")
        .contributes("error-swallowed");
}

#[test]
fn time_limit_exceeded() {
    with_worker_fault("time-limit")
        .diagnose(&[])
        .expect("A", "time-limit-exceeded", 10)
        .certain()
        .outcome("failed")
        .record_as("time-limit-exceeded");
}

fn worker_died_in_actor_on(dramatiq: Dramatiq) -> stack::Verdict {
    with_worker_fault_on("die", dramatiq)
        .diagnose(&[])
        .expect("A", "worker-died-in-actor", 10)
        .at_least_likely()
        .outcome("failed")
}

#[test]
fn worker_died_in_actor() {
    worker_died_in_actor_on(Dramatiq::Two).record_as("worker-died-in-actor");
}

#[test]
fn worker_died_in_actor_1() {
    worker_died_in_actor_on(Dramatiq::One);
}

#[test]
fn worker_exited_in_actor() {
    with_worker_fault("exit")
        .diagnose(&[])
        .expect("A", "worker-died-in-actor", 10)
        .outcome("failed");
}

// ---- the row again ----

/// The log says COMPLETED, the transaction was rolled back.
#[test]
fn row_rolled_back() {
    with_row_fault("rollback")
        .diagnose(&[])
        .expect("A", "row-rolled-back", 10)
        .at_least_likely()
        .outcome("unfinished")
        .record_as("row-rolled-back");
}

#[test]
fn row_rolled_back_altogether() {
    with_row_fault("rollback-all")
        .diagnose(&[])
        .expect("A", "row-rolled-back", 10)
        .at_least_likely();
}

/// Only a child row was rolled back: its foreign key locked our row, so the header shows an
/// aborted transaction, but nobody tried to update the row.
#[test]
fn row_never_written_below_an_aborted_lock() {
    let verdict = with_row_fault("rollback-child").diagnose(&[]);
    assert_eq!(
        (verdict.scenario(), verdict.code()),
        ("A", Some(10)),
        "{}",
        verdict.explain()
    );
    match verdict.cause() {
        "row-rolled-back" => drop(verdict.not_certain()),
        cause => assert_eq!(cause, "row-never-written", "{}", verdict.explain()),
    }
}

#[test]
fn row_never_written() {
    with_row_fault("never-written")
        .diagnose(&[])
        .expect("A", "row-never-written", 10)
        .at_least_likely()
        .outcome("unfinished")
        .record_as("row-never-written");
}

#[test]
fn row_never_finished() {
    with_row_fault("never-finished")
        .diagnose(&[])
        .expect("A", "row-never-written", 10)
        .outcome("unfinished");
}

#[test]
fn row_written_to_another_schema() {
    with_row_fault("other-database-write")
        .diagnose(&[])
        .expect("A", "row-never-written", 10);
}

/// Somebody holds the row; `hold` is how long.
fn locked_for(name: &str, hold: Duration) -> (Stack, stack::Verdict, i32) {
    let mut stack = Stack::new(name);
    stack.worker(healthy());
    // The relay leaves a second to take the lock.
    stack.api(&[("OPS_API_FAULT", "outbox"), ("OPS_OUTBOX_SECONDS", "1")]);
    stack.set("timing.silence", "5s");
    stack.set("timing.timeout", "8s");
    let mut connection = run(Lab::get().connect(&stack.id));
    let pid: i32 = run(sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut connection)).unwrap();
    run(sqlx::raw_sql("SET application_name = 'month-end report'; BEGIN").execute(&mut connection)).unwrap();
    let diagnosis = stack.start_diagnose(&[]);
    until("the row is locked", || {
        let locked =
            run(sqlx::query("SELECT task_id FROM task FOR UPDATE").fetch_optional(&mut connection)).unwrap();
        locked.is_some_and(|row| row.get::<String, _>(0).starts_with("task_"))
    });
    let holder = thread::spawn(move || {
        thread::sleep(hold);
        run(sqlx::raw_sql("ROLLBACK").execute(&mut connection)).unwrap();
    });
    let verdict = diagnosis.finish(&stack);
    holder.join().unwrap();
    (stack, verdict, pid)
}

#[test]
fn row_locked() {
    let (_stack, verdict, pid) = locked_for("row-locked", Duration::from_secs(9));
    verdict
        .expect("A", "row-locked", 10)
        .certain()
        .outcome("unfinished")
        .says(&pid.to_string())
        .says("month-end report")
        .record_as("row-locked");
}

/// The lock is gone in time; what it leaves in the row's header is no rollback.
#[test]
fn row_locked_for_a_while() {
    let (_stack, verdict, _) = locked_for("row-unlocked", Duration::from_secs(3));
    verdict.expect("A", "succeeded", 0);
}

/// The worker waits for a transaction of its own.
#[test]
fn row_locked_by_the_worker_itself() {
    let mut stack = with_worker_fault("lock-itself");
    stack.set("timing.timeout", "5s");
    stack.diagnose(&[]).expect("A", "row-locked", 10).certain();
}

// ---- sources that cannot see: weaker, never wrong ----

#[test]
fn without_the_worker_log() {
    let mut stack = with_worker("no-log", healthy().log("elsewhere.log"));
    stack
        .diagnose(&[])
        .expect("A", "succeeded", 0)
        .blind("worker-log");
    let mut stack = with_worker("no-log-raise", fault("raise").log("elsewhere.log"));
    stack
        .diagnose(&[])
        .expect("A", "actor-raised", 10)
        .blind("worker-log");
}

#[test]
fn without_management() {
    let mut stack = with_api_fault("unknown-actor");
    let url = format!("http://lab:wrong@{}", Lab::get().management());
    stack.set("broker.management_url", url);
    stack
        .diagnose(&[])
        .expect("B", "unknown-actor", 10)
        .blind("management")
        .blind("firehose");
}

#[test]
fn without_the_firehose() {
    let mut stack = with_worker_fault("skip");
    stack.set("broker.trace", "off");
    stack
        .diagnose(&[])
        .expect("B", "message-skipped", 10)
        .blind("firehose");
}

/// The row is the only thing that says whether it succeeded.
#[test]
fn without_the_database() {
    let mut stack = with_worker("no-database", healthy());
    stack.unset("database");
    stack.unset("api.status_path");
    stack.set("timing.timeout", "6s");
    let verdict = stack.diagnose(&[]);
    assert_eq!(
        (verdict.scenario(), verdict.code()),
        ("A", Some(30)),
        "{}",
        verdict.explain()
    );
    verdict.outcome("unknown").blind("database");
    let verdict = stack.diagnose(&["--expect", "entered"]);
    assert_eq!(
        (verdict.scenario(), verdict.code()),
        ("A", Some(0)),
        "{}",
        verdict.explain()
    );
}

/// Nothing but the API: it cannot be told, and that is what is said.
#[test]
fn without_anything() {
    let mut stack = Stack::new("blind");
    stack.api(&[]);
    stack.set(
        "broker.amqp_url",
        format!("amqp://lab:wrong@{}/{}", Lab::get().amqp(), stack.id),
    );
    stack.set(
        "broker.management_url",
        format!("http://lab:wrong@{}", Lab::get().management()),
    );
    stack.unset("database");
    stack.unset("worker");
    let verdict = stack.diagnose(&[]);
    assert_eq!(
        (verdict.scenario(), verdict.code()),
        ("none", Some(30)),
        "{}",
        verdict.explain()
    );
}

// ---- what the tests above share ----

/// A message as Dramatiq writes it.
pub fn dramatiq_message(queue: &str, actor: &str, kwargs: serde_json::Value) -> String {
    json!({
        "queue_name": queue, "actor_name": actor, "args": [], "kwargs": kwargs, "options": {},
        "message_id": uuid::Uuid::new_v4().to_string(), "message_timestamp": 1_700_000_000_000_u64
    })
    .to_string()
}

/// Declares a queue and consumes it until the stack ends.
fn consume(stack: &mut Stack, queue: &'static str) {
    let connection = stack.amqp();
    let channel = run(connection.create_channel()).unwrap();
    run(channel.queue_declare(queue.into(), Default::default(), Default::default())).unwrap();
    let consumer = run(channel.basic_consume(
        queue.into(),
        "stranger".into(),
        Default::default(),
        Default::default(),
    ))
    .unwrap();
    // It ends with its connection.
    std::mem::forget((channel, consumer));
}
