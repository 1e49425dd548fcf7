//! Connected, but no answer in time.

use crate::diagnosis::evidence::{Fact, api, connections, workers};
use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::timeline::{EventKind, NoAnswer, Role, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "api-timeout",
    keeps_from: &[Stage::Submitted],
    owner: &[Owner::ApiCode, Owner::DatabaseHost],
    needs: &[&[Source::Api]],
    page: include_str!("api_timeout.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    story.find(|event| match &event.kind {
            EventKind::NotAnswered {
                why: NoAnswer::Timeout,
                latency_ms,
                ..
            } => {
                let seconds = latency_ms / 1000.0;
                let mut evidence = vec![event.n];
                let mut text =
                    format!("the API accepted the connection and gave no answer within {seconds:.1} s");
                // A synchronous publish to an unreachable broker hangs the whole event loop.
                if let Some(Fact { n, value: socket, .. }) = connections::connecting_to_a_broker(story) {
                    evidence.push(n);
                    text.push_str(&format!(
                        "; its process is connecting to a broker at that moment ({socket})"
                    ));
                }
                // It may answer only when the task is done.
                if let Some(sent) = api::sent_all_the_same(story) {
                    evidence.push(sent);
                    text.push_str(
                        "; it had sent a message by then: it may answer only when the task is done (raise `api.timeout`, and what the task does decides)",
                    );
                }
                // Started in this run, and never answered anything: a reloader listens for a child that
                // cannot be imported.
                if let Some(n) = story.started("api").and_then(|launch| launch.not_ready)
                    && let Some(said) = workers::last_words(story, Source::ApiLog)
                {
                    evidence.extend([n, said.n]);
                    text.push_str(&format!("; it never became ready, and its log ends in: {said}"));
                }
                let roles = [Role::Api, Role::ApiLog, Role::Broker, Role::Database];
                if let Some(standing) = story.standing_of(&roles) {
                    evidence.push(standing.container.n);
                    let is_the_apis = |role| standing.container.roles.contains(role);
                    let owner: &[Owner] = match [Role::Api, Role::ApiLog].iter().any(is_the_apis) {
                        true => &[Owner::Deployment],
                        false => &[Owner::DatabaseHost],
                    };
                    let answer = Answer::shown(format!("{text}; {}", standing.words), evidence);
                    return Some(
                        answer
                            .owned_by(Some(owner))
                            .naming("{container_command}", standing.command)
                            .case("it is connecting to a broker", false)
                            .case("it waits on the database", false)
                            .terminal(),
                    );
                }
                let answer = Answer::shown(text, evidence).terminal();
                Some(match connections::connecting_to_a_broker(story) {
                    Some(_) => answer
                        .case("it is connecting to a broker", true)
                        .case("it waits on the database", false),
                    None => answer,
                })
            }
            _ => None,
        })
        .unwrap_or(Answer::NotApplicable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{API, Scene};

    #[test]
    fn connected_and_late() {
        let scene = Scene::not_answered(NoAnswer::Timeout);
        assert_eq!(scene.cause(), "certain api-timeout");
        assert!(scene.verdict().terminal);
        assert_eq!(scene.verdict().scenario, None);
    }

    #[test]
    fn a_container_that_is_paused_is_named() {
        let late = |role: Role, state: &str| {
            let scene = Scene::new().worker_container("a1", state, |container| {
                container.name = "shop-x-1".into();
                container.roles = vec![role];
            });
            let cause = scene
                .no_answer(NoAnswer::Timeout)
                .verdict()
                .cause
                .expect("a cause");
            (
                cause
                    .summary
                    .contains("shop-x-1 (project shop, image shop) is paused"),
                cause.owner[0],
            )
        };
        assert_eq!(late(Role::Api, "paused"), (true, Owner::Deployment));
        assert_eq!(late(Role::Broker, "paused"), (true, Owner::DatabaseHost));
        assert!(!late(Role::Api, "running").0);
        assert!(!late(Role::WorkerLog, "paused").0);
    }

    /// It answers when the task is done.
    #[test]
    fn what_it_has_sent_by_then_is_said() {
        let late = || EventKind::NotAnswered {
            why: NoAnswer::Timeout,
            error: "late".into(),
            latency_ms: 10_000.0,
        };
        let sent = |peer: i32| {
            let scene = Scene::new()
                .api_process(&[API])
                .submitting()
                .publish_as("default", API, Scene::message("x-9"))
                .peer(API, peer);
            let scene = scene.at(10_000.0).see(Source::Api, late());
            scene.verdict().cause.expect("a cause").summary
        };
        assert!(sent(50).contains("had sent a message"), "{}", sent(50));
        assert!(!sent(999).contains("had sent a message"));
    }

    #[test]
    fn a_broker_that_does_not_answer_is_named() {
        let scene = Scene::new()
            .api_process(&["127.0.0.1:40050 -> 10.9.9.9:5672 (connecting)"])
            .submitting()
            .see(
                Source::Api,
                EventKind::NotAnswered {
                    why: NoAnswer::Timeout,
                    error: "late".into(),
                    latency_ms: 10_000.0,
                },
            );
        let summary = scene.verdict().cause.expect("a cause").summary;
        assert!(summary.contains("10.9.9.9:5672"), "{summary}");
    }

    #[test]
    fn nothing_there_is_another_cause() {
        assert_eq!(
            Scene::not_answered(NoAnswer::Connect).answer(&CAUSE),
            "not applicable"
        );
    }
}
