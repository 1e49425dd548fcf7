//! The actor ran, and its row does not say that all is well.

use std::thread;
use std::time::Duration;

use sqlx::Row as _;

use crate::lab::{Lab, run, until};
use crate::stack::Stack;
use crate::system::{with_row_fault, with_worker, with_worker_fault, with_worker_fault_on};
use crate::verdict::Verdict;
use crate::worker::{Dramatiq, fault, healthy};

fn actor_raised_on(dramatiq: Dramatiq) -> Verdict {
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
fn actor_raised_with_dramatiq_1() {
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
        // It asks to be run again: that is no failure.
        .outcome("unfinished")
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

fn worker_died_in_actor_on(dramatiq: Dramatiq) -> Verdict {
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
fn worker_died_in_actor_with_dramatiq_1() {
    worker_died_in_actor_on(Dramatiq::One);
}

#[test]
fn worker_exited_in_actor() {
    with_worker_fault("exit")
        .diagnose(&[])
        .expect("A", "worker-died-in-actor", 10)
        .outcome("failed");
}

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

/// The message is acknowledged and the row's header says that nothing is on its way: no silence is waited for.
#[test]
fn a_fate_that_nothing_changes_is_not_waited_for() {
    let mut stack = with_worker_fault("rollback");
    stack.set("timing.silence", "50s");
    stack.set("timing.timeout", "80s");
    let verdict = stack
        .diagnose(&[])
        .expect("A", "row-rolled-back", 10)
        .at_least_likely();
    let end = verdict
        .list("timeline")
        .iter()
        .find(|event| event["kind"] == "ended");
    let end = end.expect("the run ended");
    assert_eq!(end["why"], "silence", "{}", verdict.explain());
    let at_ms = end["at_ms"].as_f64().expect("a time");
    assert!(at_ms < 25_000.0, "{}", verdict.explain());
}

/// Its own transaction, which nobody commits.
#[test]
fn row_not_committed() {
    with_row_fault("never-commit")
        .diagnose(&[])
        .expect("A", "row-not-committed", 10)
        .at_least_likely()
        .outcome("unfinished")
        .sums_up("idle in transaction");
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
    let mut stack = with_row_fault("rollback-child");
    let verdict = stack.diagnose(&[]);
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
fn locked_for(name: &str, hold: Duration) -> (Stack, Verdict, i32) {
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
    stack.diagnose(&[]).expect("A", "waits-for-itself", 10);
}
