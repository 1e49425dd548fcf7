//! Which processes are the watched worker's: those that write its log, or run its command.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::procfs::process::Process as Proc;

use crate::config::Config;

/// Files of the watched log, as device and inode.
pub type LogFiles = HashSet<(u64, u64)>;

pub fn log_files(config: &Config) -> LogFiles {
    use std::os::unix::fs::MetadataExt;
    config
        .worker
        .log
        .files
        .iter()
        .filter_map(|path| std::fs::metadata(path).ok())
        .map(|metadata| (metadata.dev(), metadata.ino()))
        .collect()
}

/// How the watched worker is started, as far as that was configured.
pub struct Configured {
    command: Vec<String>,
    /// Its virtual environment, and its folder: others may run the same command elsewhere.
    python: Option<PathBuf>,
    cwd: Option<PathBuf>,
}

impl Configured {
    pub fn new(config: &Config) -> Self {
        let program = config.worker_program.as_ref();
        Self {
            command: config.worker.command.clone(),
            python: program.and_then(|program| std::fs::canonicalize(program.python.as_ref()?).ok()),
            cwd: Self::folder(config),
        }
    }

    /// Its folder, where it was not left to a default.
    pub fn folder(config: &Config) -> Option<PathBuf> {
        let program = config.worker_program.as_ref();
        let program = program.filter(|_| config.origins.contains_key("worker.cwd"))?;
        std::fs::canonicalize(&program.cwd).ok()
    }

    /// It runs the configured command, in its folder and with its Python. What cannot be seen excludes nothing: the
    /// worker may be another user's.
    pub fn is_it(&self, command: &[String], cwd: Option<&str>) -> bool {
        let same_folder = match (&self.cwd, cwd) {
            (Some(wanted), Some(cwd)) => wanted == Path::new(cwd),
            _ => true,
        };
        // The interpreter, or the script itself, lies in the environment's `bin`.
        let same_python = self.python.as_ref().is_none_or(|wanted| {
            let mut folders = command
                .iter()
                .take(2)
                .filter(|word| word.starts_with('/'))
                .filter_map(|word| std::fs::canonicalize(Path::new(word).parent()?.parent()?).ok())
                .peekable();
            folders.peek().is_none() || folders.any(|folder| folder == *wanted)
        });
        runs(command, &self.command) && same_folder && same_python
    }

    /// The same by the command alone: in another place its folders are others.
    pub fn is_command(&self, command: &[String]) -> bool {
        runs(command, &self.command)
    }

    /// The processes that were started so.
    pub fn running(&self) -> Vec<i32> {
        if self.command.is_empty() {
            return Vec::new();
        }
        crate::procfs::all_processes()
            .filter(|process| {
                process.cmdline().is_ok_and(|command| {
                    runs(&command, &self.command)
                        && self.is_it(&command, process.cwd().ok().as_deref().and_then(Path::to_str))
                })
            })
            .map(|process| process.pid)
            .take(16)
            .collect()
    }
}

/// Whether a process runs this command: an interpreter may stand before it, and a path before its
/// program's name.
fn runs(command: &[String], wanted: &[String]) -> bool {
    let Some((program, arguments)) = wanted.split_first() else {
        return false;
    };
    let Some((tail, head)) = command
        .len()
        .checked_sub(arguments.len())
        .map(|at| (&command[at..], &command[..at]))
    else {
        return false;
    };
    let name = |word: &str| word.rsplit('/').next().unwrap_or(word).to_owned();
    tail == arguments && head.last().is_some_and(|word| name(word) == name(program)) && head.len() <= 2
}

/// Processes that have one of these files open for writing, and their descendants: the watched
/// worker, even if it has not written a line yet.
pub fn writers(files: &LogFiles) -> Vec<i32> {
    if files.is_empty() {
        return Vec::new();
    }
    let mut parents: HashMap<i32, i32> = HashMap::new();
    let mut found: HashSet<i32> = HashSet::new();
    for process in crate::procfs::all_processes() {
        if let Ok(stat) = process.stat() {
            parents.insert(process.pid, stat.ppid);
        }
        if writes(process.pid, files) {
            found.insert(process.pid);
        }
    }
    let descends = |pid: i32| {
        let mut at = pid;
        for _ in 0..6 {
            match parents.get(&at) {
                Some(parent) if found.contains(parent) => return true,
                Some(parent) if *parent > 1 => at = *parent,
                _ => return false,
            }
        }
        false
    };
    let mut pids: Vec<i32> = parents
        .keys()
        .copied()
        .filter(|pid| found.contains(pid) || descends(*pid))
        .collect();
    pids.sort_unstable();
    pids.truncate(64);
    pids
}

/// One of the files is open in the process, and not just for reading as in `tail -f` or in us.
fn writes(pid: i32, files: &LogFiles) -> bool {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    entries.flatten().any(|entry| {
        let same = std::fs::metadata(entry.path())
            .is_ok_and(|metadata| files.contains(&(metadata.dev(), metadata.ino())));
        same && {
            let info = std::fs::read_to_string(format!(
                "/proc/{pid}/fdinfo/{}",
                entry.file_name().to_string_lossy()
            ));
            let flags = info.ok().and_then(|text| {
                text.lines()
                    .find_map(|line| line.strip_prefix("flags:"))
                    .and_then(|flags| u32::from_str_radix(flags.trim(), 8).ok())
            });
            flags.is_some_and(|flags| flags & 3 != 0)
        }
    })
}

/// The process or one of its nearest ancestors writes into one of these files. A master relays its
/// children's lines, so the file is open in it, not in them.
pub fn holds(pid: i32, files: &LogFiles) -> bool {
    let mut pid = pid;
    for _ in 0..3 {
        if writes(pid, files) {
            return true;
        }
        match Proc::new(pid).and_then(|process| process.stat()) {
            Ok(stat) if stat.ppid > 1 => pid = stat.ppid,
            _ => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_recognised_behind_its_interpreter() {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        assert!(runs(
            &words("/v/bin/python /v/bin/dramatiq -v app.worker"),
            &words("dramatiq -v app.worker")
        ));
        assert!(!runs(
            &words("/v/bin/python /v/bin/dramatiq -v app.other"),
            &words("dramatiq -v app.worker")
        ));
        assert!(!runs(
            &words("grep dramatiq -v app.worker x"),
            &words("dramatiq -v app.worker")
        ));
    }

    #[test]
    fn the_same_command_elsewhere_is_a_strangers() {
        let here = std::fs::canonicalize(std::env::temp_dir()).unwrap();
        let configured = Configured {
            command: vec!["dramatiq".into(), "app".into()],
            python: Some(PathBuf::from("/usr")),
            cwd: Some(here.clone()),
        };
        let command = |program: &str| vec![program.to_owned(), "/usr/bin/dramatiq".into(), "app".into()];
        let cwd = here.to_str();
        assert!(configured.is_it(&command("/usr/bin/python3"), cwd));
        assert!(configured.is_it(&command("/usr/bin/python3"), None));
        assert!(!configured.is_it(&command("/usr/bin/python3"), Some("/")));
        let other = vec![
            "/bin/env/bin/python".to_owned(),
            "/proc/self/dramatiq".into(),
            "app".into(),
        ];
        assert!(!configured.is_it(&other, cwd));
        assert!(configured.is_it(&["dramatiq".to_owned(), "app".into()], cwd));
    }
}
