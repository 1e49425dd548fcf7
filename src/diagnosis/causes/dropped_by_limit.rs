//! A length limit dropped the message.

use crate::diagnosis::evidence::{Info, Transfer, broker, holding};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::text::counted;
use crate::timeline::{EventKind, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "dropped-by-limit",
    keeps_from: &[Stage::Published, Stage::Delivered],
    owner: &[Owner::Broker],
    explains: &[],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Management, Source::DeadLetters]],
    general: false,
    fails_attempt: false,
    applies_to: &[],
    page: include_str!("dropped_by_limit.md"),
    check,
};

/// Whether a policy limits it could not be read, at the last look or at an earlier one.
fn by_an_unread_policy(story: &Story<'_>, passage: &Transfer<'_>, last: &Info<'_>) -> Option<Answer> {
    if last.policy_unknown {
        return Some(
            match story.closed() && broker::did_not_grow(story) && nobody_takes(story, passage.at_ms) {
                true => Answer::likely(
                    format!(
                        "`{}` did not grow by this publish, though nobody takes messages: a limit of its policy, which could not be read",
                        story.queue()
                    ),
                    [passage.n, last.n],
                ),
                false => Answer::cannot_tell(&[Source::Management]),
            },
        );
    }
    // Fewer wait than were sent.
    let policy = story.infos(story.queue()).find(|info| info.policy_unknown)?;
    let after = story.depths(story.queue()).last()?;
    let mut behind = holding::sent_behind(story, passage);
    behind.retain(|event| event.at_ms < after.at_ms);
    let is_sure = story.closed() && nobody_takes(story, passage.at_ms);
    let one_is_missing = !behind.is_empty() && after.ready <= behind.len() as u64;
    (is_sure && one_is_missing).then(|| {
        let text = format!(
            "`{}` holds {} although this message came, and {} behind it, and nobody took one: a limit of its policy, which could not be read",
            story.queue(),
            after.ready,
            behind.len()
        );
        Answer::likely(text, [passage.n, policy.n, after.n])
    })
}

fn check(story: &Story<'_>) -> Answer {
    // The dead letter itself proves the publish.
    if let Some(from) = broker::dead_lettered(story, "maxlen") {
        let mut evidence: Vec<u32> = story.published().map(|passage| passage.n).into_iter().collect();
        evidence.push(from.n);
        return Answer::shown(
            format!("the message is on the dead-letter queue: dropped from `{from}` by its length limit"),
            evidence,
        );
    }
    let Some(passage) = story.published() else {
        return Answer::NotApplicable;
    };
    let Some(info) = story.infos(story.queue()).last() else {
        return Answer::cannot_tell(&[Source::Management]);
    };
    let limit = ["x-max-length", "x-max-length-bytes"]
        .iter()
        .find_map(|key| info.arguments.get(*key).map(|value| format!("{key} {value}")))
        .or_else(|| {
            ["max-length", "max-length-bytes"].iter().find_map(|key| {
                info.policy_definition
                    .get(*key)
                    .map(|value| format!("policy {key} {value}"))
            })
        });
    if limit.is_none()
        && let Some(answer) = by_an_unread_policy(story, passage, &info)
    {
        return answer;
    }
    let Some(limit) = limit else {
        return Answer::ruled_out(format!("`{}` has no length limit", story.queue()), [info.n]);
    };
    if !story.closed() || story.reached(Stage::Delivered).is_some() {
        return Answer::NotApplicable;
    }
    let overflow = info
        .arguments
        .get("x-overflow")
        .or_else(|| info.policy_definition.get("overflow"))
        .and_then(serde_json::Value::as_str)
        .unwrap_or("drop-head");
    let most = info
        .arguments
        .get("x-max-length")
        .or_else(|| info.policy_definition.get("max-length"))
        .and_then(serde_json::Value::as_u64);
    let depths: Vec<_> = story.depths(story.queue()).collect();
    let before = depths.iter().rfind(|depth| depth.at_ms < passage.at_ms);
    let after = depths.last();
    let (Some(most), Some(before), Some(after)) = (most, before, after) else {
        return Answer::NotApplicable;
    };
    let mut behind = holding::sent_behind(story, passage);
    behind.retain(|event| event.at_ms < after.at_ms);
    // The newest stay, and no more of them wait than came behind this one.
    if overflow == "drop-head"
        && after.ready >= most
        && behind.len() as u64 >= after.ready
        && nobody_takes(story, passage.at_ms)
    {
        let text = format!(
            "`{}` keeps its newest {most} ({limit}, overflow {overflow}), and {} came behind this one: the broker dropped it",
            story.queue(),
            counted(behind.len() as u64, "message", "messages")
        );
        let mut evidence = vec![passage.n, info.n, after.n];
        evidence.extend(behind.last().map(|event| event.n));
        return Answer::likely(text, evidence).would_decide(&[Source::DeadLetters]);
    }
    // Full before the publish, and not a message more after it, though none was taken away. With
    // drop-head it is the oldest that goes: this one is at the tail and stays.
    if before.ready >= most && after.ready <= before.ready && nothing_taken(story, before.at_ms) {
        let text = format!(
            "`{}` was full ({limit}, overflow {overflow}) and did not grow by this publish",
            story.queue()
        );
        let evidence = [passage.n, info.n, before.n, after.n];
        let answer = if overflow.starts_with("reject-publish") && story.sees_all(Source::Firehose) {
            Answer::likely(format!("{text}: the broker refused the message"), evidence)
        } else {
            Answer::possible(text, evidence)
        };
        return answer.would_decide(&[Source::DeadLetters]);
    }
    Answer::NotApplicable
}

/// No delivery was seen from then on.
fn nothing_taken(story: &Story<'_>, since_ms: f64) -> bool {
    !story.timeline.events.iter().any(|event| {
        matches!(&event.kind, EventKind::Deliver { queue, .. } if queue == story.queue() && event.at_ms >= since_ms)
    })
}

/// Nor could there be one: every delivery is seen, and nobody consumes.
fn nobody_takes(story: &Story<'_>, since_ms: f64) -> bool {
    let nobody = story
        .depths(story.queue())
        .filter(|depth| depth.at_ms >= since_ms)
        .all(|depth| depth.consumers == 0 && depth.ready > 0);
    nobody && nothing_taken(story, since_ms) && story.sees_all(Source::Firehose)
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
}
