//! Which actors' messages are the task's, and which were seen besides.

use std::collections::{BTreeSet, HashMap};

use super::{Story, ThreadKey, WorkerLine};
use crate::diagnosis::premises::is_common;
use crate::framework::{LogEvent, Message, function_of};
use crate::timeline::EventKind;

impl<'a> Story<'a> {
    /// It names another actor than the configured one, which may have another name on the other side: not where a
    /// number is all that it shares with the task, nor where a worker has run that actor.
    pub(super) fn may_be_renamed(&self, message: &Message) -> bool {
        let actor = message.actor.as_deref().unwrap_or_default();
        let has_run = |told: &&WorkerLine<'a>| {
            let ran = told
                .mark
                .is_some_and(|mark| matches!(mark, LogEvent::Called) || mark.ends_call());
            let logger = told.line.logger.as_deref();
            let names_it = told.task_name() == Some(actor)
                || logger.and_then(|name| name.rsplit('.').next()) == Some(function_of(actor));
            // A worker that has a name in its list takes the message on by it.
            let knows_it = told.subject.is_some_and(|subject| subject.task == actor)
                && (told.is_by_the_task() || matches!(told.mark, Some(LogEvent::Pushed { .. })));
            (ran && names_it) || knows_it
        };
        !self.task_id.is_some_and(is_common) && !self.worker_lines.iter().any(|told| has_run(&told))
    }

    /// It is for the configured actor, or nothing says for whom it is.
    pub(in crate::diagnosis) fn is_for_the_actor(&self, message: &Message) -> bool {
        let wanted = self.timeline.setup.actor.as_deref();
        wanted.is_none() || message.actor.as_deref() == wanted || message.undecodable.is_some()
    }

    /// Actors of the task's messages; where none was seen, the configured one.
    pub fn actors(&self) -> BTreeSet<&'a str> {
        let held = self.held.iter().map(|held| &held.passage);
        let seen = self.publishes.iter().chain(&self.deliveries).chain(held);
        let mut actors: BTreeSet<&str> = seen
            .filter_map(|passage| passage.message.actor.as_deref())
            .collect();
        if actors.is_empty() {
            actors.extend(self.timeline.setup.actor.as_deref());
        }
        if actors.is_empty() {
            actors.extend(self.worker_lines.iter().filter_map(|told| match told.mark {
                Some(LogEvent::Received { id, actor }) if self.message_ids.contains(id.as_str()) => {
                    Some(actor.as_str())
                }
                _ => None,
            }));
        }
        actors
    }

    /// It tells of another actor than the task's: that one's message may hold the task's id as well.
    pub(super) fn names_another_actor(&self, told: &WorkerLine<'a>) -> bool {
        told.task_name().is_some_and(|named| {
            let ours = self.actors();
            !ours.is_empty() && !ours.contains(&named)
        })
    }

    /// Actors of other messages and lines that were seen.
    pub fn other_actors(&self) -> BTreeSet<&'a str> {
        let ours = self.actors();
        let events = self.timeline.events.iter().filter_map(|event| match &event.kind {
            EventKind::Publish { message, .. }
            | EventKind::Deliver { message, .. }
            | EventKind::DeadLetter { message, .. } => message.actor.as_deref(),
            _ => None,
        });
        let lines = self.worker_lines.iter().filter_map(WorkerLine::task_name);
        events
            .chain(lines)
            .filter(|actor| !ours.contains(actor))
            .collect()
    }

    /// When other messages of this queue were handed out.
    pub(super) fn deliveries_of_others(&self, of: &str) -> impl Iterator<Item = f64> {
        self.timeline
            .events
            .iter()
            .filter_map(move |event| match &event.kind {
                EventKind::Deliver { queue, message, .. } if queue == of => {
                    let id = message.message_id.as_deref();
                    let is_ours = id.is_some_and(|id| self.is_my_message(id))
                        || (message.undecodable.is_some() && message.carries_task_id);
                    (!is_ours).then_some(event.at_ms)
                }
                _ => None,
            })
    }

    /// Other messages of its queue were taken since the submission.
    pub fn others_were_delivered(&self) -> bool {
        let since = self.submitted_at().unwrap_or(f64::MIN);
        self.deliveries_of_others(self.queue()).any(|at| at >= since)
    }

    /// The thread that wrote it has another message in hand.
    pub(super) fn is_anothers_thread(
        &self,
        key: ThreadKey<'a>,
        active: &HashMap<ThreadKey<'a>, &'a str>,
    ) -> bool {
        let is_known = key.1.is_some() && key.2.is_some() && !self.shared.contains(&key);
        let has = active.get(&key).filter(|_| is_known);
        has.is_some_and(|id| {
            // Afterwards the log alone says which messages are the task's, and its id may have come again.
            let ours_are_known = !self.post_mortem() && !self.message_ids.is_empty();
            !self.message_ids.contains(id) && (ours_are_known || self.is_for_another_actor(id))
        })
    }

    /// An actor is configured, and this message is for another one: it may hold the task's id as well.
    fn is_for_another_actor(&self, id: &str) -> bool {
        let Some(wanted) = self.timeline.setup.actor.as_deref() else {
            return false;
        };
        let received = self.worker_lines.iter().filter_map(|told| match told.mark {
            Some(LogEvent::Received { id: other, actor }) if other == id => Some(actor.as_str()),
            _ => None,
        });
        let sent = self.stray_publishes.iter().filter(|stray| stray.id() == Some(id));
        let mut actors = received.chain(sent.filter_map(|stray| stray.message.actor.as_deref()));
        actors.any(|actor| function_of(actor) != function_of(wanted))
    }
}
