//! All consumers are full.

use crate::diagnosis::evidence::{
    Fact, broker, busy, connections, control, holding, holdups, retries, stacks, workers,
};
use crate::diagnosis::{Answer, Cause, Certainty, Owner, Scenario, Stage, Stand, Story};
use crate::framework::Delays;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "workers-busy",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::Wait],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Queue]],
    stand: Stand::Waits,
    page: include_str!("workers_busy.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let Some(depth) = story.depths_since(story.queue()).last().copied() else {
        return Answer::NotApplicable;
    };
    let waits = retries::is_on_the_queue(story) || story.waits_by_assumption;
    if !story.closed() || !waits || depth.consumers == 0 || depth.ready == 0 {
        return Answer::NotApplicable;
    }
    // Full before the publish and not a message more after it: it is not among those that wait.
    if broker::did_not_grow(story) {
        return Answer::NotApplicable;
    }
    let running = workers::running_others(story);
    if let Some(answer) = are_free(story, &running) {
        return answer;
    }
    // A slot may be taken by what does not run: then nobody waits for those that do.
    let room = control::have_room(story);
    let slots = broker::slots(story);
    // A queue that drops or expires messages may not hold this one any more.
    let kept = broker::saw_every_publish(story) && !broker::may_lose_messages(story);
    let what = what_runs(story, &running, depth.consumers);
    // What a worker has received may as well wait for its time.
    let unseen = may_wait_for_their_time(story) && !runs_something(story);
    // A thread that has received a message may hang before its actor: only its stack shows that it is at work.
    let (were_seen, at_work) = threads_of_the_consumers(story);
    let what = match unseen || !at_work {
        true => what.replace("; running: ", "; received, and not ended: "),
        false => what,
    };
    let mut evidence = vec![depth.n];
    evidence.extend(running.iter().map(|actor| actor.n).take(4));
    match slots {
        Some(slots) if slots.are_taken() => {
            evidence.extend(slots.evidence);
            evidence.extend(room);
            let what = match room {
                Some(_) => format!("{what}; each worker has room for another task, by its own word"),
                None => what,
            };
            // A client that is no worker may hold the queue for itself: more workers would not help.
            let by_workers = slots
                .connections
                .iter()
                .all(|connection| workers::is_a_workers(story, connection));
            let certainty = if slots.counted
                && kept
                && by_workers
                && were_seen
                && !broker::shrank(story)
                && !may_wait_for_their_time(story)
            {
                Certainty::Certain
            } else if unseen || room.is_some() {
                Certainty::Possible
            } else {
                Certainty::Likely
            };
            let text = format!(
                "every prefetch slot is taken: {} unacknowledged of {}, {} ready behind them{what}",
                slots.unacked, slots.prefetch, depth.ready
            );
            match were_seen || unseen {
                true => Answer::matched(certainty, text, evidence),
                false => {
                    let text = format!("{text}; where their threads stand was not seen: they may hang");
                    Answer::matched(certainty, text, evidence)
                        .owned_by(Some(&[Owner::Wait, Owner::WorkerCode]))
                        .would_decide(&[Source::Process])
                }
            }
        }
        Some(slots) if slots.counted => Answer::ruled_out(
            format!(
                "{} unacknowledged of {} prefetch slots",
                slots.unacked, slots.prefetch
            ),
            slots.evidence,
        ),
        _ if !running.is_empty() && unseen => {
            Answer::possible(nothing_more(depth.consumers, &what), evidence)
                .would_decide(&[Source::Management, Source::Control])
        }
        _ if !running.is_empty() => {
            Answer::likely(nothing_more(depth.consumers, &what), evidence).would_decide(&[Source::Management])
        }
        _ => Answer::cannot_tell(&[Source::Management]),
    }
}

/// What refutes that they are at work, each on a task of its own.
fn are_free(story: &Story<'_>, running: &[Fact<&str>]) -> Option<Answer> {
    if let Some(refused) = connections::refused_for_an_exclusive(story) {
        return Some(Answer::ruled_out(
            "the queue is held exclusively: whoever is added is refused",
            [refused.n],
        ));
    }
    if let Some(n) = holding::still_moves(story) {
        return Some(Answer::ruled_out("others go on being delivered", [n]));
    }
    if let Some(n) = control::run_nothing(story) {
        return Some(Answer::ruled_out("no worker runs anything, by its own word", [n]));
    }
    let began = running.iter().map(|other| other.at_ms).reduce(f64::max)?;
    let n = story.is_counted_by_none(began)?;
    Some(Answer::ruled_out(
        "no worker that consumes the queue counts a task that it runs",
        [n],
    ))
}

/// What the workers run, for the end of a sentence. What a master has in hand beyond the number of its children waits
/// inside the worker.
fn what_runs(story: &Story<'_>, running: &[Fact<&str>], consumers: u64) -> String {
    let at_once = busy::slots(story, None)
        .filter(|_| consumers == 1 && story.master_takes())
        .map_or(running.len(), |(_, slots)| slots.min(running.len()));
    let names: Vec<&str> = running.iter().map(|actor| actor.value).collect();
    match names.split_at(at_once) {
        ([], _) => String::new(),
        (run, []) => format!("; running: {}", run.join(", ")),
        (run, held) => format!("; running: {}, and {} in hand", run.join(", "), held.len()),
    }
}

fn nothing_more(consumers: u64, what: &str) -> String {
    match consumers {
        1 => format!("1 consumer, which has taken no other message{what}"),
        many => format!("{many} consumers, and none has taken another message{what}"),
    }
}

/// Where workers keep what is delayed, a slot that is taken may be a message that waits for its time.
fn may_wait_for_their_time(story: &Story<'_>) -> bool {
    story.framework().delays == Delays::InWorker
}

/// A worker says that it runs something, or stands in the application's code.
fn runs_something(story: &Story<'_>) -> bool {
    says_that_it_runs(story) || stacks::any_own_frame(story)
}

fn says_that_it_runs(story: &Story<'_>) -> bool {
    control::answers(story).any(|answer| answer.active.iter().flatten().next().is_some())
}

/// Whether threads of the workers that consume the queue were seen, and one of them in an actor's call, whoever's it is.
fn threads_of_the_consumers(story: &Story<'_>) -> (bool, bool) {
    if says_that_it_runs(story) {
        return (true, true);
    }
    let shape = &story.framework().stack;
    let consumers = holdups::consumers(story).into_iter();
    let pids = consumers.flat_map(|(_, pid)| stacks::pids_of(story, pid));
    let mut threads = pids
        .flat_map(|pid| stacks::last_dump(story, pid))
        .filter(|thread| thread.has(shape.worker_loop))
        .peekable();
    let were_seen = threads.peek().is_some();
    (were_seen, threads.any(|thread| thread.call(shape).is_some()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Scene, WORKER};
    use crate::timeline::EventKind;
    use serde_json::json;

    fn full() -> Scene {
        Scene::new()
            .worker_booted()
            .depth("default", 0, 1)
            .debug(
                "dramatiq.worker.WorkerThread",
                "Received message slow() with id 'other'.",
            )
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 3, 1)
            .consumers(&[("default", WORKER, 4)])
            .totals("default", 3, 4, json!({}))
    }

    /// Celery: with two children two run, whatever more the master has received.
    #[test]
    fn no_more_run_than_there_are_children() {
        use crate::diagnosis::causes::celery::scenes::CeleryScene;
        let held = |many: usize| {
            let mut scene = CeleryScene::waiting(1);
            for other in 0..many {
                let id = format!("{other}1111111-7a09-4a1f-9d2c-0d5e3c0b7f11");
                scene = scene.info(&format!("Task shop.tasks.slow[{id}] received"));
            }
            let scene = scene.silence();
            match check(&Story::new(&scene.timeline)) {
                Answer::Matched(matched) => matched.summary,
                _ => String::new(),
            }
        };
        let three = held(3);
        assert!(
            three.ends_with(": shop.tasks.slow, shop.tasks.slow, and 1 in hand"),
            "{three}"
        );
        assert!(
            held(2).ends_with(": shop.tasks.slow, shop.tasks.slow"),
            "{}",
            held(2)
        );
    }

    /// Celery: what its children stand in is the reason, where the message is still on its queue. Whose consumer that
    /// is, the name of its node says.
    #[test]
    fn children_that_stand_in_other_tasks_are_the_reason() {
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OTHERS};
        const TRACE: &str = "/v/site-packages/celery/app/trace.py";
        let stand = |children: &[i32]| {
            let other = format!("Task shop.tasks.slow[{OTHERS}] received");
            let mut scene = CeleryScene::waiting(1)
                .info(&other)
                .info(&other.replace('1', "3"))
                .and(|scene| scene.consumers(&[("celery", "c-1", 2), ("celery@vm.celery.pidbox", "c-1", 0)]))
                .beats_as(100);
            for child in children {
                scene = scene.and(|scene| {
                    let frames = [
                        ("charge", "/app/billing.py"),
                        ("__protected_call__", TRACE),
                        ("trace_task", TRACE),
                    ];
                    let command = "python celery -A shop worker -l INFO";
                    let scene = scene.process(*child, 100, command, |_| {});
                    scene.stack(*child, "MainThread", &frames)
                });
            }
            scene.silence()
        };
        let both = stand(&[101, 102]);
        assert_eq!(both.cause(), "likely actor-still-running", "{}", both.summary());
        assert!(both.summary().contains("2 of 2 children"), "{}", both.summary());
        assert!(
            stand(&[]).cause().ends_with(" workers-busy"),
            "{}",
            stand(&[]).cause()
        );
    }

    /// Of eight threads one is at work: the others are free, as far as that shows.
    fn at_work() -> Scene {
        held_up("8", 1)
    }

    #[test]
    fn every_slot_is_taken() {
        assert_eq!(at_work().cause(), "certain workers-busy");
        assert!(
            at_work().summary().contains("; running: "),
            "{}",
            at_work().summary()
        );
        assert_eq!(full().answer(&CAUSE), "not applicable");
    }

    /// They may hang in a hook: nobody is told only to wait.
    #[test]
    fn where_their_threads_stand_decides_whether_they_are_at_work() {
        let unseen = full().silence().verdict().cause.expect("a cause");
        assert_eq!(
            (unseen.id.as_str(), unseen.certainty),
            ("workers-busy", Certainty::Likely)
        );
        assert_eq!(unseen.owner, [Owner::Wait, Owner::WorkerCode]);
        assert!(unseen.summary.contains("they may hang"), "{}", unseen.summary);
        assert!(!unseen.summary.contains("running"), "{}", unseen.summary);
        let seen = at_work().verdict().cause.expect("a cause");
        assert_eq!(seen.owner, [Owner::Wait]);
    }

    const IN_A_CALL: &[(&str, &str)] = &[
        ("recv_into", "/usr/lib/python3.11/ssl.py"),
        ("charge", "/app/billing.py"),
        ("__call__", "/v/site-packages/dramatiq/actor.py"),
        ("process_message", "/v/site-packages/dramatiq/worker.py"),
    ];

    /// A worker with `threads` threads, of which these many stand in another task's actor.
    fn held_up(threads: &str, standing: usize) -> Scene {
        let command = format!("/v/bin/dramatiq -t {threads} app.worker");
        let scene = full().peer(WORKER, 101).process(101, 100, &command, |_| ());
        let names = ["Thread-4", "Thread-5"];
        let standing: Vec<_> = names[..standing].iter().map(|name| (*name, IN_A_CALL)).collect();
        scene.stacks(101, &standing).silence()
    }

    #[test]
    fn what_others_stand_in_is_the_reason() {
        let verdict = held_up("2", 2).verdict();
        let cause = verdict.cause.unwrap();
        assert_eq!(cause.id, "actor-still-running");
        assert_eq!(cause.certainty, Certainty::Certain);
        assert_eq!(cause.of.unwrap().pid, Some(101));
        assert_eq!(cause.explains[0].id, "workers-busy");
        assert!(cause.summary.contains("charge"), "{}", cause.summary);
        assert_eq!(verdict.scenario, Some(Scenario::C));
    }

    #[test]
    fn one_free_thread_is_a_near_miss() {
        assert_eq!(held_up("2", 1).cause(), "certain workers-busy");
        assert_eq!(held_up("8", 2).cause(), "certain workers-busy");
    }

    #[test]
    fn a_free_slot_excludes_it() {
        let scene = full().totals("default", 3, 3, json!({})).silence();
        assert_eq!(scene.answer(&CAUSE), "ruled out");
    }

    #[test]
    fn a_late_list_or_a_queue_that_loses_messages_is_only_likely() {
        assert_eq!(full().depth("default", 3, 2).silence().answer(&CAUSE), "likely");
        let limited = full()
            .totals("default", 3, 4, json!({ "x-message-ttl": 500 }))
            .silence();
        assert_eq!(limited.answer(&CAUSE), "likely");
        let missed = full()
            .see(Source::Firehose, EventKind::Missed { events: 3 })
            .silence();
        assert_eq!(missed.answer(&CAUSE), "likely");
    }

    #[test]
    fn without_management_the_log_shows_what_runs() {
        let scene = full().silence().without(Source::Management);
        assert_eq!(scene.cause(), "likely workers-busy");
        assert_eq!(scene.without(Source::WorkerLog).answer(&CAUSE), "cannot tell");
    }
}
