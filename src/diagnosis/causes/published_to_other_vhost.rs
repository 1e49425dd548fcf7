//! The API talks to another vhost of this broker.

use crate::diagnosis::evidence::{connections, settings};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "published-to-other-vhost",
    keeps_from: &[Stage::Published],
    owner: &[Owner::Deployment],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Management], &[Source::Process]],
    page: include_str!("published_to_other_vhost.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if story.published().is_some() || !story.closed() {
        return Answer::NotApplicable;
    }
    let Some(connections) = story.connections() else {
        return Answer::cannot_tell(&[Source::Management]);
    };
    let vhost = &story.timeline.setup.vhost;
    let mut other = None;
    for process in story.api_processes() {
        for connection in connections
            .iter()
            .filter(|connection| connections::is_socket_of(&process, &connection.name))
        {
            if connection.vhost == *vhost {
                return Answer::ruled_out(
                    format!("the API (pid {}) is connected to vhost \"{vhost}\"", process.pid),
                    [process.n, connections.n],
                );
            }
            other = Some((process, &connection.vhost));
        }
    }
    // That the message went there could only be seen there: the API may use that vhost for something
    // else and not have sent this task at all.
    match other {
        Some((process, place)) if settings::name_one_broker(story, process.pid) => {
            let text = format!(
                "the API (pid {}) is connected to vhost \"{place}\" of this broker; by its settings it has the worker's broker as well, and may have that connection for something else",
                process.pid
            );
            Answer::possible(text, [process.n, connections.n])
        }
        Some((process, place)) => Answer::likely(
            format!(
                "the API (pid {}) is connected to vhost \"{place}\" of this broker, not to \"{vhost}\"",
                process.pid
            ),
            [process.n, connections.n],
        )
        .given([Premise::WasSent]),
        None => Answer::NotApplicable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{API, OTHER, Scene};

    fn elsewhere() -> Scene {
        Scene::accepted()
            .row("PENDING")
            .api_process(&[API])
            .connections(&[(API, "staging", "running")])
    }

    #[test]
    fn the_apis_connection_is_in_another_vhost() {
        assert_eq!(elsewhere().cause(), "none", "it may still connect");
        let seen = elsewhere().silence();
        assert_eq!(seen.cause(), "likely published-to-other-vhost");
        // It may have that connection for something else, and have sent nothing.
        let assumed = seen.verdict().cause.expect("a cause").premises;
        assert!(!assumed.is_empty());
    }

    #[test]
    fn one_here_as_well_is_a_near_miss() {
        let scene = Scene::accepted()
            .row("PENDING")
            .api_process(&[API, OTHER])
            .connections(&[(API, "staging", "running"), (OTHER, "/", "running")])
            .silence();
        assert_eq!(scene.answer(&CAUSE), "ruled out");
    }

    #[test]
    fn management_or_process_out_of_sight() {
        for source in [Source::Management, Source::Process] {
            assert_eq!(
                elsewhere().silence().without(source).answer(&CAUSE),
                "cannot tell"
            );
        }
    }

    /// Both name one broker, and the API has a second connection for its audit.
    #[test]
    fn a_second_connection_is_no_wrong_setting() {
        use crate::timeline::environment::{Environment, Variable};
        let given = |scene: Scene, pid: i32, path: &str| {
            let value = serde_json::json!({ "masked": { "value": "u", "parts": { "path": path } } });
            let value: Variable = serde_json::from_value(value).expect("a variable");
            let found = Environment {
                pid,
                variables: Some([("BROKER_URL".to_owned(), value)].into_iter().collect()),
                key: Some("k".into()),
                ..Environment::default()
            };
            scene.see(
                Source::Process,
                crate::timeline::EventKind::Environment(Box::new(found)),
            )
        };
        let set = |api: &str| {
            let scene = elsewhere().worker_booted().worker_process(&[]);
            let worker = given(scene, 101, "a");
            let pid = worker
                .timeline
                .events
                .iter()
                .find_map(|event| match &event.kind {
                    crate::timeline::EventKind::ApiProcess { pid } => Some(*pid),
                    _ => None,
                })
                .expect("the API");
            given(worker, pid, api).silence().answer(&CAUSE)
        };
        assert_eq!(set("a"), "possible");
        assert_eq!(set("b"), "likely");
    }
}
