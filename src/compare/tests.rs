//! The order of differences, argued case by case.

use super::*;
use crate::diagnosis::diagnose;
use crate::diagnosis::testing::{API, CALL, Scene, WORKER};
use crate::timeline::environment::{Code, Distribution, Environment, Found, Interpreter, Masked, Variable};
use crate::timeline::{Ended, EventKind, Source};

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
    let one = scene(Scene::published().end(Ended::Interrupted), |_, _| {});
    let other = Scene::published().depth("default", 1, 0).end(Ended::Interrupted);
    let other = scene(other, |api, worker| {
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

fn difference_lines(scene: &Scene) -> Vec<String> {
    let verdict = diagnose(&scene.timeline);
    differences(&Story::new(&scene.timeline), &verdict)
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
        difference_lines(&silent),
        [
            "variable DRAMATIQ_TESTING",
            "variable RABBITMQ_URL",
            "package pika"
        ]
    );
    let delivered = scene(Scene::delivered().silence(), change);
    assert_eq!(
        difference_lines(&delivered),
        [
            "variable DATABASE_URL",
            "code folder",
            "package pika",
            "package idna"
        ]
    );
    let succeeded = scene(Scene::entered().row("COMPLETED").silence(), change);
    assert_eq!(difference_lines(&succeeded), [] as [&str; 0]);
}

#[test]
fn a_proxy_is_not_the_api() {
    let scene = scene(Scene::accepted().row("PENDING").silence(), |api, worker| {
        api.interpreter = None;
        api.command = vec!["nginx: worker process".into()];
        set(worker, "RABBITMQ_URL", "2");
    });
    assert_eq!(difference_lines(&scene), [] as [&str; 0]);
}

#[test]
fn two_programs_may_lie_in_two_folders() {
    let scene = scene(Scene::delivered().silence(), |_, worker| {
        let code = worker.code.as_mut().unwrap();
        (code.module, code.directory) = ("jobs.x".into(), "/opt/jobs".into());
        worker.cwd = Some("/opt/jobs".into());
    });
    assert_eq!(difference_lines(&scene), [] as [&str; 0]);
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
    let over = |scene: Scene| scene.end(Ended::Interrupted);
    let here = over(Scene::accepted().api_process(&[API]));
    let there = over(Scene::accepted().api_process(&["127.0.0.1:40051 -> 10.0.0.9:5672"]));
    let comparison = compared(&here, &there);
    assert_eq!(rows(&comparison), ["broker address of API"]);
    let again = over(Scene::accepted().api_process(&["127.0.0.1:49999 -> 127.0.0.1:5672"]));
    assert_eq!(
        rows(&compared(&here, &again)),
        [] as [&str; 0],
        "another port of our own"
    );
}

/// What a broken off recording holds last is not what the whole one ended with.
#[test]
fn the_figures_of_an_incomplete_recording_are_not_compared() {
    let run = |consumers| Scene::published().depth("default", 1, consumers);
    let whole = scene(run(1).silence(), |_, _| {});
    let cut = scene(run(0), |_, worker| version(worker, "pika", "1.3.1"));
    for (one, other, which) in [(&whole, &cut, "second"), (&cut, &whole, "first")] {
        let comparison = compared(one, other);
        assert_eq!(rows(&comparison), ["package pika of worker"]);
        let reason =
            format!("{which}: the recording is incomplete: it has no end, so what came later is unknown");
        let said = comparison.not_compared.iter().map(|skipped| &skipped.reason);
        assert!(
            said.clone().any(|said| *said == reason),
            "{:?}",
            said.collect::<Vec<_>>()
        );
        assert!(render(&comparison, 100, false).contains("the recording is incomplete"));
    }
    // Nor is "not reached" known, or what else made the verdicts differ.
    let done = scene(Scene::entered().row("COMPLETED").silence(), |_, _| {});
    let cut = scene(Scene::accepted(), |_, _| {});
    let comparison = compared(&done, &cut);
    assert!(!comparison.same_verdict);
    assert!(
        comparison
            .stages
            .iter()
            .all(|pair| pair.reached[1] != Some(false))
    );
    let words = render(&comparison, 200, false);
    assert!(words.contains("may differ for no other reason"), "{words}");
    assert!(!words.contains("something else"), "{words}");
    let other = scene(run(0).silence(), |_, _| {});
    assert_eq!(rows(&compared(&whole, &other)), ["consumers of services"]);
}

#[test]
fn runs_that_were_isolated_to_different_things() {
    use crate::timeline::isolation::{Isolated, IsolatedEnding, IsolatedStep};
    let isolated = |works: bool| {
        let ending = |cause: &str| IsolatedEnding {
            scenario: Some("C".into()),
            outcome: "unknown".into(),
            cause: Some(cause.into()),
            ..IsolatedEnding::default()
        };
        let again = match works {
            true => IsolatedEnding {
                scenario: Some("A".into()),
                ..ending("succeeded")
            },
            false => ending("no-consumer"),
        };
        let step = IsolatedStep {
            step: "again".into(),
            ending: Some(again),
            ..IsolatedStep::default()
        };
        let isolated = Isolated {
            original: ending("no-consumer"),
            steps: vec![step],
        };
        Scene::new()
            .silence()
            .see(Source::Run, EventKind::Isolated(isolated))
    };
    let told = |one: &Scene, other: &Scene| {
        let verdicts = [diagnose(&one.timeline), diagnose(&other.timeline)];
        let comparison = compare([
            ("one", &one.timeline, &verdicts[0]),
            ("other", &other.timeline, &verdicts[1]),
        ]);
        render(&comparison, 100, false)
    };
    let text = told(&isolated(true), &isolated(false));
    assert!(text.contains("isolated: Not reproducible"), "{text}");
    assert!(!told(&isolated(true), &isolated(true)).contains("isolated"));
    let text = told(&Scene::new().silence(), &isolated(false));
    assert!(
        text.contains("first   isolated: --isolate was not used"),
        "{text}"
    );
}

/// What the run itself refutes explains nothing.
#[test]
fn what_was_understood_or_consumed_is_no_reason() {
    let pika = |scene_: Scene| {
        difference_lines(&scene(scene_, |_, worker| {
            version(worker, "pika", "1.3.1");
            version(worker, "psycopg", "3.1");
        }))
    };
    assert!(pika(Scene::delivered().silence()).contains(&"package pika".to_owned()));
    assert!(!pika(Scene::entered().silence()).contains(&"package pika".to_owned()));
    let testing = |scene_: Scene| {
        difference_lines(&scene(scene_, |_, worker| {
            set(worker, "DRAMATIQ_TESTING", "1");
            set(worker, "DEPOT_PG", "2");
        }))
    };
    // The worker's switch keeps no API from publishing, and a worker with a connection has it in vain.
    assert_eq!(
        testing(Scene::accepted().row("PENDING").silence()),
        [] as [&str; 0]
    );
    let published = || Scene::accepted().publish("default");
    assert_eq!(testing(published().silence()), ["variable DRAMATIQ_TESTING"]);
    assert_eq!(testing(published().peer(WORKER, 101).silence()), [] as [&str; 0]);
    // The actor was entered, in another database.
    assert_eq!(testing(Scene::entered().silence()), ["variable DEPOT_PG"]);
}

#[test]
fn a_container_with_the_same_command_is_not_the_worker_of_an_api_outside() {
    let run = |container: Option<&str>| {
        let mut worker = process(101, Found::WorkerCommand);
        set(&mut worker, "RABBITMQ_URL", "elsewhere");
        let mut api = process(50, Found::ApiPort);
        set(&mut api, "RABBITMQ_URL", "here");
        let scene = Scene::published()
            .api_process(&[])
            .process(101, 1, "python dramatiq app", |process| {
                process.holds_log = false;
                process.container = container.map(str::to_owned);
            })
            .see(Source::Process, EventKind::Environment(Box::new(api)))
            .see(Source::Process, EventKind::Environment(Box::new(worker)))
            .end(Ended::Silence);
        let verdict = diagnose(&scene.timeline);
        differences(&crate::diagnosis::Story::new(&scene.timeline), &verdict).len()
    };
    assert_eq!(run(Some("a1")), 0);
    assert_eq!(run(None), 1);
}

#[test]
fn another_checkout_of_the_same_package_is_not_the_worker() {
    use crate::timeline::environment::Code;
    let run = |folder: &str| {
        let code = |module: &str, directory: &str| {
            Some(Code {
                module: module.into(),
                directory: directory.into(),
                ..Code::default()
            })
        };
        let mut worker = process(101, Found::WorkerCommand);
        set(&mut worker, "RABBITMQ_URL", "elsewhere");
        worker.code = code("ferry.worker", folder);
        let mut api = process(50, Found::ApiPort);
        set(&mut api, "RABBITMQ_URL", "here");
        api.code = code("ferry.desk", "/srv/ferry");
        let scene = Scene::published()
            .api_process(&[])
            .process(101, 1, "python dramatiq app", |process| process.holds_log = false)
            .see(Source::Process, EventKind::Environment(Box::new(api)))
            .see(Source::Process, EventKind::Environment(Box::new(worker)))
            .end(Ended::Silence);
        let verdict = diagnose(&scene.timeline);
        differences(&crate::diagnosis::Story::new(&scene.timeline), &verdict).len()
    };
    assert_eq!(run("/home/other/ferry"), 0);
    assert_eq!(run("/srv/ferry"), 1);
}

/// Whoever carries a worker's lines to a common log has that open, and is given nothing else.
#[test]
fn what_writes_the_log_for_a_worker_is_none() {
    let mut carrier = process(90, Found::WorkerLog);
    carrier.command = vec!["/v/bin/python".into(), "mux.py".into(), "shop.log".into()];
    let mut worker = process(101, Found::LogLine);
    worker.command = vec!["/v/bin/python3".into(), "/v/bin/dramatiq".into(), "app.x".into()];
    let mut api = process(50, Found::ApiPort);
    for environment in [&mut worker, &mut api] {
        set(environment, "SHOP_DB", "here");
    }
    let scene = [carrier, api, worker]
        .into_iter()
        .fold(Scene::entered().api_process(&[]), |scene, environment| {
            scene.see(Source::Process, EventKind::Environment(Box::new(environment)))
        });
    let scene = scene.end(Ended::Silence);
    let verdict = diagnose(&scene.timeline);
    assert_eq!(
        differences(&crate::diagnosis::Story::new(&scene.timeline), &verdict),
        []
    );
}

/// Of what workers said of themselves the settings that are kept are compared, and nothing that one was not asked.
#[test]
fn what_workers_said_of_themselves() {
    use crate::framework::{Heartbeat, Inspection};
    let run = |version: &str, asked: Option<(&str, &[&str])>| {
        let beat = Heartbeat {
            node: "celery@vm".into(),
            version: Some(version.into()),
            ..Heartbeat::default()
        };
        let scene = Scene::published()
            .setup(|setup| setup.framework = "celery".into())
            .see(Source::Control, EventKind::Heartbeat(beat));
        let scene = match asked {
            None => scene,
            Some((setting, tasks)) => {
                let queue = scene.timeline.setup.queue.clone();
                let tasks = tasks.iter().map(|name| ((*name).to_owned(), None));
                let answer = Inspection {
                    node: "celery@vm".into(),
                    methods: ["registered", "stats", "conf"].map(str::to_owned).to_vec(),
                    queues: Some(vec![queue]),
                    registered: Some(tasks.collect()),
                    concurrency: Some(2),
                    settings: [(setting.to_owned(), true.into())].into(),
                    ..Inspection::default()
                };
                scene.see(Source::Control, EventKind::Inspected(Box::new(answer)))
            }
        };
        scene.silence()
    };
    let one = run("5.7.0", Some(("task_acks_late", &["a.pack", "a.send"])));
    let other = run("5.4.0", Some(("task_ignore_result", &["a.pack"])));
    let comparison = compared(&one, &other);
    let said = rows(&comparison);
    for row in [
        "worker's version of worker",
        "worker setting task_acks_late of worker",
        "worker setting task_ignore_result of worker",
        "registered task a.send of worker",
    ] {
        assert!(said.iter().any(|found| found == row), "{row}: {said:?}");
    }
    assert!(
        !said
            .iter()
            .any(|row| row.contains("a.pack") || row.contains("concurrency"))
    );
    let text = render(&comparison, 120, false);
    assert!(
        text.contains("(default)") && text.contains("(not registered)"),
        "{text}"
    );
    // Who was not asked has not said that a task is missing.
    let healthy = rows(&compared(&one, &run("5.7.0", None)));
    assert!(
        !healthy
            .iter()
            .any(|row| row.contains("a.send") || row.contains("setting task")),
        "{healthy:?}"
    );
}
