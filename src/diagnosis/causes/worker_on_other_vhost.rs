//! The worker talks to another vhost or another broker.

use crate::diagnosis::evidence::{Fact, WorkerLine, broker, connections, containers, workers};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Certainty, Owner, Scenario, Stage, Story};
use crate::framework::{DefaultBroker, LogEvent};
use crate::timeline::{Connection, Process, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "worker-on-other-vhost",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::Deployment],
    explains: &["no-consumer"],
    scenario: Some(Scenario::C),
    needs: &[
        &[Source::Queue],
        &[Source::Process, Source::WorkerLog, Source::Containers],
    ],
    page: include_str!("worker_on_other_vhost.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if let Some(answer) = broker::has_consumer(story) {
        return answer;
    }
    if !story.closed() {
        return Answer::NotApplicable;
    }
    let vhost = &story.timeline.setup.vhost;
    // What else its process is connected to is not what consumes.
    if let Some(named) = tries_this_one(story) {
        return Answer::ruled_out("the broker refuses it something in this very vhost", [named]);
    }
    // Another service that writes to the same log is rightly elsewhere, and one that is about to connect here is not.
    let of_others = story.pids_of_other_queues();
    let mut workers = workers::live_workers(story);
    workers.retain(|process| {
        !of_others.contains(&process.pid)
            && !story.runs_for_another_service(process.pid)
            && !connections::is_connecting_to_ours(story, process)
    });
    let refused = |told: &WorkerLine<'_>| {
        matches!(told.mark, Some(LogEvent::ConnectionError { .. })) && !told.line.before
    };
    let is_refused = story.worker_lines().iter().any(refused);
    if let Some(connections) = story.connections() {
        for process in &workers {
            let mine: Vec<_> = connections
                .iter()
                .filter(|connection| connections::is_socket_of(process, &connection.name))
                .collect();
            if let Some(other) = mine.iter().find(|connection| connection.vhost != *vhost)
                && mine.iter().all(|connection| connection.vhost != *vhost)
            {
                let remote = other.name.split(" -> ").nth(1).unwrap_or_default();
                let default = default_broker(story, remote);
                let default = default.filter(|default| other.user == default.user);
                let text = format!(
                    "the worker (pid {}) is connected to vhost \"{}\", not to \"{vhost}\"{}",
                    process.pid,
                    other.vhost,
                    words(story, default)
                );
                let evidence = [process.n, connections.n];
                // Its consumer's own is missing: this one is for something else, as metrics are.
                let is_refused =
                    |told: &WorkerLine<'_>| matches!(told.mark, Some(LogEvent::ConnectionError { .. }));
                if story.worker_lines().iter().any(is_refused) {
                    return Answer::NotApplicable;
                }
                return match story.sees(Source::WorkerLog) {
                    true => Answer::shown(text, evidence)
                        .given(by_its_pid(process))
                        .given([Premise::WriterIsTheWorker(process.n)])
                        .lasting_if(workers::is_the_one_we_started(story)),
                    false => Answer::likely(text, evidence).would_decide(&[Source::WorkerLog]),
                };
            }
        }
    }
    if let Some(answer) = by_its_log(story).or_else(|| by_its_address(story)) {
        return answer;
    }
    if !story.sees(Source::Process) {
        return Answer::cannot_tell(&[Source::Process]);
    }
    let remotes = workers.iter().flat_map(|process| &process.sockets);
    let mut remotes = remotes.filter_map(|socket| socket.split(" -> ").nth(1));
    let default = remotes.find_map(|remote| default_broker(story, remote));
    let answer = connections::other_broker(story, &workers, "the worker")
        // Its consumer's own connection may be the one that is missing.
        .at_most(match is_refused {
            true => Certainty::Likely,
            false => Certainty::Certain,
        })
        .followed_by(&words(story, default));
    let process = match &answer {
        Answer::Matched(matched) => matched.evidence.first().copied(),
        _ => None,
    };
    let its = process.map(Premise::WriterIsTheWorker);
    answer.given(its.into_iter().chain([Premise::SamePidSpace]))
}

/// What was found by the log that it has open was not found by a pid that the log names.
fn by_its_pid(process: &Process) -> Option<Premise> {
    (!process.holds_log).then_some(Premise::SamePidSpace)
}

/// A refusal in its log names our vhost, in RabbitMQ's words: `… in vhost 'shop' refused`.
fn tries_this_one(story: &Story<'_>) -> Option<u32> {
    let named = format!("vhost '{}'", story.timeline.setup.vhost);
    let since = story.worker_lines().iter().rev();
    let mut lines = since.take_while(|told| !matches!(told.mark, Some(LogEvent::BootingUp)));
    let names_it = |told: &&WorkerLine<'_>| {
        let traceback = told.line.traceback.as_deref().unwrap_or_default();
        told.line.text.contains(&named) || traceback.contains(&named)
    };
    lines.find(names_it).map(|told| told.n)
}

/// The worker itself says where it is connected, and has said nothing else since.
fn by_its_log(story: &Story<'_>) -> Option<Answer> {
    let wanted = &story.timeline.setup.vhost;
    let said = story.worker_lines().iter().filter_map(|told| match told.mark {
        Some(LogEvent::Connected { url }) => {
            Some((Fact::new(told.n, told.at_ms, url.as_str()), vhost_of(url)?))
        }
        _ => None,
    });
    let said: Vec<(Fact<&str>, String)> = said.collect();
    // Several workers may share the log.
    if said.iter().any(|(_, vhost)| vhost == wanted) {
        return None;
    }
    let (url, vhost) = said.last()?;
    let text =
        format!("the worker's log says that it is connected to {url}: vhost \"{vhost}\", not \"{wanted}\"");
    let depth = story.depths_since(story.queue()).last().map(|depth| depth.n);
    let evidence = std::iter::once(url.n).chain(depth).collect();
    Some(workers::alive_or_likely(story, text, evidence))
}

/// `amqp://USER:***@HOST:PORT/VHOST`; that of the vhost `/` ends in `//`.
fn vhost_of(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let (_, path) = rest.split_once('/')?;
    let path = path.split('?').next().unwrap_or_default();
    Some(path.replace("%2F", "/").replace("%2f", "/"))
}

/// Every connection that the broker lists from the worker's container is in another vhost.
fn by_its_address(story: &Story<'_>) -> Option<Answer> {
    let wanted = &story.timeline.setup.vhost;
    let listed = story.connections()?;
    let mut own = story.worker_containers().into_iter();
    own.find_map(|container| {
        let is_its = |connection: &&Connection| {
            let at = story.container_at(&connection.name);
            at.is_some_and(|at| at.id == container.id)
        };
        let mine: Vec<&Connection> = listed.iter().filter(is_its).collect();
        let other = mine.first()?;
        let text = format!(
            "{} is connected to vhost \"{}\", not to \"{wanted}\"",
            containers::words(&container),
            other.vhost
        );
        // Another program in it may be what is connected.
        (mine.iter().all(|connection| connection.vhost != *wanted) && containers::runs_a_worker(&container))
            .then(|| Answer::likely(text, [container.n, listed.n]).would_decide(&[Source::Process]))
    })
}

/// This is where the framework connects when it is told of no broker, and the configured one is another.
fn default_broker(story: &Story<'_>, remote: &str) -> Option<&'static DefaultBroker> {
    let default = story.framework().worker.default_broker?;
    let setup = &story.timeline.setup;
    let is_configured = default.is_at(&setup.broker) && setup.vhost == default.vhost;
    (default.is_at(remote) && !is_configured).then_some(default)
}

fn words(story: &Story<'_>, default: Option<&DefaultBroker>) -> String {
    default.map_or_else(String::new, |default| default.words(story.framework().title))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{API, OTHER, Scene, WORKER};

    fn nobody() -> Scene {
        Scene::new()
            .depth("default", 0, 0)
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 1, 0)
    }

    fn elsewhere() -> Scene {
        nobody()
            .info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.")
            .worker_process(&[WORKER])
            .connections(&[(WORKER, "staging", "running")])
    }

    /// Celery's log names no pid: who writes it is known by the file that it has open.
    #[test]
    fn a_process_that_has_the_log_open_is_likely_without_a_pid_in_it() {
        let holds = |holds_log: bool| {
            let scene = nobody().setup(|setup| setup.framework = "celery".into());
            let scene = scene.plain(Some(crate::timeline::Level::Info), "celery@vm ready.");
            let scene = scene.process(101, 1, "python celery -A shop worker", |process| {
                process.holds_log = holds_log;
                process.sockets = vec![WORKER.into()];
            });
            scene.connections(&[(WORKER, "staging", "running")]).silence()
        };
        assert_eq!(holds(true).cause(), "likely worker-on-other-vhost");
        assert_ne!(holds(false).cause(), "likely worker-on-other-vhost");
    }

    #[test]
    fn its_connections_are_in_another_vhost() {
        assert_eq!(elsewhere().silence().cause(), "likely worker-on-other-vhost");
        let adds = "Adding consumer for queue 'default'.";
        let knows = elsewhere().debug("dramatiq.worker._WorkerMiddleware", adds);
        assert_eq!(knows.silence().cause(), "certain worker-on-other-vhost");
        assert_eq!(elsewhere().answer(&CAUSE), "not applicable");
    }

    /// Metrics go there, say, and what consumes is let in nowhere.
    #[test]
    fn a_connection_for_something_else_is_a_near_miss() {
        let refused = elsewhere().critical(
            "dramatiq.worker.ConsumerThread(default)",
            "Consumer encountered a connection error: (403, 'ACCESS_REFUSED')",
        );
        assert_eq!(refused.silence().answer(&CAUSE), "not applicable");
        let unheard = elsewhere().silence().without(Source::WorkerLog);
        assert_ne!(unheard.answer(&CAUSE), "certain");
    }

    #[test]
    fn one_here_as_well_is_a_near_miss() {
        let scene = nobody()
            .info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.")
            .worker_process(&[WORKER, OTHER])
            .connections(&[(WORKER, "staging", "running"), (OTHER, "/", "running")])
            .silence();
        assert_ne!(scene.answer(&CAUSE), "certain");
    }

    /// A worker whose log names no pid, as Celery's.
    #[test]
    fn its_own_log_says_where_it_is_connected() {
        let says = |lines: &[&str]| {
            let scene = nobody().setup(|setup| setup.framework = "celery".into());
            let line = |scene: Scene, url: &&str| {
                scene.plain(Some(crate::timeline::Level::Info), &format!("Connected to {url}"))
            };
            lines.iter().fold(scene, line).depth("default", 1, 0).silence()
        };
        let other = says(&["amqp://shop:**@mq:5672/staging"]);
        assert_eq!(other.cause(), "likely worker-on-other-vhost");
        assert_eq!(other.without(Source::WorkerLog).answer(&CAUSE), "not applicable");
        // `/` is written as nothing behind a slash.
        let same = "amqp://shop:**@mq:5672//";
        assert_eq!(says(&[same]).answer(&CAUSE), "not applicable");
        assert_eq!(
            says(&[same, "amqp://shop:**@mq:5672/staging"]).answer(&CAUSE),
            "not applicable"
        );
    }

    /// Whoever may ask the engine and the broker needs no rights over the process.
    #[test]
    fn the_address_of_its_container_says_where_it_is_connected() {
        let container = |command: &str, vhost: &str| {
            let change = |container: &mut crate::timeline::Container| {
                container.addresses = vec!["172.18.0.7".into()];
                container.command = command.split(' ').map(str::to_owned).collect();
            };
            nobody()
                .worker_container("a1", "running", change)
                .connections(&[("172.18.0.7:40001 -> 172.18.0.3:5672", vhost, "running")])
                .silence()
        };
        let answer = |scene: Scene| scene.answer(&CAUSE);
        assert_eq!(answer(container("/entry.sh dramatiq app", "staging")), "likely");
        assert_eq!(answer(container("/entry.sh dramatiq app", "/")), "not applicable");
        assert_eq!(answer(container("sleep infinity", "staging")), "not applicable");
    }

    #[test]
    fn without_processes_it_cannot_be_told() {
        assert_eq!(
            elsewhere().silence().without(Source::Process).answer(&CAUSE),
            "cannot tell"
        );
    }

    /// Its own connection is about to be made, or is refused; the other one is for something else.
    #[test]
    fn one_that_is_about_to_connect_here_is_a_near_miss() {
        let adds = "Adding consumer for queue 'default'.";
        let connects = "127.0.0.1:40999 -> 127.0.0.1:5672 (connecting)";
        let knows = |sockets: &[&str]| {
            nobody()
                .debug("dramatiq.worker._WorkerMiddleware", adds)
                .worker_process(sockets)
        };
        let staging = |scene: Scene| scene.connections(&[(WORKER, "staging", "running")]).silence();
        assert_eq!(staging(knows(&[WORKER])).answer(&CAUSE), "certain");
        assert_eq!(
            staging(knows(&[WORKER, connects])).answer(&CAUSE),
            "not applicable"
        );
        let second = "127.0.0.1:40998 -> 10.0.0.5:5671";
        let elsewhere = |sockets: &[&str]| knows(sockets).peer(API, 50).connections(&[(API, "/", "running")]);
        assert_eq!(elsewhere(&[second]).silence().answer(&CAUSE), "certain");
        assert_eq!(
            elsewhere(&[second, connects]).silence().answer(&CAUSE),
            "not applicable"
        );
        let refused = elsewhere(&[second]).critical(
            "dramatiq.worker.ConsumerThread(default)",
            "Consumer encountered a connection error: (403, 'ACCESS_REFUSED')",
        );
        assert_eq!(refused.silence().answer(&CAUSE), "likely");
    }

    /// Two services write to one log, and ours is dead.
    #[test]
    fn another_service_that_is_rightly_elsewhere_is_a_near_miss() {
        let adds = |scene: Scene, pid: i32, queue: &str| {
            scene.line(&format!("[PID {pid}] [MainThread] [dramatiq.worker._WorkerMiddleware] [DEBUG] Adding consumer for queue '{queue}'."))
        };
        let scene = adds(adds(elsewhere(), 201, "default"), 101, "mail");
        assert_eq!(scene.silence().answer(&CAUSE), "not applicable");
        let scene = adds(adds(elsewhere(), 201, "mail"), 101, "default");
        assert_eq!(scene.silence().answer(&CAUSE), "certain");
    }
}
