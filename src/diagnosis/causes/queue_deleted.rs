//! Somebody deleted the queue under the running worker.

use crate::diagnosis::evidence::connections;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "queue-deleted",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::Broker],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Queue]],
    page: include_str!("queue_deleted.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let missing = connections::connection_error(story, connections::is_missing_queue, |error, _| {
        format!("the worker's queue is gone: {error}")
    });
    if matches!(missing, Answer::Matched(_)) {
        return missing;
    }
    let depths = story.depths_since(story.queue());
    let Some(gone) = depths.last().filter(|depth| !depth.exists) else {
        return Answer::NotApplicable;
    };
    // It was there with the message in it, or the broker cancels the worker's consumer over and over.
    if let (Some(there), Some(passage)) = (depths.iter().rfind(|depth| depth.exists), story.published())
        && story.closed()
    {
        return Answer::shown(
            format!(
                "`{}` was deleted during the run, and the message with it",
                story.queue()
            ),
            [passage.n, there.n, gone.n],
        );
    }
    let restarts: Vec<u32> = story
        .worker_lines()
        .iter()
        .filter(|told| !told.line.before && matches!(told.mark, Some(LogEvent::RestartingConsumer)))
        .map(|told| told.n)
        .collect();
    if restarts.len() >= 2 && story.closed() {
        return Answer::likely(
            "the broker cancels the worker's consumer again and again, and the queue does not exist",
            restarts,
        );
    }
    Answer::NotApplicable
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    #[test]
    fn it_was_there_with_the_message_in_it() {
        let scene = Scene::new()
            .depth("default", 0, 1)
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 1, 1)
            .at(3000.0)
            .no_queue("default");
        assert_ne!(scene.answer(&CAUSE), "certain");
        assert_eq!(scene.silence().answer(&CAUSE), "certain");
    }

    #[test]
    fn the_first_boot_of_an_old_worker_is_a_near_miss() {
        let scene = Scene::published()
            .critical(
                "dramatiq.worker.ConsumerThread(default.DQ)",
                "Consumer encountered a connection error: (404, \"NOT_FOUND - no queue 'default.DQ' in vhost '/'\")",
            )
            .depth("default", 0, 1)
            .silence();
        assert_ne!(scene.answer(&CAUSE), "certain");
    }

    #[test]
    fn without_samples_it_cannot_be_told() {
        assert_eq!(
            Scene::published().silence().without(Source::Queue).answer(&CAUSE),
            "cannot tell"
        );
    }
}
