//! Somebody else holds the queue for itself alone.

use crate::diagnosis::evidence::connections;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "consumer-refused",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::Deployment],
    explains: &["no-consumer"],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Queue], &[Source::WorkerLog]],
    general: false,
    fails_attempt: false,
    applies_to: &[],
    page: include_str!("consumer_refused.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let Some(refused) = connections::refused_for_an_exclusive(story).filter(|_| story.closed()) else {
        return Answer::NotApplicable;
    };
    let Some(depth) = story.depths_since(story.queue()).last().copied() else {
        return Answer::cannot_tell(&[Source::Queue]);
    };
    if depth.consumers == 0 {
        return Answer::ruled_out("nobody holds the queue any more", [depth.n]);
    }
    let mut evidence = vec![refused.n, depth.n];
    let holder = story.consumers().and_then(|consumers| {
        let of_ours = consumers
            .iter()
            .filter(|consumer| consumer.queue == story.queue());
        let connections: Vec<&str> = of_ours.map(|consumer| consumer.connection.as_str()).collect();
        evidence.push(consumers.n);
        // An exclusive one is alone.
        let [connection] = connections.as_slice() else {
            return None;
        };
        let Some((peer, pid)) = story.peer(connection) else {
            return Some(format!(": {connection}"));
        };
        evidence.push(peer);
        let command = story.process(pid).map(|(_, process)| process.command.join(" "));
        let command = command.map_or_else(String::new, |command| format!(" (`{command}`)"));
        Some(format!(": pid {pid}{command}"))
    });
    let text = format!(
        "another client consumes `{}` exclusively{}; the broker refuses the worker's consumer, and would refuse any further one",
        story.queue(),
        holder.unwrap_or_default()
    );
    // An error from before the run may be a dead worker's, or the holder may have come and gone since.
    match refused.line.before {
        true => Answer::likely(text, evidence),
        false => Answer::shown(text, evidence),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{OTHER, Scene};
    use serde_json::json;

    const REFUSED: &str = "Consumer encountered a connection error: (403, \"ACCESS_REFUSED - queue 'default' in vhost '/' in exclusive use\")";
    const LOGGER: &str = "dramatiq.worker.ConsumerThread(default)";

    /// One other message is in the holder's hands, and its prefetch is one: every slot is taken.
    fn held() -> Scene {
        Scene::new()
            .depth("default", 0, 1)
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 1, 1)
            .totals("default", 1, 1, json!({}))
            .consumers(&[("default", OTHER, 1)])
    }

    #[test]
    fn the_broker_says_so_and_more_workers_would_not_help() {
        let scene = held().critical(LOGGER, REFUSED).silence();
        assert_eq!(scene.cause(), "certain consumer-refused");
        // Whose process it is rests on what is at the connection's end: a proxy, perhaps.
        let named = held().peer(OTHER, 77).critical(LOGGER, REFUSED).silence();
        assert_eq!(named.cause(), "likely consumer-refused");
        assert!(named.summary().contains("pid 77"), "{}", named.summary());
        let busy = crate::diagnosis::causes::find("workers-busy").expect("a cause");
        assert_eq!(scene.answer(busy), "ruled out");
        assert_eq!(scene.without(Source::WorkerLog).answer(&CAUSE), "cannot tell");
    }

    #[test]
    fn an_error_of_another_queue_or_of_another_kind_is_a_near_miss() {
        let other = "dramatiq.worker.ConsumerThread(emails)";
        let of_another = held()
            .critical(other, &REFUSED.replace("'default'", "'emails'"))
            .silence();
        assert_eq!(of_another.answer(&CAUSE), "not applicable");
        let forbidden = "Consumer encountered a connection error: (403, \"ACCESS_REFUSED - read access to queue 'default' refused\")";
        let forbidden = held().critical(LOGGER, forbidden).silence();
        assert_eq!(forbidden.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn a_holder_that_has_gone_or_an_old_error_is_a_near_miss() {
        let gone = held().critical(LOGGER, REFUSED).depth("default", 1, 0).silence();
        assert_eq!(gone.answer(&CAUSE), "ruled out");
        let old = Scene::new()
            .from_before(86_400)
            .critical(LOGGER, REFUSED)
            .from_now_on()
            .depth("default", 0, 1)
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 1, 1)
            .silence();
        assert_ne!(old.answer(&CAUSE), "certain");
    }

    /// The worker tried again, and consumes now.
    #[test]
    fn a_worker_that_was_let_in_since_is_a_near_miss() {
        let scene = held()
            .critical(LOGGER, REFUSED)
            .debug(LOGGER, "Pushing message 'other' onto work queue.")
            .silence();
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }
}
