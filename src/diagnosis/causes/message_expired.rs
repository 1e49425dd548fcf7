//! A TTL ended before anybody took the message.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::framework::dramatiq;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "message-expired",
    keeps_from: &[Stage::Delivered],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Management]],
    general: false,
    page: include_str!("message_expired.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let Some(passage) = story.published() else {
        return Answer::NotApplicable;
    };
    if let Some((n, from)) = super::dead_lettered(story, "expired") {
        return Answer::certain(
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
    let Some(ttl) = ttl else {
        return Answer::ruled_out(format!("`{}` has no message TTL", story.queue()), [info.n]);
    };
    if !story.closed() || story.reached(Stage::Delivered).is_some() || passage.queue != story.queue() {
        return Answer::NotApplicable;
    }
    let now = story.depths(story.queue()).last();
    let dead = dramatiq::dead_letter_queue(story.queue());
    match now {
        Some(depth) if depth.ready == 0 && super::grew(story, &dead) && story.sees(Source::Firehose) => Answer::likely(
            format!("messages on `{}` live {ttl} ms; this one is no longer there, was never delivered, and `{dead}` grew", story.queue()),
            [passage.n, info.n, depth.n],
        )
        .would_decide(&[Source::DeadLetters]),
        _ => Answer::NotApplicable,
    }
}
