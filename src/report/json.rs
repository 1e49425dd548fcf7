//! `taskdiag.report.v1`: the model as it stands.

use super::{Format, Report, Style};
use crate::timeline::scrub::printable_json;

pub(super) const FORMAT: Format = Format {
    name: "json",
    about: "For programs: taskdiag.report.v1",
    extensions: &["json"],
    render,
};

fn render(report: &Report, _: Style) -> String {
    let mut text = printable_json(serde_json::to_string_pretty(report).unwrap_or_default());
    text.push('\n');
    text
}
