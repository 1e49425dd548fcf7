//! The API talks to another broker.

use crate::diagnosis::evidence::connections;
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
    connections::other_broker(story, &story.api_processes(), "the API")
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
}
