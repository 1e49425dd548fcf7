//! Processes on this machine: who is at the client's end of a connection, and who serves the API.
//!
//! Everything is read from `/proc`; nothing is stopped, traced or run. Processes of other users
//! show their command line but neither their sockets nor their environment.

mod code;
mod distributions;
mod dotenv;
mod environment;
mod interpreter;
mod mask;
pub mod names;
mod stacks;
mod view;
mod watched;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::time::Duration;

use procfs::net::{TcpNetEntry, TcpState};
use procfs::process::{FDTarget, Process as Proc};
use tokio::sync::mpsc;

use super::{Phases, Tap, Watched};
use crate::config::Config;
use crate::error::Unavailable;
use crate::timeline::environment::Found;
use crate::timeline::scrub::Scrubber;
use crate::timeline::{EventKind, Process};
use crate::trace::Who;
use environment::Fingerprints;
use watched::{Configured, LogFiles, holds, log_files, writers};

/// What the run wants to know of processes.
#[derive(Debug)]
pub enum Ask {
    /// Who is at the client's end of `ip:port -> ip:port`?
    Connection(String),
    Pid(i32),
    /// We started it: whoever started it tells of its end.
    Started(i32),
    /// Who listens on the API's port?
    Api(u16),
    /// Who writes the worker's log?
    Writers,
}

/// A switch is a word; what is longer is something else.
const MOST_SHOWN: usize = 400;

/// Environment variables whose values are harmless and tell something; of all others only the
/// name is kept.
const HARMLESS: &[&str] = &[
    "DRAMATIQ_TESTING",
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
    "dramatiq_queue_prefetch",
    "dramatiq_delay_queue_prefetch",
    "dramatiq_restart_delay",
];

struct Watcher {
    tap: Tap,
    /// Connections already answered.
    known: HashSet<String>,
    /// Processes already shown, with what was shown.
    shown: HashMap<i32, Process>,
    logs: LogFiles,
    worker: Configured,
    /// Processes that serve the API.
    apis: Vec<i32>,
    /// Processes that we started.
    ours: HashSet<i32>,
    fingerprints: Fingerprints,
}

/// What is known of processes before the submission is fingerprinted before it, if it takes no
/// longer: a run may be over in a moment.
const FINGERPRINTS_WITHIN: Duration = Duration::from_secs(1);

pub async fn watch(
    config: &Config,
    mut asked: mpsc::UnboundedReceiver<Ask>,
    tap: Tap,
    mut phases: Phases,
) -> Watched {
    if !cfg!(target_os = "linux") {
        return Err(Unavailable::new("processes can be looked at on Linux only"));
    }
    let local = is_local(&config.broker.amqp.host()).await;
    if procfs::net::tcp().is_err() {
        return Err(
            Unavailable::new("/proc/net/tcp cannot be read").hint("run taskdiag where /proc is mounted")
        );
    }
    let mut watcher = Watcher {
        tap: tap.clone(),
        known: HashSet::new(),
        shown: HashMap::new(),
        logs: log_files(config),
        worker: Configured::new(config),
        apis: Vec::new(),
        ours: HashSet::new(),
        fingerprints: Fingerprints::new(tap.clone()),
    };
    if let Some(api) = &config.api
        && is_local(api.url.host_str().unwrap_or_default()).await
        && let Some(port) = api.url.port_or_known_default()
    {
        watcher.api(port);
    }
    watcher.fingerprint_workers();
    watcher.fingerprints.settle(FINGERPRINTS_WITHIN).await;
    let root = procfs::process::Process::myself()
        .ok()
        .and_then(|me| me.uid().ok())
        == Some(0);
    match (local, root) {
        (true, true) => tap.watching("processes of this machine, through /proc"),
        (true, false) => {
            tap.partial("processes of this user only; run it as the worker's user, or as root, to see others")
        }
        (false, _) => tap.partial(format!(
            "the broker {} is not on this machine: connections are matched by this machine's addresses only",
            config.broker.amqp.host()
        )),
    }
    loop {
        let phase = tokio::select! {
            ask = asked.recv() => {
                let mut asks: Vec<Ask> = ask.into_iter().collect();
                while let Ok(more) = asked.try_recv() {
                    asks.push(more);
                }
                watcher.answer(&asks);
                phases.now()
            }
            () = tokio::time::sleep(Duration::from_millis(250)) => {
                watcher.refresh();
                phases.now()
            }
            phase = phases.ending() => phase,
        };
        if phase.stop {
            return Ok(());
        }
        if phase.last_look {
            let mut asks = Vec::new();
            while let Ok(more) = asked.try_recv() {
                asks.push(more);
            }
            watcher.answer(&asks);
            watcher.last_look();
            watcher.stacks().await;
            watcher.fingerprints.settle(FINGERPRINTS_WITHIN / 4).await;
            tap.looked();
            return Ok(());
        }
    }
}

impl Watcher {
    /// Answers everything that was asked with one walk through `/proc`: a connection may be gone
    /// again in a moment.
    fn answer(&mut self, asks: &[Ask]) {
        let mut wanted: Vec<(String, SocketAddr)> = Vec::new();
        for ask in asks {
            match ask {
                Ask::Pid(pid) => {
                    self.show(*pid);
                    self.fingerprints.take(*pid, Found::LogLine);
                }
                Ask::Started(pid) => {
                    self.ours.insert(*pid);
                    self.show(*pid);
                }
                Ask::Api(port) => self.api(*port),
                Ask::Writers => {
                    for pid in writers(&self.logs) {
                        self.show(pid);
                        self.fingerprints.take(pid, Found::WorkerLog);
                    }
                    // Ready or ended: by now it is what it was meant to become.
                    for pid in &self.ours {
                        self.fingerprints.take(*pid, Found::Started);
                    }
                }
                Ask::Connection(name) => {
                    if !self.known.contains(name)
                        && wanted.iter().all(|(other, _)| other != name)
                        && let Some(client) = client_end(name)
                    {
                        wanted.push((name.clone(), client));
                    }
                }
            }
        }
        if wanted.is_empty() {
            return;
        }
        for (name, pid) in holders(&wanted) {
            if self.known.insert(name.clone()) {
                self.tap.see(EventKind::Peer {
                    connection: name,
                    pid,
                });
                self.show(pid);
                self.fingerprints.take(pid, Found::Connection);
            }
        }
    }

    /// The process that listens on the API's port.
    fn api(&mut self, port: u16) {
        let listening: HashSet<u64> = sockets()
            .into_iter()
            .filter(|entry| entry.state == TcpState::Listen && entry.local_address.port() == port)
            .map(|entry| entry.inode)
            .collect();
        for (_, pid) in owners_of(&listening) {
            if self.apis.contains(&pid) {
                continue;
            }
            self.tap.see(EventKind::ApiProcess { pid });
            self.apis.push(pid);
            self.show(pid);
            self.fingerprints.take(pid, Found::ApiPort);
        }
    }

    fn show(&mut self, pid: i32) {
        if self.shown.contains_key(&pid) {
            return;
        }
        self.show_again(pid);
    }

    fn show_again(&mut self, pid: i32) {
        if let Some(mut process) = read(pid) {
            process.holds_log = holds(pid, &self.logs);
            process.is_configured = self.worker.is_it(&process.command, process.cwd.as_deref());
            if self.shown.get(&pid) != Some(&process) {
                self.tap.see(EventKind::Process(process.clone()));
            }
            self.shown.insert(pid, process);
        }
    }

    /// Connections open lazily, so at the end everything is read once more.
    fn last_look(&mut self) {
        self.refresh();
        for pid in writers(&self.logs) {
            self.show(pid);
        }
        // A worker that has neither a connection nor a log line yet is known by its command only.
        for pid in self.worker.running() {
            self.show(pid);
        }
        self.fingerprint_workers();
        let pids: Vec<i32> = self.shown.keys().copied().collect();
        for pid in pids {
            self.show_again(pid);
        }
    }

    /// What can be known of the worker before it has done anything. Whoever writes its log is it; by
    /// the command alone another installation's worker would be taken for it.
    fn fingerprint_workers(&mut self) {
        let writers = writers(&self.logs);
        for pid in &writers {
            self.fingerprints.take(*pid, Found::WorkerLog);
        }
        for pid in self.worker.running() {
            if writers.is_empty() || writers.contains(&pid) {
                self.fingerprints.take(pid, Found::WorkerCommand);
            }
        }
    }

    /// Says what has changed with the processes shown so far: stopped, orphaned, gone.
    fn refresh(&mut self) {
        let pids: Vec<i32> = self.shown.keys().copied().collect();
        for pid in pids {
            let Some(last) = self.shown.get(&pid) else {
                continue;
            };
            let stat = Proc::new(pid).and_then(|process| process.stat()).ok();
            match stat {
                Some(stat) if started_at_ms(stat.starttime) == last.started_at_ms => {
                    let odd = |state: char| matches!(state, 'T' | 't' | 'Z' | 'D');
                    if stat.ppid != last.ppid
                        || (stat.state != last.state && (odd(stat.state) || odd(last.state)))
                    {
                        self.show_again(pid);
                    }
                }
                _ => {
                    self.shown.remove(&pid);
                    if !self.ours.contains(&pid) {
                        self.tap.see(EventKind::Gone { pid, exit: None });
                    }
                }
            }
        }
    }
}

/// Stacks are read of so many processes at most, within this time.
const MOST_STACKS: usize = 8;
const STACKS_WITHIN: Duration = Duration::from_millis(1800);

impl Watcher {
    /// The Python stacks of everything that takes part: the silence has to be somewhere.
    async fn stacks(&self) {
        let python = |process: &&Process| {
            process.command.iter().take(2).any(|word| {
                let name = word.rsplit('/').next().unwrap_or(word);
                ["python", "dramatiq", "uvicorn", "gunicorn", "celery", "hypercorn"]
                    .iter()
                    .any(|known| name.starts_with(known))
            })
        };
        let mut dumps = tokio::task::JoinSet::new();
        for process in self.shown.values().filter(python).take(MOST_STACKS) {
            let pid = process.pid;
            dumps.spawn_blocking(move || (pid, stacks::dump(pid)));
        }
        let _ = tokio::time::timeout(STACKS_WITHIN, async {
            while let Some(Ok((pid, dump))) = dumps.join_next().await {
                self.tap.see(match dump {
                    Ok(threads) => EventKind::Stacks { pid, threads },
                    Err(reason) => EventKind::StacksRefused { pid, reason },
                });
            }
        })
        .await;
    }
}

/// Whether a host name means this machine.
async fn is_local(host: &str) -> bool {
    let Ok(mut addresses) = tokio::net::lookup_host((host, 0)).await else {
        return false;
    };
    // An address of ours is one that we can bind.
    addresses.any(|address| address.ip().is_loopback() || std::net::UdpSocket::bind(address).is_ok())
}

/// The client's half of a connection name, `127.0.0.1:40000 -> 127.0.0.1:5672`.
pub fn client_end(name: &str) -> Option<SocketAddr> {
    let client = name.split(" -> ").next()?.trim();
    client.parse().ok().or_else(|| {
        // RabbitMQ prints IPv6 without brackets: the last colon divides.
        let (ip, port) = client.rsplit_once(':')?;
        Some(SocketAddr::new(
            ip.trim_matches(['[', ']']).parse().ok()?,
            port.parse().ok()?,
        ))
    })
}

/// Who is at the client's end of these connections: by name, as far as it can be seen.
pub fn peers(connections: &[String]) -> HashMap<String, Who> {
    peers_without(connections, &Scrubber::default())
}

/// The same, their command lines without what this scrubber knows to be secret.
pub fn peers_without(connections: &[String], scrubber: &Scrubber) -> HashMap<String, Who> {
    let wanted: Vec<(String, SocketAddr)> = connections
        .iter()
        .filter_map(|name| Some((name.clone(), client_end(name)?)))
        .collect();
    let mut commands: HashMap<i32, Who> = HashMap::new();
    holders(&wanted)
        .into_iter()
        .map(|(name, pid)| {
            let who = commands.entry(pid).or_insert_with(|| who(pid, scrubber));
            (name, who.clone())
        })
        .collect()
}

fn who(pid: i32, scrubber: &Scrubber) -> Who {
    let command = |pid: i32| -> Vec<String> {
        let command = Proc::new(pid).and_then(|process| process.cmdline());
        masked(command.unwrap_or_default())
            .iter()
            .map(|word| scrubber.one_line(word))
            .collect()
    };
    let own = command(pid);
    // A child that Python's multiprocessing has spawned says nothing of its program: its parent does.
    let spawned = own.iter().any(|word| word.contains("multiprocessing"));
    let parent = spawned
        .then(|| Proc::new(pid).and_then(|process| process.stat()).ok())
        .flatten()
        .map(|stat| command(stat.ppid));
    Who {
        pid,
        name: program(parent.as_ref().unwrap_or(&own)),
        command: own,
    }
}

/// What people call a command: the script or module where an interpreter runs one.
fn program(command: &[String]) -> String {
    let base = |word: &String| word.rsplit('/').next().unwrap_or(word).to_owned();
    let Some(first) = command.first().map(base) else {
        return "?".into();
    };
    if !first.starts_with("python") {
        return first;
    }
    let mut words = command.iter().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "-m" => return words.next().cloned().unwrap_or(first),
            "-c" | "-" => return first,
            // Options that take a value of their own.
            "-X" | "-W" => drop(words.next()),
            option if option.starts_with('-') => {}
            _ => return base(word),
        }
    }
    first
}

/// The processes that hold the clients' ends of these connections.
fn holders(wanted: &[(String, SocketAddr)]) -> Vec<(String, i32)> {
    let pick = |entries: Vec<TcpNetEntry>| -> HashMap<u64, &String> {
        let established: Vec<TcpNetEntry> = entries
            .into_iter()
            .filter(|entry| entry.state == TcpState::Established)
            .collect();
        let mut found = HashMap::new();
        for (name, client) in wanted {
            let ours = || {
                established
                    .iter()
                    .filter(|entry| same(entry.local_address, *client))
            };
            let mut inodes: Vec<u64> = ours()
                .filter(|entry| leads(name, entry.local_address, entry.remote_address) == Some(true))
                .map(|entry| entry.inode)
                .collect();
            if inodes.is_empty() {
                inodes = ours()
                    .filter(|entry| leads(name, entry.local_address, entry.remote_address).is_none())
                    .map(|entry| entry.inode)
                    .collect();
            }
            found.extend(inodes.into_iter().map(|inode| (inode, name)));
        }
        found
    };
    // Most are in our own network namespace; the others cost a look at every process.
    let mut inodes = pick(own_namespace());
    if inodes.len() < wanted.len() {
        inodes = pick(sockets());
    }
    let owners = owners_of(&inodes.keys().copied().collect());
    owners
        .into_iter()
        .filter_map(|(inode, pid)| Some(((*inodes.get(&inode)?).clone(), pid)))
        .collect()
}

/// Whether a socket leads to the broker's end of a connection, `IP:PORT -> IP:PORT`: one local port may
/// lead to several places at once. `None`: it leads elsewhere, and the address may be translated on the
/// way (a container's published port).
fn leads(name: &str, local: SocketAddr, remote: SocketAddr) -> Option<bool> {
    let (_, broker) = name.split_once(" -> ")?;
    let broker = client_end(broker)?;
    if same(remote, broker) {
        return Some(true);
    }
    let within = broker.ip().to_canonical() == local.ip().to_canonical();
    within.then_some(false)
}

/// IPv4 and its IPv6-mapped form are the same address.
fn same(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && a.ip().to_canonical() == b.ip().to_canonical()
}

/// Every TCP socket of this network namespace, and of the others whose processes let us look: a
/// container's worker is a process of this machine too.
fn sockets() -> Vec<TcpNetEntry> {
    let mut entries = own_namespace();
    let own = namespace(std::process::id() as i32);
    let mut seen: HashSet<u64> = own.into_iter().collect();
    for process in procfs::process::all_processes().into_iter().flatten().flatten() {
        if let Some(other) = namespace(process.pid)
            && seen.insert(other)
        {
            entries.extend(process.tcp().unwrap_or_default());
            entries.extend(process.tcp6().unwrap_or_default());
        }
    }
    entries
}

/// Who listens on a port of this machine, as far as that can be seen.
pub fn listeners(port: u16) -> Vec<(i32, Vec<String>)> {
    let listening: HashSet<u64> = sockets()
        .into_iter()
        .filter(|entry| entry.state == TcpState::Listen && entry.local_address.port() == port)
        .map(|entry| entry.inode)
        .collect();
    let command = |pid| {
        Proc::new(pid)
            .and_then(|process| process.cmdline())
            .unwrap_or_default()
    };
    let owners = owners_of(&listening);
    owners
        .into_iter()
        .map(|(_, pid)| (pid, masked(command(pid))))
        .collect()
}

/// Where the processes of a session listen, as `127.0.0.1:8000`: something that was started is a session.
pub fn listens(session: i32) -> Vec<String> {
    let listening: std::collections::BTreeMap<u64, String> = own_namespace()
        .into_iter()
        .filter(|entry| entry.state == TcpState::Listen)
        .map(|entry| (entry.inode, entry.local_address.to_string()))
        .collect();
    let inodes = listening.keys().copied().collect();
    let in_session = |pid: i32| {
        let stat = Proc::new(pid).and_then(|process| process.stat());
        stat.is_ok_and(|stat| stat.session == session)
    };
    let mut found: Vec<String> = owners_of(&inodes)
        .into_iter()
        .filter(|(_, pid)| in_session(*pid))
        .filter_map(|(inode, _)| listening.get(&inode).cloned())
        .collect();
    found.sort();
    found.dedup();
    found
}

fn own_namespace() -> Vec<TcpNetEntry> {
    let mut entries = procfs::net::tcp().unwrap_or_default();
    entries.extend(procfs::net::tcp6().unwrap_or_default());
    entries
}

/// Inode of a process's network namespace.
fn namespace(pid: i32) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(format!("/proc/{pid}/ns/net"))
        .ok()
        .map(|metadata| metadata.ino())
}

/// The processes that hold these sockets, as far as they let us look, each with what it holds: a
/// listening one is shared by all children of a server.
fn owners_of(inodes: &HashSet<u64>) -> Vec<(u64, i32)> {
    let mut found = Vec::new();
    if inodes.is_empty() {
        return found;
    }
    for process in procfs::process::all_processes().into_iter().flatten().flatten() {
        let Ok(fds) = process.fd() else { continue };
        for fd in fds.flatten() {
            if let FDTarget::Socket(inode) = fd.target
                && inodes.contains(&inode)
            {
                found.push((inode, process.pid));
            }
        }
    }
    found
}

/// `None`: it is gone.
pub fn state_of(pid: i32) -> Option<char> {
    Some(Proc::new(pid).ok()?.stat().ok()?.state)
}

/// A command line without the values that follow a flag like `--password`; notations within one
/// argument are the scrubber's.
pub(super) fn masked(command: Vec<String>) -> Vec<String> {
    let secret = |flag: &str| {
        let flag = flag.to_lowercase();
        flag.starts_with('-')
            && !flag.contains('=')
            && [
                "password", "passwd", "secret", "token", "api-key", "apikey", "dsn",
            ]
            .iter()
            .any(|word| flag.contains(word))
    };
    let mut hide = false;
    command
        .into_iter()
        .map(|word| {
            let shown = if hide { "***".to_owned() } else { word.clone() };
            hide = !hide && secret(&word);
            shown
        })
        .collect()
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
fn started_at_ms(ticks: u64) -> Option<i64> {
    let boot = i64::try_from(procfs::boot_time_secs().ok()?).ok()?;
    let per_second = procfs::ticks_per_second();
    Some(boot * 1000 + i64::try_from(ticks * 1000 / per_second).ok()?)
}

/// A process as the timeline keeps it.
pub fn read(pid: i32) -> Option<Process> {
    let process = Proc::new(pid).ok()?;
    let stat = process.stat().ok()?;
    let environ = process.environ().unwrap_or_default();
    let mut env_names: Vec<String> = environ
        .keys()
        .filter_map(|name| name.to_str().map(str::to_owned))
        .collect();
    env_names.sort();
    let env: BTreeMap<String, String> = HARMLESS
        .iter()
        .filter_map(|name| {
            let value = environ.get(std::ffi::OsStr::new(name))?;
            (value.len() <= MOST_SHOWN).then(|| ((*name).to_owned(), value.to_string_lossy().into_owned()))
        })
        .collect();
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
        sockets_seen: process.fd().is_ok(),
        sockets: own_sockets(&process),
        holds_log: false,
        is_configured: false,
        pipe_write: pipe_write(&process),
    })
}

/// The process's TCP connections, its own end first. One it is still trying to open is marked.
fn own_sockets(process: &Proc) -> Vec<String> {
    let inodes: HashSet<u64> = process
        .fd()
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|fd| match fd.target {
            FDTarget::Socket(inode) => Some(inode),
            _ => None,
        })
        .collect();
    let plain = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    let mut found: Vec<String> = sockets()
        .into_iter()
        .filter(|entry| inodes.contains(&entry.inode))
        .filter_map(|entry| {
            let text = format!(
                "{} -> {}",
                plain(entry.local_address),
                plain(entry.remote_address)
            );
            match entry.state {
                TcpState::Established => Some(text),
                TcpState::SynSent => Some(format!("{text} (connecting)")),
                _ => None,
            }
        })
        .collect();
    found.sort();
    found.dedup();
    found
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_a_name() {
        for (command, name) in [
            ("/v/bin/python /v/bin/dramatiq -v app.worker", "dramatiq"),
            ("python3 -u -W ignore -m billing.api 80", "billing.api"),
            ("python -c import", "python"),
            ("/usr/bin/beam.smp -W w", "beam.smp"),
        ] {
            let words: Vec<String> = command.split(' ').map(str::to_owned).collect();
            assert_eq!(program(&words), name);
        }
        assert_eq!(program(&[]), "?");
    }

    #[test]
    fn a_port_that_leads_elsewhere_too() {
        let leads = |name: &str, local: &str, remote: &str| {
            leads(
                name,
                local.parse().expect("an address"),
                remote.parse().expect("an address"),
            )
        };
        let here = "127.0.0.1:50088 -> 127.0.0.1:5672";
        assert_eq!(leads(here, "127.0.0.1:50088", "127.0.0.1:5432"), Some(false));
        assert_eq!(
            leads("::1:50088 -> ::1:5672", "[::1]:50088", "[::1]:5672"),
            Some(true)
        );
        let published = "172.17.0.1:50088 -> 10.0.0.9:5672";
        assert_eq!(leads(published, "172.17.0.1:50088", "172.17.0.2:5672"), None);
    }

    #[test]
    fn the_client_end_of_a_connection_name() {
        assert_eq!(
            client_end("127.0.0.1:48422 -> 127.0.0.1:5672"),
            "127.0.0.1:48422".parse().ok()
        );
        assert_eq!(client_end("::1:48422 -> ::1:5672"), "[::1]:48422".parse().ok());
        assert_eq!(client_end("<rabbit@host.1.2.3>"), None);
    }
}
