//! For a pull request or `$GITHUB_STEP_SUMMARY`: GitHub Flavored Markdown.
//!
//! Whatever was seen outside stands in code spans or is escaped: a log line must not mention a
//! user, link an issue, or end a table.

use super::events::describe;
use super::unseen;
use super::words;
use super::{Format, Report, Style, frames, mermaid};
use crate::diagnosis::{Outcome, Scenario};
use crate::text::{counted, cut, flat};
use crate::timeline::Event;
use crate::units::moment;

pub(super) const FORMAT: Format = Format {
    name: "markdown",
    about: "For a pull request or $GITHUB_STEP_SUMMARY",
    extensions: &["md"],
    render,
};

/// Characters of one event; a summary may hold a megabyte, a comment 65,536 characters.
const EVENT: usize = 300;

fn render(report: &Report, style: Style) -> String {
    let mut parts = vec![headline(report), stages(report), cause(report)];
    let remedies: Vec<String> = words::remedies(report)
        .iter()
        .map(|remedy| format!("- {}", prose(remedy)))
        .collect();
    if !remedies.is_empty() {
        parts.push(format!("### What to do now\n\n{}", remedies.join("\n")));
    }
    let differences: Vec<String> = report
        .environment
        .difference_lines()
        .iter()
        .map(|line| format!("- {}", prose(line)))
        .collect();
    if !differences.is_empty() {
        parts.push(format!("### API and worker differ\n\n{}", differences.join("\n")));
    }
    let also: Vec<String> = report
        .verdict
        .contributing
        .iter()
        .map(|other| {
            format!(
                "- {} ({}): {}{}",
                code(&other.id),
                other.certainty.name(),
                prose(&other.summary),
                references(&other.evidence)
            )
        })
        .chain(
            report
                .verdict
                .notes
                .iter()
                .map(|note| format!("- {}", prose(note))),
        )
        .collect();
    if !also.is_empty() {
        parts.push(format!("### Also seen\n\n{}", also.join("\n")));
    }
    if let Some(isolation) = &report.isolation {
        let mut lines: Vec<String> = Vec::new();
        for step in &isolation.steps {
            lines.push(format!("1. {}", prose(&words::step(step))));
            if let Some(sent) = &step.sent {
                lines.push(format!("   - {}", prose(&words::sent(sent))));
            }
        }
        lines.push(format!("\n**{}**", prose(&isolation.conclusion)));
        parts.push(format!("### Isolated\n\n{}", lines.join("\n")));
    }
    parts.push(folded(
        "What happened",
        &format!("```mermaid\n{}```", (mermaid::FORMAT.render)(report, style)),
    ));
    parts.extend(excluded(report));
    if style.timeline {
        parts.push(folded(
            &format!(
                "Timeline ({})",
                counted(report.timeline.len() as u64, "event", "events")
            ),
            &events(report.timeline.iter()),
        ));
    }
    parts.push(format!("More: {}", code(&words::more(report))));
    format!("{}\n", parts.join("\n\n"))
}

fn headline(report: &Report) -> String {
    let sign = match (report.verdict.scenario, report.verdict.outcome) {
        (Some(Scenario::A), Outcome::Succeeded) => "✅",
        (Some(Scenario::A), _) => "⚠️",
        (Some(Scenario::B | Scenario::C), _) => "❌",
        (None, _) => "❓",
    };
    let subject: Vec<String> = words::subject(report)
        .iter()
        .map(|(name, value)| format!("{name} {}", code(value)))
        .collect();
    format!(
        "## {sign} {}\n\n{}\n\n{}",
        prose(&words::sentence(report)),
        prose(&words::scenario_and_outcome(report)),
        subject.join(" · ")
    )
}

fn stages(report: &Report) -> String {
    let mut lines = vec!["| | Stage | Time | |".to_owned(), "|---|---|---:|---|".to_owned()];
    for reached in &report.verdict.stages {
        let sign = match reached.reached {
            Some(true) => "✔",
            Some(false) => "✘",
            None => "?",
        };
        let text = reached.observed.as_deref().unwrap_or(reached.stage.meaning());
        lines.push(format!(
            "| {sign} | {} | {} | {} |",
            reached.stage.name(),
            reached.at_ms.map(moment).unwrap_or_default(),
            cell(&prose(text))
        ));
    }
    lines.join("\n")
}

fn cause(report: &Report) -> String {
    let mut text = match &report.verdict.cause {
        Some(cause) => format!(
            "### Cause: {} ({})\n\n{}",
            code(&cause.id),
            cause.certainty.name(),
            prose(&cause.summary)
        ),
        None => "### Cause\n\nNo cause could be proved.".into(),
    };
    for line in words::reasoning(report, Style::PLAIN) {
        text.push_str(&format!("\n\n{}", prose(&line)));
    }
    let places = frames::of(report);
    if let (Some(raised), false) = (&report.verdict.traceback, places.is_empty()) {
        // Four leading spaces: nothing in it can end the block.
        let lines = places.iter().chain([&raised.exception]);
        let lines: Vec<String> = lines
            .map(|line| format!("    {}", cut(&flat(line), EVENT)))
            .collect();
        text.push_str(&format!("\n\n{}", lines.join("\n")));
    }
    let evidence = report
        .verdict
        .cause
        .as_ref()
        .map(|cause| report.in_time(&cause.evidence))
        .unwrap_or_default();
    if !evidence.is_empty() {
        text.push_str("\n\n");
        text.push_str(&events(evidence.into_iter()));
    }
    text
}

fn excluded(report: &Report) -> Vec<String> {
    let ruled_out: Vec<String> = report
        .verdict
        .ruled_out
        .iter()
        .map(|out| {
            format!(
                "- {}: {}{}",
                code(&out.id),
                prose(&out.because),
                references(&out.evidence)
            )
        })
        .collect();
    let untold: Vec<String> = report
        .verdict
        .cannot_tell
        .iter()
        .map(|untold| {
            let needs: Vec<&str> = untold.needs.iter().map(|source| source.name()).collect();
            format!("- {}: needs {}", code(&untold.id), needs.join(", "))
        })
        .collect();
    let blind: Vec<String> = unseen::blind(report)
        .iter()
        .map(|source| {
            let hint = source.hint.as_deref().map(|hint| format!(" → {}", prose(hint)));
            format!(
                "- {}: {}{}",
                source.name,
                prose(&source.reason),
                hint.unwrap_or_default()
            )
        })
        .collect();
    [
        ("Ruled out", ruled_out),
        ("Could not be told", untold),
        ("Blind", blind),
    ]
    .into_iter()
    .filter(|(_, lines)| !lines.is_empty())
    .map(|(title, lines)| folded(&format!("{title} ({})", lines.len()), &lines.join("\n")))
    .collect()
}

fn events<'a>(events: impl Iterator<Item = &'a Event>) -> String {
    let mut lines = vec![
        "| | Time | Source | Seen |".to_owned(),
        "|---|---:|---|---|".to_owned(),
    ];
    for event in events {
        let text = cut(&flat(&describe(event)), EVENT);
        lines.push(format!(
            "| {} | {} | {} | {} |",
            code(&format!("#{}", event.n)),
            moment(event.at_ms),
            event.source,
            cell(&code(&text))
        ));
    }
    lines.join("\n")
}

fn folded(title: &str, body: &str) -> String {
    format!("<details><summary>{title}</summary>\n\n{body}\n\n</details>")
}

/// In code spans: outside of them GitHub takes `#44` for an issue.
fn references(evidence: &[u32]) -> String {
    if evidence.is_empty() {
        return String::new();
    }
    let numbers: Vec<String> = evidence.iter().map(|n| format!("#{n}")).collect();
    format!(" {}", code(&numbers.join(" ")))
}

/// A code span that no backtick in the text ends.
fn code(text: &str) -> String {
    let text = flat(text);
    if text.is_empty() {
        return String::new();
    }
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') {
        " "
    } else {
        ""
    };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// Our own sentences: what they put in backticks stays code, all else is escaped.
fn prose(text: &str) -> String {
    let text = flat(text);
    let pieces: Vec<&str> = text.split('`').collect();
    if pieces.len().is_multiple_of(2) {
        return escaped(&text);
    }
    pieces
        .iter()
        .enumerate()
        .map(|(index, piece)| match (index % 2, piece.is_empty()) {
            (0, _) => escaped(piece),
            (_, true) => "\\`\\`".into(),
            (_, false) => format!("`{piece}`"),
        })
        .collect()
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            // A comment between sign and name keeps GitHub from mentioning and linking.
            '@' | '#' => {
                out.push(c);
                out.push_str("<!-- -->");
            }
            '\\' | '`' | '*' | '_' | '[' | ']' | '~' | '|' | '!' | '$' => {
                out.push('\\');
                out.push(c);
            }
            c => out.push(c),
        }
    }
    // A bare address would become a link.
    out.replace("://", ":<!-- -->//").replace("www.", "www<!-- -->.")
}

/// Within a table a pipe ends its cell, in code as well.
fn cell(text: &str) -> String {
    let mut out = String::new();
    let mut before = ' ';
    for c in text.chars() {
        if c == '|' && before != '\\' {
            out.push('\\');
        }
        out.push(c);
        before = c;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backtick_does_not_end_code() {
        assert_eq!(code("a``b`"), "``` a``b` ```");
        assert_eq!(code("plain"), "`plain`");
        assert_eq!(code("two\nlines"), "`two lines`");
    }

    #[test]
    fn outside_text_stays_text() {
        assert_eq!(prose("0 consumers on `my_queue`"), "0 consumers on `my_queue`");
        assert_eq!(prose("<img src=x> *b*"), "&lt;img src=x&gt; \\*b\\*");
        assert_eq!(prose("@team see #4"), "@<!-- -->team see #<!-- -->4");
        assert_eq!(prose("odd ` tick"), "odd \\` tick");
        assert_eq!(cell("a|b \\| c"), "a\\|b \\| c");
    }
}
