//! The steps, from the least that is changed to the most, and what each comes to beside the original.

use serde::{Deserialize, Serialize};

use super::ending::{Ending, is_same};
use crate::diagnosis::{Outcome, Scenario, Stage};
use crate::timeline::isolation::Sent;

/// One step, from the least that is changed to the most.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
#[schemars(rename = "Rung")]
pub enum Step {
    /// The same task through the API.
    Again,
    /// The same message, published by taskdiag.
    Direct,
    /// The smallest body, through the API.
    Minimal,
    /// The same message, in an empty vhost with a worker started for it.
    CleanVhost,
    /// After one of the others worked: the same task once more. What has passed by itself meanwhile
    /// would have let any step work.
    Control,
    /// Nothing is sent: the original is looked at again. It may only have been late.
    Original,
}

impl Step {
    /// From the least that is changed to the most; the control is not part of it.
    pub const ALL: [Step; 4] = [Step::Again, Step::Direct, Step::Minimal, Step::CleanVhost];

    pub fn title(self) -> &'static str {
        match self {
            Step::Again => "the same task again",
            Step::Direct => "the same message without the API",
            Step::Minimal => "the smallest payload",
            Step::CleanVhost => "the same message, a fresh worker, an empty vhost",
            Step::Control => "the same task once more, as a control",
            Step::Original => "the original, looked at again",
        }
    }
}

/// What counts as "it works now".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    Entered,
    Succeeded,
}

/// What is to be reached; `None` where there is nothing to isolate.
pub fn goal(original: &Ending) -> Option<Goal> {
    match (original.scenario, original.outcome) {
        (Some(Scenario::A), Outcome::Succeeded | Outcome::Unknown) => None,
        (Some(Scenario::A), _) => Some(Goal::Succeeded),
        _ => Some(Goal::Entered),
    }
}

/// What one step did.
#[derive(Debug, Clone, PartialEq)]
pub enum StepResult {
    /// And why.
    Skipped(String),
    /// It could not be carried out to its end.
    Failed {
        sent: Option<Sent>,
        why: String,
    },
    Done {
        sent: Sent,
        ending: Ending,
    },
    /// The user ended it.
    Interrupted {
        sent: Option<Sent>,
    },
}

/// How a step compares with the original.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Comparison {
    Reached,
    Same,
    Other,
    Unknown,
}

pub(super) fn compare(goal: Goal, original: &Ending, tried: &StepResult) -> Comparison {
    let StepResult::Done { ending, .. } = tried else {
        return Comparison::Unknown;
    };
    match reached(goal, ending) {
        Some(true) => Comparison::Reached,
        // The original, too, may have no scenario: then the cause alone tells.
        None if original.scenario.is_none() && ending.cause.is_some() && is_same(original, ending) => {
            Comparison::Same
        }
        None => Comparison::Unknown,
        Some(false) if is_same(original, ending) => Comparison::Same,
        Some(false) => Comparison::Other,
    }
}

/// Whether the goal was reached; `None` where that cannot be told.
fn reached(goal: Goal, ending: &Ending) -> Option<bool> {
    match (goal, ending.scenario, ending.outcome) {
        (_, None, _) => None,
        (Goal::Entered, Some(Scenario::A), _) => Some(true),
        (Goal::Entered, ..) => Some(false),
        (Goal::Succeeded, Some(Scenario::A), Outcome::Succeeded) => Some(true),
        (Goal::Succeeded, Some(Scenario::A), Outcome::Unknown) => None,
        (Goal::Succeeded, ..) => Some(false),
    }
}

/// Whose entry a line in the log tells of is not sure afterwards, with other tasks beside it: that the
/// original ran after all is told by its row only.
pub(super) fn goal_of(step: Step, goal: Goal) -> Goal {
    match step {
        Step::Original => Goal::Succeeded,
        _ => goal,
    }
}

/// The next step, until one reaches the goal. Then the control, that step once more, and the control
/// again: a fault that comes and goes lets any step work once.
pub fn next(goal: Goal, original: &Ending, tried: &[(Step, StepResult)]) -> Option<Step> {
    if tried
        .iter()
        .any(|(_, tried)| matches!(tried, StepResult::Interrupted { .. }))
    {
        return None;
    }
    let Some(worked) = Reproduction::find(goal, original, tried) else {
        return Step::ALL
            .into_iter()
            .find(|step| tried.iter().all(|(done, _)| done != step));
    };
    match (worked.step, &worked.after[..]) {
        (Step::Again, _) => None,
        (_, []) => Some(Step::Control),
        (step, [Comparison::Same]) => Some(step),
        (_, [Comparison::Same, Comparison::Reached]) => Some(Step::Control),
        _ => None,
    }
}

/// The first step that reached the goal.
pub(super) struct Reproduction {
    pub step: Step,
    pub at: usize,
    /// What came after it: control, the same step again, control.
    after: Vec<Comparison>,
}

impl Reproduction {
    pub(super) fn find(goal: Goal, original: &Ending, tried: &[(Step, StepResult)]) -> Option<Self> {
        let compared = |(step, tried): &(Step, StepResult)| (*step, compare(goal, original, tried));
        let at = tried.iter().position(|result| {
            let (step, compared) = compared(result);
            Step::ALL.contains(&step) && compared == Comparison::Reached
        })?;
        let after = tried[at + 1..]
            .iter()
            .map(compared)
            .filter(|(step, _)| *step != Step::Original)
            .map(|(_, compared)| compared);
        Some(Self {
            step: tried[at].0,
            at,
            after: after.collect(),
        })
    }

    /// The same task ran after it.
    pub(super) fn passed(&self) -> bool {
        [0, 2]
            .iter()
            .any(|at| self.after.get(*at) == Some(&Comparison::Reached))
    }

    /// It did not work again.
    pub(super) fn was_once(&self) -> bool {
        matches!(self.after.get(1), Some(Comparison::Same | Comparison::Other))
    }

    /// It worked twice, and the same task stopped for the original's reason between and after.
    pub(super) fn holds(&self) -> bool {
        self.after[..] == [Comparison::Same, Comparison::Reached, Comparison::Same]
    }
}

/// How often, at most, a fault that comes and goes whatever the task gives this very order of successes
/// and failures: the most likely rate of it is assumed. One in so many.
pub(super) fn by_chance(goal: Goal, original: &Ending, tried: &[(Step, StepResult)]) -> u64 {
    let (mut worked, mut failed) = (0.0_f64, 0.0_f64);
    for (_, tried) in tried.iter().filter(|(step, _)| *step != Step::Original) {
        match compare(goal, original, tried) {
            Comparison::Reached => worked += 1.0,
            Comparison::Same | Comparison::Other => failed += 1.0,
            Comparison::Unknown => {}
        }
    }
    let all = worked + failed;
    let share = |part: f64| if part == 0.0 { 1.0 } else { (all / part).powf(part) };
    (share(worked) * share(failed)).floor() as u64
}

/// A message with an id of its own has no row: what the actor makes of that says nothing. And one
/// that is published at once is not like one that is to wait.
pub fn not_for(goal: Goal, original: &Ending, step: Step) -> Option<&'static str> {
    let waits = matches!(original.cause.as_deref(), Some("delayed" | "delay-queue-stuck"));
    match (goal, step) {
        (_, Step::Direct | Step::CleanVhost) if waits => {
            Some("the original waits for a time of its own; a copy would be due at once, and prove nothing")
        }
        (Goal::Succeeded, Step::Direct | Step::CleanVhost) => Some(
            "the actor was entered already: publishing without the API brings no row with it, so a failure inside the actor would say nothing",
        ),
        _ => None,
    }
}

/// The original's message came to the queue that is watched: the API published it as it should.
pub(super) fn arrived(original: &Ending) -> bool {
    original.stage >= Some(Stage::Published)
}

/// The step's message went to somebody who has none of those that failed.
pub(super) fn taken_by_another<'a>(
    goal: Goal,
    original: &'a Ending,
    tried: &'a [(Step, StepResult)],
    step: &'a StepResult,
) -> Option<(&'a str, &'a str)> {
    let StepResult::Done { ending, .. } = step else {
        return None;
    };
    let (first, now) = (original.consumer.as_deref()?, ending.consumer.as_deref()?);
    let failed_there = first == now
        || tried.iter().any(|(_, tried)| {
            compare(goal, original, tried) == Comparison::Same
                && matches!(tried, StepResult::Done { ending, .. } if ending.consumer.as_deref() == Some(now))
        });
    (!failed_there).then_some((first, now))
}
