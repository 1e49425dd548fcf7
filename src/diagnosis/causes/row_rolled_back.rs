//! The actor's update of the row was rolled back.

use crate::diagnosis::evidence::{Fact, control, logged_errors, stacks};
use crate::diagnosis::{Answer, Cause, Certainty, Claim, Owner, Stage, Story};
use crate::framework::contains_token;
use crate::text;
use crate::timeline::{Row, Source, Xmax};

pub(super) const CAUSE: Cause = Cause {
    id: "row-rolled-back",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::WorkerCode],
    needs: &[&[Source::Database]],
    claims: &[Claim::NotFinal],
    page: include_str!("row_rolled_back.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let Some(row) = story.last_row().filter(|row| row.present) else {
        return Answer::NotApplicable;
    };
    let Some(state) = story.rolled_back() else {
        return match row.xmax_state {
            Some(Xmax::None) => Answer::ruled_out("the row's header shows no attempt (xmax 0)", [row.n]),
            None => Answer::cannot_tell(&[Source::Database]),
            _ => Answer::NotApplicable,
        };
    };
    // While the actor runs, an aborted mark may be a savepoint's.
    if story.attempt_over().is_none() && !story.closed() {
        return Answer::NotApplicable;
    }
    if let Some([over, look]) = story.mark_of_another() {
        // One from the time of the actor may have stood there before.
        return match story.rolled_back_meanwhile() {
            Some(row) => Answer::possible(
                format!(
                    "while the actor ran the row's header showed a transaction that was rolled back (xmax {}); others did the same after it",
                    row.xmax.unwrap_or(0)
                ),
                [row.n, over],
            ),
            None => Answer::ruled_out(
                format!(
                    "the transaction that was rolled back (xmax {}) came to the row when the actor did not run: it is another's",
                    row.xmax.unwrap_or(0)
                ),
                [over, look],
            ),
        };
    }
    let said = story.lines().iter().find(|told| {
        told.mark.is_none()
            && story
                .timeline
                .setup
                .succeeded
                .iter()
                .any(|word| says_status(&told.line.text, word))
    });
    let fact = match state {
        Xmax::UpdateAborted => "an update by a transaction that was rolled back",
        _ => "a transaction that was rolled back",
    };
    let text = format!(
        "the row still says {}, and its header shows {fact} (xmax {})",
        row.status.as_deref().unwrap_or("NULL"),
        row.xmax.unwrap_or(0)
    );
    if let Some(answer) = only_a_lock(story, row, &text) {
        return answer;
    }
    // A lock by a rolled-back transaction leaves exactly the same: SELECT FOR UPDATE, or an INSERT
    // into a referencing table, whose rollback does not keep the application from logging success.
    let answer = match (said, story.referencing_tables()) {
        // Seen at it: the transaction held a writer's lock on the table while it held the row. An
        // UPDATE that matches nothing takes that lock as well, so it supports and does not prove.
        (Some(told), [_, ..]) if let Some(seen) = story.seen_writing(row.xmax) => Answer::likely(
            format!(
                "{text}, that transaction was seen with a writer's lock on the table, and the worker's log says `{}`",
                text::excerpt(&told.line.text)
            ),
            [seen, row.n, told.n],
        ),
        (Some(told), []) => {
            let said = format!(
                "{text}, while the worker's log says `{}`",
                text::excerpt(&told.line.text)
            );
            match state {
                Xmax::UpdateAborted => Answer::shown(said, [row.n, told.n]),
                _ => Answer::likely(
                    format!("{said}; only a lock without a write, rolled back as well, would leave the same"),
                    [row.n, told.n],
                ),
            }
        }
        (said, [other, ..]) => {
            let mut evidence = vec![row.n];
            evidence.extend(said.map(|told| told.n));
            Answer::likely(
                format!("{text}; another's rolled-back lock, as by an INSERT into {other}, leaves the same"),
                evidence,
            )
        }
        (None, []) => Answer::likely(text, [row.n]),
    };
    let answer = logged_errors::added_to(story, answer);
    let answer = while_it_runs(story, answer);
    let answer = match said {
        Some(_) => answer,
        None => at_any_time(story, answer),
    };
    // Nobody holds the message any more, and nobody the row.
    answer.lasting_if(story.attempt_over().is_some() && story.raised().is_empty())
}

/// Afterwards nothing tells when that transaction was: whoever came to the row after the actor left the same.
fn at_any_time(story: &Story<'_>, answer: Answer) -> Answer {
    match story.post_mortem() && logged_errors::of_its_run(story).is_none() {
        true => answer
            .followed_by("; it may be a lock, or another program's that came after the actor")
            .at_most(Certainty::Possible),
        false => answer,
    }
}

/// The transaction was seen open, and wrote nothing.
fn only_a_lock(story: &Story<'_>, row: Fact<&Row>, text: &str) -> Option<Answer> {
    let look = story.seen_locking_for_another(row.xmax)?;
    let query = look.holder.as_ref().and_then(|holder| holder.query.as_deref());
    let query = query.map_or_else(String::new, |query| format!(": `{}`", text::excerpt(query)));
    let text = format!(
        "{text}; while it was open it held a lock and wrote nothing, and no known process had it{query}"
    );
    Some(Answer::possible(text, [look.n, row.n]))
}

fn while_it_runs(story: &Story<'_>, answer: Answer) -> Answer {
    match runs_on(story) {
        true => answer
            .followed_by("; the task may still run: what was undone may be a savepoint of its own, or another program's change")
            .at_most(Certainty::Possible),
        false => answer,
    }
}

/// Its worker says so, or a thread stands in a task's function, and no line tells of its end.
fn runs_on(story: &Story<'_>) -> bool {
    let is_active = || matches!(control::holder(story), Some((_, "active")));
    story.attempt_over().is_none()
        && story.raised().is_empty()
        && (is_active() || stacks::one_may_run_it(story))
}

/// The line tells of a status, and does not merely hold a word of the language: `getting ready` is none.
fn says_status(text: &str, word: &str) -> bool {
    if !contains_token(text, word) {
        return false;
    }
    // Nobody writes a word in capitals, or with an underscore, in a sentence.
    if !word.chars().any(char::is_lowercase) || word.contains('_') {
        return true;
    }
    let is_named = |before: &str| {
        let before = before.trim_end();
        let last = before
            .rsplit(|c: char| !c.is_alphanumeric())
            .find(|part| !part.is_empty());
        let is_label = last.is_some_and(|last| LABELS.contains(&last.to_lowercase().as_str()));
        is_label || before.ends_with(['=', ':', '>', '"', '\'', '`', '→'])
    };
    text.match_indices(word).any(|(at, _)| is_named(&text[..at]))
}

/// What stands before a status where one is told.
const LABELS: &[&str] = &[
    "status", "state", "phase", "stage", "outcome", "result", "marked", "set", "now", "is", "to", "as",
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    fn over(state: Xmax) -> Scene {
        Scene::entered()
            .info("app.store", "task_id=task_1 status COMPLETED")
            .completed()
            .acked("m-1")
            .row_with("PENDING", state)
    }

    #[test]
    fn the_log_says_completed_and_the_row_does_not() {
        assert_eq!(
            over(Xmax::UpdateAborted).silence().cause(),
            "certain row-rolled-back"
        );
    }

    /// A person's console locked the row and took its hands off; a worker's own transaction may lock it first.
    #[test]
    fn a_lock_of_somebody_elses_leaves_the_same() {
        let seen = |writes: bool, client: &str| {
            let row = serde_json::json!({"present": true, "status": "PENDING", "xmin": 700, "xmax": 800,
                "xmax_state": "in-progress", "holder_writes": writes,
                "holder": {"pid": 77, "client": client, "query": "select * from orders for update"}});
            let row = serde_json::from_value(row).expect("a row");
            let scene = Scene::entered()
                .row_with("PENDING", Xmax::None)
                .see(Source::Database, crate::timeline::EventKind::Row(row))
                .process(101, 100, "python dramatiq app", |process| {
                    process.sockets = vec!["10.0.0.1:4000 -> 10.0.0.2:5432".into()];
                });
            let mut scene = scene.completed().acked("m-1").row_with("PENDING", Xmax::Aborted);
            for event in &mut scene.timeline.events {
                if let crate::timeline::EventKind::Row(row) = &mut event.kind {
                    row.xmax = row.xmax.filter(|xmax| *xmax != 0).map(|_| 800);
                }
            }
            scene.silence()
        };
        let locked = seen(false, "10.0.0.9:4000");
        assert_eq!(locked.answer(&CAUSE), "possible");
        let summary = locked
            .verdict()
            .cause
            .map(|cause| cause.summary)
            .unwrap_or_default();
        assert!(summary.contains("held a lock and wrote nothing"), "{summary}");
        assert_eq!(seen(false, "10.0.0.1:4000").answer(&CAUSE), "likely");
        assert_eq!(seen(true, "10.0.0.9:4000").answer(&CAUSE), "likely");
    }

    /// Afterwards, where no word of the run goes with it, a person's console may have left the mark.
    #[test]
    fn afterwards_the_mark_may_be_from_after_the_actor() {
        let marked = |says: &str| {
            let scene = Scene::new()
                .given()
                .from_before(5)
                .debug(
                    "dramatiq.worker.WorkerThread",
                    "Received message act('task_1') with id 'm-1'.",
                )
                .info("app", "ACTOR ENTRY task_id=task_1")
                .info("app.store", says);
            let scene = scene.completed().acked("m-1").from_now_on();
            scene
                .row_with("RUNNING", Xmax::Aborted)
                .end(crate::timeline::Ended::Looked)
                .answer(&CAUSE)
        };
        assert_eq!(marked("task_id=task_1 is done"), "possible");
        assert_eq!(marked("task_id=task_1 status COMPLETED"), "likely");
    }

    /// Another program's session may have touched the row, and the task stands somewhere else.
    #[test]
    fn while_the_task_runs_the_mark_may_be_anybodys() {
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OURS};
        let marked = |active: bool| {
            let scene = CeleryScene::received().and(|scene| {
                let scene = scene.at(500.0).row("RUNNING");
                scene.row_with("RUNNING", Xmax::Aborted)
            });
            let scene = scene.answers(|answer| if active { answer.active(OURS) } else { answer });
            scene.silence()
        };
        assert_eq!(
            marked(true).answer(&CAUSE),
            "possible",
            "{}",
            marked(true).summary()
        );
        assert_eq!(marked(true).cause(), "likely actor-still-running");
        assert_eq!(marked(false).answer(&CAUSE), "likely");
    }

    #[test]
    fn a_word_of_the_language_is_no_status() {
        for (line, word, is) in [
            ("task_1: getting ready to render", "ready", false),
            ("task_1 is ready", "ready", true),
            ("task_1 status=ready", "ready", true),
            ("state of task_1 -> ready", "ready", true),
            ("all done here, done with it", "done", false),
            ("task_1 COMPLETED", "COMPLETED", true),
            ("task_1 COMPLETELY", "COMPLETE", false),
        ] {
            assert_eq!(says_status(line, word), is, "{line}");
        }
    }

    #[test]
    fn once_the_message_is_acknowledged_waiting_changes_nothing() {
        assert!(over(Xmax::UpdateAborted).lasts());
        // It may still be a savepoint's, come back, or be another cause.
        assert!(!Scene::entered().row_with("PENDING", Xmax::UpdateAborted).lasts());
        let again = over(Xmax::UpdateAborted).raised("ValueError: no");
        assert!(!again.lasts());
        assert!(!over(Xmax::None).lasts());
    }

    #[test]
    fn no_attempt_and_a_lock_are_near_misses() {
        assert_eq!(over(Xmax::None).silence().answer(&CAUSE), "ruled out");
        assert_eq!(over(Xmax::Committed).silence().answer(&CAUSE), "not applicable");
        let silent = Scene::entered()
            .completed()
            .acked("m-1")
            .row_with("PENDING", Xmax::Aborted);
        assert_eq!(silent.silence().answer(&CAUSE), "likely");
    }

    /// `SELECT … FOR UPDATE` and a rollback: nothing was to be written.
    #[test]
    fn a_lock_that_was_rolled_back_leaves_the_same_mark() {
        assert_eq!(over(Xmax::Aborted).silence().answer(&CAUSE), "likely");
    }

    /// Somebody else's transaction, which came to the row when the actor was over.
    #[test]
    fn a_transaction_from_after_the_actor_is_a_near_miss() {
        let done = || {
            Scene::entered()
                .row("PENDING")
                .info("app.store", "task_id=task_1 status COMPLETED")
                .completed()
                .acked("m-1")
        };
        let later = done().at(1500.0).row_with("PENDING", Xmax::UpdateAborted);
        assert_eq!(later.silence().answer(&CAUSE), "ruled out");
        // The look that shows the actor's own may end a little after it.
        let own = done().row_with("PENDING", Xmax::UpdateAborted);
        assert_eq!(own.silence().answer(&CAUSE), "certain");
    }

    /// A busy database answers late: the look before the mark was begun while the actor ran.
    #[test]
    fn a_look_that_waited_for_its_answer_says_nothing_of_later() {
        use crate::timeline::EventKind;
        let looked = |asked: f64| {
            let mut scene = Scene::entered()
                .row("PENDING")
                .info("app.store", "task_id=task_1 status COMPLETED")
                .completed()
                .acked("m-1");
            let over = scene.timeline.events.last().expect("an event").at_ms;
            scene = scene.at(over + 50.0).row("RUNNING");
            scene = scene.at(over + 400.0).row_with("RUNNING", Xmax::UpdateAborted);
            let rows = scene.timeline.events.iter_mut().rev();
            let rows = rows.filter_map(|event| match &mut event.kind {
                EventKind::Row(row) => Some(row),
                _ => None,
            });
            for (row, asked) in rows.zip([over + 60.0, over + asked]) {
                row.asked_at_ms = Some(asked);
            }
            scene.silence()
        };
        assert_eq!(looked(-100.0).answer(&CAUSE), "certain");
        assert_eq!(looked(10.0).answer(&CAUSE), "ruled out");
    }

    #[test]
    fn while_the_actor_runs_it_may_be_a_savepoint() {
        assert_eq!(
            Scene::entered().row_with("PENDING", Xmax::Aborted).answer(&CAUSE),
            "not applicable"
        );
        assert_eq!(
            over(Xmax::Aborted)
                .silence()
                .without(Source::Database)
                .answer(&CAUSE),
            "cannot tell"
        );
    }
}
