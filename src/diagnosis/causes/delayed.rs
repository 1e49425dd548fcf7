//! The message waits for its time.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "delayed",
    keeps_from: &[Stage::Delivered],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Firehose, Source::DeadLetters]],
    general: false,
    page: include_str!("delayed.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let Some(passage) = super::waiting_message(story)
        .filter(|passage| passage.message.is_delayed() && !passage.message.is_retry())
    else {
        return Answer::NotApplicable;
    };
    let Some(left) = super::eta_left_ms(story, passage) else {
        return Answer::NotApplicable;
    };

    if super::moved_on(story) {
        return Answer::ruled_out("it was moved on to its queue", [passage.n]);
    }
    if left <= 0.0 {
        return Answer::ruled_out(format!("its time came {} ago", super::span(-left)), [passage.n]);
    }
    Answer::certain(
        format!(
            "published with a delay: it waits on `{}` for another {}",
            passage.queue,
            super::span(left)
        ),
        [passage.n],
    )
}
