//! The row exists, but not where taskdiag looks.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::timeline::EventKind;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "row-invisible",
    keeps_from: &[Stage::Recorded, Stage::Finished],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Database]],
    general: false,
    page: include_str!("row_invisible.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    if story.rows().iter().any(|(_, _, row)| row.present) || !story.closed() {
        return Answer::NotApplicable;
    }
    let elsewhere = story.timeline.events.iter().find_map(|event| match &event.kind {
        EventKind::RowElsewhere { place, status } => Some((event.n, place, status)),
        _ => None,
    });
    if let Some((n, place, status)) = elsewhere {
        let status = status.as_deref().unwrap_or("unknown");
        return Answer::certain(
            format!(
                "the row is not in {} but in {place}, with status {status}",
                super::table(story)
            ),
            [n],
        );
    }
    match story.api_status() {
        Some((n, _, value)) => Answer::likely(
            format!(
                "the API reads this task (status {value}), but no row is visible in {}",
                super::table(story)
            ),
            [n],
        ),
        None => Answer::NotApplicable,
    }
}
