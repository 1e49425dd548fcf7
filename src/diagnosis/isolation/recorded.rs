//! Isolation in and out of a recording: so that a report of the recording has the run's own section.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::ending::Ending;
use super::steps::{Step, StepResult, goal};
use super::{Isolation, conclude, nothing};
use crate::timeline::isolation::{self as recorded, Isolated, IsolatedStep};
use crate::timeline::{EventKind, Timeline};

/// What is recorded of the steps.
pub fn record(original: &Ending, tried: &[(Step, StepResult)]) -> Isolated {
    let steps = tried.iter().map(|(step, tried)| {
        let (sent, ending, why) = match tried {
            StepResult::Skipped(why) => (None, None, Some(why)),
            StepResult::Failed { sent, why } => (sent.as_ref(), None, Some(why)),
            StepResult::Interrupted { sent } => (sent.as_ref(), None, None),
            StepResult::Done { sent, ending } => (Some(sent), Some(to_words(ending)), None),
        };
        IsolatedStep {
            step: translated(step).unwrap_or_default(),
            sent: sent.cloned(),
            ending,
            why: why.cloned(),
        }
    });
    Isolated {
        steps: steps.collect(),
        original: to_words(original),
    }
}

/// What the steps of this run showed, if there were any. `None` too where a later taskdiag recorded
/// words that this one does not know.
pub fn of(timeline: &Timeline) -> Option<Isolation> {
    let isolated = timeline.events.iter().rev().find_map(|event| match &event.kind {
        EventKind::Isolated(isolated) => Some(isolated),
        _ => None,
    })?;
    let original: Ending = translated(&isolated.original)?;
    let Some(goal) = goal(&original) else {
        return Some(nothing(&original));
    };
    let tried = isolated.steps.iter().map(tried).collect::<Option<Vec<_>>>()?;
    Some(conclude(goal, &original, tried))
}

fn tried(step: &IsolatedStep) -> Option<(Step, StepResult)> {
    let sent = step.sent.clone();
    let tried = match (&step.ending, &step.why) {
        (Some(ending), _) => StepResult::Done {
            sent: sent.unwrap_or_default(),
            ending: translated(ending)?,
        },
        (None, Some(why)) if sent.is_none() => StepResult::Skipped(why.clone()),
        (None, Some(why)) => StepResult::Failed {
            sent,
            why: why.clone(),
        },
        (None, None) => StepResult::Interrupted { sent },
    };
    Some((translated(&step.step)?, tried))
}

fn to_words(ending: &Ending) -> recorded::IsolatedEnding {
    translated(ending).unwrap_or_default()
}

/// Both sides have the same shape in JSON: the timeline knows no verdict, only its words.
fn translated<A: Serialize, B: DeserializeOwned>(value: &A) -> Option<B> {
    serde_json::from_value(serde_json::to_value(value).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;
    use crate::diagnosis::{Outcome, Scenario, Stage};
    use crate::timeline::isolation::Sent;
    use crate::timeline::{Source, recording};

    fn ending(cause: &str) -> Ending {
        Ending {
            scenario: Some(Scenario::C),
            outcome: Outcome::Unfinished,
            stage: Some(Stage::Published),
            cause: Some(cause.into()),
            reason: Some("why".into()),
            consumer: Some("127.0.0.1:1 -> 127.0.0.1:5672".into()),
        }
    }

    fn sent() -> Sent {
        Sent {
            what: "a message".into(),
            task_id: Some("t".into()),
            message_id: None,
            from_configuration: true,
        }
    }

    fn recorded(original: &Ending, tried: &[(Step, StepResult)]) -> Isolation {
        let mut scene = Scene::new().silence();
        scene = scene.see(Source::Run, EventKind::Isolated(record(original, tried)));
        let text = recording::to_text(&scene.timeline);
        let read = recording::take(&text).expect("a recording").timeline;
        of(&read).expect("an isolation")
    }

    #[test]
    fn a_recording_says_what_the_run_said() {
        let original = ending("worker-blocked");
        let tried = vec![
            (
                Step::Again,
                StepResult::Done {
                    sent: sent(),
                    ending: ending("worker-blocked"),
                },
            ),
            (Step::Direct, StepResult::Skipped("not seen".into())),
            (
                Step::Minimal,
                StepResult::Failed {
                    sent: Some(sent()),
                    why: "it broke".into(),
                },
            ),
            (Step::CleanVhost, StepResult::Interrupted { sent: Some(sent()) }),
        ];
        let of_run = conclude(goal(&original).expect("a goal"), &original, tried.clone());
        let json = |isolation: &Isolation| serde_json::to_value(isolation).expect("JSON");
        assert_eq!(json(&recorded(&original, &tried)), json(&of_run));
    }

    #[test]
    fn nothing_to_isolate_is_recorded_too() {
        let original = Ending {
            scenario: Some(Scenario::A),
            outcome: Outcome::Succeeded,
            ..ending("succeeded")
        };
        let isolation = recorded(&original, &[]);
        assert!(
            isolation.conclusion.contains("nothing to isolate"),
            "{isolation:?}"
        );
    }

    #[test]
    fn words_of_a_later_version_are_not_guessed_at() {
        let mut isolated = record(&ending("x"), &[(Step::Again, StepResult::Skipped("y".into()))]);
        isolated.steps[0].step = "sideways".into();
        let scene = Scene::new().see(Source::Run, EventKind::Isolated(isolated));
        assert!(of(&scene.timeline).is_none());
    }
}
