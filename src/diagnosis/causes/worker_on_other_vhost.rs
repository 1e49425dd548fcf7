//! The worker talks to another vhost or another broker.

use crate::diagnosis::evidence::{broker, connections, workers};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::DefaultBroker;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "worker-on-other-vhost",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::Deployment],
    explains: &["no-consumer"],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Queue], &[Source::Process]],
    general: false,
    fails_attempt: false,
    applies_to: &[],
    page: include_str!("worker_on_other_vhost.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    if let Some(answer) = broker::has_consumer(story) {
        return answer;
    }
    if !story.closed() {
        return Answer::NotApplicable;
    }
    let vhost = &story.timeline.setup.vhost;
    let workers = workers::live_workers(story);
    if let Some(connections) = story.connections() {
        for (n, process) in &workers {
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
                return Answer::shown(
                    format!(
                        "the worker (pid {}) is connected to vhost \"{}\", not to \"{vhost}\"{}",
                        process.pid,
                        other.vhost,
                        words(story, default)
                    ),
                    [*n, connections.n],
                )
                .given([Premise::SamePidSpace])
                .lasting_if(workers::is_the_one_we_started(story));
            }
        }
    }
    let remotes = workers.iter().flat_map(|(_, process)| &process.sockets);
    let mut remotes = remotes.filter_map(|socket| socket.split(" -> ").nth(1));
    let default = remotes.find_map(|remote| default_broker(story, remote));
    connections::other_broker(story, &workers, "the worker")
        .followed_by(&words(story, default))
        .given([Premise::SamePidSpace])
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
    use crate::diagnosis::testing::{OTHER, Scene, WORKER};

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

    #[test]
    fn its_connections_are_in_another_vhost() {
        assert_eq!(elsewhere().silence().cause(), "certain worker-on-other-vhost");
        assert_eq!(elsewhere().answer(&CAUSE), "not applicable");
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

    #[test]
    fn without_processes_it_cannot_be_told() {
        assert_eq!(
            elsewhere().silence().without(Source::Process).answer(&CAUSE),
            "cannot tell"
        );
    }
}
