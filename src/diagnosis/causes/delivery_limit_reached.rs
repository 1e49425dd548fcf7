//! The broker gave up: it had delivered the message as often as its quorum queue allows.

use crate::diagnosis::evidence::{Fact, Info, broker, holding};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::{EventKind, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "delivery-limit-reached",
    keeps_from: &[Stage::Finished, Stage::Received, Stage::Entered],
    owner: &[Owner::Broker, Owner::WorkerCode],
    scenario: Some(Scenario::B),
    needs: &[],
    page: include_str!("delivery_limit_reached.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    // The broker's own word, with the message.
    if let Some(Fact { n, value: from, .. }) = broker::dead_lettered(story, "delivery_limit") {
        let limit = story.infos(from).last().and_then(|info| limit_of(story, &info));
        let times = limit.map_or_else(String::new, |limit| format!(" ({limit})"));
        return Answer::shown(
            format!("the broker gave up on the message: `{from}` had delivered it as often as its delivery limit allows{times}"),
            [n],
        )
        .scenario(scenario(story));
    }
    let queue = story.queue();
    let Some(info) = story.infos(queue).last() else {
        // It is asked only where a message came again and again.
        return match story.deliveries().filter(|passage| passage.redelivered).count() {
            0 | 1 => Answer::NotApplicable,
            _ => Answer::cannot_tell(&[Source::Management, Source::DeadLetters]),
        };
    };
    let Some(limit) = limit_of(story, &info) else {
        return match info.policy_unknown {
            true => Answer::NotApplicable,
            false => Answer::ruled_out(format!("`{queue}` has no delivery limit"), [info.n]),
        };
    };
    let Some(last) = story.deliveries().last() else {
        return Answer::NotApplicable;
    };
    // The first delivery and as many more as the limit allows. One that the consumer gave back does
    // not count from 4.3 on, so that there may be more.
    let times = story.deliveries().count() as u64;
    if times <= limit || !last.redelivered || ended_by_the_worker(story) {
        return Answer::NotApplicable;
    }
    let Some(dead) = story.dead_letter_queue() else {
        return Answer::NotApplicable;
    };
    let grew = story
        .depths(&dead)
        .filter(|depth| depth.at_ms > last.at_ms)
        .find(|depth| {
            story
                .depths(&dead)
                .rfind(|before| before.at_ms <= last.at_ms)
                .is_some_and(|before| depth.ready > before.ready)
        });
    match grew {
        Some(depth) if !matches!(holding::holds(story, queue, depth.at_ms), holding::Holds::All(_)) => {
            Answer::likely(
                format!(
                    "the broker gave up on the message: `{queue}` delivered it {times} times, its delivery limit is {limit}, and `{dead}` grew after the last time"
                ),
                [info.n, last.n, depth.n],
            )
            .would_decide(&[Source::DeadLetters])
            .scenario(scenario(story))
            .terminal_after(1500)
        }
        _ => Answer::NotApplicable,
    }
}

/// The worker's own word on it: then it was not the broker that ended it.
fn ended_by_the_worker(story: &Story<'_>) -> bool {
    story.attempt_over().is_some()
        || story
            .line(|mark| matches!(mark, LogEvent::Rejecting { .. }))
            .is_some()
}

fn scenario(story: &Story<'_>) -> Scenario {
    match story.reached(Stage::Entered) {
        Some(_) => Scenario::A,
        None => Scenario::B,
    }
}

/// By argument or policy; from 4.0 on 20 where neither says otherwise. Classic queues have none.
fn limit_of(story: &Story<'_>, info: &Info<'_>) -> Option<u64> {
    if info.queue_type != Some("quorum") {
        return None;
    }
    match info.setting("delivery-limit").and_then(serde_json::Value::as_i64) {
        // -1: none.
        Some(limit) => u64::try_from(limit).ok(),
        None if info.policy_unknown => None,
        None => (major_version(story)? >= 4).then_some(DEFAULT),
    }
}

const DEFAULT: u64 = 20;

/// Of the broker.
fn major_version(story: &Story<'_>) -> Option<u32> {
    story.find(|event| match &event.kind {
        EventKind::Broker { version, .. } => crate::text::version(version).map(|(major, _)| major),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Scene, WORKER};
    use serde_json::json;

    /// Delivered so often by a quorum queue with a limit of 2, and one dead letter more afterwards.
    fn again_and_again(times: u32, dead: u64) -> Scene {
        let mut scene = Scene::new()
            .depth("default", 0, 1)
            .depth("default.XQ", 0, 0)
            .submitted()
            .row("PENDING")
            .publish("default");
        for time in 0..times {
            scene = scene
                .at(500.0 + 1000.0 * f64::from(time))
                .deliver_as("m-1", WORKER, time > 0);
        }
        scene
            .at(500.0 + 1000.0 * f64::from(times))
            .depth("default.XQ", dead, 0)
            .quorum("default", json!({ "x-delivery-limit": 2 }))
    }

    #[test]
    fn the_broker_gave_up() {
        assert_eq!(again_and_again(3, 1).silence().answer(&CAUSE), "likely");
        let found = again_and_again(3, 1).dead_letter("default.XQ", "delivery_limit");
        assert_eq!(found.silence().cause(), "certain delivery-limit-reached");
    }

    /// Afterwards there is nothing but the letter.
    #[test]
    fn the_letter_alone_shows_it() {
        let found = Scene::accepted()
            .setup(|setup| setup.post_mortem = true)
            .row("PENDING")
            .depth("default", 0, 0)
            .dead_letter("default.XQ", "delivery_limit")
            .silence();
        assert_eq!(found.cause(), "certain delivery-limit-reached");
    }

    #[test]
    fn near_misses() {
        // It still comes again; another's letter; a rejection; a classic queue.
        assert_eq!(again_and_again(2, 1).silence().answer(&CAUSE), "not applicable");
        assert_eq!(again_and_again(3, 0).silence().answer(&CAUSE), "not applicable");
        let rejected = again_and_again(3, 1)
            .dead_letter("default.XQ", "rejected")
            .rejected("m-1");
        assert_ne!(rejected.silence().answer(&CAUSE), "certain");
        let classic = again_and_again(3, 1).totals("default", 0, 0, json!({ "x-delivery-limit": 2 }));
        assert_eq!(classic.silence().answer(&CAUSE), "ruled out");
        let blind = again_and_again(3, 1)
            .without(Source::Management)
            .without(Source::DeadLetters);
        assert_eq!(blind.silence().answer(&CAUSE), "cannot tell");
    }
}
