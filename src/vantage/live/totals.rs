//! Fresh totals: Ready and unacked of every watched queue, from the list with statistics disabled.

mod pace;
mod pages;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::Sink;
use crate::error::Unavailable;
use crate::hooks::Hooks;
use crate::http::segment;
use crate::rabbitmq::management::Management;
use crate::rabbitmq::nodes;
use crate::watch::observation::{Kind, Listed, Listing, Observation, Probe};
use crate::watch::selector::QueueSelector;
use pace::Pace;
use pages::Limits;

/// So long may the pattern be within a URL.
const LONGEST: usize = 3000;

/// So many queues that a list lacks are asked for by name.
const MOST_ASKED: usize = 20;

const QUERY: &str =
    "disable_stats=true&enable_queue_totals=true&columns=name,type,messages_ready,messages_unacknowledged";

/// One queue. One that has just been declared is an empty array when columns are asked for, which
/// is read as one without a name.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Item {
    name: String,
    r#type: Kind,
    messages_ready: Option<u64>,
    messages_unacknowledged: Option<u64>,
}

pub async fn look(management: &Management, vhost: &str, selector: &QueueSelector, sink: &Sink) {
    let limits = Limits::of(&Hooks::from_env());
    let mut paged = selector.exact().is_some().then_some(false);
    let mut pace = Pace::default();
    let mut is_open = false;
    let mut before = 0;
    loop {
        let began = Instant::now();
        let mut listing = Box::pin(list(management, vhost, selector, paged, before, limits, sink));
        // An answer that does not come is told, and waited for all the same: asking once more would
        // only double the work of a broker that is behind.
        let patience = pace.patience();
        let listed = match tokio::time::timeout(patience, &mut listing).await {
            Ok(listed) => listed,
            Err(_) => {
                is_open = false;
                let reason = format!(
                    "the broker has not answered for its totals for {} s",
                    patience.as_secs()
                );
                sink.blind(Probe::Management, Unavailable::new(reason));
                listing.await
            }
        };
        match listed {
            Ok((listing, queues, many)) => {
                // One that is left out is not forgotten.
                before = match listing.complete {
                    true => queues,
                    false => before.max(queues),
                };
                paged = paged.or(many);
                if !is_open {
                    is_open = true;
                    sink.see(Observation::Reachable {
                        probe: Probe::Management,
                    });
                }
                let took = began.elapsed();
                sink.see(Observation::Listed(listing));
                pace.wait(management, vhost, took, queues).await;
            }
            Err(blindness) => {
                is_open = false;
                sink.blind(Probe::Management, blindness);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

/// The queues that match, and how many there are in the vhost. `paged`: whether they are so many that
/// they are asked for in pages; `None`: to be found out, and part of the answer.
async fn list(
    management: &Management,
    vhost: &str,
    selector: &QueueSelector,
    paged: Option<bool>,
    before: usize,
    limits: Limits,
    sink: &Sink,
) -> Result<(Listing, usize, Option<bool>), Unavailable> {
    let asked = sink.clock.elapsed();
    let path = format!("queues/{}?{QUERY}", segment(vhost));
    let in_pages = |pattern| pages::read(management, vhost, QUERY, pattern, limits);
    let whole = async |path: &str| {
        let items = management.list::<Vec<Item>>(path).await?;
        let count = items.len();
        Ok::<_, Unavailable>((items, count))
    };
    let mut many = None;
    let (items, count) = match pattern(selector) {
        Some(pattern) => in_pages(Some(&pattern)).await?,
        None if paged == Some(true) => in_pages(None).await?,
        None if paged.is_some() => whole(&path).await?,
        None => {
            // The first list is what somebody waits for: it does not wait for the count.
            let all = whole(&path);
            tokio::pin!(all);
            tokio::select! {
                all = &mut all => all?,
                count = count(management) => {
                    many = Some(count.is_some_and(|count| count > limits.most));
                    if many == Some(true) { in_pages(None).await? } else { all.await? }
                }
            }
        }
    };
    let mut unreadable = false;
    let queues: Vec<Listed> = items
        .into_iter()
        .filter_map(|item| {
            if item.name.is_empty() {
                unreadable = true;
                return None;
            }
            Some(Listed {
                kind: item.r#type,
                name: item.name,
                ready: item.messages_ready,
                unacked: item.messages_unacknowledged,
            })
        })
        .collect();
    let lacking = left_out(selector, &queues);
    let nodes_down = match lacking.is_empty() && count >= before {
        true => Vec::new(),
        false => nodes::down(management).await,
    };
    sink.set_down(down_with(management, vhost, &lacking, &nodes_down, sink).await);
    // Without any permission on the vhost the list is empty and the answer 200.
    let complete =
        !unreadable && nodes_down.is_empty() && (!queues.is_empty() || may_look(management, vhost).await?);
    let listing = Listing {
        queues,
        complete,
        asked,
    };
    Ok((listing, count, many))
}

/// The queues that are asked for by name and not listed.
fn left_out<'a>(selector: &'a QueueSelector, queues: &[Listed]) -> Vec<&'a str> {
    let names = selector.names().iter().map(String::as_str);
    names
        .filter(|name| queues.iter().all(|queue| queue.name != *name))
        .collect()
}

/// Those of them that are there, and whose node or leader is down: such a queue is left out of the list
/// (4.0.5, 4.3.6).
async fn down_with(
    management: &Management,
    vhost: &str,
    names: &[&str],
    nodes_down: &[String],
    sink: &Sink,
) -> HashMap<String, String> {
    let mut down = HashMap::new();
    if nodes_down.is_empty() {
        return down;
    }
    for name in names.iter().take(MOST_ASKED) {
        let path = format!("queues/{}/{}", segment(vhost), segment(name));
        let Ok(single) = management.get(&path).await else {
            continue;
        };
        let at = |key: &str| single.get(key).and_then(serde_json::Value::as_str);
        let home = at("leader").or(at("node")).unwrap_or_default();
        if nodes_down.iter().any(|node| node == home) {
            let (queue, why) = ((*name).to_owned(), format!("its node {home} is down"));
            sink.see(Observation::Down {
                queue: queue.clone(),
                why: why.clone(),
            });
            down.insert(queue, why);
        }
    }
    down
}

/// Queues of the whole broker, as far as this user sees them.
async fn count(management: &Management) -> Option<u64> {
    let overview = management
        .get("overview?columns=object_totals.queues")
        .await
        .ok()?;
    overview.pointer("/object_totals/queues")?.as_u64()
}

/// An empty list means something only to a user who has permissions on the vhost.
async fn may_look(management: &Management, vhost: &str) -> Result<bool, Unavailable> {
    let vhosts = management.get("vhosts?columns=name").await?;
    let found = vhosts
        .as_array()
        .into_iter()
        .flatten()
        .any(|item| item.get("name").and_then(serde_json::Value::as_str) == Some(vhost));
    if found {
        return Ok(true);
    }
    Err(Unavailable::new(format!(
        "vhost \"{vhost}\" does not exist, or this user has no permission on it"
    ))
    .hint("the vhost is the path of `broker.amqp_url`; one permission on it is enough: docs/rabbitmq.md"))
}

/// A regular expression for the names that can match, understood by PCRE too.
fn pattern(selector: &QueueSelector) -> Option<String> {
    let mut words: Vec<String> = Vec::new();
    for name in selector.names() {
        words.push(format!("{}{}", regex::escape(name), selector.queues().ends()));
    }
    if selector.exact().is_none() {
        for beginning in selector.beginnings()? {
            words.push(regex::escape(beginning));
        }
    }
    let pattern = format!("^({})", words.join("|"));
    (pattern.len() <= LONGEST).then_some(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str]) -> Option<String> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        pattern(&QueueSelector::new(&words).expect("valid"))
    }

    /// As seen on 3.10.8: a queue that has just been declared, and one whose counts are not known.
    #[test]
    fn what_is_not_said_is_not_zero() {
        let text = r#"[{"messages_ready":3,"messages_unacknowledged":1,"name":"a","type":"classic"},[],{"name":"b","type":"new"}]"#;
        let items: Vec<Item> = serde_json::from_str(text).expect("a list");
        let told: Vec<_> = items
            .iter()
            .map(|item| {
                (
                    item.name.as_str(),
                    item.messages_ready,
                    item.messages_unacknowledged,
                )
            })
            .collect();
        assert_eq!(
            told,
            [("a", Some(3), Some(1)), ("", None, None), ("b", None, None)]
        );
    }

    #[test]
    fn the_broker_is_asked_for_no_more_than_can_match() {
        assert_eq!(of(&["a.b"]).as_deref(), Some("^(a\\.b(\\.DQ|\\.XQ)?$)"));
        assert_eq!(of(&["ord*", "x"]).as_deref(), Some("^(x(\\.DQ|\\.XQ)?$|ord)"));
        assert_eq!(of(&["*.XQ", "x"]), None);
        assert_eq!(pattern(&QueueSelector::all()), None);
        let many: Vec<String> = (0..900).map(|n| format!("queue-{n}")).collect();
        assert_eq!(pattern(&QueueSelector::new(&many).expect("valid")), None);
    }
}
