//! Sources that stop, come late, or miss what they should have seen.

use taskdiag::framework::LogEvent;
use taskdiag::timeline::{Ended, Event, EventKind, Row, Source};

use super::run::{Run, Wild, event, until_silence, wild};

/// A half-open connection, a stalled mount: the source says nothing more, and does not say so.
const FREEZES: [Source; 8] = [
    Source::Api,
    Source::ApiLog,
    Source::Database,
    Source::Management,
    Source::Firehose,
    Source::Queue,
    Source::WorkerLog,
    Source::Process,
];

impl Run {
    /// Somebody still has the message at the end of what was recorded.
    pub fn is_held(&self) -> bool {
        self.delivery().is_some()
            && self.settled_at().is_none()
            && !self.events().iter().any(|event| {
                matches!(&event.kind, EventKind::Row(row) if row.status.as_ref().is_some_and(|status|
                    self.timeline.setup.succeeded.contains(status) || self.timeline.setup.failed.contains(status)))
            })
    }

    /// The moments at which a source may stop, by the task's way.
    fn moments(&self) -> Vec<(&'static str, f64)> {
        let end = self.ended().map_or(0.0, |(at, _)| at);
        let mut moments = vec![("submission", -0.001)];
        for (name, at) in [
            ("answer", self.answered_at()),
            ("delivery", self.delivery().map(|(at, _)| at)),
            ("receipt", self.received().map(|(at, _)| at)),
        ] {
            moments.extend(at.map(|at| (name, at)));
        }
        moments.push(("half", end / 2.0));
        moments
    }
}

pub fn frozen_source(run: &Run) -> Vec<Wild> {
    if run.is_post_mortem() || run.submitted_at().is_none() {
        return Vec::new();
    }
    let moments = run.moments();
    FREEZES
        .into_iter()
        .flat_map(|source| {
            moments.iter().filter_map(move |(name, at)| {
                Some(wild(&format!("{source}@{name}"), frozen(run, source, *at)?))
            })
        })
        .collect()
}

pub fn frozen(run: &Run, source: Source, at: f64) -> Option<Run> {
    // The answer itself is not a source that watches.
    let is_frozen = |event: &Event| {
        event.source == source
            && event.at_ms > at
            && !matches!(
                event.kind,
                EventKind::Answered { .. } | EventKind::NotAnswered { .. } | EventKind::Submitting { .. }
            )
    };
    let mut events = run.events().to_vec();
    let before = events.len();
    events.retain(|event| !is_frozen(event));
    if events.len() == before {
        return None;
    }
    let (_, why) = run.ended()?;
    // What decided the run may be what was not seen: then it went on.
    if why == Ended::Decided && run.task_id().is_some() {
        events = until_silence(
            run,
            events,
            u64::from(run.is_held()),
            run.last_status(),
            Some(source),
        );
    }
    Some(run.with(events).told(run.truth.seen_in_part()))
}

/// `--task ID` after it was all over: the logs, the row and the broker as they are by then.
pub fn late_start(run: &Run) -> Vec<Wild> {
    afterwards(run).map(|run| wild("", run)).into_iter().collect()
}

pub fn afterwards(run: &Run) -> Option<Run> {
    let task_id = run.task_id()?.to_owned();
    let (end, _) = run.ended()?;
    if run.is_post_mortem() || run.is_started_here() {
        return None;
    }
    let later = end + 1000.0;
    let mut events = vec![event(0.2, Source::Api, EventKind::Given { task_id })];
    // Each log is read once, then each other source looked at once, in the state of the end.
    for source in [Source::ApiLog, Source::WorkerLog] {
        for one in run.events() {
            if one.source != source {
                continue;
            }
            let mut one = one.clone();
            match &mut one.kind {
                EventKind::Line(line) => {
                    line.before = true;
                    line.age_s = Some(1);
                    one.at_ms -= later;
                }
                EventKind::Watching { .. } | EventKind::Partial { .. } | EventKind::Blind { .. } => {
                    one.at_ms = 40.0;
                }
                EventKind::Rotated { .. } => continue,
                _ => one.at_ms = 41.0,
            }
            events.push(one);
        }
    }
    events.sort_by_key(|event| (event.source, event.at_ms > 0.0));
    events.push(event(
        80.0,
        Source::Firehose,
        EventKind::Blind {
            reason: "not used: this run sends no task".into(),
            hint: Some("a run that submits a task uses it".into()),
        },
    ));
    let mut last: Vec<Event> = Vec::new();
    let mut gone: Vec<i32> = Vec::new();
    for one in run.events().iter().rev() {
        let keep = match &one.kind {
            _ if matches!(
                one.source,
                Source::ApiLog | Source::WorkerLog | Source::Firehose | Source::Run
            ) =>
            {
                false
            }
            EventKind::Submitting { .. }
            | EventKind::Answered { .. }
            | EventKind::NotAnswered { .. }
            | EventKind::RowCommitted { .. } => false,
            EventKind::Gone { pid, .. } => {
                gone.push(*pid);
                false
            }
            EventKind::LockWait(_) | EventKind::LockFree => {
                !last
                    .iter()
                    .any(|known| matches!(known.kind, EventKind::LockWait(_) | EventKind::LockFree))
                    && matches!(one.kind, EventKind::LockWait(_))
            }
            EventKind::Process(process) => {
                !gone.contains(&process.pid)
                    && !last.iter().any(
                        |known| matches!(&known.kind, EventKind::Process(other) if other.pid == process.pid),
                    )
            }
            EventKind::Peer { pid, .. }
            | EventKind::Stacks { pid, .. }
            | EventKind::StacksRefused { pid, .. }
            | EventKind::ApiProcess { pid } => !gone.contains(pid),
            EventKind::Depth { queue, .. } => !last
                .iter()
                .any(|known| matches!(&known.kind, EventKind::Depth { queue: other, .. } if other == queue)),
            EventKind::QueueInfo { queue, .. } => !last.iter().any(
                |known| matches!(&known.kind, EventKind::QueueInfo { queue: other, .. } if other == queue),
            ),
            EventKind::Row(_) => !last.iter().any(|known| matches!(known.kind, EventKind::Row(_))),
            EventKind::ApiStatus { .. } => !last
                .iter()
                .any(|known| matches!(known.kind, EventKind::ApiStatus { .. })),
            EventKind::Consumers { .. } => !last
                .iter()
                .any(|known| matches!(known.kind, EventKind::Consumers { .. })),
            EventKind::Connections { .. } => !last
                .iter()
                .any(|known| matches!(known.kind, EventKind::Connections { .. })),
            _ => true,
        };
        if keep {
            last.push(one.clone());
        }
    }
    last.reverse();
    // A run that ended at once was not looked at again: its counts are those of its middle.
    let settled = run.delivery().is_some() && !run.is_held();
    for (at, mut one) in last.into_iter().enumerate() {
        one.at_ms = 90.0 + at as f64;
        match &mut one.kind {
            EventKind::QueueInfo {
                queue,
                unacked,
                ready,
                ..
            } if settled && queue == run.queue() => {
                *unacked = Some(0);
                *ready = Some(0);
            }
            EventKind::Depth { samples, .. } => *samples = 1,
            EventKind::Row(row) => row.asked_at_ms = row.asked_at_ms.map(|_| one.at_ms - 1.0),
            _ => {}
        }
        events.push(one);
    }
    events.push(event(
        1200.0,
        Source::Run,
        EventKind::Ended { why: Ended::Looked },
    ));
    let mut late = run.clone();
    late.timeline.setup.post_mortem = true;
    Some(late.with(events).told(run.truth.seen_in_part()))
}

/// The firehose watched, and this task's publishes are not in it; or the broker refused the publish
/// after `send()` had returned, and nothing at all came of it.
pub fn blind_publish(run: &Run) -> Vec<Wild> {
    if run.published_at().is_none() {
        return Vec::new();
    }
    let mut events = run.events().to_vec();
    events.retain(
        |event| !matches!(&event.kind, EventKind::Publish { message, .. } if message.carries_task_id),
    );
    let unseen = wild("unseen", run.with(events).told(run.truth.seen_in_part()));
    std::iter::once(unseen)
        .chain(refused(run).map(|run| wild("refused", run)))
        .collect()
}

/// `--task ID`, and what waits on the queue are other tasks' messages: this one's was refused.
pub fn others_wait(run: &Run) -> Vec<Wild> {
    let waits = run.events().iter().rev().find_map(|event| match &event.kind {
        EventKind::Depth {
            queue,
            ready,
            consumers,
            ..
        } if queue == run.queue() => Some(*ready > 0 && *consumers == 0),
        _ => None,
    });
    let nobody_had_it = run.published_at().is_some() && run.delivery().is_none() && !run.is_in_the_log();
    let late = afterwards(run).filter(|_| waits == Some(true) && nobody_had_it);
    let truth = run.truth.instead("publish-refused");
    late.map(|late| wild("", late.told(truth))).into_iter().collect()
}

/// `--task ID` of what has failed, or was left out; it was sent again since, and that message waits for a worker.
pub fn sent_again(run: &Run) -> Vec<Wild> {
    let is_over = run.events().iter().any(|event| {
        let mark = run.timeline.mark(event.n);
        mark.is_some_and(|mark| {
            mark.fails_attempt() || mark.denies_entry() || matches!(mark, LogEvent::Failed { .. })
        })
    });
    let Some(mut late) = afterwards(run).filter(|_| is_over) else {
        return Vec::new();
    };
    for one in &mut late.timeline.events {
        match &mut one.kind {
            EventKind::QueueInfo { queue, ready, .. } if queue == run.queue() => {
                *ready = Some(ready.unwrap_or(0) + 1);
            }
            EventKind::Depth {
                queue,
                ready,
                consumers,
                ..
            } if queue == run.queue() => {
                *ready += 1;
                *consumers = 0;
            }
            _ => {}
        }
    }
    let truth = run.truth.instead("no-consumer");
    vec![wild("", late.told(truth))]
}

fn refused(run: &Run) -> Option<Run> {
    let published = run.published_at()?;
    // Where nothing else was going on, nothing goes on.
    if !run.is_in_the_log() || run.is_post_mortem() || run.is_started_here() {
        return None;
    }
    let first = run.first_status()?.to_owned();
    // A row that the worker makes when it is done would not be there.
    let setup = &run.timeline.setup;
    if setup.succeeded.contains(&first) || setup.failed.contains(&first) {
        return None;
    }
    let dead = format!("{}.XQ", run.queue());
    let mut initial: Option<Row> = None;
    let mut events: Vec<Event> = Vec::new();
    for one in run.events() {
        let mut one = one.clone();
        match &mut one.kind {
            EventKind::Publish { message, .. } | EventKind::Deliver { message, .. }
                if message.carries_task_id =>
            {
                continue;
            }
            EventKind::Line(line) if one.source == Source::WorkerLog && !line.before => continue,
            EventKind::Row(row) if row.present => {
                if row.status.as_deref() == Some(first.as_str()) && initial.is_none() {
                    row.xmax_state = row
                        .xmax_state
                        .filter(|_| row.xmax == row.xmin)
                        .or(Some(taskdiag::timeline::Xmax::None));
                    initial = Some(row.clone());
                } else {
                    *row = Row {
                        asked_at_ms: row.asked_at_ms,
                        ..initial.clone()?
                    };
                }
            }
            EventKind::ApiStatus { value, .. } => *value = Some(first.clone()),
            EventKind::LockWait(_) | EventKind::LockFree | EventKind::DatabaseSessions(_) => continue,
            EventKind::Depth { queue, ready, .. }
                if one.at_ms > published
                    && (*queue == run.queue() || *queue == dead || queue.ends_with(".DQ")) =>
            {
                *ready = 0;
            }
            EventKind::QueueInfo { ready, unacked, .. } if one.at_ms > published => {
                *ready = Some(0);
                *unacked = Some(0);
            }
            EventKind::Gone { .. } | EventKind::Stacks { .. } => continue,
            _ => {}
        }
        events.push(one);
    }
    initial?;
    let events = until_silence(run, events, 0, Some(&first), None);
    Some(run.with(events).told(run.truth.instead("publish-refused")))
}
