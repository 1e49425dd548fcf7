//! Which messages are the task's: publishes, deliveries, copies at rest.

use std::collections::BTreeSet;

use super::{QueuedCopy, Story, Transfer, WorkerLine};
use crate::diagnosis::Answer;
use crate::diagnosis::premises::is_common;
use crate::framework::{Message, is_same_id};
use crate::timeline::{Event, EventKind, Source};

impl<'a> Story<'a> {
    /// The messages that carry the task id. With an actor configured, one for another actor counts
    /// only where there is none for the configured one.
    pub(super) fn find_messages(&mut self) {
        let since = self.submitted_at();
        // In a cluster the first publish may have passed through a node that is not traced.
        let sees_every_publish = self.firehose_in_part().is_none();
        let mut carrying: Vec<Transfer<'a>> = Vec::new();
        for event in &self.timeline.events {
            match &event.kind {
                EventKind::Publish { message, .. }
                    if message.carries_task_id
                        && !self.is_the_frameworks(message)
                        && since.is_none_or(|since| event.at_ms >= since) =>
                {
                    carrying.extend(Transfer::of_publish(event, self.queue()));
                }
                EventKind::DeadLetter {
                    queue,
                    reason,
                    message,
                    ..
                } if message.carries_task_id => {
                    self.held.push(QueuedCopy {
                        passage: Transfer {
                            n: event.n,
                            at_ms: event.at_ms,
                            queue,
                            connection: "",
                            redelivered: false,
                            message,
                        },
                        reason: reason.as_deref(),
                    });
                }
                _ => {}
            }
        }
        // A message that is first seen as a retry, or was first enqueued long before, is an earlier
        // task's with the same id.
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let mut earlier: BTreeSet<&str> = BTreeSet::new();
        let started = self
            .timeline
            .started_at
            .parse::<jiff::Timestamp>()
            .map_or(i64::MIN, |at| at.as_millisecond());
        // Where every one is that old, it is the clocks that differ.
        let is_old = |message: &Message| {
            message
                .timestamp_ms
                .is_some_and(|at| at < started.saturating_sub(EARLIER_BY_MS))
        };
        let all_old = carrying.iter().all(|passage| is_old(passage.message));
        for passage in &carrying {
            let Some(id) = passage.message.message_id.as_deref() else {
                continue;
            };
            let old = passage
                .message
                .timestamp_ms
                .is_some_and(|at| at < started - EARLIER_BY_MS);
            if seen.insert(id) && ((sees_every_publish && passage.message.is_retry()) || (old && !all_old)) {
                earlier.insert(id);
            }
        }
        carrying.retain(|passage| {
            passage
                .message
                .message_id
                .as_deref()
                .is_none_or(|id| !earlier.contains(id))
        });
        // What nobody can read may be an event of the application's, beside a message that can be read.
        let any_readable = carrying
            .iter()
            .any(|passage| passage.message.undecodable.is_none() && self.is_for_the_actor(passage.message));
        carrying.retain(|passage| passage.message.undecodable.is_none() || !any_readable);
        let is_meant = |passage: &Transfer<'_>| self.is_for_the_actor(passage.message);
        // One that carries it comes before it, and is none of its own.
        let is_to_come = |passage: &Transfer<'_>| {
            let mut later = passage.message.later.iter();
            let wanted = self.timeline.setup.actor.as_deref();
            wanted.is_some()
                && later.any(|later| later.carries_task_id && Some(later.actor.as_str()) == wanted)
        };
        let any_wanted = carrying
            .iter()
            .any(|passage| is_meant(passage) || is_to_come(passage));
        let any_held = self.held.iter().any(|held| is_meant(&held.passage));
        if any_wanted || any_held {
            let held = std::mem::take(&mut self.held).into_iter();
            self.held = held
                .filter(|held| self.is_for_the_actor(held.passage.message))
                .collect();
        }
        let held = self.held.iter();
        self.message_ids
            .extend(held.filter_map(|held| held.passage.message.message_id.as_deref()));
        // Where none is for the configured actor, one for another actor on this very queue may be
        // meant all the same; on another queue it is a different step of the application.
        let here = |passage: &Transfer<'_>| self.is_of_my_queue(passage.queue);
        let (mut mine, strays): (Vec<_>, Vec<_>) = carrying.into_iter().partition(|passage| {
            self.is_for_the_actor(passage.message)
                || (!any_wanted && here(passage) && self.may_be_renamed(passage.message))
        });
        // Others hold the same number: what the API's own process sent meanwhile is this task's.
        let answered = self.answered_at();
        let is_the_apis = |passage: &Transfer<'_>| {
            answered.is_some_and(|at| passage.at_ms <= at) && self.is_the_apis(passage.connection).is_some()
        };
        let from_api: BTreeSet<&str> = mine
            .iter()
            .filter(|passage| is_the_apis(passage))
            .filter_map(|passage| passage.message.message_id.as_deref())
            .collect();
        if !from_api.is_empty() && self.task_id.is_some_and(is_common) {
            let is_known = |id: &str| from_api.contains(id);
            mine.retain(|passage| passage.message.message_id.as_deref().is_none_or(is_known));
        }
        // Messages sent on by the running actor come after the first delivery: not candidates, unless they come
        // from where the first one came from, before the answer.
        let first = mine.first().copied();
        let of_the_request = |passage: &&Transfer<'_>| {
            let before = answered.is_some_and(|at| passage.at_ms <= at);
            let same_sender = first.is_some_and(|first| first.connection == passage.connection);
            // What the API itself sends for the same actor takes the first one's place, or is one more.
            let again =
                same_sender && first.is_some_and(|first| first.message.actor == passage.message.actor);
            (before && (same_sender || is_the_apis(passage)))
                || (again && self.is_the_apis(passage.connection).is_some())
        };
        let first_delivery = self.timeline.events.iter().find_map(|event| match &event.kind {
            EventKind::Deliver { message, queue, .. }
                if message.carries_task_id && *queue == self.timeline.setup.queue =>
            {
                Some(event.at_ms)
            }
            _ => None,
        });
        let ids: BTreeSet<&str> = mine
            .iter()
            .filter(|passage| first_delivery.is_none_or(|at| passage.at_ms <= at) || of_the_request(passage))
            .filter_map(|passage| passage.message.message_id.as_deref())
            .collect();
        self.candidates = ids.len();
        self.message_ids.extend(ids);
        if self.message_ids.is_empty() {
            self.message_ids.extend(
                mine.iter()
                    .filter_map(|passage| passage.message.message_id.as_deref())
                    .take(1),
            );
        }
        if !sees_every_publish && self.message_ids.is_empty() {
            self.find_by_delivery();
        }
        let known = &self.message_ids;
        self.publishes = mine
            .into_iter()
            .filter(|passage| {
                passage
                    .message
                    .message_id
                    .as_deref()
                    .is_none_or(|id| known.contains(id))
            })
            .collect();
        self.stray_publishes = strays;
        for event in &self.timeline.events {
            if let EventKind::Deliver {
                queue,
                connection,
                redelivered,
                message,
            } = &event.kind
                && (message.message_id.as_deref().is_some_and(|id| known.contains(id))
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

    /// What shows that a process of the API's is at the other end of this connection.
    pub fn is_the_apis(&self, connection: &str) -> Option<u32> {
        let peer = self.peer(connection)?;
        let apis = self.api_processes();
        apis.iter().any(|api| api.pid == peer.value).then_some(peer.n)
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

    /// Without a publish the log alone says which message is the task's: one of the same id, or one in
    /// the course of which the application spoke of the task.
    pub(super) fn learn_ids_from_lines(&mut self) {
        if !self.message_ids.is_empty() || !self.publishes.is_empty() {
            return;
        }
        let Some(task) = self.task_id else { return };
        let since = self.submitted_at();
        let wanted = self.timeline.setup.actor.as_deref();
        let mut told = self
            .worker_lines
            .iter()
            .filter(|told| self.counts(told) && since.is_none_or(|since| told.at_ms >= since));
        let says_so = |told: &WorkerLine<'a>| {
            let subject = told.subject?;
            let says_so = told.is_by_the_task() && told.line.carries_task_id;
            let is_wanted = wanted.is_none_or(|wanted| wanted == subject.task);
            (is_same_id(subject.id, task) || says_so && is_wanted).then_some(subject.id)
        };
        let named = match is_common(task) {
            // A number comes again: the last one that had it is meant.
            true => told.filter_map(says_so).next_back(),
            false => told.find_map(says_so),
        };
        self.message_ids.extend(named);
    }

    /// Publishes of this task's message, copies for retries included.
    pub fn publishes(&self) -> &[Transfer<'a>] {
        &self.publishes
    }

    /// Its publish for the configured queue, at once or for later.
    pub fn sent(&self) -> Option<&Transfer<'a>> {
        self.published().or_else(|| self.kept_for_later())
    }

    /// The first publish that put it on the configured queue or its delay queue.
    pub fn published(&self) -> Option<&Transfer<'a>> {
        self.publishes
            .iter()
            .find(|passage| self.is_of_my_queue(passage.queue))
    }

    /// Messages on a queue that were looked at and could be read, whosever they are.
    pub(super) fn looked_at_on(&self, name: &str) -> u64 {
        let is_read = |message: &Message| message.message_id.is_some() && message.undecodable.is_none();
        let looked = self.timeline.events.iter().filter(|event| match &event.kind {
            EventKind::DeadLetter { queue, message, .. } => queue == name && is_read(message),
            _ => false,
        });
        looked.count() as u64
    }

    /// Copies at rest on the delay and dead-letter queues.
    pub fn held(&self) -> &[QueuedCopy<'a>] {
        &self.held
    }

    /// A task of the framework's own, such as one that waits for a group: ours is in its arguments.
    fn is_the_frameworks(&self, message: &Message) -> bool {
        let actor = message.actor.as_deref().unwrap_or_default();
        actor
            .strip_prefix(self.framework().source.module)
            .is_some_and(|rest| rest.starts_with('.'))
            && self.timeline.setup.actor.as_deref() != Some(actor)
    }

    /// Messages with the task's id that were sent on after the first delivery: the next step of a
    /// chain, which may be the one that writes the row.
    pub fn successors(&self) -> impl Iterator<Item = &'a Event> {
        let first = self.deliveries.first().map(|passage| passage.at_ms);
        self.timeline
            .events
            .iter()
            .filter(move |event| match &event.kind {
                EventKind::Publish { message, .. } => {
                    message.carries_task_id
                        && first.is_some_and(|first| event.at_ms > first)
                        && message
                            .message_id
                            .as_deref()
                            .is_some_and(|id| !self.message_ids.contains(id))
                }
                _ => false,
            })
    }

    /// Messages that carry the task id, but for another actor than the configured one.
    pub fn stray_publishes(&self) -> &[Transfer<'a>] {
        &self.stray_publishes
    }

    /// Deliveries of this task's message from its queue, in order.
    pub fn deliveries(&self) -> impl DoubleEndedIterator<Item = &Transfer<'a>> {
        self.deliveries
            .iter()
            .filter(|passage| passage.queue == self.queue())
    }

    /// When something of this task was last seen elsewhere than in its row.
    pub fn last_news_ms(&self) -> f64 {
        let mut last = 0.0_f64;
        for event in &self.timeline.events {
            if matches!(
                event.kind,
                EventKind::Submitting { .. }
                    | EventKind::Answered { .. }
                    | EventKind::NotAnswered { .. }
                    | EventKind::RowCommitted { .. }
                    | EventKind::LockWait(_)
            ) {
                last = last.max(event.at_ms);
            }
        }
        for passage in self.publishes.iter().chain(&self.deliveries) {
            last = last.max(passage.at_ms);
        }
        for told in &self.lines {
            last = last.max(told.at_ms);
        }
        last
    }

    /// Two messages carry the id and nothing says which one is meant.
    pub fn is_ambiguous(&self) -> bool {
        self.candidates > 1
    }

    /// A match that points at the row itself, whichever message led to it.
    pub fn rests_on_the_row(&self, answer: &Answer) -> bool {
        let Answer::Matched(matched) = answer else {
            return false;
        };
        matched.evidence.iter().all(|n| {
            self.timeline
                .event(*n)
                .is_some_and(|event| matches!(event.source, Source::Database | Source::Process))
        })
    }

    /// Publishes after the submission that do not carry the id, with their connection.
    pub fn other_publishes(&self) -> impl Iterator<Item = Transfer<'a>> {
        let since = self.submitted_at().unwrap_or(f64::MIN);
        let publishes = self.timeline.events.iter();
        let publishes = publishes.filter_map(|event| Transfer::of_publish(event, self.queue()));
        publishes.filter(move |publish| !publish.message.carries_task_id && publish.at_ms >= since)
    }
}

/// A message enqueued so long before the run is not this task's: more than clocks differ.
const EARLIER_BY_MS: i64 = 60_000;

#[cfg(test)]
mod tests {
    use crate::diagnosis::Stage;
    use crate::diagnosis::testing::{Scene, WORKER};
    use crate::timeline::Source;

    fn reached(scene: &Scene, stage: Stage) -> Option<bool> {
        let stages = scene.verdict().stages;
        let found = stages.iter().find(|reached| reached.stage == stage);
        found.and_then(|reached| reached.reached)
    }

    /// A cluster in which the API's connection is to a node that is not traced.
    fn publisher_out_of_sight() -> Scene {
        Scene::accepted().partial(Source::Firehose).row("PENDING")
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
}
