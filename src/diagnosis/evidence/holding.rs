//! Whether a queue still holds what was put on it: only a look after that event says so.

use super::{Depth, Fact, Info, Story, Transfer, stacks};
use crate::diagnosis::{Answer, Certainty};
use crate::timeline::{Event, EventKind, Source};

/// What the looks at a queue since a moment show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::diagnosis) enum Holds {
    /// So many messages, by this event: as many as can only be there if none was lost.
    All(u32),
    /// Some, by this event; others' may be what is counted.
    Some(u32),
    /// Nothing, ready or unacknowledged, by this event.
    Nothing(u32),
    /// No look since then, or none that counts what a consumer holds.
    Unseen,
}

/// Looks at `queue` since `since_ms`, when a message was put on it.
pub(in crate::diagnosis) fn holds(story: &Story<'_>, queue: &str, since_ms: f64) -> Holds {
    // What a look found at rest on it is there.
    let held = story.held().iter().rev().find(|held| held.passage.queue == queue);
    if let Some(held) = held {
        return Holds::All(held.passage.n);
    }
    let depths: Vec<_> = story
        .depths(queue)
        .filter(|depth| depth.at_ms > since_ms && depth.exists)
        .collect();
    let infos: Vec<Info<'_>> = story
        .infos(queue)
        .filter(|info| info.counted_ms > since_ms && info.ready.is_some() && info.unacked.is_some())
        .collect();
    let in_all = |info: &Info<'_>| info.ready.unwrap_or(0) + info.unacked.unwrap_or(0);
    // Empty once after the publish: ours is gone, whatever came later. The two counts of one look are
    // of one moment.
    if let Some(info) = infos.iter().find(|info| in_all(info) == 0) {
        return Holds::Nothing(info.n);
    }
    let before = story.depths(queue).rfind(|depth| depth.at_ms <= since_ms);
    let unconsumed = depths.iter().chain(&before).all(|depth| depth.consumers == 0);
    // One look may have come between publish and arrival.
    let emptied = depths
        .iter()
        .enumerate()
        .find(|(looks, depth)| depth.ready == 0 && (*looks > 0 || depth.samples > 1));
    if let Some((_, depth)) = emptied.filter(|_| unconsumed) {
        return Holds::Nothing(depth.n);
    }
    let last_ready = depths.last().filter(|depth| depth.ready > 0);
    let (n, count) = match (infos.last(), last_ready) {
        (Some(info), _) => (info.n, in_all(info)),
        (None, Some(depth)) => (depth.n, depth.ready),
        (None, None) => return Holds::Unseen,
    };
    // As many as were there before and have come since.
    let had_others = before.is_some_and(|depth| depth.ready > 0);
    let before = story
        .infos(queue)
        .rfind(|info| info.at_ms <= since_ms)
        .map(|info| in_all(&info));
    let come = story
        .timeline
        .events
        .iter()
        .filter(|event| event.kind.is_put_on(queue) && event.at_ms >= since_ms);
    let come = come.count() as u64;
    match before {
        Some(before) if story.sees_all(Source::Firehose) && count >= before + come.max(1) => Holds::All(n),
        None if count == 1 && come <= 1 && !had_others => Holds::All(n),
        _ => Holds::Some(n),
    }
}

/// Without the firehose: the queue holds more than before the submission, and nobody takes messages away, because
/// its consumers went or none may be looked for.
pub(super) fn grew(story: &Story<'_>) -> Option<(f64, u32)> {
    let queue = story.queue();
    let nobody_takes = match story.depths_since(queue).last() {
        Some(depth) => depth.consumers == 0,
        None => story.consumers().is_some_and(|consumers| {
            !story.sees(Source::Queue) && consumers.iter().all(|consumer| consumer.queue != queue)
        }),
    };
    if story.sees(Source::Firehose) || !nobody_takes {
        return None;
    }
    let since = story.submitted_at()?;
    let total = |info: &Info<'_>| info.ready.map(|ready| ready + info.unacked.unwrap_or(0));
    let before = story.infos(queue).rfind(|info| info.at_ms <= since)?;
    let after = story.infos(queue).rfind(|info| info.counted_ms > since)?;
    (total(&after) > total(&before).or(Some(0))).then_some((after.at_ms, after.n))
}

/// After the message was handed out more waits on its queue than what others sent and had there can be: it came
/// back. The look that shows it.
pub(in crate::diagnosis) fn came_back(story: &Story<'_>) -> Option<u32> {
    let queue = story.queue();
    let passage = story.deliveries().last()?;
    let before = story.infos(queue).rfind(|info| info.at_ms <= passage.at_ms)?;
    let before = before.ready? + before.unacked?;
    let sent = story.timeline.events.iter().filter(|event| {
        matches!(&event.kind, EventKind::Publish { message, .. }
            if event.kind.is_put_on(queue) && message.message_id != passage.message.message_id)
    });
    let others = before + sent.count() as u64;
    let after = story.depths(queue).last()?;
    let is_later = after.at_ms > passage.at_ms && story.sees_all(Source::Firehose);
    (is_later && after.ready > others).then_some(after.n)
}

/// Fewer are held than were before and were handed out since: ours may be among those that were acknowledged.
pub(in crate::diagnosis) fn may_be_acknowledged(story: &Story<'_>, held: u64) -> bool {
    let Some(passage) = story.deliveries().last() else {
        return false;
    };
    let queue = story.queue();
    let before = story
        .infos(queue)
        .take_while(|info| info.counted_ms < passage.at_ms);
    let before = before.last().and_then(|info| info.unacked).unwrap_or(0);
    let since = story.facts(|kind| match kind {
        EventKind::Deliver { queue: of, .. } if of == queue => Some(()),
        _ => None,
    });
    let since = since.filter(|delivery| delivery.at_ms >= passage.at_ms).count() as u64;
    held < before + since && !story.runs_what_nobody_holds()
}

/// Nothing of the queue's was held when its message was handed out, and nothing that has been since is done with: it is in
/// hand, and was the first to be begun.
pub(in crate::diagnosis) fn is_first_in_hand(story: &Story<'_>, held: u64) -> bool {
    handed_out(story).is_some_and(|handed| handed.before == 0 && handed.is_first && held == handed.since)
}

/// What the broker held of the queue before its message was handed out, and what it has handed out since then.
struct HandedOut {
    before: u64,
    since: u64,
    /// Of these its message was the first.
    is_first: bool,
}

fn handed_out(story: &Story<'_>) -> Option<HandedOut> {
    let passage = story.deliveries().last()?;
    let queue = story.queue();
    let before = story
        .infos(queue)
        .take_while(|info| info.counted_ms < passage.at_ms)
        .last()?;
    let all = story.facts(|kind| match kind {
        EventKind::Deliver { queue: of, .. } if of == queue => Some(()),
        _ => None,
    });
    let since: Vec<_> = all
        .filter(|delivery| delivery.at_ms > before.counted_ms)
        .collect();
    story.sees_all(Source::Firehose).then_some(HandedOut {
        before: before.unacked?,
        since: since.len() as u64,
        is_first: since.first().is_some_and(|first| first.n == passage.n),
    })
}

/// The broker's last count, taken after that moment, waits for everything that it had handed out: its message among it.
pub(in crate::diagnosis) fn is_held_since(story: &Story<'_>, at_ms: f64) -> Option<u32> {
    let handed = handed_out(story).filter(|_| story.acknowledges_after_the_run())?;
    let count = story.infos(story.queue()).last()?;
    let all = count.unacked == Some(handed.before + handed.since);
    (all && count.counted_ms > at_ms).then_some(count.n)
}

/// Its message was handed out alone, or is waited for by the broker's count, which may be some seconds old; nothing says
/// that it is acknowledged.
pub(in crate::diagnosis) fn may_be_in_hand(story: &Story<'_>) -> Option<u32> {
    let passage = story.deliveries().last()?;
    if !story.acknowledges_after_the_run() || story.attempt_over().is_some() {
        return None;
    }
    let handed = handed_out(story)?;
    let is_alone = handed.before == 0 && handed.since == 1;
    let count = story.infos(story.queue()).last();
    match count.filter(|count| count.counted_ms > passage.at_ms) {
        Some(_) => is_held_since(story, passage.at_ms),
        None => is_alone.then_some(passage.n),
    }
}

/// By the broker or by the log its run may not be over: what shows it.
pub(in crate::diagnosis) fn is_open(story: &Story<'_>) -> Option<u32> {
    if story.call_has_returned() {
        return None;
    }
    let begun = || story.begun_without_an_end().map(|told| told.n);
    may_be_in_hand(story).or_else(begun)
}

/// By a look since then a process is at work on the message, which has not ended by the broker's count or the log.
pub(in crate::diagnosis) fn is_at_it_since(story: &Story<'_>, at_ms: f64) -> Option<[u32; 2]> {
    let open = is_open(story)?;
    let taker = story
        .deliveries()
        .last()
        .and_then(|passage| story.peer(passage.connection));
    let of_taker = taker.and_then(|taker| stacks::at_work(story, taker.value));
    let look = of_taker.or_else(|| stacks::the_one_at_work(story))?;
    // Afterwards everything is looked at once.
    let is_later = story.timeline.event(look).is_some_and(|look| look.at_ms > at_ms);
    (is_later || story.post_mortem()).then_some([open, look])
}

/// Messages of other tasks were handed to a connection that had this one.
pub(in crate::diagnosis) fn had_others(story: &Story<'_>) -> bool {
    let is_its = |connection: &str| story.deliveries().any(|passage| passage.connection == connection);
    let mut handed = story.facts(|kind| match kind {
        EventKind::Deliver {
            connection: to,
            message,
            ..
        } if is_its(to) => message.message_id.as_deref(),
        _ => None,
    });
    handed.any(|id| !story.is_my_message(id.value))
}

/// What a process had in hand when it ended is on its queue again, or in another's hands: by a later count it is neither.
pub(in crate::diagnosis) fn is_settled_since(story: &Story<'_>, gone: u32) -> bool {
    let gone_at = story.timeline.event(gone).map_or(f64::MAX, |gone| gone.at_ms);
    let last = story.infos(story.queue()).last();
    story.acknowledges_after_the_run()
        && last
            .is_some_and(|info| info.counted_ms > gone_at && info.ready == Some(0) && info.unacked == Some(0))
}

/// Right before it was handed out nobody consumed the queue, and right after that nobody did: it was got from there, as
/// scripts do. The looks.
pub(in crate::diagnosis) fn was_got(story: &Story<'_>, passage: &Transfer<'_>) -> Option<[u32; 2]> {
    const SOON_MS: f64 = 500.0;
    let looks = || story.depths(passage.queue).filter(|depth| depth.exists);
    let before = looks().take_while(|depth| depth.at_ms < passage.at_ms).last()?;
    let after = looks().find(|depth| depth.at_ms >= passage.at_ms)?;
    let nobody = before.consumers == 0 && after.consumers == 0;
    (nobody && after.at_ms < passage.at_ms + SOON_MS).then_some([before.n, after.n])
}

/// A count since the message was handed out leaves it open whether it is among those that are held, and nothing else says so.
pub(in crate::diagnosis) fn may_be_done_with(story: &Story<'_>) -> bool {
    let Some(passage) = story.deliveries().last() else {
        return false;
    };
    let last = story.infos(story.queue()).last();
    let held = last
        .filter(|info| info.counted_ms > passage.at_ms && story.acknowledges_after_the_run())
        .and_then(|info| info.unacked);
    held.is_some_and(|held| may_be_acknowledged(story, held)) && !story.is_held(passage)
}

/// What keeps a worker from what it holds need not keep it from this message.
pub(in crate::diagnosis) fn unless_done_with(story: &Story<'_>, answer: Answer) -> Answer {
    match may_be_done_with(story) {
        true => answer
            .at_most(Certainty::Likely)
            .followed_by("; by the broker's count it may have done with this message before"),
        false => answer,
    }
}

/// Counts of the task's queue from when its message was put on it: who consumed it before then has no part in what
/// became of it.
pub(in crate::diagnosis) fn depths_since_publish(story: &Story<'_>) -> Vec<Depth> {
    let mut depths = story.depths_since(story.queue());
    if let Some(sent) = story.published().filter(|_| story.sees_all(Source::Firehose)) {
        let at = depths.iter().rposition(|depth| depth.at_ms <= sent.at_ms);
        depths.drain(..at.unwrap_or(0));
    }
    depths
}

/// Messages that were seen to be sent to the same queue after this one, oldest first.
pub(in crate::diagnosis) fn sent_behind<'s>(story: &Story<'s>, passage: &Transfer<'_>) -> Vec<&'s Event> {
    let is_behind = |event: &&Event| {
        matches!(&event.kind, EventKind::Publish { exchange, routed, message, .. }
            if (exchange.is_empty() || routed.is_some()) && event.kind.is_put_on(passage.queue)
                && message.message_id != passage.message.message_id)
            && event.at_ms >= passage.at_ms
    };
    story.timeline.events.iter().filter(is_behind).collect()
}

/// Other messages were delivered in the second half of the time since ours was sent, and the pause since the last one is
/// not far longer than any before. One that comes again is no progress.
pub(in crate::diagnosis) fn still_moves(story: &Story<'_>) -> Option<u32> {
    let sent = story.published()?.at_ms;
    let end = story.depths(story.queue()).last()?.at_ms;
    let half = sent + (end - sent) / 2.0;
    let (mut last, mut longest) = (Fact::new(0, sent, ()), 0.0_f64);
    for event in &story.timeline.events {
        if let EventKind::Deliver {
            queue,
            redelivered: false,
            ..
        } = &event.kind
            && queue == story.queue()
            && event.at_ms > sent
        {
            longest = longest.max(event.at_ms - last.at_ms);
            last = Fact::of(event, ());
        }
    }
    let stands = end - last.at_ms > (STANDS_AFTER_PAUSES * longest).max(STANDS_AFTER_MS);
    (last.n > 0 && last.at_ms >= half && !stands).then_some(last.n)
}

/// The queue's counts fall, look by look, up to the end: others are taken from it, by whomever. By how much, and the last look
/// that showed it. Afterwards there is time for a few looks only.
pub(in crate::diagnosis) fn falls(story: &Story<'_>) -> Option<Fact<u64>> {
    let sent = story.published().map(|passage| passage.at_ms);
    let since = match sent.or(story.submitted_at()) {
        Some(since) => since,
        None if story.post_mortem() => f64::MIN,
        None => return None,
    };
    let depths = story.depths(story.queue()).filter(|depth| depth.at_ms > since);
    let depths: Vec<Depth> = depths.collect();
    let (first, end) = (depths.first()?, depths.last()?);
    let (mut last, mut longest, mut taken, mut times) = (Fact::new(0, first.at_ms, ()), 0.0_f64, 0, 0);
    for pair in depths.windows(2).filter(|pair| pair[1].ready < pair[0].ready) {
        taken += pair[0].ready - pair[1].ready;
        times += 1;
        longest = longest.max(pair[1].at_ms - last.at_ms);
        last = Fact::new(pair[1].n, pair[1].at_ms, ());
    }
    let half = first.at_ms + (end.at_ms - first.at_ms) / 2.0;
    let stands = end.at_ms - last.at_ms > (STANDS_AFTER_PAUSES * longest).max(STANDS_AFTER_MS);
    let is_enough = times > 1 || times == 1 && story.post_mortem();
    (is_enough && end.ready > 0 && end.consumers > 0 && last.at_ms >= half && !stands)
        .then(|| last.with(taken))
}

/// So much longer than any pause before it is no pause of a queue that moves, ...
const STANDS_AFTER_PAUSES: f64 = 3.0;
/// ... if it is longer than this.
const STANDS_AFTER_MS: f64 = 500.0;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::diagnosis::testing::Scene;

    fn seen(scene: &Scene) -> &'static str {
        let story = Story::new(&scene.timeline);
        match holds(
            &story,
            "default",
            story.published().map_or(0.0, |passage| passage.at_ms),
        ) {
            Holds::All(_) => "all",
            Holds::Some(_) => "some",
            Holds::Nothing(_) => "nothing",
            Holds::Unseen => "unseen",
        }
    }

    fn sent(before: u64) -> Scene {
        Scene::new()
            .totals("default", before, 0, json!({}))
            .submitted()
            .publish("default")
            .at(500.0)
    }

    #[test]
    fn only_a_look_after_the_event_counts() {
        assert_eq!(seen(&sent(0)), "unseen");
        assert_eq!(seen(&sent(0).totals("default", 0, 1, json!({}))), "all");
        assert_eq!(seen(&sent(0).totals("default", 0, 0, json!({}))), "nothing");
        // A consumer may hold it unacknowledged, which a passive declare does not count.
        assert_eq!(seen(&sent(0).depth("default", 0, 1)), "unseen");
        assert_eq!(seen(&sent(0).depth("default", 1, 0)), "all");
        assert_eq!(seen(&sent(2).depth("default", 2, 0)), "some");
        let gone = sent(0)
            .depth("default", 1, 0)
            .depth("default", 0, 0)
            .depth("default", 0, 0);
        assert_eq!(seen(&gone), "nothing");
    }

    /// Its totals are those of a moment up to five seconds ago.
    #[test]
    fn a_quorum_queue_counts_late() {
        let with = |at: f64| {
            let mut scene = sent(0).at(at).totals("default", 0, 0, json!({}));
            for event in &mut scene.timeline.events {
                if let EventKind::QueueInfo { queue_type, .. } = &mut event.kind {
                    *queue_type = Some("quorum".into());
                }
            }
            scene
        };
        assert_eq!(seen(&with(2_000.0)), "unseen");
        assert_eq!(seen(&with(9_000.0)), "nothing");
    }

    #[test]
    fn what_others_sent_is_not_taken_for_it() {
        // Three waited, one came: three are left.
        assert_eq!(seen(&sent(3).totals("default", 3, 0, json!({}))), "some");
        assert_eq!(seen(&sent(3).totals("default", 3, 1, json!({}))), "all");
        let again = sent(0)
            .totals("default", 0, 0, json!({}))
            .totals("default", 1, 0, json!({}));
        assert_eq!(seen(&again), "nothing");
    }

    #[test]
    fn growth_in_all_is_a_publish_where_nobody_is_left() {
        let scene = |after: u64, consumers: u64| {
            Scene::new()
                .totals("default", 0, 1, json!({}))
                .depth("default", 0, 1)
                .submitted()
                .depth("default", after, consumers)
                .totals("default", after, 0, json!({}))
                .blind(Source::Firehose)
                .silence()
        };
        let grew = |scene: &Scene| super::grew(&Story::new(&scene.timeline)).is_some();
        assert!(grew(&scene(2, 0)));
        assert!(!grew(&scene(1, 0)));
        assert!(!grew(&scene(2, 1)));
    }

    /// Whoever's the others are: a second message of the same task is not the one that was handed out.
    #[test]
    fn only_what_nobody_else_sent_came_back() {
        use crate::diagnosis::testing::WORKER;
        let handed_out = || Scene::quiet(|scene| scene.totals("default", 0, 0, json!({})));
        let back = |scene: Scene| {
            let scene = scene.depth("default", 1, 0).timeout();
            super::came_back(&Story::new(&scene.timeline)).is_some()
        };
        assert!(back(handed_out()));
        assert!(!back(handed_out().publish_as(
            "default",
            WORKER,
            Scene::message("m-2")
        )));
    }
}
