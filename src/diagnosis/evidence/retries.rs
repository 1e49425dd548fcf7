//! What comes after a failed attempt, and what waits for its time.

use super::{Story, Transfer, WorkerLine, broker};
use crate::diagnosis::Outcome;
use crate::framework::{Delays, LogEvent};
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

/// What comes next after a failed attempt, from the log or from the copy on the delay queue.
pub(in crate::diagnosis) fn retry_state(story: &Story<'_>) -> String {
    if story
        .line(|mark| matches!(mark, LogEvent::RetriesExceeded { .. }))
        .is_some()
    {
        return "; retries are exhausted".into();
    }
    if story.outcome() == Outcome::Succeeded {
        let raised = story.raised().last().map_or(f64::MIN, |raised| raised.at_ms);
        let mut rows = story.rows().iter();
        let first = rows.find(|row| row.present && story.says_it_is_over(row));
        match first.is_some_and(|row| row.at_ms < raised) {
            true => return "; the row said that it succeeded before that, and a retry runs it again".into(),
            false => return "; the task has succeeded since".into(),
        }
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
        (Some(wait), Some(done)) => {
            let left = copy
                .and_then(|passage| passage.message.max_retries)
                .map(|most| format!(" of at most {most}"))
                .unwrap_or_default();
            match wait > 0.0 {
                true => format!("; retry {done}{left} comes in {}", units::span(wait)),
                false => format!("; retry {done}{left} comes at once"),
            }
        }
        (Some(wait), None) if story.post_mortem() => {
            format!("; it was to be retried {} later", units::span(wait))
        }
        (Some(wait), None) if broker::saw_every_publish(story) => format!(
            "; it said that it would retry in {}, and no copy was seen",
            units::span(wait)
        ),
        (Some(wait), None) => format!("; it said that it would retry in {}", units::span(wait)),
        (None, Some(done)) if retry_was_delivered(story) => {
            format!("; retry {done} has been delivered since; its result was not seen")
        }
        (None, Some(done)) => format!("; retry {done} is waiting"),
        (None, None) => String::new(),
    }
}

/// The retry that this line announced has failed as well, or its time has passed and nothing shows it.
fn what_came_of_it(
    story: &Story<'_>,
    told: &WorkerLine<'_>,
    in_ms: f64,
    copy: Option<&Transfer<'_>>,
) -> Option<String> {
    let failed = |line: &&WorkerLine<'_>| {
        line.n > told.n
            && matches!(
                line.mark,
                Some(LogEvent::Failed { .. } | LogEvent::ExpectedException { .. })
            )
    };
    if story.lines().iter().any(|line| failed(&line)) {
        return Some("; it was retried, and failed again".into());
    }
    let now = story.timeline.events.last()?.at_ms;
    let late = now - (told.at_ms + in_ms);
    // A worker may take a moment to begin.
    if late < BETWEEN_SOURCES_MS || story.post_mortem() {
        return None;
    }
    let copy = copy?;
    let done = copy.message.retries.unwrap_or(1);
    let nobody = || {
        let consumers = story.consumers()?;
        let is_known = story.sees_all(Source::Management) && consumers.at_ms > copy.at_ms;
        let is_consumed = consumers.iter().any(|consumer| consumer.queue == copy.queue);
        (is_known && !is_consumed).then_some(", which has no consumer")
    };
    let place = match story.is_of_my_queue(copy.queue) {
        true => String::new(),
        false => format!(
            ": it was sent to `{}`{}",
            copy.queue,
            nobody().unwrap_or_default()
        ),
    };
    Some(format!("; retry {done} was due {} ago{place}", units::span(late)))
}

/// The last attempt said that it is retried.
pub(in crate::diagnosis) fn announced<'a>(story: &Story<'a>) -> Option<WorkerLine<'a>> {
    let mut lines = story.lines().iter().rev();
    lines
        .find(|told| matches!(told.mark, Some(LogEvent::Retrying { .. })))
        .copied()
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
        assert_eq!(retry_state(&story), "; it was retried, and failed again");
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
        let said = retry_state(&Story::new(&late.timeline));
        assert!(
            said.starts_with("; retry 1 was due ")
                && said.ends_with(" ago: it was sent to `again`, which has no consumer"),
            "{said}"
        );
        let here = sent("celery").silence();
        let said = retry_state(&Story::new(&here.timeline));
        assert!(
            said.starts_with("; retry 1 was due ") && said.ends_with(" ago"),
            "{said}"
        );
        let soon = sent("celery");
        assert_eq!(
            retry_state(&Story::new(&soon.timeline)),
            "; retry 1 comes at once"
        );
        // It did better since.
        let better = retried()
            .info(&format!("Task shop.tasks.fulfil[{OURS}] succeeded in 0.1s: None"))
            .and(|scene| scene.row("COMPLETED"));
        assert_eq!(
            retry_state(&Story::new(&better.timeline)),
            "; the task has succeeded since"
        );
        // And one that is on its way does.
        let waits = retried().and(|scene| scene.setup(|setup| setup.wait_retries = true));
        assert!(!final_attempt(&Story::new(&waits.timeline)));
    }
}
