//! What taskdiag promises to leave alone, to put back, and never to show.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use lapin::options::{BasicGetOptions, BasicNackOptions};
use serde_json::{Value as Json, json};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers};

use crate::lab::{Lab, run, signal, until};
use crate::stack::Stack;
use crate::verdict::{Running, Verdict};
use crate::worker::healthy;

// ---- the database is only read ----

#[test]
fn the_database_is_only_read() {
    let mut stack = Stack::new("read-only");
    stack.worker(healthy());
    stack.api(&[]);
    let role = stack.id.clone();
    // It may read one table and nothing else, and everything it says is logged.
    stack.sql(&format!(
        "CREATE ROLE \"{role}\" LOGIN PASSWORD 'reader'; GRANT SELECT ON task TO \"{role}\"; \
         ALTER ROLE \"{role}\" SET log_statement = 'all'"
    ));
    let log = Path::new(Lab::get().value("LAB_PG_LOG"));
    let before = fs::metadata(log).expect("PostgreSQL's log").len() as usize;
    stack.set("database.url", stack.database_url(&format!("{role}:reader")));
    let verdict = stack.diagnose(&[]);
    let log = fs::read(log).expect("PostgreSQL's log");
    let log = String::from_utf8_lossy(&log[before..]);
    // Whoever looks after the server takes these words for a broken database: no run asks what is answered so.
    for alarm in ["apparent wraparound", "is in the future"] {
        assert!(!log.contains(alarm), "{alarm}");
    }
    let mut statements = 0;
    // No other test has its statements logged.
    for line in log.lines() {
        let Some((_, statement)) = line
            .split_once("LOG:  statement: ")
            .or_else(|| line.split_once("LOG:  execute "))
        else {
            continue;
        };
        let statement = statement
            .strip_prefix("<unnamed>: ")
            .unwrap_or(statement)
            .trim_start();
        let harmless = [
            "SELECT",
            "BEGIN READ ONLY",
            "BEGIN TRANSACTION READ ONLY",
            "SET LOCAL",
            "COMMIT",
            "ROLLBACK",
            "SHOW",
            "WITH",
        ];
        assert!(
            harmless
                .iter()
                .any(|start| statement.to_uppercase().starts_with(start)),
            "{statement}"
        );
        statements += 1;
    }
    assert!(statements > 10, "statements are logged:\n{log}");
    stack.sql(&format!("DROP OWNED BY \"{role}\"; DROP ROLE \"{role}\""));
    verdict.expect("A", "succeeded", 0).sees(&["database"]);
}

#[test]
fn rows_are_not_touched() {
    let mut stack = Stack::new("rows");
    let api = stack.api(&[]);
    stack.sql("INSERT INTO task (task_id, task_type, status, input_data) VALUES ('task_of_others', 'x', 'PENDING', '{}')");
    stack.diagnose(&[]).expect("C", "no-consumer", 20);
    stack.kill(api);
    let headers = |stack: &Stack| -> Vec<String> {
        run(async {
            let mut connection = Lab::get().connect(&stack.id).await;
            let headers =
                "SELECT concat_ws(' ', task_id, status, xmin, xmax, ctid, updated_at) FROM task ORDER BY 1";
            sqlx::query_scalar(headers)
                .fetch_all(&mut connection)
                .await
                .expect("rows")
        })
    };
    let before = headers(&stack);
    assert_eq!(before.len(), 2);
    // Nothing but taskdiag is left that could write.
    stack.diagnose(&[]).expect("none", "api-unreachable", 10);
    assert_eq!(headers(&stack), before);
}

// ---- the vhost's tracing is put back ----

/// A run that goes on for a while: nobody consumes, and silence is long.
pub fn long_run(name: &str) -> Stack {
    let mut stack = Stack::new(name);
    // RabbitMQ 3.10 takes the queue type and forgets it; later ones keep it.
    let described = json!({ "description": "orders, \"live\" & more", "tags": "production,eu", "default_queue_type": "quorum" });
    Lab::get().manage("PUT", &format!("vhosts/{}", stack.id), Some(described));
    stack.api(&[]);
    stack.set("timing.silence", "60s");
    stack.set("timing.timeout", "60s");
    stack
}

pub fn guardian_of(running: &Running) -> Option<u32> {
    child_of(running.pid())
}

pub fn child_of(pid: u32) -> Option<u32> {
    let parent = format!("PPid:\t{pid}");
    fs::read_dir("/proc").ok()?.flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let status = fs::read_to_string(entry.path().join("status")).ok()?;
        status.lines().any(|line| line == parent).then_some(pid)
    })
}

fn tracing_is_put_back_after(name: &str, end: &str) {
    let mut stack = long_run(name);
    let before = stack.vhost();
    assert_eq!(before["tracing"], json!(false));
    let mut running = stack.start_diagnose(&[]);
    until("tracing is on", || stack.traces());
    let during = stack.vhost();
    for key in ["description", "tags", "default_queue_type"] {
        assert_eq!(during[key], before[key], "{key} while tracing is on");
    }
    let guardian = guardian_of(&running);
    assert!(guardian.is_some(), "a guardian stands by");
    sleep(Duration::from_millis(300));
    signal(end, running.pid());
    let status = running.wait();
    assert_ne!(status.code(), Some(1), "{}", running.stderr());
    until("tracing is off again", || !stack.traces());
    assert_eq!(stack.vhost(), before);
    if let Some(guardian) = guardian {
        until("the guardian ends", || {
            !Path::new(&format!("/proc/{guardian}")).exists()
        });
    }
}

#[test]
fn tracing_is_put_back_after_ctrl_c() {
    tracing_is_put_back_after("sigint", "INT");
}

#[test]
fn tracing_is_put_back_after_sigterm() {
    tracing_is_put_back_after("sigterm", "TERM");
}

#[test]
fn tracing_is_put_back_after_hangup() {
    tracing_is_put_back_after("sighup", "HUP");
}

#[test]
fn tracing_is_put_back_after_kill_9() {
    tracing_is_put_back_after("sigkill", "KILL");
}

/// A panic, provoked by a variable that only a debug build knows, right after tracing is on.
#[test]
fn tracing_is_put_back_after_a_panic() {
    let stack = long_run("panic");
    let before = stack.vhost();
    let output = stack
        .taskdiag("diagnose")
        .arg("--config")
        .arg(stack.write_config())
        .env("TASKDIAG_PANIC", "1")
        .env("TASKDIAG_LOG", "debug")
        .output()
        .expect("taskdiag runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "a bug in taskdiag: {stderr}");
    assert!(stderr.contains("is on for this run"), "tracing was on: {stderr}");
    until("tracing is off again", || !stack.traces());
    assert_eq!(stack.vhost(), before);
}

#[test]
fn tracing_is_put_back_after_a_normal_end() {
    let mut stack = long_run("normal-end");
    stack.set("timing.silence", "2s");
    let before = stack.vhost();
    let mut running = stack.start_diagnose(&[]);
    until("tracing is on", || stack.traces());
    running
        .finish_quietly(&stack)
        .expect("C", "no-consumer", 20)
        .sees(&["firehose"]);
    assert_eq!(stack.vhost(), before);
}

/// One is killed, the other goes on with open eyes; the last one switches off.
#[test]
fn two_runs_on_one_vhost_put_tracing_back() {
    let mut stack = long_run("two-at-once");
    let before = stack.vhost();
    let mut first = stack.start_diagnose(&[]);
    until("tracing is on", || stack.traces());
    let mut second = stack.start_diagnose(&[]);
    until("the second reads it too", || readers(&stack) == 2);
    signal("KILL", first.pid());
    first.wait();
    until("the first reader is gone", || readers(&stack) == 1);
    // Longer than a guardian takes when it has reason to act.
    sleep(Duration::from_millis(1500));
    assert!(stack.traces(), "tracing stays on for the second");
    assert!(!second.has_ended());
    signal("INT", second.pid());
    second.wait();
    until("the last one switches off", || !stack.traces());
    assert_eq!(stack.vhost(), before);
}

/// The one that switched it on ends first, in peace.
#[test]
fn tracing_stays_on_until_the_last_run_ends() {
    let mut stack = long_run("two-in-turn");
    let mut first = stack.start_diagnose(&[]);
    until("tracing is on", || stack.traces());
    stack.set("timing.silence", "4s");
    let second = stack.start_diagnose(&[]);
    until("the second reads it too", || readers(&stack) == 2);
    signal("INT", first.pid());
    first.wait();
    assert!(stack.traces(), "tracing stays on for the second");
    let mut second = second;
    second
        .finish_quietly(&stack)
        .expect("C", "no-consumer", 20)
        .sees(&["firehose"]);
    until("the last one switches off", || !stack.traces());
}

fn readers(stack: &Stack) -> usize {
    let path = format!("exchanges/{}/amq.rabbitmq.trace/bindings/source", stack.id);
    let bindings = Lab::get().manage("GET", &path, None);
    let mut queues: Vec<&str> = bindings
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|binding| binding["destination"].as_str())
        .collect();
    queues.sort_unstable();
    queues.dedup();
    queues.len()
}

#[test]
fn tracing_that_was_on_stays_on() {
    let mut stack = Stack::new("traced-before");
    stack.trace_by_hand("somebody is looking");
    stack.api(&[]);
    // `finish` compares the vhost, tracing included.
    stack
        .diagnose(&[])
        .expect("C", "no-consumer", 20)
        .sees(&["firehose"]);
    assert!(stack.traces());
    let mut running = stack.start_diagnose(&[]);
    sleep(Duration::from_millis(700));
    signal("KILL", running.pid());
    running.wait();
    sleep(Duration::from_millis(1500));
    assert!(stack.traces(), "also after a kill");
}

/// A node keeps which vhosts it traces in one list, and loses changes of two at the same time.
#[test]
fn tracing_is_put_back_while_others_switch_theirs() {
    let stack = Stack::new("traced-together");
    let config = stack.write_config();
    let others: Vec<Stack> = (0..3).map(|_| Stack::new("traced-by-others")).collect();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        for other in &others {
            scope.spawn(|| {
                let path = format!("vhosts/{}", other.id);
                while !over.load(Ordering::Relaxed) {
                    for on in [true, false] {
                        Lab::get().manage("PUT", &path, Some(json!({ "tracing": on })));
                    }
                }
            });
        }
        let _ended = OnDrop(|| over.store(true, Ordering::Relaxed));
        for _ in 0..6 {
            stack.trace_by_hand("forgotten");
            let output = stack
                .taskdiag("check")
                .args(["--restore-tracing", "--config"])
                .arg(&config)
                .output()
                .expect("taskdiag runs");
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(said.contains("is switched off"), "{said}");
            assert!(!stack.traces(), "{said}");
        }
    });
}

/// Does it also where the test fails, so that it fails instead of waiting for ever.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

// ---- messages of others ----

#[test]
fn messages_of_others_are_not_touched() {
    let mut stack = Stack::new("others");
    stack.api(&[]);
    stack.diagnose(&[]).expect("C", "no-consumer", 20);
    // The queues of the sample system exist now. In each waits something that is not ours.
    let channel = run(stack.amqp().create_channel()).expect("a channel");
    run(channel.queue_declare("newsletters".into(), Default::default(), Default::default()))
        .expect("declared");
    let queues = ["newsletters", "default", "default.DQ", "default.XQ"];
    for queue in queues {
        stack.publish(queue, &format!("{{\"for\": \"{queue}\"}}"));
    }
    let counts = |stack: &mut Stack| queues.map(|queue| stack.depth(queue).expect("the queue exists").0);
    until("the broker counts them", || counts(&mut stack) == [1, 2, 1, 1]);
    stack.diagnose(&[]).expect("C", "no-consumer", 20);
    assert_eq!(counts(&mut stack), [1, 3, 1, 1], "and one more of our own");
    for queue in queues {
        let seen = run(async {
            let mut seen = Vec::new();
            while let Some(message) = channel
                .basic_get(queue.into(), BasicGetOptions::default())
                .await
                .expect("a message")
            {
                seen.push(message.delivery.redelivered);
            }
            channel
                .basic_nack(
                    0,
                    BasicNackOptions {
                        multiple: true,
                        requeue: true,
                    },
                )
                .await
                .expect("put back");
            seen
        });
        assert!(
            seen.iter().all(|redelivered| !redelivered),
            "{queue}: somebody has looked before us: {seen:?}"
        );
    }
}

// ---- secrets ----

/// A system whose every password is known to this test, and whose worker's log tells all of them.
struct Secretive {
    stack: Stack,
    user: String,
    rabbit: String,
    postgres: String,
    token: String,
    /// Of others: taskdiag was never told of it.
    stranger: String,
    chatter: String,
    shown: Vec<(String, String)>,
}

impl Secretive {
    fn new(name: &str) -> Self {
        let mut stack = Stack::new(name);
        let secret = |of: &str| format!("{of}-{}", uuid::Uuid::new_v4().simple());
        let (rabbit, postgres, token, stranger) = (
            secret("rabbit"),
            secret("postgres"),
            secret("token"),
            secret("stranger"),
        );
        let user = stack.id.clone();
        let lab = Lab::get();
        lab.manage(
            "PUT",
            &format!("users/{user}"),
            Some(json!({ "password": rabbit, "tags": "administrator" })),
        );
        let everything = json!({ "configure": ".*", "write": ".*", "read": ".*" });
        lab.manage("PUT", &format!("permissions/{user}/{user}"), Some(everything));
        let worker_url = stack.amqp_url(&format!("{user}:{rabbit}"));
        stack.worker(healthy().env("RABBITMQ_URL", &worker_url));
        stack.api(&[("OPS_API_FAULT", "unauthorized"), ("OPS_TOKEN", &token)]);
        stack.sql(&format!(
            "CREATE ROLE \"{user}\" LOGIN PASSWORD '{postgres}'; GRANT SELECT ON task TO \"{user}\""
        ));
        stack.set_all(&format!(
            "[api]\nheaders = {{ Authorization = \"Bearer {token}\", X-Api-Key = \"{token}\" }}"
        ));
        let line =
            |text: &str| format!("[2026-01-01 00:00:00,000] [PID 1] [MainThread] [ops] [ERROR] {text}\n");
        let chatter = format!(
            "{}{}{}",
            line(&format!(
                "connecting to postgres://app:{stranger}@db.internal:5432/ops"
            )),
            line(&format!(
                "headers: {{'Authorization': 'Bearer {token}'}}, password={stranger}"
            )),
            line(&format!("broker says no to {rabbit} and {postgres}")),
        );
        let mut system = Self {
            stack,
            user,
            rabbit,
            postgres,
            token,
            stranger,
            chatter,
            shown: Vec::new(),
        };
        system.log_everything();
        system
    }

    fn log_everything(&mut self) {
        let mut log = fs::File::options()
            .append(true)
            .open(self.stack.dir.join("worker.log"))
            .expect("the log");
        log.write_all(self.chatter.as_bytes())
            .expect("the log is written");
    }

    fn configure(&mut self, rabbit: &str, postgres: &str) {
        let (stack, user) = (&mut self.stack, &self.user);
        stack.set("broker.amqp_url", stack.amqp_url(&format!("{user}:{rabbit}")));
        stack.set(
            "broker.management_url",
            format!("http://{user}:{rabbit}@{}", Lab::get().management()),
        );
        stack.set("database.url", stack.database_url(&format!("{user}:{postgres}")));
    }

    /// A run, with all that it shows to anybody.
    fn diagnose(&mut self) -> Verdict {
        let mut running = self.stack.start_diagnose(&[]);
        let mut commands = 0;
        let mut chatted = false;
        while !running.has_ended() {
            for pid in [Some(running.pid()), guardian_of(&running)].into_iter().flatten() {
                let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                self.shown.push((
                    format!("command line of {pid}"),
                    String::from_utf8_lossy(&command).into_owned(),
                ));
                commands += 1;
            }
            if !chatted && self.stack.traces() {
                self.log_everything();
                chatted = true;
            }
            sleep(Duration::from_millis(5));
        }
        assert!(commands > 0);
        let verdict = running.finish_quietly(&self.stack);
        let recording = fs::read_to_string(&verdict.recording).expect("a recording");
        for (place, text) in [
            ("stdout", &verdict.stdout),
            ("stderr", &verdict.stderr),
            ("report", &verdict.text),
            ("recording", &recording),
        ] {
            self.shown.push((place.into(), text.clone()));
        }
        verdict
    }

    fn has_shown_none(self) {
        let user = &self.user;
        self.stack
            .sql(&format!("DROP OWNED BY \"{user}\"; DROP ROLE \"{user}\""));
        Lab::get().manage("DELETE", &format!("users/{user}"), None);
        for (place, text) in &self.shown {
            for secret in [&self.rabbit, &self.postgres, &self.token, &self.stranger] {
                assert!(!text.contains(secret.as_str()), "{secret} in {place}:\n{text}");
            }
        }
    }
}

#[test]
fn passwords_are_never_shown() {
    let mut system = Secretive::new("secrets");
    let (rabbit, postgres) = (system.rabbit.clone(), system.postgres.clone());
    system.configure(&rabbit, &postgres);
    system
        .diagnose()
        .expect("A", "succeeded", 0)
        .sees(&["database", "management", "firehose", "queue"]);
    system.has_shown_none();
}

/// What fails says why, without the password that did not do.
#[test]
fn wrong_passwords_are_never_shown() {
    let mut system = Secretive::new("wrong-secrets");
    let stranger = system.stranger.clone();
    system.configure(&stranger, &stranger);
    // The right ones are secrets that nobody has told taskdiag of: their log is left out.
    system.stack.unset("worker.log");
    system
        .diagnose()
        .blind("database")
        .blind("management")
        .blind("firehose")
        .blind("queue");
    system.has_shown_none();
}

// ---- control characters ----

const EVIL: &str = "\u{1b}]0;owned\u{7}\u{1b}[2J\u{9b}31m\u{8}\u{7f}evil\r";

/// Nothing but printable characters, newlines and tabs.
fn assert_harmless(what: &str, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    let bad: Vec<char> = text
        .chars()
        .filter(|c| c.is_control() && !matches!(c, '\n' | '\t'))
        .collect();
    assert!(bad.is_empty(), "{bad:?} in {what}:\n{text:?}");
    assert!(
        text.contains("evil"),
        "the text itself is shown in {what}:\n{text}"
    );
}

#[test]
fn control_characters_never_reach_the_terminal() {
    let mut stack = Stack::new("control");
    let server = run(MockServer::start());
    let reject = ResponseTemplate::new(422).set_body_string(format!("no such thing: {EVIL}"));
    run(Mock::given(matchers::method("POST"))
        .respond_with(reject)
        .mount(&server));
    stack.set("api.url", server.uri());
    let config = stack.write_config();
    let output = stack
        .taskdiag("diagnose")
        .arg("--config")
        .arg(&config)
        .output()
        .expect("taskdiag runs");
    assert_eq!(
        output.status.code(),
        Some(10),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_harmless("the report on a rejected submission", &output.stdout);

    // From the worker's log, in the very sentence that names the cause.
    let mut stack = Stack::new("control-log");
    stack.api(&[]);
    let log = format!(
        "[2026-01-01 00:00:00,000] [PID 7] [MainThread] [dramatiq.WorkerProcess(0)] [ERROR] Failed to import module.\n\
         Traceback (most recent call last):\n  File \"/srv/ops_core/tasks/worker.py\", line 1, in <module>\n    import it\n\
         ModuleNotFoundError: No module named '{}'\n",
        EVIL.trim_end()
    );
    fs::write(stack.dir.join("worker.log"), log).expect("the log is written");
    let config = stack.write_config();
    let recording = stack.dir.join("run.jsonl");
    let output = stack
        .taskdiag("diagnose")
        .arg("--config")
        .arg(&config)
        .arg("--record")
        .arg(&recording)
        .output()
        .expect("taskdiag runs");
    assert_eq!(
        output.status.code(),
        Some(10),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_harmless("the report on a worker that did not start", &output.stdout);
    let stderr: Json = String::from_utf8_lossy(&output.stderr).into();
    assert!(
        !stderr.as_str().is_some_and(|text| text.contains('\u{1b}')),
        "{stderr}"
    );
    let output = stack
        .taskdiag("replay")
        .arg(&recording)
        .output()
        .expect("taskdiag runs");
    assert_harmless("the replayed report", &output.stdout);
}
