//! The verdict in one sentence, with the names of this run.

use super::Report;
use super::words::{is_good, was_stopped};
use crate::diagnosis::{Named, Outcome, Scenario, Stage};
use crate::timeline::{Event, EventKind as Kind, NoAnswer, Source};
use crate::units::span;

/// The verdict in one sentence.
pub(super) fn sentence(report: &Report) -> String {
    if report.verdict.outcome == Outcome::Succeeded {
        let other = report
            .verdict
            .cause
            .as_ref()
            .filter(|cause| cause.id != "succeeded");
        if let (Some(cause), false) = (other, is_good(report)) {
            return format!("The task succeeded, but not as configured: {}", cause.title);
        }
        let finished = report
            .verdict
            .stages
            .iter()
            .find(|stage| stage.stage == Stage::Finished);
        let at = finished
            .and_then(|stage| stage.at_ms)
            .filter(|at| *at > 0.0 && !report.setup.post_mortem);
        let after = at.map(|at| format!(", {} after it was submitted", span(at)));
        let text = format!("The task succeeded{}", after.unwrap_or_default());
        return match doubt(report) {
            Some(doubt) => format!("{text}, but {doubt}"),
            None => text,
        };
    }
    let what = match (report.verdict.scenario, report.verdict.outcome) {
        (Some(Scenario::A), Outcome::Failed) => "The task ran and failed",
        (Some(Scenario::A), Outcome::Unknown) => "The task ran, and no status shows how it ended",
        (Some(Scenario::A), _) => "The task ran and has not finished",
        (Some(_), _) if is_over_by_the_api(report) => "The API says that the task is over",
        (Some(_), _) => "The task did not run",
        (None, _) if report.verdict.stage.is_none() && report.setup.post_mortem => {
            "Nothing is known of this task"
        }
        (None, _) if report.verdict.stage.is_none() && gave_no_answer(report) => {
            "Nothing says whether the task was submitted"
        }
        (None, _) if report.verdict.stage.is_none() && may_be_sent(report) => {
            "The request failed, and a message was sent all the same"
        }
        (None, _) if report.verdict.stage.is_none() => "The task was not submitted",
        (None, _) if report.verdict.stage == Some(Stage::Received) => "A worker has begun with the task",
        (None, _) => "Nothing shows whether the task ran",
    };
    match &report.verdict.cause {
        Some(cause) => format!("{what}: {}", title(report, cause)),
        None if was_stopped(report) => match report.verdict.stage {
            Some(stage) => format!("Stopped by you; the task had been {} by then", stage.name()),
            None => "Stopped by you before a task was submitted".into(),
        },
        _ => what.into(),
    }
}

/// The status that it gave last is a configured final one.
fn is_over_by_the_api(report: &Report) -> bool {
    let mut events = report.timeline.iter().rev();
    let last = events.find_map(|event| match &event.kind {
        Kind::ApiStatus { value, .. } => Some(value.as_deref()),
        _ => None,
    });
    let setup = &report.setup;
    let is_final = |value: &str| {
        setup
            .succeeded
            .iter()
            .chain(&setup.failed)
            .any(|word| word == value)
    };
    last.flatten().is_some_and(is_final)
}

/// The cause's title with the name of the queue or the actor that it speaks of, and of what was raised.
fn title(report: &Report, cause: &Named) -> String {
    let title = &cause.title;
    // Another task's is another actor's.
    if cause.of.is_some() {
        return title.clone();
    }
    // The one that came out of the actor; its traceback tells of the first of a chain.
    let named_in = |text: &'_ str| class(text).starts_with(char::is_uppercase);
    let said = cause
        .summary
        .strip_prefix("the actor raised ")
        .filter(|text| named_in(text));
    let traceback = report.verdict.traceback.as_ref();
    let raised = said
        .or(traceback.map(|raised| raised.exception.as_str()))
        .map(class);
    let title = match (title.strip_suffix("raised an exception"), raised) {
        (Some(who), Some(raised)) => format!("{who}raised {raised}"),
        _ => title.clone(),
    };
    // Which actor the worker does not know is said by what it refused.
    let is_said = |name: &&String| title.starts_with("actor ") || cause.summary.contains(name.as_str());
    let actor = report.verdict.task.actor.as_ref().filter(is_said);
    named(&title, &QUEUES, Some(&report.setup.queue))
        .or_else(|| named(&title, &ACTORS, actor))
        .unwrap_or(title)
}

/// Where a title speaks of the task's own queue, and where of its actor.
const QUEUES: [&str; 3] = ["queue", "the queue", "its queue"];
const ACTORS: [&str; 2] = ["actor", "the actor"];

/// With the name behind the noun: at the title's beginning without an article, else with one.
fn named(title: &str, nouns: &[&str], name: Option<&String>) -> Option<String> {
    let name = name.filter(|name| !name.is_empty())?;
    nouns.iter().find_map(|noun| {
        let at = match noun.contains(' ') {
            true => title.find(&format!(" {noun}"))? + 1,
            false => title.starts_with(&format!("{noun} ")).then_some(0)?,
        };
        let end = at + noun.len();
        let is_whole = title[end..].chars().next().is_none_or(|next| next == ' ');
        is_whole.then(|| format!("{} `{name}`{}", &title[..end], &title[end..]))
    })
}

/// `dramatiq.errors.Retry: later` → `Retry`.
fn class(exception: &str) -> &str {
    let path = exception.split([':', '(', ' ']).next().unwrap_or(exception);
    path.rsplit('.').next().unwrap_or(path)
}

/// The API answered with an error, and had sent a message.
fn may_be_sent(report: &Report) -> bool {
    let mut stages = report.verdict.stages.iter();
    let submitted = stages.find(|stage| stage.stage == Stage::Submitted);
    submitted.is_some_and(|stage| stage.reached.is_none())
}

/// Why a success does not count as one: exit code 30 has a reason, and it stands in the headline.
fn doubt(report: &Report) -> Option<String> {
    if report.verdict.exit_code != crate::error::exit::COULD_NOT {
        return None;
    }
    let mut sources = report.sources.iter();
    let is_unseen = sources.any(|source| source.name == Source::Database && source.state == "blind");
    Some(match is_unseen && report.setup.table.is_some() {
        true => "the database, which has to show it, could not be read to the end".into(),
        false => "nothing shows that what was to be tried did it".into(),
    })
}

/// The API had taken the request, and was not waited for any longer.
fn gave_no_answer(report: &Report) -> bool {
    let is_late = |event: &Event| {
        matches!(
            event.kind,
            Kind::NotAnswered {
                why: NoAnswer::Timeout,
                ..
            }
        )
    };
    report.timeline.iter().any(is_late)
}
