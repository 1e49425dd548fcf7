//! What is said beside the verdict.

use std::collections::BTreeSet;

use super::visibility::Visibility;
use super::{Fact, Story, WorkerLine, api, broker, lives, relays, row, standing};
use crate::diagnosis::{Outcome, Stage};
use crate::framework::LogEvent;
use crate::text::{self, counted};
use crate::timeline::{Ended, Event, EventKind, Level, LogLine, Role, Row, Source};

impl Story<'_> {
    fn which_is_meant(&self) -> String {
        let actors: BTreeSet<&str> = self
            .publishes
            .iter()
            .filter_map(|passage| passage.message.actor.as_deref())
            .chain(self.taken_together().into_iter().map(|(_, actor)| actor))
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
            (true, _) => ": later stages may still have happened".to_owned(),
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
                .is_some_and(|process| relays::passes_on(self, &process));
            (!is_told && !is_passed_on && self.is_watched(pid) == Some(false))
                .then(|| (pid, self.process_in_life(pid)))
        })?;
        // One that has ended since cannot be told from the watched worker, which may have been started again.
        let process = process.filter(|process| !process.command.is_empty())?;
        Some(format!(
            "the message went to pid {pid} (`{}`), which is not the watched worker",
            text::excerpt(&process.command.join(" "))
        ))
    }

    /// A container that the task needs, and that does not run, unless the verdict says so.
    fn stands(&self, told: &[u32]) -> Vec<String> {
        if self.outcome() == Outcome::Succeeded || self.post_mortem() {
            return Vec::new();
        }
        let roles = [Role::Api, Role::ApiLog, Role::Broker, Role::Database];
        let standing = roles
            .iter()
            .filter_map(|role| Some((role, self.standing(*role)?)));
        let (mut notes, mut named) = (Vec::new(), Vec::new());
        for (role, standing) in standing {
            let n = standing.container.n;
            if told.contains(&n) || named.contains(&n) {
                continue;
            }
            named.push(n);
            let purpose = standing::purpose(*role);
            notes.push(format!("{}, {purpose}: `{}`", standing.words, standing.command));
        }
        notes.extend(self.api_of_another_project().map(|told| told.value));
        notes
    }

    /// Nothing was sent, and the API's log may say why in a line that no cause reads: the gravest, where it is graver than
    /// those that the verdict rests on.
    fn said_by_the_api(&self, told: &[u32]) -> Option<String> {
        let is_sent = self.furthest() >= Some(Stage::Published)
            || !self.publishes().is_empty()
            || self.outcome() == Outcome::Succeeded;
        let of_the_apis = |n: &u32| match self.timeline.event(*n)? {
            Event {
                source: Source::ApiLog,
                kind: EventKind::Line(line),
                ..
            } => line.level,
            _ => None,
        };
        let known = told.iter().filter_map(of_the_apis).max();
        let is_news = |said: &Fact<&LogLine>| known.is_none_or(|known| said.level > Some(known));
        let said = api::said_meanwhile(self, Level::Info).filter(|said| !is_sent && is_news(said))?;
        let text = text::excerpt(&said.text);
        Some(format!("while it had the request, the API logged \"{text}\""))
    }

    /// The task is at work in a worker that stops, unless the verdict says so: whatever waits behind it has nobody then.
    fn goes_down(&self, told: &[u32]) -> Option<String> {
        let (stops, is_up_again) = lives::last_stop(self)?;
        let at_work = self.reached(Stage::Entered).is_some() && self.attempt_over().is_none();
        // One process that died takes the others with it.
        let died = |line: &&WorkerLine<'_>| matches!(line.mark, Some(LogEvent::ChildDied { .. }));
        let died = self
            .worker_lines()
            .iter()
            .rfind(died)
            .filter(|died| died.n < stops.n);
        let says = died.unwrap_or(&stops);
        let is_news = self.counts(&stops) && !told.contains(&stops.n) && !told.contains(&says.n);
        (at_work && !is_up_again && is_news && self.outcome() != Outcome::Succeeded).then(|| {
            format!(
                "the worker stops (\"{}\"): after this task it takes no other until it is started again",
                text::excerpt(&says.line.text)
            )
        })
    }

    /// What `--peek` and `--peek-main` were not let, beside what they could see.
    fn refused_looks(&self) -> Option<String> {
        let Visibility::Partial(reason) = self.visibility(Source::DeadLetters) else {
            return None;
        };
        let refused: Vec<&str> = reason
            .split("; ")
            .filter(|part| part.contains(": refused: "))
            .collect();
        (!refused.is_empty()).then(|| format!("not looked at: {}", refused.join("; ")))
    }

    /// The row has a status that is configured, but for the case of its letters.
    fn status_in_other_case(&self) -> Option<String> {
        let row = self.last_row()?;
        let (status, key, word) = self.listed_in_other_case(&row)?;
        Some(format!(
            "the row says `{status}`, and `database.{key}` has `{word}`: statuses are compared letter by letter; if it is meant, write `{status}` there"
        ))
    }

    /// Its status is a configured one but for the case of its letters.
    pub(in crate::diagnosis) fn is_in_other_case(&self, row: &Row) -> bool {
        self.listed_in_other_case(row).is_some()
    }

    /// The status, and the list that has the word.
    fn listed_in_other_case<'r>(&'r self, row: &'r Row) -> Option<(&'r str, &'static str, &'r str)> {
        let setup = &self.timeline.setup;
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
            Some((status, *key, word.as_str()))
        })
    }

    /// The actor is done, and the row says a word that it did not say before and that nobody named.
    pub(super) fn status_of_no_list(&self) -> Option<String> {
        let row = self
            .last_row()
            .filter(|row| row.present && self.attempt_over().is_some())?;
        let status = row.status.as_deref()?;
        let is_running = self.timeline.setup.running.iter().any(|word| word == status);
        let was_there =
            |seen: &Fact<&Row>| seen.n != row.n && seen.xmin != row.xmin && seen.status == row.status;
        let is_first = self.rows().first().is_none_or(|first| first.xmin == row.xmin);
        let is_known = self.says_it_is_over(&row) || is_running || row::is_before_the_work(status);
        (!is_known && !is_first && !self.rows().iter().any(was_there)).then(|| status.to_owned())
    }

    /// The broker has done with its message, and the row says a word that nobody named: what it was before was not seen.
    fn status_that_nobody_named(&self) -> Option<String> {
        let row = self.last_row().filter(|row| row.present && self.closed())?;
        let status = row.status.as_deref()?;
        let is_running = self.timeline.setup.running.iter().any(|word| word == status);
        let is_known = self.says_it_is_over(&row) || is_running || row::is_before_the_work(status);
        let is_taken = self.deliveries().next().is_some() && broker::drained(self).is_some();
        (is_taken && !is_known).then(|| status.to_owned())
    }

    /// A final status, beside a run of which nothing shows that it wrote that.
    fn final_all_the_same(&self, told: &[u32]) -> Option<String> {
        let row = self
            .last_row()
            .filter(|row| row.present && !told.contains(&row.n))?;
        let is_open = matches!(self.outcome(), Outcome::Unfinished | Outcome::Unknown);
        let is_taken = self.closed() && self.deliveries().next().is_some();
        (is_open && is_taken && self.says_it_is_over(&row)).then(|| {
            format!(
                "the row says `{}`, which is a final status: its run has not ended so far, and nothing shows that it wrote that",
                row.status.as_deref().unwrap_or_default()
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
        notes.extend(self.stands(told));
        notes.extend(self.taker(told));
        notes.extend(self.goes_down(told));
        notes.extend(self.said_by_the_api(told));
        if self.recognised().is_some() {
            notes.push("the answer names no task: the only message that was sent between the request and the answer was followed; set api.task_id_pointer if the answer does hold the id".into());
        }
        if self.is_by_time {
            let id = self.task_id.unwrap_or_default();
            notes.push(format!("no message carries the task id `{id}`: the only one that the API sent for this request was followed; if `{id}` is not the id of the row, set api.task_id_pointer to the one that is"));
        }
        if self.is_ambiguous() {
            notes.push(self.which_is_meant());
        }
        let in_no_list = |status| {
            format!(
                "the row says `{status}`, which is in no list of taskdiag.toml: where it means that the task is over, add it to database.succeeded or database.failed"
            )
        };
        let unknown = || {
            self.status_of_no_list()
                .or_else(|| self.status_that_nobody_named())
        };
        notes.extend(self.status_in_other_case().or_else(|| unknown().map(in_no_list)));
        notes.extend(self.final_all_the_same(told));
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
        notes.extend(self.refused_looks());
        // Only where a hanging thread could be the answer does a refused stack matter.
        if self.closed() && self.outcome() != Outcome::Succeeded {
            notes.extend(self.refused_stacks());
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
            if self.empty_queue().is_some() && self.was_not_sent_or_is_gone() {
                notes.push(self.out_of_sight());
            } else if self.reached(Stage::Delivered).is_none() {
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

    /// Nothing is left of a message, and no status says that the task ran.
    fn was_not_sent_or_is_gone(&self) -> bool {
        let has_begun = self.reached(Stage::Delivered).is_some() || self.outcome() != Outcome::Unfinished;
        !has_begun && self.sees(Source::WorkerLog) && self.held.is_empty() && self.publishes.is_empty()
    }

    /// Why no stack was read: of whoever has the message, or else of a worker. How the API stands explains nothing.
    fn refused_stacks(&self) -> Option<String> {
        let taker = self.deliveries().last();
        let taker = taker.and_then(|passage| self.peer(passage.connection));
        let apis = self.api_processes();
        let refused = self.facts(|kind| match kind {
            EventKind::StacksRefused { pid, reason } => Some((*pid, reason)),
            _ => None,
        });
        let mut refused: Vec<(i32, &String)> = refused.map(|refused| refused.value).collect();
        refused.retain(|(pid, _)| apis.iter().all(|api| api.pid != *pid));
        let of_the_taker = refused
            .iter()
            .find(|(pid, _)| taker.as_ref().is_some_and(|taker| taker.value == *pid));
        of_the_taker
            .or(refused.first())
            .map(|(_, reason)| (*reason).clone())
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
                let held = self.infos(&name).last().and_then(|info| info.unacked);
                let held = held.filter(|held| *held > 0).map(|held| {
                    let many = counted(held, "message is", "messages are");
                    format!("; {many} in the hands of a worker until its time comes, where no look finds it")
                });
                Some(format!(
                    "`{name}` ({}{})",
                    counted(depth.ready, "message", "messages"),
                    held.unwrap_or_default()
                ))
            })
            .collect();
        match counts.is_empty() {
            true => "next: `--peek` searches the delay and dead-letter queues for this task".into(),
            false => format!("next: `--peek` searches {} for this task", counts.join(" and ")),
        }
    }
}

#[cfg(test)]
mod tests {
    /// The actor is done, and the row says a word that nobody named: whether that is its end is not known.
    #[test]
    fn a_status_of_no_list_is_no_unfinished_run() {
        use crate::diagnosis::{Outcome, testing::Scene};
        let done = |status: &str| {
            let mut scene = Scene::entered().row("PENDING").row(status);
            if let Some(crate::timeline::EventKind::Row(row)) =
                scene.timeline.events.last_mut().map(|event| &mut event.kind)
            {
                row.xmin = Some(701);
            }
            scene.completed().acked("m-1").silence().verdict().outcome
        };
        assert_eq!(done("ARCHIVED"), Outcome::Unknown);
        assert_eq!(done("RUNNING"), Outcome::Unfinished);
    }

    use crate::diagnosis::testing::{Scene, WORKER};
    use crate::timeline::{EventKind, Level, LogLine, Source};

    /// A worker that logs nothing below WARNING: what the row says is then all that is known.
    #[test]
    fn what_the_row_says_is_said_where_nothing_else_is() {
        let told = |status: &str, unacked: u64| {
            let scene = Scene::quiet(|scene| scene);
            let scene = scene
                .row(status)
                .at(3_000.0)
                .totals("default", 0, unacked, serde_json::json!({}));
            scene.at(9_000.0).silence().verdict().notes.join(" ")
        };
        let unnamed = told("ARCHIVED", 0);
        assert!(unnamed.contains("`ARCHIVED`, which is in no list"), "{unnamed}");
        let held = told("ARCHIVED", 1);
        assert!(!held.contains("ARCHIVED"), "{held}");
        assert!(!told("PENDING", 0).contains("in no list"));
    }

    /// One child of it died, and the others are told to stop.
    #[test]
    fn a_task_at_work_in_a_worker_that_goes_down() {
        let stopping = Scene::entered()
            .critical(
                "dramatiq.MainProcess",
                "Worker with PID 102 exited unexpectedly (code -9). Shutting down...",
            )
            .info("dramatiq.WorkerProcess(0)", "Stopping worker process...");
        let says_so = |scene: Scene| {
            let notes = scene.timeout().verdict().notes;
            notes
                .iter()
                .any(|note| note.starts_with("the worker stops (\"Worker with PID 102"))
        };
        assert!(says_so(stopping.clone()));
        let again = stopping.info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.");
        assert!(!says_so(again));
        assert!(!says_so(Scene::entered()));
    }

    /// No line names the task, and one that was written meanwhile says why.
    #[test]
    fn what_the_api_logged_while_it_answered() {
        let said = |text: &str, level: Level, sent: bool| {
            let line = LogLine {
                level: Some(level),
                text: text.into(),
                ..LogLine::default()
            };
            let scene = Scene::accepted().see(Source::ApiLog, EventKind::Line(line));
            let scene = scene.row("PENDING");
            let scene = if sent { scene.publish("default") } else { scene };
            let verdict = scene.silence().verdict();
            let summary = verdict.cause.map_or(String::new(), |cause| cause.summary);
            let mut told = verdict.notes.iter().chain([&summary]);
            told.any(|told| told.contains("logged \""))
        };
        let text = "T4 is in maintenance, kept for later";
        let warns = Level::Warning;
        assert!(said(text, warns, false) && !said(text, warns, true));
        assert!(!said(text, Level::Debug, false));
        assert!(!said("\"POST /tasks HTTP/1.1\" 202", Level::Info, false));
    }

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
}
