//! Rows of which the looks saw less than happened.

use taskdiag::timeline::{Event, EventKind, Row, Source, Xmax};

use super::run::{Run, Wild, event, until_silence, weave, wild};
use super::sources::afterwards;

/// The API stores the message's id in the row after `send()` and answers then; the actor is done by
/// that time. The first version that a look can see is that update's, and a mark on the version before
/// it is gone.
pub fn touched_row(run: &Run) -> Vec<Wild> {
    touched(run).map(|run| wild("", run)).into_iter().collect()
}

fn touched(run: &Run) -> Option<Run> {
    const TOUCH: u32 = 900_001;
    // There the moment of the commit is the matter itself.
    if run.is_post_mortem() || run.truth.cause.starts_with("enqueued-before-commit") {
        return None;
    }
    let answered = run.answered_at()?;
    run.published_at()?;
    run.first_status()?;
    // Nobody touches a row that is gone.
    let rows = run.events().iter().filter_map(|event| match &event.kind {
        EventKind::Row(row) => Some(row.present),
        _ => None,
    });
    if rows.skip_while(|present| !present).any(|present| !present) {
        return None;
    }
    let done = run
        .settled_at()
        .or_else(|| run.received().map(|(at, _)| at + 30.0))
        .or_else(|| run.delivery().map(|(at, _)| at + 30.0))
        .unwrap_or(answered);
    let touch = done.max(answered) + 8.0;
    let (end, _) = run.ended()?;
    let shift = (touch + 5.0 - answered).max(0.0);
    // What the row was like when it was touched.
    let mut before: Option<Row> = None;
    for one in run.events() {
        if let EventKind::Row(row) = &one.kind
            && row.present
            && (one.at_ms <= touch || before.is_none())
        {
            before = Some(row.clone());
        }
    }
    let before = before?;
    // Held by a transaction that was open then: the update would have waited for it.
    if before.xmax_state == Some(Xmax::InProgress)
        || run
            .events()
            .iter()
            .any(|event| matches!(event.kind, EventKind::LockWait(_)))
    {
        return None;
    }
    let touched = Row {
        xmin: Some(TOUCH),
        xmax: Some(0),
        xmax_state: Some(Xmax::None),
        holder_writes: None,
        holder: None,
        ctid: Some("(0,9)".into()),
        ..before.clone()
    };
    let mut events: Vec<Event> = Vec::new();
    for one in run.events() {
        let mut one = one.clone();
        match &mut one.kind {
            EventKind::Answered { latency_ms, .. } => {
                *latency_ms += shift;
                one.at_ms += shift;
            }
            // A look needs the id.
            EventKind::Row(row) => {
                if one.at_ms <= touch + 6.0 {
                    continue;
                }
                if row.present && row.xmin == before.xmin {
                    *row = Row {
                        status: row.status.clone(),
                        asked_at_ms: row.asked_at_ms,
                        ..touched.clone()
                    };
                }
            }
            EventKind::RowCommitted { .. } => continue,
            EventKind::ApiStatus { .. } if one.at_ms <= touch + 6.0 => continue,
            EventKind::Line(_) if one.source == Source::ApiLog && one.at_ms >= answered => {
                one.at_ms = one.at_ms.max(touch + 5.0);
            }
            _ => {}
        }
        if let EventKind::Ended { .. } = one.kind {
            one.at_ms = end.max(touch + 20.0);
        }
        events.push(one);
    }
    let look = |at_ms: f64, kind: EventKind| Event {
        n: 0,
        at_ms,
        source: Source::Database,
        stated: None,
        kind,
    };
    let last = events.pop()?;
    events.push(look(touch + 7.0, EventKind::Row(touched)));
    events.push(look(
        touch + 7.1,
        EventKind::RowCommitted {
            xmin: TOUCH,
            invisible_at_ms: Some(touch - 4.0),
            visible_at_ms: touch + 4.0,
        },
    ));
    events.sort_by(|a, b| {
        let before = |event: &Event| event.at_ms < 0.0;
        if before(a) && before(b) {
            std::cmp::Ordering::Equal
        } else {
            a.at_ms.total_cmp(&b.at_ms)
        }
    });
    events.push(last);
    Some(run.with(events))
}

/// The worker wrote its final status, and something wrote over it: a hook after the enqueue, before
/// anybody looked, or a sweeper, before the post-mortem.
pub fn overwritten_row(run: &Run) -> Vec<Wild> {
    if run.truth.cause != "succeeded" {
        return Vec::new();
    }
    let by_hook = overwritten(run).map(|run| wild("by-a-hook", run));
    let by_sweeper = afterwards(run)
        .or_else(|| run.is_post_mortem().then(|| run.clone()))
        .map(|run| {
            let initial = run.first_status_of_the_api();
            wild("by-a-sweeper", swept(&run, &initial))
        });
    by_hook.into_iter().chain(by_sweeper).collect()
}

impl Run {
    /// What the API writes when it accepts a task: the recordings' application has one word for it.
    fn first_status_of_the_api(&self) -> String {
        "PENDING".to_owned()
    }
}

const LATER: u32 = 900_002;

fn reset(row: &Row, initial: &str) -> Row {
    Row {
        status: Some(initial.to_owned()),
        xmin: Some(LATER),
        xmax: Some(0),
        xmax_state: Some(Xmax::None),
        holder_writes: None,
        holder: None,
        ctid: Some("(0,8)".into()),
        ..row.clone()
    }
}

fn swept(run: &Run, initial: &str) -> Run {
    let swept = run.each(|event| match &mut event.kind {
        EventKind::Row(row) if row.present => *row = reset(row, initial),
        EventKind::RowCommitted { xmin, .. } => *xmin = LATER,
        EventKind::ApiStatus { value, .. } => *value = Some(initial.to_owned()),
        _ => {}
    });
    swept.told(run.truth.instead("row-overwritten"))
}

fn overwritten(run: &Run) -> Option<Run> {
    if run.is_post_mortem() || run.is_started_here() {
        return None;
    }
    let answered = run.answered_at()?;
    // Done by the word of the log, else when the row was seen to be final.
    let done = run.settled_at().or_else(|| {
        run.events().iter().find_map(|event| match &event.kind {
            EventKind::Row(row)
                if row
                    .status
                    .as_ref()
                    .is_some_and(|status| run.timeline.setup.succeeded.contains(status)) =>
            {
                Some(event.at_ms)
            }
            _ => None,
        })
    })?;
    let hook = done.max(answered) + 6.0;
    let shift = hook + 4.0 - answered;
    let row = run.events().iter().find_map(|event| match &event.kind {
        EventKind::Row(row) if row.present => Some(row.clone()),
        _ => None,
    })?;
    let row = reset(&row, &run.first_status_of_the_api());
    let mut events: Vec<Event> = Vec::new();
    for one in run.events() {
        let mut one = one.clone();
        match &mut one.kind {
            EventKind::Answered { latency_ms, .. } => {
                *latency_ms += shift;
                one.at_ms += shift;
            }
            EventKind::Row(_) | EventKind::RowCommitted { .. } | EventKind::ApiStatus { .. } => continue,
            EventKind::Ended { .. } => continue,
            _ => {}
        }
        events.push(one);
    }
    let look = |at_ms: f64, source: Source, kind: EventKind| Event {
        n: 0,
        at_ms,
        source,
        stated: None,
        kind,
    };
    events.push(look(hook + 6.0, Source::Database, EventKind::Row(row)));
    events.push(look(
        hook + 6.1,
        Source::Database,
        EventKind::RowCommitted {
            xmin: LATER,
            invisible_at_ms: Some(hook - 3.0),
            visible_at_ms: hook + 3.0,
        },
    ));
    events.push(look(
        hook + 9.0,
        Source::Api,
        EventKind::ApiStatus {
            http_status: 200,
            latency_ms: None,
            value: Some(run.first_status_of_the_api()),
        },
    ));
    events.sort_by(|a, b| {
        if a.at_ms < 0.0 && b.at_ms < 0.0 {
            std::cmp::Ordering::Equal
        } else {
            a.at_ms.total_cmp(&b.at_ms)
        }
    });
    let events = until_silence(run, events, 0, Some(&run.first_status_of_the_api()), None);
    Some(run.with(events).told(run.truth.instead("row-overwritten")))
}

/// The database that we read is a standby, behind a pooler that does not say so: it shows the row some time later, in its first version for
/// ever, or not at all.
pub fn lagging_standby(run: &Run) -> Vec<Wild> {
    if run.is_post_mortem()
        || !run
            .events()
            .iter()
            .any(|event| matches!(&event.kind, EventKind::Row(row) if row.present))
    {
        return Vec::new();
    }
    let truth = run.truth.seen_in_part();
    let late = |by_ms: f64| {
        let mut events: Vec<Event> = Vec::new();
        let (end, _) = run
            .ended()
            .unwrap_or((f64::MAX, taskdiag::timeline::Ended::Timeout));
        for one in run.events() {
            let mut one = one.clone();
            match &mut one.kind {
                EventKind::Row(row) => {
                    one.at_ms += by_ms;
                    row.asked_at_ms = row.asked_at_ms.map(|at| at + by_ms);
                }
                EventKind::RowCommitted {
                    invisible_at_ms,
                    visible_at_ms,
                    ..
                } => {
                    one.at_ms += by_ms;
                    *visible_at_ms += by_ms;
                    *invisible_at_ms = invisible_at_ms.map(|at| at + by_ms);
                }
                EventKind::DatabaseServer { in_recovery, .. } => *in_recovery = None,
                // Locks are not replayed to where one could ask for them.
                EventKind::LockWait(_) | EventKind::LockFree | EventKind::DatabaseSessions(_) => continue,
                _ => {}
            }
            events.push(one);
        }
        // What came too late for the run was not seen in it.
        let decided = events
            .iter()
            .any(|event| event.source == Source::Database && event.at_ms > end);
        events.retain(|event| event.source != Source::Database || event.at_ms <= end);
        events.sort_by(|a, b| {
            if a.at_ms < 0.0 && b.at_ms < 0.0 {
                std::cmp::Ordering::Equal
            } else {
                a.at_ms.total_cmp(&b.at_ms)
            }
        });
        let events = if decided {
            until_silence(run, events, u64::from(run.is_held()), run.last_status(), None)
        } else {
            events
        };
        run.with(events).told(truth.clone())
    };
    let first = |keep: bool| {
        let mut seen: Option<(u32, Row)> = None;
        let mut events: Vec<Event> = Vec::new();
        for one in run.events() {
            let mut one = one.clone();
            match &mut one.kind {
                EventKind::Row(row) if row.present => {
                    if !keep {
                        *row = Row {
                            present: false,
                            several: false,
                            status: None,
                            error: None,
                            xmin: None,
                            xmax: None,
                            xmax_state: None,
                            holder_writes: None,
                            holder: None,
                            ctid: None,
                            asked_at_ms: row.asked_at_ms,
                        };
                    } else if let Some((_, first)) = &seen {
                        row.clone_from(first);
                    } else {
                        seen = Some((one.n, row.clone()));
                    }
                }
                EventKind::RowCommitted { .. } if !keep => continue,
                EventKind::DatabaseServer { in_recovery, .. } => *in_recovery = None,
                EventKind::LockWait(_) | EventKind::LockFree | EventKind::DatabaseSessions(_) => continue,
                _ => {}
            }
            events.push(one);
        }
        run.with(until_silence(
            run,
            events,
            u64::from(run.is_held()),
            run.last_status(),
            None,
        ))
        .told(truth.clone())
    };
    vec![
        wild("by-400-ms", late(400.0)),
        wild("first-version", first(true)),
        wild("no-row", first(false)),
    ]
}

/// A task that was done before is asked for again: another column of its row changes with the submission, and its
/// status says still how the last run ended.
pub fn asked_again(run: &Run) -> Vec<Wild> {
    let setup = &run.timeline.setup;
    let is_final = |status: &str| {
        let mut all = setup.succeeded.iter().chain(&setup.failed);
        all.any(|word| word == status)
    };
    let statuses = || {
        run.events().iter().filter_map(|event| match &event.kind {
            EventKind::Row(row) if row.present => row.status.as_deref(),
            _ => None,
        })
    };
    let is_written = statuses().any(|status| Some(status) != run.first_status() || is_final(status));
    // There the actor returned before it had looked at the row.
    let returned = ["row-", "enqueued-before-commit"];
    let ran = run.settled_at().is_some() || returned.iter().any(|start| run.truth.cause.starts_with(start));
    let (Some(done), false, false) = (setup.succeeded.first(), is_written || ran, run.is_post_mortem())
    else {
        return Vec::new();
    };
    if statuses().next().is_none() || run.published_at().is_none() {
        return Vec::new();
    }
    let again = run.each(|event| match &mut event.kind {
        EventKind::Row(row) if row.present => row.status = Some(done.clone()),
        EventKind::ApiStatus {
            value: Some(value), ..
        } => value.clone_from(done),
        _ => {}
    });
    vec![wild("", again.told(run.truth.seen_in_part()))]
}

/// The actor is elsewhere: what waits for the row is a thread of the worker's that has nothing to do with the task.
pub fn another_thread_waits(run: &Run) -> Vec<Wild> {
    if run.truth.cause != "row-locked" || run.is_post_mortem() {
        return Vec::new();
    }
    let elsewhere = run.each(|event| {
        let EventKind::Stacks { threads, .. } = &mut event.kind else {
            return;
        };
        for thread in threads {
            let is_installed = |frame: &taskdiag::timeline::Frame| {
                ["/site-packages/", "/lib/python"]
                    .iter()
                    .any(|folder| frame.file.contains(folder))
            };
            // In another library: one that is written in C, as some drivers are, has no frames at all.
            let above = thread.frames.iter_mut().take_while(|frame| is_installed(frame));
            above.for_each(|frame| frame.file = "/usr/lib/python3.11/socket.py".to_owned());
        }
    });
    let truth = run.truth.instead("actor-still-running");
    vec![wild("", elsewhere.told(truth))]
}

/// Nobody had the message, and a person wrote what a worker would have written. Only the API and the row are in sight.
pub fn set_by_hand(run: &Run) -> Vec<Wild> {
    let is_untaken = run.delivery().is_none() && !run.is_in_the_log() && run.truth.cause != "succeeded";
    let in_sight = |event: &&Event| matches!(event.source, Source::Api | Source::Database | Source::Run);
    let last = run.events().iter().rev().find_map(|event| match &event.kind {
        EventKind::Row(row) if row.present => Some(row.clone()),
        _ => None,
    });
    let (Some((end, _)), Some(last)) = (run.ended(), last) else {
        return Vec::new();
    };
    let setup = &run.timeline.setup;
    let is_final = last
        .status
        .as_ref()
        .is_none_or(|word| setup.succeeded.contains(word));
    if run.is_post_mortem() || run.is_started_here() || !is_untaken || is_final {
        return Vec::new();
    }
    let Some(done) = setup.succeeded.first() else {
        return Vec::new();
    };
    let row = EventKind::Row(reset(&last, done));
    let mut events: Vec<Event> = run.events().iter().filter(in_sight).cloned().collect();
    weave(&mut events, vec![event(end - 1.0, Source::Database, row)]);
    vec![wild("", run.with(events).told(run.truth.instead("set-by-hand")))]
}
