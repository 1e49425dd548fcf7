//! What the actor wrote is in a transaction that nobody has committed.

use crate::diagnosis::evidence::broker;
use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::timeline::{Blocker, Source, Xmax};

pub(super) const CAUSE: Cause = Cause {
    id: "row-not-committed",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::WorkerCode],
    needs: &[&[Source::Database]],
    page: include_str!("row_not_committed.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let Some(row) = story.last_row().filter(|row| row.present) else {
        return Answer::NotApplicable;
    };
    match row.xmax_state {
        None => return Answer::cannot_tell(&[Source::Database]),
        Some(Xmax::InProgress) if story.closed() => {}
        Some(Xmax::InProgress) => return Answer::NotApplicable,
        Some(_) if story.attempt_over().is_some() && story.row_succeeded().is_none() => {
            return Answer::ruled_out("no open transaction holds the row", [row.n]);
        }
        Some(_) => return Answer::NotApplicable,
    }
    // A lock is not a write. And while the actor runs, its transaction may well be open.
    let over = match story.attempt_over() {
        // A look from before the end shows a transaction that may have been committed since.
        Some(over) => (row.asked_at_ms > Some(over.at_ms)).then_some(over.n),
        None => broker::drained(story),
    };
    let Some(over) = over.filter(|_| row.holder_writes == Some(true) && story.raised().is_empty()) else {
        return Answer::NotApplicable;
    };
    // That it holds a writer's lock on the table and this row does not say what it wrote to it.
    let answer = Answer::likely(
        format!(
            "the actor is done, and the row is held by a transaction that writes to the table and is still open{}: until it commits, everybody else reads {}",
            row.holder.as_ref().map(who).unwrap_or_default(),
            row.status.as_deref().unwrap_or("NULL")
        ),
        [over, row.n],
    );
    match &row.holder {
        Some(holder) => answer.naming("{holder}", format!("backend {}", holder.pid)),
        None => answer,
    }
}

fn who(holder: &Blocker) -> String {
    let named = [
        Some(format!("backend {}", holder.pid)),
        holder.application.clone(),
        holder.client.clone(),
        holder.state.clone(),
    ];
    let named: Vec<String> = named.into_iter().flatten().collect();
    format!(" ({})", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;
    use crate::timeline::{EventKind, Row};

    fn held(scene: Scene, writes: bool) -> Scene {
        held_at(scene, writes, 1e6)
    }

    /// As a look that was asked for at this time shows it.
    fn held_at(scene: Scene, writes: bool, asked_at_ms: f64) -> Scene {
        let row = serde_json::json!({"present": true, "status": "RUNNING", "xmin": 700, "xmax": 701,
            "xmax_state": "in-progress", "holder_writes": writes, "asked_at_ms": asked_at_ms,
            "holder": {"pid": 77, "state": "idle in transaction", "application": "worker"}});
        let row: Row = serde_json::from_value(row).expect("a row");
        scene.see(Source::Database, EventKind::Row(row))
    }

    #[test]
    fn the_actor_is_done_and_its_transaction_is_open() {
        let scene = held(Scene::entered().completed().acked("m-1"), true).timeout();
        assert_eq!(scene.cause(), "likely row-not-committed");
        let verdict = scene.verdict();
        let summary = verdict.cause.expect("a cause").summary;
        assert!(
            summary.contains("(backend 77, worker, idle in transaction)"),
            "{summary}"
        );
    }

    #[test]
    fn a_look_from_before_the_end_is_a_near_miss() {
        let scene = held_at(Scene::entered().completed().acked("m-1"), true, -1.0).timeout();
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }

    /// `SELECT … FOR UPDATE`, by whomever.
    #[test]
    fn a_lock_is_a_near_miss() {
        let scene = held(Scene::entered().completed().acked("m-1"), false).timeout();
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn an_actor_that_is_at_work_is_a_near_miss() {
        let scene = held(Scene::entered(), true).timeout();
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn an_actor_that_raised_is_a_near_miss() {
        let scene = held(Scene::entered().raised("ValueError: no"), true).timeout();
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn a_row_that_nobody_holds_rules_it_out() {
        let done = Scene::entered().completed().acked("m-1").row("RUNNING").timeout();
        assert!(matches!(done.answer(&CAUSE), "ruled out" | "cannot tell"));
        assert_eq!(done.without(Source::Database).answer(&CAUSE), "cannot tell");
    }
}
