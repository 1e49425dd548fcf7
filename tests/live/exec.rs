//! `[worker] exec` and `[api] exec`: a worker in namespaces of its own, seen through a prefix that leads there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::lab::{Lab, repository, signal, until};
use crate::stack::{Stack, words};

/// A worker as a container has it: its pids, mounts and network are its own.
struct Namespace {
    /// The first process in it, as this machine counts.
    first: u32,
}

impl Namespace {
    fn with_worker(stack: &mut Stack) -> Self {
        let lab = Lab::get();
        let ports = [lab.value("LAB_AMQP_PORT"), lab.value("LAB_PG_PORT")];
        let forward = repository().join("tests/live/forward.py");
        let folder = stack.dir.clone();
        let mut outside = Command::new("python3");
        outside.arg(&forward).arg("outside").arg(&folder).args(ports);
        stack.start("forward", "forward.log", outside);
        stack.until_logged("forward.log", "forwards");
        let worker = stack.python("dramatiq");
        let script = format!(
            "python3 {} inside {} {} & exec {} -v --processes 1 --threads 2 ops_core.tasks.worker",
            forward.display(),
            folder.display(),
            ports.join(" "),
            worker.get_program().display(),
        );
        let mut unshare = Command::new("unshare");
        let namespaces = [
            "--pid",
            "--mount",
            "--net",
            "--fork",
            "--mount-proc",
            "--kill-child",
        ];
        unshare.args(namespaces).args(["sh", "-c", &script]);
        for (name, value) in worker.get_envs() {
            match value {
                Some(value) => unshare.env(name, value),
                None => unshare.env_remove(name),
            };
        }
        unshare.current_dir(worker.get_current_dir().expect("a folder"));
        let pid = stack.start("worker", "worker.log", unshare);
        until("the worker consumes", || {
            let depth = stack.depth("default");
            depth.is_some_and(|(_, consumers)| consumers > 0)
        });
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("its children");
        let first = children.split_whitespace().next().expect("a child");
        Self {
            first: first.parse().expect("a pid"),
        }
    }

    fn prefix(&self) -> Vec<String> {
        let first = self.first.to_string();
        let words = ["nsenter", "--target", &first, "--pid", "--mount", "--net"];
        words.map(str::to_owned).to_vec()
    }

    /// Command lines of all that runs in it.
    fn commands(&self) -> Vec<String> {
        let own = fs::read_link(format!("/proc/{}/ns/pid", self.first)).expect("its namespace");
        let is_in = |path: &Path| fs::read_link(path.join("ns/pid")).is_ok_and(|other| other == own);
        let processes = fs::read_dir("/proc").expect("processes").flatten();
        let mut found: Vec<String> = processes
            .map(|entry| entry.path())
            .filter(|path| is_in(path))
            .filter_map(|path| fs::read(path.join("cmdline")).ok())
            .map(|command| String::from_utf8_lossy(&command).replace('\0', " "))
            .filter(|command| !command.is_empty())
            .collect();
        found.sort();
        found
    }

    /// Whether anything of ours runs in it.
    fn has_ours(&self) -> bool {
        let commands = self.commands();
        commands.iter().any(|command| command.contains("taskdiag boot"))
    }
}

fn check_command(stack: &Stack, arguments: &[&str]) -> Command {
    let config = stack.write_config();
    let mut taskdiag = stack.taskdiag("check");
    taskdiag.arg("--config").arg(config).args(arguments);
    taskdiag
}

fn check(stack: &Stack, arguments: &[&str]) -> Output {
    check_command(stack, arguments).output().expect("taskdiag runs")
}

fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout);
    // Lines are wrapped.
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn places(output: &Output) -> Vec<Json> {
    let report: Json = serde_json::from_slice(&output.stdout).expect("JSON on stdout");
    report["places"].as_array().expect("places").clone()
}

#[test]
fn check_sees_the_processes_of_a_place() {
    let mut stack = Stack::new("exec-check");
    let namespace = Namespace::with_worker(&mut stack);
    stack.api(&[]);
    stack.set("worker.exec", namespace.prefix());
    stack.set("api.exec", words(&["env"]));
    let output = check(&stack, &[]);
    let text = said(&output);
    assert!(output.status.success(), "{text}");
    let count = namespace.commands().len();
    assert!(
        text.contains(&format!("sees {count} processes in worker (exec), ")),
        "{count}: {text}"
    );
    assert!(text.contains("in api (exec)"), "{text}");
    assert!(!text.contains("looks like a worker"), "{text}");
    let places = places(&check(&stack, &["--format", "json"]));
    assert_eq!(places[0]["part"], "worker");
    let processes = places[0]["processes"].as_array().expect("processes");
    // With the pids that they have there.
    let first = processes
        .iter()
        .find(|process| process["pid"] == 1)
        .expect("pid 1");
    assert!(first["command"].to_string().contains("dramatiq"), "{first}");
    let amqp = format!("127.0.0.1:{}", Lab::get().value("LAB_AMQP_PORT"));
    let connected = processes
        .iter()
        .find(|process| process["sockets"].to_string().contains(&format!("-> {amqp}")));
    let connected = connected.expect("who is connected with the broker");
    assert!(connected["pid"].as_i64() > Some(1), "{connected}");
    assert!(!namespace.has_ours(), "something was left there");
}

/// The wrong place is the commonest mistake.
#[test]
fn a_place_without_a_worker_is_said_to_have_none() {
    let mut stack = Stack::new("exec-none");
    let empty = words(&[
        "unshare",
        "--pid",
        "--mount",
        "--fork",
        "--mount-proc",
        "--kill-child",
    ]);
    stack.set("worker.exec", empty);
    let text = said(&check(&stack, &[]));
    assert!(
        text.contains("none of those in worker (exec) looks like a worker"),
        "{text}"
    );
}

/// The prefix passes on what it is given, and answers nothing for a while.
fn slow(prefix: Vec<String>) -> Vec<String> {
    let mut slow = words(&["sh", "-c", "\"$@\" | { sleep 20; cat; }", "slow"]);
    slow.extend(prefix);
    slow
}

#[test]
fn a_killed_check_leaves_nothing_in_the_place() {
    let mut stack = Stack::new("exec-kill");
    let namespace = Namespace::with_worker(&mut stack);
    stack.set("worker.exec", slow(namespace.prefix()));
    let before = namespace.commands();
    let mut taskdiag = check_command(&stack, &[])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("taskdiag starts");
    until("the script waits there", || namespace.has_ours());
    signal("KILL", taskdiag.id());
    taskdiag.wait().expect("its end");
    let killed = Instant::now();
    until("nothing of ours is left", || !namespace.has_ours());
    assert!(
        killed.elapsed() < Duration::from_secs(5),
        "{:?}",
        killed.elapsed()
    );
    until("all is there as before, and nothing else", || {
        namespace.commands() == before
    });
}

/// Processes whose command line holds this.
fn running(text: &str) -> usize {
    let processes = fs::read_dir("/proc").expect("processes").flatten();
    processes
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .filter(|command| String::from_utf8_lossy(command).replace('\0', " ").contains(text))
        .count()
}

/// It neither answers nor reads.
#[test]
fn a_prefix_that_hangs_is_given_up_and_ended() {
    let mut stack = Stack::new("exec-hangs");
    let seconds = format!("1000.{}", std::process::id());
    let hang = format!("sleep {seconds}");
    stack.set(
        "worker.exec",
        words(&["sh", "-c", &format!("{hang} & {hang}"), "hang"]),
    );
    let began = Instant::now();
    let output = check(&stack, &[]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(30), "{text}");
    assert!(text.contains("did not answer within 8 s"), "{text}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    until("it is ended", || running(&hang) == 0);
    // And where we are killed meanwhile.
    stack.set(
        "worker.exec",
        words(&["sh", "-c", &format!("exec {hang}"), "hang"]),
    );
    let mut taskdiag = check_command(&stack, &[])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("taskdiag starts");
    until("it hangs", || running(&hang) == 1);
    signal("KILL", taskdiag.id());
    taskdiag.wait().expect("its end");
    until("it is ended", || running(&hang) == 0);
}

#[test]
fn what_a_prefix_says_of_its_failure_is_shown() {
    let mut stack = Stack::new("exec-fails");
    let paused = "echo 'Error response from daemon: Container shop-worker-1 is paused, unpause the container before exec' >&2; exit 1";
    for (prefix, expected) in [
        (
            words(&["/nonesuch/docker", "exec"]),
            "cannot be run: No such file or directory",
        ),
        (
            words(&["sh", "-c", paused, "x"]),
            "ended with exit code 1: Error response from daemon: Container shop-worker-1 is paused",
        ),
        (words(&["echo", "hello"]), "answered \"hello sh\""),
        // Without an end.
        (words(&["yes"]), "answered \"sh\""),
        (words(&["cat", "/dev/zero"]), "answered"),
        (
            words(&["sh", "-c", "exec \"$@\" </dev/null", "x"]),
            "it must pass its standard input on",
        ),
        (
            words(&[
                "sh",
                "-c",
                "echo 'url amqp://lab:Hunter2secret@h/' >&2; exit 3",
                "x",
            ]),
            "ended with exit code 3",
        ),
    ] {
        stack.set("worker.exec", prefix.clone());
        let began = Instant::now();
        let output = check(&stack, &[]);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(30), "{prefix:?}: {text}");
        assert!(text.contains(expected), "{prefix:?}: {text}");
        assert!(!text.contains("Hunter2secret"), "{text}");
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "{prefix:?}: {:?}",
            began.elapsed()
        );
        let places = places(&check(&stack, &["--format", "json"]));
        assert_eq!(places[0]["reached"], false, "{places:?}");
    }
}

/// A shell is not everywhere.
#[test]
fn a_place_without_a_shell_is_seen_by_its_python() {
    let mut stack = Stack::new("exec-no-shell");
    let no_shell = "[ \"$1\" != sh ] || { echo 'exec: \"sh\": executable file not found in $PATH' >&2; exit 127; }; exec \"$@\"";
    stack.set("worker.exec", words(&["sh", "-c", no_shell, "x"]));
    let text = said(&check(&stack, &[]));
    assert!(text.contains("processes in worker (exec)"), "{text}");
    let neither = "echo \"exec: $1: not found\" >&2; exit 127";
    stack.set("worker.exec", words(&["sh", "-c", neither, "x"]));
    let text = said(&check(&stack, &[]));
    assert!(
        text.contains("ended with exit code 127: exec: sh: not found"),
        "{text}"
    );
}

/// A group of processes that may use so much memory; gone at the end.
struct Limited {
    folder: PathBuf,
    /// Where a process joins, and where its limits are.
    root: &'static Path,
}

impl Limited {
    fn to(bytes: u64) -> Self {
        let (root, limit) = match Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists() {
            true => (Path::new("/sys/fs/cgroup/memory"), "memory.limit_in_bytes"),
            false => (Path::new("/sys/fs/cgroup"), "memory.max"),
        };
        let folder = root.join(format!("taskdiag-exec-{}-{bytes}", std::process::id()));
        fs::create_dir(&folder).expect("a cgroup (as root)");
        fs::write(folder.join(limit), bytes.to_string()).expect("its limit");
        Self { folder, root }
    }
}

impl Drop for Limited {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.folder);
    }
}

#[test]
fn a_place_without_memory_to_spare_is_left_alone() {
    let mut stack = Stack::new("exec-memory");
    let limited = Limited::to(24 << 20);
    let join = format!("echo $$ > {}/cgroup.procs", limited.folder.display());
    // As this machine sees it, where only Python knows the path; and as a container does.
    let outside = format!("{join}; exec \"$@\"");
    let bind = format!(
        "mount --bind {} {}",
        limited.folder.display(),
        limited.root.display()
    );
    let inside = format!("{bind} && {join}; exec \"$@\"").replace(
        &format!("{}/cgroup.procs", limited.folder.display()),
        &format!("{}/cgroup.procs", limited.root.display()),
    );
    for prefix in [
        words(&["sh", "-c", &outside, "x"]),
        words(&["unshare", "--mount", "sh", "-c", &inside, "x"]),
    ] {
        stack.set("worker.exec", prefix.clone());
        let text = said(&check(&stack, &[]));
        assert!(
            text.contains("MiB of its memory limit are left, and 32 MiB are needed"),
            "{prefix:?}: {text}"
        );
    }
    let enough = Limited::to(96 << 20);
    let join = format!("echo $$ > {}/cgroup.procs; exec \"$@\"", enough.folder.display());
    stack.set("worker.exec", words(&["sh", "-c", &join, "x"]));
    let text = said(&check(&stack, &[]));
    assert!(text.contains("processes in worker (exec)"), "{text}");
}

// ---- what diagnose makes of a place that cannot be reached

/// The words of an engine, or of whoever else is asked.
fn says(words_of_it: &str, code: u8) -> Vec<String> {
    words(&[
        "sh",
        "-c",
        &format!("echo '{words_of_it}' >&2; exit {code}"),
        "engine",
    ])
}

/// An API, and a worker that nothing is known of but the way to it.
fn unreachable_worker(name: &str, exec: Vec<String>) -> Stack {
    let mut stack = Stack::new(name);
    stack.api(&[]);
    stack.set("worker.exec", exec);
    // Workers of other tests are not this one.
    stack.set(
        "worker.command",
        words(&["dramatiq", &format!("worker_of_{name}")]),
    );
    stack
}

#[test]
fn a_paused_place_is_a_frozen_worker() {
    let paused =
        "Error response from daemon: Container shop-worker-1 is paused, unpause the container before exec";
    let mut stack = unreachable_worker("exec-paused", says(paused, 1));
    let verdict = stack.diagnose(&[]).expect("C", "worker-frozen", 20).not_certain();
    assert!(
        verdict
            .at_least_likely()
            .summary()
            .contains("shop-worker-1 is paused")
    );
}

#[test]
fn a_restarting_place_is_a_crash_loop() {
    let restarting = "Error response from daemon: Container shop-worker-1 is restarting, wait until the container is running";
    let mut stack = unreachable_worker("exec-restarting", says(restarting, 1));
    let verdict = stack
        .diagnose(&[])
        .expect("B", "worker-crash-loop", 10)
        .not_certain();
    verdict.at_least_likely();
}

#[test]
fn a_place_that_does_not_run_is_why_nobody_consumes() {
    let mut stack = unreachable_worker("exec-stopped", says("service \"worker\" is not running", 1));
    let verdict = stack.diagnose(&[]).expect("C", "no-consumer", 20);
    assert!(
        verdict.summary().contains("is not running"),
        "{}",
        verdict.summary()
    );
}

/// Of words that say nothing of the worker nothing is concluded, and a way that hangs delays nothing.
#[test]
fn a_way_that_fails_for_another_reason_is_no_evidence() {
    for (name, exec) in [
        (
            "exec-unknown",
            says("Error response from daemon: No such container: shop-worker-1", 1),
        ),
        ("exec-slow", words(&["sh", "-c", "sleep 60", "hang"])),
        ("exec-rubbish", words(&["yes"])),
    ] {
        let mut stack = unreachable_worker(name, exec);
        let began = Instant::now();
        let verdict = stack.diagnose(&[]).expect("C", "no-consumer", 20);
        assert!(!verdict.summary().contains("No such"), "{}", verdict.summary());
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "{name}: {:?}",
            began.elapsed()
        );
    }
}
