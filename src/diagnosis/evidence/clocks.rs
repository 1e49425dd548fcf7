//! When a line was written, by the time that it states: a log may come to us late, and its clock be another one.

use super::{Story, WorkerLine};
use crate::diagnosis::premises::{Premise, State};

/// Zones are whole quarters of an hour apart.
const QUARTER_MS: f64 = 15.0 * 60_000.0;
/// So late a line is as it comes: it says the second only, and ours is not its clock.
const USUAL_MS: f64 = 2_000.0;

impl Story<'_> {
    /// How long before it came to us a line was written, by the time that it states. Its zone is not known: what is more than
    /// half a quarter of an hour is not seen. Negative: its clock is ahead of ours.
    pub(in crate::diagnosis) fn behind_ms(&self, at_ms: f64, stated: Option<&str>) -> Option<f64> {
        let stated = in_its_hour(stated?)?;
        Some(since(stated, self.timeline.zero_ms() + at_ms))
    }

    /// It was written before the task's message was made, by the clock that both have: worker and API are on this machine.
    pub(super) fn precedes_the_message(&self, told: &WorkerLine<'_>) -> bool {
        let passages = self.publishes.iter().chain(&self.deliveries);
        let made = passages.filter_map(|passage| passage.message.timestamp_ms).min();
        let written = told
            .stated
            .and_then(|stated| Some((in_its_hour(stated)?, resolution_ms(stated))));
        let (Some(made), Some((written, resolution))) = (made, written) else {
            return false;
        };
        since(written, made as f64) > resolution
            && self.api_processes().iter().any(|api| api.at.is_none())
            && matches!(self.state(&Premise::SamePidSpace), State::Proved(_))
    }

    /// When a line was written that came late, and else when it came.
    pub(in crate::diagnosis) fn written_ms(&self, at_ms: f64, stated: Option<&str>) -> f64 {
        let behind = self.behind_ms(at_ms, stated);
        at_ms - behind.filter(|behind| *behind > USUAL_MS).unwrap_or(0.0)
    }

    pub(in crate::diagnosis) fn written_at(&self, told: &WorkerLine<'_>) -> f64 {
        match told.line.before {
            true => told.at_ms,
            false => self.written_ms(told.at_ms, told.stated),
        }
    }
}

/// From what is known within its quarter of an hour only to this moment.
fn since(stated: f64, moment: f64) -> f64 {
    let since = (moment - stated).rem_euclid(QUARTER_MS);
    match since > QUARTER_MS / 2.0 {
        true => since - QUARTER_MS,
        false => since,
    }
}

/// What a stated time leaves open: a second, or the last of its digits.
fn resolution_ms(stated: &str) -> f64 {
    let fraction = stated.split_once([',', '.']).map_or("", |(_, fraction)| fraction);
    let digits = fraction.chars().take_while(char::is_ascii_digit).count();
    1_000.0 / 10_f64.powi(digits.min(3) as i32)
}

/// `2026-11-28 06:39:05,100`: the milliseconds since the full hour.
fn in_its_hour(stated: &str) -> Option<f64> {
    let (_, rest) = stated.split_once(':')?;
    let (minutes, rest) = rest.split_once(':')?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != ',' && c != '.');
    let seconds = rest[..end.unwrap_or(rest.len())].replace(',', ".");
    let (minutes, seconds): (f64, f64) = (minutes.parse().ok()?, seconds.parse().ok()?);
    Some((minutes * 60.0 + seconds) * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::in_its_hour;
    use crate::diagnosis::testing::{CALL, Scene};

    #[test]
    fn a_time_in_its_hour() {
        for stated in [
            "2026-11-28 06:39:05,100",
            "2026-11-28T06:39:05.100Z",
            "2026-11-28T08:39:05.100+02:00",
            "06:39:05,100",
        ] {
            assert_eq!(in_its_hour(stated), Some(2_345_100.0), "{stated}");
        }
        assert_eq!(in_its_hour("2026-11-28"), None);
    }

    /// Handed to a quiet worker at about 00:16:40 on an idle queue; then this line, which says when it was written.
    fn told(stated: &str, line: &str) -> Scene {
        let idle = |scene: Scene| scene.totals("default", 0, 0, serde_json::json!({}));
        let mut scene = Scene::quiet(idle).at(2_500.0).line(line);
        if let Some(last) = scene.timeline.events.last_mut() {
            last.stated = Some(stated.into());
        }
        scene
    }

    /// A log that is read over a network comes seconds later: another task's failure from before the submission.
    #[test]
    fn what_was_written_before_the_task_came_is_not_about_it() {
        let failed = format!(
            "[PID 101] [Thread-6] [dramatiq.worker.WorkerThread] [ERROR] Failed to process message act(x) with unhandled exception.\n{CALL}  File \"/app/tasks.py\", line 3, in act\nValueError: no"
        );
        let lines = [
            (failed.as_str(), "actor-raised"),
            (
                "[PID 101] [Thread-6] [dramatiq.worker.WorkerThread] [WARNING] Message act(x) was skipped.",
                "message-skipped",
            ),
            (
                "[PID 101] [Thread-2] [dramatiq.worker.ConsumerThread(default)] [ERROR] Received message for undefined actor 'act'. Moving it to the DLQ.",
                "unknown-actor",
            ),
            (
                "[PID 101] [Thread-2] [dramatiq.brokers.rabbitmq._RabbitmqConsumer] [ERROR] Failed to decode message using encoder <JSONEncoder>.",
                "decode-error",
            ),
        ];
        for (line, cause) in lines {
            let early = told("1970-01-01 02:16:35,000", line).cause();
            assert!(!early.ends_with(cause), "{early}");
            // In its time, or from where nobody knows when.
            for stated in ["1970-01-01 02:16:42,000", "1970-01-01"] {
                assert_eq!(told(stated, line).cause(), format!("certain {cause}"), "{stated}");
            }
        }
    }

    /// The same of the API's log: a request that failed before ours.
    #[test]
    fn a_traceback_of_before_the_request_is_another_ones() {
        use crate::diagnosis::Story;
        use crate::diagnosis::premises::{Premise, State};
        let is_refuted = |stated: &str| {
            let scene = Scene::new().submitting().answered(500, None, "no");
            let traceback = "Traceback (most recent call last):\n  File \"/app/main.py\", line 3, in create\nValueError: no";
            let mut scene = scene
                .at(2_500.0)
                .api_log("Internal Server Error: /tasks", traceback);
            let last = scene.timeline.events.last_mut().expect("a line");
            last.stated = Some(stated.into());
            let n = last.n;
            matches!(
                Story::new(&scene.timeline).state(&Premise::TracebackIsOurs(n)),
                State::Refuted(_)
            )
        };
        assert!(is_refuted("1970-01-01 02:16:35,000"));
        assert!(!is_refuted("1970-01-01 02:16:42,000"));
    }
}
