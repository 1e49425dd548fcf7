//! Tasks that wait for their time fill the worker's hands: it takes nothing more, and runs nothing.

use super::APPLIES_TO;
use crate::diagnosis::evidence::{Depth, broker, control, workers};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Stand, Story};
use crate::framework::HeldTask;
use crate::timeline::Source;

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "eta-blocks-worker",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::WorkerCode, Owner::Deployment],
    explains: &["workers-busy"],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Control], &[Source::Queue]],
    applies_to: APPLIES_TO,
    stand: Stand::Waits,
    page: include_str!("eta_blocks_worker.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let queue = story.queue();
    let depths = story.depths_since(queue);
    let Some(last) = depths.last().filter(|_| story.closed()) else {
        return Answer::NotApplicable;
    };
    let waits = story.published().is_some() || story.waits_by_assumption;
    if last.ready == 0 || last.consumers == 0 || !waits {
        return Answer::NotApplicable;
    }
    let mut answers = control::answers(story).peekable();
    if answers.peek().is_none() {
        return by_heartbeats(story, last);
    }
    // Where others consume as well, they would have taken it.
    let mut planned = 0;
    let (mut held, mut running) = (0, 0);
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
        let (Some(active), Some(reserved)) = (in_hand(&answer.active), in_hand(&answer.reserved)) else {
            return Answer::NotApplicable;
        };
        // What is acknowledged holds no place in the worker's hands.
        let Some(scheduled) = unacknowledged(&answer.scheduled) else {
            return Answer::NotApplicable;
        };
        let is_full = active > 0 && control::is_full(&answer) != Some(false);
        if is_full || reserved > 0 || scheduled == 0 {
            return Answer::ruled_out(
                format!(
                    "{} runs {active} tasks and has {reserved} at hand, beside {scheduled} for later",
                    answer.node
                ),
                [answer.n],
            );
        }
        running += active;
        held += scheduled + unacknowledged(&answer.active).unwrap_or(0);
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
    let does = match running {
        0 => "runs nothing".to_owned(),
        some => format!("runs {some}, has room for another"),
    };
    let text = format!(
        "{planned} tasks wait for their time in the hands of {}, which {does} and takes nothing more; {} ready behind them",
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
        Some((n, unacked)) if unacked == held as u64 => {
            evidence.push(n);
            let whose = match held - planned {
                0 => "such tasks".to_owned(),
                run => format!("such tasks, or one of the {run} that run"),
            };
            Answer::likely(
                format!("{text}; all {unacked} unacknowledged messages are {whose}"),
                evidence,
            )
        }
        _ => Answer::possible(text, evidence).would_decide(&[Source::Management]),
    }
}

/// Nobody was asked. Workers whose hands are full, and that count no task that they run, hold what waits.
fn by_heartbeats(story: &Story<'_>, last: &Depth) -> Answer {
    let received = workers::running_others(story).into_iter();
    let received = received.map(|other| other.at_ms).reduce(f64::max);
    let idle = received.and_then(|at| story.is_counted_by_none(at));
    let full = broker::slots(story).filter(|slots| slots.counted && slots.are_taken());
    match idle.zip(full) {
        Some((idle, slots)) => Answer::possible(
            format!(
                "every prefetch slot is taken ({} unacknowledged of {}), and no worker counts a task that it runs: what they hold waits for its time (`countdown`, `eta`, a retry), or for the limit of its rate",
                slots.unacked, slots.prefetch
            ),
            [last.n, slots.evidence[1], idle],
        )
        .would_decide(&[Source::Control]),
        None => Answer::cannot_tell(&[Source::Control]),
    }
}

fn unacknowledged(held: &Option<Vec<HeldTask>>) -> Option<usize> {
    let held = held.as_ref()?.iter();
    Some(held.filter(|task| task.acknowledged != Some(true)).count())
}

#[cfg(test)]
mod tests {
    use super::super::scenes::{CeleryScene, OTHERS};
    use super::*;
    use crate::diagnosis::causes::workers_busy;
    use crate::diagnosis::testing::WORKER;

    fn full(unacked: u64) -> CeleryScene {
        CeleryScene::waiting(1).unacked_of(1, unacked)
    }

    #[test]
    fn all_that_it_holds_waits_for_its_time() {
        let scene = full(2)
            .answers(|answer| answer.scheduled("a").scheduled("b"))
            .silence();
        assert_eq!(scene.cause(), "likely eta-blocks-worker", "{}", scene.summary());
        assert_eq!(scene.without(Source::Control).answer(&CAUSE), "cannot tell");
    }

    /// What runs is acknowledged, and holds no place: the free child could run ours.
    #[test]
    fn one_that_runs_something_beside_them_and_has_a_child_free() {
        let other = format!("Task shop.tasks.slow[{OTHERS}] received");
        let full = |unacked| CeleryScene::waiting(1).info(&other).unacked_of(1, unacked);
        let beside = |unacked| {
            full(unacked)
                .answers(|answer| answer.scheduled("a").scheduled("b").active(OTHERS))
                .silence()
        };
        assert_eq!(
            beside(2).cause(),
            "likely eta-blocks-worker",
            "{}",
            beside(2).summary()
        );
        assert!(
            beside(2).summary().contains("runs 1, has room"),
            "{}",
            beside(2).summary()
        );
        // One that is acknowledged late holds a place of its own.
        let late = full(3)
            .answers(|mut answer| {
                answer = answer.scheduled("a").scheduled("b").active(OTHERS);
                answer
                    .active
                    .iter_mut()
                    .flatten()
                    .for_each(|task| task.acknowledged = Some(false));
                answer
            })
            .silence();
        assert_eq!(late.answer(&CAUSE), "likely");
    }

    /// Afterwards nobody is asked: the worker's hands are full, and it counts no task that it runs.
    #[test]
    fn what_is_held_and_not_run_waits_by_heartbeats_too() {
        let other = format!("Task shop.tasks.slow[{OTHERS}] received");
        let counts = |active: u64| {
            let scene = full(4)
                .info(&other)
                .and(|scene| scene.consumers(&[("celery", WORKER, 4)]));
            scene.counts(active, 4_000.0).silence()
        };
        assert_eq!(counts(0).answer(&CAUSE), "possible");
        assert_eq!(counts(0).answer(&workers_busy::CAUSE), "ruled out");
        assert_eq!(counts(1).answer(&CAUSE), "cannot tell");
        assert_ne!(counts(1).answer(&workers_busy::CAUSE), "ruled out");
    }

    #[test]
    fn one_that_is_full_or_holds_others_is_a_near_miss() {
        let busy = full(2)
            .answers(|answer| answer.scheduled("a").scheduled("b").active("c").active("d"))
            .silence();
        assert_eq!(busy.answer(&CAUSE), "ruled out");
        let at_hand = full(3)
            .answers(|answer| answer.scheduled("a").scheduled("b").reserved("c"))
            .silence();
        assert_eq!(at_hand.answer(&CAUSE), "ruled out");
        // How many it runs at once is not known.
        let unknown = full(2)
            .answers(|mut answer| {
                answer.concurrency = None;
                answer.scheduled("a").scheduled("b").active("c")
            })
            .silence();
        assert_eq!(unknown.answer(&CAUSE), "ruled out");
        let nothing = full(2).answers(|answer| answer).silence();
        assert_eq!(nothing.answer(&CAUSE), "ruled out");
        // Others' unacknowledged messages are not explained by it.
        let more = full(5).answers(|answer| answer.scheduled("a")).silence();
        assert_eq!(more.answer(&CAUSE), "possible");
    }

    /// Before kombu 5.7 they share one mailbox, and each answers some of the questions.
    #[test]
    fn the_answer_of_two_workers_of_one_name_is_nobodys() {
        let heard = |pids: &[i32]| {
            let mut scene = full(2);
            for pid in pids {
                scene = scene.beats_as(*pid);
            }
            scene
                .answers(|answer| answer.scheduled("a").scheduled("b"))
                .silence()
        };
        assert_eq!(heard(&[100, 700]).answer(&CAUSE), "cannot tell");
        assert_eq!(heard(&[100]).answer(&CAUSE), "likely");
        assert_eq!(heard(&[100, 100]).answer(&CAUSE), "likely");
    }
}
