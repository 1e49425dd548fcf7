//! Lines that were read twice.

use std::collections::{BTreeSet, HashMap};

use super::{Story, WorkerLine};
use crate::framework::LogEvent;

impl Story<'_> {
    /// The same words of the same thread at the same millisecond are one line, read again: a program that prints its
    /// log anew, two handlers of one logger, or a look back for lines that name the task. The one with its traceback
    /// says more.
    pub(super) fn forget_repeated_lines(&mut self) {
        let mut kept: HashMap<Words<'_>, (bool, u32)> = HashMap::new();
        for told in &self.worker_lines {
            let Some(words) = words(told) else { continue };
            let read = (told.line.traceback.is_some(), told.n);
            let best = kept.entry(words).or_insert(read);
            if read.0 && !best.0 {
                *best = read;
            }
        }
        self.worker_lines.retain(|told| {
            let best = words(told).and_then(|words| kept.get(&words));
            best.is_none_or(|(_, n)| *n == told.n)
        });
    }

    /// Where lines name no logger, the consumer of delayed messages says of the copy that it has moved on what is else said of a
    /// run that is over. It had put the message aside before.
    pub(super) fn forget_moves(&mut self) {
        let mut aside = BTreeSet::new();
        for told in &mut self.worker_lines {
            match told.mark {
                Some(LogEvent::Pushed { id, delay: true }) => {
                    aside.insert((told.thread(), id.as_str()));
                }
                Some(LogEvent::Acknowledging { id })
                    if told.line.logger.is_none() && aside.remove(&(told.thread(), id.as_str())) =>
                {
                    told.mark = None;
                }
                _ => {}
            }
        }
    }
}

/// When a line was written, by whom, and what it says.
type Words<'a> = (&'a str, i32, Option<&'a str>, Option<&'a str>, &'a str);

/// `None`: it is not told to the millisecond, or not by whom.
fn words<'a>(told: &WorkerLine<'a>) -> Option<Words<'a>> {
    let line = told.line;
    let stated = told.stated.filter(|stated| has_fraction(stated))?;
    Some((
        stated,
        line.pid?,
        line.stream.as_deref(),
        line.thread.as_deref(),
        line.text.as_str(),
    ))
}

/// It is told to the millisecond: `12:00:00,123`.
fn has_fraction(stated: &str) -> bool {
    stated
        .rsplit_once([',', '.'])
        .is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    /// Its copy was moved on by the delay queue's consumer, and a format without loggers does not say whose word that is.
    #[test]
    fn the_word_of_the_delay_queue_ends_no_run() {
        use crate::diagnosis::testing::{Scene, WORKER};
        let moved = |logger: bool, again: bool| {
            let name = |name: &str| match logger {
                true => format!("[dramatiq.worker.ConsumerThread({name})] "),
                false => String::new(),
            };
            let line = |scene: Scene, queue: &str, text: &str| {
                let head = "1970-01-01 00:16:40,000 [PID 101] Thread-3";
                match logger {
                    true => scene.line(&format!("[PID 101] [Thread-3] {}[DEBUG] {text}", name(queue))),
                    false => scene.line(&format!("{head} DEBUG {text}")),
                }
            };
            let mut copy = Scene::message("m-1");
            copy.eta_ms = Some(1_001_000);
            let scene = Scene::new()
                .worker_booted()
                .depth("default", 0, 1)
                .submitted()
                .row("PENDING");
            let scene = scene.publish_as("default.DQ", crate::diagnosis::testing::API, copy);
            let scene = line(scene, "default.DQ", "Pushing message 'm-1' onto delay queue.");
            let scene = scene
                .at(1_500.0)
                .publish("default")
                .deliver(WORKER)
                .peer(WORKER, 101);
            let scene = line(scene, "default.DQ", "Acknowledging message 'm-1'.");
            let scene = line(scene, "default", "Pushing message 'm-1' onto work queue.");
            let scene = match again {
                true => line(scene, "default", "Acknowledging message 'm-1'."),
                false => scene,
            };
            let verdict = scene.silence().verdict();
            verdict.impact.expect("an impact").sentence
        };
        for logger in [true, false] {
            assert!(
                !moved(logger, false).contains("must be submitted"),
                "{}",
                moved(logger, false)
            );
            assert!(
                moved(logger, true).contains("must be submitted"),
                "{}",
                moved(logger, true)
            );
        }
    }

    use crate::diagnosis::Story;
    use crate::diagnosis::testing::Scene;
    use crate::timeline::Event;

    #[test]
    fn of_one_line_that_was_read_twice_the_one_with_its_traceback() {
        let stated = |mut scene: Scene| {
            for event in &mut scene.timeline.events {
                let at: &mut Event = event;
                at.stated = Some("2026-11-30 10:58:25,998".into());
            }
            scene
        };
        let alone = "Failed to process message act('task_1') with unhandled exception.";
        let scene = || Scene::new().given().from_before(5);
        let read_twice = scene()
            .error("dramatiq.worker.WorkerThread", alone)
            .raised("ValueError: no");
        let kept = |scene: Scene| {
            let scene = stated(scene);
            let story = Story::new(&scene.timeline);
            let lines = story.worker_lines().iter();
            lines
                .map(|told| told.line.traceback.is_some())
                .collect::<Vec<_>>()
        };
        assert_eq!(kept(read_twice), [true]);
        let with_it_first = scene()
            .raised("ValueError: no")
            .error("dramatiq.worker.WorkerThread", alone);
        assert_eq!(kept(with_it_first), [true]);
    }
}
