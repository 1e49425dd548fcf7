//! The process died inside the actor.

use crate::diagnosis::evidence::{Fact, WorkerLine, control, holding, memory, workers};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Certainty, Owner, Stage, Story};
use crate::framework::LogEvent;
use crate::text::counted;
use crate::timeline::{EventKind, Source, place};

pub(super) const CAUSE: Cause = Cause {
    id: "worker-died-in-actor",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::DatabaseHost, Owner::Deployment],
    explains: &["delivery-limit-reached"],
    needs: &[&[Source::WorkerLog, Source::Process]],
    fails_attempt: true,
    ends_a_run: true,
    page: include_str!("worker_died_in_actor.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let answer = died(story);
    // Celery's own count of what it acknowledged, or a message that is there again.
    if holding::came_back(story).is_some() {
        return answer.only_case(CAME_BACK, &[CAME_BACK, LOST]);
    }
    match story.acknowledged_early() {
        Some(_) => answer.only_case(LOST, &[CAME_BACK, LOST]),
        None => answer,
    }
}

/// Cases of its remedies.
const CAME_BACK: &str = "its message came back";
const LOST: &str = "its message did not come back";

fn died(story: &Story<'_>) -> Answer {
    if let Some(told) = story.died_in_actor() {
        let again = story.deliveries().filter(|passage| passage.redelivered).count();
        let times = counted(again as u64, "time", "times");
        let text = match again {
            0 => told.line.text.clone(),
            _ => format!("{} The message came back {times}", told.line.text),
        };
        let text = format!("the worker process died {}: {text}", story.died_doing());
        let (text, evidence, linger_ms) = match memory::killed_with(story, &told) {
            Some(why) => (format!("{text}; {why}"), vec![told.n, why.n], 0),
            None => (text, vec![told.n], until_it_says_why(story, &told)),
        };
        // Below DEBUG its end is invisible: before it comes back, it may have been settled long ago.
        let would_show = story
            .line(|mark| matches!(mark, LogEvent::Received { .. } | LogEvent::Pushed { .. }))
            .is_some();
        let would_show = would_show && (story.acknowledges_after_the_run() || story.had_it(&told));
        // The pid of a child in one replica's log may be another's in the next.
        let pid = match told.mark {
            Some(LogEvent::ChildDied { pid, .. }) => story.called(&told, *pid).or(Some(*pid)),
            _ => None,
        };
        let begun = story.reached(Stage::Entered).is_some();
        // A child that had nothing in hand dies with the same line.
        let pending = story.lost_a_job(&told).is_none();
        let others = story.died_with_others(&told, pid);
        let beside = story.handed_out_beside(&told);
        let answer = match others.first() {
            None if beside > 0 && !story.was_surely_entered() => {
                let text = format!(
                    "{text}; its connection had {} in hand as well: any of them may have ended it",
                    counted(beside, "other message", "other messages")
                );
                Answer::likely(text, evidence)
            }
            Some(other) => {
                let mut evidence = evidence;
                evidence.push(other.n);
                let text = format!(
                    "{text}; it had {} in hand as well (`{other}`): any of them may have ended it",
                    counted(others.len() as u64, "other message", "other messages")
                );
                Answer::likely(text, evidence)
            }
            None if begun && (again > 0 || would_show) && !pending && story.would_show_a_return() => {
                Answer::shown(text, evidence)
            }
            None => Answer::likely(text, evidence),
        };
        // A code that is no signal is the program's own: `sys.exit`, `os._exit`.
        let by_itself = matches!(told.mark, Some(LogEvent::ChildDied { code: 1.., .. }));
        let answer = answer
            .given([Premise::OneProcessPerLogThread { pid }])
            .owned_by(by_itself.then_some(&[Owner::WorkerCode]))
            .case("the program ended itself", by_itself)
            .case("the message comes back again and again", again > 1);
        let answer = match nobody_is_left(story, &told) {
            Some(nobody) => answer.case("no worker is left", nobody),
            None => answer,
        };
        let answer = match ended_by_somebody(story, told.at_ms) {
            Some(words) if !by_itself => by_order(answer, &words),
            _ => answer,
        };
        // Whoever was handed it again may end it well; one that dies each time does not.
        return match (again > 1 || would_show && again == 0) && !pending {
            true => answer.terminal_after(linger_ms),
            false => answer,
        };
    }
    if let Some(answer) = its_child_has_ended(story) {
        return answer;
    }
    let answer = a_worker_died_meanwhile(story).unwrap_or_else(|| its_process_is_gone(story));
    match answer {
        Answer::NotApplicable => replaced(story)
            .or_else(|| by_its_result(story))
            .unwrap_or(Answer::NotApplicable),
        Answer::Matched(ref matched) => {
            let gone = matched.evidence.iter().filter_map(|n| story.timeline.event(*n));
            let mut gone = gone.filter(|event| matches!(event.kind, EventKind::Gone { .. }));
            match gone
                .next_back()
                .and_then(|gone| ended_by_somebody(story, gone.at_ms))
            {
                Some(words) => by_order(answer, &words),
                // The engine, which knows who ended it, is asked each second.
                None if matched.terminal && !story.worker_containers().is_empty() => {
                    answer.terminal_after(memory::WORD_OF_A_KILL_MS as u64)
                }
                None => answer,
            }
        }
        answer => answer,
    }
}

/// No line says so yet: a master may miss its child seconds later.
fn its_child_has_ended(story: &Story<'_>) -> Option<Answer> {
    let (answer, _) = control::holder(story).filter(|_| story.closed())?;
    let child = control::ended_child(story)?;
    let text = format!(
        "the child that has the task, by its worker's word, is dead: pid {} is in state {}",
        child.pid, child.state
    );
    Some(Answer::likely(text, [answer.n, child.n]))
}

fn by_order(answer: Answer, order: &Fact<String>) -> Answer {
    answer
        .followed_by(&format!("; {order} (#{})", order.n))
        .owned_by(Some(&[Owner::Deployment]))
}

/// The engine was told to end the worker's container at about that time: by a person, an orchestrator or a health check.
/// What the kernel kills is none of its commands.
fn ended_by_somebody(story: &Story<'_>, died_at: f64) -> Option<Fact<String>> {
    story.worker_containers().into_iter().find_map(|container| {
        let mut news = story.container_news(&container).into_iter();
        let order = news.find(|news| {
            matches!(news.action, "kill" | "stop" | "destroy" | "restart")
                && (news.at_ms - died_at).abs() < memory::WORD_OF_A_KILL_MS
        })?;
        let words = format!(
            "container {} was ended by its engine's order ({})",
            container.name, order.action
        );
        Some(Fact::new(order.n, order.at_ms, words))
    })
}

/// The worker that ran it is not there any more, or another has taken its place; no line says that it died.
fn replaced(story: &Story<'_>) -> Option<Answer> {
    let is_begun = story.closed() && story.reached(Stage::Entered).is_some();
    if let Some(ended) = story.is_run_by_nobody_here().filter(|_| is_begun) {
        let text = "the task had begun, and no line tells of its end; nobody consumes its queue, and no worker of it runs here, so the one that ran it has ended, unless it is elsewhere and has lost its connection";
        return Some(match story.tells_of_ends() {
            true => Answer::likely(text, ended),
            false => Answer::possible(
                format!("{text}; or it had returned: this log has told of no end"),
                ended,
            ),
        });
    }
    let evidence = story.replaced_in_its_run().filter(|_| story.closed())?;
    story.reached(Stage::Entered)?;
    Some(Answer::likely(
        "the task had begun, and a worker has started since its last line; no other consumes the queue, so the one that ran it has ended",
        evidence,
    ))
}

/// Whose task died with it, no line says.
fn by_its_result(story: &Story<'_>) -> Option<Answer> {
    let evidence = story.failed_beside_a_lost_job()?;
    let text = "the result says that the task failed, no line of the log tells of an error of it, and a child of the worker died with a task that no line names";
    Some(Answer::possible(text, evidence))
}

/// Whose connection had the message is not known. It was begun, a worker process died, and the queue that it was
/// taken from has no consumer any more: of those that had it, that one is known to have died.
fn a_worker_died_meanwhile(story: &Story<'_>) -> Option<Answer> {
    if story.reached(Stage::Entered).is_none() || story.attempt_over().is_some() || !story.raised().is_empty()
    {
        return None;
    }
    let Some(passage) = story.deliveries().last() else {
        return by_the_end_of_its_log(story);
    };
    if story.peer(passage.connection).is_some() {
        return None;
    }
    let died = story.worker_lines().iter().rfind(|told| {
        story.counts(told)
            && told.at_ms + LINES_MS >= passage.at_ms
            && matches!(told.mark, Some(LogEvent::ChildDied { .. }))
    })?;
    let left = story.depths_since(story.queue()).pop()?;
    let nobody_is_left = left.consumers == 0 && left.ready > 0 && left.at_ms > passage.at_ms;
    nobody_is_left.then(|| {
        Answer::likely(
            format!(
                "a worker process died after the task was begun: {} Whose connection had the message is not known; nobody consumes `{}` any more, and {} there",
                died.line.text,
                story.queue(),
                counted(left.ready, "message waits", "messages wait")
            ),
            [passage.n, died.n, left.n],
        )
    })
}

/// Afterwards nobody saw whose hands it was in.
fn by_the_end_of_its_log(story: &Story<'_>) -> Option<Answer> {
    let died = story.life_ended_in_a_death().filter(|_| story.closed())?;
    let left = story.depths(story.queue()).last()?;
    let text = format!(
        "the row says that the task was begun, the worker's log ends in a death, and what it had in hand is back on `{}`, which nobody consumes: {}",
        story.queue(),
        died.line.text
    );
    let begun = story.rows().last().map(|row| row.n);
    let evidence = [Some(died.n), Some(left.n), begun];
    let nobody = nobody_is_left(story, &died);
    let answer = Answer::likely(text, evidence.into_iter().flatten().collect::<Vec<u32>>());
    let by_itself = matches!(died.mark, Some(LogEvent::ChildDied { code: 1.., .. }));
    Some(
        answer
            .owned_by(by_itself.then_some(&[Owner::WorkerCode]))
            .case("the program ended itself", by_itself)
            .case("no worker is left", nobody.unwrap_or(true)),
    )
}

/// Two sources with different delays.
const LINES_MS: f64 = 500.0;

/// No line said so: the process that had it is gone, and nothing settled it.
fn its_process_is_gone(story: &Story<'_>) -> Answer {
    let Some(passage) = story.deliveries().next() else {
        return Answer::NotApplicable;
    };
    if story.attempt_over().is_some() || !story.raised().is_empty() {
        return Answer::NotApplicable;
    }
    // Whose connection it was, or who says in the log that it received it.
    let received = story
        .lines()
        .iter()
        .find(|told| matches!(told.mark, Some(LogEvent::Received { .. })));
    let pid = story
        .peer(passage.connection)
        .map(|peer| peer.value)
        .or(received.and_then(|told| told.pid));
    let Some(pid) = pid else {
        return Answer::NotApplicable;
    };
    let stopped = story
        .worker_lines()
        .iter()
        .any(|told| story.counts(told) && matches!(told.mark, Some(LogEvent::Stopping | LogEvent::ShutDown)));
    let Some(n) = story.gone(pid) else {
        return Answer::NotApplicable;
    };
    let again = story
        .deliveries()
        .find(|passage| passage.redelivered)
        .map(|passage| passage.n);
    let was_worker = story
        .process(pid)
        .is_some_and(|process| workers::is_worker(&process))
        || story.is_watched(pid) == Some(true);
    match again {
        // A worker that is told to stop gives back what it has not begun.
        _ if stopped => Answer::NotApplicable,
        // The broker holds it no more: it was acknowledged before.
        None if holding::is_settled_since(story, n) => Answer::NotApplicable,
        // What took it first may have been no worker, and whoever has it now may finish it.
        Some(_) if !was_worker => Answer::NotApplicable,
        // Another one in its hands may have ended it each time, before this one had begun.
        Some(again) if story.reached(Stage::Entered).is_none() && holding::had_others(story) => {
            let text = format!(
                "pid {pid} had the message, and others, and is gone; the message came back, and nothing shows that its run had begun"
            );
            Answer::possible(text, [passage.n, n, again])
        }
        Some(again) => Answer::likely(
            format!("pid {pid} had the message and is gone; the message came back"),
            [passage.n, n, again],
        ),
        // Below DEBUG an acknowledgement is invisible: it may have ended in peace since.
        None if story
            .line(|mark| matches!(mark, LogEvent::Received { .. }))
            .is_some() =>
        {
            let text = format!("pid {pid} had the message and is gone; nothing acknowledged it");
            let died_at = story.timeline.event(n).map_or(f64::MIN, |gone| gone.at_ms);
            let (text, evidence) = match memory::killed_in_its_container(story, pid, died_at) {
                Some(why) => (format!("{text}; {why}"), vec![passage.n, n, why.n]),
                None => (text, vec![passage.n, n]),
            };
            // Its last lines may be lost: only a message that is there again, or a log that is whole, shows that it
            // was not acknowledged.
            let answer = match holding::came_back(story) {
                Some(back) => Answer::shown(text, evidence).resting_on([back]),
                None => Answer::shown(text, evidence).given([Premise::LogIsWhole]),
            };
            // A place's log comes another way than the news of its processes, and may be the later one.
            match (place::place_of(pid).is_some(), story.closed()) {
                (false, _) => answer.terminal_after(LOOK_MS),
                (true, true) => answer,
                (true, false) => answer.at_most(Certainty::Likely),
            }
        }
        None if was_worker && let Some(answer) = with_what_was_acknowledged(story, pid, [passage.n, n]) => {
            answer
        }
        None if story.closed() => {
            let text = format!("pid {pid} had the message and is gone");
            match holding::came_back(story).filter(|_| story.reached(Stage::Entered).is_some()) {
                Some(back) => {
                    let text = format!("{text}; `{}` holds one message more since", story.queue());
                    Answer::likely(text, [passage.n, n, back])
                }
                None => Answer::possible(text, [passage.n, n]).would_decide(&[Source::WorkerLog]),
            }
        }
        None => Answer::NotApplicable,
    }
}

/// It was acknowledged as its run began, and does not come back.
fn with_what_was_acknowledged(story: &Story<'_>, pid: i32, shown: [u32; 2]) -> Option<Answer> {
    if !story.closed() || !story.debug_log() {
        return None;
    }
    // Where the log tells of every end, and the task had begun, it would have told of this one.
    if !story.acknowledges_after_the_run() && story.reached(Stage::Entered).is_some() {
        let text = format!("pid {pid} ran the task and is gone; nothing says that it had ended");
        return Some(Answer::likely(text, shown));
    }
    let early = story.acknowledged_early()?;
    let text = format!(
        "pid {pid} had the task, which may have begun, and is gone; it was acknowledged, so it does not come back"
    );
    Some(Answer::likely(text, [shown[0], shown[1], early]))
}

/// Nobody consumes the queue since the death; unknown before that is looked at.
fn nobody_is_left(story: &Story<'_>, died: &WorkerLine<'_>) -> Option<bool> {
    let last = story.depths(story.queue()).last()?;
    (last.at_ms > died.at_ms).then_some(last.consumers == 0)
}

/// So long a look at the queue takes, which says whether the message is back and who is left.
const LOOK_MS: u64 = 400;

/// The log is quicker: an engine tells of a kill for memory up to a second or so later. A pool says which of its
/// jobs was lost a moment later, too.
fn until_it_says_why(story: &Story<'_>, told: &WorkerLine<'_>) -> u64 {
    let killed = matches!(told.mark, Some(LogEvent::ChildDied { code: -9, .. }));
    let in_container = story.container_of_stream(told.line.stream.as_deref()).is_some();
    match killed && in_container && story.sees(Source::Containers) {
        true => 1500,
        false if !story.acknowledges_after_the_run() && story.job_lost(told).is_none() => 1000,
        false => LOOK_MS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::Certainty;
    use crate::diagnosis::testing::{OTHER, Scene, WORKER, died};
    use crate::timeline::Ended;

    /// `docker rm -f`, or a restart, in the middle of a task.
    #[test]
    fn a_container_that_somebody_ended() {
        let news = |action: &str| EventKind::ContainerEvent {
            container: "shop-worker-1".into(),
            action: action.into(),
            exit: None,
        };
        let ended = |action: &str| {
            Scene::entered()
                .worker_container("c1", "running", |_| {})
                .worker_process(&[WORKER])
                .peer(WORKER, 101)
                .gone(101)
                .see(Source::Containers, news(action))
                .silence()
                .verdict()
                .cause
                .expect("a cause")
        };
        let by_order = ended("kill");
        assert_eq!(by_order.id, "worker-died-in-actor");
        assert!(
            by_order.summary.contains("engine's order (kill)"),
            "{}",
            by_order.summary
        );
        assert_eq!(by_order.owner.first(), Some(&Owner::Deployment));
        assert!(!ended("die").summary.contains("order"));
    }

    #[test]
    fn the_master_says_so() {
        assert_eq!(
            died(Scene::entered(), 101).cause(),
            "certain worker-died-in-actor"
        );
    }

    /// Another message that the same process had in hand may have ended it.
    #[test]
    fn with_others_in_hand_it_is_not_known_which_ended_it() {
        let received = "[PID 101] [Thread-5] [dramatiq.worker.WorkerThread] [DEBUG] Received message render('x') with id 'm-7'.";
        let other = died(Scene::entered().line(received), 101);
        assert_eq!(other.answer(&CAUSE), "likely");
        assert!(other.summary().contains("`render`"), "{}", other.summary());
        let elsewhere = received.replace("PID 101", "PID 102");
        let other = died(Scene::entered().line(&elsewhere), 101);
        assert_eq!(other.cause(), "certain worker-died-in-actor");
    }

    #[test]
    fn a_process_that_died_later_or_another_one_is_a_near_miss() {
        let settled = died(Scene::entered().completed().acked("m-1"), 101);
        assert_eq!(settled.answer(&CAUSE), "not applicable");
        assert_eq!(died(Scene::entered(), 102).answer(&CAUSE), "not applicable");
    }

    /// Celery's master says of each child that dies, and of each job that is lost with one: an idle child had none.
    #[test]
    fn an_idle_child_that_died_had_nothing_in_hand() {
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OTHERS, OURS};
        let death = "Process 'ForkPoolWorker-1' pid:427 exited with 'signal 9 (SIGKILL)'";
        let lost = "Task handler raised error: WorkerLostError('Worker exited prematurely: signal 9 (SIGKILL) Job: 1.')";
        let running = || {
            CeleryScene::in_pool("prefork")
                .info(&format!("Task shop.tasks.slow[{OTHERS}] received"))
                .info(&format!("Task shop.tasks.slow[{OTHERS}] succeeded in 0.1s: None"))
                .deliver()
                .info(&format!("Task shop.tasks.fulfil[{OURS}] received"))
                .and(|scene| scene.row("RUNNING"))
        };
        // It may still say so.
        assert_eq!(running().error(death).answer(&CAUSE), "likely");
        assert_eq!(running().error(death).silence().answer(&CAUSE), "not applicable");
        let with_a_job = running().error(death).error(lost);
        assert_eq!(with_a_job.answer(&CAUSE), "certain");
        // The worker says afterwards that it runs: the job that was lost is another's.
        let goes_on = running()
            .error(death)
            .error(lost)
            .answers(|answer| answer.active(OURS));
        assert_eq!(goes_on.silence().answer(&CAUSE), "not applicable");
    }

    /// Its worker answers before it has missed its child.
    #[test]
    fn a_child_that_is_dead_and_still_counted() {
        use crate::diagnosis::causes::actor_still_running;
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OURS};
        let counted = |state: char| {
            let child = "python celery -A shop worker";
            let scene = CeleryScene::received()
                .and(|scene| scene.process(427, 100, child, |process| process.state = state));
            let scene = scene.answers(|answer| answer.active_in(OURS, 427));
            scene.silence()
        };
        let dead = counted('Z');
        assert_eq!(dead.cause(), "likely worker-died-in-actor", "{}", dead.summary());
        assert_eq!(dead.answer(&actor_still_running::CAUSE), "ruled out");
        assert_eq!(counted('S').cause(), "likely actor-still-running");
    }

    /// At WARNING no line tells of the task; the only message that the worker got is what died with its child.
    #[test]
    fn the_only_job_of_a_quiet_worker() {
        use crate::diagnosis::causes::celery::scenes::CeleryScene;
        let death = "Process 'ForkPoolWorker-2' pid:112 exited with 'signal 9 (SIGKILL)'";
        let lost = "Task handler raised error: WorkerLostError('Worker exited prematurely: signal 9 (SIGKILL) Job: 0.')";
        let taken = |unacked: u64| {
            CeleryScene::in_pool("prefork")
                .and(|scene| {
                    scene
                        .at(-500.0)
                        .totals("celery", 0, unacked, serde_json::json!({}))
                        .at(100.0)
                })
                .deliver()
                .and(|scene| scene.row("RUNNING"))
        };
        let died = |scene: CeleryScene| {
            scene
                .and(|scene| scene.process(112, 100, "python celery -A shop worker", |_| {}))
                .error(death)
                .error(lost)
        };
        assert_eq!(died(taken(0)).silence().answer(&CAUSE), "likely");
        // Another one's was in hand before.
        assert_eq!(died(taken(1)).silence().answer(&CAUSE), "not applicable");
        // The log was read for the last time before the second line can have been written.
        let read = |after_ms: f64| {
            let scene = taken(0).and(|scene| scene.process(112, 100, "python celery -A shop worker", |_| {}));
            scene
                .and(|scene| scene.at(5_000.0))
                .error(death)
                .and(|scene| {
                    let path = "worker.log".into();
                    let scene = scene.at(5_000.0 + after_ms);
                    scene
                        .see(Source::WorkerLog, EventKind::ReadWhole { path })
                        .silence()
                })
                .answer(&CAUSE)
        };
        assert_eq!(read(400.0), "likely");
        assert_eq!(read(4_000.0), "not applicable");
    }

    /// Entered by what the row says; the log is quiet.
    fn quiet() -> Scene {
        Scene::accepted()
            .row("PENDING")
            .publish("default")
            .deliver(WORKER)
            .peer(WORKER, 101)
            .row("RUNNING")
    }

    #[test]
    fn below_debug_only_a_redelivery_shows_that_it_was_not_settled() {
        assert_eq!(quiet().gone(101).timeout().answer(&CAUSE), "possible");
        // Whoever has it now may finish it, so it is not certain yet; and a script is no worker.
        let again = |scene: Scene| scene.gone(101).deliver_as("m-1", OTHER, true);
        assert_eq!(
            again(quiet().worker_process(&[])).cause(),
            "likely worker-died-in-actor"
        );
        assert_eq!(again(quiet()).cause(), "none");
    }

    /// Nothing says whose connection had the message.
    #[test]
    fn a_worker_died_and_nobody_is_left_at_the_queue() {
        let begun = || Scene::published().deliver(WORKER).row("RUNNING");
        let left = |scene: Scene, consumers| scene.depth("default", 1, consumers).timeout().answer(&CAUSE);
        assert_eq!(left(died(begun(), 101), 0), "likely");
        // Another worker consumes, and may have it.
        assert_eq!(left(died(begun(), 101), 1), "not applicable");
        // Nobody died, or it was done before that.
        assert_eq!(left(begun(), 0), "not applicable");
        let done = begun().row("COMPLETED").completed().acked("m-1");
        assert_eq!(left(died(done, 101), 0), "not applicable");
        // Another process had it.
        assert_eq!(left(died(begun().peer(WORKER, 102), 101), 0), "not applicable");
        // What waits there is not known to be the task's: no text says so.
        let waits = died(begun(), 101).depth("default", 1, 0).timeout();
        assert!(
            waits.summary().contains("1 message waits there"),
            "{}",
            waits.summary()
        );
    }

    #[test]
    fn a_worker_that_was_told_to_stop_is_a_near_miss() {
        let scene = quiet()
            .info("dramatiq.WorkerProcess(0)", "Stopping worker process...")
            .gone(101)
            .timeout();
        assert_eq!(scene.answer(&CAUSE), "not applicable");
        let blind = scene.without(Source::WorkerLog).without(Source::Process);
        assert_eq!(blind.answer(&CAUSE), "cannot tell");
    }

    /// Below DEBUG nothing says that it returned before the process died of something else.
    #[test]
    fn entered_without_a_debug_log_is_no_more_than_likely() {
        let entered = Scene::published()
            .deliver(WORKER)
            .info("app", "ACTOR ENTRY task_id=task_1");
        assert_eq!(died(entered, 101).cause(), "likely worker-died-in-actor");
    }

    /// No line tells of it: the process that had it is gone, and its queue holds one message more.
    #[test]
    fn one_message_more_on_the_queue_is_the_one_that_came_back() {
        let scene = |before: u64, after: u64| {
            Scene::quiet(|scene| scene.totals("default", 0, before, serde_json::json!({})))
                .info("app", "ACTOR ENTRY task_id=task_1")
                .gone(101)
                .depth("default", after, 0)
                .timeout()
        };
        assert_eq!(scene(0, 1).cause(), "likely worker-died-in-actor");
        // What others had in hand comes back, too.
        assert_eq!(scene(1, 1).answer(&CAUSE), "possible");
        assert_eq!(scene(0, 0).answer(&CAUSE), "possible");
    }

    /// A helper of the actor's that was killed earlier is another process.
    #[test]
    fn a_kill_for_memory_is_that_of_the_death_only_where_both_come_together() {
        let after = |ms: f64| {
            let oom = crate::timeline::EventKind::ContainerEvent {
                container: "shop-worker-1".into(),
                action: "oom".into(),
                exit: None,
            };
            let scene = Scene::entered()
                .worker_container("a1", "running", |_| {})
                .at(1000.0)
                .see(Source::Containers, oom);
            died(scene.at(1000.0 + ms), 101).summary()
        };
        assert!(after(100.0).contains("killed a process of container shop-worker-1 for memory"));
        assert!(after(1900.0).contains("killed some process"), "{}", after(1900.0));
    }

    #[test]
    fn who_acts_depends_on_how_it_ended() {
        let owner = |code: &str| {
            let line = format!(
                "[PID 100] [MainThread] [dramatiq.MainProcess] [CRITICAL] Worker with PID 101 exited unexpectedly (code {code}). Shutting down..."
            );
            let verdict = Scene::entered().line(&line).verdict();
            verdict.cause.expect("a cause").owner
        };
        assert_eq!(owner("7"), [Owner::WorkerCode]);
        assert_eq!(owner("-9"), CAUSE.owner);
    }

    /// Acknowledged as its run begins: what dies with it does not come back, whether or not a line tells of the run.
    #[test]
    fn one_that_was_acknowledged_before_dies_with_its_worker() {
        use crate::diagnosis::causes::celery::scenes::CeleryScene;
        let gone = |unacked: u64| {
            CeleryScene::received()
                .unacked(unacked)
                .and(|scene| scene.gone(100).depth("celery", 0, 0))
                .silence()
        };
        let lost = gone(0).verdict();
        let cause = lost.cause.expect("a cause");
        assert_eq!(
            (cause.id.as_str(), cause.certainty),
            (CAUSE.id, Certainty::Likely),
            "{}",
            cause.summary
        );
        assert!(cause.summary.contains("does not come back"), "{}", cause.summary);
        assert_eq!(lost.scenario, None);
        // The broker still has it: it will be given back.
        assert_ne!(gone(1).answer(&CAUSE), "likely");
    }

    /// Looked at afterwards, when nothing of the worker is left.
    #[test]
    fn one_whose_worker_is_not_there_any_more() {
        use crate::timeline::{Ended, Level};
        let looked = |consumers: u64, ends: &str| {
            let scene = Scene::new().setup(|setup| {
                setup.framework = "celery".into();
                setup.queue = "celery".into();
                setup.actor = Some("shop.tasks.fulfil".into());
            });
            let info = |scene: Scene, text: &str| scene.plain(Some(Level::Info), text);
            let scene = info(
                scene.from_before(60),
                " -------------- celery@vm v5.7.0 (collider)",
            );
            let scene = info(scene, ends);
            let scene = info(
                scene,
                "shop.tasks.fulfil[5c6a5b7e-7a09-4a1f-9d2c-0d5e3c0b7f11]: ACTOR ENTRY task_id=task_1",
            );
            let scene = scene.from_now_on().given().row("RUNNING");
            scene.depth("celery", 1, consumers).end(Ended::Looked)
        };
        let other = "Task shop.tasks.tidy[11111111-7a09-4a1f-9d2c-0d5e3c0b7f11] succeeded in 0.1s: None";
        let dead = looked(0, other);
        assert_eq!(dead.answer(&CAUSE), "likely", "{}", dead.summary());
        assert_eq!(dead.cause(), "likely worker-died-in-actor");
        assert_eq!(looked(1, other).answer(&CAUSE), "not applicable");
        // A log that tells of no end may not tell of this one's either.
        let silent = looked(0, "celery@vm ready.");
        assert_eq!(silent.answer(&CAUSE), "possible", "{}", silent.summary());
        assert_eq!(looked(1, "celery@vm ready.").answer(&CAUSE), "not applicable");
    }

    /// Its second run may end well: nothing is decided before that.
    #[test]
    fn one_that_is_begun_again_is_waited_for() {
        let again = |times: usize| {
            let dead = died(Scene::entered(), 101);
            let scene = (0..times).fold(dead, |scene, _| scene.deliver_as("m-1", OTHER, true));
            scene.verdict()
        };
        assert!(again(0).terminal);
        assert!(!again(1).terminal);
        let loops = again(2);
        assert!(loops.terminal, "{:?}", loops.cause);
    }

    /// Below INFO no line names the task that died with a child.
    #[test]
    fn a_result_that_failed_beside_a_child_that_died() {
        use crate::timeline::Level;
        let looked = |lines: &[&str], table: &str| {
            let id = "5c6a5b7e-7a09-4a1f-9d2c-0d5e3c0b7f11";
            let scene = Scene::new().setup(|setup| {
                setup.framework = "celery".into();
                setup.queue = "celery".into();
                setup.table = Some(table.into());
                setup.post_mortem = true;
                setup.failed = vec!["FAILURE".into()];
            });
            let told = lines.iter().fold(scene.from_before(5), |scene, text| {
                scene.plain(Some(Level::Error), text)
            });
            let given = crate::timeline::EventKind::Given { task_id: id.into() };
            let scene = told.from_now_on().see(Source::Api, given);
            let scene = scene.row("FAILURE").depth("celery", 0, 1);
            scene.end(Ended::Looked).answer(&CAUSE)
        };
        let died = "Process 'ForkPoolWorker-2' pid:5755 exited with 'signal 9 (SIGKILL)'";
        let lost = "Task handler raised error: WorkerLostError('Worker exited prematurely: signal 9 (SIGKILL) Job: 1.')";
        assert_eq!(looked(&[died, lost], "celery_taskmeta"), "possible");
        assert_eq!(
            looked(&[died], "celery_taskmeta"),
            "not applicable",
            "an idle child"
        );
        let ours =
            "Task shop.tasks.fulfil[5c6a5b7e-7a09-4a1f-9d2c-0d5e3c0b7f11] raised unexpected: KeyError('no')";
        assert_eq!(looked(&[ours, died, lost], "celery_taskmeta"), "not applicable");
    }

    #[test]
    fn what_to_do_depends_on_whether_the_message_came_back() {
        use crate::diagnosis::causes::celery::scenes::CeleryScene;
        let remedies = |ready: u64| {
            let scene = CeleryScene::received().unacked_of(ready, 0);
            let scene = scene.and(|scene| scene.gone(100).depth("celery", ready, 0));
            scene
                .silence()
                .verdict()
                .cause
                .expect("a cause")
                .remedies
                .join(" ")
        };
        assert!(remedies(0).contains("send the task again"), "{}", remedies(0));
        assert!(!remedies(0).contains("it runs again from"), "{}", remedies(0));
    }

    /// Its second delivery is at work, or has died as well.
    #[test]
    fn afterwards_a_message_that_was_taken_again_is_no_dead_process_any_more() {
        let received = "Received message act('task_1') with id 'm-1'.";
        let dead = Scene::new()
            .given()
            .from_before(5)
            .debug("dramatiq.worker.WorkerThread", received)
            .info("app", "ACTOR ENTRY task_id=task_1")
            .critical(
                "dramatiq.MainProcess",
                "Worker with PID 101 exited unexpectedly (code -9). Shutting down...",
            );
        let looked = |scene: Scene| {
            let scene = scene.from_now_on().row("PENDING").end(Ended::Looked);
            scene.verdict().cause.map(|cause| cause.id)
        };
        let again = dead.clone().debug("dramatiq.worker.WorkerThread", received);
        let entered = again.clone().info("app", "ACTOR ENTRY task_id=task_1");
        assert_eq!(looked(dead).as_deref(), Some("worker-died-in-actor"));
        assert_eq!(looked(again).as_deref(), Some("blocked-before-entry"));
        assert_eq!(looked(entered).as_deref(), Some("actor-still-running"));
    }

    /// Told to stop by the lines that were lost, it had acknowledged what it had.
    #[test]
    fn one_whose_last_lines_are_lost() {
        let gone = || Scene::entered().worker_process(&[WORKER]).gone(101);
        assert_eq!(gone().silence().answer(&CAUSE), "likely");
        let path = "worker.log".to_owned();
        let whole = gone().see(Source::WorkerLog, EventKind::ReadWhole { path });
        assert_eq!(whole.silence().answer(&CAUSE), "certain");
        // The broker holds it no more, or has it back.
        let counted = |ready, unacked| {
            gone()
                .totals("default", ready, unacked, serde_json::json!({}))
                .depth("default", ready, 0)
                .silence()
        };
        assert_eq!(counted(0, 0).answer(&CAUSE), "not applicable");
        assert_eq!(counted(1, 0).answer(&CAUSE), "likely");
        let idle = Scene::new().totals("default", 0, 0, serde_json::json!({}));
        let back = idle
            .submitted()
            .publish("default")
            .deliver(WORKER)
            .peer(WORKER, 101)
            .debug(
                "dramatiq.worker.WorkerThread",
                "Received message act('task_1') with id 'm-1'.",
            )
            .info("app", "ACTOR ENTRY task_id=task_1")
            .worker_process(&[WORKER])
            .gone(101)
            .depth("default", 1, 0);
        assert_eq!(back.silence().answer(&CAUSE), "certain");
    }

    /// Lines in a format of the application's, without pids: the connection says which process has the message.
    #[test]
    fn a_sibling_that_died_is_a_near_miss() {
        let without_pids = |pid: i32| {
            let mut scene = died(Scene::entered().worker_process(&[WORKER]), pid);
            for event in &mut scene.timeline.events {
                if let EventKind::Line(line) = &mut event.kind {
                    line.pid = None;
                }
            }
            scene.answer(&CAUSE)
        };
        assert_ne!(without_pids(101), "not applicable");
        assert_eq!(without_pids(102), "not applicable");
    }

    /// Its queue was looked at for the first time when it was dead: that nobody consumed is no word of whether it had it.
    #[test]
    fn it_died_before_the_first_look() {
        let scene = |status: &str| {
            let scene = Scene::quiet(|scene| scene.depth("default", 0, 1)).row(status);
            died(scene, 101).gone(101).depth("default", 1, 0).silence()
        };
        let begun = scene("RUNNING");
        assert_eq!(
            begun.cause(),
            "likely worker-died-in-actor",
            "{}",
            begun.summary()
        );
        assert_ne!(scene("PENDING").cause(), "likely worker-died-in-actor");
    }

    /// Afterwards: the row, the log's last word, and a message that is back.
    #[test]
    fn its_log_ends_in_a_death() {
        let asked = |pid: i32, status: &str, said_later: bool| {
            let scene = Scene::new()
                .given()
                .from_before(20)
                .info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.");
            let scene = died(scene, pid).from_now_on();
            let mut scene = scene
                .api_log("accepted task_1", "")
                .row(status)
                .depth("default", 1, 0);
            for event in &mut scene.timeline.events {
                if let EventKind::Line(line) = &mut event.kind
                    && event.source == Source::ApiLog
                {
                    line.before = true;
                    line.carries_task_id = true;
                    event.at_ms = if said_later { 0.0 } else { -2_000.0 };
                }
            }
            scene.silence()
        };
        let begun = asked(101, "RUNNING", false);
        assert_eq!(
            begun.cause(),
            "likely worker-died-in-actor",
            "{}",
            begun.summary()
        );
        // One that never came up had nothing in hand; nor had one that died before there was the task.
        for other in [
            asked(102, "RUNNING", false),
            asked(101, "PENDING", false),
            asked(101, "RUNNING", true),
        ] {
            assert!(
                !other.cause().ends_with("worker-died-in-actor"),
                "{}",
                other.summary()
            );
        }
    }
}
