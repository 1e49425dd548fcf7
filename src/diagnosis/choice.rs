//! Which of the causes that match is named.
//!
//! Those that keep a task from the first missing stage compete: the more certain wins, the
//! catalogue's order breaks ties, a general one never beats a specific one. Then the winner may be
//! the effect of another cause that is seen at the same process, queue, row or message: the deepest
//! such cause is the one that is named, and the chain leads from it to the effect.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::{
    Answer, Cause, Certainty, Excluded, Match, Outcome, Stage, Stand, Story, Undecided, ask, causes,
};
use crate::timeline::{EventKind, Source};

/// A cause that matched.
pub(super) struct Candidate {
    /// Its place in the catalogue.
    order: usize,
    pub(super) cause: &'static Cause,
    pub(super) matched: Match,
}

/// What all causes answered.
pub(super) struct Answers {
    competing: Vec<Candidate>,
    contributing: Vec<Candidate>,
    /// Matched, and about a stage that is not the missing one: they may explain the winner.
    elsewhere: Vec<Candidate>,
    pub(super) ruled_out: Vec<Excluded>,
    pub(super) cannot_tell: Vec<Undecided>,
}

pub(super) struct Choice {
    pub(super) winner: Option<Candidate>,
    /// The winner's effects, from the one at the task's stage down to the one that it causes itself.
    pub(super) chain: Vec<Candidate>,
    pub(super) contributing: Vec<Candidate>,
}

impl Candidate {
    fn at_most(&mut self, certainty: Certainty) {
        self.matched.certainty = self.matched.certainty.min(certainty);
    }
}

impl Answers {
    pub(super) fn new(story: &Story<'_>, next: Option<Stage>) -> Self {
        let mut answers = Self {
            competing: Vec::new(),
            contributing: Vec::new(),
            elsewhere: Vec::new(),
            ruled_out: Vec::new(),
            cannot_tell: Vec::new(),
        };
        // What competed and was excluded comes first: that is what a reader would have guessed.
        let mut ruled_out: Vec<(bool, Excluded)> = Vec::new();
        let framework = story.framework();
        // Where rows are out of sight, what keeps a task from being sent is seen all the same.
        let no_rows =
            next == Some(Stage::Recorded) && (!story.sees(Source::Database) || story.keeps_results());
        let possible = |(_, cause): &(usize, &Cause)| cause.is_one_of(framework);
        for (order, cause) in causes::ALL.iter().enumerate().filter(possible) {
            let is_next = next.is_some_and(|stage| cause.keeps_from.contains(&stage))
                || (cause.id == "succeeded" && next.is_none());
            // Afterwards nothing shows whether it was sent: what stops those that were is possible, too.
            let may_have_begun = next.is_some_and(|stage| matches!(stage, Stage::Received | Stage::Entered))
                && !story.acknowledges_after_the_run();
            let competes = is_next
                || (may_have_begun && cause.ends_a_run)
                || (no_rows && cause.keeps_from.contains(&Stage::Published))
                || (story.may_have_been_sent() && cause.is_on_the_way_to_a_worker());
            let id = cause.id.to_owned();
            let candidate = |matched| Candidate {
                order,
                cause,
                matched,
            };
            match ask(cause, story) {
                Answer::Matched(matched) if competes => answers.competing.push(candidate(matched)),
                // It has come to its good end: it waits for nothing.
                Answer::Matched(_) if next.is_none() && cause.stand != Stand::Passed => {}
                Answer::Matched(matched) if cause.keeps_from.is_empty() || next.is_none() => {
                    answers.contributing.push(candidate(matched))
                }
                Answer::Matched(matched) => answers.elsewhere.push(candidate(matched)),
                Answer::RuledOut { because, evidence } => ruled_out.push((
                    !competes,
                    Excluded {
                        id,
                        because,
                        evidence,
                    },
                )),
                Answer::CannotTell { needs } if is_next && next.is_some() => {
                    answers.cannot_tell.push(Undecided { id, needs })
                }
                Answer::CannotTell { .. } | Answer::NotApplicable => {}
            }
        }
        ruled_out.sort_by_key(|(other, _)| *other);
        answers.ruled_out = ruled_out.into_iter().map(|(_, excluded)| excluded).collect();
        answers
    }

    pub(super) fn choose(&mut self, story: &Story<'_>) -> Choice {
        let mut competing = std::mem::take(&mut self.competing);
        let mut contributing = std::mem::take(&mut self.contributing);
        // Nothing shows how far it came, and its row says how it ended: that is known, and no more.
        if competing.is_empty() && story.outcome() == Outcome::Failed {
            let ends = |candidate: &mut Candidate| candidate.cause.keeps_from == [Stage::Finished];
            for mut candidate in self.elsewhere.extract_if(.., ends) {
                candidate.at_most(Certainty::Possible);
                competing.push(candidate);
            }
        }
        // Nothing shows whether it was sent, and why nobody would take it is known: that is so of whatever is sent.
        let unseen = !story.sees(Source::Firehose) && !story.sees(Source::Queue) && story.closed();
        if competing.is_empty() && unseen && story.reached(Stage::Published).is_none() {
            let keeps_all = |candidate: &mut Candidate| {
                candidate.cause.explains.contains(&"no-consumer")
                    && candidate.matched.certainty >= Certainty::Likely
            };
            for mut candidate in self.elsewhere.extract_if(.., keeps_all) {
                candidate.at_most(Certainty::Likely);
                competing.push(candidate);
            }
        }
        let specific = competing
            .iter()
            .any(|candidate| !candidate.cause.general && candidate.matched.certainty >= Certainty::Likely);
        competing.sort_by_key(|candidate| {
            let is_last = candidate.cause.general && specific;
            (is_last, Reverse(candidate.matched.certainty), candidate.order)
        });
        let mut rest: Vec<Candidate> = competing;
        let mut winner = (!rest.is_empty()).then(|| rest.remove(0));
        // "None of the specific ones could be shown" is certain only where all of them were excluded.
        let rivals = rest.iter().any(|rival| !rival.cause.general);
        if let Some(winner) = &mut winner
            && winner.cause.general
            && (rivals || !self.cannot_tell.is_empty())
        {
            winner.at_most(Certainty::Likely);
        }
        let mut chain = Vec::new();
        while let Some(effect) = winner.take() {
            match self.take_reason(story, &effect, &mut rest, &mut contributing) {
                Some(mut reason) => {
                    // What holds others up is seen there; that it holds this task up is as sure as the effect.
                    if reason.matched.of.is_some() {
                        reason.at_most(effect.matched.certainty);
                    }
                    // Nothing more comes of the task, whatever the reason is.
                    reason.matched.terminal |= effect.matched.terminal;
                    reason.matched.linger_ms = reason.matched.linger_ms.max(effect.matched.linger_ms);
                    chain.push(effect);
                    winner = Some(reason);
                }
                None => {
                    winner = Some(effect);
                    break;
                }
            }
        }
        // What stands beside a specific cause only because nothing better was known adds nothing.
        contributing.extend(rest.into_iter().filter(|rival| !rival.cause.general));
        contributing.sort_by_key(|candidate| candidate.order);
        Choice {
            winner,
            chain,
            contributing,
        }
    }

    /// The cause of which this one is an effect, if one is at least likely and seen at the same thing.
    fn take_reason(
        &mut self,
        story: &Story<'_>,
        effect: &Candidate,
        rest: &mut Vec<Candidate>,
        contributing: &mut Vec<Candidate>,
    ) -> Option<Candidate> {
        let of_effect = subjects(story, &effect.matched.evidence);
        let explains = |reason: &Candidate| {
            reason.cause.explains.contains(&effect.cause.id)
                && is_likely_given(&reason.matched, &effect.matched)
                && !subjects(story, &reason.matched.evidence).is_disjoint(&of_effect)
        };
        for candidates in [rest, &mut self.elsewhere, contributing] {
            if let Some(at) = candidates.iter().position(explains) {
                return Some(candidates.remove(at));
            }
        }
        None
    }
}

/// At least likely; or, where the effect is not either, if what that rests on holds: both rest on it.
fn is_likely_given(reason: &Match, effect: &Match) -> bool {
    let mut own = reason
        .assumed
        .iter()
        .filter(|premise| !effect.assumed.contains(premise));
    let is_close = own.next().is_none() || own.next().is_none();
    let both_open = effect.certainty < Certainty::Likely && reason.most >= Certainty::Likely;
    reason.certainty >= Certainty::Likely || (both_open && is_close)
}

/// What an event is about: two causes are linked only by something that both were seen at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Subject<'a> {
    Process(i32),
    Queue(&'a str),
    /// The task's own message.
    Task,
    /// Another one.
    Message(&'a str),
    Row,
}

fn subjects<'a>(story: &Story<'a>, evidence: &[u32]) -> BTreeSet<Subject<'a>> {
    let mut found = BTreeSet::new();
    let of_message = |id: &'a str| match story.is_my_message(id) {
        true => Subject::Task,
        false => Subject::Message(id),
    };
    for event in evidence.iter().filter_map(|n| story.timeline.event(*n)) {
        match &event.kind {
            EventKind::Process(process) => {
                found.insert(Subject::Process(process.pid));
            }
            EventKind::Peer { pid, .. } | EventKind::Stacks { pid, .. } | EventKind::Gone { pid, .. } => {
                found.insert(Subject::Process(*pid));
            }
            EventKind::Depth { queue, .. } | EventKind::QueueInfo { queue, .. } => {
                found.insert(Subject::Queue(queue));
            }
            EventKind::Publish { message, .. } => {
                found.extend(message.message_id.as_deref().map(of_message));
            }
            EventKind::Deliver {
                message,
                queue,
                connection,
                ..
            } => {
                found.insert(Subject::Queue(queue));
                found.extend(message.message_id.as_deref().map(of_message));
                found.extend(story.peer(connection).map(|peer| Subject::Process(peer.value)));
            }
            EventKind::Consumers { consumers } => {
                let ours = consumers
                    .iter()
                    .filter(|consumer| consumer.queue == story.queue());
                let peers = ours.filter_map(|consumer| story.peer(&consumer.connection));
                found.extend(peers.map(|peer| Subject::Process(peer.value)));
            }
            EventKind::Row(_) | EventKind::RowCommitted { .. } | EventKind::LockWait(_) => {
                found.insert(Subject::Row);
            }
            EventKind::NotAnswered { .. } => {
                let api = story.api_processes();
                found.extend(api.iter().map(|process| Subject::Process(process.pid)));
            }
            // A worker names the process that runs the task.
            EventKind::Inspected(answer) => {
                let ours = answer
                    .active
                    .iter()
                    .flatten()
                    .find(|task| story.is_my_message(&task.id));
                found.extend(ours.map(|_| Subject::Task));
                found.extend(ours.and_then(|task| task.pid).map(Subject::Process));
            }
            EventKind::Line(_) if event.source == Source::WorkerLog => {
                let told = story.worker_lines().iter().find(|told| told.n == event.n);
                found.extend(told.and_then(|told| told.pid).map(Subject::Process));
                if story.lines().iter().any(|own| own.n == event.n) {
                    found.insert(Subject::Task);
                }
            }
            _ => {}
        }
    }
    found
}
