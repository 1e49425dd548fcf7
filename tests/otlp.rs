//! The trace of `--otlp` and `--otlp-file`, without a receiver; `tests/collector.rs` has one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod alone;
mod runs;

use std::net::TcpListener;

use alone::taskdiag;
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

#[test]
fn a_collector_that_is_not_there_is_a_warning_after_the_verdict() {
    let sent = taskdiag()
        .arg("report")
        .arg(folder().join("no-consumer/timeline.jsonl"))
        .args([
            "--otlp",
            &format!("http://someone:hushhush@127.0.0.1:{}", free_port()),
        ])
        .output()
        .unwrap();
    assert_eq!(sent.status.code(), Some(20), "the exit code belongs to the task");
    assert!(String::from_utf8_lossy(&sent.stdout).contains("no-consumer"));
    let complaint = String::from_utf8_lossy(&sent.stderr);
    assert!(complaint.contains("the trace could not be sent"), "{complaint}");
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
