//! What the lists of the management API hold, as the timeline keeps it.

use serde_json::{Map, Value as Json};

use crate::timeline::{ClosedChannel, Connection, Consumer, EventKind, Permission};

/// All but taskdiag's own readers of the trace.
pub(super) fn consumers(items: &[Json]) -> Vec<Consumer> {
    items
        .iter()
        .map(|item| Consumer {
            queue: pointer(item, "/queue/name"),
            tag: text(item, "consumer_tag"),
            connection: pointer(item, "/channel_details/connection_name"),
            user: pointer(item, "/channel_details/user"),
            prefetch: item.get("prefetch_count").and_then(Json::as_u64).unwrap_or(0),
            active: item.get("active").and_then(Json::as_bool),
        })
        .filter(|consumer| !consumer.queue.starts_with("taskdiag.trace."))
        .collect()
}

/// All but taskdiag's own.
pub(super) fn connections(items: &[Json]) -> Vec<Connection> {
    items
        .iter()
        .map(|item| Connection {
            name: text(item, "name"),
            user: text(item, "user"),
            vhost: text(item, "vhost"),
            state: text(item, "state"),
            product: pointer(item, "/client_properties/product"),
            connected_at_ms: item.get("connected_at").and_then(Json::as_i64),
        })
        .filter(|connection| connection.product != "taskdiag")
        .collect()
}

/// The node of a connection that an alarm holds back, whoever's it is.
pub(super) fn held_back(items: &[Json]) -> Option<String> {
    let blocked = |item: &&Json| matches!(text(item, "state").as_str(), "blocked" | "blocking");
    let held = items.iter().find(blocked)?;
    Some(text(held, "node"))
        .filter(|node| !node.is_empty())
        .or_else(|| Some("the broker".into()))
}

/// Those that the broker closed with an error while the client has not answered.
pub(super) fn closed_channels(items: &[Json]) -> Vec<ClosedChannel> {
    items
        .iter()
        .filter(|item| text(item, "state") == "closing")
        .map(|item| ClosedChannel {
            connection: pointer(item, "/connection_details/name"),
            number: item.get("number").and_then(Json::as_u64).unwrap_or(0),
            user: text(item, "user"),
        })
        .take(MOST_LISTED)
        .collect()
}

/// A vhost of a shared broker may have thousands.
const MOST_LISTED: usize = 200;

pub(super) fn permissions(items: &[Json]) -> Vec<Permission> {
    items
        .iter()
        .map(|item| Permission {
            user: text(item, "user"),
            configure: text(item, "configure"),
            write: text(item, "write"),
            read: text(item, "read"),
        })
        .take(MOST_LISTED)
        .collect()
}

/// A field of the single queue, or of the list where that says nothing.
fn field<'a>(single: &'a Json, listed: &'a Json, name: &str) -> Option<&'a Json> {
    single
        .get(name)
        .or_else(|| listed.get(name))
        .filter(|value| !value.is_null())
}

fn length(list: Option<&Json>) -> Option<u64> {
    list.and_then(Json::as_array).map(|list| list.len() as u64)
}

/// A queue, from the list of fresh totals and from what is said of it alone. `up`: how many of its
/// members are on nodes that run.
pub(super) fn queue_info(
    queue: String,
    single: &Json,
    listed: &Json,
    up: Option<u64>,
    without_policies: bool,
) -> EventKind {
    let field = |name: &str| field(single, listed, name);
    let count = |name: &str| listed.get(name).and_then(Json::as_u64);
    let online = match (length(field("online")), up) {
        // The queue's own word for it may be some seconds old.
        (Some(said), Some(up @ 1..)) => Some(said.min(up)),
        (said, _) => said,
    };
    EventKind::QueueInfo {
        queue,
        state: field("state").and_then(Json::as_str).map(str::to_owned),
        queue_type: field("type").and_then(Json::as_str).map(str::to_owned),
        arguments: object(field("arguments")),
        policy: field("policy")
            .and_then(Json::as_str)
            .filter(|name| !name.is_empty())
            .map(str::to_owned),
        policy_definition: object(field("effective_policy_definition")),
        policy_unknown: !without_policies && single.get("effective_policy_definition").is_none(),
        ready: count("messages_ready"),
        unacked: count("messages_unacknowledged"),
        members: length(field("members")),
        online,
    }
}

/// The nodes of a queue that lies on several.
pub(super) fn members<'a>(single: &'a Json, listed: &'a Json) -> Option<&'a Vec<Json>> {
    let members = field(single, listed, "members")?.as_array()?;
    (members.len() >= 2).then_some(members)
}

pub(super) fn tags(user: &Json) -> Vec<String> {
    match user.get("tags") {
        Some(Json::String(tags)) => tags.split(',').map(str::to_owned).collect(),
        Some(Json::Array(tags)) => tags.iter().filter_map(Json::as_str).map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

pub(super) fn text(value: &Json, key: &str) -> String {
    value
        .get(key)
        .and_then(Json::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn pointer(value: &Json, pointer: &str) -> String {
    value
        .pointer(pointer)
        .and_then(Json::as_str)
        .unwrap_or_default()
        .to_owned()
}

fn object(value: Option<&Json>) -> Map<String, Json> {
    match value {
        Some(Json::Object(map)) => map.clone(),
        _ => Map::new(),
    }
}

/// Of the keys that a queue is bound with.
const MOST_KEYS: usize = 100;

/// The keys of these bindings. That of the default exchange is the queue's own name.
pub(super) fn keys(bindings: &[Json]) -> Vec<String> {
    let named = bindings
        .iter()
        .filter(|binding| !text(binding, "source").is_empty());
    let mut keys: Vec<String> = named
        .map(|binding| text(binding, "routing_key"))
        .take(MOST_KEYS)
        .collect();
    keys.sort();
    keys.dedup();
    keys
}
