//! The worker was told to stop.

use crate::diagnosis::evidence::{WorkerLine, broker, holding, lives, programs, workers};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::{PlaceState, Source};
use crate::units;

pub(super) const CAUSE: Cause = Cause {
    id: "worker-shutting-down",
    keeps_from: &[Stage::Received, Stage::Delivered, Stage::Finished],
    owner: &[Owner::Deployment],
    // When these are over, it ends.
    explains: &[
        "actor-still-running",
        "workers-busy",
        "waiting-in-worker",
        "worker-blocked",
    ],
    scenario: Some(Scenario::C),
    needs: &[&[Source::WorkerLog]],
    page: include_str!("worker_shutting_down.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if story.row_succeeded().is_some() || story.api_succeeded().is_some() {
        return Answer::NotApplicable;
    }
    let told = match lives::last_stop(story) {
        None => return Answer::NotApplicable,
        Some((told, true)) => return Answer::ruled_out("it started again after that", [told.n]),
        Some((told, false)) => told,
    };
    let passage = story.deliveries().last();
    // A stopped worker explains nothing of a message that another process was handed.
    let elsewhere = passage
        .and_then(|passage| story.peer(passage.connection))
        .is_some_and(|peer| !story.log_pids().contains(&peer) && story.is_watched(peer.value) != Some(true));
    if elsewhere {
        return Answer::NotApplicable;
    }
    // Afterwards its own line says that it had it.
    let pushed = story.line(|mark| matches!(mark, LogEvent::Pushed { .. }));
    let taken = passage
        .map(|passage| passage.at_ms)
        .or(pushed.map(|told| told.at_ms));
    let in_its_hands = taken.is_some_and(|at| at < told.at_ms) && !told.line.before;
    if story.reached(Stage::Entered).is_some() {
        return broken_off(story, &told, in_its_hands);
    }
    if let Some(acknowledged) = story.acknowledged_early().filter(|_| in_its_hands) {
        return with_it_acknowledged(story, &told, acknowledged);
    }
    // Whoever took it has settled it: it was in nobody's hands by then, and a worker that starts will not get it.
    if let Some(drained) = broker::drained(story).filter(|_| passage.is_some()) {
        return Answer::ruled_out("the message does not wait any more", [drained]);
    }
    if let Some(began) = lives::began_since(story, &told) {
        return Answer::ruled_out("a worker that was started after that lives", [told.n, began.n]);
    }
    if let Some(n) = lives::goes_on_since(story, &told) {
        return Answer::ruled_out(
            "another worker said it: one that writes to this log goes on",
            [told.n, n],
        );
    }
    if in_its_hands {
        return Answer::likely(
            "the worker began to shut down with the message in its hands: the broker gives it back",
            [told.n],
        );
    }
    if !story.closed() {
        return Answer::NotApplicable;
    }
    if let Some(over) = has_stopped(story) {
        return over;
    }
    // That its own run is what it finishes is excluded.
    let handed = taken.is_some_and(|at| at >= told.at_ms) || !workers::running_others(story).is_empty();
    if let Some(consumers) = lives::only_draining_consume(story).filter(|_| handed || waits(story)) {
        let text = "the worker was told to stop, and takes no task any more; until it ends, the broker goes on handing it messages";
        let draining = lives::draining(story).into_iter().map(|process| process.n);
        let evidence = [told.n, consumers].into_iter().chain(draining);
        return Answer::likely(
            format!("{text}: {}", told.line.text),
            evidence.collect::<Vec<u32>>(),
        );
    }
    match broker::has_consumer(story) {
        Some(_) if passage.is_none() && story.sees_all(Source::Firehose) => {
            Answer::ruled_out("there are consumers", [told.n])
        }
        // Until it has stopped it goes on consuming.
        Some(_) if passage.is_none() => Answer::cannot_tell(&[Source::Firehose]),
        _ => {
            // Afterwards nobody knows when the message came.
            let when = match story.post_mortem() {
                true => "the worker was shut down, and nothing shows that it was started again",
                false => "the worker was shutting down before the message came",
            };
            let text = format!("{when}: {}", told.line.text);
            // Whoever stops has mostly ended a moment later: nobody consumes then, and that is all.
            match workers::watched_is_alive(story) {
                Some(alive) => Answer::likely(text, [told.n, alive]),
                None => Answer::possible(text, [told.n]),
            }
        }
    }
}

/// A message lies on the queue.
fn waits(story: &Story<'_>) -> bool {
    let last = holding::depths_since_publish(story).into_iter().next_back();
    last.is_some_and(|depth| depth.ready > 0)
}

/// It was told to stop while it ran the task, and has ended before that was done.
fn broken_off(story: &Story<'_>, told: &WorkerLine<'_>, in_its_hands: bool) -> Answer {
    let gone = story.taker_is_gone().filter(|_| in_its_hands);
    let Some(gone) = gone.and_then(|n| story.timeline.event(n)) else {
        return Answer::NotApplicable;
    };
    let after = (gone.at_ms - told.at_ms).max(0.0);
    let comes = match story.acknowledged_early() {
        Some(_) => "its message was acknowledged, and does not come back",
        None => "the broker gives the message back",
    };
    let text = format!(
        "the worker was told to stop while it ran the task, and had ended {} later, before that was done: {comes}",
        units::span(after)
    );
    Answer::likely(text, [told.n, gone.n])
}

/// Of what was acknowledged as it began nothing comes back.
fn with_it_acknowledged(story: &Story<'_>, told: &WorkerLine<'_>, acknowledged: u32) -> Answer {
    let text = match story.taker_is_gone() {
        Some(_) => {
            "the worker was told to stop with the task in its hands, and has ended; the message was acknowledged when its run began, and does not come back"
        }
        None => {
            "the worker began to shut down with the task in its hands; the message was acknowledged when its run began: if the worker ends before it is done, it does not come back"
        }
    };
    Answer::likely(text, [told.n, acknowledged])
}

/// Its container does not run any more: that it stopped is over, and that nobody has started it is the cause.
fn has_stopped(story: &Story<'_>) -> Option<Answer> {
    if let Some(ended) = story.ended_worker_containers() {
        let events: Vec<u32> = ended.iter().map(|container| container.n).collect();
        return Some(Answer::ruled_out("its container has stopped", events));
    }
    if let Some(said) = story.place_says("worker", PlaceState::NotRunning) {
        return Some(Answer::ruled_out("its container has stopped", [said.n]));
    }
    // Nobody consumes, and none of its processes is there any more.
    let last = story
        .depths(story.queue())
        .last()
        .filter(|depth| depth.consumers == 0)?;
    let could_see = story.sees(Source::Process) && (!story.log_pids().is_empty() || only_twins(story));
    (could_see && workers::watched_is_alive(story).is_none() && workers::live_workers(story).is_empty())
        .then(|| Answer::ruled_out("its worker has ended", [last.n]))
}

/// Processes with the log's pids were seen in other places, and none of them can be a worker: it would have been among
/// them, if it lived on this machine.
fn only_twins(story: &Story<'_>) -> bool {
    let lines = story.worker_lines().iter();
    let pids: Vec<i32> = lines.filter_map(|told| told.line.pid).collect();
    let twins = story.all_processes().filter(|process| {
        let own = process.own_pid().is_some_and(|own| pids.contains(&own));
        own && process.lives() && story.gone(process.pid).is_none()
    });
    let twins: Vec<_> = twins.collect();
    !twins.is_empty()
        && !twins
            .iter()
            .any(|process| programs::may_be_a_worker(story, process))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Scene, WORKER};

    /// It ended some time ago; other containers' programs have the pids of its log by chance.
    #[test]
    fn a_container_that_is_over_is_not_shutting_down() {
        let scene = |command: &str| {
            Scene::new()
                .from_before(20)
                .line("[PID 1] [MainThread] [dramatiq.MainProcess] [INFO] Dramatiq '2.2.1' is booting up.")
                .line("[PID 8] [MainThread] [dramatiq.WorkerProcess(0)] [INFO] Worker process is ready for action.")
                .line("[PID 8] [MainThread] [dramatiq.WorkerProcess(0)] [INFO] Stopping worker process...")
                .from_now_on()
                .process(9382, 9340, "/sbin/docker-init -- start", |process| {
                    process.nspids = vec![9382, 1];
                    process.container = Some("a1".repeat(6));
                })
                .process(19_149, 9340, command, |process| {
                    process.nspids = vec![19_149, 8];
                    process.container = Some("b2".repeat(6));
                })
                .depth("default", 0, 0)
                .submitted()
                .row("PENDING")
                .publish("default")
                .depth("default", 1, 0)
                .silence()
        };
        assert_eq!(scene("python gunicorn shop:app").answer(&CAUSE), "ruled out");
        assert_eq!(scene("python dramatiq app").answer(&CAUSE), "likely");
    }

    const STOPPING: &str = "Stopping worker process...";

    #[test]
    fn told_to_stop_before_the_message_came() {
        let ended = Scene::new()
            .from_before(20)
            .info("dramatiq.WorkerProcess(0)", STOPPING)
            .depth("default", 0, 0)
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 1, 0);
        // Whoever has stopped is not stopping any more.
        assert_eq!(ended.clone().silence().cause(), "likely no-consumer");
        let scene = ended.worker_process(&[]).silence();
        assert_eq!(scene.cause(), "likely worker-shutting-down");
        assert_eq!(scene.without(Source::WorkerLog).answer(&CAUSE), "cannot tell");
    }

    /// An id that was copied in part, while the worker is gone and others' messages wait.
    #[test]
    fn a_task_that_nobody_knows_has_no_cause() {
        let asked = || {
            Scene::new()
                .given()
                .from_before(20)
                .info("dramatiq.WorkerProcess(0)", STOPPING)
                .depth("default", 3, 0)
        };
        let unknown = asked().no_row().silence().verdict();
        assert_eq!(
            (unknown.cause, unknown.scenario, unknown.exit_code),
            (None, None, 30)
        );
        assert!(unknown.notes[0].contains("copied in full"), "{:?}", unknown.notes);
        let known = asked().row("PENDING").silence();
        assert_eq!(known.verdict().exit_code, 20);
        assert!(known.verdict().cause.is_some());
        // Where the table cannot be read, the task may be there.
        assert!(
            asked()
                .blind(Source::Database)
                .silence()
                .verdict()
                .cause
                .is_some()
        );
    }

    #[test]
    fn started_again_is_a_near_miss() {
        let scene = Scene::new()
            .from_before(20)
            .info("dramatiq.WorkerProcess(0)", STOPPING)
            .info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.")
            .submitted()
            .silence();
        assert_eq!(scene.answer(&CAUSE), "ruled out");
    }

    #[test]
    fn one_that_is_over_is_a_near_miss() {
        let stopped = |state: &str| {
            Scene::new()
                .depth("default", 0, 0)
                .info("dramatiq.worker.Worker", "Worker has been shut down.")
                .worker_container("a1", state, |_| {})
                .submitted()
                .row("PENDING")
                .publish("default")
                .depth("default", 1, 0)
                .silence()
        };
        assert_eq!(stopped("exited").cause(), "likely no-consumer");
        assert!(stopped("exited").summary().contains("shop-worker-1 is exited"));
        assert_eq!(stopped("running").answer(&CAUSE), "likely");
    }

    /// `docker stop` waits for some seconds, and then kills: every deploy of a long task.
    #[test]
    fn told_to_stop_and_killed_while_it_ran_the_task() {
        let stopped = || Scene::entered().info("dramatiq.WorkerProcess(0)", STOPPING);
        let killed = stopped().gone(101).depth("default", 1, 0).silence();
        assert_eq!(killed.cause(), "likely worker-shutting-down");
        assert!(
            killed.summary().contains("while it ran the task"),
            "{}",
            killed.summary()
        );
        // It may still finish what it has begun.
        assert_eq!(stopped().silence().answer(&CAUSE), "not applicable");
    }

    /// Nothing gives back what was acknowledged as its run began.
    #[test]
    fn what_was_acknowledged_does_not_come_back() {
        use crate::diagnosis::causes::celery::scenes::CeleryScene;
        let stopped = |unacked: u64| {
            CeleryScene::received()
                .info("worker: Warm shutdown (MainProcess)")
                .unacked(unacked)
                .silence()
        };
        assert!(
            stopped(0).summary().contains("does not come back"),
            "{}",
            stopped(0).summary()
        );
        assert_eq!(stopped(0).verdict().scenario, None, "it may run");
        assert!(
            stopped(1).summary().contains("gives it back"),
            "{}",
            stopped(1).summary()
        );
    }

    /// A worker whose log is quiet had done with it, by the broker's count, and was told to stop later.
    #[test]
    fn what_the_broker_holds_no_more_does_not_come_back() {
        let stopped = |unacked: u64| {
            Scene::quiet(|scene| scene)
                .info("dramatiq.WorkerProcess(0)", STOPPING)
                .totals("default", 0, unacked, serde_json::json!({}))
                .silence()
        };
        assert_eq!(stopped(1).answer(&CAUSE), "likely");
        assert!(stopped(1).summary().contains("gives it back"));
        assert_eq!(stopped(0).answer(&CAUSE), "ruled out");
    }

    /// A deploy: the old one has ended, and the new one has not said a word yet.
    #[test]
    fn a_worker_that_was_started_since_is_a_near_miss() {
        let deployed = |started_at_ms: i64| {
            Scene::new()
                .from_before(5)
                .info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.")
                .info("dramatiq.WorkerProcess(0)", STOPPING)
                .from_now_on()
                .process(200, 1, "python dramatiq -v app", |process| {
                    process.holds_log = true;
                    process.started_at_ms = Some(started_at_ms);
                })
                .depth("default", 0, 0)
                .submitted()
                .row("PENDING")
                .publish("default")
                .depth("default", 1, 0)
                .stack(
                    200,
                    "MainThread",
                    &[
                        ("<module>", "/app/heavy.py"),
                        ("import_module", "/usr/lib/python3.11/importlib/__init__.py"),
                    ],
                )
                .silence()
        };
        let began = deployed(1_000_600);
        assert_eq!(began.answer(&CAUSE), "ruled out");
        assert!(
            began.cause().ends_with("worker-still-booting"),
            "{}",
            began.cause()
        );
        assert_eq!(deployed(990_000).answer(&CAUSE), "likely");
    }

    /// Until it ends it goes on consuming, and takes nothing.
    #[test]
    fn the_only_consumer_stops() {
        let stopping = |consumers: u64| {
            Scene::new()
                .worker_booted()
                .debug(
                    "dramatiq.worker.WorkerThread",
                    "Received message act('task_0') with id 'm-0'.",
                )
                .info("dramatiq.WorkerProcess(0)", STOPPING)
                .depth("default", 0, consumers)
                .submitted()
                .row("PENDING")
                .publish("default")
                .peer(WORKER, 101)
                .totals("default", 1, 1, serde_json::json!({}))
                .depth("default", 1, consumers)
                .silence()
        };
        assert_eq!(
            stopping(1).cause(),
            "likely worker-shutting-down",
            "{}",
            stopping(1).summary()
        );
        assert_eq!(stopping(2).answer(&CAUSE), "ruled out");
        // It is handed to it, too.
        let handed = stopping(1).deliver(WORKER).pushed("m-1").silence();
        assert_eq!(
            handed.cause(),
            "likely worker-shutting-down",
            "{}",
            handed.summary()
        );
    }

    /// Celery's line has neither time nor pid.
    #[test]
    fn a_celery_worker_that_has_ended_or_goes_on_is_a_near_miss() {
        use crate::diagnosis::causes::celery::scenes::CeleryScene;
        let stopped = || CeleryScene::waiting(0).info("worker: Warm shutdown (MainProcess)");
        assert_eq!(stopped().silence().cause(), "likely worker-shutting-down");
        let ended = stopped().and(|scene| scene.gone(100)).silence();
        assert_eq!(ended.cause(), "likely no-consumer", "{}", ended.summary());
        let goes_on = stopped().beats(true).silence();
        assert_eq!(goes_on.answer(&CAUSE), "ruled out");
        // Another was started, and died before its banner.
        let end = |first: &str| {
            let text = format!(
                "Traceback (most recent call last):\n  File \"/v/bin/celery\", line 8, in {first}\n    sys.exit(main())\nKeyError: 'TOKEN'"
            );
            stopped()
                .and(|scene| scene.gone(100).plain(Some(crate::timeline::Level::Error), &text))
                .silence()
        };
        assert_eq!(end("<module>").answer(&CAUSE), "ruled out");
        assert!(
            end("<module>").cause().ends_with("worker-not-started"),
            "{}",
            end("<module>").cause()
        );
        assert_ne!(end("stop").answer(&CAUSE), "ruled out");
    }
}
