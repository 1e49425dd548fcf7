//! What the worker's log would show, if it were there: only then does its silence say anything.

use super::{Story, Transfer, WorkerLine, holding};
use crate::diagnosis::Certainty;
use crate::framework::{LogEvent, Verbosity};
use crate::timeline::{EventKind, Source};

impl Story<'_> {
    /// Afterwards nobody could look at the queue, and the log has no word of the task: what the worker's log ends in is all that
    /// there is. How sure that can be at most, if the task's message waits: after messages that were handed out ours may
    /// have been one of them.
    pub(in crate::diagnosis) fn by_the_log_alone(&self) -> Option<Certainty> {
        let is_alone = self.post_mortem()
            && self.closed()
            && self.sees(Source::WorkerLog)
            && !self.sees(Source::Queue)
            && !self.sees(Source::Management);
        let handed_out = |told: &WorkerLine<'_>| {
            matches!(
                told.mark,
                Some(LogEvent::Pushed { .. } | LogEvent::Received { .. })
            )
        };
        (is_alone && self.lines().is_empty()).then(|| match self.worker_lines().iter().any(handed_out) {
            true => Certainty::Possible,
            false => Certainty::Likely,
        })
    }

    /// Entry would have been seen, had it happened.
    ///
    /// The row alone does not decide: an actor may do much before it first writes its status.
    pub fn could_see_entry(&self) -> bool {
        // Afterwards a line may have been written to a log that is gone, or by a worker that is.
        let log = !self.post_mortem()
            && self.sees(Source::WorkerLog)
            && (self.timeline.setup.entry_pattern.is_some()
                || (self.tells_when_it_begins() && !self.may_have_been_silent()))
            && !self.log_was_cut()
            && !self.children_write_elsewhere()
            && !self.entries_of_somebody()
            && !self.taken_by_another()
            && !self.returned_unseen()
            && self.taker_is_gone().is_none()
            && !self.log_is_behind();
        log || self.was_taken_by_nobody()
    }

    /// The log says that the call returned, without a word of the actor's own: it may have taken a way that says none.
    fn returned_unseen(&self) -> bool {
        let is = |wanted: fn(&LogEvent) -> bool| self.line(wanted).is_some();
        // Dramatiq writes that line of a call that raised as well.
        let returned = is(|mark| matches!(mark, LogEvent::Completed))
            && !is(|mark| matches!(mark, LogEvent::Failed { .. }));
        let may_say_none = self.timeline.setup.entry_pattern.is_none();
        returned || (may_say_none && self.taken_and_acknowledged().is_some())
    }

    /// The message was handed to the worker whose log is watched.
    pub(in crate::diagnosis) fn is_by_the_watched_worker(&self, passage: &Transfer<'_>) -> bool {
        let peer = self.peer(passage.connection);
        peer.is_some_and(|peer| self.is_watched(peer.value) == Some(true))
    }

    /// Whoever was handed the message last has ended: its last lines may never have been written.
    pub fn taker_is_gone(&self) -> Option<u32> {
        let passage = self
            .deliveries()
            .last()
            .filter(|_| self.attempt_over().is_none())?;
        if let Some(peer) = self.peer(passage.connection) {
            return self.gone(peer.value);
        }
        // Its connection was gone before anybody could ask whose it was.
        let nobody = self
            .depths(self.queue())
            .last()
            .filter(|depth| depth.consumers == 0);
        nobody.and_then(|_| holding::came_back(self))
    }

    /// The log speaks of each message, and once its worker has one, of when it begins with it.
    fn tells_when_it_begins(&self) -> bool {
        let handling = |told: &WorkerLine<'_>| told.mark.and_then(LogEvent::handling);
        let has_it = self.lines.iter().any(|told| handling(told).is_some());
        let begins =
            |told: &WorkerLine<'_>| matches!(told.mark, Some(LogEvent::Received { .. } | LogEvent::Called));
        let says = self.framework().log.tells_at == Verbosity::Debug || self.worker_lines.iter().any(begins);
        self.debug_log() && (says || !has_it)
    }

    /// It was called, and nothing says that the call did not get into it: its own code need not write a line.
    fn may_have_been_silent(&self) -> bool {
        self.line(|mark| matches!(mark, LogEvent::Called)).is_some() && !self.says_not_entered()
    }

    /// The worker's log was truncated in this run, or replaced and read from its new start alone.
    pub(super) fn log_was_cut(&self) -> bool {
        let since = self.submitted_at().unwrap_or(f64::MIN);
        self.timeline.events.iter().any(|event| {
            event.source == Source::WorkerLog
                && event.at_ms >= since
                && matches!(event.kind, EventKind::Rotated { reads_on: false, .. })
        })
    }
}
