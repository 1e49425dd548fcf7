//! The worker was told to stop.

use crate::diagnosis::evidence::broker;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::{LogEvent, WorkerLife};
use crate::timeline::{PlaceState, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "worker-shutting-down",
    keeps_from: &[Stage::Received, Stage::Delivered],
    owner: &[Owner::Deployment],
    explains: &[],
    scenario: Some(Scenario::C),
    needs: &[&[Source::WorkerLog]],
    general: false,
    fails_attempt: false,
    applies_to: &[],
    page: include_str!("worker_shutting_down.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    if story.row_succeeded().is_some() || story.api_succeeded().is_some() {
        return Answer::NotApplicable;
    }
    let lines = story.worker_lines();
    let Some(at) = lines
        .iter()
        .rposition(|told| matches!(told.mark, Some(LogEvent::Stopping | LogEvent::ShutDown)))
    else {
        return Answer::NotApplicable;
    };
    let told = lines[at];
    if lines[at..]
        .iter()
        .any(|later| matches!(later.life(), Some(WorkerLife::Up | WorkerLife::Booting)))
    {
        return Answer::ruled_out("it started again after that", [told.n]);
    }
    let passage = story.deliveries().last();
    // A stopped worker explains nothing of a message that another process was handed.
    let elsewhere = passage
        .and_then(|passage| story.peer(passage.connection))
        .is_some_and(|peer| !story.log_pids().contains(&peer) && story.is_watched(peer.value) != Some(true));
    if elsewhere {
        return Answer::NotApplicable;
    }
    if passage.is_some_and(|passage| passage.at_ms < told.at_ms) && !told.line.before {
        return Answer::likely(
            "the worker began to shut down with the message in its hands: the broker gives it back",
            [told.n],
        );
    }
    if !story.closed() {
        return Answer::NotApplicable;
    }
    if let Some(over) = has_stopped(story) {
        return over;
    }
    match broker::has_consumer(story) {
        Some(_) if passage.is_none() && story.sees_all(Source::Firehose) => {
            Answer::ruled_out("there are consumers", [told.n])
        }
        // Until it has stopped it goes on consuming.
        Some(_) if passage.is_none() => Answer::cannot_tell(&[Source::Firehose]),
        _ => {
            // Afterwards nobody knows when the message came.
            let when = match story.post_mortem() {
                true => "the worker was shut down, and nothing shows that it was started again",
                false => "the worker was shutting down before the message came",
            };
            Answer::likely(format!("{when}: {}", told.line.text), [told.n])
        }
    }
}

/// Its container does not run any more: that it stopped is over, and that nobody has started it is the cause.
fn has_stopped(story: &Story<'_>) -> Option<Answer> {
    if let Some(ended) = story.ended_worker_containers() {
        let events: Vec<u32> = ended.iter().map(|container| container.n).collect();
        return Some(Answer::ruled_out("its container has stopped", events));
    }
    let said = story.place_says("worker", PlaceState::NotRunning)?;
    Some(Answer::ruled_out("its container has stopped", [said.n]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    const STOPPING: &str = "Stopping worker process...";

    #[test]
    fn told_to_stop_before_the_message_came() {
        let scene = Scene::new()
            .from_before(20)
            .info("dramatiq.WorkerProcess(0)", STOPPING)
            .depth("default", 0, 0)
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 1, 0)
            .silence();
        assert_eq!(scene.cause(), "likely worker-shutting-down");
        assert_eq!(scene.without(Source::WorkerLog).answer(&CAUSE), "cannot tell");
    }

    #[test]
    fn started_again_is_a_near_miss() {
        let scene = Scene::new()
            .from_before(20)
            .info("dramatiq.WorkerProcess(0)", STOPPING)
            .info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.")
            .submitted()
            .silence();
        assert_eq!(scene.answer(&CAUSE), "ruled out");
    }

    #[test]
    fn one_that_is_over_is_a_near_miss() {
        let stopped = |state: &str| {
            Scene::new()
                .depth("default", 0, 0)
                .info("dramatiq.worker.Worker", "Worker has been shut down.")
                .worker_container("a1", state, |_| {})
                .submitted()
                .row("PENDING")
                .publish("default")
                .depth("default", 1, 0)
                .silence()
        };
        assert_eq!(stopped("exited").cause(), "likely no-consumer");
        assert!(stopped("exited").summary().contains("shop-worker-1 is exited"));
        assert_eq!(stopped("running").answer(&CAUSE), "likely");
    }
}
