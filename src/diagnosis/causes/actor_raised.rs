//! The actor raised.

use crate::diagnosis::evidence::retries::{self, RetryState};
use crate::diagnosis::evidence::{QueuedCopy, broker, stacks};
use crate::diagnosis::{Answer, Cause, Certainty, Owner, Stage, Story};
use crate::framework::{LogEvent, class_of, is_one_of};
use crate::text;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "actor-raised",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::WorkerCode],
    needs: &[&[Source::WorkerLog, Source::Firehose]],
    fails_attempt: true,
    page: include_str!("actor_raised.md"),
    check,
    ..Cause::DEFAULT
};

/// So long a copy that was published may take to us.
const COPY_MS: u64 = 500;

fn check(story: &Story<'_>) -> Answer {
    let state = retries::retry_state(story);
    let asked = asked_to_run_again(story) && state.is_pending();
    let answer = raised(story, asked).case(FAILED, !asked);
    if asked {
        let answer = answer.goes_on().owned_by(Some(&[Owner::Wait]));
        return answer.case(PENDING, false).case(NONE_LEFT, false);
    }
    let retries = story.line(|mark| matches!(mark, LogEvent::Retrying { .. }));
    let was_to_run_again = retries.is_some() && state != RetryState::Exhausted;
    let answer = match story.may_have_succeeded_since().filter(|_| was_to_run_again) {
        Some(status) => answer
            .at_most(Certainty::Possible)
            .followed_by(&format!(
                "; the row says {} since, as after a retry elsewhere",
                status.value
            ))
            .resting_on([status.n]),
        None => answer,
    };
    // What else it says leaves both open.
    match state {
        RetryState::Exhausted => answer.case(PENDING, false).case(NONE_LEFT, true),
        state if state.is_pending() => answer.case(PENDING, true).case(NONE_LEFT, false),
        // What it comes to is what counts.
        RetryState::Delivered { .. } if !story.is_trace() => answer.at_most(Certainty::Likely),
        _ => answer,
    }
}

/// The cases of its remedies.
const FAILED: &str = "its code failed";
const PENDING: &str = "a retry is pending";
const NONE_LEFT: &str = "no retry is left";

/// The last that it raised is the framework's own way of saying "later".
fn asked_to_run_again(story: &Story<'_>) -> bool {
    let asks = |exception: &str| is_one_of(class_of(exception), story.framework().asks_again);
    match story.raised().last() {
        Some(raised) => asks(&raised.exception()),
        None => story.line(|mark| matches!(mark, LogEvent::RateLimited)).is_some(),
    }
}

fn raised(story: &Story<'_>, asked: bool) -> Answer {
    let limits = story.framework().time_limits;
    let limited = |text: &str| is_one_of(class_of(text), limits);
    if let Some(raised) = story.raised().iter().rfind(|raised| {
        raised.entered() && (!limited(&raised.exception()) || story.is_limit_of_another(raised))
    }) {
        let whose = match raised.is_rethrown(&story.framework().stack) {
            true => ", which another task had raised whose result it waited for",
            false => "",
        };
        let text = format!(
            "the actor {} {}{}{whose}{}",
            if asked { "asked to be run again:" } else { "raised" },
            raised.exception(),
            stacks::own_place(raised),
            retries::retry_state(story)
        );
        // Another actor's message may hold the task's id as well: no message was seen, and none is configured.
        let answer = match story.actors().is_empty() {
            true => Answer::likely(
                format!(
                    "{text}, if `{}` is the task's actor (broker.actor says which is)",
                    raised.actor
                ),
                [raised.n],
            ),
            // A decorator's function may have any name.
            false if raised.is_doubtful() => Answer::likely(text, [raised.n]),
            false => Answer::shown(text, [raised.n]),
        };
        return match retries::final_attempt(story) {
            // The copy is on its way, or there is none: that decides whether it is tried again.
            true if retries::awaits_its_copy(story) => answer.terminal_after(COPY_MS),
            terminal => answer.terminal_if(terminal),
        };
    }
    if let Some(answer) = without_frames(story, limits) {
        return answer;
    }
    // `Retry` and rate limits raise without any ERROR line.
    let retrying = story.line(|mark| matches!(mark, LogEvent::Retrying { .. } | LogEvent::RateLimited));
    match retrying {
        Some(told) if story.raised().is_empty() => {
            let answer = Answer::likely(
                format!(
                    "the actor {} without an error line (Retry or a rate limit){}: {}",
                    if asked { "asked to be run again" } else { "raised" },
                    retries::retry_state(story),
                    text::excerpt(&told.line.text)
                ),
                [told.n],
            );
            match retries::final_attempt(story) {
                // The copy that waits for its turn holds the traceback, and is on its way to us.
                true => answer.terminal_after(if story.sees(Source::Firehose) { COPY_MS } else { 0 }),
                false => answer,
            }
        }
        None if story.raised().is_empty() => rejected(story),
        _ => Answer::NotApplicable,
    }
}

/// No log tells of the run, which had begun, and its message lies where those end whose last attempt failed.
fn rejected(story: &Story<'_>) -> Answer {
    let begun = story
        .reached(Stage::Entered)
        .filter(|_| story.was_surely_entered());
    let Some((_, begun)) = begun.filter(|_| story.lines().is_empty()) else {
        return Answer::NotApplicable;
    };
    let is_ours = |held: &&QueuedCopy<'_>| {
        let id = held.passage.message.message_id.as_deref();
        held.reason == Some("rejected") && id.is_some_and(|id| story.is_my_message(id))
    };
    let seen = story.held().iter().find(is_ours).map(|held| held.passage.n);
    // Or one more lies there since, and no other was in anybody's hands.
    let alone = || story.sees_all(Source::Firehose) && !story.others_were_delivered();
    let counted = broker::drained(story).filter(|_| story.dead_letters_grew() && alone());
    let (Some(n), Some(dead)) = (seen.or(counted), story.dead_letter_queue()) else {
        return Answer::NotApplicable;
    };
    let text = format!(
        "the actor had begun, and its message lies on `{dead}`, where the worker puts what has failed for good; its log says what was raised"
    );
    let evidence: Vec<u32> = begun.iter().copied().chain([n]).collect();
    Answer::likely(text, evidence).would_decide(&[Source::WorkerLog])
}

/// The actor was entered, and what ended the attempt has no frame of its own: the exception of a coroutine that was
/// given up, or of one whose frames the framework did not keep.
fn without_frames(story: &Story<'_>, limits: &[&str]) -> Option<Answer> {
    let raised = story.raised().last().filter(|raised| {
        let is_limit = is_one_of(class_of(&raised.exception()), limits);
        !raised.entered() && !raised.in_a_wrapper() && !raised.is_bad_call() && !is_limit
    })?;
    // Words in the task's name may be a hook's.
    let (entered_at, evidence) = story.reached(Stage::Entered)?;
    let before = entered_at.is_some_and(|at| at <= raised.at_ms);
    if !before || !story.was_surely_entered() {
        return None;
    }
    let text = format!(
        "the actor was entered, and its attempt ended in {}, whose traceback has no line of the actor's own{}",
        raised.exception(),
        retries::retry_state(story)
    );
    let evidence: Vec<u32> = evidence.iter().take(1).copied().chain([raised.n]).collect();
    let answer = Answer::likely(text, evidence);
    Some(match retries::final_attempt(story) {
        true => answer.terminal_after(COPY_MS),
        false => answer,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::Scenario;
    use crate::diagnosis::testing::{API, CALL, Scene, WORKER};

    #[test]
    fn a_dead_letter_of_a_run_that_had_begun_without_a_log() {
        let letter = |status: &str, reason: &str| {
            Scene::delivered()
                .row(status)
                .dead_letter("default.XQ", reason)
                .silence()
                .without(Source::WorkerLog)
        };
        assert_eq!(letter("RUNNING", "rejected").cause(), "likely actor-raised");
        let counted = |letters: u64| {
            let none = serde_json::json!({});
            Scene::new()
                .depth("default.XQ", 0, 0)
                .totals("default", 0, 0, none.clone())
                .submitted()
                .publish("default")
                .deliver(WORKER)
                .row("RUNNING")
                .totals("default", 0, 0, none)
                .depth("default.XQ", letters, 0)
                .silence()
                .without(Source::WorkerLog)
        };
        assert_eq!(counted(1).cause(), "likely actor-raised");
        assert_ne!(counted(0).answer(&CAUSE), "likely");
        // It had not begun; and another reason.
        assert_ne!(letter("PENDING", "rejected").answer(&CAUSE), "likely");
        assert_ne!(letter("RUNNING", "expired").answer(&CAUSE), "likely");
    }

    /// A body that logs nothing: the worker's own line is all that tells of its run.
    #[test]
    fn a_quiet_task_that_is_tried_again() {
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, FIRST, OURS};
        let retries = |id: &str| {
            let text =
                format!("Task shop.tasks.fulfil[{id}] retry: Retry in 120s: ConnectionError('archive busy')");
            CeleryScene::received().info(&text).silence()
        };
        let scene = retries(OURS);
        assert_eq!(scene.cause(), "likely actor-raised", "{}", scene.summary());
        assert!(scene.summary().contains("archive busy"), "{}", scene.summary());
        assert_eq!(retries(FIRST).answer(&CAUSE), "not applicable");
    }

    /// Afterwards, in a format that does not say who speaks: the error names the task.
    #[test]
    fn an_error_that_names_the_task() {
        use crate::diagnosis::causes::celery::scenes::OURS;
        use crate::timeline::{Ended, EventKind, Level, LogLine};
        let text =
            format!("Task shop.tasks.fulfil[{OURS}] raised unexpected: KeyError('no mesh of order-0417')");
        let looked = |actor: &str| {
            let scene = Scene::new().setup(|setup| {
                setup.framework = "celery".into();
                setup.queue = "celery".into();
                setup.post_mortem = true;
                setup.actor = Some(actor.into());
            });
            let line = LogLine {
                level: Some(Level::Error),
                text: text.clone(),
                traceback: Some(
                    "Traceback (most recent call last):\n  File \"/v/lib/python3.11/site-packages/celery/app/trace.py\", line 883, in __protected_call__\n    return self.run(*args, **kwargs)\n  File \"/app/tasks.py\", line 3, in fulfil\nKeyError: 'no mesh of order-0417'".into(),
                ),
                before: true,
                carries_task_id: true,
                ..LogLine::default()
            };
            let given = EventKind::Given {
                task_id: "order-0417".into(),
            };
            let scene = scene.see(crate::timeline::Source::WorkerLog, EventKind::Line(line));
            let scene = scene.see(crate::timeline::Source::Api, given);
            scene.row("RUNNING").depth("celery", 0, 1).end(Ended::Looked)
        };
        let scene = looked("shop.tasks.fulfil");
        assert!(
            ["likely", "possible"].contains(&scene.answer(&CAUSE)),
            "{} {}",
            scene.answer(&CAUSE),
            scene.summary()
        );
        assert_eq!(looked("shop.tasks.mail").answer(&CAUSE), "not applicable");
    }

    #[test]
    fn with_a_frame_of_its_own() {
        let scene = Scene::entered().raised("ValueError: no").retrying();
        assert_eq!(scene.cause(), "certain actor-raised");
        assert_eq!(scene.verdict().scenario, Some(Scenario::A));
    }

    #[test]
    fn from_the_copy_on_the_delay_queue() {
        let mut copy = Scene::message("m-1");
        copy.retries = Some(1);
        copy.eta_ms = Some(1_015_000);
        copy.traceback = Some(format!(
            "{CALL}  File \"/app/tasks.py\", line 3, in act\nValueError: no"
        ));
        let scene = Scene::accepted()
            .row("PENDING")
            .publish("default")
            .deliver(WORKER)
            .publish_as("default.DQ", WORKER, copy);
        assert_eq!(scene.without(Source::WorkerLog).cause(), "certain actor-raised");
    }

    /// As of a coroutine: the framework raises it again in the thread that waits.
    #[test]
    fn without_a_frame_of_its_own_after_the_entry() {
        let failed = |scene: Scene| {
            let text = format!(
                "Failed to process message act('task_1') with unhandled exception.\n{}",
                BRIDGE
            );
            scene.error("dramatiq.worker.WorkerThread", &text).retrying()
        };
        const BRIDGE: &str = "Traceback (most recent call last):\n  File \"/v/site-packages/dramatiq/worker.py\", line 5, in process_message\n    res = actor(*message.args, **message.kwargs)\n  File \"/v/site-packages/dramatiq/asyncio.py\", line 9, in run_coroutine\n    return future.result()\nTimeoutError";
        let entered = failed(Scene::entered());
        assert_eq!(entered.answer(&CAUSE), "likely");
        assert!(
            entered.summary().contains("TimeoutError"),
            "{}",
            entered.summary()
        );
        // Whatever stands before the actor may have raised it.
        assert_ne!(failed(Scene::called()).answer(&CAUSE), "likely");
    }

    #[test]
    fn an_error_that_the_actor_logs_itself_is_a_near_miss() {
        let logged = Scene::entered().error("app", "oh no\nTraceback (most recent call last):\n  File \"/app/tasks.py\", line 3, in act\nValueError: no");
        assert_eq!(logged.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn another_processs_thread_of_the_same_name_is_a_near_miss() {
        // A format with threads but no pids: the other message was in the other process's hands before.
        let line = |text: &str| format!("[PID x] [Thread-4] [dramatiq.worker.WorkerThread] [DEBUG] {text}");
        let scene = Scene::new()
            .line(&line("Received message act() with id 'other'."))
            .submitted()
            .row("PENDING")
            .publish("default")
            .deliver(WORKER)
            .line(&line("Received message act('task_1') with id 'm-1'."))
            .line(&line(&format!(
                "Failed to process message act('x') with unhandled exception.\n{CALL}  File \"/app/tasks.py\", line 3, in act\nValueError: no"
            )));
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn a_retry_without_an_error_line_is_likely() {
        assert_eq!(Scene::entered().retrying().answer(&CAUSE), "likely");
        let blind = Scene::entered()
            .retrying()
            .without(Source::WorkerLog)
            .without(Source::Firehose);
        assert_eq!(blind.answer(&CAUSE), "cannot tell");
    }

    #[test]
    fn of_two_messages_with_the_id_nothing_is_certain() {
        let mut audit = Scene::message("m-2");
        audit.actor = Some("audit".into());
        let scene = Scene::accepted()
            .setup(|setup| setup.actor = None)
            .row("PENDING")
            .publish_as("default", API, audit)
            .publish("default")
            .deliver(WORKER)
            .debug(
                "dramatiq.worker.WorkerThread",
                "Received message act('task_1') with id 'm-1'.",
            )
            .raised("ValueError: no")
            .retrying();
        assert_eq!(scene.cause(), "possible actor-raised");
        let note = |scene: &Scene| scene.verdict().notes.join("; ");
        assert!(
            note(&scene).contains("`act`, `audit`: set broker.actor"),
            "{}",
            note(&scene)
        );
        let group = Scene::accepted()
            .row("PENDING")
            .publish_as("default", API, Scene::message("m-2"))
            .publish("default");
        assert!(
            note(&group).contains("2 messages for the same actor"),
            "{}",
            note(&group)
        );
        let told = scene.setup(|setup| setup.actor = Some("act".into()));
        assert_eq!(told.cause(), "certain actor-raised");
    }

    /// Ids come again: what is first seen as a retry is an earlier task's.
    #[test]
    fn the_retry_of_an_earlier_task_with_the_same_id_is_a_near_miss() {
        use crate::diagnosis::testing::{API, WORKER};
        let mut message = Scene::message("m-1");
        message.retries = Some(1);
        let scene = Scene::accepted()
            .row("PENDING")
            .publish_as("default", API, message)
            .deliver(WORKER)
            .silence();
        assert_eq!(scene.verdict().task.message_id, None);
    }

    /// A message for another actor may hold the task's id among its arguments as well.
    #[test]
    fn another_actors_failure_that_names_the_task_is_a_near_miss() {
        let fails = |actor: &str| {
            let text = format!(
                "[PID 101] [Thread-5] [dramatiq.worker.WorkerThread] [ERROR] Failed to process message {actor}('task_1') with unhandled exception.\n{CALL}  File \"/app/tasks.py\", line 3, in {actor}\nValueError: no"
            );
            Scene::delivered().line(&text)
        };
        assert_eq!(fails("announce").answer(&CAUSE), "not applicable");
        assert_eq!(fails("act").answer(&CAUSE), "certain", "its own");
        let unseen = fails("announce").without(Source::Firehose);
        assert_eq!(
            unseen
                .setup(|setup| setup.actor = Some("act".into()))
                .answer(&CAUSE),
            "not applicable"
        );
    }

    /// Both were sent in the request, the second after the first was taken: neither is the other's follow-up.
    #[test]
    fn a_second_message_of_the_request_after_the_first_was_taken() {
        let mut audit = Scene::message("m-2");
        audit.actor = Some("audit".into());
        let taken = |answered_between: bool| {
            let scene = Scene::new()
                .setup(|setup| setup.actor = None)
                .at(-10.0)
                .submitting()
                .publish_as("default", API, audit.clone());
            let scene = scene.deliver_as("m-2", WORKER, false);
            let answer = |scene: Scene| scene.answered(202, Some("task_1"), "{}");
            match answered_between {
                true => answer(scene).publish("default"),
                false => answer(scene.publish("default")),
            }
        };
        let several = |scene: Scene| scene.verdict().notes.join("; ").contains("`act`, `audit`");
        assert!(several(taken(false)));
        assert!(!several(taken(true)), "sent on, perhaps by the actor");
    }

    /// The framework's own way to say "later".
    #[test]
    fn what_asks_to_be_run_again_has_not_failed() {
        let asks =
            |exception: &str, scene: fn(Scene) -> Scene| scene(Scene::entered().raised(exception)).verdict();
        let later = asks("dramatiq.errors.Retry: not ready", Scene::retried);
        let cause = later.cause.expect("a cause");
        assert_eq!(cause.id, "actor-raised");
        assert_eq!(cause.owner, [Owner::Wait]);
        assert_eq!(later.outcome, crate::diagnosis::Outcome::Unfinished);
        assert!(
            cause.remedies.iter().all(|remedy| !remedy.starts_with("Fix ")),
            "{:?}",
            cause.remedies
        );
        let failed = asks("ValueError: no", Scene::retried);
        assert_eq!(failed.outcome, crate::diagnosis::Outcome::Failed);
        assert_eq!(failed.cause.expect("a cause").owner, [Owner::WorkerCode]);
    }

    /// The retry came while all retries are waited for, and another worker has it.
    #[test]
    fn what_a_retry_comes_to_counts() {
        use crate::diagnosis::testing::OTHER;
        use crate::timeline::{EventKind, Source};
        let scene = |came: bool| {
            let raised = Scene::entered().setup(|setup| setup.wait_retries = true);
            let scene = raised
                .raised("ValueError: no")
                .retried()
                .acked("m-1")
                .at(17_000.0);
            let mut message = Scene::message("m-1");
            message.retries = Some(1);
            let handed_out = EventKind::Deliver {
                queue: "default".into(),
                connection: OTHER.into(),
                redelivered: false,
                message,
            };
            match came {
                true => scene.see(Source::Firehose, handed_out),
                false => scene,
            }
        };
        assert_eq!(scene(false).silence().answer(&CAUSE), "certain");
        let came = scene(true).silence();
        assert_eq!(came.answer(&CAUSE), "likely");
        let cause = came.verdict().cause.expect("a cause");
        assert!(
            cause.summary.contains("has been delivered since"),
            "{}",
            cause.summary
        );
    }
}
