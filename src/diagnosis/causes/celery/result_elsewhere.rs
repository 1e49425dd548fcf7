//! The task has run, and its result went to another store than the one that is looked at.

use super::APPLIES_TO;
use crate::diagnosis::evidence::{named_table, results, row};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Certainty, Owner, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::Source;

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "result-elsewhere",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::Deployment],
    explains: &["row-missing"],
    needs: &[&[Source::WorkerLog], &[Source::Database]],
    applies_to: APPLIES_TO,
    page: include_str!("result_elsewhere.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    // A row of the application's own has nothing to do with it.
    let done = story.line(|mark| matches!(mark, LogEvent::Succeeded { .. }));
    let Some(done) = done.filter(|_| story.row_is_a_result()) else {
        return Answer::NotApplicable;
    };
    if let Some(row) = story.rows().iter().find(|row| row.present) {
        return Answer::ruled_out("its row is there", [row.n]);
    }
    let sent = story.publishes();
    if let Some(passage) = sent.iter().find(|passage| passage.message.result_ignored) {
        return Answer::ruled_out("it is sent with ignore_result", [passage.n]);
    }
    let looked = story.last_row().filter(|row| row.at_ms > done.at_ms);
    let Some(looked) = looked.filter(|_| story.closed()) else {
        return Answer::NotApplicable;
    };
    let table = row::table(story);
    let mut evidence = vec![done.n, looked.n];
    let text = format!(
        "the task succeeded, and {} has no result of it",
        named_table(story)
    );
    // What the API calls by another word than `unknown`, it has found: then we look in the wrong place.
    if let Some(said) = story.api_status().filter(|said| said.at_ms > done.at_ms) {
        evidence.push(said.n);
        if Some(said.value) != story.framework().unknown_result {
            return Answer::possible(
                format!(
                    "{text}; the API says {said}, so it has that from another table than the one that is configured here"
                ),
                evidence,
            );
        }
    }
    let answer = match results::store_of_the_worker(story) {
        Some(store) if results::is_the_database(story, &store) && !results::cannot_be(&store, table) => {
            return Answer::ruled_out(format!("the worker keeps results in {store}"), [store.n]);
        }
        Some(store) => {
            evidence.push(store.n);
            let there = format!("{text}: the worker keeps results in {store}");
            match results::cannot_be(&store, table) {
                // Another worker that writes this log has a banner of its own, unless that was lost.
                true => Answer::shown(there, evidence).given([Premise::LogIsWhole]),
                false => Answer::likely(
                    format!("{there}, which is another database, unless the result was taken away at once"),
                    evidence,
                ),
            }
        }
        None => Answer::likely(
            format!(
                "{text}: the worker keeps results elsewhere, unless it was taken away at once, or the task is declared with ignore_result"
            ),
            evidence,
        ),
    };
    // A table of the application's own may have such ids as well, and no results.
    let answer = match story.keeps_results() {
        true => answer,
        false => answer.at_most(Certainty::Possible),
    };
    match story.sees(Source::Firehose) {
        true => answer,
        false => answer.would_decide(&[Source::Firehose]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::causes::celery::scenes::OURS;
    use crate::diagnosis::testing::{API, Scene, WORKER};
    use crate::framework::{ArgumentValues, Message};
    use crate::timeline::{EventKind, Level, LogLine};

    const REDIS: &str = "redis://:**@cache:6379/0";

    fn said(scene: Scene, text: &str) -> Scene {
        let line = LogLine {
            level: Some(Level::Info),
            thread: Some("MainProcess".into()),
            text: text.into(),
            raw: ArgumentValues(vec![text.to_owned()]),
            carries_task_id: text.contains(OURS),
            ..LogLine::default()
        };
        scene.see(Source::WorkerLog, EventKind::Line(line))
    }

    /// The answer of the API is the message's id, and the worker's banner names this store.
    fn succeeded(table: &str, store: &str) -> Scene {
        let message = || Message {
            message_id: Some(OURS.into()),
            actor: Some("shop.tasks.report".into()),
            carries_task_id: true,
            json: true,
            ..Message::default()
        };
        let scene = Scene::new().setup(|setup| {
            setup.framework = "celery".into();
            setup.queue = "celery".into();
            setup.table = Some(table.into());
            setup.database = Some("db:5432/shop".into());
        });
        let scene = said(scene, &format!("- ** ---------- .> results:     {store}"));
        let scene = said(scene, "celery@vm ready.")
            .depth("celery", 0, 1)
            .submitting()
            .answered(202, Some(OURS), "")
            .no_row()
            .publish_as("celery", API, message());
        let delivered = EventKind::Deliver {
            queue: "celery".into(),
            connection: WORKER.into(),
            redelivered: false,
            message: message(),
        };
        let scene = scene.see(Source::Firehose, delivered);
        let scene = said(scene, &format!("Task shop.tasks.report[{OURS}] received"));
        said(
            scene,
            &format!("Task shop.tasks.report[{OURS}] succeeded in 0.1s: None"),
        )
    }

    /// The log was read to its end, and its writer seen.
    fn whole(scene: Scene) -> Scene {
        let path = "worker.log".into();
        let scene = scene.process(100, 1, "python celery -A shop worker -l INFO", |process| {
            process.holds_log = true
        });
        scene
            .see(Source::WorkerLog, EventKind::ReadWhole { path })
            .silence()
    }

    #[test]
    fn the_worker_has_another_store() {
        let scene = whole(succeeded("celery_taskmeta", REDIS).no_row());
        let summary = scene.summary();
        assert_eq!(scene.cause(), "certain result-elsewhere", "{summary}");
        assert!(summary.contains("redis://cache:6379/0"), "{summary}");
        let other = whole(succeeded("celery_taskmeta", "postgresql://a:**@db:5432/staging").no_row());
        assert_eq!(other.cause(), "likely result-elsewhere");
        let unsaid = whole(succeeded("django_celery_results_taskresult", "").no_row());
        assert_eq!(unsaid.cause(), "likely result-elsewhere");
        assert_eq!(unsaid.without(Source::WorkerLog).answer(&CAUSE), "cannot tell");
    }

    #[test]
    fn the_same_store_a_row_and_an_api_that_knows_are_near_misses() {
        let same = whole(succeeded("celery_taskmeta", "postgresql://a:**@db:5432/shop").no_row());
        assert_eq!(same.answer(&CAUSE), "ruled out");
        // Django's table there is written by another backend.
        let djangos = whole(
            succeeded(
                "django_celery_results_taskresult",
                "postgresql://a:**@db:5432/shop",
            )
            .no_row(),
        );
        assert_eq!(djangos.cause(), "certain result-elsewhere");
        let there = whole(succeeded("celery_taskmeta", REDIS).row("SUCCESS"));
        assert_eq!(there.answer(&CAUSE), "ruled out");
        let known = whole(succeeded("celery_taskmeta", REDIS).no_row().api_says("SUCCESS"));
        assert_eq!(known.answer(&CAUSE), "possible");
        let unknown = whole(succeeded("celery_taskmeta", REDIS).no_row().api_says("PENDING"));
        assert_eq!(unknown.cause(), "certain result-elsewhere");
    }

    #[test]
    fn a_look_from_before_the_end_says_nothing() {
        let early = whole(succeeded("celery_taskmeta", REDIS));
        assert_eq!(early.answer(&CAUSE), "not applicable");
    }

    /// One log has what the workers of two services write, and ours booted before the log was rotated.
    #[test]
    fn the_banner_of_another_service_says_nothing_of_ours() {
        let of = |queue: &str| {
            let scene = succeeded("celery_taskmeta", REDIS);
            let line = format!("                .> {queue}           exchange={queue}(direct) key={queue}");
            let scene = said(scene, &line).no_row();
            whole(scene).answer(&CAUSE)
        };
        assert_eq!(of("mail"), "likely");
        assert_eq!(of("celery"), "certain");
    }
}
