//! From a timeline to a verdict: pure, total, and the same for a live run and a recording.
//!
//! Every cause of the catalogue is asked. Only those that keep a task from the first stage missing
//! after the furthest one reached compete; the more certain wins, the catalogue's order breaks
//! ties, a general cause never beats a specific one. See `causes.rs` for how to add one.

pub mod causes;
pub mod isolation;
pub mod story;
#[cfg(test)]
pub mod testing;

use serde::{Deserialize, Serialize};

use crate::error::exit;
use crate::timeline::{Ended, Source, Timeline};
pub use story::{Sight, Story};

/// How far a task has come.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
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
    pub const ALL: [Stage; 8] = [
        Stage::Submitted,
        Stage::Recorded,
        Stage::Published,
        Stage::Delivered,
        Stage::Received,
        Stage::Entered,
        Stage::Finished,
        Stage::Settled,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Stage::Submitted => "submitted",
            Stage::Recorded => "recorded",
            Stage::Published => "published",
            Stage::Delivered => "delivered",
            Stage::Received => "received",
            Stage::Entered => "entered",
            Stage::Finished => "finished",
            Stage::Settled => "settled",
        }
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
            Stage::Settled => "acked, rejected or dead-lettered",
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Succeeded,
    Failed,
    Unfinished,
    Unknown,
}

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Succeeded => "succeeded",
            Outcome::Failed => "failed",
            Outcome::Unfinished => "unfinished",
            Outcome::Unknown => "unknown",
        }
    }
}

/// How sure a cause is. `Certain`: one discriminating observation excludes every neighbour.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Certainty {
    Possible,
    Likely,
    Certain,
}

impl Certainty {
    pub fn name(self) -> &'static str {
        match self {
            Certainty::Possible => "possible",
            Certainty::Likely => "likely",
            Certainty::Certain => "certain",
        }
    }
}

/// One entry of the catalogue.
pub struct Cause {
    /// Public, kebab-case, never reused.
    pub id: &'static str,
    /// The stages it can keep a task from: nearly always one. Empty: contributing only.
    pub keeps_from: &'static [Stage],
    /// The scenario when the actor was not entered.
    pub scenario: Option<Scenario>,
    /// Sources without which it cannot be told: all of these, any of each.
    pub needs: &'static [&'static [Source]],
    /// Stands for "none of the specific ones could be shown".
    pub general: bool,
    /// Its page: `# title`, then what it means, how we know, how to confirm, fix and prevent it.
    pub page: &'static str,
    pub check: fn(&Story<'_>) -> Answer,
}

impl Cause {
    /// The first line of its page.
    pub fn title(&self) -> &'static str {
        self.page
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("# ")
    }

    /// One section of its page, by heading.
    pub fn section(&self, heading: &str) -> &'static str {
        let marker = format!("\n## {heading}\n");
        let Some(at) = self.page.find(&marker) else {
            return "";
        };
        let rest = &self.page[at + marker.len()..];
        rest.find("\n## ").map_or(rest, |end| &rest[..end]).trim()
    }

    /// The bullets below "Fix it now", each on one line.
    pub fn remedies(&self) -> Vec<String> {
        let mut remedies: Vec<String> = Vec::new();
        for line in self.section("Fix it now").lines() {
            match (line.strip_prefix("- "), remedies.last_mut()) {
                (Some(text), _) => remedies.push(text.trim().to_owned()),
                (None, Some(last)) if line.starts_with("  ") => {
                    last.push(' ');
                    last.push_str(line.trim());
                }
                _ => {}
            }
        }
        remedies
    }
}

/// What a cause's check says of a story.
#[derive(Debug, Clone)]
pub enum Answer {
    Matched(Match),
    /// It applied, and this evidence excludes it.
    RuledOut {
        because: String,
        evidence: Vec<u32>,
    },
    NotApplicable,
    /// These sources would decide.
    CannotTell {
        needs: Vec<Source>,
    },
}

#[derive(Debug, Clone)]
pub struct Match {
    pub certainty: Certainty,
    /// One sentence with what was seen.
    pub summary: String,
    pub evidence: Vec<u32>,
    /// This evidence ends the run at once.
    pub terminal: bool,
    /// Milliseconds that a better explanation may still need to come in.
    pub linger_ms: u64,
    /// Where what happened decides the scenario, not the catalogue.
    pub scenario: Option<Scenario>,
    /// Sources that would make it more certain.
    pub would_decide: Vec<Source>,
}

impl Answer {
    pub fn certain(summary: impl Into<String>, evidence: impl Into<Vec<u32>>) -> Self {
        Self::matched(Certainty::Certain, summary, evidence)
    }

    pub fn likely(summary: impl Into<String>, evidence: impl Into<Vec<u32>>) -> Self {
        Self::matched(Certainty::Likely, summary, evidence)
    }

    pub fn possible(summary: impl Into<String>, evidence: impl Into<Vec<u32>>) -> Self {
        Self::matched(Certainty::Possible, summary, evidence)
    }

    pub fn matched(certainty: Certainty, summary: impl Into<String>, evidence: impl Into<Vec<u32>>) -> Self {
        Self::Matched(Match {
            certainty,
            summary: summary.into(),
            evidence: evidence.into(),
            terminal: false,
            linger_ms: 0,
            scenario: None,
            would_decide: Vec::new(),
        })
    }

    pub fn ruled_out(because: impl Into<String>, evidence: impl Into<Vec<u32>>) -> Self {
        Self::RuledOut {
            because: because.into(),
            evidence: evidence.into(),
        }
    }

    pub fn cannot_tell(needs: &[Source]) -> Self {
        Self::CannotTell {
            needs: needs.to_vec(),
        }
    }

    pub fn terminal(self) -> Self {
        self.with(|matched| matched.terminal = true)
    }

    pub fn terminal_if(self, terminal: bool) -> Self {
        if terminal { self.terminal() } else { self }
    }

    /// Terminal, but a more specific explanation is often still on its way.
    pub fn terminal_after(self, linger_ms: u64) -> Self {
        self.with(|matched| {
            matched.terminal = true;
            matched.linger_ms = linger_ms;
        })
    }

    pub fn scenario(self, scenario: Scenario) -> Self {
        self.with(|matched| matched.scenario = Some(scenario))
    }

    pub fn would_decide(self, sources: &[Source]) -> Self {
        self.with(|matched| matched.would_decide = sources.to_vec())
    }

    fn with(mut self, change: impl FnOnce(&mut Match)) -> Self {
        if let Self::Matched(matched) = &mut self {
            change(matched);
        }
        self
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
    pub remedies: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Excluded {
    pub id: String,
    pub because: String,
    pub evidence: Vec<u32>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Untold {
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
    /// For a stage that was not reached: what was observed, and what would have let it pass.
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

#[derive(Debug, Clone)]
pub struct Verdict {
    pub scenario: Option<Scenario>,
    pub outcome: Outcome,
    /// The furthest stage reached.
    pub stage: Option<Stage>,
    pub exit_code: u8,
    pub cause: Option<Named>,
    pub contributing: Vec<Named>,
    pub ruled_out: Vec<Excluded>,
    pub cannot_tell: Vec<Untold>,
    pub stages: Vec<Reached>,
    pub task: Task,
    /// What a reader should know besides: two candidates, a source that was lost …
    pub notes: Vec<String>,
    /// The evidence ends the run at once.
    pub terminal: bool,
    /// … but not before so many milliseconds without news.
    pub linger_ms: u64,
    /// Silence may end the run: the task is not inside an actor.
    pub silence_counts: bool,
    /// When something of this task last happened.
    pub last_activity_ms: f64,
}

/// Asks every cause of the catalogue and chooses.
pub fn diagnose(timeline: &Timeline) -> Verdict {
    let story = Story::new(timeline);
    let outcome = story.outcome();
    let furthest = story.furthest();
    let next = match (furthest, outcome) {
        (_, Outcome::Succeeded) => None,
        (None, _) => Some(Stage::Submitted),
        (Some(stage), _) => Stage::ALL
            .into_iter()
            .find(|later| *later > stage && *later != Stage::Settled && story.reached(*later).is_none()),
    };
    // A row that says "failed" is finished, and its cause is one that kept it from success.
    let next = next.or((outcome != Outcome::Succeeded).then_some(Stage::Finished));

    let mut competing: Vec<(usize, &Cause, Match)> = Vec::new();
    let mut contributing: Vec<(usize, &Cause, Match)> = Vec::new();
    // What competed and was excluded comes first: that is what a reader would have guessed.
    let mut ruled_out: Vec<(bool, Excluded)> = Vec::new();
    let mut cannot_tell = Vec::new();
    for (order, cause) in causes::ALL.iter().enumerate() {
        let competes = next.is_some_and(|stage| cause.keeps_from.contains(&stage))
            || (cause.id == "succeeded" && next.is_none());
        match ask(cause, &story) {
            Answer::Matched(matched) if competes => competing.push((order, cause, matched)),
            Answer::Matched(matched) if cause.keeps_from.is_empty() || next.is_none() => {
                contributing.push((order, cause, matched))
            }
            Answer::Matched(_) | Answer::NotApplicable => {}
            Answer::RuledOut { because, evidence } => ruled_out.push((
                !competes,
                Excluded {
                    id: cause.id.to_owned(),
                    because,
                    evidence,
                },
            )),
            Answer::CannotTell { needs } if (competes && next.is_some()) => cannot_tell.push(Untold {
                id: cause.id.to_owned(),
                needs,
            }),
            Answer::CannotTell { .. } => {}
        }
    }
    ruled_out.sort_by_key(|(other, _)| *other);
    let ruled_out: Vec<Excluded> = ruled_out.into_iter().map(|(_, excluded)| excluded).collect();
    let specific = competing
        .iter()
        .any(|(_, cause, matched)| !cause.general && matched.certainty >= Certainty::Likely);
    competing.sort_by_key(|(order, cause, matched)| {
        (
            cause.general && specific,
            std::cmp::Reverse(matched.certainty),
            *order,
        )
    });
    let mut competing = competing.into_iter();
    let mut winner = competing.next();
    // "None of the specific ones could be shown" is certain only where all of them were excluded.
    let rivals = competing.clone().any(|(_, cause, _)| !cause.general);
    if let Some((_, cause, matched)) = &mut winner
        && cause.general
        && (rivals || !cannot_tell.is_empty())
    {
        matched.certainty = matched.certainty.min(Certainty::Likely);
    }
    // These causes are a failed attempt by themselves, whatever else could be seen of it.
    let failed_by = [
        "actor-raised",
        "time-limit-exceeded",
        "worker-died-in-actor",
        "expected-exception",
        "retries-missing",
    ];
    let outcome = match &winner {
        Some((_, cause, matched))
            if outcome != Outcome::Succeeded
                && failed_by.contains(&cause.id)
                && matched.certainty >= Certainty::Likely =>
        {
            Outcome::Failed
        }
        _ => outcome,
    };
    // What stands beside a specific cause only because nothing better was known adds nothing.
    contributing.extend(competing.filter(|(_, cause, _)| !cause.general));
    contributing.sort_by_key(|(order, ..)| *order);

    let entered = story.reached(Stage::Entered).is_some();
    let scenario = if entered {
        Some(Scenario::A)
    } else {
        match &winner {
            Some((_, cause, matched)) => matched.scenario.or(cause.scenario),
            // Nobody could say why, but the log has an error for it or the broker has it as rejected.
            None if story.closed() && (story.says_not_entered() || story.dead_letters_grew()) => {
                Some(Scenario::B)
            }
            None => (story.closed() && story.could_see_entry()).then_some(Scenario::C),
        }
    };
    let exit_code = match (scenario, outcome) {
        (Some(Scenario::A), Outcome::Succeeded) => exit::OK,
        (Some(Scenario::A), _) if timeline.setup.expect_entered => exit::OK,
        (Some(Scenario::A), Outcome::Unknown) => exit::COULD_NOT,
        (Some(Scenario::A | Scenario::B), _) => exit::FAILED,
        (Some(Scenario::C), _) => exit::SILENCE,
        (None, _) => exit::COULD_NOT,
    };
    // What was to be tried is not what worked.
    let exit_code = match story.done_by_another() {
        Some(_) if exit_code == exit::OK => exit::COULD_NOT,
        _ => exit_code,
    };
    let disk_full = story.disk_full() && outcome != Outcome::Succeeded;
    if disk_full && let Some((_, _, matched)) = &mut winner {
        // Not the application's fault, whatever it looks like.
        matched.certainty = Certainty::Possible;
    }
    // Unless a cause rests on it, and says it.
    let told: Vec<u32> = winner
        .iter()
        .chain(&contributing)
        .flat_map(|(_, _, matched)| matched.evidence.iter().copied())
        .collect();
    let mut notes = story.notes(&told);
    for remark in story.remarks_on_launches() {
        if !told.contains(&remark.evidence) {
            notes.insert(0, remark.text);
        }
    }
    if disk_full {
        notes.insert(
            0,
            "no space is left on the disk to which what was started prints: whoever prints fails, and what was not done proves nothing; free some space, or set TMPDIR".into(),
        );
    }
    if let Some((_, _, matched)) = &winner {
        let needs: Vec<Source> = matched
            .would_decide
            .iter()
            .copied()
            .filter(|source| {
                !story.sees(*source) || (*source == Source::Firehose && !story.sees_all(*source))
            })
            .collect();
        if let Some((_, cause, _)) = &winner
            && !needs.is_empty()
            && matched.certainty < Certainty::Certain
        {
            cannot_tell.insert(
                0,
                Untold {
                    id: cause.id.to_owned(),
                    needs,
                },
            );
        }
    }
    Verdict {
        scenario,
        outcome,
        stage: furthest,
        exit_code,
        terminal: winner.as_ref().is_some_and(|(_, _, matched)| matched.terminal),
        linger_ms: winner.as_ref().map_or(0, |(_, _, matched)| matched.linger_ms),
        silence_counts: story.silence_counts(),
        last_activity_ms: story.last_activity_ms(),
        cause: winner.map(|(_, cause, matched)| name(cause, matched, &story)),
        contributing: contributing
            .into_iter()
            .map(|(_, cause, matched)| name(cause, matched, &story))
            .collect(),
        ruled_out,
        cannot_tell,
        stages: story.stages(),
        task: story.task(),
        notes,
    }
}

fn ask(cause: &Cause, story: &Story<'_>) -> Answer {
    let unmet: Vec<Source> = cause
        .needs
        .iter()
        .filter(|any| !any.iter().any(|source| story.sees(*source)))
        .flat_map(|any| any.iter().copied())
        .collect();
    if unmet.is_empty() {
        let answer = (cause.check)(story);
        let weak = matches!(&answer, Answer::Matched(matched) if story.is_weak(&matched.evidence));
        // Two messages carry the id, and nothing says which one is meant: what became of one of them
        // may be the other's story.
        let by_message = cause
            .keeps_from
            .iter()
            .any(|stage| matches!(stage, Stage::Received | Stage::Entered | Stage::Finished));
        if story.is_ambiguous() && by_message && !story.rests_on_the_row(&answer) {
            answer.with(|matched| {
                matched.certainty = Certainty::Possible;
                matched.terminal = false;
            })
        } else if weak {
            // Another message's line would look the same: only one dead letter more supports it.
            let most = if story.one_dead_letter_more() {
                Certainty::Likely
            } else {
                Certainty::Possible
            };
            answer
                .with(|matched| {
                    matched.certainty = matched.certainty.min(most);
                    matched.terminal = false;
                })
                .would_decide(&[Source::Firehose])
        } else {
            answer
        }
    } else {
        Answer::CannotTell { needs: unmet }
    }
}

fn name(cause: &Cause, matched: Match, story: &Story<'_>) -> Named {
    Named {
        id: cause.id.to_owned(),
        title: cause.title().to_owned(),
        certainty: matched.certainty,
        summary: matched.summary,
        evidence: matched.evidence,
        remedies: cause.remedies().iter().map(|text| story.fill(text)).collect(),
    }
}

/// Whether the observation ended in a way that lets absence count.
pub fn closes(why: Ended) -> bool {
    matches!(why, Ended::Silence | Ended::Timeout | Ended::Looked)
}
