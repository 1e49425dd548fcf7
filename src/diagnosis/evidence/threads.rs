//! Worker threads: which are left in a process, which are free, and which died.

use super::stacks::{self, Thread};
use super::{Story, WorkerLine};

/// A thread that may take messages is left in this process, or it cannot be told: `None`. Otherwise
/// the dump that shows that none is, though the threads that fetch messages are there.
pub(in crate::diagnosis) fn all_dead(story: &Story<'_>, pid: i32) -> Option<Vec<u32>> {
    let shape = &story.framework().stack;
    let consumer = shape.consumer?;
    let threads: Vec<Thread<'_>> = stacks::last_dump(story, pid)
        .filter(|thread| thread.has(shape.worker))
        .collect();
    // Greenlets share one thread, and only the one that runs is on its stack.
    let fetches = |thread: &&Thread<'_>| thread.has(consumer) && !thread.has(shape.worker_loop);
    let fetching = threads.iter().filter(fetches).count();
    (fetching >= 2 && fetching == threads.len()).then(|| vec![threads[0].n])
}

/// A child of this master stood in no task after that moment, and was seen to wait for one.
pub(in crate::diagnosis) fn free_child(story: &Story<'_>, master: i32, since: f64) -> Option<u32> {
    let shape = &story.framework().stack;
    let children = story
        .all_processes()
        .filter(|process| process.ppid == master && story.master_takes());
    children.map(|process| process.pid).find_map(|pid| {
        let mut dumps = story.stacks().dumps().rev();
        let dump = dumps.find(|dump| dump.pid == pid && dump.at_ms > since)?;
        let is_idle =
            |thread: Thread<'_>| thread.is_still() && thread.is_in("workloop") && thread.has(shape.worker);
        let at_work = dump.threads().any(|thread| thread.has(shape.worker_loop));
        let waits = dump.threads().find(|thread| is_idle(*thread))?;
        (!at_work).then_some(waits.n)
    })
}

/// A worker thread of this process was seen to wait for a message after that moment: what lay before it was taken.
pub(in crate::diagnosis) fn free_thread(story: &Story<'_>, pid: i32, since: f64) -> Option<u32> {
    let shape = &story.framework().stack;
    let consumer = shape.consumer.filter(|_| !story.master_takes())?;
    let mut dumps = story.stacks().dumps().rev();
    let dump = dumps.find(|dump| dump.pid == pid && dump.at_ms > since)?;
    let waits = |thread: &Thread<'_>| {
        thread.is_still()
            && thread.has(shape.worker)
            && thread
                .frames()
                .iter()
                .any(|frame| frame.file.ends_with("/queue.py"))
            && !thread.has(shape.worker_loop)
            && !thread.has(consumer)
    };
    dump.threads().find(waits).map(|thread| thread.n)
}

/// Lines by which Python says that a worker thread ended with an exception: the thread's name, and the
/// line. The exception of a thread of another kind is not of interest, nor that of another process.
pub(in crate::diagnosis) fn deaths<'a>(story: &Story<'a>, pid: i32) -> Vec<(&'a str, WorkerLine<'a>)> {
    let shape = &story.framework().stack;
    let lines = story.worker_lines().iter();
    lines
        .filter(|told| told.line.pid.is_none() || told.pid == Some(pid))
        .filter_map(|told| {
            let rest = told.line.text.split_once("Exception in thread ")?.1;
            let name = rest.split([':', ' ']).next()?;
            let traceback = told.line.traceback.as_deref()?;
            let of_worker = traceback.lines().any(|line| {
                let mut quoted = line.split('"');
                let file = quoted.nth(1).unwrap_or_default();
                let function = line.rsplit(" in ").next().unwrap_or_default();
                shape.worker_loop.fits(file, function)
            });
            of_worker.then_some((name, *told))
        })
        .collect()
}
