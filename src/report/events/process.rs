//! Processes, what they run in, and the containers around them.

use crate::text::counted;
use crate::timeline::place::{pid_words, place_of};
use crate::timeline::{EventKind as Kind, exit_words};
use crate::units::moment;

pub(super) fn describe(kind: &Kind) -> Option<String> {
    process(kind).or_else(|| container(kind))
}

/// One that runs, is gone, or was started by taskdiag.
fn process(kind: &Kind) -> Option<String> {
    Some(match kind {
        Kind::ApiProcess { pid } => format!("the API is pid {}", pid_words(*pid)),
        Kind::StacksRefused { reason, .. } => reason.clone(),
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
        Kind::PlaceReached { part, processes } => {
            format!("{} in {part} (exec)", counted(*processes, "process", "processes"))
        }
        Kind::PlaceUnreachable { reason, .. } => reason.clone(),
        _ => return None,
    })
}

/// One that runs or ends, and the ports that lead into it.
fn container(kind: &Kind) -> Option<String> {
    Some(match kind {
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
        _ => return None,
    })
}
