//! Another actor's message holds the task's id as well, and fails.

use taskdiag::timeline::{Event, EventKind, Level, Source};

use super::ids::{TRACEBACK, free_thread, message_of, worker_connection};
use super::run::{Run, Wild, event, line, weave, wild};

const ACTOR: &str = "send_receipt";
const RECEIPT: &str = "5e1d7a90-2c4b-4f0e-8d55-9a3b6c7e1f42";

/// The API sends a receipt for the task at the same time. The log tells of its failure, or of each step.
pub fn named_by_another(run: &Run) -> Vec<Wild> {
    let ways = ["quiet", "debug"].into_iter();
    ways.filter_map(|way| Some(wild(way, woven(run, way == "debug")?)))
        .collect()
}

fn woven(run: &Run, debug: bool) -> Option<Run> {
    if run.is_post_mortem() || run.is_started_here() || run.timeline.setup.actor.is_none() {
        return None;
    }
    let taker = worker_connection(run)?;
    let thread = free_thread(run)?;
    let at = run.published_at()?;
    let sender = run.publisher()?.to_owned();
    let message = || message_of(ACTOR, RECEIPT, run.queue(), true);
    let worker = "dramatiq.worker.WorkerThread";
    let carrying = |mut event: Event, traceback: bool| {
        if let EventKind::Line(line) = &mut event.kind {
            line.carries_task_id = true;
            line.traceback = traceback.then(|| TRACEBACK.replace("{actor}", ACTOR));
        }
        event
    };
    let publish = EventKind::Publish {
        exchange: String::new(),
        routing_key: run.queue().to_owned(),
        routed: None,
        connection: sender,
        user: Some("lab".into()),
        message: message(),
    };
    let deliver = EventKind::Deliver {
        queue: run.queue().to_owned(),
        connection: taker,
        redelivered: false,
        message: message(),
    };
    let mut new = vec![
        event(at, Source::Firehose, publish),
        event(at + 0.5, Source::Firehose, deliver),
    ];
    if debug {
        let received = format!("Received message {ACTOR}(…) with id '{RECEIPT}'.");
        let said = "could not tell the customer of it".to_owned();
        new.push(carrying(
            line(at + 1.0, &thread, worker, Level::Debug, received),
            false,
        ));
        new.push(carrying(
            line(at + 2.0, &thread, "ops_core.receipts", Level::Error, said),
            true,
        ));
    }
    let failed = format!("Failed to process message {ACTOR}(…) with unhandled exception.");
    new.push(carrying(
        line(at + 3.0, &thread, worker, Level::Error, failed),
        true,
    ));
    let mut events = run.events().to_vec();
    weave(&mut events, new);
    Some(run.with(events))
}
