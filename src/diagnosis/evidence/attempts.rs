//! Attempts: after one that failed, or whose process died, the same message is run again, and what counts is the last.

use super::{Fact, Story, WorkerLine, stacks};
use crate::framework::LogEvent;

/// Lines of attempts that a later one has replaced.
#[derive(Debug, Clone)]
pub struct Earlier<'a> {
    lines: Vec<WorkerLine<'a>>,
    /// The first line of the last attempt.
    until: WorkerLine<'a>,
}

impl<'a> Story<'a> {
    /// Only where all attempts are looked at: afterwards, and where retries are waited for. Otherwise the run is about the
    /// attempt that it has sent.
    pub(super) fn set_earlier_attempts_aside(&mut self) {
        let all = self.post_mortem() || self.timeline.setup.wait_retries;
        let is_waiting = self.held.iter().any(|held| held.passage.message.is_retry());
        if !all || is_waiting || self.ambiguous {
            return;
        }
        let Some(at) = self.last_attempt_begins() else {
            return;
        };
        let last = self.lines.split_off(at);
        let earlier = std::mem::replace(&mut self.lines, last);
        let until = self.lines[0];
        self.entries.retain(|told| told.n >= until.n);
        self.earlier = Some(Earlier {
            until,
            lines: earlier,
        });
    }

    /// The first line of the last attempt, where the one before it failed, was put off, died with its process, or where
    /// the broker has handed the message out again since.
    fn last_attempt_begins(&self) -> Option<usize> {
        let failed = |told: &WorkerLine<'_>| {
            told.mark.is_some_and(|mark| {
                matches!(mark, LogEvent::Failed { .. } | LogEvent::Retrying { .. })
                    || mark.fails_attempt()
                    || mark.denies_entry()
            })
        };
        let first_failure = self.lines.iter().position(failed);
        let deaths: Vec<Fact<i32>> = self.worker_lines.iter().filter_map(died).collect();
        let first_word = self.lines[..first_failure.unwrap_or(self.lines.len())]
            .iter()
            .find(|told| told.mark.is_none() && told.line.carries_task_id);
        let begins = |told: &WorkerLine<'_>| match told.mark {
            Some(LogEvent::Received { id, .. }) => {
                self.acknowledges_after_the_run() && self.is_my_message(id)
            }
            Some(_) => false,
            // A quiet log tells of a run by its first word alone.
            None => told.line.entry || first_word.is_some_and(|first| first.line.text == told.line.text),
        };
        let died_between = |begun: &WorkerLine<'_>, told: &WorkerLine<'_>| {
            let is_its = |pid: i32| begun.line.pid.is_none_or(|own| own == pid);
            let mut deaths = deaths.iter();
            deaths.any(|died| died.n > begun.n && died.n < told.n && is_its(died.value))
        };
        // It had given up the run before: that one's process or connection was lost.
        let is_handed_out =
            |told: &WorkerLine<'_>| matches!(told.mark, Some(LogEvent::Pushed { delay: false, .. }));
        let mut begun: Option<&WorkerLine<'_>> = None;
        // From then on a word of the task's own is of the retry.
        let mut due_at = None;
        let mut after_a_failure = false;
        let mut is_final = false;
        let mut found = None;
        for (at, told) in self.lines.iter().enumerate() {
            // Behind the framework's last word it was sent again, under the same id.
            let comes_again = is_final && matches!(told.mark, Some(LogEvent::Pushed { .. }));
            let speaks = told.mark.is_none() && told.is_by_the_task();
            let is_due = speaks && due_at.take_if(|due| told.at_ms > *due).is_some();
            if let Some(LogEvent::Retrying { in_ms, .. }) = told.mark {
                due_at = Some(told.at_ms + *in_ms as f64 / 2.0);
            }
            if failed(told) {
                after_a_failure = true;
                is_final =
                    self.framework().failure_is_final && matches!(told.mark, Some(LogEvent::Failed { .. }));
            } else if is_handed_out(told) && self.acknowledges_after_the_run() && begun.take().is_some() {
                found = Some(at);
                after_a_failure = false;
            } else if comes_again || is_due || begins(told) {
                if after_a_failure || begun.is_some_and(|begun| died_between(begun, told)) {
                    found = Some(at);
                    after_a_failure = false;
                }
                begun = Some(told);
            }
        }
        found
    }

    /// Its thread told the broker that it had done with the message, and then called the actor with it.
    pub(super) fn is_acknowledged_before_its_run(&self) -> bool {
        let begins = |told: &WorkerLine<'_>| told.line.entry || matches!(told.mark, Some(LogEvent::Called));
        self.lines.iter().enumerate().any(|(at, settled)| {
            let is_its =
                |told: &&WorkerLine<'_>| told.thread() == settled.thread() && told.line.thread.is_some();
            let next = self.lines[at + 1..].iter().find(is_its);
            matches!(settled.mark, Some(LogEvent::Acknowledging { .. }))
                && (next.is_some_and(begins) || self.stands_in_its_call(settled))
        })
    }

    /// By a later look the thread that wrote this line stands in a task's call, and it has taken no other message since.
    fn stands_in_its_call(&self, settled: &WorkerLine<'_>) -> bool {
        let (Some(pid), Some(name)) = (settled.pid, settled.line.thread.as_deref()) else {
            return false;
        };
        let shape = &self.framework().stack;
        let takes = |told: &WorkerLine<'_>| {
            told.n > settled.n
                && told.thread() == settled.thread()
                && matches!(told.mark, Some(LogEvent::Received { .. } | LogEvent::Called))
        };
        let mut threads = stacks::last_dump(self, pid);
        !self.worker_lines.iter().any(takes)
            && threads.any(|thread| {
                thread.at_ms > settled.at_ms && thread.name() == name && thread.is_in_a_task(shape)
            })
    }

    /// The broker counts none as unacknowledged, and by a later look a thread stands in the task's function, of which no
    /// other message was seen: what it runs was acknowledged before its run.
    pub(in crate::diagnosis) fn runs_what_nobody_holds(&self) -> bool {
        let last = self.infos(self.queue()).last();
        let none_held = last.filter(|info| info.unacked == Some(0) && !self.others_were_delivered());
        none_held.is_some_and(|info| stacks::is_in_its_function(self, info.counted_ms))
    }

    /// The last call has returned; only its acknowledgement is missing.
    pub(in crate::diagnosis) fn call_has_returned(&self) -> bool {
        let mut lines = self.lines.iter().rev();
        let last = lines.find_map(|told| match told.mark {
            Some(mark) if mark.ends_call() => Some(true),
            Some(LogEvent::Received { .. } | LogEvent::Called) => Some(false),
            _ => None,
        });
        last.unwrap_or(false)
    }

    /// What an earlier attempt raised: the first line of its failure.
    pub(in crate::diagnosis) fn raised_earlier(&self) -> Option<Fact<String>> {
        let lines = &self.earlier.as_ref()?.lines;
        let failed = lines
            .iter()
            .rfind(|told| matches!(told.mark, Some(LogEvent::Failed { .. })))?;
        let traceback = failed.line.traceback.as_deref()?;
        let trace = self.framework().traceback(traceback)?;
        Some(Fact::new(failed.n, failed.at_ms, trace.exception))
    }

    /// Afterwards: the log's last attempt failed, and the row says that the task has succeeded. A retry whose lines are in
    /// another log leaves the same, or one that was sent by hand; and so does an older run.
    pub(in crate::diagnosis) fn may_have_succeeded_since(&self) -> Option<Fact<&'a str>> {
        let fails = |mark: &LogEvent| {
            matches!(
                mark,
                LogEvent::Retrying { .. } | LogEvent::RetriesExceeded { .. } | LogEvent::Failed { .. }
            )
        };
        self.says_success_afterwards()
            .filter(|_| self.line(fails).is_some())
    }

    /// Whatever became of the run that the log tells of, afterwards the row says that the task has succeeded.
    pub(in crate::diagnosis) fn says_success_afterwards(&self) -> Option<Fact<&'a str>> {
        let succeeded = &self.timeline.setup.succeeded;
        let row = self.rows.last().filter(|row| self.post_mortem() && row.present)?;
        let status = row.value.status.as_deref()?;
        let is_good = succeeded.iter().any(|good| good == status);
        is_good.then(|| row.with(status))
    }

    /// Of an attempt that another one has replaced.
    pub(super) fn is_of_an_earlier_attempt(&self, at_ms: f64) -> bool {
        let until = self.earlier.as_ref().map(|earlier| earlier.until);
        until.is_some_and(|until| at_ms < until.at_ms)
    }

    /// Written before the last attempt began, where an earlier one has ended.
    pub(super) fn stands_before_the_last_attempt(&self, told: &WorkerLine<'_>) -> bool {
        let until = self.earlier.as_ref().map(|earlier| earlier.until);
        until.is_some_and(|until| told.n < until.n)
    }
}

/// The line says that a process died, which has this pid there.
fn died(told: &WorkerLine<'_>) -> Option<Fact<i32>> {
    match told.mark {
        Some(LogEvent::ChildDied { pid, .. }) => Some(Fact::new(told.n, told.at_ms, *pid)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::testing::Scene;
    use crate::diagnosis::{Certainty, Outcome, Story};
    use crate::timeline::{Ended, Source};

    const RECEIVED: &str = "Received message act('task_1') with id 'm-1'.";

    /// Its first attempt raised, and was to be retried.
    fn raised_once() -> Scene {
        Scene::new()
            .given()
            .from_before(5)
            .debug("dramatiq.worker.WorkerThread", RECEIVED)
            .info("app", "ACTOR ENTRY task_id=task_1")
            .raised("ValueError: no")
            .retrying()
            .acked("m-1")
    }

    fn looked(scene: Scene, status: &str) -> (String, Outcome, Certainty) {
        let verdict = scene
            .from_now_on()
            .row(status)
            .end(Ended::Looked)
            .without(Source::Firehose)
            .verdict();
        let cause = verdict.cause.expect("a cause");
        (cause.id, verdict.outcome, cause.certainty)
    }

    #[test]
    fn what_counts_is_the_last_attempt() {
        // It may have been sent again since, unless nothing waits and nobody has any.
        let empty = raised_once().totals("default", 0, 0, serde_json::json!({}));
        for (scene, sure) in [(empty, Certainty::Certain), (raised_once(), Certainty::Likely)] {
            let (id, outcome, certainty) = looked(scene, "PENDING");
            assert_eq!(
                (id.as_str(), outcome, certainty),
                ("actor-raised", Outcome::Failed, sure)
            );
        }
        let again = |scene: Scene| scene.debug("dramatiq.worker.WorkerThread", RECEIVED);
        let entered = |scene: Scene| again(scene).info("app", "ACTOR ENTRY task_id=task_1");
        let (id, outcome, _) = looked(entered(raised_once()), "PENDING");
        assert_eq!(
            (id.as_str(), outcome),
            ("actor-still-running", Outcome::Unfinished)
        );
        let swallowed = entered(raised_once()).completed().acked("m-1");
        let (id, outcome, _) = looked(swallowed, "PENDING");
        assert_eq!((id.as_str(), outcome), ("row-never-written", Outcome::Unfinished));
        let failed_again = entered(raised_once()).raised("ValueError: no");
        assert_eq!(looked(failed_again, "PENDING").0, "actor-raised");
    }

    /// A name that people give is given again: the log's failure may be last week's.
    #[test]
    fn an_id_of_words_may_have_been_there_before() {
        use crate::timeline::EventKind;
        let failed = |id: &str| {
            let mut scene = raised_once().totals("default", 0, 0, serde_json::json!({}));
            for event in &mut scene.timeline.events {
                if let EventKind::Given { task_id } = &mut event.kind {
                    *task_id = id.into();
                }
            }
            looked(scene, "PENDING")
        };
        assert_eq!(failed("weekly-2026-11").2, Certainty::Certain);
        let named = failed("weekly-report");
        assert_eq!((named.0.as_str(), named.2), ("actor-raised", Certainty::Likely));
    }

    /// The API sends under an id of its own choice, and the last run had failed.
    #[test]
    fn a_message_behind_the_last_failure_is_another_attempt() {
        use crate::timeline::{EventKind, Level};
        let id = "rcpt:daily";
        let task = |said: &str| format!("Task print/receipt[{id}] {said}");
        let raised = task("raised unexpected: OSError('jam')");
        let retried = task("retry: Retry in 2s: OSError('jam')");
        let looked = |lines: &[&str]| {
            let scene = Scene::new().setup(|setup| {
                setup.framework = "celery".into();
                setup.post_mortem = true;
                setup.actor = Some("print/receipt".into());
            });
            let given = EventKind::Given { task_id: id.into() };
            let scene = scene.see(Source::Api, given).from_before(5);
            let scene = lines
                .iter()
                .fold(scene, |scene, text| scene.plain(Some(Level::Info), text));
            let scene = scene.from_now_on().end(Ended::Looked);
            Story::new(&scene.timeline).earlier.is_some()
        };
        let received = task("received");
        assert!(looked(&[&received, &raised, &received]));
        assert!(!looked(&[&received, &raised]));
        // A retry that waits for its time is the same attempt's.
        assert!(!looked(&[&received, &retried, &received]));
    }

    /// Given back as its process died, and taken again: by the same log, or by none.
    #[test]
    fn one_that_died_with_its_process_is_replaced_as_well() {
        let taken = |scene: Scene| {
            scene
                .debug("dramatiq.worker.WorkerThread", RECEIVED)
                .info("app", "ACTOR ENTRY task_id=task_1")
        };
        let dies = |scene: Scene, pid: u32| {
            let text = format!("Worker with PID {pid} exited unexpectedly (code -9). Shutting down...");
            scene.critical("dramatiq.MainProcess", &text)
        };
        let first = || taken(Scene::new().given().from_before(5));
        let again = taken(dies(first(), 101));
        assert_eq!(looked(again.clone(), "PENDING").0, "actor-still-running");
        assert_eq!(looked(dies(again, 101), "PENDING").0, "worker-died-in-actor");
        // Another process's death ends none of this one's runs.
        let anothers = taken(dies(first(), 102));
        assert!(Story::new(&anothers.timeline).earlier.is_none());
    }

    /// The delay queue's consumer takes it as well.
    #[test]
    fn that_it_waits_for_its_time_begins_no_attempt() {
        let waits = raised_once().debug(
            "dramatiq.worker.ConsumerThread(default.DQ)",
            "Pushing message 'm-1' onto delay queue.",
        );
        let (id, outcome, _) = looked(waits, "PENDING");
        assert_eq!((id.as_str(), outcome), ("actor-raised", Outcome::Failed));
    }

    /// The worker that ran the retry may write another log.
    #[test]
    fn a_row_that_says_success_may_be_a_retrys() {
        let (id, outcome, certainty) = looked(raised_once(), "COMPLETED");
        assert_eq!(
            (id.as_str(), outcome, certainty),
            ("actor-raised", Outcome::Unknown, Certainty::Possible)
        );
    }

    /// The broker gives a message out again when it has given up the run before: that one's process, or its connection,
    /// is lost, and nothing that it logged says how far this one is.
    #[test]
    fn what_was_handed_out_again_is_run_anew() {
        let first = || {
            Scene::new()
                .given()
                .from_before(5)
                .pushed("m-1")
                .debug("dramatiq.worker.WorkerThread", RECEIVED)
        };
        let waits = first().pushed("m-1");
        assert!(
            !waits.cause().ends_with("blocked-before-entry"),
            "{}",
            waits.cause()
        );
        let done = first()
            .info("app", "ACTOR ENTRY task_id=task_1")
            .completed()
            .acked("m-1");
        let again = done
            .clone()
            .pushed("m-1")
            .debug("dramatiq.worker.WorkerThread", RECEIVED)
            .info("app", "ACTOR ENTRY task_id=task_1");
        assert_eq!(looked(done, "PENDING").0, "row-never-written");
        assert_eq!(looked(again, "PENDING").0, "actor-still-running");
        assert!(Story::new(&first().timeline).earlier.is_none());
    }

    /// A hook of the application's tells the broker so that the message is never run twice.
    #[test]
    fn an_acknowledgement_before_the_run_ends_nothing() {
        let logger = "dramatiq.worker.WorkerThread";
        let early = |after: fn(Scene) -> Scene| {
            let scene = Scene::delivered().debug(logger, RECEIVED).acked("m-1");
            let scene = scene.debug("app.act", "Received args=('task_1',) kwargs={}.");
            after(scene.info("app", "ACTOR ENTRY task_id=task_1"))
                .totals("default", 0, 0, serde_json::json!({}))
                .row("RUNNING")
                .timeout()
        };
        let runs = early(|scene| scene);
        assert!(runs.cause().ends_with("actor-still-running"), "{}", runs.cause());
        let returned = early(Scene::completed);
        assert!(
            returned.cause().ends_with("row-never-written"),
            "{}",
            returned.cause()
        );
        // No line says that it was called: its thread stands in the call.
        let stands = |more: fn(Scene) -> Scene| {
            let scene = more(Scene::received().acked("m-1")).stack(
                101,
                "Thread-4",
                &[
                    ("crunch", "/app/core.py"),
                    ("__call__", "/v/site-packages/dramatiq/actor.py"),
                    ("process_message", "/v/site-packages/dramatiq/worker.py"),
                ],
            );
            Story::new(&scene.silence().timeline).acknowledged_early
        };
        assert!(stands(|scene| scene));
        let took_another: fn(Scene) -> Scene = |scene| {
            scene.debug(
                "dramatiq.worker.WorkerThread",
                "Received message other() with id 'm-2'.",
            )
        };
        assert!(!stands(took_another));
        // The same thread took another message afterwards.
        let usual = Scene::entered().completed().acked("m-1");
        assert!(!Story::new(&usual.timeline).acknowledged_early);
    }

    /// Each worker writes a log of its own: the retry came long ago, and this one has nothing of it.
    #[test]
    fn a_retry_that_ran_elsewhere_is_the_last_attempt() {
        let looked = |after_ms: f64, waiting: u64| {
            let mut scene = raised_once().totals("default", 0, 0, serde_json::json!({}));
            for event in &mut scene.timeline.events {
                event.stated = Some("2026-11-30 10:58:25,998".into());
            }
            let scene = scene
                .from_now_on()
                .at(after_ms)
                .depth("default.DQ", waiting, 1)
                .row("RUNNING");
            let scene = scene.end(Ended::Looked).without(Source::Firehose);
            scene.verdict().cause.expect("a cause").certainty
        };
        assert_eq!(looked(60_000.0, 0), Certainty::Likely);
        assert_eq!(looked(60_000.0, 1), Certainty::Certain);
        assert_eq!(looked(9_000.0, 0), Certainty::Certain);
    }

    /// Sent again by hand, and run by another worker.
    #[test]
    fn a_row_that_says_success_is_no_failure() {
        let ended = |status: &str| {
            let scene = raised_once()
                .warning(
                    "dramatiq.middleware.retries.Retries",
                    "Retries exceeded for message 'm-1'.",
                )
                .totals("default", 0, 0, serde_json::json!({}));
            looked(scene, status)
        };
        let (id, outcome, certainty) = ended("COMPLETED");
        assert_eq!(
            (id.as_str(), outcome, certainty),
            ("actor-raised", Outcome::Failed, Certainty::Likely)
        );
        assert_eq!(ended("RUNNING").2, Certainty::Certain);
    }
}
