//! The row exists, but not where taskdiag looks.

use crate::diagnosis::evidence::{named_table, row};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::EventKind;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "row-invisible",
    keeps_from: &[Stage::Recorded, Stage::Finished],
    owner: &[Owner::DatabaseHost],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Database]],
    page: include_str!("row_invisible.md"),
    check,
    ..Cause::DEFAULT
};

/// Cases of its remedies.
const ANOTHER_SYSTEM: &str = "the API is another system's";
const ONE_SYSTEM: &str = "the API is this system's";
const HIDDEN: &str = "row-level security hides it";
const ANOTHER_SCHEMA: &str = "the row is in another schema";

fn check(story: &Story<'_>) -> Answer {
    if story.rows().iter().any(|row| row.present) || !story.closed() {
        return Answer::NotApplicable;
    }
    if let Some(sent) = story.answered_with_another_id() {
        return Answer::ruled_out("no result is stored under the id that the API answered", [sent.n]);
    }
    let elsewhere = story.find(|event| match &event.kind {
        EventKind::RowElsewhere { place, status } => Some((event.n, place, status)),
        _ => None,
    });
    if let Some((n, place, status)) = elsewhere {
        let status = status.as_deref().unwrap_or("unknown");
        let text = format!(
            "the row is not in {} but in {place}, with status {status}",
            named_table(story)
        );
        // Every schema may have a row of its own with this number: that of another tenant's task.
        let unique = story.task_id().is_some_and(|id| id.parse::<u64>().is_err());
        let setup = &story.timeline.setup;
        let is_over = story.post_mortem()
            && setup
                .succeeded
                .iter()
                .chain(&setup.failed)
                .any(|word| word == status);
        let answer = match (unique, is_over) {
            (true, false) => Answer::shown(text, [n]).given([Premise::IsPrimary]),
            // What is done may be kept elsewhere. In a run it would have been seen here before.
            (true, true) => Answer::likely(
                format!("{text}: written there, or moved there when it was done"),
                [n],
            ),
            (false, _) => Answer::possible(text, [n]),
        };
        // `schema "tenant_7" of the same database`
        let schema = place
            .strip_prefix("schema \"")
            .and_then(|rest| rest.split('"').next());
        let table = row::table(story).rsplit('.').next().unwrap_or_default();
        let answer = answer
            .case(ANOTHER_SYSTEM, false)
            .case(ONE_SYSTEM, schema.is_none())
            .case(ANOTHER_SCHEMA, schema.is_some())
            .case(HIDDEN, false);
        return match schema {
            Some(schema) => answer.naming("{row_table}", format!("{schema}.{table}")),
            None => answer,
        };
    }
    // Of a result that is not there yet the API says so, too.
    let unknown = story
        .framework()
        .unknown_result
        .filter(|_| story.row_may_be_a_result());
    if let Some((_, gone)) = story.lost_to_the_api() {
        return Answer::ruled_out("the API knows nothing of it any more", [gone.n]);
    }
    match story.api_status() {
        Some(said) if unknown == Some(said.value) => Answer::NotApplicable,
        // What nobody looked for was not missed.
        Some(_) if story.last_row().is_none() => Answer::cannot_tell(&[Source::Database]),
        // A result has no row before its end: the API says that of a table of its own.
        Some(_) if story.keeps_results() && story.attempt_over().is_none() => Answer::NotApplicable,
        Some(said) => {
            let text = format!(
                "the API reads this task (status {said}), but no row is visible in {}",
                row::table(story)
            );
            match story.api_of_another_project() {
                Some(project) => Answer::likely(format!("{text}: {project}"), [said.n, project.n])
                    .owned_by(Some(&[Owner::Diagnosis]))
                    .case(ANOTHER_SYSTEM, true)
                    .case(ONE_SYSTEM, false),
                // It may keep what it says in its own memory.
                None if story.is_without_message() => {
                    Answer::possible(format!("{text}, and no message was sent for it"), [said.n])
                        .case(ANOTHER_SYSTEM, false)
                        .case(ONE_SYSTEM, true)
                }
                None => Answer::likely(text, [said.n])
                    .case(ANOTHER_SYSTEM, false)
                    .case(ONE_SYSTEM, true),
            }
            .given([Premise::IsPrimary])
        }
        None => Answer::NotApplicable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    fn elsewhere() -> Scene {
        elsewhere_with("PENDING")
    }

    fn elsewhere_with(status: &str) -> Scene {
        Scene::accepted().no_row().see(
            Source::Database,
            EventKind::RowElsewhere {
                place: "schema \"other\" of the same database".into(),
                status: Some(status.into()),
            },
        )
    }

    /// Done tasks are kept in a schema of their own.
    #[test]
    fn one_that_is_over_may_have_been_moved() {
        let afterwards = |status: &str| {
            let mut scene = elsewhere_with(status).given();
            scene.timeline.setup.post_mortem = true;
            scene.end(crate::timeline::Ended::Looked).answer(&CAUSE)
        };
        assert_eq!(afterwards("COMPLETED"), "likely");
        assert_eq!(afterwards("RUNNING"), "certain");
        assert_eq!(elsewhere_with("COMPLETED").silence().answer(&CAUSE), "certain");
    }

    /// A locked table gives no answer: nobody saw that there is none.
    #[test]
    fn a_table_that_was_never_read() {
        let read = Scene::accepted().publish("default").api_says("PENDING");
        assert_eq!(read.clone().silence().answer(&CAUSE), "cannot tell");
        assert_eq!(read.no_row().silence().answer(&CAUSE), "likely");
    }

    /// What the API says while it runs it has from a table of its own.
    #[test]
    fn a_result_has_no_row_before_its_end() {
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OURS};
        let in_table = |table: &str| {
            let mut scene = CeleryScene::received();
            scene.timeline.setup.table = Some(table.into());
            scene
                .timeline
                .events
                .retain(|event| !matches!(event.kind, EventKind::Row(_)));
            for event in &mut scene.timeline.events {
                if let EventKind::Answered { task_id, .. } = &mut event.kind {
                    *task_id = Some(OURS.into());
                }
            }
            scene
                .info(&format!("shop.tasks.fulfil[{OURS}]: packing"))
                .and(|scene| scene.no_row().api_says("picking"))
                .silence()
                .answer(&CAUSE)
        };
        assert_eq!(in_table("celery_taskmeta"), "not applicable");
        assert_eq!(in_table("task"), "likely");
    }

    #[test]
    fn found_in_another_schema() {
        assert_eq!(elsewhere().silence().cause(), "certain row-invisible");
        let remedies = |scene: Scene| {
            scene
                .silence()
                .verdict()
                .cause
                .expect("a cause")
                .remedies
                .join(" ")
        };
        let schema = remedies(elsewhere());
        assert!(
            schema.starts_with("Set `database.table` to `other.task`"),
            "{schema}"
        );
        let database = Scene::accepted().no_row().see(
            Source::Database,
            EventKind::RowElsewhere {
                place: "database \"other\"".into(),
                status: Some("PENDING".into()),
            },
        );
        let database = remedies(database);
        assert!(
            database.starts_with("Set `database.url`") && !database.contains("database.table"),
            "{database}"
        );
    }

    #[test]
    fn a_number_is_anybodys() {
        let scene = Scene::new()
            .submitting()
            .answered(202, Some("7"), "{\"id\":7}")
            .no_row()
            .see(
                Source::Database,
                EventKind::RowElsewhere {
                    place: "schema \"tenant\" of the same database".into(),
                    status: Some("PENDING".into()),
                },
            )
            .silence();
        assert_eq!(scene.answer(&CAUSE), "possible");
    }

    #[test]
    fn an_api_of_another_project_is_told_of() {
        use crate::timeline::Role;
        let of = |project: &str| {
            let scene = Scene::accepted()
                .worker_container("c1", "running", |_| {})
                .worker_container("c2", "running", |container| {
                    container.name = "eu-api-1".into();
                    container.project = Some(project.into());
                    container.roles = vec![Role::Api];
                });
            let verdict = scene.no_row().api_says("COMPLETED").silence().verdict();
            verdict.cause.expect("a cause")
        };
        let other = of("shop-eu");
        assert!(
            other.summary.contains("container eu-api-1 of project shop-eu"),
            "{}",
            other.summary
        );
        assert!(
            other.remedies[0].starts_with("Correct `api.url`"),
            "{:?}",
            other.remedies
        );
        let same = of("shop");
        assert!(
            same.remedies[0].starts_with("Set `database.url`"),
            "{:?}",
            same.remedies
        );
    }

    #[test]
    fn the_api_reads_it() {
        let read = || Scene::accepted().no_row().api_says("PENDING");
        assert_eq!(read().publish("default").silence().answer(&CAUSE), "likely");
        // It may keep in its own memory what it says, and nothing else shows that there is a row.
        assert_eq!(read().silence().answer(&CAUSE), "possible");
    }

    /// The API answers with an id without dashes, and says of a result that it knows none.
    #[test]
    fn a_result_that_the_api_does_not_know_is_a_near_miss() {
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OURS};
        let mut scene = CeleryScene::received()
            .and(|scene| scene.no_row().api_says("PENDING"))
            .silence();
        for event in &mut scene.timeline.events {
            match &mut event.kind {
                EventKind::Answered { task_id, .. } => *task_id = Some(OURS.replace('-', "")),
                EventKind::Row(row) => row.present = false,
                _ => {}
            }
        }
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn a_row_that_came_late_and_a_blind_database() {
        assert_eq!(
            elsewhere().row("PENDING").silence().answer(&CAUSE),
            "not applicable"
        );
        assert_eq!(
            elsewhere().silence().without(Source::Database).answer(&CAUSE),
            "cannot tell"
        );
    }
}
