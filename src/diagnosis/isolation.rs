//! What the steps of `diagnose --isolate` prove: which step is next, and what follows from all.
//!
//! A step that reaches the goal shows that what it left out, or made anew, is where the original
//! breaks, and only that.

mod ending;
mod finding;
mod reason;
mod recorded;
mod steps;
mod wording;

use serde::Serialize;

use super::Outcome;
pub use crate::timeline::isolation::Sent;
pub use ending::Ending;
pub use recorded::{of, record};
use steps::{Comparison, Reproduction, compare, goal_of};
pub use steps::{Goal, Step, StepResult, goal, next, not_for};

/// One step as reports show it.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
#[schemars(rename = "Step")]
pub struct StepReport {
    pub step: Step,
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
    pub steps: Vec<StepReport>,
    pub conclusion: String,
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

/// What follows from everything that was tried.
pub fn conclude(goal: Goal, original: &Ending, tried: Vec<(Step, StepResult)>) -> Isolation {
    let conclusion = wording::conclusion(&finding::finding(goal, original, &tried));
    let reproduction = Reproduction::find(goal, original, &tried);
    let as_without_api = tried
        .iter()
        .any(|(step, result)| *step == Step::Direct && compare(goal, original, result) == Comparison::Same);
    let proved: Vec<String> = tried
        .iter()
        .enumerate()
        .map(|(at, (step, result))| {
            let proof = finding::proof(goal, original, *step, result, as_without_api);
            let standing = finding::standing(goal, original, &tried, at, reproduction.as_ref());
            let ending = match result {
                StepResult::Done { ending, .. } => Some(ending),
                _ => None,
            };
            wording::proved(&proof, standing, goal_of(*step, goal), original, ending)
        })
        .collect();
    let steps = tried.into_iter().zip(proved).map(|((step, result), proved)| {
        let (sent, verdict, skipped) = match result {
            StepResult::Skipped(why) => (None, None, Some(why)),
            StepResult::Failed { sent, why } => (sent, None, Some(why)),
            StepResult::Interrupted { sent } => (sent, None, Some("interrupted".into())),
            // Nothing was sent.
            StepResult::Done { ending, .. } if step == Step::Original => (None, Some(ending), None),
            StepResult::Done { sent, ending } => (Some(sent), Some(ending), None),
        };
        StepReport {
            step,
            title: step.title(),
            sent,
            verdict,
            skipped,
            proved,
        }
    });
    Isolation {
        steps: steps.collect(),
        conclusion,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::{Scenario, Stage};

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

    fn done(ending: Ending) -> StepResult {
        StepResult::Done {
            sent: Sent::default(),
            ending,
        }
    }

    /// What every ending of a step can be.
    fn every() -> Vec<StepResult> {
        vec![
            done(entered()),
            done(stuck("worker-blocked")),
            done(stuck("no-consumer")),
            done(ending(None, Outcome::Unknown, "")),
            StepResult::Skipped("because".into()),
            StepResult::Failed {
                sent: None,
                why: "it broke".into(),
            },
            StepResult::Interrupted { sent: None },
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
    fn the_steps_stop_where_one_works() {
        for (at, tried) in every().into_iter().enumerate() {
            let next = next(Goal::Entered, &stuck("x"), &[(Step::Again, tried)]);
            // Reached, and interrupted.
            let over = matches!(at, 0 | 6);
            assert_eq!(next, (!over).then_some(Step::Direct), "{at}");
        }
        let all: Vec<_> = Step::ALL
            .into_iter()
            .map(|step| (step, done(stuck("x"))))
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
                            (Step::Again, again.clone()),
                            (Step::Direct, direct.clone()),
                            (Step::Minimal, minimal.clone()),
                            (Step::CleanVhost, clean.clone()),
                        ];
                        let is = |step: usize, compared: Comparison| {
                            compare(Goal::Entered, &original, &tried[step].1) == compared
                        };
                        let text = conclude(Goal::Entered, &original, tried.clone()).conclusion;
                        assert_eq!(
                            text.contains("Not reproducible"),
                            is(0, Comparison::Reached),
                            "{text}"
                        );
                        assert!(
                            !text.contains("breaks in the API")
                                || (is(1, Comparison::Reached) && original.stage < Some(Stage::Published)),
                            "{text}"
                        );
                        assert!(
                            !text.contains("depends on the payload") || is(2, Comparison::Reached),
                            "{text}"
                        );
                        assert!(
                            !text.contains("what runs")
                                || (is(3, Comparison::Reached) && is(1, Comparison::Same)),
                            "{text}"
                        );
                        if text.contains("ruled out") {
                            let excluded = text
                                .split(';')
                                .find(|part| part.contains("ruled out"))
                                .expect("it");
                            assert!(!excluded.contains("API") || is(1, Comparison::Same), "{text}");
                            assert!(!excluded.contains("payload") || is(2, Comparison::Same), "{text}");
                            assert!(
                                !excluded.contains("running worker") || is(3, Comparison::Same),
                                "{text}"
                            );
                        }
                        assert!(
                            !text.starts_with("Reproducible") || is(0, Comparison::Same),
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
            (Step::Again, done(stuck("not-dispatched"))),
            (Step::Direct, done(stuck("no-consumer"))),
        ];
        let isolation = conclude(Goal::Entered, &original, tried);
        assert!(
            isolation.steps[1].proved.contains("says nothing of the API"),
            "{isolation:?}"
        );
        assert!(!isolation.conclusion.contains("ruled out"), "{isolation:?}");
    }

    /// Original, again, and what comes after: S worked, F stopped as the original did.
    fn runs(original: &Ending, step: Step, order: &str) -> Vec<(Step, StepResult)> {
        let mut tried = Vec::new();
        for letter in order.chars() {
            let step = match (tried.len(), letter) {
                (0, _) => Step::Again,
                (at, _) if at % 2 == 1 => step,
                _ => Step::Control,
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
            let tried = runs(&original, Step::Minimal, order);
            conclude(Goal::Entered, &original, tried).conclusion
        };
        let whole = conclusion("FSFSF");
        assert!(
            whole.starts_with("It depends on the payload. Fail, work, fail"),
            "{whole}"
        );
        assert!(whole.contains("at most 1 time in 28"), "{whole}");
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
                let mut tried: Vec<(Step, StepResult)> = Vec::new();
                while let Some(step) = next(Goal::Entered, &original, &tried) {
                    let ending = match letters.next() {
                        Some('S') => entered(),
                        _ => original.clone(),
                    };
                    tried.push((step, done(ending)));
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
        let isolation = conclude(Goal::Entered, &original, runs(&original, Step::Minimal, "FSFF"));
        assert!(
            isolation.conclusion.contains("the fault is intermittent"),
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
        for works in Step::ALL {
            let mut tried: Vec<(Step, StepResult)> = Vec::new();
            while let Some(step) = next(Goal::Entered, &original, &tried) {
                let ending = if step == works {
                    entered()
                } else {
                    original.clone()
                };
                tried.push((step, done(ending)));
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
                (Step::Again, done(original.clone())),
                (Step::Minimal, done(minimal.clone())),
            ]
        };
        let differs = conclude(Goal::Entered, &original, tried(&other));
        assert!(
            differs.steps[1].proved.contains("cannot be compared")
                && differs.steps[1].proved.contains("TypeError"),
            "{differs:?}"
        );
        assert!(!differs.conclusion.contains("ruled out"), "{differs:?}");
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
                (Step::Again, done(original.clone())),
                (Step::Minimal, done(minimal)),
            ];
            let isolation = conclude(Goal::Entered, &original, tried);
            assert!(isolation.steps[1].proved.starts_with("nothing"), "{isolation:?}");
            assert!(!isolation.conclusion.contains("ruled out"), "{isolation:?}");
        }
        let stuck = stuck("worker-blocked");
        for reason in ["HTTP 409 exists", "HTTP 429 slow down"] {
            let isolation = conclude(Goal::Entered, &stuck, vec![(Step::Again, done(refused(reason)))]);
            assert!(
                isolation.steps[0].proved.contains("takes a task only once"),
                "{isolation:?}"
            );
            assert!(!isolation.conclusion.contains("Reproducible"), "{isolation:?}");
            let after = vec![
                (Step::Again, done(stuck.clone())),
                (Step::Minimal, done(entered())),
                (Step::Control, done(refused(reason))),
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
        let mut tried = runs(&original, Step::Direct, "FSFSF");
        let now = ending(Some(Scenario::A), Outcome::Succeeded, "succeeded");
        tried.push((Step::Original, done(now)));
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
            vec![(Step::Direct, done(stuck("workers-busy")))],
        );
        assert!(
            isolation.steps[0].proved.contains("may be one obstacle"),
            "{isolation:?}"
        );
    }

    /// A worker that was busy, a lock, a restart: what passes by itself makes any step work.
    #[test]
    fn what_works_by_now_for_the_same_task_too_proves_nothing() {
        let after = |control: StepResult| {
            let tried = vec![
                (Step::Again, done(stuck("workers-busy"))),
                (Step::Minimal, done(entered())),
                (Step::Control, control),
            ];
            conclude(Goal::Entered, &stuck("workers-busy"), tried)
        };
        let passed = after(done(entered()));
        assert!(passed.conclusion.starts_with("Not isolated"), "{passed:?}");
        assert!(
            passed.steps[1].proved.contains("so did the same task"),
            "{passed:?}"
        );
        let unknown = after(StepResult::Skipped("x".into()));
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
                (Step::Again, done(by(again, stuck("worker-blocked")))),
                (Step::Minimal, done(by("b", entered()))),
                (Step::Control, done(by("a", stuck("worker-blocked")))),
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
        let after = |step: Step| next(Goal::Entered, &stuck("x"), &[(step, done(entered()))]);
        assert_eq!(after(Step::Again), None);
        assert_eq!(after(Step::Direct), Some(Step::Control));
        let tried = [(Step::Direct, done(entered())), (Step::Control, done(entered()))];
        assert_eq!(next(Goal::Entered, &stuck("x"), &tried), None);
    }

    #[test]
    fn a_message_of_the_configuration_says_less() {
        let tried = StepResult::Done {
            sent: Sent {
                from_configuration: true,
                ..Sent::default()
            },
            ending: entered(),
        };
        let isolation = conclude(
            Goal::Entered,
            &unpublished("not-dispatched"),
            vec![(Step::Direct, tried)],
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
            (Step::Again, done(stuck("message-skipped"))),
            (Step::Direct, done(entered())),
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
            (Step::Again, done(unpublished("not-dispatched"))),
            (Step::Direct, done(stuck("no-consumer"))),
            (Step::CleanVhost, done(entered())),
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
            let isolation = conclude(Goal::Entered, &stuck("x"), vec![(Step::Direct, tried)]);
            assert!(isolation.steps[0].proved.starts_with("nothing"), "{isolation:?}");
        }
    }

    #[test]
    fn a_failure_inside_the_actor_needs_the_api() {
        let raised = ending(Some(Scenario::A), Outcome::Failed, "actor-raised");
        assert!(not_for(Goal::Succeeded, &raised, Step::Direct).is_some());
        assert!(not_for(Goal::Succeeded, &raised, Step::Minimal).is_none());
        assert!(not_for(Goal::Entered, &stuck("delayed"), Step::Direct).is_some());
        assert!(
            Step::ALL
                .into_iter()
                .all(|step| not_for(Goal::Entered, &stuck("worker-blocked"), step).is_none())
        );
    }
}
