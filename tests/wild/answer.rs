//! Answers that name no task.

use taskdiag::framework::ArgumentValues;
use taskdiag::timeline::{Event, EventKind, Level, Source};

use super::ids::{TRACEBACK, free_thread, message_of};
use super::run::{Run, Wild, event, line, weave, wild};

const OTHER: &str = "c4d1a2f0-6b1e-4a55-8a0f-0d6c1b7e2f10";

/// The answer is "ok". The task's message is recognised as the only one that was sent meanwhile; or that
/// one was another request's, and this one's was never sent.
pub fn unnamed_answer(run: &Run) -> Vec<Wild> {
    let ours = ours(run).map(|run| wild("", run));
    let anothers = anothers(run).map(|run| wild("another's", run));
    ours.into_iter().chain(anothers).collect()
}

fn is_sent_meanwhile(run: &Run) -> Option<String> {
    let id = run.message_id()?;
    let sent = run.timeline.sent_meanwhile();
    (!run.is_post_mortem() && sent == [id]).then(|| id.to_owned())
}

/// What the run itself makes of such an answer.
fn unnamed(run: &Run, id: &str) -> Run {
    let mut events: Vec<Event> = Vec::new();
    for one in run.events() {
        let mut one = one.clone();
        let mut recognised = None;
        match &mut one.kind {
            EventKind::Answered { task_id, body, .. } => {
                *task_id = None;
                *body = "ok".into();
                recognised = Some(one.at_ms);
            }
            EventKind::Row(_)
            | EventKind::RowCommitted { .. }
            | EventKind::RowElsewhere { .. }
            | EventKind::ApiStatus { .. } => continue,
            EventKind::Publish { message, .. }
            | EventKind::Deliver { message, .. }
            | EventKind::DeadLetter { message, .. } => {
                message.carries_task_id = false;
                message.leaves = ArgumentValues::default();
            }
            EventKind::Line(line) => {
                line.carries_task_id = false;
                line.raw = ArgumentValues(vec![line.text.clone()]);
            }
            _ => {}
        }
        events.push(one);
        if let Some(at_ms) = recognised {
            let task_id = id.to_owned();
            events.push(event(at_ms, Source::Firehose, EventKind::Recognised { task_id }));
            let reason = "the answer names no task".into();
            let blind = EventKind::Blind { reason, hint: None };
            events.push(event(at_ms, Source::Database, blind));
        }
    }
    for one in &mut events {
        one.learn_task_id(id);
    }
    run.with(events)
}

fn ours(run: &Run) -> Option<Run> {
    let id = is_sent_meanwhile(run)?;
    let run = unnamed(run, &id);
    Some(run.told(run.truth.seen_in_part()))
}

/// Its row says later that it is done: by something else than a message.
fn anothers(run: &Run) -> Option<Run> {
    if run.truth.cause != "succeeded" {
        return None;
    }
    let id = is_sent_meanwhile(run)?;
    let actor = run.timeline.setup.actor.clone()?;
    let thread = run
        .received()
        .map(|(_, thread)| thread)
        .or_else(|| free_thread(run))?;
    let sent = run.published_at()?;
    let (_, connection) = run.delivery()?;
    let connection = connection.to_owned();
    let mut events: Vec<Event> = run.events().to_vec();
    let publisher = run.events().iter().find_map(|event| match &event.kind {
        EventKind::Publish {
            connection, message, ..
        } if message.message_id.as_deref() == Some(&id) => Some(connection.clone()),
        _ => None,
    })?;
    events.retain(|event| match &event.kind {
        EventKind::Publish { message, .. } | EventKind::Deliver { message, .. } => !message.carries_task_id,
        EventKind::Line(line) => event.source != Source::WorkerLog || line.before,
        EventKind::Stacks { .. } => false,
        _ => true,
    });
    let called = format!("ops_core.tasks.actors.{actor}");
    let worker = "dramatiq.worker.WorkerThread";
    let mut raised = line(
        sent + 20.0,
        &thread,
        worker,
        Level::Error,
        format!("Failed to process message {actor}(…) with unhandled exception."),
    );
    if let EventKind::Line(line) = &mut raised.kind {
        line.traceback = Some(TRACEBACK.replace("{actor}", &actor));
    }
    let message = || message_of(&actor, OTHER, run.queue(), false);
    let new = vec![
        event(
            sent,
            Source::Firehose,
            EventKind::Publish {
                exchange: String::new(),
                routing_key: run.queue().to_owned(),
                connection: publisher,
                user: Some("lab".into()),
                message: message(),
            },
        ),
        event(
            sent + 1.0,
            Source::Firehose,
            EventKind::Deliver {
                queue: run.queue().to_owned(),
                connection,
                redelivered: false,
                message: message(),
            },
        ),
        line(
            sent + 2.0,
            &thread,
            worker,
            Level::Debug,
            format!("Received message {actor}(…) with id '{OTHER}'."),
        ),
        line(
            sent + 3.0,
            &thread,
            &called,
            Level::Debug,
            "Received args=(…) kwargs={…}.".into(),
        ),
        raised,
        line(
            sent + 21.0,
            &thread,
            "dramatiq.middleware.retries.Retries",
            Level::Warning,
            format!("Retries exceeded for message '{OTHER}'."),
        ),
        line(
            sent + 22.0,
            &thread,
            &format!("dramatiq.worker.ConsumerThread({})", run.queue()),
            Level::Debug,
            format!("Rejecting message '{OTHER}'."),
        ),
    ];
    weave(&mut events, new);
    let run = unnamed(&run.with(events), OTHER);
    Some(run.told(run.truth.instead("not-dispatched")))
}
