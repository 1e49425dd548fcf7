//! A task whose end nothing but the log and the broker shows.

use super::{Fact, Story, WorkerLine, broker, row};
use crate::framework::LogEvent;
use crate::timeline::{EventKind, Level, Source};

impl<'a> Story<'a> {
    /// Where neither a row nor the API says what became of it: the actor returned, the broker was told so,
    /// and nothing came back. Below DEBUG a line of the application's own shows the entry, and the
    /// broker's count that it is acknowledged; a failure would have been logged.
    pub fn returned_for_good(&self) -> Option<Vec<u32>> {
        let says = self.api_status().filter(|said| !self.is_a_new_word(said));
        let is_told = self.timeline.setup.table.is_some() || says.is_some();
        if is_told || self.post_mortem() || !self.sees_all(Source::Firehose) || !self.sees(Source::WorkerLog)
        {
            return None;
        }
        self.published()?;
        let came_back = self.publishes.iter().any(|passage| passage.message.is_retry())
            || self.deliveries().any(|passage| passage.redelivered)
            || broker::dead_letters_rose(self);
        let says_otherwise = |told: &WorkerLine<'_>| {
            let mark = told.mark;
            mark.is_some_and(|mark| {
                mark.fails_attempt()
                    || mark.denies_entry()
                    || matches!(
                        mark,
                        LogEvent::NeverAwaited | LogEvent::Ignored | LogEvent::Requeued
                    )
            })
        };
        // The next step of the same task, or the same step once more, decides what becomes of it.
        let goes_on = self.successors().next().is_some();
        let failed_inside = self.lines.iter().any(|told| {
            told.mark.is_none() && told.line.level >= Some(Level::Error) && told.line.traceback.is_some()
        });
        if came_back
            || goes_on
            || failed_inside
            || !self.raised.is_empty()
            || self.worker_lines.iter().any(says_otherwise)
        {
            return None;
        }
        if let Some(done) = self.line(|mark| matches!(mark, LogEvent::Succeeded { .. })) {
            return Some(vec![done.n]);
        }
        let completed = self.line(|mark| matches!(mark, LogEvent::Completed));
        let acked = self.line(|mark| matches!(mark, LogEvent::Acknowledging { .. }));
        if let (Some(returned), Some(over)) = (completed, acked) {
            return Some(vec![returned.n, over.n]);
        }
        if let Some((told, acked)) = self.ran_between() {
            return Some(vec![told.n, acked.n]);
        }
        let (_, entered) = self.own_words().into_iter().next()?;
        let drained = broker::drained(self).filter(|_| self.closed())?;
        Some(vec![entered, drained])
    }

    /// Without a database no status is configured as a good or a bad one. The API had not said this word before the actor
    /// returned, and it speaks of no failure: it says no less than an API that says nothing.
    fn is_a_new_word(&self, said: &Fact<&str>) -> bool {
        const OF_A_FAILURE: &[&str] = &[
            "fail", "err", "abort", "cancel", "reject", "dead", "timeout", "crash",
        ];
        let setup = &self.timeline.setup;
        let settled = || self.ran_between().map(|(_, acked)| *acked);
        let Some(returned) = self.last_return().copied().or_else(settled) else {
            return false;
        };
        let returned = returned.at_ms;
        let word = said.value.to_lowercase();
        let was_said = self.find(|event| match &event.kind {
            EventKind::ApiStatus { value, .. } if event.at_ms <= returned => {
                (value.as_deref() == Some(said.value)).then_some(event.n)
            }
            _ => None,
        });
        setup.succeeded.is_empty()
            && setup.failed.is_empty()
            && said.at_ms > returned
            && was_said.is_none()
            && !row::is_before_the_work(&word)
            && !OF_A_FAILURE.iter().any(|part| word.contains(part))
    }

    /// A line says that the attempt failed, and none that it went on to a good end. That its time was over fails
    /// nothing by itself: a task may swallow the exception, and go on.
    pub(super) fn is_said_to_have_failed(&self) -> bool {
        let is_good = |told: &&WorkerLine<'_>| matches!(told.mark, Some(LogEvent::Succeeded { .. }));
        let returned = self.lines.iter().rfind(is_good).map(|told| told.n);
        let fails = |mark: &LogEvent| mark.fails_attempt() && !matches!(mark, LogEvent::TimeLimit);
        self.lines
            .iter()
            .any(|told| returned.is_none_or(|returned| told.n > returned) && told.mark.is_some_and(fails))
    }

    /// The worker told of the message when it took it, then in the application's words of the task, and then that it
    /// acknowledges it: what keeps a call from being made, or ends it otherwise, it tells of.
    pub(super) fn ran_between(&self) -> Option<(&WorkerLine<'a>, &WorkerLine<'a>)> {
        let (begun, acked) = self.taken_and_acknowledged()?;
        let is_between = |told: &&WorkerLine<'_>| told.n > begun.n && told.n < acked.n;
        let mut between = self.lines.iter().filter(is_between);
        let told = between.find(|told| told.mark.is_none() && told.line.carries_task_id)?;
        Some((told, acked))
    }

    /// Where its log says nothing else of the message: it took it, and acknowledged it.
    pub(super) fn taken_and_acknowledged(&self) -> Option<(&WorkerLine<'a>, &WorkerLine<'a>)> {
        let is_ack = |told: &WorkerLine<'_>| matches!(told.mark, Some(LogEvent::Acknowledging { .. }));
        let acked = self.lines.iter().rposition(is_ack)?;
        let begins =
            |told: &WorkerLine<'_>| matches!(told.mark, Some(LogEvent::Received { .. } | LogEvent::Called));
        let begun = self.lines[..acked].iter().position(begins)?;
        let otherwise = |told: &WorkerLine<'_>| {
            told.mark.is_some_and(|mark| {
                let fails = mark.fails_attempt() || mark.denies_entry() || mark.settles();
                fails || matches!(mark, LogEvent::Failed { .. } | LogEvent::NeverAwaited)
            })
        };
        let is_clean = !self.acknowledged_early
            && !self.log_was_cut()
            && !self.says_not_entered()
            && !self.lines[begun + 1..acked].iter().any(otherwise);
        is_clean.then(|| (&self.lines[begun], &self.lines[acked]))
    }

    /// Where the application itself speaks of the task in the watched log.
    fn own_words(&self) -> Vec<(f64, u32)> {
        let entries = self.entries.iter().map(|told| (told.at_ms, told.n));
        entries.chain(self.own_lines()).collect()
    }
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::Outcome;
    use crate::diagnosis::testing::{Scene, WORKER};

    /// What a logger at WARNING says nothing of: an exception that the actor declares. Another message passed as well.
    #[test]
    fn a_dead_letter_more_is_no_success() {
        let ended = |dead: u64| {
            let none = serde_json::json!({});
            let scene = Scene::quiet(|scene| {
                scene
                    .totals("default", 0, 0, serde_json::json!({}))
                    .depth("default.XQ", 0, 0)
            });
            let scene = scene
                .without_a_database()
                .info("app", "ACTOR ENTRY task_id=task_1")
                .publish_as("default", WORKER, Scene::message("x-9"))
                .deliver_as("x-9", WORKER, false)
                .totals("default", 0, 0, none)
                .depth("default.XQ", dead, 0);
            scene.silence().verdict().outcome
        };
        assert_eq!(ended(0), Outcome::Succeeded);
        for dead in [1, 2] {
            assert_ne!(ended(dead), Outcome::Succeeded);
        }
    }
}
