//! What comes after a failed attempt, and what waits for its time.

use std::fmt::{self, Display, Formatter};

use super::{Story, Transfer, WorkerLine, broker};
use crate::diagnosis::Outcome;
use crate::diagnosis::premises::EventId;
use crate::framework::{Delays, LogEvent};
use crate::text::counted;
use crate::timeline::{EventKind, Source};
use crate::units;

impl<'a> Story<'a> {
    /// Its publish, where the broker itself keeps it until its time comes, for the configured queue.
    pub fn kept_for_later(&self) -> Option<&Transfer<'a>> {
        self.publishes
            .iter()
            .find(|passage| self.is_kept_for_later(passage))
    }

    pub(super) fn is_kept_for_later(&self, passage: &Transfer<'_>) -> bool {
        let Some(EventKind::Publish {
            exchange,
            routing_key,
            ..
        }) = self.timeline.event(passage.n).map(|event| &event.kind)
        else {
            return false;
        };
        let key = (self.framework().queues.later)(exchange, routing_key);
        key.is_some_and(|key| self.is_of_my_queue(key) || self.is_bound_by(key))
    }

    /// The configured queue is bound by this key, as it is or behind any others.
    fn is_bound_by(&self, key: &str) -> bool {
        let own = self.queue();
        self.timeline.events.iter().any(|event| match &event.kind {
            EventKind::Bound { queue, keys } if queue == own => {
                let mut keys = keys.iter().map(String::as_str);
                keys.any(|bound| bound == key || bound.strip_prefix("#.") == Some(key))
            }
            _ => false,
        })
    }
}

/// Milliseconds until the message's eta at the end of what was seen; negative: it has passed.
/// Counted from the enqueue by the publisher's clock and the publish by ours.
pub(in crate::diagnosis) fn eta_left_ms(story: &Story<'_>, passage: &Transfer<'_>) -> Option<f64> {
    let now = story
        .timeline
        .events
        .last()
        .map_or(passage.at_ms, |event| event.at_ms);
    if story.post_mortem() {
        // There was no publish to count from: wall clocks must do.
        let started: jiff::Timestamp = story.timeline.started_at.parse().ok()?;
        return Some(passage.message.eta_ms? as f64 - (started.as_millisecond() as f64 + now));
    }
    let eta = passage.message.eta_ms? as f64;
    // Without the publisher's own time wall clocks must do here, too.
    let sent = passage.message.timestamp_ms.map(|at| at as f64);
    let delay = eta - sent.unwrap_or(story.timeline.zero_ms() + passage.at_ms);
    Some(delay - (now - passage.at_ms))
}

/// The message on its way through the delay queue: as it was published, or where it lies.
pub(in crate::diagnosis) fn waiting_message<'s, 'a>(story: &'s Story<'a>) -> Option<&'s Transfer<'a>> {
    story.published().or_else(|| {
        let delay = story.delay_queue()?;
        let mut copies = story.held().iter().map(|held| &held.passage);
        copies.find(|passage| passage.queue == delay)
    })
}

/// Published to the queue itself, or moved on to it.
pub(in crate::diagnosis) fn is_on_the_queue(story: &Story<'_>) -> bool {
    story
        .published()
        .is_some_and(|passage| passage.queue == story.queue())
        || moved_on(story)
}

/// A worker has moved the delayed message on to the queue itself.
pub(in crate::diagnosis) fn moved_on(story: &Story<'_>) -> bool {
    let mut publishes = story.publishes().iter();
    // Where workers keep what is delayed, it is on its queue from the start.
    story.framework().delays == Delays::OnCompanion && publishes.any(|passage| passage.queue == story.queue())
}

/// No further attempt is waited for.
pub(in crate::diagnosis) fn final_attempt(story: &Story<'_>) -> bool {
    // An actor that ran without its row: whether the row still comes decides what the cause is.
    if story.row_unseen() && !story.closed() {
        return false;
    }
    let is_last = |mark: &LogEvent| match mark {
        LogEvent::RetriesExceeded { .. } | LogEvent::Aborting { .. } => true,
        LogEvent::Failed { .. } => story.framework().failure_is_final,
        _ => false,
    };
    !story.timeline.setup.wait_retries || story.line(is_last).is_some()
}

/// What comes next after a failed attempt. It prints as the end of a sentence.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::diagnosis) enum RetryState {
    /// Nothing says.
    Unknown,
    Exhausted,
    /// The row said that it had succeeded, and then an attempt failed.
    SucceededBefore,
    SucceededSince,
    FailedAgain,
    /// The copy was seen, and its time is to come: how many were seen before, of how many.
    Comes {
        retry: u64,
        most: Option<u64>,
        in_ms: f64,
    },
    /// The copy was seen, and nothing says for how long it waits.
    Waits {
        retry: u64,
    },
    /// By its word, and afterwards nobody sees what came of it: the delay queue, and how many wait there by now.
    WasToCome {
        in_ms: f64,
        waiting: Option<(String, u64)>,
    },
    /// By its word alone; whether every publish was seen, and none was its copy.
    Announced {
        in_ms: f64,
        copy_is_missing: bool,
    },
    /// Its time has passed, and nothing shows it; where it was sent instead of to its own queue.
    Overdue {
        retry: u64,
        by_ms: f64,
        sent_to: String,
    },
    Delivered {
        retry: u64,
    },
}

impl RetryState {
    /// A copy of the message waits for its turn.
    pub fn is_pending(&self) -> bool {
        matches!(self, Self::Comes { .. } | Self::Waits { .. })
    }
}

impl Display for RetryState {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => Ok(()),
            Self::Exhausted => f.write_str("; retries are exhausted"),
            Self::SucceededBefore => {
                f.write_str("; the row said that it succeeded before that, and a retry runs it again")
            }
            Self::SucceededSince => f.write_str("; the task has succeeded since"),
            Self::FailedAgain => f.write_str("; it was retried, and failed again"),
            Self::Comes { retry, most, in_ms } => {
                let most = most.map_or(String::new(), |most| format!(" of at most {most}"));
                match *in_ms > 0.0 {
                    true => write!(f, "; retry {retry}{most} comes in {}", units::span(*in_ms)),
                    false => write!(f, "; retry {retry}{most} comes at once"),
                }
            }
            Self::Waits { retry } => write!(f, "; retry {retry} is waiting"),
            Self::WasToCome { in_ms, waiting } => {
                let waiting = waiting.as_ref().map(|(queue, count)| {
                    let many = counted(*count, "message", "messages");
                    format!(", and `{queue}` holds {many}")
                });
                let waiting = waiting.unwrap_or_default();
                write!(f, "; it was to be retried {} later{waiting}", units::span(*in_ms))
            }
            Self::Announced {
                in_ms,
                copy_is_missing,
            } => {
                let missing = if *copy_is_missing {
                    ", and no copy was seen"
                } else {
                    ""
                };
                write!(
                    f,
                    "; it said that it would retry in {}{missing}",
                    units::span(*in_ms)
                )
            }
            Self::Overdue {
                retry,
                by_ms,
                sent_to,
            } => {
                write!(f, "; retry {retry} was due {} ago{sent_to}", units::span(*by_ms))
            }
            Self::Delivered { retry } => {
                write!(
                    f,
                    "; retry {retry} has been delivered since; its result was not seen"
                )
            }
        }
    }
}

/// From the log, or from the copy on the delay queue.
pub(in crate::diagnosis) fn retry_state(story: &Story<'_>) -> RetryState {
    if story
        .line(|mark| matches!(mark, LogEvent::RetriesExceeded { .. }))
        .is_some()
    {
        return RetryState::Exhausted;
    }
    if story.outcome() == Outcome::Succeeded {
        let raised = story.raised().last().map_or(f64::MIN, |raised| raised.at_ms);
        let mut rows = story.rows().iter();
        let first = rows.find(|row| row.present && story.says_it_is_over(row));
        return match first.is_some_and(|row| row.at_ms < raised) {
            true => RetryState::SucceededBefore,
            false => RetryState::SucceededSince,
        };
    }
    let copy = story
        .publishes()
        .iter()
        .rfind(|passage| passage.message.is_retry());
    let said = announced(story).and_then(|told| match told.mark {
        Some(LogEvent::Retrying { in_ms, .. }) => Some((told, *in_ms as f64)),
        _ => None,
    });
    if let Some((told, in_ms)) = said
        && let Some(come) = what_came_of_it(story, &told, in_ms, copy)
    {
        return come;
    }
    let wait = said.map(|(_, in_ms)| in_ms).or_else(|| {
        copy.and_then(|passage| eta_left_ms(story, passage))
            .filter(|left| *left > 0.0)
    });
    match (wait, copy.and_then(|passage| passage.message.retries)) {
        (Some(in_ms), Some(retry)) => RetryState::Comes {
            retry,
            most: copy.and_then(|passage| passage.message.max_retries),
            in_ms,
        },
        (Some(in_ms), None) if story.post_mortem() => RetryState::WasToCome {
            in_ms,
            waiting: on_the_delay_queue(story),
        },
        (Some(in_ms), None) => RetryState::Announced {
            in_ms,
            copy_is_missing: broker::saw_every_publish(story),
        },
        (None, Some(retry)) if retry_was_delivered(story) => RetryState::Delivered { retry },
        (None, Some(retry)) => RetryState::Waits { retry },
        (None, None) => RetryState::Unknown,
    }
}

/// Afterwards: the retry that the log announces last was due, does not wait any more, and no line tells of it. Another
/// worker, with a log of its own, has run it.
pub(in crate::diagnosis) fn ran_out_of_sight(story: &Story<'_>) -> Option<EventId> {
    let told = announced(story).filter(|told| story.post_mortem() && told.stated.is_some())?;
    let Some(LogEvent::Retrying { in_ms, .. }) = told.mark else {
        return None;
    };
    let now = story.timeline.events.last()?.at_ms;
    let is_due = told.at_ms + *in_ms as f64 + BETWEEN_SOURCES_MS < now;
    let waits = !story.held().is_empty() || on_the_delay_queue(story).is_some();
    (is_due && !waits).then_some(told.n)
}

/// Whosever they are: ready, and held by the workers that wait for their time.
fn on_the_delay_queue(story: &Story<'_>) -> Option<(String, u64)> {
    let queue = story.delay_queue()?;
    let ready = story.depths(&queue).last()?.ready;
    let held = story.infos(&queue).last().and_then(|info| info.unacked);
    let count = ready + held.unwrap_or(0);
    // What is held is counted seconds late.
    (count > 0).then_some((queue, count))
}

/// The retry that this line announced has failed as well, or its time has passed and nothing shows it.
fn what_came_of_it(
    story: &Story<'_>,
    told: &WorkerLine<'_>,
    in_ms: f64,
    copy: Option<&Transfer<'_>>,
) -> Option<RetryState> {
    let failed = |line: &&WorkerLine<'_>| {
        line.n > told.n
            && matches!(
                line.mark,
                Some(LogEvent::Failed { .. } | LogEvent::ExpectedException { .. })
            )
    };
    if story.lines().iter().any(|line| failed(&line)) {
        return Some(RetryState::FailedAgain);
    }
    let now = story.timeline.events.last()?.at_ms;
    let by_ms = now - (told.at_ms + in_ms);
    // A worker may take a moment to begin.
    if by_ms < BETWEEN_SOURCES_MS || story.post_mortem() {
        return None;
    }
    let copy = copy?;
    if story
        .deliveries()
        .any(|passage| passage.message.is_retry() && passage.at_ms > told.at_ms)
    {
        return Some(RetryState::Delivered {
            retry: copy.message.retries.unwrap_or(1),
        });
    }
    let nobody = || {
        let consumers = story.consumers()?;
        let is_known = story.sees_all(Source::Management) && consumers.at_ms > copy.at_ms;
        let is_consumed = consumers.iter().any(|consumer| consumer.queue == copy.queue);
        (is_known && !is_consumed).then_some(", which has no consumer")
    };
    let sent_to = match story.is_of_my_queue(copy.queue) {
        true => String::new(),
        false => format!(
            ": it was sent to `{}`{}",
            copy.queue,
            nobody().unwrap_or_default()
        ),
    };
    Some(RetryState::Overdue {
        retry: copy.message.retries.unwrap_or(1),
        by_ms,
        sent_to,
    })
}

/// The last attempt said that it is retried.
pub(in crate::diagnosis) fn announced<'a>(story: &Story<'a>) -> Option<WorkerLine<'a>> {
    let mut lines = story.lines().iter().rev();
    lines
        .find(|told| matches!(told.mark, Some(LogEvent::Retrying { .. })))
        .copied()
}

/// Its retry is not due before that moment: the copy.
pub(in crate::diagnosis) fn comes_after(story: &Story<'_>, at_ms: f64) -> Option<EventId> {
    let copy = story
        .publishes()
        .iter()
        .rfind(|passage| passage.message.is_retry())?;
    let due_at = copy.message.eta_ms? as f64 - story.timeline.zero_ms();
    let begins = |told: &&WorkerLine<'_>| matches!(told.mark, Some(LogEvent::Received { .. }));
    let mut begun = story.lines().iter().filter(begins);
    let has_begun = begun.any(|told| told.at_ms > copy.at_ms);
    (due_at > at_ms && copy.at_ms < at_ms && !has_begun).then_some(copy.n)
}

/// It said so, and no copy has been seen since, though it would be.
pub(in crate::diagnosis) fn awaits_its_copy(story: &Story<'_>) -> bool {
    let Some(said) = announced(story).filter(|_| broker::saw_every_publish(story)) else {
        return false;
    };
    !story
        .publishes()
        .iter()
        .any(|passage| passage.message.is_retry() && passage.at_ms > said.at_ms - BETWEEN_SOURCES_MS)
}

/// The worker's line and its publish are one moment, and reach us through two sources.
const BETWEEN_SOURCES_MS: f64 = 1000.0;

/// The copy has been handed to a worker again, and nobody saw how that ended.
pub(in crate::diagnosis) fn retry_was_delivered(story: &Story<'_>) -> bool {
    story
        .deliveries()
        .last()
        .is_some_and(|passage| passage.message.is_retry() && passage.queue == story.queue())
        && story.is_trace()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::causes::celery::scenes::{CeleryScene, OURS};
    use crate::diagnosis::testing::WORKER;
    use crate::framework::Message;

    fn retried() -> CeleryScene {
        let raised = "ValueError('no')";
        CeleryScene::received().info(&format!(
            "Task shop.tasks.fulfil[{OURS}] retry: Retry in 0s: {raised}"
        ))
    }

    #[test]
    fn a_retry_that_has_failed_does_not_come() {
        let again = retried().error(&format!(
            "Task shop.tasks.fulfil[{OURS}] raised unexpected: ValueError('no')"
        ));
        let scene = again.and(|scene| scene.setup(|setup| setup.wait_retries = true));
        let timeline = scene.timeline.clone();
        let story = Story::new(&timeline);
        assert_eq!(retry_state(&story), RetryState::FailedAgain);
        assert!(final_attempt(&story));
        // Its copy went elsewhere long ago.
        let copy = Message {
            message_id: Some(OURS.into()),
            actor: Some("shop.tasks.fulfil".into()),
            carries_task_id: true,
            retries: Some(1),
            ..Message::default()
        };
        let sent = |queue: &str| retried().and(|scene| scene.publish_as(queue, WORKER, copy.clone()));
        let late = sent("again")
            .and(|scene| scene.consumers(&[("celery", WORKER, 4)]))
            .silence();
        let said = retry_state(&Story::new(&late.timeline)).to_string();
        assert!(
            said.starts_with("; retry 1 was due ")
                && said.ends_with(" ago: it was sent to `again`, which has no consumer"),
            "{said}"
        );
        let here = sent("celery").silence();
        let said = retry_state(&Story::new(&here.timeline)).to_string();
        assert!(
            said.starts_with("; retry 1 was due ") && said.ends_with(" ago"),
            "{said}"
        );
        let soon = sent("celery");
        assert_eq!(
            retry_state(&Story::new(&soon.timeline)).to_string(),
            "; retry 1 comes at once"
        );
        // It did better since.
        let better = retried()
            .info(&format!("Task shop.tasks.fulfil[{OURS}] succeeded in 0.1s: None"))
            .and(|scene| scene.row("COMPLETED"));
        assert_eq!(
            retry_state(&Story::new(&better.timeline)),
            RetryState::SucceededSince
        );
        // And one that is on its way does.
        let waits = retried().and(|scene| scene.setup(|setup| setup.wait_retries = true));
        assert!(!final_attempt(&Story::new(&waits.timeline)));
    }
}
