//! The process died between receiving and entering.

use crate::diagnosis::evidence::workers;
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "crash-before-entry",
    keeps_from: &[Stage::Entered, Stage::Received],
    owner: &[Owner::DatabaseHost],
    explains: &["delivery-limit-reached"],
    // What died may have taken its last lines with it: it may have entered the actor.
    scenario: None,
    needs: &[&[Source::WorkerLog]],
    page: include_str!("crash_before_entry.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if !story.acknowledges_after_the_run() {
        return of_a_child(story);
    }
    let Some(received) = story.line(|mark| matches!(mark, LogEvent::Received { .. })) else {
        return Answer::NotApplicable;
    };
    let Some(died) = story.died_in_actor() else {
        return Answer::NotApplicable;
    };
    let text = format!(
        "the worker process died with the message received and the actor not entered: {}",
        died.line.text
    );
    // Once the framework has called the actor, its first lines may have died with the process,
    // unwritten. Before that, nothing of it can have run; but only a log at DEBUG shows the call,
    // and only if it shows the application's loggers too.
    let evidence = [received.n, died.n];
    let answer = match story.line(|mark| matches!(mark, LogEvent::Called)) {
        Some(_) if story.timeline.setup.entry_pattern.is_some() => Answer::likely(text, evidence),
        Some(_) => Answer::possible(text, evidence),
        // A handler may pass lines on by a thread of its own: the last ones die with the process.
        None if workers::shows_calls(story) => {
            Answer::likely(text, evidence).given([Premise::OneProcessPerLogThread { pid: received.pid }])
        }
        // An actor may do much before it first writes to its row.
        None => Answer::likely(
            format!(
                "the worker process died with the message received; whether the actor had been entered is not shown: {}",
                died.line.text
            ),
            evidence,
        ),
    };
    // A code that is no signal is the program's own: `sys.exit`, `os._exit`.
    let by_itself = matches!(died.mark, Some(LogEvent::ChildDied { code: 1.., .. }));
    answer
        .owned_by(by_itself.then_some(&[Owner::WorkerCode]))
        .terminal()
}

/// Where no line says when a child begins, it may have come into the actor without a word.
fn of_a_child(story: &Story<'_>) -> Answer {
    let Some(pushed) = story.line(|mark| matches!(mark, LogEvent::Pushed { .. })) else {
        return Answer::NotApplicable;
    };
    match story.died_in_actor() {
        // Later than that an idle child has begun with it.
        Some(died) if story.reached(Stage::Entered).is_none() && died.at_ms <= pushed.at_ms + BEGINS_MS => {
            Answer::likely(
                format!(
                    "a child of the worker died, and the worker had no other message in hand: {}",
                    died.line.text
                ),
                [pushed.n, died.n],
            )
        }
        _ => Answer::NotApplicable,
    }
}

/// So soon a child takes what its worker has for it.
const BEGINS_MS: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Scene, died};

    #[test]
    fn it_died_with_the_message_in_its_hands() {
        let call = "[PID 101] [Thread-9] [app.act] [DEBUG] Received args=('task_0',) kwargs={}.";
        let received = "Received message act('task_1') with id 'm-1'.";
        let seen = Scene::delivered()
            .line(call)
            .debug("dramatiq.worker.WorkerThread", received);
        assert_eq!(died(seen, 101).cause(), "likely crash-before-entry");
        // The row is as it was, and the log too quiet to show a call.
        assert_eq!(died(Scene::received(), 101).cause(), "likely crash-before-entry");
    }

    #[test]
    fn once_called_the_actors_first_lines_may_be_lost() {
        assert_eq!(died(Scene::called(), 101).cause(), "likely crash-before-entry");
    }

    #[test]
    fn another_process_or_a_settled_message_is_a_near_miss() {
        assert_eq!(died(Scene::received(), 102).answer(&CAUSE), "not applicable");
        assert_eq!(
            died(Scene::called().completed().acked("m-1"), 101).answer(&CAUSE),
            "not applicable"
        );
    }

    #[test]
    fn without_the_log_it_cannot_be_told() {
        assert_eq!(
            died(Scene::received(), 101)
                .without(Source::WorkerLog)
                .answer(&CAUSE),
            "cannot tell"
        );
    }

    /// A child takes what its worker has at once: seconds later it has begun, and no line says how far it is.
    #[test]
    fn a_child_that_died_later_may_have_run_it() {
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OURS};
        let death = "Process 'ForkPoolWorker-1' pid:427 exited with 'signal 9 (SIGKILL)'";
        let lost = "Task handler raised error: WorkerLostError('Worker exited prematurely: signal 9 (SIGKILL) Job: 0.')";
        let died = |after_ms: f64| {
            CeleryScene::in_pool("prefork")
                .deliver()
                .info(&format!("Task shop.tasks.fulfil[{OURS}] received"))
                .and(|mut scene| {
                    let now = scene.timeline.events.last().map_or(0.0, |event| event.at_ms);
                    scene = scene.at(now + after_ms);
                    scene
                })
                .error(death)
                .error(lost)
                .silence()
        };
        let late = died(2_500.0).verdict();
        let cause = late.cause.expect("a cause");
        assert_eq!(cause.id, "worker-died-in-actor", "{}", cause.summary);
        assert!(cause.summary.contains("how far it had come"), "{}", cause.summary);
        assert_eq!(late.scenario, None, "it may have run");
        assert_eq!(died(2_500.0).answer(&CAUSE), "not applicable");
        assert_eq!(died(20.0).answer(&CAUSE), "likely");
    }

    /// Its last lines may have died with it.
    #[test]
    fn that_the_actor_was_not_entered_is_not_said() {
        let verdict = died(Scene::received(), 101).verdict();
        assert_eq!(verdict.scenario, None);
        let entered = verdict.stages.iter().find(|stage| stage.stage == Stage::Entered);
        assert_eq!(entered.and_then(|stage| stage.reached), None);
        // Where the process lives, what its log does not say did not happen.
        let alive = died(Scene::received(), 102).silence().verdict();
        let entered = alive.stages.iter().find(|stage| stage.stage == Stage::Entered);
        assert_eq!(entered.and_then(|stage| stage.reached), Some(false));
    }
}
