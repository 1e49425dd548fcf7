//! An argument of the message cannot be encoded as JSON.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "argument-not-serialisable",
    keeps_from: &[Stage::Submitted],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Api]],
    general: false,
    page: include_str!("argument_not_serialisable.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let Some((n, status, _)) = story.answer().filter(|(_, status, _)| *status >= 500) else {
        return Answer::NotApplicable;
    };
    if !story.sees(Source::ApiLog) {
        return Answer::cannot_tell(&[Source::ApiLog]);
    }
    // The API may fail to encode its own answer in the same words: the message's encoder decides.
    let from_encoder = |text: &str| {
        text.contains("is not JSON serializable") && text.replace('\\', "/").contains("/dramatiq/")
    };
    match super::api_traceback(story, from_encoder) {
        Some((line, exception)) => Answer::certain(
            format!("HTTP {status}: {exception} while the message was encoded"),
            [n, line],
        )
        .terminal(),
        None => Answer::NotApplicable,
    }
}
