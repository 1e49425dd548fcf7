//! A worker without children runs one task, and reads nothing meanwhile.

use super::APPLIES_TO;
use crate::diagnosis::evidence::workers;
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::Source;

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "solo-blocked",
    keeps_from: &[Stage::Received],
    owner: &[Owner::WorkerCode],
    explains: &["worker-blocked"],
    scenario: Some(Scenario::C),
    needs: &[&[Source::WorkerLog]],
    general: false,
    fails_attempt: false,
    applies_to: APPLIES_TO,
    page: include_str!("solo_blocked.md"),
    check,
};

/// What the banner says of a pool that is the process itself.
const SOLO: &str = "(solo)";

fn check(story: &Story<'_>) -> Answer {
    let banner = story
        .worker_lines()
        .iter()
        .rev()
        .find(|told| matches!(told.mark, Some(LogEvent::Concurrency { .. })));
    let Some(banner) = banner.filter(|told| told.line.text.contains(SOLO)) else {
        return Answer::NotApplicable;
    };
    let Some(delivered) = story.deliveries().last().filter(|_| story.closed()) else {
        return Answer::NotApplicable;
    };
    if let Some(told) = story.lines().first() {
        return Answer::ruled_out("the worker has read it", [told.n]);
    }
    let Some((peer, pid)) = story.peer(delivered.connection) else {
        return Answer::cannot_tell(&[Source::Process]);
    };
    let holds_log = story.process(pid).filter(|(_, process)| process.holds_log);
    let Some((seen, _)) = holds_log else {
        return Answer::NotApplicable;
    };
    let running = workers::running_others(story);
    let Some((n, name)) = running.last() else {
        return Answer::NotApplicable;
    };
    Answer::shown(
        format!("the worker (pid {pid}) is a solo one and runs `{name}`: until that ends it reads nothing, this task included"),
        [delivered.n, peer, seen, banner.n, *n],
    )
    .given([
        Premise::WorkIsRunning(pid),
        Premise::LogIsWhole,
        Premise::OneProcessPerLogThread { pid: None },
    ])
}

#[cfg(test)]
mod tests {
    use super::super::scenes::{Asked, OTHERS};
    use super::*;

    fn behind(pool: &str) -> Asked {
        Asked::in_pool(pool)
            .info(&format!("Task shop.tasks.slow[{OTHERS}] received"))
            .deliver()
    }

    #[test]
    fn it_runs_another_one() {
        let scene = behind("solo").silence();
        assert!(scene.cause().ends_with(" solo-blocked"), "{}", scene.cause());
        assert_ne!(
            scene.cause(),
            "certain solo-blocked",
            "nothing shows that it still runs"
        );
    }

    #[test]
    fn another_pool_and_one_that_is_done_are_near_misses() {
        assert_eq!(behind("prefork").silence().answer(&CAUSE), "not applicable");
        let done = behind("solo").info(&format!("Task shop.tasks.slow[{OTHERS}] succeeded in 0.1s: None"));
        assert_eq!(done.silence().answer(&CAUSE), "not applicable");
        let read = behind("solo").info(&format!(
            "Task shop.tasks.fulfil[{}] received",
            super::super::scenes::OURS
        ));
        assert_eq!(read.silence().answer(&CAUSE), "ruled out");
    }
}
