//! The worker consumes from a stub broker.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::framework::Mark;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "worker-on-test-broker",
    keeps_from: &[Stage::Delivered],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Queue], &[Source::Process]],
    general: false,
    page: include_str!("worker_on_test_broker.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    if let Some(answer) = super::has_consumer(story) {
        return answer;
    }
    let pids: Vec<i32> = story.log_pids().into_iter().collect();
    if let Some((n, thread)) = super::stub_frame(story, &pids) {
        return Answer::certain(
            format!("the worker consumes from Dramatiq's stub broker (thread {thread}), not from RabbitMQ"),
            [n],
        );
    }
    if !story.closed() {
        return Answer::NotApplicable;
    }
    let adding = story
        .worker_lines()
        .iter()
        .find(|told| matches!(told.mark, Some(Mark::AddingConsumer { queue }) if queue == story.queue()));
    let error = story
        .worker_lines()
        .iter()
        .any(|told| matches!(told.mark, Some(Mark::ConnectionError { .. })));
    let Some(adding) = adding.filter(|_| !error) else {
        return Answer::NotApplicable;
    };
    let consumer = super::live_workers(story)
        .into_iter()
        .find(|(_, process)| adding.line.pid == Some(process.pid));
    match consumer {
        Some((n, process)) if process.sockets_seen && super::amqp_socket(story, process).is_none() => {
            let switch = super::test_switch(process);
            let hint = switch
                .map(|(name, value)| format!("; its environment has {name}={value}"))
                .unwrap_or_default();
            Answer::likely(
                format!(
                    "the worker (pid {}) added a consumer for `{}` but has no AMQP connection at all{hint}",
                    process.pid,
                    story.queue()
                ),
                [adding.n, n],
            )
        }
        _ => Answer::NotApplicable,
    }
}
