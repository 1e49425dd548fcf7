//! The event loop is blocked by another coroutine.

use std::collections::BTreeSet;

use crate::diagnosis::evidence::stacks::{self, Thread};
use crate::diagnosis::evidence::{Fact, workers};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Claim, Owner, Scenario, Stage, Story};
use crate::framework::{LogEvent, WITH_MIDDLEWARE, function_of};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "event-loop-blocked",
    keeps_from: &[Stage::Entered],
    owner: &[Owner::WorkerCode],
    explains: &[
        "workers-busy",
        "waiting-in-worker",
        "worker-blocked",
        "backlog",
        "actor-still-running",
    ],
    scenario: Some(Scenario::C),
    needs: &[&[Source::WorkerLog]],
    applies_to: WITH_MIDDLEWARE,
    claims: &[Claim::IsRunning],
    page: include_str!("event_loop_blocked.md"),
    check,
    ..Cause::DEFAULT
};

/// One of these actors' functions is on the loop's stack.
fn runs_one_of(story: &Story<'_>, n: u32, actors: &BTreeSet<&str>) -> bool {
    story
        .stacks()
        .of_event(n)
        .filter(|thread| thread.is_in("run_forever"))
        .flat_map(Thread::frames)
        .any(|frame| {
            let function = frame.function.rsplit('.').next();
            actors.iter().any(|actor| function == Some(function_of(actor)))
        })
}

/// What runs on the loop was made in a hook of the middleware's, and by no task: newer Pythons say so.
fn is_of_a_hook(story: &Story<'_>, n: u32) -> bool {
    let hooks = story.framework().stack.boot_hooks;
    let on_the_loop = story
        .stacks()
        .of_event(n)
        .filter(|thread| thread.is_in("run_forever"));
    on_the_loop
        .flat_map(Thread::frames)
        .any(|frame| frame.function.split('.').any(|part| hooks.contains(&part)))
}

/// The stacks of the process were read, and no thread of it runs an event loop.
fn has_no_loop(story: &Story<'_>, pid: Option<i32>) -> bool {
    let mut dumps = story.stacks().dumps().rev();
    let dump = dumps.find(|dump| Some(dump.pid) == pid);
    dump.is_some_and(|dump| !dump.threads().any(|thread| thread.is_in("run_forever")))
}

/// The thread that called the actor waits for its coroutine's result.
fn waits_for_the_loop(story: &Story<'_>, n: u32, thread: Option<&str>) -> bool {
    let bridge = story.framework().stack.async_bridge;
    story
        .stacks()
        .of_event(n)
        .any(|stack| stack.is_still() && thread.is_none_or(|name| name == stack.name()) && stack.has(bridge))
}

/// A thread of the process waits for what a coroutine gives, whosever that is.
fn stands_at_the_bridge(story: &Story<'_>, pid: Option<i32>) -> Option<u32> {
    let shape = &story.framework().stack;
    let mut threads = stacks::last_dump(story, pid?);
    threads
        .find(|thread| thread.waits_for_a_coroutine(shape))
        .map(|thread| thread.n)
}

fn check(story: &Story<'_>) -> Answer {
    let Some(called) = story.line(|mark| matches!(mark, LogEvent::Called)) else {
        return Answer::NotApplicable;
    };
    if !story.closed()
        || story.attempt_over().is_some()
        || story.line(|mark| matches!(mark, LogEvent::Completed)).is_some()
    {
        return Answer::NotApplicable;
    }
    match stacks::blocked_loop(story, called.pid) {
        Some(Fact { n, value: frame, .. }) => {
            let text = format!(
                "the event loop of {} sits in a blocking call: {frame}",
                called.pid.map_or("the worker".into(), |pid| format!("pid {pid}"))
            );
            // The coroutine in the way may be this very actor's, or a task that it made, and it has then been
            // entered. And a plain function does not care for the loop.
            let itself = runs_one_of(story, n, &story.actors());
            let anothers = is_of_a_hook(story, n)
                || runs_one_of(story, n, &story.other_actors())
                || !workers::running_others(story).is_empty();
            if itself || !anothers {
                Answer::possible(text, [called.n, n])
            } else if waits_for_the_loop(story, n, called.line.thread.as_deref())
                // It may have been entered without a word, and the loop turn between short blocking calls.
                && story.timeline.setup.entry_pattern.is_some()
                && story.could_see_entry()
            {
                Answer::shown(text, [called.n, n]).given([Premise::SamePidSpace])
            } else {
                Answer::likely(text, [called.n, n])
            }
        }
        None if has_no_loop(story, called.pid) => Answer::NotApplicable,
        None => match stacks::idle_loop(story, called.pid) {
            Some(n) => Answer::ruled_out("the event loop waits for events, and nothing blocks it", [n]),
            // Without a stack nothing says that it is async at all.
            None => match stands_at_the_bridge(story, called.pid) {
                Some(n) => Answer::possible(
                    "the thread that called the actor waits for its event loop, which was not seen to be free",
                    [called.n, n],
                ),
                None => Answer::cannot_tell(&[Source::Process]),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;
    use crate::timeline::{EventKind, Stack};

    fn stuck_in(function: &str) -> Scene {
        let frame = |function: &str, file: &str| crate::timeline::Frame {
            function: function.into(),
            file: file.into(),
            line: 1,
            task: None,
        };
        let thread = |name: &str, frames| Stack {
            thread: name.into(),
            stable: true,
            frames,
        };
        Scene::called().see(
            Source::Process,
            EventKind::Stacks {
                pid: 101,
                threads: vec![
                    thread(
                        "Thread-4",
                        vec![
                            frame(
                                "EventLoopThread.run_coroutine",
                                "/v/site-packages/dramatiq/asyncio.py",
                            ),
                            frame(
                                "WorkerThread.process_message",
                                "/v/site-packages/dramatiq/worker.py",
                            ),
                        ],
                    ),
                    thread(
                        "Thread-1",
                        vec![
                            frame(function, "/app/tasks.py"),
                            frame(
                                "BaseEventLoop._run_once",
                                "/usr/lib/python3.11/asyncio/base_events.py",
                            ),
                            frame(
                                "BaseEventLoop.run_forever",
                                "/usr/lib/python3.11/asyncio/base_events.py",
                            ),
                        ],
                    ),
                ],
            },
        )
    }

    #[test]
    fn another_coroutine_holds_the_loop() {
        let others = "[PID 101] [Thread-5] [dramatiq.worker.WorkerThread] [DEBUG] Received message slow() with id 'm-2'.";
        let scene = stuck_in("slow").line(others).silence();
        assert_eq!(scene.cause(), "certain event-loop-blocked");
        // Without its stack nothing says that there is a loop.
        assert_eq!(scene.without(Source::Process).answer(&CAUSE), "cannot tell");
    }

    /// The framework called it: its own code may have run since, without a word.
    #[test]
    fn a_plain_actor_that_says_nothing() {
        let unmarked = Scene::called().setup(|setup| setup.entry_pattern = None);
        let verdict = unmarked.silence().verdict();
        assert_eq!(verdict.cause.map(|cause| cause.id), None);
        assert_eq!(verdict.scenario, None);
        let entered = verdict.stages.iter().find(|stage| stage.stage == Stage::Entered);
        assert_eq!(entered.and_then(|entered| entered.reached), None);
    }

    /// A helper of the actor's own, or a task that it made: nothing else was in the process's hands.
    #[test]
    fn with_no_other_message_at_hand_it_may_be_its_own() {
        assert_eq!(stuck_in("leg").silence().answer(&CAUSE), "possible");
    }

    #[test]
    fn a_process_without_a_loop_is_a_near_miss() {
        let call = [
            ("act", "/app/tasks.py"),
            ("Actor.__call__", "/v/site-packages/dramatiq/actor.py"),
            (
                "WorkerThread.process_message",
                "/v/site-packages/dramatiq/worker.py",
            ),
        ];
        let scene = Scene::called().stack(101, "Thread-4", &call).silence();
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn the_actors_own_coroutine_is_a_near_miss() {
        assert_eq!(stuck_in("act").silence().answer(&CAUSE), "possible");
    }

    #[test]
    fn one_that_returned_is_not_it() {
        assert_eq!(
            stuck_in("slow").completed().silence().answer(&CAUSE),
            "not applicable"
        );
        assert_eq!(
            stuck_in("slow").without(Source::WorkerLog).answer(&CAUSE),
            "cannot tell"
        );
    }

    /// Its coroutine was begun, and waits for something else.
    #[test]
    fn a_loop_that_waits_for_events_is_a_near_miss() {
        let call = [
            ("Condition.wait", "/usr/lib/python3.11/threading.py"),
            (
                "EventLoopThread.run_coroutine",
                "/v/site-packages/dramatiq/asyncio.py",
            ),
            (
                "WorkerThread.process_message",
                "/v/site-packages/dramatiq/worker.py",
            ),
        ];
        let selector = |innermost| {
            [
                (innermost, "/usr/lib/python3.11/selectors.py"),
                (
                    "BaseEventLoop._run_once",
                    "/usr/lib/python3.11/asyncio/base_events.py",
                ),
                (
                    "BaseEventLoop.run_forever",
                    "/usr/lib/python3.11/asyncio/base_events.py",
                ),
            ]
        };
        let stands = |innermost| {
            let threads: &[(&str, &[(&str, &str)])] =
                &[("Thread-4", &call), ("Thread-2", &selector(innermost))];
            Scene::called().at(3000.0).stacks(101, threads).silence()
        };
        let idle = stands("EpollSelector.select");
        assert_eq!(idle.answer(&CAUSE), "ruled out");
        assert_eq!(idle.verdict().scenario, Some(Scenario::A));
        assert_eq!(stands("read").answer(&CAUSE), "possible");
    }

    /// A coroutine that says nothing may have been entered, and the loop turn between short blocking calls.
    #[test]
    fn where_an_entry_would_not_be_seen_it_is_likely() {
        let others = "[PID 101] [Thread-5] [dramatiq.worker.WorkerThread] [DEBUG] Received message slow() with id 'm-2'.";
        let quiet = stuck_in("slow")
            .line(others)
            .setup(|setup| setup.entry_pattern = None)
            .silence();
        assert_eq!(quiet.answer(&CAUSE), "likely");
    }
}
