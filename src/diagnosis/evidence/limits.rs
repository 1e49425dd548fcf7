//! What a length limit of its queue did, or may have done, with a message.

use super::{Story, Transfer, holding};
use crate::timeline::Source;

/// How many messages, or bytes of them, a queue keeps.
pub(in crate::diagnosis) struct Limit {
    pub n: u32,
    pub text: String,
    /// Messages; of a limit in bytes it is not known how many that are.
    pub most: Option<u64>,
    pub overflow: String,
}

/// By its arguments or a policy, as far as a look could read them: the statistics of a young queue, or a young policy, may
/// say less later than they did before.
pub(in crate::diagnosis) fn limit_of(story: &Story<'_>, queue: &str) -> Option<Limit> {
    story.infos(queue).rev().find_map(|info| {
        let limit = ["x-max-length", "x-max-length-bytes"]
            .iter()
            .find_map(|key| info.arguments.get(*key).map(|value| format!("{key} {value}")))
            .or_else(|| {
                ["max-length", "max-length-bytes"].iter().find_map(|key| {
                    let value = info.policy_definition.get(*key);
                    value.map(|value| format!("policy {key} {value}"))
                })
            })?;
        let overflow = info
            .arguments
            .get("x-overflow")
            .or_else(|| info.policy_definition.get("overflow"))
            .and_then(serde_json::Value::as_str);
        Some(Limit {
            n: info.n,
            text: limit,
            most: match info.setting("max-length-bytes") {
                Some(_) => None,
                None => info.setting("max-length").and_then(serde_json::Value::as_u64),
            },
            overflow: overflow.unwrap_or("drop-head").to_owned(),
        })
    })
}

/// It is the oldest messages that the queue throws away, and this one is among the newest, which it keeps.
pub(in crate::diagnosis) fn stays(story: &Story<'_>, passage: &Transfer<'_>) -> bool {
    let behind = holding::sent_behind(story, passage).len() as u64;
    limit_of(story, passage.queue).is_some_and(|limit| {
        let is_kept = limit.most.is_some_and(|most| behind < most);
        limit.overflow == "drop-head" && is_kept && story.sees_all(Source::Firehose)
    })
}

/// The queue has a limit, and nothing shows that it did not take this one.
pub(in crate::diagnosis) fn may_drop(story: &Story<'_>, passage: &Transfer<'_>) -> bool {
    limit_of(story, passage.queue).is_some() && !stays(story, passage)
}
