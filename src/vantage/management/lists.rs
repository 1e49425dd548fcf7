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
    let (policy, definition, policy_unknown) = policy(single, listed, without_policies);
    EventKind::QueueInfo {
        queue,
        state: field("state").and_then(Json::as_str).map(str::to_owned),
        queue_type: field("type").and_then(Json::as_str).map(str::to_owned),
        arguments: object(field("arguments")),
        policy,
        policy_definition: definition,
        policy_unknown,
        ready: count("messages_ready"),
        unacked: count("messages_unacknowledged"),
        members: length(field("members")),
        online,
    }
}

/// The name of its policy, what that says, and whether it is unknown. What is said of the queue alone knows of a policy only
/// some seconds after it was set (4.3.6: 4.8 s for a quorum queue, 6.4 s for a classic one); the list names it at once.
fn policy(single: &Json, listed: &Json, without_policies: bool) -> (Option<String>, Map<String, Json>, bool) {
    let name = |of: &Json, key: &str| Some(text(of, key)).filter(|name| !name.is_empty());
    let names = |of: &Json| ["policy", "operator_policy"].map(|key| name(of, key));
    let definition = |of: &Json| object(of.get("effective_policy_definition"));
    let is_named = |of: &Json| names(of).iter().any(Option::is_some);
    // A name that only the list has is younger than what the queue's own word says.
    let is_younger = is_named(listed) && names(listed) != names(single);
    let said = match (definition(listed), is_younger) {
        (by_list, _) if !by_list.is_empty() => by_list,
        (_, true) => Map::new(),
        (_, false) => definition(single),
    };
    let is_missing = single.get("effective_policy_definition").is_none();
    let is_unread = is_missing || is_named(listed) || is_named(single);
    let unknown = !without_policies && said.is_empty() && is_unread;
    (
        name(listed, "policy").or_else(|| name(single, "policy")),
        said,
        unknown,
    )
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The name, what it says, and whether that is unknown.
    fn read(single: Json, listed: Json) -> (Option<String>, bool, bool) {
        let (name, said, unknown) = policy(&single, &listed, false);
        (name, !said.is_empty(), unknown)
    }

    #[test]
    fn the_list_knows_of_a_policy_first() {
        let none = json!({ "policy": null, "effective_policy_definition": {} });
        let cap = json!({ "policy": "cap", "effective_policy_definition": { "max-length": 5 } });
        let named = json!({ "policy": "cap" });
        let name = || Some("cap".to_owned());
        assert_eq!(
            read(none.clone(), json!({ "policy": null })),
            (None, false, false)
        );
        assert_eq!(read(none.clone(), cap.clone()), (name(), true, false));
        // A classic queue's entry has the name alone.
        assert_eq!(read(none.clone(), named.clone()), (name(), false, true));
        assert_eq!(read(cap.clone(), named), (name(), true, false));
        assert_eq!(read(cap, json!({})), (name(), true, false));
        // Without statistics nothing is said of policies.
        assert_eq!(read(json!({}), json!({})), (None, false, true));
        let operator = json!({ "operator_policy": "most" });
        assert_eq!(read(none, operator), (None, false, true));
    }
}
