//! Workflow commands of GitHub Actions: the cause as an error beside the job, the rest below it.
//!
//! <https://docs.github.com/actions/reference/workflow-commands-for-github-actions>: a command ends
//! with its line, so `%`, CR and LF are escaped, in properties `:` and `,` as well. A runner shows
//! ten annotations of each kind and step.

use super::events::describe;
use super::words::{self, references};
use super::{Format, Report, Style};
use crate::error::exit;
use crate::text::{cut, flat};
use crate::units::moment;

pub(super) const FORMAT: Format = Format {
    name: "github",
    about: "GitHub annotations, for the log of an Actions job",
    extensions: &[],
    render,
};

/// Of each kind and step; what is beyond is not shown.
const SHOWN: usize = 10;

fn render(report: &Report, _: Style) -> String {
    let kind = match report.exit_code {
        exit::OK => "notice",
        exit::COULD_NOT => "warning",
        _ => "error",
    };
    let mut text = command(kind, &format!("taskdiag: {}", title(report)), &verdict(report));
    for other in report.contributing.iter().take(SHOWN - 1) {
        let body = format!("{}{}", other.summary, references(&other.evidence));
        text.push_str(&command(
            "notice",
            &format!("Also seen: {} ({})", other.id, other.certainty.name()),
            &body,
        ));
    }
    if !words::is_good(report) {
        for source in words::blind(report).into_iter().take(SHOWN - 1) {
            let hint = source.hint.as_deref().unwrap_or_default();
            text.push_str(&command(
                "warning",
                &format!("{} is blind", source.name),
                format!("{}\n{hint}", source.reason).trim_end(),
            ));
        }
    }
    text
}

fn title(report: &Report) -> String {
    match &report.cause {
        Some(cause) => format!("{} ({})", cause.title, cause.certainty.name()),
        None => "no cause could be shown".into(),
    }
}

fn verdict(report: &Report) -> String {
    let mut lines = vec![format!(
        "Scenario {} · outcome {}",
        words::scenario(report),
        report.outcome.name()
    )];
    let subject: Vec<String> = words::subject(report)
        .iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    lines.push(subject.join(" · "));
    if let Some(cause) = &report.cause {
        lines.push(format!("{}: {}", cause.id, cause.summary));
        lines.extend(words::reasoning(report));
        for event in cause.evidence.iter().filter_map(|n| report.event(*n)) {
            let text = cut(&flat(&describe(event)), 160);
            lines.push(format!(
                "#{} {} {}: {text}",
                event.n,
                moment(event.at_ms),
                event.source
            ));
        }
    }
    for remedy in words::remedies(report) {
        lines.push(format!("- {remedy}"));
    }
    lines.retain(|line| !line.is_empty());
    lines.join("\n")
}

fn command(kind: &str, title: &str, body: &str) -> String {
    let title = data(title).replace(':', "%3A").replace(',', "%2C");
    format!("::{kind} title={title}::{}\n", data(body))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_end_its_command_or_begin_another() {
        let line = command("error", "a,b:c%\n::set-env::", "x\r\n::warning::y%0A");
        assert_eq!(
            line,
            "::error title=a%2Cb%3Ac%25%0A%3A%3Aset-env%3A%3A::x%0D%0A::warning::y%250A\n"
        );
    }
}
