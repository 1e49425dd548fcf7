//! The worker lives and is connected, and was told not to consume the queue any more.

use super::APPLIES_TO;
use crate::diagnosis::evidence::{WorkerLine, control, lives};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::Source;

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "consumer-cancelled",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::Deployment],
    explains: &["no-consumer"],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Control], &[Source::Queue]],
    applies_to: APPLIES_TO,
    page: include_str!("consumer_cancelled.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let queue = story.queue();
    let depths = story.depths_since(queue);
    let Some(last) = depths.last().filter(|depth| depth.exists && story.closed()) else {
        return Answer::NotApplicable;
    };
    if let Some(seen) = depths.iter().find(|depth| depth.consumers > 0) {
        return Answer::ruled_out(format!("`{queue}` has a consumer"), [seen.n]);
    }
    // At boot it listed the queue among those that it consumes.
    let lines = story.worker_lines();
    let added = lines.iter().rev().find(|told| told.adds_consumer_of(queue));
    let Some(added) = added else {
        return Answer::NotApplicable;
    };
    // Started again it may consume others.
    let booted = |told: &WorkerLine<'_>| told.n > added.n && told.mark == Some(&LogEvent::BootingUp);
    if lines.iter().any(booted) {
        return Answer::NotApplicable;
    }
    let leaves = |told: &&WorkerLine<'_>| {
        told.n > added.n
            && matches!(
                told.mark,
                Some(
                    LogEvent::Stopping
                        | LogEvent::ShutDown
                        | LogEvent::GaveUp { .. }
                        | LogEvent::ConnectionError { .. }
                )
            )
    };
    // One that goes on has not said that it stops.
    let is_anothers =
        |told: &WorkerLine<'_>| lives::stops(told) && lives::goes_on_since(story, told).is_some();
    let mut left = lines.iter().rev().filter(leaves);
    if let Some(told) = left.find(|told| !is_anothers(told)) {
        return Answer::ruled_out("the worker stops, or has lost its connection", [told.n]);
    }
    let holds_log = |pid| story.process(pid).is_some_and(|process| process.holds_log);
    let writers = control::living(story).into_iter();
    let writers: Vec<_> = writers.filter(|beat| beat.pid.is_some_and(holds_log)).collect();
    let Some(first) = writers.first() else {
        return Answer::NotApplicable;
    };
    // Several nodes may write to one log: the list must be this one's.
    let named = node_of(story, added);
    let Some(beat) = writers
        .iter()
        .find(|beat| named.is_none_or(|node| node == beat.node))
    else {
        return Answer::ruled_out("the log's list of queues is another node's", [first.n, added.n]);
    };
    // It has begun since, and has not come to its queues yet: the list is an earlier worker's. Printed, it has no
    // time; what was logged first after it has.
    let began = beat.pid.and_then(|pid| story.process(pid)?.started_at_ms);
    let mut logged = lines.iter().filter(|told| told.stated.is_some());
    let said = logged.find(|told| told.n > added.n);
    if let (Some(began), Some(said)) = (began, said)
        && began as f64 > story.timeline.zero_ms() + said.at_ms
    {
        return Answer::ruled_out(
            "the worker that lives began after the log's list of queues",
            [beat.n, said.n],
        );
    }
    // By its own word it consumes others, or none.
    let asked = control::answers(story).find_map(|answer| {
        let queues = answer.value.queues.as_ref()?;
        let is_without = answer.node == beat.node && !queues.iter().any(|name| name == queue);
        is_without.then_some(answer.with(queues))
    });
    let text = format!(
        "{} lives, is connected, and consumed `{queue}` when it had started; now it does not, although the queue is there",
        beat.node
    );
    match asked {
        Some(queues) if named.is_none() => Answer::likely(
            format!("{text}, if that is the node whose list of queues the log has"),
            [last.n, beat.n, added.n, queues.n],
        ),
        Some(queues) if queues.is_empty() => Answer::shown(
            format!("{text}: by its own word it consumes no queue"),
            [last.n, beat.n, added.n, queues.n],
        ),
        Some(queues) => Answer::shown(
            format!("{text}: by its own word it consumes {}", queues.join(", ")),
            [last.n, beat.n, added.n, queues.n],
        ),
        // It may be about to consume it again.
        None => Answer::likely(
            format!("{text}: its consumer was cancelled"),
            [last.n, beat.n, added.n],
        ),
    }
}

/// The node that lists its queues in this line: its name stands above them, and in the line that says it is ready.
fn node_of<'a>(story: &Story<'a>, added: &WorkerLine<'a>) -> Option<&'a str> {
    let lines = story.worker_lines().iter();
    let own = lines.filter(|told| told.line.stream == added.line.stream);
    // In a format of the application's own other words may stand right before it.
    let name = |told: &WorkerLine<'a>| {
        let mut words = told.line.text.split([' ', '|', '"', '\'', '[', ']', '(', ')']);
        words.find(|word| word.contains('@'))
    };
    let banner = own
        .clone()
        .rfind(|told| told.n < added.n && told.mark == Some(&LogEvent::BootingUp));
    let mut later = own.filter(|told| told.n > added.n);
    let ready = || later.find(|told| told.mark == Some(&LogEvent::Ready));
    banner.or_else(ready).and_then(name)
}

#[cfg(test)]
mod tests {
    use super::super::scenes::CeleryScene;
    use super::*;
    use crate::diagnosis::testing::Scene;
    use crate::framework::Heartbeat;
    use crate::timeline::{EventKind, Level};

    fn without_consumer() -> CeleryScene {
        CeleryScene::waiting(0)
    }

    #[test]
    fn a_living_worker_consumes_nothing() {
        let scene = without_consumer().beats(true).silence();
        assert_eq!(scene.cause(), "likely consumer-cancelled", "{}", scene.summary());
        let said = without_consumer()
            .beats(true)
            .answers(|answer| answer.consumes(&[]))
            .silence();
        assert_eq!(said.cause(), "certain consumer-cancelled", "{}", said.summary());
        assert_eq!(scene.without(Source::Control).answer(&CAUSE), "cannot tell");
    }

    #[test]
    fn one_that_goes_or_is_silent_is_a_near_miss() {
        let goes = without_consumer().beats(true).beats(false).silence();
        assert_eq!(goes.answer(&CAUSE), "not applicable");
        assert_eq!(without_consumer().silence().answer(&CAUSE), "not applicable");
        let stops = without_consumer()
            .beats(true)
            .info("worker: Warm shutdown (MainProcess)")
            .silence();
        assert_eq!(stops.answer(&CAUSE), "ruled out");
        let lost = without_consumer()
            .beats(true)
            .info("consumer: Connection to broker lost. Trying to re-establish the connection...")
            .silence();
        assert_eq!(lost.answer(&CAUSE), "ruled out");
        let again = without_consumer()
            .info(" -------------- celery@vm v5.7.0 (collider)")
            .beats(true)
            .silence();
        assert_eq!(again.answer(&CAUSE), "not applicable");
        // A new one boots, and its log ends with the old one's words.
        let logged = |scene: Scene, text: &str| {
            let mut scene = scene.plain(Some(Level::Info), text);
            scene.timeline.events.last_mut().expect("the line").stated = Some("08:00".into());
            scene
        };
        let boots = |last_words_at: f64| {
            let scene = without_consumer().and(|scene| {
                let scene = logged(scene, "celery@vm ready.").at(last_words_at);
                let scene = logged(scene, "Task shop.tasks.fulfil[x] received").at(2_000.0);
                scene.process(100, 1, "python celery -A shop worker", |process| {
                    process.started_at_ms = Some(1_001_500);
                })
            });
            scene.beats(true).silence()
        };
        assert_eq!(boots(1_400.0).answer(&CAUSE), "ruled out");
        // The old one still wrote something when the new one had begun.
        assert_eq!(boots(1_600.0).answer(&CAUSE), "ruled out");
        let consumed = CeleryScene::waiting(1).beats(true).silence();
        assert_eq!(consumed.answer(&CAUSE), "ruled out");
    }

    /// Two nodes write to one log: the one that consumed the queue is dead, and the other one never did.
    #[test]
    fn the_list_of_another_node_is_a_near_miss() {
        let asked = |node: Option<&str>| {
            let mut scene = without_consumer()
                .beats(true)
                .answers(|answer| answer.consumes(&["heavy"]));
            for event in &mut scene.timeline.events {
                if let EventKind::Line(line) = &mut event.kind
                    && line.text.ends_with(" ready.")
                {
                    line.text = node.map_or_else(String::new, |node| format!("{node} ready."));
                }
            }
            // What its lines mean is read anew.
            scene.timeline = scene.timeline.prefix(usize::MAX);
            scene.silence().answer(&CAUSE)
        };
        assert_eq!(asked(Some("celery@vm")), "certain");
        assert_eq!(asked(Some("17:26:24|19673|INFO|celery@vm")), "certain");
        assert_eq!(asked(Some("w1@vm")), "ruled out");
        assert_eq!(asked(None), "likely");
    }

    /// Two nodes live and write to one log: the one that listed the queue counts, whoever was seen first.
    #[test]
    fn a_living_neighbour_hides_nothing() {
        let scene = without_consumer().and(|scene| {
            let command = "python celery -A shop worker -n labels@vm -Q labels";
            let scene = scene.process(90, 1, command, |process| process.holds_log = true);
            let beat = Heartbeat {
                node: "labels@vm".into(),
                pid: Some(90),
                beats: 3,
                ..Heartbeat::default()
            };
            scene.see(Source::Control, EventKind::Heartbeat(beat))
        });
        let scene = scene.beats(true).answers(|answer| answer.consumes(&[])).silence();
        assert_eq!(scene.cause(), "certain consumer-cancelled", "{}", scene.summary());
    }

    /// A neighbour that writes to the same log was stopped; this one goes on.
    #[test]
    fn the_stop_of_a_neighbour_is_no_stop_of_its_own() {
        let scene = without_consumer()
            .info("worker: Warm shutdown (MainProcess)")
            .beats(true)
            .silence();
        assert_eq!(scene.cause(), "likely consumer-cancelled", "{}", scene.summary());
    }
}
