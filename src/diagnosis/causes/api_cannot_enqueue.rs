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
    match super::api_traceback(story, from_publish) {
        Some((line, exception)) if swallowed => Answer::certain(
            format!("the API could not publish ({exception}), and answered HTTP {status} all the same"),
            [n, line],
        ),
        Some((line, exception)) => Answer::certain(
            format!("HTTP {status}: the API could not publish: {exception}"),
            [n, line],
        )
        .terminal(),
        None => Answer::NotApplicable,
    }
}
