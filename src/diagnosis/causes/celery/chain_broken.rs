//! The task comes after another one, and that one has failed: ours is never sent.

use super::APPLIES_TO;
use crate::diagnosis::evidence::Fact;
use crate::diagnosis::evidence::later::PredecessorState;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::Message;
use crate::timeline::{EventKind, Source};

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "chain-broken",
    // A result has no row before its task has ended.
    keeps_from: &[Stage::Published, Stage::Recorded],
    owner: &[Owner::WorkerCode],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Firehose], &[Source::WorkerLog]],
    applies_to: APPLIES_TO,
    page: include_str!("chain_broken.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let before = story.predecessors();
    if before.is_empty() {
        return Answer::NotApplicable;
    }
    let failed = before.iter().find_map(|task| match task.state(story) {
        PredecessorState::Failed(why) => Some((task, why)),
        _ => None,
    });
    let by_itself = failed.is_some();
    let of_its_group = || {
        before
            .iter()
            .find_map(|task| Some((task, task.group_failed(story)?)))
    };
    let Some((task, why)) = failed.or_else(of_its_group) else {
        return Answer::NotApplicable;
    };
    let ours = &task.ours;
    let which = match by_itself {
        true => "that one",
        false => "one of these",
    };
    let text = format!(
        "`{}` is to be sent after `{}` in a {}, and {which} failed: {why}; so it is never sent",
        ours.actor,
        task.name(),
        ours.after
    );
    let evidence = [task.passage.n, why.n];
    // A handler of the failure may send ours, or what fails in its turn.
    if let Some(handler) = sent_since(story, task.passage.message, &why) {
        let text = format!(
            "{text}, unless `{}` sends it, which was sent when that failed",
            handler.value
        );
        return Answer::likely(text, [task.passage.n, why.n, handler.n]);
    }
    if was_sent_again(story, task.passage.message) {
        let text = format!("{text}, unless it succeeds when it runs again: it was sent more than once");
        return Answer::likely(text, evidence);
    }
    if ours.has_error_handler {
        let text = format!("{text}, unless the handler of its failure sends it");
        return Answer::likely(text, evidence);
    }
    if may_come_again(story, task.passage.queue) {
        let text = format!("{text}, unless it comes again by the route of dead letters");
        return Answer::likely(text, evidence).would_decide(&[Source::Management]);
    }
    // What was not seen may have been sent all the same.
    match story.was_surely_not_sent() {
        true if story.has_ended() => Answer::shown(text, evidence),
        true => Answer::likely(text, evidence).terminal_after(HANDLER_MS),
        false => Answer::likely(text, evidence).would_decide(&[Source::Firehose]),
    }
}

/// So long a message that the failure sets off may take to us.
const HANDLER_MS: u64 = 1_000;

/// A message that carries the task's id, and was sent when the one before it failed.
fn sent_since<'a>(story: &Story<'a>, failed: &Message, why: &Fact<String>) -> Option<Fact<&'a str>> {
    let sent = story.facts(|kind| match kind {
        EventKind::Publish { message, .. } if message.carries_task_id => Some(message),
        _ => None,
    });
    let since = delivered_at(story, failed).max(why.at_ms - HANDLER_MS as f64);
    let is_another = |message: &Message| {
        let is_of_a_task = message
            .actor
            .as_deref()
            .is_some_and(|actor| !actor.starts_with("celery."));
        let carries_ours = message.later.iter().any(|later| later.carries_task_id);
        is_of_a_task && !carries_ours && message.message_id != failed.message_id
    };
    let mut sent = sent.filter(|sent| sent.at_ms >= since && is_another(sent.value));
    sent.find_map(|sent| Some(sent.with(sent.value.actor.as_deref()?)))
}

/// Its message was sent more than once, and not by the framework's own way to try again.
fn was_sent_again(story: &Story<'_>, failed: &Message) -> bool {
    let sent = story.facts(|kind| match kind {
        EventKind::Publish { message, .. } => Some(message),
        _ => None,
    });
    let is_its = |sent: &Message| sent.message_id == failed.message_id && !sent.is_retry();
    failed.message_id.is_some() && sent.filter(|sent| is_its(sent)).count() > 1
}

/// When it was handed to a worker, which had sent nothing of it before.
fn delivered_at(story: &Story<'_>, failed: &Message) -> f64 {
    let mut delivered = story.facts(|kind| match kind {
        EventKind::Deliver { message, .. } if message.message_id == failed.message_id => Some(()),
        _ => None,
    });
    delivered.next().map_or(f64::MIN, |delivery| delivery.at_ms)
}

/// What failed comes again where its queue has a route for dead letters, or nobody has read whether it has one.
fn may_come_again(story: &Story<'_>, queue: &str) -> bool {
    let mut read = story.infos(queue).peekable();
    let is_unread = read.peek().is_none();
    is_unread || read.any(|info| info.setting("dead-letter-exchange").is_some() || info.policy_unknown)
}

#[cfg(test)]
mod tests {
    use super::super::scenes::{CeleryScene, FIRST};
    use super::*;
    use crate::diagnosis::testing::WORKER;

    fn queue_is_known(scene: CeleryScene) -> CeleryScene {
        scene.and(|scene| scene.totals("celery", 0, 0, serde_json::json!({})))
    }

    fn failed() -> String {
        format!("Task shop.tasks.first[{FIRST}] raised unexpected: LookupError('no such pen')")
    }

    /// An error handler is a task like another, and may send what was not sent.
    #[test]
    fn a_handler_of_the_failure_may_send_it() {
        let sent = |actor: &str| {
            let handler = Message {
                message_id: Some("44444444-7a09-4a1f-9d2c-0d5e3c0b7f11".into()),
                actor: Some(actor.into()),
                carries_task_id: true,
                ..Message::default()
            };
            let mut scene = queue_is_known(CeleryScene::after("chain")).setup_actor("shop.tasks.fulfil");
            for event in &mut scene.timeline.events {
                if let EventKind::Publish { message, .. } = &mut event.kind {
                    message.carries_task_id = true;
                }
            }
            let scene = scene.error(&failed());
            scene
                .and(|scene| scene.publish_as("celery", WORKER, handler))
                .silence()
        };
        assert_eq!(sent("shop.tasks.tidy").cause(), "likely chain-broken");
        assert!(sent("shop.tasks.tidy").summary().contains("shop.tasks.tidy"));
        // The framework's own is no handler of the application's.
        assert_eq!(sent("celery.chord_unlock").cause(), "certain chain-broken");
        let mut named = queue_is_known(CeleryScene::after("chain"));
        for event in &mut named.timeline.events {
            if let EventKind::Publish { message, .. } = &mut event.kind {
                message.later[0].has_error_handler = true;
            }
        }
        let named = named.error(&failed()).silence();
        assert_eq!(named.cause(), "likely chain-broken");
    }

    /// The one before it ran from a queue of its own.
    #[test]
    fn a_queue_that_nobody_looked_at_may_bring_it_back() {
        let unread = CeleryScene::after("chain").error(&failed()).silence();
        assert_eq!(unread.cause(), "likely chain-broken");
        let read = queue_is_known(CeleryScene::after("chain")).error(&failed());
        assert_eq!(read.silence().cause(), "certain chain-broken");
    }

    #[test]
    fn the_one_before_it_failed() {
        let scene = queue_is_known(CeleryScene::after("chain"))
            .error(&format!(
                "Task shop.tasks.first[{FIRST}] raised unexpected: LookupError('no such pen')"
            ))
            .silence();
        assert_eq!(scene.cause(), "certain chain-broken", "{}", scene.summary());
        assert!(scene.summary().contains("no such pen"), "{}", scene.summary());
        assert_eq!(scene.without(Source::Firehose).answer(&CAUSE), "cannot tell");
    }

    /// Which of its members was lost with its process is said by no line.
    #[test]
    fn a_chord_of_which_a_member_was_lost() {
        let chord = |group: &str| {
            let mut scene = queue_is_known(CeleryScene::after("chord"));
            for event in &mut scene.timeline.events {
                if let EventKind::Publish { message, .. } = &mut event.kind {
                    message.group = Some("g-1".into());
                }
            }
            let lost = "WorkerLostError('Worker exited prematurely: signal 9 (SIGKILL) Job: 1.')";
            scene.error(&format!("Chord '{group}' raised: {lost}")).silence()
        };
        let failed = chord("g-1");
        assert_eq!(failed.cause(), "certain chain-broken", "{}", failed.summary());
        assert!(failed.summary().contains("one of these failed: WorkerLostError"));
        assert_eq!(chord("g-2").answer(&CAUSE), "not applicable");
        assert_eq!(chord("g-2").cause(), "likely chord-waiting");
    }

    /// A queue with a route for dead letters may bring the failed one back.
    #[test]
    fn where_dead_letters_have_a_way_back_it_is_likely() {
        let failed = |arguments: serde_json::Value| {
            CeleryScene::after("chain")
                .and(|scene| scene.totals("celery", 0, 0, arguments))
                .error(&format!(
                    "Task shop.tasks.first[{FIRST}] raised unexpected: LookupError('no such pen')"
                ))
                .silence()
                .cause()
        };
        assert_eq!(failed(serde_json::json!({})), "certain chain-broken");
        let routed = serde_json::json!({ "x-dead-letter-exchange": "pause" });
        assert_eq!(failed(routed), "likely chain-broken");
    }

    #[test]
    fn anothers_failure_and_one_that_goes_on_are_near_misses() {
        let other = CeleryScene::after("chain").error(
            "Task shop.tasks.first[99999999-7a09-4a1f-9d2c-0d5e3c0b7f11] raised unexpected: LookupError('x')",
        );
        assert_eq!(other.silence().answer(&CAUSE), "not applicable");
        let retries = CeleryScene::after("chain").info(&format!(
            "Task shop.tasks.first[{FIRST}] retry: Retry in 9s: LookupError('x')"
        ));
        assert_eq!(retries.silence().answer(&CAUSE), "not applicable");
        // Ours was sent: what keeps it now is another matter.
        let sent = CeleryScene::after("chain").sent().error(&format!(
            "Task shop.tasks.first[{FIRST}] raised unexpected: LookupError('x')"
        ));
        assert_eq!(sent.silence().answer(&CAUSE), "not applicable");
    }

    /// A handler sends what failed once more, under the same id.
    #[test]
    fn one_that_was_sent_again_may_succeed() {
        let again = |retry: bool| {
            let scene = queue_is_known(CeleryScene::after("chain"));
            let first = scene.timeline.events.iter().find_map(|event| match &event.kind {
                EventKind::Publish { message, .. } => Some(message.clone()),
                _ => None,
            });
            let mut copy = first.expect("a message");
            copy.retries = retry.then_some(1);
            let sent = scene.and(|scene| scene.publish_as("celery", WORKER, copy));
            sent.error(&failed()).silence().cause()
        };
        assert_eq!(again(false), "likely chain-broken");
        assert_eq!(again(true), "certain chain-broken");
    }
}
