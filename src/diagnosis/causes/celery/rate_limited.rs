//! The worker holds the message back, so that the task's rate is kept.

use super::APPLIES_TO;
use crate::diagnosis::evidence::{WorkerLine, control};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Stand, Story};
use crate::framework::{Inspection, LogEvent};
use crate::timeline::Source;

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "rate-limited",
    keeps_from: &[Stage::Received, Stage::Entered],
    owner: &[Owner::WorkerCode],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Control], &[Source::WorkerLog]],
    applies_to: APPLIES_TO,
    stand: Stand::Waits,
    page: include_str!("rate_limited.md"),
    check,
    ..Cause::DEFAULT
};

/// In a worker's hands, and in none of its lists: a limit of the rate keeps it.
fn check(story: &Story<'_>) -> Answer {
    let pushed = story.line(|mark| matches!(mark, LogEvent::Pushed { .. }));
    let Some(pushed) = pushed.filter(|_| story.closed()) else {
        return Answer::NotApplicable;
    };
    let Some(name) = pushed.subject.map(|subject| subject.task) else {
        return Answer::NotApplicable;
    };
    let Some(first) = control::answers(story).next() else {
        return Answer::cannot_tell(&[Source::Control]);
    };
    // A worker of other queues may run the same code.
    let consumes = |answer: &Inspection| {
        let queues = answer.queues.as_ref();
        queues.is_none_or(|queues| queues.iter().any(|queue| queue == story.queue()))
    };
    let limit = control::answers(story).find_map(|answer| {
        let limit = answer.value.registered.as_ref()?.get(name)?.as_deref()?;
        consumes(answer.value).then_some((answer, limit))
    });
    let Some((answer, limit)) = limit else {
        return Answer::ruled_out("the task has no limit of its rate", [first.n]);
    };
    // 5.4 shows the next one as reserved; whoever is in a list waits for something else, too.
    if let Some((holder, state)) = control::holder(story) {
        return match (state, control::is_full(&holder)) {
            ("reserved", Some(false)) => Answer::likely(
                format!(
                    "{} holds it although a child is free, and `{name}` may run {limit} times only",
                    holder.node
                ),
                [pushed.n, holder.n],
            ),
            _ => Answer::ruled_out(format!("it is {state} at {}", holder.node), [holder.n]),
        };
    }
    let Some(held) = control::unexplained(story, &answer) else {
        return Answer::possible(
            format!(
                "`{name}` may run {limit} times only, and {} does not say where the message is",
                answer.node
            ),
            [pushed.n, answer.n],
        )
        .would_decide(&[Source::Management]);
    };
    if held.value == 0 {
        return Answer::ruled_out(
            "no message is held beside those that the worker names",
            [held.n, answer.n],
        );
    }
    let is_next = |told: &&WorkerLine<'_>| {
        matches!(told.mark, Some(LogEvent::Pushed { id, .. }) if !story.is_my_message(id))
            && told.n > pushed.n
            && told.subject.is_some_and(|subject| subject.task == name)
    };
    if let Some(next) = story
        .worker_lines()
        .iter()
        .find(is_next)
        .filter(|_| held.value < 2)
    {
        return Answer::possible(
            format!(
                "`{name}` may run {limit} times only, and {} holds one message back: this one, or one of the same task that it received since",
                answer.node
            ),
            [pushed.n, answer.n, next.n],
        );
    }
    let text = format!(
        "{} has received it and holds it back: `{name}` may run {limit} times only, and it is in none of the worker's lists",
        answer.node
    );
    Answer::shown(text, [pushed.n, answer.n, held.n]).given([
        Premise::LogIsWhole,
        Premise::OneProcessPerLogThread { pid: pushed.pid },
    ])
}

#[cfg(test)]
mod tests {
    use super::super::scenes::{CeleryScene, OURS};
    use super::*;

    fn limited() -> CeleryScene {
        CeleryScene::received().unacked(1)
    }

    #[test]
    fn it_is_held_and_in_no_list() {
        let scene = limited().answers(|answer| answer.limit("1/h")).silence();
        assert_eq!(scene.cause(), "certain rate-limited", "{}", scene.summary());
        assert_eq!(scene.without(Source::Control).answer(&CAUSE), "cannot tell");
    }

    #[test]
    fn what_is_in_a_list_acknowledged_or_unlimited_is_a_near_miss() {
        let busy = limited().answers(|answer| answer.limit("1/h").reserved(OURS).active("a").active("b"));
        assert_eq!(busy.silence().answer(&CAUSE), "ruled out");
        // Taken and over: the log of a whole worker would say so.
        let gone = CeleryScene::received()
            .unacked(0)
            .answers(|answer| answer.limit("1/h"));
        assert_eq!(gone.silence().answer(&CAUSE), "ruled out");
        // Another's is what is unacknowledged.
        let others = limited().answers(|answer| answer.limit("1/h").scheduled("c"));
        assert_eq!(others.silence().answer(&CAUSE), "ruled out");
        // The next one of the same task may be the one that is held.
        let next = "Task shop.tasks.fulfil[33333333-7a09-4a1f-9d2c-0d5e3c0b7f11] received";
        let two = limited().info(next).answers(|answer| answer.limit("1/h"));
        assert_eq!(two.silence().answer(&CAUSE), "possible");
        let free = limited().answers(|answer| answer);
        assert_eq!(free.silence().answer(&CAUSE), "ruled out");
    }

    /// A worker of another queue runs the same code, and answers first.
    #[test]
    fn the_limit_of_a_worker_of_other_queues_says_nothing_of_ours() {
        let beside = |scene: CeleryScene| {
            let other = |mut answer: Inspection| {
                answer.node = "heavy@vm".into();
                answer.pid = Some(200);
                answer.limit("1/h").consumes(&["heavy"])
            };
            scene.answers(other)
        };
        let runs = beside(limited()).answers(|answer| answer.limit("1/h").active(OURS));
        assert_eq!(runs.silence().answer(&CAUSE), "ruled out");
        let held = beside(limited()).answers(|answer| answer.limit("1/h"));
        assert_eq!(held.silence().answer(&CAUSE), "certain");
    }
}
