//! The queue exists with other arguments than the worker declares.

use crate::diagnosis::evidence::{connections, lives};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "queue-declaration-conflict",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::Deployment],
    explains: &["no-consumer"],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Queue, Source::WorkerLog]],
    page: include_str!("queue_declaration_conflict.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let answer = connections::connection_error(story, connections::is_conflict, |error, _| {
        format!("the worker cannot declare a queue as it wants it: {error}")
    });
    lives::unless_it_is_gone(story, answer)
        // Nobody but a person changes what a queue was declared with.
        .lasting_if_certain(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    fn nobody() -> Scene {
        Scene::new()
            .depth("default", 0, 0)
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 1, 0)
    }

    const CONFLICT: &str = "Consumer encountered a connection error: (406, \"PRECONDITION_FAILED - inequivalent arg 'x-max-priority' for queue 'default' in vhost '/'\")";

    #[test]
    fn the_worker_declares_it_otherwise() {
        let scene = nobody()
            .critical("dramatiq.worker.ConsumerThread(default)", CONFLICT)
            .silence();
        assert_eq!(scene.cause(), "certain queue-declaration-conflict");
        assert!(scene.lasts());
        let yesterday = nobody()
            .from_before(90_000)
            .critical("dramatiq.worker.ConsumerThread(default)", CONFLICT);
        assert!(!yesterday.lasts(), "a worker may be on its way");
        assert_eq!(scene.without(Source::WorkerLog).answer(&CAUSE), "cannot tell");
    }

    #[test]
    fn a_log_without_loggers_must_name_our_queue() {
        let ours = nobody().plain(None, CONFLICT).silence();
        assert_eq!(ours.cause(), "certain queue-declaration-conflict");
        let theirs = nobody()
            .plain(None, &CONFLICT.replace("'default'", "'emails'"))
            .silence();
        assert_eq!(theirs.answer(&CAUSE), "not applicable");
    }

    /// A worker of two queues ends on either.
    #[test]
    fn another_queue_of_the_same_worker_ends_it_as_well() {
        use crate::diagnosis::causes::celery::scenes::CeleryScene;
        let banner = |queue: &str| {
            format!("                .> {queue}           exchange={queue}(direct) key={queue}")
        };
        let error = "Unrecoverable error: PreconditionFailed(406, \"PRECONDITION_FAILED - inequivalent arg 'x-max-priority' for queue 'mail' in vhost '/'\")";
        let boots = |queues: &[&str]| {
            let boot = CeleryScene::waiting(0).info(" -------------- celery@vm v5.7.0 (dawn-chorus)");
            let boot = queues
                .iter()
                .fold(boot, |scene, queue| scene.info(&banner(queue)));
            boot.error(error).silence()
        };
        let both = boots(&["celery", "mail"]);
        assert!(
            both.cause().ends_with(" queue-declaration-conflict"),
            "{}",
            both.cause()
        );
        assert!(both.summary().contains("'mail'"), "{}", both.summary());
        assert_eq!(boots(&["mail"]).answer(&CAUSE), "not applicable");
    }

    /// Another service's worker writes to the same log, and has a queue of that name in its own vhost.
    #[test]
    fn a_queue_of_that_name_in_another_vhost_is_a_near_miss() {
        let other = CONFLICT.replace("vhost '/'", "vhost 'mail'");
        let scene = nobody()
            .critical("dramatiq.worker.ConsumerThread(default)", &other)
            .silence();
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }

    /// `consumer_timeout` has the same code, and says nothing of a declaration.
    #[test]
    fn an_acknowledgement_that_came_too_late_is_a_near_miss() {
        let late = "Consumer encountered a connection error: (406, \"PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 1800000 ms\")";
        let scene = nobody()
            .critical("dramatiq.worker.ConsumerThread(default)", late)
            .silence();
        assert_eq!(scene.answer(&CAUSE), "not applicable");
        let connect = crate::diagnosis::causes::find("worker-cannot-connect").expect("a cause");
        assert_eq!(scene.answer(connect), "not applicable");
    }
}
