//! The nodes of a broker, and which of them answers the management API.
//!
//! Tracing is a state of each node: `PUT /api/vhosts/NAME` switches it at the node that answers, and
//! `GET` tells that node's only; a message is traced where the channel of its publisher or consumer
//! lives (RabbitMQ 3.10.8). No setting of 3.10 reaches another node, and the addresses of the
//! other nodes' listeners that a node knows (`::`, the host in its name) often cannot be reached from
//! outside. So it must be known which node answers, and that it is always the same.

use serde_json::Value as Json;

use super::management::Management;
use crate::config::Broker;
use crate::error::Unavailable;

/// Behind a load balancer each new connection may lead to another node.
const ASKED: usize = 4;

/// A broker's nodes, as far as they run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nodes {
    /// The one that answers.
    pub here: String,
    pub others: Vec<String>,
}

/// The node that answers.
pub async fn answering(management: &Management) -> Result<String, Unavailable> {
    let overview = management.get("overview").await?;
    match overview.get("node").and_then(Json::as_str) {
        Some(node) => Ok(node.to_owned()),
        None => Err(Unavailable::new(
            "the management API does not say which node answers",
        )
        .hint("a user needs the tag `monitoring` to be told, and `administrator` to switch tracing on: docs/rabbitmq.md has what adds a tag")),
    }
}

/// The nodes on which a vhost runs, as any user who may enter it is told.
pub fn running(vhost: &Json) -> Vec<String> {
    let nodes = vhost.get("cluster_state").and_then(Json::as_object);
    nodes
        .into_iter()
        .flatten()
        .map(|(node, _)| node.clone())
        .collect()
}

/// The nodes of the cluster that are down, as far as this user is told.
pub async fn down(management: &Management) -> Vec<String> {
    let answer = management.get("nodes?columns=name,running").await;
    let nodes = answer.unwrap_or(Json::Null);
    let nodes = nodes.as_array().into_iter().flatten();
    nodes
        .filter(|node| node.get("running") == Some(&Json::Bool(false)))
        .filter_map(|node| node.get("name")?.as_str().map(str::to_owned))
        .collect()
}

/// Of the cluster's nodes too few run to change anything, as far as this user is told.
pub async fn lacks_majority(management: &Management) -> bool {
    let answer = management.get("nodes?columns=name,running").await;
    is_minority(&answer.unwrap_or(Json::Null))
}

fn is_minority(nodes: &Json) -> bool {
    let nodes = nodes.as_array().map_or(&[][..], Vec::as_slice);
    let runs = |node: &&Json| node.get("running") == Some(&Json::Bool(true));
    !nodes.is_empty() && nodes.iter().filter(runs).count() * 2 <= nodes.len()
}

/// `vhost` is the management API's answer about it.
pub async fn of(broker: &Broker, management: &Management, vhost: &Json) -> Result<Nodes, Unavailable> {
    let here = answering(management).await?;
    let mut others = running(vhost);
    others.retain(|node| *node != here);
    others.sort();
    if others.is_empty() {
        return Ok(Nodes { here, others });
    }
    for _ in 1..ASKED {
        // A client of its own connects anew.
        let again = answering(&Management::new(broker)?).await?;
        if again != here {
            return Err(Unavailable::new(format!(
                "`broker.management_url` leads to several nodes in turn ({here}, {again}), and each node traces for itself: what is switched on at one could not surely be switched off again"
            ))
            .hint("set management_url to the address of one node, not of the load balancer"));
        }
    }
    Ok(Nodes { here, others })
}

impl Nodes {
    /// What a firehose here cannot see, if anything.
    pub fn unseen(&self) -> Option<String> {
        (!self.others.is_empty()).then(|| {
            format!(
                "only node {} of the cluster is traced: what is published or consumed through connections to {} is not seen",
                self.here,
                self.others.join(", ")
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_vhost_names_the_nodes_that_run() {
        let vhost = json!({ "cluster_state": { "a@x": "running", "b@y": "running" } });
        assert_eq!(running(&vhost), ["a@x", "b@y"]);
        assert!(running(&json!({ "name": "v" })).is_empty());
    }

    #[test]
    fn a_majority_is_more_than_half() {
        let nodes = |running: &[bool]| {
            let nodes = running.iter().map(|running| json!({ "running": running }));
            is_minority(&nodes.collect())
        };
        assert!(nodes(&[true, false, false]));
        assert!(nodes(&[true, false]));
        assert!(!nodes(&[true, true, false]));
        assert!(!nodes(&[true]));
        assert!(!nodes(&[]), "this user is not told");
    }

    #[test]
    fn a_single_node_sees_all() {
        let nodes = |others: &[&str]| Nodes {
            here: "a@x".into(),
            others: others.iter().map(ToString::to_string).collect(),
        };
        assert_eq!(nodes(&[]).unseen(), None);
        assert!(
            nodes(&["b@y"])
                .unseen()
                .is_some_and(|text| text.contains("b@y is not seen"))
        );
    }
}
