//! The whole table is locked: whoever wants to write or read it waits in a line.

use crate::diagnosis::evidence::{Fact, locks, named_table};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::timeline::{Event, EventKind, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "table-locked",
    keeps_from: &[Stage::Submitted, Stage::Finished],
    owner: &[Owner::DatabaseHost],
    explains: &[
        "api-timeout",
        "workers-busy",
        "waiting-in-worker",
        "worker-blocked",
        "backlog",
        "actor-still-running",
        "blocked-before-entry",
    ],
    needs: &[],
    page: include_str!("table_locked.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    // What keeps an API from answering is rarely this: only a worker that hangs asks for the database.
    if !story.sees(Source::Database) {
        return match story.reached(Stage::Entered) {
            Some(_) => Answer::cannot_tell(&[Source::Database]),
            None => Answer::NotApplicable,
        };
    }
    let Some(Fact { n, value: wait, .. }) = locks::last_look(story) else {
        return Answer::NotApplicable;
    };
    let Some(wait) = wait else {
        return Answer::ruled_out("nobody waits for the table any more", [n]);
    };
    if !wait.table {
        return Answer::ruled_out("what is waited for is this row alone", [n]);
    }
    let table = named_table(story);
    let api: Vec<i32> = story.api_processes().iter().map(|process| process.pid).collect();
    let waiters = locks::waiting_processes(story, wait);
    let is_worker = |waiter: &&Fact<i32>| locks::is_our_worker(story, waiter.value);
    let is_api = |waiter: &&Fact<i32>| api.contains(waiter);
    let ours = waiters.iter().find(is_worker).or(waiters.iter().find(is_api));
    // A migration that waits for a session of yesterday holds up all who come after it.
    let first = wait
        .client
        .as_deref()
        .and_then(|client| story.peer_of_client(client));
    let in_line = match wait.blockers.iter().find(|blocker| blocker.waits) {
        Some(blocker) => blocker.query.as_deref(),
        None if ours.is_some_and(|ours| first.is_none_or(|first| first.value != ours.value)) => {
            wait.query.as_deref()
        }
        None => None,
    };
    let in_line = in_line.map_or_else(String::new, |query| format!("; before it waits `{query}`"));
    let held = format!(
        "waits for a lock on the whole {table}, held by {}{in_line}",
        locks::holder(wait)
    );
    let answer = match ours {
        Some(ours) => {
            let who = if api.contains(ours) {
                "the API"
            } else {
                "the worker"
            };
            let text = format!("{who} (pid {ours}) {held}");
            // Until the end it may be one of the waits that every system has.
            let unanswered = |event: &Event| matches!(event.kind, EventKind::NotAnswered { .. });
            match story.closed() || story.timeline.events.iter().any(unanswered) {
                // The task is in a worker's hands, or was sent long ago: what the API waits for now is not what it waits for.
                _ if !is_worker(&ours)
                    && (story.post_mortem() || story.reached(Stage::Delivered).is_some()) =>
                {
                    Answer::possible(text, [n, ours.n])
                }
                // Another of the worker's threads may be the one that waits.
                true if is_worker(&ours) => {
                    Answer::shown(text, [n, ours.n]).given([Premise::WaitIsTheTasks(ours.value)])
                }
                true if may_be_of_another_request(story, ours.value) => Answer::likely(text, [n, ours.n]),
                true => Answer::shown(text, [n, ours.n]),
                false => Answer::likely(text, [n, ours.n]),
            }
        }
        None if story.closed() => {
            Answer::likely(format!("backend {} {held}", wait.pid), [n]).would_decide(&[Source::Process])
        }
        None => Answer::possible(format!("backend {} {held}", wait.pid), [n]),
    };
    let answer = locks::naming_holder(answer, &wait.blockers);
    // Only that may be cancelled without harm: another one that waits is at the application's work.
    let waits = wait.blockers.iter().find(|blocker| blocker.waits);
    let (pid, query) = match waits {
        Some(blocker) => (blocker.pid, blocker.query.as_deref()),
        None => (wait.pid, wait.query.as_deref()),
    };
    match query.is_some_and(is_a_migration) {
        true => answer.naming("{migration_pid}", pid),
        false => answer,
    }
}

/// This process of the API waited before our request came, or another of its processes may have that.
fn may_be_of_another_request(story: &Story<'_>, pid: i32) -> bool {
    let since = story.submitted_at().unwrap_or(f64::MIN);
    let waits_then = |event: &Event| match &event.kind {
        EventKind::LockWait(wait) if event.at_ms < since => locks::waiting_processes(story, wait)
            .iter()
            .any(|waiter| waiter.value == pid),
        _ => false,
    };
    let apis = story.api_processes();
    let parent = apis.iter().find(|api| api.pid == pid).map(|api| api.ppid);
    let mut siblings = apis.iter().filter(|api| api.pid != pid);
    story.timeline.events.iter().any(waits_then) || siblings.any(|api| Some(api.ppid) == parent)
}

/// A statement that changes or rewrites tables.
fn is_a_migration(statement: &str) -> bool {
    const WORDS: &[&str] = &[
        "ALTER", "CREATE", "DROP", "TRUNCATE", "VACUUM", "REINDEX", "CLUSTER", "REFRESH", "LOCK",
    ];
    let first = statement.split_whitespace().next().unwrap_or_default();
    WORDS.iter().any(|word| first.eq_ignore_ascii_case(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::causes::row_locked::tests::IN_THE_DATABASE;
    use crate::diagnosis::testing::Scene;
    use crate::timeline::{Blocker, LockWait, NoAnswer};

    fn blocker(pid: i32, waits: bool, query: &str) -> Blocker {
        Blocker {
            pid,
            user: None,
            application: None,
            state: Some("idle in transaction".into()),
            query: Some(query.into()),
            waits,
            transaction_s: Some(60.0),
            client: None,
        }
    }

    fn waits(scene: Scene, table: bool, client: &str, others: &[&str]) -> Scene {
        let blockers = vec![
            blocker(4000, false, "SELECT 1"),
            blocker(4002, true, "ALTER TABLE task"),
        ];
        scene.see(
            Source::Database,
            EventKind::LockWait(LockWait {
                client: Some(client.into()),
                blockers,
                table,
                others: others.iter().map(|other| (*other).to_owned()).collect(),
                ..LockWait::of(4001)
            }),
        )
    }

    #[test]
    fn the_worker_waits_in_the_line() {
        // The migration is the first that waits, the worker another.
        let waiting = |before: Scene| {
            waits(before, true, "127.0.0.1:50002", &["127.0.0.1:50001"])
                .peer("127.0.0.1:50001 -> database", 101)
                .timeout()
        };
        let scene = waiting(Scene::entered().stack(101, "Thread-4", &IN_THE_DATABASE));
        assert_eq!(scene.cause(), "certain table-locked");
        // Another thread of the worker may be the one that waits.
        assert_eq!(waiting(Scene::entered()).cause(), "likely table-locked");
        let [_, rest @ ..] = IN_THE_DATABASE;
        let frames: Vec<(&str, &str)> = [("recv", "/app/socket.py")].into_iter().chain(rest).collect();
        let elsewhere = waiting(Scene::entered().stack(101, "Thread-4", &frames));
        assert_ne!(elsewhere.cause(), "certain table-locked");
        let summary = scene.summary();
        assert!(
            summary.contains("backend 4000") && summary.contains("ALTER TABLE"),
            "{summary}"
        );
        assert_eq!(scene.without(Source::Database).answer(&CAUSE), "cannot tell");
        assert_eq!(scene.without(Source::Process).answer(&CAUSE), "likely");
    }

    /// The actor itself holds the lock, and hangs elsewhere.
    #[test]
    fn the_api_waits_in_the_line_while_the_actor_runs() {
        let scene = Scene::entered()
            .see(Source::Process, EventKind::ApiProcess { pid: 50 })
            .process(50, 1, "python uvicorn main:app", |_| {});
        let scene = waits(scene, true, "127.0.0.1:50002", &["127.0.0.1:50001"])
            .peer("127.0.0.1:50001 -> database", 50)
            .timeout();
        assert_eq!(scene.answer(&CAUSE), "possible");
    }

    /// Another statement in the line is the application's own work.
    #[test]
    fn only_a_migration_is_cancelled() {
        let remedies = |query: &str| {
            let wait = LockWait {
                client: Some("127.0.0.1:50001".into()),
                blockers: vec![blocker(4000, false, "SELECT 1"), blocker(4002, true, query)],
                table: true,
                ..LockWait::of(4001)
            };
            let scene = Scene::entered()
                .see(Source::Database, EventKind::LockWait(wait))
                .peer("127.0.0.1:50001 -> database", 101)
                .timeout();
            scene.verdict().cause.expect("a cause").remedies.join("\n")
        };
        assert!(remedies("alter table task add x int").contains("pg_cancel_backend(4002)"));
        let insert = remedies("INSERT INTO task VALUES (1)");
        assert!(
            !insert.contains("4002") && !insert.contains("pg_cancel_backend"),
            "{insert}"
        );
    }

    #[test]
    fn the_api_waits_and_does_not_answer() {
        let scene = waits(Scene::new().at(2000.0), true, "127.0.0.1:50050", &[])
            .api_process(&[])
            .peer("127.0.0.1:50050 -> database", 50)
            .no_answer(NoAnswer::Timeout)
            .silence();
        // Without the database it is no more than a timeout, and surely that.
        assert_eq!(scene.answer(&CAUSE), "certain");
        let cause = scene.verdict().cause.expect("a cause");
        assert_eq!(cause.id, CAUSE.id);
        assert!(cause.explains.iter().any(|link| link.id == "api-timeout"));
    }

    /// Another request's backend was in the line before ours was sent.
    #[test]
    fn a_request_that_waited_before_ours_is_not_certain() {
        let scene = waits(Scene::new().at(-70.0), true, "127.0.0.1:50050", &[])
            .api_process(&[])
            .peer("127.0.0.1:50050 -> database", 50)
            .no_answer(NoAnswer::Timeout)
            .silence();
        assert_eq!(scene.answer(&CAUSE), "likely");
    }

    /// Which of two children has our request is not known.
    #[test]
    fn one_of_several_api_processes_is_not_certain() {
        let waiting = |sibling: bool| {
            let scene = waits(Scene::new().at(2000.0), true, "127.0.0.1:50050", &[])
                .api_process(&[])
                .peer("127.0.0.1:50050 -> database", 50);
            let scene = match sibling {
                true => scene
                    .see(Source::Process, EventKind::ApiProcess { pid: 51 })
                    .process(51, 1, "python gunicorn main:app", |_| {}),
                false => scene,
            };
            scene.no_answer(NoAnswer::Timeout).silence().answer(&CAUSE)
        };
        assert_eq!(waiting(true), "likely");
        assert_eq!(waiting(false), "certain");
    }

    #[test]
    fn a_lock_on_the_row_or_one_that_is_free_again_is_a_near_miss() {
        let row = waits(Scene::entered(), false, "127.0.0.1:50001", &[])
            .peer("127.0.0.1:50001 -> database", 101)
            .timeout();
        assert_eq!(row.answer(&CAUSE), "ruled out");
        assert_eq!(row.cause(), "likely row-locked");
        let free = waits(Scene::entered(), true, "127.0.0.1:50001", &[])
            .see(Source::Database, EventKind::LockFree)
            .timeout();
        assert_eq!(free.answer(&CAUSE), "ruled out");
    }

    /// A report of somebody else waits for the table, and the worker does not.
    #[test]
    fn a_stranger_in_the_line_is_not_certain() {
        let scene = waits(Scene::entered(), true, "127.0.0.1:50002", &[])
            .process(900, 1, "psql", |_| {})
            .peer("127.0.0.1:50002 -> database", 900)
            .timeout();
        assert_eq!(scene.answer(&CAUSE), "likely");
    }

    /// Afterwards nothing else ties a thread that waits for the table to the task.
    #[test]
    fn afterwards_another_task_may_wait_in_the_line() {
        let told = |text: &str| {
            let scene = Scene::new().given().worker_booted().from_before(5);
            let scene = scene.debug("dramatiq.worker.WorkerThread", text).from_now_on();
            let scene = scene.stack(101, "Thread-4", &IN_THE_DATABASE);
            let scene = waits(scene, true, "127.0.0.1:50001", &[]);
            let scene = scene.peer("127.0.0.1:50001 -> database", 101);
            scene.end(crate::timeline::Ended::Looked).answer(&CAUSE)
        };
        assert_eq!(told("Received message act('task_1') with id 'm-1'."), "certain");
        assert_eq!(told("Running worker thread..."), "likely");
    }

    /// Afterwards the API waits with requests of its own, whatever became of the task.
    #[test]
    fn afterwards_what_the_api_waits_for_is_not_what_the_task_stands_in() {
        let waiting = |scene: Scene| {
            let scene = waits(scene, true, "127.0.0.1:50050", &[]).api_process(&[]);
            scene.peer("127.0.0.1:50050 -> database", 50)
        };
        let looked = waiting(Scene::new().given()).end(crate::timeline::Ended::Looked);
        assert_eq!(looked.answer(&CAUSE), "possible");
        let asked = waiting(Scene::new().submitting()).no_answer(NoAnswer::Timeout);
        assert_eq!(asked.silence().answer(&CAUSE), "certain");
    }
}
