//! Recordings as reports, and a run in which everything that was seen is hostile.

#![allow(dead_code)]

use std::path::{Path, PathBuf};

use taskdiag::diagnosis::diagnose;
use taskdiag::report::{FORMATS, Report, Style};
use taskdiag::timeline::environment::{Code, Environment, Found, Interpreter, Variable};
use taskdiag::timeline::scrub::printable;
use taskdiag::timeline::{Event, EventKind, LogLine, Source, Timeline, recording};

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/runs")
}

pub fn read(name: &str) -> Timeline {
    recording::read(&folder().join(name).join("timeline.jsonl"))
        .unwrap()
        .timeline
}

/// The same for each, on both cores, in order.
pub fn in_halves<T: Sync, R: Send>(all: &[T], make: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let make = &make;
    std::thread::scope(|scope| {
        let threads: Vec<_> = all
            .chunks(all.len().div_ceil(2).max(1))
            .map(|part| scope.spawn(move || part.iter().map(make).collect::<Vec<_>>()))
            .collect();
        let results = threads.into_iter().map(|thread| thread.join().unwrap());
        results.flatten().collect()
    })
}

pub fn report(timeline: &Timeline) -> Report {
    Report::new(timeline, &diagnose(timeline))
}

pub fn render(report: &Report, format: &str, style: Style) -> String {
    let format = FORMATS.iter().find(|known| known.name == format).unwrap();
    (format.render)(report, style)
}

/// What a hostile user, producer or log may write.
pub const HOSTILE: [&str; 7] = [
    "</script><script>alert('x')</script>\"'><img src=x onerror=alert(1)>",
    "x\n::error title=forged::forged",
    "x\nend\n    User->>API: forged; Note over User: forged %%{init: {}}%% #35; $$x$$ <br>",
    "]]></failure></testcase><testcase name=\"forged\"/><!-- & &amp; \u{7} \u{ffff} -->",
    "` `` ``` | forged | [forged](https://forged.example) @forged #7 https://forged.example\n# forged",
    "{{ 7 * 7 }} {% raw %} ${{ forged }} \u{202e}\u{2066}\u{1f600}",
    "\u{1b}[2J\u{1b}]0;forged\u{7}\u{9b}31m\r\u{8}\u{200f}\u{2028}",
];

/// A run whose every outside text is hostile.
pub fn hostile(text: &str) -> Report {
    let seen = read("row-rolled-back");
    let task_id = report(&seen).verdict.task.id.unwrap();
    let mut timeline = Timeline::new(seen.setup.clone(), seen.started_at.clone());
    for mut event in seen.events {
        match &mut event.kind {
            EventKind::Line(line) => {
                *line = LogLine {
                    text: format!("{} {text}", line.text),
                    traceback: Some(format!("Traceback (most recent call last):\n{text}")),
                    thread: Some(text.into()),
                    ..line.clone()
                };
            }
            EventKind::Answered { task_id, body, .. } => {
                *task_id = task_id.as_ref().map(|id| format!("{id}{text}"));
                *body = text.into();
            }
            EventKind::Row(row) => row.status = row.status.as_ref().map(|status| format!("{status}{text}")),
            EventKind::Publish {
                connection, message, ..
            } => {
                *connection = text.into();
                message.actor = Some(text.into());
                message.message_id = message.message_id.as_ref().map(|id| format!("{id}{text}"));
            }
            EventKind::Deliver { message, .. } => {
                message.actor = Some(text.into());
                message.message_id = message.message_id.as_ref().map(|id| format!("{id}{text}"));
            }
            EventKind::Process(process) => process.command.push(text.into()),
            EventKind::Watching { .. } if event.source == Source::ApiLog => {
                event.kind = EventKind::Blind {
                    reason: text.into(),
                    hint: Some(text.into()),
                };
            }
            _ => {}
        }
        timeline.push(event);
    }
    for (pid, found, value) in [(1, Found::ApiPort, text), (2, Found::WorkerLog, "other")] {
        let variable = || Variable::Plain(value.into());
        let environment = Environment {
            pid,
            found: vec![found],
            command: vec!["python".into(), text.into()],
            cwd: Some(value.into()),
            interpreter: Some(Interpreter {
                prefix: text.into(),
                ..Interpreter::default()
            }),
            code: Some(Code {
                module: "app".into(),
                directory: value.into(),
                also_in: vec![text.into()],
                changed: Vec::new(),
            }),
            variables: Some(
                [
                    ("DRAMATIQ_TESTING".to_owned(), variable()),
                    (format!("DB_{text}"), variable()),
                ]
                .into(),
            ),
            hidden: vec![text.into()],
            ..Environment::default()
        };
        timeline.push(Event {
            n: 0,
            at_ms: 0.0,
            source: Source::Process,
            stated: None,
            kind: EventKind::Environment(Box::new(environment)),
        });
    }
    // As a recording from somebody else.
    let timeline = recording::parse(&recording::to_text(&timeline)).unwrap();
    let mut report = report(&timeline);
    let text = &printable(text);
    report.verdict.task.id = Some(format!("{task_id}{text}"));
    report.verdict.notes.push(text.into());
    if let Some(cause) = &mut report.verdict.cause {
        cause.summary.push_str(text);
        cause.remedies.push(text.into());
    }
    for reached in &mut report.verdict.stages {
        reached.observed = Some(text.into());
    }
    report
}
