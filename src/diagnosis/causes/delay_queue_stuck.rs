//! The message's time has come, and nobody moves it on.

use crate::diagnosis::evidence::retries;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::Delays;
use crate::timeline::Source;
use crate::units;

pub(super) const CAUSE: Cause = Cause {
    id: "delay-queue-stuck",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::Broker],
    explains: &[],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Firehose, Source::DeadLetters], &[Source::Queue]],
    general: false,
    fails_attempt: false,
    applies_to: &[],
    page: include_str!("delay_queue_stuck.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let Some(passage) = retries::waiting_message(story)
        .filter(|passage| passage.message.is_delayed() && !passage.message.is_retry())
        .filter(|_| story.framework().delays == Delays::OnCompanion)
    else {
        return Answer::NotApplicable;
    };
    let Some(left) = retries::eta_left_ms(story, passage) else {
        return Answer::NotApplicable;
    };
    if retries::moved_on(story) {
        return Answer::ruled_out("it was moved on to its queue", [passage.n]);
    }

    // The worker looks at its delay queue once a second at least.
    if left > -1500.0 || !story.closed() {
        return Answer::NotApplicable;
    }
    match story.depths(passage.queue).last() {
        Some(depth) if depth.consumers == 0 && depth.ready > 0 => Answer::shown(
            format!(
                "its time came {} ago, and `{}` has no consumer to move it on",
                units::span(-left),
                passage.queue
            ),
            [passage.n, depth.n],
        ),
        Some(depth) if depth.ready > 0 => Answer::likely(
            format!(
                "its time came {} ago, and {} messages are still ready on `{}`: its consumer's prefetch is full",
                units::span(-left),
                depth.ready,
                passage.queue
            ),
            [passage.n, depth.n],
        ),
        _ => Answer::NotApplicable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{API, Scene};

    /// Sent with a delay of so many milliseconds.
    fn delayed(ms: i64) -> Scene {
        let mut message = Scene::message("m-1");
        message.eta_ms = message.timestamp_ms.map(|at| at + ms);
        Scene::accepted()
            .row("PENDING")
            .publish_as("default.DQ", API, message)
    }

    #[test]
    fn nobody_moves_it_on() {
        let scene = delayed(500).depth("default.DQ", 1, 0);
        assert_eq!(scene.clone().silence().cause(), "certain delay-queue-stuck");
        assert_eq!(scene.answer(&CAUSE), "not applicable");
        assert_eq!(
            delayed(500).depth("default.DQ", 1, 1).silence().answer(&CAUSE),
            "likely"
        );
    }

    #[test]
    fn one_that_was_moved_on_or_still_waits_is_a_near_miss() {
        let moved = delayed(500)
            .publish("default")
            .depth("default.DQ", 1, 0)
            .silence();
        assert_eq!(moved.answer(&CAUSE), "ruled out");
        let waits = delayed(60_000).depth("default.DQ", 1, 0).silence();
        assert_eq!(waits.answer(&CAUSE), "not applicable");
        let gone = delayed(500).depth("default.DQ", 0, 0).silence();
        assert_ne!(gone.answer(&CAUSE), "certain");
    }

    #[test]
    fn without_samples_it_cannot_be_told() {
        let scene = delayed(500).depth("default.DQ", 1, 0).silence();
        assert_eq!(scene.without(Source::Queue).answer(&CAUSE), "cannot tell");
    }
}
