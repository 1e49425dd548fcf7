//! Nothing answered at the API's address.

use crate::diagnosis::evidence::{api, workers};
use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::timeline::{EventKind, NoAnswer, Role, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "api-unreachable",
    keeps_from: &[Stage::Submitted],
    owner: &[Owner::Deployment],
    needs: &[&[Source::Api]],
    page: include_str!("api_unreachable.md"),
    check,
    ..Cause::DEFAULT
};

/// What the page's remedies tell apart.
const STARTED_AND_ENDED: &str = "the started API ended";
const NOTHING_LISTENS: &str = "nothing listens there";
const HANDSHAKE_FAILED: &str = "the TLS handshake failed";
const CASES: &[&str] = &[STARTED_AND_ENDED, NOTHING_LISTENS, HANDSHAKE_FAILED];

/// The port is looked at once more at the end of the run.
const LAST_LOOK_MS: u64 = 400;

fn check(story: &Story<'_>) -> Answer {
    for event in &story.timeline.events {
        match &event.kind {
            EventKind::NotAnswered { why, error, .. } => {
                let what = match why {
                    NoAnswer::Timeout => return Answer::ruled_out("it accepted the connection", [event.n]),
                    NoAnswer::Broken => {
                        if let Some(look) = api::nothing_behind_the_port(story) {
                            let evidence = [event.n, look.n];
                            if let Some(answer) =
                                of_its_container(story, event.n, "nothing answers behind the published port")
                            {
                                return answer;
                            }
                            return Answer::shown(look.value, evidence)
                                .owned_by(Some(&[Owner::Deployment]))
                                .only_case(NOTHING_LISTENS, CASES)
                                .terminal_after(LAST_LOOK_MS);
                        }
                        return Answer::ruled_out("it accepted the connection and the request", [event.n]);
                    }
                    // It was not tried.
                    NoAnswer::OwnLimit => return Answer::NotApplicable,
                    NoAnswer::Dns => "the API's host name does not resolve",
                    NoAnswer::Tls if error.contains("corrupt message") => {
                        "the port answers, but does not speak TLS (write `http://` in api.url)"
                    }
                    NoAnswer::Tls => "the TLS handshake with the API failed",
                    NoAnswer::Connect => "nothing accepts connections at the API's address",
                };
                if let Some((text, mut evidence)) = why_it_does_not_listen(story) {
                    evidence.push(event.n);
                    return of_a_started_api(story, format!("{what}: {text}"), evidence);
                }
                if matches!(why, NoAnswer::Connect)
                    && let Some(answer) = of_its_container(story, event.n, what)
                {
                    return answer;
                }
                // What is there is well: how it is asked is not.
                let is_plain = matches!(why, NoAnswer::Tls) && error.contains("corrupt message");
                let owner: Option<&'static [Owner]> = is_plain.then_some(&[Owner::Diagnosis]);
                let case = match why {
                    NoAnswer::Connect => NOTHING_LISTENS,
                    NoAnswer::Tls => HANDSHAKE_FAILED,
                    _ => "",
                };
                return Answer::shown(format!("{what}: {error}"), [event.n])
                    .owned_by(owner)
                    .only_case(case, CASES)
                    .terminal();
            }
            EventKind::Answered { status, .. } => {
                return Answer::ruled_out(format!("it answered HTTP {status}"), [event.n]);
            }
            _ => {}
        }
    }
    // Nothing was sent: whatever answers at the address is not what was started.
    if story.has_ended()
        && story.submitted_at().is_none()
        && story
            .started("api")
            .is_some_and(|launch| launch.ended.is_some() && launch.not_ready.is_some())
        && let Some((text, evidence)) = why_it_does_not_listen(story)
    {
        return of_a_started_api(story, format!("no task was submitted: {text}"), evidence);
    }
    Answer::NotApplicable
}

/// One that ended has its reason in its code or its configuration, not in the host.
fn of_a_started_api(story: &Story<'_>, text: String, evidence: Vec<u32>) -> Answer {
    let has_ended = story.started("api").is_some_and(|launch| launch.ended.is_some());
    let (case, owner): (_, Option<&'static [Owner]>) = match has_ended {
        true => (STARTED_AND_ENDED, Some(&[Owner::Deployment])),
        false => ("", None),
    };
    Answer::shown(text, evidence)
        .owned_by(owner)
        .only_case(case, CASES)
        .terminal()
}

/// The API's container does not run, or its engine starts it again and again; with the last exception in its log.
fn of_its_container(story: &Story<'_>, asked: u32, what: &str) -> Option<Answer> {
    let roles = [Role::Api, Role::ApiLog];
    let standing = story.standing_of(&roles).or_else(|| story.falling_of(&roles))?;
    let mut evidence = vec![asked, standing.container.n];
    let said = api::last_exception(story);
    evidence.extend(said.as_ref().map(|said| said.n));
    let said = said.map_or(String::new(), |said| {
        format!("; its log's last exception: {said}")
    });
    let text = format!("{what}: {}{said}", standing.words);
    Some(
        Answer::shown(text, evidence)
            .owned_by(Some(&[Owner::Deployment]))
            .naming("{container_command}", standing.command)
            .only_case("", CASES)
            .terminal(),
    )
}

/// What became of an API that was started in this run.
fn why_it_does_not_listen(story: &Story<'_>) -> Option<(String, Vec<u32>)> {
    let launch = story.started("api")?;
    let mut evidence = vec![launch.n];
    let mut text = match workers::end_of(&launch) {
        Some((end, ended)) => {
            evidence.push(end.n);
            format!("the API that was started {ended}")
        }
        None => {
            let n = launch.not_ready?;
            evidence.push(n);
            let elsewhere = story.timeline.event(n).and_then(|event| match &event.kind {
                EventKind::NotReady { reason, .. } => reason.split_once("; it listens on "),
                _ => None,
            });
            match elsewhere {
                Some((_, places)) => {
                    format!("the API that was started runs, and listens on {places} instead")
                }
                None => {
                    "the API that was started runs, and does not listen there yet: it may still be starting"
                        .to_owned()
                }
            }
        }
    };
    if let Some(said) = workers::last_words(story, Source::ApiLog) {
        evidence.push(said.n);
        text.push_str(&format!("; its last line: {said}"));
    }
    Some((text, evidence))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;
    use crate::timeline::Ended;

    /// It says nothing about the API that we could not ask it.
    #[test]
    fn the_container_that_stands_is_named() {
        let refused = |state: &str| {
            let scene = Scene::new().worker_container("a1", state, |container| {
                container.name = "shop-api-1".into();
                container.roles = vec![Role::Api];
            });
            scene.no_answer(NoAnswer::Connect).summary()
        };
        assert!(refused("exited").contains("container shop-api-1 (project shop, image shop) is exited"));
        assert!(!refused("running").contains("shop-api-1"));
    }

    #[test]
    fn our_own_limit_accuses_nobody() {
        let scene = Scene::not_answered(NoAnswer::OwnLimit).silence();
        let verdict = scene.verdict();
        assert_eq!(
            (verdict.cause.map(|cause| cause.id), verdict.scenario),
            (None, None)
        );
        assert!(
            verdict
                .notes
                .iter()
                .any(|note| note.contains("no task was submitted"))
        );
    }

    #[test]
    fn refused_unresolved_and_no_tls() {
        for why in [NoAnswer::Connect, NoAnswer::Dns, NoAnswer::Tls] {
            assert_eq!(Scene::not_answered(why).cause(), "certain api-unreachable");
        }
    }

    #[test]
    fn one_that_was_started_and_is_dead_is_not_asked() {
        let dead = Scene::new()
            .started("api", 50)
            .exited(50, 1)
            .not_ready("api", 50, "it ended");
        assert_eq!(dead.answer(&CAUSE), "not applicable", "it goes on");
        let dead = dead.end(Ended::Decided);
        assert_eq!(dead.cause(), "certain api-unreachable");
        assert_eq!(dead.verdict().scenario, None);
    }

    #[test]
    fn an_api_that_was_started_says_why() {
        let scene = Scene::new()
            .started("api", 50)
            .api_log(
                "ERROR:    Error loading ASGI app. Could not import module \"main\".",
                "",
            )
            .exited(50, 3)
            .no_answer(NoAnswer::Connect);
        assert_eq!(scene.cause(), "certain api-unreachable");
        let summary = scene.verdict().cause.expect("a cause").summary;
        assert!(
            summary.contains("exit code 3") && summary.contains("Could not import"),
            "{summary}"
        );
        let first = |scene: &Scene| {
            let cause = scene.verdict().cause.expect("a cause");
            (cause.owner, cause.remedies[0].clone())
        };
        let (owner, remedy) = first(&scene);
        assert_eq!(owner, [Owner::Deployment]);
        assert!(remedy.starts_with("Repair what its last lines say"), "{remedy}");
        let (owner, remedy) = first(&Scene::not_answered(NoAnswer::Connect));
        assert_eq!(owner, [Owner::Deployment]);
        assert!(remedy.starts_with("Start the API"), "{remedy}");
        let (_, remedy) = first(&Scene::not_answered(NoAnswer::Dns));
        assert!(remedy.starts_with("Correct `api.url`"), "{remedy}");
    }

    #[test]
    fn an_accepted_connection_is_not_it() {
        assert_eq!(Scene::not_answered(NoAnswer::Timeout).answer(&CAUSE), "ruled out");
        assert_eq!(Scene::not_answered(NoAnswer::Broken).answer(&CAUSE), "ruled out");
        assert_eq!(Scene::refused(502, "bad gateway").answer(&CAUSE), "ruled out");
    }

    #[test]
    fn a_relay_accepts_and_nothing_is_behind_it() {
        let port = |listens: Option<bool>| {
            let kind = EventKind::PublishedPort {
                port: 8000,
                to: "172.19.0.4:8000".into(),
                relay: 77,
                listens,
                container: None,
            };
            Scene::new()
                .see(Source::Process, kind)
                .no_answer(NoAnswer::Broken)
        };
        assert_eq!(port(Some(false)).cause(), "certain api-unreachable");
        assert_eq!(port(Some(true)).cause(), "likely api-failed");
        assert_eq!(port(None).cause(), "likely api-failed");
    }

    #[test]
    fn a_blind_api_cannot_tell() {
        let blind = Scene::not_answered(NoAnswer::Connect).without(Source::Api);
        assert_eq!(blind.cause(), "none");
    }
}
