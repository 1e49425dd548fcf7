//! Processes that run in the project's folder: the surest witnesses of how it is started.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::procfs::net::{TcpNetEntry, TcpState};
use crate::procfs::process::{FDTarget, Process};

use super::EnvVar;
use super::launch::StartCommand;

pub struct RunningProcess {
    pub pid: i32,
    pub launch: StartCommand,
    /// Ports that it listens on.
    pub ports: Vec<u16>,
    /// The file that its standard error goes to.
    pub log: Option<PathBuf>,
    /// Its virtual environment.
    pub python: Option<PathBuf>,
    variables: Vec<(String, String)>,
}

/// Those whose working folder lies in the project; of a family only the eldest.
pub fn look(root: &Path) -> Vec<RunningProcess> {
    let Ok(root) = root.canonicalize() else {
        return Vec::new();
    };
    let own = std::process::id() as i32;
    let listening = listening();
    let mut parents = BTreeMap::new();
    let mut found = Vec::new();
    for process in crate::procfs::all_processes() {
        let Ok(stat) = process.stat() else { continue };
        parents.insert(process.pid, stat.ppid);
        let Ok(folder) = process.cwd() else { continue };
        let Ok(inside) = folder.strip_prefix(&root) else {
            continue;
        };
        let Ok(words) = process.cmdline() else { continue };
        if process.pid == own || words.is_empty() || stat.state == 'Z' {
            continue;
        }
        let launch = StartCommand {
            place: format!("the running process {}", process.pid),
            folder: inside.to_string_lossy().into_owned(),
            words,
        };
        let ports = ports(&process, &listening);
        if !launch.is_worker() && !launch.is_server() && ports.is_empty() {
            continue;
        }
        let path = process
            .environ()
            .ok()
            .and_then(|env| env.get(std::ffi::OsStr::new("PATH")).cloned());
        found.push(RunningProcess {
            pid: process.pid,
            ports,
            log: log(process.pid),
            python: environment(&launch.words).or_else(|| on_path(&launch.words, path.as_deref())),
            variables: process
                .environ()
                .into_iter()
                .flatten()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
                .collect(),
            launch,
        });
    }
    let pids: HashSet<i32> = found.iter().map(|running| running.pid).collect();
    found.retain(|running| {
        parents
            .get(&running.pid)
            .is_none_or(|parent| !pids.contains(parent))
    });
    found.sort_by_key(|running| running.pid);
    found
}

impl RunningProcess {
    pub fn is_worker(&self) -> bool {
        self.launch.is_worker()
    }

    /// It serves: by its program's name, or because it is Python and listens.
    pub fn is_server(&self) -> bool {
        let python = self
            .launch
            .words
            .iter()
            .take(2)
            .any(|word| word.contains("python"));
        !self.is_worker() && !self.ports.is_empty() && (self.launch.is_server() || python)
    }

    /// The command as it would be typed: without the interpreter that runs it.
    pub fn command(&self) -> Vec<String> {
        let words = self.launch.bare();
        if words.len() < self.launch.words.len() || words.is_empty() {
            return words;
        }
        let mut words = words;
        if let Some(first) = words.first_mut() {
            *first = first.rsplit('/').next().unwrap_or_default().to_owned();
        }
        words
    }

    /// Where it was told to import from, if that lies in the project: then it holds no secret.
    pub fn import_path(&self, root: &Path) -> Option<String> {
        let (_, value) = self.variables.iter().find(|(name, _)| name == "PYTHONPATH")?;
        let root = root.canonicalize().ok()?;
        let inside = std::env::split_paths(value).all(|path| {
            let path = root.join(&self.launch.folder).join(path);
            path.canonicalize().is_ok_and(|path| path.starts_with(&root))
        });
        (inside && !value.is_empty()).then(|| value.clone())
    }

    /// What it was given: the truth about where the application looks.
    pub fn variables(&self) -> Vec<EnvVar> {
        let pid = self.pid;
        self.variables
            .iter()
            .map(|(name, value)| EnvVar {
                name: name.clone(),
                value: value.clone(),
                place: format!("the environment of the running process {pid}"),
                how: format!(
                    "export {name}=\"$(tr '\\0' '\\n' < /proc/{pid}/environ | sed -n 's/^{name}=//p')\""
                ),
            })
            .collect()
    }
}

/// Inodes of listening sockets of this network namespace, with their ports.
fn listening() -> BTreeMap<u64, u16> {
    let mut entries = crate::procfs::net::tcp().unwrap_or_default();
    entries.extend(crate::procfs::net::tcp6().unwrap_or_default());
    entries
        .into_iter()
        .filter(|entry| entry.state == TcpState::Listen)
        .map(|entry| (entry.inode, entry.local_address.port()))
        .collect()
}

fn ports(process: &Process, listening: &BTreeMap<u64, u16>) -> Vec<u16> {
    let mut ports: Vec<u16> = process
        .fd()
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|fd| match fd.target {
            FDTarget::Socket(inode) => listening.get(&inode).copied(),
            _ => None,
        })
        .collect();
    ports.sort_unstable();
    ports.dedup();
    ports
}

/// Who listens on a port of this machine though he is not of this project: his words for people. Whoever cannot be
/// seen (another user, a container's proxy) is no stranger by that alone.
pub fn stranger(port: u16, root: &Path) -> Option<String> {
    let root = root.canonicalize().ok()?;
    let owners = crate::vantage::process::sockets::listeners(port);
    let mut strangers = Vec::new();
    for (pid, words) in owners {
        let folder = Process::new(pid).and_then(|process| process.cwd()).ok()?;
        let name = words
            .first()
            .map_or("", |word| word.rsplit('/').next().unwrap_or(word));
        let is_proxy =
            name.starts_with("docker") || name.starts_with("rootlessport") || name.starts_with("podman");
        if is_proxy || folder.starts_with(&root) {
            return None;
        }
        strangers.push(format!("pid {pid}, {name} in {}", folder.display()));
    }
    strangers.into_iter().next()
}

/// A process that runs from this folder listens there.
pub fn listens_from(root: &Path, port: u16) -> bool {
    let Ok(root) = root.canonicalize() else {
        return false;
    };
    let listeners = crate::vantage::process::sockets::listeners(port);
    listeners.into_iter().any(|(pid, _)| {
        let folder = Process::new(pid).and_then(|process| process.cwd());
        folder.is_ok_and(|folder| folder.starts_with(&root))
    })
}

/// Somebody listens there, whoever he is.
pub fn is_listened_on(port: u16) -> bool {
    listening().into_values().any(|known| known == port)
}

/// One of these processes, or one that they started, has a connection to such a port.
pub fn is_connected(running: &[RunningProcess], to: &[IpAddr], port: u16) -> bool {
    let leads = |entry: &TcpNetEntry| {
        let remote = entry.remote_address;
        entry.state == TcpState::Established
            && remote.port() == port
            && to.contains(&remote.ip().to_canonical())
    };
    let mut entries = crate::procfs::net::tcp().unwrap_or_default();
    entries.extend(crate::procfs::net::tcp6().unwrap_or_default());
    let leading: HashSet<u64> = entries
        .into_iter()
        .filter(leads)
        .map(|entry| entry.inode)
        .collect();
    if leading.is_empty() || running.is_empty() {
        return false;
    }
    let all: Vec<Process> = crate::procfs::all_processes().collect();
    let mut family: HashSet<i32> = running.iter().map(|running| running.pid).collect();
    let parents: Vec<(i32, i32)> = all
        .iter()
        .filter_map(|process| Some((process.pid, process.stat().ok()?.ppid)))
        .collect();
    let mut known = 0;
    while known < family.len() {
        known = family.len();
        let children = parents.iter().filter(|(_, parent)| family.contains(parent));
        let children: Vec<i32> = children.map(|(pid, _)| *pid).collect();
        family.extend(children);
    }
    let mut own = all.iter().filter(|process| family.contains(&process.pid));
    own.any(|process| {
        let mut held = process.fd().into_iter().flatten().flatten();
        held.any(|fd| matches!(fd.target, FDTarget::Socket(inode) if leading.contains(&inode)))
    })
}

/// Ports that whoever listens on this one listens on, too.
pub fn beside(port: u16) -> Vec<u16> {
    let listening = listening();
    let mut found = Vec::new();
    for (pid, _) in crate::vantage::process::sockets::listeners(port) {
        if let Ok(process) = Process::new(pid) {
            found.extend(ports(&process, &listening));
        }
    }
    found.retain(|other| *other != port);
    found.sort_unstable();
    found.dedup();
    found
}

fn log(pid: i32) -> Option<PathBuf> {
    let target = std::fs::read_link(format!("/proc/{pid}/fd/2")).ok()?;
    target.is_file().then_some(target)
}

/// The environment that `PATH` leads to first, for a command that names no folder.
fn on_path(words: &[String], path: Option<&std::ffi::OsStr>) -> Option<PathBuf> {
    let first = words.first()?.rsplit('/').next()?;
    let bin = std::env::split_paths(path?).find(|folder| folder.join(first).is_file())?;
    let folder = bin.parent()?;
    folder.join("pyvenv.cfg").is_file().then(|| folder.to_owned())
}

/// The environment whose `bin` holds the program or its interpreter.
fn environment(words: &[String]) -> Option<PathBuf> {
    words.iter().take(2).find_map(|word| {
        let folder = Path::new(word).parent()?.parent()?;
        (word.starts_with('/') && folder.join("pyvenv.cfg").is_file()).then(|| folder.to_owned())
    })
}
