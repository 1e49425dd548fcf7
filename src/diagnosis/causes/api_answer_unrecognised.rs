//! A success without a task id where one is expected.

use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::text;
use crate::timeline::EventKind;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "api-answer-unrecognised",
    keeps_from: &[Stage::Submitted],
    owner: &[Owner::Diagnosis],
    explains: &[],
    scenario: None,
    needs: &[&[Source::Api]],
    general: false,
    fails_attempt: false,
    applies_to: &[],
    page: include_str!("api_answer_unrecognised.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    story
        .timeline
        .events
        .iter()
        .find_map(|event| match &event.kind {
            EventKind::Answered {
                status,
                task_id: None,
                body,
                candidates,
                ..
            } if (200..300).contains(status) => {
                let place = story.timeline.setup.task_id_pointer.as_deref().map_or_else(
                    || "under the usual names".to_owned(),
                    |pointer| format!("at {pointer}"),
                );
                let suggestion = match candidates.first() {
                    Some(pointer) => format!("; set api.task_id_pointer = \"{pointer}\""),
                    None => String::new(),
                };
                Some(
                    Answer::shown(
                        format!(
                            "HTTP {status} without a task id {place}{suggestion}. The answer: {}",
                            text::excerpt(body)
                        ),
                        [event.n],
                    )
                    .terminal(),
                )
            }
            _ => None,
        })
        .unwrap_or(Answer::NotApplicable)
}

#[cfg(test)]
mod tests {
    use super::CAUSE;
    use crate::diagnosis::testing::Scene;

    #[test]
    fn a_success_without_an_id() {
        let scene = Scene::new().submitting().answered(201, None, "{\"ok\":true}");
        assert_eq!(scene.cause(), "certain api-answer-unrecognised");
        assert_eq!(scene.verdict().scenario, None);
    }

    #[test]
    fn an_id_or_an_error_is_not_it() {
        assert_eq!(Scene::accepted().answer(&CAUSE), "not applicable");
        assert_eq!(Scene::refused(500, "").answer(&CAUSE), "not applicable");
    }
}
