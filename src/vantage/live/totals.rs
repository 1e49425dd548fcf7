//! Fresh totals: Ready and unacked of every watched queue, from the list with statistics disabled.
//!
//! Unpaged it costs 0.35 s for 10,000 queues; a page of 500 nearly as much, because the broker
//! looks at all of them before it cuts. So pages are for lists too long to be held at once, and a
//! pattern is for saving the transport.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::Sink;
use crate::vantage::Blindness;
use crate::vantage::http::{Management, segment};
use crate::watch::pick::Pick;
use crate::watch::sight::{Eye, Kind, Listed, Listing, Sight};

/// From one list to the next, at best; and never more than a twentieth of the time.
const EVERY: Duration = Duration::from_millis(200);
const SHARE: u32 = 20;

/// More queues than these are asked for in pages: one answer is then some 4 MB.
const MOST: u64 = 30_000;
const PAGE: usize = 500;

/// So long may the pattern be within a URL.
const LONGEST: usize = 3000;

#[derive(Deserialize)]
struct Page {
    items: Vec<Item>,
    page_count: u64,
}

/// A queue that has just been declared is an empty array when columns are asked for.
#[derive(Deserialize)]
#[serde(untagged)]
enum Item {
    Queue {
        name: String,
        #[serde(default, rename = "type")]
        kind: Option<String>,
        #[serde(default)]
        messages_ready: Option<u64>,
        #[serde(default)]
        messages_unacknowledged: Option<u64>,
    },
    Other(serde::de::IgnoredAny),
}

pub async fn look(management: &Management, vhost: &str, pick: &Pick, sink: &Sink) {
    let mut paged = None;
    let mut is_open = false;
    loop {
        let began = Instant::now();
        if paged.is_none() && pick.exact().is_none() {
            paged = count(management).await.map(|count| count > MOST);
        }
        match list(management, vhost, pick, paged == Some(true), sink).await {
            Ok(listing) => {
                if !is_open {
                    is_open = true;
                    sink.see(Sight::Sees { eye: Eye::Management });
                }
                sink.see(Sight::Listed(listing));
            }
            Err(blindness) => {
                is_open = false;
                sink.blind(Eye::Management, blindness);
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        tokio::time::sleep(EVERY.max(SHARE * began.elapsed())).await;
    }
}

/// Queues of the whole broker, as far as this user sees them.
async fn count(management: &Management) -> Option<u64> {
    let overview = management
        .get("overview?columns=object_totals.queues")
        .await
        .ok()?;
    overview.pointer("/object_totals/queues")?.as_u64()
}

async fn list(
    management: &Management,
    vhost: &str,
    pick: &Pick,
    paged: bool,
    sink: &Sink,
) -> Result<Listing, Blindness> {
    let asked = sink.clock.elapsed();
    let base = format!(
        "queues/{}?disable_stats=true&enable_queue_totals=true&columns=name,type,messages_ready,messages_unacknowledged",
        segment(vhost)
    );
    let pattern = pattern(pick);
    let mut items = Vec::new();
    if pattern.is_none() && !paged {
        items = management.list::<Vec<Item>>(&base).await?;
    } else {
        let name = pattern
            .map(|pattern| format!("&use_regex=true&name={}", segment(&pattern)))
            .unwrap_or_default();
        let mut page = 1;
        loop {
            let path = format!("{base}&page={page}&page_size={PAGE}{name}");
            let answer: Page = management.list(&path).await?;
            items.extend(answer.items);
            if page >= answer.page_count {
                break;
            }
            page += 1;
        }
    }
    let mut unreadable = false;
    let queues: Vec<Listed> = items
        .into_iter()
        .filter_map(|item| match item {
            Item::Queue {
                name,
                kind,
                messages_ready,
                messages_unacknowledged,
            } => Some(Listed {
                name,
                kind: kind.as_deref().map(Kind::named).unwrap_or_default(),
                ready: messages_ready,
                unacked: messages_unacknowledged,
            }),
            Item::Other(_) => {
                unreadable = true;
                None
            }
        })
        .collect();
    // Without any permission on the vhost the list is empty and the answer 200.
    let complete = !unreadable && (!queues.is_empty() || may_look(management, vhost).await?);
    Ok(Listing {
        queues,
        complete,
        asked,
    })
}

/// An empty list means something only to a user who has permissions on the vhost.
async fn may_look(management: &Management, vhost: &str) -> Result<bool, Blindness> {
    let vhosts = management.get("vhosts?columns=name").await?;
    let found = vhosts
        .as_array()
        .into_iter()
        .flatten()
        .any(|item| item.get("name").and_then(serde_json::Value::as_str) == Some(vhost));
    if found {
        return Ok(true);
    }
    Err(Blindness::new(format!(
        "vhost \"{vhost}\" does not exist, or this user has no permission on it"
    ))
    .hint("the vhost is the path of `broker.amqp_url`; rabbitmqctl set_permissions -p VHOST USER '' '' '.*'"))
}

/// A regular expression for the names that can match, understood by PCRE too.
fn pattern(pick: &Pick) -> Option<String> {
    let mut words: Vec<String> = Vec::new();
    for name in pick.names() {
        words.push(format!("{}(\\.DQ|\\.XQ)?$", regex::escape(name)));
    }
    if pick.exact().is_none() {
        for beginning in pick.beginnings()? {
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
        pattern(&Pick::new(&words).expect("valid"))
    }

    #[test]
    fn the_broker_is_asked_for_no_more_than_can_match() {
        assert_eq!(of(&["a.b"]).as_deref(), Some("^(a\\.b(\\.DQ|\\.XQ)?$)"));
        assert_eq!(of(&["ord*", "x"]).as_deref(), Some("^(x(\\.DQ|\\.XQ)?$|ord)"));
        assert_eq!(of(&["*.XQ", "x"]), None);
        assert_eq!(pattern(&Pick::all()), None);
        let many: Vec<String> = (0..900).map(|n| format!("queue-{n}")).collect();
        assert_eq!(pattern(&Pick::new(&many).expect("valid")), None);
    }
}
