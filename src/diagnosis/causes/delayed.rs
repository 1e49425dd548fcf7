//! The message waits for its time.

use crate::diagnosis::evidence::holding::{self, Holds};
use crate::diagnosis::evidence::{PutOff, Transfer, broker, control, expiry, limits, retries};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Stand, Story};
use crate::framework::Delays;
use crate::timeline::Source;
use crate::units;

pub(super) const CAUSE: Cause = Cause {
    id: "delayed",
    // Or its actor has run, and put it off.
    keeps_from: &[Stage::Delivered, Stage::Received, Stage::Finished],
    owner: &[Owner::Wait],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Firehose, Source::DeadLetters]],
    stand: Stand::Waits,
    page: include_str!("delayed.md"),
    check,
    ..Cause::DEFAULT
};

/// It passes from one of the broker's queues for later to the next, which the firehose does not show.
fn kept_for_later(story: &Story<'_>) -> Option<Answer> {
    let passage = story.kept_for_later().filter(|_| story.published().is_none())?;
    let left = retries::eta_left_ms(story, passage).filter(|left| *left > 0.0)?;
    let words = story.framework().queues.later_words?;
    let waits = story.deliveries().next().is_none() && !passage.message.is_retry();
    waits.then(|| {
        Answer::likely(
            format!(
                "published with a delay: the broker keeps it in its queues `{}` for another {}",
                words.queues,
                units::span(left)
            ),
            [passage.n],
        )
    })
}

/// The worker itself says that it keeps it, and until when: a time without an offset in the message is none that
/// could be counted from.
fn by_its_workers_word(story: &Story<'_>) -> Option<Answer> {
    let (answer, _) = control::holder(story).filter(|(_, state)| *state == "scheduled")?;
    let mut held = answer.scheduled.iter().flatten();
    let due = held.find(|task| story.is_my_message(&task.id))?.eta.as_deref()?;
    let due_ms = due.parse::<jiff::Timestamp>().ok()?.as_millisecond();
    let now = story.timeline.zero_ms() + story.timeline.events.last()?.at_ms;
    let left = due_ms as f64 - now;
    let is_retry = story.publishes().iter().any(|passage| passage.message.is_retry());
    let knows = story
        .publishes()
        .iter()
        .any(|passage| passage.message.eta_ms.is_some());
    (left > 0.0 && !is_retry && !knows).then(|| {
        Answer::shown(
            format!(
                "{} keeps it until its time comes, by its own word in {}",
                answer.node,
                units::span(left)
            ),
            [answer.n],
        )
    })
}

/// Its actor has run, and sent a message of the same task for later in its place.
fn put_off(story: &Story<'_>) -> Option<Answer> {
    let PutOff { passage, left_ms } = story.put_off()?;
    if let Holds::Nothing(n) = holding::holds(story, passage.queue, passage.at_ms) {
        let text = format!("`{}` holds no message any more", passage.queue);
        return Some(Answer::ruled_out(text, [passage.n, n]));
    }
    let text = format!(
        "the actor ran and put the task off: a message with the same id waits on `{}` for another {}",
        passage.queue,
        units::span(left_ms)
    );
    let over = story.attempt_over().map(|over| over.n);
    let evidence: Vec<u32> = over.into_iter().chain([passage.n]).collect();
    Some(Answer::likely(text, evidence))
}

fn check(story: &Story<'_>) -> Answer {
    // By clocks that differ its time may be yet to come.
    if story.reached(Stage::Entered).is_some() || story.attempt_over().is_some() {
        return put_off(story).unwrap_or(Answer::NotApplicable);
    }
    if let Some(answer) = kept_for_later(story).or_else(|| by_its_workers_word(story)) {
        return answer;
    }
    let Some(passage) = retries::waiting_message(story)
        .filter(|passage| passage.message.is_delayed() && !passage.message.is_retry())
    else {
        return Answer::NotApplicable;
    };
    let Some(left) = retries::eta_left_ms(story, passage) else {
        return Answer::NotApplicable;
    };

    if retries::moved_on(story) {
        return Answer::ruled_out("it was moved on to its queue", [passage.n]);
    }
    if left <= 0.0 {
        return Answer::ruled_out(format!("its time came {} ago", units::span(-left)), [passage.n]);
    }
    if let (Some(expires), Some(due)) = (passage.message.expires_ms, passage.message.eta_ms)
        && expires <= due
    {
        return Answer::ruled_out("it expires before its time comes", [passage.n]);
    }
    let nobody = by_nobody(story, passage);
    if let Some(depth) = nobody
        && let Some(early) = expiry::ends_before_its_time(story, passage)
    {
        let text = format!(
            "published with a delay: nobody holds it on `{}`, and the broker throws it away {} before its time comes",
            passage.queue,
            units::span(early)
        );
        return Answer::likely(text, [passage.n, depth]).owned_by(Some(&[Owner::Broker, Owner::Deployment]));
    }
    let left = units::span(left);
    if story.framework().delays == Delays::InWorker && passage.queue == story.queue() {
        // Workers take it at once, and keep it until its time comes.
        if let Some(delivered) = in_hand(story, passage) {
            let text =
                format!("published with a delay: it waits in the hands of a worker for another {left}");
            return Answer::shown(text, [passage.n, delivered.n]);
        }
        // One that nobody has taken waits for a worker.
        if story
            .depths(passage.queue)
            .last()
            .is_some_and(|depth| depth.ready > 0)
        {
            return Answer::NotApplicable;
        }
    }
    let then = nobody.map_or(String::new(), |_| {
        format!(
            "; nobody consumes `{}`, so nobody moves it on then",
            passage.queue
        )
    });
    let text = format!(
        "published with a delay: it waits on `{}` for another {left}{then}",
        passage.queue
    );
    let owner: Option<&'static [Owner]> = nobody.map(|_| [Owner::Deployment].as_slice());
    waits(story, passage, text, &left).owned_by(owner)
}

/// By the last look no worker has it in its hands, or could move it on.
fn by_nobody(story: &Story<'_>, passage: &Transfer<'_>) -> Option<u32> {
    let is_moved = story.framework().delays == Delays::OnCompanion && passage.queue != story.queue();
    let last = story.depths(passage.queue).last().filter(|_| is_moved)?;
    (last.exists && last.consumers == 0).then_some(last.n)
}

fn waits<'a>(story: &Story<'a>, passage: &Transfer<'a>, text: String, left: &str) -> Answer {
    match holding::holds(story, passage.queue, passage.at_ms) {
        Holds::All(n) if n == passage.n => Answer::shown(text, [n]),
        Holds::All(n) => Answer::shown(text, [passage.n, n]),
        // What is counted may be others' messages, and this one may have been refused or dropped.
        Holds::Some(n) if broker::did_not_grow(story) || limits::may_drop(story, passage) => Answer::possible(
            format!(
                "published with a delay to `{}`, due in {left}; it may not wait there: the queue has a limit, or did not grow by this publish",
                passage.queue
            ),
            [passage.n, n],
        )
        .would_decide(&[Source::DeadLetters]),
        Holds::Some(n) => Answer::shown(text, [passage.n, n]).given([Premise::IsAmongTheWaiting]),
        Holds::Nothing(n) => Answer::ruled_out(
            format!(
                "its time comes in {left}, and `{}` holds no message any more",
                passage.queue
            ),
            [passage.n, n],
        ),
        Holds::Unseen => match in_hand(story, passage) {
            Some(delivered) => Answer::shown(
                format!(
                    "published with a delay to `{}`: a worker holds it from there for another {left}",
                    passage.queue
                ),
                [passage.n, delivered.n],
            ),
            None => Answer::likely(
                format!(
                    "published with a delay to `{}`, due in {left}; whether it still waits there was not seen",
                    passage.queue
                ),
                [passage.n],
            )
            .would_decide(&[Source::Queue, Source::Management]),
        },
    }
}

/// Whoever was handed it lives, consumes, and has not given it back.
fn in_hand<'s, 'a>(story: &'s Story<'a>, passage: &Transfer<'a>) -> Option<&'s Transfer<'a>> {
    let delivered = story.deliveries_from(passage.queue).last()?;
    let peer = story.peer(delivered.connection).map(|peer| peer.value);
    let nobody = story.depths(passage.queue).last();
    let is_held = delivered.at_ms >= passage.at_ms
        && holding::came_back(story).is_none()
        && peer.is_none_or(|pid| story.gone(pid).is_none())
        && !nobody.is_some_and(|depth| depth.consumers == 0 && depth.at_ms > delivered.at_ms);
    is_held.then_some(delivered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{API, Scene, WORKER, delayed};
    use crate::timeline::EventKind;
    use serde_json::json;

    #[test]
    fn it_waits_for_its_time() {
        let held = delayed(60_000)
            .depth("default", 0, 1)
            .totals("default.DQ", 0, 1, json!({}));
        assert_eq!(held.silence().cause(), "certain delayed");
        // In hand of a worker, or gone: nobody looked.
        let unseen = delayed(60_000).depth("default", 0, 1).depth("default.DQ", 0, 1);
        assert_eq!(unseen.clone().silence().cause(), "likely delayed");
        // A worker was handed it: as long as that one lives, it has it.
        let handing_over = || EventKind::Deliver {
            queue: "default.DQ".into(),
            connection: WORKER.into(),
            redelivered: false,
            message: Scene::message("m-1"),
        };
        let handed = || {
            unseen
                .clone()
                .at(300.0)
                .see(Source::Firehose, handing_over())
                .peer(WORKER, 101)
        };
        assert_eq!(handed().silence().cause(), "certain delayed");
        assert_eq!(handed().gone(101).silence().cause(), "likely delayed");
    }

    /// The message says its time without an offset, which is read as none; the worker has read it.
    #[test]
    fn the_worker_says_that_it_keeps_it() {
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OURS};
        let kept = |eta: &str| {
            CeleryScene::received()
                .answers(|answer| {
                    let mut answer = answer.scheduled(OURS);
                    let all = answer.scheduled.iter_mut().flatten();
                    all.for_each(|task| task.eta = Some(eta.to_owned()));
                    answer
                })
                .silence()
        };
        assert_eq!(kept("1970-01-01T05:00:00+00:00").cause(), "certain delayed");
        assert_eq!(kept("1970-01-01T00:00:00+00:00").answer(&CAUSE), "not applicable");
    }

    #[test]
    fn one_that_has_left_the_delay_queue_does_not_wait_there() {
        let left = delayed(60_000)
            .depth("default.DQ", 1, 0)
            .at(1500.0)
            .depth("default.DQ", 0, 0)
            .totals("default.DQ", 0, 0, json!({}));
        assert_eq!(left.silence().answer(&CAUSE), "ruled out");
        // Others wait there: ours may be among them.
        let others = Scene::new().totals("default.DQ", 2, 0, json!({})).submitted();
        let mut message = Scene::message("m-1");
        message.eta_ms = message.timestamp_ms.map(|at| at + 60_000);
        let others = others
            .publish_as("default.DQ", API, message)
            .totals("default.DQ", 2, 0, json!({}))
            .silence();
        assert_eq!(others.answer(&CAUSE), "likely");
    }

    #[test]
    fn time_that_has_come_and_a_retry_are_near_misses() {
        assert_eq!(delayed(500).silence().answer(&CAUSE), "ruled out");
        assert_eq!(
            delayed(60_000).publish("default").silence().answer(&CAUSE),
            "ruled out"
        );
        let mut retry = Scene::message("m-1");
        retry.eta_ms = Some(2_000_000);
        retry.retries = Some(1);
        assert_eq!(
            Scene::accepted()
                .publish_as("default.DQ", API, retry)
                .answer(&CAUSE),
            "not applicable"
        );
    }

    #[test]
    fn without_the_message_it_cannot_be_told() {
        let blind = delayed(60_000)
            .silence()
            .without(Source::Firehose)
            .without(Source::DeadLetters);
        assert_eq!(blind.answer(&CAUSE), "cannot tell");
    }

    /// Whoever had it has ended: it waits for a worker, and not for its time.
    #[test]
    fn in_nobodys_hands_any_more_is_a_near_miss() {
        use crate::diagnosis::causes::celery::scenes::CeleryScene;
        let with_eta = || {
            let mut scene = CeleryScene::received();
            let due = scene.timeline.zero_ms() as i64 + 600_000;
            for event in &mut scene.timeline.events {
                if let EventKind::Publish { message, .. } | EventKind::Deliver { message, .. } =
                    &mut event.kind
                {
                    message.eta_ms = Some(due);
                }
            }
            scene
        };
        let held = with_eta().silence();
        assert_eq!(held.answer(&CAUSE), "certain");
        let gone = with_eta().and(|scene| scene.depth("celery", 1, 0)).silence();
        assert_ne!(gone.answer(&CAUSE), "certain");
    }

    /// The kiln is full: the actor sends the same task once more, for a minute later.
    #[test]
    fn its_actor_put_it_off() {
        use crate::diagnosis::testing::WORKER;
        let sends = |connection: &str, change: fn(&mut crate::framework::Message)| {
            let mut copy = Scene::message("m-2");
            copy.eta_ms = copy.timestamp_ms.map(|at| at + 60_000);
            change(&mut copy);
            Scene::entered()
                .publish_as("default.DQ", connection, copy)
                .completed()
                .acked("m-1")
                .row("PENDING")
        };
        let by_its_run = sends(WORKER, |_| {}).silence();
        assert_eq!(by_its_run.cause(), "likely delayed");
        let verdict = by_its_run.verdict();
        let impact = verdict.impact.expect("an impact").sentence;
        assert!(
            !impact.contains("no copy") && !impact.contains("Nothing is lost"),
            "{impact}"
        );
        assert!(
            verdict
                .message
                .is_some_and(|found| found.place.contains("default.DQ"))
        );
        // What is sent at once, a retry's copy, and a reminder that the API sends, put nothing off.
        for near in [
            sends(WORKER, |copy| copy.eta_ms = None),
            sends(WORKER, |copy| copy.retries = Some(1)),
            sends(API, |_| {}).api_process(&[]).peer(API, 50),
        ] {
            assert_eq!(near.silence().answer(&CAUSE), "not applicable");
        }
        let works_on = Scene::entered().publish_as("default.DQ", WORKER, {
            let mut copy = Scene::message("m-2");
            copy.eta_ms = copy.timestamp_ms.map(|at| at + 60_000);
            copy
        });
        assert_eq!(works_on.timeout().answer(&CAUSE), "not applicable");
    }

    /// Nobody consumes the delay queue: nobody moves it on, and a time to live may end before.
    #[test]
    fn where_no_worker_holds_it_it_may_not_come() {
        let alone = |arguments| {
            delayed(60_000)
                .depth("default.DQ", 1, 0)
                .totals("default.DQ", 1, 0, arguments)
                .silence()
        };
        let waits = alone(json!({}));
        assert_eq!(waits.cause(), "certain delayed");
        let cause = waits.verdict().cause.expect("a cause");
        assert!(
            cause.summary.contains("nobody consumes `default.DQ`"),
            "{}",
            cause.summary
        );
        assert_eq!(cause.owner.first(), Some(&Owner::Deployment));
        let short = alone(json!({ "x-message-ttl": 30_000 }));
        assert_eq!(short.answer(&CAUSE), "likely");
        assert_ne!(short.verdict().message.expect("a place").lost, Some(false));
        let long = alone(json!({ "x-message-ttl": 90_000 }));
        assert_eq!(long.answer(&CAUSE), "certain");
    }
}
