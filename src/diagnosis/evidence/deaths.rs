//! Processes that died, and what they had in hand.

use super::{Fact, Story, Transfer, WorkerLine, control, workers};
use crate::diagnosis::Stage;
use crate::diagnosis::premises::EventId;
use crate::framework::{HeldTask, LogEvent, Message, WorkerLife, contains_token};
use crate::timeline::{Event, EventKind, Source};

impl<'a> Story<'a> {
    /// The log says that a process died which had this task in its hands: it had said something of
    /// it before, and had not settled it.
    pub fn died_in_actor(&self) -> Option<WorkerLine<'a>> {
        self.worker_lines.iter().copied().find(|died| {
            let Some(LogEvent::ChildDied { pid, .. }) = died.mark else {
                return false;
            };
            let delivered = || {
                self.deliveries().any(|passage| {
                    let pid = self.called(died, *pid).unwrap_or(*pid);
                    // Two sources with different delays.
                    passage.at_ms <= died.at_ms + 500.0
                        && self.peer(passage.connection).is_some_and(|peer| {
                            peer.value == pid || self.was_the_only_job_of(peer.value, passage, died)
                        })
                })
            };
            // The master's own line about its death may overtake the child's last ones.
            let last = self.lines.iter().rfind(|told| {
                told.line.stream == died.line.stream
                    && told.line.pid.is_none_or(|of| of == *pid)
                    && (told.at_ms <= died.at_ms || told.line.pid.is_some())
            });
            let settled = last.is_some_and(|told| self.ends_attempt(told));
            // A line without a pid may be of any process, and another one has the message.
            let taker = self
                .deliveries()
                .last()
                .and_then(|passage| self.peer(passage.connection));
            let of_a_sibling = !self.master_takes()
                && last.is_some_and(|told| told.line.pid.is_none())
                && taker.is_some_and(|taker| taker.value != self.called(died, *pid).unwrap_or(*pid))
                && !delivered();
            // Another master's child.
            let is_anothers = self.master_takes()
                && self.deliveries().last().is_some_and(|passage| {
                    let taker = self.peer(passage.connection).map(|peer| peer.value);
                    let parent = self.process(*pid).map(|process| process.ppid);
                    taker
                        .zip(parent)
                        .is_some_and(|(taker, parent)| parent > 1 && parent != taker)
                });
            self.counts(died)
                && !is_anothers
                && !of_a_sibling
                && !settled
                && self.lost_a_job(died) != Some(false)
                && !self.runs_after(died)
                && !self.stands_before_the_last_attempt(died)
                && self.may_have_had_it(died)
                && (last.is_some() || delivered())
        })
    }

    /// Afterwards: the worker's life ended with the death of a process that had come up, after the API had spoken of the
    /// task, and messages wait that nobody takes: what it had in hand is among them.
    pub(in crate::diagnosis) fn life_ended_in_a_death(&self) -> Option<WorkerLine<'a>> {
        let last = self.depths(self.queue()).last()?;
        let is_back = self.post_mortem() && last.ready > 0 && last.consumers == 0;
        let mut lives = self
            .worker_lines
            .iter()
            .filter(|told| told.worker_life().is_some());
        let died = lives.next_back().filter(|_| is_back)?;
        let Some(LogEvent::ChildDied { pid, .. }) = died.mark else {
            return None;
        };
        let came_up =
            lives.any(|told| told.worker_life() == Some(WorkerLife::Up) && told.line.pid == Some(*pid));
        let is_of_the_task = |event: &&Event| match &event.kind {
            EventKind::Line(line) => event.source == Source::ApiLog && line.before && line.carries_task_id,
            _ => false,
        };
        let spoken = self.timeline.events.iter().find(is_of_the_task);
        let is_older = spoken.is_some_and(|event| event.at_ms > died.at_ms);
        (came_up && !is_older).then_some(*died)
    }

    /// That the actor returned is said by the application's logger, which may be quieter than the framework's: only one
    /// that tells of a call tells of its end.
    pub(in crate::diagnosis) fn would_show_a_return(&self) -> bool {
        !self.acknowledges_after_the_run() || workers::shows_calls(self)
    }

    /// What a process that died with the task did, as far as that is known: to stand in a sentence.
    pub(in crate::diagnosis) fn died_doing(&self) -> &'static str {
        match self.was_surely_entered() {
            true if self.would_show_a_return() => "while it ran the actor",
            true => "while it ran the actor, or what comes after it",
            false if self.reached(Stage::Entered).is_none() => {
                "with the task in its hands, and no line says how far it had come"
            }
            false => {
                "while it had the task, which may not have begun: a handler of a signal may log in its name"
            }
        }
    }

    /// A master that hands messages to its children says of each that dies with one that its job is lost: an idle
    /// child has none.
    /// `None`: it may still say so.
    pub(in crate::diagnosis) fn lost_a_job(&self, died: &WorkerLine<'a>) -> Option<bool> {
        let Some(words) = self.framework().log.lost_job else {
            return Some(true);
        };
        let says_so = |told: &WorkerLine<'a>| {
            told.line.text.contains(words)
                && told.line.stream == died.line.stream
                && (told.at_ms - died.at_ms).abs() < JOB_MS
        };
        // What it wrote after its log was read for the last time is not known.
        let read = |event: &&Event| event.source == Source::WorkerLog && event.n > died.n;
        let last = self.timeline.events.iter().rfind(read);
        let last = last.or(self.timeline.events.last());
        let now = last.map_or(died.at_ms, |event| event.at_ms);
        match self.worker_lines.iter().any(says_so) {
            true => Some(true),
            false if now - died.at_ms > JOB_MS => Some(false),
            false => None,
        }
    }

    /// Its result says that it failed, no line says of what, and a child died with a task that no line names.
    pub(in crate::diagnosis) fn failed_beside_a_lost_job(&self) -> Option<[EventId; 2]> {
        let row = self.row_failed().filter(|row| self.is_a_result(row))?;
        let is_told = self.attempt_over().is_some() || !self.raised().is_empty();
        let lost =
            |told: &&WorkerLine<'a>| self.counts(told) && matches!(told.mark, Some(LogEvent::JobLost { .. }));
        let lost = self.worker_lines.iter().filter(|_| !is_told).rfind(lost)?;
        Some([row.n, lost.n])
    }

    /// Messages that the same connection was handed before the death, and that no line says the end of.
    pub(in crate::diagnosis) fn handed_out_beside(&self, died: &WorkerLine<'_>) -> u64 {
        let Some(ours) = self.deliveries().last() else {
            return 0;
        };
        let is_settled = |id: &str| {
            let mut lines = self.worker_lines().iter();
            lines.any(|told| told.settles() && told.message_id() == Some(id))
        };
        let others = self.timeline.events.iter().filter(|event| match &event.kind {
            EventKind::Deliver {
                connection, message, ..
            } => {
                let id = message.message_id.as_deref().unwrap_or_default();
                *connection == ours.connection
                    && event.at_ms <= died.at_ms
                    && !self.is_my_message(id)
                    && !is_settled(id)
            }
            _ => false,
        });
        others.count() as u64
    }

    /// By the worker's own word the task runs later on, without having come again.
    fn runs_after(&self, died: &WorkerLine<'a>) -> bool {
        let came_again = self.deliveries().any(|passage| passage.at_ms > died.at_ms);
        let is_ours = |held: &HeldTask| self.is_my_message(&held.id);
        let mut answers = control::answers(self).filter(|answer| answer.at_ms > died.at_ms);
        !came_again && answers.any(|answer| answer.active.iter().flatten().any(is_ours))
    }

    /// The peer is the master of the child that died, and no other message was handed to it.
    fn was_the_only_job_of(&self, peer: i32, passage: &Transfer<'_>, died: &WorkerLine<'a>) -> bool {
        let Some(LogEvent::ChildDied { pid, .. }) = died.mark else {
            return false;
        };
        let is_its_child = match self.process(*pid) {
            Some(process) => process.ppid == peer,
            None => self.is_watched(peer) == Some(true),
        };
        // It may consume other queues as well, of which no delivery is watched.
        let consumers = self.consumers();
        let consumed = consumers.iter().flat_map(|list| list.value.iter());
        let consumed: Vec<&str> = consumed
            .filter(|consumer| consumer.connection == passage.connection)
            .map(|consumer| consumer.queue.as_str())
            .collect();
        let is_anothers = |message: &Message| {
            !message
                .message_id
                .as_deref()
                .is_some_and(|id| self.is_my_message(id))
        };
        let had_another = self.timeline.events.iter().any(|event| match &event.kind {
            EventKind::Deliver {
                connection, message, ..
            } => *connection == passage.connection && is_anothers(message),
            EventKind::Publish {
                routing_key, message, ..
            } => {
                event.at_ms <= died.at_ms && consumed.contains(&routing_key.as_str()) && is_anothers(message)
            }
            _ => false,
        });
        // What it had before is not seen.
        let was_idle = self
            .infos(passage.queue)
            .find(|info| info.counted_ms < passage.at_ms);
        let was_idle = was_idle.is_some_and(|info| info.ready == Some(0) && info.unacked == Some(0));
        self.master_takes() && self.sees_all(Source::Firehose) && is_its_child && was_idle && !had_another
    }

    /// Where lines have no pid, a process is known by the name that its lines have; before its first one it
    /// may be any that had something in hand.
    fn may_have_had_it(&self, died: &WorkerLine<'a>) -> bool {
        if self.acknowledges_after_the_run() || self.lines.iter().any(|told| told.line.pid.is_some()) {
            return true;
        }
        // Every one that the worker killed at a time limit dies once.
        let count = |is: fn(&LogEvent) -> bool| {
            let before = self.worker_lines.iter().filter(|told| told.n < died.n);
            before.filter(|told| told.mark.is_some_and(is)).count()
        };
        let killed = count(|mark| matches!(mark, LogEvent::KilledAtTimeLimit));
        if killed > count(|mark| matches!(mark, LogEvent::ChildDied { .. })) {
            return false;
        }
        let mut own = self
            .lines
            .iter()
            .filter(|told| told.is_by_the_task() || told.line.entry);
        let last = own.next_back();
        match last.and_then(|told| Some((told, told.line.thread.as_deref()?))) {
            // It has another in hand since.
            Some((told, name)) if self.spoke_of_another(told, died.n, name) => false,
            Some((_, name)) => {
                contains_token(&died.line.text, name) && !(self.job_lost(died) == Some(JobOwner::Anothers))
            }
            None => workers::running_before(self, died.n).is_empty(),
        }
    }
}

/// Whose job a pool's worker lost with a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::diagnosis) enum JobOwner {
    Ours,
    Anothers,
    /// What waits for its time is counted later than it is received.
    Unknown,
}

impl<'a> Story<'a> {
    /// The process spoke of another message between these two.
    fn spoke_of_another(&self, told: &WorkerLine<'a>, until: u32, name: &str) -> bool {
        let between = |other: &&WorkerLine<'a>| other.n > told.n && other.n < until;
        let mut lines = self.worker_lines.iter().filter(between);
        lines.any(|other| {
            let is_its = other.line.thread.as_deref() == Some(name);
            is_its && other.message_id().is_some_and(|id| !self.is_my_message(id))
        })
    }

    /// The worker says which of its jobs was lost with this process, counted from its start.
    pub(in crate::diagnosis) fn job_lost(&self, died: &WorkerLine<'a>) -> Option<JobOwner> {
        let job = self.worker_lines.iter().find_map(|told| match told.mark {
            Some(LogEvent::JobLost { job }) if told.n > died.n && told.at_ms - died.at_ms < JOB_MS => {
                Some(*job)
            }
            _ => None,
        })?;
        let is_boot = |told: &WorkerLine<'_>| {
            matches!(
                told.mark,
                Some(LogEvent::BootingUp | LogEvent::Concurrency { .. })
            )
        };
        if !self.worker_lines.iter().any(is_boot) {
            return Some(JobOwner::Unknown);
        }
        let received: Vec<&str> = self
            .worker_lines
            .iter()
            .filter_map(|told| match told.mark {
                Some(LogEvent::Pushed { id, .. }) => Some(id.as_str()),
                _ => None,
            })
            .collect();
        let Some(last) = received.iter().rposition(|id| self.is_my_message(id)) else {
            return Some(JobOwner::Unknown);
        };
        Some(match job {
            job if job > last => JobOwner::Anothers,
            job if job == last && workers::running_before(self, died.n).is_empty() => JobOwner::Ours,
            _ => JobOwner::Unknown,
        })
    }

    /// The log tells of how runs end, whosever they were: not every application lets it.
    pub(in crate::diagnosis) fn tells_of_ends(&self) -> bool {
        let ends = |mark: &LogEvent| {
            matches!(
                mark,
                LogEvent::Succeeded { .. } | LogEvent::Failed { .. } | LogEvent::Retrying { .. }
            )
        };
        self.worker_lines.iter().any(|told| told.mark.is_some_and(ends))
    }

    /// What else the process that died was running: the actors.
    pub(in crate::diagnosis) fn died_with_others(
        &self,
        died: &WorkerLine<'_>,
        pid: Option<i32>,
    ) -> Vec<Fact<&'a str>> {
        let in_that_process = |n: u32| {
            let line = self.worker_lines.iter().find(|told| told.n == n);
            line.is_some_and(|told| told.pid.is_none() || pid.is_none() || told.pid == pid)
        };
        let mut others = workers::running_before(self, died.n);
        others.retain(|other| in_that_process(other.n));
        others
    }

    /// Where nothing acknowledges the end of a run: this process had not come to it, by the worker's count of its
    /// jobs, or because the log tells of ends, or because no other message can have kept it.
    pub(in crate::diagnosis) fn had_it(&self, died: &WorkerLine<'a>) -> bool {
        // Where a line says when a run begins, it has a process of its own.
        if self
            .line(|mark| matches!(mark, LogEvent::Received { .. }))
            .is_some()
        {
            return true;
        }
        let own = self.lines.iter().filter(|told| told.n < died.n);
        let last = own.map(|told| told.n).max().unwrap_or(0);
        let alone = !self.took_another(last, died.n);
        let had = match self.job_lost(died) {
            Some(JobOwner::Ours) => true,
            Some(JobOwner::Anothers) => false,
            Some(JobOwner::Unknown) => alone || self.tells_of_ends(),
            // Which of them is not said, but that one was.
            None => alone && self.tells_of_ends(),
        };
        had && self.was_surely_entered()
    }

    /// Another message was taken between these two.
    pub(in crate::diagnosis) fn took_another(&self, since: u32, until: u32) -> bool {
        self.worker_lines.iter().any(|told| match told.mark {
            Some(LogEvent::Pushed { id, .. }) => told.n > since && told.n < until && !self.is_my_message(id),
            _ => false,
        })
    }
}

/// Both lines are written when the worker has missed the process.
const JOB_MS: f64 = 2000.0;
