//! What the steps of `diagnose --isolate` prove: which step is next, and what follows from all.
//!
//! A step that reaches the goal shows that what it left out, or made anew, is where the original
//! breaks, and only that: each sentence below also says what else was different.

mod reason;
mod recorded;

use serde::{Deserialize, Serialize};

use super::{Outcome, Scenario, Stage, Story, Verdict};
use crate::timeline::Timeline;
pub use crate::timeline::isolation::Sent;
pub use recorded::{of, record};

/// One step, from the least that is changed to the most.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Rung {
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

impl Rung {
    /// The ladder; the control is not part of it.
    pub const ALL: [Rung; 4] = [Rung::Again, Rung::Direct, Rung::Minimal, Rung::CleanVhost];

    pub fn title(self) -> &'static str {
        match self {
            Rung::Again => "the same task again",
            Rung::Direct => "the same message without the API",
            Rung::Minimal => "the smallest payload",
            Rung::CleanVhost => "the same message, a fresh worker, an empty vhost",
            Rung::Control => "the same task once more, as a control",
            Rung::Original => "the original, looked at again",
        }
    }
}

/// What counts as "it works now".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    Entered,
    Succeeded,
}

/// How one run ended, as far as isolation needs it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, schemars::JsonSchema)]
pub struct Ending {
    pub scenario: Option<Scenario>,
    pub outcome: Outcome,
    pub stage: Option<Stage>,
    /// Id of the cause.
    pub cause: Option<String>,
    /// What tells it from others with the same cause, without ids and figures of this run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The connection that the message was first delivered to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer: Option<String>,
}

impl Ending {
    pub fn of(timeline: &Timeline, verdict: &Verdict) -> Self {
        let story = Story::new(timeline);
        let first = story.deliveries().next();
        Self {
            scenario: verdict.scenario,
            outcome: verdict.outcome,
            stage: verdict.stage,
            cause: verdict.cause.as_ref().map(|cause| cause.id.clone()),
            reason: reason::of(&story, verdict),
            consumer: first.map(|passage| passage.connection.to_owned()),
        }
    }

    /// The API would not have it.
    fn is_refused(&self) -> bool {
        matches!(self.cause.as_deref(), Some("api-rejected" | "api-unauthorized"))
            || self
                .reason
                .as_deref()
                .is_some_and(|reason| reason.starts_with("HTTP 4"))
    }

    /// With what tells it from the original, where the cause does not.
    fn against(&self, original: &Ending) -> String {
        let short = |reason: &Option<String>| -> String {
            reason.as_deref().unwrap_or("?").chars().take(120).collect()
        };
        match (&self.cause, &original.cause) {
            (Some(cause), Some(other)) if cause == other => format!(
                "`{cause}` as before, but \"{}\" where the original had \"{}\"",
                short(&self.reason),
                short(&original.reason)
            ),
            _ if self.is_refused() => format!("{}, \"{}\"", self.words(), short(&self.reason)),
            _ => self.words(),
        }
    }

    fn words(&self) -> String {
        match (&self.cause, self.stage) {
            (Some(cause), _) => format!("`{cause}`"),
            (None, Some(stage)) => format!("no cause, after {}", stage.name()),
            (None, None) => "no cause".into(),
        }
    }
}

/// What one step did.
#[derive(Debug, Clone, PartialEq)]
pub enum Tried {
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

/// One step as reports show it.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Step {
    pub step: Rung,
    pub title: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<Sent>,
    /// How far it got.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Ending>,
    /// Why it was not done, or not to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub skipped: Option<String>,
    /// What follows from it; empty for a step that was not done.
    pub proved: String,
}

/// What the steps showed, in the order they were done.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Isolation {
    pub steps: Vec<Step>,
    pub conclusion: String,
}

/// What is to be reached; `None` where there is nothing to isolate.
pub fn goal(original: &Ending) -> Option<Goal> {
    match (original.scenario, original.outcome) {
        (Some(Scenario::A), Outcome::Succeeded | Outcome::Unknown) => None,
        (Some(Scenario::A), _) => Some(Goal::Succeeded),
        _ => Some(Goal::Entered),
    }
}

/// What is said where nothing is isolated.
pub fn nothing(original: &Ending) -> Isolation {
    let why = match original.outcome {
        Outcome::Succeeded => "the task succeeded: there is nothing to isolate",
        _ => {
            "the actor was entered, and nobody saw what became of the task: there is nothing to compare with"
        }
    };
    Isolation {
        steps: Vec::new(),
        conclusion: why.into(),
    }
}

/// The next step, until one reaches the goal. Then the control, that step once more, and the control
/// again: a fault that comes and goes lets any step work once.
pub fn next(goal: Goal, original: &Ending, tried: &[(Rung, Tried)]) -> Option<Rung> {
    if tried
        .iter()
        .any(|(_, tried)| matches!(tried, Tried::Interrupted { .. }))
    {
        return None;
    }
    let Some(worked) = Worked::find(goal, original, tried) else {
        return Rung::ALL
            .into_iter()
            .find(|rung| tried.iter().all(|(done, _)| done != rung));
    };
    match (worked.rung, &worked.after[..]) {
        (Rung::Again, _) => None,
        (_, []) => Some(Rung::Control),
        (rung, [Compared::Same]) => Some(rung),
        (_, [Compared::Same, Compared::Reached]) => Some(Rung::Control),
        _ => None,
    }
}

/// The first step that reached the goal.
struct Worked {
    rung: Rung,
    at: usize,
    /// What came after it: control, the same step again, control.
    after: Vec<Compared>,
}

impl Worked {
    fn find(goal: Goal, original: &Ending, tried: &[(Rung, Tried)]) -> Option<Self> {
        let compared = |(rung, tried): &(Rung, Tried)| (*rung, compare(goal, original, tried));
        let at = tried.iter().position(|step| {
            let (rung, compared) = compared(step);
            Rung::ALL.contains(&rung) && compared == Compared::Reached
        })?;
        let after = tried[at + 1..]
            .iter()
            .map(compared)
            .filter(|(rung, _)| *rung != Rung::Original)
            .map(|(_, compared)| compared);
        Some(Self {
            rung: tried[at].0,
            at,
            after: after.collect(),
        })
    }

    /// The same task ran after it.
    fn passed(&self) -> bool {
        [0, 2]
            .iter()
            .any(|at| self.after.get(*at) == Some(&Compared::Reached))
    }

    /// It did not work again.
    fn was_once(&self) -> bool {
        matches!(self.after.get(1), Some(Compared::Same | Compared::Other))
    }

    /// It worked twice, and the same task stopped for the original's reason between and after.
    fn holds(&self) -> bool {
        self.after[..] == [Compared::Same, Compared::Reached, Compared::Same]
    }
}

/// How often, at most, a fault that comes and goes whatever the task gives this very order of successes
/// and failures: the most likely rate of it is assumed. One in so many.
fn by_chance(goal: Goal, original: &Ending, tried: &[(Rung, Tried)]) -> u64 {
    let (mut worked, mut failed) = (0.0_f64, 0.0_f64);
    for (_, tried) in tried.iter().filter(|(rung, _)| *rung != Rung::Original) {
        match compare(goal, original, tried) {
            Compared::Reached => worked += 1.0,
            Compared::Same | Compared::Other => failed += 1.0,
            Compared::Unknown => {}
        }
    }
    let all = worked + failed;
    let share = |part: f64| if part == 0.0 { 1.0 } else { (all / part).powf(part) };
    (share(worked) * share(failed)).floor() as u64
}

/// A message with an id of its own has no row: what the actor makes of that says nothing. And one
/// that is published at once is not like one that is to wait.
pub fn not_for(goal: Goal, original: &Ending, rung: Rung) -> Option<&'static str> {
    let waits = matches!(original.cause.as_deref(), Some("delayed" | "delay-queue-stuck"));
    match (goal, rung) {
        (_, Rung::Direct | Rung::CleanVhost) if waits => {
            Some("the original waits for a time of its own; a copy would be due at once, and prove nothing")
        }
        (Goal::Succeeded, Rung::Direct | Rung::CleanVhost) => Some(
            "the actor was entered already: publishing without the API brings no row with it, so a failure inside the actor would say nothing",
        ),
        _ => None,
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
fn goal_of(rung: Rung, goal: Goal) -> Goal {
    match rung {
        Rung::Original => Goal::Succeeded,
        _ => goal,
    }
}

/// It stopped for the same reason, as far as one is known.
fn is_same(original: &Ending, ending: &Ending) -> bool {
    match (&original.cause, &ending.cause) {
        (Some(a), Some(b)) => a == b && original.reason == ending.reason,
        (None, None) => original.scenario == ending.scenario && original.stage == ending.stage,
        _ => false,
    }
}

/// Causes that may be one obstacle, seen at different moments.
const KIN: &[&[&str]] = &[
    &["waiting-in-worker", "workers-busy", "backlog"],
    &["not-published", "not-dispatched"],
];

fn may_be_one(original: &Ending, ending: &Ending) -> bool {
    let (Some(a), Some(b)) = (original.cause.as_deref(), ending.cause.as_deref()) else {
        return false;
    };
    a != b && KIN.iter().any(|kin| kin.contains(&a) && kin.contains(&b))
}

/// How a step compares with the original.
#[derive(Clone, Copy, PartialEq)]
enum Compared {
    Reached,
    Same,
    Other,
    Unknown,
}

fn compare(goal: Goal, original: &Ending, tried: &Tried) -> Compared {
    let Tried::Done { ending, .. } = tried else {
        return Compared::Unknown;
    };
    match reached(goal, ending) {
        Some(true) => Compared::Reached,
        // The original, too, may have no scenario: then the cause alone tells.
        None if original.scenario.is_none() && ending.cause.is_some() && is_same(original, ending) => {
            Compared::Same
        }
        None => Compared::Unknown,
        Some(false) if is_same(original, ending) => Compared::Same,
        Some(false) => Compared::Other,
    }
}

/// What follows from everything that was tried.
pub fn conclude(goal: Goal, original: &Ending, tried: Vec<(Rung, Tried)>) -> Isolation {
    let conclusion = conclusion(goal, original, &tried);
    let worked = Worked::find(goal, original, &tried);
    let late = tried.iter().any(|(rung, tried)| {
        *rung == Rung::Original && compare(goal_of(*rung, goal), original, tried) == Compared::Reached
    });
    let as_without_api = tried
        .iter()
        .any(|(rung, tried)| *rung == Rung::Direct && compare(goal, original, tried) == Compared::Same);
    let steps = tried
        .into_iter()
        .enumerate()
        .map(|(at, (rung, tried))| {
            let mut proved = proved(goal, original, rung, &tried, as_without_api);
            if let Some(worked) = worked.as_ref().filter(|worked| worked.rung == rung && rung != Rung::Again) {
                proved = match (at == worked.at, compare(goal, original, &tried)) {
                    (true, _) if late => {
                        "it works, but the original itself succeeded meanwhile, too: nothing but that it takes time".into()
                    }
                    (true, _) if worked.holds() => proved,
                    // It was no more than what came to its mind.
                    (true, _) if worked.passed() => {
                        "it works, but so did the same task after it (the control): nothing but that it works by now".into()
                    }
                    (true, _) if worked.was_once() => {
                        "it worked, but not when it was repeated: nothing but that it comes and goes".into()
                    }
                    (true, _) => format!("{proved}. No control failed after it and again after its repetition: it may just work by now, or by chance"),
                    (false, Compared::Reached) => "it works again".into(),
                    (false, Compared::Unknown) => proved,
                    (false, _) => "it does not work this time: it comes and goes".into(),
                };
            }
            let (sent, verdict, skipped) = match tried {
                Tried::Skipped(why) => (None, None, Some(why)),
                Tried::Failed { sent, why } => (sent, None, Some(why)),
                Tried::Interrupted { sent } => (sent, None, Some("interrupted".into())),
                // Nothing was sent.
                Tried::Done { ending, .. } if rung == Rung::Original => (None, Some(ending), None),
                Tried::Done { sent, ending } => (Some(sent), Some(ending), None),
            };
            Step {
                step: rung,
                title: rung.title(),
                sent,
                verdict,
                skipped,
                proved,
            }
        })
        .collect();
    Isolation { steps, conclusion }
}

/// The original's message came to the queue that is watched: the API published it as it should.
fn arrived(original: &Ending) -> bool {
    original.stage >= Some(Stage::Published)
}

/// The step's message went to somebody who has none of those that failed.
fn taken_by_another<'a>(
    goal: Goal,
    original: &'a Ending,
    tried: &'a [(Rung, Tried)],
    step: &'a Tried,
) -> Option<(&'a str, &'a str)> {
    let Tried::Done { ending, .. } = step else {
        return None;
    };
    let (first, now) = (original.consumer.as_deref()?, ending.consumer.as_deref()?);
    let failed_there = first == now
        || tried.iter().any(|(_, tried)| {
            compare(goal, original, tried) == Compared::Same
                && matches!(tried, Tried::Done { ending, .. } if ending.consumer.as_deref() == Some(now))
        });
    (!failed_there).then_some((first, now))
}

/// `as_without_api`: the step without the API stopped for the original's reason, so that the two
/// steps with a message of our own can be compared.
fn proved(goal: Goal, original: &Ending, rung: Rung, tried: &Tried, as_without_api: bool) -> String {
    let Tried::Done { sent, ending } = tried else {
        return String::new();
    };
    let goal = goal_of(rung, goal);
    let was = match goal {
        Goal::Entered => "was entered",
        Goal::Succeeded => "succeeded",
    };
    let cause = ending.words();
    let against = ending.against(original);
    match (rung, compare(goal, original, tried)) {
        // A late look sees the row, and not why it stands still.
        (Rung::Original, Compared::Unknown) if ending.outcome == Outcome::Unfinished => {
            "it has not succeeded meanwhile (its row does not say so)".into()
        }
        (_, Compared::Unknown) => {
            format!("nothing: how far it got could not be told ({cause})")
        }
        (Rung::Again, Compared::Reached) => match taken_by_another(goal, original, &[], tried) {
            Some((first, second)) => format!(
                "the same task {was} this time, and another consumer took it ({second}; the original went to {first}): it may depend on who takes it"
            ),
            None => format!(
                "the same task {was} this time: code and configuration alone are not the reason. Something that differs from one time to the next is: a lock, a backlog, a restart, a limit, or chance"
            ),
        },
        (Rung::Control, Compared::Reached) => {
            format!("the same task {was} now: what kept the original from it has passed, or comes and goes")
        }
        (Rung::Control, Compared::Same) => {
            format!("the same task still stops for the original's reason ({cause}): the step before it did not work only because time had passed")
        }
        (Rung::Original, Compared::Reached) => {
            format!("the original itself {was} meanwhile: it was only late")
        }
        (Rung::Original, _) => format!("it has not succeeded meanwhile ({cause})"),
        (Rung::Again | Rung::Control, Compared::Other) if ending.is_refused() && !original.is_refused() => format!(
            "nothing: the API refused the same task this time ({against}), as one does that takes a task only once, or only so many in a time"
        ),
        (_, Compared::Other) if may_be_one(original, ending) => format!(
            "nothing: {cause} and {} may be one obstacle, seen at another moment",
            original.words()
        ),
        (Rung::Control, Compared::Other) => {
            format!("the same task stops for another reason by now ({against})")
        }
        (Rung::Again, Compared::Same) => format!("it happens again, with the same cause ({cause})"),
        (Rung::Again, Compared::Other) => format!(
            "it did not work again, but for another reason ({against}): there is more than one obstacle, or it varies"
        ),
        (Rung::Direct, Compared::Reached) if arrived(original) => format!(
            "a message like the original {was}. The original had come to this queue too, so how the API publishes is not the reason: what differs is the id (this one has no row), the age, an option or argument of the original, or chance"
        ),
        (Rung::Direct, Compared::Reached) if sent.from_configuration => format!(
            "a message made from broker.args and broker.kwargs {was}: queue and worker are in order. It breaks in the API: whether and where it publishes, or what it puts into the message"
        ),
        (Rung::Direct, Compared::Reached) => format!(
            "the same message {was} when taskdiag published it: queue, worker and this message are in order. It breaks in the API, in how or where it publishes"
        ),
        (Rung::Direct, Compared::Same) => format!(
            "it stops for the same reason without the API ({cause}): how the API publishes is out of the question"
        ),
        (Rung::Direct, Compared::Other) => format!(
            "without the API it stops for another reason ({against}): an obstacle of its own, which says nothing of the API"
        ),
        (Rung::Minimal, Compared::Reached) => format!(
            "the smallest payload {was}: the payload, or what is made of it, is what keeps the task from it"
        ),
        (Rung::Minimal, _) if ending.is_refused() => format!(
            "nothing: the API refuses the smallest payload ({against}), and may refuse two for two reasons. Make `isolate.body` one that it accepts"
        ),
        (Rung::Minimal, Compared::Same) => format!(
            "the smallest payload stops for the same reason ({cause}): what the configured body holds beyond it is out of the question"
        ),
        (Rung::Minimal, Compared::Other) => format!(
            "the smallest payload stops for another reason ({against}): the two cannot be compared"
        ),
        (Rung::CleanVhost, Compared::Reached) if !as_without_api => "a worker that was started just now, alone with the same message in an empty vhost, entered it: its code, its configuration and this message can work. Since the step without the API did not stop for the original's reason, this does not tell what did".into(),
        (Rung::CleanVhost, Compared::Reached) => String::from(
            "a worker that was started just now, alone with the same message in an empty vhost, entered it: this code, its configuration and this message can work. What differs is what runs: the worker's processes (their age, their state, the code and environment they were started with), and the live vhost and queue (backlog, policies, other consumers)"
        ),
        (Rung::CleanVhost, Compared::Same) => format!(
            "a fresh worker in an empty vhost stops for the same reason ({cause}): neither the age or state of the running worker nor the live queue is needed for it. The code, its configuration or the message is"
        ),
        (Rung::CleanVhost, Compared::Other) => format!(
            "a fresh worker in an empty vhost stops for another reason ({against}), which the empty vhost itself may bring about"
        ),
    }
}

fn conclusion(goal: Goal, original: &Ending, tried: &[(Rung, Tried)]) -> String {
    let compared = |rung: Rung| {
        tried
            .iter()
            .find(|(done, _)| *done == rung)
            .map(|(_, tried)| compare(goal_of(rung, goal), original, tried))
    };
    if compared(Rung::Original) == Some(Compared::Reached) {
        if compared(Rung::Again) == Some(Compared::Reached) {
            return "Not reproducible: the same task ran now, and the original itself succeeded meanwhile, too. Look at what it waited for, or raise timing.silence if that is how long it takes".into();
        }
        return "Not isolated: the original itself succeeded meanwhile, so it was only late. Look at what it waited for, or raise timing.silence if that is how long it takes".into();
    }
    // Without failures before, between and after, a success may be chance.
    let shown_twice = compared(Rung::Again) == Some(Compared::Same);
    if let Some(worked) = Worked::find(goal, original, tried) {
        let (rung, works) = &tried[worked.at];
        if worked.rung != Rung::Again && worked.passed() {
            return "Not isolated: the same task runs by now, so what kept the original has passed, or comes and goes. Look at what has changed in between".into();
        }
        if worked.rung != Rung::Again && worked.was_once() {
            return format!(
                "Not isolated: it comes and goes. What worked once ({}) did not when it was repeated. Look at what differs from one time to the next",
                rung.title()
            );
        }
        let unless = if shown_twice && worked.holds() {
            format!(
                ". That worked twice, and the same task stopped for the same reason before, between and after; a fault that comes and goes by itself gives this very order at most once in {} times",
                by_chance(goal, original, tried)
            )
        } else {
            ". Chance is not excluded: that would take the step to work twice, with the same task stopping for the same reason before, between and after".to_owned()
        };
        // A fresh worker is another one by design.
        let repeated = tried[worked.at + 1..].iter().find(|(again, _)| again == rung);
        let mut successes = std::iter::once(works).chain(repeated.map(|(_, tried)| tried));
        if *rung != Rung::CleanVhost
            && successes.any(|works| taken_by_another(goal, original, tried, works).is_some())
        {
            return match rung {
                Rung::Again => "Not reproducible: the same task ran now, with another consumer. Compare the consumers of the queue".into(),
                _ => "Not isolated: another consumer took the message this time, and who takes it may be what decides. Compare the consumers of the queue".into(),
            };
        }
        return match rung {
            Rung::Again => {
                "Not reproducible: the same task ran now. Look at what differs from one time to the next"
                    .into()
            }
            Rung::Control | Rung::Original => String::new(),
            Rung::Direct if arrived(original) => {
                format!(
                    "It depends on what the message holds (its id, so its row; its age; its options){unless}"
                )
            }
            Rung::Direct => {
                format!("It breaks in the API, between accepting the task and publishing its message{unless}")
            }
            Rung::Minimal => format!("It depends on the payload{unless}"),
            Rung::CleanVhost if compared(Rung::Direct) != Some(Compared::Same) => {
                "A fresh worker can run this message; why the original stopped was not isolated".into()
            }
            Rung::CleanVhost => format!(
                "It depends on what runs, not on the code: the running worker, or the live queue and vhost{unless}"
            ),
        };
    }
    let excluded: Vec<&str> = [
        (Rung::Direct, "how the API publishes"),
        (
            Rung::Minimal,
            "what the configured body holds beyond `isolate.body`",
        ),
        (Rung::CleanVhost, "the running worker's state and the live queue"),
    ]
    .into_iter()
    .filter(|(rung, _)| compared(*rung) == Some(Compared::Same))
    // Two refusals can have two reasons.
    .filter(|(rung, _)| *rung != Rung::Minimal || !original.is_refused())
    .map(|(_, what)| what)
    .collect();
    let open: Vec<&str> = Rung::ALL
        .into_iter()
        .filter(|rung| !matches!(compared(*rung), Some(Compared::Same)))
        .map(Rung::title)
        .collect();
    let mut text = match (shown_twice, excluded.is_empty()) {
        (true, _) => "Reproducible".to_owned(),
        (false, false) => "Not isolated".to_owned(),
        (false, true) => "Nothing was isolated".to_owned(),
    };
    if !excluded.is_empty() {
        text.push_str(&format!("; out of the question: {}", excluded.join(", ")));
    }
    if !open.is_empty() && open.len() < Rung::ALL.len() {
        text.push_str(&format!("; no answer from: {}", open.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ending(scenario: Option<Scenario>, outcome: Outcome, cause: &str) -> Ending {
        Ending {
            scenario,
            outcome,
            stage: Some(Stage::Published),
            cause: (!cause.is_empty()).then(|| cause.to_owned()),
            reason: None,
            consumer: None,
        }
    }

    fn stuck(cause: &str) -> Ending {
        ending(Some(Scenario::C), Outcome::Unknown, cause)
    }

    /// Its message never came to the queue.
    fn unpublished(cause: &str) -> Ending {
        Ending {
            stage: Some(Stage::Recorded),
            ..stuck(cause)
        }
    }

    fn entered() -> Ending {
        ending(Some(Scenario::A), Outcome::Failed, "actor-raised")
    }

    fn done(ending: Ending) -> Tried {
        Tried::Done {
            sent: Sent::default(),
            ending,
        }
    }

    /// What every ending of a step can be.
    fn every() -> Vec<Tried> {
        vec![
            done(entered()),
            done(stuck("worker-blocked")),
            done(stuck("no-consumer")),
            done(ending(None, Outcome::Unknown, "")),
            Tried::Skipped("because".into()),
            Tried::Failed {
                sent: None,
                why: "it broke".into(),
            },
            Tried::Interrupted { sent: None },
        ]
    }

    #[test]
    fn a_success_is_not_isolated() {
        assert_eq!(
            goal(&ending(Some(Scenario::A), Outcome::Succeeded, "succeeded")),
            None
        );
        assert_eq!(
            goal(&ending(Some(Scenario::A), Outcome::Failed, "actor-raised")),
            Some(Goal::Succeeded)
        );
        assert_eq!(goal(&stuck("")), Some(Goal::Entered));
        assert_eq!(
            goal(&ending(None, Outcome::Unknown, "api-unreachable")),
            Some(Goal::Entered)
        );
    }

    #[test]
    fn the_ladder_stops_where_it_works() {
        for (at, tried) in every().into_iter().enumerate() {
            let next = next(Goal::Entered, &stuck("x"), &[(Rung::Again, tried)]);
            // Reached, and interrupted.
            let over = matches!(at, 0 | 6);
            assert_eq!(next, (!over).then_some(Rung::Direct), "{at}");
        }
        let all: Vec<_> = Rung::ALL
            .into_iter()
            .map(|rung| (rung, done(stuck("x"))))
            .collect();
        assert_eq!(next(Goal::Entered, &stuck("x"), &all), None);
    }

    /// Whatever the steps show, nothing is excluded by one that did not stop for the same reason,
    /// and nothing is accused by one that did not work.
    #[test]
    fn every_combination() {
        for (original, again) in [stuck("worker-blocked"), unpublished("worker-blocked")]
            .into_iter()
            .flat_map(|original| every().into_iter().map(move |again| (original.clone(), again)))
        {
            for direct in every() {
                for minimal in every() {
                    for clean in every() {
                        let tried = vec![
                            (Rung::Again, again.clone()),
                            (Rung::Direct, direct.clone()),
                            (Rung::Minimal, minimal.clone()),
                            (Rung::CleanVhost, clean.clone()),
                        ];
                        let is = |rung: usize, compared: Compared| {
                            compare(Goal::Entered, &original, &tried[rung].1) == compared
                        };
                        let text = conclude(Goal::Entered, &original, tried.clone()).conclusion;
                        assert_eq!(
                            text.contains("Not reproducible"),
                            is(0, Compared::Reached),
                            "{text}"
                        );
                        assert!(
                            !text.contains("breaks in the API")
                                || (is(1, Compared::Reached) && original.stage < Some(Stage::Published)),
                            "{text}"
                        );
                        assert!(
                            !text.contains("depends on the payload") || is(2, Compared::Reached),
                            "{text}"
                        );
                        assert!(
                            !text.contains("what runs")
                                || (is(3, Compared::Reached) && is(1, Compared::Same)),
                            "{text}"
                        );
                        if text.contains("out of the question") {
                            let excluded = text
                                .split(';')
                                .find(|part| part.contains("out of the question"))
                                .expect("it");
                            assert!(!excluded.contains("API") || is(1, Compared::Same), "{text}");
                            assert!(!excluded.contains("payload") || is(2, Compared::Same), "{text}");
                            assert!(
                                !excluded.contains("running worker") || is(3, Compared::Same),
                                "{text}"
                            );
                        }
                        assert!(
                            !text.starts_with("Reproducible") || is(0, Compared::Same),
                            "{text}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn another_obstacle_excludes_nothing() {
        let original = stuck("not-dispatched");
        let tried = vec![
            (Rung::Again, done(stuck("not-dispatched"))),
            (Rung::Direct, done(stuck("no-consumer"))),
        ];
        let isolation = conclude(Goal::Entered, &original, tried);
        assert!(
            isolation.steps[1].proved.contains("says nothing of the API"),
            "{isolation:?}"
        );
        assert!(
            !isolation.conclusion.contains("out of the question"),
            "{isolation:?}"
        );
    }

    /// Original, again, and what comes after: S worked, F stopped as the original did.
    fn runs(original: &Ending, rung: Rung, order: &str) -> Vec<(Rung, Tried)> {
        let mut tried = Vec::new();
        for letter in order.chars() {
            let step = match (tried.len(), letter) {
                (0, _) => Rung::Again,
                (at, _) if at % 2 == 1 => rung,
                _ => Rung::Control,
            };
            let ending = match letter {
                'S' => entered(),
                _ => original.clone(),
            };
            tried.push((step, done(ending)));
        }
        tried
    }

    #[test]
    fn only_what_holds_twice_between_failures_is_concluded() {
        let original = stuck("worker-blocked");
        let conclusion = |order: &str| {
            let tried = runs(&original, Rung::Minimal, order);
            conclude(Goal::Entered, &original, tried).conclusion
        };
        let whole = conclusion("FSFSF");
        assert!(
            whole.starts_with("It depends on the payload. That worked twice"),
            "{whole}"
        );
        assert!(whole.contains("at most once in 28 times"), "{whole}");
        for short in ["FS", "FSF", "FSFS"] {
            let text = conclusion(short);
            assert!(text.contains("Chance is not excluded"), "{short}: {text}");
        }
    }

    /// A fault in two of three runs (one of three threads), or in every second.
    #[test]
    fn a_fault_that_comes_and_goes_is_not_isolated() {
        for pattern in ["FFS", "FFSF", "SFFF", "FS", "FFSFFFSS"] {
            for start in 0..pattern.len() {
                let mut letters = pattern.chars().cycle().skip(start);
                // The first is the original's own run: it failed.
                if letters.next() != Some('F') {
                    continue;
                }
                let original = stuck("worker-blocked");
                let mut tried: Vec<(Rung, Tried)> = Vec::new();
                while let Some(rung) = next(Goal::Entered, &original, &tried) {
                    let ending = match letters.next() {
                        Some('S') => entered(),
                        _ => original.clone(),
                    };
                    tried.push((rung, done(ending)));
                }
                let text = conclude(Goal::Entered, &original, tried).conclusion;
                for accusation in ["It depends on the", "breaks in the API", "what runs"] {
                    assert!(!text.contains(accusation), "{pattern} from {start}: {text}");
                }
            }
        }
    }

    #[test]
    fn what_works_once_only_is_said_so() {
        let original = stuck("worker-blocked");
        let isolation = conclude(Goal::Entered, &original, runs(&original, Rung::Minimal, "FSFF"));
        assert!(
            isolation.conclusion.contains("it comes and goes"),
            "{isolation:?}"
        );
        assert!(
            isolation.steps[1].proved.contains("not when it was repeated")
                && isolation.steps[3].proved.contains("does not work this time"),
            "{isolation:?}"
        );
    }

    /// Seven tasks at most: `--help` says so.
    #[test]
    fn so_many_tasks_and_no_more() {
        let original = stuck("worker-blocked");
        let mut most = 0;
        for works in Rung::ALL {
            let mut tried: Vec<(Rung, Tried)> = Vec::new();
            while let Some(rung) = next(Goal::Entered, &original, &tried) {
                let ending = if rung == works {
                    entered()
                } else {
                    original.clone()
                };
                tried.push((rung, done(ending)));
            }
            most = most.max(tried.len());
        }
        assert_eq!(most, 7);
    }

    fn because(cause: &str, reason: &str) -> Ending {
        Ending {
            reason: Some(reason.into()),
            ..stuck(cause)
        }
    }

    #[test]
    fn the_same_cause_for_another_reason_excludes_nothing() {
        let original = because("raised-before-entry", "RuntimeError: scale broken at work.py:21");
        let other = because("raised-before-entry", "TypeError: no at work.py:9");
        let tried = |minimal: &Ending| {
            vec![
                (Rung::Again, done(original.clone())),
                (Rung::Minimal, done(minimal.clone())),
            ]
        };
        let differs = conclude(Goal::Entered, &original, tried(&other));
        assert!(
            differs.steps[1].proved.contains("cannot be compared")
                && differs.steps[1].proved.contains("TypeError"),
            "{differs:?}"
        );
        assert!(!differs.conclusion.contains("out of the question"), "{differs:?}");
        let same = conclude(Goal::Entered, &original, tried(&original));
        assert!(same.conclusion.contains("beyond `isolate.body`"), "{same:?}");
    }

    /// What is required and what is not allowed are both refused; so is a second task, or the tenth.
    #[test]
    fn a_refusal_never_acquits_the_payload() {
        let refused = |reason: &str| Ending {
            stage: None,
            scenario: Some(Scenario::B),
            ..because("api-rejected", reason)
        };
        let original = refused("HTTP 422 kind: unknown value bad");
        for minimal in [original.clone(), refused("HTTP 422 kind: field required")] {
            let tried = vec![
                (Rung::Again, done(original.clone())),
                (Rung::Minimal, done(minimal)),
            ];
            let isolation = conclude(Goal::Entered, &original, tried);
            assert!(isolation.steps[1].proved.starts_with("nothing"), "{isolation:?}");
            assert!(
                !isolation.conclusion.contains("out of the question"),
                "{isolation:?}"
            );
        }
        let stuck = stuck("worker-blocked");
        for reason in ["HTTP 409 exists", "HTTP 429 slow down"] {
            let isolation = conclude(Goal::Entered, &stuck, vec![(Rung::Again, done(refused(reason)))]);
            assert!(
                isolation.steps[0].proved.contains("takes a task only once"),
                "{isolation:?}"
            );
            assert!(!isolation.conclusion.contains("Reproducible"), "{isolation:?}");
            let after = vec![
                (Rung::Again, done(stuck.clone())),
                (Rung::Minimal, done(entered())),
                (Rung::Control, done(refused(reason))),
            ];
            assert_eq!(next(Goal::Entered, &stuck, &after), None);
            let text = conclude(Goal::Entered, &stuck, after).conclusion;
            assert!(text.contains("Chance is not excluded"), "{text}");
        }
    }

    /// A relay that publishes late, a backlog, a retry: every step may have failed only in time.
    #[test]
    fn an_original_that_ran_meanwhile_was_only_late() {
        let original = unpublished("not-published");
        let mut tried = runs(&original, Rung::Direct, "FSFSF");
        let now = ending(Some(Scenario::A), Outcome::Succeeded, "succeeded");
        tried.push((Rung::Original, done(now)));
        let isolation = conclude(Goal::Entered, &original, tried.clone());
        assert!(isolation.conclusion.contains("only late"), "{isolation:?}");
        assert!(
            isolation.steps[1].proved.contains("it takes time"),
            "{isolation:?}"
        );
        assert!(isolation.steps[5].sent.is_none(), "{isolation:?}");
        // Not seen, or still not run: it changes nothing.
        for now in [original.clone(), entered(), ending(None, Outcome::Unknown, "")] {
            let last = tried.len() - 1;
            tried[last].1 = done(now);
            let text = conclude(Goal::Entered, &original, tried.clone()).conclusion;
            assert!(text.starts_with("It breaks in the API"), "{text}");
        }
        assert_eq!(next(Goal::Entered, &original, &tried), None);
    }

    #[test]
    fn one_obstacle_seen_twice_is_not_two() {
        let isolation = conclude(
            Goal::Entered,
            &stuck("waiting-in-worker"),
            vec![(Rung::Direct, done(stuck("workers-busy")))],
        );
        assert!(
            isolation.steps[0].proved.contains("may be one obstacle"),
            "{isolation:?}"
        );
    }

    /// A worker that was busy, a lock, a restart: what passes by itself makes any step work.
    #[test]
    fn what_works_by_now_for_the_same_task_too_proves_nothing() {
        let after = |control: Tried| {
            let tried = vec![
                (Rung::Again, done(stuck("workers-busy"))),
                (Rung::Minimal, done(entered())),
                (Rung::Control, control),
            ];
            conclude(Goal::Entered, &stuck("workers-busy"), tried)
        };
        let passed = after(done(entered()));
        assert!(passed.conclusion.starts_with("Not isolated"), "{passed:?}");
        assert!(
            passed.steps[1].proved.contains("so did the same task"),
            "{passed:?}"
        );
        let unknown = after(Tried::Skipped("x".into()));
        assert!(
            unknown.conclusion.contains("Chance is not excluded"),
            "{unknown:?}"
        );
        assert!(
            unknown.steps[1].proved.contains("may just work by now"),
            "{unknown:?}"
        );
    }

    #[test]
    fn one_worker_of_two_that_hangs_is_no_payload() {
        let by = |consumer: &str, ending: Ending| Ending {
            consumer: Some(consumer.into()),
            ..ending
        };
        let after = |again: &str| {
            let tried = vec![
                (Rung::Again, done(by(again, stuck("worker-blocked")))),
                (Rung::Minimal, done(by("b", entered()))),
                (Rung::Control, done(by("a", stuck("worker-blocked")))),
            ];
            conclude(Goal::Entered, &by("a", stuck("worker-blocked")), tried).conclusion
        };
        assert!(after("a").contains("another consumer"), "{}", after("a"));
        // It failed there, too.
        assert!(
            after("b").starts_with("It depends on the payload"),
            "{}",
            after("b")
        );
    }

    #[test]
    fn the_control_comes_after_a_step_that_worked() {
        let after = |rung: Rung| next(Goal::Entered, &stuck("x"), &[(rung, done(entered()))]);
        assert_eq!(after(Rung::Again), None);
        assert_eq!(after(Rung::Direct), Some(Rung::Control));
        let tried = [(Rung::Direct, done(entered())), (Rung::Control, done(entered()))];
        assert_eq!(next(Goal::Entered, &stuck("x"), &tried), None);
    }

    #[test]
    fn a_message_of_the_configuration_says_less() {
        let tried = Tried::Done {
            sent: Sent {
                from_configuration: true,
                ..Sent::default()
            },
            ending: entered(),
        };
        let isolation = conclude(
            Goal::Entered,
            &unpublished("not-dispatched"),
            vec![(Rung::Direct, tried)],
        );
        assert!(
            isolation.steps[0]
                .proved
                .contains("what it puts into the message"),
            "{isolation:?}"
        );
    }

    /// What came to the right queue was published as it should be.
    #[test]
    fn the_api_is_not_accused_of_what_arrived() {
        let tried = vec![
            (Rung::Again, done(stuck("message-skipped"))),
            (Rung::Direct, done(entered())),
        ];
        let isolation = conclude(Goal::Entered, &stuck("message-skipped"), tried);
        assert!(
            isolation.steps[1].proved.contains("not the reason"),
            "{isolation:?}"
        );
        assert!(
            isolation.conclusion.contains("its id, so its row"),
            "{isolation:?}"
        );
    }

    /// Two obstacles: that a fresh worker passes the second says nothing of the first.
    #[test]
    fn a_fresh_worker_does_not_acquit_the_api() {
        let tried = vec![
            (Rung::Again, done(unpublished("not-dispatched"))),
            (Rung::Direct, done(stuck("no-consumer"))),
            (Rung::CleanVhost, done(entered())),
        ];
        let isolation = conclude(Goal::Entered, &unpublished("not-dispatched"), tried);
        assert!(
            isolation.steps[2].proved.contains("does not tell"),
            "{isolation:?}"
        );
        assert!(isolation.conclusion.contains("was not isolated"), "{isolation:?}");
    }

    #[test]
    fn what_was_not_seen_proves_nothing() {
        for tried in [
            done(ending(None, Outcome::Unknown, "")),
            done(ending(None, Outcome::Unknown, "x")),
        ] {
            let isolation = conclude(Goal::Entered, &stuck("x"), vec![(Rung::Direct, tried)]);
            assert!(isolation.steps[0].proved.starts_with("nothing"), "{isolation:?}");
        }
    }

    #[test]
    fn a_failure_inside_the_actor_needs_the_api() {
        let raised = ending(Some(Scenario::A), Outcome::Failed, "actor-raised");
        assert!(not_for(Goal::Succeeded, &raised, Rung::Direct).is_some());
        assert!(not_for(Goal::Succeeded, &raised, Rung::Minimal).is_none());
        assert!(not_for(Goal::Entered, &stuck("delayed"), Rung::Direct).is_some());
        assert!(
            Rung::ALL
                .into_iter()
                .all(|rung| not_for(Goal::Entered, &stuck("worker-blocked"), rung).is_none())
        );
    }
}
