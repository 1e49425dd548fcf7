//! What differs between two runs, the most telling first; and between API and worker within one.
//!
//! Both are the same question to two lists of facts. Pure: it reads recordings' timelines only. What
//! was not seen on one side is never called absent there.

mod difference;
mod facts;
mod noise;
mod rank;
mod within;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::Serialize;

use crate::diagnosis::{Certainty, Outcome, Scenario, Stage, Story, Task, Verdict};
use crate::timeline::Timeline;
use difference::{Compared, Fact};
pub use difference::{Difference, NotCompared, Party, Shown, Subject};
pub use facts::fingerprints;
use facts::{Facts, Key};
pub use rank::Weight;
pub use within::within;
pub use words::render;

/// Version of the JSON, a public contract.
pub const SCHEMA: &str = "taskdiag.compare.v1";

#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Comparison {
    pub schema: &'static str,
    /// The runs as they were named, in this order; every pair of values below has the same.
    pub runs: [Run; 2],
    /// Scenario, outcome, stage and cause are the same.
    pub same_verdict: bool,
    /// The most telling first.
    pub differences: Vec<Difference>,
    pub not_compared: Vec<NotCompared>,
    pub stages: Vec<Pair>,
}

/// One run, and what became of its task.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Run {
    pub recording: String,
    pub started_at: String,
    pub scenario: Option<Scenario>,
    pub outcome: Outcome,
    pub stage: Option<Stage>,
    /// Id of the cause.
    pub cause: Option<String>,
    pub certainty: Option<Certainty>,
    pub summary: Option<String>,
    pub exit_code: u8,
    pub task: Task,
}

/// One stage in both runs: whether it was reached (null: cannot be told), and when.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Pair {
    pub stage: Stage,
    pub reached: [Option<bool>; 2],
    /// Milliseconds since the submission.
    pub at_ms: [Option<f64>; 2],
}

/// One of the two: its name, what was seen, and its verdict.
pub type Recorded<'a> = (&'a str, &'a Timeline, &'a Verdict);

pub fn compare(runs: [Recorded<'_>; 2]) -> Comparison {
    let facts = runs.map(|(_, timeline, _)| Facts::of(&Story::new(timeline)));
    let verdicts = runs.map(|(_, _, verdict)| verdict);
    let same_verdict = verdicts.map(essence)[0] == verdicts.map(essence)[1];
    let (differences, not_compared) = between(&facts[0], &facts[1]);
    let mut differences = merged(differences);
    let setups = runs.map(|(_, timeline, _)| &timeline.setup);
    for difference in &mut differences {
        if rank::moved_together(difference, setups) {
            difference.weight = Weight::Service;
        }
    }
    let mut differences = ranked(differences, &verdicts);
    if !same_verdict {
        for difference in &mut differences {
            difference.why = difference.weight.why().map(str::to_owned);
        }
    }
    Comparison {
        schema: SCHEMA,
        stages: pairs(verdicts),
        runs: runs.map(run),
        same_verdict,
        differences,
        not_compared,
    }
}

/// The most telling first; see `rank.rs`.
fn ranked(mut differences: Vec<Difference>, verdicts: &[&Verdict]) -> Vec<Difference> {
    for difference in &mut differences {
        if verdicts
            .iter()
            .any(|verdict| rank::is_named(verdict, difference.subject, &difference.name))
        {
            difference.weight = Weight::Named;
        }
    }
    let blamed = verdicts.iter().find_map(|verdict| rank::blamed(verdict));
    differences.sort_by_key(|difference| {
        let elsewhere = blamed.is_some_and(|party| !difference.of.contains(&party));
        (
            difference.weight,
            elsewhere,
            // One package more or less is often a tool; another version was wanted by somebody.
            difference.subject == Subject::Package && difference.values.contains(&Shown::Absent),
            difference.subject,
            difference.name.clone(),
            difference.of.clone(),
        )
    });
    differences
}

/// What makes two verdicts the same.
fn essence(verdict: &Verdict) -> (Option<Scenario>, Outcome, Option<Stage>, Option<&str>) {
    (
        verdict.scenario,
        verdict.outcome,
        verdict.stage,
        verdict.cause.as_ref().map(|cause| cause.id.as_str()),
    )
}

fn run((name, timeline, verdict): Recorded<'_>) -> Run {
    let cause = verdict.cause.as_ref();
    Run {
        recording: name.to_owned(),
        started_at: timeline.started_at.clone(),
        scenario: verdict.scenario,
        outcome: verdict.outcome,
        stage: verdict.stage,
        cause: cause.map(|cause| cause.id.clone()),
        certainty: cause.map(|cause| cause.certainty),
        summary: cause.map(|cause| cause.summary.clone()),
        exit_code: verdict.exit_code,
        task: verdict.task.clone(),
    }
}

fn pairs(verdicts: [&Verdict; 2]) -> Vec<Pair> {
    Stage::ALL
        .into_iter()
        .map(|stage| {
            let of = verdicts.map(|verdict| verdict.stages.iter().find(|reached| reached.stage == stage));
            Pair {
                stage,
                reached: of.map(|reached| reached.and_then(|reached| reached.reached)),
                at_ms: of.map(|reached| reached.and_then(|reached| reached.at_ms)),
            }
        })
        .collect()
}

fn between(one: &Facts, other: &Facts) -> (Vec<Difference>, Vec<NotCompared>) {
    let keys: BTreeSet<&Key> = one.known.keys().chain(other.known.keys()).collect();
    let mut differences = Vec::new();
    let mut skipped: BTreeMap<(Party, Option<Subject>, String), Vec<String>> = BTreeMap::new();
    let mut skip = |party: Party, subject: Option<Subject>, name: &str, reason: String| {
        let names = skipped.entry((party, subject, reason)).or_default();
        if !name.is_empty() {
            names.push(name.to_owned());
        }
    };
    for (index, facts) in [one, other].into_iter().enumerate() {
        for (party, reasons) in &facts.hidden {
            for reason in reasons {
                skip(*party, None, "", format!("{}: {reason}", ORDINALS[index]));
            }
        }
    }
    for key in keys {
        let (party, subject, name) = key;
        let sides = [one.known.get(key), other.known.get(key)];
        let complete = [one, other].map(|facts| facts.complete.contains(&(*party, *subject)));
        let values = sides.map(|fact| fact.map_or(Shown::Absent, |fact| fact.shown.clone()));
        let parts = match sides {
            [Some(first), Some(second)] => match first.compare(second) {
                Compared::Equal => continue,
                Compared::Differ(parts) => parts,
                Compared::Cannot(reason) => {
                    skip(*party, Some(*subject), name, reason.to_owned());
                    continue;
                }
            },
            [first, _] => {
                let missing = usize::from(first.is_some());
                if !complete[missing] {
                    // Said once for the whole party, if nothing of it was seen.
                    if is_unseen([one, other][missing], *party) {
                        continue;
                    }
                    let reason = format!("not seen in the {} run", ORDINALS[missing]);
                    skip(*party, Some(*subject), name, reason);
                    continue;
                }
                Vec::new()
            }
        };
        let code = (*party, Subject::CodeFolder, String::new());
        let code_known = one.known.contains_key(&code) && other.known.contains_key(&code);
        differences.push(Difference {
            subject: *subject,
            of: vec![*party],
            name: name.clone(),
            weight: rank::weight(*subject, name, &values, code_known),
            values,
            parts,
            why: None,
            tokens: sides.map(|fact| fact.map(Fact::token)),
        });
    }
    let not_compared = skipped
        .into_iter()
        .map(|((of, subject, reason), names)| NotCompared {
            of,
            subject,
            names,
            reason,
        })
        .collect();
    (differences, not_compared)
}

const ORDINALS: [&str; 2] = ["first", "second"];

/// Nothing of what this party runs in was seen.
fn is_unseen(facts: &Facts, party: Party) -> bool {
    matches!(party, Party::Api | Party::Worker)
        && !facts
            .known
            .contains_key(&(party, Subject::Command, String::new()))
}

/// Where API and worker differ in the same way it is one difference.
fn merged(differences: Vec<Difference>) -> Vec<Difference> {
    let mut out: Vec<Difference> = Vec::new();
    for difference in differences {
        let same = out.iter_mut().find(|other| {
            other.subject == difference.subject
                && other.name == difference.name
                && other.values == difference.values
                && other.tokens == difference.tokens
        });
        match same {
            Some(other) => other.of.extend(difference.of),
            None => out.push(difference),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::diagnose;
    use crate::diagnosis::testing::{API, CALL, Scene};
    use crate::timeline::environment::{
        Code, Distribution, Environment, Found, Interpreter, Masked, Variable,
    };
    use crate::timeline::{EventKind, Source};

    fn process(pid: i32, found: Found) -> Environment {
        let package = |name: &str, version: &str| Distribution {
            name: name.into(),
            version: version.into(),
            ..Distribution::default()
        };
        Environment {
            pid,
            found: vec![found],
            command: vec![
                "/v/bin/python".into(),
                "/v/bin/prog".into(),
                "app.x".into(),
                "--port".into(),
                "8000".into(),
            ],
            uid: Some(0),
            cwd: Some("/srv".into()),
            interpreter: Some(Interpreter {
                implementation: "python".into(),
                version: Some("3.11.7".into()),
                prefix: "/v".into(),
                ..Interpreter::default()
            }),
            code: Some(Code {
                module: "app.x".into(),
                directory: "/srv".into(),
                ..Code::default()
            }),
            variables: Some(BTreeMap::new()),
            key: Some("k".into()),
            distributions: Some(vec![
                package("dramatiq", "2.2.1"),
                package("idna", "3.7"),
                package("pika", "1.3.2"),
            ]),
            ..Environment::default()
        }
    }

    /// A scene with API and worker, changed by who is asked to.
    fn scene(scene: Scene, change: impl Fn(&mut Environment, &mut Environment)) -> Scene {
        let (mut api, mut worker) = (process(50, Found::ApiPort), process(101, Found::WorkerLog));
        change(&mut api, &mut worker);
        scene
            .see(Source::Process, EventKind::Environment(Box::new(api)))
            .see(Source::Process, EventKind::Environment(Box::new(worker)))
    }

    fn set(environment: &mut Environment, name: &str, value: &str) {
        let masked = Variable::Masked(Masked {
            value: value.into(),
            ..Masked::default()
        });
        let plain = Variable::Plain(value.into());
        let value = if name.starts_with("DRAMATIQ") {
            plain
        } else {
            masked
        };
        environment
            .variables
            .get_or_insert_default()
            .insert(name.into(), value);
    }

    fn version(environment: &mut Environment, name: &str, version: &str) {
        for distribution in environment.distributions.iter_mut().flatten() {
            if distribution.name == name {
                distribution.version = version.into();
            }
        }
    }

    fn compared(one: &Scene, other: &Scene) -> Comparison {
        let verdicts = [diagnose(&one.timeline), diagnose(&other.timeline)];
        compare([
            ("one", &one.timeline, &verdicts[0]),
            ("other", &other.timeline, &verdicts[1]),
        ])
    }

    fn rows(comparison: &Comparison) -> Vec<String> {
        comparison
            .differences
            .iter()
            .map(|row| format!("{} of {}", row.what(), words::parties(row)))
            .collect()
    }

    #[test]
    fn what_was_given_comes_before_what_followed_and_the_telling_before_the_rest() {
        let one = scene(Scene::published(), |_, _| {});
        let other = scene(Scene::published().depth("default", 1, 0), |api, worker| {
            set(worker, "FEATURE", "b");
            set(worker, "PATH", "c");
            set(api, "FEATURE", "b");
            set(api, "RABBITMQ_URL", "x");
            set(api, "DRAMATIQ_TESTING", "1");
            set(worker, "DB_HOST", "x");
            version(worker, "pika", "1.3.1");
            version(worker, "idna", "3.8");
            worker.interpreter.as_mut().unwrap().version = Some("3.12.1".into());
            api.command.push("--reload".into());
            api.code.as_mut().unwrap().directory = "/home/me".into();
            worker.uid = Some(1000);
        });
        assert_eq!(
            rows(&compared(&one, &other)),
            [
                "variable DRAMATIQ_TESTING of API",
                "variable RABBITMQ_URL of API",
                "variable DB_HOST of worker",
                "code folder of API",
                "package pika of worker",
                "command of API",
                "variable FEATURE of API and worker",
                "Python of worker",
                "package idna of worker",
                "consumers of services",
                "user of worker",
                "variable PATH of worker",
            ]
        );
    }

    #[test]
    fn a_variable_that_the_verdict_names_comes_first() {
        let one = scene(Scene::accepted().row("PENDING").silence(), |_, _| {});
        let raised = Scene::called().error(
            "dramatiq.worker.WorkerThread",
            &format!("Failed to process message act('task_1') with unhandled exception.\n{CALL}  File \"/app/x.py\", line 3, in act\n    x\nKeyError: 'MODEL_PATH'"),
        );
        let other = scene(raised, |api, worker| {
            set(api, "DRAMATIQ_TESTING", "1");
            set(worker, "MODEL_PATH", "x");
        });
        let comparison = compared(&one, &other);
        assert_eq!(rows(&comparison)[0], "variable MODEL_PATH of worker");
        assert!(
            comparison.differences[0]
                .why
                .as_deref()
                .unwrap()
                .contains("names")
        );
    }

    #[test]
    fn ports_pids_and_bookkeeping_are_no_difference() {
        let one = scene(Scene::published(), |_, _| {});
        let other = scene(Scene::published(), |api, worker| {
            set(api, "SHLVL", "2");
            set(worker, "_", "/bin/x");
            api.command[4] = "9000".into();
            worker.cwd = Some("/srv".into());
        });
        let comparison = compared(&one, &other);
        assert_eq!(rows(&comparison), [] as [&str; 0]);
        assert!(render(&comparison, 100, false).contains("No difference"));
    }

    #[test]
    fn what_was_not_seen_is_not_absent() {
        let one = scene(Scene::published(), |api, worker| {
            set(api, "A", "1");
            set(worker, "B", "1");
        });
        let other = Scene::published();
        let comparison = compared(&one, &other);
        assert_eq!(rows(&comparison), [] as [&str; 0]);
        let text = render(&comparison, 100, false);
        for party in ["API", "worker"] {
            assert!(
                text.contains(&format!("second: no process of the {party} was seen")),
                "{text}"
            );
        }
        // Seen, but its variables were another user's.
        let other = scene(Scene::published(), |api, _| {
            api.variables = None;
            api.hidden = vec!["pid 50 belongs to another user".into()];
        });
        let comparison = compared(&one, &other);
        assert_eq!(rows(&comparison), ["variable B of worker"]);
        let text = render(&comparison, 100, false);
        assert!(
            text.contains("API: variable A: not seen in the second run"),
            "{text}"
        );
    }

    fn telling(scene: &Scene) -> Vec<String> {
        let verdict = diagnose(&scene.timeline);
        within(&Story::new(&scene.timeline), &verdict)
            .iter()
            .map(Difference::what)
            .collect()
    }

    #[test]
    fn api_and_worker_differ_where_it_could_explain_the_verdict() {
        let change = |api: &mut Environment, worker: &mut Environment| {
            set(api, "DRAMATIQ_TESTING", "1");
            set(api, "RABBITMQ_URL", "1");
            set(worker, "RABBITMQ_URL", "2");
            set(worker, "DATABASE_URL", "2");
            set(worker, "ONLY_MINE", "2");
            version(worker, "pika", "1.3.1");
            version(worker, "idna", "3.8");
            worker.code.as_mut().unwrap().directory = "/opt/old".into();
            worker.command.push("-v".into());
        };
        let silent = scene(Scene::accepted().row("PENDING").silence(), change);
        assert_eq!(
            telling(&silent),
            [
                "variable DRAMATIQ_TESTING",
                "variable RABBITMQ_URL",
                "package pika"
            ]
        );
        let delivered = scene(Scene::delivered().silence(), change);
        assert_eq!(
            telling(&delivered),
            [
                "variable DRAMATIQ_TESTING",
                "variable DATABASE_URL",
                "code folder",
                "package pika",
                "package idna"
            ]
        );
        let succeeded = scene(Scene::entered().row("COMPLETED").silence(), change);
        assert_eq!(telling(&succeeded), [] as [&str; 0]);
    }

    #[test]
    fn two_programs_may_lie_in_two_folders() {
        let scene = scene(Scene::delivered().silence(), |_, worker| {
            let code = worker.code.as_mut().unwrap();
            (code.module, code.directory) = ("jobs.x".into(), "/opt/jobs".into());
            worker.cwd = Some("/opt/jobs".into());
        });
        assert_eq!(telling(&scene), [] as [&str; 0]);
    }

    #[test]
    fn a_system_that_was_moved_as_a_whole_is_not_the_news() {
        let at = |path: &str, host: &str, feature: &str| {
            let url = Variable::Masked(Masked {
                value: format!("{path}{host}"),
                parts: BTreeMap::from([("path".into(), path.into()), ("host".into(), host.into())]),
            });
            let moved = Scene::published().setup(|setup| setup.vhost = path.into());
            scene(moved, |api, worker| {
                for environment in [api, worker] {
                    let variables = environment.variables.get_or_insert_default();
                    variables.insert("RABBITMQ_URL".into(), url.clone());
                    set(environment, "FEATURE", feature);
                }
            })
        };
        let comparison = compared(&at("a", "x", "1"), &at("b", "x", "2"));
        assert_eq!(rows(&comparison)[0], "variable FEATURE of API and worker");
        // taskdiag itself still watches the same host.
        let comparison = compared(&at("a", "x", "1"), &at("b", "y", "2"));
        assert_eq!(rows(&comparison)[0], "variable RABBITMQ_URL of API and worker");
    }

    #[test]
    fn where_connections_lead_is_compared() {
        let here = Scene::accepted().api_process(&[API]);
        let there = Scene::accepted().api_process(&["127.0.0.1:40051 -> 10.0.0.9:5672"]);
        let comparison = compared(&here, &there);
        assert_eq!(rows(&comparison), ["broker address of API"]);
        let again = Scene::accepted().api_process(&["127.0.0.1:49999 -> 127.0.0.1:5672"]);
        assert_eq!(
            rows(&compared(&here, &again)),
            [] as [&str; 0],
            "another port of our own"
        );
    }
}
