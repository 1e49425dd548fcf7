//! The worker runs code from before its file was changed: what the file declares now would have done.

use super::APPLIES_TO;
use crate::diagnosis::evidence::{control, workers};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::LogEvent;
use crate::timeline::environment::{ChangedFile, DeclaredTask, Environment, Found};
use crate::timeline::{EventKind, Process, Source};
use crate::units;

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "stale-code",
    keeps_from: &[Stage::Received, Stage::Entered],
    owner: &[Owner::Deployment],
    explains: &["unknown-actor", "bad-arguments"],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog], &[Source::Process]],
    applies_to: APPLIES_TO,
    page: include_str!("stale_code.md"),
    check,
    ..Cause::DEFAULT
};

/// What the worker complained of.
enum Complaint<'a> {
    Unknown(&'a str),
    /// The task by its name, the function that did not fit, and the error.
    Arguments(String, String, String),
}

fn check(story: &Story<'_>) -> Answer {
    let refused = story.line(|mark| matches!(mark, LogEvent::UndefinedActor { .. }));
    let bad_call = story.raised().iter().find_map(|raised| {
        let trace = raised.trace.as_ref()?;
        let called = trace.arity_error_of()?;
        let function = called.rsplit('.').next().unwrap_or(called).to_owned();
        trace.is_bad_call(&raised.actor).then(|| {
            (
                raised.n,
                Complaint::Arguments(raised.actor.clone(), function, trace.exception.clone()),
            )
        })
    });
    let unknown = refused.and_then(|told| match told.mark {
        Some(LogEvent::UndefinedActor { actor }) => Some((told.n, Complaint::Unknown(actor))),
        _ => None,
    });
    let Some((n, complaint)) = unknown.or(bad_call) else {
        return Answer::NotApplicable;
    };
    let Some(worker) = Loaded::by_the_worker(story) else {
        return Answer::NotApplicable;
    };
    match complaint {
        Complaint::Unknown(name) => unknown_task(story, n, name, &worker),
        Complaint::Arguments(name, function, error) => bad_arguments(n, (&name, &function), &error, &worker),
    }
}

/// What the watched worker has loaded, and what has changed since.
struct Loaded<'a> {
    pid: i32,
    evidence: Vec<u32>,
    environment: &'a Environment,
    /// A run that is over soon may not have seen it.
    started_at_ms: Option<i64>,
}

impl<'a> Loaded<'a> {
    /// `None`: it is not known which process that is, or what it runs in.
    fn by_the_worker(story: &Story<'a>) -> Option<Self> {
        let took = story
            .deliveries()
            .last()
            .and_then(|passage| story.peer(passage.connection))
            .filter(|peer| story.is_watched(peer.value) == Some(true))
            .and_then(|peer| story.process(peer.value));
        let live = workers::live_workers(story);
        // Its children run what their master had loaded.
        let is_child = |process: &Process| live.iter().any(|other| other.pid == process.ppid);
        let mut masters = live.iter().filter(|process| !is_child(process));
        let only = masters.next().filter(|_| masters.next().is_none());
        let Some(process) = took.or(only.copied()) else {
            return Self::by_its_log(story);
        };
        let events = &story.timeline.events;
        let like = events.iter().find_map(|event| match &event.kind {
            EventKind::SameEnvironment { pid, like, .. } if *pid == process.pid => Some(*like),
            _ => None,
        });
        let (n, environment) = events.iter().find_map(|event| match &event.kind {
            EventKind::Environment(found) if [Some(process.pid), like].contains(&Some(found.pid)) => {
                Some((event.n, &**found))
            }
            _ => None,
        })?;
        Some(Self {
            pid: process.pid,
            evidence: vec![process.n, n],
            environment,
            started_at_ms: Some(process.started_at_ms?),
        })
    }

    /// The one worker that has the log open: what it runs in is read before it is looked at again.
    fn by_its_log(story: &Story<'a>) -> Option<Self> {
        let mut found = story.facts(|kind| match kind {
            EventKind::Environment(found) if found.found.contains(&Found::WorkerLog) => Some(&**found),
            _ => None,
        });
        let only = found.next().filter(|_| found.next().is_none())?;
        let is_worker = workers::is_worker_command(&only.command);
        is_worker.then(|| Self {
            pid: only.pid,
            evidence: vec![only.n],
            environment: only.value,
            started_at_ms: None,
        })
    }

    /// A file that has changed since it started, and a task in it.
    fn changed(&self, is_it: impl Fn(&DeclaredTask) -> bool) -> Option<(&'a ChangedFile, &'a DeclaredTask)> {
        let changed = self.environment.code.iter().flat_map(|code| &code.changed);
        changed
            .filter(|file| self.started_at_ms.is_none_or(|started| file.at_ms > started))
            .find_map(|file| Some((file, file.tasks.iter().find(|task| is_it(task))?)))
    }

    /// The import path has the module a second time: which of them was imported is an assumption.
    fn may_be_elsewhere(&self) -> bool {
        let code = self.environment.code.as_ref();
        code.is_none_or(|code| !code.also_in.is_empty())
    }

    /// The event itself, and what shows what the worker has loaded.
    fn beside(&self, n: u32) -> Vec<u32> {
        std::iter::once(n).chain(self.evidence.iter().copied()).collect()
    }

    fn says(&self, file: &ChangedFile, certainty_is_low: bool, text: &str, n: u32) -> Answer {
        let after = self.started_at_ms.map_or(String::new(), |started| {
            format!("{} ", units::span((file.at_ms - started) as f64))
        });
        let text = format!(
            "{text}; {} was changed {after}after the worker (pid {}) had started",
            file.path, self.pid
        );
        let evidence = self.beside(n);
        match certainty_is_low || self.may_be_elsewhere() {
            true => Answer::possible(text, evidence),
            false => Answer::likely(text, evidence),
        }
    }
}

fn unknown_task(story: &Story<'_>, n: u32, name: &str, worker: &Loaded<'_>) -> Answer {
    let Some((file, _)) = worker.changed(|task| task.name == name) else {
        return Answer::NotApplicable;
    };
    let text = format!("the worker has not registered `{name}`, which its file declares by now");
    // One that does not import the file at all lacks whatever is in it, restarted or not.
    let neighbours: Vec<&str> = file.tasks.iter().map(|task| task.name.as_str()).collect();
    let imports = registered(story)
        .iter()
        .any(|known| known != name && neighbours.contains(&known.as_str()));
    worker.says(file, !imports, &text, n)
}

/// Names of tasks that the watched worker lists at its start, or when it is asked.
fn registered(story: &Story<'_>) -> Vec<String> {
    let listed = story
        .worker_lines()
        .iter()
        .filter(|told| told.line.text.trim() == "[tasks]")
        .filter_map(|told| told.line.traceback.as_deref())
        .flat_map(str::lines)
        .filter_map(|line| line.trim().strip_prefix(". "))
        .map(str::to_owned);
    let asked = control::answers(story)
        .filter(|answer| answer.pid.is_some_and(|pid| story.is_watched(pid) == Some(true)))
        .filter_map(|answer| answer.value.registered.as_ref())
        .flat_map(|all| all.keys().cloned());
    listed.chain(asked).collect()
}

/// Two files may have a function of one name: the task's decides.
fn bad_arguments(n: u32, (name, function): (&str, &str), error: &str, worker: &Loaded<'_>) -> Answer {
    let Some((file, task)) = worker.changed(|task| task.name == name && task.function == function) else {
        return Answer::NotApplicable;
    };
    match contradicts(error, task) {
        Some(true) => {
            let text = format!(
                "the worker's `{function}` is another one than its file declares by now, which takes ({}): {error}",
                task.parameters.join(", ")
            );
            worker.says(file, false, &text, n)
        }
        Some(false) => Answer::ruled_out(
            format!("{} has changed, and still takes the same", file.path),
            worker.beside(n),
        ),
        None => Answer::NotApplicable,
    }
}

/// Whether a function as it is declared could not have failed so; `None`: the error says too little.
fn contradicts(error: &str, task: &DeclaredTask) -> Option<bool> {
    let named = |name: &str| task.parameters.iter().any(|parameter| parameter == name);
    let quoted = || error.split('\'').nth(1);
    if error.contains("got an unexpected keyword argument") {
        return Some(named(quoted()?));
    }
    if error.contains(" missing ") {
        let lacks = error.split('\'').skip(1).step_by(2).any(|name| !named(name));
        return Some(quoted()? != "self" && lacks);
    }
    let (_, takes) = error.split_once(" takes ")?;
    let (takes, _) = takes.split_once(" positional argument")?;
    let most: usize = takes.rsplit(' ').next()?.parse().ok()?;
    Some(most != task.positional)
}

#[cfg(test)]
mod tests {
    use super::super::scenes::{CeleryScene, OURS};
    use super::*;
    use crate::timeline::LogLine;
    use crate::timeline::environment::Code;

    const SECONDS: i64 = 1_000;

    fn declared(name: &str, parameters: &[&str]) -> DeclaredTask {
        DeclaredTask {
            name: format!("shop.tasks.{name}"),
            function: name.into(),
            positional: parameters.len() + 1,
            parameters: parameters.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn listed(names: &str) -> LogLine {
        LogLine {
            text: "[tasks]".into(),
            traceback: Some(names.into()),
            before: true,
            ..LogLine::default()
        }
    }

    /// A worker that lists `weigh` at its start, and whose file has changed so many seconds after that.
    fn worker(changed_s: i64, also_in: &[&str]) -> CeleryScene {
        let file = ChangedFile {
            path: "/srv/shop/tasks.py".into(),
            at_ms: (1_000 + changed_s) * SECONDS,
            tasks: vec![declared("fulfil", &["order"]), declared("weigh", &[])],
        };
        let code = Code {
            module: "shop".into(),
            directory: "/srv".into(),
            also_in: also_in.iter().map(|name| (*name).to_owned()).collect(),
            changed: vec![file],
        };
        let environment = Environment {
            pid: 100,
            code: Some(code),
            ..Environment::default()
        };
        CeleryScene::received().and(|scene| {
            scene
                .process(100, 1, "python celery -A shop worker -l INFO", |process| {
                    process.started_at_ms = Some(1_000 * SECONDS);
                    process.holds_log = true;
                })
                .see(Source::Process, EventKind::Environment(Box::new(environment)))
        })
    }

    fn lists(scene: CeleryScene, names: &str) -> CeleryScene {
        scene.and(|scene| scene.see(Source::WorkerLog, EventKind::Line(listed(names))))
    }

    fn refused(scene: CeleryScene) -> crate::diagnosis::testing::Scene {
        scene
            .refusal(
                "Received unregistered task of type 'shop.tasks.fulfil'.",
                &format!("The full contents of the message headers:\n{{'id': '{OURS}'}}"),
            )
            .silence()
    }

    fn called(scene: CeleryScene, error: &str) -> crate::diagnosis::testing::Scene {
        let at = "Traceback (most recent call last):\n  File \"/v/site-packages/celery/app/trace.py\", line 5, in __protected_call__\n    return self.run(*args, **kwargs)\n";
        let text = format!("Task shop.tasks.fulfil[{OURS}] raised unexpected: TypeError('x')");
        scene.refusal(&text, &format!("{at}TypeError: {error}")).silence()
    }

    #[test]
    fn the_file_declares_by_now_what_the_worker_does_not_know() {
        let scene = refused(lists(worker(60, &[]), "  . shop.tasks.weigh"));
        assert_eq!(scene.cause(), "likely stale-code", "{}", scene.summary());
        assert!(
            scene.summary().contains("/srv/shop/tasks.py"),
            "{}",
            scene.summary()
        );
        assert_eq!(scene.without(Source::Process).answer(&CAUSE), "cannot tell");
        assert_eq!(
            scene.without(Source::Process).cause(),
            "certain unknown-actor",
            "that remains"
        );
    }

    /// The run was over before the worker's process was looked at again.
    #[test]
    fn what_the_holder_of_the_log_runs_in_is_enough() {
        let seen = |found: Found| {
            lists(worker(60, &[]), "  . shop.tasks.weigh").and(|mut scene| {
                for event in &mut scene.timeline.events {
                    match &mut event.kind {
                        // Another one's.
                        EventKind::Process(process) => (process.pid, process.holds_log) = (999, false),
                        EventKind::Environment(environment) => {
                            environment.found = vec![found];
                            environment.command = ["python", "celery", "-A", "shop", "worker"]
                                .map(str::to_owned)
                                .to_vec();
                        }
                        _ => {}
                    }
                }
                scene
            })
        };
        let scene = refused(seen(Found::WorkerLog));
        assert_eq!(scene.answer(&CAUSE), "likely");
        assert_eq!(scene.cause(), "likely stale-code", "{}", scene.summary());
        assert_eq!(
            refused(seen(Found::WorkerCommand)).answer(&CAUSE),
            "not applicable"
        );
    }

    /// Nothing says which of its processes has the message.
    #[test]
    fn a_master_and_its_child_are_one_worker() {
        let with = |ppid| {
            let scene = lists(worker(60, &[]), "  . shop.tasks.weigh").and(|mut scene| {
                for event in &mut scene.timeline.events {
                    if let EventKind::Peer { connection, .. } = &mut event.kind {
                        *connection = "another".into();
                    }
                }
                scene.process(101, ppid, "python celery -A shop worker -l INFO", |process| {
                    process.holds_log = true;
                })
            });
            refused(scene)
        };
        assert_eq!(with(100).answer(&CAUSE), "likely");
        assert_eq!(with(1).answer(&CAUSE), "not applicable");
    }

    #[test]
    fn a_worker_that_may_not_import_the_file_is_a_near_miss() {
        let other = refused(lists(worker(60, &[]), "  . mail.tasks.send"));
        assert_eq!(other.cause(), "certain unknown-actor");
        assert_eq!(other.answer(&CAUSE), "possible");
        assert_eq!(refused(worker(60, &[])).answer(&CAUSE), "possible");
        let twice = refused(lists(worker(60, &["/opt"]), "  . shop.tasks.weigh"));
        assert_eq!(twice.answer(&CAUSE), "possible");
    }

    #[test]
    fn a_file_from_before_the_start_is_a_near_miss() {
        let scene = refused(lists(worker(-60, &[]), "  . shop.tasks.weigh"));
        assert_eq!(scene.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn another_signature_than_the_file_has_by_now() {
        for error in [
            "fulfil() takes 3 positional arguments but 2 were given",
            "fulfil() missing 1 required positional argument: 'customer'",
            "fulfil() got an unexpected keyword argument 'order'",
        ] {
            let scene = called(worker(60, &[]), error);
            assert_eq!(scene.cause(), "likely stale-code", "{error}\n{}", scene.summary());
        }
    }

    #[test]
    fn a_wrong_call_of_what_the_file_still_has_is_a_near_miss() {
        for error in [
            "fulfil() takes 2 positional arguments but 3 were given",
            "fulfil() missing 1 required positional argument: 'order'",
            "fulfil() got an unexpected keyword argument 'gift'",
        ] {
            let scene = called(worker(60, &[]), error);
            assert_eq!(scene.cause(), "certain bad-arguments", "{error}");
            assert_eq!(scene.answer(&CAUSE), "ruled out", "{error}");
        }
    }
}
