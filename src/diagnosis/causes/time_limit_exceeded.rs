//! The actor ran longer than it may.

use crate::diagnosis::evidence::{WorkerLine, retries, stacks, workers};
use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::framework::{LogEvent, raises_one_of};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "time-limit-exceeded",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::WorkerCode],
    needs: &[&[Source::WorkerLog, Source::Firehose]],
    fails_attempt: true,
    page: include_str!("time_limit_exceeded.md"),
    check,
    ..Cause::DEFAULT
};

/// So soon the thread raises, unless it stands inside one C call.
const RAISED_MS: f64 = 2_000.0;

fn check(story: &Story<'_>) -> Answer {
    // An earlier attempt's limit does not explain what a later one raised.
    let limits = story.framework().time_limits;
    // The same exception ends a task whose process was sent that signal by hand.
    let is_ended = story
        .line(|mark| matches!(mark, LogEvent::Terminating { .. }))
        .is_some()
        && story.line(|mark| matches!(mark, LogEvent::TimeLimit)).is_none();
    let over = story
        .raised()
        .last()
        .filter(|raised| raised.is_one_of(limits) && !is_ended && !story.is_limit_of_another(raised));
    if let Some(raised) = over {
        let place = stacks::own_place(raised);
        return Answer::shown(
            format!(
                "the actor's time limit was exceeded{place}{}",
                retries::retry_state(story)
            ),
            [raised.n],
        )
        .terminal_if(retries::final_attempt(story));
    }
    if let Some(killed) = story.line(|mark| matches!(mark, LogEvent::KilledAtTimeLimit)) {
        return Answer::shown(
            format!("{}: the process that ran the actor was killed", killed.line.text),
            [killed.n],
        )
        .terminal();
    }
    let pid = story.lines().iter().find_map(|told| told.pid);
    let warned = story.worker_lines().iter().find(|told| {
        story.may_be_about_it(told)
            && matches!(told.mark, Some(LogEvent::TimeLimit))
            && told.pid == pid
            && told.message_id().is_none_or(|id| story.is_my_message(id))
    });
    // It names a thread by a number that no other line has: whose message that had is known by what followed.
    let anothers = |told: &WorkerLine<'_>| {
        story.worker_lines().iter().any(|after| {
            let raised = after.line.traceback.as_deref();
            after.n > told.n
                && after.at_ms <= told.at_ms + RAISED_MS
                && after.pid == told.pid
                && !story.lines().iter().any(|mine| mine.n == after.n)
                && raised.is_some_and(|text| raises_one_of(text, limits))
        })
    };
    match warned {
        Some(told) if story.closed() && story.attempt_over().is_none() && !anothers(told) => {
            let line = told.line.text.trim_end_matches('.');
            // A task that swallows the exception returns, and a quiet log does not tell of that.
            let would_show = story.debug_log() || stands_in_it_since(story, told);
            if !would_show {
                let text = format!(
                    "{line}. What followed is in no line: it may have been swallowed, or be of no avail inside one C call"
                );
                return Answer::possible(text, [told.n]).would_decide(&[Source::Process]);
            }
            let text = format!(
                "{line}. Nothing followed, and it goes on: it caught the exception, or stands in one C call, which cannot be interrupted"
            );
            // The line does not say which message it is about.
            let alone = (!story.others_were_delivered() || stacks::is_in_its_function(story, f64::MIN))
                && !is_in_another_call_since(story, told);
            let answer = match workers::running_others(story).is_empty() && alone {
                true => Answer::likely(text, [told.n]),
                false => Answer::possible(text, [told.n]),
            };
            answer.goes_on().would_decide(&[Source::Process])
        }
        _ => Answer::NotApplicable,
    }
}

/// A look after the limit found a thread in the task's function.
fn stands_in_it_since(story: &Story<'_>, told: &WorkerLine<'_>) -> bool {
    let shape = &story.framework().stack;
    let mut dumps = story.stacks().dumps().filter(|dump| dump.at_ms > told.at_ms);
    dumps.any(|dump| {
        let mut calls = dump.threads().filter(|thread| thread.call(shape).is_some());
        calls.any(|thread| stacks::may_run_ours(story, thread))
    })
}

/// A look after the limit found another thread of the process in a call, too: it may be the one that had run out of time.
fn is_in_another_call_since(story: &Story<'_>, told: &WorkerLine<'_>) -> bool {
    let shape = &story.framework().stack;
    let mut dumps = story.stacks().dumps().filter(|dump| dump.at_ms > told.at_ms);
    dumps.any(|dump| {
        dump.threads()
            .filter(|thread| thread.call(shape).is_some())
            .count()
            > 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    const LIMIT: &str = "Time limit exceeded. Raising exception in worker thread 139700000000000.";

    #[test]
    fn the_limit_was_raised_in_the_actor() {
        let scene = Scene::entered()
            .warning("dramatiq.middleware.time_limit.TimeLimit", LIMIT)
            .raised("dramatiq.middleware.time_limit.TimeLimitExceeded")
            .retrying();
        assert_eq!(scene.cause(), "certain time-limit-exceeded");
    }

    /// The application has errors of a similar name, and others quote one.
    #[test]
    fn another_exception_that_says_so_is_a_near_miss() {
        for exception in [
            "freight.errors.UpstreamTimeLimitExceeded: after 3 s",
            "freight.errors.TimeLimitExceeded: after 3 s",
            "RuntimeError: partner said TimeLimitExceeded",
            "RuntimeError: dramatiq.middleware.time_limit.TimeLimitExceeded at the partner's",
        ] {
            let scene = Scene::entered().raised(exception).retrying();
            assert_eq!(scene.answer(&CAUSE), "not applicable", "{exception}");
            assert_eq!(scene.cause(), "certain actor-raised", "{exception}");
        }
    }

    #[test]
    fn nothing_followed_the_warning() {
        let scene = Scene::entered().warning("dramatiq.middleware.time_limit.TimeLimit", LIMIT);
        assert_eq!(scene.clone().timeout().answer(&CAUSE), "likely");
        // What goes on has not failed; what has raised it has.
        assert_eq!(
            scene.clone().timeout().verdict().outcome,
            crate::diagnosis::Outcome::Unfinished
        );
        let crowded = scene
            .line("[PID 101] [Thread-5] [dramatiq.worker.WorkerThread] [DEBUG] Received message slow() with id 'other'.")
            .timeout();
        assert_eq!(crowded.answer(&CAUSE), "possible");
    }

    /// The line names neither task nor thread, and two are in calls.
    #[test]
    fn the_limit_may_be_that_of_another_thread() {
        const CALL: [(&str, &str); 2] = [
            ("Actor.__call__", "/v/site-packages/dramatiq/actor.py"),
            (
                "WorkerThread.process_message",
                "/v/site-packages/dramatiq/worker.py",
            ),
        ];
        let ours = [("act", "/app/tasks.py"), CALL[0], CALL[1]];
        let other = [("calibrate", "/app/tasks.py"), CALL[0], CALL[1]];
        let with = |threads: &[(&str, &[(&str, &str)])]| {
            let scene = Scene::entered().warning("dramatiq.middleware.time_limit.TimeLimit", LIMIT);
            scene.stacks(101, threads).timeout()
        };
        assert_eq!(with(&[("Thread-4", &ours)]).answer(&CAUSE), "likely");
        let two = with(&[("Thread-4", &ours), ("Thread-5", &other)]);
        assert_eq!(two.answer(&CAUSE), "possible");
        assert!(two.cause().ends_with("actor-still-running"), "{}", two.cause());
    }

    /// At WARNING a return is in no line.
    #[test]
    fn a_quiet_log_does_not_say_what_followed() {
        let quiet = Scene::new()
            .warning("dramatiq.WorkerProcess(0)", "Worker process is ready for action.")
            .submitted()
            .row("PENDING")
            .publish("default")
            .deliver(crate::diagnosis::testing::WORKER)
            .peer(crate::diagnosis::testing::WORKER, 101)
            .warning("app", "ACTOR ENTRY task_id=task_1")
            .warning("dramatiq.middleware.time_limit.TimeLimit", LIMIT);
        assert_eq!(quiet.timeout().answer(&CAUSE), "possible");
    }

    #[test]
    fn an_earlier_attempts_limit_is_a_near_miss() {
        let scene = Scene::entered()
            .raised("dramatiq.middleware.time_limit.TimeLimitExceeded")
            .retrying()
            .acked("m-1")
            .debug(
                "dramatiq.worker.WorkerThread",
                "Received message act('task_1') with id 'm-1'.",
            )
            .raised("ValueError: no")
            .retrying();
        assert_eq!(scene.cause(), "certain actor-raised");
        let blind = scene.without(Source::WorkerLog).without(Source::Firehose);
        assert_eq!(blind.answer(&CAUSE), "cannot tell");
    }

    /// The line names no message: what was raised right after it does.
    #[test]
    fn another_messages_limit_is_a_near_miss() {
        let scene = Scene::entered().warning("dramatiq.middleware.time_limit.TimeLimit", LIMIT);
        let others = scene
            .line("[PID 101] [Thread-5] [dramatiq.worker.WorkerThread] [ERROR] Failed to process message slow('7') with unhandled exception.\nTraceback (most recent call last):\n  File \"/app/tasks.py\", line 3, in slow\ndramatiq.middleware.time_limit.TimeLimitExceeded")
            .timeout();
        assert_eq!(others.answer(&CAUSE), "not applicable");
    }

    /// `get()` raises here what the subtask ended with.
    #[test]
    fn a_subtasks_limit_is_a_near_miss() {
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OURS};
        const CALL: &str = "Traceback (most recent call last):\n  File \"/v/lib/python3.11/site-packages/celery/app/trace.py\", line 883, in __protected_call__\n    return self.run(*args, **kwargs)\n  File \"/app/shop/tasks.py\", line 39, in fulfil\n    spin.delay().get()\n";
        let raised = |frames: &str| {
            let below =
                format!("{CALL}{frames}billiard.exceptions.SoftTimeLimitExceeded: SoftTimeLimitExceeded()");
            CeleryScene::received().refusal(
                &format!("Task shop.tasks.fulfil[{OURS}] raised unexpected: SoftTimeLimitExceeded()"),
                &below,
            )
        };
        let subtasks = raised(
            "  File \"/v/lib/python3.11/site-packages/celery/result.py\", line 395, in maybe_throw\n    self.throw(value, self._to_remote_traceback(tb))\n",
        );
        assert_eq!(subtasks.silence().cause(), "certain actor-raised");
        let own = raised(
            "  File \"/v/lib/python3.11/site-packages/billiard/pool.py\", line 229, in soft_timeout_sighandler\n    raise SoftTimeLimitExceeded()\n",
        );
        assert_eq!(own.silence().cause(), "certain time-limit-exceeded");
    }
}
