//! What the run ran in: versions, processes, and what API and worker do not have in common.

use serde::Serialize;

use crate::compare::{self, Difference, Side};
use crate::diagnosis::{Story, Verdict};
use crate::timeline::environment::Environment;
use crate::timeline::place::pid_words;
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
            differences: compare::differences(&story, verdict),
        }
    }
}

/// In words.
impl Environments {
    /// Where API and worker differ: a line each. Of the many packages of two virtual environments the
    /// first few stand for all.
    pub(super) fn difference_lines(&self) -> Vec<String> {
        const MOST: usize = 6;
        let all = &self.differences;
        let mut lines: Vec<String> = all
            .iter()
            .take(MOST)
            .map(|difference| {
                let why = difference.why.as_deref().map(|why| format!(" ({why})"));
                let how = if difference.is_masked() {
                    format!("the worker has {} than the API", difference.other_parts())
                } else {
                    format!(
                        "{} for the API, {} for the worker",
                        difference.side(0),
                        difference.side(1)
                    )
                };
                format!("{}: {how}{}", difference.what(), why.unwrap_or_default())
            })
            .collect();
        if all.len() > MOST {
            let names: Vec<&str> = all[MOST..]
                .iter()
                .map(|other| other.name.as_str())
                .take(5)
                .collect();
            let more = if all.len() > MOST + 5 { " …" } else { "" };
            lines.push(format!("{} more: {}{more}", all.len() - MOST, names.join(", ")));
        }
        lines
    }

    /// What API and worker run in, a line each.
    pub(super) fn lines(&self) -> Vec<String> {
        self.fingerprints
            .iter()
            .map(|fingerprint| {
                let environment = &fingerprint.environment;
                let mut parts = vec![format!(
                    "{} pid {}: {}",
                    fingerprint.of.name(),
                    pid_words(environment.pid),
                    environment.command.join(" ")
                )];
                if let Some(interpreter) = &environment.interpreter {
                    parts.push(format!(
                        "{} {} of {}",
                        interpreter.implementation,
                        interpreter.version.as_deref().unwrap_or("?"),
                        interpreter.prefix
                    ));
                }
                if let Some(code) = &environment.code {
                    parts.push(format!("{} from {}", code.module, code.directory));
                }
                parts.extend(environment.cwd.as_ref().map(|cwd| format!("in {cwd}")));
                parts.extend(environment.user.as_ref().map(|user| format!("as {user}")));
                parts.extend(
                    fingerprint
                        .connected_to_broker
                        .as_ref()
                        .map(|address| format!("connected to the broker at {address}")),
                );
                parts.extend(
                    fingerprint
                        .connected_to_database
                        .as_ref()
                        .map(|address| format!("to the database at {address}")),
                );
                let count = |count: Option<usize>, what: &str| count.map(|count| format!("{count} {what}"));
                parts.extend(count(
                    environment.distributions.as_ref().map(Vec::len),
                    "packages",
                ));
                parts.extend(count(
                    environment.variables.as_ref().map(|all| all.len()),
                    "variables",
                ));
                parts.extend(environment.hidden.iter().cloned());
                parts.join("; ")
            })
            .collect()
    }
}
