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
        let is = match self.is_known_by_time() {
            true => Premise::SentForTheRequest,
            false => Premise::MessageIsOurs,
        };
        let ours = |id: Option<&str>| id.map(|id| is(id.to_owned()));
        // Afterwards it is asked whether the number was given before.
        let is_number = !self.post_mortem() && self.task_id().is_some_and(is_common);
        // In what nobody could decode a number stands for anything.
        let nameless = is_number.then_some("without an id");
        // Afterwards a log has the words of every run that had this id; a copy at rest says which is meant.
        let at_rest = |id: Option<&str>| {
            let mut held = self.held.iter().map(|held| &held.passage);
            held.find(|held| id.is_some() && held.message.message_id.as_deref() == id)
        };
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
            if self.post_mortem() {
                let copy = at_rest(line.message_id());
                // A dead letter is not the last that was sent, where it was sent again.
                let waits = copy.is_some_and(|copy| self.is_to_be_run_from(copy.queue));
                found.extend(copy.is_none().then_some(Premise::IdIsNew));
                found.extend((is_over && !waits).then_some(Premise::OnlyMessage));
            }
            match line.message_id() {
                Some(id) => found.extend(ours(Some(id))),
                None if line.line.carries_task_id => {
                    found.extend(self.may_be_of_another(line).then_some(Premise::OnlyMessage));
                    // The framework's word of a call whose actor nobody has named: a step beside the task carries its id, too.
                    // A short number is many things'.
                    let of_any_actor = self.timeline.setup.actor.is_none() || is_number;
                    let is_anybodys = line.mark.is_some() && of_any_actor;
                    let ids = self.message_ids.iter().filter(|_| is_anybodys);
                    found.extend(ids.filter_map(|id| ours(Some(id))));
                    found.extend(self.by_its_writer(line));
                }
                // It is about the message that its thread took, or the only one that there was.
                None => {
                    found.extend(self.by_its_writer(line));
                    found.extend(self.message_ids.iter().filter_map(|id| ours(Some(id))));
                }
            }
            if self.message_ids.is_empty() && line.mark.is_some() && line.message_id().is_none() {
                found.extend(ours(nameless));
            }
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
            premises
                .entry(transfer.n)
                .or_default()
                .extend(ours(id.or(nameless)));
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
            last.and_then(|passage| ours(passage.message.message_id.as_deref()))
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
