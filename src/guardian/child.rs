//! The guardian's process, as taskdiag starts it.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::ARGUMENT;
use super::protocol::{Envelope, Request};

pub(super) struct Process {
    pub pipe: ChildStdin,
    pub child: Child,
}

impl Process {
    pub(super) async fn tell(&mut self, id: u64, request: Request) -> std::io::Result<()> {
        let mut line = serde_json::to_string(&Envelope { id, request })?;
        line.push('\n');
        self.pipe.write_all(line.as_bytes()).await?;
        self.pipe.flush().await
    }
}

/// taskdiag again, as a guardian.
pub(super) fn spawn() -> std::io::Result<(Process, ChildStdout)> {
    // The running program itself, even if its file was replaced by an upgrade meanwhile.
    let program = if cfg!(target_os = "linux") {
        PathBuf::from("/proc/self/exe")
    } else {
        std::env::current_exe()?
    };
    let mut command = Command::new(program);
    command
        .arg(ARGUMENT)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .env_clear()
        .current_dir("/");
    new_session(&mut command);
    let mut child = command.spawn()?;
    let gone = || std::io::Error::other("it closed its pipe");
    let pipe = child.stdin.take().ok_or_else(gone)?;
    let stdout = child.stdout.take().ok_or_else(gone)?;
    Ok((Process { pipe, child }, stdout))
}

/// A session of its own: signals to our process group do not reach it.
#[allow(unsafe_code)]
fn new_session(command: &mut Command) {
    // SAFETY: setsid is async-signal-safe and touches nothing of the parent.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() == -1 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
}
