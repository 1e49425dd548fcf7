//! The worker consumes other queues only.

use crate::diagnosis::evidence::{Fact, WorkerLine, broker, connections, programs, workers};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::{self, LogEvent, Role};
use crate::timeline::{Process, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "worker-on-other-queue",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::Deployment],
    explains: &["no-consumer"],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Queue]],
    page: include_str!("worker_on_other_queue.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if let Some(answer) = broker::has_consumer(story) {
        return answer;
    }
    let names_it = |process: &&Fact<&Process>| programs::names_our_queue(story, process);
    if let Some(process) = workers::live_workers(story).iter().find(names_it) {
        let text = format!("pid {} was started for `{}`", process.pid, story.queue());
        return Answer::ruled_out(text, [process.n]);
    }
    // Another service that writes to the same log rightly consumes its own queue.
    let is_ours = |told: &&WorkerLine<'_>| told.pid.is_none_or(|pid| !story.runs_for_another_service(pid));
    let lines: Vec<&WorkerLine<'_>> = story.worker_lines().iter().filter(is_ours).collect();
    let queue = story.queue();
    // Another one that writes to the same log failed to start: it may be the one for this queue.
    let failed_beside = |told: &WorkerLine<'_>| {
        story.worker_lines().iter().find(|other| {
            let is_another =
                other.line.stream != told.line.stream || told.pid.is_some() && other.pid != told.pid;
            is_another && other.died_at_start()
        })
    };
    if let Some(told) = lines.iter().find(
        |told| matches!(told.mark, Some(LogEvent::DroppingConsumer { queue: dropped }) if dropped == queue),
    ) {
        if !story.closed() {
            return Answer::NotApplicable;
        }
        let text = format!("the worker was started with -Q and leaves `{queue}` out");
        return match failed_beside(told) {
            Some(failed) => Answer::possible(text, [told.n, failed.n]),
            None => workers::alive_or_likely(story, text, vec![told.n]),
        };
    }
    if !story.closed() {
        return Answer::NotApplicable;
    }
    let mut others = lines.iter().filter_map(|told| match told.mark {
        Some(LogEvent::AddingConsumer { queue: added }) if !story.is_of_my_queue(added) => {
            let is_main = story.framework().queues.split(added).1 == Role::Main;
            is_main.then_some((told, added))
        }
        _ => None,
    });
    if lines.iter().any(|told| told.adds_consumer_of(queue)) {
        return Answer::NotApplicable;
    }
    if let Some((told, first)) = others.next() {
        let evidence: Vec<u32> = lines
            .iter()
            .filter(|told| matches!(told.mark, Some(LogEvent::AddingConsumer { .. })))
            .map(|told| told.n)
            .take(3)
            .collect();
        let text = format!("the worker consumes `{first}`, not `{queue}`");
        // Without pids it cannot be told whether it is this one's own earlier try.
        let failed =
            |other: &WorkerLine<'_>| told.pid.is_none() && other.pid.is_none() && other.died_at_start();
        let failed_at_all = || story.worker_lines().iter().find(|other| failed(other));
        return match failed_beside(told).or_else(failed_at_all) {
            Some(_) => Answer::likely(text, evidence),
            None => workers::alive_or_likely(story, text, evidence),
        };
    }
    if let Some(answer) = by_command(story) {
        return answer;
    }
    // Its connections consume elsewhere.
    let Some(consumers) = story.consumers() else {
        return Answer::NotApplicable;
    };
    for process in workers::live_workers(story) {
        let is_main = |name: &str| is_main(story, name);
        if let Some(consumer) = consumers.iter().find(|consumer| {
            connections::is_socket_of(&process, &consumer.connection)
                && !story.is_of_my_queue(&consumer.queue)
                && is_main(&consumer.queue)
        }) {
            return Answer::likely(
                format!(
                    "the worker (pid {}) consumes `{}`, not `{queue}`",
                    process.pid, consumer.queue
                ),
                [process.n, consumers.n],
            )
            .given([Premise::WriterIsTheWorker(process.n)]);
        }
    }
    by_its_address(story).unwrap_or(Answer::NotApplicable)
}

/// Tasks are sent to it; workers talk to each other on others.
fn is_main(story: &Story<'_>, queue: &str) -> bool {
    let mut all = framework::ALL.iter();
    let is_control = all.any(|framework| (framework.queues.is_bookkeeping)("", queue));
    !is_control && story.framework().queues.split(queue).1 == Role::Main
}

/// A connection from the worker's container consumes elsewhere, and none consumes here.
fn by_its_address(story: &Story<'_>) -> Option<Answer> {
    let consumers = story.consumers()?;
    let (container, connections) = story.connected_worker_container()?;
    let queue = story.queue();
    let is_main = |name: &str| is_main(story, name);
    let consumer = consumers.iter().find(|consumer| {
        connections.contains(&consumer.connection.as_str())
            && !story.is_of_my_queue(&consumer.queue)
            && is_main(&consumer.queue)
    })?;
    let text = format!(
        "the worker's container consumes `{}`, not `{queue}`",
        consumer.queue
    );
    Some(Answer::likely(text, [container.n, consumers.n]))
}

/// A worker that says nothing of its queues was started for some of them only, and so was each other
/// one that lives.
fn by_command(story: &Story<'_>) -> Option<Answer> {
    let queue = story.queue();
    let lives = workers::live_workers(story);
    let named: Option<Vec<Fact<Vec<String>>>> = lives
        .iter()
        .map(|process| programs::queues_of(story, process).map(|queues| process.with(queues)))
        .collect();
    let named = named.filter(|named| {
        let mut names = named.iter().flat_map(|queues| queues.iter());
        names.all(|name| name != queue)
    })?;
    let queues = named.first()?;
    let joined = queues
        .iter()
        .find(|name| name.split(',').any(|part| part == queue));
    let text = match joined {
        Some(name) => format!(
            "the worker was started with `-Q {name}`, which is the name of one queue: write `-Q {}`",
            name.replace(',', " ")
        ),
        None => format!(
            "the worker was started for `{}` (`-Q`), and leaves `{queue}` out",
            queues.join("`, `")
        ),
    };
    let depth = story.depths_since(queue).last().map(|depth| depth.n);
    let evidence: Vec<u32> = std::iter::once(queues.n).chain(depth).collect();
    let answer =
        Answer::shown(text, evidence).given([Premise::SamePidSpace, Premise::WriterIsTheWorker(queues.n)]);
    Some(answer.lasting_if(workers::is_the_one_we_started(story)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Scene, WORKER};

    fn nobody() -> Scene {
        Scene::new()
            .depth("default", 0, 0)
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 1, 0)
    }

    fn whitelisted() -> Scene {
        nobody().from_before(50).debug(
            "dramatiq.worker.Worker",
            "Dropping consumer for queue 'default': not whitelisted.",
        )
    }

    #[test]
    fn a_living_worker_left_it_out() {
        let scene = whitelisted().worker_process(&[WORKER]);
        assert_ne!(scene.answer(&CAUSE), "certain", "another worker may still boot");
        // It may be one of two services of the project, and the other one not run.
        assert_eq!(scene.silence().cause(), "likely worker-on-other-queue");
    }

    #[test]
    fn another_worker_may_be_on_its_way_where_we_did_not_start_the_only_one() {
        let started = |scene: Scene| {
            scene
                .submitted()
                .row("PENDING")
                .publish("default")
                .depth("default", 1, 0)
                .debug(
                    "dramatiq.worker.Worker",
                    "Dropping consumer for queue 'default': not whitelisted.",
                )
                .worker_process(&[WORKER])
        };
        let nobody_yet = || Scene::new().depth("default", 0, 0);
        assert!(started(nobody_yet().started("worker", 100)).lasts());
        assert!(!started(nobody_yet()).lasts());
    }

    #[test]
    fn a_quiet_worker_is_known_by_its_command_line() {
        let quiet = |command: &str| {
            nobody()
                .from_before(50)
                .info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.")
                .process(101, 100, command, |_| {})
                .silence()
        };
        let scene = quiet("python dramatiq app -Q emails --threads 2");
        assert_eq!(scene.cause(), "likely worker-on-other-queue");
        let comma = quiet("python dramatiq app -Q default,emails");
        assert_eq!(comma.cause(), "likely worker-on-other-queue");
        assert!(
            comma.summary().contains("`-Q default emails`"),
            "{}",
            comma.summary()
        );
        assert_eq!(
            quiet("python dramatiq app -Q emails default").answer(&CAUSE),
            "ruled out"
        );
        assert_eq!(quiet("python dramatiq app").answer(&CAUSE), "not applicable");
    }

    /// A log that says nothing of queues, and a list of consumers that names the companion first.
    #[test]
    fn the_queue_itself_is_named_and_not_its_companion() {
        let scene = nobody()
            .from_before(50)
            .info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.")
            .worker_process(&[WORKER])
            .consumers(&[("emails.DQ", WORKER, 4), ("emails", WORKER, 4)])
            .silence();
        assert_eq!(scene.answer(&CAUSE), "likely");
        assert!(scene.summary().contains("`emails`"), "{}", scene.summary());
    }

    /// Of a message that waits by assumption: whether its process was seen, it is as likely.
    #[test]
    fn a_process_that_is_seen_weakens_nothing() {
        let looked = |is_seen: bool| {
            let scene = Scene::new().given().from_before(5);
            let middleware = "dramatiq.worker._WorkerMiddleware";
            let scene = scene.debug(middleware, "Adding consumer for queue 'emails'.");
            let scene = match is_seen {
                true => scene.process(101, 100, "python dramatiq -v app", |process| {
                    process.holds_log = false
                }),
                false => scene,
            };
            let scene = scene.from_now_on().row("PENDING");
            scene.depth("default", 1, 0).end(crate::timeline::Ended::Looked)
        };
        assert_eq!(looked(false).cause(), "likely worker-on-other-queue");
        assert_eq!(looked(true).cause(), "likely worker-on-other-queue");
    }

    /// Another service's worker may write to a log that both share, while ours does not run.
    #[test]
    fn whoever_writes_the_log_is_not_always_this_tasks_worker() {
        let adds = "Adding consumer for queue 'emails'.";
        let middleware = "dramatiq.worker._WorkerMiddleware";
        let anybodys = nobody().worker_process(&[WORKER]).debug(middleware, adds);
        assert_eq!(anybodys.silence().cause(), "likely worker-on-other-queue");
        let configured = nobody()
            .process(101, 100, "python dramatiq -v app", |process| {
                process.is_configured = true;
            })
            .debug(middleware, adds);
        assert_eq!(configured.silence().cause(), "certain worker-on-other-queue");
    }

    /// The other one's command names another service's module: it consumes its own queue, and ours is not there.
    #[test]
    fn another_services_worker_is_none_of_ours() {
        let scene = |command: &str| {
            nobody()
                .setup(|setup| {
                    setup.worker_command = vec!["dramatiq".into(), "app".into()];
                })
                .process(101, 1, command, |process| {
                    process.is_configured = command.ends_with("app");
                })
                .line("[PID 101] [MainThread] [dramatiq.worker._WorkerMiddleware] [DEBUG] Adding consumer for queue 'emails'.")
                .line("[PID 101] [Thread-4] [dramatiq.worker.WorkerThread] [DEBUG] Received message act('x') with id 'x-1'.")
                .silence()
        };
        let own = scene("python dramatiq -v app");
        assert_eq!(own.cause(), "certain worker-on-other-queue");
        let other = scene("python dramatiq -v mail");
        assert_eq!(other.answer(&CAUSE), "not applicable");
        assert!(other.cause().ends_with("no-consumer"), "{}", other.cause());
    }

    /// Ours fails at an import; what came up behind it is another's, or ours with another queue.
    #[test]
    fn a_failed_import_says_nothing_of_who_came_up() {
        let adds = "[PID 101] [MainThread] [dramatiq.worker._WorkerMiddleware] [DEBUG] Adding consumer for queue 'emails'.";
        let scene = nobody()
            .setup(|setup| setup.worker_command = vec!["dramatiq".into(), "app".into()])
            .line("[PID 102] [MainThread] [dramatiq.WorkerProcess(0)] [ERROR] Failed to import module.\nTraceback (most recent call last):\n  File \"/srv/app.py\", line 1, in <module>\nModuleNotFoundError: No module named 'agents'")
            .process(101, 100, "python /srv/start.py", |_| {})
            .line(adds)
            .silence();
        let mut without_pids = scene.clone();
        for event in &mut without_pids.timeline.events {
            if let crate::timeline::EventKind::Line(line) = &mut event.kind {
                line.pid = None;
            }
        }
        for scene in [scene, without_pids] {
            assert_ne!(scene.answer(&CAUSE), "certain");
            assert!(!scene.cause().starts_with("certain"), "{}", scene.cause());
        }
    }

    #[test]
    fn a_dead_worker_is_a_near_miss() {
        assert_eq!(whitelisted().silence().answer(&CAUSE), "likely");
    }

    #[test]
    fn its_consumers_are_elsewhere() {
        let scene = nobody()
            .debug(
                "dramatiq.worker._WorkerMiddleware",
                "Adding consumer for queue 'emails'.",
            )
            .silence();
        assert_eq!(scene.cause(), "likely worker-on-other-queue");
        let both = scene
            .debug(
                "dramatiq.worker._WorkerMiddleware",
                "Adding consumer for queue 'default'.",
            )
            .silence();
        assert_eq!(both.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn the_address_of_its_container_says_what_it_consumes() {
        let consumes = |queue: &str| {
            let connection = "172.18.0.7:40001 -> 172.18.0.3:5672";
            nobody()
                .worker_container("a1", "running", |container| {
                    container.addresses = vec!["172.18.0.7".into()]
                })
                .connections(&[(connection, "/", "running")])
                .consumers(&[(queue, connection, 0)])
                .silence()
                .answer(&CAUSE)
        };
        assert_eq!(consumes("emails"), "likely");
        assert_eq!(consumes("emails.DQ"), "not applicable");
        assert_eq!(consumes("celery@a.celery.pidbox"), "not applicable");
    }
}
