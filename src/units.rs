//! Durations and sizes, for people.

use std::fmt::{Display, Formatter};
use std::time::Duration;

/// A duration in milliseconds, for people.
pub fn span(ms: f64) -> String {
    Span(ms).to_string()
}

/// The same, for writing it where there is room already.
pub struct Span(pub f64);

impl Display for Span {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            ms if ms < 9.95 => write!(f, "{ms:.1} ms"),
            ms if ms < 999.5 => write!(f, "{ms:.0} ms"),
            ms if ms < 120_000.0 => write!(f, "{:.1} s", ms / 1000.0),
            ms if ms < 7_200_000.0 => write!(f, "{:.0} min", ms / 60_000.0),
            ms => write!(f, "{:.1} h", ms / 3_600_000.0),
        }
    }
}

/// A duration for people, in as few characters: `0.3 s`, `12 s`, `4 min`, `2 h`, `3 days`.
pub fn seconds(duration: Duration) -> String {
    match duration.as_secs_f64() {
        seconds if seconds < 9.95 => format!("{seconds:.1} s"),
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7200.0 => format!("{:.0} min", seconds / 60.0),
        seconds if seconds < 172_800.0 => format!("{:.0} h", seconds / 3600.0),
        seconds => format!("{:.0} days", seconds / 86_400.0),
    }
}

/// A time of the run, as precise as two events may lie together.
pub fn moment(ms: f64) -> String {
    match ms.abs() {
        size if size < 1000.0 => format!("{ms:.1} ms"),
        size if size < 10_000.0 => format!("{:.3} s", ms / 1000.0),
        _ => format!("{:.2} s", ms / 1000.0),
    }
}

/// A size, for people.
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} bytes"),
        1024..1_048_576 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_the_unit_that_fits() {
        let spans = [0.34, 12.4, 999.6, 61_000.0, 150_000.0, 9_000_000.0].map(span);
        assert_eq!(spans, ["0.3 ms", "12 ms", "1.0 s", "61.0 s", "2 min", "2.5 h"]);
    }

    #[test]
    fn durations_are_short() {
        let text = |s: f64| seconds(Duration::from_secs_f64(s));
        assert_eq!(
            (text(0.04), text(9.9), text(10.4)),
            ("0.0 s".into(), "9.9 s".into(), "10 s".into())
        );
        assert_eq!((text(150.0), text(9000.0)), ("2 min".into(), "2 h".into()));
    }
}
