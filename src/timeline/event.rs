//! One timestamped thing that one source saw: the closed list of what there is to see.

use serde::{Deserialize, Serialize};

use super::environment::{Environment, Found};
use super::{
    ClosedChannel, CommandEnd, Connection, Consumer, Container, Ended, LockWait, LogLine, Permission,
    Process, Row, Sessions, Source, Stack, isolation,
};
use crate::framework::{Heartbeat, Inspection, Message};

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
        /// The request did not hold this id: the API has made it. Older recordings do not say.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        new_id: bool,
        /// Start of the answer's body, secrets masked.
        body: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        location: Option<String>,
        /// For a 2xx without a task id: pointers in the body that might be it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        candidates: Vec<String>,
        /// After a 404 or 405: the paths that take a POST, as the API's own document has them.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        routes: Vec<String>,
    },
    /// No HTTP answer at all.
    NotAnswered {
        why: NoAnswer,
        error: String,
        latency_ms: f64,
    },
    /// The command that sends the task has ended, or was ended because it took too long.
    CommandEnded(CommandEnd),
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
    /// The answer names no task: the only message that was sent between the request and the answer is
    /// taken for it, and its id for the task's.
    Recognised {
        task_id: String,
    },
    // -- database
    DatabaseServer {
        version: String,
        /// Tables with a foreign key to the task's table: their inserts lock its rows.
        referencing: Vec<String>,
        reads_all_stats: bool,
        /// `pg_is_in_recovery()`: a standby. Older recordings do not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        in_recovery: Option<bool>,
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
    DatabaseSessions(Sessions),
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
    /// Channels of the vhost that the broker has closed and whose clients have not noticed.
    ClosedChannels {
        channels: Vec<ClosedChannel>,
    },
    /// What users may do in the vhost, as far as the broker's own database of users says it.
    Permissions {
        permissions: Vec<Permission>,
    },
    /// The vhost traces although no taskdiag of this run switched it on.
    TracingOn {
        readers: usize,
    },
    // -- firehose
    Publish {
        exchange: String,
        routing_key: String,
        /// Where an exchange of the application's sent it, by the broker's own word; of the default exchange the
        /// routing key says it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        routed: Option<Vec<String>>,
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
    /// The keys with which the queue is bound to exchanges, beside its own name.
    Bound {
        queue: String,
        keys: Vec<String>,
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
        /// The file that was there before is read on; else lines may be lost.
        #[serde(default)]
        reads_on: bool,
    },
    /// At the end: one regular file all the time, and every byte of it was read since the program's
    /// last boot.
    ReadWhole {
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
    /// The API's port is a container's, published by its engine.
    PublishedPort {
        port: u16,
        /// Address and port in the container's own network.
        to: String,
        /// The engine's process that passes connections on.
        relay: i32,
        /// Something listens there; absent where that could not be seen.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        listens: Option<bool>,
        /// The container's id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        container: Option<String>,
    },
    /// What one of these processes runs in.
    Environment(Box<Environment>),
    /// It runs in the same as another one: command line, user, folder, variables, interpreter.
    SameEnvironment {
        pid: i32,
        like: i32,
        found: Vec<Found>,
    },
    /// The place that `[worker] exec` or `[api] exec` leads to: so many processes run there.
    PlaceReached {
        part: String,
        processes: u64,
    },
    /// It cannot be looked into.
    PlaceUnreachable {
        part: String,
        reason: String,
        /// The prefix's own last words, and its exit code.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        said: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit: Option<i32>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
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
    // -- containers
    /// A container that takes part, as its engine describes it; again where something has changed.
    Container(Box<Container>),
    // -- containers, worker-log
    /// Something became of a container: its engine, or compose in the log, says so.
    ContainerEvent {
        /// The container's name, or its service and number.
        container: String,
        /// As the engine names it: `die`, `oom`, `start`, `restart`, `pause`, `unpause`, `stop`, `kill`.
        action: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        exit: Option<i32>,
    },
    // -- control: a worker says that it lives, at first, when that changes, and at the end.
    Heartbeat(Heartbeat),
    /// A worker is asked, after everything else was looked at.
    Asked {
        node: String,
        methods: Vec<String>,
    },
    /// What it answered; of tasks in its hands, those that it named twice.
    Inspected(Box<Inspection>),
    Unanswered {
        node: String,
        waited_ms: u64,
    },
    // -- run
    Ended {
        why: Ended,
    },
    /// After the end: `--isolate` repeated the task.
    Isolated(isolation::Isolated),
}

/// Whether a submission that failed at the transport level was refused, unresolvable, late, or never left.
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
    /// It was not asked: taskdiag or its machine was out of descriptors or memory.
    OwnLimit,
}
