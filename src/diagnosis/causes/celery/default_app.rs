//! The API sends where Celery sends when nothing has told it of a broker.

use super::APPLIES_TO;
use crate::diagnosis::evidence::{Fact, api_tracebacks, workers};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::celery::DEFAULT_BROKER as DEFAULT;
use crate::timeline::environment::Variable;
use crate::timeline::{Process, Source};

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "default-app",
    keeps_from: &[Stage::Submitted, Stage::Published],
    owner: &[Owner::ApiCode],
    explains: &["published-to-other-broker", "published-to-other-vhost"],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Process, Source::ApiLog]],
    applies_to: APPLIES_TO,
    page: include_str!("default_app.md"),
    check,
    ..Cause::DEFAULT
};

/// Whatever application is used, it takes its broker from here first.
const NAMES_THE_BROKER: [&str; 2] = ["CELERY_BROKER_URL", "CELERY_BROKER_WRITE_URL"];

fn check(story: &Story<'_>) -> Answer {
    if !story.publishes().is_empty() {
        return Answer::NotApplicable;
    }
    let api = story.api_processes();
    let named = api.iter().find_map(|process| {
        let has = |name: &&&str| process.env_names.iter().any(|own| own == **name);
        Some(process.with(NAMES_THE_BROKER.iter().find(has)?))
    });
    if let Some(Fact { n, value: name, .. }) = named {
        return Answer::ruled_out(
            format!("{name} in the API's environment names a broker, for whatever app it uses"),
            [n],
        );
    }
    let found = api.iter().find_map(|process| connected(story, *process));
    match found {
        Some(answer) if story.closed() => answer,
        Some(_) => Answer::NotApplicable,
        None => refused(story),
    }
}

/// It is connected to localhost, and that is not where the task was to go.
fn connected(story: &Story<'_>, process: Fact<&Process>) -> Option<Answer> {
    let socket = process
        .sockets
        .iter()
        .find(|socket| leads_to_the_default(socket))?;
    let setup = &story.timeline.setup;
    let port = DEFAULT.port;
    let (text, evidence) = match story.listed(socket) {
        Some(own) if own.vhost == setup.vhost || own.vhost != DEFAULT.vhost || own.user != DEFAULT.user => {
            return None;
        }
        Some(own) => (
            format!(
                "the API (pid {}) is connected to localhost:{port} as {}, in vhost \"{}\" and not in \"{}\"",
                process.pid, own.user, own.vhost, setup.vhost
            ),
            vec![process.n, own.n],
        ),
        // It may be the configured broker's own connection, not listed yet.
        None if DEFAULT.is_at(&setup.broker) => return None,
        None => (
            format!(
                "the API (pid {}) is connected to localhost:{port}, and not to {}",
                process.pid, setup.broker
            ),
            vec![process.n],
        ),
    };
    let text = format!(
        "{text}: that is where Celery sends when it is told of no broker{}",
        unused(story)
    );
    Some(match told_otherwise(story) {
        Some(name) => Answer::possible(
            format!("{text}; but its {name} is another than the worker's, and may name that broker"),
            evidence,
        ),
        None => Answer::likely(text, evidence),
    })
}

/// Nobody listens where it sends, and the configured broker is there.
fn refused(story: &Story<'_>) -> Answer {
    let is_refusal = |text: &str| text.contains("/kombu/") && text.contains("[Errno 111]");
    let Some(error) = api_tracebacks::of_the_request(story, is_refusal) else {
        return Answer::NotApplicable;
    };
    let there = story.depths_since(story.queue());
    let Some(there) = there
        .last()
        .filter(|_| !DEFAULT.is_at(&story.timeline.setup.broker))
    else {
        return Answer::NotApplicable;
    };
    let port = DEFAULT.port;
    Answer::possible(
        format!(
            "where the API sends, nobody listens, and {} answers: without an app of its own, or without its settings (the default app), the API sends to localhost:{port}{}",
            story.timeline.setup.broker,
            unused(story)
        ),
        [error.n, there.n],
    )
}

fn leads_to_the_default(socket: &str) -> bool {
    let remote = socket.trim_end_matches(" (connecting)").split(" -> ").nth(1);
    remote.is_some_and(|remote| DEFAULT.is_at(remote))
}

/// A broker's address that the API has been given, and the worker as well.
fn unused(story: &Story<'_>) -> String {
    let shared = addresses(story).into_iter().find(|(_, is_shared)| *is_shared);
    shared.map_or_else(String::new, |(name, _)| {
        format!("; it has {name} in its environment, as the worker has, and does not use it")
    })
}

/// A broker's address that the API has been given, and the worker another one.
fn told_otherwise<'a>(story: &Story<'a>) -> Option<&'a str> {
    let addresses = addresses(story);
    let mut others = addresses.iter().filter(|(_, is_shared)| !is_shared);
    others.next().map(|(name, _)| *name)
}

/// The addresses of brokers in the API's environment that the worker's has as well, and whether they are the same.
fn addresses<'a>(story: &Story<'a>) -> Vec<(&'a str, bool)> {
    let of = |processes: &[Fact<&Process>]| {
        let found = processes
            .iter()
            .find_map(|process| story.environment(process.pid));
        found.and_then(|environment| environment.value.variables.as_ref())
    };
    let (Some(api), Some(worker)) = (of(&story.api_processes()), of(&workers::live_workers(story))) else {
        return Vec::new();
    };
    let is_address = |name: &str, value: &Variable| {
        let name = name.to_ascii_uppercase();
        let about_it = ["BROKER", "RABBIT", "AMQP"]
            .iter()
            .any(|word| name.contains(word));
        about_it && matches!(value, Variable::Masked(masked) if masked.parts.contains_key("host"))
    };
    let found = api.iter().filter(|(name, value)| is_address(name, value));
    found
        .filter_map(|(name, value)| Some((name.as_str(), worker.get(name)? == value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;
    use crate::timeline::EventKind;

    const DEFAULT: &str = "127.0.0.1:40050 -> 127.0.0.1:5672";
    const REFUSED: &str = "Traceback (most recent call last):\n  File \"/v/site-packages/celery/app/base.py\", line 1, in send_task\n  File \"/v/site-packages/kombu/connection.py\", line 1, in _reraise_as_library_errors\nkombu.exceptions.OperationalError: [Errno 111] Connection refused";

    fn sent_by(socket: &str, change: impl FnOnce(&mut Process)) -> Scene {
        let api = "python gunicorn shop.wsgi";
        Scene::accepted()
            .setup(|setup| {
                setup.framework = "celery".into();
                setup.broker = "rabbit:5672".into();
                setup.vhost = "shop".into();
            })
            .row("PENDING")
            .see(Source::Process, EventKind::ApiProcess { pid: 300 })
            .process(300, 1, api, |process| {
                process.sockets = vec![socket.to_owned()];
                process.sockets_seen = true;
                change(process);
            })
    }

    #[test]
    fn it_is_connected_to_localhost() {
        let scene = sent_by(DEFAULT, |_| {});
        assert_eq!(scene.answer(&CAUSE), "not applicable", "it may still connect");
        let scene = scene.silence();
        assert_eq!(scene.cause(), "likely default-app", "{}", scene.summary());
        assert_eq!(scene.without(Source::Process).answer(&CAUSE), "not applicable");
        assert_eq!(
            sent_by("127.0.0.1:1 -> [::1]:5672", |_| {})
                .silence()
                .answer(&CAUSE),
            "likely"
        );
    }

    #[test]
    fn another_broker_and_a_named_one_are_near_misses() {
        let elsewhere = sent_by("127.0.0.1:40050 -> 10.0.0.9:5672", |_| {}).silence();
        assert_eq!(elsewhere.answer(&CAUSE), "not applicable");
        let named = sent_by(DEFAULT, |process| {
            process.env_names = vec!["CELERY_BROKER_URL".into()]
        });
        assert_eq!(named.silence().answer(&CAUSE), "ruled out");
        // The configured broker is there: the connection is the right one.
        let local = sent_by(DEFAULT, |_| {}).setup(|setup| setup.broker = "localhost:5672".into());
        assert_eq!(local.silence().answer(&CAUSE), "not applicable");
    }

    /// What the API was told is another broker than the worker's, and may be this one.
    #[test]
    fn an_address_of_its_own_is_a_near_miss() {
        use crate::timeline::environment::{Environment, Masked};
        let told = |pid: i32, value: &str| {
            let masked = Masked {
                value: value.into(),
                parts: [("host".to_owned(), "a".to_owned())].into(),
            };
            let environment = Environment {
                pid,
                variables: Some([("RABBITMQ_URL".to_owned(), Variable::Masked(masked))].into()),
                ..Environment::default()
            };
            EventKind::Environment(Box::new(environment))
        };
        let with = |worker: &str| {
            sent_by(DEFAULT, |_| {})
                .setup(|setup| setup.broker = "rabbit:5679".into())
                .process(100, 1, "python celery -A shop worker", |process| {
                    process.holds_log = true
                })
                .see(Source::Process, told(300, "one"))
                .see(Source::Process, told(100, worker))
                .silence()
        };
        assert_eq!(with("one").answer(&CAUSE), "likely");
        assert_eq!(with("another").answer(&CAUSE), "possible");
        assert_eq!(with("another").cause(), "likely published-to-other-broker");
    }

    #[test]
    fn the_vhost_and_the_user_of_the_default() {
        let listed = |vhost: &str| {
            sent_by(DEFAULT, |_| {})
                .setup(|setup| setup.broker = "localhost:5672".into())
                .connections(&[(DEFAULT, vhost, "running")])
                .silence()
        };
        assert_eq!(listed("/").answer(&CAUSE), "likely");
        assert_eq!(listed("staging").answer(&CAUSE), "not applicable");
        assert_eq!(listed("shop").answer(&CAUSE), "not applicable");
    }

    #[test]
    fn nobody_listens_there() {
        let failed = |broker: &str| {
            Scene::refused(500, "")
                .setup(|setup| {
                    setup.framework = "celery".into();
                    setup.broker = broker.into();
                })
                .depth("default", 0, 1)
                .api_log("Internal Server Error: /tasks", REFUSED)
                .silence()
        };
        assert_eq!(
            failed("rabbit:5672").answer(&CAUSE),
            "possible",
            "{:?}",
            failed("rabbit:5672").summary()
        );
        assert_eq!(failed("localhost:5672").answer(&CAUSE), "not applicable");
    }
}
