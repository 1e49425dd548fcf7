//! A process as the timeline keeps it, and what can be asked of one.

use std::collections::BTreeMap;

use crate::procfs::process::Process as Proc;

use super::command::masked;
use super::container;
use super::mask::is_harmless;
use super::sockets::own_sockets;
use super::tables::Tables;
use crate::framework;
use crate::timeline::Process;

/// Environment variables whose values are harmless and tell something; of all others only the
/// name is kept.
const HARMLESS: &[&str] = &[
    "UNIT_TESTS",
    "UNIT_TESTING",
    "TESTING",
    "ENV",
    "ENVIRONMENT",
    "APP_ENV",
    "PYTEST_CURRENT_TEST",
    "VIRTUAL_ENV",
    "PYTHONUNBUFFERED",
    "TZ",
    "LANG",
];

/// Its value is told, if it is harmless.
pub fn is_told(name: &str) -> bool {
    let of_frameworks = framework::ALL.iter().map(|framework| &framework.worker);
    HARMLESS.contains(&name)
        || of_frameworks
            .flat_map(|worker| worker.test_switches.iter().chain(worker.tuning_variables))
            .any(|told| *told == name)
}

/// What may turn a broker into a stub, if the code looks at it.
fn is_switch(name: &str) -> bool {
    let by_name = ["TEST", "ENV"].iter().any(|part| name.contains(part));
    by_name && !matches!(name, "VIRTUAL_ENV" | "PYTEST_CURRENT_TEST")
}

/// `None`: it is gone.
pub fn state_of(pid: i32) -> Option<char> {
    Some(Proc::new(pid).ok()?.stat().ok()?.state)
}

/// Whether a process is this one or below it.
pub fn descends_from(mut pid: i32, ancestor: i32) -> bool {
    // A chain of parents is short; one that is read while it changes must not be followed for ever.
    for _ in 0..64 {
        if pid == ancestor {
            return true;
        }
        match Proc::new(pid).and_then(|process| process.stat()) {
            Ok(stat) if stat.ppid > 1 => pid = stat.ppid,
            _ => return false,
        }
    }
    false
}

/// Unix milliseconds of a process's start, from clock ticks since boot.
pub(super) fn started_at_ms(ticks: u64) -> Option<i64> {
    let boot = i64::try_from(crate::procfs::boot_time_secs().ok()?).ok()?;
    let per_second = crate::procfs::ticks_per_second();
    Some(boot * 1000 + i64::try_from(ticks * 1000 / per_second).ok()?)
}

/// A process as the timeline keeps it.
pub fn read(pid: i32) -> Option<Process> {
    read_with(pid, &Tables::default())
}

pub(super) fn read_with(pid: i32, tables: &Tables) -> Option<Process> {
    let process = Proc::new(pid).ok()?;
    let stat = process.stat().ok()?;
    let environ = process.environ().unwrap_or_default();
    let mut env_names: Vec<String> = environ
        .keys()
        .filter_map(|name| name.to_str().map(str::to_owned))
        .collect();
    env_names.sort();
    let of_frameworks = framework::ALL.iter().flat_map(|framework| {
        let worker = &framework.worker;
        worker.test_switches.iter().chain(worker.tuning_variables)
    });
    let mut env: BTreeMap<String, String> = HARMLESS
        .iter()
        .chain(of_frameworks)
        .filter_map(|name| {
            let value = environ.get(std::ffi::OsStr::new(name))?;
            let value = value.to_string_lossy();
            // Whoever puts a token there has set it all the same.
            let shown = if is_harmless(&value) { &value } else { "***" };
            Some(((*name).to_owned(), shown.to_owned()))
        })
        .collect();
    let test_urls = environ.iter().filter_map(|(name, value)| {
        let (name, value) = (name.to_str()?, value.to_str()?);
        framework::is_test_url(value).then(|| (name.to_owned(), value.to_owned()))
    });
    env.extend(test_urls);
    let set: Vec<&str> = env
        .keys()
        .map(String::as_str)
        .filter(|name| is_switch(name))
        .collect();
    let reads = match set.as_slice() {
        [] => Vec::new(),
        set => {
            let python_path = environ.get(std::ffi::OsStr::new("PYTHONPATH"));
            super::reads::read_by(
                pid,
                &process.cmdline().unwrap_or_default(),
                set,
                python_path.map(std::ffi::OsString::as_os_str),
            )
        }
    };
    Some(Process {
        pid,
        ppid: stat.ppid,
        state: stat.state,
        command: masked(process.cmdline().unwrap_or_default()),
        parent_command: Proc::new(stat.ppid)
            .and_then(|parent| parent.cmdline())
            .map(masked)
            .ok(),
        cwd: process.cwd().ok().map(|path| path.display().to_string()),
        user: process.uid().ok().map(|uid| uid.to_string()),
        started_at_ms: started_at_ms(stat.starttime),
        env_names,
        env,
        reads,
        sockets_seen: process.fd().is_ok(),
        sockets: own_sockets(&process, tables),
        holds_log: false,
        at: None,
        is_configured: false,
        pipe_write: pipe_write(&process),
        nspids: container::nspids(pid),
        container: container::id(pid),
        frozen: container::is_frozen(pid),
    })
}

/// Threads that the kernel shows waiting in a pipe's write (named `anon_pipe_write` since 6.12).
fn pipe_write(process: &Proc) -> Option<u32> {
    let mut count = 0;
    for task in process.tasks().ok()?.flatten() {
        let wchan = std::fs::read_to_string(format!("/proc/{}/task/{}/wchan", process.pid, task.tid)).ok()?;
        if wchan.contains("pipe_write") {
            count += 1;
        }
    }
    Some(count)
}
