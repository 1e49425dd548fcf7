//! The API's publish failed.

use crate::diagnosis::evidence::{Fact, api, api_tracebacks, broker, stacks};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::{EventKind, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "api-cannot-enqueue",
    keeps_from: &[Stage::Submitted, Stage::Published],
    owner: &[Owner::ApiCode],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Api]],
    page: include_str!("api_cannot_enqueue.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let answered = story
        .answer()
        .filter(|answer| answer.status >= 500 || answer.status < 300)
        .map(|answer| answer.with((format!("HTTP {}", answer.status), answer.status < 300)));
    let broken_off = || api::broken_off(story).map(|error| error.with(("no answer".to_owned(), false)));
    let Some(answered) = answered.or_else(broken_off) else {
        return Answer::NotApplicable;
    };
    let (status, swallowed) = &answered.value;
    if !story.sees(Source::ApiLog) {
        return Answer::cannot_tell(&[Source::ApiLog]);
    }
    // The database's connection errors look alike: a frame of the broker's client library decides.
    let client = &story.framework().client;
    let from_publish = |text: &str| client.cannot_publish(text);
    // A library may log a traceback of its own for each attempt, also for one that a later attempt made good.
    let raised = |text: &str| client.raises(text);
    let told = api_tracebacks::of_the_request(story, raised);
    let through_the_framework = told.is_some();
    let Some(error) = told.or_else(|| api_tracebacks::of_the_request(story, from_publish)) else {
        return Answer::NotApplicable;
    };
    if let Some(answer) = by_its_own_hand(story, &error, raised) {
        return answer;
    }
    let (exception, evidence) = (&*error, [answered.n, error.n]);
    if let Some(passage) = story.published().filter(|_| *swallowed) {
        return Answer::ruled_out("the task's message was published", [passage.n]);
    }
    if *swallowed {
        let text = format!("the API could not publish ({exception}), and answered {status} all the same");
        let names_it = through_the_framework && api_tracebacks::is_of_the_actor(story, error.n);
        if !names_it && api_tracebacks::is_of_a_failed_request(story, error.n) {
            let text = format!(
                "the API could not publish something ({exception}); this request was answered {status}"
            );
            return Answer::possible(text, evidence);
        }
        // What the library alone raised may have been sent past the framework, and what the framework sent may have been
        // another message of the request.
        return match story.closed() && broker::saw_every_publish(story) {
            true if names_it => Answer::shown(text, evidence).given([Premise::TracebackIsOurs(error.n)]),
            true => Answer::likely(text, evidence),
            false => Answer::likely(text, evidence).would_decide(&[Source::Firehose]),
        };
    }
    let mut evidence = evidence.to_vec();
    let text = format!("{status}: the API could not publish: {exception}");
    // One of several messages of the request, perhaps.
    let text = api::unless_it_sent(story, text, &mut evidence);
    match through_the_framework {
        false => Answer::likely(text, evidence).terminal(),
        true => api_tracebacks::by_traceback(story, Answer::shown(text, evidence), error.n),
    }
}

/// The application's own code calls the broker's client, and not through the framework: what it could not send may be
/// anything.
fn by_its_own_hand(story: &Story<'_>, error: &Fact<String>, raised: impl Fn(&str) -> bool) -> Option<Answer> {
    let event = story.timeline.event(error.n)?;
    let EventKind::Line(line) = &event.kind else {
        return None;
    };
    let text = line.traceback.as_deref().filter(|text| !raised(text))?;
    let trace = story.framework().traceback(text)?;
    let is_called = trace.frames.iter().any(|frame| !stacks::is_library(&frame.file));
    let text = format!(
        "the API could not reach a broker ({error}), by a call of its own and not through {}: it need not be what would have sent this task",
        story.framework().title
    );
    is_called.then(|| Answer::possible(text, [error.n]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    const CLOSED: &str = "Traceback (most recent call last):\n  File \"/v/pika/adapters/blocking_connection.py\", line 4, in _create_connection\npika.exceptions.AMQPConnectionError\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"/v/dramatiq/brokers/rabbitmq.py\", line 4, in enqueue\ndramatiq.errors.ConnectionClosed";
    const PIKA_ONLY: &str = "Traceback (most recent call last):\n  File \"/v/pika/adapters/blocking_connection.py\", line 4, in _create_connection\npika.exceptions.AMQPConnectionError";

    fn of_the_actor(actor: &str) -> String {
        let sends = format!("  File \"/app/web.py\", line 9, in create\n    {actor}.send(task_id)\n");
        CLOSED.replacen("  File \"/v/dramatiq", &format!("{sends}  File \"/v/dramatiq"), 1)
    }

    #[test]
    fn a_failed_publish_behind_a_500() {
        let scene = Scene::refused(500, "")
            .api_served("POST /tasks", 500)
            .api_log("Exception on /tasks", CLOSED);
        assert_eq!(scene.cause(), "certain api-cannot-enqueue");
    }

    #[test]
    fn swallowed_behind_a_2xx() {
        let scene = Scene::accepted()
            .row("PENDING")
            .api_served("POST /tasks", 202)
            .setup(|setup| setup.actor = Some("app.act".into()))
            .api_log("could not send", &of_the_actor("act"));
        assert_eq!(scene.cause(), "likely api-cannot-enqueue", "it may still be sent");
        let scene = scene.silence();
        assert_eq!(scene.cause(), "certain api-cannot-enqueue");
        assert_eq!(
            scene.without(Source::Firehose).cause(),
            "likely api-cannot-enqueue"
        );
    }

    /// Another message of the request.
    #[test]
    fn something_else_could_not_be_sent() {
        let scene = Scene::accepted()
            .row("PENDING")
            .api_served("POST /tasks", 202)
            .setup(|setup| setup.actor = Some("act".into()));
        let answer = |traceback: &str| {
            let scene = scene.clone().api_log("the display does not answer", traceback);
            scene.silence().answer(&CAUSE)
        };
        assert_eq!(answer(&of_the_actor("mail")), "likely");
        assert_eq!(answer(&of_the_actor("act")), "certain");
    }

    /// The server's words for a request that it could not answer: another one, or what ours did behind its answer.
    #[test]
    fn another_request_could_not_be_answered() {
        let scene = Scene::accepted()
            .row("PENDING")
            .api_served("POST /tasks", 202)
            .setup(|setup| setup.actor = Some("act".into()));
        let answer = |text: &str, traceback: &str| {
            let scene = scene.clone().api_log(text, traceback).silence();
            scene.answer(&CAUSE)
        };
        let asgi = "Exception in ASGI application";
        assert_eq!(answer(asgi, CLOSED), "possible");
        assert_eq!(answer(asgi, &of_the_actor("act")), "likely", "behind the answer");
        assert_eq!(answer("Internal Server Error: /tasks", CLOSED), "not applicable");
        assert_eq!(answer("could not send", CLOSED), "likely");
    }

    #[test]
    fn an_attempt_that_a_later_one_made_good() {
        let scene = Scene::accepted()
            .row("PENDING")
            .api_log("pika", PIKA_ONLY)
            .publish("default");
        assert_ne!(
            scene.verdict().cause.map(|cause| cause.id).as_deref(),
            Some("api-cannot-enqueue")
        );
    }

    /// It tells something else, at another broker.
    #[test]
    fn what_the_application_sends_by_its_own_hand_need_not_be_the_task() {
        let display = PIKA_ONLY.replacen(
            "  File",
            "> File \"/app/desk.py\", line 9, in tell\n    │    └ <module 'pika'>\n\n  File",
            1,
        );
        let scene = Scene::accepted().row("PENDING").api_served("POST /tasks", 202);
        let scene = scene.api_log("no display was told", &display).silence();
        assert_eq!(scene.answer(&CAUSE), "possible");
    }

    /// kombu is Celery's way to the broker, and an application's own as well.
    #[test]
    fn what_calls_kombu_itself_need_not_send_a_task() {
        let failed = |through: &str| {
            let text = format!(
                "Traceback (most recent call last):\n  File \"/app/front.py\", line 9, in send\n    k.ensure_connection()\n{through}  File \"/v/lib/python3.11/site-packages/kombu/connection.py\", line 4, in ensure_connection\nkombu.exceptions.OperationalError: [Errno 111] Connection refused"
            );
            let scene = Scene::accepted().setup(|setup| setup.framework = "celery".into());
            let scene = scene.row("PENDING").api_served("POST /tasks", 202);
            scene.api_log("analytics", &text).silence().answer(&CAUSE)
        };
        assert_eq!(failed(""), "possible");
        let celery =
            "  File \"/v/lib/python3.11/site-packages/celery/app/base.py\", line 943, in send_task\n";
        assert_eq!(failed(celery), "likely");
    }

    #[test]
    fn a_database_that_refuses_is_a_near_miss() {
        let scene = Scene::refused(500, "").api_served("POST /tasks", 500).api_log(
            "Exception",
            "Traceback (most recent call last):\n  File \"/v/psycopg/connection.py\", line 1, in connect\nConnectionRefusedError: [Errno 111]",
        );
        assert_eq!(scene.answer(&CAUSE), "not applicable");
        assert_eq!(scene.without(Source::ApiLog).answer(&CAUSE), "cannot tell");
    }

    fn celery(traceback: &str) -> Scene {
        Scene::refused(500, "")
            .setup(|setup| setup.framework = "celery".into())
            .api_served("POST /tasks", 500)
            .api_log("Internal Server Error: /tasks", traceback)
    }

    /// A publish that the broker or the application's own configuration refuses, and one to nobody who answers.
    #[test]
    fn whatever_the_brokers_client_raises() {
        let sent = "Traceback (most recent call last):\n  File \"/v/site-packages/celery/app/base.py\", line 1214, in send_task\n    amqp.send_task_message(P, name, message, **options)\n";
        let client = "  File \"/v/site-packages/kombu/connection.py\", line 956, in _establish_connection\n    conn = self.transport.establish_connection()\n  File \"/v/site-packages/amqp/connection.py\", line 671, in _on_close\n    raise error_for_code(reply_code, reply_text,\n";
        for raised in [
            "amqp.exceptions.NotAllowed: Connection.open: (530) NOT_ALLOWED - vhost shop not found",
            "amqp.exceptions.NotFound: Basic.publish: (404) NOT_FOUND - no exchange 'nope' in vhost '/'",
            "kombu.exceptions.OperationalError: timed out",
            "kombu.exceptions.OperationalError: [Errno -2] Name or service not known",
        ] {
            let scene = celery(&format!("{sent}{client}{raised}"));
            assert_eq!(scene.cause(), "certain api-cannot-enqueue", "{raised}");
        }
        let unknown = celery(&format!(
            "{sent}celery.exceptions.QueueNotFound: Queue 'ordres' missing from task_queues"
        ));
        assert_eq!(unknown.cause(), "certain api-cannot-enqueue");
    }

    /// The database's error has the same name, and the encoder is kombu's own.
    #[test]
    fn an_error_of_another_kind_below_the_same_send_is_a_near_miss() {
        let database = celery(
            "Traceback (most recent call last):\n  File \"/v/site-packages/celery/app/base.py\", line 1214, in send_task\n    self.backend.on_task_call(P, task_id)\n  File \"/v/site-packages/sqlalchemy/engine/base.py\", line 1, in connect\nsqlalchemy.exc.OperationalError: timed out",
        );
        assert_eq!(database.answer(&CAUSE), "not applicable");
        let encoder = celery(
            "Traceback (most recent call last):\n  File \"/v/site-packages/kombu/serialization.py\", line 39, in _reraise_errors\nkombu.exceptions.EncodeError: Object of type Order is not JSON serializable",
        );
        assert_eq!(encoder.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn a_failed_publish_behind_a_connection_closed_without_an_answer() {
        let broken = Scene::not_answered(crate::timeline::NoAnswer::Broken);
        assert_eq!(
            broken
                .clone()
                .api_log("Error handling request /tasks", CLOSED)
                .cause(),
            "certain api-cannot-enqueue"
        );
        assert_eq!(
            broken.clone().api_log("Exception", CLOSED).cause(),
            "likely api-cannot-enqueue",
            "another request's, perhaps"
        );
        assert_eq!(broken.cause(), "likely api-failed");
    }

    /// One of several messages of the request failed, and it was not the task's.
    #[test]
    fn a_task_whose_message_was_published_is_a_near_miss() {
        let scene = Scene::accepted()
            .row("PENDING")
            .publish("default")
            .api_served("POST /tasks", 202)
            .api_log("could not send", CLOSED)
            .silence();
        assert_eq!(scene.answer(&CAUSE), "ruled out");
    }

    /// An event beside it, which the application can do without.
    #[test]
    fn one_that_was_caught_need_not_be_why_it_failed() {
        let scene = |text: &str| {
            Scene::refused(503, "tenant is suspended")
                .api_log(text, CLOSED)
                .api_served("POST /tasks", 503)
        };
        assert_eq!(scene("event not sent").cause(), "likely api-cannot-enqueue");
        assert_eq!(scene("Unhandled error").cause(), "certain api-cannot-enqueue");
    }
}
