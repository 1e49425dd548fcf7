//! The tracing of a vhost: switched without touching anything else of it.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::management::Management;
use super::nodes;
use crate::error::Unavailable;
use crate::http::segment;

/// The exchange the broker copies everything to while a vhost traces.
pub const EXCHANGE: &str = "amq.rabbitmq.trace";
/// A change that RabbitMQ has lost shows after so long.
const SETTLED: Duration = Duration::from_millis(50);

/// How often a change that was lost is made anew.
const TRIES: usize = 20;

/// A vhost's tracing, switched without touching anything else of the vhost.
pub struct Tracing;

/// The queues that somebody consumes.
fn consumed(consumers: &Json) -> Vec<&str> {
    let list = consumers.as_array().into_iter().flatten();
    list.filter_map(|consumer| consumer.pointer("/queue/name")?.as_str())
        .collect()
}

impl Tracing {
    /// Readers with this prefix read a tracing that a taskdiag switched on.
    pub const OWNED: &'static str = "taskdiag.trace.owned.";
    /// Readers with this prefix found it on.
    pub const GUEST: &'static str = "taskdiag.trace.guest.";

    /// The name of a queue that reads what this node traces.
    pub fn reader(prefix: &str, node: &str, id: &str) -> String {
        format!("{prefix}{node}.{id}")
    }

    /// A taskdiag's reader that reads another node's tracing only: the exchange is the whole cluster's.
    fn is_of_another(reader: &str, node: &str) -> bool {
        [Self::OWNED, Self::GUEST].iter().any(|prefix| {
            let named = reader.strip_prefix(prefix).and_then(|rest| rest.rsplit_once('.'));
            named.is_some_and(|(of, _)| of != node)
        })
    }

    /// Names of the queues bound to the trace exchange, save those of taskdiags that trace another node.
    pub async fn readers(
        management: &Management,
        vhost: &str,
        node: &str,
    ) -> Result<Vec<String>, Unavailable> {
        let path = format!("exchanges/{}/{}/bindings/source", segment(vhost), EXCHANGE);
        let bindings = management.get(&path).await?;
        let mut names: Vec<String> = bindings
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|binding| {
                binding
                    .get("destination")
                    .and_then(Json::as_str)
                    .map(str::to_owned)
            })
            .filter(|name| !Self::is_of_another(name, node))
            .collect();
        names.sort();
        names.dedup();
        Ok(names)
    }

    /// Nobody reads what this node traces. While a cluster has no majority the reader of a taskdiag that is gone cannot
    /// be removed, and no other can begin: one that nobody consumes is such a one. (Who consumes is told some seconds
    /// late, so that otherwise it may just have begun.)
    pub async fn is_unread(management: &Management, vhost: &str, node: &str) -> Result<bool, Unavailable> {
        let mut readers = Self::readers(management, vhost, node).await?;
        let all_ours = readers.iter().all(|name| Self::is_ours(name));
        if !readers.is_empty() && all_ours && nodes::lacks_majority(management).await {
            let path = format!("consumers/{}?columns=queue.name", segment(vhost));
            let consumers = management.get(&path).await?;
            let consumed = consumed(&consumers);
            readers.retain(|name| consumed.contains(&name.as_str()));
        }
        Ok(readers.is_empty())
    }

    fn is_ours(reader: &str) -> bool {
        reader.starts_with(Self::OWNED) || reader.starts_with(Self::GUEST)
    }

    /// A bare `{"tracing": …}` erases the vhost's description and tags, and on 4.3 its default
    /// queue type: everything is read first and sent back with it.
    ///
    /// A node keeps the vhosts that it traces in one list, which it reads, changes and writes back
    /// without a lock: where two vhosts are switched at once, one change is lost although both were
    /// answered with success (RabbitMQ 3.10.8: 248 of 1,800). So what was set is read again.
    ///
    /// Each node traces for itself, and answers for itself: another one than `node` must not be asked.
    pub async fn set(management: &Management, vhost: &str, node: &str, on: bool) -> Result<(), Unavailable> {
        let path = format!("vhosts/{}", segment(vhost));
        for _ in 0..TRIES {
            Self::must_answer(management, vhost, node).await?;
            let now = match management.get(&path).await {
                Ok(now) => now,
                // Only an administrator may ask for one vhost, and switch. Others are told as much as
                // shows whether there is anything to switch.
                Err(refused) => {
                    let listed = management.get("vhosts?columns=name,tracing").await;
                    let is_so = listed.is_ok_and(|vhosts| is_listed(&vhosts, vhost, on));
                    return if is_so { Ok(()) } else { Err(refused) };
                }
            };
            if now.get("tracing").and_then(Json::as_bool) == Some(on) {
                return Ok(());
            }
            management.put(&path, &preserving(&now, on)).await?;
            Self::must_answer(management, vhost, node).await?;
            tokio::time::sleep(SETTLED).await;
        }
        Err(Unavailable::new(format!(
            "RabbitMQ accepts the change and does not keep it ({TRIES} times)"
        ))
        .hint("does another program switch tracing of this node's vhosts all the time?"))
    }

    async fn must_answer(management: &Management, vhost: &str, node: &str) -> Result<(), Unavailable> {
        let answering = nodes::answering(management).await?;
        if answering == node {
            return Ok(());
        }
        Err(Unavailable::new(format!(
            "the management API is answered by node {answering}, and it is node {node} that traces: rabbitmqctl -n {node} trace_off -p {vhost}"
        ))
        .hint("set `broker.management_url` to the address of one node, not of a load balancer"))
    }
}

/// The list of vhosts says that this one's tracing is so.
fn is_listed(vhosts: &Json, name: &str, on: bool) -> bool {
    vhosts.as_array().into_iter().flatten().any(|vhost| {
        vhost.get("name").and_then(Json::as_str) == Some(name)
            && vhost.get("tracing").and_then(Json::as_bool) == Some(on)
    })
}

fn preserving(vhost: &Json, on: bool) -> Json {
    let mut body = json!({ "tracing": on });
    let metadata = |key: &str| {
        vhost
            .get(key)
            .filter(|value| !value.is_null())
            .or_else(|| vhost.pointer(&format!("/metadata/{key}")))
            .cloned()
    };
    if let Some(description) = metadata("description") {
        body["description"] = description;
    }
    match metadata("tags") {
        Some(Json::Array(tags)) => {
            let tags: Vec<_> = tags.iter().filter_map(Json::as_str).collect();
            body["tags"] = json!(tags.join(","));
        }
        Some(Json::String(tags)) => body["tags"] = json!(tags),
        _ => {}
    }
    if let Some(Json::String(kind)) = metadata("default_queue_type")
        && kind != "undefined"
    {
        body["default_queue_type"] = json!(kind);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_of_another_node_do_not_count() {
        let name = Tracing::reader(Tracing::OWNED, "rabbit@a.example", "1234");
        assert!(!Tracing::is_of_another(&name, "rabbit@a.example"));
        assert!(Tracing::is_of_another(&name, "rabbit@a"));
        // Of an older taskdiag, and of somebody else: nothing says what they read.
        assert!(!Tracing::is_of_another("taskdiag.trace.owned.1234", "rabbit@a"));
        assert!(!Tracing::is_of_another("audit.of.everything", "rabbit@a"));
    }

    #[test]
    fn a_list_says_it_of_this_vhost_only() {
        let vhosts = json!([{"name": "a", "tracing": true}, {"name": "b", "tracing": false}, {"name": "c"}]);
        assert!(is_listed(&vhosts, "b", false) && is_listed(&vhosts, "a", true));
        assert!(!is_listed(&vhosts, "a", false) && !is_listed(&vhosts, "c", false));
        assert!(!is_listed(&Json::Null, "b", false));
    }

    #[test]
    fn everything_else_of_a_vhost_is_sent_back() {
        let vhost = json!({"name": "v", "description": "d", "tags": ["a", "b"], "default_queue_type": "quorum", "tracing": false});
        assert_eq!(
            preserving(&vhost, true),
            json!({"tracing": true, "description": "d", "tags": "a,b", "default_queue_type": "quorum"})
        );
        let old = json!({"name": "v", "metadata": {"description": "d", "tags": []}, "default_queue_type": "undefined", "tracing": true});
        assert_eq!(
            preserving(&old, false),
            json!({"tracing": false, "description": "d", "tags": ""})
        );
    }
}
