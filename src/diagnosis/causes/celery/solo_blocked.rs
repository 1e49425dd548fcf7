//! A worker without children runs one task, and reads nothing meanwhile.

use super::APPLIES_TO;
use crate::diagnosis::evidence::{Fact, stacks, workers};
use crate::diagnosis::premises::{EventId, Premise};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Stand, Story};
use crate::framework::LogEvent;
use crate::timeline::Source;

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "solo-blocked",
    keeps_from: &[Stage::Received],
    owner: &[Owner::WorkerCode],
    explains: &["worker-blocked"],
    scenario: Some(Scenario::C),
    needs: &[&[Source::WorkerLog]],
    applies_to: APPLIES_TO,
    stand: Stand::Waits,
    page: include_str!("solo_blocked.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let Some(delivered) = story.deliveries().last().filter(|_| story.closed()) else {
        return Answer::NotApplicable;
    };
    let Some(Fact { n, value: pid, .. }) = story.peer(delivered.connection) else {
        return match banner(story) {
            Some(_) => Answer::cannot_tell(&[Source::Process]),
            None => Answer::NotApplicable,
        };
    };
    let Some(solo) = banner(story).or_else(|| command(story, pid)) else {
        return Answer::NotApplicable;
    };
    if let Some(told) = story.lines().first() {
        return Answer::ruled_out("the worker has read it", [told.n]);
    }
    let Some(process) = story.process(pid) else {
        return Answer::NotApplicable;
    };
    if !process.holds_log && story.is_watched(pid) != Some(true) {
        return Answer::NotApplicable;
    }
    let running = workers::running_others(story);
    let Some(other) = running.last() else {
        return Answer::NotApplicable;
    };
    let stands = stands_in_a_task(story, pid, delivered.at_ms);
    let mut evidence = vec![delivered.n, n, process.n, solo, other.n];
    evidence.extend(stands);
    let works = stands.is_none().then_some(Premise::WorkIsRunning(pid));
    Answer::shown(
        format!("the worker (pid {pid}) is a solo one and runs `{other}`: until that ends it reads nothing, this task included"),
        evidence,
    )
    .given(works)
    .given([
        Premise::LogIsWhole,
        Premise::OneProcessPerLogThread { pid: None },
    ])
}

/// A look after the delivery found its only thread in the call of a task, which is not ours: nothing of that was read.
fn stands_in_a_task(story: &Story<'_>, pid: i32, since: f64) -> Option<EventId> {
    let shape = &story.framework().stack;
    let thread = stacks::last_dump(story, pid).find(|thread| thread.call(shape).is_some())?;
    let seen = story.timeline.event(thread.n)?;
    (seen.at_ms > since).then_some(thread.n)
}

/// The banner says that the pool is the process itself. It is printed, and may have gone elsewhere than the log.
fn banner(story: &Story<'_>) -> Option<EventId> {
    let mut lines = story.worker_lines().iter().rev();
    let banner = lines.find(|told| matches!(told.mark, Some(LogEvent::Concurrency { .. })))?;
    banner.line.text.contains("(solo)").then_some(banner.n)
}

/// The command line says so.
fn command(story: &Story<'_>, pid: i32) -> Option<EventId> {
    let process = story.process(pid)?;
    let line = process.command.join(" ");
    let is_solo = ["-P solo", "-Psolo", "--pool solo", "--pool=solo"];
    is_solo
        .iter()
        .any(|words| line.contains(words))
        .then_some(process.n)
}

#[cfg(test)]
mod tests {
    use super::super::scenes::{CeleryScene, OTHERS};
    use super::*;

    fn behind(pool: &str) -> CeleryScene {
        CeleryScene::in_pool(pool)
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

    /// The banner is printed, and may have gone elsewhere than the log.
    #[test]
    fn its_command_line_says_so_too() {
        let by_command = |command: &str| {
            behind("?").and(|scene| {
                scene
                    .process(100, 1, command, |process| process.holds_log = true)
                    .silence()
            })
        };
        let solo = by_command("python celery -A shop worker -l INFO -P solo");
        assert!(solo.cause().ends_with(" solo-blocked"), "{}", solo.cause());
        // Nothing says of what kind its pool is: it may be that.
        let unknown = by_command("python celery -A shop worker -l INFO");
        assert_eq!(
            unknown.cause(),
            "possible worker-blocked",
            "{}",
            unknown.summary()
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

    /// Its stack stands in the other task.
    #[test]
    fn its_stack_shows_that_it_is_at_work() {
        const CALL: (&str, &str) = (
            "__protected_call__",
            "/v/lib/python3.11/site-packages/celery/app/trace.py",
        );
        let stands = |frames: &'static [(&'static str, &'static str)]| {
            let scene = behind("solo").and(|scene| {
                let scene = scene.process(
                    100,
                    1,
                    "python celery -A shop worker -l INFO -P solo",
                    |process| {
                        process.holds_log = true;
                    },
                );
                scene.at(4_000.0).stack(100, "MainThread", frames)
            });
            scene.silence().answer(&CAUSE)
        };
        assert_eq!(stands(&[("slow", "/app/shop/tasks.py"), CALL]), "certain");
        assert_ne!(
            stands(&[("poll", "/v/lib/python3.11/site-packages/kombu/utils/eventio.py")]),
            "certain"
        );
    }
}
