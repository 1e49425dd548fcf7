//! From a timeline to a verdict: pure, total, and the same for a live run and a recording.
//!
//! Every cause of the catalogue is asked. Only those that keep a task from the first stage missing
//! after the furthest one reached compete; the more certain wins, the catalogue's order breaks
//! ties, a general cause never beats a specific one. See `causes.rs` for how to add one.

mod cause;
pub mod causes;
mod choice;
mod consistency;
pub mod evidence;
mod impact;
pub mod isolation;
mod places;
pub mod premises;
mod submitter;
#[cfg(test)]
pub mod testing;
mod verdict;
mod weigh;

use std::collections::BTreeSet;

use crate::error::exit;
use crate::framework::Inquiry;
use crate::links;
use crate::timeline::{Ended, Source, Timeline};
pub use cause::{Answer, Cause, Claim, Match, Proof, Stand};
use choice::{Answers, Candidate};
pub use evidence::settings::{is_database_variable, is_tuning};
pub use evidence::{Story, Visibility};
pub use premises::PremiseKind;
pub use verdict::{
    Certainty, Exception, ExceptionFrame, Excluded, Impact, Link, Named, OtherTask, Outcome, Owner, Reached,
    Resubmit, Scenario, Stage, Task, Undecided, Verdict, Whereabouts, closes,
};
use weigh::{ask, would_decide};

/// Within which an API says what it makes of a row that is final.
const API_ANSWERS_MS: u64 = 300;

/// Sockets and processes are read within this time.
const TAKER_MS: u64 = 400;

/// Asks every cause of the catalogue and chooses.
pub fn diagnose(timeline: &Timeline) -> Verdict {
    decide(&Story::new(timeline))
}

/// Whether the verdict, if the silence ended now, is one that no longer silence changes.
pub fn would_last(timeline: &Timeline) -> bool {
    decide(&Story::as_if_ended(timeline, Ended::Silence)).lasting
}

/// The row says that the task is done, and its message may still be in hand: a look at what has it would tell.
pub fn is_worth_a_look(timeline: &Timeline) -> bool {
    let story = Story::new(timeline);
    story.row_succeeded().is_some() && evidence::holding::is_open(&story).is_some()
}

/// Which workers may be asked, once everything else was looked at.
pub fn whom_to_ask(timeline: &Timeline) -> Inquiry {
    evidence::control::whom_to_ask(&Story::new(timeline))
}

/// The same, with one kind of premise taken for proved whatever was seen. What comes of it may be
/// false: this is how tests see that a premise is needed.
#[doc(hidden)]
pub fn diagnose_trusting(timeline: &Timeline, kind: PremiseKind) -> Verdict {
    let mut story = Story::new(timeline);
    story.trusted = Some(kind);
    decide(&story)
}

/// The verdict, and the kinds of premise that it asked for and could not prove: trusting another one changes
/// nothing.
#[doc(hidden)]
pub fn diagnose_with_unproved(timeline: &Timeline) -> (Verdict, BTreeSet<PremiseKind>) {
    let story = Story::new(timeline);
    let verdict = decide(&story);
    (verdict, story.unproved.into_inner())
}

fn decide(story: &Story<'_>) -> Verdict {
    let next = next_stage(story);
    let mut answers = Answers::new(story, next);
    let choice = answers.choose(story);
    let mut winner = choice.winner;
    let outcome = outcome(story, winner.iter().chain(&choice.chain));
    let scenario = scenario(story, winner.as_ref(), &choice.chain);
    let disk_full = story.disk_full() && outcome != Outcome::Succeeded;
    if disk_full && let Some(winner) = &mut winner {
        // Not the application's fault, whatever it looks like.
        winner.matched.certainty = Certainty::Possible;
    }
    let surest = winner
        .iter()
        .chain(&choice.chain)
        .map(|candidate| candidate.matched.certainty)
        .max();
    let exit_code = exit_code(story, scenario, outcome, surest);
    let notes = notes(story, &winner, &choice.contributing, disk_full);
    let traceback = exception(story, [winner.as_slice(), &choice.chain, &choice.contributing]);
    let mut cannot_tell = answers.cannot_tell;
    if let Some(undecided) = winner.as_ref().and_then(|winner| would_decide(story, winner)) {
        cannot_tell.insert(0, undecided);
    }
    let links = choice
        .chain
        .into_iter()
        .rev()
        .map(|Candidate { cause, matched, .. }| Link {
            id: cause.id.to_owned(),
            certainty: matched.certainty,
            summary: matched.summary,
            evidence: matched.evidence,
            of: matched.of,
        });
    let links: Vec<Link> = links.collect();
    let message = story.whereabouts();
    let is_good = outcome == Outcome::Succeeded && exit_code == exit::OK;
    let impact = (!is_good).then(|| impact::of(story, outcome, winner.as_ref(), message.as_ref()));
    // What is merely possible ends no run.
    let named = winner
        .as_ref()
        .map(|winner| &winner.matched)
        .filter(|matched| matched.certainty >= Certainty::Likely);
    let linger_ms = winner.as_ref().map_or(0, |winner| winner.matched.linger_ms);
    let owed_ms = story.api_owes_an_answer().then_some(API_ANSWERS_MS);
    let taker_ms = story.awaits_the_taker().then_some(TAKER_MS);
    let mut verdict = Verdict {
        scenario,
        outcome,
        stage: story.furthest(),
        exit_code,
        terminal: named.is_some_and(|matched| matched.terminal),
        linger_ms: linger_ms.max(owed_ms.unwrap_or(0)).max(taker_ms.unwrap_or(0)),
        silence_counts: story.silence_counts(),
        lasting: named.is_some_and(|matched| matched.lasting) && story.silence_counts(),
        last_activity_ms: story.last_activity_ms(),
        cause: winner.map(|Candidate { cause, matched, .. }| Named {
            explains: links,
            confirm: cause
                .confirmations(story.framework())
                .iter()
                .map(|command| story.fill_command(command))
                .collect(),
            ..name(cause, matched, story, traceback.as_ref())
        }),
        message,
        impact,
        traceback,
        contributing: choice
            .contributing
            .into_iter()
            .map(|other| name(other.cause, other.matched, story, None))
            .collect(),
        ruled_out: answers.ruled_out,
        cannot_tell,
        stages: story.stages(),
        task: story.task(),
        notes,
    };
    if story.timeline.is_by_command() {
        submitter::speak_of_the_command(&mut verdict);
    }
    if story.has_places() {
        places::speak(&mut verdict);
    }
    verdict
}

/// The first stage missing after the furthest one reached; `None`: the task succeeded.
fn next_stage(story: &Story<'_>) -> Option<Stage> {
    if story.outcome() == Outcome::Succeeded {
        return None;
    }
    let next = match story.furthest() {
        None => Some(Stage::Submitted),
        Some(stage) => Stage::all()
            .find(|later| *later > stage && *later != Stage::Settled && story.reached(*later).is_none()),
    };
    // A row that says "failed" is finished, and its cause is one that kept it from success.
    next.or(Some(Stage::Finished))
}

fn outcome<'c>(story: &Story<'_>, named: impl Iterator<Item = &'c Candidate>) -> Outcome {
    let fails = |named: &Candidate| {
        let matched = &named.matched;
        named.cause.fails_attempt && !matched.goes_on && matched.certainty >= Certainty::Likely
    };
    let named: Vec<&Candidate> = named.collect();
    let goes_on = named.iter().any(|named| named.matched.goes_on);
    match story.outcome() {
        Outcome::Succeeded => Outcome::Succeeded,
        _ if named.iter().any(|candidate| fails(candidate)) => Outcome::Failed,
        Outcome::Failed if goes_on && story.row_failed().is_none() => Outcome::Unfinished,
        other => other,
    }
}

fn scenario(story: &Story<'_>, winner: Option<&Candidate>, chain: &[Candidate]) -> Option<Scenario> {
    if story.reached(Stage::Entered).is_some() {
        return Some(Scenario::A);
    }
    if winner.is_some_and(|winner| winner.matched.may_have_begun) {
        return None;
    }
    // What was sent may be running, and what died may have taken its last lines with it.
    if evidence::api::sent_all_the_same(story).is_some() && story.task_id().is_none()
        || (story.taker_is_gone().is_some() || story.was_settled_elsewhere())
            && winner.is_some_and(|winner| winner.cause.scenario == Some(Scenario::C))
        // Nothing says that there is such a task.
        || winner.is_none() && story.is_known_to_nobody()
    {
        return None;
    }
    // It was acknowledged as its run began.
    if story.may_have_begun()
        && winner.is_some_and(|winner| {
            winner.cause.scenario == Some(Scenario::C) && !winner.cause.keeps_from.contains(&Stage::Entered)
        })
    {
        return None;
    }
    let of = |candidate: &Candidate| candidate.matched.scenario.or(candidate.cause.scenario);
    match winner {
        // B if any link says why; else the effect's at the task's own stage.
        Some(winner) => {
            let links = std::iter::once(winner).chain(chain);
            let said_why = links.map(of).any(|scenario| scenario == Some(Scenario::B));
            match said_why {
                true => Some(Scenario::B),
                false => of(chain.first().unwrap_or(winner)),
            }
        }
        // Nobody could say why, but the log has an error for it or the broker has it as rejected.
        None if story.closed() && (story.says_not_entered() || story.dead_letters_grew()) => {
            Some(Scenario::B)
        }
        None => {
            (story.closed() && story.could_see_entry() && story.unsent().is_none()).then_some(Scenario::C)
        }
    }
}

fn exit_code(
    story: &Story<'_>,
    scenario: Option<Scenario>,
    outcome: Outcome,
    surest: Option<Certainty>,
) -> u8 {
    if story.is_stopped() {
        return exit::STOPPED;
    }
    let named = surest.is_some_and(|certainty| certainty >= Certainty::Likely);
    let code = match (scenario, outcome) {
        (Some(Scenario::C), _) => exit::SILENCE,
        (Some(Scenario::A), Outcome::Succeeded) => exit::OK,
        (Some(Scenario::A), _) if story.timeline.setup.expect_entered => exit::OK,
        (Some(Scenario::A), Outcome::Failed | Outcome::Unfinished) | (Some(Scenario::B), _) => exit::FAILED,
        _ if named => exit::FAILED,
        _ => exit::COULD_NOT,
    };
    // A row that was to be read and cannot be seen: another's word does not replace it.
    let is_unseen = story.timeline.setup.table.is_some()
        && !story.sees(Source::Database)
        && !story.timeline.setup.expect_entered
        && (story.row_succeeded().is_none() || !story.saw_this_run_write());
    // What was to be tried is not what worked.
    let is_untried = story.done_by_another().is_some() || story.is_without_message() || story.waits_untaken();
    match is_unseen || is_untried {
        true if code == exit::OK => exit::COULD_NOT,
        _ => code,
    }
}

/// The exception that the verdict rests on, or that its cause brought about.
fn exception(story: &Story<'_>, told: [&[Candidate]; 3]) -> Option<Exception> {
    let told = told.into_iter().flatten();
    let evidence = told.flat_map(|candidate| candidate.matched.evidence.iter().copied());
    story.exception_among(evidence)
}

/// What a reader should know besides, unless a cause rests on it and says it.
fn notes(
    story: &Story<'_>,
    winner: &Option<Candidate>,
    contributing: &[Candidate],
    disk_full: bool,
) -> Vec<String> {
    let told: Vec<u32> = winner
        .iter()
        .chain(contributing)
        .flat_map(|candidate| candidate.matched.evidence.iter().copied())
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
    notes
}

fn name(cause: &Cause, matched: Match, story: &Story<'_>, traceback: Option<&Exception>) -> Named {
    let remedies = cause.remedies(story.framework());
    debug_assert!(
        matched.cases.iter().all(|(case, _)| cause.names_the_case(case)),
        "{}: {:?}",
        cause.id,
        matched.cases
    );
    let mut cases = matched.cases;
    let has_place = traceback.is_some_and(|raised| raised.frames.iter().any(|frame| frame.application));
    cases.push((cause::remedy::NO_PLACE, !has_place));
    let mut values = matched.values;
    values.extend(story.due_time().map(|due| ("{due}", due)));
    let mut seen = matched.summary.clone();
    if remedies.iter().any(|text| text.starts_with("For ")) {
        let events = matched.evidence.iter().filter_map(|n| story.timeline.event(*n));
        for event in events {
            seen.push_str(&serde_json::to_string(&event.kind).unwrap_or_default());
        }
    }
    Named {
        id: cause.id.to_owned(),
        title: match matched.of {
            Some(_) => format!("held up by another task: {}", cause.title()),
            None => cause.title().to_owned(),
        },
        of: matched.of,
        certainty: matched.certainty,
        summary: matched.summary,
        premises: matched
            .assumed
            .iter()
            .map(|premise| premise.sentence(story.framework()))
            .collect(),
        evidence: matched.evidence,
        owner: matched.owner.unwrap_or(cause.owner).to_vec(),
        confirm: Vec::new(),
        docs_url: links::page_of(cause.id),
        explains: Vec::new(),
        remedies: remedies
            .iter()
            .filter_map(|text| cause::remedy::for_this_run(text, &seen, &cases))
            .filter_map(|text| cause::remedy::placed(&text, traceback))
            .filter_map(|text| cause::remedy::with_values(text, &values))
            .map(|text| story.fill(&text))
            .collect(),
    }
}
