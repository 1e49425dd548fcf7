//! Processes of a worker that have no thread free: what they hold besides waits inside them.

use super::callers::{Callers, Runs};
use super::stacks::{self, Thread};
use super::{Story, workers};
use crate::diagnosis::premises::EventId;
use crate::framework::LogEvent;

/// A process that runs as many tasks as it can.
pub(in crate::diagnosis) struct Busy {
    /// Its stacks, and what says how many it runs at once.
    pub evidence: Vec<EventId>,
    pub running: usize,
    /// Where one of its threads stands.
    pub place: String,
    /// The most that any of its threads can have to do with the task.
    whose: Runs,
}

impl Busy {
    /// Each thread is in the function of an actor that is known to be another's.
    pub fn runs_others(&self) -> bool {
        self.whose == Runs::Anothers
    }

    /// A thread is in the function of the task's own actor: with another of its messages, perhaps.
    pub fn may_run_ours(&self) -> bool {
        self.whose == Runs::Ours
    }
}

/// Every worker thread of the process (of its children, where these run the tasks) was seen at work after this
/// moment, and stood still.
pub(in crate::diagnosis) fn busy(story: &Story<'_>, pid: i32, since: f64) -> Option<Busy> {
    let callers = Callers::of(story);
    let (told, slots) = slots(story, Some(pid))?;
    let dumps = stacks::pids_of(story, pid).into_iter().filter_map(|pid| {
        let mut dumps = story.stacks().dumps().rev();
        dumps.find(|dump| dump.pid == pid && dump.at_ms > since)
    });
    let at_work: Vec<Thread<'_>> = dumps
        .flat_map(|dump| dump.threads())
        .filter(|thread| thread.is_still() && thread.has(callers.shape.worker_loop))
        .collect();
    if slots == 0 || at_work.len() < slots {
        return None;
    }
    let whose = at_work
        .iter()
        .map(|thread| callers.runs(*thread).unwrap_or(Runs::Unknown))
        .min()?;
    let mut evidence: Vec<EventId> = at_work.iter().map(|thread| thread.n).collect();
    evidence.dedup();
    evidence.extend(told);
    Some(Busy {
        evidence,
        running: at_work.len(),
        place: stacks::place(callers.shape, at_work[0]),
        whose,
    })
}

impl Story<'_> {
    /// Where threads that have a message in their hands stand still, each place once.
    pub fn places_of_work(&self) -> Vec<String> {
        let shape = &self.framework().stack;
        let threads = self.stacks().dumps().flat_map(|dump| dump.threads());
        let mut places: Vec<String> = threads
            .filter(|thread| thread.is_still() && thread.has(shape.worker_loop))
            .map(|thread| stacks::place(shape, thread))
            .collect();
        places.sort();
        places.dedup();
        places
    }
}

/// How many tasks it runs at once: by its log, its children or its command line.
pub(in crate::diagnosis) fn slots(story: &Story<'_>, pid: Option<i32>) -> Option<(Option<EventId>, usize)> {
    let mut lines = story.worker_lines().iter().rev();
    let told = lines.find_map(|told| match told.mark {
        Some(LogEvent::Concurrency { slots }) => Some((Some(told.n), *slots)),
        _ => None,
    });
    told.or_else(|| {
        let pid = pid?;
        match story.master_takes() {
            true => Some((None, stacks::pids_of(story, pid).len() - 1)),
            false => workers::threads_of(story, pid).map(|threads| (Some(threads.n), threads.value)),
        }
    })
}
