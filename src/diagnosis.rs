//! From a timeline to a verdict: pure, total, and the same for a live run and a recording.
//!
//! Every cause of the catalogue is asked. Only those that keep a task from the first stage missing
//! after the furthest one reached compete; the more certain wins, the catalogue's order breaks
//! ties, a general cause never beats a specific one. See `causes.rs` for how to add one.

mod cause;
pub mod causes;
pub mod evidence;
pub mod isolation;
#[cfg(test)]
pub mod testing;
mod verdict;

use crate::error::exit;
use crate::timeline::{Source, Timeline};
pub use cause::{Answer, Cause, Match};
pub use evidence::{Story, Visibility};
pub use verdict::{
    Certainty, Excluded, Named, Outcome, Reached, Scenario, Stage, Task, Undecided, Verdict, closes,
};

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
            Answer::CannotTell { needs } if (competes && next.is_some()) => cannot_tell.push(Undecided {
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
                Undecided {
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
