//! The task has run, and its result could not be stored.

use super::APPLIES_TO;
use crate::diagnosis::evidence::{Raised, WorkerLine, results};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Certainty, Owner, Scenario, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::Source;

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "result-not-stored",
    keeps_from: &[Stage::Entered, Stage::Received, Stage::Finished],
    owner: &[Owner::DatabaseHost],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog]],
    applies_to: APPLIES_TO,
    page: include_str!("result_not_stored.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let Some(told) = results::not_stored(story) else {
        return Answer::NotApplicable;
    };
    let Some(LogEvent::NotStored { error }) = told.mark else {
        return Answer::NotApplicable;
    };
    // Only that it was the one message in hand may say whose it is.
    let most = match results::names_beside(story, told) {
        Some(_) => Certainty::Certain,
        None => Certainty::Likely,
    };
    if results::is_of_the_start(story, told) {
        return Answer::matched(
            most,
            format!("what Celery stores as a task begins could not be stored, so that the task was not run: {error}"),
            [told.n],
        )
        .given([Premise::OneProcessPerLogThread { pid: told.line.pid }, Premise::LogIsWhole]);
    }
    // A line that names the message needs no other to say whose it is.
    let premises = match told.message_id() {
        Some(_) => Vec::new(),
        None => vec![
            Premise::OneProcessPerLogThread { pid: told.line.pid },
            Premise::LogIsWhole,
        ],
    };
    // The run itself had failed, and that is what matters.
    let by_the_body = |raised: &&Raised| raised.entered() || raised.n == told.n;
    if let Some(raised) = story.raised().iter().rfind(by_the_body) {
        return Answer::ruled_out("the task itself raised before that", [raised.n]);
    }
    let text = if let Some(place) = in_the_application(story, told) {
        format!(
            "the task has run, and code of the application that Celery calls after it raised{place}: {error}"
        )
    } else if error.contains("generator") {
        format!(
            "the task was called, and the generator that it returned cannot be stored: {error}. Of a task's function with a `yield` in it not a line runs"
        )
    } else if error.starts_with("EncodeError") {
        let text = format!("the task has run, and what it returned cannot be stored: {error}");
        return Answer::matched(most, text, [told.n])
            .owned_by(Some(&[Owner::WorkerCode]))
            .case(UNENCODED, true)
            .given(premises);
    } else {
        format!(
            "the task has run, and what Celery does after it failed, so that its result is not stored: {error}"
        )
    };
    Answer::matched(most, text, [told.n])
        .case(UNENCODED, false)
        .given(premises)
}

/// A case of its remedies.
const UNENCODED: &str = "its value cannot be encoded";

/// A handler or a hook of the application raised, and no store of results.
fn in_the_application(story: &Story<'_>, told: &WorkerLine<'_>) -> Option<String> {
    let trace = story.framework().traceback(told.line.traceback.as_deref()?)?;
    let frame = trace.frames.last().filter(|frame| trace.is_application(frame))?;
    Some(format!(" at {}:{} in {}", frame.file, frame.line, frame.function))
}

#[cfg(test)]
mod tests {
    use super::super::scenes::{CeleryScene, OTHERS, OURS};
    use super::*;
    use crate::framework::ArgumentValues;
    use crate::timeline::{EventKind, Level, LogLine};

    const CALL: &str = "Traceback (most recent call last):\n  File \"/v/celery/app/trace.py\", line 453, in trace_task\n    R = retval = fun(*args, **kwargs)\n  File \"/v/celery/app/trace.py\", line 736, in __protected_call__\n    return self.run(*args, **kwargs)\n";

    /// By the child that runs the task.
    fn by_the_child(scene: CeleryScene, text: &str, below: Option<String>) -> CeleryScene {
        let line = LogLine {
            level: Some(Level::Warning),
            thread: Some("ForkPoolWorker-2".into()),
            text: text.into(),
            raw: ArgumentValues(vec![text.to_owned()]),
            traceback: below,
            ..LogLine::default()
        };
        scene.and(|scene| scene.see(Source::WorkerLog, EventKind::Line(line)))
    }

    fn not_stored(error: &str, below: &str) -> CeleryScene {
        let said = by_the_child(
            CeleryScene::received(),
            &format!("shop.tasks.fulfil[{OURS}]: packing"),
            None,
        );
        let text =
            format!("/v/celery/app/trace.py:662: RuntimeWarning: Exception raised outside body: {error}:");
        by_the_child(said, &text, Some(below.to_owned()))
    }

    /// What Celery does after a failure failed as well: the work is not done.
    #[test]
    fn the_task_itself_had_raised() {
        let after = "Traceback (most recent call last):\n  File \"/v/celery/app/trace.py\", line 233, in handle_failure\n    task.on_failure(exc)\n  File \"/app/shop/tasks.py\", line 28, in on_failure\nRuntimeError: pager unreachable\n";
        let chain = format!(
            "{CALL}  File \"/app/shop/tasks.py\", line 61, in fulfil\n    pack()\nValueError: paper jam\n\nDuring handling of the above exception, another exception occurred:\n\n{after}"
        );
        let raised = not_stored("RuntimeError('pager unreachable')", &chain).silence();
        assert_eq!(raised.answer(&CAUSE), "ruled out");
        let verdict = raised.verdict();
        let cause = verdict.cause.expect("a cause");
        assert_eq!(cause.id, "actor-raised");
        assert!(
            cause.summary.contains("ValueError: paper jam"),
            "{}",
            cause.summary
        );
        assert_eq!(verdict.outcome, crate::diagnosis::Outcome::Failed);
        // Alone it is a handler that failed after a good end.
        let handler = not_stored("RuntimeError('pager unreachable')", after).silence();
        let cause = handler.verdict().cause.expect("a cause");
        assert_eq!(cause.id, CAUSE.id);
        assert!(
            cause.summary.contains("/app/shop/tasks.py:28 in on_failure"),
            "{}",
            cause.summary
        );
        assert!(!cause.summary.contains("not stored"), "{}", cause.summary);
    }

    /// The row says FAILURE of a task that has run: what it returned is no JSON.
    #[test]
    fn a_value_that_cannot_be_encoded() {
        let raised = |frames: &str| {
            let text = format!(
                "Task shop.tasks.fulfil[{OURS}] raised unexpected: EncodeError(TypeError('Object of type Order is not JSON serializable'))"
            );
            let below = format!(
                "Traceback (most recent call last):\n{frames}kombu.exceptions.EncodeError: Object of type Order is not JSON serializable"
            );
            CeleryScene::received().refusal(&text, &below).silence()
        };
        let stored = "  File \"/v/site-packages/celery/app/trace.py\", line 606, in trace_task\n    task.backend.mark_as_done(\n  File \"/v/site-packages/celery/backends/base.py\", line 294, in mark_as_done\n    self.store_result(\n";
        let seen = raised(stored);
        assert_eq!(seen.cause(), "certain result-not-stored", "{}", seen.summary());
        assert_eq!(seen.verdict().cause.expect("a cause").owner, [Owner::WorkerCode]);
        // The task itself sends something that is no JSON.
        let sent =
            format!("{CALL}  File \"/app/shop/tasks.py\", line 6, in fulfil\n    other.delay(order)\n");
        let sent = raised(sent.split_once('\n').expect("frames").1);
        assert_eq!(sent.answer(&CAUSE), "not applicable");
    }

    /// The process had said nothing of any task before; at once it says of which that was the end.
    #[test]
    fn whose_it_is_may_stand_after_it() {
        let text =
            "/v/celery/app/trace.py:662: RuntimeWarning: Exception raised outside body: EncodeError('no'):";
        let first = || by_the_child(CeleryScene::received(), text, None);
        // Nothing names it, and it is the only one in hand.
        let ours = first().error("x").and(|scene| scene);
        assert_eq!(ours.silence().answer(&CAUSE), "likely");
        let another = format!("Task shop.tasks.slow[{OTHERS}] received");
        let of_two = by_the_child(CeleryScene::received().info(&another), text, None);
        assert_eq!(of_two.silence().answer(&CAUSE), "not applicable");
        let named = by_the_child(
            first(),
            &format!("Task shop.tasks.fulfil[{OURS}] raised unexpected: EncodeError('no')"),
            None,
        );
        assert_ne!(named.silence().answer(&CAUSE), "not applicable");
    }

    /// What cannot be encoded was returned.
    #[test]
    fn what_was_returned_shows_that_it_ran() {
        let failed = |what: &str| {
            let text = format!(
                "Task shop.tasks.fulfil[{OURS}] raised unexpected: EncodeError(TypeError('Object of type {what} is not JSON serializable'))"
            );
            let below = "Traceback (most recent call last):\n  File \"/v/lib/python3.11/site-packages/celery/app/trace.py\", line 606, in trace_task\n    task.backend.mark_as_done(\n  File \"/v/lib/python3.11/site-packages/celery/backends/base.py\", line 294, in mark_as_done\nkombu.exceptions.EncodeError: no";
            let scene = by_the_child(CeleryScene::received(), &text, Some(below.into()));
            let verdict = scene.silence().verdict();
            (verdict.cause.map(|cause| cause.id), verdict.scenario)
        };
        let id = Some(CAUSE.id.to_owned());
        assert_eq!(failed("socket"), (id.clone(), Some(Scenario::A)));
        assert_eq!(
            failed("generator"),
            (id, Some(Scenario::B)),
            "not a line of it runs"
        );
    }
}
