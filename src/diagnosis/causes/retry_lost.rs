//! The attempt failed and was to be retried, and the copy for the retry never came to the broker.

use crate::diagnosis::evidence::{broker, permissions, retries};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::{EventKind, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "retry-lost",
    keeps_from: &[Stage::Finished, Stage::Entered],
    owner: &[Owner::Deployment],
    explains: &["actor-raised", "time-limit-exceeded", "raised-before-entry"],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Firehose], &[Source::WorkerLog]],
    fails_attempt: true,
    page: include_str!("retry_lost.md"),
    check,
    ..Cause::DEFAULT
};

/// A case of its remedies.
const UNSEEN: &str = "the reason was not seen";

fn check(story: &Story<'_>) -> Answer {
    let Some(said) = retries::announced(story) else {
        return Answer::NotApplicable;
    };
    if !broker::saw_every_publish(story) {
        return Answer::cannot_tell(&[Source::Firehose]);
    }
    // Unacknowledged it comes again by itself.
    let over = story
        .attempt_over()
        .filter(|told| matches!(told.mark, Some(LogEvent::Acknowledging { .. })) && told.at_ms >= said.at_ms);
    let Some(over) = over.filter(|over| is_late(story, over.at_ms)) else {
        return Answer::NotApplicable;
    };
    if !retries::awaits_its_copy(story) {
        return Answer::ruled_out("the copy for the retry was published", [said.n]);
    }
    let delayed = story.delay_queue();
    if delayed.is_some_and(|queue| broker::grew(story, &queue)) {
        return Answer::ruled_out("the delay queue grew: the copy may be there", [said.n]);
    }
    let raised = story.raised().last();
    let error = raised.map_or("it failed".to_owned(), |raised| {
        format!("it failed with {}", raised.exception())
    });
    let text = format!(
        "{error}, was to be retried, and is acknowledged; no copy was published, so it is not tried again"
    );
    let mut evidence = vec![said.n, over.n];
    evidence.extend(raised.map(|raised| raised.n));
    match permissions::worker_may_not_publish(story) {
        Some((shown, permission)) => {
            evidence.extend(shown);
            Answer::shown(
                format!(
                    "{text}: the worker {}, and RabbitMQ refused the copy",
                    permissions::words(story, permission)
                ),
                evidence,
            )
            .case(UNSEEN, false)
            .naming("{user}", &permission.user)
        }
        None => Answer::likely(
            format!("{text}: the broker refused it, or the worker sent it elsewhere"),
            evidence,
        )
        .case(UNSEEN, true),
    }
}

/// A copy would have been seen by now.
fn is_late(story: &Story<'_>, since_ms: f64) -> bool {
    let end = story.find(|event| matches!(event.kind, EventKind::Ended { .. }).then_some(event.at_ms));
    story.closed() || end.is_some_and(|end| end - since_ms >= LATE_MS)
}

/// Less than `actor-raised` waits for it.
const LATE_MS: f64 = 300.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Scene, WORKER};

    fn failed() -> Scene {
        Scene::entered().raised("ValueError: no").retrying()
    }

    fn restricted(scene: Scene) -> Scene {
        scene
            .consumers(&[("default", WORKER, 2)])
            .connections(&[(WORKER, "/", "running")])
            .permissions(&[("guest", "^default.*")])
    }

    fn copy() -> crate::framework::Message {
        let mut copy = Scene::message("m-1");
        copy.retries = Some(1);
        copy.eta_ms = Some(1_015_000);
        copy
    }

    #[test]
    fn acknowledged_and_no_copy_came() {
        let scene = failed().acked("m-1").silence();
        assert_eq!(scene.cause(), "likely retry-lost");
        let verdict = scene.verdict();
        let cause = verdict.cause.expect("a cause");
        assert!(cause.explains.iter().any(|link| link.id == "actor-raised"));
        assert!(cause.summary.contains("ValueError"), "{}", cause.summary);
    }

    #[test]
    fn the_workers_user_may_not_write() {
        let scene = restricted(failed()).acked("m-1").silence();
        assert_eq!(scene.cause(), "certain retry-lost");
        assert!(scene.summary().contains("`^default.*`"), "{}", scene.summary());
    }

    #[test]
    fn a_copy_that_was_seen_is_a_near_miss() {
        let scene = failed()
            .publish_as("default.DQ", WORKER, copy())
            .acked("m-1")
            .silence();
        assert_eq!(scene.answer(&CAUSE), "ruled out");
        // Its line and its publish come through two sources.
        let before = Scene::entered()
            .raised("ValueError: no")
            .publish_as("default.DQ", WORKER, copy())
            .retrying()
            .acked("m-1")
            .silence();
        assert_eq!(before.answer(&CAUSE), "ruled out");
    }

    #[test]
    fn unacknowledged_or_out_of_sight_is_a_near_miss() {
        assert_eq!(failed().silence().answer(&CAUSE), "not applicable");
        assert_eq!(failed().acked("m-1").answer(&CAUSE), "not applicable");
        let scene = failed().acked("m-1").silence();
        assert_eq!(scene.without(Source::Firehose).answer(&CAUSE), "cannot tell");
        let partial = failed().acked("m-1").partial(Source::Firehose).silence();
        assert_eq!(partial.answer(&CAUSE), "cannot tell");
    }
}
