//! The message's time has come, and nobody moves it on.

use crate::diagnosis::evidence::{broker, retries};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::Delays;
use crate::timeline::Source;
use crate::units;

pub(super) const CAUSE: Cause = Cause {
    id: "delay-queue-stuck",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::Broker],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Firehose, Source::DeadLetters], &[Source::Queue]],
    page: include_str!("delay_queue_stuck.md"),
    check,
    ..Cause::DEFAULT
};

/// The broker's own queues for later round up to whole seconds, and each passes it on to the next.
const PASSED_ON_BY_MS: f64 = 5_000.0;

/// From one of the broker's queues to the next nobody sees it; on its own queue it was not seen to come.
fn kept_by_the_broker(story: &Story<'_>) -> Option<Answer> {
    let words = story.framework().queues.later_words?;
    let passage = story.kept_for_later().filter(|_| story.published().is_none())?;
    let late = -retries::eta_left_ms(story, passage)?;
    let depth = story.depths_since(story.queue()).last().copied()?;
    let came =
        depth.ready > 0 || story.deliveries().next().is_some() || story.reached(Stage::Delivered).is_some();
    if late < PASSED_ON_BY_MS || came || passage.message.is_retry() || !story.closed() {
        return None;
    }
    if !story.sees_all(Source::Firehose) {
        return Some(Answer::cannot_tell(&[Source::Firehose]));
    }
    Some(Answer::likely(
        format!(
            "its time came {} ago, and the broker's queues `{}` have not passed it on to `{}`: the exchange of its queue is not bound to `{}` by a key that begins with `{}`, or one of these queues is gone",
            units::span(late),
            words.queues,
            story.queue(),
            words.exchange,
            words.key_prefix
        ),
        [passage.n, depth.n],
    ))
}

fn check(story: &Story<'_>) -> Answer {
    if let Some(answer) = kept_by_the_broker(story) {
        return answer;
    }
    let Some(passage) = retries::waiting_message(story)
        .filter(|passage| passage.message.is_delayed() && !passage.message.is_retry())
        .filter(|_| story.framework().delays == Delays::OnCompanion)
    else {
        return Answer::NotApplicable;
    };
    let Some(left) = retries::eta_left_ms(story, passage) else {
        return Answer::NotApplicable;
    };
    if retries::moved_on(story) {
        return Answer::ruled_out("it was moved on to its queue", [passage.n]);
    }

    // The worker looks at its delay queue once a second at least.
    if left > -1500.0 || !story.closed() {
        return Answer::NotApplicable;
    }
    match story.depths(passage.queue).last() {
        Some(depth) if depth.consumers == 0 && depth.ready > 0 => {
            let text = format!(
                "its time came {} ago, and `{}` has no consumer to move it on",
                units::span(-left),
                passage.queue
            );
            // Where not every publish is seen it may have been moved on, and others be what waits.
            let is_there = story.held().iter().any(|held| held.passage.n == passage.n);
            match is_there || broker::saw_every_publish(story) {
                true => Answer::shown(text, [passage.n, depth.n]),
                false => Answer::likely(text, [passage.n, depth.n]).would_decide(&[Source::Firehose]),
            }
        }
        Some(depth) if depth.ready > 0 => Answer::likely(
            format!(
                "its time came {} ago, and {} messages are still ready on `{}`: its consumer's prefetch is full",
                units::span(-left),
                depth.ready,
                passage.queue
            ),
            [passage.n, depth.n],
        ),
        _ => Answer::NotApplicable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{API, Scene, delayed};

    #[test]
    fn nobody_moves_it_on() {
        let scene = delayed(500).depth("default.DQ", 1, 0);
        assert_eq!(scene.clone().silence().cause(), "certain delay-queue-stuck");
        assert_eq!(scene.answer(&CAUSE), "not applicable");
        assert_eq!(
            delayed(500).depth("default.DQ", 1, 1).silence().answer(&CAUSE),
            "likely"
        );
    }

    #[test]
    fn one_that_was_moved_on_or_still_waits_is_a_near_miss() {
        let moved = delayed(500)
            .publish("default")
            .depth("default.DQ", 1, 0)
            .silence();
        assert_eq!(moved.answer(&CAUSE), "ruled out");
        let waits = delayed(60_000).depth("default.DQ", 1, 0).silence();
        assert_eq!(waits.answer(&CAUSE), "not applicable");
        let gone = delayed(500).depth("default.DQ", 0, 0).silence();
        assert_ne!(gone.answer(&CAUSE), "certain");
    }

    /// Native delayed delivery: a queue of the broker's own for each bit of the seconds.
    #[test]
    fn the_broker_does_not_pass_it_on() {
        use crate::timeline::EventKind;
        let kept = |delay_ms: i64, ready: u64| {
            let mut message = Scene::message("m-1");
            message.eta_ms = message.timestamp_ms.map(|at| at + delay_ms);
            let publish = EventKind::Publish {
                exchange: "celery_delayed_27".into(),
                routing_key: "0.".repeat(26) + "1.1.default",
                routed: Some(vec!["celery_delayed_1".into()]),
                connection: API.into(),
                user: None,
                message,
            };
            Scene::accepted()
                .setup(|setup| setup.framework = "celery".into())
                .row("PENDING")
                .see(Source::Firehose, publish)
                .depth("default", ready, 1)
        };
        let stuck = kept(500, 0).silence();
        assert_eq!(stuck.cause(), "likely delay-queue-stuck", "{}", stuck.summary());
        assert!(
            stuck.summary().contains("`celery_delayed_delivery`"),
            "{}",
            stuck.summary()
        );
        let missed = EventKind::Missed { events: 3 };
        let gap = kept(500, 0).see(Source::Firehose, missed).silence();
        assert_eq!(gap.answer(&CAUSE), "cannot tell");
        // It has come to its queue, or its time is a moment ago, or yet to come.
        assert_eq!(kept(500, 1).silence().answer(&CAUSE), "not applicable");
        assert_eq!(kept(8_000, 0).silence().answer(&CAUSE), "not applicable");
        assert_eq!(kept(60_000, 0).silence().cause(), "likely delayed");
        assert_eq!(kept(500, 0).answer(&CAUSE), "not applicable");
    }

    #[test]
    fn without_samples_it_cannot_be_told() {
        let scene = delayed(500).depth("default.DQ", 1, 0).silence();
        assert_eq!(scene.without(Source::Queue).answer(&CAUSE), "cannot tell");
    }

    /// It was moved on unseen, perhaps, and another one waits.
    #[test]
    fn where_not_every_publish_is_seen_it_is_only_likely() {
        use crate::timeline::EventKind;
        let gap = delayed(500)
            .see(Source::Firehose, EventKind::Missed { events: 3 })
            .depth("default.DQ", 1, 0)
            .silence();
        assert_eq!(gap.answer(&CAUSE), "likely");
    }
}
