//! What is missed is counted: shown + missed = published.

use std::fs::{self, File};
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{Trace, body, kind, only_a_broker, publish_many};
use crate::lab::{Lab, signal};

/// The reader stands still while more is published than its queue and the sockets between can hold.
fn overrun(name: &str, limits: &str) {
    const MESSAGES: usize = 2500;
    let mut stack = only_a_broker(name);
    let arguments = ["--format", "json", "--set", "broker.trace=on"];
    let mut trace = Trace::start_with(&mut stack, "slow", &arguments, &[("TASKDIAG_BACKLOG", limits)]);
    stack.publish("orders", &body("pay", "first", "t"));
    trace.until_shown(&stack, "the first", |lines| !kind(lines, "publish").is_empty());
    signal("STOP", trace.child.id());
    let large =
        json!({ "queue_name": "orders", "actor_name": "pay", "args": ["x".repeat(20_000)], "kwargs": {},
                        "options": {}, "message_id": "m", "message_timestamp": 1 })
        .to_string();
    publish_many(&mut stack, "orders", &large, MESSAGES);
    signal("CONT", trace.child.id());
    // It has caught up once it shows what comes last.
    stack.publish("orders", &body("pay", "last", "t"));
    trace.until_shown(&stack, "the last", |lines| {
        lines.iter().any(|line| line["message"]["message_id"] == "last")
    });
    assert_eq!(trace.end("INT").code(), Some(0), "{}", trace.err(&stack));
    let lines = trace.lines(&stack);
    let shown = kind(&lines, "publish").len();
    let missed: u64 = kind(&lines, "missed")
        .iter()
        .filter_map(|line| line["events"].as_u64())
        .sum();
    let end = lines.last().expect("an end");
    assert!(missed > 0, "it kept up, so this test shows nothing");
    assert_eq!(end["missed"], json!(missed));
    // RabbitMQ 4 does not say how many a queue has dropped: then it is a lower bound, and says so.
    let says_all = is_told(&Lab::get().manage("GET", "overview", None));
    let told = match says_all {
        true => {
            assert_eq!(shown as u64 + missed, MESSAGES as u64 + 2, "{end}");
            format!(" {missed} missed")
        }
        false => {
            assert!(shown as u64 + missed <= MESSAGES as u64 + 2, "{end}");
            format!("at least {missed} missed")
        }
    };
    assert_eq!(end["missed_exact"], says_all, "{end}");
    assert!(trace.err(&stack).contains(&told), "{}", trace.err(&stack));
}

fn is_told(overview: &Json) -> bool {
    let version = overview["rabbitmq_version"].as_str();
    version.expect("a version").starts_with("3.")
}

#[test]
fn missed_events_are_counted_exactly() {
    overrun("trace-missed", "100,50000");
}

/// Not even what was dropped could be kept until it was counted: the broker's statistics have it.
#[test]
fn missed_events_beyond_count_are_counted_exactly() {
    overrun("trace-beyond", "100,100");
}

/// Nobody reads our output: memory stays bounded, and what was dropped is said to be.
#[test]
fn a_blocked_output_is_counted_too() {
    let mut stack = only_a_broker("trace-blocked");
    let config = stack.write_config();
    let mut taskdiag = stack
        .taskdiag("trace")
        .arg("--config")
        .arg(config)
        .args(["--format", "json", "--show-args", "--set", "broker.trace=on"])
        .stdout(Stdio::piped())
        .stderr(File::create(stack.dir.join("blocked.err")).expect("a file"))
        .spawn()
        .expect("taskdiag starts");
    stack.reaper.watch(taskdiag.id());
    stack.until_logged("blocked.err", "of vhost");
    // More than what may wait in memory (64 MiB of bodies) and in the pipe.
    const MESSAGES: usize = 400;
    let large = json!({ "actor_name": "pay", "args": ["x".repeat(300_000)], "message_id": "m" }).to_string();
    publish_many(&mut stack, "mail", &large, MESSAGES);
    sleep(Duration::from_millis(500));
    let memory = fs::read_to_string(format!("/proc/{}/status", taskdiag.id())).expect("its status");
    let peak: u64 = memory
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .expect("VmHWM");
    assert!(peak < 250_000, "{peak} KiB");
    let reader = std::io::BufReader::new(taskdiag.stdout.take().expect("a pipe"));
    let reading = std::thread::spawn(move || {
        std::io::BufRead::lines(reader)
            .map(|line| serde_json::from_str::<Json>(&line.expect("a line")).expect("JSON"))
            .collect::<Vec<_>>()
    });
    sleep(Duration::from_millis(500));
    signal("INT", taskdiag.id());
    let lines = reading.join().expect("lines");
    let status = taskdiag.wait().expect("its end");
    assert!(status.success(), "{status}: {}", stack.read("blocked.err"));
    let end = lines.last().expect("an end").clone();
    let missed = end["missed"].as_u64().expect("a number");
    assert_eq!(
        kind(&lines, "publish").len() as u64 + missed,
        MESSAGES as u64,
        "{end}"
    );
    assert!(missed > 0, "{end}");
    assert!(
        kind(&lines, "missed")
            .iter()
            .any(|line| line["place"] == "output")
    );
}
