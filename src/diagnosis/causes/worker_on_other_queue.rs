//! The worker consumes other queues only.

use crate::diagnosis::evidence::{broker, connections, workers};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::{LogEvent, Role};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "worker-on-other-queue",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::Deployment],
    explains: &["no-consumer"],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Queue]],
    general: false,
    fails_attempt: false,
    applies_to: &[],
    page: include_str!("worker_on_other_queue.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    if let Some(answer) = broker::has_consumer(story) {
        return answer;
    }
    let lines = story.worker_lines();
    let queue = story.queue();
    if let Some(told) = lines.iter().find(
        |told| matches!(told.mark, Some(LogEvent::DroppingConsumer { queue: dropped }) if dropped == queue),
    ) {
        if !story.closed() {
            return Answer::NotApplicable;
        }
        return alive_or_likely(
            story,
            format!("the worker was started with -Q and leaves `{queue}` out"),
            vec![told.n],
        );
    }
    if !story.closed() {
        return Answer::NotApplicable;
    }
    let others: Vec<&str> = lines
        .iter()
        .filter_map(|told| match told.mark {
            Some(LogEvent::AddingConsumer { queue: added }) if !story.is_of_my_queue(added) => {
                Some(added.as_str())
            }
            _ => None,
        })
        .filter(|name| story.framework().queues.split(name).1 == Role::Main)
        .collect();
    if lines
        .iter()
        .any(|told| matches!(told.mark, Some(LogEvent::AddingConsumer { queue: added }) if added == queue))
    {
        return Answer::NotApplicable;
    }
    if let Some(first) = others.first() {
        let evidence: Vec<u32> = lines
            .iter()
            .filter(|told| matches!(told.mark, Some(LogEvent::AddingConsumer { .. })))
            .map(|told| told.n)
            .take(3)
            .collect();
        return alive_or_likely(
            story,
            format!("the worker consumes `{first}`, not `{queue}`: none of its actors is on `{queue}`"),
            evidence,
        );
    }
    // Its connections consume elsewhere.
    let Some((listed, consumers)) = story.consumers() else {
        return Answer::NotApplicable;
    };
    for (n, process) in workers::live_workers(story) {
        if let Some(consumer) = consumers.iter().find(|consumer| {
            connections::is_socket_of(process, &consumer.connection) && !story.is_of_my_queue(&consumer.queue)
        }) {
            return Answer::likely(
                format!(
                    "the worker (pid {}) consumes `{}`, not `{queue}`",
                    process.pid, consumer.queue
                ),
                [n, listed],
            );
        }
    }
    Answer::NotApplicable
}

/// A worker that is dead by now is not what keeps the task.
fn alive_or_likely(story: &Story<'_>, text: String, mut evidence: Vec<u32>) -> Answer {
    match workers::watched_is_alive(story) {
        Some(n) => {
            evidence.push(n);
            // A line of the log says that it lives whatever its pid means here.
            let by_pid = story
                .timeline
                .event(n)
                .is_some_and(|event| event.source == Source::Process);
            Answer::shown(text, evidence).given(by_pid.then_some(Premise::SamePidSpace))
        }
        None => Answer::likely(text, evidence).would_decide(&[Source::Process]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Scene, WORKER};

    fn nobody() -> Scene {
        Scene::new()
            .depth("default", 0, 0)
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 1, 0)
    }

    fn whitelisted() -> Scene {
        nobody().from_before(50).debug(
            "dramatiq.worker.Worker",
            "Dropping consumer for queue 'default': not whitelisted.",
        )
    }

    #[test]
    fn a_living_worker_left_it_out() {
        let scene = whitelisted().worker_process(&[WORKER]);
        assert_ne!(scene.answer(&CAUSE), "certain", "another worker may still boot");
        assert_eq!(scene.silence().cause(), "certain worker-on-other-queue");
    }

    #[test]
    fn a_dead_worker_is_a_near_miss() {
        assert_eq!(whitelisted().silence().answer(&CAUSE), "likely");
    }

    #[test]
    fn its_consumers_are_elsewhere() {
        let scene = nobody()
            .debug(
                "dramatiq.worker._WorkerMiddleware",
                "Adding consumer for queue 'emails'.",
            )
            .silence();
        assert_eq!(scene.cause(), "certain worker-on-other-queue");
        let both = scene
            .debug(
                "dramatiq.worker._WorkerMiddleware",
                "Adding consumer for queue 'default'.",
            )
            .silence();
        assert_eq!(both.answer(&CAUSE), "not applicable");
    }
}
