//! A length limit dropped the message.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "dropped-by-limit",
    keeps_from: &[Stage::Published, Stage::Delivered],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Management]],
    general: false,
    page: include_str!("dropped_by_limit.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let Some(passage) = story.published() else {
        return Answer::NotApplicable;
    };
    if let Some((n, from)) = super::dead_lettered(story, "maxlen") {
        return Answer::certain(
            format!("the message is on the dead-letter queue: dropped from `{from}` by its length limit"),
            [passage.n, n],
        );
    }
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
    // With a limit and a message that was never delivered: only where it is no longer ready.
    let ready = info
        .ready
        .or_else(|| story.depths(story.queue()).last().map(|depth| depth.ready));
    let limit_reached = match (
        ready,
        info.arguments
            .get("x-max-length")
            .or_else(|| info.policy_definition.get("max-length"))
            .and_then(serde_json::Value::as_u64),
    ) {
        (Some(ready), Some(limit)) => ready >= limit,
        _ => false,
    };
    if limit_reached {
        return Answer::likely(
            format!(
                "`{}` is full ({limit}, overflow {overflow}): messages are dropped",
                story.queue()
            ),
            [passage.n, info.n],
        )
        .would_decide(&[Source::DeadLetters]);
    }
    Answer::NotApplicable
}
