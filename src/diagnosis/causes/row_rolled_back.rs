//! The actor's update of the row was rolled back.

use crate::diagnosis::{Answer, Cause, Stage, Story};
use crate::framework::contains_token;
use crate::timeline::Source;
use crate::timeline::Xmax;

pub(super) const CAUSE: Cause = Cause {
    id: "row-rolled-back",
    keeps_from: &[Stage::Finished],
    scenario: None,
    needs: &[&[Source::Database]],
    general: false,
    page: include_str!("row_rolled_back.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let Some((n, row)) = story.last_row().filter(|(_, row)| row.present) else {
        return Answer::NotApplicable;
    };
    let Some((_, state)) = story.rolled_back() else {
        return match row.xmax_state {
            Some(Xmax::None) => Answer::ruled_out("the row's header shows no attempt (xmax 0)", [n]),
            None => Answer::cannot_tell(&[Source::Database]),
            _ => Answer::NotApplicable,
        };
    };
    // While the actor runs, an aborted mark may be a savepoint's.
    if story.attempt_over().is_none() && !story.closed() {
        return Answer::NotApplicable;
    }
    let said = story.lines().iter().find(|told| {
        told.mark.is_none()
            && story
                .timeline
                .setup
                .succeeded
                .iter()
                .any(|word| contains_token(&told.line.text, word))
    });
    let fact = match state {
        Xmax::UpdateAborted => "an update by a transaction that was rolled back",
        _ => "a transaction that was rolled back",
    };
    let text = format!(
        "the row still says {}, and its header shows {fact} (xmax {})",
        row.status.as_deref().unwrap_or("NULL"),
        row.xmax.unwrap_or(0)
    );
    // A lock by a rolled-back transaction leaves exactly the same: SELECT FOR UPDATE, or an INSERT
    // into a referencing table, whose rollback does not keep the application from logging success.
    match (said, story.referencing_tables()) {
        // Seen at it: the transaction held a writer's lock on the table while it held the row.
        (Some(told), _) if let Some(seen) = story.seen_writing(row.xmax) => Answer::certain(
            format!(
                "{text}, that transaction was seen writing, and the worker's log says `{}`",
                super::excerpt(&told.line.text)
            ),
            [seen, n, told.n],
        ),
        (Some(told), []) => Answer::certain(
            format!(
                "{text}, while the worker's log says `{}`",
                super::excerpt(&told.line.text)
            ),
            [n, told.n],
        ),
        (said, [other, ..]) => {
            let mut evidence = vec![n];
            evidence.extend(said.map(|told| told.n));
            Answer::likely(
                format!(
                    "{text}; only a rolled-back INSERT into {other}, which references it, would leave the same"
                ),
                evidence,
            )
        }
        (None, []) => Answer::likely(text, [n]),
    }
}
