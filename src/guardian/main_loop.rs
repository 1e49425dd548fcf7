//! The guardian's main loop: do what the pipe says, and at its end undo everything.

use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::connect_filter;
use super::left_behind::FOLDER;
use super::protocol::{Answer, Envelope, Exit, LeftRunning, Reply, Request, Start};
use super::tracing::{self, OwnedTracing};
use super::tree;
use super::trim;
use super::vhost::{self, OwnedVhost};
use crate::error::exit;

/// Signals that are the terminal's or the user's business with taskdiag, not with us.
const IGNORED: [libc::c_int; 4] = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGPIPE];

/// The logs of what was started are looked at so often.
const TRIM_EVERY: Duration = Duration::from_millis(200);

/// The hint of a complaint stands on a line of its own.
const BY_HAND: &str = "\nrun it by hand: the services may still be up";

/// Last words stand in so much of a log's end.
const LAST_BYTES: u64 = 64 * 1024;

/// What is to be undone.
#[derive(Default)]
struct Guardian {
    /// What was started and has not ended.
    started: HashSet<i32>,
    tracing: Option<OwnedTracing>,
    vhost: Option<OwnedVhost>,
    folder: Option<PathBuf>,
    /// Locked as long as we live: so `check` tells it from one that was left behind.
    lock: Option<File>,
    last: Option<(Start, u64)>,
    /// A process group that was started beside us and has not ended.
    beside: Option<i32>,
    keep: bool,
    /// What is to be told of the dead; collected here because reaping cannot wait.
    news: Vec<Reply>,
    /// What the threads that answer for connect filters have blocked.
    blocked: Blocked,
}

/// The ends of a channel.
struct Blocked {
    sender: UnboundedSender<Reply>,
    receiver: UnboundedReceiver<Reply>,
}

impl Default for Blocked {
    fn default() -> Self {
        let (sender, receiver) = unbounded_channel();
        Self { sender, receiver }
    }
}

#[allow(unsafe_code)]
pub fn main() -> u8 {
    // SAFETY: before any thread exists; the calls touch only our own process.
    unsafe {
        for signal in IGNORED {
            libc::signal(signal, libc::SIG_IGN);
        }
        #[cfg(target_os = "linux")]
        libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    }
    // One thread: children ask to be told of the death of the thread that started them.
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return exit::COULD_NOT;
    };
    let code = runtime.block_on(serve());
    // A thread of the runtime may still sit in a read of the pipe.
    runtime.shutdown_background();
    code
}

async fn serve() -> u8 {
    let Ok(mut deaths) = signal(SignalKind::child()) else {
        return exit::COULD_NOT;
    };
    let mut guardian = Guardian::default();
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    loop {
        tokio::select! {
            line = lines.next_line() => match line {
                Ok(Some(line)) => {
                    let Ok(asked) = serde_json::from_str::<Envelope>(&line) else { break };
                    let answer = guardian.obey(asked.request).await;
                    say(Reply::Answer { id: asked.id, answer }).await;
                }
                _ => break,
            },
            _ = deaths.recv() => {}
            () = tokio::time::sleep(TRIM_EVERY), if guardian.folder.is_some() => {}
            Some(reply) = guardian.blocked.receiver.recv() => say(reply).await,
        }
        guardian.reap();
        guardian.tell().await;
    }
    guardian.end().await
}

impl Guardian {
    async fn obey(&mut self, request: Request) -> Answer {
        match request {
            Request::Tracing(traced) => self.tracing = Some(traced),
            Request::Vhost(made) => self.vhost = Some(made),
            Request::Group { group } => self.beside = (group > 1).then_some(group),
            Request::Keep => {
                self.keep = true;
                let me = std::process::id() as i32;
                let all = tree::below(&HashSet::from([me]));
                let mut running = LeftRunning::default();
                running.groups.extend(all.iter().map(|seen| seen.group));
                running.groups.sort_unstable();
                running.groups.dedup();
                running
                    .roots
                    .extend(all.iter().filter(|seen| seen.ppid == me).map(|seen| seen.pid));
                return Answer::LeftRunning(running);
            }
            Request::Last { start, seconds } => self.last = Some((start, seconds)),
            Request::Folder { below } => match private_folder(&below) {
                Ok((folder, lock)) => {
                    self.lock = Some(lock);
                    self.folder = Some(folder.clone());
                    return Answer::Folder(folder);
                }
                Err(error) => return Answer::Failed(error.to_string()),
            },
            Request::Adopt { folder } => {
                self.lock = File::open(&folder).ok().filter(|lock| lock.lock_shared().is_ok());
                self.folder = Some(folder);
            }
            Request::Start(start) => match self.spawn(start) {
                Ok(pid) => {
                    self.started.insert(pid);
                    return Answer::Started { pid };
                }
                Err(error) => return Answer::Failed(error.to_string()),
            },
            Request::Stop { pid, at_once } if self.started.contains(&pid) => {
                let left = tree::stop(Some(pid), at_once, || self.reap()).await;
                if !left.is_empty() {
                    return Answer::Failed(still_there(&left));
                }
            }
            Request::Stop { .. } => {}
        }
        Answer::Done
    }

    fn spawn(&self, mut start: Start) -> std::io::Result<i32> {
        let Some(filter) = start.filter.take() else {
            return spawn(&start);
        };
        let sender = self.blocked.sender.clone();
        connect_filter::spawn(
            filter,
            move || spawn(&start),
            move |pid, blocked| drop(sender.send(Reply::Blocked { pid, blocked })),
        )
    }

    /// Waits for every child that is dead, adopted ones too. Whoever is waited for may write on: their
    /// logs are kept short as well.
    fn reap(&mut self) {
        if let Some(folder) = &self.folder {
            trim::logs(folder);
        }
        while let Ok(status) = waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            let (pid, code) = match status {
                WaitStatus::Exited(pid, code) => (pid.as_raw(), code),
                WaitStatus::Signaled(pid, signal, _) => (pid.as_raw(), -(signal as i32)),
                WaitStatus::StillAlive => return,
                _ => continue,
            };
            if self.started.remove(&pid) {
                let me = HashSet::from([std::process::id() as i32]);
                let left_children = tree::below(&me)
                    .iter()
                    .any(|seen| me.contains(&seen.ppid) && !self.started.contains(&seen.pid));
                let exit = Exit { code, left_children };
                self.news.push(Reply::Exited { pid, exit });
            }
        }
    }

    async fn tell(&mut self) {
        for reply in std::mem::take(&mut self.news) {
            say(reply).await;
        }
    }

    /// Processes first: what they do last, tracing still shows to others, and services are the
    /// last to go because all before needs them.
    async fn end(mut self) -> u8 {
        let mut complaints = Vec::new();
        if let Some(group) = self.beside.take() {
            tree::stop_group(group).await;
        }
        if !self.keep {
            let left = tree::stop(None, false, || self.reap()).await;
            if !left.is_empty() {
                complaints.push(still_there(&left));
            }
            self.tell().await;
        }
        let mut unrestored = None;
        if let Some(tracing) = self.tracing.take()
            && let Err(blindness) = tracing.restore(tracing::AT_ONCE).await
        {
            complaints.push(tracing.complaint(&blindness.reason, true));
            unrestored = Some(tracing);
        }
        let mut undeleted = None;
        if let Some(vhost) = self.vhost.take()
            && let Err(blindness) = vhost.delete(vhost::AT_ONCE).await
        {
            complaints.push(vhost.complaint(&blindness.reason, true));
            undeleted = Some(vhost);
        }
        if let Some((start, seconds)) = self.last.take().filter(|_| !self.keep) {
            complaints.extend(self.run(&start, Duration::from_secs(seconds)).await);
        }
        if let Some(folder) = self.folder.take().filter(|_| !self.keep)
            && let Err(error) = std::fs::remove_dir_all(&folder)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            complaints.push(format!("cannot remove {}: {error}", folder.display()));
        }
        let failed = !complaints.is_empty();
        for text in complaints {
            say(Reply::Complaint { text }).await;
        }
        say(Reply::Over).await;
        // A cluster without a majority, a broker that is being restarted: it comes back.
        if let Some(tracing) = unrestored {
            let _ = tracing.restore(tracing::GO_ON).await;
        }
        if let Some(vhost) = undeleted {
            let _ = vhost.delete(tracing::GO_ON).await;
        }
        if failed { exit::COULD_NOT } else { exit::OK }
    }

    /// Runs a last command to its end; a complaint if it fails.
    async fn run(&mut self, start: &Start, limit: Duration) -> Option<String> {
        let text = start.text();
        let pid = match spawn(start) {
            Ok(pid) => pid,
            Err(error) => return Some(format!("cannot run `{text}`: {error}{BY_HAND}")),
        };
        self.started.insert(pid);
        let deadline = tokio::time::Instant::now() + limit;
        loop {
            self.reap();
            let ended = self.news.iter().find_map(|reply| match reply {
                Reply::Exited { pid: gone, exit } if *gone == pid => Some(exit.code),
                _ => None,
            });
            match ended {
                Some(0) => return None,
                Some(code) => {
                    let words = match last_words(&start.log, 3) {
                        none if none.is_empty() => "it printed nothing".into(),
                        words => words,
                    };
                    return Some(format!("`{text}` ended with exit code {code}: {words}{BY_HAND}"));
                }
                None if tokio::time::Instant::now() > deadline => {
                    tree::stop(Some(pid), false, || self.reap()).await;
                    return Some(format!(
                        "`{text}` did not end within {} s{BY_HAND}",
                        limit.as_secs()
                    ));
                }
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

fn still_there(left: &[tree::ProcessStat]) -> String {
    let pids: Vec<String> = left.iter().map(|seen| seen.pid.to_string()).collect();
    format!(
        "started processes could not be ended, not even by SIGKILL: pid {}",
        pids.join(", ")
    )
}

/// The last lines that a command printed, as one.
pub fn last_words(log: &Path, most: usize) -> String {
    let text = end_of(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    lines[lines.len().saturating_sub(most)..].join(" / ")
}

/// A log may be of any size, and begin with a hole.
fn end_of(log: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = crate::bounded::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(LAST_BYTES)))?;
    let mut bytes = Vec::new();
    file.take(LAST_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn private_folder(below: &Path) -> std::io::Result<(PathBuf, File)> {
    use std::os::unix::fs::DirBuilderExt;
    let folder = below.join(format!("{FOLDER}{}", uuid::Uuid::new_v4().simple()));
    std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
    let lock = File::open(&folder)?;
    // Where the file system has no locks, its age and whoever writes there have to do.
    let _ = lock.lock_shared();
    Ok((folder, lock))
}

fn spawn(start: &Start) -> std::io::Result<i32> {
    let log = File::options()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(&start.log)?;
    let mut command = Command::new(&start.program);
    command
        .args(&start.arguments)
        .env_clear()
        .envs(start.env.iter().map(|(name, value)| (name, value)))
        .current_dir(&start.cwd)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    prepare(&mut command, start.may_stay);
    // Its end is seen by `reap`, which waits for any child.
    let child = command.spawn()?;
    Ok(child.id() as i32)
}

/// A session of its own, the usual answers to signals, and the wish to be told if we are killed:
/// the second line, for what is directly below us.
#[allow(unsafe_code)]
fn prepare(command: &mut Command, may_stay: bool) {
    let guardian = std::process::id() as libc::pid_t;
    // SAFETY: only async-signal-safe calls between fork and exec.
    unsafe {
        command.pre_exec(move || {
            for signal in IGNORED {
                libc::signal(signal, libc::SIG_DFL);
            }
            if libc::setsid() == -1 {
                return Err(std::io::Error::last_os_error());
            }
            #[cfg(target_os = "linux")]
            if !may_stay {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM, 0, 0, 0);
                if libc::getppid() != guardian {
                    libc::_exit(1);
                }
            }
            Ok(())
        });
    }
}

async fn say(reply: Reply) {
    let mut line = serde_json::to_string(&reply).unwrap_or_default();
    line.push('\n');
    let mut out = tokio::io::stdout();
    let _ = out.write_all(line.as_bytes()).await;
    let _ = out.flush().await;
}
