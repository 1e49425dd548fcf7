//! The worker's session waits for a lock that is not the task's row: an advisory lock, or a row of another table.

use crate::diagnosis::evidence::stacks::{self, Thread};
use crate::diagnosis::evidence::{broker, locks, sessions, workers};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::{LogEvent, is_database_library};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "waits-for-lock",
    // Inside the actor, or in a hook before it.
    keeps_from: &[Stage::Finished, Stage::Entered, Stage::Received],
    owner: &[Owner::DatabaseHost, Owner::WorkerCode],
    explains: &[
        "actor-still-running",
        "worker-blocked",
        "blocked-before-entry",
        "worker-still-booting",
    ],
    scenario: Some(Scenario::C),
    // The list of sessions needs no row.
    needs: &[&[Source::Process]],
    page: include_str!("waits_for_lock.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let at_work = story.attempt_over().is_none() && !story.call_has_returned();
    let Some(stands) = stands(story).filter(|_| story.closed() && at_work) else {
        return Answer::NotApplicable;
    };
    // What is waited for is the row, or its table: their own causes say more.
    if locks::last_look(story).is_some_and(|wait| wait.is_some()) {
        return Answer::NotApplicable;
    }
    let Some(one) = sessions::waiting(story) else {
        return Answer::NotApplicable;
    };
    let is_entered = story.reached(Stage::Entered).is_some();
    if is_entered && one.for_the_row(story).is_some() {
        return Answer::NotApplicable;
    }
    let what = match one.kind {
        "advisory" => "an advisory lock",
        "relation" => "a lock on a table",
        "tuple" | "transactionid" => "a lock on a row",
        _ => "a lock",
    };
    let is_elsewhere = match is_entered {
        true => locks::another_thread_waits(story, one.pid),
        false => stands_elsewhere(story, one.pid),
    };
    if is_elsewhere {
        return Answer::NotApplicable;
    }
    let text = format!(
        "the worker (pid {}) waits in {} for {what}, held by {}",
        one.pid,
        one.session.database,
        locks::head(&one.session.blockers)
    );
    let mut evidence: Vec<u32> = one.evidence.into_iter().chain(stands.evidence).collect();
    // Its master is what is seen of a worker that boots.
    let master = story
        .process(one.pid)
        .and_then(|process| story.process(process.ppid));
    let master = master.filter(|master| story.deliveries().next().is_none() && workers::is_worker(master));
    evidence.extend(master.map(|master| master.n));
    let answer = match stands.is_shown && !locks::may_be_another_task_that_waits(story, one.pid) {
        true => Answer::likely(text, evidence).given([Premise::WaitIsTheTasks(one.pid)]),
        false => Answer::possible(text, evidence).would_decide(&[Source::WorkerLog]),
    };
    let blockers = &one.session.blockers;
    locks::at_work_or_idle(locks::naming_holder(answer, blockers), blockers)
}

/// Where the worker stands with the task.
struct Stands {
    evidence: Vec<u32>,
    /// Something says that it is inside the actor, or before it. Otherwise the session that waits may be one that has
    /// nothing to do with any task, as of a thread that waits to become a leader.
    is_shown: bool,
}

fn stands(story: &Story<'_>) -> Option<Stands> {
    if let Some((_, entered)) = story.reached(Stage::Entered) {
        return Some(Stands {
            evidence: entered.clone(),
            is_shown: true,
        });
    }
    if let Some(received) = story.line(|mark| matches!(mark, LogEvent::Received { .. })) {
        return Some(Stands {
            evidence: vec![received.n],
            is_shown: true,
        });
    }
    match story.deliveries().last() {
        Some(passage) => Some(Stands {
            evidence: vec![passage.n],
            is_shown: false,
        }),
        // One that boots has been handed none.
        None => Some(Stands {
            evidence: Vec::new(),
            is_shown: broker::has_consumer(story).is_none(),
        }),
    }
}

/// Its threads were looked at, and none that runs tasks is in a database's library. A coroutine is on no thread's stack,
/// but no hook before the actor is one.
fn stands_elsewhere(story: &Story<'_>, pid: i32) -> bool {
    let loops = story.framework().stack.worker_loop;
    let asks = |thread: &Thread<'_>| {
        let frames = thread.frames().iter();
        let mut library = frames.take_while(|frame| stacks::is_library(&frame.file));
        library.any(|frame| is_database_library(&frame.file))
    };
    let threads: Vec<Thread<'_>> = stacks::last_dump(story, pid)
        .filter(|thread| thread.has(loops))
        .collect();
    !threads.is_empty() && !threads.iter().any(asks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;
    use crate::timeline::{Blocker, DatabaseSession, EventKind, LockWait, Sessions};

    const SERVER: &str = "127.0.0.1:5432";
    const CLIENT: &str = "127.0.0.1:40001";

    fn session(waits_for: Option<&str>) -> EventKind {
        let blocker = serde_json::from_value(serde_json::json!({"pid": 77, "application": "report",
            "state": "idle in transaction", "transaction_s": 40.0}));
        let blocker: Blocker = blocker.expect("a blocker");
        EventKind::DatabaseSessions(Sessions {
            server: SERVER.into(),
            here: "orders".into(),
            sessions: vec![DatabaseSession {
                client: CLIENT.into(),
                database: "orders".into(),
                waits_for: waits_for.map(str::to_owned),
                blockers: waits_for.map(|_| blocker).into_iter().collect(),
            }],
        })
    }

    fn entered() -> Scene {
        Scene::entered().process(101, 100, "python dramatiq app.worker", |process| {
            process.sockets_seen = true;
            process.sockets.push(format!("{CLIENT} -> {SERVER}"));
        })
    }

    #[test]
    fn an_advisory_lock() {
        let scene = entered()
            .see(Source::Database, session(Some("advisory")))
            .timeout();
        assert_eq!(scene.cause(), "likely waits-for-lock");
        let summary = scene.summary();
        for part in ["an advisory lock", "backend 77", "report", "idle in transaction"] {
            assert!(summary.contains(part), "{part}: {summary}");
        }
    }

    /// The worker holds two messages, and no stack says which of them waits.
    #[test]
    fn another_task_of_the_process_may_wait() {
        let held = |unacked| {
            let scene = entered().totals("default", 0, unacked, serde_json::json!({}));
            let scene = scene.see(Source::Database, session(Some("advisory")));
            scene.timeout().answer(&CAUSE)
        };
        assert_eq!(held(1), "likely");
        assert_eq!(held(2), "possible");
    }

    /// Ours may be the one that holds the lock.
    #[test]
    fn another_thread_of_the_process_waits() {
        let stands = |file: &'static str| {
            let frames = [
                ("wait", file),
                ("act", "/app/tasks.py"),
                ("Actor.__call__", "/v/site-packages/dramatiq/actor.py"),
                (
                    "WorkerThread.process_message",
                    "/v/site-packages/dramatiq/worker.py",
                ),
            ];
            // A worker with the middleware for coroutines has the loop's thread, whatever its actors are.
            let event_loop = [
                ("select", "/usr/lib/python3.12/selectors.py"),
                (
                    "BaseEventLoop.run_forever",
                    "/usr/lib/python3.12/asyncio/base_events.py",
                ),
                ("EventLoopThread.run", "/v/site-packages/dramatiq/asyncio.py"),
            ];
            let scene = entered().stacks(101, &[("Thread-4", &frames), ("Thread-2", &event_loop)]);
            scene
                .see(Source::Database, session(Some("transactionid")))
                .timeout()
        };
        assert_eq!(
            stands("/v/site-packages/psycopg/waiting.py").answer(&CAUSE),
            "likely"
        );
        assert_eq!(
            stands("/v/site-packages/httpx/_client.py").answer(&CAUSE),
            "not applicable"
        );
        // A driver that is written in C has no frames.
        assert_eq!(stands("/app/store.py").answer(&CAUSE), "likely");
    }

    /// In a hook before the actor, or while it imports its code.
    #[test]
    fn before_the_actor() {
        let connected = |scene: Scene| {
            let scene = scene.process(101, 100, "python dramatiq app.worker", |process| {
                process.sockets_seen = true;
                process.sockets.push(format!("{CLIENT} -> {SERVER}"));
            });
            scene.see(Source::Database, session(Some("advisory"))).timeout()
        };
        let received = connected(Scene::received());
        assert_eq!(received.cause(), "likely waits-for-lock");
        assert_eq!(received.verdict().scenario, Some(Scenario::C));
        // Its thread waits for something else, and another one of the process for the lock.
        let hangs = Scene::received().stack(
            101,
            "Thread-4",
            &[
                ("recv", "/app/hooks.py"),
                (
                    "WorkerThread.process_message",
                    "/v/site-packages/dramatiq/worker.py",
                ),
            ],
        );
        assert_eq!(connected(hangs).answer(&CAUSE), "not applicable");
        // Nothing says where the task stands: another thread of the worker may wait for something else.
        let quiet = connected(Scene::delivered().peer(crate::diagnosis::testing::WORKER, 101));
        assert_eq!(quiet.answer(&CAUSE), "possible", "{}", quiet.summary());
    }

    #[test]
    fn no_wait_anothers_and_one_for_the_row_are_near_misses() {
        let free = entered().see(Source::Database, session(None)).timeout();
        assert_eq!(free.answer(&CAUSE), "not applicable");
        let strangers = Scene::entered()
            .see(Source::Database, session(Some("advisory")))
            .timeout();
        assert_eq!(strangers.answer(&CAUSE), "not applicable");
        let done = entered()
            .completed()
            .see(Source::Database, session(Some("advisory")))
            .timeout();
        assert_eq!(done.answer(&CAUSE), "not applicable");
        let row = entered()
            .see(Source::Database, EventKind::LockWait(LockWait::of(9)))
            .see(Source::Database, session(Some("transactionid")))
            .timeout();
        assert_eq!(row.answer(&CAUSE), "not applicable");
    }
}
