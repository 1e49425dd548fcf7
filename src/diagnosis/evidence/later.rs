//! Tasks that come after this one's predecessors: their messages carry ours with them.

use super::{Fact, Story, Transfer, broker};
use crate::diagnosis::Answer;
use crate::diagnosis::evidence::control;
use crate::framework::{Later, LogEvent, is_same_id};

/// A message that carries ours, to be sent when its own task is done.
#[derive(Debug, Clone, Copy)]
pub(in crate::diagnosis) struct Predecessor<'a> {
    pub passage: Transfer<'a>,
    pub ours: &'a Later,
}

/// What is known of a predecessor's end.
#[derive(Debug, Clone)]
pub(in crate::diagnosis) enum PredecessorState {
    /// By this line: it failed for good.
    Failed(Fact<String>),
    Succeeded,
    /// By this answer of a worker that holds it.
    InWorker(Fact<String>),
    Unknown,
}

impl<'a> Predecessor<'a> {
    pub fn name(&self) -> &'a str {
        self.passage.message.actor.as_deref().unwrap_or("a task")
    }

    /// A line says of its group as a whole that a member has failed: one that was lost with its process is named
    /// by no line of its own.
    pub fn group_failed(&self, story: &Story<'a>) -> Option<Fact<String>> {
        let group = self.passage.message.group.as_deref()?;
        story.worker_lines().iter().find_map(|told| match told.mark {
            Some(LogEvent::ChordFailed { group: failed, error }) if failed == group => {
                Some(Fact::new(told.n, told.at_ms, crate::text::excerpt(error)))
            }
            _ => None,
        })
    }

    /// The line by which a worker was told to revoke it.
    pub fn revoked(&self, story: &Story<'a>) -> Option<u32> {
        let id = self.passage.id()?;
        let mut lines = story.worker_lines().iter();
        lines.find_map(|told| match told.mark {
            Some(LogEvent::Revoked { ids }) if ids.iter().any(|revoked| revoked == id) => Some(told.n),
            _ => None,
        })
    }

    pub fn state(&self, story: &Story<'a>) -> PredecessorState {
        let Some(id) = self.passage.message.message_id.as_deref() else {
            return PredecessorState::Unknown;
        };
        let lines = || {
            story
                .worker_lines()
                .iter()
                .filter(|told| told.message_id() == Some(id))
        };
        let failed = lines().rev().find(|told| {
            matches!(
                told.mark,
                Some(LogEvent::Failed { .. } | LogEvent::UndefinedActor { .. } | LogEvent::Discarded { .. })
            )
        });
        if let Some(told) = failed {
            let raised = told
                .line
                .text
                .split_once("raised unexpected: ")
                .map(|(_, raised)| raised);
            let said = crate::text::excerpt(raised.unwrap_or(&told.line.text));
            return PredecessorState::Failed(Fact::new(told.n, told.at_ms, said));
        }
        if lines().any(|told| matches!(told.mark, Some(LogEvent::Succeeded { .. }))) {
            return PredecessorState::Succeeded;
        }
        let held = control::answers(story).find_map(|answer| {
            let lists = [
                ("active", &answer.active),
                ("reserved", &answer.reserved),
                ("scheduled", &answer.scheduled),
            ];
            let found = lists
                .into_iter()
                .find(|(_, list)| list.iter().flatten().any(|task| task.id == id));
            found.map(|(state, _)| {
                PredecessorState::InWorker(answer.with(format!("{state} at {}", answer.node)))
            })
        });
        held.unwrap_or(PredecessorState::Unknown)
    }
}

/// The messages of a group whose id the API has answered with: each has an id of its own.
pub(in crate::diagnosis) fn members<'a>(story: &Story<'a>) -> Vec<Transfer<'a>> {
    let id = story.task_id();
    let is_its = |sent: &Transfer<'_>| {
        sent.message
            .group
            .as_deref()
            .zip(id)
            .is_some_and(|(group, id)| is_same_id(group, id))
    };
    story.other_publishes().filter(is_its).collect()
}

/// Nothing is missing at the broker: its message was published, or comes after another one.
pub(in crate::diagnosis) fn sent_or_to_be_sent(story: &Story<'_>) -> Option<Answer> {
    if let Some(passage) = story.publishes().first() {
        return Some(Answer::ruled_out(
            "a message with this task id was published",
            [passage.n],
        ));
    }
    if let [member, ..] = members(story).as_slice() {
        return Some(Answer::ruled_out(
            "the id is that of a group, whose messages were published",
            [member.n],
        ));
    }
    let before = story.predecessors().into_iter().map(|before| before.passage);
    let before = before.chain(to_be_followed(story)).next()?;
    let text = format!(
        "it is to be sent after `{}`, whose message carries it",
        before.message.actor.as_deref().unwrap_or("a task")
    );
    Some(Answer::ruled_out(text, [before.n]))
}

/// The first step of a pipeline, which names the configured actor as the next one.
fn to_be_followed<'a>(story: &Story<'a>) -> Option<Transfer<'a>> {
    let wanted = story.timeline.setup.actor.as_deref()?;
    let mut strays = story.stray_publishes().iter();
    let next = |stray: &&Transfer<'_>| {
        let follow_up = stray.message.follow_up.as_ref();
        follow_up.is_some_and(|next| next.actor.as_str() == wanted)
    };
    strays.find(next).copied()
}

impl<'a> Story<'a> {
    /// The messages that carry ours, of the last step before it; none once ours was sent itself.
    pub(in crate::diagnosis) fn predecessors(&self) -> Vec<Predecessor<'a>> {
        if !self.publishes().is_empty() {
            return Vec::new();
        }
        let since = self.submitted_at().unwrap_or(f64::MIN);
        let mut found: Vec<Predecessor<'a>> = Vec::new();
        let publishes = self.timeline.events.iter();
        let publishes = publishes.filter_map(|event| Transfer::of_publish(event, self.queue()));
        for passage in publishes.filter(|passage| passage.at_ms >= since) {
            let message = passage.message;
            let Some(ours) = message.later.iter().find(|later| later.carries_task_id) else {
                continue;
            };
            // Of a chain only the last that was sent counts, and of one that was sent again its last message.
            found.retain(|before| {
                before.passage.message.message_id != message.message_id
                    && ours.after == "chord"
                    && before.ours.after == "chord"
            });
            found.push(Predecessor { passage, ours });
        }
        found
    }

    /// Every message was seen, so that ours was not among them.
    pub(in crate::diagnosis) fn was_surely_not_sent(&self) -> bool {
        broker::saw_every_publish(self) && self.publishes().is_empty()
    }
}
