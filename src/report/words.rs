//! What several formats say, worded once.

pub(super) use super::facts::{
    EXCEPTION, IMPACT, clause, effect, facts, in_short, owner, place, reasoning, without_exception,
    without_message, without_place,
};
pub(super) use super::sentence::sentence;
use super::{Report, SourceState};
use crate::diagnosis::isolation::{Sent, StepReport};
use crate::diagnosis::{Outcome, Scenario, Stage};
use crate::links;
use crate::timeline::Source;
use crate::timeline::{Ended, EventKind as Kind};

/// What the scenario's letter stands for.
pub(super) fn scenario(report: &Report) -> &'static str {
    match report.verdict.scenario {
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

/// Where none could be proved: which look would decide.
pub(super) fn no_cause(report: &Report) -> String {
    let mut text = "no cause could be proved.".to_owned();
    // What passes the broker is seen while it passes, and never afterwards.
    let afterwards = report.setup.post_mortem;
    let can_be_had = |source: &Source| !(afterwards && *source == Source::Firehose);
    let undecided = report
        .verdict
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
    } else {
        text.push_str(" Next: `taskdiag check`, which tests what each source can see");
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
    (report.setup.post_mortem && report.verdict.stage.is_none() && is_absent)
        .then_some(report.setup.table.as_deref())?
}

/// What begins a note on where to look next.
pub(super) const NEXT: &str = "next: ";

/// What stands below it.
pub(super) fn scenario_and_outcome(report: &Report) -> String {
    format!(
        "Scenario {} · outcome {}",
        scenario(report),
        report.verdict.outcome.name()
    )
}

/// Whose verdict it is: what is known of task, message, actor and queue.
pub(super) fn subject(report: &Report) -> Vec<(&'static str, &str)> {
    let task = &report.verdict.task;
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

/// For the sign before the verdict: well, ill, or nobody knows.
pub(super) fn good(report: &Report) -> Option<bool> {
    match report.verdict.scenario {
        _ if is_good(report) => Some(true),
        Some(_) => Some(false),
        None => None,
    }
}

/// Whether what was expected came true, as the exit code says.
pub(super) fn is_good(report: &Report) -> bool {
    report.verdict.exit_code == crate::error::exit::OK
}

/// The stage that the cause kept the task from. A task that was followed to the end and failed is
/// the last stage's failure: "finished" is reached, success is not.
pub(super) fn blamed(report: &Report) -> Option<Stage> {
    if is_good(report) {
        return None;
    }
    let missing = report
        .verdict
        .stages
        .iter()
        .find(|reached| {
            reached.stage != Stage::Settled
                && reached.reached != Some(true)
                && report
                    .verdict
                    .stage
                    .is_none_or(|furthest| reached.stage > furthest)
        })
        .map(|reached| reached.stage);
    Some(missing.unwrap_or(Stage::Finished))
}

/// What to do is worth saying unless the task succeeded.
pub(super) fn remedies(report: &Report) -> &[String] {
    match &report.verdict.cause {
        // A success of another kind than the configured one (`ran-in-the-api`) has something to be done.
        Some(cause) if report.verdict.outcome != Outcome::Succeeded || !is_good(report) => &cause.remedies,
        _ => &[],
    }
}

/// The page or the command that says more.
pub(super) fn more(report: &Report) -> String {
    match &report.verdict.cause {
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
