//! Which processes a pid in a log may mean: each knows itself by the pid of its own namespace.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::procfs::process::Process as Proc;

use super::container;
use crate::framework;

/// More than this is no worker's replicas any more.
const MOST: usize = 16;
/// A pid that means nobody yet is not asked for again sooner.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// What was found for the pids of the log.
#[derive(Default)]
pub(super) struct Logged(HashMap<i32, (Vec<i32>, Instant)>);

impl Logged {
    /// The processes that may have written this pid, if they were not told before.
    pub fn new_for(&mut self, pid: i32, lives: impl Fn(i32) -> bool) -> Vec<i32> {
        if let Some((found, at)) = self.0.get(&pid)
            && (at.elapsed() < AGAIN_AFTER || (!found.is_empty() && found.iter().all(|&pid| lives(pid))))
        {
            return Vec::new();
        }
        let found = called(pid);
        self.0.insert(pid, (found.clone(), Instant::now()));
        found
    }
}

/// The worker processes that know themselves by this pid. The log may be a container's, in which 1 and 7
/// are everybody's; it may be this machine's, where it is one process or none.
fn called(pid: i32) -> Vec<i32> {
    if is_python(pid) && container::nspids(pid) == [pid] && container::id(pid).is_none() && is_worker(pid) {
        return vec![pid];
    }
    let processes = crate::procfs::all_processes();
    let mut namesakes: Vec<i32> = processes
        .map(|process| process.pid)
        .filter(|&other| container::nspids(other).last() == Some(&pid) && is_python(other))
        .collect();
    if namesakes.iter().any(|&pid| is_worker(pid)) {
        namesakes.retain(|&pid| is_worker(pid));
    }
    namesakes.truncate(MOST);
    namesakes
}

/// A kernel thread, `init` or a shell that has the pid by chance writes no worker's log.
fn is_python(pid: i32) -> bool {
    words(pid)
        .iter()
        .any(|word| word.contains("python") || framework::is_worker_program(word))
        || is_worker(pid)
}

pub(super) fn is_worker(pid: i32) -> bool {
    let parent = Proc::new(pid)
        .and_then(|process| process.stat())
        .map(|stat| stat.ppid);
    let named = |pid: i32| words(pid).iter().any(|word| framework::is_worker_named_in(word));
    named(pid) || parent.is_ok_and(named)
}

fn words(pid: i32) -> Vec<String> {
    Proc::new(pid)
        .and_then(|process| process.cmdline())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_that_is_no_worker_means_nobody() {
        // Higher than any system's, in any namespace.
        assert!(Logged::default().new_for(i32::MAX, |_| true).is_empty());
    }
}
