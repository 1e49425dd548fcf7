//! What the trace cannot see is said: a connection that breaks, tracing that is switched off, its own standing still.

use std::thread::sleep;
use std::time::Duration;

use lapin::options::BasicGetOptions;
use serde_json::{Value as Json, json};

use super::{Trace, body, kind, only_a_broker};
use crate::lab::{Lab, run, signal, until};
use crate::stack::Stack;
use crate::worker::healthy;

/// So that a test knows what taskdiag has seen.
const LOGGING: [(&str, &str); 1] = [("TASKDIAG_LOG", "debug")];

/// By hand, as `rabbitmqctl trace_on` and `trace_off` do. RabbitMQ may lose it while another vhost's is switched.
fn switch_tracing(stack: &Stack, on: bool) {
    let vhost = stack.vhost();
    let tags: Vec<&str> = vhost["tags"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Json::as_str)
        .collect();
    let wanted = json!({
        "tracing": on,
        "description": vhost["description"],
        "tags": tags.join(","),
        "default_queue_type": vhost["default_queue_type"],
    });
    until("tracing is switched", || {
        Lab::get().manage("PUT", &format!("vhosts/{}", stack.id), Some(wanted.clone()));
        stack.traces() == on
    });
}

/// Off and on again, as briefly as it can be noticed. `says` is what taskdiag logs.
fn switch_off_until_seen(stack: &Stack, says: impl Fn() -> String) {
    switch_tracing(stack, false);
    until("taskdiag has seen that tracing is off", || {
        says().contains("tracing was seen to be off")
    });
    switch_tracing(stack, true);
}

/// Ends our own connections: the broker says that it was told to.
fn cut(stack: &Stack) {
    let connections = format!("vhosts/{}/connections", stack.id);
    // Connections show in the management API some seconds late.
    until("the connection is cut", || {
        let listed = Lab::get().manage("GET", &connections, None);
        let ours = listed.as_array().into_iter().flatten().filter_map(|connection| {
            let is_ours = connection["client_properties"]["connection_name"] == "taskdiag firehose";
            is_ours.then(|| connection["name"].as_str()).flatten()
        });
        ours.map(|name| name.replace(' ', "%20").replace('>', "%3E"))
            .map(|name| Lab::get().ask("DELETE", &format!("connections/{name}"), None))
            .count()
            > 0
    });
}

#[test]
fn a_connection_that_breaks_is_a_gap_and_no_slowness() {
    let mut stack = only_a_broker("trace-cut");
    let before = stack.vhost();
    let file = stack.dir.join("cut.jsonl");
    let record = ["--format", "json", "--record", file.to_str().expect("a path")];
    let mut trace = Trace::start(&mut stack, "json", &record);
    stack.publish("orders", &body("pay", "id-1", "t"));
    trace.until_shown(&stack, "the first", |lines| !kind(lines, "publish").is_empty());
    cut(&stack);
    trace.until_shown(&stack, "it reads again", |lines| !kind(lines, "gap").is_empty());
    stack.publish("orders", &body("pay", "id-2", "t"));
    trace.until_shown(&stack, "the second", |lines| kind(lines, "publish").len() == 2);
    assert_eq!(trace.end("INT").code(), Some(0), "{}", trace.err(&stack));
    until("tracing is off again", || !stack.traces());
    assert_eq!(stack.vhost(), before);
    let (lines, err) = (trace.lines(&stack), trace.err(&stack));
    let end = lines.last().expect("an end");
    assert_eq!((&end["missed"], &end["missed_exact"]), (&json!(0), &json!(false)));
    let because = kind(&lines, "gap")[0]["because"].as_str().expect("a reason");
    assert!(because.contains("CONNECTION_FORCED"), "{because}");
    assert!(
        err.contains("connecting again") && err.contains("connected again"),
        "{err}"
    );
    assert!(
        err.contains("2 events, 2 tasks, how many were missed is not known"),
        "{err}"
    );
    let text = trace.out(&stack) + &err;
    assert!(!text.contains("keep up"), "{text}");
    assert!(stack.read("cut.jsonl").contains("may be missing"));
}

/// A broker that does not come back while somebody waits for the end.
#[test]
fn a_broker_that_stays_away_is_an_error_and_no_slowness() {
    let mut stack = only_a_broker("trace-away");
    let lab = Lab::get();
    let user = stack.id.clone();
    let password = json!({ "password": "pw-trace", "tags": "administrator" });
    lab.manage("PUT", &format!("users/{user}"), Some(password));
    let everything = json!({ "configure": ".*", "write": ".*", "read": ".*" });
    lab.manage("PUT", &format!("permissions/{user}/{user}"), Some(everything));
    let url = stack.amqp_url(&format!("{user}:pw-trace"));
    stack.set("broker.amqp_url", url);
    let mut trace = Trace::start(&mut stack, "away", &["--for", "12s"]);
    stack.publish("orders", &body("pay", "id-1", "t"));
    until("it is shown", || trace.out(&stack).contains("id-1"));
    // Ends its connection, and nobody lets it in any more.
    lab.manage("DELETE", &format!("users/{user}"), None);
    assert_eq!(trace.wait().code(), Some(30), "{}", trace.err(&stack));
    let (out, err) = (trace.out(&stack), trace.err(&stack));
    assert!(err.contains("not connected again yet"), "{err}");
    assert!(
        err.contains("1 event, 1 task, how many were missed is not known"),
        "{err}"
    );
    assert!(!out.contains("missed") && !err.contains("at least"), "{out}{err}");
    until("tracing is off again", || !stack.traces());
}

#[test]
fn tracing_that_is_switched_off_ends_the_trace() {
    let mut stack = only_a_broker("trace-off");
    let mut off = Trace::start(&mut stack, "off", &["--format", "json"]);
    switch_tracing(&stack, false);
    assert_eq!(off.wait().code(), Some(30), "{}", off.err(&stack));
    // On again before anybody has looked twice: what passed in between was not seen all the same.
    let mut back = Trace::start_with(&mut stack, "back", &["--format", "json"], &LOGGING);
    switch_off_until_seen(&stack, || back.err(&stack));
    assert_eq!(back.wait().code(), Some(30), "{}", back.err(&stack));
    for trace in [&off, &back] {
        let err = trace.err(&stack);
        assert!(err.contains("switched off by somebody"), "{err}");
        let lines = trace.lines(&stack);
        assert_eq!(lines.last().expect("an end")["missed_exact"], false);
    }
}

/// The API does not publish; and whether it did nobody could have seen.
#[test]
fn the_silence_of_a_firehose_that_was_switched_off_proves_nothing() {
    let mut stack = Stack::new("firehose-off");
    stack.worker(healthy());
    stack.api_with_fault("not-dispatched-unconnected");
    let running = stack.start_diagnose_with(&[], &LOGGING);
    until("it watches, and has submitted", || {
        running.stderr().contains("recorded")
    });
    switch_off_until_seen(&stack, || running.stderr());
    running.finish(&stack).blind("firehose").not_certain();
}

/// What waited while we stood still has neither a time nor a latency.
#[test]
fn events_read_late_have_no_time() {
    let mut stack = only_a_broker("trace-late");
    let mut trace = Trace::start(&mut stack, "late", &["--format", "json"]);
    let passes = |stack: &mut Stack, id: &str| {
        stack.publish("orders", &body("pay", id, "t"));
        let connection = stack.amqp();
        run(async {
            let channel = connection.create_channel().await.expect("a channel");
            let got = channel.basic_get("orders".into(), BasicGetOptions { no_ack: true });
            assert!(got.await.expect("an answer").is_some());
            let _ = channel.close(200, "done".into()).await;
        });
    };
    let times = |lines: &[Json], id: &str| -> Vec<(bool, bool)> {
        let of = lines.iter().filter(|line| line["message"]["message_id"] == id);
        of.map(|line| (line["late"] == true, line["latency_ms"].is_number()))
            .collect()
    };
    passes(&mut stack, "before");
    trace.until_shown(&stack, "before", |lines| times(lines, "before").len() == 2);
    assert_eq!(
        times(&trace.lines(&stack), "before"),
        [(false, false), (false, true)]
    );
    signal("STOP", trace.child.id());
    passes(&mut stack, "meanwhile");
    sleep(Duration::from_millis(700));
    signal("CONT", trace.child.id());
    trace.until_shown(&stack, "meanwhile", |lines| times(lines, "meanwhile").len() == 2);
    assert_eq!(
        times(&trace.lines(&stack), "meanwhile"),
        [(true, false), (true, false)]
    );
    // Until it has caught up.
    let mut n = 0;
    until("it reads at once again", || {
        n += 1;
        let id = format!("after-{n}");
        passes(&mut stack, &id);
        trace.until_shown(&stack, "after", |lines| times(lines, &id).len() == 2);
        times(&trace.lines(&stack), &id) == [(false, false), (false, true)]
    });
    assert_eq!(trace.end("INT").code(), Some(0), "{}", trace.err(&stack));
}
