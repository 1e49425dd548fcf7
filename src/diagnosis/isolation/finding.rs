//! What the steps prove: decided here, said in `wording`.

use super::ending::{Ending, may_be_one};
use super::steps::{
    Comparison, Goal, Reproduction, Step, StepResult, arrived, by_chance, compare, goal_of, taken_by_another,
};
use crate::diagnosis::Outcome;

/// What one step shows beside the original.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Proof {
    /// It was not done, or not to its end.
    Nothing,
    /// How far it got is not known.
    Unknown,
    /// The API refused the same task this time.
    RefusedThisTime,
    /// Two causes that may be one obstacle.
    MayBeOneObstacle,
    /// The same task again.
    Works,
    WorksByAnotherConsumer {
        original: String,
        now: String,
    },
    FailsAgain,
    FailsDifferently,
    /// The control.
    WorksByNow,
    StillFails,
    FailsDifferentlyByNow,
    /// The original, looked at again.
    WasLate,
    /// Its row does not say that it succeeded.
    NotSucceededByItsRow,
    NotSucceeded,
    /// The same message without the API.
    WorksWithoutApi {
        /// The original had come to the same queue.
        arrived: bool,
        from_configuration: bool,
    },
    FailsWithoutApi,
    FailsDifferentlyWithoutApi,
    /// The smallest payload.
    SmallestWorks,
    SmallestRefused,
    SmallestFails,
    SmallestFailsDifferently,
    /// A fresh worker in an empty vhost.
    FreshWorks {
        /// The step without the API stopped for the original's reason, so that the two steps with a
        /// message of our own can be compared.
        as_without_api: bool,
    },
    FreshFails,
    FreshFailsDifferently,
}

/// What its repetition, the controls and a late look leave of a step that worked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Standing {
    /// It worked twice, between failures; or there is nothing to be repeated.
    Holds,
    /// The original succeeded meanwhile, too.
    OriginalWasLate,
    /// So did the same task after it.
    TaskWorksByNow,
    /// Not when it was repeated.
    WorkedOnce,
    Unconfirmed,
    /// The repetition itself: it works again.
    WorksAgain,
    /// The repetition itself: it does not work this time.
    FailsThisTime,
}

/// Where the fault lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Culprit {
    /// What the message holds, and a message made anew does not.
    Message,
    Api,
    Payload,
    /// The running worker, or the live queue and vhost.
    WhatRuns,
}

/// What follows from all steps together.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Finding {
    OriginalWasLate {
        /// The same task ran as well.
        works_again: bool,
    },
    NotReproducible,
    /// Who takes the message may be what decides.
    AnotherConsumer {
        works_again: bool,
    },
    WorksByNow,
    /// This step worked once, and not when it was repeated.
    ComesAndGoes(Step),
    Isolated {
        culprit: Culprit,
        /// The order of successes and failures is chance at most once in so many times; `None`: the
        /// step did not work twice between failures, so chance is not excluded.
        chance: Option<u64>,
    },
    /// A fresh worker can run the message; what stopped the original is not known.
    FreshWorkerWorks,
    /// No step worked.
    Open {
        reproducible: bool,
        excluded: Vec<Step>,
        unanswered: Vec<Step>,
    },
}

/// What a step shows by itself.
pub(super) fn proof(
    goal: Goal,
    original: &Ending,
    step: Step,
    result: &StepResult,
    as_without_api: bool,
) -> Proof {
    use Comparison::{Other, Reached, Same, Unknown};
    let StepResult::Done { sent, ending } = result else {
        return Proof::Nothing;
    };
    let goal = goal_of(step, goal);
    match (step, compare(goal, original, result)) {
        // A late look sees the row, and not why it stands still.
        (Step::Original, Unknown) if ending.outcome == Outcome::Unfinished => Proof::NotSucceededByItsRow,
        (_, Unknown) => Proof::Unknown,
        (Step::Again, Reached) => match taken_by_another(goal, original, &[], result) {
            Some((first, second)) => Proof::WorksByAnotherConsumer {
                original: first.to_owned(),
                now: second.to_owned(),
            },
            None => Proof::Works,
        },
        (Step::Control, Reached) => Proof::WorksByNow,
        (Step::Control, Same) => Proof::StillFails,
        (Step::Original, Reached) => Proof::WasLate,
        (Step::Original, _) => Proof::NotSucceeded,
        (Step::Again | Step::Control, Other) if ending.is_refused() && !original.is_refused() => {
            Proof::RefusedThisTime
        }
        (_, Other) if may_be_one(original, ending) => Proof::MayBeOneObstacle,
        (Step::Control, Other) => Proof::FailsDifferentlyByNow,
        (Step::Again, Same) => Proof::FailsAgain,
        (Step::Again, Other) => Proof::FailsDifferently,
        (Step::Direct, Reached) => Proof::WorksWithoutApi {
            arrived: arrived(original),
            from_configuration: sent.from_configuration,
        },
        (Step::Direct, Same) => Proof::FailsWithoutApi,
        (Step::Direct, Other) => Proof::FailsDifferentlyWithoutApi,
        (Step::Minimal, Reached) => Proof::SmallestWorks,
        (Step::Minimal, _) if ending.is_refused() => Proof::SmallestRefused,
        (Step::Minimal, Same) => Proof::SmallestFails,
        (Step::Minimal, Other) => Proof::SmallestFailsDifferently,
        (Step::CleanVhost, Reached) => Proof::FreshWorks { as_without_api },
        (Step::CleanVhost, Same) => Proof::FreshFails,
        (Step::CleanVhost, Other) => Proof::FreshFailsDifferently,
    }
}

/// What is left of that, once it is known what came after.
pub(super) fn standing(
    goal: Goal,
    original: &Ending,
    tried: &[(Step, StepResult)],
    at: usize,
    reproduction: Option<&Reproduction>,
) -> Standing {
    let (step, result) = &tried[at];
    let Some(reproduction) =
        reproduction.filter(|reproduction| reproduction.step == *step && *step != Step::Again)
    else {
        return Standing::Holds;
    };
    let late = tried.iter().any(|(step, result)| {
        *step == Step::Original && compare(goal_of(*step, goal), original, result) == Comparison::Reached
    });
    match (at == reproduction.at, compare(goal, original, result)) {
        (true, _) if late => Standing::OriginalWasLate,
        (true, _) if reproduction.holds() => Standing::Holds,
        (true, _) if reproduction.passed() => Standing::TaskWorksByNow,
        (true, _) if reproduction.was_once() => Standing::WorkedOnce,
        (true, _) => Standing::Unconfirmed,
        (false, Comparison::Reached) => Standing::WorksAgain,
        (false, Comparison::Unknown) => Standing::Holds,
        (false, _) => Standing::FailsThisTime,
    }
}

/// What follows from everything that was tried.
pub(super) fn finding(goal: Goal, original: &Ending, tried: &[(Step, StepResult)]) -> Finding {
    let compared = |step: Step| {
        tried
            .iter()
            .find(|(done, _)| *done == step)
            .map(|(_, result)| compare(goal_of(step, goal), original, result))
    };
    let fails_again = compared(Step::Again) == Some(Comparison::Same);
    if compared(Step::Original) == Some(Comparison::Reached) {
        return Finding::OriginalWasLate {
            works_again: compared(Step::Again) == Some(Comparison::Reached),
        };
    }
    let Some(worked) = Reproduction::find(goal, original, tried) else {
        let fails = |step: &Step| compared(*step) == Some(Comparison::Same);
        return Finding::Open {
            reproducible: fails_again,
            excluded: [Step::Direct, Step::Minimal, Step::CleanVhost]
                .into_iter()
                .filter(fails)
                // Two refusals can have two reasons.
                .filter(|step| *step != Step::Minimal || !original.is_refused())
                .collect(),
            unanswered: Step::ALL.into_iter().filter(|step| !fails(step)).collect(),
        };
    };
    let again = worked.step == Step::Again;
    if !again && worked.passed() {
        return Finding::WorksByNow;
    }
    if !again && worked.was_once() {
        return Finding::ComesAndGoes(worked.step);
    }
    // A fresh worker is another one by design.
    let mut successes = tried[worked.at..]
        .iter()
        .filter(|(step, _)| *step == worked.step)
        .take(2);
    if worked.step != Step::CleanVhost
        && successes.any(|(_, result)| taken_by_another(goal, original, tried, result).is_some())
    {
        return Finding::AnotherConsumer { works_again: again };
    }
    let culprit = match worked.step {
        Step::Direct if arrived(original) => Culprit::Message,
        Step::Direct => Culprit::Api,
        Step::Minimal => Culprit::Payload,
        Step::CleanVhost if compared(Step::Direct) != Some(Comparison::Same) => {
            return Finding::FreshWorkerWorks;
        }
        Step::CleanVhost => Culprit::WhatRuns,
        // The two others stand beside the steps.
        Step::Again | Step::Control | Step::Original => return Finding::NotReproducible,
    };
    // Without failures before, between and after, a success may be chance.
    let chance = (fails_again && worked.holds()).then(|| by_chance(goal, original, tried));
    Finding::Isolated { culprit, chance }
}
