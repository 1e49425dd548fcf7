//! The lives of the workers that write to one log, from banner to banner.

use std::collections::BTreeMap;

use super::{Fact, Story, WorkerLine, connections, control, workers};
use crate::diagnosis::{Answer, Certainty};
use crate::framework::{LogEvent, WorkerLife, ends_a_program};
use crate::timeline::{Container, Process, Source};

/// The line, by its place in the log, lies behind the banner of a worker that names its queues, and not this task's.
pub(in crate::diagnosis) fn is_anothers(story: &Story<'_>, at: usize) -> bool {
    let lines = story.worker_lines();
    let stream = lines[at].line.stream.as_deref();
    let own = |told: &&WorkerLine<'_>| told.line.stream.as_deref() == stream;
    let boots = |told: &WorkerLine<'_>| matches!(told.mark, Some(LogEvent::BootingUp));
    let before = lines[..=at].iter().rev().filter(own);
    let since: Vec<&WorkerLine<'_>> = before.take_while(|told| !boots(told)).collect();
    // A line of the banner itself comes before its queues.
    let ahead = lines[at + 1..].iter().filter(own).take_while(|told| !boots(told));
    let queues = |told: &&WorkerLine<'_>| match told.mark {
        Some(LogEvent::AddingConsumer { queue }) => Some(story.is_of_my_queue(queue)),
        _ => None,
    };
    let mut named = since.iter().filter_map(queues).peekable();
    let mut named_ahead = ahead.filter_map(|told| queues(&told)).peekable();
    match named.peek() {
        Some(_) => !named.any(|is_ours| is_ours),
        None => named_ahead.peek().is_some() && !named_ahead.any(|is_ours| is_ours),
    }
}

/// What writes to this stream of the log was started for other queues.
pub(in crate::diagnosis) fn leaves_us_out(story: &Story<'_>, stream: Option<&str>) -> bool {
    let mut lines = story.worker_lines().iter();
    lines.any(|told| told.line.stream.as_deref() == stream && told.leaves_out(story))
}

/// Another stream of the log is that of the task's worker: it consumes the queue, or did, and this one never has.
pub(in crate::diagnosis) fn is_anothers_stream(story: &Story<'_>, stream: Option<&str>) -> bool {
    let adds = |told: &&WorkerLine<'_>| told.adds_consumer_of(story.queue());
    let mut ours = story.worker_lines().iter().filter(adds).peekable();
    stream.is_some()
        && ours.peek().is_some()
        && ours.all(|told| told.line.stream.is_some() && told.line.stream.as_deref() != stream)
}

/// The last word of the worker's own life is that it stops: that line, and what came of it where it was started again.
pub(in crate::diagnosis) fn last_stop<'a>(story: &Story<'a>) -> Option<(WorkerLine<'a>, bool)> {
    let lines = story.worker_lines();
    let at = lines.iter().rposition(stops)?;
    let begins = |told: &WorkerLine<'_>| {
        let comes = matches!(told.worker_life(), Some(WorkerLife::Up | WorkerLife::Booting));
        comes || ends_as_it_begins(told)
    };
    // Another service that writes to this log has not started this one.
    let mut since = (at..lines.len()).filter(|at| begins(&lines[*at]));
    Some((lines[at], since.any(|at| !is_anothers(story, at))))
}

/// A worker, or a program that would be one, ended before it came up.
pub(in crate::diagnosis) fn ends_as_it_begins(told: &WorkerLine<'_>) -> bool {
    let traceback = told.line.traceback.as_deref();
    told.died_at_start() && (told.mark.is_some() || traceback.is_some_and(ends_a_program))
}

/// By this line a worker stops.
pub(in crate::diagnosis) fn stops(told: &WorkerLine<'_>) -> bool {
    matches!(told.mark, Some(LogEvent::Stopping | LogEvent::ShutDown))
}

/// The log's last stop, and what followed: another worker was started, which lives.
pub(in crate::diagnosis) fn replacement<'a>(
    story: &Story<'a>,
) -> Option<(WorkerLine<'a>, Fact<&'a Process>)> {
    let (told, _) = last_stop(story)?;
    Some((told, began_since(story, &told)?))
}

/// A worker that writes to this log goes on since this line, in which one says that it stops: another one does. What shows it.
pub(in crate::diagnosis) fn goes_on_since(story: &Story<'_>, told: &WorkerLine<'_>) -> Option<u32> {
    // One that stops sends no heartbeat any more.
    let mut beats = control::living(story).into_iter();
    let beats_on = beats.find(|beat| {
        let process = beat.pid.and_then(|pid| story.process(pid));
        let is_its = process.is_some_and(|process| process.holds_log || process.is_configured);
        is_its && beat.at_ms > told.at_ms && beat.pid != told.pid
    });
    let lines = story.worker_lines();
    let live = workers::live_workers(story);
    let has_stopped = |pid| lines.iter().any(|line| line.pid == pid && stops(line));
    let is_up = |line: &&WorkerLine<'_>| {
        let lives = || live.iter().any(|process| Some(process.pid) == line.pid);
        line.worker_life() == Some(WorkerLife::Up) && told.pid.is_some() && !has_stopped(line.pid) && lives()
    };
    let up = || lines.iter().rfind(is_up).map(|line| line.n);
    beats_on.map(|beat| beat.n).or_else(up)
}

/// A worker that met an error tries again within this time, and says so if it fails.
const TRIES_AGAIN_MS: f64 = 6_000.0;

/// It blames errors of a worker that tries again every few seconds: where the last is older, and no process of it is
/// there, it is history.
pub(in crate::diagnosis) fn unless_it_is_gone(story: &Story<'_>, answer: Answer) -> Answer {
    let Answer::Matched(matched) = &answer else {
        return answer;
    };
    let mut lines = story.worker_lines().iter();
    let is_recent = lines.any(|told| {
        matched.evidence.contains(&told.n) && !(told.line.before && told.at_ms < -TRIES_AGAIN_MS)
    });
    let tries_on = !is_recent && !story.master_takes() && story.sees(Source::Process);
    match tries_on && workers::watched_is_alive(story).is_none() {
        true => answer.at_most(Certainty::Possible),
        false => answer,
    }
}

/// The watched worker has ended, and nothing starts it again: it was started by us, or by an engine that is told
/// not to.
pub(in crate::diagnosis) fn stays_dead(story: &Story<'_>) -> bool {
    let launched = story
        .started("worker")
        .is_some_and(|launch| launch.ended.is_some());
    let never = |container: &Container| matches!(container.restart_policy.as_deref(), Some("no" | ""));
    launched
        || story
            .ended_worker_containers()
            .is_some_and(|ended| ended.iter().all(|container| never(container)))
}

/// Processes that have said that they stop, and live: they finish what they have begun.
pub(in crate::diagnosis) fn draining<'a>(story: &Story<'a>) -> Vec<Fact<&'a Process>> {
    let lines = story.worker_lines();
    let has_said = |pid: i32| lines.iter().any(|told| told.pid == Some(pid) && stops(told));
    let mut live = workers::live_workers(story);
    live.retain(|process| has_said(process.pid));
    live
}

/// All consumers of the queue are processes that stop, as far as their number and whose they are says it.
pub(in crate::diagnosis) fn only_draining_consume(story: &Story<'_>) -> Option<u32> {
    let last = story.depths(story.queue()).last()?;
    let mut draining = draining(story);
    draining.retain(|process| connections::amqp_socket(story, process).is_some());
    let consumers = story.consumers();
    let ours = consumers.iter().flat_map(|consumers| consumers.value.iter());
    let mut peers = ours
        .filter(|consumer| consumer.queue == story.queue())
        .filter_map(|consumer| story.peer(&consumer.connection));
    let are_theirs = peers.all(|peer| draining.iter().any(|process| process.pid == peer.value));
    let are_enough = last.consumers > 0 && last.consumers <= draining.len() as u64;
    (are_enough && are_theirs).then_some(last.n)
}

/// A worker's child lives, with its master, that has written nothing to the log yet, and this line stood there before the
/// run: whatever ended with it was an earlier one. A supervisor tries again and again.
pub(in crate::diagnosis) fn later_child(story: &Story<'_>, told: &WorkerLine<'_>) -> Option<u32> {
    let live = workers::live_workers(story);
    let is_quiet = |pid: i32| {
        let mut lines = story.worker_lines().iter();
        lines.all(|line| line.pid != Some(pid))
    };
    let child = live.iter().find(|child| {
        let is_a_child = live.iter().any(|master| master.pid == child.ppid);
        is_a_child && child.at_ms > told.at_ms && is_quiet(child.pid) && is_quiet(child.ppid)
    });
    child.filter(|_| told.line.before).map(|child| child.n)
}

/// A worker that writes to this log came up, and nothing tells of its end since: by its stream of the log, or as a process
/// that lives. The line by which it came up. One that was started for other queues does not count.
pub(in crate::diagnosis) fn is_up<'a>(story: &Story<'a>) -> Option<WorkerLine<'a>> {
    let lines = story.worker_lines();
    let of_others = story.pids_of_other_queues();
    let comes_up = |told: &WorkerLine<'_>| {
        told.worker_life() == Some(WorkerLife::Up)
            || matches!(told.mark, Some(LogEvent::AddingConsumer { .. }))
    };
    // The word of a master may overtake the last ones of its child.
    let died = |told: &WorkerLine<'_>| {
        let its_death = |other: &WorkerLine<'_>| {
            matches!(other.mark, Some(LogEvent::ChildDied { pid, .. }) if Some(*pid) == told.line.pid)
                && other.line.stream == told.line.stream
        };
        told.line.pid.is_some() && lines.iter().any(its_death)
    };
    let counts = |told: &WorkerLine<'_>| {
        let is_anothers = told.pid.is_some_and(|pid| of_others.contains(&pid));
        comes_up(told) && !is_anothers && !died(told)
    };
    let mut last: BTreeMap<Option<&str>, WorkerLine<'a>> = BTreeMap::new();
    for told in lines {
        let stream = told.line.stream.as_deref();
        if counts(told) {
            last.insert(stream, *told);
        } else if told.worker_life().is_some() || matches!(told.mark, Some(LogEvent::ImportFailed)) {
            last.remove(&stream);
        }
    }
    last.retain(|stream, _| !leaves_us_out(story, *stream));
    let live = workers::live_workers(story);
    let lives =
        |told: &&WorkerLine<'_>| counts(told) && live.iter().any(|process| Some(process.pid) == told.pid);
    let by_its_process = || lines.iter().rfind(lives).copied();
    last.into_values()
        .max_by_key(|told| told.n)
        .or_else(by_its_process)
}

/// A worker that writes to this log is older than that line, and lives: the line tells of another one's end.
pub(in crate::diagnosis) fn one_outlives(story: &Story<'_>, told: &WorkerLine<'_>) -> bool {
    let written = story.timeline.zero_ms() + told.at_ms;
    let is_older = |process: &Process| {
        let started = process.started_at_ms;
        workers::is_worker(process) && started.is_some_and(|at| (at as f64) < written - A_MOMENT_MS)
    };
    workers::live_workers(story)
        .iter()
        .any(|process| is_older(process))
}

/// A worker that has the log open, or runs the configured command, began after this line, and lives: it was started again,
/// and a quiet log says nothing of it.
pub(in crate::diagnosis) fn began_since<'a>(
    story: &Story<'a>,
    told: &WorkerLine<'_>,
) -> Option<Fact<&'a Process>> {
    let written = story.timeline.zero_ms() + told.at_ms;
    let is_later = |process: &Process| {
        let started = process.started_at_ms;
        started.is_some_and(|at| at as f64 > written - A_MOMENT_MS)
    };
    // The same command may be another project's.
    let is_its = |process: &Process| {
        process.holds_log || process.is_configured && !connections::serves_another_vhost(story, process.pid)
    };
    let began = |process: &Process| is_its(process) && workers::is_worker(process) && is_later(process);
    // A child that its master replaces is none.
    let by_a_master = |process: &Process| {
        let parent = story.process(process.ppid);
        parent.is_some_and(|parent| workers::is_worker(&parent) && !is_later(&parent))
    };
    let lives = |process: &Process| process.lives() && story.gone(process.pid).is_none();
    let found = story
        .all_processes()
        .filter(|process| began(process) && lives(process));
    let found = found.filter(|process| Some(process.pid) != told.pid && !by_a_master(process));
    found.max_by_key(|process| process.holds_log)
}

/// When a line was written is known less well than when a process was started.
const A_MOMENT_MS: f64 = 1000.0;
