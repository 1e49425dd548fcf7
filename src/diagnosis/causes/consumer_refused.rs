//! The broker lets the worker in, and refuses its consumer: mostly because somebody else holds the queue for itself
//! alone.

use crate::diagnosis::evidence::{Fact, connections};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "consumer-refused",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::Deployment],
    explains: &["no-consumer"],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Queue], &[Source::WorkerLog]],
    page: include_str!("consumer_refused.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let Some(refused) = connections::refused_for_an_exclusive(story).filter(|_| story.closed()) else {
        return otherwise_refused(story);
    };
    let Some(depth) = story.depths_since(story.queue()).last().copied() else {
        return Answer::cannot_tell(&[Source::Queue]);
    };
    if depth.consumers == 0 {
        return Answer::ruled_out("nobody holds the queue any more", [depth.n]);
    }
    if depth.consumers > 1 {
        return Answer::ruled_out("several consume it, and an exclusive one is alone", [depth.n]);
    }
    if let Some(own) = held_by_the_watched(story) {
        return Answer::ruled_out("the watched worker itself consumes it since", [own]);
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
        let Some(Fact { n, value: pid, .. }) = story.peer(connection) else {
            return Some(format!(": {connection}"));
        };
        evidence.push(n);
        let command = story.process(pid).map(|process| process.command.join(" "));
        let command = command.map_or_else(String::new, |command| format!(" (`{command}`)"));
        Some(format!(": pid {pid}{command}"))
    });
    let text = format!(
        "another client consumes `{}` exclusively{}; the broker refuses the worker's consumer, and would refuse any further one",
        story.queue(),
        holder.unwrap_or_default()
    );
    // An error from before the run may be a dead worker's. A worker tries again every few seconds: one that says nothing
    // of it for longer may consume.
    let is_old = depth.at_ms - refused.at_ms > TRIES_AGAIN_MS;
    match refused.line.before || is_old {
        true => Answer::likely(text, evidence),
        false => Answer::shown(text, evidence),
    }
}

/// Dramatiq waits for 3 s, and its line may be read a moment later.
const TRIES_AGAIN_MS: f64 = 4_000.0;

/// The one that consumes our queue is the worker whose log has the refusal.
fn held_by_the_watched(story: &Story<'_>) -> Option<u32> {
    let consumers = story.consumers()?;
    let mut ours = consumers
        .iter()
        .filter(|consumer| consumer.queue == story.queue());
    let peer = story.peer(&ours.next()?.connection)?;
    (story.is_watched(peer.value) == Some(true)).then_some(peer.n)
}

/// For what the queue or the worker's user is: in the broker's words.
fn otherwise_refused(story: &Story<'_>) -> Answer {
    let refused = story.worker_lines().iter().any(|told| match told.mark {
        Some(LogEvent::ConnectionError { error, .. }) => connections::is_refused_consumer(error),
        _ => false,
    });
    if !refused {
        return Answer::NotApplicable;
    }
    connections::connection_error(story, connections::is_refused_consumer, |error, count| {
        let times = crate::text::counted(count as u64, "time", "times");
        format!(
            "0 consumers: the worker connects, and the broker refuses its consumer on `{}` ({times} in its log): {error}",
            story.queue()
        )
    })
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

    /// Celery older than 5.5 asks a quorum queue for what it does not have.
    #[test]
    fn a_worker_that_is_let_in_and_may_not_consume() {
        use crate::diagnosis::causes::celery::scenes::CeleryScene;
        let lost = "consumer: Connection to broker lost. Trying to re-establish the connection...";
        let below = |error: &str| {
            format!(
                "Traceback (most recent call last):\n  File \"/v/amqp/connection.py\", line 671, in _on_close\n    raise error_for_code(\n{error}"
            )
        };
        let refused = |queue: &str| {
            below(&format!(
                "amqp.exceptions.AMQPNotImplementedError: Basic.consume: (540) NOT_IMPLEMENTED - queue '{queue}' in vhost '/' does not support global qos"
            ))
        };
        let scene = CeleryScene::waiting(0).refusal(lost, &refused("celery"));
        let again = CeleryScene::waiting(0)
            .refusal(lost, &refused("celery"))
            .info("Connected to amqp://guest:**@127.0.0.1:5672//");
        for scene in [scene, again] {
            let scene = scene.silence();
            assert_eq!(scene.cause(), "certain consumer-refused");
            assert!(scene.summary().contains("global qos"), "{}", scene.summary());
        }
        let another = CeleryScene::waiting(0).refusal(lost, &refused("mails")).silence();
        assert_eq!(another.answer(&CAUSE), "not applicable");
        // A connection that broke is none, and one that stands again is no failure to connect.
        let reset = below("ConnectionResetError: [Errno 104] Connection reset by peer");
        let broken = CeleryScene::waiting(0).refusal(lost, &reset);
        assert_eq!(broken.silence().cause(), "certain worker-cannot-connect");
        let stands = CeleryScene::waiting(0)
            .refusal(lost, &reset)
            .info("Connected to amqp://guest:**@127.0.0.1:5672//")
            .silence();
        let connect = crate::diagnosis::causes::find("worker-cannot-connect").expect("a cause");
        assert_eq!(stands.answer(connect), "ruled out");
        assert_eq!(stands.answer(&CAUSE), "not applicable");
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

    /// The holder went, and the worker, which tries again every 3 s, has nothing more to say.
    #[test]
    fn a_refusal_that_was_not_repeated_may_be_over() {
        let once = || {
            held()
                .critical(LOGGER, REFUSED)
                .at(6_000.0)
                .depth("default", 1, 1)
        };
        assert_eq!(once().silence().answer(&CAUSE), "likely");
        let own = once().worker_process(&[OTHER]).peer(OTHER, 101);
        assert_eq!(own.silence().answer(&CAUSE), "ruled out");
        let several = held().depth("default", 1, 2).critical(LOGGER, REFUSED);
        assert_eq!(several.silence().answer(&CAUSE), "ruled out");
    }
}
