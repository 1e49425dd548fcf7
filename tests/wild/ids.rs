//! Ids that are not what they seem: small numbers, the message's own, yesterday's.

use serde_json::Value as Json;
use taskdiag::framework::{ArgumentValues, Message};
use taskdiag::timeline::{Event, EventKind, Level, LogLine, Source};

use super::run::{Run, Thread, Wild, event, line, weave, wild};

/// The same run with this task id.
fn renamed(run: &Run, new: &str) -> Option<Run> {
    let old = run.task_id()?.to_owned();
    let events = run
        .events()
        .iter()
        .map(|event| {
            let mut json = serde_json::to_value(event).expect("an event");
            replace(&mut json, &old, new);
            serde_json::from_value(json).expect("an event")
        })
        .collect();
    Some(run.with(events))
}

fn replace(value: &mut Json, old: &str, new: &str) {
    match value {
        Json::String(text) if text.contains(old) => *text = text.replace(old, new),
        Json::Array(items) => items.iter_mut().for_each(|item| replace(item, old, new)),
        Json::Object(map) => map.values_mut().for_each(|item| replace(item, old, new)),
        _ => {}
    }
}

const OTHER: &str = "0b7c6f1e-5d0a-4f59-9b31-7f3f0c1d2a77";

pub fn small(run: &Run) -> Option<Run> {
    renamed(run, "7")
}

/// The task is number 7, and so is an order, a user or another kind of task: another message carries
/// the number and runs through. Ours is what it was.
pub fn small_ids(run: &Run) -> Vec<Wild> {
    let Some(small) = small(run) else {
        return Vec::new();
    };
    if run.is_post_mortem() || run.is_started_here() {
        return vec![wild("alone", small)];
    }
    let mut all = vec![wild("alone", small.clone())];
    // Another message is taken only where a worker had a thread for it.
    let taken = run.is_in_the_log() || (run.message_id().is_none() && run.consumers() == Some(1));
    if let (true, Some(connection)) = (taken, worker_connection(run)) {
        for (way, actor) in [
            ("other-actor", "send_receipt".to_owned()),
            (
                "same-actor",
                run.timeline
                    .setup
                    .actor
                    .clone()
                    .unwrap_or_else(|| "execute".into()),
            ),
        ] {
            let mut events = small.events().to_vec();
            weave(&mut events, another_with_the_number(run, &actor, &connection));
            all.push(wild(way, small.with(events)));
        }
        let mut nameless = small.clone();
        nameless.timeline.setup.actor = None;
        let mut events = nameless.events().to_vec();
        weave(
            &mut events,
            another_with_the_number(run, "send_receipt", &connection),
        );
        all.push(wild("no-actor-configured", nameless.with(events)));
    }
    all
}

/// A connection through which the watched worker gets messages.
pub fn worker_connection(run: &Run) -> Option<String> {
    let pids = run.log_pids();
    run.delivery()
        .map(|(_, connection)| connection.to_owned())
        .or_else(|| {
            run.events().iter().rev().find_map(|event| match &event.kind {
                EventKind::Consumers { consumers } => consumers
                    .iter()
                    .find(|consumer| consumer.queue == run.queue())
                    .map(|consumer| consumer.connection.clone()),
                _ => None,
            })
        })
        .or_else(|| {
            run.events().iter().find_map(|event| match &event.kind {
                EventKind::Peer { connection, pid } if pids.contains(pid) => Some(connection.clone()),
                _ => None,
            })
        })
}

/// A worker thread of the watched worker, preferably not the one that has the task.
pub fn free_thread(run: &Run) -> Option<Thread> {
    let mine = run.received().map(|(_, thread)| thread);
    let mut threads = run
        .worker_lines()
        .filter(|(_, line)| {
            line.logger.as_deref() == Some("dramatiq.worker.WorkerThread")
                && line.text.starts_with("Running worker")
        })
        .map(|(_, line)| (line.pid, line.thread.clone()));
    threads.find(|thread| mine.as_ref() != Some(thread))
}

/// A message of the application's, sent a moment after ours was asked for.
pub fn message_of(actor: &str, id: &str, queue: &str, carries: bool) -> Message {
    Message {
        message_id: Some(id.to_owned()),
        actor: Some(actor.to_owned()),
        queue_name: Some(queue.to_owned()),
        carries_task_id: carries,
        ..Message::default()
    }
}

fn another_with_the_number(run: &Run, actor: &str, connection: &str) -> Vec<Event> {
    let broker = &run.timeline.setup.broker;
    let start = run.published_at().unwrap_or(20.0).min(20.0) - 8.0;
    let start = start.max(1.0);
    let message = || message_of(actor, OTHER, run.queue(), true);
    let mut all = vec![
        event(
            start,
            Source::Firehose,
            EventKind::Publish {
                exchange: String::new(),
                routing_key: run.queue().to_owned(),
                routed: None,
                connection: format!("127.0.0.1:51002 -> {broker}"),
                user: Some("lab".into()),
                message: message(),
            },
        ),
        event(
            start + 0.5,
            Source::Firehose,
            EventKind::Deliver {
                queue: run.queue().to_owned(),
                connection: connection.to_owned(),
                redelivered: false,
                message: message(),
            },
        ),
    ];
    let Some(thread) = free_thread(run) else {
        return all;
    };
    // `user_id=7`: the number stands beside a word that names an id.
    let carrying = |mut event: Event| {
        if let EventKind::Line(line) = &mut event.kind {
            line.carries_task_id = true;
        }
        event
    };
    all.push(carrying(line(
        start + 1.0,
        &thread,
        "dramatiq.worker.WorkerThread",
        Level::Debug,
        format!("Received message {actor}(…) with id '{OTHER}'."),
    )));
    all.push(line(
        start + 1.1,
        &thread,
        &format!("ops_core.tasks.actors.{actor}"),
        Level::Debug,
        "Received args=(…) kwargs={…}.".into(),
    ));
    all.push(line(
        start + 4.0,
        &thread,
        &format!("ops_core.tasks.actors.{actor}"),
        Level::Debug,
        "Completed after 2.90ms.".into(),
    ));
    all.push(line(
        start + 4.1,
        &thread,
        &format!("dramatiq.worker.ConsumerThread({})", run.queue()),
        Level::Debug,
        format!("Acknowledging message '{OTHER}'."),
    ));
    all
}

/// The API answers with the message's id: it does not stand in the arguments, and what is known of
/// an event when its id is learned is asked of the code that does so in a run.
pub fn message_id_is_the_id(run: &Run) -> Vec<Wild> {
    let Some(id) = run.message_id().map(str::to_owned) else {
        return Vec::new();
    };
    // Another task's message carries the number, too: which of the two is meant is lost then.
    if id == OTHER {
        return Vec::new();
    }
    let Some(renamed) = renamed(run, &id) else {
        return Vec::new();
    };
    let nouns = renamed.timeline.setup.nouns();
    let same = renamed.each(|event| {
        match &mut event.kind {
            EventKind::Publish { message, .. }
            | EventKind::Deliver { message, .. }
            | EventKind::DeadLetter { message, .. } => {
                message.carries_task_id = false;
                message.leaves = ArgumentValues(vec!["7f3a".into()]);
            }
            EventKind::Line(line) => {
                line.carries_task_id = false;
                line.raw = ArgumentValues(vec![line.text.clone()]);
            }
            _ => {}
        }
        event.learn_task_id(&id, &nouns);
    });
    vec![wild("", same)]
}

/// The same id was used before: the database was made anew, or counts from 1 again. The worker's log
/// still tells of that task.
pub fn yesterday(run: &Run) -> Vec<Wild> {
    [("succeeded", false), ("raised", true)]
        .into_iter()
        .filter_map(|(way, raised)| Some(wild(way, with_yesterday(run, raised)?)))
        .collect()
}

fn with_yesterday(run: &Run, raised: bool) -> Option<Run> {
    const AGO_MS: f64 = 7_200_000.0;
    const NUMBER: &str = "1007";
    let run = &renamed(run, NUMBER)?;
    let task_id = NUMBER;
    let actor = run.timeline.setup.actor.clone()?;
    // A worker that has been up since then, with nothing in its hands.
    let ready = run
        .worker_lines()
        .find(|(_, line)| line.before && line.text == "Worker process is ready for action.")?
        .0
        .at_ms;
    let thread = run
        .received()
        .map(|(_, thread)| thread)
        .or_else(|| free_thread(run))?;
    let pids = run.log_pids();
    let mut events = run.events().to_vec();
    for event in &mut events {
        match &mut event.kind {
            EventKind::Line(line)
                if event.source == Source::WorkerLog && line.before && event.at_ms <= ready =>
            {
                event.at_ms -= AGO_MS;
            }
            EventKind::Process(process) if pids.contains(&process.pid) || process.holds_log => {
                process.started_at_ms = process.started_at_ms.map(|at| at - AGO_MS as i64);
            }
            _ => {}
        }
    }
    let start = ready - AGO_MS / 2.0;
    let before = |at_ms: f64,
                  logger: &str,
                  level: Level,
                  text: String,
                  carries: bool,
                  entry: bool,
                  traceback: Option<String>| {
        event(
            at_ms,
            Source::WorkerLog,
            EventKind::Line(LogLine {
                level: Some(level),
                logger: Some(logger.to_owned()),
                pid: thread.0,
                thread: thread.1.clone(),
                text,
                traceback,
                before: true,
                age_s: Some(0),
                entry,
                carries_task_id: carries,
                ..LogLine::default()
            }),
        )
    };
    let called = format!("ops_core.tasks.actors.{actor}");
    let mut new = vec![
        before(
            start,
            "dramatiq.worker.WorkerThread",
            Level::Debug,
            format!("Received message {actor}(…) with id '{OTHER}'."),
            true,
            false,
            None,
        ),
        before(
            start + 0.2,
            &called,
            Level::Debug,
            "Received args=(…) kwargs={…}.".into(),
            true,
            false,
            None,
        ),
        before(
            start + 0.4,
            "ops_core.tasks.actors",
            Level::Info,
            format!("!!!!!! ACTOR ENTRY POINT REACHED task_id={task_id}"),
            true,
            true,
            None,
        ),
    ];
    if raised {
        new.push(before(
            start + 30.0,
            "dramatiq.worker.WorkerThread",
            Level::Error,
            format!("Failed to process message {actor}(…) with unhandled exception."),
            true,
            false,
            Some(TRACEBACK.replace("{actor}", &actor)),
        ));
        new.push(before(
            start + 30.5,
            "dramatiq.middleware.retries.Retries",
            Level::Warning,
            format!("Retries exceeded for message '{OTHER}'."),
            false,
            false,
            None,
        ));
    } else {
        new.push(before(
            start + 30.0,
            &called,
            Level::Debug,
            "Completed after 29.61ms.".into(),
            false,
            false,
            None,
        ));
    }
    new.push(before(
        start + 31.0,
        &format!("dramatiq.worker.ConsumerThread({})", run.queue()),
        Level::Debug,
        if raised {
            format!("Rejecting message '{OTHER}'.")
        } else {
            format!("Acknowledging message '{OTHER}'.")
        },
        false,
        false,
        None,
    ));
    weave(&mut events, new);
    Some(run.with(events))
}

/// An exception of the application's own, as Dramatiq logs it.
pub const TRACEBACK: &str = "Traceback (most recent call last):
  File \"/srv/app/venv/lib/python3.11/site-packages/dramatiq/worker.py\", line 560, in process_message
    res = actor(*message.args, **message.kwargs)
  File \"/srv/app/venv/lib/python3.11/site-packages/dramatiq/actor.py\", line 194, in __call__
    return self.fn(*args, **kwargs)
  File \"/srv/app/ops_core/tasks/actors.py\", line 61, in {actor}
    invoice = total / share
ZeroDivisionError: division by zero";
