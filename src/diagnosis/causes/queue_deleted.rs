//! Somebody deleted the queue under the running worker.

use crate::diagnosis::evidence::{WorkerLine, connections, vanished};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Certainty, Owner, Scenario, Stage, Story};
use crate::framework::LogEvent;
use crate::text;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "queue-deleted",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::Broker],
    explains: &["message-vanished"],
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
    // Where not every delivery is seen, it may have been handed out before.
    let most = match story.sees(Source::Firehose) && !story.sees_all(Source::Firehose) {
        true => Certainty::Likely,
        false => Certainty::Certain,
    };
    if matches!(missing, Answer::Matched(_)) {
        return missing.at_most(most).case(MISSING, true);
    }
    if let Some(answer) = made_again(story) {
        return answer;
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
        )
        .at_most(most)
        .case(MISSING, true);
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
        )
        .case(MISSING, true);
    }
    Answer::NotApplicable
}

/// A worker that is told that its consumer is cancelled declares the queue again, and no look may find it missing:
/// what had waited in it is gone.
fn made_again(story: &Story<'_>) -> Option<Answer> {
    let passage = story.published().filter(|_| story.closed())?;
    let vanished = vanished::vanished(story)?;
    let during = |told: &&WorkerLine<'_>| {
        let is_new = !told.line.before && told.at_ms > passage.at_ms;
        is_new && told.at_ms < vanished.gone.at_ms + READ_WITHIN_MS
    };
    let mut lines = story.worker_lines().iter().filter(during);
    let (told, error) = lines.find_map(|told| match told.mark {
        Some(LogEvent::ConnectionError { error, .. }) if error.contains("Basic.cancel") => {
            Some((told, error))
        }
        _ => None,
    })?;
    let mut evidence = vec![vanished.published];
    evidence.extend(vanished.waited.map(|waited| waited.n));
    evidence.extend([told.n, vanished.gone.n]);
    let text = format!(
        "`{}` was deleted while the message waited in it: the broker cancelled the worker's consumer, and the worker made the queue again, empty ({})",
        story.queue(),
        text::excerpt(error)
    );
    let still = Premise::StillAnswers(Source::Firehose, vanished.gone.at_ms.ceil() as i64);
    let answer = Answer::likely(text, evidence).given([still]).case(MISSING, false);
    Some(answer.gone().lasting_if(true))
}

/// The case of its remedies.
const MISSING: &str = "the queue is missing";

/// How much later than the look that finds the queue empty the line of the worker's log may be read.
const READ_WITHIN_MS: f64 = 1500.0;

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

    /// Celery's worker is told of it, and makes the queue again before anybody looks.
    #[test]
    fn the_worker_made_it_again() {
        use crate::diagnosis::causes::celery::scenes::CeleryScene;
        let lost = |why: &str, ready: u64| {
            let text = format!(
                "consumer: Connection to broker lost. Trying to re-establish the connection... ({why})"
            );
            let scene = CeleryScene::waiting(1).unacked_of(1, 0).error(&text);
            scene
                .and(|scene| scene.at(2_000.0).depth("celery", ready, 1))
                .silence()
        };
        let cancelled = "ConsumerCancelled(None, 'None4', (60, 30), 'Basic.cancel')";
        let gone = lost(cancelled, 0);
        assert_eq!(gone.cause(), "likely queue-deleted", "{}", gone.summary());
        // It still waits, or the connection was lost for another reason.
        assert_eq!(lost(cancelled, 1).answer(&CAUSE), "not applicable");
        assert_eq!(lost("ConnectionForced(320)", 0).answer(&CAUSE), "not applicable");
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

    /// It may have been handed out in the gap, and run.
    #[test]
    fn where_not_every_delivery_is_seen_it_is_only_likely() {
        use crate::timeline::EventKind;
        let scene = Scene::new()
            .depth("default", 0, 1)
            .submitted()
            .row("PENDING")
            .publish("default")
            .see(Source::Firehose, EventKind::Missed { events: 2 })
            .depth("default", 0, 1)
            .at(3000.0)
            .no_queue("default");
        assert_eq!(scene.silence().answer(&CAUSE), "likely");
    }
}
