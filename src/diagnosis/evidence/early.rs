//! Where a message is acknowledged as its run begins: what the broker's count says of the run.

use std::collections::BTreeSet;

use super::{Fact, Story, WorkerLine, control, holding, workers};
use crate::diagnosis::premises::EventId;
use crate::framework::{Heartbeat, LogEvent, WorkerLife};
use crate::timeline::{Process, Source};

/// So soon a task that has begun is among those that a heartbeat counts.
const TO_BE_COUNTED_MS: f64 = 1_000.0;

impl Story<'_> {
    /// The broker holds it no more, after it was handed out: it was begun, or thrown away. Of a run that breaks off
    /// it does not come back.
    pub(in crate::diagnosis) fn acknowledged_early(&self) -> Option<EventId> {
        // Afterwards only the worker's line says when that was.
        let pushed = self.line(|mark| matches!(mark, LogEvent::Pushed { .. }));
        let delivered = self.deliveries().last().map(|passage| passage.at_ms);
        let taken_at = delivered.or(pushed.map(|told| told.at_ms))?;
        let last = self.infos(self.queue()).last()?;
        let is_back = holding::came_back(self).is_some() || delivered.is_none() && last.ready != Some(0);
        let is_gone = last.counted_ms > taken_at && last.unacked == Some(0) && !is_back;
        (is_gone && !self.acknowledges_after_the_run()).then_some(last.n)
    }

    /// … to the watched worker, and nothing says that it did not begin.
    pub(in crate::diagnosis) fn may_have_begun(&self) -> bool {
        let waits = matches!(control::holder(self), Some((_, "reserved" | "scheduled")));
        self.acknowledged_early().is_some() && !waits && !self.says_not_entered() && !self.taken_by_another()
    }

    /// A worker has started behind the last line of the task, and no other consumes the queue: the one that ran it has
    /// ended.
    pub(in crate::diagnosis) fn replaced_in_its_run(&self) -> Option<[EventId; 2]> {
        let last = self.lines().last()?;
        // Another worker that writes to the same log has taken nobody's place.
        if self.taker_lives() || self.one_lives_since_before(last) {
            return None;
        }
        // One that stops finishes what it has: whether it lives was not seen. Afterwards that line is not among those
        // that are kept.
        let stops = |told: &WorkerLine<'_>| told.n > last.n && super::lives::stops(told);
        let may_stop = self.post_mortem() || self.worker_lines().iter().any(stops);
        if may_stop && workers::live_workers(self).is_empty() {
            return None;
        }
        let starts = |told: &&WorkerLine<'_>| {
            let is_up = matches!(told.worker_life(), Some(WorkerLife::Booting | WorkerLife::Up));
            is_up && told.n > last.n && told.line.stream == last.line.stream
        };
        let lines = self.worker_lines();
        let mut places = (0..lines.len()).filter(|at| starts(&&lines[*at]));
        // Another service that writes to the same log takes nobody's place.
        let started = places.find(|at| !super::lives::is_anothers(self, *at))?;
        let started = &lines[started];
        let alone = self
            .depths(self.queue())
            .last()
            .filter(|depth| depth.consumers <= 1)?;
        let is_early = self.master_takes() && !self.acknowledges_after_the_run();
        let is_open = self.attempt_over().is_none() && self.raised().is_empty();
        (is_early && is_open && !self.is_held_again()).then_some([started.n, alone.n])
    }

    /// One that stops does not consume any more, and finishes what it has.
    pub(super) fn one_lives_since_before(&self, told: &WorkerLine<'_>) -> bool {
        !self.since_before(told).is_empty()
    }

    /// Workers that live, and were there when this line was written.
    fn since_before(&self, told: &WorkerLine<'_>) -> Vec<Fact<&Process>> {
        let written_at = self.timeline.zero_ms() + told.at_ms;
        let mut living = workers::live_workers(self);
        living.retain(|process| {
            process
                .started_at_ms
                .is_some_and(|began| (began as f64) < written_at)
        });
        living
    }

    /// The process that took the message last is there at the last look.
    fn taker_lives(&self) -> bool {
        let taker = self.deliveries().last();
        let taker = taker.and_then(|passage| self.peer(passage.connection));
        let process = taker.and_then(|taker| self.process(taker.value));
        process.is_some_and(|process| process.lives() && self.gone(process.pid).is_none())
    }

    /// Nobody consumes its queue and no worker of it runs here, and no line tells of its end.
    pub(in crate::diagnosis) fn is_run_by_nobody_here(&self) -> Option<[EventId; 2]> {
        let last = self.lines().last()?;
        let nobody = self
            .depths(self.queue())
            .last()
            .filter(|depth| depth.exists && depth.consumers == 0)?;
        let is_open = self.attempt_over().is_none() && self.raised().is_empty();
        let is_seen = self.sees(Source::Process);
        let none_lives = workers::live_workers(self).is_empty() && self.log_holders().is_empty();
        (is_open && is_seen && none_lives).then_some([last.n, nobody.n])
    }

    /// The worker that took it counts no task that it runs, in a heartbeat since then: what has begun is counted until
    /// it ends. Where it is not known which one took it, each that consumes the queue counts none.
    pub(in crate::diagnosis) fn is_counted_by_none(&self, since: f64) -> Option<EventId> {
        let taker = self.deliveries().last();
        let taker = taker.and_then(|passage| self.peer(passage.connection));
        let mut beats = control::living(self);
        let all = match taker {
            Some(taker) => {
                beats.retain(|beat| beat.pid == Some(taker.value));
                !beats.is_empty()
            }
            None => {
                let consumers = self.depths(self.queue()).last()?.consumers;
                let is_heard = |process: &Process| {
                    let of_it = |pid| pid == process.pid || Some(pid) == process.own_pid();
                    beats.iter().any(|beat| beat.pid.is_some_and(of_it))
                };
                // One that stops counts for itself.
                let is_silent = |last| self.since_before(last).iter().any(|process| !is_heard(process));
                consumers > 0
                    && beats.len() as u64 == consumers
                    && !self.lines().last().is_some_and(is_silent)
            }
        };
        let sent = |beat: &Fact<&Heartbeat>| beat.at_ms - beat.silent_ms.unwrap_or(0) as f64;
        let counts_none =
            |beat: &Fact<&Heartbeat>| beat.active == Some(0) && sent(beat) > since + TO_BE_COUNTED_MS;
        (all && beats.iter().all(counts_none)).then(|| beats.last().map(|beat| beat.n))?
    }

    /// The one worker that consumes the queue counts as many running tasks, since this one began, as its log tells of that
    /// have not ended: this one is among them.
    pub(in crate::diagnosis) fn is_counted_as_running(&self) -> Option<EventId> {
        let last = self.lines().last()?;
        let beats = control::living(self);
        let [beat] = beats.as_slice() else {
            return None;
        };
        let consumers = self.depths(self.queue()).last()?.consumers;
        let since = last.at_ms + TO_BE_COUNTED_MS;
        let is_later = beat.at_ms - beat.silent_ms.unwrap_or(0) as f64 > since;
        let mut open: BTreeSet<&str> = BTreeSet::new();
        for told in self.worker_lines() {
            match (told.mark, told.message_id()) {
                (Some(LogEvent::BootingUp), _) => open.clear(),
                (Some(LogEvent::Pushed { .. }), Some(id)) => {
                    open.insert(id);
                }
                (_, Some(id)) if self.ends_attempt(told) => {
                    open.remove(id);
                }
                _ => {}
            }
        }
        let is_ours = open.iter().any(|id| self.is_my_message(id));
        (consumers == 1 && is_later && is_ours && beat.active == Some(open.len() as u64)).then_some(beat.n)
    }

    /// … of one that began then. Afterwards what is seen to have begun was counted before we looked.
    pub(in crate::diagnosis) fn runs_in_none(&self, entered_at: Option<f64>) -> Option<EventId> {
        let since = match self.post_mortem() {
            true => entered_at.unwrap_or(0.0) - TO_BE_COUNTED_MS,
            false => entered_at?,
        };
        self.is_counted_by_none(since)
    }

    /// A log that would tell of its end says that the task was begun, and of no end; nothing else shows one. The line.
    pub(in crate::diagnosis) fn begun_without_an_end(&self) -> Option<WorkerLine<'_>> {
        let begins = |told: &&WorkerLine<'_>| {
            told.line.entry
                || told.is_by_the_task()
                || matches!(told.mark, Some(LogEvent::Received { .. } | LogEvent::Called))
        };
        let began = *self.lines().iter().find(begins)?;
        let would_tell = self.debug_log() || self.acknowledges_after_the_run() && self.shows_ends();
        let is_over = self.attempt_over().is_some()
            || !self.raised().is_empty()
            || self.died_in_actor().is_some()
            || self.runs_in_none(Some(began.at_ms)).is_some()
            || self.replaced_in_its_run().is_some()
            || began.pid.is_some_and(|pid| self.gone(pid).is_some());
        (would_tell && !is_over).then_some(began)
    }

    /// The new one may have been handed it again.
    fn is_held_again(&self) -> bool {
        let is_mine = control::holder(self).is_some();
        is_mine || self.deliveries().any(|passage| passage.redelivered)
    }

    /// Whoever had it has died: a child of the worker's, or all of it. Where no line says when a run begins, it may
    /// have begun.
    pub(in crate::diagnosis) fn may_have_died_in_its_run(&self) -> bool {
        !self.acknowledges_after_the_run()
            && (self.died_in_actor().is_some()
                || self.taker_is_gone().is_some() && self.acknowledged_early().is_some())
    }
}
