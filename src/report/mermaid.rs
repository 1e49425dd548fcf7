//! What really happened, as a Mermaid sequence diagram: user, API, PostgreSQL, RabbitMQ, worker.
//! It ends where the task ended.

use super::events::describe;
use super::words;
use super::{Format, Report, Style};
use crate::diagnosis::{Certainty, Stage};
use crate::framework::Message;
use crate::text::{cut, flat};
use crate::timeline::{Event, EventKind as Kind, Tier};
use crate::units::moment;

pub(super) const FORMAT: Format = Format {
    name: "mermaid",
    about: "Sequence diagram of what happened in this run",
    extensions: &["mmd"],
    render,
};

/// Characters of one label.
const LABEL: usize = 90;

const USER: &str = "User";
const API: &str = "API";
const DATABASE: &str = "PostgreSQL";
const BROKER: &str = "RabbitMQ";
const WORKER: &str = "Worker";

/// One line of the diagram and when it happened.
struct Step {
    at_ms: f64,
    text: String,
}

fn render(report: &Report, _: Style) -> String {
    let mut steps = Steps {
        report,
        steps: Vec::new(),
    };
    steps.events();
    steps.stages();
    steps.evidence();
    let mut steps = steps.steps;
    steps.sort_by(|one, other| one.at_ms.total_cmp(&other.at_ms));

    // Whoever took the message is only known to be the watched worker if that one received it.
    let consumer = match (
        reached(report, Stage::Delivered),
        reached(report, Stage::Received),
    ) {
        (Some(true), Some(false)) => "Consumer".to_owned(),
        _ => format!("{} worker", report.setup.framework().title),
    };
    let mut text = format!(
        "sequenceDiagram\n    actor {USER}\n    participant {API}\n    participant {DATABASE}\n    \
         participant {BROKER}\n    participant {WORKER} as {consumer}\n"
    );
    for step in &steps {
        text.push_str(&format!("    {}\n", step.text));
    }
    text.push_str(&format!("    {}\n", ending(report)));
    text.push_str(&format!(
        "    Note over {USER},{WORKER}: {}\n",
        label(&words::sentence(report))
    ));
    text
}

struct Steps<'a> {
    report: &'a Report,
    steps: Vec<Step>,
}

impl Steps<'_> {
    fn push(&mut self, at_ms: f64, arrow: &str, text: &str) {
        let text = cut(&flat(text), LABEL);
        let label = label(&format!("{} · {text}", moment(at_ms)));
        self.steps.push(Step {
            at_ms,
            text: format!("{arrow}: {label}"),
        });
    }

    fn events(&mut self) {
        let report = self.report;
        let consumers: Vec<&str> = report
            .timeline
            .iter()
            .filter_map(|event| match &event.kind {
                Kind::Deliver {
                    connection, message, ..
                } if is_ours(report, message) => Some(connection.as_str()),
                _ => None,
            })
            .collect();
        let taken_at = at(report, Stage::Received);
        // An event is seen a little after it happened; what came of it may be seen before. The
        // stages have set that right.
        let mut first = [Stage::Recorded, Stage::Published, Stage::Delivered].map(|stage| at(report, stage));
        let mut status: Option<Option<&str>> = None;
        for event in &report.timeline {
            let at_ms = event.at_ms;
            match &event.kind {
                Kind::Submitting { method, url } => {
                    self.push(at_ms, &format!("{USER}->>{API}"), &format!("{method} {url}"));
                }
                Kind::Answered { status, task_id, .. } => {
                    let task = task_id.as_deref().map(|id| format!(", task {id}"));
                    let text = format!("HTTP {status}{}", task.unwrap_or_default());
                    self.push(at_ms, &format!("{API}-->>{USER}"), &text);
                }
                Kind::CommandEnded(_) => {
                    self.push(at_ms, &format!("{API}-->>{USER}"), &describe(event));
                }
                Kind::NotAnswered { error, .. } => {
                    self.push(at_ms, &format!("{USER}-x{API}"), error);
                }
                Kind::Row(row) if row.present => {
                    let new = row.status.as_deref();
                    let arrow = match status {
                        Some(before) if before == new => continue,
                        // Who wrote it is not recorded; the API creates it, the worker goes on.
                        None => format!("{API}->>{DATABASE}"),
                        Some(_) if taken_at.is_some_and(|taken| taken <= at_ms) => {
                            format!("{WORKER}->>{DATABASE}")
                        }
                        Some(_) => format!("Note over {DATABASE}"),
                    };
                    let verb = if status.is_none() {
                        "the row is there, status"
                    } else {
                        "status"
                    };
                    status = Some(new);
                    let at_ms = first[0].take().unwrap_or(at_ms).min(at_ms);
                    self.push(at_ms, &arrow, &format!("{verb} {}", new.unwrap_or("NULL")));
                }
                Kind::Publish {
                    routing_key,
                    connection,
                    message,
                    ..
                } if is_ours(report, message) => {
                    // A retry is the worker's, whichever of its connections it takes.
                    let by = if message.is_retry() || consumers.contains(&connection.as_str()) {
                        WORKER
                    } else {
                        API
                    };
                    let at_ms = first[1].take().unwrap_or(at_ms).min(at_ms);
                    let text = format!("publish to {routing_key}, {}", named(message));
                    self.push(at_ms, &format!("{by}->>{BROKER}"), &text);
                }
                Kind::Deliver {
                    queue,
                    redelivered,
                    message,
                    ..
                } if is_ours(report, message) => {
                    let at_ms = first[2].take().unwrap_or(at_ms).min(at_ms);
                    let again = if *redelivered { " again" } else { "" };
                    let text = format!("deliver{again} from {queue}, {}", named(message));
                    self.push(at_ms, &format!("{BROKER}->>{WORKER}"), &text);
                }
                Kind::DeadLetter { queue, message, .. } if is_ours(report, message) => {
                    self.push(at_ms, &format!("Note over {BROKER}"), &format!("lies on {queue}"));
                }
                Kind::Gone { pid, .. } => {
                    let is_api = |event: &Event| matches!(&event.kind, Kind::Started { part, pid: started, .. } if part == "api" && started == pid);
                    let place = if report.timeline.iter().any(is_api) {
                        API
                    } else {
                        WORKER
                    };
                    self.push(at_ms, &format!("Note over {place}"), &describe(event));
                }
                _ => {}
            }
        }
    }

    /// What no single event shows but the stages say.
    fn stages(&mut self) {
        for (stage, arrow) in [
            (Stage::Received, format!("{WORKER}->>{WORKER}")),
            (Stage::Entered, format!("{WORKER}->>{WORKER}")),
            (Stage::Settled, format!("{WORKER}->>{BROKER}")),
        ] {
            if let Some(at_ms) = at(self.report, stage) {
                let reached = self
                    .report
                    .verdict
                    .stages
                    .iter()
                    .find(|reached| reached.stage == stage);
                let observed = reached.and_then(|reached| reached.observed.as_deref());
                let text = format!("{}: {}", stage.name(), observed.unwrap_or(stage.meaning()));
                self.push(at_ms, &arrow, &text);
            }
        }
    }

    /// The lines that prove the cause.
    fn evidence(&mut self) {
        let Some(cause) = &self.report.verdict.cause else {
            return;
        };
        let lines: Vec<&Event> = cause
            .evidence
            .iter()
            .filter_map(|n| self.report.event(*n))
            .filter(|event| {
                !matches!(
                    event.kind,
                    Kind::Submitting { .. }
                        | Kind::Answered { .. }
                        | Kind::CommandEnded(_)
                        | Kind::NotAnswered { .. }
                        | Kind::Publish { .. }
                        | Kind::Deliver { .. }
                        | Kind::DeadLetter { .. }
                        | Kind::Gone { .. }
                )
            })
            .collect();
        for event in lines {
            let place = match event.source.tier() {
                Tier::Api => API,
                Tier::PostgreSql => DATABASE,
                Tier::RabbitMq => BROKER,
                Tier::Worker => WORKER,
                Tier::Taskdiag => USER,
            };
            self.push(event.at_ms, &format!("Note over {place}"), &describe(event));
        }
    }
}

/// Where the task went no further.
fn ending(report: &Report) -> String {
    let missing = report.verdict.stages.iter().find(|reached| {
        reached.stage != Stage::Settled
            && reached.reached == Some(false)
            && report
                .verdict
                .stage
                .is_none_or(|furthest| reached.stage > furthest)
    });
    let Some(missing) = missing else {
        return format!(
            "Note over {WORKER}: {}",
            label(&format!("outcome {}", report.verdict.outcome.name()))
        );
    };
    let arrow = match missing.stage {
        Stage::Submitted => format!("{USER}-x{API}"),
        Stage::Recorded => format!("{API}-x{DATABASE}"),
        Stage::Published => format!("{API}-x{BROKER}"),
        Stage::Delivered | Stage::Settled => format!("{BROKER}-x{WORKER}"),
        Stage::Received | Stage::Entered => format!("{WORKER}-x{WORKER}"),
        Stage::Finished => format!("{WORKER}-x{DATABASE}"),
    };
    let why = missing.observed.as_deref().unwrap_or(missing.stage.meaning());
    let cause = match &report.verdict.cause {
        Some(cause) if cause.certainty == Certainty::Certain => format!(" ({})", cause.id),
        Some(cause) => format!(" ({} {})", cause.certainty.name(), cause.id),
        None => String::new(),
    };
    format!(
        "{arrow}: {}",
        label(&format!("not {}{cause}: {why}", missing.stage.name()))
    )
}

fn reached(report: &Report, stage: Stage) -> Option<bool> {
    report
        .verdict
        .stages
        .iter()
        .find(|reached| reached.stage == stage)?
        .reached
}

fn at(report: &Report, stage: Stage) -> Option<f64> {
    let reached = report
        .verdict
        .stages
        .iter()
        .find(|reached| reached.stage == stage)?;
    reached.at_ms.filter(|_| reached.reached == Some(true))
}

fn is_ours(report: &Report, message: &Message) -> bool {
    message.carries_task_id
        || message
            .message_id
            .as_ref()
            .is_some_and(|id| report.verdict.task.message_id.as_ref() == Some(id))
}

fn named(message: &Message) -> String {
    let name = match (&message.actor, &message.message_id) {
        (Some(actor), _) => actor.clone(),
        (None, Some(id)) => id.clone(),
        (None, None) => "undecodable".into(),
    };
    match message.retries {
        Some(retries) if retries > 0 => format!("{name}, retry {retries}"),
        _ => name,
    }
}

/// A label that stays one. Mermaid ends a statement at `;` and a line's end, reads `%%` and `#…;`
/// itself, takes `<br>` for a break and `$$` for a formula; `#NN;` is its way to write a character.
fn label(text: &str) -> String {
    let mut out = String::new();
    for c in flat(text).chars() {
        match c {
            '`' => out.push('\''),
            ';' => out.push(','),
            ' ' | '.' | ',' | ':' | '-' | '_' | '/' | '=' | '(' | ')' | '\'' | '?' | '+' | '·' | '…' => {
                out.push(c)
            }
            c if c.is_alphanumeric() => out.push(c),
            c => out.push_str(&format!("#{};", u32::from(c))),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_cannot_end_its_statement() {
        assert_eq!(label("a;b\nend"), "a,b end");
        assert_eq!(
            label("<br>%%{init}%% #35; $$x$$"),
            "#60;br#62;#37;#37;#123;init#125;#37;#37; #35;35, #36;#36;x#36;#36;"
        );
        assert_eq!(label("task_7: 1.5 ms · done"), "task_7: 1.5 ms · done");
    }
}
