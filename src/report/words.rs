//! What several formats say, worded once.

use super::{Report, SourceState};
use crate::diagnosis::isolation::{Sent, Step};
use crate::diagnosis::{Outcome, Scenario, Stage};
use crate::links;
use crate::timeline::{Ended, Event, EventKind as Kind};

/// What the scenario's letter stands for.
pub(super) fn scenario(report: &Report) -> &'static str {
    match report.scenario {
        Some(Scenario::A) => "A: the actor was entered",
        Some(Scenario::B) => "B: the actor was not entered, and something said why",
        Some(Scenario::C) => "C: the actor was not entered, and there was silence",
        None if was_stopped(report) => "none: stopped before the task could be followed",
        None => "none: the task could not be followed",
    }
}

/// By whoever ran it.
fn was_stopped(report: &Report) -> bool {
    let interrupted = Kind::Ended {
        why: Ended::Interrupted,
    };
    report.timeline.iter().any(|event| event.kind == interrupted)
}

/// The verdict in one sentence.
pub(super) fn sentence(report: &Report) -> String {
    let title = match &report.cause {
        Some(cause) => format!(" · {}", cause.title),
        None => String::new(),
    };
    format!(
        "Scenario {} · outcome {}{title}",
        scenario(report),
        report.outcome.name()
    )
}

/// Whose verdict it is: what is known of task, message, actor and queue.
pub(super) fn subject(report: &Report) -> Vec<(&'static str, &str)> {
    let task = &report.task;
    [
        ("task", &task.id),
        ("message", &task.message_id),
        ("actor", &task.actor),
        ("queue", &task.queue),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value.as_deref()?)))
    .collect()
}

/// Whether what was expected came true, as the exit code says.
pub(super) fn is_good(report: &Report) -> bool {
    report.exit_code == crate::error::exit::OK
}

/// The stage that the cause kept the task from. A task that was followed to the end and failed is
/// the last stage's failure: "finished" is reached, success is not.
pub(super) fn blamed(report: &Report) -> Option<Stage> {
    if is_good(report) {
        return None;
    }
    let missing = report
        .stages
        .iter()
        .find(|reached| {
            reached.stage != Stage::Settled
                && reached.reached != Some(true)
                && report.stage.is_none_or(|furthest| reached.stage > furthest)
        })
        .map(|reached| reached.stage);
    Some(missing.unwrap_or(Stage::Finished))
}

/// What to do is worth saying unless the task succeeded.
pub(super) fn remedies(report: &Report) -> &[String] {
    match &report.cause {
        Some(cause) if report.outcome != Outcome::Succeeded => &cause.remedies,
        _ => &[],
    }
}

/// Where API and worker differ: a line each. Of the many packages of two virtual environments the
/// first few stand for all.
pub(super) fn differences(report: &Report) -> Vec<String> {
    const MOST: usize = 6;
    let all = &report.environment.differences;
    let mut lines: Vec<String> = all
        .iter()
        .take(MOST)
        .map(|difference| {
            let why = difference.why.as_deref().map(|why| format!(" ({why})"));
            let how = if difference.is_masked() {
                format!("the worker has {} than the API", difference.other_parts())
            } else {
                format!(
                    "{} for the API, {} for the worker",
                    difference.side(0),
                    difference.side(1)
                )
            };
            format!("{}: {how}{}", difference.what(), why.unwrap_or_default())
        })
        .collect();
    if all.len() > MOST {
        let names: Vec<&str> = all[MOST..]
            .iter()
            .map(|other| other.name.as_str())
            .take(5)
            .collect();
        let more = if all.len() > MOST + 5 { " …" } else { "" };
        lines.push(format!("{} more: {}{more}", all.len() - MOST, names.join(", ")));
    }
    lines
}

/// What API and worker run in, a line each.
pub(super) fn surroundings(report: &Report) -> Vec<String> {
    report
        .environment
        .fingerprints
        .iter()
        .map(|fingerprint| {
            let environment = &fingerprint.environment;
            let mut parts = vec![format!(
                "{} pid {}: {}",
                fingerprint.of.name(),
                environment.pid,
                environment.command.join(" ")
            )];
            if let Some(interpreter) = &environment.interpreter {
                parts.push(format!(
                    "{} {} of {}",
                    interpreter.implementation,
                    interpreter.version.as_deref().unwrap_or("?"),
                    interpreter.prefix
                ));
            }
            if let Some(code) = &environment.code {
                parts.push(format!("{} from {}", code.module, code.directory));
            }
            parts.extend(environment.cwd.as_ref().map(|cwd| format!("in {cwd}")));
            parts.extend(environment.user.as_ref().map(|user| format!("as {user}")));
            parts.extend(
                fingerprint
                    .connected_to_broker
                    .as_ref()
                    .map(|address| format!("connected to the broker at {address}")),
            );
            parts.extend(
                fingerprint
                    .connected_to_database
                    .as_ref()
                    .map(|address| format!("to the database at {address}")),
            );
            let count = |count: Option<usize>, what: &str| count.map(|count| format!("{count} {what}"));
            parts.extend(count(
                environment.distributions.as_ref().map(Vec::len),
                "packages",
            ));
            parts.extend(count(
                environment.variables.as_ref().map(|all| all.len()),
                "variables",
            ));
            parts.extend(environment.hidden.iter().cloned());
            parts.join("; ")
        })
        .collect()
}

/// The page or the command that says more.
pub(super) fn more(report: &Report) -> String {
    match &report.cause {
        Some(cause) => links::cause(&cause.id).unwrap_or_else(|| format!("taskdiag explain {}", cause.id)),
        None => "taskdiag check".into(),
    }
}

/// The blind sources worth a line: one that was not asked to look is, only if it would decide.
pub(super) fn blind(report: &Report) -> Vec<&SourceState> {
    let missed = |source: &&SourceState| {
        let by_choice =
            source.reason.starts_with("not used here") || source.reason.starts_with("not looked at");
        let decides = report
            .cannot_tell
            .iter()
            .any(|untold| untold.needs.contains(&source.name));
        source.state == "blind" && (!by_choice || decides)
    };
    report.sources.iter().filter(missed).collect()
}

/// On one line, with single spaces.
pub(super) fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text, cut after so many characters.
pub(super) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// One event in a few words.
pub(super) fn describe(event: &Event) -> String {
    match &event.kind {
        Kind::Line(line) => {
            let exception = line
                .traceback
                .as_deref()
                .and_then(crate::framework::dramatiq::Trace::parse)
                .map(|trace| format!(" ⟶ {}", trace.exception))
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
            "publish to {routing_key} from {connection}: {} {}",
            message.actor.as_deref().unwrap_or("undecodable"),
            message.message_id.as_deref().unwrap_or_default()
        ),
        Kind::Deliver {
            queue,
            connection,
            redelivered,
            message,
        } => format!(
            "deliver from {queue} to {connection}{}: {} {}",
            if *redelivered { " (redelivered)" } else { "" },
            message.actor.as_deref().unwrap_or("undecodable"),
            message.message_id.as_deref().unwrap_or_default()
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
        } if *exists => format!("{queue}: {ready} ready, {consumers} consumers ({samples} samples)"),
        Kind::Depth { queue, .. } => format!("{queue} does not exist"),
        Kind::Isolated(isolated) => {
            let steps: Vec<&str> = isolated.steps.iter().map(|step| step.step.as_str()).collect();
            match steps.as_slice() {
                [] => "--isolate found nothing to isolate".into(),
                steps => format!("--isolate tried {}", steps.join(", ")),
            }
        }
        Kind::Process(process) => format!(
            "pid {} (parent {}, state {}): {}",
            process.pid,
            process.ppid,
            process.state,
            process.command.join(" ")
        ),
        Kind::Environment(environment) => format!(
            "pid {} runs in {}: {} variables, {} distributions",
            environment.pid,
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
            format!("pid {pid} was found in another way too")
        }
        Kind::SameEnvironment { pid, like, .. } => format!("pid {pid} runs in the same as pid {like}"),
        Kind::Peer { connection, pid } => format!("{connection} is pid {pid}"),
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
            format!("stacks of pid {pid}: {}", threads.join("; "))
        }
        Kind::Gone {
            pid,
            exit: Some(code),
        } => format!("pid {pid} ended with {}", crate::timeline::exit_words(*code)),
        Kind::Gone { pid, .. } => format!("pid {pid} is gone"),
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

/// A time of the run, for people.
pub(super) fn moment(ms: f64) -> String {
    if ms.abs() < 10_000.0 {
        format!("{ms:.1} ms")
    } else {
        format!("{:.2} s", ms / 1000.0)
    }
}

/// ` [#3 #7]`, or nothing.
pub(super) fn references(evidence: &[u32]) -> String {
    if evidence.is_empty() {
        return String::new();
    }
    format!(
        " [{}]",
        evidence
            .iter()
            .map(|n| format!("#{n}"))
            .collect::<Vec<_>>()
            .join(" ")
    )
}

/// A step of `--isolate` and what follows from it.
pub(super) fn step(step: &Step) -> String {
    match &step.skipped {
        Some(why) => format!("{}: not done, {why}", step.title),
        None => format!("{}: {}", step.title, step.proved),
    }
}

/// What a step added to the world.
pub(super) fn sent(sent: &Sent) -> String {
    let mut text = format!("sent: {}", sent.what);
    for (name, id) in [("task", &sent.task_id), ("message", &sent.message_id)] {
        if let Some(id) = id {
            text.push_str(&format!("; {name} {id}"));
        }
    }
    text
}
