//! More workers consume the queue than the watched one.

use crate::diagnosis::evidence::{Fact, containers, others, workers};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Story};
use std::collections::BTreeSet;

use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "several-workers",
    keeps_from: &[],
    owner: &[Owner::Deployment],
    needs: &[&[Source::Management]],
    page: include_str!("several_workers.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let Some(consumers) = story.consumers() else {
        return Answer::NotApplicable;
    };
    let mut strangers = Vec::new();
    let mut evidence = vec![consumers.n];
    let mut own = 0;
    for consumer in consumers
        .iter()
        .filter(|consumer| consumer.queue == story.queue())
    {
        let Some(Fact { n, value: pid, .. }) = story.peer(&consumer.connection) else {
            return Answer::NotApplicable;
        };
        // The list is older than its end.
        if story.gone(pid).is_some() {
            return Answer::NotApplicable;
        }
        evidence.push(n);
        match story.is_watched(pid) {
            Some(true) => own += 1,
            Some(false) => match story.container_at(&consumer.connection) {
                Some(container) => {
                    evidence.push(container.n);
                    strangers.push(format!("pid {pid} in {}", containers::words(&container)));
                }
                None => strangers.push(match story.process(pid) {
                    Some(process) => others::words(&process),
                    None => format!("pid {pid}"),
                }),
            },
            None => return Answer::NotApplicable,
        }
    }
    if strangers.is_empty() || own == 0 {
        return by_count(story);
    }
    Answer::shown(
        format!(
            "besides the watched worker, `{}` is consumed by {}",
            story.queue(),
            strangers.join(", ")
        ),
        evidence,
    )
    .given([Premise::SamePidSpace])
}

/// The list of consumers is seconds late, the passive declare is not: a worker process has one
/// consumer a queue, and says so at DEBUG when it adds it.
fn by_count(story: &Story<'_>) -> Answer {
    let own: BTreeSet<i32> = story
        .worker_lines()
        .iter()
        .filter(|told| told.adds_consumer_of(story.queue()))
        .filter_map(|told| told.pid)
        .collect();
    // The log may have been read from its middle on, and have the words of some of its processes only.
    let masters: BTreeSet<i32> = own
        .iter()
        .filter_map(|pid| story.process(*pid))
        .map(|process| process.ppid)
        .filter(|ppid| *ppid > 1)
        .collect();
    if story.post_mortem() && masters.is_empty() {
        return Answer::NotApplicable;
    }
    let siblings = story
        .all_processes()
        .filter(|process| masters.contains(&process.ppid) && workers::is_worker(process))
        .map(|process| process.pid);
    let own: BTreeSet<i32> = own.iter().copied().chain(siblings).collect();
    match story.depths(story.queue()).last() {
        Some(depth) if !own.is_empty() && depth.consumers > own.len() as u64 => Answer::likely(
            format!(
                "`{}` has {} consumers, the watched worker has {}",
                story.queue(),
                depth.consumers,
                own.len()
            ),
            [depth.n],
        ),
        _ => Answer::NotApplicable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{OTHER, Scene, WORKER};

    fn beside() -> Scene {
        Scene::new()
            .worker_booted()
            .peer(WORKER, 101)
            .other_worker()
            .depth("default", 0, 2)
            .consumers(&[("default", WORKER, 16), ("default", OTHER, 16)])
    }

    #[test]
    fn a_second_worker_consumes() {
        assert_eq!(beside().answer(&CAUSE), "certain");
        assert_eq!(beside().gone(900).answer(&CAUSE), "not applicable");
    }

    /// Two processes of one master, of which the part of the log that was read names one.
    #[test]
    fn a_sibling_whose_words_were_not_read_is_a_near_miss() {
        let booted = |ppid: i32| {
            Scene::new()
                .worker_booted()
                .process(101, 100, "/usr/bin/python -m dramatiq app", |_| {})
                .process(102, ppid, "/usr/bin/python -m dramatiq app", |_| {})
                .depth("default", 0, 2)
                .consumers(&[])
        };
        assert_eq!(booted(100).answer(&CAUSE), "not applicable");
        assert_eq!(booted(200).answer(&CAUSE), "likely");
    }

    #[test]
    fn the_worker_alone_is_a_near_miss() {
        let scene = Scene::new()
            .worker_booted()
            .peer(WORKER, 101)
            .depth("default", 0, 1)
            .consumers(&[("default", WORKER, 16)]);
        assert_eq!(scene.answer(&CAUSE), "not applicable");
        assert_eq!(beside().without(Source::Management).answer(&CAUSE), "cannot tell");
    }
}
