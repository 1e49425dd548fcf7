//! The message waited on its queue, and somebody emptied the queue.

use crate::diagnosis::evidence::vanished;
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "message-vanished",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::Deployment],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Firehose], &[Source::Queue], &[Source::Management]],
    page: include_str!("message_vanished.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if !story.closed() || story.published().is_none() {
        return Answer::NotApplicable;
    }
    if !story.sees_all(Source::Firehose) {
        return Answer::cannot_tell(&[Source::Firehose]);
    }
    let Some(vanished) = vanished::vanished(story) else {
        return Answer::NotApplicable;
    };
    let how = match vanished.made_again {
        true => "the queue was deleted and made again",
        false => "the queue was purged, or deleted and made again",
    };
    let queue = story.queue();
    let mut evidence = vec![vanished.published];
    let text = match vanished.waited {
        Some(waited) => {
            evidence.push(waited.n);
            format!(
                "the message waited on `{queue}` ({} ready), then 0 were ready, and nobody was handed it: {how}",
                waited.ready
            )
        }
        None => format!(
            "the message was published to `{queue}`, which has 0 ready, and nobody was handed it: {how}"
        ),
    };
    evidence.push(vanished.gone.n);
    // A firehose that had stopped by then would show no delivery either.
    let still = Premise::StillAnswers(Source::Firehose, vanished.gone.at_ms.ceil() as i64);
    match vanished.waited.is_some() && vanished.nobody_consumed {
        true => Answer::shown(text, evidence).given([still]),
        false => Answer::likely(text, evidence),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{OTHER, Scene, WORKER};
    use serde_json::json;

    /// Nobody consumes yet, and another message waits.
    fn waits() -> Scene {
        Scene::new()
            .depth("default", 1, 0)
            .totals("default", 1, 0, json!({}))
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 2, 0)
            .at(1500.0)
    }

    #[test]
    fn it_waited_and_the_queue_was_emptied() {
        let scene = waits().depth("default", 0, 0).silence();
        // A firehose that says nothing more may have stopped.
        assert_eq!(scene.cause(), "likely message-vanished");
        let still_sees = waits()
            .depth("default", 0, 0)
            .publish_as("emails", OTHER, Scene::message("other"))
            .silence();
        assert_eq!(still_sees.cause(), "certain message-vanished");
        let message = scene.verdict().message.expect("a place");
        assert_eq!(message.lost, Some(true));
        let again = waits().no_queue("default").depth("default", 0, 0).silence();
        assert!(again.summary().contains("made again"), "{}", again.summary());
        // Whoever comes later finds nothing.
        let later = waits().depth("default", 0, 0).depth("default", 0, 1).silence();
        assert_eq!(later.cause(), "likely message-vanished");
    }

    #[test]
    fn one_that_waits_is_a_near_miss() {
        let scene = waits().depth("default", 2, 0).silence();
        assert_eq!(scene.answer(&CAUSE), "not applicable");
        // The look may have been under way before the message came.
        let early = Scene::new()
            .depth("default", 0, 0)
            .totals("default", 0, 0, json!({}))
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 0, 0)
            .silence();
        assert_eq!(early.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn one_that_was_delivered_or_expired_is_a_near_miss() {
        let taken = waits().deliver(WORKER).depth("default", 0, 1).silence();
        assert_eq!(taken.answer(&CAUSE), "not applicable");
        let short_lived = waits()
            .depth("default", 0, 0)
            .totals("default", 0, 0, json!({ "x-message-ttl": 500 }))
            .silence();
        assert_eq!(short_lived.answer(&CAUSE), "not applicable");
        // Of one that has a time to live of its own only the dead letter is seen.
        let expired = Scene::new()
            .depth("default.XQ", 0, 0)
            .depth("default", 0, 0)
            .totals("default", 0, 0, json!({}))
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 1, 0)
            .at(1500.0)
            .depth("default", 0, 0)
            .depth("default.XQ", 1, 0)
            .silence();
        assert_eq!(expired.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn with_a_consumer_it_is_likely_and_blind_it_cannot_be_told() {
        let consumed = waits().depth("default", 1, 1).depth("default", 0, 1).silence();
        assert_eq!(consumed.answer(&CAUSE), "likely");
        let scene = waits().depth("default", 0, 0).silence();
        for source in [Source::Firehose, Source::Queue, Source::Management] {
            assert_eq!(scene.without(source).answer(&CAUSE), "cannot tell");
        }
    }

    #[test]
    fn no_consumer_does_not_promise_what_is_gone() {
        let scene = waits().depth("default", 0, 0).silence();
        let no_consumer = crate::diagnosis::causes::find("no-consumer").expect("a cause");
        assert_eq!(scene.answer(no_consumer), "possible");
    }

    /// An outbox sends what was lost once more.
    #[test]
    fn one_that_was_sent_again_is_a_near_miss() {
        let again = waits()
            .depth("default", 0, 0)
            .publish("default")
            .depth("default", 1, 0)
            .publish_as("emails", OTHER, Scene::message("other"))
            .silence();
        assert_eq!(again.answer(&CAUSE), "not applicable");
        let message = again.verdict().message;
        assert!(message.is_none_or(|message| message.lost != Some(true)));
    }
}
