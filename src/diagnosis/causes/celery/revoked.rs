//! The task was revoked: the worker discards it.

use super::APPLIES_TO;
use crate::diagnosis::evidence::{control, expiry};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::{EventKind, Source};

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "revoked",
    keeps_from: &[Stage::Entered, Stage::Received, Stage::Finished],
    owner: &[Owner::ApiCode, Owner::Deployment],
    explains: &[],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog]],
    general: false,
    fails_attempt: false,
    applies_to: APPLIES_TO,
    page: include_str!("revoked.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let Some(told) = story.line(|mark| matches!(mark, LogEvent::Discarded { .. })) else {
        return by_its_word(story).unwrap_or_else(|| with_a_signal(story));
    };
    if let Some(other) = another_is_under_way(story) {
        return Answer::ruled_out("another message of the task is under way", [told.n, other]);
    }
    let text = "the worker discarded the task: it was revoked, by its id or by a stamp of its message";
    // The same line stands for a task that is too old.
    match expiry::of(story) {
        expiry::Expiry::Never => Answer::shown(text, [told.n]).terminal(),
        expiry::Expiry::At(at) if expiry::wall_ms(story, told.at_ms) >= at => {
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
/// It was revoked to send another one in its stead, for the same actor.
fn another_is_under_way(story: &Story<'_>) -> Option<u32> {
    let actor = story.publishes().first()?.message.actor.as_deref();
    let is_discarded = |id: &str| {
        let mut lines = story.worker_lines().iter();
        lines.any(|told| matches!(told.mark, Some(LogEvent::Discarded { id: discarded }) if discarded == id))
    };
    story
        .timeline
        .events
        .iter()
        .rev()
        .find_map(|event| match &event.kind {
            EventKind::Publish { message, .. }
                if message.carries_task_id && message.actor.as_deref() == actor =>
            {
                let id = message.message_id.as_deref()?;
                (!is_discarded(id)).then_some(event.n)
            }
            _ => None,
        })
}

/// The worker has its id in its list of revoked tasks, and still holds it.
fn by_its_word(story: &Story<'_>) -> Option<Answer> {
    let (answer, state) = control::revoked(story)?;
    Some(Answer::shown(
        format!(
            "the task was revoked: {} holds it ({state}), has its id in its list of revoked tasks, and discards it when its turn comes",
            answer.node
        ),
        [answer.n],
    ))
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
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenes::{Asked, OURS};
    use super::*;
    use crate::framework::Inspection;

    /// An API that debounces revokes what it sent, and sends another.
    #[test]
    fn one_that_was_replaced_is_a_near_miss() {
        use crate::diagnosis::testing::API;
        use crate::framework::Message;
        let discarded =
            || Asked::received().info(&format!("Discarding revoked task: shop.tasks.fulfil[{OURS}]"));
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
        let told = |id: &str| Asked::received().info(&format!("Terminating {id} (15)"));
        assert_eq!(told(OURS).silence().cause(), "certain revoked");
        let survives = told(OURS).answers(|answer| answer.active(OURS));
        assert_eq!(survives.silence().answer(&CAUSE), "likely");
        assert!(told(OURS).silence().summary().contains("if it had begun"));
        let waits = told(OURS).answers(|answer| Inspection {
            revoked: Some(true),
            ..answer.reserved(OURS).active("a").active("b")
        });
        let waits = waits.silence();
        assert_eq!(waits.cause(), "certain revoked", "{}", waits.summary());
        assert!(waits.summary().contains("discards it"), "{}", waits.summary());
        let listed = |revoked| {
            let scene = Asked::received().answers(|answer| Inspection {
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
}
