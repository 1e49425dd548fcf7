//! What is asked of a broker once: its vhosts, its other nodes, whether there are policies.

use serde_json::Value as Json;

use super::lists::text;
use crate::error::Unavailable;
use crate::http::segment;
use crate::rabbitmq::management::Management;

/// Whether no policy of any kind exists in the vhost. Unlike a queue's own policy, which comes with its
/// statistics some seconds after the queue, these lists are of this moment.
pub(super) async fn is_without_policies(management: &Management, vhost: &str) -> bool {
    for kind in ["policies", "operator-policies"] {
        match management.get(&format!("{kind}/{}", segment(vhost))).await {
            Ok(Json::Array(list)) if list.is_empty() => {}
            _ => return false,
        }
    }
    true
}

/// In a cluster: which node answers, and the others.
pub(super) async fn cluster(management: &Management, here: &str) -> String {
    let Ok(Json::Array(nodes)) = management.get("nodes?columns=name,running").await else {
        return String::new();
    };
    let others: Vec<String> = nodes
        .iter()
        .filter(|node| text(node, "name") != here)
        .map(|node| match node.get("running") {
            Some(Json::Bool(false)) => format!("{} (down)", text(node, "name")),
            _ => text(node, "name"),
        })
        .collect();
    match others.as_slice() {
        [] => String::new(),
        others => format!(", node {here} of a cluster with {}", others.join(", ")),
    }
}

/// A vhost that does not exist is the commonest mistake in a URL: name those that do.
pub(super) async fn vhost_exists(management: &Management, vhost: &str) -> Result<(), Unavailable> {
    let Err(missing) = management
        .get(&format!("vhosts/{}?columns=name", segment(vhost)))
        .await
    else {
        return Ok(());
    };
    if !missing.reason.starts_with("404") {
        // Not allowed to look at the vhost itself: the rest may still be.
        return Ok(());
    }
    let there = management.get("vhosts?columns=name").await.unwrap_or(Json::Null);
    let names: Vec<String> = there
        .as_array()
        .into_iter()
        .flatten()
        .map(|vhost| text(vhost, "name"))
        .take(20)
        .collect();
    Err(
        Unavailable::new(format!("vhost \"{vhost}\" does not exist on this broker")).hint(format!(
            "its vhosts: {}; the vhost is the path of `broker.amqp_url`",
            names.join(", ")
        )),
    )
}
