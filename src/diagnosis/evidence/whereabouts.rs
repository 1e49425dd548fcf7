//! Where the task's message is now, as far as a look after its last event shows it.

use super::{
    Story, Transfer, WorkerLine, broker, control, expiry, filling, holding, limits, relays, retries, vanished,
};
use crate::diagnosis::verdict::Whereabouts;
use crate::diagnosis::{Outcome, Stage};
use crate::framework::{Inspection, LogEvent};
use crate::timeline::Source;

/// Lines of one attempt may come in each other's place: its threads write them.
const ONE_MOMENT_MS: f64 = 500.0;

impl<'a> Story<'a> {
    /// Only from an observation of the message itself; `None`: nothing says where it is.
    pub fn whereabouts(&self) -> Option<Whereabouts> {
        // Nor of what is another actor's, unless that is the task's under another name.
        let mut sent = self.publishes().iter();
        if self.is_ambiguous() || sent.any(|passage| !self.is_for_the_actor(passage.message)) {
            return None;
        }
        self.at_rest()
            .or_else(|| self.moved_away())
            .or_else(|| self.kept_for_its_time().or_else(|| self.put_off_until()))
            .or_else(|| self.settled_message())
            .or_else(|| self.copied())
            .or_else(|| self.in_hand())
            .or_else(|| self.in_line())
            .or_else(|| self.removed())
            .map(|found| self.unless_discarded(found))
    }

    /// Wherever it is: the one who has it will throw it away.
    fn unless_discarded(&self, mut found: Whereabouts) -> Whereabouts {
        if found.lost == Some(false) && self.will_be_discarded().is_some() {
            found.lost = None;
        }
        found
    }

    pub(super) fn place(
        &self,
        text: String,
        since_ms: Option<f64>,
        lost: Option<bool>,
    ) -> Option<Whereabouts> {
        Some(Whereabouts {
            place: text,
            since: since_ms.and_then(|at| self.timeline.wall_clock(at)),
            lost,
            due: None,
        })
    }

    /// The same of what waits for its time.
    pub(super) fn place_until(
        &self,
        text: String,
        since_ms: Option<f64>,
        lost: Option<bool>,
        eta_ms: Option<i64>,
    ) -> Option<Whereabouts> {
        let due = eta_ms.and_then(|eta| jiff::Timestamp::from_millisecond(eta).ok());
        Some(Whereabouts {
            due: due.map(|at| at.to_string()),
            ..self.place(text, since_ms, lost)?
        })
    }

    /// Found on a companion queue, by a look into it.
    fn at_rest(&self) -> Option<Whereabouts> {
        let held = self.held().last()?;
        let queue = held.passage.queue;
        let text = match held.reason {
            // It runs again only if somebody moves it.
            Some(reason) => {
                return self.place(format!("on `{queue}`, dead-lettered: {reason}"), None, None);
            }
            None => match held.passage.message.eta_ms {
                Some(eta) => format!("on `{queue}`, due at {}", self.due(eta)),
                None => format!("on `{queue}`"),
            },
        };
        self.place_until(text, None, Some(false), held.passage.message.eta_ms)
    }

    /// Sent with a delay, or for a retry, to the queues in which the broker itself keeps what is for later.
    fn kept_for_its_time(&self) -> Option<Whereabouts> {
        let passage = self
            .publishes()
            .last()
            .filter(|last| self.is_kept_for_later(last))?;
        let came = self.deliveries().any(|delivery| delivery.at_ms > passage.at_ms);
        let waits = retries::eta_left_ms(self, passage).is_some_and(|left| left > 0.0);
        if came || !waits || !self.sees_all(Source::Firehose) {
            return None;
        }
        let due = passage
            .message
            .eta_ms
            .map(|eta| format!(", due at {}", self.due(eta)));
        let text = format!("kept by the broker for its time{}", due.unwrap_or_default());
        self.place_until(text, Some(passage.at_ms), None, passage.message.eta_ms)
    }

    /// Acknowledged or rejected: the broker holds it no more, or as a dead letter.
    fn settled_message(&self) -> Option<Whereabouts> {
        let settled = self.attempt_over().filter(|told| told.settles());
        if settled
            .is_some_and(|told| self.acknowledgement_failed(&told).is_some() || self.copy_is_unseen(&told))
        {
            return None;
        }
        let at_ms = match &settled {
            Some(told) => told.at_ms,
            None => {
                let drained = broker::drained(self)?;
                self.timeline.event(drained)?.at_ms
            }
        };
        // A copy that is on its way to us may be seen after the line.
        let copied = |passage: &Transfer<'_>| passage.message.is_retry();
        let again = |passage: &Transfer<'_>| passage.at_ms > at_ms;
        if self.publishes().iter().any(copied) || self.deliveries().any(again) || self.sent_on().is_some() {
            return None;
        }
        if self.dead_letters_grew() {
            let dead = self.dead_letter_queue()?;
            return self.place(format!("on `{dead}`, dead-lettered: rejected"), Some(at_ms), None);
        }
        if settled.is_some_and(|told| matches!(told.mark, Some(LogEvent::Rejecting { .. }))) {
            return None;
        }
        let lost = match self.outcome() {
            Outcome::Succeeded => Some(false),
            // It ran, or may have, and may have done its work.
            Outcome::Unfinished | Outcome::Unknown
                if settled.is_none() || self.reached(Stage::Entered).is_some() =>
            {
                None
            }
            // It failed, and no retry is the framework's: something of the application's own may send it again.
            _ if settled.is_some_and(|told| self.has_no_retry(&told)) => None,
            // The application says itself that it failed, and may try again by itself as well.
            _ if self.row_failed().is_some() => None,
            // A copy for a retry would have been seen.
            _ => broker::saw_every_publish(self).then_some(true),
        };
        let text = "acknowledged, and no longer at the broker";
        self.place(text.into(), Some(at_ms), lost)
    }

    /// It failed, and was acknowledged as if it had not.
    fn has_no_retry(&self, settled: &WorkerLine<'_>) -> bool {
        matches!(settled.mark, Some(LogEvent::Acknowledging { .. }))
            && !self.raised().is_empty()
            && self
                .line(|mark| matches!(mark, LogEvent::Retrying { .. }))
                .is_none()
    }

    /// What was sent on for a retry, or to wait for its time.
    fn copied(&self) -> Option<Whereabouts> {
        let delay = self.delay_queue()?;
        let copy = self.publishes().iter().rfind(|passage| passage.queue == delay)?;
        let moved = self
            .publishes()
            .iter()
            .any(|passage| passage.queue == self.queue() && passage.at_ms > copy.at_ms);
        if moved {
            return None;
        }
        let due = copy
            .message
            .eta_ms
            .map_or_else(String::new, |eta| format!(", due at {}", self.due(eta)));
        let taken = self
            .deliveries_from(&delay)
            .find(|passage| passage.at_ms >= copy.at_ms);
        match taken {
            Some(passage) => {
                let who = self.holder(passage);
                self.place_until(
                    format!("held from `{delay}` by {who}{due}"),
                    Some(passage.at_ms),
                    Some(false),
                    copy.message.eta_ms,
                )
            }
            None => {
                // Others' messages may be what waits, and this one refused or dropped.
                let may_be_gone = broker::did_not_grow_by(self, copy) || limits::may_drop(self, copy);
                let last = self.depths(&delay).last().filter(|_| !may_be_gone)?;
                (last.at_ms >= copy.at_ms && last.ready > 0).then_some(())?;
                let text = format!("on `{delay}`{due}");
                // Where nobody takes it, it is thrown away before its time comes.
                let early = expiry::ends_before_its_time(self, copy);
                let lost = early.is_none().then_some(false);
                self.place_until(text, Some(copy.at_ms), lost, copy.message.eta_ms)
            }
        }
    }

    /// The line is written before the broker is told: where that fails the message comes back. The line that says so.
    pub(in crate::diagnosis) fn acknowledgement_failed(&self, told: &WorkerLine<'_>) -> Option<u32> {
        let mut after = self.worker_lines.iter().filter(|line| line.n != told.n);
        let failed = after.find(|line| {
            let names_it = line.line.carries_task_id || line.message_id() == told.message_id();
            matches!(line.mark, Some(LogEvent::AckFailed))
                && line.at_ms >= told.at_ms - ONE_MOMENT_MS
                && (names_it || line.thread() == told.thread())
        });
        failed.map(|line| line.n)
    }

    /// The attempt left a copy for a retry, which nobody who saw every publish speaks of.
    fn copy_is_unseen(&self, told: &WorkerLine<'_>) -> bool {
        let began = self
            .lines
            .iter()
            .rfind(|line| line.at_ms <= told.at_ms && matches!(line.mark, Some(LogEvent::Received { .. })))
            .map_or(f64::MIN, |line| line.at_ms);
        let retries = self.lines.iter().any(|line| {
            matches!(line.mark, Some(LogEvent::Retrying { .. }))
                && line.at_ms >= began
                && line.at_ms <= told.at_ms + ONE_MOMENT_MS
        });
        retries && !broker::saw_every_publish(self)
    }

    /// Handed to a consumer that the broker still waits for.
    fn in_hand(&self) -> Option<Whereabouts> {
        let passage = self.deliveries().last()?;
        if self.reached(Stage::Settled).is_some() {
            return None;
        }
        if self.is_held(passage) {
            let text = format!(
                "delivered from `{}` to {}, which has not acknowledged it",
                passage.queue,
                self.holder(passage)
            );
            return self.place(text, Some(passage.at_ms), Some(false));
        }
        self.acknowledged_before_its_run(passage)
    }

    /// A count after the delivery is of this message: the worker says so itself, its log tells of each end
    /// and of none of this one, or more are counted than can be others.
    pub(super) fn is_held(&self, passage: &Transfer<'_>) -> bool {
        if let Some(acknowledged) = self.said_of_the_acknowledgement(passage) {
            return !acknowledged;
        }
        let counted = self
            .infos(self.queue())
            .last()
            .filter(|info| info.counted_ms > passage.at_ms)
            .and_then(|info| info.unacked)
            .unwrap_or(0);
        counted > 0 && (self.is_in_a_thread(passage) || counted > self.others_in_hand(passage))
    }

    /// The worker's log tells of ends, and says that it took the message, and of no end.
    pub(super) fn is_taken_without_an_end(&self) -> bool {
        let took = self.line(|mark| matches!(mark, LogEvent::Received { .. }));
        took.is_some() && self.shows_ends() && self.attempt_over().is_none()
    }

    /// The log has shown how a message was settled, whosever it was: its loggers may be quieter than that.
    pub(super) fn shows_ends(&self) -> bool {
        self.worker_lines.iter().any(WorkerLine::settles)
    }

    /// A thread of a process that lives has taken it, and the log would say that it has done with it.
    fn is_in_a_thread(&self, passage: &Transfer<'_>) -> bool {
        let taken = self.lines.iter().rev().find(|told| {
            matches!(told.mark, Some(LogEvent::Received { .. }))
                && told.at_ms >= passage.at_ms - ONE_MOMENT_MS
        });
        let lives = |told: &WorkerLine<'_>| {
            told.pid.is_none_or(|pid| {
                let state = self.process(pid).map(|process| process.state);
                self.gone(pid).is_none() && !matches!(state, Some('Z' | 'X'))
            })
        };
        self.acknowledges_after_the_run()
            && self.shows_ends()
            && self.attempt_over().is_none()
            && taken.is_some_and(lives)
    }

    /// The most that others can have of the queue unacknowledged: what was counted before this one was
    /// delivered, and what was delivered since. None of them need have been acknowledged.
    fn others_in_hand(&self, passage: &Transfer<'_>) -> u64 {
        let before = self
            .infos(passage.queue)
            .rfind(|info| info.at_ms <= passage.at_ms)
            .and_then(|info| Some((info.counted_ms, info.unacked?)));
        let Some((since, counted)) = before.filter(|_| self.sees_all(Source::Firehose)) else {
            return u64::MAX;
        };
        let delivered = self.deliveries_of_others(passage.queue).filter(|at| *at >= since);
        counted + delivered.count() as u64
    }

    /// What the worker itself last said of it, asked after the delivery.
    fn said_of_the_acknowledgement(&self, passage: &Transfer<'_>) -> Option<bool> {
        let said = control::answers(self).filter(|answer| answer.at_ms > passage.at_ms);
        let word = |answer: &Inspection| {
            let lists = [&answer.active, &answer.reserved, &answer.scheduled];
            let mut tasks = lists.into_iter().flatten().flatten();
            tasks.find(|task| self.is_my_message(&task.id))?.acknowledged
        };
        said.filter_map(|answer| word(&answer)).last()
    }

    /// Where the broker is told before the run that is all it knows: it does not give the message out again.
    fn acknowledged_before_its_run(&self, passage: &Transfer<'_>) -> Option<Whereabouts> {
        let nothing_held = self
            .infos(self.queue())
            .last()
            .is_some_and(|info| info.counted_ms > passage.at_ms && info.unacked == Some(0));
        let acknowledged = self.said_of_the_acknowledgement(passage) == Some(true) || nothing_held;
        if self.acknowledges_after_the_run() || !acknowledged || self.may_be_rejected(passage.queue) {
            return None;
        }
        // A copy for a retry is on its way, or was given back: what was acknowledged is not all there is.
        if let Some(back) = holding::came_back(self) {
            let at_ms = self.timeline.event(back)?.at_ms;
            let text = format!("ready on `{}` again, as it seems", passage.queue);
            // What comes there from another queue, when its time is over, was not seen to be sent.
            return self.place(text, Some(at_ms), None);
        }
        if let Some(copy) = self.sent_on_for_a_retry() {
            let text = format!("sent on to `{}` for a retry", copy.queue);
            return self.place(text, Some(copy.at_ms), None);
        }
        let lost = (self.outcome() == Outcome::Succeeded).then_some(false);
        let text = "acknowledged, and no longer at the broker";
        self.place(text.into(), Some(passage.at_ms), lost)
    }

    /// Published and taken by nobody.
    fn in_line(&self) -> Option<Whereabouts> {
        let passage = self.publishes().last()?;
        if !self.sees_all(Source::Firehose) || self.deliveries_from(passage.queue).next().is_some() {
            return None;
        }
        let last = self.depths(passage.queue).last()?;
        let text = format!("ready on `{}`, {}", passage.queue, filling::one_of(last.ready));
        // What came behind it is counted as well.
        let counted = 1 + holding::sent_behind(self, passage).len() as u64;
        let there =
            last.exists && last.ready >= counted && last.at_ms > passage.at_ms && !broker::did_not_grow(self);
        // A limit or a time to live may have taken it, and another one be what is counted.
        let alone = || last.ready == 1 && self.nothing_else_came_to(passage);
        let kept = (!broker::may_lose_messages(self) || alone())
            && expiry::thrown_away_at(self, passage).is_none_or(|due| last.at_ms < due);
        (there && kept)
            .then(|| self.place(text, Some(passage.at_ms), Some(false)))
            .flatten()
    }

    /// The queue was empty when this was sent to it, and nobody has sent another one since.
    fn nothing_else_came_to(&self, passage: &Transfer<'_>) -> bool {
        let before = self
            .depths(passage.queue)
            .rfind(|depth| depth.at_ms < passage.at_ms);
        before.is_some_and(|depth| depth.ready == 0) && holding::sent_behind(self, passage).is_empty()
    }

    /// It waited, and the queue was emptied.
    fn removed(&self) -> Option<Whereabouts> {
        let vanished =
            vanished::vanished(self).filter(|_| self.closed() && self.sees_all(Source::Firehose))?;
        let lost = (vanished.waited.is_some() && vanished.nobody_consumed).then_some(true);
        let text = format!("gone from `{}`, which was emptied", self.queue());
        self.place(text, Some(vanished.gone.at_ms), lost)
    }

    pub fn deliveries_from<'s>(&'s self, queue: &'s str) -> impl Iterator<Item = &'s Transfer<'a>> {
        self.deliveries
            .iter()
            .filter(move |passage| passage.queue == queue)
    }

    pub(super) fn holder(&self, passage: &Transfer<'_>) -> String {
        let is_relay = |pid: i32| {
            self.process(pid)
                .is_some_and(|process| relays::passes_on(self, &process))
        };
        match self.peer(passage.connection) {
            Some(peer) if !is_relay(peer.value) => format!("pid {peer}"),
            Some(_) => format!("whoever is behind {}", passage.connection),
            None => self.client_name(passage.connection),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::diagnosis::testing::{API, Scene, WORKER};
    use crate::framework::Message;
    use crate::timeline::{EventKind, Source};

    fn now(scene: &Scene) -> Option<(String, Option<bool>)> {
        let message = scene.verdict().message?;
        Some((message.place, message.lost))
    }

    fn told(text: &str, lost: Option<bool>) -> Option<(String, Option<bool>)> {
        Some((text.into(), lost))
    }

    #[test]
    fn in_line_only_while_a_look_after_the_publish_counts_it() {
        let sent = Scene::accepted().row("PENDING").publish("default");
        assert_eq!(now(&sent), None);
        let limited = json!({ "x-max-length": 9 });
        let waits = sent
            .clone()
            .totals("default", 3, 0, json!({}))
            .depth("default", 3, 0);
        assert_eq!(now(&waits), told("ready on `default`, one of 3", Some(false)));
        // A limit may have dropped it, and three others wait.
        let dropped = sent.totals("default", 3, 0, limited).depth("default", 3, 0);
        assert_eq!(now(&dropped), None);
        assert_eq!(now(&waits.depth("default", 0, 0)), None);
    }

    #[test]
    fn the_one_that_waits_at_a_limit_may_be_another() {
        let limit = || json!({ "x-max-length": 1 });
        let sent = |before: u64| {
            Scene::accepted()
                .row("PENDING")
                .depth("default", before, 0)
                .at(100.0)
                .publish("default")
                .at(200.0)
        };
        let ours = sent(0).totals("default", 1, 0, limit()).depth("default", 1, 0);
        assert_eq!(
            now(&ours),
            told("ready on `default`, the only message there", Some(false))
        );
        // It was full, and ours may be the one that was refused.
        let full = sent(1).totals("default", 1, 0, limit()).depth("default", 1, 0);
        assert_eq!(now(&full), None);
        // Another one came, and the oldest had to go.
        let dropped = sent(0)
            .publish_as("default", API, Scene::message("m-2"))
            .totals("default", 1, 0, limit())
            .depth("default", 1, 0);
        assert_eq!(now(&dropped), None);
    }

    /// Nothing was taken, and fewer wait than were sent: one of them is gone, and nobody knows which.
    #[test]
    fn what_came_behind_it_is_counted_too() {
        let sent = |before: serde_json::Value, waiting: u64| {
            let scene = Scene::accepted()
                .row("PENDING")
                .totals("default", 0, 0, before)
                .depth("default", 0, 0)
                .publish("default")
                .depth("default", 1, 0)
                .publish_as("default", API, Scene::message("other"));
            scene
                .totals("default", waiting, 0, json!({}))
                .depth("default", waiting, 0)
        };
        assert_eq!(now(&sent(json!({}), 1)), None);
        assert_eq!(
            now(&sent(json!({}), 2)),
            told("ready on `default`, one of 2", Some(false))
        );
        // A limit that an earlier look knew of is there still.
        assert_eq!(now(&sent(json!({ "x-max-length": 1 }), 2)), None);
    }

    /// Celery acknowledges before the run, so that a count of nothing held is an acknowledgement: unless one more waits.
    #[test]
    fn what_was_given_back_is_not_acknowledged() {
        use crate::diagnosis::causes::celery::scenes::CeleryScene;
        let taken = |ready: u64| {
            CeleryScene::in_pool("prefork")
                .unacked_of(0, 0)
                .deliver()
                .unacked_of(ready, 0)
                .and(|scene| scene.depth("celery", ready, 0))
                .silence()
        };
        assert_eq!(
            now(&taken(0)),
            told("acknowledged, and no longer at the broker", None)
        );
        assert_eq!(
            now(&taken(1)),
            told("ready on `celery` again, as it seems", None),
            "it may be another one, which came from a queue where it had waited"
        );
    }

    /// It runs where it was begun, and nobody holds it: another worker may be at work on one that was sent again.
    #[test]
    fn an_empty_queue_leaves_room_for_another_run() {
        use crate::diagnosis::causes::celery::scenes::CeleryScene;
        use crate::diagnosis::premises::{Premise, State};
        let is_proved = |consumers: u64| {
            let scene = CeleryScene::received()
                .and(|scene| scene.depth("celery", 0, consumers))
                .unacked_of(0, 0)
                .silence();
            let story = crate::diagnosis::Story::new(&scene.timeline);
            matches!(story.state(&Premise::OnlyMessage), State::Proved(_))
        };
        assert!(is_proved(1));
        assert!(!is_proved(2));
    }

    /// The copy of a retry that nobody has taken is where the task is now.
    #[test]
    fn a_copy_on_its_way_is_named() {
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OURS};
        let copy = |id: &str| Message {
            message_id: Some(id.into()),
            actor: Some("shop.tasks.fulfil".into()),
            carries_task_id: true,
            retries: Some(1),
            ..Message::default()
        };
        let retried = CeleryScene::received()
            .info(&format!(
                "Task shop.tasks.fulfil[{OURS}] retry: Retry in 0s: ValueError('no')"
            ))
            .and(|scene| {
                scene
                    .publish_as("again", WORKER, copy(OURS))
                    .totals("celery", 0, 0, json!({}))
            })
            .silence();
        assert_eq!(now(&retried), told("sent on to `again` for a retry", None));
    }

    #[test]
    fn in_hand_only_while_a_look_after_the_delivery_counts_it() {
        let taken = Scene::accepted()
            .row("PENDING")
            .publish("default")
            .deliver(WORKER);
        assert_eq!(now(&taken), None);
        let text = "delivered from `default` to pid 7, which has not acknowledged it";
        // What was held before it may be what is counted.
        let unknown = taken.peer(WORKER, 7).totals("default", 0, 1, json!({}));
        assert_eq!(now(&unknown), None);
        let quiet = |held_before: u64| {
            Scene::accepted()
                .totals("default", 0, held_before, json!({}))
                .row("PENDING")
                .publish("default")
                .deliver(WORKER)
                .peer(WORKER, 7)
        };
        let held = quiet(0).totals("default", 0, 1, json!({}));
        assert_eq!(now(&held), told(text, Some(false)));
        let others = quiet(1).totals("default", 0, 1, json!({}));
        assert_eq!(now(&others), None);
        let both = quiet(1).totals("default", 0, 2, json!({}));
        assert_eq!(now(&both), told(text, Some(false)));
        // Another one was delivered since: it may be what is counted.
        let busy = quiet(0).deliver_as("m-9", WORKER, false);
        assert_eq!(now(&busy.totals("default", 0, 1, json!({}))), None);
        // An earlier look says nothing of now.
        let mut later = held;
        later = later.depth("default", 2, 1).totals("default", 2, 0, json!({}));
        assert_eq!(now(&later), None);
    }

    /// Where the log tells of each end, that it tells of none is about this message.
    #[test]
    fn in_hand_while_the_log_tells_of_no_end() {
        let quiet = Scene::entered()
            .deliver_as("m-9", WORKER, false)
            .totals("default", 0, 1, json!({}));
        assert_eq!(now(&quiet), None, "its loggers may be quieter than that");
        let running = quiet.acked("m-8");
        let text = "delivered from `default` to pid 101, which has not acknowledged it";
        assert_eq!(now(&running), told(text, Some(false)));
        assert_eq!(now(&running.gone(101)), None);
    }

    #[test]
    fn an_acknowledgement_that_failed_is_none() {
        let acked = Scene::entered().completed().acked("m-1").row("COMPLETED");
        let text = "acknowledged, and no longer at the broker";
        assert_eq!(now(&acked), told(text, Some(false)));
        let closed = "Failed to post_process_message(act('task_1')) due to a connection error: closed.";
        let failed = acked
            .clone()
            .warning("dramatiq.worker.ConsumerThread(default)", closed);
        assert_eq!(now(&failed), None);
        let another = "Failed to post_process_message(act('task_9')) due to a connection error: closed.";
        let logger = "dramatiq.worker.ConsumerThread(default)";
        let mut other = acked.warning(logger, another);
        for event in &mut other.timeline.events {
            if let EventKind::Line(line) = &mut event.kind
                && line.text == another
            {
                line.thread = Some("Thread-99".into());
            }
        }
        assert_eq!(now(&other), told(text, Some(false)));
    }

    /// Afterwards nobody saw where the copy for a retry went.
    #[test]
    fn a_retry_that_nobody_saw_is_not_gone() {
        let retried = Scene::entered().raised("ValueError: no").retrying().acked("m-1");
        let text = "acknowledged, and no longer at the broker";
        assert_eq!(now(&retried), told(text, Some(true)));
        assert_eq!(now(&retried.without(Source::Firehose)), None);
    }

    #[test]
    fn in_line_until_its_own_time_to_live_is_over() {
        let sent = |ttl: i64| {
            let mut message = Scene::message("m-1");
            message.expiration_ms = Some(ttl);
            Scene::accepted()
                .row("PENDING")
                .publish_as("default", API, message)
                .totals("default", 1, 0, json!({}))
                .at(2_000.0)
                .depth("default", 1, 0)
        };
        assert_eq!(
            now(&sent(9_000)),
            told("ready on `default`, the only message there", Some(false))
        );
        assert_eq!(now(&sent(500)), None);
    }

    #[test]
    fn acknowledged_is_gone_and_lost_unless_it_succeeded_or_comes_again() {
        let text = "acknowledged, and no longer at the broker";
        let raised = Scene::entered().raised("ValueError: no").acked("m-1");
        // A middleware of the application's own may send it again.
        assert_eq!(now(&raised), told(text, None));
        assert_eq!(now(&raised.clone().row("COMPLETED")), told(text, Some(false)));
        // Delivered once more since.
        assert_eq!(now(&raised.deliver_as("m-1", WORKER, true)), None);
        let mut copy = Scene::message("m-1");
        copy.retries = Some(1);
        copy.eta_ms = Some(1_015_000);
        let retried = Scene::entered()
            .raised("ValueError: no")
            .publish_as("default.DQ", WORKER, copy)
            .acked("m-1");
        assert_eq!(now(&retried), None);
        let waits = retried.depth("default.DQ", 1, 1);
        let text = "on `default.DQ`, due at 00:16:55 UTC";
        assert_eq!(now(&waits), told(text, Some(false)));
    }

    #[test]
    fn what_is_due_on_another_day_has_its_date() {
        let mut later = Scene::message("m-1");
        later.eta_ms = Some(86_400_000 + 1_015_000);
        let waits = Scene::accepted()
            .publish_as("default.DQ", API, later)
            .depth("default.DQ", 1, 0);
        let text = "on `default.DQ`, due at 1970-01-02 00:16:55 UTC";
        assert_eq!(now(&waits), told(text, Some(false)));
    }

    #[test]
    fn of_two_messages_nothing_is_said() {
        let mut other = Scene::message("m-2");
        other.actor = Some("audit".into());
        let two = Scene::accepted()
            .setup(|setup| setup.actor = None)
            .publish_as("default", API, other)
            .publish("default")
            .totals("default", 2, 0, json!({}))
            .depth("default", 2, 0);
        assert_eq!(now(&two), None);
    }
}
