//! The task was revoked: the worker discards it.

use super::APPLIES_TO;
use crate::diagnosis::causes::waits_in_a_worker;
use crate::diagnosis::evidence::discard::Discard;
use crate::diagnosis::evidence::{WorkerLine, control, expiry};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::{Inspection, LogEvent};
use crate::timeline::Source;

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "revoked",
    keeps_from: &[
        Stage::Published,
        Stage::Recorded,
        Stage::Delivered,
        Stage::Received,
        Stage::Entered,
        Stage::Finished,
    ],
    owner: &[Owner::ApiCode, Owner::Deployment],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog]],
    applies_to: APPLIES_TO,
    page: include_str!("revoked.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let Some(told) = story.line(|mark| matches!(mark, LogEvent::Discarded { .. })) else {
        return by_the_list(story).unwrap_or_else(|| with_a_signal(story));
    };
    if let Some(other) = story.another_is_under_way() {
        return Answer::ruled_out("another message of the task is under way", [told.n, other]);
    }
    let text = "the worker discarded the task: it was revoked, by its id or by a stamp of its message";
    // The same line stands for a task that is too old.
    match expiry::of(story) {
        expiry::Expiry::Never => Answer::shown(text, [told.n]).terminal(),
        expiry::Expiry::At(at) if expiry::written_ms(story, &told, at) >= at => {
            Answer::ruled_out("it had expired by then", [told.n])
        }
        expiry::Expiry::At(_) => {
            Answer::shown(format!("{text}, and it had not expired"), [told.n]).terminal()
        }
        expiry::Expiry::Unknown => {
            Answer::likely(format!("{text}, or it had expired"), [told.n]).would_decide(&[Source::Firehose])
        }
    }
}

/// It waits, and is on a worker's list of revoked tasks.
fn by_the_list(story: &Story<'_>) -> Option<Answer> {
    let discard = story.will_be_discarded()?;
    Some(match discard.value {
        Discard::RevokedInHand { node, state } => Answer::shown(
            format!(
                "the task was revoked: {node} holds it ({state}), has its id in its list of revoked tasks, and discards it when its turn comes"
            ),
            [discard.n],
        ),
        Discard::RevokedByALine => by_a_line(story, discard.n),
        Discard::Expired(_) => return None,
    })
}

/// A worker was told, and says no more of it: what it had begun by then goes on.
fn by_a_line(story: &Story<'_>, flagged: u32) -> Answer {
    let text = "the task was revoked: the worker was told, and discards it when its turn comes";
    let pushed = story.line(|mark| matches!(mark, LogEvent::Pushed { .. }));
    let taken = pushed
        .map(|told| told.n)
        .or(story.deliveries().last().map(|passage| passage.n));
    match taken {
        Some(taken) if taken < flagged && !waits_in_a_worker(story) => Answer::possible(
            "the task was revoked after the worker had taken it: unless it had begun by then, it is discarded when its turn comes",
            [flagged, taken],
        )
        .may_have_begun()
        .would_decide(&[Source::Control]),
        _ => Answer::likely(text, [flagged]),
    }
}

/// It was revoked with a signal: the line is the same for one that runs and for one that waits, which is
/// discarded when its turn comes.
fn with_a_signal(story: &Story<'_>) -> Answer {
    let Some(told) = story.line(|mark| matches!(mark, LogEvent::Terminating { .. })) else {
        return Answer::NotApplicable;
    };
    // A pool of threads cannot end one: it may go on, or be over before.
    let over = story.lines().iter().rev().find(|other| {
        matches!(
            other.mark,
            Some(LogEvent::Succeeded { .. } | LogEvent::Failed { .. })
        )
    });
    if let Some(over) = over {
        return Answer::ruled_out("its run came to an end of its own", [told.n, over.n]);
    }
    if let Some(unable) = no_signal_was_sent(story, &told) {
        return match control::holder(story) {
            Some((answer, "scheduled")) => Answer::shown(
                format!(
                    "the task was revoked while it waited for its time in {}, which discards it when that comes",
                    answer.node
                ),
                [told.n, answer.n],
            ),
            _ => Answer::ruled_out("its pool can send no signal: what runs goes on", [told.n, unable]),
        };
    }
    let text = "the task was revoked while it ran, and the process that ran it was sent a signal to end it";
    match control::holder(story) {
        Some((answer, state @ ("reserved" | "scheduled"))) => Answer::shown(
            format!(
                "the task was revoked while it waited in {}, which discards it when its turn comes (it is {state})",
                answer.node
            ),
            [told.n, answer.n],
        ),
        // It may catch the signal, or its pool may have no process of its own for it.
        Some((answer, "active")) => Answer::likely(
            format!("{text}; the worker says that it still runs"),
            [told.n, answer.n],
        ),
        _ if story.was_surely_entered() => Answer::shown(text, [told.n]),
        _ => Answer::shown(
            "the task was revoked, and the process that ran it, if it had begun, was sent a signal to end it; one that waits is discarded when its turn comes",
            [told.n],
        )
        .may_have_begun(),
    }
}

/// A pool that has no process for each task: its worker says so at once, or what kind it is.
fn no_signal_was_sent(story: &Story<'_>, told: &WorkerLine<'_>) -> Option<u32> {
    let mut after = story.worker_lines().iter().filter(|line| line.n > told.n);
    let line = after.find(|line| {
        matches!(line.mark, Some(LogEvent::CannotTerminate)) && line.at_ms <= told.at_ms + AT_ONCE_MS
    });
    let by_word = || {
        let is_unable = |answer: &Inspection| matches!(answer.pool.as_deref(), Some("thread" | "solo"));
        control::answers(story)
            .find(|answer| is_unable(answer))
            .map(|answer| answer.n)
    };
    line.map(|line| line.n).or_else(by_word)
}

/// The line stands right behind the one that tells of the signal.
const AT_ONCE_MS: f64 = 1_000.0;

#[cfg(test)]
mod tests {
    use super::super::scenes::{CeleryScene, FIRST, OURS};
    use super::*;
    use crate::framework::Inspection;

    /// The clock of the worker's host is ahead of the publisher's: by its own the message is too old.
    #[test]
    fn a_worker_whose_clock_is_ahead() {
        let discarded = |stated: &str| {
            let mut scene =
                CeleryScene::received().info(&format!("Discarding revoked task: shop.tasks.fulfil[{OURS}]"));
            scene = scene.and(|mut scene| {
                for event in &mut scene.timeline.events {
                    use crate::timeline::EventKind;
                    match &mut event.kind {
                        EventKind::Publish { message, .. } | EventKind::Deliver { message, .. } => {
                            message.expires_ms = Some(1_020_000);
                        }
                        EventKind::Line(line) if line.text.contains("Discarding") => {
                            event.stated = Some(stated.into());
                        }
                        _ => {}
                    }
                }
                scene
            });
            scene
        };
        let ahead = discarded("1970-01-01 03:17:10,000");
        assert_eq!(ahead.answer(&CAUSE), "ruled out");
        assert_eq!(ahead.cause(), "certain message-expired");
        assert_eq!(discarded("1970-01-01 03:16:40,500").cause(), "certain revoked");
    }

    /// An API that debounces revokes what it sent, and sends another.
    #[test]
    fn one_that_was_replaced_is_a_near_miss() {
        use crate::diagnosis::testing::API;
        use crate::framework::Message;
        let discarded =
            || CeleryScene::received().info(&format!("Discarding revoked task: shop.tasks.fulfil[{OURS}]"));
        assert_eq!(discarded().cause(), "certain revoked");
        let other = |actor: &str| Message {
            message_id: Some("33333333-7a09-4a1f-9d2c-0d5e3c0b7f11".into()),
            actor: Some(actor.into()),
            carries_task_id: true,
            json: true,
            ..Message::default()
        };
        let replaced = discarded().and(|scene| scene.publish_as("celery", API, other("shop.tasks.fulfil")));
        assert_eq!(replaced.answer(&CAUSE), "ruled out");
        let audited = discarded().and(|scene| scene.publish_as("celery", API, other("shop.tasks.audit")));
        assert_eq!(audited.answer(&CAUSE), "certain");
    }

    #[test]
    fn one_that_is_terminated_was_revoked_while_it_ran() {
        let told = |id: &str| CeleryScene::received().info(&format!("Terminating {id} (15)"));
        assert_eq!(told(OURS).silence().cause(), "certain revoked");
        let survives = told(OURS).answers(|answer| answer.active(OURS));
        assert_eq!(survives.silence().answer(&CAUSE), "likely");
        assert!(told(OURS).silence().summary().contains("if it had begun"));
        assert_eq!(told(OURS).silence().verdict().scenario, None);
        let waits = told(OURS).answers(|answer| Inspection {
            revoked: Some(true),
            ..answer.reserved(OURS).active("a").active("b")
        });
        let waits = waits.silence();
        assert_eq!(waits.cause(), "certain revoked", "{}", waits.summary());
        assert!(waits.summary().contains("discards it"), "{}", waits.summary());
        assert_eq!(waits.verdict().scenario, Some(Scenario::B));
        let listed = |revoked| {
            let scene = CeleryScene::received().answers(|answer| Inspection {
                revoked,
                ..answer.reserved(OURS).active("a").active("b")
            });
            scene.silence()
        };
        assert_eq!(listed(Some(true)).cause(), "certain revoked");
        assert_eq!(listed(Some(false)).cause(), "certain waiting-in-worker");
        let another = told("11111111-7a09-4a1f-9d2c-0d5e3c0b7f11");
        assert_eq!(another.silence().answer(&CAUSE), "not applicable");
    }

    const OTHER_ID: &str = "33333333-7a09-4a1f-9d2c-0d5e3c0b7f11";

    /// The worker was told while the message waited: it never starts.
    #[test]
    fn one_that_waits_on_its_queue_is_thrown_away_in_its_turn() {
        let flagged =
            |id: &str| CeleryScene::waiting(1).info(&format!("Tasks flagged as revoked: {OTHER_ID}, {id}"));
        let waits = flagged(OURS).silence();
        assert_eq!(waits.cause(), "likely revoked", "{}", waits.summary());
        assert_eq!(flagged(FIRST).silence().answer(&CAUSE), "not applicable");
        // The list lies in the worker's memory.
        let anew = flagged(OURS).info(" -------------- celery@vm v5.7.0 (dawn-chorus)");
        assert_eq!(anew.silence().answer(&CAUSE), "not applicable");
        let message = waits.verdict().message.expect("it is on its queue");
        assert_ne!(message.lost, Some(false), "it is not to be waited for");
    }

    /// What had begun by then goes on.
    #[test]
    fn one_that_was_taken_before_may_run() {
        let flagged = CeleryScene::received().info(&format!("Tasks flagged as revoked: {OURS}"));
        let flagged = flagged.silence();
        assert_eq!(flagged.answer(&CAUSE), "possible");
        assert_eq!(flagged.verdict().scenario, None);
        let runs = CeleryScene::received()
            .info(&format!("Tasks flagged as revoked: {OURS}"))
            .answers(|answer| answer.active(OURS));
        assert_eq!(runs.silence().answer(&CAUSE), "not applicable");
    }

    /// The line of a pool runs whatever it has, and its worker cannot end what runs.
    #[test]
    fn a_pool_of_threads_asks_nobody_and_ends_nothing() {
        let in_line = CeleryScene::in_pool("thread")
            .deliver()
            .answers(|answer| Inspection {
                revoked: Some(true),
                pool: Some("thread".into()),
                ..answer.reserved(OURS).active("a").active("b")
            });
        assert_ne!(in_line.silence().answer(&CAUSE), "certain");
        let told = CeleryScene::received().info(&format!("Terminating {OURS} (15)"));
        let refused = told.error(
            "pidbox command error: NotImplementedError(\"<class 'celery.concurrency.thread.TaskPool'> does not implement kill_job\")",
        );
        assert_eq!(refused.silence().answer(&CAUSE), "ruled out");
    }

    /// Two were sent; which of them was revoked is not said.
    #[test]
    fn another_one_in_the_same_hands_is_a_near_miss() {
        use crate::diagnosis::testing::API;
        use crate::framework::Message;
        let other = Message {
            message_id: Some(OTHER_ID.into()),
            actor: Some("shop.tasks.fulfil".into()),
            carries_task_id: true,
            json: true,
            ..Message::default()
        };
        let both = CeleryScene::received()
            .and(|scene| scene.publish_as("celery", API, other))
            .answers(|answer| Inspection {
                revoked: Some(true),
                ..answer.reserved(OURS).reserved(OTHER_ID).active("a").active("b")
            });
        assert_eq!(both.silence().answer(&CAUSE), "not applicable");
    }
}
