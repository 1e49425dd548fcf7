//! The actor raised.

use crate::diagnosis::{Answer, Cause, Stage, Story};
use crate::framework::Mark;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "actor-raised",
    keeps_from: &[Stage::Finished],
    scenario: None,
    needs: &[&[Source::WorkerLog, Source::Firehose]],
    general: false,
    page: include_str!("actor_raised.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let limited = |text: &str| text.contains("TimeLimitExceeded");
    if let Some(raised) = story
        .raised()
        .iter()
        .rfind(|raised| raised.entered() && !limited(&raised.exception()))
    {
        let text = format!(
            "the actor raised {}{}{}",
            raised.exception(),
            super::own_place(raised),
            super::retry_state(story)
        );
        return Answer::certain(text, [raised.n]).terminal_if(super::final_attempt(story));
    }
    // `Retry` and rate limits raise without any ERROR line.
    let retrying = story.line(|mark| matches!(mark, Mark::Retrying { .. } | Mark::RateLimited));
    match retrying {
        Some(told) if story.raised().is_empty() => Answer::likely(
            format!(
                "the actor raised without an error line (Retry or a rate limit){}",
                super::retry_state(story)
            ),
            [told.n],
        )
        .terminal_if(super::final_attempt(story)),
        _ => Answer::NotApplicable,
    }
}
