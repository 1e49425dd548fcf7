//! Only one consumer is served, and it is another one.

use crate::diagnosis::evidence::{connections, workers};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "single-active-consumer",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::Deployment],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Management]],
    page: include_str!("single_active_consumer.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let Some(info) = story.infos(story.queue()).last() else {
        return Answer::NotApplicable;
    };
    if info.arguments.get("x-single-active-consumer") != Some(&serde_json::Value::Bool(true)) {
        return Answer::ruled_out("the queue has no x-single-active-consumer", [info.n]);
    }
    let Some(consumers) = story.consumers() else {
        return Answer::cannot_tell(&[Source::Management]);
    };
    if !story.closed() {
        return Answer::NotApplicable;
    }
    let active = consumers
        .iter()
        .find(|consumer| consumer.queue == story.queue() && consumer.active == Some(true));
    match active {
        Some(active) => match story
            .peer(&active.connection)
            .and_then(|peer| story.is_watched(peer.value))
        {
            Some(true) => Answer::ruled_out("the watched worker is the active consumer", [consumers.n]),
            Some(false) => {
                let text = format!(
                    "only {} is served, and it is not the watched worker",
                    active.connection
                );
                let peer = story.peer(&active.connection);
                // One that stands by for it does the same work: it serves this one, too, when it is free.
                let is_no_replica = peer.map(|peer| Premise::NotAReplica(peer.value));
                let given = [
                    Premise::PeerIsProcess(active.connection.clone()),
                    Premise::SamePidSpace,
                ];
                Answer::shown(text, [info.n, consumers.n])
                    .given(given)
                    .given(is_no_replica)
            }
            None => {
                // The worker's connections are known, and another one of them waits in the list.
                let waits = |connection: &str| {
                    workers::live_workers(story)
                        .iter()
                        .any(|process| connections::is_socket_of(process, connection))
                };
                let text = format!("only {} is served", active.connection);
                let idle = consumers.iter().any(|consumer| {
                    consumer.queue == story.queue()
                        && consumer.active == Some(false)
                        && waits(&consumer.connection)
                });
                // It may be at work on this very task: afterwards its delivery was not seen.
                let may_have_it = story.post_mortem() && info.unacked.is_none_or(|unacked| unacked > 0);
                if idle && !waits(&active.connection) && !may_have_it {
                    Answer::likely(format!("{text}; the watched worker waits"), [info.n, consumers.n])
                } else {
                    Answer::possible(text, [info.n, consumers.n]).would_decide(&[Source::Process])
                }
            }
        },
        // The list of consumers is late. The watched worker logs every message it is handed, and
        // was handed none, with messages ready and consumers there.
        None => match story.depths_since(story.queue()).last() {
            Some(depth)
                if story.closed()
                    && depth.ready > 0
                    && depth.consumers > 1
                    && story.debug_log()
                    && story.deliveries().next().is_none() =>
            {
                Answer::likely(
                    format!(
                        "only one of {} consumers is served, and the watched worker gets nothing",
                        depth.consumers
                    ),
                    [info.n, depth.n],
                )
                .would_decide(&[Source::Process])
            }
            _ => Answer::NotApplicable,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{OTHER, Scene};
    use serde_json::json;

    fn single(pid: i32) -> Scene {
        Scene::new()
            .worker_booted()
            .depth("default", 0, 2)
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 1, 2)
            .totals("default", 1, 1, json!({ "x-single-active-consumer": true }))
            .consumers(&[("default", OTHER, 1)])
            .process(pid, pid - 1, "python dramatiq other", |_| {})
            .peer(OTHER, pid)
    }

    #[test]
    fn another_one_is_served() {
        assert_eq!(single(900).silence().cause(), "certain single-active-consumer");
        assert_eq!(single(900).answer(&CAUSE), "not applicable");
    }

    #[test]
    fn the_watched_worker_is_served() {
        assert_eq!(single(101).silence().answer(&CAUSE), "ruled out");
        let plain = Scene::published().totals("default", 1, 1, json!({})).silence();
        assert_eq!(plain.answer(&CAUSE), "ruled out");
    }

    #[test]
    fn who_it_is_cannot_be_told_without_processes() {
        assert_ne!(
            single(900).silence().without(Source::Process).answer(&CAUSE),
            "certain"
        );
        assert_eq!(
            single(900).silence().without(Source::Management).answer(&CAUSE),
            "cannot tell"
        );
    }

    /// Its stand-by does the same work.
    #[test]
    fn a_replica_that_is_served_is_a_near_miss() {
        let replica = single(900).process(900, 899, "python dramatiq -v app --threads 2", |_| {});
        assert_eq!(replica.silence().answer(&CAUSE), "not applicable");
    }
}
