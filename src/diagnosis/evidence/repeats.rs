//! Lines that were read twice.

use std::collections::HashMap;

use super::{Story, WorkerLine};

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
