//! The API's publish failed.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "api-cannot-enqueue",
    keeps_from: &[Stage::Submitted, Stage::Published],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Api]],
    general: false,
    page: include_str!("api_cannot_enqueue.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let Some((n, status, _)) = story
        .answer()
        .filter(|(_, status, _)| *status >= 500 || *status < 300)
    else {
        return Answer::NotApplicable;
    };
    let swallowed = status < 300;
    if !story.sees(Source::ApiLog) {
        return Answer::cannot_tell(&[Source::ApiLog]);
    }
    // The database's connection errors look alike: a frame of the broker's client library decides.
    let from_publish = |text: &str| {
        let library = ["/dramatiq/", "/pika/", "/kombu/", "/amqp/"]
            .iter()
            .any(|part| text.contains(part));
        let refused = [
            "ConnectionClosed",
            "AMQPConnectionError",
            "ConnectionRefused",
            "ProbableAuthenticationError",
            "PRECONDITION_FAILED",
            "ACCESS_REFUSED",
            "ChannelClosed",
            "StreamLostError",
            "gaierror",
            "IncompatibleProtocolError",
        ]
        .iter()
        .any(|part| text.contains(part));
        library && refused
    };
    // pika logs a traceback of its own for each attempt, also for one that a later attempt made good.
    let raised = |text: &str| from_publish(text) && (text.contains("/dramatiq/") || text.contains("/kombu/"));
    match super::api_traceback(story, raised).or_else(|| super::api_traceback(story, from_publish)) {
        Some((line, exception)) if swallowed => {
            let text =
                format!("the API could not publish ({exception}), and answered HTTP {status} all the same");
            if story.closed() && super::saw_every_publish(story) {
                Answer::certain(text, [n, line])
            } else {
                Answer::likely(text, [n, line]).would_decide(&[Source::Firehose])
            }
        }
        Some((line, exception)) if super::api_traceback(story, raised).is_none() => Answer::likely(
            format!("HTTP {status}: the API could not publish: {exception}"),
            [n, line],
        )
        .terminal(),
        Some((line, exception)) => Answer::certain(
            format!("HTTP {status}: the API could not publish: {exception}"),
            [n, line],
        )
        .terminal(),
        None => Answer::NotApplicable,
    }
}
