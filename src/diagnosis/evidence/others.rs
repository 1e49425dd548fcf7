//! Who consumes the task's queue beside the watched worker, and whether one of them had the message.
//!
//! A run that watches from the start sees the delivery itself. Afterwards there is only who consumes now,
//! what is left of the message, and that the watched worker's log does not name it.

use super::{Fact, Story, Transfer, workers};
use crate::diagnosis::{Answer, Stage};
use crate::framework::{LogEvent, Verbosity, contains_token};
use crate::timeline::environment::Environment;
use crate::timeline::{EventKind, Process, Source};

/// A worker process that consumes the queue and is not the watched one.
pub(in crate::diagnosis) struct Other<'a> {
    /// Who it is, and at which connection.
    pub evidence: [u32; 2],
    pub process: &'a Process,
}

impl Other<'_> {
    /// Its master is gone: it goes on with the code that it had.
    pub fn is_orphan(&self) -> bool {
        let parent = self.process.parent_command.as_deref().unwrap_or_default();
        self.process.ppid == 1 && !parent.is_empty() && !workers::is_worker_command(parent)
    }

    /// `pid 12 (`dramatiq app` in /srv/old)`.
    pub fn words(&self) -> String {
        words(self.process)
    }
}

pub(in crate::diagnosis) fn words(process: &Process) -> String {
    let place = process.cwd.as_deref().map(|cwd| format!(" in {cwd}"));
    format!(
        "pid {} (`{}`{})",
        process.pid,
        process.command.join(" "),
        place.unwrap_or_default()
    )
}

/// The module on its command line is none that the configured command names: the event that says so. A script or
/// a command like `manage.py rundramatiq` may name none, and start a worker by other words.
pub(in crate::diagnosis) fn runs_another_program(story: &Story<'_>, pid: i32) -> Option<u32> {
    let configured = &story.timeline.setup.worker_command;
    let program = |command: &[String]| {
        let name = |word: &String| word.rsplit('/').next().unwrap_or(word).to_owned();
        let shape = &story.framework().worker;
        command
            .iter()
            .take(3)
            .find(|word| shape.is_program(word))
            .map(name)
    };
    let process = story.process(pid)?;
    if program(configured).is_none() || program(configured) != program(&process.command) {
        return None;
    }
    let package = |module: &str| module.split(['.', ':']).next().unwrap_or_default().to_owned();
    story.find(|event| match &event.kind {
        EventKind::Environment(environment) if environment.pid == pid => {
            let module = package(&environment.code.as_ref()?.module);
            let is_named = configured.iter().any(|word| contains_token(word, &module));
            (!is_named).then_some(event.n)
        }
        _ => None,
    })
}

/// What comes of a run: by the hand of a worker that lives on with old code, or that has another checkout's, it may be
/// the effect of just that.
pub(in crate::diagnosis) const OF_ITS_RUN: &[&str] = &[
    "raised-before-entry",
    "blocked-before-entry",
    "actor-raised",
    "error-swallowed",
    "actor-still-running",
    "time-limit-exceeded",
    "row-never-written",
    "row-marked-failed",
    "worker-on-other-database",
    "worker-log-pipe-full",
];

/// Its code is not the watched worker's: by the folder from which it imports, or in which it was started.
pub(in crate::diagnosis) fn has_other_code(story: &Story<'_>, pid: i32) -> Option<Fact<String>> {
    let taker = story
        .facts(|kind| match kind {
            EventKind::Environment(environment) if environment.pid == pid => Some(&**environment),
            _ => None,
        })
        .next();
    let watched = story
        .workers_found_by_the_log()
        .find(|worker| worker.pid != pid && story.is_watched(worker.pid) != Some(false))?;
    let imports = |environment: &Environment| Some(environment.code.as_ref()?.directory.clone());
    let folders = taker.and_then(|taker| Some((imports(&taker)?, imports(&watched)?)));
    if let Some((its, ours)) = folders {
        let words = format!("; it imports its code from {its}");
        return (its != ours).then(|| watched.with(words));
    }
    let its = story.process(pid)?.cwd.clone()?;
    let ours = watched.cwd.clone()?;
    (its != ours).then(|| watched.with(format!("; it was started in {its}, the watched one in {ours}")))
}

/// Who consumes the queue, by the broker's list.
pub(in crate::diagnosis) struct QueueConsumers<'a> {
    pub listed: u32,
    pub others: Vec<Other<'a>>,
    /// The pids of the watched worker's own.
    pub own: Vec<i32>,
}

impl<'a> Story<'a> {
    /// Somebody was handed the message, and has run it; whose connection that is may be told in a moment.
    pub(in crate::diagnosis) fn awaits_the_taker(&self) -> bool {
        let taker = self.deliveries().last();
        self.sees(Source::Process)
            && self.reached(Stage::Entered).is_some()
            && taker.is_some_and(|passage| self.peer(passage.connection).is_none())
    }

    /// All of them; nothing where one cannot be told.
    pub(in crate::diagnosis) fn queue_consumers(&self) -> Option<QueueConsumers<'a>> {
        self.consumers_but(Vec::new())
    }

    /// The same, where the broker does not name the connection of one that has just come yet: by its own log the watched
    /// worker consumes the queue, and it lives.
    fn consumers_while_one_comes(&self) -> Option<QueueConsumers<'a>> {
        let mut lines = self.worker_lines().iter();
        let consumes = lines.any(|told| told.adds_consumer_of(self.queue()));
        let watched = workers::live_workers(self).into_iter().filter(|_| consumes);
        self.consumers_but(watched.map(|process| process.pid).collect())
    }

    /// Those whose connection is not named are these.
    fn consumers_but(&self, unnamed: Vec<i32>) -> Option<QueueConsumers<'a>> {
        let consumers = self.consumers()?;
        let mut others = Vec::new();
        let mut own = Vec::new();
        for consumer in consumers.iter().filter(|consumer| consumer.queue == self.queue()) {
            if consumer.connection.is_empty() && !unnamed.is_empty() {
                own.clone_from(&unnamed);
                continue;
            }
            let Fact { n, value: pid, .. } = self.peer(&consumer.connection)?;
            let process = self.process(pid)?;
            let watched = self
                .is_watched(pid)
                .or(runs_another_program(self, pid).map(|_| false))?;
            match watched {
                true => own.push(pid),
                false => others.push(Other {
                    evidence: [n, process.n],
                    process: process.value,
                }),
            }
        }
        Some(QueueConsumers {
            listed: consumers.n,
            others,
            own,
        })
    }
}

/// No delivery was seen. Afterwards one of these may have had the message, where the watched worker, which tells of
/// each, did not.
pub(in crate::diagnosis) fn without_a_delivery(
    story: &Story<'_>,
    is_it: impl Fn(&Other<'_>) -> bool,
) -> Answer {
    match (story.post_mortem(), story.sees(Source::Firehose)) {
        (true, _) => afterwards(story, is_it),
        (false, true) => Answer::NotApplicable,
        (false, false) => Answer::cannot_tell(&[Source::Firehose]),
    }
}

fn afterwards(story: &Story<'_>, is_it: impl Fn(&Other<'_>) -> bool) -> Answer {
    if let Some(told) = story.line(|mark| matches!(mark, LogEvent::Pushed { .. } | LogEvent::Received { .. }))
    {
        return Answer::ruled_out("the watched worker's log has it", [told.n]);
    }
    let Some(QueueConsumers { listed, others, own }) = story.consumers_while_one_comes() else {
        return Answer::NotApplicable;
    };
    let Some(other) = others.iter().find(|other| is_it(other)) else {
        return Answer::NotApplicable;
    };
    // Lines that name messages only say nothing of a task whose message is not known.
    let names_it = !story.message_ids.is_empty()
        || story.keeps_results()
        || story.framework().log.tells_at == Verbosity::Debug;
    let tells = story.sees(Source::WorkerLog) && story.debug_log() && names_it;
    // Where the watched worker consumes as well, its silence is what speaks for the other.
    if !own.is_empty() && !tells {
        return Answer::NotApplicable;
    }
    let queue = story.queue();
    let mut evidence = vec![listed];
    evidence.extend(other.evidence);
    let who = match (own.is_empty(), other.is_orphan()) {
        (true, _) => format!(
            "{} consumes `{queue}`, and the watched worker does not",
            other.words()
        ),
        (false, true) => format!(
            "{}, a worker whose master is gone, consumes `{queue}` as well, and the log of the watched one, which tells of each message, has nothing of this one",
            other.words()
        ),
        (false, false) => format!(
            "{} consumes `{queue}` as well, and the watched worker, whose log tells of each message, has not had this one",
            other.words()
        ),
    };
    let rejected = story.held().iter().find(|held| held.reason == Some("rejected"));
    if let Some(letter) = rejected {
        evidence.push(letter.passage.n);
        let text = format!("a consumer rejected the message: {who}");
        let were_there = own
            .iter()
            .chain([&other.process.pid])
            .all(|pid| was_there(story, *pid, &letter.passage));
        return match tells && were_there {
            true => Answer::likely(text, evidence),
            false => Answer::possible(text, evidence),
        };
    }
    // What is ready waits for anybody.
    match story.depths(queue).last() {
        Some(depth) if depth.ready == 0 => {
            evidence.push(depth.n);
            // It may be at work on it, or be done.
            Answer::possible(format!("nothing waits on `{queue}`; {who}"), evidence)
                .may_have_begun()
                .would_decide(&[Source::DeadLetters])
        }
        _ => Answer::NotApplicable,
    }
}

/// The process ran already when the message was sent.
fn was_there(story: &Story<'_>, pid: i32, passage: &Transfer<'_>) -> bool {
    let started = story.process(pid).and_then(|process| process.started_at_ms);
    let sent = passage.message.timestamp_ms;
    started.zip(sent).is_some_and(|(started, sent)| started <= sent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{OTHER, Scene, WORKER};
    use crate::timeline::environment::Code;

    /// Looked at afterwards: the watched worker and another one consume, and nothing waits.
    fn both(started_at_ms: i64) -> Scene {
        Scene::new()
            .given()
            .row("PENDING")
            .worker_booted()
            .process(101, 100, "python dramatiq -v app --threads 2", |process| {
                process.started_at_ms = Some(900_000);
            })
            .peer(WORKER, 101)
            .process(900, 899, "python dramatiq other", |process| {
                process.started_at_ms = Some(started_at_ms);
            })
            .peer(OTHER, 900)
            .consumers(&[("default", WORKER, 4), ("default", OTHER, 4)])
            .depth("default", 0, 2)
    }

    fn looked(scene: Scene) -> String {
        scene
            .end(crate::timeline::Ended::Looked)
            .without(Source::Firehose)
            .cause()
    }

    #[test]
    fn afterwards_the_other_consumer_may_have_had_it() {
        assert_eq!(looked(both(900_000)), "possible taken-by-other-worker");
        let rejected = |started| both(started).dead_letter("default.XQ", "rejected");
        assert_eq!(looked(rejected(900_000)), "likely taken-by-other-worker");
        // It came after the message.
        assert_eq!(looked(rejected(1_100_000)), "possible taken-by-other-worker");
    }

    #[test]
    fn what_waits_what_the_log_has_and_a_log_that_tells_nothing_are_near_misses() {
        assert_eq!(looked(both(900_000).depth("default", 1, 2)), "none");
        let had = both(900_000).debug(
            "dramatiq.worker.WorkerThread",
            "Received message act('task_1') with id 'm-1'.",
        );
        assert!(!looked(had).contains("taken-by"));
        let alone = both(900_000).consumers(&[("default", WORKER, 4)]);
        assert!(!looked(alone).contains("taken-by"));
        // Of one that has just come the broker does not name the connection yet: the watched worker, or a stranger.
        let unnamed = both(900_000).consumers(&[("default", "", 4), ("default", OTHER, 4)]);
        assert_eq!(looked(unnamed.clone()), "possible taken-by-other-worker");
        assert!(!looked(unnamed.without(Source::WorkerLog)).contains("taken-by"));
        let quiet = Scene::new()
            .given()
            .row("PENDING")
            .info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.")
            .worker_process(&[])
            .peer(WORKER, 101)
            .other_worker()
            .consumers(&[("default", WORKER, 4), ("default", OTHER, 4)])
            .depth("default", 0, 2);
        assert!(!looked(quiet).contains("taken-by"));
    }

    #[test]
    fn of_an_orphan_it_is_said_that_it_is_one() {
        let orphan = both(900_000)
            .process(900, 1, "python dramatiq app", |process| {
                process.started_at_ms = Some(900_000);
            })
            .dead_letter("default.XQ", "rejected");
        assert_eq!(looked(orphan), "likely taken-by-orphaned-worker");
    }

    #[test]
    fn where_no_log_says_who_is_watched_the_configured_command_does() {
        let scene = |command: &[&str], module: &str| {
            let mut scene = Scene::new().depth("default", 0, 1).submitted().row("PENDING");
            scene.timeline.setup.worker_command = command.iter().map(ToString::to_string).collect();
            let environment = Environment {
                pid: 900,
                code: Some(Code {
                    module: module.into(),
                    ..Code::default()
                }),
                ..Environment::default()
            };
            scene
                .other_worker()
                .see(Source::Process, EventKind::Environment(Box::new(environment)))
                .publish("default")
                .deliver(OTHER)
                .silence()
                .without(Source::WorkerLog)
        };
        let taken = |command: &[&str], module| scene(command, module).cause();
        let ours = ["dramatiq", "app.tasks"];
        assert_eq!(taken(&ours, "old.jobs"), "likely taken-by-other-worker");
        assert!(!taken(&ours, "app.tasks").contains("taken-by-other-worker"));
        assert!(!taken(&ours, "app").contains("taken-by-other-worker"));
        // What these start is not said by their words.
        for command in [
            &["python", "manage.py", "rundramatiq"][..],
            &["./run-worker.sh"],
            &[],
        ] {
            let cause = taken(command, "django_dramatiq.setup");
            assert!(!cause.contains("taken-by-other-worker"), "{command:?}: {cause}");
        }
    }
}
