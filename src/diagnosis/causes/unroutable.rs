//! The queue does not exist, so the broker dropped the message.

use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::{EventKind, Source};
use crate::units;

pub(super) const CAUSE: Cause = Cause {
    id: "unroutable",
    keeps_from: &[Stage::Published],
    owner: &[Owner::ApiCode],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Firehose], &[Source::Queue]],
    page: include_str!("unroutable.md"),
    check,
    ..Cause::DEFAULT
};

/// More than two events of different sources can be out of order.
const LATER_MS: f64 = 100.0;

/// The broker says of what passed an exchange where it went: nowhere.
fn led_nowhere(story: &Story<'_>) -> Option<Answer> {
    let first = story
        .publishes()
        .first()
        .filter(|_| story.published().is_none())?;
    match &story.timeline.event(first.n)?.kind {
        EventKind::Publish {
            exchange,
            routing_key,
            routed: Some(routed),
            ..
        } if routed.is_empty() => {
            let text = format!(
                "published to exchange `{exchange}` with routing key `{routing_key}`, which leads to no queue: the broker dropped the message"
            );
            let wanted = story.timeline.setup.actor.as_deref();
            let sent = first.message.actor.as_deref();
            // Of another message with the same id (an audit, a mail) nothing is concluded at once, and of what is no
            // task's at all (an event) little.
            match sent.is_some() && wanted.is_none_or(|wanted| sent == Some(wanted)) {
                true if wanted.is_some() => Some(Answer::shown(text, [first.n]).lasting_if(true)),
                true => story.closed().then(|| Answer::likely(text, [first.n])),
                false => story.closed().then(|| Answer::possible(text, [first.n])),
            }
        }
        _ => None,
    }
}

fn check(story: &Story<'_>) -> Answer {
    if let Some(answer) = led_nowhere(story) {
        return answer;
    }
    let Some(passage) = story.published() else {
        return Answer::NotApplicable;
    };
    if let Some(down) = story.down(passage.queue).last() {
        let text = format!("queue `{}` is known: {down}", passage.queue);
        return Answer::ruled_out(text, [down.n]);
    }
    let depths = story.depths_since(passage.queue);
    if let Some((missing, again)) = story.missing_when_sent(passage) {
        return Answer::likely(
            format!(
                "`{}` did not exist when the message was sent to it, and was made again {} later: the broker dropped the message",
                passage.queue,
                units::span(again.at_ms - passage.at_ms)
            ),
            [passage.n, missing.n, again.n],
        )
        .lasting_if(true);
    }
    if let Some(depth) = depths.iter().find(|depth| depth.exists) {
        return Answer::ruled_out(format!("queue `{}` exists", passage.queue), [depth.n]);
    }
    // A sample on its way while the API declared the queue says nothing: it must be a later one.
    match depths.last() {
        Some(depth) if depth.at_ms >= passage.at_ms + LATER_MS => Answer::shown(
            format!(
                "published to `{}`, which does not exist: the broker dropped the message",
                passage.queue
            ),
            [passage.n, depth.n],
        )
        .gone()
        .lasting_if(true),
        _ if story.closed() => Answer::cannot_tell(&[Source::Queue]),
        _ => Answer::NotApplicable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    #[test]
    fn the_queue_is_missing_after_the_publish() {
        let scene = Scene::accepted()
            .row("PENDING")
            .publish("default")
            .at(500.0)
            .no_queue("default")
            .silence();
        assert_eq!(scene.cause(), "certain unroutable");
        assert!(scene.lasts());
    }

    #[test]
    fn an_exchange_that_leads_nowhere() {
        let sent = |queues: &[&str]| {
            Scene::accepted()
                .row("PENDING")
                .publish_by("samples", "lab.x", queues)
        };
        let scene = sent(&[]).setup(|setup| setup.actor = None).silence();
        assert_eq!(scene.cause(), "likely unroutable", "{}", scene.summary());
        let meant = sent(&[]);
        assert_eq!(meant.cause(), "certain unroutable");
        let elsewhere = sent(&["other"]).silence();
        assert_eq!(elsewhere.cause(), "likely published-to-other-queue");
        assert!(
            elsewhere.summary().contains("which leads to `other`"),
            "{}",
            elsewhere.summary()
        );
        // A key of its own leads to the queue as well.
        let ours = sent(&["audit", "default"]).depth("default", 1, 0).silence();
        assert!(ours.cause().ends_with(" no-consumer"), "{}", ours.summary());
    }

    /// An event that holds the task's id, and is no task's message.
    #[test]
    fn an_event_that_nobody_subscribes_to() {
        let undecodable = crate::framework::Message {
            carries_task_id: true,
            undecodable: Some("16 bytes that are not JSON".into()),
            ..Default::default()
        };
        let sent = EventKind::Publish {
            exchange: "events".into(),
            routing_key: String::new(),
            routed: Some(Vec::new()),
            connection: crate::diagnosis::testing::API.into(),
            user: None,
            message: undecodable,
        };
        let scene = Scene::accepted().row("PENDING").see(Source::Firehose, sent);
        assert_eq!(scene.silence().answer(&CAUSE), "possible");
    }

    #[test]
    fn a_sample_from_before_the_declaration_is_a_near_miss() {
        let early = Scene::accepted()
            .row("PENDING")
            .no_queue("default")
            .publish("default");
        assert_eq!(early.answer(&CAUSE), "not applicable");
        assert_eq!(early.depth("default", 1, 0).silence().answer(&CAUSE), "ruled out");
    }

    #[test]
    fn without_samples_it_cannot_be_told() {
        let scene = Scene::accepted().publish("default").no_queue("default").silence();
        for source in [Source::Queue, Source::Firehose] {
            assert_eq!(scene.without(source).answer(&CAUSE), "cannot tell");
        }
    }

    /// What is there later was not there then.
    #[test]
    fn the_queue_is_made_again_after_the_publish() {
        let again = |missing_at: f64, at: f64| {
            Scene::new()
                .no_queue("default")
                .submitted()
                .row("PENDING")
                .publish("default")
                .at(missing_at)
                .no_queue("default")
                .at(at)
                .depth("default", 0, 1)
                .silence()
        };
        let scene = again(80.0, 2_800.0);
        assert_eq!(scene.answer(&CAUSE), "likely");
        // Declared as it was sent: a look that was under way says nothing.
        assert_eq!(again(25.0, 110.0).answer(&CAUSE), "ruled out");
    }
}
