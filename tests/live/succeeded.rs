//! Tasks that ran, in all the ways that look suspicious.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::lab::run;
use crate::stack::Stack;
use crate::system::{consume, dramatiq_message, with_api_fault, with_worker, with_worker_fault};
use crate::worker::{Dramatiq, fault, healthy};

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
fn succeeded_with_dramatiq_1() {
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
    // Sent half a second later, so that the row's first status is seen however slow the machine is:
    // that the row said PENDING too shows that the API speaks its language.
    let mut stack = Stack::new("stale-read");
    stack.api(&[
        ("OPS_API_FAULT", "stale-read,outbox"),
        ("OPS_OUTBOX_SECONDS", "0.5"),
    ]);
    stack.worker(healthy());
    stack
        .diagnose(&[])
        .expect("A", "succeeded", 0)
        .contributes("api-stale-read")
        .record_as("api-stale-read");
}
