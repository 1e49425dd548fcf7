//! The message went to a queue that is not the configured one.

use crate::diagnosis::evidence::Transfer;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::{Event, EventKind, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "published-to-other-queue",
    keeps_from: &[Stage::Published],
    owner: &[Owner::ApiCode],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Firehose]],
    page: include_str!("published_to_other_queue.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if let Some(passage) = story.published() {
        return Answer::ruled_out(format!("published to `{}`", passage.queue), [passage.n]);
    }
    if let Some(passage) = story.kept_for_later() {
        return Answer::ruled_out("the broker keeps it for later", [passage.n]);
    }
    let Some(passage) = story.publishes().first() else {
        return Answer::NotApplicable;
    };
    let Some(EventKind::Publish {
        exchange,
        routing_key,
        routed,
        ..
    }) = story.timeline.event(passage.n).map(|event| &event.kind)
    else {
        return Answer::NotApplicable;
    };
    // A worker may consume several queues, as of several priorities.
    let taken = story.deliveries_from(passage.queue).next();
    if let Some(taken) = taken.filter(|taken| story.is_by_the_watched_worker(taken)) {
        return Answer::ruled_out(
            format!("the watched worker took it from `{}`", passage.queue),
            [passage.n, taken.n],
        );
    }
    // Another message with the same id (an audit, a mail) may go there too: the actor decides which
    // one is the task's, and the end whether another follows.
    let wanted = story.timeline.setup.actor.as_deref();
    let is_the_one = wanted.is_some() && passage.message.actor.as_deref() == wanted;
    let by_key = format!("published to exchange `{exchange}` with routing key `{routing_key}`");
    // Deliveries from other queues are not watched: only where nobody consumes it is nobody handed it.
    let is_consumed = story
        .consumers()
        .map(|all| all.iter().any(|consumer| consumer.queue == passage.queue));
    // One that is to expire there may come on to ours as a dead letter: so delays are made by hand.
    let seen = is_the_one
        && passage.message.expiration_ms.is_none()
        && !is_named_for_waiting(passage.queue)
        && taken.is_none()
        && is_consumed == Some(false)
        && story.closed()
        && story.sees_all(Source::Firehose);
    // Only on the default exchange is the routing key the queue's name; of others the broker says where they lead.
    let (text, certain) = match (exchange.as_str(), routed) {
        ("", _) => (
            format!(
                "published to `{}`, and so far not to `{}`",
                passage.queue,
                story.queue()
            ),
            seen,
        ),
        (_, Some(routed)) if routed.is_empty() => return Answer::NotApplicable,
        (exchange, _) if (story.framework().queues.later)(exchange, routing_key).is_some() => {
            let is_bound = |event: &Event| matches!(&event.kind, EventKind::Bound { .. }).then_some(event.n);
            if let Some(bound) = story.find(is_bound) {
                let text = format!(
                    "{by_key}, to be kept until its time comes, and `{}` is not bound by such a key",
                    story.queue()
                );
                return Answer::likely(text, [passage.n, bound]);
            }
            return Answer::possible(
                format!(
                    "{by_key}, to be kept until its time comes: whether that leads to `{}` then is not known",
                    story.queue()
                ),
                [passage.n],
            );
        }
        (_, Some(routed)) => {
            let queues: Vec<String> = routed.iter().map(|queue| format!("`{queue}`")).collect();
            let text = format!(
                "{by_key}, which leads to {}, and so far not to `{}`",
                queues.join(", "),
                story.queue()
            );
            (text, seen)
        }
        (_, None) => (format!("{by_key}, and so far not to `{}`", story.queue()), false),
    };
    let answer = match certain {
        true => Answer::shown(text, [passage.n]),
        false => on_that_queue(story, passage, text, is_consumed),
    };
    match exchange.is_empty() {
        true => answer.naming("{other_queue}", passage.queue),
        false => answer,
    }
}

/// A queue whose own TTL moves what it holds on to ours has no consumer by design: nobody looks at its arguments, and its
/// name says what it is for.
fn is_named_for_waiting(queue: &str) -> bool {
    const WORDS: [&str; 7] = ["delay", "wait", "retry", "later", "defer", "backoff", "schedul"];
    let name = queue.to_lowercase();
    WORDS.iter().any(|word| name.contains(word))
}

/// It is at another queue than the one that is watched: it may be at work there.
fn on_that_queue(
    story: &Story<'_>,
    passage: &Transfer<'_>,
    text: String,
    is_consumed: Option<bool>,
) -> Answer {
    let mut lines = story.worker_lines().iter();
    let said =
        lines.find(|told| told.line.carries_task_id && !told.line.before && told.at_ms >= passage.at_ms);
    match (said, is_consumed) {
        // What is not as it should be is the configuration.
        (Some(told), _) => Answer::likely(
            format!("{text}; the worker's log names the task since: set `broker.queue` to follow it"),
            [passage.n, told.n],
        )
        .owned_by(Some(&[Owner::Diagnosis]))
        .may_have_begun(),
        (None, Some(true)) => {
            let text = format!("{text}; that queue is consumed, and what becomes of it there is not watched");
            // Both queues have their workers, and nothing says whose message it is: it may be a letter about the task.
            let mut consumers = story.consumers().into_iter().flat_map(|listed| listed.value);
            let both = consumers.any(|consumer| consumer.queue == story.queue());
            let answer = match both && story.timeline.setup.actor.is_none() {
                true => Answer::possible(text, [passage.n]),
                false => Answer::likely(text, [passage.n]),
            };
            answer
                .owned_by(Some(&[Owner::ApiCode, Owner::Diagnosis]))
                .may_have_begun()
        }
        _ => Answer::likely(text, [passage.n]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    #[test]
    fn the_configured_actors_message_went_elsewhere() {
        let scene = Scene::accepted().row("PENDING").publish("emails");
        assert_eq!(
            scene.cause(),
            "likely published-to-other-queue",
            "another may follow"
        );
        let scene = scene.consumers(&[("default", crate::diagnosis::testing::WORKER, 4)]);
        let scene = scene.silence().setup(|setup| setup.actor = Some("act".into()));
        assert_eq!(scene.cause(), "certain published-to-other-queue");
    }

    #[test]
    fn a_message_that_may_be_an_audit_is_only_likely() {
        let scene = Scene::accepted().row("PENDING").publish("audit").silence();
        assert_eq!(scene.cause(), "likely published-to-other-queue");
        // A number rests on its own premise, which says as much.
        let numbered = Scene::new().submitting().answered(202, Some("42"), "{}");
        let numbered = numbered.row("PENDING").publish("audit").silence();
        assert_eq!(numbered.answer(&CAUSE), "likely");
    }

    #[test]
    fn the_delay_queue_is_not_another_queue() {
        assert_eq!(
            Scene::accepted().publish("default.DQ").answer(&CAUSE),
            "ruled out"
        );
        let blind = Scene::accepted().publish("emails").without(Source::Firehose);
        assert_eq!(blind.answer(&CAUSE), "cannot tell");
    }

    /// A lane of its own for what is urgent, which the same worker consumes.
    #[test]
    fn a_queue_that_the_watched_worker_consumes_as_well_is_a_near_miss() {
        use crate::diagnosis::testing::WORKER;
        let sent = Scene::accepted()
            .worker_booted()
            .row("PENDING")
            .publish("fast")
            .setup(|setup| setup.actor = Some("act".into()));
        let taken = |pid: i32| {
            let deliver = EventKind::Deliver {
                queue: "fast".into(),
                connection: WORKER.into(),
                redelivered: false,
                message: Scene::message("m-1"),
            };
            sent.clone()
                .see(Source::Firehose, deliver)
                .peer(WORKER, pid)
                .silence()
        };
        assert_eq!(taken(101).answer(&CAUSE), "ruled out");
        assert_eq!(taken(900).answer(&CAUSE), "likely", "somebody else took it there");
        assert_eq!(sent.clone().silence().answer(&CAUSE), "likely");
        let untaken = sent.clone().consumers(&[("default", WORKER, 4)]);
        assert_eq!(untaken.silence().answer(&CAUSE), "certain");
    }

    /// The configuration names last month's queue: whoever consumes the other one may be at work on it.
    #[test]
    fn a_queue_that_is_consumed_may_be_the_right_one() {
        let sent = |consumed: bool, said: bool| {
            let mut scene = Scene::new()
                .setup(|setup| setup.actor = Some("act".into()))
                .worker_booted()
                .submitted()
                .row("PENDING")
                .publish("elsewhere");
            let of = if consumed { "elsewhere" } else { "other" };
            scene = scene.consumers(&[(of, crate::diagnosis::testing::WORKER, 4)]);
            if said {
                scene = scene.info("app", "reducing task_1");
            }
            scene.silence()
        };
        assert_eq!(sent(false, false).answer(&CAUSE), "certain");
        assert_eq!(sent(false, false).verdict().scenario, Some(Scenario::C));
        for consumed in [sent(true, false), sent(true, true)] {
            assert_ne!(consumed.answer(&CAUSE), "certain");
            assert_ne!(consumed.verdict().scenario, Some(Scenario::C));
        }
    }

    /// Workers consume both queues, and no actor is configured: it may be a letter about the task.
    #[test]
    fn a_message_for_another_services_worker() {
        use crate::diagnosis::testing::{OTHER, WORKER};
        let sent = |queues: &[(&str, &str, u64)]| {
            let scene = Scene::accepted().row("PENDING").publish("mail").consumers(queues);
            scene.setup(|setup| setup.actor = None).silence().answer(&CAUSE)
        };
        assert_eq!(sent(&[("default", WORKER, 4), ("mail", OTHER, 4)]), "possible");
        assert_eq!(sent(&[("mail", OTHER, 4)]), "likely");
        assert_eq!(sent(&[("default", WORKER, 4)]), "likely");
    }

    /// What is to expire there may come on as a dead letter.
    #[test]
    fn one_that_expires_there_may_come_to_its_queue_all_the_same() {
        let sent = |expiration_ms: Option<i64>| {
            let mut message = Scene::message("m-1");
            message.expiration_ms = expiration_ms;
            Scene::accepted()
                .row("PENDING")
                .publish_as("default.parked", crate::diagnosis::testing::API, message)
                .consumers(&[("default", crate::diagnosis::testing::WORKER, 4)])
                .silence()
                .answer(&CAUSE)
        };
        assert_eq!(sent(None), "certain");
        assert_eq!(sent(Some(60_000)), "likely");
    }

    /// What waits there by the queue's own TTL comes on to ours.
    #[test]
    fn a_queue_that_is_named_for_waiting_has_no_consumer_by_design() {
        let to = |queue: &str| {
            let scene = Scene::accepted().row("PENDING").publish(queue);
            let scene = scene.consumers(&[("default", crate::diagnosis::testing::WORKER, 4)]);
            let scene = scene.silence().setup(|setup| setup.actor = Some("act".into()));
            scene.answer(&CAUSE)
        };
        assert_eq!(to("default.wait-30s"), "likely");
        assert_eq!(to("emails"), "certain");
    }
}
