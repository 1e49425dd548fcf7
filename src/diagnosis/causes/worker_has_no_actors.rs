//! The worker found no actors on its broker object.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::framework::Mark;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "worker-has-no-actors",
    keeps_from: &[Stage::Delivered],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Queue], &[Source::WorkerLog]],
    general: false,
    page: include_str!("worker_has_no_actors.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    if let Some(answer) = super::has_consumer(story) {
        return answer;
    }
    let lines = story.worker_lines();
    let Some(ready) = lines
        .iter()
        .rev()
        .find(|told| matches!(told.mark, Some(Mark::Ready)))
    else {
        return Answer::NotApplicable;
    };
    if let Some(adding) = lines
        .iter()
        .find(|told| matches!(told.mark, Some(Mark::AddingConsumer { .. })))
    {
        return Answer::ruled_out("it added a consumer", [adding.n]);
    }
    // `Adding consumer` is DEBUG: without -v its absence says nothing.
    if !story.debug_log() {
        return Answer::cannot_tell(&[Source::WorkerLog]);
    }
    if !story.closed() {
        return Answer::NotApplicable;
    }
    let mut evidence = vec![ready.n];
    evidence.extend(story.depths(story.queue()).last().map(|depth| depth.n));
    // The master never has a connection: it must be the process that said "ready".
    let idle = super::live_workers(story).into_iter().find(|(_, process)| {
        ready.line.pid == Some(process.pid)
            && process.sockets_seen
            && super::amqp_socket(story, process).is_none()
    });
    let text = "the worker is ready and added no consumer: no actor is declared on its broker";
    match idle {
        Some((n, process)) => {
            evidence.push(n);
            Answer::certain(
                format!("{text}; pid {} has no AMQP connection", process.pid),
                evidence,
            )
        }
        None => Answer::likely(text, evidence).would_decide(&[Source::Process]),
    }
}
