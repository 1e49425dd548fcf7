//! What workers said of themselves over the broker, unasked and asked.

use super::{Fact, Story, WorkerLine};
use crate::framework::{Heartbeat, HeldTask, Inquiry, Inspection, LogEvent, NONE_HEARD_YET};
use crate::timeline::{Event, EventKind, Process, Source};

/// More than so many take too long.
const MOST: usize = 3;

/// A question is JSON, and a worker that does not take that complains of it loudly: only one that was seen to
/// take a task in JSON is asked.
pub(in crate::diagnosis) fn whom_to_ask(story: &Story<'_>) -> Inquiry {
    let living = living(story);
    let is_about_a_task = story.task_id().is_some();
    if living.is_empty() || !is_about_a_task {
        return Inquiry::default();
    }
    let mut nodes: Vec<String> = living
        .iter()
        .filter(|node| takes_json(story, node, living.len() == 1))
        .map(|node| node.node.clone())
        .collect();
    nodes.truncate(MOST);
    let not_asked = nodes
        .is_empty()
        .then(|| "none was seen to take a message in JSON, as a question is".to_owned());
    Inquiry {
        nodes,
        message_ids: story.message_ids.iter().map(|id| (*id).to_owned()).collect(),
        not_asked,
    }
}

/// Workers whose heartbeat came, and that have not said that they go: the last word of each.
pub(in crate::diagnosis) fn living<'a>(story: &Story<'a>) -> Vec<Fact<&'a Heartbeat>> {
    let mut last: Vec<Fact<&Heartbeat>> = Vec::new();
    for event in &story.timeline.events {
        if let EventKind::Heartbeat(beat) = &event.kind {
            last.retain(|other| other.node != beat.node || other.pid != beat.pid);
            last.push(Fact::of(event, beat));
        }
    }
    let usual_ms = story
        .framework()
        .control
        .as_ref()
        .map_or(0, |shape| shape.heartbeat_ms);
    last.retain(|beat| {
        let is_silent = beat.silent_ms.is_some_and(|ms| ms >= beat.patience_ms(usual_ms));
        !beat.offline && !is_silent
    });
    last
}

/// A worker as the broker lists it: it takes questions at the connection at which it takes tasks.
pub struct AtTheBroker<'a> {
    pub node: &'a str,
    pub connection: &'a str,
    /// Queues of tasks that it consumes.
    pub queues: Vec<&'a str>,
    /// Its heartbeat came.
    pub lives: bool,
}

impl<'a> Story<'a> {
    /// Workers that take questions. One whose remote control is off takes none, and is not among them.
    pub fn workers_at_the_broker(&self) -> Vec<AtTheBroker<'a>> {
        let (Some(shape), Some(consumers)) = (&self.framework().control, self.consumers()) else {
            return Vec::new();
        };
        let consumers = consumers.value;
        let is_talk = self.framework().queues.is_bookkeeping;
        let living = living(self);
        let found = consumers.iter().filter_map(|consumer| {
            let node = (shape.node_of)(&consumer.queue)?;
            let connection = consumer.connection.as_str();
            let own = consumers.iter().filter(|other| other.connection == connection);
            let mut queues: Vec<&str> = own.map(|other| other.queue.as_str()).collect();
            queues.retain(|queue| !is_talk("", queue));
            queues.sort_unstable();
            queues.dedup();
            Some(AtTheBroker {
                node,
                connection,
                queues,
                lives: living.iter().any(|beat| beat.node == node),
            })
        });
        found.filter(|worker| !worker.connection.is_empty()).collect()
    }

    /// For how long heartbeats could have been heard.
    pub fn listened_for_ms(&self) -> Option<f64> {
        let is_open = |event: &&Event| match &event.kind {
            EventKind::Watching { detail } => {
                event.source == Source::Control && !detail.contains(NONE_HEARD_YET)
            }
            _ => false,
        };
        let since = self.timeline.events.iter().rfind(is_open)?.at_ms;
        let last = self.timeline.events.last()?.at_ms;
        self.sees(Source::Control).then_some(last - since)
    }

    /// Their names. Silence says nothing: some workers send no heartbeat.
    pub fn nodes_that_live(&self) -> Vec<&'a str> {
        let living = living(self).into_iter();
        let mut nodes: Vec<&str> = living.map(|beat| beat.value.node.as_str()).collect();
        nodes.sort_unstable();
        nodes.dedup();
        nodes
    }
}

/// It has taken a task that was sent in JSON, and its log has no complaint of one.
fn takes_json(story: &Story<'_>, node: &Heartbeat, is_alone: bool) -> bool {
    let refused = |mark: Option<&LogEvent>| matches!(mark, Some(LogEvent::DecodeFailed));
    let lines = story.worker_lines();
    if !story.sees(Source::WorkerLog) || lines.iter().any(|told| refused(told.mark)) {
        return false;
    }
    let holds_log = |pid| story.process(pid).is_some_and(|process| process.holds_log);
    let is_watched = node.pid.is_some_and(holds_log)
        || lines
            .iter()
            .any(|told| told.line.text.contains(node.node.as_str()));
    if !is_watched {
        return false;
    }
    let delivered = story.timeline.events.iter().any(|event| match &event.kind {
        EventKind::Deliver {
            message, connection, ..
        } => {
            let peer = story.peer(connection).map(|peer| peer.value);
            message.json && (peer.is_some() && peer == node.pid || peer.is_none() && is_alone)
        }
        _ => false,
    });
    // Ours is JSON, and to be taken from the same queue as what it took without a complaint.
    let sends_json = story.publishes().iter().any(|passage| passage.message.json);
    let took = |told: &WorkerLine<'_>| {
        matches!(
            told.mark,
            Some(LogEvent::Pushed { .. } | LogEvent::Succeeded { .. })
        )
    };
    delivered || sends_json && lines.iter().any(took)
}

/// What workers answered. Two processes of one name share a mailbox, and one answer may hold some of either: of
/// those nothing is known.
pub(in crate::diagnosis) fn answers<'a>(story: &Story<'a>) -> impl Iterator<Item = Fact<&'a Inspection>> {
    let living = living(story);
    let is_shared = move |node: &str| {
        let mut pids = living
            .iter()
            .filter(|beat| beat.node == node)
            .filter_map(|beat| beat.pid);
        let first = pids.next();
        pids.any(|pid| Some(pid) != first)
    };
    let answers = story.facts(|kind| match kind {
        EventKind::Inspected(answer) => Some(&**answer),
        _ => None,
    });
    answers.filter(move |answer| !is_shared(&answer.node))
}

/// The answer of the worker that has this task's message in its hands, and in which state.
pub(in crate::diagnosis) fn holder<'a>(story: &Story<'a>) -> Option<(Fact<&'a Inspection>, &'a str)> {
    answers(story).find_map(|answer| Some((answer, state(story, answer.value)?)))
}

/// The process that runs the task by its worker's word, which has ended: its worker has not missed it yet.
pub(in crate::diagnosis) fn ended_child<'a>(story: &Story<'a>) -> Option<Fact<&'a Process>> {
    let (answer, _) = holder(story).filter(|(_, state)| *state == "active")?;
    let pid = runner(story, answer.value)?;
    story.process(pid).filter(|process| process.has_ended())
}

/// The process that runs the task by this worker's word.
pub(in crate::diagnosis) fn runner(story: &Story<'_>, answer: &Inspection) -> Option<i32> {
    let mut running = answer.active.iter().flatten();
    running.find(|task| story.is_my_message(&task.id))?.pid
}

/// It waits in the hands of a worker that has its id in its list of revoked tasks: in its turn it is discarded.
pub(in crate::diagnosis) fn revoked<'a>(story: &Story<'a>) -> Option<(Fact<&'a Inspection>, &'a str)> {
    holder(story)
        .filter(|(answer, state)| matches!(*state, "reserved" | "scheduled") && answer.revoked == Some(true))
}

/// The worker that took the message was asked since, says all that it holds, and names this one nowhere: a limit
/// of its rate may keep it, or it is done with it.
pub(in crate::diagnosis) fn disowned<'a>(story: &Story<'a>) -> Option<Fact<&'a Inspection>> {
    let taken = story.deliveries().last().map(|passage| passage.at_ms);
    let pushed = story.line(|mark| matches!(mark, LogEvent::Pushed { .. }));
    let since = taken
        .into_iter()
        .chain(pushed.map(|told| told.at_ms))
        .reduce(f64::max)?;
    let taker = story.deliveries().last();
    let taker = taker.and_then(|passage| story.peer(passage.connection));
    let alone = living(story).len() == 1;
    answers(story).find(|answer| {
        let is_whole = answer.active.is_some() && answer.reserved.is_some() && answer.scheduled.is_some();
        let is_the_taker = match taker.as_ref().zip(answer.pid) {
            Some((taker, pid)) => taker.value == pid,
            None => alone,
        };
        answer.at_ms > since && is_whole && is_the_taker && state(story, answer.value).is_none()
    })
}

/// Older ones know nothing of those that wait for their time, unless asked for these.
fn state<'a>(story: &Story<'a>, answer: &'a Inspection) -> Option<&'a str> {
    let in_list = |list: &'a Option<Vec<HeldTask>>| {
        let mut held = list.iter().flatten();
        held.any(|task| story.is_my_message(&task.id))
    };
    match answer.state.as_deref() {
        Some(state) if state != "unknown" => Some(state),
        _ if in_list(&answer.active) => Some("active"),
        _ if in_list(&answer.reserved) => Some("reserved"),
        _ if in_list(&answer.scheduled) => Some("scheduled"),
        _ => None,
    }
}

/// A time limit has passed, and the kind of pool does not enforce it.
pub(in crate::diagnosis) fn ignored_limit(
    story: &Story<'_>,
    answer: &Inspection,
    entered_at: Option<f64>,
) -> String {
    let look = || {
        let shape = story.framework().control.as_ref()?;
        let mut active = answer.active.iter().flatten();
        let task = active.find(|task| story.is_my_message(&task.id))?;
        let (name, limit) = (shape.ignored_limit)(answer, &task.name)?;
        let ran_ms = story.timeline.events.last()?.at_ms - entered_at?;
        let pool = answer.pool.as_deref().unwrap_or("?");
        (ran_ms > limit * 1000.0).then(|| {
            format!("; its `{name}` of {limit} s has passed, and a pool of kind `{pool}` does not enforce it")
        })
    };
    look().unwrap_or_default()
}

/// Whether every child of its pool has a task, by the worker's own word.
pub(in crate::diagnosis) fn is_full(answer: &Inspection) -> Option<bool> {
    let active = answer.active.as_ref()?.len() as u64;
    Some(active >= answer.concurrency?)
}

/// How many messages of our queue are held that this worker does not name. `None`: nobody looked, or others
/// consume the queue as well.
pub(in crate::diagnosis) fn unexplained(story: &Story<'_>, answer: &Inspection) -> Option<Fact<u64>> {
    let alone = story
        .depths_since(story.queue())
        .last()
        .is_some_and(|depth| depth.consumers == 1);
    let info = story.infos(story.queue()).last().filter(|_| alone)?;
    let named = |list: &Option<Vec<HeldTask>>| {
        let held = list
            .as_ref()?
            .iter()
            .filter(|task| task.acknowledged != Some(true));
        Some(held.count() as u64)
    };
    let named = named(&answer.active)? + named(&answer.reserved)? + named(&answer.scheduled)?;
    Some(Fact::new(info.n, info.at_ms, info.unacked?.saturating_sub(named)))
}

/// Every worker that consumes our queue was asked, and runs nothing.
pub(in crate::diagnosis) fn run_nothing(story: &Story<'_>) -> Option<u32> {
    all_that_consume(story, |answer| answer.active.as_ref().is_some_and(Vec::is_empty))
}

/// Every worker that consumes our queue was asked, and could run one more at once.
pub(in crate::diagnosis) fn have_room(story: &Story<'_>) -> Option<u32> {
    all_that_consume(story, |answer| is_full(answer) == Some(false))
}

/// Each of them is like this, and has nothing at hand besides: between two tasks it has none in hand for a moment,
/// and others that wait for it.
fn all_that_consume(story: &Story<'_>, is_so: impl Fn(&Inspection) -> bool) -> Option<u32> {
    let consumers = story.depths_since(story.queue()).last()?.consumers;
    let consumes = |answer: &Inspection| {
        let queues = answer.queues.as_ref();
        queues.is_some_and(|queues| queues.iter().any(|name| name == story.queue()))
    };
    let asked: Vec<_> = answers(story).filter(|answer| consumes(answer)).collect();
    let last = asked.last()?;
    let waits = |answer: &Inspection| answer.reserved.as_ref().is_some_and(|held| !held.is_empty());
    let all = asked.iter().all(|answer| is_so(answer) && !waits(answer));
    (all && asked.len() as u64 == consumers).then_some(last.n)
}
