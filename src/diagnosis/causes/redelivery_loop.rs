//! The broker redelivers it again and again.

use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "redelivery-loop",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::Broker],
    explains: &[],
    scenario: None,
    needs: &[&[Source::WorkerLog, Source::Firehose]],
    general: false,
    fails_attempt: false,
    applies_to: &[],
    page: include_str!("redelivery_loop.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let timed_out = story.worker_lines().iter().find(|told| {
        story.counts(told)
            && told.line.text.contains("delivery acknowledgement")
            && told.line.text.contains("timed out")
    });
    let again: Vec<u32> = story
        .deliveries()
        .filter(|passage| passage.redelivered)
        .map(|passage| passage.n)
        .collect();
    match (timed_out, again.len()) {
        (Some(told), count) => {
            let text = format!("the broker took the message back: {}", told.line.text);
            // The channel is closed for whichever message waited longest: only one that came again
            // shows that this was among them.
            match again.last() {
                Some(last) if count > 0 => Answer::shown(text, [told.n, *last]),
                _ => Answer::likely(text, [told.n]),
            }
        }
        (None, count) if count >= 2 && story.died_in_actor().is_none() => {
            Answer::likely(format!("redelivered {count} times and never settled"), again)
        }
        _ => Answer::NotApplicable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Scene, WORKER};

    const TIMED_OUT: &str = "Consumer encountered a connection error: (406, 'PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 3000 ms.')";

    #[test]
    fn the_broker_took_it_back() {
        let scene = Scene::entered()
            .critical("dramatiq.worker.ConsumerThread(default)", TIMED_OUT)
            .deliver_as("m-1", WORKER, true);
        assert_eq!(scene.answer(&CAUSE), "certain");
    }

    #[test]
    fn another_messages_timeout_is_a_near_miss() {
        let scene = Scene::entered().critical("dramatiq.worker.ConsumerThread(default)", TIMED_OUT);
        assert_eq!(scene.answer(&CAUSE), "likely");
    }

    #[test]
    fn twice_again_without_a_word() {
        let scene = Scene::entered().deliver_as("m-1", WORKER, true);
        assert_eq!(scene.answer(&CAUSE), "not applicable");
        let scene = scene.deliver_as("m-1", WORKER, true);
        assert_eq!(scene.answer(&CAUSE), "likely");
        let blind = scene.without(Source::WorkerLog).without(Source::Firehose);
        assert_eq!(blind.answer(&CAUSE), "cannot tell");
    }
}
