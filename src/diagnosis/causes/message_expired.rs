//! A TTL ended before anybody took the message.

use crate::diagnosis::evidence::broker;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "message-expired",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::Broker],
    explains: &[],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Management]],
    general: false,
    fails_attempt: false,
    applies_to: &[],
    page: include_str!("message_expired.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let Some(passage) = story.published() else {
        return Answer::NotApplicable;
    };
    if let Some((n, from)) = broker::dead_lettered(story, "expired") {
        return Answer::shown(
            format!("the message expired on `{from}` before anybody took it"),
            [passage.n, n],
        );
    }
    let Some(info) = story.infos(story.queue()).last() else {
        return Answer::cannot_tell(&[Source::Management]);
    };
    let ttl = info
        .arguments
        .get("x-message-ttl")
        .or_else(|| info.policy_definition.get("message-ttl"))
        .and_then(serde_json::Value::as_u64);
    if ttl.is_none() && info.policy_unknown {
        return Answer::cannot_tell(&[Source::Management]);
    }
    let Some(ttl) = ttl else {
        return Answer::ruled_out(format!("`{}` has no message TTL", story.queue()), [info.n]);
    };
    if !story.closed() || story.reached(Stage::Delivered).is_some() || passage.queue != story.queue() {
        return Answer::NotApplicable;
    }
    let now = story.depths(story.queue()).last();
    match now.zip(story.dead_letter_queue()) {
        Some((depth, dead)) if depth.ready == 0 && broker::grew(story, &dead) && story.sees_all(Source::Firehose) => Answer::likely(
            format!("messages on `{}` live {ttl} ms; this one is no longer there, was never delivered, and `{dead}` grew", story.queue()),
            [passage.n, info.n, depth.n],
        )
        .would_decide(&[Source::DeadLetters]),
        _ => Answer::NotApplicable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;
    use serde_json::json;

    fn short_lived() -> Scene {
        Scene::new()
            .depth("default.XQ", 0, 0)
            .depth("default", 2, 1)
            .submitted()
            .row("PENDING")
            .publish("default")
            .at(2000.0)
            .depth("default", 0, 1)
            .depth("default.XQ", 3, 0)
            .totals("default", 0, 4, json!({ "x-message-ttl": 500 }))
    }

    #[test]
    fn gone_without_a_delivery() {
        assert_eq!(short_lived().silence().cause(), "likely message-expired");
        let seen = short_lived().dead_letter("default.XQ", "expired");
        assert_eq!(seen.silence().answer(&CAUSE), "certain");
    }

    #[test]
    fn a_policy_that_is_not_known_excludes_nothing() {
        let without = Scene::published().totals("default", 1, 0, json!({}));
        assert_eq!(without.clone().silence().answer(&CAUSE), "ruled out");
        let mut unknown = without;
        for event in &mut unknown.timeline.events {
            if let crate::timeline::EventKind::QueueInfo { policy_unknown, .. } = &mut event.kind {
                *policy_unknown = true;
            }
        }
        assert_eq!(unknown.silence().answer(&CAUSE), "cannot tell");
    }

    #[test]
    fn rejected_or_without_a_limit_is_a_near_miss() {
        let rejected = Scene::published().dead_letter("default.XQ", "rejected").silence();
        assert_ne!(rejected.answer(&CAUSE), "certain");
        let endless = Scene::published().totals("default", 0, 0, json!({})).silence();
        assert_eq!(endless.answer(&CAUSE), "ruled out");
        assert_eq!(
            short_lived().silence().without(Source::Management).answer(&CAUSE),
            "cannot tell"
        );
    }
}
