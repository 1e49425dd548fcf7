//! Something that is not a worker took the message.

use crate::diagnosis::evidence::{Fact, Transfer, WorkerLine, holding, moved, relays, workers};
use crate::diagnosis::premises::{Premise, State};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::text;
use crate::timeline::{Process, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "taken-by-other-client",
    keeps_from: &[Stage::Received],
    owner: &[Owner::Deployment],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Firehose]],
    page: include_str!("taken_by_other_client.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let moved = moved::moved(story);
    let handed = moved.map(|moved| moved.delivery);
    let Some(passage) = handed.or_else(|| story.deliveries().last().copied()) else {
        return Answer::NotApplicable;
    };
    let answer = taken(story, &passage).case("a client holds it", !is_of_no_client(&passage));
    match moved {
        Some(moved) => answer.followed_by(&format!(", and sent on to `{}`", moved.copy.queue)),
        None => answer,
    }
}

/// Two sources with different delays.
const LINES_MS: f64 = 500.0;

/// The process that was handed the message last, where it is known and shows nothing of a worker.
pub(super) fn stranger<'a>(story: &Story<'a>) -> Option<Fact<&'a Process>> {
    let passage = story.deliveries().last()?;
    let is_behind = Premise::PeerIsProcess(passage.connection.to_owned());
    let process = story.process_in_life(story.peer(passage.connection)?.value)?;
    let is_known = !process.command.is_empty() && !matches!(story.state(&is_behind), State::Refuted(_));
    let is_worker = workers::is_worker(&process) || workers::acts_as_worker(story, &process);
    (is_known && !is_worker && story.is_watched(process.pid) != Some(true)).then_some(process)
}

/// The management API gets messages through no client connection: an Erlang pid stands there.
pub(super) fn is_of_no_client(passage: &Transfer<'_>) -> bool {
    passage.connection.starts_with('<')
}

fn taken(story: &Story<'_>, passage: &Transfer<'_>) -> Answer {
    // Whatever is at our end of the connection, a worker had it in hand: that may be a proxy before it.
    let is_of_it = |told: &&WorkerLine<'_>| {
        let ours = told.message_id().is_some_and(|id| story.is_my_message(id));
        ours && told.mark.is_some() && told.at_ms + LINES_MS >= passage.at_ms
    };
    if let Some(told) = story.lines().iter().find(is_of_it) {
        return Answer::ruled_out("the worker's log tells of the message", [told.n]);
    }
    let peer = story.peer(passage.connection);

    if is_of_no_client(passage) {
        let text = format!(
            "taken through no client's connection ({}): by somebody's hand in the management API, or by the broker itself, as a shovel does",
            passage.connection
        );
        // Most who look that way put the message back.
        let back = story
            .depths(story.queue())
            .rfind(|depth| depth.at_ms > passage.at_ms)
            .is_none_or(|depth| depth.ready > 0);
        let answer = match (story.closed(), back) {
            (false, _) => return Answer::NotApplicable,
            (true, false) => Answer::shown(text, [passage.n]),
            (true, true) => Answer::possible(
                format!("{text}, and by all appearances put back: messages are ready"),
                [passage.n],
            ),
        };
        return answer;
    }
    if let Some(process) = peer.and_then(|peer| story.process_in_life(peer.value)) {
        if process.command.is_empty() {
            return Answer::NotApplicable;
        }
        if workers::is_worker(&process) || workers::acts_as_worker(story, &process) {
            return Answer::ruled_out("it is a worker", [process.n]);
        }
        if story.is_watched(process.pid) == Some(true) {
            return Answer::ruled_out("it is the watched worker", [process.n]);
        }
        if relays::passes_on(story, &process) {
            return Answer::ruled_out("it passes a worker's connection on", [process.n]);
        }
        // A child that was spawned, not forked, does not show whose it is once its master is gone.
        if !story.closed()
            || process
                .command
                .iter()
                .any(|word| word.contains("multiprocessing"))
        {
            return Answer::NotApplicable;
        }
        // A Python script may run a worker of its own; only its stacks would show it.
        let stacks = story.stacks().dumps().any(|dump| dump.pid == process.pid);
        if !stacks && process.command.iter().any(|word| word.contains("python")) {
            return Answer::possible(
                format!(
                    "delivered to pid {} (`{}`)",
                    process.pid,
                    text::excerpt(&process.command.join(" "))
                ),
                [passage.n, process.n],
            );
        }
        return Answer::likely(
            format!(
                "delivered to pid {} (`{}`), which is not a worker",
                process.pid,
                text::excerpt(&process.command.join(" "))
            ),
            [passage.n, process.n],
        );
    }
    match story.listed(passage.connection) {
        Some(connection) if !workers::is_worker_product(&connection.product) => Answer::likely(
            format!(
                "delivered to {}, a {} client, which is not a worker",
                connection.name,
                if connection.product.is_empty() {
                    "nameless"
                } else {
                    &connection.product
                }
            ),
            [passage.n, connection.n],
        ),
        _ if let Some([_, look]) = holding::was_got(story, passage) => {
            let text = format!(
                "delivered to {} while nobody consumed `{}`: a program got it from there, as a script does, and no worker",
                passage.connection, passage.queue
            );
            Answer::likely(text, [passage.n, look])
        }
        _ => Answer::NotApplicable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{OTHER, Scene};

    /// It has ended, and nobody has waited for it: what it was is known from before.
    #[test]
    fn a_worker_that_is_a_zombie_by_now_is_a_near_miss() {
        let ended = |before: &str| {
            let scene = Scene::sent_to_another().peer(OTHER, 900);
            let scene = match before {
                "" => scene,
                command => scene.process(900, 1, command, |_| {}),
            };
            scene.process(900, 1, "", |process| process.state = 'Z').silence()
        };
        assert_eq!(ended("python -m dramatiq other").answer(&CAUSE), "ruled out");
        assert_eq!(ended("").answer(&CAUSE), "not applicable");
        assert_eq!(ended("./debug-consumer").answer(&CAUSE), "likely");
    }

    #[test]
    fn a_script_has_it() {
        let by = |command: &str| {
            Scene::sent_to_another()
                .process(900, 1, command, |_| {})
                .peer(OTHER, 900)
                .silence()
        };
        assert_eq!(by("./debug-consumer").cause(), "likely taken-by-other-client");
        // A Python script may be a worker of its own: without its stacks it is not more than possible.
        assert_eq!(
            by("python debug_consumer.py").cause(),
            "possible taken-by-other-client"
        );
    }

    /// It stands before the worker, whose log has the message.
    #[test]
    fn a_proxy_that_nothing_tells_from_a_client() {
        let scene = Scene::sent_to_another()
            .process(900, 1, "./relay", |_| {})
            .peer(OTHER, 900)
            .debug(
                "dramatiq.worker.WorkerThread",
                "Received message act('task_1') with id 'm-1'.",
            )
            .silence();
        assert_eq!(scene.answer(&CAUSE), "ruled out");
    }

    #[test]
    fn fetched_by_hand_and_kept_or_put_back() {
        let fetched = Scene::published().deliver("<rabbit@host.1.2.3>");
        let kept = fetched.clone().depth("default", 0, 0).silence();
        assert_eq!(kept.cause(), "certain taken-by-other-client");
        let remedies = kept.verdict().cause.expect("a cause").remedies;
        assert!(remedies[0].starts_with("If it acknowledged"), "{remedies:?}");
        let back = fetched.depth("default", 1, 0).silence();
        assert_eq!(back.answer(&CAUSE), "possible");
    }

    #[test]
    fn a_worker_is_a_near_miss() {
        assert_eq!(
            Scene::sent_to_another().other_worker().silence().answer(&CAUSE),
            "ruled out"
        );
        let spawned = Scene::sent_to_another()
            .process(
                900,
                1,
                "python -c from_multiprocessing.spawn_import_spawn_main",
                |_| {},
            )
            .peer(OTHER, 900)
            .silence();
        assert_eq!(spawned.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn without_processes_the_client_library_tells() {
        let shovel = Scene::sent_to_another()
            .connections_of("RabbitMQ", &[(OTHER, "/", "running")])
            .silence();
        assert_eq!(shovel.answer(&CAUSE), "likely");
        let pika = Scene::sent_to_another()
            .connections(&[(OTHER, "/", "running")])
            .silence();
        assert_eq!(pika.answer(&CAUSE), "not applicable");
    }

    /// A shovel: the same message on the same connection, to another queue.
    #[test]
    fn it_sent_the_message_on() {
        let shovel = |connection: &str, queue: &str| {
            Scene::sent_to_another()
                .process(900, 1, "./shovel", |_| {})
                .peer(OTHER, 900)
                .publish_as(queue, connection, Scene::message("m-1"))
                .totals("default", 0, 0, serde_json::json!({}))
                .silence()
        };
        let moved = shovel(OTHER, "archive");
        assert_eq!(moved.cause(), "likely taken-by-other-client");
        assert!(moved.summary().contains("`archive`"), "{}", moved.summary());
        let place = moved.verdict().message.map(|found| (found.place, found.lost));
        let (place, lost) = place.expect("a place");
        assert!(place.starts_with("sent on to `archive` by pid 900"), "{place}");
        assert_eq!(lost, None);
        // Its own queue again, or from another connection: it was not moved by whoever had it.
        for scene in [
            shovel(OTHER, "default"),
            shovel(crate::diagnosis::testing::API, "archive"),
        ] {
            assert!(!scene.summary().contains("sent on"), "{}", scene.summary());
        }
    }

    /// A script gets it from a queue that nobody consumes; a worker's consumer would have been seen.
    #[test]
    fn what_is_got_from_a_queue_without_consumers_was_taken_by_no_worker() {
        let taken = |consumers: u64| {
            Scene::new()
                .worker_booted()
                .depth("default", 0, consumers)
                .submitted()
                .row("PENDING")
                .publish("default")
                .depth("default", 1, consumers)
                .at(1000.0)
                .deliver("10.0.0.9:4711 -> 127.0.0.1:5672")
                .depth("default", 0, consumers)
                .info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.")
                .silence()
        };
        assert_eq!(taken(0).answer(&CAUSE), "likely");
        assert_ne!(taken(1).answer(&CAUSE), "likely");
        let worker = crate::diagnosis::causes::find("taken-by-other-worker").expect("a cause");
        assert_eq!(taken(0).answer(worker), "ruled out");
    }
}
