//! Children that end with us, and what they started with them.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::process::{Child, Command};

/// Where we are killed, the kernel sends it this signal.
#[allow(unsafe_code)]
pub fn end_with_us(command: &mut Command, signal: Signal) {
    // SAFETY: prctl is async-signal-safe and touches only the new process.
    unsafe {
        command.pre_exec(move || {
            #[cfg(target_os = "linux")]
            libc::prctl(libc::PR_SET_PDEATHSIG, signal as i32, 0, 0, 0);
            Ok(())
        });
    }
}

/// To the group that it leads. It has no pid any more once it has ended: what it left behind is meant to stay.
pub fn signal_group(child: &Child, signal: Signal) {
    if let Some(pid) = child.id() {
        let _ = killpg(Pid::from_raw(pid as i32), signal);
    }
}
