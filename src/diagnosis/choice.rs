//! Which of the causes that match is named.
//!
//! Those that keep a task from the first missing stage compete: the more certain wins, the
//! catalogue's order breaks ties, a general one never beats a specific one. Then the winner may be
//! the effect of another cause that is seen at the same process, queue, row or message: the deepest
//! such cause is the one that is named, and the chain leads from it to the effect.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::{Answer, Cause, Certainty, Excluded, Match, Outcome, Stage, Story, Undecided, ask, causes};
use crate::timeline::{EventKind, Source};

/// A cause that matched, with its place in the catalogue.
pub(super) type Candidate = (usize, &'static Cause, Match);

/// Causes that say where a task waits or hangs now. Others tell of something that happened to it on its way.
const STILL_ON_ITS_WAY: &[&str] = &[
    "not-dispatched",
    "not-published",
    "chain-waiting",
    "chord-waiting",
    "no-consumer",
    "backlog",
    "workers-busy",
    "delayed",
    "rate-limited",
    "eta-blocks-worker",
    "pool-stuck",
    "waiting-in-worker",
    "worker-blocked",
    "blocked-before-entry",
    "actor-still-running",
];

/// What a run hangs in, or breaks off with. Where no line says when a run begins it may be what is missing already.
const OF_A_RUN: &[&str] = &["actor-still-running", "worker-died-in-actor"];

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
                || (may_have_begun && OF_A_RUN.contains(&cause.id))
                || (no_rows && cause.keeps_from.contains(&Stage::Published))
                || (story.may_have_been_sent() && cause.is_on_the_way_to_a_worker());
            let id = cause.id.to_owned();
            match ask(cause, story) {
                Answer::Matched(matched) if competes => answers.competing.push((order, cause, matched)),
                // It has come to its good end: it waits for nothing.
                Answer::Matched(_) if next.is_none() && STILL_ON_ITS_WAY.contains(&cause.id) => {}
                Answer::Matched(matched) if cause.keeps_from.is_empty() || next.is_none() => {
                    answers.contributing.push((order, cause, matched))
                }
                Answer::Matched(matched) => answers.elsewhere.push((order, cause, matched)),
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
            let ends = |(_, cause, _): &mut Candidate| cause.keeps_from == [Stage::Finished];
            for (order, cause, mut matched) in self.elsewhere.extract_if(.., ends) {
                matched.certainty = matched.certainty.min(Certainty::Possible);
                competing.push((order, cause, matched));
            }
        }
        // Nothing shows whether it was sent, and why nobody would take it is known: that is so of whatever is sent.
        let unseen = !story.sees(Source::Firehose) && !story.sees(Source::Queue) && story.closed();
        if competing.is_empty() && unseen && story.reached(Stage::Published).is_none() {
            let keeps_all = |(_, cause, matched): &mut Candidate| {
                cause.explains.contains(&"no-consumer") && matched.certainty >= Certainty::Likely
            };
            for (order, cause, mut matched) in self.elsewhere.extract_if(.., keeps_all) {
                matched.certainty = matched.certainty.min(Certainty::Likely);
                competing.push((order, cause, matched));
            }
        }
        let specific = competing
            .iter()
            .any(|(_, cause, matched)| !cause.general && matched.certainty >= Certainty::Likely);
        competing.sort_by_key(|(order, cause, matched)| {
            (cause.general && specific, Reverse(matched.certainty), *order)
        });
        let mut rest: Vec<Candidate> = competing;
        let mut winner = (!rest.is_empty()).then(|| rest.remove(0));
        // "None of the specific ones could be shown" is certain only where all of them were excluded.
        let rivals = rest.iter().any(|(_, cause, _)| !cause.general);
        if let Some((_, cause, matched)) = &mut winner
            && cause.general
            && (rivals || !self.cannot_tell.is_empty())
        {
            matched.certainty = matched.certainty.min(Certainty::Likely);
        }
        let mut chain = Vec::new();
        while let Some(effect) = winner.take() {
            match self.take_reason(story, &effect, &mut rest, &mut contributing) {
                Some(mut reason) => {
                    // What holds others up is seen there; that it holds this task up is as sure as the effect.
                    if reason.2.of.is_some() {
                        reason.2.certainty = reason.2.certainty.min(effect.2.certainty);
                    }
                    // Nothing more comes of the task, whatever the reason is.
                    reason.2.terminal |= effect.2.terminal;
                    reason.2.linger_ms = reason.2.linger_ms.max(effect.2.linger_ms);
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
        contributing.extend(rest.into_iter().filter(|(_, cause, _)| !cause.general));
        contributing.sort_by_key(|(order, ..)| *order);
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
        (_, effect, matched): &Candidate,
        rest: &mut Vec<Candidate>,
        contributing: &mut Vec<Candidate>,
    ) -> Option<Candidate> {
        let of_effect = subjects(story, &matched.evidence);
        let explains = |(_, cause, reason): &Candidate| {
            cause.explains.contains(&effect.id)
                && reason.certainty >= Certainty::Likely
                && !subjects(story, &reason.evidence).is_disjoint(&of_effect)
        };
        for candidates in [rest, &mut self.elsewhere, contributing] {
            if let Some(at) = candidates.iter().position(explains) {
                return Some(candidates.remove(at));
            }
        }
        None
    }
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
            EventKind::Deliver { message, queue, .. } => {
                found.insert(Subject::Queue(queue));
                found.extend(message.message_id.as_deref().map(of_message));
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
