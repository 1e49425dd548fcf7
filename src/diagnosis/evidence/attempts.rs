//! Attempts: after a failed one the same message is run again, and what counts is the last.

use super::{Fact, Story, WorkerLine};
use crate::framework::LogEvent;

/// Lines of attempts that a later one has replaced.
#[derive(Debug, Clone)]
pub struct Earlier<'a> {
    pub(super) lines: Vec<WorkerLine<'a>>,
    /// When the last attempt began.
    pub(super) until: f64,
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
        let begun = &self.lines[0];
        self.entries.retain(|told| told.n >= begun.n);
        self.earlier = Some(Earlier {
            until: begun.at_ms,
            lines: earlier,
        });
    }

    /// The first line of the last attempt, where the one before it failed, or was put off.
    fn last_attempt_begins(&self) -> Option<usize> {
        let failed = |told: &WorkerLine<'_>| {
            told.mark.is_some_and(|mark| {
                matches!(mark, LogEvent::Failed { .. } | LogEvent::Retrying { .. })
                    || mark.fails_attempt()
                    || mark.denies_entry()
            })
        };
        let first_failure = self.lines.iter().position(failed)?;
        let first_word = self.lines[..first_failure]
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
        let mut after_a_failure = false;
        let mut found = None;
        for (at, told) in self.lines.iter().enumerate() {
            if failed(told) {
                after_a_failure = true;
            } else if after_a_failure && begins(told) {
                found = Some(at);
                after_a_failure = false;
            }
        }
        found
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

    /// Afterwards: the log's last attempt was to be retried, and the row says that the task has succeeded. A retry whose
    /// lines are in another log leaves the same; and so does an older run.
    pub(in crate::diagnosis) fn may_have_succeeded_since(&self) -> Option<Fact<&'a str>> {
        let succeeded = &self.timeline.setup.succeeded;
        let row = self.rows.last().filter(|row| row.present)?;
        let status = row.value.status.as_deref()?;
        let is_good = succeeded.iter().any(|good| good == status);
        let retries = self.line(|mark| matches!(mark, LogEvent::Retrying { .. }));
        (self.post_mortem() && is_good && retries.is_some()).then(|| row.with(status))
    }

    /// Of an attempt that another one has replaced.
    pub(super) fn is_of_an_earlier_attempt(&self, at_ms: f64) -> bool {
        self.earlier.as_ref().is_some_and(|earlier| at_ms < earlier.until)
    }
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::testing::Scene;
    use crate::diagnosis::{Certainty, Outcome};
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
        let (id, outcome, certainty) = looked(raised_once(), "PENDING");
        assert_eq!(
            (id.as_str(), outcome, certainty),
            ("actor-raised", Outcome::Failed, Certainty::Certain)
        );
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
}
