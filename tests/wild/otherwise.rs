//! The same is seen, and another thing has happened.

use taskdiag::timeline::{Event, EventKind, Row, Source, Xmax};

use super::ids::small;
use super::run::{Run, Wild, wild};

/// Each way leaves out what would tell the two apart.
pub fn otherwise(run: &Run) -> Vec<Wild> {
    if run.is_post_mortem() || run.is_started_here() {
        return Vec::new();
    }
    let ways = [
        ("never-sent", never_sent(run)),
        ("taken-unseen", taken_unseen(run)),
        ("log-of-another", log_of_another(run)),
        ("row-of-before", row_of_before(run)),
        ("number-of-another", number_of_another(run)),
        ("older-on-a-standby", older_on_a_standby(run)),
        ("not-yet-on-a-standby", not_yet_on_a_standby(run)),
    ];
    let there = ways.into_iter().filter_map(|(way, run)| Some(wild(way, run?)));
    there.collect()
}

/// The API has a connection to another broker for something else, and its handler returned before it sent anything.
fn never_sent(run: &Run) -> Option<Run> {
    let is_unseen = run.truth.cause == "published-to-other-broker" && run.published_at().is_none();
    let mut events = run.events().to_vec();
    events.retain(|event| !matches!(event.kind, EventKind::Line(_)) || event.source != Source::ApiLog);
    is_unseen.then(|| run.with(events).told(run.truth.instead("not-dispatched")))
}

/// A script got the message from the queue while the firehose had stalled.
fn taken_unseen(run: &Run) -> Option<Run> {
    let published = run
        .published_at()
        .filter(|_| run.truth.cause == "message-vanished")?;
    let mut events = run.events().to_vec();
    events.retain(|event| event.source != Source::Firehose || event.at_ms <= published);
    Some(run.with(events).told(run.truth.instead("taken-by-other-client")))
}

/// The worker was never started: who writes to the log, and consumes another queue, is another service's.
fn log_of_another(run: &Run) -> Option<Run> {
    let is_elsewhere = run.truth.cause == "worker-on-other-queue" && run.consumers() != Some(1);
    let other = run.each(|event| match &mut event.kind {
        EventKind::Process(process) if process.is_configured || process.holds_log => {
            process.is_configured = false;
            process.cwd = Some("/srv/billing".to_owned());
            for word in process
                .command
                .iter_mut()
                .chain(process.parent_command.iter_mut().flatten())
            {
                *word = word.replace("ops_core", "billing").replace("shop", "billing");
            }
        }
        _ => {}
    });
    is_elsewhere.then(|| other.told(run.truth.instead("no-consumer")))
}

/// The row was there before the message was sent, and is touched once more behind it; the actor looks for it in
/// another database.
fn row_of_before(run: &Run) -> Option<Run> {
    const TOUCH: u32 = 900_003;
    let published = run
        .published_at()
        .filter(|_| run.truth.cause == "enqueued-before-commit")?;
    let mut events: Vec<Event> = Vec::new();
    let mut touched = false;
    for one in run.events() {
        let mut one = one.clone();
        match &mut one.kind {
            // No look was made in between.
            EventKind::Row(row) if !row.present && one.at_ms > published => continue,
            EventKind::Row(row) if row.present && row.xmin.is_some() => {
                *row = Row {
                    xmin: Some(TOUCH),
                    xmax: Some(0),
                    xmax_state: Some(Xmax::None),
                    ..row.clone()
                };
                touched = true;
            }
            EventKind::RowCommitted { xmin, .. } => *xmin = TOUCH,
            _ => {}
        }
        events.push(one);
    }
    let truth = run
        .truth
        .instead("worker-on-other-database")
        .and(&["actor-raised"]);
    touched.then(|| run.with(events).told(truth))
}

/// Nothing was sent for task 7: the message that carries a 7 is of another client, about another thing.
fn number_of_another(run: &Run) -> Option<Run> {
    let published = run.published_at()?;
    let statuses = run.events().iter().filter_map(|event| match &event.kind {
        EventKind::Row(row) if row.present => row.status.as_deref(),
        _ => None,
    });
    let is_ours = run
        .events()
        .iter()
        .any(|event| matches!(event.kind, EventKind::LockWait(_)));
    let is_untouched = run
        .first_status()
        .is_some_and(|first| statuses.clone().all(|other| other == first));
    let is_taken = run.delivery().is_some() && run.truth.cause != "succeeded";
    // The framework's own id is nobody else's.
    let is_the_messages = run.message_id() == run.task_id();
    if is_ours || !is_untouched || !is_taken || is_the_messages {
        return None;
    }
    let connection = format!("10.0.5.3:40022 -> {}", run.timeline.setup.broker);
    let mut run = small(run)?;
    for one in &mut run.timeline.events {
        match &mut one.kind {
            EventKind::Publish { connection: its, .. } if one.at_ms >= published => {
                its.clone_from(&connection)
            }
            _ => {}
        }
    }
    let truth = run.truth.instead("not-dispatched");
    Some(run.told(truth))
}

/// A pooler leads to the primary once, and then to a standby that shows the row as it was before.
fn older_on_a_standby(run: &Run) -> Option<Run> {
    let is_seen = run.truth.cause == "row-overwritten";
    is_seen.then(|| unknown_server(run).told(run.truth.instead("succeeded")))
}

/// The API, the worker and we read a standby that has not got the row yet.
fn not_yet_on_a_standby(run: &Run) -> Option<Run> {
    let is_seen = run.truth.cause == "row-missing";
    let truth = run.truth.instead("row-invisible").and(&["actor-raised"]);
    is_seen.then(|| unknown_server(run).told(truth))
}

fn unknown_server(run: &Run) -> Run {
    run.each(|event| {
        if let EventKind::DatabaseServer { in_recovery, .. } = &mut event.kind {
            *in_recovery = None;
        }
    })
}
