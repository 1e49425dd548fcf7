//! The API answered with a task that was there before, and sent nothing.

use crate::diagnosis::evidence::{broker, permissions};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::Source;
use crate::units;

pub(super) const CAUSE: Cause = Cause {
    id: "older-task-returned",
    keeps_from: &[Stage::Published],
    owner: &[Owner::ApiCode, Owner::Diagnosis],
    explains: &["not-dispatched", "not-published", "row-marked-failed"],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Database], &[Source::Firehose]],
    page: include_str!("older_task_returned.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if !story.closed() {
        return Answer::NotApplicable;
    }
    let (Some(committed), Some(row)) = (story.older_row(), story.last_row()) else {
        return Answer::NotApplicable;
    };
    let refused = permissions::refused_publish(story).is_some();
    // What was found under a usual name may be any number, and the task's message carries another.
    let is_sent_without = story.is_without_message()
        || story.id_was_guessed() && broker::saw_every_publish(story) && story.publishes().is_empty();
    if !is_sent_without || refused || permissions::api_may_not_publish(story).is_some() {
        return Answer::NotApplicable;
    }
    let status = row.status.as_deref().unwrap_or("NULL");
    let now = story
        .task_id()
        .filter(|_| !story.says_it_is_over(row.value))
        .and_then(|id| {
            let mut lines = story.worker_lines().iter();
            lines.rfind(|told| told.line.text.contains(id))
        });
    let goes_on = match now {
        Some(_) => "; the worker's log names that task already, so it may be under way: wait for it",
        None => "",
    };
    let pointer = match story.id_was_guessed() {
        true => "that is not the task's id: `api.task_id_pointer` says where the answer has it",
        false => "`api.task_id_pointer` points at something else",
    };
    let text = format!(
        "the API answered with {}, whose row (status {status}) was committed {} or more before the request, and no message that carries it was sent so far: it took an older task for this one, or {pointer}{goes_on}",
        story.task_id().unwrap_or("an id"),
        units::span(committed.value)
    );
    let mut evidence = vec![committed.n, row.n];
    evidence.extend(story.accepted());
    evidence.extend(now.map(|told| told.n));
    // One without this id was sent: it is rather that the id is none.
    if !story.is_without_message() {
        return Answer::possible(text, evidence);
    }
    // A request to run it again may have its message sent by a relay, later than anybody waited.
    Answer::likely(text, evidence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{API, Scene};

    fn older(status: &str) -> Scene {
        let mut scene = Scene::accepted().row(status).committed(-5000.0, -20.0);
        for event in &mut scene.timeline.events {
            if let crate::timeline::EventKind::RowCommitted { invisible_at_ms, .. } = &mut event.kind {
                *invisible_at_ms = None;
            }
        }
        scene
    }

    /// Without what shows it, the effect is all that can be said: `Scene::cause` would not have that.
    fn named(scene: &Scene) -> String {
        scene.verdict().cause.map_or_else(
            || "none".into(),
            |cause| format!("{} {}", cause.certainty.name(), cause.id),
        )
    }

    #[test]
    fn one_that_is_being_worked_on_is_waited_for() {
        let line = "[PID 101] [Thread-4] [app] [INFO] rendering task_1";
        let with = |status: &str| {
            let mut scene = Scene::new().from_before(3).line(line).from_now_on();
            let older = older(status).silence();
            let last = scene.timeline.events.len() as u32;
            for mut event in older.timeline.events {
                event.n += last;
                scene.timeline.events.push(event);
            }
            scene.summary()
        };
        assert!(with("RUNNING").contains("wait for it"), "{}", with("RUNNING"));
        assert!(!with("COMPLETED").contains("wait for it"));
    }

    #[test]
    fn whatever_that_task_has_come_to() {
        for (status, certainty) in [
            ("PENDING", "likely"),
            ("FAILED", "likely"),
            ("COMPLETED", "likely"),
        ] {
            let scene = older(status).silence();
            assert_eq!(
                named(&scene),
                format!("{certainty} older-task-returned"),
                "{status}"
            );
            assert_eq!(scene.verdict().exit_code, 20, "{status}");
            assert!(scene.summary().contains(status), "{}", scene.summary());
        }
    }

    #[test]
    fn a_row_of_this_request_is_a_near_miss() {
        let own = Scene::accepted().row("PENDING").committed(5.0, 15.0).silence();
        assert_eq!(own.answer(&CAUSE), "not applicable");
        // It was changed since: the request did something with it.
        let mut changed = older("PENDING").row("COMPLETED");
        if let Some(event) = changed.timeline.events.last_mut()
            && let crate::timeline::EventKind::Row(row) = &mut event.kind
        {
            row.xmin = Some(999);
        }
        assert_eq!(changed.silence().answer(&CAUSE), "not applicable");
    }

    #[test]
    fn a_row_that_is_made_before_its_message_is_sent_is_a_near_miss() {
        let sent = older("PENDING")
            .publish("default")
            .depth("default", 1, 0)
            .silence();
        assert_eq!(sent.answer(&CAUSE), "not applicable");
        let stray = older("PENDING")
            .setup(|setup| setup.actor = Some("wanted".into()))
            .publish_as("emails", API, Scene::message("m-1"))
            .silence();
        assert_eq!(stray.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn without_the_database_or_the_firehose_it_cannot_be_told() {
        let scene = older("PENDING").silence();
        for source in [Source::Database, Source::Firehose] {
            assert_eq!(scene.without(source).answer(&CAUSE), "cannot tell");
        }
    }
}
