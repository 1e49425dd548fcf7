//! What the stages that were reached say: how far the task came, and what became of it.

use super::{Fact, Story, retries};
use crate::diagnosis::{Outcome, Stage};
use crate::framework::LogEvent;
use crate::timeline::{Event, EventKind, Row, Source};

impl Story<'_> {
    /// Afterwards: its table was read and has no row with this id, and neither the API, nor a log, nor a message that
    /// was looked at has it. Whatever else is wrong there is not about this task.
    pub fn is_known_to_nobody(&self) -> bool {
        let elsewhere = |event: &Event| matches!(event.kind, EventKind::RowElsewhere { .. }).then_some(());
        self.post_mortem()
            && !self.is_trace()
            && self.last_row().is_some_and(|row| !row.present)
            && self.rows().iter().all(|row| !row.present)
            && self.publishes.is_empty()
            && self.deliveries.is_empty()
            && self.lines.is_empty()
            && self.held.is_empty()
            && self.api_status().is_none()
            && self.find(elsewhere).is_none()
    }

    /// Afterwards, with nothing to show whether a message was sent for the task.
    pub fn may_have_been_sent(&self) -> bool {
        self.post_mortem()
            && !self.is_trace()
            && self.furthest().is_some_and(|stage| stage < Stage::Published)
    }

    /// A line says that this message will not run, or did not get into the actor.
    pub fn says_not_entered(&self) -> bool {
        self.raised.iter().any(|raised| !raised.entered())
            || self
                .lines
                .iter()
                .any(|told| told.mark.is_some_and(LogEvent::denies_entry))
    }

    pub fn reached(&self, stage: Stage) -> Option<&(Option<f64>, Vec<u32>)> {
        self.reached.get(stage)
    }

    /// The furthest stage that counts for the choice of the cause.
    pub fn furthest(&self) -> Option<Stage> {
        let furthest = self
            .reached
            .stages()
            .filter(|stage| *stage != Stage::Settled)
            .max();
        // A failed status set by somebody else than the actor does not carry the task further.
        match furthest {
            Some(Stage::Finished) if !self.reached.has(Stage::Entered) => self
                .reached
                .stages()
                .filter(|stage| *stage < Stage::Entered)
                .max(),
            other => other,
        }
    }

    pub fn outcome(&self) -> Outcome {
        // Whoever wrote that, its run is under way, or is to come.
        let is_to_end = |row: Fact<&Row>| self.goes_on_since(row.at_ms).is_some() || self.waits_untaken();
        if self.row_succeeded().is_some_and(is_to_end) {
            return Outcome::Unknown;
        }
        if self.row_succeeded().is_some()
            || self.api_succeeded().is_some()
            || self.returned_for_good().is_some()
            || self.row_removed_when_done().is_some()
        {
            return Outcome::Succeeded;
        }
        let failed_attempt = self.reached.has(Stage::Entered)
            && (self.raised.last().is_some()
                || self.is_said_to_have_failed()
                || self.failed_in_the_api()
                || self.died_in_actor().is_some());
        // Whoever wrote that, its run is under way.
        if self.row_failed().is_some() && self.closed() && self.begun_without_an_end().is_some() {
            return Outcome::Unfinished;
        }
        if self.row_failed().is_some() || failed_attempt {
            // One of several messages failed, and nothing says that it is the task's.
            let last = self.raised.last().map(|raised| raised.n);
            let may_be_a_childs =
                self.sees_all(Source::Firehose) && last.is_some_and(|n| self.weak.contains(&n));
            let is_of_another = (self.is_ambiguous() || may_be_a_childs) && self.row_failed().is_none();
            return match self.may_have_succeeded_since() {
                None if !is_of_another => Outcome::Failed,
                _ => Outcome::Unknown,
            };
        }
        // It is not this run's, by what the log says.
        if self.says_success_afterwards().is_some() {
            return Outcome::Unknown;
        }
        // Where no status is called a success, the row's cannot tell one.
        if self.timeline.setup.succeeded.is_empty() && self.attempt_over().is_some() {
            return Outcome::Unknown;
        }
        if self.status_of_no_list().is_some() {
            return Outcome::Unknown;
        }
        if self.sees(Source::Database) && self.rows.iter().any(|row| row.present) {
            Outcome::Unfinished
        } else {
            Outcome::Unknown
        }
    }

    /// By more than a line in the task's name: what runs before the actor may write such a line, too.
    pub fn was_surely_entered(&self) -> bool {
        let evidence = self
            .reached(Stage::Entered)
            .map(|(_, evidence)| evidence.as_slice());
        let in_its_name = |n: &u32| {
            let mut lines = self.lines.iter();
            lines.any(|told| told.n == *n && told.is_by_the_task() && !told.line.entry)
        };
        evidence.is_some_and(|evidence| !evidence.iter().all(in_its_name))
    }

    /// What may have become of a message that lies nowhere and that no log names.
    pub(super) fn out_of_sight(&self) -> String {
        let sent = match self.was_surely_entered() {
            true => "",
            false => "was never sent, was sent to another queue, has expired, was purged or revoked, ",
        };
        format!(
            "`{}` holds no message of it, and no log of a worker has it: it {sent}is kept by a worker until its time comes, or was taken by a worker whose log does not name it",
            self.queue()
        )
    }

    /// Silence may end the wait: the API has answered, and no actor is at work.
    pub fn silence_counts(&self) -> bool {
        if self.answered_at().is_none() && !self.post_mortem() {
            return false;
        }
        if !self.reached.has(Stage::Entered) {
            return true;
        }
        // Nothing more comes of an attempt that is over, unless a retry is waited for.
        (self.attempt_over().is_some() || !self.raised.is_empty()) && !self.timeline.setup.wait_retries
    }

    pub fn last_activity_ms(&self) -> f64 {
        let mut last = self.last_news_ms();
        // The last look repeats the row: only a change is activity.
        let mut before: Option<&Row> = None;
        for row in &self.rows {
            if before.is_none_or(|before| {
                before.status != row.status || before.xmax != row.xmax || before.present != row.present
            }) {
                last = last.max(row.at_ms);
            }
            before = Some(row.value);
        }
        // What becomes of a message whose time comes soon is seen then: silence begins with that.
        let due = self
            .due_ms()
            .filter(|due| *due <= last + 2.0 * self.timeline.setup.silence_ms as f64);
        due.map_or(last, |due| last.max(due))
    }

    /// When its time comes, on our clock, while it waits for that where nobody is handed it.
    fn due_ms(&self) -> Option<f64> {
        let passage = retries::waiting_message(self)?;
        let waits = !self.post_mortem()
            && !self.has_ended()
            && passage.queue != self.queue()
            && passage.message.is_delayed()
            && !retries::moved_on(self)
            && !self.reached.has(Stage::Entered);
        let now = self.timeline.events.last()?.at_ms;
        let left = retries::eta_left_ms(self, passage)?;
        waits.then_some(now + left)
    }
}
