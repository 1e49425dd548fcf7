//! Hostile surroundings: files that block, answers without an end, a guardian that is killed.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use crate::lab::{Lab, signal, until};
use crate::promises::{guardian_of, long_run};
use crate::proxy::{Line, Proxy};
use crate::stack::Stack;
use crate::system::with_worker;
use crate::worker::healthy;

fn fifo(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().expect("mkfifo");
    assert!(made.success());
}

/// Kilobytes that a process has used at most.
fn peak(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

// ---- what may block ----

#[test]
fn a_fifo_is_no_log() {
    let mut stack = with_worker("fifo-log", healthy());
    fifo(&stack.dir.join("pipe.log"));
    stack.set("worker.log", vec![toml::Value::from("pipe.log")]);
    let began = Instant::now();
    stack
        .diagnose(&[])
        .expect("A", "succeeded", 0)
        .blind("worker-log");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let checked = stack
        .taskdiag("check")
        .arg("--config")
        .arg(stack.write_config())
        .output()
        .expect("taskdiag runs");
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(said.contains("it is a FIFO"), "{said}");
}

/// The report goes nowhere, and the vhost does not trace for as long as somebody does not read it.
#[test]
fn what_cannot_be_written_keeps_no_tracing_on() {
    let mut stack = long_run("fifo-record");
    stack.set("timing.silence", "2s");
    fifo(&stack.dir.join("record"));
    fifo(&stack.dir.join("out.json"));
    for arguments in [["--record", "record"], ["--output", "out.json"]] {
        let mut child = stack
            .taskdiag("diagnose")
            .arg("--config")
            .arg(stack.write_config())
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("taskdiag starts");
        until("tracing is on", || stack.traces());
        until("it ends", || child.try_wait().expect("its status").is_some());
        assert_eq!(child.wait().expect("its status").code(), Some(30));
        assert!(!stack.traces());
    }
    // A pipe that nobody reads, smaller than the report.
    let mut child = stack
        .taskdiag("diagnose")
        .arg("--config")
        .arg(stack.write_config())
        .args(["--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("taskdiag starts");
    until("tracing is on", || stack.traces());
    until("tracing is off again", || !stack.traces());
    let began = Instant::now();
    signal("TERM", child.id());
    until("it ends", || child.try_wait().expect("its status").is_some());
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

// ---- what does not end ----

/// Answers every request with bytes for ever.
fn endless() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            thread::spawn(move || {
                let _ = client.read(&mut [0; 4096]);
                let _ = client.write_all(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
                );
                let mut chunk = b"100000\r\n".to_vec();
                chunk.resize(chunk.len() + 0x10_0000, b' ');
                chunk.extend_from_slice(b"\r\n");
                while client.write_all(&chunk).is_ok() {}
            });
        }
    });
    address
}

#[test]
fn an_answer_without_an_end_fills_no_memory() {
    let mut stack = with_worker("endless", healthy());
    for key in ["api.url", "broker.management_url"] {
        let before = stack.api_url();
        stack.set(key, format!("http://lab:lab@{}", endless()));
        stack.set("timing.timeout", "8s");
        let mut running = stack.start_diagnose(&[]);
        let mut most = 0;
        until("it ends", || {
            most = most.max(peak(running.pid()));
            running.has_ended()
        });
        assert!(most < 200 * 1024, "{key}: {most} kB");
        let verdict = running.finish_quietly(&stack);
        assert!(verdict.code() != Some(1), "{}", verdict.explain());
        stack.set("api.url", before);
    }
}

#[test]
fn a_log_command_without_an_end_fills_no_memory() {
    let mut stack = with_worker("endless-log", healthy());
    stack.unset("worker.log");
    stack.set(
        "worker.log_command",
        ["sh", "-c", "yes 'line of a log that never ends'"]
            .map(toml::Value::from)
            .to_vec(),
    );
    let mut running = stack.start_diagnose(&[]);
    let mut most = 0;
    until("it ends", || {
        most = most.max(peak(running.pid()));
        running.has_ended()
    });
    assert!(most < 200 * 1024, "{most} kB");
    running.finish(&stack);
}

// ---- who is killed ----

#[test]
fn a_killed_guardian_is_replaced() {
    let mut stack = long_run("guardian-dies");
    stack.set("timing.silence", "4s");
    let before = stack.vhost();
    let mut running = stack.start_diagnose(&[]);
    until("tracing is on", || stack.traces());
    let first = guardian_of(&running).expect("a guardian");
    signal("KILL", first);
    let mut second = None;
    until("another one stands by", || {
        second = guardian_of(&running).filter(|pid| *pid != first);
        second.is_some()
    });
    running.wait();
    until("tracing is off again", || !stack.traces());
    assert_eq!(stack.vhost(), before);
    assert!(
        running.stderr().contains("another one took over"),
        "{}",
        running.stderr()
    );
}

/// First one, then the other, then what is left.
#[test]
fn a_killed_guardian_and_a_killed_taskdiag_leave_nothing() {
    let mut stack = long_run("both-die");
    let before = stack.vhost();
    let mut running = stack.start_diagnose(&[]);
    until("tracing is on", || stack.traces());
    let first = guardian_of(&running).expect("a guardian");
    signal("KILL", first);
    until("another one stands by", || {
        guardian_of(&running).is_some_and(|pid| pid != first)
    });
    // It has to have been told what to undo.
    sleep(Duration::from_millis(300));
    signal("KILL", running.pid());
    running.wait();
    until("tracing is off again", || !stack.traces());
    assert_eq!(stack.vhost(), before);
}

/// Longer than others would try.
#[test]
fn the_guardian_is_patient() {
    let mut stack = long_run("patient");
    let before = stack.vhost();
    let proxy = Proxy::to(Lab::get().management());
    stack.set(
        "broker.management_url",
        format!("http://lab:lab@{}", proxy.address),
    );
    let mut running = stack.start_diagnose(&[]);
    until("tracing is on", || stack.traces());
    proxy.becomes(Line::Cut);
    signal("INT", running.pid());
    running.wait();
    assert!(
        running.stderr().contains("could not be switched off again yet"),
        "{}",
        running.stderr()
    );
    assert!(stack.traces());
    sleep(Duration::from_secs(5));
    proxy.becomes(Line::Good);
    until("tracing is off again", || !stack.traces());
    assert_eq!(stack.vhost(), before);
}

// ---- what is written ----

#[test]
fn a_secret_is_masked_wherever_a_limit_cuts_it() {
    let secret = "Zk7pQ2vX9mLw4rAbC3dEf5GhJ6kLm8NpQ1rS2tUvWxYz0a";
    let mut stack = Stack::new("cut");
    let mut at = 1900;
    while at < 2010 {
        let body = format!("{{\"pad\":\"{}\",\"zz\":\"{secret}\"}}", "x".repeat(at - 17));
        stack.set("api.url", format!("http://{}", answering(body)));
        stack.set(
            "api.headers",
            toml::Table::from_iter([("X-Custom".to_owned(), secret.into())]),
        );
        stack.set("timing.timeout", "2s");
        let output = stack
            .taskdiag("submit")
            .arg("--config")
            .arg(stack.write_config())
            .output()
            .expect("taskdiag runs");
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(!said.contains(&secret[..6]), "{at}: {said}");
        if at % 30 == 0 {
            let verdict = stack.diagnose(&[]);
            assert!(
                !verdict.explain().contains(&secret[..6]),
                "{at}: {}",
                verdict.explain()
            );
        }
        at += 10;
    }
    for file in fs::read_dir(&stack.dir).expect("its folder").flatten() {
        let path = file.path();
        if path.extension().is_some_and(|extension| extension == "jsonl") {
            assert_eq!(
                file.metadata().expect("it").mode() & 0o777,
                0o600,
                "{}",
                path.display()
            );
        }
    }
}

/// Answers every request with this body.
fn answering(body: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = client.read(&mut [0; 4096]);
            let head = format!(
                "HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let _ = client.write_all(head.as_bytes());
            let _ = client.write_all(body.as_bytes());
        }
    });
    address
}
