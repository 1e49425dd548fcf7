//! The API sends into a stub broker.

use crate::diagnosis::evidence::{connections, stacks, workers};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Claim, Owner, Scenario, Stage, Story};
use crate::timeline::{Process, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "test-broker",
    keeps_from: &[Stage::Published],
    owner: &[Owner::Deployment],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Process]],
    claims: &[Claim::NothingSent],
    page: include_str!("test_broker.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if story.published().is_some() {
        return Answer::NotApplicable;
    }
    let api = story.api_processes();
    let pids: Vec<i32> = api.iter().map(|process| process.pid).collect();
    if let Some(thread) = stacks::in_the_stub(story, &pids) {
        let text = format!(
            "the API runs {}'s stub broker (thread {}): messages stay in its memory",
            story.framework().title,
            thread.name()
        );
        // It may have a second one, for other messages.
        let connected = api
            .iter()
            .find(|process| connections::amqp_socket(story, process).is_some());
        return match connected {
            Some(process) => Answer::possible(
                format!("{text}; pid {} has an AMQP connection as well", process.pid),
                [thread.n, process.n],
            ),
            // It may serve events of the application's own, and the task never have been sent, whatever a switch of its
            // environment is read for.
            None => {
                let read = api.iter().find_map(|process| {
                    let switch = switch_of(story, process).filter(|switch| switch.is_read);
                    switch.map(|switch| process.with(switch.text))
                });
                let (text, evidence) = match read {
                    Some(switch) => (
                        format!(
                            "{text}; its environment has {}, which its code reads",
                            switch.value
                        ),
                        vec![thread.n, switch.n],
                    ),
                    None => (text, vec![thread.n]),
                };
                Answer::likely(text, evidence).given([Premise::WasSent])
            }
        };
    }
    if api.is_empty() {
        return Answer::cannot_tell(&[Source::Process]);
    }
    for process in &api {
        if let Some(socket) = connections::amqp_socket(story, process) {
            return Answer::ruled_out(
                format!("the API (pid {}) has an AMQP connection: {socket}", process.pid),
                [process.n],
            );
        }
    }
    for process in &api {
        if let Some(switch) = switch_of(story, process)
            && process.sockets_seen
            && story.closed()
        {
            let text = format!(
                "the API (pid {}) has {} in its environment and has no connection to the broker's port",
                process.pid, switch.text
            );
            // A URL is there to be read: no other program has a broker in memory.
            if workers::test_url(story, process).is_some_and(|(url, _)| *url == switch.name) {
                let text = format!("{text}: a broker in its own memory keeps the message");
                return Answer::likely(text, [process.n]);
            }
            let named = format!("`{}`", switch.name);
            let answer = match switch.is_read {
                true => {
                    let text = format!(
                        "{text}, and its code names that variable: a stub broker may keep the message"
                    );
                    Answer::likely(text, [process.n])
                }
                // A variable that nobody looks at switches nothing.
                false => Answer::possible(
                    format!("{text}; that its code looks at that variable was not seen"),
                    [process.n],
                ),
            };
            return answer.naming("{switch}", named);
        }
    }
    Answer::NotApplicable
}

/// A switch for tests in a process's environment.
struct Switch {
    name: String,
    /// With its value.
    text: String,
    /// The process's code names it.
    is_read: bool,
}

fn switch_of(story: &Story<'_>, process: &Process) -> Option<Switch> {
    let (name, value) = workers::test_switch(story, process)?;
    Some(Switch {
        name: name.to_owned(),
        text: format!("{name}={value}"),
        is_read: process.reads.iter().any(|read| read == name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{API, Scene};

    fn switched() -> Scene {
        Scene::accepted()
            .row("PENDING")
            .see(
                Source::Process,
                crate::timeline::EventKind::ApiProcess { pid: 50 },
            )
            .process(50, 1, "python uvicorn main:app", |process| {
                process.env.insert("DRAMATIQ_TESTING".into(), "1".into());
                process.reads = vec!["DRAMATIQ_TESTING".into()];
            })
    }

    #[test]
    fn frames_of_the_stub_do_not_show_that_it_was_sent() {
        let in_the_stub = |scene: Scene| {
            let frames = [("_StubConsumer.__next__", "/v/dramatiq/brokers/stub.py")];
            scene.stack(50, "Thread-1", &frames).silence().cause()
        };
        // What reads the switch may be something else, and the broker one for events of the application's own.
        assert_eq!(in_the_stub(switched()), "likely test-broker");
        let events = Scene::accepted().row("PENDING").api_process(&[]);
        assert_eq!(in_the_stub(events), "likely test-broker");
    }

    #[test]
    fn a_switch_and_no_connection_are_likely() {
        assert_eq!(switched().silence().cause(), "likely test-broker");
        let remedies = switched().silence().verdict().cause.expect("a cause").remedies;
        assert!(
            remedies[0].contains("without `DRAMATIQ_TESTING`:"),
            "{remedies:?}"
        );
        assert_eq!(
            switched().answer(&CAUSE),
            "not applicable",
            "it may still connect"
        );
    }

    #[test]
    fn a_broker_in_the_apis_own_memory_by_its_url() {
        let api = |framework: &str, sockets: &[&str]| {
            let scene = Scene::accepted()
                .setup(|setup| setup.framework = framework.into())
                .row("PENDING")
                .see(
                    Source::Process,
                    crate::timeline::EventKind::ApiProcess { pid: 50 },
                );
            let sockets = sockets.iter().map(|socket| (*socket).to_owned()).collect();
            scene
                .process(50, 1, "python gunicorn shop.wsgi", |process| {
                    process.env.insert("BROKER_URL".into(), "memory://".into());
                    process.sockets = sockets;
                })
                .silence()
        };
        assert_eq!(api("celery", &[]).cause(), "likely test-broker");
        // It is another framework's word, or the settings name another broker all the same.
        assert_eq!(api("dramatiq", &[]).answer(&CAUSE), "not applicable");
        assert_eq!(api("celery", &[API]).answer(&CAUSE), "ruled out");
    }

    #[test]
    fn a_variable_that_no_code_looks_at_is_a_near_miss() {
        let with = |reads: Vec<String>| {
            let scene = Scene::accepted().row("PENDING").see(
                Source::Process,
                crate::timeline::EventKind::ApiProcess { pid: 50 },
            );
            let scene = scene.process(50, 1, "python uvicorn main:app", |process| {
                process.env.insert("TESTING".into(), "1".into());
                process.reads = reads;
            });
            scene.silence().answer(&CAUSE)
        };
        assert_eq!(with(vec!["TESTING".into()]), "likely");
        assert_eq!(with(Vec::new()), "possible");
    }

    #[test]
    fn no_connection_alone_proves_nothing_and_a_connection_excludes_it() {
        let idle = Scene::accepted().row("PENDING").api_process(&[]).silence();
        assert_eq!(idle.answer(&CAUSE), "not applicable");
        let connected = Scene::accepted().api_process(&[API]).silence();
        assert_eq!(connected.answer(&CAUSE), "ruled out");
        assert_eq!(
            switched().silence().without(Source::Process).answer(&CAUSE),
            "cannot tell"
        );
    }
}
