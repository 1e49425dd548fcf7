//! What the broker said of queues, consumers and connections.

use super::{Depth, Fact, Info, QueuedCopy, Story, Transfer, connections, holding, limits};
use crate::diagnosis::premises::EventId;
use crate::diagnosis::{Answer, Scenario, Stage};
use crate::text::counted;
use crate::timeline::{Connection, Consumer, EventKind, Source};

impl<'a> Story<'a> {
    /// The dead-letter queue holds exactly one message more than at the first look.
    pub fn one_dead_letter_more(&self) -> bool {
        let Some(dead) = self.dead_letter_queue() else {
            return false;
        };
        let before = self
            .depths(&dead)
            .find(|depth| depth.exists)
            .map_or(0, |depth| depth.ready);
        self.depths(&dead)
            .last()
            .is_some_and(|depth| depth.ready == before + 1)
    }

    /// The broker answered that a queue is known and cannot be asked: why.
    pub fn down(&self, queue: &str) -> impl DoubleEndedIterator<Item = Fact<&'a str>> + use<'_, 'a> {
        let queue = queue.to_owned();
        self.facts(move |kind| match kind {
            EventKind::Depth {
                queue: name,
                down: Some(why),
                ..
            } if *name == queue => Some(why.as_str()),
            _ => None,
        })
    }

    /// The message was sent to a classic queue while its node was down, and RabbitMQ drops such a one.
    /// The look that said so: changes are reported at once, so it was down until the next one. A quorum
    /// queue without a leader loses nothing.
    pub fn dropped_by(&self, passage: &Transfer<'_>) -> Option<Fact<&'a str>> {
        let down = self
            .down(passage.queue)
            .rfind(|down| down.at_ms <= passage.at_ms)?;
        let up = self
            .depths(passage.queue)
            .any(|depth| depth.at_ms > down.at_ms && depth.at_ms <= passage.at_ms + BETWEEN_LOOKS_MS);
        (down.contains("home node") && !up).then_some(down)
    }

    /// Passive-declare counts of a queue, in order. A queue that is down has none.
    pub fn depths(&self, queue: &str) -> impl DoubleEndedIterator<Item = Depth> + use<'_, 'a> {
        let queue = queue.to_owned();
        self.timeline
            .events
            .iter()
            .filter_map(move |event| match &event.kind {
                EventKind::Depth {
                    queue: name,
                    exists,
                    ready,
                    consumers,
                    samples,
                    down: None,
                } if *name == queue => Some(Depth {
                    n: event.n,
                    at_ms: event.at_ms,
                    exists: *exists,
                    ready: *ready,
                    consumers: *consumers,
                    samples: *samples,
                }),
                _ => None,
            })
    }

    /// Counts taken since the submission.
    pub fn depths_since(&self, queue: &str) -> Vec<Depth> {
        let since = self.submitted_at().unwrap_or(f64::MIN);
        self.depths(queue).filter(|depth| depth.at_ms >= since).collect()
    }

    pub fn infos(&self, queue: &str) -> impl DoubleEndedIterator<Item = Info<'a>> + use<'_, 'a> {
        let queue = queue.to_owned();
        self.timeline
            .events
            .iter()
            .filter_map(move |event| match &event.kind {
                EventKind::QueueInfo {
                    queue: name,
                    state,
                    queue_type,
                    arguments,
                    policy_definition,
                    policy_unknown,
                    ready,
                    unacked,
                    members,
                    online,
                    ..
                } if *name == queue => Some(Info {
                    n: event.n,
                    at_ms: event.at_ms,
                    queue: name,
                    state: state.as_deref(),
                    queue_type: queue_type.as_deref(),
                    arguments,
                    policy_definition,
                    policy_unknown: *policy_unknown,
                    ready: *ready,
                    unacked: *unacked,
                    counted_ms: match queue_type.as_deref() {
                        Some("quorum") => event.at_ms - QUORUM_TICK_MS,
                        _ => event.at_ms,
                    },
                    online: online.zip(*members),
                }),
                _ => None,
            })
    }

    /// The last list of consumers, if all of them could be seen.
    pub fn consumers(&self) -> Option<Fact<&'a [Consumer]>> {
        self.facts(|kind| match kind {
            EventKind::Consumers { consumers } => Some(consumers.as_slice()),
            _ => None,
        })
        .next_back()
    }

    pub fn connections(&self) -> Option<Fact<&'a [Connection]>> {
        self.facts(|kind| match kind {
            EventKind::Connections { connections } => Some(connections.as_slice()),
            _ => None,
        })
        .next_back()
    }

    /// The connection of this name in the last list.
    pub fn listed(&self, name: &str) -> Option<Fact<&'a Connection>> {
        let list = self.connections()?;
        let own = list.value.iter().find(|connection| connection.name == name)?;
        Some(list.with(own))
    }

    /// After our message was delivered the dead-letter queue grew by one, and it was the only
    /// delivery: it was rejected.
    pub fn dead_letters_grew(&self) -> bool {
        let Some(passage) = self.deliveries().last() else {
            return false;
        };
        let Some(dead) = self.dead_letter_queue() else {
            return false;
        };
        let before = self
            .depths(&dead)
            .rfind(|depth| depth.at_ms <= passage.at_ms)
            .map_or(0, |depth| depth.ready);
        let one_more = self
            .depths(&dead)
            .last()
            .is_some_and(|depth| depth.ready == before + 1);
        let others = self.timeline.events.iter().any(|event| {
            matches!(&event.kind, EventKind::Deliver { queue, message, .. }
                if queue == self.queue()
                && !message.message_id.as_deref().is_some_and(|id| self.message_ids.contains(id)))
        });
        // A delivery out of sight may be the one that was rejected.
        one_more && !others && self.sees_all(Source::Firehose)
    }
}

/// A quorum queue counts its messages once in so long, also for the list of fresh totals (4.3.6).
const QUORUM_TICK_MS: f64 = 5_000.0;

/// Queues are looked at ten times a second or more often.
pub(super) const BETWEEN_LOOKS_MS: f64 = 300.0;

/// Nothing published since the submission can have escaped the firehose.
pub(in crate::diagnosis) fn saw_every_publish(story: &Story<'_>) -> bool {
    story.sees_all(Source::Firehose)
        // Events of strangers beyond what a run keeps are a gap of no events.
        && !story
            .timeline
            .events
            .iter()
            .any(|event| matches!(event.kind, EventKind::Missed { .. }))
}

/// A message without the task id that may be the task's all the same: the API may send another id
/// than it answers with, or a body that cannot be read. One from a worker is none.
pub(in crate::diagnosis) fn disguised(story: &Story<'_>) -> Option<Fact<&'static str>> {
    let wanted = story.timeline.setup.actor.as_deref();
    let api = story.api_processes();
    story.other_publishes().find_map(|publish| {
        let Transfer {
            connection, message, ..
        } = publish;
        let from_api = api
            .iter()
            .any(|process| connections::is_socket_of(process, connection))
            || story
                .peer(connection)
                .is_some_and(|peer| api.iter().any(|process| process.pid == peer.value));
        let from_elsewhere = story.peer(connection).is_some() && !from_api && !api.is_empty();
        let fits = wanted.is_none_or(|wanted| message.actor.as_deref().is_none_or(|actor| actor == wanted));
        let what = match (from_elsewhere, message.undecodable.is_some(), fits) {
            (true, ..) | (false, false, false) => return None,
            (false, true, _) => "whose body cannot be read",
            (false, false, true) => "without this task's id",
        };
        Some(Fact::new(publish.n, publish.at_ms, what))
    })
}

/// Somebody consumed the queue at some time since the submission: whatever keeps a worker from
/// consuming is ruled out. Before there was any sample, nothing can be told.
pub(in crate::diagnosis) fn has_consumer(story: &Story<'_>) -> Option<Answer> {
    let depths = holding::depths_since_publish(story);
    if depths.is_empty() {
        return Some(Answer::cannot_tell(&[Source::Queue]));
    }
    depths.iter().find(|depth| depth.consumers > 0).map(|depth| {
        Answer::ruled_out(
            format!(
                "{} on `{}`",
                counted(depth.consumers, "consumer", "consumers"),
                story.queue()
            ),
            [depth.n],
        )
    })
}

/// The queue's ready count rose after the submission.
pub(in crate::diagnosis) fn grew(story: &Story<'_>, queue: &str) -> bool {
    let since = story.submitted_at().unwrap_or(f64::MIN);
    let before = story
        .depths(queue)
        .rfind(|depth| depth.at_ms <= since)
        .map_or(0, |depth| depth.ready);
    story.depths_since(queue).iter().any(|depth| depth.ready > before)
}

/// The dead-letter queue's ready count rose after the submission.
pub(in crate::diagnosis) fn dead_letters_rose(story: &Story<'_>) -> bool {
    story.dead_letter_queue().is_some_and(|dead| grew(story, &dead))
}

/// The publish did not add a message to the queue, though none was taken away meanwhile: the broker
/// did not keep it. Only the firehose can say that none was taken.
pub(in crate::diagnosis) fn did_not_grow(story: &Story<'_>) -> bool {
    let sent = story.published();
    sent.is_some_and(|passage| did_not_grow_by(story, passage))
}

/// The same of any publish. A queue that throws its oldest away for the newest does not grow either, and keeps it.
pub(in crate::diagnosis) fn did_not_grow_by(story: &Story<'_>, passage: &Transfer<'_>) -> bool {
    if !story.sees_all(Source::Firehose) || limits::stays(story, passage) {
        return false;
    }
    let depths: Vec<_> = story.depths(passage.queue).collect();
    // The firehose tells of it later than the queue holds it: what was counted before the request left is from before.
    let since = story
        .submitted_at()
        .map_or(passage.at_ms, |at| at.min(passage.at_ms));
    let (Some(before), Some(after)) = (depths.iter().rfind(|depth| depth.at_ms < since), depths.last())
    else {
        return false;
    };
    let taken = story.timeline.events.iter().any(|event| {
        matches!(&event.kind, EventKind::Deliver { queue, .. } if queue == passage.queue && event.at_ms >= before.at_ms)
    });
    before.exists && after.exists && after.ready <= before.ready && !taken
}

/// The message lies on a dead-letter queue for this reason: seen with `--peek` only.
pub(in crate::diagnosis) fn dead_lettered<'a>(story: &Story<'a>, wanted: &str) -> Option<Fact<&'a str>> {
    let is_it = |held: &&QueuedCopy<'_>| {
        let id = held.passage.message.message_id.as_deref();
        held.reason == Some(wanted) && id.is_some_and(|id| story.is_my_message(id))
    };
    let letter = story.held().iter().find(is_it)?;
    match &story.timeline.event(letter.passage.n)?.kind {
        EventKind::DeadLetter { from_queue, .. } => Some(Fact::new(
            letter.passage.n,
            letter.passage.at_ms,
            from_queue.as_deref().unwrap_or("?"),
        )),
        _ => None,
    }
}

/// A dead letter proves that the message was sent, whether that was seen or not.
pub(in crate::diagnosis) fn with_its_publish(story: &Story<'_>, letter: Fact<&str>) -> Vec<EventId> {
    let publish = story.published().map(|publish| publish.n);
    publish.into_iter().chain([letter.n]).collect()
}

/// The queue has a length limit or a time to live, or nobody can say: it may not hold every message
/// that was sent to it.
pub(in crate::diagnosis) fn may_lose_messages(story: &Story<'_>) -> bool {
    const LIMITS: &[&str] = &["max-length", "max-length-bytes", "message-ttl", "expires"];
    // The statistics of a young queue may know less later than they did before.
    let mut infos = story.infos(story.queue()).peekable();
    infos.peek().is_none()
        || infos.any(|info| info.policy_unknown || LIMITS.iter().any(|limit| info.setting(limit).is_some()))
}

/// Fewer messages wait than before, some time after ours was sent: somebody took one, seen or not.
pub(in crate::diagnosis) fn shrank(story: &Story<'_>) -> bool {
    let sent = match story.published() {
        Some(sent) => sent.at_ms,
        None if story.post_mortem() => f64::MIN,
        None => return false,
    };
    let depths: Vec<Depth> = story.depths(story.queue()).collect();
    let mut pairs = depths.windows(2).filter(|pair| pair[1].at_ms > sent);
    pairs.any(|pair| pair[1].ready < pair[0].ready)
}

/// The prefetch slots of the queue's consumers.
pub(in crate::diagnosis) struct Slots<'a> {
    pub evidence: [u32; 2],
    pub connections: Vec<&'a str>,
    pub prefetch: u64,
    pub unacked: u64,
    /// Each consumer is listed and has a limit: none can take more than these.
    pub counted: bool,
}

impl Slots<'_> {
    pub fn are_taken(&self) -> bool {
        self.prefetch > 0 && self.unacked >= self.prefetch
    }
}

pub(in crate::diagnosis) fn slots<'a>(story: &Story<'a>) -> Option<Slots<'a>> {
    let depth = story.depths(story.queue()).last()?;
    let since = story.published().map_or(f64::MIN, |sent| sent.at_ms);
    let info = story
        .infos(story.queue())
        .last()
        .filter(|info| info.counted_ms > since)?;
    let consumers = story.consumers()?;
    let ours = || {
        consumers
            .iter()
            .filter(|consumer| consumer.queue == story.queue())
    };
    // A list that is late, or a consumer without a limit: then the slots cannot be counted.
    let counted = ours().count() as u64 == depth.consumers && ours().all(|consumer| consumer.prefetch > 0);
    Some(Slots {
        evidence: [consumers.n, info.n],
        connections: ours().map(|consumer| consumer.connection.as_str()).collect(),
        prefetch: ours().map(|consumer| consumer.prefetch).sum(),
        unacked: info.unacked?,
        counted,
    })
}

/// Whoever took it may have rejected it: then it is on the dead-letter queue, and that is an
/// explicit failure.
pub(in crate::diagnosis) fn taken(story: &Story<'_>, answer: Answer) -> Answer {
    if story.reached(Stage::Entered).is_some() {
        return answer;
    }
    if !story.closed() {
        return Answer::NotApplicable;
    }
    if dead_letters_rose(story) {
        answer.scenario(Scenario::B)
    } else {
        answer
    }
}

/// Everything was taken from the queue and nothing is unacknowledged any more.
pub(in crate::diagnosis) fn drained(story: &Story<'_>) -> Option<u32> {
    story
        .infos(story.queue())
        .last()
        .filter(|info| info.ready == Some(0) && info.unacked == Some(0))
        .filter(|_| story.acknowledges_after_the_run())
        .filter(|_| !story.runs_what_nobody_holds())
        // What took it from this queue may have passed it on to where the worker is.
        .filter(|_| !story.is_taken_without_an_end())
        // A count from before the delivery says nothing of it.
        .filter(|info| {
            story
                .deliveries()
                .last()
                .is_some_and(|passage| info.counted_ms > passage.at_ms)
        })
        .map(|info| info.n)
}
