//! The event loop is blocked by another coroutine.

use crate::diagnosis::evidence::stacks::{self, Thread};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::{LogEvent, WITH_MIDDLEWARE};
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
    general: false,
    fails_attempt: false,
    applies_to: WITH_MIDDLEWARE,
    page: include_str!("event_loop_blocked.md"),
    check,
};

/// A function of the actor's name is on the loop's stack.
fn own_coroutine(story: &Story<'_>, n: u32, actor: &str) -> bool {
    story
        .stacks()
        .of_event(n)
        .filter(|thread| thread.is_in("run_forever"))
        .flat_map(Thread::frames)
        .any(|frame| frame.function.rsplit('.').next() == Some(actor))
}

/// The thread that called the actor waits for its coroutine's result.
fn waits_for_the_loop(story: &Story<'_>, n: u32, thread: Option<&str>) -> bool {
    let bridge = story.framework().stack.async_bridge;
    story
        .stacks()
        .of_event(n)
        .any(|stack| stack.is_still() && thread.is_none_or(|name| name == stack.name()) && stack.has(bridge))
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
        Some((n, frame)) => {
            let text = format!(
                "the event loop of pid {} sits in a blocking call: {frame}",
                called.pid.unwrap_or(0)
            );
            // The coroutine in the way may be this very actor's, which has then been entered. And a
            // plain function does not care for the loop.
            let actor = story.task().actor.unwrap_or_default();
            let itself = own_coroutine(story, n, &actor);
            if itself || actor.is_empty() {
                Answer::possible(text, [called.n, n])
            } else if waits_for_the_loop(story, n, called.line.thread.as_deref()) {
                Answer::shown(text, [called.n, n]).given([Premise::SamePidSpace])
            } else {
                Answer::likely(text, [called.n, n])
            }
        }
        None => Answer::possible(
            "the actor was called and nothing more happened: if it is async, its event loop is blocked",
            [called.n],
        )
        .would_decide(&[Source::Process]),
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
        assert_eq!(stuck_in("slow").silence().cause(), "certain event-loop-blocked");
        assert_eq!(
            stuck_in("slow").silence().without(Source::Process).answer(&CAUSE),
            "possible"
        );
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
}
