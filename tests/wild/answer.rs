//! Answers that name no task.

use taskdiag::framework::ArgumentValues;
use taskdiag::timeline::{Event, EventKind, Level, LogLine, Source};

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
        one.learn_task_id(id, &run.timeline.setup.nouns());
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
    is_sent_meanwhile(run)?;
    let actor = run.timeline.setup.actor.clone()?;
    let thread = run
        .received()
        .map(|(_, thread)| thread)
        .or_else(|| free_thread(run))?;
    let sent = run.published_at()?;
    let (_, connection) = run.delivery()?;
    let connection = connection.to_owned();
    let mut events: Vec<Event> = run.events().to_vec();
    let publisher = run.publisher()?.to_owned();
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
                routed: None,
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

/// Another request fails at the same time, and its traceback is the first in the API's log: one that could not
/// send, for the same path or for another.
pub fn another_request_fails(run: &Run) -> Vec<Wild> {
    let cases = [
        ("same path", true, false),
        ("another path", false, false),
        ("same path, after the answer", true, true),
    ];
    let failing = cases.into_iter().filter_map(|(case, same, after)| {
        let failed = another_fails(run, same, after)?;
        Some(wild(case, failed))
    });
    failing.collect()
}

fn another_fails(run: &Run, at_the_same_path: bool, after_the_answer: bool) -> Option<Run> {
    let (submitted, method, path) = run.events().iter().find_map(|event| match &event.kind {
        EventKind::Submitting { method, url } => {
            let behind = url.split_once("://")?.1;
            Some((
                event.at_ms,
                method.clone(),
                behind[behind.find('/')?..].to_owned(),
            ))
        }
        _ => None,
    })?;
    let is_read = run
        .events()
        .iter()
        .any(|event| event.source == Source::ApiLog && matches!(event.kind, EventKind::Watching { .. }));
    if !is_read {
        return None;
    }
    let answered = run
        .events()
        .iter()
        .find(|event| matches!(event.kind, EventKind::Answered { .. }));
    let since = match after_the_answer {
        true => answered?.at_ms,
        false => submitted,
    };
    let path = match at_the_same_path {
        true => path,
        false => "/v1/payments".to_owned(),
    };
    let said = |after: f64, text: String, traceback: Option<&str>| {
        let line = LogLine {
            level: Some(Level::Error),
            text,
            traceback: traceback.map(str::to_owned),
            ..LogLine::default()
        };
        event(since + after, Source::ApiLog, EventKind::Line(line))
    };
    let access = format!("10.0.5.9:40718 - \"{method} {path} HTTP/1.1\" 500");
    let has_access = run.events().iter().any(|event| {
        matches!(&event.kind, EventKind::Line(line) if event.source == Source::ApiLog && line.text.contains(" HTTP/1.1\" "))
    });
    // The same handler sends with the same line of source.
    let actor = run.timeline.setup.actor.as_deref().filter(|_| at_the_same_path);
    let sends = actor.and_then(|actor| actor.rsplit('.').next()).map(|actor| {
        let call = format!(
            "  File \"/srv/app/web.py\", line 9, in create\n    {actor}.send(task_id)\n  File \"/srv/app/venv"
        );
        CANNOT_SEND.replacen("  File \"/srv/app/venv", &call, 1)
    });
    let mut new = vec![said(
        1.2,
        "Exception in ASGI application".into(),
        Some(sends.as_deref().unwrap_or(CANNOT_SEND)),
    )];
    if has_access {
        new.insert(0, said(1.0, access, None));
    }
    let mut events = run.events().to_vec();
    weave(&mut events, new);
    Some(run.with(events))
}

/// What a broker that refuses leaves, of either framework.
const CANNOT_SEND: &str = "Traceback (most recent call last):
  File \"/srv/app/venv/lib/python3.11/site-packages/pika/adapters/blocking_connection.py\", line 478, in _create_connection
    raise self._reap_last_connection_workflow_error(error)
  File \"/srv/app/venv/lib/python3.11/site-packages/kombu/connection.py\", line 2, in publish
  File \"/srv/app/venv/lib/python3.11/site-packages/dramatiq/brokers/rabbitmq.py\", line 337, in enqueue
    raise ConnectionClosed(e) from None
dramatiq.errors.ConnectionClosed: ConnectionRefusedError(111, 'Connection refused')";
