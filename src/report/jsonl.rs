//! The timeline alone, as a recording: `taskdiag replay` reads it again.

use super::{Format, Report, Style};
use crate::timeline::recording;

pub(super) const FORMAT: Format = Format {
    name: "jsonl",
    about: "The timeline as JSON Lines: a recording that can be replayed",
    extensions: &["jsonl"],
    render,
};

fn render(report: &Report, _: Style) -> String {
    recording::lines(&report.setup, &report.started_at, &report.timeline)
}
