//! What was seen: every event of one run, from every source, in order.
//!
//! A timeline is the only thing the diagnosis looks at, so whatever is recorded can be diagnosed
//! again later without any service. The types here serialise as they stand: they are the recording
//! and the `timeline` of the JSON report.

pub mod environment;
pub mod isolation;
mod masking;
pub mod recording;
pub mod scrub;

use serde::{Deserialize, Serialize};

use crate::framework::{ArgumentValues, LogEvent, Message, contains_token, spellings};
use environment::{Environment, Found};

/// One place we look from.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    Api,
    ApiLog,
    Database,
    Management,
    Firehose,
    Queue,
    DeadLetters,
    WorkerLog,
    Process,
    /// taskdiag itself: the end of the run, and after it what `--isolate` did.
    Run,
}

impl Source {
    /// The sources that look at the world, in the order reports list them.
    pub const ALL: [Source; 9] = [
        Source::Api,
        Source::ApiLog,
        Source::Database,
        Source::Management,
        Source::Firehose,
        Source::Queue,
        Source::DeadLetters,
        Source::WorkerLog,
        Source::Process,
    ];

    /// The word for it in every output.
    pub fn name(self) -> &'static str {
        match self {
            Source::Api => "api",
            Source::ApiLog => "api-log",
            Source::Database => "database",
            Source::Management => "management",
            Source::Firehose => "firehose",
            Source::Queue => "queue",
            Source::DeadLetters => "dead-letters",
            Source::WorkerLog => "worker-log",
            Source::Process => "process",
            Source::Run => "run",
        }
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

/// One timestamped thing one source saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Event {
    /// Number by which evidence points at this event; counts from 1.
    pub n: u32,
    /// Milliseconds since the submission (post-mortem: since the start of the run), by our clock.
    pub at_ms: f64,
    pub source: Source,
    /// The time the source itself stated, as it wrote it, where it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stated: Option<String>,
    #[serde(flatten)]
    pub kind: EventKind,
}

impl Event {
    /// Marks the event if it carries the task id, and forgets the unmasked text.
    pub fn learn_task_id(&mut self, task_id: &str) {
        match &mut self.kind {
            EventKind::Publish { message, .. }
            | EventKind::Deliver { message, .. }
            | EventKind::DeadLetter { message, .. } => {
                message.learn_task_id(task_id);
                message.leaves = ArgumentValues::default();
            }
            EventKind::Line(line) => {
                line.learn_task_id(task_id);
                line.raw = ArgumentValues::default();
            }
            _ => {}
        }
    }
}

/// Whether a submission that failed at the transport level was refused, unresolvable, or late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NoAnswer {
    /// Nothing listens, or the host is unreachable.
    Connect,
    /// The host name does not resolve.
    Dns,
    /// The TLS handshake failed.
    Tls,
    /// Connected, but no answer within `[api].timeout`.
    Timeout,
    /// The connection was closed in the middle of the answer.
    Broken,
}

/// What the database's transaction status says of the row's `xmax`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Xmax {
    /// Zero: no later transaction touched this version of the row.
    None,
    /// A transaction that is still open holds it: an update not yet committed, or a lock.
    InProgress,
    /// On a visible row this is a lock, never a write.
    Committed,
    /// An update that was rolled back, or a lock of a transaction that was.
    Aborted,
    /// A MultiXact one of whose members is an update by an aborted transaction.
    UpdateAborted,
    /// Only locks.
    Locks,
    /// Too old, or not readable.
    Unknown,
}

/// The row of the task as one poll saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Row {
    /// Whether a row with the task id is visible.
    pub present: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Transaction that wrote this version (`xmin`); absent for a view.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xmin: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xmax: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xmax_state: Option<Xmax>,
    /// While the transaction in `xmax` was open: whether it held the lock on the table that a write
    /// takes (`RowExclusiveLock`), and not just the one of a row lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder_writes: Option<bool>,
    /// Address of the row version, as `(page,tuple)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ctid: Option<String>,
}

/// One consumer of a queue, as the management API lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Consumer {
    pub queue: String,
    pub tag: String,
    /// `ip:port -> ip:port`; a process is found through the first half.
    pub connection: String,
    pub user: String,
    pub prefetch: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
}

/// One AMQP connection, as the management API lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Connection {
    pub name: String,
    pub user: String,
    pub vhost: String,
    /// `running`, `blocked`, `blocking` …
    pub state: String,
    /// Client library, e.g. `Pika Python Client Library`.
    pub product: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connected_at_ms: Option<i64>,
}

/// A process that takes part: it consumes, publishes, or serves the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Process {
    pub pid: i32,
    pub ppid: i32,
    /// One letter as in `ps`: R S D T Z …
    pub state: char,
    /// Arguments with secrets masked.
    pub command: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_command: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Unix milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at_ms: Option<i64>,
    /// Names of environment variables at exec; later changes are invisible.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env_names: Vec<String>,
    /// Values of a short list known to be harmless and relevant.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub env: std::collections::BTreeMap<String, String>,
    /// Its established TCP connections, `ip:port -> ip:port`, its own end first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sockets: Vec<String>,
    /// Its sockets could be read; otherwise an empty list says nothing.
    #[serde(default)]
    pub sockets_seen: bool,
    /// Its command line is the one configured for the worker.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_configured: bool,
    /// Threads that wait to write to a full pipe; absent where that could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipe_write: Option<u32>,
    /// It or a near ancestor has the watched worker's log file open.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub holds_log: bool,
}

/// A backend that waits for a lock on the task's row, and who holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LockWait {
    pub pid: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// `ip:port` of the waiting client, where visible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    pub blockers: Vec<Blocker>,
}

/// One backend that stands in the way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Blocker {
    pub pid: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Seconds since its transaction began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transaction_s: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

/// One line of a log, its traceback folded in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct LogLine {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logger: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<String>,
    pub text: String,
    /// The lines folded below it, joined by newlines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceback: Option<String>,
    /// It stood in the log before the run began.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub before: bool,
    /// For lines from before: seconds between the log's last change and the start of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_s: Option<u64>,
    /// It matches the configured entry pattern.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub entry: bool,
    /// The task id stood in it, masked arguments included.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub carries_task_id: bool,
    /// The line before masking, until the task id is known. Never written anywhere.
    #[serde(skip)]
    pub raw: ArgumentValues,
}

impl LogLine {
    /// Marks the line as one that carries the task id. A short id like `7` stands everywhere, so
    /// it counts only where something names it: `task_id=7`, `'id': 7`, `task 7`.
    pub fn learn_task_id(&mut self, task_id: &str) {
        let found = self.raw.0.iter().any(|text| {
            if task_id.len() >= 6 {
                return spellings(task_id).iter().any(|id| contains_token(text, id));
            }
            text.match_indices(task_id).any(|(at, _)| {
                let before = text[..at].trim_end_matches(|c: char| " =:#'\"(".contains(c));
                let named = before.len() < at
                    && ["id", "task", "job"]
                        .iter()
                        .any(|word| before.to_lowercase().ends_with(word));
                let rest = &text[at + task_id.len()..];
                named && !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
            })
        });
        self.carries_task_id |= found;
    }
}

/// Severity of a log line, the field's five plus notice-like ones folded down.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}

/// Why the observation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// Terminal evidence.
    Decided,
    /// Nothing of this task for the silence window.
    Silence,
    /// The run's own time limit.
    Timeout,
    /// Ctrl-C or a signal.
    Interrupted,
    /// A post-mortem has looked everywhere.
    Looked,
}

/// What was seen. Closed and owned: it is written and read as it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum EventKind {
    // -- any source
    /// The source can see all it was asked to see.
    Watching {
        detail: String,
    },
    /// It sees, but not everything.
    Partial {
        reason: String,
    },
    /// It cannot see. `hint` is the next step for whoever wants it to.
    Blind {
        reason: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },

    // -- api
    /// The request leaves now; everything counts from here.
    Submitting {
        method: String,
        url: String,
    },
    /// The API answered.
    Answered {
        status: u16,
        latency_ms: f64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        task_id: Option<String>,
        /// Start of the answer's body, secrets masked.
        body: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        location: Option<String>,
        /// For a 2xx without a task id: pointers in the body that might be it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        candidates: Vec<String>,
    },
    /// No HTTP answer at all.
    NotAnswered {
        why: NoAnswer,
        error: String,
        latency_ms: f64,
    },
    /// What the API itself reports as the task's status.
    ApiStatus {
        http_status: u16,
        /// How long the answer took: the question was asked so long before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        latency_ms: Option<f64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
    },
    /// The post-mortem's task.
    Given {
        task_id: String,
    },

    // -- database
    DatabaseServer {
        version: String,
        /// Tables with a foreign key to the task's table: their inserts lock its rows.
        referencing: Vec<String>,
        reads_all_stats: bool,
    },
    Row(Row),
    /// When the transaction that first made the row visible committed: between these two samples.
    RowCommitted {
        xmin: u32,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        invisible_at_ms: Option<f64>,
        visible_at_ms: f64,
    },
    LockWait(LockWait),
    /// Nobody waits for the row any more.
    LockFree,
    /// The same table name in another schema or database holds the row.
    RowElsewhere {
        place: String,
        status: Option<String>,
    },

    // -- management
    Broker {
        product: String,
        version: String,
        user: String,
        tags: Vec<String>,
        statistics: bool,
    },
    /// A node raised a memory or disk alarm.
    Alarm {
        node: String,
        alarm: String,
    },
    /// A queue's definition and fresh totals; counts are absent where the broker gave none.
    QueueInfo {
        queue: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        queue_type: Option<String>,
        arguments: serde_json::Map<String, serde_json::Value>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        policy: Option<String>,
        #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
        policy_definition: serde_json::Map<String, serde_json::Value>,
        /// Statistics of the queue, which its policy is a part of, have not come yet, and the vhost has
        /// policies: whether one applies is not known.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        policy_unknown: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        ready: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unacked: Option<u64>,
        /// Of a replicated queue: how many members it has, and how many of them are online.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        members: Option<u64>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        online: Option<u64>,
    },
    /// Every consumer of the vhost, when the list could be seen whole.
    Consumers {
        consumers: Vec<Consumer>,
    },
    /// Every connection of the broker, when the list could be seen whole.
    Connections {
        connections: Vec<Connection>,
    },
    /// The vhost traces although no taskdiag of this run switched it on.
    TracingOn {
        readers: usize,
    },

    // -- firehose
    Publish {
        exchange: String,
        routing_key: String,
        connection: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        user: Option<String>,
        message: Message,
    },
    Deliver {
        queue: String,
        connection: String,
        redelivered: bool,
        message: Message,
    },
    /// Trace events that were lost because we could not keep up.
    Missed {
        events: u64,
    },

    // -- queue
    /// Passive declare: exact and instant. `exists: false` is the broker's 404.
    Depth {
        queue: String,
        exists: bool,
        ready: u64,
        consumers: u64,
        /// Identical samples this one stands for, itself included.
        samples: u64,
        /// It is known to the broker, but cannot be asked: why. The counts say nothing then.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        down: Option<String>,
    },

    // -- dead-letters
    DeadLetter {
        queue: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        from_queue: Option<String>,
        message: Message,
    },

    // -- api-log, worker-log
    Line(LogLine),
    /// The log was rotated or truncated and is read from its new start.
    Rotated {
        path: String,
    },

    // -- process
    /// `--start` started a part of the system.
    Started {
        /// `api` or `worker`.
        part: String,
        /// The process that all of it descends from.
        pid: i32,
        command: Vec<String>,
        cwd: String,
        /// Its virtual environment.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        python: Option<String>,
        /// Names of the variables that the configuration sets or unsets for it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        env: Vec<String>,
    },
    /// It does its work: the API answers, the worker consumes.
    Ready {
        part: String,
        pid: i32,
        after_ms: f64,
    },
    /// It will not, or not in time; the task is submitted all the same.
    NotReady {
        part: String,
        pid: i32,
        after_ms: f64,
        reason: String,
    },
    /// The process at the client's end of an AMQP connection.
    Peer {
        connection: String,
        pid: i32,
    },
    Process(Process),
    /// A process seen before no longer exists.
    Gone {
        pid: i32,
        /// Its exit code, if we started it; the signal that ended it as a negative number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit: Option<i32>,
    },
    /// The process that listens on the API's address.
    ApiProcess {
        pid: i32,
    },
    /// What one of these processes runs in.
    Environment(Box<Environment>),
    /// It runs in the same as another one: command line, user, folder, variables, interpreter.
    SameEnvironment {
        pid: i32,
        like: i32,
        found: Vec<Found>,
    },
    /// Python stacks of every thread, equal in two dumps 200 ms apart.
    Stacks {
        pid: i32,
        threads: Vec<Stack>,
    },

    /// They may not be read; the reason says what would permit it.
    StacksRefused {
        pid: i32,
        reason: String,
    },

    // -- run
    Ended {
        why: Ended,
    },
    /// After the end: `--isolate` repeated the task.
    Isolated(isolation::Isolated),
}

/// One thread's Python frames, innermost first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Stack {
    pub thread: String,
    pub stable: bool,
    pub frames: Vec<Frame>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Frame {
    pub function: String,
    pub file: String,
    pub line: i32,
}

impl Frame {
    /// Neither the framework's nor what lies in a Python library folder: the application's own.
    pub fn is_application(&self) -> bool {
        !self.file.contains("/dramatiq/") && !self.file.contains("/lib/python")
    }
}

/// What the run was asked: the part of the configuration a diagnosis depends on, without secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Setup {
    pub framework: String,
    pub queue: String,
    pub vhost: String,
    /// `host:port` of the broker.
    pub broker: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task_id_pointer: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry_pattern: Option<String>,
    /// Command lines that start the watched worker, to tell its processes from strangers'.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub worker_command: Vec<String>,
    /// `host:port/name` of the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    pub table: Option<String>,
    pub id_column: Option<String>,
    pub status_column: Option<String>,
    pub running: Vec<String>,
    pub succeeded: Vec<String>,
    pub failed: Vec<String>,
    pub silence_ms: u64,
    pub timeout_ms: u64,
    pub wait_retries: bool,
    pub post_mortem: bool,
    /// It is a recording of `trace`: what passed the broker in some time, and nothing else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trace: bool,
    pub expect_entered: bool,
    pub show_args: bool,
}

/// All events of one run, in order.
#[derive(Debug, Clone)]
pub struct Timeline {
    pub setup: Setup,
    /// RFC 3339, UTC, milliseconds.
    pub started_at: String,
    pub events: Vec<Event>,
    /// What each log line means to the framework, in step with `events`: read once, asked often.
    marks: Vec<Option<LogEvent>>,
}

impl Timeline {
    pub fn new(setup: Setup, started_at: String) -> Self {
        Self {
            setup,
            started_at,
            events: Vec::new(),
            marks: Vec::new(),
        }
    }

    /// Appends an event and numbers it.
    pub fn push(&mut self, mut event: Event) -> u32 {
        event.n = self.events.len() as u32 + 1;
        let n = event.n;
        self.marks.push(match (&event.source, &event.kind) {
            (Source::WorkerLog, EventKind::Line(line)) => crate::framework::read_line(line),
            _ => None,
        });
        self.events.push(event);
        n
    }

    /// The same run as if this source had been blind from the start.
    pub fn without(&self, source: Source) -> Self {
        let mut less = Self::new(self.setup.clone(), self.started_at.clone());
        less.push(Event {
            n: 0,
            at_ms: self.events.first().map_or(0.0, |event| event.at_ms),
            source,
            stated: None,
            kind: EventKind::Blind {
                reason: "removed".into(),
                hint: None,
            },
        });
        for event in &self.events {
            if event.source != source {
                less.push(event.clone());
            }
        }
        less
    }

    /// The same run cut off after `len` events.
    pub fn prefix(&self, len: usize) -> Self {
        let mut less = Self::new(self.setup.clone(), self.started_at.clone());
        for event in self.events.iter().take(len) {
            less.push(event.clone());
        }
        less
    }

    /// The task id is known from now on: marks every message and line that carries it.
    pub fn learn_task_id(&mut self, task_id: &str) {
        for event in &mut self.events {
            event.learn_task_id(task_id);
        }
    }

    /// The same recording of a trace, as the story of this task. Which messages carry the id can be
    /// told from the arguments, where they were recorded, and from the id of a message itself.
    pub fn following(&self, task_id: &str) -> Self {
        let mut story = Self::new(self.setup.clone(), self.started_at.clone());
        let given = EventKind::Given {
            task_id: task_id.to_owned(),
        };
        story.push(Event {
            n: 0,
            at_ms: 0.0,
            source: Source::Api,
            stated: None,
            kind: given,
        });
        for event in &self.events {
            let mut event = event.clone();
            match &mut event.kind {
                EventKind::Given { .. } => continue,
                EventKind::Watching { .. } if event.source == Source::Firehose && !self.setup.show_args => {
                    event.kind = EventKind::Partial {
                        reason: "arguments were not recorded, so only message ids could be compared; record with trace --task ID or --show-args".into(),
                    };
                }
                EventKind::Publish { message, .. } | EventKind::Deliver { message, .. } => {
                    message.carries_task_id = message.is_of(task_id);
                }
                _ => {}
            }
            story.push(event);
        }
        story.adopt_queue();
        story
    }

    /// A trace may be of other queues than the configured one: the task's message says which it is.
    pub fn adopt_queue(&mut self) {
        if !self.setup.trace {
            return;
        }
        let queue = self.events.iter().find_map(|event| match &event.kind {
            EventKind::Publish {
                routing_key: queue,
                message,
                ..
            }
            | EventKind::Deliver { queue, message, .. }
                if message.carries_task_id =>
            {
                Some(message.queue_name.as_ref().unwrap_or(queue))
            }
            _ => None,
        });
        if let Some(queue) = queue {
            self.setup.queue = crate::framework::dramatiq::base_queue(queue).to_owned();
            self.setup.actor = None;
        }
    }

    /// What this log line means to the framework.
    pub fn mark(&self, n: u32) -> Option<&LogEvent> {
        self.marks.get(n as usize - 1)?.as_ref()
    }

    pub fn event(&self, n: u32) -> Option<&Event> {
        self.events.get((n as usize).checked_sub(1)?)
    }

    /// Moves the clock so that zero is the submission, once the run is over.
    pub fn rebase(&mut self) {
        let Some(origin) = self
            .events
            .iter()
            .find_map(|event| matches!(event.kind, EventKind::Submitting { .. }).then_some(event.at_ms))
        else {
            return;
        };
        for event in &mut self.events {
            event.at_ms = round(event.at_ms - origin);
            if let EventKind::RowCommitted {
                invisible_at_ms,
                visible_at_ms,
                ..
            } = &mut event.kind
            {
                *visible_at_ms = round(*visible_at_ms - origin);
                *invisible_at_ms = invisible_at_ms.map(|at| round(at - origin));
            }
        }
    }
}

/// In what a log's source says of its sight, if what is started cannot write it any more.
pub const NO_SPACE: &str = "no space is left where it is written";

/// How a process ended, for people.
pub fn exit_words(code: i32) -> String {
    match code {
        -9 => "signal 9 (SIGKILL)".into(),
        -15 => "signal 15 (SIGTERM)".into(),
        -11 => "signal 11 (SIGSEGV)".into(),
        -6 => "signal 6 (SIGABRT)".into(),
        code if code < 0 => format!("signal {}", -code),
        code => format!("exit code {code}"),
    }
}

/// Microseconds are more than any of our clocks can promise.
pub(crate) fn round(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}
