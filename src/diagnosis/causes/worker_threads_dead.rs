//! The worker process lives, and none of its worker threads does.

use std::collections::BTreeSet;

use crate::diagnosis::evidence::{WorkerLine, broker, holding, threads, workers};
use crate::diagnosis::{Answer, Cause, Claim, Owner, Scenario, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "worker-threads-dead",
    keeps_from: &[Stage::Received],
    owner: &[Owner::WorkerCode],
    explains: &["workers-busy", "waiting-in-worker", "worker-blocked", "backlog"],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog, Source::Process]],
    claims: &[Claim::IsAlive],
    page: include_str!("worker_threads_dead.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    holding::unless_done_with(story, find(story))
}

fn find(story: &Story<'_>) -> Answer {
    if !story.closed() || is_stopping(story) {
        return Answer::NotApplicable;
    }
    // It was done with before they died.
    if let Some(drained) = broker::drained(story) {
        return Answer::ruled_out("the broker holds the message no more", [drained]);
    }
    for (pid, mut evidence) in holders(story) {
        let deaths = threads::deaths(story, pid);
        if let Some(dump) = threads::all_dead(story, pid) {
            evidence.extend(dump);
            let text = format!("pid {pid} lives and has no worker thread left{}", why(&deaths));
            evidence.extend(deaths.iter().map(|(_, told)| told.n).take(4));
            // Why none is left is known by the words of those that died; without them it may be a stack
            // that was read in part.
            return match deaths.is_empty() {
                false => Answer::shown(text, evidence),
                true => Answer::likely(text, evidence),
            };
        }
        // The stacks could not be read: as many died as there were.
        let names: BTreeSet<&str> = deaths.iter().map(|(name, _)| *name).collect();
        if let Some(threads) = workers::threads_of(story, pid)
            && story.stacks().dumps().all(|dump| dump.pid != pid)
            && names.len() >= threads.value
        {
            evidence.push(threads.n);
            evidence.extend(deaths.iter().map(|(_, told)| told.n).take(4));
            let count = threads.value;
            let text = format!("all {count} worker threads of pid {pid} died{}", why(&deaths));
            return Answer::likely(text, evidence).would_decide(&[Source::Process]);
        }
    }
    Answer::NotApplicable
}

/// A worker that was told to stop ends its threads in peace.
fn is_stopping(story: &Story<'_>) -> bool {
    let stops = |told: &WorkerLine<'_>| {
        story.counts(told) && matches!(told.mark, Some(LogEvent::Stopping | LogEvent::ShutDown))
    };
    story.worker_lines().iter().any(stops)
}

/// Whoever has our message, or else everybody who consumes its queue: pid, and what shows it.
fn holders(story: &Story<'_>) -> Vec<(i32, Vec<u32>)> {
    let live = |pid: i32| story.gone(pid).is_none();
    if let Some(passage) = story.deliveries().last() {
        let peer = story.peer(passage.connection).filter(|peer| live(peer.value));
        return peer
            .map(|peer| (peer.value, vec![passage.n, peer.n]))
            .into_iter()
            .collect();
    }
    let Some(consumers) = story.consumers() else {
        return Vec::new();
    };
    let depth = story.depths_since(story.queue()).last().map(|depth| depth.n);
    let ours = consumers
        .iter()
        .filter(|consumer| consumer.queue == story.queue());
    let found: Vec<(i32, Vec<u32>)> = ours
        .filter_map(|consumer| {
            let peer = story.peer(&consumer.connection)?;
            let evidence = depth.into_iter().chain([consumers.n, peer.n]).collect();
            live(peer.value).then_some((peer.value, evidence))
        })
        .collect();
    // One that works would take it in the end.
    let all = found
        .iter()
        .all(|(pid, _)| threads::all_dead(story, *pid).is_some());
    if all { found } else { Vec::new() }
}

/// What ended the last of them.
fn why(deaths: &[(&str, WorkerLine<'_>)]) -> String {
    let Some((_, last)) = deaths.last() else {
        return String::new();
    };
    let names: BTreeSet<&str> = deaths.iter().map(|(name, _)| *name).collect();
    let names: Vec<&str> = names.into_iter().take(4).collect();
    let exception = last.exception().unwrap_or_default();
    format!(": {} ended with {exception}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{OTHER, Scene, WORKER};

    const FETCHES: &[(&str, &str)] = &[
        ("consume", "/v/site-packages/pika/adapters/blocking_connection.py"),
        ("__next__", "/v/site-packages/dramatiq/brokers/rabbitmq.py"),
        ("run", "/v/site-packages/dramatiq/worker.py"),
    ];
    const WAITS: &[(&str, &str)] = &[
        ("get", "/usr/lib/python3.11/queue.py"),
        ("run", "/v/site-packages/dramatiq/worker.py"),
    ];
    const DEATH: &str = "Exception in thread Thread-6:\nTraceback (most recent call last):\n  File \"/usr/lib/python3.11/threading.py\", line 1045, in _bootstrap_inner\n    self.run()\n  File \"/v/site-packages/dramatiq/worker.py\", line 536, in run\n    self.process_message(message)\n  File \"/v/site-packages/dramatiq/worker.py\", line 607, in process_message\n    self.consumers[message.queue_name]\nKeyError: 'emails'";

    const NONE_LEFT: &[(&str, &[(&str, &str)])] = &[("Thread-2", FETCHES), ("Thread-3", FETCHES)];

    #[test]
    fn only_those_that_fetch_are_left() {
        let scene = Scene::delivered()
            .plain(None, DEATH)
            .stacks(101, NONE_LEFT)
            .silence();
        assert_eq!(scene.cause(), "certain worker-threads-dead");
        assert!(
            scene.summary().contains("KeyError: 'emails'"),
            "{}",
            scene.summary()
        );
        let quiet = Scene::delivered().stacks(101, NONE_LEFT).silence();
        assert_eq!(quiet.cause(), "likely worker-threads-dead");
        let unread = Scene::delivered()
            .plain(None, DEATH)
            .plain(None, &DEATH.replace("Thread-6", "Thread-7"))
            .silence();
        assert_eq!(unread.cause(), "likely worker-threads-dead");
        let blind = scene.without(Source::WorkerLog).without(Source::Process);
        assert_eq!(blind.answer(&CAUSE), "cannot tell");
    }

    #[test]
    fn one_that_waits_for_work_is_a_near_miss() {
        let one_left: &[(&str, &[(&str, &str)])] =
            &[("Thread-2", FETCHES), ("Thread-3", FETCHES), ("Thread-7", WAITS)];
        let scene = Scene::delivered()
            .plain(None, DEATH)
            .stacks(101, one_left)
            .silence();
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn one_whose_actor_publishes_is_a_near_miss() {
        let publishes: &[(&str, &str)] = &[
            ("enqueue", "/v/site-packages/dramatiq/brokers/rabbitmq.py"),
            ("act", "/app/tasks.py"),
            ("process_message", "/v/site-packages/dramatiq/worker.py"),
        ];
        let one_left: &[(&str, &[(&str, &str)])] = &[
            ("Thread-2", FETCHES),
            ("Thread-3", FETCHES),
            ("Thread-7", publishes),
        ];
        let scene = Scene::delivered()
            .plain(None, DEATH)
            .stacks(101, one_left)
            .silence();
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }

    /// Greenlets: the one that runs is the only one to be seen.
    #[test]
    fn one_thread_for_all_greenlets_is_a_near_miss() {
        let scene = Scene::delivered()
            .stacks(101, &[("MainThread", FETCHES)])
            .silence();
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn a_thread_of_the_application_that_died_is_a_near_miss() {
        let of_theirs = "Exception in thread poller:\nTraceback (most recent call last):\n  File \"/app/poll.py\", line 5, in run\n    x\nKeyError: 'emails'";
        let scene = Scene::delivered()
            .plain(None, of_theirs)
            .plain(None, of_theirs)
            .silence();
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn a_worker_that_stops_is_a_near_miss() {
        let stopped = "[PID 101] [MainThread] [dramatiq.WorkerProcess(0)] [INFO] Stopping worker process...";
        let scene = Scene::delivered().line(stopped).stacks(101, NONE_LEFT).silence();
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn another_consumer_that_lives_is_a_near_miss() {
        let two = Scene::published()
            .peer(WORKER, 101)
            .other_worker()
            .stacks(101, NONE_LEFT)
            .consumers(&[("default", WORKER, 2), ("default", OTHER, 2)])
            .depth("default", 1, 2)
            .silence();
        assert_eq!(two.answer(&CAUSE), "not applicable");
    }

    /// The threads of another process died, and this one's stack may have been read in part.
    #[test]
    fn deaths_in_another_process_say_nothing() {
        let died = |pid: i32| {
            let text = format!("[PID {pid}] [Thread-6] [app] [ERROR] {DEATH}");
            let scene = Scene::delivered().line(&text).stacks(101, NONE_LEFT);
            scene.silence().answer(&CAUSE)
        };
        assert_eq!(died(101), "certain");
        assert_eq!(died(102), "likely");
    }

    #[test]
    fn a_message_that_is_settled_waits_for_no_thread() {
        let counted = |unacked: u64| {
            let scene = Scene::delivered()
                .plain(None, DEATH)
                .stacks(101, NONE_LEFT)
                .totals("default", 0, unacked, serde_json::json!({}));
            scene.silence().answer(&CAUSE)
        };
        assert_eq!(counted(1), "certain");
        assert_eq!(counted(0), "ruled out");
    }
}
