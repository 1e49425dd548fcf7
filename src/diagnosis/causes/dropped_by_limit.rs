//! A length limit dropped the message.

use crate::diagnosis::evidence::limits::{self, Limit};
use crate::diagnosis::evidence::{Depth, Info, Transfer, broker, holding};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::text::counted;
use crate::timeline::{EventKind, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "dropped-by-limit",
    keeps_from: &[Stage::Published, Stage::Delivered],
    owner: &[Owner::Broker],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Management, Source::DeadLetters]],
    page: include_str!("dropped_by_limit.md"),
    check,
    ..Cause::DEFAULT
};

/// Whether a policy limits it could not be read, at the last look or at an earlier one.
fn by_an_unread_policy(story: &Story<'_>, passage: &Transfer<'_>, last: &Info<'_>) -> Option<Answer> {
    let queue = passage.queue;
    if last.policy_unknown {
        return Some(
            match story.closed() && broker::did_not_grow(story) && nobody_takes(story, passage) {
                // It is this one that was refused, or the oldest that was dropped for it.
                true => Answer::possible(
                    format!(
                        "`{queue}` did not grow by this publish, though nobody takes messages: a limit of its policy, which could not be read"
                    ),
                    [passage.n, last.n],
                ),
                false => Answer::cannot_tell(&[Source::Management]),
            },
        );
    }
    // Fewer wait than were sent.
    let policy = story.infos(queue).find(|info| info.policy_unknown)?;
    let after = story.depths(queue).last()?;
    let mut behind = holding::sent_behind(story, passage);
    behind.retain(|event| event.at_ms < after.at_ms);
    let is_sure = story.closed() && nobody_takes(story, passage);
    let one_is_missing = !behind.is_empty() && after.ready <= behind.len() as u64;
    (is_sure && one_is_missing).then(|| {
        let text = format!(
            "`{queue}` holds {} although this message came, and {} behind it, and nobody took one: a limit of its policy, which could not be read",
            after.ready,
            behind.len()
        );
        Answer::likely(text, [passage.n, policy.n, after.n])
    })
}

fn check(story: &Story<'_>) -> Answer {
    if let Some(from) = broker::dead_lettered(story, "maxlen") {
        return Answer::shown(
            format!("the message is on the dead-letter queue: dropped from `{from}` by its length limit"),
            broker::with_its_publish(story, from),
        );
    }
    let Some(passage) = story.published() else {
        return Answer::NotApplicable;
    };
    let queue = passage.queue;
    let Some(info) = story.infos(queue).last() else {
        return Answer::cannot_tell(&[Source::Management]);
    };
    let limit = limits::limit_of(story, queue);
    if limit.is_none()
        && let Some(answer) = by_an_unread_policy(story, passage, &info)
    {
        return answer;
    }
    let Some(limit) = limit else {
        return Answer::ruled_out(format!("`{queue}` has no length limit"), [info.n]);
    };
    if !story.closed() || handed_out(story, passage) {
        return Answer::NotApplicable;
    }
    if let (true, Some(most)) = (limits::stays(story, passage), limit.most) {
        return Answer::ruled_out(
            format!("`{queue}` throws its oldest messages away, and this one is of its newest {most}"),
            [passage.n, limit.n],
        );
    }
    let depths: Vec<_> = story.depths(queue).collect();
    let before = depths.iter().rfind(|depth| depth.at_ms < passage.at_ms);
    let (Some(before), Some(after)) = (before, depths.last()) else {
        return Answer::NotApplicable;
    };
    match limit.most {
        Some(most) => by_count(story, passage, &limit, most, before, after),
        None => by_size(story, passage, &limit, before, after),
    }
}

fn by_count(
    story: &Story<'_>,
    passage: &Transfer<'_>,
    limit: &Limit,
    most: u64,
    before: &Depth,
    after: &Depth,
) -> Answer {
    let Limit { text, overflow, .. } = limit;
    let queue = passage.queue;
    let mut behind = holding::sent_behind(story, passage);
    behind.retain(|event| event.at_ms < after.at_ms);
    // The newest stay, and no more of them wait than came behind this one.
    if overflow == "drop-head"
        && after.ready >= most
        && behind.len() as u64 >= after.ready
        && nobody_takes(story, passage)
    {
        let text = format!(
            "`{queue}` keeps its newest {most} ({text}, overflow {overflow}), and {} came behind this one: the broker dropped it",
            counted(behind.len() as u64, "message", "messages")
        );
        let mut evidence = vec![passage.n, limit.n, after.n];
        evidence.extend(behind.last().map(|event| event.n));
        return Answer::likely(text, evidence).would_decide(&[Source::DeadLetters]);
    }
    // Full before the publish, and not a message more after it, though none was taken away.
    if before.ready >= most && after.ready <= before.ready && nothing_taken(story, queue, before.at_ms) {
        let text =
            format!("`{queue}` was full ({text}, overflow {overflow}) and did not grow by this publish");
        let evidence = [passage.n, limit.n, before.n, after.n];
        let answer = if overflow.starts_with("reject-publish") && story.sees_all(Source::Firehose) {
            Answer::likely(format!("{text}: the broker refused the message"), evidence)
        } else {
            Answer::possible(text, evidence)
        };
        return answer.would_decide(&[Source::DeadLetters]);
    }
    Answer::NotApplicable
}

/// It came to an empty queue, which is empty still: it was larger than what the queue may hold.
fn by_size(
    story: &Story<'_>,
    passage: &Transfer<'_>,
    limit: &Limit,
    before: &Depth,
    after: &Depth,
) -> Answer {
    let queue = passage.queue;
    let is_empty = before.ready == 0 && after.exists && after.ready == 0 && after.at_ms > passage.at_ms;
    let was_seen = story
        .depths(queue)
        .any(|depth| depth.at_ms > passage.at_ms && depth.ready > 0);
    if !is_empty
        || was_seen
        || !nothing_taken(story, queue, before.at_ms)
        || !story.sees_all(Source::Firehose)
    {
        return Answer::NotApplicable;
    }
    let text = format!(
        "`{queue}` was empty and is empty after this publish, though nobody took it: its limit ({}, overflow {})",
        limit.text, limit.overflow
    );
    let evidence = [passage.n, limit.n, before.n, after.n];
    let answer = match story
        .dead_letter_queue()
        .filter(|_| broker::dead_letters_rose(story))
    {
        Some(dead) => Answer::likely(format!("{text}; `{dead}` grew"), evidence),
        None => Answer::possible(text, evidence),
    };
    answer.would_decide(&[Source::DeadLetters])
}

/// Somebody got it from the queue that it was sent to.
fn handed_out(story: &Story<'_>, passage: &Transfer<'_>) -> bool {
    let is_it = |queue: &str, id: Option<&str>| {
        queue == passage.queue && id.is_some_and(|id| story.is_my_message(id))
    };
    story.reached(Stage::Delivered).is_some()
        || story.timeline.events.iter().any(|event| {
            matches!(&event.kind, EventKind::Deliver { queue, message, .. }
                if is_it(queue, message.message_id.as_deref()))
        })
}

/// No delivery was seen from then on.
fn nothing_taken(story: &Story<'_>, queue: &str, since_ms: f64) -> bool {
    !story.timeline.events.iter().any(|event| {
        matches!(&event.kind, EventKind::Deliver { queue: from, .. } if from == queue && event.at_ms >= since_ms)
    })
}

/// Nor could there be one: every delivery is seen, and nobody consumes.
fn nobody_takes(story: &Story<'_>, passage: &Transfer<'_>) -> bool {
    let nobody = story
        .depths(passage.queue)
        .filter(|depth| depth.at_ms >= passage.at_ms)
        .all(|depth| depth.consumers == 0 && depth.ready > 0);
    nobody && nothing_taken(story, passage.queue, passage.at_ms) && story.sees_all(Source::Firehose)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{API, Scene};
    use serde_json::json;

    fn full(overflow: &str) -> Scene {
        let limit = json!({ "x-max-length": 2, "x-overflow": overflow });
        Scene::new()
            .depth("default", 2, 1)
            .submitted()
            .row("PENDING")
            .publish("default")
            .at(500.0)
            .depth("default", 2, 1)
            .totals("default", 2, 4, limit)
    }

    #[test]
    fn refused_by_a_full_queue() {
        let scene = full("reject-publish").silence();
        assert!(scene.cause().ends_with(" dropped-by-limit"), "{}", scene.cause());
    }

    /// A queue for `most`, with one more message behind ours and `ready` at the end.
    fn pushed_out(most: u64, ready: u64, consumers: u64) -> Scene {
        let limit = json!({ "x-max-length": most });
        Scene::new()
            .depth("default", 0, consumers)
            .submitted()
            .row("PENDING")
            .publish("default")
            .at(300.0)
            .publish_as("default", API, Scene::message("m-2"))
            .at(500.0)
            .depth("default", ready, consumers)
            .totals("default", ready, 4, limit)
            .silence()
    }

    #[test]
    fn pushed_out_by_a_newer_one() {
        assert_eq!(pushed_out(1, 1, 0).cause(), "likely dropped-by-limit");
        // Both fit, and somebody may have taken one.
        assert_ne!(pushed_out(2, 2, 0).answer(&CAUSE), "likely");
        assert_ne!(pushed_out(2, 1, 0).answer(&CAUSE), "likely");
        assert_ne!(pushed_out(1, 1, 1).answer(&CAUSE), "likely");
    }

    #[test]
    fn seen_among_the_dead_letters() {
        let scene = full("drop-head").dead_letter("default.XQ", "maxlen").silence();
        assert_eq!(scene.cause(), "certain dropped-by-limit");
    }

    /// The limit is a policy's that could not be read.
    #[test]
    fn fewer_wait_than_were_sent() {
        let sent = |waiting: u64, policy_unknown: bool| {
            let policy = |scene: Scene| {
                let mut scene = scene.totals("default", 0, 0, json!({}));
                if let Some(event) = scene.timeline.events.last_mut()
                    && let EventKind::QueueInfo {
                        policy_unknown: unknown,
                        ..
                    } = &mut event.kind
                {
                    *unknown = policy_unknown;
                }
                scene
            };
            policy(Scene::accepted().row("PENDING").depth("default", 0, 0))
                .publish("default")
                .depth("default", 1, 0)
                .publish_as("default", API, Scene::message("other"))
                .totals("default", waiting, 0, json!({}))
                .depth("default", waiting, 0)
                .silence()
        };
        assert_eq!(sent(1, true).answer(&CAUSE), "likely");
        assert_ne!(sent(2, true).answer(&CAUSE), "likely");
        assert_eq!(sent(1, false).answer(&CAUSE), "ruled out");
    }

    #[test]
    fn the_tail_of_a_queue_that_drops_its_head() {
        assert_ne!(full("drop-head").silence().answer(&CAUSE), "certain");
    }

    #[test]
    fn no_limit_and_no_sight() {
        let scene = Scene::published().totals("default", 1, 0, json!({})).silence();
        assert_eq!(scene.answer(&CAUSE), "ruled out");
        let blind = full("reject-publish").without(Source::Management);
        assert_eq!(blind.without(Source::DeadLetters).answer(&CAUSE), "cannot tell");
    }

    /// Sent with a delay of ten minutes to a delay queue with this limit.
    fn delayed(limit: serde_json::Value, before: u64, behind: usize, after: u64) -> Scene {
        let mut message = Scene::message("m-1");
        message.eta_ms = message.timestamp_ms.map(|at| at + 600_000);
        let scene = Scene::new()
            .depth("default", 0, 0)
            .depth("default.DQ", before, 0)
            .totals("default", 0, 0, json!({}))
            .totals("default.DQ", before, 0, limit)
            .submitted()
            .row("PENDING")
            .publish_as("default.DQ", API, message);
        let scene = (0..behind).fold(scene.at(300.0), |scene, n| {
            scene.publish_as("default.DQ", API, Scene::message(&format!("other-{n}")))
        });
        scene
            .at(900.0)
            .depth("default", 0, 0)
            .depth("default.DQ", after, 0)
            .silence()
    }

    /// The limit that counts is that of the queue that it was sent to.
    #[test]
    fn refused_by_a_full_delay_queue() {
        let refuses = || json!({ "x-max-length": 1, "x-overflow": "reject-publish" });
        let refused = delayed(refuses(), 1, 0, 1);
        assert_eq!(refused.cause(), "likely dropped-by-limit");
        assert_eq!(refused.verdict().message.map(|found| found.place), None);
        let newest = json!({ "x-max-length": 3 });
        let flooded = delayed(newest.clone(), 1, 6, 3);
        assert_eq!(flooded.cause(), "likely dropped-by-limit");
        assert_eq!(flooded.verdict().message.map(|found| found.place), None);
        // It pushes the oldest out, and stays.
        let last = delayed(json!({ "x-max-length": 1 }), 1, 0, 1);
        assert_eq!(last.answer(&CAUSE), "ruled out");
        assert!(last.cause().ends_with(" delayed"), "{}", last.cause());
        assert_eq!(delayed(newest, 1, 1, 3).answer(&CAUSE), "ruled out");
        let fits = delayed(json!({}), 1, 0, 2);
        assert_eq!(fits.answer(&CAUSE), "ruled out");
        assert!(fits.verdict().message.is_some());
    }

    /// At the tail of a queue that drops its oldest it waits, and nobody takes it.
    #[test]
    fn what_pushes_the_oldest_out_waits_for_a_consumer() {
        let limit = json!({ "x-max-length": 2 });
        let scene = Scene::new()
            .depth("default", 2, 0)
            .submitted()
            .row("PENDING")
            .publish("default")
            .at(500.0)
            .depth("default", 2, 0)
            .totals("default", 2, 0, limit)
            .silence();
        assert_eq!(scene.answer(&CAUSE), "ruled out");
        assert!(
            scene.cause().ends_with("n no-consumer") || scene.cause().ends_with("y no-consumer"),
            "{}",
            scene.cause()
        );
        assert_ne!(scene.cause(), "possible no-consumer");
    }

    /// A limit in bytes that not even one message keeps to.
    #[test]
    fn larger_than_the_queue_may_be() {
        let sent = |ready: u64, dead: u64| {
            Scene::new()
                .depth("default", 0, 0)
                .depth("default.XQ", 0, 0)
                .submitted()
                .row("PENDING")
                .publish("default")
                .depth("default", ready, 0)
                .depth("default.XQ", dead, 0)
                .totals("default", ready, 0, json!({ "x-max-length-bytes": 2000 }))
                .silence()
        };
        assert_eq!(sent(0, 1).cause(), "likely dropped-by-limit");
        assert_eq!(sent(0, 0).answer(&CAUSE), "possible");
        assert_eq!(sent(1, 0).answer(&CAUSE), "not applicable");
    }
}
