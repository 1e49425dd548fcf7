//! The worker does not know the actor that the message names.

use crate::diagnosis::evidence::{QueuedCopy, WorkerLine};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::{EventKind, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "unknown-actor",
    keeps_from: &[Stage::Received],
    owner: &[Owner::Deployment],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog]],
    page: include_str!("unknown_actor.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if let Some(told) = story.line(|mark| matches!(mark, LogEvent::UndefinedActor { .. })) {
        return settled(story, &told, vec![told.n]);
    }
    if let Some((told, rejected)) = refused_and_rejected(story) {
        return settled(story, &told, vec![told.n, rejected]);
    }
    // The line has no id: with this message's actor, after the publish, and nobody else's.
    for passage in story.publishes() {
        let Some(actor) = passage.message.actor.as_deref() else {
            continue;
        };
        let refused = story.worker_lines().iter().find(|told| {
            story.may_be_about_it(told)
                && story.submitted_at().is_none_or(|since| story.written_at(told) >= since)
                && matches!(told.mark, Some(LogEvent::UndefinedActor { actor: undefined }) if undefined == actor)
        });
        let Some(told) = refused else { continue };
        let others = story
            .other_publishes()
            .any(|publish| publish.message.actor.as_deref() == Some(actor));
        // One that was sent before the run may have been refused as well.
        let delivered = story.timeline.events.iter().any(|event| match &event.kind {
            EventKind::Deliver { message, .. } => {
                message.actor.as_deref() == Some(actor)
                    && !message
                        .message_id
                        .as_deref()
                        .is_some_and(|id| story.is_my_message(id))
            }
            _ => false,
        });
        if others || delivered {
            return Answer::likely(
                format!("the worker knows no actor `{actor}`: {}", told.line.text),
                [passage.n, told.n],
            );
        }
        return settled(story, told, vec![passage.n, told.n]).given([Premise::WriterIsTheWorker(told.n)]);
    }
    if story.post_mortem() {
        return afterwards(story);
    }
    Answer::NotApplicable
}

/// The dead letter shows the actor, and the log that it is not known; without the letter, that messages
/// were refused for this.
fn afterwards(story: &Story<'_>) -> Answer {
    let refused = story
        .worker_lines()
        .iter()
        .rev()
        .filter(|told| !story.is_of_another_process(told))
        .filter_map(|told| match told.mark {
            Some(LogEvent::UndefinedActor { actor }) => Some((told, actor.as_str())),
            _ => None,
        });
    let mut refused = refused.peekable();
    let Some((last, last_actor)) = refused.peek().copied() else {
        return Answer::NotApplicable;
    };
    let quotes_ours = refused.clone().find(|(told, _)| told.line.carries_task_id);
    let rejected =
        |held: &&QueuedCopy<'_>| held.reason == Some("rejected") && !held.passage.message.is_retry();
    if let Some(letter) = story.held().iter().find(rejected) {
        let wanted = letter.passage.message.actor.as_deref();
        let Some((told, actor)) = refused.find(|(_, actor)| wanted == Some(actor)) else {
            return Answer::NotApplicable;
        };
        // A worker that still knew the actor may have rejected this one: no line names the message.
        let text = format!("the worker knows no actor `{actor}`, and a worker rejected the message");
        return Answer::likely(text, [letter.passage.n, told.n]).naming("{actor}", actor);
    }
    // The refusal quotes the message.
    if let Some((told, actor)) = quotes_ours {
        let text = format!("the worker knows no actor `{actor}`, and refused a message with this task's id");
        // Another message of the task may have gone the right way.
        let answer = match story.timeline.setup.actor.as_deref() {
            Some(wanted) if wanted != actor => {
                Answer::possible(format!("{text}; `{wanted}` is configured"), [told.n])
            }
            _ => Answer::likely(text, [told.n]),
        };
        return answer.naming("{actor}", actor);
    }
    let Some(dead) = story
        .dead_letter_queue()
        .filter(|_| !story.sees(Source::DeadLetters))
    else {
        return Answer::NotApplicable;
    };
    let Some(depth) = story.depths(&dead).last().filter(|depth| depth.ready > 0) else {
        return Answer::NotApplicable;
    };
    let text = format!(
        "the worker refused messages for an actor that it does not know ({}), and `{dead}` holds {}",
        last.line.text, depth.ready
    );
    // It may be another's message, all the more where it is not for the configured actor, and ours may still wait.
    let wanted = story.timeline.setup.actor.as_deref();
    let answer = match wanted.is_none_or(|wanted| wanted == last_actor) || story.empty_queue().is_some() {
        true => Answer::likely(text, [last.n, depth.n]),
        false => Answer::possible(text, [last.n, depth.n]),
    };
    answer
        .would_decide(&[Source::DeadLetters])
        .naming("{actor}", last_actor)
}

/// The refusal itself has no id; the consumer thread's next line rejects the message by its id. Over
/// a slow link both come before the firehose tells of the message at all.
fn refused_and_rejected<'a>(story: &Story<'a>) -> Option<(WorkerLine<'a>, u32)> {
    let rejected = story
        .lines()
        .iter()
        .find(|told| matches!(told.mark, Some(LogEvent::Rejecting { .. })))?;
    let before = story.worker_lines().iter().rfind(|told| {
        told.n < rejected.n
            && told.pid.is_some()
            && told.pid == rejected.pid
            && told.line.thread == rejected.line.thread
    })?;
    matches!(before.mark, Some(LogEvent::UndefinedActor { .. })).then_some((*before, rejected.n))
}

/// Certain for the actor that is meant, or a message whose id is the task's. Any other may be a step beside it, as an audit's:
/// the one that is meant may still come.
fn settled(story: &Story<'_>, told: &WorkerLine<'_>, evidence: Vec<u32>) -> Answer {
    let Some(LogEvent::UndefinedActor { actor }) = told.mark else {
        return Answer::NotApplicable;
    };
    let text = format!("the worker knows no actor `{actor}`: {}", told.line.text);
    let wanted = story.timeline.setup.actor.as_deref();
    if wanted == Some(actor) || story.task_id().is_some_and(|id| story.is_my_messages_id(id)) {
        return Answer::shown(text, evidence).terminal();
    }
    // A number may be anybody's; a long id is this task's.
    if story.task_id().is_none_or(|id| id.len() < 6) && wanted.is_some() && !story.closed() {
        return Answer::NotApplicable;
    }
    let now = story.timeline.events.last().map_or(0.0, |event| event.at_ms);
    let (since, within) = another_may_come(story, told.at_ms);
    let answer = Answer::likely(text, evidence);
    if story.closed() || now - since >= within * 0.9 {
        answer.terminal()
    } else {
        answer.terminal_after(within as u64)
    }
}

/// Until when an API that sends several messages for one task may still send the next: so many milliseconds after
/// this moment. One that sends them before it answers has sent them all by then.
fn another_may_come(story: &Story<'_>, told: f64) -> (f64, f64) {
    let answered = story.find(|event| match &event.kind {
        EventKind::Answered { .. } => Some(event.at_ms),
        _ => None,
    });
    let sent = story.publishes().first().map(|passage| passage.at_ms);
    match answered.zip(sent) {
        Some((answered, sent)) if sent < answered => (told.max(answered), 300.0),
        _ => (told, 1500.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Scene, WORKER};
    use crate::timeline::Ended;

    const REFUSED: &str = "Received message for undefined actor 'act'. Moving it to the DLQ.";

    fn booted() -> Scene {
        Scene::new()
            .setup(|setup| setup.actor = Some("act".into()))
            .worker_booted()
    }

    fn delivered() -> Scene {
        booted()
            .depth("default", 0, 1)
            .submitted()
            .row("PENDING")
            .publish("default")
            .deliver(WORKER)
    }

    #[test]
    fn the_worker_refuses_it() {
        let scene = delivered().error("dramatiq.worker.ConsumerThread(default)", REFUSED);
        assert_eq!(scene.cause(), "certain unknown-actor");
        assert_eq!(scene.verdict().scenario, Some(Scenario::B));
    }

    #[test]
    fn another_message_for_the_same_actor_may_be_the_one() {
        let scene = delivered()
            .deliver_as("other", WORKER, false)
            .error("dramatiq.worker.ConsumerThread(default)", REFUSED);
        assert_eq!(scene.answer(&CAUSE), "likely");
    }

    /// An audit's message, say, whose actor is another service's, before a relay sends the one that does the work.
    #[test]
    fn a_message_for_a_step_beside_it_is_a_near_miss() {
        let refused = |wanted: Option<&str>| {
            let wanted = wanted.map(str::to_owned);
            let scene = delivered().setup(|setup| setup.actor = wanted);
            let scene = scene.error("dramatiq.worker.ConsumerThread(default)", REFUSED);
            (scene.cause(), scene.silence().answer(&CAUSE))
        };
        assert_eq!(refused(None), ("likely unknown-actor".to_owned(), "likely"));
        assert_eq!(
            refused(Some("meant")),
            ("likely unknown-actor".to_owned(), "likely")
        );
    }

    #[test]
    fn the_rejection_names_the_message() {
        // Over a slow link the log comes before the broker's own events.
        let scene = booted()
            .depth("default", 0, 1)
            .submitted()
            .row("PENDING")
            .line(&format!(
                "[PID 101] [Thread-2] [dramatiq.worker.ConsumerThread(default)] [ERROR] {REFUSED}"
            ))
            .line("[PID 101] [Thread-2] [dramatiq.worker.ConsumerThread(default)] [DEBUG] Rejecting message 'm-1'.")
            .deliver_as("other", WORKER, false)
            .publish("default")
            .deliver(WORKER);
        assert_eq!(scene.cause(), "certain unknown-actor");
    }

    #[test]
    fn another_actor_is_a_near_miss() {
        let scene = delivered().error(
            "dramatiq.worker.ConsumerThread(default)",
            &REFUSED.replace("'act'", "'old'"),
        );
        assert_eq!(scene.answer(&CAUSE), "not applicable");
        assert_eq!(scene.without(Source::WorkerLog).answer(&CAUSE), "cannot tell");
    }

    /// Seen afterwards: the log's lines are older than the look.
    fn afterwards() -> Scene {
        Scene::new()
            .worker_booted()
            .error("dramatiq.worker.ConsumerThread(default)", REFUSED)
            .given()
            .row("PENDING")
            .depth("default", 0, 1)
            .depth("default.XQ", 1, 0)
    }

    #[test]
    fn afterwards_the_dead_letter_names_the_actor() {
        let seen = afterwards()
            .dead_letter("default.XQ", "rejected")
            .end(Ended::Looked);
        assert_eq!(seen.cause(), "likely unknown-actor");
        assert_eq!(seen.verdict().scenario, Some(Scenario::B));
        // The consumer's next line names the message: then it was refused for this. Where none waits it is the last one.
        let named = |ready: u64| {
            booted()
                .error("dramatiq.worker.ConsumerThread(default)", REFUSED)
                .debug(
                    "dramatiq.worker.ConsumerThread(default)",
                    "Rejecting message 'm-1'.",
                )
                .given()
                .row("PENDING")
                .depth("default", ready, 1)
                .totals("default", ready, 0, serde_json::json!({}))
                .depth("default.XQ", 1, 0)
                .dead_letter("default.XQ", "rejected")
                .end(Ended::Looked)
        };
        assert_eq!(named(0).cause(), "certain unknown-actor");
        assert_eq!(named(1).answer(&CAUSE), "likely");
        // One that a limit dropped was refused by nobody.
        let dropped = afterwards()
            .dead_letter("default.XQ", "maxlen")
            .end(Ended::Looked);
        assert_eq!(dropped.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn afterwards_without_the_letter_it_is_another_tasks_perhaps() {
        let unseen = afterwards().without(Source::DeadLetters).end(Ended::Looked);
        assert_eq!(unseen.cause(), "likely unknown-actor");
        let remedies = unseen.verdict().cause.expect("a cause").remedies;
        assert!(remedies[0].contains("module of `act`"), "{remedies:?}");
        let none = unseen.depth("default.XQ", 0, 0).end(Ended::Looked);
        assert_eq!(none.answer(&CAUSE), "not applicable");
    }

    /// Celery's refusal quotes the whole message.
    #[test]
    fn afterwards_the_refusal_may_quote_the_message() {
        let quoted = |is_ours: bool, wanted: &str| {
            let mut scene = Scene::new().worker_booted().setup(|setup| {
                setup.framework = "celery".into();
                setup.actor = Some(wanted.into());
            });
            let text = "Received unregistered task of type 'shop.tasks.fulfil'.";
            scene = scene.plain(Some(crate::timeline::Level::Error), text);
            let line = scene.timeline.events.last_mut().expect("the line");
            if let EventKind::Line(line) = &mut line.kind {
                line.carries_task_id = is_ours;
            }
            let scene = scene.given().row("PENDING").depth("default", 0, 1);
            let scene = scene.totals("default", 0, 0, serde_json::json!({}));
            scene.end(Ended::Looked)
        };
        assert_eq!(quoted(true, "shop.tasks.fulfil").answer(&CAUSE), "certain");
        assert_eq!(quoted(true, "shop.tasks.other").answer(&CAUSE), "possible");
        assert_eq!(
            quoted(false, "shop.tasks.fulfil").answer(&CAUSE),
            "not applicable"
        );
    }

    /// An API that sends before it answers has sent all that it sends.
    #[test]
    fn once_the_api_has_answered_no_other_message_is_waited_for_long() {
        let told = |scene: Scene| {
            let scene = scene
                .setup(|setup| setup.actor = Some("meant".into()))
                .error("dramatiq.worker.ConsumerThread(default)", REFUSED);
            scene.verdict().linger_ms
        };
        let sent = Scene::new().worker_booted().depth("default", 0, 1).submitting();
        let sent = sent.publish("default").deliver(WORKER);
        assert_eq!(told(sent.answered(202, Some("task_1"), "{}")), 300);
        // Sent when it had answered: another one may follow.
        assert_eq!(told(delivered()), 1500);
    }

    /// A quiet worker, waiting messages, and somebody else's message for an actor that is gone.
    #[test]
    fn afterwards_the_refusal_of_another_actor_is_another_messages() {
        let looked = |configured: Option<&str>, waiting: u64| {
            let line = "Received message for undefined actor 'gone'. Moving it to the DLQ.";
            Scene::new()
                .setup(|setup| setup.actor = configured.map(str::to_owned))
                .given()
                .from_before(5)
                .error("dramatiq.worker.ConsumerThread(default)", line)
                .from_now_on()
                .row("PENDING")
                .depth("default.XQ", 1, 0)
                .totals("default", waiting, 0, serde_json::json!({}))
                .end(crate::timeline::Ended::Looked)
                .without(Source::Firehose)
                .without(Source::DeadLetters)
                .answer(&CAUSE)
        };
        assert_eq!(looked(None, 1), "likely");
        assert_eq!(looked(Some("gone"), 1), "likely");
        assert_eq!(looked(Some("act"), 1), "possible");
        // Ours waits nowhere else.
        assert_eq!(looked(Some("act"), 0), "likely");
    }

    /// A worker of another vhost refuses its own message of that name, and writes to the same log.
    #[test]
    fn the_refusal_of_a_process_that_was_handed_nothing_is_a_near_miss() {
        let refused = |pid: i32| {
            let scene = delivered().peer(WORKER, 101);
            scene.line(&format!(
                "[PID {pid}] [Thread-2] [dramatiq.worker.ConsumerThread(default)] [ERROR] {REFUSED}"
            ))
        };
        assert_eq!(refused(101).cause(), "certain unknown-actor");
        assert_eq!(refused(900).answer(&CAUSE), "not applicable");
    }
}
