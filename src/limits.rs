//! Limits of our own: what fails for want of descriptors, threads or memory here is no fact about the other side.

use std::fs::File;
use std::io;
use std::sync::mpsc;

use crate::error::{Error, Result, Unavailable};

/// Files and connections that a run has open at once, with room to spare.
const FILES: u64 = 64;
/// One look at a process, or one connection, has so many open at once.
const AT_ONCE: usize = 8;
/// The runtime's own, and those that wait for whatever blocks.
pub const THREADS: usize = 8;

/// What this machine, or this process, has no more of.
fn exhausted(error: &io::Error) -> Option<&'static str> {
    match error.raw_os_error()? {
        libc::EMFILE => Some("taskdiag itself may open no more files (ulimit -n)"),
        libc::ENFILE => Some("this machine opens no more files (sysctl fs.file-max)"),
        libc::ENOMEM | libc::ENOBUFS => Some("this machine gives taskdiag no more memory"),
        _ => None,
    }
}

/// What there is no more of now: an error that was seen just before came from that.
pub fn reached() -> Option<&'static str> {
    let mut held = Vec::with_capacity(AT_ONCE);
    for _ in 0..AT_ONCE {
        match File::open("/") {
            Ok(file) => held.push(file),
            Err(error) => return exhausted(&error),
        }
    }
    None
}

/// Whether an error, or one that it came from, is about a limit of ours.
pub fn behind(error: &(dyn std::error::Error + 'static)) -> Option<&'static str> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(seen) = error.downcast_ref().and_then(exhausted) {
            return Some(seen);
        }
        next = error.source();
    }
    // Not everybody keeps the number: a resolver says that a name is not known.
    reached()
}

/// Why a source cannot see, with our own part in it first.
pub fn explained(blindness: Unavailable) -> Unavailable {
    match reached() {
        Some(seen) if !blindness.reason.starts_with(seen) => Unavailable {
            reason: format!("{seen}: {}", blindness.reason),
            hint: Some(format!(
                "raise that limit and try again: ulimit -n {FILES}, or more"
            )),
            ..blindness
        },
        _ => blindness,
    }
}

/// What fails for want of descriptors must not look as if a service did not answer.
pub fn enough_files() -> Result<()> {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let soft = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|line| line.split_whitespace().next())
        .and_then(|soft| soft.parse::<u64>().ok());
    match soft {
        Some(soft) if soft < FILES => Err(Error::Could {
            action: "watch",
            target: "this shell".into(),
            seen: format!("it allows {soft} open files, and a run needs {FILES}"),
            hint: format!("ulimit -n {FILES}, or more"),
        }),
        _ => Ok(()),
    }
}

/// A runtime panics where it cannot have its threads.
pub fn enough_threads() -> io::Result<()> {
    let mut all = Vec::with_capacity(THREADS);
    for _ in 0..THREADS {
        let (over, waits) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new().spawn(move || waits.recv())?;
        all.push((over, thread));
    }
    for (over, thread) in all {
        drop(over);
        let _ = thread.join();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_is_told_from_theirs() {
        let error = |number| io::Error::from_raw_os_error(number);
        for number in [libc::EMFILE, libc::ENFILE, libc::ENOMEM] {
            assert!(behind(&error(number)).is_some(), "{number}");
            let within = Unavailable::new("x");
            assert_eq!(explained(within).reason, "x");
        }
        for number in [libc::ECONNREFUSED, libc::ENOENT, libc::EACCES] {
            assert_eq!(behind(&error(number)), None, "{number}");
        }
        assert!(enough_threads().is_ok());
    }
}
