//! The API talks to another broker.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "published-to-other-broker",
    keeps_from: &[Stage::Published],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Process]],
    general: false,
    page: include_str!("published_to_other_broker.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    if story.published().is_some() {
        return Answer::NotApplicable;
    }
    super::other_broker(story, &story.api_processes(), "the API")
}
