//! The assumptions that inferences rest on, each with what people are told where it could not be proved.
//!
//! A cause says at most how sure its evidence makes it, and on which premises that rests. `evidence/proofs` looks for what
//! proves or refutes each, and `weigh` makes a level of it: a claim whose premises are all proved keeps its certainty, one assumption makes it
//! likely, more make it possible, a refuted premise takes the claim away. *Not contradicted is not proved*: an
//! observation that a recording lacks leaves its premise assumed.

use strum::{EnumDiscriminants, VariantArray};

use crate::framework::Framework;
use crate::timeline::Source;

/// The number by which evidence points at an event.
pub type EventId = u32;

/// One assumption, with its subject.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, EnumDiscriminants)]
#[strum_discriminants(name(PremiseKind), derive(PartialOrd, Ord, VariantArray))]
pub enum Premise {
    /// The pids in the watched worker's log are pids of this machine. In a container they are not.
    SamePidSpace,
    /// What one pid and thread wrote to the watched log was written by one process. Replicas that
    /// share a log may have the same pid and thread.
    OneProcessPerLogThread { pid: Option<i32> },
    /// The process at our end of this connection is the client, and not a relay before it.
    PeerIsProcess(String),
    /// This process is none of the watched worker's replicas: it runs another command, for another
    /// user, or in another folder.
    NotAReplica(i32),
    /// This message is the task's, and no other with the same number in it.
    MessageIsOurs(String),
    /// The only message that was sent between the request and its answer, which names no task, was sent
    /// for this request.
    SentForTheRequest(String),
    /// The traceback that the API logged in this event is of the request that submitted the task, and of no
    /// other that failed at the same time.
    TracebackIsOurs(EventId),
    /// The first version of the row that was seen is its INSERT.
    FirstVersionIsInsert,
    /// The final status in the row is of this run, and of no earlier one of the same task.
    StatusIsOfThisRun,
    /// A worker's run has set it: a person or another program may write the same.
    StatusIsByARun,
    /// Of this process's threads it is the task's that waits for the row, and no other with a connection of its own.
    WaitIsTheTasks(i32),
    /// Nothing was published that the broker refused after `send()` had returned.
    NothingRefused,
    /// What is unacknowledged is being worked on.
    WorkIsRunning(i32),
    /// The source answered something that it was asked after this moment, in milliseconds.
    StillAnswers(Source, i64),
    /// The task's message is among those that wait on its queue.
    IsAmongTheWaiting,
    /// A message was sent for the task.
    WasSent,
    /// No earlier task had this id.
    IdIsNew,
    /// No other message of this task waits or is at work: it was not sent again, and no retry of it has run, after what the
    /// log tells of.
    OnlyMessage,
    /// What this event shows is of the worker that is to consume the task's queue, and not of another service's that writes
    /// to the same log.
    WriterIsTheWorker(EventId),
    /// The log holds everything that the worker wrote.
    LogIsWhole,
    /// The rows come from the primary, and from no standby that lags behind it.
    IsPrimary,
}

/// What is known of a premise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// By these events. Only `evidence/proofs` may say so: `tests/layers.rs` keeps it.
    Proved(Vec<EventId>),
    Refuted(Vec<EventId>),
    Assumed,
}

impl Premise {
    /// What people are told when it could not be proved: the verdict holds unless this is otherwise.
    pub fn sentence(&self, framework: &Framework) -> String {
        match self {
            Premise::SamePidSpace => {
                "if the pids in the worker's log are pids of this machine: in a container they are not".into()
            }
            Premise::OneProcessPerLogThread { pid: Some(pid) } => {
                format!("if all lines of pid {pid} come from one process: two replicas may share this log")
            }
            Premise::OneProcessPerLogThread { pid: None } => {
                "if all lines of one thread come from one process: several may share this log".into()
            }
            Premise::PeerIsProcess(connection) => {
                format!(
                    "if the process that holds {connection} is the client itself, and not a proxy before it"
                )
            }
            Premise::NotAReplica(pid) => {
                format!("if pid {pid} is not another start of the watched worker")
            }
            Premise::MessageIsOurs(id) => {
                format!("if message {id} belongs to this task: it may merely hold the same number, or stand beside its name")
            }
            Premise::SentForTheRequest(id) => {
                format!(
                    "if message {id}, sent between the request and its answer, is this task's: nothing else ties it to the task"
                )
            }
            Premise::TracebackIsOurs(_) => {
                "if the traceback in the API's log is of this request: another may have failed at the same time"
                    .into()
            }
            Premise::FirstVersionIsInsert => {
                "if the first version of the row that was seen is the one that was inserted".into()
            }
            Premise::StatusIsOfThisRun => {
                "if the status in the row is of this run: an earlier one of the same task may have left it".into()
            }
            Premise::StatusIsByARun => {
                "if a worker has set the status: nobody was seen taking the message, and anybody may write that".into()
            }
            Premise::WaitIsTheTasks(pid) => {
                format!("if it is the task's thread of pid {pid} that waits for the row, and no other of its threads")
            }
            Premise::NothingRefused => {
                let send = framework.source.send;
                format!("if the broker did not refuse the message after {send} had returned")
            }
            Premise::WorkIsRunning(0) => {
                "if the worker still works on what it has not acknowledged".into()
            }
            Premise::WorkIsRunning(pid) => {
                format!("if pid {pid} still works on what it has not acknowledged")
            }
            Premise::StillAnswers(source, _) => {
                format!("if {source} still answered at the end: nothing new came from it")
            }
            Premise::IsAmongTheWaiting => {
                "if this task's message is among those that wait: it may never have been sent".into()
            }
            Premise::WasSent => "if a message was sent for this task: nothing shows that".into(),
            Premise::IdIsNew => "if no earlier task had this id".into(),
            Premise::OnlyMessage => {
                "if the task has no other message, and no retry that ran elsewhere: nothing shows that".into()
            }
            Premise::IsPrimary => {
                "if the database that was read is the primary: a standby may be behind it".into()
            }
            Premise::WriterIsTheWorker(_) => {
                "if the worker that writes the watched log is this task's: another service's may write to it, too".into()
            }
            Premise::LogIsWhole => "if the log holds everything that the worker wrote".into(),
        }
    }
}

/// A number, or a word so short that it stands in other tasks' messages, too.
pub fn is_common(id: &str) -> bool {
    id.len() < 6 || (id.len() < 12 && id.chars().all(|c| c.is_ascii_digit()))
}
