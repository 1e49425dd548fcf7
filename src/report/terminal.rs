//! For people: the verdict first, the stages as a checklist, what proves it, what to do now. The
//! common case fits one screen; `-v` leaves nothing out.

use unicode_width::UnicodeWidthStr;

use super::events::describe;
use super::layout::{ascii, bullet, hanging};
use super::screen;
use super::unseen;
use super::words::{self, references};
use super::{Format, Report, Style, frames};
use crate::diagnosis::{Outcome, Reached, Scenario};
use crate::text::{fitted, flat, inert, packed, wrapped};
use crate::timeline::{Event, EventKind};

pub(super) const FORMAT: Format = Format {
    name: "terminal",
    about: "For people",
    extensions: &["txt"],
    render,
};

impl Style {
    pub(super) fn paint(self, code: &str, text: &str) -> String {
        if self.color {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    pub(super) fn width(self) -> usize {
        usize::from(self.width)
    }
}

fn render(report: &Report, style: Style) -> String {
    let text = match style.timeline {
        true => whole(report, style),
        false => screen::draw(report, style),
    };
    let lines: Vec<_> = text.lines().map(|line| inert(line.trim_end())).collect();
    let text = format!("{}\n", lines.join("\n"));
    if style.ascii { ascii(&text) } else { text }
}

/// Nothing is left out.
fn whole(report: &Report, style: Style) -> String {
    let mut parts = vec![
        headline(report, style),
        stages(report, style),
        cause(report, style),
    ];
    parts.extend(raised(report, style));
    parts.extend(remedies(report, style));
    parts.extend(differences(report, style));
    parts.extend(also(report, style));
    parts.extend(isolated(report, style));
    parts.extend(excluded(report, style));
    let lines: Vec<String> = report
        .environment
        .lines()
        .iter()
        .map(|line| bullet(line, style))
        .collect();
    if !lines.is_empty() {
        parts.push(section("Environment", &lines, style));
    }
    // Sources are not exactly in step; people read in the order in which things happened.
    let mut events: Vec<&Event> = report.timeline.iter().collect();
    events.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
    let events: Vec<String> = events
        .into_iter()
        .map(|event| event_line(report, event, style))
        .collect();
    parts.push(section("Timeline", &events, style));
    let last = [
        style.dim(&format!("More: {}", words::more(report))),
        verdict(report, style),
    ];
    parts.push(last.join("\n"));
    parts.join("\n\n")
}

/// What is read last.
fn verdict(report: &Report, style: Style) -> String {
    let (sign, code) = sign(Some(report.verdict.outcome == Outcome::Succeeded), style.ascii);
    let text = match &report.verdict.cause {
        Some(cause) => format!("{sign} {} ({})", cause.id, cause.certainty.name()),
        None if words::was_stopped(report) => format!("{sign} stopped by you, no cause yet"),
        None => format!("{sign} no cause could be proved"),
    };
    style.paint(code, &text)
}

/// What was raised, and where.
fn raised(report: &Report, style: Style) -> Option<String> {
    let raised = report.verdict.traceback.as_ref()?;
    let mut lines = frames::of(report);
    lines.push(raised.exception.clone());
    let lines: Vec<String> = lines
        .iter()
        .flat_map(|line| wrapped(&flat(line), style.width().saturating_sub(2)))
        .map(|line| format!("  {line}"))
        .collect();
    Some(section("Raised", &lines, style))
}

/// What `--isolate` found: each step with what it sent and what that proves.
pub(super) fn isolated(report: &Report, style: Style) -> Option<String> {
    let isolation = report.isolation.as_ref()?;
    let mut lines = Vec::new();
    for (at, step) in isolation.steps.iter().enumerate() {
        let text = words::step(step);
        lines.extend(indented(&text, &format!("{}. ", at + 1), style));
        if let Some(sent) = &step.sent {
            lines.extend(
                indented(&words::sent(sent), "   ", style)
                    .iter()
                    .map(|line| style.dim(line)),
            );
        }
    }
    lines.extend(
        indented(&isolation.conclusion, "→ ", style)
            .iter()
            .map(|line| style.bold(line)),
    );
    Some(section("Isolated", &lines, style))
}

fn indented(text: &str, sign: &str, style: Style) -> Vec<String> {
    let width = style.width().saturating_sub(2 + sign.chars().count());
    wrapped(&flat(text), width)
        .iter()
        .enumerate()
        .map(|(at, line)| {
            let sign = if at == 0 {
                sign.to_owned()
            } else {
                " ".repeat(sign.chars().count())
            };
            format!("  {sign}{line}")
        })
        .collect()
}

fn headline(report: &Report, style: Style) -> String {
    let code = match (report.verdict.scenario, report.verdict.outcome) {
        (Some(Scenario::A), Outcome::Succeeded) => "1;32",
        (Some(Scenario::A), _) => "1;33",
        (Some(Scenario::B) | None, _) => "1;31",
        (Some(Scenario::C), _) => "1;35",
    };
    let certainty = report
        .verdict
        .cause
        .as_ref()
        .map(|cause| format!(" ({})", cause.certainty.name()));
    let sentence = format!(
        "{} {}{}",
        sign(words::good(report), style.ascii).0,
        words::sentence(report),
        certainty.unwrap_or_default()
    );
    let sentence: Vec<String> = wrapped(&sentence, style.width())
        .iter()
        .map(|line| style.paint(code, line))
        .collect();
    let mut subject = vec![words::scenario_and_outcome(report)];
    subject.extend(
        report
            .clock(0.0, style)
            .map(|at| format!("submitted {at}"))
            .filter(|_| {
                let mut events = report.timeline.iter();
                events.any(|event| matches!(event.kind, EventKind::Submitting { .. }))
            }),
    );
    subject.extend(
        words::subject(report)
            .iter()
            .map(|(name, value)| format!("{name} {}", flat(value))),
    );
    let subject: Vec<String> = packed(&subject, " · ", style.width())
        .iter()
        .map(|line| style.dim(line))
        .collect();
    [sentence, subject].concat().join("\n")
}

const NOT_REACHED: &str = "not reached";

/// One line a stage; neighbours with the same observation share one.
fn stages(report: &Report, style: Style) -> String {
    let mut groups: Vec<(Vec<&str>, &Reached, String)> = Vec::new();
    let missed = words::blamed(report);
    for reached in &report.verdict.stages {
        // What comes after the stage that was missed was not reached either: that says nothing more.
        let beyond = reached.reached != Some(true)
            && missed.is_some_and(|missed| reached.stage > missed)
            && report
                .verdict
                .stage
                .is_none_or(|furthest| reached.stage > furthest);
        if beyond {
            match groups.last_mut() {
                Some((names, _, observed)) if observed == NOT_REACHED => names.push(reached.stage.name()),
                _ => groups.push((vec![reached.stage.name()], reached, NOT_REACHED.to_owned())),
            }
            continue;
        }
        let text = reached
            .observed
            .clone()
            .unwrap_or_else(|| reached.stage.meaning().to_owned());
        match groups.last_mut() {
            Some((names, first, observed))
                if reached.reached != Some(true) && first.reached == reached.reached && *observed == text =>
            {
                names.push(reached.stage.name());
            }
            _ => groups.push((vec![reached.stage.name()], reached, text)),
        }
    }
    let name = |names: &[&str]| match names {
        [first, .., last] => format!("{first} … {last}"),
        _ => names.concat(),
    };
    let of_names = groups.iter().map(|(names, ..)| name(names).width()).max();
    let times: Vec<String> = groups
        .iter()
        .map(|(_, reached, _)| report.reached_at(reached.at_ms, style).unwrap_or_default())
        .collect();
    let of_times = times.iter().map(|time| time.width()).max();
    let (of_names, of_times) = (of_names.unwrap_or(0), of_times.unwrap_or(0));
    let signs = groups
        .iter()
        .map(|(_, reached, _)| sign(reached.reached, style.ascii).0.width());
    let of_signs = signs.max().unwrap_or(0);
    let mut lines = Vec::new();
    for ((names, reached, observed), time) in groups.iter().zip(&times) {
        let (sign, code) = match observed == NOT_REACHED {
            true => (if style.ascii { "[--]" } else { "-" }, "2"),
            false => sign(reached.reached, style.ascii),
        };
        let beside = of_signs - sign.width();
        let head = format!(
            " {}{}  {}{}  {}{time}  ",
            style.paint(code, sign),
            " ".repeat(beside),
            name(names),
            " ".repeat(of_names - name(names).width()),
            " ".repeat(of_times - time.width()),
        );
        let indent = of_signs + of_names + of_times + 7;
        lines.push(hanging(&head, observed, indent, style));
    }
    lines.join("\n")
}

/// Of a stage: its sign and its colour.
pub(super) fn sign(reached: Option<bool>, ascii: bool) -> (&'static str, &'static str) {
    match (reached, ascii) {
        (Some(true), false) => ("✔", "32"),
        (Some(true), true) => ("[ok]", "32"),
        (Some(false), false) => ("✘", "31"),
        (Some(false), true) => ("[FAIL]", "31"),
        (None, false) => ("?", "33"),
        (None, true) => ("[?]", "33"),
    }
}

fn cause(report: &Report, style: Style) -> String {
    let reasoning = words::reasoning(report, style);
    let reasoning = reasoning.iter().map(|line| hanging("  ", line, 2, style));
    let Some(cause) = &report.verdict.cause else {
        let mut lines = vec![format!("{} none could be proved.", style.bold("Cause"))];
        lines.extend(reasoning);
        return lines.join("\n");
    };
    let mut lines = vec![format!(
        "{} {} ({})",
        style.bold("Cause"),
        style.bold(&cause.id),
        cause.certainty.name()
    )];
    lines.push(hanging("  ", &cause.summary, 2, style));
    lines.extend(reasoning);
    lines.extend(
        report
            .in_time(&cause.evidence)
            .into_iter()
            .map(|event| event_line(report, event, style)),
    );
    lines.join("\n")
}

fn remedies(report: &Report, style: Style) -> Option<String> {
    let lines: Vec<String> = words::remedies(report)
        .iter()
        .map(|remedy| bullet(remedy, style))
        .collect();
    (!lines.is_empty()).then(|| section("What to do now", &lines, style))
}

fn differences(report: &Report, style: Style) -> Option<String> {
    let lines: Vec<String> = report
        .environment
        .difference_lines()
        .iter()
        .map(|line| bullet(line, style))
        .collect();
    (!lines.is_empty()).then(|| section("API and worker differ", &lines, style))
}

fn also(report: &Report, style: Style) -> Vec<String> {
    let mut parts = Vec::new();
    let seen: Vec<String> = report
        .verdict
        .contributing
        .iter()
        .map(|other| {
            bullet(
                &format!("{} ({}): {}", other.id, other.certainty.name(), other.summary),
                style,
            )
        })
        .collect();
    if !seen.is_empty() {
        parts.push(section("Also seen", &seen, style));
    }
    for note in &report.verdict.notes {
        parts.push(hanging(&format!("{} ", style.bold("Note")), note, 5, style));
    }
    parts
}

/// Ruled out, untold, blind: each with its reason.
fn excluded(report: &Report, style: Style) -> Vec<String> {
    let ruled_out = report.verdict.ruled_out.iter().map(|out| {
        let why = format!("{}{}", out.because, references(&out.evidence));
        (out.id.clone(), why)
    });
    let untold = report.verdict.cannot_tell.iter().map(|untold| {
        let needs: Vec<&str> = untold.needs.iter().map(|source| source.name()).collect();
        (untold.id.clone(), format!("needs {}", needs.join(", ")))
    });
    let blind = unseen::blind(report).into_iter().map(|source| {
        let hint = source.hint.as_deref();
        let hint = hint.map(|hint| format!(" → {hint}")).unwrap_or_default();
        (source.name.name().to_owned(), format!("{}{hint}", source.reason))
    });
    let titled = [
        ("Ruled out", ruled_out.collect::<Vec<_>>()),
        ("Could not be told", untold.collect()),
        ("Blind", blind.collect()),
    ];
    let shown = titled.into_iter().filter(|(_, entries)| !entries.is_empty());
    shown
        .map(|(title, entries)| {
            let lines: Vec<String> = entries
                .iter()
                .map(|(id, why)| bullet(&format!("{id}: {why}"), style))
                .collect();
            section(title, &lines, style)
        })
        .collect()
}

fn section(title: &str, lines: &[String], style: Style) -> String {
    format!("{}\n{}", style.bold(title), lines.join("\n"))
}

pub(super) fn event_line(report: &Report, event: &Event, style: Style) -> String {
    let head = format!(
        "  #{:<4}{:>10}  {:<11} ",
        event.n,
        report.moment(event.at_ms, style),
        event.source.name()
    );
    let room = style.width().saturating_sub(head.width());
    format!("{head}{}", fitted(&flat(&describe(event)), room))
}
