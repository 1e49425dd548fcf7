//! The actor is a coroutine function that nobody awaits.

use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::{LogEvent, function_of};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "coroutine-never-awaited",
    keeps_from: &[Stage::Entered],
    owner: &[Owner::WorkerCode],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog]],
    page: include_str!("coroutine_never_awaited.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let value = story.line(|mark| matches!(mark, LogEvent::ReturnedValue { .. }));
    let warning = story
        .worker_lines()
        .iter()
        .find(|told| story.may_be_about_it(told) && matches!(told.mark, Some(LogEvent::NeverAwaited)));
    // The warning comes when the object is collected, in any thread: it must name this actor's.
    let same = |actor: &str, text: &str| {
        text.split('\'')
            .nth(1)
            .is_some_and(|name| name.rsplit('.').next() == Some(function_of(actor)))
    };
    // It names the message, and what the call returned.
    if let Some(told) = warning.filter(|told| told.message_id().is_some_and(|id| story.is_my_message(id))) {
        let generator = ["generator object", "async_generator object"];
        let what = match generator.iter().all(|value| !told.line.text.contains(value)) {
            true => "a coroutine that nobody awaited",
            false => "a generator that nobody goes through: there is a `yield` in its function",
        };
        return Answer::shown(
            format!(
                "the call returned {what}, and not a line of it ran: {}",
                told.line.text.trim()
            ),
            [told.n],
        )
        .terminal();
    }
    match (value, warning) {
        (Some(value), Some(warning)) => {
            let text = format!(
                "the call returned a coroutine that nobody awaited: {}",
                warning.line.text.trim()
            );
            let evidence = [value.n, warning.n];
            let mine = story.lines().iter().any(|told| told.n == warning.n);
            match value.mark {
                Some(LogEvent::ReturnedValue { actor }) if mine || same(actor, &warning.line.text) => {
                    Answer::shown(text, evidence).terminal()
                }
                _ if story.closed() => Answer::likely(text, evidence),
                _ => Answer::NotApplicable,
            }
        }
        (None, Some(warning))
            if story.lines().iter().any(|told| told.n == warning.n)
                && story.actors().iter().any(|actor| same(actor, &warning.line.text)) =>
        {
            Answer::shown(
                format!("nobody awaited the coroutine: {}", warning.line.text.trim()),
                [warning.n],
            )
            .terminal()
        }
        _ => Answer::NotApplicable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    fn returned() -> Scene {
        Scene::called().completed().warning(
            "dramatiq.worker.WorkerThread",
            "Actor 'act' returned a value that is not None, and you haven't added the Results middleware.",
        )
    }

    fn warned(scene: Scene, name: &str) -> Scene {
        scene.acked("m-1").line(&format!(
            "[PID 101] [Thread-9] [py.warnings] [WARNING] /v/dramatiq/worker.py:1: RuntimeWarning: coroutine '{name}' was never awaited"
        ))
    }

    #[test]
    fn its_own_coroutine_was_dropped() {
        assert_eq!(
            warned(returned(), "act").cause(),
            "certain coroutine-never-awaited"
        );
    }

    /// Celery prints what a call returned, with the id of its message.
    #[test]
    fn the_line_of_its_success_says_what_it_returned() {
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OTHERS, OURS};
        let returned = |id: &str, value: &str| {
            CeleryScene::received().info(&format!(
                "Task shop.tasks.fulfil[{id}] succeeded in 0.0004s: {value}"
            ))
        };
        let coroutine = returned(OURS, "<coroutine object fulfil at 0x7f>");
        assert_eq!(coroutine.cause(), "certain coroutine-never-awaited");
        let generator = returned(OURS, "<generator object fulfil at 0x7f>");
        assert_eq!(generator.cause(), "certain coroutine-never-awaited");
        assert!(generator.summary().contains("`yield`"), "{}", generator.summary());
        // Its function did run, and made another generator.
        let other = returned(OURS, "<generator object fulfil.<locals>.<genexpr> at 0x7f>");
        assert_eq!(other.answer(&CAUSE), "not applicable");
        let anothers = returned(OTHERS, "<generator object fulfil at 0x7f>");
        assert_eq!(anothers.silence().answer(&CAUSE), "not applicable");
    }

    /// A result backend cannot store it.
    #[test]
    fn what_it_returned_cannot_be_stored() {
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OTHERS, OURS};
        let stored = |id: &str| {
            let text = format!(
                "Task shop.tasks.fulfil[{id}] raised unexpected: EncodeError(TypeError('Object of type coroutine is not JSON serializable'))"
            );
            CeleryScene::received().error(&text).silence()
        };
        assert_eq!(stored(OURS).cause(), "certain coroutine-never-awaited");
        assert!(
            stored(OURS).summary().contains("a coroutine"),
            "{}",
            stored(OURS).summary()
        );
        assert_eq!(stored(OTHERS).answer(&CAUSE), "not applicable");
    }

    #[test]
    fn another_coroutines_warning_is_a_near_miss() {
        assert_eq!(warned(returned(), "other").answer(&CAUSE), "not applicable");
        assert_eq!(warned(returned(), "other").silence().answer(&CAUSE), "likely");
        assert_eq!(
            returned().silence().answer(&CAUSE),
            "not applicable",
            "any value is not None"
        );
    }

    #[test]
    fn without_the_log_it_cannot_be_told() {
        assert_eq!(
            warned(returned(), "act")
                .without(Source::WorkerLog)
                .answer(&CAUSE),
            "cannot tell"
        );
    }
}
