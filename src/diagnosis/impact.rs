//! What became of the task's work: whether anything is lost, and whether the task must be submitted again. Where
//! that cannot be told it says where to look first, since a second run may do harm.

use super::choice::Candidate;
use super::evidence::{answers, api, later};
use super::{Certainty, Impact, Match, Outcome, Resubmit, Stage, Story, Whereabouts};
use crate::timeline::{EventKind as Kind, NoAnswer, Source};

/// Of a task that has not succeeded, or not as it should.
pub(super) fn of(
    story: &Story<'_>,
    outcome: Outcome,
    winner: Option<&Candidate>,
    message: Option<&Whereabouts>,
) -> Impact {
    let (resubmit, sentence) = told(story, outcome, winner, message);
    Impact { resubmit, sentence }
}

fn told(
    story: &Story<'_>,
    outcome: Outcome,
    winner: Option<&Candidate>,
    message: Option<&Whereabouts>,
) -> (Resubmit, String) {
    if outcome == Outcome::Succeeded {
        return no("Nothing is lost, the task has run: do not submit it again.");
    }
    let gone = winner.and_then(|winner| by_the_cause(story, &winner.matched));
    match message {
        Some(Whereabouts {
            lost: Some(false), ..
        }) => no("Nothing is lost: do not submit the task again."),
        Some(Whereabouts { lost: Some(true), .. }) => {
            yes("No copy is left: to run again, the task must be submitted again.")
        }
        Some(at_rest)
            if at_rest.is_dead_letter()
                && (story.may_go_on_in_another()
                    || story.may_have_succeeded_since().is_some()
                    || (story.post_mortem() && !story.would_tell_of_a_later_run())) =>
        {
            look(&format!(
                "A dead letter is kept, and the task may have been sent again since: look at `{}` and at its row before you move it or submit the task again.",
                story.queue()
            ))
        }
        Some(at_rest) if at_rest.is_dead_letter() => yes(
            "A dead letter is kept, and does not run by itself: move it, or submit the task again, after the repair.",
        ),
        _ if gone.is_some() => gone.unwrap_or_else(|| no_copy(story)),
        _ if story.furthest().is_none() => unsent(story),
        Some(rest) if rest.is_settled() => no_copy(story),
        Some(_) => {
            look("Nothing shows that it is lost: see whether it comes before you submit the task again.")
        }
        None if story.reached(Stage::Entered).is_some() => look(
            "Where its message is was not seen, and the attempt may have done its work: look at both before you submit the task again.",
        ),
        None if story.furthest() < Some(Stage::Published) => unpublished(story),
        None => look(&format!(
            "Whether a copy of its message is left was not seen: look at {} before you submit the task again.",
            queues(story)
        )),
    }
}

/// What the cause itself means for the message.
fn by_the_cause(story: &Story<'_>, matched: &Match) -> Option<(Resubmit, String)> {
    if matched.comes_by_itself {
        return Some(match matched.certainty {
            Certainty::Certain => no("Nothing is lost: it is sent when what it waits for has ended."),
            _ => look(
                "It is sent when what it waits for has ended, if this is the cause: look for it before you submit it again.",
            ),
        });
    }
    let sure = matched.gone.then_some(matched.certainty)?;
    match sure {
        Certainty::Certain => Some(yes(
            "The message is gone: submit the task again after the repair.",
        )),
        Certainty::Likely => Some(look(&format!(
            "The message is gone, if this is the cause: look at {}, then submit the task again after the repair.",
            queues(story)
        ))),
        Certainty::Possible => None,
    }
}

/// Nothing says that the API took it.
fn unsent(story: &Story<'_>) -> (Resubmit, String) {
    if story.post_mortem() {
        return look("Nothing of the task was seen: look for it before you submit it again.");
    }
    // Whatever it answered.
    if api::sent_all_the_same(story).is_some() {
        return may_be_taken();
    }
    let answer = |kind: &Kind| match kind {
        Kind::NotAnswered { why, .. } => Some(match why {
            NoAnswer::Connect | NoAnswer::Dns | NoAnswer::Tls | NoAnswer::OwnLimit => not_taken(),
            NoAnswer::Timeout | NoAnswer::Broken => may_be_taken(),
        }),
        Kind::Answered { status, body, .. } => Some(match status {
            200..=299 if answers::tells_of_an_error(body) => may_be_taken(),
            300..=499 => yes("The API refused the request: submit the task again after the repair."),
            200..=299 => look(
                "The API accepted the request, and the task may run: look for it before you submit it again.",
            ),
            _ => may_be_taken(),
        }),
        Kind::CommandEnded(_) => Some(may_be_taken()),
        _ => None,
    };
    let mut events = story.timeline.events.iter().rev();
    events
        .find_map(|event| answer(&event.kind))
        .unwrap_or_else(not_taken)
}

fn not_taken() -> (Resubmit, String) {
    yes("Nothing was submitted, so nothing is lost: submit the task after the repair.")
}

fn may_be_taken() -> (Resubmit, String) {
    look(
        "Whether a part of it was done is not known: look for a row or a message of it before you submit it again.",
    )
}

/// Recorded, and in no queue.
fn unpublished(story: &Story<'_>) -> (Resubmit, String) {
    let of_a_group = !later::members(story).is_empty();
    let sent = !story.publishes().is_empty() || !story.stray_publishes().is_empty() || of_a_group;
    if sent {
        return look(&format!(
            "A message of it was sent, and is not known to wait in {}: look where it went before you submit the task again.",
            queues(story)
        ));
    }
    match story.sees_all(Source::Firehose) {
        true => look(
            "No message of it has come to this broker so far. After the repair, see that none came late, then submit the task again.",
        ),
        false => look(&format!(
            "Whether a message of it was sent was not seen: look at {} before you submit the task again.",
            queues(story)
        )),
    }
}

/// The broker has done with it.
fn no_copy(story: &Story<'_>) -> (Resubmit, String) {
    if story.may_go_on_in_another() {
        let delay = story
            .delay_queue()
            .map_or_else(String::new, |delay| format!(" and `{delay}`"));
        return look(&format!(
            "Its message is acknowledged, and another one may go on with the task: look at `{}`{delay} before you submit it again.",
            story.queue()
        ));
    }
    match story.reached(Stage::Entered) {
        Some(_) => look(
            "The broker holds no copy, and the work may be done: look at what the task did before you submit it again.",
        ),
        // It was acknowledged when its run was over.
        None if story.acknowledges_after_the_run() => look(
            "The broker holds no copy, and the worker has done with it: look at what the task did before you submit it again.",
        ),
        None => look(
            "The broker holds no copy, and a worker may still run it: look there before you submit it again.",
        ),
    }
}

fn queues(story: &Story<'_>) -> String {
    match story.dead_letter_queue() {
        Some(dead) if dead != story.queue() => format!("`{}` and `{dead}`", story.queue()),
        _ => format!("`{}`", story.queue()),
    }
}

fn no(text: &str) -> (Resubmit, String) {
    (Resubmit::No, text.to_owned())
}

fn yes(text: &str) -> (Resubmit, String) {
    (Resubmit::Yes, text.to_owned())
}

fn look(text: &str) -> (Resubmit, String) {
    (Resubmit::Unknown, text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    fn resubmit(scene: &Scene) -> Option<Resubmit> {
        Some(scene.verdict().impact?.resubmit)
    }

    fn answered(status: u16) -> Scene {
        Scene::new().submitting().answered(status, None, "no")
    }

    #[test]
    fn what_waits_is_not_to_be_sent_again_and_what_was_not_seen_only_after_a_look() {
        let sent = Scene::accepted().row("PENDING").publish("default");
        let waits = sent
            .clone()
            .totals("default", 1, 0, serde_json::json!({}))
            .depth("default", 1, 0);
        assert_eq!(resubmit(&waits), Some(Resubmit::No));
        assert_eq!(resubmit(&sent), Some(Resubmit::Unknown));
        let recorded = Scene::accepted().row("PENDING");
        assert_eq!(resubmit(&recorded), Some(Resubmit::Unknown));
    }

    #[test]
    fn a_refused_request_left_nothing_and_a_failed_one_may_have() {
        assert_eq!(resubmit(&answered(422)), Some(Resubmit::Yes));
        assert_eq!(resubmit(&answered(500)), Some(Resubmit::Unknown));
    }

    /// A conflict that was found after `send()`: sent again it may run twice.
    #[test]
    fn a_refused_request_that_had_sent_its_message_is_looked_for() {
        use crate::diagnosis::testing::API;
        let refused = Scene::new()
            .submitting()
            .publish_as("default", API, Scene::message("x-9"))
            .answered(409, None, "no");
        assert_eq!(resubmit(&refused), Some(Resubmit::Unknown));
    }

    /// Afterwards the log alone tells of what a run sent.
    #[test]
    fn a_run_that_sent_a_message_may_go_on_in_it() {
        let ended = |sent: Option<&str>| {
            let scene = Scene::new().given().from_before(5).debug(
                "dramatiq.worker.WorkerThread",
                "Received message act('task_1') with id 'm-1'.",
            );
            let scene = match sent {
                Some(queue) => scene.debug(
                    "dramatiq.worker.WorkerThread",
                    &format!("Enqueueing message 'm-2' on queue '{queue}'."),
                ),
                None => scene,
            };
            let scene = scene
                .info("app", "ACTOR ENTRY task_id=task_1")
                .completed()
                .acked("m-1");
            let looked = scene
                .from_now_on()
                .row("PENDING")
                .totals("default", 0, 0, serde_json::json!({}));
            let verdict = looked.end(crate::timeline::Ended::Looked).verdict();
            verdict.impact.expect("an impact").sentence
        };
        let put_off = ended(Some("default.DQ"));
        assert!(put_off.contains("another one may go on"), "{put_off}");
        for near in [None, Some("emails")] {
            assert!(ended(near).contains("holds no copy"), "{near:?}: {}", ended(near));
        }
    }

    #[test]
    fn an_answer_that_tells_of_an_error_accepted_nothing() {
        let says = |body: &str| {
            let verdict = Scene::new()
                .submitting()
                .answered(200, None, body)
                .silence()
                .verdict();
            verdict.impact.expect("an impact").sentence
        };
        assert!(!says(r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32050}}"#).contains("accepted"));
        assert!(says(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#).contains("accepted"));
    }

    /// Dead letters stay for days, and the task may have been sent again meanwhile.
    #[test]
    fn a_dead_letter_need_not_be_the_last_message() {
        let kept = |unacked: u64| {
            let scene = Scene::new().given().dead_letter("default.XQ", "rejected");
            let scene = scene.row("RUNNING").depth("default.XQ", 1, 0);
            scene
                .totals("default", 0, unacked, serde_json::json!({}))
                .end(crate::timeline::Ended::Looked)
        };
        assert_eq!(resubmit(&kept(0)), Some(Resubmit::Yes));
        assert_eq!(resubmit(&kept(1)), Some(Resubmit::Unknown));
    }

    /// Nobody asked for its row: it may have been sent again, and be done.
    #[test]
    fn a_dead_letter_of_which_no_status_speaks_need_not_be_the_last_message() {
        let kept = Scene::new().given().dead_letter("default.XQ", "rejected");
        let kept = kept
            .depth("default.XQ", 1, 0)
            .totals("default", 0, 0, serde_json::json!({}));
        let kept = kept.end(crate::timeline::Ended::Looked);
        assert_eq!(resubmit(&kept), Some(Resubmit::Unknown));
    }
}
