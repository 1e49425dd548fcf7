//! What the steps of `diagnose --isolate` prove: which step is next, and what follows from all.
//!
//! A step that reaches the goal shows that what it left out, or made anew, is where the original
//! breaks, and only that: each sentence below also says what else was different.

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
            consumer: first.map(|passage| passage.connection.to_owned()),
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

/// The next step, until one reaches the goal; then the control, unless nothing was left out yet.
pub fn next(goal: Goal, tried: &[(Rung, Tried)]) -> Option<Rung> {
    let worked = tried.iter().find(
        |(_, tried)| matches!(tried, Tried::Done { ending, .. } if reached(goal, ending) == Some(true)),
    );
    let is_done = |rung: Rung| tried.iter().any(|(done, _)| *done == rung);
    if tried
        .iter()
        .any(|(_, tried)| matches!(tried, Tried::Interrupted { .. }))
    {
        return None;
    }
    if let Some((rung, _)) = worked {
        let needs_it = !matches!(rung, Rung::Again | Rung::Control) && !is_done(Rung::Control);
        return needs_it.then_some(Rung::Control);
    }
    Rung::ALL
        .into_iter()
        .find(|rung| tried.iter().all(|(done, _)| done != rung))
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

/// It stopped for the same reason, as far as one is known.
fn is_same(original: &Ending, ending: &Ending) -> bool {
    match (&original.cause, &ending.cause) {
        (Some(a), Some(b)) => a == b,
        (None, None) => original.scenario == ending.scenario && original.stage == ending.stage,
        _ => false,
    }
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
    let control = control(goal, original, &tried);
    let as_without_api = tried
        .iter()
        .any(|(rung, tried)| *rung == Rung::Direct && compare(goal, original, tried) == Compared::Same);
    let steps = tried
        .into_iter()
        .map(|(rung, tried)| {
            let mut proved = proved(goal, original, rung, &tried, as_without_api);
            if !matches!(rung, Rung::Again | Rung::Control)
                && compare(goal, original, &tried) == Compared::Reached
            {
                proved = match control {
                    Some(Compared::Same) => proved,
                    // It was no more than what came to its mind.
                    Some(Compared::Reached) => {
                        "it works, but so did the same task after it (the control): nothing but that it works by now".into()
                    }
                    _ => format!("{proved}. No control failed after it: it may just work by now"),
                };
            }
            let (sent, verdict, skipped) = match tried {
                Tried::Skipped(why) => (None, None, Some(why)),
                Tried::Failed { sent, why } => (sent, None, Some(why)),
                Tried::Interrupted { sent } => (sent, None, Some("interrupted".into())),
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

/// How the control ended; `None` where there was none.
fn control(goal: Goal, original: &Ending, tried: &[(Rung, Tried)]) -> Option<Compared> {
    let (_, tried) = tried.iter().find(|(rung, _)| *rung == Rung::Control)?;
    Some(compare(goal, original, tried))
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
    let was = match goal {
        Goal::Entered => "was entered",
        Goal::Succeeded => "succeeded",
    };
    let cause = ending.words();
    match (rung, compare(goal, original, tried)) {
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
            format!("the same task still stops for the original's reason ({cause}): the step before it did not work by chance of time")
        }
        (Rung::Control, Compared::Other) => {
            format!("the same task stops for another reason by now ({cause})")
        }
        (Rung::Again, Compared::Same) => format!("it happens again, with the same cause ({cause})"),
        (Rung::Again, Compared::Other) => format!(
            "it did not work again, but for another reason ({cause}): there is more than one obstacle, or it varies"
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
            "without the API it stops for another reason ({cause}): an obstacle of its own, which says nothing of the API"
        ),
        (Rung::Minimal, Compared::Reached) => format!(
            "the smallest payload {was}: the payload, or what is made of it, is what keeps the task from it"
        ),
        (Rung::Minimal, Compared::Same) => {
            format!("the smallest payload stops for the same reason ({cause}): the payload is out of the question")
        }
        (Rung::Minimal, Compared::Other) => {
            format!("the smallest payload stops for another reason ({cause}): the two cannot be compared")
        }
        (Rung::CleanVhost, Compared::Reached) if !as_without_api => "a worker that was started just now, alone with the same message in an empty vhost, entered it: its code, its configuration and this message can work. Since the step without the API did not stop for the original's reason, this does not tell what did".into(),
        (Rung::CleanVhost, Compared::Reached) => String::from(
            "a worker that was started just now, alone with the same message in an empty vhost, entered it: this code, its configuration and this message can work. What differs is what runs: the worker's processes (their age, their state, the code and environment they were started with), and the live vhost and queue (backlog, policies, other consumers)"
        ),
        (Rung::CleanVhost, Compared::Same) => format!(
            "a fresh worker in an empty vhost stops for the same reason ({cause}): neither the age or state of the running worker nor the live queue is needed for it. The code, its configuration or the message is"
        ),
        (Rung::CleanVhost, Compared::Other) => format!(
            "a fresh worker in an empty vhost stops for another reason ({cause}), which the empty vhost itself may bring about"
        ),
    }
}

fn conclusion(goal: Goal, original: &Ending, tried: &[(Rung, Tried)]) -> String {
    let compared = |rung: Rung| {
        tried
            .iter()
            .find(|(done, _)| *done == rung)
            .map(|(_, tried)| compare(goal, original, tried))
    };
    // Without a failure before and after it, a success may be chance.
    let shown_twice = compared(Rung::Again) == Some(Compared::Same);
    let unless = if shown_twice && compared(Rung::Control) == Some(Compared::Same) {
        ""
    } else {
        ". The same task was not shown to fail with the same cause both before and after it, so chance is not excluded"
    };
    if let Some((rung, works)) = tried
        .iter()
        .find(|(rung, _)| *rung != Rung::Control && compared(*rung) == Some(Compared::Reached))
    {
        if *rung != Rung::Again && compared(Rung::Control) == Some(Compared::Reached) {
            return "Not isolated: the same task runs by now, so what kept the original has passed, or comes and goes. Look at what has changed in between".into();
        }
        // A fresh worker is another one by design.
        if *rung != Rung::CleanVhost && taken_by_another(goal, original, tried, works).is_some() {
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
            Rung::Control => String::new(),
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
        (Rung::Minimal, "the payload"),
        (Rung::CleanVhost, "the running worker's state and the live queue"),
    ]
    .into_iter()
    .filter(|(rung, _)| compared(*rung) == Some(Compared::Same))
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
            let next = next(Goal::Entered, &[(Rung::Again, tried)]);
            // Reached, and interrupted.
            let over = matches!(at, 0 | 6);
            assert_eq!(next, (!over).then_some(Rung::Direct), "{at}");
        }
        let all: Vec<_> = Rung::ALL
            .into_iter()
            .map(|rung| (rung, done(stuck("x"))))
            .collect();
        assert_eq!(next(Goal::Entered, &all), None);
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

    #[test]
    fn a_success_after_no_second_failure_may_be_chance() {
        let original = stuck("worker-blocked");
        let after = |again: Tried| {
            conclude(
                Goal::Entered,
                &original,
                vec![
                    (Rung::Again, again),
                    (Rung::Direct, done(entered())),
                    (Rung::Control, done(stuck("worker-blocked"))),
                ],
            )
            .conclusion
        };
        assert!(!after(done(stuck("worker-blocked"))).contains("chance"));
        assert!(after(done(stuck("no-consumer"))).contains("chance"));
        assert!(after(Tried::Skipped("x".into())).contains("chance"));
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
        let still = after(done(stuck("workers-busy")));
        assert_eq!(still.conclusion, "It depends on the payload");
        let unknown = after(Tried::Skipped("x".into()));
        assert!(unknown.conclusion.contains("chance"), "{unknown:?}");
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
        assert_eq!(after("b"), "It depends on the payload");
    }

    #[test]
    fn the_control_comes_after_a_step_that_worked() {
        let after = |rung: Rung| next(Goal::Entered, &[(rung, done(entered()))]);
        assert_eq!(after(Rung::Again), None);
        assert_eq!(after(Rung::Direct), Some(Rung::Control));
        let tried = [(Rung::Direct, done(entered())), (Rung::Control, done(entered()))];
        assert_eq!(next(Goal::Entered, &tried), None);
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
