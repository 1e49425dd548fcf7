//! What the broker refuses a publisher: by its user's permissions, or by closing its channel.
//!
//! A publish has no answer. One that is refused closes the channel instead, and a client that only
//! publishes, as Dramatiq's API side does, reads that when it publishes again: `send()` has long returned.

use super::{Fact, Story, connections, relays};
use crate::diagnosis::premises::EventId;
use crate::timeline::{ClosedChannel, Connection, EventKind, Permission, Process, Source};

/// A publish of the API that the broker refused.
#[derive(Debug, Clone, Copy)]
pub(in crate::diagnosis) struct Refused<'a> {
    /// The event that shows that the channel was closed.
    pub closed: EventId,
    /// Whose socket the connection is, where the channel is known by its connection.
    pub holder: Option<EventId>,
    /// What the broker said, where the API's log has it.
    pub said: Option<&'a str>,
    /// Whose it was, as the broker sees it, where only the relay before the broker has the connection.
    pub behind_a_relay: Option<&'a ClosedChannel>,
}

/// A connection, as the broker lists it, and what shows whose it is.
struct OwnConnection<'a> {
    by: EventId,
    connection: Fact<&'a Connection>,
}

impl<'a> Story<'a> {
    /// What a user may do in the vhost, as it was seen last.
    pub fn permission(&self, user: &str) -> Option<Fact<&'a Permission>> {
        let all = self.permissions()?;
        let own = all.value.iter().find(|permission| permission.user == user)?;
        Some(all.with(own))
    }

    pub fn permissions(&self) -> Option<Fact<&'a [Permission]>> {
        self.facts(|kind| match kind {
            EventKind::Permissions { permissions } => Some(permissions.as_slice()),
            _ => None,
        })
        .next_back()
    }

    /// Users of the vhost whose messages to a queue are refused: those of the API's and the worker's
    /// connections, and others that are meant to do more than look.
    pub fn who_may_not_publish(&self) -> Vec<String> {
        let (Some(permissions), api, workers) = (
            self.permissions(),
            self.api_connections(),
            self.consuming_connections(),
        ) else {
            return Vec::new();
        };
        let named =
            |list: &[OwnConnection<'_>], user: &str| list.iter().any(|own| own.connection.user == user);
        let refused = permissions
            .iter()
            .filter(|permission| permission.may_publish() == Some(false));
        let send = self.framework().source.send;
        let told = refused.filter_map(|permission| {
            let words = words(self, permission);
            match (named(&api, &permission.user), named(&workers, &permission.user)) {
                (true, _) => Some(format!(
                    "the API {words}: RabbitMQ refuses what it sends, and {send} does not learn of it"
                )),
                (_, true) => Some(format!(
                    "the worker {words}: its retries and delayed messages are lost"
                )),
                // Nobody who may declare nothing and write nowhere is meant to publish.
                _ if permission.write.is_empty() || self.is_for_taskdiag(permission) => None,
                _ => Some(format!(
                    "whoever {words}: a task that it sends is refused, and {send} does not learn of it"
                )),
            }
        });
        told.collect()
    }

    /// Our own user, who may write what is taskdiag's alone, as docs/rabbitmq.md has it.
    fn is_for_taskdiag(&self, permission: &Permission) -> bool {
        let own = self.facts(|kind| match kind {
            EventKind::Broker { user, .. } => Some(user),
            _ => None,
        });
        let is_own = own.last().is_some_and(|user| *user.value == permission.user);
        is_own && permission.write.contains("taskdiag")
    }

    fn closed_channels(&self) -> impl Iterator<Item = Fact<&'a ClosedChannel>> {
        let lists = self.facts(|kind| match kind {
            EventKind::ClosedChannels { channels } => Some(channels),
            _ => None,
        });
        lists.flat_map(|list| list.value.iter().map(move |channel| list.with(channel)))
    }

    /// The API's connections to this vhost, by the process that holds each.
    fn api_connections(&self) -> Vec<OwnConnection<'a>> {
        let Some(connections) = self.connections() else {
            return Vec::new();
        };
        let api = self.api_processes();
        let held = |connection: &Connection| {
            let by_socket = api
                .iter()
                .find(|process| connections::is_socket_of(process, &connection.name));
            by_socket.map(|process| process.n).or_else(|| {
                let peer = self.peer(&connection.name)?;
                api.iter()
                    .any(|process| process.pid == peer.value)
                    .then_some(peer.n)
            })
        };
        connections
            .value
            .iter()
            .filter(|connection| connection.vhost == self.timeline.setup.vhost)
            .filter_map(|connection| {
                let by = held(connection)?;
                let connection = connections.with(connection);
                Some(OwnConnection { by, connection })
            })
            .collect()
    }

    /// The connection that got the task's message, or those that consume its queue.
    fn consuming_connections(&self) -> Vec<OwnConnection<'a>> {
        let (Some(connections), Some(consumers)) = (self.connections(), self.consumers()) else {
            return Vec::new();
        };
        let taker = self.deliveries().last();
        let consumes = |connection: &Connection| match taker {
            Some(passage) => passage.connection == connection.name,
            None => consumers
                .iter()
                .any(|consumer| consumer.queue == self.queue() && consumer.connection == connection.name),
        };
        let by = taker.map_or(consumers.n, |passage| passage.n);
        connections
            .value
            .iter()
            .filter(|connection| connection.vhost == self.timeline.setup.vhost && consumes(connection))
            .map(|connection| connections.with(connection))
            .map(|connection| OwnConnection { by, connection })
            .collect()
    }

    /// The API made this connection after the submission: its process was looked at before, and did not
    /// hold it.
    pub fn is_made_since(&self, connection: &str) -> bool {
        let Some(since) = self.submitted_at() else {
            return false;
        };
        let api = self.api_processes();
        let mut earlier = self.timeline.events.iter().filter(|event| event.at_ms < since);
        earlier.any(|event| match &event.kind {
            EventKind::Process(process) => {
                process.sockets_seen
                    && !connections::is_socket_of(process, connection)
                    && api.iter().any(|of_api| of_api.pid == process.pid)
            }
            _ => false,
        })
    }

    /// A process of the API has connected to the broker's port since the submission, and the broker lists none of
    /// its sockets: something between them passes the connection on.
    fn api_behind_a_relay(&self) -> Option<Fact<&'a Process>> {
        let listed = self.connections()?;
        self.api_processes().into_iter().find(|process| {
            let direct = listed
                .iter()
                .any(|connection| connections::is_socket_of(process, &connection.name));
            !direct
                && connections::amqp_socket(self, process).is_some_and(|socket| self.is_made_since(socket))
        })
    }

    /// A client that was not there before the submission, and that consumes nothing.
    fn is_new_publisher(&self, connection: &str) -> bool {
        let Some(since) = self.submitted_at() else {
            return false;
        };
        let lists = self.facts(|kind| match kind {
            EventKind::Connections { connections } => Some(connections),
            _ => None,
        });
        let before: Vec<_> = lists.filter(|list| list.at_ms < since).collect();
        let was_there = before
            .iter()
            .any(|list| list.value.iter().any(|listed| listed.name == connection));
        !before.is_empty() && !was_there && !self.consumes(connection)
    }

    /// Something came from it.
    fn has_published(&self, connection: &str) -> bool {
        self.timeline.events.iter().any(
            |event| matches!(&event.kind, EventKind::Publish { connection: from, .. } if from == connection),
        )
    }

    fn consumes(&self, connection: &str) -> bool {
        self.consumers()
            .is_some_and(|consumers| consumers.iter().any(|consumer| consumer.connection == connection))
    }
}

/// The broker tells of a closed channel with its statistics, every 5 s, and is asked at intervals.
const TOLD_BY_THEN_MS: f64 = 10_000.0;

/// A connection of the API's, made since the submission and as it seems for it, on which nothing arrived, and the
/// broker would not have told yet that it refused what was sent. To the default exchange everybody may send what
/// the permissions allow: only where messages go to exchanges by name may there be none.
pub(in crate::diagnosis) fn may_be_refused_yet(story: &Story<'_>) -> Option<EventId> {
    let last = story.timeline.events.last()?;
    let answered = story
        .timeline
        .events
        .iter()
        .find(|event| Some(event.n) == story.accepted())?;
    if !story.framework().queues.is_bound || last.at_ms - answered.at_ms >= TOLD_BY_THEN_MS {
        return None;
    }
    let own = story.api_connections();
    let new = own.iter().find(|own| {
        let name = &own.connection.name;
        story.is_made_since(name) && !story.consumes(name) && !story.has_published(name)
    });
    new.map(|own| own.by)
}

/// The user of one of these connections may not publish to queues: the list of permissions, who holds the
/// connection, the list it stands on, and the permission. Not where the broker was seen to take a message
/// from that user: a channel goes by the permissions it found when it first asked.
fn may_not_publish<'a>(
    story: &Story<'a>,
    connections: Vec<OwnConnection<'_>>,
) -> Option<([EventId; 3], &'a Permission)> {
    connections
        .into_iter()
        .find_map(|OwnConnection { by, connection }| {
            let permission = story.permission(&connection.user)?;
            let let_through = story.timeline.events.iter().any(|event| {
                matches!(&event.kind, EventKind::Publish { exchange, user, connection: from, .. }
                if exchange.is_empty()
                && (user.as_deref() == Some(connection.user.as_str()) || *from == connection.name))
            });
            let shown = [permission.n, by, connection.n];
            (permission.may_publish() == Some(false) && !let_through).then_some((shown, permission.value))
        })
}

/// Of the API's connections.
pub(in crate::diagnosis) fn api_may_not_publish<'a>(
    story: &Story<'a>,
) -> Option<([EventId; 3], &'a Permission)> {
    may_not_publish(story, story.api_connections())
}

/// Of the connections that consume the task's queue: what a worker sends on, it sends as the same user.
pub(in crate::diagnosis) fn worker_may_not_publish<'a>(
    story: &Story<'a>,
) -> Option<([EventId; 3], &'a Permission)> {
    may_not_publish(story, story.consuming_connections())
}

/// Something that the API sent since the submission was refused.
pub(in crate::diagnosis) fn refused_publish<'a>(story: &Story<'a>) -> Option<Refused<'a>> {
    let since = story.submitted_at()?;
    // The client reads it when it publishes again: the line is of this run, and so is the attempt.
    let line = story.find(|event| match &event.kind {
        EventKind::Line(line) if event.source == Source::ApiLog && !line.before && event.at_ms >= since => {
            let said = closed_by_the_broker(&line.text)?;
            let may_be_a_task = story.framework().client.names_exchanges || !said.contains("no exchange");
            may_be_a_task.then_some((event.n, said))
        }
        _ => None,
    });
    let held = story.api_connections();
    let by_channel = story.closed_channels().find_map(|channel| {
        let own = held
            .iter()
            .find(|own| own.connection.name == channel.connection)?;
        // One that also consumes may have been closed for what it acknowledged.
        let is_its = story.is_made_since(&channel.connection) && !story.consumes(&channel.connection);
        is_its.then_some((channel.n, own.by))
    });
    match (by_channel, line) {
        (Some((closed, holder)), line) => Some(Refused {
            closed,
            holder: Some(holder),
            said: line.map(|(_, said)| said),
            behind_a_relay: None,
        }),
        (None, Some((closed, said))) => Some(Refused {
            closed,
            holder: None,
            said: Some(said),
            behind_a_relay: None,
        }),
        (None, None) => refused_behind_a_relay(story),
    }
}

/// The API's connection ends at a relay, and a client that came since had its channel closed, which is no worker:
/// none of them connects as this user.
fn refused_behind_a_relay<'a>(story: &Story<'a>) -> Option<Refused<'a>> {
    let api = story.api_behind_a_relay()?;
    let workers = story.consuming_connections();
    let closed = story.closed_channels().find(|channel| {
        let is_a_workers = workers.iter().any(|own| own.connection.user == channel.user);
        let is_seen = story.peer(&channel.connection).is_some_and(|peer| {
            let holder = story.process(peer.value);
            holder.is_some_and(|process| !relays::is_relay(process.value))
        });
        !is_a_workers && !is_seen && story.is_new_publisher(&channel.connection)
    })?;
    Some(Refused {
        closed: closed.n,
        holder: Some(api.n),
        said: None,
        behind_a_relay: Some(closed.value),
    })
}

/// Pika's words for a channel that the broker closed because of what was published: the broker's reason.
pub(in crate::diagnosis) fn closed_by_the_broker(text: &str) -> Option<&str> {
    let (_, reason) = text.split_once("Received remote Channel.Close (40")?;
    let (_, reason) = reason.split_once("): ")?;
    let reason = reason.split(" on <").next().unwrap_or(reason);
    let reason = reason.trim();
    let bare = |quote: char| reason.strip_prefix(quote)?.strip_suffix(quote);
    let reason = bare('"').or_else(|| bare('\'')).unwrap_or(reason);
    let of_a_publish = reason.contains("access to exchange")
        || reason.contains("message size")
        || reason.contains("no exchange");
    of_a_publish.then_some(reason)
}

/// What keeps the user from publishing, for people.
pub(in crate::diagnosis) fn words(story: &Story<'_>, permission: &Permission) -> String {
    let pattern = match permission.write.as_str() {
        "" => "it may write nowhere".to_owned(),
        write => format!("its write pattern is `{write}`"),
    };
    format!(
        "connects as `{}`, which may not write to exchange `amq.default` of vhost \"{}\" ({pattern})",
        permission.user, story.timeline.setup.vhost
    )
}

#[cfg(test)]
mod tests {
    use super::closed_by_the_broker;

    #[test]
    fn the_brokers_reason_in_pikas_line() {
        let line = "pika.channel: Received remote Channel.Close (403): \"ACCESS_REFUSED - access to exchange 'amq.default' in vhost 'x' refused for user 'api'\" on <Channel number=1 OPEN conn=<SelectConnection OPEN>>";
        let reason = "ACCESS_REFUSED - access to exchange 'amq.default' in vhost 'x' refused for user 'api'";
        assert_eq!(closed_by_the_broker(line), Some(reason));
        // Of a consumer, or of a passive declare.
        let other =
            "Received remote Channel.Close (404): \"NOT_FOUND - no queue 'a' in vhost '/'\" on <Channel>";
        assert_eq!(closed_by_the_broker(other), None);
        assert_eq!(
            closed_by_the_broker("Received remote Connection.Close (320)"),
            None
        );
    }
}
