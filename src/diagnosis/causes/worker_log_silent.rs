//! The worker's log does not show what it does.

use super::wrong_worker_log;
use crate::diagnosis::evidence::Fact;
use crate::diagnosis::{Answer, Cause, Claim, Owner, Stage, Story};
use crate::timeline::{EventKind, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "worker-log-silent",
    keeps_from: &[],
    owner: &[Owner::Diagnosis],
    needs: &[&[Source::WorkerLog]],
    claims: &[Claim::LogsNothing],
    page: include_str!("worker_log_silent.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    // A started worker that died has no part in it.
    if story.reached(Stage::Entered).is_none()
        || !story.lines().is_empty()
        || story.done_by_another() == Some("worker")
        || story.is_without_message()
        || story.waits_untaken()
        || wrong_worker_log::by_container(story).is_some()
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
            .is_some_and(|peer| story.is_watched(peer.value) == Some(false))
    });
    if elsewhere {
        return Answer::NotApplicable;
    }
    let Some((_, evidence)) = story.reached(Stage::Entered) else {
        return Answer::NotApplicable;
    };
    if let Some(pid) = writes_elsewhere(story) {
        let mut evidence = evidence.clone();
        evidence.push(pid.n);
        return Answer::likely(
            format!(
                "it ran in pid {pid}, which does not have the watched log open: what it says is in another file or stream"
            ),
            evidence,
        );
    }
    let flag = story.framework().worker.debug_flag;
    let text = format!(
        "it ran, and the worker's log says nothing of it: no {flag}, a logging configuration that disables loggers, or another stream"
    );
    // A run that something decided ends before the log was read up to then.
    let was_read =
        story.timeline.events.iter().any(|event| {
            event.source == Source::WorkerLog && matches!(event.kind, EventKind::ReadWhole { .. })
        });
    match story.closed() || was_read {
        true => Answer::likely(text, evidence.clone()),
        false => Answer::possible(
            format!("{text}; or its lines had not come yet when the run ended"),
            evidence.clone(),
        ),
    }
}

/// The process that was handed the message has not got the watched file open, as far as its files could be seen.
fn writes_elsewhere(story: &Story<'_>) -> Option<Fact<i32>> {
    let is_a_file =
        story.timeline.events.iter().any(|event| {
            event.source == Source::WorkerLog && matches!(event.kind, EventKind::ReadWhole { .. })
        });
    let passage = story.deliveries().last().filter(|_| is_a_file)?;
    let peer = story.peer(passage.connection)?;
    let process = story.process(peer.value)?;
    (process.lives() && process.sockets_seen && !process.holds_log).then_some(process.with(process.pid))
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
        assert_eq!(scene.silence().answer(&CAUSE), "likely");
    }

    /// The log is an earlier worker's, or was moved away under it.
    #[test]
    fn it_writes_to_another_file() {
        let ran = |holds_log: bool, sockets_seen: bool| {
            let scene = Scene::accepted()
                .row("PENDING")
                .publish("default")
                .deliver(WORKER)
                .peer(WORKER, 101)
                .process(101, 100, "python dramatiq app", |process| {
                    process.holds_log = holds_log;
                    process.sockets_seen = sockets_seen;
                })
                .see(
                    Source::WorkerLog,
                    EventKind::ReadWhole {
                        path: "worker.log".into(),
                    },
                )
                .row("COMPLETED");
            match check(&Story::new(&scene.timeline)) {
                Answer::Matched(matched) => matched.summary,
                _ => String::new(),
            }
        };
        assert!(
            ran(false, true).starts_with("it ran in pid 101"),
            "{}",
            ran(false, true)
        );
        assert!(!ran(true, true).contains("pid 101"));
        assert!(!ran(false, false).contains("pid 101"));
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

    /// The log is read a moment later than the rest.
    #[test]
    fn a_run_that_was_decided_has_not_read_the_log_to_its_end() {
        let ran = || {
            Scene::accepted()
                .row("PENDING")
                .publish("default")
                .deliver(WORKER)
                .row("COMPLETED")
        };
        let decided = ran().end(crate::timeline::Ended::Decided);
        assert_eq!(decided.answer(&CAUSE), "possible");
        assert_eq!(ran().silence().answer(&CAUSE), "likely");
    }
}
