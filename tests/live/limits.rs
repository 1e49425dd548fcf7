//! Limits of our own, at the start and in the middle: what fails for them is said of us, never of the other side.

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
