//! A hook before the actor has not returned. Whether it hangs or takes its time does not show.

use crate::diagnosis::evidence::{Fact, broker, holdups, stacks, workers};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Stand, Story};
use crate::framework::LogEvent;
use crate::timeline::Source;
use crate::units;

pub(super) const CAUSE: Cause = Cause {
    id: "blocked-before-entry",
    keeps_from: &[Stage::Entered, Stage::Received],
    owner: &[Owner::WorkerCode],
    explains: &["workers-busy", "waiting-in-worker", "worker-blocked", "backlog"],
    scenario: Some(Scenario::C),
    needs: &[&[Source::WorkerLog, Source::Process]],
    stand: Stand::Hangs,
    page: include_str!("blocked_before_entry.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if !story.acknowledges_after_the_run() {
        return in_a_child(story);
    }
    if let Some((evidence, place)) = holdups::in_hand(story, holdups::in_a_hook) {
        let text = format!(
            "the only worker thread that is at work was in a hook before the actor{}: {place}",
            after(story, evidence[0], evidence[evidence.len() - 1], "the delivery")
        );
        return Answer::likely(text, evidence);
    }
    if let Some(answer) = holdups::by_others(story, "a hook before the actor", holdups::in_a_hook) {
        return answer;
    }
    if !story.sees(Source::WorkerLog) {
        return Answer::cannot_tell(&[Source::WorkerLog]);
    }
    let Some(received) = story.line(|mark| matches!(mark, LogEvent::Received { .. })) else {
        return Answer::NotApplicable;
    };
    if let Some(called) = story.line(|mark| matches!(mark, LogEvent::Called)) {
        return Answer::ruled_out("the framework called the actor", [called.n]);
    }
    if !story.closed() || story.attempt_over().is_some() {
        return Answer::NotApplicable;
    }
    let hook = story.framework().stack.hook;
    let frame = stacks::named_hook_frame(story, received.pid, hook);
    let text =
        format!("a thread received the message and has not called the actor: it may be in a {hook} hook");
    // The log stands still, and the broker does not: it has counted the acknowledgement.
    if frame.is_none()
        && let Some(n) = broker::drained(story)
    {
        return Answer::ruled_out("nothing of its queue is unacknowledged any more", [n]);
    }
    match frame {
        Some(Fact { n, value: frame, .. }) => {
            let text = format!(
                "the worker thread was still in a hook before the actor{}: {frame}",
                after(story, received.n, n, "it received the message")
            );
            // Another thread may hang there with another message.
            if received.line.thread.is_some() && stacks::thread_of(story, n, &frame) == received.line.thread {
                Answer::shown(text, [received.n, n]).given([Premise::SamePidSpace])
            } else {
                Answer::likely(text, [received.n, n])
            }
        }
        None if workers::shows_calls(story) => {
            Answer::likely(text, [received.n]).would_decide(&[Source::Process])
        }
        None => Answer::possible(text, [received.n]).would_decide(&[Source::Process]),
    }
}

/// How long after the one event the other was seen, in words.
pub(super) fn after(story: &Story<'_>, since: u32, seen: u32, what: &str) -> String {
    let at = |n: u32| story.timeline.event(n).map(|event| event.at_ms);
    match (at(since), at(seen)) {
        (Some(since), Some(seen)) if seen > since => format!(" {} after {what}", units::span(seen - since)),
        _ => String::new(),
    }
}

/// Where no line says when a child begins, its stack does.
fn in_a_child(story: &Story<'_>) -> Answer {
    let Some(pushed) = story.line(|mark| matches!(mark, LogEvent::Pushed { .. })) else {
        return Answer::NotApplicable;
    };
    if !story.closed() || story.attempt_over().is_some() {
        return Answer::NotApplicable;
    }
    let taker = story.deliveries().last();
    let pid = taker
        .and_then(|passage| story.peer(passage.connection))
        .map(|peer| peer.value);
    let Some(hook) = stacks::hook_frame(story, pid) else {
        return Answer::NotApplicable;
    };
    let (frame, evidence) = (&*hook, [pushed.n, hook.n]);
    if story.may_stand_after_the_actor() {
        return Answer::possible(
            format!("a child is in a handler of a signal, before the task's function or after it: {frame}"),
            evidence,
        );
    }
    let text = format!("a child is in a handler of a signal, outside of any task: {frame}");
    // It may be another message's, or come after one.
    match workers::running_others(story).is_empty() {
        true => Answer::likely(text, evidence),
        false => Answer::possible(text, evidence),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Scene, WORKER};

    const HOOK: &[(&str, &str)] = &[
        ("Hook.before_process_message", "/app/hooks.py"),
        (
            "WorkerThread.process_message",
            "/v/site-packages/dramatiq/worker.py",
        ),
    ];

    #[test]
    fn its_thread_stands_in_a_hook() {
        let scene = Scene::received().stack(101, "Thread-4", HOOK).silence();
        assert_eq!(scene.cause(), "certain blocked-before-entry");
        assert_eq!(scene.without(Source::Process).answer(&CAUSE), "possible");
    }

    #[test]
    fn another_threads_hook_is_a_near_miss() {
        let scene = Scene::received().stack(101, "Thread-5", HOOK).silence();
        assert_eq!(scene.answer(&CAUSE), "likely");
    }

    #[test]
    fn where_calls_are_logged_their_absence_says_something() {
        let scene = Scene::new()
            .line("[PID 101] [Thread-5] [app.act] [DEBUG] Received args=() kwargs={}.")
            .submitted()
            .row("PENDING")
            .publish("default")
            .deliver(WORKER)
            .debug(
                "dramatiq.worker.WorkerThread",
                "Received message act('task_1') with id 'm-1'.",
            );
        assert_eq!(scene.silence().answer(&CAUSE), "likely");
        assert_eq!(Scene::called().silence().answer(&CAUSE), "ruled out");
        assert_eq!(
            Scene::received().without(Source::WorkerLog).answer(&CAUSE),
            "cannot tell"
        );
    }

    /// A slow hook looks the same: what is said is how long it was there.
    #[test]
    fn that_it_hangs_is_not_said() {
        let seen = Scene::received()
            .at(5000.0)
            .stack(101, "Thread-4", HOOK)
            .silence();
        let summary = seen.summary();
        assert_eq!(seen.cause(), "certain blocked-before-entry");
        assert!(summary.contains(" s after it received the message"), "{summary}");
        assert!(!summary.contains("hang"), "{summary}");
        let unseen = Scene::received().silence();
        assert_eq!(unseen.answer(&CAUSE), "possible");
        assert!(!unseen.summary().contains("it hangs"), "{}", unseen.summary());
    }

    /// A log below DEBUG says nothing; where other threads are free, the one that is at work has the message.
    #[test]
    fn the_only_thread_at_work_has_it() {
        let scene = |threads: &str, stacks: &[(&str, &[(&str, &str)])]| {
            Scene::quiet(|scene| scene)
                .process(
                    101,
                    100,
                    &format!("/v/bin/dramatiq -t {threads} app.worker"),
                    |_| (),
                )
                .totals("default", 0, 1, serde_json::json!({}))
                .stacks(101, stacks)
                .silence()
        };
        let hook = [
            HOOK[0],
            ("emit_before", "/v/site-packages/dramatiq/broker.py"),
            HOOK[1],
        ];
        let one: (&str, &[(&str, &str)]) = ("Thread-4", &hook);
        let seen = scene("2", &[one]);
        assert_eq!(seen.cause(), "likely blocked-before-entry");
        assert_eq!(seen.verdict().cause.and_then(|cause| cause.of), None);
        // It may wait behind that one, or be another's.
        assert_ne!(scene("1", &[one]).answer(&CAUSE), "likely");
        assert_ne!(scene("4", &[one, ("Thread-5", &hook)]).answer(&CAUSE), "likely");
    }
}
