//! The actor waits for a lock on the task's row.

use crate::diagnosis::evidence::{Fact, locks, sessions};
use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::timeline::{Source, Xmax};

pub(super) const CAUSE: Cause = Cause {
    id: "row-locked",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::DatabaseHost],
    explains: &[
        "workers-busy",
        "waiting-in-worker",
        "worker-blocked",
        "backlog",
        "actor-still-running",
    ],
    needs: &[&[Source::Database]],
    page: include_str!("row_locked.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let Some(Fact { n, value: wait, .. }) = locks::last_look(story) else {
        return by_its_holder(story).unwrap_or(Answer::NotApplicable);
    };
    let Some(wait) = wait else {
        return gave_up(story)
            .unwrap_or_else(|| Answer::ruled_out("the row was locked for a while, and is free again", [n]));
    };
    if wait.table {
        return Answer::ruled_out("what is waited for is the whole table", [n]);
    }
    let waiters = locks::waiting_processes(story, wait);
    let worker = waiters
        .iter()
        .find(|peer| locks::is_our_worker(story, peer.value));
    let text = format!(
        "backend {} waits for a lock on this row, held by {}",
        wait.pid,
        locks::holder(wait)
    );
    let answer = match (worker, waiters.first()) {
        (Some(worker), _) => {
            let text = format!("the worker (pid {worker}) waits: {text}");
            // Until the end it may be one of the waits that every system has.
            // Afterwards the wait alone does not say that it is this task's: a sweeper's looks the same.
            let entered = story.reached(Stage::Entered).map(|(_, evidence)| evidence);
            let is_alone =
                story.post_mortem() && entered.is_none_or(|evidence| evidence.iter().all(|seen| *seen == n));
            if story.closed() && !is_alone {
                Answer::shown(text, [n, worker.n])
            } else {
                Answer::likely(text, [n, worker.n])
            }
        }
        (None, Some(other)) => Answer::possible(
            format!("{text}; the waiting client is pid {other}, and not the process that has the task"),
            [n, other.n],
        ),
        // Who waits may be somebody who has nothing to do with the task.
        (None, None) => Answer::possible(format!("{text}; whose the waiting backend is was not seen"), [n])
            .would_decide(&[Source::Process]),
    };
    locks::at_work_or_idle(locks::naming_holder(answer, &wait.blockers), &wait.blockers)
}

/// Nobody was seen in the line for this row, and the worker waits for the transaction that has it.
fn by_its_holder(story: &Story<'_>) -> Option<Answer> {
    let (_, entered) = story.reached(Stage::Entered)?;
    let at_work = story.closed() && story.attempt_over().is_none() && !story.call_has_returned();
    let waiting = sessions::waiting(story).filter(|_| at_work)?;
    let row = waiting.for_the_row(story)?;
    if locks::another_thread_waits(story, waiting.pid) {
        return None;
    }
    let blockers = &waiting.session.blockers;
    let text = format!(
        "the worker (pid {}) waits for the transaction that has this row: {}",
        waiting.pid,
        locks::head(blockers)
    );
    let evidence: Vec<u32> = [waiting.evidence.as_slice(), &[row.n], entered].concat();
    // It may have changed other rows as well.
    let answer = Answer::likely(text, evidence);
    Some(locks::at_work_or_idle(
        locks::naming_holder(answer, blockers),
        blockers,
    ))
}

/// The worker waits no longer, the actor is over, and the transaction that it waited for holds the row still.
fn gave_up(story: &Story<'_>) -> Option<Answer> {
    let over = story.attempt_over().filter(|_| story.raised().is_empty())?;
    let wait = locks::last_wait(story).filter(|wait| !wait.table)?;
    let waiters = locks::waiting_processes(story, &wait);
    let worker = waiters
        .iter()
        .find(|peer| locks::is_our_worker(story, peer.value))?;
    let row = story.last_row()?;
    let holder = row
        .holder
        .as_ref()
        .filter(|_| row.xmax_state == Some(Xmax::InProgress))?;
    let is_the_same = wait.blockers.iter().any(|blocker| blocker.pid == holder.pid);
    // A look from before the end says nothing of what is now.
    if !story.closed() || !is_the_same || row.asked_at_ms.is_none_or(|asked| asked <= over.at_ms) {
        return None;
    }
    let text = format!(
        "the worker (pid {worker}) waited for a lock on this row and gave up: {} holds it still, and the actor is over",
        locks::holder(&wait)
    );
    let evidence = [wait.n, worker.n, over.n, row.n];
    // It may have been let go and taken again meanwhile.
    let held_before = story.rows().iter().any(|earlier| {
        earlier.n < wait.n && earlier.xmax == row.xmax && earlier.xmax_state == Some(Xmax::InProgress)
    });
    Some(match held_before {
        true => Answer::shown(text, evidence),
        false => Answer::likely(text, evidence),
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;
    use crate::timeline::{EventKind, LockWait, Row};

    /// A look at the row while the transaction of this backend has it.
    fn held_by(pid: i32, writes: bool) -> EventKind {
        let row: Row = serde_json::from_value(serde_json::json!({"present": true, "status": "PENDING",
            "xmin": 700, "xmax": 701, "xmax_state": "in-progress", "holder_writes": writes,
            "holder": {"pid": pid, "state": "idle in transaction"}, "asked_at_ms": 1e6}))
        .expect("a row");
        EventKind::Row(row)
    }

    /// `lock_timeout`, and a `try` around it: the row is held by the same transaction before and after.
    #[test]
    fn a_wait_that_was_given_up() {
        let held = |by: i32| held_by(by, false);
        let blocked = LockWait {
            client: Some("127.0.0.1:50001".into()),
            blockers: serde_json::from_value(
                serde_json::json!([{"pid": 77, "state": "idle in transaction"}]),
            )
            .expect("blockers"),
            ..LockWait::of(4001)
        };
        let scene = |before: bool, after: i32| {
            let scene = Scene::entered().stack(101, "Thread-4", &IN_THE_DATABASE);
            let scene = if before {
                scene.see(Source::Database, held(77))
            } else {
                scene
            };
            scene
                .see(Source::Database, EventKind::LockWait(blocked.clone()))
                .peer("127.0.0.1:50001 -> database", 101)
                .see(Source::Database, EventKind::LockFree)
                .completed()
                .acked("m-1")
                .see(Source::Database, held(after))
                .timeout()
        };
        assert_eq!(scene(true, 77).cause(), "certain row-locked");
        assert_eq!(scene(false, 77).cause(), "likely row-locked");
        assert_eq!(scene(true, 78).answer(&CAUSE), "ruled out", "another has it now");
    }

    /// The task's thread, in a library for databases.
    pub(in crate::diagnosis::causes) const IN_THE_DATABASE: [(&str, &str); 4] = [
        ("wait", "/v/site-packages/psycopg/waiting.py"),
        ("act", "/app/tasks.py"),
        ("Actor.__call__", "/v/site-packages/dramatiq/actor.py"),
        (
            "WorkerThread.process_message",
            "/v/site-packages/dramatiq/worker.py",
        ),
    ];

    fn waits(client: &str) -> Scene {
        waits_from(Scene::entered().stack(101, "Thread-4", &IN_THE_DATABASE), client)
    }

    fn waits_from(scene: Scene, client: &str) -> Scene {
        scene.see(
            Source::Database,
            EventKind::LockWait(LockWait {
                client: Some(client.into()),
                ..LockWait::of(4001)
            }),
        )
    }

    /// Ours has the row in a transaction, and another task of the same worker waits for it.
    #[test]
    fn a_sibling_that_waits_is_a_near_miss() {
        let sibling = |pid: i32| {
            let scene = Scene::entered().process(102, 100, "python dramatiq -v app --threads 2", |process| {
                process.holds_log = true;
            });
            let scene = scene.stack(pid, "Thread-4", &IN_THE_DATABASE);
            waits_from(scene, "127.0.0.1:50001")
                .peer("127.0.0.1:50001 -> database", pid)
                .timeout()
        };
        assert_eq!(sibling(102).answer(&CAUSE), "possible");
        assert_eq!(sibling(101).cause(), "certain row-locked");
    }

    #[test]
    fn the_worker_waits_for_this_row() {
        let scene = waits("127.0.0.1:50001").peer("127.0.0.1:50001 -> database", 101);
        assert_eq!(scene.clone().timeout().cause(), "certain row-locked");
        assert_eq!(scene.answer(&CAUSE), "likely", "it may be over in a moment");
        assert_eq!(
            scene.timeout().without(Source::Process).answer(&CAUSE),
            "possible",
            "two other sessions may do that to any row"
        );
    }

    /// Of a partitioned table the line is at another relation: the row's header names who has it, and the list of
    /// sessions for whom the worker waits.
    #[test]
    fn the_worker_waits_for_the_transaction_that_has_the_row() {
        use crate::timeline::Sessions;
        let waits_for = |holder: i32| {
            let sessions: Sessions = serde_json::from_value(serde_json::json!({
                "server": "127.0.0.1:5432", "here": "orders", "sessions": [{"client": "127.0.0.1:40001",
                "database": "orders", "waits_for": "transactionid",
                "blockers": [{"pid": 77, "state": "idle in transaction"}]}]}))
            .expect("sessions");
            Scene::entered()
                .process(101, 100, "python dramatiq app.worker", |process| {
                    process.sockets_seen = true;
                    process.sockets.push("127.0.0.1:40001 -> 127.0.0.1:5432".into());
                })
                .see(Source::Database, held_by(holder, true))
                .see(Source::Database, EventKind::DatabaseSessions(sessions))
                .timeout()
        };
        assert_eq!(waits_for(77).cause(), "likely row-locked");
        assert_eq!(waits_for(78).cause(), "likely waits-for-lock", "of another row");
    }

    /// A heartbeat's thread waits for the task's own transaction, in which a long statement runs.
    #[test]
    fn a_wait_for_the_process_itself_may_be_another_threads() {
        let held = |by: i32, state: &str| {
            let blockers = serde_json::json!([{"pid": 78, "state": state, "client": "127.0.0.1:50002"}]);
            let wait = LockWait {
                client: Some("127.0.0.1:50001".into()),
                blockers: serde_json::from_value(blockers).expect("blockers"),
                ..LockWait::of(4001)
            };
            Scene::entered()
                .stack(101, "Thread-4", &IN_THE_DATABASE)
                .see(Source::Database, EventKind::LockWait(wait))
                .peer("127.0.0.1:50001 -> database", 101)
                .peer("127.0.0.1:50002 -> database", by)
                .timeout()
                .answer(&CAUSE)
        };
        assert_eq!(held(101, "active"), "likely");
        assert_eq!(held(900, "active"), "certain");
        assert_eq!(held(101, "idle in transaction"), "certain", "it waits for itself");
    }

    /// A heartbeat or a sweeper in the worker's process has a connection of its own.
    #[test]
    fn another_thread_of_the_worker_is_a_near_miss() {
        let by = |frames: &[(&str, &str)]| {
            let scene = Scene::entered().stack(101, "Thread-4", frames);
            waits_from(scene, "127.0.0.1:50001")
                .peer("127.0.0.1:50001 -> database", 101)
                .timeout()
        };
        let below = |file: &'static str| {
            let [_, call @ ..] = IN_THE_DATABASE;
            let frames: Vec<(&str, &str)> = std::iter::once(("wait", file)).chain(call).collect();
            by(&frames)
        };
        let elsewhere = below("/usr/lib/python3.12/socket.py");
        assert_ne!(elsewhere.cause(), "certain row-locked");
        assert_eq!(elsewhere.answer(&CAUSE), "not applicable");
        // A driver that is written in C has no frames.
        assert_eq!(below("/app/store.py").answer(&CAUSE), "likely");
        // Nobody looked.
        let unseen = waits_from(Scene::entered(), "127.0.0.1:50001").peer("127.0.0.1:50001 -> database", 101);
        assert_eq!(unseen.timeout().answer(&CAUSE), "likely");
    }

    /// Nobody looked for the process at the waiting end, and the worker's own connections have it.
    #[test]
    fn the_worker_is_known_by_its_socket() {
        let of = |pid: i32| {
            waits("127.0.0.1:50001")
                .process(
                    pid,
                    if pid == 101 { 100 } else { 1 },
                    "python dramatiq app",
                    |process| {
                        process.sockets = vec!["127.0.0.1:50001 -> 127.0.0.1:5432".into()];
                    },
                )
                .timeout()
        };
        assert_eq!(of(101).answer(&CAUSE), "certain");
        assert_eq!(of(900).answer(&CAUSE), "possible");
    }

    /// No line of the log tells of the entry: that the worker's own backend waits for the row does.
    #[test]
    fn the_wait_of_the_worker_is_an_entry() {
        let wait = |client: &str| {
            Scene::published()
                .worker_process(&[])
                .deliver(crate::diagnosis::testing::WORKER)
                .peer(crate::diagnosis::testing::WORKER, 101)
                .peer(
                    &format!("{client} -> database"),
                    if client.ends_with('1') { 101 } else { 900 },
                )
                .see(
                    Source::Database,
                    EventKind::LockWait(LockWait {
                        client: Some(client.into()),
                        ..LockWait::of(4001)
                    }),
                )
                .timeout()
        };
        let entered = |scene: &Scene| Story::new(&scene.timeline).reached(Stage::Entered).is_some();
        let worker = wait("127.0.0.1:50001");
        assert!(entered(&worker));
        assert!(worker.cause().ends_with(" row-locked"), "{}", worker.cause());
        assert!(!entered(&wait("127.0.0.1:50002")));
    }

    /// Looked for afterwards, no delivery is seen; the wait is.
    #[test]
    fn afterwards_the_wait_shows_the_entry_as_well() {
        let scene = |pid: i32| {
            Scene::new()
                .given()
                .row("PENDING")
                .worker_process(&[])
                .peer("127.0.0.1:50001 -> database", pid)
                .see(
                    Source::Database,
                    EventKind::LockWait(LockWait {
                        client: Some("127.0.0.1:50001".into()),
                        ..LockWait::of(4001)
                    }),
                )
                .end(crate::timeline::Ended::Looked)
        };
        assert_eq!(scene(101).cause(), "likely row-locked");
        assert!(!scene(900).cause().contains("row-locked"));
    }

    #[test]
    fn another_client_or_a_lock_that_is_free_again_is_a_near_miss() {
        let other = waits("127.0.0.1:50002")
            .process(900, 1, "psql", |_| {})
            .peer("127.0.0.1:50002 -> database", 900)
            .timeout();
        assert_eq!(other.answer(&CAUSE), "possible");
        let free = waits("127.0.0.1:50001")
            .see(Source::Database, EventKind::LockFree)
            .timeout();
        assert_eq!(free.answer(&CAUSE), "ruled out");
        assert_eq!(other.without(Source::Database).answer(&CAUSE), "cannot tell");
    }

    /// A sweeper in another process of the worker waits for the transaction in which the task is at work.
    #[test]
    fn another_process_of_the_worker_is_a_near_miss() {
        let by = |pid: i32| {
            let scene = Scene::entered().peer(crate::diagnosis::testing::WORKER, 101);
            let scene = scene.process(102, 100, "python dramatiq app", |_| {});
            let scene = scene.stack(pid, "Thread-4", &IN_THE_DATABASE);
            waits_from(scene, "127.0.0.1:50001").peer("127.0.0.1:50001 -> database", pid)
        };
        assert_eq!(by(101).timeout().answer(&CAUSE), "certain");
        assert_ne!(by(102).timeout().answer(&CAUSE), "certain");
    }

    /// Afterwards a sweeper may wait for the row of a task that was lost long ago.
    #[test]
    fn afterwards_its_own_thread_must_stand_there() {
        let told = |text: &str| {
            let scene = Scene::new().given().worker_booted().from_before(5);
            let scene = scene.debug("dramatiq.worker.WorkerThread", text).from_now_on();
            let scene = scene.row("RUNNING").stack(101, "Thread-4", &IN_THE_DATABASE);
            let scene = waits_from(scene, "127.0.0.1:50001").peer("127.0.0.1:50001 -> database", 101);
            scene.end(crate::timeline::Ended::Looked).answer(&CAUSE)
        };
        assert_eq!(told("Received message act('task_1') with id 'm-1'."), "certain");
        assert_eq!(told("Running worker thread..."), "likely");
    }
}
