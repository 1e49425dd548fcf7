//! What is said of a run: the words of the public contract.

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

use crate::timeline::{Ended, Source};

/// How far a task has come.
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
pub enum Stage {
    Submitted,
    Recorded,
    Published,
    Delivered,
    Received,
    Entered,
    Finished,
    Settled,
}

impl Stage {
    /// In the order in which they are reached.
    pub fn all() -> impl DoubleEndedIterator<Item = Self> {
        Self::VARIANTS.iter().copied()
    }

    pub fn name(self) -> &'static str {
        self.into()
    }

    /// What reaching it means, for people.
    pub fn meaning(self) -> &'static str {
        match self {
            Stage::Submitted => "the API accepted it",
            Stage::Recorded => "the row is visible",
            Stage::Published => "a queue holds it",
            Stage::Delivered => "the broker handed it to a consumer",
            Stage::Received => "a worker thread took it",
            Stage::Entered => "the actor's own code ran",
            Stage::Finished => "the row has a final status",
            Stage::Settled => "the broker was told what became of it",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
pub enum Scenario {
    /// The actor was entered.
    A,
    /// Not entered, and something said why.
    B,
    /// Not entered, and silence.
    C,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Outcome {
    Succeeded,
    Failed,
    Unfinished,
    Unknown,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// How sure a cause is. `Certain`: one discriminating observation excludes every neighbour.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    IntoStaticStr,
    Serialize,
    Deserialize,
    schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Certainty {
    Possible,
    Likely,
    Certain,
}

impl Certainty {
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// Who must act for the task to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Owner {
    ApiCode,
    WorkerCode,
    Deployment,
    Broker,
    DatabaseHost,
    /// Nobody yet: it will run, or needs more capacity.
    Wait,
    /// Whoever configured taskdiag.
    Diagnosis,
}

impl Owner {
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// A cause as a verdict names it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Named {
    pub id: String,
    pub title: String,
    pub certainty: Certainty,
    pub summary: String,
    pub evidence: Vec<u32>,
    /// What it rests on and could not be proved: it holds unless one of these does not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub premises: Vec<String>,
    /// Whose turn it is; the second where the evidence decides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub owner: Vec<Owner>,
    pub remedies: Vec<String>,
    /// The other task that it is about, where that one holds the worker up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<OtherTask>,
    /// Commands that confirm it by hand, with this run's names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub confirm: Vec<String>,
    /// Its page; while the project has no public address, the command that prints it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub docs_url: String,
    /// From this cause to the effect at the task's stage, each link with its own certainty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub explains: Vec<Link>,
}

/// An effect of the cause.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Link {
    pub id: String,
    pub certainty: Certainty,
    pub summary: String,
    pub evidence: Vec<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<OtherTask>,
}

/// Another task than the one that was asked about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct OtherTask {
    pub message: Option<String>,
    pub pid: Option<i32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Excluded {
    pub id: String,
    pub because: String,
    pub evidence: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Undecided {
    pub id: String,
    pub needs: Vec<Source>,
}

/// One stage, as far as it could be seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Reached {
    pub stage: Stage,
    /// `None`: cannot be told.
    pub reached: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at_ms: Option<f64>,
    pub evidence: Vec<u32>,
    /// For a stage that was not reached: what was observed, and what would have let it pass. For `settled`: how.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Task {
    pub id: Option<String>,
    pub message_id: Option<String>,
    pub actor: Option<String>,
    pub queue: Option<String>,
}

/// Where the task's message is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Whereabouts {
    #[serde(rename = "where")]
    pub place: String,
    /// In UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// `false`: the broker or a consumer still holds it, or the task is done. `true`: no copy is left,
    /// and it must be submitted again. `null`: nothing shows it.
    pub lost: Option<bool>,
    /// When its time comes, in UTC, where it waits for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<String>,
}

impl Whereabouts {
    /// It lies with what was rejected, and nothing runs it from there.
    pub fn is_dead_letter(&self) -> bool {
        self.place.contains(", dead-lettered: ")
    }

    /// The broker was told that it is done with, and keeps nothing of it.
    pub fn is_settled(&self) -> bool {
        self.place.starts_with("acknowledged, ")
    }
}

/// Whether the task must be submitted again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Resubmit {
    /// It runs by itself, or has run.
    No,
    /// Once the cause is repaired.
    Yes,
    /// Nothing shows it: look first.
    Unknown,
}

/// What the failure means for the task's work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Impact {
    pub resubmit: Resubmit,
    /// Whether anything is lost and what follows from that, in one sentence.
    pub sentence: String,
}

/// The exception that a cause speaks of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Exception {
    /// Of a chain the first one: what the others came from.
    pub exception: String,
    /// Of the last one of the chain, innermost last.
    pub frames: Vec<ExceptionFrame>,
    /// The event that holds it.
    pub evidence: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct ExceptionFrame {
    pub file: String,
    pub line: u32,
    pub function: String,
    /// The application's own code: neither the framework's, nor an installed package's, nor Python's.
    pub application: bool,
}

// No doc comment: what a report flattens into itself gives its schema none.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Verdict {
    pub scenario: Option<Scenario>,
    pub outcome: Outcome,
    pub stage: Option<Stage>,
    pub exit_code: u8,
    pub cause: Option<Named>,
    /// Where the task's message is now; null where no look since its last event shows it.
    pub message: Option<Whereabouts>,
    /// Whether anything is lost, and whether the task must be submitted again; null of a success.
    pub impact: Option<Impact>,
    /// The exception behind the cause, if there is one.
    pub traceback: Option<Exception>,
    pub contributing: Vec<Named>,
    pub ruled_out: Vec<Excluded>,
    pub cannot_tell: Vec<Undecided>,
    pub task: Task,
    pub notes: Vec<String>,
    pub stages: Vec<Reached>,
    /// The evidence ends the run at once. This and what follows is for whoever waits, and no part of what he is told.
    #[serde(skip)]
    pub terminal: bool,
    /// … but not before so many milliseconds without news.
    #[serde(skip)]
    pub linger_ms: u64,
    /// Silence may end the run: the task is not inside an actor.
    #[serde(skip)]
    pub silence_counts: bool,
    /// Nothing that a source can still see changes it.
    #[serde(skip)]
    pub lasting: bool,
    /// When something of this task last happened.
    #[serde(skip)]
    pub last_activity_ms: f64,
}

/// Whether the observation ended in a way that lets absence count.
pub fn closes(why: Ended) -> bool {
    matches!(why, Ended::Silence | Ended::Timeout | Ended::Looked)
}
