//! What a length limit of its queue did, or may have done, with a message.

use super::{Story, Transfer, WorkerLine, holding};
use crate::framework::LogEvent;
use crate::timeline::Source;
use crate::units;

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

/// A queue that keeps messages for less than a minute loses those that no worker takes at once.
const SHORT_MS: u64 = 60_000;

impl<'a> Story<'a> {
    /// What takes messages from the task's queue, as it is now: it is full, or they expire soon.
    pub fn loses_messages(&self) -> Vec<String> {
        let queue = self.queue();
        let mut found = Vec::new();
        let depth = self.depths(queue).last();
        if let Some(limit) = limit_of(self, queue)
            && let (Some(most), Some(depth)) = (limit.most, depth)
            && depth.ready >= most
        {
            found.push(format!(
                "queue `{queue}` is full: {} wait in it ({}, overflow {})",
                depth.ready, limit.text, limit.overflow
            ));
        }
        let mut infos = self.infos(queue).rev();
        let ttl = infos.find_map(|info| info.setting("message-ttl")?.as_u64());
        if let Some(ttl) = ttl.filter(|ttl| *ttl < SHORT_MS) {
            found.push(format!(
                "messages on `{queue}` live {}: what no worker takes by then is gone",
                units::span(ttl as f64)
            ));
        }
        found
    }

    /// The worker's last word of its connection is an error, and nobody consumes.
    pub fn connection_refused(&self) -> Option<&WorkerLine<'a>> {
        let nobody = self
            .depths(self.queue())
            .last()
            .is_some_and(|depth| depth.consumers == 0);
        let about_it = self.worker_lines().iter().rev().find(|told| {
            let mark = told.mark;
            matches!(
                mark,
                Some(LogEvent::ConnectionError { .. } | LogEvent::Connected { .. } | LogEvent::ShutDown)
            )
        });
        about_it.filter(|told| nobody && matches!(told.mark, Some(LogEvent::ConnectionError { .. })))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::diagnosis::testing::Scene;

    #[test]
    fn a_full_queue_and_a_short_life_are_named() {
        let seen = |ready: u64, arguments: serde_json::Value| {
            let scene = Scene::new()
                .depth("default", ready, 0)
                .totals("default", ready, 0, arguments);
            Story::new(&scene.timeline).loses_messages().len()
        };
        let limits = || json!({ "x-max-length": 2, "x-message-ttl": 1000 });
        assert_eq!(seen(2, limits()), 2);
        assert_eq!(seen(1, limits()), 1);
        assert_eq!(seen(2, json!({ "x-message-ttl": 1_200_000 })), 0);
    }

    #[test]
    fn an_error_that_the_worker_got_over_is_a_near_miss() {
        let logger = "dramatiq.worker.ConsumerThread(default)";
        let refused = "Consumer encountered a connection error: ProbableAuthenticationError: (403)";
        let seen = |consumers: u64| {
            let scene = Scene::new()
                .critical(logger, refused)
                .depth("default", 0, consumers);
            Story::new(&scene.timeline).connection_refused().is_some()
        };
        assert!(seen(0));
        assert!(!seen(1));
    }
}
