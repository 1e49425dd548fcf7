//! The broker redelivers it again and again.

use super::taken_by_other_client;
use crate::diagnosis::evidence::{Transfer, WorkerLine, containers, holding};
use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::framework::LogEvent;
use crate::text::counted;
use crate::timeline::{Source, exit_words};
use crate::units;

pub(super) const CAUSE: Cause = Cause {
    id: "redelivery-loop",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::Broker, Owner::WorkerCode],
    needs: &[&[Source::WorkerLog, Source::Firehose]],
    page: include_str!("redelivery_loop.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if let Some(answer) = gives_itself_back(story) {
        return answer;
    }
    let timed_out = story.worker_lines().iter().find(|told| {
        story.counts(told)
            && told.line.text.contains("delivery acknowledgement")
            && told.line.text.contains("timed out")
            && !is_of_another_queue(story, told)
    });
    let again: Vec<u32> = story
        .deliveries()
        .filter(|passage| passage.redelivered && !is_by_hand(story, passage))
        .map(|passage| passage.n)
        .collect();
    match (timed_out, again.len()) {
        (Some(told), _) => {
            let text = format!("the broker took the message back: {}", told.line.text);
            // The channel is closed for whichever message waited longest: only one that came again because of
            // it shows that this was among them.
            let last = story.deliveries().rfind(|passage| passage.redelivered);
            match last.filter(|last| last.at_ms + READ_WITHIN_MS >= told.at_ms) {
                Some(last) => Answer::shown(text, [told.n, last.n]),
                None => Answer::likely(text, [told.n]),
            }
        }
        (None, _) if let Some((text, evidence)) = consumer_cancelled(story) => Answer::likely(text, evidence),
        (None, count) if count >= 2 && story.died_in_actor().is_none() => match ended_meanwhile(story) {
            Some((text, ends)) => Answer::likely(text, ends).owned_by(Some(&[Owner::Deployment])),
            None if story.runs_again().is_some() => Answer::likely(
                format!(
                    "redelivered {count} times: when a run of it ends, the broker has taken the message back, and another one is under way"
                ),
                again,
            ),
            None => Answer::likely(format!("redelivered {count} times and never settled"), again),
        },
        _ => begun_again(story),
    }
}

/// Somebody looked at it, in the management pages or by a script, and put it back.
fn is_by_hand(story: &Story<'_>, passage: &Transfer<'_>) -> bool {
    taken_by_other_client::is_of_no_client(passage) || holding::was_got(story, passage).is_some()
}

/// The consumer of another queue says so: it has a channel of its own.
fn is_of_another_queue(story: &Story<'_>, told: &WorkerLine<'_>) -> bool {
    matches!(told.mark, Some(LogEvent::ConnectionError { queue: Some(queue), .. }) if !story.is_of_my_queue(queue))
}

/// How much later than the consumer timeout the line of the worker's log may be read.
const READ_WITHIN_MS: f64 = 3000.0;

/// From 4.3 on the broker cancels the consumer of a quorum queue whose timeout is over: no error to the worker, which
/// says only that it restarts its consumer. A broken connection would be one, and a queue that is gone delivers nothing.
fn consumer_cancelled(story: &Story<'_>) -> Option<(String, Vec<u32>)> {
    let handed: Vec<_> = story.deliveries().collect();
    let queue = handed.first()?.queue;
    let timeout = timeout_of(story, queue)?;
    let mut held = Vec::new();
    let mut evidence = Vec::new();
    for (first, again) in handed.iter().zip(handed.iter().skip(1)) {
        let meanwhile = || {
            let lines = story.worker_lines().iter();
            // Another worker is handed it at once, before this one says a word.
            lines.filter(|told| {
                !told.line.before && told.at_ms > first.at_ms && told.at_ms < again.at_ms + READ_WITHIN_MS
            })
        };
        let is_error = |told: &WorkerLine<'_>| matches!(told.mark, Some(LogEvent::ConnectionError { .. }));
        let restarted = meanwhile().find(|told| matches!(told.mark, Some(LogEvent::RestartingConsumer)));
        let Some(restarted) = restarted.filter(|_| again.redelivered && !meanwhile().any(is_error)) else {
            continue;
        };
        let for_ms = restarted.at_ms - first.at_ms;
        let is_over =
            timeout.is_none_or(|timeout| for_ms >= timeout - 500.0 && for_ms < timeout + READ_WITHIN_MS);
        if is_over {
            held.push(for_ms);
            evidence.extend([restarted.n, again.n]);
        }
    }
    let last = held.last().filter(|_| story.died_in_actor().is_none())?;
    let times = match held.len() {
        1 => String::new(),
        count => format!(" {}", counted(count as u64, "time", "times")),
    };
    let after = units::span(*last);
    let text = match timeout {
        Some(timeout) => format!(
            "the consumer timeout of `{queue}` ({}) has taken the message back{times} from a run that went on: the broker cancelled the worker's consumer {after} after it had handed it over, and delivered it again",
            units::span(timeout)
        ),
        None => format!(
            "the broker cancelled the worker's consumer {after} after it had handed the message over, and delivered it again{times}, as from RabbitMQ 4.3 on where the consumer timeout of a quorum queue is over"
        ),
    };
    Some((text, evidence))
}

/// The consumer timeout of a quorum queue, where an argument or a policy names it; the broker's own is not to be seen.
fn timeout_of(story: &Story<'_>, queue: &str) -> Option<Option<f64>> {
    let mut looks = story.infos(queue).peekable();
    let is_quorum = looks.peek()?.queue_type == Some("quorum");
    is_quorum.then(|| {
        looks
            .rev()
            .find_map(|info| info.setting("consumer-timeout")?.as_f64())
    })
}

/// It came back because whoever had it was ended and started again, each time.
fn ended_meanwhile(story: &Story<'_>) -> Option<(String, Vec<u32>)> {
    let first = story.deliveries().next()?.at_ms;
    let last = story.deliveries().last()?.at_ms;
    let count = story.deliveries().filter(|passage| passage.redelivered).count();
    let mut own = story.worker_containers().into_iter();
    own.find_map(|container| {
        let news = story.container_news(&container).into_iter();
        // Compose says in the log what the engine says as well.
        let ends: Vec<_> = news
            .filter(|news| news.action == "die" && news.at_ms >= first && news.at_ms <= last)
            .filter(|news| {
                let of = story.timeline.event(news.n);
                of.is_some_and(|event| event.source == Source::Containers)
            })
            .collect();
        (ends.len() >= count).then(|| {
            let code = ends.last().and_then(|end| end.exit);
            let code = code.map_or(String::new(), |code| format!(" with {}", exit_words(code)));
            let text = format!(
                "{} ended{code} and was started again {} while it had the task, which began anew each time: somebody stops it, as a health check does, or it fails",
                containers::words(&container),
                counted(ends.len() as u64, "time", "times"),
            );
            (text, ends.iter().map(|end| end.n).collect())
        })
    })
}

/// Each attempt ends in a rejection that puts the message back on its queue.
fn gives_itself_back(story: &Story<'_>) -> Option<Answer> {
    let back: Vec<&WorkerLine<'_>> = story
        .lines()
        .iter()
        .filter(|told| matches!(told.mark, Some(LogEvent::Requeued)))
        .collect();
    let last = back.last().filter(|_| story.closed())?;
    let end = story.timeline.events.last().map_or(0.0, |event| event.at_ms);
    // One that has stayed away for longer than ever before may be at work at last.
    let longest = back
        .windows(2)
        .map(|two| two[1].at_ms - two[0].at_ms)
        .fold(0.0, f64::max);
    let goes_on = back.len() > 2 && end - last.at_ms < 2.0 * longest + 1000.0;
    let times = counted(back.len() as u64, "time", "times");
    let text = format!(
        "the task has given its message back to its queue {times}, by Reject(requeue=True), and is handed it again at once: {}",
        last.line.text
    );
    let evidence: Vec<u32> = back.iter().rev().take(4).rev().map(|told| told.n).collect();
    Some(match goes_on {
        true => Answer::shown(text, evidence),
        false => Answer::likely(text, evidence),
    })
}

/// The log shows that the task was begun once more while nothing had ended it: the consumer was
/// cancelled or lost between. From 4.3 on a quorum queue's timeout is no error to the worker, which says no
/// more than that it restarts its consumer.
fn begun_again(story: &Story<'_>) -> Answer {
    let runs_again = story.runs_again();
    let is_over = story.attempt_over().is_some() && runs_again.is_none();
    if is_over || !story.raised().is_empty() || story.died_in_actor().is_some() {
        return Answer::NotApplicable;
    }
    let begins =
        |told: &WorkerLine<'_>| told.line.entry || matches!(told.mark, Some(LogEvent::Received { .. }));
    let of_entry = story.lines().iter().any(|told| told.line.entry);
    let began: Vec<&WorkerLine<'_>> = story
        .lines()
        .iter()
        .filter(|told| begins(told) && told.line.entry == of_entry)
        .collect();
    let (Some(first), Some(last)) = (began.first(), began.last()) else {
        return Answer::NotApplicable;
    };
    // Another process is another attempt for another reason, or another message of the same task.
    if first.n == last.n || first.line.pid != last.line.pid || story.is_ambiguous() {
        return Answer::NotApplicable;
    }
    let restarted = story.worker_lines().iter().find(|told| {
        told.n > first.n && told.n < last.n && matches!(told.mark, Some(LogEvent::RestartingConsumer))
    });
    let Some(restarted) = restarted else {
        return Answer::NotApplicable;
    };
    let ended = match runs_again {
        Some(ends) => format!("and only {} of its runs had ended", ends.value),
        None => "while no run of it had ended".to_owned(),
    };
    let why = match timeout_of(story, story.queue()) {
        Some(Some(timeout)) => format!(
            ", as where the consumer timeout of `{}` ({}) is over",
            story.queue(),
            units::span(timeout)
        ),
        Some(None) => ", as from RabbitMQ 4.3 on where the consumer timeout of a quorum queue is over".into(),
        None => String::new(),
    };
    Answer::likely(
        format!(
            "the worker was handed the task {} times {ended}; its consumer was restarted between (`{}`){why}",
            began.len(),
            restarted.line.text
        ),
        [first.n, restarted.n, last.n],
    )
    .would_decide(&[Source::Firehose])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Scene, WORKER};

    const TIMED_OUT: &str = "Consumer encountered a connection error: (406, 'PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 3000 ms.')";

    #[test]
    fn the_broker_took_it_back() {
        let scene = Scene::entered()
            .critical("dramatiq.worker.ConsumerThread(default)", TIMED_OUT)
            .deliver_as("m-1", WORKER, true);
        assert_eq!(scene.answer(&CAUSE), "certain");
    }

    /// Afterwards: last week's log, in which another worker's channel was closed.
    #[test]
    fn a_line_that_is_dated_days_before_the_task_is_a_near_miss() {
        let looked = |dated: &str| {
            let stated = |mut scene: Scene, at: &str| {
                scene.timeline.events.last_mut().expect("a line").stated = Some(at.into());
                scene
            };
            let scene = Scene::new().given().from_before(5);
            let scene = stated(
                scene.critical("dramatiq.worker.ConsumerThread(default)", TIMED_OUT),
                dated,
            );
            let scene = stated(
                scene.info("app", "ACTOR ENTRY task_id=task_1"),
                "2026-11-30 10:52:57,100",
            );
            scene.end(crate::timeline::Ended::Looked).answer(&CAUSE)
        };
        assert_eq!(looked("2026-11-22 04:00:00,000"), "not applicable");
        assert_eq!(looked("2026-11-30 04:00:00,000"), "likely");
    }

    #[test]
    fn another_messages_timeout_is_a_near_miss() {
        let scene = Scene::entered().critical("dramatiq.worker.ConsumerThread(default)", TIMED_OUT);
        assert_eq!(scene.answer(&CAUSE), "likely");
    }

    /// As RabbitMQ 4.3 does it on a quorum queue: a log that was read afterwards.
    #[test]
    fn begun_again_without_an_error() {
        let received = |scene: Scene| {
            scene.debug(
                "dramatiq.worker.WorkerThread",
                "Received message process_task('t-1') with id 'm-1'.",
            )
        };
        let restarting = |scene: Scene| {
            scene.info(
                "dramatiq.worker.ConsumerThread(default)",
                "Restarting consumer in 3.00 seconds.",
            )
        };
        let once = received(Scene::published()).silence();
        assert_eq!(once.answer(&CAUSE), "not applicable");
        let again = received(restarting(received(Scene::published())));
        assert_eq!(again.clone().silence().answer(&CAUSE), "likely");
        // A connection that was lost after the run had ended.
        let acked = received(restarting(received(Scene::published()).acked("m-1")));
        assert_ne!(acked.silence().answer(&CAUSE), "certain");
        let without = received(received(Scene::published())).silence();
        assert_eq!(without.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn twice_again_without_a_word() {
        let scene = Scene::entered().deliver_as("m-1", WORKER, true);
        assert_eq!(scene.answer(&CAUSE), "not applicable");
        let scene = scene.deliver_as("m-1", WORKER, true);
        assert_eq!(scene.answer(&CAUSE), "likely");
        let blind = scene.without(Source::WorkerLog).without(Source::Firehose);
        assert_eq!(blind.answer(&CAUSE), "cannot tell");
    }

    /// No timeout of the broker's: whoever had it was ended.
    #[test]
    fn a_container_that_is_stopped_each_time() {
        let died = |scene: Scene| {
            scene.see(
                Source::Containers,
                crate::timeline::EventKind::ContainerEvent {
                    container: "shop-worker-1".into(),
                    action: "die".into(),
                    exit: Some(1),
                },
            )
        };
        let again = |scene: Scene| scene.deliver_as("m-1", WORKER, true);
        let first = || Scene::entered().worker_container("a1", "running", |_| {});
        let twice = again(died(again(died(first()))));
        let verdict = twice.verdict().cause.expect("a cause");
        assert_eq!(verdict.id, "redelivery-loop");
        assert!(
            verdict
                .summary
                .contains("ended with exit code 1 and was started again 2 times"),
            "{}",
            verdict.summary
        );
        assert_eq!(verdict.owner, [Owner::Deployment]);
        assert!(
            verdict
                .remedies
                .iter()
                .all(|text| !text.contains("consumer_timeout"))
        );
        // It was stopped once, and what came before is the broker's doing.
        let once = again(died(again(first())));
        assert!(
            once.summary().contains("redelivered 2 times"),
            "{}",
            once.summary()
        );
    }

    /// A quorum queue's timeout takes the message back while it runs, again and again: what ends is an earlier run.
    #[test]
    fn another_run_is_under_way_when_one_ends() {
        use crate::diagnosis::causes::row_never_written;
        let received = "Received message act('task_1') with id 'm-1'.";
        let thread = "dramatiq.worker.WorkerThread";
        let runs = |again: bool| {
            let scene = Scene::received().row("RUNNING").info(
                "dramatiq.worker.ConsumerThread(default)",
                "Restarting consumer in 3.00 seconds.",
            );
            let scene = match again {
                true => scene.debug(thread, received),
                false => scene,
            };
            scene.completed().acked("m-1").row("RUNNING").silence()
        };
        assert_eq!(runs(true).answer(&row_never_written::CAUSE), "not applicable");
        assert_ne!(runs(false).answer(&row_never_written::CAUSE), "not applicable");
        assert_eq!(runs(true).answer(&CAUSE), "likely");
        assert_eq!(runs(false).answer(&CAUSE), "not applicable");
    }

    /// RabbitMQ 4.3, quorum: the worker's log names no reason.
    #[test]
    fn a_consumer_that_the_broker_cancels_is_the_timeout_of_a_quorum_queue() {
        let logger = "dramatiq.worker.ConsumerThread(default)";
        let restarts =
            |scene: Scene, ms: f64| scene.at(ms).info(logger, "Restarting consumer in 3.00 seconds.");
        let first = |queue: Scene| queue.at(1000.0).deliver_as("m-1", WORKER, false);
        let quorum = |arguments| first(Scene::entered().quorum("default", arguments));
        let again = |scene: Scene, ms: f64| {
            restarts(scene, ms)
                .at(ms + 3000.0)
                .deliver_as("m-1", WORKER, true)
        };
        let known = || serde_json::json!({ "x-consumer-timeout": 8000 });
        let once = again(quorum(known()), 9_050.0);
        assert_eq!(once.clone().answer(&CAUSE), "likely");
        assert!(
            once.summary()
                .contains("the consumer timeout of `default` (8.0 s)"),
            "{}",
            once.summary()
        );
        assert!(
            once.verdict()
                .cause
                .expect("a cause")
                .remedies
                .iter()
                .any(|text| text.starts_with("Raise `consumer_timeout`"))
        );
        let global = again(quorum(serde_json::json!({})), 9_050.0);
        assert!(
            global.summary().contains("consumer timeout of a quorum queue"),
            "{}",
            global.summary()
        );
        // Too early or too late for the queue's timeout, a classic queue, a lost connection.
        assert_eq!(again(quorum(known()), 3_000.0).answer(&CAUSE), "not applicable");
        assert_eq!(again(quorum(known()), 30_000.0).answer(&CAUSE), "not applicable");
        let classic = first(Scene::entered().totals("default", 0, 1, known()));
        assert_eq!(again(classic, 9_050.0).answer(&CAUSE), "not applicable");
        let lost = quorum(known()).at(9_000.0).critical(
            logger,
            "Consumer encountered a connection error: StreamLostError: ('Transport indicated EOF',)",
        );
        assert_eq!(again(lost, 9_050.0).answer(&CAUSE), "not applicable");
    }

    /// It came back because its worker was started anew; the channel that is closed later is another consumer's.
    #[test]
    fn one_that_came_back_before_is_a_near_miss() {
        let again = || Scene::entered().at(1000.0).deliver_as("m-1", WORKER, true);
        let logger = "dramatiq.worker.ConsumerThread(default)";
        let closed = |ms: f64, logger: &str| again().at(ms).critical(logger, TIMED_OUT).answer(&CAUSE);
        assert_eq!(closed(9_000.0, logger), "likely");
        assert_eq!(
            closed(9_000.0, "dramatiq.worker.ConsumerThread(mail)"),
            "not applicable"
        );
        // The line is read a little later than the message comes again.
        assert_eq!(closed(1_500.0, logger), "certain");
    }

    /// A person looks at it in the management pages, with "requeue", while nobody consumes.
    #[test]
    fn what_was_got_by_hand_is_no_loop() {
        let looked = |consumers: u64, by: &str| {
            let mut scene = Scene::new()
                .depth("default", 0, consumers)
                .submitted()
                .row("PENDING");
            scene = scene.publish("default").depth("default", 1, consumers);
            for at in [1000.0, 2000.0, 3000.0] {
                let scene_at = scene.at(at).deliver_as("m-1", by, at > 1000.0);
                scene = scene_at.depth("default", 1, consumers);
            }
            scene.silence()
        };
        let script = "10.0.0.9:4711 -> 127.0.0.1:5672";
        assert_ne!(looked(0, script).answer(&CAUSE), "likely");
        assert_ne!(
            looked(1, "<9384.0>").answer(&CAUSE),
            "likely",
            "the management pages"
        );
        assert_eq!(looked(1, script).answer(&CAUSE), "likely");
    }
}
