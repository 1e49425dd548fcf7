//! The worker is connected to another database of the same server than the one that holds the row.

use crate::diagnosis::evidence::misses::{self, Misses};
use crate::diagnosis::evidence::{Fact, WorkerLine, broker, row, sessions, settings};
use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::{Row, Source, Xmax};

pub(super) const CAUSE: Cause = Cause {
    id: "worker-on-other-database",
    // Without a log, the row is what shows that it ran.
    keeps_from: &[Stage::Received, Stage::Entered, Stage::Finished],
    owner: &[Owner::Deployment],
    explains: &["row-never-written", "row-missing", "actor-raised"],
    needs: &[&[Source::Database], &[Source::Process]],
    page: include_str!("worker_on_other_database.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let Some(looked) = story.last_row() else {
        return Answer::NotApplicable;
    };
    // What it raised for another reason, it would raise anywhere.
    if !story.raised().is_empty() && misses::misses_the_row(story).is_none() {
        return Answer::NotApplicable;
    }
    if let Some(n) = written_here(story) {
        return Answer::ruled_out("the row shows that the worker writes to this database", [n]);
    }
    let over = match story.attempt_over() {
        Some(over) => Some(over.n),
        None => broker::drained(story),
    };
    let Some(over) = over.filter(|_| story.row_succeeded().is_none()) else {
        return Answer::NotApplicable;
    };
    let connected = sessions::of_the_worker(story);
    if let Some(here) = connected.iter().find(|one| !one.is_elsewhere()) {
        let text = format!("the worker (pid {}) has a session in {}", here.pid, here.here);
        return Answer::ruled_out(text, here.evidence);
    }
    let Some(first) = connected.first() else {
        return by_a_setting(story, over, looked.n);
    };
    // Its next session may be the one that counts.
    if !story.closed() {
        return Answer::NotApplicable;
    }
    let mut databases: Vec<String> = connected
        .iter()
        .flat_map(|one| &one.sessions)
        .map(|session| session.database.clone())
        .collect();
    databases.sort();
    databases.dedup();
    let summary = format!(
        "the worker (pid {}) is connected to {} of this server, and {} is looked for in {}",
        first.pid,
        databases.join(" and "),
        row::table(story),
        first.here
    );
    let seen = connected.iter().flat_map(|one| one.evidence);
    let evidence: Vec<u32> = seen.chain([over, looked.n]).collect();
    // That session may be for something else: one for each statement comes and goes between two looks.
    match connected
        .iter()
        .any(|one| settings::name_one_database(story, one.pid))
    {
        true => Answer::possible(
            format!("{summary}; by its settings it has the API's database as well"),
            evidence,
        ),
        false => Answer::likely(summary, evidence),
    }
}

/// No session was seen. The actor found no row although it was there, or left it untouched, and by its settings looked into
/// another database.
fn by_a_setting(story: &Story<'_>, over: u32, looked: u32) -> Answer {
    let missed = misses::misses_the_row(story) == Some(Misses::TheRow);
    let committed = committed_before_the_attempt(story).filter(|_| missed);
    let untouched = is_untouched(story).filter(|_| story.raised().is_empty() && story.closed());
    let Some((row, found)) = committed
        .map(|n| (n, "found no row that was there"))
        .or(untouched.map(|n| (n, "has left the row as it was inserted")))
    else {
        return Answer::NotApplicable;
    };
    let takers = sessions::takers(story).into_iter();
    let mut set = takers.filter_map(|pid| Some((pid, settings::another_database(story, pid)?)));
    let Some((pid, setting)) = set.next() else {
        return Answer::NotApplicable;
    };
    let summary = format!(
        "the actor {found}; {} names another database for the worker (pid {pid}) than for the API",
        setting.value
    );
    Answer::likely(summary, [over, row, setting.n, looked])
}

/// Each look found one and the same version of it, which nobody has tried to change.
fn is_untouched(story: &Story<'_>) -> Option<u32> {
    let first = story.rows().iter().find(|row| row.present)?;
    let mut rows = story.rows().iter().filter(|row| row.present);
    let is_first = |row: &Fact<&Row>| {
        row.xmin == first.xmin && row.status == first.status && row.xmax_state == Some(Xmax::None)
    };
    rows.all(is_first).then_some(first.n)
}

/// The row could be read before the attempt began that raised last.
fn committed_before_the_attempt(story: &Story<'_>) -> Option<u32> {
    let raised = story.raised().last()?;
    let begins = |told: &&WorkerLine<'_>| {
        told.line.entry || matches!(told.mark, Some(LogEvent::Received { .. } | LogEvent::Called))
    };
    let mut lines = story.lines().iter().filter(|told| told.at_ms <= raised.at_ms);
    let began = lines.rfind(begins)?.at_ms;
    let first = story.rows().iter().find(|row| row.present)?;
    let mut commits = story.commits_of(first);
    let commit = commits.find(|commit| commit.visible_at_ms < began)?;
    Some(commit.n)
}

/// A look at the row that shows a write of the worker's, finished or not: a session that is gone may have made it.
fn written_here(story: &Story<'_>) -> Option<u32> {
    let setup = &story.timeline.setup;
    let is_the_workers = |status: &String| setup.running.contains(status) || setup.failed.contains(status);
    let rows = story.rows().iter();
    rows.rev().find_map(|row| {
        let attempted = matches!(
            row.xmax_state,
            Some(Xmax::Aborted | Xmax::UpdateAborted | Xmax::InProgress)
        );
        (attempted || row.status.as_ref().is_some_and(is_the_workers)).then_some(row.n)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{CALL, Scene, WORKER};
    use crate::timeline::environment::{Environment, Masked, Variable};
    use crate::timeline::{DatabaseSession, EventKind, Sessions};

    const SERVER: &str = "127.0.0.1:5432";

    /// The actor is done, and its process (pid 101) has these connections to the database's server.
    fn done(sockets: &[&str]) -> Scene {
        let sockets: Vec<String> = sockets
            .iter()
            .map(|client| format!("{client} -> {SERVER}"))
            .collect();
        Scene::entered()
            .completed()
            .acked("m-1")
            .row_with("PENDING", Xmax::None)
            .process(101, 100, "python dramatiq app.worker", move |process| {
                process.sockets_seen = true;
                process.sockets.extend(sockets);
            })
    }

    fn listed(sessions: &[(&str, &str)]) -> EventKind {
        EventKind::DatabaseSessions(Sessions {
            server: SERVER.into(),
            here: "orders".into(),
            sessions: sessions
                .iter()
                .map(|(client, database)| DatabaseSession {
                    client: (*client).into(),
                    database: (*database).into(),
                    ..DatabaseSession::default()
                })
                .collect(),
        })
    }

    fn with(sockets: &[&str], sessions: &[(&str, &str)]) -> Scene {
        done(sockets).see(Source::Database, listed(sessions)).silence()
    }

    const ONE: &str = "127.0.0.1:40001";
    const TWO: &str = "127.0.0.1:40002";

    #[test]
    fn its_session_is_in_another_database() {
        let scene = with(&[ONE], &[(ONE, "staging"), (TWO, "orders")]);
        assert_eq!(scene.cause(), "likely worker-on-other-database");
        let summary = scene.summary();
        assert!(
            summary.contains("staging") && summary.contains("orders"),
            "{summary}"
        );
        let explained = scene.verdict().cause.expect("a cause").explains;
        assert!(explained.iter().any(|link| link.id == "row-never-written"));
    }

    const FRAME: &str = "  File \"/app/tasks.py\", line 3, in act\n    rows.one()\n";

    #[test]
    fn an_actor_that_misses_the_row() {
        let raised = |error: &str| {
            let failed = format!(
                "Failed to process message act('task_1') with unhandled exception.\n{CALL}{FRAME}{error}"
            );
            let scene = done(&[ONE]).error("dramatiq.worker.WorkerThread", &failed);
            scene.see(Source::Database, listed(&[(ONE, "staging")])).silence()
        };
        assert_eq!(
            raised("LookupError: no task task_1").cause(),
            "likely worker-on-other-database"
        );
        assert_eq!(raised("ValueError: 7").answer(&CAUSE), "not applicable");
    }

    /// The process has been given this database.
    fn given(pid: i32, path: &str) -> EventKind {
        let masked = Masked {
            value: path.into(),
            parts: [("path".to_owned(), path.to_owned())].into(),
        };
        EventKind::Environment(Box::new(Environment {
            pid,
            variables: Some([("SHOP_DATABASE_URL".to_owned(), Variable::Masked(masked))].into()),
            ..Environment::default()
        }))
    }

    /// No session is seen, and each has been given a database of its own.
    #[test]
    fn a_setting_names_another_database() {
        let raised = |error: &str, committed: (f64, f64), worker: &str| {
            let failed = format!(
                "Failed to process message act('task_1') with unhandled exception.\n{CALL}{FRAME}{error}"
            );
            let scene = Scene::entered()
                .api_process(&[])
                .peer(WORKER, 101)
                .error("dramatiq.worker.WorkerThread", &failed)
                .retried()
                .acked("m-1")
                .row_with("PENDING", Xmax::None)
                .committed(committed.0, committed.1)
                .see(Source::Process, given(50, "orders"))
                .see(Source::Process, given(101, worker));
            scene.silence()
        };
        let missed = "app.models.Task.DoesNotExist: Task matching query does not exist.";
        let before = (-20.0, -10.0);
        assert_eq!(
            raised(missed, before, "staging").cause(),
            "likely worker-on-other-database"
        );
        // The same setting; another reason; and a row that came when the actor had begun.
        assert_eq!(raised(missed, before, "orders").answer(&CAUSE), "not applicable");
        assert_eq!(
            raised("ValueError: 7", before, "staging").answer(&CAUSE),
            "not applicable"
        );
        assert_eq!(
            raised(missed, (900.0, 950.0), "staging").answer(&CAUSE),
            "not applicable"
        );
    }

    /// The actor found nothing to write to, and says nothing of it.
    #[test]
    fn a_row_that_is_left_as_it_was_by_a_worker_with_another_setting() {
        let left = |worker: &str, status: &str| {
            Scene::entered()
                .api_process(&[])
                .peer(WORKER, 101)
                .row_with("PENDING", Xmax::None)
                .completed()
                .acked("m-1")
                .row_with(status, Xmax::None)
                .see(Source::Process, given(50, "orders"))
                .see(Source::Process, given(101, worker))
                .silence()
        };
        assert_eq!(
            left("staging", "PENDING").cause(),
            "likely worker-on-other-database"
        );
        assert_eq!(left("orders", "PENDING").answer(&CAUSE), "not applicable");
        assert_eq!(left("staging", "RUNNING").answer(&CAUSE), "ruled out");
        assert_eq!(left("staging", "HELD").answer(&CAUSE), "not applicable");
    }

    /// A session for each statement, and one that stays, of another part of the application.
    #[test]
    fn what_was_written_here_is_a_near_miss() {
        let after = |scene: Scene| scene.see(Source::Database, listed(&[(ONE, "audit")])).silence();
        assert_eq!(after(done(&[ONE]).row("RUNNING")).answer(&CAUSE), "ruled out");
        let rolled_back = done(&[ONE]).row_with("PENDING", Xmax::UpdateAborted);
        assert_eq!(after(rolled_back).answer(&CAUSE), "ruled out");
    }

    /// One of them is in the right database; one is not in the list; there is none; and the row was written.
    #[test]
    fn what_is_not_seen_whole_says_nothing() {
        let both = with(&[ONE, TWO], &[(ONE, "staging"), (TWO, "orders")]);
        assert_eq!(both.answer(&CAUSE), "ruled out");
        let hidden = with(&[ONE, TWO], &[(ONE, "staging")]);
        assert_eq!(hidden.answer(&CAUSE), "not applicable");
        let none = with(&[], &[(ONE, "staging")]);
        assert_eq!(none.answer(&CAUSE), "not applicable");
        let pooled = with(&[ONE], &[(TWO, "staging")]);
        assert_eq!(pooled.answer(&CAUSE), "not applicable");
        let written = done(&[ONE])
            .row("COMPLETED")
            .see(Source::Database, listed(&[(ONE, "staging")]))
            .silence();
        assert_eq!(written.answer(&CAUSE), "not applicable");
    }
}
