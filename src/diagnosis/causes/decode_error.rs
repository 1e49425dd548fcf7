//! The worker cannot read the message.

use crate::diagnosis::evidence::{Transfer, WorkerLine, broker};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::{EventKind, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "decode-error",
    keeps_from: &[Stage::Received],
    owner: &[Owner::WorkerCode],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog, Source::Firehose]],
    page: include_str!("decode_error.md"),
    check,
    ..Cause::DEFAULT
};

/// A message that can be read may follow one that was no task's: how long after.
const PUBLISH_MS: u64 = 1500;

/// What cannot be read carries the task's id, and is not the task's message: that one can be read.
fn beside_a_message(story: &Story<'_>) -> Option<u32> {
    story.find(|event| match &event.kind {
        EventKind::Publish { message, .. } if message.carries_task_id && message.undecodable.is_some() => {
            let is_ours = |passage: &Transfer<'_>| passage.n == event.n;
            let has_message = !story.publishes().is_empty();
            (has_message && !story.publishes().iter().any(is_ours)).then_some(event.n)
        }
        _ => None,
    })
}

fn check(story: &Story<'_>) -> Answer {
    if let Some(n) = beside_a_message(story) {
        return Answer::ruled_out("what could not be read is not the task's message", [n]);
    }
    if let Some(told) = story.line(|mark| matches!(mark, LogEvent::ForeignMessage)) {
        let text = format!(
            "the message is none of {}'s, and the worker threw it away: {}",
            story.framework().title,
            told.line.text
        );
        return known_by_its_words(story, text, &told)
            .owned_by(Some(&[Owner::ApiCode]))
            .case(FOREIGN, true)
            .case(REFUSED, false)
            .terminal_after(PUBLISH_MS);
    }
    read(story).case(FOREIGN, false).case(REFUSED, true)
}

/// The cases of its remedies.
const FOREIGN: &str = "it is no task's message";
const REFUSED: &str = "the worker cannot read it";

fn read(story: &Story<'_>) -> Answer {
    if let Some(told) = story.line(|mark| matches!(mark, LogEvent::DecodeFailed)) {
        let reason = told.exception().filter(|text| !text.is_empty());
        let reason = reason.unwrap_or_else(|| told.line.text.clone());
        let text = format!("the worker could not decode the message: {reason}");
        return known_by_its_words(story, text, &told).terminal_after(PUBLISH_MS);
    }
    let unreadable = |passage: &Transfer<'_>| passage.message.undecodable.clone();
    let mut sent = story.publishes().iter();
    if let Some((letter, why)) = story
        .held()
        .iter()
        .filter(|held| held.reason == Some("rejected"))
        .find_map(|held| Some((&held.passage, unreadable(&held.passage)?)))
    {
        return rejected(story, letter, &why);
    }
    let Some((passage, why)) = sent.find_map(|passage| Some((passage, unreadable(passage)?))) else {
        return Answer::NotApplicable;
    };
    let logged = decoding_failed(story).filter(|told| story.written_at(told) >= passage.at_ms);
    match logged {
        // The worker may read this one well, and have failed to read another.
        Some(told) if story.others_were_delivered() || story.others_were_handed_out(told.at_ms) => {
            let text = format!(
                "the body holds {why}; the worker could not read a message since, which may be another one: {}",
                told.line.text
            );
            Answer::possible(text, [passage.n, told.n])
        }
        Some(told) => Answer::shown(
            format!("the body holds {why}; the worker's log: {}", told.line.text),
            [passage.n, told.n],
        )
        .terminal_after(PUBLISH_MS),
        // The worker may well have an encoder for it; one that has not says so.
        None if story.closed() => {
            let text = format!("the body holds {why}");
            if broker::dead_letters_rose(story) && !story.sees(Source::WorkerLog) {
                Answer::likely(text, [passage.n]).would_decide(&[Source::WorkerLog])
            } else {
                Answer::possible(text, [passage.n]).would_decide(&[Source::WorkerLog])
            }
        }
        None => Answer::NotApplicable,
    }
}

/// An event beside the task may name it, too, and come to the worker: what cannot be read must have been seen to be
/// sent as the task's.
fn known_by_its_words(story: &Story<'_>, text: String, told: &WorkerLine<'_>) -> Answer {
    let by_the_id_alone = told.line.carries_task_id && told.message_id().is_none();
    match by_the_id_alone && story.publishes().is_empty() && story.deliveries().next().is_none() {
        true => Answer::likely(text, [told.n]).would_decide(&[Source::Firehose]),
        false => Answer::shown(text, [told.n]),
    }
}

/// The last line of the log by which the worker could not read a message, whose it does not say.
fn decoding_failed<'s, 'a>(story: &'s Story<'a>) -> Option<&'s WorkerLine<'a>> {
    let mut lines = story.worker_lines().iter();
    lines.rfind(|told| story.may_be_about_it(told) && matches!(told.mark, Some(LogEvent::DecodeFailed)))
}

/// Afterwards it lies where a worker puts what it cannot read, and what else it rejects.
fn rejected(story: &Story<'_>, letter: &Transfer<'_>, why: &str) -> Answer {
    let text = format!("it was rejected, and its body holds {why}");
    match decoding_failed(story) {
        Some(told) => Answer::likely(
            format!("{text}; the worker's log: {}", told.line.text),
            [letter.n, told.n],
        ),
        None => Answer::possible(text, [letter.n]).would_decide(&[Source::WorkerLog]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// JSON that anybody could read, and no task in it.
    #[test]
    fn a_message_that_is_none_of_the_frameworks() {
        use crate::diagnosis::causes::celery::scenes::CeleryScene;
        let thrown = |text: &str| {
            let body = crate::diagnosis::testing::TASK;
            let below = &format!(
                "The full contents of the message body was: {body} (28b)\n{{content_type:'application/json' content_encoding:'utf-8'\n  headers={{}}}}"
            );
            CeleryScene::in_pool("prefork")
                .deliver()
                .refusal(text, below)
                .silence()
        };
        let foreign = thrown("Received and deleted unknown message.  Wrong destination?!?");
        assert_eq!(foreign.cause(), "certain decode-error");
        let cause = foreign.verdict().cause.expect("a cause");
        assert!(cause.summary.contains("none of Celery's"), "{}", cause.summary);
        let remedies = cause.remedies.join("\n");
        assert!(
            remedies.contains("`send_task()`") && !remedies.contains("accept_content"),
            "{remedies}"
        );
    }
    use crate::diagnosis::testing::{API, Scene, WORKER};

    /// Afterwards, by a look at the dead letters.
    #[test]
    fn a_letter_that_cannot_be_read() {
        let looked = |reason: &str, why: Option<&str>, logged: bool| {
            let mut letter = Scene::message("m-1");
            letter.undecodable = why.map(str::to_owned);
            let scene = Scene::new().given().worker_booted().from_before(5);
            let scene = match logged {
                true => scene.error(
                    "dramatiq.brokers.rabbitmq._RabbitmqConsumer",
                    "Failed to decode message using encoder <JSONEncoder>.",
                ),
                false => scene,
            };
            let letter = EventKind::DeadLetter {
                queue: "default.XQ".into(),
                reason: Some(reason.into()),
                from_queue: Some("default".into()),
                message: letter,
            };
            let scene = scene
                .from_now_on()
                .row("PENDING")
                .see(Source::DeadLetters, letter);
            scene
                .end(crate::timeline::Ended::Looked)
                .without(Source::Firehose)
                .answer(&CAUSE)
        };
        let why = Some("12 bytes that are not JSON");
        assert_eq!(looked("rejected", why, true), "likely");
        assert_eq!(looked("rejected", why, false), "possible");
        assert_eq!(looked("rejected", None, true), "not applicable");
        assert_eq!(looked("expired", why, true), "not applicable");
    }

    /// One worker consumes two queues, and what cannot be read came to the other one.
    #[test]
    fn garbage_on_another_queue_is_a_near_miss() {
        let read = |queue: Option<&str>| {
            let scene = unreadable();
            let scene = match queue {
                Some(queue) => scene.see(
                    Source::Firehose,
                    EventKind::Deliver {
                        queue: queue.into(),
                        connection: WORKER.into(),
                        redelivered: false,
                        message: crate::framework::Message::default(),
                    },
                ),
                None => scene,
            };
            let failed = "Failed to decode message using encoder <JSONEncoder>.";
            scene
                .error("dramatiq.brokers.rabbitmq._RabbitmqConsumer", failed)
                .silence()
                .answer(&CAUSE)
        };
        assert_eq!(read(None), "certain");
        assert_eq!(read(Some("emails")), "possible");
    }

    fn unreadable() -> Scene {
        let mut message = Scene::message("m-1");
        message.message_id = None;
        message.actor = None;
        message.undecodable = Some("12 bytes that are not JSON".into());
        message.leaves = crate::framework::ArgumentValues(vec!["task_1".into()]);
        Scene::new()
            .worker_booted()
            .depth("default", 0, 1)
            .submitted()
            .row("PENDING")
            .publish_as("default", API, message.clone())
            .see(
                Source::Firehose,
                crate::timeline::EventKind::Deliver {
                    queue: "default".into(),
                    connection: WORKER.into(),
                    redelivered: false,
                    message,
                },
            )
    }

    #[test]
    fn the_worker_says_so() {
        let scene = unreadable().error(
            "dramatiq.brokers.rabbitmq._RabbitmqConsumer",
            "Failed to decode message using encoder <JSONEncoder>.",
        );
        assert_eq!(scene.cause(), "certain decode-error");
    }

    #[test]
    fn a_worker_with_another_encoder_is_a_near_miss() {
        assert_eq!(unreadable().silence().answer(&CAUSE), "possible");
    }

    #[test]
    fn a_body_that_can_be_read_is_not_it() {
        assert_eq!(Scene::delivered().silence().answer(&CAUSE), "not applicable");
        let blind = unreadable().without(Source::Firehose).without(Source::WorkerLog);
        assert_eq!(blind.answer(&CAUSE), "cannot tell");
    }

    /// An event of the application's with the same id, beside the task's own message.
    #[test]
    fn beside_a_message_that_can_be_read_it_is_a_near_miss() {
        let refused = "Failed to decode message using encoder <JSONEncoder>.";
        let dropped = || unreadable().error("dramatiq.brokers.rabbitmq._RabbitmqConsumer", refused);
        let task = dropped().publish("default");
        assert_eq!(task.silence().answer(&CAUSE), "ruled out");
        // It may still come.
        let verdict = dropped().verdict();
        assert!(verdict.linger_ms > 0);
    }

    /// An encoder of the application's own packs it, and what cannot be read may be another message.
    #[test]
    fn beside_another_message_it_need_not_be_ours() {
        let logged = |scene: Scene| {
            scene
                .error(
                    "dramatiq.brokers.rabbitmq._RabbitmqConsumer",
                    "Failed to decode message using encoder <app.PackedEncoder>.",
                )
                .silence()
        };
        assert_eq!(logged(unreadable()).answer(&CAUSE), "certain");
        let beside = unreadable().deliver_as("junk", WORKER, false);
        assert_eq!(logged(beside).answer(&CAUSE), "possible");
    }

    /// It names the task, and nothing that was sent for it was seen.
    #[test]
    fn an_event_beside_the_task_may_name_it() {
        use crate::diagnosis::causes::celery::scenes::CeleryScene;
        let body = crate::diagnosis::testing::TASK;
        let below = format!("The full contents of the message body was: {{event: {body}}} (28b)");
        let scene = CeleryScene::in_pool("prefork").refusal(
            "Received and deleted unknown message.  Wrong destination?!?",
            &below,
        );
        let blind = scene.silence().without(Source::Firehose);
        assert_eq!(blind.answer(&CAUSE), "likely");
    }
}
