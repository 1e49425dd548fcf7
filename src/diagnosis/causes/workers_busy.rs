//! All consumers are full.

use crate::diagnosis::evidence::{broker, connections, retries, workers};
use crate::diagnosis::{Answer, Cause, Certainty, Owner, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "workers-busy",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::Wait],
    explains: &[],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Queue]],
    general: false,
    fails_attempt: false,
    applies_to: &[],
    page: include_str!("workers_busy.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let Some(depth) = story.depths_since(story.queue()).last().copied() else {
        return Answer::NotApplicable;
    };
    if !story.closed() || !retries::is_on_the_queue(story) || depth.consumers == 0 || depth.ready == 0 {
        return Answer::NotApplicable;
    }
    if let Some(refused) = connections::refused_for_an_exclusive(story) {
        return Answer::ruled_out(
            "the queue is held exclusively: whoever is added is refused",
            [refused.n],
        );
    }
    // Full before the publish and not a message more after it: it is not among those that wait.
    if broker::did_not_grow(story) {
        return Answer::NotApplicable;
    }
    if let Some(n) = broker::still_moves(story) {
        return Answer::ruled_out("others go on being delivered", [n]);
    }
    let running = workers::running_others(story);
    let listed = story.consumers();
    let slots: Vec<u64> = listed.map_or_else(Vec::new, |(_, consumers)| {
        consumers
            .iter()
            .filter(|consumer| consumer.queue == story.queue())
            .map(|consumer| consumer.prefetch)
            .collect()
    });
    let prefetch: u64 = slots.iter().sum();
    // A list that is late, or a consumer without a limit: then the slots cannot be counted. And a
    // queue that drops or expires messages may not hold this one any more.
    let counted = slots.len() as u64 == depth.consumers && slots.iter().all(|slot| *slot > 0);
    let kept = broker::saw_every_publish(story) && !broker::may_lose_messages(story);
    let unacked = story
        .infos(story.queue())
        .last()
        .and_then(|info| info.unacked.map(|count| (info.n, count)));
    let what = match running.as_slice() {
        [] => String::new(),
        some => format!(
            "; running: {}",
            some.iter()
                .map(|(_, actor)| actor.as_str())
                .collect::<Vec<_>>()
                .join(", ")
        ),
    };
    let mut evidence = vec![depth.n];
    evidence.extend(running.iter().map(|(n, _)| *n).take(4));
    match (listed, unacked) {
        (Some((n, _)), Some((info, unacked))) if prefetch > 0 && unacked >= prefetch => {
            evidence.extend([n, info]);
            // A client that is no worker may hold the queue for itself: more workers would not help.
            let by_workers = listed.is_some_and(|(_, consumers)| {
                let ours = consumers
                    .iter()
                    .filter(|consumer| consumer.queue == story.queue());
                let mut connections = ours.map(|consumer| consumer.connection.as_str());
                connections.all(|connection| workers::is_a_workers(story, connection))
            });
            let certainty = if counted && kept && by_workers && !broker::shrank(story) {
                Certainty::Certain
            } else {
                Certainty::Likely
            };
            Answer::matched(
                certainty,
                format!(
                    "every prefetch slot is taken: {unacked} unacknowledged of {prefetch}, {} ready behind them{what}",
                    depth.ready
                ),
                evidence,
            )
        }
        (Some((n, _)), Some((info, unacked))) if counted => Answer::ruled_out(
            format!("{unacked} unacknowledged of {prefetch} prefetch slots"),
            [n, info],
        ),
        _ if !running.is_empty() => Answer::likely(
            format!("{} consumers have taken nothing more{what}", depth.consumers),
            evidence,
        )
        .would_decide(&[Source::Management]),
        _ => Answer::cannot_tell(&[Source::Management]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Scene, WORKER};
    use crate::timeline::EventKind;
    use serde_json::json;

    fn full() -> Scene {
        Scene::new()
            .worker_booted()
            .depth("default", 0, 1)
            .debug(
                "dramatiq.worker.WorkerThread",
                "Received message slow() with id 'other'.",
            )
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 3, 1)
            .consumers(&[("default", WORKER, 4)])
            .totals("default", 3, 4, json!({}))
    }

    #[test]
    fn every_slot_is_taken() {
        assert_eq!(full().silence().cause(), "certain workers-busy");
        assert_eq!(full().answer(&CAUSE), "not applicable");
    }

    #[test]
    fn a_free_slot_excludes_it() {
        let scene = full().totals("default", 3, 3, json!({})).silence();
        assert_eq!(scene.answer(&CAUSE), "ruled out");
    }

    #[test]
    fn a_late_list_or_a_queue_that_loses_messages_is_only_likely() {
        assert_eq!(full().depth("default", 3, 2).silence().answer(&CAUSE), "likely");
        let limited = full()
            .totals("default", 3, 4, json!({ "x-message-ttl": 500 }))
            .silence();
        assert_eq!(limited.answer(&CAUSE), "likely");
        let missed = full()
            .see(Source::Firehose, EventKind::Missed { events: 3 })
            .silence();
        assert_eq!(missed.answer(&CAUSE), "likely");
    }

    #[test]
    fn without_management_the_log_shows_what_runs() {
        let scene = full().silence().without(Source::Management);
        assert_eq!(scene.cause(), "likely workers-busy");
        assert_eq!(scene.without(Source::WorkerLog).answer(&CAUSE), "cannot tell");
    }
}
