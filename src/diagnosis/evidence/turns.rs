//! Afterwards a task may have had several messages, one after the other: it was sent again. What counts is the last.

use std::collections::BTreeSet;

use super::{QueuedCopy, Story, WorkerLine};
use crate::diagnosis::premises::{EventId, is_common};

/// Sent within so long of each other, messages are parts of one work; so far the clocks of two hosts may differ.
const TOGETHER_MS: f64 = 2_000.0;

impl<'a> Story<'a> {
    /// Without a publish the log alone says which message is the task's: one of the same id, or one in
    /// the course of which the application spoke of the task.
    pub(super) fn learn_ids_from_lines(&mut self) {
        let is_at_rest = !self.held.is_empty();
        if !self.publishes.is_empty() || !(self.message_ids.is_empty() || is_at_rest && self.post_mortem()) {
            return;
        }
        let Some(task) = self.task_id else { return };
        let named = self.named_in_lines(task);
        let last = match is_common(task) {
            // A number comes again: the last one that had it is meant.
            true => named.last().copied(),
            false => self.last_in_turn(&named),
        };
        match is_at_rest {
            true => self.weigh_against_copies(last),
            false => {
                self.message_ids.extend(last);
                self.counts_from = last
                    .filter(|last| named.first() != Some(last))
                    .and_then(|last| self.first_line_of(last));
            }
        }
    }

    /// Each of these came for the same actor when the one before it had ended, and takes its place. While a task runs,
    /// what its actor sends on may carry its id as well.
    pub(super) fn last_in_turn(&self, named: &[&'a str]) -> Option<&'a str> {
        let (first, later) = named.split_first()?;
        let later = later.iter().filter(|_| self.post_mortem());
        Some(later.fold(*first, |last, id| match self.comes_after(id, last) {
            true => *id,
            false => last,
        }))
    }

    /// Neither from before the submission nor of an earlier message of the task.
    pub(super) fn is_late_enough(&self, told: &WorkerLine<'_>) -> bool {
        self.submitted_at().is_none_or(|since| told.at_ms >= since)
            && self.counts_from.is_none_or(|first| told.n >= first)
    }

    fn comes_after(&self, id: &str, last: &str) -> bool {
        let ended = self
            .worker_lines
            .iter()
            .find(|told| told.message_id() == Some(last) && self.ends_attempt(told));
        let began = self.first_line_of(id);
        let is_later = ended.zip(began).is_some_and(|(ended, began)| began > ended.n);
        id != last && is_later && self.actor_of(id) == self.actor_of(last)
    }

    pub(super) fn first_line_of(&self, id: &str) -> Option<EventId> {
        let mut lines = self.worker_lines.iter();
        lines
            .find(|told| told.message_id() == Some(id))
            .map(|told| told.n)
    }

    /// The actor that lines about the message name.
    fn actor_of(&self, id: &str) -> Option<&'a str> {
        let mut lines = self
            .worker_lines
            .iter()
            .filter(|told| told.message_id() == Some(id));
        lines.find_map(|told| {
            let task = told.subject.map(|subject| subject.task);
            told.task_name().or(task.filter(|task| !task.is_empty()))
        })
    }

    /// What waits to be run was sent after what lies with the dead letters, and of those the last one tells of the task.
    pub(super) fn forget_earlier_copies(&self, held: &mut Vec<QueuedCopy<'a>>) {
        let actors: BTreeSet<_> = held.iter().map(|held| &held.passage.message.actor).collect();
        if !self.post_mortem() || actors.len() > 1 {
            return;
        }
        let waits = |held: &QueuedCopy<'_>| self.is_to_be_run_from(held.passage.queue);
        if held.iter().any(waits) {
            held.retain(waits);
            return;
        }
        let last = held.iter().filter_map(|held| self.sent_at(held)).reduce(f64::max);
        let is_late = |sent: f64| last.is_none_or(|last| sent >= last - TOGETHER_MS);
        held.retain(|held| self.sent_at(held).is_none_or(is_late));
    }

    /// When it was sent, by its own stamp, on our clock.
    fn sent_at(&self, held: &QueuedCopy<'_>) -> Option<f64> {
        let started: jiff::Timestamp = self.timeline.started_at.parse().ok()?;
        let stamp = held.passage.message.timestamp_ms?;
        Some((stamp - started.as_millisecond()) as f64)
    }

    /// The log names this message as the task's last, and others of it are at rest: a dead letter that was sent before it
    /// is an earlier one's, and what the log says from before a copy was sent is of an earlier one, too.
    pub(super) fn weigh_against_copies(&mut self, named: Option<&'a str>) {
        let is_held = named.is_some_and(|id| self.message_ids.contains(id));
        let sent = self.held.iter().map(|held| self.sent_at(held));
        let sent = sent.collect::<Option<Vec<f64>>>();
        let (Some(sent), false) = (sent.and_then(|sent| sent.into_iter().reduce(f64::min)), is_held) else {
            return;
        };
        let waits = self
            .held
            .iter()
            .any(|held| self.is_to_be_run_from(held.passage.queue));
        let later = named.filter(|id| !waits && self.is_taken_after(id, sent));
        if let Some(later) = later.filter(|id| self.is_for_the_same(id)) {
            self.held.clear();
            self.message_ids = BTreeSet::from([later]);
            self.counts_from = self.first_line_of(later);
            return;
        }
        // Of a message that the log names its lines tell by themselves, and without dates they tell of no time.
        let mut ids = self.message_ids.iter();
        let is_in_the_log = ids.any(|id| self.first_line_of(id).is_some());
        let is_dated = self.worker_lines.iter().any(|told| told.stated.is_some());
        if is_in_the_log || named.is_none() && !is_dated {
            return;
        }
        let from = |told: &&WorkerLine<'_>| told.stated.is_some() && told.at_ms >= sent - TOGETHER_MS;
        let first = self.worker_lines.iter().find(from).map(|told| told.n);
        self.counts_from = Some(first.unwrap_or(EventId::MAX));
    }

    fn is_taken_after(&self, id: &str, moment: f64) -> bool {
        let mut lines = self.worker_lines.iter();
        let first = lines.find(|told| told.message_id() == Some(id));
        first.is_some_and(|told| told.stated.is_some() && told.at_ms > moment + TOGETHER_MS)
    }

    fn is_for_the_same(&self, id: &str) -> bool {
        let actor = self.actor_of(id);
        let mut held = self.held.iter();
        held.all(|held| actor.is_none() || held.passage.message.actor.as_deref() == actor)
    }
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::causes::find;
    use crate::diagnosis::testing::Scene;
    use crate::diagnosis::{Outcome, Stage};
    use crate::framework::Message;
    use crate::timeline::{Ended, Level};

    fn celery() -> Scene {
        Scene::new()
            .setup(|setup| {
                setup.framework = "celery".into();
                setup.entry_pattern = None;
                setup.actor = Some("app.ship".into());
            })
            .given()
            .from_before(13)
    }

    fn said(scene: Scene, lines: &[(&str, &str)]) -> Scene {
        lines.iter().fold(scene, |scene, (id, said)| {
            let id = format!("{id}-a6b1-468e-bc20-d2384d892f24");
            let text = match *said {
                "packing" => format!("app.ship[{id}]: packing task_1"),
                said => format!("Task app.ship[{id}] {said}"),
            };
            scene.plain(Some(Level::Info), &text)
        })
    }

    const FAILED: &str = "raised unexpected: CarrierDown('no rate')";

    fn looked(lines: &[(&str, &str)]) -> Scene {
        let scene = said(celery(), lines).from_now_on().row("RUNNING");
        scene.depth("default", 0, 1).end(Ended::Looked)
    }

    /// Repaired, and sent once more: that one hangs, and a third would run beside it.
    #[test]
    fn a_second_message_takes_the_place_of_one_that_failed() {
        let first = [
            ("11111111", "received"),
            ("11111111", "packing"),
            ("11111111", FAILED),
        ];
        let second = [("22222222", "received"), ("22222222", "packing")];
        let again = looked(&[first.as_slice(), &second].concat());
        assert_eq!(
            again.answer(find("actor-raised").expect("a cause")),
            "not applicable"
        );
        let verdict = again.verdict();
        assert_eq!(verdict.outcome, Outcome::Unfinished);
        let own = verdict.task.message_id.expect("a message");
        assert!(own.starts_with("22222222"), "{own}");
        // Of another task of that actor.
        let others = [("22222222", "received")];
        let alone = looked(&[first.as_slice(), &others].concat());
        assert_eq!(alone.verdict().outcome, Outcome::Failed);
    }

    /// An actor that sends messages to itself gives them its task's id.
    #[test]
    fn one_that_came_before_the_first_had_ended_takes_no_place() {
        let both = looked(&[
            ("11111111", "received"),
            ("11111111", "packing"),
            ("22222222", "received"),
            ("22222222", "packing"),
            ("11111111", FAILED),
        ]);
        let own = both.verdict().task.message_id.expect("a message");
        assert!(own.starts_with("11111111"), "{own}");
    }

    /// Sent at this time, in milliseconds from the look.
    fn copy(id: &str, sent: i64) -> Message {
        let mut message = Scene::message(id);
        message.timestamp_ms = Some(1_000_000 + sent);
        message
    }

    fn failed_once() -> Scene {
        Scene::new()
            .given()
            .from_before(5)
            .debug(
                "dramatiq.worker.WorkerThread",
                "Received message act('task_1') with id 'm-1'.",
            )
            .info("app", "ACTOR ENTRY task_id=task_1")
            .raised("ValueError: no")
            .rejected("m-1")
            .from_now_on()
            .row("PENDING")
            .depth("default", 1, 0)
            .totals("default", 1, 0, serde_json::json!({}))
    }

    #[test]
    fn what_waits_is_the_tasks_and_not_its_dead_letter() {
        let waits = failed_once()
            .dead_letter("default.XQ", "rejected")
            .lies_on("default", copy("m-2", 0))
            .end(Ended::Looked);
        assert_eq!(
            waits.answer(find("actor-raised").expect("a cause")),
            "not applicable"
        );
        assert_eq!(waits.cause(), "likely no-consumer", "{}", waits.summary());
        let verdict = waits.verdict();
        assert_eq!(verdict.task.message_id.as_deref(), Some("m-2"));
        let mut stages = verdict.stages.iter();
        let delivered = stages
            .find(|told| told.stage == Stage::Delivered)
            .expect("a stage");
        assert_ne!(delivered.reached, Some(true));
        // Without a look at its queue what waits may be the task's, sent again: the row is back where it was.
        let unseen = failed_once().end(Ended::Looked);
        assert_eq!(unseen.answer(find("actor-raised").expect("a cause")), "possible");
        let stays = failed_once().row("RUNNING").end(Ended::Looked);
        assert_eq!(stays.answer(find("actor-raised").expect("a cause")), "likely");
    }

    #[test]
    fn of_dead_letters_the_last_that_was_sent_counts() {
        let of = |first: i64, second: i64| {
            let scene = Scene::new().given().row("PENDING").depth("default", 0, 0);
            let scene = scene
                .lies_on("default.XQ", copy("m-1", first))
                .lies_on("default.XQ", copy("m-2", second));
            scene.end(Ended::Looked).verdict().task.message_id
        };
        assert_eq!(of(-90_000, -5_000).as_deref(), Some("m-2"));
        assert_eq!(of(-5_000, -90_000).as_deref(), Some("m-1"));
    }
}
