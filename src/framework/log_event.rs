//! What a line of a worker's log means to its framework.

/// What a log line says in the framework's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogEvent {
    BootingUp,
    /// Printed before any broker connection exists: proves nothing about the broker.
    Ready,
    ImportFailed,
    UsageError,
    AddressInUse,
    AddingConsumer {
        queue: String,
    },
    DroppingConsumer {
        queue: String,
    },
    /// `error` is the repr of the connection error.
    ConnectionError {
        queue: Option<String>,
        error: String,
    },
    RestartingConsumer,
    /// The broker at this URL has let it in, as the worker itself says.
    Connected {
        url: String,
    },
    /// An error on which the worker exits.
    GaveUp {
        error: String,
    },
    Pushed {
        id: String,
        delay: bool,
    },
    UndefinedActor {
        actor: String,
    },
    DecodeFailed,
    /// It was thrown away: no message of the framework's.
    ForeignMessage,
    Received {
        id: String,
        actor: String,
    },
    /// The framework is about to call the actor: not an entry.
    Called,
    /// In a `finally`: not success.
    Completed,
    Acknowledging {
        id: String,
    },
    Rejecting {
        id: String,
    },
    ReturnedValue {
        actor: String,
    },
    /// The call returned, without an exception.
    Succeeded {
        id: String,
        actor: String,
    },
    /// The attempt raised; the traceback is folded into the line.
    Failed {
        actor: String,
    },
    ExpectedException {
        /// One that the task declares. `None`: it told its worker to leave it at that.
        declared: Option<String>,
    },
    /// The call ended without a result: as the task said, or because it put another in its own place.
    Ignored,
    /// The task gave its message back to the queue.
    Requeued,
    Aborting {
        id: String,
    },
    RateLimited,
    Retrying {
        id: String,
        in_ms: u64,
    },
    Enqueueing {
        id: String,
        queue: String,
    },
    RetriesExceeded {
        id: String,
    },
    TooOld {
        id: String,
    },
    Skipped {
        actor: String,
    },
    /// Revoked, or too old.
    Discarded {
        id: String,
    },
    /// Revoked, with a signal to the process that runs it; one that waits is discarded in its turn.
    Terminating {
        id: String,
    },
    /// These were revoked: one that runs goes on, one that waits is discarded in its turn.
    Revoked {
        ids: Vec<String>,
    },
    /// A pool without processes of its own sends no signal.
    CannotTerminate,
    HookFailed {
        hook: String,
    },
    TimeLimit,
    /// The process that ran the actor was killed for it.
    KilledAtTimeLimit,
    /// How many messages it runs at once.
    Concurrency {
        slots: usize,
    },
    /// Where it stores results, as its banner says.
    ResultStore {
        url: String,
    },
    /// A member of this group of tasks has failed, so that the task that comes after the group is not sent.
    ChordFailed {
        group: String,
        error: String,
    },
    /// The run is over, and what comes after it failed: no result is stored.
    NotStored {
        error: String,
    },
    /// A process died that had this job: jobs are counted from the worker's start.
    JobLost {
        job: usize,
    },
    AckFailed,
    NoEventLoop,
    NeverAwaited,
    Stopping,
    ShutDown,
    ChildDied {
        pid: i32,
        code: i32,
    },
}

/// In whose hands a message is by a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Handling {
    /// The worker process has it.
    Delivered,
    /// A thread or child has begun with it.
    Received,
    /// The broker was told what became of it.
    Settled,
}

/// What a line says of the worker's own life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkerLife {
    Booting,
    /// It has booted.
    Up,
    /// It stops, or a process of it has died.
    Ending,
}

impl LogEvent {
    /// The id of the message that it names.
    pub fn message_id(&self) -> Option<&str> {
        match self {
            Self::Pushed { id, .. }
            | Self::Received { id, .. }
            | Self::Succeeded { id, .. }
            | Self::Acknowledging { id }
            | Self::Rejecting { id }
            | Self::Aborting { id }
            | Self::Retrying { id, .. }
            | Self::Enqueueing { id, .. }
            | Self::RetriesExceeded { id }
            | Self::TooOld { id }
            | Self::Discarded { id }
            | Self::Terminating { id } => Some(id),
            _ => None,
        }
    }

    /// The actor that it names.
    pub fn task_name(&self) -> Option<&str> {
        match self {
            Self::Failed { actor }
            | Self::Skipped { actor }
            | Self::UndefinedActor { actor }
            | Self::ReturnedValue { actor }
            | Self::Received { actor, .. }
            | Self::Succeeded { actor, .. } => Some(actor),
            _ => None,
        }
    }

    /// It is about some message, and does not say which.
    pub fn leaves_the_message_open(&self) -> bool {
        matches!(
            self,
            Self::Failed { .. }
                | Self::Skipped { .. }
                | Self::UndefinedActor { .. }
                | Self::DecodeFailed
                | Self::ForeignMessage
                | Self::ExpectedException { .. }
                | Self::Ignored
                | Self::Requeued
                | Self::RateLimited
                | Self::ReturnedValue { .. }
                | Self::NoEventLoop
                | Self::NeverAwaited
                | Self::HookFailed { .. }
                | Self::TimeLimit
        )
    }

    /// How far its message has come by it.
    pub fn handling(&self) -> Option<Handling> {
        match self {
            Self::Pushed { delay: false, .. }
            | Self::UndefinedActor { .. }
            | Self::DecodeFailed
            | Self::ForeignMessage
            | Self::Terminating { .. }
            | Self::Discarded { .. } => Some(Handling::Delivered),
            Self::Received { .. }
            | Self::Called
            | Self::Failed { .. }
            | Self::Skipped { .. }
            | Self::TooOld { .. }
            | Self::Retrying { .. }
            | Self::RetriesExceeded { .. }
            | Self::ExpectedException { .. }
            | Self::Ignored
            | Self::Requeued
            | Self::ReturnedValue { .. }
            | Self::NeverAwaited
            | Self::Succeeded { .. }
            | Self::HookFailed { .. } => Some(Handling::Received),
            Self::Acknowledging { .. } | Self::Rejecting { .. } => Some(Handling::Settled),
            _ => None,
        }
    }

    /// The broker is told what became of the message.
    pub fn settles(&self) -> bool {
        self.handling() == Some(Handling::Settled)
    }

    /// The actor's function has returned, or raised.
    pub fn ends_call(&self) -> bool {
        matches!(
            self,
            Self::Completed | Self::Succeeded { .. } | Self::Failed { .. }
        )
    }

    /// The run of the actor is over, or will not come.
    pub fn ends_run(&self) -> bool {
        self.denies_entry()
            || self.ends_call()
            || matches!(
                self,
                Self::ExpectedException { .. }
                    | Self::Ignored
                    | Self::Requeued
                    | Self::Retrying { .. }
                    | Self::KilledAtTimeLimit
                    | Self::Terminating { .. }
            )
    }

    /// The message will not run, or did not get into the actor.
    pub fn denies_entry(&self) -> bool {
        matches!(
            self,
            Self::UndefinedActor { .. }
                | Self::DecodeFailed
                | Self::ForeignMessage
                | Self::Skipped { .. }
                | Self::TooOld { .. }
                | Self::Discarded { .. }
                | Self::NoEventLoop
                | Self::NeverAwaited
        )
    }

    /// The actor was entered, and the attempt failed.
    pub fn fails_attempt(&self) -> bool {
        matches!(
            self,
            Self::ExpectedException { .. }
                | Self::TimeLimit
                | Self::KilledAtTimeLimit
                | Self::RetriesExceeded { .. }
        )
    }

    /// What it says of the worker's own life.
    pub fn worker_life(&self) -> Option<WorkerLife> {
        match self {
            Self::BootingUp => Some(WorkerLife::Booting),
            Self::Ready => Some(WorkerLife::Up),
            Self::Stopping | Self::ShutDown | Self::ChildDied { .. } | Self::GaveUp { .. } => {
                Some(WorkerLife::Ending)
            }
            _ => None,
        }
    }
}
