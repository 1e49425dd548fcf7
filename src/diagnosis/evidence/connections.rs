//! AMQP connections and connection errors: whose they are, and what they say.

pub(in crate::diagnosis) use super::named_queue::names_our_queue;
use super::{Fact, Story, WorkerLine};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Certainty};
use crate::framework::LogEvent;
use crate::text::{self, counted};
use crate::timeline::{Connection, EventKind, Process, Source};

/// An AMQP connection attempt of the API's process that had not been answered.
pub(in crate::diagnosis) fn connecting_to_a_broker(story: &Story<'_>) -> Option<Fact<String>> {
    story.api_processes().into_iter().find_map(|process| {
        let socket = process.sockets.iter().find(|socket| {
            socket.ends_with(CONNECTING) && is_amqp_port(story, socket.trim_end_matches(CONNECTING))
        })?;
        Some(process.with(socket.clone()))
    })
}

/// Whether the process holds the client's end of this connection.
pub(in crate::diagnosis) fn is_socket_of(process: &Process, connection: &str) -> bool {
    process.sockets.iter().any(|socket| socket == connection)
}

/// Every connection of its, and of its children, that the broker lists is to another vhost: another system's, of the same
/// code perhaps. A child that takes its master's messages has the master's.
pub(in crate::diagnosis) fn serves_another_vhost(story: &Story<'_>, pid: i32) -> bool {
    let Some(listed) = story.connections() else {
        return false;
    };
    let vhosts_of = |pid: i32| {
        let process = story.process(pid).map(|process| process.value);
        let own = listed
            .iter()
            .filter(move |connection| process.is_some_and(|process| is_socket_of(process, &connection.name)));
        own.map(|connection| connection.vhost.as_str())
            .collect::<Vec<_>>()
    };
    let mut vhosts = vhosts_of(pid);
    if let Some(process) = story.process(pid).filter(|_| story.master_takes()) {
        vhosts.extend(vhosts_of(process.ppid));
    }
    let children = story.all_processes().filter(|process| process.ppid == pid);
    vhosts.extend(children.flat_map(|child| vhosts_of(child.pid)));
    !vhosts.is_empty() && vhosts.iter().all(|vhost| *vhost != story.timeline.setup.vhost)
}

/// The broker lists a connection of its to our vhost.
pub(in crate::diagnosis) fn serves_our_vhost(story: &Story<'_>, process: &Process) -> bool {
    let vhost = &story.timeline.setup.vhost;
    story.connections().is_some_and(|listed| {
        let mut ours = listed.iter().filter(|connection| connection.vhost == *vhost);
        ours.any(|connection| is_socket_of(process, &connection.name))
    })
}

/// The remote end has the broker's port, or a standard AMQP one.
pub(in crate::diagnosis) fn is_amqp_port(story: &Story<'_>, socket: &str) -> bool {
    let configured = story.timeline.setup.broker.rsplit(':').next();
    let port = socket.rsplit(':').next();
    port.is_some() && (port == configured || matches!(port, Some("5672" | "5671")))
}

/// An established AMQP connection of the process.
pub(in crate::diagnosis) fn amqp_socket<'a>(story: &Story<'_>, process: &'a Process) -> Option<&'a str> {
    process
        .sockets
        .iter()
        .map(String::as_str)
        .find(|socket| is_amqp_port(story, socket))
}

/// Ports of what an application talks to beside its broker.
const OF_NO_BROKER: &[&str] = &[
    "80", "443", "3306", "5432", "6379", "6380", "8125", "4317", "4318", "11211", "27017",
];

/// The process has a connection to something that is neither itself nor known as something else than a broker.
pub(in crate::diagnosis) fn elsewhere<'a>(story: &Story<'_>, process: &'a Process) -> Option<&'a str> {
    let ends = |socket: &'a String| socket.split_once(" -> ");
    let own: Vec<&str> = process
        .sockets
        .iter()
        .filter_map(ends)
        .map(|(own, _)| own)
        .collect();
    let database = story.timeline.setup.database.as_deref().unwrap_or_default();
    process
        .sockets
        .iter()
        .filter_map(ends)
        .map(|(_, remote)| remote)
        .find(|remote| {
            let port = remote.rsplit(':').next().unwrap_or_default();
            !own.contains(remote) && !OF_NO_BROKER.contains(&port) && !database.contains(&format!(":{port}"))
        })
}

/// It is about to connect to the configured broker: it has sent no more than its first packet so far.
pub(in crate::diagnosis) fn is_connecting_to_ours(story: &Story<'_>, process: &Process) -> bool {
    let broker = story.timeline.setup.broker.as_str();
    let mut sockets = process.sockets.iter();
    sockets.any(|socket| {
        let remote = socket
            .strip_suffix(CONNECTING)
            .and_then(|socket| socket.split(" -> ").nth(1));
        remote.is_some_and(|remote| remote == broker || is_behind_our_port(story, remote))
    })
}

/// What stands behind a socket that is not answered yet.
const CONNECTING: &str = " (connecting)";

/// The configured broker's port.
pub(in crate::diagnosis) fn is_brokers_port(story: &Story<'_>, port: u16) -> bool {
    let configured = story.timeline.setup.broker.rsplit(':').next();
    configured.and_then(|configured| configured.parse().ok()) == Some(port)
}

/// It is what the configured broker's port leads to: the broker's container, as others in its network know it.
fn is_behind_our_port(story: &Story<'_>, remote: &str) -> bool {
    let by_relay = story.timeline.events.iter().any(|event| match &event.kind {
        EventKind::PublishedPort { port, to, .. } => is_brokers_port(story, *port) && to == remote,
        _ => false,
    });
    let Some((address, port)) = remote.rsplit_once(':') else {
        return false;
    };
    let address = address.trim_matches(['[', ']']);
    let by_engine = story.containers().any(|container| {
        let mut ports = container.ports.iter();
        let is_its = ports.any(|at| is_brokers_port(story, at.host_port) && at.port.to_string() == port);
        is_its && container.addresses.iter().any(|own| own == address)
    });
    by_relay || by_engine
}

/// The process is connected to a broker, but not to the configured one.
pub(in crate::diagnosis) fn other_broker(
    story: &Story<'_>,
    processes: &[Fact<&Process>],
    who: &str,
) -> Answer {
    let broker = &story.timeline.setup.broker;
    let port = broker.rsplit(':').next().unwrap_or_default();
    for process in processes {
        // Where it is connected besides says nothing of it.
        if !process.sockets_seen || is_connecting_to_ours(story, process) {
            continue;
        }
        let remotes: Vec<&str> = process
            .sockets
            .iter()
            .map(|socket| socket.trim_end_matches(CONNECTING))
            .filter(|socket| is_amqp_port(story, socket))
            .filter_map(|socket| socket.split(" -> ").nth(1))
            .filter(|remote| !is_behind_our_port(story, remote))
            .collect();
        // The configured broker's connections as it lists them itself: one of them is decisive.
        let is_its = |connection: &Connection| is_socket_of(process, &connection.name);
        match story.connections() {
            Some(listed) if listed.iter().any(is_its) => {
                return Answer::ruled_out(
                    format!("{who} (pid {}) is connected to {broker}", process.pid),
                    [process.n, listed.n],
                );
            }
            Some(listed) => {
                if let Some(other) = remotes
                    .iter()
                    .find(|remote| remote.rsplit(':').next() != Some(port))
                {
                    let text = format!(
                        "{who} (pid {}) talks AMQP to {other}, not to {broker}",
                        process.pid
                    );
                    // Behind a forwarded port the same broker lists another address.
                    return if story.closed() && lists_addresses_of(story, process) {
                        Answer::shown(text, [process.n, listed.n])
                    } else {
                        Answer::likely(text, [process.n, listed.n])
                    };
                }
            }
            None => {
                if let Some(other) = remotes
                    .iter()
                    .find(|remote| remote.rsplit(':').next() != Some(port))
                {
                    return Answer::likely(
                        format!(
                            "{who} (pid {}) talks AMQP to {other}, not to {broker}",
                            process.pid
                        ),
                        [process.n],
                    )
                    .would_decide(&[Source::Management]);
                }
            }
        }
    }
    Answer::NotApplicable
}

/// The broker lists a connection under the very addresses that a process has beside which this one runs.
pub(in crate::diagnosis) fn lists_addresses_of(story: &Story<'_>, of: &Process) -> bool {
    let Some(connections) = story.connections() else {
        return false;
    };
    story.timeline.events.iter().any(|event| match &event.kind {
        EventKind::Process(process) if process.is_beside(of) => connections
            .iter()
            .any(|connection| is_socket_of(process, &connection.name)),
        EventKind::Peer {
            connection: name,
            pid,
        } => {
            let is_beside = story.process(*pid).is_none_or(|process| process.is_beside(of));
            is_beside && connections.iter().any(|connection| connection.name == *name)
        }
        _ => false,
    })
}

pub(in crate::diagnosis) fn is_conflict(error: &str) -> bool {
    (error.contains("PRECONDITION_FAILED") || error.contains("406")) && !is_of_a_delivery(error)
}

/// The same code is for what was delivered: an acknowledgement that came too late (`consumer_timeout`), or twice.
pub(in crate::diagnosis) fn is_of_a_delivery(error: &str) -> bool {
    error.contains("delivery acknowledgement") || error.contains("delivery tag")
}

pub(in crate::diagnosis) fn is_missing_queue(error: &str) -> bool {
    !is_queue_down(error)
        && (error.contains("NOT_FOUND - no queue") || (error.contains("404") && error.contains("queue")))
}

/// RabbitMQ answers a declare of a durable classic queue like this while its node is down, and one whose process
/// crashed.
pub(in crate::diagnosis) fn is_queue_down(error: &str) -> bool {
    (error.contains("home node") && error.contains("is down or inaccessible"))
        || error.contains("process is stopped by supervisor")
        || error.contains("has crashed and failed to restart")
}

/// The worker's last two errors are the broker's no to its name, its password or its vhost: trying again changes
/// nothing. (A limit on connections passes, and a user may be made a moment after the worker began.)
pub(in crate::diagnosis) fn is_refused_for_good(story: &Story<'_>) -> bool {
    let errors = story
        .worker_lines()
        .iter()
        .rev()
        .filter_map(|told| match told.mark {
            Some(LogEvent::ConnectionError { error, .. }) => Some(error.as_str()),
            _ => None,
        });
    let last: Vec<&str> = errors.take(2).collect();
    last.len() == 2
        && last.iter().all(|error| {
            let not_allowed = error.contains("NOT_ALLOWED");
            error.contains("Login was refused")
                || is_missing_vhost(error)
                || (not_allowed && error.contains("access to vhost") && !error.contains("limit"))
        })
}

pub(in crate::diagnosis) fn is_missing_vhost(error: &str) -> bool {
    error.contains("NOT_ALLOWED") && error.contains("vhost") && error.contains("not found")
}

/// Another client holds the queue for itself alone.
pub(in crate::diagnosis) fn is_exclusive(error: &str) -> bool {
    error.contains("ACCESS_REFUSED") && error.contains("in exclusive use")
}

/// The broker let the client in, and refused its consumer. The method that was refused is named before the code;
/// what has a cause of its own is none.
pub(in crate::diagnosis) fn is_refused_consumer(error: &str) -> bool {
    error.contains("Basic.consume: (")
        && !is_conflict(error)
        && !is_missing_queue(error)
        && !is_queue_down(error)
        && !is_exclusive(error)
}

/// Of a worker that tries again every few seconds, or every half minute.
const YOUNG_MS: f64 = 60_000.0;

/// The last of the worker's lines that say so of our queue, unless it consumes since.
pub(in crate::diagnosis) fn refused_for_an_exclusive<'a>(story: &Story<'a>) -> Option<WorkerLine<'a>> {
    let about_it = story.worker_lines().iter().rev().find(|told| match told.mark {
        Some(LogEvent::ConnectionError { queue, error }) => names_our_queue(story, queue.as_deref(), error),
        Some(LogEvent::Pushed { .. } | LogEvent::Received { .. }) => true,
        _ => false,
    })?;
    match about_it.mark {
        Some(LogEvent::ConnectionError { error, .. }) if is_exclusive(error) => Some(*about_it),
        _ => None,
    }
}

/// The worker's consumer reports connection errors of this kind, and nobody consumes.
pub(in crate::diagnosis) fn connection_error(
    story: &Story<'_>,
    kind: impl Fn(&str) -> bool,
    say: impl Fn(&str, usize) -> String,
) -> Answer {
    // Consumers may have been there before the trouble began: the last sample counts. Who may not even
    // connect to look (a limit on connections hits us as well) has the management API's list, which is late.
    let queue = story.queue();
    let (consumers, sample, most) = match (story.depths_since(queue).last(), story.consumers()) {
        (Some(depth), _) => (depth.consumers as usize, Some(depth.n), Certainty::Certain),
        (None, Some(list)) if story.sees_all(Source::Management) => {
            let ours = list.iter().filter(|consumer| consumer.queue == queue);
            (ours.count(), Some(list.n), Certainty::Likely)
        }
        (None, _) => match story.by_the_log_alone() {
            Some(most) => (0, None, most),
            None => return Answer::cannot_tell(&[Source::Queue]),
        },
    };
    if consumers > 0 {
        let consumers = counted(consumers as u64, "consumer", "consumers");
        let sample: Vec<u32> = sample.into_iter().collect();
        return Answer::ruled_out(format!("{consumers} on `{queue}`"), sample);
    }
    if !story.sees(Source::WorkerLog) {
        return Answer::cannot_tell(&[Source::WorkerLog]);
    }
    let errors: Vec<_> = story
        .worker_lines()
        .iter()
        .filter_map(|told| match told.mark {
            Some(LogEvent::ConnectionError { queue, error })
                if names_our_queue(story, queue.as_deref(), error) && kind(error) =>
            {
                Some((told, error))
            }
            _ => None,
        })
        .collect();
    let Some((last, error)) = errors.last() else {
        return Answer::NotApplicable;
    };
    // A line that names no queue may be of a worker that has nothing to do with ours.
    let names_none = matches!(last.mark, Some(LogEvent::ConnectionError { queue: None, .. }));
    if !story.closed() || names_none && story.consumes_others_only() {
        return Answer::NotApplicable;
    }
    // It has tried again, and consumes: the last sample of a source that has stopped says otherwise.
    let consumes = story.worker_lines().iter().find(|told| {
        told.at_ms > last.at_ms
            && matches!(
                told.mark,
                Some(LogEvent::Pushed { .. } | LogEvent::Received { .. })
            )
    });
    if let Some(consumes) = consumes {
        return Answer::ruled_out("the worker got a message after its last error", [consumes.n]);
    }
    // Whatever it met, it has ended since: it does not try any more.
    let stops = story.worker_lines().iter().find(|told| {
        told.at_ms > last.at_ms && matches!(told.mark, Some(LogEvent::Stopping | LogEvent::ShutDown))
    });
    if let Some(stops) = stops {
        return Answer::ruled_out("the worker was told to stop after its last error", [stops.n]);
    }
    // A broken connection was made again, by this worker or another one.
    let mut looks = story.depths(queue);
    let consumed = looks.any(|depth| depth.at_ms > last.at_ms && depth.consumers > 0);
    let mut evidence: Vec<u32> = errors
        .iter()
        .rev()
        .take(3)
        .rev()
        .map(|(told, _)| told.n)
        .collect();
    evidence.extend(sample);
    let text = say(&text::excerpt(error), errors.len());
    // The worker tries again every few seconds: an error during this run is today's. One from before
    // it may be a dead worker's.
    // … and other lines may have kept its file young.
    let is_young = last.line.age_s.is_some_and(|age| age < 10) && last.at_ms > -YOUNG_MS;
    let current = !last.line.before || is_young;
    let certainty = match current && !consumed && !story.one_leaves_us_out() {
        true => most,
        false => most.min(Certainty::Likely),
    };
    Answer::matched(certainty, text, evidence).given(sample.is_none().then_some(Premise::IsAmongTheWaiting))
}
