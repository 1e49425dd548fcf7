//! `taskdiag watch` on the real broker: what it shows, when it ends, what it leaves alone.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicGetOptions, BasicNackOptions, BasicRejectOptions, QueueDeclareOptions,
};
use lapin::types::{AMQPValue, FieldTable, LongString, ShortString};
use serde_json::{Value as Json, json};

use crate::lab::{Lab, free_port, run, signal, until};
use crate::stack::Stack;
use crate::worker::healthy;

// ---- a watch under test ----

pub(crate) struct Watch {
    child: Child,
    lines: Arc<Mutex<Vec<Json>>>,
    /// All that it printed has been read.
    is_over: Arc<AtomicBool>,
    read: usize,
}

impl Watch {
    pub(crate) fn start(stack: &Stack, arguments: &[&str]) -> Self {
        Self::start_with(stack, arguments, &[])
    }

    fn start_with(stack: &Stack, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let config = stack.write_config();
        let mut child = stack
            .taskdiag("watch")
            .envs(variables.iter().copied())
            .arg("--config")
            .arg(config)
            .args(["--format", "json"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("taskdiag starts");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stdout = child.stdout.take().expect("a pipe");
        let sink = lines.clone();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = is_over.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let line: Json = serde_json::from_str(&line).expect("a line of JSON");
                assert_eq!(line["schema"], "taskdiag.watch.v1");
                sink.lock().unwrap().push(line);
            }
            over.store(true, Ordering::SeqCst);
        });
        Self {
            child,
            lines,
            is_over,
            read: 0,
        }
    }

    /// The next line of which this is true.
    pub(crate) fn next(&mut self, what: &str, mut is_it: impl FnMut(&Json) -> bool) -> Json {
        let mut found = None;
        until(what, || {
            let is_over = self.is_over.load(Ordering::SeqCst);
            let lines = self.lines.lock().unwrap();
            while found.is_none() && self.read < lines.len() {
                let line = &lines[self.read];
                self.read += 1;
                if is_it(line) {
                    found = Some(line.clone());
                }
            }
            let end = &lines[lines.len().saturating_sub(4)..];
            assert!(found.is_some() || !is_over, "{what} was never said: {end:#?}");
            found.is_some()
        });
        found.expect("found")
    }

    pub(crate) fn row(&mut self, queue: &str, what: &str, is_it: impl Fn(&Json) -> bool) -> Json {
        self.next(what, |line| {
            line["queue"] == queue && line["kind"] == "queue" && is_it(line)
        })
    }

    fn state(&mut self, queue: &str, state: &str) -> Json {
        self.row(queue, &format!("{queue} is {state}"), |row| row["state"] == state)
    }

    fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its status").is_none()
    }

    /// Waits until it ends by itself: the exit code and the last line.
    fn end(mut self) -> (i32, Json) {
        until("the watch ends", || !self.is_running());
        let code = self.child.wait().expect("its status").code().expect("a code");
        let mut said = String::new();
        if let Some(stderr) = &mut self.child.stderr {
            let _ = stderr.read_to_string(&mut said);
        }
        assert_eq!(said, "");
        until("its last line", || {
            self.lines
                .lock()
                .unwrap()
                .last()
                .is_some_and(|line| line["kind"] == "end")
        });
        let end = self.lines.lock().unwrap().last().cloned().expect("a line");
        assert_eq!(end["exit_code"], code, "{end:#}");
        (code, end)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The same as text, to its end.
fn watch(stack: &Stack, arguments: &[&str]) -> Output {
    let config = stack.write_config();
    let mut taskdiag = stack.taskdiag("watch");
    taskdiag.arg("--config").arg(config).args(arguments);
    taskdiag.output().expect("taskdiag runs")
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

// ---- queues ----

fn vhost(name: &str) -> Stack {
    let mut stack = Stack::bare(&format!("watch-{name}"), crate::worker::Dramatiq::Two);
    stack.set("broker.queue", "q");
    stack.unset("database");
    stack
}

fn declare(stack: &mut Stack, queue: &str, arguments: &[(&str, &str)]) {
    let mut table = FieldTable::default();
    for (key, value) in arguments {
        table.insert(
            ShortString::from(*key),
            AMQPValue::LongString(LongString::from(*value)),
        );
    }
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    let connection = stack.amqp();
    run(async {
        let channel = connection.create_channel().await.expect("a channel");
        channel
            .queue_declare(queue.into(), durable, table)
            .await
            .expect("declared");
        let _ = channel.close(200, "done".into()).await;
    });
}

/// Somebody who takes everything and acknowledges when told to.
struct Holder {
    channel: lapin::Channel,
    consumer: lapin::Consumer,
}

impl Holder {
    fn of(stack: &mut Stack, queue: &str) -> Self {
        let connection = stack.amqp();
        run(async {
            let channel = connection.create_channel().await.expect("a channel");
            let consumer = channel
                .basic_consume(
                    queue.into(),
                    "holder".into(),
                    Default::default(),
                    FieldTable::default(),
                )
                .await
                .expect("consumes");
            Self { channel, consumer }
        })
    }

    fn take(&mut self) -> lapin::message::Delivery {
        run(self.consumer.next()).expect("a delivery").expect("delivered")
    }

    fn ack(&mut self, delivery: &lapin::message::Delivery) {
        let acked = self
            .channel
            .basic_ack(delivery.delivery_tag, BasicAckOptions::default());
        run(acked).expect("acknowledged");
    }
}

// ---- what it shows ----

#[test]
fn a_publish_is_shown_at_once() {
    let mut stack = vhost("publish");
    for (queue, kind) in [("q", "classic"), ("quorum", "quorum")] {
        declare(&mut stack, queue, &[("x-queue-type", kind)]);
        let mut watch = Watch::start(&stack, &["--queue", queue, "--until", "stuck", "--for", "60s"]);
        let first = watch.row(queue, "its first row", |row| !row["consumers"]["value"].is_null());
        assert_eq!(first["ready"]["value"], 0, "{first:#}");
        assert_eq!(first["consumers"]["value"], 0, "{first:#}");
        stack.publish(queue, "x");
        let published = Instant::now();
        let row = watch.row(queue, "the publish", |row| row["ready"]["value"] == 1);
        // Statistics would take 2.5 s at least.
        assert!(
            published.elapsed() < Duration::from_secs(2),
            "{:?}",
            published.elapsed()
        );
        assert!(row["ready"]["age_ms"].as_f64() < Some(1000.0), "{row:#}");
        watch.state(queue, "stuck: no consumer");
        let (code, end) = watch.end();
        assert_eq!((code, end["condition"].as_str()), (0, Some("stuck")), "{end:#}");
    }
}

/// Delivered to a worker that is stopped: nothing ready, and nothing done.
#[test]
fn a_stopped_worker_gets_from_held_to_stuck() {
    let mut stack = Stack::new("watch-stopped");
    let pid = stack.worker(healthy());
    let mut watch = Watch::start(
        &stack,
        &["--stuck-after", "5s", "--until", "stuck", "--for", "60s"],
    );
    watch.state("default", "idle");
    signal("STOP", format!("-{pid}"));
    stack.publish(
        "default",
        &crate::system::dramatiq_message("default", "nobody", json!({})),
    );
    let row = watch.state("default", "held");
    assert_eq!(
        (
            &row["ready"]["value"],
            &row["unacked"]["value"],
            &row["consumers"]["value"]
        ),
        (&json!(0), &json!(1), &json!(1)),
        "{row:#}"
    );
    watch.state("default", "stuck: held, not acked");
    let (code, _) = watch.end();
    assert_eq!(code, 0);
    // Who it is, and that he is stopped.
    let mut watch = Watch::start(&stack, &["--for", "60s"]);
    let row = watch.row("default", "its consumer", |row| !row["who"][0]["pid"].is_null());
    assert_eq!(row["who"][0]["process_state"], "T", "{row:#}");
    let command = row["who"][0]["command"].as_str().expect("a command");
    assert!(
        command.contains("dramatiq") || command.contains("python"),
        "{command}"
    );
    assert_eq!(row["who"][0]["user"], "lab");
    signal("CONT", format!("-{pid}"));
}

#[test]
fn new_dead_letters_are_a_state() {
    let mut stack = vhost("dead");
    let dead = [
        ("x-dead-letter-exchange", ""),
        ("x-dead-letter-routing-key", "q.XQ"),
    ];
    declare(&mut stack, "q", &dead);
    declare(&mut stack, "q.DQ", &dead);
    declare(&mut stack, "q.XQ", &[]);
    let mut watch = Watch::start(&stack, &["--all"]);
    let row = watch.state("q", "idle");
    assert_eq!(
        (&row["dead"]["value"], &row["delayed"]["value"]),
        (&json!(0), &json!(0))
    );
    stack.publish("q", "x");
    let reject = json!({ "count": 1, "ackmode": "reject_requeue_false", "encoding": "auto" });
    Lab::get().manage("POST", &format!("queues/{}/q/get", stack.id), Some(reject));
    let row = watch.state("q", "dead letters growing");
    assert_eq!(row["dead"]["value"], 1, "{row:#}");
    // Folded under their queue, they are no rows of their own.
    let lines = watch.lines.lock().unwrap();
    assert!(
        lines
            .iter()
            .all(|line| line["kind"] != "queue" || line["queue"] == "q"),
        "{lines:#?}"
    );
}

#[test]
fn created_and_deleted_queues_are_shown() {
    let mut stack = vhost("come-and-go");
    let mut watch = Watch::start(&stack, &[]);
    watch.state("q", "missing");
    declare(&mut stack, "q", &[]);
    watch.next("it was created", |line| {
        line["event"] == "created" && line["queue"] == "q"
    });
    watch.state("q", "idle");
    Lab::get().manage("DELETE", &format!("queues/{}/q", stack.id), None);
    watch.next("it was deleted", |line| {
        line["event"] == "deleted" && line["queue"] == "q"
    });
    watch.state("q", "missing");
}

#[test]
fn a_lost_connection_is_told_and_made_anew() {
    let mut stack = vhost("lost");
    declare(&mut stack, "q", &[]);
    let mut watch = Watch::start(&stack, &[]);
    watch.state("q", "idle");
    let lab = Lab::get();
    let ours = || {
        let path = format!("vhosts/{}/connections", stack.id);
        let connections = lab.manage("GET", &path, None);
        let ours = connections
            .as_array()
            .into_iter()
            .flatten()
            .find(|connection| connection["client_properties"]["product"] == "taskdiag");
        ours.and_then(|connection| connection["name"].as_str().map(str::to_owned))
    };
    until("our connection is listed", || ours().is_some());
    let name = ours().expect("listed").replace(' ', "%20").replace('>', "%3E");
    lab.manage("DELETE", &format!("connections/{name}"), None);
    watch.next("it is lost", |line| line["event"] == "lost");
    watch.next("it is found", |line| line["event"] == "found");
    stack.publish("q", "x");
    watch.row("q", "the publish", |row| row["ready"]["value"] == 1);
}

/// More than 2000 queues: those that were asked for, folded, with one list for all.
#[test]
fn thousands_of_queues_are_listed_together() {
    let mut stack = vhost("thousands");
    let connection = stack.amqp();
    run(async {
        let channel = connection.create_channel().await.expect("a channel");
        let declares = (0..700).flat_map(|n| {
            ["", ".DQ", ".XQ"].map(|suffix| {
                let name = format!("many-{n:04}{suffix}");
                let channel = channel.clone();
                async move {
                    channel
                        .queue_declare(name.into(), QueueDeclareOptions::default(), FieldTable::default())
                        .await
                }
            })
        });
        for declared in futures_util::future::join_all(declares).await {
            declared.expect("declared");
        }
    });
    declare(&mut stack, "other", &[]);
    let mut watch = Watch::start(&stack, &["--queue", "many-0*", "--until", "ready>0"]);
    let listed = watch.next("the list", |line| line["event"] == "listed");
    assert_eq!(listed["text"], "700 queues are watched");
    stack.publish("other", "x");
    std::thread::sleep(Duration::from_millis(500));
    assert!(watch.is_running(), "nobody asked for that queue");
    stack.publish("many-0699", "x");
    let row = watch.row("many-0699", "the publish", |row| row["ready"]["value"] == 1);
    assert_eq!(row["state"], "backlog", "{row:#}");
    let (code, _) = watch.end();
    assert_eq!(code, 0);
    // Hidden or not: one that nobody consumes is found.
    let (code, end) = Watch::start(&stack, &["--all", "--until", "stuck", "--for", "60s"]).end();
    assert_eq!(code, 0, "{end:#}");
}

/// A name that would clear the screen, given to a terminal: no format does.
#[test]
fn control_characters_in_a_queue_name_are_harmless() {
    const EVIL: &str = "evil\u{7f}\u{9b}2J\u{1b}[2J\u{202e}q";
    let mut stack = vhost("name");
    declare(&mut stack, EVIL, &[]);
    let harmless = |c: char| c == '\n' || !(c.is_control() || c == '\u{202e}');
    for format in ["lines", "json"] {
        let output = watch(
            &stack,
            &["--all", "--until", "empty", "--for", "20s", "--format", format],
        );
        let text = String::from_utf8(output.stdout).expect("UTF-8");
        assert!(
            text.contains("evil") && text.chars().all(harmless),
            "{format}: {text:?}"
        );
    }
    // For a program it is the name that it is.
    Watch::start(&stack, &["--all"]).state(EVIL, "idle");
}

/// More queues than are asked for at once. One that goes between two pages moves the others up, so that
/// one of them is on no page; it is there all the same.
#[test]
fn queues_that_come_and_go_between_pages() {
    const STAYS: usize = 300;
    let mut stack = vhost("pages");
    let connection = stack.amqp();
    let temporary = QueueDeclareOptions::default();
    let channel = run(async {
        let channel = connection.create_channel().await.expect("a channel");
        let declares = (0..STAYS).map(|n| {
            let name = format!("stays-{n:03}");
            channel.queue_declare(name.into(), temporary, FieldTable::default())
        });
        for declared in futures_util::future::join_all(declares).await {
            declared.expect("declared");
        }
        channel
    });
    stack.publish("stays-150", "x");
    let mut watch = Watch::start_with(&stack, &["--all"], &[("TASKDIAG_PAGES", "100,40")]);
    // The first by name, so that all others are moved.
    let (mut listed, mut rounds) = (false, 0);
    let began = Instant::now();
    while !listed || began.elapsed() < Duration::from_secs(12) {
        run(async {
            let name = || ShortString::from("changes");
            channel
                .queue_declare(name(), temporary, FieldTable::default())
                .await
                .expect("declared");
            channel
                .queue_delete(name(), Default::default())
                .await
                .expect("deleted");
        });
        rounds += 1;
        listed |= watch
            .lines
            .lock()
            .unwrap()
            .iter()
            .any(|line| line["event"] == "listed");
        assert!(began.elapsed() < Duration::from_secs(60), "never listed");
    }
    let row = watch.row("stays-150", "what it holds", |row| row["ready"]["value"] == 1);
    assert_eq!(row["unacked"]["value"], 0, "{row:#}");
    // One that goes for good is missed, and one that has come is found.
    run(async {
        let gone = channel.queue_delete("stays-299".into(), Default::default()).await;
        gone.expect("deleted");
        channel
            .queue_declare("new".into(), temporary, FieldTable::default())
            .await
            .expect("declared");
    });
    let (mut came, mut went) = (false, false);
    watch.next("that one has come and one has gone", |line| {
        came |= line["event"] == "created" && line["queue"] == "new";
        went |= line["event"] == "deleted" && line["queue"] == "stays-299";
        came && went
    });
    let lines = watch.lines.lock().unwrap();
    let is_told = |event: &str, queue: &str| {
        let is_it = |line: &&Json| line["event"] == event && line["queue"] == queue;
        lines.iter().filter(is_it).count()
    };
    let mut rows = std::collections::HashSet::new();
    for n in 0..STAYS {
        let name = format!("stays-{n:03}");
        assert_eq!(
            is_told("created", &name),
            0,
            "{name} was there from the beginning; {rounds} rounds"
        );
        assert_eq!(
            is_told("deleted", &name),
            usize::from(n == 299),
            "{name}; {rounds} rounds"
        );
        rows.extend(
            lines
                .iter()
                .any(|line| line["queue"] == name.as_str())
                .then_some(name),
        );
    }
    assert_eq!(rows.len(), STAYS);
}

// ---- when it ends ----

#[test]
fn consumed_means_acknowledged() {
    let mut stack = vhost("consumed");
    for (queue, kind) in [("q", "classic"), ("quorum", "quorum")] {
        declare(&mut stack, queue, &[("x-queue-type", kind)]);
        stack.publish(queue, "x");
        let mut watch = Watch::start(&stack, &["--queue", queue, "--until", "consumed", "--for", "60s"]);
        watch.row(queue, "the message", |row| row["ready"]["value"] == 1);
        let mut holder = Holder::of(&mut stack, queue);
        let delivery = holder.take();
        watch.row(queue, "that it was taken", |row| row["ready"]["value"] == 0);
        // A quorum queue says up to five seconds later that it is held.
        watch.row(queue, "that it is held", |row| row["unacked"]["value"] == 1);
        assert!(watch.is_running(), "it is not done");
        holder.ack(&delivery);
        let (code, end) = watch.end();
        assert_eq!(
            (code, end["condition"].as_str()),
            (0, Some("consumed")),
            "{end:#}"
        );
        let text = end["text"].as_str().expect("a text");
        assert!(text.contains("1 acknowledged"), "{end:#}");
        run(holder.channel.close(200, "done".into())).expect("closed");
    }
}

/// Purged; purged after a worker has died; rejected: the queue is empty, and nobody has done what was
/// in it. All at once, because the counters take their time.
#[test]
fn purged_and_rejected_messages_are_not_consumed() {
    let mut stack = vhost("gone");
    let cases = ["purged", "orphaned", "rejected"];
    let mut watches = Vec::new();
    for queue in cases {
        declare(&mut stack, queue, &[]);
        watches.push(Watch::start(
            &stack,
            &["--queue", queue, "--until", "consumed", "--for", "60s"],
        ));
    }
    let channel = run(stack.amqp().create_channel()).expect("a channel");
    let purge = |queue: &str| run(channel.queue_purge(queue.into(), Default::default())).expect("purged");
    for (queue, watch) in cases.iter().zip(&mut watches) {
        watch.row(queue, "its first look", |row| !row["unacked"]["value"].is_null());
        if *queue == "purged" {
            stack.publish(queue, "x");
            watch.row(queue, "the message", |row| row["ready"]["value"] == 1);
            assert_eq!(purge(queue), 1);
            continue;
        }
        let mut holder = Holder::of(&mut stack, queue);
        stack.publish(queue, "x");
        let delivery = holder.take();
        if *queue == "orphaned" {
            watch.row(queue, "that it is held", |row| row["unacked"]["value"] == 1);
            run(holder.channel.close(200, "dead".into())).expect("closed");
            watch.state(queue, "stuck: no consumer");
            assert_eq!(purge(queue), 1);
        } else {
            // What came and went between two looks was never there, as far as can be seen.
            watch.row(queue, "that it is held", |row| row["unacked"]["value"] == 1);
            let drop = BasicRejectOptions { requeue: false };
            let rejected = holder.channel.basic_reject(delivery.delivery_tag, drop);
            run(rejected).expect("rejected");
        }
    }
    for (queue, watch) in cases.iter().zip(watches) {
        let lines = watch.lines.clone();
        let (code, end) = watch.end();
        assert_eq!((code, end["because"].as_str()), (30, Some("never")), "{end:#}");
        let text = end["text"].as_str().expect("a text");
        // How many left is told where the broker's statistics had counted them by then.
        assert!(text.contains("0 were acknowledged"), "{end:#}");
        // What was rejected was in somebody's hands, and leaves them: that may be work, for a while.
        let flows = |line: &&Json| line["state"] == "flowing";
        let lines = lines.lock().unwrap();
        assert!(
            *queue == "rejected" || lines.iter().find(flows).is_none(),
            "{lines:#?}"
        );
    }
}

/// One is held for ever, the others expire: that is no flow, and does not hide that it is stuck.
#[test]
fn expired_messages_are_not_flowing() {
    let mut stack = vhost("expiry");
    let channel = run(stack.amqp().create_channel()).expect("a channel");
    let mut table = FieldTable::default();
    table.insert("x-message-ttl".into(), AMQPValue::LongInt(700));
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    run(channel.queue_declare("q".into(), durable, table)).expect("declared");
    let mut holder = Holder::of(&mut stack, "q");
    stack.publish("q", "held");
    let _held = holder.take();
    run(holder.channel.basic_qos(1, Default::default())).expect("one at a time");
    run(holder.channel.basic_cancel("holder".into(), Default::default())).expect("cancelled");
    let mut idle = Holder {
        consumer: run(holder.channel.basic_consume(
            "q".into(),
            "full".into(),
            Default::default(),
            FieldTable::default(),
        ))
        .expect("consumes"),
        channel: holder.channel.clone(),
    };
    let mut watch = Watch::start(&stack, &["--stuck-after", "3s", "--for", "60s"]);
    watch.row("q", "what is held", |row| row["unacked"]["value"] == 1);
    let told = |row: &Json| {
        assert_ne!(row["state"], "flowing", "{row:#}");
        let why = row["why"].as_str().unwrap_or_default();
        row["state"] == "stuck: held, not acked" && why.contains("without being acknowledged")
    };
    // With prefetch 1 the consumer has its message: all others expire.
    let began = Instant::now();
    let is_told = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_told.load(Ordering::SeqCst) && began.elapsed() < Duration::from_secs(60) {
                let publish = channel.basic_publish(
                    "".into(),
                    "q".into(),
                    Default::default(),
                    b"x",
                    Default::default(),
                );
                let _ = run(publish);
                std::thread::sleep(Duration::from_millis(300));
            }
        });
        watch.row("q", "that it is stuck", told);
        is_told.store(true, Ordering::SeqCst);
    });
    let _ = &mut idle;
}

/// Somebody looks at the dead letters and puts them back.
#[test]
fn a_look_at_dead_letters_brings_no_new_ones() {
    let mut stack = vhost("peek");
    declare(&mut stack, "q", &[]);
    declare(&mut stack, "q.XQ", &[]);
    for body in ["1", "2"] {
        stack.publish("q.XQ", body);
    }
    // Whatever comes while the watch looks is new.
    until("the broker has both", || stack.depth("q.XQ") == Some((2, 0)));
    let mut watch = Watch::start(&stack, &[]);
    // Idle: it has read the totals, by which those that somebody looks at are known.
    watch.row("q", "the dead letters", |row| {
        row["dead"]["value"] == 2 && row["state"] == "idle"
    });
    let mut reader = Holder::of(&mut stack, "q.XQ");
    let deliveries = [reader.take(), reader.take()];
    watch.row("q", "that they are looked at", |row| row["dead"]["value"] == 0);
    for delivery in &deliveries {
        let requeue = BasicNackOptions {
            requeue: true,
            ..Default::default()
        };
        run(reader.channel.basic_nack(delivery.delivery_tag, requeue)).expect("put back");
    }
    run(reader.channel.close(200, "done".into())).expect("closed");
    let row = watch.row("q", "that they are back", |row| row["dead"]["value"] == 2);
    assert_eq!(row["state"], "idle", "{row:#}");
    stack.publish("q.XQ", "3");
    let row = watch.state("q", "dead letters growing");
    let why = row["why"].as_str().expect("a reason");
    assert!(why.contains("at least 1 new dead letter since"), "{why}");
}

/// A passive declare counts no consumer of a stream, and of single active ones the active.
#[test]
fn consumers_of_streams_and_standbys_are_found() {
    let mut stack = vhost("uncounted");
    declare(&mut stack, "stream", &[("x-queue-type", "stream")]);
    let channel = run(stack.amqp().create_channel()).expect("a channel");
    let mut table = FieldTable::default();
    table.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    table.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    let durable = QueueDeclareOptions {
        durable: true,
        ..QueueDeclareOptions::default()
    };
    run(channel.queue_declare("single".into(), durable, table)).expect("declared");
    let (mut held, mut watches) = (Vec::new(), Vec::new());
    for (queue, count) in [("stream", 1), ("single", 3)] {
        let mut consumers = Vec::new();
        for _ in 0..count {
            let channel = run(stack.amqp().create_channel()).expect("a channel");
            run(channel.basic_qos(1, Default::default())).expect("one at a time");
            let consumer =
                channel.basic_consume(queue.into(), "".into(), Default::default(), FieldTable::default());
            consumers.push((run(consumer).expect("consumes"), channel));
        }
        held.push(consumers);
        let watch = Watch::start(
            &stack,
            &[
                "--queue",
                queue,
                "--until",
                &format!("consumers={count}"),
                "--fail-on",
                "consumers=0",
                "--for",
                "60s",
            ],
        );
        watches.push((queue, count, watch));
    }
    for (_, count, mut watch) in watches {
        until("the watch ends", || !watch.is_running());
        for row in watch
            .lines
            .lock()
            .unwrap()
            .iter()
            .filter(|line| line["kind"] == "queue")
        {
            let consumers = &row["consumers"];
            let is_told = consumers["value"] == count && consumers["age_ms"].as_f64() > Some(1000.0);
            assert!(consumers["value"].is_null() || is_told, "{row:#}");
        }
        assert_eq!(watch.end().0, 0);
    }
}

#[test]
fn exit_codes_follow_the_conditions() {
    let mut stack = vhost("codes");
    declare(&mut stack, "q", &[]);
    let code = |stack: &Stack, arguments: &[&str]| {
        let output = watch(stack, arguments);
        (output.status.code(), said(&output))
    };
    let expect = |stack: &Stack, arguments: &[&str], expected: i32| {
        let (code, said) = code(stack, arguments);
        assert_eq!(code, Some(expected), "{arguments:?}: {said}");
        said
    };
    expect(&stack, &["--for", "500ms"], 0);
    expect(&stack, &["--until", "empty"], 0);
    let said = expect(&stack, &["--until", "ready>0", "--for", "500ms"], 30);
    assert!(
        said.contains("ready>0 was not met") && said.contains("`idle`"),
        "{said}"
    );
    expect(&stack, &["--until", "consumed", "--for", "1500ms"], 30);
    stack.publish("q", "x");
    expect(&stack, &["--until", "ready>0,consumers=0", "--for", "20s"], 0);
    expect(
        &stack,
        &["--until", "empty", "--fail-on", "ready=1", "--for", "20s"],
        10,
    );
    expect(&stack, &["--until", "soon"], 2);
    // Ctrl-C is the usual end.
    let watching = Watch::start(&stack, &[]);
    std::thread::sleep(Duration::from_millis(500));
    signal("INT", watching.child.id());
    assert_eq!(watching.end().0, 0);
}

#[test]
fn one_way_to_the_broker_is_enough_and_the_lost_one_is_named() {
    let mut stack = vhost("unasked");
    // What the management API says of a quorum queue is seconds old, and no state of this moment.
    stack.default_queue_type("classic");
    declare(&mut stack, "q", &[]);
    let nobody = free_port();
    stack.set(
        "broker.amqp_url",
        format!("amqp://lab:lab@127.0.0.1:{nobody}/{}", stack.id),
    );
    // Either way alone is enough to go on, and says what is missing.
    let mut without_amqp = Watch::start(&stack, &[]);
    without_amqp.next("AMQP is lost", |line| line["event"] == "lost");
    let row = without_amqp.state("q", "idle");
    assert!(
        row["consumers"]["value"].is_null() && row["consumers"]["because"].is_string(),
        "{row:#}"
    );
    drop(without_amqp);
    stack.set(
        "broker.management_url",
        format!("http://lab:lab@127.0.0.1:{nobody}"),
    );
    let output = watch(&stack, &[]);
    assert_eq!(output.status.code(), Some(30), "{}", said(&output));
    assert!(said(&output).contains("hint:"), "{}", said(&output));
    // It was told how long to try.
    let (code, end) = Watch::start(&stack, &["--for", "2s"]).end();
    assert_eq!(code, 30, "{end:#}");
    stack.set("broker.amqp_url", stack.amqp_url("lab:lab"));
    let mut without_management = Watch::start(&stack, &[]);
    without_management.next("the management API is lost", |line| line["event"] == "lost");
    let row = without_management.state("q", "?");
    assert!(row["unacked"]["value"].is_null(), "{row:#}");
    assert_eq!(row["consumers"]["value"], 0, "{row:#}");
    drop(without_management);
    // Which queues match only a list can tell.
    let output = watch(&stack, &["--queue", "q*"]);
    assert_eq!(output.status.code(), Some(30), "{}", said(&output));
    let wrong = format!("amqp://lab:not-the-password@{}/{}", Lab::get().amqp(), stack.id);
    stack.set("broker.amqp_url", wrong);
    stack.set(
        "broker.management_url",
        format!("http://lab:not-the-password@{}", Lab::get().management()),
    );
    let output = watch(&stack, &["--for", "30s"]);
    assert_eq!(output.status.code(), Some(30), "{}", said(&output));
    assert!(!said(&output).contains("not-the-password"), "{}", said(&output));
}

/// Below the `monitoring` tag others' consumers are not listed: they are counted all the same.
#[test]
fn consumers_are_counted_without_the_monitoring_tag() {
    let mut stack = vhost("user");
    declare(&mut stack, "q", &[]);
    let mut holder = Holder::of(&mut stack, "q");
    stack.publish("q", "x");
    let delivery = holder.take();
    let lab = Lab::get();
    let name = stack.id.clone();
    lab.manage(
        "PUT",
        &format!("users/{name}"),
        Some(json!({ "password": "watcher", "tags": "management" })),
    );
    let nothing = json!({ "configure": "", "write": "", "read": ".*" });
    lab.manage("PUT", &format!("permissions/{name}/{name}"), Some(nothing));
    stack.set("broker.amqp_url", stack.amqp_url(&format!("{name}:watcher")));
    stack.set(
        "broker.management_url",
        format!("http://{name}:watcher@{}", lab.management()),
    );
    let mut watch = Watch::start(&stack, &[]);
    let row = watch.row("q", "what is held", |row| row["unacked"]["value"] == 1);
    assert_eq!(row["consumers"]["value"], 1, "{row:#}");
    // It is listed before its connection is known.
    watch.row("q", "who holds it", |row| row["who"][0]["user"] == "lab");
    holder.ack(&delivery);
    watch.state("q", "flowing");
    drop(watch);
    lab.ask("DELETE", &format!("users/{name}"), None);
}

// ---- what it leaves alone ----

#[test]
fn a_watch_changes_nothing() {
    let mut stack = vhost("unchanged");
    for kind in ["classic", "quorum"] {
        declare(&mut stack, kind, &[("x-queue-type", kind)]);
        for body in ["1", "2", "3"] {
            stack.publish(kind, body);
        }
    }
    let before = stack.vhost();
    let (code, _) = Watch::start(&stack, &["--all", "--for", "3s"]).end();
    assert_eq!(code, 0);
    assert_eq!(stack.vhost(), before);
    let connection = stack.amqp();
    run(async {
        let channel = connection.create_channel().await.expect("a channel");
        for kind in ["classic", "quorum"] {
            for body in ["1", "2", "3"] {
                let got = channel
                    .basic_get(kind.into(), BasicGetOptions { no_ack: true })
                    .await
                    .expect("got")
                    .expect("a message");
                assert_eq!(got.data, body.as_bytes());
                assert!(!got.redelivered, "{kind} {body}");
            }
        }
    });
    let queues = Lab::get().manage("GET", &format!("queues/{}?disable_stats=true", stack.id), None);
    assert_eq!(queues.as_array().map(Vec::len), Some(2), "{queues:#}");
}

// ---- a terminal ----

/// `script` is a terminal: what it shows, and our end of its keyboard.
fn on_a_terminal(stack: &Stack, arguments: &str) -> Child {
    let config = stack.write_config();
    let taskdiag = stack.taskdiag("watch");
    let command = format!(
        "stty rows 24 cols 110 && exec {} watch --config {} {arguments}",
        taskdiag.get_program().to_string_lossy(),
        config.display()
    );
    Command::new("script")
        .args(["-qefc", &command, "/dev/null"])
        .env("TERM", "xterm-256color")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("util-linux is installed")
}

const ENTER: &str = "\u{1b}[?1049h";
const LEAVE: &str = "\u{1b}[?1049l";

/// What was drawn, read in the background.
fn drawn(terminal: &mut Child) -> Arc<Mutex<String>> {
    let mut stdout = terminal.stdout.take().expect("a pipe");
    let drawn = Arc::new(Mutex::new(String::new()));
    let sink = drawn.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = stdout.read(&mut buffer) {
            sink.lock()
                .unwrap()
                .push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    });
    drawn
}

#[test]
fn the_table_is_drawn_and_the_terminal_given_back() {
    let mut stack = vhost("terminal");
    declare(&mut stack, "q", &[]);
    stack.publish("q", "x");
    let shows = |drawn: &Arc<Mutex<String>>, text: &str| drawn.lock().unwrap().contains(text);

    let mut terminal = on_a_terminal(&stack, "--columns queue,state,ready");
    let screen = drawn(&mut terminal);
    until("the table", || shows(&screen, "backlog"));
    assert!(shows(&screen, ENTER));
    let mut keyboard = terminal.stdin.take().expect("a pipe");
    keyboard.write_all(b"q").expect("typed");
    until("its end", || terminal.try_wait().expect("its status").is_some());
    assert_eq!(terminal.wait().expect("its status").code(), Some(0));
    until("the terminal is given back", || shows(&screen, LEAVE));

    // Ended from outside.
    let mut terminal = on_a_terminal(&stack, "--ascii");
    let screen = drawn(&mut terminal);
    until("the table", || shows(&screen, "backlog"));
    let child =
        std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", terminal.id())).expect("/proc");
    signal("TERM", child.trim());
    until("its end", || terminal.try_wait().expect("its status").is_some());
    until("the terminal is given back", || shows(&screen, LEAVE));
    let text = screen.lock().unwrap().clone();
    assert!(text.is_ascii(), "{text:?}");

    // The control sequence of Ctrl-C, and a condition that was not met.
    let mut terminal = on_a_terminal(&stack, "--until empty");
    let screen = drawn(&mut terminal);
    until("the table", || shows(&screen, "backlog"));
    let mut keyboard = terminal.stdin.take().expect("a pipe");
    keyboard.write_all(&[3]).expect("typed");
    until("its end", || terminal.try_wait().expect("its status").is_some());
    assert_eq!(terminal.wait().expect("its status").code(), Some(130));
    until("the last word", || shows(&screen, "empty was not met"));
}
