//! The catalogue, in the order a task travels; within a stage the specific above the general.
//!
//! To add a cause: write `causes/ITS_NAME.rs` with its data on top and a plain function under it,
//! and `causes/ITS_NAME.md` with its page; add `mod its_name;` and `its_name::CAUSE,` below, at the
//! place that its rank deserves: the order breaks ties. Forgetting the second is a dead-code
//! warning, forgetting the first fails the test that counts the files.
//!
//! A check answers from evidence, never from silence of a source that could not see: ask
//! `story.sees`, and conclude from absence only when `story.closed()`.

mod actor_raised;
mod actor_still_running;
mod api_answer_unrecognised;
mod api_cannot_enqueue;
mod api_failed;
mod api_rejected;
mod api_stale_read;
mod api_timeout;
mod api_unauthorized;
mod api_unreachable;
mod argument_not_serialisable;
mod backlog;
mod bad_arguments;
mod blocked_before_entry;
mod coroutine_never_awaited;
mod crash_before_entry;
mod decode_error;
mod delay_queue_stuck;
mod delayed;
mod dropped_by_limit;
mod enqueued_before_commit;
mod error_swallowed;
mod event_loop_blocked;
mod expected_exception;
mod message_expired;
mod message_skipped;
mod message_too_old;
mod no_consumer;
mod no_event_loop;
mod not_dispatched;
mod not_published;
mod published_to_other_broker;
mod published_to_other_queue;
mod published_to_other_vhost;
mod publisher_blocked;
mod queue_declaration_conflict;
mod queue_deleted;
mod queue_unavailable;
mod raised_before_entry;
mod redelivery_loop;
mod retries_missing;
mod row_invisible;
mod row_locked;
mod row_marked_failed;
mod row_missing;
mod row_never_written;
mod row_rolled_back;
mod several_workers;
mod single_active_consumer;
mod succeeded;
mod taken_by_orphaned_worker;
mod taken_by_other_client;
mod taken_by_other_worker;
mod test_broker;
mod time_limit_exceeded;
mod tracing_left_on;
mod unknown_actor;
mod unroutable;
mod waiting_in_worker;
mod worker_blocked;
mod worker_cannot_connect;
mod worker_died_in_actor;
mod worker_frozen;
mod worker_has_no_actors;
mod worker_log_pipe_full;
mod worker_log_silent;
mod worker_not_started;
mod worker_on_other_queue;
mod worker_on_other_vhost;
mod worker_on_test_broker;
mod worker_shutting_down;
mod worker_still_booting;
mod workers_busy;
mod wrong_worker_log;

use super::story::{End, Launch, Raised};
use super::{Answer, Cause, Certainty, Story};
use crate::framework::Mark;
use crate::framework::dramatiq::{self, Trace};
use crate::timeline::{EventKind, Level, Process, Source};

/// Every cause there is. The order means something: earlier stages first, and within a stage the
/// specific before the general.
pub const ALL: &[Cause] = &[
    api_unreachable::CAUSE,
    api_timeout::CAUSE,
    api_unauthorized::CAUSE,
    argument_not_serialisable::CAUSE,
    api_cannot_enqueue::CAUSE,
    api_rejected::CAUSE,
    api_failed::CAUSE,
    api_answer_unrecognised::CAUSE,
    row_invisible::CAUSE,
    row_missing::CAUSE,
    published_to_other_queue::CAUSE,
    published_to_other_vhost::CAUSE,
    published_to_other_broker::CAUSE,
    publisher_blocked::CAUSE,
    test_broker::CAUSE,
    not_dispatched::CAUSE,
    unroutable::CAUSE,
    dropped_by_limit::CAUSE,
    not_published::CAUSE,
    worker_not_started::CAUSE,
    worker_cannot_connect::CAUSE,
    queue_declaration_conflict::CAUSE,
    queue_deleted::CAUSE,
    worker_still_booting::CAUSE,
    worker_on_test_broker::CAUSE,
    worker_has_no_actors::CAUSE,
    worker_on_other_queue::CAUSE,
    worker_on_other_vhost::CAUSE,
    queue_unavailable::CAUSE,
    message_expired::CAUSE,
    delayed::CAUSE,
    delay_queue_stuck::CAUSE,
    single_active_consumer::CAUSE,
    workers_busy::CAUSE,
    backlog::CAUSE,
    no_consumer::CAUSE,
    taken_by_orphaned_worker::CAUSE,
    taken_by_other_worker::CAUSE,
    taken_by_other_client::CAUSE,
    decode_error::CAUSE,
    unknown_actor::CAUSE,
    worker_frozen::CAUSE,
    worker_log_pipe_full::CAUSE,
    worker_shutting_down::CAUSE,
    waiting_in_worker::CAUSE,
    worker_blocked::CAUSE,
    message_too_old::CAUSE,
    message_skipped::CAUSE,
    bad_arguments::CAUSE,
    no_event_loop::CAUSE,
    coroutine_never_awaited::CAUSE,
    raised_before_entry::CAUSE,
    crash_before_entry::CAUSE,
    blocked_before_entry::CAUSE,
    event_loop_blocked::CAUSE,
    enqueued_before_commit::CAUSE,
    time_limit_exceeded::CAUSE,
    worker_died_in_actor::CAUSE,
    redelivery_loop::CAUSE,
    expected_exception::CAUSE,
    retries_missing::CAUSE,
    actor_raised::CAUSE,
    row_locked::CAUSE,
    row_rolled_back::CAUSE,
    row_marked_failed::CAUSE,
    row_never_written::CAUSE,
    actor_still_running::CAUSE,
    succeeded::CAUSE,
    error_swallowed::CAUSE,
    api_stale_read::CAUSE,
    worker_log_silent::CAUSE,
    wrong_worker_log::CAUSE,
    several_workers::CAUSE,
    tracing_left_on::CAUSE,
];

/// The cause with this id.
pub fn find(id: &str) -> Option<&'static Cause> {
    ALL.iter().find(|cause| cause.id == id)
}

// What several causes ask. Each is a question about evidence, with its evidence.

/// The start of a text, on one line.
pub(in crate::diagnosis) fn excerpt(text: &str) -> String {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match flat.char_indices().nth(200) {
        Some((at, _)) => format!("{}…", &flat[..at]),
        None if flat.is_empty() => "(empty)".into(),
        None => flat,
    }
}

/// A duration in milliseconds, for people.
fn span(ms: f64) -> String {
    match ms {
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms if ms < 120_000.0 => format!("{:.1} s", ms / 1000.0),
        ms if ms < 7_200_000.0 => format!("{:.0} min", ms / 60_000.0),
        ms => format!("{:.1} h", ms / 3_600_000.0),
    }
}

fn table<'a>(story: &Story<'a>) -> &'a str {
    story.timeline.setup.table.as_deref().unwrap_or("the table")
}

/// A refusal in the API's own words, or where a redirect points.
fn rejection(story: &Story<'_>, status: u16, body: &str) -> String {
    let location = story.timeline.events.iter().find_map(|event| match &event.kind {
        EventKind::Answered {
            location: Some(location),
            ..
        } => Some(location.as_str()),
        _ => None,
    });
    if let (300..400, Some(location)) = (status, location) {
        return format!(
            "the API redirects to {location} with HTTP {status}, which drops method and body: set api.submit_path to that path"
        );
    }
    let detail = serde_json::from_str::<serde_json::Value>(body)
        .ok()
        .and_then(|body| {
            ["detail", "message", "error", "title"].iter().find_map(|key| {
                body.get(key).map(|value| match value {
                    serde_json::Value::String(text) => text.clone(),
                    other => other.to_string(),
                })
            })
        });
    format!(
        "the API refused the request with HTTP {status}: {}",
        excerpt(detail.as_deref().unwrap_or(body))
    )
}

/// A line of the API's log since the submission whose traceback satisfies the question.
fn api_traceback(story: &Story<'_>, wanted: impl Fn(&str) -> bool) -> Option<(u32, String)> {
    story.timeline.events.iter().find_map(|event| match &event.kind {
        EventKind::Line(line) if event.source == Source::ApiLog && !line.before => {
            let traceback = line.traceback.as_deref().filter(|text| wanted(text))?;
            let exception = Trace::parse(traceback)
                .map(|trace| trace.exception)
                .filter(|text| !text.is_empty())
                .unwrap_or_else(|| line.text.clone());
            Some((event.n, excerpt(&exception)))
        }
        _ => None,
    })
}

/// Nothing published since the submission can have escaped the firehose.
fn saw_every_publish(story: &Story<'_>) -> bool {
    story.sees_all(Source::Firehose)
        // Events of strangers beyond what a run keeps are a gap of no events.
        && !story
            .timeline
            .events
            .iter()
            .any(|event| matches!(event.kind, EventKind::Missed { .. }))
}

/// A message without the task id that may be the task's all the same: the API may send another id
/// than it answers with, or a body that cannot be read. One from a worker is none.
fn disguised(story: &Story<'_>) -> Option<(u32, &'static str)> {
    let wanted = story.timeline.setup.actor.as_deref();
    let api = story.api_processes();
    story.other_publishes().find_map(|(n, connection, message)| {
        let from_api = api.iter().any(|(_, process)| is_socket_of(process, connection))
            || story
                .peer(connection)
                .is_some_and(|(_, pid)| api.iter().any(|(_, process)| process.pid == pid));
        let from_elsewhere = story.peer(connection).is_some() && !from_api && !api.is_empty();
        let fits = wanted.is_none_or(|wanted| message.actor.as_deref().is_none_or(|actor| actor == wanted));
        match (from_elsewhere, message.undecodable.is_some(), fits) {
            (true, ..) | (false, false, false) => None,
            (false, true, _) => Some((n, "whose body cannot be read")),
            (false, false, true) => Some((n, "without this task's id")),
        }
    })
}

/// The request was taken and the connection closed without an answer.
fn broken_off<'a>(story: &Story<'a>) -> Option<(u32, &'a str)> {
    story.timeline.events.iter().find_map(|event| match &event.kind {
        EventKind::NotAnswered {
            why: crate::timeline::NoAnswer::Broken,
            error,
            ..
        } => Some((event.n, error.as_str())),
        _ => None,
    })
}

/// An AMQP connection attempt of the API's process that had not been answered.
fn connecting_to_a_broker(story: &Story<'_>) -> Option<(u32, String)> {
    story.api_processes().into_iter().find_map(|(n, process)| {
        let socket = process.sockets.iter().find(|socket| {
            socket.ends_with(" (connecting)") && is_amqp_port(story, socket.trim_end_matches(" (connecting)"))
        })?;
        Some((n, socket.clone()))
    })
}

/// Whether the process holds the client's end of this connection.
fn is_socket_of(process: &Process, connection: &str) -> bool {
    process.sockets.iter().any(|socket| socket == connection)
}

/// The remote end has the broker's port, or a standard AMQP one.
fn is_amqp_port(story: &Story<'_>, socket: &str) -> bool {
    let configured = story.timeline.setup.broker.rsplit(':').next();
    let port = socket.rsplit(':').next();
    port.is_some() && (port == configured || matches!(port, Some("5672" | "5671")))
}

/// An established AMQP connection of the process.
fn amqp_socket<'a>(story: &Story<'_>, process: &'a Process) -> Option<&'a str> {
    process
        .sockets
        .iter()
        .map(String::as_str)
        .find(|socket| is_amqp_port(story, socket))
}

/// The process is connected to a broker, but not to the configured one.
fn other_broker(story: &Story<'_>, processes: &[(u32, &Process)], who: &str) -> Answer {
    let broker = &story.timeline.setup.broker;
    let port = broker.rsplit(':').next().unwrap_or_default();
    for (n, process) in processes {
        if !process.sockets_seen {
            continue;
        }
        let remotes: Vec<&str> = process
            .sockets
            .iter()
            .filter(|socket| is_amqp_port(story, socket.trim_end_matches(" (connecting)")))
            .filter_map(|socket| socket.split(" -> ").nth(1))
            .collect();
        // The configured broker's connections as it lists them itself: one of them is decisive.
        let listed = story.connections().map(|(n, connections)| {
            (
                n,
                connections
                    .iter()
                    .any(|connection| is_socket_of(process, &connection.name)),
            )
        });
        match listed {
            Some((listed, true)) => {
                return Answer::ruled_out(
                    format!("{who} (pid {}) is connected to {broker}", process.pid),
                    [*n, listed],
                );
            }
            Some((listed, false)) => {
                if let Some(other) = remotes
                    .iter()
                    .find(|remote| remote.rsplit(':').next() != Some(port))
                {
                    let text = format!(
                        "{who} (pid {}) talks AMQP to {other}, not to {broker}",
                        process.pid
                    );
                    // Behind a forwarded port the same broker lists another address.
                    return if story.closed() && lists_this_machine(story) {
                        Answer::certain(text, [*n, listed])
                    } else {
                        Answer::likely(text, [*n, listed])
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
                        [*n],
                    )
                    .would_decide(&[Source::Management]);
                }
            }
        }
    }
    Answer::NotApplicable
}

/// The broker lists a connection under the very addresses that a process of this machine has.
fn lists_this_machine(story: &Story<'_>) -> bool {
    let Some((_, connections)) = story.connections() else {
        return false;
    };
    story.timeline.events.iter().any(|event| match &event.kind {
        EventKind::Process(process) => connections
            .iter()
            .any(|connection| is_socket_of(process, &connection.name)),
        EventKind::Peer { connection: name, .. } => {
            connections.iter().any(|connection| connection.name == *name)
        }
        _ => false,
    })
}

/// A frame of Dramatiq's stub broker in one of these processes.
fn stub_frame(story: &Story<'_>, pids: &[i32]) -> Option<(u32, String)> {
    story.timeline.events.iter().find_map(|event| match &event.kind {
        EventKind::Stacks { pid, threads } if pids.contains(pid) => threads
            .iter()
            .find(|thread| {
                thread
                    .frames
                    .iter()
                    .any(|frame| frame.file.ends_with("dramatiq/brokers/stub.py"))
            })
            .map(|thread| (event.n, thread.thread.clone())),
        _ => None,
    })
}

/// A test switch that is on in the process's environment.
fn test_switch(process: &Process) -> Option<(&str, &str)> {
    const SWITCHES: &[&str] = &[
        "DRAMATIQ_TESTING",
        "UNIT_TESTS",
        "UNIT_TESTING",
        "TESTING",
        "PYTEST_CURRENT_TEST",
    ];
    let on = |value: &str| !matches!(value.to_lowercase().as_str(), "" | "0" | "false" | "no" | "off");
    SWITCHES
        .iter()
        .find_map(|name| process.env.get_key_value(*name).filter(|(_, value)| on(value)))
        .or_else(|| {
            ["ENV", "APP_ENV", "ENVIRONMENT"].iter().find_map(|name| {
                process
                    .env
                    .get_key_value(*name)
                    .filter(|(_, value)| matches!(value.to_lowercase().as_str(), "test" | "testing"))
            })
        })
        .map(|(name, value)| (name.as_str(), value.as_str()))
}

/// A worker by its command line: the framework's own start script or module.
fn is_worker_command(command: &[String]) -> bool {
    command.iter().take(3).any(|word| {
        let name = word.rsplit('/').next().unwrap_or(word);
        name == "dramatiq" || name == "dramatiq-gevent" || name == "rundramatiq" || name == "celery"
    })
}

fn is_worker(process: &Process) -> bool {
    is_worker_command(&process.command) || process.parent_command.as_deref().is_some_and(is_worker_command)
}

/// A worker by what it does: its stack is a worker's, or it consumes the delay queue, which only a
/// Dramatiq worker does. A worker started by a script of the application is known by nothing else.
fn acts_as_worker(story: &Story<'_>, process: &Process) -> bool {
    let by_stack = story.timeline.events.iter().any(|event| match &event.kind {
        EventKind::Stacks { pid, threads } if *pid == process.pid => threads.iter().any(|thread| {
            thread
                .frames
                .iter()
                .any(|frame| frame.file.ends_with("dramatiq/worker.py"))
        }),
        _ => false,
    });
    let delay = dramatiq::delay_queue(story.queue());
    let by_queue = story.consumers().is_some_and(|(_, consumers)| {
        consumers
            .iter()
            .any(|consumer| consumer.queue == delay && is_socket_of(process, &consumer.connection))
    });
    by_stack || by_queue
}

/// Client libraries that task workers use.
fn is_worker_product(product: &str) -> bool {
    product.contains("Pika") || product.contains("py-amqp")
}

/// Live processes of the watched worker.
fn live_workers<'a>(story: &Story<'a>) -> Vec<(u32, &'a Process)> {
    let mut found: Vec<(u32, &'a Process)> = Vec::new();
    for pid in story.log_pids().into_iter().chain(story.log_holders()) {
        if found.iter().any(|(_, process)| process.pid == pid) {
            continue;
        }
        // An old log's pid may be another program's by now.
        if let Some(process) = story.process(pid)
            && story.gone(pid).is_none()
            && (is_worker(process.1) || process.1.command.iter().any(|word| word.contains("python")))
        {
            found.push(process);
        }
    }
    found
}

/// Somebody consumed the queue at some time since the submission: whatever keeps a worker from
/// consuming is ruled out. Before there was any sample, nothing can be told.
fn has_consumer(story: &Story<'_>) -> Option<Answer> {
    let depths = story.depths_since(story.queue());
    if depths.is_empty() {
        return Some(Answer::cannot_tell(&[Source::Queue]));
    }
    depths.iter().find(|depth| depth.consumers > 0).map(|depth| {
        Answer::ruled_out(
            format!("{} consumers on `{}`", depth.consumers, story.queue()),
            [depth.n],
        )
    })
}

/// A started program's end in words, if it has ended: `ended with exit code 2, 0.9 s after its start`.
fn end_of(launch: &Launch) -> Option<(End, String)> {
    let end = launch.ended?;
    let text = format!(
        "ended with {}, {} after its start",
        crate::timeline::exit_words(end.exit),
        span(end.after_ms)
    );
    Some((end, text))
}

/// What a log ends in that gives a reason: the exception of its last traceback, its last line at ERROR
/// or above, or else its last line.
fn last_words(story: &Story<'_>, source: Source) -> Option<(u32, String)> {
    let lines = || {
        let events = story.timeline.events.iter().rev();
        events.filter_map(|event| match &event.kind {
            EventKind::Line(line) if event.source == source && !line.before => Some((event.n, line)),
            _ => None,
        })
    };
    let (n, line) = lines()
        .find(|(_, line)| line.traceback.is_some() || line.level >= Some(Level::Error))
        .or_else(|| lines().next())?;
    let exception = line
        .traceback
        .as_deref()
        .and_then(Trace::parse)
        .map(|trace| trace.exception)
        .filter(|text| !text.is_empty());
    Some((n, excerpt(&exception.unwrap_or_else(|| line.text.clone()))))
}

/// The queue's ready count rose after the submission.
fn grew(story: &Story<'_>, queue: &str) -> bool {
    let since = story.submitted_at().unwrap_or(f64::MIN);
    let before = story
        .depths(queue)
        .rfind(|depth| depth.at_ms <= since)
        .map_or(0, |depth| depth.ready);
    story.depths_since(queue).iter().any(|depth| depth.ready > before)
}

/// The publish did not add a message to the queue, though none was taken away meanwhile: the broker
/// did not keep it. Only the firehose can say that none was taken.
fn did_not_grow(story: &Story<'_>) -> bool {
    let Some(passage) = story.published().filter(|_| story.sees_all(Source::Firehose)) else {
        return false;
    };
    let depths: Vec<_> = story.depths(story.queue()).collect();
    let (Some(before), Some(after)) = (
        depths.iter().rfind(|depth| depth.at_ms < passage.at_ms),
        depths.last(),
    ) else {
        return false;
    };
    let taken = story.timeline.events.iter().any(|event| {
        matches!(&event.kind, EventKind::Deliver { queue, .. } if queue == story.queue() && event.at_ms >= before.at_ms)
    });
    passage.queue == story.queue() && before.exists && after.exists && after.ready <= before.ready && !taken
}

fn is_conflict(error: &str) -> bool {
    error.contains("PRECONDITION_FAILED") || error.contains("406")
}

fn is_missing_queue(error: &str) -> bool {
    !is_queue_down(error)
        && (error.contains("NOT_FOUND - no queue") || (error.contains("404") && error.contains("queue")))
}

/// RabbitMQ answers a declare of a durable classic queue like this while its node is down.
fn is_queue_down(error: &str) -> bool {
    error.contains("home node") && error.contains("is down or inaccessible")
}

/// The worker's consumer reports connection errors of this kind, and nobody consumes.
fn connection_error(
    story: &Story<'_>,
    kind: impl Fn(&str) -> bool,
    say: impl Fn(&str, usize) -> String,
) -> Answer {
    // Consumers may have been there before the trouble began: the last sample counts.
    match story.depths_since(story.queue()).last() {
        None => return Answer::cannot_tell(&[Source::Queue]),
        Some(depth) if depth.consumers > 0 => {
            return Answer::ruled_out(
                format!("{} consumers on `{}`", depth.consumers, story.queue()),
                [depth.n],
            );
        }
        Some(_) => {}
    }
    if !story.sees(Source::WorkerLog) {
        return Answer::cannot_tell(&[Source::WorkerLog]);
    }
    let errors: Vec<_> = story
        .worker_lines()
        .iter()
        .filter_map(|told| match told.mark {
            Some(Mark::ConnectionError { queue, error })
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
    if !story.closed() {
        return Answer::NotApplicable;
    }
    let mut evidence: Vec<u32> = errors
        .iter()
        .rev()
        .take(3)
        .rev()
        .map(|(told, _)| told.n)
        .collect();
    evidence.extend(story.depths(story.queue()).last().map(|depth| depth.n));
    let text = say(&excerpt(error), errors.len());
    // The worker tries again every few seconds: an error during this run is today's. One from before
    // it may be a dead worker's.
    let current = !last.line.before || last.line.age_s.is_some_and(|age| age < 10);
    let certainty = if current {
        Certainty::Certain
    } else {
        Certainty::Likely
    };
    Answer::matched(certainty, text, evidence)
}

/// The consumer of our queue had this error. Where the log does not say whose it was, a refusal of
/// a queue names it; a broken connection hits all of them.
fn names_our_queue(story: &Story<'_>, consumer: Option<&str>, error: &str) -> bool {
    match consumer {
        Some(name) => dramatiq::base_queue(name) == story.queue(),
        None if is_conflict(error) || is_missing_queue(error) => error
            .split(['\'', '"'])
            .any(|part| dramatiq::base_queue(part) == story.queue()),
        None => true,
    }
}

/// Something of the watched worker is alive: a process of its log's, or a line during the run.
fn watched_is_alive(story: &Story<'_>) -> Option<u32> {
    let ended = story
        .started("worker")
        .is_some_and(|launch| launch.ended.is_some());
    live_workers(story).first().map(|(n, _)| *n).or_else(|| {
        // Its lines tell of a life that is over.
        if ended {
            return None;
        }
        story
            .worker_lines()
            .iter()
            .rev()
            .find(|told| {
                !told.line.before
                    && !matches!(
                        told.mark,
                        Some(Mark::Stopping | Mark::ShutDown | Mark::ChildDied { .. } | Mark::ImportFailed)
                    )
            })
            .map(|told| told.n)
    })
}

/// The message lies on a dead-letter queue for this reason: seen with `--peek` only.
fn dead_lettered<'a>(story: &Story<'a>, wanted: &str) -> Option<(u32, &'a str)> {
    story.timeline.events.iter().find_map(|event| match &event.kind {
        EventKind::DeadLetter {
            reason: Some(reason),
            from_queue,
            message,
            ..
        } if reason == wanted
            && message
                .message_id
                .as_deref()
                .is_some_and(|id| story.is_my_message(id)) =>
        {
            Some((event.n, from_queue.as_deref().unwrap_or("?")))
        }
        _ => None,
    })
}

/// Milliseconds until the message's eta at the end of what was seen; negative: it has passed.
/// Counted from the enqueue by the publisher's clock and the publish by ours.
fn eta_left_ms(story: &Story<'_>, passage: &super::story::Passage<'_>) -> Option<f64> {
    let now = story
        .timeline
        .events
        .last()
        .map_or(passage.at_ms, |event| event.at_ms);
    if story.post_mortem() {
        // There was no publish to count from: wall clocks must do.
        let started: jiff::Timestamp = story.timeline.started_at.parse().ok()?;
        return Some(passage.message.eta_ms? as f64 - (started.as_millisecond() as f64 + now));
    }
    let delay = (passage.message.eta_ms? - passage.message.timestamp_ms?) as f64;
    Some(delay - (now - passage.at_ms))
}

/// The message on its way through the delay queue: as it was published, or where it lies.
fn waiting_message<'s, 'a>(story: &'s Story<'a>) -> Option<&'s super::story::Passage<'a>> {
    story.published().or_else(|| {
        story
            .held()
            .iter()
            .map(|held| &held.passage)
            .find(|passage| passage.queue == dramatiq::delay_queue(story.queue()))
    })
}

/// Published to the queue itself, or moved on to it.
fn is_on_the_queue(story: &Story<'_>) -> bool {
    story
        .published()
        .is_some_and(|passage| passage.queue == story.queue())
        || moved_on(story)
}

/// The queue has a length limit or a time to live, or nobody can say: it may not hold every message
/// that was sent to it.
fn may_lose_messages(story: &Story<'_>) -> bool {
    const LIMITS: &[&str] = &["max-length", "max-length-bytes", "message-ttl", "expires"];
    story.infos(story.queue()).last().is_none_or(|info| {
        info.policy_unknown
            || LIMITS.iter().any(|limit| {
                info.arguments.contains_key(&format!("x-{limit}"))
                    || info.policy_definition.contains_key(*limit)
            })
    })
}

/// Other messages were delivered in the second half of the time since ours was sent. One that comes
/// again is no progress.
fn still_moves(story: &Story<'_>) -> Option<u32> {
    let sent = story.published()?.at_ms;
    let end = story.depths(story.queue()).last()?.at_ms;
    let half = sent + (end - sent) / 2.0;
    story
        .timeline
        .events
        .iter()
        .rev()
        .find_map(|event| match &event.kind {
            EventKind::Deliver {
                queue,
                redelivered: false,
                ..
            } if queue == story.queue() && event.at_ms >= half => Some(event.n),
            _ => None,
        })
}

/// A worker has moved the delayed message on to the queue itself.
fn moved_on(story: &Story<'_>) -> bool {
    story
        .publishes()
        .iter()
        .any(|passage| passage.queue == story.queue())
}

/// What else the watched worker has received and not settled: line and actor.
fn running_others(story: &Story<'_>) -> Vec<(u32, String)> {
    // Where events were left out, a settling may be among them.
    if story
        .timeline
        .events
        .iter()
        .any(|event| matches!(event.kind, EventKind::Missed { .. }))
    {
        return Vec::new();
    }
    let mut running: Vec<(&str, u32, &str)> = Vec::new();
    for told in story.worker_lines() {
        match told.mark {
            Some(Mark::Received { id, actor }) if !story.is_my_message(id) => {
                running.push((id, told.n, actor))
            }
            Some(Mark::Acknowledging { id } | Mark::Rejecting { id }) => {
                running.retain(|(other, ..)| other != id)
            }
            Some(Mark::ShutDown | Mark::BootingUp) => running.clear(),
            _ => {}
        }
    }
    running
        .into_iter()
        .map(|(_, n, actor)| (n, actor.to_owned()))
        .collect()
}

/// Whoever took it may have rejected it: then it is on the dead-letter queue, and that is an
/// explicit failure.
fn taken(story: &Story<'_>, answer: Answer) -> Answer {
    if !story.closed() {
        return Answer::NotApplicable;
    }
    let dead = dramatiq::dead_letter_queue(story.queue());
    if grew(story, &dead) {
        answer.scenario(super::Scenario::B)
    } else {
        answer
    }
}

/// No further attempt is waited for.
fn final_attempt(story: &Story<'_>) -> bool {
    // An actor that ran without its row: whether the row still comes decides what the cause is.
    if story.row_absent() && !story.closed() {
        return false;
    }
    !story.timeline.setup.wait_retries
        || story
            .line(|mark| matches!(mark, Mark::RetriesExceeded { .. } | Mark::Aborting { .. }))
            .is_some()
}

/// What comes next after a failed attempt, from the log or from the copy on the delay queue.
fn retry_state(story: &Story<'_>) -> String {
    if story
        .line(|mark| matches!(mark, Mark::RetriesExceeded { .. }))
        .is_some()
    {
        return "; retries are exhausted".into();
    }
    let copy = story
        .publishes()
        .iter()
        .rfind(|passage| passage.message.is_retry());
    let line = story.lines().iter().rev().find_map(|told| match told.mark {
        Some(Mark::Retrying { in_ms, .. }) => Some(*in_ms as f64),
        _ => None,
    });
    let wait = line.or_else(|| {
        copy.and_then(|passage| eta_left_ms(story, passage))
            .filter(|left| *left > 0.0)
    });
    match (wait, copy.and_then(|passage| passage.message.retries)) {
        (Some(wait), Some(done)) => {
            let left = copy
                .and_then(|passage| passage.message.max_retries)
                .map(|most| format!(" of at most {most}"))
                .unwrap_or_default();
            format!("; retry {done}{left} comes in {}", span(wait))
        }
        (Some(wait), None) if story.post_mortem() => format!("; it was to be retried {} later", span(wait)),
        (Some(wait), None) => format!("; it is retried in {}", span(wait)),
        (None, Some(done)) if retry_was_delivered(story) => {
            format!("; retry {done} was delivered since, and what became of it was not seen")
        }
        (None, Some(done)) => format!("; retry {done} is waiting"),
        (None, None) => String::new(),
    }
}

/// The copy has been handed to a worker again, and nobody saw how that ended.
fn retry_was_delivered(story: &Story<'_>) -> bool {
    story
        .deliveries()
        .last()
        .is_some_and(|passage| passage.message.is_retry() && passage.queue == story.queue())
        && story.is_trace()
}

/// The last attempt raised because it did not find something: the row, by all appearances.
fn misses_the_row(story: &Story<'_>) -> bool {
    const WORDS: &[&str] = &[
        "not found",
        "notfound",
        "noresultfound",
        "no row",
        "doesnotexist",
        "does not exist",
        "lookuperror",
        "nonetype",
        "foreignkeyviolation",
        "foreign key",
    ];
    story.raised().last().is_some_and(|raised| {
        let text = raised.exception();
        let named = story
            .task_id()
            .is_some_and(|id| id.len() >= 6 && text.contains(id));
        let text = text.to_lowercase();
        named || WORDS.iter().any(|word| text.contains(word))
    })
}

/// Where in the application's own code it was raised.
pub(super) fn own_place(raised: &Raised) -> String {
    raised
        .trace
        .as_ref()
        .and_then(|trace| trace.own_frames().last())
        .map(|frame| format!(" at {}:{} in {}", frame.file, frame.line, frame.function))
        .unwrap_or_default()
}

/// The innermost frame of the application's own code on a worker thread's stack. `below`: only
/// where a frame of that name is on the stack.
fn own_frame(story: &Story<'_>, pid: Option<i32>, below: &str) -> Option<(u32, String)> {
    story
        .timeline
        .events
        .iter()
        .rev()
        .find_map(|event| match &event.kind {
            EventKind::Stacks { pid: of, threads } if pid.is_none_or(|pid| pid == *of) => threads
                .iter()
                .filter(|thread| {
                    thread.stable
                        && thread.frames.iter().any(|frame| {
                            frame.file.contains("dramatiq/worker.py")
                                && frame.function.contains("process_message")
                        })
                })
                .filter(|thread| {
                    below.is_empty() || thread.frames.iter().any(|frame| frame.function.contains(below))
                })
                .find_map(|thread| {
                    thread
                        .frames
                        .iter()
                        .find(|frame| frame.is_application())
                        .map(|frame| {
                            (
                                event.n,
                                format!("{}:{} in {}", frame.file, frame.line, frame.function),
                            )
                        })
                }),
            _ => None,
        })
}

/// Where the main thread of a booting worker stands still: an import, or a full log pipe.
fn boot_frame(story: &Story<'_>, pid: i32) -> Option<(u32, String)> {
    story
        .timeline
        .events
        .iter()
        .rev()
        .find_map(|event| match &event.kind {
            EventKind::Stacks { pid: of, threads } if *of == pid => threads
                .iter()
                .filter(|thread| thread.stable)
                .find(|thread| {
                    thread
                        .frames
                        .iter()
                        .any(|frame| frame.function == "_find_and_load" || frame.function == "import_module")
                })
                .and_then(|thread| thread.frames.iter().find(|frame| !is_library(&frame.file)))
                .map(|frame| {
                    (
                        event.n,
                        format!("{}:{} in {}", frame.file, frame.line, frame.function),
                    )
                }),
            _ => None,
        })
}

/// Python's own, the framework's, or what is installed beside it.
fn is_library(file: &str) -> bool {
    file.starts_with('<') || file.contains("/lib/python") || file.contains("/site-packages/")
}

/// The thread of this dump that stands in this frame.
fn thread_of(story: &Story<'_>, n: u32, place: &str) -> Option<String> {
    match &story.timeline.event(n)?.kind {
        EventKind::Stacks { threads, .. } => threads
            .iter()
            .find(|thread| {
                thread.stable
                    && thread
                        .frames
                        .iter()
                        .any(|frame| format!("{}:{} in {}", frame.file, frame.line, frame.function) == place)
            })
            .map(|thread| thread.thread.clone()),
        _ => None,
    }
}

/// The log has shown the framework's call of an actor: its absence says that there was none. The
/// line is the application's logger's, which may be quieter than the framework's.
fn shows_calls(story: &Story<'_>) -> bool {
    story
        .worker_lines()
        .iter()
        .any(|told| matches!(told.mark, Some(Mark::Called)))
}

/// The actor marks its row as running, and the row is in sight.
fn could_see_row_change(story: &Story<'_>) -> bool {
    story.sees(Source::Database)
        && !story.timeline.setup.running.is_empty()
        && story.last_row().is_some_and(|(_, row)| row.present)
}

/// The event loop thread sits in something that is not the loop's own waiting.
fn blocked_loop(story: &Story<'_>, pid: Option<i32>) -> Option<(u32, String)> {
    story
        .timeline
        .events
        .iter()
        .rev()
        .find_map(|event| match &event.kind {
            EventKind::Stacks { pid: of, threads } if pid.is_none_or(|pid| pid == *of) => threads
                .iter()
                .filter(|thread| {
                    thread.stable
                        && thread.frames.iter().any(|frame| {
                            frame.function.contains("run_forever") || frame.function.contains("_run_once")
                        })
                })
                .filter(|thread| {
                    !thread
                        .frames
                        .first()
                        .is_some_and(|frame| frame.file.ends_with("selectors.py"))
                })
                .find_map(|thread| {
                    let frame = thread
                        .frames
                        .iter()
                        .find(|frame| !frame.file.contains("/lib/python"))
                        .or(thread.frames.first())?;
                    Some((
                        event.n,
                        format!("{}:{} in {}", frame.file, frame.line, frame.function),
                    ))
                }),
            _ => None,
        })
}

/// Everything was taken from the queue and nothing is unacknowledged any more.
fn drained(story: &Story<'_>) -> Option<u32> {
    story
        .infos(story.queue())
        .last()
        .filter(|info| info.ready == Some(0) && info.unacked == Some(0))
        // A count from before the delivery says nothing of it.
        .filter(|info| {
            story
                .deliveries()
                .last()
                .is_some_and(|passage| info.at_ms > passage.at_ms)
        })
        .map(|info| info.n)
}

/// The API speaks the row's language: its value is one of the configured words, so a difference is
/// a difference and not another vocabulary.
fn same_words(story: &Story<'_>, value: &str) -> bool {
    let setup = &story.timeline.setup;
    let known = |word: &String| word == value;
    setup.running.iter().any(known)
        || setup.succeeded.iter().any(known)
        || setup.failed.iter().any(known)
        || story
            .rows()
            .iter()
            .any(|(_, _, row)| row.status.as_deref() == Some(value))
}
