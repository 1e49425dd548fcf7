//! Workflow commands of GitHub Actions: the cause as an error beside the job, the rest below it.
//!
//! <https://docs.github.com/actions/reference/workflow-commands-for-github-actions>: a command ends
//! with its line, so `%`, CR and LF are escaped, in properties `:` and `,` as well. A runner shows
//! ten annotations of each kind and step.

use super::events::describe;
use super::unseen;
use super::words::{self, references};
use super::{Format, Report, Style};
use crate::error::exit;
use crate::text::{cut, flat, inert};
use crate::units::moment;

pub(super) const FORMAT: Format = Format {
    name: "github",
    about: "GitHub annotations, for the log of an Actions job",
    extensions: &[],
    render,
};

/// Of each kind and step; what is beyond is not shown.
const SHOWN: usize = 10;

fn render(report: &Report, style: Style) -> String {
    let kind = match report.verdict.exit_code {
        exit::OK => "notice",
        exit::COULD_NOT => "warning",
        _ => "error",
    };
    let title_of_all = format!("taskdiag: {}", title(report));
    let mut text = command(kind, &properties(report, &title_of_all, style), &verdict(report));
    for other in report.verdict.contributing.iter().take(SHOWN - 1) {
        let body = format!("{}{}", other.summary, references(&other.evidence));
        text.push_str(&command(
            "notice",
            &titled(&format!("Also seen: {} ({})", other.id, other.certainty.name())),
            &body,
        ));
    }
    if !words::is_good(report) {
        for source in unseen::blind(report).into_iter().take(SHOWN - 1) {
            let hint = source.hint.as_deref().unwrap_or_default();
            text.push_str(&command(
                "warning",
                &titled(&format!("{} cannot see", source.name)),
                format!("{}\n{hint}", source.reason).trim_end(),
            ));
        }
    }
    text
}

fn title(report: &Report) -> String {
    let certainty = report
        .verdict
        .cause
        .as_ref()
        .map(|cause| format!(" ({})", cause.certainty.name()));
    format!("{}{}", words::sentence(report), certainty.unwrap_or_default())
}

fn verdict(report: &Report) -> String {
    let mut lines = vec![words::scenario_and_outcome(report)];
    let subject: Vec<String> = words::subject(report)
        .iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    lines.push(subject.join(" · "));
    if let Some(cause) = &report.verdict.cause {
        lines.push(format!("{}: {}", cause.id, cause.summary));
        lines.extend(words::reasoning(report, Style::PLAIN));
        for event in report.in_time(&cause.evidence).into_iter() {
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

/// The line of the exception, where it lies in the repository: the annotation stands beside it.
fn properties(report: &Report, title: &str, style: Style) -> String {
    let frame = report.verdict.traceback.as_ref().and_then(words::place);
    let place = frame.and_then(|frame| Some(((style.locate)(&frame.file)?, frame.line)));
    match place {
        Some((file, line)) => format!("file={},line={line},{}", property(&file), titled(title)),
        None => titled(title),
    }
}

fn titled(title: &str) -> String {
    format!("title={}", property(title))
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

fn command(kind: &str, properties: &str, body: &str) -> String {
    format!("::{kind} {properties}::{}\n", data(body))
}

fn data(text: &str) -> String {
    // The older runner's commands may stand anywhere in a line.
    let text = inert(text);
    let text = text
        .strip_prefix('\\')
        .filter(|rest| rest.starts_with("::"))
        .unwrap_or(&text);
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_end_its_command_or_begin_another() {
        let line = command("error", &titled("a,b:c%\n::set-env::"), "x\r\n::warning::y%0A");
        assert_eq!(
            line,
            "::error title=a%2Cb%3Ac%25%0A%3A%3Aset-env%3A%3A::x%0D%0A::warning::y%250A\n"
        );
    }
}
