//! The actor is still at work.

use std::time::Duration;

use crate::diagnosis::evidence::stacks::Thread;
use crate::diagnosis::evidence::{
    WorkerLine, containers, control, holding, holdups, results, stacks, workers,
};
use crate::diagnosis::premises::{Premise, State};
use crate::diagnosis::{Answer, Cause, Certainty, Claim, Owner, Stage, Stand, Story};
use crate::framework::{Inspection, LogEvent};
use crate::timeline::{EventKind, Process, Source};
use crate::units::seconds;

pub(super) const CAUSE: Cause = Cause {
    id: "actor-still-running",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::WorkerCode],
    // Where the queue moves, it is such threads that move it.
    explains: &["workers-busy", "waiting-in-worker", "worker-blocked"],
    needs: &[],
    general: true,
    stand: Stand::Hangs,
    claims: &[Claim::IsRunning, Claim::NotFinal],
    ends_a_run: true,
    page: include_str!("actor_still_running.md"),
    check,
    ..Cause::DEFAULT
};

/// What the log may not say, the stack does: its thread is past the call. Where it is not known which
/// that is, none is in a call.
fn stands_after_it(story: &Story<'_>, pid: i32, thread: Option<&str>) -> Option<u32> {
    let shape = &story.framework().stack;
    let threads: Vec<Thread<'_>> = stacks::last_dump(story, pid)
        .filter(|other| thread.is_none_or(|name| name == other.name()))
        .collect();
    let after = threads
        .iter()
        .find(|other| stacks::is_after_call(shape, **other))?;
    let calls = threads.iter().any(|other| other.call(shape).is_some());
    (!calls).then_some(after.n)
}

/// No thread that was seen since runs the task. A coroutine stands in another thread, and the one that waits for it
/// is in the call.
fn runs_elsewhere(story: &Story<'_>, pid: Option<i32>, since: f64) -> Option<u32> {
    let pids: Vec<i32> = match pid {
        Some(pid) if !story.master_takes() => vec![pid],
        _ => workers::live_workers(story)
            .iter()
            .flat_map(|worker| stacks::pids_of(story, worker.pid))
            .collect(),
    };
    // A master alone says nothing of its children.
    let loops = story.framework().stack.worker_loop;
    let mut threads = pids.iter().flat_map(|pid| stacks::last_dump(story, *pid));
    if story.master_takes() && !threads.any(|thread| thread.has(loops)) {
        return None;
    }
    stacks::none_runs_ours(story, &pids, since)
}

/// Its thread is past the actor, or no thread of the worker's runs it.
fn runs_nothing_of_it(
    story: &Story<'_>,
    pid: Option<i32>,
    thread: Option<&str>,
    entered_at: Option<f64>,
) -> Option<Answer> {
    if let Some(idle) = is_idle(story, pid, thread) {
        return Some(Answer::ruled_out("its thread is in no actor any more", [idle]));
    }
    if let Some(after) = pid.and_then(|pid| stands_after_it(story, pid, thread)) {
        return Some(Answer::ruled_out(
            "its thread stands in what comes after the actor",
            [after],
        ));
    }
    let elsewhere = runs_elsewhere(story, pid, entered_at.unwrap_or(f64::MIN))?;
    Some(Answer::ruled_out(
        "none of the worker's threads is in its function",
        [elsewhere],
    ))
}

/// That thread waits for the next message.
fn is_idle(story: &Story<'_>, pid: Option<i32>, thread: Option<&str>) -> Option<u32> {
    let shape = &story.framework().stack;
    let mut threads = stacks::last_dump(story, pid?).filter(|other| Some(other.name()) == thread);
    let one = threads.next()?;
    (threads.next().is_none() && one.has(shape.worker) && one.call(shape).is_none()).then_some(one.n)
}

/// After the last word of ours the same thread speaks of another message, or enters an actor.
fn speaks_of_another(story: &Story<'_>, pid: Option<i32>, thread: Option<&str>) -> bool {
    let Some(last) = story.lines().last() else {
        return false;
    };
    let mut lines = story.worker_lines().iter().filter(|told| told.n > last.n);
    lines.any(|told| {
        let is_same = told.pid == pid && told.line.thread.as_deref() == thread;
        let names_another = told.message_id().is_some_and(|id| !story.is_my_message(id));
        is_same && !told.line.carries_task_id && (told.line.entry || names_another)
    })
}

/// The process that has the message: of those that had it the last.
fn holder(story: &Story<'_>) -> Option<i32> {
    story.lines().iter().rev().find_map(|told| told.pid).or_else(|| {
        let passage = story.deliveries().last()?;
        story.peer(passage.connection).map(|peer| peer.value)
    })
}

/// It may have ended since.
fn is_out_of_sight(story: &Story<'_>, pid: i32) -> bool {
    let process = story.process(pid);
    process.is_some_and(|process| process.state == Process::OUT_OF_SIGHT)
}

fn words(story: &Story<'_>, entered_at: Option<f64>, shown_by: Option<u32>, place: &str) -> String {
    // A look that found it there says nothing of when it began.
    let first = shown_by.and_then(|n| story.timeline.event(n));
    let by_a_look = first.is_some_and(|event| matches!(event.kind, EventKind::Stacks { .. }));
    let silent = entered_at.and_then(|entered| story.silent_for_ms(entered));
    let waited = seconds(Duration::from_millis(
        silent.map_or(story.timeline.setup.timeout_ms, |ms| ms as u64),
    ));
    if let Some(earlier) = story.raised_earlier() {
        let raised = crate::text::excerpt(&earlier.value);
        format!(
            "the actor was entered once more after an attempt that raised {raised}, and nothing says that it returned{place}"
        )
    } else if story.post_mortem() {
        format!("the actor was entered, and nothing says that it returned{place}")
    } else if by_a_look {
        format!("the actor was entered and has not returned{place}")
    } else {
        format!("the actor was entered and has not returned within {waited}{place}")
    }
}

/// The one that had it is gone, or another has taken its place.
fn its_process_has_ended(story: &Story<'_>, pid: Option<i32>) -> Option<Answer> {
    if let Some(gone) = pid.and_then(|pid| story.gone(pid)).or(story.taker_is_gone()) {
        return Some(Answer::ruled_out("the process that had it has ended", [gone]));
    }
    if let Some(ended) = story.is_run_by_nobody_here() {
        return Some(Answer::ruled_out(
            "nobody consumes its queue, and no worker of it runs here",
            ended,
        ));
    }
    let replaced = story.replaced_in_its_run()?;
    Some(Answer::ruled_out(
        "a worker has started after its last line, and no other consumes the queue",
        replaced,
    ))
}

/// Nothing else shows how far it is.
fn by_its_word_alone(story: &Story<'_>) -> Answer {
    match control::holder(story) {
        Some((answer, "active")) => Answer::likely(
            format!(
                "{} says that it runs the task, and no line or stack shows how far that is",
                answer.node
            ),
            [answer.n],
        )
        .would_decide(&[Source::Process]),
        _ => Answer::NotApplicable,
    }
}

fn check(story: &Story<'_>) -> Answer {
    if let Some(answer) = holdups::by_others(story, "the application's code", holdups::in_the_actor) {
        return answer
            .case(UNSEEN, false)
            .case(BROKEN_OFF, false)
            .case(HELD_BACK, false);
    }
    let answer = match control::ended_child(story) {
        // Its worker counts it, and has not missed the child that ran it.
        Some(child) => Answer::ruled_out("the child that had it has ended", [child.n]),
        None => of_its_own(story),
    };
    let place = stacks::own_frame(story, holder(story));
    // That it runs is not where it is: it may be past the actor.
    let most = if place.is_none() {
        Certainty::Likely
    } else {
        Certainty::Certain
    };
    let answer = answer.case(UNSEEN, place.is_none()).at_most(most);
    let answer = match story.broken_off_before() {
        Some(end) => answer
            .followed_by(&format!("; it was begun again, since {end} (#{})", end.n))
            .owned_by(Some(&[Owner::Deployment, Owner::WorkerCode]))
            .case(BROKEN_OFF, true),
        None => answer.case(BROKEN_OFF, false),
    };
    let answer = match containers::held_back(story) {
        Some((words, container)) => answer
            .followed_by(&words)
            .case(HELD_BACK, true)
            .naming("{container}", container),
        None => answer.case(HELD_BACK, false),
    };
    match place {
        Some(place) => answer.naming("{place}", place),
        None => answer,
    }
}

/// Cases of its remedies.
const BROKEN_OFF: &str = "its first run was broken off";
const HELD_BACK: &str = "its container is held back by its CPU limit";
const UNSEEN: &str = "its place was not seen";

fn by_its_lines(story: &Story<'_>, pid: Option<i32>, text: String, evidence: Vec<u32>) -> Answer {
    let answer = Answer::shown(text, evidence).given([Premise::WorkIsRunning(pid.unwrap_or(0))]);
    let by_one = Premise::OneProcessPerLogThread { pid };
    // Several write to the log in threads of one name, and each line of the task's names its message.
    let mut lines = story
        .lines()
        .iter()
        .filter(|told| told.mark.is_some() || told.line.entry);
    let mut is_named = || lines.all(|told| told.message_id().is_some_and(|id| story.is_my_message(id)));
    match matches!(story.state(&by_one), State::Refuted(_)) && is_named() {
        true => answer.at_most(Certainty::Likely),
        false => answer.given([by_one]),
    }
}

/// Neither that its process works on it nor that the log's lines are that process's could be proved.
fn rests_on_more_than_one(story: &Story<'_>, pid: Option<i32>) -> bool {
    let is_open = |premise: Premise| !matches!(story.state(&premise), State::Proved(_));
    is_open(Premise::WorkIsRunning(pid.unwrap_or(0))) && is_open(Premise::OneProcessPerLogThread { pid })
}

/// What is held may be any task's: its own function is what would show this one, or that it was the first in hand
/// and one thread only is in a call.
fn may_be_anothers(story: &Story<'_>, pid: Option<i32>, held: u64) -> bool {
    let worker = story.framework().stack.worker;
    let seen = story.stacks().threads(pid).any(|thread| thread.has(worker));
    let is_alone = |pid| holding::is_first_in_hand(story, held) && stacks::at_work(story, pid).is_some();
    // Afterwards the row says that it was begun, and one message only is in hand.
    let is_the_only_one =
        || held == 1 && story.was_surely_entered() && stacks::the_only_call(story).is_some();
    (seen || story.post_mortem())
        && !pid.is_some_and(is_alone)
        && !(story.post_mortem() && is_the_only_one())
        && !stacks::is_in_its_function(story, f64::MIN)
}

/// A message that came again was begun again: what counts is its last run.
fn last_entry(story: &Story<'_>, entered_at: Option<f64>) -> Option<f64> {
    let entries: Vec<&WorkerLine<'_>> = story.lines().iter().filter(|told| told.line.entry).collect();
    let came_again = story.deliveries().any(|passage| passage.redelivered);
    match (entries.as_slice(), entered_at) {
        ([_, .., last], Some(entered)) if came_again => Some(last.at_ms.max(entered)),
        _ => entered_at,
    }
}

fn of_its_own(story: &Story<'_>) -> Answer {
    if !story.closed()
        || story.attempt_over().is_some()
        || story.row_failed().is_some()
        || story.died_in_actor().is_some()
        || story.call_has_returned()
        || results::not_stored(story).is_some()
    {
        return Answer::NotApplicable;
    }
    let Some((entered_at, evidence)) = story.reached(Stage::Entered) else {
        return by_its_word_alone(story);
    };
    let mut evidence = evidence.clone();
    let entered_at = &last_entry(story, *entered_at);
    let pid = holder(story);
    if let Some(answer) = its_process_has_ended(story, pid) {
        return answer;
    }
    if let Some(counted) = story.runs_in_none(*entered_at) {
        return Answer::ruled_out("its worker counts no task that it runs", [counted]);
    }
    let thread = stacks::its_thread(story, pid);
    if let Some(answer) = runs_nothing_of_it(story, pid, thread.as_deref(), *entered_at) {
        return answer;
    }
    let mut same_thread = false;
    let place = stacks::own_frame(story, pid).map(|frame| {
        same_thread = thread.is_some() && stacks::thread_of(story, frame.n, &frame) == thread;
        evidence.push(frame.n);
        format!(": {frame}")
    });
    let text = words(
        story,
        *entered_at,
        evidence.first().copied(),
        &place.unwrap_or_default(),
    );
    // Without DEBUG lines a return is invisible; the broker's count of unacknowledged messages
    // then says whether somebody still holds one. And the log must be that of the worker which runs
    // it: it shows this very call.
    let early = !story.acknowledges_after_the_run();
    let begun = story
        .line(|mark| matches!(mark, LogEvent::Received { .. }))
        .is_some();
    let completed_would_show = story.debug_log()
        && story
            .line(|mark| match mark {
                LogEvent::Received { .. } => true,
                LogEvent::Pushed { .. } => early,
                _ => false,
            })
            .is_some();
    if let Some((answer, "active")) = control::holder(story) {
        evidence.push(answer.n);
        return by_its_word(story, &answer, *entered_at, text, evidence);
    }
    // A count from before the delivery says nothing of it.
    let since = story
        .deliveries()
        .last()
        .map_or(f64::MIN, |passage| passage.at_ms);
    let held = story
        .infos(story.queue())
        .last()
        .filter(|info| info.counted_ms > since && story.acknowledges_after_the_run())
        .and_then(|info| info.unacked.map(|count| (info.n, count)));
    // The thread may have gone on to another message.
    let may_be_over = held.is_some_and(|(_, count)| holding::may_be_acknowledged(story, count));
    same_thread = same_thread && !speaks_of_another(story, pid, thread.as_deref()) && !may_be_over;
    if pid.is_some_and(|pid| is_out_of_sight(story, pid)) {
        return Answer::possible(text, evidence).would_decide(&[Source::Process]);
    }
    match held {
        // Where its own thread does not show that it goes on.
        Some((n, 0)) if !same_thread => Answer::ruled_out("no message is unacknowledged any more", [n]),
        // More than the log, whose premises are open, says the broker's count.
        Some((n, count)) if rests_on_more_than_one(story, pid) && holding::is_first_in_hand(story, count) => {
            evidence.push(n);
            Answer::likely(text, evidence).would_decide(&[Source::Process])
        }
        _ if completed_would_show || same_thread => by_its_lines(story, pid, text, evidence)
            // Another message for the same function may be the one that the stack shows.
            .given((early && !begun).then_some(Premise::LogIsWhole)),
        Some((n, 0)) => Answer::ruled_out("no message is unacknowledged any more", [n]),
        Some((n, count)) => {
            evidence.push(n);
            match may_be_anothers(story, pid, count) || may_be_over {
                true => Answer::possible(text, evidence),
                false => Answer::likely(text, evidence).would_decide(&[Source::Process]),
            }
        }
        // Its log would tell of its end, and one thread only of all is in a call.
        None if story.begun_without_an_end().is_some() && stacks::the_only_call(story).is_some() => {
            Answer::likely(text, evidence).would_decide(&[Source::Process])
        }
        None => Answer::possible(text, evidence).would_decide(&[Source::Management, Source::Process]),
    }
}

/// The worker was asked, and has it in hand. Only where its process runs nothing else is the stack that one's.
fn by_its_word(
    story: &Story<'_>,
    answer: &Inspection,
    entered_at: Option<f64>,
    text: String,
    evidence: Vec<u32>,
) -> Answer {
    let text = text + &control::ignored_limit(story, answer, entered_at);
    let pid = control::runner(story, answer);
    let at_work = |pid: i32| {
        let worker_loop = story.framework().stack.worker_loop;
        let threads = stacks::last_dump(story, pid).filter(|thread| thread.has(worker_loop));
        threads.count() == 1 && stacks::at_work(story, pid).is_some()
    };
    match pid.is_some_and(at_work) {
        true => Answer::shown(text, evidence),
        false => Answer::likely(text, evidence).would_decide(&[Source::Process]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::Scenario;
    use crate::diagnosis::testing::{OTHER, Scene, WORKER};
    use serde_json::json;

    /// By its worker's heartbeat nothing runs any more, whatever its log leaves out.
    #[test]
    fn one_that_its_worker_does_not_count() {
        use crate::diagnosis::causes::celery::scenes::CeleryScene;
        use crate::framework::Heartbeat;
        let beat = |pid: i32, active: u64, at: f64| {
            let beat = Heartbeat {
                node: "celery@vm".into(),
                pid: Some(pid),
                active: Some(active),
                beats: 3,
                ..Heartbeat::default()
            };
            let scene = CeleryScene::in_pool("prefork").deliver().and(|scene| {
                let scene = scene.at(500.0).row("RUNNING").at(at);
                scene.see(Source::Control, EventKind::Heartbeat(beat))
            });
            scene.silence().answer(&CAUSE)
        };
        assert_eq!(beat(100, 0, 4_000.0), "ruled out");
        assert_ne!(beat(100, 1, 4_000.0), "ruled out");
        // Another worker's, and one from before it can have been counted.
        assert_ne!(beat(999, 0, 4_000.0), "ruled out");
        assert_ne!(beat(100, 0, 900.0), "ruled out");
    }

    /// A CPU limit makes a short task a long one: what its engine counts before and after says so.
    #[test]
    fn a_container_that_is_held_back_by_its_cpu_limit() {
        let limited = |first: u64, last: u64| {
            let look = |scene: Scene, held: u64| {
                scene.worker_container("c1", "running", |container| {
                    container.cpu_limit = Some(50);
                    container.held_back_ms = Some(held);
                })
            };
            let scene = look(Scene::entered(), first).at(10_000.0);
            look(scene, last).silence().summary()
        };
        let said = limited(100, 9_100);
        assert!(
            said.contains("may use 0.05 CPUs") && said.contains("9.0 s together"),
            "{said}"
        );
        assert!(!limited(100, 200).contains("CPUs"));
        assert!(!limited(9_000, 9_000).contains("CPUs"));
    }

    /// A health check, or a restart, ended the worker in the middle of the first run.
    #[test]
    fn a_run_that_was_broken_off_is_told_of() {
        use crate::diagnosis::testing::WORKER;
        use crate::timeline::EventKind;
        let die = || EventKind::ContainerEvent {
            container: "shop-worker-1".into(),
            action: "die".into(),
            exit: Some(1),
        };
        let received = "Received message act('task_1') with id 'm-1'.";
        let logger = "dramatiq.worker.WorkerThread";
        let begun_again = |with_an_end: bool| {
            let scene = Scene::entered().worker_container("c1", "running", |_| {});
            let scene = match with_an_end {
                true => scene.see(Source::Containers, die()),
                false => scene,
            };
            let scene = scene.deliver_as("m-1", WORKER, true).debug(logger, received);
            scene.silence()
        };
        let story_of = |scene: &Scene| {
            let story = Story::new(&scene.timeline);
            story.broken_off_before().map(|end| end.value)
        };
        let end = story_of(&begun_again(true)).expect("an end");
        assert!(
            end.contains("shop-worker-1") && end.contains("ended with exit code 1"),
            "{end}"
        );
        assert_eq!(story_of(&begun_again(false)), None);
        assert_eq!(story_of(&Scene::entered()), None);
    }

    /// Celery: threads, and a solo worker, go on behind the limit.
    #[test]
    fn a_time_limit_that_the_pool_does_not_enforce_is_named() {
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OURS};
        let run = |pool: &str, limit: f64| {
            let started = format!(
                "shop.tasks.fulfil[{OURS}]: order {} is begun",
                crate::diagnosis::testing::TASK
            );
            CeleryScene::received()
                .info(&started)
                .answers(|mut answer| {
                    answer.pool = Some(pool.into());
                    answer.settings = [("task_time_limit".to_owned(), json!(limit))].into();
                    answer.active(OURS)
                })
                .silence()
        };
        let says = |scene: &Scene| scene.summary().contains("does not enforce it");
        let passed = run("thread", 2.0);
        assert!(
            passed.cause().ends_with(" actor-still-running"),
            "{}",
            passed.cause()
        );
        assert!(says(&passed), "{}", passed.summary());
        for near in [run("thread", 600.0), run("prefork", 2.0)] {
            assert!(near.cause().ends_with(" actor-still-running"), "{}", near.cause());
            assert!(!says(&near), "{}", near.summary());
        }
    }

    /// A task may be a class, or be called otherwise than its function: its worker says which child has it.
    #[test]
    fn the_child_that_has_it_is_in_a_function_of_another_name() {
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OURS};
        let frames = [
            ("Fulfil.run", "/app/tasks.py"),
            ("trace_task", "/v/site-packages/celery/app/trace.py"),
            ("workloop", "/v/site-packages/billiard/pool.py"),
        ];
        let hangs = |runner: i32| {
            let scene = CeleryScene::received().and(|scene| {
                let scene = scene.row("RUNNING").at(9_000.0);
                let scene = scene.process(105, 100, "python celery -A shop worker", |_| {});
                scene.stack(105, "MainThread", &frames)
            });
            let scene = scene.answers(|answer| answer.active_in(OURS, runner));
            scene.silence()
        };
        let known = hangs(105);
        assert_eq!(
            known.cause(),
            "certain actor-still-running",
            "{}",
            known.summary()
        );
        assert!(known.summary().contains("Fulfil.run"), "{}", known.summary());
        // Another child has it, or all of them are one process.
        for other in [106, 100] {
            let near = hangs(other);
            assert_eq!(near.cause(), "likely actor-still-running", "{}", near.summary());
            assert!(!near.summary().contains("Fulfil.run"), "{}", near.summary());
        }
    }

    /// Afterwards, of a log without pids: the one child that is in the task's function has it, or its worker counts as many
    /// tasks as its log has open.
    #[test]
    fn afterwards_a_log_without_pids_does_not_say_who_has_it() {
        use crate::framework::Heartbeat;
        const ID: &str = "aaaaaaaa-7a09-4a1f-9d2c-0d5e3c0b7f11";
        const HANGS: &[(&str, &str)] = &[
            ("read", "/app/closing.py"),
            ("fulfil", "/app/closing.py"),
            ("trace_task", "/v/site-packages/celery/app/trace.py"),
            ("workloop", "/v/site-packages/billiard/pool.py"),
        ];
        let ours = format!("shop.tasks.fulfil[{ID}]");
        let open =
            |others: usize| {
                let scene = Scene::new().setup(|setup| {
                    setup.framework = "celery".into();
                    setup.actor = Some("shop.tasks.fulfil".into());
                });
                let mut scene = scene.given().from_before(5);
                let mut lines = vec![
                    format!("Task {ours} received"),
                    format!("{ours}: fulfilling task_1"),
                ];
                lines.extend((0..others).map(|n| {
                    format!("Task shop.tasks.fulfil[bbbbbbb{n}-7a09-4a1f-9d2c-0d5e3c0b7f11] received")
                }));
                for text in lines {
                    scene = scene.plain(Some(crate::timeline::Level::Info), &text);
                }
                let worker = "python celery -A shop worker -l INFO";
                let scene = scene
                    .from_now_on()
                    .at(5_000.0)
                    .row("RUNNING")
                    .depth("default", 0, 1);
                let scene = scene.process(100, 1, worker, |process| process.holds_log = true);
                scene
                    .process(105, 100, worker, |_| {})
                    .process(106, 100, worker, |_| {})
            };
        let counts = |scene: Scene, active: u64| {
            let beat = Heartbeat {
                node: "celery@vm".into(),
                pid: Some(100),
                active: Some(active),
                beats: 3,
                ..Heartbeat::default()
            };
            scene.see(Source::Control, EventKind::Heartbeat(beat))
        };
        let said = |scene: Scene| scene.end(crate::timeline::Ended::Looked).answer(&CAUSE);
        assert_eq!(said(open(0).stack(105, "MainThread", HANGS)), "likely");
        // Either may have it.
        let both = open(0).stack(105, "MainThread", HANGS);
        assert_eq!(said(both.stack(106, "MainThread", HANGS)), "possible");
        assert_eq!(said(open(0)), "possible");
        assert_eq!(said(counts(open(0), 1)), "likely");
        assert_eq!(said(counts(open(1), 2)), "likely");
        // One of the two has ended, whichever that is.
        assert_eq!(said(counts(open(1), 1)), "possible");
    }

    #[test]
    fn called_and_not_returned() {
        let at_work = Scene::entered().at(3000.0).stack(
            101,
            "Thread-4",
            &[
                ("crunch", "/app/core.py"),
                ("__call__", "/v/site-packages/dramatiq/actor.py"),
                ("process_message", "/v/site-packages/dramatiq/worker.py"),
            ],
        );
        assert_eq!(at_work.timeout().cause(), "certain actor-still-running");
        assert_eq!(Scene::entered().cause(), "none");
    }

    /// The framework may poll a finished future for ever, or its thread be dead: only a stack shows
    /// that the application's code runs.
    #[test]
    fn without_a_stack_that_it_works_is_assumed() {
        let scene = Scene::entered().timeout();
        assert_eq!(scene.cause(), "likely actor-still-running");
        let cause = scene.verdict().cause.expect("a cause");
        assert!(
            cause.premises[0].starts_with("if pid 101 still works"),
            "{:?}",
            cause.premises
        );
    }

    /// Below DEBUG: the actor's own line says which thread has the task, and another task hangs in another one.
    #[test]
    fn the_thread_that_spoke_waits_for_the_next_message() {
        let hangs = |in_ours: &'static [(&str, &str)], in_other: &'static [(&str, &str)]| {
            Scene::quiet(|scene| scene.totals("default", 0, 1, json!({})))
                .info("app", "ACTOR ENTRY task_id=task_1")
                .at(3000.0)
                .totals("default", 0, 1, json!({}))
                .stacks(101, &[("Thread-4", in_ours), ("Thread-9", in_other)])
                .timeout()
        };
        assert_eq!(hangs(IDLE, BUSY).answer(&CAUSE), "ruled out");
        assert_ne!(hangs(BUSY, IDLE).answer(&CAUSE), "ruled out");
    }

    /// Afterwards: a worker of another system stands in the same code, on the same machine.
    #[test]
    fn another_vhosts_worker_does_not_show_where_it_stands() {
        let beside = |vhost: &str| {
            let own = |process: &mut Process| process.sockets = vec![OTHER.to_owned()];
            let scene = Scene::new()
                .given()
                .row("RUNNING")
                .process(900, 1, "python dramatiq app", own)
                .connections(&[(OTHER, vhost, "running")])
                .stack(900, "Thread-4", BUSY);
            let scene = scene.end(crate::timeline::Ended::Looked);
            stacks::own_frame(&Story::new(&scene.timeline), None).is_some()
        };
        assert!(beside("/"));
        assert!(!beside("/staging"));
    }

    const BUSY: &[(&str, &str)] = &[
        ("crunch", "/app/core.py"),
        ("__call__", "/v/site-packages/dramatiq/actor.py"),
        ("process_message", "/v/site-packages/dramatiq/worker.py"),
        ("run", "/v/site-packages/dramatiq/worker.py"),
    ];
    const IDLE: &[(&str, &str)] = &[
        ("get", "/usr/lib/python3.11/queue.py"),
        ("run", "/v/site-packages/dramatiq/worker.py"),
    ];

    #[test]
    fn one_that_returned_or_died_is_a_near_miss() {
        assert_eq!(
            Scene::entered().completed().timeout().answer(&CAUSE),
            "not applicable"
        );
        assert_eq!(
            Scene::entered().completed().acked("m-1").timeout().answer(&CAUSE),
            "not applicable"
        );
    }

    #[test]
    fn another_workers_log_does_not_show_that_it_returned() {
        let elsewhere = Scene::new()
            .worker_booted()
            .submitted()
            .row("PENDING")
            .publish("default")
            .deliver(OTHER)
            .row("RUNNING");
        assert_eq!(elsewhere.clone().timeout().answer(&CAUSE), "possible");
        let held = elsewhere.clone().totals("default", 0, 1, json!({})).timeout();
        assert_eq!(held.answer(&CAUSE), "likely");
        let drained = elsewhere.totals("default", 0, 0, json!({})).timeout();
        assert_eq!(drained.answer(&CAUSE), "ruled out");
    }

    /// No line and no status shows the entry: the stack of the process that has the only
    /// unacknowledged message does.
    #[test]
    fn a_stack_in_the_actor_is_an_entry_only_for_the_one_message_in_hand() {
        let stands = |unacked: u64, frames: &[(&str, &str)]| {
            Scene::delivered()
                .at(3000.0)
                .totals("default", 0, unacked, json!({}))
                .stack(101, "Thread-4", frames)
                .silence()
                .verdict()
        };
        let inside = [
            ("crunch", "/app/core.py"),
            ("__call__", "/v/site-packages/dramatiq/actor.py"),
            ("process_message", "/v/site-packages/dramatiq/worker.py"),
        ];
        assert_eq!(stands(1, &inside).scenario, Some(Scenario::A));
        // With a second message out, the thread may be running that one.
        assert_ne!(stands(2, &inside).scenario, Some(Scenario::A));
        // A hook of the application is not the actor.
        let hook = [
            ("before_process_message", "/app/hooks.py"),
            ("emit_before", "/v/site-packages/dramatiq/broker.py"),
            ("process_message", "/v/site-packages/dramatiq/worker.py"),
        ];
        assert_ne!(stands(1, &hook).scenario, Some(Scenario::A));
    }

    const CALL: [(&str, &str); 2] = [
        ("__call__", "/v/site-packages/dramatiq/actor.py"),
        ("process_message", "/v/site-packages/dramatiq/worker.py"),
    ];

    fn in_function(name: &'static str) -> [(&'static str, &'static str); 3] {
        [(name, "/app/tasks.py"), CALL[0], CALL[1]]
    }

    /// Another actor's message was seen, and its function is what the stacks show.
    #[test]
    fn threads_that_run_other_actors_are_a_near_miss() {
        let entered = || {
            let failed = "Failed to process message announce('7') with unhandled exception.";
            Scene::published()
                .deliver(WORKER)
                .info("app", "ACTOR ENTRY task_id=task_1")
                .line(&format!(
                    "[PID 102] [Thread-4] [dramatiq.worker.WorkerThread] [ERROR] {failed}"
                ))
                .at(3000.0)
        };
        let announce = in_function("announce");
        let elsewhere = entered().stacks(101, &[("Thread-4", &announce)]).timeout();
        assert_eq!(elsewhere.answer(&CAUSE), "ruled out");
        let act = in_function("act");
        let both = entered()
            .stacks(101, &[("Thread-4", &announce), ("Thread-5", &act)])
            .timeout();
        let summary = both
            .verdict()
            .cause
            .map(|cause| cause.summary)
            .unwrap_or_default();
        assert!(summary.contains("in act"), "{summary}");
        // An actor may be called otherwise than its function, and a wrapper may stand around it.
        let wrapped = in_function("wrapper");
        let wrapped = entered().stacks(101, &[("Thread-4", &wrapped)]).timeout();
        assert_ne!(wrapped.answer(&CAUSE), "ruled out");
    }

    #[test]
    fn a_hook_after_the_call_is_no_place_of_the_actor() {
        let hook = [
            ("Hook.after_process_message", "/app/hooks.py"),
            ("process_message", "/v/site-packages/dramatiq/worker.py"),
        ];
        let scene = Scene::delivered()
            .info("app", "ACTOR ENTRY task_id=task_1")
            .at(3000.0)
            .stack(101, "Thread-4", &hook)
            .timeout();
        let summary = scene
            .verdict()
            .cause
            .map(|cause| cause.summary)
            .unwrap_or_default();
        assert!(
            !summary.contains("hooks.py") || !summary.contains("has not returned"),
            "{summary}"
        );
    }

    /// No line, no stack, and the worker says that it runs it.
    #[test]
    fn by_its_workers_word_alone() {
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OURS};
        let runs = CeleryScene::in_pool("gevent")
            .deliver()
            .answers(|answer| answer.active(OURS))
            .silence();
        assert_eq!(runs.cause(), "likely actor-still-running", "{}", runs.summary());
        assert_eq!(
            runs.verdict().scenario,
            None,
            "nothing shows that its own code has begun"
        );
        let waits = CeleryScene::received()
            .unacked(1)
            .answers(|answer| answer.reserved(OURS).active("a").active("b"));
        assert_eq!(waits.silence().answer(&CAUSE), "not applicable");
    }

    /// A deploy in its midst.
    #[test]
    fn a_new_worker_in_place_of_the_one_that_ran_it() {
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OURS};
        let boots = |consumers: u64, ends: bool| {
            CeleryScene::received()
                .info(&format!("shop.tasks.fulfil[{OURS}]: packing"))
                .and(|scene| if ends { scene.gone(100) } else { scene })
                .info(" -------------- celery@vm v5.7.0 (dawn-chorus)")
                .and(|scene| scene.depth("celery", 0, consumers))
                .silence()
        };
        assert_eq!(boots(1, true).answer(&CAUSE), "ruled out");
        // The other one may be what runs it.
        assert_ne!(boots(2, false).answer(&CAUSE), "ruled out");
        // Another service writes to the same log.
        assert_ne!(boots(1, false).answer(&CAUSE), "ruled out");
        assert!(!boots(1, false).cause().ends_with("worker-died-in-actor"));
    }

    /// Ours returned without a word, and its thread hangs in the next one.
    #[test]
    fn a_thread_that_has_gone_on_is_a_near_miss() {
        let entered = || {
            Scene::quiet(|scene| scene.totals("default", 0, 0, json!({})))
                .info("app", "ACTOR ENTRY task_id=task_1")
        };
        let hangs = |scene: Scene, held: u64| {
            scene
                .at(3000.0)
                .totals("default", 0, held, json!({}))
                .stack(101, "Thread-4", BUSY)
                .timeout()
                .answer(&CAUSE)
        };
        assert_eq!(hangs(entered(), 1), "certain");
        // Two were handed out, and one of them is held.
        let handed = || entered().deliver_as("m-9", WORKER, false);
        assert_ne!(hangs(handed(), 1), "certain");
        assert_eq!(hangs(handed(), 2), "certain");
        let spoke = handed().info("app", "ACTOR ENTRY task_id=task_9");
        assert_ne!(hangs(spoke, 2), "certain");
    }

    #[test]
    fn a_holder_that_has_ended_runs_nothing() {
        let gone = Scene::entered().gone(101).timeout();
        assert_eq!(gone.answer(&CAUSE), "ruled out");
        let another = Scene::entered().gone(999).timeout();
        assert_eq!(another.answer(&CAUSE), "likely");
    }

    /// It hangs in another actor, which it called like a function.
    #[test]
    fn an_actor_that_calls_another_one_is_at_work_itself() {
        let other = "[PID 101] [Thread-5] [dramatiq.worker.WorkerThread] [DEBUG] Received message notify('x') with id 'm-7'.";
        let stands = |function: &'static str| {
            let call = ("__call__", "/v/site-packages/dramatiq/actor.py");
            let frames = [
                ("connect", "/app/mail.py"),
                ("notify", "/app/tasks.py"),
                call,
                (function, "/app/tasks.py"),
                call,
                ("process_message", "/v/site-packages/dramatiq/worker.py"),
            ];
            Scene::entered()
                .line(other)
                .stack(101, "Thread-4", &frames)
                .silence()
        };
        assert_eq!(stands("act").answer(&CAUSE), "certain");
        assert_eq!(stands("act").cause(), "certain actor-still-running");
    }
}
