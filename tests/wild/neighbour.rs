//! Another service's worker that writes to the same log has a fault of its own.

use taskdiag::framework::Framework;
use taskdiag::timeline::{Event, EventKind, Source};

use super::RUNS;
use super::log::Dice;
use super::run::{Run, Wild, weave, wild};

/// Recordings whose worker is the neighbour.
const WORKERS: &[&str] = &[
    "actor-raised",
    "actor-still-running",
    "blocked-before-entry",
    "decode-error",
    "expected-exception",
    "message-skipped",
    "no-event-loop",
    "succeeded",
    "unknown-actor",
    "worker-dead-children",
    "worker-exited-in-actor",
    "worker-log-pipe-full",
    "worker-not-started-usage",
    "worker-still-booting-log-flood",
];
const CELERY_WORKERS: &[&str] = &[
    "celery-actor-raised",
    "celery-decode-error",
    "celery-revoked",
    "celery-worker-died-in-actor",
    "celery-worker-unrecoverable",
];

/// What is called otherwise there. Both were made from one template, so that their actors have one name.
const NAMES: &[(&str, &str)] = &[
    ("ops_core", "ledger"),
    ("\"shop\"", "\"ledger\""),
    ("default", "billing"),
    ("celery@vm", "ledger@vm"),
    (".> celery ", ".> billing "),
    ("key=celery", "key=billing"),
];

/// It consumes another queue at a broker that is not watched, with the same lines, or without their pids: then the
/// watched worker's have none either.
pub fn a_neighbours_fault(run: &Run) -> Vec<Wild> {
    if run.is_started_here() || run.is_post_mortem() {
        return Vec::new();
    }
    let is_usual = run.timeline.framework().name == Framework::usual().name;
    let mut dice = Dice::new(&run.name);
    let mut ways = Vec::new();
    for way in ["with-pids", "without-pids"] {
        let names = if is_usual { WORKERS } else { CELERY_WORKERS };
        let name = names[dice.below(names.len())];
        let worker = RUNS.iter().find(|other| other.name == name);
        let worker = worker.expect("it is recorded").timeline.events.iter();
        let mut new: Vec<Event> = worker.filter_map(renamed).collect();
        // What has no date of its own was written before what comes behind it.
        let mut next = f64::MAX;
        for one in new.iter_mut().rev() {
            if matches!(one.kind, EventKind::Line(_)) {
                one.at_ms = one.at_ms.min(next);
                next = one.at_ms;
            }
        }
        let end = |events: &[Event]| events.iter().map(|one| one.at_ms).fold(f64::MIN, f64::max);
        let later = end(run.events()) - end(&new) - 1.0;
        let watched = run
            .events()
            .iter()
            .find(|one| one.source == Source::WorkerLog && matches!(one.kind, EventKind::Watching { .. }));
        let since = watched.map_or(0.0, |one| one.at_ms);
        let mut events = run.events().to_vec();
        for one in &mut new {
            one.at_ms += later;
            match &mut one.kind {
                EventKind::Line(line) => line.before = one.at_ms < since,
                // It was there when we came.
                EventKind::Process(_) => one.at_ms = one.at_ms.max(since + 1.0),
                _ => {}
            }
        }
        for one in new.iter_mut().chain(&mut events) {
            match &mut one.kind {
                EventKind::Line(line) if way == "without-pids" && one.source == Source::WorkerLog => {
                    (line.pid, line.thread) = (None, None);
                }
                EventKind::Line(line) => line.age_s = line.before.then_some(line.age_s.unwrap_or(0)),
                _ => {}
            }
        }
        weave(&mut events, new);
        // What comes out of the log need not be the watched worker's any more.
        let run = run.with(events).told(run.truth.seen_in_part());
        ways.push(wild(&format!("{way}-{name}"), run));
    }
    ways
}

/// Its event, as it is of another service on the same machine.
fn renamed(event: &Event) -> Option<Event> {
    const FURTHER: i32 = 400_000;
    let text = serde_json::to_string(event).expect("an event");
    let text = NAMES
        .iter()
        .fold(text, |text, (ours, theirs)| text.replace(ours, theirs));
    let mut event: Event = serde_json::from_str(&text).expect("an event");
    event.stated = None;
    match &mut event.kind {
        EventKind::Line(line) if event.source == Source::WorkerLog => {
            line.carries_task_id = false;
            line.pid = line.pid.map(|pid| pid + FURTHER);
        }
        EventKind::Process(process) if process.holds_log => {
            process.pid += FURTHER;
            process.ppid += FURTHER;
            process.nspids = vec![process.pid];
            process.is_configured = false;
        }
        EventKind::Stacks { pid, .. } | EventKind::Gone { pid, .. } => *pid += FURTHER,
        _ => return None,
    }
    Some(event)
}
