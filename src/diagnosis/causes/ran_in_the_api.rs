//! The API called the actor itself instead of sending it a message.

use crate::diagnosis::evidence::Fact;
use crate::diagnosis::evidence::eager::EagerEnd;
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Outcome, Owner, Stage, Story};
use crate::text;
use crate::timeline::{EventKind, Process, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "ran-in-the-api",
    keeps_from: &[Stage::Finished],
    owner: &[Owner::ApiCode],
    explains: &["succeeded", "row-marked-failed"],
    needs: &[&[Source::Firehose], &[Source::Database, Source::ApiLog]],
    page: include_str!("ran_in_the_api.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if let Some(passage) = story.publishes().first() {
        return Answer::ruled_out("a message with this task id was published", [passage.n]);
    }
    if let Some(ran) = story.ran_in_the_api() {
        let ended = match &ran.value {
            EagerEnd::Succeeded => "succeeded".to_owned(),
            EagerEnd::Raised(exception) => format!("raised {}", text::excerpt(exception)),
        };
        let row = story.row_succeeded().or(story.row_failed());
        let evidence: Vec<u32> = [ran.n].into_iter().chain(row.map(|row| row.n)).collect();
        return Answer::likely(
            format!("the API's own log says that it ran the task itself, which {ended}; {SAID}: it was called, not sent"),
            evidence,
        )
        .terminal_after(STILL_COMING_MS);
    }
    let final_row = story.row_succeeded().or(story.row_failed());
    let Some((row, status)) = final_row.and_then(|row| Some((row.n, row.value.status.as_deref()?))) else {
        return Answer::NotApplicable;
    };
    if !story.is_without_message() {
        return Answer::NotApplicable;
    }
    let terminal = story.outcome() == Outcome::Succeeded;
    // With an earlier link of its chain, those after it are marked as failed, too.
    if let Some(before) = story.predecessors().first().filter(|_| !terminal) {
        return Answer::ruled_out(
            format!(
                "it is to be sent after `{}`, whose failure the row may tell of",
                before.name()
            ),
            [before.passage.n, row],
        );
    }
    // A message may still be on its way to us.
    let settle = |answer: Answer| match terminal {
        true => answer.terminal_after(STILL_COMING_MS),
        false => answer,
    };
    if let Some(entry) = entered_in_the_api(story) {
        let pid = entry.map_or(String::new(), |pid| format!(" (pid {pid})"));
        let text = format!(
            "the actor ran inside the API{pid}, whose own log has its entry; {SAID}: it was called, not sent"
        );
        // One log may be the application's, in the API and in its workers, who may use another broker.
        return settle(
            match story.sees(Source::WorkerLog) && is_by_the_api(story, entry.n) {
                true => Answer::shown(text, [entry.n, row]),
                false => Answer::likely(text, [entry.n, row]),
            },
        );
    }
    let error = final_row
        .and_then(|row| row.value.error.as_deref())
        .filter(|error| !error.is_empty());
    let error = error.map_or(String::new(), |error| format!(" (\"{}\")", text::excerpt(error)));
    let did = match story.row_failed().is_some() {
        true => "refused the task, failed in its work itself",
        false => "called the actor, did its work without one",
    };
    // What is final when the API answers was done while the request waited.
    let first = story.rows().iter().find(|row| row.present);
    let at_once = first.is_some_and(|first| first.status.as_deref() == Some(status));
    match at_once && story.reached(Stage::Submitted).is_some() {
        // Where nothing of the work itself was seen, it may have been done for an older request.
        true => settle(Answer::possible(
            format!(
                "the row said {status}{error} at the first look after the API's answer, and {SAID}: the API {did}, or answered with an older task that it only touched"
            ),
            [row],
        )
        .given([Premise::StatusIsOfThisRun])),
        false => settle(Answer::possible(
            format!(
                "the row says {status}, and {SAID}: something else than a worker of `{}` did it",
                story.queue()
            ),
            [row],
        )),
    }
}

const SAID: &str = "no message of the task passed the broker";

/// The line itself has a pid, and it is one of the API's.
fn is_by_the_api(story: &Story<'_>, n: u32) -> bool {
    let Some(EventKind::Line(line)) = story.timeline.event(n).map(|event| &event.kind) else {
        return false;
    };
    // Whatever the log's own format, a pid mostly stands between brackets.
    let names = |pid: i32| line.pid == Some(pid) || line.text.contains(&format!("[{pid}]"));
    let api = story.api_processes();
    // Each container has a process of that pid: its log must be the API's own.
    let is_in = |process: &Process| {
        let written_in = line
            .stream
            .as_deref()
            .and_then(|stream| story.container_of_stream(Some(stream)));
        written_in.is_some_and(|container| process.container.as_ref() == Some(&container.id))
    };
    api.iter().any(|process| {
        let inside = process.nspids.iter().filter(|pid| **pid != process.pid);
        names(process.pid) || is_in(process) && inside.into_iter().any(|pid| names(*pid))
    })
}

/// So long a message may take from the broker to us.
const STILL_COMING_MS: u64 = 1000;

/// The actor's entry line, with the task's id, in the API's log, and the API's process if there is one.
fn entered_in_the_api(story: &Story<'_>) -> Option<Fact<Option<i32>>> {
    let since = story.submitted_at()?;
    let pattern = regex::Regex::new(story.timeline.setup.entry_pattern.as_deref()?).ok()?;
    let entry = story.timeline.events.iter().find(|event| match &event.kind {
        EventKind::Line(line) => {
            event.source == Source::ApiLog
                && line.carries_task_id
                && !line.before
                && event.at_ms >= since
                && pattern.is_match(&line.text)
        }
        _ => false,
    })?;
    let api = story.api_processes();
    let pid = match api.as_slice() {
        [process] => Some(process.pid),
        _ => None,
    };
    Some(Fact::of(entry, pid))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Scene, WORKER};

    /// Without what shows it, the effect is all that can be said: `Scene::cause` would not have that.
    fn named(scene: &Scene) -> String {
        scene.verdict().cause.map_or_else(
            || "none".into(),
            |cause| format!("{} {}", cause.certainty.name(), cause.id),
        )
    }

    #[test]
    fn the_apis_own_log_has_the_entry() {
        let scene = Scene::accepted()
            .api_process(&[])
            .api_entry(50)
            .row("COMPLETED")
            .silence();
        assert_eq!(named(&scene), "certain ran-in-the-api");
        // The application's log may be a worker's as well: its pid, or none, is no word of the API's.
        for pid in [Some(101), None] {
            let mut shared = scene.clone();
            shared.timeline.events.iter_mut().for_each(|event| {
                if let EventKind::Line(line) = &mut event.kind {
                    line.pid = pid;
                }
            });
            assert_eq!(named(&shared), "likely ran-in-the-api");
        }
        // One log for both would have the worker's entries, too.
        assert_eq!(scene.without(Source::WorkerLog).answer(&CAUSE), "likely");
        let verdict = scene.verdict();
        assert_eq!(verdict.exit_code, 30);
        for stage in [Stage::Published, Stage::Delivered, Stage::Received] {
            let reached = verdict.stages.iter().find(|reached| reached.stage == stage);
            assert_eq!(reached.expect("a stage").reached, None, "{stage:?}");
        }
    }

    /// `Task NAME[ID] …` in the API's log is a run there; a worker's would have had a message.
    #[test]
    fn the_frameworks_own_words_in_the_apis_log() {
        let of = |actor: &str, end: &str| {
            let scene = Scene::accepted().setup(|setup| {
                setup.framework = "celery".into();
                setup.actor = Some("shop.tasks.fulfil".into());
            });
            let line =
                format!("INFO celery.app.trace: Task {actor}[5c6a5b7e-7a09-4a1f-9d2c-0d5e3c0b7f11] {end}");
            scene.row("PENDING").api_log(&line, "ValueError: no such pen")
        };
        let raised = of(
            "shop.tasks.fulfil",
            "raised unexpected: ValueError('no such pen')",
        )
        .silence();
        assert_eq!(named(&raised), "likely ran-in-the-api");
        assert_eq!(raised.verdict().scenario, Some(crate::diagnosis::Scenario::A));
        assert_eq!(raised.verdict().outcome, Outcome::Failed);
        assert!(raised.summary().contains("no such pen"), "{}", raised.summary());
        let succeeded = of("shop.tasks.fulfil", "succeeded in 0.2s: None");
        assert_eq!(named(&succeeded.clone().silence()), "likely ran-in-the-api");
        assert_eq!(succeeded.row("COMPLETED").verdict().exit_code, 30);
        // Another task, and one of before the request.
        let other = of("shop.tasks.audit", "succeeded in 0.2s: None").silence();
        assert_eq!(other.answer(&CAUSE), "not applicable");
        let mut before = of("shop.tasks.fulfil", "succeeded in 0.2s: None").silence();
        before.timeline.events.iter_mut().for_each(|event| {
            if event.source == Source::ApiLog {
                event.at_ms = -50.0;
            }
        });
        assert_eq!(before.answer(&CAUSE), "not applicable");
        // With a message it ran in a worker, whatever else the API called.
        let sent = of("shop.tasks.fulfil", "succeeded in 0.2s: None").publish("default");
        assert_eq!(sent.silence().answer(&CAUSE), "ruled out");
    }

    #[test]
    fn done_when_the_api_answers_and_nothing_sent() {
        let scene = Scene::accepted().row("COMPLETED").silence();
        assert_eq!(scene.answer(&CAUSE), "possible");
        assert_eq!(scene.verdict().exit_code, 30);
        let later = Scene::accepted().row("PENDING").row("COMPLETED").silence();
        assert_eq!(later.answer(&CAUSE), "possible");
        assert_eq!(later.verdict().exit_code, 30);
    }

    #[test]
    fn a_task_whose_message_was_seen_is_a_near_miss() {
        let scene = Scene::entered().row("COMPLETED").completed().silence();
        assert_eq!(named(&scene), "certain succeeded");
        assert_eq!(scene.answer(&CAUSE), "ruled out");
        // Its publish was out of sight, its delivery was not.
        let taken = Scene::accepted().deliver(WORKER).row("COMPLETED").silence();
        assert_eq!(taken.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn a_firehose_that_did_not_see_everything_is_a_near_miss() {
        let scene = Scene::accepted().row("COMPLETED").silence();
        assert_eq!(scene.without(Source::Firehose).answer(&CAUSE), "cannot tell");
        let partial = Scene::accepted()
            .partial(Source::Firehose)
            .row("COMPLETED")
            .silence();
        assert_eq!(partial.answer(&CAUSE), "not applicable");
        assert_eq!(partial.verdict().exit_code, 0);
    }

    /// Pid 7 of its container is a worker's in the next one.
    #[test]
    fn a_pid_inside_a_container_is_no_word_of_the_apis() {
        let entered = |pid: i32| {
            Scene::accepted()
                .see(Source::Process, EventKind::ApiProcess { pid: 50 })
                .process(50, 1, "python uvicorn main:app", |process| {
                    process.nspids = vec![50, 7];
                    process.container = Some("a1".into());
                })
                .api_entry(pid)
                .row("COMPLETED")
                .silence()
        };
        assert_eq!(named(&entered(7)), "likely ran-in-the-api");
        assert_eq!(named(&entered(50)), "certain ran-in-the-api");
    }
}
