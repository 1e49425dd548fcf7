//! Outlives a killed taskdiag and undoes what it had done: ends what it started, puts back the
//! tracing of a vhost, removes its folder.
//!
//! The guardian is taskdiag executed again, in a session of its own, so that neither Ctrl-C nor
//! the death of its parent reaches it. It is told what to do over its standard input, never in its
//! arguments, because credentials are among it; the end of that pipe, however it comes, is the
//! signal to undo everything. One path for every exit: normal, Ctrl-C, panic and `kill -9`.

mod child;
mod connect_filter;
pub mod left_behind;
mod main_loop;
mod protocol;
mod successor;
mod tracing;
mod tree;
mod trim;
mod vhost;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::config::Broker;
use crate::error::Unavailable;
use crate::interrupt::Undoing;
use child::{Process, spawn};
pub use connect_filter::{BlockedConnect, ConnectFilter, NO_FILTER};
pub use main_loop::{last_words, main};
use protocol::{Answer, Request};
pub use protocol::{Exit, LeftRunning, Start};
use successor::listen;

/// The hidden first argument that makes taskdiag a guardian.
pub const ARGUMENT: &str = "__guardian";
/// An answer takes no longer than the system needs to start a process, or to stop one.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// Ending processes, or switching tracing off, takes no longer.
const END_WITHIN: Duration = Duration::from_secs(45);
/// After its last word the process is gone, or goes on alone.
const ENDS_WITHIN: Duration = Duration::from_millis(500);
/// A last command may take so long.
const LAST_WITHIN: Duration = Duration::from_secs(120);

/// A running guardian: one for each run, shared by whoever has something to be undone. When the last
/// handle is dropped it undoes everything: its pipe closes. One that is killed is replaced.
#[derive(Clone)]
pub struct Guardian(Arc<Inner>);

struct Inner {
    process: tokio::sync::Mutex<Option<Process>>,
    next: AtomicU64,
    waiting: Waiting,
    state: Arc<watch::Sender<State>>,
    has_last: AtomicBool,
    /// It was told to undo everything: that it ends is no surprise.
    ending: AtomicBool,
    deaths: AtomicU32,
    /// What has to be undone, as the next one is told of it.
    owed: Mutex<Vec<Request>>,
}

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Answer>>>>;

#[derive(Default)]
struct State {
    exits: HashMap<i32, Exit>,
    blocked: HashMap<i32, Vec<BlockedConnect>>,
    /// What one that was killed had started: it has ended with it.
    lost: HashSet<i32>,
    started: HashSet<i32>,
    complaints: Vec<String>,
    /// It said its last word.
    over: bool,
}

impl Guardian {
    /// Starts the guardian.
    pub async fn launch() -> std::io::Result<Self> {
        let (process, stdout) = spawn()?;
        let inner = Arc::new(Inner {
            process: tokio::sync::Mutex::new(Some(process)),
            next: AtomicU64::new(0),
            waiting: Waiting::default(),
            state: Arc::new(watch::channel(State::default()).0),
            has_last: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            deaths: AtomicU32::new(0),
            owed: Mutex::default(),
        });
        tokio::spawn(listen(stdout, Arc::downgrade(&inner)));
        Ok(Self(inner))
    }

    /// The run's guardian: the one there is, or a new one.
    pub async fn of_run(slot: &tokio::sync::Mutex<Option<Guardian>>) -> Result<Self, Unavailable> {
        let mut slot = slot.lock().await;
        if let Some(guardian) = &*slot {
            return Ok(guardian.clone());
        }
        let guardian = Self::launch()
            .await
            .map_err(|error| tracing_needs_it(error.to_string()))?;
        *slot = Some(guardian.clone());
        Ok(guardian)
    }

    /// From now on the vhost's tracing is switched off at this node at the end, once this reader has gone.
    pub async fn restore_tracing(&self, broker: &Broker, node: &str, queue: &str) -> Result<(), Unavailable> {
        let traced = tracing::OwnedTracing::new(broker, node, queue);
        self.ask(Request::Tracing(traced))
            .await
            .map(drop)
            .map_err(tracing_needs_it)
    }

    /// From now on this vhost is deleted at the end: it is made for this run.
    pub async fn delete_vhost(&self, broker: &Broker, name: &str) -> Result<(), String> {
        self.ask(Request::Vhost(vhost::OwnedVhost::new(broker, name)))
            .await
            .map(drop)
    }

    /// A folder that only this user can enter, removed at the end.
    pub async fn folder(&self, below: &Path) -> Result<PathBuf, String> {
        match self
            .ask(Request::Folder {
                below: below.to_owned(),
            })
            .await?
        {
            Answer::Folder(folder) => {
                self.0.owe(Request::Adopt {
                    folder: folder.clone(),
                });
                Ok(folder)
            }
            _ => Err("the guardian gave another answer".into()),
        }
    }

    /// Starts a process, which ends with us at the latest, with all its descendants. Returns its pid.
    pub async fn start(&self, start: Start) -> Result<i32, String> {
        match self.ask(Request::Start(start)).await? {
            Answer::Started { pid } => Ok(pid),
            _ => Err("the guardian gave another answer".into()),
        }
    }

    /// How a started process ended, if it has.
    pub fn exit(&self, pid: i32) -> Option<Exit> {
        self.0.state.borrow().exits.get(&pid).copied()
    }

    /// Resolves when a started process has ended; `None` if the guardian itself is gone.
    pub async fn exited(&self, pid: i32) -> Option<Exit> {
        let mut state = self.0.state.subscribe();
        let known = |state: &State| state.over || state.exits.contains_key(&pid) || state.lost.contains(&pid);
        state.wait_for(known).await.ok()?.exits.get(&pid).copied()
    }

    /// Ends one started process and everything below it. What had left its tree before ends at the end.
    pub async fn stop(&self, pid: i32) -> Result<(), String> {
        let at_once = false;
        self.ask(Request::Stop { pid, at_once }).await.map(drop)
    }

    /// The same, without asking first: nothing of it comes to do anything more.
    pub async fn kill(&self, pid: i32) -> Result<(), String> {
        let at_once = true;
        self.ask(Request::Stop { pid, at_once }).await.map(drop)
    }

    /// What of a started process its connect filter has blocked so far.
    pub fn blocked(&self, pid: i32) -> Vec<BlockedConnect> {
        self.0
            .state
            .borrow()
            .blocked
            .get(&pid)
            .cloned()
            .unwrap_or_default()
    }

    /// At the very end, when nothing else is left to be undone, this is run.
    pub async fn run_last(&self, start: Start) -> Result<(), String> {
        self.0.has_last.store(true, Ordering::Relaxed);
        let seconds = LAST_WITHIN.as_secs();
        self.ask(Request::Last { start, seconds }).await.map(drop)
    }

    /// A process group that was started beside the guardian: if we are killed, it ends first of all.
    pub async fn watch_group(&self, group: i32) -> Result<(), String> {
        self.ask(Request::Group { group }).await.map(drop)
    }

    /// Processes and folder stay after the end; tracing is switched off all the same. Returns what
    /// runs on.
    pub async fn keep(&self) -> Result<LeftRunning, String> {
        match self.ask(Request::Keep).await? {
            Answer::LeftRunning(running) => Ok(running),
            _ => Err("the guardian gave another answer".into()),
        }
    }

    /// Lets it undo everything now, and waits for it. Returns what could not be undone.
    pub async fn end(&self) -> Vec<String> {
        let _undoing = Undoing::begin();
        let again = self.0.ending.swap(true, Ordering::Relaxed);
        // Its pipe closes.
        let child = self.0.process.lock().await.take().map(|process| process.child);
        let limit = match self.0.has_last.load(Ordering::Relaxed) {
            true => END_WITHIN + LAST_WITHIN,
            false => END_WITHIN,
        };
        let mut state = self.0.state.subscribe();
        let ending = async {
            let _ = state.wait_for(|state| state.over).await;
            let Some(mut child) = child else {
                return match again {
                    true => Vec::new(),
                    false => self.0.undo().await,
                };
            };
            match tokio::time::timeout(ENDS_WITHIN, child.wait()).await {
                // One that still tries is not waited for.
                Err(_) => Vec::new(),
                // It did what it could, and has said what it could not.
                Ok(Ok(status)) if status.code().is_some() => Vec::new(),
                Ok(_) => self.0.undo().await,
            }
        };
        let Ok(more) = tokio::time::timeout(limit, ending).await else {
            return vec!["the guardian still tries to undo what this run did; it goes on".into()];
        };
        let mut complaints = self.0.state.borrow().complaints.clone();
        complaints.extend(more);
        complaints
    }

    async fn ask(&self, request: Request) -> Result<Answer, String> {
        let gone = || "the guardian is gone".to_owned();
        if request.is_owed() {
            self.0.owe(request.clone());
        }
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        lock(&self.0.waiting).insert(id, sender);
        {
            let mut process = self.0.process.lock().await;
            let process = process.as_mut().ok_or_else(gone)?;
            process.tell(id, request).await.map_err(|_| gone())?;
        }
        match tokio::time::timeout(ANSWER_WITHIN, answer).await {
            Ok(Ok(Answer::Failed(reason))) => Err(reason),
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(gone()),
            Err(_) => Err("the guardian does not answer".into()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tracing_needs_it(error: String) -> Unavailable {
    Unavailable::new(format!(
        "cannot start the guardian that would restore tracing: {error}"
    ))
    .hint("tracing stays untouched; set trace = \"off\" to silence this")
}

/// Whether this complaint says that a vhost still traces.
pub fn leaves_tracing(complaint: &str) -> bool {
    complaint.starts_with(STILL_TRACES)
}

const STILL_TRACES: &str = "tracing of vhost ";
