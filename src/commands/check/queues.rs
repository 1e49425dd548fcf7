//! Queues of the vhost, besides the configured one, in which messages wait for nobody.

use std::collections::HashSet;

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::finding::{Finding, finding};
use crate::config::Config;
use crate::diagnosis::Story;
use crate::framework::{Queues, Role};
use crate::http::segment;
use crate::rabbitmq::management::Management;
use crate::text::counted;

/// More than these are counted, not named.
const MOST: usize = 10;

/// One of the vhost's, as the broker lists it without statistics: they would be seconds old.
#[derive(Debug, Deserialize)]
pub(super) struct Queue {
    name: String,
    #[serde(default)]
    messages_ready: u64,
    #[serde(default)]
    arguments: Map<String, Json>,
}

/// All of them. Without the right to see them there are none to tell of, as the source's own line says.
pub(super) async fn list(config: &Config) -> Vec<Queue> {
    let Ok(management) = Management::new(&config.broker) else {
        return Vec::new();
    };
    let columns = "name,messages_ready,arguments";
    let path = format!(
        "queues/{}?disable_stats=true&enable_queue_totals=true&columns={columns}",
        segment(&config.broker.vhost)
    );
    management.list(&path).await.unwrap_or_default()
}

pub(super) fn findings(story: &Story<'_>, listed: &[Queue]) -> Vec<Finding> {
    let Some(consumers) = story.consumers() else {
        return Vec::new();
    };
    let consumed: HashSet<&str> = consumers.iter().map(|one| one.queue.as_str()).collect();
    let dead_letters: HashSet<&str> = listed
        .iter()
        .filter_map(|queue| queue.arguments.get("x-dead-letter-routing-key")?.as_str())
        .collect();
    let names = &story.framework().queues;
    let is_kept = |name: &str| is_kept(names, name) || dead_letters.contains(name);
    let waiting: Vec<&Queue> = listed
        .iter()
        .filter(|queue| queue.messages_ready > 0 && names.base(&queue.name) != story.queue())
        .filter(|queue| !consumed.contains(queue.name.as_str()) && !is_kept(&queue.name))
        .collect();
    let mut found: Vec<Finding> = waiting.iter().take(MOST).map(|queue| of(queue)).collect();
    if let Some(more @ 1..) = waiting.len().checked_sub(MOST) {
        found.push(finding(
            format!(
                "{} of this vhost have messages and no consumer as well",
                counted(more as u64, "more queue", "more queues")
            ),
            "`rabbitmqctl list_queues name messages_ready consumers` names them",
        ));
    }
    found
}

fn of(queue: &Queue) -> Finding {
    let ready = counted(queue.messages_ready, "message waits", "messages wait");
    finding(
        format!(
            "queue `{}` of this vhost has no consumer; {ready} in it",
            queue.name
        ),
        "start a worker that consumes it, or correct the queue that its tasks are sent to; leave it if it only keeps messages",
    )
}

/// Nobody is to consume it: what was rejected, what waits for its time in the broker, and what workers tell each other.
fn is_kept(names: &Queues, name: &str) -> bool {
    names.split(name).1 == Role::DeadLetter
        || (names.keeps_for_later)(name)
        || (names.is_bookkeeping)("", name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Scene, WORKER};
    use serde_json::json;

    fn texts(framework: &str, listed: &Json) -> Vec<String> {
        let scene = Scene::new()
            .setup(|setup| setup.framework = framework.into())
            .consumers(&[("default", WORKER, 4), ("emails", WORKER, 4)]);
        let listed: Vec<Queue> = serde_json::from_value(listed.clone()).expect("a list");
        let found = findings(&Story::new(&scene.timeline), &listed);
        found.into_iter().map(|finding| finding.text).collect()
    }

    #[test]
    fn every_queue_with_messages_and_no_consumer_is_named() {
        let listed = json!([
            { "name": "default", "messages_ready": 7 },
            { "name": "emails", "messages_ready": 4 },
            { "name": "orders", "messages_ready": 3 },
            { "name": "empty", "messages_ready": 0 },
            { "name": "starting" },
        ]);
        for framework in ["celery", "dramatiq"] {
            let texts = texts(framework, &listed);
            assert_eq!(
                texts,
                ["queue `orders` of this vhost has no consumer; 3 messages wait in it"],
                "{framework}"
            );
        }
    }

    #[test]
    fn queues_that_only_keep_messages_are_a_near_miss() {
        let kept = |name: &str| json!([{ "name": name, "messages_ready": 3 }]);
        assert_eq!(texts("dramatiq", &kept("orders.XQ")).len(), 0);
        assert_eq!(texts("celery", &kept("celery_delayed_27")).len(), 0);
        assert_eq!(texts("celery", &kept("celeryev.1")).len(), 0);
        assert_eq!(texts("celery", &kept("celery_delayed_x")).len(), 1);
        let dead = json!([
            { "name": "orders", "arguments": { "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "orders-failed" } },
            { "name": "orders-failed", "messages_ready": 3 },
        ]);
        assert_eq!(texts("celery", &dead).len(), 0);
        // What waits for its time in the worker's hands has nobody who moves it.
        assert_eq!(texts("dramatiq", &kept("orders.DQ")).len(), 1);
    }

    #[test]
    fn many_are_counted_and_without_the_list_of_consumers_nothing_is_said() {
        let many: Vec<Json> = (0..13)
            .map(|n| json!({ "name": format!("q{n}"), "messages_ready": 1 }))
            .collect();
        let texts = texts("celery", &Json::Array(many));
        assert_eq!(texts.len(), MOST + 1);
        assert!(texts[MOST].starts_with("3 more queues"), "{}", texts[MOST]);
        let scene = Scene::new();
        let one = vec![Queue {
            name: "orders".into(),
            messages_ready: 1,
            arguments: Map::new(),
        }];
        assert!(findings(&Story::new(&scene.timeline), &one).is_empty());
    }
}
