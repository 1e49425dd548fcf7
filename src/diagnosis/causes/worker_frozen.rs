//! The worker process is stopped.

use crate::diagnosis::evidence::{
    Fact, Transfer, WorkerLine, broker, connections, containers, control, holding, retries, stacks, workers,
};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Claim, Owner, Scenario, Stage, Story};
use crate::timeline::{Container, EventKind, PlaceState, Process, Role, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "worker-frozen",
    keeps_from: &[Stage::Received, Stage::Finished],
    owner: &[Owner::DatabaseHost],
    explains: &[
        "workers-busy",
        "waiting-in-worker",
        "worker-blocked",
        "backlog",
        "no-consumer",
        "worker-on-test-broker",
        "worker-still-booting",
        "actor-still-running",
    ],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Process, Source::Containers]],
    claims: &[Claim::IsAlive],
    page: include_str!("worker_frozen.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    holding::unless_done_with(story, find(story))
}

fn find(story: &Story<'_>) -> Answer {
    let paused = |container: Fact<&Container>| container.state == "paused";
    if !story.sees(Source::Process) && !story.containers().any(paused) {
        return Answer::cannot_tell(&[Source::Process]);
    }
    let Some(passage) = story.deliveries().last() else {
        // Afterwards no delivery is seen, and a worker that was stopped early has taken none.
        return match story.closed() {
            true => stands_in_a_call(story).unwrap_or_else(|| all_frozen(story, None)),
            false => Answer::NotApplicable,
        };
    };
    // What it has done with before it was stopped waits for nothing.
    if let Some(over) = over(story) {
        return Answer::ruled_out("it had done with the message before", [over]);
    }
    if let Some(container) = story.container_at(passage.connection)
        && container.state == "paused"
    {
        let text = format!(
            "{} is paused: `docker unpause {}` lets it go on",
            containers::words(&container),
            container.name
        );
        let is_worker = containers::runs_a_worker(&container) || container.roles.contains(&Role::WorkerLog);
        let answer = match is_worker {
            true => Answer::shown(text, [passage.n, container.n]),
            false => Answer::likely(text, [passage.n, container.n]),
        };
        return by_somebody(answer, &container.name);
    }
    let peer = story.peer(passage.connection);

    let Some(process) = peer.and_then(|peer| story.process(peer.value)) else {
        return all_frozen(story, Some(passage.n));
    };
    let evidence = [passage.n, process.n];
    let mut lines = story.worker_lines().iter().rev();
    let is_its =
        |told: &&WorkerLine<'_>| told.pid == Some(process.pid) && told.at_ms > process.at_ms + A_MOMENT_MS;
    if let Some(told) = lines.find(is_its) {
        return Answer::ruled_out("it has written to its log since it was seen stopped", [told.n]);
    }
    if process.frozen {
        return Answer::shown(
            format!(
                "the control group of pid {} is frozen, as by `docker pause`",
                process.pid
            ),
            evidence,
        )
        .given([Premise::PeerIsProcess(passage.connection.to_owned())])
        .naming("{worker_pid}", process.pid)
        .naming("{container_command}", "docker unpause NAME")
        .only_case(PAUSED, CASES);
    }
    let is_stopped = matches!(process.state, 'T' | 't');
    if let Some(answer) = of_a_child(story, passage, process.pid, is_stopped) {
        return answer;
    }
    if let Some(goes_on) = is_let_go_on(story, process.pid) {
        let text = format!(
            "pid {} is stopped and let go on, again and again: something limits its CPU time, or a debugger steps through it",
            process.pid
        );
        return match is_stopped {
            true => Answer::possible(text, [passage.n, process.n, goes_on]),
            false => Answer::ruled_out(text, [goes_on]),
        };
    }
    let answer = match process.state {
        'T' | 't' => Answer::shown(
            format!(
                "pid {} is stopped (state {}): it was sent SIGSTOP, or a debugger holds it",
                process.pid, process.state
            ),
            evidence,
        )
        .given([Premise::PeerIsProcess(passage.connection.to_owned())]),
        'Z' => Answer::NotApplicable,
        Process::OUT_OF_SIGHT => return all_frozen(story, Some(passage.n)),
        'D' if story.closed() => Answer::likely(
            format!("pid {} is in uninterruptible sleep (state D)", process.pid),
            evidence,
        ),
        state => Answer::ruled_out(format!("pid {} is in state {state}", process.pid), [process.n]),
    };
    // It need not be the watched worker.
    answer.naming("{worker_pid}", process.pid)
}

/// How long a line may be on its way.
const A_MOMENT_MS: f64 = 1000.0;

/// The message is settled, by the worker's word or by the broker's count.
fn over(story: &Story<'_>) -> Option<u32> {
    let told = story.attempt_over().map(|told| told.n);
    told.or_else(|| broker::drained(story))
}

/// It was seen stopped, and running again after that, whenever that was.
fn is_let_go_on(story: &Story<'_>, pid: i32) -> Option<u32> {
    let looks = story.facts(|kind| match kind {
        EventKind::Process(process) if process.pid == pid => Some(matches!(process.state, 'T' | 't')),
        _ => None,
    });
    let mut since_stopped = looks.skip_while(|look| !look.value);
    since_stopped.find(|look| !look.value).map(|look| look.n)
}

/// A master takes messages, and a child runs this one: by the worker's own word, or by the stack that stands in the
/// task. That child counts, whether the master is stopped or not; where nothing says which it is, all of them do.
fn of_a_child(
    story: &Story<'_>,
    passage: &Transfer<'_>,
    master: i32,
    master_is_stopped: bool,
) -> Option<Answer> {
    if !story.closed() || !story.master_takes() || story.attempt_over().is_some() {
        return None;
    }
    let children: Vec<Fact<&Process>> = story
        .all_processes()
        .filter(|process| process.ppid == master && story.gone(process.pid).is_none())
        .collect();
    let stopped: Vec<_> = children
        .iter()
        .filter(|child| child.frozen || matches!(child.state, 'T' | 't'))
        .collect();
    let by_its_word = || {
        let (answer, state) = control::holder(story)?;
        let mut held = answer.active.iter().flatten();
        let pid = held.find(|task| story.is_my_message(&task.id))?.pid?;
        (state == "active").then_some((answer.n, pid))
    };
    let runs = |pid: i32| stacks::at_work(story, pid).map(|n| (n, pid));
    // Another task of the same function may be what a stack shows.
    let by_its_stack = || {
        let mut found = children.iter().filter_map(|child| runs(child.pid));
        let one = found.next()?;
        (found.next().is_none() && workers::running_others(story).is_empty()).then_some(one)
    };
    let runner = by_its_word().or_else(by_its_stack);
    match runner {
        Some((shown, pid)) => {
            let Some(child) = stopped.iter().find(|child| child.pid == pid) else {
                let child = children.iter().find(|child| child.pid == pid)?;
                return master_is_stopped.then(|| {
                    let text = format!("pid {pid}, the child that runs it, is in state {}", child.state);
                    Answer::ruled_out(text, [child.n, shown])
                });
            };
            let text = format!(
                "pid {pid}, the child that runs it, is stopped (state {}): it was sent SIGSTOP, or a debugger holds it",
                child.state
            );
            Some(
                Answer::shown(text, [passage.n, child.n, shown])
                    .given([Premise::PeerIsProcess(passage.connection.to_owned())])
                    .naming("{worker_pid}", pid),
            )
        }
        // A master alone says nothing of its children.
        None if master_is_stopped || stopped.is_empty() || stopped.len() < children.len() => None,
        // It says what it holds back.
        None if control::holder(story).is_some() => None,
        None => {
            let pids: Vec<String> = stopped.iter().map(|child| child.pid.to_string()).collect();
            let text = format!(
                "every child of pid {master} is stopped (pids {}): each was sent SIGSTOP",
                pids.join(", ")
            );
            let mut evidence = vec![passage.n];
            evidence.extend(stopped.iter().map(|child| child.n));
            Some(Answer::likely(text, evidence).naming("{worker_pid}", master))
        }
    }
}

/// Of all the worker's threads one only is in a call, and its process is stopped there.
fn stands_in_a_call(story: &Story<'_>) -> Option<Answer> {
    let shown = stacks::the_only_call(story)?;
    let dump = story.stacks().dumps().find(|dump| dump.n == shown)?;
    let process = story
        .process(dump.pid)
        .filter(|process| matches!(process.state, 'T' | 't'))?;
    let text = format!(
        "pid {}, the only one of the worker's that is in a task, is stopped (state {}): it was sent SIGSTOP, or a debugger holds it",
        process.pid, process.state
    );
    Some(Answer::likely(text, [process.n, shown]).naming("{worker_pid}", process.pid))
}

/// Who has the message cannot be seen, as by a user without rights, or afterwards: but no process of the watched
/// worker runs.
fn all_frozen(story: &Story<'_>, delivered: Option<u32>) -> Answer {
    if let Some(answer) = paused(story, delivered) {
        return answer;
    }
    let mut own = workers::live_workers(story);
    // With the children of a master.
    let masters: Vec<i32> = own.iter().map(|process| process.pid).collect();
    let children = story.all_processes().filter(|process| {
        let is_its = story.master_takes() && masters.contains(&process.ppid);
        is_its && process.lives() && story.gone(process.pid).is_none()
    });
    own.extend(children);
    // A master that consumes nothing takes no message, and need not be stopped.
    let consuming = story.queue_consumers().map_or(Vec::new(), |all| all.own);
    if !story.master_takes() && own.iter().any(|process| consuming.contains(&process.pid)) {
        own.retain(|process| consuming.contains(&process.pid));
    }
    let stands = |process: &Process| process.frozen || matches!(process.state, 'T' | 't');
    if own.is_empty()
        && let Some(said) = story.place_says("worker", PlaceState::Paused)
    {
        let text = format!("the worker's container is paused, as the way into it says: {said}");
        let mut evidence: Vec<u32> = delivered.into_iter().chain([said.n]).collect();
        let waits = waiting(story);
        evidence.extend(waits);
        // Another consumer may have taken it.
        let alone = story
            .depths(story.queue())
            .last()
            .is_none_or(|depth| depth.consumers <= 1);
        let answer = match (delivered.is_some() && alone) || (delivered.is_none() && waits.is_some()) {
            true => Answer::likely(text, evidence),
            false => Answer::possible(text, evidence),
        };
        return by_somebody(answer, "NAME");
    }
    // One that has written nothing yet is known by its command only.
    let by_its_command = own.is_empty();
    if own.is_empty() {
        let by_command = story.all_processes().filter(|process| process.is_configured);
        own.extend(by_command.filter(|process| process.lives() && story.gone(process.pid).is_none()));
    }
    // The same command in another project's folder.
    own.retain(|process| !connections::serves_another_vhost(story, process.pid));
    if own.is_empty() || !own.iter().all(|process| stands(process)) {
        return Answer::NotApplicable;
    }
    let pids: Vec<String> = own.iter().map(|process| process.pid.to_string()).collect();
    let frozen = own.iter().all(|process| process.frozen);
    let how = match frozen {
        true => "the watched worker's control group is frozen, as by `docker pause`",
        false => {
            "every process of the watched worker is stopped (state T): it was sent SIGSTOP, or a debugger holds it"
        }
    };
    let text = format!("{how} (pids {})", pids.join(", "));
    let mut evidence: Vec<u32> = delivered.into_iter().collect();
    evidence.extend(own.iter().map(|process| process.n));
    let waits = waiting(story);
    evidence.extend(waits);
    // One that is connected to nothing may be any project's.
    let is_anybodys = by_its_command && !frozen && own.iter().all(|process| process.sockets.is_empty());
    let answer = match (delivered.is_some() || waits.is_some()) && !is_anybodys {
        true => Answer::likely(text, evidence),
        false => Answer::possible(text, evidence),
    };
    let answer = match frozen {
        true => by_somebody(answer, "NAME"),
        false => answer,
    };
    match own.first() {
        Some(first) => answer.naming("{worker_pid}", first.pid),
        None => answer,
    }
}

/// The engine says that the watched worker's container is paused. Nobody consumes while it is, where it was paused
/// before it began to, or so long ago that the broker has given its connection up.
fn paused(story: &Story<'_>, delivered: Option<u32>) -> Option<Answer> {
    let container = story.paused_worker_container()?;
    let text = format!(
        "{} is paused: `docker unpause {}` lets it go on",
        containers::words(&container),
        container.name
    );
    let depth = story.depths(story.queue()).last();
    let consumers = depth.map(|depth| depth.consumers);
    let waits = waiting(story);
    let mut evidence: Vec<u32> = delivered.into_iter().chain([container.n]).collect();
    evidence.extend(depth.map(|depth| depth.n));
    evidence.extend(waits);
    let is_why_nobody_consumes = delivered.is_none()
        && consumers == Some(0)
        && retries::is_on_the_queue(story)
        && containers::runs_a_worker(&container)
        && !story.consumes_others_only();
    let answer = match (is_why_nobody_consumes, delivered.is_some(), consumers) {
        (true, ..) => Answer::shown(text, evidence),
        // Another consumer may have taken it, or be the one that is to.
        (_, _, Some(2..)) => Answer::possible(text, evidence),
        (_, true, _) => Answer::likely(text, evidence),
        (_, false, _) if waits.is_some() => Answer::likely(text, evidence),
        _ => Answer::possible(text, evidence),
    };
    Some(by_somebody(answer, &container.name))
}

/// Cases of its remedies.
const PAUSED: &str = "a paused container";
const CASES: &[&str] = &[PAUSED, "state `T`", "state `D`", "a tracer (`TracerPid` not 0)"];

/// Who deploys containers pauses them.
fn by_somebody(answer: Answer, container: &str) -> Answer {
    answer
        .owned_by(Some(&[Owner::Deployment]))
        .naming("{container_command}", format!("docker unpause {container}"))
        .only_case(PAUSED, CASES)
}

/// Without a message at its queue this one may be anywhere.
fn waiting(story: &Story<'_>) -> Option<u32> {
    let mut infos = story.infos(story.queue()).rev();
    let waits = infos.find(|info| info.ready.unwrap_or(0) + info.unacked.unwrap_or(0) > 0);
    // The listing of a quorum queue is seconds late.
    let depths = story.depths_since(story.queue());
    let waits = waits.map(|info| info.n);
    waits.or_else(|| depths.last().filter(|depth| depth.ready > 0).map(|depth| depth.n))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Scene, WORKER};

    fn in_state(state: char) -> Scene {
        Scene::new()
            .depth("default", 0, 1)
            .submitted()
            .row("PENDING")
            .publish("default")
            .deliver(WORKER)
            .peer(WORKER, 101)
            .process(101, 100, "python dramatiq app", |process| process.state = state)
            .silence()
    }

    /// It was let go on, and nobody has looked since.
    #[test]
    fn one_that_has_written_since_is_a_near_miss() {
        let stopped = |then_ms: f64| {
            let scene = Scene::new()
                .depth("default", 0, 1)
                .at(-100.0)
                .process(101, 100, "python dramatiq app", |process| process.state = 'T')
                .submitted()
                .row("PENDING")
                .publish("default")
                .deliver(WORKER)
                .peer(WORKER, 101)
                .at(then_ms);
            scene.pushed("m-1").silence().answer(&CAUSE)
        };
        // Its last words may have been on their way.
        assert_eq!(stopped(500.0), "certain");
        assert_eq!(stopped(3000.0), "ruled out");
    }

    /// Two were handed out, and one is held: it need not be ours, which a quiet worker may have run.
    #[test]
    fn one_that_may_be_done_with_is_a_near_miss() {
        let stopped = |held: u64| {
            let scene = Scene::quiet(|scene| scene.totals("default", 0, 0, serde_json::json!({})));
            let scene = scene
                .deliver_as("other-2", WORKER, false)
                .process(101, 100, "python dramatiq app", |process| process.state = 'T')
                .totals("default", 0, held, serde_json::json!({}));
            scene.silence().answer(&CAUSE)
        };
        assert_eq!(stopped(2), "certain");
        assert_eq!(stopped(1), "likely");
    }

    /// Afterwards: those who consume are stopped, and their master is not.
    #[test]
    fn a_master_that_consumes_nothing_need_not_be_stopped() {
        let looked = |state: char| {
            let scene = Scene::new().given().worker_booted().row("PENDING");
            let scene = scene
                .process(100, 1, "python dramatiq app", |process| process.holds_log = true)
                .process(101, 100, "python dramatiq app", |process| process.state = state)
                .peer(WORKER, 101)
                .consumers(&[("default", WORKER, 4)])
                .totals("default", 0, 1, serde_json::json!({}));
            scene
                .end(crate::timeline::Ended::Looked)
                .without(Source::Firehose)
                .answer(&CAUSE)
        };
        assert_eq!(looked('T'), "likely");
        assert_eq!(looked('S'), "not applicable");
    }

    /// Paused before it has written anything: known by its command, or by its engine.
    #[test]
    fn a_container_that_is_paused_while_its_worker_boots() {
        let booting = |frozen: bool| {
            Scene::new()
                .depth("default", 0, 0)
                .submitted()
                .row("PENDING")
                .publish("default")
                .totals("default", 1, 0, serde_json::json!({}))
                .depth("default", 1, 0)
                .process(14602, 14575, "python dramatiq app", |process| {
                    process.is_configured = true;
                    process.frozen = frozen;
                })
        };
        assert_eq!(booting(true).silence().cause(), "likely worker-frozen");
        assert_ne!(booting(false).silence().cause(), "likely worker-frozen");
        let paused = booting(false).worker_container("c1", "paused", |_| {}).silence();
        assert_eq!(paused.cause(), "certain worker-frozen");
        let cause = paused.verdict().cause.expect("a cause");
        assert_eq!(cause.owner.first(), Some(&Owner::Deployment));
        let first = cause.remedies.first().expect("a remedy");
        assert!(first.contains("docker unpause shop-worker-1"), "{first}");
    }

    #[test]
    fn another_projects_worker_is_stopped() {
        let stopped = |vhost: &str| {
            Scene::new()
                .depth("default", 0, 0)
                .submitted()
                .row("PENDING")
                .publish("default")
                .totals("default", 1, 0, serde_json::json!({}))
                .depth("default", 1, 0)
                .process(14601, 14575, "python dramatiq app", |process| {
                    process.is_configured = true;
                    process.state = 'T';
                })
                // The child of a master has the connection.
                .process(14602, 14601, "python dramatiq app", |process| {
                    process.is_configured = true;
                    process.state = 'T';
                    process.sockets = vec![WORKER.into()];
                })
                .connections(&[(WORKER, vhost, "running")])
                .silence()
        };
        assert_eq!(stopped("/").cause(), "likely worker-frozen");
        assert_eq!(stopped("other").cause(), "likely no-consumer");
    }

    #[test]
    fn stopped_by_a_signal() {
        assert_eq!(in_state('T').cause(), "certain worker-frozen");
        assert_eq!(in_state('D').answer(&CAUSE), "likely");
    }

    #[test]
    fn frozen_by_its_control_group() {
        let frozen = |scene: Scene| {
            scene
                .process(101, 100, "python dramatiq app", |process| process.frozen = true)
                .silence()
        };
        let delivered = || {
            Scene::new()
                .depth("default", 0, 1)
                .submitted()
                .row("PENDING")
                .publish("default")
                .deliver(WORKER)
        };
        // Under cgroup v2 its state is that of a sleeper.
        assert_eq!(
            frozen(delivered().peer(WORKER, 101)).cause(),
            "certain worker-frozen"
        );
        assert_eq!(frozen(delivered()).answer(&CAUSE), "likely");
    }

    /// Docker refuses to run anything in it, and says why.
    #[test]
    fn the_way_into_its_container_says_that_it_is_paused() {
        const PAUSED: &str =
            "Error response from daemon: Container w is paused, unpause the container before exec";
        // Nothing says which process has it.
        let sent = || {
            Scene::new()
                .depth("default", 0, 1)
                .submitted()
                .row("PENDING")
                .publish("default")
                .deliver(WORKER)
        };
        let delivered = |said: &str| sent().place_says(said).silence();
        let scene = delivered(PAUSED);
        assert_eq!(scene.answer(&CAUSE), "likely");
        assert_eq!(scene.cause(), "likely worker-frozen");
        assert_eq!(scene.without(Source::Process).answer(&CAUSE), "cannot tell");
        for other in [
            "Error response from daemon: No such container: w",
            "ssh: connect to host w port 22: Connection refused",
            "permission denied while trying to connect to the Docker daemon socket",
        ] {
            assert_eq!(delivered(other).answer(&CAUSE), "not applicable", "{other}");
        }
        // It has gone on since.
        let reached = sent().place_says(PAUSED).see(
            Source::Process,
            crate::timeline::EventKind::PlaceReached {
                part: "worker".into(),
                processes: 3,
            },
        );
        assert_eq!(reached.silence().answer(&CAUSE), "not applicable");
        // Who has it is known, and runs.
        let another = sent()
            .peer(WORKER, 101)
            .process(101, 100, "python dramatiq app", |_| {})
            .place_says(PAUSED)
            .silence();
        assert_eq!(another.answer(&CAUSE), "ruled out");
        // There are two that may have it.
        let two = sent().depth("default", 0, 2).place_says(PAUSED).silence();
        assert_eq!(two.answer(&CAUSE), "possible");
    }

    /// Celery: the child that runs it is what counts, and the master is at the broker.
    #[test]
    fn the_child_that_runs_it_is_stopped() {
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OURS};
        let child = |scene: Scene, pid: i32, state: char| {
            scene.process(pid, 100, "python celery -A shop worker", |process| {
                process.state = state
            })
        };
        let with_children = |one: char, two: char| {
            CeleryScene::received().and(|scene| {
                let master = scene.process(100, 1, "python celery -A shop worker", |_| {});
                child(child(master, 111, one), 112, two).stack(
                    112,
                    "MainThread",
                    &[
                        ("fulfil", "/app/shop/tasks.py"),
                        (
                            "_install_stack_protection.<locals>.__protected_call__",
                            "/v/celery/app/trace.py",
                        ),
                        ("build_tracer.<locals>.trace_task", "/v/celery/app/trace.py"),
                        ("Worker.workloop", "/v/billiard/pool.py"),
                    ],
                )
            })
        };
        let by_its_word = |scene: CeleryScene| scene.answers(|answer| answer.active_in(OURS, 112));
        let stopped = by_its_word(with_children('S', 'T')).silence();
        assert_eq!(stopped.answer(&CAUSE), "certain");
        assert_eq!(stopped.cause(), "certain worker-frozen");
        assert!(stopped.summary().contains("pid 112"), "{}", stopped.summary());
        // Another child stands still, and this one runs.
        let other = by_its_word(with_children('T', 'S')).silence();
        assert_eq!(other.answer(&CAUSE), "ruled out");
        // The mirror of it: the master is stopped, and the child goes on.
        let goes_on = by_its_word(with_children('S', 'S').and(|scene| {
            scene.process(100, 1, "python celery -A shop worker", |process| {
                process.state = 'T'
            })
        }));
        assert_eq!(goes_on.silence().answer(&CAUSE), "ruled out");
        let idle = CeleryScene::received().and(|scene| {
            let scene = child(scene, 111, 'S');
            scene.process(100, 1, "python celery -A shop worker", |process| {
                process.state = 'T'
            })
        });
        assert_eq!(idle.silence().answer(&CAUSE), "certain");
        // The stack alone shows it as well.
        assert_eq!(with_children('S', 'T').silence().answer(&CAUSE), "certain");
        // It may be another task of the same function, which was taken as well: then the master decides.
        let two = with_children('S', 'S')
            .info("Task shop.tasks.fulfil[9f1a63d2-3a2e-4f0e-8d35-6c1c5a7c0c11] received")
            .and(|scene| {
                scene.process(100, 1, "python celery -A shop worker", |process| {
                    process.state = 'T'
                })
            });
        assert_eq!(two.silence().answer(&CAUSE), "certain");
        // Of what a worker has only reserved nobody is the runner.
        let idle = CeleryScene::received().and(|scene| child(child(scene, 111, 'T'), 112, 'S'));
        assert_eq!(idle.silence().answer(&CAUSE), "ruled out");
        let all = CeleryScene::received().and(|scene| child(child(scene, 111, 'T'), 112, 'T'));
        assert_eq!(all.silence().answer(&CAUSE), "likely");
    }

    /// Afterwards: all of it stands, and messages wait at its queue, or none is seen.
    #[test]
    fn a_stopped_worker_is_found_afterwards() {
        let stopped = |unacked| {
            Scene::new()
                .setup(|setup| setup.post_mortem = true)
                .worker_booted()
                .row("PENDING")
                .totals("default", 0, unacked, serde_json::json!({}))
                .process(101, 100, "python dramatiq app", |process| process.state = 'T')
                .process(100, 1, "python dramatiq app", |process| process.state = 'T')
                .silence()
        };
        assert_eq!(stopped(1).answer(&CAUSE), "likely");
        assert_eq!(stopped(0).answer(&CAUSE), "possible");
        let one_runs = stopped(1).process(100, 1, "python dramatiq app", |_| {});
        assert_eq!(one_runs.answer(&CAUSE), "not applicable");
    }

    /// Stopped before it declared its consumer: that nobody consumes is an effect.
    #[test]
    fn a_worker_stopped_early_is_why_nobody_consumes() {
        let silent = |state: char| {
            Scene::new()
                .worker_booted()
                .depth("default", 0, 0)
                .submitted()
                .row("PENDING")
                .publish("default")
                .depth("default", 1, 0)
                .totals("default", 1, 0, serde_json::json!({}))
                .process(101, 100, "python dramatiq app", |process| process.state = state)
                .process(100, 1, "python dramatiq app", |process| process.state = state)
                .silence()
        };
        assert_eq!(silent('T').cause(), "likely worker-frozen");
        assert_ne!(silent('S').cause(), "likely worker-frozen");
    }

    /// Paused while it booted: it has no consumer yet, and its process was never seen.
    #[test]
    fn its_engine_says_that_its_container_is_paused() {
        let container = |state: &str, consumers| {
            Scene::new()
                .worker_container("a1", state, |_| {})
                .depth("default", 0, consumers)
                .submitted()
                .row("PENDING")
                .publish("default")
                .depth("default", 1, consumers)
                .silence()
        };
        let paused = container("paused", 0);
        assert_eq!(paused.cause(), "certain worker-frozen");
        assert!(
            paused.summary().contains("docker unpause shop-worker-1"),
            "{}",
            paused.summary()
        );
        assert_eq!(paused.without(Source::Process).answer(&CAUSE), "certain");
        assert_eq!(container("running", 0).answer(&CAUSE), "not applicable");
        // There are others to take it.
        assert_eq!(container("paused", 2).answer(&CAUSE), "possible");
        // Of two replicas one runs.
        let beside = |container: &mut Container| {
            container.name = "shop-worker-2".into();
            container.number = Some(2);
        };
        let half = paused.worker_container("b2", "running", beside);
        assert_eq!(half.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn asleep_is_not_stopped() {
        assert_eq!(in_state('S').answer(&CAUSE), "ruled out");
        assert_eq!(
            in_state('T').without(Source::Process).answer(&CAUSE),
            "cannot tell"
        );
    }

    /// A limiter of CPU time, or a profiler, stops a process for moments.
    #[test]
    fn stopped_and_let_go_on_is_a_near_miss() {
        let state = |scene: Scene, state: char| {
            scene.process(101, 100, "python dramatiq -v app --threads 2", move |process| {
                process.state = state;
                process.sockets = vec![crate::diagnosis::testing::WORKER.to_owned()];
            })
        };
        let stopped = state(state(Scene::entered(), 'S'), 'T');
        assert_eq!(stopped.clone().silence().answer(&CAUSE), "certain");
        let limited = state(state(stopped, 'S'), 'T');
        assert_eq!(limited.silence().answer(&CAUSE), "possible");
    }

    /// The one that is stopped is named, and not the watched worker, which runs.
    #[test]
    fn the_remedy_names_the_one_that_is_stopped() {
        let scene = Scene::sent_to_another()
            .worker_process(&[WORKER])
            .process(900, 899, "python dramatiq other", |process| process.state = 'T')
            .peer(crate::diagnosis::testing::OTHER, 900)
            .silence();
        let Answer::Matched(matched) = check(&Story::new(&scene.timeline)) else {
            panic!("it is stopped");
        };
        assert_eq!(matched.values, [("{worker_pid}", "900".to_owned())]);
    }

    /// It had acknowledged the message, and was stopped later.
    #[test]
    fn one_that_was_done_with_it_is_a_near_miss() {
        let counted = |unacked| {
            let mut scene = in_state('T');
            scene.timeline.events.pop();
            let scene = scene
                .totals("default", 0, unacked, serde_json::json!({}))
                .silence();
            scene.answer(&CAUSE)
        };
        assert_eq!(counted(1), "certain");
        assert_eq!(counted(0), "ruled out");
        let stopped = |scene: Scene| {
            let scene = scene.process(101, 100, "python dramatiq app", |process| process.state = 'T');
            scene.silence().answer(&CAUSE)
        };
        assert_eq!(stopped(Scene::entered()), "certain");
        assert_eq!(stopped(Scene::entered().completed().acked("m-1")), "ruled out");
    }
}
