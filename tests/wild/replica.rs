//! A second replica of the worker: the same program under another master.

use std::collections::BTreeSet;

use taskdiag::timeline::{Connection, Consumer, Event, EventKind, Level, Source};

use super::ids::{TRACEBACK, message_of};
use super::pids::on_the_host;
use super::run::{Run, Thread, Wild, event, line, weave, wild};

/// Two containers write into one log, with the same pids and threads in both; or the other one's log
/// is not watched, and it has our message.
pub fn a_second_replica(run: &Run) -> Vec<Wild> {
    let mut all = Vec::new();
    if run.is_post_mortem() || run.is_started_here() {
        return all;
    }
    if let Some(contained) = on_the_host(run) {
        for (way, raises, older) in [
            ("beside", false, true),
            ("raises", true, true),
            ("raises-later", true, false),
        ] {
            all.extend(beside(&contained, raises, older).map(|run| wild(way, run)));
        }
        all.extend(raises_an_older_one(&contained).map(|run| wild("raises-an-older-one", run)));
        if let Some(elsewhere) = elsewhere(&contained) {
            all.push(wild("elsewhere", elsewhere));
        }
    }
    if let Some(unwatched) = unwatched(run) {
        all.push(wild("unwatched", unwatched));
    }
    all
}

const OTHER: &str = "5d2a9c34-77f1-4c0e-8a56-2f1de0c4b9e1";
/// The other replica's connection to the broker: from another machine.
fn other_connection(run: &Run) -> String {
    format!("10.0.2.7:51004 -> {}", run.timeline.setup.broker)
}

/// One consumer more on both queues, in every count and list of the broker.
pub fn with_another_consumer(run: &Run, events: &mut [Event], connection: &str) {
    let queues = [run.queue().to_owned(), format!("{}.DQ", run.queue())];
    for one in events {
        match &mut one.kind {
            EventKind::Depth {
                queue,
                consumers,
                exists: true,
                ..
            } if queues.contains(queue) => *consumers += 1,
            // An empty list is a late one: it knows of no consumer yet.
            EventKind::Consumers { consumers } if !consumers.is_empty() => {
                let like = consumers.clone();
                for queue in &queues {
                    if let Some(known) = like.iter().find(|known| known.queue == *queue) {
                        consumers.push(Consumer {
                            tag: format!("ctag1.other.{queue}"),
                            connection: connection.to_owned(),
                            ..known.clone()
                        });
                    }
                }
            }
            EventKind::Connections { connections } if !connections.is_empty() => {
                connections.push(Connection {
                    name: connection.to_owned(),
                    user: "lab".into(),
                    vhost: run.timeline.setup.vhost.clone(),
                    state: "running".into(),
                    product: "Pika Python Client Library".into(),
                    connected_at_ms: None,
                });
            }
            _ => {}
        }
    }
}

/// While our message is in a thread's hands, the other replica's thread of the same name, in the
/// process of the same number, works on another one: it completes, or it raises. It was received a
/// moment before ours, or after it.
fn beside(run: &Run, raises: bool, older: bool) -> Option<Run> {
    if !run.is_in_the_log() {
        return None;
    }
    let worker_thread = || {
        run.worker_lines()
            .find(|(_, line)| line.logger.as_deref() == Some("dramatiq.worker.WorkerThread"))
            .map(|(_, line)| (line.pid, line.thread.clone()))
    };
    let (since, thread) = run
        .received()
        .or_else(|| Some((run.delivery()?.0.max(0.0), worker_thread()?)))?;
    // It began a moment after ours did, and is done before ours is, or after some time.
    let until = run
        .settled_at()
        .filter(|at| *at > since + 1.0)
        .unwrap_or(since + 60.0);
    let step = ((until - since) / 6.0).min(10.0);
    let since = if older { since - 2.5 * step } else { since };
    let connection = other_connection(run);
    let mut events = run.events().to_vec();
    with_another_consumer(run, &mut events, &connection);
    weave(
        &mut events,
        work_of_another(run, &thread, since, step, &connection, raises),
    );
    Some(run.with(events))
}

/// The other replica's thread raises in what it took before the log that we have begins.
fn raises_an_older_one(run: &Run) -> Option<Run> {
    // A prefix tells whose line it is.
    if run.worker_lines().any(|(_, line)| line.stream.is_some()) {
        return None;
    }
    let (since, thread) = run.received()?;
    let actor = run.timeline.setup.actor.clone()?;
    let until = run.settled_at().filter(|at| *at > since + 1.0);
    let at_ms = until.map_or(since + 30.0, |until| (since + until) / 2.0);
    let mut raised = line(
        at_ms,
        &thread,
        "dramatiq.worker.WorkerThread",
        Level::Error,
        format!("Failed to process message {actor}(…) with unhandled exception."),
    );
    if let EventKind::Line(line) = &mut raised.kind {
        line.traceback = Some(TRACEBACK.replace("{actor}", &actor));
    }
    let mut events = run.events().to_vec();
    with_another_consumer(run, &mut events, &other_connection(run));
    weave(&mut events, vec![raised]);
    Some(run.with(events))
}

/// Another message's way through a thread.
pub fn work_of_another(
    run: &Run,
    thread: &Thread,
    since: f64,
    step: f64,
    connection: &str,
    raises: bool,
) -> Vec<Event> {
    let actor = run
        .timeline
        .setup
        .actor
        .clone()
        .unwrap_or_else(|| "execute".into());
    let message = || message_of(&actor, OTHER, run.queue(), false);
    let called = format!("ops_core.tasks.actors.{actor}");
    let consumer = format!("dramatiq.worker.ConsumerThread({})", run.queue());
    let mut entry = line(
        since + 3.0 * step,
        thread,
        "ops_core.tasks.actors",
        Level::Info,
        "!!!!!! ACTOR ENTRY POINT REACHED task_id=task_77a0c1d2e3f40516273849506a7b8c9d".into(),
    );
    if let EventKind::Line(line) = &mut entry.kind {
        line.entry = run.timeline.setup.entry_pattern.is_some();
    }
    let mut end = if raises {
        line(
            since + 4.0 * step,
            thread,
            "dramatiq.worker.WorkerThread",
            Level::Error,
            format!("Failed to process message {actor}(…) with unhandled exception."),
        )
    } else {
        line(
            since + 4.0 * step,
            thread,
            &called,
            Level::Debug,
            format!("Completed after {:.2}ms.", 2.0 * step),
        )
    };
    if let (true, EventKind::Line(line)) = (raises, &mut end.kind) {
        line.traceback = Some(TRACEBACK.replace("{actor}", &actor));
    }
    let exceeded = raises.then(|| {
        line(
            since + 4.5 * step,
            thread,
            "dramatiq.middleware.retries.Retries",
            Level::Warning,
            format!("Retries exceeded for message '{OTHER}'."),
        )
    });
    let settled = if raises { "Rejecting" } else { "Acknowledging" };
    let mut all = vec![
        event(
            (since - 1.0).max(0.5),
            Source::Firehose,
            EventKind::Publish {
                exchange: String::new(),
                routing_key: run.queue().to_owned(),
                routed: None,
                connection: format!("10.0.2.9:50210 -> {}", run.timeline.setup.broker),
                user: Some("lab".into()),
                message: message(),
            },
        ),
        event(
            since,
            Source::Firehose,
            EventKind::Deliver {
                queue: run.queue().to_owned(),
                connection: connection.to_owned(),
                redelivered: false,
                message: message(),
            },
        ),
        line(
            since + step,
            thread,
            "dramatiq.worker.WorkerThread",
            Level::Debug,
            format!("Received message {actor}(…) with id '{OTHER}'."),
        ),
        line(
            since + 2.0 * step,
            thread,
            &called,
            Level::Debug,
            "Received args=(…) kwargs={…}.".into(),
        ),
        entry,
        end,
        line(
            since + 5.0 * step,
            thread,
            &consumer,
            Level::Debug,
            format!("{settled} message '{OTHER}'."),
        ),
    ];
    all.extend(exceeded);
    all.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
    all
}

/// Both write into one log; ours is the replica on another machine, and the one on this machine, whose
/// processes we see, has nothing to do.
fn elsewhere(run: &Run) -> Option<Run> {
    if !run.is_in_the_log() {
        return None;
    }
    let (_, taker) = run.delivery()?;
    let taker = taker.to_owned();
    let gone: BTreeSet<i32> = run.peer(&taker).into_iter().collect();
    let mut events: Vec<Event> = Vec::new();
    // What was found of the taker's process is what was found of its idle twin here.
    let twin = format!("127.0.0.1:51006 -> {}", run.timeline.setup.broker);
    for one in run.events() {
        let mut one = one.clone();
        match &mut one.kind {
            EventKind::Peer { connection, .. } if *connection == taker => *connection = twin.clone(),
            EventKind::Process(process) if gone.contains(&process.pid) => {
                process.state = 'S';
                for socket in &mut process.sockets {
                    if *socket == taker {
                        socket.clone_from(&twin);
                    }
                }
            }
            EventKind::Stacks { pid, threads } if gone.contains(pid) => {
                // A worker thread without a message waits for one.
                for thread in threads.iter_mut().filter(|thread| {
                    thread
                        .frames
                        .iter()
                        .any(|frame| frame.function == "WorkerThread.process_message")
                }) {
                    let at = thread
                        .frames
                        .iter()
                        .position(|frame| frame.function == "WorkerThread.run")
                        .unwrap_or(0);
                    thread.frames.drain(..at);
                    for (function, file, line) in [
                        ("Queue.get", "/usr/lib/python3.11/queue.py", 180),
                        ("Condition.wait", "/usr/lib/python3.11/threading.py", 331),
                    ] {
                        thread.frames.insert(
                            0,
                            taskdiag::timeline::Frame {
                                function: function.into(),
                                file: file.into(),
                                line,
                                task: None,
                            },
                        );
                    }
                }
            }
            // The death was the other container's.
            EventKind::Gone { pid, .. } if gone.contains(pid) => continue,
            _ => {}
        }
        events.push(one);
    }
    with_another_consumer(run, &mut events, &twin);
    Some(run.with(events))
}

/// Two masters of the same command on this machine. Ours took the other one, whose log is not
/// watched: the same happened to it there.
fn unwatched(run: &Run) -> Option<Run> {
    const FURTHER: i32 = 2000;
    let (_, taker) = run.delivery()?;
    let taker = taker.to_owned();
    let pid = run.peer(&taker)?;
    if !run.log_pids().contains(&pid) || !run.is_in_the_log() {
        return None;
    }
    let shown = run.events().iter().rev().find_map(|event| match &event.kind {
        EventKind::Process(process) if process.pid == pid => Some(process.clone()),
        _ => None,
    })?;
    let submitted = run.submitted_at()?;
    // The watched replica's own consumer, and its processes as they were before ours came.
    let own = format!("127.0.0.1:51006 -> {}", run.timeline.setup.broker);
    let mut events: Vec<Event> = Vec::new();
    let mut shown_twin = false;
    for one in run.events() {
        let mut one = one.clone();
        match &mut one.kind {
            // What was written of it was written elsewhere.
            EventKind::Line(line)
                if one.source == Source::WorkerLog && !line.before && one.at_ms >= submitted =>
            {
                continue;
            }
            EventKind::Peer {
                connection,
                pid: peer,
            } if *connection == taker => {
                *peer = pid + FURTHER;
                let at_ms = one.at_ms;
                events.push(one);
                if !shown_twin {
                    shown_twin = true;
                    let mut twin = shown.clone();
                    twin.pid += FURTHER;
                    twin.ppid += FURTHER;
                    twin.holds_log = false;
                    twin.state = 'S';
                    events.push(event(at_ms, Source::Process, EventKind::Process(twin)));
                }
                continue;
            }
            // Seen after the delivery: what has the task in its hands is the twin.
            EventKind::Process(process) if one.at_ms > submitted && process.pid == pid => {
                let mut own_process = process.clone();
                own_process.state = 'S';
                own_process.sockets.retain(|socket| *socket != taker);
                own_process.sockets.push(own.clone());
                process.pid += FURTHER;
                process.ppid += FURTHER;
                process.holds_log = false;
                let at_ms = one.at_ms;
                events.push(one);
                events.push(event(at_ms, Source::Process, EventKind::Process(own_process)));
                continue;
            }
            EventKind::Process(process) if process.pid == pid => {
                process.sockets.retain(|socket| *socket != taker);
                process.sockets.push(own.clone());
            }
            EventKind::Process(process) if one.at_ms > submitted && process.pid == shown.ppid => {
                let mut twin = process.clone();
                twin.pid += FURTHER;
                twin.holds_log = false;
                let at_ms = one.at_ms;
                events.push(one);
                events.push(event(at_ms, Source::Process, EventKind::Process(twin)));
                continue;
            }
            EventKind::Stacks { pid: of, .. } | EventKind::Gone { pid: of, .. } if *of == pid => {
                *of += FURTHER;
            }
            _ => {}
        }
        events.push(one);
    }
    if !shown_twin {
        return None;
    }
    with_another_consumer(run, &mut events, &own);
    // The list of consumers named the taker for the watched one's; both are there now.
    let truth = run.truth.seen_in_part().and(&["several-workers"]);
    Some(run.with(events).told(truth))
}
