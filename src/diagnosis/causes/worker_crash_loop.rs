//! The worker ends, is started again, and ends again.

use super::worker_not_started::reason;
use crate::diagnosis::evidence::{Depth, WorkerLine, containers, lives};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::LogEvent;
use crate::text::counted;
use crate::timeline::{Container, PlaceState, Source, exit_words};

pub(super) const CAUSE: Cause = Cause {
    id: "worker-crash-loop",
    keeps_from: &[Stage::Delivered, Stage::Received],
    owner: &[Owner::Deployment],
    explains: &["no-consumer", "worker-not-started", "worker-still-booting"],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Queue, Source::WorkerLog]],
    page: include_str!("worker_crash_loop.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let depth = story.depths_since(story.queue()).last().copied();
    let alone = story.by_the_log_alone();
    if depth.is_none() && alone.is_none() {
        return Answer::cannot_tell(&[Source::Queue]);
    }
    let by_engine = || depth.map_or(Answer::NotApplicable, |depth| by_engine(story, depth));
    let crashes = crashes(story);
    let (Some(first), Some(last)) = (crashes.first(), crashes.last()) else {
        return by_engine();
    };
    let Some(again) = boot_after(story, first) else {
        return by_engine();
    };
    if let Some(depth) = depth.filter(|depth| depth.consumers > 0) {
        return Answer::ruled_out(format!("{} consumers now", depth.consumers), [depth.n]);
    }
    if !story.closed()
        || story.consumes_others_only()
        || lives::is_anothers_stream(story, last.line.stream.as_deref())
    {
        return Answer::NotApplicable;
    }
    let up = lives::is_up(story);
    if let Some(up) = up.filter(|up| up.n > last.n && up.line.stream == last.line.stream) {
        return Answer::ruled_out("it has come up since", [up.n]);
    }
    let is_anothers = up.is_some() || lives::one_outlives(story, last);
    let (because, why) = words(story, last);
    let delivered = story.deliveries().last().map(|passage| passage.n);
    let mut evidence = vec![first.n, again.n, last.n];
    evidence.extend(depth.map(|depth| depth.n));
    evidence.extend(because);
    evidence.extend(delivered);
    evidence.dedup();
    let text = format!(
        "the worker ended {} times and was started again each time: {why}",
        crashes.len()
    );
    if let Some(most) = alone {
        return Answer::matched(most, text, evidence).given([Premise::IsAmongTheWaiting]);
    }
    match crashes.len() {
        // Started again, and this time it may stay.
        1 => Answer::likely(
            format!("the worker ended and was started again during the run, and nobody consumes yet: {why}"),
            evidence,
        ),
        // Below DEBUG it may be at this very message that it ends. And beside one that is up it may be another service's.
        _ if delivered.is_some() && !story.debug_log() || is_anothers => Answer::likely(text, evidence),
        _ => Answer::shown(text, evidence),
    }
}

/// The engine starts the worker's container again and again: between two starts it may wait longer than a
/// run takes, and then the log shows one end or none.
fn by_engine(story: &Story<'_>, depth: Depth) -> Answer {
    let containers = story.worker_containers();
    // The count is of the container's whole life: an end during the run says that it goes on.
    let died = |container: &Container| {
        let news = story.container_news(container).into_iter();
        news.rev().find(|news| news.action == "die").map(|news| news.n)
    };
    let loops = |container: &Container| match container.state.as_str() {
        "restarting" => container.restarts > Some(0),
        "running" => {
            container.restarts > Some(1) && (died(container).is_some() || story.restarts(container).is_some())
        }
        _ => false,
    };
    // Its last start may have been a good one.
    let up = lives::is_up(story);
    let is_up = |container: &Container| {
        let stands = container.state == "running";
        up.is_some_and(|up| stands && died(container).is_some_and(|died| died < up.n))
    };
    let loops = |container: &Container| loops(container) && !is_up(container);
    let Some(container) = containers.first().filter(|one| loops(one)) else {
        return restarting(story, depth).unwrap_or_else(|| match story.sees(Source::WorkerLog) {
            true => Answer::NotApplicable,
            false => Answer::cannot_tell(&[Source::WorkerLog]),
        });
    };
    if depth.consumers > 0 {
        return Answer::ruled_out(format!("{} consumers now", depth.consumers), [depth.n]);
    }
    // Another replica that stays up and does not consume has a reason of its own.
    if !story.closed() || !containers.iter().all(|one| loops(one)) {
        return Answer::NotApplicable;
    }
    let mut evidence = vec![container.n, depth.n];
    evidence.extend(died(container));
    evidence.extend(story.restarts(container).map(|(_, looks)| looks[0]));
    let last_words = story
        .worker_lines()
        .iter()
        .rev()
        .find(|told| told.died_at_start());
    let why = match (last_words, container.oom_killed, container.exit_code) {
        (Some(told), ..) => {
            evidence.push(told.n);
            format!(": {}", reason(story, told))
        }
        (None, true, _) => ": a process of it was killed for memory".to_owned(),
        (None, false, Some(code)) => format!(": it ended with {}", exit_words(code)),
        (None, false, None) => String::new(),
    };
    evidence.sort_unstable();
    evidence.dedup();
    let policy = container.restart_policy.as_deref().unwrap_or("unknown");
    let text = format!(
        "the engine has started {} again {} by its restart policy ({policy}), and nobody consumes{why}",
        containers::words(container),
        counted(container.restarts.unwrap_or_default(), "time", "times")
    );
    Answer::shown(text, evidence)
}

/// The way into the worker's container was refused because its engine is starting it again.
fn restarting(story: &Story<'_>, depth: Depth) -> Option<Answer> {
    let said = story.place_says("worker", PlaceState::Restarting)?;
    if depth.consumers > 0 || !story.closed() {
        return None;
    }
    let mut evidence = vec![said.n, depth.n];
    let last_words = story
        .worker_lines()
        .iter()
        .rev()
        .find(|told| told.died_at_start());
    let why = last_words.map_or(String::new(), |told| format!(": {}", reason(story, told)));
    evidence.extend(last_words.map(|told| told.n));
    evidence.sort_unstable();
    let text = format!("nobody consumes, and the way into the worker's container says \"{said}\"{why}");
    Some(Answer::likely(text, evidence))
}

/// Ends of the worker's lives that nobody asked for, one for each life: a further one counts only
/// after another boot. Of what is older than the run, only what has just happened.
fn crashes<'s, 'a>(story: &'s Story<'a>) -> Vec<&'s WorkerLine<'a>> {
    let mut crashes: Vec<&WorkerLine<'_>> = Vec::new();
    let mut booted = true;
    for told in story.worker_lines() {
        match told.mark {
            Some(LogEvent::BootingUp) => booted = true,
            // A master replaces its children.
            Some(LogEvent::ChildDied { .. }) if story.master_takes() => {}
            Some(LogEvent::ChildDied { .. } | LogEvent::GaveUp { .. })
                if booted && (!told.line.before || story.ended_recently(told)) =>
            {
                booted = false;
                crashes.push(told);
            }
            _ => {}
        }
    }
    crashes
}

/// During the run: an older start is the life that is over.
fn boot_after<'s, 'a>(story: &'s Story<'a>, crash: &WorkerLine<'_>) -> Option<&'s WorkerLine<'a>> {
    let after = story.worker_lines().iter().skip_while(|told| told.n != crash.n);
    after
        .filter(|told| !told.line.before || story.by_the_log_alone().is_some())
        .find(|told| matches!(told.mark, Some(LogEvent::BootingUp)))
}

/// Why it ended the last time: what its last bare traceback says, or how its process ended.
fn words(story: &Story<'_>, crash: &WorkerLine<'_>) -> (Option<u32>, String) {
    let lines = story.worker_lines();
    // A child's own words may stand on either side of its master's.
    match lines.iter().rev().find(|told| told.died_at_start()) {
        Some(told) => (Some(told.n), reason(story, told)),
        None => match crash.mark {
            Some(LogEvent::ChildDied { pid, code }) => (
                None,
                format!("its process {pid} ended with {}", exit_words(*code)),
            ),
            _ => (None, crash.line.text.clone()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;
    use crate::timeline::{EventKind, Role};

    fn one_life(scene: Scene, master: i32, code: &str) -> Scene {
        let child = master + 1;
        scene
            .line(&format!("[PID {master}] [MainThread] [dramatiq.MainProcess] [INFO] Dramatiq '2.2.1' is booting up."))
            .line(&format!("[PID {master}] [MainThread] [dramatiq.MainProcess] [CRITICAL] Worker with PID {child} exited unexpectedly (code {code}). Shutting down..."))
    }

    fn waiting() -> Scene {
        Scene::new()
            .depth("default", 0, 0)
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 1, 0)
    }

    /// A loop around `docker logs` prints one life again and again.
    #[test]
    fn one_end_that_is_printed_again_is_one() {
        let printed = |times: [&str; 2]| {
            let mut scene = waiting();
            for time in times {
                let from = scene.timeline.events.len();
                scene = one_life(scene, 200, "-9");
                for (number, event) in scene.timeline.events[from..].iter_mut().enumerate() {
                    event.stated = Some(format!("2026-11-29 12:00:0{number},{time}"));
                }
            }
            scene.depth("default", 1, 0).silence()
        };
        assert_eq!(printed(["123", "123"]).answer(&CAUSE), "not applicable");
        assert_eq!(printed(["123", "124"]).cause(), "likely worker-crash-loop");
    }

    /// A life of it consumed our queue.
    fn ours(scene: Scene) -> Scene {
        scene.debug(
            "dramatiq.worker._WorkerMiddleware",
            "Adding consumer for queue 'default'.",
        )
    }

    /// A life of it, whose master was seen to run the configured command.
    fn configured(scene: Scene, master: i32, code: &str) -> Scene {
        let seen = scene.process(master, 1, "python dramatiq app", |process| {
            process.is_configured = true;
            process.holds_log = false;
        });
        one_life(seen.gone(master), master, code)
    }

    #[test]
    fn ends_with_a_boot_between_them_are_a_loop() {
        let anybodys = one_life(one_life(waiting(), 200, "-9"), 300, "-9")
            .depth("default", 1, 0)
            .silence();
        assert_eq!(anybodys.cause(), "likely worker-crash-loop");
        let anothers = one_life(configured(ours(waiting()), 200, "-9"), 300, "-9")
            .depth("default", 1, 0)
            .silence();
        assert_eq!(anothers.cause(), "likely worker-crash-loop");
        let scene = configured(configured(waiting(), 200, "-9"), 300, "-9")
            .depth("default", 1, 0)
            .silence();
        assert_eq!(scene.cause(), "certain worker-crash-loop");
        assert!(scene.summary().contains("SIGKILL"), "{}", scene.summary());
        assert_eq!(scene.without(Source::WorkerLog).answer(&CAUSE), "cannot tell");
        assert_eq!(scene.without(Source::Queue).answer(&CAUSE), "cannot tell");
    }

    fn container(scene: Scene, state: &str, restarts: u64) -> Scene {
        scene.see(
            Source::Containers,
            EventKind::Container(Box::new(Container {
                id: "0123456789ab".into(),
                name: "shop-worker-1".into(),
                image: "shop".into(),
                project: Some("shop".into()),
                roles: vec![Role::WorkerLog],
                state: state.into(),
                restarts: Some(restarts),
                restart_policy: Some("always".into()),
                exit_code: Some(2),
                ..Container::default()
            })),
        )
    }

    #[test]
    fn the_engine_waits_longer_between_two_starts_than_a_run_takes() {
        let scene = container(waiting(), "restarting", 6)
            .depth("default", 1, 0)
            .silence();
        assert_eq!(scene.cause(), "certain worker-crash-loop");
        assert!(
            scene
                .summary()
                .contains("again 6 times by its restart policy (always)")
        );
        assert!(scene.summary().contains("exit code 2"), "{}", scene.summary());
        assert_eq!(scene.without(Source::Queue).answer(&CAUSE), "cannot tell");
    }

    #[test]
    fn the_way_into_its_container_says_that_it_is_restarting() {
        let says = |said: &str, consumers| {
            let scene = waiting().place_says(said).depth("default", 1, consumers);
            scene.silence()
        };
        let restarting =
            "Error response from daemon: Container w is restarting, wait until the container is running";
        assert_eq!(says(restarting, 0).cause(), "likely worker-crash-loop");
        let without_log = says(restarting, 0).without(Source::WorkerLog);
        assert_eq!(without_log.answer(&CAUSE), "likely");
        assert_eq!(says(restarting, 1).answer(&CAUSE), "not applicable");
        for other in [
            "Error response from daemon: container w is not running",
            "error: unable to upgrade connection: Unauthorized",
        ] {
            assert_eq!(says(other, 0).answer(&CAUSE), "not applicable", "{other}");
        }
    }

    #[test]
    fn a_count_of_starts_that_are_long_over_is_no_loop() {
        let scene = container(waiting(), "running", 6)
            .depth("default", 1, 0)
            .silence();
        assert_eq!(scene.answer(&CAUSE), "not applicable");
        let died = |scene: Scene| {
            scene.see(
                Source::Containers,
                EventKind::ContainerEvent {
                    container: "shop-worker-1".into(),
                    action: "die".into(),
                    exit: Some(2),
                },
            )
        };
        let scene = died(container(waiting(), "running", 6))
            .depth("default", 1, 0)
            .silence();
        assert_eq!(scene.cause(), "certain worker-crash-loop");
        // It came up again, and is connected elsewhere.
        let up = ours(died(container(waiting(), "running", 6)))
            .depth("default", 1, 0)
            .silence();
        assert_eq!(up.answer(&CAUSE), "not applicable");
        // One that somebody stopped is not started again.
        let scene = died(container(waiting(), "exited", 6))
            .depth("default", 1, 0)
            .silence();
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn the_reason_is_the_exception_of_the_start() {
        let traceback = "Process Process-1:\nTraceback (most recent call last):\n  File \"/app/worker.py\", line 3, in <module>\nValueError: no model";
        let waiting = waiting().setup(|setup| {
            setup.worker_command = ["dramatiq", "worker"].map(str::to_owned).into();
        });
        let scene = configured(configured(waiting, 200, "1").plain(None, traceback), 300, "1")
            .plain(None, traceback)
            .depth("default", 1, 0)
            .silence();
        assert_eq!(scene.cause(), "certain worker-crash-loop");
        assert!(
            scene.summary().ends_with("ValueError: no model"),
            "{}",
            scene.summary()
        );
    }

    #[test]
    fn one_end_or_an_orderly_one_is_a_near_miss() {
        let once = one_life(waiting(), 200, "-9").depth("default", 1, 0).silence();
        assert_eq!(once.answer(&CAUSE), "not applicable");
        // A deployment stops one worker and starts another.
        let deployed = waiting()
            .line("[PID 200] [MainThread] [dramatiq.MainProcess] [INFO] Sending signal 'SIGTERM' to subprocesses...")
            .line("[PID 300] [MainThread] [dramatiq.MainProcess] [INFO] Dramatiq '2.2.1' is booting up.")
            .depth("default", 1, 0)
            .silence();
        assert_eq!(deployed.answer(&CAUSE), "not applicable");
        // Two processes of one worker, killed together, are one end.
        let together = one_life(waiting(), 200, "-9")
            .line("[PID 200] [MainThread] [dramatiq.MainProcess] [CRITICAL] Worker with PID 202 exited unexpectedly (code -9). Shutting down...")
            .depth("default", 1, 0)
            .silence();
        assert_eq!(together.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn one_that_stays_up_at_last_is_a_near_miss() {
        let scene = one_life(one_life(waiting(), 200, "-9"), 300, "-9")
            .depth("default", 1, 1)
            .silence();
        assert_eq!(scene.answer(&CAUSE), "ruled out");
        let booting = one_life(waiting(), 200, "-9")
            .line("[PID 300] [MainThread] [dramatiq.MainProcess] [INFO] Dramatiq '2.2.1' is booting up.")
            .depth("default", 1, 0)
            .silence();
        assert_eq!(booting.answer(&CAUSE), "likely");
    }

    #[test]
    fn a_worker_of_other_queues_is_a_near_miss() {
        let scene = one_life(one_life(waiting(), 200, "-9"), 300, "-9")
            .debug(
                "dramatiq.worker._WorkerMiddleware",
                "Adding consumer for queue 'emails'.",
            )
            .depth("default", 1, 0)
            .silence();
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn a_crash_of_yesterday_is_a_near_miss() {
        let scene = one_life(Scene::new().from_before(86_400), 200, "-9")
            .from_now_on()
            .depth("default", 0, 0)
            .submitted()
            .row("PENDING")
            .publish("default")
            .line("[PID 300] [MainThread] [dramatiq.MainProcess] [INFO] Dramatiq '2.2.1' is booting up.")
            .depth("default", 1, 0)
            .silence();
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }

    /// It came up at last, and is connected elsewhere; or another service crashes in the same log.
    #[test]
    fn one_that_is_up_is_a_near_miss() {
        let comes_up = |scene: Scene, master: i32| {
            let child = master + 1;
            scene
                .line(&format!("[PID {master}] [MainThread] [dramatiq.MainProcess] [INFO] Dramatiq '2.2.1' is booting up."))
                .line(&format!("[PID {child}] [MainThread] [dramatiq.worker._WorkerMiddleware] [DEBUG] Adding consumer for queue 'default'."))
        };
        let ends = |scene: Scene| scene.depth("default", 1, 0).silence().answer(&CAUSE);
        let twice = || configured(configured(waiting(), 200, "-9"), 300, "-9");
        assert_eq!(ends(comes_up(twice(), 400)), "ruled out");
        assert_eq!(ends(one_life(comes_up(twice(), 400), 400, "-9")), "certain");
        // It was up before the other one began to crash.
        let beside = comes_up(waiting(), 100).worker_process(&[]);
        assert_eq!(ends(one_life(one_life(beside, 200, "-9"), 300, "-9")), "likely");
        let streams = |scene: Scene| {
            let mut scene = one_life(one_life(comes_up(scene, 100), 200, "-9"), 300, "-9");
            for event in &mut scene.timeline.events {
                if let EventKind::Line(line) = &mut event.kind {
                    let service = if line.pid < Some(200) {
                        "worker-1"
                    } else {
                        "mail-1"
                    };
                    line.stream = Some(service.to_owned());
                }
            }
            ends(scene)
        };
        // The queue is consumed by another stream of the log: these are another service's ends.
        assert_eq!(streams(waiting()), "not applicable");
    }

    /// No line has a pid, and two services write to one file: one of them is older than the other's ends, and lives.
    #[test]
    fn one_that_outlives_the_ends_is_a_near_miss() {
        let ends = |started: i64| {
            let scene = Scene::new().setup(|setup| {
                setup.framework = "celery".into();
                setup.queue = "celery".into();
            });
            let banner = " -------------- celery@vm v5.7.0 (dawn-chorus)";
            let queues = "                .> celery           exchange=celery(direct) key=celery";
            let gave_up = "Unrecoverable error: ValueError('x')";
            let life = |scene: Scene| {
                let scene = scene.plain(None, banner).plain(None, queues);
                scene.plain(Some(crate::timeline::Level::Critical), gave_up)
            };
            let scene = scene
                .depth("celery", 0, 0)
                .submitted()
                .row("PENDING")
                .publish("celery");
            life(life(scene))
                .process(100, 1, "python celery -A shop worker", |process| {
                    process.started_at_ms = Some(started);
                })
                .depth("celery", 1, 0)
                .silence()
                .answer(&CAUSE)
        };
        let zero = 1_000_000;
        assert_eq!(ends(zero - 60_000), "likely");
        assert_eq!(ends(zero + 2_000), "certain");
    }
}
