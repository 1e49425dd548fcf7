//! The worker's threads have died, and its consumer goes on taking messages.

use taskdiag::timeline::{Event, EventKind, Level, Source};

use super::ids::message_of;
use super::run::{Run, Thread, Wild, line, until_silence, weave, wild};

/// Each thread had a message whose body names another queue: `KeyError` in the worker's own loop,
/// after the actor had returned. Ours is taken from the broker and lies in the process for ever.
pub fn dead_threads(run: &Run) -> Vec<Wild> {
    both_dead(run).map(|run| wild("", run)).into_iter().collect()
}

fn both_dead(run: &Run) -> Option<Run> {
    if run.is_post_mortem() || run.is_started_here() {
        return None;
    }
    let (taken, _) = run.received()?;
    let actor = run.timeline.setup.actor.clone()?;
    let threads: Vec<Thread> = run
        .worker_lines()
        .filter(|(_, line)| {
            line.logger.as_deref() == Some("dramatiq.worker.WorkerThread")
                && line.text.starts_with("Running worker")
        })
        .map(|(_, line)| (line.pid, line.thread.clone()))
        .collect();
    let pids = run.log_pids();
    let first = run.first_status().map(str::to_owned);
    // Its row was seen only when it was done: then it ran.
    let setup = &run.timeline.setup;
    if first
        .as_ref()
        .is_some_and(|status| setup.succeeded.contains(status) || setup.failed.contains(status))
    {
        return None;
    }
    let mut events: Vec<Event> = Vec::new();
    let mut rows = 0;
    for one in run.events() {
        let mut one = one.clone();
        match &mut one.kind {
            // Nothing follows on the push.
            EventKind::Line(line) if one.source == Source::WorkerLog && !line.before => {
                let pushed = line.text.starts_with("Pushing message");
                if one.at_ms > taken || !pushed {
                    continue;
                }
            }
            EventKind::Row(row) => {
                rows += 1;
                if row.status != first
                    || (rows > 1 && row.xmax_state == Some(taskdiag::timeline::Xmax::InProgress))
                {
                    continue;
                }
                // Only what the API's own transaction left.
                if row.xmax != row.xmin {
                    row.xmax = Some(0);
                    row.xmax_state = Some(taskdiag::timeline::Xmax::None);
                    row.holder_writes = None;
                }
            }
            EventKind::ApiStatus { value, .. } if *value != first => continue,
            EventKind::Publish { message, .. } | EventKind::Deliver { message, .. }
                if one.at_ms > taken + 60.0 || message.is_retry() =>
            {
                continue;
            }
            EventKind::RowCommitted { .. } if rows > 1 => continue,
            EventKind::LockWait(_)
            | EventKind::LockFree
            | EventKind::DatabaseSessions(_)
            | EventKind::RowElsewhere { .. } => continue,
            EventKind::Gone { pid, .. } if pids.contains(pid) => continue,
            EventKind::Depth { queue, ready, .. }
                if *queue == format!("{}.XQ", run.queue()) && one.at_ms > taken =>
            {
                *ready = 0;
            }
            EventKind::Stacks { pid, threads } if pids.contains(pid) => {
                threads.retain(|thread| {
                    !thread
                        .frames
                        .iter()
                        .any(|frame| frame.function.starts_with("WorkerThread."))
                });
            }
            EventKind::QueueInfo { queue, unacked, .. } if queue == run.queue() => {
                *unacked = Some(threads.len() as u64 + u64::from(one.at_ms > taken));
            }
            _ => {}
        }
        events.push(one);
    }
    let ready = run
        .worker_lines()
        .find(|(_, line)| line.before && line.text == "Worker process is ready for action.")?
        .0
        .at_ms;
    let mut new = Vec::new();
    for (at, thread) in threads.iter().enumerate() {
        let id = format!("6a1f0c2e-0000-4000-8000-00000000000{at}");
        let start = ready + 5.0 + 20.0 * at as f64;
        let message = message_of(&actor, &id, "reports", false);
        let name = thread.1.clone().unwrap_or_default();
        new.push(line(
            start,
            &(thread.0, Some("Thread-2".into())),
            &format!("dramatiq.worker.ConsumerThread({})", run.queue()),
            Level::Debug,
            format!("Pushing message '{id}' onto work queue."),
        ));
        new.push(line(
            start + 1.0,
            thread,
            "dramatiq.worker.WorkerThread",
            Level::Debug,
            format!(
                "Received message {}(…) with id '{id}'.",
                message.actor.as_deref().unwrap_or_default()
            ),
        ));
        let called = format!("ops_core.tasks.actors.{actor}");
        new.push(line(
            start + 2.0,
            thread,
            &called,
            Level::Debug,
            "Received args=(…) kwargs={…}.".into(),
        ));
        new.push(line(
            start + 9.0,
            thread,
            &called,
            Level::Debug,
            "Completed after 6.82ms.".into(),
        ));
        // Printed by threading.excepthook, without a head.
        let mut died = line(
            start + 10.0,
            &(None, Some(name.clone())),
            "",
            Level::Error,
            format!("Exception in thread {name}:"),
        );
        if let EventKind::Line(line) = &mut died.kind {
            line.logger = None;
            line.level = None;
            line.traceback = Some(DEATH.to_owned());
        }
        new.push(died);
    }
    for one in &mut new {
        if let EventKind::Line(line) = &mut one.kind {
            line.before = true;
            line.age_s = Some(0);
        }
    }
    weave(&mut events, new);
    let events = until_silence(run, events, threads.len() as u64 + 1, first.as_deref(), None);
    Some(run.with(events).told(run.truth.instead("worker-threads-dead")))
}

const DEATH: &str = "Traceback (most recent call last):
  File \"/usr/lib/python3.11/threading.py\", line 1045, in _bootstrap_inner
    self.run()
  File \"/srv/app/venv/lib/python3.11/site-packages/dramatiq/worker.py\", line 535, in run
    self.process_message(message)
  File \"/srv/app/venv/lib/python3.11/site-packages/dramatiq/worker.py\", line 589, in process_message
    self.consumers[message.queue_name].post_process_message(message)
KeyError: 'reports'";
