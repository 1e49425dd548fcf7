//! Log files, followed through rotation and truncation, or the output of a command.
//!
//! Polled, not notified: inotify says nothing on network file systems and bind mounts, and twenty
//! `stat` calls a second cost nothing. What stood in a file before the run is read backwards to
//! the worker's last boot, so that lines of an earlier worker prove nothing.

mod clock;
pub mod format;
mod quota;
mod search;

use std::collections::HashSet;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt;
use regex::Regex;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::mpsc;

use super::{Phases, Tap, Watched};
use crate::config::LogSource;
use crate::error::Unavailable;
use crate::framework::{Framework, LogEvent};
use crate::timeline::EventKind;
use clock::Clock;
use format::Folder;
use quota::Quota;

const EVERY: Duration = Duration::from_millis(25);
/// … and as often while something of the task is going on.
const LIVELY: Duration = Duration::from_millis(8);
/// A line may still be followed by its traceback: wait this long before it is passed on.
const FOLD: Duration = Duration::from_millis(12);
/// How far back the worker's last boot is looked for.
const BACKWARDS: u64 = 8 * 1024 * 1024;
/// Lines from before the run that are kept at most.
const MOST_BEFORE: usize = 400;
/// More than this at once and the rest is skipped, loudly. Less than what the guardian leaves of a log.
const MOST_AT_ONCE: u64 = 32 * 1024 * 1024;
/// Read in one go, before anything else of the run gets its turn.
const ROOM: Duration = Duration::from_millis(500);
const CHUNK: u64 = 1024 * 1024;

/// `task`: also search what the files hold of this task, however long ago.
pub async fn watch(
    source: LogSource,
    entry: Option<Regex>,
    task: Option<String>,
    tap: Tap,
    phases: Phases,
) -> Watched {
    match &source.command {
        Some(command) => follow_command(command, entry, &tap, phases).await,
        None if source.files.is_empty() => Err(Unavailable::new("no log is configured")
            .hint("add log = [\"worker.log\"] (or log_command) to its section in taskdiag.toml")),
        None => follow_files(&source, entry, task.as_deref(), &tap, phases).await,
    }
}

/// One file and how far it has been read.
struct Follower {
    path: PathBuf,
    file: Option<std::fs::File>,
    inode: u64,
    offset: u64,
    folder: Folder,
    quota: Quota,
    /// There is more to be read.
    more: bool,
    /// It is written for this run, by what is started: whether there is room for it is asked so often.
    room: Option<tokio::time::Interval>,
    /// When something last came.
    fresh: Option<Instant>,
}

async fn follow_files(
    source: &LogSource,
    entry: Option<Regex>,
    task: Option<&str>,
    tap: &Tap,
    mut phases: Phases,
) -> Watched {
    let paths = &source.files;
    let mut followers = Vec::new();
    let mut trouble = Vec::new();
    for path in paths {
        let mut follower = Follower {
            path: path.clone(),
            file: None,
            inode: 0,
            offset: 0,
            folder: Folder::new(entry.clone()),
            quota: Quota::default(),
            more: false,
            room: source.from_now_on.then(|| tokio::time::interval(ROOM)),
            fresh: None,
        };
        match follower.open() {
            Ok(()) if source.from_now_on => {}
            Ok(()) => follower.read_before(task, tap),
            Err(error) if source.from_now_on && error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                trouble.push(format!("{} does not exist (yet)", path.display()))
            }
            Err(error) => trouble.push(format!("cannot read {}: {error}", path.display())),
        }
        followers.push(follower);
    }
    if trouble.len() == paths.len() {
        // It goes on looking: a worker that is started later creates its log then.
        tap.blind(Unavailable::new(trouble.join("; ")).hint("check the path (relative to taskdiag.toml) and its permissions; the worker writes to stderr unless told otherwise"));
    } else if trouble.is_empty() {
        tap.watching(list(paths));
    } else {
        tap.partial(format!("{}; {}", list(paths), trouble.join("; ")));
    }
    let mut seen_any = trouble.len() < paths.len();
    loop {
        let phase = phases.now();
        for follower in &mut followers {
            follower.look_for_room();
            let opened = follower.poll(tap, phase.task_id.as_deref());
            if opened && !seen_any {
                seen_any = true;
                tap.watching(format!("{} appeared", follower.path.display()));
            }
        }
        if phase.stop || phase.last_look {
            for follower in &mut followers {
                follower.flush(tap, phase.task_id.as_deref());
            }
            tap.looked();
            return Ok(());
        }
        if followers.iter().any(|follower| follower.more) {
            tokio::task::yield_now().await;
            continue;
        }
        phases
            .pause(if phase.lively || phase.submitted && phase.task_id.is_none() {
                LIVELY
            } else {
                EVERY
            })
            .await;
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths
        .iter()
        .map(|path| path.display().to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

impl Follower {
    fn open(&mut self) -> std::io::Result<()> {
        let file = std::fs::File::open(&self.path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(std::io::Error::other("it is a folder"));
        }
        self.inode = metadata.ino();
        self.offset = metadata.len();
        self.file = Some(file);
        Ok(())
    }

    /// A file that has come since, or come anew, is new from its first line; `false` if it cannot be
    /// opened (yet).
    fn open_from_its_start(&mut self) -> bool {
        let opened = self.open().is_ok();
        if opened {
            self.offset = 0;
        }
        opened
    }

    /// Passes on what stands in the file since the worker's last boot, and in a post-mortem what
    /// it holds of the task from before that.
    fn read_before(&mut self, task: Option<&str>, tap: &Tap) {
        let end = self.offset;
        let start = end.saturating_sub(BACKWARDS);
        let Ok(bytes) = self.read_range(start, end) else {
            return;
        };
        // A last line without its newline may still grow: it is read again as new.
        let complete = bytes
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        self.offset = start + complete as u64;
        let changed = std::fs::metadata(&self.path)
            .and_then(|metadata| metadata.modified())
            .ok();
        let age = changed
            .and_then(|changed| changed.elapsed().ok())
            .map(|age| age.as_secs());
        let mut folder = self.folder.fresh();
        let mut lines = folder.feed(&bytes[..complete]);
        lines.extend(folder.flush());
        let recent = since_last_boot(lines, tap.framework);
        let mut earlier = Vec::new();
        if let (Some(task), Some(file)) = (task, &mut self.file) {
            earlier =
                search::lines_of(file, end, task, self.folder.fresh(), tap.framework).unwrap_or_default();
            earlier.retain(|line| !recent.contains(line));
        }
        let clock = recent
            .iter()
            .rev()
            .find_map(|(_, stated)| stated.as_deref())
            .zip(changed)
            .and_then(|(stated, changed)| Clock::learn(stated, changed));
        let now = SystemTime::now();
        for (mut line, stated) in earlier.into_iter().chain(recent) {
            line.before = true;
            line.age_s = age;
            let ago = stated
                .as_deref()
                .zip(clock)
                .and_then(|(stated, clock)| clock.age(stated, now));
            tap.line_from_before(line, stated, ago);
        }
    }

    fn read_range(&mut self, from: u64, to: u64) -> std::io::Result<Vec<u8>> {
        let Some(file) = &mut self.file else {
            return Ok(Vec::new());
        };
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(to - from).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads what is new; `true` if the file is open.
    fn poll(&mut self, tap: &Tap, task: Option<&str>) -> bool {
        match std::fs::metadata(&self.path) {
            Ok(_) if self.file.is_none() => {
                self.open_from_its_start();
            }
            Ok(metadata) if metadata.ino() != self.inode => {
                // Rotated: finish the old file, which we still hold open, then turn to the new.
                while self.read_new(tap, task) {}
                if self.open_from_its_start() {
                    tap.see(EventKind::Rotated {
                        path: self.path.display().to_string(),
                    });
                }
            }
            Ok(metadata) if metadata.len() < self.offset => {
                self.offset = 0;
                tap.see(EventKind::Rotated {
                    path: self.path.display().to_string(),
                });
            }
            _ => {}
        }
        self.more = self.read_new(tap, task);
        if self.fresh.is_some_and(|at| at.elapsed() >= FOLD) {
            self.fresh = None;
            self.flush_folder(tap, task);
        }
        self.say(false, tap);
        self.file.is_some()
    }

    /// Reads on, a chunk at the most; `true` if there is more.
    fn read_new(&mut self, tap: &Tap, task: Option<&str>) -> bool {
        let Some(length) = self
            .file
            .as_ref()
            .and_then(|file| file.metadata().ok())
            .map(|metadata| metadata.len())
        else {
            return false;
        };
        if length <= self.offset {
            return false;
        }
        if length - self.offset > MOST_AT_ONCE {
            self.quota.unread(length - self.offset - MOST_AT_ONCE);
            self.offset = length - MOST_AT_ONCE;
        }
        let until = length.min(self.offset + CHUNK);
        if let Ok(bytes) = self.read_range(self.offset, until) {
            self.offset += bytes.len() as u64;
            self.fresh = Some(Instant::now());
            // The guardian makes a hole of what has become too long: it reads as zeros.
            let hole = bytes.iter().take_while(|&&byte| byte == 0).count();
            self.quota.unread(hole as u64);
            for (line, stated) in self.folder.feed(&bytes[hole..]) {
                self.quota.line(line, stated, task, tap);
            }
            return until < length;
        }
        false
    }

    /// What stands there by now, and not what comes meanwhile.
    fn flush(&mut self, tap: &Tap, task: Option<&str>) {
        for _ in 0..=MOST_AT_ONCE / CHUNK {
            if !self.read_new(tap, task) {
                break;
            }
        }
        self.flush_folder(tap, task);
        self.say(true, tap);
    }

    fn flush_folder(&mut self, tap: &Tap, task: Option<&str>) {
        for (line, stated) in self.folder.flush() {
            self.quota.line(line, stated, task, tap);
        }
    }

    fn look_for_room(&mut self) {
        let due = self
            .room
            .as_mut()
            .is_some_and(|room| room.tick().now_or_never().is_some());
        if due && crate::disk::is_full(&self.path) {
            self.quota.full();
        }
    }

    fn say(&mut self, at_the_end: bool, tap: &Tap) {
        self.quota.say(&self.path.display().to_string(), at_the_end, tap);
    }
}

/// The lines of the running worker: from its last boot on, or the last few where none shows.
///
/// Children speak before their master says that it is booting up, so a boot begins with the first
/// line of a process that had not spoken before the boot before it was complete.
fn since_last_boot(lines: Vec<format::Parsed>, framework: &Framework) -> Vec<format::Parsed> {
    let marks: Vec<Option<LogEvent>> = lines.iter().map(|(line, _)| line.log_event(framework)).collect();
    let last = |wanted: fn(&LogEvent) -> bool, below: usize| {
        marks[..below]
            .iter()
            .rposition(|mark| mark.as_ref().is_some_and(wanted))
    };
    let booting = |mark: &LogEvent| matches!(mark, LogEvent::BootingUp);
    let ready = |mark: &LogEvent| matches!(mark, LogEvent::BootingUp | LogEvent::Ready);
    let ended = |mark: &LogEvent| matches!(mark, LogEvent::ShutDown | LogEvent::ChildDied { .. });
    let mut start = lines.len().saturating_sub(MOST_BEFORE);
    if let Some(this) = last(ready, lines.len()) {
        let previous = last(booting, this).map_or(0, |at| at + 1);
        let previous = last(ended, this).map_or(previous, |at| previous.max(at + 1));
        let old: HashSet<i32> = lines[..previous]
            .iter()
            .filter_map(|(line, _)| line.pid)
            .collect();
        let first = (previous..=this).find(|&at| lines[at].0.pid.is_none_or(|pid| !old.contains(&pid)));
        start = start.max(first.unwrap_or(previous));
    }
    lines.into_iter().skip(start).collect()
}

/// Follows a command's standard output and error, as `docker logs -f` or `journalctl -f` need.
async fn follow_command(words: &[String], entry: Option<Regex>, tap: &Tap, mut phases: Phases) -> Watched {
    let text = words.join(" ");
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .process_group(0);
    let mut child = command.spawn().map_err(|error| {
        Unavailable::new(format!("cannot run `{text}`: {error}"))
            .hint("try it in a shell; its output must be the log")
    })?;
    let (sender, mut chunks) = mpsc::channel::<(usize, Vec<u8>)>(256);
    if let Some(stdout) = child.stdout.take() {
        pump(0, stdout, sender.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        pump(1, stderr, sender);
    }
    let mut folders = [Folder::new(entry.clone()), Folder::new(entry)];
    // What the command prints at once is the past; a lull says that the present has begun.
    let began = Instant::now();
    let mut past = Vec::new();
    let mut live = false;
    let mut quota = Quota::default();
    loop {
        let lull = if live { FOLD } else { Duration::from_millis(300) };
        tokio::select! {
            chunk = chunks.recv() => match chunk {
                Some((stream, bytes)) => {
                    let lines = folders[stream].feed(&bytes);
                    if live {
                        let task = quota::task_id(&phases);
                        lines.into_iter().for_each(|(line, stated)| quota.line(line, stated, task.as_deref(), tap));
                        quota.say(&text, false, tap);
                    } else {
                        past.extend(lines);
                    }
                }
                None => {
                    for folder in &mut folders {
                        past.extend(folder.flush());
                    }
                    for (mut line, stated) in past.drain(..) {
                        line.before = !live;
                        tap.line(line, stated);
                    }
                    let status = child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
                    return Err(Unavailable::new(format!("`{text}` ended ({status})")).hint("the command must keep following the log, e.g. with -f"));
                }
            },
            () = tokio::time::sleep(lull) => {
                if !live && (began.elapsed() > Duration::from_millis(300)) {
                    live = true;
                    for folder in &mut folders {
                        past.extend(folder.flush());
                    }
                    for (mut line, stated) in since_last_boot(std::mem::take(&mut past), tap.framework) {
                        line.before = true;
                        tap.line(line, stated);
                    }
                    tap.watching(format!("`{text}`"));
                }
                if live {
                    let task = quota::task_id(&phases);
                    for folder in &mut folders {
                        folder.flush().into_iter().for_each(|(line, stated)| quota.line(line, stated, task.as_deref(), tap));
                    }
                }
            }
            phase = phases.ending() => {
                for folder in &mut folders {
                    folder.flush().into_iter().for_each(|(line, stated)| quota.line(line, stated, phase.task_id.as_deref(), tap));
                }
                quota.say(&text, true, tap);
                tap.looked();
                let _ = child.kill().await;
                return Ok(());
            }
        }
    }
}

fn pump(
    stream: usize,
    mut from: impl tokio::io::AsyncRead + Unpin + Send + 'static,
    to: mpsc::Sender<(usize, Vec<u8>)>,
) {
    tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length) = from.read(&mut buffer).await {
            if length == 0 || to.send((stream, buffer[..length].to_vec())).await.is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> Vec<String> {
        let mut folder = Folder::new(None);
        let mut lines = folder.feed(text.as_bytes());
        lines.extend(folder.flush());
        since_last_boot(lines, Framework::usual())
            .into_iter()
            .map(|(line, _)| line.text)
            .collect()
    }

    fn line(pid: u32, text: &str) -> String {
        format!("[2025-01-01 10:00:00,000] [PID {pid}] [MainThread] [dramatiq.x] [INFO] {text}\n")
    }

    #[test]
    fn a_boot_begins_with_its_first_child() {
        let old =
            line(2, "old work") + &line(1, "Dramatiq '2.2.1' is booting up.") + &line(2, "more old work");
        let new = line(5, "Adding consumer for queue 'default'.")
            + &line(6, "Adding consumer for queue 'default'.")
            + &line(5, "Worker process is ready for action.")
            + &line(6, "Worker process is ready for action.")
            + &line(4, "Dramatiq '2.2.1' is booting up.")
            + &line(6, "work");
        let texts = kept(&(old + &new));
        assert_eq!(texts.len(), 6, "{texts:?}");
        assert!(texts[0].starts_with("Adding"));
    }

    #[test]
    fn a_worker_that_died_at_its_start_is_not_a_boot() {
        let text = line(2, "Worker process is ready for action.")
            + &line(1, "Dramatiq '2.2.1' is booting up.")
            + &line(1, "Worker has been shut down.")
            + &line(3, "Failed to import module.");
        let texts = kept(&text);
        assert_eq!(texts.last().map(String::as_str), Some("Failed to import module."));
    }
}
