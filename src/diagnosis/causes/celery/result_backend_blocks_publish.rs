//! Sending fails although the broker is fine: before it publishes, the API opens the store of results.

use super::APPLIES_TO;
use crate::diagnosis::evidence::{api_tracebacks, broker};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::Source;

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "result-backend-blocks-publish",
    keeps_from: &[Stage::Submitted, Stage::Published],
    owner: &[Owner::Deployment, Owner::DatabaseHost],
    scenario: Some(Scenario::B),
    needs: &[&[Source::ApiLog]],
    applies_to: APPLIES_TO,
    page: include_str!("result_backend_blocks_publish.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let Some(error) = api_tracebacks::of_the_request(story, fails_before_the_publish) else {
        return Answer::NotApplicable;
    };
    if let Some(passage) = story.publishes().first() {
        return Answer::ruled_out("it was published", [passage.n]);
    }
    let text = format!("before it sends, the API opens the store of results, and that failed: {error}");
    match story.answer() {
        Some(answer) if answer.status >= 500 => {
            let text = format!("HTTP {}: {text}", answer.status);
            api_tracebacks::by_traceback(story, Answer::shown(text, [answer.n, error.n]), error.n)
        }
        // It swallowed the error, and may send by another way.
        Some(answer) if answer.status < 300 => {
            let text = format!("{text}; it answered HTTP {} all the same", answer.status);
            let evidence = [answer.n, error.n];
            // It may be another message of the request that was to be sent.
            let is_ours = api_tracebacks::is_of_the_actor(story, error.n);
            match story.closed() && broker::saw_every_publish(story) {
                true if !is_ours => Answer::likely(text, evidence),
                true => Answer::shown(text, evidence).given([Premise::TracebackIsOurs(error.n)]),
                false => Answer::likely(text, evidence).would_decide(&[Source::Firehose]),
            }
        }
        // The log's line may be another request's.
        _ => Answer::likely(text, [error.n]),
    }
}

/// Frames, outermost first: the call that sends, below it the backend of results, and no broker's client.
fn fails_before_the_publish(text: &str) -> bool {
    let Some(sends) = text.find("in send_task") else {
        return false;
    };
    let below = &text[sends..];
    // `rpc://` keeps results at the broker itself.
    let is_the_brokers = ["in send_task_message", "celery/backends/rpc", "/amqp/"];
    below.contains("celery/backends/") && !is_the_brokers.iter().any(|word| below.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    const AWAY: &str = "Traceback (most recent call last):\n  File \"/srv/shop/views.py\", line 9, in reports\n    act.delay(task_id)\n  File \"/v/site-packages/celery/app/base.py\", line 1, in send_task\n  File \"/v/site-packages/celery/backends/database/__init__.py\", line 1, in on_task_call\nsqlalchemy.exc.OperationalError: connection refused";

    fn celery(scene: Scene) -> Scene {
        scene.setup(|setup| setup.framework = "celery".into())
    }

    #[test]
    fn the_store_of_results_is_away() {
        let scene = celery(
            Scene::refused(500, "")
                .api_served("POST /tasks", 500)
                .api_log("Internal Server Error", AWAY),
        );
        assert_eq!(
            scene.verdict().cause.map(|cause| cause.id).as_deref(),
            Some(CAUSE.id)
        );
        assert_eq!(scene.answer(&CAUSE), "certain");
        assert_eq!(scene.without(Source::ApiLog).answer(&CAUSE), "cannot tell");
    }

    #[test]
    fn an_error_that_the_api_swallows_is_certain_only_once_nothing_came() {
        let scene = celery(
            Scene::accepted()
                .row("PENDING")
                .api_served("POST /tasks", 202)
                .api_log("could not send", AWAY),
        );
        assert_eq!(scene.answer(&CAUSE), "likely");
        let scene = scene.silence();
        assert_eq!(scene.answer(&CAUSE), "certain");
        assert_eq!(scene.without(Source::Firehose).answer(&CAUSE), "likely");
        let sent = celery(
            Scene::accepted()
                .row("PENDING")
                .api_log("could not send", AWAY)
                .publish("default"),
        );
        assert_eq!(sent.answer(&CAUSE), "ruled out");
    }

    #[test]
    fn a_database_of_the_applications_own_and_a_status_are_near_misses() {
        for other in [
            // A row of the application's own.
            AWAY.replace("celery/backends/database", "sqlalchemy/orm"),
            // The status of an earlier task is asked for, and nothing is sent.
            AWAY.replace("in send_task", "in status"),
            AWAY.replace("celery/backends/database/__init__", "celery/backends/rpc"),
            // The broker is what fails.
            AWAY.replace("celery/backends/database", "kombu/connection"),
        ] {
            let scene = celery(
                Scene::refused(500, "")
                    .api_served("POST /tasks", 500)
                    .api_log("Internal Server Error", &other),
            );
            assert_eq!(scene.answer(&CAUSE), "not applicable", "{other}");
        }
    }

    /// An audit that is sent beside it could not be sent; the task's own may never have been meant to be.
    #[test]
    fn what_was_to_be_sent_may_be_another_message_of_the_request() {
        let of = |call: &str| {
            let away = AWAY.replace("act.delay", call);
            let scene = Scene::accepted().row("PENDING").api_served("POST /tasks", 202);
            celery(scene.api_log("could not send", &away))
                .silence()
                .answer(&CAUSE)
        };
        assert_eq!(of("audit.delay"), "likely");
        assert_eq!(of("tasks.act.delay"), "certain");
    }
}
