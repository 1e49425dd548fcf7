//! The worker's log does not show what it does.

use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "worker-log-silent",
    keeps_from: &[],
    owner: &[Owner::Diagnosis],
    explains: &[],
    scenario: None,
    needs: &[&[Source::WorkerLog]],
    general: false,
    fails_attempt: false,
    applies_to: &[],
    page: include_str!("worker_log_silent.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    // A started worker that died has no part in it.
    if story.reached(Stage::Entered).is_none()
        || !story.lines().is_empty()
        || story.done_by_another() == Some("worker")
        || story.is_without_message()
        // Some time ago, perhaps before the log begins, or by somebody else.
        || (story.post_mortem() && story.is_told_by_status_alone())
    {
        return Answer::NotApplicable;
    }
    // It does write; what it wrote just cannot be told to be this task's. Or it is a dead one's log.
    let since = story.submitted_at().unwrap_or(f64::MIN);
    let writes = story
        .worker_lines()
        .iter()
        .any(|told| !told.line.before && told.at_ms >= since);
    let old = story.worker_lines().iter().all(|told| told.line.before)
        && story
            .worker_lines()
            .last()
            .is_some_and(|told| told.line.age_s.is_some_and(|age| age > 600));
    if writes || old {
        return Answer::NotApplicable;
    }
    // Another worker ran it: its lines are in another log.
    let elsewhere = story.deliveries().any(|passage| {
        story
            .peer(passage.connection)
            .is_some_and(|(_, pid)| story.is_watched(pid) == Some(false))
    });
    if elsewhere {
        return Answer::NotApplicable;
    }
    let Some((_, evidence)) = story.reached(Stage::Entered) else {
        return Answer::NotApplicable;
    };
    let flag = story.framework().worker.debug_flag;
    Answer::likely(
        format!(
            "it ran, and the worker's log says nothing of it: no {flag}, a logging configuration that disables loggers, or another stream"
        ),
        evidence.clone(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{OTHER, Scene, WORKER};

    #[test]
    fn it_ran_without_a_line() {
        let scene = Scene::accepted()
            .row("PENDING")
            .publish("default")
            .deliver(WORKER)
            .row("COMPLETED");
        assert_eq!(scene.cause(), "certain succeeded");
        assert_eq!(scene.answer(&CAUSE), "likely");
    }

    #[test]
    fn a_row_that_was_done_before_the_log_begins_is_a_near_miss() {
        let scene = Scene::new().given().worker_booted().row("COMPLETED");
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn another_workers_log_has_it() {
        let scene = Scene::new()
            .worker_booted()
            .submitted()
            .publish("default")
            .deliver(OTHER)
            .other_worker()
            .row("COMPLETED");
        assert_eq!(scene.answer(&CAUSE), "not applicable");
        assert_eq!(Scene::entered().row("COMPLETED").answer(&CAUSE), "not applicable");
        assert_eq!(scene.without(Source::WorkerLog).answer(&CAUSE), "cannot tell");
    }
}
