//! `taskdiag submit`: one task, through the API or straight to the queue.

use serde_json::json;

use super::{load, print_text};
use crate::cli::{Global, Plain, Submit};
use crate::error::{Error, Result, exit};
use crate::run::Command;
use crate::scrubber::scrubber;
use crate::submit::{Direct, publish};
use crate::timeline::scrub::{Scrubber, printable};
use crate::timeline::{NoAnswer, exit_words};
use crate::vantage::api::{Submission, submit_once};

pub async fn run(args: &Submit, global: &Global) -> Result<u8> {
    let config = load(
        global,
        &[
            ("broker.actor", args.actor.as_ref()),
            ("broker.queue", args.queue.as_ref()),
        ],
    )?;
    if args.direct {
        return direct(args, &publish(&config).await?);
    }
    if let Some(command) = Command::of(&config)? {
        return by_command(args, &command, &scrubber(&config, false)).await;
    }
    let submission = submit_once(config.need_api()?).await?;
    let scrubber = scrubber(&config, false);
    let code = match &submission {
        Submission::Answered {
            status,
            task_id: Some(_),
            ..
        } if (200..300).contains(status) => exit::OK,
        Submission::Answered { status, .. } if (200..300).contains(status) => exit::COULD_NOT,
        Submission::Answered { .. } => exit::FAILED,
        Submission::NotAnswered { .. } => exit::COULD_NOT,
    };
    let text = match args.format {
        Plain::Json => json_text(&submission, &scrubber, code),
        Plain::Terminal => terminal_text(&submission, &scrubber),
    };
    print_text(&text)?;
    Ok(code)
}

fn json_text(submission: &Submission, scrubber: &Scrubber, code: u8) -> String {
    match submission {
        Submission::Answered {
            status,
            latency_ms,
            task_id,
            body,
            location,
            candidates,
            routes,
        } => lines(&json!({
            "schema": "taskdiag.submit.v1", "task_id": task_id, "http_status": status, "latency_ms": latency_ms,
            "body": if task_id.is_some() { None } else { Some(scrubber.answer(body)) }, "location": location, "candidates": candidates, "routes": routes, "exit_code": code,
        })),
        Submission::NotAnswered {
            why,
            error,
            latency_ms,
        } => lines(&json!({
            "schema": "taskdiag.submit.v1", "task_id": null, "no_answer": why, "error": scrubber.text(error), "latency_ms": latency_ms, "exit_code": code,
        })),
    }
}

fn terminal_text(submission: &Submission, scrubber: &Scrubber) -> String {
    match submission {
        Submission::Answered {
            status,
            latency_ms,
            task_id: Some(id),
            ..
        } => format!("task {}  HTTP {status}  {latency_ms:.1} ms\n", printable(id)),
        Submission::Answered {
            status,
            latency_ms,
            body,
            location,
            candidates,
            routes,
            ..
        } => {
            let mut text = format!(
                "no task: HTTP {status} in {latency_ms:.1} ms\n{}\n",
                scrubber.answer(body)
            );
            if let Some(location) = location {
                text.push_str(&format!(
                    "it redirects to {}: set api.submit_path to that path\n",
                    scrubber.text(location)
                ));
            }
            if !routes.is_empty() {
                text.push_str(&format!(
                    "its document has these POST routes: {}: set api.submit_path to the right one\n",
                    printable(&routes.join(", "))
                ));
            }
            if let Some(pointer) = candidates.first() {
                text.push_str(&format!(
                    "set api.task_id_pointer = \"{}\"?\n",
                    printable(pointer)
                ));
            }
            text
        }
        Submission::NotAnswered {
            why,
            error,
            latency_ms,
        } => {
            let next = match why {
                NoAnswer::Connect => "is the API running at api.url?",
                NoAnswer::Dns => "check the host name in api.url",
                NoAnswer::Tls => "check the certificate, or set broker.ca_file to its authority",
                NoAnswer::Timeout => "the API hangs, or api.timeout is too short",
                NoAnswer::Broken => "see the API's log",
                NoAnswer::OwnLimit => "raise that limit and try again",
            };
            format!(
                "no answer after {latency_ms:.1} ms: {}\n{next}\n",
                scrubber.text(error)
            )
        }
    }
}

/// Through `submit.command`; without a pattern its exit code is all that it says.
async fn by_command(args: &Submit, command: &Command, scrubber: &Scrubber) -> Result<u8> {
    let end = command.run().await;
    let code = match end.code {
        Some(0) if end.task_id.is_none() && command.names_tasks() => exit::COULD_NOT,
        Some(0) => exit::OK,
        Some(_) => exit::FAILED,
        None => exit::COULD_NOT,
    };
    let printed = scrubber.outside_text(end.printed.trim_end());
    let text = match args.format {
        Plain::Json => lines(&json!({
            "schema": "taskdiag.submit.v1", "task_id": end.task_id, "command_exit_code": end.code, "latency_ms": end.latency_ms,
            "printed": if end.task_id.is_some() { None } else { Some(printed) }, "exit_code": code,
        })),
        Plain::Terminal => {
            let how = end.code.map_or_else(
                || "ended, because it took longer than timing.timeout".to_owned(),
                exit_words,
            );
            match &end.task_id {
                Some(id) if code == exit::OK => {
                    format!("task {}  {how}  {:.1} ms\n", printable(id), end.latency_ms)
                }
                _ if code == exit::COULD_NOT && end.code == Some(0) => format!(
                    "no task: {how} after {:.1} ms, and submit.task_id_pattern finds nothing in what it printed:\n{printed}\n",
                    end.latency_ms
                ),
                _ => format!("{how} after {:.1} ms; it printed:\n{printed}\n", end.latency_ms),
            }
        }
    };
    print_text(&text)?;
    Ok(code)
}

fn direct(args: &Submit, done: &Direct) -> Result<u8> {
    let code = if done.routed { exit::OK } else { exit::FAILED };
    let text = match args.format {
        Plain::Json => lines(&json!({
            "schema": "taskdiag.submit.v1", "task_id": done.task_id, "message_id": done.message_id, "queue": done.queue, "actor": done.actor,
            "routed": done.routed, "confirmed": done.confirmed, "latency_ms": done.latency_ms, "exit_code": code,
        })),
        Plain::Terminal if done.routed => format!(
            "task {}  message {}  published to {} for actor {}, confirmed in {:.1} ms\n",
            done.task_id, done.message_id, done.queue, done.actor, done.latency_ms
        ),
        Plain::Terminal => format!(
            "message {} was returned: queue `{}` does not exist. The first worker or the first publish of the application declares it.\n",
            done.message_id, done.queue
        ),
    };
    print_text(&text)?;
    if !done.confirmed {
        return Err(Error::Could {
            action: "publish",
            target: format!("queue `{}`", done.queue),
            seen: "the broker refused the message (nack)".into(),
            hint: "the queue is full (overflow reject-publish) or unavailable; `taskdiag check` says more"
                .into(),
        });
    }
    Ok(code)
}

fn lines(value: &serde_json::Value) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    format!("{}\n", crate::timeline::scrub::printable_json(text))
}
