//! Nothing reached this broker, and nobody could say why.

use crate::diagnosis::evidence::{End, api, broker, connections, later, permissions, workers};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Claim, Owner, Scenario, Stage, Stand, Story};
use crate::text;
use crate::timeline::{Level, Process, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "not-published",
    keeps_from: &[Stage::Published],
    owner: &[Owner::ApiCode],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Firehose, Source::Queue]],
    general: true,
    stand: Stand::Hangs,
    claims: &[Claim::NothingSent],
    page: include_str!("not_published.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if let Some(answer) = later::sent_or_to_be_sent(story) {
        return answer;
    }
    // A worker has had it, whatever became of its way there.
    if !story.closed() || story.reached(Stage::Delivered).is_some() {
        return Answer::NotApplicable;
    }
    let seconds = story.timeline.setup.silence_ms as f64 / 1000.0;
    let mut evidence: Vec<u32> = story.accepted().into_iter().collect();
    if story.sees_all(Source::Firehose) {
        // One that names it may be about it, and for somebody else.
        let wanted = story
            .timeline
            .setup
            .actor
            .as_ref()
            .filter(|_| !story.stray_publishes().is_empty());
        let text = format!(
            "no message {}with this task id reached vhost \"{}\" of {} within {seconds} s, so far",
            wanted.map_or_else(String::new, |actor| format!("for `{actor}` ")),
            story.timeline.setup.vhost,
            story.timeline.setup.broker
        );
        return match broker::disguised(story) {
            Some(what) => {
                evidence.push(what.n);
                Answer::possible(
                    format!("{text}; a message {what} was published, which may be the task's all the same"),
                    evidence,
                )
                // That one may have run.
                .may_have_begun()
            }
            // A window cannot exclude a later publish, by an outbox relay say.
            None => {
                if let Some((end, words)) = api_died(story) {
                    evidence.push(end.n);
                    return Answer::likely(
                        format!(
                            "{text}; the API that was started accepted the task and then {words}, so it was not published any more"
                        ),
                        evidence,
                    );
                }
                let api = story.api_processes();
                // Whoever set that need not have sent anything.
                let failed = story.row_failed().map(|row| {
                    evidence.push(row.n);
                    let error = row.error.as_deref().filter(|error| !error.is_empty());
                    let error =
                        error.map_or(String::new(), |error| format!(" (\"{}\")", text::excerpt(error)));
                    format!(
                        "; the row says {}{error}: whoever set that may have sent nothing on purpose",
                        row.status.as_deref().unwrap_or("a failed status")
                    )
                });
                let said = said_by_the_api(story);
                let hint = failed.or_else(|| {
                    let (hint, seen) = unconnected(story, said.is_none())?;
                    evidence.extend(seen);
                    Some(hint)
                });
                let said = said.map(|(said, lines)| {
                    evidence.extend(lines);
                    said
                });
                let text = format!("{text}{}{}", hint.unwrap_or_default(), said.unwrap_or_default());
                // It connected for something that did not arrive.
                let answer = match permissions::may_be_refused_yet(story) {
                    Some(_) => Answer::possible(text, evidence),
                    None => Answer::likely(text, evidence),
                };
                answer
                    .given([Premise::NothingRefused])
                    .case(API_UNSEEN, api.is_empty())
            }
        };
    }
    // Without the firehose: with nobody to take messages away, a queue that did not grow got none.
    let queue = story.queue();
    let depths = story.depths_since(queue);
    let nobody = !depths.is_empty() && depths.iter().all(|depth| depth.consumers == 0);
    let family = story.framework().queues.family(queue);
    let grew = family.iter().any(|(_, name)| broker::grew(story, name));
    if nobody && !grew {
        evidence.extend(depths.last().map(|depth| depth.n));
        if story.post_mortem() {
            let text = format!(
                "`{queue}` has no consumer and is empty: no message was sent for it, or it is gone since (taken, expired, purged, deleted with its queue)"
            );
            return Answer::possible(text, evidence).would_decide(&[Source::Firehose]);
        }
        return Answer::likely(format!("`{queue}` has no consumer and did not grow"), evidence)
            .would_decide(&[Source::Firehose]);
    }
    Answer::cannot_tell(&[Source::Firehose])
}

/// No process of the API is connected to the broker's port: to stand in a sentence, with the processes.
fn unconnected(story: &Story<'_>, nothing_else_leads_further: bool) -> Option<(String, Vec<u32>)> {
    // The master of a prefork server never is: its children publish.
    let api = story.api_processes();
    let silent =
        |process: &Process| process.sockets_seen && connections::amqp_socket(story, process).is_none();
    if api.is_empty() || !api.iter().all(|process| silent(process)) {
        return None;
    }
    let pids: Vec<String> = api.iter().map(|process| process.pid.to_string()).collect();
    let elsewhere = match nothing_else_leads_further {
        true => {
            ": if it connects through a proxy, or another process publishes for it (an outbox relay), look there; a broker for tests, in its memory, needs none either"
        }
        false => "",
    };
    let text = format!(
        "; the API (pid {}) has no connection to the broker's port{elsewhere}",
        pids.join(", ")
    );
    Some((text, api.iter().map(|process| process.n).collect()))
}

/// Of the task, or else while it had the request: to stand at the end of a sentence, with the lines.
fn said_by_the_api(story: &Story<'_>) -> Option<(String, Vec<u32>)> {
    api::own_words(story).or_else(|| {
        let said = api::said_meanwhile(story, Level::Info)?;
        let text = format!("; meanwhile it logged \"{}\"", text::excerpt(&said.text));
        Some((text, vec![said.n]))
    })
}

/// A case of its remedies.
const API_UNSEEN: &str = "the API's process was not seen";

/// The API of this run ended after its answer.
fn api_died(story: &Story<'_>) -> Option<(End, String)> {
    let answered = story.answer()?;
    let launch = story.started("api")?;
    workers::end_of(&launch).filter(|(end, _)| end.exit != 0 && end.n > answered.n)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{OTHER, Scene};
    use crate::timeline::EventKind;

    #[test]
    fn an_api_that_died_after_its_answer() {
        let scene = Scene::new()
            .started("api", 50)
            .ready("api", 50)
            .submitted()
            .row("PENDING")
            .exited(50, -9)
            .silence();
        assert_eq!(scene.cause(), "likely not-published");
        let summary = scene.summary();
        assert!(
            summary.contains("accepted the task and then ended with"),
            "{summary}"
        );
    }

    #[test]
    fn nothing_came_and_everything_was_seen() {
        let scene = Scene::accepted()
            .row("PENDING")
            .api_process(&[])
            .connections(&[])
            .silence();
        // A relay may still publish it: no window makes that certain.
        assert_eq!(scene.cause(), "likely not-published");
    }

    #[test]
    fn behind_a_proxy_it_has_a_connection_all_the_same() {
        let scene = Scene::accepted()
            .row("PENDING")
            .api_process(&["127.0.0.1:40000 -> 127.0.0.1:40915"]);
        let summary = scene.silence().summary();
        assert!(
            summary.contains("no connection to the broker's port"),
            "{summary}"
        );
        let direct = Scene::accepted()
            .row("PENDING")
            .api_process(&[crate::diagnosis::testing::API]);
        let summary = direct.silence().summary();
        assert!(!summary.contains("no connection"), "{summary}");
    }

    /// The API found the task to be wrong, said so in its row, and sent nothing.
    #[test]
    fn what_the_row_says_of_its_failure_is_quoted() {
        let scene = Scene::accepted().row("FAILED").api_process(&[]).silence();
        let failed = scene.answer(&CAUSE);
        assert_eq!(failed, "likely");
        let summary = scene.summary();
        assert!(summary.contains("the row says FAILED"), "{summary}");
        assert!(!summary.contains("outbox"), "{summary}");
    }

    #[test]
    fn the_exception_that_the_api_logged_is_quoted() {
        let raised = "Traceback (most recent call last):\n  File \"/app/main.py\", line 1, in create\nConnectionError: boom";
        let scene = Scene::accepted().row("PENDING").api_process(&[]);
        let line = crate::timeline::LogLine {
            text: "could not send task_1".into(),
            traceback: Some(raised.into()),
            carries_task_id: true,
            ..Default::default()
        };
        let scene = scene.see(Source::ApiLog, EventKind::Line(line)).silence();
        let summary = scene.summary();
        assert!(
            summary.contains("\"could not send task_1\" (ConnectionError: boom)"),
            "{summary}"
        );
        assert!(!summary.contains("outbox"), "{summary}");
    }

    #[test]
    fn without_a_database_it_is_seen_all_the_same() {
        let scene = Scene::accepted().silence();
        assert_ne!(scene.cause(), "likely not-published", "the row is missing before");
        assert_eq!(scene.without_a_database().cause(), "likely not-published");
        let sent = Scene::accepted().publish("default").silence();
        assert_ne!(sent.without_a_database().cause(), "likely not-published");
    }

    #[test]
    fn where_a_reason_is_out_of_sight_it_is_only_likely() {
        let scene = Scene::accepted().row("PENDING").silence();
        assert_eq!(scene.cause(), "likely not-published");
    }

    #[test]
    fn a_message_under_another_id_is_a_near_miss() {
        let scene = Scene::accepted()
            .row("PENDING")
            .publish_as("default", OTHER, Scene::message("other"))
            .silence();
        assert_eq!(scene.answer(&CAUSE), "possible");
    }

    /// It was ready only after the submission: what was sent at once it has not seen.
    /// What was there and is gone was published, too: an empty queue of today says nothing of that.
    #[test]
    fn afterwards_an_empty_queue_proves_no_missing_publish() {
        let found = Scene::new()
            .given()
            .row("PENDING")
            .depth("default", 0, 0)
            .totals("default", 0, 0, serde_json::json!({}))
            .without(Source::Firehose)
            .silence();
        assert_eq!(found.answer(&CAUSE), "possible");
        // A worker had it.
        let had = Scene::new()
            .given()
            .row("PENDING")
            .depth("default", 0, 0)
            .debug(
                "dramatiq.worker.WorkerThread",
                "Received message act('task_1') with id 'm-1'.",
            )
            .without(Source::Firehose)
            .silence();
        assert_eq!(had.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn a_firehose_that_came_late_has_not_seen_everything() {
        let watching = EventKind::Watching {
            detail: "tracing is on".into(),
        };
        let late = Scene::accepted()
            .row("PENDING")
            .depth("default", 0, 1)
            .without(Source::Firehose)
            .see(Source::Firehose, watching)
            .silence();
        assert_eq!(late.answer(&CAUSE), "cannot tell");
    }

    #[test]
    fn without_the_firehose_a_queue_that_did_not_grow() {
        let scene = Scene::new().depth("default", 0, 0).submitted().row("PENDING");
        let quiet = scene
            .clone()
            .depth("default", 0, 0)
            .silence()
            .without(Source::Firehose);
        assert_eq!(quiet.answer(&CAUSE), "likely");
        let consumed = scene.depth("default", 0, 1).silence().without(Source::Firehose);
        assert_eq!(consumed.answer(&CAUSE), "cannot tell");
    }
}
