//! The API accepted the task and wrote no row.

use crate::diagnosis::evidence::{broker, misses, named_table};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Claim, Owner, Scenario, Stage, Story};
use crate::timeline::EventKind;
use crate::timeline::Source;
use crate::units;

pub(super) const CAUSE: Cause = Cause {
    id: "row-missing",
    keeps_from: &[Stage::Recorded, Stage::Finished],
    owner: &[Owner::ApiCode],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Database]],
    claims: &[Claim::NoRow],
    page: include_str!("row_missing.md"),
    check,
    ..Cause::DEFAULT
};

/// A look of ours or of the API's found it, or none of this id is to be expected.
fn was_there(story: &Story<'_>) -> Option<Answer> {
    if let Some((said, gone)) = story.lost_to_the_api() {
        return Some(Answer::ruled_out(
            "the API had read the row before",
            [said.n, gone.n],
        ));
    }
    if let Some(sent) = story.answered_with_another_id() {
        let text = "no result is stored under the id that the API answered";
        return Some(Answer::ruled_out(text, [sent.n]));
    }
    let there = story.rows().iter().find(|row| row.present)?;
    Some(match story.row_gone() {
        Some(gone) => Answer::ruled_out(
            format!(
                "the row was there, and was taken away before {:.0} ms",
                gone.at_ms
            ),
            [there.n, gone.n],
        ),
        None => Answer::ruled_out("the row is there", [there.n]),
    })
}

fn check(story: &Story<'_>) -> Answer {
    if let Some(answer) = was_there(story) {
        return answer;
    }
    let Some(n) = story.last_row().filter(|_| story.closed()).map(|look| look.n) else {
        return Answer::NotApplicable;
    };
    let entered = story.reached(Stage::Entered).is_some();
    let predecessors = story.predecessors();
    if let Some(before) = predecessors.first().filter(|_| story.row_may_be_a_result()) {
        return Answer::ruled_out(
            "a result has no row before its task has ended, and this one is not sent yet",
            [before.passage.n],
        );
    }
    if !entered && story.keeps_results() {
        return Answer::ruled_out("a result has no row before its task has begun", [n]);
    }
    if (story.sent().is_some() && !entered) || (entered && story.row_is_a_result()) {
        // Where the worker itself creates the row, a missing row is a consequence.
        return Answer::NotApplicable;
    }
    if !entered && !story.sees(Source::Firehose) && story.reached(Stage::Published).is_some() {
        return Answer::NotApplicable;
    }
    // A worker that creates the row may do so at its end.
    if entered
        && story.attempt_over().is_none()
        && story.raised().is_empty()
        && broker::drained(story).is_none()
    {
        return Answer::NotApplicable;
    }
    // Afterwards nobody knows whether there was one: a task that is done may be kept elsewhere.
    if story.ran_without_missing_its_row() {
        return Answer::NotApplicable;
    }
    // Unseen, a message may have been published, and the row be the worker's to create.
    let nothing_published =
        entered || (broker::saw_every_publish(story) && broker::disguised(story).is_none());
    // An actor that raised for another reason may have done so before it wrote the row.
    let explained = !entered || story.raised().is_empty() || misses::misses_the_row(story).is_some();
    let mut evidence = vec![n];
    evidence.extend(story.accepted());
    let asked = story.facts(|kind| match kind {
        EventKind::ApiStatus { http_status, .. } => Some(*http_status),
        _ => None,
    });
    let gone = asked.last();
    let id = story.task_id().unwrap_or("that it answered");
    // What the API found is a row, wherever we looked.
    if let Some(found) = gone.filter(|answer| answer.value == 200) {
        return Answer::possible(
            format!(
                "{} has no row with the id {id}, and the API itself finds the task: it reads another table, or we read a standby that lags",
                named_table(story)
            ),
            [evidence[0], found.n],
        );
    }
    let gone = gone.filter(|answer| answer.value == 404).map(|answer| answer.n);
    let text = format!(
        "the API accepted the task, but {} has no row with the id {id}",
        named_table(story)
    );
    // An id found under a usual name may be another one's: a request's, say.
    if story.id_was_guessed() {
        return Answer::possible(
            format!("{text}; the id was found without api.task_id_pointer and may not be the task's"),
            evidence,
        );
    }
    match gone {
        _ if !nothing_published => Answer::possible(text, evidence).would_decide(&[Source::Firehose]),
        Some(n) if explained => {
            evidence.push(n);
            unknown_to_the_api(story, &text, evidence)
        }
        _ if explained => Answer::likely(text, evidence),
        _ => Answer::possible(text, evidence),
    }
}

/// The API itself knows nothing of it.
fn unknown_to_the_api(story: &Story<'_>, text: &str, evidence: Vec<u32>) -> Answer {
    let text = format!("{text}, and the API itself answers 404 for it");
    // An actor that did its work without missing the row may have had it, and put it away. Afterwards nobody
    // knows whether there was one.
    if story.post_mortem() || (story.attempt_over().is_some() && story.raised().is_empty()) {
        return Answer::likely(format!("{text}, unless it was taken away since"), evidence);
    }
    // A relay that sends what the API stored may bring both, the row and the message, later.
    if story.reached(Stage::Entered).is_none() {
        let waited = units::span(story.timeline.setup.silence_ms as f64);
        let text = format!("{text}; nothing was sent for it either, within {waited} so far");
        return Answer::likely(text, evidence);
    }
    // Whatever else was not found need not be the row: a worker may write that at its end.
    if misses::misses_the_row(story) != Some(misses::Misses::TheRow) {
        return Answer::likely(
            format!("{text}, unless a worker is to write it when it is done"),
            evidence,
        );
    }
    // A standby, or an answer from before the last that was heard, may not show a row that is.
    let since = story.last_news_ms().ceil() as i64;
    Answer::shown(text, evidence).given([Premise::StillAnswers(Source::Database, since), Premise::IsPrimary])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Scene, WORKER};

    #[test]
    fn nothing_recorded_and_nothing_sent() {
        let scene = Scene::accepted().no_row();
        assert_eq!(scene.clone().silence().cause(), "likely row-missing");
        // A relay may bring the row and the message, later.
        assert_eq!(scene.api_knows_nothing().silence().cause(), "likely row-missing");
    }

    #[test]
    fn a_worker_that_creates_the_row_has_not_come_to_it() {
        assert_eq!(
            Scene::accepted()
                .no_row()
                .publish("default")
                .api_knows_nothing()
                .silence()
                .answer(&CAUSE),
            "not applicable"
        );
        let running = Scene::entered().no_row().timeout();
        assert_ne!(
            running.verdict().cause.map(|cause| cause.id).as_deref(),
            Some("row-missing")
        );
    }

    #[test]
    fn without_the_firehose_something_may_have_been_sent() {
        let scene = Scene::accepted()
            .depth("default", 0, 1)
            .no_row()
            .api_knows_nothing()
            .silence();
        assert_eq!(scene.without(Source::Firehose).answer(&CAUSE), "possible");
        assert_eq!(scene.without(Source::Database).answer(&CAUSE), "cannot tell");
    }

    /// A slow database has not answered yet when the actor has failed already: its look is waited for.
    #[test]
    fn before_the_first_look_at_the_row_nothing_is_decided() {
        let raised = Scene::accepted()
            .publish("default")
            .deliver(WORKER)
            .debug(
                "dramatiq.worker.WorkerThread",
                "Received message act('task_1') with id 'm-1'.",
            )
            .raised("LookupError: no task task_1");
        let decided = |scene: &Scene| scene.verdict().terminal;
        assert!(!decided(&raised));
        assert!(decided(&raised.clone().row("PENDING")));
        assert!(decided(&raised.without(Source::Database)));
    }

    #[test]
    fn an_actor_that_raised_for_another_reason() {
        let scene = |exception: &str| {
            Scene::accepted()
                .no_row()
                .publish("default")
                .deliver(WORKER)
                .debug(
                    "dramatiq.worker.WorkerThread",
                    "Received message act('task_1') with id 'm-1'.",
                )
                .raised(exception)
                .api_knows_nothing()
                .no_row()
                .silence()
        };
        assert_eq!(
            scene("LookupError: no task task_1").cause(),
            "certain row-missing"
        );
        assert_eq!(
            scene("ZeroDivisionError: division by zero").cause(),
            "certain actor-raised"
        );
        // A bug of the actor's own, in a system whose worker writes the row when it is done.
        let other = scene("AttributeError: 'NoneType' object has no attribute 'price'");
        assert_eq!(other.cause(), "certain actor-raised");
        assert_eq!(other.answer(&CAUSE), "likely");
    }
}
