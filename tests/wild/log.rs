//! What logs look like elsewhere: quieter, coloured, with holes, in another zone.

use taskdiag::timeline::scrub::printable;
use taskdiag::timeline::{Event, EventKind, Level, LogLine, Source};
use taskdiag::vantage::log::folder::Folder;

use super::run::{Run, Wild, weave, wild};

/// The worker logs warnings and errors only.
pub fn quiet_worker(run: &Run) -> Vec<Wild> {
    let mut events = run.events().to_vec();
    let before = events.len();
    events.retain(|event| match &event.kind {
        // What has no level was printed, not logged.
        EventKind::Line(line) if event.source == Source::WorkerLog => {
            line.level.is_none_or(|level| level >= Level::Warning)
        }
        _ => true,
    });
    if events.len() == before {
        return Vec::new();
    }
    vec![wild("", run.with(events).told(run.truth.seen_in_part()))]
}

/// A third of the lines never came: rotated away, or dropped by a driver that was too slow.
pub fn lost_lines(run: &Run) -> Vec<Wild> {
    ["1", "2", "3"]
        .into_iter()
        .map(|way| {
            let mut dice = Dice::new(&format!("{}{way}", run.name));
            let mut events = run.events().to_vec();
            events.retain(|event| match event.kind {
                EventKind::Line(_) => dice.below(3) > 0,
                // A copy of what the worker wrote is not its file.
                EventKind::ReadWhole { .. } => false,
                _ => true,
            });
            wild(way, run.with(events).told(run.truth.seen_in_part()))
        })
        .collect()
}

/// `copytruncate` in mid-run: what the worker wrote since the last look, or since the message came to it, is
/// gone with the old file, and what comes later stands in the new.
pub fn truncated_log(run: &Run) -> Vec<Wild> {
    let Some(since) = run.submitted_at() else {
        return Vec::new();
    };
    let lines: Vec<f64> = run.worker_lines().map(|(event, _)| event.at_ms).collect();
    let came = run.delivery().map(|(at, _)| at);
    let first = lines.iter().copied().find(|at| *at > since);
    let last = lines.last().copied().filter(|at| *at > since);
    [
        ("first", first, first),
        ("all", came.or(first), last),
        ("last", last, last),
    ]
    .into_iter()
    .filter_map(|(way, from, to)| Some(wild(way, without_lines(run, from?, to?)?)))
    .collect()
}

/// Without the worker's lines between these moments, the log being cut at the second.
fn without_lines(run: &Run, from: f64, to: f64) -> Option<Run> {
    let is_lost = |event: &Event| {
        event.source == Source::WorkerLog
            && (from..=to).contains(&event.at_ms)
            && matches!(event.kind, EventKind::Line(_))
    };
    let mut events = run.events().to_vec();
    let before = events.len();
    events.retain(|event| !is_lost(event) && !matches!(event.kind, EventKind::ReadWhole { .. }));
    if events.len() == before {
        return None;
    }
    let cut = EventKind::Rotated {
        path: "worker.log".into(),
        reads_on: false,
    };
    weave(&mut events, vec![super::run::event(to, Source::WorkerLog, cut)]);
    Some(run.with(events).told(run.truth.seen_in_part()))
}

/// Numbers that are the same in every run.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: &str) -> Self {
        // FNV-1a.
        Self(seed.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        }))
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 16) % limit as u64) as usize
    }
}

/// The worker's container has UTC, the API's log another zone than this machine.
pub fn hours_off(run: &Run) -> Vec<Wild> {
    let moved = run.each(|event| {
        let hours = match event.source {
            Source::WorkerLog => -2,
            Source::ApiLog => 5,
            _ => return,
        };
        if let Some(stated) = &mut event.stated {
            *stated = later(stated, hours);
        }
    });
    vec![wild("", moved)]
}

/// `2026-11-23 13:41:54,579`, so many hours later; anything else as it stands.
fn later(stated: &str, hours: i64) -> String {
    let Ok(at) = stated.replace(',', ".").parse::<jiff::civil::DateTime>() else {
        return stated.to_owned();
    };
    let moved = at.saturating_add(jiff::Span::new().hours(hours));
    format!(
        "{},{:03}",
        moved.strftime("%Y-%m-%d %H:%M:%S"),
        moved.millisecond()
    )
}

/// The same lines as a terminal or a collector has dressed them up, read by the reader of logs.
pub fn coloured_log(run: &Run) -> Vec<Wild> {
    if run.worker_lines().next().is_none() {
        return Vec::new();
    }
    [
        // Nothing at all: what is read again is what was read.
        (
            "plain",
            Dress {
                prefix: "",
                colours: false,
            },
        ),
        (
            "ansi",
            Dress {
                prefix: "",
                colours: true,
            },
        ),
        (
            "compose",
            Dress {
                prefix: "worker-1  | ",
                colours: false,
            },
        ),
        (
            "compose-ansi",
            Dress {
                prefix: "\u{1b}[2K\u{1b}[36mworker-1  | \u{1b}[0m",
                colours: true,
            },
        ),
    ]
    .into_iter()
    .map(|(way, dress)| wild(way, run.with(dressed(run, &dress))))
    .collect()
}

struct Dress {
    prefix: &'static str,
    colours: bool,
}

impl Dress {
    /// A line as the file holds it.
    fn text(&self, event: &Event, line: &LogLine) -> String {
        let level = line.level.map(|level| match level {
            Level::Debug => ("DEBUG", "36"),
            Level::Info => ("INFO", "32"),
            Level::Warning => ("WARNING", "33"),
            Level::Error => ("ERROR", "31"),
            Level::Critical => ("CRITICAL", "1;31"),
        });
        let mut text = match (&event.stated, line.pid, &line.thread, &line.logger, level) {
            (Some(stated), Some(pid), Some(thread), Some(logger), Some((word, colour))) => {
                let word = if self.colours {
                    format!("\u{1b}[{colour}m{word}\u{1b}[0m")
                } else {
                    word.to_owned()
                };
                format!(
                    "[{stated}] [PID {pid}] [{thread}] [{logger}] [{word}] {}",
                    line.text
                )
            }
            // As Celery writes.
            (Some(stated), None, Some(thread), None, Some((word, _))) => {
                format!("[{stated}: {word}/{thread}] {}", line.text)
            }
            // Printed, or in a format of the application's own: the whole line is its text.
            _ => line.text.clone(),
        };
        // A traceback that nothing was logged with is its own first line.
        if let Some(traceback) = &line.traceback
            && *traceback != line.text
        {
            let own = traceback.strip_prefix(&format!("{}\n", line.text));
            text.push('\n');
            text.push_str(own.unwrap_or(traceback));
        }
        text.lines()
            .map(|part| format!("{}{part}\n", self.prefix))
            .collect()
    }
}

fn dressed(run: &Run, dress: &Dress) -> Vec<Event> {
    let entry = run
        .timeline
        .setup
        .entry_pattern
        .as_deref()
        .map(|pattern| regex::Regex::new(pattern).expect("the recording's pattern"));
    let task_id = run.task_id().map(str::to_owned);
    // Lines of before come from one read, the others as they are written.
    let mut folder = Folder::new(entry);
    let mut events = Vec::new();
    let mut origins: Vec<Event> = Vec::new();
    for event in run.events() {
        let EventKind::Line(line) = &event.kind else {
            events.push(event.clone());
            continue;
        };
        if event.source != Source::WorkerLog {
            events.push(event.clone());
            continue;
        }
        let text = dress.text(event, line);
        let mut read = folder.feed(text.as_bytes());
        read.extend(folder.flush());
        origins.push(event.clone());
        for (mut parsed, stated) in read {
            parsed.text = printable(&parsed.text);
            parsed.traceback = parsed.traceback.as_deref().map(printable);
            parsed.before = line.before;
            parsed.age_s = line.age_s;
            // Masked arguments carried the id where they did before.
            parsed.carries_task_id = line.carries_task_id
                || task_id
                    .as_deref()
                    .is_some_and(|id| id.len() >= 6 && parsed.text.contains(id));
            events.push(Event {
                stated,
                kind: EventKind::Line(parsed),
                ..event.clone()
            });
        }
    }
    events
}
