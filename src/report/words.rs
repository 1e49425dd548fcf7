//! What several formats say, worded once.

use super::{Report, SourceState, Style};
use crate::diagnosis::isolation::{Sent, StepReport};
use crate::diagnosis::{Exception, ExceptionFrame, Link, Outcome, Owner, Scenario, Stage, Whereabouts};
use crate::links;
use crate::text;
use crate::timeline::Source;
use crate::timeline::{Ended, Event, EventKind as Kind, NoAnswer};
use crate::units::span;

/// What the scenario's letter stands for.
pub(super) fn scenario(report: &Report) -> &'static str {
    match report.scenario {
        Some(Scenario::A) => "A: the actor was entered",
        Some(Scenario::B) => "B: the actor was not entered, and something said why",
        Some(Scenario::C) => "C: the actor was not entered, and there was silence",
        None if was_stopped(report) => "none: stopped before the task could be followed",
        None => "none: the task could not be followed",
    }
}

/// By whoever ran it.
pub(super) fn was_stopped(report: &Report) -> bool {
    let interrupted = Kind::Ended {
        why: Ended::Interrupted,
    };
    report.timeline.iter().any(|event| event.kind == interrupted)
}

/// The verdict in one sentence.
pub(super) fn sentence(report: &Report) -> String {
    if report.outcome == Outcome::Succeeded {
        let other = report.cause.as_ref().filter(|cause| cause.id != "succeeded");
        if let (Some(cause), false) = (other, is_good(report)) {
            return format!("The task succeeded, but not as configured: {}", cause.title);
        }
        let finished = report.stages.iter().find(|stage| stage.stage == Stage::Finished);
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
    let what = match (report.scenario, report.outcome) {
        (Some(Scenario::A), Outcome::Failed) => "The task ran and failed",
        (Some(Scenario::A), Outcome::Unknown) => "The task ran, and nothing shows whether it has finished",
        (Some(Scenario::A), _) => "The task ran and has not finished",
        (Some(_), _) => "The task did not run",
        (None, _) if report.stage.is_none() && report.setup.post_mortem => "Nothing is known of this task",
        (None, _) if report.stage.is_none() && gave_no_answer(report) => {
            "Nothing says whether the task was submitted"
        }
        (None, _) if report.stage.is_none() && may_be_sent(report) => {
            "The request failed, and a message was sent all the same"
        }
        (None, _) if report.stage.is_none() => "The task was not submitted",
        (None, _) if report.stage == Some(Stage::Received) => "A worker has begun with the task",
        (None, _) => "Nothing shows whether the task ran",
    };
    match &report.cause {
        Some(cause) => format!("{what}: {}", cause.title),
        None if was_stopped(report) => match report.stage {
            Some(stage) => format!("Stopped by you; the task had been {} by then", stage.name()),
            None => "Stopped by you before a task was submitted".into(),
        },
        _ => what.into(),
    }
}

/// The API answered with an error, and had sent a message.
fn may_be_sent(report: &Report) -> bool {
    let mut stages = report.stages.iter();
    let submitted = stages.find(|stage| stage.stage == Stage::Submitted);
    submitted.is_some_and(|stage| stage.reached.is_none())
}

/// Why a success does not count as one: exit code 30 has a reason, and it stands in the headline.
fn doubt(report: &Report) -> Option<String> {
    if report.exit_code != crate::error::exit::COULD_NOT {
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

/// Where none could be proved: which look would decide.
pub(super) fn no_cause(report: &Report) -> String {
    let mut text = "no cause could be proved.".to_owned();
    // What passes the broker is seen while it passes, and never afterwards.
    let afterwards = report.setup.post_mortem;
    let can_be_had = |source: &Source| !(afterwards && *source == Source::Firehose);
    let undecided = report
        .cannot_tell
        .iter()
        .find(|untold| !untold.needs.is_empty() && untold.needs.iter().all(can_be_had));
    // The broker, and a database that is configured, are what a verdict rests on.
    let essential = |source: &&SourceState| {
        source.state == "blind"
            && match source.name {
                Source::Queue => true,
                Source::Database => report.setup.database.is_some(),
                _ => false,
            }
    };
    if let Some(source) = report.sources.iter().find(essential) {
        let hint = source
            .hint
            .as_ref()
            .map(|hint| format!(" ({hint})"))
            .unwrap_or_default();
        text.push_str(&format!(
            " Next: let taskdiag see the {}: {}{hint}",
            source.name, source.reason
        ));
    } else if let Some(table) = unknown_to(report) {
        text.push_str(&format!(
            " Next: copy the id in full: table `{table}` has no row with it"
        ));
    } else if let Some(untold) = undecided {
        let needs: Vec<&str> = untold.needs.iter().map(|source| source.name()).collect();
        text.push_str(&format!(
            " Next: let taskdiag see {}, which would tell whether it is {}",
            needs.join(", "),
            untold.id
        ));
    } else if !report
        .timeline
        .iter()
        .any(|event| matches!(event.kind, Kind::Ended { .. }))
    {
        text.push_str(" Next: take the whole recording: this one breaks off before its run ended");
    } else if afterwards {
        text.push_str(" Next: `taskdiag diagnose` without --task, which watches a new task from the start");
    }
    text
}

/// The table that was asked for a task of which nothing is known, and has no row of it.
fn unknown_to(report: &Report) -> Option<&str> {
    let mut rows = report.timeline.iter().filter_map(|event| match &event.kind {
        Kind::Row(row) => Some(row.present),
        _ => None,
    });
    let is_absent = rows.next_back() == Some(false);
    (report.setup.post_mortem && report.stage.is_none() && is_absent)
        .then_some(report.setup.table.as_deref())?
}

/// What stands below it.
pub(super) fn scenario_and_outcome(report: &Report) -> String {
    format!(
        "Scenario {} · outcome {}",
        scenario(report),
        report.outcome.name()
    )
}

/// Whose verdict it is: what is known of task, message, actor and queue.
pub(super) fn subject(report: &Report) -> Vec<(&'static str, &str)> {
    let task = &report.task;
    [
        ("task", &task.id),
        ("message", &task.message_id),
        ("actor", &task.actor),
        ("queue", &task.queue),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value.as_deref()?)))
    .collect()
}

/// Whether what was expected came true, as the exit code says.
pub(super) fn is_good(report: &Report) -> bool {
    report.exit_code == crate::error::exit::OK
}

/// The stage that the cause kept the task from. A task that was followed to the end and failed is
/// the last stage's failure: "finished" is reached, success is not.
pub(super) fn blamed(report: &Report) -> Option<Stage> {
    if is_good(report) {
        return None;
    }
    let missing = report
        .stages
        .iter()
        .find(|reached| {
            reached.stage != Stage::Settled
                && reached.reached != Some(true)
                && report.stage.is_none_or(|furthest| reached.stage > furthest)
        })
        .map(|reached| reached.stage);
    Some(missing.unwrap_or(Stage::Finished))
}

/// What to do is worth saying unless the task succeeded.
pub(super) fn remedies(report: &Report) -> &[String] {
    match &report.cause {
        // A success of another kind than the configured one (`ran-in-the-api`) has something to be done.
        Some(cause) if report.outcome != Outcome::Succeeded || !is_good(report) => &cause.remedies,
        _ => &[],
    }
}

/// The page or the command that says more.
pub(super) fn more(report: &Report) -> String {
    match &report.cause {
        Some(cause) => links::page_of(&cause.id),
        None => "taskdiag check".into(),
    }
}

/// ` [#3 #7]`, or nothing.
pub(super) fn references(evidence: &[u32]) -> String {
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

/// A step of `--isolate` and what follows from it.
pub(super) fn step(step: &StepReport) -> String {
    match &step.skipped {
        Some(why) => format!("{}: not done, {why}", step.title),
        None => format!("{}: {}", step.title, step.proved),
    }
}

/// What a step added to the world.
pub(super) fn sent(sent: &Sent) -> String {
    let mut text = format!("sent: {}", sent.what);
    for (name, id) in [("task", &sent.task_id), ("message", &sent.message_id)] {
        if let Some(id) = id {
            text.push_str(&format!("; {name} {id}"));
        }
    }
    text
}

/// What belongs to a verdict beside the cause's one sentence: who must act, the exception, where the
/// message is. Each with a name of one or two words.
pub(super) fn facts(report: &Report, style: Style) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    facts.extend(owner(report).map(|owner| ("Who acts", owner)));
    if report.outcome != Outcome::Succeeded {
        let exception = report.traceback.as_ref().map(exception);
        facts.extend(exception.map(|text| ("Exception", text)));
        let message = report.message.as_ref().map(|message| whereabouts(message, style));
        facts.extend(message.map(|text| ("Message", text)));
    }
    facts
}

/// The same as sentences, and what the cause explains and rests on without proof.
pub(super) fn reasoning(report: &Report, style: Style) -> Vec<String> {
    let mut lines: Vec<String> = facts(report, style)
        .iter()
        .map(|(name, text)| format!("{name}: {text}"))
        .collect();
    let Some(cause) = &report.cause else { return lines };
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

/// The frame to look at: the last one of the application's own code.
pub(super) fn place(traceback: &Exception) -> Option<&ExceptionFrame> {
    let own = traceback.frames.iter().rfind(|frame| frame.application);
    own.or(traceback.frames.last())
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

/// Where the message is, and whether the task must be sent again.
fn whereabouts(message: &Whereabouts, style: Style) -> String {
    // The date stands in the other formats.
    let since: Option<jiff::Timestamp> = message.since.as_deref().and_then(|since| since.parse().ok());
    let place = since.map_or_else(
        || message.place.clone(),
        |since| style.localised(&message.place, since),
    );
    let since = since.map_or_else(String::new, |at| format!(", since {}", style.clock(at)));
    let lost = match message.lost {
        Some(true) => " No copy is left: to run again, the task must be submitted again.",
        Some(false) => " Nothing is lost: do not submit the task again.",
        None => "",
    };
    format!("{place}{since}.{lost}")
}

/// Who must act, as a sentence has it.
pub(super) fn owner(report: &Report) -> Option<String> {
    let owners = report.cause.iter().flat_map(|cause| &cause.owner);
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
