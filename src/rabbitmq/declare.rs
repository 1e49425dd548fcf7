//! One passive `queue.declare`: exact Ready and consumer counts, at once, without management.

use std::time::{Duration, Instant};

use lapin::options::QueueDeclareOptions;
use lapin::types::FieldTable;
use lapin::{Channel, Connection};

use super::amqp::words;
use crate::error::Unavailable;

/// What the broker says of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counts {
    There {
        ready: u64,
        consumers: u64,
    },
    Missing,
    /// It is known, and cannot be asked: why.
    Down(String),
    /// It answers that there is nothing, but after so long that it may only mean that the leader of a
    /// quorum queue does not answer.
    Silent,
}

/// The leader of a quorum queue has so long to answer, then the broker says that the queue is empty and
/// has no consumer (`rabbit_quorum_queue:stat`).
const LEADER_SILENT: Duration = Duration::from_millis(240);

/// A slow line makes every answer late, and a busy broker one of them much later.
fn is_of_a_silent_leader(took: Duration, best: Duration) -> bool {
    (LEADER_SILENT.max(best + Duration::from_millis(200))..best + Duration::from_millis(500)).contains(&took)
}

/// A channel to ask on, opened anew after a 404 has closed it.
#[derive(Default)]
pub struct Prober {
    channel: Option<Channel>,
    /// The quickest answer of this broker so far.
    best: Option<Duration>,
}

/// Why there is no answer.
pub enum NoCounts {
    /// This queue may not be looked at; others may.
    Refused(Unavailable),
    /// The connection is gone.
    Lost(Unavailable),
}

impl NoCounts {
    pub fn reason(self) -> String {
        let (NoCounts::Refused(blindness) | NoCounts::Lost(blindness)) = self;
        blindness.reason
    }
}

impl Prober {
    pub async fn look(&mut self, connection: &Connection, queue: &str) -> Result<Counts, NoCounts> {
        let lost = |error: lapin::Error| {
            NoCounts::Lost(Unavailable::lost(format!(
                "lost the AMQP connection: {}",
                words(&error)
            )))
        };
        let channel = match self.channel.take() {
            Some(channel) if channel.status().connected() => channel,
            // The answer to the channel before, a 404, may still be under way.
            _ => {
                let began = Instant::now();
                let channel = match connection.create_channel().await {
                    Err(error) if is_code(&error, 404) => connection.create_channel().await.map_err(lost)?,
                    other => other.map_err(lost)?,
                };
                self.took(began);
                channel
            }
        };
        let began = Instant::now();
        match counts(&channel, queue).await {
            Ok(counts) => {
                let took = self.took(began);
                let nothing = matches!(counts, Counts::There { ready: 0, consumers: 0 });
                let silent = nothing && self.best.is_some_and(|best| is_of_a_silent_leader(took, best));
                if matches!(counts, Counts::There { .. }) {
                    self.channel = Some(channel);
                }
                Ok(match silent {
                    true => Counts::Silent,
                    false => counts,
                })
            }
            Err(error) if is_code(&error, 403) => Err(NoCounts::Refused(
                Unavailable::new(format!("the broker refuses a passive declare of `{queue}`: {}", words(&error)))
                    .hint(format!("user {} needs one permission on `{queue}` beside what it has (from RabbitMQ 4.2.6 on; read is enough): docs/rabbitmq.md", user(&error))),
            )),
            // A queue of somebody else's connection.
            Err(error) if is_code(&error, 405) => Err(NoCounts::Refused(Unavailable::new(format!(
                "`{queue}` is exclusive to another connection"
            )))),
            Err(error) => Err(lost(error)),
        }
    }
}

impl Prober {
    fn took(&mut self, began: Instant) -> Duration {
        let took = began.elapsed();
        self.best = Some(self.best.map_or(took, |best| best.min(took)));
        took
    }
}

/// A 404 is an answer, not an error. A durable queue is called NOT_FOUND as well while the node is down
/// that holds it, and nobody can declare it anew then.
async fn counts(channel: &Channel, queue: &str) -> lapin::Result<Counts> {
    let passive = QueueDeclareOptions {
        passive: true,
        ..QueueDeclareOptions::default()
    };
    match channel
        .queue_declare(queue.into(), passive, FieldTable::default())
        .await
    {
        Ok(found) => Ok(Counts::There {
            ready: found.message_count().into(),
            consumers: found.consumer_count().into(),
        }),
        Err(error) if is_code(&error, 404) => Ok(match down(&error.to_string()) {
            Some(why) => Counts::Down(why),
            None => Counts::Missing,
        }),
        Err(error) => Err(error),
    }
}

/// The user in `access to queue 'q' in vhost 'v' refused for user 'u'`.
fn user(error: &lapin::Error) -> String {
    let text = error.to_string();
    text.rsplit_once("for user ").map_or_else(
        || "of `broker.amqp_url`".into(),
        |(_, user)| user.trim_end_matches(['.', ' ']).to_owned(),
    )
}

fn is_code(error: &lapin::Error, code: u16) -> bool {
    matches!(error.kind(), lapin::ErrorKind::ProtocolError(amqp) if amqp.get_id() == code)
}

/// A queue that was declared and does not run, in the broker's words for why.
fn down(error: &str) -> Option<String> {
    if let Some(node) = home_node_down(error) {
        return Some(format!("its home node {node} is down or inaccessible"));
    }
    // What RabbitMQ 4.3 says of one whose node was stopped.
    if error.contains("process is stopped by supervisor") {
        return Some("its process is stopped: its home node is down, or runs this vhost no longer".into());
    }
    let crashed = error.contains("has crashed and failed to restart");
    crashed.then(|| "its process crashed, and the broker could not start it again".into())
}

/// The node in `home node 'x@y' of durable queue 'q' in vhost 'v' is down or inaccessible`.
fn home_node_down(error: &str) -> Option<&str> {
    let (_, rest) = error.split_once("home node '")?;
    let (node, rest) = rest.split_once('\'')?;
    rest.contains("is down or inaccessible").then_some(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silent_leader_is_told_from_a_slow_line_and_a_busy_broker() {
        let ms = Duration::from_millis;
        assert!(is_of_a_silent_leader(ms(252), ms(1)));
        assert!(is_of_a_silent_leader(ms(330), ms(80)));
        assert!(!is_of_a_silent_leader(ms(260), ms(250)));
        assert!(!is_of_a_silent_leader(ms(900), ms(1)));
    }

    #[test]
    fn a_queue_whose_node_is_down_is_not_missing() {
        let down =
            "NOT_FOUND - home node 'b@y' of durable queue 'default' in vhost '/' is down or inaccessible";
        assert_eq!(home_node_down(down), Some("b@y"));
        assert_eq!(
            home_node_down("NOT_FOUND - no queue 'home node' in vhost '/'"),
            None
        );
        let stopped = "NOT_FOUND - queue 'default' in vhost '/' process is stopped by supervisor";
        assert!(super::down(stopped).is_some_and(|why| why.contains("home node")));
        let crashed = "NOT_FOUND - queue 'default' in vhost '/' has crashed and failed to restart";
        assert!(super::down(crashed).is_some());
        assert_eq!(super::down("NOT_FOUND - no queue 'default' in vhost '/'"), None);
    }
}
