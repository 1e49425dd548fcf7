//! Errors on which a worker gives up and exits: one line of its log each, and so rows of one table.

use super::APPLIES_TO;
use crate::diagnosis::evidence::{WorkerLine, broker, lives};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::LogEvent;
use crate::text::counted;
use crate::timeline::{Level, Source};

/// What they have in common.
const GAVE_UP: Cause = Cause {
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::Deployment],
    explains: &["no-consumer"],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog]],
    applies_to: APPLIES_TO,
    ..Cause::DEFAULT
};

/// The broker waited too long for an acknowledgement and closed the worker's channel.
pub(in crate::diagnosis::causes) const CONSUMER_TIMEOUT: Cause = Cause {
    id: "consumer-timeout-killed-worker",
    owner: &[Owner::WorkerCode],
    page: include_str!("consumer_timeout_killed_worker.md"),
    check: |story| {
        let what =
            "the worker held a message longer than the broker allows, and exited when its channel was closed";
        gave_up(story, is_consumer_timeout, what)
    },
    ..GAVE_UP
};

/// Another worker has this worker's node name, and with it the queue for remote control.
pub(in crate::diagnosis::causes) const NODE_NAME_TAKEN: Cause = Cause {
    id: "node-name-taken",
    page: include_str!("node_name_taken.md"),
    check: |story| {
        let what = "another worker of the vhost has this worker's node name, so it exited";
        gave_up(story, is_taken_name, what)
    },
    ..GAVE_UP
};

/// Any other.
pub(in crate::diagnosis::causes) const UNRECOVERABLE: Cause = Cause {
    id: "worker-unrecoverable",
    page: include_str!("worker_unrecoverable.md"),
    check: |story| {
        let another = |error: &str| !is_consumer_timeout(error) && !is_taken_name(error);
        gave_up(story, another, "the worker gave up on an error, and exited")
    },
    ..GAVE_UP
};

fn is_consumer_timeout(error: &str) -> bool {
    error.contains("PRECONDITION_FAILED") && error.contains("delivery acknowledgement")
}

fn is_taken_name(error: &str) -> bool {
    error.contains("RESOURCE_LOCKED") && error.contains(".pidbox")
}

/// The worker's log ends in an error on which it gave up, no consumer is left, and `is_it` knows the error.
fn gave_up(story: &Story<'_>, is_it: fn(&str) -> bool, what: &str) -> Answer {
    if let Some(depth) = story
        .depths_since(story.queue())
        .last()
        .filter(|depth| depth.consumers > 0)
    {
        return Answer::ruled_out(
            format!(
                "{} on `{}`",
                counted(depth.consumers, "consumer", "consumers"),
                story.queue()
            ),
            [depth.n],
        );
    }
    if !story.sees(Source::WorkerLog) {
        return Answer::cannot_tell(&[Source::WorkerLog]);
    }
    let lines = story.worker_lines();
    let error_of = |told: &WorkerLine<'_>| match told.mark {
        Some(LogEvent::GaveUp { error }) if told.line.level.is_none_or(|level| level >= Level::Error) => {
            Some(error.clone())
        }
        _ => None,
    };
    // Workers of other services may write to the same log.
    let is_another = |at: usize| lives::is_anothers(story, at);
    let mut errors = (0..lines.len())
        .rev()
        .filter(|at| error_of(&lines[*at]).is_some());
    let Some(at) = errors.find(|at| !is_another(*at)) else {
        return Answer::NotApplicable;
    };
    let after = |is_it: fn(&LogEvent) -> bool| {
        let mut later = (at + 1..lines.len()).filter(|later| lines[*later].mark.is_some_and(is_it));
        later.find(|later| !is_another(*later)).map(|later| &lines[later])
    };
    if let Some(again) = after(|mark| matches!(mark, LogEvent::Ready | LogEvent::BootingUp)) {
        return Answer::ruled_out("a worker started after that", [again.n]);
    }
    if let Some(told) = after(|mark| matches!(mark, LogEvent::Stopping)) {
        return Answer::ruled_out("it went on until it was told to stop", [told.n]);
    }
    let Some(error) = error_of(&lines[at]).filter(|error| is_it(error)) else {
        return Answer::NotApplicable;
    };
    if !story.closed() {
        return Answer::NotApplicable;
    }
    // The banner is printed, and a quiet log has no other word of a start.
    let began = lives::began_since(story, &lines[at]);
    if let Some(began) = began.filter(|process| process.holds_log) {
        return Answer::ruled_out("a worker that was started after that lives", [began.n]);
    }
    let mut evidence = vec![lines[at].n];
    evidence.extend(story.depths_since(story.queue()).last().map(|depth| depth.n));
    // A queue that was not looked at may have a consumer of another worker.
    let text = format!("{what}: {error}");
    // An old line may be yesterday's, and whoever was started since may be out of sight. Where a name is taken somebody
    // else lives.
    let is_old = lines[at].line.before && !story.ended_recently(&lines[at]);
    let may_be_up = is_old || (began.is_some() && !is_taken_name(&error));
    match broker::has_consumer(story) {
        None if may_be_up && !lives::stays_dead(story) => {
            Answer::likely(text, evidence).would_decide(&[Source::Process])
        }
        // One that is older than that line lives: it is another's. Or another has booted before it.
        None if lives::one_outlives(story, &lines[at]) || (0..at).any(is_another) => {
            Answer::likely(text, evidence)
        }
        None => Answer::shown(text, evidence).lasting_if(lives::stays_dead(story)),
        Some(_) => Answer::likely(text, evidence).would_decide(&[Source::Queue]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenes::CeleryScene;
    use super::*;

    const BANNER: &str = " -------------- mail@vm v5.7.0 (dawn-chorus)";
    const REFUSED: &str = "Unrecoverable error: AccessRefused(403, 'ACCESS_REFUSED')";

    fn banner(scene: CeleryScene, queue: &str) -> CeleryScene {
        scene.info(BANNER).info(&format!(
            "                .> {queue}           exchange={queue}(direct) key={queue}"
        ))
    }

    /// One supervisor's log has what several services write.
    #[test]
    fn what_another_service_gave_up_on_is_a_near_miss() {
        let stopped = || CeleryScene::waiting(0).info("worker: Warm shutdown (MainProcess)");
        let gave_up = |queue: &str, error: &str| banner(stopped(), queue).error(error).silence();
        let cause = &UNRECOVERABLE;
        assert_eq!(gave_up("mail", REFUSED).answer(cause), "not applicable");
        assert_eq!(gave_up("celery", REFUSED).answer(cause), "certain");
        let taken = "Unrecoverable error: ResourceLocked(405, \"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'mail@vm.celery.pidbox'\")";
        assert_eq!(gave_up("mail", taken).answer(&NODE_NAME_TAKEN), "not applicable");
        assert_eq!(gave_up("celery", taken).answer(&NODE_NAME_TAKEN), "certain");
    }

    /// That another service has booted since says nothing of ours.
    #[test]
    fn ours_gave_up_and_another_booted() {
        let scene = banner(CeleryScene::waiting(0), "celery").error(REFUSED);
        let scene = banner(scene, "mail").info("mail@vm ready.").silence();
        assert_eq!(scene.answer(&UNRECOVERABLE), "certain");
    }

    /// The banner is printed elsewhere, and at WARNING a worker that was started again writes nothing.
    #[test]
    fn one_that_was_started_since_and_says_nothing() {
        let stated = |mut scene: CeleryScene| {
            let last = scene.timeline.events.last_mut().expect("an event");
            last.stated = Some("1970-01-01 00:16:41,000".into());
            scene
        };
        let with = |after_ms: i64, holds: bool, configured: bool| {
            let scene = stated(banner(CeleryScene::waiting(0), "celery").error(REFUSED));
            let written = scene.timeline.events.last().map_or(0.0, |event| event.at_ms);
            let began = 1_000_000 + written as i64 + after_ms;
            scene.and(|scene| {
                scene.process(300, 1, "python celery -A shop worker -l INFO", |process| {
                    process.started_at_ms = Some(began);
                    process.holds_log = holds;
                    process.is_configured = configured;
                })
            })
        };
        assert_eq!(
            with(4_000, true, true).silence().answer(&UNRECOVERABLE),
            "ruled out"
        );
        assert_eq!(
            with(4_000, false, true).silence().answer(&UNRECOVERABLE),
            "likely"
        );
        assert_eq!(
            with(4_000, false, false).silence().answer(&UNRECOVERABLE),
            "certain"
        );
        assert_eq!(
            with(-4_000, false, true).silence().answer(&UNRECOVERABLE),
            "certain"
        );
    }

    /// Both were up by then, and a line without a pid is anybody's.
    #[test]
    fn one_of_two_gave_up() {
        let scene = banner(CeleryScene::waiting(0), "mail");
        let scene = banner(scene, "celery").error(REFUSED).silence();
        assert_eq!(scene.answer(&UNRECOVERABLE), "likely");
    }
}
