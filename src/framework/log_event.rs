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
    Pushed {
        id: String,
        delay: bool,
    },
    UndefinedActor {
        actor: String,
    },
    DecodeFailed,
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
    /// The attempt raised; the traceback is folded into the line.
    Failed {
        actor: String,
    },
    ExpectedException {
        exception: String,
    },
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
    HookFailed {
        hook: String,
    },
    TimeLimit,
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
