use secrecy::SecretString;

use super::*;

const BODY: &str = r#"{"queue_name":"orders.DQ","actor_name":"send","args":["hunter22","x\u001b[31m"],"kwargs":{"task_id":7,"api_token":"t"},"options":{"retries":2,"max_retries":3,"eta":61000,"traceback":"Traceback\nValueError: no \u001b[31m"},"message_id":"3f96a1b2-0c4d-4e5f-8a9b-000000000001","message_timestamp":1}"#;

fn publish<'a>(queue: &'a str, body: &'a str) -> TraceEvent<'a> {
    TraceEvent {
        kind: TraceKind::Publish {
            exchange: "".into(),
            routing_key: queue.into(),
            queues: vec![queue.into()],
        },
        connection: "127.0.0.1:40000 -> 127.0.0.1:5672".into(),
        user: "guest".into(),
        envelope: Envelope::of_body(body.as_bytes()),
        death: None,
    }
}

fn deliver<'a>(queue: &'a str, redelivered: bool, body: &'a str) -> TraceEvent<'a> {
    TraceEvent {
        kind: TraceKind::Deliver {
            queue: queue.into(),
            redelivered,
        },
        ..publish(queue, body)
    }
}

/// What is written of these events, a millisecond after each other.
fn written(filter: Filter, writing: Writing, show_args: bool, events: &[TraceEvent<'_>]) -> String {
    let scrubber = Scrubber::new([SecretString::from("hunter22")], show_args);
    let mut tracer = Tracer::new(Framework::usual(), filter, writing, show_args, scrubber);
    let peer = PeerProcess {
        pid: 7,
        name: "dramatiq".into(),
        command: vec!["dramatiq".into()],
    };
    let mut out = Vec::new();
    for (n, event) in events.iter().enumerate() {
        let moment = Moment {
            at_ms: n as f64,
            unix_ms: 45_296_000 + n as i64,
            late: false,
        };
        let peer = matches!(event.kind, TraceKind::Deliver { .. }).then_some(&peer);
        tracer.take(moment, event, peer, &mut out);
    }
    String::from_utf8(out).expect("UTF-8")
}

fn lines(width: Option<usize>, show_args: bool, events: &[TraceEvent<'_>]) -> String {
    let look = LineStyle::new(false, false, width, 0);
    written(Filter::default(), Writing::Line(look), show_args, events)
}

#[test]
fn a_line_says_what_it_is() {
    let body = BODY.replace("\"eta\":61000,", "\"eta\":45311000,");
    let text = lines(
        None,
        false,
        &[
            publish("orders.DQ", &body),
            deliver("orders.DQ", false, &body),
            deliver("orders.DQ", true, &body),
        ],
    );
    let expected = "\
12:34:56.000 publish orders.DQ        retry 2/3, due in 15.0 s send     3f96a1b2 127.0.0.1:40000   after ValueError: no \\e[31m
12:34:56.001 deliver orders.DQ 1.0 ms retry 2/3, due in 15.0 s send     3f96a1b2 dramatiq[7]       after ValueError: no \\e[31m
12:34:56.002 deliver orders.DQ        redelivered, retry 2/3, due in 15.0 s send     3f96a1b2 dramatiq[7]       after ValueError: no \\e[31m
";
    assert_eq!(text, expected);
}

/// On a terminal a name that every line would repeat stands once; what differs is not cut for it.
#[test]
fn the_only_actor_is_named_once() {
    let long = BODY
        .replace("\"send\"", "\"execute_agent_task_actor\"")
        .replace("\"eta\":61000,", "\"eta\":45311000,");
    let events = [publish("orders.DQ", &long), deliver("orders.DQ", false, &long)];
    let text = lines(Some(110), false, &events);
    let told: Vec<&str> = text.lines().collect();
    assert_eq!(
        told[0],
        "12:34:56.000 actor execute_agent_task_actor, until another one is named"
    );
    assert_eq!(
        told[1],
        "12:34:56.000 publish orders.DQ        retry 2/3, due in 15.0 s 3f96a1b2 127.0.0.1:40000   after ValueError: n…"
    );
    assert_eq!(text.matches("execute_agent_task_actor").count(), 1, "{text}");
    // A second one: from then on each line names its own.
    let other = BODY.replace("\"send\"", "\"cancel\"");
    let events = [publish("a", &long), publish("a", &other), publish("a", &long)];
    let text = lines(Some(110), false, &events);
    let named = |name: &str| text.matches(name).count();
    assert_eq!(
        (named("execute_agent_task_actor"), named("cancel")),
        (2, 1),
        "{text}"
    );
    // Whoever greps a file finds it in every line.
    assert_eq!(
        lines(None, false, &events)
            .matches("execute_agent_task_actor")
            .count(),
        2
    );
}

#[test]
fn arguments_are_shown_on_request_and_without_secrets() {
    let text = lines(None, true, &[publish("orders", BODY)]);
    assert!(
        text.contains(r#"["***","x\\e[31m"] {"task_id":7,"api_token":"***"}"#),
        "{text}"
    );
    assert!(!lines(None, false, &[publish("orders", BODY)]).contains("task_id"));
}

#[test]
fn lines_are_cut_to_the_width_and_hold_no_control_characters() {
    let wide = "ö漢\u{1b}[2J\u{9b}\u{202e}\n".repeat(20);
    let body = BODY.replace("send", &serde_json::json!(wide).to_string().replace('"', ""));
    for width in [1, 20, 50, 79, 200] {
        for color in [false, true] {
            let look = LineStyle::new(color, false, Some(width), 0);
            let text = written(
                Filter::default(),
                Writing::Line(look),
                true,
                &[publish(&wide, &body)],
            );
            // The actor, and the message.
            assert_eq!(text.lines().count(), 2, "{text:?}");
            for line in text.lines() {
                let mut bare = line.to_owned();
                for code in ["31", "32", "33", "36", "1", "2", "0"] {
                    bare = bare.replace(&format!("\u{1b}[{code}m"), "");
                }
                assert!(
                    !bare.contains(|c: char| c.is_control() || c == '\u{202e}'),
                    "{bare:?}"
                );
                assert!(
                    unicode_width::UnicodeWidthStr::width(bare.as_str()) <= width,
                    "{width}: {bare:?}"
                );
            }
        }
    }
    let json = written(Filter::default(), Writing::Json, true, &[publish(&wide, &body)]);
    assert!(
        !json
            .trim_end()
            .contains(|c: char| c.is_control() || c == '\u{202e}'),
        "{json:?}"
    );
    let look = LineStyle::new(false, true, Some(200), 0);
    let ascii = written(
        Filter::default(),
        Writing::Line(look),
        true,
        &[publish(&wide, &body)],
    );
    assert!(ascii.is_ascii(), "{ascii}");
}

#[test]
fn what_is_no_message_is_still_an_event() {
    for (body, said) in [
        ("\u{1}pickle", "7 bytes that are not JSON"),
        ("{\"a\":1}", "JSON without actor_name"),
    ] {
        let text = lines(
            None,
            true,
            &[publish("orders", body), deliver("orders", false, body)],
        );
        assert_eq!(text.lines().count(), 2);
        assert!(text.contains(said), "{text}");
        assert!(!text.contains(" ms"), "nothing to match them by: {text}");
    }
}

#[test]
fn kinds_of_filters_must_all_fit() {
    let other = BODY
        .replace("\"send\"", "\"pay\"")
        .replace("00000001", "00000002");
    let events = || {
        [
            publish("orders", BODY),
            deliver("orders.XQ", false, BODY),
            publish("mail", &other),
        ]
    };
    let shown = |queues: &[&str], actors: &[&str], tasks: &[&str], patterns: &[&str]| {
        let all = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let filter = Filter::new(&all(queues), &all(actors), &all(tasks), &all(patterns)).expect("a filter");
        let look = LineStyle::new(true, false, Some(30), 0);
        written(filter, Writing::Line(look), false, &events())
            .lines()
            .filter(|line| !line.contains("actor "))
            .count()
    };
    assert_eq!(shown(&[], &[], &[], &[]), 3);
    assert_eq!(shown(&["orders"], &[], &[], &[]), 2, "with its companions");
    assert_eq!(shown(&["orders*"], &[], &[], &[]), 2);
    assert_eq!(
        shown(&["order?"], &[], &[], &[]),
        1,
        "a pattern means what it says"
    );
    assert_eq!(shown(&["orders", "mail"], &["pay"], &[], &[]), 1);
    assert_eq!(shown(&[], &["se*", "pay"], &[], &[]), 3);
    assert_eq!(shown(&[], &[], &["7"], &[]), 3, "a number among the arguments");
    assert_eq!(
        shown(&[], &[], &["task_id"], &[]),
        0,
        "the name of an argument is none"
    );
    let id = "3F96A1B20C4D4E5F8A9B000000000002";
    assert_eq!(shown(&[], &[], &[id], &[]), 1, "another spelling of a message id");
    assert_eq!(
        shown(&[], &[], &[], &["dead letter", "^nothing"]),
        1,
        "what would be shown, uncut"
    );
    assert_eq!(shown(&[], &[], &[], &["hunter22"]), 0, "not what is masked");
    assert!(Filter::new(&["[".into()], &[], &[], &[]).is_err());
    assert!(Filter::new(&[], &[], &[], &["(".into()]).is_err());
}

#[test]
fn what_was_missed_is_said_at_its_place() {
    let mut tracer = Tracer::new(
        Framework::usual(),
        Filter::default(),
        Writing::Json,
        false,
        Scrubber::default(),
    );
    let moment = Moment {
        late: false,
        at_ms: 1.0,
        unix_ms: 1,
    };
    let mut out = Vec::new();
    tracer.take(moment, &publish("orders", BODY), None, &mut out);
    tracer.missed(moment, 3, Place::Broker, &mut out);
    tracer.take(moment, &deliver("orders", false, BODY), None, &mut out);
    let text = String::from_utf8(out).expect("UTF-8");
    let kinds: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(kinds[1]["events"], 3);
    // Another copy may have been among them.
    assert!(kinds[2].get("latency_ms").is_none(), "{text}");
    let totals = tracer.totals();
    assert_eq!((totals.events, totals.tasks, totals.missed), (2, 1, 3));
}

#[test]
fn what_was_read_late_has_no_latency() {
    let mut tracer = Tracer::new(
        Framework::usual(),
        Filter::default(),
        Writing::Json,
        false,
        Scrubber::default(),
    );
    let mut out = Vec::new();
    let moment = |at_ms, late| Moment {
        at_ms,
        unix_ms: 1,
        late,
    };
    // One of the two late, or something late in between: nobody knows.
    for lates in [[true, false, false], [false, true, false], [false, false, true]] {
        tracer.take(moment(1.0, lates[0]), &publish("orders", BODY), None, &mut out);
        tracer.take(moment(2.0, lates[1]), &publish("mail", BODY), None, &mut out);
        tracer.take(
            moment(3.0, lates[2]),
            &deliver("orders", false, BODY),
            None,
            &mut out,
        );
    }
    let text = String::from_utf8(out).expect("UTF-8");
    assert!(!text.contains("latency_ms"), "{text}");
    assert_eq!(text.matches("\"late\":true").count(), 3, "{text}");
    let look = LineStyle::new(false, false, None, 0);
    let mut tracer = Tracer::new(
        Framework::usual(),
        Filter::default(),
        Writing::Line(look),
        false,
        Scrubber::default(),
    );
    let mut out = Vec::new();
    tracer.take(moment(1.0, true), &publish("orders", BODY), None, &mut out);
    assert!(String::from_utf8(out).expect("UTF-8").contains("read late"));
}

/// An older attempt may still wait in the queue: it is not what was published just now.
#[test]
fn another_attempt_is_another_message() {
    let retried = BODY.replace("\"retries\":2", "\"retries\":3");
    let text = lines(
        None,
        false,
        &[
            publish("orders", &retried),
            deliver("orders", false, BODY),
            deliver("orders", false, &retried),
        ],
    );
    let latencies: Vec<bool> = text.lines().map(|line| line.contains(".0 ms ")).collect();
    assert_eq!(latencies, [false, false, true], "{text}");
}

#[test]
fn what_is_wrong_with_the_trace_is_said_in_plain_words() {
    let moment = |at_ms: f64| Moment {
        at_ms,
        unix_ms: 45_296_000 + at_ms as i64,
        late: false,
    };
    let look = LineStyle::new(false, false, None, 0);
    let mut tracer = Tracer::new(
        Framework::usual(),
        Filter::default(),
        Writing::Line(look),
        false,
        Scrubber::default(),
    );
    let mut out = Vec::new();
    tracer.missed(moment(0.0), 1, Place::Broker, &mut out);
    tracer.missed(moment(1.0), 2, Place::Output, &mut out);
    tracer.gap(
        moment(3500.0),
        moment(1000.0),
        "the firehose broke off:\u{1b}[2J\nno",
        &mut out,
    );
    let expected = "\
12:34:56.000 1 event missed: taskdiag could not keep up with the broker
12:34:56.001 2 events missed: whatever reads this output is too slow
12:34:59.500 events of the last 2.5 s may be missing: the firehose broke off:\\e[2J\\nno
";
    assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
}

/// Names are what they are, for programs; and no terminal is harmed.
#[test]
fn names_in_json_are_escaped_once() {
    let name = "\u{1b}[31mact\nnew\tline\u{9b}\u{202e}ö\u{7f}\u{1d173}";
    let body = BODY.replace("\"send\"", &serde_json::json!(name).to_string());
    let text = written(Filter::default(), Writing::Json, false, &[publish(name, &body)]);
    let shown: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(shown["message"]["actor"], name);
    assert_eq!(shown["queues"][0], name);
    assert!(
        !text
            .trim_end()
            .contains(|c: char| c.is_control() || c == '\u{202e}'),
        "{text:?}"
    );
}

/// A misspelt queue is listed as well.
#[test]
fn queues_of_the_default_exchange_are_called_unproven() {
    let exchange = |name: &'static str| {
        let mut event = publish("orders", BODY);
        if let TraceKind::Publish { exchange, .. } = &mut event.kind {
            *exchange = name.into();
        }
        let text = written(Filter::default(), Writing::Json, false, &[event]);
        serde_json::from_str::<serde_json::Value>(&text).expect("JSON")
    };
    assert_eq!(exchange("")["queues_unproven"], true);
    assert!(exchange("events").get("queues_unproven").is_none());
}
