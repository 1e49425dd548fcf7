//! What the management API says of a vhost's tracing.

use serde_json::Value as Json;

use crate::error::Unavailable;
use crate::http::segment;
use crate::rabbitmq::management::Management;
use crate::rabbitmq::tracing::Tracing;

/// `auto` stays off above this many publishes a second: tracing costs the broker.
const MOST_PER_SECOND: f64 = 200.0;

/// Whether the vhost traces; a management API that does not answer says nothing against it.
pub async fn still_traced(management: &Management, vhost: &str) -> bool {
    self::vhost(management, vhost).await.as_ref().map_or(true, traces)
}

/// Only an administrator may ask for one vhost; anybody may list those that he can enter.
pub(super) async fn vhost(management: &Management, name: &str) -> Result<Json, Unavailable> {
    let refused = match management.get(&format!("vhosts/{}", segment(name))).await {
        Ok(vhost) => return Ok(vhost),
        Err(refused) => refused,
    };
    let listed = management
        .get("vhosts?columns=name,tracing,cluster_state,message_stats.publish_details.rate")
        .await;
    match listed {
        Ok(Json::Array(vhosts)) => vhosts
            .into_iter()
            .find(|vhost| vhost.get("name").and_then(Json::as_str) == Some(name))
            .ok_or(refused),
        _ => Err(refused),
    }
}

pub(super) fn traces(vhost: &Json) -> bool {
    vhost.get("tracing") == Some(&Json::Bool(true))
}

/// Tracing costs a busy broker up to a third of a publisher's speed: not without being told to.
pub(super) async fn affordable(management: &Management, vhost: &Json) -> Result<(), Unavailable> {
    let overview = management.get("overview").await?;
    let statistics_off = overview.get("disable_stats") == Some(&Json::Bool(true))
        || overview.get("rates_mode").and_then(Json::as_str) == Some("none");
    let forced = "set trace = \"on\" if the broker can afford it";
    if statistics_off {
        return Err(Unavailable::new(
            "the broker keeps no statistics, so the publish rate of the vhost cannot be told",
        )
        .hint(forced));
    }
    // No statistics object: no channel has published since the vhost's statistics began.
    let rate = vhost
        .pointer("/message_stats/publish_details/rate")
        .and_then(Json::as_f64)
        .unwrap_or(0.0);
    if rate > MOST_PER_SECOND {
        return Err(Unavailable::new(format!(
            "the vhost publishes {rate:.0} messages a second, more than {MOST_PER_SECOND:.0}"
        ))
        .hint(forced));
    }
    Ok(())
}

/// Names of the queues that read the trace exchange now.
pub(super) async fn readers(management: &Management, vhost: &str, node: &str) -> Vec<String> {
    Tracing::readers(management, vhost, node)
        .await
        .unwrap_or_default()
}
