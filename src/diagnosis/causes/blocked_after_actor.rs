//! A hook after the actor has not returned: the actor is done, and the message is not acknowledged.

use super::blocked_before_entry::after;
use crate::diagnosis::evidence::holdups;
use crate::diagnosis::evidence::stacks::{self, Thread};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "blocked-after-actor",
    keeps_from: &[Stage::Finished, Stage::Settled],
    owner: &[Owner::WorkerCode],
    explains: &[
        "actor-still-running",
        "row-never-written",
        "workers-busy",
        "waiting-in-worker",
        "worker-blocked",
        "backlog",
    ],
    needs: &[&[Source::Process]],
    page: include_str!("blocked_after_actor.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if let Some(answer) = holdups::by_others(story, "a hook after the actor", holdups::after_the_actor) {
        return answer;
    }
    let shape = &story.framework().stack;
    if !story.closed() || story.attempt_over().is_some() {
        return Answer::NotApplicable;
    }
    let last = story.lines().iter().rfind(|told| {
        matches!(
            told.mark,
            Some(LogEvent::Completed | LogEvent::Called | LogEvent::Received { .. })
        )
    });
    let completed = last.filter(|told| matches!(told.mark, Some(LogEvent::Completed)));
    let taker = story
        .deliveries()
        .last()
        .and_then(|passage| story.peer(passage.connection));
    let pid = completed
        .and_then(|told| told.pid)
        .or(taker.map(|peer| peer.value));
    let Some(pid) = pid else {
        return Answer::NotApplicable;
    };
    let hanging: Vec<Thread<'_>> = stacks::last_dump(story, pid)
        .filter(|thread| stacks::is_after_call(shape, *thread))
        .collect();
    let text = |place: &str, since: Option<u32>, seen: u32| {
        let later = since.map_or(String::new(), |since| after(story, since, seen, "its return"));
        format!("the actor is done, and a hook after it was still running{later}: {place}")
    };
    // Whoever tells of a call tells of its end, too.
    let begun_or_done = last.filter(|told| !matches!(told.mark, Some(LogEvent::Called)));
    let own = begun_or_done.and_then(|told| {
        let is_its = |thread: &&Thread<'_>| told.line.thread.as_deref() == Some(thread.name());
        Some((told, *hanging.iter().find(is_its)?))
    });
    if let Some((told, thread)) = own {
        // Without a line of the return nothing says when that was.
        let since = completed.map(|told| told.n);
        let text = text(&stacks::place(shape, thread), since, thread.n);
        return Answer::shown(
            format!("{text}; its message is not acknowledged"),
            [told.n, thread.n],
        )
        .given([Premise::SamePidSpace]);
    }
    match completed {
        // The log does not name its threads. Acknowledgements take a moment, and are written at DEBUG only.
        Some(told) => match hanging.first().filter(|_| told.line.thread.is_none()) {
            Some(thread) => {
                let place = stacks::place(shape, *thread);
                Answer::likely(text(&place, Some(told.n), thread.n), [told.n, thread.n])
            }
            None => Answer::NotApplicable,
        },
        // Below DEBUG nothing says that the actor returned: the process has this message only.
        None => {
            let alone = story
                .infos(story.queue())
                .last()
                .filter(|info| info.unacked == Some(1));
            match (alone, hanging.as_slice(), taker) {
                (Some(info), [thread], Some(peer)) if !story.debug_log() => Answer::likely(
                    text(&stacks::place(shape, *thread), None, thread.n),
                    [peer.n, info.n, thread.n],
                ),
                _ => Answer::NotApplicable,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;
    use serde_json::json;

    const HOOK: &[(&str, &str)] = &[
        ("after_process_message", "/app/audit.py"),
        ("emit_after", "/v/site-packages/dramatiq/broker.py"),
        ("process_message", "/v/site-packages/dramatiq/worker.py"),
    ];

    #[test]
    fn completed_and_still_in_a_hook() {
        let scene = Scene::entered()
            .completed()
            .stack(101, "Thread-4", HOOK)
            .timeout();
        assert_eq!(scene.cause(), "certain blocked-after-actor");
        assert!(!scene.summary().contains("hang"), "a slow one looks the same");
        assert!(scene.summary().contains("audit.py"), "{}", scene.summary());
        assert_eq!(scene.without(Source::Process).answer(&CAUSE), "cannot tell");
    }

    /// The actor's logger says less than the framework's: its thread is known by the line that it took the message.
    #[test]
    fn where_no_call_is_told_the_thread_that_took_it_shows_it() {
        let scene = |thread: &str| {
            let scene = Scene::received().info("app", "ACTOR ENTRY task_id=task_1");
            scene.stack(101, thread, HOOK).timeout()
        };
        assert_eq!(scene("Thread-4").cause(), "certain blocked-after-actor");
        assert_eq!(scene("Thread-9").answer(&CAUSE), "not applicable");
        let settled = Scene::received().acked("m-1").stack(101, "Thread-4", HOOK);
        assert_eq!(settled.timeout().answer(&CAUSE), "not applicable");
    }

    /// The store of results, and nothing of the application on the stack.
    #[test]
    fn a_library_after_the_actor_counts() {
        let results = &[
            ("recv", "/usr/lib/python3.11/socket.py"),
            ("store", "/v/site-packages/redis/client.py"),
            (
                "after_process_message",
                "/v/site-packages/dramatiq/results/middleware.py",
            ),
            ("emit_after", "/v/site-packages/dramatiq/broker.py"),
            ("process_message", "/v/site-packages/dramatiq/worker.py"),
        ];
        let scene = Scene::entered()
            .completed()
            .stack(101, "Thread-4", results)
            .timeout();
        assert_eq!(scene.cause(), "certain blocked-after-actor");
        assert!(scene.summary().contains("redis/client.py"), "{}", scene.summary());
    }

    #[test]
    fn another_thread_a_settled_message_or_the_actor_itself_is_a_near_miss() {
        let other = Scene::entered()
            .completed()
            .stack(101, "Thread-9", HOOK)
            .timeout();
        assert_eq!(other.answer(&CAUSE), "not applicable");
        let settled = Scene::entered()
            .completed()
            .acked("m-1")
            .stack(101, "Thread-4", HOOK)
            .timeout();
        assert_eq!(settled.answer(&CAUSE), "not applicable");
        let running = Scene::entered().stack(101, "Thread-4", HOOK).timeout();
        assert_eq!(running.answer(&CAUSE), "not applicable");
        let actor = &[
            ("act", "/app/tasks.py"),
            ("__call__", "/v/site-packages/dramatiq/actor.py"),
            ("process_message", "/v/site-packages/dramatiq/worker.py"),
        ];
        let actor = Scene::entered()
            .completed()
            .stack(101, "Thread-4", actor)
            .timeout();
        assert_eq!(actor.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn without_debug_lines_the_only_message_in_hand_is_likely_ours() {
        let quiet = |unacked| {
            Scene::published()
                .deliver(crate::diagnosis::testing::WORKER)
                .worker_process(&[crate::diagnosis::testing::WORKER])
                .peer(crate::diagnosis::testing::WORKER, 101)
                .info("app", "ACTOR ENTRY task_id=task_1")
                .totals("default", 0, unacked, json!({}))
                .stack(101, "Thread-4", HOOK)
                .timeout()
        };
        assert_eq!(quiet(1).answer(&CAUSE), "likely");
        assert_eq!(quiet(2).answer(&CAUSE), "not applicable");
    }
}
