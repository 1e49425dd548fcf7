//! What a process runs in: read once for each distinct one, beside the run and not in its way.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsString;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::procfs::process::Process as Proc;
use tokio::task::JoinSet;

use super::changed;
use super::code::{self, ImportPath};
use super::distributions::{Installed, installed};
use super::dotenv;
use super::interpreter::{self, Python};
use super::mask::Masker;
use super::twins::Twins;
use super::view::View;
use crate::config::Config;
use crate::framework;
use crate::timeline::EventKind;
use crate::timeline::environment::{Environment, Found};
use crate::timeline::scrub::printable;
use crate::vantage::{Tap, exec};

/// So many processes are looked at in one run, and variables of one process.
const MOST_PROCESSES: usize = 64;
const MOST_VARIABLES: usize = 2_000;
const MOST_NAME: usize = 200;

/// Fingerprints the processes it is told of, in the background.
pub struct Fingerprints {
    tap: Tap,
    known: Arc<Mutex<Known>>,
    asked: HashMap<i32, BTreeSet<Found>>,
    twins: Twins,
    jobs: JoinSet<()>,
}

/// What was read before, so that nothing is read twice.
#[derive(Default)]
struct Known {
    masker: Option<Arc<Masker>>,
    /// Everything a process starts with, to the first process that had it.
    alike: HashMap<u64, i32>,
    sites: HashMap<(View, Vec<PathBuf>), Arc<Installed>>,
}

impl Fingerprints {
    pub fn new(tap: Tap, config: &Config, twins: Twins) -> Self {
        // What is hashed in a place is compared with what is hashed here.
        let masker = (!exec::places(config).is_empty()).then(|| Arc::new(Masker::of_places()));
        let known = Known {
            masker,
            ..Known::default()
        };
        Self {
            tap,
            known: Arc::new(Mutex::new(known)),
            asked: HashMap::new(),
            twins,
            jobs: JoinSet::new(),
        }
    }

    /// Reads this process, unless that was done; then it says how it was found if that is news.
    pub fn take(&mut self, pid: i32, found: Found) {
        let is_full = self.asked.len() >= MOST_PROCESSES && !self.asked.contains_key(&pid);
        if is_full || !self.twins.tell_here(pid) {
            return;
        }
        let before = self.asked.entry(pid).or_default();
        let news = adds(before, found);
        before.insert(found);
        if !news {
            return;
        }
        let (known, tap) = (self.known.clone(), self.tap.clone());
        self.jobs.spawn_blocking(move || {
            if let Some(kind) = look(pid, found, &known) {
                tap.see(kind);
            }
        });
    }

    /// Waits until everything asked for so far was read, but not for long.
    pub async fn settle(&mut self, within: Duration) {
        let _ = tokio::time::timeout(within, async { while self.jobs.join_next().await.is_some() {} }).await;
    }
}

/// Whether this way of finding a process says more of whose it is than those before.
fn adds(before: &BTreeSet<Found>, found: Found) -> bool {
    let had = |ways: &[Found]| ways.iter().any(|way| before.contains(way));
    match found {
        _ if before.is_empty() => true,
        Found::ApiPort => !had(&[Found::ApiPort]),
        Found::WorkerLog | Found::LogLine => !had(&[Found::WorkerLog, Found::LogLine]),
        Found::WorkerCommand => !had(&[Found::WorkerLog, Found::LogLine, Found::WorkerCommand]),
        Found::Connection | Found::Started => false,
    }
}

/// What the kernel says of a process; nothing of it has been judged or masked yet.
struct Raw {
    pid: i32,
    uid: Option<u32>,
    command: Vec<String>,
    cwd: Option<PathBuf>,
    executable: Option<PathBuf>,
    started_at_ms: Option<i64>,
    /// `None`: it is not ours to read.
    variables: Option<HashMap<OsString, OsString>>,
}

fn look(pid: i32, found: Found, known: &Mutex<Known>) -> Option<EventKind> {
    let raw = raw(pid)?;
    if found != Found::ApiPort && !is_python(&raw) {
        return None;
    }
    let alike = alike(&raw);
    let masker = {
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.alike.get(&alike) {
            Some(like) => {
                return Some(EventKind::SameEnvironment {
                    pid,
                    like: *like,
                    found: vec![found],
                });
            }
            None => known.alike.insert(alike, pid),
        };
        known
            .masker
            .get_or_insert_with(|| Arc::new(Masker::of_this_user()))
            .clone()
    };
    Some(EventKind::Environment(Box::new(read(
        &raw, found, &masker, known,
    ))))
}

fn raw(pid: i32) -> Option<Raw> {
    let process = Proc::new(pid).ok()?;
    Some(Raw {
        pid,
        uid: process.uid().ok(),
        command: process.cmdline().unwrap_or_default(),
        cwd: process.cwd().ok(),
        executable: process.exe().ok(),
        started_at_ms: process
            .stat()
            .ok()
            .and_then(|stat| super::describe::started_at_ms(stat.starttime)),
        variables: process.environ().ok(),
    })
}

/// By its program, or by what was started where that cannot be seen.
fn is_python(raw: &Raw) -> bool {
    raw.executable
        .as_ref()
        .and_then(|program| program.file_name()?.to_str())
        .is_some_and(framework::is_python_program)
        || raw
            .command
            .iter()
            .take(2)
            .any(|word| framework::is_python_program(word))
}

/// Two with the same number were started in the same way: a server's children, for example.
fn alike(raw: &Raw) -> u64 {
    let mut hasher = DefaultHasher::new();
    (raw.uid, &raw.command, &raw.cwd, &raw.executable).hash(&mut hasher);
    // Unreadable ones are alike only if they are the same.
    if raw.variables.is_none() {
        raw.pid.hash(&mut hasher);
    }
    let sorted: BTreeMap<_, _> = raw.variables.iter().flatten().collect();
    sorted.hash(&mut hasher);
    hasher.finish()
}

fn read(raw: &Raw, found: Found, masker: &Masker, known: &Mutex<Known>) -> Environment {
    let mut environment = Environment {
        pid: raw.pid,
        found: vec![found],
        command: super::command::masked(raw.command.clone()),
        uid: raw.uid,
        cwd: raw.cwd.as_deref().map(shown),
        key: masker.id.clone(),
        ..Environment::default()
    };
    let view = View::of(raw.pid);
    environment.user = raw.uid.and_then(|uid| user_name(view.as_ref()?, uid));
    let (Some(view), Some(variables)) = (view, &raw.variables) else {
        environment.hidden.push(format!(
            "pid {} belongs to another user: of it only the command line can be seen; run taskdiag as that user, or as root",
            raw.pid
        ));
        return environment;
    };
    note_variables(&mut environment, variables, masker);
    environment.hidden.extend(masker.trouble.clone());
    let variable = |name: &str| {
        let value = variables.get(std::ffi::OsStr::new(name))?;
        Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    let python = raw.executable.as_deref().and_then(|executable| {
        interpreter::find(&interpreter::Process {
            view: &view,
            executable,
            command: &raw.command,
            cwd: raw.cwd.as_deref(),
            variable: &variable,
        })
    });
    let Some(Python { interpreter, sites }) = python else {
        environment.hidden.push(format!(
            "pid {} is no Python that taskdiag knows: its packages cannot be told",
            raw.pid
        ));
        return environment;
    };
    environment.interpreter = Some(interpreter);
    // Packages in the folders of PYTHONPATH count too, and first.
    let python_path = variable("PYTHONPATH").filter(|path| !path.is_empty());
    let cwd = raw.cwd.as_deref();
    let mut folders: Vec<PathBuf> = python_path
        .iter()
        .flat_map(std::env::split_paths)
        .filter(|folder| !folder.as_os_str().is_empty())
        .map(|folder| cwd.map(|cwd| cwd.join(&folder)).unwrap_or(folder))
        .collect();
    folders.extend(sites.iter().cloned());
    let packages = packages(&view, folders, known);
    if packages.cut {
        environment
            .hidden
            .push("there are more distributions than taskdiag reads: some may be missing".into());
    }
    environment.code = code::find(
        &raw.command,
        &ImportPath {
            view: &view,
            cwd,
            python_path: python_path.as_deref(),
            sites: &sites,
            added: &packages.added,
        },
    );
    if let (Some(code), Some(started)) = (&mut environment.code, raw.started_at_ms)
        && found != Found::ApiPort
    {
        code.changed = changed::since(started, code, &view);
    }
    if packages
        .distributions
        .iter()
        .any(|one| dotenv::is_reader(&one.name))
    {
        environment.dotenv = dotenv::find(
            &view,
            cwd,
            environment.code.as_ref().map(|code| Path::new(&code.directory)),
            masker,
            environment.variables.as_ref().unwrap_or(&BTreeMap::new()),
            raw.started_at_ms,
        );
    }
    environment.distributions = Some(packages.distributions.clone());
    environment
}

fn note_variables(environment: &mut Environment, variables: &HashMap<OsString, OsString>, masker: &Masker) {
    // In order, so that of too many the same are left out each time.
    let mut sorted: Vec<_> = variables
        .iter()
        .filter(|(name, _)| name.len() <= MOST_NAME)
        .collect();
    sorted.sort();
    if sorted.len() > MOST_VARIABLES {
        environment.hidden.push(format!(
            "of {} variables the first {MOST_VARIABLES} are looked at",
            sorted.len()
        ));
    }
    environment.variables = Some(
        sorted
            .into_iter()
            .take(MOST_VARIABLES)
            .map(|(name, value)| (printable(&name.to_string_lossy()), masker.variable(name, value)))
            .collect(),
    );
}

/// API and worker often share a virtual environment.
fn packages(view: &View, folders: Vec<PathBuf>, known: &Mutex<Known>) -> Arc<Installed> {
    let key = (view.clone(), folders);
    let lock = || known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(found) = lock().sites.get(&key) {
        return found.clone();
    }
    let found = Arc::new(installed(view, &key.1));
    lock().sites.insert(key, found.clone());
    found
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// From the process's own /etc/passwd; other directories of users are not asked.
fn user_name(view: &View, uid: u32) -> Option<String> {
    let text = view.read(Path::new("/etc/passwd"), 1024 * 1024)?;
    text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| printable(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    use crate::timeline::environment::Variable;

    #[test]
    fn what_is_known_of_a_process_is_not_said_again() {
        let before = BTreeSet::from([Found::Connection]);
        assert!(adds(&BTreeSet::new(), Found::Connection));
        assert!(
            adds(&before, Found::LogLine)
                && adds(&before, Found::ApiPort)
                && adds(&before, Found::WorkerCommand)
        );
        let before = BTreeSet::from([Found::Connection, Found::LogLine]);
        assert!(!adds(&before, Found::WorkerLog) && !adds(&before, Found::WorkerCommand));
        assert!(!adds(&before, Found::Started) && adds(&before, Found::ApiPort));
    }

    #[test]
    fn one_process_is_read_once_and_its_like_is_named() {
        // The state folder of whoever runs the tests is left alone.
        let known = Mutex::new(Known {
            masker: Some(Arc::new(Masker::without("no key"))),
            ..Known::default()
        });
        let pid = std::process::id() as i32;
        let first = look(pid, Found::ApiPort, &known);
        let Some(EventKind::Environment(environment)) = first else {
            panic!("{first:?}");
        };
        assert_eq!(
            environment.cwd.as_deref(),
            std::env::current_dir().unwrap().to_str()
        );
        assert_eq!(
            environment.uid,
            std::fs::metadata("/proc/self").ok().map(|us| us.uid())
        );
        // What cargo sets for its tests is nothing that is known to be harmless.
        let variable = environment.variable("CARGO_MANIFEST_DIR");
        assert!(matches!(variable, Some(Variable::Hidden)), "{variable:?}");
        let again = look(pid, Found::ApiPort, &known);
        assert!(matches!(again, Some(EventKind::SameEnvironment { like, .. }) if like == pid));
        assert_eq!(
            look(pid, Found::Connection, &Mutex::default()),
            None,
            "it is no Python"
        );
    }
}
