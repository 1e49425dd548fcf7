//! Which of the messages that carry the task's id are the task's.

use std::collections::{BTreeMap, BTreeSet};

use super::{QueuedCopy, Story, Transfer, WorkerLine, connections};
use crate::diagnosis::premises::is_common;
use crate::framework::{LogEvent, Message, is_same_id};
use crate::timeline::{EventKind, Source};

/// A message enqueued so long before the run is not this task's: more than clocks differ.
const EARLIER_BY_MS: i64 = 60_000;

impl<'a> Story<'a> {
    /// The messages that carry the task id. With an actor configured, one for another actor counts
    /// only where there is none for the configured one.
    pub(super) fn find_messages(&mut self) {
        self.find_held();
        let mut carrying = self.publishes_with_the_id();
        let earlier = self.ids_of_earlier_tasks(&carrying);
        carrying.retain(|passage| passage.id().is_none_or(|id| !earlier.contains(id)));
        // What nobody can read may be an event of the application's, beside a message that can be read.
        let any_readable = carrying
            .iter()
            .any(|passage| passage.message.undecodable.is_none() && self.is_for_the_actor(passage.message));
        carrying.retain(|passage| passage.message.undecodable.is_none() || !any_readable);
        let any_wanted = carrying.iter().any(|passage| {
            self.is_for_the_actor(passage.message) || self.leads_to_the_actor(passage.message)
        });
        self.choose_held(any_wanted);
        // Where none is for the configured actor, one for another actor on this very queue may be
        // meant all the same; on another queue it is a different step of the application.
        let (mut mine, strays): (Vec<_>, Vec<_>) = carrying.into_iter().partition(|passage| {
            self.is_for_the_actor(passage.message)
                || (!any_wanted && self.is_of_my_queue(passage.queue) && self.may_be_renamed(passage.message))
        });
        self.leave_the_apis(&mut mine);
        let ids = self.ids_of_the_request(&mine);
        self.candidates = ids.len();
        self.message_ids.extend(ids);
        if self.message_ids.is_empty() {
            self.message_ids
                .extend(mine.iter().filter_map(Transfer::id).take(1));
        }
        if self.firehose_in_part().is_some() && self.message_ids.is_empty() {
            self.find_by_delivery();
        }
        if mine.is_empty() && strays.is_empty() && self.message_ids.is_empty() {
            mine.extend(self.find_by_time());
        }
        mine.retain(|passage| passage.id().is_none_or(|id| self.message_ids.contains(id)));
        self.publishes = mine;
        self.stray_publishes = strays;
        self.find_deliveries();
    }

    /// The application may send a number of its own where it answers with another id: of the messages for the queue and
    /// the actor one only was sent between the request and the answer, and by the API.
    fn find_by_time(&mut self) -> Option<Transfer<'a>> {
        let is_asked = self.closed() && !self.post_mortem() && !self.is_trace() && self.recognised.is_none();
        // An older task has this id: what was found under a usual name is another number.
        let is_anothers = self.id_was_guessed() && self.older_row().is_some();
        self.task_id
            .filter(|_| is_asked && !is_anothers && self.sees_all(Source::Firehose))?;
        let timeline = self.timeline;
        let [id] = timeline.sent_meanwhile()[..] else {
            return None;
        };
        let queue = self.queue();
        let publishes = timeline.events.iter();
        let mut publishes = publishes.filter_map(|event| Transfer::of_publish(event, queue));
        let sent = publishes.find(|publish| publish.id() == Some(id))?;
        let api = self.api_processes();
        let is_the_apis = self.is_the_apis(sent.connection).is_some()
            || api
                .iter()
                .any(|api| connections::is_socket_of(api, sent.connection));
        is_the_apis.then_some(())?;
        self.message_ids.insert(id);
        self.is_by_time = true;
        Some(sent)
    }

    /// Copies on the delay and dead-letter queues that carry the id.
    fn find_held(&mut self) {
        for event in &self.timeline.events {
            if let EventKind::DeadLetter {
                queue,
                reason,
                message,
                ..
            } = &event.kind
                && message.carries_task_id
            {
                // Moved back to where it came from it keeps the header, and is no dead letter any more.
                let reason = reason.as_deref().filter(|_| !self.is_to_be_run_from(queue));
                self.held.push(QueuedCopy {
                    passage: Transfer {
                        n: event.n,
                        at_ms: event.at_ms,
                        queue,
                        connection: "",
                        redelivered: false,
                        message,
                    },
                    reason,
                });
            }
        }
    }

    /// Workers take messages from it, at once or when their time comes.
    pub(super) fn is_to_be_run_from(&self, queue: &str) -> bool {
        queue == self.queue() || self.delay_queue().as_deref() == Some(queue)
    }

    /// Those for another actor count only where there is no message for the configured one.
    fn choose_held(&mut self, any_wanted: bool) {
        let mut held = std::mem::take(&mut self.held);
        let is_meant = |held: &QueuedCopy<'_>| self.is_for_the_actor(held.passage.message);
        if any_wanted || held.iter().any(is_meant) {
            held.retain(is_meant);
        }
        self.forget_earlier_copies(&mut held);
        let ids = held.iter().filter_map(|held| held.passage.id());
        self.message_ids.extend(ids);
        self.held = held;
    }

    /// Publishes since the submission that carry the id.
    fn publishes_with_the_id(&self) -> Vec<Transfer<'a>> {
        let since = self.submitted_at();
        self.timeline
            .events
            .iter()
            .filter(|event| match &event.kind {
                EventKind::Publish { message, .. } => {
                    message.carries_task_id
                        && !self.is_the_frameworks(message)
                        && since.is_none_or(|since| event.at_ms >= since)
                }
                _ => false,
            })
            .filter_map(|event| Transfer::of_publish(event, self.queue()))
            .collect()
    }

    /// A message that is first seen as a retry, or was first enqueued long before, is an earlier
    /// task's with the same id.
    fn ids_of_earlier_tasks(&self, carrying: &[Transfer<'a>]) -> BTreeSet<&'a str> {
        // In a cluster the first publish may have passed through a node that is not traced.
        let sees_every_publish = self.firehose_in_part().is_none();
        let started = self
            .timeline
            .started_at
            .parse::<jiff::Timestamp>()
            .map_or(i64::MIN, |at| at.as_millisecond());
        let is_old = |message: &Message| {
            message
                .timestamp_ms
                .is_some_and(|at| at < started.saturating_sub(EARLIER_BY_MS))
        };
        // Where every one is that old, it is the clocks that differ.
        let all_old = carrying.iter().all(|passage| is_old(passage.message));
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut earlier = BTreeSet::new();
        for passage in carrying {
            let Some(id) = passage.id() else {
                continue;
            };
            let is_retry = sees_every_publish && passage.message.is_retry();
            if seen.insert(id) && (is_retry || (is_old(passage.message) && !all_old)) {
                earlier.insert(id);
            }
        }
        earlier
    }

    /// One that carries the configured actor's message with it comes before that, and is none of its own.
    fn leads_to_the_actor(&self, message: &Message) -> bool {
        let wanted = self.timeline.setup.actor.as_deref();
        let mut later = message.later.iter();
        wanted.is_some() && later.any(|later| later.carries_task_id && Some(later.actor.as_str()) == wanted)
    }

    /// Others hold the same number: what the API's own process sent meanwhile is this task's.
    fn leave_the_apis(&self, mine: &mut Vec<Transfer<'a>>) {
        let from_api: BTreeSet<&str> = mine
            .iter()
            .filter(|passage| self.is_sent_by_the_api_in_time(passage))
            .filter_map(Transfer::id)
            .collect();
        if !from_api.is_empty() && self.task_id.is_some_and(is_common) {
            mine.retain(|passage| passage.id().is_none_or(|id| from_api.contains(id)));
        }
    }

    /// Before its answer.
    fn is_sent_by_the_api_in_time(&self, passage: &Transfer<'_>) -> bool {
        self.answered_at().is_some_and(|at| passage.at_ms <= at)
            && self.is_the_apis(passage.connection).is_some()
    }

    /// Messages sent on by the running actor come after the first delivery: not candidates, unless they come
    /// from where the first one came from, before the answer.
    fn ids_of_the_request(&self, mine: &[Transfer<'a>]) -> BTreeSet<&'a str> {
        let answered = self.answered_at();
        let first = mine.first();
        let of_the_request = |passage: &Transfer<'_>| {
            let before = answered.is_some_and(|at| passage.at_ms <= at);
            let same_sender = first.is_some_and(|first| first.connection == passage.connection);
            // What the API itself sends for the same actor takes the first one's place, or is one more.
            let again =
                same_sender && first.is_some_and(|first| first.message.actor == passage.message.actor);
            (before && (same_sender || self.is_sent_by_the_api_in_time(passage)))
                || (again && self.is_the_apis(passage.connection).is_some())
        };
        let first_delivery = self.find(|event| match &event.kind {
            EventKind::Deliver { message, queue, .. }
                if message.carries_task_id && *queue == self.timeline.setup.queue =>
            {
                Some(event.at_ms)
            }
            _ => None,
        });
        mine.iter()
            .filter(|passage| first_delivery.is_none_or(|at| passage.at_ms <= at) || of_the_request(passage))
            .filter_map(Transfer::id)
            .collect()
    }

    /// Deliveries of the messages that are the task's by now, and of what carries its id and cannot be read.
    fn find_deliveries(&mut self) {
        for event in &self.timeline.events {
            if let EventKind::Deliver {
                queue,
                connection,
                redelivered,
                message,
            } = &event.kind
                && (message
                    .message_id
                    .as_deref()
                    .is_some_and(|id| self.message_ids.contains(id))
                    || (message.undecodable.is_some() && message.carries_task_id))
            {
                self.deliveries.push(Transfer {
                    n: event.n,
                    at_ms: event.at_ms,
                    queue,
                    connection,
                    redelivered: *redelivered,
                    message,
                });
            }
        }
    }

    /// Whose publish was out of sight is known by its delivery.
    fn find_by_delivery(&mut self) {
        let since = self.submitted_at();
        let ids: Vec<&str> = self
            .timeline
            .events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Deliver { queue, message, .. }
                    if message.carries_task_id
                        && since.is_none_or(|since| event.at_ms >= since)
                        && self.is_of_my_queue(queue)
                        && self.is_for_the_actor(message) =>
                {
                    message.message_id.as_deref()
                }
                _ => None,
            })
            .collect();
        // What a running actor sends on may carry the id as well, and comes later.
        self.message_ids.extend(ids.first());
        let ids: BTreeSet<&str> = ids.into_iter().collect();
        self.candidates = ids.len();
    }

    /// The messages that lines of the log tie to the task, in order.
    pub(super) fn named_in_lines(&self, task: &str) -> Vec<&'a str> {
        let since = self.submitted_at();
        let wanted = self.timeline.setup.actor.as_deref();
        let told = self
            .worker_lines
            .iter()
            .filter(|told| self.counts(told) && since.is_none_or(|since| told.at_ms >= since));
        let says_so = |told: &WorkerLine<'a>| {
            let is_wanted = |task: &str| wanted.is_none_or(|wanted| wanted == task);
            if let Some(LogEvent::Received { id, actor }) = told.mark {
                let is_ours = self.post_mortem() && told.line.carries_task_id && is_wanted(actor);
                return is_ours.then_some(id.as_str());
            }
            let subject = told.subject?;
            let says_so = told.is_by_the_task() && told.line.carries_task_id;
            (is_same_id(subject.id, task) || says_so && is_wanted(subject.task)).then_some(subject.id)
        };
        let named: Vec<&str> = told.filter_map(says_so).collect();
        if !named.is_empty() || is_common(task) {
            return named;
        }
        match self.named_after_its_failure() {
            Some(id) => vec![id],
            None => self.named_by_neighbours(),
        }
    }

    /// A quiet worker names the message only as it puts it off, right after the failure, which it tells of by the
    /// arguments.
    fn named_after_its_failure(&self) -> Option<&'a str> {
        let since = self.submitted_at();
        let lines = &self.worker_lines;
        lines.iter().enumerate().find_map(|(at, told)| {
            let (key, failed) = (told.thread(), matches!(told.mark, Some(LogEvent::Failed { .. })));
            let is_ours = told.line.carries_task_id
                && self.counts(told)
                && !self.names_another_actor(told)
                && since.is_none_or(|since| told.at_ms >= since);
            let is_known = key.1.is_some() && key.2.is_some();
            let next = || lines[at + 1..].iter().find(|next| next.thread() == key);
            let puts_off = |next: &&WorkerLine<'_>| {
                matches!(
                    next.mark,
                    Some(LogEvent::Retrying { .. } | LogEvent::RetriesExceeded { .. })
                )
            };
            (failed && is_ours && is_known)
                .then(next)?
                .filter(puts_off)?
                .message_id()
        })
    }

    /// Where nothing else ties a message to the task: the errors in which one for its actor ended name it, or a word of
    /// the application's does while the worker has one message in hand.
    pub(super) fn named_by_neighbours(&self) -> Vec<&'a str> {
        let mut named = Vec::new();
        let Some(wanted) = self.timeline.setup.actor.as_deref() else {
            return named;
        };
        let mut in_hand: BTreeMap<&'a str, &'a str> = BTreeMap::new();
        for told in self.worker_lines.iter().filter(|told| self.counts(told)) {
            let carries = told.line.carries_task_id;
            if carries
                && self.post_mortem()
                && matches!(told.mark, Some(LogEvent::Failed { .. }))
                && told.subject.is_some_and(|subject| subject.task == wanted)
            {
                named.extend(told.message_id());
            }
            match (told.mark, told.subject) {
                (Some(LogEvent::BootingUp), _) => in_hand.clear(),
                (Some(LogEvent::Pushed { .. } | LogEvent::Received { .. }), Some(of)) => {
                    in_hand.insert(of.id, of.task);
                }
                (None, None) if carries => {
                    let one = in_hand.first_key_value().filter(|_| in_hand.len() == 1);
                    named.extend(one.filter(|(_, task)| **task == wanted).map(|(id, _)| *id));
                }
                _ => {}
            }
            if let Some(id) = told.message_id().filter(|_| self.ends_attempt(told)) {
                in_hand.remove(id);
            }
        }
        named
    }

    /// A task of the framework's own, such as one that waits for a group: ours is in its arguments.
    fn is_the_frameworks(&self, message: &Message) -> bool {
        let actor = message.actor.as_deref().unwrap_or_default();
        actor
            .strip_prefix(self.framework().source.module)
            .is_some_and(|rest| rest.starts_with('.'))
            && self.timeline.setup.actor.as_deref() != Some(actor)
    }
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::testing::{API, Scene, TASK, WORKER};
    use crate::diagnosis::{Stage, Story};
    use crate::timeline::{Ended, EventKind, Level, Source};

    /// A logger of the application's own names the task, and no message.
    #[test]
    fn the_one_message_in_hand_while_the_task_is_named() {
        let ours = "Task shop.fulfil[aaaaaaaa-7a09-4a1f-9d2c-0d5e3c0b7f11]";
        let other = "Task shop.mail[bbbbbbbb-7a09-4a1f-9d2c-0d5e3c0b7f11]";
        let named = |lines: &[String], actor: &str| {
            let scene = Scene::new().setup(|setup| {
                setup.framework = "celery".into();
                setup.post_mortem = true;
                setup.actor = Some(actor.into());
            });
            let task_id = "order-0417".to_owned();
            let scene = scene
                .see(Source::Api, EventKind::Given { task_id })
                .from_before(5);
            let scene = lines
                .iter()
                .fold(scene, |scene, text| scene.plain(Some(Level::Info), text));
            let mut scene = scene.from_now_on().end(Ended::Looked);
            for event in &mut scene.timeline.events {
                if let EventKind::Line(line) = &mut event.kind {
                    line.carries_task_id = line.text.contains("order-0417");
                }
            }
            Story::new(&scene.timeline).is_my_message("aaaaaaaa-7a09-4a1f-9d2c-0d5e3c0b7f11")
        };
        let says = "order-0417 begins".to_owned();
        let received = |task: &str| format!("{task} received");
        let ended = |task: &str| format!("{task} succeeded in 0.1s: None");
        assert!(named(&[received(ours), says.clone(), ended(ours)], "shop.fulfil"));
        assert!(named(
            &[received(other), ended(other), received(ours), says.clone()],
            "shop.fulfil"
        ));
        // Two of them are in hand, or the one is another actor's, or over.
        assert!(!named(
            &[received(other), received(ours), says.clone()],
            "shop.fulfil"
        ));
        assert!(!named(&[received(ours), says.clone()], "shop.mail"));
        assert!(!named(&[received(ours), ended(ours), says], "shop.fulfil"));
    }

    fn reached(scene: &Scene, stage: Stage) -> Option<bool> {
        let stages = scene.verdict().stages;
        let found = stages.iter().find(|reached| reached.stage == stage);
        found.and_then(|reached| reached.reached)
    }

    /// A cluster in which the API's connection is to a node that is not traced.
    fn publisher_out_of_sight() -> Scene {
        Scene::accepted().partial(Source::Firehose).row("PENDING")
    }

    /// Below DEBUG nothing else of the framework's has its id.
    #[test]
    fn a_message_that_a_quiet_worker_puts_off() {
        let failed = || Scene::new().given().from_before(5).raised("ValueError: no");
        let known = |scene: Scene| {
            let looked = scene
                .from_now_on()
                .row("PENDING")
                .end(crate::timeline::Ended::Looked);
            looked.without(Source::Firehose).verdict().task.message_id
        };
        assert_eq!(known(failed().retrying()).as_deref(), Some("m-1"));
        let by_another = "[PID 101] [Thread-5] [dramatiq.middleware.retries.Retries] [INFO] Retrying message 'm-1' in 15000 milliseconds.";
        assert_eq!(known(failed().line(by_another)), None);
        assert_eq!(known(failed().info("app", "cleaning up").retrying()), None);
    }

    #[test]
    fn a_message_whose_publish_was_out_of_sight_is_known_by_its_delivery() {
        let delivered = publisher_out_of_sight().deliver(WORKER).silence();
        assert_eq!(reached(&delivered, Stage::Delivered), Some(true));
        assert_eq!(reached(&delivered, Stage::Published), Some(true));
        assert_eq!(delivered.verdict().task.message_id.as_deref(), Some("m-1"));
        let others = publisher_out_of_sight().deliver_as("other", WORKER, false);
        assert_eq!(reached(&others.silence(), Stage::Delivered), None);
    }

    #[test]
    fn a_retry_may_be_the_first_that_is_seen() {
        let mut copy = Scene::message("m-1");
        copy.retries = Some(1);
        let scene = publisher_out_of_sight().publish_as("default.DQ", WORKER, copy.clone());
        assert_eq!(reached(&scene.silence(), Stage::Published), Some(true));
        // Where everything is seen, it is an earlier task's.
        let earlier = Scene::accepted()
            .row("PENDING")
            .publish_as("default.DQ", WORKER, copy);
        assert_eq!(reached(&earlier.silence(), Stage::Published), Some(false));
    }

    #[test]
    fn what_the_firehose_does_not_show_in_a_cluster_is_not_denied() {
        let silent = publisher_out_of_sight().depth("default", 0, 1).silence();
        assert_eq!(reached(&silent, Stage::Published), None);
        assert_eq!(reached(&silent, Stage::Delivered), None);
        assert_eq!(silent.cause(), "none");
    }

    #[test]
    fn without_a_consumer_the_depth_shows_the_publish() {
        let grown = publisher_out_of_sight().depth("default", 1, 0).silence();
        assert_eq!(reached(&grown, Stage::Published), Some(true));
        assert_eq!(reached(&grown, Stage::Delivered), Some(false));
        assert!(grown.cause().ends_with("no-consumer"), "{}", grown.cause());
        // Another's message that was seen to come explains the growth.
        let another = publisher_out_of_sight()
            .publish_as("default", WORKER, Scene::message("other"))
            .depth("default", 1, 0)
            .silence();
        assert_eq!(reached(&another, Stage::Published), None);
    }

    /// The application sends a number of its own, and answers with another id.
    #[test]
    fn the_only_message_of_the_request_is_followed_where_none_carries_the_id() {
        let asked = |sent: &[&str], by: i32| {
            let mut scene = Scene::new()
                .worker_booted()
                .api_process(&[])
                .peer(API, by)
                .depth("default", 0, 1)
                .at(-50.0)
                .submitting();
            for id in sent {
                scene = scene.publish_as("default", API, Scene::message(id));
            }
            let scene = scene
                .answered(202, Some(TASK), "{\"task_id\":\"task_1\"}")
                .row("PENDING");
            match sent.first() {
                Some(id) => scene.deliver_as(id, WORKER, false).silence(),
                None => scene.silence(),
            }
        };
        let followed = asked(&["x-1"], 50);
        assert_eq!(followed.verdict().task.message_id.as_deref(), Some("x-1"));
        assert_eq!(reached(&followed, Stage::Delivered), Some(true));
        let notes = followed.verdict().notes;
        assert!(
            notes.iter().any(|note| note.contains("task_id_pointer")),
            "{notes:?}"
        );
        // The number belongs to an older row: it is another one of the answer.
        let older = |pointer: Option<&str>| {
            let mut scene = asked(&["x-1"], 50).setup(|setup| {
                setup.task_id_pointer = pointer.map(str::to_owned);
            });
            scene.timeline.events.pop();
            let mut scene = scene.committed(-90_000.0, -80_000.0);
            for event in &mut scene.timeline.events {
                if let crate::timeline::EventKind::RowCommitted { invisible_at_ms, .. } = &mut event.kind {
                    *invisible_at_ms = None;
                }
            }
            scene.silence()
        };
        assert_eq!(older(None).verdict().task.message_id, None);
        assert!(
            !older(None).cause().contains("row-never-written"),
            "{}",
            older(None).cause()
        );
        assert_eq!(
            older(Some("/task_id")).verdict().task.message_id.as_deref(),
            Some("x-1")
        );
        // Two, somebody else's, or none.
        for near in [asked(&["x-1", "x-2"], 50), asked(&["x-1"], 999), asked(&[], 50)] {
            assert_eq!(near.verdict().task.message_id, None, "{}", near.cause());
        }
    }
}
