//! Tasks that wait for their time fill the worker's hands: it takes nothing more, and runs nothing.

use super::APPLIES_TO;
use crate::diagnosis::evidence::control;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::Source;

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "eta-blocks-worker",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::WorkerCode, Owner::Deployment],
    explains: &["workers-busy"],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Control], &[Source::Queue]],
    general: false,
    fails_attempt: false,
    applies_to: APPLIES_TO,
    page: include_str!("eta_blocks_worker.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let queue = story.queue();
    let depths = story.depths_since(queue);
    let Some(last) = depths.last().filter(|_| story.closed()) else {
        return Answer::NotApplicable;
    };
    if last.ready == 0 || last.consumers == 0 || story.published().is_none() {
        return Answer::NotApplicable;
    }
    let mut answers = control::answers(story).peekable();
    if answers.peek().is_none() {
        return Answer::cannot_tell(&[Source::Control]);
    }
    // Where others consume as well, they would have taken it.
    let mut planned = 0;
    let mut evidence = vec![last.n];
    let mut nodes = Vec::new();
    let mut by_setting = None;
    for answer in answers {
        evidence.push(answer.n);
        let consumes = answer
            .queues
            .as_ref()
            .is_none_or(|queues| queues.iter().any(|name| name == queue));
        if !consumes {
            continue;
        }
        let in_hand = |list: &Option<Vec<_>>| list.as_ref().map(Vec::len);
        let (Some(active), Some(reserved), Some(scheduled)) = (
            in_hand(&answer.active),
            in_hand(&answer.reserved),
            in_hand(&answer.scheduled),
        ) else {
            return Answer::NotApplicable;
        };
        if active + reserved > 0 || scheduled == 0 {
            return Answer::ruled_out(
                format!(
                    "{} runs {active} tasks and has {reserved} at hand, beside {scheduled} for later",
                    answer.node
                ),
                [answer.n],
            );
        }
        planned += scheduled;
        nodes.push(answer.value.node.as_str());
        by_setting = by_setting.or(answer.settings.get("worker_eta_task_limit").cloned());
    }
    if nodes.len() as u64 != last.consumers {
        return Answer::possible(
            format!(
                "{planned} tasks wait for their time at {}, and {} consume the queue",
                nodes.join(", "),
                last.consumers
            ),
            evidence,
        );
    }
    let text = format!(
        "{planned} tasks wait for their time in the hands of {}, which runs nothing and takes nothing more; {} ready behind them",
        nodes.join(", "),
        last.ready
    );
    let text = match by_setting {
        Some(limit) => format!("{text}; `worker_eta_task_limit` is {limit}"),
        None => text,
    };
    // As many as are in the workers' hands, and no slot for another.
    let unacked = story
        .infos(queue)
        .last()
        .and_then(|info| Some((info.n, info.unacked?)));
    match unacked {
        Some((n, unacked)) if unacked == planned as u64 => {
            evidence.push(n);
            Answer::likely(
                format!("{text}; all {unacked} unacknowledged messages are such tasks"),
                evidence,
            )
        }
        _ => Answer::possible(text, evidence).would_decide(&[Source::Management]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenes::Asked;
    use super::*;

    fn full(unacked: u64) -> Asked {
        Asked::waiting(1).unacked_of(1, unacked)
    }

    #[test]
    fn all_that_it_holds_waits_for_its_time() {
        let scene = full(2)
            .answers(|answer| answer.scheduled("a").scheduled("b"))
            .silence();
        assert_eq!(scene.cause(), "likely eta-blocks-worker", "{}", scene.summary());
        assert_eq!(scene.without(Source::Control).answer(&CAUSE), "cannot tell");
    }

    #[test]
    fn one_that_runs_something_is_a_near_miss() {
        let busy = full(3)
            .answers(|answer| answer.scheduled("a").scheduled("b").active("c"))
            .silence();
        assert_eq!(busy.answer(&CAUSE), "ruled out");
        let nothing = full(2).answers(|answer| answer).silence();
        assert_eq!(nothing.answer(&CAUSE), "ruled out");
        // Others' unacknowledged messages are not explained by it.
        let more = full(5).answers(|answer| answer.scheduled("a")).silence();
        assert_eq!(more.answer(&CAUSE), "possible");
    }
}
