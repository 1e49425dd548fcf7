//! The coroutine is over, and the framework goes on asking for its result.

use crate::diagnosis::evidence::stacks::{self, Thread};
use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "timeout-error-lost",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::WorkerCode],
    explains: &["actor-still-running"],
    needs: &[&[Source::Process], &[Source::WorkerLog]],
    page: include_str!("timeout_error_lost.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let Some(releases) = story.framework().stack.lost_timeout else {
        return Answer::NotApplicable;
    };
    let last = story.lines().iter().rfind(|told| {
        told.mark.is_some_and(|mark| mark.ends_run())
            || matches!(told.mark, Some(LogEvent::Called | LogEvent::Received { .. }))
    });
    let called = last.filter(|told| matches!(told.mark, Some(LogEvent::Called)));
    let Some((called, pid)) = called.and_then(|told| Some((told, told.pid?))) else {
        return Answer::NotApplicable;
    };
    if !story.closed() || story.attempt_over().is_some() {
        return Answer::NotApplicable;
    }
    let threads: Vec<Thread<'_>> = stacks::last_dump(story, pid).collect();
    let bridge = story.framework().stack.async_bridge;
    // One that waits for a result stands in a lock; this one asks, and gets its answer at once.
    let asks = |thread: &&Thread<'_>| {
        let innermost = thread.frames().first();
        called.line.thread.as_deref() == Some(thread.name())
            && thread.has(bridge)
            && innermost.is_some_and(|frame| !frame.file.ends_with("threading.py"))
    };
    let idle = |thread: &&Thread<'_>| {
        let innermost = thread.frames().first();
        thread.is_in("run_forever")
            && thread.is_still()
            && innermost.is_some_and(|frame| frame.file.ends_with("selectors.py"))
    };
    let asking = threads.iter().find(asks);
    match (asking, threads.iter().any(|thread| idle(&thread))) {
        (Some(thread), true) => Answer::likely(
            format!(
                "the event loop of pid {pid} has nothing to do, and {} asks for the coroutine's result without a pause: it raised TimeoutError, which {releases} takes for its own",
                thread.name()
            ),
            [called.n, thread.n],
        ),
        _ => Answer::NotApplicable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    fn dump(innermost: (&str, &str), of_loop: (&str, &str)) -> Scene {
        let worker = [
            innermost,
            ("run_coroutine", "/v/site-packages/dramatiq/asyncio.py"),
            ("__call__", "/v/site-packages/dramatiq/actor.py"),
            ("process_message", "/v/site-packages/dramatiq/worker.py"),
        ];
        let waits = [
            of_loop,
            ("run_forever", "/usr/lib/python3.11/asyncio/base_events.py"),
        ];
        Scene::entered().stacks(101, &[("Thread-4", &worker), ("Thread-1", &waits)])
    }

    const ASKS: (&str, &str) = ("result", "/usr/lib/python3.11/concurrent/futures/_base.py");
    const WAITS: (&str, &str) = ("wait", "/usr/lib/python3.11/threading.py");
    const IDLE: (&str, &str) = ("select", "/usr/lib/python3.11/selectors.py");

    #[test]
    fn it_asks_without_a_pause() {
        let scene = dump(ASKS, IDLE).timeout();
        assert_eq!(scene.cause(), "likely timeout-error-lost");
        assert_eq!(scene.without(Source::Process).answer(&CAUSE), "cannot tell");
        assert_eq!(scene.without(Source::WorkerLog).answer(&CAUSE), "cannot tell");
    }

    #[test]
    fn one_that_waits_or_a_busy_loop_is_a_near_miss() {
        assert_eq!(dump(WAITS, IDLE).timeout().answer(&CAUSE), "not applicable");
        let busy = dump(ASKS, ("sleep", "/app/prices.py")).timeout();
        assert_eq!(busy.answer(&CAUSE), "not applicable");
        let over = dump(ASKS, IDLE).completed().timeout();
        assert_eq!(over.answer(&CAUSE), "not applicable");
    }
}
