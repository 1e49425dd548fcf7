//! One report model, built from a timeline and its verdict; formats only arrange it.
//!
//! To add a format: one file with its `FORMAT`, one line in [`FORMATS`]. What several formats say is
//! worded once, in `words.rs`.

mod budget;
mod environment;
mod events;
mod evidence;
mod facts;
mod frames;
mod github;
mod html;
mod json;
mod jsonl;
mod junit;
mod layout;
mod markdown;
mod mermaid;
mod otlp;
mod page;
mod paths;
mod screen;
mod sentence;
mod slack;
mod terminal;
mod unseen;
mod words;
mod zone;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::diagnosis::isolation::{self, Isolation};
use crate::diagnosis::{Story, Verdict, Visibility};
use crate::timeline::{Event, EventKind, Setup, Source, Timeline};
use crate::units::moment;

pub use environment::Environments;
pub use layout::ascii;
pub(crate) use layout::hanging;
pub use page::page;

/// One way to arrange a report.
#[derive(Debug, Clone, Copy)]
pub struct Format {
    /// What `--format` calls it.
    pub name: &'static str,
    /// Its line in `--help`.
    pub about: &'static str,
    /// File name extensions that ask for it.
    pub extensions: &'static [&'static str],
    pub render: fn(&Report, Style) -> String,
}

/// Every format, in the order `--help` lists them.
pub const FORMATS: &[Format] = &[
    terminal::FORMAT,
    json::FORMAT,
    jsonl::FORMAT,
    markdown::FORMAT,
    github::FORMAT,
    slack::FORMAT,
    junit::FORMAT,
    mermaid::FORMAT,
    html::FORMAT,
    otlp::FORMAT,
];

/// How to draw, for formats that leave a choice.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    pub color: bool,
    pub ascii: bool,
    /// Columns.
    pub width: u16,
    /// Show the timeline, and all there is to say of what was ruled out.
    pub timeline: bool,
    /// The zone for times of the day; without one they are in UTC.
    pub zone: Option<&'static TimeZone>,
    /// Where a file of a process lies in the reader's repository, if it does.
    pub locate: fn(&str) -> Option<String>,
}

impl Style {
    /// For files and tests.
    pub const PLAIN: Style = Style {
        color: false,
        ascii: false,
        width: 100,
        timeline: false,
        zone: None,
        locate: |_| None,
    };

    /// A moment as a time of the day, with its zone.
    pub(crate) fn clock(self, at: Timestamp) -> String {
        self.zoned(at, "%H:%M:%S %Z")
    }

    fn zoned(self, at: Timestamp, form: &str) -> String {
        let zone = self.zone.cloned().unwrap_or(TimeZone::UTC);
        at.to_zoned(zone).strftime(form).to_string()
    }
}

/// Version of the JSON report, a public contract.
pub const SCHEMA: &str = "taskdiag.report.v1";

/// How one source fared.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct SourceState {
    pub name: Source,
    /// `watching`, `partial`, `blind` or `absent`.
    pub state: &'static str,
    pub reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
pub struct Report {
    pub schema: &'static str,
    pub started_at: String,
    #[serde(flatten)]
    pub verdict: Verdict,
    pub sources: Vec<SourceState>,
    /// What `--isolate` found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isolation: Option<Isolation>,
    pub timeline: Vec<Event>,
    pub environment: Environments,
    /// What the run was asked; part of the recording, not of the report.
    #[serde(skip)]
    pub setup: Setup,
    /// Unix milliseconds at which the timeline's clock was zero.
    #[serde(skip)]
    pub zero_ms: f64,
}

impl Report {
    /// The event that evidence with this number points at.
    pub fn event(&self, n: u32) -> Option<&Event> {
        self.timeline.get((n as usize).checked_sub(1)?)
    }

    /// The verdict in one sentence.
    pub fn sentence(&self) -> String {
        words::sentence(self)
    }

    /// A moment of the run as a time of the day.
    fn clock(&self, at_ms: f64, style: Style) -> Option<String> {
        self.stamp(at_ms).map(|at| style.clock(at))
    }

    fn stamp(&self, at_ms: f64) -> Option<Timestamp> {
        Timestamp::from_millisecond((self.zero_ms + at_ms) as i64).ok()
    }

    /// When something was: in a run counted from its submission; in a look at a task of the past the time of the
    /// day, which a reader compares with his own.
    fn moment(&self, at_ms: f64, style: Style) -> String {
        match self.stamp(at_ms).filter(|_| self.setup.post_mortem) {
            Some(at) => style.zoned(at, "%H:%M:%S%.1f"),
            None => moment(at_ms),
        }
    }

    /// When a stage was reached. Afterwards a look shows only that it was, and its own time is another one.
    fn reached_at(&self, at_ms: Option<f64>, style: Style) -> Option<String> {
        let at = at_ms.filter(|at| !self.setup.post_mortem || *at < 0.0)?;
        Some(self.moment(at, style))
    }

    /// The events behind these numbers, as they happened: the order of evidence is that of its weight.
    fn in_time(&self, evidence: &[u32]) -> Vec<&Event> {
        let mut events: Vec<&Event> = evidence.iter().filter_map(|n| self.event(*n)).collect();
        events.sort_by(|a, b| a.at_ms.total_cmp(&b.at_ms));
        events
    }

    pub fn new(timeline: &Timeline, verdict: &Verdict) -> Self {
        Self {
            schema: SCHEMA,
            started_at: timeline.started_at.clone(),
            verdict: verdict.clone(),
            sources: sources(timeline),
            isolation: isolation::of(timeline),
            timeline: timeline.events.clone(),
            environment: Environments::new(timeline, verdict),
            setup: timeline.setup.clone(),
            zero_ms: timeline.zero_ms(),
        }
    }
}

/// The last word of each source about its own sight.
pub fn sources(timeline: &Timeline) -> Vec<SourceState> {
    let story = Story::new(timeline);
    Source::all()
        .filter_map(|name| {
            let (state, reason) = match story.visibility(name) {
                Visibility::Watching(detail) => ("watching", detail),
                Visibility::Partial(reason) => ("partial", reason),
                Visibility::Blind(reason) => ("blind", reason),
                Visibility::Absent => return None,
            };
            let hint = timeline.events.iter().rev().find_map(|event| match &event.kind {
                EventKind::Blind { hint, .. } if event.source == name && state == "blind" => hint.clone(),
                _ => None,
            });
            Some(SourceState {
                name,
                state,
                reason: reason.to_owned(),
                hint,
            })
        })
        .collect()
}
