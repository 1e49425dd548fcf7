//! Whose call a worker thread is in, by the function that the framework called.

use std::collections::{BTreeMap, BTreeSet};

use super::stacks::{self, Dump, Thread};
use super::{Story, WorkerLine, control};
use crate::framework::{LogEvent, StackShape, function_of};
use crate::timeline::Frame;

/// Whose task a worker thread runs, by the functions below the framework's call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Runs {
    /// The function of this task's actor is among them.
    Ours,
    /// They may be anybody's: an actor may be called otherwise than its function.
    Unknown,
    /// Another actor's, of which messages or lines were seen.
    Anothers,
}

/// Whose a thread's call is, asked of many threads.
pub(super) struct Callers<'a> {
    pub shape: &'static StackShape,
    ours: BTreeSet<&'a str>,
    others: BTreeSet<&'a str>,
    /// Dumps of the one child that has the task by its worker's word, whatever its function is called.
    of_its_child: BTreeSet<u32>,
}

impl<'a> Callers<'a> {
    pub fn of(story: &Story<'a>) -> Self {
        Self {
            shape: &story.framework().stack,
            ours: story.actors(),
            others: story.other_actors(),
            of_its_child: dumps_of_its_child(story),
        }
    }

    /// `None`: it is in no call.
    pub fn runs(&self, thread: Thread<'_>) -> Option<Runs> {
        let call = thread.call(self.shape)?;
        let own = || {
            thread.frames()[..call]
                .iter()
                .filter(|frame| self.shape.is_application(&frame.file))
        };
        // Newer Pythons name a function by what it is defined in.
        let is_of = |frame: &Frame, actors: &BTreeSet<&str>| {
            let function = frame.function.rsplit('.').next();
            match frame.task.as_deref() {
                Some(task) => actors.contains(task),
                None => actors.iter().any(|actor| function == Some(function_of(actor))),
            }
        };
        let is_ours = own().any(|frame| is_of(frame, &self.ours)) || self.of_its_child.contains(&thread.n);
        if is_ours {
            return Some(Runs::Ours);
        }
        match own().next_back().is_some_and(|frame| is_of(frame, &self.others)) {
            true => Some(Runs::Anothers),
            false => Some(Runs::Unknown),
        }
    }
}

/// A worker thread stands in a task's function that may be this one's.
pub(in crate::diagnosis) fn one_may_run_it(story: &Story<'_>) -> bool {
    let callers = Callers::of(story);
    let may_be = |whose: Runs| whose != Runs::Anothers;
    stacks::family(story, None).any(|thread| thread.is_still() && callers.runs(thread).is_some_and(may_be))
}

/// Of the worker's threads one only stands in the task's own function: the dump that shows it.
pub(in crate::diagnosis) fn the_one_at_work(story: &Story<'_>) -> Option<u32> {
    let callers = Callers::of(story);
    let shape = &story.framework().stack;
    let is_ours =
        |thread: &Thread<'_>| thread.has(shape.worker_loop) && callers.runs(*thread) == Some(Runs::Ours);
    let dumps: BTreeMap<i32, Dump<'_>> = story.stacks().dumps().map(|dump| (dump.pid, dump)).collect();
    let last: BTreeSet<u32> = dumps.values().map(|dump| dump.n).collect();
    let mut ours = stacks::family(story, None)
        .filter(|thread| last.contains(&thread.n))
        .filter(is_ours);
    let one = ours.next().filter(|thread| thread.is_still())?;
    ours.next().is_none().then_some(one.n)
}

/// Of all the worker's threads, as they were seen last, one only is in a call, and not in another actor's: the dump that
/// shows it.
pub(in crate::diagnosis) fn the_only_call(story: &Story<'_>) -> Option<u32> {
    let callers = Callers::of(story);
    let dumps: BTreeMap<i32, Dump<'_>> = story.stacks().dumps().map(|dump| (dump.pid, dump)).collect();
    let last: BTreeSet<u32> = dumps.values().map(|dump| dump.n).collect();
    let mut calls = stacks::family(story, None)
        .filter(|thread| last.contains(&thread.n))
        .filter_map(|thread| Some((thread, callers.runs(thread)?)));
    let (thread, whose) = calls.next()?;
    (calls.next().is_none() && thread.is_still() && whose != Runs::Anothers).then_some(thread.n)
}

/// It is in the call of the task's function, or of the child that has the task.
pub(in crate::diagnosis) fn runs_ours(story: &Story<'_>, thread: Thread<'_>) -> bool {
    Callers::of(story).runs(thread) == Some(Runs::Ours)
}

/// A child runs one task at a time. A task may be called otherwise than its function, or be a class.
fn dumps_of_its_child(story: &Story<'_>) -> BTreeSet<u32> {
    let dumps = || {
        let (answer, _) = control::holder(story).filter(|(_, state)| *state == "active")?;
        let pid = control::runner(story, answer.value)?;
        let since = story.deliveries().last()?.at_ms;
        let dumps = story.stacks().dumps();
        let of_it = move |dump: &Dump<'_>| dump.pid == pid && dump.at_ms > since && Some(pid) != answer.pid;
        Some(dumps.filter(of_it).map(|dump| dump.n).collect())
    };
    dumps().unwrap_or_default()
}

/// The thread that has the task, where the log says which, by taking it or by a word of the actor's own: another one
/// runs something else.
pub(in crate::diagnosis) fn its_thread(story: &Story<'_>, pid: Option<i32>) -> Option<String> {
    let took = |told: &&WorkerLine<'_>| matches!(told.mark, Some(LogEvent::Received { .. }));
    if let Some(took) = story.lines().iter().rev().find(took) {
        return took.line.thread.clone();
    }
    let spoke = story.lines().iter().rfind(|told| {
        told.mark.is_none() && told.line.carries_task_id && told.pid.is_some() && told.pid == pid
    })?;
    let name = spoke.line.thread.clone()?;
    // A coroutine speaks in the loop's thread, whoever waits for it.
    let shape = &story.framework().stack;
    let runs_actors = |thread: Thread<'_>| thread.name() == name && thread.has(shape.worker);
    stacks::last_dump(story, pid?).any(runs_actors).then_some(name)
}

/// By the log one thread of this process has the task, and in this dump it is in no call of an actor: another one
/// that is runs something else.
pub(super) fn its_thread_is_in_no_call(story: &Story<'_>, pid: i32, n: u32) -> bool {
    let took = story.line(|mark| matches!(mark, LogEvent::Received { .. }));
    let is_elsewhere = took.is_some_and(|took| took.pid != Some(pid));
    let thread = its_thread(story, Some(pid)).filter(|_| !is_elsewhere && !story.master_takes());
    let Some(thread) = thread else {
        return false;
    };
    let shape = &story.framework().stack;
    let is_in_a_call = |stack: Thread<'_>| stack.name() == thread && stack.call(shape).is_some();
    !story.stacks().of_event(n).any(is_in_a_call)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;
    use crate::timeline::Ended;

    /// An actor whose name is another than its function's, as its source says.
    #[test]
    fn a_function_is_whatever_task_its_source_makes_of_it() {
        use crate::timeline::{EventKind, Source, Stack};
        let frame = |function: &str, file: &str, task: Option<&str>| Frame {
            function: function.into(),
            file: file.into(),
            line: 1,
            task: task.map(str::to_owned),
        };
        let whose = |function: &str, task: Option<&str>| {
            let frames = vec![
                frame(function, "/app/tasks.py", task),
                frame("Actor.__call__", "/v/site-packages/dramatiq/actor.py", None),
                frame("WorkerThread.run", "/v/site-packages/dramatiq/worker.py", None),
            ];
            let threads = vec![Stack {
                thread: "Thread-4".into(),
                stable: true,
                frames,
            }];
            let scene = Scene::new()
                .given()
                .see(Source::Process, EventKind::Stacks { pid: 101, threads });
            let story = Story::new(&scene.timeline);
            let callers = Callers::of(&story);
            let dump = story.stacks().dumps().next().expect("a dump");
            dump.threads().find_map(|thread| callers.runs(thread))
        };
        assert_eq!(whose("act", None), Some(Runs::Ours));
        assert_eq!(whose("do_it", None), Some(Runs::Unknown));
        assert_eq!(whose("do_it", Some("act")), Some(Runs::Ours));
        assert_eq!(whose("act", Some("other")), Some(Runs::Unknown));
    }

    /// A quiet log: the thread that spoke of the task is done with it, and another one hangs in the same function.
    #[test]
    fn who_spoke_of_the_task_has_it() {
        const CALL: [(&str, &str); 2] = [
            ("Actor.__call__", "/v/site-packages/dramatiq/actor.py"),
            (
                "WorkerThread.process_message",
                "/v/site-packages/dramatiq/worker.py",
            ),
        ];
        let idle = [("WorkerThread.run", "/v/site-packages/dramatiq/worker.py")];
        let runs = [("act", "/app/tasks.py"), CALL[0], CALL[1]];
        let looked = |threads: &[(&str, &[(&str, &str)])]| {
            let scene = Scene::new()
                .given()
                .from_before(5)
                .info("app", "ACTOR ENTRY task_id=task_1")
                .from_now_on();
            scene.row("COMPLETED").stacks(101, threads).end(Ended::Looked)
        };
        let n = |scene: &Scene| {
            Story::new(&scene.timeline)
                .stacks()
                .dumps()
                .next()
                .map_or(0, |dump| dump.n)
        };
        let others = looked(&[("Thread-4", &idle), ("Thread-5", &runs)]);
        assert!(its_thread_is_in_no_call(
            &Story::new(&others.timeline),
            101,
            n(&others)
        ));
        assert!(others.cause().ends_with("succeeded"), "{}", others.cause());
        let its_own = looked(&[("Thread-4", &runs), ("Thread-5", &idle)]);
        assert!(!its_thread_is_in_no_call(
            &Story::new(&its_own.timeline),
            101,
            n(&its_own)
        ));
    }
}
