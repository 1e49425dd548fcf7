//! The worker's master lives, and the processes below it that should consume are dead.

use crate::diagnosis::evidence::{Fact, workers};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::{EventKind, Process, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "worker-dead-children",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::DatabaseHost],
    explains: &["no-consumer", "worker-still-booting", "worker-on-test-broker"],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Queue], &[Source::Process]],
    page: include_str!("worker_dead_children.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let Some(depth) = story.depths_since(story.queue()).last().copied() else {
        return Answer::cannot_tell(&[Source::Queue]);
    };
    let dead = dead_children(story);
    let Some((first, master)) = dead.first().copied() else {
        return Answer::NotApplicable;
    };
    if depth.consumers > 0 {
        return Answer::ruled_out(format!("{} consumers now", depth.consumers), [depth.n]);
    }
    if !story.closed() || story.consumes_others_only() {
        return Answer::NotApplicable;
    }
    let stopped = matches!(master.state, 'T' | 't');
    let how = match stopped {
        true => format!("is stopped (state {})", master.state),
        false => "has not noticed".into(),
    };
    let names = dead.iter().map(|(child, _)| child.pid.to_string());
    let (noun, verb) = match dead.len() {
        1 => ("process", "is"),
        _ => ("processes", "are"),
    };
    let text = format!(
        "nobody consumes `{}`: the worker's {noun} {} {verb} dead (state Z), and the master (pid {}) {how}",
        story.queue(),
        names.collect::<Vec<_>>().join(", "),
        master.pid,
    );
    let mut evidence: Vec<u32> = dead.iter().map(|(child, _)| child.n).take(4).collect();
    evidence.extend([master.n, depth.n]);
    // Another child that lives has a reason of its own not to consume; a master that runs may see
    // the end in a moment.
    let others = workers::live_workers(story)
        .iter()
        .any(|other| other.ppid == first.ppid && other.pid != master.pid);
    match stopped && !others {
        true => Answer::shown(text, evidence).given([Premise::SamePidSpace]),
        false => Answer::likely(text, evidence),
    }
}

/// Zombies below a living master of the watched worker that nobody has buried for a while, with the
/// master: a master that sees to its children does so within a second or two.
fn dead_children<'a>(story: &Story<'a>) -> Vec<(Fact<&'a Process>, Fact<&'a Process>)> {
    let noticed = story.worker_lines().iter().filter_map(|told| match told.mark {
        Some(LogEvent::ChildDied { pid, .. }) => Some(*pid),
        _ => None,
    });
    let noticed: Vec<i32> = noticed.collect();
    let end = last_look_ms(story);
    let dead = story.all_processes().filter(|process| {
        process.state == 'Z'
            && end - process.at_ms >= UNBURIED_MS
            && workers::is_worker(process)
            && story.is_watched(process.pid) == Some(true)
            && !story.runs_for_another_service(process.pid)
            && story.gone(process.pid).is_none()
            && !noticed.contains(&process.pid)
    });
    dead.filter_map(|process| {
        let master = story.process(process.ppid)?;
        let lives = story.gone(master.pid).is_none() && !matches!(master.state, 'Z' | 'X');
        lives.then_some((process, master))
    })
    .collect()
}

/// When processes were looked at the last time, at least: changes only are told. Stacks are read after
/// that, for 2 s at most.
fn last_look_ms(story: &Story<'_>) -> f64 {
    let mut last = f64::MIN;
    for event in &story.timeline.events {
        match event.kind {
            EventKind::Process(_) => last = last.max(event.at_ms),
            EventKind::Ended { .. } => last = last.max(event.at_ms - 2500.0),
            _ => {}
        }
    }
    last
}

/// Dramatiq's master looks at each of its processes for a second at most.
const UNBURIED_MS: f64 = 2000.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Scene, WORKER};

    const COMMAND: &str = "python dramatiq -v app --threads 2";

    fn with_master(state: char) -> Scene {
        Scene::new()
            .worker_booted()
            .process(100, 1, COMMAND, |process| process.state = state)
            .process(101, 100, COMMAND, |process| {
                process.state = 'Z';
                process.command = Vec::new();
            })
            .depth("default", 0, 0)
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 1, 0)
    }

    #[test]
    fn a_stopped_master_buries_nobody() {
        let scene = with_master('T').silence();
        assert_eq!(scene.cause(), "certain worker-dead-children");
        let summary = scene.summary();
        assert!(
            summary.contains("process 101 is dead") && summary.contains("is stopped"),
            "{summary}"
        );
        assert_eq!(scene.without(Source::Process).answer(&CAUSE), "cannot tell");
        assert_eq!(scene.without(Source::Queue).answer(&CAUSE), "cannot tell");
        assert_eq!(with_master('S').silence().cause(), "likely worker-dead-children");
    }

    #[test]
    fn a_death_that_was_just_seen_is_a_near_miss() {
        // It would be buried in a moment.
        let just_now = Scene::new()
            .worker_booted()
            .process(100, 1, COMMAND, |_| {})
            .depth("default", 0, 0)
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 1, 0)
            .at(9000.0)
            .process(101, 100, COMMAND, |process| process.state = 'Z')
            .silence();
        assert_eq!(just_now.answer(&CAUSE), "not applicable");
        let noticed = with_master('S')
            .line("[PID 100] [MainThread] [dramatiq.MainProcess] [CRITICAL] Worker with PID 101 exited unexpectedly (code -9). Shutting down...")
            .silence();
        assert_eq!(noticed.answer(&CAUSE), "not applicable");
        assert_eq!(
            with_master('T').gone(101).silence().answer(&CAUSE),
            "not applicable"
        );
    }

    #[test]
    fn a_living_consumer_or_a_dead_master_is_a_near_miss() {
        let consumed = with_master('T').depth("default", 0, 1).silence();
        assert_eq!(consumed.answer(&CAUSE), "ruled out");
        assert_eq!(
            with_master('T').gone(100).silence().answer(&CAUSE),
            "not applicable"
        );
        let living = Scene::new()
            .worker_booted()
            .process(100, 1, COMMAND, |process| process.state = 'T')
            .process(101, 100, COMMAND, |process| process.sockets = vec![WORKER.into()])
            .depth("default", 0, 0)
            .submitted()
            .publish("default")
            .depth("default", 1, 0)
            .silence();
        assert_eq!(living.answer(&CAUSE), "not applicable");
    }

    /// Another service that writes to the same log.
    #[test]
    fn a_neighbours_zombie_is_a_near_miss() {
        let runs = |module: &str| {
            let configured = vec!["dramatiq".into(), module.into()];
            let scene = with_master('T').setup(|setup| setup.worker_command = configured);
            scene.silence().answer(&CAUSE)
        };
        assert_eq!(runs("app"), "certain");
        assert_eq!(runs("mail"), "not applicable");
        // A script that becomes Dramatiq's program.
        let by_script = with_master('T').setup(|setup| {
            setup.worker_command = vec!["python".into(), "manage.py".into(), "rundramatiq".into()];
        });
        assert_eq!(by_script.silence().answer(&CAUSE), "certain");
    }

    /// Dramatiq writes of the whole worker, and one process of it is another's.
    #[test]
    fn a_zombie_of_another_program_is_a_near_miss() {
        let scene = with_master('S')
            .gone(101)
            .process(700, 699, "sh -c ls", |process| process.state = 'Z')
            .silence();
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }
}
