//! One event of the timeline in a few words.

use crate::framework::{Heartbeat, HeldTask, Inspection, exception_in};
use crate::text::counted;
use crate::timeline::place::{pid_words, place_of};
use crate::timeline::{Event, EventKind as Kind, exit_words};
use crate::units::moment;

/// One event in a few words.
pub(super) fn describe(event: &Event) -> String {
    match &event.kind {
        Kind::Line(line) => {
            let exception = line
                .traceback
                .as_deref()
                .and_then(exception_in)
                .map(|exception| format!(" ⟶ {exception}"))
                .unwrap_or_default();
            let level = line
                .level
                .map(|level| format!("{level:?} ").to_uppercase())
                .unwrap_or_default();
            format!("{level}{}{exception}", line.text)
        }
        Kind::Submitting { method, url } => format!("{method} {url}"),
        Kind::Answered {
            status,
            latency_ms,
            task_id,
            body,
            ..
        } => match task_id {
            Some(id) => format!("HTTP {status} in {latency_ms:.1} ms, task {id}"),
            None => format!("HTTP {status} in {latency_ms:.1} ms: {body}"),
        },
        Kind::CommandEnded(end) => {
            let how = end
                .code
                .map_or_else(|| "ended by taskdiag".to_owned(), exit_words);
            match &end.task_id {
                Some(id) => format!("{how} after {:.1} ms, task {id}", end.latency_ms),
                None => format!("{how} after {:.1} ms: {}", end.latency_ms, end.printed),
            }
        }
        Kind::NotAnswered { error, .. } => error.clone(),
        Kind::ApiStatus {
            http_status, value, ..
        } => {
            format!("HTTP {http_status}, status {}", value.as_deref().unwrap_or("-"))
        }
        Kind::Row(row) if row.present => format!(
            "status {}, xmin {}, xmax {}{}",
            row.status.as_deref().unwrap_or("NULL"),
            row.xmin.map_or("-".into(), |xid| xid.to_string()),
            row.xmax.map_or("-".into(), |xid| xid.to_string()),
            row.xmax_state
                .map(|state| format!(
                    " ({})",
                    serde_json::to_value(state)
                        .ok()
                        .and_then(|value| value.as_str().map(str::to_owned))
                        .unwrap_or_default()
                ))
                .unwrap_or_default()
        ),
        Kind::Row(_) => "no such row".into(),
        Kind::RowCommitted {
            invisible_at_ms,
            visible_at_ms,
            ..
        } => match invisible_at_ms {
            Some(before) => format!("row committed between {before:.1} and {visible_at_ms:.1} ms"),
            None => format!("row committed before {visible_at_ms:.1} ms"),
        },
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
        Kind::Bound { queue, keys } => format!("queue {queue} is bound by {}", keys.join(", ")),
        Kind::LockWait(wait) => {
            let blockers = serde_json::to_value(wait).unwrap_or_default();
            let pids: Vec<String> = blockers["blockers"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(|blocker| blocker.get("pid").or(Some(blocker))?.as_i64())
                .map(|pid| pid.to_string())
                .collect();
            format!("waits for a lock held by backend {}: {blockers}", pids.join(", "))
        }
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
        Kind::Alarm { node, alarm } => format!("{node} has a {alarm} alarm"),
        Kind::TracingOn { readers } => {
            format!("tracing is on, {}", counted(*readers as u64, "reader", "readers"))
        }
        Kind::Recognised { task_id } => {
            format!(
                "the answer names no task: message {task_id}, the only one sent meanwhile, is taken for its"
            )
        }
        Kind::Given { task_id } => format!("asked about task {task_id}"),
        Kind::Missed { events } => counted(
            *events,
            "traced message was missed",
            "traced messages were missed",
        ),
        Kind::Rotated { path, reads_on: true } => {
            format!("{path} is another file by now, and the one before it is read on")
        }
        Kind::Rotated { path, .. } => format!("{path} was rotated or truncated: lines may be lost"),
        Kind::ReadWhole { path } => format!("{path} was read whole"),
        Kind::LockFree => "nobody waits for the row any more".into(),
        Kind::DatabaseSessions(seen) => format!(
            "{} at the database server, {} of them in {}",
            counted(seen.sessions.len() as u64, "session", "sessions"),
            seen.sessions
                .iter()
                .filter(|one| one.database == seen.here)
                .count(),
            seen.here
        ),
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
        Kind::Isolated(isolated) => {
            let steps: Vec<&str> = isolated.steps.iter().map(|step| step.step.as_str()).collect();
            match steps.as_slice() {
                [] => "--isolate found nothing to isolate".into(),
                steps => format!("--isolate tried {}", steps.join(", ")),
            }
        }
        Kind::Process(process) => format!(
            "pid {} (parent {}, state {}): {}",
            pid_words(process.pid),
            place_of(process.ppid).map_or(process.ppid, |(_, pid)| pid),
            process.state,
            process.command.join(" ")
        ),
        Kind::Environment(environment) => format!(
            "pid {} runs in {}: {} variables, {} distributions",
            pid_words(environment.pid),
            environment.interpreter.as_ref().map_or(
                "no Python that is known".to_owned(),
                |interpreter| format!(
                    "{} {} of {}",
                    interpreter.implementation,
                    interpreter.version.as_deref().unwrap_or("?"),
                    interpreter.prefix
                )
            ),
            environment
                .variables
                .as_ref()
                .map_or("unseen".to_owned(), |all| all.len().to_string()),
            environment
                .distributions
                .as_ref()
                .map_or("unseen".to_owned(), |all| all.len().to_string()),
        ),
        Kind::SameEnvironment { pid, like, .. } if pid == like => {
            format!("pid {} was found in another way too", pid_words(*pid))
        }
        Kind::SameEnvironment { pid, like, .. } => {
            let (pid, like) = (pid_words(*pid), pid_words(*like));
            format!("pid {pid} runs in the same as pid {like}")
        }
        Kind::Peer { connection, pid } => format!("{connection} is pid {}", pid_words(*pid)),
        Kind::Stacks { pid, threads } => {
            let threads: Vec<String> = threads
                .iter()
                .filter_map(|stack| {
                    let frame = stack.frames.first()?;
                    Some(format!(
                        "{} in {} ({}:{})",
                        stack.thread, frame.function, frame.file, frame.line
                    ))
                })
                .collect();
            format!("stacks of pid {}: {}", pid_words(*pid), threads.join("; "))
        }
        Kind::Gone {
            pid,
            exit: Some(code),
        } => format!("pid {pid} ended with {}", exit_words(*code)),
        Kind::Gone { pid, .. } => format!("pid {} is gone", pid_words(*pid)),
        Kind::Started {
            part, pid, command, ..
        } => format!("{part} started as pid {pid}: {}", command.join(" ")),
        Kind::Ready { part, after_ms, .. } => format!("{part} ready after {}", moment(*after_ms)),
        Kind::NotReady {
            part,
            after_ms,
            reason,
            ..
        } => format!("{part} not ready after {}: {reason}", moment(*after_ms)),
        Kind::Container(container) => format!(
            "container {} ({}) is {}{}",
            container.name,
            container.image,
            container.state,
            container
                .exit_code
                .map_or(String::new(), |code| format!(", exit code {code}")),
        ),
        Kind::ContainerEvent {
            container,
            action,
            exit,
        } => format!(
            "container {container}: {action}{}",
            exit.map_or(String::new(), |code| format!(", exit code {code}")),
        ),
        Kind::PublishedPort {
            port, to, listens, ..
        } => format!(
            "port {port} leads to {to} in a container{}",
            match listens {
                Some(true) => "",
                Some(false) => ", where nothing listens",
                None => ", which cannot be seen",
            }
        ),
        Kind::PlaceReached { part, processes } => {
            format!("{} in {part} (exec)", counted(*processes, "process", "processes"))
        }
        Kind::PlaceUnreachable { reason, .. } => reason.clone(),
        Kind::Heartbeat(beat) => describe_heartbeat(beat),
        Kind::Asked { node, methods } => format!("{node} is asked: {}", methods.join(", ")),
        Kind::Unanswered { node, waited_ms } => format!("{node} does not answer within {waited_ms} ms"),
        Kind::Inspected(answer) => describe_answer(answer),
        Kind::Blind { reason, .. } => format!("blind: {reason}"),
        Kind::Partial { reason } => format!("sees in part: {reason}"),
        Kind::Watching { detail } => format!("watching {detail}"),
        other => {
            // The rest is for the curious: its fields as they are recorded.
            let mut value = serde_json::to_value(other).unwrap_or_default();
            let kind = value.as_object_mut().and_then(|map| map.remove("kind"));
            format!(
                "{} {value}",
                kind.as_ref()
                    .and_then(serde_json::Value::as_str)
                    .unwrap_or_default()
            )
        }
    }
}

fn describe_heartbeat(beat: &Heartbeat) -> String {
    let pid = beat.pid.map_or(String::new(), |pid| format!(" (pid {pid})"));
    if beat.offline {
        return format!("{}{pid} says that it goes", beat.node);
    }
    let active = beat
        .active
        .map_or(String::new(), |active| format!(", {active} active"));
    let silent = beat.silent_ms.map_or(String::new(), |ms| {
        format!("; {} heartbeats, the last {ms} ms ago", beat.beats)
    });
    format!("{}{pid} lives{active}{silent}", beat.node)
}

fn describe_answer(answer: &Inspection) -> String {
    let count = |list: &Option<Vec<HeldTask>>| {
        list.as_ref()
            .map_or("?".to_owned(), |list| list.len().to_string())
    };
    let state = answer.state.as_deref().unwrap_or("?");
    let queues = answer
        .queues
        .as_ref()
        .map_or("?".to_owned(), |queues| queues.join(", "));
    format!(
        "{} answers: the task is {state}; {} active, {} reserved, {} scheduled; consumes {}",
        answer.node,
        count(&answer.active),
        count(&answer.reserved),
        count(&answer.scheduled),
        if queues.is_empty() { "nothing" } else { &queues },
    )
}
