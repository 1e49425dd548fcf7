//! The places that taskdiag looks from.

use serde::{Deserialize, Serialize};

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
