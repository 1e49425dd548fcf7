//! The API shows an old status.

use crate::diagnosis::{Answer, Cause, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "api-stale-read",
    keeps_from: &[],
    scenario: None,
    needs: &[&[Source::Api], &[Source::Database]],
    general: false,
    page: include_str!("api_stale_read.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let Some((n, row)) = story.row_succeeded().or_else(|| story.row_failed()) else {
        return match (story.last_row(), story.api_status()) {
            (Some((n, row)), Some((api, _, value)))
                if row.status.as_deref() == Some(value) && story.closed() =>
            {
                Answer::ruled_out(format!("the row itself is {value}"), [n, api])
            }
            _ => Answer::NotApplicable,
        };
    };
    let final_since = story
        .rows()
        .iter()
        .find(|(_, _, seen)| seen.status == row.status)
        .map_or(0.0, |(_, at, _)| *at);
    // The API's own view may lag by the time of one request.
    match story.api_status().filter(|(_, at, _)| *at >= final_since + 5.0) {
        Some((api, _, value)) if Some(value) != row.status.as_deref() && super::same_words(story, value) => {
            Answer::certain(
                format!(
                    "the row says {}, the API still says {value}",
                    row.status.as_deref().unwrap_or_default()
                ),
                [n, api],
            )
        }
        Some((api, _, value)) if Some(value) == row.status.as_deref() => {
            Answer::ruled_out(format!("the API says {value} too"), [n, api])
        }
        _ => Answer::NotApplicable,
    }
}
