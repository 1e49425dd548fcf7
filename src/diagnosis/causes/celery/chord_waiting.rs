//! The task comes after others of a chord, and not all of them have ended.

use super::{APPLIES_TO, waits_for_others};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Stand, Story};
use crate::timeline::Source;

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "chord-waiting",
    // A result has no row before its task has ended.
    keeps_from: &[Stage::Published, Stage::Recorded],
    owner: &[Owner::WorkerCode],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Firehose]],
    applies_to: APPLIES_TO,
    stand: Stand::Waits,
    page: include_str!("chord_waiting.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    waits_for_others(story, "chord")
}

#[cfg(test)]
mod tests {
    use super::super::scenes::{CeleryScene, FIRST, OTHERS};
    use super::*;
    use crate::diagnosis::testing::API;
    use crate::timeline::EventKind;

    #[test]
    fn a_task_of_the_header_has_not_ended() {
        let waits = CeleryScene::after("chord").silence();
        assert_eq!(waits.cause(), "likely chord-waiting", "{}", waits.summary());
        let held = CeleryScene::after("chord").held("active").silence();
        assert_eq!(held.cause(), "certain chord-waiting", "{}", held.summary());
        assert!(held.summary().contains("shop.tasks.first"), "{}", held.summary());
    }

    #[test]
    fn one_that_is_done_and_a_chain_are_near_misses() {
        let done = CeleryScene::after("chord")
            .info(&format!("Task shop.tasks.first[{FIRST}] succeeded in 0.1s: None"));
        assert_ne!(done.silence().cause(), "likely chord-waiting");
        assert_eq!(
            CeleryScene::after("chain").silence().answer(&CAUSE),
            "not applicable"
        );
    }

    /// One that nobody names may be lost with its worker: the chord waits for ever then.
    #[test]
    fn all_that_are_open_are_in_a_workers_hands() {
        let first = CeleryScene::after("chord");
        let mut second = first.timeline.events.iter().find_map(|event| match &event.kind {
            EventKind::Publish { message, .. } => Some(message.clone()),
            _ => None,
        });
        if let Some(message) = &mut second {
            message.message_id = Some(OTHERS.into());
        }
        let both = first.and(|scene| scene.publish_as("celery", API, second.expect("a message")));
        let one = both.clone().answers(|answer| answer.active(FIRST)).silence();
        assert_eq!(one.answer(&CAUSE), "likely");
        let two = both
            .answers(|answer| answer.active(FIRST).active(OTHERS))
            .silence();
        assert_eq!(two.answer(&CAUSE), "certain");
    }
}
