//! The API talks to another broker.

use crate::diagnosis::evidence::connections;
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Claim, Owner, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "published-to-other-broker",
    keeps_from: &[Stage::Published],
    owner: &[Owner::Deployment],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Process]],
    claims: &[Claim::NothingSent],
    page: include_str!("published_to_other_broker.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if story.published().is_some() {
        return Answer::NotApplicable;
    }
    // It may use that one for something else, and not have sent this task at all.
    connections::other_broker(story, &story.api_processes(), "the API").given([Premise::WasSent])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{API, Scene};

    const THERE: &str = "127.0.0.1:40050 -> 10.0.0.9:5671";

    #[test]
    fn connected_elsewhere() {
        let scene = Scene::accepted().row("PENDING").api_process(&[THERE]).silence();
        assert_eq!(scene.cause(), "likely published-to-other-broker");
        let scene = scene.without(Source::Process);
        assert_eq!(scene.answer(&CAUSE), "cannot tell");
    }

    /// The broker is in a container, and the API beside it in the same network.
    #[test]
    fn the_brokers_own_address_in_its_network_is_no_other_broker() {
        use crate::timeline::{EventKind, PublishedAt};
        let beside = || {
            Scene::accepted()
                .setup(|setup| setup.broker = "127.0.0.1:15682".into())
                .row("PENDING")
                .api_process(&["172.18.0.7:40050 -> 172.18.0.4:5672"])
        };
        assert_eq!(beside().silence().answer(&CAUSE), "likely");
        let relay = |port: u16, to: &str| EventKind::PublishedPort {
            port,
            to: to.into(),
            relay: 99,
            listens: None,
            container: None,
        };
        let told = |port, to| beside().see(Source::Process, relay(port, to)).silence();
        assert_eq!(told(15682, "172.18.0.4:5672").answer(&CAUSE), "not applicable");
        assert_eq!(told(15682, "172.18.0.9:5672").answer(&CAUSE), "likely");
        assert_eq!(told(8000, "172.18.0.4:5672").answer(&CAUSE), "likely");
        let by_engine = beside().worker_container("b1", "paused", |container| {
            container.addresses = vec!["172.18.0.4".into()];
            container.ports = vec![PublishedAt {
                host_ip: None,
                host_port: 15682,
                port: 5672,
            }];
        });
        assert_eq!(by_engine.silence().answer(&CAUSE), "not applicable");
    }

    #[test]
    fn connected_here_as_well() {
        let scene = Scene::accepted()
            .row("PENDING")
            .api_process(&[THERE, API])
            .connections(&[(API, "/", "running")])
            .silence();
        assert_eq!(scene.answer(&CAUSE), "ruled out");
    }

    #[test]
    fn a_forwarded_port_may_be_the_same_broker() {
        // The broker lists nobody under an address that this machine knows.
        let scene = Scene::accepted()
            .row("PENDING")
            .api_process(&[THERE])
            .connections(&[("172.17.0.1:51000 -> 172.17.0.2:5672", "/", "running")])
            .silence();
        assert_eq!(scene.answer(&CAUSE), "likely");
    }

    /// It is the broker's own list that says so, and it may be for something else.
    #[test]
    fn that_the_task_was_sent_there_is_not_seen() {
        let scene = Scene::accepted()
            .row("PENDING")
            .worker_process(&[crate::diagnosis::testing::WORKER])
            .api_process(&[THERE])
            .connections(&[(crate::diagnosis::testing::WORKER, "/", "running")])
            .silence();
        assert_eq!(scene.answer(&CAUSE), "likely");
    }
}
