//! Which processes are the API, and which the worker.

use std::collections::BTreeSet;

use super::difference::Side;
use crate::diagnosis::Story;
use crate::timeline::EventKind;
use crate::timeline::environment::{Code, Found};

/// The parties of a run, each with its processes, the representative first.
pub(super) fn parties(story: &Story<'_>) -> [(Side, Vec<i32>); 2] {
    [(Side::Api, api(story)), (Side::Worker, worker(story))]
}

/// Pids that were found in this way.
fn found(story: &Story<'_>, ways: &[Found]) -> BTreeSet<i32> {
    story
        .timeline
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Environment(environment) => Some((environment.pid, environment.found.as_slice())),
            EventKind::SameEnvironment { pid, found, .. } => Some((*pid, found.as_slice())),
            _ => None,
        })
        .filter(|(_, found)| found.iter().any(|way| ways.contains(way)))
        .map(|(pid, _)| pid)
        .collect()
}

/// What taskdiag started as this part.
fn started(story: &Story<'_>, wanted: &str) -> Option<i32> {
    story.timeline.events.iter().find_map(|event| match &event.kind {
        EventKind::Started { part, pid, .. } if part == wanted => Some(*pid),
        _ => None,
    })
}

/// The processes that serve the API.
fn api(story: &Story<'_>) -> Vec<i32> {
    let mut pids = found(story, &[Found::ApiPort]);
    pids.extend(started(story, "api"));
    pids.extend(story.api_processes().iter().map(|process| process.pid));
    pids.into_iter().collect()
}

/// Many projects start their worker by the same words: one in a container is not taken for that of an API
/// outside of any, and the other way round, by its command alone.
fn is_on_the_same_side(story: &Story<'_>, pid: i32, api: &BTreeSet<i32>) -> bool {
    let contained = |pid: i32| Some(story.process(pid)?.container.is_some());
    let mut theirs = api.iter().filter_map(|pid| contained(*pid)).peekable();
    let own = contained(pid);
    own.is_none() || theirs.peek().is_none() || theirs.any(|api| Some(api) == own)
}

/// It imports the API's package from another folder: a second checkout, or another installation of it.
fn is_another_checkout(story: &Story<'_>, pid: i32, api: &BTreeSet<i32>) -> bool {
    let code = |pid: i32| story.environment(pid)?.value.code.as_ref();
    let root = |code: &Code| code.module.split(['.', ':']).next().map(str::to_owned);
    code(pid).is_some_and(|own| {
        let mut theirs = api.iter().filter_map(|pid| code(*pid)).peekable();
        theirs.peek().is_some() && theirs.all(|api| root(api) == root(own) && api.directory != own.directory)
    })
}

/// The watched worker's processes; where nothing says which those are, whoever took the task, else
/// whoever runs the configured command, else whoever consumes the queue.
fn worker(story: &Story<'_>) -> Vec<i32> {
    let api: BTreeSet<i32> = api(story).into_iter().collect();
    let peers = |connections: Vec<&str>| -> BTreeSet<i32> {
        connections
            .into_iter()
            .filter_map(|connection| story.peer(connection))
            .map(|peer| peer.value)
            .collect()
    };
    let takers = peers(
        story
            .deliveries()
            .filter(|passage| passage.queue == story.queue())
            .map(|passage| passage.connection)
            .collect(),
    );
    let mut configured = found(story, &[Found::WorkerCommand]);
    configured
        .retain(|pid| is_on_the_same_side(story, *pid, &api) && !is_another_checkout(story, *pid, &api));
    let mut watched = found(story, &[Found::WorkerLog]);
    watched.retain(|pid| {
        let process = story.process(*pid);
        process.is_none_or(|process| !story.is_another_services(&process))
    });
    watched.extend(started(story, "worker"));
    let runs_a_worker = |pid: &i32| {
        story.environment(*pid).is_some_and(|environment| {
            let mut words = environment.command.iter().take(3);
            words.any(|word| story.framework().worker.is_named_in(word))
        })
    };
    // The pids in a container's log count from 1, and are other processes here.
    watched.extend(
        found(story, &[Found::LogLine])
            .into_iter()
            .filter(|pid| takers.contains(pid) || configured.contains(pid) || runs_a_worker(pid)),
    );
    // Whoever carries a worker's lines to the log has it open, too.
    if watched.iter().any(runs_a_worker) {
        watched.retain(|pid| runs_a_worker(pid) || takers.contains(pid));
    }
    let consumers = peers(
        story
            .consumers()
            .map_or(&[][..], |consumers| consumers.value)
            .iter()
            .filter(|consumer| consumer.queue == story.queue())
            .map(|consumer| consumer.connection.as_str())
            .collect(),
    );
    // Where a worker was started, one beside it is another party's: whatever it runs in says nothing of
    // the one that was to be tried.
    let ended = story
        .started("worker")
        .is_some_and(|launch| launch.ended.is_some_and(|end| end.exit != 0));
    let is_ours = |pid: &i32| story.is_of_started("worker", *pid);
    let any_ours = [&watched, &takers, &configured, &consumers]
        .into_iter()
        .flatten()
        .any(|pid| is_ours(pid) == Some(true));
    let may_be = |pids: BTreeSet<i32>| -> BTreeSet<i32> {
        let strangers = ended || any_ours;
        pids.into_iter()
            .filter(|pid| !strangers || is_ours(pid) != Some(false))
            .collect()
    };
    [watched, takers, configured, consumers]
        .map(may_be)
        .into_iter()
        .map(|pids| pids.difference(&api).copied().collect::<Vec<i32>>())
        .find(|pids| pids.iter().any(|pid| story.environment(*pid).is_some()))
        .unwrap_or_default()
}
