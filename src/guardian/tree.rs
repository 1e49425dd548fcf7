//! The guardian's descendants: found, told to end, killed, until none is left.
//!
//! The guardian is their "subreaper" (prctl(2)): a descendant whose parent dies becomes its child
//! instead of init's, whatever session or process group it has moved to. So everything that was
//! started is below the guardian in the tree of processes, always, and nothing else is.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

/// What is below one process gets so long to end after being asked …
const POLITE: Duration = Duration::from_millis(3000);
/// … everything below it, asked once more, so long (a Dramatiq worker leaves its actor then) …
const INSISTING: Duration = Duration::from_millis(5000);
/// … and after SIGKILL so long; only the kernel can hold a process longer.
const GIVE_UP: Duration = Duration::from_secs(15);
const EVERY: Duration = Duration::from_millis(20);

/// A process as one look at /proc shows it. With its start a pid cannot mean another.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProcessStat {
    pub pid: i32,
    pub ppid: i32,
    pub group: i32,
    start: u64,
}

impl ProcessStat {
    /// What stays the same while its parent or its group changes.
    fn identity(self) -> (i32, u64) {
        (self.pid, self.start)
    }
}

fn look(pid: i32) -> Option<(ProcessStat, bool)> {
    let stat = crate::procfs::process::Process::new(pid)
        .and_then(|process| process.stat())
        .ok()?;
    let seen = ProcessStat {
        pid,
        ppid: stat.ppid,
        group: stat.pgrp,
        start: stat.starttime,
    };
    Some((seen, stat.state == 'Z'))
}

/// Everything below these processes, not they themselves; what has ended and was not waited for is
/// no process any more.
pub(super) fn below(roots: &HashSet<i32>) -> Vec<ProcessStat> {
    let mut children: HashMap<i32, Vec<(ProcessStat, bool)>> = HashMap::new();
    for process in crate::procfs::all_processes() {
        if let Some((seen, ended)) = look(process.pid) {
            children.entry(seen.ppid).or_default().push((seen, ended));
        }
    }
    let mut found = Vec::new();
    let mut known = roots.clone();
    let mut next: Vec<i32> = roots.iter().copied().collect();
    while let Some(pid) = next.pop() {
        for (seen, ended) in children.remove(&pid).into_iter().flatten() {
            if known.insert(seen.pid) {
                next.push(seen.pid);
                if !ended {
                    found.push(seen);
                }
            }
        }
    }
    found
}

/// Sends a signal to this very process: a file descriptor is taken first, and the process looked
/// at again, so that a pid that went to somebody else meanwhile is never signalled.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub(super) fn send(seen: ProcessStat, signal: Signal) {
    // SAFETY: plain system calls on integers; the descriptor is ours and closed here.
    unsafe {
        let descriptor = libc::syscall(libc::SYS_pidfd_open, seen.pid, 0) as libc::c_int;
        let same = look(seen.pid).is_some_and(|(now, _)| now.start == seen.start);
        if descriptor >= 0 {
            if same {
                let nothing = std::ptr::null::<libc::siginfo_t>();
                libc::syscall(
                    libc::SYS_pidfd_send_signal,
                    descriptor,
                    signal as libc::c_int,
                    nothing,
                    0,
                );
            }
            libc::close(descriptor);
        } else if same {
            // A kernel before 5.3.
            libc::kill(seen.pid, signal as libc::c_int);
        }
    }
}

/// Where processes are not seen, none is found to signal.
#[cfg(not(target_os = "linux"))]
pub(super) fn send(_: ProcessStat, _: Signal) {}

/// Ends everything below us (or only what is below and including one root): asks the topmost ones
/// first, since they know best how to end the rest, then asks all, then kills. `reap` is called
/// often and must wait for dead children. `at_once`: nobody is asked. Returns what is still there in
/// the end.
pub(super) async fn stop(root: Option<i32>, at_once: bool, mut reap: impl FnMut()) -> Vec<ProcessStat> {
    let me = std::process::id() as i32;
    let began = Instant::now();
    let mut members: HashSet<i32> = root.into_iter().collect();
    let mut asked: HashSet<(i32, u64)> = HashSet::new();
    let mut asked_again: HashSet<(i32, u64)> = HashSet::new();
    loop {
        reap();
        let all = below(&HashSet::from([me]));
        let left: Vec<ProcessStat> = match root {
            None => all,
            // An orphan of this tree has become our child: it is known from before.
            Some(_) => {
                let tree: HashSet<i32> = below(&members).iter().map(|seen| seen.pid).collect();
                members.retain(|pid| all.iter().any(|seen| seen.pid == *pid));
                members.extend(tree);
                all.into_iter()
                    .filter(|seen| members.contains(&seen.pid))
                    .collect()
            }
        };
        let elapsed = began.elapsed();
        if left.is_empty() || elapsed > INSISTING + GIVE_UP {
            return left;
        }
        for seen in &left {
            if at_once || elapsed > INSISTING {
                send(*seen, Signal::SIGKILL);
            } else if (seen.ppid == me && asked.insert(seen.identity()))
                || (elapsed > POLITE && asked_again.insert(seen.identity()))
            {
                send(*seen, Signal::SIGTERM);
                // A stopped process hears nothing.
                send(*seen, Signal::SIGCONT);
            }
        }
        tokio::time::sleep(EVERY).await;
    }
}

/// Ends a process group that is not below us: politely, then not. Its number stays taken as long as
/// anybody is in it.
pub(super) async fn stop_group(group: i32) {
    let began = Instant::now();
    let group = nix::unistd::Pid::from_raw(group);
    let mut signal = Signal::SIGTERM;
    while nix::sys::signal::killpg(group, signal).is_ok() {
        if began.elapsed() > INSISTING + GIVE_UP {
            return;
        }
        // Envelope once; from then on it is only looked at, until patience ends.
        let next = began + INSISTING;
        while Instant::now() < next && nix::sys::signal::killpg(group, None).is_ok() {
            tokio::time::sleep(EVERY).await;
        }
        signal = Signal::SIGKILL;
        tokio::time::sleep(EVERY).await;
    }
}
