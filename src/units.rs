//! Durations and sizes, for people.

use std::time::Duration;

/// A duration in milliseconds, for people.
pub fn span(ms: f64) -> String {
    match ms {
        ms if ms < 1000.0 => format!("{ms:.0} ms"),
        ms if ms < 120_000.0 => format!("{:.1} s", ms / 1000.0),
        ms if ms < 7_200_000.0 => format!("{:.0} min", ms / 60_000.0),
        ms => format!("{:.1} h", ms / 3_600_000.0),
    }
}

/// A duration for people, in as few characters: `0.3 s`, `12 s`, `4 min`, `2 h`.
pub fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 9.95 {
        format!("{seconds:.1} s")
    } else if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else if seconds < 7200.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.0} h", seconds / 3600.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
