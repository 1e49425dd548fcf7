//! The worker's session waits for a lock that is not the task's row: an advisory lock, or a row of another table.

use crate::diagnosis::evidence::{locks, sessions};
use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "waits-for-lock",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::DatabaseHost, Owner::WorkerCode],
    explains: &["actor-still-running", "worker-blocked"],
    // The list of sessions needs no row.
    needs: &[&[Source::Process]],
    page: include_str!("waits_for_lock.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let entered = story
        .reached(Stage::Entered)
        .map(|(_, evidence)| evidence.clone());
    let at_work = story.attempt_over().is_none() && !story.call_has_returned();
    let Some(entered) = entered.filter(|_| story.closed() && at_work) else {
        return Answer::NotApplicable;
    };
    // What is waited for is the row, or its table: their own causes say more.
    if locks::last_look(story).is_some_and(|wait| wait.is_some()) {
        return Answer::NotApplicable;
    }
    let connected = sessions::of_the_worker(story);
    let waits = connected.iter().find_map(|one| {
        let waiting = one.sessions.iter().find(|session| session.waits_for.is_some())?;
        Some((one, waiting, waiting.waits_for.as_deref()?))
    });
    let Some((one, waiting, kind)) = waits else {
        return Answer::NotApplicable;
    };
    let what = match kind {
        "advisory" => "an advisory lock",
        "relation" => "a lock on a table",
        "tuple" | "transactionid" => "a lock on a row",
        _ => "a lock",
    };
    let text = format!(
        "the worker (pid {}) waits in {} for {what}, held by {}",
        one.pid,
        waiting.database,
        locks::head(&waiting.blockers)
    );
    let evidence: Vec<u32> = one.evidence.into_iter().chain(entered).collect();
    let answer = Answer::likely(text, evidence);
    locks::at_work_or_idle(locks::naming_holder(answer, &waiting.blockers), &waiting.blockers)
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
