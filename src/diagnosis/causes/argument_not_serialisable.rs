//! An argument of the message cannot be encoded as JSON.

use crate::diagnosis::evidence::api_tracebacks;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "argument-not-serialisable",
    keeps_from: &[Stage::Submitted, Stage::Published],
    owner: &[Owner::ApiCode],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Api]],
    page: include_str!("argument_not_serialisable.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    // What is sent after the answer, by a background task, fails without a word to whoever asked.
    let is_sent_later = |status: u16| {
        (200..300).contains(&status)
            && story.closed()
            && story.sees(Source::ApiLog)
            && story.publishes().is_empty()
            && story.stray_publishes().is_empty()
    };
    let Some(answer) = story
        .answer()
        .filter(|answer| answer.status >= 500 || is_sent_later(answer.status))
    else {
        return Answer::NotApplicable;
    };
    if !story.sees(Source::ApiLog) {
        return Answer::cannot_tell(&[Source::ApiLog]);
    }
    // The API may fail to encode its own answer in the same words: the message's encoder decides.
    let from_encoder = |text: &str| {
        text.contains("is not JSON serializable")
            && story.framework().stack.is_library(&text.replace('\\', "/"))
    };
    match api_tracebacks::of_the_request(story, from_encoder) {
        Some(exception) => {
            let text = format!(
                "HTTP {}: {exception} while the message was encoded",
                answer.status
            );
            let evidence = [answer.n, exception.n];
            let shown = match answer.status >= 500 || api_tracebacks::is_of_the_actor(story, exception.n) {
                true => Answer::shown(text, evidence),
                // The request went on: it may have been another message of it.
                false => Answer::likely(
                    format!("{text}, if that was this task's: the API went on"),
                    evidence,
                ),
            };
            api_tracebacks::by_traceback(story, shown, exception.n)
        }
        None => Answer::NotApplicable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    const BELOW: &str = "Traceback (most recent call last):\n  File \"/v/dramatiq/encoder.py\", line 4, in encode\n    return json.dumps(data)\nTypeError: Object of type datetime is not JSON serializable";

    #[test]
    fn the_messages_encoder_raised() {
        let scene = Scene::refused(500, "")
            .api_served("POST /tasks", 500)
            .api_log("Exception in ASGI application", BELOW);
        assert_eq!(scene.cause(), "certain argument-not-serialisable");
        assert!(scene.verdict().terminal);
    }

    #[test]
    fn the_answers_encoder_is_a_near_miss() {
        let answer = BELOW.replace("/v/dramatiq/encoder.py", "/v/starlette/responses.py");
        let scene = Scene::refused(500, "")
            .api_served("POST /tasks", 500)
            .api_log("Exception in ASGI application", &answer);
        assert_eq!(scene.answer(&CAUSE), "not applicable");
        assert_eq!(scene.cause(), "certain api-failed");
    }

    #[test]
    fn without_the_apis_log_it_cannot_be_told() {
        let scene = Scene::refused(500, "")
            .api_log("x", BELOW)
            .without(Source::ApiLog);
        assert_eq!(scene.answer(&CAUSE), "cannot tell");
        assert_eq!(scene.cause(), "likely api-failed");
    }

    /// FastAPI runs a background task after the answer.
    #[test]
    fn what_is_sent_after_the_answer_fails_unseen() {
        let accepted = || {
            Scene::accepted()
                .row("PENDING")
                .api_served("POST /tasks", 202)
                .api_log("Exception in ASGI application", BELOW)
        };
        let later = accepted().silence();
        assert!(
            later.cause().ends_with(" argument-not-serialisable"),
            "{}",
            later.cause()
        );
        assert_ne!(later.answer(&CAUSE), "possible");
        assert_eq!(
            accepted().answer(&CAUSE),
            "not applicable",
            "it may still be sent"
        );
        // Another request's.
        let sent = accepted().publish("default").silence();
        assert_eq!(sent.answer(&CAUSE), "not applicable");
    }
}
