//! Log files, followed through rotation and truncation, or the output of a command.
//!
//! Polled, not notified: inotify says nothing on network file systems and bind mounts, and twenty
//! `stat` calls a second cost nothing. What stood in a file before the run is read backwards to
//! the worker's last boot, so that lines of an earlier worker prove nothing.

mod boot;
mod clock;
mod command;
mod fields;
pub mod folder;
pub mod format;
mod quota;
mod reader;
mod search;

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use regex::Regex;

use super::{Phases, Tap, Watched};
use crate::config::LogSource;
use crate::error::Unavailable;
use crate::framework::LogEvent;
use crate::timeline::{EventKind, Source};
use boot::since_last_boot;
use clock::Clock;
use folder::Folder;
use quota::Quota;
use reader::Reader;

const EVERY: Duration = Duration::from_millis(25);
/// … and as often while something of the task is going on.
const LIVELY: Duration = Duration::from_millis(8);
/// How far back the worker's last boot is looked for.
const BACKWARDS: u64 = 8 * 1024 * 1024;
/// More than this at once and the rest is skipped, loudly. Less than what the guardian leaves of a log.
const MOST_AT_ONCE: u64 = 32 * 1024 * 1024;
/// Read in one go, before anything else of the run gets its turn.
const ROOM: Duration = Duration::from_millis(500);
const CHUNK: u64 = 1024 * 1024;
/// So many files that were rotated away are read on.
const MOST_ROTATED: usize = 4;

/// `task`: also search what the files hold of this task, however long ago.
pub async fn watch(
    source: LogSource,
    entry: Option<Regex>,
    task: Option<String>,
    tap: Tap,
    phases: Phases,
) -> Watched {
    match &source.command {
        Some(words) => command::follow(words, entry, &tap, phases).await,
        None if source.files.is_empty() => {
            let part = program(&tap);
            Err(Unavailable::new("no log is configured").hint(format!(
                "add log = [\"{part}.log\"] (or log_command) to [{part}] in taskdiag.toml"
            )))
        }
        None => follow_files(&source, entry, task.as_deref(), &tap, phases).await,
    }
}

/// Whose log it is, as the configuration calls it.
fn program(tap: &Tap) -> &'static str {
    match tap.is_of(Source::ApiLog) {
        true => "api",
        false => "worker",
    }
}

/// One log.
struct Follower {
    path: PathBuf,
    entry: Option<Regex>,
    reader: Option<Reader>,
    /// Rotated away: whoever has them open may still write to them.
    rotated: Vec<Reader>,
    quota: Quota,
    /// Nothing of the program's life is missing so far.
    whole: bool,
    /// There is more to be read.
    more: bool,
    /// It was rotated, and the new file could not be opened.
    refused: bool,
    /// It is written for this run, by what is started: whether there is room for it is asked so often.
    room: Option<tokio::time::Interval>,
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
            entry: entry.clone(),
            reader: None,
            rotated: Vec::new(),
            quota: Quota::default(),
            whole: true,
            more: false,
            refused: false,
            room: source.from_now_on.then(|| tokio::time::interval(ROOM)),
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
        tap.blind(Unavailable::new(trouble.join("; ")).hint("check the path (relative to taskdiag.toml) and its permissions; a program writes to stderr unless told otherwise"));
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
        self.reader = Some(Reader::open(&self.path, Folder::new(self.entry.clone()))?);
        Ok(())
    }

    /// A file that has come since, or come anew, is new from its first line. The one before it is read on.
    fn open_from_its_start(&mut self) -> std::io::Result<()> {
        let mut reader = Reader::open(&self.path, Folder::new(self.entry.clone()))?;
        reader.offset = 0;
        if let Some(last) = self.reader.replace(reader) {
            if self.rotated.len() == MOST_ROTATED {
                self.rotated.remove(0);
            }
            self.rotated.push(last);
        }
        Ok(())
    }

    /// The new file of a rotated log. What is refused is not taken for a log without lines.
    fn turn_to_new(&mut self, tap: &Tap) {
        match self.open_from_its_start() {
            Ok(()) => {
                self.say_rotated(true, tap);
                if std::mem::take(&mut self.refused) {
                    tap.watching(format!(
                        "{} is read again, from its first line",
                        self.path.display()
                    ));
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound || self.refused => {}
            Err(error) => {
                self.refused = true;
                tap.blind(Unavailable::new(format!(
                    "{} was rotated, and the new file cannot be read: {error}",
                    self.path.display()
                )));
            }
        }
    }

    /// Passes on what stands in the file since the worker's last boot, and in a post-mortem what
    /// it holds of the task from before that.
    fn read_before(&mut self, task: Option<&str>, tap: &Tap) {
        let Some(reader) = &mut self.reader else {
            return;
        };
        let end = reader.offset;
        let start = end.saturating_sub(BACKWARDS);
        let Ok(bytes) = reader.range(start, end) else {
            self.whole = false;
            return;
        };
        // The line in whose middle it begins may have lost what a secret is told by.
        let skipped = match start {
            0 => 0,
            _ => bytes
                .iter()
                .position(|&byte| byte == b'\n')
                .map_or(bytes.len(), |at| at + 1),
        };
        // A last line without its newline may still grow: it is read again as new.
        let complete = bytes
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        reader.offset = start + complete as u64;
        let changed = std::fs::metadata(&self.path)
            .and_then(|metadata| metadata.modified())
            .ok();
        let age = changed
            .and_then(|changed| changed.elapsed().ok())
            .map(|age| age.as_secs());
        let mut folder = reader.folder.fresh();
        let mut lines = folder.feed(&bytes[skipped.min(complete)..complete]);
        lines.extend(folder.flush());
        let all = lines.len();
        let recent = since_last_boot(lines, tap.framework);
        let boots = |(line, _): &fields::Parsed| line.log_event(tap.framework) == Some(LogEvent::BootingUp);
        self.whole = (start == 0 && recent.len() == all) || recent.iter().any(boots);
        let mut earlier = Vec::new();
        if let Some(task) = task {
            let folder = reader.folder.fresh();
            earlier =
                search::lines_of(&mut reader.file, end, task, folder, tap.framework).unwrap_or_default();
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
            let ago = match stated.as_deref() {
                Some(stated) => clock.and_then(|clock| clock.age(stated, now)),
                // No later than the file's last change.
                None => age.map(Duration::from_secs),
            };
            tap.line_from_before(line, stated, ago);
        }
    }

    /// Reads what is new; `true` if the file is open.
    fn poll(&mut self, tap: &Tap, task: Option<&str>) -> bool {
        let known = self.reader.as_ref().map(|reader| (reader.inode, reader.offset));
        match (std::fs::metadata(&self.path), known) {
            (Ok(_), None) => {
                let _ = self.open_from_its_start();
            }
            (Ok(metadata), Some((inode, _))) if metadata.ino() != inode => {
                self.whole = false;
                self.turn_to_new(tap);
            }
            (Ok(metadata), Some((_, offset))) if metadata.len() < offset => {
                self.whole = false;
                if let Some(reader) = &mut self.reader {
                    reader.offset = 0;
                }
                self.say_rotated(false, tap);
            }
            _ => {}
        }
        self.more = false;
        for reader in self.rotated.iter_mut().chain(&mut self.reader) {
            self.more |= reader.read_new(&mut self.quota, tap, task);
            reader.fold(&mut self.quota, tap, task);
        }
        self.say(false, tap);
        self.reader.is_some()
    }

    fn say_rotated(&self, reads_on: bool, tap: &Tap) {
        tap.see(EventKind::Rotated {
            path: self.path.display().to_string(),
            reads_on,
        });
    }

    /// What stands there by now, and not what comes meanwhile.
    fn flush(&mut self, tap: &Tap, task: Option<&str>) {
        for reader in self.rotated.iter_mut().chain(&mut self.reader) {
            reader.read_rest(&mut self.quota, tap, task);
        }
        self.say(true, tap);
        let is_read = self.reader.as_ref().is_some_and(Reader::is_read);
        if is_read && self.whole && self.quota.is_complete() {
            tap.see(EventKind::ReadWhole {
                path: self.path.display().to_string(),
            });
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
