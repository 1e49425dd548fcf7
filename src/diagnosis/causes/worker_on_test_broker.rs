//! The worker consumes from a stub broker.

use crate::diagnosis::evidence::{broker, connections, containers, programs, stacks, workers};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Claim, Owner, Scenario, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "worker-on-test-broker",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::Deployment],
    explains: &["no-consumer"],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Queue], &[Source::Process]],
    claims: &[Claim::IsAlive],
    page: include_str!("worker_on_test_broker.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if let Some(answer) = broker::has_consumer(story) {
        return answer;
    }
    let mut lines = story.worker_lines().iter();
    let adding = lines.find(|told| told.adds_consumer_of(story.queue()));
    let error = story
        .worker_lines()
        .iter()
        .any(|told| matches!(told.mark, Some(LogEvent::ConnectionError { .. })));
    let pids: Vec<i32> = story.log_pids().into_iter().collect();
    // One that was started for other queues needs no stub to leave ours alone.
    let mut all = story.all_processes();
    let is_for_others =
        all.any(|process| pids.contains(&process.pid) && programs::leaves_out_our_queue(story, &process));
    if let Some(thread) = stacks::in_the_stub(story, &pids) {
        // Another service may write to the same log, with a stub of its own.
        let dump = story.stacks().dumps().find(|dump| dump.n == thread.n);
        let its_pid = dump.map(|dump| dump.pid);
        let mut lines = story.worker_lines().iter();
        let adding = lines
            .find(|told| {
                told.adds_consumer_of(story.queue()) && (told.line.pid.is_none() || told.pid == its_pid)
            })
            .filter(|_| !story.one_leaves_us_out());
        let text = format!(
            "the worker consumes from {}'s stub broker (thread {}), not from RabbitMQ",
            story.framework().title,
            thread.name()
        );
        // It may have a second one, for other messages.
        let connected = workers::live_workers(story).into_iter().find(|process| {
            pids.contains(&process.pid) && connections::amqp_socket(story, process).is_some()
        });
        return match (connected, adding) {
            (Some(process), _) => Answer::possible(
                format!("{text}; pid {} has an AMQP connection as well", process.pid),
                [thread.n, process.n],
            ),
            (None, _) if is_for_others => {
                Answer::possible(format!("{text}; but its command names other queues"), [thread.n])
            }
            (None, _) if error => Answer::possible(
                format!("{text}; but it tries to connect to a broker as well"),
                [thread.n],
            ),
            // Which queue it takes from it, a stack does not show.
            (None, None) => Answer::likely(text, [thread.n]),
            (None, Some(adding)) => Answer::shown(text, [thread.n, adding.n]).given([Premise::SamePidSpace]),
        };
    }
    if !story.closed() {
        return Answer::NotApplicable;
    }
    // It consumes nothing of ours, and need not connect for it.
    let dropped = story.worker_lines().iter().any(|told| {
        matches!(told.mark, Some(LogEvent::DroppingConsumer { queue }) if queue == story.queue())
            && adding.is_some_and(|adding| adding.pid == told.pid)
    });
    let Some(adding) = adding.filter(|_| !error && !dropped) else {
        return Answer::NotApplicable;
    };
    let consumer = workers::live_workers(story)
        .into_iter()
        .find(|process| adding.pid == Some(process.pid));
    match consumer {
        Some(process) if process.sockets_seen && connections::amqp_socket(story, &process).is_none() => {
            let switch = workers::test_switch(story, &process);
            let text = format!(
                "the worker (pid {}) added a consumer for `{}` but has no AMQP connection at all",
                process.pid,
                story.queue()
            );
            match (switch, containers::in_no_network(story, &process)) {
                (Some((name, value)), _) => Answer::likely(
                    format!("{text}; its environment has {name}={value}"),
                    [adding.n, process.n],
                ),
                // It may still try to connect, in vain.
                (None, Some(name)) => Answer::possible(
                    format!(
                        "{text}; the engine knows no address of its container {name}: look first whether it is in a network with the broker"
                    ),
                    [adding.n, process.n, name.n],
                ),
                (None, None) => match connections::elsewhere(story, &process) {
                    Some(remote) => Answer::possible(
                        format!(
                            "{text} to a port that is known for one: it is connected to {remote}, which may be another broker's"
                        ),
                        [adding.n, process.n],
                    ),
                    None => Answer::likely(text, [adding.n, process.n]),
                },
            }
        }
        _ => Answer::NotApplicable,
    }
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

    fn added() -> Scene {
        nobody()
            .debug(
                "dramatiq.worker._WorkerMiddleware",
                "Adding consumer for queue 'default'.",
            )
            .worker_process(&[])
    }

    #[test]
    fn frames_of_the_stub_are_certain() {
        let consumes = |scene: Scene| {
            let frames = [("_StubConsumer.__next__", "/v/dramatiq/brokers/stub.py")];
            scene.stack(101, "Thread-2", &frames).silence().cause()
        };
        assert_eq!(consumes(added()), "certain worker-on-test-broker");
        // It may be one of the application's own, for something else, or another service's.
        let other = nobody().worker_process(&[]);
        assert_ne!(consumes(other), "certain worker-on-test-broker");
        let dropped = "Dropping consumer for queue 'default': not whitelisted.";
        let another = added().debug("dramatiq.worker.Worker", dropped);
        assert_ne!(consumes(another), "certain worker-on-test-broker");
        // The line is of another process.
        let adds = "[PID 201] [MainThread] [dramatiq.worker._WorkerMiddleware] [DEBUG] Adding consumer for queue 'default'.";
        let beside = nobody()
            .line(adds)
            .info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.")
            .worker_process(&[]);
        assert_ne!(consumes(beside), "certain worker-on-test-broker");
        // Of two processes of one worker it may be the second.
        let second = nobody()
            .line(adds)
            .debug(
                "dramatiq.worker._WorkerMiddleware",
                "Adding consumer for queue 'default'.",
            )
            .worker_process(&[]);
        assert_eq!(consumes(second), "certain worker-on-test-broker");
        // A stub of its own, in a worker that its command keeps from our queue.
        let ready = nobody().info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.");
        let started = |options: &str| {
            let command = format!("python dramatiq app{options}");
            let scene = ready.clone().process(101, 100, &command, |_| {});
            let frames = [("_StubConsumer.__next__", "/v/dramatiq/brokers/stub.py")];
            scene.stack(101, "Thread-2", &frames).silence().answer(&CAUSE)
        };
        assert_eq!(started(""), "likely");
        assert_eq!(started(" -Q mail"), "possible");
    }

    #[test]
    fn a_consumer_without_a_connection_is_likely() {
        assert_eq!(added().silence().cause(), "likely worker-on-test-broker");
    }

    /// Another broker may listen at any port.
    #[test]
    fn a_connection_to_an_unknown_port_is_no_sign_of_a_stub() {
        let connected = |remote: &str| {
            let socket = format!("10.0.0.5:40002 -> {remote}");
            added().worker_process(&[&socket]).silence()
        };
        assert_eq!(connected("10.0.0.7:22842").answer(&CAUSE), "possible");
        assert!(connected("10.0.0.7:22842").cause().contains("no-consumer"));
        assert_eq!(connected("10.0.0.7:6379").answer(&CAUSE), "likely");
    }

    #[test]
    fn a_connection_error_or_a_connection_is_a_near_miss() {
        let error = added()
            .critical(
                "dramatiq.worker.ConsumerThread(default)",
                "Consumer encountered a connection error: refused",
            )
            .silence();
        assert_eq!(error.answer(&CAUSE), "not applicable");
        let connected = added().worker_process(&[WORKER]).silence();
        assert_eq!(connected.answer(&CAUSE), "not applicable");
        assert_eq!(
            added().silence().without(Source::Process).answer(&CAUSE),
            "cannot tell"
        );
    }

    /// It consumes other queues only, and need not connect for this one.
    #[test]
    fn a_queue_that_it_leaves_out_is_a_near_miss() {
        let dropped = |queue: &str| {
            added()
                .debug(
                    "dramatiq.worker._WorkerMiddleware",
                    &format!("Dropping consumer for queue '{queue}': not whitelisted."),
                )
                .silence()
                .answer(&CAUSE)
        };
        assert_eq!(dropped("default"), "not applicable");
        assert_eq!(dropped("mails"), "likely");
    }
}
