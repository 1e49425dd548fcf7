//! For people: the verdict first, the stages as a checklist, what proves it, what to do now.

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};

use super::{Report, SourceState};
use crate::diagnosis::{Named, Outcome, Reached, Scenario};
use crate::timeline::Event;

/// How to draw.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    pub color: bool,
    pub ascii: bool,
    /// Columns.
    pub width: u16,
    pub timeline: bool,
}

impl Style {
    /// For files and tests.
    pub const PLAIN: Style = Style {
        color: false,
        ascii: false,
        width: 100,
        timeline: false,
    };

    fn paint(self, code: &str, text: &str) -> String {
        if self.color {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }
}

pub fn render(report: &Report, style: Style) -> String {
    let mut out = String::new();
    let mut line = |text: &str| {
        out.push_str(text.trim_end());
        out.push('\n');
    };
    line(&headline(report, style));
    line("");
    line(&stages(report, style));
    line("");
    if let Some(cause) = &report.cause {
        line(&format!(
            "{} {} ({})",
            style.bold("Cause"),
            style.bold(&cause.id),
            cause.certainty.name()
        ));
        line(&wrap(&cause.summary, 2, style));
        let proof = evidence(report, &cause.evidence, style);
        if !proof.is_empty() {
            line("");
            line(&style.bold("Evidence"));
            line(&proof);
        }
        if report.outcome != Outcome::Succeeded && !cause.remedies.is_empty() {
            line("");
            line(&style.bold("What to do now"));
            for remedy in &cause.remedies {
                line(&bullet(remedy, style));
            }
        }
    } else {
        line(&format!("{} none could be shown.", style.bold("Cause")));
    }
    also(report, style, &mut line);
    if style.timeline {
        line("");
        line(&style.bold("Timeline"));
        for event in &report.timeline {
            line(&event_line(event, style));
        }
    }
    let more = match &report.cause {
        Some(cause) => format!("taskdiag explain {}", cause.id),
        None => "taskdiag check".into(),
    };
    line("");
    line(&style.dim(&format!(
        "More: {more}{}",
        if style.timeline {
            ""
        } else {
            "; -v shows the timeline"
        }
    )));
    out
}

/// What stands beside the cause: contributing, ruled out, untold, blind.
fn also(report: &Report, style: Style, line: &mut impl FnMut(&str)) {
    if !report.contributing.is_empty() {
        line("");
        line(&style.bold("Also seen"));
        for Named {
            id,
            summary,
            certainty,
            ..
        } in &report.contributing
        {
            line(&bullet(&format!("{id} ({}): {summary}", certainty.name()), style));
        }
    }
    for note in &report.notes {
        line("");
        line(&format!("{} {note}", style.bold("Note")));
    }
    if report.outcome == Outcome::Succeeded {
        return;
    }
    if !report.ruled_out.is_empty() {
        line("");
        line(&style.bold("Ruled out"));
        for out in report.ruled_out.iter().take(8) {
            line(&bullet(
                &format!("{}: {}{}", out.id, out.because, references(&out.evidence)),
                style,
            ));
        }
        if report.ruled_out.len() > 8 {
            line(&format!(
                "  … and {} more (--format json)",
                report.ruled_out.len() - 8
            ));
        }
    }
    if !report.cannot_tell.is_empty() {
        line("");
        line(&style.bold("Could not be told"));
        for untold in report.cannot_tell.iter().take(6) {
            let needs: Vec<&str> = untold.needs.iter().map(|source| source.name()).collect();
            line(&bullet(
                &format!("{}: needs {}", untold.id, needs.join(", ")),
                style,
            ));
        }
        if report.cannot_tell.len() > 6 {
            line(&format!(
                "  … and {} more (--format json)",
                report.cannot_tell.len() - 6
            ));
        }
    }
    // A source that was not asked to look is worth a line only if it would decide.
    let missed = |source: &&SourceState| {
        let by_choice =
            source.reason.starts_with("not used here") || source.reason.starts_with("not looked at");
        let decides = report
            .cannot_tell
            .iter()
            .any(|untold| untold.needs.contains(&source.name));
        source.state == "blind" && (!by_choice || decides)
    };
    let blind: Vec<_> = report.sources.iter().filter(missed).collect();
    if !blind.is_empty() {
        line("");
        line(&style.bold("Blind"));
        for source in blind {
            let hint = source
                .hint
                .as_deref()
                .map(|hint| format!(" → {hint}"))
                .unwrap_or_default();
            line(&bullet(
                &format!("{}: {}{hint}", source.name, source.reason),
                style,
            ));
        }
    }
}

fn headline(report: &Report, style: Style) -> String {
    let (code, scenario) = match (report.scenario, report.outcome) {
        (Some(Scenario::A), Outcome::Succeeded) => ("1;32", "A: the actor was entered"),
        (Some(Scenario::A), _) => ("1;33", "A: the actor was entered"),
        (Some(Scenario::B), _) => ("1;31", "B: the actor was not entered, and something said why"),
        (Some(Scenario::C), _) => ("1;35", "C: the actor was not entered, and there was silence"),
        (None, _) => ("1;31", "none: the task could not be followed"),
    };
    let title = report
        .cause
        .as_ref()
        .map(|cause| format!(" · {}", cause.title))
        .unwrap_or_default();
    let mut text = style.paint(code, &format!("Scenario {scenario}"));
    text.push_str(&format!(" · outcome {}{title}", report.outcome.name()));
    let task = &report.task;
    let parts: Vec<String> = [
        task.id.as_ref().map(|id| format!("task {id}")),
        task.message_id.as_ref().map(|id| format!("message {id}")),
        task.actor.as_ref().map(|actor| format!("actor {actor}")),
        task.queue.as_ref().map(|queue| format!("queue {queue}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    format!("{text}\n{}", style.dim(&parts.join(" · ")))
}

fn stages(report: &Report, style: Style) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(style.width);
    for Reached {
        stage,
        reached,
        at_ms,
        observed,
        ..
    } in &report.stages
    {
        let (sign, code) = match (reached, style.ascii) {
            (Some(true), false) => ("✔", "32"),
            (Some(true), true) => ("[x]", "32"),
            (Some(false), false) => ("✘", "31"),
            (Some(false), true) => ("[ ]", "31"),
            (None, _) => (if style.ascii { "[?]" } else { "?" }, "33"),
        };
        let at = at_ms.map(moment).unwrap_or_default();
        let text = observed.clone().unwrap_or_else(|| stage.meaning().to_owned());
        table.add_row([style.paint(code, sign), stage.name().to_owned(), at, text]);
    }
    if let Some(column) = table.column_mut(2) {
        column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(10)));
    }
    table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect::<Vec<_>>()
        .join("\n")
}

/// The events a claim points at, each with source and moment.
fn evidence(report: &Report, numbers: &[u32], style: Style) -> String {
    numbers
        .iter()
        .filter_map(|n| report.timeline.get((*n as usize).checked_sub(1)?))
        .map(|event| event_line(event, style))
        .collect::<Vec<_>>()
        .join("\n")
}

fn event_line(event: &Event, style: Style) -> String {
    let head = format!(
        "  #{:<4}{:>10}  {:<11} ",
        event.n,
        moment(event.at_ms),
        event.source.name()
    );
    let room = (style.width as usize).saturating_sub(head.len()).max(30);
    let text = describe(event);
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let cut: String = flat.chars().take(room - 1).collect();
    let more = if cut.len() < flat.len() {
        if style.ascii { "~" } else { "…" }
    } else {
        ""
    };
    format!("{head}{cut}{more}")
}

/// One event in a few words.
fn describe(event: &Event) -> String {
    use crate::timeline::EventKind as Kind;
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
        Kind::ApiStatus { http_status, value } => {
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
            exists,
            ready,
            consumers,
            samples,
        } if *exists => format!("{queue}: {ready} ready, {consumers} consumers ({samples} samples)"),
        Kind::Depth { queue, .. } => format!("{queue} does not exist"),
        Kind::Process(process) => format!(
            "pid {} (parent {}, state {}): {}",
            process.pid,
            process.ppid,
            process.state,
            process.command.join(" ")
        ),
        Kind::Peer { connection, pid } => format!("{connection} is pid {pid}"),
        Kind::Gone { pid, .. } => format!("pid {pid} is gone"),
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

fn moment(ms: f64) -> String {
    if ms.abs() < 10_000.0 {
        format!("{ms:.1} ms")
    } else {
        format!("{:.2} s", ms / 1000.0)
    }
}

fn references(evidence: &[u32]) -> String {
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

fn bullet(text: &str, style: Style) -> String {
    let sign = if style.ascii { "-" } else { "•" };
    let body = wrap(text, 4, style);
    format!("  {sign} {}", body.trim_start())
}

/// Wraps words at the style's width, with an indent.
fn wrap(text: &str, indent: usize, style: Style) -> String {
    let width = (style.width as usize).saturating_sub(indent).max(30);
    let mut lines = Vec::new();
    let mut current = String::new();
    for word in text.split_whitespace() {
        if !current.is_empty() && current.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::take(&mut current));
        }
        if !current.is_empty() {
            current.push(' ');
        }
        current.push_str(word);
    }
    lines.push(current);
    let pad = " ".repeat(indent);
    lines
        .iter()
        .map(|line| format!("{pad}{line}"))
        .collect::<Vec<_>>()
        .join("\n")
}
