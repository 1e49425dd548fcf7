//! A task goes on in another message than the one that ran: its actor sent it, to wait for its time or at once.

use super::{Fact, Story, Transfer, broker, retries};
use crate::diagnosis::verdict::Whereabouts;
use crate::framework::LogEvent;
use crate::timeline::{EventKind, Source};

/// What the run of the task sent, and where that waits.
#[derive(Debug, Clone, Copy)]
pub(in crate::diagnosis) struct PutOff<'a> {
    pub passage: Transfer<'a>,
    /// Until its time, as far as clocks agree.
    pub left_ms: f64,
}

impl<'a> Story<'a> {
    /// The actor put its task off: its run is over, and a message for the same actor with the same id waits for its time.
    pub(in crate::diagnosis) fn put_off(&self) -> Option<PutOff<'a>> {
        let is_over = self.attempt_over().is_some()
            || broker::drained(self).is_some()
            || self.post_mortem() && self.empty_queue().is_some();
        let delay = self.delay_queue().filter(|_| is_over)?;
        let actors = self.actors();
        let is_put_off = |passage: &Transfer<'a>| {
            let message = passage.message;
            let is_ours = message
                .actor
                .as_deref()
                .is_some_and(|actor| actors.contains(actor));
            passage.queue == delay && message.is_delayed() && !message.is_retry() && is_ours
        };
        let sent = self
            .successors()
            .filter_map(|event| Transfer::of_publish(event, self.queue()))
            .filter(|passage| is_put_off(passage) && self.is_the_apis(passage.connection).is_none())
            .last();
        let held = || {
            let mut held = self.held().iter().filter(|held| held.reason.is_none());
            held.rfind(|held| is_put_off(&held.passage))
                .map(|held| held.passage)
        };
        let passage = sent.or_else(held)?;
        let left_ms = retries::eta_left_ms(self, &passage).filter(|left| *left > 0.0)?;
        Some(PutOff { passage, left_ms })
    }

    /// It was seen to be sent, and a look since then has not shown that it has gone.
    pub(super) fn put_off_until(&self) -> Option<Whereabouts> {
        let PutOff { passage, .. } = self.put_off()?;
        let taken = self.find(|event| match &event.kind {
            EventKind::Deliver {
                message, connection, ..
            } if message.message_id.as_deref() == passage.id() => Some(Transfer {
                connection,
                ..passage
            }),
            _ => None,
        });
        let by = taken.map_or_else(String::new, |taken| {
            format!(", in the hands of {}", self.holder(&taken))
        });
        let due = passage
            .message
            .eta_ms
            .map_or_else(String::new, |eta| format!(", due at {}", self.due(eta)));
        let text = format!("put off by its actor, to `{}`{by}{due}", passage.queue);
        self.place_until(text, Some(passage.at_ms), None, passage.message.eta_ms)
    }

    /// By its log the thread that ran the task sent a message for the same queue that is not known to be the task's: to
    /// which one of its queues.
    pub(in crate::diagnosis) fn sent_in_its_run(&self) -> Option<Fact<&'a str>> {
        self.sent_to_in_its_run(|queue| self.is_of_my_queue(queue))
    }

    /// The same for queues of this kind.
    pub(in crate::diagnosis) fn sent_to_in_its_run(
        &self,
        is_meant: impl Fn(&str) -> bool,
    ) -> Option<Fact<&'a str>> {
        let took = |mark: &LogEvent| matches!(mark, LogEvent::Received { .. });
        let took = self.line(took).filter(|took| took.line.thread.is_some())?;
        let until = self.attempt_over().map_or(u32::MAX, |over| over.n);
        self.worker_lines().iter().find_map(|told| match told.mark {
            Some(LogEvent::Enqueueing { id, queue })
                if told.n > took.n
                    && told.n < until
                    && told.thread() == took.thread()
                    && is_meant(queue)
                    && !self.is_my_message(id) =>
            {
                Some(Fact::new(told.n, told.at_ms, queue.as_str()))
            }
            _ => None,
        })
    }

    /// Nobody saw which messages were sent, and a count since the task's last line shows that one is at work.
    fn may_have_twins(&self) -> bool {
        let Some(last) = self.lines().last() else {
            return false;
        };
        let counted = self.infos(self.queue()).next_back();
        !self.sees(Source::Firehose)
            && last.message_id().is_none()
            && counted.is_some_and(|info| info.counted_ms > last.at_ms)
    }

    /// Another message of the task was seen, or may wait where nobody looked into it: that the one which ran is gone says
    /// not that none is left.
    pub(in crate::diagnosis) fn may_go_on_in_another(&self) -> bool {
        let holds = |queue: &str| {
            let last = self.infos(queue).next_back();
            last.is_some_and(|info| info.ready.unwrap_or(0) + info.unacked.unwrap_or(0) > 0)
        };
        let waits = || holds(self.queue()) || self.delay_queue().is_some_and(|delay| holds(&delay));
        self.successors().next().is_some()
            || self.sent_in_its_run().is_some()
            || (self.post_mortem() && waits())
            || (self.may_have_twins() && waits())
    }
}
