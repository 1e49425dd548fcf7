//! What is told of it: the task, its stages with what was missing, notes, filled-in remedies.

use std::collections::BTreeSet;

use super::{Fact, Story, Visibility, connections, row};
use crate::diagnosis::{Outcome, Reached, Stage, Task};
use crate::framework::{LogEvent, Verbosity};
use crate::text::counted;
use crate::timeline::{Ended, Event, EventKind, Row, Source};

impl<'a> Story<'a> {
    pub fn task(&self) -> Task {
        let publish = self
            .publishes
            .first()
            .or(self.deliveries.first())
            .or(self.held.first().map(|held| &held.passage));
        Task {
            id: self.task_id.map(str::to_owned),
            message_id: publish
                .and_then(|passage| passage.message.message_id.clone())
                .or_else(|| self.message_ids.iter().next().map(|id| (*id).to_owned())),
            actor: publish
                .and_then(|passage| passage.message.actor.clone())
                .or_else(|| {
                    self.lines.iter().find_map(|told| match told.mark {
                        Some(LogEvent::Received { actor, .. } | LogEvent::Failed { actor }) => {
                            Some(actor.clone())
                        }
                        _ => told.subject.map(|subject| subject.task.to_owned()),
                    })
                }),
            queue: publish
                .map(|passage| match self.kept_for_later() {
                    Some(_) => self.queue().to_owned(),
                    None => passage.queue.to_owned(),
                })
                .or_else(|| Some(self.queue().to_owned())),
        }
    }

    pub fn stages(&self) -> Vec<Reached> {
        Stage::all()
            .map(|stage| match self.reached.get(&stage) {
                Some((_, evidence)) if stage == Stage::Published && self.waits_by_assumption => Reached {
                    stage,
                    reached: None,
                    at_ms: None,
                    evidence: evidence.clone(),
                    observed: Some(format!(
                        "cannot tell: messages wait on `{}`, and this one may be among them or never have been sent",
                        self.queue()
                    )),
                },
                Some((at_ms, evidence)) => Reached {
                    stage,
                    reached: Some(true),
                    at_ms: *at_ms,
                    evidence: evidence.clone(),
                    observed: match stage {
                        Stage::Submitted if self.timeline.is_by_command() => {
                            Some("the command ended with exit code 0".to_owned())
                        }
                        Stage::Settled => evidence.first().and_then(|n| self.settled_as(*n)),
                        _ => None,
                    },
                },
                None => {
                    let (reached, observed) = self.missing(stage);
                    Reached {
                        stage,
                        reached,
                        at_ms: None,
                        evidence: Vec::new(),
                        observed: Some(observed),
                    }
                }
            })
            .collect()
    }

    /// What the broker was told of the message, and what comes of it.
    fn settled_as(&self, n: u32) -> Option<String> {
        if let Some(held) = self.held.iter().find(|held| held.passage.n == n) {
            return Some(format!("rejected, a dead letter in `{}`", held.passage.queue));
        }
        let told = self.lines().iter().find(|told| told.n == n)?;
        match told.mark? {
            LogEvent::Rejecting { .. } => Some("rejected".into()),
            LogEvent::Acknowledging { .. } => {
                let copy = self
                    .publishes()
                    .iter()
                    .rfind(|passage| passage.at_ms <= told.at_ms && passage.message.is_retry());
                Some(
                    match copy.and_then(|copy| Some((copy.message.retries?, copy.queue))) {
                        Some((retry, queue)) => format!("acknowledged, retry {retry} was sent to `{queue}`"),
                        None => "acknowledged".into(),
                    },
                )
            }
            _ => None,
        }
    }

    /// For a stage without evidence: whether that is proof of absence, and what was observed.
    pub(super) fn missing(&self, stage: Stage) -> (Option<bool>, String) {
        let queue = self.queue();
        let blind = |source: Source| match self.sight(source) {
            Visibility::Blind(reason) => format!("cannot tell: {source} is blind ({reason})"),
            _ => format!("cannot tell: {source} was not watched"),
        };
        let missed = || match (self.missed_events(), self.firehose_in_part()) {
            (0, Some(reason)) if !self.is_trace() => {
                Some(format!("cannot tell: the firehose sees in part ({reason})"))
            }
            (0, _) => None,
            (count, _) => Some(format!("cannot tell: {count} events of the firehose were missed")),
        };
        if self.is_trace() && self.task_id.is_none() {
            return (None, "cannot tell: no task was named".into());
        }
        if stage > Stage::Submitted && self.task_id.is_none() && self.reached(Stage::Submitted).is_none() {
            return (Some(false), "not reached: there is no task".into());
        }
        match stage {
            Stage::Published | Stage::Delivered | Stage::Received
                if self.is_told_by_status_alone() && !self.is_without_message() =>
            {
                let text = "cannot tell: only a status says that the work was begun, whoever did it";
                (None, text.into())
            }
            Stage::Submitted if self.timeline.is_by_command() => (
                Some(false),
                match self.command_ended().map(|end| end.words()) {
                    Some(words) => {
                        format!("the command {words}; exit code 0 and a task that is named are needed")
                    }
                    None => "the command has not ended".into(),
                },
            ),
            Stage::Recorded if self.task_id.is_none() => (
                None,
                "cannot tell: no task was named whose row could be read".into(),
            ),
            Stage::Submitted => match self.answer() {
                Some(answer) => (
                    Some(false),
                    format!("HTTP {}; a 2xx with a task id is needed", answer.status),
                ),
                None if self.post_mortem() => {
                    (None, "not observed: the task was there before this run".into())
                }
                None if !self.was_sent() => (Some(false), "no task was sent".into()),
                None => (Some(false), "no HTTP answer".into()),
            },
            Stage::Recorded if !self.sees(Source::Database) => (None, blind(Source::Database)),
            Stage::Recorded if self.last_row().is_none() => (
                None,
                "cannot tell: the run ended before the table was read for this task".into(),
            ),
            Stage::Recorded => {
                let setup = &self.timeline.setup;
                (
                    Some(false),
                    format!(
                        "table `{}` has no row with {} = '{}'",
                        setup.table.as_deref().unwrap_or("?"),
                        setup.id_column.as_deref().unwrap_or("its id"),
                        self.task_id.unwrap_or_default()
                    ),
                )
            }
            Stage::Published if !self.sees(Source::Firehose) => (None, blind(Source::Firehose)),
            Stage::Published
                if self.publishes.is_empty() && self.is_trace() && !self.sees_all(Source::Firehose) =>
            {
                (
                    None,
                    match self.sight(Source::Firehose) {
                        Visibility::Partial(reason) => format!("cannot tell: {reason}"),
                        _ => missed().unwrap_or_default(),
                    },
                )
            }
            Stage::Published if self.publishes.is_empty() && self.is_trace() => (
                None,
                "cannot tell: it was not published while this was traced; before, it may have been".into(),
            ),
            Stage::Published if self.publishes.is_empty() && missed().is_some() => {
                (None, missed().unwrap_or_default())
            }
            Stage::Delivered
                if self.sees(Source::Firehose)
                    && missed().is_some()
                    && (self.missed_events() > 0 || !self.was_taken_by_nobody()) =>
            {
                (None, missed().unwrap_or_default())
            }
            Stage::Delivered if self.is_trace() && !self.sees_all(Source::Firehose) => {
                (None, "cannot tell: not everything of the vhost was traced".into())
            }
            Stage::Delivered if self.is_trace() && self.publishes.is_empty() => (
                None,
                "cannot tell: it was not delivered while this was traced; before, it may have been".into(),
            ),
            Stage::Delivered if self.is_trace() => (
                Some(false),
                format!("no delivery from `{queue}` until the trace ended"),
            ),
            Stage::Published | Stage::Delivered | Stage::Received
                if self.is_without_message() && self.reached(Stage::Entered).is_some() =>
            {
                (
                    None,
                    format!("cannot tell: the work was done, and no message of it passed `{queue}`"),
                )
            }
            Stage::Published => match self.publishes.first() {
                Some(passage) if self.dropped_by(passage).is_some() => (
                    Some(false),
                    format!(
                        "sent to `{}` while that was down; a queue that is up is needed",
                        passage.queue
                    ),
                ),
                Some(passage) => (
                    Some(false),
                    format!(
                        "published to `{}` only; one on `{queue}` is needed",
                        passage.queue
                    ),
                ),
                None => (
                    Some(false),
                    format!("no message with this task id on `{queue}`; the API must send one"),
                ),
            },
            Stage::Delivered => {
                let last = self.depths(queue).last();
                let down = self.down(queue).last();
                match last {
                    _ if down.is_some_and(|down| last.is_none_or(|last| last.at_ms < down.at_ms)) => (
                        Some(false),
                        format!("`{queue}` is down: {}", down.map_or("", |down| down.value)),
                    ),
                    _ if !self.sees(Source::Firehose) && last.is_none() => (None, blind(Source::Firehose)),
                    Some(depth) if !depth.exists => (Some(false), format!("queue `{queue}` does not exist")),
                    Some(depth) if depth.consumers == 0 => (
                        Some(false),
                        format!("`{queue}` has no consumer, and {} in it", waiting(depth.ready)),
                    ),
                    // Nothing was published: there was no message to deliver.
                    Some(_) if self.sees_all(Source::Firehose) && self.publishes.is_empty() => {
                        (Some(false), "there was no message to deliver".into())
                    }
                    Some(depth) => (
                        self.sees(Source::Firehose).then_some(false),
                        format!(
                            "{} on `{queue}`, and {} in it; this one must come to the front, and a worker slot must be free",
                            counted(depth.consumers, "consumer", "consumers"),
                            waiting(depth.ready)
                        ),
                    ),
                    None => (Some(false), format!("no delivery from `{queue}`")),
                }
            }
            Stage::Received if self.started_worker_is_dead() => {
                (Some(false), "the worker that was started has ended".into())
            }
            Stage::Received if !self.sees(Source::WorkerLog) => (None, blind(Source::WorkerLog)),
            Stage::Received if self.taken_by_another() => (
                None,
                "cannot tell: it was delivered to a process that does not write the watched log".into(),
            ),
            Stage::Received if self.log_was_cut() => (
                None,
                "cannot tell: the worker's log was truncated or replaced meanwhile, and lines may be lost"
                    .into(),
            ),
            Stage::Received if !self.debug_log() => (None, self.log_is_too_quiet()),
            Stage::Received if self.framework().log.tells_at == Verbosity::Info => (
                None,
                "cannot tell: no line says when a worker begins with a message".into(),
            ),
            Stage::Received => (
                Some(false),
                "no worker thread took it (the worker's log has no `Received message`)".into(),
            ),
            Stage::Entered if !self.could_see_entry() => (None, self.why_entry_is_invisible()),
            Stage::Entered => (
                Some(false),
                "no entry line, no status change, no traceback from the actor's own code".into(),
            ),
            Stage::Finished if !self.sees(Source::Database) => (None, blind(Source::Database)),
            Stage::Finished => match self.last_row() {
                Some(row) if row.present => (
                    Some(false),
                    format!(
                        "the row's status is {}; {} is needed",
                        row.status.as_deref().unwrap_or("NULL"),
                        self.timeline.setup.succeeded.join(" or ")
                    ),
                ),
                Some(_) => (Some(false), "no row".into()),
                None => (None, "cannot tell: the row was not read".into()),
            },
            Stage::Settled if !self.acknowledges_after_the_run() => (
                None,
                "unknown: RabbitMQ does not report acknowledgements, and no line of the log does".into(),
            ),
            Stage::Settled => {
                let flag = self.framework().worker.debug_flag;
                let text = format!(
                    "unknown: RabbitMQ does not report acknowledgements; a worker run with {flag} logs them"
                );
                (None, text)
            }
        }
    }

    fn log_is_too_quiet(&self) -> String {
        let framework = self.framework();
        let level = match framework.log.tells_at {
            Verbosity::Debug => "DEBUG",
            Verbosity::Info => "INFO",
        };
        let flag = framework.worker.debug_flag;
        format!("cannot tell: the worker's log is not at {level}; start it with {flag}")
    }

    fn why_entry_is_invisible(&self) -> String {
        let log = if !self.sees(Source::WorkerLog) {
            "the worker's log is not seen"
        } else if self.post_mortem() {
            "the log of then may be gone"
        } else if self.log_was_cut() {
            "the worker's log was truncated or replaced meanwhile"
        } else if self.timeline.setup.entry_pattern.is_some() || self.debug_log() {
            "the log shows entries that may be others'"
        } else {
            "`worker.entry_pattern` is not set"
        };
        let row = if !self.sees(Source::Database) {
            "the row is not seen"
        } else if self.timeline.setup.running.is_empty() {
            "`database.running` is not set"
        } else if self.last_row().is_some_and(|row| row.present) {
            "the row has no status that only the actor sets"
        } else {
            "there is no row"
        };
        format!("cannot tell: {log}, and {row}")
    }

    fn which_is_meant(&self) -> String {
        let actors: BTreeSet<&str> = self
            .publishes
            .iter()
            .filter_map(|passage| passage.message.actor.as_deref())
            .collect();
        let count = self.candidates;
        match actors.len() {
            0 | 1 => format!(
                "{count} messages for the same actor carry this task id: what is shown may be of any of them, and the ids of one"
            ),
            _ => format!(
                "{count} messages carry this task id, for the actors {}: set broker.actor to the one that is meant",
                actors
                    .into_iter()
                    .map(|actor| format!("`{actor}`"))
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
        }
    }

    fn was_sent(&self) -> bool {
        let mut kinds = self.timeline.events.iter().map(|event| &event.kind);
        kinds.any(|kind| matches!(kind, EventKind::Submitting { .. }))
    }

    /// The user ended the run before it could decide. A trace always ends so.
    pub fn is_stopped(&self) -> bool {
        self.interruption().is_some()
    }

    fn interruption(&self) -> Option<&Event> {
        let interrupted = EventKind::Ended {
            why: Ended::Interrupted,
        };
        let mut events = self.timeline.events.iter();
        events.find(|event| event.kind == interrupted && !self.is_trace())
    }

    /// What is missing may just not have happened yet.
    fn stopped(&self) -> Option<String> {
        let events = &self.timeline.events;
        let end = self.interruption()?;
        let after = (end.at_ms - events.first()?.at_ms) / 1000.0;
        let waiting: Vec<&str> = [("api", "the API"), ("worker", "the worker")]
            .into_iter()
            .filter(|(part, _)| {
                self.started(part)
                    .is_some_and(|launch| launch.ready.is_none() && launch.not_ready.is_none())
            })
            .map(|(_, name)| name)
            .collect();
        let doing = match (self.was_sent() || self.post_mortem(), waiting.as_slice()) {
            (true, _) => ": what had not happened by then may have come later".to_owned(),
            (false, []) => ": no task was sent".to_owned(),
            (false, parts) => format!(
                ", while waiting for {} to be ready: no task was sent",
                parts.join(" and ")
            ),
        };
        Some(format!("stopped by you after {after:.1} s{doing}"))
    }

    /// Whose lines and exceptions these are, where the log that is watched is not his. Of a worker that
    /// was started, `remarks_on_launches` says it.
    fn taker(&self, told: &[u32]) -> Option<String> {
        if self.started("worker").is_some() {
            return None;
        }
        let (pid, process) = self.deliveries().find_map(|passage| {
            let Fact { n, value: pid, .. } = self.peer(passage.connection)?;
            let is_told = told.contains(&n) || told.contains(&passage.n);
            // Whoever passes it on does not have it.
            let is_passed_on = self
                .process(pid)
                .is_some_and(|process| connections::is_relay(&process));
            (!is_told && !is_passed_on && self.is_watched(pid) == Some(false))
                .then(|| (pid, self.process_in_life(pid)))
        })?;
        // One that has ended since cannot be told from the watched worker, which may have been started again.
        let process = process.filter(|process| !process.command.is_empty())?;
        Some(format!(
            "the message went to pid {pid} (`{}`), which is not the watched worker",
            process.command.join(" ")
        ))
    }

    /// The row has a status that is configured, but for the case of its letters.
    fn status_in_other_case(&self) -> Option<String> {
        let setup = &self.timeline.setup;
        let row = self.last_row()?;
        let status = row.status.as_deref()?;
        let lists = [
            ("succeeded", &setup.succeeded),
            ("failed", &setup.failed),
            ("running", &setup.running),
        ];
        if lists
            .iter()
            .any(|(_, words)| words.iter().any(|word| word == status))
        {
            return None;
        }
        lists.iter().find_map(|(key, words)| {
            let word = words.iter().find(|word| word.eq_ignore_ascii_case(status))?;
            Some(format!(
                "the row says `{status}`, and `database.{key}` has `{word}`: statuses are compared letter by letter; if it is meant, write `{status}` there"
            ))
        })
    }

    /// The actor is done, and the row says a word that it did not say before and that nobody named.
    fn status_of_no_list(&self) -> Option<String> {
        let row = self
            .last_row()
            .filter(|row| row.present && self.attempt_over().is_some())?;
        let status = row.status.as_deref()?;
        let is_running = self.timeline.setup.running.iter().any(|word| word == status);
        let was_there =
            |seen: &Fact<&Row>| seen.n != row.n && seen.xmin != row.xmin && seen.status == row.status;
        let is_first = self.rows().first().is_none_or(|first| first.xmin == row.xmin);
        let is_known = self.says_it_is_over(&row) || is_running || row::is_before_the_work(status);
        (!is_known && !is_first && !self.rows().iter().any(was_there)).then(|| {
            format!(
                "the row says `{status}`, which is in no list of taskdiag.toml: where it means that the task is over, add it to database.succeeded or database.failed"
            )
        })
    }

    /// `told`: the evidence of the verdict's causes, which say what they stand for by themselves.
    pub fn notes(&self, told: &[u32]) -> Vec<String> {
        let mut notes = Vec::new();
        notes.extend(self.stopped());
        if let Some(error) = self.unsent() {
            notes.push(format!("no task was submitted: {error}"));
        }
        notes.extend(self.taker(told));
        if self.recognised().is_some() {
            notes.push("the answer names no task: the only message that was sent between the request and the answer was followed; set api.task_id_pointer if the answer does hold the id".into());
        }
        if self.is_ambiguous() {
            notes.push(self.which_is_meant());
        }
        notes.extend(self.status_in_other_case().or_else(|| self.status_of_no_list()));
        if let Some(stray) = self.stray_publishes.first() {
            notes.push(format!(
                "another message with this task id was published for actor `{}`",
                stray.message.actor.as_deref().unwrap_or("?")
            ));
        }
        if !self.post_mortem()
            && self.last_row().is_some_and(|row| self.says_it_is_over(&row))
            && self.deliveries().next().is_none()
            && self.was_taken_by_nobody()
        {
            notes.push(format!(
                "the row's status is a final one, but nobody was seen taking a message from `{}`: an earlier run may have left it, or something else than a worker of that queue has set it",
                self.queue()
            ));
        }
        // What it does not show is then no proof of anything.
        if let Some(reason) = self.firehose_in_part()
            && !self.is_trace()
            && self.outcome() != Outcome::Succeeded
        {
            notes.push(format!("the firehose sees in part: {reason}"));
        }
        // Only where a hanging thread could be the answer does a refused stack matter.
        if self.closed() && self.outcome() != Outcome::Succeeded {
            let refused = self.timeline.events.iter().find_map(|event| match &event.kind {
                EventKind::StacksRefused { reason, .. } => Some(reason.clone()),
                _ => None,
            });
            notes.extend(refused);
        }
        if self.is_trace() {
            notes.push("this is a recording of `taskdiag trace`: it shows what passed the broker between its start and its end, and nothing else was looked at".into());
            if self.task_id.is_none() {
                notes.push("no task was named: taskdiag replay RUN.jsonl --task ID follows one".into());
            }
            return notes;
        }
        if self.post_mortem() && !self.lines.is_empty() {
            return notes;
        }
        if self.post_mortem() {
            if self.reached(Stage::Delivered).is_none() {
                notes.push("published and delivered are unknown: RabbitMQ keeps no history, and only a run that watches from the start can see them".into());
            }
            if !self.sees(Source::DeadLetters) {
                notes.insert(0, self.peek_hint());
            }
            let table = self.timeline.setup.table.as_deref().unwrap_or("?");
            let nothing_of_it = self.publishes.is_empty() && self.lines.is_empty() && self.held.is_empty();
            let is_absent = self.last_row().is_some_and(|row| !row.present);
            if let (Some(id), true) = (self.task_id, is_absent) {
                let nowhere = if nothing_of_it {
                    ", and no log names it"
                } else {
                    ""
                };
                let text = format!(
                    "table `{table}` has no row with the id `{id}`{nowhere}: was the id copied in full?"
                );
                notes.insert(0, text);
            }
        }
        notes
    }

    /// What `--peek` would search, with the counts that are known.
    fn peek_hint(&self) -> String {
        let queues = &self.framework().queues;
        let named = [queues.delay(self.queue()), queues.dead_letter(self.queue())];
        let counts: Vec<String> = named
            .into_iter()
            .flatten()
            .filter_map(|name| {
                let depth = self.depths(&name).last()?;
                Some(format!(
                    "`{name}` ({})",
                    counted(depth.ready, "message", "messages")
                ))
            })
            .collect();
        match counts.is_empty() {
            true => "next: `--peek` searches the delay and dead-letter queues for this task".into(),
            false => format!("next: `--peek` searches {} for this task", counts.join(" and ")),
        }
    }
}

/// `1 message waits`, `2 messages wait`.
fn waiting(ready: u64) -> String {
    counted(ready, "message waits", "messages wait")
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::testing::{Scene, WORKER};
    use crate::diagnosis::{Scenario, Stage};
    use crate::timeline::{EventKind, Source};

    #[test]
    fn a_success_that_nobody_can_have_worked_for_is_said() {
        let by_hand = Scene::published()
            .depth("default", 1, 0)
            .row("COMPLETED")
            .verdict()
            .notes;
        assert!(
            by_hand
                .iter()
                .any(|note| note.contains("something else than a worker")),
            "{by_hand:?}"
        );
        let by_the_worker = Scene::published()
            .deliver(WORKER)
            .row("COMPLETED")
            .verdict()
            .notes;
        assert!(by_the_worker.is_empty(), "{by_the_worker:?}");
    }

    /// What was read of each stage.
    fn stages(scene: &Scene) -> Vec<Option<bool>> {
        let stages = scene.verdict().stages;
        stages.into_iter().map(|stage| stage.reached).collect()
    }

    #[test]
    fn a_log_that_lost_lines_shows_no_absence() {
        let rotated = |reads_on| {
            let path = "worker.log".into();
            let event = EventKind::Rotated { path, reads_on };
            Scene::delivered().see(Source::WorkerLog, event).silence()
        };
        let (whole, cut) = (rotated(true), rotated(false));
        let of = |scene: &Scene, stage: Stage| stages(scene)[stage as usize];
        assert_eq!(of(&whole, Stage::Received), Some(false));
        assert_eq!(of(&cut, Stage::Received), None);
        assert_eq!(of(&cut, Stage::Entered), None);
        assert_eq!(whole.verdict().scenario, Some(Scenario::C));
        assert_eq!(cut.verdict().scenario, None, "{} {}", cut.cause(), cut.summary());
    }

    #[test]
    fn another_workers_log_would_say_what_it_received() {
        let of = |scene: &Scene| stages(scene)[Stage::Received as usize];
        let elsewhere = Scene::sent_to_another().other_worker().silence();
        assert_eq!(of(&elsewhere), None);
        assert_eq!(of(&Scene::delivered().silence()), Some(false));
    }

    /// Whoever wrote the status: that there was a message is not shown by it.
    #[test]
    fn a_status_alone_says_nothing_of_a_message() {
        let way = [Stage::Published, Stage::Delivered, Stage::Received];
        let asked = Scene::new().given().row("COMPLETED");
        for stage in way {
            assert_eq!(stages(&asked)[stage as usize], None, "{stage:?}");
        }
        assert_eq!(stages(&asked)[Stage::Entered as usize], Some(true));
        let worked = Scene::delivered().row("COMPLETED");
        for stage in way {
            assert_eq!(stages(&worked)[stage as usize], Some(true), "{stage:?}");
        }
    }

    /// A verdict may come before the first look at the table: that is no missing row.
    #[test]
    fn a_table_that_was_not_read_has_no_missing_row() {
        let recorded = |scene: &Scene| {
            let stages = scene.verdict().stages;
            let stage = stages.into_iter().find(|stage| stage.stage == Stage::Recorded);
            stage.and_then(|stage| Some((stage.reached, stage.observed?)))
        };
        let (reached, observed) = recorded(&Scene::new().submitted().timeout()).expect("a stage");
        assert_eq!(reached, None, "{observed}");
        let (reached, observed) = recorded(&Scene::new().submitted().no_row().timeout()).expect("a stage");
        assert_eq!(reached, Some(false), "{observed}");
        assert!(observed.contains("has no row with "), "{observed}");
    }
}
