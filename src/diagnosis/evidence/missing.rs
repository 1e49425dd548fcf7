//! A stage without evidence: whether that proves that it was not reached, and what was observed instead.

use super::{Story, Visibility, api, retries};
use crate::diagnosis::Stage;
use crate::framework::{LogEvent, Verbosity};
use crate::text::counted;
use crate::timeline::{Event, EventKind, NoAnswer, Source};

/// What stands for a stage that nothing shows.
type Missing = (Option<bool>, String);

/// It was not reached.
fn absent(observed: impl Into<String>) -> Missing {
    (Some(false), observed.into())
}

/// It may have been reached.
fn unknown(observed: impl Into<String>) -> Missing {
    (None, observed.into())
}

impl Story<'_> {
    pub(super) fn missing(&self, stage: Stage) -> Missing {
        if self.is_trace() && self.task_id.is_none() {
            return unknown("cannot tell: no task was named");
        }
        if stage > Stage::Submitted && self.task_id.is_none() && self.reached(Stage::Submitted).is_none() {
            return match api::sent_all_the_same(self) {
                Some(_) => unknown("cannot tell: the answer names no task that could be followed"),
                None => absent("not reached: there is no task"),
            };
        }
        match stage {
            Stage::Submitted => self.missing_submitted(),
            Stage::Recorded => self.missing_recorded(),
            Stage::Published | Stage::Delivered | Stage::Received
                if self.is_told_by_status_alone() && !self.is_without_message() =>
            {
                unknown("cannot tell: only a status says that the work was begun, whoever did it")
            }
            Stage::Published => self.missing_published(),
            Stage::Delivered => self.missing_delivered(),
            Stage::Received => self.missing_received(),
            Stage::Entered if self.died_in_actor().is_some() => {
                unknown("cannot tell: the process that had it died, and its last lines may be lost")
            }
            Stage::Entered if !self.could_see_entry() => unknown(self.why_entry_is_invisible()),
            Stage::Entered => {
                absent("no entry line, no status change, no traceback from the actor's own code")
            }
            Stage::Finished => self.missing_finished(),
            Stage::Settled => self.missing_settled(),
        }
    }

    /// The source saw nothing at all.
    fn blind(&self, source: Source) -> Missing {
        if source == Source::Firehose && self.timeline.setup.post_mortem {
            return unknown("unknown: RabbitMQ keeps no history, so only a run that watches it sees that");
        }
        unknown(match self.visibility(source) {
            Visibility::Blind(reason) => format!("cannot tell: {source} cannot see ({reason})"),
            _ => format!("cannot tell: {source} was not watched"),
        })
    }

    /// The firehose saw some events and not others.
    fn missed_some(&self) -> Option<Missing> {
        match (self.missed_events(), self.firehose_in_part()) {
            (0, Some(reason)) if !self.is_trace() => Some(unknown(format!(
                "cannot tell: the firehose sees in part ({reason})"
            ))),
            (0, _) => None,
            (count, _) => Some(unknown(format!(
                "cannot tell: {count} events of the firehose were missed"
            ))),
        }
    }

    /// The work was done, and no message of it was seen.
    fn done_without_message(&self) -> Option<Missing> {
        let done = self.is_without_message() && self.reached(Stage::Entered).is_some();
        done.then(|| {
            unknown(format!(
                "cannot tell: the work was done, and no message of it passed `{}`",
                self.queue()
            ))
        })
    }

    /// The request reached the API, which did not answer it.
    fn may_have_been_taken(&self) -> bool {
        let is_late = |event: &Event| match &event.kind {
            EventKind::NotAnswered { why, .. } => *why == NoAnswer::Timeout,
            _ => false,
        };
        self.timeline.events.iter().any(is_late)
    }

    fn missing_submitted(&self) -> Missing {
        if self.timeline.is_by_command() {
            return absent(match self.command_ended().map(|end| end.words()) {
                Some(words) => {
                    format!("the command {words}; exit code 0 and a task that is named are needed")
                }
                None => "the command has not ended".into(),
            });
        }
        match self.answer() {
            Some(answer) if api::sent_all_the_same(self).is_some() => unknown(format!(
                "HTTP {}, and the API had sent a message by then",
                answer.status
            )),
            Some(answer) => absent(format!("HTTP {}; a 2xx with a task id is needed", answer.status)),
            None if self.post_mortem() => unknown("not observed: the task was there before this run"),
            None if !self.was_sent() => absent("no task was sent"),
            None if self.may_have_been_taken() => {
                unknown("no HTTP answer in time: whether the API took it is not known")
            }
            None => absent("no HTTP answer"),
        }
    }

    pub(super) fn was_sent(&self) -> bool {
        let mut kinds = self.timeline.events.iter().map(|event| &event.kind);
        kinds.any(|kind| matches!(kind, EventKind::Submitting { .. }))
    }

    fn missing_recorded(&self) -> Missing {
        let Some(id) = self.task_id else {
            return unknown("cannot tell: no task was named whose row could be read");
        };
        if !self.sees(Source::Database) {
            return self.blind(Source::Database);
        }
        if self.last_row().is_none() {
            return unknown("cannot tell: the run ended before the table was read for this task");
        }
        let setup = &self.timeline.setup;
        absent(format!(
            "table `{}` has no row with {} = '{id}'",
            setup.table.as_deref().unwrap_or("?"),
            setup.id_column.as_deref().unwrap_or("its id"),
        ))
    }

    fn missing_published(&self) -> Missing {
        let queue = self.queue();
        if !self.sees(Source::Firehose) {
            return self.blind(Source::Firehose);
        }
        let Some(passage) = self.publishes.first() else {
            return self.published_unseen();
        };
        if let Some(done) = self.done_without_message() {
            return done;
        }
        absent(match self.dropped_by(passage) {
            Some(_) => format!(
                "sent to `{}` while that was down; a queue that is up is needed",
                passage.queue
            ),
            None if passage.queue == queue => {
                format!("published to `{queue}`; a queue of that name is needed")
            }
            None => format!(
                "published to `{}` only; one on `{queue}` is needed",
                passage.queue
            ),
        })
    }

    /// No publish of it was seen on any queue.
    fn published_unseen(&self) -> Missing {
        if self.is_trace() {
            return match self.visibility(Source::Firehose) {
                Visibility::Partial(reason) => unknown(format!("cannot tell: {reason}")),
                _ => self.missed_some().unwrap_or_else(|| {
                    unknown(
                        "cannot tell: it was not published while this was traced; before, it may have been",
                    )
                }),
            };
        }
        self.missed_some()
            .or_else(|| self.done_without_message())
            .unwrap_or_else(|| {
                absent(format!(
                    "no message with this task id on `{}`; the API must send one",
                    self.queue()
                ))
            })
    }

    fn missing_delivered(&self) -> Missing {
        let queue = self.queue();
        if self.sees(Source::Firehose)
            && (self.missed_events() > 0 || !self.was_taken_by_nobody())
            && let Some(missed) = self.missed_some()
        {
            return missed;
        }
        if self.is_trace() {
            return match (self.sees_all(Source::Firehose), self.publishes.is_empty()) {
                (false, _) => unknown("cannot tell: not everything of the vhost was traced"),
                (_, true) => unknown(
                    "cannot tell: it was not delivered while this was traced; before, it may have been",
                ),
                _ => absent(format!("no delivery from `{queue}` until the trace ended")),
            };
        }
        if let Some(done) = self.done_without_message() {
            return done;
        }
        let last = self.depths(queue).last();
        if let Some(down) = self.down(queue).last()
            && last.is_none_or(|last| last.at_ms < down.at_ms)
        {
            return absent(format!("`{queue}` is down: {}", down.value));
        }
        match last {
            None if !self.sees(Source::Firehose) => self.blind(Source::Firehose),
            None => absent(format!("no delivery from `{queue}`")),
            Some(depth) if !depth.exists => absent(format!("queue `{queue}` does not exist")),
            Some(depth) if depth.consumers == 0 => absent(format!(
                "`{queue}` has no consumer, and {} in it",
                waiting(depth.ready)
            )),
            // Nothing was published: there was no message to deliver.
            Some(_) if self.sees_all(Source::Firehose) && self.publishes.is_empty() => {
                absent("there was no message to deliver")
            }
            Some(_) if self.waits_for_its_time().is_some() => {
                let (place, due) = self.waits_for_its_time().unwrap_or_default();
                (
                    self.sees(Source::Firehose).then_some(false),
                    format!("it waits on `{place}` until {due}"),
                )
            }
            Some(depth) => {
                let consumers = counted(depth.consumers, "consumer", "consumers");
                let turn = if depth.ready == 0 { "" } else { TURN };
                let text = format!(
                    "{consumers} on `{queue}`, and {} in it{turn}",
                    waiting(depth.ready)
                );
                (self.sees(Source::Firehose).then_some(false), text)
            }
        }
    }

    /// Where it is kept until its time comes, and when that is.
    fn waits_for_its_time(&self) -> Option<(String, String)> {
        let passage = retries::waiting_message(self)?;
        let is_kept = passage.queue != self.queue() && !retries::moved_on(self);
        let is_early = retries::eta_left_ms(self, passage).is_some_and(|left| left > 0.0);
        (is_kept && is_early).then_some(())?;
        Some((passage.queue.to_owned(), self.due(passage.message.eta_ms?)))
    }

    fn missing_received(&self) -> Missing {
        if let Some(done) = self.done_without_message() {
            return done;
        }
        if self.started_worker_is_dead() {
            return absent("the worker that was started has ended");
        }
        if !self.sees(Source::WorkerLog) {
            return self.blind(Source::WorkerLog);
        }
        if self.taken_by_another() {
            return unknown("cannot tell: it was delivered to a process that does not write the watched log");
        }
        if self.may_have_died_in_its_run() {
            return unknown("cannot tell: it died with whoever had it, and no line says when a run begins");
        }
        if self.taker_is_gone().is_some() {
            return unknown(
                "cannot tell: the process that was handed it has ended, and its last lines may be lost",
            );
        }
        if self.log_was_cut() {
            return unknown(
                "cannot tell: the worker's log was truncated or replaced meanwhile, and lines may be lost",
            );
        }
        if !self.debug_log() {
            return self.log_is_too_quiet();
        }
        if self.framework().log.tells_at == Verbosity::Info {
            return unknown("cannot tell: no line says when a worker begins with a message");
        }
        absent("no worker thread took it (the worker's log has no `Received message`)")
    }

    fn log_is_too_quiet(&self) -> Missing {
        let framework = self.framework();
        let level = match framework.log.tells_at {
            Verbosity::Debug => "DEBUG",
            Verbosity::Info => "INFO",
        };
        let flag = framework.worker.debug_flag;
        let text = format!("cannot tell: the worker's log is not at {level}; start it with {flag}");
        unknown(text)
    }

    fn why_entry_is_invisible(&self) -> String {
        let log = if !self.sees(Source::WorkerLog) {
            "the worker's log is not seen"
        } else if self.line(|mark| matches!(mark, LogEvent::Called)).is_some() {
            "the worker's log says that it was called, not whether that came to its own code"
        } else if self.post_mortem() && self.lines().is_empty() {
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

    fn missing_finished(&self) -> Missing {
        if !self.sees(Source::Database) {
            return self.blind(Source::Database);
        }
        match self.last_row() {
            Some(row)
                if row.present
                    && row
                        .status
                        .as_ref()
                        .is_some_and(|status| self.timeline.setup.succeeded.contains(status)) =>
            {
                unknown(format!(
                    "the row says {}, and nothing shows that this run wrote that",
                    row.status.as_deref().unwrap_or("NULL")
                ))
            }
            Some(row) if row.present && self.timeline.setup.succeeded.is_empty() => unknown(format!(
                "the row's status is {}, and `database.succeeded` names none that would be a success",
                row.status.as_deref().unwrap_or("NULL")
            )),
            Some(row) if row.present => absent(format!(
                "the row's status is {}; {} is needed",
                row.status.as_deref().unwrap_or("NULL"),
                self.timeline.setup.succeeded.join(" or ")
            )),
            Some(_) => match self.api_status() {
                Some(said)
                    if self
                        .timeline
                        .setup
                        .succeeded
                        .iter()
                        .any(|done| done == said.value) =>
                {
                    unknown(format!(
                        "cannot tell: the API says {said}, and no row is seen that would show it"
                    ))
                }
                _ => absent("no row"),
            },
            None => unknown("cannot tell: the row was not read"),
        }
    }

    fn missing_settled(&self) -> Missing {
        if !self.acknowledges_after_the_run() {
            return unknown(
                "unknown: RabbitMQ does not report acknowledgements, and no line of the log does",
            );
        }
        let flag = self.framework().worker.debug_flag;
        unknown(format!(
            "unknown: RabbitMQ does not report acknowledgements; a worker run with {flag} logs them"
        ))
    }
}

const TURN: &str = "; this one must come to the front, and a worker slot must be free";

/// `1 message waits`, `2 messages wait`.
fn waiting(ready: u64) -> String {
    if ready == 0 {
        return "no message waits".into();
    }
    counted(ready, "message waits", "messages wait")
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::testing::Scene;
    use crate::diagnosis::{Scenario, Stage};
    use crate::timeline::{EventKind, Source};

    /// A drafted file may name no status that is a success: then nothing is called unfinished.
    #[test]
    fn without_a_status_of_success_none_can_be_told() {
        use crate::diagnosis::Outcome;
        let done = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            let scene = Scene::entered().setup(|setup| setup.succeeded = names);
            scene.completed().acked("m-1").row("BOUND").silence().verdict()
        };
        let unknown = done(&[]);
        assert_eq!(unknown.outcome, Outcome::Unknown);
        let said = |stage: &crate::diagnosis::Reached| stage.observed.clone().unwrap_or_default();
        let all: Vec<String> = unknown.stages.iter().map(said).collect();
        assert!(
            all.iter()
                .any(|text| text.contains("`database.succeeded` names none")),
            "{all:?}"
        );
        assert_eq!(done(&["DONE"]).outcome, Outcome::Unfinished);
        assert_eq!(done(&["BOUND"]).outcome, Outcome::Succeeded);
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

    /// Celery at INFO: a line when a worker has it, and none before its end.
    #[test]
    fn a_log_without_a_line_of_the_beginning_shows_no_absence() {
        use crate::diagnosis::causes::celery::scenes::CeleryScene;
        let quiet = CeleryScene::received()
            .and(|scene| scene.setup(|setup| setup.entry_pattern = None))
            .silence();
        assert_eq!(stages(&quiet)[Stage::Entered as usize], None);
        assert_ne!(quiet.verdict().scenario, Some(Scenario::C));
    }
}
