//! The configured log is not that of the worker that consumes.

use crate::diagnosis::evidence::{Fact, connections, containers, workers};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Story};
use crate::timeline::{Container, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "wrong-worker-log",
    keeps_from: &[],
    owner: &[Owner::Diagnosis],
    explains: &["worker-log-silent"],
    needs: &[&[Source::WorkerLog], &[Source::Process, Source::Containers]],
    page: include_str!("wrong_worker_log.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if let Some(answer) = by_container(story) {
        return answer;
    }
    if !story.sees(Source::Process) {
        return Answer::cannot_tell(&[Source::Process]);
    }
    let logged = story.log_pids();
    if logged.is_empty() {
        return Answer::NotApplicable;
    }
    if let Some(refused) = connections::refused_for_an_exclusive(story) {
        return Answer::ruled_out("its worker is refused as a consumer, and says so", [refused.n]);
    }
    let text = |pids: &[i32]| pids.iter().map(i32::to_string).collect::<Vec<_>>().join(", ");
    let in_log: Vec<i32> = logged.into_iter().collect();
    // Who holds the connection may be a relay before the very worker whose log it is: only a worker has a log of
    // its own.
    let is_shown = |pid: i32| {
        let process = story.process_in_life(pid);
        process.is_some_and(|process| workers::is_shown_a_worker(story, &process))
    };
    let is_another_worker = |pid: i32| story.is_watched(pid) == Some(false) && is_shown(pid);
    // The list of consumers is late, the delivery is not; but others may consume as well.
    let delivered = story
        .deliveries()
        .last()
        .and_then(|passage| Some((passage, story.peer(passage.connection)?.value)))
        .filter(|(_, pid)| is_another_worker(*pid));
    let by_delivery = match delivered {
        Some((passage, pid)) if workers::live_workers(story).is_empty() => Answer::likely(
            format!(
                "the log's lines are of pid {}, the message went to pid {pid}",
                text(&in_log)
            ),
            [passage.n],
        ),
        _ => Answer::NotApplicable,
    };
    // A log that ended long ago while the message went to a process that is not in it.
    let ended = story.worker_lines().iter().all(|told| told.line.before)
        && story
            .worker_lines()
            .last()
            .is_some_and(|told| told.line.age_s.is_some_and(|age| age > 600));
    let elsewhere = story
        .deliveries()
        .last()
        .and_then(|passage| Some((passage, story.peer(passage.connection)?.value)))
        .filter(|(_, pid)| !in_log.contains(pid) && is_shown(*pid));
    if let (true, Some((passage, pid))) = (ended, elsewhere) {
        return Answer::likely(
            format!(
                "nothing was written to the log for more than ten minutes; its lines are of pid {}, the message went to pid {pid}",
                text(&in_log)
            ),
            [passage.n],
        );
    }
    let Some(consumers) = story.consumers() else {
        return by_delivery;
    };
    let mut pids = Vec::new();
    let mut peers = Vec::new();
    let ours = consumers
        .value
        .iter()
        .filter(|consumer| consumer.queue == story.queue());
    for consumer in ours.clone() {
        match story.peer(&consumer.connection) {
            Some(peer) => {
                pids.push(peer.value);
                peers.push(peer.n);
            }
            None => return by_delivery,
        }
    }
    // A list that is late may lack the watched worker's consumer.
    let whole = story
        .depths(story.queue())
        .last()
        .is_some_and(|depth| depth.consumers == pids.len() as u64);
    if pids.is_empty() || !whole {
        return by_delivery;
    }
    if !pids.iter().all(|pid| is_another_worker(*pid)) {
        return Answer::NotApplicable;
    }
    Answer::shown(
        format!(
            "the log's lines are of pid {}, the queue's consumers are pid {}",
            text(&in_log),
            text(&pids)
        ),
        [vec![consumers.n], peers].concat(),
    )
    .given(pids.iter().map(|pid| Premise::NotAReplica(*pid)))
    .given(ours.map(|consumer| Premise::PeerIsProcess(consumer.connection.clone())))
    .given([Premise::SamePidSpace])
}

/// The log is another container's than the worker's that was handed the message, or that consumes the queue: the
/// engine knows whose addresses these are.
pub(super) fn by_container(story: &Story<'_>) -> Option<Answer> {
    let logged = story.worker_containers();
    let first = logged.first()?;
    let consumers = story.consumers();
    let listed = consumers.iter().flat_map(|consumers| {
        let of_the_queue = consumers.value.iter().filter(|one| one.queue == story.queue());
        of_the_queue.map(|consumer| (consumers.n, consumer.connection.as_str()))
    });
    let delivered = story.deliveries().map(|passage| (passage.n, passage.connection));
    let mut evidence = vec![first.n];
    let mut takers: Vec<Fact<&Container>> = Vec::new();
    for (n, connection) in listed.chain(delivered) {
        let taker = story.container_at(connection)?;
        // What only passes messages on has no log of a worker's.
        let is_logged = logged.iter().any(|container| container.id == taker.id);
        if is_logged || !containers::runs_a_worker(&taker) {
            return None;
        }
        evidence.push(n);
        if !takers.iter().any(|other| other.id == taker.id) {
            takers.push(taker);
        }
    }
    evidence.extend(takers.iter().map(|taker| taker.n));
    evidence.sort_unstable();
    evidence.dedup();
    let names: Vec<&str> = takers.iter().map(|taker| taker.name.as_str()).collect();
    let text = format!(
        "the log is that of container {}, and `{}` is consumed by container {}",
        first.name,
        story.queue(),
        names.join(", ")
    );
    (!takers.is_empty()).then(|| Answer::shown(text, evidence))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{OTHER, Scene};

    /// The log is that of a worker that has ended; another one consumes.
    fn ended() -> Scene {
        Scene::new()
            .from_before(60)
            .info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.")
            .info("dramatiq.worker.Worker", "Worker has been shut down.")
            .depth("default", 0, 1)
            .other_worker()
    }

    /// The engine knows whose addresses these are: the log's command names another container.
    #[test]
    fn the_log_of_another_container() {
        let at = |address: &str, command: &str| {
            let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
            let taker = "172.18.0.5:40100 -> 172.18.0.3:5672";
            Scene::accepted()
                .worker_container("c1", "running", |container| {
                    container.name = "shop-mailer-1".into();
                    container.addresses = vec!["172.18.0.7".into()];
                })
                .worker_container("c2", "running", |container| {
                    container.name = "shop-press-1".into();
                    container.service = Some("press".into());
                    container.roles.clear();
                    container.command = words;
                    container.addresses = vec![address.into()];
                })
                .row("PENDING")
                .publish("default")
                .deliver(taker)
                .consumers(&[("default", taker, 4)])
                .row("COMPLETED")
                .silence()
        };
        let wrong = at("172.18.0.5", "dramatiq app");
        assert_eq!(wrong.answer(&CAUSE), "certain");
        let silent = super::super::worker_log_silent::CAUSE;
        assert_eq!(wrong.answer(&silent), "not applicable");
        // A relay in a container, or whose address it is unknown.
        assert_eq!(
            at("172.18.0.5", "socat TCP-LISTEN:5672 TCP:mq:5672").answer(&CAUSE),
            "not applicable"
        );
        assert_eq!(at("172.18.0.9", "dramatiq app").answer(&CAUSE), "not applicable");
    }

    /// The consumer's connection ends at a proxy.
    #[test]
    fn a_proxy_before_the_worker_is_a_near_miss() {
        let scene = Scene::new()
            .worker_booted()
            .worker_process(&["127.0.0.1:50000 -> 127.0.0.1:9999"])
            .depth("default", 0, 1)
            .submitted()
            .row("PENDING")
            .publish("default")
            .process(700, 1, "python proxy.py 9999 5672", |_| {})
            .deliver(OTHER)
            .peer(OTHER, 700)
            .consumers(&[("default", OTHER, 4)])
            .depth("default", 0, 1)
            .silence();
        assert_ne!(scene.answer(&CAUSE), "certain");
    }

    #[test]
    fn the_consumers_are_others() {
        // The ended worker's pids may be those of a container, whose worker pid 900 is.
        assert_eq!(
            ended().consumers(&[("default", OTHER, 16)]).answer(&CAUSE),
            "possible"
        );
    }

    #[test]
    fn a_late_list_may_lack_the_watched_worker() {
        let scene = Scene::new()
            .worker_booted()
            .depth("default", 0, 2)
            .other_worker()
            .consumers(&[("default", OTHER, 16)]);
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn a_containers_pids_are_a_near_miss() {
        let scene = Scene::new()
            .line(
                "[PID 7] [MainThread] [dramatiq.WorkerProcess(0)] [INFO] Worker process is ready for action.",
            )
            .depth("default", 0, 1)
            .other_worker()
            .consumers(&[("default", OTHER, 16)]);
        assert_eq!(scene.answer(&CAUSE), "not applicable");
        assert_eq!(ended().without(Source::Process).answer(&CAUSE), "cannot tell");
    }

    /// A relay of any name: the worker's connections end at it, and it holds those to the broker.
    fn behind(relay: &str) -> Scene {
        const UP: &str = "127.0.0.1:50000 -> 127.0.0.1:9999";
        Scene::new()
            .worker_booted()
            .worker_process(&[UP])
            .depth("default", 0, 1)
            .submitted()
            .row("PENDING")
            .publish("default")
            .process(700, 1, relay, |process| {
                process.sockets = vec![OTHER.into(), "127.0.0.1:9999 -> 127.0.0.1:50000".into()];
                process.sockets_seen = true;
            })
            .deliver(OTHER)
            .peer(OTHER, 700)
            .consumers(&[("default", OTHER, 4), ("default.DQ", OTHER, 1000)])
            .depth("default", 0, 1)
    }

    #[test]
    fn any_program_may_be_a_relay() {
        for relay in ["linkerd2-proxy", "python -c import socket", "socat"] {
            let scene = behind(relay).silence();
            assert_eq!(scene.answer(&CAUSE), "not applicable", "{relay}");
            let story = Story::new(&scene.timeline);
            assert_eq!(story.is_watched(700), None, "{relay}");
        }
        // What is known as a worker by itself is none, be its delay queue's consumer on the same connection or not.
        assert_eq!(
            behind("python dramatiq other").silence().answer(&CAUSE),
            "certain"
        );
    }
}
