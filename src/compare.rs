//! What differs between two runs, the most telling first; and between API and worker within one.
//!
//! Both are the same question to two lists of facts. Pure: it reads recordings' timelines only. What
//! was not seen on one side is never called absent there.

mod control;
mod difference;
mod facts;
mod noise;
mod one_run;
mod parties;
mod rank;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use crate::diagnosis::isolation;
use crate::diagnosis::{Certainty, Outcome, Scenario, Stage, Story, Task, Verdict};
use crate::timeline::Timeline;
use difference::{Compared, Fact};
pub use difference::{Difference, FactValue, NotCompared, Side, Subject};
pub use facts::fingerprints;
use facts::{FactKey, Facts};
pub use one_run::differences;
pub use rank::Relevance;
pub use words::render;

/// Version of the JSON, a public contract.
pub const SCHEMA: &str = "taskdiag.compare.v1";

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Comparison {
    pub schema: &'static str,
    /// The runs as they were named, in this order; every pair of values below has the same.
    pub runs: [ComparedRun; 2],
    /// Scenario, outcome, stage and cause are the same.
    pub same_verdict: bool,
    /// The most telling first.
    pub differences: Vec<Difference>,
    pub not_compared: Vec<NotCompared>,
    pub stages: Vec<Pair>,
}

/// One run, and what became of its task.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(rename = "Run")]
pub struct ComparedRun {
    pub recording: String,
    pub started_at: String,
    pub scenario: Option<Scenario>,
    pub outcome: Outcome,
    pub stage: Option<Stage>,
    /// Id of the cause.
    pub cause: Option<String>,
    pub certainty: Option<Certainty>,
    pub summary: Option<String>,
    pub exit_code: u8,
    pub task: Task,
    /// What `--isolate` concluded, if it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolated: Option<String>,
}

/// One stage in both runs: whether it was reached (null: cannot be told), and when.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Pair {
    pub stage: Stage,
    pub reached: [Option<bool>; 2],
    /// Milliseconds since the submission.
    pub at_ms: [Option<f64>; 2],
}

/// One of the two: its name, what was seen, and its verdict.
pub type Recorded<'a> = (&'a str, &'a Timeline, &'a Verdict);

pub fn compare(runs: [Recorded<'_>; 2]) -> Comparison {
    let facts = runs.map(|(_, timeline, _)| Facts::of(&Story::new(timeline)));
    let verdicts = runs.map(|(_, _, verdict)| verdict);
    let same_verdict = verdicts.map(essence)[0] == verdicts.map(essence)[1];
    let (differences, not_compared) = between(&facts[0], &facts[1]);
    let mut differences = merged(differences);
    let setups = runs.map(|(_, timeline, _)| &timeline.setup);
    for difference in &mut differences {
        if rank::moved_together(difference, setups) {
            difference.relevance = Relevance::Service;
        }
    }
    let mut differences = ranked(differences, &verdicts);
    if !same_verdict {
        for difference in &mut differences {
            difference.why = difference.relevance.why().map(str::to_owned);
        }
    }
    Comparison {
        schema: SCHEMA,
        stages: pairs(
            verdicts,
            runs.map(|(_, timeline, _)| Story::new(timeline).has_ended()),
        ),
        runs: runs.map(run),
        same_verdict,
        differences,
        not_compared,
    }
}

/// The most telling first; see `rank.rs`.
fn ranked(mut differences: Vec<Difference>, verdicts: &[&Verdict]) -> Vec<Difference> {
    for difference in &mut differences {
        if verdicts
            .iter()
            .any(|verdict| rank::is_named(verdict, difference.subject, &difference.name))
        {
            difference.relevance = Relevance::Named;
        }
    }
    let blamed = verdicts.iter().find_map(|verdict| rank::blamed(verdict));
    differences.sort_by_key(|difference| {
        let elsewhere = blamed.is_some_and(|party| !difference.of.contains(&party));
        (
            difference.relevance,
            elsewhere,
            // One package more or less is often a tool; another version was wanted by somebody.
            difference.subject == Subject::Package && difference.values.contains(&FactValue::Absent),
            difference.subject,
            difference.name.clone(),
            difference.of.clone(),
        )
    });
    differences
}

/// What makes two verdicts the same.
fn essence(verdict: &Verdict) -> (Option<Scenario>, Outcome, Option<Stage>, Option<&str>) {
    (
        verdict.scenario,
        verdict.outcome,
        verdict.stage,
        verdict.cause.as_ref().map(|cause| cause.id.as_str()),
    )
}

fn run((name, timeline, verdict): Recorded<'_>) -> ComparedRun {
    let cause = verdict.cause.as_ref();
    ComparedRun {
        recording: name.to_owned(),
        started_at: timeline.started_at.clone(),
        scenario: verdict.scenario,
        outcome: verdict.outcome,
        stage: verdict.stage,
        cause: cause.map(|cause| cause.id.clone()),
        certainty: cause.map(|cause| cause.certainty),
        summary: cause.map(|cause| cause.summary.clone()),
        exit_code: verdict.exit_code,
        task: verdict.task.clone(),
        isolated: isolation::of(timeline).map(|isolation| isolation.conclusion),
    }
}

fn pairs(verdicts: [&Verdict; 2], ended: [bool; 2]) -> Vec<Pair> {
    Stage::all()
        .map(|stage| {
            let of = verdicts.map(|verdict| verdict.stages.iter().find(|reached| reached.stage == stage));
            Pair {
                stage,
                // It may have been reached after the end of an incomplete recording.
                reached: [0, 1].map(|index| {
                    let reached = of[index].and_then(|reached| reached.reached);
                    reached.filter(|reached| *reached || ended[index])
                }),
                at_ms: of.map(|reached| reached.and_then(|reached| reached.at_ms)),
            }
        })
        .collect()
}

fn between(one: &Facts, other: &Facts) -> (Vec<Difference>, Vec<NotCompared>) {
    let keys: BTreeSet<&FactKey> = one.known.keys().chain(other.known.keys()).collect();
    let mut differences = Vec::new();
    let mut skipped: BTreeMap<(Side, Option<Subject>, String), Vec<String>> = BTreeMap::new();
    let mut skip = |party: Side, subject: Option<Subject>, name: &str, reason: String| {
        let names = skipped.entry((party, subject, reason)).or_default();
        if !name.is_empty() {
            names.push(name.to_owned());
        }
    };
    for (index, facts) in [one, other].into_iter().enumerate() {
        for (party, reasons) in &facts.hidden {
            for reason in reasons {
                skip(*party, None, "", format!("{}: {reason}", ORDINALS[index]));
            }
        }
    }
    for key in keys {
        let (party, subject, name) = key;
        let sides = [one.known.get(key), other.known.get(key)];
        let complete = [one, other].map(|facts| facts.complete.contains(&(*party, *subject)));
        let values = sides.map(|fact| fact.map_or(FactValue::Absent, |fact| fact.shown.clone()));
        let parts = match sides {
            [Some(first), Some(second)] => match first.compare(second) {
                Compared::Equal => continue,
                Compared::Differ(parts) => parts,
                Compared::Cannot(reason) => {
                    skip(*party, Some(*subject), name, reason.to_owned());
                    continue;
                }
            },
            [first, _] => {
                let missing = usize::from(first.is_some());
                if !complete[missing] {
                    // Said once for the whole party, if nothing of it was seen.
                    if is_unseen([one, other][missing], *party) {
                        continue;
                    }
                    let reason = format!("not seen in the {} run", ORDINALS[missing]);
                    skip(*party, Some(*subject), name, reason);
                    continue;
                }
                Vec::new()
            }
        };
        let code = (*party, Subject::CodeFolder, String::new());
        let code_known = one.known.contains_key(&code) && other.known.contains_key(&code);
        differences.push(Difference {
            subject: *subject,
            of: vec![*party],
            name: name.clone(),
            relevance: rank::relevance(*subject, name, &values, code_known),
            values,
            parts,
            why: None,
            tokens: sides.map(|fact| fact.map(Fact::token)),
        });
    }
    let not_compared = skipped
        .into_iter()
        .map(|((of, subject, reason), names)| NotCompared {
            of,
            subject,
            names,
            reason,
        })
        .collect();
    (differences, not_compared)
}

const ORDINALS: [&str; 2] = ["first", "second"];

/// Nothing of what this party runs in was seen.
fn is_unseen(facts: &Facts, party: Side) -> bool {
    matches!(party, Side::Api | Side::Worker)
        && !facts
            .known
            .contains_key(&(party, Subject::Command, String::new()))
}

/// Where API and worker differ in the same way it is one difference.
fn merged(differences: Vec<Difference>) -> Vec<Difference> {
    let mut out: Vec<Difference> = Vec::new();
    for difference in differences {
        let same = out.iter_mut().find(|other| {
            other.subject == difference.subject
                && other.name == difference.name
                && other.values == difference.values
                && other.tokens == difference.tokens
        });
        match same {
            Some(other) => other.of.extend(difference.of),
            None => out.push(difference),
        }
    }
    out
}

#[cfg(test)]
mod tests;
