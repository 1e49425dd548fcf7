//! The API failed, and nothing more specific is known.

use crate::diagnosis::evidence::standing::{self, Standing};
use crate::diagnosis::evidence::{Fact, api, api_tracebacks, workers};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::text;
use crate::timeline::{Role, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "api-failed",
    keeps_from: &[Stage::Submitted],
    owner: &[Owner::ApiCode],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Api]],
    general: true,
    page: include_str!("api_failed.md"),
    check,
    ..Cause::DEFAULT
};

/// Cases of its remedies.
const HAS_TRACEBACK: &str = "its log has a traceback of this request";

fn check(story: &Story<'_>) -> Answer {
    let raised = api_tracebacks::of_the_request(story, |_| true).is_some();
    failed(story).case(HAS_TRACEBACK, raised)
}

fn failed(story: &Story<'_>) -> Answer {
    if let Some(Fact { n, value: error, .. }) = api::broken_off(story) {
        if let Some(look) = api::nothing_behind_the_port(story) {
            let evidence = [n, look.n];
            return Answer::ruled_out(look.value, evidence);
        }
        let text = format!("the API closed the connection without an answer: {error}");
        // One that was started in this run and died of the request.
        let launch = story.started("api");
        if let Some((end, words)) = launch.as_ref().and_then(workers::end_of) {
            let mut evidence = vec![n, end.n];
            let last = workers::last_words(story, Source::ApiLog);
            evidence.extend(last.as_ref().map(|said| said.n));
            let said = last.map_or(String::new(), |said| format!("; its last line: {said}"));
            return Answer::shown(format!("{text}; it {words}{said}"), evidence).terminal_after(150);
        }
        return match api_tracebacks::of_the_request(story, |_| true) {
            Some(exception) => {
                let text = format!("{text}; its log: {exception}");
                api_tracebacks::by_traceback(story, Answer::shown(text, [n, exception.n]), exception.n)
            }
            None => Answer::likely(text, [n])
                .would_decide(&[Source::ApiLog])
                .terminal_after(if story.sees(Source::ApiLog) { 400 } else { 0 }),
        };
    }
    match story.answer() {
        Some(answer) if answer.status >= 500 => {
            let text = format!("the API answered HTTP {}", answer.status);
            let mut evidence = vec![answer.n];
            match api_tracebacks::of_the_request(story, |_| true) {
                Some(exception) => {
                    evidence.push(exception.n);
                    let ran = api_tracebacks::goes_through_a_task(story, exception.n);
                    let text = match ran {
                        true => format!(
                            "{text}: {exception}; the task itself ran in the request and raised that: it was called, not sent"
                        ),
                        false => format!("{text}: {exception}"),
                    };
                    let text = api::unless_it_sent(story, text, &mut evidence);
                    let answer = match stopped_dependency(story, &exception) {
                        Some(stop) => {
                            evidence.push(stop.n);
                            Answer::shown(format!("{text}; {stop}"), evidence)
                                .owned_by(Some(&[Owner::DatabaseHost]))
                        }
                        None => Answer::shown(text, evidence),
                    };
                    let answer = api_tracebacks::by_traceback(story, answer, exception.n);
                    let answer = match ran {
                        true => answer.scenario(Scenario::A),
                        false => answer,
                    };
                    api::unless_its_message_comes(story, answer)
                }
                // Servers answer first and log the traceback after that.
                None => {
                    let text = format!("{text}: {}", text::excerpt(answer.body));
                    let text = api::unless_it_sent(story, text, &mut evidence);
                    let linger = if story.sees(Source::ApiLog) { 400 } else { 0 };
                    match behind(story, answer.status) {
                        Some(standing) => {
                            evidence.push(standing.container.n);
                            Answer::likely(format!("{text}; {}", standing.words), evidence)
                                .owned_by(Some(&[Owner::Deployment]))
                                .naming("{container_command}", standing.command)
                                .case("502/503/504", false)
                        }
                        None => {
                            let likely = Answer::likely(text, evidence);
                            likely.would_decide(&[Source::ApiLog])
                        }
                    }
                    .terminal_after(linger)
                }
            }
        }
        _ => Answer::NotApplicable,
    }
}

/// What a proxy found nobody in: the API's container, or another one that the API waits for.
fn behind<'a>(story: &Story<'a>, status: u16) -> Option<Standing<'a>> {
    let is_a_proxys = matches!(status, 502..=504);
    let api: &[Role] = if is_a_proxys {
        &[Role::ApiLog, Role::Api]
    } else {
        &[]
    };
    story
        .standing_of(api)
        .or_else(|| story.standing_of(&[Role::Database, Role::Broker]))
}

/// The exception is about a connection, and the broker or the database was stopped.
fn stopped_dependency(story: &Story<'_>, exception: &str) -> Option<Fact<String>> {
    let roles = [Role::Database, Role::Broker];
    let stopped = || {
        roles.iter().find_map(|role| {
            let standing = story.standing(*role);
            let standing = standing.map(|standing| standing.container.with(standing.words));
            standing.or_else(|| story.was_stopped(*role))
        })
    };
    standing::is_of_a_connection(exception).then(stopped).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    /// `task_always_eager`, and what the task raises is passed on.
    #[test]
    fn a_task_that_ran_in_the_request() {
        let raised = |file: &str| {
            let below = format!(
                "Traceback (most recent call last):\n  File \"/app/desk.py\", line 20, in send\n  File \"/v/site-packages/{file}\", line 564, in trace_task\n  File \"/app/tickets.py\", line 28, in issue\nLookupError: no berth"
            );
            let scene = Scene::refused(500, "").setup(|setup| setup.framework = "celery".into());
            let scene = scene
                .api_served("POST /tasks", 500)
                .api_log("Exception on /tasks", &below);
            scene.verdict()
        };
        let ran = raised("celery/app/trace.py");
        assert_eq!(ran.scenario, Some(Scenario::A));
        assert!(ran.cause.expect("a cause").summary.contains("called, not sent"));
        assert_eq!(raised("flask/app.py").scenario, Some(Scenario::B));
    }

    #[test]
    fn a_traceback_makes_it_certain() {
        let scene = Scene::refused(500, "Internal Server Error");
        assert_eq!(scene.cause(), "likely api-failed");
        let scene = scene.api_served("POST /tasks", 500).api_log(
            "Exception in ASGI application",
            "Traceback (most recent call last):\n  File \"/app/main.py\", line 1, in create\nZeroDivisionError: no",
        );
        assert_eq!(scene.cause(), "certain api-failed");
        assert_eq!(scene.without(Source::ApiLog).cause(), "likely api-failed");
    }

    #[test]
    fn one_that_was_started_and_died() {
        let scene = Scene::new()
            .started("api", 50)
            .ready("api", 50)
            .no_answer(crate::timeline::NoAnswer::Broken)
            .exited(50, -11);
        assert_eq!(scene.cause(), "certain api-failed");
        let summary = scene.verdict().cause.expect("a cause").summary;
        assert!(summary.contains("signal 11"), "{summary}");
        assert_ne!(scene.without(Source::Process).cause(), "certain api-failed");
    }

    fn standing(role: Role, state: &str) -> Scene {
        Scene::new().worker_container("a1", state, |container| {
            container.name = "shop-x-1".into();
            container.roles = vec![role];
        })
    }

    /// A proxy answers for an API whose container does not run.
    #[test]
    fn the_apis_container_that_stands_behind_a_proxy_is_named() {
        let answered = |scene: Scene, status| {
            let page = "<html><title>502 Bad Gateway</title><hr>nginx</html>";
            let verdict = scene.submitting().answered(status, None, page).verdict();
            let cause = verdict.cause.expect("a cause");
            (cause.summary.clone(), cause.remedies.clone(), cause.owner)
        };
        let (said, remedies, owner) = answered(standing(Role::ApiLog, "paused"), 504);
        assert!(
            said.contains("shop-x-1") && said.contains("is paused") && !said.contains("<"),
            "{said}"
        );
        assert!(
            remedies
                .first()
                .is_some_and(|first| first.contains("docker unpause shop-x-1")),
            "{remedies:?}"
        );
        assert_eq!(owner.first(), Some(&Owner::Deployment));
        // It runs; or it was the API itself that failed.
        assert!(
            !answered(standing(Role::ApiLog, "running"), 502)
                .0
                .contains("shop-x-1")
        );
        assert!(
            !answered(standing(Role::ApiLog, "exited"), 500)
                .0
                .contains("shop-x-1")
        );
        assert!(
            answered(standing(Role::Database, "exited"), 500)
                .0
                .contains("shop-x-1")
        );
    }

    /// The API's exception is about the database, which was stopped.
    #[test]
    fn a_database_that_was_stopped_is_whose_turn_it_is() {
        let raised = |exception: &str| {
            let traceback = format!(
                "Traceback (most recent call last):\n  File \"/app/main.py\", line 1, in create\n{exception}"
            );
            let scene = standing(Role::Database, "exited").submitting();
            let scene = scene.answered(500, None, "Internal Server Error");
            let scene = scene
                .api_served("POST /tasks", 500)
                .api_log("Exception in ASGI application", &traceback);
            let cause = scene.verdict().cause.expect("a cause");
            (cause.summary.contains("shop-x-1"), cause.owner)
        };
        let (named, owner) = raised("psycopg.OperationalError: connection refused");
        assert!(named);
        assert_eq!(owner.first(), Some(&Owner::DatabaseHost));
        let (named, owner) = raised("ZeroDivisionError: no");
        assert!(!named);
        assert_eq!(owner.first(), Some(&Owner::ApiCode));
    }

    /// What was caught and logged on the way is not what the request ended in.
    #[test]
    fn the_last_traceback_of_the_request_is_the_reason() {
        let raised = |text: &str| {
            format!("Traceback (most recent call last):\n  File \"/app/front.py\", line 9, in create\n{text}")
        };
        let refused = raised("ConnectionResetError: metrics");
        let publish = "Traceback (most recent call last):\n  File \"/v/dramatiq/brokers/rabbitmq.py\", line 4, in enqueue\ndramatiq.errors.ConnectionClosed: gone";
        let scene = |first: &str, last: &str| {
            Scene::refused(500, "")
                .api_log("trying again", first)
                .api_log("POST /tasks failed", last)
                .api_served("POST /tasks", 500)
        };
        for caught in [&refused, publish] {
            let scene = scene(caught, &raised("KeyError: 'tariff'"));
            assert_eq!(scene.cause(), "certain api-failed");
            assert!(scene.summary().contains("KeyError"), "{}", scene.summary());
        }
        // Raised again, as it is or as the reason of another one.
        let chained = format!(
            "{publish}\n\nThe above exception was the direct cause of the following exception:\n\n{}",
            raised("RuntimeError: not sent")
        );
        for again in [publish, &chained] {
            assert!(
                scene(publish, again)
                    .cause()
                    .ends_with("certain api-cannot-enqueue"),
                "{}",
                scene(publish, again).cause()
            );
        }
    }

    #[test]
    fn a_4xx_is_not_it() {
        assert_eq!(Scene::refused(404, "").answer(&CAUSE), "not applicable");
    }

    /// The exception came after `send()`: building the answer, say.
    #[test]
    fn a_message_that_it_had_sent_by_then_may_run() {
        use crate::diagnosis::testing::{API, WORKER};
        let failed = |connection: &str| {
            Scene::new()
                .api_process(&[API])
                .submitting()
                .publish_as("default", connection, Scene::message("x-9"))
                .peer(API, 50)
                .peer(WORKER, 101)
                .answered(500, None, "Internal Server Error")
                .verdict()
        };
        let sent = failed(API);
        assert_eq!(sent.scenario, None);
        assert_eq!(sent.stages[0].reached, None);
        let cause = sent.cause.expect("a cause");
        assert!(
            cause.summary.contains("the task may run all the same"),
            "{}",
            cause.summary
        );
        // Another client's is none of this request's.
        let foreign = failed(WORKER);
        assert_eq!(foreign.stages[0].reached, Some(false));
        assert_eq!(foreign.scenario, Some(Scenario::B));
    }

    /// The application logged it, went on, and refused the request for a reason of its own.
    #[test]
    fn what_was_caught_on_the_way_is_only_likely() {
        let below = "Traceback (most recent call last):\n  File \"/app/cache.py\", line 12, in warm\nKeyError: 'tariff of t1'";
        let scene = |text: &str, body: &str| {
            Scene::refused(503, body)
                .api_log(text, below)
                .api_served("POST /tasks", 503)
        };
        assert_eq!(
            scene("cache not warmed", "tenant is suspended").cause(),
            "likely api-failed"
        );
        // The line names the request, or the answer quotes it.
        assert_eq!(scene("POST /tasks failed", "").cause(), "certain api-failed");
        let quoted = scene("cache not warmed", "{\"detail\": \"'tariff of t1'\"}");
        assert_eq!(quoted.cause(), "certain api-failed");
    }

    /// The one that names the request is of it, whatever another one logs after it.
    #[test]
    fn a_later_traceback_of_another_request_is_not_its_end() {
        let raised = |text: &str| {
            format!("Traceback (most recent call last):\n  File \"/app/front.py\", line 9, in create\n{text}")
        };
        let scene = Scene::refused(500, "")
            .api_log("POST /tasks failed", &raised("KeyError: 'tariff'"))
            .api_served("POST /tasks", 500)
            .api_log(
                "the display does not answer",
                &raised("dramatiq.errors.ConnectionClosed: gone"),
            );
        assert_eq!(scene.cause(), "certain api-failed");
        assert!(scene.summary().contains("KeyError"), "{}", scene.summary());
    }
}
