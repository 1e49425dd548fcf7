//! The container is started anew during the run: the same pid, the same threads, another life.

use taskdiag::timeline::{Ended, Event, EventKind, Level, Source};

use super::pids::on_the_host;
use super::replica::work_of_another;
use super::run::{Run, Thread, Wild, event, line, weave, wild};

/// Killed with our message in its hands, and again at the same; killed and busy with another one
/// since; or started anew after ours was settled.
pub fn restarted_worker(run: &Run) -> Vec<Wild> {
    let mut all = Vec::new();
    if run.is_post_mortem() || run.is_started_here() {
        return all;
    }
    let Some(contained) = on_the_host(run) else {
        return all;
    };
    if let Some(again) = killed(&contained, true) {
        all.push(wild("killed-and-again", again));
    }
    if let Some(busy) = killed(&contained, false) {
        all.push(wild("killed-and-busy", busy));
    }
    if let Some(later) = another_life(&contained) {
        all.push(wild("another-life", later));
    }
    all
}

/// What a worker with `-v` says when it starts. The container's pids are the same again.
fn boot(run: &Run, at: f64, child: Option<i32>) -> Vec<Event> {
    let main = |pid: Option<i32>| -> Thread { (pid, Some("MainThread".into())) };
    vec![
        line(
            at,
            &main(Some(1)),
            "dramatiq.MainProcess",
            Level::Info,
            "Dramatiq '2.0.0' is booting up.".into(),
        ),
        line(
            at + 20.0,
            &main(child),
            "dramatiq.worker._WorkerMiddleware",
            Level::Debug,
            format!("Adding consumer for queue '{}'.", run.queue()),
        ),
        line(
            at + 21.0,
            &main(child),
            "dramatiq.WorkerProcess(0)",
            Level::Info,
            "Worker process is ready for action.".into(),
        ),
    ]
}

/// SIGKILL (the memory limit) in the middle of it. The broker gives the message back, and the new
/// life takes it, or another one first.
fn killed(run: &Run, again: bool) -> Option<Run> {
    let (received, thread) = run.received()?;
    let (end, why) = run.ended()?;
    if run.settled_at().is_some() || !matches!(why, Ended::Silence | Ended::Timeout) {
        return None;
    }
    let (_, taker) = run.delivery()?;
    let taker = taker.to_owned();
    let old = run.peer(&taker);
    let at = received + ((end - received) / 3.0).min(400.0);
    let renewed = format!("127.0.0.1:52110 -> {}", run.timeline.setup.broker);
    const FURTHER: i32 = 3000;
    let mut events = Vec::new();
    let mut delivery = None;
    for one in run.events() {
        let mut one = one.clone();
        if let EventKind::Deliver {
            connection, message, ..
        } = &one.kind
            && *connection == taker
            && message.message_id.as_deref() == run.message_id()
        {
            delivery = Some(one.clone());
        }
        if one.at_ms > at {
            // What is seen of the process from now on is the new one.
            match &mut one.kind {
                EventKind::Process(process) if Some(process.pid) == old => {
                    process.pid += FURTHER;
                    process.started_at_ms = process.started_at_ms.map(|started| started + 4000);
                    for socket in &mut process.sockets {
                        if *socket == taker {
                            socket.clone_from(&renewed);
                        }
                    }
                }
                EventKind::Stacks { pid, .. } if Some(*pid) == old => {
                    *pid += FURTHER;
                    // Stacks of the same hang are right only where it hangs in it again.
                    if !again {
                        continue;
                    }
                }
                EventKind::Consumers { consumers } => {
                    for consumer in consumers
                        .iter_mut()
                        .filter(|consumer| consumer.connection == taker)
                    {
                        consumer.connection.clone_from(&renewed);
                    }
                }
                _ => {}
            }
        }
        events.push(one);
    }
    let mut delivery = delivery?;
    let mut new = Vec::new();
    if let Some(old) = old {
        new.push(event(
            at + 5.0,
            Source::Process,
            EventKind::Gone { pid: old, exit: None },
        ));
    }
    for (after, ready, consumers) in [(6.0, 1, 0), (60.0, 0, 1)] {
        new.push(event(
            at + after,
            Source::Queue,
            EventKind::Depth {
                queue: run.queue().to_owned(),
                exists: true,
                ready,
                consumers,
                samples: 1,
                down: None,
            },
        ));
    }
    new.extend(boot(run, at + 10.0, thread.0));
    let consumer = format!("dramatiq.worker.ConsumerThread({})", run.queue());
    let start = at + 40.0;
    if !again {
        new.extend(work_of_another(run, &thread, start - 6.0, 1.0, &renewed, true));
    }
    delivery.at_ms = start;
    if let EventKind::Deliver {
        connection,
        redelivered,
        ..
    } = &mut delivery.kind
    {
        connection.clone_from(&renewed);
        *redelivered = true;
    }
    new.push(delivery);
    if let Some(old) = old {
        new.push(event(
            start + 3.0,
            Source::Process,
            EventKind::Peer {
                connection: renewed.clone(),
                pid: old + FURTHER,
            },
        ));
    }
    let id = run.message_id()?.to_owned();
    new.push(line(
        start + 1.0,
        &(thread.0, Some("Thread-2".into())),
        &consumer,
        Level::Debug,
        format!("Pushing message '{id}' onto work queue."),
    ));
    if again {
        let lines: Vec<Event> = run
            .worker_lines()
            .filter(|(event, line)| event.at_ms >= received && !line.before && line.thread == thread.1)
            .map(|(event, _)| Event {
                at_ms: start + 2.0 + (event.at_ms - received).min(30.0),
                ..event.clone()
            })
            .collect();
        new.extend(lines);
    }
    weave(&mut events, new);
    // It was killed in it, whatever it hangs in.
    let truth = run.truth.and(&["worker-died-in-actor", "crash-before-entry"]);
    Some(run.with(events).told(truth))
}

/// Ours is settled; then the container is started anew, and the same thread works on another message,
/// which raises.
fn another_life(run: &Run) -> Option<Run> {
    let (_, thread) = run.received()?;
    let settled = run.settled_at()?;
    let (end, why) = run.ended()?;
    if !matches!(why, Ended::Silence | Ended::Timeout) || end < settled + 200.0 {
        return None;
    }
    let at = settled + 100.0;
    let renewed = format!("127.0.0.1:52110 -> {}", run.timeline.setup.broker);
    let mut new = boot(run, at, thread.0);
    new.extend(work_of_another(run, &thread, at + 40.0, 2.0, &renewed, true));
    let mut events = run.events().to_vec();
    weave(&mut events, new);
    Some(run.with(events))
}
