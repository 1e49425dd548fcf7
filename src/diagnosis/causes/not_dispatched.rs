//! The API could have published, and did not.

use crate::diagnosis::evidence::{api, broker, connections, later, permissions};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "not-dispatched",
    keeps_from: &[Stage::Published],
    owner: &[Owner::ApiCode],
    explains: &[],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Firehose]],
    general: false,
    fails_attempt: false,
    applies_to: &[],
    page: include_str!("not_dispatched.md"),
    check,
};

/// A publish that failed and was swallowed leaves the same, and only the API's log would tell.
fn check(story: &Story<'_>) -> Answer {
    match (look(story), story.sees(Source::ApiLog)) {
        // Sent or not, the broker would have refused it.
        (Answer::Matched(matched), _) if permissions::api_may_not_publish(story).is_some() => {
            Answer::possible(matched.summary, matched.evidence).given([Premise::NothingRefused])
        }
        (Answer::Matched(matched), false) => {
            Answer::possible(matched.summary, matched.evidence).would_decide(&[Source::ApiLog])
        }
        (answer, _) => answer,
    }
}

fn look(story: &Story<'_>) -> Answer {
    if let Some(answer) = later::sent_or_to_be_sent(story) {
        return answer;
    }
    if let Some(stray) = story.stray_publishes().first() {
        return Answer::ruled_out(
            format!(
                "a message with this task id was published, for actor `{}` to `{}`",
                stray.message.actor.as_deref().unwrap_or("?"),
                stray.queue
            ),
            [stray.n],
        );
    }
    if let (Some((committed, _)), Some((_, row))) = (story.older_row(), story.last_row())
        && story.says_it_is_over(row)
    {
        return Answer::ruled_out(
            "the row is an older task's: no task was made to send",
            [committed],
        );
    }
    if !story.closed() {
        return Answer::NotApplicable;
    }
    // Sent through a node that is not traced, or dropped before we read it.
    if !story.sees_all(Source::Firehose) {
        return Answer::cannot_tell(&[Source::Firehose]);
    }
    let api = story.api_processes();
    let is_api = |connection: &str| {
        api.iter().any(|(_, process)| {
            connections::is_socket_of(process, connection)
                || story.peer(connection).is_some_and(|(_, pid)| pid == process.pid)
        })
    };
    // Never certain: an outbox may send it later, and it may travel under another id.
    if let Some((n, what)) = broker::disguised(story) {
        return Answer::possible(
            format!("the API sent nothing that carries the task id, but a message {what} was published"),
            [n],
        );
    }
    if let Some((n, _, message)) = story
        .other_publishes()
        .find(|(_, connection, _)| is_api(connection))
    {
        return Answer::likely(
            format!(
                "the API published for other tasks (`{}`), not for this one",
                message.actor.as_deref().unwrap_or("?")
            ),
            [n],
        )
        .given([Premise::NothingRefused]);
    }
    let said = api::own_words(story);
    if let Some((listed, connections)) = story.connections() {
        for (n, process) in &api {
            if connections.iter().any(|connection| {
                connection.vhost == story.timeline.setup.vhost
                    && connections::is_socket_of(process, &connection.name)
            }) {
                let (said, lines) = said.unwrap_or_default();
                let mut evidence = vec![*n, listed];
                evidence.extend(lines);
                return Answer::shown(
                    format!(
                        "the API (pid {}) is connected to this very vhost, and sent nothing for this task{said}",
                        process.pid
                    ),
                    evidence,
                )
                .given([Premise::NothingRefused]);
            }
        }
    }
    // A new connection is listed 2 to 5 s late: until then nothing says which vhost it is in.
    let unlisted = api
        .iter()
        .any(|(_, process)| connections::amqp_socket(story, process).is_some());
    if api.is_empty() {
        Answer::cannot_tell(&[Source::Process])
    } else if unlisted || api.iter().any(|(_, process)| !process.sockets_seen) {
        Answer::cannot_tell(&[Source::Management])
    } else {
        Answer::NotApplicable
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{API, Scene};

    fn connected() -> Scene {
        Scene::accepted()
            .row("PENDING")
            .api_process(&[API])
            .connections(&[(API, "/", "running")])
    }

    #[test]
    fn connected_here_and_silent() {
        assert_eq!(connected().silence().cause(), "likely not-dispatched");
        assert_eq!(connected().cause(), "none");
    }

    #[test]
    fn a_message_that_travels_under_another_id() {
        let scene = connected()
            .publish_as("default", API, Scene::message("other"))
            .silence();
        assert!(scene.cause().starts_with("possible"), "{}", scene.cause());
    }

    #[test]
    fn another_actors_message_shows_that_it_can_publish() {
        let scene = connected()
            .setup(|setup| setup.actor = Some("wanted".into()))
            .publish_as("default", API, Scene::message("other"))
            .silence();
        assert_eq!(scene.cause(), "likely not-dispatched");
    }

    #[test]
    fn published_or_out_of_sight() {
        assert_eq!(
            connected().publish("default").silence().answer(&CAUSE),
            "ruled out"
        );
        assert_eq!(
            connected().silence().without(Source::Firehose).answer(&CAUSE),
            "cannot tell"
        );
        assert_eq!(
            connected().silence().without(Source::Process).answer(&CAUSE),
            "cannot tell"
        );
    }

    /// A publish that failed and was swallowed leaves the same: only the API's log would tell.
    #[test]
    fn without_the_apis_log_it_is_possible_at_most() {
        let blind = connected().silence().without(Source::ApiLog);
        assert_eq!(blind.answer(&CAUSE), "possible");
    }
}
