//! `--start`: starts the system once everything is watched, and waits until it is ready.
//!
//! Ready is what can be seen to be: the API answers HTTP at its address, the queue has one consumer
//! more. So is "will not be ready": a process ended, or said that it is ready and consumes nothing.
//! Either is an event like any other, and what it means is the diagnosis's business.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::follow::Run;
use super::plan::OnNews;
use crate::config::{Api, Config};
use crate::diagnosis;
use crate::error::Result;
use crate::framework::LogEvent;
use crate::http;
use crate::interrupt::interrupt;
use crate::supervise::{Started, System};
use crate::timeline::{Ended, EventKind, Source};
use crate::vantage::Tap;
use crate::vantage::process::{self, ProcessQuery, sockets};

const EVERY: Duration = Duration::from_millis(25);
/// The last lines of a process that has ended may still be on their way through its log.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// A worker that is ready, or cannot connect and tries again every 3 s, gets so long to consume.
const READY_BUT_NOT_CONSUMING: Duration = Duration::from_secs(8);
/// An answer that does not come from below what was started may be a container's, or another program's
/// that holds the port: then what was started ends in a moment.
const ANOTHER_ANSWERS: Duration = Duration::from_millis(2_500);

/// The tables that an application makes when it starts are seen so soon.
const TABLES_WITHIN: Duration = Duration::from_millis(1500);

const ENDED: &str = "it ended with ";

/// One program on its way.
struct Part {
    started: Started,
    began: Instant,
    ended: Option<Instant>,
    /// The worker's log says that it ought to consume by now.
    claims: Option<Instant>,
    decided: bool,
    ready: bool,
}

/// Returns early with why the run is over, if it is: the user has seen enough.
pub(super) async fn bring_up(
    run: &mut Run,
    system: &System,
    config: &Config,
    tap: &Tap,
    progress: &mut OnNews<'_>,
) -> Result<Option<Ended>> {
    // Nothing can be said of a task yet.
    let nothing = diagnosis::diagnose(&run.timeline);
    let before = consumers(run);
    let (mut parts, mut answers) = launch(run, system, config, tap).await?;
    let mut all_decided = None;
    let mut answered_at = None;
    loop {
        tokio::select! {
            biased;
            () = interrupt() => return Ok(Some(Ended::Interrupted)),
            Some(()) = answers.recv() => answered_at = Some(Instant::now()),
            Some(report) = run.reports.recv() => { run.take(report); }
            () = tokio::time::sleep(EVERY) => {}
        }
        run.take_waiting();
        let consumes = consumers(run) > before;
        for part in parts.iter_mut().filter(|part| !part.decided) {
            part.ready = match part.started.part {
                "api" => answered_at.is_some_and(|at| part.answers_itself(config, at)),
                _ => consumes || (!sees(run, Source::Queue) && part.claims.is_some()),
            };
            let reason = match part.ready {
                true => None,
                false => part.hopeless(run, config.timing.timeout),
            };
            if part.ready || reason.is_some() {
                part.decide(run, tap, reason);
            }
        }
        progress(&run.timeline, &nothing);
        // Without an API nothing can be submitted, however well the worker is.
        let no_api = parts
            .iter()
            .any(|part| part.started.part == "api" && part.decided && !part.ready);
        if no_api || parts.iter().all(|part| part.decided) {
            let since = *all_decided.get_or_insert_with(Instant::now);
            if !no_api
                && config.database.is_some()
                && !sees(run, Source::Database)
                && since.elapsed() < TABLES_WITHIN
            {
                continue;
            }
            run.take_waiting();
            progress(&run.timeline, &nothing);
            return Ok(None);
        }
    }
}

/// Starts all of them. The channel tells when something answers at the API's address.
async fn launch(
    run: &Run,
    system: &System,
    config: &Config,
    tap: &Tap,
) -> Result<(Vec<Part>, mpsc::Receiver<()>)> {
    let (answered, answers) = mpsc::channel(1);
    let mut parts = Vec::new();
    for started in system.start().await? {
        announce(&started, system, tap, &run.queries.processes);
        if started.part == "api"
            && let Some(api) = config.api.clone()
        {
            let answered = answered.clone();
            tokio::spawn(async move {
                until_it_answers(&api).await;
                let _ = answered.send(()).await;
            });
        }
        parts.push(Part {
            started,
            began: Instant::now(),
            ended: None,
            claims: None,
            decided: false,
            ready: false,
        });
    }
    Ok((parts, answers))
}

fn api_port(config: &Config) -> Option<u16> {
    config.api.as_ref()?.url.port_or_known_default()
}

impl Part {
    /// It is what answers at the API's address since then.
    fn answers_itself(&self, config: &Config, since: Instant) -> bool {
        let exit = self.started.exit();
        let alive = exit.is_none_or(|exit| exit.code == 0 && exit.left_children);
        alive && (since.elapsed() >= ANOTHER_ANSWERS || listens(api_port(config), self.started.pid))
    }

    /// Says that it is ready, or why it will not be.
    fn decide(&mut self, run: &Run, tap: &Tap, reason: Option<String>) {
        self.decided = true;
        let part = self.started.part.to_owned();
        let pid = self.started.pid;
        let after_ms = self.began.elapsed().as_secs_f64() * 1000.0;
        // Whoever answers in its place is worth knowing, too.
        if part == "api" {
            let _ = run.queries.processes.send(ProcessQuery::Api);
        }
        let _ = run.queries.processes.send(ProcessQuery::Writers);
        tap.see(match reason {
            None => EventKind::Ready { part, pid, after_ms },
            Some(reason) => EventKind::NotReady {
                part,
                pid,
                after_ms,
                reason,
            },
        });
    }

    /// Why it will not become ready any more, or not in time.
    fn hopeless(&mut self, run: &Run, limit: Duration) -> Option<String> {
        if let Some(exit) = self.started.exit() {
            let ended = *self.ended.get_or_insert_with(Instant::now);
            // One that ends well and leaves a child behind has gone into the background.
            if (exit.code != 0 || !exit.left_children) && ended.elapsed() >= LAST_WORDS {
                return Some(format!("{ENDED}{}", crate::timeline::exit_words(exit.code)));
            }
        }
        if self.started.part == "worker" {
            if self.claims.is_none() && says_that_it_works(run) {
                self.claims = Some(Instant::now());
            }
            if self
                .claims
                .is_some_and(|since| since.elapsed() >= READY_BUT_NOT_CONSUMING)
            {
                return Some(format!(
                    "it has booted, and nothing more consumes `{}`",
                    run.timeline.setup.queue
                ));
            }
        }
        (self.began.elapsed() >= limit).then(|| match self.started.part {
            "api" => {
                let elsewhere = match sockets::listens(self.started.pid).as_slice() {
                    [] => String::new(),
                    places => format!("; it listens on {}", places.join(", ")),
                };
                format!(
                    "nothing answers at its address after {} s{elsewhere}",
                    limit.as_secs()
                )
            }
            _ => format!(
                "no consumer came to `{}` within {} s",
                run.timeline.setup.queue,
                limit.as_secs()
            ),
        })
    }
}

/// Whether a process that listens on the port descends from this one, or nothing can be seen of it.
fn listens(port: Option<u16>, started: i32) -> bool {
    let owners = port.map(sockets::listeners).unwrap_or_default();
    owners.is_empty()
        || owners
            .iter()
            .any(|(pid, _)| process::descends_from(*pid, started))
}

/// The API that was started has ended, and did not leave another to do its work.
pub(super) fn api_is_dead(run: &Run) -> bool {
    let failed = run.timeline.events.iter().find_map(|event| match &event.kind {
        EventKind::NotReady {
            part, pid, reason, ..
        } if part == "api" => Some((*pid, reason)),
        _ => None,
    });
    failed.is_some_and(|(failed, reason)| {
        run.timeline.events.iter().any(|event| {
            matches!(event.kind, EventKind::Gone { pid, exit: Some(code) }
                if pid == failed && (code != 0 || reason.starts_with(ENDED)))
        })
    })
}

/// Tells the timeline and the process watcher of it, and of its end whenever that comes.
fn announce(started: &Started, system: &System, tap: &Tap, queries: &mpsc::UnboundedSender<ProcessQuery>) {
    let prepared = system
        .programs
        .iter()
        .find(|prepared| prepared.part == started.part);
    let program = prepared.map(|prepared| &prepared.program);
    tap.see(EventKind::Started {
        part: started.part.to_owned(),
        pid: started.pid,
        command: process::command::masked(program.map(|program| program.command.clone()).unwrap_or_default()),
        cwd: program
            .map(|program| program.cwd.display().to_string())
            .unwrap_or_default(),
        python: program
            .and_then(|program| program.python.as_ref())
            .map(|path| path.display().to_string()),
        env: program
            .map(|program| program.env.iter().map(|(name, _)| name.clone()).collect())
            .unwrap_or_default(),
    });
    let _ = queries.send(ProcessQuery::Started(started.pid));
    let (started, tap) = (started.clone(), tap.clone());
    tokio::spawn(async move {
        if let Some(exit) = started.ended().await {
            tap.see(EventKind::Gone {
                pid: started.pid,
                exit: Some(exit.code),
            });
        }
    });
}

/// Consumers of the task's queue, as last seen.
fn consumers(run: &Run) -> u64 {
    let queue = &run.timeline.setup.queue;
    let last = run
        .timeline
        .events
        .iter()
        .rev()
        .find_map(|event| match &event.kind {
            EventKind::Depth {
                queue: name,
                consumers,
                ..
            } if name == queue => Some(*consumers),
            _ => None,
        });
    last.unwrap_or(0)
}

/// Whether this source can see now.
fn sees(run: &Run, source: Source) -> bool {
    let said = run
        .timeline
        .events
        .iter()
        .rev()
        .filter(|event| event.source == source);
    said.filter_map(|event| match event.kind {
        EventKind::Blind { .. } => Some(false),
        EventKind::Watching { .. } | EventKind::Partial { .. } => Some(true),
        _ => None,
    })
    .next()
    .unwrap_or(false)
}

/// A line from which on it should consume, or has tried to.
fn says_that_it_works(run: &Run) -> bool {
    run.timeline.events.iter().any(|event| {
        matches!(
            run.timeline.mark(event.n),
            Some(LogEvent::Ready | LogEvent::ConnectionError { .. })
        )
    })
}

/// Any HTTP answer at all: a listening port is not enough, since `uvicorn --reload` listens before
/// the application is imported.
async fn until_it_answers(api: &Api) {
    let client = http::client(&api.tls, Duration::from_secs(5));
    loop {
        if let Ok(client) = &client
            && client.head(api.url.clone()).send().await.is_ok()
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}
