//! The message's time has come, and nobody moves it on.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "delay-queue-stuck",
    keeps_from: &[Stage::Delivered],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Firehose, Source::DeadLetters], &[Source::Queue]],
    general: false,
    page: include_str!("delay_queue_stuck.md"),
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

    // The worker looks at its delay queue once a second at least.
    if left > -1500.0 || !story.closed() {
        return Answer::NotApplicable;
    }
    match story.depths(passage.queue).last() {
        Some(depth) if depth.consumers == 0 && depth.ready > 0 => Answer::certain(
            format!(
                "its time came {} ago, and `{}` has no consumer to move it on",
                super::span(-left),
                passage.queue
            ),
            [passage.n, depth.n],
        ),
        Some(depth) if depth.ready > 0 => Answer::likely(
            format!(
                "its time came {} ago, and {} messages are still ready on `{}`: its consumer's prefetch is full",
                super::span(-left),
                depth.ready,
                passage.queue
            ),
            [passage.n, depth.n],
        ),
        _ => Answer::NotApplicable,
    }
}
