//! What the run ran in: versions, processes, and what API and worker do not have in common.

use serde::Serialize;

use crate::compare::{self, Difference, Side};
use crate::diagnosis::{Story, Verdict};
use crate::timeline::environment::Environment;
use crate::timeline::{EventKind, Process, Timeline};

#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
#[schemars(rename = "Surroundings")]
pub struct Environments {
    /// The version that wrote this report.
    pub taskdiag: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// Processes that serve the API.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub api: Vec<Process>,
    /// Processes that write the worker's log.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub worker: Vec<Process>,
    /// What the API and the worker run in, where that could be seen.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub fingerprints: Vec<Fingerprint>,
    /// Where API (first value) and worker (second) differ in a way that could explain the verdict.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differences: Vec<Difference>,
}

#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Fingerprint {
    pub of: Side,
    /// Where its connections to a broker lead, whatever its settings say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_to_broker: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_to_database: Option<String>,
    #[serde(flatten)]
    pub environment: Environment,
}

impl Environments {
    pub fn new(timeline: &Timeline, verdict: &Verdict) -> Self {
        let story = Story::new(timeline);
        let last = |wanted: &dyn Fn(&EventKind) -> Option<String>| {
            timeline.events.iter().rev().find_map(|event| wanted(&event.kind))
        };
        Self {
            taskdiag: env!("CARGO_PKG_VERSION"),
            broker: last(&|kind| match kind {
                EventKind::Broker { product, version, .. } => Some(format!("{product} {version}")),
                _ => None,
            }),
            database: last(&|kind| match kind {
                EventKind::DatabaseServer { version, .. } => Some(format!("PostgreSQL {version}")),
                _ => None,
            }),
            api: story
                .api_processes()
                .into_iter()
                .map(|process| process.value.clone())
                .collect(),
            worker: story
                .log_pids()
                .into_iter()
                .filter_map(|pid| story.process(pid))
                .map(|process| process.value.clone())
                .collect(),
            fingerprints: compare::fingerprints(&story)
                .into_iter()
                .map(|(of, environment, [broker, database])| Fingerprint {
                    of,
                    connected_to_broker: broker,
                    connected_to_database: database,
                    environment: environment.clone(),
                })
                .collect(),
            differences: compare::within(&story, verdict),
        }
    }
}
