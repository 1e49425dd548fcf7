//! `diagnose --start`: what is configured is started, watched, and gone afterwards, whatever ends the run.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::json;
use toml::{Table, Value as Toml};

use crate::lab::{Lab, repository, signal, until};
use crate::stack::Stack;
use crate::verdict::Running;
use crate::worker::healthy;

/// Stands in the environment of all that a test starts, and of nothing else.
const MARK: &str = "START_TEST_MARK";

/// A stack whose API and worker are started by taskdiag, marked with the stack's name.
fn started(name: &str) -> Stack {
    let mut stack = Stack::new(name);
    let port = stack.api_url().rsplit(':').next().expect("a port").to_owned();
    let uvicorn = [
        "uvicorn",
        "ops_core.main:app",
        "--host",
        "127.0.0.1",
        "--port",
        &port,
    ];
    stack.set("api.command", words(&uvicorn));
    for part in ["api", "worker"] {
        let mut env = Table::new();
        for (name, value) in [
            (MARK, stack.id.clone()),
            ("DRAMATIQ_TESTING", String::new()),
            ("DATABASE_URL", stack.database_url("lab:lab")),
            ("RABBITMQ_URL", stack.amqp_url("lab:lab")),
            (
                "PYTHONPYCACHEPREFIX",
                format!("{}/pycache", Lab::get().value("LAB_DIR")),
            ),
        ] {
            env.insert(name.into(), value.into());
        }
        stack.set(&format!("{part}.env"), env);
        stack.set(&format!("{part}.python"), stack.venv().to_str().expect("a path"));
        stack.set(&format!("{part}.cwd"), Lab::get().value("LAB_OPS_CORE"));
        stack.unset(&format!("{part}.log"));
    }
    fs::create_dir_all(stack.dir.join("tmp")).expect("a folder");
    stack
}

fn words(words: &[&str]) -> Toml {
    words
        .iter()
        .map(|word| Toml::from(*word))
        .collect::<Vec<_>>()
        .into()
}

/// Variables that a run of a test needs: its own folder for temporary files.
fn start_with(stack: &mut Stack, arguments: &[&str], env: &[(&str, &str)]) -> Running {
    let folder = stack.dir.join("tmp");
    let mut all = vec![("TMPDIR", folder.to_str().expect("a path"))];
    all.extend(env);
    let arguments = [&["--start"], arguments].concat();
    stack.start_diagnose_with(&arguments, &all)
}

fn start(stack: &mut Stack, arguments: &[&str]) -> Running {
    start_with(stack, arguments, &[])
}

/// Processes that carry the stack's mark.
fn marked(stack: &Stack) -> Vec<i32> {
    let mark = format!("{MARK}={}\0", stack.id);
    let environ = |pid: i32| fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| {
            let environ = environ(*pid);
            environ.windows(mark.len()).any(|part| part == mark.as_bytes())
        })
        .collect()
}

/// All that a run of `--start` may not leave behind.
fn assert_nothing_left(stack: &mut Stack) {
    let left = marked(stack);
    assert!(left.is_empty(), "these processes are left: {left:?}");
    let consumers = stack.depth("default").map_or(0, |(_, consumers)| consumers);
    assert_eq!(consumers, 0, "consumers of default");
    let files: Vec<_> = fs::read_dir(stack.dir.join("tmp"))
        .expect("tmp")
        .flatten()
        .map(|entry| entry.path())
        .collect();
    assert!(files.is_empty(), "these files are left: {files:?}");
    assert_eq!(stack.vhost()["tracing"], json!(false), "tracing");
}

/// A Python program in the stack's folder that runs the worker in its own way.
fn wrapper(stack: &mut Stack, program: &str) {
    let path = stack.dir.join("wrapper.py");
    let head = "import os, signal, subprocess, sys, time\nWORKER = ['dramatiq', '-v', '--processes', '1', '--threads', '2', 'ops_core.tasks.worker']\n";
    fs::write(&path, format!("{head}{program}")).expect("a program");
    stack.set(
        "worker.command",
        words(&["python", path.to_str().expect("a path")]),
    );
}

/// Beside the worker a process that has left its session and its parent, and ignores every request.
const ESCAPES: &str = "
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        while True:
            time.sleep(1)
    os._exit(0)
os.wait()
os.execvp(WORKER[0], WORKER)
";

#[test]
fn a_healthy_system_is_started_and_gone_afterwards() {
    let mut stack = started("start-healthy");
    let verdict = start(&mut stack, &[]).finish(&stack);
    assert_nothing_left(&mut stack);
    for (kind, part) in [
        ("started", "api"),
        ("started", "worker"),
        ("ready", "api"),
        ("ready", "worker"),
    ] {
        let seen = verdict
            .list("timeline")
            .iter()
            .any(|event| event["kind"] == kind && event["part"] == part);
        assert!(seen, "{part} {kind}\n{}", verdict.explain());
    }
    verdict.expect("A", "succeeded", 0).certain().sees(&[
        "api-log",
        "worker-log",
        "database",
        "process",
        "firehose",
    ]);
}

#[test]
fn descendants_in_other_sessions_are_ended() {
    let mut stack = started("start-escapes");
    wrapper(&mut stack, ESCAPES);
    start(&mut stack, &[]).finish(&stack).expect("A", "succeeded", 0);
    assert_nothing_left(&mut stack);
}

/// The worker leaves the process that was started, its session and its group.
const DAEMON: &str = "
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp(WORKER[0], WORKER)
    os._exit(0)
os.wait()
";

/// Its first process ends at once, and well: that is no death.
#[test]
fn a_worker_may_put_itself_into_the_background() {
    let mut stack = started("start-daemon");
    wrapper(&mut stack, DAEMON);
    start(&mut stack, &[]).finish(&stack).expect("A", "succeeded", 0);
    assert_nothing_left(&mut stack);
}

#[test]
fn a_worker_that_does_not_want_to_end_is_killed() {
    let mut stack = started("start-stubborn");
    let stubborn = "
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen(WORKER)
while True:
    time.sleep(1)
";
    wrapper(&mut stack, stubborn);
    start(&mut stack, &[]).finish(&stack).expect("A", "succeeded", 0);
    assert_nothing_left(&mut stack);
}

/// Beside the worker one that prints 383 MiB as fast as a chatty library could.
const CHATTY: &str = "
if os.fork() == 0:
    chat = (b'chat ' * 40 + b'\\n') * 5000
    for _ in range(400):
        sys.stdout.buffer.write(chat[:1 << 20])
        sys.stdout.buffer.flush()
        time.sleep(0.004)
    os._exit(0)
os.execvp(WORKER[0], WORKER)
";

#[test]
fn a_chatty_worker_fills_no_disk() {
    let mut stack = started("start-chatty");
    wrapper(&mut stack, CHATTY);
    stack.set("broker.queue", "elsewhere");
    stack.set("timing.timeout", "60s");
    stack.set("timing.silence", "40s");
    let mut running = start(&mut stack, &[]);
    let log = || {
        let folder = fs::read_dir(stack.dir.join("tmp")).ok()?.flatten().next()?;
        let log = fs::metadata(folder.path().join("worker.log")).ok()?;
        Some((log.len() >> 20, (log.blocks() * 512) >> 20))
    };
    let mut most = (0, 0);
    // Beside other tests a disk may be slow; no more is asked of it than what is printed.
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let (length, size) = log().unwrap_or_default();
        most = (most.0.max(length), most.1.max(size));
        if length >= 380 || running.has_ended() {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "not within 120 s: {most:?} MiB\n{}",
            running.stderr()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let verdict = running.finish(&stack);
    assert!(
        most.0 >= 380 && most.1 < 250,
        "{most:?} MiB\n{}",
        verdict.explain()
    );
    assert_eq!(verdict.state("worker-log"), "partial");
    let sources = verdict.list("sources").iter();
    let reason: String = sources.filter_map(|source| source["reason"].as_str()).collect();
    assert!(
        reason.contains("were left out") || reason.contains("too fast"),
        "{reason}"
    );
    assert_nothing_left(&mut stack);
}

// ---- whatever ends the run ----

/// A run that would go on for a minute, with a worker that escapes.
fn in_the_middle(name: &str, env: &[(&str, &str)]) -> (Stack, Running) {
    let mut stack = started(name);
    wrapper(&mut stack, ESCAPES);
    let down = stack.dir.join("down");
    stack.set("services.up", words(&["true"]));
    stack.set("services.down", words(&["touch", down.to_str().expect("a path")]));
    // The task goes where nobody looks.
    stack.set("broker.queue", "elsewhere");
    stack.set("timing.silence", "60s");
    stack.set("timing.timeout", "60s");
    let running = start_with(&mut stack, &[], env);
    until("the worker consumes", || {
        stack.depth("default").is_some_and(|(_, consumers)| consumers > 0)
    });
    assert!(
        marked(&stack).len() >= 4,
        "API, master, worker and the one that escaped"
    );
    (stack, running)
}

fn ended_by(name: &str, end: &str) {
    let (mut stack, mut running) = in_the_middle(name, &[]);
    signal(end, running.pid());
    running.wait();
    if end == "KILL" {
        until("everything is gone", || marked(&stack).is_empty());
        let folder = stack.dir.join("tmp");
        until("its files are gone", || {
            fs::read_dir(&folder).expect("tmp").next().is_none()
        });
        until("tracing is off", || stack.vhost()["tracing"] == json!(false));
    }
    // A run that could end by itself comes back only when all is gone.
    assert_nothing_left(&mut stack);
    assert!(stack.dir.join("down").exists(), "the services went down");
}

#[test]
fn ctrl_c_ends_everything() {
    ended_by("start-int", "INT");
}

#[test]
fn sigterm_ends_everything() {
    ended_by("start-term", "TERM");
}

#[test]
fn kill_9_ends_everything() {
    ended_by("start-kill", "KILL");
}

#[test]
fn a_panic_ends_everything() {
    let mut stack = started("start-panic");
    wrapper(&mut stack, ESCAPES);
    let mut running = start_with(&mut stack, &[], &[("TASKDIAG_PANIC", "1")]);
    assert_eq!(running.wait().code(), Some(1), "{}", running.stderr());
    assert!(
        running.stderr().contains("ready      worker"),
        "{}",
        running.stderr()
    );
    until("everything is gone", || marked(&stack).is_empty());
    let folder = stack.dir.join("tmp");
    until("its files are gone", || {
        fs::read_dir(&folder).expect("tmp").next().is_none()
    });
    until("tracing is off", || stack.vhost()["tracing"] == json!(false));
    assert_nothing_left(&mut stack);
}

/// The second line: what is directly below the guardian hears of its death.
#[test]
fn a_killed_guardian_takes_the_system_with_it() {
    let mut stack = started("start-guardian");
    stack.set("broker.queue", "elsewhere");
    stack.set("timing.silence", "60s");
    let mut running = start(&mut stack, &[]);
    until("the worker consumes", || {
        stack.depth("default").is_some_and(|(_, consumers)| consumers > 0)
    });
    let parent = |pid: i32| -> i32 {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("stat");
        let rest = stat.rsplit(") ").next().expect("fields");
        rest.split(' ').nth(1).expect("ppid").parse().expect("ppid")
    };
    let pids = marked(&stack);
    let root = pids
        .iter()
        .find(|pid| !pids.contains(&parent(**pid)))
        .expect("a root");
    signal("KILL", parent(*root));
    until("the system ends", || marked(&stack).is_empty());
    signal("INT", running.pid());
    running.wait();
    let files = fs::read_dir(stack.dir.join("tmp")).expect("tmp").count();
    assert_eq!(files, 0, "temporary files");
}

// ---- what does not start is the verdict ----

#[test]
fn a_worker_that_dies_at_import() {
    let mut stack = started("start-import");
    stack.set(
        "worker.command",
        words(&["dramatiq", "-v", "ops_core.tasks.nowhere"]),
    );
    // Longer than a loaded machine takes to bring up the API.
    stack.set("timing.timeout", "60s");
    stack.set("timing.silence", "60s");
    let began = Instant::now();
    start(&mut stack, &[])
        .finish(&stack)
        .expect("B", "worker-not-started", 10)
        .certain()
        .sums_up("exit code 2")
        .sums_up("No module named 'ops_core.tasks.nowhere'");
    assert!(
        began.elapsed() < Duration::from_secs(60),
        "silence is not waited for"
    );
    assert_nothing_left(&mut stack);
}

/// The worker command of the plan that this tool began with, literally.
#[test]
fn dramatiq_v_2_is_explained_in_one_line() {
    let mut stack = started("start-v2");
    stack.set(
        "worker.command",
        words(&["dramatiq", "-v", "2", "ops_core.tasks.worker"]),
    );
    start(&mut stack, &[])
        .finish(&stack)
        .expect("B", "worker-not-started", 10)
        .certain()
        .sums_up("exit code 2")
        .sums_up("the `2` after `-v` is read as the broker module")
        .sums_up("write `-v`, or `-vv`");
    stack.set(
        "worker.command",
        words(&["dramatiq", "-v", "2", "--threads", "2", "ops_core.tasks.worker"]),
    );
    let verdict = start(&mut stack, &[]).finish(&stack);
    assert!(
        verdict
            .stderr
            .contains("1 message waits on queue `default` already"),
        "{}",
        verdict.stderr
    );
    verdict
        .expect("B", "worker-not-started", 10)
        .sums_up("the `2` after `-v` is read as the broker module");
    assert_nothing_left(&mut stack);
}

#[test]
fn an_api_that_dies_at_its_start() {
    let mut stack = started("start-api-dies");
    stack.set("api.command", words(&["uvicorn", "ops_core.nowhere:app"]));
    start(&mut stack, &[])
        .finish(&stack)
        .expect("none", "api-unreachable", 10)
        .certain()
        .sums_up("exit code")
        .sums_up("Could not import module");
    assert_nothing_left(&mut stack);
}

#[test]
fn a_worker_without_python_at_all() {
    let mut stack = started("start-shell");
    let said = stack.dir.join("said");
    let script = format!(
        "env > {0}; pwd >> {0}; echo 'no licence' >&2; exit 7",
        said.display()
    );
    stack.set("worker.command", words(&["sh", "-c", &script]));
    start_with(
        &mut stack,
        &[],
        &[("DRAMATIQ_TESTING", "1"), ("PYTHONHOME", "/nowhere")],
    )
    .finish(&stack)
    .expect("B", "worker-not-started", 10)
    .sums_up("exit code 7")
    .sums_up("no licence");
    let said = fs::read_to_string(said).expect("it ran");
    let venv = stack.venv().to_str().expect("a path");
    for line in [
        &format!("VIRTUAL_ENV={venv}"),
        "PYTHONUNBUFFERED=1",
        Lab::get().value("LAB_OPS_CORE"),
    ] {
        assert!(said.lines().any(|said| said == line), "{line}:\n{said}");
    }
    assert!(said.contains(&format!("PATH={venv}/bin:")), "{said}");
    assert!(
        !said.contains("DRAMATIQ_TESTING") && !said.contains("PYTHONHOME"),
        "{said}"
    );
    assert_nothing_left(&mut stack);
}

/// Another worker does the work: what was to be tried is not what succeeded.
#[test]
fn a_worker_that_died_is_not_what_succeeded() {
    let mut stack = started("start-stand-in");
    stack.worker(healthy());
    stack.set(
        "worker.command",
        words(&["sh", "-c", "echo cannot import; exit 2"]),
    );
    let verdict = start(&mut stack, &[]).finish(&stack).expect("A", "succeeded", 30);
    let notes = verdict.json["notes"].to_string();
    assert!(
        notes.contains("the worker that was started ended with exit code 2")
            && notes.contains("cannot import")
            && notes.contains("took the message instead"),
        "{notes}"
    );
}

// ---- what cannot be started at all ----

fn refused(stack: &mut Stack, arguments: &[&str], code: i32, words: &[&str]) {
    let mut running = start(stack, arguments);
    let status = running.wait();
    let stderr = running.stderr();
    assert_eq!(status.code(), Some(code), "{stderr}");
    for word in words {
        assert!(stderr.contains(word), "stderr says {word}:\n{stderr}");
    }
    assert_nothing_left(stack);
}

#[test]
fn wrong_commands_are_refused_before_anything_starts() {
    let mut stack = started("start-wrong");
    stack.set("worker.python", "nowhere");
    refused(
        &mut stack,
        &[],
        2,
        &["worker.python", "nowhere has no bin/python", "python -m venv"],
    );
    stack.set(
        "worker.python",
        stack.venv().join("bin/python").to_str().expect("a path"),
    );
    refused(&mut stack, &[], 2, &["not the interpreter"]);
    stack.set("worker.python", stack.venv().to_str().expect("a path"));
    stack.set("worker.command", words(&["dramatik", "-v", "x"]));
    refused(
        &mut stack,
        &[],
        2,
        &["worker.command", "`dramatik`", "install it"],
    );
    stack.set("worker.cwd", "nowhere");
    refused(&mut stack, &[], 2, &["worker.cwd", "not a folder"]);
    stack.unset("worker.command");
    stack.unset("api.command");
    refused(
        &mut stack,
        &[],
        2,
        &["`worker.command` is not configured", "--start"],
    );
}

#[test]
fn a_taken_port_is_refused_with_its_owner() {
    let mut stack = started("start-port");
    let address = stack.api_url().trim_start_matches("http://").to_owned();
    let _listener = TcpListener::bind(&address).expect("the port is free");
    let pid = format!("pid {}", std::process::id());
    refused(&mut stack, &[], 30, &[&address, "already in use", &pid]);
}

// ---- around it ----

#[test]
fn services_are_brought_up_and_down() {
    let mut stack = started("start-services");
    let touch = |file: &Path| words(&["touch", file.to_str().expect("a path")]);
    let (up, down) = (stack.dir.join("up"), stack.dir.join("down"));
    stack.set("services.up", touch(&up));
    stack.set("services.down", touch(&down));
    // Whatever becomes of the worker.
    stack.set("worker.command", words(&["sh", "-c", "exit 1"]));
    start(&mut stack, &[])
        .finish(&stack)
        .expect("B", "worker-not-started", 10);
    assert!(up.exists() && down.exists());
    fs::remove_file(&down).expect("it is there");
    stack.set("services.up", words(&["sh", "-c", "echo no such image; exit 3"]));
    refused(&mut stack, &[], 30, &["services", "exit code 3", "no such image"]);
    assert!(down.exists(), "half of it may be up");
}

#[test]
fn only_the_worker_is_started_where_the_api_runs() {
    let mut stack = started("start-worker-only");
    stack.unset("api.command");
    stack.api(&[]);
    start(&mut stack, &[]).finish(&stack).expect("A", "succeeded", 0);
    assert_nothing_left(&mut stack);
}

#[test]
fn consumers_that_were_there_before_are_named() {
    let mut stack = started("start-other-worker");
    stack.unset("api.command");
    stack.api(&[]);
    stack.worker(crate::worker::healthy().log("other.log"));
    let verdict = start(&mut stack, &[]).finish(&stack);
    assert!(
        verdict
            .stderr
            .contains("1 consumer is on queue `default` already"),
        "{}",
        verdict.stderr
    );
    assert!(marked(&stack).is_empty());
    assert!(
        verdict.cause() == "taken-by-other-worker"
            || verdict
                .list("contributing")
                .iter()
                .any(|cause| cause["id"] == "several-workers")
            // The list of consumers may be younger than the verdict.
            || verdict.text.contains("took the message"),
        "{}",
        verdict.explain()
    );
}

#[test]
fn kept_processes_run_on_and_stop_as_it_says() {
    let mut stack = started("start-keep");
    wrapper(&mut stack, DAEMON);
    let verdict = start(&mut stack, &["--keep"]).finish(&stack);
    let kept = marked(&stack);
    assert!(
        kept.len() >= 3,
        "API, master and worker run on: {kept:?}\n{}",
        verdict.explain()
    );
    assert!(stack.depth("default").is_some_and(|(_, consumers)| consumers > 0));
    let said = |beginning: &str| {
        let line = verdict
            .stderr
            .lines()
            .find_map(|line| line.strip_prefix(beginning));
        line.unwrap_or_else(|| panic!("{beginning}\n{}", verdict.stderr))
            .to_owned()
    };
    let remove = said("to remove the logs: ");
    let log = Path::new(remove.trim_start_matches("rm -r ")).join("worker.log");
    for command in [said("to stop what runs: "), remove] {
        if command.starts_with("rm") {
            let log = fs::read_to_string(&log).expect("the worker's log");
            assert!(
                log.contains("Worker has been shut down"),
                "asked once, it ends in order: {log}"
            );
        }
        let status = Command::new("sh")
            .args(["-c", &command])
            .status()
            .expect("sh runs");
        assert!(status.success(), "{command}");
        until("what runs ends", || marked(&stack).is_empty());
    }
    assert_nothing_left(&mut stack);
    verdict.expect("A", "succeeded", 0);
}

/// What `services.down` printed, and not what `up` did; nothing of it with a password.
#[test]
fn services_that_fail_are_quoted_without_secrets() {
    let mut stack = started("start-services");
    stack.set(
        "services.up",
        words(&["sh", "-c", "echo up password=s3cr3t-w0rd"]),
    );
    stack.set("services.down", words(&["sh", "-c", "exit 4"]));
    let verdict = start(&mut stack, &[]).finish(&stack);
    let said = &verdict.stderr;
    assert!(
        said.contains("ended with exit code 4: it printed nothing"),
        "{said}"
    );
    assert!(
        said.contains("hint: run it by hand: the services may still be up"),
        "{said}"
    );
    assert!(!said.contains("s3cr3t-w0rd"), "{said}");
    verdict.expect("A", "succeeded", 0);
    stack.set(
        "services.up",
        words(&["sh", "-c", "echo failed password=s3cr3t-w0rd; exit 3"]),
    );
    refused(&mut stack, &[], 30, &["exit code 3: failed password=***"]);
}

/// Killed while `up` runs: what it has started is gone before `down` runs.
#[test]
fn kill_9_while_services_come_up() {
    let mut stack = started("start-services-kill");
    let [up, down] = ["up", "down"].map(|name| stack.dir.join(name));
    let script = format!("touch {}; {MARK}={} sleep 60; echo done", up.display(), stack.id);
    stack.set("services.up", words(&["sh", "-c", &script]));
    stack.set("services.down", words(&["touch", down.to_str().expect("a path")]));
    let mut running = start(&mut stack, &[]);
    until("up runs", || up.exists() && !marked(&stack).is_empty());
    signal("KILL", running.pid());
    running.wait();
    until("down has run", || down.exists());
    assert_eq!(marked(&stack), Vec::<i32>::new(), "up has ended before");
}

#[test]
fn output_of_api_and_worker_is_shown_without_secrets() {
    let mut stack = started("start-live");
    let talk = "printf 'key s3cr3t-w0rd of amqp://u:pa55word@h/ \\033[31mred, s1gn-s3cret\\n'; exit 1";
    stack.set("worker.command", words(&["sh", "-c", talk]));
    let mut env = Table::new();
    env.insert("API_TOKEN".into(), "s3cr3t-w0rd".into());
    env.insert("MY_OWN".into(), "s1gn-s3cret".into());
    stack.set("worker.env", env);
    let verdict = start(&mut stack, &["--verbose"]).finish(&stack);
    let line = verdict.stderr.lines().find(|line| line.starts_with("worker |"));
    assert_eq!(
        line,
        Some("worker | key *** of amqp://u:***@h/ \\e[31mred, ***"),
        "{}",
        verdict.stderr
    );
    assert!(verdict.stderr.contains("api    |"), "{}", verdict.stderr);
    assert!(!verdict.text.contains("s3cr3t-w0rd") && !verdict.stdout.contains("s3cr3t-w0rd"));
}

#[test]
fn start_refuses_an_existing_task() {
    let stack = started("start-usage");
    let ask = |arguments: &[&str]| -> Output {
        let mut command = stack.taskdiag("diagnose");
        command.arg("--config").arg(stack.write_config()).args(arguments);
        command.output().expect("taskdiag runs")
    };
    for arguments in [&["--start", "--task", "task_1"][..], &["--keep"][..]] {
        assert_eq!(ask(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

/// The plan's whole session as one command, on the sample system.
#[test]
fn the_lab_starts_a_session_and_leaves_nothing() {
    let lab = Lab::get();
    let folder = std::env::temp_dir().join(format!("taskdiag-session-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a folder");
    let output = Command::new(repository().join("fixtures/lab"))
        .args(["start", "--silence", "2s", "--format", "json"])
        .env("TMPDIR", &folder)
        .env("TASKDIAG_LAB", lab.value("LAB_DIR"))
        .env("TASKDIAG_BIN", env!("CARGO_BIN_EXE_taskdiag"))
        .output()
        .expect("the lab runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report on stdout");
    assert_eq!(report["cause"]["id"], "succeeded", "{report:#}");
    // Its folder, its vhost, and its database, which `down` deletes after the vhost.
    fs::remove_dir(&folder).expect("no file is left");
    let vhosts = lab.manage("GET", "vhosts?columns=name", None).to_string();
    assert!(!vhosts.contains("session-"), "{vhosts}");
}
