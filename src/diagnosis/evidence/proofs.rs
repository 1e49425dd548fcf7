//! What proves each premise, and what refutes it, from everything that was seen.

mod processes;
mod requests;
mod writers;

use std::collections::BTreeSet;

pub(super) use requests::RequestLog;

use super::{Fact, Story, Transfer, WorkerLine, locks, permissions, programs, retries, stacks, workers};
use crate::diagnosis::Stage;
use crate::diagnosis::premises::{EventId, Premise, State, is_common};
use crate::timeline::{Event, EventKind, Row, Source};

fn proved(events: impl IntoIterator<Item = EventId>) -> State {
    State::Proved(events.into_iter().collect())
}

impl Story<'_> {
    /// What is known of this premise, from everything that was seen.
    pub fn state(&self, premise: &Premise) -> State {
        if self.trusted == Some(premise.into()) {
            return proved([]);
        }
        let state = self.found(premise);
        if !matches!(state, State::Proved(_)) {
            self.unproved.borrow_mut().insert(premise.into());
        }
        state
    }

    fn found(&self, premise: &Premise) -> State {
        match premise {
            Premise::SamePidSpace => self.same_pid_space(),
            Premise::OneProcessPerLogThread { pid } => self.one_process_per_log_thread(*pid),
            Premise::PeerIsProcess(connection) => self.peer_is_process(connection),
            Premise::NotAReplica(pid) => self.not_a_replica(*pid),
            Premise::MessageIsOurs(id) => self.message_is_ours(id),
            Premise::SentForTheRequest(id) => self.sent_for_the_request(id),
            Premise::TracebackIsOurs(n) => self.traceback_is_ours(*n),
            Premise::FirstVersionIsInsert => self.first_version_is_insert(),
            Premise::StatusIsOfThisRun => self.status_of_this_run().map_or(State::Assumed, proved),
            Premise::StatusIsByARun => self.status_by_a_run().map_or(State::Assumed, |n| proved([n])),
            Premise::WaitIsTheTasks(pid) => self.wait_is_the_tasks(*pid),
            // Without a trace of it, only the client's channel would show that it was not closed.
            Premise::NothingRefused => match permissions::refused_publish(self) {
                Some(refused) => State::Refuted(vec![refused.closed]),
                None => State::Assumed,
            },
            Premise::WorkIsRunning(pid) => self.work_is_running(*pid),
            Premise::StillAnswers(source, since) => self.still_answers(*source, *since as f64),
            Premise::IdIsNew => self.id_is_new(),
            Premise::OnlyMessage => self.only_message(),
            Premise::IsPrimary => self.is_primary(),
            Premise::WriterIsTheWorker(n) => self.writer_is_the_worker(*n),
            Premise::LogIsWhole => self.log_is_whole(),
            Premise::IsAmongTheWaiting | Premise::WasSent => State::Assumed,
        }
    }

    fn wait_is_the_tasks(&self, pid: i32) -> State {
        if let Some(taken) = locks::another_has_the_message(self, pid) {
            return State::Refuted(vec![taken]);
        }
        let Some(waits) = locks::waits_for_the_database(self, pid) else {
            return State::Assumed;
        };
        // Afterwards another run, or another actor, may stand there: only its thread's own lines say that it is the task.
        let is_its_stack = |inside: Fact<EventId>| inside.n == waits.n;
        let is_unknown = || self.post_mortem() && !self.its_thread_is_inside().is_some_and(is_its_stack);
        match waits.value {
            false => State::Refuted(vec![waits.n]),
            true if locks::is_held_by_itself(self, pid) || is_unknown() => State::Assumed,
            true => proved([waits.n]),
        }
    }

    /// A long id is nobody else's, in a message for the task's actor. A short number is many things': there the API
    /// must have sent it on its own connection before it answered, for the actor that is configured.
    fn message_is_ours(&self, id: &str) -> State {
        let Some(task) = self.task_id() else {
            return State::Assumed;
        };
        let has_id = |passage: &&Transfer<'_>| passage.message.message_id.as_deref() == Some(id);
        let all = || self.publishes().iter().chain(self.deliveries());
        // A step beside it, or one that comes before it.
        let of_another_step = all()
            .filter(has_id)
            .any(|passage| !self.is_for_the_actor(passage.message));
        if crate::framework::is_same_id(task, id) {
            return proved([]);
        }
        let says_so = |told: &WorkerLine<'_>| told.is_by_the_task() && told.line.carries_task_id;
        let passes = all().any(|passage| passage.message.message_id.as_deref() == Some(id));
        let by_neighbours =
            || !passes && self.named_by_neighbours().contains(&id) && !self.worker_lines.iter().any(says_so);
        if of_another_step || by_neighbours() {
            return State::Assumed;
        }
        if !is_common(task) {
            // Of whatever actor it is: a step beside the task carries its id as well.
            return match self.timeline.setup.actor {
                Some(_) => proved([]),
                None => State::Assumed,
            };
        }
        let answered = self.reached(Stage::Submitted).and_then(|(at, _)| *at);
        let mut ours = self.publishes().iter().rev().filter(has_id).filter(|publish| {
            self.timeline.setup.actor.is_some() && answered.is_some_and(|at| publish.at_ms <= at)
        });
        match ours.find_map(|publish| Some((publish.n, self.is_the_apis(publish.connection)?))) {
            Some((publish, peer)) => proved([publish, peer]),
            None => State::Assumed,
        }
    }

    /// Another request that was under way may have sent it: nothing proves that it is this one's.
    fn sent_for_the_request(&self, id: &str) -> State {
        let sent = self.timeline.sent_meanwhile();
        let publish = self.publishes().first();
        let others = self.find(|event| match &event.kind {
            EventKind::Publish { message, .. } => {
                let other = message.message_id.as_deref()?;
                (other != id && sent.contains(&other)).then_some(event.n)
            }
            _ => None,
        });
        let api: BTreeSet<i32> = self.api_processes().iter().map(|api| api.pid).collect();
        let peer = publish.and_then(|publish| self.peer(publish.connection));
        match (others, peer) {
            (Some(other), _) => State::Refuted(vec![other]),
            (_, Some(peer)) if !api.is_empty() && !api.contains(&peer) => State::Refuted(vec![peer.n]),
            _ => State::Assumed,
        }
    }

    /// What is sent again for a task waits on its queue, or is held by who took it. A retry that came while this log
    /// tells nothing of it has run elsewhere.
    fn only_message(&self) -> State {
        let is_empty = self.infos(self.queue()).next_back().filter(|info| {
            let told = self.lines().last().map_or(f64::MIN, |told| told.at_ms);
            self.post_mortem() || info.counted_ms > told
        });
        let last = self.depths(self.queue()).last();
        // What is acknowledged as it begins is held by nobody while it runs: another worker may run it.
        let would_be_held =
            self.acknowledges_after_the_run() || last.is_some_and(|depth| depth.consumers <= 1);
        let empty = is_empty
            .filter(|_| would_be_held)
            .and_then(|_| self.empty_queue());
        // Where nobody consumes nobody holds one.
        let last = last.filter(|_| self.post_mortem());
        let untouched = last.filter(|depth| depth.exists && depth.ready == 0 && depth.consumers == 0);
        let empty = empty.or(untouched.map(|depth| depth.n));
        let is_told = !self.post_mortem() || self.would_tell_of_a_later_run();
        match empty.filter(|_| is_told && retries::ran_out_of_sight(self).is_none()) {
            Some(n) => proved([n]),
            None => State::Assumed,
        }
    }

    /// Afterwards nobody holds a message that has run since, and one whose connection was lost is held by nobody while it
    /// runs. A status that is no success, or a log that leaves nothing out, would tell of the one, a stack of the other.
    pub(in crate::diagnosis) fn would_tell_of_a_later_run(&self) -> bool {
        let unknown = self.framework().unknown_result;
        let by_status = self.last_row().is_some_and(|row| row.present)
            || self.api_status().is_some_and(|said| Some(said.value) != unknown);
        let by_the_log = || self.debug_log() && matches!(self.log_is_whole(), State::Proved(_));
        (by_status || by_the_log()) && !stacks::one_may_run_it(self)
    }

    /// A long id is given once; numbers come again, and a message of another run may carry one.
    fn id_is_new(&self) -> State {
        // Words alone are a name that somebody gave, and gives again: `weekly-report`. The row may say the same by now.
        let is_made = |id: &&str| {
            let has_digits = || id.contains(|c: char| c.is_ascii_digit());
            !is_common(id) && (has_digits() || self.row_failed().is_some())
        };
        let Some(id) = self.task_id().filter(is_made) else {
            return State::Assumed;
        };
        let given = |event: &&Event| {
            matches!(&event.kind, EventKind::Given { task_id } | EventKind::Answered { task_id: Some(task_id), .. }
                if task_id == id)
        };
        proved(self.timeline.events.iter().find(given).map(|event| event.n))
    }

    /// Only a look that began after the publish and found no row shows that.
    fn first_version_is_insert(&self) -> State {
        let Some(published) = self.published() else {
            return State::Assumed;
        };
        let absent = self
            .rows()
            .iter()
            .find(|row| !row.present && row.asked_at_ms.unwrap_or(row.at_ms) > published.at_ms);
        match absent {
            Some(absent) => proved([published.n, absent.n]),
            None => State::Assumed,
        }
    }

    /// When the message was first handed to a consumer, or the actor first called.
    pub fn began_at(&self) -> Option<f64> {
        let delivered = self.deliveries().next().map(|delivery| delivery.at_ms);
        let line = self.lines().first().map(|line| line.at_ms);
        match (delivered, line) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// A stack stands in the application's code below the framework's call: in the task's own function, or it is
    /// the only one in any.
    fn work_is_running(&self, pid: i32) -> State {
        // A log without pids does not say which process has it: the only one that runs the task's function, or one of those
        // that its worker counts.
        let at_work = match pid {
            0 => stacks::the_one_at_work(self).or_else(|| self.is_counted_as_running()),
            _ => stacks::at_work(self, pid),
        };
        at_work.map_or(State::Assumed, |n| proved([n]))
    }

    /// The worker has the very file open that was read to its end: nobody stands between them who may
    /// drop a line.
    fn log_is_whole(&self) -> State {
        let read = self.find(|event| {
            let whole = matches!(event.kind, EventKind::ReadWhole { .. });
            (event.source == Source::WorkerLog && whole).then_some(event.n)
        });
        let writes = self
            .all_processes()
            .find(|process| process.holds_log && workers::is_worker(process));
        match (read, writes) {
            (Some(_), Some(process)) if self.master_takes() && programs::shares_out_its_log(&process) => {
                State::Assumed
            }
            (Some(read), Some(process)) => proved([process.n, read]),
            _ => State::Assumed,
        }
    }

    /// Asked on the very connection that gives the rows.
    fn is_primary(&self) -> State {
        let in_recovery = self.facts(|kind| match kind {
            EventKind::DatabaseServer { in_recovery, .. } => Some(*in_recovery),
            _ => None,
        });
        let in_recovery: Vec<Fact<Option<bool>>> = in_recovery.collect();
        // Connected anew it may be another server: some rows are the standby's then.
        match in_recovery.iter().find(|said| said.value == Some(true)) {
            Some(said) => State::Refuted(vec![said.n]),
            None if in_recovery.is_empty() || in_recovery.iter().any(|said| said.is_none()) => State::Assumed,
            None => proved(in_recovery.iter().map(|said| said.n)),
        }
    }

    /// It answered what it was asked after that moment: an answer that was under way by then may be
    /// older than it.
    fn still_answers(&self, source: Source, since: f64) -> State {
        let mut before: Option<&Row> = None;
        let mut later = None;
        for event in self.timeline.events.iter().filter(|event| event.source == source) {
            let asked = match &event.kind {
                EventKind::Row(row) => {
                    // Only the last look, begun when the task was over, repeats what is known.
                    let repeats = before.is_some_and(|before| before == row).then_some(event.at_ms);
                    before = Some(row);
                    row.asked_at_ms.or(repeats)
                }
                EventKind::ApiStatus { latency_ms, .. } => latency_ms.map(|latency| event.at_ms - latency),
                // The first is about an earlier moment, the others are no answers.
                EventKind::RowCommitted { .. }
                | EventKind::Watching { .. }
                | EventKind::Partial { .. }
                | EventKind::Blind { .. } => None,
                _ => Some(event.at_ms),
            };
            if asked.is_some_and(|asked| asked > since) {
                later = Some(event.n);
            }
        }
        later.map_or(State::Assumed, |n| proved([n]))
    }
}
