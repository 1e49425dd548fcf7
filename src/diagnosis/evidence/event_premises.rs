//! What it rests on that an event is the task's, or somebody's.

use std::collections::BTreeMap;

use super::{Story, WorkerLine, locks, results};
use crate::diagnosis::premises::{EventId, Premise, is_common};
use crate::framework::LogEvent;
use crate::timeline::EventKind;

impl Story<'_> {
    /// What the attribution of each event rests on: a line that carries no id, a message that is
    /// known by a number, the process at the end of a connection.
    pub(super) fn find_premises(&mut self) {
        let mut premises: BTreeMap<EventId, Vec<Premise>> = BTreeMap::new();
        // What is over by the log may have been sent again.
        let is_over = self.post_mortem()
            && self.lines.iter().any(|told| {
                let fails = |mark: &LogEvent| {
                    mark.fails_attempt() || mark.denies_entry() || matches!(mark, LogEvent::Failed { .. })
                };
                self.ends_attempt(told) || told.mark.is_some_and(fails)
            });
        for line in &self.lines {
            let found = premises.entry(line.n).or_default();
            found.extend(self.that_it_is_the_last(line, is_over));
            found.extend(self.that_it_is_ours(line));
        }
        // It names no message, and is about the one that its process spoke of last.
        if let Some((told, ..)) = results::raised_by_the_body(self) {
            let pid = told.line.pid;
            let found = premises.entry(told.n).or_default();
            found.extend([Premise::OneProcessPerLogThread { pid }, Premise::LogIsWhole]);
        }
        let transfers = self.publishes.iter().chain(&self.deliveries);
        for transfer in transfers.chain(self.held.iter().map(|held| &held.passage)) {
            let id = transfer.message.message_id.as_deref();
            let found = premises.entry(transfer.n).or_default();
            found.extend(self.ours(id.or(self.nameless())));
        }
        // What lies with the dead letters for days may have been sent again since.
        let dead = self
            .held
            .iter()
            .filter(|held| self.post_mortem() && held.reason.is_some());
        for held in dead {
            premises
                .entry(held.passage.n)
                .or_default()
                .push(Premise::OnlyMessage);
        }
        let taken = || {
            let last = self.deliveries.last().filter(|_| !self.is_known_by_time());
            last.and_then(|passage| self.ours(passage.message.message_id.as_deref()))
                .into_iter()
        };
        for event in &self.timeline.events {
            match &event.kind {
                EventKind::Peer { connection, .. } => {
                    premises.insert(event.n, vec![Premise::PeerIsProcess(connection.clone())]);
                }
                // What a process does, or says that it has, is of interest because it has our message.
                EventKind::Stacks { .. } | EventKind::Inspected(_) => {
                    premises.insert(event.n, taken().collect());
                }
                EventKind::LockWait(wait) if !wait.table => {
                    let waiters = locks::waiting_processes(self, wait).into_iter();
                    let ours = waiters.filter(|waiter| locks::is_our_worker(self, waiter.value));
                    let waits = ours.take(1).map(|waiter| Premise::WaitIsTheTasks(waiter.value));
                    premises.insert(event.n, taken().chain(waits).collect());
                }
                _ => {}
            }
        }
        self.add_whose_lines_they_are(&mut premises);
        self.premises = premises;
    }

    /// What it rests on that the message with this id is the task's.
    fn ours(&self, id: Option<&str>) -> Option<Premise> {
        let is = match self.is_known_by_time() {
            true => Premise::SentForTheRequest,
            false => Premise::MessageIsOurs,
        };
        id.map(|id| is(id.to_owned()))
    }

    /// A short number is many things' id. Afterwards it is asked whether it was given before.
    fn is_number(&self) -> bool {
        !self.post_mortem() && self.task_id().is_some_and(is_common)
    }

    /// In what nobody could decode a number stands for anything.
    fn nameless(&self) -> Option<&'static str> {
        self.is_number().then_some("without an id")
    }

    /// Afterwards a log has the words of every run that had this id; a copy at rest says which is meant.
    fn that_it_is_the_last(&self, line: &WorkerLine<'_>, is_over: bool) -> Vec<Premise> {
        if !self.post_mortem() {
            return Vec::new();
        }
        let id = line.message_id();
        let mut held = self.held.iter().map(|held| &held.passage);
        let copy = held.find(|held| id.is_some() && held.message.message_id.as_deref() == id);
        // A dead letter is not the last that was sent, where it was sent again.
        let waits = copy.is_some_and(|copy| self.is_to_be_run_from(copy.queue));
        let is_new = copy.is_none().then_some(Premise::IdIsNew);
        let is_only = (is_over && !waits).then_some(Premise::OnlyMessage);
        is_new.into_iter().chain(is_only).collect()
    }

    fn that_it_is_ours(&self, line: &WorkerLine<'_>) -> Vec<Premise> {
        if let Some(id) = line.message_id() {
            return self.ours(Some(id)).into_iter().collect();
        }
        let mut found: Vec<Premise> = self.by_its_writer(line).into_iter().collect();
        let carries = line.line.carries_task_id;
        if carries && self.may_be_of_another(line) {
            found.push(Premise::OnlyMessage);
        }
        // It is about the message that its thread took, or the only one that there was. One that carries the id is
        // the task's, but the framework's word of a call whose actor nobody has named: a step beside the task carries it, too.
        let of_any_actor = self.timeline.setup.actor.is_none() || self.is_number();
        if !carries || line.mark.is_some() && of_any_actor {
            found.extend(self.message_ids.iter().filter_map(|id| self.ours(Some(id))));
        }
        if self.message_ids.is_empty() && line.mark.is_some() {
            found.extend(self.ours(self.nameless()));
        }
        found
    }

    /// What a line says of a worker is said of the one that wrote it.
    fn add_whose_lines_they_are(&self, premises: &mut BTreeMap<EventId, Vec<Premise>>) {
        let own = self.worker_lines.iter().filter(|told| told.is_about_its_writer());
        for told in own.filter(|told| !self.lines.iter().any(|line| line.n == told.n)) {
            let found = premises.entry(told.n).or_default();
            found.push(Premise::WriterIsTheWorker(told.n));
        }
    }

    /// It names no message, and is the task's for what wrote it.
    fn by_its_writer(&self, line: &WorkerLine<'_>) -> Option<Premise> {
        let its_worker = line.mark.map(|_| Premise::WriterIsTheWorker(line.n));
        if line.line.carries_task_id {
            // A short number is many things' id.
            return its_worker.filter(|_| self.task_id().is_some_and(is_common));
        }
        // Without a pid it may be of another service, of whose messages nothing is seen.
        let is_anybodys = line.line.pid.is_none() && line.mark.is_some();
        match self.by_thread.contains(&line.n) || is_anybodys {
            true => Some(Premise::OneProcessPerLogThread { pid: line.pid }),
            false => its_worker,
        }
    }

    pub fn premises_of(&self, n: EventId) -> &[Premise] {
        self.premises.get(&n).map_or(&[], Vec::as_slice)
    }
}
