//! The same system in other shapes: other users, other queues, other ways to a log or a row.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use crate::lab::{Lab, signal, until};
use crate::stack::Stack;
use crate::system::{dramatiq_message, with_api_fault, with_row_fault, with_worker, with_worker_fault};
use crate::worker::{fault, healthy};

/// Each follows its own task, and both leave the vhost as it was.
#[test]
fn two_diagnoses_of_one_system() {
    let mut stack = with_worker("two", healthy());
    let before = stack.vhost();
    let mut first = stack.start_diagnose(&[]);
    let mut second = stack.start_diagnose(&[]);
    let first = first.finish_quietly(&stack).expect("A", "succeeded", 0);
    let second = second.finish_quietly(&stack).expect("A", "succeeded", 0);
    assert_ne!(first.json["task"]["id"], second.json["task"]["id"]);
    until("tracing is off again", || stack.vhost() == before);
}

#[test]
fn log_through_a_command() {
    let mut stack = with_worker("log-command", fault("raise"));
    stack.unset("worker.log");
    let log = stack.dir.join("worker.log");
    stack.set(
        "worker.log_command",
        vec!["tail", "-n", "+1", "-F", log.to_str().unwrap()],
    );
    stack
        .diagnose(&[])
        .expect("A", "actor-raised", 10)
        .certain()
        .sees(&["worker-log"]);
}

/// The log is renamed and begun anew, as logrotate does it with `copytruncate`, before the task.
#[test]
fn log_that_was_truncated() {
    let mut stack = with_worker("truncated", healthy());
    fs::File::options()
        .write(true)
        .open(stack.dir.join("worker.log"))
        .unwrap()
        .set_len(0)
        .unwrap();
    stack
        .diagnose(&[])
        .expect("A", "succeeded", 0)
        .sees(&["worker-log"]);
}

/// Rotated in mid-run, by a rename: the worker goes on writing to the file that it has open.
#[test]
fn log_that_is_rotated_meanwhile() {
    let mut stack = with_worker_fault("time-limit");
    let running = stack.start_diagnose(&[]);
    stack.until_logged("worker.log", "Received args");
    let log = stack.dir.join("worker.log");
    fs::rename(&log, stack.dir.join("worker.log.1")).unwrap();
    fs::write(&log, "").unwrap();
    running
        .finish(&stack)
        .expect("A", "time-limit-exceeded", 10)
        .certain();
}

#[test]
fn log_in_another_time_zone() {
    with_worker("time-zone", fault("raise").env("TZ", "America/St_Johns"))
        .diagnose(&[])
        .expect("A", "actor-raised", 10)
        .certain();
}

/// A user of the broker with these tags and all permissions in the vhost; removed with `drop_user`.
fn as_user(stack: &mut Stack, tags: &str) {
    let (lab, user) = (Lab::get(), stack.id.clone());
    lab.manage(
        "PUT",
        &format!("users/{user}"),
        Some(json!({ "password": "pass", "tags": tags })),
    );
    let everything = json!({ "configure": ".*", "write": ".*", "read": ".*" });
    lab.manage("PUT", &format!("permissions/{user}/{user}"), Some(everything));
    stack.set("broker.amqp_url", stack.amqp_url(&format!("{user}:pass")));
    stack.set(
        "broker.management_url",
        format!("http://{user}:pass@{}", lab.management()),
    );
}

fn drop_user(stack: &Stack) {
    Lab::get().manage("DELETE", &format!("users/{}", stack.id), None);
}

/// This user is shown none of the others' consumers: that is not "nobody consumes".
#[test]
fn user_who_sees_only_his_own() {
    let mut stack = with_worker("management-tag", fault("hang-in-hook"));
    as_user(&mut stack, "management");
    let verdict = stack.diagnose(&[]);
    drop_user(&stack);
    assert_ne!(verdict.cause(), "no-consumer", "{}", verdict.explain());
    assert_eq!(verdict.scenario(), "C", "{}", verdict.explain());
    verdict.expect("C", "blocked-before-entry", 20).blind("firehose");
}

/// He sees everything, but may not switch tracing on.
#[test]
fn user_who_may_not_trace() {
    let mut stack = with_api_fault("unknown-actor");
    as_user(&mut stack, "monitoring");
    let verdict = stack.diagnose(&[]);
    drop_user(&stack);
    verdict
        .expect("B", "unknown-actor", 10)
        .blind("firehose")
        .sees(&["management"]);
}

/// Names with capitals, and a view: it has no row header to read.
#[test]
fn row_through_a_view() {
    let mut stack = with_row_fault("rollback");
    stack.sql("CREATE VIEW \"Jobs\" AS SELECT task_id AS \"Id\", status AS \"State\" FROM task");
    for (key, name) in [("table", "Jobs"), ("id_column", "Id"), ("status_column", "State")] {
        stack.set(&format!("database.{key}"), name);
    }
    stack.unset("database.error_column");
    let verdict = stack.diagnose(&[]);
    assert_eq!(
        (verdict.scenario(), verdict.code()),
        ("A", Some(10)),
        "{}",
        verdict.explain()
    );
    verdict.not_certain().outcome("unfinished").sees(&["database"]);
}

#[test]
fn worker_frozen() {
    let mut stack = with_worker("frozen", healthy());
    let worker = stack.pid_of("worker");
    signal("STOP", format!("-{worker}"));
    let verdict = stack.diagnose(&[]);
    signal("CONT", format!("-{worker}"));
    verdict.expect("C", "worker-frozen", 20).stage("delivered");
}

/// The master was killed: its children consume on, and their log goes nowhere. The new worker
/// waits for the second message.
#[test]
fn taken_by_orphaned_worker() {
    let mut stack = Stack::new("orphan");
    let old = stack.worker(fault("hang-in-hook").log("old.log"));
    signal("KILL", old);
    stack.wait_for_end(old);
    sleep(Duration::from_millis(300));
    stack.worker(healthy());
    stack.api(&[]);
    stack
        .diagnose(&[])
        .expect("C", "taken-by-orphaned-worker", 20)
        .stage("delivered");
}

/// All threads are busy with the work of others.
#[test]
fn waiting_in_worker() {
    let mut stack = with_worker_fault("hang");
    stack.set("timing.timeout", "4s");
    for _ in 0..2 {
        stack.diagnose(&[]).expect("A", "actor-still-running", 10);
    }
    let verdict = stack.diagnose(&[]).expect("C", "actor-still-running", 20);
    assert_eq!(verdict.json["cause"]["explains"][0]["id"], "waiting-in-worker");
}

/// Nothing happens for longer than the silence window, but the actor is at work.
#[test]
fn slow_work() {
    with_worker("slow-work", healthy().quiet().env("OPS_WORK_SECONDS", "4"))
        .diagnose(&[])
        .expect("A", "succeeded", 0);
}

#[test]
fn two_messages_for_one_task() {
    with_api_fault("twice").diagnose(&[]).expect("A", "succeeded", 0);
}

/// While our task is at work, the same actor fails again and again for others.
#[test]
fn failures_of_others() {
    let mut stack = with_worker("failures", healthy().quiet().env("OPS_WORK_SECONDS", "1.5"));
    let mut diagnosis = stack.start_diagnose(&[]);
    until("the queue exists", || stack.depth("default").is_some());
    while !diagnosis.has_ended() {
        let kwargs = json!({ "task_id": format!("task_{}", uuid::Uuid::new_v4().simple()), "task_type": "x", "input_data": {} });
        stack.publish(
            "default",
            &dramatiq_message("default", "execute_agent_task_actor", kwargs),
        );
        sleep(Duration::from_millis(100));
    }
    diagnosis.finish(&stack).expect("A", "succeeded", 0);
}

/// Asked to stop while it works on our task, a worker finishes it first.
#[test]
fn worker_that_is_stopped() {
    let mut stack = with_worker("stopped", healthy().env("OPS_WORK_SECONDS", "2"));
    let diagnosis = stack.start_diagnose(&[]);
    stack.until_logged("worker.log", "ACTOR ENTRY POINT REACHED");
    signal("TERM", stack.pid_of("worker"));
    diagnosis.finish(&stack).expect("A", "succeeded", 0);
}

/// Killed with all its processes: no line says so. This attempt failed, whatever comes of the next.
#[test]
fn worker_that_is_killed() {
    let mut stack = with_worker("killed-at-work", healthy().env("OPS_WORK_SECONDS", "10"));
    let diagnosis = stack.start_diagnose(&[]);
    stack.until_logged("worker.log", "ACTOR ENTRY POINT REACHED");
    let worker = stack.pid_of("worker");
    stack.kill(worker);
    diagnosis
        .finish(&stack)
        .expect("A", "worker-died-in-actor", 10)
        .outcome("failed");
}

/// `character` without a length is one character: the id must not be cut to it.
#[test]
fn row_with_an_id_of_fixed_length() {
    let mut stack = with_worker("char-id", healthy());
    stack.sql("ALTER TABLE task_event DROP CONSTRAINT task_event_task_id_fkey");
    stack.sql("ALTER TABLE task ALTER COLUMN task_id TYPE char(60)");
    stack.diagnose(&[]).expect("A", "succeeded", 0);
}

/// A table that does not exist: the report names the one that does.
#[test]
fn table_that_does_not_exist() {
    let mut stack = with_worker("no-table", healthy());
    stack.set("database.table", "tasks");
    stack.unset("api.status_path");
    stack.set("timing.timeout", "6s");
    let verdict = stack.diagnose(&[]).blind("database").outcome("unknown");
    assert_eq!(
        (verdict.scenario(), verdict.code()),
        ("A", Some(30)),
        "{}",
        verdict.explain()
    );
    let database = verdict
        .list("sources")
        .iter()
        .find(|source| source["name"] == "database")
        .unwrap();
    let named = [&database["reason"], &database["hint"]].iter().any(|text| {
        let mut words = text
            .as_str()
            .unwrap_or_default()
            .split(|c: char| !c.is_alphanumeric() && c != '_');
        words.any(|word| word == "task")
    });
    assert!(named, "{database}");
}
