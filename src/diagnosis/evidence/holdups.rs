//! What holds the queue's workers up while the task waits: where the threads that run others stand.

use super::stacks::{self, Thread};
use super::{Fact, Story, broker, busy, control, holding, lives, workers};
use crate::diagnosis::premises::EventId;
use crate::diagnosis::{Answer, OtherTask, Stage};
use crate::framework::StackShape;

/// Of one process of the queue's workers.
struct BusyProcess {
    evidence: Vec<EventId>,
    pid: i32,
    /// Threads that stand there, and how many it has.
    threads: usize,
    of: usize,
    who: &'static str,
    place: String,
    message: Option<String>,
}

/// In the task's function, below the framework's call: where.
pub(in crate::diagnosis) fn in_the_actor(shape: &StackShape, thread: Thread<'_>) -> Option<String> {
    let call = thread.call(shape)?;
    application_frame(shape, &thread, call)
}

/// In a hook before the task's function: where.
pub(in crate::diagnosis) fn in_a_hook(shape: &StackShape, thread: Thread<'_>) -> Option<String> {
    let before = thread.position(shape.before_call)?;
    let hook = thread.is_in(shape.hook) && thread.call(shape).is_none();
    hook.then(|| application_frame(shape, &thread, before)).flatten()
}

/// In what the framework calls after the task's function, a hook or the store of results: where.
pub(in crate::diagnosis) fn after_the_actor(shape: &StackShape, thread: Thread<'_>) -> Option<String> {
    stacks::is_after_call(shape, thread).then(|| stacks::place(shape, thread))
}

fn application_frame(shape: &StackShape, thread: &Thread<'_>, above: usize) -> Option<String> {
    let mut frames = thread.frames()[..above].iter();
    let own = frames.find(|frame| shape.is_application(&frame.file))?;
    Some(own.place())
}

/// The task was handed to a process of which one worker thread is at work, and others are free: that one has it,
/// unless it is done. Where it stands still, and what shows that.
pub(in crate::diagnosis) fn in_hand(
    story: &Story<'_>,
    stands: fn(&StackShape, Thread<'_>) -> Option<String>,
) -> Option<(Vec<EventId>, String)> {
    let shape = &story.framework().stack;
    if !story.closed() || story.reached(Stage::Received).is_some() || broker::drained(story).is_some() {
        return None;
    }
    let passage = story.deliveries().last()?;
    let Fact { n, value: pid, .. } = story.peer(passage.connection)?;
    let dump = story.stacks().dumps().rev().find(|dump| dump.pid == pid)?;
    let slots = workers::threads_of(story, pid)?.value;
    let mut at_work = dump.threads().filter(|thread| thread.has(shape.worker_loop));
    let thread = at_work.next().filter(|thread| thread.is_still())?;
    if at_work.next().is_some() || slots < 2 || dump.at_ms < passage.at_ms || story.gone(pid).is_some() {
        return None;
    }
    Some((vec![passage.n, n, dump.n], stands(shape, thread)?))
}

/// The task is in no thread's hands, and the threads of the queue's workers stand in `what`.
pub(in crate::diagnosis) fn by_others(
    story: &Story<'_>,
    what: &str,
    stands: fn(&StackShape, Thread<'_>) -> Option<String>,
) -> Option<Answer> {
    // Where a message is acknowledged as it is begun, one of these threads may have ours once it was handed out.
    let early = !story.acknowledges_after_the_run();
    let may_be_ours = early && story.reached(Stage::Delivered).is_some();
    // A message that waits behind them has not got there.
    let is_begun = story.reached(Stage::Entered).is_some() && story.attempt_over().is_none();
    // A queue that moves is not held up by whom it moves past.
    let is_passed = story.reached(Stage::Delivered).is_none() && holding::falls(story).is_some();
    if may_be_ours || is_begun || is_passed || !story.closed() || story.reached(Stage::Received).is_some() {
        return None;
    }
    // What stops takes nothing more when its threads are free.
    let draining = lives::draining(story);
    let mut consumers = consumers(story);
    consumers.retain(|(_, pid)| !draining.iter().any(|process| process.pid == *pid));
    let held: Vec<BusyProcess> = consumers
        .iter()
        .filter_map(|(n, pid)| of_process(story, *n, *pid, stands))
        .collect();
    let worst = held
        .iter()
        .max_by_key(|held| (held.threads >= held.of, held.threads))?;
    let text = format!(
        "{} of {} {} of pid {} stand in {what}: {}",
        worst.threads, worst.of, worst.who, worst.pid, worst.place
    );
    let is_full = |held: &&BusyProcess| held.threads >= held.of;
    let full = held.iter().filter(is_full).count();
    let evidence = worst.evidence.clone();
    let answer = if full == consumers.len() {
        Answer::shown(text, evidence)
    } else if full > 0 {
        Answer::likely(text, evidence)
    } else {
        Answer::possible(text, evidence)
    };
    let answer = answer.naming("{place}", &worst.place);
    Some(answer.of(OtherTask {
        message: worst.message.clone(),
        pid: Some(worst.pid),
    }))
}

/// Who consumes the queue, as far as its process is known: by whom the broker lists, or who has the
/// message, or else the watched worker.
pub(in crate::diagnosis) fn consumers(story: &Story<'_>) -> Vec<(Option<EventId>, i32)> {
    let listed = story.consumers().into_iter().flat_map(|listed| listed.value);
    let listed = listed.filter(|consumer| consumer.queue == story.queue());
    let taken = story.deliveries().last().map(|passage| passage.connection);
    let connections: Vec<&str> = match taken {
        Some(connection) => vec![connection],
        None => listed.map(|consumer| consumer.connection.as_str()).collect(),
    };
    if connections.is_empty() {
        let is_a_child = |pid: i32| story.stacks().dumps().any(|dump| dump.pid == pid);
        let live = workers::live_workers(story).into_iter();
        return live
            .filter(|process| is_a_child(process.pid))
            .map(|process| (None, process.pid))
            .collect();
    }
    // One whose process is not known may have a free thread: it stays in the count.
    let mut found: Vec<(Option<EventId>, i32)> = connections
        .into_iter()
        .map(|connection| {
            let peer = story.peer(connection).or_else(|| by_its_node(story, connection));
            peer.map_or((None, 0), |peer| (Some(peer.n), peer.value))
        })
        .collect();
    found.sort_by_key(|(_, pid)| *pid);
    found.dedup_by_key(|(_, pid)| *pid);
    found
}

/// A worker that takes questions at this connection, and names its process in its heartbeats.
fn by_its_node(story: &Story<'_>, connection: &str) -> Option<Fact<i32>> {
    let workers = story.workers_at_the_broker();
    let worker = workers.iter().find(|worker| worker.connection == connection)?;
    let living = control::living(story);
    let mut beats = living.iter().filter(|beat| beat.node == worker.node);
    let beat = beats.next().filter(|_| beats.next().is_none())?;
    Some(beat.with(beat.pid?))
}

fn of_process(
    story: &Story<'_>,
    peer: Option<EventId>,
    pid: i32,
    stands: fn(&StackShape, Thread<'_>) -> Option<String>,
) -> Option<BusyProcess> {
    let shape = &story.framework().stack;
    // What a master takes its children run.
    let pids = stacks::pids_of(story, pid);
    let threads = pids.iter().flat_map(|pid| stacks::last_dump(story, *pid));
    let standing: Vec<Thread<'_>> = threads
        .filter(|thread| thread.is_still() && stands(shape, *thread).is_some())
        .collect();
    let place = stands(shape, *standing.first()?)?;
    let slots = match story.master_takes() {
        true => busy::slots(story, Some(pid)).map(|(_, slots)| slots),
        false => workers::threads_of(story, pid).map(|threads| threads.value),
    };
    let of = slots.unwrap_or(standing.len() + 1);
    // What waits behind them waits on the queue.
    let waits = story.depths_since(story.queue()).last().map(|depth| depth.n);
    let mut dumps: Vec<EventId> = standing.iter().map(|thread| thread.n).collect();
    dumps.dedup();
    let waits = waits.filter(|_| story.master_takes());
    Some(BusyProcess {
        evidence: peer.into_iter().chain(dumps).chain(waits).collect(),
        pid,
        threads: standing.len(),
        of,
        who: if pids.len() > 1 {
            "children"
        } else {
            "worker threads"
        },
        place,
        message: message_of(story, pid),
    })
}

/// The other task's message that the process has in its hands, where its log says which.
fn message_of(story: &Story<'_>, pid: i32) -> Option<String> {
    let running = workers::running_others(story);
    running.iter().find_map(|other| {
        let told = story.worker_lines().iter().find(|told| told.n == other.n)?;
        (told.pid == Some(pid)).then(|| told.message_id().map(str::to_owned))?
    })
}
