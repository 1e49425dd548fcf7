//! Python stacks of every thread of a process, through `py-spy`, without ever stopping it.
//!
//! Read from a running process a stack may be torn, so two dumps are taken 200 ms apart and a
//! thread counts as standing still only where both agree.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

use py_spy::config::LockingStrategy;
use py_spy::{PythonSpy, StackTrace};
use serde::{Deserialize, Serialize};

use crate::framework;
use crate::timeline::scrub::printable;
use crate::timeline::{EventKind, Frame, Process, Stack};
use crate::vantage::Tap;

use super::changed;
use super::view::View;

const APART: Duration = Duration::from_millis(200);

/// Why the stacks of a process cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The kernel does not permit it.
    Denied {
        /// Effective user and group of the process, and of whoever wants to read it.
        theirs: Option<(u32, u32)>,
        ours: Option<(u32, u32)>,
        /// It lets only ancestors look into a process.
        yama: bool,
    },
    Failed(String),
}

/// The stacks, or what would permit them to be read. Blocks for a good 200 ms.
pub fn dump(pid: i32) -> Result<Vec<Stack>, Refusal> {
    let config = py_spy::Config {
        blocking: LockingStrategy::NonBlocking,
        native: false,
        ..py_spy::Config::default()
    };
    let mut spy = PythonSpy::new(pid, &config).map_err(|error| refused(pid, &error.to_string()))?;
    let first = spy
        .get_stack_traces()
        .map_err(|error| refused(pid, &error.to_string()))?;
    std::thread::sleep(APART);
    let second = spy.get_stack_traces().unwrap_or_default();
    let mut threads: Vec<Stack> = first.iter().map(|trace| stack(trace, &second)).collect();
    name_tasks(pid, &mut threads);
    Ok(threads)
}

/// Files of the application that are looked through for what their functions are as tasks.
const MOST_FILES: usize = 8;

/// A task may be called otherwise than its function: its source says how.
fn name_tasks(pid: i32, threads: &mut [Stack]) {
    let started = crate::procfs::process::Process::new(pid)
        .and_then(|process| process.stat())
        .ok()
        .and_then(|stat| super::describe::started_at_ms(stat.starttime));
    let (Some(started), Some(view)) = (started, View::of(pid)) else {
        return;
    };
    let mut files: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let is_called = |frame: &Frame, below: &Frame| {
        let pair = |frame: &'_ Frame| (frame.file.clone(), frame.function.clone());
        let ((file, function), called) = (pair(below), pair(frame));
        let called = Some((called.0.as_str(), called.1.as_str()));
        framework::ALL
            .iter()
            .any(|framework| framework.stack.is_call((&file, &function), called))
    };
    for frames in threads.iter_mut().map(|thread| &mut thread.frames) {
        let Some(call) = frames.windows(2).position(|pair| is_called(&pair[0], &pair[1])) else {
            continue;
        };
        let is_own = |frame: &&mut Frame| {
            let file = &frame.file;
            framework::ALL
                .iter()
                .all(|framework| framework.stack.is_application(file))
        };
        for frame in frames[..=call].iter_mut().filter(is_own) {
            if !files.contains_key(&frame.file) {
                if files.len() == MOST_FILES {
                    continue;
                }
                let named = changed::named_in(Path::new(&frame.file), started, &view);
                files.insert(frame.file.clone(), named);
            }
            // Newer Pythons name a function by what it is defined in.
            let function = frame.function.rsplit('.').next().unwrap_or_default();
            let named = files.get(&frame.file).and_then(|named| named.get(function));
            frame.task = named.map(|name| printable(name));
        }
    }
}

/// The Python stacks of the first of these: the silence has to be somewhere. Tells of how many.
pub(super) async fn see(
    tap: &Tap,
    processes: impl Iterator<Item = &Process>,
    most: usize,
    deadline: Instant,
) -> usize {
    let python = |process: &&Process| {
        process
            .command
            .iter()
            .take(2)
            .any(|word| framework::is_python_program(word) || framework::is_worker_title(word))
    };
    let mut dumps = tokio::task::JoinSet::new();
    let mut unread = BTreeSet::new();
    for process in processes.filter(python).take(most) {
        let pid = process.pid;
        unread.insert(pid);
        dumps.spawn_blocking(move || (pid, dump(pid)));
    }
    let asked = dumps.len();
    let _ = tokio::time::timeout_at(deadline.into(), async {
        while let Some(Ok((pid, dump))) = dumps.join_next().await {
            unread.remove(&pid);
            tap.see(match dump {
                Ok(threads) => EventKind::Stacks { pid, threads },
                Err(refusal) => EventKind::StacksRefused {
                    pid,
                    reason: refusal.words(pid),
                },
            });
        }
    })
    .await;
    // A loaded machine is slow to let anybody look: then nothing was seen, and that is to be said.
    for pid in unread {
        tap.see(EventKind::StacksRefused {
            pid,
            reason: format!(
                "the Python stacks of pid {pid} were not read in time; run again, or look with `py-spy dump --pid {pid}`"
            ),
        });
    }
    asked
}

fn stack(trace: &StackTrace, again: &[StackTrace]) -> Stack {
    let frames = frames(trace);
    let stable = again
        .iter()
        .any(|other| other.thread_id == trace.thread_id && self::frames(other) == frames);
    Stack {
        thread: trace
            .thread_name
            .clone()
            .unwrap_or_else(|| format!("{:#x}", trace.thread_id)),
        stable,
        frames,
    }
}

fn frames(trace: &StackTrace) -> Vec<Frame> {
    trace
        .frames
        .iter()
        // py-spy has left the interpreter's own shims out; since Python 3.12 it marks the real frame above one.
        .map(|frame| Frame {
            function: frame.name.clone(),
            file: frame.filename.clone(),
            line: frame.line,
            task: None,
        })
        .collect()
}

fn refused(pid: i32, seen: &str) -> Refusal {
    let seen = seen.lines().next().unwrap_or_default();
    // The library's words for a refusal vary with where it met it: ask the kernel itself.
    let denied = |file: &str| {
        std::fs::File::open(format!("/proc/{pid}/{file}"))
            .is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied)
    };
    if denied("exe") || denied("mem") || seen.contains("not permitted") {
        return Refusal::Denied {
            theirs: owner(pid),
            ours: owner(std::process::id() as i32),
            yama: yama(),
        };
    }
    Refusal::Failed(seen.to_owned())
}

impl Refusal {
    /// Says which command or capability would permit it.
    fn words(&self, pid: i32) -> String {
        match self {
            Refusal::Denied { theirs, ours, yama } => {
                format!("pid {pid} may not be read; {}", remedy(*theirs, *ours, *yama))
            }
            Refusal::Failed(seen) => format!("the Python stacks of pid {pid} cannot be read: {seen}"),
        }
    }

    /// The same of a process in a place, which is called `7 in worker (exec)`.
    pub fn words_there(&self, pid: &str, part: &str) -> String {
        match self {
            Refusal::Denied { theirs, ours, yama } => {
                let remedy = remedy_there(*theirs, *ours, *yama, part);
                format!("pid {pid} may not be read; {remedy}")
            }
            Refusal::Failed(seen) => format!("the Python stacks of pid {pid} cannot be read: {seen}"),
        }
    }
}

/// Effective user and group of a process.
fn owner(pid: i32) -> Option<(u32, u32)> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let effective = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Some((effective("Uid:")?, effective("Gid:")?))
}

/// Whether the kernel lets only ancestors look into a process; many kernels do not have the switch.
fn yama() -> bool {
    std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope").is_ok_and(|scope| scope.trim() != "0")
}

/// The kernel compares user and group, and then the rights of both.
fn remedy(theirs: Option<(u32, u32)>, ours: Option<(u32, u32)>, yama: bool) -> String {
    match (theirs, ours) {
        (Some(theirs), Some(ours)) if theirs == ours && yama => {
            "kernel.yama.ptrace_scope forbids it: run `sudo sysctl kernel.yama.ptrace_scope=0`, or taskdiag as root".into()
        }
        (Some(theirs), Some(ours)) if theirs == ours => {
            "it has rights that taskdiag has not: run `sudo taskdiag`, or taskdiag with CAP_SYS_PTRACE (if taskdiag itself runs in a container: --cap-add SYS_PTRACE)".into()
        }
        (Some((uid, gid)), _) => format!(
            "it belongs to another user or group ({uid}:{gid}): run `sudo taskdiag`, or taskdiag as these or with CAP_SYS_PTRACE (if taskdiag itself runs in a container: --user {uid}:{gid} or --cap-add SYS_PTRACE)"
        ),
        (None, _) => "run `sudo taskdiag`, or taskdiag with CAP_SYS_PTRACE".into(),
    }
}

fn remedy_there(theirs: Option<(u32, u32)>, ours: Option<(u32, u32)>, yama: bool, part: &str) -> String {
    match (theirs, ours) {
        (Some(theirs), Some(ours)) if theirs == ours && yama => {
            "kernel.yama.ptrace_scope forbids it: run `sudo sysctl kernel.yama.ptrace_scope=0` on its machine, or give the container the capability SYS_PTRACE".into()
        }
        (Some((uid, gid)), ours) if Some((uid, gid)) != ours => format!(
            "it belongs to another user or group ({uid}:{gid}): let [{part}] exec enter as these (`docker exec --user {uid}:{gid}`)"
        ),
        _ => format!("it has rights that [{part}] exec has not: give the container the capability SYS_PTRACE"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Refused for real: pid 1 is root's, and this thread is not (any more).
    #[test]
    #[allow(unsafe_code)]
    fn a_refusal_says_what_would_permit_it() {
        let refused = std::thread::spawn(|| {
            // The bare system call changes this thread only.
            // SAFETY: no memory is involved.
            if unsafe { libc::geteuid() } == 0 {
                let nobody = 65_534;
                let done = unsafe { libc::syscall(libc::SYS_setresuid, nobody, nobody, nobody) };
                assert_eq!(done, 0, "this thread is somebody else");
            }
            dump(1)
        })
        .join()
        .unwrap();
        let refusal = refused.unwrap_err();
        let there = refusal.words_there("1 in worker (exec)", "worker");
        assert!(
            there.starts_with("pid 1 in worker (exec) may not be read; "),
            "{there}"
        );
        assert!(remedy_there(Some((5, 5)), Some((0, 0)), true, "worker").contains("--user 5:5"));
        let reason = refusal.words(1);
        assert!(reason.contains("pid 1"), "{reason}");
        assert!(reason.contains("CAP_SYS_PTRACE"), "{reason}");
    }

    #[test]
    fn a_group_of_its_own_is_another_owner() {
        let worker = Some((1000, 1000));
        assert!(remedy(worker, Some((1000, 0)), false).contains("--user 1000:1000"));
        assert!(remedy(worker, Some((1000, 0)), true).contains("--user 1000:1000"));
        assert!(remedy(worker, worker, true).contains("yama"));
        assert!(remedy(worker, worker, false).contains("--cap-add SYS_PTRACE"));
        assert_eq!(owner(1), Some((0, 0)));
    }
}
