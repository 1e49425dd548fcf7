//! A TTL ended before anybody took the message.

use super::waits_in_a_worker;
use crate::diagnosis::evidence::discard::Discard;
use crate::diagnosis::evidence::holding::{self, Holds};
use crate::diagnosis::evidence::{Depth, Info, Transfer, broker, control, expiry};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::Source;
use crate::units;

pub(super) const CAUSE: Cause = Cause {
    id: "message-expired",
    keeps_from: &[Stage::Delivered, Stage::Received],
    owner: &[Owner::Broker, Owner::ApiCode],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Management, Source::DeadLetters, Source::Firehose]],
    page: include_str!("message_expired.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if let Some(answer) = in_the_worker(story).or_else(|| in_its_hands(story)) {
        return answer;
    }
    // The dead letter itself proves the publish.
    if let Some(from) = broker::dead_lettered(story, "expired") {
        return Answer::shown(
            format!("the message expired on `{from}` before anybody took it"),
            broker::with_its_publish(story, from),
        )
        .lasting_if(true);
    }
    if let Some(answer) = story.published().and_then(|passage| by_ttl(story, passage)) {
        return answer;
    }
    let published = story
        .publishes()
        .iter()
        .rfind(|passage| story.is_of_my_queue(passage.queue));
    if published.is_none() && story.sees_all(Source::Firehose) {
        return Answer::NotApplicable;
    }
    let queue = published.map_or(story.queue(), |passage| passage.queue);
    // The statistics of a young queue, or a young policy, may say less later than they did before.
    let tells = |info: &Info<'_>| info.setting("message-ttl").is_some();
    let told = story.infos(queue).rfind(tells);
    let Some(info) = told.or_else(|| story.infos(queue).last()) else {
        return Answer::cannot_tell(&[Source::Management]);
    };
    let ttl = info.setting("message-ttl").and_then(serde_json::Value::as_u64);
    if ttl.is_none() && info.policy_unknown {
        return Answer::cannot_tell(&[Source::Management]);
    }
    let Some(ttl) = ttl else {
        // It may have a time to live of its own.
        match published {
            Some(passage) if passage.message.expiration_ms.is_some() => return Answer::NotApplicable,
            None if story.framework().messages_expire => return Answer::cannot_tell(&[Source::Firehose]),
            _ => {}
        }
        return Answer::ruled_out(format!("`{queue}` has no message TTL"), [info.n]);
    };
    if let Some(answer) = afterwards(story, &info, ttl) {
        return answer;
    }
    let Some(dead) = story
        .dead_letter_queue()
        .filter(|_| story.closed() && story.reached(Stage::Delivered).is_none())
        .filter(|dead| broker::grew(story, dead))
    else {
        return Answer::NotApplicable;
    };
    let lives = format!("messages on `{queue}` live {ttl} ms");
    let Some(passage) = published else {
        return unseen_publish(story, &info, &lives, &dead);
    };
    let there_no_more = match holding::holds(story, queue, passage.at_ms) {
        Holds::Nothing(n) => Some(n),
        Holds::All(_) => None,
        // Others are held; ready is none of them.
        Holds::Some(_) | Holds::Unseen => nothing_ready(story, queue),
    };
    match there_no_more {
        Some(n) if story.sees_all(Source::Firehose) => Answer::likely(
            format!("{lives}; this one is no longer there, was never delivered, and `{dead}` grew"),
            [passage.n, info.n, n],
        )
        .would_decide(&[Source::DeadLetters]),
        _ => Answer::NotApplicable,
    }
}

/// Nothing that is sent to a queue without a consumer outlives its time there, and nobody had it.
fn afterwards(story: &Story<'_>, info: &Info<'_>, ttl_ms: u64) -> Option<Answer> {
    let last = story.depths(story.queue()).last()?;
    let is_empty = last.exists && last.ready == 0 && last.consumers == 0 && info.unacked == Some(0);
    let was_heard_of = !story.lines().is_empty() || story.reached(Stage::Published).is_some();
    let row = story.last_row().filter(|row| row.present)?;
    let is_first = story.row_succeeded().is_none() && story.reached(Stage::Entered).is_none();
    let applies = story.post_mortem() && is_empty && is_first && !was_heard_of;
    (applies && ttl_ms <= LOOKED_AT_AFTER_MS && story.sees(Source::WorkerLog)).then(|| {
        let text = format!(
            "messages on `{}` live {}, nobody consumes it, and it is empty; no worker's log has the task",
            story.queue(),
            units::span(ttl_ms as f64)
        );
        Answer::shown(text, [info.n, last.n, row.n])
            .given([Premise::WasSent])
            .would_decide(&[Source::Firehose, Source::DeadLetters])
    })
}

/// Nobody looks for a task that is younger.
const LOOKED_AT_AFTER_MS: u64 = 30_000;

/// Only where no delivery was seen although all of them would have been does that say something.
fn nothing_ready(story: &Story<'_>, queue: &str) -> Option<u32> {
    let last = story.depths(queue).last()?;
    (last.ready == 0 && queue == story.queue()).then_some(last.n)
}

/// The publish was out of sight: a queue that nobody consumes and that is empty, and one dead letter
/// more.
fn unseen_publish(story: &Story<'_>, info: &Info<'_>, lives: &str, dead: &str) -> Answer {
    let depths = story.depths_since(story.queue());
    let nobody = depths.iter().all(|depth| depth.consumers == 0);
    let Some(last) = depths.last().filter(|last| nobody && last.ready == 0) else {
        return Answer::NotApplicable;
    };
    let text = format!("{lives}; nobody consumes it, it is empty, and `{dead}` grew since the submission");
    // What waited there before may be what expired.
    let since = story.submitted_at().unwrap_or(f64::MIN);
    let was_empty = story
        .depths(story.queue())
        .rfind(|depth| depth.at_ms <= since)
        .is_some_and(|depth| depth.ready == 0);
    let answer = match was_empty {
        true => Answer::likely(text, [info.n, last.n]),
        false => Answer::possible(text, [info.n, last.n]),
    };
    answer.would_decide(&[Source::Firehose, Source::DeadLetters])
}

/// The worker found it too old when its turn came.
fn in_the_worker(story: &Story<'_>) -> Option<Answer> {
    let told = story.line(|mark| matches!(mark, LogEvent::Discarded { .. }))?;
    let expiry::Expiry::At(at) = expiry::of(story) else {
        return None;
    };
    let late = expiry::written_ms(story, &told, at) - at;
    let sent = story.publishes().first();
    let before_it_was_sent = sent
        .map(|passage| expiry::wall_ms(story, passage.at_ms) - at)
        .filter(|before| *before > 0);
    let when = match before_it_was_sent {
        Some(before) => format!("{} before it was sent", units::span(before as f64)),
        None => format!("{} before", units::span(late as f64)),
    };
    (late >= 0).then(|| {
        Answer::shown(
            format!("the worker discarded the message: it had expired {when}"),
            [told.n],
        )
        .terminal()
    })
}

/// A worker has it, and its time is over: it is thrown away when its turn comes, if it had not begun by then.
fn in_its_hands(story: &Story<'_>) -> Option<Answer> {
    let discard = story.will_be_discarded().filter(|_| story.closed())?;
    let Discard::Expired(ago) = discard.value else {
        return None;
    };
    let taken = story.deliveries().last()?;
    let ago = units::span(ago);
    let Some((answer, _)) = control::holder(story) else {
        // Its id is kept as one that was revoked when it is found to be too old.
        let thrown_away = control::disowned(story).filter(|answer| answer.revoked == Some(true));
        if let Some(answer) = thrown_away {
            let text = format!(
                "the message expired {ago} ago in the hands of {}, which has thrown it away",
                answer.node
            );
            return Some(Answer::likely(text, [discard.n, taken.n, answer.n]));
        }
        let text = format!("the message expired {ago} ago in the hands of a worker");
        return Some(match waits_in_a_worker(story) {
            true => Answer::likely(
                format!("{text}, which throws it away when its turn comes"),
                [discard.n, taken.n],
            ),
            false => Answer::possible(
                format!("{text}: unless it had begun by then, the worker drops it in its turn"),
                [discard.n, taken.n],
            )
            .would_decide(&[Source::Control]),
        });
    };
    let text = format!(
        "the message expired {ago} ago in the hands of {}, which throws it away when its turn comes",
        answer.node
    );
    Some(Answer::shown(text, [discard.n, taken.n, answer.n]))
}

/// A message lives so long by its own word or its queue's, and nothing was seen to take this one in time: at the head of
/// the queue it is gone then, without a word, and behind older ones, which may live longer, it is thrown away when it comes
/// there.
fn by_ttl(story: &Story<'_>, passage: &Transfer<'_>) -> Option<Answer> {
    let queue = passage.queue;
    let due = expiry::thrown_away_at(story, passage)?;
    let last = story.depths(queue).last()?;
    let was_taken = story.reached(Stage::Delivered).is_some() || !story.sees_all(Source::Firehose);
    let is_early = last.at_ms < due || waits_at_the_head(story, passage);
    if !story.closed() || was_taken || queue != story.queue() || is_early {
        return None;
    }
    let told = story
        .infos(queue)
        .rfind(|info| info.setting("message-ttl").is_some());
    let evidence: Vec<u32> = std::iter::once(passage.n)
        .chain(told.map(|info| info.n))
        .chain([last.n])
        .collect();
    let lives = format!(
        "the message was to expire {} after its publish",
        units::span(due - passage.at_ms)
    );
    if last.ready > 0 {
        let text = format!(
            "{lives}, and was not delivered by then: no worker gets it any more, and where it still lies it is thrown away at the head of `{queue}`"
        );
        return Some(Answer::likely(text, evidence));
    }
    let since = || story.depths(queue).filter(|depth| depth.at_ms > passage.at_ms);
    let is_sure = |depth: &Depth| depth.samples > 1 || depth.at_ms > passage.at_ms + LOOK_MS;
    let there = since().any(|depth| depth.ready > 0 && depth.at_ms <= due);
    // Whatever took it away, it was not its age.
    let emptied = since().find(|depth| is_sure(depth) && depth.ready == 0 && depth.at_ms + LOOK_MS < due);
    if let Some(emptied) = emptied.filter(|_| there) {
        let text = format!(
            "it was gone {} before it was to expire",
            units::span(due - emptied.at_ms)
        );
        return Some(Answer::ruled_out(text, [passage.n, emptied.n]));
    }
    let by_its_own = passage.message.expiration_ms.is_some();
    let info = story.infos(queue).last();
    let has_route = told
        .or(info)
        .is_some_and(|info| info.setting("dead-letter-exchange").is_some());
    // What expires by its queue's word goes to where dead letters go, if it has such a place.
    if !by_its_own && (!there || emptied.is_some() || has_route && !broker::dead_letters_rose(story)) {
        return None;
    }
    let gone_early =
        since().any(|depth| depth.ready == 0 && depth.at_ms > passage.at_ms + LOOK_MS && depth.at_ms < due);
    let grew = story.dead_letter_queue().filter(|dead| broker::grew(story, dead));
    let is_settled =
        by_its_own || info.is_some_and(|info| !info.policy_unknown) && !has_route && grew.is_none();
    let text = format!("{lives}; it was never delivered, and `{queue}` is empty since");
    Some(match there && !gone_early && is_settled {
        true => Answer::shown(text, evidence),
        false => Answer::likely(text, evidence),
    })
}

/// The queue was empty before it, and more waits than came behind it: it is at the head, and its time does not count.
fn waits_at_the_head(story: &Story<'_>, passage: &Transfer<'_>) -> bool {
    let mut looks = story.depths(passage.queue);
    let was_empty = looks
        .rfind(|depth| depth.at_ms <= passage.at_ms)
        .is_some_and(|depth| depth.ready == 0);
    let behind = holding::sent_behind(story, passage).len() as u64;
    let last = story.depths(passage.queue).last();
    was_empty && last.is_some_and(|last| last.ready > behind)
}

/// A look that was under way at the publish may not count it yet.
const LOOK_MS: f64 = 300.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{API, Scene};
    use crate::timeline::EventKind;
    use serde_json::json;

    fn short_lived() -> Scene {
        Scene::new()
            .depth("default.XQ", 0, 0)
            .depth("default", 2, 1)
            .submitted()
            .row("PENDING")
            .publish("default")
            .at(2000.0)
            .depth("default", 0, 1)
            .depth("default.XQ", 3, 0)
            .totals("default", 0, 4, json!({ "x-message-ttl": 500 }))
    }

    #[test]
    fn gone_without_a_delivery() {
        assert_eq!(short_lived().silence().cause(), "likely message-expired");
        let seen = short_lived().dead_letter("default.XQ", "expired");
        assert_eq!(seen.silence().answer(&CAUSE), "certain");
    }

    /// Nothing that is sent there lives until somebody looks; or it lives for a week, or a worker had it.
    #[test]
    fn nothing_is_left_afterwards_where_messages_live_for_a_moment() {
        let after = |ttl: u64, consumers: u64| {
            Scene::new()
                .given()
                .depth("default", 0, consumers)
                .totals("default", 0, 0, json!({ "x-message-ttl": ttl }))
                .row("PENDING")
        };
        let cause = |scene: Scene| {
            let scene = scene.without(Source::Firehose);
            scene.end(crate::timeline::Ended::Looked).cause()
        };
        assert_eq!(cause(after(2_000, 0)), "likely message-expired");
        for other in [
            after(604_800_000, 0),
            after(2_000, 1),
            after(2_000, 0).debug(
                "dramatiq.worker.WorkerThread",
                "Received message act('task_1') with id 'm-1'.",
            ),
        ] {
            assert_ne!(cause(other), "likely message-expired");
        }
    }

    /// Expired on the delay queue: nobody there to move it on, or one who held nothing any more.
    #[test]
    fn a_delayed_message_expires_on_its_delay_queue() {
        let mut message = Scene::message("m-1");
        message.eta_ms = message.timestamp_ms.map(|at| at + 900_000);
        let delayed = Scene::new()
            .depth("default.XQ", 0, 0)
            .submitted()
            .row("PENDING")
            .publish_as("default.DQ", API, message)
            .depth("default.DQ", 1, 0)
            .totals("default", 0, 0, json!({}))
            .at(1500.0);
        let expired = delayed
            .clone()
            .depth("default.DQ", 0, 0)
            .depth("default.XQ", 1, 0)
            .totals("default.DQ", 0, 0, json!({ "x-message-ttl": 1000 }));
        assert_eq!(expired.silence().cause(), "likely message-expired");
        let waits = delayed.totals("default.DQ", 1, 0, json!({ "x-message-ttl": 1000 }));
        assert_eq!(waits.silence().answer(&CAUSE), "not applicable");
    }

    /// As a run that looks for one task afterwards sees it: nobody saw the publish.
    #[test]
    fn a_dead_letter_needs_no_publish() {
        let found = Scene::accepted()
            .depth("default", 0, 0)
            .setup(|setup| setup.post_mortem = true)
            .row("PENDING")
            .dead_letter("default.XQ", "expired")
            .silence();
        assert_eq!(found.answer(&CAUSE), "certain");
        assert_eq!(found.without(Source::Management).answer(&CAUSE), "certain");
    }

    #[test]
    fn without_the_firehose_the_dead_letter_queue_shows_it() {
        let unseen = |before: u64, consumers: u64| {
            Scene::new()
                .depth("default.XQ", 0, 0)
                .depth("default", before, consumers)
                .submitted()
                .row("PENDING")
                .at(2000.0)
                .depth("default", 0, consumers)
                .depth("default.XQ", 1, 0)
                .totals("default", 0, 0, json!({ "x-message-ttl": 500 }))
                .silence()
                .without(Source::Firehose)
        };
        assert_eq!(unseen(0, 0).answer(&CAUSE), "likely");
        // Another's may be what expired; or a worker rejected one.
        assert_eq!(unseen(1, 0).answer(&CAUSE), "possible");
        assert_eq!(unseen(0, 1).answer(&CAUSE), "not applicable");
    }

    #[test]
    fn one_whose_own_time_is_over_behind_others() {
        let mut message = Scene::message("m-1");
        message.expiration_ms = Some(500);
        let sent = Scene::new()
            .depth("default", 2, 1)
            .submitted()
            .row("PENDING")
            .publish_as("default", API, message)
            .depth("default", 3, 1);
        let over = sent.clone().at(2000.0).depth("default", 2, 1).silence();
        assert_eq!(over.answer(&CAUSE), "likely");
        let early = sent.at(300.0).depth("default", 2, 1).silence();
        assert_ne!(early.answer(&CAUSE), "likely");
    }

    #[test]
    fn a_policy_that_is_not_known_excludes_nothing() {
        let without = Scene::published().totals("default", 1, 0, json!({}));
        assert_eq!(without.clone().silence().answer(&CAUSE), "ruled out");
        let mut unknown = without;
        for event in &mut unknown.timeline.events {
            if let crate::timeline::EventKind::QueueInfo { policy_unknown, .. } = &mut event.kind {
                *policy_unknown = true;
            }
        }
        assert_eq!(unknown.silence().answer(&CAUSE), "cannot tell");
    }

    #[test]
    fn rejected_or_without_a_limit_is_a_near_miss() {
        let rejected = Scene::published().dead_letter("default.XQ", "rejected").silence();
        assert_ne!(rejected.answer(&CAUSE), "certain");
        let endless = Scene::published().totals("default", 0, 0, json!({})).silence();
        assert_eq!(endless.answer(&CAUSE), "ruled out");
        assert_eq!(
            short_lived()
                .silence()
                .without(Source::Management)
                .without(Source::DeadLetters)
                .answer(&CAUSE),
            "cannot tell"
        );
    }

    /// A worker looks at the time when the turn of a message comes.
    #[test]
    fn one_whose_time_is_over_in_a_workers_hands() {
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OURS};
        let held =
            |after_ms: i64, state: fn(crate::framework::Inspection) -> crate::framework::Inspection| {
                let mut scene = CeleryScene::received().unacked(1).answers(state).silence();
                let zero = scene.timeline.zero_ms() as i64;
                for event in &mut scene.timeline.events {
                    if let EventKind::Publish { message, .. } | EventKind::Deliver { message, .. } =
                        &mut event.kind
                    {
                        message.expires_ms = Some(zero + after_ms);
                    }
                }
                scene
            };
        let busy: fn(crate::framework::Inspection) -> crate::framework::Inspection =
            |answer| answer.reserved(OURS).active("a").active("b");
        let over = held(2_000, busy);
        assert_eq!(over.cause(), "certain message-expired", "{}", over.summary());
        assert_ne!(
            over.verdict().message.and_then(|message| message.lost),
            Some(false)
        );
        assert_eq!(held(60_000, busy).cause(), "certain waiting-in-worker");
        // It has begun: its time was then.
        assert_eq!(
            held(2_000, |answer| answer.active(OURS)).answer(&CAUSE),
            "ruled out"
        );
        // A pool of threads has it in a line of its own.
        let in_line = held(2_000, |answer| crate::framework::Inspection {
            pool: Some("thread".into()),
            ..answer.reserved(OURS).active("a").active("b")
        });
        assert_ne!(in_line.answer(&CAUSE), "certain");
    }

    /// A queue with a time to live, and no route for what is dead.
    #[test]
    fn what_a_queue_without_dead_letters_throws_away() {
        let after = |arguments: serde_json::Value| {
            Scene::new()
                .depth("default", 0, 0)
                .submitted()
                .row("PENDING")
                .publish("default")
                .at(400.0)
                .depth("default", 1, 0)
                .totals("default", 1, 0, arguments)
                .at(3_000.0)
                .depth("default", 0, 0)
                .silence()
                .answer(&CAUSE)
        };
        assert_ne!(after(json!({ "x-message-ttl": 1_000 })), "not applicable");
        let routed = json!({ "x-message-ttl": 1_000, "x-dead-letter-exchange": "" });
        assert_eq!(after(routed), "not applicable");
        assert_eq!(after(json!({})), "ruled out");
    }

    /// Nobody consumes, and the queue gives each message a second: so many waited before, and wait after it.
    fn on_a_queue_with_a_ttl(arguments: serde_json::Value, before: u64, at_once: u64, after: u64) -> Scene {
        Scene::new()
            .depth("default", before, 0)
            .depth("default.XQ", 0, 0)
            .totals("default", before, 0, arguments)
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", at_once, 0)
            .at(1_600.0)
            .depth("default", after, 0)
            .at(4_000.0)
            .depth("default", after, 0)
            // A look at a young policy that says less.
            .totals("default", after, 0, json!({}))
            .silence()
    }

    /// No exchange for dead letters: nothing grows.
    #[test]
    fn gone_with_its_queues_ttl() {
        let second = || json!({ "x-message-ttl": 1000 });
        let gone = on_a_queue_with_a_ttl(second(), 0, 1, 0);
        assert!(gone.cause().ends_with(" message-expired"), "{}", gone.cause());
        // Purged before its time was over.
        let early = on_a_queue_with_a_ttl(json!({ "x-message-ttl": 2_500 }), 0, 1, 0);
        assert_ne!(early.answer(&CAUSE), "likely");
        // With one, what expires is a dead letter.
        let elsewhere = json!({ "x-message-ttl": 1000, "x-dead-letter-exchange": "" });
        assert_ne!(on_a_queue_with_a_ttl(elsewhere, 0, 1, 0).answer(&CAUSE), "likely");
        // Its time is not over.
        let long = json!({ "x-message-ttl": 1_200_000 });
        assert_eq!(
            on_a_queue_with_a_ttl(long.clone(), 0, 1, 1).answer(&CAUSE),
            "not applicable"
        );
        assert_eq!(on_a_queue_with_a_ttl(long, 0, 1, 1).cause(), "likely no-consumer");
    }

    /// It is thrown away when it comes to the head: a worker does not get it.
    #[test]
    fn too_old_behind_an_older_one_that_lives_longer() {
        let second = || json!({ "x-message-ttl": 1000 });
        assert_eq!(
            on_a_queue_with_a_ttl(second(), 1, 2, 2).cause(),
            "likely message-expired"
        );
        // It is at the head and waits: its time does not count.
        assert_eq!(
            on_a_queue_with_a_ttl(second(), 0, 1, 1).answer(&CAUSE),
            "not applicable"
        );
    }

    /// Its letter lies there for days, and the task was sent again meanwhile.
    #[test]
    fn afterwards_a_message_on_its_queue_may_be_the_tasks_sent_again() {
        let found = |ready: u64| {
            Scene::accepted()
                .setup(|setup| setup.post_mortem = true)
                .row("PENDING")
                .depth("default", ready, 0)
                .totals("default", ready, 0, json!({}))
                .dead_letter("default.XQ", "expired")
                .silence()
        };
        assert_eq!(found(0).answer(&CAUSE), "certain");
        assert_eq!(found(1).answer(&CAUSE), "likely");
        let impact = |ready: u64| found(ready).verdict().impact.expect("an impact").sentence;
        assert!(impact(0).contains("submit the task again"), "{}", impact(0));
        assert!(impact(1).contains("may have been sent again"), "{}", impact(1));
    }

    /// A letter that was moved back keeps its header.
    #[test]
    fn one_that_waits_on_its_queue_again_is_a_near_miss() {
        let back = Scene::accepted()
            .setup(|setup| setup.post_mortem = true)
            .row("PENDING")
            .depth("default", 1, 0)
            .dead_letter("default", "expired")
            .silence();
        assert_ne!(back.answer(&CAUSE), "certain");
        let message = back.verdict().message.expect("a place");
        assert_eq!(message.place, "on `default`");
        assert_eq!(message.lost, Some(false));
    }
}
