//! The worker met an error on which it gives up and exits.

use super::{APPLIES_TO, gave_up, is_consumer_timeout, is_taken_name};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::Source;

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "worker-unrecoverable",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::Deployment],
    explains: &["no-consumer"],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog]],
    applies_to: APPLIES_TO,
    page: include_str!("worker_unrecoverable.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let another = |error: &str| !is_consumer_timeout(error) && !is_taken_name(error);
    gave_up(story, another, |error| {
        format!("the worker gave up on an error, and exited: {error}")
    })
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
        let cause = &CAUSE;
        assert_eq!(gave_up("mail", REFUSED).answer(cause), "not applicable");
        assert_eq!(gave_up("celery", REFUSED).answer(cause), "certain");
        let taken = "Unrecoverable error: ResourceLocked(405, \"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'mail@vm.celery.pidbox'\")";
        assert_eq!(
            gave_up("mail", taken).answer(&super::super::node_name_taken::CAUSE),
            "not applicable"
        );
        assert_eq!(
            gave_up("celery", taken).answer(&super::super::node_name_taken::CAUSE),
            "certain"
        );
    }

    /// That another service has booted since says nothing of ours.
    #[test]
    fn ours_gave_up_and_another_booted() {
        let scene = banner(CeleryScene::waiting(0), "celery").error(REFUSED);
        let scene = banner(scene, "mail").info("mail@vm ready.").silence();
        assert_eq!(scene.answer(&CAUSE), "certain");
    }
}
