//! The task comes after another one of a chain, which has not ended.

use super::{APPLIES_TO, waits_for_others};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Stand, Story};
use crate::timeline::Source;

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "chain-waiting",
    // A result has no row before its task has ended.
    keeps_from: &[Stage::Published, Stage::Recorded],
    owner: &[Owner::WorkerCode],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Firehose]],
    applies_to: APPLIES_TO,
    stand: Stand::Waits,
    page: include_str!("chain_waiting.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    waits_for_others(story, "chain")
}

#[cfg(test)]
mod tests {
    use super::super::scenes::{CeleryScene, FIRST};
    use super::*;
    use crate::timeline::EventKind;

    #[test]
    fn the_one_before_it_has_not_ended() {
        let waits = CeleryScene::after("chain").silence();
        assert_eq!(waits.cause(), "likely chain-waiting", "{}", waits.summary());
        let held = CeleryScene::after("chain").held("reserved").silence();
        assert_eq!(held.cause(), "certain chain-waiting", "{}", held.summary());
    }

    /// The one before it has the task's id as well; the configured actor says which of them is meant.
    #[test]
    fn an_id_that_all_of_the_chain_have() {
        let both = |wanted: Option<&str>| {
            let mut waits = CeleryScene::after("chain").silence();
            waits.timeline.setup.actor = wanted.map(str::to_owned);
            for event in &mut waits.timeline.events {
                if let EventKind::Publish { message, .. } = &mut event.kind {
                    message.carries_task_id = true;
                }
            }
            waits
        };
        assert_eq!(both(Some("shop.tasks.fulfil")).cause(), "likely chain-waiting");
        assert_eq!(both(None).answer(&CAUSE), "not applicable");
    }

    /// It is done, and ours was not sent: that is no waiting.
    #[test]
    fn one_that_is_done_is_a_near_miss() {
        let done = CeleryScene::after("chain")
            .info(&format!("Task shop.tasks.first[{FIRST}] succeeded in 0.1s: None"));
        assert_eq!(done.silence().answer(&CAUSE), "ruled out");
    }

    /// What waits, and was revoked, is discarded when its turn comes: ours is not sent then.
    #[test]
    fn the_one_before_it_was_revoked() {
        let flagged = |id: &str| {
            let scene = CeleryScene::after("chain").info(&format!("Tasks flagged as revoked: {id}"));
            scene.held("reserved").silence()
        };
        assert_eq!(flagged(FIRST).answer(&CAUSE), "possible");
        assert_eq!(flagged(crate::diagnosis::testing::TASK).answer(&CAUSE), "certain");
    }
}
