//! What a cause's answer is worth: by the sources that see, the premises that are proved, and what speaks against it.

use std::collections::BTreeSet;

use super::choice::Candidate;
use super::evidence::WorkerLine;
use super::premises::{EventId, Premise, State};
use super::{Answer, Cause, Certainty, Match, Stage, Stand, Story, Undecided, consistency};
use crate::timeline::Source;

/// The sources that would make the winner more certain, and do not see.
pub(super) fn would_decide(story: &Story<'_>, candidate: &Candidate) -> Option<Undecided> {
    let Candidate { cause, matched, .. } = candidate;
    let unseen =
        |source: &Source| !story.sees(*source) || (*source == Source::Firehose && !story.sees_all(*source));
    let needs: Vec<Source> = matched.would_decide.iter().copied().filter(unseen).collect();
    (!needs.is_empty() && matched.certainty < Certainty::Certain).then(|| Undecided {
        id: cause.id.to_owned(),
        needs,
    })
}

pub(super) fn ask(cause: &Cause, story: &Story<'_>) -> Answer {
    let unmet: Vec<Source> = cause
        .needs
        .iter()
        .filter(|any| !any.iter().any(|source| story.sees(*source)))
        .flat_map(|any| any.iter().copied())
        .collect();
    if unmet.is_empty() {
        let answer = weigh(cause, (cause.check)(story), story);
        let answer = beside_a_first_run(cause, answer, story);
        let answer = beside_a_success(cause, answer, story);
        let weak = matches!(&answer, Answer::Matched(matched) if story.is_weak(&matched.evidence));
        // Two messages carry the id, and nothing says which one is meant: what became of one of them
        // may be the other's story.
        let by_message = cause
            .keeps_from
            .iter()
            .any(|stage| matches!(stage, Stage::Received | Stage::Entered | Stage::Finished));
        if story.is_ambiguous() && by_message && !story.rests_on_the_row(&answer) {
            answer.at_most(Certainty::Possible).with(|matched| {
                matched.most = Certainty::Possible;
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
                    matched.most = matched.certainty;
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

/// What the log tells of one run need not be the end of a task whose row says afterwards that it has succeeded: a hook may have
/// thrown away a second message of a task that was done.
fn beside_a_success(cause: &Cause, answer: Answer, story: &Story<'_>) -> Answer {
    let is_by_the_log = |matched: &Match| {
        let mut own = story.lines().iter();
        own.any(|told| matched.evidence.contains(&told.n))
    };
    let is_sure = match &answer {
        Answer::Matched(matched) => {
            matched.certainty == Certainty::Certain && !cause.keeps_from.is_empty() && is_by_the_log(matched)
        }
        _ => false,
    };
    let Some(said) = story.says_success_afterwards().filter(|_| is_sure) else {
        return answer;
    };
    answer
        .at_most(Certainty::Likely)
        .followed_by(&format!(
            "; the row says {} all the same: another run may have written that",
            said.value
        ))
        .with(|matched| {
            matched.most = Certainty::Likely;
            matched.gone = false;
            matched.terminal = false;
            matched.evidence.push(said.n);
        })
}

/// What becomes of a message that was handed out again says nothing of a first run that may go on.
fn beside_a_first_run(cause: &Cause, answer: Answer, story: &Story<'_>) -> Answer {
    let Answer::Matched(matched) = &answer else {
        return answer;
    };
    let is_sure = matched.certainty == Certainty::Certain && cause.stand == Stand::Passed;
    let Some(second) = story.first_run_may_go_on().filter(|_| is_sure) else {
        return answer;
    };
    let ends = |told: &WorkerLine<'_>| {
        let mark = told.mark;
        told.n > second.n && mark.is_some_and(|mark| mark.ends_run() || mark.fails_attempt())
    };
    let mut ended = story.lines().iter().filter(|told| ends(told)).map(|told| told.n);
    let mut retries = story.publishes().iter().filter(|sent| sent.message.is_retry());
    let rests_on = |n: u32| matched.evidence.contains(&n);
    let of_the_second = ended.any(rests_on) || retries.any(|sent| sent.n > second.n && rests_on(sent.n));
    match of_the_second {
        true => answer
            .at_most(Certainty::Likely)
            .followed_by("; it had been handed out before, and nothing says that its first run has ended")
            .with(|matched| {
                matched.most = Certainty::Likely;
                matched.terminal = false;
            }),
        false => answer,
    }
}

/// Certainty from premises: the best proof counts, and a refuted premise takes its proof away.
fn weigh(cause: &Cause, answer: Answer, story: &Story<'_>) -> Answer {
    let Answer::Matched(mut matched) = answer else {
        return answer;
    };
    if let Some(excluded) = consistency::never_runs(story, cause) {
        return excluded;
    }
    let mut best: Option<(Vec<Premise>, Vec<EventId>)> = None;
    for proof in &matched.proofs {
        let mut premises = proof.premises.clone();
        if story.waits_by_assumption && cause.keeps_from.contains(&Stage::Delivered) {
            premises.push(Premise::IsAmongTheWaiting);
        }
        // What waits was sent.
        let waits = premises.contains(&Premise::IsAmongTheWaiting);
        if story.may_have_been_sent() && cause.is_on_the_way_to_a_worker() && !waits {
            premises.push(Premise::WasSent);
        }
        for n in &proof.evidence {
            premises.extend_from_slice(story.premises_of(*n));
        }
        premises.sort();
        premises.dedup();
        let mut assumed = Vec::new();
        let mut refuted = false;
        for premise in premises {
            match story.state(&premise) {
                State::Proved(_) => {}
                State::Refuted(_) => refuted = true,
                State::Assumed => assumed.push(premise),
            }
        }
        // Several lines of one writer leave one thing open.
        assumed.dedup_by_key(|premise: &mut Premise| match premise {
            Premise::WriterIsTheWorker(_) => Premise::WriterIsTheWorker(0),
            other => other.clone(),
        });
        // Whose run has set the status is one question.
        if assumed.contains(&Premise::StatusIsOfThisRun) {
            assumed.retain(|premise| *premise != Premise::StatusIsByARun);
        }
        if !refuted && best.as_ref().is_none_or(|(least, _)| assumed.len() < least.len()) {
            best = Some((assumed, proof.evidence.clone()));
        }
    }
    let Some((mut assumed, mut evidence)) = best else {
        return Answer::NotApplicable;
    };
    // What keeps a message from its worker keeps the task from it if the message is the task's.
    if assumed.is_empty() && cause.is_on_the_way_to_a_worker() && !story.is_known_by_time() {
        let sent = story
            .published()
            .and_then(|passage| passage.message.message_id.clone());
        let is_ours = sent.map(Premise::MessageIsOurs);
        assumed.extend(is_ours.filter(|is_ours| !matches!(story.state(is_ours), State::Proved(_))));
    }
    // One look may show two things.
    let mut seen = BTreeSet::new();
    evidence.retain(|n| seen.insert(*n));
    // A message waits that may be the task's, sent again.
    let is_sent_again = assumed.contains(&Premise::OnlyMessage) && story.may_wait_again();
    let most = match assumed.len() {
        _ if is_sent_again => Certainty::Possible,
        0 => Certainty::Certain,
        1 => Certainty::Likely,
        _ => Certainty::Possible,
    };
    matched.most = matched.certainty;
    matched.certainty = matched.certainty.min(most);
    matched.evidence = evidence;
    matched.assumed = assumed;
    if let Some(against) = consistency::contradiction(story, cause, &matched.evidence) {
        matched.certainty = Certainty::Possible;
        matched.most = Certainty::Possible;
        matched.terminal = false;
        matched.summary.push_str(&format!("; but {}", against.text));
        matched.evidence.push(against.n);
    }
    Answer::Matched(matched)
}
