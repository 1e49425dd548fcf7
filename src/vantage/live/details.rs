//! Statistics and consumers of the few queues that are looked at: one request each, because
//! `/consumers` never paginates, and because below the `monitoring` tag it shows this user's own
//! consumers only, while the single queue shows all of its own (seen on 3.10.8).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value as Json;
use tokio::sync::watch;

use super::{Sink, Wanted};
use crate::http::segment;
use crate::rabbitmq::management::Management;
use crate::timeline::scrub::Scrubber;
use crate::trace::PeerProcess;
use crate::vantage::process;
use crate::watch::observation::{Consumer, Details, Observation, Stats};

/// Each queue so often at most; statistics themselves are new every 5 s.
const EVERY: Duration = Duration::from_secs(2);
const SHARE: u32 = 20;

/// One queue costs the broker no more: what takes longer was waited for.
const MOST: Duration = Duration::from_millis(50);

const COLUMNS: &str = "consumer_details,message_stats,head_message_timestamp,arguments";
const PAST: &str = ",messages_details&msg_rates_age=120&msg_rates_incr=5&lengths_age=120&lengths_incr=5";

pub async fn look(
    management: &Management,
    vhost: &str,
    mut wanted: watch::Receiver<Wanted>,
    scrubber: &Arc<Scrubber>,
    sink: &Sink,
) {
    let mut looked: HashMap<String, Instant> = HashMap::new();
    let mut remembered: HashSet<String> = HashSet::new();
    let mut holders: HashMap<String, Option<PeerProcess>> = HashMap::new();
    loop {
        let queue = {
            let wanted = wanted.borrow_and_update();
            looked.retain(|name, _| wanted.details.contains(name));
            remembered.retain(|name| wanted.details.contains(name));
            wanted
                .details
                .iter()
                .filter(|name| looked.get(*name).is_none_or(|at| at.elapsed() >= EVERY))
                .min_by_key(|name| looked.get(*name).copied())
                .cloned()
        };
        let Some(queue) = queue else {
            let _ = tokio::time::timeout(EVERY / 10, wanted.changed()).await;
            continue;
        };
        let (began, asked) = (Instant::now(), sink.clock.elapsed());
        looked.insert(queue.clone(), began);
        // The first time with what the broker remembers of the last minutes.
        let past = if remembered.contains(&queue) { "" } else { PAST };
        let path = format!(
            "queues/{}/{}?columns={COLUMNS}{past}",
            segment(vhost),
            segment(&queue)
        );
        // A queue that is missing or may not be seen is the list's business.
        let Ok(answer) = management.get(&path).await else {
            tokio::time::sleep(EVERY / 4).await;
            continue;
        };
        let took = began.elapsed();
        remembered.insert(queue.clone());
        let (mut details, connections) = read(queue, &answer, scrubber);
        details.asked = asked;
        if let Some(consumers) = &mut details.consumers {
            find_processes(consumers, &connections, &mut holders, scrubber).await;
        }
        sink.see(Observation::Details(details));
        tokio::time::sleep(SHARE * took.min(MOST)).await;
    }
}

/// What the broker says of one queue, and the connections of its consumers in their order.
fn read(queue: String, answer: &Json, scrubber: &Scrubber) -> (Details, Vec<String>) {
    let mut connections = Vec::new();
    let consumers = answer
        .get("consumer_details")
        .and_then(Json::as_array)
        .map(|items| {
            items
                .iter()
                .map(|item| {
                    let text = |pointer: &str| {
                        let text = item.pointer(pointer).and_then(Json::as_str).unwrap_or_default();
                        scrubber.text(text)
                    };
                    // A new consumer is listed before its channel is known.
                    let known = |pointer: &str| match text(pointer) {
                        text if text.is_empty() => "?".into(),
                        text => text,
                    };
                    connections.push(text("/channel_details/connection_name"));
                    Consumer {
                        host: known("/channel_details/peer_host"),
                        port: item
                            .pointer("/channel_details/peer_port")
                            .and_then(Json::as_u64)
                            .and_then(|port| u16::try_from(port).ok()),
                        user: known("/channel_details/user"),
                        tag: text("/consumer_tag"),
                        prefetch: item.get("prefetch_count").and_then(Json::as_u64).unwrap_or(0),
                        pid: None,
                        command: None,
                        process_state: None,
                    }
                })
                .collect()
        });
    let stats = answer
        .get("message_stats")
        .filter(|stats| stats.is_object())
        .map(|stats| {
            let count = |key: &str| stats.get(key).and_then(Json::as_u64);
            let rate = |key: &str| {
                stats
                    .pointer(&format!("/{key}_details/rate"))
                    .and_then(Json::as_f64)
            };
            let sum = |keys: &[&str]| {
                let known: Vec<u64> = keys.iter().filter_map(|key| count(key)).collect();
                (!known.is_empty()).then(|| known.iter().sum())
            };
            let sum_of_rates = |keys: &[&str]| {
                let known: Vec<f64> = keys.iter().filter_map(|key| rate(key)).collect();
                (!known.is_empty()).then(|| known.iter().sum())
            };
            Stats {
                published: count("publish"),
                delivered: count("deliver_get"),
                done: sum(&["ack", "deliver_no_ack", "get_no_ack"]),
                publish_rate: rate("publish"),
                deliver_rate: rate("deliver_get"),
                ack_rate: sum_of_rates(&["ack", "deliver_no_ack", "get_no_ack"]),
            }
        });
    let details = Details {
        queue,
        asked: Duration::ZERO,
        stats,
        consumers,
        head_timestamp: answer.get("head_message_timestamp").and_then(Json::as_i64),
        single_active: answer.pointer("/arguments/x-single-active-consumer") == Some(&Json::Bool(true)),
        lost_before: lost_before(answer),
    };
    (details, connections)
}

/// How many messages had left without being acknowledged when last nothing moved: the samples of
/// publishes, acknowledgements and totals are of different moments, so three of them must agree.
fn lost_before(answer: &Json) -> Option<i64> {
    let samples = |pointer: &str| -> Vec<i64> {
        let samples = answer.pointer(pointer).and_then(Json::as_array);
        samples
            .into_iter()
            .flatten()
            .filter_map(|sample| sample.get("sample")?.as_i64())
            .collect()
    };
    let publishes = samples("/message_stats/publish_details/samples");
    let totals = samples("/messages_details/samples");
    let done: Vec<Vec<i64>> = ["ack", "deliver_no_ack", "get_no_ack"]
        .iter()
        .map(|key| samples(&format!("/message_stats/{key}_details/samples")))
        .collect();
    let at = |n: usize| {
        let done: Option<i64> = done.iter().map(|samples| samples.get(n).copied()).sum();
        Some((*publishes.get(n)?, done?, *totals.get(n)?))
    };
    // The newest comes first.
    (0..publishes.len()).find_map(|n| {
        let here = at(n)?;
        (at(n + 1)? == here && at(n + 2)? == here).then_some(here.0 - here.1 - here.2)
    })
}

/// Puts the processes to the consumers. `/proc` is walked for new connections only.
async fn find_processes(
    consumers: &mut [Consumer],
    connections: &[String],
    holders: &mut HashMap<String, Option<PeerProcess>>,
    scrubber: &Arc<Scrubber>,
) {
    let new: Vec<String> = connections
        .iter()
        .filter(|name| !name.is_empty() && !holders.contains_key(*name))
        .cloned()
        .collect();
    if !new.is_empty() {
        // Nobody watches for so long that ten thousand connections are worth remembering.
        if holders.len() > 10_000 {
            holders.clear();
        }
        let asked = new.clone();
        let mut found = tokio::task::spawn_blocking(move || process::peers(&asked))
            .await
            .unwrap_or_default();
        for name in new {
            let holder = found.remove(&name);
            holders.insert(name, holder);
        }
    }
    for (consumer, connection) in consumers.iter_mut().zip(connections) {
        let Some(Some(holder)) = holders.get(connection) else {
            continue;
        };
        consumer.pid = Some(holder.pid);
        consumer.command = Some(scrubber.text(&holder.command.join(" ")));
        consumer.process_state =
            process::state_of(holder.pid).filter(|state| matches!(state, 'T' | 't' | 'Z' | 'D'));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As seen on 3.10.8.
    #[test]
    fn a_queue_with_a_consumer() {
        let answer = json!({
            "consumer_details": [{
                "ack_required": true, "consumer_tag": "ctag1.9f", "prefetch_count": 4,
                "channel_details": {
                    "connection_name": "127.0.0.1:44098 -> 127.0.0.1:5672", "peer_host": "127.0.0.1",
                    "peer_port": 44098, "user": "lab"
                }
            }],
            "head_message_timestamp": null,
            "message_stats": { "ack": 3, "ack_details": { "rate": 0.4 }, "deliver_no_ack": 2, "deliver_get": 6 }
        });
        let (details, connections) = read("q".into(), &answer, &Scrubber::default());
        assert_eq!(connections, ["127.0.0.1:44098 -> 127.0.0.1:5672"]);
        let consumers = details.consumers.expect("listed");
        assert_eq!((consumers[0].port, consumers[0].prefetch), (Some(44098), 4));
        let stats = details.stats.expect("there");
        assert_eq!(
            (stats.done, stats.delivered, stats.published),
            (Some(5), Some(6), None)
        );
        assert_eq!(stats.ack_rate, Some(0.4));
        assert_eq!(details.head_timestamp, None);
    }

    /// A new queue: `?columns=` gives an array, and nothing is known, which is not zero.
    #[test]
    fn nothing_is_not_zero() {
        let (details, _) = read("q".into(), &json!([]), &Scrubber::default());
        assert_eq!((details.stats, details.consumers), (None, None));
    }
}
