//! Who waits for the row or for its table, and who holds it.

use super::callers::{Callers, Runs};
use super::stacks::{self, Thread};
use super::{Fact, Story, workers};
use crate::diagnosis::Answer;
use crate::diagnosis::premises::{EventId, Premise, State};
use crate::framework::{LogEvent, is_database_library};
use crate::timeline::{Blocker, EventKind, LockWait, Process};

/// What the last look at the locks said: the wait, if there was one still.
pub(in crate::diagnosis) fn last_look<'a>(story: &Story<'a>) -> Option<Fact<Option<&'a LockWait>>> {
    let mut looks = story.facts(|kind| match kind {
        EventKind::LockWait(wait) => Some(Some(wait)),
        EventKind::LockFree => Some(None),
        _ => None,
    });
    looks.next_back()
}

/// The last wait that was seen, be it over or not.
pub(in crate::diagnosis) fn last_wait<'a>(story: &Story<'a>) -> Option<Fact<&'a LockWait>> {
    let mut waits = story.facts(|kind| match kind {
        EventKind::LockWait(wait) => Some(wait),
        _ => None,
    });
    waits.next_back()
}

impl Story<'_> {
    /// Somebody waits for the whole table: who holds it.
    pub fn table_lock(&self) -> Option<String> {
        let wait = last_look(self)?.value;
        wait.filter(|wait| wait.table).map(holder)
    }
}

impl Story<'_> {
    /// The worker's own backend waited for this row after the message was delivered: it was in the actor. The
    /// look that saw it.
    pub fn waited_for_the_row(&self) -> Option<Fact<()>> {
        let delivered = match self.deliveries().next() {
            Some(passage) => passage.at_ms,
            // Afterwards nothing shows the delivery any more.
            None if self.post_mortem() => f64::MIN,
            None => return None,
        };
        // Pushed to a thread, and taken by none: another thread of the worker has the row in mind.
        let is = |wanted: fn(&LogEvent) -> bool| self.line(wanted).is_some();
        let waits_for_a_thread = self.debug_log()
            && is(|mark| matches!(mark, LogEvent::Pushed { .. }))
            && !is(|mark| matches!(mark, LogEvent::Received { .. }));
        if waits_for_a_thread {
            return None;
        }
        self.find(|event| match &event.kind {
            EventKind::LockWait(wait) if !wait.table && event.at_ms > delivered => {
                let mut waiters = waiting_processes(self, wait).into_iter();
                let is_the_tasks = |pid| {
                    is_our_worker(self, pid)
                        && !matches!(self.state(&Premise::WaitIsTheTasks(pid)), State::Refuted(_))
                };
                waiters
                    .any(|waiter| is_the_tasks(waiter.value))
                    .then_some(Fact::of(event, ()))
            }
            _ => None,
        })
    }
}

/// The processes at the ends of the connections that wait.
pub(in crate::diagnosis) fn waiting_processes(story: &Story<'_>, wait: &LockWait) -> Vec<Fact<i32>> {
    let clients = wait.client.iter().chain(&wait.others);
    clients.filter_map(|client| process_of(story, client)).collect()
}

/// The process at the client's end of a connection to the database.
fn process_of(story: &Story<'_>, client: &str) -> Option<Fact<i32>> {
    let holder = || {
        let start = format!("{client} -> ");
        let mut processes = story.all_processes();
        let holds = |process: &Process| process.sockets.iter().any(|socket| socket.starts_with(&start));
        processes.find(|process| holds(process))
    };
    story
        .peer_of_client(client)
        .or_else(|| holder().map(|process| process.with(process.pid)))
}

/// Whoever has our message, or whom it hands it to; where that is not known the watched worker. Another of its processes waits
/// for the row in a task of its own.
pub(in crate::diagnosis) fn is_our_worker(story: &Story<'_>, pid: i32) -> bool {
    let takers = story
        .deliveries()
        .map(|passage| story.peer(passage.connection).map(|peer| peer.value));
    let is_worker = |pid: &i32| {
        story
            .process(*pid)
            .is_some_and(|process| workers::is_worker(&process))
    };
    let takers: Option<Vec<i32>> = takers.collect();
    let takers = takers.filter(|takers| !takers.is_empty() && takers.iter().all(is_worker));
    let parent = story.process(pid).map(|process| process.ppid);
    match takers {
        Some(takers) => takers.contains(&pid) || parent.is_some_and(|parent| takers.contains(&parent)),
        None => {
            let mut taken = story
                .deliveries()
                .filter_map(|passage| story.peer(passage.connection));
            story.is_watched(pid) == Some(true) || taken.any(|peer| peer.value == pid)
        }
    }
}

/// Who holds it, in words: the head of the line.
pub(in crate::diagnosis) fn holder(wait: &LockWait) -> String {
    head(&wait.blockers)
}

pub(in crate::diagnosis) fn head(blockers: &[Blocker]) -> String {
    let Some(blocker) = blockers.first() else {
        return "a backend that cannot be seen".into();
    };
    let mut who = format!("backend {}", blocker.pid);
    if let Some(application) = &blocker.application {
        who.push_str(&format!(" ({application})"));
    }
    if let Some(state) = &blocker.state {
        who.push_str(&format!(", {state}"));
    }
    if let Some(seconds) = blocker.transaction_s {
        who.push_str(&format!(", in a transaction for {seconds} s"));
    }
    if let Some(query) = &blocker.query {
        who.push_str(&format!(", last statement `{query}`"));
    }
    who
}

/// The remedies name the backend at the head of the line.
pub(in crate::diagnosis) fn naming_holder(answer: Answer, blockers: &[Blocker]) -> Answer {
    let Some(blocker) = blockers.first() else {
        return answer;
    };
    let known = blocker.application.as_deref().or(blocker.client.as_deref());
    let known = known.map_or_else(String::new, |who| format!(" ({who})"));
    answer
        .naming("{pid}", blocker.pid)
        .naming("{holder}", format!("backend {}{known}", blocker.pid))
}

/// Whether the holder is at work decides what is to be done about it.
pub(in crate::diagnosis) fn at_work_or_idle(answer: Answer, blockers: &[Blocker]) -> Answer {
    let state = blockers.first().and_then(|blocker| blocker.state.as_deref());
    let Some(idle) = state.map(|state| state.starts_with("idle")) else {
        return answer;
    };
    answer
        .case("the holder works", !idle)
        .case("the holder idles", idle)
}

/// Whether the thread that has the task, or the only one that runs any, waits in a database's library. `None`:
/// which thread that is cannot be told, or it stands in the application's own line, which may call a library that has no
/// frames, as psycopg2.
pub(in crate::diagnosis) fn waits_for_the_database(story: &Story<'_>, pid: i32) -> Option<Fact<bool>> {
    let callers = Callers::of(story);
    let dump = story.stacks().dumps().rev().find(|dump| dump.pid == pid)?;
    let calls: Vec<(Runs, Thread<'_>)> = dump
        .threads()
        .filter_map(|thread| Some((callers.runs(thread)?, thread)))
        .collect();
    let mut ours = calls.iter().filter(|(whose, _)| *whose == Runs::Ours);
    let thread = match (ours.next(), calls.as_slice()) {
        (Some((_, thread)), _) if ours.next().is_none() => *thread,
        (None, [(Runs::Unknown, thread)]) => *thread,
        _ => return None,
    };
    let in_a_database = |thread: &Thread<'_>| {
        let frames = thread.frames().iter();
        let mut library = frames.take_while(|frame| stacks::is_library(&frame.file));
        library.any(|frame| is_database_library(&frame.file))
    };
    let waits = in_a_database(&thread);
    let top = thread.frames().first();
    let is_open = top.is_some_and(|frame| !stacks::is_library(&frame.file))
        && !dump.threads().any(|other| in_a_database(&other));
    (!is_open).then(|| Fact::new(dump.n, dump.at_ms, waits))
}

/// The broker handed the message to other processes than this one: what waits here is another task. A master hands it
/// on to a child of its own.
pub(in crate::diagnosis) fn another_has_the_message(story: &Story<'_>, pid: i32) -> Option<EventId> {
    if story.master_takes() {
        return None;
    }
    let takers = story.deliveries().map(|passage| story.peer(passage.connection));
    let takers: Option<Vec<Fact<i32>>> = takers.collect();
    let takers = takers?;
    let is_worker = |taker: &Fact<i32>| story.is_watched(taker.value) == Some(true);
    let last = takers.last().filter(|_| takers.iter().all(is_worker))?;
    takers.iter().all(|taker| taker.value != pid).then_some(last.n)
}

/// The process itself holds what it waits for, in a session that is at work: one of its threads waits and another one works, and
/// either may be the task's.
pub(in crate::diagnosis) fn is_held_by_itself(story: &Story<'_>, pid: i32) -> bool {
    let Some(wait) = last_wait(story) else {
        return false;
    };
    let works = |blocker: &&Blocker| blocker.state.as_deref() == Some("active") && !blocker.waits;
    let clients = wait
        .blockers
        .iter()
        .filter(works)
        .filter_map(|blocker| blocker.client.as_deref());
    clients
        .filter_map(|client| process_of(story, client))
        .any(|holder| holder.value == pid)
}

/// More than one message is in hand, and nothing says whose thread waits.
pub(in crate::diagnosis) fn may_be_another_task_that_waits(story: &Story<'_>, pid: i32) -> bool {
    let last = story.infos(story.queue()).last();
    let has_several = last.is_some_and(|info| info.unacked > Some(1));
    has_several && waits_for_the_database(story, pid).is_none()
}

/// The task's own thread stands outside of the database: another one of the process waits, maybe for what ours holds. A
/// coroutine is on no thread's stack.
pub(in crate::diagnosis) fn another_thread_waits(story: &Story<'_>, pid: i32) -> bool {
    let shape = &story.framework().stack;
    let is_async = stacks::last_dump(story, pid).any(|thread| thread.waits_for_a_coroutine(shape));
    !is_async && waits_for_the_database(story, pid).is_some_and(|waits| !waits.value)
}
