//! The places that taskdiag looks from.

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// One place we look from.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    IntoStaticStr,
    VariantArray,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
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
    /// The container engine of this machine.
    Containers,
    /// What workers say of themselves over the broker, and what they answer when asked.
    Control,
    /// taskdiag itself: the end of the run, and after it what `--isolate` did.
    Run,
}

/// The parts of an application that sources tell of, in the order in which people look for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, VariantArray)]
pub enum Tier {
    #[strum(serialize = "API")]
    Api,
    #[strum(serialize = "RabbitMQ")]
    RabbitMq,
    #[strum(serialize = "PostgreSQL")]
    PostgreSql,
    Worker,
    #[strum(serialize = "taskdiag")]
    Taskdiag,
}

impl Source {
    /// The sources that look at the world, in the order reports list them.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        Self::VARIANTS
            .iter()
            .copied()
            .filter(|source| *source != Self::Run)
    }

    /// What it tells of.
    pub fn tier(self) -> Tier {
        match self {
            Self::Api | Self::ApiLog => Tier::Api,
            Self::Management | Self::Firehose | Self::Queue | Self::DeadLetters => Tier::RabbitMq,
            Self::Database => Tier::PostgreSql,
            Self::WorkerLog | Self::Process | Self::Containers | Self::Control => Tier::Worker,
            Self::Run => Tier::Taskdiag,
        }
    }

    /// The word for it in every output.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}
