//! What the row said, and what the API says of it.

use super::reached::StageEvidence;
use super::{Fact, Story, broker, misses};
use crate::diagnosis::Stage;
use crate::diagnosis::premises::EventId;
use crate::framework::LogEvent;
use crate::timeline::{EventKind, Process, Row, Source, Xmax};

/// The row is looked at often enough for its header to show a transaction's id within so long.
const UNSEEN_MARK_MS: f64 = 300.0;

/// A look that was begun after that moment had not shown this mark. Of looks that show the same only the first is
/// kept, and a busy database lets one wait for its answer.
fn came_after(before: &Fact<&Row>, look: &Fact<&Row>, moment: f64) -> bool {
    let asked = |look: &Fact<&Row>| look.asked_at_ms.unwrap_or(look.at_ms);
    let last_before = asked(look) - UNSEEN_MARK_MS;
    match before.at_ms >= last_before {
        true => asked(before) > moment,
        false => last_before > moment,
    }
}

/// What a row says before the work began, in many systems. A final status that is not configured is none
/// of these; `ready` may be one.
const BEFORE_THE_WORK: &[&str] = &[
    "accepted",
    "created",
    "enqueued",
    "init",
    "initial",
    "new",
    "not_started",
    "open",
    "pending",
    "planned",
    "published",
    "queued",
    "received",
    "registered",
    "requested",
    "scheduled",
    "sent",
    "submitted",
    "todo",
    "waiting",
];

pub(in crate::diagnosis) fn is_before_the_work(status: &str) -> bool {
    BEFORE_THE_WORK.contains(&status.to_lowercase().as_str())
}

impl<'a> Story<'a> {
    pub fn rows(&self) -> &[Fact<&'a Row>] {
        &self.rows
    }

    pub fn last_row(&self) -> Option<Fact<&'a Row>> {
        self.rows.last().copied()
    }

    /// The row is as it was before the submission: what it says is of an older run. Its commit, as the
    /// database's snapshots place it, and the milliseconds from there to the submission at least.
    pub fn older_row(&self) -> Option<Fact<f64>> {
        let since = self.submitted_at()?;
        let row = self.last_row().filter(|row| row.present)?;
        let mut commits = self.commits_of(&row);
        let before = commits.find(|commit| commit.visible_at_ms < since)?;
        Some(before.with(since - before.visible_at_ms))
    }

    /// A final status, whatever run it is of.
    pub fn says_it_is_over(&self, row: &Row) -> bool {
        row.status.as_ref().is_some_and(|status| self.is_final(status))
    }

    pub(super) fn is_final(&self, status: &String) -> bool {
        let setup = &self.timeline.setup;
        setup.succeeded.contains(status) || setup.failed.contains(status)
    }

    /// Everything that passes the vhost was seen, and nothing of it was the task's.
    pub fn is_without_message(&self) -> bool {
        !self.post_mortem()
            && !self.is_trace()
            && broker::saw_every_publish(self)
            && self.publishes().is_empty()
            && self.stray_publishes().is_empty()
            && !self.was_handed_out()
            && self.lines().is_empty()
            && broker::disguised(self).is_none()
    }

    /// Nothing but a status says how far it came, in the row or told by the API, and nothing that there was a
    /// message.
    pub(super) fn are_statuses_alone(&self, reached: &StageEvidence) -> bool {
        let way = [
            Stage::Published,
            Stage::Delivered,
            Stage::Received,
            Stage::Settled,
        ];
        let is_a_status = |n: &u32| {
            self.timeline
                .event(*n)
                .is_some_and(|event| matches!(event.source, Source::Database | Source::Api))
        };
        let entered = reached.get(Stage::Entered);
        entered.is_some_and(|(_, evidence)| evidence.iter().all(is_a_status))
            && !way
                .iter()
                // That one of those that wait is the task's is no sign of its way.
                .filter(|stage| **stage != Stage::Published || !self.waits_by_assumption)
                .any(|stage| reached.has(*stage))
    }

    /// The same, of all that was seen.
    pub fn is_told_by_status_alone(&self) -> bool {
        self.are_statuses_alone(&self.reached)
    }

    /// A message that carries the task's id was delivered, whoever sent it.
    fn was_handed_out(&self) -> bool {
        let since = self.submitted_at().unwrap_or(f64::MIN);
        self.timeline.events.iter().any(|event| {
            event.at_ms >= since
                && matches!(&event.kind, EventKind::Deliver { message, .. } if message.carries_task_id)
        })
    }

    /// The latest status that counts.
    ///
    /// A row that is gone has done with the last that it said. After a final status a word that nobody named, and
    /// that is none from before the work, is of a stage after it: archived, delivered.
    fn row_that_counts(&self) -> Option<Fact<&'a Row>> {
        let mut rows = self.rows.iter().rev().filter(|row| row.present).copied();
        let last = rows.next()?;
        let words = |row: &Fact<&Row>| row.status.as_deref().unwrap_or_default().to_owned();
        let word = words(&last);
        let setup = &self.timeline.setup;
        let is_known = word.is_empty()
            || self.says_it_is_over(&last)
            || setup.running.contains(&word)
            || is_before_the_work(&word);
        if is_known {
            return Some(last);
        }
        let earlier = rows.find(|row| words(row) != word);
        // What it said before is no stage after it.
        let was_there = rows.any(|row| words(&row) == word);
        // A word after a failure, where the task comes again, is of what comes.
        let comes_again = |row: &Fact<&Row>| {
            row.status
                .as_ref()
                .is_some_and(|status| setup.failed.contains(status))
                && self.publishes().iter().any(|passage| passage.message.is_retry())
        };
        earlier
            .filter(|row| self.says_it_is_over(row) && !was_there && !comes_again(row))
            .or(Some(last))
    }

    /// Afterwards the row, or else the API, has a word from before the work, although the actor sets a status when it
    /// begins: somebody wrote over that, or it came to nothing.
    pub(in crate::diagnosis) fn is_back_before_the_work(&self) -> bool {
        let row = self.last_row().filter(|row| row.present);
        let said = row.and_then(|row| row.value.status.as_deref());
        let said = said.or_else(|| self.api_status().map(|said| said.value));
        let running = &self.timeline.setup.running;
        let is_early = |word: &str| is_before_the_work(word) && !running.iter().any(|own| own == word);
        let has_begun = self.post_mortem() && self.reached(Stage::Entered).is_some();
        has_begun && !running.is_empty() && said.is_some_and(is_early)
    }

    /// The latest status is one of these.
    fn row_is(&self, list: &[String]) -> Option<Fact<&'a Row>> {
        self.row_that_counts()
            .filter(|row| !self.is_of_an_older_run(row))
            .filter(|row| row.status.as_ref().is_some_and(|status| list.contains(status)))
    }

    pub fn row_succeeded(&self) -> Option<Fact<&'a Row>> {
        self.row_is(&self.timeline.setup.succeeded)
    }

    /// The actor returned, its message was acknowledged, no error was seen, and the row was taken away when
    /// it was done: done tasks are kept elsewhere. The acknowledgement, and the look that found none.
    ///
    /// One that was gone before the actor returned was taken from under it, and one that the API knows
    /// nothing of is kept nowhere: only the API's own word makes a success of that.
    pub fn row_removed_when_done(&self) -> Option<[EventId; 2]> {
        let over = self.attempt_over()?;
        let acknowledged = matches!(over.mark, Some(LogEvent::Acknowledging { .. }));
        let began = self.entries.first().map(|told| told.at_ms)?;
        let there = self.rows.iter().any(|row| row.present && row.at_ms >= began);
        let gone = self.row_gone()?;
        if !self.closed() || !acknowledged || !self.raised.is_empty() || !there {
            return None;
        }
        let returned = self.returned()?;
        let kept = match self.api_word_since(gone.at_ms) {
            Some(word) => {
                word.is_some_and(|word| self.timeline.setup.succeeded.iter().any(|done| done == word))
            }
            None => gone.at_ms > returned.value,
        };
        kept.then_some([over.n, gone.n])
    }

    /// The line by which the last attempt was over, and when the actor had returned by the log.
    pub fn returned(&self) -> Option<Fact<f64>> {
        let over = self.attempt_over()?;
        let at_ms = self
            .last_return()
            .map_or(over.at_ms, |told| told.at_ms.min(over.at_ms));
        Some(Fact::new(over.n, over.at_ms, at_ms))
    }

    /// The transaction whose id the row's header has now was not the actor's: it came there before the actor
    /// began, or after it had returned. The line and the look that show it.
    pub fn mark_of_another(&self) -> Option<[EventId; 2]> {
        let last = self.last_row()?;
        let at = self.rows.iter().rposition(|row| row.xmax != last.xmax);
        let returned = self.returned()?;
        match at.and_then(|at| Some((self.rows[at], self.rows.get(at + 1)?))) {
            Some((before, look)) if came_after(&before, look, returned.value) => Some([returned.n, look.n]),
            Some(_) => None,
            // It was there from the first look on.
            None => {
                let first = self.rows.first()?.at_ms;
                let is_early = !self.post_mortem() && self.began_at().is_some_and(|began| first < began);
                is_early.then_some([returned.n, last.n])
            }
        }
    }

    /// A look from the time of the actor that showed a transaction which was rolled back.
    pub fn rolled_back_meanwhile(&self) -> Option<Fact<&'a Row>> {
        let until = self.returned()?.value + UNSEEN_MARK_MS;
        let began = self.began_at().unwrap_or(f64::MIN);
        let is_aborted = |row: &Row| matches!(row.xmax_state, Some(Xmax::Aborted | Xmax::UpdateAborted));
        let mut looks = self.rows.iter();
        looks
            .rfind(|row| is_aborted(row) && row.at_ms >= began && row.at_ms <= until)
            .copied()
    }

    /// The look that found the row gone which had been there.
    pub fn row_gone(&self) -> Option<Fact<&'a Row>> {
        let last_seen = self.rows.iter().rposition(|row| row.present)?;
        self.rows.get(last_seen + 1).copied()
    }

    /// Afterwards there is no row, and by the log its run came to its end without an error: it did not miss one.
    pub(in crate::diagnosis) fn ran_without_missing_its_row(&self) -> bool {
        let is_absent = self.last_row().is_some() && !self.rows.iter().any(|row| row.present);
        let ended_well = self.attempt_over().is_some() && self.raised.is_empty() && !self.says_not_entered();
        self.post_mortem()
            && self.closed()
            && is_absent
            && ended_well
            && !self.row_is_a_result()
            && self.reached(Stage::Entered).is_some()
            && misses::misses_the_row(self).is_none()
            && self.api_status().is_none()
    }

    /// No look of ours found it, but the API read it, and knows nothing of it since: what it had said, and the
    /// answer that shows it gone.
    pub fn lost_to_the_api(&self) -> Option<(Fact<&'a str>, Fact<()>)> {
        if self.rows.iter().any(|row| row.present) {
            return None;
        }
        let last = self.find_last(|event| match &event.kind {
            EventKind::ApiStatus { http_status, .. } => Some((event, *http_status)),
            _ => None,
        });
        let (gone, _) = last.filter(|(_, status)| *status == 404)?;
        let said = self.api_status().filter(|said| said.at_ms < gone.at_ms)?;
        // Of a result that is not there yet the API says so in a word of its own.
        let is_unknown = self.framework().unknown_result == Some(said.value);
        (!is_unknown).then_some((said, Fact::of(gone, ())))
    }

    /// What the API last answered to a question from after that moment: the status, or that it knows none.
    fn api_word_since(&self, at_ms: f64) -> Option<Option<&'a str>> {
        let mut events = self.timeline.events.iter().rev();
        events.find_map(|event| match &event.kind {
            EventKind::ApiStatus {
                value, latency_ms, ..
            } if event.at_ms - latency_ms.unwrap_or(2.0) >= at_ms => Some(value.as_deref()),
            _ => None,
        })
    }

    pub fn row_failed(&self) -> Option<Fact<&'a Row>> {
        self.row_is(&self.timeline.setup.failed)
    }

    /// The last look shows an update of the row by a transaction that was rolled back.
    pub fn rolled_back(&self) -> Option<Xmax> {
        let state = self.last_row()?.xmax_state;
        state.filter(|state| matches!(state, Xmax::Aborted | Xmax::UpdateAborted))
    }

    /// An earlier look at the row found this transaction open and writing to the table.
    pub fn seen_writing(&self, xmax: Option<u32>) -> Option<u32> {
        self.rows
            .iter()
            .find(|row| row.xmax.is_some() && row.xmax == xmax && row.holder_writes == Some(true))
            .map(|row| row.n)
    }

    /// Each look that found this transaction open saw it hold a lock and write nothing, and by its connection it is none of
    /// the processes that are known. The last of them.
    pub fn seen_locking_for_another(&self, xmax: Option<u32>) -> Option<Fact<&'a Row>> {
        let looks = self
            .rows
            .iter()
            .filter(|row| row.xmax.is_some() && row.xmax == xmax);
        let mut open = looks.filter(|row| row.holder_writes.is_some());
        let last = open.clone().next_back()?;
        let client = last.holder.as_ref()?.client.as_deref()?;
        let is_its = |process: &Process| {
            let mut own = process
                .sockets
                .iter()
                .filter_map(|socket| socket.split_once(" -> "));
            own.any(|(own, _)| own == client)
        };
        let is_known = self.looks_at_processes().any(|process| is_its(&process));
        (open.all(|row| row.holder_writes == Some(false)) && !is_known).then_some(*last)
    }

    /// Tables whose rows reference the task's table: their inserts lock its rows.
    pub fn referencing_tables(&self) -> &'a [String] {
        self.find(|event| match &event.kind {
            EventKind::DatabaseServer { referencing, .. } => Some(referencing.as_slice()),
            _ => None,
        })
        .unwrap_or_default()
    }

    /// The row is looked for, and was not there at the last look, or no look has ended yet.
    pub fn row_unseen(&self) -> bool {
        self.sees(Source::Database) && self.last_row().is_none_or(|row| !row.present)
    }
}

pub(in crate::diagnosis) fn table<'a>(story: &Story<'a>) -> &'a str {
    story.timeline.setup.table.as_deref().unwrap_or("the table")
}

/// The API speaks the row's language: its value is one of the configured words, so a difference is
/// a difference and not another vocabulary.
pub(in crate::diagnosis) fn same_words(story: &Story<'_>, value: &str) -> bool {
    let setup = &story.timeline.setup;
    let known = |word: &String| word == value;
    setup.running.iter().any(known)
        || setup.succeeded.iter().any(known)
        || setup.failed.iter().any(known)
        || story
            .rows()
            .iter()
            .any(|row| row.status.as_deref() == Some(value))
}
