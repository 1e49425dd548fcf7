//! Processes of a place that this machine sees, too, as those of a container on it: each is told once.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::procfs::process::Process as Proc;

use super::command::masked;
use super::container;
use super::describe::started_at_ms;
use crate::timeline::Process;

/// Who tells of which process, this machine or the place that it is in.
#[derive(Clone, Default)]
pub struct Twins(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    /// Told by this machine's pid.
    here: HashSet<i32>,
    /// Told by the place, though it has this pid here.
    there: HashSet<i32>,
    /// What was found for a place's process, by what it is called there and when it began.
    found: HashMap<(i32, Option<i64>), Option<i32>>,
}

impl Twins {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its pid on this machine, if it is to be told by that: all can be seen of it here, or it was told so before.
    pub fn told_here(&self, process: &Process) -> Option<i32> {
        let mut known = self.lock();
        let key = (process.own_pid()?, process.started_at_ms);
        let pid = (*known.found.entry(key).or_insert_with(|| twin(process)))?;
        if known.here.contains(&pid) || (!known.there.contains(&pid) && is_open(pid)) {
            known.here.insert(pid);
            return Some(pid);
        }
        known.there.insert(pid);
        None
    }

    /// This machine tells of it, unless a place does.
    pub fn tell_here(&self, pid: i32) -> bool {
        let mut known = self.lock();
        if known.there.contains(&pid) {
            return false;
        }
        known.here.insert(pid);
        true
    }
}

/// A process of this kernel that began in the same hundredth of a second, with the same command and the same pid of
/// its own, is the same.
fn twin(process: &Process) -> Option<i32> {
    let own = process.own_pid()?;
    let began = process.started_at_ms?;
    let all = crate::procfs::all_processes();
    let mut same = all.filter(|other| {
        container::nspids(other.pid).last() == Some(&own)
            && other
                .stat()
                .is_ok_and(|stat| started_at_ms(stat.starttime) == Some(began))
            && other
                .cmdline()
                .is_ok_and(|command| masked(command) == process.command)
    });
    same.next().map(|other| other.pid)
}

/// Its sockets and its environment may be read here.
fn is_open(pid: i32) -> bool {
    Proc::new(pid).is_ok_and(|process| process.fd().is_ok() && process.environ().is_ok())
}
