//! The worker holds the message behind busy threads.

use crate::diagnosis::evidence::{threads, workers};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::LogEvent;
use crate::text::counted;
use crate::timeline::Source;
use crate::units;

pub(super) const CAUSE: Cause = Cause {
    id: "waiting-in-worker",
    keeps_from: &[Stage::Received],
    owner: &[Owner::Wait],
    explains: &[],
    scenario: Some(Scenario::C),
    needs: &[&[Source::WorkerLog]],
    general: false,
    fails_attempt: false,
    applies_to: &[],
    page: include_str!("waiting_in_worker.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let Some(pushed) = story.line(|mark| matches!(mark, LogEvent::Pushed { delay: false, .. })) else {
        return Answer::NotApplicable;
    };
    if let Some(told) = story.line(|mark| matches!(mark, LogEvent::Received { .. })) {
        return Answer::ruled_out("a thread received it", [told.n]);
    }
    if let Some(dead) = pushed.line.pid.and_then(|pid| threads::all_dead(story, pid)) {
        return Answer::ruled_out("no worker thread is left that could take it", dead);
    }
    if let Some(gone) = pushed.pid.and_then(|pid| story.gone(pid)) {
        return Answer::ruled_out("the process that had prefetched it is gone", [pushed.n, gone]);
    }
    // Behind threads of the same process: another one's have nothing to do with it.
    let mut running = workers::running_others(story);
    running.retain(|(n, _)| {
        let of = story
            .worker_lines()
            .iter()
            .find(|told| told.n == *n)
            .and_then(|told| told.pid);
        // They are taken in turn.
        of == pushed.pid && (story.acknowledges_after_the_run() || *n < pushed.n)
    });
    if running.is_empty() || !story.closed() {
        return Answer::NotApplicable;
    }
    let mut evidence = vec![pushed.n];
    evidence.extend(running.iter().map(|(n, _)| *n).take(6));
    let text = behind(story, &running);
    // A free thread would have taken it: all of them must be busy.
    match slots(story).or_else(|| pushed.pid.and_then(|pid| workers::threads_of(story, pid))) {
        Some((n, threads)) if running.len() >= threads => {
            evidence.push(n);
            let pid = pushed.pid;
            Answer::shown(text, evidence).given([
                Premise::WorkIsRunning(pid.unwrap_or(0)),
                Premise::OneProcessPerLogThread { pid },
            ])
        }
        Some((n, threads)) => {
            evidence.push(n);
            Answer::possible(format!("{text}; but it has {threads} threads"), evidence)
        }
        None => Answer::likely(text, evidence).would_decide(&[Source::Process]),
    }
}

/// What it waits behind, and for how long that has run.
fn behind(story: &Story<'_>, running: &[(u32, String)]) -> String {
    let end = story.timeline.events.last().map_or(0.0, |event| event.at_ms);
    let tasks: Vec<String> = running
        .iter()
        .take(4)
        .map(|(n, actor)| {
            let told = story.worker_lines().iter().find(|told| told.n == *n);
            match told.map(|told| end - told.at_ms).filter(|ran| *ran >= 1000.0) {
                Some(ran) => format!("{actor} (for {})", units::span(ran)),
                None => actor.clone(),
            }
        })
        .collect();
    let more = match running.len() - tasks.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let word = counted(running.len() as u64, "task that runs", "tasks that run");
    format!(
        "it waits inside the worker behind {word}: {}{more}",
        tasks.join(", ")
    )
}

/// What the worker's log says of it.
fn slots(story: &Story<'_>) -> Option<(u32, usize)> {
    let mut lines = story.worker_lines().iter().rev();
    lines.find_map(|told| match told.mark {
        Some(LogEvent::Concurrency { slots }) => Some((told.n, *slots)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Scene, WORKER};

    /// Prefetched by the watched worker, which has two threads; so many of them are busy.
    fn behind(pids: &[i32]) -> Scene {
        let mut scene = Scene::new().worker_booted().depth("default", 0, 1);
        for (at, pid) in pids.iter().enumerate() {
            scene = scene.line(&format!(
                "[PID {pid}] [Thread-{at}] [dramatiq.worker.WorkerThread] [DEBUG] Received message slow() with id 'other-{at}'."
            ));
        }
        scene
            .submitted()
            .row("PENDING")
            .publish("default")
            .deliver(WORKER)
            .peer(WORKER, 101)
            .pushed("m-1")
            .depth("default", 0, 1)
    }

    const AT_WORK: &[(&str, &str)] = &[
        ("crunch", "/app/core.py"),
        ("__call__", "/v/site-packages/dramatiq/actor.py"),
        ("process_message", "/v/site-packages/dramatiq/worker.py"),
    ];

    #[test]
    fn all_threads_are_busy() {
        let busy = behind(&[101, 101]).stack(101, "Thread-0", AT_WORK);
        let busy = busy.silence();
        assert_eq!(busy.cause(), "certain waiting-in-worker");
        let summary = busy
            .verdict()
            .cause
            .map(|cause| cause.summary)
            .unwrap_or_default();
        assert!(
            summary.starts_with("it waits inside the worker behind 2 tasks that run: slow (for "),
            "{summary}"
        );
        // Received and not acknowledged is not running: the threads may be dead.
        assert_eq!(behind(&[101, 101]).silence().cause(), "likely waiting-in-worker");
        assert_eq!(behind(&[101, 101]).answer(&CAUSE), "not applicable");
    }

    #[test]
    fn a_free_thread_or_another_process_is_a_near_miss() {
        assert_eq!(behind(&[101]).silence().answer(&CAUSE), "possible");
        assert_eq!(behind(&[102, 102]).silence().answer(&CAUSE), "not applicable");
    }

    #[test]
    fn received_excludes_it() {
        assert_eq!(Scene::received().silence().answer(&CAUSE), "ruled out");
        let blind = behind(&[101, 101]).silence();
        assert_eq!(blind.without(Source::Process).answer(&CAUSE), "likely");
        assert_eq!(blind.without(Source::WorkerLog).answer(&CAUSE), "cannot tell");
    }

    #[test]
    fn a_process_that_is_gone_is_a_near_miss() {
        let scene = behind(&[101, 101]).gone(101).timeout();
        assert_eq!(scene.answer(&CAUSE), "ruled out");
    }
}
