//! The actor completed and wrote no final status.

use crate::diagnosis::evidence::{Fact, broker, logged_errors, row, stacks};
use crate::diagnosis::{Answer, Cause, Claim, Owner, Stage, Story};
use crate::framework::{LogEvent, function_of};
use crate::timeline::{Event, EventKind, Row, Source, Xmax};

pub(super) const CAUSE: Cause = Cause {
    id: "row-never-written",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::WorkerCode],
    needs: &[&[Source::Database]],
    claims: &[Claim::NotFinal],
    page: include_str!("row_never_written.md"),
    check,
    ..Cause::DEFAULT
};

/// The last attempt did not come to its end: it raised without an ERROR line, was told to stop, or
/// was rejected.
fn did_not_complete(story: &Story<'_>) -> bool {
    let over = story.attempt_over();
    // It went on all the same.
    let returned = matches!(over.and_then(|told| told.mark), Some(LogEvent::Succeeded { .. }));
    story.publishes().iter().any(|passage| passage.message.is_retry())
        || over.is_some_and(|told| matches!(told.mark, Some(LogEvent::Rejecting { .. } | LogEvent::Ignored)))
        || story.lines().iter().any(|told| {
            // What it raised need not stand below the line.
            let failed =
                matches!(told.mark, Some(LogEvent::TimeLimit | LogEvent::Failed { .. })) && !returned;
            failed
                || matches!(
                    told.mark,
                    Some(
                        LogEvent::Retrying { .. }
                            | LogEvent::RetriesExceeded { .. }
                            | LogEvent::RateLimited
                            | LogEvent::ExpectedException { .. }
                            | LogEvent::Requeued
                            | LogEvent::KilledAtTimeLimit
                            | LogEvent::Terminating { .. }
                    )
                )
        })
}

/// Another message may be the one that writes the row: of a pipeline, or sent on by the actor.
fn left_to_another(story: &Story<'_>) -> Option<Fact<String>> {
    let named = story.publishes().iter().find_map(|passage| {
        let next = passage.message.follow_up.as_ref()?;
        let text = format!("names `{}` to go on with", next.actor);
        Some(Fact::new(passage.n, passage.at_ms, text))
    });
    named.or_else(|| {
        let is_the_apis = |event: &&Event| match &event.kind {
            EventKind::Publish { connection, .. } => story.is_the_apis(connection).is_some(),
            _ => false,
        };
        if let Some(event) = story.successors().find(|event| !is_the_apis(event)) {
            return Some(Fact::of(event, "sent a message with the same id on".to_owned()));
        }
        // Afterwards nobody saw with whose id.
        let is_meant = |queue: &str| story.post_mortem() || story.is_of_my_queue(queue);
        let sent = story.sent_to_in_its_run(is_meant)?;
        Some(sent.with(format!("sent a message to `{}` while it ran", sent.value)))
    })
}

/// The process that took it has a thread in a function that stands in the actor's own: it goes on behind its back.
fn left_to_a_thread(story: &Story<'_>) -> Option<Fact<String>> {
    let actors = story.actors();
    let locals: Vec<String> = actors
        .iter()
        .map(|actor| format!("{}.<locals>.", function_of(actor)))
        .collect();
    let taker = story
        .deliveries()
        .last()
        .and_then(|passage| story.peer(passage.connection))?;
    let shape = &story.framework().stack;
    let mut threads = stacks::last_dump(story, taker.value);
    let thread = threads.find(|thread| {
        let mut frames = thread.frames().iter();
        let is_local = |function: &str| locals.iter().any(|local| function.starts_with(local.as_str()));
        frames.any(|frame| is_local(&frame.function)) && !thread.has(shape.worker_loop)
    })?;
    stacks::innermost_own(story, thread)
}

/// The API says that it is done, and the row that we see was never written to.
fn done_elsewhere(story: &Story<'_>, row: Fact<&Row>, written: bool) -> Option<Answer> {
    let said = story.api_status()?;
    let is_done = story
        .timeline
        .setup
        .succeeded
        .iter()
        .any(|done| done == said.value);
    let text = format!(
        "the API says {said}, and the row still says {} in the only version that was seen: the API has that from another table, column or database than {}",
        row.status.as_deref().unwrap_or("NULL"),
        row::table(story)
    );
    let says_so = row.status.as_deref() == Some(said.value);
    (is_done && !written && !says_so).then(|| Answer::possible(text, [said.n, row.n]))
}

/// A row inserted together with a child row is locked by its own transaction: xmax equals xmin. Any later
/// lock may have taken the place of an aborted update's mark.
fn is_untouched(row: &Row) -> bool {
    row.xmax_state == Some(Xmax::None) || (row.xmax_state == Some(Xmax::Committed) && row.xmax == row.xmin)
}

/// Afterwards a status that nobody named, and that is none from before the work, may be a stage after it.
fn is_unknown_afterwards(story: &Story<'_>, row: &Row) -> bool {
    let status = row.status.as_deref().unwrap_or_default();
    let is_running = story.timeline.setup.running.iter().any(|word| word == status);
    story.post_mortem() && !is_running && !status.is_empty() && !row::is_before_the_work(status)
}

/// What the row and its header say.
fn words(story: &Story<'_>, row: &Row, written: bool) -> String {
    let status = row.status.as_deref().unwrap_or("NULL");
    let xmax = row.xmax.unwrap_or(0);
    // What it was before, one look does not tell.
    if story.post_mortem() {
        // What the message names to go on with is seen in the message only.
        let elsewhere = match story.publishes().is_empty() && story.held().is_empty() {
            true => ", or another message may go on with the work",
            false => "",
        };
        return match is_untouched(row) {
            true => format!(
                "the actor is done, the row says {status}, and its header shows no attempt to change this version of it (xmax {xmax}); something may have written over it since{elsewhere}"
            ),
            false => format!(
                "the actor is done, the row says {status}, and its header shows no newer version, only a lock (xmax {xmax})"
            ),
        };
    }
    match (written, is_untouched(row)) {
        (true, true) => format!(
            "the actor is done; the row was changed to {status} meanwhile, in this database, and its header shows no attempt to write a final status after that (xmax {xmax})"
        ),
        (true, false) => format!(
            "the actor is done; the row was changed to {status} meanwhile, in this database, and its header shows no new version after that, only a lock (xmax {xmax})"
        ),
        (false, true) => format!(
            "the actor is done, the row still says {status}, and its header shows no later attempt to change it (xmax {xmax})"
        ),
        (false, false) => format!(
            "the actor is done, the row still says {status}, and its header shows no new version, only a lock (xmax {xmax}): as SELECT FOR UPDATE leaves it, or an UPDATE that a trigger took back"
        ),
    }
}

/// One version only, and no transaction that was rolled back while the actor ran.
fn is_never_marked(story: &Story<'_>) -> bool {
    let mut versions = story.rows().iter().filter(|row| row.present).map(|row| row.xmin);
    let first = versions.next().flatten();
    let is_one = first.is_some() && versions.all(|xmin| xmin == first);
    story.closed() && is_one && story.rolled_back_meanwhile().is_none()
}

/// A version that was seen, the first or the last, was still invisible when the actor had ended; where nothing tells of
/// its end, the first one, which is not its own, when it had begun.
fn came_after_its_end(story: &Story<'_>) -> Option<[u32; 2]> {
    let is_running = |row: &Row| {
        let status = row.status.as_ref();
        status.is_some_and(|status| story.timeline.setup.running.contains(status))
    };
    let first = story.rows().iter().find(|row| row.present).copied();
    let (told, versions): (_, Vec<Fact<&Row>>) = match story.attempt_over() {
        Some(over) => (over, first.into_iter().chain(story.last_row()).collect()),
        None => (
            *story.lines().iter().find(|told| told.line.entry)?,
            first.into_iter().filter(|row| !is_running(row)).collect(),
        ),
    };
    let mut commits = versions.iter().flat_map(|row| story.commits_of(row));
    let later = commits.find(|commit| commit.invisible_at_ms.is_some_and(|at| at > told.at_ms))?;
    Some([told.n, later.n])
}

/// An aborted mark is a rolled-back update, or only a lock and nothing was written.
fn below_an_aborted_mark(story: &Story<'_>, row: Fact<&Row>) -> Answer {
    if let Some([over, look]) = story.mark_of_another().filter(|_| is_never_marked(story)) {
        Answer::likely(
            format!(
                "the actor is done, the row still says {}, and its header showed no attempt to change it before somebody else's that was rolled back (xmax {})",
                row.status.as_deref().unwrap_or("NULL"),
                row.xmax.unwrap_or(0)
            ),
            [over, look, row.n],
        )
    } else if story.closed() && story.attempt_over().is_some() {
        Answer::possible(
            format!(
                "the aborted mark on the row (xmax {}) may be only a lock: then nothing was written",
                row.xmax.unwrap_or(0)
            ),
            [row.n],
        )
    } else {
        Answer::NotApplicable
    }
}

/// It may be written by another message, by a thread, or elsewhere; or what it wrote is not to be seen.
fn in_another_way(story: &Story<'_>, row: Fact<&Row>, written: bool) -> Option<Answer> {
    let is_done = story.attempt_over().is_some() || broker::drained(story).is_some();
    if row.several && is_done {
        let text = format!(
            "the actor is done, and the row that was looked at says {}; other rows of {} have the same id, as where each status is a row of its own",
            row.status.as_deref().unwrap_or("NULL"),
            row::table(story)
        );
        return Some(Answer::possible(text, [row.n]).owned_by(Some(&[Owner::Diagnosis, Owner::WorkerCode])));
    }
    if let Some(Fact { n, value: what, .. }) = left_to_another(story).filter(|_| is_done) {
        let text =
            format!("the actor is done and did not write the final status; it {what}, which may be meant to");
        return Some(Answer::possible(text, [n, row.n]));
    }
    if let Some(answer) = done_elsewhere(story, row, written) {
        return Some(answer);
    }
    if let Some([over, committed]) = came_after_its_end(story) {
        let text = "the actor is done; the version of its row that was seen was committed after it had begun or ended, and says nothing of what it wrote";
        return Some(Answer::possible(text, [over, committed, row.n]));
    }
    let stands = left_to_a_thread(story)?;
    let text = format!(
        "the actor is done and did not write the final status; a thread that it started stands in {stands}, and may be meant to"
    );
    Some(Answer::possible(text, [stands.n, row.n]))
}

fn check(story: &Story<'_>) -> Answer {
    let answer = never_written(story);
    // Whether it was, is open only where the row is back at a word from before the work.
    match story.is_back_before_the_work() {
        true => answer,
        false => answer.case(WRITTEN_OVER, false),
    }
}

/// A case of its remedies.
const WRITTEN_OVER: &str = "the row was written over";

fn never_written(story: &Story<'_>) -> Answer {
    let Some(row) = story.last_row().filter(|row| row.present) else {
        return Answer::NotApplicable;
    };
    if story.row_failed().is_some()
        || story.row_succeeded().is_some()
        || story.raised().iter().any(|raised| raised.entered())
        || did_not_complete(story)
        // Rejected: the attempt failed, whatever kept the log from saying so.
        || story.dead_letters_grew()
        || story.was_skipped()
        || story.died_in_actor().is_some()
        // Another run of it is under way, or is to come, and may write it.
        || story.runs_again().is_some()
        || story.put_off().is_some()
    {
        return Answer::NotApplicable;
    }
    match row.xmax_state {
        Some(Xmax::Aborted | Xmax::UpdateAborted) => return below_an_aborted_mark(story, row),
        Some(Xmax::InProgress) => return Answer::ruled_out("a transaction holds the row now", [row.n]),
        None => {
            return if story.closed() {
                Answer::cannot_tell(&[Source::Database])
            } else {
                Answer::NotApplicable
            };
        }
        _ => {}
    }
    if !story.closed() || story.is_in_other_case(&row) {
        return Answer::NotApplicable;
    }
    // Something did write it since it was first seen, and not just the status of a running task.
    let first = story.rows().iter().find(|row| row.present);
    let running = |status: &Option<String>| {
        status
            .as_ref()
            .is_some_and(|status| story.timeline.setup.running.contains(status))
    };
    let written = first.filter(|first| first.xmin.is_some() && first.xmin != row.xmin);
    if written.is_some() && !running(&row.status) {
        return Answer::ruled_out(
            format!(
                "a committed transaction wrote it since (status {}, xmin {})",
                row.status.as_deref().unwrap_or("NULL"),
                row.xmin.unwrap_or(0)
            ),
            [row.n],
        );
    }
    if let Some(answer) = in_another_way(story, row, written.is_some()) {
        return answer;
    }
    let mut text = words(story, &row, written.is_some());
    if story.line(|mark| matches!(mark, LogEvent::TimeLimit)).is_some() {
        text.push_str(
            "; its time limit was reached before, and it went on to its end: it swallows the exception",
        );
    }
    without_a_final_status(story, row, text)
}

/// The actor is done, by the log or by the broker's count: what its run logged, and what nobody named, go with it.
fn without_a_final_status(story: &Story<'_>, row: Fact<&Row>, mut text: String) -> Answer {
    let mut evidence = vec![row.n];
    let error = logged_errors::of_its_run(story);
    if let Some(told) = error {
        evidence.push(told.n);
        text.push_str(&logged_errors::words(told));
    }
    let unlisted = is_unknown_afterwards(story, &row);
    // What is there is from before the actor, which sets a status as it begins, or from after it.
    let is_back = story.is_back_before_the_work();
    if is_back {
        text.push_str(
            "; the running status that it begins with is not there either: it returned before that, wrote elsewhere, or somebody has written over the row since",
        );
    }
    if unlisted && error.is_none() {
        text.push_str(&format!(
            "; no list of taskdiag.toml has `{}`: if the task is over with that, add it to database.succeeded or database.failed",
            row.status.as_deref().unwrap_or_default()
        ));
    }
    let answer = match story.attempt_over() {
        Some(over) => {
            evidence.insert(0, over.n);
            match unlisted || is_back {
                true => Answer::possible(text, evidence),
                // Another may be meant to write it: a callback, a batch, a service that listens. Nothing shows that
                // there is none.
                false => Answer::likely(text, evidence),
            }
        }
        None => match broker::drained(story) {
            Some(n) => {
                evidence.insert(0, n);
                Answer::likely(text, evidence).would_decide(&[Source::WorkerLog])
            }
            None => Answer::NotApplicable,
        },
    };
    let owner: Option<&'static [Owner]> = unlisted.then_some(&[Owner::WorkerCode, Owner::Diagnosis]);
    answer.case(LOGGED_ERROR, error.is_some()).owned_by(owner)
}

/// A case of its remedies.
const LOGGED_ERROR: &str = "its run logged an error";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    fn over(state: Xmax) -> Scene {
        Scene::entered()
            .completed()
            .acked("m-1")
            .row_with("PENDING", state)
            .silence()
    }

    /// A table of events: which of its rows tells of the task now is not known.
    #[test]
    fn one_of_several_rows_need_not_be_the_last() {
        let looked = |several: bool| {
            let mut scene = over(Xmax::None);
            for event in &mut scene.timeline.events {
                if let EventKind::Row(row) = &mut event.kind {
                    row.several = several;
                }
            }
            scene.answer(&CAUSE)
        };
        assert_eq!(looked(true), "possible");
        assert_eq!(looked(false), "likely");
    }

    fn afterwards(status: &str, word: &str) -> Scene {
        Scene::new()
            .given()
            .from_before(5)
            .debug(
                "dramatiq.worker.WorkerThread",
                "Received message act('task_1') with id 'm-1'.",
            )
            .info("app", "ACTOR ENTRY task_id=task_1")
            .debug("dramatiq.broker.RabbitmqBroker", word)
            .completed()
            .acked("m-1")
            .from_now_on()
            .row(status)
            .end(crate::timeline::Ended::Looked)
    }

    /// A sweeper may have put it back, or the API wrote it behind its `send()`.
    #[test]
    fn a_row_from_before_the_work_may_be_written_over() {
        let back = afterwards("PENDING", "…");
        assert_eq!(back.answer(&CAUSE), "possible");
        assert!(back.summary().contains("written over"), "{}", back.summary());
        // The status that it begins with is there.
        assert_eq!(afterwards("RUNNING", "…").answer(&CAUSE), "likely");
    }

    /// Nobody saw with whose id: the next step of the task, or a mail.
    #[test]
    fn afterwards_what_its_run_sent_may_go_on_with_it() {
        let sent = afterwards("RUNNING", "Enqueueing message 'm-2' on queue 'ledger'.");
        assert_eq!(sent.answer(&CAUSE), "possible");
        assert!(sent.summary().contains("`ledger`"), "{}", sent.summary());
    }

    /// It returns and leaves a thread behind, which writes the row when it is done.
    #[test]
    fn a_thread_that_the_actor_started_goes_on() {
        use crate::diagnosis::testing::WORKER;
        let left = |function: &str| {
            let scene = Scene::entered().peer(WORKER, 101).completed().acked("m-1");
            let scene = scene.row_with("PENDING", Xmax::None);
            let stack = [
                (function, "/app/tasks.py"),
                ("Thread.run", "/usr/lib/python3.11/threading.py"),
            ];
            scene
                .stack(101, "Thread-16 (later)", &stack)
                .silence()
                .answer(&CAUSE)
        };
        assert_eq!(left("act.<locals>.later"), "possible");
        // One of the application's own, which was there before.
        assert_eq!(left("refresh_rates"), "likely");
    }

    /// A quiet worker: its entry line came before the version that was seen.
    #[test]
    fn a_version_from_after_its_entry_says_nothing_of_it() {
        use crate::diagnosis::testing::WORKER;
        let seen = |status: &str| {
            Scene::accepted()
                .no_row()
                .publish("default")
                .deliver(WORKER)
                .at(200.0)
                .info("app", "ACTOR ENTRY task_id=task_1")
                .totals("default", 0, 0, serde_json::json!({}))
                .at(1_700.0)
                .committed(1_650.0, 1_690.0)
                .row(status)
                .totals("default", 0, 0, serde_json::json!({}))
                .silence()
        };
        assert_eq!(seen("PENDING").answer(&CAUSE), "possible");
        // That one is its own.
        assert_eq!(seen("RUNNING").answer(&CAUSE), "likely");
    }

    /// What the actor did to the row is not in a version that came after it.
    #[test]
    fn a_version_from_after_its_end_says_nothing_of_it() {
        let seen = |invisible: f64| {
            Scene::accepted()
                .no_row()
                .publish("default")
                .deliver(crate::diagnosis::testing::WORKER)
                .at(200.0)
                .info("app", "ACTOR ENTRY task_id=task_1")
                .at(300.0)
                .completed()
                .acked("m-1")
                .at(1_700.0)
                .committed(invisible, 1_690.0)
                .row("PENDING")
                .silence()
        };
        assert_eq!(seen(1_650.0).answer(&CAUSE), "possible");
        assert_ne!(
            seen(1_650.0).verdict().cause.map(|cause| cause.id),
            Some(CAUSE.id.into())
        );
        assert_ne!(seen(150.0).answer(&CAUSE), "possible");
    }

    /// Celery says that the limit was reached, and a moment later that the task succeeded.
    #[test]
    fn a_time_limit_that_the_task_swallows() {
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OURS};
        let limited = CeleryScene::received()
            .info(&format!("shop.tasks.fulfil[{OURS}]: packing"))
            .and(|scene| scene.row("PENDING"))
            .and(|scene| {
                scene.plain(
                    Some(crate::timeline::Level::Warning),
                    &format!("Soft time limit (2s) exceeded for shop.tasks.fulfil[{OURS}]"),
                )
            });
        let swallowed = limited
            .info(&format!("Task shop.tasks.fulfil[{OURS}] succeeded in 2.0s: None"))
            .and(|scene| scene.at(2_000.0).row("PENDING"))
            .silence();
        assert_eq!(swallowed.cause(), "likely row-never-written");
        assert!(
            swallowed.summary().contains("swallows"),
            "{}",
            swallowed.summary()
        );
        assert_eq!(swallowed.verdict().outcome, crate::diagnosis::Outcome::Unfinished);
    }

    #[test]
    fn no_trace_of_an_attempt() {
        // A callback may be meant to write it.
        assert_eq!(over(Xmax::None).cause(), "likely row-never-written");
        assert_eq!(over(Xmax::Locks).answer(&CAUSE), "likely");
    }

    #[test]
    fn a_row_that_was_changed_meanwhile_is_in_the_right_database() {
        let said = Scene::summary;
        assert!(!said(&over(Xmax::None)).contains("in this database"));
        let changed = Scene::entered()
            .completed()
            .acked("m-1")
            .row_with("RUNNING", Xmax::None)
            .silence();
        let mut changed = changed;
        let last = changed
            .timeline
            .events
            .iter_mut()
            .rev()
            .find_map(|event| match &mut event.kind {
                crate::timeline::EventKind::Row(row) => Some(row),
                _ => None,
            });
        last.expect("a row").xmin = Some(99);
        // What it was changed to last may have been written over.
        assert_eq!(changed.cause(), "likely row-never-written");
        assert!(
            said(&changed).contains("was changed to RUNNING"),
            "{}",
            said(&changed)
        );
    }

    #[test]
    fn anothers_rolled_back_transaction_is_none_of_the_actors() {
        let done = || Scene::entered().completed().acked("m-1");
        let later = done()
            .at(1500.0)
            .row_with("PENDING", Xmax::UpdateAborted)
            .silence();
        assert_eq!(later.answer(&CAUSE), "likely");
        let own = done().row_with("PENDING", Xmax::UpdateAborted).silence();
        assert_eq!(own.answer(&CAUSE), "possible");
    }

    #[test]
    fn a_lock_in_the_header_is_named_as_one() {
        assert!(
            over(Xmax::None)
                .summary()
                .contains("no later attempt to change it")
        );
        let locked = over(Xmax::Locks).summary();
        assert!(locked.contains("only a lock (xmax 705)"), "{locked}");
    }

    #[test]
    fn an_open_transaction_or_a_retry_is_a_near_miss() {
        assert_eq!(over(Xmax::InProgress).answer(&CAUSE), "ruled out");
        let retried = Scene::entered()
            .completed()
            .retried()
            .acked("m-1")
            .row("PENDING")
            .silence();
        assert_eq!(retried.answer(&CAUSE), "not applicable");
        assert_eq!(retried.cause(), "likely actor-raised");
        let rejected = Scene::entered()
            .completed()
            .rejected("m-1")
            .row("PENDING")
            .silence();
        assert_eq!(rejected.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn before_the_end_and_without_the_row() {
        assert_eq!(
            Scene::entered().completed().acked("m-1").answer(&CAUSE),
            "not applicable"
        );
        assert_eq!(
            over(Xmax::None).without(Source::Database).answer(&CAUSE),
            "cannot tell"
        );
    }

    /// The application caught it, logged it, and went on.
    #[test]
    fn what_its_run_logged_is_the_answer() {
        let with = |scene: Scene| scene.completed().acked("m-1").row("PENDING").silence().verdict();
        let error = "carrier is down\nTraceback (most recent call last):\n  File \"/app/tasks.py\", line 3, in act\nValueError: no";
        let logged = with(Scene::entered().error("app", error));
        let cause = logged.cause.expect("a cause");
        assert_eq!(cause.id, "row-never-written");
        assert!(cause.summary.contains("carrier is down"), "{}", cause.summary);
        assert_eq!(
            logged.traceback.map(|raised| raised.exception),
            Some("ValueError: no".into())
        );
        assert!(
            cause
                .remedies
                .iter()
                .any(|remedy| remedy.starts_with("Repair `act`")),
            "{:?}",
            cause.remedies
        );
        let bare = with(Scene::entered().error("app", "database said no"))
            .cause
            .expect("a cause");
        assert!(bare.summary.contains("database said no"), "{}", bare.summary);
        let quiet = with(Scene::entered()).cause.expect("a cause");
        assert!(!quiet.summary.contains("logged"), "{}", quiet.summary);
        assert!(
            quiet.remedies.iter().all(|remedy| !remedy.contains("logged")),
            "{:?}",
            quiet.remedies
        );
    }

    /// Statuses are compared letter by letter: the word is the configuration's to know.
    #[test]
    fn a_status_in_other_letters_accuses_nobody() {
        let afterwards = |status: &str| {
            Scene::new()
                .given()
                .from_before(5)
                .line("[PID 101] [Thread-4] [dramatiq.worker.WorkerThread] [DEBUG] Received message act('task_1') with id 'm-1'.")
                .info("app", "ACTOR ENTRY task_id=task_1")
                .completed()
                .acked("m-1")
                .row(status)
                .end(crate::timeline::Ended::Looked)
        };
        assert_eq!(afterwards("Completed").answer(&CAUSE), "not applicable");
        let unlisted = afterwards("shipped");
        assert_eq!(unlisted.answer(&CAUSE), "possible");
        let cause = unlisted.verdict().cause.expect("a cause");
        assert_eq!(cause.owner, [Owner::WorkerCode, Owner::Diagnosis]);
        assert!(cause.summary.contains("database.succeeded"), "{}", cause.summary);
    }
}
