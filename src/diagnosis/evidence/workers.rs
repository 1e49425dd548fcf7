//! Worker processes: which there are, which is watched, what they run and how they ended.

use std::collections::BTreeSet;

use super::containers::runs_a_worker;
use super::programs::{self, may_be_a_worker};
pub(in crate::diagnosis) use super::programs::{is_worker, is_worker_command};
use super::{End, Fact, Launch, Story, WorkerLine, connections};
use crate::diagnosis::Answer;
use crate::diagnosis::premises::{Premise, State};
use crate::framework::{self, Delays, LogEvent, WorkerLife};
use crate::text;
use crate::timeline::{Container, Event, EventKind, Level, PlaceState, Process, Source, exit_words};
use crate::units;

/// A test switch that is on in the process's environment.
pub(in crate::diagnosis) fn test_switch<'p>(
    story: &Story<'_>,
    process: &'p Process,
) -> Option<(&'p str, &'p str)> {
    const SWITCHES: &[&str] = &["UNIT_TESTS", "UNIT_TESTING", "TESTING", "PYTEST_CURRENT_TEST"];
    let on = |value: &str| !matches!(value.to_lowercase().as_str(), "" | "0" | "false" | "no" | "off");
    let own = story.framework().worker.test_switches;
    own.iter()
        .chain(SWITCHES)
        .find_map(|name| process.env.get_key_value(*name).filter(|(_, value)| on(value)))
        .or_else(|| {
            ["ENV", "APP_ENV", "ENVIRONMENT"].iter().find_map(|name| {
                process
                    .env
                    .get_key_value(*name)
                    .filter(|(_, value)| matches!(value.to_lowercase().as_str(), "test" | "testing"))
            })
        })
        .or_else(|| test_url(story, process))
        .map(|(name, value)| (name.as_str(), value.as_str()))
}

/// A variable that names a broker in the process's own memory.
pub(in crate::diagnosis) fn test_url<'p>(
    story: &Story<'_>,
    process: &'p Process,
) -> Option<(&'p String, &'p String)> {
    let urls = story.framework().worker.test_urls;
    process
        .env
        .iter()
        .find(|(_, value)| urls.contains(&value.as_str()))
}

/// By what it is itself: its command, or its stack. What its connections do, a relay's do as well.
pub(in crate::diagnosis) fn is_shown_a_worker(story: &Story<'_>, process: &Process) -> bool {
    let worker = story.framework().stack.worker;
    is_worker(process) || story.stacks().find(Some(process.pid), worker).is_some()
}

/// A worker by what it does: its stack is a worker's, or it consumes the delay queue, which only a
/// worker does, or a relay before one. A worker started by a script of the application is known by nothing else.
pub(in crate::diagnosis) fn acts_as_worker(story: &Story<'_>, process: &Process) -> bool {
    let worker = story.framework().stack.worker;
    let by_stack = story.stacks().find(Some(process.pid), worker).is_some();
    let delay = story.delay_queue();
    let by_queue = story.consumers().is_some_and(|consumers| {
        consumers.iter().any(|consumer| {
            delay.as_ref() == Some(&consumer.queue)
                && connections::is_socket_of(process, &consumer.connection)
        })
    });
    by_stack || by_queue
}

/// A worker of this machine is at the client's end of the connection.
pub(in crate::diagnosis) fn is_a_workers(story: &Story<'_>, connection: &str) -> bool {
    let by_peer = story.peer(connection).map(|peer| peer.value);
    story.all_processes().any(|process| {
        let holds = by_peer == Some(process.pid) || connections::is_socket_of(&process, connection);
        holds && (is_worker(&process) || acts_as_worker(story, &process))
    })
}

/// Client libraries that task workers use.
pub(in crate::diagnosis) fn is_worker_product(product: &str) -> bool {
    product.contains("Pika") || product.contains("py-amqp")
}

/// Live processes of the watched worker.
pub(in crate::diagnosis) fn live_workers<'a>(story: &Story<'a>) -> Vec<Fact<&'a Process>> {
    let mut found: Vec<Fact<&'a Process>> = Vec::new();
    let in_its_containers = story.worker_containers().into_iter();
    let in_its_containers = in_its_containers.flat_map(|container| story.processes_in(&container));
    let in_its_containers = in_its_containers.map(|process| process.pid);
    let by_its_log = story.log_pids().into_iter().chain(story.log_holders());
    for pid in by_its_log.chain(in_its_containers) {
        if found.iter().any(|process| process.pid == pid) {
            continue;
        }
        // An old log's pid may be another program's by now.
        if let Some(process) = story.process(pid)
            && story.gone(pid).is_none()
            && process.lives()
            && may_be_a_worker(story, &process)
        {
            found.push(process);
        }
    }
    // Children to whom a master hands messages have no connection of their own, and need none.
    if story.master_takes() {
        let pids: Vec<i32> = found.iter().map(|process| process.pid).collect();
        found.retain(|process| !pids.contains(&process.ppid));
    }
    found
}

/// A started program's end in words, if it has ended: `ended with exit code 2, 0.9 s after its start`.
pub(in crate::diagnosis) fn end_of(launch: &Launch) -> Option<(End, String)> {
    let end = launch.ended?;
    let text = format!(
        "ended with {}, {} after its start",
        exit_words(end.exit),
        units::span(end.after_ms)
    );
    Some((end, text))
}

/// An answer that blames the watched worker: sure where something shows that it lives, and likely otherwise, as a worker
/// that is dead by now is not what keeps the task.
pub(in crate::diagnosis) fn alive_or_likely(
    story: &Story<'_>,
    text: String,
    mut evidence: Vec<u32>,
) -> Answer {
    match watched_is_alive(story).filter(|n| !story.shows_another_service(*n)) {
        Some(n) => {
            evidence.push(n);
            // A line of the log says that it lives whatever its pid means here.
            let by_pid = story
                .timeline
                .event(n)
                .is_some_and(|event| event.source == Source::Process);
            // It may be another process, and shows no more than none does.
            if by_pid && !matches!(story.state(&Premise::SamePidSpace), State::Proved(_)) {
                return Answer::likely(text, evidence).would_decide(&[Source::Process]);
            }
            Answer::shown(text, evidence)
                .given([Premise::WriterIsTheWorker(n)])
                .lasting_if(is_the_one_we_started(story))
        }
        None => Answer::likely(text, evidence).would_decide(&[Source::Process]),
    }
}

/// The worker was started by us and lives: no other is on its way.
pub(in crate::diagnosis) fn is_the_one_we_started(story: &Story<'_>) -> bool {
    story
        .started("worker")
        .is_some_and(|launch| launch.ended.is_none())
}

/// What a log ends in that gives a reason: the exception of its last traceback, its last line at ERROR
/// or above, or else its last line.
pub(in crate::diagnosis) fn last_words(story: &Story<'_>, source: Source) -> Option<Fact<String>> {
    let lines = || {
        let events = story.timeline.events.iter().rev();
        events.filter_map(|event| match &event.kind {
            EventKind::Line(line) if event.source == source && !line.before => Some(Fact::of(event, line)),
            _ => None,
        })
    };
    let line = lines()
        .find(|line| line.traceback.is_some() || line.level >= Some(Level::Error))
        .or_else(|| lines().next())?;
    let exception = line
        .traceback
        .as_deref()
        .and_then(framework::exception_in)
        .filter(|text| !text.is_empty());
    Some(line.with(text::excerpt(&exception.unwrap_or_else(|| line.text.clone()))))
}

/// Something of the watched worker is alive: a process of its log's, or a line during the run.
pub(in crate::diagnosis) fn watched_is_alive(story: &Story<'_>) -> Option<u32> {
    let ended = story
        .started("worker")
        .is_some_and(|launch| launch.ended.is_some())
        || runs_something_else(story).is_some()
        || story.place_says("worker", PlaceState::NotRunning).is_some();
    let living = live_workers(story);
    let is_ours = |worker: &&Fact<&Process>| !programs::leaves_out_our_queue(story, worker);
    let ours = living.iter().find(is_ours);
    let any = living
        .first()
        .filter(|_| !programs::is_configured_for_ours(story));
    ours.or(any).map(|worker| worker.n).or_else(|| {
        // Its lines tell of a life that is over.
        if ended {
            return None;
        }
        // Other services may share the log.
        let streams = story.worker_streams();
        let is_shared = story.is_log_of_several();
        let mut holders = story.log_holders().into_iter();
        let has_a_server = holders.any(|pid| {
            let process = story.process(pid);
            process.is_some_and(|process| programs::is_server(story, &process))
        });
        let is_its = |told: &WorkerLine<'_>| match told.line.stream.as_deref() {
            stream if is_shared => stream.is_some_and(|stream| streams.contains(stream)),
            // The API writes into it as well: what the framework itself says is the worker's.
            _ => !has_a_server || told.mark.is_some(),
        };
        let stops =
            |told: &WorkerLine<'_>| matches!(told.mark, Some(LogEvent::Stopping | LogEvent::ShutDown));
        story
            .worker_lines()
            .iter()
            .rev()
            .filter(|told| !told.line.before && is_its(told))
            // What it wrote before it was told to stop is no sign of life.
            .take_while(|told| !(story.master_takes() && stops(told)))
            .find(|told| {
                told.worker_life() != Some(WorkerLife::Ending)
                    && !matches!(told.mark, Some(LogEvent::ImportFailed))
            })
            // What nothing but the interpreter prints is a program's end, and no life.
            .filter(|told| !is_bare_traceback(told) && !container_ended_after(story, told.at_ms))
            .map(|told| told.n)
            .or_else(|| story.lives_somewhere().or_else(|| story.lives_in_its_place()))
            // Where nothing of it can be seen, its container speaks for the command that it was started with.
            .or_else(|| {
                let container = story.running_worker_container()?;
                let unseen = story.processes_in(&container).is_empty();
                (unseen && runs_a_worker(&container)).then_some(container.n)
            })
    })
}

/// Of each of the watched worker's containers the main process was seen, and nothing in them is a worker.
pub(in crate::diagnosis) fn runs_something_else<'a>(
    story: &Story<'a>,
) -> Option<(Fact<&'a Container>, Vec<Fact<&'a Process>>)> {
    let container = story.running_worker_container()?;
    let containers = story.worker_containers().into_iter();
    let inside: Vec<(&Container, Vec<Fact<&Process>>)> = containers
        .map(|container| (container.value, story.processes_in(&container)))
        .collect();
    let is_seen = |(container, processes): &(&Container, Vec<Fact<&Process>>)| {
        let mut processes = processes.iter();
        container.pid.is_none() || processes.any(|process| Some(process.pid) == container.pid)
    };
    let seen = inside.iter().all(is_seen);
    let processes: Vec<Fact<&Process>> = inside.into_iter().flat_map(|(_, inside)| inside).collect();
    let is_none = processes.iter().all(|process| !may_be_a_worker(story, process));
    (seen && is_none && !processes.is_empty()).then_some((container, processes))
}

/// An exception that nobody caught.
fn is_bare_traceback(told: &WorkerLine<'_>) -> bool {
    told.mark.is_none() && told.line.logger.is_none() && told.line.traceback.is_some()
}

/// The worker's container ended after that, as its engine or the log's own command says.
fn container_ended_after(story: &Story<'_>, at_ms: f64) -> bool {
    let own: Vec<&str> = story
        .worker_containers()
        .iter()
        .map(|container| container.value.name.as_str())
        .collect();
    story.timeline.events.iter().any(|event| match &event.kind {
        EventKind::ContainerEvent {
            container, action, ..
        } if action == "die" => {
            let is_ours = event.source == Source::WorkerLog || own.contains(&container.as_str());
            is_ours && event.at_ms >= at_ms
        }
        _ => false,
    })
}

/// What else the watched worker has received and not settled: the actors, by the lines that tell of it.
pub(in crate::diagnosis) fn running_others<'a>(story: &Story<'a>) -> Vec<Fact<&'a str>> {
    running_before(story, u32::MAX)
}

/// The same, as it was before this event.
pub(in crate::diagnosis) fn running_before<'a>(story: &Story<'a>, n: u32) -> Vec<Fact<&'a str>> {
    // Where events were left out, a settling may be among them.
    if story
        .timeline
        .events
        .iter()
        .any(|event| matches!(event.kind, EventKind::Missed { .. }))
    {
        return Vec::new();
    }
    // Unless its lines do, nothing says which message a run that is over was about.
    let early = !story.acknowledges_after_the_run();
    if early && story.worker_lines().iter().all(|told| told.subject.is_none()) {
        return Vec::new();
    }
    let lives = |line: u32| {
        let told = story.worker_lines().iter().find(|told| told.n == line);
        let process = told.and_then(|told| story.process(told.pid?));
        process.is_some_and(|process| process.lives())
    };
    let mut running: Vec<(&str, Fact<&str>)> = Vec::new();
    for told in story.lines_of_our_queues().iter().filter(|told| told.n < n) {
        // One that was handed out again, or whose line was written twice, is one.
        let mut begins = |id, actor| {
            running.retain(|(other, _)| *other != id);
            running.push((id, Fact::new(told.n, told.at_ms, actor)));
        };
        match told.mark {
            Some(LogEvent::Received { id, actor }) if !story.is_my_message(id) => begins(id, actor),
            // Where no line says when it begins, it does so in its turn.
            Some(LogEvent::Pushed { id, delay: false }) if early && !story.is_my_message(id) => {
                begins(id, told.subject.map_or("a task", |subject| subject.task));
            }
            // Which message died with a child is not said.
            Some(LogEvent::ChildDied { .. }) if early => running.clear(),
            // Another worker that writes to the same log ends nothing of one that lives.
            Some(LogEvent::ShutDown | LogEvent::BootingUp)
                if told.pid.is_some() || !story.one_lives_since_before(told) =>
            {
                running.retain(|(_, begun)| lives(begun.n));
            }
            Some(_) if story.ends_attempt(told) => {
                running.retain(|(other, _)| Some(*other) != told.message_id());
            }
            _ => {}
        }
    }
    let waiting = wait_for_their_time(story, n);
    running.retain(|(id, _)| !waiting.contains(id));
    running.into_iter().map(|(_, actor)| actor).collect()
}

/// Messages that a worker holds until their time, which has not come before this event.
fn wait_for_their_time<'a>(story: &Story<'a>, n: u32) -> BTreeSet<&'a str> {
    if story.framework().delays != Delays::InWorker {
        return BTreeSet::new();
    }
    let events = || story.timeline.events.iter();
    let at = events().take_while(|event| event.n < n).last();
    let now = story.timeline.zero_ms() + at.map_or(0.0, |event| event.at_ms);
    let eta = |event: &'a Event| match &event.kind {
        EventKind::Publish { message, .. } | EventKind::Deliver { message, .. } => {
            let waits = message.eta_ms.is_some_and(|eta| eta as f64 > now);
            message.message_id.as_deref().filter(|_| waits)
        }
        _ => None,
    };
    // By the worker's own word, too: afterwards no message was seen.
    let kept = super::control::answers(story).flat_map(|answer| answer.value.scheduled.iter().flatten());
    let kept = kept.map(|task| task.id.as_str());
    story.timeline.events.iter().filter_map(eta).chain(kept).collect()
}

/// The log has shown the framework's call of an actor: its absence says that there was none. The
/// line is the application's logger's, which may be quieter than the framework's.
pub(in crate::diagnosis) fn shows_calls(story: &Story<'_>) -> bool {
    story
        .worker_lines()
        .iter()
        .any(|told| matches!(told.mark, Some(LogEvent::Called)))
}

/// How many worker threads the process has, by its command line: 8 unless told otherwise.
pub(in crate::diagnosis) fn threads_of(story: &Story<'_>, pid: i32) -> Option<Fact<usize>> {
    let process = story.process(pid)?;
    let command = if is_worker_command(&process.command) {
        &process.command
    } else {
        process
            .parent_command
            .as_ref()
            .filter(|command| is_worker_command(command))?
    };
    let given = command.iter().enumerate().find_map(|(at, word)| {
        let next = || command.get(at + 1).map(String::as_str);
        match word.as_str() {
            "-t" | "--threads" => next(),
            word => word.strip_prefix("--threads=").or_else(|| {
                word.strip_prefix("-t")
                    .filter(|rest| rest.chars().all(|c| c.is_ascii_digit()))
            }),
        }
    });
    Some(process.with(match given {
        Some(given) => given.parse().ok()?,
        None => 8,
    }))
}
