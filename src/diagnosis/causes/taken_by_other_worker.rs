//! Another worker took the message.

use super::taken_by_other_client;
use crate::diagnosis::evidence::{
    Fact, Transfer, WorkerLine, broker, containers, holding, others, programs, workers,
};
use crate::diagnosis::premises::{EventId, Premise, State};
use crate::diagnosis::{Answer, Cause, Certainty, Owner, Scenario, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::{EventKind, Process, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "taken-by-other-worker",
    keeps_from: &[Stage::Received],
    owner: &[Owner::Deployment],
    explains: others::OF_ITS_RUN,
    scenario: Some(Scenario::C),
    needs: &[&[Source::Firehose, Source::Management]],
    page: include_str!("taken_by_other_worker.md"),
    check,
    ..Cause::DEFAULT
};

fn is_the_api(story: &Story<'_>, pid: i32) -> bool {
    story.api_processes().iter().any(|api| api.pid == pid)
}

fn by_the_api(process: &Process) -> String {
    format!(
        "delivered to pid {} (`{}`), the API itself: a worker runs in its process, and its lines are in the API's log",
        process.pid,
        process.command.join(" ")
    )
}

fn check(story: &Story<'_>) -> Answer {
    let Some(passage) = story.deliveries().last() else {
        return others::without_a_delivery(story, |other| !other.is_orphan());
    };
    if let Some(taker) = story.peer(passage.connection) {
        let pid = taker.value;
        let answer = taken_by_process(story, passage.n, taker).naming("{taker}", format!("pid {pid}"));
        return match story.reached(Stage::Entered) {
            Some(_) => has_run_other_code(story, pid, answer),
            None => answer,
        };
    }
    // One more of the same has run it, for all that is known.
    if story.reached(Stage::Entered).is_some() {
        return Answer::NotApplicable;
    }
    if let Some(answer) = taken_by_container(story, passage) {
        return answer;
    }
    taken_from_elsewhere(story, passage).naming("{taker}", passage.connection)
}

/// It has run the task. That matters where its code is not the watched worker's; and that code may have the fault, too.
fn has_run_other_code(story: &Story<'_>, pid: i32, answer: Answer) -> Answer {
    let Some(differs) = others::has_other_code(story, pid) else {
        return match answer {
            Answer::Matched(_) => Answer::NotApplicable,
            other => other,
        };
    };
    // While it is at it, what it stands in is why.
    let is_over =
        story.attempt_over().is_some() || !story.raised().is_empty() || broker::drained(story).is_some();
    answer
        .at_most(match is_over || story.row_failed().is_some() {
            true => Certainty::Likely,
            false => Certainty::Possible,
        })
        .followed_by(&differs.value)
        .resting_on([differs.n])
}

/// Neither a process nor a container that could be seen has its connection.
fn taken_from_elsewhere(story: &Story<'_>, passage: &Transfer<'_>) -> Answer {
    // No local process has this connection. That says "another host" only where every local
    // process could be seen and the address is not this machine's.
    match story.listed(passage.connection) {
        Some(connection) if !workers::is_worker_product(&connection.product) => Answer::NotApplicable,
        _ if taken_by_other_client::is_of_no_client(passage) => Answer::NotApplicable,
        _ if let Some(looks) = holding::was_got(story, passage) => {
            Answer::ruled_out("nobody consumed the queue when it was taken", looks)
        }
        _ if story
            .line(|mark| matches!(mark, LogEvent::Pushed { .. } | LogEvent::Received { .. }))
            .is_some() =>
        {
            Answer::ruled_out("the watched worker's log has it", [passage.n])
        }
        _ if let Some(told) = told_of_by_the_watched(story, passage.connection) => {
            let text = "the watched worker's log has another message that was delivered to this connection";
            Answer::ruled_out(text, [passage.n, told])
        }
        _ if !story.sees(Source::Process) => Answer::cannot_tell(&[Source::Process]),
        Some(connection) if story.debug_log() && story.closed() && story.watched_is_local() => broker::taken(
            story,
            Answer::likely(
                format!(
                    "delivered to {} (user {}), which is no process of {}, while the watched worker runs there and logs nothing of it",
                    connection.name,
                    connection.user,
                    if story.has_places() {
                        "the worker's place"
                    } else {
                        "this machine"
                    }
                ),
                [passage.n, connection.n],
            ),
        ),
        _ if story.debug_log() && story.closed() => {
            let text = format!(
                "delivered to {}, and the watched worker, which logs every message, has not got it",
                passage.connection
            );
            // A worker that has been silent since may be frozen, with the message in its hands.
            let speaks = story
                .worker_lines()
                .iter()
                .find(|told| !told.line.before && told.at_ms > passage.at_ms);
            let answer = match speaks {
                Some(told) => Answer::likely(text, [passage.n, told.n]),
                None => Answer::possible(text, [passage.n]),
            };
            broker::taken(story, answer).would_decide(&[Source::Process])
        }
        _ => Answer::cannot_tell(&[Source::Process, Source::WorkerLog]),
    }
}

/// The line of the watched log that tells of another message which was delivered to this connection.
fn told_of_by_the_watched(story: &Story<'_>, connection: &str) -> Option<EventId> {
    let ids: Vec<&str> = story
        .facts(|kind| match kind {
            EventKind::Deliver {
                connection: to,
                message,
                ..
            } if to == connection => message.message_id.as_deref(),
            _ => None,
        })
        .map(|fact| fact.value)
        .collect();
    let tells = |told: &&WorkerLine<'_>| match told.mark {
        Some(LogEvent::Pushed { id, .. } | LogEvent::Received { id, .. }) => ids.contains(&id.as_str()),
        _ => false,
    };
    story.worker_lines().iter().find(tells).map(|told| told.n)
}

/// The message went to this process of this machine: the connection is its own.
fn taken_by_process(story: &Story<'_>, passage: u32, taker: Fact<i32>) -> Answer {
    let Fact { n, value: pid, .. } = taker;
    match (story.is_watched(pid), story.process(pid)) {
        (Some(true), _) => Answer::ruled_out(
            format!("delivered to pid {pid}, the watched worker's"),
            [passage, n],
        ),
        // What is no Python and listens there is a relay, whatever its name.
        (_, Some(process)) if is_the_api(story, pid) && programs::runs_python(story, &process) => {
            let evidence = [passage, n, process.n];
            broker::taken(story, Answer::shown(by_the_api(&process), evidence))
        }
        (_, Some(process)) if !workers::is_worker(&process) => Answer::NotApplicable,
        (Some(false), Some(process)) => {
            let who = others::words(&process);
            let evidence = [passage, n, process.n];
            let replica = Premise::NotAReplica(pid);
            let answer = match story.state(&replica) {
                State::Refuted(_) => Answer::likely(
                    format!(
                        "delivered to {who}, another start of the watched worker, whose log is not watched"
                    ),
                    evidence,
                ),
                _ => Answer::shown(
                    format!("delivered to {who}, which is not the watched worker"),
                    evidence,
                )
                .given([replica, Premise::SamePidSpace]),
            };
            broker::taken(story, answer)
        }
        (Some(false), None) => broker::taken(
            story,
            Answer::likely(
                format!("delivered to pid {pid}, which is not the watched worker"),
                [passage, n],
            ),
        ),
        // No log says which one is the watched worker; what it runs is configured.
        (None, Some(process)) => match others::runs_another_program(story, pid) {
            Some(module) => broker::taken(
                story,
                Answer::likely(
                    format!(
                        "delivered to {}, which does not run what `worker.command` names",
                        others::words(&process)
                    ),
                    [passage, n, process.n, module],
                )
                .would_decide(&[Source::WorkerLog]),
            ),
            None => Answer::cannot_tell(&[Source::WorkerLog]),
        },
        (None, None) => Answer::cannot_tell(&[Source::WorkerLog]),
    }
}

/// The engine knows whose address it is, whoever may look at its processes.
fn taken_by_container(story: &Story<'_>, passage: &Transfer<'_>) -> Option<Answer> {
    let container = story.container_at(passage.connection)?;
    let own = story.worker_containers();
    let words = containers::words(&container);
    if own.iter().any(|own| own.id == container.id) {
        let text = format!("delivered to {words}, whose log is watched");
        return Some(Answer::ruled_out(text, [passage.n, container.n]));
    }
    if own.is_empty() || !containers::runs_a_worker(&container) {
        return None;
    }
    let evidence: Vec<u32> = [passage.n, container.n]
        .into_iter()
        .chain(own.iter().map(|own| own.n))
        .collect();
    let answer = match own.iter().any(|own| containers::is_replica(own, &container)) {
        true => Answer::likely(
            format!("delivered to {words}, a replica of the watched worker, whose log is not watched"),
            evidence,
        ),
        false => Answer::likely(
            format!("delivered to {words}, which is not the watched worker"),
            evidence,
        ),
    };
    Some(broker::taken(story, answer).naming("{taker}", words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{OTHER, Scene};
    use crate::timeline::EventKind;
    use crate::timeline::environment::{Code, Environment, Found};

    #[test]
    fn a_worker_beside_the_watched_one() {
        assert_eq!(
            Scene::sent_to_another().other_worker().silence().cause(),
            "certain taken-by-other-worker"
        );
    }

    #[test]
    fn a_sibling_that_has_not_logged_yet_is_a_near_miss() {
        let scene = Scene::sent_to_another()
            .process(900, 100, "python dramatiq -v app --threads 2", |_| {})
            .peer(OTHER, 900)
            .silence();
        assert_eq!(scene.answer(&CAUSE), "ruled out");
    }

    /// Its process died before it could write a line of ours; another message of its connection stands in the log.
    #[test]
    fn a_connection_that_the_watched_log_speaks_of_is_a_near_miss() {
        let answer = |to: &str| {
            let scene = Scene::new()
                .worker_booted()
                .depth("default", 0, 2)
                .submitted()
                .row("PENDING")
                .publish("default")
                .deliver_as("m-0", to, false)
                .pushed("m-0")
                .deliver(OTHER)
                .pushed("m-2");
            scene.silence().answer(&CAUSE)
        };
        assert_eq!(answer(OTHER), "ruled out");
        assert_eq!(answer("127.0.0.1:50009 -> 127.0.0.1:5672"), "likely");
    }

    #[test]
    fn the_pids_of_a_container_say_nothing_here() {
        let scene = Scene::new()
            .line(
                "[PID 7] [MainThread] [dramatiq.WorkerProcess(0)] [INFO] Worker process is ready for action.",
            )
            .process(7, 2, "[kworker/0:1]", |_| {})
            .depth("default", 0, 1)
            .submitted()
            .row("PENDING")
            .publish("default")
            .deliver(OTHER)
            .other_worker()
            .silence();
        assert_eq!(scene.answer(&CAUSE), "cannot tell");
    }

    #[test]
    fn a_log_behind_a_relay_says_nothing_either() {
        let scene = Scene::sent_to_another()
            .process(800, 1, "tee worker.log", |process| process.holds_log = true)
            .other_worker()
            .silence()
            .without(Source::WorkerLog);
        assert_eq!(scene.answer(&CAUSE), "cannot tell");
    }

    #[test]
    fn nobody_here_has_the_connection() {
        let elsewhere = Scene::sent_to_another().silence();
        assert_eq!(
            elsewhere.answer(&CAUSE),
            "possible",
            "the watched worker may be frozen"
        );
        let speaks = Scene::sent_to_another().pushed("other").silence();
        assert_eq!(speaks.answer(&CAUSE), "likely");
        assert_eq!(elsewhere.without(Source::Process).answer(&CAUSE), "cannot tell");
    }

    /// The place in the code that raised is another checkout's; one more of the same worker is a near miss.
    #[test]
    fn what_another_checkout_raised_comes_of_its_being_there() {
        let ran = |folder: &str| {
            let environment = |pid: i32, found: Found, directory: &str| {
                EventKind::Environment(Box::new(Environment {
                    pid,
                    command: vec!["python".into(), "dramatiq".into(), "app".into()],
                    found: vec![found],
                    code: Some(Code {
                        module: "app".into(),
                        directory: directory.into(),
                        ..Code::default()
                    }),
                    ..Environment::default()
                }))
            };
            let scene = Scene::sent_to_another()
                .other_worker()
                .see(Source::Process, environment(101, Found::WorkerLog, "/srv/app"))
                .see(Source::Process, environment(900, Found::Connection, folder))
                .retried_by_the_other()
                .silence();
            let cause = scene.verdict().cause.expect("a cause");
            let effects: Vec<String> = cause.explains.iter().map(|link| link.id.clone()).collect();
            (cause.id, cause.certainty, effects)
        };
        let (id, certainty, effects) = ran("/srv/staging");
        assert_eq!(
            (id.as_str(), certainty),
            ("taken-by-other-worker", Certainty::Likely)
        );
        assert_eq!(effects, ["actor-raised"]);
        assert_eq!(ran("/srv/app").0, "actor-raised");
    }

    /// More threads, or another number of processes: it may be meant as one more of the same.
    #[test]
    fn the_same_worker_with_other_options_is_only_likely() {
        let beside = |command: &str| {
            Scene::sent_to_another()
                .process(900, 899, command, |_| {})
                .peer(OTHER, 900)
                .silence()
                .answer(&CAUSE)
        };
        assert_eq!(beside("python dramatiq -v app --threads 4"), "likely");
        assert_eq!(beside("python dramatiq -v other --threads 2"), "certain");
    }

    /// One forwarder holds the API's published port and the worker's connection to the broker.
    #[test]
    fn what_listens_there_and_is_no_python_is_a_relay() {
        let taken = |command: &str| {
            Scene::sent_to_another()
                .see(
                    crate::timeline::Source::Process,
                    EventKind::ApiProcess { pid: 900 },
                )
                .process(900, 1, command, |_| {})
                .peer(OTHER, 900)
                .silence()
                .answer(&CAUSE)
        };
        assert_eq!(
            taken("/usr/bin/rootlesskit --port-driver=builtin"),
            "not applicable"
        );
        for server in [
            "/v/bin/python /v/bin/uvicorn app:api",
            "gunicorn: worker [shop]",
            "uwsgi --ini shop.ini",
        ] {
            assert_eq!(taken(server), "certain", "{server}");
        }
    }
}
