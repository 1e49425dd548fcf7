//! `--otlp` against a real receiver: the collector Rotel, which prints what it got.
//! `fixtures/lab tools` installs it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod alone;

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use alone::taskdiag;

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
        .arg("fixtures/runs/no-consumer/timeline.jsonl")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
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
