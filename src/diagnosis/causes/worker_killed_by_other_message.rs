//! A message of another task ends the worker each time it is taken, and ours waits behind it.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnosis::evidence::WorkerLine;
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Certainty, Owner, Scenario, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::{Source, exit_words};

pub(super) const CAUSE: Cause = Cause {
    id: "worker-killed-by-other-message",
    keeps_from: &[Stage::Delivered, Stage::Received],
    owner: &[Owner::WorkerCode],
    explains: &[
        "worker-crash-loop",
        "no-consumer",
        "crash-before-entry",
        "redelivery-loop",
    ],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog]],
    page: include_str!("worker_killed_by_other_message.md"),
    check,
    ..Cause::DEFAULT
};

/// One end of a worker process, and what it had in its hands: message, actor, the line that says so.
struct Death<'a> {
    n: u32,
    code: i32,
    had: BTreeMap<&'a str, (&'a str, u32)>,
}

fn check(story: &Story<'_>) -> Answer {
    if !story.closed() {
        return Answer::NotApplicable;
    }
    let deaths = deaths(story);
    let (Some(first), Some(last)) = (deaths.first(), deaths.last()) else {
        return Answer::NotApplicable;
    };
    let each_time: BTreeSet<&str> = first
        .had
        .keys()
        .copied()
        .filter(|id| deaths.iter().all(|death| death.had.contains_key(id)))
        .collect();
    // Once may be chance; but nobody is left who would show it again.
    let left = story.depths_since(story.queue()).pop();
    let nobody_is_left = left.is_some_and(|left| left.consumers == 0 && left.ready > 0);
    // Ours among them: it may be the one that does it.
    if (deaths.len() < 2 && !nobody_is_left)
        || each_time.is_empty()
        || each_time.iter().any(|id| story.is_my_message(id))
    {
        return Answer::NotApplicable;
    }
    let actor = |id: &str| first.had.get(id).map_or("", |(actor, _)| *actor).to_owned();
    let names: Vec<String> = each_time
        .iter()
        .map(|id| format!("{id} ({})", actor(id)))
        .collect();
    let (words, names) = (exit_words(last.code), names.join(" or "));
    let text = match deaths.len() {
        1 => format!(
            "a worker process ended ({words}) and had begun with message {names}, which is another task's; nobody consumes `{}` any more",
            story.queue()
        ),
        times => format!(
            "a worker process ended {times} times ({words}), and each time it had begun with message {names}, which is another task's"
        ),
    };
    let mut evidence = Vec::new();
    for death in &deaths {
        let received = each_time.iter().filter_map(|id| death.had.get(id));
        evidence.extend(received.map(|(_, n)| *n));
        evidence.push(death.n);
    }
    evidence.extend(story.deliveries().last().map(|passage| passage.n));
    evidence.extend(story.depths_since(story.queue()).last().map(|depth| depth.n));
    // That one follows the other twice is no proof: memory may run out by itself.
    let most = match each_time.len() {
        1 if deaths.len() > 1 => Certainty::Likely,
        _ => Certainty::Possible,
    };
    let ids: Vec<&str> = each_time.iter().copied().collect();
    Answer::matched(most, text, evidence)
        .given([Premise::OneProcessPerLogThread { pid: None }])
        .naming("{other_message}", ids.join(" or "))
}

/// What each process that died had received and not settled. In a container they may all have the same
/// pid: then a process's lines end where it died.
fn deaths<'a>(story: &Story<'a>) -> Vec<Death<'a>> {
    let recent = |told: &WorkerLine<'_>| !told.line.before || story.ended_recently(told);
    let mut died: Vec<(usize, i32, i32, u32)> = Vec::new();
    for (at, told) in story.worker_lines().iter().enumerate() {
        if let Some(LogEvent::ChildDied { pid, code }) = told.mark
            && recent(told)
        {
            died.push((at, *pid, *code, told.n));
        }
    }
    let once = |pid: i32| died.iter().filter(|(_, other, ..)| *other == pid).count() == 1;
    let mut from: BTreeMap<i32, usize> = BTreeMap::new();
    died.iter()
        .map(|&(at, pid, code, n)| {
            // The last words of a process may come after its master's.
            let end = if once(pid) { story.worker_lines().len() } else { at };
            let begin = from.insert(pid, at).unwrap_or(0);
            let mut had: BTreeMap<&str, (&str, u32)> = BTreeMap::new();
            for told in &story.worker_lines()[begin..end] {
                match told.mark {
                    Some(LogEvent::Received { id, actor }) if told.pid == Some(pid) => {
                        had.insert(id, (actor, told.n));
                    }
                    Some(mark) if mark.settles() => {
                        if let Some(id) = mark.message_id() {
                            had.remove(id);
                        }
                    }
                    _ => {}
                }
            }
            Death { n, code, had }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    /// One life: these messages were begun with, and then it died.
    fn one_life(mut scene: Scene, pid: i32, ids: &[&str]) -> Scene {
        for id in ids {
            scene = scene.line(&format!(
                "[PID {pid}] [Thread-4] [dramatiq.worker.WorkerThread] [DEBUG] Received message resize('x') with id '{id}'."
            ));
        }
        scene
            .line(&format!(
                "[PID 100] [MainThread] [dramatiq.MainProcess] [CRITICAL] Worker with PID {pid} exited unexpectedly (code -9). Shutting down..."
            ))
            .line("[PID 100] [MainThread] [dramatiq.MainProcess] [INFO] Dramatiq '2.2.1' is booting up.")
    }

    fn sent() -> Scene {
        let adds = "[PID 100] [Thread-2] [dramatiq.worker._WorkerMiddleware] [DEBUG] Adding consumer for queue 'default'.";
        Scene::published().line(adds)
    }

    #[test]
    fn the_same_message_before_each_end() {
        let scene = one_life(one_life(sent(), 201, &["poison"]), 301, &["poison"])
            .depth("default", 1, 0)
            .silence();
        assert_eq!(scene.answer(&CAUSE), "likely");
        assert!(scene.summary().contains("poison (resize)"), "{}", scene.summary());
        assert_eq!(scene.without(Source::WorkerLog).answer(&CAUSE), "cannot tell");
        // In a container the pid is the same each time.
        let container = one_life(one_life(sent(), 8, &["poison"]), 8, &["poison"]).silence();
        assert_eq!(container.answer(&CAUSE), "likely");
    }

    #[test]
    fn others_each_time_or_ours_among_them_is_a_near_miss() {
        let others = one_life(one_life(sent(), 201, &["a"]), 301, &["b"]).silence();
        assert_eq!(others.answer(&CAUSE), "not applicable");
        let ours = one_life(one_life(sent(), 201, &["a", "m-1"]), 301, &["a", "m-1"]).silence();
        assert_eq!(ours.answer(&CAUSE), "not applicable");
        let once = one_life(sent(), 201, &["poison"]).silence();
        assert_eq!(once.answer(&CAUSE), "not applicable");
        let two = one_life(one_life(sent(), 201, &["a", "b"]), 301, &["a", "b"]).silence();
        assert_eq!(two.answer(&CAUSE), "possible");
    }

    #[test]
    fn what_was_settled_before_the_end_is_a_near_miss() {
        let scene = sent()
            .line("[PID 201] [Thread-4] [dramatiq.worker.WorkerThread] [DEBUG] Received message resize('x') with id 'a'.")
            .line("[PID 201] [Thread-2] [dramatiq.worker.ConsumerThread(default)] [DEBUG] Acknowledging message 'a'.");
        let scene = one_life(one_life(scene, 201, &["b"]), 301, &["a"]).silence();
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }

    /// It may be chance, and nobody is left to show it again.
    #[test]
    fn once_is_possible_where_nobody_is_left() {
        let died = |scene: Scene| {
            scene.line("[PID 100] [MainThread] [dramatiq.MainProcess] [CRITICAL] Worker with PID 101 exited unexpectedly (code -9). Shutting down...")
        };
        let taken = || {
            Scene::delivered().line(
                "[PID 101] [Thread-5] [dramatiq.worker.WorkerThread] [DEBUG] Received message crunch() with id 'other'.",
            )
        };
        let left = |consumers| died(taken()).depth("default", 2, consumers).timeout();
        assert_eq!(left(0).answer(&CAUSE), "possible");
        assert_eq!(left(1).answer(&CAUSE), "not applicable");
    }
}
