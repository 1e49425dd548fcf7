//! The worker waits for a lock on the row that another connection of the same process holds.

use std::collections::BTreeSet;

use crate::diagnosis::evidence::stacks::Thread;
use crate::diagnosis::evidence::{connections, locks, workers};
use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::timeline::{Process, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "waits-for-itself",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::WorkerCode],
    explains: &["row-locked", "actor-still-running"],
    needs: &[&[Source::Database], &[Source::Process]],
    page: include_str!("waits_for_itself.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let look = locks::last_look(story);
    let Some((n, wait)) = look.and_then(|look| Some((look.n, look.value?))) else {
        return Answer::NotApplicable;
    };
    // A pooler holds everybody's connections, and waits for nothing itself.
    let is_worker = |process: &Process| {
        locks::is_our_worker(story, process.pid)
            || workers::is_worker(process)
            || workers::acts_as_worker(story, process)
    };
    let waiter = wait
        .client
        .as_deref()
        .and_then(|client| story.peer_of_client(client));
    let Some(waiter) = waiter else {
        return Answer::NotApplicable;
    };
    let Some(process) = story.process(waiter.value).filter(|process| is_worker(process)) else {
        return Answer::NotApplicable;
    };
    // All of them: one that is somebody else's may end and leave only a short wait.
    let own = !wait.blockers.is_empty()
        && wait.blockers.iter().all(|blocker| {
            blocker
                .client
                .as_deref()
                .is_some_and(|client| holds(&process, client))
        });
    if !own {
        return Answer::NotApplicable;
    }
    // One that executes a statement comes to its end. So may an idle one, if another thread of the
    // process is at work: that thread may be the one that commits.
    let idle = wait.blockers.iter().all(|blocker| {
        let state = blocker.state.as_deref();
        state.is_some_and(|state| state.starts_with("idle in transaction"))
    });
    if !idle || at_work(story, waiter.value) > 1 || !story.closed() {
        return Answer::NotApplicable;
    }
    // A coroutine that is suspended stands in no stack, and may hold the lock and give it back.
    Answer::likely(
        format!("pid {waiter} waits for itself: its backend {} waits for the row that its backend {} holds, idle in transaction", wait.pid, wait.blockers[0].pid),
        [n, waiter.n, process.n],
    )
    .naming("{pid}", wait.blockers[0].pid)
}

fn holds(process: &Process, client: &str) -> bool {
    let mut sockets = process.sockets.iter();
    sockets.any(|socket| {
        socket.split(" -> ").next() == Some(client) && connections::is_socket_of(process, socket)
    })
}

/// Threads of the process that stand in the application's code, whenever they were looked at. One
/// that is seen in several looks is one.
fn at_work(story: &Story<'_>, pid: i32) -> usize {
    let shape = &story.framework().stack;
    let at_work = |thread: &Thread<'_>| {
        let mut frames = thread.frames().iter();
        frames.any(|frame| shape.is_application(&frame.file))
    };
    let threads = story.stacks().threads(Some(pid)).filter(at_work);
    threads.map(|thread| thread.name()).collect::<BTreeSet<_>>().len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;
    use crate::timeline::{Blocker, EventKind, LockWait};

    fn held_by(client: &str, state: &str) -> Scene {
        held((101, 100, "dramatiq"), client, state)
    }

    fn held((pid, ppid, command): (i32, i32, &str), client: &str, state: &str) -> Scene {
        let blocker = Blocker {
            pid: 4000,
            user: None,
            application: None,
            state: Some(state.into()),
            query: None,
            waits: false,
            transaction_s: Some(1.0),
            client: Some(client.into()),
        };
        Scene::entered()
            .process(pid, ppid, command, |process| {
                process.sockets = vec![
                    "127.0.0.1:50001 -> 127.0.0.1:5432".into(),
                    "127.0.0.1:50003 -> 127.0.0.1:5432".into(),
                ];
                process.sockets_seen = true;
            })
            .see(
                Source::Database,
                EventKind::LockWait(LockWait {
                    client: Some("127.0.0.1:50001".into()),
                    blockers: vec![blocker],
                    ..LockWait::of(4001)
                }),
            )
            .peer("127.0.0.1:50001 -> database", pid)
    }

    const AT_WORK: &[(&str, &str)] = &[
        ("crunch", "/app/core.py"),
        ("__call__", "/v/site-packages/dramatiq/actor.py"),
        ("process_message", "/v/site-packages/dramatiq/worker.py"),
    ];

    #[test]
    fn both_ends_are_one_process() {
        let scene = held_by("127.0.0.1:50003", "idle in transaction").timeout();
        assert_eq!(scene.cause(), "likely waits-for-itself");
        assert_eq!(scene.without(Source::Process).answer(&CAUSE), "cannot tell");
        assert_eq!(scene.without(Source::Database).answer(&CAUSE), "cannot tell");
    }

    #[test]
    fn another_holder_a_busy_one_or_another_thread_is_a_near_miss() {
        let other = held_by("127.0.0.1:50009", "idle in transaction").timeout();
        assert_eq!(other.answer(&CAUSE), "not applicable");
        let busy = held_by("127.0.0.1:50003", "active").timeout();
        assert_eq!(busy.answer(&CAUSE), "not applicable");
        let two = held_by("127.0.0.1:50003", "idle in transaction")
            .stack(101, "Thread-0", AT_WORK)
            .stack(101, "Thread-1", AT_WORK)
            .timeout();
        assert_eq!(two.answer(&CAUSE), "not applicable");
        let pooler = (400, 1, "pgbouncer /etc/pgbouncer.ini");
        let pooler = held(pooler, "127.0.0.1:50003", "idle in transaction").timeout();
        assert_eq!(pooler.answer(&CAUSE), "not applicable");
        let free = held_by("127.0.0.1:50003", "idle in transaction")
            .see(Source::Database, EventKind::LockFree)
            .timeout();
        assert_eq!(free.answer(&CAUSE), "not applicable");
    }
}
