//! A memory or disk alarm holds publishers back.

use crate::diagnosis::evidence::{broker, connections};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::EventKind;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "publisher-blocked",
    keeps_from: &[Stage::Published],
    owner: &[Owner::Broker],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Management]],
    page: include_str!("publisher_blocked.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if story.published().is_some() {
        return Answer::NotApplicable;
    }
    let Some(connections) = story.connections() else {
        return Answer::cannot_tell(&[Source::Management]);
    };
    let alarm = story.find(|event| match &event.kind {
        EventKind::Alarm { node, alarm } => Some((event.n, node, alarm)),
        _ => None,
    });
    let api = story.api_processes();
    let blocked = connections.iter().find(|connection| {
        connection.vhost == story.timeline.setup.vhost
            && matches!(connection.state.as_str(), "blocked" | "blocking")
            && (api.is_empty()
                || api
                    .iter()
                    .any(|process| connections::is_socket_of(process, &connection.name)))
    });
    let unlisted = api.iter().any(|process| {
        connections::amqp_socket(story, process)
            // Listed without a state its numbers have not come yet.
            .is_some_and(|socket| {
                connections
                    .iter()
                    .all(|connection| connection.name != socket || connection.state.is_empty())
            })
    });
    match (alarm, blocked) {
        (Some((n, node, alarm)), Some(connection)) => {
            let text = format!(
                "{node} has a {alarm} alarm and blocks the publisher {} ({})",
                connection.name, connection.state
            );
            // Without the firehose the message may have been published before the alarm.
            // What was held back may be another request's: of this task nothing was seen.
            if !api.is_empty() && story.closed() && broker::saw_every_publish(story) {
                Answer::shown(text, [n, connections.n]).given([Premise::WasSent])
            } else {
                Answer::likely(text, [n, connections.n])
            }
        }
        // A new connection is listed seconds late.
        (Some((n, node, alarm)), None) if api.is_empty() || unlisted => {
            Answer::likely(format!("{node} has a {alarm} alarm: publishers are blocked"), [n])
                .would_decide(&[Source::Process])
        }
        (Some((n, node, alarm)), None) => Answer::possible(
            format!("{node} has a {alarm} alarm, but no connection of the API is blocked"),
            [n, connections.n],
        ),
        // The nodes' own word may be five seconds old, and nothing but an alarm blocks a publisher.
        (None, Some(connection)) => Answer::likely(
            format!(
                "the broker blocks the publisher {} ({}): a resource alarm is in force",
                connection.name, connection.state
            ),
            [connections.n],
        ),
        (None, None) => Answer::ruled_out("no node has an alarm", [connections.n]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{API, Scene};
    use crate::timeline::Role;

    fn blocked() -> Scene {
        Scene::accepted()
            .row("PENDING")
            .alarm()
            .connections(&[(API, "/", "blocked")])
    }

    #[test]
    fn the_apis_connection_is_blocked() {
        assert_eq!(blocked().silence().cause(), "likely publisher-blocked");
        let scene = blocked().api_process(&[API]);
        // The alarm is certain, and that something was sent for this task is not.
        assert_eq!(scene.clone().silence().cause(), "likely publisher-blocked");
        assert_eq!(scene.silence().without(Source::Firehose).answer(&CAUSE), "likely");
    }

    /// As it is listed in the first seconds of an alarm.
    #[test]
    fn a_blocked_connection_shows_an_alarm_that_is_not_listed_yet() {
        let young = Scene::accepted()
            .row("PENDING")
            .api_process(&[API])
            .connections(&[(API, "/", "blocking")]);
        assert_eq!(young.silence().cause(), "likely publisher-blocked");
    }

    #[test]
    fn an_alarm_that_does_not_hold_the_api_back() {
        let scene = Scene::accepted()
            .row("PENDING")
            .alarm()
            .api_process(&[API])
            .connections(&[(API, "/", "running")])
            .silence();
        assert_eq!(scene.answer(&CAUSE), "possible");
    }

    #[test]
    fn no_alarm_and_no_sight() {
        let scene = Scene::accepted().connections(&[(API, "/", "running")]).silence();
        assert_eq!(scene.answer(&CAUSE), "ruled out");
        assert_eq!(
            blocked().silence().without(Source::Management).answer(&CAUSE),
            "cannot tell"
        );
    }

    /// A proxy listens on the API's port: whoever publishes is behind it.
    #[test]
    fn a_proxy_before_the_api_is_not_the_api() {
        let behind = |state: &str| {
            Scene::accepted()
                .row("PENDING")
                .alarm()
                .see(Source::Process, EventKind::ApiProcess { pid: 60 })
                .process(60, 1, "nginx", |process| {
                    process.command = vec!["nginx: master process nginx -g".into()]
                })
                .connections(&[(API, "/", state)])
        };
        assert_eq!(behind("blocking").silence().cause(), "likely publisher-blocked");
        let known = behind("blocking")
            .worker_container("a1", "running", |container| container.roles = vec![Role::ApiLog])
            .process(50, 1, "python uvicorn main:app", |process| {
                process.container = Some("a1".into());
                process.sockets = vec![API.into()];
            });
        assert_eq!(known.silence().cause(), "likely publisher-blocked");
    }

    /// Listed, and its state has not come yet: that it is not blocked is not known.
    #[test]
    fn a_connection_without_a_state_may_be_blocked() {
        let scene = Scene::accepted()
            .row("PENDING")
            .alarm()
            .api_process(&[API])
            .connections(&[(API, "/", "")])
            .silence();
        assert_eq!(scene.answer(&CAUSE), "likely");
    }
}
