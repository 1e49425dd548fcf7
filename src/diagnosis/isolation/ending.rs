//! How one run ended, and whether two of them ended for the same reason.

use serde::{Deserialize, Serialize};

use super::reason;
use crate::diagnosis::{Outcome, Scenario, Stage, Story, Verdict};
use crate::timeline::Timeline;

/// How one run ended, as far as isolation needs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Ending {
    pub scenario: Option<Scenario>,
    pub outcome: Outcome,
    pub stage: Option<Stage>,
    /// Id of the cause.
    pub cause: Option<String>,
    /// What tells it from others with the same cause, without ids and figures of this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The connection that the message was first delivered to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer: Option<String>,
}

impl Ending {
    pub fn of(timeline: &Timeline, verdict: &Verdict) -> Self {
        let story = Story::new(timeline);
        let first = story.deliveries().next();
        Self {
            scenario: verdict.scenario,
            outcome: verdict.outcome,
            stage: verdict.stage,
            cause: verdict.cause.as_ref().map(|cause| cause.id.clone()),
            reason: reason::of(&story, verdict),
            consumer: first.map(|passage| passage.connection.to_owned()),
        }
    }

    /// The API would not have it.
    pub(super) fn is_refused(&self) -> bool {
        matches!(self.cause.as_deref(), Some("api-rejected" | "api-unauthorized"))
            || self
                .reason
                .as_deref()
                .is_some_and(|reason| reason.starts_with("HTTP 4"))
    }

    /// With what tells it from the original, where the cause does not.
    pub(super) fn against(&self, original: &Ending) -> String {
        let short = |reason: &Option<String>| -> String {
            reason.as_deref().unwrap_or("?").chars().take(120).collect()
        };
        match (&self.cause, &original.cause) {
            (Some(cause), Some(other)) if cause == other => format!(
                "`{cause}` as before, but \"{}\" where the original had \"{}\"",
                short(&self.reason),
                short(&original.reason)
            ),
            _ if self.is_refused() => format!("{}, \"{}\"", self.words(), short(&self.reason)),
            _ => self.words(),
        }
    }

    pub(super) fn words(&self) -> String {
        match (&self.cause, self.stage) {
            (Some(cause), _) => format!("`{cause}`"),
            (None, Some(stage)) => format!("no cause, after {}", stage.name()),
            (None, None) => "no cause".into(),
        }
    }
}

/// It stopped for the same reason, as far as one is known.
pub(super) fn is_same(original: &Ending, ending: &Ending) -> bool {
    match (&original.cause, &ending.cause) {
        (Some(a), Some(b)) => a == b && original.reason == ending.reason,
        (None, None) => original.scenario == ending.scenario && original.stage == ending.stage,
        _ => false,
    }
}

/// Causes that may be one obstacle, seen at different moments.
const KIN: &[&[&str]] = &[
    &["waiting-in-worker", "workers-busy", "backlog"],
    &["not-published", "not-dispatched"],
];

pub(super) fn may_be_one(original: &Ending, ending: &Ending) -> bool {
    let (Some(a), Some(b)) = (original.cause.as_deref(), ending.cause.as_deref()) else {
        return false;
    };
    a != b && KIN.iter().any(|kin| kin.contains(&a) && kin.contains(&b))
}
