//! `taskdiag trace` on a real broker: what it shows, what it counts, and that it leaves nothing behind.

use std::fs::{self, File};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use serde_json::{Value as Json, json};

use crate::lab::{Lab, repository, run, signal, until};
use crate::stack::Stack;
use crate::worker::{Dramatiq, fault, healthy};

#[path = "trace/broken.rs"]
mod broken;
#[path = "trace/missed.rs"]
mod missed;

/// A trace under way, its output in files.
struct Trace {
    child: Child,
    name: String,
}

impl Trace {
    /// Starts it and waits until it traces.
    fn start(stack: &mut Stack, name: &str, arguments: &[&str]) -> Self {
        Self::start_with(stack, name, arguments, &[])
    }

    fn start_with(stack: &mut Stack, name: &str, arguments: &[&str], env: &[(&str, &str)]) -> Self {
        let file = |end: &str| File::create(stack.dir.join(format!("{name}.{end}"))).expect("a file");
        let mut command = stack.taskdiag("trace");
        command
            .arg("--config")
            .arg(stack.write_config())
            .args(arguments)
            .envs(env.iter().copied())
            .stdout(file("out"))
            .stderr(file("err"));
        let child = command.spawn().expect("taskdiag starts");
        stack.reaper.watch(child.id());
        let mut trace = Self {
            child,
            name: name.into(),
        };
        until("it traces", || {
            let ended = trace.child.try_wait().expect("its status");
            assert!(ended.is_none(), "{ended:?}: {}", trace.err(stack));
            trace.err(stack).contains("of vhost")
        });
        trace
    }

    fn out(&self, stack: &Stack) -> String {
        stack.read(&format!("{}.out", self.name))
    }

    fn err(&self, stack: &Stack) -> String {
        stack.read(&format!("{}.err", self.name))
    }

    /// Its lines of JSON.
    fn lines(&self, stack: &Stack) -> Vec<Json> {
        self.out(stack)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
            .collect()
    }

    fn until_shown(&self, stack: &Stack, what: &str, is_there: impl Fn(&[Json]) -> bool) {
        until(&format!("{what}:\n{}", self.out(stack)), || {
            let text = self.out(stack);
            let whole = &text[..text.rfind('\n').map_or(0, |at| at + 1)];
            let lines: Vec<Json> = whole
                .lines()
                .filter_map(|line| serde_json::from_str(line).ok())
                .collect();
            is_there(&lines)
        });
    }

    fn end(&mut self, how: &str) -> ExitStatus {
        signal(how, self.child.id());
        self.wait()
    }

    fn wait(&mut self) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("its status") {
                return status;
            }
            assert!(began.elapsed() < Duration::from_secs(40), "it does not end");
            sleep(Duration::from_millis(10));
        }
    }
}

/// Publishes the same body so many times, and waits until the broker has it all.
fn publish_many(stack: &mut Stack, queue: &str, body: &str, messages: usize) {
    let connection = stack.amqp();
    run(async {
        let channel = connection.create_channel().await.expect("a channel");
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .expect("confirms");
        for _ in 0..messages {
            channel
                .basic_publish(
                    "".into(),
                    queue.into(),
                    BasicPublishOptions::default(),
                    body.as_bytes(),
                    lapin::BasicProperties::default(),
                )
                .await
                .expect("published");
        }
        channel.wait_for_confirms().await.expect("confirmed");
        let _ = channel.close(200, "done".into()).await;
    });
}

/// Submits a task; its id.
fn submit(stack: &mut Stack) -> String {
    let submitted = stack
        .taskdiag("submit")
        .arg("--config")
        .arg(stack.write_config())
        .args(["--format", "json"])
        .output()
        .expect("taskdiag runs");
    let submitted: Json = serde_json::from_slice(&submitted.stdout).expect("JSON");
    submitted["task_id"].as_str().expect("an id").to_owned()
}

/// Nothing but the broker is configured.
fn only_a_broker(name: &str) -> Stack {
    let mut stack = Stack::bare(name, Dramatiq::Two);
    stack.unset("database");
    let channel = run(stack.amqp().create_channel()).expect("a channel");
    for queue in ["orders", "orders.DQ", "mail"] {
        run(channel.queue_declare(queue.into(), Default::default(), Default::default())).expect("declared");
    }
    stack
}

fn body(actor: &str, id: &str, task: &str) -> String {
    json!({ "queue_name": "orders", "actor_name": actor, "args": [task], "kwargs": {}, "options": {},
            "message_id": id, "message_timestamp": 1_700_000_000_000_i64 })
    .to_string()
}

fn kind<'j>(lines: &'j [Json], kind: &str) -> Vec<&'j Json> {
    lines.iter().filter(|line| line["kind"] == kind).collect()
}

// ---- what is shown ----

/// One attempt that raises, and the retry's copy in the delay queue, as seen by two traces.
struct Retried {
    stack: Stack,
    api: u32,
    worker: u32,
    task: String,
    trace: Trace,
    people: Trace,
}

fn retried(name: &str) -> Retried {
    let mut stack = Stack::new(name);
    let worker = stack.worker(fault("raise"));
    let api = stack.api(&[]);
    let before = stack.vhost();
    let mut trace = Trace::start(&mut stack, "json", &["--format", "json"]);
    let mut people = Trace::start(&mut stack, "people", &[]);
    let task = submit(&mut stack);
    trace.until_shown(&stack, "the retry's copy is taken", |lines| {
        kind(lines, "deliver")
            .iter()
            .any(|line| line["queue"] == "default.DQ")
    });
    assert_eq!(trace.end("INT").code(), Some(0), "{}", trace.err(&stack));
    assert_eq!(people.end("TERM").code(), Some(0), "{}", people.err(&stack));
    assert_eq!(stack.vhost(), before);
    Retried {
        stack,
        api,
        worker,
        task,
        trace,
        people,
    }
}

#[test]
fn a_task_is_traced_with_its_processes_through_retries() {
    let Retried {
        stack,
        api,
        worker,
        trace,
        ..
    } = retried("trace-retry");
    let lines = trace.lines(&stack);
    assert_eq!(lines[0]["schema"], "taskdiag.trace.v1");
    let id = &lines[1]["message"]["message_id"];
    let of = |name: &str, queue: &str| -> Json {
        let found = lines.iter().find(|line| {
            line["kind"] == name
                && (line["queue"] == queue || line["routing_key"] == queue)
                && line["message"]["message_id"] == *id
        });
        found
            .unwrap_or_else(|| panic!("no {name} {queue} in {lines:#?}"))
            .clone()
    };
    let (published, delivered) = (of("publish", "default"), of("deliver", "default"));
    assert_eq!(published["process"]["pid"], json!(api));
    assert_eq!(published["process"]["name"], "uvicorn");
    assert_eq!(delivered["process"]["name"], "dramatiq");
    // The worker's process is a child of the master that we started.
    let child = delivered["process"]["pid"].as_i64().expect("a pid");
    let status = fs::read_to_string(format!("/proc/{child}/status")).expect("the worker runs");
    assert!(status.contains(&format!("PPid:\t{worker}")), "{status}");
    assert_eq!(delivered["redelivered"], false);
    let latency = delivered["latency_ms"].as_f64().expect("a latency");
    assert!((0.0..5000.0).contains(&latency), "{latency}");
    let copy = of("publish", "default.DQ");
    assert_eq!(copy["role"], "delay");
    assert_eq!(copy["message"]["retries"], 1);
    assert_eq!(copy["process"]["pid"], json!(child));
    assert!(
        copy["message"]["error"]
            .as_str()
            .is_some_and(|error| error.contains("RuntimeError")),
        "{copy:#}"
    );
    let end = lines.last().expect("an end");
    assert_eq!(end["missed"], 0);
    assert_eq!(end["missed_exact"], true);
    assert_eq!(end["tasks"], 1);
    fits_the_schema(&stack, "json.out");
}

#[test]
fn people_read_processes_and_retries_and_no_arguments() {
    let Retried {
        stack,
        api,
        task,
        trace,
        people,
        ..
    } = retried("trace-people");
    // Arguments are masked, and so is the task's id among them.
    for text in [trace.out(&stack), people.out(&stack)] {
        assert!(!text.contains(&task), "{text}");
        assert!(!text.contains("why did it never run"), "{text}");
    }
    let lines = trace.lines(&stack);
    let delivered = kind(&lines, "deliver")[0];
    let child = delivered["process"]["pid"].as_i64().expect("a pid");
    let text = people.out(&stack);
    for wanted in [
        format!("uvicorn[{api}]"),
        format!("dramatiq[{child}]"),
        "retry 1".into(),
        "due in".into(),
    ] {
        assert!(text.contains(&wanted), "{wanted} in\n{text}");
    }
    assert!(
        people.err(&stack).contains("1 task, 0 missed"),
        "{}",
        people.err(&stack)
    );
}

const VALIDATE: &str = r#"
import json, sys
from jsonschema import Draft202012Validator
schema = json.load(open(sys.argv[1]))
Draft202012Validator.check_schema(schema)
validator = Draft202012Validator(schema)
lines = [json.loads(line) for line in open(sys.argv[2])]
wrong = [f"{error.json_path}: {error.message[:300]} in {line}" for line in lines for error in validator.iter_errors(line)]
print("\n".join(wrong))
sys.exit(bool(wrong) or not lines)
"#;

/// By somebody else's validator.
fn fits_the_schema(stack: &Stack, file: &str) {
    let python = std::path::Path::new(Lab::get().value("LAB_VENV")).join("bin/python");
    let output = Command::new(python)
        .args(["-c", VALIDATE])
        .arg(repository().join("docs/trace.v1.schema.json"))
        .arg(stack.dir.join(file))
        .output()
        .expect("python runs");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn filters_choose_and_arguments_are_shown_on_request() {
    let mut stack = only_a_broker("trace-filters");
    let traces: Vec<(Trace, usize, &str)> = [
        (vec!["--queue", "orders"], 3, "4 events"),
        (vec!["--queue", "m*"], 1, "4 events"),
        (vec!["--actor", "send", "--actor", "x?y"], 2, "4 events"),
        (vec!["--task", "task_2"], 1, "4 events"),
        (vec!["--task", "id-3"], 1, "4 events"),
        (vec!["--task", "task_"], 0, "4 events"),
        (vec!["--grep", "task_[12]", "--show-args"], 2, "4 events"),
        (vec!["--grep", "task_[12]"], 0, "4 events"),
        (vec!["--queue", "orders", "--actor", "pay"], 1, "4 events"),
    ]
    .into_iter()
    .enumerate()
    .map(|(n, (arguments, wanted, events))| {
        (
            Trace::start(&mut stack, &format!("f{n}"), &arguments),
            wanted,
            events,
        )
    })
    .collect();
    stack.publish("orders", &body("pay", "id-1", "task_1"));
    stack.publish("orders.DQ", &body("send", "id-2", "task_2"));
    stack.publish("mail", &body("send", "id-3", "task_3"));
    stack.publish("orders", "no \u{1b}[31m JSON");
    for (mut trace, wanted, events) in traces {
        until("all are read", || {
            // The numbers come at the end: give it time by what it shows, or by the clock.
            sleep(Duration::from_millis(if wanted == 0 { 300 } else { 0 }));
            trace.out(&stack).lines().count() >= wanted
        });
        assert_eq!(trace.end("INT").code(), Some(0));
        let (out, err) = (trace.out(&stack), trace.err(&stack));
        assert_eq!(out.lines().count(), wanted, "{}\n{out}", trace.name);
        assert!(err.contains(events), "{err}");
        assert!(
            !out.contains(char::is_control) || !out.contains('\u{1b}'),
            "{out:?}"
        );
    }
}

#[test]
fn a_count_and_a_duration_end_a_trace() {
    let mut stack = only_a_broker("trace-ends");
    let before = stack.vhost();
    let mut counted = Trace::start(&mut stack, "count", &["--count", "2"]);
    let mut timed = Trace::start(&mut stack, "for", &["--for", "1500ms", "--format", "json"]);
    for n in 0..5 {
        stack.publish("orders", &body("pay", &format!("id-{n}"), "t"));
    }
    assert_eq!(counted.wait().code(), Some(0), "{}", counted.err(&stack));
    assert_eq!(counted.out(&stack).lines().count(), 2);
    assert_eq!(timed.wait().code(), Some(0), "{}", timed.err(&stack));
    assert_eq!(kind(&timed.lines(&stack), "publish").len(), 5);
    assert_eq!(stack.vhost(), before);
}

/// `| head -n 2`: also while nothing more comes.
#[test]
fn a_closed_pipe_ends_it() {
    let mut stack = only_a_broker("trace-pipe");
    let config = stack.write_config();
    let mut taskdiag = stack
        .taskdiag("trace")
        .arg("--config")
        .arg(config)
        .stdout(Stdio::piped())
        .stderr(File::create(stack.dir.join("pipe.err")).expect("a file"))
        .spawn()
        .expect("taskdiag starts");
    stack.reaper.watch(taskdiag.id());
    stack.until_logged("pipe.err", "of vhost");
    stack.publish("orders", &body("pay", "id-1", "t"));
    let mut reader = std::io::BufReader::new(taskdiag.stdout.take().expect("a pipe"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut reader, &mut line).expect("a line");
    assert!(line.contains("publish"), "{line}");
    drop(reader);
    let mut status = None;
    until("it ends", || {
        status = taskdiag.try_wait().expect("its status");
        status.is_some()
    });
    assert_eq!(
        status.and_then(|status| status.code()),
        Some(0),
        "{}",
        stack.read("pipe.err")
    );
    assert!(!stack.traces());
}

// ---- what is refused ----

#[test]
fn wrong_arguments_and_missing_permissions_are_named() {
    let mut stack = only_a_broker("trace-refused");
    let refused = |stack: &Stack, arguments: &[&str], code: i32| -> String {
        let output = stack
            .taskdiag("trace")
            .arg("--config")
            .arg(stack.write_config())
            .args(arguments)
            .output()
            .expect("taskdiag runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{said}");
        said
    };
    assert!(refused(&stack, &["--set", "broker.trace=off"], 2).contains("broker.trace"));
    assert!(refused(&stack, &["--grep", "("], 2).contains("--grep"));
    assert!(refused(&stack, &["--for", "7"], 2).contains("--for"));
    assert!(refused(&stack, &["--record", "/no/such/folder/x.jsonl"], 30).contains("/no/such/folder"));
    let lab = Lab::get();
    let user = stack.id.clone();
    lab.manage(
        "PUT",
        &format!("users/{user}"),
        Some(json!({ "password": "pw-trace", "tags": "monitoring" })),
    );
    let everything = json!({ "configure": ".*", "write": ".*", "read": ".*" });
    lab.manage("PUT", &format!("permissions/{user}/{user}"), Some(everything));
    let url = stack.amqp_url(&format!("{user}:pw-trace"));
    stack.set("broker.amqp_url", url);
    stack.set(
        "broker.management_url",
        format!("http://{user}:pw-trace@{}", lab.management()),
    );
    let began = Instant::now();
    let said = refused(&stack, &[], 30);
    assert!(said.contains("administrator"), "{said}");
    assert!(!said.contains("switched off"), "it was never on: {said}");
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "there is nothing to put back"
    );
    assert!(!stack.traces());
    // With nothing but what the README asks for, and tracing on already, it reads along.
    let enough = json!({ "configure": "^taskdiag\\..*", "write": "^taskdiag\\..*", "read": "^(taskdiag\\..*|amq\\.rabbitmq\\.trace)$" });
    lab.manage("PUT", &format!("permissions/{user}/{user}"), Some(enough));
    stack.trace_by_hand("x");
    let mut trace = Trace::start(&mut stack, "guest", &["--count", "1"]);
    stack.publish("orders", &body("pay", "id-1", "t"));
    assert_eq!(trace.wait().code(), Some(0), "{}", trace.err(&stack));
    assert!(stack.traces(), "somebody else had switched it on");
    let nothing = json!({ "configure": "^$", "write": "^$", "read": "^$" });
    lab.manage("PUT", &format!("permissions/{user}/{user}"), Some(nothing));
    let said = refused(&stack, &[], 30);
    assert!(said.contains("set_permissions"), "{said}");
    lab.manage("DELETE", &format!("users/{user}"), None);
}

// ---- what is put back ----

#[test]
fn tracing_is_put_back_however_it_ends() {
    let mut stack = only_a_broker("trace-restores");
    let before = stack.vhost();
    for how in ["INT", "TERM", "HUP", "KILL"] {
        let mut trace = Trace::start(&mut stack, how, &[]);
        assert!(stack.traces());
        let status = trace.end(how);
        assert_eq!(
            status.code(),
            (how != "KILL").then_some(0),
            "{}",
            trace.err(&stack)
        );
        until("tracing is off again", || !stack.traces());
        assert_eq!(stack.vhost(), before, "{how}");
    }
    let output = stack
        .taskdiag("trace")
        .arg("--config")
        .arg(stack.write_config())
        .env("TASKDIAG_PANIC", "1")
        .output()
        .expect("taskdiag runs");
    assert_eq!(output.status.code(), Some(1), "a bug in taskdiag");
    until("tracing is off again", || !stack.traces());
    assert_eq!(stack.vhost(), before, "after a panic");
    // They go with our connection, which the broker may notice a moment later.
    until("our exchanges are gone", || {
        let exchanges = Lab::get().manage("GET", &format!("exchanges/{}", stack.id), None);
        exchanges.as_array().into_iter().flatten().all(|exchange| {
            exchange["name"]
                .as_str()
                .is_none_or(|name| !name.contains("taskdiag"))
        })
    });
}

#[test]
fn the_last_of_two_traces_switches_tracing_off() {
    let mut stack = only_a_broker("trace-two");
    let before = stack.vhost();
    let mut first = Trace::start(&mut stack, "first", &["--format", "json"]);
    let mut second = Trace::start(&mut stack, "second", &["--format", "json"]);
    first.end("KILL");
    // Longer than a guardian takes when it has reason to act.
    sleep(Duration::from_millis(1500));
    assert!(stack.traces(), "it stays on for the second");
    stack.publish("orders", &body("pay", "id-1", "t"));
    second.until_shown(&stack, "it still sees", |lines| {
        !kind(lines, "publish").is_empty()
    });
    assert_eq!(second.end("INT").code(), Some(0));
    until("the last one switches off", || !stack.traces());
    assert_eq!(stack.vhost(), before);
}

// ---- recordings ----

#[test]
fn a_recording_is_the_story_of_a_task_or_says_that_it_cannot_be() {
    let mut stack = Stack::new("trace-record");
    stack.worker(healthy());
    stack.api(&[]);
    let recording = stack.dir.join("all.jsonl");
    let file = recording.to_str().expect("a path").to_owned();
    let mut trace = Trace::start(
        &mut stack,
        "record",
        &["--record", &file, "--show-args", "--queue", "nothing*"],
    );
    let task = submit(&mut stack);
    until("it is recorded", || {
        stack.read("all.jsonl").contains("\"deliver\"")
    });
    assert_eq!(trace.end("INT").code(), Some(0), "{}", trace.err(&stack));
    assert_eq!(
        trace.out(&stack),
        "",
        "the filter hides everything from the screen"
    );
    let replay = |command: &str, arguments: &[&str]| -> (Option<i32>, Json) {
        let output = stack
            .taskdiag(command)
            .arg(&recording)
            .args(["--format", "json"])
            .args(arguments)
            .output()
            .expect("taskdiag runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let report = serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{error}: {text}{}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code(), report)
    };
    let (code, report) = replay("replay", &[]);
    assert_eq!((code, &report["cause"]), (Some(30), &Json::Null));
    assert_eq!(report["scenario"], Json::Null);
    for stage in report["stages"].as_array().expect("stages") {
        assert_eq!(stage["reached"], Json::Null, "nothing is claimed: {stage}");
    }
    let (code, report) = replay("report", &["--task", &task]);
    assert_eq!((code, &report["cause"]), (Some(30), &Json::Null), "{report:#}");
    assert_eq!(report["stage"], "delivered");
    assert_eq!(report["task"]["id"], task);
    let (code, report) = replay("replay", &["--task", "task_of_another_day"]);
    assert_eq!((code, &report["cause"]), (Some(30), &Json::Null));
    let published = &report["stages"][2];
    assert_eq!(published["stage"], "published");
    assert_eq!(published["reached"], Json::Null, "{published}");
}
