//! What belongs to a verdict beside its sentence: who must act, what was raised and where, what is lost.

use super::{Report, Style};
use crate::diagnosis::{Exception, ExceptionFrame, Link, Outcome, Owner, Whereabouts};
use crate::text;

/// The name of the fact that says what was raised.
pub(super) const EXCEPTION: &str = "Exception";

/// The name of the fact that says what is lost, and whether the task must be submitted again.
pub(super) const IMPACT: &str = "Impact";

/// What belongs to a verdict beside the cause's one sentence: who must act, the exception, where the
/// message is. Each with a name of one or two words.
pub(super) fn facts(report: &Report, style: Style) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    facts.extend(owner(report).map(|owner| ("Who acts", owner)));
    if report.verdict.outcome != Outcome::Succeeded {
        let exception = report.verdict.traceback.as_ref().map(exception);
        facts.extend(exception.map(|text| (EXCEPTION, text)));
    }
    facts.extend(impact(report, style).map(|text| (IMPACT, text)));
    facts
}

/// The same as sentences, and what the cause explains and rests on without proof.
pub(super) fn reasoning(report: &Report, style: Style) -> Vec<String> {
    let mut lines: Vec<String> = facts(report, style)
        .iter()
        .map(|(name, text)| format!("{name}: {text}"))
        .collect();
    let Some(cause) = &report.verdict.cause else {
        return lines;
    };
    for link in &cause.explains {
        lines.push(format!("It explains {}.", effect(link)));
    }
    for premise in &cause.premises {
        lines.push(format!("It holds {premise}."));
    }
    lines
}

pub(super) fn effect(link: &Link) -> String {
    let certainty = link.certainty.name();
    format!(
        "{} ({certainty}): {}",
        link.id,
        link.summary.trim_end_matches('.')
    )
}

/// The frame to look at: the last one of the application's own code. The framework's own is no place to mend.
pub(super) fn place(traceback: &Exception) -> Option<&ExceptionFrame> {
    traceback.frames.iter().rfind(|frame| frame.application)
}

/// A sentence without the exception's place, where that is shown beside it.
pub(super) fn without_place(report: &Report, text: &str) -> String {
    let place = report.verdict.traceback.as_ref().and_then(place);
    match place {
        Some(frame) => text.replace(
            &format!(" at {}:{} in {}", frame.file, frame.line, frame.function),
            "",
        ),
        None => text.to_owned(),
    }
}

/// The text with no more than the name of an exception that is shown whole beside it.
pub(super) fn without_message(report: &Report, text: &str) -> String {
    let Some(raised) = &report.verdict.traceback else {
        return text.to_owned();
    };
    let exception = text::excerpt(&raised.exception);
    let Some((name, _)) = exception.split_once(": ") else {
        return text.to_owned();
    };
    let short = name.rsplit('.').next().unwrap_or(name);
    if text.contains(exception.as_str()) {
        return text.replace(exception.as_str(), &format!("{short}, above"));
    }
    match text.find(&format!("{short}(")) {
        Some(at) if is_its_end(&text[at + short.len()..]) => format!("{}{short}, above", &text[..at]),
        _ => text.to_owned(),
    }
}

/// Arguments in parentheses, as `repr()` writes an exception, and nothing behind them; they may be cut.
fn is_its_end(arguments: &str) -> bool {
    let end = arguments.trim_end_matches(['.', '…', ' ', '\'', '"']);
    let is_cut = arguments.matches('(').count() > arguments.matches(')').count();
    end.ends_with(')') || is_cut
}

/// A remedy without the exception at its end, where that is shown beside it.
pub(super) fn without_exception<'t>(report: &Report, remedy: &'t str) -> &'t str {
    let exception = report
        .verdict
        .traceback
        .as_ref()
        .map(|raised| text::excerpt(&raised.exception));
    exception
        .and_then(|exception| remedy.strip_suffix(exception.as_str())?.strip_suffix(": "))
        .unwrap_or(remedy)
}

/// The longest beginning of a remedy that fits and is a sentence by itself: to the end of one, else of a clause.
pub(super) fn clause(remedy: &str, fits: impl Fn(&str) -> bool) -> Option<&str> {
    let whole = remedy.trim_end_matches('.');
    let ends: [&[&str]; 2] = [&[". ", ": ", "; "], &[", ", " ("]];
    if fits(whole) {
        return Some(whole);
    }
    ends.iter().find_map(|ends| longest(whole, ends, &fits))
}

/// Words before which an order is one already: "correct the broker's host and port", as seen from somewhere.
const BEFORE: &[&str] = &[
    " as ",
    " at ",
    " before ",
    " by ",
    " for ",
    " from ",
    " if ",
    " in ",
    " into ",
    " of ",
    " on ",
    " so that ",
    " that ",
    " to ",
    " until ",
    " which ",
    " while ",
    " whose ",
    " with ",
    " without ",
];

/// The longest beginning that ends before one of these, and neither in a parenthesis nor in code.
fn longest<'t>(text: &'t str, ends: &[&str], fits: impl Fn(&str) -> bool) -> Option<&'t str> {
    let is_inside = |start: &str| {
        let opened = start.matches('(').count() > start.matches(')').count();
        opened
            || ['`', '"']
                .iter()
                .any(|quote| start.matches(*quote).count() % 2 == 1)
    };
    let starts = ends.iter().flat_map(|end| text.match_indices(end));
    let starts = starts.map(|(at, _)| &text[..at]);
    starts
        .filter(|start| fits(start) && !is_inside(start))
        .max_by_key(|start| start.len())
}

/// As much of a remedy as has room and still says something: to the end of a clause, else of what is an order by
/// itself, else of a word.
pub(super) fn in_short(remedy: &str, room: usize) -> String {
    let fits = |start: &str| text::width(start) <= room;
    let order = || {
        longest(remedy, BEFORE, |start| {
            fits(start) && text::width(start) * 3 > room && !start.ends_with(" so")
        })
    };
    let short = clause(remedy, fits).or_else(order).map_or_else(
        || text::fitted_to_words(remedy.trim_end_matches('.'), room),
        str::to_owned,
    );
    // An abbreviation and a name stay as they are written.
    let mut letters = short.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), Some(second)) if !second.is_uppercase() => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => short,
    }
}

/// The exception and the last frame of the application's own code.
fn exception(traceback: &Exception) -> String {
    let place = place(traceback)
        .map(|frame| format!(", raised at {}:{} in {}", frame.file, frame.line, frame.function));
    format!(
        "{}{} [#{}]",
        text::excerpt(&traceback.exception),
        place.unwrap_or_default(),
        traceback.evidence
    )
}

/// Whether the task must be submitted again, then where the message is.
fn impact(report: &Report, style: Style) -> Option<String> {
    let mut text = report.verdict.impact.as_ref()?.sentence.clone();
    if let Some(message) = &report.verdict.message {
        text.push_str(&format!(" It is {}.", whereabouts(message, style)));
    }
    Some(text)
}

fn whereabouts(message: &Whereabouts, style: Style) -> String {
    // The date stands in the other formats.
    let since: Option<jiff::Timestamp> = message.since.as_deref().and_then(|since| since.parse().ok());
    let place = since.map_or_else(
        || message.place.clone(),
        |since| style.localised(&message.place, since),
    );
    let since = since.map_or_else(String::new, |at| format!(", since {}", style.clock(at)));
    format!("{place}{since}")
}

/// Who must act, as a sentence has it.
pub(super) fn owner(report: &Report) -> Option<String> {
    let owners = report.verdict.cause.iter().flat_map(|cause| &cause.owner);
    let owners: Vec<&str> = owners.copied().map(acts).collect();
    (!owners.is_empty()).then(|| owners.join(", or "))
}

fn acts(owner: Owner) -> &'static str {
    match owner {
        Owner::ApiCode => "whoever owns the API's code",
        Owner::WorkerCode => "whoever owns the worker's code",
        Owner::Deployment => "whoever deploys and configures the system",
        Owner::Broker => "whoever runs the broker",
        Owner::DatabaseHost => "whoever runs the database or the host",
        Owner::Wait => "nobody yet (wait, or add capacity)",
        Owner::Diagnosis => "whoever configured taskdiag",
    }
}

#[cfg(test)]
mod tests {
    use super::{clause, is_its_end};

    #[test]
    fn arguments_at_the_end_are_told_from_what_goes_on() {
        assert!(is_its_end("('no such pen')"));
        assert!(is_its_end("(405, \"RESOURCE_LOCKED - cannot obtain …"));
        assert!(!is_its_end("('no such pen'), and `default.XQ` holds 1"));
    }

    #[test]
    fn a_clause_ends_neither_in_a_quotation_nor_in_code() {
        let within = |most: usize| move |start: &str| start.len() <= most;
        let text = "the log has \"INFO service: none\" and `a, b`, which says why";
        assert_eq!(
            clause(text, within(48)),
            Some("the log has \"INFO service: none\" and `a, b`")
        );
        assert_eq!(clause(text, within(30)), None);
    }
}
