//! A message that waits for its turn, and will be thrown away when that comes: revoked, or too old by then.

use super::{Fact, Story, WorkerLine, control, expiry};
use crate::diagnosis::Stage;
use crate::diagnosis::premises::EventId;
use crate::framework::LogEvent;
use crate::timeline::EventKind;

/// Why it will not run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::diagnosis) enum Discard<'a> {
    /// Its id is in the list of revoked tasks of the worker that holds it, which says so itself.
    RevokedInHand { node: &'a str, state: &'a str },
    /// A worker that still lives was told.
    RevokedByALine,
    /// It was to be run before this time, in milliseconds ago.
    Expired(f64),
}

impl<'a> Story<'a> {
    /// `None`: it has begun, or nothing says that it will not run.
    pub(in crate::diagnosis) fn will_be_discarded(&self) -> Option<Fact<Discard<'a>>> {
        let has_begun = self.reached(Stage::Entered).is_some() || self.attempt_over().is_some();
        let is_at_work = control::holder(self).is_some_and(|(_, state)| state == "active");
        if has_begun || is_at_work || self.is_out_of_the_workers_reach() {
            return None;
        }
        self.is_revoked().or_else(|| self.is_past_its_time())
    }

    fn is_revoked(&self) -> Option<Fact<Discard<'a>>> {
        if self.another_is_under_way().is_some() {
            return None;
        }
        if let Some((answer, state)) = control::revoked(self) {
            let node = answer.value.node.as_str();
            return Some(answer.with(Discard::RevokedInHand { node, state }));
        }
        let told = self.flagged()?;
        Some(Fact::new(told.n, told.at_ms, Discard::RevokedByALine))
    }

    /// The line that says so, unless a worker has started since: the list lies in its memory.
    fn flagged(&self) -> Option<WorkerLine<'a>> {
        let later = self.predecessors();
        let later: Vec<&str> = later
            .iter()
            .filter_map(|task| task.ours.message_id.as_deref())
            .collect();
        let is_mine = |id: &String| self.is_my_message(id) || later.contains(&id.as_str());
        let lines = self.worker_lines();
        let at = lines.iter().rposition(|told| match told.mark {
            Some(LogEvent::Revoked { ids }) => ids.iter().any(is_mine),
            _ => false,
        })?;
        let forgets = lines[at + 1..]
            .iter()
            .any(|told| matches!(told.mark, Some(LogEvent::BootingUp)));
        (!forgets).then(|| lines[at])
    }

    /// It was revoked to send another one in its stead, for the same actor.
    pub(in crate::diagnosis) fn another_is_under_way(&self) -> Option<EventId> {
        let actor = self.publishes().first()?.message.actor.as_deref();
        let is_over = |id: &str| {
            let mut lines = self.worker_lines().iter();
            lines.any(|told| match told.mark {
                Some(LogEvent::Discarded { id: discarded }) => discarded == id,
                Some(LogEvent::Revoked { ids }) => ids.iter().any(|revoked| revoked == id),
                _ => false,
            })
        };
        let mut sent: Vec<Fact<&str>> = Vec::new();
        for event in &self.timeline.events {
            if let EventKind::Publish { message, .. } = &event.kind
                && message.carries_task_id
                && message.actor.as_deref() == actor
                && let Some(id) = message.message_id.as_deref()
                && !sent.iter().any(|other| other.value == id)
            {
                sent.push(Fact::of(event, id));
            }
        }
        // Where nothing says which of several was revoked, it may be any of them.
        let several = sent.len() > 1;
        let other = sent.into_iter().rev().find(|other| !is_over(other.value))?;
        several.then_some(other.n)
    }

    fn is_past_its_time(&self) -> Option<Fact<Discard<'a>>> {
        let expiry::Expiry::At(at) = expiry::of(self) else {
            return None;
        };
        let sent = self.publishes().last()?;
        let now = expiry::wall_ms(self, self.timeline.events.last()?.at_ms);
        let over = now - at;
        (over > 0).then(|| Fact::new(sent.n, sent.at_ms, Discard::Expired(over as f64)))
    }

    /// A pool of threads has taken it into a line of its own, which asks nobody when its turn comes.
    fn is_out_of_the_workers_reach(&self) -> bool {
        let waits_in_pool = |state: &str, pool: Option<&str>| {
            state == "reserved" && pool.is_some_and(|pool| pool == "thread")
        };
        control::holder(self).is_some_and(|(answer, state)| waits_in_pool(state, answer.pool.as_deref()))
    }
}
impl Story<'_> {
    /// The task rejected its message: the broker dead-lettered it, if it had not been acknowledged before.
    pub(super) fn may_be_rejected(&self, queue: &str) -> bool {
        let rejects = |mark: &LogEvent| matches!(mark, LogEvent::ExpectedException { declared: None });
        let mut read = self.infos(queue);
        self.line(rejects).is_some()
            && read.any(|info| info.setting("dead-letter-exchange").is_some() || info.policy_unknown)
    }
}
