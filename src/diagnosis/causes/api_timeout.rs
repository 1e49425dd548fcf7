//! Connected, but no answer in time.

use crate::diagnosis::evidence::{Fact, api, connections, workers};
use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::timeline::Source;
use crate::timeline::{EventKind, NoAnswer};

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
