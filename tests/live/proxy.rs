//! A proxy between taskdiag and one source, which freezes, slows, cuts or garbles it at a named moment.
//!
//! Whatever the line does, the verdict gets weaker or stays: nothing likely or certain that is not so.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use crate::lab::{Lab, until};
use crate::stack::Stack;
use crate::verdict::{Running, Verdict};
use crate::worker::{Worker, fault, healthy};

/// What the line does to whatever passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Line {
    Good,
    /// Both ends stay connected, and nothing passes: a VPN that is gone, a firewall that forgot it.
    Frozen,
    /// Every answer takes ten seconds.
    Slow,
    /// Connections end, and no new one is made.
    Cut,
    /// Answers arrive as something else.
    Garbled,
}

const ALL: [Line; 5] = [Line::Good, Line::Frozen, Line::Slow, Line::Cut, Line::Garbled];
const LATE: Duration = Duration::from_secs(10);

/// A line that can be made worse while it is in use.
pub struct Proxy {
    pub address: String,
    line: Arc<AtomicU8>,
}

impl Proxy {
    pub fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address").to_string();
        let line = Arc::new(AtomicU8::new(Line::Good as u8));
        let shared = line.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Some(server) = reach(&target, &shared) else {
                    let _ = client.shutdown(Shutdown::Both);
                    continue;
                };
                let other = |stream: &TcpStream| stream.try_clone().expect("a second handle");
                pump(other(&client), other(&server), shared.clone(), false);
                pump(server, client, shared.clone(), true);
            }
        });
        Self { address, line }
    }

    pub fn becomes(&self, line: Line) {
        self.line.store(line as u8, Ordering::SeqCst);
    }
}

fn now(line: &AtomicU8) -> Line {
    ALL[usize::from(line.load(Ordering::SeqCst))]
}

/// The other end, unless the line is cut.
fn reach(target: &str, line: &AtomicU8) -> Option<TcpStream> {
    match now(line) {
        Line::Cut => None,
        _ => TcpStream::connect(target).ok(),
    }
}

fn pump(mut from: TcpStream, mut to: TcpStream, line: Arc<AtomicU8>, answers: bool) {
    // So that a cut is noticed where nothing passes.
    let _ = from.set_read_timeout(Some(Duration::from_millis(50)));
    thread::spawn(move || {
        let mut buffer = [0; 65536];
        loop {
            let read = match from.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => 0,
                Err(_) => break,
            };
            while now(&line) == Line::Frozen && read > 0 {
                thread::sleep(Duration::from_millis(20));
            }
            match now(&line) {
                Line::Cut => break,
                Line::Slow if answers && read > 0 => thread::sleep(LATE),
                Line::Garbled if answers => buffer[..read].iter_mut().for_each(|byte| *byte ^= 0x5a),
                _ => {}
            }
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    });
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    Database,
    Broker,
    Management,
    Api,
}

/// When the line changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    BeforeTheRun,
    Submitted,
    Entered,
    Completed,
    /// A second after that.
    Later,
}

impl Stack {
    fn through(&mut self, between: Between) -> Proxy {
        let lab = Lab::get();
        let id = self.id.clone();
        match between {
            Between::Database => {
                let proxy = Proxy::to(lab.postgres());
                self.set(
                    "database.url",
                    format!("postgres://lab:lab@{}/{id}", proxy.address),
                );
                proxy
            }
            Between::Broker => {
                let proxy = Proxy::to(lab.amqp());
                self.set(
                    "broker.amqp_url",
                    format!("amqp://lab:lab@{}/{id}", proxy.address),
                );
                proxy
            }
            Between::Management => {
                let proxy = Proxy::to(lab.management());
                self.set(
                    "broker.management_url",
                    format!("http://lab:lab@{}", proxy.address),
                );
                proxy
            }
            Between::Api => {
                let proxy = Proxy::to(self.api_url().replace("http://", ""));
                self.set("api.url", format!("http://{}", proxy.address));
                proxy
            }
        }
    }

    /// Waits for that moment of the task that is under way; `false` if the run ends before.
    pub fn waits_for(&self, moment: Moment, running: &mut Running) -> bool {
        let text = match moment {
            Moment::BeforeTheRun => return true,
            // The API logs a request when it has answered it.
            Moment::Submitted => ("api.log", "POST /api/v1/tasks"),
            Moment::Entered => ("worker.log", "ACTOR ENTRY POINT REACHED"),
            Moment::Completed | Moment::Later => ("worker.log", "Completed after"),
        };
        let mut came = false;
        until("the moment comes, or the run ends", || {
            came = self.read(text.0).contains(text.1);
            came || running.has_ended()
        });
        if moment == Moment::Later {
            thread::sleep(Duration::from_secs(1));
        }
        came
    }
}

/// One run with that line; what it may say with any weight is `truth`, and no other cause.
fn run_behind(truth: &str, worker: Worker, between: Between, line: Line, moment: Moment) -> Verdict {
    let name = format!("{line:?}-{between:?}-{moment:?}-{truth}").to_lowercase();
    let mut stack = Stack::new(&name);
    stack.set("timing.silence", "4s");
    stack.set("timing.timeout", "25s");
    stack.worker(worker);
    stack.api(&[]);
    let proxy = stack.through(between);
    if moment == Moment::BeforeTheRun {
        proxy.becomes(line);
    }
    let mut running = stack.start_diagnose(&[]);
    if stack.waits_for(moment, &mut running) {
        proxy.becomes(line);
    }
    let status = running.wait();
    proxy.becomes(Line::Good);
    until("tracing is off again", || !stack.traces());
    let verdict = running.finish_quietly(&stack);
    assert!(
        status.code().is_some_and(|code| code != 1),
        "{name}\n{}",
        verdict.explain()
    );
    // Where the API itself is behind the line, that is what is wrong.
    let of_the_line = between == Between::Api && verdict.cause().starts_with("api-");
    assert!(
        verdict.cause() == truth || of_the_line || !["certain", "likely"].contains(&verdict.certainty()),
        "{name}: {} ({})\n{}",
        verdict.cause(),
        verdict.certainty(),
        verdict.explain()
    );
    verdict
}

fn working() -> Worker {
    healthy().env("OPS_WORK_SECONDS", "1.5")
}

/// The row was written; the connection stood, and said nothing any more.
#[test]
fn a_database_that_stands_still_is_not_believed() {
    for moment in [Moment::Submitted, Moment::Entered] {
        run_behind("succeeded", working(), Between::Database, Line::Frozen, moment).blind("database");
    }
}

#[test]
fn a_database_that_answers_late_is_not_believed() {
    run_behind(
        "succeeded",
        working(),
        Between::Database,
        Line::Slow,
        Moment::Entered,
    )
    .blind("database");
}

/// A backend that was terminated, or a restart: it connects again and sees the row of now.
#[test]
fn the_database_is_connected_again() {
    let mut stack = Stack::new("again");
    stack.worker(working());
    stack.api(&[]);
    let proxy = stack.through(Between::Database);
    let mut running = stack.start_diagnose(&[]);
    assert!(stack.waits_for(Moment::Entered, &mut running));
    proxy.becomes(Line::Cut);
    thread::sleep(Duration::from_millis(500));
    proxy.becomes(Line::Good);
    running
        .finish(&stack)
        .expect("A", "succeeded", 0)
        .certain()
        .sees(&["database"]);
}

#[test]
fn a_sample_of_bad_lines_says_nothing_false() {
    for (between, line, moment) in [
        (Between::Broker, Line::Cut, Moment::Entered),
        (Between::Management, Line::Frozen, Moment::Submitted),
        (Between::Management, Line::Garbled, Moment::BeforeTheRun),
        (Between::Api, Line::Frozen, Moment::Entered),
        (Between::Database, Line::Garbled, Moment::Submitted),
    ] {
        run_behind("succeeded", working(), between, line, moment);
    }
}

/// All of them: takes a quarter of an hour.
#[test]
#[ignore = "run by .ci/nightly"]
fn every_bad_line_at_every_moment_says_nothing_false() {
    let between = [
        Between::Database,
        Between::Broker,
        Between::Management,
        Between::Api,
    ];
    let moments = [
        Moment::BeforeTheRun,
        Moment::Submitted,
        Moment::Entered,
        Moment::Completed,
        Moment::Later,
    ];
    for truth in ["succeeded", "row-never-written"] {
        for between in between {
            for line in &ALL[1..] {
                for moment in moments {
                    let worker = match truth {
                        "succeeded" => working(),
                        _ => fault("never-finished").env("OPS_WORK_SECONDS", "1.5"),
                    };
                    run_behind(truth, worker, between, *line, moment);
                }
            }
        }
    }
}
