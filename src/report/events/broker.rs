//! Messages, and what the broker says of its queues and clients.

use crate::text::counted;
use crate::timeline::EventKind as Kind;

pub(super) fn describe(kind: &Kind) -> Option<String> {
    message(kind).or_else(|| queue(kind)).or_else(|| client(kind))
}

/// On its way, or at rest.
fn message(kind: &Kind) -> Option<String> {
    Some(match kind {
        Kind::Broker {
            product,
            version,
            user,
            tags,
            statistics,
        } => {
            let tags = match tags.is_empty() {
                true => "no tag".to_owned(),
                false => tags.join(", "),
            };
            let off = if *statistics {
                ""
            } else {
                "; statistics are switched off"
            };
            format!("{product} {version}, asked as {user} ({tags}){off}")
        }
        Kind::Publish {
            routing_key,
            connection,
            message,
            ..
        } => format!(
            "{} published to {routing_key} from {connection}: {}",
            message.actor.as_deref().unwrap_or("undecodable"),
            message.message_id.as_deref().unwrap_or_default()
        ),
        Kind::Deliver {
            queue,
            connection,
            redelivered,
            message,
        } => format!(
            "{} delivered from {queue}{} to {connection}: {}",
            message.actor.as_deref().unwrap_or("undecodable"),
            if *redelivered { " (redelivered)" } else { "" },
            message.message_id.as_deref().unwrap_or_default()
        ),
        Kind::DeadLetter {
            queue,
            reason,
            message,
            ..
        } => format!(
            "lies on {queue}: {}{}, {}",
            message.actor.as_deref().unwrap_or("undecodable"),
            reason
                .as_ref()
                .map_or_else(String::new, |reason| format!(", dead-lettered ({reason})")),
            message.message_id.as_deref().unwrap_or_default()
        ),
        Kind::Missed { events } => counted(
            *events,
            "traced message was missed",
            "traced messages were missed",
        ),
        _ => return None,
    })
}

/// How full it is, and whether it takes anything.
fn queue(kind: &Kind) -> Option<String> {
    Some(match kind {
        Kind::Bound { queue, keys } => format!("queue {queue} is bound by {}", keys.join(", ")),
        Kind::QueueInfo {
            queue,
            state,
            ready,
            unacked,
            ..
        } => {
            let count = |count: &Option<u64>| count.map_or("?".to_owned(), |count| count.to_string());
            let state = state
                .as_deref()
                .map(|state| format!(", {state}"))
                .unwrap_or_default();
            format!(
                "{queue}: {} ready, {} unacked{state}",
                count(ready),
                count(unacked)
            )
        }
        Kind::Alarm { node, alarm } => format!("{node} has a {alarm} alarm"),
        Kind::Depth {
            queue,
            down: Some(why),
            ..
        } => format!("{queue} is down: {why}"),
        Kind::Depth {
            queue,
            exists,
            ready,
            consumers,
            samples,
            ..
        } if *exists => {
            let consumers = counted(*consumers, "consumer", "consumers");
            let samples = counted(*samples, "look", "looks");
            format!("{queue}: {ready} ready, {consumers} ({samples})")
        }
        Kind::Depth { queue, .. } => format!("{queue} does not exist"),
        _ => return None,
    })
}

/// Who is connected, who reads, and who may publish.
fn client(kind: &Kind) -> Option<String> {
    Some(match kind {
        Kind::Consumers { consumers } => {
            let mut queues: Vec<&str> = consumers.iter().map(|consumer| consumer.queue.as_str()).collect();
            queues.sort_unstable();
            queues.dedup();
            format!(
                "{} on {}",
                counted(consumers.len() as u64, "consumer", "consumers"),
                queues.join(", ")
            )
        }
        Kind::Connections { connections } => counted(
            connections.len() as u64,
            "connection at the broker",
            "connections at the broker",
        ),
        Kind::TracingOn { readers } => {
            format!("tracing is on, {}", counted(*readers as u64, "reader", "readers"))
        }
        Kind::ClosedChannels { channels } => {
            let names = channels
                .iter()
                .map(|channel| format!("{} ({})", channel.connection, channel.number));
            format!(
                "channels that the broker closed and whose clients have not noticed: {}",
                names.collect::<Vec<_>>().join(", ")
            )
        }
        Kind::Permissions { permissions } => {
            let refused: Vec<&str> = permissions
                .iter()
                .filter(|permission| permission.may_publish() == Some(false))
                .map(|permission| permission.user.as_str())
                .collect();
            let refused = match refused.as_slice() {
                [] => String::new(),
                users => format!("; may not publish to queues: {}", users.join(", ")),
            };
            format!("permissions of {} users{refused}", permissions.len())
        }
        _ => return None,
    })
}
