//! The worker is alive, but has not come to consuming yet.

use crate::diagnosis::evidence::{Fact, WorkerLine, broker, connections, lives, stacks, workers};
use crate::diagnosis::premises::{Premise, State};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::{LogEvent, WorkerLife};
use crate::timeline::{EventKind, Level, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "worker-still-booting",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::Wait],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Queue], &[Source::WorkerLog, Source::Process]],
    page: include_str!("worker_still_booting.md"),
    check,
    ..Cause::DEFAULT
};

/// What stands still is not on its way.
fn is_frozen(story: &Story<'_>) -> Option<Answer> {
    if let Some(container) = story.paused_worker_container() {
        return Some(Answer::ruled_out("its container is paused", [container.n]));
    }
    let mut all = story.all_processes();
    let frozen = all.find(|process| {
        let is_its = process.is_configured || story.is_watched(process.pid) == Some(true);
        process.frozen && is_its
    })?;
    Some(Answer::ruled_out("its process is frozen", [frozen.n]))
}

fn tells_of_an_end(told: &WorkerLine<'_>) -> bool {
    // The main process says nothing that grave and goes on.
    let is_grave = told.line.level == Some(Level::Critical);
    let logger = told.line.logger.as_deref();
    let gave_up = is_grave && logger.is_some_and(|name| name.contains("MainProcess"));
    gave_up || told.worker_life() == Some(WorkerLife::Ending) || lives::ends_as_it_begins(told)
}

fn check(story: &Story<'_>) -> Answer {
    // One that stops takes nothing more: what is to follow it has not come yet.
    if let Some(answer) =
        broker::has_consumer(story).filter(|_| lives::only_draining_consume(story).is_none())
    {
        return answer;
    }
    if !story.closed() {
        return Answer::NotApplicable;
    }
    if let Some(frozen) = is_frozen(story) {
        return frozen;
    }
    // What stands before the stop of the worker that another has replaced says nothing of that one.
    let mut lines = story.worker_lines();
    if let Some((stop, _)) = lives::replacement(story) {
        lines = &lines[lines.partition_point(|told| told.n <= stop.n)..];
    }
    if let Some(ready) = lines
        .iter()
        .find(|told| matches!(told.mark, Some(LogEvent::Ready | LogEvent::AddingConsumer { .. })))
    {
        return Answer::ruled_out("the worker has come past its imports", [ready.n]);
    }
    let dead = lines.iter().rfind(|told| tells_of_an_end(told));
    let later = dead.and_then(|told| lives::later_child(story, told));
    if dead.is_some() && later.is_none() {
        return Answer::NotApplicable;
    }
    let booting = lines.iter().filter(|_| dead.is_none()).find(|told| {
        told.line
            .logger
            .as_deref()
            .is_some_and(|name| name.contains("WorkerProcess") || name.contains("MainProcess"))
    });
    let mut evidence: Vec<u32> = booting.map(|told| told.n).into_iter().chain(later).collect();
    evidence.extend(story.depths(story.queue()).last().map(|depth| depth.n));
    // Alive, nothing that says "ready", and no connection to the broker.
    let mut alive = workers::live_workers(story);
    alive.retain(|process| process.sockets_seen && connections::amqp_socket(story, process).is_none());
    // A master waits for its children: where one of them is says more.
    alive.sort_by_key(|process| stacks::boot_frame(story, process.pid).is_none());
    if let Some(process) = alive.into_iter().next() {
        let place = stacks::boot_frame(story, process.pid);
        // A worker started by a script never says "ready": its running threads do.
        if place.is_none() && workers::acts_as_worker(story, &process) {
            return Answer::ruled_out("its worker threads run", [process.n]);
        }
        evidence.push(process.n);
        let text = format!(
            "the worker (pid {}) is alive, has no AMQP connection and never said that it is ready",
            process.pid
        );
        let Some(frame) = place else {
            return Answer::likely(text, evidence);
        };
        evidence.push(frame.n);
        let text = format!("{text}: it is at {frame}");
        // Where it stands adds to what is known of it, and no doubt.
        return match story.state(&Premise::SamePidSpace) {
            State::Proved(_) => Answer::shown(text, evidence).given([Premise::SamePidSpace]),
            _ => Answer::likely(text, evidence),
        };
    }
    // Known by its command only: somebody else may run the same one.
    let by_command = story.find_last(|event| match &event.kind {
        EventKind::Process(process)
            if process.is_configured
                && lines.is_empty()
                && process.sockets_seen
                && connections::amqp_socket(story, process).is_none()
                && story.gone(process.pid).is_none() =>
        {
            let frame = stacks::boot_frame(story, process.pid)?;
            Some((Fact::of(event, process.pid), frame))
        }
        _ => None,
    });
    if let Some((process, frame)) = by_command {
        evidence.extend([process.n, frame.n]);
        return Answer::likely(
            format!(
                "pid {process} runs the configured worker command, has no AMQP connection and is still at {frame}"
            ),
            evidence,
        );
    }
    match booting {
        Some(_) => Answer::likely(
            "the worker began to boot and never said that it is ready",
            evidence,
        )
        .would_decide(&[Source::Process]),
        // An empty log: a worker that has not come to its first line, or none at all.
        None if lines.is_empty() => Answer::cannot_tell(&[Source::Process]),
        None => Answer::NotApplicable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    fn nobody() -> Scene {
        Scene::new()
            .depth("default", 0, 0)
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 1, 0)
    }

    #[test]
    fn at_an_import() {
        let scene = nobody()
            .debug("dramatiq.WorkerProcess(0)", "Loading modules...")
            .worker_process(&[])
            .stack(
                101,
                "MainThread",
                &[
                    ("<module>", "/app/heavy.py"),
                    ("import_module", "/usr/lib/python3.11/importlib/__init__.py"),
                ],
            )
            .silence();
        assert_eq!(scene.cause(), "certain worker-still-booting");
        assert_eq!(
            scene.without(Source::Process).cause(),
            "likely worker-still-booting"
        );
    }

    #[test]
    fn ready_excludes_it() {
        let scene = nobody()
            .info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.")
            .silence();
        assert_eq!(scene.answer(&CAUSE), "ruled out");
    }

    #[test]
    fn a_worker_that_failed_or_stopped_is_a_near_miss() {
        let failed = nobody()
            .error("dramatiq.WorkerProcess(0)", "Failed to import module.")
            .silence();
        assert_eq!(failed.answer(&CAUSE), "not applicable");
        let stopped = nobody()
            .info("dramatiq.WorkerProcess(0)", "Stopping worker process...")
            .silence();
        assert_eq!(stopped.answer(&CAUSE), "not applicable");
    }

    /// `--watch` without what it needs: the main process says so, and ends.
    #[test]
    fn one_whose_main_process_gave_up_is_a_near_miss() {
        let gave_up = |level: &str| {
            nobody()
                .line(&format!(
                    "[PID 100] [MainThread] [dramatiq.MainProcess] [{level}] Watching for source changes"
                ))
                .silence()
                .answer(&CAUSE)
        };
        assert_eq!(gave_up("CRITICAL"), "not applicable");
        assert_eq!(gave_up("INFO"), "likely");
    }

    /// A supervisor's earlier starts died; the one that lives has not come to its first line.
    #[test]
    fn an_earlier_starts_end_is_not_its_own() {
        let failed = || {
            nobody()
                .from_before(4)
                .line("[PID 91] [MainThread] [dramatiq.WorkerProcess(0)] [ERROR] Failed to import module.")
                .from_now_on()
        };
        let command = "/v/bin/dramatiq -v app";
        let lives = failed()
            .process(100, 1, command, |process| process.holds_log = true)
            .process(101, 100, command, |process| {
                process.holds_log = true;
                process.sockets_seen = true;
            })
            .silence();
        assert_eq!(lives.cause(), "likely worker-still-booting");
        assert_eq!(failed().silence().answer(&CAUSE), "not applicable");
    }

    /// Celery makes its worker, and imports the tasks below that.
    #[test]
    fn a_worker_that_is_made_and_still_imports() {
        use crate::diagnosis::causes::celery::scenes::CeleryScene;
        let deployed = |top: (&'static str, &'static str)| {
            CeleryScene::waiting(0)
                .info("worker: Warm shutdown (MainProcess)")
                .and(|scene| {
                    let scene = scene
                        .gone(100)
                        .process(200, 1, "python celery -A shop worker", |process| {
                            process.holds_log = true;
                            process.started_at_ms = Some(1_030_000);
                        });
                    scene.stack(
                        200,
                        "MainThread",
                        &[
                            top,
                            ("_find_and_load", "<frozen importlib._bootstrap>"),
                            ("WorkController.__init__", "/v/celery/worker/worker.py"),
                        ],
                    )
                })
                .silence()
        };
        let imports = deployed(("<module>", "/app/shop/tasks.py"));
        assert!(
            imports.cause().ends_with("worker-still-booting"),
            "{}",
            imports.cause()
        );
        // A start that died says nothing of one that may live.
        let died = nobody()
            .plain(Some(Level::Error), "Traceback (most recent call last):\n  File \"/v/bin/celery\", line 8, in <module>\nKeyError: 'TOKEN'")
            .worker_process(&[])
            .silence();
        assert_eq!(died.answer(&CAUSE), "not applicable");
    }
}
