//! `--otlp` against a real receiver: the collector Rotel, which prints what it got.
//! `fixtures/lab tools` installs it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod runs;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use runs::{HOSTILE, folder, hostile, read, render, report};
use serde_json::Value as Json;
use taskdiag::report::Style;

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn collector() -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/lab");
    let output = Command::new(script).arg("tools").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    said.lines()
        .find_map(|line| line.strip_prefix("LAB_ROTEL="))
        .unwrap_or_else(|| {
            panic!(
                "the collector cannot be installed, so this test cannot run:\n{said}{}",
                String::from_utf8_lossy(&output.stderr)
            )
        })
        .to_owned()
}

fn taskdiag() -> Command {
    Command::new(env!("CARGO_BIN_EXE_taskdiag"))
}

#[test]
fn a_collector_receives_the_trace() {
    let (http, grpc) = (free_port(), free_port());
    let log = std::env::temp_dir().join(format!("taskdiag-otlp-{}.log", std::process::id()));
    let mut receiver = Command::new(collector())
        .arg("start")
        .args(["--otlp-http-endpoint", &format!("127.0.0.1:{http}")])
        .args(["--otlp-grpc-endpoint", &format!("127.0.0.1:{grpc}")])
        .args(["--exporter", "blackhole"])
        .args(["--debug-log", "traces", "--debug-log-verbosity", "detailed"])
        .stdout(std::fs::File::create(&log).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while std::net::TcpStream::connect(("127.0.0.1", http)).is_err() {
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "the collector does not listen"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    let sent = taskdiag()
        .arg("report")
        .arg(folder().join("no-consumer/timeline.jsonl"))
        .args(["--otlp", &format!("http://127.0.0.1:{http}")])
        .output()
        .unwrap();
    let wanted = [
        "service.name: Str(taskdiag)",
        "Name           : task",
        "Name           : POST",
        "Name           : publish default",
        "Name           : deliver default",
        "SPAN_KIND_PRODUCER",
        "SPAN_KIND_CONSUMER",
        "messaging.system: Str(rabbitmq)",
        "messaging.destination.name: Str(default)",
        "http.response.status_code: Int(202)",
        "error.type: Str(no-consumer)",
        "STATUS_CODE_ERROR",
    ];
    let began = Instant::now();
    let mut missing = wanted.to_vec();
    let mut text = String::new();
    while !missing.is_empty() && began.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(50));
        text = std::fs::read_to_string(&log).unwrap();
        missing.retain(|words| !text.contains(words));
    }
    receiver.kill().unwrap();
    receiver.wait().unwrap();
    std::fs::remove_file(&log).unwrap();
    let complaint = String::from_utf8_lossy(&sent.stderr);
    assert_eq!(sent.status.code(), Some(20), "{complaint}");
    assert!(missing.is_empty(), "{missing:?} in\n{text}");
}

#[test]
fn a_collector_that_is_not_there_is_an_error_after_the_verdict() {
    let sent = taskdiag()
        .arg("report")
        .arg(folder().join("no-consumer/timeline.jsonl"))
        .args([
            "--otlp",
            &format!("http://someone:hushhush@127.0.0.1:{}", free_port()),
        ])
        .output()
        .unwrap();
    assert_eq!(sent.status.code(), Some(30));
    assert!(String::from_utf8_lossy(&sent.stdout).contains("no-consumer"));
    let complaint = String::from_utf8_lossy(&sent.stderr);
    assert!(complaint.contains("cannot send the trace"), "{complaint}");
    assert!(!complaint.contains("hushhush"), "{complaint}");
}

/// The same text goes into a file; spans form one tree and end after they begin.
#[test]
fn the_file_holds_one_trace_with_a_span_per_stage() {
    let file = std::env::temp_dir().join(format!("taskdiag-otlp-{}.json", std::process::id()));
    let written = taskdiag()
        .arg("report")
        .arg(folder().join("succeeded/timeline.jsonl"))
        .arg("--otlp-file")
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(written.status.code(), Some(0));
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    assert_eq!(text, render(&report(&read("succeeded")), "otlp", Style::PLAIN));
    assert_eq!(check(&text), 9, "eight stages and the run");
    for text in HOSTILE {
        check(&render(&hostile(text), "otlp", Style::PLAIN));
    }
}

/// How many spans there are.
fn check(text: &str) -> usize {
    assert_eq!(text.lines().count(), 1);
    let trace: Json = serde_json::from_str(text).unwrap();
    let spans = trace["resourceSpans"][0]["scopeSpans"][0]["spans"]
        .as_array()
        .unwrap();
    let root = spans[0]["spanId"].as_str().unwrap();
    let number = |value: &Json| value.as_str().unwrap().parse::<u64>().unwrap();
    for span in spans {
        assert_eq!(span["traceId"], spans[0]["traceId"]);
        assert_eq!(span["traceId"].as_str().unwrap().len(), 32);
        assert_eq!(span["spanId"].as_str().unwrap().len(), 16);
        assert!(number(&span["startTimeUnixNano"]) <= number(&span["endTimeUnixNano"]));
        if span["spanId"] != root {
            assert_eq!(span["parentSpanId"], root);
            assert!(number(&span["startTimeUnixNano"]) >= number(&spans[0]["startTimeUnixNano"]));
        }
    }
    spans.len()
}
