//! The arguments do not fit the actor's signature.

use crate::diagnosis::evidence::retries;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "bad-arguments",
    keeps_from: &[Stage::Entered],
    owner: &[Owner::Deployment],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog, Source::Firehose]],
    page: include_str!("bad_arguments.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    match story.raised().iter().find(|raised| {
        raised
            .trace
            .as_ref()
            .is_some_and(|trace| trace.is_bad_call(&raised.actor))
    }) {
        Some(raised) => Answer::shown(
            format!(
                "the actor cannot be called with these arguments: {}",
                raised.exception()
            ),
            [raised.n],
        )
        .terminal_if(retries::final_attempt(story)),
        None => Answer::NotApplicable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{CALL, Scene};

    fn failed(below: &str, exception: &str) -> Scene {
        Scene::called().error(
            "dramatiq.worker.WorkerThread",
            &format!(
                "Failed to process message act('task_1') with unhandled exception.\n{CALL}{below}{exception}"
            ),
        )
    }

    #[test]
    fn the_call_itself_does_not_fit() {
        let scene = failed("", "TypeError: act() got an unexpected keyword argument 'x'");
        assert_eq!(scene.cause(), "certain bad-arguments");
        assert_eq!(scene.verdict().scenario, Some(Scenario::B));
    }

    #[test]
    fn a_type_error_of_the_actors_own_is_a_near_miss() {
        let scene = failed(
            "  File \"/app/tasks.py\", line 3, in act\n    helper(1)\n",
            "TypeError: helper() takes 0 positional arguments but 1 was given",
        );
        assert_eq!(scene.cause(), "certain actor-raised");
        assert_eq!(scene.verdict().scenario, Some(Scenario::A));
    }

    #[test]
    fn without_log_and_firehose_it_cannot_be_told() {
        let blind = failed("", "TypeError: act() missing 1 required positional argument: 'x'")
            .without(Source::WorkerLog)
            .without(Source::Firehose);
        assert_eq!(blind.answer(&CAUSE), "cannot tell");
    }
}
