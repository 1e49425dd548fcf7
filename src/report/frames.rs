//! The frames of what was raised that a reader looks at, for every format.

use super::Report;
use crate::diagnosis::ExceptionFrame;

/// Of the application's own code, the last ones.
const MOST: usize = 6;

/// Lines as Python prints them, innermost last; where none is the application's, the last one of all.
pub(super) fn of(report: &Report) -> Vec<String> {
    let Some(raised) = &report.verdict.traceback else {
        return Vec::new();
    };
    let mut frames: Vec<&ExceptionFrame> = raised.frames.iter().filter(|frame| frame.application).collect();
    if frames.is_empty() {
        frames.extend(raised.frames.last());
    }
    let from = frames.len().saturating_sub(MOST);
    let lines = frames[from..].iter();
    lines
        .map(|frame| {
            format!(
                "File \"{}\", line {}, in {}",
                frame.file, frame.line, frame.function
            )
        })
        .collect()
}
