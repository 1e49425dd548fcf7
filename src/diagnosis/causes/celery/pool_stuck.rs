//! The worker holds the message although its pool is not full, and no child takes it.

use super::APPLIES_TO;
use crate::diagnosis::evidence::{Fact, control, stacks};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Stand, Story};
use crate::framework::{FrameMatch, Inspection};
use crate::timeline::Source;

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "pool-stuck",
    keeps_from: &[Stage::Received, Stage::Entered],
    owner: &[Owner::WorkerCode, Owner::Deployment],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Control]],
    applies_to: APPLIES_TO,
    stand: Stand::Waits,
    page: include_str!("pool_stuck.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let Some((answer, state)) = control::holder(story).filter(|_| story.closed()) else {
        return Answer::NotApplicable;
    };
    if state != "reserved" {
        return Answer::ruled_out(format!("it is {state} at {}", answer.node), [answer.n]);
    }
    let (Some(false), Some(slots)) = (control::is_full(&answer), answer.concurrency) else {
        return Answer::ruled_out(format!("every child of {} is busy", answer.node), [answer.n]);
    };
    let sent = story.publishes().first();
    let name = sent.and_then(|passage| passage.message.actor.as_deref());
    let told = story.lines().iter().find_map(|told| told.subject);
    let name = name.or(told.map(|subject| subject.task));
    let limited = answer
        .registered
        .as_ref()
        .zip(name)
        .and_then(|(all, name)| all.get(name)?.as_ref());
    if limited.is_some() {
        return Answer::ruled_out("the task has a limit of its rate", [answer.n]);
    }
    if let Some(starting) = still_starting(story, &answer) {
        return starting;
    }
    let mut evidence = vec![answer.n];
    let stopped: Vec<i32> = answer
        .processes
        .iter()
        .filter_map(|pid| story.process(*pid))
        .filter(|process| matches!(process.state, 'T' | 't'))
        .map(|process| {
            evidence.push(process.n);
            process.pid
        })
        .collect();
    let active = answer.active.as_ref().map_or(0, Vec::len);
    let text = format!(
        "{} holds it for the pool, which runs {active} of {slots} tasks and takes none",
        answer.node
    );
    let pids = stopped.iter().map(i32::to_string).collect::<Vec<_>>().join(", ");
    match stopped.is_empty() {
        true => Answer::likely(text, evidence).would_decide(&[Source::Process]),
        false => Answer::likely(format!("{text}: of its children, {pids} are stopped"), evidence),
    }
}

/// A new child runs what the application has for its start: it takes the next one when that is done.
fn still_starting(story: &Story<'_>, answer: &Fact<&Inspection>) -> Option<Answer> {
    let stacks = story.stacks();
    let mut children = answer.processes.iter();
    let (pid, thread) = children.find_map(|pid| Some((*pid, stacks.find(Some(*pid), START)?)))?;
    let text = format!(
        "{} holds it for a child that is still starting (pid {pid}): it stands in {}",
        answer.node,
        stacks::innermost_own(story, thread)
            .map_or_else(|| "its start".to_owned(), |frame| frame.to_string())
    );
    Some(Answer::likely(text, [answer.n, thread.n]).owned_by(Some(&[Owner::Wait, Owner::WorkerCode])))
}

/// What a child of the pool runs once, before its first task.
const START: FrameMatch = FrameMatch {
    file: "billiard/pool.py",
    function: "after_fork",
};

#[cfg(test)]
mod tests {
    use super::super::scenes::{CeleryScene, OURS};
    use super::*;

    #[test]
    fn it_is_reserved_and_the_pool_is_free() {
        let scene = CeleryScene::received()
            .unacked(1)
            .answers(|answer| answer.reserved(OURS))
            .silence();
        assert_eq!(scene.cause(), "likely pool-stuck", "{}", scene.summary());
        assert_eq!(scene.without(Source::Control).answer(&CAUSE), "cannot tell");
    }

    #[test]
    fn a_full_pool_a_limit_and_another_state_are_near_misses() {
        let full = CeleryScene::received()
            .unacked(1)
            .answers(|answer| answer.reserved(OURS).active("a").active("b"));
        assert_eq!(full.silence().answer(&CAUSE), "ruled out");
        let limited = CeleryScene::received()
            .unacked(1)
            .answers(|answer| answer.reserved(OURS).limit("1/h"));
        assert_eq!(limited.silence().answer(&CAUSE), "ruled out");
        let planned = CeleryScene::received()
            .unacked(1)
            .answers(|answer| answer.scheduled(OURS));
        assert_eq!(planned.silence().answer(&CAUSE), "ruled out");
    }

    /// A model is loaded in each new child.
    #[test]
    fn a_child_that_is_still_starting_is_waited_for() {
        let starting = |function: &'static str| {
            CeleryScene::received()
                .unacked(1)
                .answers(|answer| Inspection {
                    processes: vec![112],
                    ..answer.reserved(OURS)
                })
                .and(|scene| {
                    scene
                        .process(112, 100, "python celery -A shop worker", |_| {})
                        .stack(
                            112,
                            "MainThread",
                            &[
                                ("_load", "/app/shop/conf.py"),
                                (function, "/v/lib/python3.11/site-packages/billiard/pool.py"),
                            ],
                        )
                })
                .silence()
        };
        let summary = starting("after_fork").summary();
        assert!(summary.contains("still starting"), "{summary}");
        let elsewhere = starting("workloop").summary();
        assert!(!elsewhere.contains("still starting"), "{elsewhere}");
    }
}
