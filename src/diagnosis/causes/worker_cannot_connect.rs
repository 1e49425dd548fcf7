//! The worker tries to connect to the broker, and fails.

use crate::diagnosis::evidence::{WorkerLine, connections, containers, lives, workers};
use crate::diagnosis::{Answer, Cause, Certainty, Owner, Scenario, Stage, Story};
use crate::framework::LogEvent;
use crate::text;
use crate::timeline::{EventKind, Process, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "worker-cannot-connect",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::Deployment],
    explains: &["no-consumer"],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Queue, Source::Management, Source::WorkerLog]],
    page: include_str!("worker_cannot_connect.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    // Whatever it met before, the broker has let it in since.
    let lines = story.worker_lines();
    let about_it = (0..lines.len()).rev().find(|at| {
        let mark = lines[*at].mark;
        let is_about = matches!(
            mark,
            Some(LogEvent::ConnectionError { .. } | LogEvent::Connected { .. })
        );
        // Another service that writes to the same log has connected for itself.
        is_about && !lives::is_anothers(story, *at)
    });
    let about_it = about_it.map(|at| &lines[at]);
    if let Some(told) = about_it.filter(|told| matches!(told.mark, Some(LogEvent::Connected { .. })))
        && story.closed()
        && story.sees(Source::WorkerLog)
    {
        return Answer::ruled_out("it has connected since its last error", [told.n]);
    }
    if let Some(answer) = nobody_can(story) {
        return answer;
    }
    let error = connections::connection_error(
        story,
        |error| {
            !connections::is_conflict(error)
                && !connections::is_missing_queue(error)
                && !connections::is_queue_down(error)
                && !connections::is_of_a_delivery(error)
                && !connections::is_exclusive(error)
                && !connections::is_refused_consumer(error)
        },
        |error, count| {
            let default = default_broker(story);
            let nobody = match story.by_the_log_alone() {
                Some(_) => "",
                None => "0 consumers: ",
            };
            format!("{nobody}the worker cannot connect ({count} in its log): {error}{default}")
        },
    )
    .at_most(
        match about_it.is_some_and(|told| has_ended(story, told) || may_be_anothers(story, told)) {
            true => Certainty::Likely,
            false => Certainty::Certain,
        },
    )
    .lasting_if_certain(connections::is_refused_for_good(story));
    match error {
        Answer::Matched(_) => lives::unless_it_is_gone(story, error),
        other => in_no_network(story).unwrap_or(other),
    }
}

/// Who could not connect does not try any more: its process is gone, or its words are from before the run and no process
/// of it is seen.
fn has_ended(story: &Story<'_>, told: &WorkerLine<'_>) -> bool {
    let is_gone = told.pid.is_some_and(|pid| story.gone(pid).is_some());
    let is_unseen = || story.sees(Source::Process) && workers::watched_is_alive(story).is_none();
    is_gone || told.line.before && is_unseen()
}

/// The line says nothing of who wrote it, and a worker that has the log open is connected to a broker.
fn may_be_anothers(story: &Story<'_>, told: &WorkerLine<'_>) -> bool {
    let is_connected =
        |process: &Process| workers::is_worker(process) && connections::amqp_socket(story, process).is_some();
    told.line.pid.is_none()
        && workers::live_workers(story)
            .iter()
            .any(|process| is_connected(process))
}

/// Nothing was said of an error yet, but its container is in no network that its engine knows: no broker is reached from
/// there, unless it is the machine's own network.
fn in_no_network(story: &Story<'_>) -> Option<Answer> {
    let last = story.depths(story.queue()).last()?;
    if !story.closed() || last.consumers > 0 || story.published().is_none() {
        return None;
    }
    let own = story.worker_containers();
    let mut apart = own
        .iter()
        .filter(|container| containers::has_no_address(story, container));
    let container = apart.next().filter(|_| own.len() == 1)?;
    // What is connected is in a network.
    let mut processes = story.processes_in(container).into_iter();
    if processes.any(|process| connections::amqp_socket(story, &process).is_some()) {
        return None;
    }
    let text = format!(
        "0 consumers, and {} is in no network with an address: it reaches no broker",
        containers::words(container)
    );
    Some(
        Answer::likely(text, [last.n, container.n])
            .scenario(Scenario::C)
            .naming("{container}", &container.name),
    )
}

/// Nobody listens where the broker should be: neither the worker gets in, nor taskdiag, so that no look at the queue is
/// needed.
fn nobody_can(story: &Story<'_>) -> Option<Answer> {
    if story.sees(Source::Queue) || story.sees(Source::Management) || !story.closed() {
        return None;
    }
    let told = story.worker_lines().iter().rev().find(|told| {
        matches!(
            told.mark,
            Some(
                LogEvent::ConnectionError { .. }
                    | LogEvent::Connected { .. }
                    | LogEvent::Stopping
                    | LogEvent::ShutDown
            )
        )
    })?;
    let Some(LogEvent::ConnectionError { error, .. }) = told.mark else {
        return None;
    };
    let ours = story
        .timeline
        .events
        .iter()
        .rev()
        .find(|event| event.source == Source::Queue)?;
    let EventKind::Blind { reason, .. } = &ours.kind else {
        return None;
    };
    let is_same = reason.contains("onnection refused") && error.to_lowercase().contains("refused");
    (is_same && !told.line.before).then(|| {
        Answer::likely(
            format!(
                "the worker cannot connect: {}; nor can taskdiag: {reason}",
                text::excerpt(error)
            ),
            [told.n, ours.n],
        )
    })
}

/// Words for a worker that tries where its framework does when it is told of no broker.
fn default_broker(story: &Story<'_>) -> String {
    let framework = story.framework();
    let setup = &story.timeline.setup;
    let default = framework.worker.default_broker.filter(|default| {
        let is_configured = default.is_at(&setup.broker) && setup.vhost == default.vhost;
        let is_error = |mark: Option<&LogEvent>| matches!(mark, Some(LogEvent::ConnectionError { .. }));
        let mut tried = story.worker_lines().iter().rev();
        let last = tried.find(|told| is_error(told.mark));
        !is_configured && last.is_some_and(|told| default.is_named_in(&told.line.text))
    });
    default.map_or_else(String::new, |default| default.words(framework.title))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;
    use serde_json::json;

    fn nobody() -> Scene {
        Scene::new()
            .depth("default", 0, 0)
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 1, 0)
    }

    const REFUSED: &str = "Consumer encountered a connection error: AMQPConnectionError((AMQPConnectorSocketConnectError(ConnectionRefusedError(111)),))";

    #[test]
    fn errors_during_the_run() {
        let scene = nobody().critical("dramatiq.worker.ConsumerThread(default)", REFUSED);
        assert_eq!(scene.clone().silence().cause(), "certain worker-cannot-connect");
        assert_eq!(
            scene.silence().without(Source::WorkerLog).answer(&CAUSE),
            "cannot tell"
        );
    }

    /// It had recovered without a word, and its actors' lines keep the file young.
    #[test]
    fn an_error_of_yesterday_is_a_near_miss() {
        let since = |at: f64| {
            let scene = Scene::new().at(at).from_before(1);
            let scene = scene
                .critical("dramatiq.worker.ConsumerThread(default)", REFUSED)
                .from_now_on()
                .at(-1_000.0)
                .worker_process(&[])
                .depth("default", 0, 0);
            let sent = scene.submitted().row("PENDING").publish("default");
            sent.depth("default", 1, 0).silence().answer(&CAUSE)
        };
        assert_eq!(since(-5_000.0), "certain");
        assert_eq!(since(-86_400_000.0), "likely");
    }

    /// Two services of one project write to one log, and the other one has the wrong password.
    #[test]
    fn another_service_cannot_connect() {
        let dropped = "Dropping consumer for queue 'default': not whitelisted.";
        let scene = nobody()
            .debug("dramatiq.worker.Worker", dropped)
            .critical("dramatiq.worker.ConsumerThread(mail)", REFUSED)
            .critical("dramatiq.worker.Consumer", REFUSED);
        assert_ne!(scene.silence().answer(&CAUSE), "certain");
    }

    /// It was taken out of its network, and has not noticed yet.
    #[test]
    fn a_container_in_no_network() {
        let of = |addresses: &[&str], sockets: &[&str]| {
            let addresses: Vec<String> = addresses.iter().map(|one| (*one).to_owned()).collect();
            let sockets: Vec<String> = sockets.iter().map(|one| (*one).to_owned()).collect();
            nobody()
                .worker_container("c1", "running", |container| container.addresses = addresses)
                .worker_container("c2", "running", |container| {
                    container.name = "shop-mq-1".into();
                    container.roles.clear();
                    container.addresses = vec!["172.18.0.3".into()];
                })
                .process(300, 299, "python dramatiq app", |process| {
                    process.container = Some("c1".into());
                    process.sockets = sockets;
                    process.sockets_seen = true;
                })
                .depth("default", 1, 0)
                .silence()
        };
        assert_eq!(of(&[], &[]).cause(), "likely worker-cannot-connect");
        assert_ne!(of(&["172.18.0.5"], &[]).cause(), "likely worker-cannot-connect");
        // In the machine's own network.
        let connected = of(&[], &["127.0.0.1:40100 -> 127.0.0.1:5672"]);
        assert_ne!(connected.cause(), "likely worker-cannot-connect");
    }

    /// The connection broke once, and stood again; that nobody consumes has another reason.
    #[test]
    fn a_worker_that_stopped_or_consumed_since_is_a_near_miss() {
        let logger = "dramatiq.worker.ConsumerThread(default)";
        let broken = || nobody().critical(logger, REFUSED);
        let stopped = broken().info("dramatiq.MainProcess", "Stopping worker process...");
        assert_eq!(stopped.silence().answer(&CAUSE), "ruled out");
        let consumed = broken().depth("default", 0, 1).depth("default", 1, 0);
        assert_eq!(consumed.silence().answer(&CAUSE), "likely");
    }

    #[test]
    fn only_a_refusal_for_good_lasts() {
        let refused =
            |scene: Scene, error: &str| scene.critical("dramatiq.worker.ConsumerThread(default)", error);
        let lasts = |error: &str| refused(refused(nobody(), error), error).lasts();
        let refusal = "Consumer encountered a connection error: (530, 'NOT_ALLOWED - vhost shop not found')";
        assert!(!refused(nobody(), refusal).lasts(), "it has not tried again");
        let yesterday = refused(refused(nobody().from_before(90_000), refusal), refusal);
        assert!(!yesterday.lasts(), "{}", yesterday.silence().cause());
        let says = |error: &str| format!("Consumer encountered a connection error: {error}");
        assert!(lasts(&says(
            "(403, 'ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN.')"
        )));
        assert!(lasts(&says("(530, 'NOT_ALLOWED - vhost shop not found')")));
        assert!(lasts(&says(
            "(530, \"NOT_ALLOWED - access to vhost 'shop' refused for user 'app'\")"
        )));
        assert!(!lasts(REFUSED), "the broker may come back");
        assert!(!lasts(&says(
            "(530, \"NOT_ALLOWED - access to vhost '/' refused for user 'app': connection limit (3) is reached\")"
        )));
    }

    /// A limit on connections: taskdiag's own are refused as well.
    #[test]
    fn the_log_and_the_list_of_consumers_show_it_without_a_connection() {
        const LIMIT: &str = "Consumer encountered a connection error: (530, \"NOT_ALLOWED - access to vhost '/' refused for user 'app': connection limit (3) is reached\")";
        let seen = |consumers: &[(&str, &str, u64)]| {
            Scene::new()
                .totals("default", 0, 0, json!({}))
                .submitted()
                .row("PENDING")
                .critical("dramatiq.worker.ConsumerThread(default)", LIMIT)
                .totals("default", 1, 0, json!({}))
                .consumers(consumers)
                .silence()
                .without(Source::Queue)
                .without(Source::Firehose)
        };
        assert_eq!(seen(&[]).cause(), "likely worker-cannot-connect");
        assert_eq!(
            seen(&[("default", crate::diagnosis::testing::WORKER, 2)]).answer(&CAUSE),
            "ruled out"
        );
    }

    #[test]
    fn an_error_from_before_may_be_a_dead_workers() {
        let scene = nobody()
            .from_before(300)
            .critical("dramatiq.worker.ConsumerThread(default)", REFUSED)
            .silence();
        assert_eq!(scene.cause(), "likely worker-cannot-connect");
    }

    #[test]
    fn another_queues_consumer_and_another_code_are_near_misses() {
        let other = nobody()
            .critical("dramatiq.worker.ConsumerThread(emails)", REFUSED)
            .silence();
        assert_eq!(other.answer(&CAUSE), "not applicable");
        let conflict = nobody()
            .critical(
                "dramatiq.worker.ConsumerThread(default)",
                "Consumer encountered a connection error: (406, \"PRECONDITION_FAILED - inequivalent arg\")",
            )
            .silence();
        assert_eq!(conflict.answer(&CAUSE), "not applicable");
    }

    /// A limit of the vhost keeps taskdiag out as well: only the management API and the log say anything.
    #[test]
    fn where_nothing_shows_what_was_sent_it_is_named_all_the_same() {
        let logger = "dramatiq.worker.ConsumerThread(default)";
        let scene = |told: &str| {
            Scene::accepted()
                .row("PENDING")
                .blind(Source::Firehose)
                .blind(Source::Queue)
                .consumers(&[])
                .critical(logger, told)
                .silence()
        };
        let refused =
            scene("Consumer encountered a connection error: NOT_ALLOWED - connection limit (2) is reached");
        assert_eq!(refused.cause(), "likely worker-cannot-connect");
        assert_eq!(scene("Something else.").answer(&CAUSE), "not applicable");
    }

    /// Listeners that are suspended, a broker that is down.
    #[test]
    fn nobody_gets_in() {
        let scene = |reason: &str, error: &str| {
            Scene::accepted()
                .row("PENDING")
                .blind(Source::Firehose)
                .blind(Source::Management)
                .critical("dramatiq.worker.ConsumerThread(default)", error)
                .see(
                    Source::Queue,
                    EventKind::Blind {
                        reason: reason.into(),
                        hint: None,
                    },
                )
                .silence()
        };
        let ours = "AMQP connection to 127.0.0.1:5672 failed: IO error: Connection refused (os error 111)";
        assert_eq!(scene(ours, REFUSED).cause(), "likely worker-cannot-connect");
        assert_eq!(
            scene("no answer within 5 s", REFUSED).answer(&CAUSE),
            "cannot tell"
        );
        assert_ne!(scene(ours, "Something else.").answer(&CAUSE), "likely");
    }

    #[test]
    fn one_that_has_ended_since_does_not_try() {
        let logger = "dramatiq.worker.ConsumerThread(default)";
        let tries = || nobody().worker_process(&[]).critical(logger, REFUSED);
        assert_eq!(tries().silence().answer(&CAUSE), "certain");
        assert_eq!(tries().gone(101).silence().answer(&CAUSE), "likely");
        // From a moment before the run, and no such process is seen.
        let before = || nobody().from_before(5).critical(logger, REFUSED).from_now_on();
        assert_eq!(before().silence().answer(&CAUSE), "likely");
        assert_eq!(before().worker_process(&[]).silence().answer(&CAUSE), "certain");
    }

    /// Celery names no queue in such a line: by its banner this worker consumes none of ours.
    #[test]
    fn a_worker_of_other_queues_that_cannot_connect() {
        let scene = |queue: &str| {
            let error =
                "consumer: Cannot connect to amqp://shop:**@10.9.9.9:5672//: [Errno 111] Connection refused.";
            let banner = format!("                .> {queue}           exchange={queue}(direct) key={queue}");
            Scene::new()
                .setup(|setup| {
                    setup.framework = "celery".into();
                    setup.queue = "celery".into();
                })
                .depth("celery", 0, 0)
                .plain(None, &banner)
                .submitted()
                .row("PENDING")
                .publish("celery")
                .plain(Some(crate::timeline::Level::Error), error)
                .depth("celery", 1, 0)
                .silence()
                .answer(&CAUSE)
        };
        assert_eq!(scene("invoices"), "not applicable");
        assert_eq!(scene("celery"), "certain");
    }

    /// Celery's lines have no pid, and a worker with that log is connected, be it to another vhost.
    #[test]
    fn one_that_is_connected_is_not_who_cannot() {
        let scene = |sockets: &'static [&'static str]| {
            let error =
                "consumer: Cannot connect to amqp://shop:**@10.9.9.9:5672//: [Errno 111] Connection refused.";
            Scene::new()
                .setup(|setup| {
                    setup.framework = "celery".into();
                    setup.queue = "celery".into();
                })
                .depth("celery", 0, 0)
                .submitted()
                .row("PENDING")
                .publish("celery")
                .plain(Some(crate::timeline::Level::Error), error)
                .process(100, 1, "python celery -A shop worker", |process| {
                    process.sockets = sockets.iter().map(|socket| (*socket).to_owned()).collect();
                    process.is_configured = true;
                })
                .depth("celery", 1, 0)
                .silence()
                .answer(&CAUSE)
        };
        assert_eq!(scene(&[]), "certain");
        assert_eq!(scene(&["127.0.0.1:40001 -> 127.0.0.1:5672"]), "likely");
    }
}
