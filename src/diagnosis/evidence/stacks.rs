//! Python stacks: where a thread stands, and whose code that is.

pub(in crate::diagnosis) use super::callers::its_thread;
use super::callers::{Callers, Runs};
pub(in crate::diagnosis) use super::callers::{one_may_run_it, runs_ours, the_one_at_work, the_only_call};
use super::{Fact, Raised, Story, connections, workers};
use crate::framework::{FrameMatch, StackShape};
use crate::timeline::{EventKind, Frame, Stack, Timeline};

/// All stacks that were read.
#[derive(Clone, Copy)]
pub(in crate::diagnosis) struct Stacks<'a> {
    timeline: &'a Timeline,
}

/// The threads of one process at one moment.
#[derive(Clone, Copy)]
pub(in crate::diagnosis) struct Dump<'a> {
    pub n: u32,
    pub at_ms: f64,
    pub pid: i32,
    threads: &'a [Stack],
}

/// One thread of a dump.
#[derive(Clone, Copy)]
pub(in crate::diagnosis) struct Thread<'a> {
    /// The event that shows it.
    pub n: u32,
    pub at_ms: f64,
    stack: &'a Stack,
}

impl<'a> Story<'a> {
    pub(in crate::diagnosis) fn stacks(&self) -> Stacks<'a> {
        Stacks {
            timeline: self.timeline,
        }
    }
}

impl<'a> Stacks<'a> {
    /// In the order in which they were read.
    pub fn dumps(self) -> impl DoubleEndedIterator<Item = Dump<'a>> {
        self.timeline.events.iter().filter_map(|event| match &event.kind {
            EventKind::Stacks { pid, threads } => Some(Dump {
                n: event.n,
                at_ms: event.at_ms,
                pid: *pid,
                threads,
            }),
            _ => None,
        })
    }

    /// Threads of this process (or of all), those of its last dump first.
    pub fn threads(self, pid: Option<i32>) -> impl Iterator<Item = Thread<'a>> {
        self.dumps()
            .rev()
            .filter(move |dump| pid.is_none_or(|pid| pid == dump.pid))
            .flat_map(Dump::threads)
    }

    /// A thread of this process (or of any) with such a frame.
    pub fn find(self, pid: Option<i32>, pattern: FrameMatch) -> Option<Thread<'a>> {
        self.threads(pid).find(|thread| thread.has(pattern))
    }

    /// The threads that this event shows.
    pub fn of_event(self, n: u32) -> impl Iterator<Item = Thread<'a>> {
        self.dumps()
            .filter(move |dump| dump.n == n)
            .flat_map(Dump::threads)
    }
}

impl<'a> Dump<'a> {
    pub fn threads(self) -> impl Iterator<Item = Thread<'a>> {
        let Self { n, at_ms, .. } = self;
        self.threads.iter().map(move |stack| Thread { n, at_ms, stack })
    }
}

impl<'a> Thread<'a> {
    /// Its stack shows this.
    fn shows<T>(self, value: T) -> Fact<T> {
        Fact::new(self.n, self.at_ms, value)
    }

    pub fn name(self) -> &'a str {
        &self.stack.thread
    }

    /// It stood in the same place a moment later.
    pub fn is_still(self) -> bool {
        self.stack.stable
    }

    /// Innermost first.
    pub fn frames(self) -> &'a [Frame] {
        &self.stack.frames
    }

    pub fn has(self, pattern: FrameMatch) -> bool {
        self.position(pattern).is_some()
    }

    /// A function with this word in its name is on the stack.
    pub fn is_in(self, word: &str) -> bool {
        self.frames().iter().any(|frame| frame.function.contains(word))
    }

    /// It waits for what a coroutine gives: the loop's own thread stands in the same file.
    pub fn waits_for_a_coroutine(self, shape: &StackShape) -> bool {
        self.has(shape.async_bridge) && !self.is_in("run_forever")
    }

    /// It stands still in the application's code, below the framework's call of a task.
    pub fn is_in_a_task(self, shape: &StackShape) -> bool {
        let own = |at: usize| {
            let mut below = self.frames()[..at].iter();
            below.any(|frame| shape.is_application(&frame.file))
        };
        self.is_still() && self.call(shape).is_some_and(own)
    }

    /// How many frames stand above the one that calls the task: the outermost, as a task may call another one itself.
    pub fn call(self, shape: &StackShape) -> Option<usize> {
        let of = |frame: &'a Frame| (frame.file.as_str(), frame.function.as_str());
        let frames = self.frames();
        (0..frames.len()).rev().find(|at| {
            let called = at.checked_sub(1).map(|above| of(&frames[above]));
            shape.is_call(of(&frames[*at]), called)
        })
    }

    /// How many frames stand above the innermost one that fits.
    pub fn position(self, pattern: FrameMatch) -> Option<usize> {
        self.frames()
            .iter()
            .position(|frame| pattern.fits(&frame.file, &frame.function))
    }
}

/// A thread of one of these processes that is in the framework's test broker.
pub(in crate::diagnosis) fn in_the_stub<'a>(story: &Story<'a>, pids: &[i32]) -> Option<Thread<'a>> {
    let pattern = story.framework().stack.test_broker;
    story
        .stacks()
        .dumps()
        .filter(|dump| pids.contains(&dump.pid))
        .find_map(|dump| dump.threads().find(|thread| thread.has(pattern)))
}

/// Where in the application's own code it was raised.
pub(in crate::diagnosis) fn own_place(raised: &Raised) -> String {
    raised
        .trace
        .as_ref()
        .and_then(|trace| {
            let own = trace.own_frames();
            // A library may have been called from there, or a signal's handler.
            let application = own.iter().rfind(|frame| trace.is_application(frame));
            application.or(own.last())
        })
        .map(|frame| format!(" at {}:{} in {}", frame.file, frame.line, frame.function))
        .unwrap_or_default()
}

/// The innermost frame of the application's own code on the stack of a worker thread that may run the task: first
/// where that is sure.
pub(in crate::diagnosis) fn own_frame(story: &Story<'_>, pid: Option<i32>) -> Option<Fact<String>> {
    let shape = &story.framework().stack;
    let callers = Callers::of(story);
    let most = match story.acknowledges_after_the_run() {
        true => Runs::Unknown,
        false => Runs::Ours,
    };
    let may_be_ours = |thread: Thread<'_>| {
        let whose = callers.runs(thread).filter(|whose| *whose <= most)?;
        Some((whose, innermost_own(story, thread)?))
    };
    family(story, pid)
        .filter(|thread| thread.is_still() && thread.has(shape.worker_loop))
        .filter_map(may_be_ours)
        .min_by_key(|(whose, _)| *whose)
        .map(|(_, frame)| frame)
}

/// By a look after that moment a thread stands in the function of the task's actor.
pub(in crate::diagnosis) fn is_in_its_function(story: &Story<'_>, since: f64) -> bool {
    let callers = Callers::of(story);
    let mut threads = family(story, None).filter(|thread| thread.at_ms > since);
    threads.any(|thread| callers.runs(thread) == Some(Runs::Ours))
}

/// The dump that shows this process at work on the task: a thread in its function, or the only one in any.
pub(in crate::diagnosis) fn at_work(story: &Story<'_>, pid: i32) -> Option<u32> {
    let Fact { n, value: place, .. } = own_frame(story, Some(pid))?;
    if super::callers::its_thread_is_in_no_call(story, pid, n) {
        return None;
    }
    let callers = Callers::of(story);
    let mut calls = story
        .stacks()
        .of_event(n)
        .filter_map(|thread| callers.runs(thread));
    let is_ours = story.stacks().of_event(n).any(|thread| {
        callers.runs(thread) == Some(Runs::Ours) && thread.frames().iter().any(|frame| frame.place() == place)
    });
    (is_ours || (calls.next().is_some() && calls.next().is_none())).then_some(n)
}

/// A worker thread stands in the application's code, whosever task it is.
pub(in crate::diagnosis) fn any_own_frame(story: &Story<'_>) -> bool {
    let shape = &story.framework().stack;
    family(story, None).any(|thread| {
        thread.is_still() && thread.has(shape.worker_loop) && innermost_own(story, thread).is_some()
    })
}

/// The threads of these processes, as they were seen last, run other tasks or none: the dump that shows it.
/// `None`: one may run this task, or they were not seen since.
pub(in crate::diagnosis) fn none_runs_ours(story: &Story<'_>, pids: &[i32], since: f64) -> Option<u32> {
    let callers = Callers::of(story);
    let mut shown = None;
    for pid in pids {
        let last = story.stacks().dumps().rev().find(|dump| dump.pid == *pid)?;
        let threads: Vec<Thread<'_>> = last.threads().filter(|_| last.at_ms > since).collect();
        if threads.is_empty() {
            return None;
        }
        // A master has no thread that runs anything.
        let works = threads.iter().find(|thread| thread.has(callers.shape.worker));
        shown = works.map(|thread| thread.n).or(shown);
        let may_run =
            |thread: &Thread<'_>| callers.runs(*thread).is_some_and(|whose| whose != Runs::Anothers);
        if threads.iter().any(may_run) {
            return None;
        }
    }
    shown
}

/// The one loop of the process waits in its selector: all that was handed to it has been begun.
pub(in crate::diagnosis) fn idle_loop(story: &Story<'_>, pid: Option<i32>) -> Option<u32> {
    let mut dumps = story.stacks().dumps().rev();
    let dump = dumps.find(|dump| Some(dump.pid) == pid)?;
    let mut loops = dump.threads().filter(|thread| thread.is_in("run_forever"));
    let one = loops.next().filter(|_| loops.next().is_none())?;
    let innermost = one.frames().first()?.function.rsplit('.').next();
    (one.is_still() && matches!(innermost, Some("select" | "poll"))).then_some(dump.n)
}

/// The innermost own frame of a worker thread that stands in a hook of this name.
pub(in crate::diagnosis) fn named_hook_frame(
    story: &Story<'_>,
    pid: Option<i32>,
    hook: &str,
) -> Option<Fact<String>> {
    let shape = &story.framework().stack;
    family(story, pid)
        .filter(|thread| thread.is_still() && thread.has(shape.worker_loop) && thread.is_in(hook))
        .filter(|thread| may_run_ours(story, *thread))
        .find_map(|thread| innermost_own(story, thread))
}

/// The same for a worker thread that stands in a hook before the call, where hooks have any name.
pub(in crate::diagnosis) fn hook_frame(story: &Story<'_>, pid: Option<i32>) -> Option<Fact<String>> {
    let shape = &story.framework().stack;
    let in_a_hook = |thread: &Thread<'_>| {
        thread.is_still()
            && thread.has(shape.worker_loop)
            && thread.has(shape.before_call)
            && thread.call(shape).is_none()
    };
    family(story, pid)
        .filter(in_a_hook)
        .find_map(|thread| innermost_own(story, thread))
}

/// A process; where a master takes messages and children run them, its children, too.
pub(in crate::diagnosis) fn pids_of(story: &Story<'_>, pid: i32) -> Vec<i32> {
    let children = story
        .all_processes()
        .filter(|process| process.ppid == pid && story.master_takes())
        .map(|process| process.pid);
    std::iter::once(pid).chain(children).collect()
}

/// Their threads. Where the process is not known it is one of the watched worker's, if any of these is seen: another
/// system of this machine may run the same code.
pub(super) fn family<'a>(story: &Story<'a>, pid: Option<i32>) -> impl Iterator<Item = Thread<'a>> {
    let pids = match pid {
        Some(pid) => Some(pids_of(story, pid)),
        None => {
            let live = workers::live_workers(story).into_iter();
            let pids: Vec<i32> = live.flat_map(|worker| pids_of(story, worker.pid)).collect();
            (story.post_mortem() && !pids.is_empty()).then_some(pids)
        }
    };
    let is_its = move |dump: &Dump<'_>| match &pids {
        Some(pids) => pids.contains(&dump.pid),
        None => !connections::serves_another_vhost(story, dump.pid),
    };
    let dumps = story.stacks().dumps().rev().filter(is_its);
    dumps.flat_map(Dump::threads)
}

/// The innermost frame of the application's own code.
pub(in crate::diagnosis) fn innermost_own(story: &Story<'_>, thread: Thread<'_>) -> Option<Fact<String>> {
    let shape = &story.framework().stack;
    let mut frames = thread.frames().iter();
    let own = frames.find(|frame| shape.is_application(&frame.file))?;
    Some(thread.shows(own.place()))
}

/// Where children of one worker run several messages, the function below the call says whose it may be.
pub(in crate::diagnosis) fn may_run_ours(story: &Story<'_>, thread: Thread<'_>) -> bool {
    story.acknowledges_after_the_run() || runs_ours(story, thread)
}

/// The threads of the process as they were seen last.
pub(in crate::diagnosis) fn last_dump<'a>(story: &Story<'a>, pid: i32) -> impl Iterator<Item = Thread<'a>> {
    let last = story.stacks().dumps().rev().find(|dump| dump.pid == pid);
    last.into_iter().flat_map(Dump::threads)
}

/// The worker thread stands in what the framework calls after the task's function.
pub(in crate::diagnosis) fn is_after_call(shape: &StackShape, thread: Thread<'_>) -> bool {
    thread.is_still()
        && thread.has(shape.worker_loop)
        && thread.has(shape.after_call)
        && thread.call(shape).is_none()
}

/// Where a thread stands, in words: in the application's own code, or else in what was installed.
pub(in crate::diagnosis) fn place(shape: &StackShape, thread: Thread<'_>) -> String {
    let frames = thread.frames();
    let own = frames.iter().find(|frame| shape.is_application(&frame.file));
    let installed = || {
        let mut frames = frames.iter();
        frames.find(|frame| frame.file.contains("/site-packages/"))
    };
    let frame = own.or_else(installed).or(frames.first());
    frame.map_or_else(String::new, |frame| frame.place())
}

/// Where the main thread of a booting worker stands still: an import, or a full log pipe.
pub(in crate::diagnosis) fn boot_frame(story: &Story<'_>, pid: i32) -> Option<Fact<String>> {
    let imports = |thread: &Thread<'_>| {
        let mut frames = thread.frames().iter();
        frames.any(|frame| frame.function == "_find_and_load" || frame.function == "import_module")
    };
    story
        .stacks()
        .dumps()
        .rev()
        .filter(|dump| dump.pid == pid)
        .find_map(|dump| {
            let thread = dump.threads().filter(|thread| thread.is_still()).find(imports)?;
            let mut frames = thread.frames().iter();
            let own = frames.find(|frame| !is_library(&frame.file))?;
            Some(thread.shows(own.place()))
        })
}

/// Python's own, the framework's, or what is installed beside it.
pub(in crate::diagnosis) fn is_library(file: &str) -> bool {
    const FOLDERS: [&str; 3] = ["/lib/python", "/site-packages/", "/dist-packages/"];
    file.starts_with('<') || FOLDERS.iter().any(|folder| file.contains(folder))
}

/// The thread of this dump that stands in this frame.
pub(in crate::diagnosis) fn thread_of(story: &Story<'_>, n: u32, place: &str) -> Option<String> {
    story
        .stacks()
        .of_event(n)
        .find(|thread| thread.is_still() && thread.frames().iter().any(|frame| frame.place() == place))
        .map(|thread| thread.name().to_owned())
}

/// The event loop thread sits in something that is not the loop's own waiting.
pub(in crate::diagnosis) fn blocked_loop(story: &Story<'_>, pid: Option<i32>) -> Option<Fact<String>> {
    let waits = |thread: &Thread<'_>| {
        let innermost = thread.frames().first();
        innermost.is_some_and(|frame| frame.file.ends_with("selectors.py"))
    };
    story
        .stacks()
        .threads(pid)
        .filter(|thread| thread.is_still() && (thread.is_in("run_forever") || thread.is_in("_run_once")))
        .filter(|thread| !waits(thread))
        .find_map(|thread| {
            let frames = thread.frames();
            let outside = frames.iter().find(|frame| !frame.file.contains("/lib/python"));
            Some(thread.shows(outside.or(frames.first())?.place()))
        })
}
