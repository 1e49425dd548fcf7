//! Limits of our own, at the start and in the middle: what fails for them is said of us, never of the other side.

use std::io::Read as _;
use std::process::{Command, Stdio};

use serde_json::Value as Json;

use crate::lab::until;
use crate::proxy::Moment;
use crate::stack::Stack;
use crate::system::with_worker;
use crate::worker::healthy;

/// The most files that a process may have open, from now on.
fn limit_files(pid: u32, most: u32) {
    let status = Command::new("prlimit")
        .args([format!("--pid={pid}"), format!("--nofile={most}:{most}")])
        .status()
        .expect("prlimit");
    assert!(status.success());
}

/// In a shell with these limits.
fn under(stack: &Stack, limits: &str, as_nobody: bool) -> (Option<i32>, String) {
    let inner = stack.taskdiag("diagnose");
    let mut command = Command::new(if as_nobody { "setpriv" } else { "env" });
    if as_nobody {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    command
        .args([
            "bash",
            "-c",
            &format!("ulimit {limits}; exec \"$0\" diagnose --config \"$1\""),
        ])
        .arg(inner.get_program())
        .arg(stack.write_config())
        .current_dir("/")
        .env("XDG_STATE_HOME", &stack.state)
        .stdin(Stdio::null());
    let output = command.output().expect("it runs");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "{limits}: {said}");
    (output.status.code(), said)
}

#[test]
fn too_little_at_the_start_is_said() {
    let mut stack = Stack::new("limits-start");
    stack.api(&[]);
    for files in (16..=40).step_by(6) {
        let (code, said) = under(&stack, &format!("-n {files}"), false);
        assert_eq!(code, Some(30), "{files}: {said}");
        assert!(said.contains(&format!("allows {files} open files")), "{said}");
    }
    // Root's threads are not counted.
    let nobody =
        std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    for most in [1, 3, 6] {
        let (code, said) = under(&stack, &format!("-u {most}"), nobody);
        assert_eq!(code, Some(30), "{most}: {said}");
        assert!(said.contains("ulimit -u"), "{said}");
    }
    assert!(!stack.traces());
}

#[test]
fn a_limit_in_the_middle_is_said_of_us() {
    let mut stack = with_worker("limits", healthy().env("OPS_WORK_SECONDS", "1.5"));
    stack.set("timing.silence", "3s");
    stack.set("timing.timeout", "12s");
    for (moment, files) in [
        (Moment::BeforeTheRun, 12),
        (Moment::Submitted, 20),
        (Moment::Entered, 8),
    ] {
        std::fs::write(stack.dir.join("api.log"), "").expect("emptied");
        let entered = stack
            .read("worker.log")
            .matches("ACTOR ENTRY POINT REACHED")
            .count();
        let mut running = stack
            .taskdiag("diagnose")
            .args(["--format", "json", "--config"])
            .arg(stack.write_config())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("taskdiag starts");
        let mut ended = || running.try_wait().expect("its status").is_some();
        match moment {
            Moment::BeforeTheRun => until("tracing is on", || stack.traces() || ended()),
            Moment::Submitted => until("it is submitted", || {
                stack.read("api.log").contains("POST /api/v1/tasks") || ended()
            }),
            _ => until("it is entered", || {
                stack
                    .read("worker.log")
                    .matches("ACTOR ENTRY POINT REACHED")
                    .count()
                    > entered
                    || ended()
            }),
        }
        limit_files(running.id(), files);
        let output = running.wait_with_output().expect("it ends");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(!stderr.contains("panicked"), "{moment:?}: {stderr}");
        let report: Json =
            serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("a report: {stderr}"));
        let (cause, certainty) = (&report["cause"]["id"], &report["cause"]["certainty"]);
        assert!(
            cause == "succeeded" || !["certain", "likely"].contains(&certainty.as_str().unwrap_or_default()),
            "{moment:?}: {report:#}"
        );
        assert_ne!(report["scenario"], "C", "{moment:?}: {report:#}");
        let sources = report["sources"].to_string() + &report["notes"].to_string();
        assert!(
            sources.contains("taskdiag itself may open no more files"),
            "{moment:?}: {report:#}"
        );
        until("tracing is off again", || !stack.traces());
    }
}

/// A terminal goes away in the middle: as when ssh drops.
#[test]
fn a_terminal_that_goes_away_ends_it() {
    let stack = with_worker("terminal-gone", healthy());
    let config = stack.write_config();
    let program = stack.taskdiag("watch").get_program().to_owned();
    for arguments in ["watch --all", "trace", "diagnose --silence 9s --queue nobody"] {
        let code = stack.dir.join("code");
        let _ = std::fs::remove_file(&code);
        // The shell is not ended with it: it says how it went.
        let command = format!(
            "stty rows 24 cols 110; trap '' HUP; {} {arguments} --config {}; echo $? > {}",
            program.display(),
            config.display(),
            code.display()
        );
        let mut terminal = Command::new("script")
            .args(["-qefc", &command, "/dev/null"])
            .env("TERM", "xterm-256color")
            .env("XDG_STATE_HOME", &stack.state)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("util-linux is installed");
        let mut shown = [0; 4096];
        let mut stdout = terminal.stdout.take().expect("a pipe");
        let read = stdout.read(&mut shown).expect("something is shown");
        assert!(read > 0);
        std::thread::sleep(std::time::Duration::from_millis(600));
        terminal.kill().expect("killed");
        terminal.wait().expect("its status");
        let mut said = String::new();
        until("it ends", || {
            said = std::fs::read_to_string(&code).unwrap_or_default();
            !said.is_empty()
        });
        let number: i32 = said.trim().parse().expect("a number");
        assert!(number <= 130 && number != 1, "{arguments}: {number}");
        until("nothing traces", || !stack.traces());
    }
}

/// A report, by a command that starts no runtime, at the limit of a file's size.
#[test]
fn a_file_that_may_not_grow_is_an_error() {
    let recording = crate::lab::repository().join("fixtures/runs/succeeded/timeline.jsonl");
    let output = Command::new("bash")
        .args(["-c", "ulimit -f 1; exec \"$0\" report \"$1\" --output \"$2\""])
        .arg(env!("CARGO_BIN_EXE_taskdiag"))
        .arg(recording)
        .arg(std::env::temp_dir().join(format!("taskdiag-limit-{}.html", std::process::id())))
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(30), "{said}");
    assert!(said.contains("File too large"), "{said}");
}
